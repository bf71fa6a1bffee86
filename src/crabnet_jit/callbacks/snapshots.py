"""Parameters kept during a run, for pictures of how a network learns."""

import bisect
from collections.abc import Sequence
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError
from crabnet_jit.arrays import Array
from crabnet_jit.summary import counted
from crabnet_jit.training.run import Callback, Run

_NEVER = 2**63 - 1


class Snapshots(Callback):
    """Copies of a network's parameters, from the start to the end of a run of any length.

    The snapshots need at most max_snapshots times the memory of the parameters. `plotting.animate_surface`
    makes a film of them.

    Parameters
    ----------
    every : int, default 1000
        Iterations between two snapshots at the start.
    max_snapshots : int, default 100
        At least 2. When there are more, every other one is dropped, and `every` doubles.
    iterations : sequence of int, optional
        Numbers of iterations, ascending, after which a snapshot is taken; they replace the other parameters.

    Attributes
    ----------
    iterations : list of int
        Iterations done at each snapshot: the multiples of `every`, and the end of the run.
    parameters : list of ndarray
        The parameters at each snapshot.

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

    @check.keywords
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
        self._kept: list[tuple[int, Array]] = []

    def _facts(self) -> list[str]:
        return [counted(len(self._kept), "snapshot")] if self._kept else []

    @property
    def iterations(self) -> list[int]:
        """Iterations done at each snapshot."""
        return [iteration for iteration, _ in self._kept]

    @property
    def parameters(self) -> list[Array]:
        """The parameters at each snapshot."""
        return [parameters for _, parameters in self._kept]

    def next_due(self, iteration: int) -> int | None:
        """The next multiple of `every`, or the next of the chosen iterations."""
        if self._chosen is None:
            return super().next_due(iteration)
        k = bisect.bisect_right(self._chosen, iteration)
        return self._chosen[k] if k < len(self._chosen) else _NEVER

    def start(self, run: Run) -> None:
        """Keep the snapshots of a resumed run, and take the first one if it is due."""
        kept, own = self._before(run.iteration), run.net.parameters
        if any(earlier.shape != own.shape or earlier.dtype != own.dtype for _, earlier in kept):
            raise FileFormatError("snapshots of another network")
        self._keep(kept, self.every if kept else self._first_every)
        if self.next_due(run.iteration - 1) == run.iteration:
            self(run)

    def __call__(self, run: Run) -> None:
        """Take a snapshot; if there are too many, drop every other one."""
        self._keep([*self._before(run.iteration), (run.iteration, run.net.parameters.copy())], self.every)

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Take a snapshot at the end, too, unless there is an error.

        A run that goes on from there drops it if it is not due.
        """
        kept = self._before(run.iteration + 1)
        if error is None and (not kept or kept[-1][0] < run.iteration):
            kept = [*kept, (run.iteration, run.net.parameters.copy())]
        self._kept = kept

    def _before(self, iteration: int) -> list[tuple[int, Array]]:
        """The snapshots of earlier iterations, without one that was taken at an end and is not due."""
        end = len(self._kept)
        while end > 0 and ((last := self._kept[end - 1][0]) >= iteration or self.next_due(last - 1) != last):
            end -= 1
        return self._kept[:end]

    def _keep(self, kept: list[tuple[int, Array]], every: int) -> None:
        """Keep these snapshots, with room for one more."""
        while self._chosen is None and len(kept) >= self.max_snapshots:
            every *= 2
            kept = [snapshot for snapshot in kept if snapshot[0] % every == 0]
        self.every, self._kept = every, kept  # at once: Ctrl-C does not come between

    def state(self) -> dict[str, Any]:
        """All snapshots."""
        state = super().state() | {"every": self.every, "iterations": self.iterations}
        return state | {"parameters": np.array(self.parameters)}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        super().restore(state)
        self.every = check.integer("every", state["every"], 1)
        iterations = [check.integer("iterations", value, 0) for value in state["iterations"]]
        kept = state["parameters"]
        check.array("parameters", kept, kept.dtype)
        if iterations != sorted(set(iterations)):
            raise ValueError("iterations that do not ascend")
        self._kept = list(zip(iterations, kept, strict=True))
