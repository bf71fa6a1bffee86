"""Building blocks of LLVM code for operations.

LLVM's pointers no longer have an element type, and those of llvmlite are going to lose it. So every load,
store and step names the type; only `pointing_to` knows of pointers that still have one.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

PANEL = 16  # samples in a panel: two vectors of float64, or one of float32
INDEX = types.intp
I32 = ir.IntType(32)
I64 = ir.IntType(64)


def pointing_to(builder: Any, address: Any, kind: Any) -> Any:
    """An address as a pointer to a value of this LLVM type."""
    return address if address.type.is_opaque else builder.bitcast(address, ir.PointerType(kind))


def step(builder: Any, address: Any, kind: Any, n: Any) -> Any:
    """The address n values of this type further on."""
    return builder.gep(address, [n], source_etype=kind)


def load_one(builder: Any, address: Any, kind: Any, align: int | None = None) -> Any:
    """The value of this type at an address."""
    return builder.load(pointing_to(builder, address, kind), align=align, typ=kind)


def repeat(
    builder: Any, n: Any, start: Sequence[Any], one_round: Callable[[list[Any]], list[Any]]
) -> list[Any]:
    """The values after n rounds, each of which computes new values from the last; `start` if n is 0.

    LLVM does not unroll the loop: for small layers, the code around unrolled loops costs more than it gains.
    """
    before = builder.block
    loop, end = builder.append_basic_block("round"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", n, I64(0)), loop, end)

    builder.position_at_end(loop)
    left, values = builder.phi(I64), [builder.phi(value.type) for value in start]
    later = one_round(list(values))
    left_later = builder.sub(left, I64(1), flags=["nsw"])
    last = builder.block
    _do_not_unroll(builder.module, builder.cbranch(builder.icmp_signed(">", left_later, I64(0)), loop, end))
    for phi, first, following in zip([left, *values], [n, *start], [left_later, *later], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(following, last)

    builder.position_at_end(end)
    results = [builder.phi(value.type) for value in start]
    for phi, first, following in zip(results, start, later, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(following, last)
    return results


def _do_not_unroll(module: Any, branch: Any) -> None:
    option = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = module.add_metadata([option, I32(len(module.metadata))])  # each loop needs its own
    loop.operands = (loop, option)
    branch.set_metadata("llvm.loop", loop)


def plus(builder: Any, index: Any, offset: int) -> Any:
    return builder.add(index, index.type(offset), flags=["nsw"])


def pointer(context: Any, builder: Any, array: Any, value: Any, row: Any, column: Any, width: int = 1) -> Any:
    """Address of array[row, column], from which `width` numbers of the row are used."""
    struct = context.make_array(array)(context, builder, value)
    n_rows, n_columns = cgutils.unpack_tuple(builder, struct.shape)
    if context.enable_boundscheck:
        cgutils.do_boundscheck(context, builder, row, n_rows)
        cgutils.do_boundscheck(context, builder, column, n_columns)
        cgutils.do_boundscheck(context, builder, plus(builder, column, width - 1), n_columns)
    if array.layout == "F":
        row, column, n_columns = column, row, n_rows
    offset = builder.add(builder.mul(row, n_columns, flags=["nsw"]), column, flags=["nsw"])
    return step(builder, struct.data, context.get_data_type(array.dtype), offset)


def _element_bytes(vector: ir.VectorType) -> int:
    return {"i32": 4, "i64": 8, "float": 4, "double": 8}[str(vector.element)]


def load_from(builder: Any, address: Any, vector: ir.VectorType) -> Any:
    return load_one(builder, address, vector, _element_bytes(vector))


def masked_load(builder: Any, address: Any, vector: ir.VectorType, mask: Any) -> Any:
    """Like `load_from` where the mask is true, and 0 elsewhere; only the former is read."""
    place = pointing_to(builder, address, vector)
    of_pointer = "p0" if place.type.is_opaque else f"p0v{vector.count}f{_element_bytes(vector) * 8}"
    name = f"llvm.masked.load.v{vector.count}f{_element_bytes(vector) * 8}.{of_pointer}"
    function_type = ir.FunctionType(vector, [place.type, I32, mask.type, vector])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    return builder.call(function, [place, I32(_element_bytes(vector)), mask, ir.Constant(vector, None)])


def store_to(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, pointing_to(builder, address, value.type), _element_bytes(value.type))


def shuffle(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    """The given lanes of a and b; the lanes of b are numbered after those of a."""
    mask = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(a, b, mask)


def broadcast(builder: Any, scalar: Any, vector: ir.VectorType) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return shuffle(builder, first, undefined, [0] * vector.count)


def call_intrinsic(builder: Any, name: str, args: Sequence[Any]) -> Any:
    """Call LLVM's function `name` for vectors; all arguments have the same type."""
    vector = args[0].type
    full_name = f"{name}.v{vector.count}f{_element_bytes(vector) * 8}"
    function_type = ir.FunctionType(vector, [vector] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, full_name), args)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return call_intrinsic(builder, "llvm.fma", [a, b, c])


def folded(builder: Any, vector: Any) -> Any:
    """Eight lanes: for a vector with 16, the sum of its two halves."""
    if vector.type.count == 8:
        return vector
    low, high = (shuffle(builder, vector, vector, range(first, first + 8)) for first in (0, 8))
    return builder.fadd(low, high)


def lane_sum(builder: Any, vector: Any) -> Any:
    vector = folded(builder, vector)
    while vector.type.count > 1:
        even = shuffle(builder, vector, vector, range(0, vector.type.count, 2))
        odd = shuffle(builder, vector, vector, range(1, vector.type.count, 2))
        vector = builder.fadd(even, odd)
    return builder.extract_element(vector, I32(0))


def larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def pair_orders(lanes: int, width: int) -> tuple[list[int], list[int]]:
    """Two shuffles of a and b that exchange the odd blocks of a with the even blocks of b.

    With blocks of `width` lanes: a0 b0 a2 b2 … and a1 b1 a3 b3 ….
    """
    odd = [(lane // width) % 2 for lane in range(lanes)]
    low = [lane + (lanes - width) * is_odd for lane, is_odd in enumerate(odd)]
    return low, [lane + width for lane in low]


def transposed(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """The columns of a square: as many vectors as each has lanes, a power of two."""
    square, width = list(rows), 1
    while width < len(square):  # exchange blocks of width x width across the diagonal
        low, high = pair_orders(len(square), width)
        for k in range(len(square)):
            if not k & width:
                a, b = square[k], square[k + width]
                square[k], square[k + width] = shuffle(builder, a, b, low), shuffle(builder, a, b, high)
        width *= 2
    return square
