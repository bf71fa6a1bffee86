"""Flat arrays of any length, eight numbers at a time; numbers beyond the end count as 0.

    flat_at(like, address, n)           the n numbers at an address; `like`, a number or array, gives the type
    stack(like, n)                      room for n such numbers, until the function returns
    converted(v, like)                  v as such numbers, which are not wider
    load_part(x, s, n)                  x[s : s + 8], with 0 from the n-th on
    store_part(x, s, v)                 x[s : s + 8] = v
    row_sums(W, first, n_in, n_rows, x) for each of eight rows r the sum over i of W[first + r n_in + i] x[i];
                                        from the n_rows-th on, those of the last row
    column_sums(W, first, n_in, n_out, d, s)
                                        the sum over o of d[o] * W[first + o n_in + i], for i from s to s + 7

A part is stored whole, so there must be room for that. Like those of view.py, these views borrow memory.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from crabnet_jit.machine.llvm import (
    I64,
    INDEX,
    broadcast,
    load_from,
    load_one,
    masked_load,
    multiply_add,
    repeat,
    step,
    store_to,
)
from crabnet_jit.machine.tile import lane_sums
from crabnet_jit.machine.vector import Vector
from crabnet_jit.machine.view import borrow

LANES = 8
_CACHE_LINE = 64  # bytes


def _vector(array: Any) -> Vector:
    return Vector(array.dtype, LANES)


def _dtype(like: Any) -> Any:
    return like.dtype if isinstance(like, types.Array) else like


def _data(context: Any, builder: Any, array: Any, value: Any) -> Any:
    return context.make_array(array)(context, builder, value).data


def _below(builder: Any, n: Any) -> Any:
    """Which lanes have numbers below n."""
    indices = ir.VectorType(I64, LANES)
    return builder.icmp_signed("<", ir.Constant(indices, list(range(LANES))), broadcast(builder, n, indices))


@intrinsic
def flat_at(typing_context: Any, like: Any, address: Any, n: Any) -> Any:
    dtype = _dtype(like)
    view = types.Array(dtype, 1, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = context.get_data_type(dtype)
        return borrow(context, builder, view, builder.inttoptr(args[1], kind.as_pointer()), [args[2]])

    return view(like, INDEX, INDEX), codegen


@intrinsic
def stack(typing_context: Any, like: Any, n: Any) -> Any:
    dtype = _dtype(like)
    view = types.Array(dtype, 1, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        room = builder.alloca(context.get_data_type(dtype), args[1])
        room.align = _CACHE_LINE
        return borrow(context, builder, view, room, [args[1]])

    return view(like, INDEX), codegen


@intrinsic
def converted(typing_context: Any, vector: Any, like: Any) -> Any:
    result = Vector(_dtype(like), vector.lanes)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if result == vector:
            return args[0]
        return builder.fptrunc(args[0], result.llvm)

    return result(vector, like), codegen


@intrinsic
def load_part(typing_context: Any, array: Any, first: Any, n: Any) -> Any:
    vector = _vector(array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        address = step(builder, _data(context, builder, array, args[0]), vector.llvm.element, args[1])
        return masked_load(builder, address, vector.llvm, _below(builder, args[2]))

    return vector(array, INDEX, INDEX), codegen


@intrinsic
def store_part(typing_context: Any, array: Any, first: Any, vector: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        address = step(builder, _data(context, builder, array, args[0]), vector.llvm.element, args[1])
        store_to(builder, args[2], address)
        return context.get_dummy_value()

    return types.void(array, INDEX, vector), codegen


@intrinsic
def row_sums(typing_context: Any, W: Any, first: Any, n_in: Any, n_rows: Any, x: Any) -> Any:
    vector = _vector(W)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        W_value, first, n_in, n_rows, x_value = args
        kind, llvm = vector.llvm.element, vector.llvm
        start = step(builder, _data(context, builder, W, W_value), kind, first)
        last = builder.sub(n_rows, I64(1))
        numbers = [builder.select(builder.icmp_signed("<", I64(r), last), I64(r), last) for r in range(LANES)]
        rows = [step(builder, start, kind, builder.mul(number, n_in)) for number in numbers]

        def add_whole(values: list[Any]) -> list[Any]:
            x_here, offset, sums = values[0], values[1], values[2:]
            v = load_from(builder, x_here, llvm)
            numbers = [load_from(builder, step(builder, row, kind, offset), llvm) for row in rows]
            added = [multiply_add(builder, w, v, old) for w, old in zip(numbers, sums, strict=True)]
            return [step(builder, x_here, kind, I64(LANES)), builder.add(offset, I64(LANES)), *added]

        def add_rest(sums: list[Any]) -> list[Any]:
            v = masked_load(builder, x_here, llvm, mask)
            numbers = [masked_load(builder, step(builder, row, kind, offset), llvm, mask) for row in rows]
            return [multiply_add(builder, w, v, old) for w, old in zip(numbers, sums, strict=True)]

        zeros = [ir.Constant(llvm, None)] * LANES
        begin = [_data(context, builder, x, x_value), I64(0), *zeros]
        x_here, offset, *sums = repeat(builder, builder.ashr(n_in, I64(3)), begin, add_whole)
        rest = builder.and_(n_in, I64(LANES - 1))
        mask = _below(builder, rest)
        has_rest = builder.zext(builder.icmp_signed(">", rest, I64(0)), I64)
        return lane_sums(builder, repeat(builder, has_rest, sums, add_rest))

    return vector(W, INDEX, INDEX, INDEX, x), codegen


@intrinsic
def column_sums(typing_context: Any, W: Any, first: Any, n_in: Any, n_out: Any, d: Any, part: Any) -> Any:
    """Two sums, of even and of odd rows: in a single sum, each addition would wait for the last."""
    vector = _vector(W)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        W_value, first, n_in, n_out, d_value, part = args
        kind, llvm = vector.llvm.element, vector.llvm
        mask = _below(builder, builder.sub(n_in, part))

        def add(values: list[Any], n_sums: int) -> list[Any]:
            row, d_here, sums = values[0], values[1], values[2:]
            for k in range(n_sums):
                factor = broadcast(builder, load_one(builder, d_here, kind), llvm)
                sums[k] = multiply_add(builder, factor, masked_load(builder, row, llvm, mask), sums[k])
                row, d_here = step(builder, row, kind, n_in), step(builder, d_here, kind, I64(1))
            return [row, d_here, *sums]

        start = step(builder, _data(context, builder, W, W_value), kind, builder.add(first, part))
        begin = [start, _data(context, builder, d, d_value), *[ir.Constant(llvm, None)] * 2]
        half = builder.ashr(n_out, I64(1))
        after = repeat(builder, half, begin, lambda values: add(values, 2))
        after = repeat(builder, builder.and_(n_out, I64(1)), after, lambda values: add(values, 1))
        return builder.fadd(*after[2:])

    return vector(W, INDEX, INDEX, INDEX, d, INDEX), codegen
