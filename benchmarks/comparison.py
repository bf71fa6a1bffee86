"""What `benchmarks.compare` measured, and what follows from it."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .common import describe_machine
from .processes import Process

SLOWER = 1.03  # the whole interval above it: flagged
TOO_WIDE = 0.05  # an interval: no verdict
LEVEL = 0.95
RESAMPLES = 4000
WARMING = 2  # runs


class Estimate(NamedTuple):
    """A median ratio and its interval."""

    ratio: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """Of the interval."""
        return self.high - self.low

    def __str__(self) -> str:
        """As in the table."""
        return f"{self.ratio:.3f}  [{self.low:.3f}, {self.high:.3f}]"


def estimate(starts: Sequence[Sequence[float]]) -> Estimate:
    """The median of all ratios, and an interval by bootstrap: starts are drawn, and in each its pairs."""
    ratios: NDArray[np.float64] = np.array(starts)
    n_starts, n_pairs = ratios.shape
    rng = np.random.default_rng(0)
    drawn = rng.integers(n_starts, size=(RESAMPLES, n_starts, 1))
    pairs = rng.integers(n_pairs, size=(RESAMPLES, n_starts, n_pairs))
    medians = np.median(ratios[drawn, pairs].reshape(RESAMPLES, -1), axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return Estimate(float(np.median(ratios)), float(low), float(high))


def ratios(a: Process, b: Process, job: "Job") -> list[float]:
    """Turns in the order A B B A; the two ratios B / A.

    Two short turns before them do not count: B, A. Then caches are as warm for both, and each has one turn
    after its own and one after the other's.
    """
    b.seconds(job.name, job.n, WARMING)
    a.seconds(job.name, job.n, WARMING)
    first_a, first_b, second_b, second_a = (worker.seconds(job.name, job.n) for worker in (a, b, b, a))
    return [first_b / first_a, second_b / second_a]


class Job:
    """What was measured of one job."""

    def __init__(self, name: str, n: int) -> None:
        self.name = name
        self.n = n  # calls of a run
        self.seconds: list[float] = []  # of a call of BASE, at the end of each start
        self.against_base: list[list[float]] = []  # ratios of pairs, for each start
        self.control: list[list[float]] = []

    def measure(self, base: Process, head: Process, control: Process) -> None:
        """Each against each."""
        self.against_base[-1] += ratios(base, head, self)
        self.control[-1] += ratios(base, control, self)
        self.against_base[-1] += ratios(control, head, self)

    def begin(self) -> None:
        """Another start of the processes."""
        self.against_base.append([])
        self.control.append([])

    @property
    def result(self) -> Estimate:
        """HEAD against BASE."""
        return estimate(self.against_base)

    @property
    def noise(self) -> Estimate:
        """BASE against itself."""
        return estimate(self.control)

    @property
    def verdict(self) -> str:
        """What the intervals say."""
        if self.noise.low > SLOWER or self.noise.width > TOO_WIDE or self.result.width > TOO_WIDE:
            return "no verdict"
        return "SLOWER" if self.result.low > SLOWER else "not slower"

    def summary(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "seconds": float(np.median(self.seconds)),
            "verdict": self.verdict,
            "pairs": sum(map(len, self.against_base)),
            "starts": len(self.against_base),
            "result": self.result._asdict(),
            "control": self.noise._asdict(),
        }


class Comparison(NamedTuple):
    """All that a comparison found; `exact` has BASE's and HEAD's figures."""

    base: str
    head: str
    jobs: list[Job]
    left_out: dict[str, str]
    exact: dict[str, tuple[Any, Any]]
    compile_seconds: float
    seconds: float

    @property
    def flagged(self) -> list[str]:
        """Why HEAD does not pass."""
        names = [job.name for job in self.jobs if job.verdict == "SLOWER"]
        before, after = self.exact.get("allocations_per_iteration", (0.0, 0.0))
        return names + (["allocations per iteration"] if after > before else [])

    @property
    def no_verdict(self) -> list[str]:
        """Jobs of which nothing can be said."""
        return [job.name for job in self.jobs if job.verdict == "no verdict"]

    @property
    def status(self) -> int:
        """For the shell."""
        return 1 if self.flagged else 2 if self.no_verdict else 0

    def as_json(self) -> str:
        """For machines."""
        return json.dumps(
            {
                "base": self.base,
                "head": self.head,
                "machine": describe_machine(),
                "jobs": {job.name: job.summary() for job in self.jobs},
                "exact": {
                    name: {"base": before, "head": after} for name, (before, after) in self.exact.items()
                },
                "left_out": self.left_out,
                "flagged": self.flagged,
                "no_verdict": self.no_verdict,
                "compile_seconds": round(self.compile_seconds, 1),
                "seconds": round(self.seconds, 1),
            },
            indent=2,
        )

    def as_table(self) -> str:
        """For people."""
        lines = [describe_machine(), f"base  {self.base}", f"head  {self.head}", ""]
        lines.append(f"{'job':16}{'base, us':>10}   {'head / base':25}{'base / base (control)':25}")
        for job in self.jobs:
            taken = 1e6 * float(np.median(job.seconds))
            lines.append(f"{job.name:16}{taken:>10.3f}   {job.result!s:25}{job.noise!s:25}{job.verdict}")
        lines += [f"{name:16} left out: {reason}" for name, reason in self.left_out.items()]
        for name, (before, after) in self.exact.items():
            label = f"{name.replace('_', ' '):28}"
            if before != after:
                lines.append(f"{label}{before!r} became {after!r}")
            elif not name.startswith("first result"):
                lines.append(f"{label}{before:g}, the same")
        first = self.jobs[0].summary()
        lines.append(
            f"\n{first['pairs']} pairs in {first['starts']} starts of the processes, "
            f"intervals of {LEVEL:.0%}; {self.seconds:.0f} s, of which compiling {self.compile_seconds:.0f}"
        )
        if self.no_verdict:
            lines.append(
                f"No verdict on {', '.join(self.no_verdict)}: an interval is wider than {TOO_WIDE:.0%}, or "
                "BASE differs from itself. The machine is too busy; measure again when it has less to do."
            )
        lines.append(
            f"Slower: {', '.join(self.flagged)}" if self.flagged else "Nothing is flagged as slower."
        )
        return "\n".join(lines)
