"""Batches of several sources together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.data.sources import Source, new_batches
from crabnet_jit.kernels.panels import panel_shape
from crabnet_jit.kernels.structs import Batches


class JointSource(Source):
    """Batches whose panels are those of several sources, one after the other.

    Parameters
    ----------
    targeted : Source or None
        The first source, if its targets count.
    others : sequence of Source
        Sources whose targets do not count; their rows of `target` are 0.
    are_whole : bool
        As in `fill_for_kernels`, for the targets of the first source.

    Attributes
    ----------
    firsts : list of int
        The first panel of each source.
    """

    def __init__(self, targeted: Source | None, others: Sequence[Source], *, are_whole: bool) -> None:
        self._targeted, self._are_whole = targeted, are_whole
        self._sources = [*others] if targeted is None else [targeted, *others]
        counts = [panel_shape(source.batch_size)[0] for source in self._sources]
        self.firsts = [sum(counts[:k]) for k in range(len(counts))]
        self.in_features = self._sources[0].in_features
        self.out_features = 0
        if targeted is not None:
            self.out_features = targeted.out_features
            self.has_gaps, self.has_derivatives = targeted.has_gaps, targeted.has_derivatives
        self.batch_size = sum(counts) * panel_shape(1)[1]
        self.is_constant = all(
            check.flag("source.is_constant", source.is_constant) for source in self._sources
        )
        self._constant: dict[int, Batches] = {}  # for sources that always give the same batch

    @property
    def stream(self) -> Any:
        """Those of all sources."""
        return [source.stream for source in self._sources]

    @stream.setter
    def stream(self, states: Any) -> None:
        for source, state in zip(self._sources, states, strict=True):
            if state is not None:
                source.stream = state
        self._constant.clear()

    @property
    def configuration(self) -> Any:
        """Those of all sources."""
        return [source.configuration for source in self._sources]

    def fill(self, iteration: int, batches: Batches) -> None:
        """Overwrite the panels with the batches from `iteration` on, as kernels read them."""
        for k, (source, first) in enumerate(zip(self._sources, self.firsts, strict=True)):
            part = self._part(k, iteration, len(batches.x), batches.x.dtype)
            end = first + part.x.shape[1]
            batches.x[:, first:end], batches.weight[:, first:end] = part.x, part.weight
            batches.target[:, first:end] = part.target if source is self._targeted else 0.0

    def fill_for_kernels(self, first: int, batches: Batches, *, are_whole: bool) -> None:
        """The same."""
        self.fill(first, batches)

    def _part(self, k: int, iteration: int, n_iterations: int, dtype: "np.dtype[Any]") -> Batches:
        """The batches of one source; of a constant one, its only batch."""
        if k in self._constant:
            return self._constant[k]
        source = self._sources[k]
        n = 1 if source.is_constant else n_iterations
        n_weights = 2 if source.has_derivatives else 1
        sizes = n, source.in_features, source.n_targets, source.batch_size
        part = new_batches(*sizes, dtype, n_weights=n_weights)
        source.fill_for_kernels(iteration, part, are_whole=self._are_whole)
        if source.is_constant:
            self._constant[k] = part
        return part
