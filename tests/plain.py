"""The network in plain NumPy, written from the article; imports nothing of the package.

Parameters are a list of (W, b) with shapes (out, in) and (out, 1); batches are rows.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = list[tuple[Array, Array]]


def split(flat: Array, sizes: list[int]) -> Parameters:
    """The flat buffer, W row by row and then b, layer after layer, as a list of (W, b)."""
    result, start = [], 0
    for n_in, n_out in pairwise(sizes):
        W = flat[start : start + n_out * n_in].reshape(n_out, n_in)
        start += n_out * n_in
        result.append((W, flat[start : start + n_out].reshape(n_out, 1)))
        start += n_out
    return result


def outputs(parameters: Parameters, x: Array) -> list[Array]:
    """The input of every layer, and the network's output last. Complex numbers go through."""
    h = [x]
    for k, (W, b) in enumerate(parameters):
        z = h[-1] @ W.T + b.T
        h.append(z if k == len(parameters) - 1 else np.where(z.real > 0, z, 0))
    return h


def loss(parameters: Parameters, x: Array, target: Array) -> Any:
    """Mean squared error."""
    return ((target - outputs(parameters, x)[-1]) ** 2).mean()


def gradients(parameters: Parameters, x: Array, target: Array) -> tuple[Parameters, Array]:
    """Gradients of the loss: a list of (dL_dW, dL_db), and dL_dx."""
    h = outputs(parameters, x)
    dL_dy = 2 * (h[-1] - target) / target.size
    result: Parameters = []
    for k in range(len(parameters) - 1, -1, -1):
        W, _ = parameters[k]
        result.insert(0, (dL_dy.T @ h[k], dL_dy.sum(axis=0)[:, None]))
        dL_dy = dL_dy @ W
        if k > 0:
            dL_dy = dL_dy * (h[k] > 0)
    return result, dL_dy


def flatten(parameters: Parameters) -> Array:
    """The inverse of `split`."""
    return np.concatenate([part.ravel() for pair in parameters for part in pair])
