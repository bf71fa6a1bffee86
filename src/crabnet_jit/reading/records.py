"""Delimited text as a table: its delimiter, header and rows."""

import csv
import io
import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.data.table import TableError
from crabnet_jit.reading.content import Bytes, start_of
from crabnet_jit.reading.texts import Positions, Rows, Texts, read_texts

#: The delimiters that are tried.
DELIMITERS = ",;\t|"
_N_TRIED = 20  # rows that must agree on a delimiter
_PIECE = 2**18  # bytes to search at once: they stay in the processor's cache
_IN_NUMBERS = "+-0123456789"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Records(NamedTuple):
    """A delimited text.

    `cells` has the shape (n_columns, n_rows); `lines` are the numbers (n_rows,) of each row's last line.
    Without a header, the names are the numbers of the columns, from 1 on.
    """

    delimiter: str
    header: list[str]
    cells: Texts
    lines: NDArray[np.intp]
    has_header: bool


def read_records(
    source: str, text: Bytes, delimiter: str | None, candidates: str, has_header: bool, point: str
) -> Records:
    """The header and the rows of a text in UTF-8.

    If no delimiter is given, it is the candidate that the first rows have. `point` is the decimal sign.

    Raises
    ------
    TableError
        For a text without rows, or with rows of different lengths.
    """
    if start_of(text).startswith(_BYTE_ORDER_MARK):
        text = text[len(_BYTE_ORDER_MARK) :]
    if delimiter is None:
        delimiter = find_delimiter(text, candidates)
    is_plain = len(delimiter.encode()) == 1 and delimiter not in _IN_NUMBERS and not _places(text, '"').size
    rows, lines = _plain_rows(text, delimiter) if is_plain else _quoted_rows(source, text, delimiter)
    header, n_first = _header(rows) if has_header else (None, 0)
    if header is None and (has_header or not len(lines)):
        needed = "a header and rows" if has_header else "rows"
        raise TableError(f"{source}: must have {needed}, but is empty")
    width = len(header if header is not None else rows.split(0))
    rows, lines = rows.part(slice(n_first, None)), lines[n_first:]
    cells, counts = read_texts(rows, width, point)
    if (wrong := counts != width).any():
        at = int(wrong.argmax())
        like = "the header" if has_header else "the first row"
        raise TableError(
            f"{source}, line {lines[at]}: must have {width} columns like {like}, but has {counts[at]} "
            f"(delimiter {delimiter!r})"
        )
    if not len(lines):
        raise TableError(f"{source}: must have rows below the header, but has none")
    return Records(delimiter, header or [str(k + 1) for k in range(width)], cells, lines, has_header)


def _header(rows: Rows) -> tuple[list[str] | None, int]:
    """The names in the first row that has any, and the number of rows up to it."""
    for k in range(len(rows.starts)):
        names = [cell.strip() for cell in rows.split(k)]
        if any(names):
            return names, k + 1
    return None, 0


def find_delimiter(text: Bytes, candidates: str) -> str:
    """The delimiter that splits the first rows into the same number of cells, and into the most."""

    def fitness(delimiter: str) -> tuple[bool, int]:
        counts: list[int] = []
        try:
            for row in itertools.islice(filter(None, _reader(text, delimiter)), _N_TRIED):
                counts.append(len(row))
        except csv.Error:
            counts.append(0)
        width = counts[0] if counts else 0
        return width > 1 and counts.count(width) == len(counts), width

    return max(candidates, key=fitness)


def _reader(text: Bytes, delimiter: str) -> Any:
    lines: Iterable[str] = io.TextIOWrapper(io.BufferedReader(_Stream(text)), "utf-8", newline="")
    return csv.reader(lines, delimiter=delimiter, strict=True)


class _Stream(io.RawIOBase):
    """The bytes of a text, which are only copied when they are read."""

    def __init__(self, text: Bytes) -> None:
        self._rest = text

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        """Copy the next bytes into `room`; return how many."""
        part, self._rest = np.split(self._rest, [len(room)])
        room[: part.size] = part.data
        return part.size


def _quoted_rows(source: str, text: Bytes, delimiter: str) -> tuple[Rows, Positions]:
    """The rows of a text with quoted cells, and the numbers of their last lines."""
    reader = _reader(text, delimiter)
    rows, lines = [], []
    try:
        for row in filter(None, reader):
            rows.append("\0".join(row))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise TableError(f"{source}, line {reader.line_num}: {error}") from None
    return Rows.of(rows, delimiter=0), np.array(lines, np.intp)


def _plain_rows(text: Bytes, delimiter: str) -> tuple[Rows, Positions]:
    """The rows of a text without quotes, and their line numbers; empty lines are not rows."""
    if _places(text, "\r").size:
        data = text.tobytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        text = np.frombuffer(data, np.uint8)
    newlines = np.concatenate([[-1], _places(text, "\n"), [text.size]])
    starts, ends = newlines[:-1] + 1, newlines[1:]
    lines = np.flatnonzero(starts < ends)
    return Rows(text, starts[lines], ends[lines], ord(delimiter)), lines + 1


def _places(text: Bytes, character: str) -> Positions:
    """The positions of a character."""
    pieces = range(0, max(text.size, 1), _PIECE)
    return np.concatenate([np.flatnonzero(text[k : k + _PIECE] == ord(character)) + k for k in pieces])
