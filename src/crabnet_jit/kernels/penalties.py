"""What is done to gradients between the backward pass and the update."""

import math
from typing import Any

from crabnet_jit.kernels._jit import kernel

L1, L2, CLIP_VALUE, CLIP_NORM = range(4)


@kernel
def penalize(parameters: Any, gradients: Any, settings: Any) -> float:
    """Return L1 sum(|p|) + L2 / 2 sum(p^2), and add its gradient to `gradients`; then clip those.

    First every component to [-CLIP_VALUE, CLIP_VALUE], then the norm of all to CLIP_NORM.
    """
    number = parameters.dtype.type
    zero, l1, l2, most = number(0), number(settings[L1]), number(settings[L2]), number(settings[CLIP_VALUE])
    penalty = squares = 0.0
    for k in range(parameters.size):
        p = parameters[k]
        penalty += l1 * abs(p) + number(0.5) * l2 * p * p
        g = gradients[k] + l2 * p
        g += l1 if p > zero else (-l1 if p < zero else zero)
        g = most if g > most else (-most if g < -most else g)
        gradients[k] = g
        squares += g * g
    norm = math.sqrt(squares)
    if norm > settings[CLIP_NORM]:
        scale = number(settings[CLIP_NORM] / norm)
        for k in range(parameters.size):
            gradients[k] *= scale
    return penalty
