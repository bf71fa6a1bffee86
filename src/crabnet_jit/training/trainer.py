"""Training in compiled chunks: the object that users see, on top of settings, steps and the loop."""

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
    the optimiser update the parameters with the schedule's learning rate for i.

    Parameters
    ----------
    net : NN
        The network; its parameters are updated in place.
    source : Source, optional
        Where batches come from, for example `UniformSource(StandardGaussian(), rng=1)`, in the units of the
        data: for a network with a `standardization`, they are standardised here, and losses are those of
        standardised targets. A trainer copies the sources of this package, so several may share one.
    residuals : sequence of Residual, default ()
        Equations that the network should satisfy: each adds its weight times its mean square to the loss. If
        there are any, the source is optional. They do not work with custom activations and
        "bayesian_regularization".
    loss : Loss or str, default "mse"
        A name from `LOSSES` or an object like `Huber(0.1)`.
    optimizer : Optimizer or str, default "sgd"
        A name from `OPTIMIZERS` or an object like `Adam(betas=(0.9, 0.99))`.
    learning_rate : float or callable, optional
        A number is a constant rate. A schedule is any function that takes an array of iteration numbers and
        returns their rates. The default is the article's, `ExponentialDecay(0.002, 0.99999)`.
    l1, l2 : float, default 0.0
        At least 0. They add l1 * sign(p) + l2 * p to the gradient of every parameter p, including biases,
        as a penalty `l1 * |p| + l2 / 2 * p^2` would. The losses in the history do not contain the penalty.
    clip_value, clip_norm : float, optional
        Above 0. The largest absolute value of a component of the gradient, then its largest Euclidean norm.
        Both apply after l1 and l2.
    dropout : float or sequence of float, default 0.0
        The probability that a hidden unit is 0 for a sample in an iteration, at least 0 and below 1; or one
        for each hidden layer. The remaining units are divided by 1 - dropout [1]_.
    rng : StdRng or int, default 0
        A generator or a seed for dropout. The generator is not advanced.
    log_every : int, default 10000
        Iterations between two entries of the log.
    keep_losses : int, optional
        The least number of recent losses that the history keeps; by default all, 8 bytes each.
    on_divergence : {"raise", "skip", "lower_rate"}, default "raise"
        What to do when a loss is infinite or NaN, or the parameters or the optimiser's state would be after
        its step. "raise" raises a `DivergenceError`; "skip" goes on without that step; "lower_rate" goes back
        1,000 to 2,000 iterations, or to the start, and goes on with half the learning rate. After 1,000
        skipped steps in a row, or 30 halvings, these two also raise the error.
    chunk_size : int, optional
        Iterations in one compiled call. The result does not depend on it, not even in a single bit.
    dy_weight : float, default 1.0
        For a source with derivatives; at least 0. The loss gets an additional term: dy_weight times the mean
        squared error of the network's derivatives with respect to its inputs [2]_, over all known ones, each
        sample with its weight. If the network has a `standardization`, they are derivatives of standardised
        targets with respect to standardised inputs. Derivatives do not work with losses that are not of
        values, custom activations and "bayesian_regularization".
    n_threads : int or "auto", default 1
        Threads that share the samples of a batch; at least 1. "auto" is the number of cores that this process
        may use, according to its affinity and its control groups; there is a warning for more than that. The
        result does not depend on it, not even in a single bit. Work that more threads would not speed up
        stays on one: batches of up to 128 samples, small networks, derivatives and residuals; and any run
        while other programs need the cores.

    Attributes
    ----------
    history : History
        All iterations so far.
    iteration : int
        The number of iterations so far.
    chunk_size : int
        Iterations in one compiled call.
    n_threads : int
        Threads that may share a batch.
    net, source, residuals, loss, optimizer, learning_rate
        The arguments; they cannot be replaced.
    optimizer_state : OptimizerState
        The optimiser's state.

    Raises
    ------
    InvalidArgumentError
        For arguments out of range, or a source whose numbers of features are not the network's.

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
        n_threads: int | str = 1,
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
            n_threads=n_threads,
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
            f"{type(self).__name__} cannot be copied or pickled, because it holds addresses of machine code; "
            "copy or pickle its network, or use save_checkpoint"
        )

    @property
    def net(self) -> NN:
        """The network; it cannot be replaced, because the buffers fit no other."""
        return self._net

    @property
    def source(self) -> Source | None:
        """Where batches come from; it cannot be replaced either."""
        return self._source

    @property
    def residuals(self) -> tuple[Any, ...]:
        """Equations that the network should satisfy."""
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
        """The optimiser's state; its arrays are those that the run uses."""
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
    def n_threads(self) -> int:
        """Threads that may share a batch."""
        return self._settings.n_threads

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self._steps.iteration

    @property
    def last_rate(self) -> float:
        """The learning rate of the last iteration done; NaN before the first."""
        return self._steps.last_rate

    def compile(self) -> None:
        """Compile what a run needs, or load it from the cache on disk; otherwise the first run does so."""
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
            Called with the iteration and the running loss for each new entry of the log; Ctrl-C waits until
            it returns.
        callbacks : sequence of Callback or callable, optional
            Called during the run, see `Callback`; a plain function is called with the `Run` every `log_every`
            iterations.

        Returns
        -------
        History
            The history of all iterations so far, which is the attribute `history`.

        Raises
        ------
        DivergenceError
            A FloatingPointError, if a loss is infinite or NaN, or the parameters would be; see
            `on_divergence`. The history ends before that iteration.
        RuntimeError
            If the trainer is running already.
        """
        n = check.integer("n_iterations", n_iterations, 0)
        check.function("on_log", on_log)
        checked = as_callbacks(callbacks, self.history.log_every)
        if self._net.standardization is not self._standardization:
            raise check.reject(
                "net.standardization",
                "the one that the trainer was made with",
                "another one; make a new trainer",
            )
        with Interruptible() as interruptible, self._alone(interruptible):
            run = Run(self, self.iteration + n, checked, self._callback_states, on_log)
            train_until_end(self._steps, run, interruptible)
        return self.history

    @contextlib.contextmanager
    def _alone(self, interruptible: Interruptible) -> Iterator[None]:
        """A block that only one thread may run at a time; others get an error."""
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
        """The best parameters that `BayesianRegularization` has found; None if they are the network's.

        It is also None for other optimisers, which know only the last parameters.
        """
        return self._steps.best_parameters()

    def posterior(self) -> Posterior | None:
        """The uncertainty of the present parameters; None unless `BayesianRegularization` estimates it.

        Assign it to `net.posterior` for `net.predict(x, return_std=True)`. `fit` does so.
        """
        return self._steps.posterior()

    def lend_parameters(self, parameters: Array) -> None:
        """Give the network these parameters, such as the best of a run, until the next run goes on."""
        self._steps.lend_parameters(parameters)

    def state(self) -> TrainerState:
        """A copy of everything that a run depends on besides its configuration."""
        return self._steps.state()

    def save_checkpoint(
        self,
        path: str | PathLike[str],
        callbacks: Sequence[Callback] = (),
        options: dict[str, Any] | None = None,
    ) -> None:
        """Write the state of the run to a file; an old one is replaced when the new one is complete.

        Parameters
        ----------
        path : path-like
            Usually with the suffix .npz.
        callbacks : sequence of Callback
            The run's callbacks, whose states are saved, too.
        options : dict, optional
            Anything else that JSON can represent.

        Raises
        ------
        OSError
            If the file cannot be written. An old file is then unchanged.
        """
        given = {} if options is None else options
        check.instance("options", given, dict, "a dict")
        write_checkpoint(path, self.saved(callbacks)._replace(options=given))

    def saved(self, callbacks: Sequence[Callback] = ()) -> Saved:
        """What a checkpoint holds, with the states of these callbacks; `load_checkpoint` takes it, too."""
        states = {key: callback.state() for key, callback in keyed(as_callbacks(callbacks, 1))}
        return Saved(self.state(), self.configuration(), states, {})

    def load_checkpoint(self, path: str | PathLike[str] | Saved) -> None:
        """Go on from a file that `save_checkpoint` wrote, bit for bit as if the run had not stopped.

        The trainer must be made like the one that was saved: the same network, data, optimiser and all other
        arguments except `n_threads`, `chunk_size`, `log_every` and `keep_losses`. Its source and dropout
        continue the random streams of the saved one. Functions are not compared. The next `run` restores the
        states of its callbacks, if they are the same ones in the same order.

        Raises
        ------
        FileFormatError
            If the file is something else, damaged, or of another run. The trainer is then unchanged.
        OSError
            If it cannot be read.
        """
        with Interruptible() as interruptible, self._alone(interruptible):
            saved = path if isinstance(path, Saved) else read_checkpoint(path, self.saved())
            interruptible.hold()
            self._steps.go_to(saved.state, "resumed")
            self._callback_states = {**saved.callbacks}

    def configuration(self) -> dict[str, Any]:
        """Everything that must be the same for a run to be resumed, as plain values."""
        return {
            **self._net.spec.configuration(),
            **self._settings.configuration(),
            "source": self._steps.source_configuration,
            **({"dy_weight": self._settings.dy_weight} if self._has_derivatives else {}),
            **({"residuals": [one.configuration for one in self._residuals]} if self._residuals else {}),
        }
