"""`crabnet-jit fit` and `crabnet-jit predict`: networks and tables."""

import argparse
import functools
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.archive import whole_file
from crabnet_jit.cli.console import say
from crabnet_jit.cli.pictures import Pictures
from crabnet_jit.cli.tables import format_table, inputs_for, read_table, reading_of
from crabnet_jit.cli.task import first_missing, task_of
from crabnet_jit.cli.watch import Watch
from crabnet_jit.components.optimizers import as_optimizer
from crabnet_jit.data.table import Table, TableError
from crabnet_jit.fitting.fit import fit as fit_network
from crabnet_jit.fitting.scores import ClassScores, Scores, score
from crabnet_jit.fitting.step_options import steps_of
from crabnet_jit.network import files
from crabnet_jit.network.network import NN
from crabnet_jit.summary import counted
from crabnet_jit.training.run import Callback, Run

_NO_TEXT = ".gz", ".bz2", ".xz", ".parquet", ".feather", ".arrow", ".xlsx"
_FEW_ROWS = 10  # too few for meaningful scores


def fit(options: argparse.Namespace) -> None:
    """Fit a network to a table."""
    steps = steps_of(
        as_optimizer("optimizer", options.optimizer),
        options.iterations,
        options.batch_size,
        options.learning_rate,
    )
    x, y, weights, loss, remarks = task_of(options)
    pictures = Pictures(options)
    watch = Watch(options, pictures.callbacks)
    start = time.perf_counter()
    on_check = None if watch.bar is not None else functools.partial(_say_progress, steps.n_iterations)
    with watch.interrupted():
        net = fit_network(
            x,
            y,
            hidden_sizes=options.hidden,
            activation=options.activation,
            init=options.init,
            loss=loss,
            optimizer=options.optimizer,
            learning_rate=options.learning_rate,
            n_iterations=options.iterations,
            batch_size=options.batch_size,
            sample_weight=weights,
            output_range=options.output_range,
            standardize=not options.no_standardize,
            missing=options.missing,
            validation=options.validation or None,
            seed=options.seed,
            dtype=options.dtype,
            on_check=on_check,
            patience=options.patience,
            callbacks=[*watch.callbacks, _SayFirst(*remarks)],
            resume=options.resume,
            on_divergence=options.on_divergence,
            l1=options.l1,
            l2=options.l2,
            clip_norm=options.clip_norm,
            clip_value=options.clip_value,
            dropout=options.dropout,
            n_threads=options.threads,
        )
    history = net.fit_history
    assert history is not None
    watch.say_end(history.training)
    if options.save is not None:
        files.save(net, options.save)
    say(f"{history.n_iterations} iterations, {time.perf_counter() - start:.2f} s, including compilation")
    shown = history.training_rows
    for what, rows in (("training", history.training_rows), ("validation", history.validation_rows)):
        if rows.size > 0:
            shown = rows
            of_rows = None if weights is None else weights[rows]
            say_scores(what, net.output_names, score(net, x.take(rows), y.take(rows), of_rows))
    if 0 < history.validation_rows.size < _FEW_ROWS:
        say(
            f"{counted(history.validation_rows.size, 'row')} set aside for validation: too few for reliable "
            "scores; a larger --validation sets aside more, --validation 0 trains on all rows"
        )
    pictures.draw_fit(net, net.encode(x.take(shown)), y.take(shown), net.input_names, net.output_names)
    watch.close()


class _SayFirst(Callback):
    """Reports how the table was read, once all options have been checked."""

    def __init__(self, *lines: str) -> None:
        self._lines = lines

    def next_due(self, iteration: int) -> int | None:
        return None

    def start(self, run: Run) -> None:
        for line in self._lines:
            say(line)


def _say_progress(n_iterations: int, done: int, loss: float, validation_loss: float | None) -> None:
    """Print a line for each tenth of the iterations."""
    if done * 10 // n_iterations > (done - 1) * 10 // n_iterations:
        more = "" if validation_loss is None else f", validation loss {validation_loss:.6g}"
        say(f"{done} of {n_iterations} iterations: loss {loss:.6g}{more}")


def say_scores(what: str, names: list[str], scores: Scores | ClassScores) -> None:
    """A line for a classifier, or for each output of a regression."""
    if isinstance(scores, ClassScores):
        auc = "" if math.isnan(scores.roc_auc) else f", ROC AUC {scores.roc_auc:.6f}"
        accuracy, log_loss = f"accuracy {scores.accuracy:.6f}", f"log loss {scores.log_loss:.6g}"
        say(f"{what}, {scores.n_samples} rows: {accuracy}, {log_loss}{auc}")
        return
    for k, (name, rmse, mae, r2) in enumerate(zip(names, scores.rmse, scores.mae, scores.r2, strict=True)):
        inside = ""
        if scores.coverage is not None and scores.level is not None:
            inside = f", {scores.coverage[k]:.1%} in the interval of {100 * scores.level:g} %"
        say(f"{what}, {scores.n_samples} rows, {name}: RMSE {rmse:.6g}, MAE {mae:.6g}, R2 {r2:.6f}{inside}")


def predict(options: argparse.Namespace) -> None:
    """Predict the outputs for a table."""
    _check_output(options.output)
    net = files.load(options.model)
    if options.probabilities and net.classes is None:
        raise check.reject("--probabilities", "used for a network with classes", "a regression")
    if options.interval is not None and net.interval_level is None and not net.schema.quantiles:
        allowed = (
            "used for a network that knows the noise, after a fit with the loss quantile or gaussian_nll"
        )
        raise check.reject("--interval", allowed, "one that does not")
    table = read_table(options.file, reading_of(options))
    names = _predicted_names(net, options)
    if there := set(table.header).intersection(names):
        raise TableError(f"{table.source}: it already has a column {min(there)!r}")
    x = inputs_for(net.schema.columns, net.feature_names or net.input_names, table)
    cells = [[""] * len(names) for _ in range(table.n_rows)]
    for row, predicted in zip(*_predictions(net, x, options), strict=True):
        cells[row] = [_shown(value, table.decimal) for value in predicted]
    text = format_table(table, names, cells)
    if options.output == "-":
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    else:
        with whole_file(options.output) as file:
            file.write(text.encode())


def _check_output(path: str) -> None:
    ending = Path(path).suffix.lower()
    if ending in _NO_TEXT:
        raise check.reject("--output", "a text file, such as .csv", f"one that ends with {ending}")


def _predicted_names(net: NN, options: argparse.Namespace) -> list[str]:
    """The names of the columns that are added."""
    if net.classes is None:
        ends = () if options.interval is None else ("low", "high")
        names = net.output_names
        return [f"{name}_predicted" for name in names] + [f"{name}_{end}" for name in names for end in ends]
    label = net.schema.label_name or "class"
    is_one = net.schema.task == "classification"
    classes = net.classes.tolist() if is_one else net.output_names
    names = [f"{label}_predicted"] if is_one else [f"{name}_predicted" for name in classes]
    probabilities = [f"{label}={value}" if is_one else f"{value}_probability" for value in classes]
    return [*names, *(probabilities if options.probabilities else [])]


def _predictions(net: NN, x: Table, options: argparse.Namespace) -> tuple[NDArray[np.intp], list[list[Any]]]:
    """The rows with predictions, and the predictions."""
    columns = [x.column(name) for name in x.header]
    is_missing = np.any([cells.is_missing for cells in columns], axis=0)
    rows = np.arange(x.n_rows)
    if is_missing.any() and net.schema.missing == "error":
        place = first_missing(x, columns)
        raise TableError(f"{place}: the value is missing; fit the network with --missing mean or drop")
    if net.schema.missing == "drop":
        rows = np.flatnonzero(~is_missing)
        if is_missing.any():
            say(f"{is_missing.sum()} of {x.n_rows} rows have missing values and no prediction")
    if rows.size == 0:
        return rows, []
    part = x.take(rows)
    values = net.predict(part)
    if options.interval is not None:
        ends = np.stack(net.interval(part, options.interval), axis=-1)
        values = np.hstack([values.reshape(len(values), -1), ends.reshape(len(values), -1)])
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = rows[int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).argmax())]
        raise TableError(f"{x.source}, {x.unit} {x.lines[row]}: the prediction overflows")
    shown = values.reshape(len(values), -1).tolist()
    if options.probabilities:
        shown = [[*own, *more] for own, more in zip(shown, net.predict_proba(part).tolist(), strict=True)]
    return rows, shown


def _shown(value: object, decimal: str) -> str:
    return repr(value).replace(".", decimal) if isinstance(value, float) else str(value)
