"""Threads that run one kernel together synchronise at flags in memory: they meet.

A meeting takes less than a microsecond if each thread has its own core. A waiting thread polls the flags for
about 200 us. Then it sleeps between polls, so that the cores of a busy machine serve the threads that it
waits for.

`flags` are integers, two cache lines for each thread: the number of meetings that it has reached. The first
two lines are a signal to end: it releases all threads that wait or arrive later.
"""

import ctypes
import platform
from typing import Any, NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from crabnet_jit.arrays import Array, Flat, Number, aligned_zeros
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import I32, I64, INDEX, step

_LINE = 16  # integers: two cache lines, since processors also fetch the neighbour of one
_LOOKS = 20000  # polls before a waiting thread sleeps
_SLEEP = 20  # microseconds, or on Windows a millisecond
_ALIGN = 8

_IS_WINDOWS = platform.system() == "Windows"
_SYSTEM = ctypes.windll.kernel32.Sleep if _IS_WINDOWS else ctypes.CDLL(None).usleep  # type: ignore[attr-defined,unused-ignore]
# Machine code on disk finds it by its name.
llvmlite.binding.add_symbol("crabnet_jit_sleep", ctypes.cast(_SYSTEM, ctypes.c_void_p).value)
# LLVM's names for the instruction that tells a processor that a thread waits, and its arguments.
_X86: Any = "llvm.x86.sse2.pause", ()
_ARM: Any = "llvm.aarch64.hint", (I32(1),)
_PAUSE = {"x86_64": _X86, "AMD64": _X86, "arm64": _ARM, "ARM64": _ARM, "aarch64": _ARM}.get(
    platform.machine()
)


class Team(NamedTuple):
    """The flags of threads that run a kernel together, the index of this thread, and their number."""

    flags: Flat
    me: Number
    n: Number


def new_flags(n_threads: int) -> Array:
    """Flags of a team."""
    return aligned_zeros((1 + n_threads) * _LINE, dtype=np.int64)


def start(flags: Array) -> None:
    """Reset a team, while none of its threads runs."""
    flags[:] = 0


def end(flags: Array) -> None:
    """Release all threads that wait or arrive later."""
    flags[0] = 1


@intrinsic
def _look(typing_context: Any, flags: Any, k: Any) -> Any:
    """Read flags[k], so that everything that its writer wrote before is visible."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        array = context.make_array(flags)(context, builder, args[0])
        return builder.load_atomic(step(builder, array.data, I64, args[1]), "acquire", _ALIGN, typ=I64)

    return INDEX(flags, INDEX), codegen


@intrinsic
def _show(typing_context: Any, flags: Any, k: Any, value: Any) -> Any:
    """flags[k] = value, after everything that this thread wrote before."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        array = context.make_array(flags)(context, builder, args[0])
        builder.store_atomic(args[2], step(builder, array.data, I64, args[1]), "release", _ALIGN)
        return context.get_dummy_value()

    return types.void(flags, INDEX, INDEX), codegen


@intrinsic
def _pause(typing_context: Any) -> Any:
    """Tell the processor that this thread waits."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if _PAUSE is not None:
            name, arguments = _PAUSE
            function_type = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
            builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _sleep(typing_context: Any) -> Any:
    """Leave the core to other threads for a few microseconds."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        function_type = ir.FunctionType(I32, [I32])
        function = cgutils.get_or_insert_function(builder.module, function_type, "crabnet_jit_sleep")
        builder.call(function, [I32(1 if _IS_WINDOWS else _SLEEP)])
        return context.get_dummy_value()

    return types.void(), codegen


@kernel
def meet(team: Team) -> bool:
    """Wait until all threads of a team have been here as often as this one; return False if it has ended."""
    is_going_on: bool = _meet(team.flags, team.me + 1, team.n)
    return is_going_on


@kernel
def _meet(flags: Flat, mine: Number, n: Number) -> bool:
    n_meetings = flags[mine * _LINE] + 1
    _show(flags, mine * _LINE, n_meetings)
    other, n_looks = 1, 0
    while other <= n:
        if _look(flags, other * _LINE) >= n_meetings:
            other += 1
        elif _look(flags, 0) != 0:
            other = n + 1
        elif n_looks < _LOOKS:
            n_looks += 1
            _pause()
        else:
            _sleep()
    is_going_on: bool = _look(flags, 0) == 0
    return is_going_on


@kernel
def share(position: Number, n_positions: Number, n: Number, step: Number) -> tuple[Number, Number]:
    """The start and the end of one part of n things, where parts are as equal as possible.

    Each part begins at a multiple of `step`; the first part is the largest.
    """
    n_steps = -(-n // step)
    first = -(-position * n_steps // n_positions) * step
    return min(n, first), min(n, -(-(position + 1) * n_steps // n_positions) * step)
