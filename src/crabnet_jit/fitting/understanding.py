"""How the x and y of a fit are read: columns, classes, targets, and missing values."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss
from crabnet_jit.data.columns import Columns, is_frame, missing_targets, targets_of
from crabnet_jit.data.labels import Labels
from crabnet_jit.data.moments import moments
from crabnet_jit.fitting.data_set import Parts, Samples, check_start, loss_for, targets_for, weights_of
from crabnet_jit.fitting.shared import Shared
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import Schema, filled


class Data(NamedTuple):
    """Inputs, targets and weights of the samples that are kept, what they mean, and the loss for them.

    Missing inputs and unknown targets are NaN; `is_kept` has a flag for each sample that was given.
    """

    schema: Schema
    loss: Loss
    inputs: Array
    targets: Array
    weights: Array
    is_kept: NDArray[np.bool_]


def understood(
    x: Any,
    y: Any,
    sample_weight: Any,
    loss: Loss | str,
    handle_unknown: str,
    missing: str,
    start: NN | None,
) -> Data:
    """Read x and y. A network to start from has its own columns and classes."""
    if isinstance(x, Shared):
        return x.once(understood, x.x, y, sample_weight, loss, handle_unknown, missing, start)
    check_start(start)
    known = Schema(missing=missing) if start is None else start.schema
    allow_missing = known.missing != "error"
    if known.columns is None and is_frame(x):
        known = replace(known, columns=Columns.of(x, handle_unknown))
    inputs = known.rows(x, None, allow_missing=allow_missing)
    weights, is_kept = np.ones(len(inputs)), _kept(inputs, y, known.missing)
    if sample_weight is not None and allow_missing:
        weights = _weights_with_gaps(sample_weight, len(inputs))
        is_kept &= ~np.isnan(weights)
    elif sample_weight is not None:
        weights = weights_of(sample_weight, len(inputs))
    names, y = targets_of(y, None if is_kept.all() else is_kept)
    criterion = loss_for(loss, y, start)
    labels = known.labels
    if labels is None and start is not None and not criterion.is_regression:
        labels = Labels.numbered(max(2, start.out_features))
    targets = targets_for(criterion, y, labels)
    inputs = inputs[is_kept]
    if len(targets.values) != len(inputs):
        raise check.reject("y", f"of as many samples as x, {len(inputs)}", f"{len(targets.values)}")
    is_labels = targets.task == "classification"
    has_names = names is not None and len(names) == targets.values.shape[1] and not is_labels
    schema = Schema(
        known.columns,
        tuple(names) if has_names and names is not None else known.output_names,
        targets.labels,
        targets.task,
        targets.is_flat,
        names[0] if is_labels and names is not None and len(names) == 1 else known.label_name,
        known.missing,
        known.means,
        criterion.heads,
        criterion.quantiles,
    )
    return Data(schema, criterion, inputs, targets.values, weights[is_kept], is_kept)


def _weights_with_gaps(sample_weight: Any, n_samples: int) -> Array:
    """Weights (n_samples,) with a mean of 1, NaN where one is missing."""
    has_weight = ~missing_targets(sample_weight)
    if len(has_weight) != n_samples:
        raise check.reject("sample_weight", f"of shape ({n_samples},)", f"{len(has_weight)} of them")
    weights = np.full(n_samples, np.nan)
    weights[has_weight] = weights_of(
        np.asarray(sample_weight)[has_weight].astype(float), int(has_weight.sum())
    )
    return weights


def _kept(inputs: Array, y: Any, missing: str) -> NDArray[np.bool_]:
    """Whether each sample has a known target and, with "drop", all inputs."""
    has_target = ~missing_targets(y)
    if has_target.all() and missing == "error":
        return np.ones(len(inputs), bool)
    if len(has_target) != len(inputs):
        raise check.reject("y", f"of as many samples as x, {len(inputs)}", f"{len(has_target)}")
    is_kept = has_target & ~np.isnan(inputs).any(axis=1) if missing == "drop" else has_target
    if not has_target.any():
        raise check.reject("y", "known for at least one sample", "no known target")
    if not is_kept.any():
        raise check.reject("x and y", "complete for at least one sample", "missing values in every sample")
    return is_kept


def with_means(parts: Parts, net: NN) -> Parts:
    """The data sets, with missing inputs replaced by means; the network gets the means if it has none."""
    if net.schema.missing != "mean":
        return parts
    if net.schema.means is None:
        inputs, _, weights = parts.training
        net.schema = replace(net.schema, means=_means(inputs, weights, net.input_names))
    means = net.schema.means
    assert means is not None

    def complete(samples: Samples) -> Samples:
        inputs, targets, weights = samples
        return filled(inputs, means), targets, weights

    validation = None if parts.validation is None else complete(parts.validation)
    return parts._replace(training=complete(parts.training), validation=validation, is_common=False)


def _means(inputs: Array, weights: Array, names: list[str]) -> tuple[float, ...]:
    """The weighted mean of the non-missing values of each input."""
    means = []
    for name, values in zip(names, inputs.T, strict=True):
        is_there = ~np.isnan(values) & (weights > 0)
        if not is_there.any():
            allowed = "known for each input in at least one training sample"
            raise check.reject("x", allowed, f"none for {check.shown(name)}")
        means.append(float(moments(values[is_there, None], weights[is_there]).mean[0]))
    return tuple(means)
