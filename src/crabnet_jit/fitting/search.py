"""A search for the arguments of `fit` that suit a data set, by successive halving."""

import time
import warnings
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError
from crabnet_jit.callbacks.progress import Meter
from crabnet_jit.data.random import HELD_OUT, StdRng, as_rng
from crabnet_jit.fitting.data_set import split
from crabnet_jit.fitting.fits_file import UNDERSTOOD, check_place, identity
from crabnet_jit.fitting.halving import Candidate, Clock, Halving
from crabnet_jit.fitting.job import check_threads, job_on
from crabnet_jit.fitting.search_file import SavedSearch, read_search, rows_of, write_search
from crabnet_jit.fitting.search_result import SearchResult, errors_of
from crabnet_jit.fitting.shared import Shared
from crabnet_jit.fitting.space import Space
from crabnet_jit.fitting.specs import DEFAULTS, check_names, of_the_whole
from crabnet_jit.fitting.stages import Common, Member, OnThreads, Pause, Runner, advance
from crabnet_jit.fitting.understanding import understood
from crabnet_jit.training.population import warn_of
from crabnet_jit.training.threads import threads_of

_OWN = ("space", "n_candidates", "budget_seconds", "factor", "n_rungs", "n_threads", "cluster", "progress")
_OF_THE_WHOLE = of_the_whole("search", "candidates")
#: The same for arguments that cannot be searched.
_OF_ALL_CANDIDATES = {
    "validation": "candidates are compared on the same samples: `validation` is an argument of search",
    "n_threads": "each candidate has one thread: `n_threads` of search is for all of them",
}
#: With one of these in the space, validation losses cannot be compared.
_CHANGE_THE_LOSS = {"loss", "standardize", "output_activation", "output_range", "start", "sample_weight"}
_N_TRIED = 20  # candidates at first, to find one that can be fitted


def search(
    space: Any,
    x: Any,
    y: Any,
    *,
    n_candidates: int | None = None,
    budget_seconds: float | None = None,
    seed: StdRng | int = 0,
    validation: float | tuple[ArrayLike, ...] | NDArray[np.bool_] = 0.2,
    factor: int = 3,
    n_rungs: int = 4,
    n_threads: int | str = "auto",
    cluster: Any = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    resume: str | PathLike[str] | None = None,
    **options: Any,
) -> SearchResult:
    """Search for arguments of `fit` that suit a data set, by successive halving.

    All candidates start their fits; those with the lowest validation loss go on, repeatedly, until the best
    are fitted completely [1]_ [2]_. A candidate goes on from where it was, bit for bit: the best network is
    the same as from `fit` with its arguments.

    Parameters
    ----------
    space : dict, or list of dict
        For each argument of `fit` to be found, a list of choices or a distribution: `Uniform`, `Integers`, or
        anything with a method `rvs` as in `scipy.stats`. With several dicts, each candidate takes one of
        them. If there are only lists, no candidate is repeated.
    x, y
        As in `fit`.
    n_candidates : int, optional
        How many candidates to draw, at least 1. By default all, if there are only lists; otherwise as many as
        there is time for.
    budget_seconds : float, optional
        The total time, above 0, not counting compilation for the first candidate. Each rung gets about the
        same time.
    seed : StdRng or int, default 0
        It determines the candidates, the samples that are set aside, and the `seed` of each fit, unless that
        is in the space.
    validation : float, (x, y), (x, y, sample_weight) or ndarray of bool, default 0.2
        As in `fit`: the share of samples that is set aside, which samples these are, or others. They are
        the same for all candidates, and none is trained on them.
    factor : int, default 3
        At least 2. One in `factor` candidates goes on, each time for `factor` times the iterations.
    n_rungs : int, default 4
        At least 1. How often candidates are compared: after 1/27, 1/9, 1/3 and all of their iterations. There
        are fewer rungs for less than factor^(n_rungs - 1) candidates. With 1, all are fitted completely.
    n_threads : int or "auto", default "auto"
        As in `fit_many`.
    cluster : distributed.Client, optional
        As in `fit_many`: the workers of a Dask cluster fit the candidates. Without a budget, the result is
        the same, bit for bit.
    progress : bool, default False
        Whether to show the progress.
    checkpoint, checkpoint_seconds, resume
        As in `fit_many`: a file from which the same search goes on. Unfinished candidates go on from the
        previous rung. Seconds of the budget that were used count.
    **options
        Arguments of `fit` for all candidates. `keep_losses` is 0 if it is not given.

    Returns
    -------
    SearchResult
        The best network, its arguments, and a table of all candidates. After Ctrl-C, it has the candidates
        that were finished by then, and there is a warning.

    Raises
    ------
    InvalidArgumentError
        For arguments that are wrong, before anything runs; if all of the first 20 candidates are wrong; and
        after the second rung, if one fit takes longer than the budget.
    FloatingPointError
        If all candidates diverge.
    FileFormatError
        If the checkpoint is something else, damaged, or of another search or data.
    ClusterError
        As in `fit_many`. The checkpoint has the candidates so far.
    KeyboardInterrupt
        After Ctrl-C, if no candidate has reached a rung.

    Warns
    -----
    RuntimeWarning
        If candidates failed; it says which ones. They do not stop the others. See the attribute `errors` of
        the result.

    Notes
    -----
    A candidate's loss is its lowest validation loss so far. If the space has `loss`, `standardize` or other
    arguments that change its meaning, it is 1 - R2 for a regression and the log loss for classes.

    Without a budget, equal seeds give equal results, whatever the number of threads. With a budget,
    candidates are drawn in the same order, but how many there are, and how many go on, depends on time.

    The loss of the best network is too low for new data, since the network was chosen by it. Keep samples for
    a test.

    References
    ----------
    .. [1] K. Jamieson and A. Talwalkar, "Non-stochastic best arm identification and hyperparameter
       optimization", AISTATS 2016.
    .. [2] L. Li et al., "Hyperband: a novel bandit-based approach to hyperparameter optimization", JMLR 18,
       2018.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import Uniform, search
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 10, (200, 1))
    >>> y = np.sin(x[:, 0]) + rng.normal(0, 0.1, 200)
    >>> space = {"learning_rate": Uniform(1e-4, 1e-1, log=True), "hidden_sizes": [(8,), (16, 16)]}
    >>> result = search(space, x, y, n_candidates=9, n_iterations=900)
    >>> sorted(result.best_arguments)
    ['hidden_sizes', 'learning_rate']
    >>> sum(row["iterations"] for row in result.table)  # instead of 8,100
    2160
    """
    check_threads(n_threads, cluster)
    n, show = threads_of(n_threads, stacklevel=3), check.flag("progress", progress)
    to = None if checkpoint is None else check_place("checkpoint", checkpoint)
    seconds = check.number("checkpoint_seconds", checkpoint_seconds, 0.0)
    started = _Search(space, x, y, n_candidates, budget_seconds, seed, validation, factor, n_rungs, options)
    used = 0.0 if resume is None else started.take(resume)
    if cluster is None:
        return started.run(OnThreads(started.common, n), Clock(started.budget, used), show, to, seconds)
    with job_on(cluster, started.common, started.things) as job:
        from crabnet_jit.fitting.stages_on_cluster import OnCluster

        return started.run(OnCluster(job), Clock(started.budget, used), show, to, seconds)


class _Search:
    """A search, checked before it runs.

    Attributes
    ----------
    common : Common
        What all candidates share.
    budget : float or None
        Seconds.
    """

    def __init__(
        self,
        space: Any,
        x: Any,
        y: Any,
        n_candidates: int | None,
        budget_seconds: float | None,
        seed: Any,
        validation: Any,
        factor: int,
        n_rungs: int,
        options: Mapping[str, Any],
    ) -> None:
        check_names("search", options, _OF_THE_WHOLE, _OWN)
        number = as_rng("seed", seed).state["seed"]
        self._space = Space(space, number)
        check_names("space", self._space.names, _OF_THE_WHOLE | _OF_ALL_CANDIDATES)
        if unused := [name for name in options if self._space.always_has(name)]:
            raise check.InvalidArgumentError(f"{unused[0]} is in the space, and an argument of search, too")
        if validation is None:
            raise check.reject("validation", "a share of the samples, or a validation set", "None")
        self.budget = _checked_budget(budget_seconds)
        factor = check.integer("factor", factor, 2)
        n_rungs = check.integer("n_rungs", n_rungs, 1, 20)
        n_all = self._space.n_candidates
        n = n_all if n_candidates is None else check.integer("n_candidates", n_candidates, 1)
        if n is None and self.budget is None:
            allowed = "given, or budget_seconds, if not all arguments of the space are lists"
            raise check.reject("n_candidates", allowed, "None")
        n = n if n_all is None else min(n_all, n or n_all)
        self._halving = Halving(self._space, n, factor, n_rungs)
        self._plan = {"n_candidates": n, "factor": factor, "n_rungs": n_rungs}
        given = {**DEFAULTS, "keep_losses": 0, **options, "seed": number, "validation": validation}
        self.common = Common(Shared(x), y, given, not _CHANGE_THE_LOSS.intersection(self._space.names))
        self.common = self._with_first(_N_TRIED if n is None else min(n, _N_TRIED), number)

    def _with_first(self, n: int, seed: int) -> Common:
        """Try a first candidate, which compiles its kernels; the result has the samples to set aside.

        Raises an error if none of the first n can be fitted.
        """
        errors: list[Exception] = []
        for k in range(n):
            member = Member(k, self._space[k], 0.0, None)
            try:
                common = self._with_validation(member, seed)
            except check.InvalidArgumentError as error:
                errors.append(error)
                continue
            stage = advance(common, member, seconds=0.0)
            if stage.error is None:
                return common
            errors.append(stage.error)
        if len({str(error) for error in errors}) == 1:  # the cause is not what differs
            raise errors[0]
        raise check.InvalidArgumentError(f"the first {n} candidates fail; the first one: {errors[0]}")

    def _with_validation(self, member: Member, seed: int) -> Common:
        """The common arguments, with samples set aside among those that this candidate can use."""
        common, validation = self.common, self.common.options["validation"]
        if check.is_iterable(validation):
            return common
        share = check.fraction("validation", validation, open_low=True)
        options = {**common.options, **member.arguments}
        data = understood(common.x, common.y, *(options[name] for name in UNDERSTOOD))
        kept = np.flatnonzero(data.is_kept)
        if kept.size < 2:
            raise check.reject("x", "at least two samples, to set one aside", f"{kept.size}")
        _, aside = split(kept.size, share, StdRng(seed, HELD_OUT), data.weights)
        is_aside = np.zeros(data.is_kept.size, bool)
        is_aside[kept[aside]] = True
        return common._replace(options={**common.options, "validation": is_aside})

    @property
    def things(self) -> Iterator[tuple[str, Any]]:
        """All that candidates can have, with names."""
        yield from {"x": self.common.x.x, "y": self.common.y, **self.common.options}.items()
        yield from ((f"space[{name!r}]", choice) for name, choice in self._space.choices())

    def run(
        self, runner: Runner, clock: Clock, progress: bool, to: Path | None, seconds: float
    ) -> SearchResult:
        """Run until the end, or until Ctrl-C."""
        watch = _Watch(self, clock, progress, to, seconds)
        is_complete = True
        try:
            self._halving.go(runner, clock, watch)
        except KeyboardInterrupt:
            if self._halving.best() is None:
                raise
            is_complete = False
        finally:
            watch.close()
        return self._result(is_complete)

    def _result(self, is_complete: bool) -> SearchResult:
        candidates, best = self._halving.candidates, self._halving.best()
        errors = errors_of(candidates)
        if best is None or best.stage is None:
            first = next(iter(errors.values()), None)
            raise FloatingPointError(f"all {len(candidates):,} candidates failed; the first one: {first}")
        if not is_complete:
            message = "interrupted: the result is that of the candidates so far"
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        warn_of(errors, "candidate", stacklevel=5, happened="failed")
        network = self.common.fitted(Member(best.k, best.arguments, 0.0, best.stage.saved), Pause(0.0))
        rungs = [self._halving.share(rung) for rung in range(self._halving.n_rungs)]
        validation = self.common.options["validation"]
        return SearchResult(
            candidates, best, network, self._space.names, rungs, validation, is_complete=is_complete
        )

    def _identity(self, candidate: Candidate) -> str:
        return identity(self.common.x, self.common.y, {**self.common.options, **candidate.arguments})

    def take(self, path: str | PathLike[str]) -> float:
        """Take over a checkpoint; return the seconds that it took."""
        saved = read_search(path)
        for name, value in self._plan.items():
            if saved.plan.get(name) != value:
                came = f"its {name} is {saved.plan.get(name)}, here it is {value}"
                raise FileFormatError(f"{path} belongs to another search: {came}")
        candidates = []
        for k, row in enumerate(saved.candidates):
            candidate = Candidate(k, self._space[k], row["losses"], row["stage"], row["seconds"])
            if row["identity"] != self._identity(candidate):
                raise FileFormatError(f"{path} belongs to another space or other data: candidate {k} differs")
            candidates.append(candidate)
        self._halving.restore(candidates, saved.rung, saved.first, saved.began)
        return saved.seconds

    def save(self, path: Path, clock: Clock) -> None:
        """Write the checkpoint, or warn that it cannot be written."""
        candidates = [*self._halving.candidates]
        rows = rows_of(candidates, self._identity)
        halving = self._halving
        try:
            saved = SavedSearch(self._plan, halving.rung, halving.first, halving.began, clock.used, rows)
            write_search(path, saved)
        except OSError as error:
            warnings.warn(f"no checkpoint of the search: {error}", RuntimeWarning, stacklevel=6)

    def meter(self) -> Meter:
        """A meter that counts seconds of the budget or, without a budget, rungs of candidates."""
        meter = Meter(what="rungs of candidates" if self.budget is None else "s")
        meter.start(self._halving.n_planned if self.budget is None else round(self.budget))
        return meter

    def show(self, meter: Meter, clock: Clock) -> None:
        """Show the progress."""
        halving, best = self._halving, self._halving.best()
        loss = "" if best is None else f", least loss {best.loss:.4g}"
        rung = f"rung {min(halving.rung + 1, halving.n_rungs)} of {halving.n_rungs}"
        text = f"{len(halving.candidates)} candidates, {rung}{loss}"
        meter.show(halving.n_done if self.budget is None else round(clock.used), text, text)


def _checked_budget(seconds: float | None) -> float | None:
    return None if seconds is None else check.number("budget_seconds", seconds, 0.0, open_low=True)


class _Watch:
    """Shows progress, and writes checkpoints, when it is time."""

    def __init__(self, of: _Search, clock: Clock, progress: bool, to: Path | None, seconds: float) -> None:
        self._of, self._clock, self._to, self._seconds = of, clock, to, seconds
        self._meter = of.meter() if progress else None
        self._next_save = time.perf_counter() + seconds

    def __call__(self) -> None:
        if self._meter is not None and self._meter.is_due():
            self._of.show(self._meter, self._clock)
        if self._to is not None and time.perf_counter() >= self._next_save:
            self._of.save(self._to, self._clock)
            self._next_save = time.perf_counter() + self._seconds

    def close(self) -> None:
        """Show the end, and write the checkpoint."""
        if self._meter is not None:
            self._of.show(self._meter, self._clock)
            self._meter.close()
        if self._to is not None:
            self._of.save(self._to, self._clock)
