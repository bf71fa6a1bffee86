"""`crabnet-jit fit` and `crabnet-jit predict`: networks and CSV files."""

import argparse
import functools
import math
import sys
import time

import numpy as np

from crabnet_jit import check
from crabnet_jit.archive import whole_file
from crabnet_jit.cli.console import say
from crabnet_jit.cli.pictures import Pictures
from crabnet_jit.cli.tables import TableError, columns, delimiter_of, format_table, read_table
from crabnet_jit.cli.watch import Watch
from crabnet_jit.data.random import StdRng
from crabnet_jit.fitting.data_set import split
from crabnet_jit.fitting.fit import fit as fit_network
from crabnet_jit.fitting.scores import ClassScores, Scores, score
from crabnet_jit.network import files
from crabnet_jit.summary import counted

_FEW_ROWS = 10  # whose scores say little


def fit(options: argparse.Namespace) -> None:
    """Fit a network to a CSV file."""
    for name in ("inputs", "outputs"):
        given = getattr(options, name)
        if len(set(given)) < len(given):
            raise check.reject(f"--{name}", "different columns", ",".join(given))
    if both := set(options.outputs).intersection(options.inputs):
        raise check.reject("--outputs", "columns that are no inputs", min(both))
    table = read_table(options.file, delimiter_of(options.delimiter))
    x, y = columns(table, options.inputs), columns(table, options.outputs)
    weights = np.ones(len(x))
    if options.weights is not None:
        weights = check.sample_weights("--weights", columns(table, [options.weights])[:, 0], len(x))
    rng = StdRng(options.seed)
    share = check.fraction("validation", options.validation)
    training, validation = np.arange(len(x)), np.arange(0)
    if share > 0:
        if len(x) < 2:
            raise TableError(f"{table.source}: must have two rows or more, to set one aside for validation")
        training, validation = split(len(x), share, rng, weights)
    pictures = Pictures(options)
    watch = Watch(options, pictures.callbacks)
    start = time.perf_counter()
    on_check = None if watch.bar is not None else functools.partial(_say_progress, options.iterations)
    with watch.interrupted():
        net = fit_network(
            x[training],
            y[training],
            hidden_sizes=options.hidden,
            activation=options.activation,
            init=options.init,
            loss=options.loss,
            optimizer=options.optimizer,
            learning_rate=options.learning_rate,
            n_iterations=options.iterations,
            batch_size=options.batch_size,
            sample_weight=weights[training],
            standardize=not options.no_standardize,
            validation=(x[validation], y[validation], weights[validation]) if share > 0 else None,
            seed=rng,
            dtype=options.dtype,
            on_check=on_check,
            patience=options.patience,
            callbacks=watch.callbacks,
            resume=options.resume,
            on_divergence=options.on_divergence,
            l1=options.l1,
            l2=options.l2,
            clip_norm=options.clip_norm,
            clip_value=options.clip_value,
            dropout=options.dropout,
        )
    assert net.fit_history is not None
    done = net.fit_history.n_iterations
    if options.save is not None:
        names = {"inputs": options.inputs}
        if net.out_features == len(options.outputs):  # not those of a column of labels
            names["outputs"] = options.outputs
        files.save(net, options.save, names)
    say(f"{done} iterations, {time.perf_counter() - start:.2f} s, compiling included")
    for what, part in (("training", training), ("validation", validation)):
        if part.size > 0:
            _say_scores(what, options.outputs, score(net, x[part], y[part], weights[part]))
    if 0 < validation.size < _FEW_ROWS:
        say(
            f"{counted(validation.size, 'row')} set aside for validation: too few for scores to rely on; "
            "a larger --validation sets aside more, --validation 0 trains on all rows"
        )
    shown = validation if share > 0 else training
    pictures.draw_fit(net, x[shown], y[shown], options.inputs, options.outputs)
    watch.close()


def _say_progress(n_iterations: int, done: int, loss: float, validation_loss: float | None) -> None:
    """A line for each tenth of the iterations."""
    if done * 10 // n_iterations > (done - 1) * 10 // n_iterations:
        more = "" if validation_loss is None else f", validation loss {validation_loss:.6g}"
        say(f"{done} of {n_iterations} iterations: loss {loss:.6g}{more}")


def _say_scores(what: str, names: list[str], scores: Scores | ClassScores) -> None:
    if isinstance(scores, ClassScores):
        auc = "" if math.isnan(scores.roc_auc) else f", ROC AUC {scores.roc_auc:.6f}"
        accuracy, log_loss = f"accuracy {scores.accuracy:.6f}", f"log loss {scores.log_loss:.6g}"
        say(f"{what}, {scores.n_samples} rows: {accuracy}, {log_loss}{auc}")
        return
    for name, rmse, mae, r2 in zip(names, scores.rmse, scores.mae, scores.r2, strict=True):
        say(f"{what}, {scores.n_samples} rows, {name}: RMSE {rmse:.6g}, MAE {mae:.6g}, R2 {r2:.6f}")


def predict(options: argparse.Namespace) -> None:
    """Predict the outputs for a CSV file."""
    net = files.load(options.model)
    inputs, outputs = net.input_names, net.output_names
    table = read_table(options.file, delimiter_of(options.delimiter))
    predicted = [f"{name}_predicted" for name in outputs]
    if there := set(table.header).intersection(predicted):
        raise TableError(f"{table.source}: has a column {min(there)!r} already")
    values = net.response(columns(table, inputs))
    if not np.isfinite(values).all():
        line = table.lines[int((~np.isfinite(values)).any(axis=1).argmax())]
        raise TableError(f"{table.source}, line {line}: the prediction is too large for a number")
    text = format_table(table, predicted, values)
    if options.output == "-":
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    else:
        with whole_file(options.output) as file:
            file.write(text.encode())
