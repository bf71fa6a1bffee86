"""Fitting a network to a data set in one call."""

import copy
import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.callbacks.checkpoint import Checkpoint
from crabnet_jit.callbacks.stopping import EarlyStopping
from crabnet_jit.components.activations import Activation
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.optimizers import as_optimizer
from crabnet_jit.components.schedules import Schedule
from crabnet_jit.components.update_rules import Optimizer
from crabnet_jit.data.columns import HANDLE_UNKNOWN, MISSING, targets_of
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.known import check_outputs
from crabnet_jit.data.random import DROPOUT, StdRng, as_rng
from crabnet_jit.data.sources import ArraySource
from crabnet_jit.fitting.data_set import (
    Parts,
    Samples,
    check_heads,
    set_aside,
    set_up,
    targets_for,
)
from crabnet_jit.fitting.output_range import output_range_of
from crabnet_jit.fitting.shared import Shared, once
from crabnet_jit.fitting.slopes import derivatives_for
from crabnet_jit.fitting.step_options import batch_size_of, steps_of
from crabnet_jit.fitting.understanding import Data, understood, with_means
from crabnet_jit.network.history import FitHistory
from crabnet_jit.network.initializers import init_for
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.training.objective import Objective
from crabnet_jit.training.run import Callback, Run, as_callbacks
from crabnet_jit.training.state import Saved
from crabnet_jit.training.trainer import Trainer

_CHECKS = 50  # in a fit
OnCheck = Callable[[int, float, float | None], object]


@check.keywords
def fit(
    x: Any,
    y: Any,
    *,
    hidden_sizes: Sequence[int] = (32, 32),
    activation: Activation | str | Sequence[Activation | str] = "tanh",
    output_activation: Activation | str = "auto",
    output_range: Any = None,
    init: str = "auto",
    loss: Loss | str = "auto",
    optimizer: Optimizer | str = "adam",
    learning_rate: float | str | Schedule = "auto",
    n_iterations: int | str = "auto",
    batch_size: int | str = "auto",
    sample_weight: ArrayLike | None = None,
    standardize: bool = True,
    handle_unknown: str = "error",
    missing: str = "error",
    validation: float | tuple[ArrayLike, ...] | NDArray[np.bool_] | None = None,
    seed: StdRng | int = 0,
    dtype: DTypeLike = np.float64,
    start: NN | None = None,
    on_check: OnCheck | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    resume: str | PathLike[str] | Saved | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    dropout: float | Sequence[float] = 0.0,
    on_divergence: str = "raise",
    log_every: int = 10_000,
    keep_losses: int | None = None,
    dy: ArrayLike | None = None,
    dy_weight: float = 1.0,
    n_threads: int | str = 1,
) -> NN:
    """Fit a network to a data set. For equations instead of data, or in addition, see `Residual`.

    Parameters
    ----------
    x : array_like of shape (n_samples, in_features), or a data frame
        Inputs; shape (n_samples,) means one feature. For a data frame (pandas, polars, pyarrow and others,
        through narwhals), the network keeps the names of the columns, and its `predict` accepts them in any
        order. Booleans become 0 and 1; a column of strings or categories becomes one input for each category,
        which is 1 for that category and 0 otherwise.
    y : array_like of shape (n_samples, out_features) or (n_samples,), or a data frame or one of its columns
        Targets, or labels of classes: integers, strings, booleans or categories. See `loss`. NaN, None, or a
        missing value of the data frame marks an unknown target: that output of that sample does not count.
        A sample without any known target is left out.
    hidden_sizes : sequence of int, default (32, 32)
        Widths of the hidden layers.
    activation, dtype
        As in `NN`.
    output_activation : Activation or str, default "auto"
        The activation that keeps the outputs in a range: "softplus" makes them positive, "sigmoid" and "tanh"
        keep them between two bounds. "auto" is "sigmoid" or "softplus" if there is an `output_range`, else
        "identity".
    output_range : (low, high) or (low, None), optional
        Bounds of the outputs, in the units of y: numbers, or one for each output. Predictions never leave the
        range, whatever the inputs are; targets may lie on its bounds. The default is the range of the
        `output_activation`: (0, None), (0, 1) or (-1, 1). The network's `standardization` then maps the
        values of the activation to the range, even with `standardize=False`. Not for cross entropies.
    init : str, default "auto"
        As in `NN`; "auto" is "siren" with `Sine`, "he_uniform" with `ReLU`, else "glorot_uniform".
    loss : Loss or str, default "auto"
        As in `Trainer`. "auto" is "mse" for numbers and "cross_entropy" for strings, booleans and categories
        ("binary_cross_entropy" for several columns of booleans). If integers are labels, say
        "cross_entropy". The network then becomes a classifier, with an output for each class. With
        "binary_cross_entropy" it has one output for labels of two classes; or y has a column for each of
        several classes, 1 where it applies and 0 otherwise, and each has an output. `predict` then returns
        labels, and `predict_proba` returns probabilities. "poisson" is for counts, "gaussian_nll" learns the
        standard deviation of the noise besides the mean, and `Quantile([0.05, 0.5, 0.95])` learns these
        quantiles.
    optimizer
        As in `Trainer`.
    learning_rate : float or callable, default "auto"
        A number is the peak of a `Cosine` schedule, which warms up for a tenth of the iterations. "auto" is
        0.003. Second-order methods, such as "levenberg_marquardt", have none.
    n_iterations : int, default "auto"
        The number of steps, at least 1. "auto" is 20,000; with "levenberg_marquardt" it is 1,000, and with
        "bayesian_regularization" 5,000. Both may converge earlier.
    batch_size : int, default "auto"
        As in `ArraySource`. "auto" is 64; for second-order methods, it is all samples, which they need.
    sample_weight
        As in `ArraySource`.
    standardize : bool, default True
        Whether inputs, and targets that are neither classes nor counts, are scaled to mean 0 and standard
        deviation 1. The network keeps the scaling, and `predict` undoes it.
    handle_unknown : {"error", "ignore"}, default "error"
        What `predict` does with a category that was not in x: it raises an error, or sets all categories of
        its column to 0.
    missing : {"error", "drop", "mean"}, default "error"
        What to do with missing inputs: NaN, None, or missing values of the data frame. "drop" leaves out
        samples that have any. "mean" replaces them by the weighted mean of the training samples (for a column
        of strings: by the share of each category), which the network keeps for `predict`. With both,
        samples whose weight is missing are left out. In compiled code and in exported programs, a missing
        value gives NaN.
    validation : float, (x, y), (x, y, sample_weight) or ndarray of bool, optional
        A data set; or the share of samples that is set aside for one, between 0 and 1; or a boolean for each
        sample, of shape (n_samples,), which is true for those that are set aside. The network gets the
        parameters with the lowest validation loss, among up to 51 that are checked during training; with a
        second-order method, among all iterations.
    seed : StdRng or int, default 0
        It determines the initial parameters, then the validation set, then the order of samples and dropout.
    start : NN, optional
        A network to start from, such as that of an earlier fit; it is not changed. The result has the same
        sizes, activations, type, columns, classes and units: `hidden_sizes`, `activation`,
        `output_activation`, `init`, `dtype`, `standardize`, `handle_unknown` and `missing` are ignored, and
        `output_range` only says where y may lie.
    on_check : callable, optional
        Called 50 times during the fit, with the number of iterations done, the mean loss since the last call,
        and the validation loss or None.
    patience : int, optional
        Needs `validation`: the fit ends after this many validation losses in a row without improvement.
    callbacks : sequence of Callback or callable
        Called during the run, such as `ProgressBar()`, `TimeBudget(60)` or `Checkpoint("fit.npz")`.
    resume : path-like, optional
        A checkpoint of the same call, from which to go on.
    l1, l2, clip_value, clip_norm, dropout, on_divergence, log_every
        As in `Trainer`.
    keep_losses : int, optional
        As in `Trainer`; those that `on_check` needs are kept in any case.
    dy : array_like of shape (n_samples, out_features, in_features), optional
        Derivatives of y with respect to x, in units of y per unit of x, to be learned together with the
        values; of shape (n_samples, in_features) if y is one column. NaN where unknown. There is a warning if
        differences of y contradict them. They do not work with losses that are not of values, columns of
        strings, and "bayesian_regularization". A validation loss only counts values.
    dy_weight : float, default 1.0
        As in `Trainer`: the weight of the mean squared error of derivatives, relative to the loss of values.
    n_threads : int or "auto", default 1
        As in `Trainer`: threads that share the samples of a batch. They make large networks, batches of
        hundreds of samples, and "levenberg_marquardt" faster. For many networks `fit_many` is better.

    Returns
    -------
    NN
        Its `predict` takes inputs like x and returns predictions like y, in the same shape and units. Its
        `fit_history` records the training.

    Raises
    ------
    InvalidArgumentError
        For wrong arguments; the message says which one and what is allowed.
    FloatingPointError
        If training diverges.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit
    >>> x = np.linspace(0, 10, 200)[:, None]
    >>> net = fit(x, 100 + 5 * np.sin(x), n_iterations=5000)
    >>> bool(abs(net.predict([[2.0]])[0, 0] - (100 + 5 * np.sin(2))) < 0.2)
    True

    Labels of classes, and their probabilities:

    >>> net = fit(x, np.where(x[:, 0] < 5, "low", "high"), n_iterations=500)
    >>> net.predict([1.0, 9.0])
    array(['low', 'high'], dtype='<U4')
    >>> net.classes
    array(['high', 'low'], dtype='<U4')
    >>> net.predict_proba([1.0, 9.0]).round(1)
    array([[0., 1.],
           [1., 0.]])

    A few samples, with their derivatives:

    >>> x = np.linspace(0, 10, 12)
    >>> net = fit(x, np.sin(x), dy=np.cos(x), n_iterations=5000)
    >>> bool(abs(net.predict([2.0])[0] - np.sin(2)) < 0.05)
    True
    """
    check.function("on_check", on_check)
    check.choice("handle_unknown", handle_unknown, HANDLE_UNKNOWN)
    check.choice("missing", missing, MISSING)
    check.flag("standardize", standardize)
    data = understood(x, y, sample_weight, loss, handle_unknown, missing, start)
    schema, criterion, inputs, targets, weights, is_kept = data
    rule = as_optimizer("optimizer", optimizer)
    steps = steps_of(rule, n_iterations, batch_size, learning_rate)
    rng = as_rng("seed", seed).copy()
    outputs = output_range_of(output_activation, output_range, criterion, targets.shape[1])
    outputs.check_targets("y", targets, np.flatnonzero(is_kept))
    widths = inputs.shape[1], targets.shape[1] * criterion.n_heads
    if start is None:
        net = NN(
            widths[0],
            hidden_sizes,
            widths[1],
            rng,
            activation=activation,
            output_activation=outputs.activation,
            init=init_for(init, activation),
            dtype=dtype,
        )
    else:
        net = _copy_of(start, criterion, *widths)
    net.schema = schema

    def encoded(x: Any, y: Any) -> tuple[Array, Array]:
        rows = schema.rows(x, net.in_features, allow_missing=schema.missing == "mean")
        return rows, targets_for(criterion, targets_of(y)[1], schema.labels).values

    whole = inputs, targets, weights
    parts = with_means(set_aside(validation, whole, is_kept, rng, encoded, x), net)
    shared = x if isinstance(x, Shared) and parts.is_common else None
    (inputs, targets, weights), validation_set = parts.training, parts.validation
    check_outputs(targets, weights, net.output_names)
    if parts.validation is not None:
        outputs.check_targets("validation y", parts.validation[1])
    net.domain = once(shared, Domain.of, inputs, weights, None if start is None else start.domain)
    if start is None:
        set_up(net, criterion, parts.training, outputs, standardize, shared)
    slopes = None if dy is None else _derivatives(dy, data, parts, shared)
    size = batch_size_of(rule, steps, len(inputs))
    source = once(shared, _source, inputs, targets, weights, size, slopes).drawn_by(rng)
    every = -(-steps.n_iterations // _CHECKS)
    if keep_losses is not None:
        keep_losses = max(every, check.integer("keep_losses", keep_losses, 0))
    trainer = Trainer(
        net,
        source,
        loss=criterion,
        optimizer=rule,
        learning_rate=steps.learning_rate,
        l1=l1,
        l2=l2,
        clip_value=clip_value,
        clip_norm=clip_norm,
        dropout=dropout,
        rng=StdRng(rng.state["seed"], DROPOUT),
        log_every=log_every,
        keep_losses=keep_losses,
        on_divergence=on_divergence,
        dy_weight=dy_weight,
        n_threads=n_threads,
    )
    stopping = _stopping(trainer, validation_set, patience, every)
    checks: list[Callback] = [] if stopping is None else [stopping]
    if on_check is not None:
        checks.append(_Report(every, on_check, stopping))
    if resume is not None:
        trainer.load_checkpoint(resume if isinstance(resume, Saved) else check.path("resume", resume))
    _train(trainer, max(0, steps.n_iterations - trainer.iteration), checks, as_callbacks(callbacks, every))
    if stopping is not None and stopping.best_parameters is None:
        raise FloatingPointError("no validation loss is finite; a smaller learning_rate may help")
    net.posterior = _posterior(trainer, has_best=stopping is not None)
    net.fit_history = _history(trainer, stopping, parts, is_kept, shared)
    return net


def _train(trainer: Trainer, n: int, checks: list[Callback], called: list[Callback]) -> None:
    """Take n iterations; if the final checkpoint cannot be written, only warn, to keep the network."""
    try:
        trainer.run(n, callbacks=[*checks, *called])
    except OSError as error:
        if not any(isinstance(callback, Checkpoint) and callback.error is error for callback in called):
            raise
        warnings.warn(f"no checkpoint at the end: {error}", RuntimeWarning, stacklevel=4)
    trainer.history.trim()


def _source(
    inputs: Array, targets: Array, weights: Array, batch_size: int, slopes: Array | None
) -> ArraySource:
    """Minibatches of these samples, not yet connected to a generator."""
    return ArraySource(inputs, targets, batch_size, sample_weight=weights, rng=0, dy=slopes)


def _derivatives(dy: Any, data: Data, parts: Parts, shared: Shared | None) -> Array:
    """The derivatives at the samples to train on; for a shared data set, all are prepared once."""
    if shared is None:
        return derivatives_for(dy, data, parts)
    return shared.once(derivatives_for, dy, data, parts._replace(validation=None))


def _history(
    trainer: Trainer,
    stopping: EarlyStopping | None,
    parts: Parts,
    is_kept: NDArray[np.bool_],
    shared: Shared | None,
) -> FitHistory:
    """The record of the fit, including which rows were trained on or set aside."""
    validated = ([], []) if stopping is None else (stopping.iterations, stopping.losses)
    kept_rows = once(shared, np.flatnonzero, is_kept)
    rows = kept_rows if parts.training_rows.size == kept_rows.size else kept_rows[parts.training_rows]
    return FitHistory(trainer.history, *validated, rows, kept_rows[parts.validation_rows])


def _posterior(trainer: Trainer, *, has_best: bool) -> Posterior | None:
    """The posterior of the network's parameters; of the last ones if an unfinished search has no best."""
    if not has_best and (best := trainer.best_parameters()) is not None:
        message = "the search for the weight decay was not over; more iterations may find a better one"
        warnings.warn(message, RuntimeWarning, stacklevel=4)
        trainer.lend_parameters(best)
    return trainer.posterior()


def _stopping(
    trainer: Trainer, validation_set: Samples | None, patience: int | None, every: int
) -> EarlyStopping | None:
    """The callback that watches the validation loss, if there is one."""
    if validation_set is not None:
        x, y, weights = validation_set
        options: dict[str, Any] = {"sample_weight": weights, "n_threads": trainer.n_threads}
        objective = Objective(trainer.net, x, y, loss=trainer.loss, **options)
        return EarlyStopping(patience, objective, 1 if trainer.optimizer.is_second_order else every)
    if patience is not None:
        hint = "; with validation=0.2 a fifth of the samples is set aside"
        raise check.reject("patience", "None without validation", repr(patience), hint)
    return None


class _Report(Callback):
    """Reports the progress of a fit to `on_check`."""

    def __init__(self, every: int, on_check: OnCheck, stopping: EarlyStopping | None) -> None:
        self.every = every
        self._on_check = on_check
        self._stopping = stopping
        self._earlier = np.empty(0)  # losses between the last call and a checkpoint

    def start(self, run: Run) -> None:
        self._history, self._began_at = run.history, run.iteration

    def _losses(self) -> Array:
        """The losses since the last call."""
        first = self._began_at if self._earlier.size > 0 else self.called_at or 0
        own = self._history.losses[max(0, first - self._history.first_iteration) :]
        return np.concatenate([self._earlier, own])

    def __call__(self, run: Run) -> None:
        loss = float(self._losses().mean())
        self._earlier = np.empty(0)
        self._on_check(run.iteration, loss, None if self._stopping is None else self._stopping.losses[-1])

    def state(self) -> dict[str, Any]:
        return super().state() | {"losses": self._losses()}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._earlier = np.asarray(state["losses"])

    def finish(self, run: Run, error: BaseException | None) -> None:
        if error is None and self.called_at != run.iteration:
            self(run)


def _copy_of(start: NN, loss: Loss, in_features: int, out_features: int) -> NN:
    """A network like another one, for data of these widths and this loss."""
    check_heads(start, loss)
    for name, width in (("in_features", in_features), ("out_features", out_features)):
        if getattr(start, name) != width:
            raise check.reject(f"start.{name}", f"that of the data, {width}", repr(getattr(start, name)))
    return copy.copy(start)
