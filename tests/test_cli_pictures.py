"""Pictures and films of the command line."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from crabnet_jit import NN, StandardGaussian, Trainer, load, save
from crabnet_jit.cli.main import main
from crabnet_jit.plotting import films as _films
from crabnet_jit.training.state import read_checkpoint

QUICK = ["--iterations", "120", "--hidden", "4", "--batch-size", "8"]
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")


class Result(NamedTuple):
    code: Any
    out: str
    err: str


def run(*arguments: str) -> Result:
    """The command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: Any = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
    return Result(code, out.getvalue(), err.getvalue())


def line(text: str) -> list[str]:
    return text.split()


def assert_done(result: Result) -> None:
    assert result.code == 0, result.err
    assert "warning" not in result.err
    assert "error: " not in result.err


def assert_refused(result: Result, *messages: str) -> None:
    """Exit code 2, one line on standard error, nothing on standard output."""
    assert (result.code, result.out) == (2, ""), result
    assert result.err.count("\n") == 1, result.err
    assert re.match(r"crabnet-jit( gaussian| fit| plot)?: error: .", result.err)
    for message in messages:
        assert message in result.err


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder of its own, without a display, and no figure is left open."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    yield
    left = pyplot.get_fignums()
    pyplot.close("all")
    assert left == []


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        pytest.fail("it was trained")

    monkeypatch.setattr(Trainer, "run", never)
    monkeypatch.setattr(Trainer, "compile", never)


def files() -> list[str]:
    return sorted(os.listdir())


def frames(path: str | Path) -> int:
    with Image.open(path) as image:
        image.load()
        n: int = getattr(image, "n_frames", 1)
        for k in range(n):
            image.seek(k)
            image.load()
        return n


def assert_picture(path: str) -> None:
    ending = Path(path).suffix
    data = Path(path).read_bytes()
    if ending == ".svg":
        assert ET.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"
    elif ending == ".pdf":
        assert data.startswith(b"%PDF-")
        assert data.rstrip().endswith(b"%%EOF")
    else:
        with Image.open(path) as image:
            assert image.format == {".png": "PNG", ".jpg": "JPEG"}[ending]
            assert np.ptp(np.asarray(image.convert("L"))) > 100


def table(n_inputs: int, n_outputs: int, n: int = 40, name: str = "data.csv") -> tuple[str, str]:
    """A file of a plane; the names of its inputs and outputs."""
    rng = np.random.default_rng(n_inputs)
    x = rng.uniform(-1, 1, (n, n_inputs))
    y = np.stack([x @ np.arange(1, n_inputs + 1) + k for k in range(n_outputs)], axis=1)
    inputs, outputs = [f"in{k}" for k in range(n_inputs)], [f"out{k}" for k in range(n_outputs)]
    rows = [",".join([*inputs, *outputs]), *(",".join(map(repr, row)) for row in np.hstack([x, y]).tolist())]
    Path(name).write_text("\n".join(rows) + "\n")
    return ",".join(inputs), ",".join(outputs)


def model(n_inputs: int = 2, n_outputs: int = 1, name: str = "model.npz") -> str:
    names = {
        "inputs": [f"in{k}" for k in range(n_inputs)],
        "outputs": [f"out{k}" for k in range(n_outputs)],
    }
    save(NN(n_inputs, [5], n_outputs, rng=1, activation="tanh"), name, names)
    return name


class Calls:
    """Takes the place of a function that draws, and writes down its arguments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.seen: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        for name in names:
            monkeypatch.setattr(f"crabnet_jit.plotting.{name}", self._taker(name))

    def _taker(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **options: self.seen.append((name, arguments, options))

    @property
    def only(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        (call,) = self.seen
        return call


# ---- fit ----


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, Result]:
    """A run without and one with all pictures."""
    folder = tmp_path_factory.mktemp("gaussian")
    common = line("gaussian --iterations 300 --log-every 50 --seed 3 --save")
    plain = run(*common, str(folder / "plain.npz"))
    pictures = f"--plot {folder}/F.png --animate {folder}/L.gif --rotate {folder}/S.gif --frames 3"
    return folder, plain, run(*common, str(folder / "net.npz"), *line(pictures))


def test_fit_draws_fit_and_films(pictured: tuple[Path, Result, Result]) -> None:
    folder, _, result = pictured
    assert_done(result)
    assert sorted(os.listdir(folder)) == ["F.png", "L.gif", "S.gif", "net.npz", "plain.npz"]
    assert_picture(str(folder / "F.png"))
    assert frames(folder / "L.gif") == 4  # after 0, 100, 200 and 300 iterations
    assert frames(folder / "S.gif") == 3


def test_pictures_change_nothing_else(pictured: tuple[Path, Result, Result]) -> None:
    folder, plain, result = pictured
    assert_done(plain)
    assert plain.out == result.out
    assert [text.split()[1] for text in plain.out.splitlines()] == [f"{i}," for i in range(0, 300, 50)]
    assert plain.err.splitlines()[1:] == result.err.splitlines()[1:]
    assert (folder / "plain.npz").read_bytes() == (folder / "net.npz").read_bytes()


def test_frames_of_a_film_may_be_pictures() -> None:
    result = run(*line("gaussian --iterations 100 --animate film.png --rotate turn.PNG --frames 2"))
    assert_done(result)
    assert files() == [
        "film-0000.png", "film-0001.png", "film-0002.png", "turn-0000.PNG", "turn-0001.PNG",
    ]  # fmt: skip
    for name in files()[:3]:
        assert_picture(name)


def test_what_fit_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "plot_surface", "plot_history", "rotate_surface", "animate_surface")
    arguments = "--iterations 100 --plot F.png --animate L.gif --rotate S.gif --frames 7 --save net.npz"
    assert_done(run("gaussian", *line(arguments)))
    seen = {name: (given, options) for name, given, options in calls.seen}
    assert [*seen] == ["plot_surface", "plot_history", "rotate_surface", "animate_surface"]
    parameters = load("net.npz").parameters
    for name in ("plot_surface", "rotate_surface", "animate_surface"):
        given, options = seen[name]
        assert given[0].parameters.tobytes() == parameters.tobytes()
        assert isinstance(given[-1], StandardGaussian)
        assert options["input_names"] == ["x", "y"]
        assert options["output_names"] == ["z"]
    assert seen["rotate_surface"][0][1] == "S.gif"
    assert seen["rotate_surface"][1]["n_frames"] == 7
    _, snapshots, path, _ = seen["animate_surface"][0]
    assert path == "L.gif"
    assert snapshots.iterations == [0, 15, 30, 45, 60, 75, 90, 100]
    assert snapshots.parameters[-1].tobytes() == parameters.tobytes()
    (trainer,) = seen["plot_history"][0]
    assert trainer.history.losses.size == 100


@pytest.mark.parametrize("n_iterations", [1, 5, 1999])
def test_losses_are_kept_only_for_a_plot(n_iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    original = Trainer.__init__

    def watched(self: Trainer, *arguments: Any, **options: Any) -> None:
        kept.append(options.get("keep_losses"))
        original(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "__init__", watched)
    Calls(monkeypatch, "plot_surface", "plot_history", "animate_surface")
    for pictures in ("", "--animate L.gif", "--plot F.png"):
        assert_done(run("gaussian", "--iterations", str(n_iterations), *line(pictures)))
    assert kept == [0, 0, None]


@pytest.mark.parametrize(
    ("n_frames", "n_iterations"), [(1, 300), (7, 300), (60, 10), (60, 59), (60, 61), (13, 12_345)]
)
def test_a_film_has_about_as_many_frames(
    n_frames: int, n_iterations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch, "animate_surface")
    options = f"gaussian --iterations {n_iterations} --animate L.gif --frames {n_frames}"
    assert_done(run(*line(options)))
    iterations = calls.only[1][1].iterations
    assert iterations[0] == 0
    assert iterations[-1] == n_iterations
    assert min(n_iterations, n_frames) / 2 < len(iterations) <= n_frames + 1


def test_a_film_of_a_run_whose_length_nobody_knows() -> None:
    options = f"gaussian --iterations {10**12} --time-limit 0.7 --animate L.gif --frames 6"
    assert_done(run(*line(options)))
    assert 4 <= frames("L.gif") <= 8


def test_a_film_of_a_time_limit_has_more_than_ten_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "animate_surface")
    assert_done(run(*line(f"gaussian --iterations {10**12} --time-limit 1 --animate L.gif")))
    iterations = calls.only[1][1].iterations
    assert 10 < len(iterations) <= 62
    assert iterations[0] == 0


def test_a_short_time_limit_is_no_error() -> None:
    assert_done(run(*line("gaussian --time-limit 0 --iterations 1000000 --animate L.gif --frames 2")))
    assert frames("L.gif") >= 1


def test_a_plot_of_no_iterations() -> None:
    """It is drawn, or refused before anything else is done."""
    result = run(*line("gaussian --iterations 0 --plot F.png --save net.npz"))
    if result.code == 0:
        assert_picture("F.png")
    else:
        assert_refused(result)
        assert files() == []


def test_a_film_of_no_iterations() -> None:
    assert_done(run(*line("gaussian --iterations 0 --animate L.gif --frames 2")))
    assert frames("L.gif") == 1


# ---- going on ----


def test_a_film_of_a_resumed_run_is_that_of_the_whole() -> None:
    common = "gaussian --animate {}.gif --frames 2 --checkpoint {}.npz --iterations"
    assert_done(run(*line(common.format("whole", "whole")), "400"))
    assert_done(run(*line(common.format("first", "run")), "200"))
    assert_done(run(*line(common.format("second", "run")), "400", "--resume", "run.npz"))
    assert frames("whole.gif") == frames("first.gif") == 3
    assert Path("whole.gif").read_bytes() == Path("second.gif").read_bytes() != Path("first.gif").read_bytes()


def test_a_film_of_an_interrupted_run_that_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "animate_surface")
    common = f"gaussian --iterations {10**12} --animate L.gif --frames 5 --checkpoint run.npz"
    assert_done(run(*line(common), "--time-limit", "0.05"))
    done = calls.only[1][1].iterations[-1]
    assert_done(run(*line(common), "--time-limit", "0.1", "--resume", "run.npz"))
    iterations = calls.seen[1][1][1].iterations
    assert iterations[0] == 0
    assert iterations[-1] > done
    steps = set(np.diff(iterations[:-1]).tolist())
    assert len(steps) == 1
    assert len(iterations) <= 7


def test_what_a_checkpoint_keeps_of_pictures() -> None:
    pictures = "--plot F.png --animate L.gif --rotate S.gif --frames 2 --show"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crabnet_jit.plotting.figures.can_show", lambda: False)
        Calls(patch, "plot_surface", "plot_history", "rotate_surface", "animate_surface")
        assert_done(run(*line("gaussian --iterations 90 --checkpoint run.npz"), *line(pictures)))
    saved = read_checkpoint("run.npz")
    assert not {"plot", "animate", "rotate", "frames", "show"} & saved.options.keys()
    state = saved.callbacks["0 Snapshots"]
    assert state["iterations"] == [0, 45, 90]
    assert state["parameters"].shape == (3, 105)
    os.remove("F.png")
    assert_done(run(*line("gaussian --resume run.npz --iterations 120")))  # without any
    assert files() == ["run.npz"]


def test_a_film_that_begins_with_a_resumed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "animate_surface")
    assert_done(run(*line("gaussian --iterations 130 --checkpoint run.npz")))
    assert_done(run(*line("gaussian --iterations 330 --resume run.npz --animate L.gif --frames 4")))
    assert calls.only[1][1].iterations == [166, 249, 330]


def test_a_resumed_film_of_fewer_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "animate_surface")
    common = "gaussian --animate L.gif --checkpoint run.npz"
    assert_done(run(*line(f"{common} --iterations 300 --frames 50")))
    assert_done(run(*line(f"{common} --iterations 301 --frames 3 --resume run.npz")))
    assert len(calls.seen[1][1][1].iterations) <= 5


def test_a_plot_of_a_resumed_run() -> None:
    assert_done(run(*line("gaussian --iterations 1500 --checkpoint run.npz")))
    for n in (1500, 1800):  # none more, and some
        assert_done(run(*line(f"gaussian --resume run.npz --iterations {n} --plot F{n}.png")))
        assert_picture(f"F{n}.png")


# ---- train ----


@pytest.mark.parametrize(
    ("n_inputs", "n_outputs", "ending"), [(1, 1, "svg"), (2, 2, "png"), (3, 1, "png"), (7, 2, "svg")]
)
def test_train_draws_the_fit(n_inputs: int, n_outputs: int, ending: str) -> None:
    inputs, outputs = table(n_inputs, n_outputs)
    common = ["fit", "data.csv", "--inputs", inputs, "--outputs", outputs, *QUICK]
    plain = run(*common, "--save", "plain.npz")
    result = run(*common, "--save", "net.npz", "--plot", f"F.{ending}")
    assert_done(plain)
    assert_done(result)
    assert plain.out == result.out == ""
    told = [[text for text in r.err.splitlines() if "compilation" not in text] for r in (plain, result)]
    assert told[0] == told[1]
    assert Path("plain.npz").read_bytes() == Path("net.npz").read_bytes()
    assert files() == [f"F.{ending}", "data.csv", "net.npz", "plain.npz"]
    assert_picture(f"F.{ending}")


def test_what_train_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, outputs = table(3, 2)
    common = ["fit", "data.csv", "--inputs", inputs, "--outputs", outputs, *QUICK, "--plot", "F.png"]
    for share, n in (("0.25", 10), ("0", 40)):
        calls = Calls(monkeypatch, "plot_fit", "plot_history")
        assert_done(run(*common, "--validation", share))
        names = [name for name, *_ in calls.seen]
        assert names == ["plot_fit", "plot_fit", "plot_history"]
        for output, (_, (_net, x, y), options) in enumerate(calls.seen[:2]):
            assert (x.shape, y.shape, options["output"]) == ((n, 3), (n, 2), output)
            np.testing.assert_allclose(y.column_at(0).values, x @ [1, 2, 3])
            assert options["input_names"] == inputs.split(",")
            assert options["output_names"] == outputs.split(",")
        assert calls.seen[2][1][0].n_iterations == 120


def test_train_draws_the_first_of_many_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "plot_fit", "plot_history")
    inputs, outputs = table(1, 200)  # more than fit into the largest picture there can be
    assert_done(run("fit", "data.csv", "--inputs", inputs, "--outputs", outputs, *QUICK, "--plot", "F.png"))
    assert [options["output"] for name, _, options in calls.seen if name == "plot_fit"] == list(range(8))
    assert_picture("F.png")


@pytest.mark.parametrize("n", [2, 3])
def test_train_draws_few_rows(n: int) -> None:
    inputs, outputs = table(2, 1, n)
    assert_done(run("fit", "data.csv", "--inputs", inputs, "--outputs", outputs, *QUICK, "--plot", "F.png"))
    assert_picture("F.png")


def test_train_draws_what_is_constant() -> None:
    Path("data.csv").write_text("x,y\n" + "1,5\n" * 10)
    assert_done(run("fit", "data.csv", "--inputs", "x", "--outputs", "y", *QUICK, "--plot", "F.png"))
    assert_picture("F.png")


def test_names_with_signs_of_formulas_are_names() -> None:
    Path("data.csv").write_text(
        "cost ($);^a$^$_{;$\\x$\n" + "".join(f"{k};{k % 3};{k % 5}\n" for k in range(20))
    )
    names = ["--inputs", "cost ($),^a$^$_{", "--outputs", "$\\x$"]
    assert_done(run("fit", "data.csv", *names, *QUICK, "--plot", "F.png", "--save", "net.npz"))
    assert_done(run("plot", "net.npz", "S.svg"))
    assert_done(run("plot", "net.npz", "F.svg", "--data", "data.csv"))


def test_a_plot_of_a_resumed_training() -> None:
    inputs, outputs = table(2, 1)
    common = [
        "fit",
        "data.csv",
        "--inputs",
        inputs,
        "--outputs",
        outputs,
        *QUICK,
        "--checkpoint",
        "run.npz",
    ]
    assert_done(run(*common, "--time-limit", "0", "--plot", "first.png"))
    options = read_checkpoint("run.npz").options
    assert not {"plot", "show", "frames"} & options.keys()
    assert_done(run(*common, "--resume", "run.npz", "--plot", "second.png"))
    assert_done(run(*common, "--resume", "run.npz", "--plot", "third.png"))  # nothing is left to do
    for name in ("first.png", "second.png", "third.png"):
        assert_picture(name)


# ---- plot ----


@pytest.mark.parametrize(
    ("arguments", "n_inputs", "n_outputs"),
    [
        ("P.png", 2, 1),
        ("P.png --target gaussian", 2, 1),
        ("P.pdf --kind surface --inputs in2,in0 --at 0,1,2 --output out1", 3, 2),
        ("P.png --low=-1,0 --high 1,2.5 --kind surface", 2, 1),
        ("P.jpg --kind network", 1, 1),
        ("P.svg --kind network --data data.csv", 7, 2),
        ("P.png --data data.csv", 1, 2),
        ("P.png --kind fit --data data.csv --output out1 --inputs in1,in2 --at 0,0,0", 3, 2),
        ("P.png --kind fit --data data.csv --delimiter ,", 2, 1),
    ],
)
def test_plot_draws(arguments: str, n_inputs: int, n_outputs: int) -> None:
    table(n_inputs, n_outputs)
    assert_done(result := run("plot", model(n_inputs, n_outputs), *line(arguments)))
    assert (result.out, result.err) == ("", "")
    name = arguments.split(maxsplit=1)[0]
    assert files() == [name, "data.csv", "model.npz"]
    assert_picture(name)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("more", ["", "--target gaussian --low -1 --high 1 --kind rotate"])
def test_plot_turns(n: int, more: str) -> None:
    assert_done(run("plot", model(), "R.gif", "--frames", str(n), *line(more)))
    assert frames("R.gif") == n
    assert files() == ["R.gif", "model.npz"]


@needs_ffmpeg
def test_plot_turns_as_mp4() -> None:
    assert_done(run("plot", model(), "R.mp4", "--frames", "3"))
    assert Path("R.mp4").read_bytes()[4:8] == b"ftyp"
    command = ["ffmpeg", "-i", "R.mp4", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert re.findall(r"frame=\s*(\d+)", told)[-1] == "3"
    assert files() == ["R.mp4", "model.npz"]


def test_plot_turns_as_frames() -> None:
    assert_done(run("plot", model(), "R.png", "--kind", "rotate", "--frames", "2"))
    assert files() == ["R-0000.png", "R-0001.png", "model.npz"]


def test_a_saved_fit_has_the_articles_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_done(run(*line("gaussian --iterations 5 --save net.npz")))
    calls = Calls(monkeypatch, "plot_surface")
    assert_done(run(*line("plot net.npz P.png --inputs y,x --output z")))
    options = calls.only[2]
    assert (options["input_names"], options["output_names"]) == (["x", "y"], ["z"])
    assert (options["inputs"], options["output"]) == ([1, 0], 0)


def test_a_network_without_names_has_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    save(NN(3, [4], 2, rng=1), "net.npz")
    calls = Calls(monkeypatch, "plot_surface")
    assert_done(run(*line("plot net.npz P.png --inputs x2,x1 --output y1")))
    options = calls.only[2]
    assert (options["input_names"], options["output_names"]) == (["x0", "x1", "x2"], ["y0", "y1"])
    assert (options["inputs"], options["output"]) == ([2, 1], 1)


@pytest.mark.parametrize(
    ("arguments", "function"),
    [
        ("P.png", "plot_surface"),
        ("P.png --data data.csv", "plot_fit"),
        ("P.png --data data.csv --kind surface", "plot_surface"),
        ("P.png --data data.csv --kind network", "plot_network"),
        ("P.png --kind network", "plot_network"),
        ("P.GIF", "rotate_surface"),
        ("P.gif --data data.csv", "rotate_surface"),
        ("P.png --kind rotate", "rotate_surface"),
    ],
)
def test_kinds(arguments: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table(2, 1)
    calls = Calls(monkeypatch, "plot_surface", "plot_fit", "plot_network", "rotate_surface")
    assert_done(run("plot", model(), *line(arguments)))
    assert calls.only[0] == function


def test_what_plot_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "plot_surface", "plot_fit", "plot_network", "rotate_surface")
    table(3, 2, name="other.csv")
    where = "--at 1,-2,0.5 --inputs in2,in1 --output out1"
    box = "--low=-1,-2,-3 --high 4"
    for arguments in (
        f"P.png {where} {box}",
        f"P.gif {where} {box} --frames 9",
        f"P.png --data other.csv {where}",
        "P.png --data other.csv --kind network",
        "P.png",
    ):
        assert_done(run("plot", model(3, 2), *line(arguments)))
    surface, rotate, fit, network, plain = calls.seen
    for name, given, options in (surface, rotate):
        assert given[0].parameters.tobytes() == load("model.npz").parameters.tobytes()
        assert given[-1] is None
        assert (options["low"], options["high"]) == ([-1, -2, -3], 4), name
    for _, _, options in (surface, rotate, fit):
        assert (options["at"], options["inputs"], options["output"]) == ([1, -2, 0.5], [2, 1], 1)
    assert rotate[1][1] == "P.gif"
    assert rotate[2]["n_frames"] == 9
    _, x, y = fit[1]
    assert (x.shape, y.shape) == ((40, 3), (40, 2))
    np.testing.assert_allclose(y.column_at(1).values, x @ [1, 2, 3] + 1)
    np.testing.assert_array_equal(network[1][1], x)
    options = plain[2]
    assert (options["low"], options["high"], options["at"], options["output"]) == (None, None, None, 0)
    assert "inputs" not in options


def test_data_need_only_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, "plot_network")
    Path("inputs.csv").write_text("in1;in0;other\n2;1;text\n4;3;\n")
    assert_done(run(*line(f"plot {model()} P.png --kind network --data inputs.csv")))
    np.testing.assert_array_equal(calls.only[1][1], [[1, 2], [3, 4]])


@pytest.mark.parametrize("ending", sorted(FigureCanvasAgg.get_supported_filetypes()))
def test_every_ending_that_is_offered_can_be_written(ending: str) -> None:
    """Or is not offered, as .pgf, since there may be no LaTeX."""
    result = run("plot", model(), f"P.{ending}", "--kind", "network")
    if result.code == 0:
        assert os.path.getsize(f"P.{ending}") > 1000
    else:
        assert ending not in ("png", "svg", "pdf", "jpg")
        assert_refused(result, "PICTURE must be")


# ---- what is wrong ----


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("command", ["gaussian", "fit"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--plot F.txt", "--plot must be a name with the suffix ."),
        ("--plot F", "--plot must be a name with the suffix"),
        ("--plot F.mp4", "--plot must be a name with the suffix"),
        ("--plot .png", "--plot must be a name with the suffix"),
        ("--plot nowhere/F.png", "--plot must be a file in a folder that exists"),
        ("--plot folder.png", "--plot must be a file in a folder that exists"),
        ("--plot file.png/F.png", "--plot must be a file in a folder that exists"),
        ("--plot", "argument --plot: expected one argument"),
    ],
)
def test_a_bad_plot_is_found_before_the_training(command: str, arguments: str, message: str) -> None:
    start = ["gaussian"]
    if command == "fit":
        inputs, outputs = table(2, 1)
        start = ["fit", "data.csv", "--inputs", inputs, "--outputs", outputs]
    os.mkdir("folder.png")
    Path("file.png").touch()
    before = files()
    assert_refused(run(*start, *line(arguments)), message)
    assert files() == before


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--animate F.svg", "--animate must be a name with the suffix .gif, .mp4, .png"),
        ("--rotate F", "--rotate must be a name with the suffix .gif, .mp4, .png"),
        ("--animate nowhere/L.gif", "--animate must be a file in a folder that exists"),
        ("--rotate nowhere/L.gif", "--rotate must be a file in a folder that exists"),
        ("--animate folder.gif", "--animate must be a file in a folder that exists"),
        ("--rotate L.gif --frames 0", "--frames must be an integer"),
        ("--animate L.gif --frames -3", "--frames must be an integer"),
        ("--animate L.gif --frames 1.5", "argument --frames: must be an integer"),
        ("--animate L.gif --iterations -1", "iterations must be an integer of at least 0, got -1"),
        ("--animate L.gif --time-limit -1", "seconds must be"),
        ("--animate L.gif --hidden 0", "hidden_sizes[0] must be"),
    ],
)
def test_a_bad_film_is_found_before_the_training(arguments: str, message: str) -> None:
    os.mkdir("folder.gif")
    assert_refused(run("gaussian", *line(arguments)), message)
    assert files() == ["folder.gif"]


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("option", ["--plot", "--animate", "--rotate"])
def test_a_folder_that_can_not_be_written_to(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def access(path: Any, mode: int) -> bool:
        asked.append((Path(path), mode))
        return False

    monkeypatch.setattr(os, "access", access)
    assert_refused(
        run("gaussian", option, "F.png"), f"{option} must be in a folder that can be written to, got"
    )
    assert_refused(run("plot", model(), "P.png"), "PICTURE must be in a folder that can be written to")
    assert (Path.cwd(), os.W_OK) in asked


@pytest.mark.usefixtures("no_training")
def test_an_mp4_without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.animation.FFMpegWriter.isAvailable", lambda: False)
    message = "must be a .gif or .png if there is no ffmpeg, got 'L.mp4'"
    assert_refused(run("gaussian", "--animate", "L.mp4"), f"--animate {message}")
    assert_refused(run("plot", model(), "L.mp4"), f"PICTURE {message}")


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    "arguments",
    [
        "--save same.png --plot same.png",
        "--save same.png --plot ./same.png",
        "--animate same.gif --rotate same.gif",
        "--plot same.png --checkpoint same.png",
        "--plot same-0000.png --animate same.png",
        "--save ./same-0012.png --rotate same.png",
    ],
)
def test_two_results_in_one_file_are_an_error(arguments: str) -> None:
    assert_refused(run("gaussian", "--iterations", "10", *line(arguments)))
    assert files() == []


@pytest.mark.parametrize("link", [os.symlink, os.link, None])
@pytest.mark.parametrize(("arguments", "taken"), [("", "the model"), ("--data data.png", "--data")])
def test_a_picture_does_not_replace_what_it_shows(arguments: str, taken: str, link: Any) -> None:
    given = "data.png" if arguments else "model.png"
    table(2, 1, name="data.png")
    model(name="model.png")
    before = Path(given).read_bytes()
    if link is not None:
        link(given, "linked.png")
    picture = given if link is None else "linked.png"
    result = run("plot", "model.png", picture, *line(arguments))
    assert_refused(result, f"PICTURE must be another file than {taken}, got {picture!r}")
    assert Path(given).read_bytes() == before


def test_films_of_similar_names_are_different_files() -> None:
    assert_done(
        run("gaussian", "--iterations", "10", *line("--animate L.png --rotate L-0000.png --frames 1"))
    )
    assert "L-0000-0000.png" in files()


def test_the_name_of_an_output_is_no_file() -> None:
    save(NN(2, [5], 1, rng=1), "model", {"inputs": ["a", "b"], "outputs": ["model"]})
    assert_done(run(*line("plot model P.png --output model")))


def test_a_run_that_can_not_be_gone_on_with_draws_nothing() -> None:
    Path("run.npz").write_text("no checkpoint")
    assert_refused(run(*line("gaussian --resume run.npz --plot F.png --animate L.gif")), "run.npz")
    assert files() == ["run.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "PICTURE must be given, or --show"),
        ("--kind fit", "PICTURE must be given, or --show"),
        ("--show --kind rotate", "PICTURE must be given for --kind rotate"),
        ("P.txt", "PICTURE must be a name with the suffix"),
        ("P.svg --kind rotate", "PICTURE must be a name with the suffix .gif, .mp4, .png"),
        ("P.mp4 --kind surface", "PICTURE must be a name with the suffix"),
        ("nowhere/P.png", "PICTURE must be a file in a folder that exists"),
        ("nowhere/P.gif", "PICTURE must be a file in a folder that exists"),
        ("folder.png", "PICTURE must be a file in a folder that exists"),
        (
            "P.png --kind surfaces",
            "--kind must be one of surface, fit, network, rotate, got 'surfaces'; did you mean",
        ),
        ("P.png --kind fit", "--data must be given for --kind fit"),
        ("P.png --inputs in0,q", "--inputs must be one of in0, in1, got 'q'"),
        ("P.png --inputs in0", "inputs must be"),
        ("P.png --inputs in0,in0", "inputs must be two distinct"),
        ("P.png --output q", "--output must be one of out0, got 'q'"),
        ("P.png --output in0", "--output must be one of out0, got 'in0'"),
        ("P.png --target gauss", "--target must be one of gaussian, got 'gauss'"),
        ("P.png --low 1,2,3", "low must be a number or of shape (2,)"),
        ("P.png --high 1,2,3", "high must be a number or of shape (2,)"),
        ("P.png --low 3 --high 3", "high must be above low"),
        ("P.png --low nan", "low must be finite"),
        ("P.png --high inf", "high must be finite"),
        ("P.png --low a", "argument --low: must be numbers separated by commas, got 'a'"),
        ("P.png --low 1,,2", "argument --low: must be numbers separated by commas"),
        ("P.png --at 1,2,3", "at must be"),
        ("P.gif --at 1,2,3", "at must be"),
        ("P.gif --low 1,2,3", "low must be"),
        ("P.gif --frames 0", "frames must be"),
        ("P.gif --frames x", "argument --frames: must be an integer"),
        ("P.png --data empty.csv", "empty.csv: must have a header and rows, but is empty"),
        ("P.png --data other.csv", "in0"),
        ("P.png --data data.csv --delimiter ab", "delimiter"),
        ("P.png Q.png", "unrecognized arguments: Q.png"),
    ],
)
def test_bad_arguments_of_plot(arguments: str, message: str) -> None:
    table(2, 1)
    Path("empty.csv").touch()
    Path("other.csv").write_text("a,b\n1,2\n")
    os.mkdir("folder.png")
    name = model()
    before = files()
    assert_refused(run("plot", name, *line(arguments)), message)
    assert files() == before


def test_networks_that_have_no_surface() -> None:
    one = model(1)
    assert_refused(run("plot", one, "P.png"), "must be a network of two inputs or more")
    assert_refused(run("plot", one, "P.gif"), "must be a network of two inputs or more")
    three = model(3, 1, "three.npz")
    assert_refused(run("plot", three, "P.png", "--target", "gaussian"), "target.in_features must be")
    two = model(2, 2, "two.npz")
    assert_refused(run("plot", two, "P.gif", "--target", "gaussian"), "target.out_features must be")


def test_files_that_are_no_network() -> None:
    table(2, 1)
    assert_refused(
        run("plot", "data.csv", "P.png"),
        "data.csv is a table; did you mean crabnet-jit plot MODEL PICTURE --data data.csv?",
    )
    assert_done(run(*line("gaussian --iterations 1 --checkpoint run.npz")))
    assert_refused(run("plot", "run.npz", "P.png"), "run.npz is not a saved network")
    result = run("plot", "missing.npz", "P.png")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "missing.npz" in result.err
    result = run("plot", model(), "P.png", "--data", "missing.csv")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "P.png" not in files()


def test_plot_without_a_model() -> None:
    assert_refused(run("plot"), "the following arguments are required: model")


# ---- showing ----

NOTHING_SHOWN = "there is no display, or no toolkit for windows: nothing is shown"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("picture", ["", "P.png"])
def test_show_without_a_display_is_a_warning(picture: str) -> None:
    result = run("plot", model(), *line(picture), "--show", "--kind", "network")
    assert result == (0, "", f"crabnet-jit plot: warning: {NOTHING_SHOWN}\n")
    assert files() == sorted([*line(picture), "model.npz"])


@pytest.mark.filterwarnings("default")
def test_show_of_a_training_without_a_display_is_a_warning() -> None:
    result = run(*line("gaussian --iterations 10 --show"))
    assert result.code == 0
    assert result.err.startswith(f"crabnet-jit gaussian: warning: {NOTHING_SHOWN}\n")
    assert result.err.count("\n") == 3
    inputs, outputs = table(1, 1)
    result = run("fit", "data.csv", "--inputs", inputs, "--outputs", outputs, *QUICK, "--show")
    assert result.code == 0
    assert result.err.count("warning") == 1
    assert files() == ["data.csv"]


class Display:
    """Takes the place of windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[list[str]] = []
        monkeypatch.setattr("crabnet_jit.plotting.figures.can_show", lambda: True)
        monkeypatch.setattr("crabnet_jit.plotting.figures.show", self._show)

    def _show(self, figure: Any) -> None:
        assert figure.number in pyplot.get_fignums()  # otherwise there would be no window
        self.shown.append([axes.get_title() for axes in figure.axes])
        pyplot.close(figure)


@pytest.mark.parametrize("picture", ["", "--plot F.png"])
def test_fit_shows(picture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch)
    assert_done(run(*line("gaussian --iterations 20 --show"), *line(picture)))
    (titles,) = display.shown
    assert titles[:2] == ["target", "learned"]
    assert files() == picture.split()[1:]


def test_train_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch)
    inputs, outputs = table(1, 2)
    assert_done(run("fit", "data.csv", "--inputs", inputs, "--outputs", outputs, *QUICK, "--show"))
    assert len(display.shown) == 1
    assert display.shown[0].count("residuals") == 2


@pytest.mark.parametrize(
    "arguments", ["--show", "P.png --show", "--show --data data.csv", "--show --kind network"]
)
def test_plot_shows(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    table(2, 1)
    display = Display(monkeypatch)
    result = run("plot", model(), *line(arguments))
    assert result == (0, "", "")
    assert len(display.shown) == 1
    assert ("P.png" in files()) == ("P.png" in arguments)


def test_without_show_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    display = Display(monkeypatch)
    assert_done(run("plot", model(), "P.png", "--kind", "network"))
    assert_done(run(*line("gaussian --iterations 3 --plot F.png")))
    assert display.shown == []


def test_show_opens_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[list[int]] = []
    monkeypatch.setattr("crabnet_jit.plotting.figures.can_show", lambda: True)
    monkeypatch.setattr(pyplot, "show", lambda: opened.append(pyplot.get_fignums()))
    assert_done(run("plot", model(), "--show", "--kind", "network"))
    assert [len(numbers) for numbers in opened] == [1]


# ---- whole files ----


def interrupt_in(monkeypatch: pytest.MonkeyPatch, number: int, frame: int) -> None:
    """A signal comes when a film is at this frame, or a picture is drawn."""
    original, savefig = _films.write_film, Figure.savefig

    def write_film(figure: Any, draw: Callable[[int], None], *others: Any, **options: Any) -> Any:
        def drawn(k: int) -> None:
            draw(k)
            if k == frame:
                signal.raise_signal(number)

        return original(figure, drawn, *others, **options)

    def interrupted(*arguments: Any, **options: Any) -> None:
        savefig(*arguments, **options)
        signal.raise_signal(number)

    monkeypatch.setattr("crabnet_jit.plotting.animation.write_film", write_film)
    monkeypatch.setattr(Figure, "savefig", interrupted)


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ("plot model.npz P.gif --frames 2", signal.SIGINT),
        ("plot model.npz P.gif --frames 2", signal.SIGTERM),
        pytest.param("plot model.npz P.mp4 --frames 2", signal.SIGINT, marks=needs_ffmpeg),
        ("plot model.npz P.png --kind rotate --frames 2", signal.SIGTERM),
        ("plot model.npz P.png --kind network", signal.SIGINT),
        ("plot model.npz P.png --kind network", signal.SIGTERM),
        ("gaussian --iterations 3 --animate P.gif", signal.SIGINT),
    ],
)
def test_a_signal_while_a_picture_is_drawn(
    arguments: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}[number]
    model()
    for name in ("P.gif", "P.mp4", "P.png", "P-0000.png"):
        Path(name).write_text("before")
    before = files()
    interrupt_in(monkeypatch, number, 1)
    result = run(*line(arguments))
    assert result.code == code
    assert result.err.splitlines()[-1] == f"crabnet-jit {arguments.split(maxsplit=1)[0]}: {said}"
    assert files() == before
    for name in ("P.gif", "P.mp4", "P.png", "P-0000.png"):
        assert Path(name).read_text() == "before"


@pytest.mark.parametrize(
    "arguments",
    [
        "plot model.npz P.gif --frames 2",
        "plot model.npz P.png --kind network",
        "gaussian --iterations 3 --plot P.png",
        "gaussian --iterations 3 --animate P.gif --frames 2",
    ],
)
def test_a_full_disk_leaves_what_was_there(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    model()
    for name in ("P.gif", "P.png"):
        Path(name).write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    result = run(*line(arguments))
    assert result.code == 1
    assert result.err.splitlines()[-1].endswith("error: [Errno 28] No space left on device")
    assert files() == ["P.gif", "P.png", "model.npz"]
    assert Path("P.gif").read_text() == Path("P.png").read_text() == "before"


def test_a_file_that_was_there_is_replaced() -> None:
    for name in ("P.png", "P.gif"):
        Path(name).write_text("before")
        os.chmod(name, 0o640)
        assert_done(run("plot", model(), name, "--frames", "1"))
        assert frames(name) == 1
        assert os.stat(name).st_mode & 0o777 == 0o640
    assert files() == ["P.gif", "P.png", "model.npz"]


# ---- processes ----

PROGRAM = [sys.executable, "-m", "crabnet_jit"]


@pytest.mark.parametrize("missing", ["matplotlib", "PIL"])
def test_a_missing_matplotlib_is_one_line(missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
from crabnet_jit.cli.main import main
for arguments in sys.argv[1:]:
    print(main(arguments.split()), flush=True)
    print("--", file=sys.stderr, flush=True)
"""
    inputs, outputs = table(1, 1)
    train = f"fit data.csv --inputs {inputs} --outputs {outputs} --iterations 20 --hidden 2"
    wrong = [
        "gaussian --plot F.png",
        "gaussian --animate F.gif",
        "gaussian --rotate F.gif",
        "gaussian --show",
        f"{train} --plot F.png",
    ]
    wrong += [f"plot {model()} P.png", "plot model.npz P.gif", "plot model.npz --show"]
    right = ["gaussian --iterations 3", train]
    command = [sys.executable, "-c", code, *wrong, *right]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    codes = [text for text in result.stdout.splitlines() if not text.startswith("Iter")]
    assert codes == ["1"] * len(wrong) + ["0"] * len(right)
    said = result.stderr.split("--\n")
    for arguments, text in zip(wrong, said, strict=False):
        assert text.startswith(f"crabnet-jit {arguments.split()[0]}: error: pictures need matplotlib: ")
        assert "python -m pip install 'crabnet-jit[plot]'" in text
        assert text.count("\n") == 1
    assert result.stdout.count("Iter 0, ") == 1
    assert files() == ["data.csv", "model.npz"]


def test_an_unknown_backend_is_one_line() -> None:
    environment = {**os.environ, "MPLBACKEND": "nonsense"}
    command = [*PROGRAM, "plot", model(), "P.png"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr[-300:]
    assert "nonsense" in result.stderr


DRAWING = """
import sys
from crabnet_jit.cli.main import main
from crabnet_jit.plotting import animation
original = animation.write_film
def write_film(figure, draw, *others, **options):
    def drawn(k):
        draw(k)
        if k == 3:
            print("drawing", flush=True)
    return original(figure, drawn, *others, **options)
animation.write_film = write_film
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no groups of processes like these")
@pytest.mark.parametrize("ending", ["gif", "png", pytest.param("mp4", marks=needs_ffmpeg)])
def test_ctrl_c_at_a_terminal_while_a_film_is_drawn(ending: str) -> None:
    """All processes of the terminal get the signal, ffmpeg too."""
    film = f"film.{ending}"
    Path(film).write_text("before")
    arguments = ["plot", model(), film, "--kind", "rotate", "--frames", "500"]
    before = files()
    with subprocess.Popen(
        [sys.executable, "-c", DRAWING, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "drawing\n"
        os.killpg(process.pid, signal.SIGINT)
        timer = threading.Timer(60, process.kill)
        timer.start()
        out, err = process.communicate()
        timer.cancel()
    assert err == "crabnet-jit plot: interrupted\n"
    assert (process.returncode, out) == (130, "")
    assert files() == before
    assert Path(film).read_text() == "before"


def test_the_program_draws() -> None:
    command = [*PROGRAM, *line("gaussian --iterations 30 --animate L.gif --frames 2")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Iter 0, loss: ")
    assert result.stdout.count("\n") == 1
    assert result.stderr.count("\n") == 2
    assert frames("L.gif") == 3
