"""What a run calls through addresses: four kinds of kernels, their signatures, and how to get an address.

    activation  (z, a, y, dy_dz)                              panels, a number, panels
    loss        (y, target, weight, a, dL_dy)                 panels, a number, a panel
    penalty     (parameters, gradients, penalties)            flat buffers, float64
    update      (parameters, gradients, state, numbers, rate) flat buffers, float64, a number

Each returns a float64. The panels and flat buffers are of the network's type.
"""

from typing import Any

import numpy as np
from numba import types

from crabnet_jit.machine.address import address_of, array_type, by_kernel

_NUMBERS = array_type(np.dtype(np.float64), 1)


@by_kernel
def activation_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    """That of an activation, for networks of this type."""
    panel = array_type(dtype, 2)
    return address_of(kernel, panel, types.float64, panel, panel)


@by_kernel
def loss_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    """That of a loss."""
    panel = array_type(dtype, 2)
    return address_of(kernel, panel, panel, panel, types.float64, panel)


@by_kernel
def penalty_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    """That of what adds penalties to gradients, and clips them."""
    flat = array_type(dtype, 1)
    return address_of(kernel, flat, flat, _NUMBERS)


@by_kernel
def update_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    """That of an update rule."""
    flat = array_type(dtype, 1)
    return address_of(kernel, flat, flat, flat, _NUMBERS, types.float64)
