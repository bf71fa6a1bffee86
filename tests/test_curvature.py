"""The equations of Levenberg and Marquardt's method, and Cholesky's factorisation, against NumPy."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from second_order import (
    ACTIVATIONS,
    PANEL,
    Plain,
    dense,
    equations,
    of_outputs,
    problem,
    stored,
    trainer,
)

from crabnet_jit import NN
from crabnet_jit.arrays import aligned_zeros
from crabnet_jit.kernels import cholesky
from crabnet_jit.kernels.curvature_entries import loss_curvature
from crabnet_jit.machine.jit import entry_point
from crabnet_jit.machine.signals import NEVER

LOSSES = ["mse", "huber", "log_cosh", "poisson", "binary_cross_entropy", "cross_entropy"]
#: Errors of the matrix over its trace. Outliers of the Huber loss have a root of 2^-26 in place of 0.
ROUNDINGS, OUTLIERS = 5e-14, 1e-7


def assert_equations(net: NN, plain: Plain, form: str | None = None) -> None:
    """Loss, gradient and matrix against plain formulas."""
    made = trainer(net, plain, form)
    loss, gradient, matrix = equations(made)
    theta = net.parameters.copy()
    H, expected, _, _ = plain.equations(theta)
    assert loss == pytest.approx(plain.value(theta)[0], rel=1e-13)
    scale = np.sqrt(np.diag(H).max() * max(loss, 1e-3))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-13 * scale * len(plain.x) ** 0.5)
    if made._steps.chunks._method._dual is None:
        np.testing.assert_allclose(matrix, np.tril(H), rtol=0, atol=ROUNDINGS * np.trace(H))
        return
    V = plain.rows(theta)
    n, n_out, p = V.shape
    padded = np.zeros((-(-n // PANEL) * PANEL, n_out, p))
    padded[:n] = V
    tolerance = OUTLIERS if plain.loss == "huber" else ROUNDINGS
    rows = padded.reshape(-1, PANEL, n_out, p).transpose(0, 2, 1, 3).reshape(-1, p)
    np.testing.assert_allclose(matrix, np.tril(rows @ rows.T), rtol=0, atol=tolerance * np.trace(H))


# ---- second derivatives of the loss ----


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, form: str) -> None:
    assert_equations(*problem([5, 7], 37, activation=activation, n_in=3, n_out=2), form)


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize(
    ("loss", "n_out"),
    [(loss, n) for loss in LOSSES for n in (1, 2, 3, 5) if (loss, n) != ("cross_entropy", 1)],
)
def test_every_loss(loss: str, n_out: int, form: str) -> None:
    assert_equations(*problem([6, 3], 45, loss, n_out=n_out), form)


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("hidden_sizes", [[], [1], [9], [13, 2], [3, 5, 17], [4, 1, 6, 3]])
@pytest.mark.parametrize("n_out", [1, 3])
def test_every_depth(hidden_sizes: list[int], n_out: int, form: str) -> None:
    assert_equations(*problem(hidden_sizes, 50, "log_cosh", "silu", n_in=3, n_out=n_out), form)


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 127, 128, 129, 300])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_number_of_samples(n: int, weighted: bool, form: str) -> None:
    assert_equations(*problem([7, 4], n, "cross_entropy", n_out=2, weighted=weighted), form)


@pytest.mark.parametrize(
    ("n_in", "hidden_sizes", "n_out", "n"),
    [
        (300, [3], 1, 40),
        (300, [], 2, 140),
        (2, [40, 33], 1, 20),
        (1, [33], 40, 17),
        (270, [2], 33, 5),
    ],
)
def test_more_pairs_than_there_is_place_for(n_in: int, hidden_sizes: list[int], n_out: int, n: int) -> None:
    assert_equations(*problem(hidden_sizes, n, n_in=n_in, n_out=n_out), "primal")


def test_the_smaller_form_is_taken() -> None:
    for n, n_out, is_dual in ((32, 1, True), (33, 1, False), (16, 2, True), (17, 2, False)):
        net, plain = problem([9], n, n_in=2, n_out=n_out)  # 37 or 47 parameters
        assert (trainer(net, plain)._steps.chunks._method._dual is not None) == is_dual
        assert_equations(net, plain)


@pytest.mark.parametrize("loss", LOSSES)
def test_roots_of_the_curvature(loss: str) -> None:
    """R R^T are the second derivatives; no root is 0, but those of samples without weight."""
    rng = np.random.default_rng(1)
    y, t = 30 * rng.normal(size=(3, PANEL)), rng.normal(size=(3, PANEL))
    if "cross" in loss:
        t = rng.dirichlet(np.ones(3), PANEL).T.copy()
    if loss == "poisson":
        y, t = y / 30, np.abs(t)
    weight = rng.uniform(0.1, 1, (1, PANEL))
    weight[0, ::5] = 0
    roots, means = np.full((3, PANEL), np.nan), np.full((3, PANEL), np.nan)
    loss_curvature[loss](y, t, weight, np.ones(1), roots, means)
    np.testing.assert_array_equal(roots > 0, np.broadcast_to(weight > 0, roots.shape))
    R = roots.T[:, None, :] * (np.eye(3) - means.T[:, :, None])
    C = of_outputs(loss, y.T, t.T)[2] * weight[0][:, None, None]
    np.testing.assert_allclose(np.einsum("nja,nka->njk", R, R), C, rtol=0, atol=1e-15)


class Guarded(NamedTuple):
    """An array with NaN before and after it."""

    whole: Any
    array: Any

    @classmethod
    def like(cls, array: Any) -> "Guarded":
        whole = aligned_zeros(array.size + 2 * GUARD)
        whole[:] = np.nan
        whole[GUARD:-GUARD] = array
        return cls(whole, whole[GUARD:-GUARD])

    def is_intact(self) -> bool:
        return bool(np.isnan(self.whole[:GUARD]).all() and np.isnan(self.whole[-GUARD:]).all())


GUARD = 1024


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize(
    ("n_in", "hidden_sizes", "n_out", "n"),
    [(1, [], 1, 1), (3, [7, 5], 3, 37), (2, [17], 1, 300), (40, [33], 2, 20), (2, [30, 30], 1, 16)],
)
def test_nothing_is_read_or_written_outside_of_its_buffer(
    n_in: int, hidden_sizes: list[int], n_out: int, n: int, form: str
) -> None:
    losses = []
    for is_guarded in (False, True):
        net, plain = problem(hidden_sizes, n, "log_cosh", n_in=n_in, n_out=n_out)
        made = trainer(net, plain, form)
        guards: dict[Any, Any] = {}
        iterations = made._steps.chunks._method
        if is_guarded:
            made_of = iterations._problem
            parts = {"curvature": made_of.curvature, "workspace": made_of.workspace}
            for part in parts.values():
                for array in part:
                    if isinstance(array, np.ndarray) and array.dtype == np.float64:
                        guards.setdefault(id(array), Guarded.like(array))
            for name, part in parts.items():
                parts[name] = type(part)(*(guards[id(a)].array if id(a) in guards else a for a in part))
            iterations._problem = made_of._replace(**parts)
            assert len(guards) > 15
        losses.append(made.run(4).losses.copy())
        assert all(guard.is_intact() for guard in guards.values())
    np.testing.assert_array_equal(losses[0], losses[1])


# ---- the factorisation ----

SIZES = [1, 5, 15, 16, 17, 33, 100, 337]

_factorize, _solve, _solve_lower = (
    entry_point(kernel) for kernel in (cholesky.factorize, cholesky.solve, cholesky.solve_lower)
)
_trace, _trace_of_inverse, _add_to_diagonal, _set_entry = (
    entry_point(kernel)
    for kernel in (cholesky.trace, cholesky.trace_of_inverse, cholesky.add_to_diagonal, cholesky.set_entry)
)


def definite(n: int, condition: float = 100.0) -> Any:
    """A positive definite matrix, whose eigenvalues are from 1 / condition to 1."""
    Q, _ = np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))
    A = (Q * np.geomspace(1 / condition, 1, n)) @ Q.T
    return (A + A.T) / 2


def lower_only(A: Any) -> Any:
    """Stored, with NaN above the diagonal, and a last diagonal of 1."""
    panels = stored(np.tril(A))
    size = -(-len(A) // PANEL) * PANEL
    _add_to_diagonal(panels, size, len(A), 0.0)
    full = dense(panels).copy()
    full[np.triu_indices(size, 1)] = np.nan
    return stored(full)


def factorized(A: Any) -> tuple[bool, Any, int]:
    panels, size = lower_only(A), -(-len(A) // PANEL) * PANEL
    return _factorize(panels, size, np.full(2 * PANEL**2, np.nan), NEVER), panels, size


@pytest.mark.parametrize("n", SIZES)
def test_factor_and_solution(n: int) -> None:
    A, rng = definite(n), np.random.default_rng(n)
    is_definite, panels, size = factorized(A)
    assert is_definite
    expected = np.linalg.cholesky(A)
    L = dense(panels)
    for k in range(0, n, PANEL):  # the squares on the diagonal are transposed inverses
        end = min(k + PANEL, n)
        inverse = np.linalg.inv(expected[k:end, k:end])
        np.testing.assert_allclose(np.triu(L[k:end, k:end]), inverse.T, rtol=0, atol=1e-12)
        np.testing.assert_allclose(L[end:n, k:end], expected[end:, k:end], rtol=0, atol=1e-13)
    b = np.zeros(size)
    b[:n] = rng.normal(size=n)
    x = b.copy()
    _solve(panels, size, x)
    np.testing.assert_allclose(A @ x[:n], b[:n], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(x[n:], 0)


@pytest.mark.parametrize("n", SIZES)
def test_inverse_of_the_factor(n: int) -> None:
    A = definite(n)
    _, panels, size = factorized(A)
    squares, n_panels = np.full(2 * PANEL**2, np.nan), size // PANEL
    X = np.full(size * PANEL, np.nan)
    trace = _trace_of_inverse(panels, size, n, X, squares, None)
    assert trace == pytest.approx(np.trace(np.linalg.inv(A)), rel=1e-12)
    for first in {0, n_panels // 2, n_panels - 1}:
        right = np.zeros((size, PANEL))
        right[first * PANEL : n] = np.random.default_rng(first).normal(
            size=(max(0, n - first * PANEL), PANEL)
        )
        X = right.ravel().copy()
        _solve_lower(panels, size, first, X, squares)
        solution = np.linalg.solve(np.linalg.cholesky(A), right[:n])
        np.testing.assert_allclose(X.reshape(size, PANEL)[:n], solution, rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", SIZES)
def test_entries_and_diagonal(n: int) -> None:
    rng, size = np.random.default_rng(n), -(-n // PANEL) * PANEL
    A, panels = np.tril(rng.normal(size=(n, n))), np.full(size * size, 7.0)
    for i in range(n):
        for j in range(i + 1):
            if (i + j) % 2:
                _set_entry(panels, size, i, j, A[i, j])
            else:
                _set_entry(panels, size, j, i, A[i, j])
    assert _trace(panels, size, n) == pytest.approx(np.trace(A), rel=1e-12)
    _add_to_diagonal(panels, size, n, 0.25)
    expected = np.eye(size)
    expected[:n, :n] = A + 0.25 * np.eye(n)
    np.testing.assert_array_equal(np.tril(dense(panels)), np.tril(expected))


@pytest.mark.parametrize("n", SIZES)
def test_matrices_that_are_not_definite(n: int) -> None:
    A = definite(n)
    for k in {0, n // 2, n - 1}:
        for value in (-1.0, 0.0, np.nan, np.inf):
            indefinite = A.copy()
            indefinite[k, k] = value
            assert not factorized(indefinite)[0], (k, value)
    assert not factorized(-A)[0]
    assert not factorized(np.zeros((n, n)))[0]


@pytest.mark.parametrize("n", [5, 17, 100, 337])
def test_nearly_singular_matrices(n: int) -> None:
    """Up to 1 / epsilon the solution's residual is small; far above, there may be no factor, but no NaN."""
    for condition in (1e8, 1e12, 1e14):
        A = definite(n, condition)
        is_definite, panels, size = factorized(A)
        assert is_definite
        b = np.zeros(size)
        b[:n] = A @ np.ones(n)
        _solve(panels, size, b)
        assert np.linalg.norm(A @ b[:n] - A @ np.ones(n)) < 1e-12
    u = np.random.default_rng(n).normal(size=(n, 2))
    for damping in (1e-12, 1e-8):
        is_definite, panels, _ = factorized(u @ u.T + damping * n * np.eye(n))
        assert is_definite
        assert np.isfinite(panels[np.isfinite(lower_only(u @ u.T))]).all()


def test_a_signal_ends_the_factorisation() -> None:
    panels = lower_only(definite(33))
    flag = np.array([2, 0], np.uint8)  # SIGINT
    assert not _factorize(panels, 48, np.zeros(2 * PANEL**2), flag)
