"""Proof that a regression cannot hide: `python -m benchmarks.selftest`.

In a scratch clone it plants three commits on top of the present one, compares each with it by
`asv continuous`, and checks the verdicts: training made slower and an allocation inside the loop must
be flagged, a changed comment must not. Exits with 1 at a wrong verdict.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .common import describe_machine

ROOT = Path(__file__).parents[1]
KERNEL = Path("src/crabnet_jit/kernels/network.py")
BENCHMARKS = "track_time_in_yardsticks|track_allocations_per_iteration"
FACTOR = 1.1

FORWARD = "        y = network_forward(network, x, masks, workspace)\n"
UPDATE = "            sgd_update(parameters, gradients, rate)\n"
ZERO = "    workspace.gradients[:] = 0.0\n"
# About 1.3 times slower: everything twice forward, and three updates that change nothing.
SLOWER = {
    FORWARD: 2 * FORWARD,
    UPDATE: UPDATE + 3 * UPDATE.replace("rate)", "0.0)"),
}
ALLOCATING = {
    ZERO: "    zeros = np.zeros(workspace.gradients.size)\n"
    "    for k in range(zeros.size):\n"
    "        workspace.gradients[k] = zeros[k]\n",
    "from typing import Any, NamedTuple\n": "from typing import Any, NamedTuple\n\nimport numpy as np\n",
}
COMMENT = {FORWARD: "        # The outputs of all layers stay in the workspace.\n" + FORWARD}
PLANTED = {
    "slower": (SLOWER, True),
    "allocating": (ALLOCATING, True),
    "comment only": (COMMENT, False),
}


def git(clone: Path, *arguments: str) -> str:
    """Run git in the clone; return what it prints."""
    command = ["git", "-c", "user.name=selftest", "-c", "user.email=selftest@example.org", *arguments]
    return subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True).stdout.strip()


def plant(clone: Path, name: str, changes: dict[str, str], base: str) -> str:
    """Commit the changes on a branch of their own; return the commit."""
    git(clone, "checkout", "--quiet", "--detach", base)
    source = (clone / KERNEL).read_text()
    for old, new in changes.items():
        if source.count(old) != 1:
            raise RuntimeError(f"{KERNEL} does not have exactly one {old!r}")
        source = source.replace(old, new)
    (clone / KERNEL).write_text(source)
    git(clone, "commit", "--quiet", "--all", f"--message=Planted: {name}")
    commit = git(clone, "rev-parse", "HEAD")
    git(clone, "branch", f"planted-{name.replace(' ', '-')}", commit)
    git(clone, "checkout", "--quiet", "main")
    return commit


def compare(clone: Path, base: str, commit: str) -> tuple[bool, str]:
    """Whether `asv continuous` finds the commit worse than the base, and its table."""
    command = [sys.executable, "-m", "asv", "continuous", "--factor", str(FACTOR), "--bench", BENCHMARKS]
    result = subprocess.run(
        [*command, base, commit], cwd=clone, env=os.environ, capture_output=True, text=True, check=False
    )
    table = "\n".join(line for line in result.stdout.splitlines() if line.startswith("|"))
    if "failed" in result.stdout or "Benchmarking" not in result.stdout:
        raise RuntimeError(f"asv did not measure:\n{result.stdout}{result.stderr}")
    return bool(re.search(r"^\| \+", table, re.MULTILINE)), table


def main() -> int:
    """Plant, compare, print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="comparisons of each commit (default 5)")
    rounds = parser.parse_args().rounds
    print(describe_machine(), flush=True)
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        git(ROOT, "clone", "--quiet", str(ROOT), str(clone))
        base = git(clone, "rev-parse", "HEAD")
        git(clone, "checkout", "--quiet", "-B", "main", base)
        commits = {name: plant(clone, name, changes, base) for name, (changes, _) in PLANTED.items()}
        subprocess.run(
            [sys.executable, "-m", "asv", "machine", "--yes"], cwd=clone, check=True, capture_output=True
        )
        for round_number in range(1, rounds + 1):
            for name, commit in commits.items():
                flagged, table = compare(clone, base, commit)
                right = flagged == PLANTED[name][1]
                wrong += not right
                verdict = "flagged" if flagged else "not flagged"
                print(f"round {round_number}, {name}: {verdict}, {'right' if right else 'WRONG'}", flush=True)
                if table:
                    print(table, flush=True)
    print(f"{rounds * len(PLANTED) - wrong} right, {wrong} wrong verdicts")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
