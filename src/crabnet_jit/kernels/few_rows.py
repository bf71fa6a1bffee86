"""The outputs for a few samples, called from Python with minimal overhead: a record and two arrays.

The arithmetic is the same as in `predict` of network.py, on the same panels, so the bits are the same.
"""

from typing import Any

import numpy as np

from crabnet_jit.arrays import Flat, Matrix
from crabnet_jit.kernels.network import network_forward
from crabnet_jit.kernels.point import CALLS, N_LAYERS, N_UNITS, view_of
from crabnet_jit.kernels.structs import ACTIVATIONS, Network, Workspace
from crabnet_jit.machine.flat import flat_at, stack
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.view import group


def few_rows_kernel(zero: Any) -> Any:
    """The kernel for networks whose type is that of `zero`."""

    def predict_few_rows(record: Flat, x: Matrix, y: Matrix) -> bool:
        """Overwrite y (n_samples, n_out) with the outputs for x (n_samples, n_in), in the units of the data.

        Return whether all numbers of x are finite, also after standardisation in the network's type; if not,
        y is meaningless. It takes some kilobytes of stack for every hundred units of the network.
        """
        point, n_units = view_of(record, zero), record[N_UNITS]
        calls = flat_at(record, record[CALLS], ACTIVATIONS + record[N_LAYERS])
        network = Network(point.layout, point.constants, point.parameters)
        h, dh_dz = stack(zero, n_units * PANEL), stack(zero, n_units * PANEL)
        workspace = Workspace(h, dh_dz, h, h, None, None, None)
        n_samples, n_in = x.shape
        n_out = y.shape[1]
        inputs = stack(zero, n_in * PANEL)
        panel, no_masks = group(inputs, 0, 1, n_in), group(h, 0, 0, 0)
        for first in range(0, n_samples, PANEL):
            n_left = n_samples - first
            for i in range(n_in):
                mean, std = point.x_units[i], point.x_units[n_in + i]
                for s in range(PANEL):
                    row = first + s if s < n_left else 0
                    panel[0, i, s] = (x[row, i] - mean) / std
                    if not abs(panel[0, i, s]) < np.inf:
                        return False
            result = network_forward(network, calls, panel, no_masks, workspace)
            for s in range(n_left if n_left < PANEL else PANEL):
                for k in range(n_out):
                    y[first + s, k] = result[0, k, s] * point.y_units[n_out + k] + point.y_units[k]
        return True

    return kernel(predict_few_rows)
