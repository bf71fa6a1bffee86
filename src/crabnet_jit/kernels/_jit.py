"""The one place that decides how functions are compiled.

No fastmath anywhere: NaN stays NaN, and a sum is added up in the order in which
the loop is written, so the bits do not depend on what the optimiser fancied.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba.core import config

from crabnet_jit.kernels._cache import cache_directory

# Array arguments are unpacked into many scalars at a call; inlining takes that
# away and halves the time of an iteration of a 2-8-8-1 network.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "forceinline": True, "nogil": True}
_DIRECTORY = cache_directory()


def inline(function: Callable[..., Any]) -> Any:
    """Compile `function` for use inside kernels only."""
    return numba.njit(**_OPTIONS)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` for calls from Python too; keep the machine code on disk."""
    if _DIRECTORY is None:
        return inline(function)
    # Numba asks for the cache folder at the moment of decoration, and only then.
    before = config.CACHE_DIR
    config.CACHE_DIR = str(_DIRECTORY)
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    finally:
        config.CACHE_DIR = before
