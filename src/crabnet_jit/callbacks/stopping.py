"""Callbacks that end a run."""

import bisect
import math
from typing import Any

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError
from crabnet_jit.arrays import Array
from crabnet_jit.machine.signals import held
from crabnet_jit.summary import counted
from crabnet_jit.training.objective import Objective
from crabnet_jit.training.run import Callback, Run


class EarlyStopping(Callback):
    """Stop when a loss no longer falls, and give the network its best parameters.

    Parameters
    ----------
    patience : int or None, default 10
        The run ends after this many checks in a row without improvement; None: never.
    validation : Objective, optional
        Its loss is checked; without it, the running loss of the training.
    every : int, default 1000
        Iterations between two checks.
    min_delta : float, default 0.0
        At least 0. A loss is an improvement only if it is lower than the best so far by more than this.
    restore_best : bool, default True
        Whether the network gets the parameters of the best check when the run ends. It does not if the run
        ends with an exception, such as that of Ctrl-C. Another `run` still goes on from the last parameters,
        unless you have changed the network's parameters.

    Attributes
    ----------
    iterations, losses : list
        Iterations done and loss at every check.
    best_loss : float
        The best loss so far; infinity before the first check.
    best_parameters : ndarray or None
        The parameters at that check.

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
        self._before_end: dict[str, Any] | None = None  # the state before the check at the end

    def _facts(self) -> list[str]:
        return (
            [f"{counted(len(self.losses), 'check')}, best loss {self.best_loss:.6g}"] if self.losses else []
        )

    def start(self, run: Run) -> None:
        """Forget the check at an earlier end; validate restored parameters; stop if it is time already."""
        if self._before_end is not None:
            self.restore(self._before_end)
        best, own = self.best_parameters, run.net.parameters
        if best is not None and (best.shape != own.shape or best.dtype != own.dtype):
            raise FileFormatError(f"best parameters of {best.dtype}, shape {best.shape}, for another network")
        self._stop_if_due(run)

    def __call__(self, run: Run) -> None:
        """Check the loss; stop if it is time."""
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
        """Drop the checks of iterations that the run has undone; the best parameters stay."""
        n = bisect.bisect_left(self.iterations, iteration)
        del self.iterations[n:], self.losses[n:]
        self._best_at = min(self._best_at, n)

    def _stop_if_due(self, run: Run) -> None:
        if self.patience is not None and len(self.losses) - self._best_at >= self.patience:
            run.stop(f"no better loss than {self.best_loss:.6g} in {self.patience} checks")

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Check the loss at the end, too, and give the network its best parameters.

        A run that goes on from there, in whatever way, forgets that check, as if the run had not ended, and
        continues with the last parameters.
        """
        if error is None:
            is_unchecked = self.validation is not None and not self.losses  # a run of no iterations
            if self.called_at != run.iteration or is_unchecked:
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
        """Restore what `state` returned."""
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
    """Stop a run after some seconds, between two chunks: at most a few milliseconds or an iteration late.

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
