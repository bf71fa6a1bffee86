"""Tiles: blocks of vectors that stay in registers while a loop runs.

A tile of shape rows x columns holds one vector for each row and column. The
operations are, with `V = lanes(x)` numbers per vector and `[s:]` short for the V
numbers from s on:

    tile_start(x, start, r)             a tile of 8 vectors, as wide as the panel x, or as a pair of panels:
                                        tile[i, j] = start[r + i, 0], or the number `start`
    tile_start_row(x, start, r)         the same for one row
    tile_rows(x)                        rows of `tile_start`
    tile_add_product(tile, A, r, B)     tile[i, j] += sum over k of A[r + i, k] * B[k, j V:]
    tile_dot(A, r, rows, B, c, columns) tile[i, j] = sum over panels p and over s, in steps of V, of
                                        A[p, r + i, s:] * B[p, c + j, s:]
    tile_negative(tile)                 -tile[i, j]
    tile_maximum(tile, value)           tile[i, j] = max(tile[i, j], value); NaN stays
    tile_where_positive(tile, C, r)     tile[i, j] = 0 unless C[r + i, j V:] > 0
    tile_store(tile, C, r)              C[r + i, j V:] = tile[i, j]
    tile_sums(tile, C, r, c, add)       C[r + i, c + j] = sum of the lanes of tile[i, j]; += if `add`
    tile_columns(B, c)                  tile[s, 0] = B[c : c + 8, s], for each sample s of a panel
    tile_combine(tile, A, r, C, c, add) C[r, c : c + 8] = sum over s of A[r, s] * tile[s, 0]; += if `add`

`rows` and `columns` are literal numbers; x gives the type. Arrays are contiguous, and those with samples
are panels. B of `tile_add_product`, and C of `tile_where_positive` and `tile_store`, may be pairs of panels;
A and B of `tile_dot` are groups.
A of `tile_add_product` may be the transpose of a contiguous array, and so may C of `tile_sums` if it is one
row. A of `tile_dot` may be the number 1.0.

The width of a panel is a constant, so an operation computes one address, and the others are at known
distances. Most distances become part of other instructions; computed one by one, addresses took half of all
instructions.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from crabnet_jit.machine.llvm import (
    I64,
    INDEX,
    PANEL,
    broadcast,
    folded,
    lane_sum,
    larger,
    load_from,
    load_one,
    multiply_add,
    pair_orders,
    plus,
    pointer,
    repeat,
    shuffle,
    step,
    store_to,
    transposed,
)
from crabnet_jit.machine.vector import Vector, vector_of

_AT_ONCE = 8  # vectors in a tile, enough to hide a latency of 4 cycles; also features of `tile_columns`


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

    def unpack(self, builder: Any, value: Any) -> list[Any]:
        """Its vectors, row by row, as `places` lists them."""
        return [builder.extract_value(value, k) for k in range(len(self.places))]

    def pack(self, builder: Any, vectors: list[Any]) -> Any:
        value = ir.Constant(self.llvm, ir.Undefined)
        for k, vector in enumerate(vectors):
            value = builder.insert_value(value, vector, k)
        return value


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, tile: Tile) -> None:
        super().__init__(manager, tile, tile.llvm)


def _addresses(
    context: Any, builder: Any, array: Any, value: Any, row: Any, column: Any, n_rows: int, n_columns: int
) -> Callable[..., Any]:
    """A function at(i, j) that gives the address of array[row + i, column + j] from that of the first one."""
    kind = context.get_data_type(array.dtype)
    if array.ndim == 2:
        first = pointer(context, builder, array, value, row, column, n_columns)
        if context.enable_boundscheck:
            pointer(context, builder, array, value, plus(builder, row, n_rows - 1), column, n_columns)
        panel_step = I64(0)
    else:
        struct = context.make_array(array)(context, builder, value)
        n_panels, n_array_rows, _ = cgutils.unpack_tuple(builder, struct.shape)
        if context.enable_boundscheck:
            cgutils.do_boundscheck(context, builder, I64(n_columns // PANEL - 1), n_panels)
            for place in (row, plus(builder, row, n_rows - 1)):
                cgutils.do_boundscheck(context, builder, place, n_array_rows)
        first = step(builder, struct.data, kind, builder.mul(row, I64(PANEL), flags=["nsw"]))
        panel_step = builder.mul(n_array_rows, I64(PANEL), flags=["nsw"])
    row_step, _ = _steps(context, builder, array, value)

    def at(i: int, j: int = 0) -> Any:
        address = first
        if i > 0:
            address = step(builder, address, kind, builder.mul(row_step, I64(i), flags=["nsw"]))
        if array.ndim == 3 and j >= PANEL:
            address = step(builder, address, kind, panel_step)
            j -= PANEL
        return address if j == 0 else step(builder, address, kind, I64(j))

    return at


def _steps(context: Any, builder: Any, array: Any, value: Any) -> tuple[Any, Any]:
    """The distances, in numbers, from a row to the next, and from a column to the next."""
    *_, n_rows, n_columns = cgutils.unpack_tuple(
        builder, context.make_array(array)(context, builder, value).shape
    )
    return (I64(1), n_rows) if array.layout == "F" else (n_columns, I64(1))


def _shape_for(samples: Any) -> tuple[int, int]:
    """Rows and columns of a tile as wide as a panel, or as a pair of panels."""
    columns = PANEL * (samples.ndim - 1) // vector_of(samples).lanes
    return _AT_ONCE // columns, columns


@intrinsic
def tile_start(typing_context: Any, x: Any, start: Any, row: Any) -> Any:
    return _start(x, *_shape_for(x), start)


@intrinsic
def tile_start_row(typing_context: Any, x: Any, start: Any, row: Any) -> Any:
    return _start(x, 1, _shape_for(x)[1], start)


def _start(x: Any, rows: int, columns: int, start: Any) -> Any:
    vector = vector_of(x)
    tile = Tile(vector, rows, columns)
    is_array = isinstance(start, types.Array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        _, value, row = args
        numbers = [value] * rows
        if is_array:
            at = _addresses(context, builder, start, value, row, I64(0), rows, 1)
            numbers = [load_one(builder, at(i), vector.llvm.element) for i in range(rows)]
        filled = [broadcast(builder, number, vector.llvm) for number in numbers]
        return tile.pack(builder, [filled[i] for i, _ in tile.places])

    return tile(x, start if is_array else vector.dtype, INDEX), codegen


@intrinsic
def tile_rows(typing_context: Any, x: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return context.get_constant(INDEX, _shape_for(x)[0])

    return INDEX(x), codegen


@intrinsic
def tile_add_product(typing_context: Any, tile: Any, A: Any, row: Any, B: Any) -> Any:
    """A tile of one row has two sums, of even and odd k: in one, each addition would wait for the last."""
    vector = tile.vector
    lanes, n_sums = vector.lanes, 2 if tile.rows == 1 else 1

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, A_value, row, B_value = args
        *_, n, _ = cgutils.unpack_tuple(builder, context.make_array(B)(context, builder, B_value).shape)
        a_at = _addresses(context, builder, A, A_value, row, I64(0), tile.rows, 1)
        b_at = _addresses(context, builder, B, B_value, I64(0), I64(0), 1, tile.columns * lanes)
        row_step, k_step = _steps(context, builder, A, A_value)
        if context.enable_boundscheck:
            last = builder.sub(n, I64(1))
            pointer(context, builder, A, A_value, row, last)
            _addresses(context, builder, B, B_value, last, I64(0), 1, tile.columns * lanes)
        kind = vector.llvm.element
        starts = [b_at(0, first) for first in range(0, tile.columns * lanes, PANEL)]  # of each panel
        columns_of_one = tile.columns // len(starts)
        row_steps = [builder.mul(row_step, I64(i), flags=["nsw"]) for i in range(tile.rows)]

        def add(a: Any, panels: list[Any], sums: list[Any]) -> list[Any]:
            columns = [
                load_from(builder, step(builder, panel, kind, I64(j * lanes)), vector.llvm)
                for panel in panels
                for j in range(columns_of_one)
            ]
            numbers = [load_one(builder, step(builder, a, kind, to_row), kind) for to_row in row_steps]
            rows = [broadcast(builder, number, vector.llvm) for number in numbers]
            return [
                multiply_add(builder, rows[i], columns[j], old)
                for (i, j), old in zip(tile.places, sums, strict=True)
            ]

        def next_k(values: list[Any], sums_at_once: int) -> list[Any]:
            a, panels, sums = values[0], values[1:n_places], values[n_places:]
            n_vectors = len(tile.places)
            for first in range(0, sums_at_once * n_vectors, n_vectors):
                sums[first : first + n_vectors] = add(a, panels, sums[first : first + n_vectors])
                a = step(builder, a, kind, k_step)
                panels = [step(builder, panel, kind, I64(PANEL)) for panel in panels]
            return [a, *panels, *sums]

        n_places = 1 + len(starts)
        start = [a_at(0), *starts, *tile.unpack(builder, value)]
        if n_sums == 1:
            return tile.pack(builder, repeat(builder, n, start, lambda values: next_k(values, 1))[n_places:])
        zeros = [ir.Constant(vector.llvm, None)] * len(tile.places)
        half = builder.ashr(n, I64(1))
        after = repeat(builder, half, [*start, *zeros], lambda values: next_k(values, 2))
        places, sums = after[:n_places], after[n_places:]
        even, odd = sums[: len(zeros)], sums[len(zeros) :]
        both = [builder.fadd(one, other) for one, other in zip(even, odd, strict=True)]
        left = builder.and_(n, I64(1))
        last_k = repeat(builder, left, [*places, *both], lambda values: next_k(values, 1))
        return tile.pack(builder, last_k[n_places:])

    return tile(tile, A, INDEX, B), codegen


@intrinsic(prefer_literal=True)
def tile_dot(typing_context: Any, A: Any, row: Any, n_rows: Any, B: Any, column: Any, n_columns: Any) -> Any:
    vector = vector_of(B)
    tile = Tile(vector, n_rows.literal_value, n_columns.literal_value)
    is_array = isinstance(A, types.Array)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        A_value, row, _, B_value, column, _ = args
        kind = vector.llvm.element

        def first_panel(array: Any, value: Any, row: Any, n: int) -> tuple[Any, Any, Any]:
            """The panels of a group, the address of the first, and the distance from a panel to the next."""
            n_panels, n_array_rows, _ = cgutils.unpack_tuple(
                builder, context.make_array(array)(context, builder, value).shape
            )
            at = _addresses(context, builder, array, value, row, I64(0), n, PANEL)
            return n_panels, at(0), builder.mul(n_array_rows, I64(PANEL), flags=["nsw"])

        def rows_at(address: Any, n: int, s: int) -> list[Any]:
            places = [step(builder, address, kind, I64(k * PANEL + s)) for k in range(n)]
            return [load_from(builder, place, vector.llvm) for place in places]

        n_panels, b, b_step = first_panel(B, B_value, column, tile.columns)
        groups = [(b, b_step)]
        if is_array:
            _, a, a_step = first_panel(A, A_value, row, tile.rows)
            groups.append((a, a_step))
        n_groups = len(groups)

        def next_panel(values: list[Any]) -> list[Any]:
            addresses, sums = values[:n_groups], values[n_groups:]
            for s in range(0, PANEL, vector.lanes):
                columns = rows_at(addresses[0], tile.columns, s)
                if is_array:
                    rows = rows_at(addresses[1], tile.rows, s)
                else:
                    rows = [broadcast(builder, A_value, vector.llvm)] * tile.rows
                sums = [
                    multiply_add(builder, rows[i], columns[j], old)
                    for (i, j), old in zip(tile.places, sums, strict=True)
                ]
            steps = [further for _, further in groups]
            return [*(step(builder, a, kind, n) for a, n in zip(addresses, steps, strict=True)), *sums]

        zeros = [ir.Constant(vector.llvm, None)] * len(tile.places)
        start = [*(first for first, _ in groups), *zeros]
        return tile.pack(builder, repeat(builder, n_panels, start, next_panel)[n_groups:])

    return tile(A if is_array else vector.dtype, INDEX, n_rows, B, INDEX, n_columns), codegen


@intrinsic
def tile_negative(typing_context: Any, tile: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return tile.pack(builder, [builder.fneg(v) for v in tile.unpack(builder, args[0])])

    return tile(tile), codegen


@intrinsic
def tile_maximum(typing_context: Any, tile: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        least = broadcast(builder, args[1], tile.vector.llvm)
        return tile.pack(builder, [larger(builder, least, v) for v in tile.unpack(builder, args[0])])

    return tile(tile, tile.vector.dtype), codegen


@intrinsic
def tile_where_positive(typing_context: Any, tile: Any, C: Any, row: Any) -> Any:
    lanes = tile.vector.lanes

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, C_value, row = args
        at = _addresses(context, builder, C, C_value, row, I64(0), tile.rows, tile.columns * lanes)
        zero = ir.Constant(tile.vector.llvm, None)
        vectors = []
        for (i, j), vector in zip(tile.places, tile.unpack(builder, value), strict=True):
            positive = builder.fcmp_ordered(">", load_from(builder, at(i, j * lanes), tile.vector.llvm), zero)
            vectors.append(builder.select(positive, vector, zero))
        return tile.pack(builder, vectors)

    return tile(tile, C, INDEX), codegen


@intrinsic
def tile_store(typing_context: Any, tile: Any, C: Any, row: Any) -> Any:
    lanes = tile.vector.lanes

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, C_value, row = args
        at = _addresses(context, builder, C, C_value, row, I64(0), tile.rows, tile.columns * lanes)
        for (i, j), vector in zip(tile.places, tile.unpack(builder, value), strict=True):
            store_to(builder, vector, at(i, j * lanes))
        return context.get_dummy_value()

    return types.void(tile, C, INDEX), codegen


@intrinsic
def tile_sums(typing_context: Any, tile: Any, C: Any, row: Any, column: Any, add: Any) -> Any:
    together = len(tile.places) % _AT_ONCE == 0  # sums of a whole vector at a time

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, C_value, row, column, add = args
        at = _addresses(context, builder, C, C_value, row, column, tile.rows, tile.columns)
        vectors = tile.unpack(builder, value)
        n_sums, n_in_row = (_AT_ONCE, min(_AT_ONCE, tile.columns)) if together else (1, 1)

        def store(sums: Any, first: int, n_at_once: int) -> None:
            for k in range(first, first + n_sums, n_at_once):
                part = shuffle(builder, sums, sums, range(k - first, k - first + n_at_once))
                _store_or_add(builder, part, at(*tile.places[k]), add)

        for first in range(0, len(vectors), n_sums):
            if not together:
                total = lane_sum(builder, vectors[first])
                store(broadcast(builder, total, ir.VectorType(total.type, 1)), first, 1)
                continue
            sums = lane_sums(builder, vectors[first : first + n_sums])
            if n_in_row == n_sums:
                store(sums, first, n_in_row)
                continue
            # Contiguous rows of C are one vector, so the update can read it without waiting for several.
            row_step, _ = _steps(context, builder, C, C_value)
            with builder.if_else(builder.icmp_signed("==", row_step, I64(n_in_row))) as (then, otherwise):
                with then:
                    store(sums, first, n_sums)
                with otherwise:
                    store(sums, first, n_in_row)
        return context.get_dummy_value()

    return types.void(tile, C, INDEX, INDEX, types.boolean), codegen


def _store_or_add(builder: Any, vector: Any, address: Any, add: Any) -> None:
    old = builder.select(add, load_from(builder, address, vector.type), ir.Constant(vector.type, None))
    store_to(builder, builder.fadd(old, vector), address)


def lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """Lane k of the result is the sum of the lanes of vector k, for eight vectors.

    The additions are those of `lane_sum`, done for two vectors with one instruction.
    """
    width = 1
    lanes = len(vectors)
    vectors = [folded(builder, vector) for vector in vectors]
    while len(vectors) > 1:
        low, high = pair_orders(lanes, width)
        vectors = [
            builder.fadd(shuffle(builder, a, b, low), shuffle(builder, a, b, high))
            for a, b in zip(vectors[0::2], vectors[1::2], strict=True)
        ]
        width *= 2
    return vectors[0]


@intrinsic
def tile_columns(typing_context: Any, B: Any, row: Any) -> Any:
    vector = Vector(B.dtype, _AT_ONCE)
    tile = Tile(vector, PANEL, 1)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        at = _addresses(context, builder, B, args[0], args[1], I64(0), _AT_ONCE, PANEL)
        columns = []
        for first in range(0, PANEL, _AT_ONCE):
            rows = [load_from(builder, at(i, first), vector.llvm) for i in range(_AT_ONCE)]
            columns += transposed(builder, rows)
        return tile.pack(builder, columns)

    return tile(B, INDEX), codegen


@intrinsic
def tile_combine(typing_context: Any, tile: Any, A: Any, row: Any, C: Any, column: Any, add: Any) -> Any:
    vector = tile.vector

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, A_value, row, C_value, column, add = args
        at = _addresses(context, builder, A, A_value, row, I64(0), 1, tile.rows)
        sums = [ir.Constant(vector.llvm, None)] * 2  # of even and odd samples
        for s, samples in enumerate(tile.unpack(builder, value)):
            factor = broadcast(builder, load_one(builder, at(0, s), vector.llvm.element), vector.llvm)
            sums[s % 2] = multiply_add(builder, factor, samples, sums[s % 2])
        address = pointer(context, builder, C, C_value, row, column, vector.lanes)
        _store_or_add(builder, builder.fadd(*sums), address, add)
        return context.get_dummy_value()

    return types.void(tile, A, INDEX, C, INDEX, types.boolean), codegen
