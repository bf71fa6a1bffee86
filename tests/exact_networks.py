"""The truth for what leaves the package: random networks of every kind, computed with 50 digits by mpmath."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
from mpmath import mp, mpf

from crabnet_jit import (
    ELU,
    GELU,
    NN,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sine,
    Softplus,
    Standardization,
    Tanh,
)
from crabnet_jit.data.labels import Labels
from crabnet_jit.network.schema import Schema

mp.dps = 50


def _logistic(v: Any) -> Any:
    return 1 / (1 + mpmath.exp(-v))


#: Activations, and functions of one number of any precision. Numbers in them are those of float64.
FORMULAS: list[tuple[Activation, Callable[[Any], Any]]] = [
    (Identity(), lambda v: v),
    (ReLU(), lambda v: max(v, mpf(0))),
    (LeakyReLU(0.1), lambda v: v if v > 0 else mpf(0.1) * v),
    (ELU(1.5), lambda v: v if v > 0 else mpf(1.5) * mpmath.expm1(v)),
    (GELU(), lambda v: v * mpmath.erfc(-v / mpmath.sqrt(2)) / 2),
    (GELU("tanh"), lambda v: v * _logistic(2 * mpmath.sqrt(2 / mp.pi) * (v + mpf(0.044715) * v**3))),
    (SiLU(), lambda v: v * _logistic(v)),
    (Tanh(), mpmath.tanh),
    (Sigmoid(), _logistic),
    (Softplus(), lambda v: mpmath.log1p(mpmath.exp(v))),
    (Sine(3.0), lambda v: mpmath.sin(3 * v)),
]
#: Tasks and labels.
CLASSES: dict[str, tuple[str, list[Any]]] = {
    "texts": ("classification", ["blue", "green", "red"]),
    "two": ("classification", ["no", "yes"]),
    "whole numbers": ("classification", [-3, 0, 7]),
    "booleans": ("classification", [False, True]),
    "multilabel": ("multilabel", [0, 1, 2]),
}


def outputs_of(kind: str | None) -> int:
    """How many outputs tests give a network with such classes."""
    return 1 if kind in ("two", "booleans") else 3


def random_net(rng: Any, sizes: list[int], dtype: str = "float64", kind: str | None = None) -> NN:
    """A network with some of the activations, standardised or not; with a kind of classes, a classifier."""
    chosen = [FORMULAS[k][0] for k in rng.integers(len(FORMULAS), size=len(sizes) - 1)]
    output = chosen[-1] if kind is None else Identity()
    net = NN(
        sizes[0], sizes[1:-1], sizes[-1], 1, activation=chosen[:-1], output_activation=output, dtype=dtype
    )
    for layer in net.layers:
        layer.W[:] = rng.normal(size=layer.W.shape) / np.sqrt(layer.in_features)
        layer.b[:] = rng.normal(size=layer.b.shape)
    if rng.random() < 0.6:
        n_in, n_out = sizes[0], sizes[-1]
        y_mean, y_std = rng.normal(size=n_out), rng.uniform(0.2, 5.0, n_out)
        if kind is not None:
            y_mean, y_std = np.zeros(n_out), np.ones(n_out)
        net.standardization = Standardization(
            rng.normal(size=n_in), rng.uniform(0.2, 5.0, n_in), y_mean, y_std
        )
    if kind is not None:
        task, labels = CLASSES[kind]
        net.schema = Schema(labels=Labels(np.array(labels)), task=task)
    return net


def exact(net: NN, x: Any) -> list[list[Any]]:
    """Predictions, or probabilities of classes, of each sample in x (n_samples, in_features)."""
    return [_of_one(net, [mpf(float(v)) for v in row]) for row in x]


def _of_one(net: NN, h: list[Any]) -> list[Any]:
    units, functions = net.standardization, dict(FORMULAS)
    if units is not None:
        h = [(v - mean) / std for v, mean, std in zip(h, *_exact(units.x_mean, units.x_std), strict=True)]
    for layer, activation in zip(net.layers, net.activations, strict=True):
        W, (b,) = _exact(*layer.W), _exact(layer.b[:, 0])
        sums = [mpmath.fdot(row, h) + bias for row, bias in zip(W, b, strict=True)]
        h = [functions[activation](v) for v in sums]
    if net.classes is None:
        if units is None:
            return h
        return [v * std + mean for v, mean, std in zip(h, *_exact(units.y_mean, units.y_std), strict=True)]
    if net.schema.task == "multilabel":
        return [_logistic(v) for v in h]
    if len(h) == 1:
        return [_logistic(-h[0]), _logistic(h[0])]
    powers = [mpmath.exp(v) for v in h]
    return [v / mpmath.fsum(powers) for v in powers]


def _exact(*arrays: Any) -> list[list[Any]]:
    return [[mpf(float(v)) for v in array] for array in arrays]


def error(values: Any, truth: list[list[Any]]) -> float:
    """The largest difference, relative to the largest value."""
    differences = [
        abs(mpf(float(v)) - t)
        for row, true_row in zip(values, truth, strict=True)
        for v, t in zip(row, true_row, strict=True)
    ]
    return float(max(differences) / max(abs(t) for row in truth for t in row))


def error_of(net: NN, x: Any, truth: list[list[Any]]) -> float:
    """That of `predict`, or `predict_proba`; at least that of rounding to float64."""
    values = net.predict(x) if net.classes is None else net.predict_proba(x)
    return max(error(values.reshape(len(x), -1), truth), 2.0**-53)
