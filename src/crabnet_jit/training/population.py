"""Trainers that run side by side."""

import warnings
from collections.abc import Sequence
from typing import Any

from crabnet_jit import check
from crabnet_jit.network.history import History
from crabnet_jit.summary import counted, summary
from crabnet_jit.training.threads import run_on_threads, threads_of
from crabnet_jit.training.trainer import Trainer

_MAX_TOLD = 5  # members that one message lists


class Population:
    """Trainers that run side by side, on threads; each gives the same bits as it does alone.

    This is for sources of your own; for a data set, there is `fit_many`.

    Parameters
    ----------
    trainers : sequence of Trainer
        Each has a network of its own. Sources may be shared. A source whose `fill` is written in Python
        delays the other trainers, since Python runs on one thread at a time.

    Attributes
    ----------
    trainers : tuple of Trainer
    errors : dict of int to FloatingPointError
        The errors of trainers that diverged in the last run, by their index.

    Examples
    --------
    >>> from crabnet_jit import NN, Population, StandardGaussian, Trainer, UniformSource
    >>> source = UniformSource(StandardGaussian(), rng=1)
    >>> trainers = [Trainer(NN(2, [8, 8], 1, rng=seed), source) for seed in range(3)]
    >>> [history.n_iterations for history in Population(trainers).run(1000)]
    [1000, 1000, 1000]
    """

    @check.keywords
    def __init__(self, trainers: Sequence[Trainer]) -> None:
        if not check.is_iterable(trainers):
            raise check.reject("trainers", "a sequence of trainers", repr(trainers))
        self.trainers = tuple(trainers)
        of_nets: dict[int, int] = {}
        for k, trainer in enumerate(self.trainers):
            check.instance(f"trainers[{k}]", trainer, Trainer, "a Trainer")
            first = of_nets.setdefault(id(trainer.net), k)
            if first != k:
                raise check.reject(f"trainers[{k}].net", "a network of its own", f"that of trainers[{first}]")
        self.errors: dict[int, FloatingPointError] = {}

    def __len__(self) -> int:
        return len(self.trainers)

    def __repr__(self) -> str:
        return summary(self, counted(len(self), "trainer"))

    @check.keywords
    def run(self, n_iterations: int, n_threads: int | str = "auto") -> list[History]:
        """Train all of them for `n_iterations` more iterations.

        Ctrl-C is answered within a tenth of a second: `KeyboardInterrupt` is raised when each trainer is
        between two iterations, and it can go on from there. A trainer that diverges does not stop the others.

        Parameters
        ----------
        n_iterations : int
            At least 0.
        n_threads : int or "auto", default "auto"
            At least 1; "auto" is the number of cores that this process may use; more than that gives a
            warning. The results do not depend on it.

        Returns
        -------
        list of History
            The histories of the trainers, in the same order.

        Warns
        -----
        RuntimeWarning
            If trainers diverged; it says which ones. See `errors`.
        """
        n = check.integer("n_iterations", n_iterations, 0)
        errors: dict[int, FloatingPointError] = {}

        def run(k: int) -> None:
            try:
                self.trainers[k].run(n)
            except FloatingPointError as error:
                errors[k] = error

        run_on_threads(run, len(self), threads_of(n_threads, stacklevel=4), lambda: None)
        self.errors = dict(sorted(errors.items()))
        warn_of(self.errors, "trainer", stacklevel=4)
        return [trainer.history for trainer in self.trainers]


def warn_of(errors: dict[int, Any], what: str, stacklevel: int, happened: str = "diverged") -> None:
    """Warn of members that have diverged, or to which something else has happened, if there are any."""
    if not errors:
        return
    first, error = next(iter(errors.items()))
    places = ", ".join(map(str, [*errors][:_MAX_TOLD])) + (", …" if len(errors) > _MAX_TOLD else "")
    message = (
        f"{counted(len(errors), what)} {happened}, see `errors`: at {places}; the one at {first}: {error}"
    )
    warnings.warn(message, RuntimeWarning, stacklevel=stacklevel)
