"""Signals that tell a long computation to return.

`flag` is memory to which the operating system writes the numbers of signals, one after the other, while
compiled code runs (signals.py); a zero ends them. Kernels check it between parts that take at most a few
milliseconds.

A check costs time: in the loops over layers of the article's job, it adds 100 ns to a training step of 300,
since it prevents other optimisations. So a flag may be None, and then nothing is checked: a step that takes
less than a few milliseconds needs no check inside.
"""

import signal
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from crabnet_jit.machine.llvm import step

I8 = ir.IntType(8)
INTERRUPT, TERMINATE = int(signal.SIGINT), int(signal.SIGTERM)


@intrinsic
def is_set(typing_context: Any, flag: Any) -> Any:
    """Whether an interrupting signal has arrived. False if flag is None."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if isinstance(flag, types.misc.NoneType):
            return cgutils.false_bit
        array = context.make_array(flag)(context, builder, args[0])
        found = cgutils.alloca_once_value(builder, cgutils.false_bit)
        (size,) = cgutils.unpack_tuple(builder, array.shape)
        with cgutils.for_range(builder, size) as loop:
            # Load it from memory every time: something else writes there.
            address = step(builder, array.data, I8, loop.index)
            number = builder.load_atomic(address, "monotonic", 1, typ=I8)
            for wanted in (INTERRUPT, TERMINATE):
                with builder.if_then(builder.icmp_unsigned("==", number, I8(wanted))):
                    builder.store(cgutils.true_bit, found)
                    loop.do_break()
            with builder.if_then(builder.icmp_unsigned("==", number, I8(0))):
                loop.do_break()
        return builder.load(found, typ=ir.IntType(1))

    return types.boolean(flag), codegen
