"""Tables of delimited text."""

from collections.abc import Sequence
from dataclasses import replace

from crabnet_jit.data.table import Cells, Table
from crabnet_jit.reading.cells import Notation, as_texts, typed
from crabnet_jit.reading.records import Records


class TextTable(Table):
    """A table whose cells are strings; types are determined column by column."""

    def __init__(self, source: str, records: Records, notation: Notation) -> None:
        super().__init__(source, records.header, records.lines)
        self.delimiter, self.decimal, self.has_header = (
            records.delimiter,
            notation.decimal,
            records.has_header,
        )
        self._notation = notation
        self.form = f" (delimiter {records.delimiter!r})"
        self._texts = records.cells

    def texts(self, index: int) -> Sequence[str]:
        """The cells of the column with this index as strings, as they are in the file."""
        return self._texts.column(index).decoded()

    def _typed(self, index: int) -> Cells:
        name = self.header[index]
        cells = typed(name, self._texts.column(index), self._notation, lambda row: self.place(row, name))
        return replace(cells, source=self.source, unit=self.unit, lines=self.lines)

    def _as_texts(self, index: int) -> Cells:
        cells = as_texts(self.header[index], self.texts(index), self._notation)
        return replace(cells, source=self.source, unit=self.unit, lines=self.lines)
