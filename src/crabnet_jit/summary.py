"""Texts for `repr`: an expression, or the essentials in the form of one, on one or a few lines."""

import inspect
import textwrap
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

_WIDTH = 100  # characters in a line
_MAX_TEXT = 100  # characters of one value
_MAX_NUMBERS = 8  # shown of an array
_MAX_LISTED = 8


def summary(thing: object, *parts: str) -> str:
    """`Kind(part, part)` on one line, or with a line for each part if that is too long.

    Examples
    --------
    >>> summary([], "500 samples", "batch_size=32")
    'list(500 samples, batch_size=32)'
    """
    name = type(thing).__name__
    line = f"{name}({', '.join(parts)})"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    return f"{name}(\n" + textwrap.indent("".join(f"{part},\n" for part in parts), "  ") + ")"


def arguments(thing: object) -> list[str]:
    """`name=value` for each argument of the constructor that the object has as an attribute."""
    values = vars(thing)
    places = [(name, key) for name in inspect.signature(type(thing)).parameters for key in (name, f"_{name}")]
    return [f"{name}={brief(values[key])}" for name, key in places if key in values]


def fields(thing: Any) -> list[str]:
    """`name=value` for each field of a named tuple."""
    return [f"{name}={brief(value)}" for name, value in thing._asdict().items()]


def brief(value: Any) -> str:
    """A value on one line: for a long array only its shape, for a function its name."""
    if isinstance(value, PurePath):
        value = str(value)
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        is_short = value.size <= _MAX_NUMBERS and value.dtype.kind in "biuf"
        return _rounded(value.tolist()) if is_short else f"array of shape {value.shape}"
    text = " ".join(called(value).split())
    if " at 0x" in text:
        return f"{type(value).__name__}(…)"
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 2]} …"


def called(value: object) -> str:
    """The name of a function or a class; for anything else, its `repr`."""
    return str(value.__name__) if callable(value) and hasattr(value, "__name__") else repr(value)


def listed(values: Sequence[Any], show: Callable[[Any], str] = brief) -> str:
    """A list; only the first values are shown if it is long.

    Examples
    --------
    >>> listed(["x", "y"]), listed(range(1000))
    ("['x', 'y']", '[0, 1, 2, 3, 4, 5, 6, 7, … of 1,000]')
    """
    first = ", ".join(map(show, values[:_MAX_LISTED]))
    return f"[{first}]" if len(values) <= _MAX_LISTED else f"[{first}, … of {len(values):,}]"


def counted(n: int, noun: str) -> str:
    """`1 input`, `1,000 inputs`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _rounded(values: Any) -> str:
    """Numbers, or lists of numbers, with six digits."""
    if isinstance(values, list):
        return f"[{', '.join(map(_rounded, values))}]"
    return f"{values:.6g}" if isinstance(values, float) else repr(values)
