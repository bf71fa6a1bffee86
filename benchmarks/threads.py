"""Threads within a batch: `python -m benchmarks.threads`.

Microseconds of a training step on one thread and on several, by plain gradient descent on given data, and
how many times as fast several are; then the most that the machine gives: as many separate trainings at
once, each on a thread of its own. All are measured in turns; a ratio is the median of those of the turns.
Beside it, where it is installed, PyTorch with as many threads. Then an iteration of Levenberg-Marquardt; and,
with --seconds, the same beside other programs that compute.
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
from typing import Any

import numpy as np

from crabnet_jit import ArraySource, Trainer
from crabnet_jit.machine.cores import usable_cores

from .common import describe_machine, random_net
from .levenberg_marquardt import JOBS, Job
from .scaling import torch_step

HIDDEN, BATCH, DTYPES = (8, 32, 64, 128, 256), (16, 128, 1024, 8192), ("float64", "float32")
TURN_SECONDS = 0.03


def trainer(hidden: list[int], batch_size: int, dtype: str, n_threads: int) -> Trainer:
    """A trainer on given data."""
    net = random_net(hidden, dtype=dtype)
    x = np.random.default_rng(0).uniform(-3, 3, (batch_size, 2))
    source = ArraySource(x, np.exp(-0.5 * (x**2).sum(axis=1)), batch_size)
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


def measure(hidden: list[int], batch_size: int, dtype: str, n_threads: int, turns: int) -> dict[str, float]:
    """One row: seconds of a step, and ratios."""
    alone, *others = [trainer(hidden, batch_size, dtype, 1) for _ in range(n_threads)]
    together = trainer(hidden, batch_size, dtype, n_threads)
    n = max(2, int(TURN_SECONDS / (seconds_of(lambda: alone.run(2)) / 2)))
    for one in (alone, together):
        one.run(n)
    found = []
    for _ in range(turns):
        found.append(
            (
                seconds_of(lambda: alone.run(n)) / n,
                seconds_of(lambda: together.run(n)) / n,
                seconds_of(lambda: at_once([alone, *others], n)) / n,
            )
        )
    row = {
        "one": statistics.median(one for one, _, _ in found),
        "several": statistics.median(several for _, several, _ in found),
        "gain": statistics.median(one / several for one, several, _ in found),
        "most": statistics.median(n_threads * one / separate for one, _, separate in found),
    }
    if len(hidden) == 2 and find_spec("torch") is not None:
        row["torch"] = torch_seconds(hidden[0], batch_size, dtype, n_threads, turns)
    return row


def torch_seconds(hidden: int, batch_size: int, dtype: str, n_threads: int, turns: int) -> float:
    """Seconds of a step of PyTorch, the median."""
    import torch  # an optional peer

    step: Any = torch_step(hidden, batch_size, dtype)
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
    """A block in which so many other programs compute."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def beside_others(n_others: int, n_threads: int, seconds: float) -> float:
    """How many times as long several threads take as one, beside other programs, for so many seconds each."""
    alone, together = (trainer([64, 64], 1024, "float64", n) for n in (1, n_threads))
    steps = dict.fromkeys((alone, together), 0)
    with others(n_others):
        for one in (alone, together):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                one.run(20)
                steps[one] += 20
    return steps[alone] / steps[together]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=usable_cores(), help="(default: the usable cores)")
    parser.add_argument("--turns", type=int, default=15, help="of each measurement (default 15)")
    parser.add_argument("--quick", action="store_true", help="only a few rows")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="of runs beside other programs (default 0)"
    )
    options = parser.parse_args()
    n = options.threads
    print(describe_machine())
    threads = f"{n} threads, us"
    print(f"\n| hidden | batch | type | one thread, us | {threads} | gain | most | PyTorch, {threads} |")
    print("|---|---|---|---|---|---|---|---|")
    rows = [([h, h], b, t) for t in DTYPES for h in HIDDEN for b in BATCH]
    if options.quick:
        rows = [
            ([64, 64], 1024, "float64"),
            ([8, 8], 1000, "float64"),
            ([256, 256], 1024, "float32"),
            ([32, 16], 10000, "float64"),
        ]
    for hidden, batch_size, dtype in rows:
        row = measure(hidden, batch_size, dtype, n, options.turns)
        theirs = f"{1e6 * row['torch']:,.1f}" if "torch" in row else ""
        cells = [f"{1e6 * row[name]:,.1f}" for name in ("one", "several")] + [
            f"{row[name]:.2f}" for name in ("gain", "most")
        ]
        print(
            f"| {'-'.join(map(str, hidden))} | {batch_size:,} | {dtype} | {' | '.join([*cells, theirs])} |",
            flush=True,
        )
    print(f"\n| Levenberg-Marquardt, 2,048 samples | one thread, ms | gain of {n} threads |\n|---|---|---|")
    for job in JOBS[1:2] if options.quick else JOBS:
        one, gain = second_order(job, n, options.turns)
        print(f"| {job} | {1e3 * one:.2f} | {gain:.2f} |", flush=True)
    for n_others in (2, 4) if options.seconds > 0 else ():
        ratio = beside_others(n_others, n, options.seconds)
        print(
            f"\nBeside {n_others} other programs, 64-64, batch 1,024: {ratio:.2f} times the time of one thread"
        )


if __name__ == "__main__":
    main()
