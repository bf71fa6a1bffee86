"""Delimited text as cells: where each begins and ends in one array of characters."""

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.data.table import TableError
from crabnet_jit.reading.decimals import in_threads

#: Those that are looked for.
DELIMITERS = ",;\t|"
_N_TRIED = 20  # rows that have to agree on a delimiter
_PIECE = 2**18  # bytes that are searched at once: they stay in the processor's cache
_NEWLINE = ord("\n")

Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Texts:
    """Cells as parts of one text in UTF-8: `text[start:end]` is a cell, for arrays of any shape."""

    text: NDArray[np.uint8]
    starts: Positions
    ends: Positions

    @classmethod
    def of(cls, cells: Sequence[str]) -> "Texts":
        """These cells (n,) one after another."""
        joined = "".join(cells)
        lengths = map(len, cells) if joined.isascii() else (len(cell.encode()) for cell in cells)
        ends = np.cumsum(np.fromiter(lengths, np.intp, len(cells)))
        text = np.frombuffer(joined.encode(), np.uint8)
        return cls(text, np.concatenate([[0], ends[:-1]]).astype(np.intp)[: len(cells)], ends)

    def part(self, index: Any) -> "Texts":
        """A part of the cells, as NumPy indexes it."""
        return Texts(self.text, self.starts[index], self.ends[index])

    def decoded(self) -> list[str]:
        """The cells (n,) as texts of Python."""
        text = self.text.data
        return [
            str(text[i:k], "utf-8") for i, k in zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        ]

    def equal(self, wanted: str) -> NDArray[np.bool_]:
        """Which of the cells (n,) are this text."""
        characters = wanted.encode()
        n = len(characters)
        are_equal: NDArray[np.bool_] = self.ends - self.starts == n
        if n and are_equal.any():
            windows = np.ndarray(self.text.size - n + 1, f"S{n}", self.text, strides=(1,))
            are_equal[are_equal] = windows[self.starts[are_equal]] == characters
        return are_equal


class Records(NamedTuple):
    """A delimited text.

    `cells` has the shape (n_rows, n_columns); `lines` are the numbers (n_rows,) of the rows' last lines. If
    the text has no header, names are the numbers of the columns, from 1 on.
    """

    delimiter: str
    header: list[str]
    cells: Texts
    lines: NDArray[np.intp]
    has_header: bool


class _Rows(NamedTuple):
    """Cells one after another, how many of them each row has, and its line. Empty lines are no rows."""

    cells: Texts
    counts: NDArray[np.intp]
    lines: NDArray[np.intp]


def read_records(
    source: str, data: bytes, delimiter: str | None, candidates: str, has_header: bool
) -> Records:
    """The header and the rows of a text in UTF-8.

    Without a delimiter, it is the one of the candidates that the first rows have.

    Raises
    ------
    TableError
        For a text without rows, or with rows of different lengths.
    """
    if delimiter is None:
        delimiter = find_delimiter(data, candidates)
    is_plain = b'"' not in data and len(delimiter.encode()) == 1
    rows = _plain_rows(data, delimiter) if is_plain else _quoted_rows(source, data, delimiter)
    bounds = np.concatenate([[0], np.cumsum(rows.counts)])
    header, n_first = _header(rows, bounds) if has_header else (None, 0)
    if header is None and (has_header or not len(rows.lines)):
        needed = "a header and rows" if has_header else "rows"
        raise TableError(f"{source}: must have {needed}, is empty")
    width = len(header) if header is not None else int(rows.counts[0])
    counts, lines = rows.counts[n_first:], rows.lines[n_first:]
    if (wrong := counts != width).any():
        at = int(wrong.argmax())
        like = "the header" if has_header else "the first row"
        raise TableError(
            f"{source}, line {lines[at]}: must have {width} columns as {like} has, has {counts[at]} "
            f"(delimiter {delimiter!r})"
        )
    if not len(lines):
        raise TableError(f"{source}: must have rows below the header, has none")
    body = rows.cells.part(slice(bounds[n_first], None))
    cells = Texts(body.text, body.starts.reshape(-1, width), body.ends.reshape(-1, width))
    return Records(delimiter, header or [str(k + 1) for k in range(width)], cells, lines, has_header)


def _header(rows: _Rows, bounds: NDArray[np.intp]) -> tuple[list[str] | None, int]:
    """The names in the first row that has one, and how many rows that takes."""
    for k, (start, end) in enumerate(itertools.pairwise(bounds.tolist())):
        names = [cell.strip() for cell in rows.cells.part(slice(start, end)).decoded()]
        if any(names):
            return names, k + 1
    return None, 0


def find_delimiter(data: bytes, candidates: str) -> str:
    """The one by which the first rows have the same number of cells, and the most."""

    def fitness(delimiter: str) -> tuple[bool, int]:
        counts: list[int] = []
        try:
            for row in itertools.islice(filter(None, _reader(data, delimiter)), _N_TRIED):
                counts.append(len(row))
        except csv.Error:
            counts.append(0)
        width = counts[0] if counts else 0
        return width > 1 and counts.count(width) == len(counts), width

    return max(candidates, key=fitness)


def _reader(data: bytes, delimiter: str) -> Any:
    lines: Iterable[str] = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")
    return csv.reader(lines, delimiter=delimiter, strict=True)


def _quoted_rows(source: str, data: bytes, delimiter: str) -> _Rows:
    """The rows of a text in which cells may be quoted."""
    reader = _reader(data, delimiter)
    cells: list[str] = []
    counts, lines = [], []
    try:
        for row in filter(None, reader):
            cells += row
            counts.append(len(row))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise TableError(f"{source}, line {reader.line_num}: {error}") from None
    return _Rows(Texts.of(cells), np.array(counts, np.intp), np.array(lines, np.intp))


def _plain_rows(data: bytes, delimiter: str) -> _Rows:
    """The rows of a text without quotes: cells are what is between delimiters and newlines."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    end = b"" if data.endswith(b"\n") or not data else b"\n"
    text = np.frombuffer(data + end, np.uint8)
    ends = _ends(text, ord(delimiter))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    bounds = np.flatnonzero(text[ends] == _NEWLINE) + 1
    counts = np.diff(bounds, prepend=0)
    lines = np.arange(1, len(counts) + 1)
    is_empty = (counts == 1) & (starts[bounds - 1] == ends[bounds - 1])
    if is_empty.any():
        is_kept = np.ones(len(ends), np.bool_)
        is_kept[bounds[is_empty] - 1] = False
        starts, ends, counts, lines = starts[is_kept], ends[is_kept], counts[~is_empty], lines[~is_empty]
    return _Rows(Texts(text, starts, ends), counts, lines)


def _ends(text: NDArray[np.uint8], delimiter: int) -> Positions:
    """Where the delimiters and newlines are."""

    def found(start: int) -> Positions:
        piece = text[start : start + _PIECE]
        return np.flatnonzero((piece == delimiter) | (piece == _NEWLINE)) + start

    return np.concatenate(in_threads(found, range(0, max(text.size, 1), _PIECE)))
