"""The training run: chunks of iterations in compiled code, Python in control between them."""

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from crabnet_jit import _validation as check
from crabnet_jit.dropout import Dropout
from crabnet_jit.kernels.entry import train
from crabnet_jit.kernels.network import Batches, Rule
from crabnet_jit.losses import Loss, as_loss
from crabnet_jit.network import NN
from crabnet_jit.objective import kernel_objective, with_calls
from crabnet_jit.optimizers import Optimizer, OptimizerState, as_optimizer
from crabnet_jit.panels import Array, aligned_zeros, panel_shape, plain_weights
from crabnet_jit.random import StdRng, as_rng
from crabnet_jit.schedules import ExponentialDecay, Schedule, as_schedule, rates_of
from crabnet_jit.sources import ArraySource, Source, UniformSource
from crabnet_jit.targets import StandardGaussian

# Python takes about 10 us for a chunk; this is 1.5 ms of the article's job …
_CHUNK_ITERATIONS = 4000
_CHUNK_NUMBERS = 2**18  # … this bounds a chunk of large batches: 2 MB of samples and targets
_CHUNK_PRODUCTS = 2**30  # … and this one of large networks: about 0.2 s, which Ctrl-C has to wait

_WINDOW = 1001
_NOT_RUN = -5e-324  # no loss is this


class History:
    """The loss of every iteration, and the original's log of it.

    Attributes
    ----------
    losses : ndarray, shape (n_iterations,)
        The loss of each batch, before the step it led to.
    log : list of (int, float)
        Iteration and running loss, for every iteration that is a multiple of `log_every`.
    """

    def __init__(self, log_every: int) -> None:
        self.log_every = check.integer("log_every", log_every, 1)
        self.log: list[tuple[int, float]] = []
        self._losses = np.empty(0)
        self._count = 0

    @property
    def losses(self) -> Array:
        """The loss of each batch, before the step it led to; read-only."""
        view = self._losses[: self._count]
        view.flags.writeable = False
        return view

    def running_loss(self, iteration: int) -> float:
        """Sum of the last 1,001 losses up to `iteration`, divided by 1,000.

        That is the original's rule: its queue settles at 1,001 entries, and the divisor is
        1,000 even while there are fewer.
        """
        check.integer("iteration", iteration, 0, self._count - 1)
        return float(self._losses[max(0, iteration + 1 - _WINDOW) : iteration + 1].sum()) / 1000

    def extend(self, losses: Array) -> list[tuple[int, float]]:
        """Add the losses of the next iterations; return the new entries of the log."""
        start, end = self._count, self._count + losses.size
        if end > self._losses.size:
            grown = np.empty(max(end, 2 * self._losses.size))
            grown[:start] = self._losses[:start]
            self._losses = grown
        self._losses[start:end] = losses
        self._count = end
        first = -(-start // self.log_every) * self.log_every
        entries = [(i, self.running_loss(i)) for i in range(first, end, self.log_every)]
        self.log += entries
        return entries


class Trainer:
    """Training in compiled chunks; by default the article's job.

    Iteration i takes a batch from the source, goes forward, computes the loss, goes backward, and lets
    the optimiser change the parameters with the schedule's learning rate for i.

    Parameters
    ----------
    net : NN
        The network; its parameters are updated in place.
    source : Source
        Where batches come from, for example `UniformSource(StandardGaussian(), rng=1)`.
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
    chunk_size : int, optional
        Iterations in one compiled call. The result does not depend on it, not in a bit.

    Attributes
    ----------
    history : History
        All iterations so far.
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
        chunk_size: int | None = None,
    ) -> None:
        if not isinstance(net, NN):
            raise check.reject("net", "an NN", repr(net))
        for name in ("in_features", "out_features"):
            of_net, of_source = getattr(net, name), getattr(source, name)
            if of_source != of_net:
                raise check.reject(f"source.{name}", f"the network's {of_net}", repr(of_source))
        self._net = net
        self._source = source
        self._loss = as_loss("loss", loss)
        if isinstance(source, ArraySource):
            self._loss.check_targets("y", source.targets)
        self._optimizer = as_optimizer("optimizer", optimizer)
        schedule = ExponentialDecay() if learning_rate is None else learning_rate
        self._learning_rate = as_schedule("learning_rate", schedule)
        self._objective = kernel_objective(net, self._loss, l1, l2, clip_value, clip_norm)
        self._optimizer_state = self._optimizer.init(net.parameters)
        self._rule = Rule(self._optimizer.code(net.dtype), *self._optimizer_state)
        self.history = History(log_every)

        batch_size = check.integer("source.batch_size", source.batch_size, 1)
        n_panels, width = panel_shape(batch_size, net.dtype)
        self._dropout = Dropout(net, dropout, as_rng("rng", rng), n_panels, width)
        self._network = with_calls(self._dropout.network, self._objective, self._rule.update)
        self._is_constant = bool(getattr(source, "is_constant", False))
        fitting = _chunk_iterations(net, n_panels * width, self._dropout.n_units, self._is_constant)
        n = fitting if chunk_size is None else check.integer("chunk_size", chunk_size, 1)
        self._chunk_size = n
        n_batches = 1 if self._is_constant else n
        self._batches = Batches(
            aligned_zeros(n_batches, n_panels, net.in_features, width, dtype=net.dtype),
            aligned_zeros(n_batches, n_panels, net.out_features, width, dtype=net.dtype),
            plain_weights(n_batches, batch_size, net.dtype),
            aligned_zeros(n, n_panels, self._dropout.n_units, width, dtype=net.dtype),
        )
        if self._is_constant:
            source.fill(0, *self._batches[:3])
        self._workspace = net.workspace(width, net.gradients)
        self._losses = aligned_zeros(n)

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, it holds addresses of machine code; "
            "copy or pickle its network"
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
        return self._chunk_size

    def compile(self) -> None:
        """Compile what a run needs, or load it from the cache on disk; otherwise the first run does it."""
        self._run_chunk(0)

    def run(self, n_iterations: int, on_log: Callable[[int, float], None] | None = None) -> History:
        """Train for `n_iterations` more iterations.

        Parameters
        ----------
        n_iterations : int
            At least 0.
        on_log : callable, optional
            Called with iteration and running loss as each entry of the log becomes known.

        Returns
        -------
        History
            That of all iterations so far, the attribute `history`.

        Raises
        ------
        FloatingPointError
            If a loss is infinite or NaN: the run has diverged. The history ends with that loss. Also if
            parameters are, at the end.
        """
        left = check.integer("n_iterations", n_iterations, 0)
        while left > 0:
            n = min(left, self.chunk_size)
            entries: list[tuple[int, float]] = []
            self._losses[n - 1] = _NOT_RUN
            try:
                self._run_chunk(n)
            finally:
                # Ctrl-C in the compiled call is raised behind it, when the parameters are updated.
                if self._losses[n - 1] != _NOT_RUN:
                    entries = self._keep_chunk(n)
            if on_log is not None:
                for entry in entries:
                    on_log(*entry)
            last = self.history.losses[-1]
            if not np.isfinite(last):
                raise FloatingPointError(
                    f"the loss became {last} in iteration {self.history.losses.size - 1}: "
                    "the run diverged; a smaller learning_rate may help"
                )
            left -= n
        if not np.isfinite(self._net.parameters).all():
            raise FloatingPointError(
                f"parameters are not finite after iteration {self.history.losses.size - 1}: "
                "the run diverged; a smaller learning_rate may help"
            )
        return self.history

    def _keep_chunk(self, n: int) -> list[tuple[int, float]]:
        """Take a chunk that has run into the history, up to a loss that is not finite."""
        losses = self._losses[:n]
        finite = np.isfinite(losses)
        return self.history.extend(losses if finite.all() else losses[: finite.argmin() + 1])

    def _run_chunk(self, n: int) -> None:
        first = self.history.losses.size
        rates = rates_of(self._learning_rate, first, max(n, 1))[:n]  # of one iteration to compile
        batches = (
            self._batches if n == self.chunk_size else Batches(*(panels[:n] for panels in self._batches))
        )
        if not self._is_constant:
            self._source.fill(first, batches.x, batches.target, batches.weight)
        self._dropout.fill(first, batches.masks)
        train(self._network, self._workspace, batches, self._objective, self._rule, rates, self._losses[:n])


def _chunk_iterations(net: NN, n_columns: int, n_mask_rows: int, is_constant: bool) -> int:
    """Iterations that make a chunk of a good size."""
    rows = n_mask_rows if is_constant else n_mask_rows + net.in_features + net.out_features + 1
    numbers = max(1, n_columns * rows)
    products = 3 * n_columns * net.parameters.size
    return max(1, min(_CHUNK_ITERATIONS, _CHUNK_NUMBERS // numbers, _CHUNK_PRODUCTS // products))


def warmup() -> None:
    """Compile what the article's job and predictions need, or load it from the cache on disk.

    Optional: otherwise the first run does it. `Trainer.compile` does the same for any other training.

    Examples
    --------
    >>> import crabnet_jit
    >>> crabnet_jit.warmup()
    """
    net = NN(2, [8, 8], 1, rng=1)
    Trainer(net, UniformSource(StandardGaussian(), rng=1)).compile()
    net.get_output([[0.0, 0.0]])
