"""Targets: the article's, a scaled Gaussian of the coordinates, and a user's compiled function."""

import functools
from typing import Any

import numpy as np

from crabnet_jit.arrays import Flat, Number, Panels
from crabnet_jit.kernels.elementary import exp
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import fma, lanes, load, splat, store
from crabnet_jit.machine.view import as_tuple, panel


@kernel
def gaussian_panels(x: Panels, target: Panels) -> None:
    """target = 5 exp(-|x|^2 / 2) for every sample.

    Reads x (n_iterations, n_panels, n_in, width); overwrites target, of the same shape with one feature.
    """
    for iteration in range(x.shape[0]):
        for p in range(x.shape[1]):
            x_p, target_p = panel(x, iteration, p), panel(target, iteration, p)
            for s in range(0, x_p.shape[1], lanes(x_p)):
                square = splat(x_p, 0.0)
                for f in range(x_p.shape[0]):
                    v = load(x_p, f, s)
                    square = fma(v, v, square)
                store(target_p, 0, s, 5.0 * exp(-0.5 * square))


@functools.cache
def custom_target_panels(n_in: int) -> Any:
    """A function that makes the kernel that fills panels with the values of a function of n_in numbers."""
    first_numbers = as_tuple()

    def make(function: Any) -> Any:
        def target_panels(x: Panels, target: Panels, n_samples: Number) -> tuple[Flat, Number]:
            """Overwrite target (n_iterations, n_panels, 1, width) with the values at x (…, n_in, …).

            Only the first n_samples columns of each iteration count. Stops at a value that is not finite, and
            returns its point (n_in,) and the value; otherwise the point is empty.
            """
            width = x.shape[3]
            place = np.empty(n_in)
            for k in range(x.shape[0]):
                for p in range(x.shape[1]):
                    for s in range(min(width, n_samples - p * width)):
                        for f in range(n_in):
                            place[f] = x[k, p, f, s]
                        value = function(*first_numbers(place, n_in))
                        if not np.isfinite(value):
                            return place, float(value)
                        target[k, p, 0, s] = value
            return np.empty(0), 0.0

        return kernel(target_panels)

    return make
