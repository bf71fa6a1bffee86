"""The result of `fit_many`: networks, and the errors of those that diverged; the error of a cluster."""

from collections.abc import Iterable

from crabnet_jit.network.network import NN
from crabnet_jit.summary import counted, summary


class ClusterError(RuntimeError):
    """A cluster could not do what it was asked for.

    Attributes
    ----------
    fits : Fits or None
        The networks that `fit_many` had by then, with None for each unfinished one.
    """

    fits: "Fits | None" = None


class Fits(list[NN | None]):
    """Networks in the order of their specs, with None for each that diverged.

    Attributes
    ----------
    errors : dict of int to FloatingPointError
        The errors of those that diverged, by their index.

    Examples
    --------
    >>> from crabnet_jit import fit_many
    >>> fits = fit_many([{"seed": 1}, {"seed": 2}], [0.0, 1.0, 2.0], [0.0, 1.0, 4.0], n_iterations=10)
    >>> fits
    Fits(2 networks)
    >>> len(fits.networks), fits.errors
    (2, {})
    """

    def __init__(self, networks: Iterable[NN | None], errors: dict[int, FloatingPointError]) -> None:
        super().__init__(networks)
        self.errors = errors

    @property
    def networks(self) -> list[NN]:
        """The networks that did not diverge."""
        return [net for net in self if net is not None]

    def __repr__(self) -> str:
        facts = [counted(len(self), "network")]
        if self.errors:
            facts.append(f"{len(self.errors):,} of them diverged")
        return summary(self, *facts)
