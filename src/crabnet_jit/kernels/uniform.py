"""From random integers to uniform numbers in panels."""

from crabnet_jit.arrays import Flat, Matrix, Number, Panel, Panels, Vector
from crabnet_jit.kernels.chacha import DRAWS, fill_groups, whole_groups
from crabnet_jit.kernels.structs import Stream
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.vector import lanes, load_column, shift_right, splat, store, to_float
from crabnet_jit.machine.view import matrix, panel, part

_ROWS_AHEAD = PANEL  # rows after the last sample that may be read, but are not used


def buffer_size(n_samples: int, n_features: int, n_iterations: int) -> int:
    """The size of `draws` that `fill_uniform` needs for this number of iterations at once."""
    return whole_groups(DRAWS + (n_iterations * n_samples + _ROWS_AHEAD) * n_features)


@kernel
def fill_uniform(
    stream: Stream, bits: Number, scale: Flat, low: Flat, n_samples: Number, draws: Flat, x: Panels
) -> None:
    """x = (draw >> (64 - bits)) * 2**-bits * scale + low: exact up to `scale`, then rounded twice.

    The draws begin at a place of a `Stream` (structs.py) and go sample by sample, one for each feature.
    scale and low (n_features,) give every feature its interval. Overwrites the panels x
    (n_iterations, n_panels, n_features, width), whose columns after n_samples get arbitrary numbers of that
    kind, and the workspace `draws`, whose size `buffer_size` gives.
    """
    n_iterations, n_panels, n_features, width = x.shape
    per_iteration = n_samples * n_features
    unit = splat(x, 1.0 / (1 << bits))
    at_once = (draws.size - DRAWS - _ROWS_AHEAD * n_features) // per_iteration
    for first in range(0, n_iterations, at_once):
        n_left = n_iterations - first
        n = n_left if n_left < at_once else at_once
        ahead, offset = divmod(stream.skip + first * per_iteration, DRAWS)
        n_draws = -(-(offset + n * per_iteration) // DRAWS) * DRAWS
        fill_groups(stream, ahead, part(draws, 0, n_draws))
        for iteration in range(first, first + n):
            for p in range(n_panels):
                rows = matrix(draws, offset, width, n_features)
                _fill_panel(rows, bits, unit, scale, low, panel(x, iteration, p))
                n_left = n_samples - p * width
                offset += (n_left if n_left < width else width) * n_features


@kernel
def _fill_panel(draws: Matrix, bits: Number, unit: Vector, scale: Flat, low: Flat, x: Panel) -> None:
    for f in range(x.shape[0]):
        factor, offset = splat(x, scale[f]), splat(x, low[f])
        for s in range(0, x.shape[1], lanes(x)):
            fraction = to_float(shift_right(load_column(draws, s, f), 64 - bits), x) * unit
            store(x, f, s, fraction * factor + offset)
