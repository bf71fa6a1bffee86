"""Messages to people, which never end a run or cost its result."""

import contextlib
import os
import sys
from collections.abc import Iterator

from crabnet_jit.quiet_file import QuietFile, give_up


def say(text: str) -> None:
    """Print a line on standard error, if that can be written to."""
    if sys.stderr is not None:
        QuietFile(sys.stderr).write(text + "\n")


@contextlib.contextmanager
def standard_error() -> Iterator[None]:
    """A context that gives a process without standard error one that discards everything.

    Otherwise, libraries that write to it would fail, and the next opened file would get its number.
    """
    if sys.stderr is not None:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


class Log:
    """Lines on standard output that are a result.

    If they cannot be written, the work goes on, and `close` raises the error when everything else is done.
    """

    def __init__(self) -> None:
        self._error: OSError | None = None

    def print(self, text: str) -> None:
        """Write a line, unless an earlier one could not be written."""
        if self._error is not None:
            return
        try:
            print(text, flush=True)
        except OSError as error:
            self._error = error
            give_up(sys.stdout)

    def close(self) -> None:
        """Raise the first error, if any."""
        if self._error is not None:
            raise self._error


def abandon_output() -> None:
    """Give up standard output, which is full or has lost its reader: Python would try again at exit."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
