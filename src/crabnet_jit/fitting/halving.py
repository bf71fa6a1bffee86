"""Successive halving: candidates are drawn, and those with the lowest loss go on, rung by rung.

A rung is a share of a candidate's iterations. This module decides which go on, and does not deal with
threads.
"""

import bisect
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from crabnet_jit import check
from crabnet_jit.fitting.space import Space
from crabnet_jit.fitting.stages import Member, Runner, Stage

_N_FITS = 2  # whole ones, for which there must be time to draw new candidates after the last rung


@dataclasses.dataclass
class Candidate:
    """Arguments that a search tries, and their results so far.

    Attributes
    ----------
    k : int
        Its number.
    arguments : dict
        The arguments that were drawn.
    losses : list of float
        The loss at the end of each rung that it has reached.
    stage : Stage or None
        The last stage.
    seconds : float
        The time of all its stages.
    """

    k: int
    arguments: dict[str, Any]
    losses: list[float] = dataclasses.field(default_factory=list)
    stage: Stage | None = None
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        """The last loss; infinite if there is none."""
        return math.inf if self.stage is None else self.stage.loss

    @property
    def is_out(self) -> bool:
        """Whether there was an error."""
        return self.stage is not None and self.stage.error is not None

    @property
    def has_ended(self) -> bool:
        """Whether its fit is over, perhaps before its last iteration."""
        return self.stage is not None and self.stage.is_over

    def seconds_until(self, share: float) -> float:
        """The time that it is likely to need to reach a share of its iterations."""
        if self.stage is None or self.has_ended:
            return 0.0
        return max(0.0, share * self.stage.n_iterations - self.stage.iteration) * self.stage.pace


class Clock:
    """The remaining budget.

    Parameters
    ----------
    budget : float or None
        Seconds; None for no limit.
    used : float
        Seconds used by an earlier part of the search.
    """

    def __init__(self, budget: float | None, used: float = 0.0) -> None:
        self.budget = budget
        self._start = time.perf_counter() - used

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    def left(self) -> float | None:
        """Seconds until the end, if there is one."""
        return None if self.budget is None else self.budget - self.used


class Halving:
    """A search by successive halving.

    Without a budget of time, who goes on depends on nothing but losses: of n candidates the best n // factor
    reach the second rung, n // factor^2 the third. With a budget, each rung has about the same time for the
    work that it adds, and takes as many of the best candidates as are likely to be done then. If much time is
    left after the last rung, new candidates begin at the first one.

    Parameters
    ----------
    space : Space
    n_candidates : int or None
        How many to draw; None for as many as there is time for.
    factor, n_rungs : int
        Each rung is longer than the one before by this factor; the last one is a whole fit.

    Attributes
    ----------
    candidates : list of Candidate
        All that were drawn.
    rung : int
        The one at work.
    first, began : int, float
        Since it began at the first rung, the last time: its first candidate, and the seconds used before.
    n_rungs : int
        Fewer than asked for if there are too few candidates.
    """

    def __init__(self, space: Space, n_candidates: int | None, factor: int, n_rungs: int) -> None:
        self._space, self._n_candidates, self._factor = space, n_candidates, factor
        self.n_rungs = n_rungs
        while n_candidates is not None and self.n_rungs > 1 and factor ** (self.n_rungs - 1) > n_candidates:
            self.n_rungs -= 1
        self.candidates: list[Candidate] = []
        self.rung, self.first, self.began = 0, 0, 0.0
        self._ends: dict[int, float] = {}  # when running candidates are likely to be done
        # For those that have done the first rung, in order: its time, and the time of a whole fit.
        self._seconds: list[float] = []
        self._costs: list[float] = []

    @property
    def n_planned(self) -> int:
        """The number of rungs of all candidates together, without a time budget."""
        n = self._n_candidates or 0
        return n + sum(self._n_to_promote(n, rung) for rung in range(1, self.n_rungs))

    @property
    def n_done(self) -> int:
        """The number of these that are done."""
        return sum(len(one.losses) + one.is_out for one in self.candidates)

    def _n_to_promote(self, n: int, rung: int) -> int:
        """How many of n candidates reach a rung."""
        return max(1, n // int(self._factor**rung))

    def share(self, rung: int) -> float:
        """The share of its iterations that a candidate has done at the end of a rung."""
        return float(self._factor) ** (rung - self.n_rungs + 1)

    def go(self, runner: Runner, clock: Clock, watch: Callable[[], object]) -> None:
        """Go on until the last rung or the time ends."""
        while self.rung < self.n_rungs or self._begins_again(clock, runner.n_workers):
            members = self._draw if self.rung == 0 else self._promote
            self._ends.clear()
            runner.run(members(clock, runner.n_workers), clock.left, self.take, watch)
            if self.rung > 0:
                self._forget()
            self.rung += 1
            if self.rung > 1 or self.n_rungs == 1:
                self._check_budget(clock)

    def _begins_again(self, clock: Clock, n_workers: int) -> bool:
        """Begin at the first rung, if there are candidates and time for some more whole fits."""
        left = clock.left()
        needed = _N_FITS * _typical(self._costs, n_workers)
        if left is None or left <= needed or needed == 0.0 or len(self.candidates) == self._n_candidates:
            return False
        self.rung, self.first, self.began = 0, len(self.candidates), clock.used
        return True

    def best(self) -> Candidate | None:
        """The candidate with the lowest loss among those that can go on."""
        able = [one for one in self.candidates if one.stage is not None and one.stage.saved is not None]
        return min(able, key=lambda one: (one.loss, one.k), default=None)

    def _forget(self) -> None:
        """Drop the states of candidates that did not reach this rung, except that of the best one."""
        best = self.best()
        for candidate in self.candidates:
            if len(candidate.losses) <= self.rung and candidate.stage is not None and candidate is not best:
                candidate.stage = candidate.stage._replace(saved=None)

    def restore(self, candidates: list[Candidate], rung: int, first: int, began: float) -> None:
        """Go on from here."""
        self.candidates, self.rung, self.first, self.began = candidates, rung, first, began
        for candidate in candidates:
            self._count(candidate)

    def take(self, stage: Stage) -> None:
        """Record the result of a member's stage."""
        candidate = self.candidates[stage.k]
        self._ends.pop(stage.k, None)
        candidate.stage = stage
        candidate.seconds += stage.seconds
        if stage.is_whole and stage.error is None:
            candidate.losses.append(stage.loss)
        if self.rung == 0:
            self._count(candidate)

    def _count(self, candidate: Candidate) -> None:
        if candidate.losses and candidate.stage is not None:
            bisect.insort(self._seconds, candidate.seconds)
            bisect.insort(self._costs, candidate.stage.pace * candidate.stage.n_iterations)

    def _draw(self, clock: Clock, n_workers: int) -> Iterator[Member]:
        """New candidates, until there are enough."""
        for k in itertools.count(self.first):
            if k == self._n_candidates:
                return
            if k >= len(self.candidates):
                seconds = _typical(self._seconds, n_workers)
                if k > self.first and not self._has_time(
                    clock, seconds, self._time_to_draw(clock, n_workers), n_workers
                ):
                    return
                self.candidates.append(Candidate(k, self._space[k]))
                self._ends[k] = clock.used + seconds
            if not self.candidates[k].is_out and not self.candidates[k].losses:
                yield self._member(self.candidates[k])

    def _promote(self, clock: Clock, n_workers: int) -> Iterator[Member]:
        """The best candidates of the previous rung."""
        drawn = self.candidates[self.first :]
        ranked = [one for one in drawn if len(one.losses) >= self.rung and not one.is_out]
        ranked.sort(key=lambda one: (one.losses[self.rung - 1], one.k))
        if clock.budget is None:
            del ranked[self._n_to_promote(len(drawn), self.rung) :]
        elif clock.used >= clock.budget:
            return
        until = self._end_of_rung(clock, ranked[0]) if ranked else 0.0
        for candidate in ranked:
            if len(candidate.losses) > self.rung:
                continue
            if candidate.has_ended:
                candidate.losses.append(candidate.loss)
                continue
            seconds = candidate.seconds_until(self.share(self.rung))
            if candidate is ranked[0] or self._has_time(clock, seconds, until, n_workers):
                self._ends[candidate.k] = clock.used + seconds
                yield self._member(candidate)

    def _member(self, candidate: Candidate) -> Member:
        saved = None if candidate.stage is None else candidate.stage.saved
        return Member(candidate.k, candidate.arguments, self.share(self.rung), saved)

    def _has_time(self, clock: Clock, seconds: float, until: float, n_workers: int) -> bool:
        """Whether work that needs this many seconds is likely to be done by `until`."""
        if clock.budget is None:
            return True
        now = clock.used
        busy = sum(max(0.0, end - now) for end in self._ends.values())
        return now < clock.budget and now + max(seconds, (busy + seconds) / n_workers) <= until

    def _time_to_draw(self, clock: Clock, n_workers: int) -> float:
        """When the first rung should end: at least one fit needs time to be completed."""
        if clock.budget is None:
            return math.inf
        added = [1.0] + [1.0 - 1.0 / self._factor] * (self.n_rungs - 1)  # work of each rung
        whole = _typical(self._costs, n_workers)
        until = self.began + (clock.budget - self.began) / sum(added)
        return min(until, clock.budget - (1.0 - self.share(0)) * whole)

    def _end_of_rung(self, clock: Clock, best: Candidate) -> float:
        """When this rung should end, so that the best candidate can be completed."""
        left = clock.left()
        if left is None:
            return math.inf
        later = best.seconds_until(1.0) - best.seconds_until(self.share(self.rung))
        return clock.used + min(left / (self.n_rungs - self.rung), left - later)

    def _check_budget(self, clock: Clock) -> None:
        """Raise an error if no fit can be completed in the budget.

        A stage that has run twice did not compile the second time.
        """
        stages = [one.stage for one in self.candidates if one.stage is not None and one.stage.error is None]
        if clock.budget is None or not stages:
            return
        if any(stage.is_over for stage in stages):
            return
        costs = [stage.pace * stage.n_iterations for stage in stages if stage.iteration > 0]
        if not costs or min(costs) > clock.budget:
            needed = f"at least {min(costs):.2g}, the time of one fit" if costs else "the time of one fit"
            hint = "; a smaller n_iterations needs less"
            raise check.reject("budget_seconds", needed, f"{clock.budget:g}", hint)


def _typical(ordered: list[float], n_workers: int) -> float:
    """The lower quartile of the numbers; 0 while they are few, since the first ones may have compiled."""
    return ordered[(len(ordered) - 1) // 4] if len(ordered) > 2 * n_workers + 2 else 0.0
