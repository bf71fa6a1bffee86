"""Rows of a text as cells: the position of each, and its value if it is a number."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.kernels.cells import MAX_FRACTION
from crabnet_jit.kernels.text_entries import read_rows

Positions = NDArray[np.intp]

_NO_DELIMITER = 0xFF  # UTF-8 has no such byte
_CHUNK = 2**17  # cells for one thread
_POWERS = np.array([float(10**k) for k in range(MAX_FRACTION + 1)])


class Rows(NamedTuple):
    """Parts `text[start:end]` of a text in UTF-8; one byte, the delimiter, separates cells of a row."""

    text: NDArray[np.uint8]
    starts: Positions
    ends: Positions
    delimiter: int

    @classmethod
    def of(cls, rows: Sequence[str], delimiter: int = _NO_DELIMITER) -> "Rows":
        """These rows, one after the other."""
        joined = "".join(rows)
        lengths = map(len, rows) if joined.isascii() else (len(row.encode()) for row in rows)
        bounds = np.cumsum(np.fromiter([0, *lengths], np.intp, len(rows) + 1))
        return cls(np.frombuffer(joined.encode(), np.uint8), bounds[:-1], bounds[1:], delimiter)

    def split(self, row: int) -> list[str]:
        """The cells of one row as Python strings."""
        cells = self.text[self.starts[row] : self.ends[row]].tobytes().split(bytes([self.delimiter]))
        return [cell.decode() for cell in cells]

    def part(self, index: Any) -> "Rows":
        """Some of the rows, indexed as in NumPy."""
        return self._replace(starts=self.starts[index], ends=self.ends[index])


@dataclass(frozen=True)
class Texts:
    """Cells of a text in UTF-8, and the numbers among them.

    Arrays have the shape (n_columns, n_rows), or (n_rows,) for one column.

    Attributes
    ----------
    text : ndarray of uint8
    before, after : ndarray of int
        The positions of the separators on both sides of a cell: the cell is `text[before + 1 : after]`.
    values : ndarray of float64
        Numbers that consist of an optional sign and digits with at most one point; NaN otherwise. Other cells
        can also be numbers: with an exponent, with many digits, or where the rounding is not certain.
    forms : ndarray of uint8
        OTHER, EMPTY, or, for numbers, DECIMAL (with a point) or WHOLE.
    """

    text: NDArray[np.uint8]
    before: Positions
    after: Positions
    values: NDArray[np.float64]
    forms: NDArray[np.uint8]

    def column(self, index: int) -> "Texts":
        """One column."""
        arrays = self.before, self.after, self.values, self.forms
        return Texts(self.text, *(array[index] for array in arrays))

    def decoded(self, rows: Any = slice(None)) -> list[str]:
        """The cells of a column as Python strings: all, or those of some rows."""
        text = self.text.data
        starts, ends = (self.before[rows] + 1).tolist(), self.after[rows].tolist()
        return [str(text[i:k], "utf-8") for i, k in zip(starts, ends, strict=True)]

    def equal(self, wanted: str) -> NDArray[np.bool_]:
        """Flags for the cells of a column that equal this string."""
        characters = wanted.encode()
        n = len(characters)
        are_equal: NDArray[np.bool_] = self.after - self.before == n + 1
        if n and are_equal.any():
            windows = np.ndarray(self.text.size - n + 1, f"S{n}", self.text, strides=(1,))
            are_equal[are_equal] = windows[self.before[are_equal] + 1] == characters
        return are_equal


def read_texts(rows: Rows, n_columns: int, point: str) -> tuple[Texts, Positions]:
    """The cells of rows that should have n_columns each, and how many each row has (n_rows,)."""
    n_rows = len(rows.starts)
    if n_columns > 1:  # so many have too few: the first of them show it, and a wide header needs no memory
        n_rows = min(n_rows, rows.text.size // (n_columns - 1) + 1)
    counts, separators = np.empty(n_rows, np.intp), np.empty((n_columns + 1, n_rows), np.intp)
    values, forms = np.empty((n_columns, n_rows)), np.empty((n_columns, n_rows), np.uint8)
    text = rows.text.view()
    text.flags.writeable = False  # one type of array, so that the kernel is compiled once
    signs = np.uint8(rows.delimiter), np.uint8(ord(point))
    n_chunk = max(_CHUNK // n_columns, 1)

    def read(first: int) -> None:
        last = min(first + n_chunk, n_rows)
        results = counts, separators, values, forms
        read_rows(text, rows.starts, rows.ends, *signs, _POWERS, first, last, *results)

    _in_threads(read, range(0, n_rows, n_chunk))
    return Texts(text, separators[:-1], separators[1:], values, forms), counts


def _in_threads(function: Callable[[int], None], arguments: Sequence[int]) -> None:
    """Call a function, which releases the GIL, for all of these arguments."""
    if len(arguments) == 1:
        function(arguments[0])
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(function, arguments))
