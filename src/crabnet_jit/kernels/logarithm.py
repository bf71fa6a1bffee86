"""log(x) and log(1 + x) for vectors.

With x = 2**k (1 + f) and 1 + f between sqrt(1/2) and sqrt(2), log(x) = k ln 2 + log(1 + f), and in
s = f / (2 + f), log(1 + f) = 2 s (1 + s**2 / 3 + s**4 / 5 + ...) = f - s (f - 2 s**2 (1/3 + s**2 / 5 + ...)).
The terms up to s**23 (s**11) leave out less than 1e-17 (1e-8) of it.
"""

import math
from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.exponential import LN2_HIGH, LN2_LOW
from crabnet_jit.kernels.vector import by_type, exponent, fma, polynomial, power_of_two, where

_SERIES_64 = tuple(2 / n for n in range(3, 24, 2))
_SERIES_32 = tuple(2 / n for n in range(3, 12, 2))


@kernel
def log(x: Any) -> Any:
    """log(x) within 1 ulp, for x from 2**-1022 to 2**1022 (2**-126 to 2**126). NaN stays NaN."""
    k = exponent(x)
    m = x * power_of_two(-k)
    k = where(m > math.sqrt(2), k + 1.0, k)
    f = where(m > math.sqrt(2), 0.5 * m, m) - 1.0
    s = f / (2.0 + f)
    z = s * s
    correction = s * (f - z * polynomial(z, by_type(x, _SERIES_64, _SERIES_32)))
    low = fma(k, by_type(x, LN2_LOW[0], LN2_LOW[1]), -correction)
    return fma(k, by_type(x, LN2_HIGH[0], LN2_HIGH[1]), f + low)


@kernel
def log1p(x: Any) -> Any:
    """log(1 + x) within 2 ulp, for x from 0 to 2**1022 (2**126). NaN stays NaN."""
    w = 1.0 + x
    return log(w) + (x - (w - 1.0)) / w
