"""asv: figures that do not depend on the machine.

`python -m benchmarks.bench_invariants` checks them against the committed bounds.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .common import article_trainer
from .counting import instruction_counts

_HERE = Path(__file__).parent
# The training kernel is compiled for one processor, whatever this machine's, and not run.
_TARGET = {"NUMBA_CPU_NAME": "znver4", "NUMBA_CPU_FEATURES": ""}
# The types of its arguments, in a process for this machine, for the one that compiles.
_PRINT_TYPES = """
import pickle, sys
import numba
from benchmarks.common import article_trainer
from benchmarks.paths import steps
def train(*arguments):
    print(pickle.dumps(tuple(map(numba.typeof, arguments))).hex())
    sys.exit()
steps.train = train
article_trainer().run(1)
"""
_PRINT_ASSEMBLY = """
import pickle
from benchmarks.paths import entries
entries.train.compile(pickle.loads(bytes.fromhex("{types}")))
print("\\n".join(entries.train.inspect_asm().values()))
"""
_COUNT_ALLOCATIONS = """
from benchmarks.counting import allocations_per_iteration
print(allocations_per_iteration())
"""


def _python(program: str, **environment: str) -> str:
    with tempfile.TemporaryDirectory() as cache:
        variables = {**os.environ, **environment, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(_HERE.parent)}
        result = subprocess.run(
            [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True
        )
    return result.stdout


class Invariants:
    """Counts and results."""

    timeout = 300.0

    def setup_cache(self) -> dict[str, float]:
        """All figures, computed once."""
        return figures()

    def track_allocations_per_iteration(self, values: dict[str, float]) -> float:
        """Calls of Numba's allocator, from 1 and 1,001 iterations."""
        return values["allocations_per_iteration"]

    def track_packed_fma(self, values: dict[str, float]) -> float:
        """Packed multiply-add instructions in the training kernel."""
        return values["packed_fma"]

    def track_scalar_fma(self, values: dict[str, float]) -> float:
        """Scalar multiply-add instructions in the training kernel."""
        return values["scalar_fma"]

    def track_instructions(self, values: dict[str, float]) -> float:
        """Size of the training kernel's machine code, in instructions."""
        return values["instructions"]

    def track_final_loss(self, values: dict[str, float]) -> float:
        """Running loss of the article's job at iteration 110,000."""
        return values["final_loss"]

    def track_deviation_from_article(self, values: dict[str, float]) -> float:
        """Largest relative difference from the published log."""
        return values["deviation_from_article"]


def figures() -> dict[str, float]:
    """Every figure by name."""
    assembly = _python(_PRINT_ASSEMBLY.format(types=_python(_PRINT_TYPES).strip()), **_TARGET)
    log = article_trainer().run(110_001).log
    published = json.loads((_HERE.parent / "tests/data/published_log.json").read_text())
    pairs = zip(log, published, strict=True)
    return {
        "allocations_per_iteration": float(_python(_COUNT_ALLOCATIONS, NUMBA_NRT_STATS="1")),
        **instruction_counts(assembly),
        "final_loss": log[-1][1],
        "deviation_from_article": max(abs(ours / loss - 1) for (_, ours), (_, loss) in pairs),
    }


def main() -> int:
    """Print every figure with its bounds; exit with 1 if one is outside."""
    bounds = json.loads((_HERE / "bounds.json").read_text())
    outside = 0
    for name, value in figures().items():
        low, high = bounds[name]
        fits = low <= value <= high
        outside += not fits
        print(f"{name:28} {value:<22g} {'within' if fits else 'OUTSIDE'} [{low:g}, {high:g}]")
    return int(outside > 0)


if __name__ == "__main__":
    sys.exit(main())
