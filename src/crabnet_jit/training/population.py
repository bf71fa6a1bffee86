"""Trainers that run side by side."""

import warnings
from collections.abc import Sequence
from typing import Any

from crabnet_jit import check
from crabnet_jit.network.history import History
from crabnet_jit.summary import counted, summary
from crabnet_jit.training.threads import run_on_threads, threads_of
from crabnet_jit.training.trainer import Trainer

_MAX_TOLD = 5  # members in one message


class Population:
    """Trainers that run side by side, on threads; each gives the same bits as alone.

    For sources of your own; for a data set there is `fit_many`.

    Parameters
    ----------
    trainers : sequence of Trainer
        Each with a network of its own. Sources may be shared. One whose `fill` is written in Python holds the
        others up, since Python runs on one thread at a time.

    Attributes
    ----------
    trainers : tuple of Trainer
    errors : dict of int to FloatingPointError
        Of the last run, the errors of trainers that diverged, by their places.

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
        """Train all for `n_iterations` more iterations.

        Ctrl-C is answered within a tenth of a second: `KeyboardInterrupt` is raised when each trainer stands
        between two iterations, from which it can go on. A trainer that diverges stops no other one.

        Parameters
        ----------
        n_iterations : int
            At least 0.
        n_threads : int or "auto", default "auto"
            At least 1; "auto" is the number of cores that this process may use. The results do not depend on
            it. With more there is a warning.

        Returns
        -------
        list of History
            Those of the trainers, in their order.

        Warns
        -----
        RuntimeWarning
            If trainers diverged, which ones; see `errors`.
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
    """Say which members have diverged, or what else has happened to them, if it has to any."""
    if not errors:
        return
    first, error = next(iter(errors.items()))
    places = ", ".join(map(str, [*errors][:_MAX_TOLD])) + (", …" if len(errors) > _MAX_TOLD else "")
    message = (
        f"{counted(len(errors), what)} {happened}, see `errors`: at {places}; of the one at {first}: {error}"
    )
    warnings.warn(message, RuntimeWarning, stacklevel=stacklevel)
