"""Intervals that are to hold a share of new data, their level: of quantiles, and of normal variables."""

import importlib
from collections.abc import Sequence
from itertools import combinations

from crabnet_jit import check
from crabnet_jit.arrays import Array

NINE_OF_TEN = 0.9
_ROUNDING = 1e-9  # by which two quantiles may miss a level


def levels_of(quantiles: Sequence[float]) -> list[float]:
    """Those of the pairs q and 1 - q, the least first."""
    pairs = [(low, high) for low, high in combinations(quantiles, 2) if abs(low + high - 1) < _ROUNDING]
    return sorted(round(high - low, 9) for low, high in pairs)


def places_of(level: float, quantiles: Sequence[float]) -> tuple[int, int]:
    """Where among the quantiles those of this level are."""
    places = []
    for wanted in ((1 - level) / 2, (1 + level) / 2):
        near = [k for k, q in enumerate(quantiles) if abs(q - wanted) < _ROUNDING]
        if not near:
            there = ", ".join(f"{q:g}" for q in quantiles)
            levels = [f"{found:g}" for found in levels_of(quantiles)]
            allowed = " or ".join(levels) or "that of two of them, as 0.9 is of 0.05 and 0.95,"
            raise check.reject("level", f"{allowed} for a network of the quantiles {there}", f"{level:g}")
        places.append(near[0])
    return places[0], places[1]


def deviations_of(level: float) -> float:
    """How many standard deviations a normal variable stays within with this probability."""
    normal = importlib.import_module("statistics").NormalDist()
    return float(-normal.inv_cdf((1 - level) / 2))


def by_target(values: Array, n_targets: int) -> Array:
    """Values of all outputs as (n_samples, n_targets, n_quantiles)."""
    return values.reshape(len(values), -1, n_targets).swapaxes(1, 2)


def crossings(of_targets: Array) -> int:
    """How many neighbours among quantiles (n_samples, n_targets, n_quantiles) are in the wrong order."""
    return int((of_targets[:, :, 1:] < of_targets[:, :, :-1]).sum())
