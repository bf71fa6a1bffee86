"""The article's target: a scaled Gaussian of the coordinates."""

import math
from typing import Any

from crabnet_jit.kernels._jit import kernel


@kernel
def gaussian_panels(x: Any, target: Any) -> None:
    """target = 5 exp(-|x|^2 / 2) for every sample.

    x (n_iterations, n_panels, n_in, width); overwrites target, the same with one feature.
    """
    n_iterations, n_panels, n_in, width = x.shape
    for iteration in range(n_iterations):
        for p in range(n_panels):
            for s in range(width):
                square = 0.0
                for f in range(n_in):
                    square += x[iteration, p, f, s] * x[iteration, p, f, s]
                target[iteration, p, 0, s] = 5.0 * math.exp(-0.5 * square)
