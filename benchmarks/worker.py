"""A process that holds one version of the code and times it when `benchmarks.compare` asks.

`python worker.py JOBS_FILE` answers each line of standard input by one line, both JSON:

    ["names"]                {"names": the jobs of the file}
    ["make", NAME]           {"result": what the job's first step returns}
    ["calls", NAME, SECONDS] {"calls": how many calls take about this long}
    ["counts"]               {"counts": what the file's COUNTS gives, figures by name}
    ["time", NAME, N, RUNS]  {"seconds": the time of one call, in the best of RUNS runs of N calls}

An exception is answered by {"error": its last line}. The file imports nothing of the project, so the version
under test is whatever PYTHONPATH leads to.
"""

import functools
import gc
import json
import os
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

Run = Callable[[int], object]

MOST_CALLS = 2**30


def best_seconds(run: Run, n: int, runs: int) -> float:
    """Seconds of a call, in the best of some runs of n calls."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run(n)
        times.append(time.perf_counter() - start)
    return min(times) / n


def calls(run: Run, seconds: float) -> int:
    """How many calls take about so many seconds."""
    n = 1
    while n < MOST_CALLS and (taken := best_seconds(run, n, 3) * n) < seconds / 2:
        n *= 2
    if n >= MOST_CALLS:
        raise ValueError(f"run(n) is over at once for n = {n}: it must do the job n times")
    return max(1, round(n * seconds / taken))


class Worker:
    """The jobs of a file; those that were made are kept."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._runs: dict[str, Run] = {}

    @functools.cached_property
    def _file(self) -> dict[str, Any]:
        return runpy.run_path(self._path)

    def names(self) -> dict[str, Any]:
        """The jobs of the file."""
        return {"names": list(self._file["JOBS"])}

    def make(self, name: str) -> dict[str, Any]:
        """Make a job, which compiles it, and take its first step."""
        run = self._runs[name] = self._file["JOBS"][name]()
        result = run(1)
        return {"result": float(result) if isinstance(result, (int, float)) else None}

    def calls(self, name: str, seconds: float) -> dict[str, Any]:
        """How many calls take about so many seconds."""
        return {"calls": calls(self._runs[name], seconds)}

    def counts(self) -> dict[str, Any]:
        """Figures that are compared exactly."""
        return {"counts": self._file["COUNTS"]() if "COUNTS" in self._file else {}}

    def time(self, name: str, n: int, runs: int) -> dict[str, Any]:
        """Seconds of one call."""
        return {"seconds": best_seconds(self._runs[name], n, runs)}


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")  # what a job prints must not come between the answers
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    gc.disable()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        try:
            answer = getattr(worker, command)(*arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
