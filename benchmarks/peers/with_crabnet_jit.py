"""crabnet_jit itself, through its public interface."""

import numpy as np
from numpy.typing import NDArray

import crabnet_jit
from benchmarks.peers.job import BATCH_SIZE, DECAY, HIGH, LEARNING_RATE, LOW, SEED, SIZES, Train
from crabnet_jit import NN, ExponentialDecay, StandardGaussian, StdRng, Trainer, UniformSource


def version() -> str:
    """Version of the installed project."""
    return crabnet_jit.__version__


def _train(n_iterations: int) -> NDArray[np.float64]:
    rng = StdRng(SEED)
    net = NN(SIZES[0], SIZES[1:-1], SIZES[-1], rng)
    source = UniformSource(StandardGaussian(), LOW, HIGH, BATCH_SIZE, rng)
    trainer = Trainer(net, source, learning_rate=ExponentialDecay(LEARNING_RATE, DECAY))
    return trainer.run(n_iterations).losses


def prepare() -> Train:
    """Nothing to prepare: the first training compiles, or loads what is compiled."""
    return _train
