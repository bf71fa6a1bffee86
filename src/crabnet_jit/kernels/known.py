"""Unknown targets, which are NaN. A loss is the mean over the known ones."""

from crabnet_jit.arrays import Number, Panels
from crabnet_jit.machine.jit import kernel


@kernel
def share_among_known(
    target: Panels, first: Number, n_out: Number, weight: Panels, row: Number, are_whole: bool
) -> None:
    """Rescale the weights of each batch so that its loss is the mean over the known targets.

    That is sum(w l) / sum(w), where both sums are over known targets. Reads n_out targets from row `first` on
    (n_iterations, n_panels, n_rows, width), and overwrites a row of weights (n_iterations, n_panels, n_rows,
    width). The row is 0 in a batch without a known target. With `are_whole`, one unknown target makes the
    whole sample unknown.
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
    """The number of known targets of a sample."""
    n_known = 0
    for i in range(first, first + n_out):
        if target[k, p, i, s] == target[k, p, i, s]:
            n_known += 1
    return n_known
