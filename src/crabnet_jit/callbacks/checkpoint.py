"""The state of a run in a file, from which it can be resumed."""

import warnings
from os import PathLike
from typing import Any

from crabnet_jit import check
from crabnet_jit.places import follow
from crabnet_jit.training.run import Callback, Run


class Checkpoint(Callback):
    """Save the state of the run at intervals, and when it ends or is interrupted, but not when it diverges.

    If the file cannot be written, there is a warning and the run goes on. At the end of the run,
    `Trainer.run` raises the error; `fit` warns again and still returns the network. An existing file stays as
    it was.

    Parameters
    ----------
    path : path-like
        The file, in a folder that exists. See `Trainer.load_checkpoint`.
    every : int, default 100000
        Iterations between two saves.
    options : dict, optional
        Other values to keep in the file, of types that JSON has.

    Attributes
    ----------
    error : OSError or None
        The error of the last save, if it failed.

    Examples
    --------
    >>> import tempfile
    >>> from crabnet_jit import NN, Checkpoint, StandardGaussian, Trainer, UniformSource
    >>> def trainer():
    ...     return Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, second = trainer(), trainer()
    ...     _ = first.run(1000, callbacks=[Checkpoint(folder + "/run.npz")])
    ...     second.load_checkpoint(folder + "/run.npz")
    >>> second.iteration
    1000
    >>> bool((first.run(500).losses[-500:] == second.run(500).losses[-500:]).all())
    True
    """

    @check.keywords
    def __init__(
        self, path: str | PathLike[str], every: int = 100_000, options: dict[str, Any] | None = None
    ) -> None:
        self.path = check.path("path", path)
        self.every = check.integer("every", every, 1)
        self._options = options
        self.error: OSError | None = None

    def start(self, run: Run) -> None:
        """Check that the folder exists before the run begins; links that form a loop are an OSError."""
        follow(self.path)
        if not self.path.absolute().parent.is_dir() or self.path.is_dir():
            raise check.reject("path", "a file in a folder that exists", repr(str(self.path)))

    def __call__(self, run: Run) -> None:
        """Save."""
        try:
            self._save(run)
        except OSError as error:
            warnings.warn(
                f"no checkpoint after {run.iteration} iterations: {error}", RuntimeWarning, stacklevel=2
            )

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Save, also after Ctrl-C, but not if something is wrong with the run."""
        if error is None or not isinstance(error, Exception):
            self._save(run)

    def _save(self, run: Run) -> None:
        self.error = None
        try:
            run.trainer.save_checkpoint(self.path, run.callbacks, self._options)
        except OSError as error:
            self.error = error
            raise
