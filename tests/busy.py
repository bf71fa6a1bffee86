"""The tests on a busy machine: `python tests/busy.py` runs them three times beside two other processes.

`--one-core` runs them once, on a single core, alone. What follows `--` is for pytest, by default `-n 2`.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Run the tests; return the exit code of the first run that failed, or 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neighbours", type=int, help="processes that compute (default 2; on one core 0)")
    parser.add_argument("--times", type=int, help="how often the tests are run (default 3; on one core 1)")
    parser.add_argument("--one-core", action="store_true", help="one core for all")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, after -- (default -n 2)")
    options = parser.parse_args()
    n_neighbours = (0 if options.one_core else 2) if options.neighbours is None else options.neighbours
    times = (1 if options.one_core else 3) if options.times is None else options.times
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # children have it, too
    computing = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_neighbours)]
    try:
        for k in range(times):
            began = time.monotonic()
            command = [sys.executable, "-m", "pytest", *(options.pytest or ["-n", "2"])]
            code = subprocess.run(command, cwd=ROOT, check=False).returncode
            minutes = (time.monotonic() - began) / 60
            print(f"run {k + 1}: exit code {code}, {minutes:.1f} min, beside {n_neighbours}", flush=True)
            if code != 0:
                return code
    finally:
        for process in computing:
            process.kill()
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
