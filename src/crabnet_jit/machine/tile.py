"""Tiles: blocks of vectors that stay in registers while a loop runs.

A tile of shape rows x columns holds one vector for each row and column. What the
operations mean, with `V = lanes(x)` numbers to a vector and `[s:]` short for the V
numbers from s on:

    tile_full(x, rows, columns, start, r)  tile[i, j] = start[r + i, 0], or the number `start`
    tile_outer(tile, A, r, B, k, s)        tile[i, j] += A[r + i, k] * B[k, s + j V:]
    tile_dot(tile, A, r, B, c, s)          tile[i, j] += A[r + i, s:] * B[c + j, s:]
    tile_maximum(tile, value)              tile[i, j] = max(tile[i, j], value); NaN stays
    tile_where_positive(tile, C, r, s)     tile[i, j] = 0 unless C[r + i, s + j V:] > 0
    tile_store(tile, C, r, s)              C[r + i, s + j V:] = tile[i, j]
    tile_add_sums(tile, C, r, c)           C[r + i, c + j] += sum of the lanes of tile[i, j]

`rows` and `columns` are literal numbers, x gives the type. Arrays are contiguous. A of `tile_outer`
may be the transpose of a contiguous array, and so may C of `tile_add_sums` if it is one row. A of
`tile_dot` may be the number 1.0.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

from crabnet_jit.machine.llvm import (
    I64,
    INDEX,
    broadcast,
    lane_sum,
    larger,
    load_from,
    load_one,
    multiply_add,
    pair_orders,
    plus,
    pointer,
    shuffle,
    store_to,
)
from crabnet_jit.machine.vector import Vector, vector_of


class Tile(types.Type):
    """`rows` x `columns` vectors in registers."""

    def __init__(self, vector: Vector, rows: int, columns: int) -> None:
        self.vector = vector
        self.rows = rows
        self.columns = columns
        self.places = [(i, j) for i in range(rows) for j in range(columns)]
        super().__init__(name=f"Tile({vector}, {rows}, {columns})")

    @property
    def llvm(self) -> ir.ArrayType:
        return ir.ArrayType(self.vector.llvm, self.rows * self.columns)

    def unpack(self, builder: Any, value: Any) -> dict[tuple[int, int], Any]:
        return {at: builder.extract_value(value, k) for k, at in enumerate(self.places)}

    def pack(self, builder: Any, vectors: dict[tuple[int, int], Any]) -> Any:
        value = ir.Constant(self.llvm, ir.Undefined)
        for k, at in enumerate(self.places):
            value = builder.insert_value(value, vectors[at], k)
        return value


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: Tile) -> None:
        super().__init__(manager, tile, tile.llvm)


@intrinsic(prefer_literal=True)
def tile_full(typing_context: Any, x: Any, rows: Any, columns: Any, start: Any, row: Any) -> Any:
    vector = vector_of(x)
    tile = Tile(vector, rows.literal_value, columns.literal_value)
    is_array = isinstance(start, types.Array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        def scalar(i: int) -> Any:
            if not is_array:
                return args[3]
            at = plus(builder, args[4], i), I64(0)
            return load_one(builder, pointer(context, builder, start, args[3], *at), vector.llvm.element)

        filled = [broadcast(builder, scalar(i), vector.llvm) for i in range(tile.rows)]
        return tile.pack(builder, {(i, j): filled[i] for i, j in tile.places})

    return tile(x, rows, columns, start if is_array else vector.dtype, INDEX), codegen


@intrinsic
def tile_outer(typing_context: Any, tile: Any, A: Any, row: Any, B: Any, k: Any, column: Any) -> Any:
    vector = tile.vector

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, A_value, row, B_value, k, column = args

        def a(i: int) -> Any:
            address = pointer(context, builder, A, A_value, plus(builder, row, i), k)
            return broadcast(builder, load_one(builder, address, vector.llvm.element), vector.llvm)

        def b(j: int) -> Any:
            at = k, plus(builder, column, j * vector.lanes)
            address = pointer(context, builder, B, B_value, *at, width=vector.lanes)
            return load_from(builder, address, vector.llvm)

        return _add_products(builder, tile, value, a, b)

    return tile(tile, A, INDEX, B, INDEX, INDEX), codegen


@intrinsic
def tile_dot(typing_context: Any, tile: Any, A: Any, row: Any, B: Any, column: Any, s: Any) -> Any:
    vector = tile.vector
    is_array = isinstance(A, types.Array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, A_value, row, B_value, column, s = args

        def a(i: int) -> Any:
            if not is_array:
                return broadcast(builder, A_value, vector.llvm)
            at = plus(builder, row, i), s
            address = pointer(context, builder, A, A_value, *at, width=vector.lanes)
            return load_from(builder, address, vector.llvm)

        def b(j: int) -> Any:
            at = plus(builder, column, j), s
            address = pointer(context, builder, B, B_value, *at, width=vector.lanes)
            return load_from(builder, address, vector.llvm)

        return _add_products(builder, tile, value, a, b)

    return tile(tile, A if is_array else vector.dtype, INDEX, B, INDEX, INDEX), codegen


def _add_products(builder: Any, tile: Tile, value: Any, a: Any, b: Any) -> Any:
    """The tile with a(i) * b(j) added at row i and column j."""
    old = tile.unpack(builder, value)
    columns = [b(j) for j in range(tile.columns)]
    rows = [a(i) for i in range(tile.rows)]
    new = {(i, j): multiply_add(builder, rows[i], columns[j], old[i, j]) for i, j in tile.places}
    return tile.pack(builder, new)


@intrinsic
def tile_maximum(typing_context: Any, tile: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        least = broadcast(builder, args[1], tile.vector.llvm)
        vectors = tile.unpack(builder, args[0])
        return tile.pack(builder, {at: larger(builder, least, v) for at, v in vectors.items()})

    return tile(tile, tile.vector.dtype), codegen


@intrinsic
def tile_where_positive(typing_context: Any, tile: Any, C: Any, row: Any, column: Any) -> Any:
    width = tile.vector.lanes

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, C_value, row, column = args
        vectors = tile.unpack(builder, value)
        zero = ir.Constant(tile.vector.llvm, None)
        for i, j in tile.places:
            at = plus(builder, row, i), plus(builder, column, j * width)
            address = pointer(context, builder, C, C_value, *at, width=width)
            positive = builder.fcmp_ordered(">", load_from(builder, address, tile.vector.llvm), zero)
            vectors[i, j] = builder.select(positive, vectors[i, j], zero)
        return tile.pack(builder, vectors)

    return tile(tile, C, INDEX, INDEX), codegen


@intrinsic
def tile_store(typing_context: Any, tile: Any, C: Any, row: Any, column: Any) -> Any:
    width = tile.vector.lanes

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, C_value, row, column = args
        for (i, j), vector in tile.unpack(builder, value).items():
            at = plus(builder, row, i), plus(builder, column, j * width)
            store_to(builder, vector, pointer(context, builder, C, C_value, *at, width=width))
        return context.get_dummy_value()

    return types.void(tile, C, INDEX, INDEX), codegen


@intrinsic
def tile_add_sums(typing_context: Any, tile: Any, C: Any, row: Any, column: Any) -> Any:
    lanes = tile.vector.lanes
    together = len(tile.places) % lanes == 0  # sums of a whole vector at a time

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, C_value, row, column = args
        vectors = list(tile.unpack(builder, value).values())
        group, run = (lanes, min(lanes, tile.columns)) if together else (1, 1)
        for first in range(0, len(vectors), group):
            if together:
                sums = _lane_sums(builder, vectors[first : first + group])
            else:
                total = lane_sum(builder, vectors[first])
                sums = broadcast(builder, total, ir.VectorType(total.type, 1))
            for k in range(first, first + group, run):
                i, j = tile.places[k]
                at = plus(builder, row, i), plus(builder, column, j)
                address = pointer(context, builder, C, C_value, *at, width=run)
                part = shuffle(builder, sums, sums, range(k - first, k - first + run))
                store_to(builder, builder.fadd(load_from(builder, address, part.type), part), address)
        return context.get_dummy_value()

    return types.void(tile, C, INDEX, INDEX), codegen


def _lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """Lane k of the result is the sum of the lanes of vector k; there are as many vectors as lanes.

    The additions are those of `lane_sum`, done for two vectors by one instruction.
    """
    width = 1
    lanes = len(vectors)
    while len(vectors) > 1:
        low, high = pair_orders(lanes, width)
        vectors = [
            builder.fadd(shuffle(builder, a, b, low), shuffle(builder, a, b, high))
            for a, b in zip(vectors[0::2], vectors[1::2], strict=True)
        ]
        width *= 2
    return vectors[0]
