"""The mean squared error and its gradient."""

from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import first_lanes, fma, lanes, load, splat, store, sum_lanes, where


@kernel
def mse_forward(x: Any, target: Any, n_samples: Any, scale: Any, dL_dx: Any) -> Any:
    """Return scale * sum((target - x)**2) over the first n_samples columns.

    Overwrites dL_dx with the gradient, 2 * scale * (x - target), and 0 in the columns
    behind. With scale = 1 / (number of elements of the whole batch) it is the mean.
    """
    zero = splat(x, 0.0)
    factor = splat(x, 2.0 * scale)
    total = zero
    for s in range(0, x.shape[1], lanes(x)):
        inside = first_lanes(x, n_samples - s)
        for i in range(x.shape[0]):
            error = where(inside, load(x, i, s) - load(target, i, s), zero)
            total = fma(error, error, total)
            store(dL_dx, i, s, factor * error)
    return scale * sum_lanes(total)
