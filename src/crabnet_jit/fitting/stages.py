"""Stages of fits: each takes a fit from a state to a share of its iterations, on a thread or elsewhere.

Inputs and results are plain values, so a stage may run in any process that has the data.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from crabnet_jit import check
from crabnet_jit.callbacks.stopping import EarlyStopping, TimeBudget
from crabnet_jit.fitting.fit import fit
from crabnet_jit.fitting.fits_file import UNDERSTOOD
from crabnet_jit.fitting.scores import ClassScores, score, scores_of
from crabnet_jit.fitting.shared import Shared
from crabnet_jit.fitting.understanding import understood
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import filled
from crabnet_jit.training.run import Callback, Run
from crabnet_jit.training.state import Saved
from crabnet_jit.training.threads import run_on_threads

_MAX_THREADS = 256  # more than any machine has cores for


class Common(NamedTuple):
    """What all members share.

    Attributes
    ----------
    x : Shared
        Inputs.
    y
        Targets.
    options : dict
        All arguments of `fit`; those of a member override them. They have a validation set that is the same
        for all: flags of the samples that are set aside, or a data set.
    has_one_loss : bool
        Whether validation losses of members can be compared. Otherwise, another loss is computed that does
        not depend on a member's loss and units: 1 - R2 for a regression, the log loss for classes.
    """

    x: Shared
    y: Any
    options: Mapping[str, Any]
    has_one_loss: bool

    def fitted(self, member: "Member", *callbacks: Callback) -> NN:
        """The network of a member when a callback ends its run."""
        own = {"resume": member.saved, "callbacks": callbacks}
        return fit(self.x, self.y, **{**self.options, **member.arguments, **own})


class Member(NamedTuple):
    """A fit, and how far it should go.

    Attributes
    ----------
    k : int
        Its number.
    arguments : dict
        Its own arguments of `fit`.
    share : float
        The share of its iterations after which the stage ends; it ends at a check of the validation loss.
    saved : Saved or None
        The state from which it goes on; None for its start.
    """

    k: int
    arguments: Mapping[str, Any]
    share: float
    saved: Saved | None


class Stage(NamedTuple):
    """The result of a member's stage.

    Attributes
    ----------
    k : int
        Its number.
    loss : float
        The loss on the samples that are set aside; infinite after an error.
    iteration, n_iterations : int
        Iterations done, and those of the whole fit.
    seconds, pace : float
        The time of the stage, and of one iteration.
    is_whole : bool
        Whether it reached its share; otherwise, the time was over.
    is_over : bool
        Whether the fit has ended.
    saved : Saved or None
        The state from which it goes on.
    error : Exception or None
        Why there is no network.
    """

    k: int
    loss: float
    iteration: int
    n_iterations: int
    seconds: float
    pace: float
    is_whole: bool
    is_over: bool
    saved: Saved | None
    error: Exception | None


class Runner(Protocol):
    """Where stages run: on threads, or on the machines of a cluster."""

    @property
    def n_workers(self) -> int:
        """The number of stages at once."""

    def run(
        self,
        members: Iterator[Member],
        seconds_left: Callable[[], float | None],
        on_stage: Callable[[Stage], object],
        watch: Callable[[], object],
    ) -> None:
        """Take members as workers become free, and return the stage of each, in any order.

        Which members come depends on the stages that were returned, so none is taken long before a worker
        is free. A stage may take `seconds_left()`, evaluated when it begins. `members` and `on_stage` are
        called one at a time; `watch` is called now and then, in the calling thread.
        """


class OnThreads:
    """Stages on threads of this process."""

    def __init__(self, common: Common, n_threads: int) -> None:
        self._common, self.n_workers = common, n_threads

    def run(
        self,
        members: Iterator[Member],
        seconds_left: Callable[[], float | None],
        on_stage: Callable[[Stage], object],
        watch: Callable[[], object],
    ) -> None:
        """See `Runner`."""
        alone = threading.Lock()

        def work(_: int) -> None:
            while True:
                with alone:
                    member = next(members, None)
                if member is None:
                    return
                stage = advance(self._common, member, seconds_left())
                with alone:
                    on_stage(stage)

        n = min(self.n_workers, _MAX_THREADS)
        run_on_threads(work, n, n, watch)


def advance(common: Common, member: Member, seconds: float | None = None) -> Stage:
    """Let a member go on until its share, or until this time is over.

    If it diverges, or if its arguments are wrong, the stage has an error; everything else is raised.
    """
    began, pause = time.perf_counter(), Pause(member.share)
    budget = [] if seconds is None else [TimeBudget(max(0.0, seconds))]
    loss = math.inf
    error: Exception | None = None
    try:
        net = common.fitted(member, pause, *budget)
        loss = _own_loss(net) if common.has_one_loss else _common_loss(net, common, member)
        if not math.isfinite(loss):
            loss, error = math.inf, FloatingPointError(f"the loss of the validation set is {loss}")
    except (FloatingPointError, check.InvalidArgumentError) as failure:
        error = failure
    except Exception as failure:
        failure.add_note(f"in the fit of candidate {member.k}, {check.shown(dict(member.arguments), 300)}")
        raise
    return Stage(
        member.k,
        loss,
        pause.iteration,
        pause.end,
        time.perf_counter() - began,
        pause.pace,
        pause.is_whole,
        pause.is_over,
        None if error is not None else pause.saved,
        error,
    )


class Pause(Callback):
    """Ends a run at a share of its iterations, and keeps the state from which it goes on.

    Attributes
    ----------
    iteration, end, pace, is_whole, is_over, saved
        As in `Stage`; `end` is its `n_iterations`.
    """

    iteration = end = 0
    pace = math.nan
    is_whole = is_over = False
    saved: Saved | None = None

    def __init__(self, share: float) -> None:
        self._share = share

    def start(self, run: Run) -> None:
        """Find out at which iteration the stage ends."""
        (every,) = (callback.every for callback in run.callbacks if isinstance(callback, EarlyStopping))
        assert every is not None
        self.end, self._began_at = run.end, run.iteration
        self._until = min(run.end, max(1, round(self._share * run.end / every)) * every)
        if run.iteration >= self._until:
            run.stop("at the end of a stage")

    def next_due(self, iteration: int) -> int | None:
        """That iteration."""
        return self._until if iteration < self._until else None

    def __call__(self, run: Run) -> None:
        """Stop there."""
        if self._until <= run.iteration < run.end:
            run.stop("at the end of a stage")

    def finish(self, run: Run, error: BaseException | None) -> None:
        """Record where it ended."""
        self.iteration = run.iteration
        n = run.iteration - self._began_at
        self.pace = run.seconds / n if n > 0 else math.nan
        has_budget = any(isinstance(one, TimeBudget) and run.seconds >= one.seconds for one in run.callbacks)
        has_ended = run.iteration < self._until and not has_budget  # by patience, or the optimiser
        self.is_over = run.iteration >= run.end or has_ended
        self.is_whole = run.iteration >= self._until or has_ended
        if error is None:
            self.saved = run.trainer.saved(run.callbacks)


def _own_loss(net: NN) -> float:
    """The lowest validation loss so far, which is the network's."""
    assert net.fit_history is not None
    losses = net.fit_history.validation_losses
    return min(loss for loss in losses if math.isfinite(loss))


def _common_loss(net: NN, common: Common, member: Member) -> float:
    """A loss that can be compared between fits with different losses and units."""
    options = {**common.options, **member.arguments}
    if isinstance(options["validation"], tuple):
        scores = score(net, *options["validation"])
    else:
        data = understood(common.x, common.y, *(options[name] for name in UNDERSTOOD))
        rows, means = options["validation"][data.is_kept], net.schema.means
        inputs = data.inputs[rows] if means is None else filled(data.inputs[rows], means)
        scores = scores_of(net, inputs, data.targets[rows], data.weights[rows])
    if isinstance(scores, ClassScores):
        return scores.log_loss
    shares = 1.0 - scores.r2
    return float(np.mean(np.where(np.isnan(shares), scores.rmse**2, shares)))
