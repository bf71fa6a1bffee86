"""Tables in memory: columns with names and types, possibly missing values, and positions in a file."""

import abc
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check

#: Kinds of columns.
KINDS = ("number", "integer", "boolean", "text", "date")


class TableError(ValueError):
    """A file is not the table that was asked for; the message says where."""


@dataclass(frozen=True, eq=False)
class Cells:
    """One column.

    Attributes
    ----------
    name : str
    kind : str
        One of `KINDS`; in a data frame also "object" (Python values) and "other" (not for networks).
    values : ndarray, shape (n_rows,)
        Numbers, booleans, or strings as objects. Missing values are NaN, False, or an empty string.
    is_missing : ndarray of bool, shape (n_rows,)
    type_name : str
        The type's name in errors.
    labels : ndarray, shape (n_rows,), optional
        The values as labels of classes, if these are not the strings: for categories that are numbers.
    source : str
        The file; empty for a data frame.
    unit : {"row", "line"}
        The unit in which positions in the source are counted.
    lines : sequence of int, optional
        The number of each row in the source; by default, rows are counted from 0.
    """

    name: str
    kind: str
    values: NDArray[Any]
    is_missing: NDArray[np.bool_]
    type_name: str
    labels: NDArray[Any] | None = None
    source: str = ""
    unit: str = "row"
    lines: Sequence[int] | NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int]:
        """(n_rows,)."""
        return self.is_missing.shape

    def take(self, rows: NDArray[Any]) -> "Cells":
        """The column at some rows, given by indices or flags."""
        return replace(
            self,
            values=self.values[rows],
            is_missing=self.is_missing[rows],
            labels=None if self.labels is None else self.labels[rows],
            lines=(np.arange(len(self.is_missing)) if self.lines is None else np.asarray(self.lines))[rows],
        )

    def called(self, argument: str) -> str:
        """The name of this column of an argument in errors; a file is called by its name."""
        of = self.source or argument
        return f"column {check.shown(self.name)} of {of}" if self.name else of

    def place(self, row: int) -> str:
        """The position of a row in the source, such as "line 12"."""
        return f"{self.unit} {row if self.lines is None else self.lines[row]}"


class Table(abc.ABC):
    """Columns in the order of a file; each gets its type when it is accessed.

    Attributes
    ----------
    source : str
        The file's name in errors.
    header : list of str
        Names of the columns. Some may be empty or equal; such columns cannot be accessed by name.
    lines : ndarray of int, shape (n_rows,)
        The number of each row in the file.
    unit : {"line", "row"}
        The unit of these numbers.
    form : str
        How the file was parsed, for errors about its header.
    delimiter, decimal : str
        As used in the file.
    has_header : bool
        Whether the file has the names; otherwise they are numbers from 1 on.
    """

    unit = "line"
    form = ""
    delimiter = ","
    decimal = "."
    has_header = True

    def __init__(self, source: str, header: list[str], lines: NDArray[Any]) -> None:
        self.source = source
        self.header = header
        self.lines = lines
        self._cells: dict[int, Cells] = {}

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self.lines)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_columns)."""
        return self.n_rows, len(self.header)

    def column(self, name: str) -> Cells:
        """The column with this name.

        Raises
        ------
        TableError
            If there is none, or more than one; or if its cells have no common type.
        """
        return self.column_at(self._index(name))

    def column_at(self, index: int) -> Cells:
        """The column with this index, from 0 on."""
        if index not in self._cells:
            self._cells[index] = self._typed(index)
        return self._cells[index]

    def place(self, row: int, name: str) -> str:
        """The position of a cell: "points.csv, line 12, column 'x'"."""
        return f"{self.source}, {self.unit} {self.lines[row]}, column {check.shown(name)}"

    def select(self, names: Sequence[str], are_texts: Sequence[bool | None] = ()) -> "Table":
        """A table of these columns; each may be declared to have strings, or not, whatever they look like."""
        return _Selection(self, [self._index(name) for name in names], are_texts=are_texts)

    def take(self, rows: NDArray[Any]) -> "Table":
        """A table of some rows, given by indices or flags."""
        return _Selection(self, [*range(len(self.header))], rows)

    def rows(self) -> Iterator[Sequence[str]]:
        """The cells of each row as strings, as they are in the file."""
        return zip(*(self.texts(index) for index in range(len(self.header))), strict=True)

    @abc.abstractmethod
    def texts(self, index: int) -> Sequence[str]:
        """The cells of the column with this index as strings, as they are in the file."""

    @abc.abstractmethod
    def _as_texts(self, index: int) -> Cells:
        """The column with this index as a column of strings."""

    @abc.abstractmethod
    def _typed(self, index: int) -> Cells:
        """The column with this index."""

    @functools.cached_property
    def _indices(self) -> dict[str, list[int]]:
        """The indices of each name."""
        indices: dict[str, list[int]] = {}
        for index, name in enumerate(self.header):
            indices.setdefault(name, []).append(index)
        return indices

    def _index(self, name: str) -> int:
        """The index of the column with this name, which must be unique."""
        if not name or name not in self._indices:
            try:
                check.choice("column", name, filter(None, self._indices))
            except check.InvalidArgumentError as error:
                raise TableError(f"{self.source}: {error}{self.form}") from None
        first, *more = self._indices[name]
        if more:
            raise TableError(
                f"{self.source}: column {more[0] + 1} must have a unique name, has {check.shown(name)}, "
                f"like column {first + 1}"
            )
        return first


class _Selection(Table):
    """Some columns and rows of a table."""

    def __init__(
        self,
        table: Table,
        indices: list[int],
        rows: NDArray[Any] | None = None,
        are_texts: Sequence[bool | None] = (),
    ) -> None:
        self._rows = slice(None) if rows is None else np.arange(table.n_rows)[rows]
        super().__init__(table.source, [table.header[k] for k in indices], table.lines[self._rows])
        self.unit, self.form = table.unit, table.form
        self._table = table
        self._of = indices
        self._are_texts = are_texts or [None] * len(indices)

    def texts(self, index: int) -> Sequence[str]:
        texts = self._table.texts(self._of[index])
        return texts if isinstance(self._rows, slice) else [texts[row] for row in self._rows]

    def _typed(self, index: int) -> Cells:
        if self._are_texts[index]:
            return self._as_texts(index)
        cells = self._table.column_at(self._of[index])
        if self._are_texts[index] is False and cells.is_missing.all():
            cells = replace(cells, kind="number", values=np.full(cells.shape, np.nan), type_name="numbers")
        return self._of_rows(cells)

    def _as_texts(self, index: int) -> Cells:
        return self._of_rows(self._table._as_texts(self._of[index]))

    def _of_rows(self, cells: Cells) -> Cells:
        return cells if isinstance(self._rows, slice) else cells.take(self._rows)
