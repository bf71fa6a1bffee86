"""Types of text columns: numbers, integers, booleans, dates, or strings."""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.table import Cells, TableError
from crabnet_jit.kernels.cells import DECIMAL, EMPTY, WHOLE
from crabnet_jit.reading.texts import Texts

#: Cells that are missing values, besides those that the caller names.
MISSING = ("", "NA", "na", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "Null", "?")

_TRUE, _FALSE = {"true", "True", "TRUE"}, {"false", "False", "FALSE"}
_TIME = r"([T ]?\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp][Mm])?(Z| ?[+-]\d\d:?\d\d)?)"
_DAY = r"(\d{4}-\d\d?-\d\d?|\d{4}/\d\d?/\d\d?|\d\d?\.\d\d?\.(\d\d){1,2}|\d\d?/\d\d?/(\d\d){1,2})"
_DATE = re.compile(rf"{_DAY}{_TIME}?|{_TIME}", re.ASCII)
EXACT = 2.0**53  # up to here, float64 holds every integer
INEXACT = "integers of 2**53 or more, which are not exact"


class Notation(NamedTuple):
    """The notation of cells.

    Attributes
    ----------
    decimal : {".", ","}
        The decimal sign.
    missing : tuple of str
        Cells that are missing values; surrounding spaces are ignored.
    """

    decimal: str = "."
    missing: tuple[str, ...] = MISSING


def typed(name: str, texts: Texts, notation: Notation, place: Callable[[int], str]) -> Cells:
    """The column of these cells (n_rows,), which takes over their array of values.

    Surrounding spaces are ignored. `place` gives the position of the cell in a row.

    Raises
    ------
    TableError
        If most cells are numbers but others are not, or if numbers have thousands separators.
    """
    is_read, is_missing = texts.forms >= DECIMAL, texts.forms == EMPTY
    for missing in notation.missing:
        if not math.isnan(as_number(missing, notation.decimal)):  # other cells are not read as numbers
            is_missing |= texts.equal(missing)
    rest = np.flatnonzero(~(is_read | is_missing))
    others, counts = _stripped(texts.decoded(rest))
    absent = counts.keys() & set(notation.missing)
    if absent:
        is_missing[rest] = [text in absent for text in others]
    numbers = {text: as_number(text, notation.decimal) for text in counts.keys() - absent}
    words = Counter({text: counts[text] for text, number in numbers.items() if math.isnan(number)})
    if not words:
        values = texts.values
        values[is_missing] = np.nan
        values[rest] = [numbers.get(text, np.nan) for text in others]
        is_whole = (texts.forms == WHOLE) | is_missing
        is_whole[rest] = [text in absent or text.lstrip("+-").isdecimal() for text in others]
        return _of_numbers(name, values, is_missing, bool(is_whole.all()))
    n_cells = int((~is_missing).sum())
    n_numbers = n_cells - words.total()
    n_alike = sum(count for text, count in words.items() if _other_notation(text, notation.decimal))
    if 2 * (n_numbers + n_alike) >= n_cells:
        at, text = next((row, text) for row, text in zip(rest.tolist(), others, strict=True) if text in words)
        raise TableError(f"{place(at)}: {_no_number(text, notation.decimal, n_numbers, n_cells)}")
    column = np.full(len(is_missing), "", object)
    read = np.flatnonzero(is_read)
    for rows, cells in ((rest, others), (read, _stripped(texts.decoded(read))[0])):
        column[rows] = np.fromiter(cells, object, len(cells))
    column[is_missing] = ""
    return _of_words(name, column, is_missing, set(words), are_all=n_numbers == 0)


def as_texts(name: str, texts: Sequence[str], notation: Notation) -> Cells:
    """The column of these cells as strings, whatever they look like."""
    values = np.fromiter(_stripped(texts)[0], object)
    is_missing = np.isin(values, ["", *notation.missing])
    values[is_missing] = ""
    return Cells(name, "text", values, is_missing, "strings")


def _stripped(cells: Sequence[str]) -> tuple[Sequence[str], "Counter[str]"]:
    """Cells without surrounding spaces, and how often each occurs."""
    counts = Counter(cells)
    if any(text != text.strip() for text in counts):
        cells = [text.strip() for text in cells]
        counts = Counter(cells)
    return cells, counts


def _of_numbers(name: str, values: Array, is_missing: NDArray[np.bool_], are_whole: bool) -> Cells:
    are_whole = are_whole and not is_missing.all()
    if are_whole and np.nanmax(np.abs(values)) >= EXACT:
        return Cells(name, "other", values, is_missing, INEXACT)
    kind = "integer" if are_whole else "number"
    return Cells(name, kind, values + 0.0 if are_whole else values, is_missing, f"{kind}s")  # -0 is 0


def _of_words(
    name: str, column: NDArray[Any], is_missing: NDArray[np.bool_], words: set[str], are_all: bool
) -> Cells:
    """Booleans, dates or strings; `are_all` says whether there are no numbers among them."""
    if are_all and words <= _TRUE | _FALSE:
        values = np.array([text in _TRUE for text in column])
        return Cells(name, "boolean", values, is_missing, "booleans")
    if are_all and all(map(_DATE.fullmatch, words)):
        return Cells(name, "date", column, is_missing, f"dates such as {check.shown(min(words))}")
    return Cells(name, "text", column, is_missing, "strings")


def as_number(text: str, decimal: str) -> float:
    """The finite number in a cell, or NaN."""
    if decimal == ",":
        text = text.replace(".", "_").replace(",", ".")
    if "_" in text or not text.isascii():
        return math.nan
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _other_notation(text: str, decimal: str) -> str | None:
    """The thousands separator of a number, or "decimal" if it has the other decimal sign."""
    other = "." if decimal == "," else ","
    point, comma = re.escape(decimal), re.escape(other)
    for separator, called in (
        (comma, repr(other)),
        (r"[ \u00a0\u202f\u2009]", "a space"),
        (r"['\u2019]", '"\'"'),
    ):
        if re.fullmatch(rf"[+-]?\d{{1,3}}({separator}\d{{3}})+({point}\d*)?", text, re.ASCII):
            return called
    if re.fullmatch(rf"[+-]?(\d*|\d{{1,3}}({point}\d{{3}})+){comma}\d+([eE][+-]?\d+)?", text, re.ASCII):
        return "decimal"
    return None


def _no_number(text: str, decimal: str, n_numbers: int, n_cells: int) -> str:
    """The problem with a cell in a column of numbers, and what to do."""
    hint = (
        f"{n_numbers} of {n_cells} cells are numbers; --na-values={shlex.quote(text)} makes this one missing"
    )
    found = _other_notation(text, decimal)
    other = "." if decimal == "," else ","
    if found == "decimal":
        hint = f"if {other!r} is the decimal sign, say --decimal {other}"
    elif found is not None:
        hint = f"remove {found}, which separates thousands, from the numbers"
        if found == repr(other) and text.count(other) == 1 and decimal not in text:
            hint += f"; if it is the decimal sign, say --decimal {other}"
    return f"must be a finite number, got {check.shown(text)}; {hint}"
