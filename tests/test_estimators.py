"""Estimators keep the promises of scikit-learn's, and weights count as repetitions do."""

import copy
import inspect
import io
import pickle
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator

from crabnet_jit import (
    ACTIVATIONS,
    LOSSES,
    ArraySource,
    BinaryCrossEntropy,
    Checkpoint,
    Constant,
    InvalidArgumentError,
    StepDecay,
    Trainer,
    fit,
    load,
    save,
)
from crabnet_jit.estimators import NNClassifier, NNRegressor

Array = Any
BOTH = [NNRegressor, NNClassifier]
LM: dict[str, Any] = {"optimizer": "levenberg_marquardt", "hidden_sizes": (6,)}
CROSS_ENTROPIES = {name for name, kind in LOSSES.items() if not kind.is_regression}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)) * [1.0, 10.0, 0.1, 1.0] + [0.0, 5.0, 100.0, -1.0]
Y = X[:, 0] * (X[:, 1] - 5) / 10 + X[:, 3] + 0.1 * RNG.normal(size=300)
#: Targets of a classifier: two classes, three, several labels at once.
TWO = np.where(Y > -1, "yes", "no")
THREE = np.digitize(Y, [-2, 0]) * 10
LABELS = np.stack([Y > -1, X[:, 0] > 0, X[:, 1] > 5], axis=1).astype(int)


def model(y: Array, **options: Any) -> Any:
    """An estimator for these targets."""
    kind = NNRegressor if np.asarray(y).dtype.kind == "f" else NNClassifier
    return kind(random_state=0, **options)


def outputs(estimator: Any, x: Array = X) -> Array:
    """Its predictions, or its logits."""
    return estimator.predict(x) if isinstance(estimator, NNRegressor) else estimator.decision_function(x)


@pytest.mark.parametrize("kind", BOTH)
def test_scikit_learns_checks_pass(kind: Any) -> None:
    results = check_estimator(kind(), on_skip=None, on_fail=None)
    assert [r for r in results if r["status"] not in ("passed", "skipped")] == []
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 55
    tags = get_tags(kind())
    assert tags.target_tags.multi_output == (kind is NNRegressor)
    assert kind is NNRegressor or tags.classifier_tags.multi_label


@pytest.mark.parametrize("kind", BOTH)
def test_scikit_learns_checks_pass_for_levenberg_marquardt(kind: Any) -> None:
    reason = "its classes can be separated: rounding is amplified, and decides when the run ends"
    amplified = {"check_sample_weight_equivalence_on_dense_data": reason} if kind is NNClassifier else None
    estimator = kind(optimizer="levenberg_marquardt")
    results = check_estimator(estimator, expected_failed_checks=amplified, on_skip=None, on_fail=None)
    assert [r for r in results if r["status"] not in ("passed", "skipped", "xfail")] == []


@pytest.mark.parametrize("y", [Y, TWO, THREE], ids=["numbers", "two", "three"])
def test_weights_count_as_repetitions_do_for_levenberg_marquardt(y: Array) -> None:
    weighted = model(y, **LM).fit(X, y, sample_weight=WEIGHTS)
    repeated = model(y, **LM).fit(X.repeat(WEIGHTS, axis=0), y.repeat(WEIGHTS))
    np.testing.assert_allclose(outputs(weighted), outputs(repeated), rtol=1e-6, atol=1e-6)


def test_without_scikit_learn_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import crabnet_jit.estimators"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].startswith("ImportError: ")
    assert 'pip install "crabnet-jit[sklearn]"' in run.stderr.splitlines()[-1]


def test_the_package_does_not_load_scikit_learn() -> None:
    code = (
        "import sys; from crabnet_jit import *; import crabnet_jit.cli.main; print('sklearn' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


@pytest.mark.parametrize("kind", BOTH)
def test_all_options_of_fit_are_parameters(kind: Any) -> None:
    elsewhere = {"x", "y", "sample_weight", "seed", "start"}  # arguments of methods, random_state, warm_start
    elsewhere |= {
        "handle_unknown",
        "missing",
    }  # in scikit-learn, other estimators encode texts, and fill gaps
    if kind is NNClassifier:
        elsewhere |= {"output_activation", "output_range"}  # probabilities have one
    elsewhere |= {"dy", "dy_weight"}  # arguments of NNRegressor.fit
    parameters = kind().get_params().keys()
    assert inspect.signature(fit).parameters.keys() - parameters == elsewhere
    assert parameters >= {"random_state", "warm_start"}
    assert all(p.kind == p.KEYWORD_ONLY for p in inspect.signature(kind).parameters.values())


@pytest.mark.parametrize("kind", BOTH)
def test_docstrings_say_the_defaults(kind: Any) -> None:
    text = kind.__doc__.split("Attributes\n")[0]
    for name, parameter in inspect.signature(kind).parameters.items():
        assert re.search(rf"\b{name}\b", text), name
        said = re.search(rf"^    {name} : .*, default (.+)$", text, re.MULTILINE)
        if said is not None and name != "dtype":
            assert eval(said[1]) == parameter.default, name


def test_the_classifier_has_the_regressors_defaults_but_for_three() -> None:
    both = NNRegressor().get_params(), NNClassifier().get_params()
    common = both[0].keys() & both[1].keys()
    assert {name for name in common if both[0][name] != both[1][name]} == {"loss", "l2"}
    assert both[1].keys() - both[0].keys() == {"class_weight"}


# Weights


WEIGHTS = np.random.default_rng(1).integers(0, 4, 300)
TARGETS = [Y, np.stack([Y, 100 + X[:, 1]], axis=1), TWO, THREE, LABELS]


@pytest.mark.parametrize("options", [{}, {"activation": "tanh", "hidden_sizes": (20,)}], ids=str)
@pytest.mark.parametrize("y", TARGETS, ids=["one", "two outputs", "two classes", "three", "labels"])
def test_weights_count_as_repetitions_do(y: Array, options: dict[str, Any]) -> None:
    weighted = model(y, **options).fit(X, y, sample_weight=WEIGHTS)
    repeated = model(y, **options).fit(X.repeat(WEIGHTS, axis=0), y.repeat(WEIGHTS, axis=0))
    np.testing.assert_allclose(outputs(weighted), outputs(repeated), rtol=1e-9, atol=1e-9)
    plain = outputs(model(y, **options).fit(X, y))
    assert np.abs(outputs(weighted) - plain).max() > 1e-2  # the weights do count


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
def test_weights_count_as_repetitions_do_for_balanced_classes(y: Array) -> None:
    weighted = model(y, class_weight="balanced").fit(X, y, sample_weight=WEIGHTS)
    repeated = model(y, class_weight="balanced").fit(X.repeat(WEIGHTS, axis=0), y.repeat(WEIGHTS))
    np.testing.assert_allclose(outputs(weighted), outputs(repeated), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("batch_size", [None, 32])
@pytest.mark.parametrize("y", TARGETS, ids=["one", "two outputs", "two classes", "three", "labels"])
def test_samples_of_weight_0_are_as_if_they_were_not_there(y: Array, batch_size: int | None) -> None:
    weights = (WEIGHTS > 0).astype(float)
    wild = np.where(weights[:, None] > 0, X, 1e6)
    weighted = model(y, batch_size=batch_size).fit(wild, y, sample_weight=weights)
    without = model(y, batch_size=batch_size).fit(X[weights > 0], y[weights > 0])
    np.testing.assert_array_equal(outputs(weighted), outputs(without))


def test_classes_of_weight_0_are_not_there() -> None:
    assert NNClassifier().fit(X, THREE, sample_weight=THREE > 0).classes_.tolist() == [10, 20]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.zeros(300), "zero"), (-np.ones(300), "at least 0"), (np.ones(299), "shape"), (None, None)],
)
def test_wrong_weights_are_refused(kind: Any, weights: Array, message: str | None) -> None:
    estimator = kind(n_iterations=1)
    if message is None:
        estimator.fit(X, THREE, sample_weight=weights)
        return
    for train in (estimator.fit, estimator.partial_fit):
        given = {"classes": [0, 10, 20]} if kind is NNClassifier and train == estimator.partial_fit else {}
        with pytest.raises(ValueError, match=f"sample_weight.*{message}"):
            train(X, THREE, sample_weight=weights, **given)


def test_scores_take_weights() -> None:
    regressor, classifier = NNRegressor(random_state=0).fit(X, Y), NNClassifier(random_state=0).fit(X, TWO)
    right = classifier.predict(X) == TWO
    assert classifier.score(X, TWO, sample_weight=WEIGHTS) == pytest.approx(
        np.average(right, weights=WEIGHTS)
    )
    repeated = regressor.score(X.repeat(WEIGHTS, axis=0), Y.repeat(WEIGHTS))
    assert regressor.score(X, Y, sample_weight=WEIGHTS) == pytest.approx(repeated)


def test_weights_of_classes() -> None:
    balanced = NNClassifier(random_state=0, class_weight="balanced").fit(X, THREE)
    by_hand = {label: 1 / count for label, count in zip(*np.unique(THREE, return_counts=True), strict=True)}
    same = NNClassifier(random_state=0, class_weight=by_hand).fit(X, THREE)
    np.testing.assert_allclose(outputs(balanced), outputs(same), rtol=1e-7, atol=1e-7)
    assert np.abs(outputs(balanced) - outputs(model(THREE).fit(X, THREE))).max() > 1e-3
    heavy = NNClassifier(random_state=0, class_weight={0: 1, 10: 1, 20: 1e6}).fit(X, THREE)
    assert (heavy.predict(X[THREE == 20]) == 20).all()
    with pytest.raises(ValueError, match="class_weight must be None for an indicator matrix"):
        NNClassifier(class_weight="balanced").fit(X, LABELS)
    with pytest.raises(ValueError, match="class_weight"):
        NNClassifier(class_weight="fair").fit(X, THREE)
    with pytest.raises(ValueError, match="class_weight 'balanced' is not supported for partial_fit"):
        NNClassifier(class_weight="balanced").partial_fit(X, THREE, classes=[0, 10, 20])


# What a fitted one shows


def forward(estimator: Any, x: Array) -> Any:
    """The network by its coefficients, in plain NumPy."""
    h = x
    layers = list(zip(estimator.coefs_, estimator.intercepts_, strict=True))
    for k, (coef, intercept) in enumerate(layers):
        h = h @ coef + intercept
        if k < len(layers) - 1:
            h = np.tanh(h) if estimator.activation == "tanh" else h * expit(h)
    if estimator.out_activation_ == "softmax":
        return softmax(h, axis=1)
    return expit(h) if estimator.out_activation_ == "logistic" else h


@pytest.mark.parametrize(
    "options",
    [{}, {"standardize": False}, {"hidden_sizes": ()}, {"hidden_sizes": (7, 5, 3), "activation": "tanh"}],
    ids=str,
)
@pytest.mark.parametrize("y", TARGETS, ids=["one", "two outputs", "two classes", "three", "labels"])
def test_coefficients_are_those_of_raw_data(y: Array, options: dict[str, Any]) -> None:
    estimator = model(y, **options).fit(X, y)
    n_outputs = dict(zip(map(id, TARGETS), (1, 2, 1, 3, 3), strict=True))[id(y)]
    sizes = [4, *estimator.hidden_sizes, n_outputs]
    assert [coef.shape for coef in estimator.coefs_] == list(pairwise(sizes))
    assert [intercept.shape for intercept in estimator.intercepts_] == [(n,) for n in sizes[1:]]
    assert (estimator.n_layers_, estimator.n_outputs_) == (len(sizes), n_outputs)
    given = estimator.predict(X) if y.dtype.kind == "f" else estimator.predict_proba(X)
    given = given[:, 1:] if y is TWO else given.reshape(300, -1)
    np.testing.assert_allclose(forward(estimator, X), given, rtol=1e-8, atol=1e-9)


def test_what_is_known_after_a_fit() -> None:
    with pytest.raises(NotFittedError):
        NNRegressor().predict(X)
    assert not hasattr(NNRegressor(), "coefs_")
    regressor = NNRegressor(random_state=0).fit(pd.DataFrame(X, columns=list("abcd")), Y)
    assert regressor.feature_names_in_.tolist() == list("abcd")
    assert (regressor.n_features_in_, regressor.n_iter_, regressor.out_activation_) == (4, 500, "identity")
    assert len(regressor.loss_curve_) == 500
    assert regressor.loss_curve_[-1] < 0.05 * regressor.loss_curve_[0]
    np.testing.assert_array_equal(regressor.net_.predict(X), regressor.predict(regressor_frame()))
    turned = regressor_frame()[list("dcba")]
    np.testing.assert_array_equal(regressor.net_.predict(turned), regressor.predict(regressor_frame()))
    with pytest.raises(ValueError, match="feature names"):
        regressor.predict(regressor_frame()[list("dcba")])


def regressor_frame() -> Any:
    """X with the names of its columns."""
    return pd.DataFrame(X, columns=list("abcd"))


def test_the_network_can_be_saved_without_a_pickle(tmp_path: Path) -> None:
    for y in (THREE, TWO, LABELS):
        classifier = NNClassifier(random_state=0).fit(X, y)
        save(classifier.net_, tmp_path / "net.npz")
        net = load(tmp_path / "net.npz")
        np.testing.assert_array_equal(net.predict(X), classifier.predict(X))
        np.testing.assert_allclose(net.predict_proba(X), classifier.predict_proba(X), rtol=1e-12, atol=1e-15)


def test_predictions_have_the_shape_of_the_targets() -> None:
    for y in (Y, Y[:, None], TARGETS[1]):
        assert NNRegressor(n_iterations=2).fit(X, y).predict(X).shape == y.shape
    r2 = NNRegressor(random_state=0).fit(X, TARGETS[1]).score(X, TARGETS[1])
    assert r2 > 0.95


@pytest.mark.parametrize("y", [TWO, Y > 0, THREE, THREE - 5.0, np.where(Y > 0, 7, -7)], ids=str)
def test_labels_of_any_kind(y: Array) -> None:
    classifier = NNClassifier(random_state=0).fit(X, y)
    np.testing.assert_array_equal(classifier.classes_, np.unique(y))
    predicted, probabilities = classifier.predict(X), classifier.predict_proba(X)
    assert predicted.dtype == y.dtype
    assert (predicted == y).mean() > 0.9
    np.testing.assert_array_equal(predicted, classifier.classes_[probabilities.argmax(axis=1)])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(np.log(probabilities), classifier.predict_log_proba(X), atol=1e-9)
    several = len(classifier.classes_) > 2
    assert classifier.out_activation_ == ("softmax" if several else "logistic")
    decision = classifier.decision_function(X)
    assert decision.shape == ((300, 3) if several else (300,))
    expected = softmax(decision, axis=1) if several else expit(decision)
    np.testing.assert_allclose(probabilities if several else probabilities[:, 1], expected)


def test_several_labels_at_once() -> None:
    classifier = NNClassifier(random_state=0).fit(X, LABELS)
    predicted, probabilities = classifier.predict(X), classifier.predict_proba(X)
    assert (predicted == LABELS).mean(axis=0).min() > 0.9
    assert predicted.dtype == LABELS.dtype
    np.testing.assert_array_equal(predicted, probabilities > 0.5)
    np.testing.assert_allclose(probabilities, expit(classifier.decision_function(X)))
    np.testing.assert_allclose(np.log(probabilities), classifier.predict_log_proba(X), atol=1e-9)
    assert classifier.classes_.tolist() == [0, 1, 2]
    sparse = NNClassifier(random_state=0).fit(X, csr_array(LABELS))
    np.testing.assert_array_equal(sparse.predict(X), predicted)
    assert NNClassifier(n_iterations=1).fit(X, LABELS == 1).predict(X).dtype == bool


def test_two_classes_with_two_outputs() -> None:
    classifier = NNClassifier(loss="cross_entropy", random_state=0).fit(X, TWO)
    assert (classifier.n_outputs_, classifier.out_activation_) == (2, "softmax")
    assert classifier.score(X, TWO) > 0.95
    np.testing.assert_allclose(expit(classifier.decision_function(X)), classifier.predict_proba(X)[:, 1])


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 classes, got only one class, \[7\]"):
        NNClassifier().fit(X, np.full(300, 7))
    with pytest.raises(ValueError, match="continuous"):
        NNClassifier().fit(X, Y)
    with pytest.raises(ValueError, match="multiclass-multioutput"):
        NNClassifier().fit(X, np.stack([THREE, THREE], axis=1))
    for loss, y, what in (
        ("binary_cross_entropy", THREE, "'auto' or 'cross_entropy' for 3 classes"),
        ("cross_entropy", LABELS, "'auto' or 'binary_cross_entropy' for an indicator matrix"),
        ("mse", TWO, "'auto' or 'binary_cross_entropy' or 'cross_entropy' for two classes"),
    ):
        with pytest.raises(ValueError, match=f"loss must be {what}"):
            NNClassifier(loss=loss).fit(X, y)
    for loss in CROSS_ENTROPIES:
        with pytest.raises(ValueError, match="loss must be a regression loss"):
            NNRegressor(loss=loss).fit(X, Y)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        NNRegressor().fit(csr_array(X), Y)
    with pytest.raises(ValueError, match="validation must be a number of at least 0 and below 1"):
        model(Y, validation=(X, Y)).fit(X, Y)
    with pytest.warns(DataConversionWarning):
        assert NNClassifier(n_iterations=1).fit(X, THREE[:, None]).predict(X).shape == (300,)


def test_a_fit_that_fails_leaves_nothing_of_another_one() -> None:
    classifier = NNClassifier(n_iterations=3).fit(X, THREE)
    with pytest.raises(ValueError, match="one class"):
        classifier.fit(X, np.full(300, 7))
    with pytest.raises(NotFittedError):
        classifier.predict(X)
    classifier.set_params(warm_start=True).fit(X, THREE)
    before = classifier.predict(X)
    for train in (classifier.fit, classifier.partial_fit):
        with pytest.raises(ValueError, match="y must be an indicator matrix if it was one before"):
            train(X, LABELS)
    np.testing.assert_array_equal(classifier.predict(X), before)


# Options


@pytest.mark.parametrize("loss", sorted(LOSSES.keys() - CROSS_ENTROPIES))
def test_a_regressor_takes_other_losses(loss: str) -> None:
    y = Y - Y.min()  # counts are not below 0
    assert NNRegressor(loss=loss, random_state=0).fit(X, y).score(X, y) > 0.9


def test_a_loss_may_be_an_object() -> None:
    same = [NNClassifier(loss=loss, random_state=0).fit(X, TWO) for loss in ("auto", BinaryCrossEntropy())]
    np.testing.assert_array_equal(outputs(same[0]), outputs(same[1]))


def test_options_reach_the_network() -> None:
    options: dict[str, Any] = {"hidden_sizes": (5,), "activation": "relu", "dtype": "float32"}
    net = NNClassifier(**options, n_iterations=3).fit(X, THREE).net_
    assert (net.hidden_sizes, net.activations[0].name, net.dtype) == ([5], "relu", np.dtype("float32"))
    assert set(ACTIVATIONS) >= {"silu", "relu"}
    checks: list[int] = []
    NNRegressor(n_iterations=100, on_check=lambda i, *_: checks.append(i)).fit(X, Y)
    assert checks == list(range(2, 101, 2))


def test_a_fit_stops_early() -> None:
    options: dict[str, Any] = {"n_iterations": 5000, "l2": 0.0, "random_state": 0}
    x, y = load_diabetes(return_X_y=True)
    stopped = NNRegressor(validation=0.2, patience=3, **options).fit(x[::2], y[::2])
    assert 100 <= stopped.n_iter_ < 2000
    assert len(stopped.loss_curve_) == stopped.n_iter_
    assert stopped.score(x[1::2], y[1::2]) > NNRegressor(**options).fit(x[::2], y[::2]).score(
        x[1::2], y[1::2]
    )


def test_a_fit_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    whole = model(Y, n_iterations=200).fit(X, Y)

    def stop(run: Any) -> None:
        if run.iteration >= 100:
            run.stop()

    half = model(Y, n_iterations=200, callbacks=[Checkpoint(path), stop], log_every=100)
    assert half.fit(X, Y).n_iter_ < 200
    resumed = model(Y, n_iterations=200, resume=path).fit(X, Y)
    assert resumed.net_.fit_history.training.events == [(half.n_iter_, "resumed")]
    np.testing.assert_array_equal(outputs(resumed), outputs(whole))


@pytest.mark.parametrize("y", [Y, THREE], ids=["numbers", "classes"])
def test_random_states(y: Array) -> None:
    def fitted(random_state: Any) -> Array:
        return outputs(model(y, n_iterations=5).set_params(random_state=random_state).fit(X, y))

    np.testing.assert_array_equal(fitted(3), fitted(3))
    assert not np.array_equal(fitted(3), fitted(4))
    assert not np.array_equal(fitted(None), fitted(None))
    state = np.random.RandomState(3)
    np.testing.assert_array_equal(fitted(3), fitted(state))
    assert not np.array_equal(fitted(3), fitted(state))  # it has moved on


@pytest.mark.parametrize("y", [Y, TWO, LABELS], ids=["numbers", "classes", "labels"])
def test_a_warm_start_goes_on(y: Array) -> None:
    warm = model(y, warm_start=True, n_iterations=300).fit(X, y)
    first, before = warm.loss_curve_, outputs(warm)
    assert warm.fit(X, y).loss_curve_[0] < 0.5 * first[0]
    cold = model(y, n_iterations=300).fit(X, y)
    np.testing.assert_array_equal(outputs(cold), before)
    np.testing.assert_array_equal(outputs(cold.fit(X, y)), before)


def test_a_warm_start_knows_its_classes() -> None:
    warm = NNClassifier(warm_start=True, n_iterations=3).fit(X, THREE)
    warm.fit(X[THREE > 0], THREE[THREE > 0])
    assert warm.classes_.tolist() == [0, 10, 20]
    with pytest.raises(ValueError, match=r"classes not in `self.classes_`"):
        warm.fit(X, THREE + 10)
    warm.set_params(warm_start=False).fit(X, THREE + 10)
    assert warm.classes_.tolist() == [10, 20, 30]


# Levenberg-Marquardt


@pytest.mark.parametrize("y", TARGETS, ids=["one", "two outputs", "two classes", "three", "labels"])
def test_levenberg_marquardt_needs_no_other_option(y: Array) -> None:
    fitted = model(y, **LM).fit(X, y)
    assert 5 < fitted.n_iter_ <= 500
    assert len(fitted.loss_curve_) == fitted.n_iter_
    assert fitted.score(X, y) > 0.9
    assert clone(fitted).get_params() == model(y, **LM).get_params()


def test_what_auto_is() -> None:
    for optimizer in ("adam", "sgd"):
        same = [
            model(Y, optimizer=optimizer, n_iterations=5, **rate).fit(X, Y)
            for rate in ({}, {"learning_rate": 0.02}, {"learning_rate": "auto"})
        ]
        assert same[0].loss_curve_ == same[1].loss_curve_ == same[2].loss_curve_
        passes = [model(Y, optimizer=optimizer, learning_rate=rate) for rate in ("auto", 0.02)]
        curves = [each.partial_fit(X, Y).partial_fit(X, Y).loss_curve_ for each in passes]
        assert curves[0] == curves[1]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.02}, "learning_rate must be left out for levenberg_marquardt"),
        ({"batch_size": 64}, "batch_size must be left out for levenberg_marquardt, which takes all 300"),
        ({"l1": 0.1}, "l1 must be left out for levenberg_marquardt"),
        ({"dropout": 0.1}, "dropout must be 0 for levenberg_marquardt"),
        ({"dtype": "float32"}, "dtype must be float64 for levenberg_marquardt"),
    ],
)
def test_what_levenberg_marquardt_does_not_take(options: dict[str, Any], message: str, method: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(model(Y, **LM, **options), method)(X, Y)


def test_levenberg_marquardt_stops_early() -> None:
    stopped = model(Y, **LM, l2=0.0, validation=0.3, patience=3).fit(X, Y)
    assert stopped.n_iter_ < 500
    (event,) = stopped.net_.fit_history.training.events
    assert event[1].endswith("in 3 checks")
    assert stopped.score(X, Y) > 0.9


def test_each_pass_of_levenberg_marquardt_is_a_step_of_one_trainer() -> None:
    options: dict[str, Any] = {"optimizer": "levenberg_marquardt", "l2": 0.01}
    passes = model(Y, **LM)
    for _ in range(5):
        passes = pickle.loads(pickle.dumps(passes.partial_fit(X, Y)))
    net = model(Y, hidden_sizes=(6,), learning_rate=0.0).partial_fit(X, Y).net_
    history = Trainer(net, ArraySource(X, Y, 300), **options).run(5)
    np.testing.assert_array_equal(passes.net_.parameters, net.parameters)
    assert passes.loss_curve_ == history.losses.tolist()
    assert passes.n_iter_ == 5


# Pass by pass


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_passes_are_the_steps_of_one_trainer(optimizer: str) -> None:
    options: dict[str, Any] = {"optimizer": optimizer, "l2": 0.01}
    start = model(Y, learning_rate=0.0).partial_fit(X, Y).net_
    passes = model(Y, learning_rate=StepDecay(0.01, every=3), **options)
    for _ in range(5):
        passes = pickle.loads(pickle.dumps(passes.partial_fit(X, Y)))
    net = copy.copy(start)
    rate = StepDecay(0.01, every=3)
    history = Trainer(net, ArraySource(X, Y, 300), learning_rate=rate, **options).run(5)
    np.testing.assert_array_equal(passes.net_.parameters, net.parameters)
    assert passes.loss_curve_ == history.losses.tolist()
    assert passes.n_iter_ == 5


def test_a_pass_takes_each_sample_once() -> None:
    passes = model(Y, batch_size=64, learning_rate=Constant(0.01)).partial_fit(X, Y)
    assert passes.n_iter_ == 5
    frozen = model(Y, batch_size=64, learning_rate=0.0).partial_fit(X, Y).partial_fit(X, Y)
    first, second = frozen.loss_curve_[:5], frozen.loss_curve_[5:]
    assert first != second  # another order
    (of_all,) = model(Y, learning_rate=0.0).partial_fit(X, Y).loss_curve_
    for losses in (first, second):
        assert np.average(losses, weights=[64, 64, 64, 64, 44]) == pytest.approx(of_all)
    assert passes.loss_curve_[0] == first[0]


@pytest.mark.parametrize("y", TARGETS, ids=["one", "two outputs", "two classes", "three", "labels"])
def test_passes_learn(y: Array) -> None:
    passes = model(y, batch_size=30)
    known = {} if y.dtype.kind == "f" else {"classes": np.arange(3) if y.ndim == 2 else np.unique(y)}
    for _ in range(30):
        for part in range(3):
            passes.partial_fit(X[part::3], y[part::3], **known)
            known = {}
    assert passes.n_iter_ == 30 * 3 * 4
    assert passes.score(X, y) > 0.8


def test_passes_go_on_from_a_fit_and_from_a_pickle() -> None:
    fitted = model(THREE).fit(X, THREE)
    before = fitted.score(X, THREE)
    fitted.set_params(learning_rate=1e-3)
    again = pickle.loads(pickle.dumps(fitted))
    for _ in range(3):
        fitted.partial_fit(X, THREE)
        again.partial_fit(X, THREE)
    assert fitted.n_iter_ == 503
    assert fitted.score(X, THREE) >= before - 0.01
    np.testing.assert_array_equal(outputs(fitted), outputs(again))


def test_passes_need_classes_first() -> None:
    with pytest.raises(ValueError, match=r"classes must be passed on the first call to partial_fit"):
        NNClassifier().partial_fit(X, THREE)
    with pytest.raises(ValueError, match=r"classes not in `self.classes_`"):
        NNClassifier().partial_fit(X, THREE, classes=[0, 10])
    passes = NNClassifier().partial_fit(X[THREE > 0], THREE[THREE > 0], classes=[20, 10, 0])
    assert passes.predict_proba(X).shape == (300, 3)
    with pytest.raises(ValueError, match="`classes` must be those of earlier calls"):
        passes.partial_fit(X, THREE, classes=[0, 10])
    with pytest.raises(ValueError, match="partial_fit does not support validation"):
        NNRegressor(validation=0.1).partial_fit(X, Y)
    with pytest.raises(ValueError, match="optimizer must be that of earlier calls"):
        passes.set_params(optimizer="sgd").partial_fit(X, THREE)


def test_weights_count_as_repetitions_do_in_a_pass() -> None:
    weighted, repeated = model(Y), model(Y)
    for _ in range(20):
        weighted.partial_fit(X, Y, sample_weight=WEIGHTS)
        repeated.partial_fit(X.repeat(WEIGHTS, axis=0), Y.repeat(WEIGHTS))
    np.testing.assert_allclose(outputs(weighted), outputs(repeated), rtol=1e-9, atol=1e-9)


# With the rest of scikit-learn


@pytest.mark.parametrize("y", [Y, THREE], ids=["numbers", "classes"])
def test_copies_are_equal(y: Array, tmp_path: Path) -> None:
    estimator = model(y, n_iterations=50, callbacks=(Checkpoint(tmp_path / "fit.npz"),)).fit(X, y)
    unfitted = clone(estimator)
    assert not hasattr(unfitted, "net_")
    np.testing.assert_array_equal(outputs(unfitted.fit(X, y)), outputs(estimator))
    file = io.BytesIO()
    joblib.dump(estimator, file)
    file.seek(0)
    for twin in (pickle.loads(pickle.dumps(estimator)), joblib.load(file), copy.deepcopy(estimator)):
        np.testing.assert_array_equal(outputs(twin), outputs(estimator))
        assert twin.loss_curve_ == estimator.loss_curve_


def test_a_search_in_a_pipeline_in_two_processes() -> None:
    pipeline = make_pipeline(StandardScaler(), NNClassifier(random_state=0, n_iterations=50))
    search = GridSearchCV(pipeline, {"nnclassifier__hidden_sizes": [(1,), (16,)]}, n_jobs=2, cv=3)
    x, y = load_iris(return_X_y=True)
    search.fit(x, y)
    assert search.best_params_ == {"nnclassifier__hidden_sizes": (16,)}
    assert search.best_score_ > 0.93


def test_a_search_over_optimizers() -> None:
    x = np.linspace(0.0, 1.0, 120)[:, None]
    y = np.sin(12 * x[:, 0])
    estimator = NNRegressor(hidden_sizes=(12,), activation="tanh", l2=0.0, n_iterations=100, random_state=0)
    grid = {"optimizer": ["adam", "levenberg_marquardt"]}
    search = GridSearchCV(estimator, grid, cv=KFold(3, shuffle=True, random_state=0)).fit(x, y)
    assert search.best_params_ == {"optimizer": "levenberg_marquardt"}
    assert search.best_score_ > 0.9999


def test_scores_on_real_data_with_the_defaults() -> None:
    assert cross_val_score(NNClassifier(random_state=0), *load_breast_cancer(return_X_y=True)).mean() > 0.96
    assert cross_val_score(NNRegressor(random_state=0), *load_diabetes(return_X_y=True)).mean() > 0.43


@pytest.mark.parametrize("kind", BOTH)
def test_notebooks_show_it(kind: Any) -> None:
    html = kind(hidden_sizes=(7, 5)).fit(X, THREE)._repr_html_()
    assert kind.__name__ in html
    assert "(7, 5)" in html
    assert repr(kind(l2=0.5)) == f"{kind.__name__}(l2=0.5)"


def test_derivatives_of_targets_are_learned() -> None:
    """Also where samples of weight 0 are left out."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (30, 2))
    y, weights = np.sin(2 * X[:, 0]) * X[:, 1], np.ones(30)
    dy = np.stack([2 * np.cos(2 * X[:, 0]) * X[:, 1], np.sin(2 * X[:, 0])], axis=1)
    weights[3], dy[3] = 0.0, 1e9
    regressor = NNRegressor(n_iterations=2000, l2=0.0, random_state=0)
    regressor.fit(X, y, sample_weight=weights, dy=dy, dy_weight=0.5)
    used = weights > 0
    np.testing.assert_allclose(regressor.net_.jacobian(X[used])[:, 0], dy[used], atol=0.1)
    with pytest.raises(InvalidArgumentError, match="dy must be of shape"):
        regressor.fit(X, y, dy=dy[1:])
    with pytest.raises(InvalidArgumentError, match="dy_weight must be left out"):
        regressor.fit(X, y, dy_weight=2.0)
