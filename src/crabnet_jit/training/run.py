"""Callbacks of a run, called between chunks of iterations: to watch it, stop it or save it."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, Protocol

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.schedules import Schedule
from crabnet_jit.components.update_rules import Optimizer, OptimizerState
from crabnet_jit.data.sources import Source
from crabnet_jit.machine.signals import held
from crabnet_jit.network.history import History
from crabnet_jit.network.network import NN
from crabnet_jit.summary import arguments, summary
from crabnet_jit.training.state import Saved, TrainerState


class Watched(Protocol):
    """What callbacks may see of a `Trainer` and do with it."""

    @property
    def history(self) -> History:
        """All iterations so far."""

    @property
    def net(self) -> NN:
        """The network."""

    @property
    def source(self) -> Source | None:
        """Where batches come from."""

    @property
    def loss(self) -> Loss:
        """What is minimised."""

    @property
    def optimizer(self) -> Optimizer:
        """The update rule."""

    @property
    def optimizer_state(self) -> OptimizerState:
        """The optimiser's state."""

    @property
    def learning_rate(self) -> Schedule:
        """The schedule."""

    @property
    def iteration(self) -> int:
        """Iterations done."""

    @property
    def last_rate(self) -> float:
        """The learning rate of the last iteration done."""

    def state(self) -> TrainerState:
        """Everything that the run depends on besides its settings."""

    def lend_parameters(self, parameters: Array) -> None:
        """Give the network these parameters until the next run."""

    def save_checkpoint(
        self,
        path: str | PathLike[str],
        callbacks: "Sequence[Callback]" = (),
        options: dict[str, Any] | None = None,
    ) -> None:
        """Write a file from which a run can go on."""

    def saved(self, callbacks: "Sequence[Callback]" = ()) -> Saved:
        """What such a file holds."""


class Run:
    """A run as its callbacks see it.

    Attributes
    ----------
    trainer : Trainer
        The trainer that is running. Callbacks may read and save everything, but not change its parameters.
    end : int
        The iteration at which the run ends.
    is_stopped : bool
        Whether a callback has stopped it.
    """

    def __init__(
        self,
        trainer: Watched,
        end: int,
        callbacks: "Sequence[Callback]",
        states: dict[str, dict[str, Any]],
        on_log: Callable[[int, float], object] | None = None,
    ) -> None:
        self.trainer = trainer
        self.end = end
        self.callbacks = callbacks
        self._all = [_OnLog(on_log), *callbacks]
        self.is_stopped = False
        self.final_parameters: Array | None = None
        self._states = states
        self._started: list[Callback] = []
        self._start = time.perf_counter()

    def __repr__(self) -> str:
        done = f"{self.iteration:,} of {self.end:,} iterations"
        return summary(self, done, f"running loss {self.running_loss:.6g}")

    @property
    def net(self) -> NN:
        """The network."""
        return self.trainer.net

    @property
    def history(self) -> History:
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
        """Seconds since this run began."""
        return time.perf_counter() - self._start

    def stop(self, reason: str = "by a callback") -> None:
        """End the run here, between two iterations."""
        self.is_stopped = True
        self.history.events.append((self.iteration, f"stopped: {reason}"))

    def start(self) -> None:
        """Restore callbacks from a checkpoint, and call those that were due when it was written."""
        for key, callback in keyed(self.callbacks):
            if key in self._states:
                try:
                    callback.restore(self._states[key])
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}"
                    raise FileFormatError(f"the checkpoint has no valid state of {key} ({reason})") from None
        iteration = self.iteration
        for callback in self._all:
            if callback.called_at is None or callback.called_at > iteration:
                callback.called_at = iteration
        for callback in self._all:
            self._started.append(callback)
            callback.start(self)
        self._states.clear()
        self.call_due()

    def next_pause(self) -> int:
        """The iteration at which some callback is due, or the end."""
        iteration = self.iteration
        dues = [due for callback in self._all if (due := callback.next_due(iteration)) is not None]
        return check.integer("next_due of a callback", min([self.end, *dues]), iteration + 1)

    def call_due(self) -> None:
        """Call the callbacks that are due."""
        iteration = self.iteration
        for callback in self._all:
            if callback.called_at is not None and callback.called_at > iteration:  # the run went back
                callback.called_at = iteration
            is_due = callback.next_due(iteration - 1) in (None, iteration)
            if callback.called_at != iteration and is_due:
                callback(self)
                callback.called_at = iteration

    def finish(self, error: BaseException | None) -> None:
        """Finish the callbacks that were started, even if some fail; then raise the first exception."""
        failures = []
        for callback in self._started:
            try:
                callback.finish(self, error)
            except BaseException as failure:
                failures.append(failure)
        if self.final_parameters is not None:
            self.trainer.lend_parameters(self.final_parameters)
        if failures:  # Ctrl-C comes first
            raise next((failure for failure in failures if not isinstance(failure, Exception)), failures[0])


class Callback:
    """A base class for objects that are called during a run.

    Attributes
    ----------
    every : int or None
        It is called when the iterations done are a multiple of this; if None, after every chunk, which takes
        a few milliseconds.
    called_at : int or None
        The iterations done when it was last called.
    """

    every: int | None = None
    called_at: int | None = None

    def __repr__(self) -> str:
        return summary(self, *arguments(self), *self._facts())

    def _facts(self) -> list[str]:
        """What `repr` shows besides the arguments."""
        return []

    def next_due(self, iteration: int) -> int | None:
        """The next iteration at which it should be called, above this one; None if any will do."""
        return None if self.every is None else iteration + self.every - iteration % self.every

    def start(self, run: Run) -> None:
        """Called before the first iteration of a run."""

    def __call__(self, run: Run) -> None:
        """Called between two iterations."""

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Called after the last iteration, with the exception that ended the run, if any."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must store: JSON values, and arrays of floats."""
        return {"called_at": self.called_at}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        called_at = state["called_at"]
        self.called_at = None if called_at is None else check.integer("called_at", called_at, 0)


def keyed(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Callbacks by position and type."""
    return ((f"{k} {type(callback).__name__}", callback) for k, callback in enumerate(callbacks))


def as_callbacks(values: Any, every: int) -> list[Callback]:
    """Callbacks unchanged, and functions as callbacks that are called after this many iterations."""
    try:
        items = list(values)
    except TypeError:
        raise check.reject("callbacks", "a sequence of callbacks", repr(values)) from None
    return [item if isinstance(item, Callback) else Every(every, item) for item in items]


class Every(Callback):
    """Calls a function with the `Run` whenever the iterations done are a multiple of `every`.

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


class _OnLog(Callback):
    """Calls a function, if there is one, with each new entry of the log; Ctrl-C waits meanwhile."""

    def __init__(self, on_log: Callable[[int, float], object] | None) -> None:
        self._on_log = on_log

    def __call__(self, run: Run) -> None:
        if not run.history.has_new_entries:
            return
        with held():  # before an entry is taken, which would be lost otherwise
            while (entry := run.history.take_new_entry()) is not None:
                if self._on_log is not None:
                    self._on_log(*entry)

    def finish(self, run: Run, error: BaseException | None) -> None:
        self(run)
