"""The derivatives given to a fit: those of the samples to train on, and whether y contradicts them."""

import warnings
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.derivatives import known_derivatives
from crabnet_jit.data.moments import moments
from crabnet_jit.fitting.data_set import Parts
from crabnet_jit.fitting.understanding import Data

_MOST_SAMPLES = 1000  # samples to compare, each with its nearest neighbour
_PAIRS_FOR_EACH = 10  # pairs that each input needs; fewer are not conclusive
_EXPLAINED = 0.98  # share of the differences of y that must follow from dy, up to factors
_FACTORS = 0.5, 2.0  # factors in between are not conclusive
_STANDARD_ERRORS = 10.0  # by which a factor must differ from 1


def derivatives_for(dy: Any, data: Data, parts: Parts) -> Array:
    """The derivatives (n_samples, n_out, n_in) at the samples to train on, from a user's dy."""
    if not data.loss.is_regression:
        raise check.reject("dy", "left out for classes", f"an array, with the loss {data.loss.name}")
    columns = data.schema.columns
    if columns is not None and not columns.are_numbers:
        allowed = "left out if a column of x has strings or categories, which have no derivatives"
        raise check.reject("dy", allowed, "an array")
    inputs, targets, weights = parts.training
    given = known_derivatives(dy, data.is_kept.size, targets.shape[1], inputs.shape[1])
    derivatives: Array = given[data.is_kept][parts.training_rows]
    _warn_of_other_units(inputs, targets, derivatives, weights)
    return derivatives


def _warn_of_other_units(inputs: Array, targets: Array, derivatives: Array, weights: Array) -> None:
    """Compare differences of neighbours' targets with the derivatives; warn of a different unit or sign.

    Between neighbours a and b, y_b - y_a is about half the sum of both derivatives times x_b - x_a. Least
    squares give a factor for each input, which is 1 if dy is right. If targets are too noisy or samples too
    far apart for that, there is no warning.
    """
    for o in range(targets.shape[1]):
        is_known = ~np.isnan(derivatives[:, o]).any(axis=1) & ~np.isnan(targets[:, o]) & (weights > 0)
        n_known, n_in = int(is_known.sum()), inputs.shape[1]
        if n_known < _PAIRS_FOR_EACH * n_in:
            continue
        rows = np.flatnonzero(is_known)[:: -(-n_known // _MOST_SAMPLES)]
        x, y, slopes = inputs[rows], targets[rows, o], derivatives[rows, o]
        _, std, is_constant = moments(x)
        scaled = x / np.where(is_constant, 1.0, std)
        other = _nearest(scaled)
        rises = 0.5 * (slopes + slopes[other]) * (x[other] - x)
        factors, errors, explained = _factors(rises, y[other] - y)
        low, high = _FACTORS
        is_other = (np.abs(factors - 1.0) > _STANDARD_ERRORS * errors) & ((factors < low) | (factors > high))
        if explained > _EXPLAINED and is_other.any():
            k = int(is_other.argmax())
            of_output = "" if targets.shape[1] == 1 else f" of output {o}"
            looks = "does not look like"
            if abs(factors[k]) > _STANDARD_ERRORS * errors[k]:
                looks = f"looks like {1.0 / factors[k]:.2g} times"
            warnings.warn(
                f"dy{of_output} with respect to input {k} {looks} the derivative of y: is it in units of y "
                "per unit of x, of the right sign, and in the order of the inputs?",
                RuntimeWarning,
                stacklevel=5,
            )
            return


def _nearest(x: Array) -> Any:
    """The nearest neighbour of each sample."""
    distances = ((x[:, None] - x) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return distances.argmin(axis=1)


def _factors(rises: Array, differences: Array) -> tuple[Array, Array, float]:
    """Each input's least-squares factor and its standard error, and the share that the factors explain."""
    scale = np.abs(rises).max(axis=0)
    is_flat = scale == 0.0  # which is not conclusive
    scale[is_flat] = 1.0
    A = rises / scale
    inverse = np.linalg.pinv(A.T @ A)
    factors = inverse @ (A.T @ differences)
    rest, total = ((differences - A @ factors) ** 2).sum(), (differences**2).sum()
    freedom = max(1, len(A) - A.shape[1])
    errors = np.where(is_flat, np.inf, np.sqrt(np.diag(inverse) * rest / freedom))
    return factors / scale, errors / scale, 1.0 - rest / total if total > 0.0 else 0.0
