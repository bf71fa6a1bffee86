"""A graph of ONNX operators as a network: a chain of linear layers and activations."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import (
    ELU,
    GELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sine,
    Softplus,
    Tanh,
)
from crabnet_jit.data.labels import Labels
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.exchange.common import Layer, assembled
from crabnet_jit.exchange.onnx_graphs import ATTRIBUTES, CONSTANT, FORMULAS, INPUT, Graph, Value
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import Schema

_WITH_CONSTANTS = "Add", "Sub", "Mul", "Div"
_IN_PLACE = "Flatten", "Reshape"
_N_INPUTS = {"Gemm": (2, 3), "MatMul": (2,), "Reshape": (2,), **dict.fromkeys(_WITH_CONSTANTS, (2,))}
_MANY_CONSTANTS = 10  # operators; more of them are not a standardisation
#: Activations that are one operator, by its options.
_ACTIVATIONS: dict[str, Callable[[Mapping[str, Any]], Activation]] = {
    "Relu": lambda _: ReLU(),
    "LeakyRelu": lambda options: LeakyReLU(options["alpha"]),
    "Elu": lambda options: ELU(options["alpha"]),
    "Gelu": lambda options: GELU(options["approximate"]),
    "Tanh": lambda _: Tanh(),
    "Sigmoid": lambda _: Sigmoid(),
    "Softplus": lambda _: Softplus(),
    "Sin": lambda _: Sine(1.0),
}
#: Activations that `FORMULAS` makes of several operators, by their number.
_MADE: dict[str, Callable[[float], Activation]] = {
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": lambda _: GELU(),
    "gelu_tanh": lambda _: GELU("tanh"),
    "silu": lambda _: SiLU(),
    "sigmoid": lambda _: Sigmoid(),
    "softplus": lambda _: Softplus(),
    "sine": Sine,
}


#: Patterns and the functions that make their activation from a number, by their last operator.
_Patterns: TypeAlias = dict[str, list[tuple[Callable[[float], Activation], Value]]]


class _Linear(NamedTuple):
    """A linear layer in a chain: W (n_out, n_in) and b (n_out,)."""

    W: Array
    b: Array


class _Link(NamedTuple):
    """A part of a chain: a layer, an activation, or None if the value's operator says what it is."""

    value: Value
    part: _Linear | Activation | None
    before: Value


def network_of(x: Value, y: Value) -> NN:
    """The network that computes y from x.

    Raises
    ------
    ValueError
        If y is not such a chain of operators; the message names the first that does not fit.
    """
    chain = _chain(x, y, _patterns(x.dtype))
    layers: list[Layer] = []
    before: list[Value] = []  # the first layer, constants
    after: list[Value] = []  # the last layer, constants or a Softmax
    widths = (link.part.W.shape[1] for link in chain if isinstance(link.part, _Linear))
    width = x.attributes["width"] or next(widths, 0)
    for value, part, _ in chain:
        if isinstance(part, _Linear):
            _check_that_it_fits(value, part, width, after)
            layers.append(Layer(*part, Identity()))
            width = len(part.b)
        elif isinstance(part, Activation):
            if not layers or after or layers[-1].activation != Identity():
                raise refusal(value, "not right after a linear layer")
            layers[-1] = layers[-1]._replace(activation=part)
        elif value.operator in _IN_PLACE:
            _check_that_it_does_nothing(value, width)
        else:
            (after if layers else before).append(value)
    if not layers:
        raise ValueError("a model without linear layers")
    net = assembled(layers, x.dtype)
    _finish(net, before, after)
    return net


def refusal(value: Value, why: str) -> ValueError:
    """An error that names the operator."""
    return ValueError(f"{check.shortened(value.operator, 40)} {check.shown(value.name)}: {why}")


def _finish(net: NN, before: list[Value], after: list[Value]) -> None:
    """Set what surrounds the network's layers: standardisation, classes."""
    if after and after[-1].operator == "Softmax":
        *after, last = after
        if after:
            raise refusal(after[0], "between the last layer and a Softmax")
        if net.out_features == 1 or _options(last)["axis"] not in (-1, 1):
            raise refusal(last, "not over several outputs")
        net.schema = Schema(labels=Labels.numbered(net.out_features), task="classification")
    if before or after:
        x_mean, x_std = _composed(before, net.in_features, _before)
        y_mean, y_std = _composed(after, net.out_features, _after)
        net.standardization = Standardization(x_mean, x_std, y_mean, y_std)


# ---- the chain


def _chain(x: Value, y: Value, patterns: _Patterns) -> list[_Link]:
    """The path from x to y."""
    chain: list[_Link] = []
    value = y
    while value is not x:
        chain.append(_link(value, patterns))
        value = chain[-1].before
        if value.operator == CONSTANT:
            raise refusal(chain[-1].value, "made of constants only")
    return chain[::-1]


def _link(value: Value, patterns: _Patterns) -> _Link:
    """The part of the chain that ends with a value."""
    for make, pattern in patterns.get(value.operator, ()):
        bound = _match(pattern, value, {})
        if bound is not None:
            number = bound["a"].array.item() if "a" in bound else 0.0
            return _Link(value, make(number), bound["x"])
    if (linear := _linear(value)) is not None:
        return linear
    if value.operator in _ACTIVATIONS:
        return _Link(value, _ACTIVATIONS[value.operator](_options(value)), value.inputs[0])
    if value.operator in _WITH_CONSTANTS:
        return _Link(value, None, _operands(value)[0])
    if value.operator in ("Softmax", *_IN_PLACE):
        return _Link(value, None, value.inputs[0])
    raise refusal(value, "not an operator of such a chain")


def _options(value: Value) -> dict[str, Any]:
    """The attributes of an operator, with defaults for missing ones."""
    if len(value.inputs) not in _N_INPUTS.get(value.operator, (1,)):
        raise refusal(value, f"of {len(value.inputs)} inputs")
    defaults = ATTRIBUTES.get(value.operator, {})
    if unknown := value.attributes.keys() - defaults:
        raise refusal(value, f"with {check.shown(sorted(unknown))}")
    return {**defaults, **value.attributes}


def _operands(value: Value) -> tuple[Value, Array]:
    """The operands of an operator with a constant: the value before, and the constant."""
    _options(value)
    first, second = value.inputs
    if first.array is not None and value.operator in ("Add", "Mul"):
        first, second = second, first
    return first, _constant(value, second, first)


def _constant(value: Value, operand: Value, before: Value) -> Array:
    """The numbers of an operand."""
    if operand.array is None or before.array is not None:
        raise refusal(value, "not an operation on the value before and one constant")
    if operand.dtype != before.dtype:
        raise refusal(value, f"a constant of {operand.dtype} with numbers of {before.dtype}")
    numbers: Array = operand.array
    return numbers


def _row(value: Value, numbers: Array, n: int) -> Array:
    """A constant that is the same for all samples, as one number for each of n features."""
    if numbers.size not in (1, n) or numbers.shape[:-1] not in ((), (1,)):
        raise refusal(value, f"a constant of shape {numbers.shape} for {n} features")
    if not np.isfinite(numbers).all():
        raise refusal(value, "a constant that is not finite")
    return np.broadcast_to(numbers.ravel(), (n,))


# ---- linear layers


def _linear(value: Value) -> _Link | None:
    """A Gemm or a MatMul; if it has no bias, together with the sum after it."""
    product, bias = value, None
    if value.operator == "Add" and any(_is_product_without_bias(operand) for operand in value.inputs):
        product, bias = _operands(value)
    if product.operator not in ("Gemm", "MatMul"):
        return None
    options = {**ATTRIBUTES["Gemm"], **_options(product)}
    x, weights, *rest = product.inputs
    W = _constant(product, weights, x)
    if W.ndim != 2 or 0 in W.shape or options["transA"]:
        raise refusal(product, f"weights of shape {W.shape}, transA {options['transA']}")
    with np.errstate(over="ignore"):  # the check of the network rejects overflows
        W = options["alpha"] * (W if options["transB"] else W.T)
        if rest:
            bias = options["beta"] * _constant(product, rest[0], x)
    b = np.zeros(len(W)) if bias is None else _row(value, bias, len(W))
    return _Link(value, _Linear(W.astype(x.dtype), b.astype(x.dtype)), x)


def _is_product_without_bias(value: Value) -> bool:
    return value.operator in ("Gemm", "MatMul") and len(value.inputs) == 2


def _check_that_it_fits(value: Value, part: _Linear, width: int, between: list[Value]) -> None:
    if between:
        raise refusal(between[0], "between two linear layers")
    if part.W.shape[1] != width:
        raise refusal(value, f"weights of {part.W.shape[1]} features after {width}")


def _check_that_it_does_nothing(value: Value, width: int) -> None:
    """Check that a Flatten or Reshape does not change (batch, width)."""
    options = _options(value)
    if value.operator == "Flatten":
        does_nothing = options["axis"] in (1, -1)
    else:
        shape = [] if value.inputs[1].array is None else value.inputs[1].array.tolist()
        does_nothing = shape in ([-1, width], [0, width], [0, -1]) and not options["allowzero"]
    if not does_nothing:
        raise refusal(value, f"another shape than (batch, {width})")


# ---- activations made of several operators


@functools.cache
def _patterns(dtype: "np.dtype[Any]") -> _Patterns:
    """Patterns with x and perhaps a number a, by their last operators: ours, and those of PyTorch."""
    graph = Graph()
    x, a = graph.input("x", dtype), graph.input("a", dtype)

    def of(operator: str, *operands: Any) -> Value:
        return graph.node(operator, *operands)

    cube = 0.044715 * of("Pow", x, 3.0), 0.044715 * (x * (x * x))
    curves = [of("Tanh", math.sqrt(2 / math.pi) * (x + c)) + 1.0 for c in cube]
    exact = of("Erf", x / math.sqrt(2)) + 1.0
    made = [
        *((make, FORMULAS[name](x, a)) for name, make in _MADE.items()),
        (_MADE["silu"], x * of("Sigmoid", x)),
        (_MADE["softplus"], of("Log", of("Exp", x) + 1.0)),
        *((_MADE["gelu"], pattern) for pattern in (0.5 * (x * exact), 0.5 * x * exact)),
        *((_MADE["gelu_tanh"], pattern) for c in curves for pattern in (0.5 * (x * c), 0.5 * x * c)),
    ]
    patterns: _Patterns = {}
    for make, pattern in made:
        patterns.setdefault(pattern.operator, []).append((make, pattern))
    return patterns


def _match(pattern: Value, value: Value, bound: dict[str, Value]) -> dict[str, Value] | None:
    """The bindings of a pattern's inputs if the value matches it, in addition to known ones."""
    if not _is_alike(pattern, value):
        return None
    if pattern.operator == INPUT:
        return {**bound, pattern.name: value} if bound.get(pattern.name, value) is value else None
    is_commutative = pattern.operator in ("Add", "Mul")
    for inputs in (value.inputs, value.inputs[::-1]) if is_commutative else (value.inputs,):
        # Operators are compared first, so that the search does not branch at every step of a mismatch.
        if all(map(_is_alike, pattern.inputs, inputs)):
            found: dict[str, Value] | None = bound
            for part, operand in zip(pattern.inputs, inputs, strict=True):
                found = None if found is None else _match(part, operand, found)
            if found is not None:
                return found
    return None


def _is_alike(pattern: Value, value: Value) -> bool:
    """Whether a value may match a pattern: x is computed, a is one number, constants are equal."""
    if pattern.operator == INPUT:
        return (
            (value.array is None)
            if pattern.name == "x"
            else value.array is not None and value.array.size == 1
        )
    if pattern.array is not None:
        return value.array is not None and value.array.ravel().tolist() == [pattern.array.item()]
    is_same = pattern.operator == value.operator and pattern.attributes == value.attributes
    return is_same and len(pattern.inputs) == len(value.inputs)


# ---- standardisation


def _composed(
    values: Sequence[Value], n: int, compose: Callable[[str, Any, Any, Any], tuple[Any, Any]]
) -> tuple[Array, Array]:
    """The mean and standard deviation of n features that are equivalent to these operators with constants."""
    if len(values) > _MANY_CONSTANTS:
        raise refusal(values[-1], f"one of {len(values)} with constants")
    mean, std = _fractions(np.zeros(n)), _fractions(np.ones(n))
    for value in values:
        if value.operator not in _WITH_CONSTANTS:
            raise refusal(value, "not the last operator")
        c = _fractions(_row(value, _operands(value)[1], n))
        if value.operator in ("Mul", "Div") and min(c) <= 0:
            raise refusal(value, "a scale that is not above 0")
        mean, std = compose(value.operator, c, mean, std)
        if not (_is_exact(mean) and _is_exact(std)):
            raise refusal(
                value, "not exact in float64 as mean and standard deviation, with the constants around it"
            )
    return mean.astype(np.float64), std.astype(np.float64)


def _before(operator: str, c: Any, mean: Any, std: Any) -> tuple[Any, Any]:
    """(x - mean) / std, followed by the operator."""
    if operator in ("Add", "Sub"):
        return mean + (c if operator == "Sub" else -c) * std, std
    return mean, std * c if operator == "Div" else std / c


def _after(operator: str, c: Any, mean: Any, std: Any) -> tuple[Any, Any]:
    """z * std + mean, followed by the operator."""
    if operator in ("Add", "Sub"):
        return mean + (c if operator == "Add" else -c), std
    return (mean * c, std * c) if operator == "Mul" else (mean / c, std / c)


def _fractions(numbers: Array) -> Any:
    """Numbers whose arithmetic is exact."""
    return np.array([Fraction(number) for number in numbers.tolist()], dtype=object)


def _is_exact(numbers: Any) -> bool:
    try:
        return all(Fraction(float(number)) == number for number in numbers)
    except OverflowError:
        return False
