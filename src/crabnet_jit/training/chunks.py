"""Chunks of iterations: their buffers, and steps that are undone if they fail."""

import copy
import importlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from crabnet_jit import check
from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.components.schedules import rates_of
from crabnet_jit.components.update_rules import OptimizerState
from crabnet_jit.data.sources import Source, new_batches
from crabnet_jit.kernels.panels import panel_shape, plain_weights
from crabnet_jit.kernels.structs import Batches, Rule
from crabnet_jit.machine.signals import NEVER, Flag
from crabnet_jit.network.network import NN
from crabnet_jit.training.compiled import compiled
from crabnet_jit.training.dropout import Dropout
from crabnet_jit.training.objective import is_long
from crabnet_jit.training.settings import Settings

# Python takes about 20 us per chunk; this many iterations take 1.5 ms in the article's job …
_CHUNK_ITERATIONS = 4000
_CHUNK_NUMBERS = 2**18  # … this limits a chunk of large batches: 2 MB of samples and targets
_CHUNK_PRODUCTS = 2**31  # … and this one of large networks: about 0.1 s between returns to Python
_FREE_SHAPES = 4  # shapes for which a thread keeps buffers
_FREE_NUMBERS = 2 * _CHUNK_NUMBERS  # in each; larger buffers are freed with their trainer


class Buffers(NamedTuple):
    """The memory that a chunk is written to, and who used it last."""

    batches: Batches
    losses: Array
    owner: object


class _Free(threading.local):
    """The buffers of this thread that no chunk is using.

    They belong to the thread, not to a trainer: many trainers of a small network need no more memory than
    one. A trainer that runs inside another one's callback or source uses buffers of its own.
    """

    def __init__(self) -> None:
        self._by_shape: dict[str, Buffers] = {}

    def take(self, shape: str) -> Buffers | None:
        return self._by_shape.pop(shape, None)

    def give_back(self, shape: str, buffers: Buffers) -> None:
        self._by_shape[shape] = buffers
        if len(self._by_shape) > _FREE_SHAPES:
            del self._by_shape[next(iter(self._by_shape))]


_free = _Free()


class Chunk(NamedTuple):
    """The data that some iterations need."""

    batches: Batches
    learning_rates: Array
    losses: Array
    buffers: Buffers

    def part(self, start: int, end: int) -> "Chunk":
        """Some of its iterations; a batch that serves all of them is not cut."""

        def cut(panels: Array) -> Array:
            return panels[start:end] if len(panels) == self.losses.size else panels

        batches = Batches(*map(cut, self.batches))
        return self._replace(
            batches=batches, learning_rates=self.learning_rates[start:end], losses=self.losses[start:end]
        )


class Chunks:
    """The compiled iterations of a trainer, some at a time.

    Attributes
    ----------
    size : int
        The most iterations at a time.
    dropout : Dropout
        The masks.
    end : None
        Update rules can always go on.
    """

    end: str | None = None

    def __init__(
        self,
        net: NN,
        source: Source,
        settings: Settings,
        state: OptimizerState,
        dropout: Dropout,
        equations: Sequence[Any] = (),
    ) -> None:
        n_panels, width = panel_shape(source.batch_size)
        self.dropout = dropout
        self._source = source
        # Some schedules remember where they are, which is faster for one run only.
        self._schedule = copy.copy(settings.learning_rate)
        has_gaps = check.flag("source.has_gaps", source.has_gaps)
        has_derivatives = check.flag("source.has_derivatives", source.has_derivatives)
        self._rule = Rule(*state)
        self._network = net.kernel_view()
        self._compiled = compiled(
            net,
            settings.loss,
            settings.penalties.numbers(),
            equations[0].first if equations else n_panels,
            net.gradients,
            settings.optimizer.kernel,
            state.numbers,
            has_gaps=has_gaps,
            dy_weight=settings.dy_weight if has_derivatives else None,
            equations=equations,
            has_masks=dropout.n_units > 0,
        )
        self._is_constant = check.flag("source.is_constant", source.is_constant)
        has_weights = check.flag("source.has_weights", source.has_weights)
        self._has_weights = has_weights or has_gaps or has_derivatives
        self._takes_whole_samples = settings.loss.takes_whole_samples
        rows = dropout.n_units + (0 if self._is_constant else net.in_features + source.n_targets + 1)
        n_columns = n_panels * width * self._compiled.n_jets
        fitting = _fitting_size(net, n_panels * width * rows, n_columns)
        self.size = n = fitting if settings.chunk_size is None else settings.chunk_size
        self._n_weights = 2 if has_derivatives else 1
        self._sizes = source.batch_size, n_panels, net.in_features, source.n_targets, width, net.dtype
        self._constant = self._new_batches(1) if self._is_constant else None
        kind = self._is_constant, self._has_weights, self._n_weights, dropout.n_units
        self._shape = repr((n, *kind, *self._sizes))
        self._owner = object()
        self._is_large = n * (n_panels * width * rows + 1) > _FREE_NUMBERS
        self._large: Buffers | None = None
        self._team: Any = None
        if settings.n_threads > 1:
            team_run: Any = importlib.import_module("crabnet_jit.training.team_run")
            self._team = team_run.TeamRun.of(settings.n_threads, net, n_panels, self._compiled, n)
        self.fill_constant()
        self._is_long = is_long(n_columns, net)
        self._changing = net.parameters, *state  # these change in a step

    def best_parameters(self) -> None:
        """None: update rules know only the last parameters."""

    def posterior(self) -> None:
        """None: update rules do not find one."""

    def fill_constant(self) -> None:
        """Store the batch of a source that always gives the same one."""
        if self._constant is not None:
            self._fill(0, self._constant)

    def _new_batches(self, n: int) -> Batches:
        """Panels for n batches, with default weights, which a source may leave unchanged; without masks."""
        batch_size, _, n_in, n_targets, _, dtype = self._sizes
        sizes = n, n_in, n_targets, batch_size
        return new_batches(*sizes, dtype, has_weights=self._has_weights, n_weights=self._n_weights)

    def _buffers(self) -> Buffers:
        """Free buffers of this thread, or new ones."""
        buffers, self._large = self._large or _free.take(self._shape), None
        if buffers is not None and buffers.owner is self._owner:
            return buffers
        batch_size, n_panels, _, _, width, dtype = self._sizes
        if buffers is None:
            batches = self._new_batches(self.size) if self._constant is None else self._constant
            masks = aligned_zeros(self.size, n_panels, self.dropout.n_units, width, dtype=dtype)
            return Buffers(batches._replace(masks=masks), aligned_zeros(self.size), self._owner)
        batches = buffers.batches
        if self._constant is not None:
            batches = self._constant._replace(masks=batches.masks)
        else:
            batches.weight[:] = plain_weights(1, batch_size, dtype)  # another source may have changed them
        return Buffers(batches, buffers.losses, self._owner)

    def give_back(self, chunk: Chunk) -> None:
        """Make the chunk's buffers available to the next one."""
        buffers = chunk.buffers
        if self._constant is not None:  # a trainer's data are freed with it
            masks = buffers.batches._replace(x=None, target=None, weight=None)
            buffers = buffers._replace(batches=masks, owner=None)
        if self._is_large:
            self._large = buffers
        else:
            _free.give_back(self._shape, buffers)

    def _fill(self, first: int, batches: Batches) -> None:
        self._source.fill_for_kernels(first, batches, are_whole=self._takes_whole_samples)

    def prepare(self, first: int, n: int, rate_scale: float = 1.0) -> Chunk:
        """Fill the buffers for n iterations from `first` on; users' functions are called here."""
        # For n = 0, which only compiles, the rate of one iteration is requested.
        rates = rates_of(self._schedule, first, max(n, 1))[:n]
        buffers = self._buffers()
        batches = buffers.batches
        if n < self.size:
            batches = Batches(*(panels[:n] for panels in batches))
        if not self._is_constant:
            self._fill(first, batches)
        self.dropout.fill(first, batches.masks)
        rates = rates if rate_scale == 1.0 else rates * rate_scale
        return Chunk(batches, rates, buffers.losses[:n], buffers)

    def run(self, chunk: Chunk, interrupt: Flag = NEVER) -> int:
        """Take the steps of a chunk; return how many.

        There are fewer if the loss of the next one is not finite, or if its step would give parameters that
        are not; such a step is not taken. There are also fewer if `interrupt` is set. Losses after that of
        the next step are meaningless.
        """
        n_trial = n = chunk.losses.size
        if self._team is not None:
            n_trial = int(min(n, self._team.trial_size()))
        if 0 < n_trial < n:
            n_done = self.run(chunk.part(0, n_trial), interrupt)
            return n_done if n_done < n_trial else n_done + self.run(chunk.part(n_trial, n), interrupt)
        before = [values.copy() for values in self._changing]
        n_done, is_finite = 0, False
        arguments = self.arguments(chunk, interrupt)
        try:
            n_done, is_finite = (self._team or self._compiled).train(*arguments)
        finally:  # users' functions may raise an exception
            if not is_finite:
                for values, earlier in zip(self._changing, before, strict=True):
                    values[:] = earlier
        if is_finite:
            return int(n_done)
        if n <= 1:
            return 0
        first_half = self.run(chunk.part(0, n // 2), interrupt)
        if first_half < n // 2:
            return first_half
        return first_half + self.run(chunk.part(n // 2, n), interrupt)

    def first_bad_equation(self, chunk: Chunk, k: int) -> int | None:
        """The first equation whose loss is not finite in iteration k of a chunk; None if all are finite."""
        terms: Any = importlib.import_module("crabnet_jit.training.terms")
        parts, batches = self._compiled, chunk.part(k, k + 1).batches
        found: int | None = terms.first_bad_equation(
            self._network, parts.calls, parts.workspace, batches, parts.criterion
        )
        return found

    def arguments(self, chunk: Chunk, interrupt: Flag = NEVER) -> tuple[Any, ...]:
        """The kernel's arguments for a chunk."""
        workspace = self._compiled.workspace
        return (
            self._network,
            self._compiled.calls,
            workspace._replace(interrupt=interrupt) if self._is_long else workspace,
            chunk.batches,
            self._compiled.criterion,
            self._rule,
            chunk.learning_rates,
            interrupt,
            chunk.losses,
        )


def _fitting_size(net: NN, n_numbers: int, n_columns: int) -> int:
    """A good number of iterations for a chunk, given the numbers and the columns of a batch."""
    products = 3 * n_columns * net.parameters.size
    return max(1, min(_CHUNK_ITERATIONS, _CHUNK_NUMBERS // max(1, n_numbers), _CHUNK_PRODUCTS // products))
