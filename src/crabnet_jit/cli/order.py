"""Files in the wrong place: a table instead of a network, or a network instead of a table."""

import argparse
import shlex
from pathlib import Path

from crabnet_jit.archive import kind_of
from crabnet_jit.check import InvalidArgumentError
from crabnet_jit.cli.hints import is_table

#: For each command that reads a network, the file with which it may be confused.
_BESIDE = {"predict": "file", "plot": "picture", "export": "to"}
#: What to type if only a table was given.
_COMPLETE = {
    "predict": "predict MODEL {}",
    "plot": "plot MODEL PICTURE --data {}",
    "export": "export MODEL FILE",
}


def check_order(options: argparse.Namespace) -> None:
    """Raise an error that says what to type, if files are in the wrong order or of the wrong kind."""
    if options.command == "fit":
        _check_fit(options.file)
    elif options.command in _BESIDE:
        _check_model(options.command, options.model, getattr(options, _BESIDE[options.command]))


def _check_fit(file: str) -> None:
    kind, name = kind_of(Path(file)), shlex.quote(file)
    if kind == "network":
        raise _error(file, "a network, not a table", f"predict {name} FILE")
    if kind == "checkpoint":
        raise _error(file, "the checkpoint of a run, not a table", f"fit FILE --resume {name}")


def _check_model(command: str, model: str, other: str | None) -> None:
    if kind_of(Path(model)) == "network":
        return
    what = "a table" if is_table(model) else "not a network"
    if other is not None and kind_of(Path(other)) == "network":
        raise _error(model, what, shlex.join([command, other, model]))
    if is_table(model) and Path(model).is_file():
        raise _error(model, what, _COMPLETE[command].format(shlex.quote(model)))


def _error(file: str, what: str, meant: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{file} is {what}; did you mean crabnet-jit {meant}?")
