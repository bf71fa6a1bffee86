"""Functions that users write, compiled."""

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.errors import NumbaError

from crabnet_jit import _validation as check
from crabnet_jit.kernels._jit import kernel


def compile_scalar(name: str, function: Callable[..., float], n_arguments: int) -> Any:
    """A function of float64 numbers that gives one, for calls from kernels.

    It becomes part of kernels that may be for float32, where it is compiled for that, too.
    """
    python_function = getattr(function, "py_func", function)
    if not callable(python_function):
        raise check.reject(name, "a function", repr(function))
    allowed = f"a function of {n_arguments} numbers that Numba can compile, giving a number"
    try:
        compiled = kernel(python_function)
        compiled.compile((types.float64,) * n_arguments)
    except (NumbaError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise check.reject(name, allowed, f"{python_function!r}: {' '.join(reason)[:400]}") from None
    (overload,) = compiled.overloads.values()
    result = overload.signature.return_type
    if not isinstance(result, (types.Float, types.Integer)):
        raise check.reject(name, allowed, f"{python_function!r}, which gives {result}")
    return compiled
