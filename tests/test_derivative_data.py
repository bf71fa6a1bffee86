"""Derivatives as data: losses, steps, sources and fits with dy."""

import functools
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crabnet_jit import (
    ELU,
    LOSSES,
    NN,
    Adam,
    ArraySource,
    CustomActivation,
    InvalidArgumentError,
    Objective,
    Quantile,
    Source,
    Standardization,
    Trainer,
    UniformSource,
    check_gradients,
    fit,
)

REGRESSIONS = [name for name, kind in LOSSES.items() if kind.is_regression and kind.heads == "values"]


def function(x: Any) -> Any:
    """Two outputs of three inputs."""
    return np.stack([np.sin(x[:, 0]) * x[:, 1], np.exp(0.3 * x[:, 2]) + x[:, 0] * x[:, 2]], axis=1)


def derivative(x: Any) -> Any:
    zero = np.zeros(len(x))
    e = 0.3 * np.exp(0.3 * x[:, 2])
    first = np.stack([np.cos(x[:, 0]) * x[:, 1], np.sin(x[:, 0]), zero], axis=1)
    return np.stack([first, np.stack([x[:, 2], zero, e + x[:, 0]], axis=1)], axis=1)


def data(n: int, unknown: float = 0.3) -> tuple[Any, Any, Any, Any]:
    """Inputs, targets, derivatives of which some are unknown, and weights, some of which are 0."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 3))
    dy = derivative(x) + 0.1 * rng.normal(size=(n, 2, 3))
    dy[rng.random(dy.shape) < unknown] = np.nan
    weights = rng.uniform(0.5, 3, n)
    weights[1::5] = 0.0
    return x, function(x) + 0.1 * rng.normal(size=(n, 2)), dy, weights


def network(dtype: Any = np.float64, **options: Any) -> NN:
    options = {"activation": "tanh", "init": "glorot_uniform"} | options
    return NN(3, [9, 6], 2, rng=2, dtype=dtype, **options)


def slope_loss(net: NN, x: Any, dy: Any, weights: Any) -> float:
    """The weighted mean of squared errors of derivatives that are known."""
    shares = np.where(np.isnan(dy), 0.0, weights[:, None, None])
    errors = np.where(np.isnan(dy), 0.0, net.jacobian(x) - dy)
    return float((shares * errors**2).sum() / shares.sum())


# ---- the loss and its gradient ----


@pytest.mark.parametrize("loss", REGRESSIONS)
@pytest.mark.parametrize("n", [2, 16, 75])
def test_the_loss_is_that_of_values_and_of_known_derivatives(loss: str, n: int) -> None:
    net, (x, y, dy, w) = network(), data(n)
    of_values, _ = Objective(net, x, y, loss=loss, sample_weight=w).loss_and_gradient(net.parameters)
    both, _ = Objective(net, x, y, loss=loss, sample_weight=w, dy=dy, dy_weight=0.7).loss_and_gradient(
        net.parameters
    )
    assert both == pytest.approx(of_values + 0.7 * slope_loss(net, x, dy, w), rel=1e-12)


@pytest.mark.parametrize("loss", REGRESSIONS)
@pytest.mark.parametrize("activation", ["tanh", "silu", "sine", "gelu", "softplus", "identity"])
def test_gradients_are_those_of_the_loss(activation: str, loss: str) -> None:
    x, y, dy, _ = data(40)
    net = network(activation=activation)
    result = check_gradients(net, x, y, loss, dy=dy, dy_weight=2.0, tolerance=1e-5)
    assert result.is_right, result


@pytest.mark.filterwarnings("ignore:the slope of")
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu"])
def test_gradients_of_kinked_activations(activation: str) -> None:
    x, y, dy, _ = data(40)
    assert check_gradients(network(activation=activation), x, y, dy=dy, tolerance=1e-5).is_right


def test_gradients_with_penalties_weights_and_units() -> None:
    net, (x, y, dy, w) = network(), data(50)
    x = 40.0 + 1000.0 * x
    dy = dy / 1000.0
    net.standardization = Standardization(x.mean(axis=0), x.std(axis=0), y.mean(axis=0), y.std(axis=0))
    objective = Objective(net, x, y, sample_weight=w, l1=0.1, l2=0.3, dy=dy, dy_weight=0.5)
    theta = net.parameters.copy()
    loss, gradient = objective.loss_and_gradient(theta)
    for k in range(0, theta.size, 7):
        step = 1e-6 * (np.arange(theta.size) == k)
        above, below = (objective.loss_and_gradient(theta + s * step)[0] for s in (1, -1))
        assert gradient[k] == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-7)
    scaled = (dy - net.jacobian(x)) * x.std(axis=0) / y.std(axis=0)[:, None]
    shares = np.where(np.isnan(scaled), 0.0, w[:, None, None])
    expected = 0.5 * (shares * np.nan_to_num(scaled) ** 2).sum() / shares.sum()
    of_values, _ = Objective(net, x, y, sample_weight=w, l1=0.1, l2=0.3).loss_and_gradient(theta)
    assert loss - of_values == pytest.approx(expected, rel=1e-11)


def test_float32_is_near_float64() -> None:
    x, y, dy, w = data(200)
    results = []
    for dtype in (np.float64, np.float32):
        net = network(dtype)
        results.append(Objective(net, x, y, sample_weight=w, dy=dy).loss_and_gradient(net.parameters))
    (loss, gradient), (loss_32, gradient_32) = results
    assert loss_32 == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(gradient_32, gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max())


def test_samples_of_weight_0_and_unknown_ones_may_be_anything() -> None:
    net, (x, y, dy, w) = network(), data(40)
    expected = Objective(net, x, y, sample_weight=w, dy=dy).loss_and_gradient(net.parameters)
    x[1], y[1], dy[1] = 1e300, -1e300, 1e300  # of weight 0
    given = Objective(net, x, y, sample_weight=w, dy=dy).loss_and_gradient(net.parameters)
    assert given[0] == expected[0]
    np.testing.assert_array_equal(given[1], expected[1])


def test_dy_weight_0_is_a_fit_of_values() -> None:
    net, (x, y, dy, _) = network(), data(40)
    loss, gradient = Objective(net, x, y).loss_and_gradient(net.parameters)
    given = Objective(net, x, y, dy=dy, dy_weight=0).loss_and_gradient(net.parameters)
    assert given[0] == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(given[1], gradient, rtol=1e-12, atol=1e-15)


# ---- steps ----


def trainer(
    batch_size: int = 20, *, dtype: Any = np.float64, chunk_size: int | None = None, **options: Any
) -> Trainer:
    x, y, dy, w = data(70)
    source = ArraySource(x, y, batch_size, sample_weight=w, rng=1, dy=dy)
    return Trainer(network(dtype), source, learning_rate=0.01, chunk_size=chunk_size, **options)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_a_step_is_that_of_the_gradient(optimizer: str) -> None:
    rule = {"momentum": "sgd"}.get(optimizer, optimizer)
    x, y, dy, w = data(70)
    run = trainer(70, optimizer=rule, dy_weight=0.5)
    objective = Objective(network(), x, y, sample_weight=w, dy=dy, dy_weight=0.5)
    loss, gradient = objective.loss_and_gradient(run.net.parameters)
    before = run.net.parameters.copy()
    assert run.run(1).losses[0] == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(run.net.gradients, gradient, rtol=1e-10, atol=1e-13)
    if rule == "sgd":
        np.testing.assert_allclose(run.net.parameters, before - 0.01 * gradient, rtol=1e-12)
    assert run.run(200).losses[-1] < loss


@pytest.mark.parametrize("has_weights", [False, True])
def test_a_batch_has_the_loss_of_its_samples(has_weights: bool) -> None:
    """Each has another share of unknown targets and derivatives, and one knows no derivative."""
    x, y, dy, w = data(80)
    y[3:70:9, 0] = np.nan
    dy[32:48] = np.nan
    weights = w if has_weights else None
    source = ArraySource(x, y, 16, shuffle=False, sample_weight=weights, dy=dy)
    net = network()
    losses = Trainer(net, source, learning_rate=0.0).run(5).losses
    for k, loss in enumerate(losses):
        part = slice(16 * k, 16 * k + 16)
        of_part = (x[part], y[part])
        in_part = w[part] if has_weights else np.ones(16)
        expected, _ = Objective(net, *of_part, sample_weight=in_part).loss_and_gradient(net.parameters)
        if k != 2:
            expected += slope_loss(net, x[part], dy[part], in_part)
        scale = w[part].sum() / 16 / (w.sum() / 80) if has_weights else 1.0
        assert loss == pytest.approx(expected * scale, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2}, {"l1": 0.01, "clip_norm": 0.5}])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_run_does_not_depend_on_how_it_is_cut(dtype: Any, options: Any) -> None:
    whole = trainer(dtype=dtype, optimizer="adam", **options)
    whole.run(60)
    for runs, chunk_size in (((60,), 1), ((60,), 7), ((20, 40), None), ((1, 58, 1), 16)):
        cut = trainer(dtype=dtype, chunk_size=chunk_size, optimizer="adam", **options)
        for n in runs:
            cut.run(n)
        np.testing.assert_array_equal(cut.history.losses, whole.history.losses)
        np.testing.assert_array_equal(cut.net.parameters, whole.net.parameters)


def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    whole = trainer(optimizer="adam", dropout=0.1, dy_weight=0.3)
    whole.run(50)
    whole.save_checkpoint(tmp_path / "run.npz")
    whole.run(50)
    again = trainer(optimizer="adam", dropout=0.1, dy_weight=0.3)
    again.load_checkpoint(tmp_path / "run.npz")
    again.run(50)
    np.testing.assert_array_equal(again.net.parameters, whole.net.parameters)
    for other in (
        trainer(optimizer="adam", dropout=0.1),
        Trainer(network(), ArraySource(*data(70)[:2], 20), optimizer="adam", dropout=0.1, learning_rate=0.01),
    ):
        with pytest.raises(ValueError, match="of another run"):
            other.load_checkpoint(tmp_path / "run.npz")


def test_dropped_units_have_no_derivatives() -> None:
    """With all but one path dropped, the loss is one of those of the networks that are left."""
    x, y = np.array([[0.3]]), np.array([0.7])
    net = NN(1, [2], 1, rng=3, activation="tanh", init="glorot_uniform")
    W, v = net.layers[0].W[:, 0], net.layers[1].W[0]
    run = Trainer(net, ArraySource(x, y, dy=[[0.5]]), learning_rate=0.0, dropout=0.5, rng=1)
    possible = []
    for mask in ([0, 0], [0, 2], [2, 0], [2, 2]):
        h = np.tanh(W * 0.3) * mask
        slope = (v * mask * (1 - np.tanh(W * 0.3) ** 2)) @ W
        possible.append((v @ h - 0.7) ** 2 + (slope - 0.5) ** 2)
    losses = run.run(100).losses
    nearest = np.abs(losses[:, None] - possible)
    assert nearest.min(axis=1).max() < 1e-12
    assert set(nearest.argmin(axis=1)) == {0, 1, 2, 3}


def test_ctrl_c_ends_a_run_that_goes_on() -> None:
    whole, cut = trainer(optimizer="adam"), trainer(optimizer="adam")
    clock = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    clock.start()
    with pytest.raises(KeyboardInterrupt):
        cut.run(100_000_000)
    assert 0 < cut.iteration < 100_000_000
    whole.run(cut.iteration)
    np.testing.assert_array_equal(cut.net.parameters, whole.net.parameters)


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    x, y, dy, _ = data(40)
    for policy in ("raise", "lower_rate"):
        net = network(activation="identity")
        source = ArraySource(x, y, 40, dy=1e3 * dy)
        run = Trainer(net, source, learning_rate=1e3, on_divergence=policy)
        if policy == "raise":
            with pytest.raises(FloatingPointError, match="diverged"):
                run.run(1000)
        else:
            run.run(1000)
        assert np.isfinite(net.parameters).all()


# ---- sources ----


def test_a_uniform_source_gives_derivatives_at_its_samples() -> None:
    source = UniformSource(function, [-1, 0, 2], [1, 3, 5], batch_size=20, rng=1, derivative=derivative)
    plain = UniformSource(function, [-1, 0, 2], [1, 3, 5], batch_size=20, rng=1)
    for iteration in (0, 5):
        x, y = source.batch(iteration)
        np.testing.assert_array_equal(x, plain.batch(iteration)[0])
        np.testing.assert_array_equal(y, plain.batch(iteration)[1])
        np.testing.assert_array_equal(source.derivatives(iteration), derivative(x))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("has_units", [False, True])
def test_a_run_over_fresh_samples_is_one_over_their_data(dtype: Any, has_units: bool) -> None:
    source = UniformSource(function, [-1, 0, 2], [1, 3, 5], batch_size=20, rng=1, derivative=derivative)
    units = Standardization(np.full(3, 2.0), np.array([1.0, 2.0, 3.0]), np.ones(2), np.array([2.0, 0.5]))
    nets = [network(dtype), network(dtype)]
    for net in nets:
        net.standardization = units if has_units else None
    losses = Trainer(nets[0], source, learning_rate=0.01, dy_weight=0.4).run(1).losses
    x, y = source.batch(0)
    array_source = ArraySource(x, y, 20, dy=source.derivatives(0))
    expected = Trainer(nets[1], array_source, learning_rate=0.01, dy_weight=0.4).run(1).losses
    assert losses[0] == pytest.approx(expected[0], rel=1e-13 if dtype == np.float64 else 1e-5)


def test_a_source_of_your_own_with_derivatives() -> None:
    class Squares(Source):
        in_features, out_features, batch_size, has_derivatives = 1, 1, 16, True

        def fill(self, iteration: int, batches: Any) -> None:
            for k in range(len(batches.x)):
                rng = np.random.default_rng(iteration + k)
                batches.x[k] = rng.uniform(-1, 1, batches.x[k].shape)
            batches.target[:, :, :1] = batches.x**2
            batches.target[:, :, 1:] = 2 * batches.x

    net = NN(1, [8], 1, rng=1, activation="tanh", init="glorot_uniform")
    Trainer(net, Squares(), learning_rate=0.01, optimizer="adam").run(3000)
    x = np.linspace(-1, 1, 20)[:, None]
    np.testing.assert_allclose(net.jacobian(x)[:, 0], 2 * x, atol=0.1)


def test_two_ways_to_write_derivatives_of_one_output() -> None:
    x = np.random.default_rng(0).normal(size=(20, 2))
    for shape in ((20, 1, 2), (20, 2)):
        np.testing.assert_array_equal(
            ArraySource(x, x[:, 0], 20, dy=np.arange(40.0).reshape(shape)).derivatives(0)[:, 0].ravel(),
            np.arange(40.0),
        )
    assert ArraySource(x[:, :1], x[:, 0], 20, dy=np.ones(20)).derivatives(0).shape == (20, 1, 1)


# ---- fits ----


def bump(x: Any) -> Any:
    return 5 * np.exp(-(x**2).sum(axis=1) / 2)


def test_a_fit_with_derivatives_is_closer_to_the_function() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (60, 2))
    dy = -x * bump(x)[:, None]
    new = rng.uniform(-2.8, 2.8, (2000, 2))

    def error(net: NN) -> float:
        return float(np.sqrt(np.mean((net.predict(new) - bump(new)) ** 2)))

    options: dict[str, Any] = {"hidden_sizes": (16, 16), "n_iterations": 8000, "batch_size": 60}
    with_dy = fit(x, bump(x), dy=dy, **options)
    assert error(with_dy) < error(fit(x, bump(x), **options)) / 5
    np.testing.assert_allclose(with_dy.jacobian(x)[:, 0], dy, atol=0.05)


def test_a_fit_does_not_depend_on_units() -> None:
    x, y, dy, w = data(40)
    options: dict[str, Any] = {"n_iterations": 300, "sample_weight": w, "hidden_sizes": (8,)}
    net = fit(x, y, dy=dy, dy_weight=0.3, **options)
    units, of_y = np.array([1e3, 1e-2, 1.0]), np.array([1e-5, 1e4])
    other = fit(x * units + 7, y * of_y - 3, dy=dy * of_y[:, None] / units, dy_weight=0.3, **options)
    np.testing.assert_allclose(other.predict(x * units + 7), net.predict(x) * of_y - 3, rtol=1e-6, atol=1e-9)


def test_a_fit_takes_the_derivatives_of_the_samples_that_it_keeps() -> None:
    """With samples left out and others set aside, derivatives stay with their samples."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, (90, 1))
    y, dy = np.sin(2 * x[:, 0]), 2 * np.cos(2 * x[:, 0])
    y[[3, 40]] = np.nan
    options: dict[str, Any] = {"n_iterations": 4000, "missing": "drop", "validation": 0.2, "seed": 3}
    net = fit(x, y, dy=dy, **options)
    assert net.fit_history is not None
    assert len(net.fit_history.training_rows) == 70
    np.testing.assert_allclose(net.jacobian(x)[:, 0, 0], dy, atol=0.15)
    kept = net.fit_history.training_rows
    same = fit(x, y, dy=np.where(np.isin(np.arange(90), kept), dy, 1e6), **options)
    np.testing.assert_array_equal(same.parameters, net.parameters)


def test_lbfgs_and_all_optimisers_take_derivatives() -> None:
    x, y, dy, _ = data(60, unknown=0.0)
    net = network()
    objective = Objective(net, x, y, dy=dy)
    before, _ = objective.loss_and_gradient(net.parameters)
    assert objective.minimize(200).fun < before / 20
    for optimizer in ("sgd", "rmsprop", "adam", "adamw", Adam(betas=(0.8, 0.99))):
        net = fit(x, y, dy=dy, optimizer=optimizer, n_iterations=50)
        assert net.fit_history is not None
        assert net.fit_history.losses[-1] < net.fit_history.losses[0]


# ---- what is wrong ----

X2 = np.random.default_rng(5).normal(size=(30, 2))
WRONG: list[tuple[Any, str]] = [
    (np.ones((30, 3)), r"dy must be of shape \(30, 1, 2\) or \(30, 2\), got shape \(30, 3\)"),
    (np.ones((29, 2)), r"dy must be of shape \(30, 1, 2\) or \(30, 2\), got shape \(29, 2\)"),
    (np.ones(30), r"dy must be of shape .*, got shape \(30,\)"),
    (np.full((30, 2), np.nan), "dy must be known for at least one sample, got only NaN"),
    (np.full((30, 2), np.inf), "dy must be finite, got inf"),
    ([["a", "b"]] * 30, "dy must be an array of real numbers"),
]


@pytest.mark.parametrize(("dy", "message"), WRONG)
def test_dy_that_is_wrong(dy: Any, message: str) -> None:
    net = NN(2, [3], 1, rng=1, activation="tanh")
    y = X2[:, 0]
    for attempt in (
        lambda: fit(X2, y, dy=dy, n_iterations=1),
        lambda: ArraySource(X2, y, dy=dy),
        lambda: Objective(net, X2, y, dy=dy),
        lambda: check_gradients(net, X2, y, dy=dy),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            attempt()


def test_dy_weight_that_is_wrong() -> None:
    y, net = X2[:, 0], NN(2, [3], 1, rng=1, activation="tanh")
    for dy, wrong, message in (
        *(
            ([[1.0, 0.0]] * 30, wrong, "a finite number of at least 0")
            for wrong in (-1.0, np.nan, np.inf, "much")
        ),
        (None, 2.0, "left out without derivatives"),
    ):
        attempts: list[Callable[..., Any]] = [
            functools.partial(fit, X2, y, dy=dy),
            functools.partial(Trainer, net, ArraySource(X2, y, dy=dy)),
            functools.partial(Objective, net, X2, y, dy=dy),
        ]
        for attempt in attempts:
            with pytest.raises(InvalidArgumentError, match=f"dy_weight must be {message}"):
                attempt(dy_weight=wrong)


def test_what_takes_no_derivatives_is_named() -> None:
    y, dy = X2[:, 0], np.array([[1.0, 0.0]] * 30)
    custom = CustomActivation(lambda x: x * x, lambda x: 2 * x)
    frame = pd.DataFrame({"a": X2[:, 0], "b": ["u", "v"] * 15})
    attempts: list[tuple[Any, str]] = [
        (lambda: fit(X2, y > 0, dy=dy), "dy must be left out for classes"),
        (lambda: fit(frame, y, dy=np.ones((30, 3))), "dy must be left out if a column of x has strings"),
        (lambda: fit(X2, y, dy=dy, activation=custom), "activation must be a built-in one with derivatives"),
        (lambda: fit(X2, y, dy=dy, optimizer="bayesian_regularization"), "optimizer must be"),
        *(
            (functools.partial(fit, X2, abs(y), dy=dy, loss=loss), "loss must be a loss of values")
            for loss in (Quantile([0.1, 0.9]), "gaussian_nll", "poisson")
        ),
        (
            lambda: Trainer(
                NN(2, [3], 1, activation="tanh"), ArraySource(X2, np.ones(30), dy=dy), loss="cross_entropy"
            ),
            "loss must be a loss of values",
        ),
    ]
    for attempt, message in attempts:
        with pytest.raises(InvalidArgumentError, match=message):
            attempt()


def test_functions_of_derivatives_that_are_wrong() -> None:
    attempts: list[tuple[Any, str]] = [
        (lambda x: x[:, :1], r"derivative\(x\) must be of shape \(3, 1, 2\) or \(3, 2\), got shape \(3, 1\)"),
        (lambda x: x / 0.0, r"derivative\(x\) must be finite"),
        (lambda x: np.full(x.shape, np.nan), r"derivative\(x\) must be finite"),
        (3.0, "derivative must be a function"),
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        for wrong, message in attempts:
            with pytest.raises(InvalidArgumentError, match=message):
                UniformSource(bump, [-1, -1], [1, 1], derivative=wrong)
    with pytest.raises(InvalidArgumentError, match="source must be a source with derivatives"):
        UniformSource(bump, [-1, -1], [1, 1], rng=1).derivatives(0)


def test_kinks_are_remarked() -> None:
    y, dy = X2[:, 0], [[1.0, 0.0]] * 30
    for activation in ("relu", "leaky_relu", ELU(2.0)):
        with pytest.warns(RuntimeWarning, match="the slope of .* jumps"):
            fit(X2, y, dy=dy, activation=activation, n_iterations=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(X2, y, dy=dy, activation="elu", n_iterations=1)


def samples(n: int, noise: float = 0.0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(11)
    x = rng.uniform(-2, 2, (n, 3))
    return x, function(x) + noise * rng.normal(size=(n, 2)), derivative(x)


@pytest.mark.parametrize("n", [300, 3000])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda dy: 1000 * dy, "input 0 looks like (9.9e.02|1e.03) times"),
        (lambda dy: -dy, "input 0 looks like -(0.99|1) times"),
        (lambda dy: dy * [1, 60, 1], "input 1 looks like (59|60) times"),
        (lambda dy: dy + np.array([0, 0, 20]), "output 0 with respect to input 2 does not look like"),
    ],
)
def test_derivatives_in_other_units_are_remarked(change: Any, told: str, n: int) -> None:
    x, y, dy = samples(n)
    with pytest.warns(RuntimeWarning, match=told):
        fit(x, y, dy=change(dy), n_iterations=1)


@pytest.mark.parametrize("n", [3, 12, 31, 300, 3000])
@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("unknown", [0.0, 0.6])
def test_right_derivatives_are_not_remarked(n: int, noise: float, unknown: float) -> None:
    x, y, dy = samples(n, noise)
    dy[np.random.default_rng(1).random(dy.shape) < unknown] = np.nan
    dy[0] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(x, y, dy=dy, n_iterations=1)
