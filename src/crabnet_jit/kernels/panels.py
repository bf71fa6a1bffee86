"""Conversion of batches of rows to panels of columns, and back.

A panel has one row per feature and one column per sample, which is what kernels read.
All panels have the same width, as kernels assume; the columns after the last sample are padding with weight
0. A large batch becomes several panels.
"""

import numpy as np
from numpy.typing import DTypeLike

from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.machine.llvm import PANEL

GROUP = 8  # panels that go through a network together: few enough for their workspace to stay in the cache


def panel_shape(n_samples: int) -> tuple[int, int]:
    """The number of panels for a batch, and their width."""
    return -(-n_samples // PANEL), PANEL


def pack(rows: Array, padding: float | None = None) -> Array:
    """Panels (1, n_panels, n_features, width) of the batch (n_samples, n_features).

    The columns after the last sample repeat the first one, so that users' functions only see samples; or they
    are `padding`.
    """
    n_samples, n_features = rows.shape
    n_panels, width = panel_shape(n_samples)
    if n_panels == 1:
        return pack_one(rows, padding)[None, None]
    padded = np.empty((n_panels * width, n_features), rows.dtype)
    padded[:n_samples] = rows
    padded[n_samples:] = rows[0] if padding is None else padding
    panels = aligned_zeros(1, n_panels, n_features, width, dtype=rows.dtype)
    panels[:] = padded.reshape(1, n_panels, width, n_features).transpose(0, 1, 3, 2)
    return panels


def repeat_sample(panels: Array, n_samples: int) -> None:
    """Fill the columns after each batch with its first sample; panels (n_iterations, n_panels, …, width)."""
    n_panels, width = panels.shape[1], panels.shape[3]
    for p in range(n_samples // width, n_panels):
        panels[:, p, :, max(0, n_samples - p * width) :] = panels[:, 0, :, :1]


def unpack(panels: Array, n_samples: int) -> Array:
    """The batch (n_samples, n_features) that panels (1, n_panels, n_features, width) hold."""
    _, n_panels, n_features, width = panels.shape
    rows = panels.transpose(0, 1, 3, 2).reshape(n_panels * width, n_features)
    return np.ascontiguousarray(rows[:n_samples])


def pack_one(rows: Array, padding: float | None = None) -> Array:
    """One panel (n_features, width) of the whole batch, however wide; padded as `pack` does."""
    n_samples, n_features = rows.shape
    panel = aligned_zeros(n_features, round_up(n_samples), dtype=rows.dtype)
    panel[:, :n_samples] = rows.T
    panel[:, n_samples:] = rows[:1].T if padding is None else padding
    return panel


def unpack_one(panel: Array, n_samples: int) -> Array:
    """The batch (n_samples, n_features) that one panel holds."""
    return np.ascontiguousarray(panel[:, :n_samples].T)


def plain_weights(n_iterations: int, n_samples: int, dtype: DTypeLike = np.float64, n_rows: int = 1) -> Array:
    """Weights (n_iterations, n_panels, n_rows, width) of a plain mean: 1 / n_samples for each sample."""
    n_panels, width = panel_shape(n_samples)
    weights = aligned_zeros(n_iterations, n_panels, n_rows, width, dtype=dtype)
    weights[:, : n_samples // width] = 1.0 / n_samples
    weights[:, n_samples // width :, :, : n_samples % width] = 1.0 / n_samples
    return weights


def round_up(n: int) -> int:
    """The number of columns in all panels of n samples."""
    return -(-n // PANEL) * PANEL


def without_weight(rows: Array, weights: Array) -> Array:
    """Rows (n_samples, n_features) in which the first row of weight above 0 replaces all rows of weight 0.

    Those do not count. But a number in them that overflows in a layer, times a gradient of 0, would be NaN.
    """
    counts = weights > 0
    return rows if counts.all() else np.where(counts[:, None], rows, rows[counts.argmax()])
