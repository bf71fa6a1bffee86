"""From random integers to uniform numbers.

Both kernels compute `(draw >> shift) * unit * scale + low`, where `unit` is 2**-53 for
`shift` 11 (numbers on [0, 1)) and 2**-52 for `shift` 12 (on a closed interval). The integer
has at most 53 bits, so the first product is exact; the other two steps round once each.
"""

from typing import Any

import numpy as np

from crabnet_jit.kernels._jit import kernel


@kernel
def _uniform(draw: Any, shift: Any, unit: Any, scale: Any, low: Any) -> Any:
    return np.float64(draw >> shift) * unit * scale + low


@kernel
def fill_uniform(draws: Any, shift: Any, unit: Any, scale: Any, low: Any, out: Any) -> None:
    """Overwrite out (n,) with uniform numbers made of draws (n,)."""
    for k in range(out.size):
        out[k] = _uniform(draws[k], shift, unit, scale, low)


@kernel
def fill_panels(draws: Any, shift: Any, unit: Any, scale: Any, low: Any, n_samples: Any, x: Any) -> None:
    """Overwrite panels x (n_iterations, n_panels, n_in, width) with uniform samples.

    draws (n_iterations * n_samples * n_in,) come sample by sample, one per feature; `scale` and
    `low` (n_in,) give each feature its interval. Columns beyond n_samples become 0.
    """
    n_iterations, n_panels, n_in, width = x.shape
    for iteration in range(n_iterations):
        for p in range(n_panels):
            n_here = min(width, n_samples - p * width)
            first = (iteration * n_samples + p * width) * n_in
            for f in range(n_in):
                for s in range(n_here):
                    draw = draws[first + s * n_in + f]
                    x[iteration, p, f, s] = _uniform(draw, shift, unit, scale[f], low[f])
                for s in range(n_here, width):
                    x[iteration, p, f, s] = 0.0
