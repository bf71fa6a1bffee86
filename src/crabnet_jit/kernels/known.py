"""Targets that are unknown: NaN. A loss is the mean over the others."""

from crabnet_jit.arrays import Number, Panels
from crabnet_jit.machine.jit import kernel


@kernel
def share_among_known(
    target: Panels, first: Number, n_out: Number, weight: Panels, row: Number, are_whole: bool
) -> None:
    """Multiply the shares of each batch so that its loss is the mean over the targets that are known.

    That is sum(w l) / sum(w), where both sums are over known targets. Reads n_out targets from `first` on
    (n_iterations, n_panels, n_rows, width), and overwrites a row of weights (n_iterations, n_panels, n_rows,
    width); it is 0 in a batch that knows no target. With `are_whole`, a sample with an unknown target is
    unknown as a whole.
    """
    for k in range(weight.shape[0]):
        total = known = 0.0
        for p in range(weight.shape[1]):
            for s in range(weight.shape[3]):
                n_known = _count(target, first, n_out, k, p, s)
                if are_whole and n_known < n_out:
                    n_known = 0
                total += weight[k, p, row, s] * n_out
                known += weight[k, p, row, s] * n_known
        factor = total / known if known > 0.0 else 0.0
        for p in range(weight.shape[1]):
            for s in range(weight.shape[3]):
                weight[k, p, row, s] *= factor


@kernel
def _count(target: Panels, first: Number, n_out: Number, k: Number, p: Number, s: Number) -> Number:
    """Known targets of a sample."""
    n_known = 0
    for i in range(first, first + n_out):
        if target[k, p, i, s] == target[k, p, i, s]:
            n_known += 1
    return n_known
