"""A flag by which a long computation is told to come back.

It is a byte that something outside, such as the operating system, sets to anything but 0 while compiled
code runs. Kernels look at it between parts that take some milliseconds at most.

Looking costs: in the loops over layers of the article's job, 100 ns where a training step takes 300,
since it stands in the way of other optimisations. So a flag may be None, and then nothing looks: a step
that takes less than some milliseconds needs no flag within.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def is_set(typing_context: Any, flag: Any) -> Any:
    """Whether flag[0] is not 0 at this moment: it is read from memory every time. False if flag is None."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if isinstance(flag, types.misc.NoneType):
            return cgutils.false_bit
        data = context.make_array(flag)(context, builder, args[0]).data
        byte = builder.load_atomic(data, "monotonic", 1)
        return builder.icmp_unsigned("!=", byte, ir.IntType(8)(0))

    return types.boolean(flag), codegen
