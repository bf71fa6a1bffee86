"""Networks as fitted estimators of scikit-learn, and so for every program that reads those."""

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.base import stored
from crabnet_jit.network.folding import folded_layers
from crabnet_jit.network.network import NN

#: Names of activations here, and in scikit-learn.
_ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}


@check.keywords
def to_sklearn(net: NN, classes: Iterable[object] | None = None) -> Any:
    """A network as a fitted `MLPRegressor` or `MLPClassifier` of scikit-learn.

    The estimator has its own copy of the parameters, and takes inputs in the units of the data: its first and
    last layer do what `net.standardization` does. It can be pickled, put into pipelines, trained further with
    `partial_fit`, and converted by programs that read scikit-learn's estimators, such as skl2onnx (to ONNX)
    and emlearn (to C).

    Parameters
    ----------
    net : NN
        All of its hidden layers have the same activation, one of identity, sigmoid, tanh and relu. The
        output activation is the identity; also the sigmoid if there are classes and one output.
    classes : iterable of str, bool or whole numbers, optional
        The label of each output, for a classifier; by default those that `fit` found. Of n outputs, which are
        logits, as `CrossEntropy` takes them, there are n. Of a single output, which is the logit of the
        second label, as `BinaryCrossEntropy` takes it, there are two. scikit-learn sorts labels; the last
        layer is sorted with them.

    Returns
    -------
    MLPRegressor or MLPClassifier
        A classifier if there are classes. For x (n_samples, in_features) a regressor's `predict` gives
        `net.predict(x)`, of shape (n_samples,) if there is one output. A classifier's `predict_proba` gives
        the softmax of the network's logits, or (1 - p, p) with p the sigmoid of its only one. Two logits
        become one, their difference, since a classifier of scikit-learn has one for two classes; the
        probabilities are the same.

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
    standard deviations: 1e-16 times that distance, and 1e-7 times it in programs that compute in float32.
    skl2onnx gives several outputs of a regressor as one column, row after row. emlearn writes parameters with
    six decimals, so weights that are small since the standard deviation of their input is large lose digits:
    1e-6 of the outputs at a standard deviation of 1, 4e-3 at 10,000.

    The estimator knows no names of features; assign `feature_names_in_` to use it with data frames.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit, to_sklearn
    >>> x = np.random.default_rng(0).uniform(0, 10, (200, 2))
    >>> net = fit(x, x[:, 0] * x[:, 1], hidden_sizes=(8,), n_iterations=500)
    >>> estimator = to_sklearn(net)
    >>> estimator
    MLPRegressor(activation='tanh', hidden_layer_sizes=(8,))
    >>> np.allclose(estimator.predict(x), net.predict(x).ravel())
    True

    Labels make it a classifier:

    >>> net = fit(x, x[:, 0] > x[:, 1], hidden_sizes=(8,), loss="binary_cross_entropy", n_iterations=500)
    >>> to_sklearn(net).predict([[1.0, 9.0], [9.0, 1.0]])
    array([False,  True])
    >>> to_sklearn(net, classes=["left", "right"]).predict([[1.0, 9.0], [9.0, 1.0]])
    array(['left', 'right'], dtype='<U5')
    """
    check.instance("net", net, NN, "an NN")
    if classes is None and net.schema.task == "classification":
        classes = stored(net.classes).tolist()
    labels = None if classes is None else _labels(classes, net.out_features)
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
    layers[-1] = _sorted_outputs(*layers[-1], labels)
    estimator = _fitted(MLPClassifier(**options), layers, "logistic" if len(labels) == 2 else "softmax")
    estimator._label_binarizer = LabelBinarizer().fit(labels)
    estimator.classes_ = estimator._label_binarizer.classes_
    return estimator


def _hidden_activation(net: NN) -> str:
    """Of all hidden layers, as scikit-learn calls it."""
    allowed = f"one of {', '.join(_ACTIVATIONS)}, the same in all hidden layers, for scikit-learn"
    names = [activation.name for activation in net.activations[:-1]]
    if len(set(names)) > 1 or not _ACTIVATIONS.keys() >= set(names):
        raise check.reject("net.activations", allowed, ", ".join(dict.fromkeys(names)))
    return _ACTIVATIONS[names[0]] if names else "identity"


def _check_output(net: NN, labels: Array | None) -> None:
    """Accept logits, or the probability of the second of two classes."""
    name = net.activations[-1].name
    is_probability = name == "sigmoid" and labels is not None and net.out_features == 1
    if name != "identity" and not is_probability:
        allowed = "identity, or sigmoid for a single output with classes, for scikit-learn"
        raise check.reject("net.activations[-1], the output activation,", allowed, name)


def _labels(classes: Iterable[object], out_features: int) -> Array:
    """The classes as an array, in the order of the outputs."""
    allowed = "distinct texts, booleans or whole numbers, in the order of the outputs"
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
    """The last layer for labels in ascending order; of two labels, the logit of the second."""
    order = labels.argsort()
    if len(labels) > 2:
        return W[order], b[order]
    if len(b) == 2:
        return W[order[1:]] - W[order[:1]], b[order[1:]] - b[order[:1]]
    return (W, b) if order[1] == 1 else (-W, -b)


def _fitted(estimator: Any, layers: list[tuple[Array, Array]], out_activation: str) -> Any:
    """The estimator with all that its `fit` would have set; as before the first step of training, no loss."""
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
