"""Networks in other programs: they compute what the network does."""

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import DTypeLike

from crabnet_jit import NN, CrossEntropy, InvalidArgumentError, Standardization, fit, from_sklearn, to_sklearn
from crabnet_jit.estimators import NNClassifier, NNRegressor
from crabnet_jit.network.folding import folded_layers

sklearn = pytest.importorskip("sklearn")
base = pytest.importorskip("sklearn.base")
neural_network = pytest.importorskip("sklearn.neural_network")
preprocessing = pytest.importorskip("sklearn.preprocessing")
pytest.importorskip("sklearn.pipeline")
pytest.importorskip("sklearn.linear_model")

FORMULAS: dict[str, Any] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0.0),
}
#: How far inputs may lie from 0, in standard deviations, for float64 to keep 1e-12.
FAR = 1000.0


def random_net(
    rng: Any,
    depth: int,
    *,
    n_out: int | None = None,
    far: float = FAR,
    dtype: DTypeLike = "float64",
    **options: Any,
) -> NN:
    """A network of random widths and parameters; its units are random, too, and far from 0."""
    sizes = [int(k) for k in rng.integers(1, 12, size=depth + 2)]
    n_in, n_out = sizes[0], sizes[-1] if n_out is None else n_out
    net = NN(n_in, sizes[1:-1], n_out, rng=1, dtype=dtype, **options)
    for layer in net.layers:
        layer.W = rng.normal(size=layer.W.shape) / np.sqrt(layer.in_features)
        layer.b = rng.normal(size=layer.b.shape)
    x_std = 10.0 ** rng.uniform(-3, 3, n_in)
    y_mean, y_std = (rng.uniform(-9, 9, n_out), 10.0 ** rng.uniform(-1, 1, n_out))
    net.standardization = Standardization(rng.uniform(-far, far, n_in) * x_std, x_std, y_mean, y_std)
    return net


def inputs_for(rng: Any, net: NN, n_samples: int = 40) -> Any:
    assert net.standardization is not None
    z = rng.normal(size=(n_samples, net.in_features))
    return net.standardization.x_mean + z * net.standardization.x_std


def difference(a: Any, b: Any) -> float:
    """The largest, relative to the largest output."""
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def probabilities(logits: Any) -> Any:
    """Of each class; a single logit is that of the second."""
    return softmax(np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits)


# ---- layers that know nothing of standardisation ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("activation", FORMULAS)
def test_folded_layers_compute_what_predict_does(activation: str, depth: int, dtype: str) -> None:
    rng = np.random.default_rng(depth)
    for _ in range(5):
        net = random_net(rng, depth, activation=activation, dtype=dtype)
        x = inputs_for(rng, net)
        layers = folded_layers(net)
        assert [(W.shape, b.shape) for W, b in layers] == [(own.W.shape, (len(own.b),)) for own in net.layers]
        h = x
        for W, b in layers[:-1]:
            h = FORMULAS[activation](h @ W.T + b)
        W, b = layers[-1]
        assert W.dtype == b.dtype == np.float64
        assert difference(h @ W.T + b, net.predict(x)) < (1e-12 if dtype == "float64" else 1e-5)


def test_folded_layers_are_new_arrays() -> None:
    net = NN(2, [3], 1, rng=1)
    before = net.parameters.copy()
    for W, b in folded_layers(net):
        W[:], b[:] = 0.0, 0.0
    assert np.array_equal(net.parameters, before)


def test_what_cannot_be_folded_is_refused() -> None:
    net = NN(2, [3], 1, rng=1, output_activation="sigmoid")
    ones, zeros = np.ones(2), np.zeros(2)
    net.standardization = Standardization(ones, ones, zeros[:1], ones[:1])
    assert np.array_equal(folded_layers(net)[0][1], net.layers[0].b[:, 0] - net.layers[0].W.sum(axis=1))
    for mean, std in ((zeros[:1], 2 * ones[:1]), (ones[:1], ones[:1])):
        net.standardization = Standardization(ones, ones, mean, std)
        with pytest.raises(
            InvalidArgumentError, match=r"net\.standardization must be without y_mean and y_std"
        ):
            folded_layers(net)
    net.standardization = Standardization(ones, 5e-324 * ones, zeros[:1], ones[:1])
    with pytest.raises(InvalidArgumentError, match=r"W of net\.layers\[0\], with the standardization in it,"):
        folded_layers(net)
    net.standardization = None
    net.layers[1].b[:] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"b of net\.layers\[1\] must be finite, got nan"):
        folded_layers(net)


# ---- scikit-learn ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("activation", FORMULAS)
def test_a_regressor_predicts_what_the_network_does(activation: str, depth: int, dtype: str) -> None:
    rng = np.random.default_rng(10 + depth)
    for n_out in (1, 2, None):
        net = random_net(rng, depth, n_out=n_out, activation=activation, dtype=dtype)
        x = inputs_for(rng, net)
        estimator = to_sklearn(net)
        predicted = estimator.predict(x)
        assert predicted.shape == ((len(x),) if net.out_features == 1 else (len(x), net.out_features))
        tolerance = 1e-12 if dtype == "float64" else 1e-5
        assert difference(predicted.reshape(len(x), -1), net.predict(x)) < tolerance
        assert estimator.score(x, net.predict(x)) == pytest.approx(1.0)


LABELS = [
    ["no", "yes"],
    ["yes", "no"],
    [0, 1],
    [1, 0],
    [True, False],
    ["c", "a", "b"],
    [7, -2, 3, 0],
    [2.0, 1.0, 0.0],
]


@pytest.mark.parametrize("labels", LABELS, ids=repr)
@pytest.mark.parametrize("depth", [0, 2])
def test_a_classifier_has_the_probabilities_of_the_network(labels: list[Any], depth: int) -> None:
    rng = np.random.default_rng(20 + depth)
    for n_out in {len(labels), 1} if len(labels) == 2 else {len(labels)}:
        net = random_net(rng, depth, n_out=n_out, activation="tanh")
        x = inputs_for(rng, net)
        assert net.standardization is not None
        middle = np.median(net.predict(x), axis=0)  # each class is predicted somewhere
        net.standardization = net.standardization._replace(y_mean=net.standardization.y_mean - middle)
        estimator = to_sklearn(net, classes=labels)
        expected = probabilities(net.predict(x))
        given = estimator.predict_proba(x)
        assert list(estimator.classes_) == sorted(labels)
        for label, column in zip(labels, expected.T, strict=True):
            own = given[:, list(estimator.classes_).index(label)]
            assert np.abs(own - column).max() < 1e-12
        best = np.array(labels)[expected.argmax(axis=1)]
        assert np.array_equal(estimator.predict(x), best)
        assert estimator.score(x, best) == 1.0
        assert len(set(best)) > 1


def test_an_output_that_is_a_probability() -> None:
    rng = np.random.default_rng(3)
    net = random_net(rng, 1, n_out=1, activation="relu", output_activation="sigmoid")
    assert net.standardization is not None
    x = inputs_for(rng, net)
    net.standardization = net.standardization._replace(y_mean=np.zeros(1), y_std=np.ones(1))
    given = to_sklearn(net, ["no", "yes"]).predict_proba(x)
    assert np.abs(given[:, 1:] - net.predict(x)).max() < 1e-12
    assert np.abs(to_sklearn(net, ["yes", "no"]).predict_proba(x)[:, :1] - net.predict(x)).max() < 1e-12


def test_a_fitted_classifier() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(1000.0, 3.0, size=(200, 2))
    y = (x[:, 0] > 1000).astype(int) + (x[:, 1] > 1000)
    net = fit(x, y, loss=CrossEntropy(), hidden_sizes=(8,), n_iterations=2000)
    estimator = to_sklearn(net)
    assert list(estimator.classes_) == [0, 1, 2]
    assert np.array_equal(estimator.predict(x), net.predict(x))
    assert np.abs(estimator.predict_proba(x) - net.predict_proba(x)).max() < 1e-12
    assert estimator.score(x, y) > 0.9


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")  # one iteration is enough here
@pytest.mark.parametrize("labels", [None, ["b", "a"], ["c", "a", "b"]], ids=repr)
def test_an_estimator_is_like_one_that_scikit_learn_fitted(labels: list[str] | None) -> None:
    rng = np.random.default_rng(5)
    net = random_net(rng, 2, n_out=1 if labels is None else len(labels), activation="tanh", far=1.0)
    x = inputs_for(rng, net)
    y = net.predict(x).ravel() if labels is None else np.array(labels)[np.arange(len(x)) % len(labels)]
    estimator = to_sklearn(net, labels)
    theirs = base.clone(estimator).set_params(max_iter=1).fit(x, y)
    for name, value in vars(theirs).items():
        if name.endswith("_") or name == "_label_binarizer":
            assert type(getattr(estimator, name)) in {type(value), float}, name
        if name in {"n_features_in_", "n_layers_", "n_outputs_", "out_activation_"}:
            assert getattr(estimator, name) == value
    assert [W.shape for W in estimator.coefs_] == [W.shape for W in theirs.coefs_]
    assert [b.shape for b in estimator.intercepts_] == [b.shape for b in theirs.intercepts_]
    assert "hidden_layer_sizes=(" in repr(estimator)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        base.clone(estimator).predict(x)
    before = estimator.predict(x)
    assert np.array_equal(pickle.loads(pickle.dumps(estimator)).predict(x), before)
    net.parameters = np.zeros_like(net.parameters)  # the estimator has its own
    assert np.array_equal(estimator.predict(x), before)
    if labels is None:
        assert np.allclose(estimator.set_params(learning_rate_init=1e-9).partial_fit(x, y).predict(x), before)
    else:
        assert np.array_equal(
            estimator.set_params(learning_rate_init=1e-9).partial_fit(x, y).predict(x), before
        )
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 1


def test_what_scikit_learn_cannot_express_is_refused() -> None:
    allowed = "one of identity, sigmoid, tanh, relu, the same in all hidden layers, for scikit-learn"
    for activation, came in (("silu", "silu"), (["tanh", "relu"], "tanh, relu"), (["gelu", "gelu"], "gelu")):
        net = NN(2, [3, 3], 1, rng=1, activation=activation)
        with pytest.raises(InvalidArgumentError, match=f"net.activations must be {allowed}, got {came}$"):
            to_sklearn(net)
    for n_out, output, classes in ((1, "sigmoid", None), (2, "sigmoid", "ab"), (1, "tanh", "ab")):
        net = NN(2, [3], n_out, rng=1, output_activation=output)
        with pytest.raises(
            InvalidArgumentError, match=f"the output activation, must be identity.* got {output}$"
        ):
            to_sklearn(net, classes if classes is None else list(classes))
    with pytest.raises(InvalidArgumentError, match="net must be an NN, got None"):
        to_sklearn(None)  # type: ignore[arg-type]


WRONG_CLASSES = [
    (1, ["a"], "2 labels, since out_features is 1"),
    (1, "ab", "distinct strings"),
    (1, {"a", "b"}, "distinct strings"),
    (1, 2, "distinct strings"),
    (2, ["a", "b", "c"], "2 labels, since"),
    (3, ["a", "b"], "3 labels, since"),
    (2, ["a", "a"], "distinct"),
    (2, ["a", 1], "distinct strings"),
    (2, [0.5, 1.0], "whole numbers"),
    (2, [np.nan, 1.0], "whole numbers"),
    (2, [np.inf, 1.0], "whole numbers"),
    (2, [10**400, 1.0], "whole numbers"),
    (2, [None, 1], "whole numbers"),
    (2, [[1], [2]], "whole numbers"),
]


@pytest.mark.parametrize(("n_out", "classes", "allowed"), WRONG_CLASSES)
def test_wrong_classes_are_refused(n_out: int, classes: Any, allowed: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"classes must be .*{allowed}"):
        to_sklearn(NN(2, [3], n_out, rng=1), classes)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(ImportError, match=r'pip install "crabnet-jit\[sklearn\]"'):
        to_sklearn(NN(2, [3], 1, rng=1))


# ---- from scikit-learn ----


def trained(kind: Any, x: Any, y: Any, **options: Any) -> Any:
    """An estimator of scikit-learn, or a pipeline that ends with one, after a few iterations."""
    mlp = kind(**{"hidden_layer_sizes": (5, 4), "max_iter": 5, "random_state": 0, **options})
    return mlp.fit(x, y)


def data(rng: Any, dtype: str = "float64") -> Any:
    return rng.normal(1.0, 3.0, size=(60, 3)).astype(dtype)


def same_bits(estimator: Any, net: NN) -> bool:
    """Whether a network has the parameters of an estimator."""
    ours = [part for layer in net.layers for part in (layer.W.T, layer.b[:, 0])]
    pairs = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    theirs = [part for pair in pairs for part in pair]
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


few_iterations = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@few_iterations
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_regressors_of_scikit_learn_as_networks(activation: str, dtype: str) -> None:
    rng = np.random.default_rng(50)
    x = data(rng, dtype)
    for y in (x[:, 0], x[:, :1], x[:, :2]):
        for sizes in ((5, 4), (), (3,)):
            estimator = trained(
                neural_network.MLPRegressor, x, y.squeeze(), activation=activation, hidden_layer_sizes=sizes
            )
            net = from_sklearn(estimator)
            assert same_bits(estimator, net)
            assert net.dtype == dtype
            assert net.spec.sizes == (3, *sizes, 1 if y.ndim == 1 else y.shape[1])
            assert difference(net.predict(x), estimator.predict(x)) < (1e-14 if dtype == "float64" else 1e-5)


Y = np.random.default_rng(51).integers(0, 3, 60)


@few_iterations
@pytest.mark.parametrize(
    "y",
    [
        np.array(["no", "yes"])[Y % 2],
        np.array(["no", "yes"], object)[Y % 2],
        Y % 2 == 0,
        Y % 2 * 2 - 1,
        np.array(["c", "a", "b"])[Y],
        Y * 5 - 3,
        Y.astype(float),
        np.eye(3, dtype=int)[Y],
        np.ones((60, 2), int) * (Y[:, None] > [0, 1]),
    ],
    ids=lambda y: f"{y.dtype}{y.shape}{y.ravel()[:2]}",
)
def test_classifiers_of_scikit_learn_as_networks(y: Any) -> None:
    x = data(np.random.default_rng(52))
    estimator = trained(neural_network.MLPClassifier, x, y, max_iter=30)
    net = from_sklearn(estimator)
    assert same_bits(estimator, net)
    assert np.abs(net.predict_proba(x) - estimator.predict_proba(x)).max() < 1e-14
    assert np.array_equal(net.predict(x), estimator.predict(x))
    assert net.predict(x).shape == y.shape
    assert net.classes is not None
    assert net.classes.tolist() == estimator.classes_.tolist()
    back = to_sklearn(net)
    assert same_bits(back, net)
    assert np.array_equal(back.predict(x), estimator.predict(x))
    assert np.array_equal(back.classes_, estimator.classes_)


@few_iterations
def test_the_way_to_scikit_learn_and_back_keeps_parameters() -> None:
    rng = np.random.default_rng(53)
    x = data(rng)
    estimator = trained(neural_network.MLPRegressor, x, x[:, 0])
    assert same_bits(to_sklearn(from_sklearn(estimator)), from_sklearn(estimator))
    for labels in (None, ["a", "b"], ["a", "b", "c"]):
        net = random_net(rng, 2, n_out=3 if labels and len(labels) == 3 else 1, activation="tanh")
        net.standardization = None
        again = from_sklearn(to_sklearn(net, labels))
        assert again.parameters.tobytes() == net.parameters.tobytes()
        assert again.spec == net.spec


@few_iterations
@pytest.mark.parametrize(
    ("with_mean", "with_std"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_a_scaler_becomes_the_standardisation(with_mean: bool, with_std: bool) -> None:
    x = data(np.random.default_rng(54))
    x[:, 1] = 7.0  # a constant
    for kind, y in ((neural_network.MLPRegressor, x[:, 0]), (neural_network.MLPClassifier, x[:, 0] > 1)):
        scaler = preprocessing.StandardScaler(with_mean=with_mean, with_std=with_std)
        mlp = kind(hidden_layer_sizes=(5,), max_iter=5, random_state=0)
        estimator = sklearn.pipeline.make_pipeline(scaler, mlp).fit(x, y)
        net = from_sklearn(estimator)
        assert same_bits(mlp, net)
        assert net.standardization is not None
        assert np.array_equal(net.standardization.inputs(x), scaler.transform(x))
        if net.classes is None:
            assert difference(net.predict(x), estimator.predict(x)) < 1e-14
        else:
            assert np.abs(net.predict_proba(x) - estimator.predict_proba(x)).max() < 1e-14
        assert same_bits(mlp, from_sklearn(sklearn.pipeline.Pipeline([("a", mlp)])))


@few_iterations
def test_columns_keep_their_names() -> None:
    frame = pd.DataFrame(data(np.random.default_rng(55)), columns=["a", "b", "c"])
    mlp = neural_network.MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0)
    alone = base.clone(mlp).fit(frame, frame["a"])
    pipeline = sklearn.pipeline.make_pipeline(preprocessing.StandardScaler(), mlp).fit(frame, frame["a"])
    for estimator in (alone, pipeline):
        net = from_sklearn(estimator)
        assert net.input_names == net.feature_names == ["a", "b", "c"]
        assert difference(net.predict(frame[["c", "b", "a"]]), estimator.predict(frame)) < 1e-14
    assert from_sklearn(base.clone(mlp).fit(frame.to_numpy(), frame["a"])).feature_names is None
    alone.feature_names_in_ = np.array(["a", "a", "b"], object)
    with pytest.raises(
        InvalidArgumentError, match=r"estimator\.feature_names_in_ must be .* distinct strings"
    ):
        from_sklearn(alone)


def test_our_own_estimators_give_a_copy_of_their_network() -> None:
    x = data(np.random.default_rng(56))
    for kind, y in ((NNRegressor, x[:, 0]), (NNClassifier, x[:, 0] > 1)):
        estimator = kind(hidden_sizes=(4,), n_iterations=10, random_state=0).fit(x, y)
        net = from_sklearn(estimator)
        assert np.array_equal(net.predict(x), estimator.predict(x))
        net.parameters = np.zeros_like(net.parameters)
        assert estimator.net_.parameters.any()


@few_iterations
def test_the_network_has_parameters_of_its_own() -> None:
    x = data(np.random.default_rng(57))
    estimator = trained(neural_network.MLPRegressor, x, x[:, 0])
    before = estimator.predict(x)
    net = from_sklearn(estimator)
    net.parameters = np.zeros_like(net.parameters)
    assert np.array_equal(estimator.predict(x), before)


@few_iterations
def test_what_is_no_network_is_refused() -> None:
    x = data(np.random.default_rng(58))
    mlp, scaler = neural_network.MLPRegressor, preprocessing.StandardScaler
    pipeline = sklearn.pipeline.make_pipeline
    known = "estimator must be a fitted MLPRegressor or MLPClassifier, a Pipeline of"
    for wrong, came in (
        (None, "None"),
        (scaler().fit(x), "StandardScaler"),
        (sklearn.pipeline.Pipeline([]), "Pipeline"),
        (pipeline(scaler()).fit(x), "Pipeline"),
        (pipeline(preprocessing.MinMaxScaler(), mlp(max_iter=5)).fit(x, x[:, 0]), "MinMaxScaler"),
        (pipeline(scaler(), scaler(), mlp(max_iter=5)).fit(x, x[:, 0]), "Pipeline"),
        (pipeline(mlp(max_iter=5)).set_params(mlpregressor=scaler()), "Pipeline"),
        (sklearn.linear_model.LinearRegression().fit(x, x), r"LinearRegression\(\)"),
        (mlp(), r"MLPRegressor\(\), which is not fitted"),
        (neural_network.MLPClassifier(), r"MLPClassifier\(\), which is not fitted"),
        (pipeline(scaler(), trained(mlp, x, x[:, 0])), "which is not fitted"),
        (NNRegressor(), r"NNRegressor\(\)"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"{known}.*got .*{came}"):
            from_sklearn(wrong)


@few_iterations
def test_what_a_network_cannot_be_is_refused() -> None:
    x = data(np.random.default_rng(59))
    for name, k, value, message in (
        ("coefs_", 1, np.nan, r"estimator\.coefs_\[1\]\.T must be finite, got nan"),
        ("intercepts_", 0, -np.inf, r"estimator\.intercepts_\[0\] must be finite, got -inf"),
    ):
        estimator = trained(neural_network.MLPRegressor, x, x[:, 0])
        getattr(estimator, name)[k].flat[0] = value
        with pytest.raises(InvalidArgumentError, match=message):
            from_sklearn(estimator)
    estimator = trained(neural_network.MLPRegressor, x, x[:, 0])
    estimator.coefs_[1] = estimator.coefs_[1][:-1]
    with pytest.raises(InvalidArgumentError, match=r"estimator\.coefs_\[1\]\.T must be of shape"):
        from_sklearn(estimator)
    estimator = trained(neural_network.MLPRegressor, x, x[:, 0])
    estimator.out_activation_ = "exp"  # that of the Poisson loss
    with pytest.raises(
        InvalidArgumentError, match=r"estimator\.out_activation_ must be one of identity, got 'exp'"
    ):
        from_sklearn(estimator)
    estimator = trained(neural_network.MLPClassifier, x, np.ones(60, int))
    with pytest.raises(InvalidArgumentError, match=r"estimator\.classes_ must be at least two classes"):
        from_sklearn(estimator)


def test_without_scikit_learn_the_error_of_the_way_back_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.neural_network", None)
    with pytest.raises(ImportError, match=r'pip install "crabnet-jit\[sklearn\]"'):
        from_sklearn(None)


# ---- what others make of estimators ----


def run_onnx(estimator: Any, x: Any) -> Any:
    """What ONNX Runtime predicts: the values, or the probabilities."""
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    options = {"zipmap": False} if base.is_classifier(estimator) else None
    model = skl2onnx.to_onnx(estimator, x[:1], options=options).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[-1]


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("activation", FORMULAS)
def test_onnx_computes_the_same(activation: str, depth: int) -> None:
    rng = np.random.default_rng(30 + depth)
    for n_out in (1, 3):
        net = random_net(rng, depth, n_out=n_out, activation=activation, far=3.0)
        for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
            x = inputs_for(rng, net).astype(dtype)
            expected = net.predict(x)
            predicted = run_onnx(to_sklearn(net), x).reshape(expected.shape)  # they come as one column
            assert difference(predicted, expected) < tolerance
            found = run_onnx(to_sklearn(net, list("bac" if n_out == 3 else "ab")), x)
            columns = [1, 0, 2] if n_out == 3 else [0, 1]
            assert np.abs(found - probabilities(expected)[:, columns]).max() < tolerance


@pytest.mark.skipif(shutil.which("cc") is None, reason="emlearn needs a C compiler")
@pytest.mark.filterwarnings("ignore:.*distutils.*:DeprecationWarning", "ignore:.*distutils.*:UserWarning")
@pytest.mark.parametrize("activation", FORMULAS)
def test_c_code_of_emlearn_computes_the_same(
    activation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.errstate():  # emlearn makes NumPy's warnings exceptions, for the whole process
        emlearn = pytest.importorskip("emlearn")
    monkeypatch.chdir(tmp_path)  # where it compiles
    rng = np.random.default_rng(40)
    for n_out in (1, 3):
        net = random_net(rng, 2, n_out=n_out, activation=activation, far=3.0)
        assert net.standardization is not None
        # It writes numbers with six decimals, whatever their size: weights must not be small.
        net.standardization = net.standardization._replace(x_std=np.ones(net.in_features))
        x = inputs_for(rng, net)
        if n_out == 1:  # it has no other regressors
            model = emlearn.convert(to_sklearn(net), return_type="regressor")
            assert difference(np.array(model.predict(x)).reshape(-1, 1), net.predict(x)) < 1e-4
        model = emlearn.convert(to_sklearn(net, range(max(n_out, 2))))
        assert np.abs(np.array(model.predict_proba(x)) - probabilities(net.predict(x))).max() < 1e-4
