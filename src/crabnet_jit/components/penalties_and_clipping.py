"""Penalties on a loss and limits on its gradient, as an object on top of its kernel."""

import math

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.base import Component
from crabnet_jit.kernels.penalties_and_clipping import CLIP_NORM, CLIP_VALUE, L1, L2


class Penalties(Component):
    """Penalties on all parameters, including biases, and then limits on the gradient.

    Parameters
    ----------
    l1, l2 : float, default 0.0
        At least 0. They add l1 * sign(p) + l2 * p to the gradient of every parameter p, as a penalty
        `l1 * |p| + l2 / 2 * p^2` would.
    clip_value, clip_norm : float, optional
        Above 0. The largest absolute value of a component of the gradient, then its largest Euclidean norm.
    """

    @check.keywords
    def __init__(
        self,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.l1 = check.number("l1", l1, 0.0)
        self.l2 = check.number("l2", l2, 0.0)
        self.clip_value = _limit("clip_value", clip_value)
        self.clip_norm = _limit("clip_norm", clip_norm)

    def numbers(self) -> Array:
        """The numbers that kernels read (kernels/penalties_and_clipping.py)."""
        numbers = np.zeros(4)
        numbers[L1], numbers[L2] = self.l1, self.l2
        for at, limit in ((CLIP_VALUE, self.clip_value), (CLIP_NORM, self.clip_norm)):
            numbers[at] = math.inf if limit is None else limit
        return numbers


def _limit(name: str, value: float | None) -> float | None:
    return None if value is None else check.number(name, value, 0.0, open_low=True)
