"""Data of the original program, shared by the tests."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optional import WITHOUT_TORCH

collect_ignore = ["test_torch.py"] if WITHOUT_TORCH else []
_DATA = Path(__file__).parent / "data"
os.environ.setdefault("MPLBACKEND", "Agg")  # no windows
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job in the background; processes inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _processes_do_not_compile_for_coverage() -> None:
    """Lines count where they are compiled, which must not be a process that coverage does not see."""
    if "NUMBA_JIT_COVERAGE" in os.environ:
        from crabnet_jit.machine.cache import cache_directory  # noqa: PLC0415  # an import counts, too

        os.environ["NUMBA_CACHE_DIR"] = f"{cache_directory()}-of-processes"


@pytest.fixture(autouse=True)
def _figures_are_closed() -> Iterator[None]:
    """Those that examples in documentation leave open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def reference() -> Any:
    """Numbers taken from the original with seed 1: draws, iteration 0, losses, log, parameters."""
    return json.loads((_DATA / "crabnet_seed1.json").read_text())


@pytest.fixture(scope="session")
def published_log() -> list[tuple[int, float]]:
    """The article's twelve lines."""
    pairs = json.loads((_DATA / "published_log.json").read_text())
    return [(iteration, loss) for iteration, loss in pairs]
