"""Cold and warm starts as whole processes: `python -m benchmarks.start` prints a table."""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

from .bench_start import WARMUP, run_python
from .common import describe_machine, seconds


def main() -> None:
    """Measure in turns, print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="starts of each kind (default 7)")
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        warm = str(Path(scratch) / "warm")
        run_python(WARMUP, warm)
        for k in range(rounds):
            for name, program, cache in (
                ("import numba", "import numba", warm),
                ("import crabnet_jit", "import crabnet_jit", warm),
                ("first result, warm", WARMUP, warm),
                ("first result, cold", WARMUP, str(Path(scratch) / f"cold-{k}")),
            ):
                times.setdefault(name, []).append(seconds(partial(run_python, program, cache)))
    print(describe_machine())
    print("\n| process | seconds, median | over `import numba` |\n|---|---|---|")
    floor = statistics.median(times["import numba"])
    for name, taken_each in times.items():
        median = statistics.median(taken_each)
        print(f"| {name} | {median:.2f} | {median - floor:.2f} |")


if __name__ == "__main__":
    main()
