"""From a data set to shuffled minibatches in panels."""

from typing import Any

import numpy as np

from crabnet_jit.arrays import Flat, Number
from crabnet_jit.kernels.chacha import DRAWS, fill_groups, whole_groups
from crabnet_jit.kernels.structs import Batches, Stream
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.view import panel


def permutation_draws(n_samples: int) -> int:
    """The number of draws for one epoch: one for each sample, in whole groups."""
    return whole_groups(n_samples)


@kernel
def fill_minibatches(
    stream: Stream,
    draws: Flat,
    epoch: Number,
    order: Flat,
    data: Any,
    batch_size: Number,
    iteration: Number,
    batches: Batches,
) -> Number:
    """Overwrite `batches`, except masks, with the batches from `iteration` on; return the last one's epoch.

    `data` are inputs (n_samples, n_in), targets (n_samples, n_out) and weights (n_samples,). An epoch takes
    all samples; its last batch has the remaining ones. Their order is a random permutation from draws that
    begin at the group of a `Stream` (structs.py); each epoch takes `permutation_draws` of them. `order`
    (n_samples,) holds the permutation of `epoch`, and is overwritten with later ones; if `draws` has size 0,
    it does not change. Columns after a batch repeat its first sample, with weight 0.
    """
    data_x, data_y, data_weight = data
    n_samples, width = data_x.shape[0], batches.x.shape[3]
    n_batches = -(-n_samples // batch_size)
    epoch_here, batch = divmod(iteration, n_batches)
    for k in range(batches.x.shape[0]):
        if batch == n_batches:
            epoch_here, batch = epoch_here + 1, 0
        if epoch_here != epoch and draws.size > 0:
            n_groups = draws.size // DRAWS
            fill_groups(stream, epoch_here * n_groups, draws)
            _permute(draws, order)
        epoch = epoch_here
        first = batch * batch_size
        n_here = min(batch_size, n_samples - first)
        for p in range(batches.x.shape[1]):
            x, target, weight = (
                panel(batches.x, k, p),
                panel(batches.target, k, p),
                panel(batches.weight, k, p),
            )
            for s in range(width):
                at = p * width + s
                weight[0, s] = data_weight[order[first + at]] / n_here if at < n_here else 0.0
            for f in range(x.shape[0]):
                for s in range(width):
                    at = p * width + s
                    x[f, s] = data_x[order[first + (at if at < n_here else 0)], f]
            for f in range(target.shape[0]):
                for s in range(width):
                    at = p * width + s
                    target[f, s] = data_y[order[first + (at if at < n_here else 0)], f]
        batch += 1
    return epoch


@kernel
def _permute(draws: Flat, order: Flat) -> None:
    """Overwrite `order` with a random permutation (R. Fisher, F. Yates, 1938)."""
    for i in range(order.size):
        order[i] = i
    for i in range(order.size - 1, 0, -1):
        j = np.int64(((draws[i] >> np.uint64(32)) * np.uint64(i + 1)) >> np.uint64(32))
        order[i], order[j] = order[j], order[i]
