"""Data in their own units, their weights, and what counts as constant: wherever data meet a network."""

import copy
import itertools
from typing import Any

import numpy as np
import pytest

from crabnet_jit import (
    NN,
    ArraySource,
    EarlyStopping,
    InvalidArgumentError,
    Objective,
    Standardization,
    StdRng,
    Trainer,
    UniformSource,
    check_gradients,
    diagnose,
    fit,
    score,
)
from crabnet_jit.data.moments import moments, root_mean_square
from crabnet_jit.fitting.data_set import split
from crabnet_jit.plotting import plot_fit


def surface(x: Any) -> Any:
    return 1000 + 50 * np.sin(x[:, 0]) + x[:, 1] ** 2


X = np.random.default_rng(0).uniform(0, 10, (300, 2))
Y = surface(X)


@pytest.fixture(scope="module")
def fitted() -> NN:
    return fit(X, Y, n_iterations=3000)


def by_hand(net: NN, x: Any, y: Any) -> tuple[NN, Any, Any]:
    """A network without units, and data that were standardised by hand."""
    s = net.standardization
    assert s is not None
    bare = copy.deepcopy(net)
    bare.standardization = None
    return bare, (x - s.x_mean) / s.x_std, (y.reshape(-1, 1) - s.y_mean) / s.y_std


# ---- units ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_trainer_takes_data_in_their_units(dtype: str) -> None:
    net = fit(X, Y, n_iterations=500, dtype=dtype)
    bare, x, y = by_hand(net, X, Y)
    net = copy.deepcopy(net)
    options: Any = {"optimizer": "adam", "learning_rate": 1e-3}
    Trainer(net, ArraySource(X, Y, 64, rng=1), **options).run(300)
    Trainer(bare, ArraySource(x, y, 64, rng=1), **options).run(300)
    np.testing.assert_allclose(net.parameters, bare.parameters, rtol=1e-12 if dtype == "float64" else 1e-4)


def test_going_on_with_a_trainer_makes_a_fit_better(fitted: NN) -> None:
    net = copy.deepcopy(fitted)
    Trainer(net, ArraySource(X, Y, 64, rng=1), optimizer="adam", learning_rate=1e-3).run(2000)
    assert score(net, X, Y).rmse[0] < 0.5
    assert score(fitted, X, Y).rmse[0] > 2


def test_so_does_a_function_that_is_sampled(fitted: NN) -> None:
    net = copy.deepcopy(fitted)
    source = UniformSource(surface, [0, 0], [10, 10], batch_size=20, rng=1)
    Trainer(net, source, optimizer="adam", learning_rate=1e-3).run(2000)
    assert score(net, X, Y).rmse[0] < 1
    x, target = source.batch(0)  # the caller's source is as it was
    np.testing.assert_allclose(target[:, 0], surface(x))


def test_a_run_with_a_standardised_source_is_resumed_bit_for_bit(fitted: NN, tmp_path: Any) -> None:
    def trainer(seed: int = 1) -> Trainer:
        source = UniformSource(surface, [0, 0], [10, 10], batch_size=20, rng=seed)
        return Trainer(copy.deepcopy(fitted), source, optimizer="adam", learning_rate=1e-3)

    whole, first, second = trainer(), trainer(), trainer(seed=2)
    whole.run(700)
    first.run(300)
    first.save_checkpoint(tmp_path / "run.npz")
    second.load_checkpoint(tmp_path / "run.npz")
    second.run(400)
    assert second.net.parameters.tobytes() == whole.net.parameters.tobytes()


def test_an_objective_takes_data_in_their_units(fitted: NN) -> None:
    bare, x, y = by_hand(fitted, X, Y)
    theta = fitted.parameters
    loss, gradient = Objective(fitted, X, Y).loss_and_gradient(theta)
    expected, expected_gradient = Objective(bare, x, y).loss_and_gradient(theta)
    assert loss == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


def test_minimising_makes_a_fit_better(fitted: NN) -> None:
    pytest.importorskip("scipy")
    net = copy.deepcopy(fitted)
    Objective(net, X, Y).minimize(200)
    assert score(net, X, Y).rmse[0] < 0.3


def test_early_stopping_decides_in_the_same_units(fitted: NN) -> None:
    net = copy.deepcopy(fitted)
    stopping = EarlyStopping(None, Objective(net, X[200:], Y[200:]), every=100)
    source = ArraySource(X[:200], Y[:200], 64, rng=1)
    history = Trainer(net, source, optimizer="adam", learning_rate=1e-3).run(500, callbacks=[stopping])
    assert max(stopping.losses) < 0.01
    assert history.losses.max() < 0.1


def test_gradients_and_diagnoses_are_those_of_the_units(fitted: NN) -> None:
    bare, x, y = by_hand(fitted, X[:20], Y[:20])
    assert check_gradients(fitted, X[:5], Y[:5]).is_right
    assert check_gradients(fitted, X[:5], Y[:5]).error < 1e-5
    assert str(diagnose(fitted, X[:20], Y[:20])) == str(diagnose(bare, x, y))


def test_a_plot_of_the_fit_shows_data_and_predictions_in_one_unit(fitted: NN) -> None:
    figure: Any = plot_fit(fitted, X, Y)
    comparison = next(axes for axes in figure.get_axes() if axes.get_xlabel().endswith("true"))
    low, high = comparison.get_xlim()
    assert 800 < low < Y.min()
    assert Y.max() < high < 1300


def test_units_that_change_under_a_trainer_are_an_error(fitted: NN) -> None:
    net = copy.deepcopy(fitted)
    trainer = Trainer(net, ArraySource(X, Y, rng=1))
    net.standardization = Standardization(np.zeros(2), np.ones(2), np.zeros(1), np.ones(1))
    with pytest.raises(InvalidArgumentError, match="make a new trainer"):
        trainer.run(1)


def test_data_that_are_too_large_in_standardised_units_are_an_error() -> None:
    net = fit(X, Y, n_iterations=1, dtype="float32")
    with pytest.raises(InvalidArgumentError, match="x, standardised, must be finite in float32"):
        Trainer(net, ArraySource(X * 1e60, Y, rng=1))
    with pytest.raises(InvalidArgumentError, match="y, standardised, must be finite in float32"):
        Objective(net, X, Y * 1e60)


# ---- fit from a start ----


def test_fit_goes_on_from_a_network_in_its_units(fitted: NN) -> None:
    before = fitted.parameters.copy()
    net = fit(X[:50], Y[:50] + 3, start=fitted, n_iterations=1000, learning_rate=1e-3)
    assert fitted.parameters.tobytes() == before.tobytes()
    assert net is not fitted
    assert net.fit_history is not None
    for one, other in zip(net.standardization or (), fitted.standardization or (), strict=True):
        np.testing.assert_array_equal(one, other)
    assert score(net, X[:50], Y[:50] + 3).rmse[0] < 1 < score(fitted, X[:50], Y[:50] + 3).rmse[0]


def test_a_start_is_taken_as_it_is() -> None:
    start = NN(2, [4], 1, rng=1, activation="sine", init="siren", dtype="float32")
    net = fit(X / 10, Y / 1000, start=start, n_iterations=1, learning_rate=0.0)
    assert (net.hidden_sizes, net.dtype, net.activations) == ([4], start.dtype, start.activations)
    assert net.standardization is None
    assert net.parameters.tobytes() == start.parameters.tobytes()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (NN(3, [4], 1, rng=1), r"start.in_features must be that of the data, 2, got 3"),
        (NN(2, [4], 2, rng=1), r"start.out_features must be that of the data, 1, got 2"),
        ("net.npz", "start must be an NN"),
    ],
)
def test_a_start_that_does_not_fit(start: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        fit(X, Y, start=start, n_iterations=1)


# ---- weights ----


def test_scores_are_weighted() -> None:
    net = NN(1, [], 1, init=[1.0, 0.0])
    x, y, weights = np.arange(6.0)[:, None], np.array([0.0, 1, 2, 3, 4, 1000]), [1, 2, 3, 1, 1, 0]
    repeated = np.repeat(np.arange(6), weights)
    y[2] = 5
    weighted, plain = score(net, x, y, weights), score(net, x[repeated], y[repeated])
    assert weighted.n_samples == 5
    for name in ("rmse", "mae", "r2"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(plain, name), rtol=1e-13)


def test_samples_without_weight_do_not_choose_the_network() -> None:
    weights = np.ones(len(X))
    weights[::2] = 0
    junk = np.where(weights == 0, 5000.0, Y)
    nets = [fit(X, y, sample_weight=weights, validation=0.3, n_iterations=1000) for y in (Y, junk)]
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    assert score(nets[0], X, Y, weights) == score(nets[1], X, junk, weights)


def test_a_validation_set_may_have_weights() -> None:
    weights = np.r_[np.ones(50), np.zeros(50)]
    junk = np.where(weights == 0, 5000.0, Y[200:])
    options: Any = {"n_iterations": 1000, "seed": 3}
    with_junk = fit(X[:200], Y[:200], validation=(X[200:], junk, weights), **options)
    without = fit(X[:200], Y[:200], validation=(X[200:250], Y[200:250]), **options)
    assert with_junk.fit_history is not None
    assert without.fit_history is not None
    losses = with_junk.fit_history.validation_losses
    np.testing.assert_allclose(losses, without.fit_history.validation_losses, rtol=1e-12)


def test_both_parts_of_a_split_have_weight() -> None:
    for n, n_weighted, share, seed in itertools.product((4, 40), (2, 4), (0.2, 0.5, 0.9), range(10)):
        weights = np.zeros(n)
        weights[:n_weighted] = 1
        training, aside = split(n, share, StdRng(seed), weights)
        assert weights[training].any()
        assert weights[aside].any()
        assert sorted([*training, *aside]) == list(range(n))
        plain_training, plain_aside = split(n, share, StdRng(seed))
        assert (len(training), len(aside)) == (len(plain_training), len(plain_aside))


def test_a_split_where_weights_need_no_care_is_the_plain_one() -> None:
    weighted, plain = split(40, 0.3, StdRng(1), np.ones(40)), split(40, 0.3, StdRng(1))
    for one, other in zip(weighted, plain, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(6))
def test_few_samples_with_weight_can_be_validated(seed: int) -> None:
    x, y = X[:40], Y[:40]
    weights = np.r_[np.ones(5), np.zeros(35)]
    fit(x, y, sample_weight=weights, validation=0.2, n_iterations=5, seed=seed)
    fit(x[:4], y[:4], sample_weight=[1, 0, 0, 1], validation=0.5, n_iterations=5, seed=seed)
    with pytest.raises(
        InvalidArgumentError, match=r"sample_weight must be above 0 for at least two samples.* got 1"
    ):
        fit(x, y, sample_weight=np.r_[1, np.zeros(39)], validation=0.2, n_iterations=5, seed=seed)


def test_a_row_without_weight_does_no_harm_whatever_is_in_it() -> None:
    x, y, weights = np.array([[1.0], [1e308], [2.0]]), np.array([0.5, -1e308, 1.0]), [1, 0, 1]
    net = NN(1, [4], 1, rng=1)
    loss, gradient = Objective(net, x, y, sample_weight=weights).loss_and_gradient(net.parameters)
    expected, expected_gradient = Objective(net, x[::2], y[::2]).loss_and_gradient(net.parameters)
    assert loss == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-13)
    for batch_size in (1, 2, 3):
        trainer = Trainer(copy.deepcopy(net), ArraySource(x, y, batch_size, sample_weight=weights, rng=1))
        assert np.isfinite(trainer.run(20).losses).all()
    assert np.isfinite(fit(x, y, sample_weight=weights, n_iterations=20).parameters).all()


# ---- what is constant ----


@pytest.mark.parametrize("value", [0.0, 0.1, -0.1, 1e9, 1 / 3, 1e-200, 1e200, 5e-324, 1.7e308])
@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_equal_values_are_constant(value: float, n: int) -> None:
    mean, std, is_constant = moments(np.full((n, 1), value))
    assert (mean[0], std[0], is_constant[0]) == (value, 0.0, True)


def test_values_that_differ_by_their_rounding_are_constant() -> None:
    assert moments(np.array([[0.3], [0.1 + 0.2], [0.3]])).is_constant[0]
    assert not moments(np.array([[0.3], [0.3 * (1 + 1e-14)]])).is_constant[0]


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12, 1e15])
def test_a_small_variation_around_a_large_mean_counts(offset: float) -> None:
    size = max(1e-3, 1e4 * np.spacing(abs(offset)))
    values = offset + size * np.sin(np.linspace(0, 6, 400))[:, None]
    mean, std, is_constant = moments(values)
    assert not is_constant[0]
    np.testing.assert_allclose(std, (values - offset).std(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        mean - offset, (values - offset).mean(axis=0), atol=4 * np.spacing(abs(offset))
    )


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e160, 1e200])
def test_sizes_whose_squares_are_no_numbers(scale: float) -> None:
    values = scale * np.random.default_rng(0).normal(size=(50, 2))
    mean, std, _ = moments(values)
    np.testing.assert_allclose(mean, (values / scale).mean(axis=0) * scale, rtol=1e-13)
    np.testing.assert_allclose(std, (values / scale).std(axis=0) * scale, rtol=1e-13)
    expected = scale * np.sqrt(((values / scale) ** 2).mean(axis=0))
    np.testing.assert_allclose(root_mean_square(values), expected, rtol=1e-13)
    x = np.linspace(0, 1, 50)[:, None]
    y = scale * np.sin(6 * x[:, 0])
    result = score(fit(x, y, n_iterations=2000), x, y)
    assert 0 < result.rmse[0] < 0.1 * scale
    assert result.r2[0] > 0.99


def test_moments_are_weighted() -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=(50, 3)), rng.integers(0, 4, 50)
    repeated = np.repeat(values, weights, axis=0)
    for one, other in zip(moments(values, weights.astype(float)), moments(repeated), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_r2_of_a_constant_target_is_nan() -> None:
    result = score(NN(1, [], 1, init=[0.0, 1.0]), np.zeros((10, 1)), np.full(10, 0.1))
    assert np.isnan(result.r2[0])
    np.testing.assert_allclose(result.rmse, 0.9)


def test_a_fit_sees_seventeen_thousand_steps_of_float64() -> None:
    t = np.linspace(0, 1, 400)[:, None]
    y = 1e9 + 1e-3 * np.sin(6 * t[:, 0])
    net = fit(t, y, n_iterations=4000, hidden_sizes=(16,))
    assert net.standardization is not None
    assert 5e-4 < net.standardization.y_std[0] < 1e-3
    assert score(net, t, y).r2[0] > 0.97


def test_units_that_do_not_vary_have_no_similarity() -> None:
    net = NN(1, [3], 1, init=[0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 1, 1, 1, 0])
    assert np.isnan(diagnose(net, [[0.1], [0.7], [0.3]]).layers[0].similarity)
    net.layers[0].W[:2] = [[1.0], [-1.0]]
    assert diagnose(net, [[0.01], [0.07], [0.03]]).layers[0].similarity == pytest.approx(1.0)


# ---- seeds ----


def test_equal_seeds_for_different_purposes_are_different_draws() -> None:
    parameters = NN(2, [8, 8], 1, rng=1).parameters
    source = UniformSource(lambda x: x[:, 0], [0, 0], [1, 1], batch_size=50, rng=1)
    assert not np.isin(source.batch(0)[0].ravel().round(12), parameters.round(12)).any()
    np.testing.assert_array_equal(parameters, StdRng(1).random(105))  # the original's


def test_a_generator_that_is_passed_on_is_one_stream() -> None:
    rng = StdRng(1)
    NN(2, [8, 8], 1, rng)
    x, _ = UniformSource(lambda x: x[:, 0], [0, 0], [1, 1], rng=rng).batch(0)
    rng = StdRng(1)
    rng.random(105)
    np.testing.assert_allclose(x.ravel(), rng.uniform(0, 1, 32), rtol=1e-15)
