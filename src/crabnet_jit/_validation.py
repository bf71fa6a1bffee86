"""Checks of what users pass in. Every message says which argument, what came, what is allowed."""

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_EXACT_INTEGER = 2**53  # up to here every integer is a float64


class InvalidArgumentError(ValueError, TypeError):
    """An argument has the wrong type, shape or value."""


def reject(name: str, allowed: str, came: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name} must be {allowed}, got {came}")


def integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int from `low` to `high`, both included."""
    allowed = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, (bool, np.bool_)):
        raise reject(name, allowed, repr(value))
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # the TypeError is the check
    except TypeError:
        raise reject(name, allowed, repr(value)) from None
    if number < low or (high is not None and number > high):
        raise reject(name, allowed, repr(number))
    return number


def sizes(name: str, values: Iterable[object]) -> list[int]:
    """A sequence of integers of at least 1."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise reject(name, "a sequence of integers of at least 1", repr(values))
    return [integer(f"{name}[{k}]", value, 1) for k, value in enumerate(values)]


def number(name: str, value: object, low: float, high: float = math.inf, *, open_low: bool = False) -> float:
    """`value` as a finite float from `low` to `high`; without `low` itself if `open_low`."""
    allowed = f"a finite number {'above' if open_low else 'of at least'} {low:g}"
    if high < math.inf:
        allowed += f" and at most {high:g}"
    return _number(name, value, allowed, lambda v: (v > low if open_low else v >= low) and v <= high)


def finite(name: str, value: object) -> float:
    return _number(name, value, "a finite number", lambda v: True)


def _number(name: str, value: object, allowed: str, fits: Any) -> float:
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise reject(name, allowed, repr(value))
    try:
        result = float(value)  # type: ignore[arg-type]  # the exception is the check
    except (TypeError, ValueError, OverflowError):
        raise reject(name, allowed, repr(value)) from None
    if not math.isfinite(result) or not fits(result):
        raise reject(name, allowed, repr(value))
    return result


def array(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Finite real numbers as C-contiguous float64, converted only where nothing is lost.

    The result may be the caller's own array: read it, do not write to it.
    """
    try:
        given = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise reject(name, "an array of numbers", f"{type(values).__name__} ({error})") from None
    if np.ma.is_masked(values):
        raise reject(name, "an array without masked elements", "a masked array")
    if given.dtype.kind not in "biuf":
        raise reject(name, "an array of real numbers", f"dtype {given.dtype}")
    if given.dtype.kind in "iu" and given.size and max(-int(given.min()), int(given.max())) > _EXACT_INTEGER:
        raise reject(name, "exact in float64", f"{given.dtype} with integers beyond 2**53")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(given, dtype=np.float64)
    if result.ndim != given.ndim:  # ascontiguousarray makes a scalar one-dimensional
        result = result.reshape(given.shape)
    wrong = ~np.isfinite(result)
    if wrong.any():
        at = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise reject(name, "finite", f"{given[at]} at index {at}")
    if given.dtype.itemsize > 8 and not np.array_equal(result, given):
        raise reject(name, "exact in float64", f"{given.dtype} with more digits")
    return result


def samples(name: str, values: ArrayLike, n_features: int | None = None) -> NDArray[np.float64]:
    """A batch: finite float64 of shape (n_samples, n_features), one sample a row."""
    allowed = f"of shape (n_samples, {'n_features' if n_features is None else n_features})"
    result = array(name, values)
    if result.ndim != 2:
        raise reject(name, f"two-dimensional, {allowed}", f"shape {result.shape}")
    if result.shape[0] == 0 or result.shape[1] == 0:
        raise reject(name, f"a batch of at least one sample and feature, {allowed}", f"shape {result.shape}")
    if n_features is not None and result.shape[1] != n_features:
        raise reject(name, allowed, f"shape {result.shape}")
    return result


def same_shape(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Finite float64 of exactly this shape."""
    result = array(name, values)
    if result.shape != shape:
        raise reject(name, f"of shape {shape}", f"shape {result.shape}")
    return result
