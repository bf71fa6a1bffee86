"""Windows onto flat buffers, made inside a loop at no cost.

Slicing and reshaping an array in a compiled function counts references with atomic
operations. These views borrow the memory instead: they may not outlive the buffer,
which the caller of a kernel holds.

    matrix(flat, offset, n_rows, n_columns)  flat[offset:][: n_rows * n_columns] as a matrix
    panel(x, i, j)                           x[i, j], a matrix of the four-dimensional x
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from crabnet_jit.kernels.vector import INDEX


@intrinsic
def matrix(typing_context: Any, flat: Any, offset: Any, n_rows: Any, n_columns: Any) -> Any:
    view = types.Array(flat.dtype, 2, "C")

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        value, offset, n_rows, n_columns = args
        array = context.make_array(flat)(context, builder, value)
        if context.enable_boundscheck:
            (size,) = cgutils.unpack_tuple(builder, array.shape)
            last = builder.sub(builder.add(offset, builder.mul(n_rows, n_columns)), size.type(1))
            cgutils.do_boundscheck(context, builder, offset, size)
            cgutils.do_boundscheck(context, builder, last, size)
        data = builder.gep(array.data, [offset])
        return _borrow(context, builder, view, data, n_rows, n_columns)

    return view(flat, INDEX, INDEX, INDEX), codegen


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
        data = builder.gep(array.data, [builder.mul(index, builder.mul(n_rows, n_columns))])
        return _borrow(context, builder, view, data, n_rows, n_columns)

    return view(x, INDEX, INDEX), codegen


def _borrow(context: Any, builder: Any, view: Any, data: Any, n_rows: Any, n_columns: Any) -> Any:
    """A C-contiguous matrix at `data` that owns no memory."""
    array = context.make_array(view)(context, builder)
    itemsize = ir.IntType(64)(view.dtype.bitwidth // 8)
    populate_array(
        array,
        data=data,
        shape=[n_rows, n_columns],
        strides=[builder.mul(n_columns, itemsize), itemsize],
        itemsize=itemsize,
        meminfo=None,
    )
    return array._getvalue()
