"""From numbers to a trained network: the only place where estimators call `fit`, `NN` and `Trainer`."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.optimizers import as_optimizer
from crabnet_jit.components.update_rules import OptimizerState
from crabnet_jit.data.random import DROPOUT, StdRng
from crabnet_jit.data.sources import ArraySource
from crabnet_jit.fitting.data_set import set_up
from crabnet_jit.fitting.fit import fit
from crabnet_jit.fitting.fit_many import fit_many
from crabnet_jit.fitting.output_range import output_range_of
from crabnet_jit.fitting.step_options import AUTO, batch_size_of, steps_of
from crabnet_jit.network.ensemble import Ensemble
from crabnet_jit.network.history import History
from crabnet_jit.network.initializers import init_for
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import Schema
from crabnet_jit.training.trainer import Trainer

_LEARNING_RATE = 0.02  # "auto" for update rules
#: Parameters of estimators that `Trainer` takes unchanged.
_OF_TRAINERS = (
    "optimizer",
    "l1",
    "l2",
    "clip_value",
    "clip_norm",
    "dropout",
    "on_divergence",
    "log_every",
    "keep_losses",
    "n_threads",
)
#: Parameters that `fit` takes unchanged.
_OF_FITS = (
    *_OF_TRAINERS,
    "hidden_sizes",
    "activation",
    "output_activation",
    "output_range",
    "init",
    "n_iterations",
    "standardize",
    "patience",
    "dtype",
    "callbacks",
    "on_check",
    "resume",
)
#: Parameters that several members do not support.
_OF_ONE_FIT = ("callbacks", "on_check", "resume")


class Samples(NamedTuple):
    """Data to train on: inputs (n, n_in), targets (n, n_out) and weights (n,), all above 0."""

    inputs: Array
    targets: Array
    weights: Array


def fit_network(
    estimator: Any,
    samples: Samples,
    loss: Loss,
    seeds: Sequence[int],
    start: NN | Ensemble | None,
    **more: Any,
) -> NN | Ensemble:
    """A network fitted to the samples, with the options of an estimator; for several seeds, an ensemble."""
    validation = estimator.validation
    if validation is not None:
        validation = check.fraction("validation", validation)
    options = {name: getattr(estimator, name) for name in _OF_FITS} | {
        "loss": loss,
        "sample_weight": samples.weights,
        "learning_rate": _learning_rate(estimator, AUTO),
        "batch_size": len(samples.inputs) if estimator.batch_size is None else estimator.batch_size,
        "validation": validation,
        **more,
    }
    starts = _starts(start, len(seeds))
    if len(seeds) == 1:
        return fit(samples.inputs, samples.targets, seed=seeds[0], start=starts[0], **options)
    for name in _OF_ONE_FIT:
        if options.pop(name):
            raise check.reject(name, "left out with n_members above 1", repr(getattr(estimator, name)))
    own_threads = options.pop("n_threads")
    specs = [
        {"seed": seed, "start": one, "n_threads": own_threads}
        for seed, one in zip(seeds, starts, strict=True)
    ]
    n_jobs = 1 if estimator.n_jobs is None else estimator.n_jobs
    n_threads = AUTO if n_jobs == -1 else check.integer("n_jobs", n_jobs, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*diverged", RuntimeWarning)  # it is an error here
        fits = fit_many(specs, samples.inputs, samples.targets, n_threads=n_threads, **options)
    for error in fits.errors.values():
        raise error
    return Ensemble(fits)


def _starts(start: NN | Ensemble | None, n: int) -> list[NN | None]:
    """The network that each of n fits starts from; it has no labels, since the samples are numbers."""
    if start is None:
        return [None] * n
    networks = list(start.members) if isinstance(start, Ensemble) else [start]
    if len(networks) != n:
        raise check.reject("n_members", f"that of the last fit, {len(networks)}, for a warm start", repr(n))
    starts: list[NN | None] = []
    for net in map(copy.copy, networks):
        net.schema = Schema(heads=net.schema.heads, quantiles=net.schema.quantiles)
        starts.append(net)
    return starts


def new_network(estimator: Any, samples: Samples, loss: Loss, seed: int) -> NN:
    """A network like that with which `fit` starts, in the units of these samples."""
    n_targets = samples.targets.shape[1]
    outputs = output_range_of(estimator.output_activation, estimator.output_range, loss, n_targets)
    outputs.check_targets("y", samples.targets)
    net = NN(
        samples.inputs.shape[1],
        estimator.hidden_sizes,
        n_targets * loss.n_heads,
        seed,
        activation=estimator.activation,
        output_activation=outputs.activation,
        init=init_for(estimator.init, estimator.activation),
        dtype=estimator.dtype,
    )
    set_up(net, loss, samples, outputs, estimator.standardize)
    return net


def train_one_pass(
    estimator: Any, net: NN, samples: Samples, loss: Loss, seed: int, state: OptimizerState | None
) -> tuple[History, OptimizerState]:
    """Train the network in place, each sample once, from an optimiser's state; return the new state."""
    inputs, targets, weights = samples
    source = ArraySource(
        inputs, targets, _batch_size(estimator, len(inputs)), sample_weight=weights, rng=seed
    )
    trainer = Trainer(
        net,
        source,
        loss=loss,
        learning_rate=_from_iteration(estimator.n_iter_, _learning_rate(estimator, None)),
        rng=StdRng(seed, DROPOUT),
        **{name: getattr(estimator, name) for name in _OF_TRAINERS},
    )
    here = trainer.optimizer_state
    if state is not None:
        if state.buffers.shape != here.buffers.shape or state.numbers.shape != here.numbers.shape:
            raise check.reject("optimizer", "that of earlier calls of partial_fit", repr(trainer.optimizer))
        here.buffers[:], here.numbers[:] = state
    history = trainer.run(source.n_batches, callbacks=estimator.callbacks)
    return history, OptimizerState(here.buffers.copy(), here.numbers.copy())


def _batch_size(estimator: Any, n_samples: int) -> int:
    """Samples in a batch of `partial_fit`; second-order methods take all."""
    rule = as_optimizer("optimizer", estimator.optimizer)
    size = n_samples if estimator.batch_size is None else estimator.batch_size
    return batch_size_of(rule, steps_of(rule, 1, size, AUTO), n_samples)


def _learning_rate(estimator: Any, none: Any) -> Any:
    """The learning rate of an estimator; `none` for methods that have none."""
    if not isinstance(estimator.learning_rate, str) or estimator.learning_rate != AUTO:
        return estimator.learning_rate
    return none if as_optimizer("optimizer", estimator.optimizer).is_second_order else _LEARNING_RATE


def _from_iteration(first: int, learning_rate: Any) -> Any:
    """A schedule whose iteration 0 is `first`; a number stays a number."""
    if not callable(learning_rate) or isinstance(learning_rate, type):
        return learning_rate
    return lambda iterations: learning_rate(np.asarray(iterations) + first)
