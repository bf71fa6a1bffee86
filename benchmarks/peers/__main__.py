"""Run the programs and print how they compare: `python -m benchmarks.peers --help`."""

import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import cast

from benchmarks.peers.job import CHUNK, Peer, Train, UnavailableError

_BASE = "crabnet_jit"
_PEERS = ("c", "c_constant", "jax", "jax_tuned", "numpy", "numpy_tuned", "torch_compile", "torch", "sklearn")


@dataclass
class Entry:
    """One program: how it trains, and what was measured."""

    name: str
    version: str
    train: Train
    loss: float
    n_long: int
    microseconds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Add a time per iteration: that of a long run less a short one, so start-up drops out."""
        short, long = self._seconds(CHUNK), self._seconds(self.n_long)
        self.microseconds.append((long - short) / (self.n_long - CHUNK) * 1e6)

    def _seconds(self, n_iterations: int) -> float:
        start = time.perf_counter()
        self.train(n_iterations)
        return time.perf_counter() - start


def use_one_core() -> None:
    """One thread and one core for this process and those it starts; call before importing NumPy."""
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
    os.environ["PJRT_NPROC"] = "1"  # JAX
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def prepare(name: str, n_loss: int, seconds: float) -> Entry:
    """Compile, run once for the loss, and choose a number of iterations that takes `seconds`."""
    peer = cast(Peer, import_module(f"benchmarks.peers.with_{name}"))
    version = peer.version()
    print(f"preparing {name}", file=sys.stderr)
    train = peer.prepare()
    train(CHUNK)
    start = time.perf_counter()
    losses = train(n_loss)
    fitting = n_loss * seconds / (time.perf_counter() - start)
    n_long = max(2, round(fitting / CHUNK)) * CHUNK
    return Entry(name, version, train, float(losses[-1000:].mean()), n_long)


def prepare_all(names: list[str], n_loss: int, seconds: float) -> tuple[list[Entry], dict[str, str]]:
    """Programs that are ready, the project first, and what the others lack."""
    entries, missing = [prepare(_BASE, n_loss, seconds)], {}
    for name in names:
        try:
            entries.append(prepare(name, n_loss, seconds))
        except ImportError:
            missing[name] = "not installed"
        except UnavailableError as error:
            missing[name] = f"not installed: {error}"
    return entries, missing


def table(entries: list[Entry], missing: dict[str, str]) -> str:
    """One line for each program; ratios to the first entry, taken within each round."""
    lines = ["peer           version      us/iteration    ratio      min .. max      final loss"]
    for entry in entries:
        pairs = zip(entry.microseconds, entries[0].microseconds, strict=True)
        ratios = [own / base for own, base in pairs]
        lines.append(
            f"{entry.name:<14} {entry.version:<12} {statistics.median(entry.microseconds):>12.3f} "
            f"{statistics.median(ratios):>8.2f} {min(ratios):>8.2f} .. {max(ratios):<8.2f}"
            f" {entry.loss:>10.3f}"
        )
    return "\n".join(lines + [f"{name:<14} {reason}" for name, reason in missing.items()])


def main() -> None:
    """Measure in rounds, every program once in each, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Compare programs on one job."
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: 5)")
    parser.add_argument("--peers", default=",".join(_PEERS), help="names, separated by commas (default: all)")
    parser.add_argument("--quick", action="store_true", help="short runs: does everything work?")
    options = parser.parse_args()
    names = [name for name in options.peers.split(",") if name != _BASE]
    if unknown := set(names) - set(_PEERS):
        parser.error(f"unknown peers: {', '.join(sorted(unknown))}; there are {', '.join(_PEERS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    n_loss, seconds = (2_000, 0.1) if options.quick else (20_000, 1.5)

    use_one_core()
    common = import_module("benchmarks.common")
    entries, missing = prepare_all(names, n_loss, seconds)
    for k in range(options.rounds):
        print(f"round {k + 1} of {options.rounds}", file=sys.stderr)
        for entry in entries:
            entry.measure()

    print(common.describe_machine())
    print("Job: network 2-8-8-1, ReLU, 16 fresh samples an iteration, plain SGD, float64, one core")
    print(f"Time: median of {options.rounds} rounds; the ratio is to {_BASE} in the same round")
    print(f"Final loss: mean of the last 1,000 of {n_loss:,} iterations")
    print()
    print(table(entries, missing))


if __name__ == "__main__":
    main()
