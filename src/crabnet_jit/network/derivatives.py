"""Derivatives of a network with respect to its inputs, at all samples of an array."""

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.kernels import point
from crabnet_jit.kernels.point_entries import derivatives_of_rows
from crabnet_jit.kernels.structs import TWO_CLASSES
from crabnet_jit.network.record import Record


def jacobians(record: Record, rows: Array, n_out: int) -> Array:
    """dy/dx (n_samples, n_out, n_in) for rows (n_samples, n_in) in the units of the data."""
    return _derivatives(record, rows, n_out, has_second=False)[0]


def hessians(record: Record, rows: Array, n_out: int) -> Array:
    """d2y/dx2 (n_samples, n_out, n_in, n_in)."""
    return _derivatives(record, rows, n_out, has_second=True)[1]


def _derivatives(record: Record, rows: Array, n_out: int, *, has_second: bool) -> tuple[Array, Array]:
    record.load_kernels()
    n_samples, n_in = rows.shape
    J = np.empty((n_samples, n_out, n_in))
    H = np.empty((n_samples if has_second else 0, n_out, n_in, n_in))
    y = np.empty(2 if record.values[point.LINK] == TWO_CLASSES else n_out)
    x = rows.flatten()  # a copy: a read-only array would need another compilation
    derivatives_of_rows(record.values, x, y, J.ravel(), H.ravel(), n_in, n_out)
    return J, H
