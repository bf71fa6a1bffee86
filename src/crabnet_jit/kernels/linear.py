"""The linear layer, y = W x + b for every sample, and its gradients.

Panels have one row per feature and one column per sample, see the package's
docstring. Shapes: W (n_out, n_in), b (n_out, 1), x (n_in, width), y (n_out, width).

A layer may be so large that it takes seconds, so all stop in the middle when `interrupt` is set
(interrupt.py), unless it is None; their caller has to look there, too.

Tiles of 4 x 2 vectors keep the multiply-add units busy: 8 sums run side by side, enough
to hide a latency of 4 cycles, and 8 multiply-adds need 6 loads.
"""

from crabnet_jit.arrays import Flag, Matrix, Number, Panel, Tile
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.tile import (
    tile_add_sums,
    tile_dot,
    tile_full,
    tile_maximum,
    tile_outer,
    tile_store,
    tile_where_positive,
)
from crabnet_jit.machine.vector import lanes


@kernel
def linear_forward(W: Matrix, b: Matrix, x: Panel, y: Panel, rectify: bool, interrupt: Flag) -> None:
    """y = W x + b, or max(W x + b, 0) if `rectify`. Overwrites y."""
    n_out, width = y.shape
    n_out_by_4 = n_out - n_out % 4
    for s in range(0, width, 2 * lanes(x)):
        if is_set(interrupt):
            return
        for o in range(0, n_out_by_4, 4):
            tile = _add_product(tile_full(x, 4, 2, b, o), W, o, x, s)
            tile_store(tile_maximum(tile, 0.0) if rectify else tile, y, o, s)
        for o in range(n_out_by_4, n_out):
            row = _add_product(tile_full(x, 1, 2, b, o), W, o, x, s)
            tile_store(tile_maximum(row, 0.0) if rectify else row, y, o, s)


@kernel
def linear_backward_input(
    W: Matrix, dL_dy: Panel, x: Panel, dL_dx: Panel, rectified: bool, interrupt: Flag
) -> None:
    """dL_dx = W^T dL_dy. Overwrites dL_dx.

    If x was `rectified`, dL_dx is the gradient before that: 0 where x is not positive.
    """
    n_in, width = x.shape
    n_in_by_4 = n_in - n_in % 4
    for s in range(0, width, 2 * lanes(x)):
        if is_set(interrupt):
            return
        for i in range(0, n_in_by_4, 4):
            tile = _add_product(tile_full(x, 4, 2, 0.0, 0), W.T, i, dL_dy, s)
            tile_store(tile_where_positive(tile, x, i, s) if rectified else tile, dL_dx, i, s)
        for i in range(n_in_by_4, n_in):
            row = _add_product(tile_full(x, 1, 2, 0.0, 0), W.T, i, dL_dy, s)
            tile_store(tile_where_positive(row, x, i, s) if rectified else row, dL_dx, i, s)


@kernel
def _add_product(tile: Tile, A: Matrix, r: Number, B: Matrix, s: Number) -> Tile:
    """The tile at row r and column s of A B, added to `tile`."""
    for k in range(B.shape[0]):
        tile = tile_outer(tile, A, r, B, k, s)
    return tile


@kernel
def linear_backward_parameters(dL_dy: Panel, x: Panel, dL_dW: Matrix, dL_db: Matrix, interrupt: Flag) -> None:
    """dL_dW += dL_dy x^T and dL_db += dL_dy 1. Columns beyond the batch must be 0 in dL_dy."""
    _add_row_products(dL_dy, x, dL_dW, interrupt)
    _add_row_sums(dL_dy, dL_db.T)


@kernel
def _add_row_products(A: Matrix, B: Matrix, C: Matrix, interrupt: Flag) -> None:
    """C += A B^T: every row of A times every row of B, summed over the samples."""
    n_rows, n_columns = C.shape
    rows_by_2 = n_rows - n_rows % 2
    rows_by_4 = n_rows - n_rows % 4
    columns_by_8 = n_columns - n_columns % 8
    columns_by_2 = n_columns - n_columns % 2
    for c in range(0, columns_by_8, 8):
        if is_set(interrupt):
            return
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
def _add_row_sums(A: Matrix, C: Matrix) -> None:
    """C += 1 A^T: the sum of every row of A; C is one row."""
    n_rows = A.shape[0]
    rows_by_8 = n_rows - n_rows % 8
    for r in range(0, rows_by_8, 8):
        _dot_tile(tile_full(A, 1, 8, 0.0, 0), 1.0, 0, A, r, C)
    for r in range(rows_by_8, n_rows):
        _dot_tile(tile_full(A, 1, 1, 0.0, 0), 1.0, 0, A, r, C)


@kernel
def _dot_tile(tile: Tile, A: Matrix, r: Number, B: Matrix, c: Number, C: Matrix) -> None:
    for s in range(0, B.shape[1], lanes(B)):
        tile = tile_dot(tile, A, r, B, c, s)
    tile_add_sums(tile, C, r, c)
