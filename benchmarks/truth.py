"""Networks in plain NumPy with more digits: the truth for compiled code and exported files."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import (
    ELU,
    GELU,
    NN,
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
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.labels import Labels
from crabnet_jit.network.schema import Schema

LONG = np.longdouble


def _erf(x: Any) -> Any:
    """2 / sqrt(pi) x exp(-x^2) (1 + 2 x^2 / 3 + (2 x^2)^2 / (3 5) + …); beyond 7 it is 1 or -1 here."""
    near = np.clip(x, -7, 7)
    term = total = np.ones_like(near)
    for n in range(1, 300):
        term = term * 2 * near**2 / (2 * n + 1)
        total = total + term
    return np.clip(2 / np.sqrt(LONG(np.pi)) * near * np.exp(-(near**2)) * total, -1, 1)


def _logistic(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x > 0, 1 / (1 + e), e / (1 + e))


_TWO_BY_PI = np.sqrt(2 / (4 * np.arctan(LONG(1))))
#: Objects, and functions of numbers of any precision.
FORMULAS: list[tuple[Any, Callable[[Any], Any]]] = [
    (Identity(), lambda x: x),
    (ReLU(), lambda x: np.maximum(x, 0)),
    (LeakyReLU(0.1), lambda x: np.where(x > 0, x, LONG(0.1) * x)),
    (ELU(1.5), lambda x: np.where(x > 0, x, LONG(1.5) * np.expm1(np.minimum(x, 0)))),
    (GELU(), lambda x: x * (1 + _erf(x / np.sqrt(LONG(2)))) / 2),
    (GELU("tanh"), lambda x: x * _logistic(2 * _TWO_BY_PI * (x + LONG(0.044715) * x**3))),
    (SiLU(), lambda x: x * _logistic(x)),
    (Tanh(), np.tanh),
    (Sigmoid(), _logistic),
    (Softplus(), lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))),
    (Sine(3.0), lambda x: np.sin(3 * x)),
]


def exact(net: NN, formulas: list[Callable[[Any], Any]], x: Any) -> Any:
    """Outputs (n_samples, n_out) in long double, in the units of the data."""
    units = net.standardization
    h = x.astype(LONG) if units is None else (x - units.x_mean.astype(LONG)) / units.x_std
    for layer, formula in zip(net.layers, formulas, strict=True):
        h = formula(h @ layer.W.T.astype(LONG) + layer.b.T)
    return h if units is None else h * units.y_std.astype(LONG) + units.y_mean


def random_net(rng: np.random.Generator, dtype: Any, sizes: list[int]) -> tuple[NN, Any]:
    """A network with some of the activations, standardised or not, and its formulas."""
    chosen = [FORMULAS[k] for k in rng.integers(len(FORMULAS), size=len(sizes) - 1)]
    hidden, output = [a for a, _ in chosen[:-1]], chosen[-1][0]
    net = NN(sizes[0], sizes[1:-1], sizes[-1], 1, activation=hidden, output_activation=output, dtype=dtype)
    for layer in net.layers:
        layer.W[:] = rng.normal(size=layer.W.shape) / np.sqrt(layer.in_features)
        layer.b[:] = rng.normal(size=layer.b.shape)
    if rng.random() < 0.5:
        means, stds = rng.normal(size=sum((sizes[0], sizes[-1]))), rng.uniform(0.2, 5.0, sizes[0] + sizes[-1])
        n = sizes[0]
        net.standardization = Standardization(means[:n], stds[:n], means[n:], stds[n:])
    return net, [formula for _, formula in chosen]


class Case(NamedTuple):
    """A network of some task, its formulas in NumPy, and inputs around its data, in its type."""

    net: NN
    formulas: Any
    x: Any

    @property
    def shape(self) -> tuple[int, int]:
        return self.net.schema.n_values(self.net.out_features), self.net.in_features

    def truth(self) -> Any:
        """Predictions or probabilities in long double."""
        z = exact(self.net, self.formulas, self.x)
        task, n_out = self.net.schema.task, self.net.out_features
        if task == "regression":
            return z
        if task == "classification" and n_out > 1:
            e = np.exp(z - z.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
        return 1 / (1 + np.exp(-(np.hstack([-z, z]) if task == "classification" else z)))


def _make_classifier(net: NN) -> None:
    """Make it a classifier: with several classes, with two, or with labels that apply or not."""
    n_out = net.out_features
    task = "classification" if n_out != 2 else "multilabel"
    net.schema = Schema(labels=Labels(np.arange(max(n_out, 2))), task=task)
    if net.standardization is not None:
        net.standardization = net.standardization._replace(y_mean=np.zeros(n_out), y_std=np.ones(n_out))


def random_case(k: int, n_samples: int = 100) -> Case:
    """The k-th one: float64 and float32 in turns, to three hidden layers, a third classifiers."""
    rng = np.random.default_rng(k)
    dtype = (np.float64, np.float32)[k % 2]
    hidden = rng.integers(1, 24, size=k // 2 % 4)
    sizes = [int(n) for n in (rng.integers(1, 6), *hidden, rng.integers(1, 5))]
    net, formulas = random_net(rng, dtype, sizes)
    x = rng.normal(size=(n_samples, net.in_features))
    if net.standardization is not None:
        x = net.standardization.x_mean + x * net.standardization.x_std
    if k % 3 == 0:
        _make_classifier(net)
    if k % 5 < 2:
        net.domain = Domain.of(x, np.ones(n_samples))
    return Case(net, formulas, x.astype(dtype).astype(np.float64))
