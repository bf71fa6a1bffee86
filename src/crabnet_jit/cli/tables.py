"""Tables of numbers in CSV files, for the command line."""

import csv
import io
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array

_DELIMITERS = ",;\t|"


class TableError(ValueError):
    """A file is not a table of numbers as asked for; the message says where."""


class Table(NamedTuple):
    """A header, rows of text, and for each the number of its line in the file."""

    source: str
    delimiter: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]


def read_table(path: str, delimiter: str | None = None) -> Table:
    """Read a CSV file in UTF-8 with a header; `-` is standard input. Lines without any character are skipped.

    Columns without a name, or of the same name, are read, too; `columns` does not take them.

    Without a delimiter it is the one of comma, semicolon, tab and bar that the header has most of.

    Raises
    ------
    TableError
        For a file without rows, or rows of another length.
    OSError
        If the file cannot be read.
    """
    source = "standard input" if path == "-" else path
    if path == "-" and sys.stdin is None:
        raise TableError(f"{source} is closed")
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TableError(f"{source}, line {line}: not text in UTF-8") from None
    if delimiter is None:
        first = text.lstrip("\r\n").splitlines()[:1]
        delimiter = max(_DELIMITERS, key=first[0].count) if first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows, lines = [], []
    try:
        for row in reader:
            if not row:
                continue
            if not header:  # it is the first line with a name
                header = [cell.strip() for cell in row] if any(cell.strip() for cell in row) else []
                continue
            if len(row) != len(header):
                raise TableError(
                    f"{source}, line {reader.line_num}: must have {len(header)} columns as the header has, "
                    f"has {len(row)} (delimiter {delimiter!r})"
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise TableError(f"{source}, line {reader.line_num}: {error}") from None
    if not header:
        raise TableError(f"{source}: must have a header and rows, is empty")
    if not rows:
        raise TableError(f"{source}: must have rows below the header, has none")
    return Table(source, delimiter, header, rows, lines)


def delimiter_of(given: str | None) -> str | None:
    """The delimiter that was asked for, where a tab may be written as an escape; None to look for it."""
    if given == "\\t":
        return "\t"
    if given is not None and (len(given) != 1 or given in '"\r\n'):
        raise check.reject("--delimiter", "one character", repr(given))
    return given


def columns(table: Table, names: Sequence[str]) -> Array:
    """The columns of these names as numbers (n_rows, n_names).

    Raises
    ------
    TableError
        For a column that is not there, or is not the only one of its name, or a cell that is not a finite
        number.
    """
    values = np.empty((len(table.rows), len(names)))
    places: dict[str, list[int]] = {}
    for k, name in enumerate(table.header):
        places.setdefault(name, []).append(k)
    for j, name in enumerate(names):
        k = _place(table, places, name)
        for i, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
            try:
                values[i, j] = float(row[k])
            except ValueError:
                values[i, j] = math.nan
            if not math.isfinite(values[i, j]) or "_" in row[k]:
                place = f"{table.source}, line {line}, column {check.shown(name)}"
                raise TableError(f"{place}: must be a finite number, got {check.shown(row[k].strip())}")
    return values


def _place(table: Table, places: dict[str, list[int]], name: str) -> int:
    """Where the column of this name is, out of the places of each name."""
    if not name or name not in places:
        try:
            check.choice("column", name, filter(None, places))
        except check.InvalidArgumentError as error:
            raise TableError(f"{table.source}: {error} (delimiter {table.delimiter!r})") from None
    first, *more = places[name]
    if more:
        raise TableError(
            f"{table.source}: column {more[0] + 1} must have a name of its own, has {check.shown(name)}, "
            f"as column {first + 1} has"
        )
    return first


def format_table(table: Table, names: Iterable[str], values: Array) -> str:
    """The table as CSV text with more columns, numbers in full precision."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=table.delimiter, lineterminator="\n")
    writer.writerow([*table.header, *names])
    for row, numbers in zip(table.rows, values, strict=True):
        writer.writerow([*row, *(repr(float(number)) for number in numbers)])
    return text.getvalue()
