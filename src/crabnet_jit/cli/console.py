"""What is said to people: it never ends a run, nor costs its result."""

import contextlib
import os
import sys
from collections.abc import Iterator

from crabnet_jit.quiet_file import QuietFile, give_up


def say(text: str) -> None:
    """A line on standard error, if there is one that can be written to."""
    if sys.stderr is not None:
        QuietFile(sys.stderr).write(text + "\n")


@contextlib.contextmanager
def standard_error() -> Iterator[None]:
    """A context in which a process that was started without standard error has one that goes nowhere.

    Else libraries fail that write to it, and the next file that is opened gets its number.
    """
    if sys.stderr is not None:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


class Log:
    """Lines on standard output that are a result.

    If they cannot be written, the work goes on, and `close` raises the error when all else is done.
    """

    def __init__(self) -> None:
        self._error: OSError | None = None

    def print(self, text: str) -> None:
        """Write a line, unless one could not be written before."""
        if self._error is not None:
            return
        try:
            print(text, flush=True)
        except OSError as error:
            self._error = error
            give_up(sys.stdout)

    def close(self) -> None:
        """Raise the error that came first."""
        if self._error is not None:
            raise self._error


def abandon_output() -> None:
    """If standard output is full, or its reader has gone: Python would try it again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
