"""The matrix H of curvature.py, and the contribution of a group of panels to it.

The derivative v with respect to a weight is the derivative with respect to a sum, d_o, times an input, a_i.
So the entry of H for two weights is a sum over the samples of (d_o d_q) (a_i a_j): a product of two matrices,
one of pairs of rows of d and one of pairs of rows of a. Within a layer both are symmetric, and each pair is
taken once; further outputs only add to the pairs d_o d_q. For 2-16-16-1 that is 40,273 multiply-adds per
sample instead of p (p + 1) / 2 = 56,953. J is never stored.
"""

from typing import Any

from crabnet_jit.arrays import Flag, Flat, Group, Matrix, Number
from crabnet_jit.kernels.cholesky import set_entry
from crabnet_jit.kernels.curvature import errors_of
from crabnet_jit.kernels.layout import B_START, N_IN, N_OUT, W_START, inputs
from crabnet_jit.kernels.structs import Curvature
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.meeting import share
from crabnet_jit.machine.tile import tile_dot, tile_sums
from crabnet_jit.machine.vector import lanes, load, splat, store
from crabnet_jit.machine.view import group, matrix, panel_of

_TILE_ROWS, _TILE_COLUMNS = 2, 8


@kernel
def add_blocks(
    layout: Matrix, activations: Flat, curvature: Curvature, x: Group, interrupt: Flag, team: Any
) -> None:
    """Add the contribution of the panels x to `curvature.equations`; their errors are in `curvature`.

    Each thread of a team takes its share of the rows of every block.
    """
    start = 0
    for layer in range(layout.shape[0]):
        of_layer = inputs(activations, layout, layer, x)
        for other in range(layer + 1):
            C = _block(curvature.equations, start, layout, layer, other)
            of_other = inputs(activations, layout, other, x)
            _add_block(layout, layer, of_layer, other, of_other, curvature, C, interrupt, team)
            start += C.size


@kernel
def block_shape(layout: Matrix, layer: Number, other: Number) -> tuple[Number, Number]:
    """Numbers of pairs of sums and of pairs of inputs of two layers, with room for a tile at the last one."""
    n_rows, n_columns = layout[layer, N_OUT], layout[layer, N_IN] + 1
    if layer == other:
        n_rows, n_columns = n_rows * (n_rows + 1) // 2, n_columns * (n_columns + 1) // 2
    else:
        n_rows, n_columns = n_rows * layout[other, N_OUT], n_columns * (layout[other, N_IN] + 1)
    return n_rows, -(-(n_columns + _TILE_COLUMNS - 1) // _TILE_COLUMNS) * _TILE_COLUMNS


@kernel
def _block(blocks: Flat, start: Number, layout: Matrix, layer: Number, other: Number) -> Matrix:
    n_rows, n_columns = block_shape(layout, layer, other)
    return matrix(blocks, start, n_rows, n_columns)


@kernel
def _add_block(
    layout: Matrix,
    layer: Number,
    x: Group,
    other: Number,
    x_other: Group,
    curvature: Curvature,
    C: Matrix,
    interrupt: Flag,
    team: Any,
) -> None:
    """Add the products of all pairs of two layers to C, as many pairs at a time as there is room for."""
    n_panels, is_same = x.shape[0], layer == other
    n_out = layout[layout.shape[0] - 1, N_OUT]
    n_i, n_j = layout[layer, N_IN] + 1, layout[other, N_IN] + 1
    n_o, n_q = layout[layer, N_OUT], layout[other, N_OUT]
    most = curvature.left.size // (n_panels * PANEL)
    left, right = group(curvature.left, 0, n_panels, most), group(curvature.right, 0, n_panels, most)
    mine, last = _share_of(team, n_o * (n_o + 1) // 2 if is_same else n_o * n_q)
    first_column, i = 0, 0
    while i < n_i:
        if is_set(interrupt):
            return
        n_columns = 0
        while i < n_i and n_columns + (i + 1 if is_same else n_j) + _TILE_COLUMNS <= most:
            n = i + 1 if is_same else n_j
            _multiply_rows(x, i, x_other, n, right, n_columns, False)
            n_columns += n
            i += 1
        _clear_rows(right, n_columns, _TILE_COLUMNS)
        first_row, o = 0, 0
        while o < n_o:
            n_rows = 0
            while o < n_o and n_rows + (o + 1 if is_same else n_q) <= most:
                n = o + 1 if is_same else n_q
                is_mine = first_row + n_rows < last and first_row + n_rows + n > mine
                for k in range(n_out if is_mine else 0):
                    d = errors_of(curvature, k, layout, layer, n_panels)
                    d_other = errors_of(curvature, k, layout, other, n_panels)
                    _multiply_rows(d, o, d_other, n, left, n_rows, k > 0)
                n_rows += n
                o += 1
            start = min(n_rows, max(0, mine - first_row))
            end = max(start, min(n_rows, last - first_row))
            for c in range(0, n_columns, _TILE_COLUMNS):
                for r in range(start, end - 1, _TILE_ROWS):
                    tile_sums(tile_dot(left, r, 2, right, c, 8), C, first_row + r, first_column + c, True)
                for r in range(end - (end - start) % _TILE_ROWS, end):
                    tile_sums(tile_dot(left, r, 1, right, c, 8), C, first_row + r, first_column + c, True)
            first_row += n_rows
        first_column += n_columns


@kernel
def _share_of(team: Any, n: Number) -> tuple[Number, Number]:
    """The first of a thread's rows, and the one after its last: of all n rows without a team."""
    if team is None:
        return 0, n
    first, last = share(team.me, team.n, n, _TILE_ROWS)
    return first, last


@kernel
def _multiply_rows(
    x: Group, i: Number, y: Group, n: Number, products: Group, first: Number, add: bool
) -> None:
    """products[first + j] = x[i] y[j] for all j < n; or added if `add`. After the last row, x and y are 1."""
    for p in range(x.shape[0]):
        x_p, y_p, products_p = panel_of(x, p), panel_of(y, p), panel_of(products, p)
        for s in range(0, PANEL, lanes(x_p)):
            factor = load(x_p, i, s) if i < x_p.shape[0] else splat(x_p, 1.0)
            for j in range(n):
                product = factor * load(y_p, j, s) if j < y_p.shape[0] else factor
                if add:
                    product = product + load(products_p, first + j, s)
                store(products_p, first + j, s, product)


@kernel
def _clear_rows(x: Group, first: Number, n: Number) -> None:
    for p in range(x.shape[0]):
        x_p = panel_of(x, p)
        for i in range(first, first + n):
            for s in range(0, PANEL, lanes(x_p)):
                store(x_p, i, s, splat(x_p, 0.0))


@kernel
def fill_matrix(layout: Matrix, blocks: Flat, A: Flat, size: Number, interrupt: Flag) -> None:
    """Overwrite the lower triangle of the matrix A (cholesky.py), of this size, with H."""
    start = 0
    for layer in range(layout.shape[0]):
        for other in range(layer + 1):
            C = _block(blocks, start, layout, layer, other)
            is_same = layer == other
            n_i, n_j = layout[layer, N_IN] + 1, layout[other, N_IN] + 1
            row = 0
            for o in range(layout[layer, N_OUT]):
                if is_set(interrupt):
                    return
                for q in range(o + 1 if is_same else layout[other, N_OUT]):
                    column = 0
                    for i in range(n_i):
                        of_i, of_i_q = _parameter(layout, layer, o, i), _parameter(layout, layer, q, i)
                        for j in range(i + 1 if is_same else n_j):
                            value = C[row, column]
                            set_entry(A, size, of_i, _parameter(layout, other, q, j), value)
                            if is_same and o != q and i != j:
                                set_entry(A, size, _parameter(layout, layer, o, j), of_i_q, value)
                            column += 1
                    row += 1
            start += C.size


@kernel
def _parameter(layout: Matrix, layer: Number, o: Number, i: Number) -> Number:
    """The index of the weight of input i in sum o; for i after the last input, the index of the bias."""
    n_in = layout[layer, N_IN]
    return layout[layer, B_START] + o if i == n_in else layout[layer, W_START] + o * n_in + i
