"""The article's target and the network that learns it, in `benchmarks.quality` and what it compares with."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

#: Trains a new network: iterations and seed to the seconds it took, and its outputs on the grid.
Fit: TypeAlias = Callable[[int, int], tuple[float, Any]]

HIDDEN = (16, 16)

_axis = np.linspace(-3, 3, 101)
GRID = np.stack(np.meshgrid(_axis, _axis), axis=-1).reshape(-1, 2)


def gaussian(x: Any) -> Any:
    """The target at the points x (n, 2)."""
    return 5 * np.exp(-0.5 * (x**2).sum(axis=1))


def grid_error(outputs: Any) -> float:
    """The mean squared error of the outputs on the grid."""
    return float(np.mean((np.asarray(outputs).ravel() - gaussian(GRID)) ** 2))
