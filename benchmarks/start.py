"""Cold and warm starts as whole processes: `python -m benchmarks.start` prints a table."""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .common import describe_machine

_GAUSSIAN = "gaussian --log-every 1000000"
#: Each a command line for Python, and whether it finds its machine code on disk.
_PROCESSES = {
    "import numba": ("-c|import numba", True),
    "import crabnet_jit": ("-c|import crabnet_jit", True),
    "import crabnet_jit.training.trainer": ("-c|import crabnet_jit.training.trainer", True),
    "crabnet-jit --version": ("-m|crabnet_jit|--version", True),
    "crabnet-jit gaussian, warm": ("-m|crabnet_jit|" + _GAUSSIAN.replace(" ", "|"), True),
    "crabnet-jit gaussian, cold": ("-m|crabnet_jit|" + _GAUSSIAN.replace(" ", "|"), False),
}


def measure(command: str, cache: str) -> tuple[float, float]:
    """Seconds that a process takes, and seconds of processor time."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *command.split("|")], env=environment, capture_output=True, check=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure in turns, print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="starts of each kind (default 7)")
    rounds = parser.parse_args().rounds
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in _PROCESSES}
    with tempfile.TemporaryDirectory() as scratch:
        for k in range(-1, rounds):  # the first round fills the caches, and does not count
            for name, (command, is_warm) in _PROCESSES.items():
                taken = measure(command, str(Path(scratch) / ("warm" if is_warm else f"cold-{k}")))
                if k >= 0:
                    times[name].append(taken)
    print(describe_machine())
    print("\n| process | seconds, median | over `import numba` | processor seconds | over `import numba` |")
    print("|---|---|---|---|---|")
    medians = {
        name: [statistics.median(column) for column in zip(*taken, strict=True)]
        for name, taken in times.items()
    }
    floors = medians["import numba"]
    for name, (seconds, processor) in medians.items():
        print(
            f"| {name} | {seconds:.2f} | {seconds - floors[0]:.2f} | {processor:.2f} |"
            f" {processor - floors[1]:.2f} |"
        )


if __name__ == "__main__":
    main()
