"""Fits in one call, scores, diagnoses, and the choices they are made of."""

import copy
import inspect
import math
import os
import pickle
import signal
import sys
import threading
from typing import Any

import numpy as np
import pytest

from crabnet_jit import (
    INITIALIZERS,
    NN,
    SGD,
    Adam,
    AdamW,
    ArraySource,
    BayesianRegularization,
    Constant,
    Cosine,
    CustomLoss,
    ExponentialDecay,
    InvalidArgumentError,
    LevenbergMarquardt,
    Objective,
    OneCycle,
    OptimizerState,
    ProgressBar,
    ReLU,
    RMSprop,
    Sine,
    StdRng,
    StepDecay,
    Trainer,
    UniformSource,
    diagnose,
    fit,
    fit_many,
    score,
)
from crabnet_jit.fitting.data_set import split


def waves(n: int = 200, in_features: int = 2, seed: int = 0) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).uniform(-1, 1, (n, in_features))
    return x, np.sin(3 * x[:, 0]) + x[:, -1] ** 2


def circles(n: int = 300) -> tuple[Any, Any]:
    """Labels 0, 1 and 2: rings around the origin."""
    x = np.random.default_rng(3).uniform(-1, 1, (n, 2))
    return x, np.digitize(np.hypot(*x.T), [0.5, 0.9])


QUICK: dict[str, Any] = {"hidden_sizes": (16,), "n_iterations": 2000, "learning_rate": 0.02}


# ---- regression ----


@pytest.mark.parametrize(
    ("offset_x", "scale_x", "offset_y", "scale_y"),
    [
        (0, 1, 0, 1),
        (1e6, 1e-3, -1e9, 1e-2),
        (-50, 1e9, 273.15, 1e-9),
        (0, 1e-200, 0, 1e200),
        (1e300, 1e299, -1e300, 1e299),
    ],
)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_regression_in_any_units(
    activation: str, offset_x: float, scale_x: float, offset_y: float, scale_y: float
) -> None:
    x, y = waves()
    x, y = offset_x + scale_x * x, offset_y + scale_y * y
    net = fit(x, y, activation=activation, **QUICK)
    errors = (net.predict(x) - y) / scale_y
    assert math.sqrt((errors**2).mean()) < 0.1
    assert net.predict(x[:3]).shape == (3,)


def test_a_constant_feature_does_no_harm() -> None:
    x, y = waves()
    with_constants = np.column_stack([x, np.full(len(x), 0.1), np.zeros(len(x)), np.full(len(x), -1e200)])
    net = fit(with_constants, y, **QUICK)
    assert score(net, with_constants, y).r2[0] > 0.98
    assert net.standardization is not None
    np.testing.assert_array_equal(net.standardization.x_std[2:], 1)
    np.testing.assert_allclose(net.standardization.x_mean[2:], [0.1, 0, -1e200], rtol=1e-15)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e7, 1e300])
def test_a_constant_target_is_learned(constant: float) -> None:
    x, y = waves(50)
    net = fit(x, np.column_stack([y, np.full(50, constant)]), **QUICK)
    np.testing.assert_allclose(net.predict(x)[:, 1], constant, rtol=1e-6, atol=0.1)
    assert np.corrcoef(net.predict(x)[:, 0], y)[0, 1] > 0.99


def test_several_outputs() -> None:
    x, y = waves()
    targets = np.column_stack([y, 1000 - 5 * y, np.exp(x[:, 0])])
    net = fit(x, targets, **QUICK)
    assert net.out_features == 3
    assert (score(net, x, targets).r2 > 0.97).all()


def test_a_column_and_a_flat_array_are_the_same_targets() -> None:
    x, y = waves(50)
    nets = [fit(x, targets, n_iterations=100) for targets in (y, y[:, None], y.tolist())]
    for net in nets[1:]:
        np.testing.assert_array_equal(net.parameters, nets[0].parameters)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_samples(n: int) -> None:
    x, y = waves(n)
    net = fit(x, y, **QUICK)
    np.testing.assert_allclose(net.predict(x), y, atol=0.02)


@pytest.mark.parametrize("hidden_sizes", [(), [], [4], (4, 3, 2), np.array([4, 3])])
def test_hidden_sizes(hidden_sizes: Any) -> None:
    net = fit(*waves(50), hidden_sizes=hidden_sizes, n_iterations=10)
    assert net.hidden_sizes == list(hidden_sizes)


def test_float32() -> None:
    x, y = waves()
    x, y = 1e5 + x, 1e6 + y  # which float32 holds to 0.01 and 0.1
    net = fit(x, y, dtype="float32", **QUICK)
    assert net.dtype == np.float32
    assert net.predict(x).dtype == np.float64
    assert score(net, x, y).r2[0] > 0.98


# ---- standardisation ----


def test_standardisation_is_that_of_the_data_and_undone_in_predict() -> None:
    x, y = waves()
    x, y = 100 + 7 * x, np.column_stack([3 * y - 50, y**2])
    net = fit(x, y, n_iterations=50)
    s = net.standardization
    assert s is not None
    np.testing.assert_allclose(s.x_mean, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(s.x_std, x.std(axis=0), rtol=1e-13)
    np.testing.assert_allclose(s.y_mean, y.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(s.y_std, y.std(axis=0), rtol=1e-13)
    np.testing.assert_array_equal(net.predict(x), net.get_output(x) * s.y_std + s.y_mean)
    by_hand = net.forward((x - s.x_mean) / s.x_std)
    np.testing.assert_allclose(net.get_output(x), by_hand, rtol=1e-13, atol=1e-13)


def test_predictions_do_not_depend_on_the_units() -> None:
    x, y = waves()
    net, other = fit(x, y, **QUICK), fit(64 * x, 1024 * y, **QUICK)  # powers of 2 are exact
    np.testing.assert_array_equal(other.predict(64 * x), 1024 * net.predict(x))
    np.testing.assert_array_equal(other.parameters, net.parameters)


def test_without_standardisation_numbers_are_taken_as_they_are() -> None:
    x, y = waves()
    net = fit(x, y, standardize=False, **QUICK)
    assert net.standardization is None
    np.testing.assert_array_equal(net.predict(x), net.get_output(x)[:, 0])
    assert score(net, x, y).r2[0] > 0.9


# ---- classes ----


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_labels(activation: str) -> None:
    x, labels = circles()
    net = fit(100 + x, labels, loss="cross_entropy", activation=activation, **QUICK)
    assert net.out_features == 3
    assert (net.predict(100 + x) == labels).mean() > 0.97


def test_labels_and_probabilities_are_the_same_targets() -> None:
    x, labels = circles(60)
    nets = [
        fit(x, y, loss="cross_entropy", n_iterations=100)
        for y in (labels, np.eye(3)[labels], labels.astype(float), labels.astype(np.uint8), labels.tolist())
    ]
    for net in nets[1:]:
        np.testing.assert_array_equal(net.parameters, nets[0].parameters)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_two_classes_by_one_logit(shape: tuple[int, ...]) -> None:
    x, labels = circles()
    y = (labels == 1).astype(float)
    net = fit(x, y.reshape(shape), loss="binary_cross_entropy", **{**QUICK, "learning_rate": 0.05})
    assert net.standardization is not None
    np.testing.assert_array_equal(net.standardization.y_mean, 0)
    np.testing.assert_array_equal(net.standardization.y_std, 1)
    assert ((net.get_output(x)[:, 0] > 0) == (y == 1)).mean() > 0.96
    assert (net.predict(x) == y).mean() > 0.96


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        (
            "cross_entropy",
            [0, 1, 2.5, 1],
            r"y must be labels: integers, strings or booleans, got 2.5 at index 2; for numbers, use a loss",
        ),
        ("cross_entropy", [1, 1, 1, 1], r"y must be labels of at least two classes, got only 1"),
        ("cross_entropy", ["a", "a", "a", "a"], r"y must be labels of at least two classes, got only 'a'"),
        ("cross_entropy", ["a", 1, "b", "b"], r"y must be labels of one type, got str and int"),
        ("cross_entropy", [["a", "b"]] * 4, r"y must be a single column of labels"),
        (
            "mse",
            ["a", "b", "a", "b"],
            "y must be numbers for the loss mse .*got labels; fit a network to these with",
        ),
        (
            "cross_entropy",
            [[0.5, 0.6]] * 4,
            r"y must be probabilities with a sum of 1 in each row, got 1.1 in",
        ),
        ("cross_entropy", [[1.5, -0.5]] * 4, r"y must be from 0 to 1, got 1.5 at index \(0, 0\)"),
        ("binary_cross_entropy", [0, 0.5, -1, 1], r"y must be from 0 to 1, got -1.0 at index \(2, 0\)"),
        ("binary_cross_entropy", [0, 1, 2, 1], r"labels of two classes for binary_cross_entropy, got 3"),
        ("cross_entropi", [0, 1, 2, 1], "loss must be one of .*did you mean 'cross_entropy'"),
    ],
)
def test_bad_targets_of_classes(loss: str, y: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        fit(np.ones((4, 2)), y, loss=loss, n_iterations=1)


def test_labels_of_the_validation_set_are_among_those_of_the_training_set() -> None:
    x, labels = circles(60)
    with pytest.raises(
        InvalidArgumentError, match=r"validation y must be one of the classes 0, 1, got 2 at index"
    ):
        fit(x, np.minimum(labels, 1), loss="cross_entropy", validation=(x, labels), n_iterations=1)
    net = fit(x, labels, loss="cross_entropy", validation=(x[:5], np.zeros(5)), n_iterations=50)
    assert net.out_features == 3


# ---- validation ----


def noisy(n: int = 40) -> tuple[Any, Any]:
    """Little data and much noise, so that a fit is best on its way."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, (n, 2))
    return 50 + 9 * x, 1000 + 20 * (x[:, 0] + rng.normal(size=n))


def validation_loss(net: NN, x: Any, y: Any) -> float:
    return Objective(net, x, y).loss_and_gradient(net.parameters)[0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_parameters_of_the_least_validation_loss_are_restored(dtype: str) -> None:
    x, y = noisy(80)
    options: Any = {"n_iterations": 3000, "learning_rate": 0.01, "dtype": dtype}
    net = fit(x[:40], y[:40], validation=(x[40:], y[40:]), **options)
    last = fit(x[:40], y[:40], **options)
    history = net.fit_history
    assert history is not None
    least = min(history.validation_losses)
    assert least < 0.8 * history.validation_losses[-1]
    assert validation_loss(net, x[40:], y[40:]) == least
    assert validation_loss(last, x[40:], y[40:]) == history.validation_losses[-1]
    assert last.fit_history is not None
    np.testing.assert_array_equal(history.losses, last.fit_history.losses)
    assert history.validation_iterations == [60 * (k + 1) for k in range(50)]
    best = history.validation_iterations[history.validation_losses.index(least)]
    assert best < 3000


def test_a_share_for_validation_is_a_random_part_of_the_data() -> None:
    x, y = noisy(80)
    net = fit(x, y, hidden_sizes=(8,), validation=0.25, n_iterations=500, seed=7)
    rng = StdRng(7)
    NN(2, [8], 1, rng, init="glorot_uniform")
    training, aside = split(80, 0.25, rng)
    assert (len(training), len(aside)) == (60, 20)
    assert sorted([*training, *aside]) == list(range(80))
    assert list(aside) != list(range(60, 80))
    assert net.standardization is not None
    np.testing.assert_allclose(net.standardization.x_mean, x[training].mean(axis=0), rtol=1e-14)
    assert net.fit_history is not None
    assert validation_loss(net, x[aside], y[aside]) == min(net.fit_history.validation_losses)


def test_samples_that_booleans_set_aside() -> None:
    x, y = noisy(80)
    options: dict[str, Any] = {"hidden_sizes": (8,), "n_iterations": 500, "seed": 7}
    is_aside = np.arange(80) % 4 == 1
    y[[3, 5, 6]] = np.nan  # samples 3 and 6 would be trained on, 5 is set aside
    net = fit(x, y, validation=is_aside, **options)
    known = ~np.isnan(y)
    rows = [np.flatnonzero(part & known) for part in (~is_aside, is_aside)]
    other = fit(x[rows[0]], y[rows[0]], validation=(x[rows[1]], y[rows[1]]), **options)
    assert np.array_equal(net.parameters, other.parameters)
    assert net.fit_history is not None
    assert [*net.fit_history.training_rows] == [*rows[0]]
    assert [*net.fit_history.validation_rows] == [*rows[1]]
    shared = fit_many([{}, {"seed": 8}, {"dy": x}, {"dy": x[::-1]}], x, y, validation=is_aside, **options)
    for member, own in zip(shared, [{}, {"seed": 8}, {"dy": x}, {"dy": x[::-1]}], strict=True):
        assert member is not None
        assert member.fit_history is not None
        alone = fit(x, y, **{**options, **own}, validation=is_aside)
        assert np.array_equal(member.parameters, alone.parameters)
        assert [*member.fit_history.training_rows] == [*rows[0]]


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (np.zeros(9, bool), r"validation must be booleans of shape \(10,\), got shape \(9,\)"),
        (np.zeros(10, bool), "validation must be True for some sample of weight above 0, got no such True"),
        (np.ones(10, bool), "validation must be False for some sample"),
        (np.arange(10) < 3, "validation must be True for some sample of weight above 0"),
    ],
)
def test_booleans_that_set_no_samples_aside(validation: Any, message: str) -> None:
    x, y = waves(10)
    with pytest.raises(InvalidArgumentError, match=message):
        fit(x, y, validation=validation, sample_weight=np.arange(10) > 2.0, n_iterations=1)


@pytest.mark.parametrize(
    ("n", "share", "expected"), [(2, 0.01, 1), (2, 1.0, 1), (10, 0.2, 2), (3, 0.99, 2), (1000, 0.001, 1)]
)
def test_both_parts_have_a_sample(n: int, share: float, expected: int) -> None:
    training, aside = split(n, share, StdRng(1))
    assert len(aside) == expected
    assert sorted([*training, *aside]) == list(range(n))


def test_few_iterations_with_validation() -> None:
    x, y = noisy()
    for n in (1, 3, 49, 51):
        history = fit(x, y, validation=0.2, n_iterations=n).fit_history
        assert history is not None
        assert history.losses.size == n
        assert history.validation_iterations[-1] == n
        every = -(-n // 50)
        assert history.validation_iterations == sorted({*range(every, n + 1, every), n})
        assert len(history.validation_losses) == len(history.validation_iterations)


def test_without_validation_there_are_no_validation_losses() -> None:
    history = fit(*noisy(), n_iterations=20).fit_history
    assert history is not None
    assert history.losses.shape == (20,)
    assert history.validation_iterations == history.validation_losses == []


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        (0, "validation must be above 0 and below 1, or None, got 0"),
        (1.0, "validation must be a number of at least 0 and below 1"),
        (-0.1, "validation must be"),
        (1.5, "validation must be"),
        (math.nan, "validation must be"),
        ("0.2", "validation must be"),
        (True, "validation must be"),
        (
            (np.ones((3, 2)),),
            r"validation must be a number, or \(x, y\) or \(x, y, sample_weight\), got 1 items",
        ),
        ((np.ones((3, 2)), np.ones(4)), "must be of as many samples"),
        ((np.ones((3, 1)), np.ones(3)), r"must be of shape \(n_samples, 2\), got shape \(3, 1\)"),
        ((np.ones((3, 2)), np.ones((3, 2))), r"must be of shape \(n_samples, 1\), got shape \(3, 2\)"),
    ],
)
def test_bad_validation(validation: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        fit(*waves(10), validation=validation, n_iterations=1)


def test_one_sample_can_not_be_split() -> None:
    with pytest.raises(InvalidArgumentError, match="x must be at least two samples, to set one aside, got 1"):
        fit([[1.0]], [1.0], validation=0.5, n_iterations=1)


# ---- the same again ----


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2}, {"validation": 0.2}, {"dtype": "float32"}])
def test_a_seed_gives_the_same_bits_and_another_one_others(options: Any) -> None:
    x, y = waves(100)
    nets = [fit(x, y, n_iterations=200, seed=seed, **options) for seed in (0, 0, 1)]
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    assert nets[0].predict(x).tobytes() == nets[1].predict(x).tobytes()
    assert nets[0].parameters.tobytes() != nets[2].parameters.tobytes()


def test_a_fit_is_what_its_parts_give() -> None:
    """The seed is for parameters and the order of samples, and its stream 1 for dropout."""
    x, y = waves(50)
    fitted = fit(x, y, n_iterations=100, dropout=0.3, l2=0.01, seed=9)
    rng = StdRng(9)
    net = NN(2, [32, 32], 1, rng, activation="tanh", init="glorot_uniform")
    s = fitted.standardization
    assert s is not None
    source = ArraySource((x - s.x_mean) / s.x_std, (y[:, None] - s.y_mean) / s.y_std, 64, rng=rng)
    options: Any = {"optimizer": "adam", "learning_rate": Cosine(0.003, 100, warmup=10), "l2": 0.01}
    Trainer(net, source, dropout=0.3, rng=StdRng(9, stream=1), **options).run(100)
    np.testing.assert_array_equal(fitted.parameters, net.parameters)


def test_a_generator_as_seed_does_not_move() -> None:
    rng = StdRng(4)
    rng.random(17)
    nets = [fit(*waves(30), n_iterations=20, seed=rng) for _ in range(2)]
    assert rng.position == 17
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


def test_the_callers_arrays_are_not_changed() -> None:
    x, y = waves(40)
    weights = np.arange(40.0)
    before = x.copy(), y.copy(), weights.copy()
    fit(x, y, sample_weight=weights, validation=0.2, n_iterations=20)
    for now, then in zip((x, y, weights), before, strict=True):
        np.testing.assert_array_equal(now, then)


# ---- sample weights ----


def test_weights_count_as_repeated_samples() -> None:
    x, y = waves(20)
    times = np.random.default_rng(1).integers(0, 4, 20)
    options: Any = {"standardize": False, "batch_size": 1000, "n_iterations": 300}
    weighted = fit(x, y, sample_weight=times, **options)
    repeated = fit(np.repeat(x, times, axis=0), np.repeat(y, times), **options)
    np.testing.assert_allclose(weighted.parameters, repeated.parameters, rtol=1e-6, atol=1e-9)


def test_samples_of_more_weight_are_fitted_better() -> None:
    x = np.zeros((100, 1))
    y = np.repeat([0.0, 1.0], 50)
    weights = np.repeat([1.0, 3.0], 50)
    net = fit(x, y, sample_weight=weights, hidden_sizes=(), n_iterations=3000, batch_size=100)
    assert net.predict([[0.0]])[0] == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize("weights", [np.zeros(10), -np.ones(10), np.ones(9), np.full(10, math.nan), "x"])
def test_bad_weights(weights: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="sample_weight must be"):
        fit(*waves(10), sample_weight=weights, n_iterations=1)


# ---- scores ----


@pytest.mark.parametrize("standardize", [True, False])
def test_score_against_the_formulas(standardize: bool) -> None:
    x, y = waves(50)
    targets = np.column_stack([10 * y, y**2 - 3])
    net = fit(x, targets, n_iterations=100, standardize=standardize)
    scores = score(net, x, targets)
    errors = targets - net.predict(x)
    for k in range(2):
        e, t = errors[:, k], targets[:, k]
        assert scores.rmse[k] == pytest.approx(math.sqrt(sum(v * v for v in e) / 50), rel=1e-12)
        assert scores.mae[k] == pytest.approx(sum(abs(v) for v in e) / 50, rel=1e-12)
        r2 = 1 - sum(v * v for v in e) / sum((v - t.mean()) ** 2 for v in t)
        assert scores.r2[k] == pytest.approx(r2, rel=1e-12)
    assert scores.n_samples == 50


def test_score_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = waves(50)
    targets = np.column_stack([10 * y, y**2 - 3])
    net = fit(x, targets, n_iterations=100)
    scores, predicted = score(net, x, targets), net.predict(x)
    for name, function in (
        ("r2", metrics.r2_score),
        ("mae", metrics.mean_absolute_error),
        ("rmse", metrics.root_mean_squared_error),
    ):
        expected = function(targets, predicted, multioutput="raw_values")
        np.testing.assert_allclose(getattr(scores, name), expected, rtol=1e-12)


def test_r2_of_a_constant_output_is_nan() -> None:
    net = NN(1, [], 2, init=[1.0, 1.0, 0.0, 0.0])
    scores = score(net, [[0.0], [2.0]], [[0.0, 5.0], [2.0, 5.0]])
    np.testing.assert_array_equal(scores.r2, [1.0, math.nan])
    np.testing.assert_array_equal(scores.mae, [0.0, 4.0])
    assert math.isnan(score(net, [[1.0]], [[1.0, 1.0]]).r2[0])


def test_bad_scores() -> None:
    net = NN(2, [], 1, init="zeros")
    for x, y in (
        (np.ones((3, 1)), np.ones(3)),
        (np.ones((3, 2)), np.ones(2)),
        (np.ones((3, 2)), np.ones((3, 2))),
        (np.ones((0, 2)), np.ones(0)),
    ):
        with pytest.raises(InvalidArgumentError):
            score(net, x, y)


# ---- bad arguments ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_sizes": (0,)}, r"hidden_sizes\[0\] must be an integer of at least 1, got 0"),
        ({"hidden_sizes": 8}, "hidden_sizes must be a sequence of integers"),
        ({"hidden_sizes": "8"}, "hidden_sizes must be a sequence of integers"),
        ({"activation": "rel"}, "activation must be one of .*did you mean 'relu'"),
        ({"activation": ["tanh"]}, "activation must be one, or one for each of 2 hidden layers, got 1"),
        ({"init": "glorot"}, "init must be one of .*did you mean 'glorot_"),
        ({"loss": "rmse"}, "loss must be one of .*did you mean 'mse'"),
        ({"loss": None}, "loss must be one of"),
        ({"optimizer": "addam"}, "optimizer must be one of .*did you mean 'adam'"),
        ({"optimizer": Adam}, "optimizer must be one of"),
        ({"learning_rate": -1}, "learning_rate must be a finite number of at least 0, got -1"),
        ({"learning_rate": math.nan}, "learning_rate must be"),
        ({"learning_rate": "0.1"}, "learning_rate must be"),
        ({"learning_rate": None}, "learning_rate must be"),
        ({"n_iterations": 0}, "n_iterations must be an integer of at least 1, got 0"),
        ({"n_iterations": 2.0}, "n_iterations must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"seed": 1.5}, "seed must be an integer from 0"),
        ({"dtype": "float16"}, "dtype must be float32 or float64, got 'float16'"),
        ({"dtype": int}, "dtype must be float32 or float64"),
        ({"dtype": "no"}, "dtype must be float32 or float64"),
        ({"l1": -1}, "l1 must be a finite number of at least 0"),
        ({"l2": math.inf}, "l2 must be a finite number of at least 0"),
        ({"clip_value": 0}, "clip_value must be a finite number above 0"),
        ({"clip_norm": -1}, "clip_norm must be a finite number above 0"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        fit(*waves(10), **{"n_iterations": 1, **options})


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="momentum"):
        fit(*waves(10), n_iterations=1, momentum=0.9)  # type: ignore[call-arg]


FIT: Any = fit  # with arguments of any type
TRAINER: Any = Trainer


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lr", "fit has no argument 'lr'; it is called learning_rate here"),
        ("learning_rate_init", "learning_rate"),
        ("hidden", "hidden_sizes"),
        ("hidden_layer_sizes", "hidden_sizes"),
        ("random_state", "seed"),
        ("rng", "seed"),
        ("max_iter", "n_iterations"),
        ("alpha", "it is called l2 here"),
        ("weight_decay", "it is called l2 here"),
        ("solver", "optimizer"),
        ("dropout_rate", "dropout"),
        ("batch", "batch_size"),
        ("X", "it is called x here"),
        (
            "epochs",
            r"n_iterations counts steps of one batch, not passes .* n \* ceil\(n_samples / batch_size\)",
        ),
        ("n_epochs", "n_iterations counts steps of one batch"),
        ("verbose", r"callbacks=\[ProgressBar\(\)\]"),
        ("early_stopping", "patience=10 with validation=0.2"),
        ("momentum", r"optimizer=SGD\(momentum=0.9\)"),
        ("learnign_rate", r"did you mean learning_rate\?"),
        ("xyz", "it has x, y, hidden_sizes, .*on_divergence"),
    ],
)
def test_names_of_other_libraries_are_told_with_ours(name: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        FIT(*waves(10), **{name: 1})
    assert str(caught.value).startswith(f"fit has no argument '{name}'; ")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TRAINER(None, None, lr=1), "Trainer has no argument 'lr'; it is called learning_rate here"),
        (lambda: TRAINER(None, None, seed=1), "Trainer .*it is called rng here"),
        (lambda: TRAINER(None, None, batch_size=1), "Trainer .*the source takes a batch_size"),
        (lambda: TRAINER(None, None, epochs=1), "Trainer.run takes the number of iterations"),
        (lambda: NN(1, hidden=[2]), "NN has no argument 'hidden'; it is called hidden_sizes here"),  # type: ignore[call-arg]
        (lambda: NN(1, [2], 1, lr=1), "NN has no argument 'lr'; fit and Trainer take a learning_rate"),  # type: ignore[call-arg]
        (lambda: Adam(lr=0.1), "Adam has no argument 'lr'; fit and Trainer take"),  # type: ignore[call-arg]
        (lambda: AdamW(lr=0.1), "AdamW has no argument 'lr'"),  # type: ignore[call-arg]
        (lambda: ReLU(inplace=True), "ReLU has no argument 'inplace'; it has none"),  # type: ignore[call-arg]
        (lambda: UniformSource(None, bounds=1), "they are called low and high here"),  # type: ignore[call-arg]
    ],
)
def test_constructors_name_themselves(call: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        call()


def test_a_subclass_is_named_as_it_is() -> None:
    class Mine(NN):
        pass

    with pytest.raises(InvalidArgumentError, match="Mine has no argument 'lr'"):
        Mine(1, [2], 1, lr=0.1)  # type: ignore[call-arg]


def test_all_arguments_of_fit_stand_in_its_signature() -> None:
    parameters = inspect.signature(fit).parameters
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters.values())
    of_trainer = inspect.signature(Trainer).parameters.keys() - {
        "net",
        "source",
        "residuals",
        "rng",
        "chunk_size",
    }
    assert of_trainer <= parameters.keys()
    for name in of_trainer - {"loss", "optimizer", "learning_rate"}:  # whose defaults are fit's own
        assert parameters[name].default == inspect.signature(Trainer).parameters[name].default


def test_a_fit_that_keeps_few_losses_reports_all() -> None:
    told: list[list[float]] = []
    for keep in (None, 0):
        told.append([])
        fit(
            *waves(50),
            n_iterations=500_000,
            hidden_sizes=(2,),
            batch_size=4,
            keep_losses=keep,
            on_check=lambda i, loss, _: told[-1].append(loss),
        )
    assert told[0] == told[1]


class NeedsGradient:
    """As a tensor of PyTorch does."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("call detach() first")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: FIT(NeedsGradient(), y), r"x must be an array of numbers, got .*call detach\(\) first"),
        (lambda x, y: FIT(x, NeedsGradient()), "y must be an array of numbers, got .*call detach"),
        (lambda x, y: FIT(x, y, activation=ReLU), r"did you mean an object, ReLU\(\.\.\.\)\?"),
        (
            lambda x, y: FIT(x, y, learning_rate=Cosine),
            "learning_rate must be a number or a schedule, such as",
        ),
        (
            lambda x, y: FIT(x, y, callbacks=[ProgressBar]),
            "callback must be a Callback or a function of a Run",
        ),
        (
            lambda x, y: FIT(x, y, seed=np.random.default_rng(1)),
            "seed must be an integer from 0 .* or a StdRng",
        ),
        (lambda x, y: FIT(x, y, resume=3), "resume must be a path, got 3"),
        (lambda x, y: FIT(x, y, validation=(x, y[1:])), "^validation y must be of as many samples as x"),
        (
            lambda x, y: TRAINER(NN(2, [2], 1), (x, y)),
            r"source must be a Source, such as ArraySource\(x, y\)",
        ),
    ],
)
def test_errors_name_what_was_passed(call: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        call(*waves(10))


def test_errors_show_no_whole_arrays() -> None:
    x, y = waves(5000)
    with pytest.raises(InvalidArgumentError, match="a number above 0 and below 1, a tuple") as caught:
        fit(x, y, validation=[x, y])  # type: ignore[arg-type]
    assert "got a list" in str(caught.value)
    with pytest.raises(InvalidArgumentError) as other:
        Trainer(x.tolist())
    for text in (str(caught.value), str(other.value)):
        assert len(text) < 300
        assert "\n" not in text


def test_divergence_is_told() -> None:
    with pytest.raises(FloatingPointError, match="the run diverged"):
        fit(*waves(50), activation="relu", optimizer="sgd", learning_rate=1e6, n_iterations=1000)


# ---- real data ----


def held_out(x: Any, y: Any, seed: int) -> tuple[Any, Any, Any, Any]:
    order = np.random.default_rng(seed).permutation(len(x))
    training, test = order[len(x) // 5 :], order[: len(x) // 5]
    return x[training], y[training], x[test], y[test]


def test_diabetes() -> None:
    """Linear regression reaches about 0.5 here; a network without weight decay overfits."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_diabetes(return_X_y=True)
    r2 = []
    for seed in range(3):
        x_train, y_train, x_test, y_test = held_out(x, y, seed)
        decay = AdamW(weight_decay=1.0)
        net = fit(x_train, y_train, hidden_sizes=(16,), optimizer=decay, n_iterations=1500, seed=seed)
        r2.append(score(net, x_test, y_test).r2[0])
    assert np.mean(r2) >= 0.40


def test_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    x_train, y_train, x_test, y_test = held_out(x, y, 0)
    options: Any = {"hidden_sizes": (32,), "activation": "relu", "n_iterations": 1000}
    net = fit(x_train, y_train, loss="cross_entropy", **options)
    assert (net.predict(x_test) == y_test).mean() >= 0.95


# ---- diagnosis ----


def box(n: int = 200, in_features: int = 3) -> Any:
    return np.random.default_rng(0).uniform(-1.7, 1.7, (n, in_features))


def hints_of(net: NN, x: Any) -> str:
    return "\n".join(diagnose(net, x).hints)


def test_diagnosis_of_the_articles_start() -> None:
    found = diagnose(NN(2, [8, 8], 1, rng=1), np.random.default_rng(0).uniform(-3, 3, (200, 2)))
    assert found.layers[1].similarity > 0.99
    assert "Outputs grow 2.37-fold" in found.hints[0]
    assert "Gradients grow 2.95-fold" in found.hints[1]
    assert "Layer 2: its units are nearly alike" in found.hints[2]
    assert "glorot_uniform" in found.hints[2]
    assert "dead" not in "\n".join(found.hints)


@pytest.mark.parametrize("activation", ["relu", "elu", "sigmoid", "tanh", "gelu", "silu", "softplus"])
def test_dead_units_are_counted_and_told(activation: str) -> None:
    net = NN(3, [10, 10], 1, rng=1, init="he_uniform", activation=activation)
    net.layers[1].b[:4] = -1000
    found = diagnose(net, box())
    assert found.layers[0].dead_share == 0
    assert found.layers[1].dead_share == pytest.approx(0.4)
    assert found.layers[2].dead_share == 0
    assert any(hint.startswith("Layer 2: 40% of the units are dead") for hint in found.hints)
    assert not any(hint.startswith("Layer 1") for hint in found.hints)


def test_a_unit_that_lives_for_one_sample_is_not_dead() -> None:
    net = NN(1, [2], 1, init=[([[1.0], [1.0]], [-0.9, -1.1]), ([[1.0, 1.0]], [0.0])])
    assert diagnose(net, np.linspace(0, 1, 50)[:, None]).layers[0].dead_share == 0.5


def test_a_leaky_unit_is_never_dead() -> None:
    net = NN(3, [10], 1, rng=1, init="he_uniform", activation="leaky_relu")
    net.layers[0].b[:] = -1000
    assert diagnose(net, box()).layers[0].dead_share == 0


def test_deep_sigmoids_vanish_backwards() -> None:
    net = NN(3, [16] * 8, 1, rng=1, init="glorot_uniform", activation="sigmoid")
    found = diagnose(net, box())
    gradients = [layer.gradient_rms for layer in found.layers]
    assert gradients == sorted(gradients)
    assert gradients[0] < 1e-4 * gradients[-1]
    assert any("Gradients shrink" in hint and "SiLU or ReLU" in hint for hint in found.hints)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_large_weights_explode(dtype: str) -> None:
    net = NN(3, [16] * 6, 1, rng=1, init="he_uniform", dtype=dtype)
    net.parameters *= 5
    hints = hints_of(net, box())
    assert "Outputs grow" in hints
    assert "Gradients grow" in hints
    assert "clip_norm" in hints


def test_small_weights_vanish() -> None:
    net = NN(3, [16] * 6, 1, rng=1, init="he_uniform")
    net.parameters *= 0.1
    hints = hints_of(net, box())
    assert "Outputs shrink" in hints
    assert "Gradients shrink" in hints


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("activation", "init", "out_features"),
    [
        ("tanh", "glorot_uniform", 2),
        ("tanh", "glorot_normal", 1),
        ("relu", "he_uniform", 1),
        ("relu", "he_normal", 2),
        (Sine(30), "siren", 1),
    ],
)
def test_a_healthy_network_gets_no_hints(activation: Any, init: str, out_features: int, seed: int) -> None:
    net = NN(3, [32, 32], out_features, rng=seed, init=init, activation=activation)
    found = diagnose(net, box())
    assert found.hints == []
    assert str(found).endswith("\n\nNothing vanishes, explodes or is dead.")


@pytest.mark.parametrize(("loss", "y"), [("mse", [0.5, 2.0]), ("mae", [0.5, 2.0]), ("cross_entropy", None)])
def test_gradients_of_a_diagnosis_are_the_losss(loss: str, y: Any) -> None:
    x = box(2)
    net = NN(3, [4], 1 if y is not None else 2, rng=1, init="glorot_uniform", activation="tanh")
    targets = np.eye(2) if y is None else y
    found = diagnose(net, x, targets, loss=loss)
    objective = Objective(net, x, targets, loss=loss)
    theta = net.parameters.copy()
    n_out = net.out_features
    # A bias of the output moves its logit in every sample: dL_db = sum of dL_dz.
    gradient = objective.loss_and_gradient(theta)[1][-n_out:]
    assert found.layers[-1].gradient_rms > 0
    assert np.abs(gradient).max() <= found.layers[-1].gradient_rms * 2 * math.sqrt(n_out) * (1 + 1e-12)
    with pytest.raises(InvalidArgumentError, match="loss must be one of"):
        diagnose(net, x, targets, loss="mce")


def test_diagnosis_leaves_the_network_as_it_is() -> None:
    net = NN(3, [8], 1, rng=1)
    net.forward(box(5))
    net.backward(np.ones((5, 1)))
    before = net.gradients.copy(), net.parameters.copy(), net.activations[0].dy_dx
    diagnose(net, box(), np.ones(200))
    np.testing.assert_array_equal(net.gradients, before[0])
    np.testing.assert_array_equal(net.parameters, before[1])
    assert net.activations[0].dy_dx is before[2]


def test_diagnosis_of_the_smallest_networks_and_data() -> None:
    for net in (NN(1, [], 1, init="zeros"), NN(1, [1], 1, rng=1), NN(1, [3, 3], 2, init="zeros")):
        for x in ([[0.0]], [[1.0]], [[1.0], [1.0]]):
            assert str(diagnose(net, x)).startswith("layer  units  activation")
    with pytest.raises(InvalidArgumentError, match="x must be"):
        diagnose(NN(2, [], 1, rng=1), [[1.0]])
    with pytest.raises(InvalidArgumentError):
        diagnose(NN(1, [], 1, rng=1), [[1.0]], [1.0, 2.0])


# ---- initial parameters ----


@pytest.mark.parametrize(("n_in", "n_out"), [(300, 200), (50, 400), (400, 50)])
@pytest.mark.parametrize(
    ("rule", "variance"),
    [
        ("glorot_uniform", lambda n_in, n_out: 2 / (n_in + n_out)),
        ("glorot_normal", lambda n_in, n_out: 2 / (n_in + n_out)),
        ("he_uniform", lambda n_in, n_out: 2 / n_in),
        ("he_normal", lambda n_in, n_out: 2 / n_in),
        ("lecun_uniform", lambda n_in, n_out: 1 / n_in),
        ("lecun_normal", lambda n_in, n_out: 1 / n_in),
    ],
)
def test_moments_of_the_rules(rule: str, variance: Any, n_in: int, n_out: int) -> None:
    net = NN(n_in, [n_out], n_in, rng=1, init=rule)
    for layer in net.layers:
        expected = variance(layer.in_features, layer.out_features)
        W, n = layer.W, layer.W.size
        assert abs(W.mean()) < 5 * math.sqrt(expected / n)
        assert W.var() == pytest.approx(expected, rel=0.05)
        z = W / math.sqrt(expected)
        if rule.endswith("uniform"):
            assert math.sqrt(3) * 0.999 < np.abs(z).max() <= math.sqrt(3)
            assert (z**4).mean() == pytest.approx(9 / 5, rel=0.05)
        else:
            assert np.abs(z).max() > 3.5
            assert (z**4).mean() == pytest.approx(3, rel=0.1)
        assert not layer.b.any()
        assert abs(np.corrcoef(W[:, :-1].ravel(), W[:, 1:].ravel())[0, 1]) < 0.05


def test_standard_uniform_is_positive_also_in_biases() -> None:
    net = NN(100, [300], 100, rng=1)
    for layer in net.layers:
        for part in (layer.W, layer.b):
            assert part.min() >= 0
            assert part.max() < 1
            assert part.mean() == pytest.approx(0.5, abs=0.06)
    np.testing.assert_array_equal(net.parameters, StdRng(1).random(net.parameters.size))


@pytest.mark.parametrize("frequency", [1.0, 30.0])
def test_siren_knows_the_first_layer_and_the_frequency(frequency: float) -> None:
    net = NN(10, [200, 300], 100, rng=1, init="siren", activation=Sine(frequency))
    bounds = [0.1, math.sqrt(6 / 200) / frequency, math.sqrt(6 / 300)]
    for layer, bound in zip(net.layers, bounds, strict=True):
        assert 0.99 * bound < np.abs(layer.W).max() <= bound
        assert layer.W.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert 0.9 < np.abs(layer.b).max() * math.sqrt(layer.in_features) <= 1


def test_zeros() -> None:
    assert not NN(3, [4], 2, init="zeros").parameters.any()


@pytest.mark.parametrize("rule", INITIALIZERS)
def test_rules_give_the_same_bits_for_a_seed_and_float32_is_rounded(rule: str) -> None:
    nets = [NN(3, [5, 7], 2, rng=seed, init=rule) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)
    assert rule == "zeros" or (nets[0].parameters != nets[2].parameters).any()
    rounded = NN(3, [5, 7], 2, rng=1, init=rule, dtype=np.float32)
    np.testing.assert_array_equal(rounded.parameters, nets[0].parameters.astype(np.float32))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"activation": "relu"}, "he_uniform"),
        ({"activation": "tanh"}, "glorot_uniform"),
        ({"activation": "silu"}, "glorot_uniform"),
        ({"activation": Sine(5)}, "siren"),
        ({"activation": "sine"}, "siren"),
        ({"activation": ["relu", "tanh"]}, "he_uniform"),
        ({"activation": ["tanh", "relu"]}, "glorot_uniform"),
        ({"activation": [], "hidden_sizes": ()}, "glorot_uniform"),
        ({"init": "lecun_normal"}, "lecun_normal"),
    ],
)
def test_the_start_of_a_fit(options: Any, rule: str) -> None:
    net = fit(*waves(10), **{"n_iterations": 1, "learning_rate": 0.0, "seed": 5, **options})
    activation = options.get("activation", "tanh")
    start = NN(2, net.hidden_sizes, 1, rng=5, activation=activation, init=rule)
    np.testing.assert_array_equal(net.parameters, start.parameters)


def test_parameters_of_the_users_in_both_forms() -> None:
    W1, b1, W2, b2 = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [7.0, 8.0, 9.0], [[10.0, 11.0, 12.0]], [13.0]
    column = np.array(b1)[:, None]
    inits: list[Any] = [
        np.arange(1.0, 14.0),
        list(range(1, 14)),
        [(W1, b1), (W2, b2)],
        ((W1, column), (W2, [b2])),
        [[np.array(W1), np.array(b1)], [np.array(W2, np.float32), np.array(b2)]],
    ]
    for init in inits:
        net = NN(2, [3], 1, init=init)
        np.testing.assert_array_equal(net.parameters, np.arange(1.0, 14.0))
        np.testing.assert_array_equal(net.layers[0].b[:, 0], b1)
    given = np.arange(1.0, 14.0)
    net = NN(2, [3], 1, init=given)
    net.parameters *= 2
    np.testing.assert_array_equal(given, np.arange(1.0, 14.0))


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.zeros(12), r"init must be of shape \(13,\), got shape \(12,\)"),
        (np.zeros((13, 1)), r"init must be of shape \(13,\), got shape \(13, 1\)"),
        ([0.0] * 14, r"init must be of shape \(13,\), got shape \(14,\)"),
        ([math.nan] * 13, r"init must be finite, got nan at index \(0,\)"),
        ([(np.zeros((3, 2)), np.zeros(3))], r"init must be \(W, b\) for each of 2 layers, got 1 items"),
        (
            [(np.zeros((2, 3)), np.zeros(3))] * 2,
            r"init\[0\]\[0\] must be of shape \(3, 2\), got shape \(2, 3\)",
        ),
        (
            [(np.zeros((3, 2)), np.zeros(2))] * 2,
            r"init\[0\]\[1\] must be of shape \(3, 1\), got shape \(2,\)",
        ),
        ([(np.zeros((3, 2)),), (1,)], r"init\[0\] must be a pair \(W, b\), got 1 items"),
        ("glorot_unifrom", "init must be one of .*did you mean 'glorot_uniform'"),
        ("He_normal", "init must be one of .*did you mean 'he_normal'"),
        ("xavier", "init must be one of standard_uniform, glorot_uniform"),
    ],
)
def test_bad_initial_parameters(init: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        NN(2, [3], 1, init=init)


@pytest.mark.parametrize("option", ["activation", "output_activation"])
@pytest.mark.parametrize(("name", "near"), [("reLU", "relu"), ("leakyrelu", "leaky_relu"), ("tahn", "tanh")])
def test_unknown_activations_say_the_nearest(option: str, name: str, near: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{option} must be one of .*did you mean '{near}'"):
        NN(2, [3], 1, **{option: name})  # type: ignore[arg-type]  # the error is the point


# ---- learning rates ----


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-0.1), "learning_rate must be a finite number of at least 0"),
        (lambda: Constant(math.nan), "learning_rate must be"),
        (lambda: Constant("0.1"), "learning_rate must be"),  # type: ignore[arg-type]
        (lambda: Constant(True), "learning_rate must be"),
        (lambda: ExponentialDecay(math.inf), "learning_rate must be"),
        (lambda: ExponentialDecay(0.1, 0), "decay must be a finite number above 0 and at most 1"),
        (lambda: ExponentialDecay(0.1, 1.1), "decay must be"),
        (lambda: StepDecay(0.1, 0), "every must be an integer of at least 1"),
        (lambda: StepDecay(0.1, 2.0), "every must be"),  # type: ignore[arg-type]
        (lambda: StepDecay(0.1, 2, 0), "factor must be"),
        (lambda: Cosine(0.1, 0), "n_iterations must be an integer of at least 1"),
        (lambda: Cosine(0.1, 10, warmup=10), "warmup must be an integer from 0 to 9, got 10"),
        (lambda: Cosine(0.1, 10, warmup=-1), "warmup must be"),
        (lambda: Cosine(0.1, 10, final_rate=-1), "final_rate must be"),
        (lambda: OneCycle(0.1, 1), "n_iterations must be an integer of at least 2"),
        (lambda: OneCycle(0.1, 10, 0.1), "warmup_fraction must be above 1 / n_iterations = 0.1, got 0.1"),
        (lambda: OneCycle(0.1, 10, 1.0), "warmup_fraction must be"),
        (lambda: OneCycle(0.1, 10, start_divisor=0.5), "start_divisor must be"),
        (lambda: OneCycle(0.1, 10, final_divisor=0), "final_divisor must be"),
    ],
)
def test_bad_schedules(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        make()


def trainer(**options: Any) -> Trainer:
    net = NN(2, [3, 4], 1, rng=1, init="glorot_uniform")
    return Trainer(net, ArraySource(*waves(20), 5, rng=1), **options)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda i: np.full(3, 0.1), r"of shape \(10,\), got shape \(3,\)"),
        (lambda i: 0.1, r"of shape \(10,\), got shape"),
        (lambda i: None, "got"),
        (lambda i: ["0.1"] * i.size, "got"),
        (lambda i: np.where(i == 3, -1, 0.1), r"iteration 3\b.* at least 0, got -1.0"),
        (lambda i: np.where(i == 4, np.nan, 0.1), r"finite.*, got nan"),
        (lambda i: np.where(i == 4, np.inf, 0.1), r"finite.*, got inf"),
    ],
)
def test_a_schedule_of_the_users_is_checked(schedule: Any, message: str) -> None:
    run = trainer(learning_rate=schedule)
    before = run.net.parameters.copy()
    with pytest.raises(InvalidArgumentError, match=f"learning_rate.*{message}"):
        run.run(10)
    np.testing.assert_array_equal(run.net.parameters, before)
    assert run.history.losses.size == 0


def test_a_schedule_of_the_users_gets_the_iterations_and_may_give_lists() -> None:
    seen: list[int] = []

    def rate(iterations: Any) -> Any:
        seen.extend(iterations.tolist())
        return [0.01 / (1 + i) for i in iterations]

    by_function = trainer(learning_rate=rate, chunk_size=7)
    by_function.run(30)
    by_function.run(12)
    assert seen == list(range(42))
    by_array = trainer(learning_rate=lambda i: 0.01 / (1 + i))
    by_array.run(42)
    np.testing.assert_array_equal(by_function.net.parameters, by_array.net.parameters)


@pytest.mark.parametrize("learning_rate", [0, 0.0, Constant(0.0), lambda i: np.zeros(i.size)])
def test_a_rate_of_zero_changes_nothing(learning_rate: Any) -> None:
    run = trainer(learning_rate=learning_rate)
    before = run.net.parameters.copy()
    run.run(20)
    np.testing.assert_array_equal(run.net.parameters, before)


# ---- optimisers, penalties, dropout ----


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(momentum=1.0), "momentum must be a number of at least 0 and below 1, got 1.0"),
        (lambda: SGD(momentum=-0.1), "momentum must be"),
        (lambda: SGD(momentum=math.nan), "momentum must be"),
        (lambda: SGD(nesterov=True), "momentum must be above 0 with nesterov"),
        (lambda: RMSprop(alpha=1.0), "alpha must be"),
        (lambda: RMSprop(eps=0.0), "eps must be a finite number above 0"),
        (lambda: RMSprop(momentum=2), "momentum must be"),
        (lambda: Adam(betas=(0.9, 1.0)), r"betas\[1\] must be"),
        (lambda: Adam(betas=(-0.9, 0.99)), r"betas\[0\] must be"),
        (lambda: Adam(betas=0.9), "betas must be a pair of numbers, got 0.9"),  # type: ignore[arg-type]
        (lambda: Adam(betas=(0.9,)), "betas must be a pair of numbers"),  # type: ignore[arg-type]
        (lambda: Adam(eps=-1e-8), "eps must be"),
        (lambda: AdamW(weight_decay=-1), "weight_decay must be"),
        (lambda: AdamW(weight_decay=math.inf), "weight_decay must be"),
    ],
)
def test_bad_optimizers(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and below 1, got 1.0"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"dropout": math.nan}, "dropout must be"),
        ({"dropout": "0.1"}, "dropout must be"),
        ({"dropout": None}, "dropout must be"),
        ({"dropout": [0.1]}, "dropout must be a number, or one for each of the 2 hidden layers, got 1"),
        ({"dropout": [0.1, 1.5]}, r"dropout\[1\] must be"),
        ({"dropout": np.array([0.1, 0.2, 0.3])}, "dropout must be a number, or one for each"),
        ({"rng": -1}, "rng must be an integer from 0"),
        ({"loss": "mee"}, "loss must be one of"),
        ({"optimizer": "amad"}, "did you mean 'adam"),
        ({"l1": "1"}, "l1 must be"),
        ({"l2": -1e-9}, "l2 must be"),
        ({"clip_norm": math.nan}, "clip_norm must be"),
        ({"clip_value": False}, "clip_value must be"),
    ],
)
def test_bad_options_of_a_trainer(options: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        trainer(**options)


@pytest.mark.parametrize("optimizer", ["sgd", SGD(0.9), SGD(0.9, nesterov=True), "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_optimizer_learns(optimizer: Any, dtype: str) -> None:
    x, y = waves()
    rate = 0.05 if isinstance(optimizer, SGD) or optimizer == "sgd" else 0.01
    net = fit(x, y, optimizer=optimizer, dtype=dtype, **{**QUICK, "learning_rate": rate})
    assert score(net, x, y).r2[0] > 0.9


def test_no_dropout_without_hidden_layers() -> None:
    x, y = waves(50)
    nets = [fit(x, y, hidden_sizes=(), dropout=rate, n_iterations=50) for rate in (0.0, 0.5)]
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


def test_penalties_make_parameters_small() -> None:
    x, y = waves(50)
    sizes = [np.abs(fit(x, y, l2=l2, **QUICK).parameters).mean() for l2 in (0.0, 0.01, 1.0)]
    assert sizes[0] > sizes[1] > sizes[2]
    lasso = fit(x, y, hidden_sizes=(), l1=1.5, n_iterations=3000).parameters
    assert np.abs(lasso).max() < 0.02


# ---- L-BFGS ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", ["mse", "huber", "log_cosh"])
def test_minimize_goes_far_below_the_start(loss: str, dtype: str) -> None:
    pytest.importorskip("scipy")
    x, y = waves()
    net = NN(2, [12], 1, rng=1, activation="tanh", init="glorot_uniform", dtype=dtype)
    objective = Objective(net, x, y, loss=loss)
    start, _ = objective.loss_and_gradient(net.parameters)
    result = objective.minimize(500)
    assert result.fun < 1e-3 * start
    assert objective.loss_and_gradient(net.parameters)[0] == pytest.approx(result.fun, rel=1e-6)
    assert result.nit <= 500


def test_minimize_finds_the_least_squares() -> None:
    pytest.importorskip("scipy")
    x, y = waves(50)
    weights = np.arange(50.0)
    net = NN(2, [], 1, rng=1)
    Objective(net, x, y, sample_weight=weights).minimize()
    root = np.sqrt(weights)[:, None]
    expected = np.linalg.lstsq(root * np.column_stack([x, np.ones(50)]), root[:, 0] * y, rcond=None)[0]
    np.testing.assert_allclose(net.parameters, expected, atol=1e-6)


def test_minimize_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    objective = Objective(NN(2, [3], 1, rng=1), *waves(10))
    with pytest.raises(ImportError, match=r"L-BFGS needs SciPy: pip install crabnet-jit\[scipy\]"):
        objective.minimize()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iterations": 0}, "max_iterations must be an integer of at least 1"),
        ({"history_size": 0}, "history_size must be"),
        ({"gradient_tolerance": -1}, "gradient_tolerance must be"),
    ],
)
def test_bad_options_of_minimize(options: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Objective(NN(2, [3], 1, rng=1), *waves(10)).minimize(**options)


# ---- Levenberg-Marquardt ----


@pytest.mark.parametrize("loss", ["mse", "huber", "log_cosh"])
def test_levenberg_marquardt_goes_further(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)  # it needs none
    x, y = waves()
    net = NN(2, [12], 1, rng=1, activation="tanh", init="glorot_uniform")
    objective = Objective(net, x, y, loss=loss, sample_weight=np.arange(1.0, len(x) + 1))
    start, _ = objective.loss_and_gradient(net.parameters)
    result = objective.minimize(300, optimizer="levenberg_marquardt")
    assert result.fun < 1e-6 * start
    np.testing.assert_array_equal(result.x, net.parameters)
    assert objective.loss_and_gradient(result.x)[0] == result.fun
    assert result.nit <= 300
    assert result.success == (result.nit < 300)


def test_levenberg_marquardt_says_why_it_ended() -> None:
    x, y = waves(50)
    net = NN(2, [], 1, rng=1)
    objective = Objective(net, x, y, l2=0.1)
    method = LevenbergMarquardt(gradient_tolerance=1e-9, loss_tolerance=0.0)
    result = objective.minimize(optimizer=method)
    assert result.success
    assert result.nit < 20
    assert result.message == "the gradient is below gradient_tolerance"
    assert abs(objective.loss_and_gradient(net.parameters)[1]).max() <= 1e-9
    again = objective.minimize(optimizer=method)
    assert (again.nit, again.fun) == (0, result.fun)
    net.parameters += 1.0
    result = objective.minimize(1, optimizer="levenberg_marquardt")
    assert (result.nit, result.success, result.message) == (1, False, "all 1 iterations were taken")


def test_minimize_and_a_trainer_take_the_same_steps() -> None:
    x, y = waves(40)
    nets = [NN(2, [5], 1, rng=1, activation="tanh", init="glorot_uniform") for _ in range(2)]
    Objective(nets[0], x, y, l2=1e-3).minimize(7, optimizer="levenberg_marquardt")
    Trainer(nets[1], ArraySource(x, y, 40), optimizer="levenberg_marquardt", l2=1e-3).run(7)
    np.testing.assert_allclose(nets[0].parameters, nets[1].parameters, rtol=1e-9)


def test_an_interrupted_minimisation_leaves_the_network_as_it_was() -> None:
    x, y = waves(500)
    net = NN(2, [20, 20], 1, rng=1, activation="tanh", init="glorot_uniform")
    before = net.parameters.copy()
    objective = Objective(net, x, y)
    objective.minimize(1, optimizer="levenberg_marquardt")  # compiled before
    net.parameters = before
    alarm = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    alarm.start()
    with pytest.raises(KeyboardInterrupt):
        objective.minimize(10**6, optimizer="levenberg_marquardt")
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize(
    ("options", "of_objective", "message"),
    [
        ({"optimizer": "adam"}, {}, "optimizer must be one of lbfgs, levenberg_marquardt, got 'adam'"),
        ({"optimizer": Adam()}, {}, r"optimizer must be 'lbfgs', 'levenberg_marquardt', or .*, got Adam\("),
        (
            {"optimizer": "bayesian_regularization"},
            {},
            "optimizer must be one of lbfgs, levenberg_marquardt, ",
        ),
        (
            {"optimizer": BayesianRegularization()},
            {},
            r"got BayesianRegularization\(.*; fit and Trainer accept",
        ),
        ({"optimizer": "LM"}, {}, "got 'LM'; did you mean 'levenberg_marquardt'?"),
        ({"history_size": 5}, {}, "history_size must be left out for levenberg_marquardt, got 5"),
        ({"gradient_tolerance": 0.1}, {}, "gradient_tolerance must be left out for levenberg_marquardt"),
        ({}, {"l1": 0.1}, "l1 must be left out for levenberg_marquardt, got 0.1; use l2"),
        ({}, {"loss": "mae"}, "loss must be one of mse, huber"),
    ],
)
def test_what_minimize_by_levenberg_marquardt_refuses(options: Any, of_objective: Any, message: str) -> None:
    net = NN(2, [3], 1, rng=1)
    before = net.parameters.copy()
    with pytest.raises(InvalidArgumentError, match=message):
        Objective(net, *waves(10), **of_objective).minimize(
            **({"optimizer": "levenberg_marquardt"} | options)
        )
    np.testing.assert_array_equal(net.parameters, before)


def test_levenberg_marquardt_from_an_infinite_loss_names_the_loss() -> None:
    net = NN(2, [3], 1, rng=1)
    net.parameters[:] = 1e200
    with pytest.raises(FloatingPointError, match=r"^the loss, (inf|nan), is not finite at the network's"):
        Objective(net, *waves(10)).minimize(optimizer="levenberg_marquardt")
    assert (net.parameters == 1e200).all()


def test_a_fit_that_cannot_get_further_at_once_has_a_validation_loss() -> None:
    x, y = waves(50)
    options: dict[str, Any] = {"optimizer": LevenbergMarquardt(gradient_tolerance=1e9)}
    start = fit(x, y, hidden_sizes=(3,), n_iterations=1)
    net = fit(x, y, start=start, validation=0.2, **options)
    assert net.fit_history is not None
    assert net.fit_history.n_iterations == 0
    assert net.fit_history.validation_iterations == [0]
    np.testing.assert_array_equal(net.parameters, start.parameters)


# ---- L-BFGS, from bad starts ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_minimising_from_an_infinite_loss_names_the_loss(dtype: str) -> None:
    net = NN(2, [3], 1, rng=1, dtype=dtype)
    net.parameters[:] = before = np.full_like(net.parameters, 1e30 if dtype == "float32" else 1e200)
    with pytest.raises(
        FloatingPointError, match=r"^the loss, (inf|nan), is not finite at the network's parameters"
    ):
        Objective(net, *waves(10)).minimize()
    np.testing.assert_array_equal(net.parameters, before)
    net.parameters[1] = math.nan
    with pytest.raises(
        InvalidArgumentError, match=r"^net.parameters must be finite, got nan at index \(1,\)"
    ):
        Objective(net, *waves(10)).minimize()


def test_a_minimisation_that_overflows_on_its_way_says_so() -> None:
    net = NN(2, [8], 1, rng=1)
    net.parameters[:] = before = np.full_like(net.parameters, 1e30)
    fourth_power = CustomLoss(lambda x, t: (x - t) ** 4, lambda x, t: 4 * (x - t) ** 3)
    with pytest.raises(
        FloatingPointError, match="the minimisation tried parameters that are infinite or NaN"
    ):
        Objective(net, *waves(10), loss=fourth_power).minimize()
    np.testing.assert_array_equal(net.parameters, before)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros(3), r"theta must be of shape \(13,\), got shape \(3,\)"),
        (np.full(13, math.nan), "theta must be finite"),
        ("zeros", "theta must be"),
    ],
)
def test_bad_parameters_of_an_objective(theta: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Objective(NN(2, [3], 1, rng=1), *waves(10)).loss_and_gradient(theta)


def test_a_fit_of_a_function_by_its_samples() -> None:
    """Both ways to the same function: samples fresh in every iteration, and a data set of them."""

    def ripple(x: Any) -> Any:
        return np.sin(3 * x[:, 0]) * np.cos(x[:, 1])

    source = UniformSource(ripple, [-1, 0], [1, 2], 64, rng=1)
    net = NN(2, [16], 1, rng=1, activation="tanh", init="glorot_uniform")
    Trainer(net, source, optimizer="adam", learning_rate=Cosine(0.01, 3000)).run(3000)
    x, y = (np.concatenate(parts) for parts in zip(*(source.batch(i) for i in range(5)), strict=True))
    fitted = fit(x, y, hidden_sizes=(16,), n_iterations=3000, learning_rate=0.01)
    points = np.random.default_rng(1).uniform([-1, 0], [1, 2], (500, 2))
    for one in (net, fitted):
        assert score(one, points, ripple(points)).r2[0] > 0.98


# ---- what must not go wrong silently ----


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_holds_addresses_cannot_be_copied(copying: Any) -> None:
    trainer = Trainer(NN(2, [3], 1, rng=1), ArraySource(np.ones((4, 2)), np.ones(4)), loss="huber")
    objective = Objective(NN(2, [3], 1, rng=1), np.ones((4, 2)), np.ones(4), loss="huber")
    for thing in (trainer, objective):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            copying(thing)


def test_an_optimizer_takes_its_own_state_only() -> None:
    p = np.ones(8)
    for state in (RMSprop().init(p), OptimizerState(Adam().init(p).buffers, np.zeros(0))):
        with pytest.raises(InvalidArgumentError, match=r"state\.numbers must be"):
            Adam().update(p, np.ones(8), state, 0.1)
    with pytest.raises(InvalidArgumentError, match=r"parameters\.dtype must be"):
        Adam().init(np.ones(8, np.int64))


def test_samples_of_weight_zero_count_nowhere() -> None:
    x = np.linspace(-1, 1, 60)[:, None]
    y = 2 * x[:, 0]
    y[7] = 1e9
    weights = np.where(y > 100, 0.0, 1.0)
    for validation in (None, 0.3):
        net = fit(x, y, sample_weight=weights, n_iterations=2000, validation=validation, seed=5)
        assert score(net, x[weights > 0], y[weights > 0]).rmse[0] < 0.05


def test_no_finite_validation_loss_is_an_error() -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    with pytest.raises(FloatingPointError, match="no validation loss is finite"):
        fit(x, x, validation=(x, x + 1e200), n_iterations=100)


def test_divergence_in_the_last_step_is_an_error() -> None:
    trainer = Trainer(
        NN(1, [], 1, rng=1),
        ArraySource([[1e5]], [1.0], 1),
        learning_rate=lambda i: np.where(i == 4, 1.7e308, 1e-12),
    )
    with pytest.raises(FloatingPointError, match="would become infinite or NaN in iteration 4"):
        trainer.run(5)


def test_a_trainer_checks_targets_against_the_loss() -> None:
    with pytest.raises(InvalidArgumentError, match=r"y must be from 0 to 1, got 10\.0"):
        Trainer(NN(1, [], 1, rng=1), ArraySource([[1.0]], [10.0]), loss="binary_cross_entropy")


@pytest.mark.parametrize("name", ["chunk_size", "optimizer_state"])
def test_what_a_run_relies_on_is_read_only(name: str) -> None:
    trainer = Trainer(NN(1, [2], 1, rng=1), ArraySource([[1.0]], [1.0]))
    with pytest.raises(AttributeError):
        setattr(trainer, name, 3)
    for name_of_net in ("layers", "activations"):
        with pytest.raises(AttributeError):
            setattr(trainer.net, name_of_net, ())
    with pytest.raises(AttributeError):
        trainer.net.activations[0].constant = 5.0  # type: ignore[misc]  # the error is the point


def test_a_constant_source_is_asked_once() -> None:
    asked = []

    class Counted(ArraySource):
        def fill(self, *arguments: Any) -> None:
            asked.append(arguments[0])
            super().fill(*arguments)

    x = np.linspace(-1, 1, 300)[:, None]
    runs = []
    for source in (
        Counted(x, x**2, 300),
        ArraySource(x, x**2, 299, shuffle=False),
        ArraySource(x, x**2, 300),
    ):
        trainer = Trainer(NN(1, [4], 1, rng=1, init="he_uniform"), source, learning_rate=0.01)
        runs.append(trainer.run(50).losses.copy())
    assert asked == [0]
    np.testing.assert_array_equal(runs[0], runs[2])
    assert runs[1][0] != runs[0][0]


def test_a_fit_tells_how_it_goes() -> None:
    x, y = waves(100)
    told: list[tuple[int, float, float | None]] = []
    net = fit(x, y, n_iterations=100, validation=0.2, on_check=lambda *values: told.append(values))
    assert net.fit_history is not None
    assert [done for done, _, _ in told] == [*range(2, 101, 2)]
    assert [loss for _, _, loss in told] == net.fit_history.validation_losses
    assert [loss for _, loss, _ in told] == pytest.approx(net.fit_history.losses.reshape(50, 2).mean(axis=1))
    told.clear()
    fit(x, y, n_iterations=3, on_check=lambda *values: told.append(values))
    assert [(done, loss) for done, _, loss in told] == [(1, None), (2, None), (3, None)]
