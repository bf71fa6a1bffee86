"""Sources of training samples.

A source fills the panels of a chunk: for the iterations from `iteration` on, it writes inputs, targets and
weights. These depend only on the iteration number, so a run can be split into chunks, interrupted and resumed
anywhere.
"""

import contextlib
import copy
import hashlib
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crabnet_jit import check
from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.data.derivatives import Derivative, check_known, joined, known_derivatives, parted
from crabnet_jit.data.known import check_outputs, has_known, known_samples, share
from crabnet_jit.data.random import SAMPLES, RngState, StdRng, as_rng, interval_scale
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.data.targets import Target, as_target
from crabnet_jit.kernels.chacha import whole_groups
from crabnet_jit.kernels.entries import fill_minibatches, fill_uniform
from crabnet_jit.kernels.minibatch import permutation_draws
from crabnet_jit.kernels.panels import panel_shape, plain_weights, repeat_sample, unpack, without_weight
from crabnet_jit.kernels.structs import Batches
from crabnet_jit.kernels.uniform import buffer_size
from crabnet_jit.summary import brief, counted, listed, summary

_DRAWS_AT_ONCE = 2048  # half of a 32 KB cache


class Source(ABC):
    """Batches for training; subclass it for batches of your own.

    A subclass needs the attributes `in_features`, `out_features` and `batch_size`, and the method `fill`.

    Attributes
    ----------
    in_features, out_features : int
        The numbers of inputs and targets.
    batch_size : int
        Samples in an iteration; the largest number if they differ.
    is_constant : bool
        Whether it always gives the same batch; `fill` is then called only once.
    has_weights : bool
        Whether it may write `weight`, see `fill`; if not, one row of weights serves all iterations.
    has_gaps : bool
        Whether targets may be NaN, which means unknown: a loss is then the mean over the known ones.
    stream : dict or None
        Where its draws begin, as in `StdRng.state`, if it uses draws. Checkpoints save and restore it.
    has_derivatives : bool
        Whether it also gives the derivatives of the targets with respect to the inputs, see `fill`.
    configuration : dict or str
        Everything else that its batches depend on, as plain values. A run can only be resumed if it is equal.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import NN, Source, Trainer
    >>> class Squares(Source):
    ...     in_features, out_features, batch_size = 1, 1, 16
    ...     def fill(self, iteration, batches):
    ...         for k in range(len(batches.x)):
    ...             generator = np.random.default_rng(iteration + k)
    ...             batches.x[k] = generator.uniform(-1, 1, batches.x[k].shape)
    ...         batches.target[:] = batches.x**2
    >>> net = NN(1, [8], 1, rng=1, activation="tanh", init="glorot_uniform")
    >>> Trainer(net, Squares(), learning_rate=0.1).run(5000).running_loss(4999) < 0.01
    True
    """

    in_features: int
    out_features: int
    batch_size: int
    is_constant: bool = False
    has_weights: bool = True
    has_gaps: bool = False
    has_derivatives: bool = False
    stream: RngState | None = None

    def __repr__(self) -> str:
        names = "in_features", "out_features", "batch_size"
        return summary(self, *(f"{name}={brief(getattr(self, name, None))}" for name in names))

    @property
    def configuration(self) -> Any:
        """Everything else that its batches depend on, as plain values, except functions."""
        return type(self).__name__

    @abstractmethod
    def fill(self, iteration: int, batches: Batches) -> None:
        """Overwrite panels with the batches of the iterations from `iteration` on.

        Parameters
        ----------
        iteration : int
            The first one.
        batches : Batches
            Panels, which are four-dimensional arrays: `x` (n_iterations, n_panels, in_features, width) and
            `target` (…, out_features, …). A batch takes the first `batch_size` columns of its panels, panel
            after panel; columns after these need not be filled. `weight` (…, 1, …) holds each sample's share
            of the batch's mean, 1 / batch_size, and 0 after the batch: a source either leaves it unchanged or
            overwrites all of it. `masks` is not for sources.

            With derivatives, `target` has out_features * (1 + in_features) rows: the targets, then the
            derivatives of the first one with respect to all inputs, of the second one, …; NaN means unknown.
        """

    @property
    def n_targets(self) -> int:
        """The number of rows of `target` in a batch."""
        return self.out_features * (1 + self.in_features if self.has_derivatives else 1)

    def fill_for_kernels(self, first: int, batches: Batches, *, are_whole: bool) -> None:
        """The same for kernels: weights are shares among the known targets, and all columns are filled.

        With `are_whole`, one unknown target makes the whole sample unknown. The shares of derivatives, if
        there are any, are a second row of weights, which `fill` does not see.
        """
        shares = batches.weight
        if self.has_derivatives:
            shares = plain_weights(len(batches.x), self.batch_size, shares.dtype)
        elif self.has_gaps:  # the weights still contain the shares of earlier batches
            shares[:] = plain_weights(1, self.batch_size, shares.dtype)
        self.fill(first, batches._replace(weight=shares))
        if self.has_derivatives:
            batches.weight[:] = shares
        if self.has_gaps or self.has_derivatives:
            share(batches, self.out_features, are_whole)
        repeat_sample(batches.x, self.batch_size)

    def for_trainer(self) -> "Source":
        """The source for a trainer: itself, unless it uses draws, which trainers must not share."""
        return self

    def standardized(self, units: Standardization, dtype: "np.dtype[Any]") -> "Source":
        """The same batches in standardised units, for a network of this type."""
        return StandardizedSource(self, units)


class _Drawn(Source):
    """Batches from a random stream; their sizes are fixed, because a trainer's buffers fit no others."""

    def __init__(self, in_features: int, out_features: int, batch_size: int, rng: StdRng) -> None:
        self._shape = in_features, out_features, batch_size
        self._rng = rng.copy()

    @property
    def stream(self) -> RngState:
        """Where its draws begin; assign another state to begin elsewhere."""
        return self._rng.state

    @stream.setter
    def stream(self, state: RngState) -> None:
        rng = self._rng.copy()  # a copy of this source may share it
        rng.state = state
        self._rng = rng

    @property
    def in_features(self) -> int:  # type: ignore[override]  # buffers fit one size: read-only
        """The number of inputs."""
        return self._shape[0]

    @property
    def out_features(self) -> int:  # type: ignore[override]  # buffers fit one size: read-only
        """The number of targets."""
        return self._shape[1]

    @property
    def batch_size(self) -> int:  # type: ignore[override]  # buffers fit one size: read-only
        """Samples in an iteration; the largest number if they differ."""
        return self._shape[2]

    def for_trainer(self) -> "Source":
        """A source like this one, with an independent stream."""
        return copy.copy(self)

    def drawn_by(self, rng: StdRng) -> Self:
        """A source like this one, with another generator's draws."""
        twin = copy.copy(self)
        twin._rng = rng.copy()
        return twin

    def batch(self, iteration: int) -> tuple[Array, Array]:
        """Inputs (n, in_features) and targets (n, out_features) of an iteration, which is at least 0."""
        inputs, rows = self._batch(iteration)
        return inputs, np.ascontiguousarray(rows[:, : self.out_features])

    def derivatives(self, iteration: int) -> Array:
        """Derivatives (n, out_features, in_features) of those targets; NaN where they are unknown."""
        _, rows = self._batch(iteration)
        if not self.has_derivatives:
            raise check.reject("source", "a source with derivatives", repr(self))
        return parted(rows, self.out_features)[1]

    def _batch(self, iteration: int) -> tuple[Array, Array]:
        """Inputs and rows of `target` of one iteration."""
        check.integer("iteration", iteration, 0)
        batches = new_batches(1, self.in_features, self.n_targets, self.batch_size)
        self.fill(iteration, batches)
        n = self._n_samples(iteration)
        return unpack(batches.x, n), unpack(batches.target, n)

    def _n_samples(self, iteration: int) -> int:
        return self.batch_size


def new_batches(
    n_iterations: int,
    in_features: int,
    n_targets: int,
    batch_size: int,
    dtype: DTypeLike = np.float64,
    *,
    has_weights: bool = True,
    n_weights: int = 1,
) -> Batches:
    """Panels for a source to fill, without masks; weights are those of a plain mean, for each or for all."""
    n_panels, width = panel_shape(batch_size)
    return Batches(
        aligned_zeros(n_iterations, n_panels, in_features, width, dtype=dtype),
        aligned_zeros(n_iterations, n_panels, n_targets, width, dtype=dtype),
        plain_weights(n_iterations if has_weights else 1, batch_size, dtype, n_weights),
        aligned_zeros(0, n_panels, 0, width, dtype=dtype),
    )


class UniformSource(_Drawn):
    """New samples of a target in every iteration, uniform on a box.

    Parameters
    ----------
    target : callable, Target or None
        The function to learn. It is a NumPy function of an array (n, in_features) that returns (n,) or
        (n, out_features); or a function compiled by Numba, of in_features numbers, that returns a number; or
        `StandardGaussian()`. With None, there are only points, for a `Residual`, and `out_features` is 0.
    low, high : float or array_like of shape (in_features,), default -3.0 and 3.0
        Every coordinate is uniform on its closed interval [low, high]. If both are numbers, a NumPy function
        has one input.
    batch_size : int, default 16
        Samples in an iteration, at least 1.
    rng : StdRng or int, optional
        A generator or a seed. A seed uses its own stream, so the same seed gives a network different draws.
        The samples are the draws from the generator's current position on, sample by sample and
        coordinate by coordinate; the generator itself is not advanced.
    derivative : callable, optional
        The derivatives of the function, to be learned together with its values: a NumPy function of an array
        (n, in_features) that returns (n, out_features, in_features), or (n, in_features) for one output.
        `dy_weight` of `Trainer` is their weight.

    Raises
    ------
    InvalidArgumentError
        If low is above high; if the function returns another shape, or a value that is not finite, also
        during training. Exceptions of the function itself are passed on.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import UniformSource
    >>> source = UniformSource(lambda x: np.sin(x[:, 0]) * x[:, 1], low=[-3, 0], high=[3, 1], rng=1)
    >>> x, target = source.batch(0)
    >>> x.shape, target.shape
    ((16, 2), (16, 1))

    With derivatives:

    >>> source = UniformSource(lambda x: x[:, 0] ** 2, low=[-1], high=[1], derivative=lambda x: 2 * x, rng=1)
    >>> source.derivatives(0).shape
    (16, 1, 1)
    """

    has_weights = False

    @check.keywords
    def __init__(
        self,
        target: Any,
        low: ArrayLike = -3.0,
        high: ArrayLike = 3.0,
        batch_size: int = 16,
        rng: StdRng | int | None = None,
        derivative: Any = None,
    ) -> None:
        lows, highs = _corner("low", low), _corner("high", high)
        if lows.size != highs.size and 1 not in (lows.size, highs.size):
            raise check.reject("high", f"a number or of the shape of low, ({lows.size},)", f"({highs.size},)")
        for k in range(max(lows.size, highs.size)):
            interval_scale(float(lows[k % lows.size]), float(highs[k % highs.size]))
        self._target = as_target(target, lows, highs)
        in_features = check.integer("target.in_features", self._target.in_features, 1)
        for name, corner in (("low", lows), ("high", highs)):
            if corner.size not in (1, in_features):
                raise check.reject(name, f"a number or of shape ({in_features},)", f"shape {corner.shape}")
        out_features = check.integer(
            "target.out_features", self._target.out_features, 0 if target is None else 1
        )
        size = check.integer("batch_size", batch_size, 1)
        super().__init__(in_features, out_features, size, as_rng("rng", rng, SAMPLES))
        self._low, self._high = lows * np.ones(in_features), highs * np.ones(in_features)
        box = zip(self._low, self._high, strict=True)
        self._scale = np.array([interval_scale(float(a), float(b)) for a, b in box])
        at_once = max(1, _DRAWS_AT_ONCE // (self.batch_size * self.in_features))
        self._workspace_size = buffer_size(self.batch_size, self.in_features, at_once)
        self.has_derivatives = derivative is not None
        if derivative is not None:
            examples = self._low + np.linspace(0.25, 0.75, 3)[:, None] * (self._high - self._low)
            self._derivative = Derivative(derivative, examples, out_features)

    def __repr__(self) -> str:
        low, high = (listed(corner.tolist()) for corner in (self._low, self._high))
        return summary(
            self, brief(self.target), f"low={low}", f"high={high}", f"batch_size={self.batch_size}"
        )

    @property
    def configuration(self) -> dict[str, Any]:
        """The box and the sizes."""
        box = {"low": self._low.tolist(), "scale": self._scale.tolist()}
        more = {"has_derivatives": True} if self.has_derivatives else {}
        return {"kind": "UniformSource", **box, "batch_size": self.batch_size, **more}

    @property
    def target(self) -> Target:
        """The function to learn."""
        return self._target

    def fill(self, iteration: int, batches: Batches) -> None:
        """Overwrite `x` and `target` with the batches from `iteration` on, see `Source`."""
        if batches.x.dtype != np.float64:  # draws and values are computed in float64
            x, target = aligned_zeros(*batches.x.shape), aligned_zeros(*batches.target.shape)
            self.fill(iteration, batches._replace(x=x, target=target))
            batches.x[:], batches.target[:] = x, target
            return
        stream = self._rng.kernel_view(self._rng.position + iteration * self.batch_size * self.in_features)
        workspace = np.empty(self._workspace_size, np.uint64)  # for this call: threads may share a source
        fill_uniform(stream, 52, self._scale, self._low, self.batch_size, workspace, batches.x)
        if not self.has_derivatives:
            self._target.fill(batches.x, batches.target, self.batch_size)
            return
        n, n_panels, _, width = batches.x.shape
        values = aligned_zeros(n, n_panels, self.out_features, width)
        self._target.fill(batches.x, values, self.batch_size)
        batches.target[:, :, : self.out_features] = values
        rows = batches.x.transpose(0, 1, 3, 2).reshape(n, n_panels * width, self.in_features)
        inside = np.ascontiguousarray(rows[:, : self.batch_size]).reshape(-1, self.in_features)
        slopes = np.zeros((n, n_panels * width, self.n_targets - self.out_features))
        if n > 0:
            slopes[:, : self.batch_size] = self._derivative.of(inside).reshape(n, self.batch_size, -1)
        batches.target[:, :, self.out_features :] = slopes.reshape(n, n_panels, width, -1).swapaxes(2, 3)


def _corner(name: str, values: ArrayLike) -> Array:
    corner = np.atleast_1d(check.array(name, values))
    if corner.ndim != 1 or corner.size == 0:
        raise check.reject(name, "a number or one for each coordinate", f"shape {corner.shape}")
    return corner


class ArraySource(_Drawn):
    """Minibatches of a data set, in a new random order every epoch.

    Parameters
    ----------
    x : array_like of shape (n_samples, in_features)
        Inputs.
    y : array_like of shape (n_samples, out_features) or (n_samples,), or None
        Targets; NaN marks an unknown target, which does not count. A sample without any known target is left
        out. With None, there are only points, for a `Residual`, and `out_features` is 0.
    batch_size : int, default 32
        Samples in an iteration, at least 1; if larger than n_samples, every iteration takes all of them. The
        last batch of an epoch has the remaining samples, and is a mean over these.
    shuffle : bool, default True
        Whether an epoch is a random permutation, whose draws depend only on generator and epoch; otherwise
        the samples stay in order.
    sample_weight : array_like of shape (n_samples,), optional
        At least 0, not all 0; scaled to a mean of 1. It multiplies each sample's loss. Samples of weight 0
        are replaced by another one, so that extreme numbers in them do no harm.
    rng : StdRng or int, optional
        A generator or a seed. Its position is rounded up to a multiple of 128; it is not advanced.
    dy : array_like of shape (n_samples, out_features, in_features), optional
        Derivatives of the targets with respect to the inputs, to be learned together with the values; of
        shape (n_samples, in_features) if there is one output. NaN where unknown. `dy_weight` of `Trainer` is
        their weight.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import ArraySource
    >>> source = ArraySource(np.arange(10.0).reshape(5, 2), np.arange(5.0), batch_size=2, rng=1)
    >>> source.n_batches
    3
    >>> [source.batch(i)[0].shape for i in range(3)]
    [(2, 2), (2, 2), (1, 2)]
    """

    @check.keywords
    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike | None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        rng: StdRng | int | None = None,
        dy: ArrayLike | None = None,
    ) -> None:
        inputs, targets = check.pairs(x, y) if y is not None else _points(x)
        slopes = None
        if dy is not None:
            slopes = known_derivatives(dy, len(inputs), targets.shape[1], inputs.shape[1])[has_known(targets)]
        if y is not None:
            inputs, targets, weights = known_samples(inputs, targets, sample_weight)
            check_outputs(targets, weights)
        else:
            given = np.ones(len(inputs)) if sample_weight is None else sample_weight
            weights = check.sample_weights("sample_weight", given, len(inputs))
        n_samples = len(inputs)
        size = min(check.integer("batch_size", batch_size, 1), n_samples)
        super().__init__(inputs.shape[1], targets.shape[1], size, as_rng("rng", rng, SAMPLES))
        self.has_gaps, self.has_derivatives = bool(np.isnan(targets).any()), slopes is not None
        if slopes is not None:
            check_known(slopes, weights)
            targets = joined(targets, slopes)
        inputs, targets = without_weight(inputs, weights), without_weight(targets, weights)
        self._data: tuple[Array, ...] = inputs.copy(), targets.copy(), weights
        # The data in the units that the last trainer asked for: all copies of a source share them.
        self._in_units: list[tuple[Standardization, np.dtype[Any], tuple[Array, ...]]] = []
        self.is_constant = self.n_batches == 1
        self._digest: str | None = None
        is_shuffled = check.flag("shuffle", shuffle) and size < n_samples
        self._n_draws = permutation_draws(n_samples) if is_shuffled else 0
        # A generator, an epoch and its order, kept for the next chunk; a thread removes it while it works.
        self._orders: list[tuple[StdRng, int, Array]] = []

    def __repr__(self) -> str:
        counts = (self.n_samples, "sample"), (self.in_features, "input"), (self.out_features, "output")
        facts = [counted(n, noun) for n, noun in counts]
        if self.has_derivatives:
            facts.append("with derivatives")
        facts.append(f"batch_size={self.batch_size}")
        if self._n_draws == 0:
            facts.append("in order")
        if (self._data[2] != 1).any():
            facts.append("weighted")
        if self.has_gaps:
            facts.append(counted(int(np.isnan(self.targets).sum()), "unknown target"))
        return summary(self, *facts)

    @property
    def configuration(self) -> dict[str, Any]:
        """The sizes, and a digest of the data."""
        if self._digest is None:
            self._digest = hashlib.sha256(b"".join(part.tobytes() for part in self._data)).hexdigest()
        is_shuffled = self._n_draws > 0
        return {
            "kind": "ArraySource",
            "data": self._digest,
            "batch_size": self.batch_size,
            "shuffle": is_shuffled,
        }

    @property
    def n_samples(self) -> int:
        """The number of samples with a known target."""
        return int(self._data[0].shape[0])

    @property
    def inputs(self) -> Array:
        """Inputs of the data set (n_samples, in_features); do not change them."""
        return self._data[0]

    @property
    def targets(self) -> Array:
        """Targets of the data set (n_samples, out_features), NaN where unknown; do not change them."""
        return self._data[1][:, : self.out_features]

    @property
    def n_batches(self) -> int:
        """Iterations in an epoch."""
        return -(-self.n_samples // self.batch_size)

    def standardized(self, units: Standardization, dtype: "np.dtype[Any]") -> Source:
        """The same batches, from data that are standardised once."""
        data = None
        for known, of_dtype, values in self._in_units:
            if of_dtype == dtype and all(map(np.array_equal, known, units)):
                data = values
        if data is None:
            inputs, rows, weights = self._data
            x, y = units.finite_inputs(inputs, dtype), units.finite_targets(self.targets, dtype)
            if self.has_derivatives:
                y = joined(y, units.finite_derivatives(parted(rows, self.out_features)[1], dtype))
            data = x.astype(np.float64), y.astype(np.float64), weights
            self._in_units[:] = [(units, dtype, data)]
        twin = copy.copy(self)
        twin._data, twin._in_units = data, []
        twin._digest, twin._orders = None, []
        return twin

    def _n_samples(self, iteration: int) -> int:
        return min(self.batch_size, self.n_samples - iteration % self.n_batches * self.batch_size)

    def fill(self, iteration: int, batches: Batches) -> None:
        """Overwrite the panels with the batches from `iteration` on, see `Source`."""
        rng = self._rng
        epoch, order = -1, np.arange(self.n_samples)
        with contextlib.suppress(IndexError):
            of_rng, of_epoch, known = self._orders.pop()
            if of_rng is rng:  # the stream has not been moved since
                epoch, order = of_epoch, known
        stream = rng.kernel_view(whole_groups(rng.position))
        draws = np.empty(self._n_draws, np.uint64)
        size = self.batch_size
        epoch = fill_minibatches(stream, draws, epoch, order, self._data, size, iteration, batches)
        self._orders = [(rng, epoch, order)]


def _points(x: ArrayLike) -> tuple[Array, Array]:
    """Inputs (n_samples, in_features), and targets without features."""
    inputs = check.rows("x", x)
    return inputs, np.empty((inputs.shape[0], 0))


class StandardizedSource(Source):
    """The batches of a source in standardised units.

    Parameters
    ----------
    source : Source
        A source in the units of the data.
    units : Standardization
        The units of its inputs and targets.
    """

    def __init__(self, source: Source, units: Standardization) -> None:
        self._source = source
        self._units = units
        self.in_features, self.out_features = source.in_features, source.out_features
        self.batch_size, self.is_constant = source.batch_size, source.is_constant
        self.has_weights, self.has_gaps = source.has_weights, source.has_gaps
        self.has_derivatives = source.has_derivatives

    @property
    def stream(self) -> RngState | None:
        """The stream of the source."""
        return self._source.stream

    @stream.setter
    def stream(self, state: RngState | None) -> None:
        self._source.stream = state

    @property
    def configuration(self) -> Any:
        """The configuration of the source, and the units."""
        return {"source": self._source.configuration, "units": [part.tolist() for part in self._units]}

    def fill(self, iteration: int, batches: Batches) -> None:
        """Overwrite the panels with the batches from `iteration` on, see `Source`."""
        raw = batches._replace(x=aligned_zeros(*batches.x.shape), target=aligned_zeros(*batches.target.shape))
        self._source.fill(iteration, raw)
        batches.x[:] = self._units.inputs(raw.x.swapaxes(2, 3)).swapaxes(2, 3)
        rows = raw.target.swapaxes(2, 3)
        if self.has_derivatives:
            values, slopes = parted(rows, self.out_features)
            scaled = self._units.derivatives(slopes).reshape(*rows.shape[:3], -1)
            batches.target[:] = np.concatenate([self._units.targets(values), scaled], axis=3).swapaxes(2, 3)
        else:
            batches.target[:] = self._units.targets(rows).swapaxes(2, 3)
