"""The linear layer, y = W x + b for every sample, and its gradients.

Groups of panels have one row per feature and one column per sample; see the package's docstring.
Shapes: W (n_out, n_in), b (n_out, 1), x (n_panels, n_in, PANEL), y (n_panels, n_out, PANEL).

A large layer may take seconds, so all kernels stop in the middle when `interrupt` is set (interrupt.py),
unless it is None; their callers must check it, too.

Tiles of 8 vectors keep the multiply-add units busy: 8 independent sums are enough to hide a latency of 4
cycles. If a panel is only one vector wide, tiles take panels in `pairs`, unless that is None: each number
loaded from W then serves two vectors.
"""

from crabnet_jit.arrays import Flag, Group, Matrix, Number, Panel
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.tile import (
    tile_add_product,
    tile_columns,
    tile_combine,
    tile_dot,
    tile_maximum,
    tile_rows,
    tile_start,
    tile_start_row,
    tile_store,
    tile_sums,
    tile_where_positive,
)
from crabnet_jit.machine.view import pair_of, panel_of


@kernel
def linear_forward(
    W: Matrix, b: Matrix, x: Group, y: Group, rectify: bool, pairs: Number, interrupt: Flag
) -> None:
    """y = W x + b, or max(W x + b, 0) if `rectify`. Overwrites y."""
    n_paired = 0
    if pairs is not None:
        n_paired = y.shape[0] - y.shape[0] % 2
        for p in range(0, n_paired, 2):
            if is_set(interrupt):
                return
            _forward(W, b, tile_rows(panel_of(x, p)), pair_of(x, p), pair_of(y, p), rectify)
    for p in range(n_paired, y.shape[0]):
        if is_set(interrupt):
            return
        _forward(W, b, tile_rows(panel_of(x, p)), panel_of(x, p), panel_of(y, p), rectify)


@kernel
def _forward(W: Matrix, b: Matrix, n_rows: Number, x: Panel, y: Panel, rectify: bool) -> None:
    """The same for a panel or a pair. Rows are summed as in tiles of `n_rows`, and the rest one by one."""
    n_out = W.shape[0]
    n_in_tiles = n_out - n_out % n_rows
    for o in range(0, n_in_tiles, tile_rows(x)):
        tile = tile_add_product(tile_start(x, b, o), W, o, x)
        tile_store(tile_maximum(tile, 0.0) if rectify else tile, y, o)
    for o in range(n_in_tiles, n_out):
        row = tile_add_product(tile_start_row(x, b, o), W, o, x)
        tile_store(tile_maximum(row, 0.0) if rectify else row, y, o)


@kernel
def linear_backward_input(
    W: Matrix, dL_dy: Group, x: Group, dL_dx: Group, rectified: bool, pairs: Number, interrupt: Flag
) -> None:
    """dL_dx = W^T dL_dy. Overwrites dL_dx.

    If x was `rectified`, dL_dx is the gradient before the ReLU: 0 where x is not positive.
    """
    n_paired = 0
    if pairs is not None:
        n_paired = x.shape[0] - x.shape[0] % 2
        for p in range(0, n_paired, 2):
            if is_set(interrupt):
                return
            n_rows = tile_rows(panel_of(x, p))
            _backward_input(W, n_rows, pair_of(dL_dy, p), pair_of(x, p), pair_of(dL_dx, p), rectified)
    for p in range(n_paired, x.shape[0]):
        if is_set(interrupt):
            return
        n_rows = tile_rows(panel_of(x, p))
        _backward_input(W, n_rows, panel_of(dL_dy, p), panel_of(x, p), panel_of(dL_dx, p), rectified)


@kernel
def _backward_input(W: Matrix, n_rows: Number, dL_dy: Panel, x: Panel, dL_dx: Panel, rectified: bool) -> None:
    """The same for a panel or a pair. Rows are summed as in tiles of `n_rows`, and the rest one by one."""
    n_in = W.shape[1]
    n_in_tiles = n_in - n_in % n_rows
    for i in range(0, n_in_tiles, tile_rows(x)):
        tile = tile_add_product(tile_start(x, 0.0, 0), W.T, i, dL_dy)
        tile_store(tile_where_positive(tile, x, i) if rectified else tile, dL_dx, i)
    for i in range(n_in_tiles, n_in):
        row = tile_add_product(tile_start_row(x, 0.0, 0), W.T, i, dL_dy)
        tile_store(tile_where_positive(row, x, i) if rectified else row, dL_dx, i)


@kernel
def linear_backward_parameters(
    dL_dy: Group, x: Group, dL_dW: Matrix, dL_db: Matrix, add: bool, interrupt: Flag
) -> None:
    """dL_dW = dL_dy x^T and dL_db = dL_dy 1; or both added if `add`.

    Columns after the batch must be 0 in dL_dy.
    """
    row_products(dL_dy, x, dL_dW, add, interrupt)
    row_sums(dL_dy, dL_db.T, add)


@kernel
def row_products(A: Group, B: Group, C: Matrix, add: bool, interrupt: Flag) -> None:
    """C = A B^T: every row of A times every row of B, summed over the samples; or added if `add`."""
    n_panels = A.shape[0]
    n_rows, n_columns = C.shape
    rows_by_2 = n_rows - n_rows % 2
    rows_by_4 = n_rows - n_rows % 4
    columns_by_8 = n_columns - n_columns % 8
    columns_by_2 = n_columns - n_columns % 2
    # Instructions besides multiply-adds: either 48 to transpose 8 rows of a panel, and then 3 for each row of
    # A and panel; or 21 for each row of A, to add up lanes.
    are_transposed = n_rows * (21 - 3 * n_panels) >= 48 * n_panels
    for c in range(0, columns_by_8, 8):
        if is_set(interrupt):
            return
        if are_transposed:
            _combine_columns(A, B, c, C, add)
        else:
            for r in range(0, rows_by_2, 2):
                tile_sums(tile_dot(A, r, 2, B, c, 8), C, r, c, add)
            for r in range(rows_by_2, n_rows):
                tile_sums(tile_dot(A, r, 1, B, c, 8), C, r, c, add)
    for c in range(columns_by_8, columns_by_2, 2):
        for r in range(0, rows_by_4, 4):
            tile_sums(tile_dot(A, r, 4, B, c, 2), C, r, c, add)
        for r in range(rows_by_4, n_rows):
            tile_sums(tile_dot(A, r, 1, B, c, 2), C, r, c, add)
    for c in range(columns_by_2, n_columns):
        for r in range(n_rows):
            tile_sums(tile_dot(A, r, 1, B, c, 1), C, r, c, add)


@kernel
def _combine_columns(A: Group, B: Group, c: Number, C: Matrix, add: bool) -> None:
    """Eight columns of C from c on: rows of A times the columns of eight rows of B."""
    for p in range(A.shape[0]):
        columns, A_p = tile_columns(panel_of(B, p), c), panel_of(A, p)
        for r in range(A.shape[1]):
            tile_combine(columns, A_p, r, C, c, add or p > 0)


@kernel
def row_sums(A: Group, C: Matrix, add: bool) -> None:
    """C = 1 A^T: the sum of every row of A; or added if `add`. C is one row."""
    n_rows = A.shape[1]
    rows_by_8 = n_rows - n_rows % 8
    for r in range(0, rows_by_8, 8):
        tile_sums(tile_dot(1.0, 0, 1, A, r, 8), C, 0, r, add)
    for r in range(rows_by_8, n_rows):
        tile_sums(tile_dot(1.0, 0, 1, A, r, 1), C, 0, r, add)
