"""How `fit` prepares its data: targets, weights, units, and a validation set."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import (
    MSE,
    BinaryCrossEntropy,
    CrossEntropy,
    GaussianNLL,
    Loss,
    Poisson,
    Quantile,
    as_loss,
)
from crabnet_jit.data.columns import targets_of
from crabnet_jit.data.known import has_known
from crabnet_jit.data.labels import Labels, are_missing, is_labels, label_array
from crabnet_jit.data.moments import moments
from crabnet_jit.data.random import StdRng
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.fitting.output_range import OutputRange
from crabnet_jit.fitting.shared import Shared, once
from crabnet_jit.network.network import NN
from crabnet_jit.network.predictor import Predictor

Samples = tuple[Array, Array, Array]  # x, y, weights


class Parts(NamedTuple):
    """A data set for training, and perhaps one for validation.

    `training_rows` and `validation_rows` are the row numbers of their samples; a validation set that the user
    gives has none. `is_common` says whether they are the same for all fits to shared data.
    """

    training: Samples
    validation: Samples | None
    training_rows: NDArray[np.intp]
    validation_rows: NDArray[np.intp] = np.empty(0, np.intp)
    is_common: bool = False


class Targets(NamedTuple):
    """The targets that a loss sees for y.

    `values` are targets (n_samples, n_targets): numbers, or probabilities of classes; NaN where unknown.
    `labels`, `task` and `is_flat` are as in `Schema`.
    """

    values: Array
    labels: Labels | None
    task: str
    is_flat: bool


def check_start(start: NN | None) -> None:
    """Check a network to start from, if there is one."""
    if start is not None:
        hint = "an NN" if not hasattr(start, "net_") else "an NN, such as the net_ of an estimator"
        check.instance("start", start, NN, hint)


def loss_for(loss: Loss | str, y: Any, start: Predictor | None) -> Loss:
    """The loss; "auto" is the loss of the network to start from, or the one that suits the type of y."""
    if not isinstance(loss, str) or loss != "auto":
        return as_loss("loss", loss)
    if start is not None and start.schema.labels is not None:
        return CrossEntropy() if start.schema.is_softmax(start.out_features) else BinaryCrossEntropy()
    if start is not None and start.schema.quantiles:
        return Quantile(start.schema.quantiles)
    if start is not None and start.schema.heads != "values":
        return Poisson() if start.schema.heads == Poisson.heads else GaussianNLL()
    if is_labels(y):
        return CrossEntropy() if _is_column(y) else BinaryCrossEntropy()
    return MSE()


def targets_for(loss: Loss, y: Any, known: Labels | None = None) -> Targets:
    """The targets for y; if `known` labels are given, y must have only these."""
    if isinstance(loss, CrossEntropy) and _is_column(y):
        labels, codes = _labels(y, known)
        rows = np.vstack([np.eye(len(labels)), np.full(len(labels), np.nan)])
        return Targets(rows[codes], labels, "classification", False)
    if isinstance(loss, BinaryCrossEntropy) and _is_column(y) and not _are_shares(y):
        labels, codes = _labels(y, known)
        if len(labels) != 2:
            allowed = "labels of two classes for binary_cross_entropy"
            raise check.reject("y", allowed, f"{len(labels)}; cross_entropy accepts more")
        values = np.where(codes < 0, np.nan, codes)[:, None]
        return Targets(values, labels, "classification", False)
    if loss.is_regression and is_labels(y):
        allowed = f"numbers for the loss {loss.name} and for networks that were fitted to numbers"
        raise check.reject("y", allowed, "labels", "; fit a network to these with the loss 'cross_entropy'")
    is_gap = are_missing(y)
    if is_gap.any() and all(isinstance(value, (bool, np.bool_)) for value in y[~is_gap].tolist()):
        y = np.where(is_gap, np.nan, y).astype(float)
    if is_labels(y) and y.dtype.kind != "b":
        allowed = "a single column of labels, or numbers or booleans for each class"
        raise check.reject("y", allowed, f"labels of shape {y.shape}")
    values = check.rows("y", y, allow_nan=True)
    if known is not None and values.shape[1] != max(1, len(known)) and values.shape[1] > 1:
        raise check.reject("y", f"labels, or of shape (n_samples, {len(known)})", f"shape {values.shape}")
    loss.check_targets("y", values)
    if loss.is_regression:
        return Targets(values, None, "regression", np.ndim(y) == 1)
    n_classes = max(2, values.shape[1])
    is_one = isinstance(loss, CrossEntropy) or values.shape[1] == 1
    task = "classification" if is_one else "multilabel"
    return Targets(values, known or Labels.numbered(n_classes), task, False)


def labels_of(net: Predictor, y: Any) -> NDArray[np.intp]:
    """Class numbers of y (n_samples,), or (n_samples, n_classes) with 1 for the classes that apply.

    They are -1 where y is unknown.
    """
    values = targets_for(loss_for("auto", y, net), targets_of(y)[1], net.schema.labels).values
    is_unknown = np.isnan(values)
    if net.schema.is_softmax(net.out_features):
        return np.where(is_unknown.any(axis=1), -1, values.argmax(axis=1))
    codes: NDArray[np.intp] = np.where(is_unknown, -1, values > 0.5).astype(np.intp)
    return codes if net.schema.task == "multilabel" else codes[:, 0]


def _labels(y: Any, known: Labels | None) -> tuple[Labels, NDArray[np.intp]]:
    """The classes, and the class number of each sample; -1 where it is unknown."""
    is_known = ~are_missing(y).reshape(len(y))
    values = label_array("y", y[is_known])
    labels = known or Labels.of("y", values)
    codes = np.full(len(y), -1)
    codes[is_known] = labels.codes("y", values)
    return labels, codes


def _is_column(y: Any) -> bool:
    """Whether y is one label for each sample."""
    shape = np.shape(y)
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _are_shares(y: Any) -> bool:
    """Whether y are probabilities, not labels: numbers that are not all integers."""
    return y.dtype.kind == "f" and bool(((y != np.floor(y)) & ~np.isnan(y)).any())


def weights_of(sample_weight: ArrayLike | None, n_samples: int) -> Array:
    """Weights (n_samples,); 1 if none are given."""
    if sample_weight is None:
        return np.ones(n_samples)
    return check.sample_weights("sample_weight", sample_weight, n_samples)


def _units_of(samples: Samples, loss: Loss, shared: Shared | None) -> Standardization:
    """The units in which inputs, and the targets of a regression, have mean 0 and standard deviation 1.

    Counts are not scaled. Standard deviations have the unit of their target.
    """
    inputs, targets, weights = samples
    has_units = loss.is_regression and loss.heads != "log_means"
    n_targets = targets.shape[1]
    mean, std = np.zeros(n_targets), np.ones(n_targets)
    if has_units:
        mean, std = once(shared, _mean_and_std, targets, weights)
    if loss.heads == "means_and_log_stds":
        mean, std = np.concatenate([mean, np.log(std)]), np.concatenate([std, np.ones_like(std)])
    else:
        mean, std = np.tile(mean, loss.n_heads), np.tile(std, loss.n_heads)
    return Standardization(*once(shared, _mean_and_std, inputs, weights), mean, std)


def set_up(
    net: NN,
    loss: Loss,
    samples: Samples,
    outputs: OutputRange,
    standardize: bool,
    shared: Shared | None = None,
) -> None:
    """Set a new network's units; outputs that are logarithms of means start at those of the targets."""
    _, targets, weights = samples
    units = _units_of(samples, loss, shared) if check.flag("standardize", standardize) else None
    if outputs.is_bounded:
        n_in = net.in_features
        inputs = (np.zeros(n_in), np.ones(n_in)) if units is None else units[:2]
        of_targets = outputs.units(targets, weights, net.dtype)
        units = Standardization(*inputs, *(np.tile(part, loss.n_heads) for part in of_targets))
    net.standardization = units
    if loss.heads == "log_means":
        means = moments(targets, weights).mean
        net.layers[-1].b[:, 0] = np.log(np.where(means > 0, means, 1.0))


def check_heads(start: NN, loss: Loss) -> None:
    """Check a loss for a network to start from: its outputs, if they have units, must mean the same."""
    heads, schema = (loss.heads, loss.quantiles), start.schema
    are_values = loss.n_heads == schema.n_heads == 1 and "log_means" not in (loss.heads, schema.heads)
    if start.standardization is not None and heads != (schema.heads, schema.quantiles) and not are_values:
        raise check.reject(
            "loss", f"one for the outputs of start, {loss_for('auto', np.empty(0), start)!r}", repr(loss)
        )


def _mean_and_std(values: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of every feature; the latter is 1 for a constant feature."""
    mean, std, is_constant = moments(values, weights)
    return mean, np.where(is_constant, 1.0, std)


def split(n_samples: int, fraction: float, rng: StdRng, weights: Array | None = None) -> tuple[Array, Array]:
    """Indices of a random training and validation set; each has at least one sample of weight above 0."""
    order = np.argsort(rng.next_u64(n_samples), kind="stable")
    n_validation = min(max(1, round(fraction * n_samples)), n_samples - 1)
    aside, rest = order[:n_validation], order[n_validation:]
    if weights is not None:
        if np.count_nonzero(weights) < 2:
            allowed = "above 0 for at least two samples, to set one aside for validation"
            raise check.reject("sample_weight", allowed, f"{np.count_nonzero(weights)} such")
        for part, other in ((aside, rest), (rest, aside)):
            if not weights[part].any():  # the parts are views of `order`, whose samples are swapped here
                k = int(np.flatnonzero(weights[other])[0])
                part[0], other[k] = other[k], part[0]
    return np.sort(rest), np.sort(aside)


def set_aside(
    validation: Any,
    samples: Samples,
    is_kept: NDArray[np.bool_],
    rng: StdRng,
    encoded: Callable[[Any, Any], tuple[Array, Array]],
    given: Any,
) -> Parts:
    """The samples to train on, and those of the validation set, if one is wanted.

    `is_kept` has a flag for each sample that was given; `samples` are those that are kept. `encoded` converts
    a validation set that the user gives to inputs and targets. `given` are the inputs as they were given.
    """
    inputs, targets, weights = samples
    shared = given if isinstance(given, Shared) else None
    if validation is None:
        return once(shared, _whole, samples)
    if isinstance(validation, np.ndarray) and validation.dtype == bool:
        return once(shared, _apart, samples, validation, is_kept)
    if isinstance(validation, tuple):
        if len(validation) not in (2, 3):
            allowed = "a number, or (x, y) or (x, y, sample_weight)"
            raise check.reject("validation", allowed, f"{len(validation)} items")
        try:
            x, y = encoded(*validation[:2])
            if not has_known(y).any():
                raise check.reject("y", "known for at least one sample", "only NaN")
            if len(x) != len(y):
                raise check.reject("y", f"of as many samples as x, {len(x)}", f"{len(y)}")
            aside = x, y, weights_of(validation[2] if len(validation) > 2 else None, len(x))
        except check.InvalidArgumentError as error:  # its x and y are those of the validation set
            raise check.InvalidArgumentError(f"validation {error}") from None
        if y.shape[1] != targets.shape[1]:
            raise check.reject(
                "validation y", f"of shape (n_samples, {targets.shape[1]})", f"shape {y.shape}"
            )
        return once(shared, _whole, samples)._replace(validation=aside)
    if check.is_iterable(validation):
        came = f"a {type(validation).__name__}: {validation!r}"
        allowed = "a number above 0 and below 1, a tuple (x, y), or an array of booleans"
        raise check.reject("validation", allowed, came)
    share = check.fraction("validation", validation)
    if share == 0:
        raise check.reject("validation", "above 0 and below 1, or None", "0")
    if len(inputs) < 2:
        raise check.reject("x", "at least two samples, to set one aside", "1")
    return _parts(samples, *split(len(inputs), share, rng, weights))


def _whole(samples: Samples) -> Parts:
    """All samples, to train on."""
    return Parts(samples, None, np.arange(len(samples[0])), is_common=True)


def _apart(samples: Samples, is_aside: NDArray[np.bool_], is_kept: NDArray[np.bool_]) -> Parts:
    """Samples to train on, and those that are set aside, of all that were given."""
    if is_aside.shape != is_kept.shape:
        raise check.reject("validation", f"booleans of shape {is_kept.shape}", f"shape {is_aside.shape}")
    kept = is_aside[is_kept]
    for rows, name in ((~kept, "False"), (kept, "True")):
        if not samples[2][rows].any():
            raise check.reject("validation", f"{name} for some sample of weight above 0", f"no such {name}")
    return _parts(samples, np.flatnonzero(~kept), np.flatnonzero(kept))._replace(is_common=True)


def _parts(samples: Samples, train: NDArray[np.intp], aside: NDArray[np.intp]) -> Parts:
    """These rows of the samples to train on, those for validation."""
    training, validation = (tuple(values[rows] for values in samples) for rows in (train, aside))
    return Parts(training, validation, train, aside)  # type: ignore[arg-type]  # mypy does not count them
