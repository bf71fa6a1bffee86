"""The signals that tell a long computation to come back.

`flag` is memory to which the operating system writes the numbers of signals while compiled code runs, one
behind the other (_signals.py); a zero ends them. Kernels look there between parts that take some
milliseconds at most.

Looking costs: in the loops over layers of the article's job, 100 ns where a training step takes 300,
since it stands in the way of other optimisations. So a flag may be None, and then nothing looks: a step
that takes less than some milliseconds needs no flag within.
"""

import signal
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.vector import INDEX

INTERRUPT, TERMINATE = int(signal.SIGINT), int(signal.SIGTERM)


@kernel
def is_set(flag: Any) -> Any:
    """Whether there is a signal that interrupts, at this moment. False if flag is None."""
    if flag is None:
        return False
    k = 0
    while k < flag.size:
        number = _now(flag, k)
        if number == 0:
            return False
        if number in (INTERRUPT, TERMINATE):
            return True
        k += 1
    return False


@intrinsic
def _now(typing_context: Any, flag: Any, k: Any) -> Any:
    """flag[k], read from memory every time."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        data = context.make_array(flag)(context, builder, args[0]).data
        byte = builder.load_atomic(builder.gep(data, [args[1]]), "monotonic", 1)
        return builder.zext(byte, ir.IntType(64))

    return types.int64(flag, INDEX), codegen
