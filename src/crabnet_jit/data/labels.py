"""Labels: the values of classes, and the integers from 0 on that encode them."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crabnet_jit import check

Label = str | int | float | bool

_MANY_CLASSES = 100  # beyond this, labels that are almost all different are regarded as a mistake
_ALLOWED = "labels: integers, strings or booleans"


def is_missing(value: Any) -> bool:
    """Whether an object is a missing value: None, NaN, or those of pandas."""
    is_nan = isinstance(value, float) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in ("NAType", "NaTType")


def are_missing(given: NDArray[Any]) -> NDArray[np.bool_]:
    """Flags for the missing values of an array, in its shape."""
    if given.dtype.kind == "f":
        return np.asarray(np.isnan(given))
    if given.dtype.kind not in "OT" or given.size == 0:
        return np.zeros(given.shape, bool)
    return np.asarray(np.frompyfunc(is_missing, 1, 1)(given.astype(object)), bool)


def is_labels(given: NDArray[Any]) -> bool:
    """Whether the values of this array can only be labels: strings, booleans, or integers as objects.

    Missing values are ignored.
    """
    if given.dtype != object:
        return given.dtype.kind in "UTb"
    values = given[~are_missing(given)].tolist()
    return any(isinstance(v, (str, bool, np.bool_)) for v in values) or all(
        isinstance(v, (int, np.integer)) for v in values
    )


def label_array(name: str, y: ArrayLike) -> NDArray[Any]:
    """Labels (n_samples,) as strings, booleans, int64, or float64 with integer values."""
    given = check.as_array(name, y)
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim != 1:
        raise check.reject(name, "labels of shape (n_samples,)", f"shape {given.shape}")
    if given.dtype.kind in "OT":
        given = _of_one_type(name, given.astype(object))
    if given.dtype.kind in "Ub":
        return given
    if given.dtype.kind not in "iuf":
        raise check.reject(name, _ALLOWED, f"dtype {given.dtype}")
    values = check.array(name, given)  # finite
    if (wrong := values != np.floor(values)).any():
        at = int(wrong.argmax())
        hint = "; for numbers, use a loss such as mse" if given.dtype.kind == "f" else ""
        raise check.reject(name, _ALLOWED, f"{values[at]:g} at index {at}", hint)
    return values if given.dtype.kind == "f" else given.astype(np.int64)


def _of_one_type(name: str, given: NDArray[Any]) -> NDArray[Any]:
    """An array of objects as an array of strings, booleans or numbers."""
    kinds: dict[type, int] = {}
    for at, value in enumerate(given):
        if is_missing(value):
            raise check.reject(name, "labels without missing values", f"{value!r} at index {at}")
        for kind in (str, bool, np.bool_, int, np.integer, float, np.floating):
            if isinstance(value, kind):
                kinds.setdefault({np.bool_: bool, np.integer: int, np.floating: float}.get(kind, kind), at)
                break
        else:
            raise check.reject(name, _ALLOWED, f"{check.shown(value)} at index {at}")
    if len(kinds) > 1 and not set(kinds) <= {int, float}:
        (first, i), (other, k) = list(kinds.items())[:2]
        came = f"{check.shown(given[i])} at index {i} and {check.shown(given[k])} at index {k}"
        raise check.reject(name, "labels of one type", f"{first.__name__} and {other.__name__}, {came}")
    if not kinds:
        return np.empty(0)
    return np.array(given.tolist(), dtype=float if float in kinds else None)


class Labels:
    """The classes of a network, in the order of their codes.

    Attributes
    ----------
    values : ndarray, shape (n_classes,)
        Different labels in ascending order; read-only.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = np.array(values)
        self.values.flags.writeable = False

    @classmethod
    def of(cls, name: str, labels: NDArray[Any]) -> "Labels":
        """The labels that occur in a data set; at least two."""
        if labels.size == 0:
            raise check.reject(name, "at least one label", "none")
        values = np.unique(labels)
        if values.size == 1:
            raise check.reject(
                name, "labels of at least two classes", f"only {check.shown(values[0].item())}"
            )
        if values.size > max(_MANY_CLASSES, labels.size // 2):
            raise check.reject(
                name, "labels of fewer classes", f"{values.size} classes for {labels.size} samples"
            )
        return cls(values)

    @classmethod
    def numbered(cls, n_classes: int) -> "Labels":
        """The integers from 0 to n_classes - 1."""
        return cls(np.arange(n_classes))

    @classmethod
    def from_values(cls, values: Any) -> "Labels":
        """The labels from a file, fully checked; any exception means that they are invalid."""
        if not isinstance(values, list) or len(values) < 2 or len({type(value) for value in values}) > 1:
            raise ValueError("classes that are not a list of labels of one type")
        labels = label_array("classes", values)
        if not np.array_equal(np.unique(labels), labels):
            raise ValueError("classes that are not in order")
        return cls(labels)

    def __reduce__(self) -> tuple[type["Labels"], tuple[NDArray[Any]]]:
        return Labels, (self.values,)  # a copy is read-only, too

    def __len__(self) -> int:
        return len(self.values)

    def codes(self, name: str, y: ArrayLike) -> NDArray[np.intp]:
        """The codes (n_samples,) of labels, all of which must be known."""
        labels = label_array(name, y)
        if (labels.dtype.kind == "U") != (self.values.dtype.kind == "U"):
            known = "strings" if self.values.dtype.kind == "U" else "numbers"
            came = check.shown(labels[0].item()) if labels.size else "none"
            raise check.reject(name, f"labels like the network's classes, which are {known}", came)
        codes = np.minimum(np.searchsorted(self.values, labels), len(self) - 1)
        if (unknown := self.values[codes] != labels).any():
            at = int(unknown.argmax())
            raise check.reject(
                name, f"one of the classes {self}", f"{check.shown(labels[at].item())} at index {at}"
            )
        return codes

    def __repr__(self) -> str:
        return f"Labels({self})"

    def __str__(self) -> str:
        return ", ".join(check.shown(value) for value in self.values[:10].tolist()) + ", …" * (len(self) > 10)
