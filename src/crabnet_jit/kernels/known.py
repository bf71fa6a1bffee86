"""Targets that are unknown: NaN. A loss is the mean over the others."""

from crabnet_jit.arrays import Number, Panels
from crabnet_jit.machine.jit import kernel


@kernel
def share_among_known(target: Panels, weight: Panels, are_whole: bool) -> None:
    """Multiply the shares of each batch so that its loss is the mean over the targets that are known.

    That is sum(w l) / sum(w), where both sums are over known targets. Reads targets (n_iterations, n_panels,
    n_out, width), and overwrites weights (n_iterations, n_panels, 1, width); they are 0 in a batch that knows
    no target. With `are_whole`, a sample with an unknown target is unknown as a whole.
    """
    n_out = target.shape[2]
    for k in range(weight.shape[0]):
        total = known = 0.0
        for p in range(weight.shape[1]):
            for s in range(weight.shape[3]):
                n_known = _count(target, k, p, s)
                if are_whole and n_known < n_out:
                    n_known = 0
                total += weight[k, p, 0, s] * n_out
                known += weight[k, p, 0, s] * n_known
        factor = total / known if known > 0.0 else 0.0
        for p in range(weight.shape[1]):
            for s in range(weight.shape[3]):
                weight[k, p, 0, s] *= factor


@kernel
def _count(target: Panels, k: Number, p: Number, s: Number) -> Number:
    """Known targets of a sample."""
    n_known = 0
    for i in range(target.shape[2]):
        if target[k, p, i, s] == target[k, p, i, s]:
            n_known += 1
    return n_known
