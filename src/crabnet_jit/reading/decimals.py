"""Decimal numbers in a text, many at once: as float64, correctly rounded."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.kernels.decimals import MAX_FRACTION
from crabnet_jit.kernels.text_entries import read_decimals as kernel

Floats = NDArray[np.float64]
T = TypeVar("T")

_CHUNK = 2**17  # cells, for a thread
_POWERS = np.array([float(10**k) for k in range(MAX_FRACTION + 1)])


@dataclass(frozen=True)
class Decimals:
    """What the cells of columns are, in arrays (n_columns, n_rows), or of one column (n_rows,).

    Attributes
    ----------
    values : ndarray of float64
        The numbers, where `is_read`.
    is_read : ndarray of bool
        Whether the cell is a sign, or none, and digits with at most one point. Others can be numbers, too:
        with an exponent, with many digits, or with a rounding that is not certain. They are left to `float`.
    is_whole : ndarray of bool
        Whether it is read, and has no point.
    is_empty : ndarray of bool
        Whether it has no character.
    """

    values: Floats
    is_read: NDArray[np.bool_]
    is_whole: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]

    def column(self, index: int) -> "Decimals":
        """Those of one column."""
        return Decimals(self.values[index], self.is_read[index], self.is_whole[index], self.is_empty[index])


def in_threads(function: Callable[[int], T], arguments: Sequence[int]) -> list[T]:
    """The results of a function for these arguments; NumPy's loops run beside each other."""
    if len(arguments) == 1:
        return [function(arguments[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, arguments))


def read_decimals(
    text: NDArray[np.uint8], starts: NDArray[Any], ends: NDArray[Any], point: str = "."
) -> Decimals:
    """The numbers in `text[start:end]`, for each cell (n_rows, n_columns)."""
    shape = starts.shape[::-1]
    read = Decimals(np.empty(shape), *(np.empty(shape, np.bool_) for _ in range(3)))
    n_rows = max(_CHUNK // shape[0], 1)

    def fill(first: int) -> None:
        rows = slice(first, first + n_rows)
        results = read.values, read.is_read, read.is_whole, read.is_empty
        kernel(text, starts[rows], ends[rows], np.uint8(ord(point)), _POWERS, first, *results)

    in_threads(fill, range(0, shape[1], n_rows))
    return read
