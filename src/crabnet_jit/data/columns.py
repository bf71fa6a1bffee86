"""Tables and data frames: named columns, encoded as the numbers that a network takes.

Frames of pandas, polars, pyarrow and others are read through narwhals, which is imported only if there is
one.
"""

import importlib
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.labels import are_missing, is_labels
from crabnet_jit.data.table import Cells, Table

HANDLE_UNKNOWN = ("error", "ignore")
MISSING = ("error", "drop", "mean")
MAX_CATEGORIES = 1000  # of a column
_FRAME_MARKS = (
    *("__narwhals_dataframe__", "__narwhals_lazyframe__", "__narwhals_series__"),
    *("__dataframe__", "__arrow_c_stream__", "collect_schema"),
)


def is_frame(values: object) -> bool:
    """Whether this is a table, a data frame, or a column of one."""
    if isinstance(values, (Table, Cells)):
        return True
    if isinstance(values, (np.ndarray, list, tuple)):
        return False
    kind = type(values)
    has_mark = any(hasattr(kind, mark) for mark in _FRAME_MARKS)
    return has_mark or any(base.__name__ == "Series" for base in kind.__mro__)  # a series may have no mark


def series_of(name: str, frame: Any) -> list[Cells]:
    """The columns of a table or a data frame, or the single column that is given."""
    if isinstance(frame, Cells):
        return [frame]
    if isinstance(frame, Table):
        return [frame.column(column) for column in frame.header]
    return [_cells_of(column, series) for column, series in _foreign_series(name, frame)]


def _foreign_series(name: str, frame: Any) -> list[tuple[str, Any]]:
    """Columns as narwhals series, with their names."""
    try:
        narwhals = importlib.import_module("narwhals.stable.v2")
    except ImportError:
        raise ImportError('data frames need narwhals: pip install "crabnet-jit[frames]"') from None
    try:
        table = narwhals.from_native(frame, eager_only=True, allow_series=True)
    except TypeError:
        came = f"{type(frame).__module__.partition('.')[0]}.{type(frame).__name__}"
        hint = "; call its collect()" if hasattr(frame, "collect") else ""
        raise check.reject(name, "an array or a data frame in memory", came, hint) from None
    except narwhals.exceptions.DuplicateError as error:
        raise check.reject(name, "a data frame with distinct columns", str(error)) from None
    if isinstance(table, narwhals.Series):
        return [("" if table.name is None else str(table.name), table)]
    columns = [(str(series.name), series) for series in table.iter_columns()]  # names may be numbers, tuples
    names = [column for column, _ in columns]
    if not names:
        raise check.reject(name, "a data frame with at least one column", "one without columns")
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise check.reject(name, "a data frame with distinct columns", f"{check.shown(twice)} twice")
    return columns


def _cells_of(name: str, series: Any) -> Cells:
    """A narwhals series as one of our columns."""
    narwhals = importlib.import_module("narwhals.stable.v2")
    dtype, is_missing = series.dtype, series.is_null().to_numpy().astype(bool)
    has_missing, labels, type_name = bool(is_missing.any()), None, str(dtype)
    values: Array
    if dtype in (narwhals.String, narwhals.Categorical) or isinstance(dtype, narwhals.Enum):
        kind, type_name = "text", "strings"
        values = _objects(series.cast(narwhals.String).to_list(), is_missing, "")
        if dtype != narwhals.String:  # categories may be numbers
            labels = _objects(series.to_list(), is_missing, "")
    elif dtype == narwhals.Boolean:
        kind = "boolean"
        values = _objects(series.to_list(), is_missing, False).astype(bool)
    elif dtype.is_numeric():
        kind = "integer" if dtype.is_integer() else "number"
        if has_missing or dtype == narwhals.Decimal:
            values = series.cast(narwhals.Float64).to_numpy()
        else:
            is_long = dtype in (narwhals.Int128, narwhals.UInt128)  # NumPy has no such type
            values = np.asarray(series.to_list() if is_long else series.to_numpy())
    else:
        kind, type_name = _described(series)
        values = np.fromiter(series.to_list() if kind == "object" else [None] * len(series), object)
        if kind == "object" and has_missing:
            kind, values, type_name = _objects_of_one_kind(values, is_missing, type_name)
    return Cells(name, kind, values, is_missing, type_name, labels)


def _objects_of_one_kind(values: Any, is_missing: Any, type_name: str) -> tuple[str, Any, str]:
    """A pandas column of objects that are all booleans or all numbers, except for missing ones."""
    there = values[~is_missing]
    if there.size > 0 and all(isinstance(value, (bool, np.bool_)) for value in there):
        return "boolean", np.where(is_missing, False, values).astype(bool), "booleans"
    if there.size > 0 and all(isinstance(v, numbers.Number) and not isinstance(v, bool) for v in there):
        return "number", np.where(is_missing, np.nan, values).astype(float), "numbers"
    return "object", values, type_name


def _objects(values: list[Any], is_missing: Any, instead: Any) -> Any:
    """An array of objects, with a replacement for missing ones."""
    array = np.fromiter(values, object)
    array[is_missing] = instead
    return array


def _described(series: Any) -> tuple[str, str]:
    """The kind of a column that has no numbers, booleans or strings, and its name in errors."""
    narwhals = importlib.import_module("narwhals.stable.v2")
    came = str(series.dtype)
    if series.dtype == narwhals.Unknown:
        native = series.to_native()
        came = str(getattr(native, "dtype", getattr(native, "type", came)))
    if series.dtype == narwhals.Object:
        kinds = dict.fromkeys(type(value).__name__ for value in series.to_list())
        came = f"objects: {', '.join(kinds)}"
    if series.dtype.is_temporal() or any(word in came.lower() for word in ("date", "time", "period")):
        return "date", came
    return "object" if series.dtype == narwhals.Object else "other", came


@dataclass(frozen=True)
class Column:
    """One column of a data frame, and how it is encoded.

    Attributes
    ----------
    name : str
        Its name in the data frame.
    categories : tuple of str, or None
        For strings: each category becomes a number, 1 where the string is that category and 0 elsewhere. None
        for numbers and booleans, which stay one number.
    """

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def encoded_names(self) -> list[str]:
        """The names of the numbers that it becomes."""
        if self.categories is None:
            return [self.name]
        return [f"{self.name}={category}" for category in self.categories]

    @classmethod
    def of(cls, cells: Cells) -> "Column":
        """The column for these values."""
        if cells.kind != "text":
            return cls(cells.name)
        texts = sorted({*cells.values[~cells.is_missing].tolist()})
        if not texts:
            raise check.reject(cells.called("x"), "a column with values", "only missing ones")

        if len(texts) > MAX_CATEGORIES:
            allowed = f"a column with at most {MAX_CATEGORIES} categories"
            raise check.reject(cells.called("x"), allowed, f"{len(texts)}")
        return cls(cells.name, tuple(texts))

    def encode(self, cells: Cells, handle_unknown: str, allow_missing: bool = False) -> Array:
        """Its numbers (n_samples, n): the values, or 0 and 1 for each category; NaN for missing values."""
        if allow_missing and cells.is_missing.all():  # the type is unknown
            return np.full((len(cells.is_missing), len(self.encoded_names)), np.nan)
        if self.categories is None:
            return _numbers("x", cells, allow_missing)[:, None]
        if cells.kind != "text":
            raise check.reject(cells.called("x"), "of strings, as in the fit", cells.type_name)
        if not allow_missing:
            _check_complete("x", cells)
        texts = cells.values.tolist()
        places = {category: k for k, category in enumerate(self.categories)}
        codes = np.array([places.get(text, -1) for text in texts], np.intp)
        is_unknown = (codes < 0) & ~cells.is_missing
        if handle_unknown == "error" and is_unknown.any():
            at = int(is_unknown.argmax())
            allowed = f"of the categories of the fit, {_listed(self.categories)}"
            hint = "; fit(..., handle_unknown='ignore') makes networks that accept others"
            came = f"{check.shown(texts[at])} in {cells.place(at)}"
            raise check.reject(cells.called("x"), allowed, came, hint)
        encoded = np.zeros((codes.size, len(self.categories)))
        encoded[np.flatnonzero(codes >= 0), codes[codes >= 0]] = 1.0
        encoded[cells.is_missing] = np.nan
        return encoded


def _check_complete(argument: str, cells: Cells) -> None:
    if n_missing := int(cells.is_missing.sum()):
        came = f"{n_missing} missing, the first in {cells.place(int(cells.is_missing.argmax()))}"
        raise check.reject(cells.called(argument), "a column without missing values", came)


def _numbers(argument: str, cells: Cells, allow_missing: bool = False) -> Array:
    """Numbers (n_samples,); if allowed, NaN for missing ones."""
    if cells.kind not in ("number", "integer", "boolean"):
        hint = "; make it a number, such as the days since a date, or the hour" * (cells.kind == "date")
        allowed = (
            "numbers or booleans, as in the fit" if cells.kind == "text" else "numbers, booleans or strings"
        )
        raise check.reject(cells.called(argument), f"a column of {allowed}", cells.type_name, hint)
    if not allow_missing:
        _check_complete(argument, cells)
    values = np.where(cells.is_missing, np.nan, cells.values) if cells.is_missing.any() else cells.values
    return check.array(cells.called(argument), values, allow_nan=allow_missing)


@dataclass(frozen=True)
class Columns:
    """The columns of inputs, in the order in which a network takes them.

    Attributes
    ----------
    columns : tuple of Column
    handle_unknown : {"error", "ignore"}
        What to do with a category that was not in the fit: an error, or a 0 for all categories.
    """

    columns: tuple[Column, ...]
    handle_unknown: str = "error"

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    @property
    def encoded_names(self) -> list[str]:
        """The names of the encoded numbers; a column of strings becomes several."""
        return [name for column in self.columns for name in column.encoded_names]

    @property
    def are_numbers(self) -> bool:
        """Whether each column is one number."""
        return all(column.categories is None for column in self.columns)

    @classmethod
    def of(cls, frame: Any, handle_unknown: str) -> "Columns":
        """The columns of a data frame."""
        given = series_of("x", frame)
        if given[0].shape == (0,):
            raise check.reject("x", "a batch of at least one sample", "a table without rows")
        if len(given) == 1 and not given[0].name:
            given = [replace(given[0], name="x0")]
        columns = cls(tuple(Column.of(cells) for cells in given), handle_unknown)
        names = columns.encoded_names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            allowed = "a data frame whose encoded columns have distinct names"
            raise check.reject(
                "x", allowed, f"{check.shown(twice)}, which is a column and a category of another"
            )
        return columns

    @classmethod
    def from_values(cls, values: Any) -> "Columns":
        """The columns from a file, fully checked; any exception means that they are invalid."""
        columns = []
        for name, categories in values["columns"]:
            if not isinstance(name, str):
                raise ValueError("a column without a name")
            texts = None
            if categories is not None:
                is_list = isinstance(categories, list) and len(categories) > 0
                if not is_list or not all(isinstance(text, str) for text in categories):
                    raise ValueError(f"categories of {name!r} that are not strings")
                if len(set(categories)) < len(categories):
                    raise ValueError(f"duplicate categories of {name!r}")
                texts = tuple(categories)
            columns.append(Column(name, texts))
        if len({column.name for column in columns}) < len(columns) or not columns:
            raise ValueError("duplicate columns")
        return cls(tuple(columns), check.choice("handle_unknown", values["handle_unknown"], HANDLE_UNKNOWN))

    def values(self) -> dict[str, Any]:
        """JSON values for files; `from_values` reads them."""
        listed = [[c.name, None if c.categories is None else list(c.categories)] for c in self.columns]
        return {"columns": listed, "handle_unknown": self.handle_unknown}

    def encode(self, frame: Any, *, allow_missing: bool = False) -> Array:
        """Numbers (n_samples, n) for the columns of a data frame, which may be in any order.

        With `allow_missing`, missing values become NaN; a missing string makes all numbers of its column NaN.
        """
        given = series_of("x", frame)
        if len(self.columns) == len(given) == 1 and not given[0].name:
            (column,), cells = self.columns, replace(given[0], name=self.names[0])
            return column.encode(cells, self.handle_unknown, allow_missing)
        found = {cells.name: cells for cells in given}
        missing = [name for name in self.names if name not in found]
        unknown = [name for name in found if name not in self.names]
        if missing or unknown:
            parts = [("without", missing), ("with the unknown", unknown)]
            came = " and ".join(f"{what} {_listed(names)}" for what, names in parts if names)
            hint = "; use x[net.feature_names]" if not missing else ""
            raise check.reject(
                "x", f"a data frame with the columns {_listed(self.names)}", f"one {came}", hint
            )
        encoded = [
            column.encode(found[column.name], self.handle_unknown, allow_missing) for column in self.columns
        ]
        return np.ascontiguousarray(np.hstack(encoded))


def _listed(names: Sequence[str]) -> str:
    return check.shortened(", ".join(check.shown(name) for name in names))


def missing_cells(y: Any) -> NDArray[np.bool_]:
    """Flags for the missing cells of a table, a frame or an array: None, NaN, or cells without a value."""
    if not is_frame(y):
        return are_missing(_given_targets(y))
    return np.stack([_missing_in(cells) for cells in series_of("y", y)], axis=1)


def _missing_in(cells: Cells) -> NDArray[np.bool_]:
    return cells.is_missing | np.isnan(cells.values) if cells.values.dtype.kind == "f" else cells.is_missing


def missing_targets(y: Any) -> NDArray[np.bool_]:
    """Whether all targets are missing, for each sample."""
    cells = missing_cells(y)
    if cells.size == 0 or cells.ndim == 0:
        return np.zeros(cells.shape[0] if cells.ndim > 0 else 0, bool)
    return np.asarray(cells.all(axis=tuple(range(1, cells.ndim))))


def _given_targets(y: Any) -> NDArray[Any]:
    """Targets that are not a frame, as an array; None among numbers becomes NaN."""
    given = check.as_array("y", y)
    if given.dtype.kind == "U" and isinstance(y, (list, tuple)):
        given = np.array(y, dtype=object)  # NumPy would turn numbers among them into strings
    if given.dtype == object and (is_gap := are_missing(given)).any():
        there = given[~is_gap].tolist()
        if all(isinstance(v, numbers.Real) and not isinstance(v, (bool, np.bool_)) for v in there):
            return np.where(is_gap, np.nan, given).astype(float)
    return given


def targets_of(y: Any, rows: NDArray[np.bool_] | None = None) -> tuple[list[str] | None, Any]:
    """Names of the columns of y, if it is a table, a frame or a column, and the values as an array.

    Takes all rows, or only flagged ones. Missing values are NaN, or None among labels.
    """
    if not is_frame(y):
        given = _given_targets(y)
        return None, given if rows is None else given[rows]
    series = [cells if rows is None else cells.take(rows) for cells in series_of("y", y)]
    names = [cells.name for cells in series]
    arrays = [_label_or_numbers(cells) for cells in series]
    values = arrays[0] if len(np.shape(y)) == 1 else np.stack(arrays, axis=1)
    return (names if all(names) else None), values


def _label_or_numbers(cells: Cells) -> Any:
    """Values of a column of y; strings, categories and objects are not converted."""
    has_gaps = bool(cells.is_missing.any())
    if cells.kind in ("text", "boolean", "object"):
        values = cells.values if cells.labels is None else cells.labels
        if cells.kind != "object" or is_labels(values):
            return _objects(values.tolist(), cells.is_missing, None) if has_gaps else values
    values = _numbers("y", cells, allow_missing=True)
    is_whole = cells.kind == "integer" and not has_gaps
    return values.astype(np.int64) if is_whole else values  # labels stay integers
