"""Watching a run, and the options that its checkpoints keep.

Callbacks are taken from the package itself, which imports each on first access.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import crabnet_jit
from crabnet_jit.archive import FileFormatError
from crabnet_jit.article import is_second_order
from crabnet_jit.cli.console import Log, say
from crabnet_jit.network.history import History
from crabnet_jit.network.spec import count_parameters
from crabnet_jit.training.run import Callback
from crabnet_jit.training.state import read_checkpoint

#: Options that a checkpoint does not keep: files that a run reads and writes, and how it is watched.
_NOT_SAVED = {
    "file", "inputs", "outputs", "save", "checkpoint", "checkpoint_every", "resume", "time_limit", "log_file",
    "progress", "plot", "animate", "rotate", "frames", "show",
}  # fmt: skip


#: Names of commands in checkpoints. Earlier versions wrote "fit" for "gaussian", and "train" for "fit".
_SAVED_COMMANDS = {"gaussian": "gaussian", "fit": "fit FILE"}


def saved_options(command: str, path: str, known: set[str]) -> dict[str, Any]:
    """The options of the run that wrote a checkpoint, limited to known ones."""
    saved = read_checkpoint(path)
    options = saved.options
    if options.get("command") in ("fit", "train"):
        raise FileFormatError(
            f"{path} is from an earlier version, whose commands had other names: finish the run there"
        )
    if options.get("command") != _SAVED_COMMANDS[command] or not all(
        isinstance(value, (str, int, float)) for name, value in options.items() if name != "hidden"
    ):
        raise FileFormatError(f"{path} is not a checkpoint of crabnet-jit {command}")
    sizes = saved.configuration.get("sizes")
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        raise FileFormatError(f"{path} is not a saved checkpoint (its sizes are {sizes!r})")
    if options.get("hidden") != sizes[1:-1]:
        raise FileFormatError(f"{path} is not a saved checkpoint (its options are of another network)")
    if count_parameters(sizes) != saved.state.parameters.size:
        raise FileFormatError(f"{path} is not a saved checkpoint (its parameters are of another network)")
    return {name: value for name, value in options.items() if name in known - _NOT_SAVED - {"command"}}


# Iterations between two rows of a log file.
_ROWS, _ROWS_OF_SECOND_ORDER = 1000, 10


class Watch:
    """The callbacks that options ask for, and messages about them."""

    def __init__(self, options: argparse.Namespace, callbacks: Sequence[Callback]) -> None:
        self.callbacks = [*callbacks]
        self.bar: crabnet_jit.ProgressBar | None = None
        self._log = Log()
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        if is_terminal if options.progress is None else options.progress:
            self.bar = crabnet_jit.ProgressBar()
            self.callbacks.append(self.bar)
        if options.time_limit is not None:
            self.callbacks.append(crabnet_jit.TimeBudget(options.time_limit))
        if options.log_file is not None:
            every = _ROWS_OF_SECOND_ORDER if is_second_order(options.optimizer) else _ROWS
            self.callbacks.append(crabnet_jit.LogFile(options.log_file, every))
        self._checkpoint: crabnet_jit.Checkpoint | None = None
        if options.checkpoint is not None:
            saved = {
                name: value
                for name, value in vars(options).items()
                if name not in _NOT_SAVED and value is not None
            }
            saved["command"] = _SAVED_COMMANDS[options.command]
            self._checkpoint = crabnet_jit.Checkpoint(options.checkpoint, options.checkpoint_every, saved)
            self.callbacks.append(self._checkpoint)

    @contextlib.contextmanager
    def interrupted(self) -> Iterator[None]:
        """Print how to go on after Ctrl-C."""
        try:
            yield
        except KeyboardInterrupt:
            if self._checkpoint is not None and self._checkpoint.path.exists():
                say(f"go on with --resume {self._checkpoint.path}")
            raise

    def say_end(self, history: History) -> None:
        """Print what ended a run before its last iteration."""
        for iteration, event in history.events:
            if iteration == history.n_iterations and event.startswith("stopped"):
                say(event)

    def print(self, text: str) -> None:
        """Print a line of the log; see `close`."""
        with contextlib.nullcontext() if self.bar is None else self.bar.aside():
            self._log.print(text)

    @property
    def unwritten(self) -> OSError | None:
        """Why there is no last checkpoint."""
        return None if self._checkpoint is None else self._checkpoint.error

    def close(self) -> None:
        """At the end, raise the error if the log or the last checkpoint could not be written."""
        self._log.close()
        if self.unwritten is not None:
            raise self.unwritten
