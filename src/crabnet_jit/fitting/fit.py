"""Fitting a network to a data set in one call."""

import copy
import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.callbacks.checkpoint import Checkpoint
from crabnet_jit.callbacks.stopping import EarlyStopping
from crabnet_jit.components.activations import Activation
from crabnet_jit.components.losses import Loss, as_loss
from crabnet_jit.components.optimizers import Optimizer
from crabnet_jit.components.schedules import Cosine, Schedule
from crabnet_jit.data.random import DROPOUT, StdRng, as_rng
from crabnet_jit.data.sources import ArraySource
from crabnet_jit.fitting.data_set import set_aside, targets_for, units_of, weights_of
from crabnet_jit.network.history import FitHistory
from crabnet_jit.network.initializers import init_for
from crabnet_jit.network.network import NN
from crabnet_jit.training.objective import Objective
from crabnet_jit.training.run import Callback, Run, as_callbacks
from crabnet_jit.training.trainer import Trainer

_CHECKS = 50  # in a fit
OnCheck = Callable[[int, float, float | None], object]


@check.keywords
def fit(
    x: ArrayLike,
    y: ArrayLike,
    *,
    hidden_sizes: Sequence[int] = (32, 32),
    activation: Activation | str | Sequence[Activation | str] = "tanh",
    init: str = "auto",
    loss: Loss | str = "mse",
    optimizer: Optimizer | str = "adam",
    learning_rate: float | Schedule = 0.003,
    n_iterations: int = 20_000,
    batch_size: int = 64,
    sample_weight: ArrayLike | None = None,
    standardize: bool = True,
    validation: float | tuple[ArrayLike, ...] | None = None,
    seed: StdRng | int = 0,
    dtype: DTypeLike = np.float64,
    start: NN | None = None,
    on_check: OnCheck | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    resume: str | PathLike[str] | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    dropout: float | Sequence[float] = 0.0,
    on_divergence: str = "raise",
    log_every: int = 10_000,
    keep_losses: int | None = None,
) -> NN:
    """A network fitted to a data set.

    Parameters
    ----------
    x : array_like of shape (n_samples, in_features)
        Inputs.
    y : array_like of shape (n_samples, out_features) or (n_samples,)
        Targets. With the loss "cross_entropy" also labels, integers (n_samples,) from 0 to n_classes - 1; the
        network then has an output for each class, the logit of its probability.
    hidden_sizes : sequence of int, default (32, 32)
        Widths of the hidden layers.
    activation, dtype
        As in `NN`.
    init : str, default "auto"
        As in `NN`; "auto" is "siren" with `Sine`, "he_uniform" with `ReLU`, else "glorot_uniform".
    loss, optimizer
        As in `Trainer`.
    learning_rate : float or callable, default 0.003
        A number is where a `Cosine` schedule starts, with a tenth of the iterations to warm up.
    n_iterations : int, default 20000
        Steps to take, at least 1.
    batch_size, sample_weight
        As in `ArraySource`.
    standardize : bool, default True
        Whether inputs, and the targets of losses that are no cross entropies, are brought to mean 0 and
        standard deviation 1. The network keeps how, and `predict` undoes it.
    validation : float, (x, y) or (x, y, sample_weight), optional
        A data set, or the share of samples that is set aside for one, between 0 and 1. The network gets the
        parameters of its least validation loss, out of up to 51 taken on the way.
    seed : StdRng or int, default 0
        For initial parameters, then the validation set, then the order of samples and dropout.
    start : NN, optional
        A network to go on from, such as an earlier fit's; it is not changed. The result is one like it, with
        its sizes, activations and type, and in its units: `hidden_sizes`, `activation`, `init`, `dtype` and
        `standardize` do not count then.
    on_check : callable, optional
        Called after each fiftieth of the iterations, with the number of iterations done, the mean loss since
        the last call, and the validation loss or None.
    patience : int, optional
        Needs `validation`: the fit ends after this many validation losses in a row without improvement.
    callbacks : sequence of Callback or callable
        Others to be called in the run, such as `ProgressBar()`, `TimeBudget(60)` or `Checkpoint("fit.npz")`.
    resume : path-like, optional
        A checkpoint of the same call, to go on from.
    l1, l2, clip_value, clip_norm, dropout, on_divergence, log_every
        As in `Trainer`.
    keep_losses : int, optional
        As in `Trainer`; those that `on_check` needs are kept in any case.

    Returns
    -------
    NN
        Its `predict` takes and gives numbers in the units of x and y. Its `fit_history` says what happened.

    Raises
    ------
    InvalidArgumentError
        For arguments that are wrong; the message says which, and where.
    FloatingPointError
        If the training diverges.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit
    >>> x = np.linspace(0, 10, 200)[:, None]
    >>> net = fit(x, 100 + 5 * np.sin(x), n_iterations=5000)
    >>> bool(abs(net.predict([[2.0]])[0, 0] - (100 + 5 * np.sin(2))) < 0.2)
    True
    """
    criterion = as_loss("loss", loss)
    check.function("on_check", on_check)
    inputs, targets = check.pairs(x, targets_for(criterion, y))
    n_samples = inputs.shape[0]
    n_iterations = check.integer("n_iterations", n_iterations, 1)
    weights = weights_of(sample_weight, n_samples)
    rng = as_rng("seed", seed).copy()

    if start is None:
        net = NN(
            inputs.shape[1],
            hidden_sizes,
            targets.shape[1],
            rng,
            activation=activation,
            init=init_for(init, activation),
            dtype=dtype,
        )
    else:
        net = _copy_of(start, inputs.shape[1], targets.shape[1])
    (inputs, targets, weights), validation_set = set_aside(
        validation, criterion, (inputs, targets, weights), rng
    )
    if check.flag("standardize", standardize) and start is None:
        net.standardization = units_of((inputs, targets, weights), criterion)
    source = ArraySource(inputs, targets, batch_size, sample_weight=weights, rng=rng)
    if not callable(learning_rate):
        rate = check.number("learning_rate", learning_rate, 0.0)
        learning_rate = Cosine(rate, n_iterations, warmup=n_iterations // 10)
    every = -(-n_iterations // _CHECKS)
    if keep_losses is not None:
        keep_losses = max(every, check.integer("keep_losses", keep_losses, 0))
    trainer = Trainer(
        net,
        source,
        loss=criterion,
        optimizer=optimizer,
        learning_rate=learning_rate,
        l1=l1,
        l2=l2,
        clip_value=clip_value,
        clip_norm=clip_norm,
        dropout=dropout,
        rng=StdRng(rng.state["seed"], DROPOUT),
        log_every=log_every,
        keep_losses=keep_losses,
        on_divergence=on_divergence,
    )
    stopping = None
    if validation_set is not None:
        x_aside, y_aside, weights_aside = validation_set
        validation_loss = Objective(net, x_aside, y_aside, loss=criterion, sample_weight=weights_aside)
        stopping = EarlyStopping(patience, validation_loss, every)
    elif patience is not None:
        raise check.reject("patience", "None without validation", repr(patience))
    checks: list[Callback] = [] if stopping is None else [stopping]
    if on_check is not None:
        checks.append(_Report(every, on_check, stopping))
    if resume is not None:
        trainer.load_checkpoint(check.path("resume", resume))
    called = as_callbacks(callbacks, every)
    try:
        trainer.run(max(0, n_iterations - trainer.iteration), callbacks=[*checks, *called])
    except OSError as error:
        if not any(isinstance(callback, Checkpoint) and callback.error is error for callback in called):
            raise
        warnings.warn(f"no checkpoint at the end: {error}", RuntimeWarning, stacklevel=3)
    if stopping is not None and stopping.best_parameters is None:
        raise FloatingPointError("no validation loss is finite; a smaller learning_rate may help")
    validated = ([], []) if stopping is None else (stopping.iterations, stopping.losses)
    net.fit_history = FitHistory(trainer.history, *validated)
    return net


class _Report(Callback):
    """Tells `on_check` how a fit goes."""

    def __init__(self, every: int, on_check: OnCheck, stopping: EarlyStopping | None) -> None:
        self.every = every
        self._on_check = on_check
        self._stopping = stopping
        self._earlier = np.empty(0)  # losses since the last call, of the run before a checkpoint

    def start(self, run: Run) -> None:
        self._history, self._began_at = run.history, run.iteration

    def _losses(self) -> Array:
        """Since the last call."""
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


def _copy_of(start: NN, in_features: int, out_features: int) -> NN:
    """A network like another one, for data of these widths."""
    check.instance("start", start, NN, "an NN")
    for name, width in (("in_features", in_features), ("out_features", out_features)):
        if getattr(start, name) != width:
            raise check.reject(f"start.{name}", f"that of the data, {width}", repr(getattr(start, name)))
    return copy.copy(start)
