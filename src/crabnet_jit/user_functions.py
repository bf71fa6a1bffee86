"""Users' functions, compiled once and shared.

Compiling takes a third of a second. So kernels that contain a user's functions are shared by all layers,
networks and copies that use the same functions, and are freed together with the functions. Numba cannot free
all of their memory: some of what LLVM needed for a compilation remains.
"""

import operator
import threading
from collections.abc import Callable
from itertools import repeat
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from numba import errors, types

from crabnet_jit import check
from crabnet_jit.machine.jit import entry_point, users_kernel

_Used = list[object]


class Form(NamedTuple):
    """The form of users' functions: arguments and results.

    Attributes
    ----------
    arguments : tuple
        Numba's types of the arguments.
    results : tuple of type
        The allowed types of results.
    allowed : str
        A description for errors.
    reason : callable
        The message for an error that Numba raised.
    refusal : callable
        The reason to reject a compiled function; empty if it is accepted.
    """

    arguments: tuple[Any, ...]
    results: tuple[Any, ...]
    allowed: str
    reason: Callable[[Exception], str] = str
    refusal: Callable[[Any], str] = lambda compiled: ""


def _of_numbers(n_arguments: int) -> Form:
    allowed = f"a function of {n_arguments} numbers that Numba can compile, returning a number"
    return Form((types.float64,) * n_arguments, (types.Float, types.Integer), allowed)


class _Shared(NamedTuple):
    """A kernel, and what its functions depended on when it was compiled."""

    used: list[_Used]
    compiled: Any


# By the first function and the last one, which are the same if there is only one; then by what was made of
# them. No value may hold a function that is a key, or it would never be freed: kernels are made of copies.
_SHARED: WeakKeyDictionary[Any, WeakKeyDictionary[Any, dict[tuple[Any, ...], _Shared]]] = WeakKeyDictionary()
_ALONE = threading.Lock()


def shared_entry(make: Callable[..., Any], form: Form | int, **functions: Callable[..., float]) -> Any:
    """The kernel that `make` makes of users' functions of this form, ready for calls from Python.

    A form that is an int is the number of arguments, which are numbers. The same one or two functions give
    the same kernel as long as they are alive. A function that was changed in place, or that uses a different
    outer value than before, is compiled again.
    """
    form = _of_numbers(form) if isinstance(form, int) else form
    given = [_python_function(name, form, function) for name, function in functions.items()]
    used = [_used(function) for function in given]
    with _ALONE:
        of_functions = _SHARED.setdefault(given[0], WeakKeyDictionary()).setdefault(given[-1], {})
        shared = of_functions.get((make, form))
        if shared is None or not all(map(_are_identical, shared.used, used)):
            scalars = map(_compiled, functions, repeat(form), given)
            shared = of_functions[make, form] = _Shared(used, entry_point(make(*scalars)))
    return shared.compiled


def _python_function(name: str, form: Form, function: Any) -> FunctionType:
    """The plain function, without Numba's wrapper."""
    plain = getattr(function, "py_func", function)
    if not callable(plain):
        raise check.reject(name, "a function", repr(function))
    if not isinstance(plain, FunctionType):
        came = f"{function!r}, which is not a function written in Python"
        raise check.reject(name, form.allowed, came)
    return plain


def _compiled(name: str, form: Form, function: FunctionType) -> Any:
    """A function of this form, for calls from kernels.

    Kernels for float32 contain it, too, and then it is also compiled for float32.
    """
    try:
        compiled = users_kernel(_copy(function))
        compiled.compile(form.arguments)
    except (errors.NumbaError, TypeError) as error:
        reason = " ".join(form.reason(error).split())[:400]
        raise check.reject(name, form.allowed, repr(function), f": {reason}") from None
    (overload,) = compiled.overloads.values()
    result = overload.signature.return_type
    if not isinstance(result, form.results):
        raise check.reject(name, form.allowed, f"{function!r}, which returns {result}")
    if refusal := form.refusal(compiled):
        raise check.reject(name, form.allowed, f"{function!r}, which {refusal}")
    return compiled


def _copy(function: FunctionType) -> FunctionType:
    """A copy that never changes, and only keeps those outer names that the function uses.

    It has no default values, since kernels pass every argument.
    """
    names = _names(function.__code__)
    around = {name: value for name, value in function.__globals__.items() if name in names}
    cells = tuple(CellType(*_contents(cell)) for cell in function.__closure__ or ())
    copy = FunctionType(function.__code__, around, function.__name__, closure=cells or None)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return copy


def _used(function: FunctionType) -> _Used:
    """Everything that the machine code of a function depends on."""
    around = [function.__globals__.get(name) for name in sorted(_names(function.__code__))]
    cells = [content for cell in function.__closure__ or () for content in _contents(cell)]
    return [function.__code__, *around, *cells]


def _are_identical(one: _Used, other: _Used) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _names(code: CodeType) -> set[str]:
    """Names that a function may look up outside, including those of inner functions."""
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def _contents(cell: CellType) -> list[object]:
    """The content of a closure's cell; it may be empty."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []
