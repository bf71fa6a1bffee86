"""The standard normal distribution for vectors."""

import math
from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.exponential import exp
from crabnet_jit.kernels.vector import absolute, by_type, fma, maximum, polynomial, where

_FARTHEST = 40.0, 14.5  # beyond, the density is 0
# exp(z^2) erfc(z) (1 + 2 z) in powers of t = (z - 3) / (z + 3), from its Chebyshev series for z >= 0.
# The error is below 2e-17 (7e-9), the value between 1 and 1.26.
_ERFC_64 = (
    1.2530080582697297, -0.13562110612458117, -0.047562294353450872, 0.12964515870276062,
    -0.11927366341530699, 0.068308027343978364, -0.023770514918646033, 0.0025293918160676614,
    0.0018886903591579427, -0.00077983227211851649, -0.00010515979982731201, 0.00012509935239942329,
    4.9494850445628483e-6, -2.0100568052582628e-5, -7.3151065785462644e-7, 3.4724148223874661e-6,
    3.5683864389967146e-7, -6.1664986603225261e-7, -1.4160094290880524e-7, 1.0187019631703287e-7,
    4.1808061194557424e-8, -1.3326444567238882e-8, -8.5004869643897676e-9, 9.885943841089753e-10,
    8.8643797642230479e-10,
)  # fmt: skip
_ERFC_32 = (
    1.2530080563512258, -0.13562110005735799, -0.047562156133177899, 0.12964472090335635,
    -0.11927528149017224, 0.068313196739114062, -0.02376355931762048, 0.0025067787347430534,
    0.0018750597552022566, -0.00073408221970629818, -9.253747451339235e-5, 8.007464973292233e-5,
)  # fmt: skip


@kernel
def normal(x: Any) -> Any:
    """Distribution function and density of the standard normal distribution. NaN stays NaN."""
    farthest = by_type(x, _FARTHEST[0], _FARTHEST[1])
    x = maximum(-farthest, x)
    x = where(x > farthest, farthest, x)
    # exp(-x^2 / 2), with what is lost in rounding the square
    half = -0.5 * x
    square = half * x
    e = exp(square)
    e = fma(e, fma(half, x, -square), e)
    z = absolute(x) * math.sqrt(0.5)
    t = (z - 3.0) / (z + 3.0)
    upper_tail = 0.5 * e * polynomial(t, by_type(x, _ERFC_64, _ERFC_32)) / fma(2.0, z, 1.0)
    return where(x > 0.0, 1.0 - upper_tail, upper_tail), e * (1 / math.sqrt(2 * math.pi))
