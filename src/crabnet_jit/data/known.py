"""Unknown targets, which are NaN: which samples count, and whether enough is known to train on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.kernels.entries import share_among_known
from crabnet_jit.kernels.structs import Batches


def has_known(targets: Array) -> NDArray[np.bool_]:
    """Whether any target (n_samples, n_out) is known, for each sample (n_samples,)."""
    return np.asarray(~np.isnan(targets).all(axis=1))


def known_samples(
    inputs: Array, targets: Array, sample_weight: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """The samples with a known target, and their weights, scaled to a mean of 1."""
    given = np.ones(len(inputs)) if sample_weight is None else sample_weight
    weights, is_kept = check.sample_weights("sample_weight", given, len(inputs)), has_known(targets)
    if is_kept.all():
        return inputs, targets, weights
    if not weights[is_kept].any():
        raise check.reject("y", "known for at least one sample of weight above 0", "only NaN")
    weights = check.sample_weights("sample_weight", np.asarray(given)[is_kept], int(is_kept.sum()))
    return inputs[is_kept], targets[is_kept], weights


def check_outputs(targets: Array, weights: Array, names: Sequence[str] | None = None) -> None:
    """Reject targets (n_samples, n_out) if an output is never known at samples of weight above 0."""
    is_unknown = np.isnan(targets[weights > 0]).all(axis=0)
    if is_unknown.any():
        k = int(is_unknown.argmax())
        name = f"column {k}" if names is None else check.shown(names[k])
        raise check.reject(
            "y", "known for at least one training sample, in each column", f"only NaN in {name}"
        )


def share(batches: Batches, n_targets: int, are_whole: bool) -> None:
    """Rescale weights to shares of what is known: the first row for targets, the second for derivatives."""
    target, weight = batches.target, batches.weight
    share_among_known(target, 0, n_targets, weight, 0, are_whole)
    if weight.shape[2] > 1:
        share_among_known(target, n_targets, target.shape[2] - n_targets, weight, 1, False)
