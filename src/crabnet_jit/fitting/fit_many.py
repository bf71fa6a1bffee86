"""Many networks fitted to one data set, side by side."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from os import PathLike
from typing import TYPE_CHECKING, Any

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError
from crabnet_jit.callbacks.progress import Meter
from crabnet_jit.data.random import as_rng
from crabnet_jit.fitting.fits import ClusterError, Fits
from crabnet_jit.fitting.fits_file import Finished, check_place, identity, read_fits, write_fits
from crabnet_jit.fitting.job import check_threads, job_on
from crabnet_jit.fitting.member import Members, Outcome, Travelled
from crabnet_jit.fitting.shared import Shared, value_key
from crabnet_jit.fitting.specs import DEFAULTS, check_names, of_the_whole
from crabnet_jit.machine import memory
from crabnet_jit.network.network import NN
from crabnet_jit.training.population import warn_of
from crabnet_jit.training.run import Callback, Run
from crabnet_jit.training.threads import run_on_threads, threads_of

if TYPE_CHECKING:
    from crabnet_jit.fitting.cluster import Job

_OF_THE_WHOLE = of_the_whole("fit_many", "networks")
_NETWORK_BYTES = 16_000  # for a network and its history, besides their numbers
_FIT_SECONDS, _ITERATION_SECONDS, _PRODUCT_SECONDS = 1e-3, 3e-7, 2e-10  # on any machine of these days
_Runner = Callable[[Callable[[], None]], None]  # fits what is left, and calls what it gets now and then


def fit_many(
    specs: Sequence[Mapping[str, Any]],
    x: Any,
    y: Any,
    *,
    n_threads: int | str = "auto",
    cluster: Any = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    resume: str | PathLike[str] | None = None,
    **options: Any,
) -> Fits:
    """Fit many networks to one data set, on several threads, or on the machines of a cluster.

    Network k is the same as from `fit(x, y, **specs[k])`, bit for bit. It does not depend on the number of
    threads, the order or the other networks. All share the data. On a cluster, this holds if its processors
    are of the same kind as the one here.

    Parameters
    ----------
    specs : sequence of dict
        Arguments of `fit` for each network, without x and y, and without `callbacks`, `on_check` and
        `resume`. They may differ in anything: seeds, widths, activations, losses, optimisers.
    x, y
        As in `fit`.
    n_threads : int or "auto", default "auto"
        At least 1; "auto" is the number of cores that this process may use, by its affinity and control
        groups. More than that gives a warning.
    cluster : distributed.Client, optional
        A client of a Dask cluster. Its workers fit the networks, instead of threads of this machine; this
        needs `crabnet-jit[dask]`. Workers may die and join meanwhile. Functions of your own are sent by
        cloudpickle.
    progress : bool, default False
        Whether to show how many iterations and networks are done, as `ProgressBar` does.
    checkpoint : path-like, optional
        A file for the finished networks, written now and then, at the end, and after Ctrl-C. If it
        cannot be written, there is a warning.
    checkpoint_seconds : float, default 60.0
        Seconds between two writes, at least 0.
    resume : path-like, optional
        A checkpoint of the same specs and data, or of some of the specs. Its networks are reused; unfinished
        ones start again. The result is the same, bit for bit.
    **options
        Arguments of `fit` for all networks; a spec overrides them.

    Returns
    -------
    Fits
        A list of networks, in the order of specs, with None for each that diverged.

    Raises
    ------
    InvalidArgumentError
        For invalid arguments, before any network is trained; the message names the spec. With a cluster:
        if the client is closed, a worker has another version of this package or of Numba, something cannot be
        sent to it, or the data need more memory than it has.
    ClusterError
        If the cluster has no worker for a minute at the start, its scheduler goes away, or a network was sent
        5 times to workers that died. Its attribute `fits` has the networks so far; so has the checkpoint.
    MemoryError
        If the results need more memory than is free; also before training.
    FileFormatError
        If the checkpoint is something else, damaged, or of other specs or data.
    KeyboardInterrupt
        Within a tenth of a second after Ctrl-C, once the checkpoint is written.

    Warns
    -----
    RuntimeWarning
        If networks diverged; it says which ones. See the attribute `errors` of the result.

    Notes
    -----
    The history of each network keeps all its losses, 8 bytes each; `keep_losses=0` keeps about 1,000.
    For every 20,000 iterations of a network, Python needs about 1 ms, in which other networks wait. A
    schedule of your own takes longer, and Ctrl-C waits until it returns.

    Warnings of a fit on a worker are in the worker's log.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit_many
    >>> x = np.linspace(0, 10, 200)[:, None]
    >>> specs = [{"seed": 1}, {"seed": 2}, {"hidden_sizes": (8, 8), "activation": "relu"}]
    >>> networks = fit_many(specs, x, np.sin(x), n_iterations=500)
    >>> [net.hidden_sizes for net in networks]
    [[32, 32], [32, 32], [8, 8]]
    """
    check_threads(n_threads, cluster)
    n = threads_of(n_threads, stacklevel=3)
    show, seconds = (
        check.flag("progress", progress),
        check.number("checkpoint_seconds", checkpoint_seconds, 0.0),
    )
    to = None if checkpoint is None else check_place("checkpoint", checkpoint)
    common, own = _checked(specs, options)
    many = _Many(common, own, x, y)
    if resume is not None:
        many.take(resume)
    many.check_memory()
    if cluster is None:
        many.train(partial(_on_threads, many, n), show, to, seconds)
    else:
        with _job_on(cluster, many) as job:
            many.train(partial(_on_cluster, many, job), show, to, seconds)
    warn_of(many.errors, "network", stacklevel=3)
    return Fits(many.results, many.errors)


def _checked(specs: Any, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Arguments of all fits, with defaults, and those of each fit that override them."""
    if isinstance(specs, (Mapping, str, bytes)) or not check.is_iterable(specs):
        raise check.reject("specs", "a sequence of dicts", check.shown(specs))
    check_names("fit_many", options, _OF_THE_WHOLE)
    own = []
    for k, spec in enumerate(specs):
        if not isinstance(spec, Mapping):
            raise check.reject(f"specs[{k}]", "a dict of arguments of fit", check.shown(spec))
        check_names(f"specs[{k}]", spec, _OF_THE_WHOLE)
        own.append(dict(spec))
    return {**DEFAULTS, **options}, own


@contextlib.contextmanager
def _naming(k: int) -> Iterator[None]:
    """A block whose errors name the spec k."""
    try:
        yield
    except check.InvalidArgumentError as error:
        raise check.InvalidArgumentError(f"specs[{k}]: {error}") from None


class _Many:
    """The fits of a call, and their state."""

    def __init__(self, common: dict[str, Any], own: list[dict[str, Any]], x: Any, y: Any) -> None:
        self.members, self.own = Members(Shared(x), y, common), own
        self.results: list[NN | None] = [None] * len(own)
        self.errors: dict[int, FloatingPointError] = {}
        self._is_done = [False] * len(own)
        self._n_done = [0] * len(own)  # iterations
        self._n_bytes = 0
        self._lengths: list[int] = []  # iterations
        self.costs: list[float] = []
        known: dict[Any, _Rehearsal] = {}
        for k in range(len(own)):
            spec = self._spec(k)
            key = tuple((name, value_key(value)) for name, value in spec.items() if name != "seed")
            with _naming(k):
                as_rng("seed", spec["seed"])
                if key not in known:
                    known[key] = self._rehearse(k)
            self._lengths.append(known[key].end)
            self.costs.append(known[key].cost)
            self._n_bytes += known[key].n_bytes

    def _spec(self, k: int) -> dict[str, Any]:
        return {**self.members.options, **self.own[k]}

    def _rehearse(self, k: int) -> "_Rehearsal":
        """A fit without iterations, which finds errors in its arguments."""
        rehearsal = _Rehearsal()
        with contextlib.suppress(FloatingPointError):  # a validation loss that is not finite yet
            rehearsal.see(self._untrained(k, rehearsal), self._spec(k))
        return rehearsal

    def _untrained(self, k: int, rehearsal: "_Rehearsal") -> NN:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the search for", RuntimeWarning)  # the search has not begun
            return self.members.fit(self.own[k], rehearsal)

    def _identity(self, k: int) -> str:
        return identity(self.members.x, self.members.y, self._spec(k))

    def take(self, path: str | PathLike[str]) -> None:
        """Take the networks of a checkpoint."""
        for k, finished in read_fits(path).items():
            if k >= len(self.own) or finished.identity != self._identity(k):
                raise FileFormatError(f"{path} belongs to other specs or data: they differ at specs[{k}]")
            if isinstance(finished.found, FloatingPointError):
                self.keep(k, finished.found)
            else:
                self.keep(k, finished.network(self._untrained(k, _Rehearsal())))

    def check_memory(self) -> None:
        """Raise an error if the results do not fit into memory."""
        free = memory.available()
        if free is not None and self._n_bytes > free:
            raise MemoryError(
                f"{len(self.own):,} networks with their histories need {self._n_bytes / 1e9:,.1f} GB, "
                f"but only {free / 1e9:,.1f} GB is free; keep_losses=0 keeps fewer losses"
            )

    @property
    def left(self) -> list[int]:
        """Fits that are not done."""
        return [k for k, is_done in enumerate(self._is_done) if not is_done]

    def counter(self, k: int) -> "_Counter":
        """What counts the iterations of a fit."""
        return _Counter(self._n_done, k)

    def keep(self, k: int, outcome: Outcome) -> None:
        """Keep what a fit has given."""
        if isinstance(outcome, FloatingPointError):
            self.errors[k] = outcome
        else:
            self.results[k] = outcome
        self._is_done[k], self._n_done[k] = True, self._lengths[k]

    def train(self, run: "_Runner", progress: bool, checkpoint: Any, seconds: float) -> None:
        """Train the networks that are not done."""
        meter = Meter()
        next_save = time.perf_counter() + seconds

        def show() -> None:
            done = f"{sum(self._is_done)}/{len(self.own)} networks"
            meter.show(sum(self._n_done), done, done)

        def watch() -> None:
            nonlocal next_save
            if progress and meter.is_due():
                show()
            if checkpoint is not None and time.perf_counter() >= next_save:
                self._save(checkpoint)
                next_save = time.perf_counter() + seconds

        if progress:
            meter.start(sum(self._lengths), sum(self._n_done))
        try:
            run(watch)
        finally:
            self.errors = dict(sorted(self.errors.items()))
            if progress:
                show()
                meter.close()
            if checkpoint is not None:
                self._save(checkpoint)

    def _save(self, path: Any) -> None:
        finished = {
            k: Finished.of(self._identity(k), self.results[k], self.errors.get(k))
            for k, is_done in enumerate(self._is_done)
            if is_done
        }
        try:
            write_fits(path, finished)
        except OSError as error:
            warnings.warn(f"no checkpoint of {len(finished)} networks: {error}", RuntimeWarning, stacklevel=5)


def _on_threads(many: _Many, n_threads: int, watch: Callable[[], None]) -> None:
    left = many.left

    def train(i: int) -> None:
        k = left[i]
        many.keep(k, many.members.outcome(k, many.own[k], many.counter(k)))

    run_on_threads(train, len(left), n_threads, watch)


def _job_on(cluster: Any, many: _Many) -> "Job":
    """That of these fits on a cluster."""
    things = [("x", many.members.x.x), ("y", many.members.y), *many.members.options.items()]
    own = ((f"specs[{k}][{name!r}]", value) for k in many.left for name, value in many.own[k].items())
    return job_on(cluster, many.members, chain(things, own))


def _on_cluster(many: _Many, job: "Job", watch: Callable[[], None]) -> None:
    from crabnet_jit.fitting.worker import FIT

    left, rows = many.left, None

    def take(i: int, travelled: Travelled) -> None:
        nonlocal rows
        outcome = travelled.arrived(rows)
        many.keep(left[i], outcome)
        if rows is None and isinstance(outcome, NN) and outcome.fit_history is not None:
            rows = outcome.fit_history.training_rows

    try:
        job.run(
            FIT,
            [(k, many.own[k]) for k in left],
            [many.costs[k] for k in left],
            take,
            watch,
            lambda i: f"specs[{left[i]}]",
        )
    except ClusterError as error:
        error.fits = Fits(many.results, many.errors)
        raise


class _Rehearsal(Callback):
    """Ends a run before its first iteration, and records what it would need.

    Attributes
    ----------
    end : int
        Its iterations.
    n_bytes : int
        Memory for its result.
    cost : float
        About how many seconds, good enough to compare it with others.
    """

    end = n_bytes = 0
    cost = 0.0

    def start(self, run: Run) -> None:
        self.end = run.end
        trainer, n_parameters = run.trainer, run.net.parameters.size
        assert trainer.source is not None
        n_products = trainer.source.batch_size * n_parameters
        if trainer.optimizer.is_second_order:
            n_products *= n_parameters
        self.cost = _FIT_SECONDS + run.end * (_ITERATION_SECONDS + _PRODUCT_SECONDS * n_products)
        run.stop("for a rehearsal")

    def see(self, net: NN, spec: Mapping[str, Any]) -> None:
        """Compute the memory for the network and its history."""
        assert net.fit_history is not None
        kept = self.end if spec["keep_losses"] is None else min(self.end, spec["keep_losses"] + 1001)
        rows = net.fit_history.validation_rows.size and net.fit_history.training_rows.size
        self.n_bytes = _NETWORK_BYTES + 2 * net.parameters.nbytes + 8 * (kept + rows)
        if net.posterior is not None:
            self.n_bytes += net.posterior.factor.nbytes


class _Counter(Callback):
    """Counts the iterations of a fit, after every chunk."""

    def __init__(self, counts: list[int], k: int) -> None:
        self._counts, self._k = counts, k

    def __call__(self, run: Run) -> None:
        self._counts[self._k] = run.iteration
