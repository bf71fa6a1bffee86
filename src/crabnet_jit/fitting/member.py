"""One of many fits, here or on another machine."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.fitting.fit import fit
from crabnet_jit.fitting.shared import Shared
from crabnet_jit.network.history import FitHistory
from crabnet_jit.network.network import NN
from crabnet_jit.training.run import Callback

Outcome = NN | FloatingPointError


class Members(NamedTuple):
    """What many fits share: their data, and arguments of `fit`, which those of each fit override."""

    x: Shared
    y: Any
    options: Mapping[str, Any]

    def fit(self, own: Mapping[str, Any], *callbacks: Callback) -> NN:
        """The network of a spec."""
        return fit(self.x, self.y, **{**self.options, **own, "callbacks": callbacks})

    def outcome(self, k: int, own: Mapping[str, Any], *callbacks: Callback) -> Outcome:
        """The network of specs[k], or the error of a fit that diverged."""
        try:
            return self.fit(own, *callbacks)
        except FloatingPointError as error:
            return error
        except Exception as error:
            error.add_note(f"in the fit of specs[{k}]")
            raise


class Travelled(NamedTuple):
    """An outcome to be sent; the pickle of a network does not contain its history."""

    outcome: Outcome
    history: FitHistory | None

    @classmethod
    def of(cls, outcome: Outcome) -> "Travelled":
        """Make one from the outcome of a fit."""
        return cls(outcome, outcome.fit_history if isinstance(outcome, NN) else None)

    def arrived(self, rows: NDArray[Any] | None) -> Outcome:
        """The outcome; `rows` are the training rows of others, which the network shares if they are equal."""
        if isinstance(self.outcome, NN) and self.history is not None:
            own = self.history
            if rows is not None and np.array_equal(rows, own.training_rows):
                own = own._replace(training_rows=rows)
            self.outcome.fit_history = own
        return self.outcome
