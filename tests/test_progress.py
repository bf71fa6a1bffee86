"""What shows how far a run is: a bar with tqdm, lines without."""

import contextlib
import io
import itertools
import os
import re
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainers import article

from crabnet_jit import NN, ArraySource, EarlyStopping, Every, InvalidArgumentError, ProgressBar, Trainer, fit
from crabnet_jit.cli.main import main

tqdm = pytest.importorskip("tqdm")
LOG = ["Iter 0, loss: ", "Iter 500, loss: ", "Iter 1000, loss: ", "Iter 1500, loss: "]
FIT = ["gaussian", "--iterations", "2000", "--log-every", "500"]


@pytest.fixture
def no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tqdm"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "tqdm", None)


def shown_by(trainer: Trainer, n: int, interval: float = 0.1, callbacks: Any = ()) -> str:
    file = io.StringIO()
    trainer.run(n, callbacks=[ProgressBar(interval, file), *callbacks])
    return file.getvalue()


def per_second(text: str) -> float:
    """The last rate that a bar or a line tells."""
    number, thousands = re.findall(r"([\d.e+]+)(k?)(?:/s| a second)", text)[-1]
    return float(number) * (1000 if thousands else 1)


def sleep(seconds: float) -> Callable[[Any], None]:
    return lambda run: time.sleep(seconds)


# ---- a bar ----


def test_a_bar_shows_total_rate_loss_and_time_left() -> None:
    trainer = article()
    text = shown_by(trainer, 5000)
    assert text.startswith("\r  0%|")
    last = text.rstrip("\n").split("\r")[-1]
    assert text.endswith("\n")
    assert last.startswith("100%|")
    loss = f"loss {trainer.history.running_loss(4999):.4g}"
    assert re.search(r"\| 5\.00k/5\.00k \[\d\d:\d\d<00:00, [\d.]+[kM]/s, " + re.escape(loss) + r"\] *$", last)


def test_updates_tell_the_iteration_and_loss_of_then() -> None:
    trainer = article(chunk_size=100)
    text = shown_by(trainer, 800, 1e-9)
    shown = re.findall(r"(\d+)%\|[^|]*\| (\d+)/800 [^\r]*?loss ([\d.]+)", text)
    assert [int(n) for _, n, _ in shown if int(n) < 800] == [*range(100, 800, 100)]
    for percent, n, loss in shown:
        assert abs(int(percent) - int(n) / 8) < 1
        assert loss == f"{trainer.history.running_loss(int(n) - 1):.4g}"


def test_updates_keep_an_interval() -> None:
    often = shown_by(article(chunk_size=10), 1000, 1e-9)
    seldom = shown_by(article(chunk_size=10), 1000, 1000.0)
    assert often.count("\r") >= 100
    assert 2 <= seldom.count("\r") <= 4
    assert seldom.rstrip("\n").split("\r")[-1].startswith("100%|")


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "1"])
def test_bad_intervals(interval: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="interval must be a finite number above 0"):
        ProgressBar(interval)


def test_a_bar_is_on_standard_error_only(capsys: Any) -> None:
    article().run(1000, callbacks=[ProgressBar()])
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err


@pytest.mark.parametrize("error", [KeyError(), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_bar_is_closed_whatever_happens(error: BaseException) -> None:
    def fail(run: Any) -> None:
        raise error

    file = io.StringIO()
    with pytest.raises(type(error)):
        article().run(1000, callbacks=[ProgressBar(file=file), Every(300, fail)])
    assert not list(tqdm.tqdm._instances)
    last = file.getvalue().rstrip("\n").split("\r")[-1]
    assert last.startswith(" 30%|")
    assert file.getvalue().endswith("\n")


def test_a_bar_of_a_stopped_run_tells_where() -> None:
    text = shown_by(article(), 1000, callbacks=[Every(400, lambda run: run.stop())])
    assert text.rstrip("\n").split("\r")[-1].startswith(" 40%|")


def test_a_bar_of_no_iterations() -> None:
    assert not shown_by(article(), 0).startswith("Traceback")
    assert not list(tqdm.tqdm._instances)


def test_one_bar_serves_several_runs() -> None:
    file = io.StringIO()
    bar, trainer = ProgressBar(file=file), article()
    for _ in range(3):
        trainer.run(100, callbacks=[bar])
    assert re.findall(r"100%\|[^|]*\| (\d+/\d+)", file.getvalue())[-1] == "300/300"
    assert file.getvalue().count("\n") == 3


def test_a_resumed_run_starts_at_its_iteration(tmp_path: Path) -> None:
    first, second = article(), article()
    first.run(5000)
    first.save_checkpoint(tmp_path / "run.npz")
    second.load_checkpoint(tmp_path / "run.npz")
    text = shown_by(second, 5000)
    assert text.startswith("\r 50%|")
    assert "| 5.00k/10.0k " in text.split("\r")[1]
    assert "| 10.0k/10.0k " in text.split("\r")[-1]


def test_the_rate_is_that_of_this_run() -> None:
    trainer = article()
    trainer.run(100_000)
    text = shown_by(trainer, 100, callbacks=[Every(50, sleep(0.05))])
    assert 0 < per_second(text) < 100 / 0.1


def test_a_bar_goes_back_with_the_run() -> None:
    x = np.linspace(-1, 1, 8)[:, None]
    source = ArraySource(x, 2 * x, batch_size=8, rng=1)
    trainer = Trainer(
        NN(1, [], 1, init=[0.5, 0.3]), source, learning_rate=1.05, on_divergence="lower_rate", chunk_size=100
    )
    text = shown_by(trainer, 5000, 1e-9)
    assert len(trainer.history.events) == 1
    numbers = [float(n) for n in re.findall(r"\| ([\d.]+)k/5\.00k", text)]
    assert min(b - a for a, b in itertools.pairwise(numbers)) < -1
    assert text.rstrip("\n").split("\r")[-1].startswith("100%|")


def test_a_bar_that_is_switched_off_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert article().run(100, callbacks=[ProgressBar()]).n_iterations == 100


def test_a_bar_beside_early_stopping_in_a_fit(capsys: Any) -> None:
    x = np.linspace(-1, 1, 40)[:, None]
    fit(x, x**2, n_iterations=300, validation=0.2, callbacks=[ProgressBar()])
    assert "100%|" in capsys.readouterr().err


def test_a_line_is_printed_above_the_bar(capsys: Any) -> None:
    bar = ProgressBar()
    article().run(100, callbacks=[bar, Every(50, lambda run: bar.print(f"at {run.iteration}"))])
    assert capsys.readouterr().out == "at 50\nat 100\n"
    bar.print("behind it")
    assert capsys.readouterr().out == "behind it\n"


# ---- notebooks ----


@pytest.fixture
def notebook_without_widgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tqdm takes for a notebook, but without the package that draws its bars."""
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(config={"IPKernelApp": {}})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("notebook_without_widgets")
def test_a_notebook_without_widgets_gets_a_bar_of_characters(capsys: Any) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        article().run(100, callbacks=[ProgressBar()])
    assert "100%|" in capsys.readouterr().err
    assert warned == []


def test_without_ipython_there_is_a_bar_of_characters(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    article().run(100, callbacks=[ProgressBar()])
    assert "100%|" in capsys.readouterr().err


# ---- lines ----

_LINE = r"(\d+) of (\d+) iterations, (\S+) a second, running loss (\S+), (\d+) s left"


@pytest.mark.usefixtures("no_tqdm")
def test_without_tqdm_there_is_a_line_at_the_end() -> None:
    trainer = article()
    text = shown_by(trainer, 2500)
    assert text.count("\n") == 1
    match = re.fullmatch(_LINE + "\n", text)
    assert match is not None
    assert match.group(1, 2, 5) == ("2500", "2500", "0")
    assert match.group(4) == f"{trainer.history.running_loss(2499):.6g}"


@pytest.mark.usefixtures("no_tqdm")
def test_without_tqdm_there_are_lines_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crabnet_jit.callbacks.progress._LINE_SECONDS", 0.0)
    trainer = article(chunk_size=100)
    lines = shown_by(trainer, 400).splitlines()
    matches = [re.fullmatch(_LINE, line) for line in lines]
    shown = [(int(m.group(1)), m.group(4)) for m in matches if m is not None]
    assert len(shown) == len(lines)
    assert [n for n, _ in shown[:4]] == [100, 200, 300, 400]
    for n, loss in shown:
        assert loss == f"{trainer.history.running_loss(n - 1):.6g}"


@pytest.mark.usefixtures("no_tqdm")
def test_lines_keep_their_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crabnet_jit.callbacks.progress._LINE_SECONDS", 0.05)
    text = shown_by(article(), 10, callbacks=[Every(1, sleep(0.02))])
    assert 3 <= text.count("\n") <= 6


@pytest.mark.usefixtures("no_tqdm")
def test_lines_tell_the_rate_of_this_run_and_the_time_left() -> None:
    def interrupt(run: Any) -> None:
        raise KeyboardInterrupt

    trainer, file = article(), io.StringIO()
    trainer.run(100_000)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(1000, callbacks=[ProgressBar(file=file), Every(10, sleep(0.05)), Every(20, interrupt)])
    match = re.fullmatch(_LINE + "\n", file.getvalue())
    assert match is not None
    assert match.group(1, 2) == ("100020", "101000")
    rate, left = float(match.group(3)), int(match.group(5))
    assert 0 < rate < 20 / 0.1
    assert left == pytest.approx(980 / rate, rel=0.02, abs=1)


@pytest.mark.usefixtures("no_tqdm")
def test_the_line_of_a_run_that_was_stopped_tells_no_time_left() -> None:
    text = shown_by(article(), 1000, callbacks=[Every(20, lambda run: run.stop())])
    assert re.fullmatch(_LINE.replace(r"(\d+) s left", "stopped") + "\n", text)


@pytest.mark.usefixtures("no_tqdm")
def test_without_tqdm_a_line_is_printed_as_it_is(capsys: Any) -> None:
    bar = ProgressBar()
    article().run(100, callbacks=[bar, Every(50, lambda run: bar.print("text"))])
    out, err = capsys.readouterr()
    assert out == "text\ntext\n"
    assert re.fullmatch(_LINE + "\n", err)


@pytest.mark.usefixtures("no_tqdm")
def test_without_tqdm_a_line_behind_an_exception_tells_where() -> None:
    def fail(run: Any) -> None:
        raise KeyError

    file = io.StringIO()
    with pytest.raises(KeyError):
        article().run(1000, callbacks=[ProgressBar(file=file), Every(300, fail)])
    assert file.getvalue().startswith("300 of 1000 iterations, ")


# ---- no place to write to ----


@pytest.fixture(params=["bar", "lines"])
def bar_or_lines(request: pytest.FixtureRequest) -> None:
    if request.param == "lines":
        request.getfixturevalue("no_tqdm")


@pytest.mark.usefixtures("bar_or_lines")
def test_missing_standard_error(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    bar = ProgressBar()
    trainer = article()
    trainer.run(200, callbacks=[bar, Every(100, lambda run: bar.print("text"))])
    assert trainer.iteration == 200
    assert capsys.readouterr().out == "text\ntext\n"


@pytest.mark.usefixtures("bar_or_lines")
def test_closed_standard_error_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    trainer, stopping = article(), EarlyStopping(every=50)
    trainer.run(200, callbacks=[stopping, ProgressBar()])
    assert trainer.iteration == 200
    np.testing.assert_array_equal(trainer.net.parameters, stopping.best_parameters)


# ---- the command line ----


def assert_log(lines: list[str]) -> None:
    assert [line[: line.index(": ") + 2] for line in lines] == LOG
    for line in lines:
        assert float(line.split()[-1]) > 0


@pytest.mark.parametrize("option", ["--progress", "--no-progress", None])
def test_options_decide_beside_a_file(option: str | None, capsys: Any) -> None:
    assert main([*FIT, *([] if option is None else [option])]) == 0
    out, err = capsys.readouterr()
    assert_log(out.splitlines())
    assert ("100%|" in err) == (option == "--progress")


@pytest.mark.usefixtures("no_tqdm")
def test_progress_without_tqdm_is_lines(capsys: Any) -> None:
    assert main([*FIT, "--progress"]) == 0
    out, err = capsys.readouterr()
    assert_log(out.splitlines())
    assert re.match(_LINE, err)


@pytest.mark.parametrize("option", ["--progress", "--no-progress"])
def test_train_shows_a_bar_or_its_lines(option: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "points.csv").write_text("x,y\n" + "".join(f"{k},{k * k}\n" for k in range(30)))
    options = ["--inputs", "x", "--outputs", "y", "--iterations", "200", option]
    assert main(["fit", str(tmp_path / "points.csv"), *options]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert ("100%|" in err) == (option == "--progress")
    assert ("100 of 200 iterations: loss" in err) == (option == "--no-progress")


def test_the_bar_goes_before_an_error_is_told(capsys: Any) -> None:
    assert main([*FIT, "--progress", "--learning-rate", "100"]) == 1
    _, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert last.startswith("crabnet-jit gaussian: the loss became")
    assert not list(tqdm.tqdm._instances)


def screen(data: str) -> list[str]:
    """What a terminal shows of it: carriage returns, new lines, and moves of the cursor up."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", data):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[A":
            row -= 1
        elif not part.startswith("\x1b"):
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, Callable[[], str]]]:
    """The slave's descriptor, and what the master received; call it when the process has ended."""
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    master, slave = pty.openpty()
    if hasattr(termios, "tcsetwinsize"):
        termios.tcsetwinsize(slave, (24, 120))
    is_open = [True]

    def received() -> str:
        os.close(slave)
        is_open.clear()
        parts = []
        with contextlib.suppress(OSError):  # which is the end of it on Linux
            while part := os.read(master, 65536):
                parts.append(part)
        return b"".join(parts).decode()

    try:
        yield slave, received
    finally:
        if is_open:
            os.close(slave)
        os.close(master)


def run(options: list[str], **streams: Any) -> Any:
    command = [sys.executable, "-m", "crabnet_jit", *FIT, *options]
    environment = {**os.environ, "PYTHONWARNINGS": ""}
    return subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL, **streams)


def test_a_terminal_shows_the_bar_and_whole_lines_of_the_log() -> None:
    with terminal() as (slave, received):
        run([], stdout=slave, stderr=slave)
        data = received()
    assert "100%|" in data
    lines = screen(data)
    assert_log([line for line in lines if line.startswith("Iter")])
    assert sum("Iter" in line for line in lines) == len(LOG)
    assert sum("%|" in line for line in lines) == 1  # one bar is left
    assert any(line.startswith("2000 iterations: ") for line in lines)


def test_a_terminal_shows_the_bar_while_the_log_goes_to_a_file(tmp_path: Path) -> None:
    with terminal() as (slave, received), (tmp_path / "out").open("w") as file:
        run([], stdout=file, stderr=slave)
        data = received()
    assert "100%|" in data
    assert "Iter" not in data
    assert_log((tmp_path / "out").read_text().splitlines())


@pytest.mark.parametrize("option", [None, "--progress"])
def test_no_bar_in_a_file_unless_it_is_asked_for(option: str | None, tmp_path: Path) -> None:
    with terminal() as (slave, received), (tmp_path / "err").open("w") as file:
        run([] if option is None else [option], stdout=slave, stderr=file)
        data = received()
    assert_log(data.splitlines())
    assert ("100%|" in (tmp_path / "err").read_text()) == (option == "--progress")


def test_no_bar_in_a_terminal_if_it_is_not_wanted() -> None:
    with terminal() as (slave, received):
        run(["--no-progress"], stdout=slave, stderr=slave)
        data = received()
    assert "%|" not in data
    assert_log(data.splitlines()[:4])


@pytest.mark.skipif(os.name != "posix", reason="closes a descriptor by a shell")
def test_a_process_without_standard_error() -> None:
    program = f'exec "{sys.executable}" -m crabnet_jit {" ".join(FIT)} --progress 2>&-'
    result = subprocess.run(["sh", "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert_log(result.stdout.splitlines())
