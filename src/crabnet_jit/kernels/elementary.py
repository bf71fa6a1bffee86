"""Elementary functions of vectors: exp, expm1, log, log1p, sin and cos, the normal distribution.

Each reduces its argument to a short interval, where truncating a series costs less than rounding. Figures in
brackets are for float32.
"""

import math

from crabnet_jit.arrays import Vector
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import (
    absolute,
    by_type,
    exponent,
    fma,
    maximum,
    nearest,
    polynomial,
    power_of_two,
    where,
)

# ---- exp(x) and exp(x) - 1
#
# With x = k ln 2 + r, k whole and |r| <= ln(2) / 2, exp(x) = 2**k exp(r), and the Taylor series of
# exp(r) is short: truncated after r**13 (r**7), its error is below 5e-18 (5e-9).

_LOG2_E = 1 / math.log(2)
# ln 2 in two parts: the first has few enough digits that k times it is exact.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.62e4p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33"), float.fromhex("0x1.7f7d1cf79abcap-20")
_LEAST, _LARGEST = (-746.0, -104.0), (710.0, 89.0)  # beyond these, exp is 0 or infinity
_LEAST_EXPM1 = -40.0  # below this, exp(x) - 1 is -1
_EXP_64 = tuple(1 / math.factorial(n) for n in range(14))
_EXP_32 = tuple(1 / math.factorial(n) for n in range(8))
EXPM1_64, EXPM1_32 = _EXP_64[2:], _EXP_32[2:]


@kernel
def exp(x: Vector) -> Vector:
    """exp(x) within 1 ulp. NaN stays NaN."""
    x = maximum(by_type(x, _LEAST[0], _LEAST[1]), x)
    largest = by_type(x, _LARGEST[0], _LARGEST[1])
    x = where(x > largest, largest, x)
    k, r = _reduce(x)
    p = polynomial(r, by_type(x, _EXP_64, _EXP_32))
    # In two steps, for results that are subnormal.
    half = nearest(0.5 * k)
    return p * power_of_two(half) * power_of_two(k - half)


@kernel
def expm1(x: Vector) -> Vector:
    """exp(x) - 1 within 2 ulp. NaN stays NaN.

    exp(x) - 1 = 2**k (exp(r) - 1) + (2**k - 1); half of it is computed, since 2**k may overflow.
    """
    x = maximum(_LEAST_EXPM1, x)
    largest = by_type(x, _LARGEST[0], _LARGEST[1])
    x = where(x > largest, largest, x)
    k, r = _reduce(x)
    p = fma(r * r, polynomial(r, by_type(x, EXPM1_64, EXPM1_32)), r)
    half_power = power_of_two(k - 1.0)
    return 2.0 * fma(p, half_power, half_power - 0.5)


@kernel
def _reduce(x: Vector) -> tuple[Vector, Vector]:
    """k and r with x = k ln 2 + r."""
    k = nearest(_LOG2_E * x)
    r = fma(k, by_type(x, -_LN2_HIGH[0], -_LN2_HIGH[1]), x)
    return k, fma(k, by_type(x, -_LN2_LOW[0], -_LN2_LOW[1]), r)


# ---- log(x) and log(1 + x)
#
# With x = 2**k (1 + f) and 1 + f between sqrt(1/2) and sqrt(2), log(x) = k ln 2 + log(1 + f), and in
# s = f / (2 + f), log(1 + f) = 2 s (1 + s**2 / 3 + s**4 / 5 + ...)
# = f - s (f - 2 s**2 (1/3 + s**2 / 5 + ...)).
# Truncated after s**23 (s**11), the relative error is below 1e-17 (1e-8).

_LOG_64 = tuple(2 / n for n in range(3, 24, 2))
_LOG_32 = tuple(2 / n for n in range(3, 12, 2))


@kernel
def log(x: Vector) -> Vector:
    """log(x) within 1 ulp, for x from 2**-1022 to 2**1022 (2**-126 to 2**126). NaN stays NaN."""
    k = exponent(x)
    m = x * power_of_two(-k)
    k = where(m > math.sqrt(2), k + 1.0, k)
    f = where(m > math.sqrt(2), 0.5 * m, m) - 1.0
    s = f / (2.0 + f)
    z = s * s
    correction = s * (f - z * polynomial(z, by_type(x, _LOG_64, _LOG_32)))
    low = fma(k, by_type(x, _LN2_LOW[0], _LN2_LOW[1]), -correction)
    return fma(k, by_type(x, _LN2_HIGH[0], _LN2_HIGH[1]), f + low)


@kernel
def log1p(x: Vector) -> Vector:
    """log(1 + x) within 2 ulp, for x from 0 to 2**1022 (2**126). NaN stays NaN."""
    w = 1.0 + x
    return log(w) + (x - (w - 1.0)) / w


# ---- sin(x) and cos(x)
#
# With x = k pi / 2 + r, k whole and |r| <= pi / 4, both are plus or minus sin(r) or cos(r), whose Taylor
# series, truncated after r**17 and r**16 (r**9 and r**10), have errors below 3e-18 (2e-9).

# pi / 2 as a sum of three float64, and of three float32.
_PI_2_64 = tuple(
    map(float.fromhex, ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110"))
)
_PI_2_32 = tuple(map(float.fromhex, ("0x1.921fb6p+0", "-0x1.777a5cp-25", "-0x1.ee59dap-50")))
_SINE_64 = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(1, 9))
_SINE_32 = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(1, 5))
_COSINE_64 = tuple((-1) ** n / math.factorial(2 * n) for n in range(9))
_COSINE_32 = tuple((-1) ** n / math.factorial(2 * n) for n in range(6))
# Quarter turns up to which k is right or off by one; beyond, neighbouring numbers are too far apart.
_MAX_QUARTERS = 2.0**50, 2.0**21


@kernel
def sin_cos(x: Vector) -> tuple[Vector, Vector]:
    """sin(x) and cos(x) within 2 ulp for |x| up to 1e9 (1e4).

    Beyond, the error grows to some units of 1e-16 (1e-7); from 1.7e15 (3.2e6) on, and for NaN, both are NaN.
    """
    k = nearest(x * (2 / math.pi))
    k = where(absolute(k) > by_type(x, _MAX_QUARTERS[0], _MAX_QUARTERS[1]), math.nan, k)
    parts = by_type(x, _PI_2_64, _PI_2_32)
    r = fma(k, -parts[2], fma(k, -parts[1], fma(k, -parts[0], x)))
    z = r * r
    sine = fma(r * z, polynomial(z, by_type(x, _SINE_64, _SINE_32)), r)
    cosine = polynomial(z, by_type(x, _COSINE_64, _COSINE_32))
    quarter = k - 4.0 * nearest(0.25 * k)  # -2, -1, 0, 1 or 2
    sign = 1.0 - absolute(quarter)  # in even quarters; 0 in odd ones
    even = absolute(sign) > 0.5
    return where(even, sign * sine, quarter * cosine), where(even, sign * cosine, -quarter * sine)


# ---- The standard normal distribution

NO_DENSITY_BEYOND = 40.0, 14.5  # beyond this, the density is 0
# exp(z^2) erfc(z) (1 + 2 z) in powers of t = (z - 3) / (z + 3), from its Chebyshev series for z >= 0.
# The error is below 2e-17 (7e-9); the value is between 1 and 1.26.
ERFC_64 = (
    1.2530080582697297, -0.13562110612458117, -0.047562294353450872, 0.12964515870276062,
    -0.11927366341530699, 0.068308027343978364, -0.023770514918646033, 0.0025293918160676614,
    0.0018886903591579427, -0.00077983227211851649, -0.00010515979982731201, 0.00012509935239942329,
    4.9494850445628483e-6, -2.0100568052582628e-5, -7.3151065785462644e-7, 3.4724148223874661e-6,
    3.5683864389967146e-7, -6.1664986603225261e-7, -1.4160094290880524e-7, 1.0187019631703287e-7,
    4.1808061194557424e-8, -1.3326444567238882e-8, -8.5004869643897676e-9, 9.885943841089753e-10,
    8.8643797642230479e-10,
)  # fmt: skip
ERFC_32 = (
    1.2530080563512258, -0.13562110005735799, -0.047562156133177899, 0.12964472090335635,
    -0.11927528149017224, 0.068313196739114062, -0.02376355931762048, 0.0025067787347430534,
    0.0018750597552022566, -0.00073408221970629818, -9.253747451339235e-5, 8.007464973292233e-5,
)  # fmt: skip


@kernel
def normal(x: Vector) -> tuple[Vector, Vector]:
    """Distribution function and density of the standard normal distribution. NaN stays NaN."""
    farthest = by_type(x, NO_DENSITY_BEYOND[0], NO_DENSITY_BEYOND[1])
    x = maximum(-farthest, x)
    x = where(x > farthest, farthest, x)
    # exp(-x^2 / 2), corrected for the rounding of the square
    half = -0.5 * x
    square = half * x
    e = exp(square)
    e = fma(e, fma(half, x, -square), e)
    z = absolute(x) * math.sqrt(0.5)
    t = (z - 3.0) / (z + 3.0)
    upper_tail = 0.5 * e * polynomial(t, by_type(x, ERFC_64, ERFC_32)) / fma(2.0, z, 1.0)
    return where(x > 0.0, 1.0 - upper_tail, upper_tail), e * (1 / math.sqrt(2 * math.pi))
