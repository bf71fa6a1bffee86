"""Tables in Parquet, Feather and Excel files, which polars reads."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crabnet_jit.data.table import Cells, Table, TableError
from crabnet_jit.reading.cells import EXACT, INEXACT, Notation, as_texts, typed
from crabnet_jit.reading.content import Bytes, start_of, too_large, zip_members
from crabnet_jit.reading.texts import Rows, read_texts

_PARQUET, _FEATHER, EXCEL = "Parquet", "Feather", "Excel"


def frame_format(data: Bytes) -> str | None:
    """The format of a file that polars reads; None for any other file."""
    if start_of(data).startswith(b"PAR1"):
        return _PARQUET
    if start_of(data).startswith(b"ARROW1"):
        return _FEATHER
    is_workbook = any(member.filename == "xl/workbook.xml" for member in zip_members(data) or ())
    return EXCEL if is_workbook else None


def read_frame(
    source: str, data: Bytes, form: str, notation: Notation, has_header: bool, max_bytes: int
) -> "FrameTable":
    """The table in a file of this format; for an Excel file, its first sheet.

    Raises
    ------
    TableError
        If the file is damaged, has no rows, or needs more than `max_bytes`.
    ImportError
        If polars is not installed, or fastexcel for Excel files.
    """
    try:
        import polars

        if form == EXCEL:
            import fastexcel  # noqa: F401  # polars uses it
    except ImportError:
        raise ImportError(f'{form} files need polars: pip install "crabnet-jit[tables]"') from None
    try:
        if _unpacked_size(polars, data, form) > max_bytes:
            raise too_large(source, max_bytes)
        frame = _frame(polars, io.BytesIO(data.data), form, has_header)
    except TableError:
        raise
    except (
        Exception,
        polars.exceptions.PanicException,
    ) as error:  # whatever goes wrong, the file is the cause
        raise TableError(f"{source}: the {form} file cannot be read ({error})") from None
    if not frame.width or not frame.height:
        raise TableError(f"{source}: must have columns and rows, but has {frame.width} and {frame.height}")
    first_row = 2 if form == EXCEL and has_header else 1
    return FrameTable(source, frame, notation, has_header or form != EXCEL, first_row, form != EXCEL)


def _frame(polars: Any, stream: io.BytesIO, form: str, has_header: bool) -> Any:
    if form == _PARQUET:
        return polars.read_parquet(stream)
    if form == _FEATHER:
        return polars.read_ipc(stream)
    frame = polars.read_excel(stream, engine="calamine", has_header=has_header, drop_empty_rows=False)
    return frame if has_header else frame.rename(lambda name: str(frame.columns.index(name) + 1))


def _unpacked_size(polars: Any, data: Bytes, form: str) -> int:
    """The approximate size of the columns in bytes; for Excel, the size that the archive states."""
    if form == EXCEL:
        return sum(member.file_size for member in zip_members(data) or ())
    frame = (polars.scan_parquet if form == _PARQUET else polars.scan_ipc)(io.BytesIO(data.data))
    n_rows: int = frame.select(polars.len()).collect().item()
    return 8 * n_rows * len(frame.collect_schema())


class FrameTable(Table):
    """A table in a polars data frame."""

    unit = "row"

    def __init__(
        self,
        source: str,
        frame: Any,
        notation: Notation,
        has_header: bool,
        first_row: int,
        has_types: bool,
    ) -> None:
        lines = np.arange(first_row, first_row + frame.height)
        super().__init__(source, [name.strip() for name in frame.columns], lines)
        self._notation = notation
        self._has_types = has_types
        self.has_header = has_header
        self._frame = frame

    def texts(self, index: int) -> Sequence[str]:
        """The cells of the column with this index as strings."""
        import polars

        series = self._frame.to_series(index)
        try:
            texts: list[str] = series.cast(polars.String).fill_null("").to_list()
        except polars.exceptions.PolarsError:  # a column of lists
            texts = ["" if value is None else str(value) for value in series.to_list()]
        return texts

    def _as_texts(self, index: int) -> Cells:
        cells = as_texts(self.header[index], self.texts(index), self._notation)
        return replace(cells, source=self.source, unit=self.unit, lines=self.lines)

    def _typed(self, index: int) -> Cells:
        import polars

        name, series = self.header[index], self._frame.to_series(index)
        dtype = series.dtype
        is_missing = series.is_null().to_numpy().astype(bool)
        is_text = dtype in (polars.String, polars.Categorical, polars.Enum, polars.Null)
        if is_text and self._has_types:
            return self._as_texts(index)
        if is_text:
            texts, _ = read_texts(Rows.of(self.texts(index)), 1, self._notation.decimal)
            cells = typed(name, texts.column(0), self._notation, lambda row: self.place(row, name))
        elif dtype == polars.Boolean:
            values = series.fill_null(False).to_numpy().astype(bool)
            cells = Cells(name, "boolean", values, is_missing, "booleans")
        elif dtype.is_numeric():
            values = np.array(series.cast(polars.Float64).to_numpy(), float)
            is_missing |= np.isnan(values)
            if np.isinf(values).any():
                place = self.place(int(np.isinf(values).argmax()), name)
                raise TableError(f"{place}: must be a finite number, got {values[np.isinf(values)][0]}")
            kind = "integer" if dtype.is_integer() else "number"
            type_name = f"{kind}s"
            if kind == "integer" and np.nanmax(np.abs(values), initial=0) >= EXACT:
                kind, type_name = "other", INEXACT
            cells = Cells(name, kind, values, is_missing, type_name)
        elif dtype.is_temporal():
            values = np.fromiter(self.texts(index), object)
            cells = Cells(name, "date", values, is_missing, f"dates ({dtype})")
        else:
            raise TableError(
                f"{self.source}: column {name!r} must have numbers, booleans or strings, but is {dtype}"
            )
        return replace(cells, source=self.source, unit=self.unit, lines=self.lines)
