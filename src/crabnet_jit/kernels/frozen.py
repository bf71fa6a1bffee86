"""A network whose parameters are constants of a compiled function, for top speed.

Each layer is a function that calls the next one. All are compiled into one function, whose loops have known
lengths. Everything is float64.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit.arrays import Array, Flat
from crabnet_jit.kernels.point import values
from crabnet_jit.machine.flat import LANES, load_part, stack, store_part
from crabnet_jit.machine.jit import entry_point, kernel
from crabnet_jit.machine.network_type import array_here, numbers_of
from crabnet_jit.machine.vector import fma
from crabnet_jit.machine.view import as_tuple


class FrozenLayer(NamedTuple):
    """Weights W (n_out, n_in), biases b (n_out,), the activation's formula (a kernel) and its constant."""

    W: Array
    b: Array
    formula: Any
    constant: float


def frozen_function(
    layers: Sequence[FrozenLayer], x_units: Array, y_units: Array, link: int, n_values: int
) -> Any:
    """The function of n_in numbers that returns a number, or a tuple of n_values.

    Units are means, then standard deviations; `link` is as in point.py. Compiled callers of the function
    contain its constants and must not be cached on disk: the next process may have another network.
    """
    zero, first_values = np.float64(0.0), as_tuple()
    n_in, n_out = layers[0].W.shape[1], len(layers[-1].b)
    numbers, units = numbers_of(n_in), array_here(x_units)

    @kernel
    def finish(h: Flat, y: Flat) -> None:
        values(link, n_out, y_units, h, 0, y)

    run = finish
    for layer in layers[::-1]:
        run = _layer(layer, run)

    @kernel
    def evaluate(x: Any, y: Flat) -> None:
        h, mean_and_std = numbers(x), units()
        for i in range(n_in):
            h[i] = (h[i] - mean_and_std[i]) / mean_and_std[n_in + i]
        run(h, y)

    @kernel
    def frozen_value(*x: float) -> Any:
        y = stack(zero, 1)
        evaluate(x, y)
        return y[0]

    @kernel
    def frozen_values(*x: float) -> Any:
        y = stack(zero, n_values)
        evaluate(x, y)
        return first_values(y, n_values)

    return entry_point(frozen_value if n_values == 1 else frozen_values)


def _layer(layer: FrozenLayer, following: Any) -> Any:
    """The kernel of a layer and of all layers after it."""
    n_out, n_in = layer.W.shape
    width = -(-n_out // LANES) * LANES
    columns, biases = np.zeros((n_in, width)), np.zeros(width)
    columns[:, :n_out], biases[:n_out] = layer.W.T, layer.b
    columns, formula, constant = columns.ravel(), layer.formula, layer.constant
    by_two = n_in - n_in % 2

    def run(x: Flat, y: Flat) -> None:
        h = stack(x, width)
        for o in range(0, width, LANES):
            even = load_part(biases, o, LANES)
            odd = even - even
            for i in range(0, by_two, 2):
                even = fma(x[i], load_part(columns, i * width + o, LANES), even)
                odd = fma(x[i + 1], load_part(columns, (i + 1) * width + o, LANES), odd)
            if by_two < n_in:
                even = fma(x[by_two], load_part(columns, by_two * width + o, LANES), even)
            value, _, _, _ = formula(even + odd, constant)
            store_part(h, o, value)
        following(h, y)

    return kernel(run)
