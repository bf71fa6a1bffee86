"""Compiling without SciPy, which no kernel of ours calls.

When Numba compiles for the first time it imports SciPy's linear algebra, 0.2 s, only to learn whether there
is one for `np.dot` and its like. Here that is answered by a look for the package. Functions that call
`np.dot` import SciPy when they are compiled, as ever.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
from typing import Any


@functools.cache
def look_instead_of_import() -> None:
    """Import the module of Numba that asks, with an answer that takes no time: yes.

    Does nothing where there is no SciPy, where it is imported anyway, and where Numba does not ask like that.
    """
    if "scipy.linalg" in sys.modules or importlib.util.find_spec("scipy") is None:
        return
    with contextlib.suppress(ImportError, AttributeError):
        linalg: Any = importlib.import_module("numba.np.linalg")
        ask = linalg.ensure_blas
        linalg.ensure_blas = lambda: None
        try:
            arraymath: Any = importlib.import_module("numba.np.arraymath")
        finally:
            linalg.ensure_blas = ask
        arraymath.ensure_blas = ask
