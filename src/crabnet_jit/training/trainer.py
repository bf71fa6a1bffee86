"""The training run: chunks of iterations in compiled code, Python in control between them."""

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, NoReturn

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss, as_loss
from crabnet_jit.components.optimizers import Optimizer, OptimizerState, as_optimizer
from crabnet_jit.components.schedules import ExponentialDecay, Schedule, as_schedule
from crabnet_jit.data.random import DROPOUT, StdRng, as_rng
from crabnet_jit.data.sources import ArraySource, Source
from crabnet_jit.kernels.panels import panel_shape
from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.network.history import History
from crabnet_jit.network.network import NN
from crabnet_jit.training.dropout import Dropout
from crabnet_jit.training.objective import criterion_of
from crabnet_jit.training.run import Callback, Run, as_callbacks, keyed
from crabnet_jit.training.state import Saved, TrainerState, describe, read_checkpoint, write_checkpoint
from crabnet_jit.training.steps import Chunks

_POLICIES = ("raise", "skip", "lower_rate")
_RETURN_EVERY = 1000  # iterations; "lower_rate" goes back to the last but one multiple
_LOWEST_RATE_SCALE = 2.0**-30
_MOST_SKIPPED = 1000  # in a row


class DivergenceError(FloatingPointError):
    """A loss, or what its step would make of the parameters or of the optimiser's state, is infinite or NaN.

    Attributes
    ----------
    iteration : int
        The first such iteration. Its step was not taken.
    loss : float
        Its loss.
    last_loss : float or None
        The last finite loss before it.
    """

    def __init__(self, iteration: int, loss: float, last_loss: float | None) -> None:
        super().__init__(iteration, loss, last_loss)
        self.iteration, self.loss, self.last_loss = iteration, loss, last_loss

    def __str__(self) -> str:
        what = f"the loss became {self.loss} in iteration {self.iteration}"
        if math.isfinite(self.loss):
            what = (
                f"parameters would become infinite or NaN in iteration {self.iteration}, "
                "or what the optimiser remembers"
            )
        before = "no loss was finite"
        if self.last_loss is not None:
            before = f"the last finite loss was {self.last_loss:.6g}"
        return (
            f"{what}: the run diverged; {before}. Likely causes: a learning_rate that is too large (a "
            "smaller learning_rate or clip_norm may help), data that are not standardised, large initial "
            "parameters. The parameters are those before that step"
        )


class Trainer:
    """Training in compiled chunks; by default the article's job.

    Iteration i takes a batch from the source, goes forward, computes the loss, goes backward, and lets
    the optimiser change the parameters with the schedule's learning rate for i.

    Parameters
    ----------
    net : NN
        The network; its parameters are updated in place.
    source : Source
        Where batches come from, for example `UniformSource(StandardGaussian(), rng=1)`, in the units of the
        data: for a network with a `standardization` they are standardised here, and losses are those of
        standardised targets. Of sources of this package a trainer has a copy, so several may share one.
    loss : Loss or str, default "mse"
        A name from `LOSSES` or an object like `Huber(0.1)`.
    optimizer : Optimizer or str, default "sgd"
        A name from `OPTIMIZERS` or an object like `Adam(betas=(0.9, 0.99))`.
    learning_rate : float or callable, optional
        A number for a constant rate; or a schedule, any function of an array of iteration numbers that
        gives their rates. By default that of the article, `ExponentialDecay(0.002, 0.99999)`.
    l1, l2 : float, default 0.0
        At least 0. Adds l1 * sign(p) + l2 * p to the gradient of every parameter p, biases included,
        as a penalty l1 * |p| + l2 / 2 * p^2 would. The losses that the history keeps are without it.
    clip_value, clip_norm : float, optional
        Above 0. Largest size of a component of the gradient, then of its Euclidean norm; after l1 and l2.
    dropout : float or sequence of float, default 0.0
        Chance of every hidden unit to be 0 for a sample and an iteration, at least 0 and below 1; or one for
        each hidden layer. What is left is divided by 1 - dropout [1]_.
    rng : StdRng or int, default 0
        A generator or a seed for dropout. It does not move.
    log_every : int, default 10000
        Iterations between two entries of the log.
    keep_losses : int, optional
        How many of the last losses the history keeps at least; by default all, 8 bytes for each.
    on_divergence : {"raise", "skip", "lower_rate"}, default "raise"
        What to do when a loss, or what its step would make of the parameters or of what the optimiser
        remembers, is infinite or NaN: raise
        `DivergenceError`; go on without that step; or go back, 1,000 to 2,000 iterations or to the start,
        and go on with half the learning rate. After 1,000 skipped steps in a row, or 30 halvings, it is an
        error, too.
    chunk_size : int, optional
        Iterations in one compiled call. The result does not depend on it, not in a bit.

    Attributes
    ----------
    history : History
        All iterations so far.
    iteration : int
        How many those are.
    chunk_size : int
        Iterations in one compiled call.
    net, source, loss, optimizer, learning_rate
        What was given; they cannot be replaced.
    optimizer_state : OptimizerState
        What the optimiser remembers.

    Raises
    ------
    InvalidArgumentError
        For arguments out of range, or a source whose widths are not the network's.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014.

    Examples
    --------
    >>> from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource
    >>> rng = StdRng(1)
    >>> net = NN(2, [8, 8], 1, rng)
    >>> trainer = Trainer(net, UniformSource(StandardGaussian(), rng=rng))
    >>> trainer.run(1000).log
    [(0, 0.587796146189662...)]
    """

    @check.keywords
    def __init__(
        self,
        net: NN,
        source: Source,
        *,
        loss: Loss | str = "mse",
        optimizer: Optimizer | str = "sgd",
        learning_rate: float | Schedule | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        dropout: float | Sequence[float] = 0.0,
        rng: StdRng | int = 0,
        log_every: int = 10_000,
        keep_losses: int | None = None,
        on_divergence: str = "raise",
        chunk_size: int | None = None,
    ) -> None:
        check.instance("net", net, NN, "an NN")
        check.instance("source", source, Source, "a Source, such as ArraySource(x, y)")
        for name in ("in_features", "out_features"):
            of_net, of_source = (
                getattr(net, name),
                check.integer(f"source.{name}", getattr(source, name, None), 1),
            )
            if of_source != of_net:
                raise check.reject(f"source.{name}", f"the network's {of_net}", repr(of_source))
        self._net = net
        self._source = source
        self._samples = source.copy()
        if net.standardization is not None:
            self._samples = self._samples.standardized(net.standardization, net.dtype)
        self._standardization = net.standardization
        self._loss = as_loss("loss", loss)
        if isinstance(source, ArraySource):
            self._loss.check_targets("y", source.targets)
        self._optimizer = as_optimizer("optimizer", optimizer)
        schedule = ExponentialDecay() if learning_rate is None else learning_rate
        self._learning_rate = as_schedule("learning_rate", schedule)
        self._optimizer_state = self._optimizer.init(net.parameters)
        criterion = criterion_of(self._loss, l1, l2, clip_value, clip_norm)
        batch_size = check.integer("source.batch_size", getattr(source, "batch_size", None), 1, 2**50)
        n_panels, width = panel_shape(batch_size, net.dtype)
        self._dropout = Dropout(net, dropout, as_rng("rng", rng, DROPOUT), n_panels, width)
        self._chunks = Chunks(
            net,
            self._samples,
            self._loss,
            criterion,
            self._optimizer,
            self._optimizer_state,
            self._dropout,
            self._learning_rate,
            None if chunk_size is None else check.integer("chunk_size", chunk_size, 1, 2**31),
        )
        self.history = History(log_every, keep_losses, self._learning_rate)
        self._on_divergence = check.choice("on_divergence", on_divergence, _POLICIES)
        self._rate_scale = 1.0
        self._n_skipped = 0
        self._last_rate = math.nan
        self._return_points: tuple[TrainerState, ...] = ()
        self._untold: deque[tuple[int, float]] = deque()  # entries of the log that on_log has not seen
        self._callback_states: dict[str, Any] = {}
        self._lent: tuple[Array, Array] | None = None  # to the network at the end of a run, and its own
        self._is_running = threading.Lock()
        self._options = l1, l2, clip_value, clip_norm, on_divergence

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, it holds addresses of machine code; "
            "copy or pickle its network, or use save_checkpoint"
        )

    @property
    def net(self) -> NN:
        """The network; the buffers fit no other, so it cannot be replaced."""
        return self._net

    @property
    def source(self) -> Source:
        """Where batches come from; it cannot be replaced either."""
        return self._source

    @property
    def loss(self) -> Loss:
        """What is minimised, without penalties."""
        return self._loss

    @property
    def optimizer(self) -> Optimizer:
        """The update rule."""
        return self._optimizer

    @property
    def optimizer_state(self) -> OptimizerState:
        """What the optimiser remembers; its arrays are the run's own."""
        return self._optimizer_state

    @property
    def learning_rate(self) -> Schedule:
        """The schedule."""
        return self._learning_rate

    @property
    def chunk_size(self) -> int:
        """Iterations in one compiled call."""
        return self._chunks.size

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

    def compile(self) -> None:
        """Compile what a run needs, or load it from the cache on disk; otherwise the first run does it."""
        with Interruptible() as interruptible, self._alone(interruptible):
            chunk = self._chunks.prepare(self.iteration, 0)
            self._chunks.run(chunk)
            self._chunks.give_back(chunk)

    @check.keywords
    def run(
        self,
        n_iterations: int,
        on_log: Callable[[int, float], object] | None = None,
        callbacks: Sequence[Callback | Callable[[Run], object]] = (),
    ) -> History:
        """Train for `n_iterations` more iterations.

        Ctrl-C is answered at once, in the main thread: `KeyboardInterrupt` is raised between two iterations,
        and the trainer can go on from there.

        Parameters
        ----------
        n_iterations : int
            At least 0.
        on_log : callable, optional
            Called with iteration and running loss as each entry of the log becomes known; Ctrl-C waits.
        callbacks : sequence of Callback or callable, optional
            Called now and then, see `Callback`; a plain function is called with the `Run` after every
            `log_every` iterations.

        Returns
        -------
        History
            That of all iterations so far, the attribute `history`.

        Raises
        ------
        DivergenceError
            A FloatingPointError, if a loss or the parameters would be infinite or NaN, see `on_divergence`.
            The history ends before that iteration.
        RuntimeError
            If the trainer is running already.
        """
        n = check.integer("n_iterations", n_iterations, 0)
        check.function("on_log", on_log)
        checked = as_callbacks(callbacks, self.history.log_every)
        if self._net.standardization is not self._standardization:
            raise check.reject(
                "net.standardization",
                "as it was when the trainer was made",
                "another one; make a new trainer",
            )
        with Interruptible() as interruptible, self._alone(interruptible):
            self._run(Run(self, self.iteration + n, checked, self._callback_states), on_log, interruptible)
        return self.history

    @contextlib.contextmanager
    def _alone(self, interruptible: Interruptible) -> Iterator[None]:
        """What must not happen twice at a time."""
        interruptible.hold()
        if not self._is_running.acquire(blocking=False):
            raise RuntimeError(
                "the trainer is running already, in another thread or in a callback of its own"
            )
        try:
            interruptible.release()
            yield
        finally:
            self._is_running.release()

    def _run(
        self, run: Run, on_log: Callable[[int, float], object] | None, interruptible: Interruptible
    ) -> None:
        if self._lent is not None:
            self._net.parameters[:], self._lent = self._last_parameters(), None
        try:
            run.start()
            while self.iteration < run.end and not run.is_stopped:
                try:
                    self._advance(run.next_pause(), interruptible)
                finally:
                    self._tell(on_log, interruptible)
                run.call_due()
        except BaseException as error:
            interruptible.hold()  # further signals wait until all is saved
            try:
                if not isinstance(error, Exception):  # Ctrl-C, perhaps when some were told
                    self.history.events.append((self.iteration, "interrupted"))
                    self._tell(on_log, interruptible)
            finally:
                run.finish(error)
            raise
        run.finish(None)
        interruptible.hold()

    def _tell(self, on_log: Callable[[int, float], object] | None, interruptible: Interruptible) -> None:
        interruptible.hold()
        try:
            while self._untold:
                entry = self._untold.popleft()
                if on_log is not None:
                    on_log(*entry)
        finally:
            interruptible.release()

    def _advance(self, pause: int, interruptible: Interruptible) -> None:
        """Train until the iteration `pause`, or the end of a chunk; less if a signal comes."""
        first = self.iteration
        if self._on_divergence == "lower_rate":
            if first % _RETURN_EVERY == 0 and all(state.iteration < first for state in self._return_points):
                self._return_points = *self._return_points[-1:], self.state()._replace(return_points=())
            pause = min(pause, first + _RETURN_EVERY - first % _RETURN_EVERY)
        n = min(pause - first, self.chunk_size)
        chunk = self._chunks.prepare(first, n, self._rate_scale)
        self.history.reserve(n)
        interruptible.hold()
        try:
            n_done = self._chunks.run(chunk, interruptible.flag)
            is_interrupted = interruptible.is_interrupted()
            if n_done > 0:
                self._n_skipped = 0
                self._untold += self.history.extend(chunk.losses[:n_done])
                self._last_rate = float(chunk.learning_rates[n_done - 1])
            if n_done < n and not is_interrupted:
                self._diverged(float(chunk.losses[n_done]), float(chunk.learning_rates[n_done]))
        finally:
            self._chunks.give_back(chunk)
            interruptible.release()

    def _diverged(self, loss: float, learning_rate: float) -> None:
        """Raise an error for the step of this iteration, or do as `on_divergence` says."""
        window = self.history.window()
        finite = window[np.isfinite(window)]
        error = DivergenceError(self.iteration, loss, float(finite[-1]) if finite.size > 0 else None)
        if self._on_divergence == "skip" and self._n_skipped < _MOST_SKIPPED:
            self._n_skipped += 1
            self._last_rate = learning_rate
            self.history.events.append((self.iteration, "skipped a step"))
            self._untold += self.history.extend(np.array([loss]))
        elif self._return_points and self._rate_scale > _LOWEST_RATE_SCALE:  # "lower_rate"
            point, scale = self._return_points[0], self._rate_scale / 2
            event = f"went back from iteration {self.iteration}, with {scale:g} of the learning rate"
            self._go_to(point._replace(rate_scale=scale, return_points=(point,)), event, is_own=True)
        else:
            raise error

    def lend_parameters(self, parameters: Array) -> None:
        """Give the network these parameters, such as the best of a run, until the next run goes on."""
        self._lent = parameters.copy(), self._net.parameters.copy()
        self._net.parameters = parameters

    def _last_parameters(self) -> Array:
        """Those that the next step starts from: the network's, unless it has lent ones, as they were."""
        if self._lent is not None and np.array_equal(self._lent[0], self._net.parameters):
            return self._lent[1]
        return self._net.parameters

    def state(self) -> TrainerState:
        """A copy of all that a run depends on besides its configuration."""
        return TrainerState(
            self.iteration,
            self._rate_scale,
            self._n_skipped,
            self._samples.stream,
            self._dropout.stream,
            self._last_parameters().copy(),
            self._optimizer_state.buffers.copy(),
            self._optimizer_state.numbers.copy(),
            self.history.window(),
            self._return_points,
        )

    def _go_to(self, state: TrainerState, event: str, *, is_own: bool = False) -> None:
        self._net.parameters[:] = state.parameters
        self._lent = None
        self._optimizer_state.buffers[:] = state.optimizer_buffers
        self._optimizer_state.numbers[:] = state.optimizer_numbers
        if state.source_stream is not None:
            self._samples.stream = state.source_stream
        self._dropout.stream = state.dropout_stream
        self._chunks.fill_constant()
        self._rate_scale, self._return_points = state.rate_scale, state.return_points
        self._n_skipped = state.n_skipped
        self._last_rate = math.nan
        self._untold.clear()
        self.history.go_to(state.iteration, state.window, event, state.rate_scale, is_own=is_own)

    def save_checkpoint(
        self,
        path: str | PathLike[str],
        callbacks: Sequence[Callback] = (),
        options: dict[str, Any] | None = None,
    ) -> None:
        """Write the state of the run to a file; one that was there is replaced when the new one is complete.

        Parameters
        ----------
        path : path-like
            By custom with the ending .npz.
        callbacks : sequence of Callback
            Those of the run, whose states are kept, too.
        options : dict, optional
            Anything else, of what JSON has.

        Raises
        ------
        OSError
            If the file cannot be written. What was there is as it was.
        """
        states = {key: callback.state() for key, callback in keyed(as_callbacks(callbacks, 1))}
        kept = {} if options is None else options
        check.instance("options", kept, dict, "a dict")
        write_checkpoint(path, Saved(self.state(), self.configuration(), states, kept))

    def load_checkpoint(self, path: str | PathLike[str]) -> None:
        """Go on from a file that `save_checkpoint` wrote, bit for bit as if the run had not stopped.

        The trainer must be made as the other one was: network, data, optimiser and all other arguments
        but `chunk_size`, `log_every` and `keep_losses`. Its source and dropout take the other one's random
        streams. Functions are not compared. The next `run` gives its callbacks the states they had, if they
        are the same ones in the same order.

        Raises
        ------
        FileFormatError
            If the file is something else, damaged, or of another run. The trainer is as it was.
        OSError
            If it cannot be read.
        """
        with Interruptible() as interruptible, self._alone(interruptible):
            saved = read_checkpoint(path, Saved(self.state(), self.configuration(), {}, {}))
            interruptible.hold()
            self._go_to(saved.state, "resumed")
            self._callback_states = saved.callbacks

    def configuration(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed, as plain values."""
        l1, l2, clip_value, clip_norm, on_divergence = self._options
        net = self._net
        return {
            "sizes": [net.in_features, *net.hidden_sizes, net.out_features],
            "activations": [describe(activation) for activation in net.activations],
            "dtype": str(net.dtype),
            "loss": describe(self._loss),
            "optimizer": describe(self._optimizer),
            "learning_rate": describe(self._learning_rate),
            "l1": float(l1),
            "l2": float(l2),
            "clip_value": clip_value if clip_value is None else float(clip_value),
            "clip_norm": clip_norm if clip_norm is None else float(clip_norm),
            "dropout": self._dropout.layer_rates,
            "on_divergence": on_divergence,
            "source": self._samples.configuration,
        }
