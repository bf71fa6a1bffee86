"""Parameters kept on the way, for pictures of how a network learns."""

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np

from crabnet_jit import _validation as check
from crabnet_jit.archives import FileFormatError
from crabnet_jit.callbacks import Callback, Run
from crabnet_jit.kernels._signals import held
from crabnet_jit.panels import Array

_NEVER = 2**63 - 1


class Snapshots(Callback):
    """Copies of a network's parameters, from the start to the end of a run of any length.

    What is kept needs at most max_snapshots times the memory of the parameters. `plotting.animate_surface`
    makes a film of it.

    Parameters
    ----------
    every : int, default 1000
        Iterations between two snapshots, at first.
    max_snapshots : int, default 100
        At least 2. When there are more, every other one is dropped, and `every` doubles.
    iterations : sequence of int, optional
        Iterations done, ascending, after which a snapshot is taken, in place of the two others.

    Attributes
    ----------
    iterations : list of int
        Iterations done, of each snapshot: the multiples of `every`, and the last one of the run.
    parameters : list of ndarray
        The parameters then.

    Examples
    --------
    >>> from crabnet_jit import NN, Snapshots, StandardGaussian, Trainer, UniformSource
    >>> snapshots = Snapshots(every=100, max_snapshots=8)
    >>> trainer = Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    >>> _ = trainer.run(2500, callbacks=[snapshots])
    >>> snapshots.iterations
    [0, 400, 800, 1200, 1600, 2000, 2400, 2500]
    """

    every: int

    def __init__(
        self, every: int = 1000, max_snapshots: int = 100, iterations: Sequence[int] | None = None
    ) -> None:
        self.every = self._first_every = check.integer("every", every, 1)
        self.max_snapshots = check.integer("max_snapshots", max_snapshots, 2)
        self._chosen: list[int] | None = None
        if iterations is not None:
            if isinstance(iterations, (str, bytes)) or not check.is_iterable(iterations):
                raise check.reject("iterations", "a sequence of integers of at least 0", repr(iterations))
            chosen = [check.integer(f"iterations[{k}]", i, 0) for k, i in enumerate(iterations)]
            if not chosen or chosen != sorted(set(chosen)):
                raise check.reject("iterations", "one or more, each above the one before", repr(chosen))
            self._chosen = chosen
        self.iterations: list[int] = []
        self.parameters: list[Array] = []

    def next_due(self, iteration: int) -> int | None:
        """The next multiple of `every`, or of the chosen iterations."""
        if self._chosen is None:
            return super().next_due(iteration)
        k = bisect.bisect_right(self._chosen, iteration)
        return self._chosen[k] if k < len(self._chosen) else _NEVER

    def _is_due(self, iteration: int) -> bool:
        return self.next_due(iteration - 1) == iteration

    def start(self, run: Run) -> None:
        """Keep what a run that goes on has, and take the first one."""
        own = run.net.parameters
        for iteration, kept in zip(self.iterations, self.parameters, strict=True):
            if iteration < run.iteration and (kept.shape != own.shape or kept.dtype != own.dtype):
                raise FileFormatError("snapshots of another network")
        self._go_back(run.iteration)
        if not self.iterations:
            self.every = self._first_every
        self._thin_out()
        if self._is_due(run.iteration):
            self(run)

    def __call__(self, run: Run) -> None:
        """Take one; if there are too many, drop every other one."""
        with held():  # all of it or nothing
            self.called_at = run.iteration
            self._go_back(run.iteration)
            self._take(run)
            self._thin_out()

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Take one at the end, too, unless there is an error.

        A run that goes on from there drops it, if it is not due.
        """
        self._go_back(run.iteration + 1)
        if error is None and run.iteration not in self.iterations[-1:]:
            self._take(run)

    def _take(self, run: Run) -> None:
        self.iterations.append(run.iteration)
        self.parameters.append(run.net.parameters.copy())

    def _go_back(self, iteration: int) -> None:
        """Drop those of this iteration and behind, and that of an end, if it is not due."""
        while self.iterations and (self.iterations[-1] >= iteration or not self._is_due(self.iterations[-1])):
            del self.iterations[-1], self.parameters[-1]

    def _thin_out(self) -> None:
        """Leave room for one more."""
        while self._chosen is None and len(self.iterations) >= self.max_snapshots:
            self.every *= 2
            kept = [k for k, iteration in enumerate(self.iterations) if self._is_due(iteration)]
            self.iterations = [self.iterations[k] for k in kept]
            self.parameters = [self.parameters[k] for k in kept]

    def state(self) -> dict[str, Any]:
        """All snapshots."""
        state = super().state() | {"every": self.every, "iterations": [*self.iterations]}
        return state | {"parameters": np.array(self.parameters)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        super().restore(state)
        self.every = check.integer("every", state["every"], 1)
        self.iterations = [check.integer("iterations", value, 0) for value in state["iterations"]]
        kept = state["parameters"]
        self.parameters = [*check.array("parameters", kept, kept.dtype)]
        if len(self.iterations) != len(self.parameters):
            raise ValueError(f"{len(self.iterations)} iterations and {len(self.parameters)} snapshots")
        if self.iterations != sorted(set(self.iterations)):
            raise ValueError("iterations that do not ascend")
