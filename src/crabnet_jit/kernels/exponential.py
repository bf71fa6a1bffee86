"""exp(x) for vectors."""

import math
from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import fma, maximum, power_of_two, splat, where

_LOG2_E = 1 / math.log(2)
# ln 2 in two parts: the first has so few digits that k times it is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_ROUND = 1.5 * 2.0**52  # adding and subtracting it leaves a whole number
_LEAST, _MOST = -746.0, 710.0  # beyond, exp is 0 and infinity

_C2, _C3, _C4, _C5, _C6, _C7 = (1 / math.factorial(n) for n in range(2, 8))
_C8, _C9, _C10, _C11, _C12, _C13 = (1 / math.factorial(n) for n in range(8, 14))


@kernel
def exp(like: Any, x: Any) -> Any:
    """exp(x) for a vector of float64; `like` is an array of that type. NaN stays NaN.

    With x = k ln 2 + r and |r| <= ln(2) / 2, exp(x) = 2**k exp(r). The Taylor series of exp(r)
    up to r**13 leaves out less than 5e-18.
    """
    x = maximum(splat(like, _LEAST), x)
    x = where(x > splat(like, _MOST), splat(like, _MOST), x)
    k = fma(x, splat(like, _LOG2_E), splat(like, _ROUND)) - splat(like, _ROUND)
    r = fma(k, splat(like, -_LN2_LOW), fma(k, splat(like, -_LN2_HIGH), x))
    p = fma(r, splat(like, _C13), splat(like, _C12))
    p = fma(r, p, splat(like, _C11))
    p = fma(r, p, splat(like, _C10))
    p = fma(r, p, splat(like, _C9))
    p = fma(r, p, splat(like, _C8))
    p = fma(r, p, splat(like, _C7))
    p = fma(r, p, splat(like, _C6))
    p = fma(r, p, splat(like, _C5))
    p = fma(r, p, splat(like, _C4))
    p = fma(r, p, splat(like, _C3))
    p = fma(r, p, splat(like, _C2))
    p = fma(r, p, splat(like, 1.0))
    p = fma(r, p, splat(like, 1.0))
    # In two steps, for results that are no normal numbers.
    half = fma(k, splat(like, 0.5), splat(like, _ROUND)) - splat(like, _ROUND)
    return p * power_of_two(half) * power_of_two(k - half)
