"""The record of a run: losses, the log, and events such as interruptions."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check, notebook
from crabnet_jit.arrays import Array
from crabnet_jit.components.schedules import Schedule, rates_of
from crabnet_jit.summary import counted, summary

#: Number of losses in a running loss: the length at which the original's queue settles.
WINDOW = 1001
#: The original divides their sum by this even while there are fewer losses; only in the log.
LOG_DIVISOR = 1000
_LOSSES_AT_ONCE = 2**20
_MAX_EVENTS = 5  # in a table
_LINE, _RUNNING, _VALIDATION = "#9ecae1", "#08519c", "#d55e00"


class History:
    """The loss of every iteration, and the original's log of it.

    Attributes
    ----------
    losses : ndarray, shape (n_iterations - first_iteration,)
        The loss of each batch, before its step; read-only.
    n_iterations : int
        Iterations done, including those before a checkpoint.
    first_iteration : int
        The iteration of `losses[0]`: 0, unless the run was resumed or keeps only its last losses.
    log : list of (int, float)
        The original's log: for every iteration that is a multiple of `log_every`, the sum of the last 1,001
        losses, or of all if there are fewer, divided by 1,000.
    events : list of (int, str)
        Events, each with the iterations done at that time: the run was resumed, stopped early, interrupted or
        set back, or it skipped a step.
    """

    def __init__(self, log_every: int, keep: int | None = None, schedule: Schedule | None = None) -> None:
        self.log_every = check.integer("log_every", log_every, 1)
        self._keep = None if keep is None else check.integer("keep_losses", keep, 0) + WINDOW
        self.log: list[tuple[int, float]] = []
        self._n_new = 0  # entries of the log that have not been taken
        self.events: list[tuple[int, str]] = []
        self._schedule = schedule
        self._rate_scales = [(0, 1.0)]  # (first iteration, factor on the schedule's rates)
        self._losses = np.empty(0)
        self._count = 0  # stored losses
        self.n_iterations = 0

    @property
    def losses(self) -> Array:
        """The loss of each batch, before its step; read-only."""
        view = self._losses[: self._count]
        view.flags.writeable = False
        return view

    @property
    def first_iteration(self) -> int:
        """The iteration of `losses[0]`."""
        return self.n_iterations - self._count

    def running_loss(self, iteration: int) -> float:
        """The mean of the last 1,001 losses up to `iteration`, or of all if there are fewer.

        Losses of skipped steps, which are not finite, do not count, unless there are no others. (The values
        in the log differ a little: by the original's rule, they are the sum of these losses divided by 1,000,
        even while there are fewer.)
        """
        window = self._counted(iteration)
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(window.sum())
            # If only the sum overflows, divide each loss first.
            return total / window.size if math.isfinite(total) else float((window / window.size).sum())

    def _counted(self, iteration: int) -> Array:
        """The last losses up to an iteration, without those of skipped steps if there are others."""
        lowest = self.first_iteration + WINDOW - 1 if self.first_iteration > 0 else 0
        check.integer("iteration", iteration, lowest, self.n_iterations - 1)
        end = iteration + 1 - self.first_iteration
        window = self._losses[max(0, end - WINDOW) : end]
        is_finite = np.isfinite(window)
        return window if is_finite.all() or not is_finite.any() else window[is_finite]

    def _log_value(self, iteration: int) -> float:
        """The original's running loss."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(self._counted(iteration).sum()) / LOG_DIVISOR

    def envelope(self, n_pieces: int = 1000) -> tuple[NDArray[np.int64], Array]:
        """Iterations and losses for drawing the line of all losses: the smallest and largest of each piece.

        All are returned if there are at most two per piece. In a piece with finite losses, others are left
        out.
        """
        check.integer("n_pieces", n_pieces, 1)
        losses = self.losses
        chosen = np.arange(losses.size)
        if losses.size > 2 * n_pieces:
            length = -(-losses.size // n_pieces)
            starts = np.arange(0, losses.size, length)
            ends = []
            for choose, instead in ((np.argmin, np.inf), (np.argmax, -np.inf)):
                padded = np.full(starts.size * length, instead)
                padded[: losses.size] = np.where(np.isfinite(losses), losses, instead)
                ends.append(starts + choose(padded.reshape(-1, length), axis=1))
            chosen = np.unique(ends)
        return self.first_iteration + chosen, losses[chosen]

    def running_losses(self, n_points: int = 500) -> tuple[NDArray[np.int64], Array]:
        """About n_points iterations from the first to the last, and the running loss at each."""
        check.integer("n_points", n_points, 1)
        lowest = self.first_iteration + WINDOW - 1 if self.first_iteration > 0 else 0
        last = self.n_iterations - 1
        if lowest > last:
            return np.empty(0, np.int64), np.empty(0)
        iterations = np.unique(np.linspace(lowest, last, n_points).round().astype(np.int64))
        return iterations, np.array([self.running_loss(int(i)) for i in iterations])

    def learning_rates(self, iterations: NDArray[np.int64]) -> Array:
        """The learning rates of some iterations, in ascending order; NaN without a schedule."""
        if self._schedule is None:
            return np.full(iterations.shape, np.nan)
        starts = [start for start, _ in self._rate_scales]
        scales = [self._rate_scales[k - 1][1] for k in np.searchsorted(starts, iterations, side="right")]
        rates = [rates_of(self._schedule, int(i), 1)[0] for i in iterations]
        return np.multiply(rates, scales)

    def extend(self, losses: Array) -> None:
        """Add the losses of the next iterations, and their entries in the log."""
        start, end = self.n_iterations, self.n_iterations + losses.size
        self.reserve(losses.size)
        self._losses[self._count : self._count + losses.size] = losses
        self._count += losses.size
        self.n_iterations = end
        first = -(-start // self.log_every) * self.log_every
        entries = [(i, self._log_value(i)) for i in range(first, end, self.log_every)]
        self.log += entries
        self._n_new += len(entries)

    @property
    def has_new_entries(self) -> bool:
        """Whether the log has entries that have not been taken."""
        return self._n_new > 0

    def take_new_entry(self) -> tuple[int, float] | None:
        """The next entry of the log that has not been taken, if any; none from before a set-back."""
        if self._n_new == 0:
            return None
        self._n_new -= 1
        return self.log[-1 - self._n_new]

    def reserve(self, n: int) -> None:
        """Make room for n more losses; copy piecewise, so that Ctrl-C need not wait for all."""
        if self._count + n <= self._losses.size:
            return
        n_stored = self._count if self._keep is None else min(self._count, self._keep)
        grown, old = (
            np.empty(max(n_stored + n, 2 * n_stored)),
            self._losses[self._count - n_stored : self._count],
        )
        for start in range(0, n_stored, _LOSSES_AT_ONCE):
            stop = min(start + _LOSSES_AT_ONCE, n_stored)
            grown[start:stop] = old[start:stop]
        self._losses, self._count = grown, n_stored

    def trim(self) -> None:
        """After the last iteration, free unused room and losses beyond those that should be kept."""
        n_stored = self._count if self._keep is None else min(self._count, self._keep)
        self._losses, self._count = self._losses[self._count - n_stored : self._count].copy(), n_stored

    def window(self) -> Array:
        """A copy of the last losses, as many as the running loss needs."""
        return self._losses[max(0, self._count - WINDOW) : self._count].copy()

    def go_to(
        self, iteration: int, window: Array, event: str, rate_scale: float = 1.0, *, is_own: bool = False
    ) -> None:
        """Continue after `iteration` iterations, whose last losses are in `window`.

        From there on, learning rates are those of the schedule times rate_scale. The losses of this run are
        kept if `is_own`, or if it still has the same ones.
        """
        n_stored = iteration - self.first_iteration
        own = self._losses[max(0, n_stored - window.size) : n_stored]
        is_stored = 0 <= n_stored <= self._count and np.array_equal(own, window, equal_nan=True)
        is_own = is_own or is_stored
        if is_stored:
            self._count = n_stored
        else:
            self._losses, self._count = window.copy(), window.size
        self.log = [entry for entry in self.log if is_own and entry[0] < iteration]
        scales = [(start, scale) for start, scale in self._rate_scales if is_own and start < iteration]
        self._rate_scales = [*scales, (iteration if scales else 0, rate_scale)]
        self._n_new = 0
        self.n_iterations = iteration
        self.events.append((iteration, event))

    def __repr__(self) -> str:
        return summary(self, *self.facts())

    def facts(self) -> list[str]:
        """Iterations, the first and the last running loss and learning rate, and the last events."""
        facts = [counted(self.n_iterations, "iteration")]
        iterations, running = self.running_losses(2)
        if running.size > 0:
            rates = self.learning_rates(iterations)
            facts.append(f"running loss {_from_to(running)}")
            facts += [f"learning rate {_from_to(rates)}"] * bool(np.isfinite(rates).all())
        return facts + self._event_lines()

    def _event_lines(self) -> list[str]:
        """The last events, as text."""
        lines = [f"{event} after {counted(iteration, 'iteration')}" for iteration, event in self.events]
        if len(lines) <= _MAX_EVENTS:
            return lines
        return [f"{len(lines) - _MAX_EVENTS:,} earlier events", *lines[-_MAX_EVENTS:]]

    def _repr_html_(self) -> str:
        """In notebooks: a table, and the losses."""
        return _html(self)


class FitHistory(NamedTuple):
    """The record of a fit.

    It has the history of the run. With validation, it also has the iterations after which the validation loss
    was computed, and these losses. It says which rows of x were trained on, and which were set aside. If
    targets are standardised, losses are those of the standardised targets.
    """

    training: History
    validation_iterations: list[int]
    validation_losses: list[float]
    training_rows: NDArray[np.intp] = np.empty(0, np.intp)
    validation_rows: NDArray[np.intp] = np.empty(0, np.intp)

    @property
    def losses(self) -> Array:
        """The loss of every iteration; after a resume, starting 1,001 before the checkpoint; read-only."""
        return self.training.losses

    @property
    def n_iterations(self) -> int:
        """Iterations done."""
        return self.training.n_iterations

    def __repr__(self) -> str:
        least = _least(self.validation_iterations, self.validation_losses)
        return summary(self, *self.training.facts(), *([f"least validation loss {least}"] if least else []))

    def _repr_html_(self) -> str:
        """In notebooks: a table, and the losses."""
        return _html(self.training, self.validation_iterations, self.validation_losses)


def _from_to(values: Array) -> str:
    """The first and the last of some numbers, or a single number if they are equal."""
    first, last = f"{values[0]:.6g}", f"{values[-1]:.6g}"
    return first if first == last else f"from {first} to {last}"


def _least(iterations: Sequence[int], losses: Sequence[float]) -> str:
    """The lowest loss and its iteration; empty if none is finite."""
    if not np.isfinite(losses).any():
        return ""
    best = int(np.nanargmin(losses))
    return f"{losses[best]:.6g} after {counted(iterations[best], 'iteration')}"


def _html(
    history: History, validation_iterations: Sequence[int] = (), validation_losses: Sequence[float] = ()
) -> str:
    """A table of a run's results, and a plot of its losses."""
    rows = [["iterations", f"{history.n_iterations:,}"]]
    iterations, running = history.running_losses()
    if running.size > 0:
        rows.append(["running loss", f"{running[-1]:.6g}"])
        rows.append(["last loss", f"{history.losses[-1]:.6g}"])
    if least := _least(validation_iterations, validation_losses):
        rows.append(["least validation loss", least])
    rows += [["", event] for event in history._event_lines()]
    lines = [
        ("loss", _LINE, 1.0, *history.envelope(300)),
        ("running loss", _RUNNING, 2.0, iterations, running),
        ("validation loss", _VALIDATION, 2.0, np.array(validation_iterations), np.array(validation_losses)),
    ]
    return f"<div>{notebook.table([], rows)}{notebook.losses_svg(lines)}</div>"
