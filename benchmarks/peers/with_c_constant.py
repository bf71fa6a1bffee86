"""Plain C for this one network: `gaussian_fit_constant.c`, all sizes constants."""

from benchmarks.peers.job import Train
from benchmarks.peers.with_c import compiled, version

__all__ = ["prepare", "version"]


def prepare() -> Train:
    """Compile into a temporary folder."""
    return compiled("gaussian_fit_constant.c")
