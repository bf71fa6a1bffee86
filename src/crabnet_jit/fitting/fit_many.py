"""Many networks fitted to one data set, side by side."""

import contextlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError
from crabnet_jit.callbacks.progress import Meter
from crabnet_jit.data.random import as_rng
from crabnet_jit.fitting.fit import fit
from crabnet_jit.fitting.fits import Fits
from crabnet_jit.fitting.fits_file import Finished, check_place, identity, read_fits, write_fits
from crabnet_jit.fitting.shared import Shared, value_key
from crabnet_jit.fitting.specs import DEFAULTS, check_names
from crabnet_jit.machine import memory
from crabnet_jit.network.network import NN
from crabnet_jit.training.population import warn_of
from crabnet_jit.training.run import Callback, Run
from crabnet_jit.training.threads import run_on_threads, threads_of

#: Arguments of `fit` that concern all fits together, and hints for them.
_OF_THE_WHOLE = {
    "callbacks": "`progress` and `checkpoint` of fit_many are for all networks",
    "on_check": "`progress` of fit_many is for all networks",
    "resume": "`resume` of fit_many is for all networks",
}
_NETWORK_BYTES = 16_000  # for a network and its history, besides their numbers


def fit_many(
    specs: Sequence[Mapping[str, Any]],
    x: Any,
    y: Any,
    *,
    n_threads: int | str = "auto",
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    resume: str | PathLike[str] | None = None,
    **options: Any,
) -> Fits:
    """Fit many networks to one data set, on several threads.

    Network k is the same as from `fit(x, y, **specs[k])`, bit for bit. It does not depend on the number of
    threads, the order or the other networks. All share the data.

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
        For wrong arguments, before any network is trained; the message says in which spec.
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
    n = threads_of(n_threads, stacklevel=3)
    show, seconds = (
        check.flag("progress", progress),
        check.number("checkpoint_seconds", checkpoint_seconds, 0.0),
    )
    to = None if checkpoint is None else check_place("checkpoint", checkpoint)
    many = _Many(_checked(specs, options), x, y)
    if resume is not None:
        many.take(resume)
    many.check_memory()
    many.train(n, show, to, seconds)
    warn_of(many.errors, "network", stacklevel=3)
    return Fits(many.results, many.errors)


def _checked(specs: Any, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All arguments of each fit, including defaults; those that it may not have are rejected."""
    if isinstance(specs, (Mapping, str, bytes)) or not check.is_iterable(specs):
        raise check.reject("specs", "a sequence of dicts", check.shown(specs))
    check_names("fit_many", options, _OF_THE_WHOLE)
    result = []
    for k, spec in enumerate(specs):
        if not isinstance(spec, Mapping):
            raise check.reject(f"specs[{k}]", "a dict of arguments of fit", check.shown(spec))
        check_names(f"specs[{k}]", spec, _OF_THE_WHOLE)
        result.append({**DEFAULTS, **options, **spec})
    return result


@contextlib.contextmanager
def _naming(k: int) -> Iterator[None]:
    """A block whose errors name the spec k."""
    try:
        yield
    except check.InvalidArgumentError as error:
        raise check.InvalidArgumentError(f"specs[{k}]: {error}") from None


class _Many:
    """The fits of a call, and their state."""

    def __init__(self, specs: list[dict[str, Any]], x: Any, y: Any) -> None:
        self._specs, self._x, self._y = specs, Shared(x), y
        self.results: list[NN | None] = [None] * len(specs)
        self.errors: dict[int, FloatingPointError] = {}
        self._is_done = [False] * len(specs)
        self._n_done = [0] * len(specs)  # iterations
        self._n_bytes = 0
        self._lengths: list[int] = []  # iterations
        known: dict[Any, _Rehearsal] = {}
        for k, spec in enumerate(specs):
            key = tuple((name, value_key(value)) for name, value in spec.items() if name != "seed")
            with _naming(k):
                as_rng("seed", spec["seed"])
                if key not in known:
                    known[key] = self._rehearse(k)
            self._lengths.append(known[key].end)
            self._n_bytes += known[key].n_bytes

    def _rehearse(self, k: int) -> "_Rehearsal":
        """A fit without iterations, which finds errors in its arguments."""
        rehearsal = _Rehearsal()
        with contextlib.suppress(FloatingPointError):  # a validation loss that is not finite yet
            rehearsal.see(self._untrained(k, rehearsal), self._specs[k])
        return rehearsal

    def _untrained(self, k: int, rehearsal: "_Rehearsal") -> NN:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the search for", RuntimeWarning)  # the search has not begun
            return self._fit(k, rehearsal)

    def _fit(self, k: int, *callbacks: Callback) -> NN:
        return fit(self._x, self._y, **{**self._specs[k], "callbacks": callbacks})

    def _identity(self, k: int) -> str:
        return identity(self._x, self._y, self._specs[k])

    def take(self, path: str | PathLike[str]) -> None:
        """Take the networks of a checkpoint."""
        for k, finished in read_fits(path).items():
            if k >= len(self._specs) or finished.identity != self._identity(k):
                raise FileFormatError(f"{path} belongs to other specs or data: they differ at specs[{k}]")
            if isinstance(finished.found, FloatingPointError):
                self.errors[k] = finished.found
            else:
                self.results[k] = finished.network(self._untrained(k, _Rehearsal()))
            self._is_done[k], self._n_done[k] = True, self._lengths[k]

    def check_memory(self) -> None:
        """Raise an error if the results do not fit into memory."""
        free = memory.available()
        if free is not None and self._n_bytes > free:
            raise MemoryError(
                f"{len(self._specs):,} networks with their histories need {self._n_bytes / 1e9:,.1f} GB, "
                f"but only {free / 1e9:,.1f} GB is free; keep_losses=0 keeps fewer losses"
            )

    def train(self, n_threads: int, progress: bool, checkpoint: Any, seconds: float) -> None:
        """Train the networks that are not done."""
        left = [k for k, is_done in enumerate(self._is_done) if not is_done]
        meter = Meter()
        next_save = time.perf_counter() + seconds

        def train(i: int) -> None:
            k = left[i]
            try:
                self.results[k] = self._fit(k, _Counter(self._n_done, k))
            except FloatingPointError as error:
                self.errors[k] = error
            except Exception as error:
                error.add_note(f"in the fit of specs[{k}]")
                raise
            self._is_done[k], self._n_done[k] = True, self._lengths[k]

        def show() -> None:
            done = f"{sum(self._is_done)}/{len(self._specs)} networks"
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
            run_on_threads(train, len(left), n_threads, watch)
        finally:
            if progress:
                show()
                meter.close()
            if checkpoint is not None:
                self._save(checkpoint)
        self.errors = dict(sorted(self.errors.items()))

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


class _Rehearsal(Callback):
    """Ends a run before its first iteration, and records what it would need.

    Attributes
    ----------
    end : int
        Its iterations.
    n_bytes : int
        Memory for its result.
    """

    end = n_bytes = 0

    def start(self, run: Run) -> None:
        self.end = run.end
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
