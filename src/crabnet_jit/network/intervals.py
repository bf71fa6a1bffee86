"""Intervals that should contain a share of new data, their level: from quantiles and normal variables."""

import importlib
from collections.abc import Sequence
from itertools import combinations

from crabnet_jit import check
from crabnet_jit.arrays import Array

NINE_OF_TEN = 0.9
_ROUNDING = 1e-9  # the error that two quantiles of a level may have


def levels_of(quantiles: Sequence[float]) -> list[float]:
    """The levels of the pairs q and 1 - q, in ascending order."""
    pairs = [(low, high) for low, high in combinations(quantiles, 2) if abs(low + high - 1) < _ROUNDING]
    return sorted(round(high - low, 9) for low, high in pairs)


def places_of(level: float, quantiles: Sequence[float]) -> tuple[int, int]:
    """The indices of the two quantiles of this level."""
    places = []
    for wanted in ((1 - level) / 2, (1 + level) / 2):
        near = [k for k, q in enumerate(quantiles) if abs(q - wanted) < _ROUNDING]
        if not near:
            there = ", ".join(f"{q:g}" for q in quantiles)
            levels = [f"{found:g}" for found in levels_of(quantiles)]
            allowed = " or ".join(levels) or "the level of two of them, like 0.9 for 0.05 and 0.95,"
            raise check.reject("level", f"{allowed} for a network with the quantiles {there}", f"{level:g}")
        places.append(near[0])
    return places[0], places[1]


def deviations_of(level: float) -> float:
    """The number of standard deviations within which a normal variable lies with this probability."""
    normal = importlib.import_module("statistics").NormalDist()
    return float(-normal.inv_cdf((1 - level) / 2))


def by_target(values: Array, n_targets: int) -> Array:
    """The values of all outputs as (n_samples, n_targets, n_quantiles)."""
    return values.reshape(len(values), -1, n_targets).swapaxes(1, 2)


def crossings(of_targets: Array) -> int:
    """The number of neighbouring quantiles (n_samples, n_targets, n_quantiles) in the wrong order."""
    return int((of_targets[:, :, 1:] < of_targets[:, :, :-1]).sum())
