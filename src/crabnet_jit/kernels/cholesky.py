"""The Cholesky factorisation A = L L^T of a matrix, and solving equations with it.

A matrix is stored in panels of PANEL columns. Each panel (size, PANEL) is stored row by row, and panels
follow one another. The size is a whole number of panels; only the lower triangle is read.

The factorisation goes from panel to panel. From each panel it subtracts sums of products of rows of L, which
earlier panels hold; tiles take eight columns at a time. Then it factorises the square on the diagonal,
and multiplies the rows below it by U, the transposed inverse of that factor. U replaces the square in memory.
"""

import math

from crabnet_jit.arrays import Flag, Flat, Group, Matrix, Number
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.tile import (
    tile_add_product,
    tile_dot,
    tile_negative,
    tile_rows,
    tile_start,
    tile_start_row,
    tile_store,
    tile_sums,
)
from crabnet_jit.machine.vector import fma, lanes, load, splat, store, sum_lanes
from crabnet_jit.machine.view import group, matrix

_LOG2_PANEL = PANEL.bit_length() - 1


@kernel
def set_entry(A: Flat, size: Number, i: Number, j: Number, value: Number) -> None:
    """A[i, j] = A[j, i] = value."""
    row, column = max(i, j), min(i, j)
    A[(((column >> _LOG2_PANEL) * size + row) << _LOG2_PANEL) + (column & (PANEL - 1))] = value


@kernel
def add_to_diagonal(A: Flat, size: Number, n: Number, value: Number) -> None:
    """A += value I in the first n rows; the rows after them become rows of I."""
    for i in range(n):
        A[_on_diagonal(size, i)] += value
    for i in range(n, size):
        for j in range(i + 1):
            set_entry(A, size, i, j, 1.0 if i == j else 0.0)


@kernel
def trace(A: Flat, size: Number, n: Number) -> Number:
    """The sum of the first n entries on the diagonal of A."""
    total = 0.0
    for i in range(n):
        total += A[_on_diagonal(size, i)]
    return total


@kernel
def _on_diagonal(size: Number, i: Number) -> Number:
    """The offset of A[i, i]."""
    return (((i >> _LOG2_PANEL) * size + i) << _LOG2_PANEL) + (i & (PANEL - 1))


@kernel
def _columns(A: Flat, size: Number, k: Number) -> Matrix:
    """Panel k of A."""
    return matrix(A, k * size * PANEL, size, PANEL)


@kernel
def _square(A: Flat, size: Number, k: Number) -> Matrix:
    """The square of panel k on the diagonal of A."""
    return matrix(A, (k * size + k * PANEL) * PANEL, PANEL, PANEL)


@kernel
def factorize(A: Flat, size: Number, squares: Flat, interrupt: Flag) -> bool:
    """Overwrite A with L; return whether A is positive definite.

    `squares` (2 PANEL^2 numbers) is workspace. When `interrupt` is set, it stops and returns False.
    """
    for k in range(size >> _LOG2_PANEL):
        if is_set(interrupt):
            return False
        first, columns = k * PANEL, _columns(A, size, k)
        if k > 0:
            _subtract_products(group(A, 0, k, size), first, columns)
        U = _square(A, size, k)
        if not _invert_factor(U, matrix(squares, 0, PANEL, PANEL), matrix(squares, PANEL**2, PANEL, PANEL)):
            return False
        for r in range(first + PANEL, size, tile_rows(columns)):
            tile_store(tile_add_product(tile_start(columns, 0.0, 0), columns, r, U), columns, r)
    return True


@kernel
def _subtract_products(before: Group, first: Number, columns: Matrix) -> None:
    """Subtract from a panel's columns, from row `first` on, the products with the panels before it."""
    for r in range(first, columns.shape[0], 2):
        for c in range(0, PANEL, 8):
            tile_sums(tile_negative(tile_dot(before, r, 2, before, first + c, 8)), columns, r, c, True)


@kernel
def _invert_factor(A: Matrix, S: Matrix, G: Matrix) -> bool:
    """Overwrite the square A with U = L^-T; return whether A is positive definite. S and G are workspace.

    Gaussian elimination is applied to A and I at the same time.
    """
    for i in range(PANEL):
        for j in range(PANEL):
            S[i, j] = A[max(i, j), min(i, j)]
            G[i, j] = 1.0 if i == j else 0.0
    for j in range(PANEL):
        pivot = S[j, j]
        if not 0.0 < pivot < math.inf:
            return False
        for i in range(j + 1, PANEL):
            factor = -S[i, j] / pivot
            for s in range(0, PANEL, lanes(S)):
                store(S, i, s, fma(load(S, j, s), factor, load(S, i, s)))
                store(G, i, s, fma(load(G, j, s), factor, load(G, i, s)))
    for i in range(PANEL):
        scale = 1.0 / math.sqrt(S[i, i])
        for j in range(PANEL):
            A[j, i] = scale * G[i, j]
    return True


@kernel
def solve(L: Flat, size: Number, b: Flat) -> None:
    """Overwrite b (size,) with the solution x of L L^T x = b, for L from `factorize`."""
    n_panels = size >> _LOG2_PANEL
    x = matrix(b, 0, n_panels, PANEL)
    for k in range(n_panels):
        for i in range(PANEL):
            total = splat(x, 0.0)
            for before in range(k):
                columns = _columns(L, size, before)
                for s in range(0, PANEL, lanes(x)):
                    total = fma(load(columns, k * PANEL + i, s), load(x, before, s), total)
            x[k, i] -= sum_lanes(total)
        _multiply_row(x, k, _square(L, size, k))
    for k in range(n_panels - 1, -1, -1):
        U = _square(L, size, k)
        for i in range(PANEL):
            total = splat(x, 0.0)
            for s in range(0, PANEL, lanes(x)):
                total = fma(load(U, i, s), load(x, k, s), total)
            x[k, i] = sum_lanes(total)
        for before in range(k):
            columns = _columns(L, size, before)
            for s in range(0, PANEL, lanes(x)):
                rest = load(x, before, s)
                for i in range(PANEL):
                    rest = fma(load(columns, k * PANEL + i, s), -x[k, i], rest)
                store(x, before, s, rest)


@kernel
def solve_lower(L: Flat, size: Number, first: Number, X: Flat, squares: Flat) -> None:
    """Overwrite the matrix X (size, PANEL) with L^-1 X. Its rows before panel `first` must be 0."""
    rest = matrix(squares, 0, PANEL, PANEL)
    for k in range(first, size >> _LOG2_PANEL):
        X_k = _rows(X, k)
        for r in range(0, PANEL, tile_rows(rest)):
            tile = tile_start(rest, 0.0, 0)
            for j in range(first, k):
                tile = tile_add_product(tile, _columns(L, size, j), k * PANEL + r, _rows(X, j))
            tile_store(tile, rest, r)
        for i in range(PANEL):
            for s in range(0, PANEL, lanes(rest)):
                store(rest, i, s, load(X_k, i, s) - load(rest, i, s))
        U = _square(L, size, k)
        for r in range(0, PANEL, tile_rows(rest)):
            tile_store(tile_add_product(tile_start(rest, 0.0, 0), U.T, r, rest), X_k, r)


@kernel
def trace_of_inverse(L: Flat, size: Number, n: Number, X: Flat, squares: Flat, interrupt: Flag) -> Number:
    """The sum of the first n diagonal entries of (L L^T)^-1, which is the sum of squares in L^-1.

    X (size, PANEL) is workspace. When `interrupt` is set, it stops, and its result is meaningless.
    """
    total = 0.0
    for k in range(size >> _LOG2_PANEL):
        if is_set(interrupt):
            break
        for i in range(k * PANEL, size):
            for s in range(PANEL):
                X[i * PANEL + s] = 1.0 if i == k * PANEL + s and i < n else 0.0
        solve_lower(L, size, k, X, squares)
        for i in range(k * PANEL * PANEL, size * PANEL):
            total += X[i] * X[i]
    return total


@kernel
def log_determinant(L: Flat, size: Number) -> Number:
    """ln det(L L^T)."""
    total = 0.0
    for i in range(size):
        total -= 2.0 * math.log(L[_on_diagonal(size, i)])  # the inverse of L's entry is stored
    return total


@kernel
def _rows(X: Flat, k: Number) -> Matrix:
    return matrix(X, k * PANEL * PANEL, PANEL, PANEL)


@kernel
def _multiply_row(x: Matrix, k: Number, U: Matrix) -> None:
    """x[k] = x[k] U."""
    tile_store(tile_add_product(tile_start_row(x, 0.0, 0), x, k, U), x, k)
