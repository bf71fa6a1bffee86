"""A user's compiled function as a target."""

import functools
from typing import Any

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from crabnet_jit.kernels._jit import kernel


@functools.cache
def custom_target_panels(n_in: int) -> Any:
    """What makes, of a compiled function of n_in numbers, the kernel that fills panels with its values."""

    def make(function: Any) -> Any:
        def target_panels(x: Any, target: Any, n_samples: Any) -> Any:
            """Overwrite target (n_iterations, n_panels, 1, width) with the values at x (…, n_in, …).

            For the first n_samples columns of each iteration. Stops at a value that is not finite; returns
            its place (n_in,) and that value, or an empty place.
            """
            width = x.shape[3]
            place = np.empty(n_in)
            for k in range(x.shape[0]):
                for p in range(x.shape[1]):
                    for s in range(min(width, n_samples - p * width)):
                        for f in range(n_in):
                            place[f] = x[k, p, f, s]
                        value = function(*to_fixed_tuple(place, n_in))
                        if not np.isfinite(value):
                            return place, float(value)
                        target[k, p, 0, s] = value
            return np.empty(0), 0.0

        return kernel(target_panels)

    return make
