"""What is called in a run, between chunks of iterations: to watch it, to stop it, to keep it."""

import bisect
import contextlib
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from crabnet_jit import _validation as check
from crabnet_jit.archives import FileFormatError, whole_file
from crabnet_jit.kernels._signals import held
from crabnet_jit.objective import Objective
from crabnet_jit.panels import Array
from crabnet_jit.places import follow

if TYPE_CHECKING:
    from crabnet_jit.history import History
    from crabnet_jit.network import NN
    from crabnet_jit.trainer import Trainer


class Run:
    """A run as its callbacks see it.

    Attributes
    ----------
    trainer : Trainer
        Whose run it is. Callbacks may read everything, and save; its parameters are not theirs to change.
    end : int
        The iteration at which the run is over.
    is_stopped : bool
        Whether a callback has stopped it.
    """

    def __init__(
        self, trainer: "Trainer", end: int, callbacks: "Sequence[Callback]", states: dict[str, dict[str, Any]]
    ) -> None:
        self.trainer = trainer
        self.end = end
        self.callbacks = callbacks
        self.is_stopped = False
        self.final_parameters: Array | None = None
        self._states = states
        self._started: list[Callback] = []
        self._start = time.perf_counter()

    @property
    def net(self) -> "NN":
        """The network."""
        return self.trainer.net

    @property
    def history(self) -> "History":
        """Losses and log so far."""
        return self.trainer.history

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self.trainer.iteration

    @property
    def running_loss(self) -> float:
        """Mean of the last 1,001 losses, or of as many as there are; NaN before the first iteration."""
        return self.history.running_loss(self.iteration - 1) if self.iteration > 0 else math.nan

    @property
    def seconds(self) -> float:
        """Since this run began."""
        return time.perf_counter() - self._start

    def stop(self, reason: str = "by a callback") -> None:
        """End the run here, between two iterations."""
        self.is_stopped = True
        self.history.events.append((self.iteration, f"stopped: {reason}"))

    def start(self) -> None:
        """Give callbacks the states of a checkpoint, and call those that were due when it was written."""
        for key, callback in keyed(self.callbacks):
            if key in self._states:
                try:
                    callback.restore(self._states[key])
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    raise FileFormatError(f"the checkpoint has no state of {key} ({reason})") from None
            if callback.called_at is None or callback.called_at > self.iteration:
                callback.called_at = self.iteration
        for callback in self.callbacks:
            self._started.append(callback)
            callback.start(self)
        self._states.clear()
        self.call_due()

    def next_pause(self) -> int:
        """The iteration at which some callback is due, or the end."""
        dues = [due for callback in self.callbacks if (due := callback.next_due(self.iteration)) is not None]
        pause = min([self.end, *dues])
        return check.integer("next_due of a callback", pause, self.iteration + 1)

    def call_due(self) -> None:
        """Call those whose time it is."""
        for callback in self.callbacks:
            if callback.called_at is not None and callback.called_at > self.iteration:  # it went back
                callback.called_at = self.iteration
            is_due = callback.next_due(self.iteration - 1) in (None, self.iteration)
            if callback.called_at != self.iteration and is_due:
                callback(self)
                callback.called_at = self.iteration

    def finish(self, error: BaseException | None) -> None:
        """Let callbacks that were started finish, even if some fail; then raise the first exception."""
        failures = []
        for callback in self._started:
            try:
                callback.finish(self, error)
            except BaseException as failure:
                failures.append(failure)
        if self.final_parameters is not None:
            self.trainer.lend_parameters(self.final_parameters)
        if failures:  # Ctrl-C before all else
            raise next((failure for failure in failures if not isinstance(failure, Exception)), failures[0])


class Callback:
    """Something to be called in a run; to be subclassed.

    Attributes
    ----------
    every : int or None
        Called when the iterations done are a multiple of it; if None, after every chunk, some milliseconds.
    called_at : int or None
        Iterations done when it was last called.
    """

    every: int | None = None
    called_at: int | None = None

    def next_due(self, iteration: int) -> int | None:
        """The first number of iterations done, above this one, at which it is called; None if any will do."""
        return None if self.every is None else iteration + self.every - iteration % self.every

    def start(self, run: Run) -> None:
        """Called before the first iteration of a run."""

    def __call__(self, run: Run) -> None:
        """Called between two iterations."""

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Called behind the last iteration; with the exception that ends the run, if there is one."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint has to keep: values that JSON has, and arrays of floats."""
        return {"called_at": self.called_at}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        called_at = state["called_at"]
        self.called_at = None if called_at is None else check.integer("called_at", called_at, 0)


def keyed(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Callbacks by position and type."""
    return ((f"{k} {type(callback).__name__}", callback) for k, callback in enumerate(callbacks))


def as_callbacks(values: Any, every: int) -> list[Callback]:
    """Callbacks as they are, any other functions as ones that are called every so many iterations."""
    try:
        items = list(values)
    except TypeError:
        raise check.reject("callbacks", "a sequence of callbacks", repr(values)) from None
    return [item if isinstance(item, Callback) else Every(every, item) for item in items]


class Every(Callback):
    """A function that is called with the `Run` when the iterations done are a multiple of `every`.

    Examples
    --------
    >>> from crabnet_jit import NN, Every, StandardGaussian, Trainer, UniformSource
    >>> def watch(run):
    ...     print(run.iteration, round(run.running_loss, 3))
    ...     if run.running_loss < 1.5:
    ...         run.stop()
    >>> trainer = Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    >>> trainer.run(100_000, callbacks=[Every(500, watch)]).n_iterations
    500 ...
    """

    @check.keywords
    def __init__(self, every: int, function: Callable[[Run], object]) -> None:
        self.every = check.integer("every", every, 1)
        if not callable(function) or isinstance(function, type):
            raise check.reject("callback", "a Callback or a function of a Run", repr(function))
        self._function = function

    def __call__(self, run: Run) -> None:
        """Call the function."""
        self._function(run)


class EarlyStopping(Callback):
    """Stop when a loss no longer falls, and give the network its best parameters.

    Parameters
    ----------
    patience : int or None, default 10
        The run ends when so many checks on end brought no improvement; None: never.
    validation : Objective, optional
        Its loss decides; without, the running loss of the training.
    every : int, default 1000
        Iterations between two checks.
    min_delta : float, default 0.0
        At least 0. What is less below the best loss so far is no improvement.
    restore_best : bool, default True
        Whether the network gets the parameters of the best check when the run ends; not if it ends with
        an exception, such as that of Ctrl-C. Another `run` goes on from the last ones all the same, unless
        you have changed the network's parameters.

    Attributes
    ----------
    iterations, losses : list
        Of every check: iterations done, and the loss.
    best_loss : float
        The least, or infinity.
    best_parameters : ndarray or None
        Those it had then.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import NN, ArraySource, EarlyStopping, Objective, Trainer
    >>> x = np.linspace(-1, 1, 40)[:, None]
    >>> y = np.sin(3 * x) + 0.3 * np.random.default_rng(0).normal(size=x.shape)
    >>> net = NN(1, [32], 1, rng=1, activation="tanh", init="glorot_uniform")
    >>> stopping = EarlyStopping(patience=5, validation=Objective(net, x[::2], y[::2]))
    >>> trainer = Trainer(net, ArraySource(x[1::2], y[1::2], rng=1), optimizer="adam", learning_rate=0.01)
    >>> history = trainer.run(1_000_000, callbacks=[stopping])
    >>> history.n_iterations < 50_000
    True
    """

    @check.keywords
    def __init__(
        self,
        patience: int | None = 10,
        validation: Objective | None = None,
        every: int = 1000,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        self.patience = None if patience is None else check.integer("patience", patience, 1)
        if validation is not None:
            check.instance("validation", validation, Objective, "an Objective")
        self.validation = validation
        self.every = check.integer("every", every, 1)
        self.min_delta = check.number("min_delta", min_delta, 0.0)
        self.restore_best = check.flag("restore_best", restore_best)
        self.iterations: list[int] = []
        self.losses: list[float] = []
        self.best_loss = math.inf
        self.best_parameters: Array | None = None
        self._best_at = 0  # number of the best check
        self._before_end: dict[str, Any] | None = None  # the state before the check at an end

    def start(self, run: Run) -> None:
        """Forget the loss at an end; see what comes from a checkpoint; stop if it is time already."""
        if self._before_end is not None:
            self.restore(self._before_end)
        best, own = self.best_parameters, run.net.parameters
        if best is not None and (best.shape != own.shape or best.dtype != own.dtype):
            raise FileFormatError(f"best parameters of {best.dtype}, shape {best.shape}, for another network")
        self._stop_if_due(run)

    def __call__(self, run: Run) -> None:
        """Take the loss; stop if it is time."""
        loss = run.running_loss
        if self.validation is not None:
            loss, _ = self.validation.loss_and_gradient(run.net.parameters)
        with held():  # all of it or nothing
            self._forget_from(run.iteration)
            self.called_at = run.iteration
            self.iterations.append(run.iteration)
            self.losses.append(loss)
            if loss < self.best_loss - self.min_delta or (self.best_parameters is None and loss < math.inf):
                self.best_loss, self.best_parameters = loss, run.net.parameters.copy()
                self._best_at = len(self.losses)
        self._stop_if_due(run)

    def _forget_from(self, iteration: int) -> None:
        """Checks of iterations that the run has taken back do not count; the best parameters stay."""
        n = bisect.bisect_left(self.iterations, iteration)
        del self.iterations[n:], self.losses[n:]
        self._best_at = min(self._best_at, n)

    def _stop_if_due(self, run: Run) -> None:
        if self.patience is not None and len(self.losses) - self._best_at >= self.patience:
            run.stop(f"no better loss than {self.best_loss:.6g} in {self.patience} checks")

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Take the loss at the end, too, and give the network its best parameters.

        A run that goes on from there, in whatever way, forgets that loss, as if it had not ended, and takes
        up the last parameters.
        """
        if error is None:
            if self.called_at != run.iteration:
                self._before_end = self.state()
                self(run)
            if self.restore_best:
                run.final_parameters = self.best_parameters

    def state(self) -> dict[str, Any]:
        """All checks, and the best parameters."""
        if self._before_end is not None:
            return self._before_end
        state = super().state()
        state |= {"iterations": [*self.iterations], "losses": [*self.losses]}
        state |= {"best_loss": self.best_loss, "best_at": self._best_at}
        if self.best_parameters is not None:
            state["best_parameters"] = self.best_parameters
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        super().restore(state)
        self._before_end = None
        self.iterations = [check.integer("iterations", value, 0) for value in state["iterations"]]
        self.losses = [float(value) for value in state["losses"]]
        self.best_loss = float(state["best_loss"])
        if len(self.iterations) != len(self.losses):
            raise ValueError(f"{len(self.iterations)} iterations and {len(self.losses)} losses")
        self._best_at = check.integer("best_at", state["best_at"], 0, len(self.losses))
        self.best_parameters = None
        if self.best_loss < math.inf:
            self.best_parameters = state["best_parameters"]
            check.array("best_parameters", self.best_parameters)


class TimeBudget(Callback):
    """Stop after some seconds of a run, between two chunks: some milliseconds later, or an iteration.

    Examples
    --------
    >>> from crabnet_jit import NN, StandardGaussian, TimeBudget, Trainer, UniformSource
    >>> trainer = Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    >>> trainer.run(10**12, callbacks=[TimeBudget(0.1)]).n_iterations < 10**8
    True
    """

    @check.keywords
    def __init__(self, seconds: float) -> None:
        self.seconds = check.number("seconds", seconds, 0.0)

    def __call__(self, run: Run) -> None:
        """Stop if it is time."""
        if run.seconds >= self.seconds:
            run.stop(f"{self.seconds:g} s are over")


class Checkpoint(Callback):
    """Save the state of the run every so often, and when it ends or is interrupted; not when it diverges.

    A file that cannot be written is a warning, and the run goes on; at the end it is an error of
    `Trainer.run`, and another warning of `fit`, which returns the network all the same. What was there before
    stays as it was.

    Parameters
    ----------
    path : path-like
        The file, in a folder that exists. See `Trainer.load_checkpoint`.
    every : int, default 100000
        Iterations between two saves.
    options : dict, optional
        Anything to be kept in the file, too, of what JSON has.

    Attributes
    ----------
    error : OSError or None
        Why the file could not be written the last time.

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
        """See that the folder is there, before the work; links that form a loop are an OSError."""
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
        """Save, unless it has just been done or something is wrong with the run."""
        if error is None or not isinstance(error, Exception):
            self._save(run)

    def _save(self, run: Run) -> None:
        self.error = None
        try:
            run.trainer.save_checkpoint(self.path, run.callbacks, self._options)
        except OSError as error:
            self.error = error
            raise


class LogFile(Callback):
    """Rows of iterations done, running loss, learning rate, and seconds since the run began.

    Parameters
    ----------
    path : path-like
        With the ending .csv for comma-separated values with a header, or .jsonl for an object of JSON
        a line. A run that begins anew replaces the file; one that goes on keeps the rows up to where it is
        and adds to them. A row that cannot be written is a warning, and the run goes on. JSON has no
        infinity and no NaN: null stands for them.
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
            raise check.reject("path", "a name with the ending .csv or .jsonl", repr(str(path)))
        self.every = check.integer("every", every, 1)
        self._last = 0
        self._is_torn = False  # the last row may not be whole

    def start(self, run: Run) -> None:
        """Begin the file, or keep of it what is before this run."""
        self._last = min(run.iteration, self.called_at or 0)
        self._keep(self._last)

    def _keep(self, iteration: int) -> None:
        """Write the file anew, with its rows up to an iteration."""
        kept = ",".join(self._COLUMNS) + "\n" if self.path.suffix == ".csv" else ""
        if iteration > 0 and not follow(self.path).is_stream:
            with contextlib.suppress(FileNotFoundError):
                text = self.path.read_text(errors="replace")
                kept += "".join(line for line in text.splitlines(True) if self._is_before(line, iteration))
        with whole_file(self.path) as file:
            file.write(kept.encode())

    def _is_before(self, line: str, iteration: int) -> bool:
        """Whether it is a whole row, of an iteration up to this one."""
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
        """Add a row; if the run went back, in place of those behind it."""
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
