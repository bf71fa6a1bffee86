"""What the command line does, once its options are parsed."""

import argparse
import contextlib
import functools
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError, whole_file
from crabnet_jit.callbacks.checkpoint import Checkpoint
from crabnet_jit.callbacks.log_file import LogFile
from crabnet_jit.callbacks.progress import ProgressBar
from crabnet_jit.callbacks.stopping import TimeBudget
from crabnet_jit.cli.console import Log, say
from crabnet_jit.cli.pictures import ARTICLE_NAMES, Pictures
from crabnet_jit.cli.tables import TableError, columns, delimiter_of, format_table, read_table
from crabnet_jit.components.schedules import Constant, Cosine, ExponentialDecay, OneCycle, Schedule
from crabnet_jit.data.random import StdRng
from crabnet_jit.data.sources import UniformSource
from crabnet_jit.data.targets import StandardGaussian
from crabnet_jit.fitting.fit import Scores, init_for, score, split
from crabnet_jit.fitting.fit import fit as fit_network
from crabnet_jit.network import files
from crabnet_jit.network.network import NN
from crabnet_jit.places import follow, is_same
from crabnet_jit.training.run import Callback
from crabnet_jit.training.state import read_checkpoint
from crabnet_jit.training.trainer import Trainer

_LOW, _HIGH = -3.0, 3.0  # the article's box

#: Defaults for the options of `gaussian`.
PRESETS: dict[str, dict[str, Any]] = {
    "article": {
        "hidden": "8,8",
        "activation": "relu",
        "init": "standard_uniform",
        "optimizer": "sgd",
        "learning_rate": 0.002,
        "schedule": "exponential",
        "iterations": 120_000,
        "batch_size": 16,
    },
    "fast": {
        "hidden": "16,16",
        "activation": "silu",
        "init": "lecun_normal",
        "optimizer": "adam",
        "learning_rate": 0.01,
        "schedule": "cosine",
        "iterations": 20_000,
        "batch_size": 32,
    },
}
PRESETS["best"] = {**PRESETS["fast"], "hidden": "32,32", "iterations": 200_000, "batch_size": 64}

#: Learning rates for `gaussian`, from its options.
SCHEDULES: dict[str, Callable[[argparse.Namespace], Schedule]] = {
    "exponential": lambda options: ExponentialDecay(options.learning_rate, options.decay),
    "constant": lambda options: Constant(options.learning_rate),
    "cosine": lambda options: Cosine(
        options.learning_rate, max(options.iterations, 1), warmup=max(options.iterations, 1) // 20
    ),
    "one_cycle": lambda options: OneCycle(options.learning_rate, options.iterations),
}


#: Options that a checkpoint does not keep: where a run reads and writes, and how it is watched.
_NOT_KEPT = {
    "file", "inputs", "outputs", "save", "checkpoint", "checkpoint_every", "resume", "time_limit", "log_file",
    "progress", "plot", "animate", "rotate", "frames", "show",
}  # fmt: skip


#: Commands as checkpoints name them. Earlier versions wrote "fit" for "gaussian", and "train" for "fit".
_KEPT_COMMANDS = {"gaussian": "gaussian", "fit": "fit FILE"}


def saved_options(command: str, path: str, known: set[str]) -> dict[str, Any]:
    """The options of the run that wrote a checkpoint, of those that are known."""
    saved = read_checkpoint(path)
    options = saved.options
    if options.get("command") in ("fit", "train"):
        raise FileFormatError(
            f"{path} is of an earlier version, whose commands had other names: end it there"
        )
    if options.get("command") != _KEPT_COMMANDS[command] or not all(
        isinstance(value, (str, int, float)) for value in options.values()
    ):
        raise FileFormatError(f"{path} is not a checkpoint of crabnet-jit {command}")
    sizes = saved.configuration.get("sizes")
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        raise FileFormatError(f"{path} is not a saved checkpoint (its sizes are {sizes!r})")
    if options.get("hidden") != ",".join(map(str, sizes[1:-1])):
        raise FileFormatError(f"{path} is not a saved checkpoint (its options are of another network)")
    if sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes)) != saved.state.parameters.size:
        raise FileFormatError(f"{path} is not a saved checkpoint (its parameters are of another network)")
    return {name: value for name, value in options.items() if name in known - _NOT_KEPT - {"command"}}


class _Watch:
    """The callbacks that options ask for, and what is said about them."""

    def __init__(self, options: argparse.Namespace, callbacks: Sequence[Callback]) -> None:
        self.callbacks = [*callbacks]
        self.bar: ProgressBar | None = None
        self._log = Log()
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        if is_terminal if options.progress is None else options.progress:
            self.bar = ProgressBar()
            self.callbacks.append(self.bar)
        if options.time_limit is not None:
            self.callbacks.append(TimeBudget(options.time_limit))
        if options.log_file is not None:
            self.callbacks.append(LogFile(options.log_file))
        self._checkpoint: Checkpoint | None = None
        if options.checkpoint is not None:
            kept = {
                name: ",".join(map(str, value)) if isinstance(value, list) else value
                for name, value in vars(options).items()
                if name not in _NOT_KEPT and value is not None
            }
            kept["command"] = _KEPT_COMMANDS[options.command]
            self._checkpoint = Checkpoint(options.checkpoint, options.checkpoint_every, kept)
            self.callbacks.append(self._checkpoint)

    @contextlib.contextmanager
    def interrupted(self) -> Iterator[None]:
        """Say how to go on after Ctrl-C."""
        try:
            yield
        except KeyboardInterrupt:
            if self._checkpoint is not None and self._checkpoint.path.exists():
                say(f"go on with --resume {self._checkpoint.path}")
            raise

    def print(self, text: str) -> None:
        """A line of the log; see `close`."""
        with contextlib.nullcontext() if self.bar is None else self.bar.aside():
            self._log.print(text)

    @property
    def unwritten(self) -> OSError | None:
        """Why there is no last checkpoint."""
        return None if self._checkpoint is None else self._checkpoint.error

    def close(self) -> None:
        """Raise the error of a log or a last checkpoint that could not be written, when all else is done."""
        self._log.close()
        if self.unwritten is not None:
            raise self.unwritten


def _leave(number: int, _frame: object) -> None:
    """End the process here."""
    say("interrupted while compiling")
    os._exit(128 + number)


_leave.is_immediate = True  # type: ignore[attr-defined]  # it does not raise


@contextlib.contextmanager
def _nothing_to_keep() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the process at once, without a wait for the compiler."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def gaussian(options: argparse.Namespace) -> None:
    """Fit a network to the article's Gaussian."""
    check.choice("preset", options.preset, PRESETS)
    pictures = Pictures(options)
    watch = _Watch(options, pictures.callbacks)
    check.integer("iterations", options.iterations, 0)
    schedule = SCHEDULES[check.choice("schedule", options.schedule, SCHEDULES)](options)
    rng = StdRng(options.seed)
    net = NN(
        2,
        options.hidden,
        1,
        rng,
        activation=options.activation,
        init=init_for(options.init, options.activation),
        dtype=options.dtype,
    )
    source = UniformSource(StandardGaussian(), _LOW, _HIGH, options.batch_size, rng)
    trainer = Trainer(
        net,
        source,
        optimizer=options.optimizer,
        learning_rate=schedule,
        log_every=options.log_every,
        keep_losses=None if pictures.need_losses else 0,
        on_divergence=options.on_divergence,
    )
    if options.resume is not None:
        trainer.load_checkpoint(options.resume)
    first = trainer.iteration
    if options.iterations < first:
        raise check.reject("iterations", f"at least the {first} that are done", str(options.iterations))
    start = time.perf_counter()
    with _nothing_to_keep():
        trainer.compile()
    compiled = time.perf_counter()
    try:
        with watch.interrupted():
            trainer.run(
                options.iterations - first,
                on_log=lambda i, loss: watch.print(f"Iter {i}, loss: {loss!r}"),
                callbacks=watch.callbacks,
            )
    except OSError as error:
        if error is not watch.unwritten:  # else it is told at the end: what was learned is kept all the same
            raise
    finally:
        seconds = time.perf_counter() - compiled
        done = trainer.iteration - first
        say(
            f"{done} iterations: {compiled - start:.2f} s compiling, {seconds:.3f} s training, "
            f"{1e6 * seconds / max(done, 1):.3f} us per iteration"
        )
    if options.save is not None:
        files.save(net, options.save, ARTICLE_NAMES)
    say(f"mean squared error on a grid of 101 x 101 points: {grid_error(net):.3g}")
    pictures.draw_gaussian(trainer)
    watch.close()


def grid_error(net: NN) -> float:
    """Mean squared error on 101 x 101 points of the article's box, borders included."""
    axis = np.linspace(_LOW, _HIGH, 101)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return float(((net.predict(points) - StandardGaussian()(points)) ** 2).mean())


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
    watch = _Watch(options, pictures.callbacks)
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
        files.save(net, options.save, {"inputs": options.inputs, "outputs": options.outputs})
    say(f"{done} iterations, {time.perf_counter() - start:.2f} s, compiling included")
    for what, part in (("training", training), ("validation", validation)):
        if part.size > 0:
            _say_scores(what, options.outputs, score(net, x[part], y[part], weights[part]))
    shown = validation if share > 0 else training
    pictures.draw_fit(net, x[shown], y[shown], options.inputs, options.outputs)
    watch.close()


def _say_progress(n_iterations: int, done: int, loss: float, validation_loss: float | None) -> None:
    """A line for each tenth of the iterations."""
    if done * 10 // n_iterations > (done - 1) * 10 // n_iterations:
        more = "" if validation_loss is None else f", validation loss {validation_loss:.6g}"
        say(f"{done} of {n_iterations} iterations: loss {loss:.6g}{more}")


#: For each command, the options with files that it reads, and those with files that it writes.
_FILES = {
    "gaussian": (["resume"], ["save", "checkpoint", "log_file", "plot", "animate", "rotate"]),
    "fit": (["file", "resume"], ["save", "checkpoint", "log_file", "plot"]),
    "predict": (["model", "file"], ["output"]),
    "plot": (["model", "data"], ["picture"]),
}
#: Files that may be written over what was read from them.
_MAY_REPLACE = {"checkpoint": "resume", "output": "file"}
_FILMS = ("animate", "rotate")


def _shown(name: str) -> str:
    """What errors call an option with a file."""
    arguments = {"file": "the data", "model": "the model", "picture": "PICTURE"}
    return arguments.get(name, f"--{name.replace('_', '-')}")


def _is_frame(path: Path, film: Path) -> bool:
    """Whether a film as pictures, such as film.png, has a frame with this path, such as film-0000.png."""
    numbered = re.fullmatch(re.escape(film.stem) + "-[0-9]{4,}" + re.escape(film.suffix), path.name)
    return numbered is not None and film.suffix.lower() == ".png" and is_same(path.parent, film.parent)


def check_files(options: argparse.Namespace) -> None:
    """Before the work, not after it: results need files of their own, and places to be."""
    read, written = _FILES[options.command]
    paths: dict[str, Path] = {}
    for name in (*read, *written):
        given = getattr(options, name)
        if given is None or (given == "-" and name in ("file", "output")):
            continue
        path = check.path(_shown(name), given)
        if name in written:
            follow(path)  # links that form a loop
            for other, taken in paths.items():
                is_frame = name in _FILMS and other not in _FILMS and _is_frame(taken, path)
                if is_frame or (other != _MAY_REPLACE.get(name) and is_same(path, taken)):
                    raise check.reject(_shown(name), f"another file than {_shown(other)}", repr(given))
        paths[name] = path
    save = paths.get("save")
    if save is not None and (not save.absolute().parent.is_dir() or save.is_dir()):
        raise check.reject("--save", "a file in a folder that exists", repr(options.save))


def _say_scores(what: str, names: list[str], scores: Scores) -> None:
    for name, rmse, mae, r2 in zip(names, scores.rmse, scores.mae, scores.r2, strict=True):
        say(f"{what}, {scores.n_samples} rows, {name}: RMSE {rmse:.6g}, MAE {mae:.6g}, R2 {r2:.6f}")


def predict(options: argparse.Namespace) -> None:
    """Predict the outputs for a CSV file."""
    net, names = files.load_with_names(options.model)
    inputs, outputs = files.feature_names(net, names)
    table = read_table(options.file, delimiter_of(options.delimiter))
    predicted = [f"{name}_predicted" for name in outputs]
    if there := set(table.header).intersection(predicted):
        raise TableError(f"{table.source}: has a column {min(there)!r} already")
    values = net.predict(columns(table, inputs))
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
