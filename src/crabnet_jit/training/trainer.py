"""Training in compiled chunks: the object that users see, over settings, steps and the loop."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, NoReturn

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.schedules import Schedule
from crabnet_jit.components.update_rules import Optimizer, OptimizerState
from crabnet_jit.data.random import StdRng
from crabnet_jit.data.sources import ArraySource, Source
from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.network.history import History
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.other_names import known_attributes, with_hints
from crabnet_jit.summary import brief, summary
from crabnet_jit.training.derivatives import check_derivatives, check_dy_weight
from crabnet_jit.training.loop import train_until_end
from crabnet_jit.training.run import Callback, Run, as_callbacks, keyed
from crabnet_jit.training.sampling import as_residuals, check_rule, check_source, check_widths
from crabnet_jit.training.settings import Settings
from crabnet_jit.training.state import Saved, TrainerState, read_checkpoint, write_checkpoint
from crabnet_jit.training.steps import Steps


@with_hints
class Trainer:
    """Training in compiled chunks; by default the article's job.

    Iteration i takes a batch from the source, goes forward, computes the loss, goes backward, and lets
    the optimiser change the parameters with the schedule's learning rate for i.

    Parameters
    ----------
    net : NN
        The network; its parameters are updated in place.
    source : Source, optional
        Where batches come from, for example `UniformSource(StandardGaussian(), rng=1)`, in the units of the
        data: for a network with a `standardization` they are standardised here, and losses are those of
        standardised targets. Of sources of this package a trainer has a copy, so several may share one.
    residuals : sequence of Residual, default ()
        Equations that the network has to fulfil: each adds its weight times its mean square to the loss. With
        some of them there may be no source. Custom activations and "bayesian_regularization" take none.
    loss : Loss or str, default "mse"
        A name from `LOSSES` or an object like `Huber(0.1)`.
    optimizer : Optimizer or str, default "sgd"
        A name from `OPTIMIZERS` or an object like `Adam(betas=(0.9, 0.99))`.
    learning_rate : float or callable, optional
        A number for a constant rate; or a schedule, any function of an array of iteration numbers that
        gives their rates. By default that of the article, `ExponentialDecay(0.002, 0.99999)`.
    l1, l2 : float, default 0.0
        At least 0. Adds l1 * sign(p) + l2 * p to the gradient of every parameter p, biases included,
        as a penalty `l1 * |p| + l2 / 2 * p^2` would. The losses that the history keeps are without it.
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
    dy_weight : float, default 1.0
        For a source with derivatives: to the loss is added dy_weight times the mean squared error of the
        network's derivatives with respect to its inputs [2]_, over all that are known, each sample with its
        weight; of standardised inputs and targets, if the network has a `standardization`. At least 0. Losses
        that are not of values, custom activations and "bayesian_regularization" take no derivatives.

    Attributes
    ----------
    history : History
        All iterations so far.
    iteration : int
        How many those are.
    chunk_size : int
        Iterations in one compiled call.
    net, source, residuals, loss, optimizer, learning_rate
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
    .. [2] W. Czarnecki et al., "Sobolev training for neural networks", 2017.

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
        source: Source | None = None,
        *,
        residuals: Sequence[Any] = (),
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
        dy_weight: float = 1.0,
    ) -> None:
        check.instance("net", net, NN, "an NN")
        self._residuals = as_residuals(residuals)
        check_source(source, self._residuals)
        self._net = net
        self._source = source
        self._standardization = net.standardization
        self._has_derivatives = source is not None and check.flag(
            "source.has_derivatives", source.has_derivatives
        )
        self._settings = Settings.checked(
            len(net.hidden_sizes),
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            l1=l1,
            l2=l2,
            clip_value=clip_value,
            clip_norm=clip_norm,
            dropout=dropout,
            rng=rng,
            log_every=log_every,
            keep_losses=keep_losses,
            on_divergence=on_divergence,
            chunk_size=chunk_size,
            dy_weight=check_dy_weight(dy_weight, has_derivatives=self._has_derivatives),
        )
        if self._has_derivatives:
            check_derivatives(net, self.loss, self.optimizer)
        check_rule(self.optimizer, self._residuals)
        check_widths(net, source, self.loss)
        if isinstance(source, ArraySource):
            self.loss.check_targets("y", source.targets)
        self._steps = Steps(net, source, self._settings, self._residuals)
        self._callback_states: dict[str, Any] = {}
        self._is_running = threading.Lock()

    def __dir__(self) -> list[str]:
        return known_attributes(Trainer, [*super().__dir__()])

    def __repr__(self) -> str:
        done = f"{self.iteration:,} iterations done"
        if self.iteration > 0:
            done += f", running loss {self.history.running_loss(self.iteration - 1):.6g}"
        parts = [f"net={self.net!r}", f"source={self.source!r}"]
        parts += [f"residuals={list(self._residuals)}"] if self._residuals else []
        parts += [f"{name}={brief(value)}" for name, value in self._settings.chosen().items()]
        return summary(self, done, *parts)

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
    def source(self) -> Source | None:
        """Where batches come from; it cannot be replaced either."""
        return self._source

    @property
    def residuals(self) -> tuple[Any, ...]:
        """Equations that the network has to fulfil."""
        return self._residuals

    @property
    def loss(self) -> Loss:
        """What is minimised, without penalties."""
        return self._settings.loss

    @property
    def optimizer(self) -> Optimizer:
        """The update rule."""
        return self._settings.optimizer

    @property
    def optimizer_state(self) -> OptimizerState:
        """What the optimiser remembers; its arrays are the run's own."""
        return self._steps.optimizer_state

    @property
    def learning_rate(self) -> Schedule:
        """The schedule."""
        return self._settings.learning_rate

    @property
    def history(self) -> History:
        """All iterations so far."""
        return self._steps.history

    @property
    def chunk_size(self) -> int:
        """Iterations in one compiled call."""
        return int(self._steps.chunks.size)

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self._steps.iteration

    @property
    def last_rate(self) -> float:
        """The learning rate of the last iteration done; NaN before the first."""
        return self._steps.last_rate

    def compile(self) -> None:
        """Compile what a run needs, or load it from the cache on disk; otherwise the first run does it."""
        with Interruptible() as interruptible, self._alone(interruptible):
            self._steps.compile()

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
            run = Run(self, self.iteration + n, checked, self._callback_states, on_log)
            train_until_end(self._steps, run, interruptible)
        return self.history

    @contextlib.contextmanager
    def _alone(self, interruptible: Interruptible) -> Iterator[None]:
        """A block that only one thread runs at a time; another one gets an error."""
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

    def best_parameters(self) -> Array | None:
        """Those that `BayesianRegularization` has found best so far; None if they are the network's.

        Also None for other optimisers, which know none but the last ones.
        """
        return self._steps.best_parameters()

    def posterior(self) -> Posterior | None:
        """How uncertain the network's present parameters are; None unless by `BayesianRegularization`.

        Assign it to `net.posterior`, for `net.predict(x, return_std=True)`. `fit` does so.
        """
        return self._steps.posterior()

    def lend_parameters(self, parameters: Array) -> None:
        """Give the network these parameters, such as the best of a run, until the next run goes on."""
        self._steps.lend_parameters(parameters)

    def state(self) -> TrainerState:
        """A copy of all that a run depends on besides its configuration."""
        return self._steps.state()

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
            Those of the run, whose states are given, too.
        options : dict, optional
            Anything else, of what JSON has.

        Raises
        ------
        OSError
            If the file cannot be written. What was there is as it was.
        """
        states = {key: callback.state() for key, callback in keyed(as_callbacks(callbacks, 1))}
        given = {} if options is None else options
        check.instance("options", given, dict, "a dict")
        write_checkpoint(path, Saved(self.state(), self.configuration(), states, given))

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
            self._steps.go_to(saved.state, "resumed")
            self._callback_states = saved.callbacks

    def configuration(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed, as plain values."""
        return {
            **self._net.spec.configuration(),
            **self._settings.configuration(),
            "source": self._steps.source_configuration,
            **({"dy_weight": self._settings.dy_weight} if self._has_derivatives else {}),
            **({"residuals": [one.configuration for one in self._residuals]} if self._residuals else {}),
        }
