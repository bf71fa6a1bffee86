"""Views of flat buffers that cost nothing inside a loop.

Slicing and reshaping an array in a compiled function counts references with atomic
operations. These views borrow the memory instead: they must not outlive the buffer,
which the caller of a kernel owns.

    matrix(flat, offset, n_rows, n_columns)  flat[offset:][: n_rows * n_columns] as a matrix
    part(flat, offset, n)                    flat[offset:][:n]
    row(x, i)                                x[i], of the matrix x
    panel(x, i, j)                           x[i, j], a matrix of the four-dimensional x
    group(flat, offset, n_panels, n_rows)    flat[offset:] as n_panels panels, one after the other
    panels(x, i, j, n)                       x[i, j : j + n], a group of the four-dimensional x
    panel_of(x, p)                           x[p], a panel of the group x
    pair_of(x, p)                            x[p : p + 2], two panels of the group x
    panels_of(x, p, n)                       x[p : p + n], a group of the group x
    rows_of(x)                               the rows of all panels of the group x as one matrix
    one_or_several(several, n)               n; or, if `several` is None, 1 as a compile-time constant
    words(draws)                             the uint64 as rows of 16 uint32, low halves first
    as_tuple()(x, n)                         the first n numbers of x as a tuple
"""

import functools
import importlib
from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic

from crabnet_jit.machine.llvm import I32, I64, INDEX, PANEL, pointing_to, step


def as_tuple() -> Any:
    """Numba's function, imported only when needed, since that takes a tenth of a warm start."""
    return importlib.import_module("numba.np.unsafe.ndarray").to_fixed_tuple


@intrinsic
def matrix(typing_context: Any, flat: Any, offset: Any, n_rows: Any, n_columns: Any) -> Any:
    view = types.Array(flat.dtype, 2, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, offset, n_rows, n_columns = args
        return _of_flat(context, builder, flat, view, value, offset, [n_rows, n_columns])

    return view(flat, INDEX, INDEX, INDEX), codegen


@intrinsic
def part(typing_context: Any, flat: Any, offset: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, offset, n = args
        array = context.make_array(flat)(context, builder, value)
        if context.enable_boundscheck:
            (size,) = cgutils.unpack_tuple(builder, array.shape)
            cgutils.do_boundscheck(context, builder, builder.add(offset, n), builder.add(size, I64(1)))
        data = step(builder, array.data, context.get_data_type(flat.dtype), offset)
        return borrow(context, builder, flat, data, [n])

    return flat(flat, INDEX, INDEX), codegen


@intrinsic
def row(typing_context: Any, x: Any, i: Any) -> Any:
    view = types.Array(x.dtype, 1, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, i = args
        array = context.make_array(x)(context, builder, value)
        n_rows, n_columns = cgutils.unpack_tuple(builder, array.shape)
        if context.enable_boundscheck:
            cgutils.do_boundscheck(context, builder, i, n_rows)
        data = step(builder, array.data, context.get_data_type(x.dtype), builder.mul(i, n_columns))
        return borrow(context, builder, view, data, [n_columns])

    return view(x, INDEX), codegen


@intrinsic
def words(typing_context: Any, draws: Any) -> Any:
    view = types.Array(types.uint32, 2, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        array = context.make_array(draws)(context, builder, args[0])
        (size,) = cgutils.unpack_tuple(builder, array.shape)
        data = pointing_to(builder, array.data, I32)
        return borrow(context, builder, view, data, [builder.sdiv(size, I64(8)), I64(16)])

    return view(draws), codegen


@intrinsic
def panel(typing_context: Any, x: Any, i: Any, j: Any) -> Any:
    view = types.Array(x.dtype, 2, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, i, j = args
        array = context.make_array(x)(context, builder, value)
        n_i, n_j, n_rows, n_columns = cgutils.unpack_tuple(builder, array.shape)
        if context.enable_boundscheck:
            cgutils.do_boundscheck(context, builder, i, n_i)
            cgutils.do_boundscheck(context, builder, j, n_j)
        index = builder.add(builder.mul(i, n_j), j)
        size = builder.mul(n_rows, n_columns)
        data = step(builder, array.data, context.get_data_type(x.dtype), builder.mul(index, size))
        return borrow(context, builder, view, data, [n_rows, n_columns])

    return view(x, INDEX, INDEX), codegen


@intrinsic
def group(typing_context: Any, flat: Any, offset: Any, n_panels: Any, n_rows: Any) -> Any:
    view = types.Array(flat.dtype, 3, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, offset, n_panels, n_rows = args
        return _of_flat(context, builder, flat, view, value, offset, [n_panels, n_rows, I64(PANEL)])

    return view(flat, INDEX, INDEX, INDEX), codegen


@intrinsic
def panels(typing_context: Any, x: Any, i: Any, j: Any, n: Any) -> Any:
    view = types.Array(x.dtype, 3, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, i, j, n = args
        array = context.make_array(x)(context, builder, value)
        n_i, n_j, n_rows, width = cgutils.unpack_tuple(builder, array.shape)
        if context.enable_boundscheck:
            _check_width(context, builder, width)
            cgutils.do_boundscheck(context, builder, i, n_i)
            cgutils.do_boundscheck(context, builder, builder.add(j, n), builder.add(n_j, I64(1)))
        size = builder.mul(n_rows, I64(PANEL))
        index = builder.add(builder.mul(i, n_j), j)
        data = step(builder, array.data, context.get_data_type(x.dtype), builder.mul(index, size))
        return borrow(context, builder, view, data, [n, n_rows, I64(PANEL)])

    return view(x, INDEX, INDEX, INDEX), codegen


@intrinsic
def panel_of(typing_context: Any, x: Any, p: Any) -> Any:
    view = types.Array(x.dtype, 2, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _of_group(context, builder, x, view, args, [])

    return view(x, INDEX), codegen


@intrinsic
def pair_of(typing_context: Any, x: Any, p: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _of_group(context, builder, x, x, args, [2])

    return x(x, INDEX), codegen


@intrinsic
def panels_of(typing_context: Any, x: Any, p: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, p, n = args
        array = context.make_array(x)(context, builder, value)
        n_panels, n_rows, width = cgutils.unpack_tuple(builder, array.shape)
        if context.enable_boundscheck:
            _check_width(context, builder, width)
            for place in (p, builder.add(p, n)):  # zero panels may be at the end
                cgutils.do_boundscheck(context, builder, place, builder.add(n_panels, I64(1)))
        offset = builder.mul(p, builder.mul(n_rows, I64(PANEL)))
        data = step(builder, array.data, context.get_data_type(x.dtype), offset)
        return borrow(context, builder, x, data, [n, n_rows, I64(PANEL)])

    return x(x, INDEX, INDEX), codegen


@intrinsic
def rows_of(typing_context: Any, x: Any) -> Any:
    view = types.Array(x.dtype, 2, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        array = context.make_array(x)(context, builder, args[0])
        n_panels, n_rows, _ = cgutils.unpack_tuple(builder, array.shape)
        return borrow(context, builder, view, array.data, [builder.mul(n_panels, n_rows), I64(PANEL)])

    return view(x), codegen


@intrinsic
def one_or_several(typing_context: Any, several: Any, n: Any) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return I64(1) if isinstance(several, types.misc.NoneType) else args[1]

    return INDEX(several, INDEX), codegen


def _of_flat(
    context: Any, builder: Any, flat: Any, view: Any, value: Any, offset: Any, shape: list[Any]
) -> Any:
    """A view of this shape that begins at an offset of a flat array."""
    array = context.make_array(flat)(context, builder, value)
    if context.enable_boundscheck:
        (size,) = cgutils.unpack_tuple(builder, array.shape)
        end = builder.add(offset, functools.reduce(builder.mul, shape))  # an empty view may be at the end
        for place in (offset, end):
            cgutils.do_boundscheck(context, builder, place, builder.add(size, I64(1)))
    data = step(builder, array.data, context.get_data_type(flat.dtype), offset)
    return borrow(context, builder, view, data, shape)


def _of_group(context: Any, builder: Any, group: Any, view: Any, args: Any, n: list[int]) -> Any:
    """A panel of a group, or n panels in a row."""
    value, p = args
    array = context.make_array(group)(context, builder, value)
    n_panels, n_rows, width = cgutils.unpack_tuple(builder, array.shape)
    if context.enable_boundscheck:
        _check_width(context, builder, width)
        for last in (0, *(k - 1 for k in n)):
            cgutils.do_boundscheck(context, builder, builder.add(p, I64(last)), n_panels)
    offset = builder.mul(p, builder.mul(n_rows, I64(PANEL)))
    data = step(builder, array.data, context.get_data_type(group.dtype), offset)
    return borrow(context, builder, view, data, [*map(I64, n), n_rows, I64(PANEL)])


def _check_width(context: Any, builder: Any, width: Any) -> None:
    """Check that panels have the width that kernels assume."""
    cgutils.do_boundscheck(context, builder, I64(PANEL - 1), width)


def borrow(context: Any, builder: Any, view: Any, data: Any, shape: list[Any]) -> Any:
    """A C-contiguous array at `data` that owns no memory."""
    populate_array = importlib.import_module("numba.np.arrayobj").populate_array  # as above
    array = context.make_array(view)(context, builder)
    itemsize = I64(view.dtype.bitwidth // 8)
    strides = [itemsize]
    for extent in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], extent))
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=itemsize, meminfo=None)
    return array._getvalue()
