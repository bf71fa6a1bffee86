"""exp(x) and exp(x) - 1 for vectors.

With x = k ln 2 + r, k whole and |r| <= ln(2) / 2, exp(x) = 2**k exp(r), and the Taylor series of
exp(r) is short: up to r**13 (r**7) it leaves out less than 5e-18 (5e-9).
"""

import math
from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import by_type, fma, maximum, nearest, polynomial, power_of_two, where

_LOG2_E = 1 / math.log(2)
# ln 2 in two parts: the first has so few digits that k times it is exact.
LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.62e4p-1")
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33"), float.fromhex("0x1.7f7d1cf79abcap-20")
_LEAST, _MOST = (-746.0, -104.0), (710.0, 89.0)  # beyond, exp is 0 and infinity
_LEAST_M1 = -40.0  # below, exp(x) - 1 is -1
_SERIES_64 = tuple(1 / math.factorial(n) for n in range(14))
_SERIES_32 = tuple(1 / math.factorial(n) for n in range(8))
_SERIES_FROM_2_64, _SERIES_FROM_2_32 = _SERIES_64[2:], _SERIES_32[2:]


@kernel
def exp(x: Any) -> Any:
    """exp(x) within 1 ulp. NaN stays NaN."""
    x = maximum(by_type(x, _LEAST[0], _LEAST[1]), x)
    x = where(x > by_type(x, _MOST[0], _MOST[1]), by_type(x, _MOST[0], _MOST[1]), x)
    k, r = _reduce(x)
    p = polynomial(r, by_type(x, _SERIES_64, _SERIES_32))
    # In two steps, for results that are no normal numbers.
    half = nearest(0.5 * k)
    return p * power_of_two(half) * power_of_two(k - half)


@kernel
def expm1(x: Any) -> Any:
    """exp(x) - 1 within 2 ulp. NaN stays NaN.

    exp(x) - 1 = 2**k (exp(r) - 1) + (2**k - 1); half of it is computed, since 2**k may be too large.
    """
    x = maximum(_LEAST_M1, x)
    x = where(x > by_type(x, _MOST[0], _MOST[1]), by_type(x, _MOST[0], _MOST[1]), x)
    k, r = _reduce(x)
    p = fma(r * r, polynomial(r, by_type(x, _SERIES_FROM_2_64, _SERIES_FROM_2_32)), r)
    half_power = power_of_two(k - 1.0)
    return 2.0 * fma(p, half_power, half_power - 0.5)


@kernel
def _reduce(x: Any) -> Any:
    """k and r with x = k ln 2 + r."""
    k = nearest(_LOG2_E * x)
    r = fma(k, by_type(x, -LN2_HIGH[0], -LN2_HIGH[1]), x)
    return k, fma(k, by_type(x, -LN2_LOW[0], -LN2_LOW[1]), r)
