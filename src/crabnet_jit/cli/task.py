"""What a command learns from a table: inputs, outputs, weights, and the loss of its task."""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.cli.tables import FEW_VALUES, auto_task, check_classes, read_table, reading_of
from crabnet_jit.components.losses import Loss, Quantile, as_loss, quantiles_of
from crabnet_jit.data.columns import MISSING
from crabnet_jit.data.table import Cells, Table, TableError

TASKS = "auto", "regression", "classification"
_HINT = "; --missing drop leaves such rows out, --missing mean uses the mean"


class TableTask(NamedTuple):
    """Columns of a table, the weights if there are any, the loss, and remarks on how the table was read."""

    x: Table
    y: Table | Cells
    weights: Any
    loss: Loss | str
    remarks: list[str]


def task_of(options: argparse.Namespace) -> TableTask:
    """Read the table of the options, and check what its columns are for."""
    for name in ("inputs", "outputs"):
        given = getattr(options, name)
        if len(set(given)) < len(given):
            raise check.reject(f"--{name}", "distinct columns", ",".join(given))
    if both := set(options.outputs).intersection(options.inputs):
        raise check.reject("--outputs", "columns that are not inputs", min(both))
    table = read_table(options.file, reading_of(options))
    remarks = _missing_values(table, options)
    x, outputs = table.select(options.inputs), [table.column(name) for name in options.outputs]
    # One column by itself, so that predictions are one column, too.
    y = outputs[0] if len(outputs) == 1 else table.select(options.outputs)
    loss, about_task = _loss_of(options, outputs)
    weights = _weights_of(table, options.weights)
    return TableTask(x, y, weights, loss, [*remarks, *filter(None, [about_task])])


def _missing_values(table: Table, options: argparse.Namespace) -> list[str]:
    """Remarks on missing values; an error if none are allowed, or if there are too many."""
    check.choice("--missing", options.missing, MISSING)
    inputs, outputs = ([table.column(name) for name in names] for names in (options.inputs, options.outputs))
    weights = [table.column(options.weights)] if options.weights else []
    ruled = [*inputs, *weights]
    if options.missing == "error" and any(cells.is_missing.any() for cells in ruled):
        place = first_missing(table, ruled)
        raise TableError(f"{place}: the value is missing, as in other cells ({_counts(ruled)}){_HINT}")

    needed = ruled if options.missing == "drop" else weights
    is_unusable = np.any([np.zeros(table.n_rows, bool), *(cells.is_missing for cells in needed)], axis=0)
    is_unknown = np.all([cells.is_missing for cells in outputs], axis=0)
    if (is_unusable | is_unknown).all():
        counts = _counts([*ruled, *outputs])
        raise TableError(f"{table.source}: must have rows without missing values, but has none ({counts})")
    for cells in (*ruled, *outputs):
        if cells.is_missing.all():
            raise TableError(f"{table.source}, column {check.shown(cells.name)}: has no value in any row")
    said = []
    if counts := _counts(ruled):
        done = [_left_out(is_unusable)] if is_unusable.any() else []
        if options.missing == "mean" and _counts(inputs):
            done.append("inputs are replaced by their mean")
        said.append(f"missing values: {counts}; {', '.join(done)}")
    if counts := _counts(outputs):
        done = ["they do not count"] if len(outputs) > 1 else []
        done += [_left_out(is_unknown)] if is_unknown.any() else []
        said.append(f"unknown outputs: {counts}; {', '.join(done)}")
    return said


def _counts(columns: Sequence[Cells]) -> str:
    """The number of missing values in each column that has any."""
    missing = {cells.name: int(cells.is_missing.sum()) for cells in columns}
    return ", ".join(f"{check.shown(name)} {n}" for name, n in missing.items() if n > 0)


def _left_out(is_unusable: NDArray[np.bool_]) -> str:
    return f"{is_unusable.sum()} of {is_unusable.size} rows are left out"


def first_missing(table: Table, columns: Sequence[Cells]) -> str:
    """The position of the first missing value."""
    return table.place(*min((int(c.is_missing.argmax()), c.name) for c in columns if c.is_missing.any()))


def _weights_of(table: Table, name: str | None) -> Any:
    """The column of weights, if one is named."""
    if name is None:
        return None
    cells = table.column(name)
    if cells.kind not in ("number", "integer", "boolean"):
        raise TableError(f"{table.source}, column {check.shown(name)}: weights must be numbers")
    check.sample_weights("--weights", cells.values[~cells.is_missing], int((~cells.is_missing).sum()))
    return cells.values


def _loss_of(options: argparse.Namespace, outputs: Sequence[Cells]) -> tuple[Loss | str, str]:
    """The loss of the task, and a remark on what "auto" has chosen."""
    task, loss = check.choice("--task", options.task, TASKS), str(options.loss)
    if options.quantiles is not None and loss != Quantile.name:
        raise check.reject("--quantiles", f"left out, except for --loss {Quantile.name}", f"--loss {loss}")
    if loss != "auto":
        if task != "auto" and as_loss("--loss", loss).is_regression != (task == "regression"):
            raise check.reject("--loss", f"auto, or one for a {task}", loss)
        if options.quantiles is not None:
            return Quantile(quantiles_of("--quantiles", options.quantiles)), ""
        return loss, ""
    if task == "auto":
        task = auto_task(outputs)
    names = ", ".join(check.shown(cells.name) for cells in outputs)
    said = f"task: {task} of {names}{_values(outputs, task)}"
    if task == "regression":
        return "mse", said
    for cells in outputs:
        check_classes(cells)
    return "cross_entropy" if len(outputs) == 1 else "binary_cross_entropy", said


def _values(outputs: Sequence[Cells], task: str) -> str:
    """The classes, or values that may be classes."""
    if len(outputs) > 1 or outputs[0].kind == "number":
        return ""
    values = np.unique(outputs[0].values[~outputs[0].is_missing]).tolist()
    if task == "classification":
        return f", {len(values)} classes: {check.shortened(', '.join(map(str, values)))}"
    is_few = 1 < len(values) <= FEW_VALUES
    return f"; its {len(values)} values would be classes with --task classification" if is_few else ""
