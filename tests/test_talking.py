"""What is said never ends a run, nor costs its result: full disks, readers that leave, odd terminals."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainers import article

from crabnet_jit import EarlyStopping, Every, ProgressBar, load
from crabnet_jit.cli.console import Log
from crabnet_jit.quiet_file import QuietFile

pytestmark = pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="only Linux has the always-full device"
)
PROGRAM = [sys.executable, "-m", "crabnet_jit"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "d.csv"
    rows = [f"{k / 100},{np.sin(k / 30)}" for k in range(200)]
    path.write_text("x,y\n" + "\n".join(rows) + "\n")
    return path


def training(data: Path, *options: str) -> list[str]:
    return [*PROGRAM, "fit", str(data), "--inputs", "x", "--outputs", "y", "--iterations", "200", *options]


def run(command: list[str], tmp_path: Path, redirection: str, **environment: str) -> tuple[int, str]:
    """Exit code and standard error of a command of the shell, which keeps that in a file."""
    line = " ".join(f"'{word}'" for word in command) + " " + redirection
    result = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize("progress", [pytest.param("--progress", marks=pytest.mark.slow), "--no-progress"])
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2> >(exec 0<&-; sleep 0.1)"])
def test_remarks_that_cannot_be_written(data: Path, tmp_path: Path, redirection: str, progress: str) -> None:
    saved = tmp_path / "m.npz"
    status, _ = run(training(data, "--save", str(saved), progress), tmp_path, redirection)
    assert status == 0
    assert load(saved).in_features == 1
    gaussian = [
        *PROGRAM,
        "gaussian",
        "--iterations",
        "2000",
        "--save",
        "g.npz",
        "--checkpoint",
        "run.npz",
        progress,
    ]
    status, _ = run(gaussian, tmp_path, f">log.txt {redirection}")
    assert status == 0
    assert (tmp_path / "g.npz").exists()
    assert (tmp_path / "run.npz").exists()
    assert (tmp_path / "log.txt").read_text().startswith("Iter 0, loss: 0.587")


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    command = [*PROGRAM, "gaussian", "--iterations", "20001", "--save", "g.npz", "--checkpoint", "run.npz"]
    status, errors = run([*command, "--no-progress"], tmp_path, ">/dev/full")
    assert status == 1
    assert errors.splitlines()[0].startswith("20001 iterations: ")
    assert errors.splitlines()[2:] == ["crabnet-jit gaussian: error: [Errno 28] No space left on device"]
    assert load(tmp_path / "g.npz").in_features == 2
    assert (tmp_path / "run.npz").exists()
    status, errors = run(
        [*command, "--no-progress", "--log-every", "10"], tmp_path, "| head -1; exit ${PIPESTATUS[0]}"
    )
    assert status == 1
    assert len(errors.splitlines()) == 2  # the remarks; nothing is said of the reader
    assert errors.splitlines()[0].startswith("20001 iterations: ")


def test_a_reader_that_leaves_both_streams(data: Path, tmp_path: Path) -> None:
    command = training(data, "--save", "m.npz")
    status, _ = run(command, tmp_path, "2>&1 | head -1; exit ${PIPESTATUS[0]}")
    assert status == 0
    assert (tmp_path / "m.npz").exists()


@pytest.mark.parametrize(
    "variable",
    [
        "TQDM_BAR_FORMAT",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("TQDM_ASCII", "TQDM_NCOLS", "TQDM_UNIT_DIVISOR", "TQDM_MAXINTERVAL")
        ),
    ],
)
def test_settings_of_the_bar_that_make_no_sense(data: Path, tmp_path: Path, variable: str) -> None:
    for value in ("1", "{nonsense", ""):
        command = training(data, "--save", "m.npz", "--progress")
        status, errors = run(command, tmp_path, "", **{variable: value})
        assert (status, "Traceback" in errors, "Exception ignored" in errors) == (0, False, False), (
            value,
            errors,
        )
        (tmp_path / "m.npz").unlink()


class Broken(io.StringIO):
    """A file that fails after some writes."""

    def __init__(self, error: Exception, after: int = 0) -> None:
        super().__init__()
        self.error, self.left = error, after

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize(
    "error", [OSError(28, "full"), BrokenPipeError(32, "gone"), ValueError("closed"), KeyError("own")]
)
@pytest.mark.parametrize("with_tqdm", [True, False])
def test_a_bar_whose_file_fails_does_no_harm(
    error: Exception, after: int, with_tqdm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_tqdm:
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
        monkeypatch.setattr("crabnet_jit.callbacks.progress._LINE_SECONDS", 0.0)
    trainer, stopping = article(chunk_size=50), EarlyStopping(None, every=100)
    bar = ProgressBar(1e-9, Broken(error, after))
    trainer.run(1000, callbacks=[stopping, bar])
    assert trainer.iteration == 1000
    np.testing.assert_array_equal(trainer.net.parameters, stopping.best_parameters)


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("closed")])
def test_a_line_above_a_bar_that_fails_is_printed_once(error: Exception, capsys: Any) -> None:
    bar = ProgressBar(1e-9, Broken(error, 2))
    article(chunk_size=50).run(200, callbacks=[bar, Every(50, lambda run: bar.print(f"at {run.iteration}"))])
    assert capsys.readouterr().out == "at 50\nat 100\nat 150\nat 200\n"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), TimeoutError("of an alarm"), RuntimeError("of an alarm")]
)
def test_exceptions_of_signals_are_not_taken_for_ones_of_writing(error: BaseException) -> None:
    class Interrupted(io.StringIO):
        n_writes = 0

        def write(self, text: str) -> int:
            self.n_writes += 1
            if self.n_writes == 5:
                raise error
            return super().write(text)

    with pytest.raises(type(error)):
        article(chunk_size=50).run(1000, callbacks=[ProgressBar(1e-9, Interrupted())])


def test_a_quiet_file_is_what_it_wraps() -> None:
    inner = io.StringIO()
    file = QuietFile(inner)
    assert file == inner
    assert hash(file) == hash(inner)
    file.write("text")
    assert inner.getvalue() == file.getvalue() == "text"


def test_a_log_says_at_the_end_what_was_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    log, file = Log(), Broken(OSError(28, "full"), 2)
    monkeypatch.setattr(sys, "stdout", file)
    for k in range(5):
        log.print(f"{k}")
    assert file.getvalue() == "0\n"  # text and end of line are two writes
    with pytest.raises(OSError, match="full"):
        log.close()


@pytest.mark.parametrize("command", ["gaussian", "fit"])
def test_a_checkpoint_that_cannot_be_written_at_the_end_does_not_cost_the_network(
    command: str, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    limited = "ulimit -f 6; trap '' XFSZ; exec \"$@\""  # no files above 6 KB: the checkpoint is larger
    program = (
        [*PROGRAM, "gaussian", "--iterations", "2000"]
        if command == "gaussian"
        else training(data, "--hidden", "8,8")
    )
    result = subprocess.run(
        ["bash", "-c", limited, "bash", *program, "--checkpoint", "run.npz", "--save", "g.npz"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert "error: [Errno 27] File too large" in result.stderr.splitlines()[-1]
    assert not (folder / "run.npz").exists()
    assert load(folder / "g.npz").in_features == (2 if command == "gaussian" else 1)
