"""Penalties on parameters, and limits on gradients."""

import math

import numpy as np

from crabnet_jit.arrays import Flat, Number
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import fma, lanes, load, splat, sum_lanes
from crabnet_jit.machine.view import matrix, part

L1, L2, CLIP_VALUE, CLIP_NORM, CONSTANTS = range(5)  # from CONSTANTS on: those of the loss
_MIN_SUM_OF_SQUARES = 1e-30  # below this, squares in float32 may have underflowed


@kernel
def constants_of(numbers: Flat) -> Flat:
    """The constants in the loss."""
    return part(numbers, CONSTANTS, numbers.size - CONSTANTS)


@kernel
def penalty(parameters: Flat, settings: Flat) -> Number:
    """L1 sum(|p|) + L2 / 2 sum(p^2)."""
    sizes = squares = 0.0
    for k in range(parameters.size):
        p = np.float64(parameters[k])
        sizes += abs(p)
        squares += p * p
    return settings[L1] * sizes + 0.5 * settings[L2] * squares


@kernel
def penalize(parameters: Flat, gradients: Flat, settings: Flat) -> float:
    """Add the gradient of the penalty to `gradients`, then clip them. Return 0.

    First every component is clipped to [-CLIP_VALUE, CLIP_VALUE], then the norm of all to CLIP_NORM.
    """
    number = parameters.dtype.type
    zero, l1, l2, most = number(0), number(settings[L1]), number(settings[L2]), number(settings[CLIP_VALUE])
    for k in range(parameters.size):
        p = parameters[k]
        g = gradients[k] + l2 * p + (l1 if p > zero else (-l1 if p < zero else zero))
        gradients[k] = most if g > most else (-most if g < -most else g)
    if settings[CLIP_NORM] < math.inf:
        unit, root = _norm(gradients)
        limit = settings[CLIP_NORM] / unit
        if root > limit:
            scale = number(limit / root)
            for k in range(parameters.size):
                gradients[k] *= scale
    return 0.0


@kernel
def _norm(x: Flat) -> tuple[Number, Number]:
    """A unit, and the Euclidean norm of x in this unit.

    The unit is 1, or the largest absolute value in x if squares would overflow or underflow.
    """
    total = np.float64(_sum_squares(x))
    if _MIN_SUM_OF_SQUARES < total < math.inf:
        return 1.0, math.sqrt(total)
    largest = 0.0
    for k in range(x.size):
        largest = max(largest, abs(np.float64(x[k])))
    if not 0.0 < largest < math.inf:
        return 1.0, largest
    of_relative = 0.0
    for k in range(x.size):
        relative = np.float64(x[k]) / largest
        of_relative += relative * relative
    return largest, math.sqrt(of_relative)


@kernel
def _sum_squares(x: Flat) -> Number:
    n = x.size - x.size % lanes(x)
    rows = matrix(x, 0, 1, n)
    total = splat(x, 0.0)
    for s in range(0, n, lanes(x)):
        v = load(rows, 0, s)
        total = fma(v, v, total)
    rest = 0.0
    for k in range(n, x.size):
        rest += x[k] * x[k]
    return sum_lanes(total) + rest
