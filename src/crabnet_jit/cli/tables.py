"""Tables for the command line: reading them as its options say, and writing them."""

import argparse
import csv
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.data.columns import Columns
from crabnet_jit.data.table import Cells, Table, TableError
from crabnet_jit.reading.cells import MISSING, Notation, as_number
from crabnet_jit.reading.content import UNITS, check_is_text, read_content
from crabnet_jit.reading.frame_table import EXCEL, frame_format, read_frame
from crabnet_jit.reading.records import DELIMITERS, read_records
from crabnet_jit.reading.text_table import TextTable

FEW_VALUES = 20  # integers with at most this many distinct values may be labels


class Reading(NamedTuple):
    """Options for reading a file.

    Attributes
    ----------
    delimiter : str, optional
        By default, the one of comma, semicolon, tab and bar that the first rows have.
    decimal : {".", ","}
    na_values : sequence of str
        Cells that mean missing values, besides the usual ones.
    header : bool
        Whether the first row has the names; otherwise, columns are called "1", "2", ... .
    max_bytes : int
        The largest size of a file, unpacked.
    """

    delimiter: str | None = None
    decimal: str = "."
    na_values: Sequence[str] = ()
    header: bool = True
    max_bytes: int = 10**9


def reading_of(options: argparse.Namespace) -> Reading:
    """The values of the options from `add_reader_options`."""
    decimal = check.choice("--decimal", options.decimal, (".", ","))
    delimiter = _delimiter(options.delimiter)
    if delimiter is not None and delimiter == decimal:
        raise check.reject("--delimiter", "another character than --decimal", repr(delimiter))
    na_values = [] if options.na_values is None else next(csv.reader([options.na_values]), [""])
    return Reading(
        delimiter,
        decimal,
        [text.strip() for text in na_values],
        not options.no_header,
        _size(options.max_size),
    )


def _delimiter(given: str | None) -> str | None:
    """The delimiter that was asked for, where a tab may be an escape sequence; None to detect it."""
    if given == "\\t":
        return "\t"
    if given is not None and (len(given) != 1 or given in '"\r\n'):
        raise check.reject("--delimiter", "one character", repr(given))
    return given


def _size(text: str) -> int:
    """`1.5GB` in bytes."""
    units = {unit.lower(): factor for unit, factor in UNITS.items()}
    found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([kmg]?b)", text.strip().lower())
    if found is None or float(found[1]) == 0:
        raise check.reject(
            "--max-size", f"a size with its unit ({', '.join(UNITS)}), such as 2GB", repr(text)
        )
    return round(float(found[1]) * units[found[2]])


def read_table(path: str, reading: Reading = Reading()) -> Table:  # noqa: B008  # it is immutable
    """Read a file as a table; `-` is standard input.

    A file is text in UTF-8, in which empty lines are skipped, or Parquet, Feather or Excel. It may be
    compressed with gzip, bzip2 or xz. Columns without a name, or with the same name, are read, too, but
    cannot be accessed by name.

    Raises
    ------
    TableError
        For a file that is not a table, has no rows or rows of different lengths, or is too large.
    ImportError
        If it needs polars and that is not installed.
    OSError
        If the file cannot be read.
    """
    source = "standard input" if path == "-" else path
    data = read_content(path, source, reading.max_bytes)
    notation = Notation(reading.decimal, (*MISSING, *reading.na_values))
    form = frame_format(data)
    if form is not None:
        if form != EXCEL:  # its error says what is missing
            notation = notation._replace(missing=tuple(reading.na_values))
        return read_frame(source, data, form, notation, reading.header, reading.max_bytes)
    check_is_text(source, data)
    candidates = DELIMITERS.replace(reading.decimal, "")
    records = read_records(source, data, reading.delimiter, candidates, reading.header, reading.decimal)
    return TextTable(source, records, notation)


def inputs_for(columns: Columns | None, names: Sequence[str], table: Table) -> Table:
    """The columns with these names, as strings or numbers like in the fit of the network."""
    are_texts = [columns is not None and columns.columns[k].categories is not None for k in range(len(names))]
    x = table.select(names, are_texts)
    for name, is_text in zip(names, are_texts, strict=True):
        if not is_text:
            check_numbers(x, x.column(name))
    return x


def check_numbers(table: Table, cells: Cells) -> None:
    """Raise a TableError with the position if a column has values other than numbers and missing ones."""
    if cells.kind == "other":
        place = f"{table.source}, column {check.shown(cells.name)}"
        raise TableError(f"{place}: must be numbers, but has {cells.type_name}")
    is_wrong = np.zeros(table.n_rows, bool)
    if cells.kind in ("text", "date"):
        decimal = table.decimal
        is_wrong = np.array([not np.isfinite(as_number(text, decimal)) for text in cells.values])
        is_wrong &= ~cells.is_missing
    if is_wrong.any():
        row = int(is_wrong.argmax())
        text = str(cells.values[row])
        hint = "; make a date a number, such as the days since one" if cells.kind == "date" else ""
        raise TableError(
            f"{table.place(row, cells.name)}: must be a finite number, got {check.shown(text.strip())}{hint}"
        )


def auto_task(outputs: Sequence[Cells]) -> str:
    """The meaning of `--task auto`: "classification" for a column of strings or booleans, else "regression".

    Raises
    ------
    InvalidArgumentError
        For columns that a network cannot predict together.
    """
    kinds = {cells.kind for cells in outputs}
    names = ", ".join(check.shown(cells.name) for cells in outputs)
    if "date" in kinds:
        raise check.reject("--outputs", "numbers, booleans or strings", f"dates among {names}")
    if "text" in kinds and len(outputs) > 1:
        raise check.reject("--outputs", "one column of strings, or columns of numbers or booleans", names)
    return "classification" if kinds <= {"text", "boolean"} else "regression"


def check_classes(cells: Cells) -> None:
    """Raise a TableError for a column that cannot contain classes."""
    values = np.unique(cells.values[~cells.is_missing])
    place = f"{cells.source}, column {check.shown(cells.name)}"
    if len(values) < 2:
        came = f"only {check.shown(str(values[0]))}" if len(values) else "no value"
        raise TableError(f"{place}: must have two classes or more, but has {came}")
    if len(values) == len(cells.values) > 2:
        raise TableError(f"{place}: must have fewer classes than rows, but has a different one in each row")


def format_table(table: Table, names: Iterable[str], cells: Iterable[Iterable[str]]) -> str:
    """The table as CSV text with additional columns, given by their cells in each row."""
    lines = _Lines()
    writer = csv.writer(
        lines, delimiter=table.delimiter, lineterminator="\r\n"
    )  # cells with one of these are quoted
    if table.has_header:
        writer.writerow([*table.header, *names])
    for row, more in zip(table.rows(), cells, strict=True):
        writer.writerow([*row, *more])
    return "".join(lines)


class _Lines(list[str]):
    """Collects the rows of a writer, which end with two characters, as lines that end with a newline."""

    def write(self, row: str) -> None:
        self.append(row[:-2] + "\n")
