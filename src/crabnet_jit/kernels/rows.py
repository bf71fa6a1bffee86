"""From rows, as users see batches, to panels, as kernels read them."""

from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import lanes, load_column, splat, store
from crabnet_jit.kernels.view import matrix, panel


@kernel
def fill_panels(rows: Any, scale: Any, shift: Any, n_samples: Any, x: Any) -> None:
    """x = rows * scale + shift, feature by feature, rounded after each of the two steps.

    rows (n_iterations * n_samples * n_features,) hold the samples of one iteration after the other;
    scale and shift are (n_features,). Overwrites the panels x (n_iterations, n_panels, n_features,
    width); columns beyond n_samples become 0.
    """
    n_iterations, n_panels, n_features, width = x.shape
    for iteration in range(n_iterations):
        for p in range(n_panels):
            n = min(width, n_samples - p * width)
            first = (iteration * n_samples + p * width) * n_features
            _fill_panel(matrix(rows, first, n, n_features), scale, shift, panel(x, iteration, p))


@kernel
def _fill_panel(rows: Any, scale: Any, shift: Any, x: Any) -> None:
    n, n_features = rows.shape
    n_by_vector = n - n % lanes(x)
    for f in range(n_features):
        factor, offset = splat(x, scale[f]), splat(x, shift[f])
        for s in range(0, n_by_vector, lanes(x)):
            store(x, f, s, load_column(rows, s, f) * factor + offset)
        for s in range(n_by_vector, n):
            x[f, s] = rows[s, f] * scale[f] + shift[f]
        for s in range(n, x.shape[1]):
            x[f, s] = 0.0
