"""Signals while compiled code runs: it returns at once, and nothing is left half done.

Python handles a signal, such as that of Ctrl-C, between two steps of Python code. A compiled call is one
such step, however long it takes, and an exception raised after it could come between the call and the
lines that store its results. So, while an `Interruptible` is entered in the main thread,

- the number of a signal is written to memory at once, where kernels look for it: Python can write it to a
  file descriptor (`signal.set_wakeup_fd`), here that of a file in memory. interrupt.py is the kernels' part;
- Python's handlers wait between `hold` and `release`.

Other threads get no signals. They are not interrupted unless whoever started them lends them a flag
(`stoppable`) and sets it: then kernels return, and `Stopped` is raised where a handler would be called.
"""

import contextlib
import functools
import mmap
import os
import signal
import tempfile
import threading

# Python's own functions turn each handler into an enum: 1.8 us instead of 0.03, nine times per run.
from _signal import getsignal  # type: ignore[import-not-found]  # CPython's own, without types
from _signal import signal as set_handler
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flag = NDArray[np.uint8]

#: A flag that is never set.
NEVER: Flag = np.zeros(1, np.uint8)

_INTERRUPTING = {signal.SIGINT, signal.SIGTERM}  # interrupt.py
_MAX_SIGNALS = 2**20  # in one compiled call; later ones are only noticed after it
_NAMES = "SIGINT SIGTERM SIGALRM SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGVTALRM SIGPROF"  # handlers may raise
_HANDLED = [getattr(signal, name) for name in _NAMES.split() if hasattr(signal, name)]


class _SignalFile:
    """A file in memory, to which the operating system writes a byte for each signal."""

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("signals")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        os.ftruncate(self.descriptor, _MAX_SIGNALS)
        os.set_blocking(self.descriptor, False)  # as Python requires
        self.listener = -1  # someone else's file descriptor for signals
        self.flag: Flag = np.frombuffer(mmap.mmap(self.descriptor, _MAX_SIGNALS), np.uint8)

    def take(self) -> bytes:
        """The signals that arrived since the last call."""
        n = int((self.flag == 0).argmax())  # not the file's position: a signal may arrive at this moment
        signals = self.flag[:n].tobytes()
        self.flag[:n] = 0
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return signals


@functools.cache
def _signal_file() -> _SignalFile | None:
    """The file of this process; None if there can be none."""
    try:
        file = _SignalFile()
        signal.set_wakeup_fd(signal.set_wakeup_fd(file.descriptor))
    except (OSError, ValueError):  # Windows needs a socket
        return None
    return file


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_signal_file.cache_clear)  # the child needs its own file


class Stopped(BaseException):
    """Raised in a thread that was told to stop."""


class _Lent(threading.local):
    flag: Flag = NEVER


_lent = _Lent()


@contextlib.contextmanager
def stoppable(flag: Flag) -> Iterator[None]:
    """A block that ends with `Stopped` soon after another thread has set the flag, see `set_flag`."""
    before, _lent.flag = _lent.flag, flag
    try:
        yield
    finally:
        _lent.flag = before


def new_flag() -> Flag:
    """A flag for `stoppable`."""
    return np.zeros(2, np.uint8)


def set_flag(flag: Flag) -> None:
    """Stop the block to which the flag was lent."""
    flag[0] = int(signal.SIGINT)


class Interruptible:
    """A context in which signals interrupt kernels, but no Python code between `hold` and `release`.

    A handler whose attribute `is_immediate` is true does not wait; it should not raise an exception.

    After a handler has raised one, all wait until the end of the context: the state that the first signal
    interrupted is saved before a second one is answered. Code that catches the exception and continues calls
    `go_on`.

    Attributes
    ----------
    flag : ndarray of uint8
        The memory that kernels check (interrupt.py).
    """

    def __init__(self) -> None:
        self.flag = self._stop = NEVER
        self._file: _SignalFile | None = None
        self._descriptor_before = -1
        self._handlers: dict[int, Any] = {}
        self._n_held = 1
        self._waiting: list[tuple[int, Any]] = []

    def __enter__(self) -> "Interruptible":
        if threading.current_thread() is threading.main_thread():
            for number in _HANDLED:
                handler = getsignal(number)
                if callable(handler) and not getattr(handler, "is_immediate", False):
                    self._handlers[number] = handler
                    set_handler(number, self._handle)
            self._file = _signal_file()
        else:
            self.flag = self._stop = _lent.flag
        if self._file is not None:
            self.flag = self._file.flag
            self._descriptor_before = signal.set_wakeup_fd(self._file.descriptor, warn_on_full_buffer=False)
            if self._descriptor_before != self._file.descriptor:  # otherwise this one is inside another one
                self._file.listener = self._descriptor_before
        self._n_held = 0
        return self

    def __exit__(self, *_: object) -> None:
        self._n_held, self._stop = 1, NEVER
        if self._file is not None:
            signal.set_wakeup_fd(self._descriptor_before)
            if self._descriptor_before != self._file.descriptor:  # otherwise the outer one must see them, too
                self._take()
        for number, handler in reversed(self._handlers.items()):  # the one for Ctrl-C last
            set_handler(number, handler)
        self.release()

    def _handle(self, number: int, frame: Any) -> None:
        self._waiting.append((number, frame))
        self._answer()

    def _answer(self) -> None:
        while self._waiting and self._n_held == 0:
            number, frame = self._waiting.pop(0)
            try:
                self._handlers[number](number, frame)
            except BaseException:
                self._n_held += 1  # not a call: Python would check for signals inside it
                raise
        if self._stop[0] and self._n_held == 0:
            self._n_held += 1
            raise Stopped

    def hold(self) -> None:
        """Let handlers wait until `release` has been called as often as this."""
        self._n_held += 1

    def release(self) -> None:
        """Call the handlers of the signals that arrived meanwhile; one may raise an exception."""
        self._n_held -= 1
        self._answer()

    def go_on(self) -> None:
        """Answer signals again, even after a handler's exception that was caught."""
        self._n_held = 0
        self._answer()

    def is_interrupted(self) -> bool:
        """Whether signals arrived that interrupt kernels; clears all that arrived."""
        if self._stop[0]:
            self._answer()
            return True
        return not _INTERRUPTING.isdisjoint(self._take())

    def _take(self) -> bytes:
        """The signals that arrived; also passes them on to the previous file descriptor, if any."""
        if self._file is None or not self.flag[0]:
            return b""
        signals = self._file.take()
        if signals and self._file.listener != -1:
            with contextlib.suppress(OSError):  # it is full, or closed
                os.write(self._file.listener, signals)
        return signals


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A block in which handlers wait until its end."""
    with Interruptible() as interruptible:
        interruptible.hold()
        yield
