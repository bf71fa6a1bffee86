"""Compiling without importing SciPy, which our kernels never call.

When Numba compiles for the first time, it imports SciPy's linear algebra, which takes 0.2 s, only to learn
whether it is available for `np.dot` and similar functions. Here that is answered by looking for the package.
Functions that call `np.dot` still import SciPy when they are compiled.
"""

import contextlib
import functools
import importlib
import importlib.util
import sys
from typing import Any


@functools.cache
def look_instead_of_import() -> None:
    """Import the module of Numba that asks for SciPy, with an immediate answer: yes.

    Does nothing if SciPy is not installed or already imported, or if this version of Numba asks differently.
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
