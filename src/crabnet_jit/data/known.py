"""Targets that are NaN are unknown: which samples count, and whether enough is known to learn from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.kernels.entries import share_among_known
from crabnet_jit.kernels.structs import Batches


def has_known(targets: Array) -> NDArray[np.bool_]:
    """For each sample (n_samples,) whether any of its targets (n_samples, n_out) is known."""
    return np.asarray(~np.isnan(targets).all(axis=1))


def known_samples(
    inputs: Array, targets: Array, sample_weight: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """The samples that have a known target, and their weights with a mean of 1."""
    given = np.ones(len(inputs)) if sample_weight is None else sample_weight
    weights, is_kept = check.sample_weights("sample_weight", given, len(inputs)), has_known(targets)
    if is_kept.all():
        return inputs, targets, weights
    if not weights[is_kept].any():
        raise check.reject("y", "known for some sample of weight above 0", "NaN for all of them")
    weights = check.sample_weights("sample_weight", np.asarray(given)[is_kept], int(is_kept.sum()))
    return inputs[is_kept], targets[is_kept], weights


def check_outputs(targets: Array, weights: Array, names: Sequence[str] | None = None) -> None:
    """Reject targets (n_samples, n_out) of which one output is never known where the weight is above 0."""
    is_unknown = np.isnan(targets[weights > 0]).all(axis=0)
    if is_unknown.any():
        k = int(is_unknown.argmax())
        name = f"column {k}" if names is None else check.shown(names[k])
        raise check.reject("y", "known for some sample to train on, in each column", f"only NaN in {name}")


def share(batches: Batches, n_targets: int, are_whole: bool) -> None:
    """Let weights be shares among what is known: the first row of targets, a second row of derivatives."""
    target, weight = batches.target, batches.weight
    share_among_known(target, 0, n_targets, weight, 0, are_whole)
    if weight.shape[2] > 1:
        share_among_known(target, n_targets, target.shape[2] - n_targets, weight, 1, False)
