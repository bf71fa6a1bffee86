"""Data frames: columns with names, encoded as the numbers that a network takes.

Frames of pandas, polars, pyarrow and others are read through narwhals, which is imported when one comes.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.labels import is_labels

HANDLE_UNKNOWN = ("error", "ignore")
_MAX_CATEGORIES = 1000  # of a column
_FRAME_MARKS = (
    *("__narwhals_dataframe__", "__narwhals_lazyframe__", "__narwhals_series__"),
    *("__dataframe__", "__arrow_c_stream__", "collect_schema"),
)


def is_frame(values: object) -> bool:
    """Whether this is a data frame, or one of its columns."""
    if isinstance(values, (np.ndarray, list, tuple)):
        return False
    kind = type(values)
    has_mark = any(hasattr(kind, mark) for mark in _FRAME_MARKS)
    return has_mark or any(base.__name__ == "Series" for base in kind.__mro__)  # which may have no mark


def series_of(name: str, frame: Any) -> list[tuple[str, Any]]:
    """The columns of a data frame, or the single column that is given, with their names."""
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
        raise check.reject(name, "a data frame of different columns", str(error)) from None
    if isinstance(table, narwhals.Series):
        return [("" if table.name is None else str(table.name), table)]
    columns = [(str(series.name), series) for series in table.iter_columns()]  # names may be numbers, tuples
    names = [column for column, _ in columns]
    if not names:
        raise check.reject(name, "a data frame of at least one column", "one of none")
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise check.reject(name, "a data frame of different columns", f"{check.shown(twice)} twice")
    return columns


@dataclass(frozen=True)
class Column:
    """One column of a data frame, and what becomes of it.

    Attributes
    ----------
    name : str
        Its name in the data frame.
    categories : tuple of str, or None
        For texts: each becomes a number, 1 where the text is that one and 0 elsewhere. None for numbers and
        booleans, which stay one number.
    """

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def encoded_names(self) -> list[str]:
        """Of the numbers that it becomes."""
        if self.categories is None:
            return [self.name]
        return [f"{self.name}={category}" for category in self.categories]

    @classmethod
    def of(cls, name: str, series: Any) -> "Column":
        """The column that these values are."""
        if not _is_text(series):
            return cls(name)
        texts = sorted(set(_texts(_called("x", name), series)))
        if len(texts) > _MAX_CATEGORIES:
            allowed = f"a column of at most {_MAX_CATEGORIES} categories"
            raise check.reject(_called("x", name), allowed, f"{len(texts)}")
        return cls(name, tuple(texts))

    def encode(self, series: Any, handle_unknown: str) -> Array:
        """Its numbers (n_samples, n): the values, or 0 and 1 for each category."""
        called = _called("x", self.name)
        if self.categories is None:
            return _numbers(called, series)[:, None]
        if not _is_text(series):
            raise check.reject(called, "of texts, as in the fit", str(series.dtype))
        texts = _texts(called, series)
        places = {category: k for k, category in enumerate(self.categories)}
        codes = np.array([places.get(text, -1) for text in texts], np.intp)
        if handle_unknown == "error" and (codes < 0).any():
            at = int((codes < 0).argmax())
            allowed = f"of the categories of the fit, {_listed(self.categories)}"
            hint = "; fit(..., handle_unknown='ignore') makes networks that take others"
            raise check.reject(called, allowed, f"{check.shown(texts[at])} in row {at}", hint)
        encoded = np.zeros((codes.size, len(self.categories)))
        encoded[np.flatnonzero(codes >= 0), codes[codes >= 0]] = 1.0
        return encoded


def _called(argument: str, name: str) -> str:
    """What errors call a column of an argument."""
    return f"column {check.shown(name)} of {argument}" if name else argument


def _is_text(series: Any) -> bool:
    narwhals = importlib.import_module("narwhals.stable.v2")
    return series.dtype in (narwhals.String, narwhals.Categorical) or isinstance(series.dtype, narwhals.Enum)


def _without_nulls(called: str, series: Any) -> Any:
    if n_missing := int(series.is_null().sum()):
        at = int(series.is_null().arg_true()[0])
        came = f"{n_missing} missing, the first in row {at}"
        raise check.reject(called, "a column without missing values", came)
    return series


def _texts(called: str, series: Any) -> list[str]:
    narwhals = importlib.import_module("narwhals.stable.v2")
    texts: list[str] = _without_nulls(called, series).cast(narwhals.String).to_list()
    return texts


def _numbers(called: str, series: Any) -> Array:
    narwhals = importlib.import_module("narwhals.stable.v2")
    dtype = series.dtype
    if not dtype.is_numeric() and dtype != narwhals.Boolean:
        came, hint = _described(series)
        allowed = "numbers or booleans, as in the fit" if _is_text(series) else "numbers, booleans or texts"
        raise check.reject(called, f"a column of {allowed}", came, hint)
    series = _without_nulls(called, series)
    if dtype == narwhals.Decimal:
        series = series.cast(narwhals.Float64)
    is_long = dtype in (narwhals.Int128, narwhals.UInt128)  # NumPy has no such type
    numbers: Array = check.array(called, series.to_list() if is_long else series.to_numpy())
    return numbers


def _described(series: Any) -> tuple[str, str]:
    """The type of a column that is not one of numbers, and what to do about it."""
    narwhals = importlib.import_module("narwhals.stable.v2")
    if _is_text(series):
        return "texts", ""
    came = str(series.dtype)
    if series.dtype == narwhals.Unknown:
        native = series.to_native()
        came = str(getattr(native, "dtype", getattr(native, "type", came)))
    if series.dtype == narwhals.Object:
        kinds = dict.fromkeys(type(value).__name__ for value in series.to_list())
        came = f"objects: {', '.join(kinds)}"
    is_date = series.dtype.is_temporal() or any(word in came.lower() for word in ("date", "time", "period"))
    return came, "; make it a number, such as the days since a date, or the hour" if is_date else ""


@dataclass(frozen=True)
class Columns:
    """The columns of inputs, in the order in which a network takes them.

    Attributes
    ----------
    columns : tuple of Column
    handle_unknown : {"error", "ignore"}
        What a category means that was not in the fit: an error, or a 0 for all categories.
    """

    columns: tuple[Column, ...]
    handle_unknown: str = "error"

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [column.name for column in self.columns]

    @property
    def encoded_names(self) -> list[str]:
        """Of the numbers that they become: a column of texts is several."""
        return [name for column in self.columns for name in column.encoded_names]

    @property
    def are_numbers(self) -> bool:
        """Whether each column is one number."""
        return all(column.categories is None for column in self.columns)

    @classmethod
    def of(cls, frame: Any, handle_unknown: str) -> "Columns":
        """Those of a data frame."""
        series = series_of("x", frame)
        if len(series) == 1 and not series[0][0]:  # a column without a name
            series = [("x0", series[0][1])]
        columns = cls(tuple(Column.of(name, values) for name, values in series), handle_unknown)
        names = columns.encoded_names
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            allowed = "a data frame of columns that stay different as numbers"
            raise check.reject(
                "x", allowed, f"{check.shown(twice)}, which is a column and a category of another"
            )
        return columns

    @classmethod
    def from_values(cls, values: Any) -> "Columns":
        """Those of a file, believing nothing; any exception means that they are wrong."""
        columns = []
        for name, categories in values["columns"]:
            if not isinstance(name, str):
                raise ValueError("a column without a name")
            texts = None
            if categories is not None:
                is_list = isinstance(categories, list) and len(categories) > 0
                if not is_list or not all(isinstance(text, str) for text in categories):
                    raise ValueError(f"categories of {name!r} that are no texts")
                if len(set(categories)) < len(categories):
                    raise ValueError(f"categories of {name!r} that are there twice")
                texts = tuple(categories)
            columns.append(Column(name, texts))
        if len({column.name for column in columns}) < len(columns) or not columns:
            raise ValueError("columns that are not different")
        return cls(tuple(columns), check.choice("handle_unknown", values["handle_unknown"], HANDLE_UNKNOWN))

    def values(self) -> dict[str, Any]:
        """For files, of what JSON has; `from_values` reads it."""
        listed = [[c.name, None if c.categories is None else list(c.categories)] for c in self.columns]
        return {"columns": listed, "handle_unknown": self.handle_unknown}

    def encode(self, frame: Any) -> Array:
        """Numbers (n_samples, n) for the columns of a data frame, in whatever order they stand there."""
        series = series_of("x", frame)
        if len(self.columns) == len(series) == 1 and not series[0][0]:
            return self.columns[0].encode(series[0][1], self.handle_unknown)  # a column without a name
        found = dict(series)
        missing = [name for name in self.names if name not in found]
        unknown = [name for name in found if name not in self.names]
        if missing or unknown:
            parts = [("without", missing), ("with the unknown", unknown)]
            came = " and ".join(f"{what} {_listed(names)}" for what, names in parts if names)
            hint = "; take x[net.feature_names]" if not missing else ""
            raise check.reject("x", f"a data frame of the columns {_listed(self.names)}", f"one {came}", hint)
        encoded = [column.encode(found[column.name], self.handle_unknown) for column in self.columns]
        return np.ascontiguousarray(np.hstack(encoded))


def _listed(names: Sequence[str]) -> str:
    return check.shortened(", ".join(check.shown(name) for name in names))


def targets_of(y: Any) -> tuple[list[str] | None, Any]:
    """Names of the columns of y, if it is a data frame or one of its columns, and the values as an array."""
    if not is_frame(y):
        given = check.as_array("y", y)
        if given.dtype.kind == "U" and isinstance(y, (list, tuple)):
            given = np.array(y, dtype=object)  # NumPy would make texts of the numbers among them
        return None, given
    series = series_of("y", y)
    names = [name for name, _ in series]
    arrays = [_label_or_numbers(name, values) for name, values in series]
    values = arrays[0] if len(np.shape(y)) == 1 else np.stack(arrays, axis=1)
    return (names if all(names) else None), values


def _label_or_numbers(name: str, series: Any) -> Any:
    """Values of a column of y; those of texts, categories and objects as they are."""
    narwhals = importlib.import_module("narwhals.stable.v2")
    called = _called("y", name)
    if _is_text(series) or series.dtype in (narwhals.Boolean, narwhals.Object):
        values = np.fromiter(_without_nulls(called, series).to_list(), dtype=object)
        if series.dtype == narwhals.Boolean:
            return values.astype(bool)
        if _is_text(series) or is_labels(values):
            return values
    numbers = _numbers(called, series)
    return numbers.astype(np.int64) if series.dtype.is_integer() else numbers  # labels stay integers
