"""The article's job."""

from crabnet_jit.data.sources import UniformSource
from crabnet_jit.data.targets import StandardGaussian
from crabnet_jit.network.network import NN
from crabnet_jit.training.trainer import Trainer


def warmup() -> None:
    """Compile what the article's job and predictions need, or load it from the cache on disk.

    Optional: otherwise the first run does it. `Trainer.compile` does the same for any other training.

    Examples
    --------
    >>> import crabnet_jit
    >>> crabnet_jit.warmup()
    """
    net = NN(2, [8, 8], 1, rng=1)
    Trainer(net, UniformSource(StandardGaussian(), rng=1)).compile()
    net.get_output([[0.0, 0.0]])
