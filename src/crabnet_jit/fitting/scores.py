"""How well a network predicts a data set."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.moments import moments, root_mean_square
from crabnet_jit.fitting.data_set import weights_of
from crabnet_jit.network.network import NN


class Scores(NamedTuple):
    """How well a network predicts a data set, in the targets' own units.

    rmse, mae and r2 have a number for each output. r2 is NaN for an output that is constant.
    """

    n_samples: int
    rmse: Array
    mae: Array
    r2: Array


@check.keywords
def score(net: NN, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Scores:
    """Root mean squared error, mean absolute error and coefficient of determination of `net.predict(x)`.

    r2 = 1 - sum(w (y - prediction)^2) / sum(w (y - mean(y))^2), for each output; the weights w are 1 unless
    `sample_weight` (n_samples,) is given, at least 0 and not all 0.

    Examples
    --------
    >>> from crabnet_jit import NN, score
    >>> net = NN(1, [], 1, init=[2.0, 0.0])
    >>> score(net, [[0.0], [1.0]], [0.0, 2.0]).r2
    array([1.])
    """
    check.instance("net", net, NN, "an NN")
    inputs, targets = check.pairs(x, y)
    targets = check.samples("y", targets, net.out_features)
    weights = weights_of(sample_weight, len(targets))
    counted = weights > 0
    inputs, targets, weights = inputs[counted], targets[counted], weights[counted]
    with np.errstate(over="ignore", invalid="ignore"):  # infinite, then
        errors = targets - net.predict(inputs)
        rmse = root_mean_square(errors, weights)
        _, std, is_constant = moments(targets, weights)
        r2 = 1 - (rmse / np.where(is_constant, np.nan, std)) ** 2
        return Scores(len(targets), rmse, np.average(np.abs(errors), axis=0, weights=weights), r2)
