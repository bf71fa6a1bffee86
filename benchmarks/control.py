"""The cost of watching a run: `python -m benchmarks.control` prints ratios to a run without callbacks.

The article's job. Runs take turns; each counts with its best time. Then, two trainers in two threads, and
how long Ctrl-C has to wait in large networks.
"""

import argparse
import io
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from crabnet_jit import (
    NN,
    Callback,
    Checkpoint,
    EarlyStopping,
    Every,
    LogFile,
    Objective,
    ProgressBar,
    Snapshots,
    StandardGaussian,
    TimeBudget,
    Trainer,
    UniformSource,
)

from .common import article_trainer, best_seconds, check_article, describe_machine

N = 400_000  # iterations of a timed run


def ways(folder: Path) -> dict[str, Callable[[Trainer], list[Callback]]]:
    """By name, the callbacks of a run."""
    axis = np.linspace(-3, 3, 11)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

    def validation(trainer: Trainer) -> Objective:
        return Objective(trainer.net, x, StandardGaussian()(x))

    return {
        "nothing": lambda trainer: [],
        "progress bar": lambda trainer: [ProgressBar(file=io.StringIO())],
        "a function every 10,000": lambda trainer: [Every(10_000, lambda run: run.running_loss)],
        "a function every 1,000": lambda trainer: [Every(1000, lambda run: run.running_loss)],
        "time budget": lambda trainer: [TimeBudget(1e6)],
        "early stopping every 10,000, 121 samples": lambda trainer: [
            EarlyStopping(None, validation(trainer), 10_000)
        ],
        "log file every 10,000": lambda trainer: [LogFile(folder / "log.csv", 10_000)],
        "snapshot every 2,000": lambda trainer: [Snapshots(2000, 10**6)],
        "checkpoint every 100,000": lambda trainer: [Checkpoint(folder / "run.npz", 100_000)],
    }


def watched(make: Callable[[Trainer], list[Callback]]) -> Callable[[], object]:
    """N iterations of a trainer with these callbacks."""
    trainer = article_trainer()
    callbacks = make(trainer)
    return lambda: trainer.run(N, callbacks=callbacks)


def thread_ratio(rounds: int) -> float:
    """Time of two trainers in two threads over that of one."""
    trainers = [article_trainer(), article_trainer()]

    def both() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda trainer: trainer.run(N), trainers))

    def one() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(trainers[0].run, N).result()

    together, alone = best_seconds(both, one, rounds=rounds)
    return together / alone


def delays(hidden: int, batch_size: int, n: int) -> list[float]:
    """Seconds from a signal to the KeyboardInterrupt after `run`, at random moments."""
    net = NN(2, [hidden, hidden], 1, rng=1, init="he_normal")
    trainer = Trainer(
        net, UniformSource(StandardGaussian(), batch_size=batch_size, rng=1), learning_rate=1e-9
    )
    trainer.compile()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    random = np.random.default_rng(0)
    result = []
    for _ in range(n):
        sent: list[float] = []

        def interrupt(sent: list[float] = sent) -> None:
            sent.append(time.perf_counter())
            signal.raise_signal(signal.SIGINT)

        timer = threading.Timer(random.uniform(0.3, 1.3), interrupt)
        timer.start()
        try:
            trainer.run(10**9)
        except KeyboardInterrupt:
            result.append(time.perf_counter() - sent[0])
        timer.join()
    return result


def main() -> None:
    """Measure in turns, print tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.control", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=15, help="of which the best counts (default 15)")
    parser.add_argument("--signals", type=int, default=20, help="for each size of network (default 20)")
    options = parser.parse_args()
    check_article()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as name:
        runs = [watched(make) for make in ways(Path(name)).values()]
        times = best_seconds(*runs, rounds=options.rounds)
        print(f"\n| callbacks, {N} iterations | ns an iteration | more |\n|---|---|---|")
        for way, seconds in zip(ways(Path(name)), times, strict=True):
            print(f"| {way} | {1e9 * seconds / N:.1f} | {seconds / times[0] - 1:+.1%} |")
    print(f"\nTwo trainers in two threads take {thread_ratio(options.rounds):.2f} times the time of one.")
    print("\n| hidden | batch | signals | Ctrl-C, median | worst |\n|---|---|---|---|---|")
    for hidden, batch_size in ((8, 16), (256, 128), (1000, 128), (2000, 16), (2000, 1024), (4000, 1024)):
        waits = delays(hidden, batch_size, options.signals)
        median, worst = 1e3 * float(np.median(waits)), 1e3 * max(waits)
        print(f"| {hidden}-{hidden} | {batch_size} | {len(waits)} | {median:.1f} ms | {worst:.1f} ms |")


if __name__ == "__main__":
    main()
