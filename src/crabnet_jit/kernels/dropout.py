"""Dropout masks (N. Srivastava et al., 2014)."""

import numpy as np

from crabnet_jit.arrays import Flat, Number, Panels
from crabnet_jit.kernels.chacha import DRAWS, fill_groups, whole_groups
from crabnet_jit.kernels.structs import Stream
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.view import panel


def mask_draws(n_units: int, n_columns: int) -> int:
    """The number of draws for the masks of one iteration, in whole groups."""
    return whole_groups(n_units * n_columns)


@kernel
def fill_masks(stream: Stream, draws: Flat, iteration: Number, rates: Flat, masks: Panels) -> None:
    """Overwrite masks (n_iterations, n_panels, n_units, width): 0 at the unit's rate, else 1 / (1 - rate).

    Each takes one draw, starting at the group of a `Stream` (structs.py). `draws` has room for one iteration;
    the first mask is for iteration number `iteration`.
    """
    n_groups = draws.size // DRAWS
    for k in range(masks.shape[0]):
        fill_groups(stream, (iteration + k) * n_groups, draws)
        at = 0
        for p in range(masks.shape[1]):
            mask = panel(masks, k, p)
            for i in range(mask.shape[0]):
                scaled, dropped = mask.dtype.type(1.0 / (1.0 - rates[i])), mask.dtype.type(0.0)
                least = np.uint64(rates[i] * 2.0**64)
                for s in range(mask.shape[1]):
                    mask[i, s] = scaled if draws[at + s] >= least else dropped
                at += mask.shape[1]
