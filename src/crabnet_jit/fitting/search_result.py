"""The result of `search`: the best network, and a table of everything that was tried."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from crabnet_jit.fitting.halving import Candidate
from crabnet_jit.network.network import NN
from crabnet_jit.summary import brief, counted, summary


class SearchResult:
    """The result of a search by successive halving, which may be incomplete.

    Attributes
    ----------
    best_network : NN
        The network with the lowest validation loss.
    best_arguments : dict
        Its arguments from the space.
    best_loss : float
        Its validation loss. It is too low for new data: it was chosen. See `search`.
    best_index : int
        Its row in the table.
    table : list of dict
        A row for each candidate, in the order in which they were drawn: its arguments; `validation_loss`;
        `rung`, the number of rungs that it has reached; `iterations` that it has done; `seconds` that these
        took; and `error`, a string or None.
    rungs : list of float
        Shares of the iterations of a fit, after which candidates were compared.
    rung_losses : list of list of float
        For each candidate, its validation losses at the rungs that it has reached.
    errors : dict of int to Exception
        The errors of candidates that diverged, or whose arguments were wrong.
    validation : ndarray of bool (n_samples,), or tuple
        Which samples were set aside, or the validation set that was given. `fit(x, y, seed=seed,
        validation=result.validation, **result.best_arguments)` gives the best network again, bit for bit.
    is_complete : bool
        Whether the search was completed; False after Ctrl-C.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import search
    >>> x = np.linspace(0, 10, 100)
    >>> space = {"hidden_sizes": [(1,), (16,)]}
    >>> result = search(space, x, np.sin(x), learning_rate=0.01, n_iterations=3000)
    >>> result
    SearchResult(2 candidates, best_loss=0.007..., best_arguments={'hidden_sizes': (16,)})
    >>> sorted(row["hidden_sizes"] for row in result.table)
    [(1,), (16,)]
    """

    #: Columns of the table besides the arguments.
    COLUMNS = ("validation_loss", "rung", "iterations", "seconds", "error")

    def __init__(
        self,
        candidates: Sequence[Candidate],
        best: Candidate,
        network: NN,
        names: Sequence[str],
        rungs: Sequence[float],
        validation: Any,
        *,
        is_complete: bool,
    ) -> None:
        self.best_network, self.best_arguments = network, dict(best.arguments)
        self.best_loss, self.best_index = best.loss, best.k
        self.table = [_row(candidate, names) for candidate in candidates]
        self.rungs, self.rung_losses = [*rungs], [[*candidate.losses] for candidate in candidates]
        self.errors = errors_of(candidates)
        self.validation, self.is_complete = validation, is_complete

    def __repr__(self) -> str:
        facts = [counted(len(self.table), "candidate")]
        if self.errors:
            facts.append(f"{len(self.errors):,} of them failed")
        if not self.is_complete:
            facts.append("interrupted")
        best = f"best_loss={brief(self.best_loss)}", f"best_arguments={self.best_arguments!r}"
        return summary(self, *facts, *best)

    def to_frame(self) -> Any:
        """The table as a data frame of pandas, which must be installed."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install pandas; `table` has the same") from None
        return pandas.DataFrame(self.table)


def errors_of(candidates: Sequence[Candidate]) -> dict[int, Exception]:
    """The errors of candidates that failed, by number."""
    stages = ((one.k, one.stage) for one in candidates)
    return {k: stage.error for k, stage in stages if stage is not None and stage.error is not None}


def _row(candidate: Candidate, names: Sequence[str]) -> Mapping[str, Any]:
    stage = candidate.stage
    error = None if stage is None or stage.error is None else str(stage.error)
    found = candidate.loss, len(candidate.losses), stage.iteration if stage else 0, candidate.seconds, error
    arguments = {name: candidate.arguments.get(name) for name in names}
    return arguments | dict(zip(SearchResult.COLUMNS, found, strict=True))
