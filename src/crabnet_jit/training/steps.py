"""Training steps: a network in training, with everything that its next steps depend on.

They are taken a chunk of iterations at a time. This module knows neither callbacks nor the end of a run;
loop.py drives it.
"""

import importlib
import math
from typing import Any

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.data.sources import Source
from crabnet_jit.kernels.panels import panel_shape
from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.network.history import History
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.summary import brief
from crabnet_jit.training.chunks import Chunk, Chunks
from crabnet_jit.training.divergence import Divergence, DivergenceError
from crabnet_jit.training.dropout import Dropout
from crabnet_jit.training.sampling import joined
from crabnet_jit.training.settings import Settings
from crabnet_jit.training.state import TrainerState


class Steps:
    """The state of a training, and steps that change it.

    Attributes
    ----------
    history : History
        All iterations so far.
    optimizer_state : OptimizerState
        The optimiser's state.
    chunks : Chunks or SecondOrderChunks
        The compiled iterations.
    end : str or None
        Why training is over, if it is: the optimiser cannot go on.
    """

    end: str | None = None

    def __init__(
        self, net: NN, source: Source | None, settings: Settings, residuals: tuple[Any, ...] = ()
    ) -> None:
        self._net = net
        self._residuals = residuals
        self._samples, self._equations = joined(net, source, residuals, settings.loss)
        self.history = History(settings.log_every, settings.keep_losses, settings.learning_rate)
        self.optimizer_state = settings.optimizer.init(net.parameters)
        panels = panel_shape(self._samples.batch_size)
        self._dropout = Dropout(net.hidden_sizes, settings.dropout, settings.dropout_stream, *panels)
        self.chunks = self._new_chunks(settings)
        self._divergence = Divergence(settings.on_divergence)
        self._has_rates = not settings.optimizer.is_second_order
        self._last_rate = math.nan
        # Parameters that the network has between runs, and those from which training goes on.
        self._lent: tuple[Array, Array] | None = None

    def _new_chunks(self, settings: Settings) -> Any:
        """The optimiser's compiled iterations; those of second order are imported when they are needed."""
        rule, state = settings.optimizer, self.optimizer_state
        if not rule.is_second_order:
            return Chunks(self._net, self._samples, settings, state, self._dropout, self._equations)
        module, kind = (
            ("evidence", "EvidenceChunks") if rule.has_evidence else ("second_order", "SecondOrderChunks")
        )
        chunks = getattr(importlib.import_module(f"crabnet_jit.training.{module}"), kind)
        more = (self._equations,) if self._equations else ()
        return chunks(self._net, self._samples, settings, state, *more)

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self.history.n_iterations

    @property
    def last_rate(self) -> float:
        """The learning rate of the last iteration done; NaN before the first."""
        if math.isnan(self._last_rate) and self.iteration > 0:
            self._last_rate = float(self.history.learning_rates(np.array([self.iteration - 1]))[0])
        return self._last_rate

    @property
    def source_configuration(self) -> object:
        """Everything that the batches depend on besides their stream."""
        return self._samples.configuration

    def compile(self) -> None:
        """Compile what a chunk needs, or load it from the cache on disk."""
        chunk = self.chunks.prepare(self.iteration, 0)
        self.chunks.run(chunk)
        self.chunks.give_back(chunk)

    def advance(self, pause: int, interruptible: Interruptible) -> None:
        """Train until the iteration `pause` or the end of a chunk; stop earlier if a signal arrives."""
        first = self.iteration
        earliest = self._divergence.pause(first, self.state)
        n = min(pause if earliest is None else min(pause, earliest), first + self.chunks.size) - first
        chunk = self.chunks.prepare(first, n, self._divergence.rate_scale)
        self.history.reserve(n)
        interruptible.hold()
        try:
            n_done = self.chunks.run(chunk, interruptible.flag)
            is_interrupted = interruptible.is_interrupted()
            if n_done > 0:
                self._divergence.n_skipped = 0
                self.history.extend(chunk.losses[:n_done])
                self._last_rate = float(chunk.learning_rates[n_done - 1])
            self.end = self.chunks.end
            if n_done < n and not is_interrupted and self.end is None:
                self._diverged(chunk, n_done)
        finally:
            self.chunks.give_back(chunk)
            interruptible.release()

    def _diverged(self, chunk: Chunk, k: int) -> None:
        """Handle a bad step, iteration k of a chunk, as `on_divergence` says: by an error or otherwise."""
        loss = float(chunk.losses[k])
        if self._divergence.may_skip():
            self._last_rate = float(chunk.learning_rates[k])
            self.history.events.append((self.iteration, "skipped a step"))
            self.history.extend(np.array([loss]))
        elif (point := self._divergence.return_point()) is not None:
            event = (
                f"went back from iteration {self.iteration}, with {point.rate_scale:g} of the learning rate"
            )
            self.go_to(point, event, is_own=True)
        else:
            window = self.history.window()
            finite = window[np.isfinite(window)]
            last_loss = float(finite[-1]) if finite.size > 0 else None
            equation = None
            if self._residuals and not math.isfinite(loss):
                bad = self.chunks.first_bad_equation(chunk, k)
                equation = None if bad is None else brief(self._residuals[bad].function)
            raise DivergenceError(self.iteration, loss, last_loss, self._has_rates, equation)

    def best_parameters(self) -> Array | None:
        """The best parameters that the optimiser has found so far, if better than the last ones."""
        best: Array | None = self.chunks.best_parameters()
        return best

    def posterior(self) -> Posterior | None:
        """The uncertainty of the network's present parameters, if the optimiser estimates it."""
        found: Posterior | None = self.chunks.posterior()
        return found

    def lend_parameters(self, parameters: Array) -> None:
        """Give the network these parameters, such as the best of a run, until `take_back_parameters`."""
        self._lent = parameters.copy(), self._net.parameters.copy()
        self._net.parameters = parameters

    def take_back_parameters(self) -> None:
        """Give the network its own parameters back, unless they have been changed meanwhile."""
        if self._lent is not None:
            self._net.parameters[:], self._lent = self._own_parameters(), None

    def _own_parameters(self) -> Array:
        """Where the next step starts: the network's parameters, unless they are lent ones, unchanged."""
        if self._lent is not None and np.array_equal(self._lent[0], self._net.parameters):
            return self._lent[1]
        return self._net.parameters

    def state(self) -> TrainerState:
        """A copy of everything that the next steps depend on besides the settings."""
        return TrainerState(
            self.iteration,
            self._divergence.rate_scale,
            self._divergence.n_skipped,
            self._samples.stream,
            self._dropout.stream,
            self._own_parameters().copy(),
            self.optimizer_state.buffers.copy(),
            self.optimizer_state.numbers.copy(),
            self.history.window(),
            self._divergence.return_points,
        )

    def go_to(self, state: TrainerState, event: str, *, is_own: bool = False) -> None:
        """Go on from a state, which may be this run's own; add an event to the history."""
        self._net.parameters[:] = state.parameters
        self._lent = None
        self.optimizer_state.buffers[:] = state.optimizer_buffers
        self.optimizer_state.numbers[:] = state.optimizer_numbers
        if state.source_stream is not None:
            self._samples.stream = state.source_stream
        self._dropout.stream = state.dropout_stream
        self.chunks.fill_constant()
        self._divergence.restore(state)
        self._last_rate = math.nan
        self.history.go_to(state.iteration, state.window, event, state.rate_scale, is_own=is_own)
