"""From random integers to uniform numbers."""

from typing import Any

import numpy as np

from crabnet_jit.kernels._jit import kernel


@kernel
def fill_uniform(draws: Any, shift: Any, unit: Any, out: Any) -> None:
    """out = (draws >> shift) * unit. Overwrites out (n,), reads draws (n,) of uint64.

    Exact: the integer has at most 53 bits, and `unit` is a power of two.
    """
    for k in range(out.size):
        out[k] = np.float64(draws[k] >> shift) * unit
