"""asv: time of the parts of an iteration, each for 1,000 iterations of the article's job."""

from .common import check_article
from .parts import Parts


class Kernels:
    """The parts one by one."""

    def setup(self) -> None:
        """Compile every part."""
        check_article()
        self.parts = Parts()

    def time_random_fill(self) -> None:
        """Random blocks, uniform numbers, panels."""
        self.parts.samples()

    def time_target(self) -> None:
        """The Gaussian."""
        self.parts.target()

    def time_forward(self) -> None:
        """All layers forward."""
        self.parts.forward()

    def time_backward(self) -> None:
        """All layers backward."""
        self.parts.backward()

    def time_update(self) -> None:
        """Stochastic gradient descent."""
        self.parts.update()
