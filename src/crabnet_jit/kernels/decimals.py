"""Decimal numbers in a text, correctly rounded.

A number is an integer below 10**19, divided by a power of ten. The division is computed to twice the digits
of a float64 (T. J. Dekker, "A floating-point technique for extending the available precision", Numer. Math.
18, 1971), so that its rounding is certain, unless the result is as good as halfway between two numbers.
"""

import numpy as np

from crabnet_jit.arrays import Flat, Matrix, Number
from crabnet_jit.machine.jit import kernel

MAX_FRACTION = 22  # digits after the point: 10**22 is the last power of ten that float64 holds
_MAX_DIGITS = 19
_EXACT = np.uint64(2**53)
_TEN, _ZERO, _PLUS, _MINUS = np.uint64(10), np.uint8(ord("0")), np.uint8(ord("+")), np.uint8(ord("-"))
_SPLIT = 2.0**27 + 1
_SLACK = 2.0**-90  # of the quotient, in what it is corrected by


@kernel
def _halves(value: Number) -> tuple[Number, Number]:
    """The upper bits of a number, and the others: products of halves are exact."""
    scaled = value * _SPLIT
    upper = scaled - (scaled - value)
    return upper, value - upper


@kernel
def _quotient(integer: Number, divisor: Number) -> tuple[Number, Number]:
    """integer / divisor, and whether its rounding is certain."""
    dividend = np.float64(integer)
    quotient = dividend / divisor
    if integer < _EXACT:
        return quotient, True
    rest = np.float64(np.int64(integer - np.uint64(dividend)))
    product = quotient * divisor
    q1, q2 = _halves(quotient)
    d1, d2 = _halves(divisor)
    error = ((q1 * d1 - product) + q1 * d2 + q2 * d1) + q2 * d2  # product + error is exact
    correction = (((dividend - product) - error) + rest) / divisor
    slack = quotient * _SLACK
    result = quotient + (correction + slack)
    return result, result == quotient + (correction - slack)


@kernel
def _read(text: Flat, i: Number, end: Number, point: Number, powers: Flat) -> tuple[Number, Number, Number]:
    """The number in `text[i:end]`, whether it is read, and has no point."""
    is_negative = i < end and text[i] == _MINUS
    if is_negative or (i < end and text[i] == _PLUS):
        i += 1
    integer, has_digits, n_digits, n_fraction = np.uint64(0), False, 0, -1
    while i < end:
        digit = np.uint8(text[i] - _ZERO)
        if digit < 10:
            integer = integer * _TEN + np.uint64(digit)
            has_digits = True
            if integer > 0:  # not the zeros before the first one
                n_digits += 1
            if n_fraction >= 0:
                n_fraction += 1
        elif text[i] == point and n_fraction < 0:
            n_fraction = 0
        else:
            break
        i += 1
    value, is_read = 0.0, i == end and has_digits and n_digits <= _MAX_DIGITS and n_fraction <= MAX_FRACTION
    if is_read:
        value, is_read = _quotient(integer, powers[max(n_fraction, 0)])
    return -value if is_negative else value, is_read, is_read and n_fraction < 0


@kernel
def read_decimals(
    text: Flat,
    starts: Matrix,
    ends: Matrix,
    point: Number,
    powers: Flat,
    first: Number,
    values: Matrix,
    is_read: Matrix,
    is_whole: Matrix,
    is_empty: Matrix,
) -> None:
    """Overwrite what is in the cells `text[start:end]` (n_rows, n_columns), from the row `first` on.

    Results are (n_columns, rows of all). Read is a sign, or none, and digits with at most one point, at most
    19 of them after zeros, if their rounding is certain. `powers` are those of ten from 0 to MAX_FRACTION.
    """
    for row in range(starts.shape[0]):
        for k in range(starts.shape[1]):
            start, end = starts[row, k], ends[row, k]
            value, has_number, has_whole = _read(text, start, end, point, powers)
            values[k, first + row] = value
            is_read[k, first + row] = has_number
            is_whole[k, first + row] = has_whole
            is_empty[k, first + row] = start == end
