"""Is one version slower than another? `python -m benchmarks.compare BASE [HEAD]`.

Both versions are checked out and compiled. Then two processes, one for each, take turns in the order A B B
A, and each turn is the best of a few runs of 1 to 2 ms. The processes are started anew several times, since
the memory layout of a process can make the same code a few per cent slower. The table has the median of the
ratios of pairs, with an interval by bootstrap over starts and pairs, and next to it the same for BASE
against itself, the control. A job is flagged if its whole interval lies above 1.03.

Without HEAD the working tree is compared, uncommitted changes included. Exit status: 0 if nothing is
flagged, 1 if a job is or an iteration allocates more than before, 2 if it could not be measured.
"""

import argparse
import contextlib
import itertools
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .comparison import Comparison, Job
from .processes import ROOT, Process, make_all, processes
from .versions import CannotMeasureError, Version, changed_files, checked_out

JOBS = Path(__file__).with_name("jobs.py")

RUN_SECONDS = 1.2e-3
STARTS = 12
MOST_STARTS = 18  # where intervals are wide
PAIRS = 20  # of a start
WIDE = 0.04  # an interval for which the processes are started some more times


def compare_versions(
    base: Version,
    head: Version,
    jobs: Path = JOBS,
    only: Sequence[str] | None = None,
    starts: int = STARTS,
    pairs: int = PAIRS,
) -> Comparison:
    """Compile, measure in turns, count; `only` some jobs, and then without counting."""
    began = time.perf_counter()
    with processes([base, head], jobs) as workers:
        names = only or _names(workers)
        results = make_all(workers, names)
        left_out = _errors(workers, results)
        made = [name for name in names if name not in left_out]
        if not made:
            reasons = "; ".join(dict.fromkeys(left_out.values())) or f"{jobs} has no jobs"
            raise CannotMeasureError(f"no job could be made: {reasons}")
        measured = [Job(name, workers[0].calls(name, RUN_SECONDS)) for name in made]
        exact, missing = ({}, {}) if only else _count(*workers)
    of_base, of_head = results
    exact |= {f"first result of {name}": (of_base[name]["result"], of_head[name]["result"]) for name in made}
    compile_seconds = time.perf_counter() - began

    for start in itertools.count():
        if start >= starts and (
            start >= starts * MOST_STARTS / STARTS or not any(_wide(job) for job in measured)
        ):
            break
        with processes([base, head, base], jobs) as (a, b, control):
            make_all([a, b, control], [job.name for job in measured])
            for worker in (a, b, control):
                worker.pin(start)
            for job in measured:
                job.begin()
            for _ in range(pairs // 4):
                for job in measured:
                    job.measure(a, b, control)
            for job in measured:
                job.seconds.append(a.seconds(job.name, job.n))
    seconds = time.perf_counter() - began
    return Comparison(base.name, head.name, measured, left_out | missing, exact, compile_seconds, seconds)


def _names(workers: Sequence[Process]) -> list[str]:
    """The jobs; the file that holds them must be one that both versions can import."""
    for worker in workers:
        answer = worker.ask("names")
        if "error" in answer:
            raise CannotMeasureError(f"{worker.version.name} cannot be used: {answer['error']}")
    names: list[str] = answer["names"]
    return names


def _errors(workers: Sequence[Process], results: Sequence[dict[str, dict[str, Any]]]) -> dict[str, str]:
    """Jobs that a version could not make, and why."""
    return {
        name: f"{answer['error']} ({worker.version.name})"
        for worker, answers in zip(workers, results, strict=True)
        for name, answer in answers.items()
        if "error" in answer
    }


def _count(base: Process, head: Process) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Figures of both that are compared exactly, or why there are none."""
    counts: list[dict[str, float]] = []
    for worker in (base, head):
        # They are counted when the version has just been compiled: what comes from the disk has no assembly.
        kept = worker.version.cache / "counts.json"
        if not kept.exists():
            answer = worker.ask("counts")
            if "error" in answer:
                return {}, {"counts": f"{answer['error']} ({worker.version.name})"}
            kept.write_text(json.dumps(answer["counts"]))
        counts.append(json.loads(kept.read_text()))
    before, after = counts
    return {name: (before[name], after[name]) for name in before if name in after}, {}


def compare_exactly(base: Version, head: Version, jobs: Path = JOBS) -> dict[str, tuple[float, float]]:
    """Only the figures that are compared exactly."""
    with processes([base, head], jobs) as workers:
        make_all(workers, ["article"])
        exact, missing = _count(*workers)
    if missing:
        raise CannotMeasureError(missing["counts"])
    return exact


def _wide(job: Job) -> bool:
    return max(job.result.width, job.noise.width) > WIDE


def compare(
    repository: Path, base: str, head: str | None, jobs: Path = JOBS, starts: int = STARTS, pairs: int = PAIRS
) -> Comparison:
    """Compare two versions of a repository, each with its own files and machine code."""
    with tempfile.TemporaryDirectory(prefix="compare-") as scratch_name, contextlib.ExitStack() as stack:
        scratch = Path(scratch_name)
        first = stack.enter_context(checked_out(repository, base, scratch / "base", scratch / "base-cache"))
        second = stack.enter_context(checked_out(repository, head, scratch / "head", scratch / "head-cache"))
        return compare_versions(first, second, jobs, starts=starts, pairs=pairs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print the table."""
    description, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=description,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", metavar="BASE", help="a commit, a branch or a tag")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="another one (default: the working tree)")
    parser.add_argument("--json", action="store_true", help="print the figures for machines")
    parser.add_argument(
        "--repo", type=Path, default=ROOT, metavar="FOLDER", help="a repository (default: this one)"
    )
    parser.add_argument(
        "--jobs", type=Path, default=JOBS, metavar="FILE", help="Python file with other jobs, in a dict JOBS"
    )
    parser.add_argument(
        "--starts", type=int, default=STARTS, help=f"how often the processes are started (default {STARTS})"
    )
    parser.add_argument(
        "--pairs", type=int, default=PAIRS, help=f"pairs of turns in each start (default {PAIRS})"
    )
    options = parser.parse_args(arguments)
    if options.starts < 3:
        parser.error(f"--starts must be at least 3, got {options.starts}")
    if options.pairs < 4 or options.pairs % 4:
        parser.error(f"--pairs must be 4 or a multiple of it, got {options.pairs}")
    try:
        if options.head is not None and changed_files(options.repo):
            print("The working tree has uncommitted changes; they are not compared.", file=sys.stderr)
        comparison = compare(
            options.repo, options.base, options.head, options.jobs.resolve(), options.starts, options.pairs
        )
    except CannotMeasureError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("compare: interrupted; worktrees and processes are gone", file=sys.stderr)
        return 130
    print(comparison.as_json() if options.json else comparison.as_table())
    return comparison.status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # worktrees and processes go then, too
    sys.exit(main())
