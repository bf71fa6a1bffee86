"""sin(x) and cos(x) for vectors.

With x = k pi / 2 + r, k whole and |r| <= pi / 4, both are plus or minus sin(r) or cos(r), whose Taylor
series up to r**17 and r**16 (r**9 and r**10) leave out less than 3e-18 (2e-9).
"""

import math
from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import absolute, by_type, fma, nearest, polynomial, where

# pi / 2 as a sum of three float64, and of three float32.
_PI_2_64 = tuple(
    map(float.fromhex, ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110"))
)
_PI_2_32 = tuple(map(float.fromhex, ("0x1.921fb6p+0", "-0x1.777a5cp-25", "-0x1.ee59dap-50")))
_SINE_64 = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(1, 9))
_SINE_32 = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(1, 5))
_COSINE_64 = tuple((-1) ** n / math.factorial(2 * n) for n in range(9))
_COSINE_32 = tuple((-1) ** n / math.factorial(2 * n) for n in range(6))
# Quarters of a turn up to which k is right, or one off; from there on neighbouring numbers are too far apart.
_MOST_QUARTERS = 2.0**50, 2.0**21


@kernel
def sin_cos(x: Any) -> Any:
    """sin(x) and cos(x) within 2 ulp for |x| up to 1e9 (1e4).

    Beyond, the error grows to some units of 1e-16 (1e-7); from 1.7e15 (3.2e6) on, and for NaN, both are NaN.
    """
    k = nearest(x * (2 / math.pi))
    k = where(absolute(k) > by_type(x, _MOST_QUARTERS[0], _MOST_QUARTERS[1]), math.nan, k)
    parts = by_type(x, _PI_2_64, _PI_2_32)
    r = fma(k, -parts[2], fma(k, -parts[1], fma(k, -parts[0], x)))
    z = r * r
    sine = fma(r * z, polynomial(z, by_type(x, _SINE_64, _SINE_32)), r)
    cosine = polynomial(z, by_type(x, _COSINE_64, _COSINE_32))
    quarter = k - 4.0 * nearest(0.25 * k)  # -2, -1, 0, 1 or 2
    sign = 1.0 - absolute(quarter)  # of even quarters; 0 in odd ones
    even = absolute(sign) > 0.5
    return where(even, sign * sine, quarter * cosine), where(even, sign * cosine, -quarter * sine)
