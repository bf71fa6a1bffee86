"""The rectified linear unit, y = max(x, 0), and its gradient. NaN stays NaN."""

from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import lanes, load, maximum, splat, store, where


@kernel
def relu_forward(x: Any, y: Any) -> None:
    """y = max(x, 0). Overwrites y, which may be x."""
    zero = splat(x, 0.0)
    for i in range(x.shape[0]):
        for s in range(0, x.shape[1], lanes(x)):
            store(y, i, s, maximum(zero, load(x, i, s)))


@kernel
def relu_backward(y: Any, dL_dy: Any, dL_dx: Any) -> None:
    """dL_dx = dL_dy where x > 0, which is where y > 0, else 0. Overwrites dL_dx, which may be dL_dy."""
    zero = splat(y, 0.0)
    for i in range(y.shape[0]):
        for s in range(0, y.shape[1], lanes(y)):
            store(dL_dx, i, s, where(load(y, i, s) > zero, load(dL_dy, i, s), zero))
