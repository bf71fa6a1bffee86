"""Classifiers: labels of every kind, their probabilities and scores, what is refused, what keeps them."""

import copy
import decimal
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from crabnet_jit import (
    NN,
    ArraySource,
    Checkpoint,
    EarlyStopping,
    InvalidArgumentError,
    Objective,
    Trainer,
    check_gradients,
    diagnose,
    fit,
    load,
    save,
    score,
)
from crabnet_jit.plotting import plot_fit

N = 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2)).round(1)  # with ties
IS_SECOND = X[:, 0] + X[:, 1] > 0
CODES = IS_SECOND.astype(np.int64)
THREE = CODES + (X[:, 0] > 0.5)
TEXTS = np.array(["no", "yes"])[CODES]
SOFTMAX, SIGMOID = {"loss": "cross_entropy"}, {"loss": "binary_cross_entropy"}
both_losses = pytest.mark.parametrize("options", [SOFTMAX, SIGMOID], ids=["two outputs", "one output"])


def quick(x: Any, y: Any, **options: Any) -> NN:
    arguments: Any = {"n_iterations": 30, "hidden_sizes": (4,)} | options
    return fit(x, y, **arguments)


def copies(net: NN, folder: Path) -> list[NN]:
    save(net, folder / "net.npz")
    pickled: NN = pickle.loads(pickle.dumps(net))
    return [net, load(folder / "net.npz"), copy.copy(net), copy.deepcopy(net), pickled]


# --- labels -------------------------------------------------------------------------------------


def labels_of(first: Any, second: Any) -> list[Any]:
    return [second if one else first for one in IS_SECOND]


INTEGERS = labels_of(-7, 10**6)


@both_losses
@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (TEXTS, ["no", "yes"]),
        (TEXTS.tolist(), ["no", "yes"]),
        (TEXTS[:, None], ["no", "yes"]),
        (TEXTS.astype(object), ["no", "yes"]),
        (TEXTS.astype(np.dtypes.StringDType()), ["no", "yes"]),
        (labels_of("", "$é\n<b>"), ["", "$é\n<b>"]),
        (labels_of("10", "9"), ["10", "9"]),
        (IS_SECOND, [False, True]),
        (IS_SECOND.astype(object), [False, True]),
        (CODES.astype(np.uint8), [0, 1]),
        (INTEGERS, [-7, 10**6]),
        (np.array(INTEGERS, float), [-7.0, 1e6]),
        (pd.Series(INTEGERS, index=range(N, 0, -1)), [-7, 10**6]),
        (pd.Series(INTEGERS, dtype="Int64"), [-7, 10**6]),
        (pd.Series(INTEGERS).astype("category"), [-7, 10**6]),
        (pd.Series(IS_SECOND, dtype="boolean"), [False, True]),
        (pd.Series(TEXTS, dtype="string[pyarrow]"), ["no", "yes"]),
        (pd.Series(pd.Categorical(TEXTS, categories=["yes", "so", "no"], ordered=True)), ["no", "yes"]),
        (pd.DataFrame({"answer": TEXTS}), ["no", "yes"]),
        (pl.Series(INTEGERS), [-7, 10**6]),
        (pl.Series(CODES, dtype=pl.UInt8), [0, 1]),
        (pl.Series(IS_SECOND), [False, True]),
        (pl.Series(TEXTS, dtype=pl.Enum(["yes", "so", "no"])), ["no", "yes"]),
        (pl.Series(TEXTS, dtype=pl.Categorical), ["no", "yes"]),
        (pa.table({"answer": pa.array(TEXTS).dictionary_encode()}), ["no", "yes"]),
        (pa.chunked_array([INTEGERS]), [-7, 10**6]),
    ],
    ids=lambda value: type(value).__module__.partition(".")[0],
)
def test_labels_of_every_kind(y: Any, classes: list[Any], options: dict[str, Any], tmp_path: Path) -> None:
    twin = quick(X, CODES, **options)
    for net in copies(quick(X, y, **options), tmp_path):
        assert np.array_equal(net.parameters, twin.parameters)  # labels in ascending order are 0 and 1
        assert net.classes is not None
        assert net.classes.tolist() == classes
        assert [type(label) for label in net.classes.tolist()] == [type(label) for label in classes]
        assert not net.classes.flags.writeable
        predicted = net.predict(X)
        assert predicted.dtype == net.classes.dtype
        assert np.array_equal(predicted, net.classes[twin.predict(X)])
        assert net.output_names == [str(label) for label in classes[-net.out_features :]]
    assert score(net, X, y) == score(twin, X, CODES)
    assert np.array_equal(quick(X, y, start=net).parameters, quick(X, CODES, start=twin).parameters)


@pytest.mark.parametrize("y", [TEXTS, IS_SECOND, pd.Series(INTEGERS).astype("category"), TEXTS[:, None]])
def test_labels_need_no_loss(y: Any) -> None:
    assert np.array_equal(quick(X, y).parameters, quick(X, CODES, **SOFTMAX).parameters)


@pytest.mark.parametrize(
    "y", [CODES, CODES.astype(float), pd.Series(CODES), pl.Series(CODES), CODES.tolist()]
)
def test_integers_are_numbers_unless_the_loss_says_otherwise(y: Any) -> None:
    net = quick(X, y)
    assert net.classes is None
    assert net.predict(X).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("y", "options"),
    [
        (TEXTS, SOFTMAX),
        (TEXTS, SIGMOID),
        (THREE, SOFTMAX),
        (np.column_stack([IS_SECOND, X[:, 0] > 0]), SIGMOID),
    ],
)
def test_what_a_classifier_gives(y: Any, options: dict[str, Any], dtype: Any) -> None:
    net = quick(X, y, dtype=dtype, n_iterations=2000, **options)
    logits, probabilities, predicted = net.get_output(X), net.predict_proba(X), net.predict(X)
    assert logits.dtype == dtype
    assert logits.shape == (N, net.out_features)
    logits = logits.astype(float)
    if y.ndim == 2:
        assert np.allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-6)
        assert np.array_equal(predicted, probabilities > 0.5)
    else:
        if options is SIGMOID:
            logits = np.hstack([np.zeros((N, 1)), logits])
        assert np.allclose(
            probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-6
        )
        assert np.array_equal(predicted, np.unique(y)[probabilities.argmax(axis=1)])
        assert np.allclose(probabilities.sum(axis=1), 1)
    assert predicted.shape == y.shape
    assert (predicted == y).mean() > 0.95
    assert np.array_equal(net(X), probabilities)


def test_a_regression_has_no_probabilities() -> None:
    net = quick(X, X[:, 0])
    assert np.array_equal(net(X), net.predict(X))
    with pytest.raises(
        InvalidArgumentError, match=r"net must be a classifier, .* got a regression; for integers"
    ):
        net.predict_proba(X)


@both_losses
def test_probabilities_as_targets(options: dict[str, Any]) -> None:
    shares = np.column_stack([1 - CODES, CODES]) * 0.98 + 0.01
    net = quick(X, shares[:, 1] if options is SIGMOID else shares, **options)
    assert net.classes is not None
    assert net.classes.tolist() == [0, 1]
    assert set(net.predict(X)) <= {0, 1}
    assert score(net, X, CODES).accuracy == score(net, X, shares[:, -net.out_features :]).accuracy


def test_several_labels(tmp_path: Path) -> None:
    y = pd.DataFrame({"$warm$": IS_SECOND, "wet": X[:, 0] > 0, "late": X[:, 1] > 1})
    net = quick(X, y)
    for same in (y.to_numpy(), y.astype(int), pl.from_pandas(y), y.to_numpy().astype(float)):
        assert np.array_equal(quick(X, same, **SIGMOID).parameters, net.parameters)
    for twin in copies(net, tmp_path):
        assert twin.output_names == list(y)
        assert twin.classes is not None
        assert twin.predict(X).shape == twin.predict_proba(X).shape == (N, 3)
        assert np.array_equal(twin.predict(X), twin.predict_proba(X) > 0.5)
        scores, probabilities = score(twin, X, y), twin.predict_proba(X)
        assert scores.accuracy == accuracy_score(y, twin.predict(X))
        losses = [log_loss(y[name], probabilities[:, k]) for k, name in enumerate(y)]
        assert scores.log_loss == pytest.approx(np.mean(losses), rel=1e-12)
        assert np.isnan(scores.roc_auc)
    assert quick(X, y, validation=(X, y), start=net).output_names == list(y)


# --- scores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, RNG.integers(0, 4, N).astype(float)], ids=["equal", "weighted"])
@pytest.mark.parametrize("n_iterations", [5, 400, 20_000], ids=["at first", "later", "certain"])
@pytest.mark.parametrize(
    ("y", "options"), [(TEXTS, SOFTMAX), (TEXTS, SIGMOID), (INTEGERS, SIGMOID), (THREE, SOFTMAX)]
)
def test_scores_are_those_of_scikit_learn(
    y: Any, options: dict[str, Any], n_iterations: int, weights: Any
) -> None:
    x, noisy = X.round(), np.array(y)
    if n_iterations < 1000:
        noisy[::7] = noisy[1]  # some that are wrong
    net = quick(x, noisy, n_iterations=n_iterations, learning_rate=0.1, **options)
    given, probabilities = score(net, x, noisy, sample_weight=weights), net.predict_proba(x)
    assert given.n_samples == (N if weights is None else (weights > 0).sum())
    assert given.accuracy == pytest.approx(
        accuracy_score(noisy, net.predict(x), sample_weight=weights), rel=1e-14
    )
    expected = log_loss(noisy, probabilities, sample_weight=weights, labels=net.classes)
    assert given.log_loss == pytest.approx(expected, rel=1e-12)
    if len(np.unique(noisy)) == 2:
        assert len(np.unique(probabilities[:, 1])) < N / 2  # ties
        expected = roc_auc_score(noisy, probabilities[:, 1], sample_weight=weights)
        assert given.roc_auc == pytest.approx(expected, rel=1e-14)
    else:
        assert np.isnan(given.roc_auc)


def test_a_certain_mistake_has_a_finite_loss() -> None:
    for n_out, options in ((2, SOFTMAX), (1, SIGMOID)):
        net = quick(X, TEXTS, **options)
        net.parameters = np.zeros_like(net.parameters)
        net.layers[-1].b[:] = [[1e4]] if n_out == 1 else [[-1e4], [1e4]]
        given = score(net, X, TEXTS)
        assert given.log_loss == pytest.approx(log_loss(TEXTS, net.predict_proba(X)), rel=1e-12)
        assert given.roc_auc == 0.5


def test_roc_auc_of_one_class_is_nan() -> None:
    given = score(quick(X, TEXTS), X[IS_SECOND], TEXTS[IS_SECOND])
    assert np.isnan(given.roc_auc)
    assert np.isfinite(given.log_loss)


# --- what is refused ----------------------------------------------------------------------------

LONG = "x" * 10_000


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (["a"] * N, "y must be labels of at least two classes, got only 'a'"),
        ([], "y must be at least one label, got none"),
        ([None, "a"] * 30, "y must be labels of at least two classes, got only 'a'"),
        (["a", float("nan")] * 30, "y must be labels of at least two classes, got only 'a'"),
        (np.array(["a", pd.NA] * 30, object), "y must be labels of at least two classes, got only 'a'"),
        ([1.0, float("nan")] * 30, "y must be labels of at least two classes, got only 1.0"),
        (
            np.array(["a", None] * 30, np.dtypes.StringDType(na_object=None)),
            "y must be labels of at least two classes, got only 'a'",
        ),
        (pd.Series(["a", None] * 30), "y must be labels of at least two classes, got only 'a'"),
        (pl.Series("c", [True, None] * 30), "y must be labels of at least two classes, got only True"),
        (pl.Series("c", [1, None] * 30), "y must be labels of at least two classes, got only 1"),
        ([None] * 60, "y must be known for at least one sample, got no known target"),
        (["a", 1] * 30, "y must be labels of one type, got str and int, 'a' at index 0 and 1 at index 1"),
        (np.array([True, "a"] * 30, object), "y must be labels of one type, got bool and str"),
        (
            [1.5, 1.0] * 30,
            "y must be labels: integers, strings or booleans, got 1.5 at index 0; for numbers, use",
        ),
        ([1j, 2] * 30, "y must be labels: integers, strings or booleans, got dtype complex128"),
        ([b"a", b"b"] * 30, "y must be labels: integers, strings or booleans, got dtype .S1"),
        (np.array(["2020", "2021"] * 30, "M8[Y]"), "y must be labels: integers, .* got dtype datetime64"),
        ([decimal.Decimal(1)] * N, "y must be labels: integers, strings or booleans, got Decimal"),
        (
            np.array([{}, []] * 30, object),
            "y must be labels: integers, strings or booleans, got {} at index 0",
        ),
        (pd.Series([{}] * N, name="c"), "column 'c' of y must be .* objects: dict"),
        ([[1], [2, 3]] * 30, "y must be an array of numbers, got list"),
        ([2**60, 1] * 30, "y must be exact in float64"),
        ([10**30, 1] * 30, "y must be labels: integers, strings or booleans, got dtype object"),
        ([["a", "b"]] * N, r"y must be a single column of labels, .* got labels of shape \(60, 2\)"),
        (pd.DataFrame({"a": TEXTS, "b": TEXTS}), r"y must be a single column of labels, .* shape \(60, 2\)"),
        (pd.DataFrame({"a": TEXTS, "b": CODES}), r"y must be a single column of labels, .* shape \(60, 2\)"),
        ("a", "y must be a single column of labels"),
        ({"a": 1}, "y must be"),
        (TEXTS[:5], "y must be of as many samples as x, 60, got 5"),
        ([LONG] * N, "y must be labels of at least two classes, got only 'xxx.* ... x*'$"),
        (np.arange(10**6), "y must be labels of fewer classes, got 1000000 classes for 1000000 samples"),
    ],
    ids=lambda value: re.sub(r"\s+", " ", f"{value!s:.30}"),
)
def test_bad_labels(y: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        quick(X, y, **SOFTMAX)
    assert len(str(caught.value)) < 500
    with pytest.raises(InvalidArgumentError, match=r"y must be|y: "):
        quick(X, y, **SIGMOID)


@both_losses
def test_a_class_that_was_not_in_the_fit(options: dict[str, Any]) -> None:
    net = quick(X, TEXTS, **options)
    other = ["yes", "maybe"] * 30
    message = "y must be one of the classes 'no', 'yes', got 'maybe' at index 1"
    for call in (
        lambda y: quick(X, TEXTS, validation=(X, y), **options),
        lambda y: quick(X, y, start=net, **options),
        lambda y: score(net, X, y),
        lambda y: plot_fit(net, X, y),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            call(other)
        with pytest.raises(
            InvalidArgumentError, match=r"y must be labels like .* classes, which are strings"
        ):
            call(CODES)
    assert quick(X, ["yes"] * N, start=net).predict(X).dtype == "<U3"  # one of its classes is enough
    with pytest.raises(InvalidArgumentError, match="labels of two classes for binary_cross_entropy, got 3"):
        quick(X, THREE, **SIGMOID)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_losses_of_numbers_take_no_labels(loss: str) -> None:
    for y in (TEXTS, IS_SECOND, pd.Series(TEXTS)):
        with pytest.raises(
            InvalidArgumentError, match=f"numbers for the loss {loss} and .* got labels; fit a network"
        ):
            quick(X, y, loss=loss)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(N), "sample_weight must be at least 0 everywhere, got -1.0 at index 0"),
        (np.zeros(N), "sample_weight must be above 0 somewhere, got only zeros"),
        (np.ones(3), r"sample_weight must be of shape \(60,\)"),
        (pd.Series([None] * N, dtype="Float64"), "sample_weight must be"),
        (TEXTS, "sample_weight must be an array of real numbers"),
    ],
)
def test_bad_weights(weights: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        quick(X, TEXTS, sample_weight=weights)
    with pytest.raises(InvalidArgumentError, match=message):
        score(quick(X, TEXTS), X, TEXTS, sample_weight=weights)


# --- what keeps them, what else takes them ------------------------------------------------------


@both_losses
def test_weights_repeat_samples(options: dict[str, Any]) -> None:
    counts = np.arange(N) % 3
    again = np.repeat(np.arange(N), counts)
    options = options | {"batch_size": 1000}
    weighted = quick(X, TEXTS, sample_weight=pl.Series(counts), **options)
    repeated = quick(X[again], TEXTS[again], **options)
    assert np.allclose(weighted.parameters, repeated.parameters, rtol=1e-9, atol=1e-12)


@both_losses
def test_a_fit_is_resumed(options: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "fit.npz"
    x, y = pd.DataFrame(X, columns=["a", "b"]), pd.Series(TEXTS).astype("category")
    arguments = {"n_iterations": 300, "validation": (x, TEXTS), "patience": 20} | options

    def stop(run: Any) -> None:
        if run.iteration >= 150:
            raise KeyboardInterrupt

    stop.every = 50  # type: ignore[attr-defined]  # as of a callback
    whole = quick(x, y, **arguments)
    with pytest.raises(KeyboardInterrupt):
        quick(x, y, callbacks=[Checkpoint(file, every=50), stop], **arguments)
    resumed = quick(x, y, resume=file, **arguments)
    assert np.array_equal(resumed.parameters, whole.parameters)
    assert np.array_equal(resumed.predict(x), whole.predict(x))
    assert resumed.classes is not None
    assert resumed.classes.tolist() == ["no", "yes"]


@both_losses
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_trains_and_examines_a_classifier(options: dict[str, Any], dtype: Any) -> None:
    net = quick(X, TEXTS, dtype=dtype, **options)
    targets = np.eye(2)[CODES][:, -net.out_features :]
    loss = options["loss"]
    objective = Objective(net, X, targets, loss=loss)
    assert objective.loss_and_gradient(net.parameters)[0] == pytest.approx(
        score(net, X, TEXTS).log_loss, rel=1e-5
    )
    if dtype == np.float64:
        assert check_gradients(net, X, targets, loss=loss).is_right
    assert len(diagnose(net, X, targets, loss=loss).layers) == 2
    before = score(net, X, TEXTS).log_loss
    stopping = EarlyStopping(5, objective, 10)
    Trainer(net, ArraySource(X, targets, 16, rng=1), loss=loss, learning_rate=0.1).run(
        200, callbacks=[stopping]
    )
    assert score(net, X, TEXTS).log_loss < before
    assert net.classes is not None
    assert set(net.predict(X)) == {"no", "yes"}


def test_a_network_to_start_from_keeps_its_classes() -> None:
    net = quick(X, labels_of("b", "a"))
    assert net.predict(X)[0] in ("a", "b")
    further = quick(X, labels_of("b", "a"), start=net)
    assert further.classes is not None
    assert further.classes.tolist() == ["a", "b"]
    bare = NN(2, [4], 3, rng=1)
    assert quick(X, THREE, start=bare, **SOFTMAX).output_names == ["0", "1", "2"]
    with pytest.raises(InvalidArgumentError, match="y must be one of the classes 0, 1, 2, got 3 at index"):
        quick(X, THREE + 1, start=bare, **SOFTMAX)
    regression = quick(X, np.column_stack([X, X]), start=quick(X, np.arange(N) % 4, **SOFTMAX), loss="mse")
    assert regression.classes is None
    assert regression.predict(X).shape == (N, 4)


EVIL = ["$\\frac{$", "<script>alert('&')</script>\n\n", LONG, "{} %s \\"]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "multilabel"])
def test_classes_are_data_in_pictures_and_html(kind: str) -> None:
    y: Any = np.array(EVIL)[np.arange(N) % (4 if kind == "softmax" else 2)]
    if kind == "multilabel":
        y = pd.DataFrame(dict.fromkeys(EVIL, IS_SECOND))
    net = quick(X, y, **(SOFTMAX if kind == "softmax" else SIGMOID))
    for output in range(net.out_features):
        figure: Any = plot_fit(net, X, y, output=output)
        figure.canvas.draw()
        labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
        assert all(len(label) < 40 and "\n" not in label for label in labels)
        assert not any("$" in label.replace(r"\$", "") for label in labels)
    shown = net._repr_html_()
    assert len(shown) < 5000
    assert "<script" not in shown
    if kind != "multilabel":
        assert "&lt;script&gt;" in shown


def test_the_picture_counts_what_the_score_does() -> None:
    net, y = quick(X, TEXTS, n_iterations=1000), np.where(np.arange(N) % 5 == 0, "no", TEXTS)
    figure: Any = plot_fit(net, X, y)
    counted = figure.axes[0].texts
    counts = np.array([int(text.get_text()) for text in counted]).reshape(2, 2)
    expected = [[((y == i) & (net.predict(X) == j)).sum() for j in ("no", "yes")] for i in ("no", "yes")]
    assert counts.tolist() == expected
    assert np.trace(counts) / N == pytest.approx(score(net, X, y).accuracy)
