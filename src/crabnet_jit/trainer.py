"""The training run: chunks of iterations in compiled code, Python in control between them."""

from collections.abc import Callable

import numpy as np

from crabnet_jit import _validation as check
from crabnet_jit.kernels.entry import exponential_decay, train
from crabnet_jit.kernels.layout import unit_count
from crabnet_jit.layers import Array
from crabnet_jit.network import NN
from crabnet_jit.panels import aligned_zeros, panel_shape
from crabnet_jit.sources import Source, StandardGaussian, UniformSource

# Python takes about 10 us for a chunk; this is 1.5 ms of the article's job …
_CHUNK_ITERATIONS = 4000
_CHUNK_NUMBERS = 2**18  # … and this bounds a chunk of large batches: 2 MB of samples and targets

_WINDOW = 1001
_NOT_RUN = -1.0  # no loss is negative


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
        self.log_every = log_every
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
    """Stochastic gradient descent on the mean squared error, in compiled chunks.

    Iteration i draws a batch, takes forward, loss and backward, and then
    `parameters -= learning_rate * decay**(i + 1) * gradients`, as the original does.

    Parameters
    ----------
    net : NN
        The network; its parameters are updated in place.
    source : Source
        Where batches come from, for example `UniformSource(StandardGaussian(), rng=1)`.
    learning_rate : float, default 0.002
        At least 0.
    decay : float, default 0.99999
        Factor on the learning rate in every iteration, above 0 and at most 1.
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

    Raises
    ------
    InvalidArgumentError
        For arguments out of range, or a source whose widths are not the network's.

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
        learning_rate: float = 0.002,
        decay: float = 0.99999,
        log_every: int = 10_000,
        chunk_size: int | None = None,
    ) -> None:
        for name in ("in_features", "out_features"):
            of_net, of_source = getattr(net, name), getattr(source, name)
            if of_source != of_net:
                raise check.reject(f"source.{name}", f"the network's {of_net}", repr(of_source))
        self._net = net
        self._source = source
        self.decay = check.number("decay", decay, 0.0, 1.0, open_low=True)
        self.history = History(check.integer("log_every", log_every, 1))
        self._learning_rate = check.number("learning_rate", learning_rate, 0.0)

        self._batch_size = check.integer("source.batch_size", source.batch_size, 1)
        n_panels, width = panel_shape(self._batch_size)
        numbers = n_panels * width * (net.in_features + net.out_features)
        fitting = min(_CHUNK_ITERATIONS, max(1, _CHUNK_NUMBERS // numbers))
        self.chunk_size = fitting if chunk_size is None else check.integer("chunk_size", chunk_size, 1)
        self._x = aligned_zeros(self.chunk_size, n_panels, net.in_features, width)
        self._target = aligned_zeros(self.chunk_size, n_panels, net.out_features, width)
        self._rates = aligned_zeros(self.chunk_size)
        self._losses = aligned_zeros(self.chunk_size)
        self._activations = aligned_zeros(unit_count(net.layout) * width)
        self._errors = aligned_zeros(unit_count(net.layout) * width)

    @property
    def net(self) -> NN:
        """The network; the buffers fit no other, so it cannot be replaced."""
        return self._net

    @property
    def source(self) -> Source:
        """Where batches come from; it cannot be replaced either."""
        return self._source

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
            If a loss is infinite or NaN: the run has diverged. The history ends with that loss.
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
        return self.history

    def _keep_chunk(self, n: int) -> list[tuple[int, float]]:
        """Take a chunk that has run into the history, up to a loss that is not finite."""
        self._learning_rate = float(self._rates[n - 1])
        losses = self._losses[:n]
        finite = np.isfinite(losses)
        return self.history.extend(losses if finite.all() else losses[: finite.argmin() + 1])

    def _run_chunk(self, n: int) -> None:
        x, target, losses = self._x[:n], self._target[:n], self._losses[:n]
        net = self.net
        rates = self._rates[:n]
        exponential_decay(self._learning_rate, self.decay, rates)
        self.source.fill(self.history.losses.size, x, target)
        train(
            net.layout,
            net.parameters,
            net.gradients,
            self._activations,
            self._errors,
            x,
            target,
            self._batch_size,
            rates,
            losses,
        )


def warmup() -> None:
    """Compile what a training run needs, or load it from the cache on disk.

    Optional: otherwise the first run does it.

    Examples
    --------
    >>> import crabnet_jit
    >>> crabnet_jit.warmup()
    """
    net = NN(2, [8, 8], 1, rng=1)
    Trainer(net, UniformSource(StandardGaussian(), rng=1)).run(1)
    net.get_output([[0.0, 0.0]])
