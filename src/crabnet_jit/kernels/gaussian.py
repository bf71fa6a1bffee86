"""The article's target: a scaled Gaussian of the coordinates."""

from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.exponential import exp
from crabnet_jit.kernels.vector import fma, lanes, load, splat, store
from crabnet_jit.kernels.view import panel


@kernel
def gaussian_panels(x: Any, target: Any) -> None:
    """target = 5 exp(-|x|^2 / 2) for every sample.

    x (n_iterations, n_panels, n_in, width); overwrites target, the same with one feature.
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
