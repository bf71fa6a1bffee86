"""Dual numbers: numbers that carry their partial derivatives through users' code.

A `Dual(n)` is a float64 with its derivatives with respect to n unknowns. Every operation has a formula in
`dual_formulas.py`; the chain rule is here. Comparisons use the value. Code that applies another function of
`math` or NumPy to such a number is rejected with `NoDerivativeError`, also inside functions that it calls.
"""

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, builtin_registry, signature
from numba.extending import lower_builtin, lower_cast, models, register_model

from crabnet_jit.machine.dual_formulas import FORMULAS
from crabnet_jit.machine.llvm import INDEX, broadcast, multiply_add
from crabnet_jit.machine.vector import Vector

_NUMBER = types.float64
_LANES = 8  # float64 in a register; partial derivatives fill whole ones, or a half, a quarter or an eighth
_COMPARISONS: dict[Callable[..., Any], str] = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
    operator.ne: "!=",
}
_IN_PLACE: dict[Callable[..., Any], Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    operator.ipow: operator.pow,
}
_SYMBOLS: dict[Callable[..., Any], str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.pow: "**",
    operator.pos: "+",
    operator.neg: "-",
    **dict.fromkeys((operator.floordiv, operator.ifloordiv), "//"),
    **dict.fromkeys((operator.mod, operator.imod), "%"),
    operator.not_: "not",
}
_BUILTINS = abs, pow, float, int, bool, round, max, min, sum, divmod


class NoDerivativeError(TypeError):
    """Code to be differentiated uses a function whose derivative is not known here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it uses {name}, which has no derivative here; known are {' '.join(_KNOWN)}")


class Dual(types.Type):
    """A number and its n partial derivatives, which are in one vector."""

    def __init__(self, n: int) -> None:
        self.n = n
        lanes = -(-n // _LANES) * _LANES if n > _LANES // 2 else 1 << (n - 1).bit_length()
        self.partials = Vector(_NUMBER, lanes)
        super().__init__(name=f"Dual({n})")

    def can_convert_from(self, typing_context: Any, other: Any) -> Any:
        """Plain numbers, which depend on no unknown, can be converted."""
        return Conversion.safe if _is_plain(other) else None


@register_model(Dual)
class _DualModel(models.StructModel):
    def __init__(self, manager: Any, dual: Dual) -> None:
        super().__init__(manager, dual, [("value", _NUMBER), ("partials", dual.partials)])


def _is_plain(kind: Any) -> bool:
    return isinstance(kind, (types.Integer, types.Float, types.Boolean))


def packed(context: Any, builder: Any, dual: Dual, value: Any, partials: Any) -> Any:
    """A dual number made of its parts."""
    struct = cgutils.create_struct_proxy(dual)(context, builder)
    struct.value, struct.partials = value, partials
    return struct._getvalue()


@lower_cast(types.Integer, Dual)
@lower_cast(types.Float, Dual)
@lower_cast(types.Boolean, Dual)
def _constant(context: Any, builder: Any, kind: Any, dual: Dual, value: Any) -> Any:
    value = context.cast(builder, value, kind, _NUMBER)
    return packed(context, builder, dual, value, ir.Constant(dual.partials.llvm, None))


def _typing(function: Callable[..., Any], find: Callable[[Sequence[Any]], Any]) -> None:
    """Let `find` give the signature of a call with dual numbers, or reject it."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args: Any, kws: Any) -> Any:
            return find(args) if any(isinstance(kind, Dual) for kind in args) else None

    builtin_registry.register_global(function, types.Function(Template))


def _refuse(function: Callable[..., Any], name: str) -> None:
    def find(args: Sequence[Any]) -> Any:
        raise NoDerivativeError(name)

    _typing(function, find)


def _operands(args: Sequence[Any]) -> list[Any] | None:
    """The types that operands are converted to: dual numbers and float64; None if there are others."""
    if all(isinstance(kind, Dual) or _is_plain(kind) for kind in args):
        return [kind if isinstance(kind, Dual) else _NUMBER for kind in args]
    return None


def _values(builder: Any, kinds: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
    pairs = zip(kinds, operands, strict=True)
    return [builder.extract_value(v, 0) if isinstance(kind, Dual) else v for kind, v in pairs]


def _define(function: Callable[..., Any], name: str, formulas: Any) -> None:
    """Define a function of numbers for dual numbers."""
    is_power = isinstance(formulas, dict)
    n_operands = 2 if is_power else formulas.py_func.__code__.co_argcount

    def find(args: Sequence[Any]) -> Any:
        operands = _operands(args)
        if operands is None:
            return None
        if len(args) != n_operands:
            raise NoDerivativeError(f"{name} with {len(args)} argument{'s' * (len(args) != 1)}")
        if is_power and isinstance(args[1], types.Integer):
            operands[1] = INDEX
        return signature(next(kind for kind in args if isinstance(kind, Dual)), *operands)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        dual, kinds = signature.return_type, signature.args
        formula = formulas[tuple(isinstance(kind, Dual) for kind in kinds)] if is_power else formulas
        plain = [_NUMBER if isinstance(kind, Dual) else kind for kind in kinds]
        value, *slopes = _called(context, builder, formula, plain, _values(builder, kinds, args))
        partials = None
        for kind, operand, slope in zip(kinds, args, slopes, strict=True):
            if isinstance(kind, Dual):
                of_operand = builder.extract_value(operand, 1)
                factor = broadcast(builder, slope, dual.partials.llvm)
                if partials is None:
                    partials = builder.fmul(factor, of_operand)
                else:
                    partials = multiply_add(builder, factor, of_operand, partials)
        return packed(context, builder, dual, value, partials)

    _typing(function, find)
    for in_place, plain_one in _IN_PLACE.items():
        if plain_one is function:
            _typing(in_place, find)  # Numba lowers it as the plain one
    for kinds in itertools.product((Dual, types.Float, types.Integer), repeat=n_operands):
        if Dual in kinds:
            lower_builtin(function, *kinds)(lower)


def _called(context: Any, builder: Any, formula: Any, kinds: list[Any], values: list[Any]) -> list[Any]:
    """The results of a compiled formula of numbers."""
    function = context.typing_context.resolve_value_type(formula)
    found = function.get_call_type(context.typing_context, kinds, {})
    compiled = context.get_function(function, found)
    context.add_linking_libs(getattr(compiled, "libs", ()))
    return list(cgutils.unpack_tuple(builder, compiled(builder, values)))


def _define_comparison(function: Callable[..., Any], symbol: str) -> None:
    def find(args: Sequence[Any]) -> Any:
        operands = _operands(args)
        return None if operands is None else signature(types.boolean, *operands)

    @lower_builtin(function, Dual, Dual)
    @lower_builtin(function, Dual, types.Float)
    @lower_builtin(function, types.Float, Dual)
    def _lowering(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare = (
            builder.fcmp_unordered if symbol == "!=" else builder.fcmp_ordered
        )  # NaN is equal to nothing
        return compare(symbol, *_values(builder, signature.args, args))

    _typing(function, find)


def _names() -> Iterator[tuple[Callable[..., Any], str]]:
    """Operators, built-in functions, and the functions of math and NumPy that take single numbers."""
    yield from _SYMBOLS.items()
    yield from ((function, function.__name__) for function in _BUILTINS)
    for name, function in vars(math).items():
        if callable(function) and not name.startswith("_"):
            yield function, f"math.{name}"
    for name, function in vars(np).items():
        if isinstance(function, np.ufunc) and name == function.__name__:
            yield function, f"np.{name}"


_NAMES = dict(_names())
_KNOWN = sorted({_NAMES[function].split(".")[-1] for function in FORMULAS})
for _function, _name in _NAMES.items():
    if _function in FORMULAS:
        _define(_function, _name, FORMULAS[_function])
    else:
        _refuse(_function, _name)
for _function, _name in _COMPARISONS.items():
    _define_comparison(_function, _name)
