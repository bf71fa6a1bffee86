"""Decimal numbers in a text, thousands at once: as float64, correctly rounded.

A number is an integer below 10**19, divided by a power of ten. The digits are loaded eight at a time and
become an integer in three steps (D. Lemire, "Quickly parsing eight digits", 2018). The division is computed
to twice the digits of a float64 (T. J. Dekker, "A floating-point technique for extending the available
precision", Numer. Math. 18, 1971). Its rounding is then certain, unless the result is as good as halfway
between two numbers.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
T = TypeVar("T")

_MAX_WORDS = 3  # of 8 characters
#: Bytes that must stand before the first cell.
PADDING = 8 * _MAX_WORDS
_CHUNK = 2**14  # cells at once: what is computed of them stays in the processor's cache

_MAX_FRACTION = 22  # digits after the point: 10**22 is the last power of ten that float64 holds
_POWERS = np.array([float(10**k) for k in range(_MAX_FRACTION + 1)])
_WHOLE_POWERS = np.array([10 ** min(k, 19) for k in range(_MAX_FRACTION + 2)], np.uint64)
_U = np.uint64


def _bytes(value: int) -> np.uint64:
    """A word of eight such bytes."""
    return _U(int.from_bytes(bytes([value]) * 8, "little"))


# Of as many words: what keeps the last k characters, which are the last bytes, and drops the others.
_KEEP = {
    n_words: np.frombuffer(
        b"".join(b"\0" * (8 * n_words - k) + b"\xff" * k for k in range(8 * n_words + 1)), "<u8"
    )
    .astype(_U)
    .reshape(-1, n_words)
    for n_words in range(1, _MAX_WORDS + 1)
}


@dataclass(frozen=True)
class Decimals:
    """What cells are, in arrays of one shape.

    Attributes
    ----------
    values : ndarray of float64
        The numbers, where `is_read`.
    is_read : ndarray of bool
        Whether the cell is a sign, or none, and digits with at most one point. Others can be numbers, too:
        with an exponent, with many digits, or with a rounding that is not certain. They are left to `float`.
    is_whole : ndarray of bool
        Whether it is read, and has no point.
    """

    values: Floats
    is_read: NDArray[np.bool_]
    is_whole: NDArray[np.bool_]

    def reshaped(self, shape: tuple[int, ...]) -> "Decimals":
        """The same in another shape."""
        return Decimals(self.values.reshape(shape), self.is_read.reshape(shape), self.is_whole.reshape(shape))

    def part(self, index: Any) -> "Decimals":
        """Those of a part of the cells, as NumPy indexes it."""
        return Decimals(self.values[index], self.is_read[index], self.is_whole[index])


def in_threads(function: Callable[[int], T], arguments: Sequence[int]) -> list[T]:
    """The results of a function for these arguments; NumPy's loops run beside each other."""
    if len(arguments) == 1:
        return [function(arguments[0])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, arguments))


def read_decimals(
    text: NDArray[np.uint8], starts: NDArray[Any], ends: NDArray[Any], point: str = "."
) -> Decimals:
    """The numbers in `text[start:end]`, for each cell; before the first one, there are `PADDING` bytes."""
    parts = in_threads(
        lambda k: _read(text, starts[k : k + _CHUNK], ends[k : k + _CHUNK], ord(point)),
        range(0, max(len(starts), 1), _CHUNK),
    )
    return Decimals(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.is_read for part in parts]),
        np.concatenate([part.is_whole for part in parts]),
    )


def _read(text: NDArray[np.uint8], starts: NDArray[Any], ends: NDArray[Any], point: int) -> Decimals:
    first = text[np.minimum(starts, text.size - 1)]  # the last cell can be empty
    is_negative = first == ord("-")
    lengths = ends - starts - (is_negative | (first == ord("+")))
    n_words = min(max(1, -(-int(lengths.max(initial=0)) // 8)), _MAX_WORDS)
    digits = _words(text, ends, lengths, n_words)
    points = _equal(digits, point ^ ord("0"))
    digits ^= points * _U(point ^ ord("0"))  # a 0 in place of the point
    n_points, fractions = _place(points)
    integers = _integers(digits)
    is_read = (n_points <= 1) & (lengths > n_points) & (lengths <= 8 * n_words) & (fractions <= _MAX_FRACTION)
    is_read &= _combined(_others(digits), _U(1)) == 0
    if n_words == _MAX_WORDS:
        is_read &= integers[:, 0] < 1000  # else the integer is not below 10**19
    integer = _combined(integers, _U(10**8))
    fractions = np.minimum(fractions, _MAX_FRACTION)
    before_the_point = np.where(n_points == 1, integer // _WHOLE_POWERS[fractions + 1], _U(0))
    integer -= before_the_point * (_WHOLE_POWERS[fractions] * _U(9))  # without the 0 in place of the point
    quotients, is_certain = _divide(integer, _POWERS[fractions])
    is_read &= is_certain
    return Decimals(np.where(is_negative, -quotients, quotients), is_read, is_read & (n_points == 0))


def _words(text: NDArray[np.uint8], ends: NDArray[Any], lengths: NDArray[Any], n_words: int) -> Words:
    """The last characters (n_cells, n_words) as bytes above "0", with zeros before their first."""
    n = 8 * n_words
    windows = np.ndarray(text.size - n + 1, f"V{n}", text, strides=(1,))
    words: Words = windows[ends - n].view("<u8").astype(_U, copy=False).reshape(-1, n_words)
    words ^= _bytes(ord("0"))
    words &= _KEEP[n_words].take(lengths, axis=0, mode="clip")
    return words


def _equal(words: Words, byte: int) -> Words:
    """Words with a 1 in each byte that equals this one, and 0 in the others."""
    low = _bytes(0x7F)
    differences = words ^ _bytes(byte)
    is_different = differences & low
    is_different += low
    is_different |= differences
    is_different |= low
    np.invert(is_different, out=is_different)
    is_different >>= _U(7)
    return is_different


def _others(digits: Words) -> Words:
    """Words that are not 0 if a byte is above 9."""
    others = digits + _bytes(0x76)
    others |= digits
    others &= _bytes(0x80)
    others >>= _U(7)
    return others


def _place(points: Words) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """How many points there are, and how many characters come after the point, if there is one."""
    bits = points * _U(0x0102040810204080)
    bits >>= _U(56)  # one for each character, the last is the highest
    each = _combined(bits[:, ::-1], _U(256))
    n_points, n_characters = np.bitwise_count(each), 8 * points.shape[1]
    fractions = n_characters - 1 - np.bitwise_count(each - _U(1)).astype(np.intp)
    return n_points, np.where(n_points == 1, fractions, 0)


def _integers(digits: Words) -> Words:
    """The number of the eight digits of each word."""
    pairs = digits >> _U(8)
    pairs += digits * _U(10)
    upper = pairs >> _U(16)
    upper &= _U(0x000000FF000000FF)
    upper *= _U(0x0000271000000001)
    pairs &= _U(0x000000FF000000FF)
    pairs *= _U(0x000F424000000064)
    pairs += upper
    pairs >>= _U(32)
    return pairs


def _combined(words: Words, base: np.uint64) -> Words:
    """One number (n_cells,) of the words, which are its digits to this base."""
    number = words[:, 0].copy()
    for k in range(1, words.shape[1]):
        number *= base
        number += words[:, k]
    return number


def _halves(values: Floats) -> tuple[Floats, Floats]:
    """The upper bits of each number, and the others: products of halves are exact."""
    scaled = values * (2.0**27 + 1)
    upper = scaled - (scaled - values)
    return upper, values - upper


def _divide(integers: Words, divisor: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The quotients, and whether their rounding is certain."""
    dividend = integers.astype(float)
    rest = (integers - dividend.astype(_U)).view(np.int64)  # of rounding to float64
    quotient = dividend / divisor
    if not rest.any() and integers.max() < 2**53:
        return quotient, np.ones(len(integers), np.bool_)
    product = quotient * divisor
    (q1, q2), (d1, d2) = _halves(quotient), _halves(divisor)
    error = ((q1 * d1 - product) + q1 * d2 + q2 * d1) + q2 * d2  # product + error is exact
    correction = (((dividend - product) - error) + rest) / divisor
    slack = quotient * 2.0**-90
    result = quotient + (correction + slack)
    return result, result == quotient + (correction - slack)
