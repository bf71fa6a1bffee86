"""NumPy: the article's program, batches as rows, forward and backward written out."""

from importlib import metadata
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.job import BATCH_SIZE, DECAY, HIGH, LEARNING_RATE, LOW, SEED, SIZES, Train


def version() -> str:
    """Version of NumPy."""
    return metadata.version("numpy")


def _train(n_iterations: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(SEED)
    (W1, b1), (W2, b2), (W3, b3) = (
        (rng.random((n_in, n_out)), rng.random(n_out)) for n_in, n_out in pairwise(SIZES)
    )
    losses = np.empty(n_iterations)
    rate = LEARNING_RATE
    for i in range(n_iterations):
        x = rng.uniform(LOW, HIGH, (BATCH_SIZE, SIZES[0]))
        target = 5.0 * np.exp(-0.5 * np.square(x).sum(axis=1, keepdims=True))

        h1 = np.maximum(x @ W1 + b1, 0.0)
        h2 = np.maximum(h1 @ W2 + b2, 0.0)
        error = h2 @ W3 + b3 - target
        losses[i] = np.square(error).mean()

        dL_dy = (2.0 / error.size) * error
        dL_dh2 = (dL_dy @ W3.T) * (h2 > 0.0)
        dL_dh1 = (dL_dh2 @ W2.T) * (h1 > 0.0)

        rate *= DECAY
        for W, b, h, dL_dz in ((W1, b1, x, dL_dh1), (W2, b2, h1, dL_dh2), (W3, b3, h2, dL_dy)):
            np.subtract(W, rate * (h.T @ dL_dz), out=W)
            np.subtract(b, rate * dL_dz.sum(axis=0), out=b)
    return losses


def prepare() -> Train:
    """Nothing to prepare."""
    return _train
