"""Threads within a batch: `python -m benchmarks.threads`.

It measures the microseconds of a training step (plain gradient descent on given data) on one thread and on
several, and their ratio; then the most that the machine can give: as many separate trainings at once, each on
its own thread. All are measured in turns; a ratio is the median over the turns. PyTorch, if installed, runs
with as many threads. Next comes an iteration of Levenberg-Marquardt, and, with --seconds, the same while
other programs compute.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import ArraySource, Trainer
from crabnet_jit.machine.cores import usable_cores

from .common import describe_machine, random_net
from .levenberg_marquardt import JOBS, Job
from .scaling import torch_step
from .thread_model import measured, step_seconds

HIDDEN, BATCH, DTYPES = (8, 32, 64, 128, 256), (16, 128, 1024, 8192), ("float64", "float32")
TURN_SECONDS = 0.03
MODELLED = 1, 2, 4, 8  # threads


class Case(NamedTuple):
    """A network, and the samples in a batch."""

    hidden: tuple[int, ...]
    batch_size: int
    dtype: str = "float64"

    def __str__(self) -> str:
        return "-".join(map(str, self.hidden))


FEW = [Case((64, 64), 1024), Case((8, 8), 1000), Case((256, 256), 1024, "float32"), Case((32, 16), 10_000)]
BUSY = FEW[0]  # while other programs compute


def trainer(case: Case, n_threads: int) -> Trainer:
    """A trainer on given data."""
    net = random_net(list(case.hidden), dtype=case.dtype)
    x = np.random.default_rng(0).uniform(-3, 3, (case.batch_size, 2))
    source = ArraySource(x, np.exp(-0.5 * (x**2).sum(axis=1)), case.batch_size)
    made = Trainer(net, source, learning_rate=1e-6, n_threads=n_threads)
    made.run(2)
    return made


def seconds_of(function: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def at_once(trainers: list[Trainer], n: int) -> None:
    """Run all, each on a thread of its own."""
    threads = [threading.Thread(target=one.run, args=(n,)) for one in trainers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Row(NamedTuple):
    """Seconds of a step, and how many times as fast threads are: those of a team, and separate trainings."""

    one: float
    several: float
    gain: float
    most: float
    torch: float | None


def measure(case: Case, n_threads: int, turns: int) -> Row:
    """A row of the table."""
    alone, *separate = [trainer(case, 1) for _ in range(n_threads)]
    together = trainer(case, n_threads)
    n = max(2, int(TURN_SECONDS / (seconds_of(lambda: alone.run(2)) / 2)))
    for one in (alone, together):
        one.run(n)
    found = [
        (
            seconds_of(lambda: alone.run(n)) / n,
            seconds_of(lambda: together.run(n)) / n,
            seconds_of(lambda: at_once([alone, *separate], n)) / n,
        )
        for _ in range(turns)
    ]
    return Row(
        statistics.median(one for one, _, _ in found),
        statistics.median(several for _, several, _ in found),
        statistics.median(one / several for one, several, _ in found),
        statistics.median(n_threads * one / each for one, _, each in found),
        torch_seconds(case, n_threads, turns),
    )


def torch_seconds(case: Case, n_threads: int, turns: int) -> float | None:
    """Seconds of a step of PyTorch, the median; None if it is not installed, or has no such network here."""
    if find_spec("torch") is None or len(set(case.hidden)) > 1:
        return None
    import torch  # an optional peer

    step: Any = torch_step(case.hidden[0], case.batch_size, case.dtype)
    torch.set_num_threads(n_threads)
    step()
    n = max(1, int(TURN_SECONDS / seconds_of(step)))
    return statistics.median(seconds_of(lambda: [step() for _ in range(n)]) / n for _ in range(turns))


def second_order(job: Job, n_threads: int, turns: int) -> tuple[float, float]:
    """Seconds of an iteration of Levenberg-Marquardt on one thread, the median, and the gain of several."""
    trainers = [job.trainer(n_threads=n) for n in (1, n_threads)]
    for one in trainers:
        one.run(10)
    found = [[seconds_of(partial(one.run, 3)) / 3 for one in trainers] for _ in range(turns)]
    return statistics.median(a for a, _ in found), statistics.median(a / b for a, b in found)


@contextlib.contextmanager
def others(n: int) -> Iterator[None]:
    """A block in which this many other programs compute."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def beside_others(n_others: int, n_threads: int, seconds: float) -> float:
    """How many times as long several threads take as one, while others compute, for some seconds each."""
    alone, together = (trainer(BUSY, n) for n in (1, n_threads))
    steps = dict.fromkeys((alone, together), 0)
    with others(n_others):
        for one in (alone, together):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                one.run(20)
                steps[one] += 20
    return steps[alone] / steps[together]


def print_cases(cases: list[Case], n_threads: int, turns: int) -> dict[Case, float]:
    """Measure and print the table; return seconds of one thread."""
    several = f"{n_threads} threads, us"
    print(f"\n| hidden | batch | type | one thread, us | {several} | gain | most | PyTorch, {several} |")
    print("|---|---|---|---|---|---|---|---|")
    of_one = {}
    for case in cases:
        row = measure(case, n_threads, turns)
        of_one[case] = row.one
        times = f"{1e6 * row.one:,.1f} | {1e6 * row.several:,.1f} | {row.gain:.2f} | {row.most:.2f}"
        theirs = "" if row.torch is None else f"{1e6 * row.torch:,.1f}"
        print(f"| {case} | {case.batch_size:,} | {case.dtype} | {times} | {theirs} |", flush=True)
    return of_one


def print_model(of_one: dict[Case, float]) -> None:
    """Print what the model of thread_model.py makes of the seconds of one thread."""
    meeting, line = measured()
    print(f"\nA meeting of two threads: {1e9 * meeting:.0f} ns; a line of the cache: {1e9 * line:.1f} ns.")
    print(f"\nModel: gain of {', '.join(map(str, MODELLED))} threads\n")
    print("| hidden | batch | type | gain |\n|---|---|---|---|")
    for case, one in of_one.items():
        n_bytes = random_net(list(case.hidden), dtype=case.dtype).parameters.nbytes
        gains = [one / step_seconds(one, n, case.batch_size, n_bytes, meeting, line) for n in MODELLED]
        print(
            f"| {case} | {case.batch_size:,} | {case.dtype} | {', '.join(f'{gain:.1f}' for gain in gains)} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="(default: the usable cores)")
    parser.add_argument("--turns", type=int, default=15, help="of each measurement (default 15)")
    parser.add_argument("--quick", action="store_true", help="only a few rows")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="of runs next to other programs (default 0)"
    )
    options = parser.parse_args()
    n = options.threads
    print(describe_machine())
    grid = [Case((width, width), size, dtype) for dtype in DTYPES for width in HIDDEN for size in BATCH]
    cases = FEW if options.quick else [*FEW, *grid]
    of_one = print_cases(cases, n, options.turns)
    print_model({case: of_one[case] for case in FEW})
    print(f"\n| Levenberg-Marquardt, 2,048 samples | one thread, ms | gain of {n} threads |\n|---|---|---|")
    for job in JOBS[1:2] if options.quick else JOBS:
        one, gain = second_order(job, n, options.turns)
        print(f"| {job} | {1e3 * one:.2f} | {gain:.2f} |", flush=True)
    for n_others in (2, 4) if options.seconds > 0 else ():
        ratio = beside_others(n_others, n, options.seconds)
        case = f"{BUSY}, batch {BUSY.batch_size:,}, next to {n_others} other programs"
        print(f"\n{case}: {ratio:.2f} times the time of one thread")


if __name__ == "__main__":
    main()
