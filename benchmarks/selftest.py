"""Proof that a regression cannot hide: `python -m benchmarks.selftest`.

In a scratch clone it plants changes on top of the newest commit and lets `benchmarks.compare` judge them,
while another process computes on one of the cores. Slow-downs of 1.10 must be flagged 20 times of 20 and
those of 1.05 15 times of 20, an allocation in the loop always, and a changed comment, or a version compared
with itself, never. If 1.05 was flagged too rarely, which may be bad luck after few rounds, it gets up to
three more. The slow-downs are calibrated first, while nothing else runs: before every step, as many
parameters as needed are updated by nothing. Exits with 1 if too many verdicts are wrong.
"""

import argparse
import contextlib
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .common import describe_machine
from .compare import STARTS, compare_exactly, compare_versions
from .comparison import SLOWER, Comparison, Estimate
from .processes import ROOT
from .versions import Version, checked_out, git

UPDATE = "    sgd_update(parameters, gradients, rate)\n"
LOSS = "    loss = 0.0\n    n_panels = "
MORE = """

@kernel
def _update_nothing(parameters: Flat, gradients: Flat, n: Number) -> None:
    zero = parameters.dtype.type(0)
    while n > 0:
        for k in range(min(n, parameters.size)):
            parameters[k] -= zero * gradients[k]
        n -= parameters.size
"""
COMMENT = {UPDATE: "    # The rule of the article.\n" + UPDATE}
ALLOCATING = {
    LOSS: "    zeros = np.zeros(workspace.gradients.size)\n"
    "    for k in range(zeros.size):\n"
    "        workspace.gradients[k] = zeros[k]\n" + LOSS,
    "import math\n": "import math\n\nimport numpy as np\n",
}
SLOW = {"1.10": 1.10, "1.05": 1.05}
MUST_FLAG = {"1.10": 1.0, "1.05": 0.75, "allocating": 1.0}  # shares of the rounds
PROBES = 150, 450  # updates
EXTRA_ROUNDS = 3
ROUNDS_OF_A_BUILD = 5  # then all is compiled anew


def slower(n: int) -> dict[str, str]:
    """Update this many parameters by nothing before every step."""
    return {UPDATE: f"    _update_nothing(parameters, gradients, {n})\n" + UPDATE}


def plant(clone: Path, name: str, changes: dict[str, str], base: str) -> str:
    """Commit the changes, all in one file, on top of the base; return the commit."""
    git(clone, "checkout", "--quiet", "--detach", base)
    anchor = next(iter(changes))
    holders = [path for path in (clone / "src").rglob("*.py") if anchor in path.read_text()]
    if len(holders) != 1:
        raise RuntimeError(f"{anchor!r} must be in one file, is in {len(holders)}")
    source = holders[0].read_text()
    for old, new in changes.items():
        if source.count(old) != 1:
            raise RuntimeError(f"{holders[0]} does not have exactly one {old!r}")
        source = source.replace(old, new)
    if "_update_nothing" in source:
        source += MORE
    holders[0].write_text(source)
    author = ("-c", "user.name=selftest", "-c", "user.email=selftest@example.org")
    git(clone, *author, "commit", "--quiet", "--all", f"--message=Planted: {name}")
    return git(clone, "rev-parse", "HEAD")


class Plantation:
    """Planted versions next to the base, each in a worktree with machine code of its own."""

    def __init__(self, scratch: Path, stack: contextlib.ExitStack) -> None:
        self._scratch, self._stack = scratch, stack
        self._clone = scratch / "clone"
        git(ROOT, "clone", "--quiet", str(ROOT), str(self._clone))
        self._base = git(self._clone, "rev-parse", "HEAD")
        self.base = self._check_out("base", self._base)

    def plant(self, name: str, changes: dict[str, str]) -> Version:
        """A version with these changes."""
        return self._check_out(name, plant(self._clone, name, changes, self._base))

    def _check_out(self, name: str, commit: str) -> Version:
        folder, cache = self._scratch / name, self._scratch / f"{name}-cache"
        return self._stack.enter_context(checked_out(self._clone, commit, folder, cache))


def forget(version: Version) -> None:
    """Remove its machine code, so that the luck of compiling is drawn anew."""
    shutil.rmtree(version.cache)
    version.cache.mkdir()


@contextlib.contextmanager
def busy_neighbour() -> Iterator[None]:
    """Another process that computes all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def article_ratio(plantation: Plantation, version: Version) -> Estimate:
    """How much slower than the base a version does the article's job."""
    comparison = compare_versions(plantation.base, version, only=["article"], starts=2 * STARTS)
    return comparison.jobs[0].result


def calibrate(plantation: Plantation) -> dict[str, Version]:
    """Versions that are as much slower as they should be; prints what they measure."""
    few, many = PROBES
    at_few, at_many = (
        article_ratio(plantation, plantation.plant(f"probe-{n}", slower(n))).ratio for n in PROBES
    )
    slope = (at_many - at_few) / (many - few)
    versions = {}
    for name, ratio in SLOW.items():
        n = round(few + (ratio - at_few) / slope)
        for attempt in range(3):
            versions[name] = plantation.plant(f"{name}-{attempt}", slower(n))
            measured = article_ratio(plantation, versions[name])
            print(f"planted {name}: {n} updates of nothing, measured when idle {measured}", flush=True)
            correction = round((ratio - measured.ratio) / slope)
            if abs(ratio - measured.ratio) < 0.005 or correction == 0:
                break
            n += correction
    return versions


def false_alarms(comparison: Comparison) -> list[str]:
    """Jobs of which BASE seems slower than itself."""
    return [job.name for job in comparison.jobs if job.noise.low > SLOWER]


def least(name: str, n: int) -> int:
    """How often a change must be flagged of n times."""
    return math.ceil(MUST_FLAG.get(name, 0.0) * n)


def missed(flagged: dict[str, int], compared: dict[str, int]) -> list[str]:
    """Changes that need not be flagged always, and were not often enough."""
    return [
        name
        for name, share in MUST_FLAG.items()
        if share < 1.0 and flagged[name] < least(name, compared[name])
    ]


def main() -> int:
    """Plant, compare, print the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="comparisons of each change (default 20)")
    rounds = parser.parse_args().rounds
    print(describe_machine(), flush=True)
    began = time.monotonic()
    flagged = {"1.10": 0, "1.05": 0, "allocating": 0, "comment only": 0, "base against itself": 0}
    compared = dict.fromkeys(flagged, 0)
    longest, unsure, widths = 0.0, 0, []
    with tempfile.TemporaryDirectory(prefix="selftest-") as scratch, contextlib.ExitStack() as stack:
        plantation = Plantation(Path(scratch), stack)
        versions = calibrate(plantation)
        versions["comment only"] = plantation.plant("comment", COMMENT)
        allocating = plantation.plant("allocating", ALLOCATING)
        stack.enter_context(busy_neighbour())
        for round_number in range(1, rounds + EXTRA_ROUNDS + 1):
            is_extra = round_number > rounds
            due = missed(flagged, compared) if is_extra else [*versions]
            if not due:
                break
            if round_number % ROUNDS_OF_A_BUILD == 1:
                for version in (plantation.base, allocating, *versions.values()):
                    forget(version)
            for name in due:
                comparison = compare_versions(plantation.base, versions[name])
                compared[name] += 1
                compared["base against itself"] += 1
                flagged[name] += bool(comparison.flagged)
                flagged["base against itself"] += bool(false_alarms(comparison))
                longest = max(longest, comparison.seconds)
                unsure += bool(comparison.no_verdict)
                widths += [job.result.width for job in comparison.jobs]
                article = next(job for job in comparison.jobs if job.name == "article")
                said = f"flagged: {', '.join(comparison.flagged)}" if comparison.flagged else "not flagged"
                print(
                    f"round {round_number}, {name}: {said}; article {article.result}, control "
                    f"{article.noise}, {len(article.control)} starts, "
                    f"{comparison.seconds:.0f} s, of which compiling {comparison.compile_seconds:.0f}",
                    flush=True,
                )
                for job in comparison.jobs:
                    if job.verdict != "not slower" and job.name != "article":
                        print(f"    {job.name}: {job.result}, control {job.noise}, {job.verdict}", flush=True)
            if is_extra:
                continue
            before, after = compare_exactly(plantation.base, allocating)["allocations_per_iteration"]
            compared["allocating"] += 1
            flagged["allocating"] += after > before
            print(f"round {round_number}, allocating: {before:g}, {after:g} an iteration", flush=True)

    print(f"\n{'change':22}{'flagged':>10}{'of':>6}{'must be':>12}")
    wrong = 0
    for name, count in flagged.items():
        needed = least(name, compared[name])
        right = count >= needed if name in MUST_FLAG else count == 0
        wrong += not right
        bound = f">= {needed}" if name in MUST_FLAG else "0"
        print(f"{name:22}{count:>10}{compared[name]:>6}{bound:>12}   {'right' if right else 'WRONG'}")
    widths.sort()
    print(
        f"\nIntervals were {widths[len(widths) // 2]:.1%} wide in the median and {widths[-1]:.1%} at most; "
        f"{unsure} comparisons had no verdict on some job; the longest took {longest:.0f} s; "
        f"all took {(time.monotonic() - began) / 60:.0f} min"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
