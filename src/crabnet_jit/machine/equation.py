"""Users' equations: functions of a point, and of a network's values and derivatives there.

    arguments(x, jets, units, n, p, s)         the function's arguments, as a tuple, for column s of panel p
    store_residual(r, dr_djets, n, p, s, d)  the value of the dual number d, and its derivatives

These read and write rows of n panels: x (n n_in, width), r (n, width), jets and dr_djets (n_jets n n_out,
width), where jet k of panel p is in panel k n + p, see kernels/jets.py. units (2, n_in + n_jets n_out) are
a factor and a summand for each coordinate and jet; they convert these to the units of the data. Derivatives
are with respect to jets before this conversion.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from crabnet_jit.machine.dual import Dual, NoDerivativeError, packed
from crabnet_jit.machine.llvm import I32, I64, INDEX, load_one, plus, pointer

_NUMBER = types.float64
_ALLOCATING = "NRT_Allocate", "NRT_MemInfo_alloc", "NRT_MemInfo_new", "NRT_MemInfo_varsize"


class Equation(NamedTuple):
    """Sizes of an equation: a function of x, u, du, d2u, or of the first two or three of these.

    x is a tuple of n_in numbers. For one output, u is the value, du is a tuple of its n_in first derivatives,
    and d2u is a tuple of n_second second derivatives. For several, u, du[k] and d2u[k] are tuples of n_out.
    """

    n_in: int
    n_out: int
    n_arguments: int
    n_second: int

    @property
    def n_jets(self) -> int:
        """The number of values and derivatives of each output."""
        return 1 + (self.n_in if self.n_arguments > 2 else 0) + (self.n_second if self.n_arguments > 3 else 0)

    @property
    def result(self) -> Dual:
        """The type that the function returns."""
        return Dual(self.n_jets * self.n_out)

    def types(self) -> tuple[Any, ...]:
        """The types of the function's arguments."""
        dual, tuple_of = self.result, types.containers.UniTuple
        one = dual if self.n_out == 1 else tuple_of(dual, self.n_out)
        whole = tuple_of(_NUMBER, self.n_in), one, tuple_of(one, self.n_in), tuple_of(one, self.n_second)
        return whole[: self.n_arguments]


def _row(builder: Any, n: Any, p: Any, jet: int, n_rows: int, row: int) -> Any:
    """The row of a jet of panel p of n, among those of all panels, which have n_rows each."""
    panel = builder.add(builder.mul(n, I64(jet)), p)
    return plus(builder, builder.mul(panel, I64(n_rows)), row)


@functools.cache
def arguments_of(equation: Equation) -> Any:
    """The function `arguments` for this equation."""
    n_in, n_out, dual = equation.n_in, equation.n_out, equation.result
    result = types.containers.Tuple(equation.types())

    @intrinsic
    def arguments(typing_context: Any, x: Any, jets: Any, units: Any, n: Any, p: Any, s: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            of_x, of_jets, of_units, n, p, s = args

            def read(array: Any, value: Any, row: Any, column: Any) -> Any:
                address = pointer(context, builder, array, value, row, column)
                number = load_one(builder, address, context.get_data_type(array.dtype))
                return context.cast(builder, number, array.dtype, _NUMBER)

            def in_units(number: Any, k: int) -> tuple[Any, Any]:
                factor, summand = (read(units, of_units, I64(row), I64(k)) for row in range(2))
                return builder.fadd(builder.fmul(number, factor), summand), factor

            def coordinates() -> Iterator[Any]:
                for i in range(n_in):
                    yield in_units(read(x, of_x, _row(builder, n, p, 0, n_in, i), s), i)[0]

            def unknowns() -> Iterator[Any]:
                zeros = ir.Constant(dual.partials.llvm, None)
                for k in range(dual.n):
                    number = read(jets, of_jets, _row(builder, n, p, k // n_out, n_out, k % n_out), s)
                    value, factor = in_units(number, n_in + k)
                    yield packed(context, builder, dual, value, builder.insert_element(zeros, factor, I32(k)))

            def nested(kind: Any, numbers: Iterator[Any]) -> Any:
                if not isinstance(kind, types.containers.BaseTuple):
                    return next(numbers)
                return context.make_tuple(builder, kind, [nested(part, numbers) for part in kind])

            place, *others = result
            numbers = unknowns()
            made = [nested(place, coordinates()), *(nested(kind, numbers) for kind in others)]
            return context.make_tuple(builder, result, made)

        return result(x, jets, units, INDEX, INDEX, INDEX), codegen

    return arguments


@functools.cache
def store_of(equation: Equation) -> Any:
    """The function `store_residual` for this equation."""
    n_out = equation.n_out

    @intrinsic
    def store_residual(typing_context: Any, r: Any, dr_djets: Any, n: Any, p: Any, s: Any, dual: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            of_r, of_derivatives, n, p, s, number = args

            def write(array: Any, value: Any, row: Any, number: Any) -> None:
                number = context.cast(builder, number, _NUMBER, array.dtype)
                builder.store(number, pointer(context, builder, array, value, row, s))

            write(r, of_r, p, builder.extract_value(number, 0))
            partials = builder.extract_value(number, 1)
            for k in range(dual.n):
                row = _row(builder, n, p, k // n_out, n_out, k % n_out)
                write(dr_djets, of_derivatives, row, builder.extract_element(partials, I32(k)))
            return context.get_dummy_value()

        return types.void(r, dr_djets, INDEX, INDEX, INDEX, dual), codegen

    return store_residual


def allocates(compiled: Any) -> bool:
    """Whether a compiled function, or a function that it calls, creates arrays, lists or strings."""
    code = "".join(overload.library.get_llvm_str() for overload in compiled.overloads.values())
    return any(name in code for name in _ALLOCATING)


def unknown_function(error: Exception) -> NoDerivativeError | None:
    """The error for a function that does not accept dual numbers, from an error of Numba."""
    found = re.search(r"found for signature:\s*>>> (\w+)\([^\n]*Dual\(", str(error))
    return NoDerivativeError(found[1]) if found else None
