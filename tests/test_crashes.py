"""Real processes that are killed, interrupted, or cannot write; what they leave, and how fast they go."""

import asyncio
import codecs
import contextlib
import errno
import gc
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import crabnet_jit.cli.article
import crabnet_jit.cli.fit  # all of the command line that is needed: some children may not read the files
import crabnet_jit.cli.run  # noqa: F401
from crabnet_jit import (
    NN,
    ArraySource,
    Callback,
    Checkpoint,
    Every,
    LevenbergMarquardt,
    Objective,
    Residual,
    Snapshots,
    StandardGaussian,
    StdRng,
    Trainer,
    UniformSource,
    fit,
)
from crabnet_jit.cli.main import main
from crabnet_jit.machine.cache import cache_directory
from crabnet_jit.training.run import Run
from crabnet_jit.training.state import read_checkpoint

if not hasattr(os, "fork"):
    pytest.skip("needs processes that fork, and signals", allow_module_level=True)

_HANGS = 600.0  # seconds, after which a process is killed; compiling on a busy machine is in it
_AT_ONCE = 1.0  # seconds; a tenth of it on a machine that does nothing else


def article(hidden_sizes: Any = (8, 8), batch_size: int = 16, **options: Any) -> Trainer:
    rng = StdRng(1)
    net = NN(2, hidden_sizes, 1, rng, init="glorot_uniform")
    source = UniformSource(StandardGaussian(), batch_size=batch_size, rng=rng)
    return Trainer(net, source, **{"learning_rate": 1e-3, **options})


def second_order(hidden_sizes: list[int], n: int) -> Trainer:
    rng = np.random.default_rng(1)
    x = np.linspace(-1, 1, 2 * n).reshape(n, 2)
    y = np.sin(3 * x[:, 0]) + 0.1 * rng.normal(size=n)
    net = NN(2, hidden_sizes, 1, rng=3, activation="tanh", init="glorot_uniform")
    rule = LevenbergMarquardt(gradient_tolerance=0, step_tolerance=0, loss_tolerance=0)
    return Trainer(net, ArraySource(x, y, n), optimizer=rule)


def of_data(*, has_equation: bool) -> Trainer:
    x = np.linspace(-1, 1, 101)[:, None]
    y = np.sin(3 * x)
    net = NN(1, [16], 1, rng=3, activation="tanh", init="glorot_uniform")
    if not has_equation:
        return Trainer(net, ArraySource(x, y, rng=3), optimizer="adam")
    y[::7] = np.nan
    equation = Residual(oscillator, 0.01, source=ArraySource(x, None, rng=4), second=[(0, 0)])
    source = ArraySource(x, y, dy=3 * np.cos(3 * x), rng=3)
    return Trainer(net, source, residuals=[equation], optimizer="adam")


def oscillator(x: Any, u: Any, du: Any, d2u: Any) -> Any:
    return d2u[0] + 9 * u


# ---- processes: one imports and compiles, the others are forked from it ----


def nurse() -> None:
    """For each line, a function of this module and its arguments, fork a process that calls it."""
    for kind in _KINDS:
        _killed(kind)[0].compile()
    while line := sys.stdin.readline():
        name, arguments, errors = json.loads(line)
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(told, 1)
            _call(name, arguments, errors)
        print(pid, flush=True)
        os.write(tell, b".")
        os.close(tell)
        os.close(told)
        _, status = os.waitpid(pid, 0)
        print(f"exit {os.waitstatus_to_exitcode(status)}", flush=True)


def _call(name: str, arguments: list[Any], errors: str) -> NoReturn:
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    code: Any = 1
    try:
        code = globals()[name](*arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code or 0)


class Child:
    """A process that calls a function of this module."""

    def __init__(self, lines: Any, errors: Path) -> None:
        self._lines = lines
        self._errors = errors
        self.pid = int(lines.readline())
        self._timer = threading.Timer(_HANGS, os.kill, (self.pid, signal.SIGKILL))
        self._timer.start()

    def line(self) -> str:
        """What it prints next."""
        text = str(self._lines.readline()).rstrip("\n")
        if text.startswith("exit "):
            pytest.fail(f"{text}\n{self.errors()}")
        return text

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def finish(self) -> tuple[int, list[str]]:
        """Its exit code, and what else it prints."""
        lines = []
        while not (text := self._lines.readline().rstrip("\n")).startswith("exit "):
            assert text, "the nursery has gone"
            lines.append(text)
        self._timer.cancel()
        return int(text.split()[1]), lines

    def succeed(self) -> list[str]:
        """What else it prints; it must end well."""
        code, lines = self.finish()
        if code != 0:
            pytest.fail(f"exit code {code}: {lines}\n{self.errors()}")
        return lines

    def errors(self) -> str:
        return self._errors.read_text()


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Child]]:
    errors = tmp_path_factory.mktemp("nursery") / "errors"
    command = [
        sys.executable,
        "-W",
        "ignore::DeprecationWarning",
        "-c",
        "import test_crashes; test_crashes.nurse()",
    ]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None

        def start(function: Callable[..., object], *arguments: Any) -> Child:
            assert process.stdin is not None
            process.stdin.write(json.dumps([function.__name__, arguments, str(errors)]) + "\n")
            process.stdin.flush()
            return Child(process.stdout, errors)

        yield start
        process.stdin.close()
        assert process.wait() == 0


# ---- killed ----


def _killed(kind: str) -> tuple[Trainer, int, int]:
    """A trainer, how many iterations it takes, and how many between two checkpoints."""
    if kind == "article":
        return article(), 20_000, 20
    if kind == "slow disk":
        return article([5]), 2000, 100
    if kind == "states to go back to":
        return article(on_divergence="lower_rate", optimizer="adam", dropout=0.1), 20_000, 250
    if kind in ("data", "equation"):
        return of_data(has_equation=kind == "equation"), 10_000, 90
    if kind == "second order":
        return second_order([16, 16], 101), 150, 3
    return article([400, 400], optimizer="adam"), 40, 1  # a file of 4 MB


_KINDS = ("article", "slow disk", "states to go back to", "data", "equation", "second order", "large")


def _train_for_ever(kind: str, path: str) -> None:
    if kind == "slow disk":
        fsync = os.fsync

        def slow(descriptor: int) -> None:
            time.sleep(0.01)
            fsync(descriptor)

        os.fsync = slow  # type: ignore[assignment]
    _killed(kind)[0].compile()
    print("begins", flush=True)
    while True:
        trainer, n, every = _killed(kind)
        trainer.run(n, callbacks=[Checkpoint(path, every)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", _KINDS)
def test_killed_run_goes_on_from_its_checkpoint_bit_for_bit(
    kind: str, nursery: Callable[..., Child], tmp_path: Path
) -> None:
    moments = random.Random(f"moments of {kind}")
    whole, n, _ = _killed(kind)
    whole.run(n)
    path = tmp_path / "run.npz"
    kills, inside, found = 0, 0, 0
    while kills < 10 or inside == 0 or found == 0:  # until each of the moments has come
        kills += 1
        assert kills < 1000
        child = nursery(_train_for_ever, kind, str(path))
        assert child.line() == "begins"
        time.sleep(moments.uniform(0.0, 0.15))
        child.send(signal.SIGKILL)
        assert child.finish() == (-signal.SIGKILL, [])
        left = [name for name in os.listdir(tmp_path) if name != "run.npz"]
        assert all(name.startswith(".run.npz.") for name in left)
        inside += len(left) > 0
        for name in left:
            (tmp_path / name).unlink()
        resumed = _killed(kind)[0]
        if path.exists():
            found += 1
            resumed.load_checkpoint(path)
            assert 0 < resumed.iteration <= n
            path.unlink()
        resumed.run(n - resumed.iteration)
        assert resumed.net.parameters.tobytes() == whole.net.parameters.tobytes()
        assert resumed.optimizer_state.buffers.tobytes() == whole.optimizer_state.buffers.tobytes()
        assert resumed.history.running_loss(n - 1) == whole.history.running_loss(n - 1)
    print(f"{kind}: {inside} of {kills} kills within a write, {found} checkpoints found")


# ---- cannot write ----


def _check_that_a_full_disk_is_survived(path: str, number: int) -> None:
    """A run whose checkpoints cannot be written, over one that was written before."""
    ignored: list[Any] = []
    sys.unraisablehook = ignored.append
    before = Path(path).read_bytes()
    hidden_sizes = read_checkpoint(path).configuration["sizes"][1:-1]
    trainer = article(hidden_sizes)
    trainer.load_checkpoint(path)
    first = trainer.iteration
    assert first % 10 == 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(OSError, match=re.escape(os.strerror(number))) as error:
            trainer.run(30, callbacks=[Checkpoint(path, every=10)])
    assert error.value.errno == number
    assert trainer.iteration == first + 30
    assert [warning.category for warning in caught] == [RuntimeWarning] * 3, [*map(str, caught)]
    for k, warning in enumerate(caught):
        start = f"no checkpoint after {first + 10 * (k + 1)} iterations: [Errno {number}]"
        assert str(warning.message).startswith(start), warning
    assert Path(path).read_bytes() == before
    assert not [name for name in os.listdir(Path(path).parent) if name.startswith(".")]
    article(hidden_sizes).load_checkpoint(path)
    gc.collect()
    assert not ignored, ignored


@contextlib.contextmanager
def _file_size(limit: int) -> Iterator[None]:
    """No larger files."""
    import resource  # noqa: PLC0415  # not everywhere

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _write_within_limits(path: str) -> None:
    size = os.path.getsize(path)
    for limit in (0, 1, 100, 4096, size // 2, size - 1):
        with _file_size(limit):
            _check_that_a_full_disk_is_survived(path, errno.EFBIG)
    with _file_size(size + 10_000):
        _resume(path, 10)


@pytest.mark.parametrize("hidden_sizes", [[], [8, 8], [40, 40], [300, 300]])
def test_files_too_large_are_a_warning_and_at_the_end_an_error(
    hidden_sizes: list[int], nursery: Callable[..., Child], tmp_path: Path
) -> None:
    path = tmp_path / "run.npz"
    article(hidden_sizes).run(10, callbacks=[Checkpoint(path, every=10)])
    nursery(_write_within_limits, str(path)).succeed()
    assert read_checkpoint(path).state.iteration == 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, of 512 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("hidden_sizes", [[8, 8], [100, 100]])
def test_full_disk_is_a_warning_and_at_the_end_an_error(
    hidden_sizes: list[int], nursery: Callable[..., Child], small_disk: Path
) -> None:
    path = small_disk / "run.npz"
    article(hidden_sizes).run(10, callbacks=[Checkpoint(path, every=10)])
    fill = small_disk / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    nursery(_check_that_a_full_disk_is_survived, str(path), errno.ENOSPC).succeed()
    fill.unlink()
    nursery(_resume, str(path), 10).succeed()
    assert read_checkpoint(path).state.iteration == 20


def _resume(path: str, n: int) -> None:
    trainer = article(read_checkpoint(path).configuration["sizes"][1:-1])
    trainer.load_checkpoint(path)
    trainer.run(n, callbacks=[Checkpoint(path)])


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """One that everybody can reach, with a checkpoint."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = Path(name, "folder")
        folder.mkdir()
        article().run(10, callbacks=[Checkpoint(folder / "run.npz", every=10)])
        assert main(["gaussian", "--iterations", "10", "--checkpoint", str(folder / "cli.npz")]) == 0
        for path in folder.iterdir():
            path.chmod(0o644)
        folder.chmod(0o555)
        try:
            yield folder
        finally:
            folder.chmod(0o755)


def _as_nobody(function: str, arguments: list[Any]) -> Any:
    # The folders of Python and its packages may be out of reach then: what is imported late is imported here.
    codecs.lookup("cp437")
    article().net.get_output([[0.0, 0.0]])
    if os.getuid() == 0:
        os.setuid(65534)
    return globals()[function](*arguments)


def test_read_only_folder_is_a_warning_and_at_the_end_an_error(
    nursery: Callable[..., Child], read_only_folder: Path
) -> None:
    arguments = [str(read_only_folder / "run.npz"), errno.EACCES]
    nursery(_as_nobody, "_check_that_a_full_disk_is_survived", arguments).succeed()


def _without_space(function: str, arguments: list[Any]) -> Any:
    def full(*_: Any, **__: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.open = full
    return globals()[function](*arguments)


def test_no_temporary_file_is_a_warning_and_at_the_end_an_error(
    nursery: Callable[..., Child], tmp_path: Path
) -> None:
    path = tmp_path / "run.npz"
    article().run(10, callbacks=[Checkpoint(path, every=10)])
    nursery(_without_space, "_check_that_a_full_disk_is_survived", [str(path), errno.ENOSPC]).succeed()


def _fit(*arguments: str) -> int:
    return main(["gaussian", *arguments])


def _limited_fit(limit: int, *arguments: str) -> int:
    with _file_size(limit):
        return main(["gaussian", *arguments])


@pytest.mark.parametrize("means", ["file size", "full disk", "read-only folder"])
def test_command_line_tells_what_it_can_not_write(
    means: str, nursery: Callable[..., Child], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = tmp_path / "cli.npz"
    if means == "read-only folder":
        path = request.getfixturevalue("read_only_folder") / "cli.npz"
    else:
        assert main(["gaussian", "--iterations", "10", "--checkpoint", str(path)]) == 0
    before = path.read_bytes()
    arguments = ["--iterations", "3000", "--log-every", "1000", "--no-progress"]
    arguments += ["--checkpoint", str(path), "--checkpoint-every", "1000"]
    if means == "file size":
        child, number = nursery(_limited_fit, 3000, *arguments), errno.EFBIG
    elif means == "full disk":
        child, number = nursery(_without_space, "_fit", arguments), errno.ENOSPC
    else:
        child, number = nursery(_as_nobody, "_fit", arguments), errno.EACCES
    code, lines = child.finish()
    errors = child.errors().splitlines()
    assert code == 1, errors
    assert [line.split(",")[0] for line in lines] == ["Iter 0", "Iter 1000", "Iter 2000"]
    assert len(errors) == 6
    for k in range(3):
        start = f"crabnet-jit gaussian: warning: no checkpoint after {1000 * (k + 1)} iterations: "
        assert errors[k].startswith(f"{start}[Errno {number}]")
    assert errors[3].startswith("3000 iterations: ")
    assert errors[4].startswith("mean squared error on a grid")
    assert errors[5].startswith(f"crabnet-jit gaussian: error: [Errno {number}] {os.strerror(number)}")
    assert path.read_bytes() == before
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]


# ---- interrupted: the command line ----


class _Reference:
    """An uninterrupted run of the command line's article, as far as it is asked for."""

    def __init__(self) -> None:
        rng = StdRng(1)
        net = NN(2, [8, 8], 1, rng)
        source = UniformSource(StandardGaussian(), rng=rng)
        self.trainer = Trainer(net, source, log_every=1000)

    def lines(self, end: int) -> list[str]:
        self.trainer.run(max(0, end - self.trainer.iteration))
        return [f"Iter {i}, loss: {loss!r}" for i, loss in self.trainer.history.log if i < end]


def _check_interrupted(path: Path, lines: list[str], capsys: Any) -> None:
    """What is left, and what follows on it, are together the run that was not interrupted."""
    assert [name for name in os.listdir(path.parent) if name.startswith(".")] == []
    done = read_checkpoint(path).state.iteration
    reference = _Reference()
    reference.trainer.run(done)
    assert reference.trainer.net.parameters.tobytes() == read_checkpoint(path).state.parameters.tobytes()
    resumed = _Reference().trainer
    resumed.load_checkpoint(path)
    end = done + 5000
    resumed.run(5000)
    capsys.readouterr()
    assert main(["gaussian", "--resume", str(path), "--iterations", str(end), "--no-progress"]) == 0
    lines = lines + capsys.readouterr().out.splitlines()
    expected = reference.lines(end)
    assert sorted(set(expected) - set(lines)) == []
    assert lines == expected
    assert resumed.net.parameters.tobytes() == reference.trainer.net.parameters.tobytes()


@pytest.mark.parametrize("progress", ["--progress", "--no-progress"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_program_answers_signals_at_once_and_can_be_resumed(
    number: int, code: int, progress: str, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "run.npz"
    moment = random.Random(f"{number} {progress}").uniform(0.0, 0.3)
    arguments = ["--iterations", str(10**12), "--log-every", "1000", "--checkpoint", str(path), progress]
    command = [sys.executable, "-m", "crabnet_jit", "gaussian", *arguments]
    with (
        (tmp_path / "errors").open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        timers = [
            threading.Timer(moment, process.send_signal, (number,)),
            threading.Timer(_HANGS, process.kill),
        ]
        for timer in timers:
            timer.start()
        lines += process.stdout.readlines()
        process.wait()
        timers[1].cancel()
    errors = (tmp_path / "errors").read_text()
    assert process.returncode == code, errors
    closing = errors.splitlines()[-3:]
    assert closing[0] == f"go on with --resume {path}"
    assert closing[1].split(": ")[0].endswith(" iterations")
    assert closing[2] == "crabnet-jit gaussian: " + (
        "interrupted" if number == signal.SIGINT else "terminated"
    )
    assert "Traceback" not in errors
    _check_interrupted(path, "".join(lines).splitlines(), capsys)


@pytest.mark.slow
def test_no_line_of_the_log_is_lost_at_any_moment(
    nursery: Callable[..., Child], tmp_path: Path, capsys: Any
) -> None:
    moments = random.Random(5)
    delays = []
    for k in range(20):
        path = tmp_path / f"run{k}.npz"
        number, code = [(signal.SIGINT, 130), (signal.SIGTERM, 143)][k % 2]
        arguments = ["--iterations", str(10**12), "--log-every", "1000", "--checkpoint", str(path)]
        child = nursery(_fit, *arguments, "--no-progress", "--checkpoint-every", "5000")
        first = child.line()
        time.sleep(moments.uniform(0.0, 0.05))
        start = time.monotonic()
        child.send(number)
        got, lines = child.finish()
        delays.append(time.monotonic() - start)
        assert got == code
        _check_interrupted(path, [first, *lines], capsys)
    assert max(delays) < _AT_ONCE
    print(f"from the signal to the exit: {_summary(delays)}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_checkpoint_survives_a_second_signal(
    number: int, nursery: Callable[..., Child], tmp_path: Path, capsys: Any
) -> None:
    moments = random.Random(6)
    for k in range(8):
        path = tmp_path / f"run{k}.npz"
        arguments = ["--iterations", str(10**12), "--log-every", "1000", "--checkpoint", str(path)]
        child = nursery(_fit, *arguments, "--no-progress")
        first = child.line()
        time.sleep(moments.uniform(0.0, 0.03))
        child.send(number)
        time.sleep(moments.uniform(0.0, 0.002))
        child.send(number)
        code, lines = child.finish()
        assert code == 128 + number, child.errors()
        assert "Traceback" not in child.errors()
        assert path.exists()
        _check_interrupted(path, [first, *lines], capsys)


# ---- interrupted: programs ----


def _summary(delays: list[float]) -> str:
    """In milliseconds."""
    values = 1000 * np.sort(delays)
    parts = np.quantile(values, [0, 0.5, 0.9, 1])
    return "{} signals, ms: least {:.1f}, median {:.1f}, 90 % {:.1f}, most {:.1f}".format(len(values), *parts)


def _interrupted_again_and_again(hidden_sizes: list[int], batch_size: int, n: int) -> None:
    trainer = article(hidden_sizes, batch_size)
    trainer.compile()
    for _ in range(n):
        try:
            print("runs", flush=True)
            trainer.run(10**9)
        except KeyboardInterrupt:
            print(time.monotonic(), flush=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden_sizes", "batch_size", "n"), [([8, 8], 16, 20), ([2000, 2000], 16, 20), ([4000, 4000], 1024, 5)]
)
def test_ctrl_c_is_answered_at_once_within_an_iteration(
    hidden_sizes: list[int], batch_size: int, n: int, nursery: Callable[..., Child]
) -> None:
    moments = random.Random(7)
    child = nursery(_interrupted_again_and_again, hidden_sizes, batch_size, n)
    delays = []
    for _ in range(n):
        assert child.line() == "runs"
        time.sleep(moments.uniform(0.02, 0.2))
        start = time.monotonic()
        child.send(signal.SIGINT)
        delays.append(float(child.line()) - start)
    child.succeed()
    print(f"{hidden_sizes}, batches of {batch_size}: {_summary(delays)}")
    assert max(delays) < _AT_ONCE


def _interrupt_long_iterations(hidden_sizes: list[int], n_samples: int, n: int) -> None:
    trainer, whole = second_order(hidden_sizes, n_samples), second_order(hidden_sizes, n_samples)
    trainer.run(1)
    for _ in range(n):
        before, iteration = trainer.net.parameters.copy(), trainer.iteration
        try:
            print("runs", flush=True)
            trainer.run(10**9)
        except KeyboardInterrupt:
            print(time.monotonic(), flush=True)
        if trainer.iteration == iteration:
            assert trainer.net.parameters.tobytes() == before.tobytes()
    trainer.run(1)
    whole.run(trainer.iteration)
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()
    assert trainer.optimizer_state.numbers.tobytes() == whole.optimizer_state.numbers.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(("hidden_sizes", "n"), [([43, 43], 20_000), ([60, 60], 2500), ([500], 5000)])
def test_ctrl_c_within_an_iteration_of_seconds(
    hidden_sizes: list[int], n: int, nursery: Callable[..., Child]
) -> None:
    moments = random.Random(8)
    child = nursery(_interrupt_long_iterations, hidden_sizes, n, 12)
    delays = []
    for _ in range(12):
        assert child.line() == "runs"
        time.sleep(moments.uniform(0.01, 2.0))
        start = time.monotonic()
        child.send(signal.SIGINT)
        delays.append(float(child.line()) - start)
    child.succeed()
    print(f"{hidden_sizes}, {n} samples: {_summary(delays)}")
    assert max(delays) < _AT_ONCE


def _fit_with_a_large_validation_set() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (150_000, 4))
    y = x.sum(axis=1)
    objective = Objective(NN(4, [100, 100], 1, rng=1), x, y)
    objective.loss_and_gradient(objective.net.parameters)  # compiled before

    def tell(*_: Any) -> None:
        print("checked", flush=True)

    try:
        fit(
            x[:2000],
            y[:2000],
            hidden_sizes=(100, 100),
            n_iterations=10**6,
            validation=(x, y),
            on_check=tell,
            callbacks=[_Often(objective)],
        )
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)


def _minimize_by_levenberg_marquardt() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (5000, 4))
    net = NN(4, [40, 40], 1, rng=1, activation="tanh", init="glorot_uniform")
    objective = Objective(net, x, np.sin(3 * x.sum(axis=1)))
    objective.minimize(1, optimizer="levenberg_marquardt")  # compiled before
    before = net.parameters.tobytes()
    try:
        print("begins", flush=True)
        objective.minimize(10**6, optimizer="levenberg_marquardt")
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
    assert net.parameters.tobytes() == before


@pytest.mark.slow
def test_ctrl_c_is_answered_within_a_minimisation(nursery: Callable[..., Child]) -> None:
    delays = []
    for moment in (0.05, 0.1, 0.3, 0.5):
        child = nursery(_minimize_by_levenberg_marquardt)
        assert child.line() == "begins"
        time.sleep(moment)
        start = time.monotonic()
        child.send(signal.SIGINT)
        *_, last = child.succeed()
        delays.append(float(last) - start)
    print(f"minimisation: {_summary(delays)}")
    assert max(delays) < _AT_ONCE


class _Often(Callback):
    """Takes a large loss every ten iterations."""

    every = 10

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def __call__(self, run: Run) -> None:
        print("begins", flush=True)
        self._objective.loss_and_gradient(run.net.parameters)


@pytest.mark.slow
def test_ctrl_c_is_answered_within_the_loss_of_a_large_validation_set(nursery: Callable[..., Child]) -> None:
    delays = []
    for moment in (0.05, 0.2, 0.4):
        child = nursery(_fit_with_a_large_validation_set)
        assert child.line() == "begins"
        time.sleep(moment)
        start = time.monotonic()
        child.send(signal.SIGINT)
        *_, last = child.succeed()
        delays.append(float(last) - start)
    print(f"large validation set: {_summary(delays)}")
    assert max(delays) < _AT_ONCE


def _load_kernels() -> None:
    """Ctrl-C while machine code is loaded or compiled, in functions that foreign code calls."""
    x = np.zeros((100, 2))
    try:
        print("begins", flush=True)
        for activation in ("tanh", "gelu", "sine", "softplus", "elu", "silu"):
            objective = Objective(NN(2, [3], 1, rng=1, activation=activation), x, x[:, 0])
            objective.loss_and_gradient(objective.net.parameters)
            Trainer(objective.net, ArraySource(x, x[:, 0], rng=1), loss="huber", dropout=0.1).run(10)
        time.sleep(_HANGS)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


@pytest.mark.slow
def test_ctrl_c_is_not_lost_while_machine_code_is_loaded(nursery: Callable[..., Child]) -> None:
    for k in range(12):
        child = nursery(_load_kernels)
        assert child.line() == "begins"
        time.sleep(0.04 * k)
        child.send(signal.SIGINT)
        lines = child.succeed()
        assert lines == ["interrupted"], (k, child.errors())
        assert child.errors() == ""


def _slow_function() -> None:
    is_slow = False

    def target(x: Any) -> Any:
        if is_slow:
            print("begins", flush=True)
            time.sleep(_HANGS)
        return x[:, 0]

    source = UniformSource(target, low=[0, 0], high=[1, 1], rng=1)
    trainer = Trainer(NN(2, [8], 1, rng=1), source)
    trainer.run(100)
    is_slow = True
    before = trainer.net.parameters.tobytes()
    try:
        trainer.run(1000)
    except KeyboardInterrupt:
        print(time.monotonic(), flush=True)
    assert trainer.iteration == 100
    assert trainer.net.parameters.tobytes() == before
    is_slow = False
    trainer.run(1000)
    whole = Trainer(NN(2, [8], 1, rng=1), source)
    whole.run(1100)
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()


def test_ctrl_c_is_answered_within_a_slow_function(nursery: Callable[..., Child]) -> None:
    child = nursery(_slow_function)
    assert child.line() == "begins"
    time.sleep(0.1)
    start = time.monotonic()
    child.send(signal.SIGINT)
    assert float(child.line()) - start < _AT_ONCE
    child.succeed()


def _interrupt_short_runs(seconds: float) -> None:
    """Ctrl-C at any moment of a run, its first and last ones included."""
    handler, trainer, n = signal.getsignal(signal.SIGINT), article(log_every=10, chunk_size=20), 0
    told: list[int] = []
    end = time.monotonic() + seconds

    def send() -> None:
        moments = random.Random(8)
        while time.monotonic() < end - 0.2:  # the last one is over before the runs are
            time.sleep(moments.uniform(0.0, 0.001))
            os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=send)
    sender.start()
    lost, is_over = 0, False
    while not is_over:
        try:  # a second one, for what comes between the two below
            while time.monotonic() < end:
                try:
                    while time.monotonic() < end:
                        trainer.run(n % 50, on_log=lambda i, loss: told.append(i))
                        n += 1
                except KeyboardInterrupt:
                    n += 1
                try:
                    lost += signal.getsignal(signal.SIGINT) != handler
                    lost += signal.set_wakeup_fd(-1) != -1
                    signal.signal(signal.SIGINT, handler)
                except KeyboardInterrupt:
                    n += 1
            is_over = True
        except KeyboardInterrupt:
            n += 1
    sender.join()
    whole = article(log_every=10)
    whole.run(trainer.iteration)
    print(n, trainer.iteration, lost, flush=True)
    assert lost == 0, f"{lost} of {n} times a handler or the file descriptor was left behind"
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()
    assert trainer.history.losses.tobytes() == whole.history.losses.tobytes()
    assert trainer.history.log == whole.history.log


@pytest.mark.slow
def test_ctrl_c_at_any_moment_of_short_runs_changes_no_bit(nursery: Callable[..., Child]) -> None:
    n, iterations, _ = map(int, nursery(_interrupt_short_runs, 2.0).succeed()[0].split())
    assert n > 100
    assert iterations > 1000


def _interrupt_a_write(module: str, name: str) -> None:
    """Ctrl-C within a function that takes part in writing a file."""
    ignored: list[Any] = []
    sys.unraisablehook = ignored.append
    place = sys.modules[module]
    function, handler = getattr(place, name), signal.getsignal(signal.SIGINT)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        setattr(place, name, function)
        result = function(*arguments, **options)
        signal.raise_signal(signal.SIGINT)
        return result

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.npz")
        trainer = article()
        setattr(place, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            trainer.run(1000, callbacks=[Checkpoint(path, every=100)])
        assert signal.getsignal(signal.SIGINT) == handler
        assert os.listdir(folder) == ["run.npz"]
        resumed = article()
        resumed.load_checkpoint(path)
        assert resumed.iteration == trainer.iteration == 100
        gc.collect()
    assert not ignored, ignored
    assert os.umask(0o022) != 0


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "replace"),
        ("os", "fsync"),
        ("os", "open"),
        ("secrets", "token_hex"),
        ("numpy.lib.format", "write_array"),
    ],
)
def test_ctrl_c_within_a_write_ends_the_run_with_a_checkpoint(
    module: str, name: str, nursery: Callable[..., Child]
) -> None:
    nursery(_interrupt_a_write, module, name).succeed()


# ---- signals that are not meant for the run ----


def _count(seconds: float) -> list[int]:
    """Count the ticks of a clock."""
    ticks = [0]

    def tick(*_: object) -> None:
        ticks[0] += 1

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    return ticks


def _ticked(kind: str) -> tuple[Trainer, int]:
    if kind == "large":
        return article([2000, 2000]), 12  # some 30 ms each
    if kind == "function":
        source = UniformSource(lambda x: np.sin(x[:, 0]) * np.cos(x[:, 1]), [0, 0], [1, 1], rng=1)
        return Trainer(NN(2, [8, 8], 1, rng=1), source, chunk_size=4000), 40_000
    return article(), 400_000


def _train_by_the_clock(kind: str) -> None:
    whole, n = _ticked(kind)
    whole.compile()
    start = time.monotonic()
    whole.run(n)
    alone = time.monotonic() - start
    trainer, _ = _ticked(kind)
    ticks = _count(0.001)
    start = time.monotonic()
    trainer.run(n)
    beside = time.monotonic() - start
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    print(alone, beside, ticks[0], flush=True)
    assert ticks[0] > 0, ticks
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()
    assert trainer.history.losses.tobytes() == whole.history.losses.tobytes()


@pytest.mark.parametrize("kind", ["article", pytest.param("large", marks=pytest.mark.slow), "function"])
def test_clock_of_a_thousand_ticks_a_second_neither_stops_nor_changes_a_run(
    kind: str, nursery: Callable[..., Child]
) -> None:
    alone, beside, ticks = map(float, nursery(_train_by_the_clock, kind).succeed()[0].split())
    print(f"{kind}: {alone:.3f} s alone, {beside:.3f} s with {ticks:.0f} ticks")
    assert beside < 4 * alone + 1


def _take_a_loss_by_the_clock() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (100_000, 4))
    objective = Objective(NN(4, [60, 60], 1, rng=1), x, x.sum(axis=1))
    theta = objective.net.parameters
    loss, gradient = objective.loss_and_gradient(theta)
    ticks = _count(0.001)
    again, same = objective.loss_and_gradient(theta)
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    assert ticks[0] > 0, ticks
    assert again == loss
    assert same.tobytes() == gradient.tobytes()


def test_clock_of_a_thousand_ticks_a_second_does_not_stop_a_long_loss(nursery: Callable[..., Child]) -> None:
    nursery(_take_a_loss_by_the_clock).succeed()


def _interrupted_by_the_clock() -> None:
    trainer = article([2000, 2000], batch_size=64)
    trainer.compile()
    _count(0.001)
    for _ in range(5):
        try:
            print("runs", flush=True)
            trainer.run(10**9)
        except KeyboardInterrupt:
            print(time.monotonic(), flush=True)


def test_ctrl_c_is_answered_at_once_beside_a_clock(nursery: Callable[..., Child]) -> None:
    child = nursery(_interrupted_by_the_clock)
    delays = []
    for k in range(5):
        assert child.line() == "runs"
        time.sleep(0.1 + 0.03 * k)
        start = time.monotonic()
        child.send(signal.SIGINT)
        delays.append(float(child.line()) - start)
    child.succeed()
    print(f"beside a clock: {_summary(delays)}")
    assert max(delays) < _AT_ONCE


def _handle_ctrl_c_otherwise() -> None:
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    trainer, whole = article(), article()
    print("runs", flush=True)
    while len(came) < 3:
        trainer.run(10_000)
    whole.run(trainer.iteration)
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()


def test_handler_of_ones_own_is_called_and_the_run_goes_on(nursery: Callable[..., Child]) -> None:
    child = nursery(_handle_ctrl_c_otherwise)
    assert child.line() == "runs"
    for _ in range(3):
        time.sleep(0.05)
        child.send(signal.SIGINT)
    child.succeed()


def _raise_from_an_alarm() -> None:
    """Alarms that raise exceptions, as is usual for a limit of time."""

    def alarm(*_: object) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, alarm)
    trainer = article(chunk_size=50)
    moments = random.Random(9)
    end = time.monotonic() + 1.5
    n_alarms = 0
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0005, 0.002))
            trainer.run(10**9)
        except TimeoutError:
            n_alarms += 1
    whole = article()
    whole.run(trainer.iteration)
    print(n_alarms, trainer.iteration, flush=True)
    assert trainer.history.losses.tobytes() == whole.history.losses.tobytes()
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()


def _take_snapshots_between_alarms() -> None:
    """A snapshot after every iteration, and alarms at any moment."""

    def alarm(*_: object) -> NoReturn:
        raise TimeoutError

    signal.signal(signal.SIGALRM, alarm)
    trainer, snapshots = article(), Snapshots(1, 7)
    trainer.run(1, callbacks=[snapshots])  # the first alarm may come before the first snapshot
    moments = random.Random(10)
    for _ in range(100):
        with contextlib.suppress(TimeoutError):
            signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0005, 0.003))
            trainer.run(10**9, callbacks=[snapshots])
        assert 0 < len(snapshots.iterations) == len(snapshots.parameters) <= 7
        assert snapshots.iterations == sorted(set(snapshots.iterations))
        assert snapshots.iterations[-1] <= trainer.iteration
    whole = article()
    for iteration, parameters in zip(snapshots.iterations, snapshots.parameters, strict=True):
        whole.run(iteration - whole.iteration)
        assert parameters.tobytes() == whole.net.parameters.tobytes()
    print(snapshots.iterations[-1], flush=True)


def test_snapshots_are_whole_behind_alarms_that_raise(nursery: Callable[..., Child]) -> None:
    assert int(nursery(_take_snapshots_between_alarms).succeed()[0]) > 1000


def test_run_goes_on_bit_for_bit_behind_alarms_that_raise(nursery: Callable[..., Child]) -> None:
    n_alarms, iterations = map(int, nursery(_raise_from_an_alarm).succeed()[0].split())
    assert n_alarms > 100
    assert iterations > 1000


def _tell_an_event_loop() -> None:
    loop = asyncio.new_event_loop()
    came: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, came.append, "here")
    for hidden_sizes, n in (([8, 8], 500_000), ([1000, 1000], 30)):
        came.clear()
        trainer = article(hidden_sizes)
        trainer.compile()
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        trainer.run(n)
        timer.join()
        assert came == []
        loop.run_until_complete(asyncio.sleep(0.1))
        assert came == ["here"]
        signal.raise_signal(signal.SIGUSR1)
        loop.run_until_complete(asyncio.sleep(0.1))
        assert came == ["here", "here"]
    loop.close()


def test_event_loop_is_told_of_its_signals_after_the_run(nursery: Callable[..., Child]) -> None:
    nursery(_tell_an_event_loop).succeed()


def _tell_an_event_loop_of_signals_in_callbacks() -> None:
    loop = asyncio.new_event_loop()
    came: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, came.append, "here")
    trainer = article()

    def act(*_: object) -> None:
        signal.raise_signal(signal.SIGUSR1)

    def act_and_save(_: object) -> None:
        act()
        trainer.save_checkpoint(os.devnull)

    for options in ({"on_log": act}, {"callbacks": [Every(10_000, act_and_save)]}):
        came.clear()
        trainer.run(10_000, **options)
        loop.run_until_complete(asyncio.sleep(0.1))
        assert came == ["here"], options
    loop.close()


def test_event_loop_is_told_of_signals_in_callbacks(nursery: Callable[..., Child]) -> None:
    nursery(_tell_an_event_loop_of_signals_in_callbacks).succeed()


def _train_beside_the_main_thread() -> None:
    ticks = _count(0.001)
    trainers = [article() for _ in range(3)]
    threads = [threading.Thread(target=trainer.run, args=(100_000,)) for trainer in trainers]
    for thread in threads:
        thread.start()
    trainers.append(article())
    trainers[-1].run(100_000)
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    assert ticks[0] > 10
    assert len({trainer.net.parameters.tobytes() for trainer in trainers}) == 1
    assert {trainer.iteration for trainer in trainers} == {100_000}


def test_training_in_other_threads_goes_on_through_signals(nursery: Callable[..., Child]) -> None:
    nursery(_train_beside_the_main_thread).succeed()


def _interrupt_the_child_of_a_process_that_trains() -> None:
    """Both train, and the child's signals are its own."""
    long_steps: dict[str, Any] = {"hidden_sizes": (1200, 1200), "batch_size": 4096}
    for trainer in (article(), article(**long_steps)):
        trainer.compile()
    pid = os.fork()
    if pid == 0:
        trainer = article(**long_steps)
        try:
            print("runs", flush=True)
            trainer.run(10**9)
        except KeyboardInterrupt:
            print(time.monotonic(), flush=True)
        os._exit(0)
    trainer = article()
    sent = 0.0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        trainer.run(20_000)
        if sent == 0.0 and trainer.history.n_iterations > 1_500_000:
            sent = time.monotonic()
            os.kill(pid, signal.SIGINT)
    print(sent, flush=True)


def test_signals_of_a_forked_process_are_its_own(nursery: Callable[..., Child]) -> None:
    lines = nursery(_interrupt_the_child_of_a_process_that_trains).succeed()
    assert lines[0] == "runs"
    assert float(lines[1]) - float(lines[2]) < _AT_ONCE


# ---- what a run leaves ----


@pytest.fixture
def ones_own() -> Iterator[Callable[[], bool]]:
    """Handlers and a file descriptor, and whether they are there."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    for number in handlers:
        signal.signal(number, handle)
    mine, other = socket.socketpair()
    mine.setblocking(False)
    before = signal.set_wakeup_fd(mine.fileno(), warn_on_full_buffer=False)

    def are_there() -> bool:
        descriptor = signal.set_wakeup_fd(mine.fileno(), warn_on_full_buffer=False)
        return descriptor == mine.fileno() and all(signal.getsignal(number) is handle for number in handlers)

    yield are_there
    signal.set_wakeup_fd(before)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    mine.close()
    other.close()


def test_handlers_and_file_descriptor_are_restored(ones_own: Callable[[], bool]) -> None:
    trainer = article()
    trainer.run(1000)
    assert ones_own()

    def fail(run: Run) -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        trainer.run(20_000, callbacks=[fail])
    assert ones_own()

    def interrupt(run: Run) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer.run(20_000, callbacks=[interrupt])
    assert ones_own()
    for inner in (None, fail, interrupt):
        others = article()

        def nest(run: Run, others: Trainer = others, inner: Any = inner) -> None:
            others.run(20_000, callbacks=[] if inner is None else [inner])

        if inner is None:
            trainer.run(20_000, callbacks=[nest])
            assert others.iteration == 40_000
        else:
            with pytest.raises((ValueError, KeyboardInterrupt)):
                trainer.run(20_000, callbacks=[nest])
        assert ones_own()
    whole = article()
    whole.run(trainer.iteration)
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()


def test_signal_within_a_nested_run_ends_both(ones_own: Callable[[], bool]) -> None:
    trainer, others = article(), article()

    def nest(run: Run) -> None:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        others.run(10**9)

    with pytest.raises(KeyboardInterrupt):
        trainer.run(20_000, callbacks=[nest])
    assert ones_own()
    for each in (trainer, others):
        whole = article()
        whole.run(each.iteration)
        assert each.net.parameters.tobytes() == whole.net.parameters.tobytes()


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="open files cannot be counted")
def test_runs_leave_no_open_files(tmp_path: Path) -> None:
    trainer = article()
    trainer.run(10, callbacks=[Checkpoint(tmp_path / "run.npz")])
    before = sorted(os.listdir("/dev/fd"))
    for _ in range(200):
        trainer.run(10, callbacks=[Checkpoint(tmp_path / "run.npz")])
    assert sorted(os.listdir("/dev/fd")) == before


# ---- the cache of machine code ----


@pytest.mark.slow
def test_cache_that_is_deleted_meanwhile_does_not_stop_a_process(tmp_path: Path) -> None:
    warm = cache_directory()
    assert warm is not None
    article().compile()
    folder = tmp_path / warm.name
    shutil.copytree(warm, folder, ignore=shutil.ignore_patterns("tmp*"))
    (tmp_path / warm.name).touch()
    program = """
import shutil, sys
from test_crashes import article
from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource
article().run(100)
shutil.rmtree(sys.argv[1])
net = NN(2, [5], 1, rng=1, activation=["softplus"])
Trainer(net, UniformSource(StandardGaussian(), rng=1), optimizer="rmsprop", l1=1e-3).run(100)
print(net.parameters.sum().hex())
"""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-c", program, str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    net = NN(2, [5], 1, rng=1, activation=["softplus"])
    Trainer(net, UniformSource(StandardGaussian(), rng=1), optimizer="rmsprop", l1=1e-3).run(100)
    assert result.stdout == f"{float(net.parameters.sum()).hex()}\n"
    assert re.fullmatch(r"crabnet_jit-\w+", folder.name)
