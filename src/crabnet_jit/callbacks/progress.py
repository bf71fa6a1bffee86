"""A bar, or lines, that show the progress of a run."""

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from typing import IO, Any

from crabnet_jit import check
from crabnet_jit.quiet_file import SLIPS, QuietFile
from crabnet_jit.training.run import Callback, Run

_LINE_SECONDS = 5.0  # between two lines where there is no bar


class ProgressBar(Callback):
    """Show iterations, iterations per second, running loss and time left.

    With tqdm (`pip install crabnet-jit[progress]`) it is a bar, in notebooks a widget; without tqdm, it is a
    line every 5 seconds and one at the end. Output that cannot be written is lost, and does not end the run.

    Parameters
    ----------
    interval : float, default 0.1
        Seconds between two updates of the bar, above 0.
    file : text file, optional
        Where to write; by default standard error.

    Examples
    --------
    >>> import io
    >>> from crabnet_jit import NN, ProgressBar, StandardGaussian, Trainer, UniformSource
    >>> trainer = Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    >>> shown = io.StringIO()
    >>> _ = trainer.run(1000, callbacks=[ProgressBar(file=shown)])
    >>> "loss" in shown.getvalue()
    True
    """

    @check.keywords
    def __init__(self, interval: float = 0.1, file: IO[str] | None = None) -> None:
        self._interval = check.number("interval", interval, 0.0, open_low=True)
        if file is not None and not hasattr(file, "write"):
            raise check.reject("file", "a text file", repr(file))
        self._file = file
        self._meter = Meter(self._interval, file)

    def start(self, run: Run) -> None:
        """Start to show progress."""
        self._meter.start(run.end, run.iteration)

    def __call__(self, run: Run) -> None:
        """Update what is shown, if it is time."""
        if self._meter.is_due():
            self._show(run)

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Show the state at the end, and close the bar."""
        self._show(run)
        self._meter.close()

    def _show(self, run: Run) -> None:
        loss = run.running_loss
        self._meter.show(run.iteration, f"loss {loss:.4g}", f"running loss {loss:.6g}", run.is_stopped)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """A block without the bar, in which a line can be printed on the same terminal."""
        mode = self._meter.aside()
        with contextlib.suppress(*SLIPS):
            mode.__enter__()
        try:
            yield
        finally:
            with contextlib.suppress(*SLIPS):
                mode.__exit__(None, None, None)

    def print(self, text: str) -> None:
        """Print a line on standard output, above the bar."""
        with self.aside():
            print(text, flush=True)


class Meter:
    """How many iterations are done: a bar, or a line now and then.

    Parameters
    ----------
    interval : float
        Seconds between two updates of the bar.
    file : text file, optional
        Where to write; by default standard error.
    what : str
        What is counted.
    """

    def __init__(self, interval: float = 0.1, file: IO[str] | None = None, what: str = "iterations") -> None:
        self._interval, self._file, self._what = interval, file, what
        self._bar: Any = None
        self._shown: QuietFile | None = None
        self._next = self._start = 0.0
        self._began_at = self._total = 0

    def start(self, total: int, done: int = 0) -> None:
        """Begin, with some iterations done."""
        file = sys.stderr if self._file is None else self._file
        self._shown = None if file is None else QuietFile(file)
        self._bar = None if self._shown is None else _bar(self._shown, total, done)
        self._total, self._began_at, self._start = total, done, time.perf_counter()
        self._next = self._start + (0.0 if self._bar is not None else _LINE_SECONDS)

    def is_due(self) -> bool:
        """Whether it is time for another update; it is counted as made."""
        now = time.perf_counter()
        if now < self._next:
            return False
        self._next = now + (self._interval if self._bar is not None else _LINE_SECONDS)
        return True

    def show(self, done: int, short: str, long: str, is_stopped: bool = False) -> None:
        """Show the iterations done, with a text for the bar or for a line."""
        if self._bar is not None:
            try:
                self._bar.set_postfix_str(short, refresh=False)
                self._bar.update(done - self._bar.n)
                return
            except SLIPS:  # such as for an invalid TQDM_ASCII: print lines instead
                self._bar.disable = True  # it is closed when it is freed, and would try again
                self._bar = None
        if self._shown is None:
            return
        rate = (done - self._began_at) / max(time.perf_counter() - self._start, 1e-9)
        left = f"{(self._total - done) / max(rate, 1e-9):.0f} s left"
        self._shown.write(
            f"{done} of {self._total} {self._what}, {rate:.3g} a second, "
            f"{long}, {'stopped' if is_stopped else left}\n"
        )

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            with contextlib.suppress(*SLIPS):
                self._bar.close()
            self._bar = None

    def aside(self) -> Any:
        """A context without the bar."""
        return (
            contextlib.nullcontext() if self._bar is None else self._bar.external_write_mode(file=sys.stdout)
        )


def _bar(file: QuietFile, total: int, initial: int) -> Any:
    """A bar of tqdm; None if tqdm is missing or fails."""
    with contextlib.suppress(ImportError, *SLIPS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a notebook without widgets gets a bar of characters, and a warning
        from tqdm.auto import tqdm

        return tqdm(
            total=total, initial=initial, file=file, unit="", unit_scale=True, mininterval=0.0, miniters=1
        )
    return None
