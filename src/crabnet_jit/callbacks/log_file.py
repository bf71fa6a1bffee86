"""The course of a run, as rows of a file."""

import contextlib
import json
import math
import warnings
from collections.abc import Sequence
from os import PathLike

from crabnet_jit import check
from crabnet_jit.archive import whole_file
from crabnet_jit.places import follow
from crabnet_jit.training.run import Callback, Run


class LogFile(Callback):
    """Write rows of iterations done, running loss, learning rate, and seconds since the run began.

    Parameters
    ----------
    path : path-like
        A file with the suffix .csv for comma-separated values with a header, or .jsonl for one JSON object
        per line. A new run replaces the file; a resumed run keeps the rows up to its iteration and adds to
        them. If a row cannot be written, there is a warning and the run goes on. JSON has no infinity and no
        NaN, so they are written as null.
    every : int, default 1000
        Iterations between two rows.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from crabnet_jit import NN, LogFile, StandardGaussian, Trainer, UniformSource
    >>> trainer = Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "log.csv")
    ...     _ = trainer.run(2000, callbacks=[LogFile(path)])
    ...     print(path.read_text())
    iteration,running_loss,learning_rate,seconds
    1000,1.686...,0.00198...,...
    2000,0.456...,0.00196...,...
    <BLANKLINE>
    """

    _COLUMNS = ("iteration", "running_loss", "learning_rate", "seconds")

    @check.keywords
    def __init__(self, path: str | PathLike[str], every: int = 1000) -> None:
        self.path = check.path("path", path)
        if self.path.suffix not in (".csv", ".jsonl"):
            raise check.reject("path", "a name with the suffix .csv or .jsonl", repr(str(path)))
        self.every = check.integer("every", every, 1)
        self._last = 0
        self._is_torn = False  # the last row may be incomplete

    def start(self, run: Run) -> None:
        """Begin the file, or keep its rows from before this run."""
        self._last = min(run.iteration, self.called_at or 0)
        self._keep(self._last)

    def _keep(self, iteration: int) -> None:
        """Rewrite the file with its rows up to an iteration."""
        rows = ",".join(self._COLUMNS) + "\n" if self.path.suffix == ".csv" else ""
        if iteration > 0 and not follow(self.path).is_stream:
            with contextlib.suppress(FileNotFoundError):
                text = self.path.read_text(errors="replace")
                rows += "".join(line for line in text.splitlines(True) if self._is_before(line, iteration))
        with whole_file(self.path) as file:
            file.write(rows.encode())

    def _is_before(self, line: str, iteration: int) -> bool:
        """Whether the line is a complete row of an iteration up to this one."""
        try:
            first = (
                line.split(",", maxsplit=1)[0]
                if self.path.suffix == ".csv"
                else json.loads(line)["iteration"]
            )
            return line.endswith("\n") and int(first) <= iteration
        except (ValueError, TypeError, KeyError):
            return False

    def _row(self, values: Sequence[float]) -> str:
        """These values as a line of the file."""
        if self.path.suffix == ".csv":
            return ",".join(map(str, values)) + "\n"
        numbers = [value if math.isfinite(value) else None for value in values]
        return json.dumps(dict(zip(self._COLUMNS, numbers, strict=True)), allow_nan=False) + "\n"

    def __call__(self, run: Run) -> None:
        """Add a row; if the run went back, it replaces the later rows."""
        values = run.iteration, run.running_loss, run.trainer.last_rate, round(run.seconds, 6)
        try:
            if run.iteration <= self._last or self._is_torn:
                self._keep(min(run.iteration - 1, self._last))
            self._is_torn = True
            place = follow(self.path)
            with place.open() if place.is_stream else self.path.open("ab") as file:
                file.write(self._row(values).encode())
            self._last, self._is_torn = run.iteration, False
        except OSError as error:
            warnings.warn(f"no row after {run.iteration} iterations: {error}", RuntimeWarning, stacklevel=2)
