"""The command line: `gaussian` is the article's job; `fit`, `predict` and `plot` are for other data."""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import NoReturn

from crabnet_jit import FileFormatError, InvalidArgumentError
from crabnet_jit.cli.article import gaussian
from crabnet_jit.cli.console import say, standard_error
from crabnet_jit.cli.fit import fit, predict
from crabnet_jit.cli.options import USAGE_ERROR, check_files, parse
from crabnet_jit.cli.pictures import plot
from crabnet_jit.cli.tables import TableError

_FAILED = 1
_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM


def _abandon_output() -> None:
    """If standard output is full, or its reader has gone: Python would try it again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is answered as Ctrl-C is."""


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


@contextlib.contextmanager
def _signals(command: str) -> Iterator[None]:
    """SIGTERM as an exception, and warnings as lines on standard error."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if is_main else None
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: say(f"{command}: warning: {message}")
            yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    with standard_error():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    command = "crabnet-jit"
    try:
        options = parse(argv)
        command = f"crabnet-jit {options.command}"
        if sys.stdout is None:
            raise OSError("standard output is closed")
        with _signals(command):
            check_files(options)
            {"gaussian": gaussian, "fit": fit, "predict": predict, "plot": plot}[options.command](options)
    except (InvalidArgumentError, TableError, FileFormatError) as error:
        code, message = USAGE_ERROR, f"error: {error}"
    except ImportError as error:
        code, message = _FAILED, f"error: {error}"
    except MemoryError as error:
        code, message = _FAILED, f"error: not enough memory: {error}"
    except FloatingPointError as error:
        code, message = _FAILED, str(error)
    except KeyboardInterrupt as error:
        is_terminated = isinstance(error, Terminated)
        code, message = (_TERMINATED, "terminated") if is_terminated else (_INTERRUPTED, "interrupted")
    except OSError as error:
        code, message = _FAILED, "" if isinstance(error, BrokenPipeError) else f"error: {error}"
        _abandon_output()
    else:
        return 0
    if message:
        say(f"{command}: {' '.join(message.split())}")
    return code
