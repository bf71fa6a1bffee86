"""Worker processes for `benchmarks.compare`, one for each version (worker.py)."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from .versions import CannotMeasureError, Version

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("worker.py")

RUNS = 5  # of a turn, of which the best counts
ANSWER_SECONDS = 600.0  # a process that takes longer hangs


def _environment(version: Version) -> dict[str, str]:
    """For a process that imports this version of the package, and these benchmarks."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(version.sources), str(ROOT)]),
        "NUMBA_CACHE_DIR": str(version.cache),
        "NUMBA_NRT_STATS": "1",  # counts allocations
    }


class Process:
    """A worker process for one version (worker.py)."""

    def __init__(self, version: Version, jobs: Path, errors: IO[bytes]) -> None:
        self.version = version
        self._errors = errors
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), str(jobs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(version),
            start_new_session=True,  # Ctrl-C is for the process that is in charge, which then ends this one
        )

    def ask(self, *command: Any) -> dict[str, Any]:
        """Send a command, wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        overdue = threading.Timer(ANSWER_SECONDS, self._process.kill)
        overdue.start()
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            overdue.cancel()
        if not line:
            raise CannotMeasureError(f"the process of {self.version.name} ended{self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f" with status {status}" + (f": {lines[-1]}" if lines else "")

    def calls(self, name: str, seconds: float) -> int:
        """How many calls of a job take about so long."""
        return int(self._demand("calls", name, seconds)["calls"])

    def seconds(self, name: str, n: int, runs: int = RUNS) -> float:
        """One turn: seconds of a call."""
        return float(self._demand("time", name, n, runs)["seconds"])

    def _demand(self, command: str, name: str, *arguments: Any) -> dict[str, Any]:
        answer = self.ask(command, name, *arguments)
        if "error" in answer:
            raise CannotMeasureError(f"{name} failed in {self.version.name}: {answer['error']}")
        return answer

    def pin(self, start: int) -> None:
        """Keep it on one processor, another one for each start: one may be slower than the other."""
        if hasattr(os, "sched_setaffinity"):  # Linux
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self._process.pid, {allowed[start % len(allowed)]})

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """End it, and its pipes."""
        self.kill()
        self._process.communicate()


@contextlib.contextmanager
def processes(versions: Sequence[Version], jobs: Path) -> Iterator[list[Process]]:
    """A fresh process for each version."""
    with contextlib.ExitStack() as stack:
        started = []
        for version in versions:
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = Process(version, jobs, errors)
            stack.callback(process.close)
            started.append(process)
        yield started


def make_all(workers: Sequence[Process], names: Sequence[str]) -> list[dict[str, dict[str, Any]]]:
    """Let each worker make its jobs, at the same time; return its answers."""

    def make(worker: Process) -> dict[str, dict[str, Any]]:
        return {name: worker.ask("make", name) for name in names}

    with ThreadPoolExecutor(len(workers)) as pool:
        try:
            return list(pool.map(make, workers))
        except BaseException:  # Ctrl-C, or one of them ended: the others would be waited for
            for worker in workers:
                worker.kill()
            raise
