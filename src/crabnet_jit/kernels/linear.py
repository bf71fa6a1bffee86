"""The linear layer, y = W x + b for every sample, and its gradients.

Panels have one row per feature and one column per sample, see the package's
docstring. Shapes: W (n_out, n_in), b (n_out, 1), x (n_in, width), y (n_out, width).

Tiles of 4 x 2 vectors keep the multiply-add units busy: 8 sums run side by side,
enough to hide a latency of 4 cycles, and each takes part of only 6 loads.
"""

from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.tile import tile_add_sums, tile_dot, tile_full, tile_outer, tile_store
from crabnet_jit.kernels.vector import lanes


@kernel
def linear_forward(W: Any, b: Any, x: Any, y: Any) -> None:
    """y = W x + b. Overwrites y."""
    _matrix_product(W, b, x, y)


@kernel
def linear_backward_input(W: Any, dL_dy: Any, dL_dx: Any) -> None:
    """dL_dx = W^T dL_dy. Overwrites dL_dx."""
    _matrix_product(W.T, 0.0, dL_dy, dL_dx)


@kernel
def linear_backward_parameters(dL_dy: Any, x: Any, dL_dW: Any, dL_db: Any) -> None:
    """dL_dW += dL_dy x^T and dL_db += dL_dy 1. Columns beyond the batch must be 0 in dL_dy."""
    _add_row_products(dL_dy, x, dL_dW)
    _add_row_sums(dL_dy, dL_db)


@kernel
def _matrix_product(A: Any, start: Any, B: Any, C: Any) -> None:
    """C = start + A B, where `start` is a column (n, 1) or a number."""
    n_rows, width = C.shape
    rows_by_4 = n_rows - n_rows % 4
    for s in range(0, width, 2 * lanes(B)):
        for r in range(0, rows_by_4, 4):
            _product_tile(tile_full(B, 4, 2, start, r), A, r, B, s, C)
        for r in range(rows_by_4, n_rows):
            _product_tile(tile_full(B, 1, 2, start, r), A, r, B, s, C)


@kernel
def _product_tile(tile: Any, A: Any, r: Any, B: Any, s: Any, C: Any) -> None:
    for k in range(B.shape[0]):
        tile = tile_outer(tile, A, r, B, k, s)
    tile_store(tile, C, r, s)


@kernel
def _add_row_products(A: Any, B: Any, C: Any) -> None:
    """C += A B^T: every row of A times every row of B, summed over the samples."""
    n_rows, n_columns = C.shape
    rows_by_2 = n_rows - n_rows % 2
    rows_by_4 = n_rows - n_rows % 4
    columns_by_8 = n_columns - n_columns % 8
    columns_by_2 = n_columns - n_columns % 2
    for c in range(0, columns_by_8, 8):
        for r in range(0, rows_by_2, 2):
            _dot_tile(tile_full(A, 2, 8, 0.0, 0), A, r, B, c, C)
        for r in range(rows_by_2, n_rows):
            _dot_tile(tile_full(A, 1, 8, 0.0, 0), A, r, B, c, C)
    for c in range(columns_by_8, columns_by_2, 2):
        for r in range(0, rows_by_4, 4):
            _dot_tile(tile_full(A, 4, 2, 0.0, 0), A, r, B, c, C)
        for r in range(rows_by_4, n_rows):
            _dot_tile(tile_full(A, 1, 2, 0.0, 0), A, r, B, c, C)
    for c in range(columns_by_2, n_columns):
        for r in range(n_rows):
            _dot_tile(tile_full(A, 1, 1, 0.0, 0), A, r, B, c, C)


@kernel
def _add_row_sums(A: Any, C: Any) -> None:
    """C += A 1: the sum of every row of A; C has one column."""
    n_rows = C.shape[0]
    rows_by_8 = n_rows - n_rows % 8
    for r in range(0, rows_by_8, 8):
        _dot_tile(tile_full(A, 8, 1, 0.0, 0), A, r, 1.0, 0, C)
    for r in range(rows_by_8, n_rows):
        _dot_tile(tile_full(A, 1, 1, 0.0, 0), A, r, 1.0, 0, C)


@kernel
def _dot_tile(tile: Any, A: Any, r: Any, B: Any, c: Any, C: Any) -> None:
    for s in range(0, A.shape[1], lanes(A)):
        tile = tile_dot(tile, A, r, B, c, s)
    tile_add_sums(tile, C, r, c)
