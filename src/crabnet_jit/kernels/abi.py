"""The kernels that a run calls through addresses: seven kinds, their signatures, and whether any is called.

    activation  (z, a, y, dy_dz)                              panels, a number, panels
    jets        (z, a, y, first, second, third)               panels, a number, panels
    residuals   (x, jets, weight, units, factor, r, dr_djets) groups, a matrix of float64, a number, groups
    loss        (y, target, weight, constants, dL_dy)         panels, float64, a panel
    curvature   (y, target, weight, constants, roots, means)  panels, float64, panels
    penalty     (parameters, gradients, penalties)            flat buffers, float64
    update      (parameters, gradients, state, numbers, rate) flat buffers, float64, a number

Each returns a float64. The panels and flat buffers are of the network's type.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types

from crabnet_jit.kernels import entries
from crabnet_jit.kernels.layout import IDENTITY, RELU
from crabnet_jit.kernels.optimizers import MOMENTUM
from crabnet_jit.kernels.penalties_and_clipping import CLIP_NORM, CLIP_VALUE, L1, L2
from crabnet_jit.kernels.structs import ACTIVATIONS, CURVATURE, LOSS, PENALIZE, UPDATE
from crabnet_jit.machine.address import INLINED, address_of, addresses, array_type, by_kernel

_NUMBERS = array_type(np.dtype(np.float64), 1)


@by_kernel
def activation_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    panel = array_type(dtype, 2)
    return address_of(kernel, panel, types.float64, panel, panel)


@by_kernel
def _jets_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    """The address of an activation with its first three derivatives."""
    panel = array_type(dtype, 2)
    return address_of(kernel, panel, types.float64, panel, panel, panel, panel)


@by_kernel
def _residuals_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    group, units = array_type(dtype, 3), array_type(np.dtype(np.float64), 2)
    return address_of(kernel, group, group, group, units, types.float64, group, group)


@by_kernel
def _loss_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    panel = array_type(dtype, 2)
    return address_of(kernel, panel, panel, panel, _NUMBERS, panel)


@by_kernel
def _curvature_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    panel = array_type(dtype, 2)
    return address_of(kernel, panel, panel, panel, _NUMBERS, panel, panel)


@by_kernel
def _penalty_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    flat = array_type(dtype, 1)
    return address_of(kernel, flat, flat, _NUMBERS)


@by_kernel
def _update_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    flat = array_type(dtype, 1)
    return address_of(kernel, flat, flat, flat, _NUMBERS, types.float64)


def calls_of(
    dtype: "np.dtype[Any]",
    activations: Sequence[tuple[int, Any]],
    loss: Any = None,
    penalties: Any = None,
    update: Any = None,
    numbers: Any = None,
    curvature: Any = None,
    *,
    has_masks: bool = False,
) -> Any:
    """The addresses of all kernels that a run calls (structs.py), or None if all are compiled into it.

    Parameters
    ----------
    dtype : dtype
        Type of the network.
    activations : sequence of (int, kernel)
        The kind of each layer's activation (layout.py), and its kernel.
    loss, penalties : kernel and array of float64
        Given if the loss is computed.
    update, numbers : kernel and array of float64
        The update rule and its constants, if the network is trained.
    curvature : kernel
        The kernel of the loss's curvature, if it is needed.
    has_masks : bool
        Whether there is dropout. All activations are then called, since the loops of the linear layer do
        not handle masks.
    """
    found = [INLINED] * ACTIVATIONS
    if loss is not None and loss is not entries.loss_forward["mse"]:
        found[LOSS] = _loss_address(loss, dtype)
    if penalties is not None and not _do_nothing(penalties):
        found[PENALIZE] = _penalty_address(entries.penalize, dtype)
    if update is not None and not (update is entries.update["momentum"] and numbers[MOMENTUM] == 0.0):
        found[UPDATE] = _update_address(update, dtype)
    if curvature is not None:
        found[CURVATURE] = _curvature_address(curvature, dtype)
    last = len(activations) - 1
    for layer, (kind, kernel) in enumerate(activations):
        # The gradient of a ReLU is part of the loops of the layer after it, and nothing comes after the last.
        in_loops = kind == IDENTITY or (kind == RELU and layer < last)
        is_inlined = in_loops and not (has_masks and layer < last)
        found.append(INLINED if is_inlined else activation_address(kernel, dtype))
    return addresses(found) if any(found) else None


def jet_calls_of(
    dtype: "np.dtype[Any]", activations: Sequence[Any], *of_run: Any, residuals: Sequence[Any] = ()
) -> Any:
    """The same for kernels that propagate jets through a network (jets.py), which call all activations.

    `activations` are the kernels that return all derivatives (jet_entries.py). `of_run` are the arguments of
    `calls_of` after those. `residuals` are kernels of equations (residuals.py); their addresses come last.
    """
    found = calls_of(dtype, (), *of_run) or [INLINED] * ACTIVATIONS
    of_layers = (_jets_address(kernel, dtype) for kernel in activations)
    return addresses([*found, *of_layers, *(_residuals_address(kernel, dtype) for kernel in residuals)])


def _do_nothing(penalties: Any) -> bool:
    limits = penalties[CLIP_VALUE], penalties[CLIP_NORM]
    return penalties[L1] == penalties[L2] == 0.0 and limits == (math.inf, math.inf)
