"""`crabnet-jit describe`: the contents of a table, and the task that `fit` would choose for it."""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from crabnet_jit import check
from crabnet_jit.cli.console import Log
from crabnet_jit.cli.tables import FEW_VALUES, auto_task, check_classes, read_table, reading_of
from crabnet_jit.data.columns import MAX_CATEGORIES
from crabnet_jit.data.table import Cells, Table, TableError

_TITLES = ("column", "type", "missing", "distinct", "values", "remarks")
_MAX_WIDTH = 40  # characters of a name or a value
_N_LISTED = 3  # values listed for a column
_N_CLASSES = 10  # classes listed

_Counts = list[tuple[object, int]]


def describe(options: argparse.Namespace) -> None:
    """Write a line for each column, and the task for the outputs."""
    table = read_table(options.file, reading_of(options))
    outputs = [table.column(name) for name in options.outputs or ()]
    lines = [
        f"{check.shortened(table.source)}: {table.n_rows} rows, {len(table.header)} columns{table.form}",
        "",
    ]
    lines += _aligned([_TITLES, *_described(table)])
    if outputs:
        lines += ["", _task(outputs)]
    log = Log()
    for line in lines:
        log.print(line)
    log.close()


def _described(table: Table) -> Iterator[Sequence[str]]:
    """The name, type, missing values, distinct values, values and remarks of each column."""
    names: set[str] = set()
    first: dict[bytes, str] = {}
    for index, name in enumerate(table.header):
        called = _shown(name) or f"(column {index + 1})"
        remarks = [] if name else ["no name"]
        if name in names:
            remarks.append("duplicate name")
        names.add(name)
        try:
            cells = table.column_at(index)
        except TableError as error:
            yield called, "?", "", "", "", "; ".join([*remarks, str(error).removeprefix(f"{table.source}, ")])
            continue
        counts = _counts(cells)
        same = first.setdefault(_digest(cells), called)
        if same is not called:
            remarks.append(f"the same as {same}")
        remarks += _remarks(cells, len(counts))
        n_missing, n_distinct = str(int(cells.is_missing.sum())), str(len(counts))
        yield called, cells.kind, n_missing, n_distinct, _values(cells, counts), "; ".join(remarks)


def _counts(cells: Cells) -> _Counts:
    """The distinct values and their counts, the most frequent first."""
    values = cells.values[~cells.is_missing]
    if values.dtype == object:  # NumPy would sort all of them
        counts = Counter(values.tolist()).items()
        return sorted(counts, key=lambda pair: (-pair[1], pair[0]))
    distinct, n = np.unique(values, return_counts=True)
    order = np.argsort(-n, kind="stable")
    return list(zip(distinct[order].tolist(), n[order].tolist(), strict=True))


def _digest(cells: Cells) -> bytes:
    """A digest that is the same for equal columns."""
    values = cells.values
    content = "\0".join(values).encode() if values.dtype == object else values.tobytes()
    return hashlib.sha256(content + cells.is_missing.tobytes()).digest()


def _remarks(cells: Cells, n_distinct: int) -> list[str]:
    if n_distinct == 0:
        return ["no values"]
    remarks = ["constant"] if n_distinct == 1 else []
    if cells.kind == "date":
        remarks.append("make it a number, such as the days since a date, or leave it out")
    if cells.kind == "text" and n_distinct > MAX_CATEGORIES:
        remarks.append(f"too many distinct strings for an input; at most {MAX_CATEGORIES}")
    return remarks


def _values(cells: Cells, counts: _Counts) -> str:
    """The range of numbers and dates, or the most frequent values."""
    if not counts:
        return ""
    if cells.kind in ("number", "integer", "date"):
        values = cells.values[~cells.is_missing]
        return f"{_shown(values.min())} to {_shown(values.max())}"
    return _listed(counts, _N_LISTED)


def _listed(counts: _Counts, n: int) -> str:
    more = f", {len(counts) - n} more" if len(counts) > n else ""
    return ", ".join(f"{_shown(value)} {count}" for value, count in counts[:n]) + more


def _task(outputs: Sequence[Cells]) -> str:
    """The task that `--task auto` chooses for these outputs."""
    names = ", ".join(_shown(cells.name) for cells in outputs)
    task = auto_task(outputs)
    text = f"outputs {names}: --task auto is {task}"
    if len(outputs) > 1:
        return text
    (cells,) = outputs
    counts = _counts(cells)
    classes = f"{len(counts)} classes: {_listed(counts, _N_CLASSES)}"
    if task == "classification":
        check_classes(cells)
        return f"{text}, {classes}"
    if cells.kind == "integer" and 1 < len(counts) <= FEW_VALUES:
        return f"{text}; --task classification would have {classes}"
    return text


def _shown(value: object) -> str:
    """A name or a value for a terminal, on one line and of bounded length."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e9 else f"{value:.6g}"
    text = str(value)
    text = text if text.isprintable() else repr(text)
    return check.shortened(text, _MAX_WIDTH)


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, each as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ([text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines)
    return ["  ".join(line).rstrip() for line in padded]
