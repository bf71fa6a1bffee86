"""Vectors: eight float64 side by side, as a type that compiled functions can use.

A `Vector` is one 64-byte register: 8 float64, 16 float32, 16 uint32 and so on. LLVM
splits it if the machine's registers are narrower; the order of every sum, and
therefore every bit, stays the same.

The operations are, with `V = lanes(x)` numbers per vector and `[s:]` short
for the V numbers from s on:

    load(x, i, s)               x[i, s:]
    store(x, i, s, v)           x[i, s:] = v
    load_column(x, s, i)        x[s:, i], one number from each of V rows
    splat(x, value)             value in every lane, in the type of x's numbers; x may be a vector
    a + b, a - b, a * b, a / b  lane by lane, of floats; a or b may be a number
    a > b, -a                   lane by lane, of floats; a or b may be a number
    a + b, a ^ b                lane by lane, of integers; sums wrap around
    rotate_left(a, n)           the bits of each integer lane rotated by the literal n
    shift_right(a, n)           each unsigned lane shifted right by n bits, filled with zeros
    to_float(a, x)              each unsigned lane as the nearest number of x's type
    lane_numbers(x)             0, 1, 2, … as integers of x's type
    join(x, (a, b, …))          one long vector: of vectors like those of x, or of numbers for all their lanes
    turn(v, n)                  the parts of a long vector in another order: the first n after the others
    store_transposed(x, i, (v, …)) x[i + k, j] = lane k of the j-th part of the long vectors, for all k and j
    maximum(a, b)               the larger one lane by lane; a NaN of b stays
    absolute(a), nearest(a)     |a|, and the nearest whole number, halves to even
    square_root(a)              the square root, correctly rounded
    copy_sign(a, b)             |a| with the sign of b
    power_of_two(k)             2**k, where the lanes of k are whole numbers from -1022 to 1023
    exponent(a)                 the whole number k with 2**k <= a < 2**(k + 1), of normal positive a
    fma(a, b, c)                a * b + c, rounded once; any two may be numbers
    fma_of_numbers(a, b, c)     the same of three float64
    polynomial(a, (c0, c1, …))  c0 + c1 a + c2 a^2 + …, by Horner's rule
    by_type(a, p, q)            p if the lanes of a are float64, q if they are float32
    where(mask, a, b)           a where the mask holds, else b; a or b may be a number
    first_lanes(x, count)       a mask: lanes 0 to count - 1
    sum_lanes(v)                sum of the lanes: of 16, first the halves, then neighbours, pairs, fours

Arrays are two-dimensional and contiguous. With NUMBA_BOUNDSCHECK=1 every access is
checked, as ordinary indexing is.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from crabnet_jit.machine.llvm import (
    I32,
    I64,
    INDEX,
    broadcast,
    call_intrinsic,
    lane_sum,
    larger,
    load_from,
    load_one,
    multiply_add,
    plus,
    pointer,
    shuffle,
    store_to,
    transposed,
)

_REGISTER_BITS = 512
_SCALARS = {
    "bool": ir.IntType(1),
    "uint32": I32,
    "uint64": I64,
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
}


class Vector(types.Type):
    """`lanes` numbers of one type in a register."""

    def __init__(self, dtype: types.Type, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(_SCALARS[self.dtype.name], self.lanes)


def vector_of(array: Any) -> Vector:
    """The vector type that holds numbers of `array`; for a vector, its own type."""
    if isinstance(array, Vector):
        return array
    return Vector(array.dtype, _REGISTER_BITS // array.dtype.bitwidth)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


@intrinsic
def lanes(typing_context: Any, array: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return context.get_constant(INDEX, vector_of(array).lanes)

    return INDEX(array), codegen


@intrinsic
def load(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    vector = vector_of(array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, row, column = args
        address = pointer(context, builder, array, value, row, column, vector.lanes)
        return load_from(builder, address, vector.llvm)

    return vector(array, INDEX, INDEX), codegen


@intrinsic
def load_column(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    vector = vector_of(array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, row, column = args
        # One by one, since hardware gathers take three times as long on Zen 4; and as floats,
        # since x86 has shorter instructions to insert those into a vector.
        number = ir.DoubleType() if vector.lanes == 8 else ir.FloatType()
        gathered = ir.Constant(ir.VectorType(number, vector.lanes), ir.Undefined)
        for lane in range(vector.lanes):
            address = pointer(context, builder, array, value, plus(builder, row, lane), column)
            one = load_one(builder, address, number)
            gathered = builder.insert_element(gathered, one, I32(lane))
        return builder.bitcast(gathered, vector.llvm)

    return vector(array, INDEX, INDEX), codegen


@intrinsic
def store(typing_context: Any, array: Any, row: Any, column: Any, vector: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, row, column, numbers = args
        address = pointer(context, builder, array, value, row, column, vector.lanes)
        store_to(builder, numbers, address)
        return context.get_dummy_value()

    return types.void(array, INDEX, INDEX, vector), codegen


@intrinsic
def splat(typing_context: Any, array: Any, value: Any) -> Any:
    vector = vector_of(array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return broadcast(builder, args[1], vector.llvm)

    return vector(array, vector.dtype), codegen


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    vector, arguments = _common(a, b, c)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return multiply_add(builder, *_vectors(builder, vector, args))

    return vector(*arguments), codegen


@intrinsic
def fma_of_numbers(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float64(*[types.float64] * 3), codegen


@intrinsic
def where(typing_context: Any, mask: Any, a: Any, b: Any) -> Any:
    vector, arguments = _common(a, b)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.select(args[0], *_vectors(builder, vector, args[1:]))

    return vector(mask, *arguments), codegen


@intrinsic
def polynomial(typing_context: Any, a: Any, coefficients: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        def constant(k: int) -> Any:
            number = context.cast(builder, builder.extract_value(args[1], k), coefficients[k], a.dtype)
            return broadcast(builder, number, a.llvm)

        value = constant(len(coefficients) - 1)
        for k in range(len(coefficients) - 2, -1, -1):
            value = multiply_add(builder, value, args[0], constant(k))
        return value

    return a(a, coefficients), codegen


@intrinsic
def by_type(typing_context: Any, a: Any, for_float64: Any, for_float32: Any) -> Any:
    k = 1 if a.dtype == types.float64 else 2

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[k]

    return (for_float64, for_float32)[k - 1](a, for_float64, for_float32), codegen


@intrinsic
def absolute(typing_context: Any, a: Any) -> Any:
    return _unary(a, "llvm.fabs")


@intrinsic
def nearest(typing_context: Any, a: Any) -> Any:
    return _unary(a, "llvm.rint")


@intrinsic
def square_root(typing_context: Any, a: Any) -> Any:
    return _unary(a, "llvm.sqrt")


def _unary(a: Any, name: str) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return call_intrinsic(builder, name, args)

    return a(a), codegen


@intrinsic
def copy_sign(typing_context: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return call_intrinsic(builder, "llvm.copysign", args)

    return a(a, b), codegen


@intrinsic
def first_lanes(typing_context: Any, array: Any, count: Any) -> Any:
    mask = Vector(types.boolean, vector_of(array).lanes)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        indices = ir.VectorType(I64, mask.lanes)
        index = ir.Constant(indices, list(range(mask.lanes)))
        return builder.icmp_signed("<", index, broadcast(builder, args[1], indices))

    return mask(array, INDEX), codegen


@intrinsic
def sum_lanes(typing_context: Any, vector: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return lane_sum(builder, args[0])

    return vector.dtype(vector), codegen


@intrinsic(prefer_literal=True)
def rotate_left(typing_context: Any, a: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        vector = args[0].type
        function_type = ir.FunctionType(vector, [vector] * 3)
        name = f"llvm.fshl.v{vector.count}i{vector.element.width}"
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        distance = ir.Constant(vector, [n.literal_value] * vector.count)
        return builder.call(function, [args[0], args[0], distance])

    return a(a, n), codegen


@intrinsic
def shift_right(typing_context: Any, a: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.lshr(args[0], broadcast(builder, args[1], a.llvm))

    return a(a, a.dtype), codegen


@intrinsic
def to_float(typing_context: Any, a: Any, array: Any) -> Any:
    vector = vector_of(array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.uitofp(args[0], vector.llvm)

    return vector(a, array), codegen


@intrinsic
def lane_numbers(typing_context: Any, array: Any) -> Any:
    vector = vector_of(array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return ir.Constant(vector.llvm, list(range(vector.lanes)))

    return vector(array), codegen


@intrinsic
def join(typing_context: Any, array: Any, parts: Any) -> Any:
    vector = vector_of(array)
    joined = Vector(vector.dtype, len(parts) * vector.lanes)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        values = _vectors(builder, vector, cgutils.unpack_tuple(builder, args[1]))
        while len(values) > 1:
            order = range(2 * values[0].type.count)
            values = [shuffle(builder, a, b, order) for a, b in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    return joined(array, parts), codegen


@intrinsic(prefer_literal=True)
def turn(typing_context: Any, a: Any, n: Any) -> Any:
    registers = a.dtype.bitwidth * a.lanes // _REGISTER_BITS
    first = n.literal_value * a.lanes // registers

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        order = [(first + lane) % a.lanes for lane in range(a.lanes)]
        return shuffle(builder, args[0], args[0], order)

    return a(a, n), codegen


@intrinsic
def store_transposed(typing_context: Any, array: Any, row: Any, vectors: Any) -> Any:
    n = vector_of(array).lanes

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, row, joined = args
        columns = [
            shuffle(builder, long, long, range(first, first + n))
            for long in cgutils.unpack_tuple(builder, joined)
            for first in range(0, long.type.count, n)
        ]
        for k, numbers in enumerate(transposed(builder, columns)):
            address = pointer(context, builder, array, value, plus(builder, row, k), I64(0), n)
            store_to(builder, numbers, address)
        return context.get_dummy_value()

    return types.void(array, INDEX, vectors), codegen


@intrinsic
def maximum(typing_context: Any, a: Any, b: Any) -> Any:
    vector, arguments = _common(a, b)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return larger(builder, *_vectors(builder, vector, args))

    return vector(*arguments), codegen


def _bit_layout(vector: Vector) -> tuple[int, int, Any]:
    """Bits of the mantissa, bias of the exponent, and integers of the same width."""
    mantissa_bits, bias, integer = {"float32": (23, 127, I32), "float64": (52, 1023, I64)}[vector.dtype.name]
    return mantissa_bits, bias, ir.VectorType(integer, vector.lanes)


@intrinsic
def power_of_two(typing_context: Any, k: Any) -> Any:
    mantissa_bits, bias, integers = _bit_layout(k)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        # k + 1.5 * 2**mantissa_bits has k in the low bits of its mantissa
        shifted = builder.fadd(args[0], ir.Constant(k.llvm, [1.5 * 2**mantissa_bits] * k.lanes))
        bits = builder.bitcast(shifted, integers)
        biased = builder.add(bits, ir.Constant(integers, [bias] * k.lanes))
        exponent = builder.shl(biased, ir.Constant(integers, [mantissa_bits] * k.lanes))
        return builder.bitcast(exponent, k.llvm)

    return k(k), codegen


@intrinsic
def exponent(typing_context: Any, a: Any) -> Any:
    mantissa_bits, bias, integers = _bit_layout(a)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], integers)
        biased = builder.lshr(bits, ir.Constant(integers, [mantissa_bits] * a.lanes))
        return builder.sitofp(builder.sub(biased, ir.Constant(integers, [bias] * a.lanes)), a.llvm)

    return a(a), codegen


def _common(*operands: Any) -> tuple[Vector, list[Any]]:
    """The vector type among the operands, and the operands with numbers in that type."""
    vector = next(operand for operand in operands if isinstance(operand, Vector))
    return vector, [operand if operand == vector else vector.dtype for operand in operands]


def _vectors(builder: Any, vector: Vector, values: Sequence[Any]) -> list[Any]:
    """Values of operands, with numbers broadcast to every lane of a vector."""
    return [v if v.type == vector.llvm else broadcast(builder, v, vector.llvm) for v in values]


def _define_operator(function: Callable[..., Any], for_floats: str, for_integers: str) -> None:
    """Define a Python operator for vectors: an LLVM instruction for floats and one for integers.

    One operand of a float operator may be a number.
    """

    def instruction(vector: Vector) -> str:
        return for_floats if isinstance(vector.dtype, types.Float) else for_integers

    def fits(operand: Any, vector: Vector) -> bool:
        return operand == vector or (
            isinstance(vector.dtype, types.Float) and isinstance(operand, types.Number)
        )

    @infer_global(function)
    class _Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if not any(isinstance(operand, Vector) for operand in args):
                return None
            vector, arguments = _common(*args)
            if not instruction(vector) or not all(fits(operand, vector) for operand in args):
                return None
            is_mask = instruction(vector) == "fcmp_ordered"
            return signature(Vector(types.boolean, vector.lanes) if is_mask else vector, *arguments)

    @lower_builtin(function, Vector, Vector)
    @lower_builtin(function, Vector, types.Float)
    @lower_builtin(function, types.Float, Vector)
    @lower_builtin(function, Vector)
    def _lowering(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, _ = _common(*signature.args)
        name = instruction(vector)
        comparison = [">"] if name == "fcmp_ordered" else []
        return getattr(builder, name)(*comparison, *_vectors(builder, vector, args))


_define_operator(operator.add, for_floats="fadd", for_integers="add")
_define_operator(operator.sub, for_floats="fsub", for_integers="")
_define_operator(operator.mul, for_floats="fmul", for_integers="")
_define_operator(operator.truediv, for_floats="fdiv", for_integers="")
_define_operator(operator.neg, for_floats="fneg", for_integers="")
_define_operator(operator.xor, for_floats="", for_integers="xor")
_define_operator(operator.gt, for_floats="fcmp_ordered", for_integers="")
