"""How well a network predicts a data set."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import MSE
from crabnet_jit.data.columns import targets_of
from crabnet_jit.data.known import has_known
from crabnet_jit.data.moments import moments, root_mean_square
from crabnet_jit.fitting.data_set import loss_for, targets_for, weights_of
from crabnet_jit.network.predictor import Predictor
from crabnet_jit.summary import fields, summary


class Scores(NamedTuple):
    """How well a network predicts a data set, in the targets' own units.

    rmse, mae and r2 have a number for each target, over the samples where it is known. All are NaN for a
    target that is never known, and r2 is NaN for a constant target. n_samples is the number of samples with a
    known target. `coverage` is the share of samples in the interval of this `level`, for each target; both
    are None unless the network has intervals, see `NN.interval`.
    """

    n_samples: int
    rmse: Array
    mae: Array
    r2: Array
    level: float | None = None
    coverage: Array | None = None

    def __repr__(self) -> str:
        return summary(self, *fields(self)[: 4 if self.level is None else None])


class ClassScores(NamedTuple):
    """How well a classifier predicts the labels of a data set.

    `accuracy` is the share of samples whose predicted labels are right; if a sample has several, all known
    ones must be right. `log_loss` is the mean of -log(p) over all known labels, where p is the probability of
    the right label. `roc_auc` is the probability that a sample of the second class gets a higher probability
    of that class than a sample of the first; NaN unless there are two classes, and samples of both.

    Examples
    --------
    >>> from crabnet_jit import fit, score
    >>> net = fit([0.0, 1.0, 2.0, 3.0], ["no", "no", "yes", "yes"], n_iterations=500)
    >>> scores = score(net, [0.5, 2.5, 2.6], ["no", "yes", "yes"])
    >>> scores.accuracy, scores.roc_auc
    (1.0, 1.0)
    """

    n_samples: int
    accuracy: float
    log_loss: float
    roc_auc: float


@check.keywords
def score(net: Predictor, x: Any, y: Any, sample_weight: ArrayLike | None = None) -> Any:
    """How well `net.predict(x)` agrees with y.

    For a regression: root mean squared error, mean absolute error and coefficient of determination,
    r2 = 1 - sum(w (y - prediction)^2) / sum(w (y - mean(y))^2), for each target; and the share of samples in
    the network's intervals, if it has any. For a classifier, where y holds labels as in `fit`: accuracy, log
    loss and ROC AUC. The weights w are 1 unless `sample_weight` (n_samples,) is given, at least 0 and not all
    0. Where y is NaN or missing, it is unknown and does not count.

    Returns
    -------
    Scores or ClassScores

    Examples
    --------
    >>> from crabnet_jit import NN, fit, score
    >>> net = NN(1, [], 1, init=[2.0, 0.0])
    >>> score(net, [[0.0], [1.0]], [0.0, 2.0]).r2
    array([1.])
    >>> net = fit([0.0, 1.0, 2.0, 3.0], ["no", "no", "yes", "yes"], n_iterations=500)
    >>> score(net, [0.5, 2.5], ["no", "yes"]).accuracy
    1.0
    """
    check.instance("net", net, Predictor, "an NN or an Ensemble")
    _, y = targets_of(y)
    labels = net.schema.labels
    wanted = targets_for(MSE() if labels is None else loss_for("auto", y, net), y, labels)
    rows, targets = check.pairs(net.encode(x), wanted.values)
    targets = check.samples("y", targets, net.n_targets, allow_nan=True)
    return scores_of(net, rows, targets, weights_of(sample_weight, len(targets)))


def scores_of(net: Predictor, rows: Array, targets: Array, weights: Array) -> Scores | ClassScores:
    """Those of encoded inputs, targets (n_samples, n_targets) and weights (n_samples,)."""
    labels = net.schema.labels
    is_whole = labels is not None and net.schema.is_softmax(net.out_features)
    counted = (weights > 0) & (~np.isnan(targets).any(axis=1) if is_whole else has_known(targets))
    if not counted.any():
        raise check.reject("y", "known for at least one sample of weight above 0", "only NaN")
    rows, targets, weights = rows[counted], targets[counted], weights[counted]
    if labels is not None:
        return _class_scores(net, net.response(rows), targets, weights)
    with np.errstate(over="ignore", invalid="ignore"):  # the result may be infinite
        pairs = zip(targets.T, net.predictions(rows).T, strict=True)
        of_targets = [_of_one_target(*pair, weights) for pair in pairs]
    rmse, mae, r2 = (np.array(numbers) for numbers in zip(*of_targets, strict=True))
    level = net.interval_level
    coverage = None if level is None else _coverage(targets, *net.interval_of(rows, level), weights)
    return Scores(len(targets), rmse, mae, r2, level, coverage)


def _coverage(targets: Array, low: Array, high: Array, weights: Array) -> Array:
    """The share of known targets (n_samples, n_targets) from low to high; NaN where none is known."""
    of_known = weights[:, None] * ~np.isnan(targets)
    inside = (of_known * ((low <= targets) & (targets <= high))).sum(axis=0)
    total = of_known.sum(axis=0)
    return np.asarray(np.divide(inside, total, out=np.full_like(total, np.nan), where=total > 0))


def _of_one_target(targets: Array, predictions: Array, weights: Array) -> tuple[float, float, float]:
    """RMSE, MAE and r2 of targets and predictions (n_samples,)."""
    is_known = ~np.isnan(targets)
    if not is_known.any():
        return math.nan, math.nan, math.nan
    true, weights = targets[is_known, None], weights[is_known]
    errors = true - predictions[is_known, None]
    rmse = float(root_mean_square(errors, weights)[0])
    _, std, is_constant = moments(true, weights)
    r2 = math.nan if is_constant[0] else float(1 - (rmse / std[0]) ** 2)
    return rmse, float(np.average(np.abs(errors[:, 0]), weights=weights)), r2


def _class_scores(net: Predictor, probabilities: Array, targets: Array, weights: Array) -> ClassScores:
    """The scores of probabilities, for targets (n_samples, out_features)."""
    schema = net.schema
    of_labels = weights
    if schema.is_softmax(net.out_features):
        is_right = probabilities.argmax(axis=1) == targets.argmax(axis=1)
        losses = -(targets * _log(probabilities)).sum(axis=1)
    else:
        is_known = ~np.isnan(targets)
        is_right = (((probabilities > 0.5) == (targets > 0.5)) | ~is_known).all(axis=1)
        losses = -(targets * _log(probabilities) + (1 - targets) * _log(1 - probabilities))[is_known]
        of_labels = np.broadcast_to(weights[:, None], is_known.shape)[is_known]
    has_two = schema.task == "classification" and schema.labels is not None and len(schema.labels) == 2
    auc = _roc_auc(probabilities[:, -1], targets[:, -1] > 0.5, weights) if has_two else math.nan
    accuracy, log_loss = np.average(is_right, weights=weights), np.average(losses, weights=of_labels)
    return ClassScores(len(targets), float(accuracy), float(log_loss), auc)


def _log(probabilities: Array) -> Array:
    """Logarithms, finite since probabilities are kept a rounding error away from 0, as in scikit-learn."""
    tiny = np.finfo(np.float64).eps
    logarithms: Array = np.log(np.clip(probabilities, tiny, 1 - tiny))
    return logarithms


def _roc_auc(probabilities: Array, is_second: NDArray[np.bool_], weights: Array) -> float:
    """Area under the receiver operating characteristic: the share of pairs in order; ties count half."""
    values, places = np.unique(probabilities, return_inverse=True)
    second = np.bincount(places, weights * is_second, values.size)
    first = np.bincount(places, weights * ~is_second, values.size)
    n_pairs = first.sum() * second.sum()
    below = np.cumsum(first) - first
    return float((second * (below + first / 2)).sum() / n_pairs) if n_pairs > 0 else math.nan
