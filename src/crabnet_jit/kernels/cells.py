"""Reading cells of delimited text; decimal numbers are rounded correctly.

A number is an integer below 10**19, divided by a power of ten. The quotient is corrected by the remainder of
the division, which a fused multiply-add gives exactly. So its rounding is certain, unless the result is
almost exactly halfway between two numbers.
"""

import numpy as np

from crabnet_jit.arrays import Flat, Matrix, Number
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import fma_of_numbers
from crabnet_jit.machine.view import part

MAX_FRACTION = 22  # digits after the point: 10**22 is the last power of ten that float64 holds
OTHER, EMPTY, DECIMAL, WHOLE = range(4)  # cells: not a number, empty, with a point, without one

_LIMIT = np.uint64(10**18)  # an integer below this can take one digit more
_EXACT = np.uint64(2**53)
_TEN, _ZERO, _PLUS, _MINUS = np.uint64(10), np.uint8(ord("0")), np.uint8(ord("+")), np.uint8(ord("-"))
_SLACK = 2.0**-90  # error of the correction, relative to the quotient


@kernel
def _quotient(integer: Number, divisor: Number) -> tuple[Number, Number]:
    """integer / divisor, and whether its rounding is certain."""
    dividend = np.float64(integer)
    quotient = dividend / divisor
    if integer < _EXACT:
        return quotient, True
    rest = np.float64(np.int64(integer - np.uint64(dividend)))
    correction = (fma_of_numbers(-quotient, divisor, dividend) + rest) / divisor
    slack = quotient * _SLACK
    result = quotient + (correction + slack)
    return result, result == quotient + (correction - slack)


@kernel
def _cell(
    text: Flat, start: Number, end: Number, delimiter: Number, point: Number, powers: Flat
) -> tuple[Number, Number, Number]:
    """Where the cell in `text[start:end]` ends, its number, and its form."""
    sign = text[start] if start < end else _ZERO
    has_sign = (sign == _MINUS) | (sign == _PLUS)
    i, integer, n_fraction, is_plain = start + has_sign, np.uint64(0), -1, True
    while i < end:
        digit = np.uint8(text[i] - _ZERO)
        if digit < 10:
            is_plain &= bool(integer < _LIMIT)
            integer = integer * _TEN + np.uint64(digit)
            n_fraction += n_fraction >= 0
        elif text[i] == point and n_fraction < 0:
            n_fraction = 0
        elif text[i] == delimiter:
            break
        else:
            is_plain = False
        i += 1
    has_digits = i - start > has_sign + (n_fraction >= 0)
    if is_plain and has_digits and n_fraction <= MAX_FRACTION:
        value, is_certain = _quotient(integer, powers[max(n_fraction, 0)])
        if is_certain:
            return i, -value if sign == _MINUS else value, WHOLE if n_fraction < 0 else DECIMAL
    return i, np.nan, EMPTY if i == start else OTHER


@kernel
def read_rows(
    text: Flat,
    starts: Flat,
    ends: Flat,
    delimiter: Number,
    point: Number,
    powers: Flat,
    first: Number,
    last: Number,
    n_cells: Flat,
    separators: Matrix,
    values: Matrix,
    forms: Matrix,
) -> None:
    """Read the rows `text[start:end]` from `first` up to, but not including, `last`.

    Overwrites the number of cells of each row (n_rows,), the positions of the separators before and after
    them (n_columns + 1, n_rows), and their values and forms (n_columns, n_rows). A number is an optional sign
    and digits with at most one point, at most 19 of them after leading zeros, and its rounding must be
    certain; the value of any other cell is NaN. `powers` are the powers of ten from 0 to MAX_FRACTION. The
    delimiter is neither a digit nor a sign.
    """
    # Borrowed arrays: counting their references would take 30 ns for each cell.
    text, powers = part(text, 0, text.size), part(powers, 0, powers.size)
    n_columns = values.shape[0]
    for row in range(first, last):
        end = starts[row] - 1
        separators[0, row] = end
        k = 0
        while end < ends[row]:
            end, value, form = _cell(text, end + 1, ends[row], delimiter, point, powers)
            if k < n_columns:
                separators[k + 1, row], values[k, row], forms[k, row] = end, value, form
            k += 1
        n_cells[row] = k
