"""Parameters kept on the way, for pictures of how a network learns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crabnet_jit import _validation as check
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
        self.every = check.integer("every", every, 1)
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
        return next((chosen for chosen in self._chosen if chosen > iteration), _NEVER)

    def start(self, run: Run) -> None:
        """Keep what a run that goes on has, and take the first one."""
        if any(kept.size != run.net.parameters.size for kept in self.parameters):
            raise check.reject("snapshots", "of the network of this run", "those of another one")
        self._keep_until(run.iteration)
        if self.next_due(run.iteration - 1) == run.iteration:
            self(run)

    def __call__(self, run: Run) -> None:
        """Take one; if there are too many, drop every other one."""
        with held():  # all of it or nothing
            self.called_at = run.iteration
            self._keep_until(run.iteration)
            self._add(run)
            while self._chosen is None and len(self.iterations) >= self.max_snapshots:
                self.every *= 2
                self._keep_until(run.iteration + 1)

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Take one at the end, too; a run that goes on from there drops it, if it is no multiple."""
        if error is None and run.iteration not in self.iterations:
            self._keep_until(run.iteration)
            self._add(run)

    def _add(self, run: Run) -> None:
        self.iterations.append(run.iteration)
        self.parameters.append(run.net.parameters.copy())

    def _keep_until(self, iteration: int) -> None:
        """Keep those that are due, before this iteration."""
        kept = [
            (i, parameters)
            for i, parameters in zip(self.iterations, self.parameters, strict=True)
            if i < iteration and self.next_due(i - 1) == i
        ]
        self.iterations = [i for i, _ in kept]
        self.parameters = [parameters for _, parameters in kept]

    def state(self) -> dict[str, Any]:
        """All snapshots."""
        state = super().state() | {"every": self.every, "iterations": [*self.iterations]}
        return state | {"parameters": np.array(self.parameters)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        super().restore(state)
        self.every = check.integer("every", state["every"], 1)
        self.iterations = [check.integer("iterations", value, 0) for value in state["iterations"]]
        self.parameters = [*check.array("parameters", state["parameters"], state["parameters"].dtype)]
        if len(self.iterations) != len(self.parameters):
            raise ValueError(f"{len(self.iterations)} iterations and {len(self.parameters)} snapshots")
