"""What happened in a run: losses, the log, and where it was interrupted."""

import math

import numpy as np

from crabnet_jit import _validation as check
from crabnet_jit.panels import Array

#: Losses in a running loss: the original's queue settles at so many.
WINDOW = 1001
_PIECE = 2**20


class History:
    """The loss of every iteration, and the original's log of it.

    Attributes
    ----------
    losses : ndarray, shape (n_iterations - first_iteration,)
        The loss of each batch, before the step it led to; read-only.
    n_iterations : int
        Iterations done, those before a checkpoint included.
    first_iteration : int
        That of `losses[0]`: 0, but for a run that was resumed, or that keeps only its last losses.
    log : list of (int, float)
        Iteration and running loss, for every iteration that is a multiple of `log_every`.
    events : list of (int, str)
        Iterations done when the run was resumed, stopped early, set back or skipped a step, and which.
    """

    def __init__(self, log_every: int, keep: int | None = None) -> None:
        self.log_every = check.integer("log_every", log_every, 1)
        self._keep = None if keep is None else check.integer("keep_losses", keep, 0) + WINDOW
        self.log: list[tuple[int, float]] = []
        self.events: list[tuple[int, str]] = []
        self._losses = np.empty(0)
        self._count = 0  # of losses that are kept
        self.n_iterations = 0

    @property
    def losses(self) -> Array:
        """The loss of each batch, before the step it led to; read-only."""
        view = self._losses[: self._count]
        view.flags.writeable = False
        return view

    @property
    def first_iteration(self) -> int:
        """The iteration of `losses[0]`."""
        return self.n_iterations - self._count

    def running_loss(self, iteration: int) -> float:
        """Sum of the last 1,001 losses up to `iteration`, divided by 1,000.

        That is the original's rule: its queue settles at 1,001 entries, and the divisor is
        1,000 even while there are fewer. Losses of skipped steps, which are not finite, do not count.
        """
        lowest = self.first_iteration + WINDOW - 1 if self.first_iteration > 0 else 0
        check.integer("iteration", iteration, lowest, self.n_iterations - 1)
        end = iteration + 1 - self.first_iteration
        window = self._losses[max(0, end - WINDOW) : end]
        total = float(window.sum())
        if not math.isfinite(total):
            total = float(window[np.isfinite(window)].sum())
        return total / 1000

    def extend(self, losses: Array) -> list[tuple[int, float]]:
        """Add the losses of the next iterations; return the new entries of the log."""
        start, end = self.n_iterations, self.n_iterations + losses.size
        self.reserve(losses.size)
        self._losses[self._count : self._count + losses.size] = losses
        self._count += losses.size
        self.n_iterations = end
        first = -(-start // self.log_every) * self.log_every
        entries = [(i, self.running_loss(i)) for i in range(first, end, self.log_every)]
        self.log += entries
        return entries

    def reserve(self, n: int) -> None:
        """Make room for n more losses; piece by piece, so that Ctrl-C need not wait for all."""
        if self._count + n <= self._losses.size:
            return
        kept = self._count if self._keep is None else min(self._count, self._keep)
        grown, old = np.empty(max(kept + n, 2 * kept)), self._losses[self._count - kept : self._count]
        for start in range(0, kept, _PIECE):
            stop = min(start + _PIECE, kept)
            grown[start:stop] = old[start:stop]
        self._losses, self._count = grown, kept

    def window(self) -> Array:
        """A copy of the last losses, those that the running loss needs."""
        return self._losses[max(0, self._count - WINDOW) : self._count].copy()

    def go_to(self, iteration: int, window: Array, event: str) -> None:
        """Continue after `iteration` iterations, of which `window` has the last losses."""
        kept = iteration - self.first_iteration
        own = self._losses[max(0, kept - window.size) : kept]
        if 0 <= kept <= self._count and np.array_equal(own, window, equal_nan=True):
            self._count = kept
            self.log = [entry for entry in self.log if entry[0] < iteration]
        else:  # it is another run's, or no longer kept
            self._losses, self._count = window.copy(), window.size
            self.log = []
        self.n_iterations = iteration
        self.events.append((iteration, event))
