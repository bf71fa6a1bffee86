"""Computations as ONNX graphs of operators; and the activation functions in them.

ONNX Runtime's own Sigmoid, Softplus, Elu and Gelu lose digits where their values are small, and some of them
do not exist in float64. So most activations are made of basic operators.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from crabnet_jit.arrays import Array
from crabnet_jit.kernels.elementary import ERFC_32, ERFC_64, EXPM1_32, EXPM1_64, NO_DENSITY_BEYOND

INPUT, CONSTANT = "an input", "a constant"  # instead of an operator
#: Attributes of the operators in networks, with their defaults.
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "ArgMax": {"axis": 0, "keepdims": 1, "select_last_index": 0},
    "Elu": {"alpha": 1.0},
    "Flatten": {"axis": 1},
    "Gather": {"axis": 0},
    "Gelu": {"approximate": "none"},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    "LeakyRelu": {"alpha": float(np.float32(0.01))},
    "Reshape": {"allowzero": 0},
    "Softmax": {"axis": -1},
}
# Results have the type of the first input, except for these.
_TYPE_OF_RESULT = {"Greater": np.dtype(bool), "ArgMax": np.dtype(np.int64)}
_INPUT_OF_ITS_TYPE = {"Where": 1}
_NEAR_0 = 0.34  # up to here, the series of exp(x) - 1 is exact to the type's precision


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph: an input, a constant, or the result of an operator.

    A graph has no two equal values, so `is` compares whole computations. Arithmetic with values gives values
    of the same graph; numbers in it become constants of the value's type.
    """

    graph: "Graph" = field(repr=False)
    operator: str
    inputs: "tuple[Value, ...]"
    attributes: dict[str, Any]
    dtype: "np.dtype[Any]"
    array: Any = None  # for a constant
    name: str = ""  # of an input or node

    def __add__(self, other: "Operand") -> "Value":
        return self.graph.node("Add", self, other)

    def __radd__(self, other: float) -> "Value":
        return self.graph.node("Add", other, self)

    def __sub__(self, other: "Operand") -> "Value":
        return self.graph.node("Sub", self, other)

    def __rsub__(self, other: float) -> "Value":
        return self.graph.node("Sub", other, self)

    def __mul__(self, other: "Operand") -> "Value":
        return self.graph.node("Mul", self, other)

    def __rmul__(self, other: float) -> "Value":
        return self.graph.node("Mul", other, self)

    def __truediv__(self, other: "Operand") -> "Value":
        return self.graph.node("Div", self, other)

    def __rtruediv__(self, other: float) -> "Value":
        return self.graph.node("Div", other, self)

    def __gt__(self, other: "Operand") -> "Value":
        return self.graph.node("Greater", self, other)

    def __neg__(self) -> "Value":
        return self.graph.node("Neg", self)

    def __abs__(self) -> "Value":
        return self.graph.node("Abs", self)


Operand: TypeAlias = Value | Array | float


class Graph:
    """Unique values, each after those that it depends on."""

    def __init__(self) -> None:
        self._known: dict[Any, Value] = {}

    @property
    def values(self) -> list[Value]:
        """All values."""
        return list(self._known.values())

    def input(self, name: str, dtype: "np.dtype[Any]", width: int = 0) -> Value:
        """The input with this name, (batch, width); a width of 0 is unknown."""
        return self._only((INPUT, name, dtype), Value(self, INPUT, (), {"width": width}, dtype, name=name))

    def constant(self, array: Array) -> Value:
        """A tensor of these numbers, or of strings if they are objects."""
        content = tuple(array.ravel().tolist()) if array.dtype == object else array.tobytes()
        key = CONSTANT, array.dtype, array.shape, content
        return self._only(key, Value(self, CONSTANT, (), {}, array.dtype, array))

    def node(self, operator: str, *operands: Operand, name: str = "", **attributes: Any) -> Value:
        """The result of an operator. Numbers among its operands get the type of the last value."""
        dtype = next(operand.dtype for operand in operands[::-1] if isinstance(operand, Value))
        inputs = tuple(
            operand if isinstance(operand, Value) else self.constant(np.array(operand, dtype))
            for operand in operands
        )
        defaults = ATTRIBUTES.get(operator, {})
        kept = {key: value for key, value in attributes.items() if defaults.get(key) != value}
        of_result = _TYPE_OF_RESULT.get(operator, inputs[_INPUT_OF_ITS_TYPE.get(operator, 0)].dtype)
        key = operator, inputs, tuple(sorted(kept.items()))
        return self._only(key, Value(self, operator, inputs, kept, of_result, name=name))

    def cast(self, value: Value, dtype: DTypeLike, name: str = "") -> Value:
        """The value in another type."""
        to = np.dtype(dtype)
        if value.dtype == to:
            return value
        return self._only(("Cast", value, to), Value(self, "Cast", (value,), {}, to, name=name))

    def _only(self, key: Any, value: Value) -> Value:
        return self._known.setdefault(key, value)


# ---- activation functions of a value x and the activation's number a; NaN stays NaN


def sigmoid(x: Value, a: Operand) -> Value:
    """1 / (1 + exp(-x)), with full precision even where it is small."""
    return 1.0 / (1.0 + _exp(-x))


def _relu(x: Value, a: Operand) -> Value:
    return x.graph.node("Relu", x)


def _leaky_relu(x: Value, a: Operand) -> Value:
    return _where(x > 0.0, x, x * a)


def _elu(x: Value, a: Operand) -> Value:
    near = x + x * x * _polynomial(x, EXPM1_64, EXPM1_32)
    expm1 = _where(abs(x) > _NEAR_0, _exp(x) - 1.0, near)
    return _where(x > 0.0, x, expm1 * a)


def _gelu(x: Value, a: Operand) -> Value:
    """x Phi(x), as `normal` (kernels/elementary.py) computes Phi."""
    farthest, scale = (NO_DENSITY_BEYOND[0], 2.0**20) if _is_double(x) else (NO_DENSITY_BEYOND[1], 2.0**8)
    z = abs(x)
    z = _where(z > farthest, farthest, z)
    # exp(-z^2 / 2) in two factors: h has few enough digits that its square is exact.
    h = x.graph.node("Round", z * scale) / scale
    e = _exp(-0.5 * (h * h)) * _exp(-0.5 * ((z - h) * (z + h)))
    z = z * math.sqrt(0.5)
    tail = 0.5 * e * _polynomial((z - 3.0) / (z + 3.0), ERFC_64, ERFC_32) / (2.0 * z + 1.0)
    return x * _where(x > 0.0, 1.0 - tail, tail)


def _gelu_tanh(x: Value, a: Operand) -> Value:
    u = math.sqrt(2 / math.pi) * x * (0.044715 * (x * x) + 1.0)
    return x * sigmoid(2.0 * u, a)


def _silu(x: Value, a: Operand) -> Value:
    return x * sigmoid(x, a)


def _tanh(x: Value, a: Operand) -> Value:
    return x.graph.node("Tanh", x)


def _softplus(x: Value, a: Operand) -> Value:
    e = _exp(-abs(x))
    w = 1.0 + e
    log1p = x.graph.node("Log", w) + (e - (w - 1.0)) / w
    return _where(x > 0.0, x, 0.0) + log1p


def _sine(x: Value, a: Operand) -> Value:
    return x.graph.node("Sin", x * a)


def _exp(x: Value) -> Value:
    return x.graph.node("Exp", x)


def _polynomial(x: Value, for_double: Sequence[float], for_single: Sequence[float]) -> Value:
    """c[0] + c[1] x + …, with at least two coefficients, those for its type."""
    *rest, last, highest = for_double if _is_double(x) else for_single
    p = highest * x + last
    for c in rest[::-1]:
        p = p * x + c
    return p


def _is_double(x: Value) -> bool:
    return bool(x.dtype == np.float64)


def _where(condition: Value, x: Operand, y: Operand) -> Value:
    return condition.graph.node("Where", condition, x, y)


#: By the names of KINDS (kernels/layout.py).
FORMULAS: dict[str, Callable[[Value, Operand], Value]] = {
    "identity": lambda x, a: x,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "tanh": _tanh,
    "sigmoid": sigmoid,
    "softplus": _softplus,
    "sine": _sine,
}
