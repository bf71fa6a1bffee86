"""Levenberg and Marquardt's method for losses with derivatives: rows of the Jacobian are written out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crabnet_jit import NN, ArraySource, Objective, Residual, Trainer, fit
from crabnet_jit.kernels import levenberg_marquardt as method
from crabnet_jit.machine import memory
from crabnet_jit.machine.jit import entry_point, kernel

PANEL = 16


def data(n: int) -> tuple[Any, Any, Any, Any]:
    """Inputs, targets and derivatives, of which some are unknown, and weights, of which some are 0."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 3))
    y = np.stack([np.sin(x[:, 0]) * x[:, 1], x[:, 2] ** 2], axis=1)
    zero = np.zeros(n)
    of_first = np.stack([np.cos(x[:, 0]) * x[:, 1], np.sin(x[:, 0]), zero], axis=1)
    dy = np.stack([of_first, np.stack([zero, zero, 2 * x[:, 2]], axis=1)], axis=1)
    dy[rng.random(dy.shape) < 0.2] = np.nan
    y[3::7, 1] = np.nan
    weights = rng.uniform(0.5, 2.0, n)
    weights[2::5] = 0.0
    return x, y, dy, weights


def network(*hidden: int) -> NN:
    return NN(3, hidden, 2, rng=1, activation="tanh", init="glorot_uniform")


def trainer(n: int = 40, hidden: tuple[int, ...] = (7, 5), **options: Any) -> Trainer:
    x, y, dy, w = data(n)
    source = ArraySource(x, y, n, sample_weight=w, dy=dy)
    return Trainer(network(*hidden), source, optimizer="levenberg_marquardt", **options)


@kernel
def _equations(problem: Any, rows: Any) -> Any:
    loss = method.fill_equations(problem, None, rows)
    method.copy_equations(problem, None, rows)
    return loss


equations = entry_point(_equations)


def matrix(values: Any, size: int, n: int) -> Any:
    """A symmetric matrix of which panels of columns hold the lower triangle."""
    lower = np.tril(values.reshape(-1, size, PANEL).transpose(1, 0, 2).reshape(size, size))[:n, :n]
    return lower + np.tril(lower, -1).T


def residuals(net: NN, theta: Any, n: int, dy_weight: float) -> Any:
    """Numbers the sum of whose squares is the loss, from the outputs and the Jacobian."""
    x, y, dy, w = data(n)
    net.parameters = theta
    is_known, is_known_dy = ~np.isnan(y), ~np.isnan(dy)
    shares = np.where(is_known, w[:, None], 0.0)
    shares_dy = np.where(is_known_dy, w[:, None, None], 0.0)
    values = np.sqrt(shares / shares.sum()) * np.where(is_known, net.get_output(x) - y, 0.0)
    slopes = np.sqrt(dy_weight * shares_dy / shares_dy.sum()) * np.where(is_known_dy, net.jacobian(x) - dy, 0)
    return np.concatenate([values.ravel(), slopes.ravel()])


@pytest.mark.parametrize("n_rows", [1, 3, 100])
@pytest.mark.parametrize(("n", "hidden"), [(16, ()), (5, (3,)), (40, (7, 5)), (100, (17, 4, 3))])
def test_the_matrix_is_that_of_the_residuals(n: int, hidden: Any, n_rows: int) -> None:
    chunks = trainer(n, hidden, dy_weight=0.7)._steps.chunks
    problem, rows = chunks._method._problem, chunks._method._rows
    net, theta = network(*hidden), problem.network.parameters.copy()
    size = problem.curvature.vector.size
    rows = rows._replace(n_panels=n_rows, numbers=np.zeros(n_rows * size * PANEL))
    loss = equations(problem, rows)
    r = residuals(net, theta, n, 0.7)
    assert loss == pytest.approx((r**2).sum(), rel=1e-12)
    J = np.empty((r.size, theta.size))
    for k in range(theta.size):
        step = 1e-4 * (np.arange(theta.size) == k)
        ends = [residuals(net, theta + m * step, n, 0.7) for m in (-2, -1, 1, 2)]
        J[:, k] = (8 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / 12e-4
    H = matrix(problem.curvature.matrix, size, theta.size)
    np.testing.assert_allclose(H, 2 * J.T @ J, rtol=1e-7, atol=1e-9 * np.abs(H).max())
    gradient = problem.curvature.gradient
    np.testing.assert_allclose(gradient, 2 * J.T @ r, rtol=1e-7, atol=1e-9 * np.abs(gradient).max())


def curved(x: Any, u: Any, du: Any, d2u: Any) -> Any:
    return u[0] * du[1][0] - d2u[0][1] ** 2 + np.sin(x[2] * u[1]) * d2u[1][0]


def sloped(x: Any, u: Any, du: Any) -> Any:
    return du[2][0] - u[1] * u[1]


@pytest.mark.parametrize("with_data", [False, True])
def test_the_matrix_is_that_of_equations(with_data: bool) -> None:
    """Beside values and derivatives, or alone."""
    n, second, net = 21, [(0, 0), (1, 2)], network(7, 5)
    points = np.random.default_rng(5).normal(size=(n, 3))
    terms = [
        Residual(curved, 0.6, source=points, second=second),
        Residual(sloped, 3, source=points[:5]),
    ]
    x, y, dy, w = data(40)
    source = ArraySource(x, y, 40, sample_weight=w, dy=dy) if with_data else None
    options: dict[str, Any] = {"dy_weight": 0.7} if with_data else {}
    run = Trainer(net, source, residuals=terms, optimizer="levenberg_marquardt", **options)
    chunks, theta = run._steps.chunks, net.parameters.copy()

    def all_residuals(theta: Any) -> Any:
        net.parameters = theta
        u, du, d2u = net.get_output(points), net.jacobian(points), net.hessian(points)
        pairs = [d2u[:, :, i, j] for i, j in second]
        parts = points.T, u.T, du.transpose(2, 1, 0), [pair.T for pair in pairs]
        few = points[:5].T, u[:5].T, du[:5].transpose(2, 1, 0)
        of_data = [residuals(net, theta, 40, 0.7)] if with_data else []
        own = np.sqrt(0.6 / n) * curved(*parts), np.sqrt(3 / 5) * sloped(*few)
        return np.concatenate([*own, *of_data])

    size = chunks._method._problem.curvature.vector.size
    loss = equations(chunks._method._problem, chunks._method._rows)
    r = all_residuals(theta)
    assert loss == pytest.approx((r**2).sum(), rel=1e-12)
    J = np.empty((r.size, theta.size))
    for k in range(theta.size):
        step = 1e-4 * (np.arange(theta.size) == k)
        ends = [all_residuals(theta + m * step) for m in (-2, -1, 1, 2)]
        J[:, k] = (8 * (ends[2] - ends[1]) - (ends[3] - ends[0])) / 12e-4
    problem = chunks._method._problem
    H = matrix(problem.curvature.matrix, size, theta.size)
    np.testing.assert_allclose(H, 2 * J.T @ J, rtol=1e-7, atol=1e-8 * np.abs(H).max())
    gradient = problem.curvature.gradient
    np.testing.assert_allclose(gradient, 2 * J.T @ r, rtol=1e-7, atol=1e-8 * np.abs(gradient).max())


@pytest.mark.parametrize("loss", ["huber", "log_cosh"])
def test_robust_losses_of_values_bend_less(loss: str) -> None:
    """The part of derivatives is the same; that of values is the matrix of the loss without derivatives."""
    n, hidden = 40, (7, 5)
    size = -(-network(*hidden).parameters.size // PANEL) * PANEL
    matrices = []
    for kind, dy_weight in ((loss, 0.5), (loss, 0.0), ("mse", 0.5), ("mse", 0.0)):
        method_of = trainer(n, hidden, loss=kind, dy_weight=dy_weight)._steps.chunks._method
        equations(method_of._problem, method_of._rows)
        matrices.append(matrix(method_of._problem.curvature.matrix, size, network(*hidden).parameters.size))
    of_loss, of_values, of_mse, of_values_mse = matrices
    assert np.abs(of_values - of_values_mse).max() > 1e-3 * np.abs(of_values).max()
    difference = of_loss - of_values
    np.testing.assert_allclose(difference, of_mse - of_values_mse, atol=1e-13 * np.abs(of_loss).max())


def test_steps_lower_the_loss_to_a_minimum() -> None:
    run = trainer(100, (12,), l2=1e-4)
    losses = run.run(300).losses
    assert (np.diff(losses) < 1e-3).all()  # the penalty is not in them
    x, y, dy, w = data(100)
    objective = Objective(run.net, x, y, sample_weight=w, dy=dy, l2=1e-4)
    loss, gradient = objective.loss_and_gradient(run.net.parameters)
    assert np.abs(gradient).max() < 1e-5
    twin = network(12)
    objective = Objective(twin, x, y, sample_weight=w, dy=dy, l2=1e-4)
    result = objective.minimize(300, optimizer="levenberg_marquardt")
    assert result.fun == pytest.approx(loss, rel=1e-6)


def test_a_run_does_not_depend_on_how_it_is_cut(tmp_path: Path) -> None:
    whole = trainer()
    whole.run(20)
    for chunk_size in (1, 3):
        cut = trainer(chunk_size=chunk_size)
        cut.run(8)
        cut.save_checkpoint(tmp_path / "run.npz")
        cut = trainer(chunk_size=chunk_size)
        cut.load_checkpoint(tmp_path / "run.npz")
        cut.run(12)
        np.testing.assert_array_equal(cut.net.parameters, whole.net.parameters)


def test_a_fit_is_good_to_many_digits() -> None:
    rng = np.random.default_rng(0)
    x, new = rng.uniform(-2, 2, (80, 2)), rng.uniform(-1.9, 1.9, (1000, 2))

    def values(points: Any) -> Any:
        return np.exp(-(points**2).sum(axis=1) / 2)

    dy = -x * values(x)[:, None]
    options: dict[str, Any] = {"optimizer": "levenberg_marquardt", "hidden_sizes": (10, 10)}
    net = fit(x, values(x), dy=dy, n_iterations=200, **options)
    assert np.abs(net.predict(new) - values(new)).max() < 2e-3
    np.testing.assert_allclose(net.jacobian(x)[:, 0], dy, atol=2e-4)


def test_memory_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(ValueError, match="levenberg_marquardt"):
        trainer()
