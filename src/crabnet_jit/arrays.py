"""The types of arrays, and arrays that are aligned to vectors and pages of memory."""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]  # of float64 or float32

# Names for the arguments of kernels; Numba infers the types itself.
Number = Any
Flat = Any  # an array of one dimension
Matrix = Any  # an array of two dimensions
Panel = Any  # a matrix with a row for each feature and a column for each of PANEL samples
Group = Any  # panels that go through a network together, (n_panels, n_features, PANEL)
Panels = Any  # panels of several iterations, (n_iterations, n_panels, n_features, PANEL)
Vector = Any  # numbers side by side in a register (machine/vector.py)
Flag = Any  # memory where kernels look for signals (machine/interrupt.py), or None
Calls = Any  # addresses of what a run calls (kernels/abi.py), or None

_PAGE = 4096  # bytes in a page of memory


def aligned_zeros(*shape: int, dtype: DTypeLike = np.float64) -> Array:
    """Zeros that start at a page of memory.

    Then a vector fits into one cache line: with all buffers of the article's job aligned to 64 bytes, an
    iteration takes 301 ns instead of 342. And no small buffer crosses a page boundary, which would cost 1.5
    %.
    """
    size = math.prod(shape)
    raw = np.zeros(size + _PAGE // np.dtype(dtype).itemsize, dtype)
    start = -raw.ctypes.data % _PAGE // raw.itemsize
    return raw[start : start + size].reshape(shape)
