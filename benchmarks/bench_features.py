"""asv: what activations, optimisers, losses, penalties and dropout cost."""

from typing import ClassVar

from .common import check_article
from .features import FEATURES, N, feature_trainer


class Features:
    """Training of a network 2-32-32-1 on given batches of 32, with one feature at a time."""

    params: ClassVar = [list(FEATURES)]
    param_names: ClassVar = ["feature"]

    def setup(self, feature: str) -> None:
        """Compile."""
        check_article()
        self.trainer = feature_trainer(feature)

    def time_200_iterations(self, feature: str) -> None:
        """Forward, loss, backward, update; dropout's masks; the losses kept."""
        self.trainer.run(N)
