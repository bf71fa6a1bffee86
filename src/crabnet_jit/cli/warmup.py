"""`crabnet-jit warmup`: compile everything that the other commands and `fit` may need."""

import argparse
import time

from crabnet_jit.cli.console import say
from crabnet_jit.machine.cache import cache_directory
from crabnet_jit.warming import everything


def warmup(_options: argparse.Namespace) -> None:
    """Compile piece by piece, and report each."""
    directory = cache_directory()
    if directory is None:
        raise OSError("no folder for machine code can be made; NUMBA_CACHE_DIR selects another one")
    pieces = list(everything())
    start = time.perf_counter()
    for k, (name, compile_piece) in enumerate(pieces):
        say(f"{k + 1} of {len(pieces)}: {name}")
        compile_piece()
    say(f"compiled in {time.perf_counter() - start:.1f} s, kept in {directory}")
