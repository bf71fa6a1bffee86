"""Samples and expected results of an exported network, for a test where it is used."""

import itertools
from typing import NamedTuple

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.exchange.common import exportable
from crabnet_jit.kernels.structs import SOFTMAX, TWO_CLASSES
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import probabilities

_N_RANDOM = 32
_MOST_CORNERS = 16
_MOST_NUMBERS = 2000  # in all samples, and in all derivatives
_N_DRAWS = 8  # networks that differ in the last digit
_SLACK = 16  # tolerance, relative to the largest difference of those


class Samples(NamedTuple):
    """Values to compare: x (n_samples, n_in), y, and the largest difference for each output.

    The derivatives (n, k, n_in) are those of the first k outputs at the first n samples, with a tolerance for
    each entry.
    """

    x: Array
    y: Array
    tolerance: Array
    dy_dx: Array
    tolerance_of_derivatives: Array


def samples_of(net: NN) -> Samples:
    """Random samples and corners of the box of the training data, then NaN and infinity.

    Exported code rounds in a different order than the network. That may change results by about as much as
    changing each of the network's numbers, and each slope, in its last digit.
    """
    rng = np.random.default_rng(0)
    low, high = _box(net)
    n_in, n_values = net.in_features, net.schema.n_values(net.out_features)
    n_random = max(min(_N_RANDOM, _MOST_NUMBERS // n_in), 4)
    x = _rounded(np.vstack([rng.uniform(low, high, (n_random, n_in)), _corners(low, high, rng)]), net)
    n_outputs = max(min(n_values, _MOST_NUMBERS // n_in), 1)
    n = max(min(len(x), _MOST_NUMBERS // (n_outputs * n_in)), 1)
    truth, eps = exportable(net, np.float64), float(np.finfo(net.dtype).eps)
    others = [_changed(truth, eps, rng) for _ in range(_N_DRAWS)]
    special = _special(x[0])
    with np.errstate(all="ignore"):
        y, dy_dx = values(truth, x), derivatives(truth, x[:n])[:, :n_outputs]
        other_slopes = [derivatives(other, x[:n], eps, rng)[:, :n_outputs] for other in others]
        return Samples(
            np.vstack([x, special]),
            np.vstack([y, values(truth, special)]),
            _tolerance(y, [values(other, x) for other in others], net),
            dy_dx,
            _tolerance(dy_dx, other_slopes, net),
        )


def values(net: NN, x: Array) -> Array:
    """Predictions or probabilities (n_samples, n_values) for any x, including NaN and infinity."""
    with np.errstate(all="ignore"):
        units, link = net.standardization, net.schema.link(net.out_features)
        h = x if units is None else units.inputs(x)
        for layer, activation in zip(net.layers, net.activations, strict=True):
            h = activation._forward(layer._forward(h))
        if net.schema.labels is not None:
            return probabilities(link, h)
        return net.schema.meanings(h if units is None else units.outputs(h))


def derivatives(net: NN, x: Array, eps: float = 0.0, rng: np.random.Generator | None = None) -> Array:
    """dy/dx (n_samples, n_values, n_in) of predictions or probabilities.

    With a generator, the slopes of activations and the probabilities have errors of about eps.
    """

    def rounded(slopes: Array, scale: Array | float = 1.0) -> Array:
        return slopes if rng is None else slopes + eps * scale * rng.normal(size=slopes.shape)

    units, link = net.standardization, net.schema.link(net.out_features)
    h = x if units is None else units.inputs(x)
    dh_dx: Array = np.eye(net.in_features)[None] if units is None else np.diag(1 / units.x_std)[None]
    for layer, activation in zip(net.layers, net.activations, strict=True):
        h, slopes = activation._values(layer._forward(h))
        dh_dx = rounded(slopes)[:, :, None] * (layer.W @ dh_dx)
    if net.schema.labels is None:
        dy_dx = dh_dx if units is None else dh_dx * units.y_std[:, None]
        first = net.schema.first_power(net.out_features)
        y = net.schema.meanings(h if units is None else units.outputs(h))[:, first:]
        return np.hstack([dy_dx[:, :first], rounded(y, y)[:, :, None] * dy_dx[:, first:]])
    p = probabilities(link, h)
    if link == SOFTMAX:
        p = rounded(p, p)[:, :, None]
        return np.asarray(p * (dh_dx - (p * dh_dx).sum(axis=1, keepdims=True)))
    slope = probabilities(TWO_CLASSES, h.reshape(-1, 1)).prod(axis=1)  # p (1 - p)
    dp_dx = slope.reshape(len(x), -1, 1) * dh_dx
    return np.hstack([-dp_dx, dp_dx]) if link == TWO_CLASSES else dp_dx


def _box(net: NN) -> tuple[Array, Array]:
    """The box for samples."""
    if net.domain is not None:
        return net.domain.low, net.domain.high
    if net.standardization is not None:
        mean, std = net.standardization.x_mean, net.standardization.x_std
        return mean - 2 * std, mean + 2 * std
    return np.full(net.in_features, -1.0), np.full(net.in_features, 1.0)


def _corners(low: Array, high: Array, rng: np.random.Generator) -> Array:
    """All corners of a box, or some if there are many."""
    n_in = len(low)
    if 2**n_in <= _MOST_CORNERS:
        is_high = np.array([*itertools.product([False, True], repeat=n_in)])
    else:
        is_high = rng.random((4, n_in)) < 0.5
    return np.where(is_high, high, low)


def _special(x: Array) -> Array:
    """A sample with NaN in its first or last input, or with infinite ones."""
    rows = np.repeat(x[None], 4, axis=0)
    rows[0, 0] = rows[1, -1] = np.nan
    rows[2], rows[3] = np.inf, -np.inf
    return rows


def _rounded(x: Array, net: NN) -> Array:
    """Numbers that the exported code can represent."""
    return x.astype(net.dtype).astype(np.float64)


def _changed(net: NN, eps: float, rng: np.random.Generator) -> NN:
    """The network with its numbers changed by about eps, relative to their size."""

    def change(numbers: Array) -> Array:
        return np.asarray(numbers * (1 + eps * rng.normal(size=numbers.shape)))

    other = exportable(net)
    other.parameters = change(net.parameters)
    units = net.standardization
    if units is not None:
        other.standardization = Standardization(
            units.x_mean, change(units.x_std), change(units.y_mean), change(units.y_std)
        )
    return other


def _tolerance(truth: Array, others: list[Array], net: NN) -> Array:
    """A tolerance for each output or derivative: the largest change, and some units in the last place."""
    change = np.max([np.abs(other - truth).max(axis=0) for other in others], axis=0)
    smallest = np.finfo(net.dtype).tiny
    tolerance = _SLACK * (change + np.finfo(net.dtype).eps * np.abs(truth).max(axis=0) + smallest)
    return np.where(np.isnan(tolerance), np.inf, tolerance)  # for results that overflow
