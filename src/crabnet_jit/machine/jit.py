"""The one place that decides how functions are compiled.

There is no fastmath anywhere: NaN stays NaN, and a sum is added up in the order of the loop, so the bits do
not depend on the compiler's choices.
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
    raise ImportError("crabnet_jit needs compiled code: unset NUMBA_DISABLE_JIT")

# An array argument is passed as seven numbers. Inlining every call avoids that, and halves the time of an
# iteration of a 2-8-8-1 network.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "forceinline": True, "no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` for calls from other kernels, into which it is inlined (inner.py).

    There is no wrapper for calls from Python, which would take half of the compile time.
    """
    return numba.njit(no_cpython_wrapper=True, **_OPTIONS, **inner.options())(function)


def users_kernel(function: Callable[..., Any]) -> Any:
    """The same for a user's function, which Numba compiles as usual."""
    return numba.njit(no_cpython_wrapper=True, **_OPTIONS)(function)


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage collection, which takes 8 % of the time: a compilation makes many long-lived objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _without_signals(compile_entry: Callable[..., Any]) -> Callable[..., Any]:
    """Let signals wait: LLVM calls Python while it compiles, and ignores exceptions raised there."""

    @functools.wraps(compile_entry)
    def compile_held(signature: Any) -> Any:
        with held(), _without_collection():
            return compile_entry(signature)

    return compile_held


def _without_scipy(make_code: Callable[..., Any]) -> Callable[..., Any]:
    """Spare Numba an import before it compiles what is not in the cache (blas.py)."""

    @functools.wraps(make_code)
    def make(*arguments: Any) -> Any:
        blas.look_instead_of_import()
        return make_code(*arguments)

    return make


def _renamed(function: Any, name: str) -> Any:
    """A copy of a function that has another name in machine code.

    Numba distinguishes functions of the same name by a counter in each process. Two functions made by the
    same function, such as two activations, could come from the cache with the same number if different
    processes had compiled them. Then the first would be called instead of the second.
    """
    copy = types.FunctionType(
        function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
    )
    copy.__doc__, copy.__module__ = function.__doc__, function.__module__
    copy.__qualname__ = f"{function.__qualname__}.{name}"
    return copy


def entry_point(kernel: Any, name: str | None = None) -> Any:
    """The same kernel for calls from Python; it releases the GIL.

    It is cached on disk if it has a `name`, which must be unique. A kernel that contains a user's function
    must not have a name, since the cache would not notice a change of that function.
    """
    function = kernel.py_func if name is None else _renamed(kernel.py_func, name)
    compiled = numba.njit(nogil=True, **_OPTIONS)(function)
    compiled.compile = _without_signals(compiled.compile)
    compiled._compiler.compile = _without_scipy(compiled._compiler.compile)
    if name is not None:
        compiled._cache = KernelCache(name)
    return compiled
