"""Networks as fitted scikit-learn estimators, and thus for every program that reads those; and back."""

import copy
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Identity, as_activation
from crabnet_jit.data.columns import Column, Columns
from crabnet_jit.data.labels import Labels, label_array
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.exchange.common import Layer, assembled, refuse_powers
from crabnet_jit.network.folding import folded_layers
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import Schema, different_texts

#: Names of activations here, and in scikit-learn.
_ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
_READABLE = (
    "a fitted MLPRegressor or MLPClassifier, a Pipeline of a StandardScaler and one of them, or an estimator "
    "of crabnet_jit"
)


@check.keywords
def to_sklearn(net: NN, classes: Iterable[object] | None = None) -> Any:
    """A network as a fitted `MLPRegressor` or `MLPClassifier` of scikit-learn.

    The estimator has its own copy of the parameters, and takes inputs in the units of the data: its first and
    last layer absorb `net.standardization`. It can be pickled, put into pipelines, trained further with
    `partial_fit`, and converted by programs that read scikit-learn's estimators, such as skl2onnx (to ONNX)
    and emlearn (to C).

    Parameters
    ----------
    net : NN
        All of its hidden layers must have the same activation, one of identity, sigmoid, tanh and relu. The
        output activation must be the identity, or the sigmoid if there are classes and one output.
    classes : iterable of str, bool or int, optional
        The labels, for a network that does not know its classes. n outputs are logits, as in `CrossEntropy`,
        and need n labels; a single output is the logit of the second label, as in `BinaryCrossEntropy`, and
        needs two. scikit-learn sorts labels; the last layer is sorted with them.

    Returns
    -------
    MLPRegressor or MLPClassifier
        A classifier if the network has `classes`, or if they are given. For x (n_samples, in_features), a
        regressor's `predict` returns `net.predict(x)`, of shape (n_samples,) if there is one output. A
        classifier's `predict_proba` returns the softmax of the network's logits, or (1 - p, p), where p is
        the sigmoid of its only logit. Two logits become one, their difference, since scikit-learn's
        classifiers have one for two classes; the probabilities are the same.

    Raises
    ------
    InvalidArgumentError
        For a network that scikit-learn cannot express, for parameters that are not finite, and for classes
        that are not distinct or do not belong to the outputs.
    ImportError
        Without scikit-learn: `pip install "crabnet-jit[sklearn]"`.

    Notes
    -----
    Results are those of the network up to rounding, which grows with the distance of inputs from 0 in
    standard deviations: it is 1e-16 times that distance, or 1e-7 times in programs that compute in float32.
    skl2onnx returns several outputs of a regressor as one column, row after row. emlearn writes parameters
    with six decimals, so weights that are small because their input has a large standard deviation lose
    digits: the error is 1e-6 of the outputs at a standard deviation of 1, and 4e-3 at 10,000.

    The estimator has no names of features; assign `feature_names_in_` to use it with data frames.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit, to_sklearn
    >>> x = np.random.default_rng(0).uniform(0, 10, (200, 2))
    >>> net = fit(x, x[:, 0] * x[:, 1], hidden_sizes=(8,), n_iterations=500)
    >>> estimator = to_sklearn(net)
    >>> estimator
    MLPRegressor(activation='tanh', hidden_layer_sizes=(8,))
    >>> np.allclose(estimator.predict(x), net.predict(x))
    True

    A network that was fitted to labels becomes a classifier:

    >>> net = fit(x, np.where(x[:, 0] > x[:, 1], "right", "left"), hidden_sizes=(8,), n_iterations=500)
    >>> to_sklearn(net).predict([[1.0, 9.0], [9.0, 1.0]])
    array(['left', 'right'], dtype='<U5')
    """
    check.instance("net", net, NN, "an NN")
    refuse_powers(net, "scikit-learn")
    labels = net.classes if classes is None else _labels(classes, net.out_features)
    activation = _hidden_activation(net)
    _check_output(net, labels)
    layers = folded_layers(net)
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.preprocessing import LabelBinarizer
    except ImportError as error:
        raise ImportError('to_sklearn needs scikit-learn: pip install "crabnet-jit[sklearn]"') from error
    options = {"hidden_layer_sizes": tuple(net.hidden_sizes), "activation": activation}
    if labels is None:
        return _fitted(MLPRegressor(**options), layers, "identity")
    has_several = net.schema.task == "multilabel"
    if not has_several:
        layers[-1] = _sorted_outputs(*layers[-1], labels)
    out_activation = "logistic" if has_several or len(labels) == 2 else "softmax"
    estimator = _fitted(MLPClassifier(**options), layers, out_activation)
    estimator._label_binarizer = LabelBinarizer().fit(
        np.eye(len(labels), dtype=int) if has_several else labels
    )
    estimator.classes_ = estimator._label_binarizer.classes_
    return estimator


def _hidden_activation(net: NN) -> str:
    """The activation of all hidden layers, by scikit-learn's name."""
    allowed = f"one of {', '.join(_ACTIVATIONS)}, the same in all hidden layers, for scikit-learn"
    names = [activation.name for activation in net.activations[:-1]]
    if len(set(names)) > 1 or not _ACTIVATIONS.keys() >= set(names):
        raise check.reject("net.activations", allowed, ", ".join(dict.fromkeys(names)))
    return _ACTIVATIONS[names[0]] if names else "identity"


def _check_output(net: NN, labels: Array | None) -> None:
    """Check that outputs are logits, or the probability of the second of two classes."""
    name = net.activations[-1].name
    is_probability = name == "sigmoid" and labels is not None and net.out_features == 1
    if name != "identity" and not is_probability:
        allowed = "identity, or sigmoid for a single output with classes, for scikit-learn"
        raise check.reject("net.activations[-1], the output activation,", allowed, name)


def _labels(classes: Iterable[object], out_features: int) -> Array:
    """The classes as an array, in the order of the outputs."""
    allowed = "distinct strings, booleans or whole numbers, in the order of the outputs"
    if isinstance(classes, (str, bytes, set, frozenset)) or not check.is_iterable(classes):
        raise check.reject("classes", allowed, repr(classes))
    values = list(classes)
    is_text = all(isinstance(value, str) for value in values)
    if not is_text and not all(isinstance(value, (numbers.Real, np.bool_)) for value in values):
        raise check.reject("classes", allowed, repr(values))
    n_classes = max(out_features, 2)
    if len(values) != n_classes:
        came = f"{len(values)} of them"
        raise check.reject("classes", f"{n_classes} labels, since out_features is {out_features}", came)
    labels = np.array(values)
    is_whole = labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == labels.round()).all()
    if not (labels.dtype.kind in "Ubiu" or is_whole) or len(np.unique(labels)) != n_classes:
        raise check.reject("classes", allowed, repr(values))
    return labels


def _sorted_outputs(W: Array, b: Array, labels: Array) -> tuple[Array, Array]:
    """The last layer for labels in ascending order; for two labels, the logit of the second."""
    order = labels.argsort()
    if len(labels) > 2:
        return W[order], b[order]
    if len(b) == 2:
        return W[order[1:]] - W[order[:1]], b[order[1:]] - b[order[:1]]
    return (W, b) if order[1] == 1 else (-W, -b)


def _fitted(estimator: Any, layers: list[tuple[Array, Array]], out_activation: str) -> Any:
    """The estimator with everything that its `fit` would have set; without losses, as before training."""
    estimator.coefs_ = [np.ascontiguousarray(W.T) for W, _ in layers]
    estimator.intercepts_ = [b for _, b in layers]
    estimator.n_features_in_ = layers[0][0].shape[1]
    estimator.n_outputs_ = len(layers[-1][1])
    estimator.n_layers_ = len(layers) + 1
    estimator.out_activation_ = out_activation
    estimator.n_iter_ = estimator.t_ = 0
    estimator.loss_ = estimator.best_loss_ = np.inf
    estimator.loss_curve_ = []
    estimator.validation_scores_ = estimator.best_validation_score_ = None
    return estimator


def from_sklearn(estimator: Any) -> NN:
    """A fitted scikit-learn `MLPRegressor` or `MLPClassifier` as a network.

    Parameters
    ----------
    estimator : MLPRegressor, MLPClassifier, Pipeline, NNRegressor or NNClassifier
        A pipeline must be a `StandardScaler` followed by one of the first two; the scaler becomes the
        network's `standardization`. For a fitted `NNRegressor` or `NNClassifier`, the result is a copy of its
        `net_`.

    Returns
    -------
    NN
        With the same parameters, bit for bit, and their type: float32 if the estimator was fitted to float32,
        else float64. `predict`, and `predict_proba` of a classifier, return the same as the estimator's, up
        to rounding; so `predict` of a single output has the shape (n_samples,). `classes` are the labels of a
        classifier; its outputs are logits, and only that of the second class if there are two. Columns are
        named as in `feature_names_in_`, if it exists.

    Raises
    ------
    InvalidArgumentError
        For other estimators and steps; for one that is not fitted, or was fitted to a single class or with
        the Poisson loss; and for parameters that are not finite or do not fit together.
    ImportError
        Without scikit-learn: `pip install "crabnet-jit[sklearn]"`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from crabnet_jit import from_sklearn
    >>> x = np.random.default_rng(0).uniform(0, 10, (200, 2))
    >>> mlp = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=5000, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), mlp).fit(x, x[:, 0] * x[:, 1])
    >>> net = from_sklearn(pipeline)
    >>> net
    NN(2, [8], 1, activation='relu', 33 parameters, float64, standardised)
    >>> np.allclose(net.predict(x), pipeline.predict(x), rtol=1e-12)
    True
    """
    own = getattr(estimator, "net_", None)
    if isinstance(own, NN):
        return copy.copy(own)
    scaler, mlp = _steps(estimator)
    net = _network_of(mlp)
    names = getattr(mlp if scaler is None else scaler, "feature_names_in_", None)
    net.schema = _schema_of(mlp, None if names is None else _columns(names, net.in_features))
    if scaler is not None:
        net.standardization = _units_of(scaler, net)
    return net


def _steps(estimator: Any) -> tuple[Any, Any]:
    """The scaler, if there is one, and the multilayer perceptron."""
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise ImportError('from_sklearn needs scikit-learn: pip install "crabnet-jit[sklearn]"') from error
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    kinds = (StandardScaler, (MLPClassifier, MLPRegressor))[-len(steps) :]
    if len(steps) != len(kinds) or not all(map(isinstance, steps, kinds)):
        raise check.reject("estimator", _READABLE, repr(estimator))
    if not all(hasattr(step, "n_features_in_") for step in steps) or not hasattr(steps[-1], "coefs_"):
        raise check.reject("estimator", _READABLE, f"{estimator!r}, which is not fitted")
    return (steps[0] if len(steps) == 2 else None), steps[-1]


def _network_of(mlp: Any) -> NN:
    """A network with its layers; a classifier's outputs are logits."""
    is_float32 = all(part.dtype == np.float32 for part in (*mlp.coefs_, *mlp.intercepts_))
    dtype = np.dtype(np.float32 if is_float32 else np.float64)
    outputs = ("logistic", "softmax") if hasattr(mlp, "classes_") else ("identity",)
    check.choice("estimator.out_activation_", mlp.out_activation_, outputs)
    theirs = check.choice("estimator.activation", mlp.activation, _ACTIVATIONS.values())
    name = next(ours for ours, other in _ACTIVATIONS.items() if other == theirs)
    layers, n_in = [], mlp.n_features_in_
    for k, (coef, intercept) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True)):
        W = check.samples(f"estimator.coefs_[{k}].T", coef.T, n_in, dtype)
        b = check.same_shape(f"estimator.intercepts_[{k}]", intercept, W.shape[:1], dtype)
        layers.append(Layer(W, b, as_activation("activation", name)))
        n_in = len(b)
    layers[-1] = layers[-1]._replace(activation=Identity())
    return assembled(layers, dtype)


def _schema_of(mlp: Any, columns: Columns | None) -> Schema:
    """The meaning of its inputs and outputs."""
    if not hasattr(mlp, "classes_"):
        return Schema(columns, is_flat=mlp.n_outputs_ == 1)
    if len(mlp.classes_) < 2:
        raise check.reject("estimator.classes_", "at least two classes", repr(mlp.classes_))
    is_multilabel = mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1
    labels = Labels(label_array("estimator.classes_", mlp.classes_))
    return Schema(columns, None, labels, "multilabel" if is_multilabel else "classification")


def _columns(names: Any, in_features: int) -> Columns:
    texts = different_texts("estimator.feature_names_in_", [*map(str, names)], in_features)
    return Columns(tuple(map(Column, texts)))


def _units_of(scaler: Any, net: NN) -> Standardization:
    """The units of a scaler for inputs; outputs are not scaled."""
    n_in, n_out = net.in_features, net.out_features
    mean = scaler.mean_ if scaler.with_mean else np.zeros(n_in)
    std = scaler.scale_ if scaler.with_std else np.ones(n_in)
    return Standardization(mean, std, np.zeros(n_out), np.ones(n_out))
