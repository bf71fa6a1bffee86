"""Mean and standard deviation of features; only this module decides what is constant."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.arrays import Array

# Equal values, each rounded once or twice, may differ by this many units in the last place of the largest.
_ROUNDING_UNITS = 4


class Moments(NamedTuple):
    """The mean and standard deviation of each feature (0 if it is constant), and whether it is constant."""

    mean: Array
    std: Array
    is_constant: NDArray[np.bool_]


def moments(values: Array, weights: Array | None = None) -> Moments:
    """Moments of values (n_samples, n_features), each sample with a weight if there are weights (n_samples,).

    A feature is constant if its values differ by no more than their own rounding errors, 4 units in the last
    place of the largest. Values are taken relative to the first one and scaled before they are squared. So a
    small variation around a large mean counts, samples of weight 0 do not, and neither 1e-200 underflows nor
    1e200 overflows. Values that are NaN are unknown and do not count.
    """
    if weights is not None:
        values, weights = values[weights > 0], weights[weights > 0]
    if np.isnan(values).any():
        return _of_known(values, weights)
    largest = np.abs(values).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    relative = values / scale
    offset = relative[0]
    shifted = relative - offset
    is_constant = np.ptp(shifted, axis=0) <= _ROUNDING_UNITS * np.finfo(values.dtype).eps
    spread = np.where(is_constant, 1.0, np.abs(shifted).max(axis=0))
    unit = shifted / spread
    mean = np.average(unit, axis=0, weights=weights)
    std = np.sqrt(np.average((unit - mean) ** 2, axis=0, weights=weights))
    std = np.where(is_constant, 0.0, std * spread * scale)
    is_constant |= std == 0  # it may underflow
    return Moments((offset + np.where(is_constant, 0.0, mean * spread)) * scale, std, is_constant)


def _of_known(values: Array, weights: Array | None) -> Moments:
    """The moments of the known values, feature by feature; NaN for a feature without any."""
    parts = []
    for column in values.T:
        is_known = ~np.isnan(column)
        if is_known.any():
            parts.append(moments(column[is_known, None], None if weights is None else weights[is_known]))
        else:
            parts.append(Moments(np.full(1, np.nan), np.full(1, np.nan), np.ones(1, bool)))
    return Moments(*map(np.concatenate, zip(*parts, strict=True)))


def root_mean_square(values: Array, weights: Array | None = None) -> Array:
    """The weighted root mean square of each feature; values are scaled before they are squared."""
    largest = np.abs(values).max(axis=0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    result: Array = scale * np.sqrt(np.average((values / scale) ** 2, axis=0, weights=weights))
    return result
