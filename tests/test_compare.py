"""The comparison of versions: verdicts from given times, worktrees and processes of a small package."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import compare, paths
from benchmarks.comparison import Comparison, Estimate, Job, estimate
from benchmarks.processes import Process

ROOT = Path(__file__).parents[1]
JOBS = """
def work():
    import small
    return small.work

def newer():
    import small
    return small.newer

JOBS = {"work": work, "newer": newer}
"""
WORK = "def work(n):\n    for _ in range(n):\n        pass\n    return {}\n"
NEWER = WORK.format(7).replace("work", "newer")


def git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()


def commit(repository: Path, source: str) -> str:
    (repository / "src/small.py").write_text(source)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=A version")
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Of a package with one module, at two commits."""
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, WORK.format(1))
    commit(folder, WORK.format(2) + NEWER)
    return folder


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.py"
    path.write_text(JOBS)
    return path


@pytest.fixture
def run(
    repository: Path, jobs: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command, on the small package, with as few processes as there may be."""

    def run(*arguments: str) -> tuple[int, str, str]:
        few = ["--starts", "3", "--pairs", "4", "--repo", str(repository), "--jobs", str(jobs)]
        status = compare.main([*arguments, *few])
        return status, *capsys.readouterr()

    return run


def timed(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[str], float]) -> None:
    """Let the processes report these times for the versions with these subjects."""
    monkeypatch.setattr(Process, "seconds", lambda process, name, n, runs=0: seconds(process.version.name))


def job(result: list[list[float]], control: list[list[float]]) -> Job:
    made = Job("job", 1)
    made.seconds, made.against_base, made.control = [1.0], result, control
    return made


def around(ratio: float, spread: float, n_starts: int = 12, n_pairs: int = 20) -> list[list[float]]:
    noise = np.random.default_rng(0).normal(size=(n_starts, n_pairs))
    return [[float(value) for value in row] for row in ratio * np.exp(spread * noise)]


STEADY = around(1.0, 0.01)


# What follows from the times


def test_the_estimate_is_the_median_and_its_interval_holds_the_truth() -> None:
    result = estimate(around(1.05, 0.03))
    assert result.low < 1.05 < result.high
    assert 0.004 < result.width < 0.02
    assert estimate([[1.5, 1.5], [1.5, 1.5]]) == Estimate(1.5, 1.5, 1.5)


def test_processes_that_differ_make_the_interval_wider() -> None:
    """One median of all pairs would call this a sure thing: three starts of four were slow by luck."""
    by_start = [[1.0] * 50, [1.1] * 50, [1.1] * 50, [1.1] * 50]
    result = estimate(by_start)
    assert result.ratio == 1.1
    assert result.low == 1.0


@pytest.mark.parametrize(
    ("result", "control", "verdict"),
    [
        (around(1.05, 0.02), STEADY, "SLOWER"),
        (around(1.02, 0.02), STEADY, "not slower"),
        (around(0.5, 0.02), STEADY, "not slower"),
        (around(1.0, 0.3), STEADY, "no verdict"),
        (around(1.2, 0.3), STEADY, "no verdict"),
        (around(1.05, 0.02), around(1.0, 0.3), "no verdict"),
        (around(1.05, 0.02), around(1.05, 0.02), "no verdict"),  # BASE is slower than itself
    ],
)
def test_verdicts(result: list[list[float]], control: list[list[float]], verdict: str) -> None:
    assert job(result, control).verdict == verdict


@pytest.mark.parametrize(
    ("jobs", "allocations", "status"),
    [
        ([job(STEADY, STEADY)], (0.0, 0.0), 0),
        ([job(STEADY, STEADY)], (0.0, 1.0), 1),
        ([job(STEADY, STEADY)], (1.0, 0.0), 0),
        ([job(STEADY, STEADY), job(around(1.1, 0.01), STEADY)], (0.0, 0.0), 1),
        ([job(STEADY, STEADY), job(around(1.0, 0.3), STEADY)], (0.0, 0.0), 2),
        ([job(around(1.1, 0.01), STEADY), job(around(1.0, 0.3), STEADY)], (0.0, 0.0), 1),
    ],
)
def test_status(jobs: list[Job], allocations: tuple[float, float], status: int) -> None:
    exact = {"allocations_per_iteration": allocations}
    assert Comparison("base", "head", jobs, {}, exact, 0.0, 0.0).status == status


# Real worktrees and processes


def test_two_commits(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    commit(repository, WORK.format(3) + NEWER)
    git(repository, "commit", "--quiet", "--allow-empty", "--message=Slow")
    timed(monkeypatch, lambda version: 1.1 if "Slow" in version else 1.0)
    status, output, _ = run("HEAD~1", "HEAD", "--json")
    found = json.loads(output)
    assert status == 1
    assert found["flagged"] == ["work", "newer"]
    assert found["jobs"]["work"]["result"] == pytest.approx({"ratio": 1.1, "low": 1.1, "high": 1.1})
    assert found["jobs"]["work"]["control"] == {"ratio": 1.0, "low": 1.0, "high": 1.0}
    assert (found["jobs"]["work"]["pairs"], found["jobs"]["work"]["starts"]) == (12, 3)
    assert run("HEAD", "HEAD~1")[0] == 0
    assert git(repository, "worktree", "list").count("\n") == 0


def test_processes_take_turns_in_the_order_a_b_b_a(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []

    def turn(process: Process, name: str, n: int, runs: int = 0) -> float:
        turns.append((name, process))  # itself, not its id: that of one that is gone may come again
        return 1.0

    monkeypatch.setattr(Process, "seconds", turn)
    run("HEAD", "HEAD")
    of_a_start = [process for name, process in turns[: len(turns) // 3] if name == "work"]
    names = {process: "BAC"[k] for k, process in enumerate(dict.fromkeys(of_a_start))}
    assert "".join(names[process] for process in of_a_start) == "BAABBACAACCABCCBBCA"
    assert len({process for _, process in turns}) == 9  # two of BASE and one of HEAD, three times


def test_real_times_give_an_answer(run: Callable[..., tuple[int, str, str]]) -> None:
    status, output, _ = run("HEAD")
    assert status in {0, 1, 2}  # nothing is said here of how fast this machine is
    assert "head / base" in output
    assert "work " in output


def test_a_job_that_the_base_lacks_is_left_out_and_named(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, lambda version: 1.0)
    status, output, _ = run("HEAD~1")
    assert status == 0
    assert "newer            left out: AttributeError: module 'small' has no attribute 'newer'" in output
    assert "first result of work        1.0 became 2.0" in output


def test_the_working_tree_is_compared_as_it_is(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    timed(monkeypatch, lambda version: 1.0)
    (repository / "src/other.py").write_text("value = 5\n")  # not tracked
    (repository / "src/small.py").write_text("import other\n" + WORK.format("other.value") + NEWER)
    _, output, errors = run("HEAD")
    assert "A version, and 2 uncommitted changes" in output
    assert "first result of work        2.0 became 5.0" in output
    assert errors == ""
    _, output, errors = run("HEAD~1", "HEAD")
    assert "first result of work        1.0 became 2.0" in output
    assert errors == "The working tree has uncommitted changes; they are not compared.\n"
    assert (repository / "src/other.py").exists()


@pytest.mark.parametrize("name", ["no-such-commit", "--help-me", "HEAD~77", ""])
def test_an_unknown_commit(run: Callable[..., tuple[int, str, str]], name: str) -> None:
    if name.startswith("--"):
        with pytest.raises(SystemExit, match="2"):
            run(name)
    else:
        status, _, errors = run(name)
        assert status == 2
        assert f"no commit {name!r}" in errors


def test_no_repository(tmp_path: Path, jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["HEAD", "--repo", str(tmp_path / "nowhere"), "--jobs", str(jobs)]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("def work(n:\n", "SyntaxError"),
        ("import no_such_module\n", "no_such_module"),
        ("import os\ndef work(n):\n    os._exit(3)\n", "ended with status 3"),
        ("import os, signal\ndef work(n):\n    os.kill(os.getpid(), 11)\n", "ended with status -11"),
        ("def work(n):\n    return 1.0\n", "it must do the job n times"),
        ("def work(n):\n    raise ValueError('broken')\n", "ValueError: broken"),
    ],
)
def test_a_base_that_cannot_be_used(
    run: Callable[..., tuple[int, str, str]], repository: Path, source: str, error: str
) -> None:
    commit(repository, source)
    commit(repository, WORK.format(1))
    status, _, errors = run("HEAD~1", "HEAD")
    assert status == 2
    assert error in errors
    assert git(repository, "worktree", "list").count("\n") == 0


def test_jobs_that_print_do_not_get_in_the_way(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    timed(monkeypatch, lambda version: 1.0)
    loud = "import os\nos.system('echo hello')\nprint('hello')\n"
    commit(repository, loud + WORK.format(1) + NEWER)
    assert run("HEAD")[0] == 0


def test_a_machine_that_is_too_busy_gives_no_verdict(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = itertools.cycle([1.0, 3.0, 1.3, 2.0, 0.7])
    timed(monkeypatch, lambda version: next(times))
    status, output, _ = run("HEAD", "HEAD")
    assert status == 2
    assert "No verdict on work, newer" in output


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_neither_worktrees_nor_processes(
    repository: Path, tmp_path: Path, sent: int, status: int
) -> None:
    pids, jobs = tmp_path / "pids", tmp_path / "slow_jobs.py"
    jobs.write_text(
        f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "def slow():\n    time.sleep(1000)\nJOBS = {'slow': slow}\n"
    )
    command = [sys.executable, "-m", "benchmarks.compare", "HEAD", "--repo", str(repository)]
    process = subprocess.Popen(
        [*command, "--jobs", str(jobs)], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while not pids.exists() or pids.read_text().count("\n") < 2:
        assert process.poll() is None, process.communicate()
    assert git(repository, "worktree", "list").count("\n") == 2
    process.send_signal(sent)
    _, errors = process.communicate()
    assert process.returncode == status
    assert "Traceback" not in errors
    assert git(repository, "worktree", "list").count("\n") == 0
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


@pytest.mark.parametrize("options", [["--starts", "2"], ["--pairs", "6"], ["--pairs", "0"]])
def test_too_few_pairs_are_an_error(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        compare.main(["HEAD", *options])
    assert options[0] in capsys.readouterr().err


# The page about it


def code_blocks() -> dict[str, str]:
    text = (ROOT / "docs/how_to/gate.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    return {block.splitlines()[0]: block for block in blocks}


@pytest.mark.slow  # the kernels are compiled in two caches of their own
def test_a_project_of_ones_own_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = code_blocks()
    project = tmp_path / "thermometer"
    (project / "src").mkdir(parents=True)
    (project / "src/thermometer.py").write_text(blocks["# src/thermometer.py"])
    (project / "gate_jobs.py").write_text(blocks["# gate_jobs.py"])
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=First")
    timed(monkeypatch, lambda version: 1.1 if "uncommitted" in version else 1.0)
    few = ["--starts", "3", "--pairs", "4"]
    command = ["main", "--repo", str(project), "--jobs", str(project / "gate_jobs.py"), *few]
    assert compare.main(command) == 0
    assert "Nothing is flagged" in capsys.readouterr().out
    (project / "src/thermometer.py").write_text(
        blocks["# src/thermometer.py"].replace("n_iterations=500", "n_iterations=1000")
    )
    assert compare.main(command) == 1
    output = capsys.readouterr().out
    assert "Slower: calibration" in output
    assert "first result of calibration" in output


def test_the_yardstick_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code_blocks()["import time"], "docs/how_to/gate.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0


# Where modules lie


def test_modules_are_found_at_their_new_place_or_an_old_one() -> None:
    assert paths._first("no.such.place", "components.losses").__name__ == "crabnet_jit.components.losses"
    assert paths._first("components.losses", "components.optimizers").__name__.endswith(".losses")
    with pytest.raises(ModuleNotFoundError, match="none of nowhere, no_where"):
        paths._first("nowhere", "no_where")
