"""The one place that decides how functions are compiled.

No fastmath anywhere: NaN stays NaN, and a sum is added up in the order in which
the loop is written, so the bits do not depend on the compiler's choices.
"""

import contextlib
import functools
import gc
import types
from collections.abc import Callable, Iterator
from typing import Any

import numba
from numba.core import config

from crabnet_jit.machine import blas, inner
from crabnet_jit.machine.cache import KernelCache
from crabnet_jit.machine.signals import held

if config.DISABLE_JIT:
    raise ImportError("crabnet_jit is made of compiled code: unset NUMBA_DISABLE_JIT")

# An array argument is passed as seven numbers. Inlining every call avoids that and
# halves the time of an iteration of a 2-8-8-1 network.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "forceinline": True, "no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` for calls from other kernels, of which it becomes a part (inner.py).

    Without the wrapper that calls from Python would need, which takes half of the compiling.
    """
    return numba.njit(no_cpython_wrapper=True, **_OPTIONS, **inner.options())(function)


def users_kernel(function: Callable[..., Any]) -> Any:
    """The same for a function that a user wrote; Numba compiles it as any other."""
    return numba.njit(no_cpython_wrapper=True, **_OPTIONS)(function)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection, 8 % of the time: a compilation makes many objects, which stay."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _without_signals(compile_entry: Callable[..., Any]) -> Callable[..., Any]:
    """Let signals wait: LLVM calls Python while it compiles, and swallows exceptions raised there."""

    @functools.wraps(compile_entry)
    def compile_held(signature: Any) -> Any:
        with held(), _without_collection():
            return compile_entry(signature)

    return compile_held


def _without_scipy(make_code: Callable[..., Any]) -> Callable[..., Any]:
    """Before what is not in the cache is compiled, spare Numba an import (blas.py)."""

    @functools.wraps(make_code)
    def make(*arguments: Any) -> Any:
        blas.look_instead_of_import()
        return make_code(*arguments)

    return make


def _renamed(function: Any, name: str) -> Any:
    """A copy of a function that has another name in machine code.

    Numba tells functions of one name apart by a number that counts up in each process. Two functions that
    one function made, such as two activations, could come from the cache with the same number, if different
    processes had compiled them. Then the first would be called in place of the second.
    """
    copy = types.FunctionType(
        function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
    )
    copy.__doc__, copy.__module__ = function.__doc__, function.__module__
    copy.__qualname__ = f"{function.__qualname__}.{name}"
    return copy


def entry_point(kernel: Any, name: str | None = None) -> Any:
    """The same kernel for calls from Python; it releases the GIL.

    It is kept on disk if it has a `name`, which no other kernel may have. A kernel that contains a user's
    function must not have a name, since the cache would not notice a change of that function.
    """
    function = kernel.py_func if name is None else _renamed(kernel.py_func, name)
    compiled = numba.njit(nogil=True, **_OPTIONS)(function)
    compiled.compile = _without_signals(compiled.compile)
    compiled._compiler.compile = _without_scipy(compiled._compiler.compile)
    if name is not None:
        compiled._cache = KernelCache(name)
    return compiled
