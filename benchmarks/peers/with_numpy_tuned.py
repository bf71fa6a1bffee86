"""NumPy with as few calls as can be, every result into a buffer that exists.

At these sizes the time goes into calling NumPy, not into arithmetic, so the program
saves calls. Samples and targets are drawn for 1,000 iterations at once. A row of ones
below every input makes the bias one more column of W: one product gives W x + b, and one
gives both gradients; the program with separate biases takes 1.4 times as long. All
parameters lie in one array, so a step is two calls.
"""

from importlib import metadata
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.job import BATCH_SIZE, CHUNK, DECAY, HIGH, LEARNING_RATE, LOW, SEED, SIZES, Train

Array = NDArray[np.float64]


def version() -> str:
    """Version of NumPy."""
    return metadata.version("numpy")


def _matrices(flat: Array) -> list[Array]:
    """Views (n_out, n_in + 1) of a flat buffer, one for each layer."""
    matrices = []
    for n_in, n_out in pairwise(SIZES):
        size = n_out * (n_in + 1)
        matrices.append(flat[:size].reshape(n_out, n_in + 1))
        flat = flat[size:]
    return matrices


def _chunk(rng: np.random.Generator) -> tuple[Array, Array]:
    """Inputs (CHUNK, 3, BATCH_SIZE), the last row ones, and targets (CHUNK, 1, BATCH_SIZE)."""
    x = np.ones((CHUNK, SIZES[0] + 1, BATCH_SIZE))
    x[:, :-1] = rng.uniform(LOW, HIGH, (CHUNK, SIZES[0], BATCH_SIZE))
    target = 5.0 * np.exp(-0.5 * np.square(x[:, :-1]).sum(axis=1, keepdims=True))
    return x, target


def _train(n_iterations: int) -> Array:
    rng = np.random.default_rng(SEED)
    parameters = rng.random(sum(n_out * (n_in + 1) for n_in, n_out in pairwise(SIZES)))
    gradients = np.empty_like(parameters)
    step = np.empty_like(parameters)
    W1, W2, W3 = _matrices(parameters)
    dL_dW1, dL_dW2, dL_dW3 = _matrices(gradients)
    W2_T, W3_T = W2[:, :-1].T, W3[:, :-1].T  # without the bias

    h1, h2 = np.ones((SIZES[1] + 1, BATCH_SIZE)), np.ones((SIZES[2] + 1, BATCH_SIZE))
    z1, z2 = h1[:-1], h2[:-1]  # without the row of ones
    y = np.empty((SIZES[3], BATCH_SIZE))
    dL_dz1, dL_dz2, dL_dy = np.empty_like(z1), np.empty_like(z2), np.empty_like(y)
    active1, active2 = np.empty(z1.shape, bool), np.empty(z2.shape, bool)

    losses = np.empty(n_iterations)
    rate = LEARNING_RATE
    for start in range(0, n_iterations, CHUNK):
        for i, (x, target) in enumerate(zip(*_chunk(rng), strict=True), start):
            np.dot(W1, x, out=z1)
            np.maximum(z1, 0.0, out=z1)
            np.dot(W2, h1, out=z2)
            np.maximum(z2, 0.0, out=z2)
            np.dot(W3, h2, out=y)

            np.subtract(y, target, out=dL_dy)
            losses[i] = np.vdot(dL_dy, dL_dy) / BATCH_SIZE
            np.multiply(dL_dy, 2.0 / BATCH_SIZE, out=dL_dy)

            np.dot(dL_dy, h2.T, out=dL_dW3)
            np.multiply(W3_T, dL_dy, out=dL_dz2)
            np.greater(z2, 0.0, out=active2)
            np.multiply(dL_dz2, active2, out=dL_dz2)

            np.dot(dL_dz2, h1.T, out=dL_dW2)
            np.dot(W2_T, dL_dz2, out=dL_dz1)
            np.greater(z1, 0.0, out=active1)
            np.multiply(dL_dz1, active1, out=dL_dz1)

            np.dot(dL_dz1, x.T, out=dL_dW1)

            rate *= DECAY
            np.multiply(gradients, rate, out=step)
            np.subtract(parameters, step, out=parameters)
    return losses


def prepare() -> Train:
    """Nothing to prepare."""
    return _train
