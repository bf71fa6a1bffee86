"""Checks of users' arguments. Every message names the argument, what is allowed, and what was given."""

import difflib
import functools
import inspect
import math
import operator
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from crabnet_jit import other_names

_P = ParamSpec("_P")
_R = TypeVar("_R")

_EXACT_INTEGER = 2**53  # up to here, float64 holds every integer
_MAX_SIZE = 2**63 - 1  # the largest possible size
_TOO_LONG_TO_PRINT = 10**100
# Exceptions of objects that are not numbers or arrays. Not all exceptions: a signal's handler may raise one.
_REFUSALS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_MAX_LISTED = 200  # characters of names that one message lists
_MAX_SHOWN = 200  # characters of a value


class InvalidArgumentError(ValueError, TypeError):
    """An argument has the wrong type, shape or value."""


def reject(name: str, allowed: str, came: str, why: str = "") -> InvalidArgumentError:
    """The error to raise; long values are shortened."""
    return InvalidArgumentError(f"{name} must be {allowed}, got {shortened(came)}{why}")


def shortened(text: str, most: int = _MAX_SHOWN) -> str:
    """A text on one line; the middle is left out if it is longer than `most`."""
    line = re.sub(r"\s*\n\s*", " ", text)
    if len(line) <= most:
        return line
    half = most // 2
    return f"{line[:half]} ... {line[-half:]}"


def keywords(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function or constructor answer an unknown keyword with a hint of what to write instead.

    Python's own error names `__init__` and at best suggests a similar name: "did you mean l1?" for lr.
    """
    positional_only = inspect.Parameter.POSITIONAL_ONLY
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind != positional_only]
    known = [p.name for p in parameters if p.name != "self"]
    is_constructor = function.__name__ == "__init__"
    has = frozenset(known)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if kwargs and not has.issuperset(kwargs):
            wrong = next(name for name in kwargs if name not in has)
            called = type(args[0]).__name__ if is_constructor else function.__qualname__
            raise InvalidArgumentError(
                f"{called} has no argument {wrong!r}; {other_names.hint(wrong, known)}"
            )
        return function(*args, **kwargs)

    return call


def integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int from `low` to `high`, both included."""
    allowed = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, (bool, np.bool_)):
        raise reject(name, allowed, repr(value))
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # the exception is the check
    except _REFUSALS:
        raise reject(name, allowed, repr(value)) from None
    if number < low or number > (_MAX_SIZE if high is None else high):
        raise reject(
            name, allowed, repr(number) if abs(number) < _TOO_LONG_TO_PRINT else "one with too many digits"
        )
    return number


def choice(name: str, value: object, options: Iterable[str]) -> str:
    """`value` if it is one of the options; the error suggests the closest, and lists all if they are few."""
    names = list(options)
    if isinstance(value, str) and value in names:
        return value
    allowed, count = ", ".join(names), 1
    if len(allowed) > _MAX_LISTED:
        allowed, count = f"the known names ({len(names)}, the first is {shown(names[0])})", 3
    near: list[str] = []
    if isinstance(value, str):
        near = other_names.values_here(value, names) or _nearest(value, names, count)
    hint = f"; did you mean {' or '.join(map(shown, near))}?" if near else ""
    if isinstance(value, type):
        hint = f"; did you mean an object, {value.__name__}(...)?"
    raise reject(name, f"one of {allowed}", shown(value), hint)


def _nearest(value: str, names: Iterable[str], count: int) -> list[str]:
    """The names that are most similar to this one, at most `count` of them; case does not matter."""
    by_lower = {known.lower(): known for known in names}
    return [by_lower[near] for near in difflib.get_close_matches(value.lower(), by_lower, count, 0.5)]


def shown(value: object, most: int = 50) -> str:
    """The `repr` of a value for an error, of at most `most` characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most // 2 - 2]} ... {text[3 - most // 2 :]}"


def is_iterable(value: object) -> bool:
    """Whether a value can be iterated over; an array without dimensions cannot."""
    try:
        iter(value)  # type: ignore[call-overload]  # the TypeError is the check
    except TypeError:
        return False
    return True


def sizes(name: str, values: Iterable[object]) -> list[int]:
    """A sequence of integers of at least 1."""
    if isinstance(values, (str, bytes)) or not is_iterable(values):
        raise reject(name, "a sequence of integers of at least 1", repr(values))
    return [integer(f"{name}[{k}]", value, 1) for k, value in enumerate(values)]


def number(name: str, value: object, low: float, high: float = math.inf, *, open_low: bool = False) -> float:
    """`value` as a finite float from `low` to `high`, but not `low` itself if `open_low`."""
    allowed = f"a finite number {'above' if open_low else 'of at least'} {low:g}"
    if high < math.inf:
        allowed += f" and at most {high:g}"
    return _number(name, value, allowed, lambda v: (v > low if open_low else v >= low) and v <= high)


def fraction(name: str, value: object, *, open_low: bool = False) -> float:
    """`value` as a float of at least 0 and below 1, but not 0 itself if `open_low`."""
    allowed = f"a number {'above 0' if open_low else 'of at least 0'} and below 1"
    return _number(name, value, allowed, lambda v: 0 < v < 1 or (v == 0 and not open_low))


def finite(name: str, value: object) -> float:
    """`value` as a finite float."""
    return _number(name, value, "a finite number", lambda v: True)


def _number(name: str, value: object, allowed: str, fits: Any) -> float:
    is_array = isinstance(value, np.ndarray) and value.ndim > 0  # even one of a single number
    if is_array or isinstance(value, (bool, np.bool_, str, bytes)):
        raise reject(name, allowed, repr(value))
    try:
        result = float(value)  # type: ignore[arg-type]  # the exception is the check
    except _REFUSALS:
        raise reject(name, allowed, repr(value)) from None
    if not math.isfinite(result) or not fits(result):
        raise reject(name, allowed, repr(value))
    return result


def as_array(name: str, values: Any) -> NDArray[Any]:
    """`values` as an array of any type, without masked elements."""
    try:
        given = np.asarray(values)
    except _REFUSALS as error:  # a tensor of PyTorch that needs a gradient raises RuntimeError
        raise reject(name, "an array of numbers", f"{type(values).__name__} ({error})") from None
    if np.ma.is_masked(values):
        raise reject(name, "an array without masked elements", "a masked array")
    return given


def array(
    name: str, values: ArrayLike, dtype: DTypeLike = np.float64, *, allow_nan: bool = False
) -> NDArray[Any]:
    """Finite real numbers, C-contiguous: as float64 only if nothing is lost, or rounded to float32.

    With `allow_nan`, some may be NaN: missing values. The result may be the caller's own array, so do not
    write to it.
    """
    given = as_array(name, values)
    if given.dtype.kind not in "biuf":
        raise reject(name, "an array of real numbers", f"dtype {given.dtype}")
    if given.dtype.kind in "iu" and given.size and max(-int(given.min()), int(given.max())) > _EXACT_INTEGER:
        raise reject(name, "exact in float64", f"{given.dtype} with integers beyond 2**53")
    result = given
    if given.dtype != dtype:
        with np.errstate(over="ignore"):  # takes 5 % of the time for a single row's output
            result = given.astype(dtype)
    result = np.ascontiguousarray(result)
    if result.ndim != given.ndim:  # ascontiguousarray makes a scalar one-dimensional
        result = result.reshape(given.shape)
    is_finite = np.isfinite(result)
    if allow_nan:
        is_finite |= np.isnan(result)
    if not is_finite.all():
        at = tuple(int(k) for k in np.argwhere(~is_finite)[0])
        allowed = "finite" if not np.isfinite(given[at]) else f"finite in {np.dtype(dtype)}"
        raise reject(name, allowed, f"{given[at]}" + (f" at index {at}" if at else ""))
    if given.dtype.itemsize > 8 and not np.array_equal(result, given, equal_nan=True):
        raise reject(name, "exact in float64", f"{given.dtype} with more digits")
    return result


def samples(
    name: str,
    values: ArrayLike,
    n_features: int | None = None,
    dtype: DTypeLike = np.float64,
    *,
    allow_nan: bool = False,
) -> NDArray[Any]:
    """A batch: finite numbers of shape (n_samples, n_features), one sample per row."""
    return _batch(name, array(name, values, dtype, allow_nan=allow_nan), n_features)


def _batch(name: str, result: NDArray[Any], n_features: int | None) -> NDArray[Any]:
    """Check that an array has the shape of a batch."""
    allowed = f"of shape (n_samples, {'n_features' if n_features is None else n_features})"
    if result.ndim != 2:
        raise reject(name, f"two-dimensional, {allowed}", f"shape {result.shape}")
    if result.shape[0] == 0 or result.shape[1] == 0:
        raise reject(name, f"a batch of at least one sample and feature, {allowed}", f"shape {result.shape}")
    if n_features is not None and result.shape[1] != n_features:
        raise reject(name, allowed, f"shape {result.shape}")
    return result


def rows(
    name: str,
    values: ArrayLike,
    n_features: int | None = None,
    dtype: DTypeLike = np.float64,
    *,
    allow_nan: bool = False,
) -> NDArray[Any]:
    """A batch as in `samples`; numbers of shape (n_samples,) are a single feature."""
    given = array(name, values, dtype, allow_nan=allow_nan)
    if given.ndim == 1 and n_features is not None and n_features > 1:
        hint = f"; a single sample is {name}[None, :]" if given.size == n_features else ""
        raise reject(name, f"of shape (n_samples, {n_features})", f"shape {given.shape}", hint)
    return _batch(name, given[:, None] if given.ndim == 1 else given, n_features)


def pairs(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Inputs (n_samples, n_in) and targets (n_samples, n_out); shape (n_samples,) means one feature.

    Targets that are NaN are unknown.
    """
    inputs, targets = rows("x", x), rows("y", y, allow_nan=True)
    if targets.shape[0] != inputs.shape[0]:
        raise reject("y", f"of as many samples as x, {inputs.shape[0]}", f"{targets.shape[0]}")
    return inputs, targets


def same_shape(
    name: str,
    values: ArrayLike,
    shape: tuple[int, ...],
    dtype: DTypeLike = np.float64,
    *,
    allow_nan: bool = False,
) -> NDArray[Any]:
    """Finite numbers of exactly this shape."""
    result = array(name, values, dtype, allow_nan=allow_nan)
    if result.shape != shape:
        raise reject(name, f"of shape {shape}", f"shape {result.shape}")
    return result


def sample_weights(name: str, values: ArrayLike, n_samples: int) -> NDArray[Any]:
    """Weights (n_samples,) of at least 0, not all 0, scaled to a mean of 1."""
    result = array(name, values)
    if result.shape != (n_samples,):
        raise reject(name, f"of shape ({n_samples},), one weight for each sample", f"shape {result.shape}")
    if result.min() < 0:
        at = int(result.argmin())
        raise reject(name, "at least 0 everywhere", f"{result[at]} at index {at}")
    if result.max() == 0:
        raise reject(name, "above 0 somewhere", "only zeros")
    scaled = result / result.max()  # the mean of the largest numbers would overflow
    mean_of_1: NDArray[Any] = scaled / scaled.mean()
    return mean_of_1


def text(name: str, value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise reject(name, "a string", shown(value))
    return value


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise reject(name, "True or False", repr(value))
    return bool(value)


def function(name: str, value: object) -> None:
    """Check for something callable, or None."""
    if value is not None and not callable(value):
        raise reject(name, "a function", repr(value))


def instance(name: str, value: object, kind: type, allowed: str) -> None:
    """Check for an object of this kind."""
    if not isinstance(value, kind):
        raise reject(name, allowed, repr(value))


def path(name: str, value: object) -> Path:
    """`value` as a path that the operating system accepts."""
    try:
        text = os.fspath(value)  # type: ignore[call-overload]  # the TypeError is the check
        os.fsencode(text)
    except (TypeError, UnicodeError):
        raise reject(name, "a path", repr(value)) from None
    if not isinstance(text, str) or "\0" in text or not text:
        raise reject(name, "a path", repr(value))
    return Path(text)


def float_type(name: str, value: object) -> np.dtype[Any]:
    """float32 or float64."""
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        try:
            if value is not None and not isinstance(value, np.ndarray) and dtype == value:
                return dtype
        except (TypeError, ValueError):  # not a type that NumPy knows
            break
    raise reject(name, "float32 or float64", repr(value))


def buffer(name: str, values: object, like: NDArray[Any] | None = None, size: int | None = None) -> None:
    """Check for an array that kernels can write to: flat, contiguous, of this size and `like`'s type."""
    if not isinstance(values, np.ndarray):
        raise reject(name, "an array", repr(values))
    size = values.size if size is None else size
    dtype = float_type(f"{name}.dtype", values.dtype if like is None else like.dtype)
    flags = values.flags
    if values.shape != (size,) or values.dtype != dtype or not flags.c_contiguous or not flags.writeable:
        came = f"{values.dtype} of shape {values.shape}" + ("" if flags.writeable else ", read-only")
        raise reject(name, f"contiguous and writable {dtype} of shape ({size},)", came)
