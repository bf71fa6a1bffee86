"""Operations on dual numbers: values next to derivatives with respect to each operand."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from crabnet_jit.machine.jit import kernel

_One = tuple[float, float]
_Two = tuple[float, float, float]


@kernel
def _add(a: float, b: float) -> _Two:
    return a + b, 1.0, 1.0


@kernel
def _subtract(a: float, b: float) -> _Two:
    return a - b, 1.0, -1.0


@kernel
def _multiply(a: float, b: float) -> _Two:
    return a * b, b, a


@kernel
def _divide(a: float, b: float) -> _Two:
    return a / b, 1.0 / b, -a / (b * b)


@kernel
def _power_of_number(a: float, n: Any) -> _Two:
    """a^n for a number n, which may be an int; 0^0 is 1."""
    return a**n, 0.0 if n == 0 else n * a ** (n - 1), 0.0


@kernel
def _number_to_power(a: float, b: float) -> _Two:
    value = a**b
    return value, 0.0, 0.0 if a == 0.0 and b >= 0.0 else value * math.log(a)


@kernel
def _power(a: float, b: float) -> _Two:
    value, of_base, _ = _power_of_number(a, b)
    return value, of_base, _number_to_power(a, b)[2]


@kernel
def _plus(a: float) -> _One:
    return a, 1.0


@kernel
def _minus(a: float) -> _One:
    return -a, -1.0


@kernel
def _absolute(a: float) -> _One:
    """|a|; its derivative is 0 at 0."""
    return abs(a), 0.0 if a == 0.0 else math.copysign(1.0, a)


@kernel
def _square(a: float) -> _One:
    return a * a, 2.0 * a


@kernel
def _sqrt(a: float) -> _One:
    root = math.sqrt(a)
    return root, 0.5 / root


@kernel
def _exp(a: float) -> _One:
    value = math.exp(a)
    return value, value


@kernel
def _expm1(a: float) -> _One:
    return math.expm1(a), math.exp(a)


@kernel
def _log(a: float) -> _One:
    return math.log(a), 1.0 / a


@kernel
def _log1p(a: float) -> _One:
    return math.log1p(a), 1.0 / (1.0 + a)


@kernel
def _sin(a: float) -> _One:
    return math.sin(a), math.cos(a)


@kernel
def _cos(a: float) -> _One:
    return math.cos(a), -math.sin(a)


@kernel
def _tan(a: float) -> _One:
    tangent = math.tan(a)
    return tangent, 1.0 + tangent * tangent


@kernel
def _arctan(a: float) -> _One:
    return math.atan(a), 1.0 / (1.0 + a * a)


@kernel
def _sinh(a: float) -> _One:
    return math.sinh(a), math.cosh(a)


@kernel
def _cosh(a: float) -> _One:
    return math.cosh(a), math.sinh(a)


@kernel
def _tanh(a: float) -> _One:
    """tanh; its derivative is 1 / cosh^2, from e = exp(-2 |a|), without cancellation where tanh is near 1."""
    e = math.exp(-2.0 * abs(a))
    return math.tanh(a), 4.0 * e / ((1.0 + e) * (1.0 + e))


#: Formulas of powers, by which of the two operands are dual.
POWERS = {(True, False): _power_of_number, (False, True): _number_to_power, (True, True): _power}
#: Formulas, by the function that users call.
FORMULAS: dict[Callable[..., Any], Any] = {
    operator.add: _add,
    operator.sub: _subtract,
    operator.mul: _multiply,
    operator.truediv: _divide,
    operator.pos: _plus,
    operator.neg: _minus,
    **dict.fromkeys((abs, math.fabs, np.absolute, np.fabs), _absolute),
    np.square: _square,
    **dict.fromkeys((math.sqrt, np.sqrt), _sqrt),
    **dict.fromkeys((math.exp, np.exp), _exp),
    **dict.fromkeys((math.expm1, np.expm1), _expm1),
    **dict.fromkeys((math.log, np.log), _log),
    **dict.fromkeys((math.log1p, np.log1p), _log1p),
    **dict.fromkeys((math.sin, np.sin), _sin),
    **dict.fromkeys((math.cos, np.cos), _cos),
    **dict.fromkeys((math.tan, np.tan), _tan),
    **dict.fromkeys((math.atan, np.arctan), _arctan),
    **dict.fromkeys((math.sinh, np.sinh), _sinh),
    **dict.fromkeys((math.cosh, np.cosh), _cosh),
    **dict.fromkeys((math.tanh, np.tanh), _tanh),
    **dict.fromkeys((operator.pow, pow, math.pow, np.power), POWERS),
}
