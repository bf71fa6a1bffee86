"""Small trainings that several test files use."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from crabnet_jit import NN, ArraySource, StandardGaussian, StdRng, Trainer, UniformSource


def article(
    hidden_sizes: Any = (8, 8),
    batch_size: int = 16,
    *,
    seed: int = 1,
    dtype: DTypeLike = np.float64,
    **options: Any,
) -> Trainer:
    """The article's job, also in other sizes; one stream for parameters and samples."""
    rng = StdRng(seed)
    net = NN(2, hidden_sizes, 1, rng, dtype=dtype)
    return Trainer(net, UniformSource(StandardGaussian(), batch_size=batch_size, rng=rng), **options)


def straight(rate: Any, **options: Any) -> Trainer:
    """A line through points, with a loss whose largest curvature is 2: it diverges above a rate of 1."""
    x = np.linspace(-1, 1, 8)[:, None]
    source = ArraySource(x, 2 * x + 1, batch_size=8, rng=1)
    return Trainer(NN(1, [], 1, init=[0.5, 0.3]), source, learning_rate=rate, **options)
