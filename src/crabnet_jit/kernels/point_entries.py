"""Kernels for fitted networks: for single samples in users' compiled code, and for a few from Python.

They are like those of entries.py, but apart from them, since a training run does not need them.
"""

import numpy as np

from crabnet_jit.kernels import activations, few_rows, point
from crabnet_jit.kernels.layout import KINDS
from crabnet_jit.machine.jit import entry_point

activation_curvature = {
    name: entry_point(activations.activation_curvature(getattr(activations, name)), f"{name}_curvature")
    for name in KINDS
}
point_value = {
    zero.dtype: entry_point(point.value_kernel(zero), f"point_value_{zero.dtype}")
    for zero in (np.float64(0), np.float32(0))
}
point_derivatives = {
    zero.dtype: entry_point(point.derivatives_kernel(zero), f"point_derivatives_{zero.dtype}")
    for zero in (np.float64(0), np.float32(0))
}
predict_few_rows = {
    zero.dtype: entry_point(few_rows.few_rows_kernel(zero), f"predict_few_rows_{zero.dtype}")
    for zero in (np.float64(0), np.float32(0))
}
derivatives_of_rows = entry_point(point.derivatives_of_rows, "derivatives_of_rows")
