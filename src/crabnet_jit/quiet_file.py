"""Files for messages to people: a message that cannot be written does not end a run."""

import contextlib
import os
from typing import IO, Any

#: Errors in code that writes, besides errors of writing. Not all exceptions: a signal may raise one.
SLIPS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def give_up(file: IO[str]) -> None:
    """Stop writing to a file that is full or has lost its reader: Python would try again at exit."""
    with contextlib.suppress(OSError, *SLIPS):  # not a file of the operating system
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, file.fileno())
        os.close(null)


class QuietFile:
    """A text file for messages: those that cannot be written are lost, and nothing else happens."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._is_lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    # tqdm looks for bars that share a file with the text that is printed above them.
    def __eq__(self, other: object) -> bool:
        return self._file == getattr(other, "_file", other)

    def __hash__(self) -> int:
        return hash(self._file)

    def write(self, text: str) -> None:
        """Write the text at once."""
        self._try("write", text)
        self._try("flush")

    def flush(self) -> None:
        """Flush, although `write` has done so: some callers expect it."""
        self._try("flush")

    def _try(self, method: str, *arguments: str) -> None:
        if self._is_lost:
            return
        try:
            if hasattr(self._file, method):
                getattr(self._file, method)(*arguments)
        except (OSError, *SLIPS) as error:  # full, closed, without a reader, of another encoding
            if isinstance(error, OSError) and error.errno is None:
                raise  # not from the operating system, such as the TimeoutError of an alarm
            self._is_lost = True
            give_up(self._file)
