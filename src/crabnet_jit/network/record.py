"""The place of a network in memory, for users' compiled code (kernels/point.py)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types

from crabnet_jit import check
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.kernels import point, point_entries
from crabnet_jit.kernels.abi import activation_address
from crabnet_jit.kernels.layout import CUSTOM, IDENTITY, KINDS, N_OUT, RELU
from crabnet_jit.kernels.structs import ACTIVATIONS, Network
from crabnet_jit.machine import network_type
from crabnet_jit.machine.address import INLINED, address_of, array_type, by_kernel
from crabnet_jit.machine.flat import LANES
from crabnet_jit.machine.llvm import PANEL

_MAX_UNITS = 16_384  # with this many, derivatives take a megabyte of stack


class Record:
    """Addresses of a network's kernels and arrays; it does not move as long as the network is alive.

    At first it lacks the kernels that users' compiled code calls, which `load_kernels` adds.

    Attributes
    ----------
    address : int
        The address of its integers, which `values` shows.
    """

    def __init__(self, network: Network, activations: Sequence[tuple[int, Any]]) -> None:
        self._network, self._activations = network, activations
        self._dtype = network.parameters.dtype
        n_in, n_out = int(network.layout[0, 0]), int(network.layout[-1, N_OUT])
        self._x_units, self._y_units = np.ones(2 * n_in + LANES), np.ones(2 * n_out)
        self._box = np.zeros(2 * n_in)
        self._places = np.zeros((len(activations), 3), np.int64)
        widths = -(-network.layout[:, N_OUT] // PANEL) * PANEL
        self._places[1:, point.START] = np.cumsum(widths)[:-1]
        called = [
            INLINED if kind in (IDENTITY, RELU) else activation_address(kernel, self._dtype)
            for kind, kernel in activations
        ]
        self._places[:, point.ACTIVATION] = called
        self._calls = np.array([INLINED] * ACTIVATIONS + called)
        self.values = np.zeros(network_type.RECORD_SIZE, np.int64)
        self.values[point.N_LAYERS] = len(activations)
        self.values[point.N_UNITS] = widths.sum()
        for entry, array in (
            (point.LAYOUT, network.layout),
            (point.PLACES, self._places),
            (point.CALLS, self._calls),
            (point.CONSTANTS, network.constants),
            (point.PARAMETERS, network.parameters),
            (point.X_UNITS, self._x_units),
            (point.Y_UNITS, self._y_units),
        ):
            self.values[entry] = array.ctypes.data
        self.address = int(self.values.ctypes.data)

    def describe(self, units: Standardization | None, link: int, domain: Domain | None) -> None:
        """Set the units of inputs and outputs, the link from outputs to values, and the box of inputs."""
        self.values[point.LINK] = link
        if domain is not None:
            self._box[:] = np.concatenate([domain.low, domain.high])
        self.values[network_type.BOX] = 0 if domain is None else self._box.ctypes.data
        n_in, n_out = self._box.size // 2, self._y_units.size // 2
        x_mean, x_std, y_mean, y_std = (0.0, 1.0, 0.0, 1.0) if units is None else units
        self._x_units[:n_in], self._x_units[n_in : 2 * n_in] = x_mean, x_std
        self._y_units[:n_out], self._y_units[n_out:] = y_mean, y_std

    def load_kernels(self) -> None:
        """Compile what it calls, or load it from the disk, unless that has been done.

        Raises
        ------
        InvalidArgumentError
            If the network has too many units for a thread's stack.
        """
        if self.values[network_type.VALUE] != 0:
            return
        n_units = int(self.values[point.N_UNITS]) + self._box.size // 2
        if n_units > _MAX_UNITS:
            allowed = f"limited to {_MAX_UNITS:,} inputs and units, for compiled code and derivatives"
            raise check.reject("net", allowed, f"{n_units:,}")
        for layer, (kind, _) in enumerate(self._activations):
            if kind not in (IDENTITY, RELU, CUSTOM):
                curvature = _curvature_address(point_entries.activation_curvature[KINDS[kind]], self._dtype)
                self._places[layer, point.CURVATURE] = curvature
        self.values[network_type.DERIVATIVES] = _derivatives_address(
            point_entries.point_derivatives[self._dtype], self._dtype
        )
        self.values[network_type.VALUE] = _value_address(point_entries.point_value[self._dtype], self._dtype)


@by_kernel
def _value_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    return address_of(kernel, *network_type.VALUE_TYPES)


@by_kernel
def _derivatives_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    return address_of(kernel, *network_type.DERIVATIVES_TYPES)


@by_kernel
def _curvature_address(kernel: Any, dtype: "np.dtype[Any]") -> int:
    panel = array_type(dtype, 2)
    return address_of(kernel, panel, types.float64, panel)
