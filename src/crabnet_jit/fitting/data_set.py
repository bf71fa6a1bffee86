"""What `fit` makes of the data that it is given: targets, weights, units, a validation set."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import CrossEntropy, Loss
from crabnet_jit.data.moments import moments
from crabnet_jit.data.random import StdRng
from crabnet_jit.data.standardization import Standardization

Samples = tuple[Array, Array, Array]  # x, y, weights


def targets_for(loss: Loss, y: ArrayLike, n_classes: int | None = None) -> Array:
    """Targets (n_samples, out_features); labels as probabilities of 0 and 1."""
    values = check.array("y", y)
    if isinstance(loss, CrossEntropy) and values.ndim == 1:
        return one_hot("y", values, n_classes)
    targets = check.samples("y", values[:, None] if values.ndim == 1 else values)
    loss.check_targets("y", targets)
    return targets


def one_hot(name: str, labels: Array, n_classes: int | None = None) -> Array:
    """Labels (n_samples,), from 0 to n_classes - 1, as rows of one 1 and zeros."""
    if labels.size == 0:
        raise check.reject(name, "at least one label", "none")
    most = np.inf if n_classes is None else n_classes - 1
    wrong = (labels != np.floor(labels)) | (labels < 0) | (labels > most)
    if wrong.any():
        at = int(wrong.argmax())
        allowed = "integers of at least 0" if n_classes is None else f"integers from 0 to {n_classes - 1}"
        raise check.reject(name, f"labels, {allowed}", f"{labels[at]:g} at index {at}")
    n = int(labels.max()) + 1 if n_classes is None else n_classes
    if n > max(2 * labels.size, 1000):
        raise check.reject(name, "labels of fewer classes than twice the samples", f"a largest of {n - 1}")
    rows: Array = np.eye(n)[labels.astype(int)]
    return rows


def weights_of(sample_weight: ArrayLike | None, n_samples: int) -> Array:
    """Weights (n_samples,); 1 if none are given."""
    if sample_weight is None:
        return np.ones(n_samples)
    return check.sample_weights("sample_weight", sample_weight, n_samples)


def units_of(samples: Samples, loss: Loss) -> Standardization:
    """Those in which inputs, and the targets of a regression, have mean 0 and standard deviation 1."""
    inputs, targets, weights = samples
    scaled = targets if loss.is_regression else np.zeros_like(targets)
    return Standardization(*_mean_and_std(inputs, weights), *_mean_and_std(scaled, weights))


def _mean_and_std(values: Array, weights: Array) -> tuple[Array, Array]:
    """Of every feature, weighted; 1 in place of the standard deviation of one that is constant."""
    mean, std, is_constant = moments(values, weights)
    return mean, np.where(is_constant, 1.0, std)


def split(n_samples: int, fraction: float, rng: StdRng, weights: Array | None = None) -> tuple[Array, Array]:
    """Indices of a random training and validation set; each has at least one sample, of weight above 0."""
    order = np.argsort(rng.next_u64(n_samples), kind="stable")
    n_validation = min(max(1, round(fraction * n_samples)), n_samples - 1)
    aside, rest = order[:n_validation], order[n_validation:]
    if weights is not None:
        if np.count_nonzero(weights) < 2:
            allowed = "above 0 for at least two samples, to set one aside for validation"
            raise check.reject("sample_weight", allowed, f"{np.count_nonzero(weights)} such")
        for part, other in ((aside, rest), (rest, aside)):
            if not weights[part].any():  # views of `order`: this swaps their samples there
                k = int(np.flatnonzero(weights[other])[0])
                part[0], other[k] = other[k], part[0]
    return np.sort(rest), np.sort(aside)


def set_aside(validation: Any, loss: Loss, samples: Samples, rng: StdRng) -> tuple[Samples, Samples | None]:
    """The samples to train on, and those of the validation set, if one is wanted."""
    inputs, targets, weights = samples
    if validation is None:
        return samples, None
    if isinstance(validation, tuple):
        if len(validation) not in (2, 3):
            allowed = "a number, or (x, y) or (x, y, sample_weight)"
            raise check.reject("validation", allowed, f"{len(validation)} items")
        try:
            x, y = check.pairs(validation[0], targets_for(loss, validation[1], targets.shape[1]))
            aside = x, y, weights_of(validation[2] if len(validation) > 2 else None, len(x))
        except check.InvalidArgumentError as error:  # whose x and y are not those of the fit
            raise check.InvalidArgumentError(f"validation {error}") from None
        check.samples("validation x", x, inputs.shape[1])
        check.samples("validation y", y, targets.shape[1])
        return samples, aside
    if check.is_iterable(validation):
        came = f"a {type(validation).__name__}: {validation!r}"
        allowed = "a number above 0 and at most 1, or a tuple (x, y)"
        raise check.reject("validation", allowed, came)
    share = check.number("validation", validation, 0.0, 1.0, open_low=True)
    if len(inputs) < 2:
        raise check.reject("x", "at least two samples, to set one aside", "1")
    train, rest = split(len(inputs), share, rng, weights)
    return (
        (inputs[train], targets[train], weights[train]),
        (inputs[rest], targets[rest], weights[rest]),
    )
