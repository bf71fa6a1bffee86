"""Examples in the README, in pages and in docstrings run; every public name has a place in the reference."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from optional import OF_TORCH, WITHOUT_TORCH
from PIL import Image

import crabnet_jit
from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource, estimators, fit, plotting
from crabnet_jit.cli.commands import COMMANDS
from crabnet_jit.cli.main import main as crabnet_jit_command
from docs import make_gallery

ROOT = Path(__file__).parents[1]
NOT_HERE = ["crabnet_jit.__main__", *(OF_TORCH if WITHOUT_TORCH else ())]
MODULES = [
    m.name for m in pkgutil.walk_packages(crabnet_jit.__path__, "crabnet_jit.") if m.name not in NOT_HERE
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_every_public_thing_is_documented_and_what_can_be_called_has_an_example() -> None:
    without = {
        "Activation",
        "Loss",
        "Optimizer",
        "Source",
        "Target",
        "InvalidArgumentError",
        "FileFormatError",
    }
    without |= {"Diagnosis", "LayerDiagnosis", "FitHistory", "History", "OptimizerState", "Scores"}
    without |= {"Standardization", "load", "save"}
    without |= {"Callback", "ClusterError", "DivergenceError", "GradientCheck", "Run"}
    for name in set(crabnet_jit.__all__) - without:
        thing = getattr(crabnet_jit, name)
        if callable(thing):
            assert ">>>" in thing.__doc__, name


@pytest.mark.parametrize("module", [crabnet_jit, plotting, estimators], ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(module: ModuleType) -> None:
    pages = [text for page, text in PAGES.items() if page.startswith("docs/reference/")]
    pages = [text for text in pages if f".. currentmodule:: {module.__name__}\n" in text]
    entry = r"^   (\w+)$|^\.\. autofunction:: (\w+)$|^```\{py:data\} (\w+)$"  # in a list, alone, by hand
    found = [max(names) for text in pages for names in re.findall(entry, text, re.MULTILINE)]
    assert sorted(found) == sorted(module.__all__)


def arguments_of_the_page() -> list[tuple[str, str]]:
    """Names and defaults in the tables of the page about `fit`."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \| \S", PAGES["docs/reference/fit.md"], re.MULTILINE)
    return [(name, default.strip("`")) for names, default in rows for name in re.findall(r"\w+", names)]


def test_the_page_about_fit_has_every_argument_and_its_default() -> None:
    found = dict(arguments_of_the_page())
    parameters = inspect.signature(fit).parameters
    assert sorted(found) == sorted(parameters)
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty:
            assert found[name] == "required"
        elif name == "dtype":
            assert np.dtype(found[name]) == parameter.default
        else:
            assert ast.literal_eval(found[name]) == parameter.default, name


def test_the_reference_has_the_help_of_every_command() -> None:
    found = re.findall(r"^```\{help\} (\w+)$", PAGES["docs/reference/command_line.md"], re.MULTILINE)
    assert sorted(found) == sorted(COMMANDS)


def test_the_page_about_installing_has_every_extra_for_users() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    of_developers = {"test", "bench", "peers", "dev"}
    rows = re.findall(r"^\| `(\w+)` \|", PAGES["docs/how_to/install.md"], re.MULTILINE)
    assert sorted(rows) == sorted(extras.keys() - of_developers)


def test_every_picture_has_an_example_and_those_of_its_docstring_exist() -> None:
    for name in plotting.__all__:
        text = getattr(plotting, name).__doc__
        assert ">>>" in text, name
        pictures = re.findall(r"\.\. image:: /(\S+)", text)
        assert pictures or name == "save_figure", name
        for picture in pictures:
            assert (ROOT / "docs" / picture).is_file(), picture


def test_the_gallery_is_the_one_that_its_examples_make() -> None:
    assert (ROOT / "docs/gallery.md").read_text() == make_gallery.text()
    pictures = {path.name for path in (ROOT / "docs/pictures").iterdir()}
    assert pictures == {example.picture for example in make_gallery.EXAMPLES}
    for picture in pictures:
        with Image.open(ROOT / "docs/pictures" / picture) as image:
            image.load()
            assert image.width >= 600


# Pages whose snippets run elsewhere: the gallery's make its pictures, and the gate's are files of a project.
ELSEWHERE = {"docs/gallery.md", "docs/how_to/gate.md"}
PAGES = {
    str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md"))
}


def blocks_of(page: str) -> list[tuple[str, str]]:
    """The language and the text of each snippet: Python, or commands."""
    return re.findall(r"^```(python|console)\n(.*?)^```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)


def snippets_of(page: str) -> list[str]:
    return [text for language, text in blocks_of(page) if language == "python"]


def sessions() -> Iterator[Any]:
    """Snippets that run one after the other: those of a tutorial, all commands of a page, or a single one."""
    for page in sorted(PAGES.keys() - ELSEWHERE):
        blocks = [block for block in blocks_of(page) if not (WITHOUT_TORCH and "import torch" in block[1])]
        commands = [block for block in blocks if block[0] == "console"]
        if page.startswith("docs/tutorials/"):
            yield pytest.param(blocks, id=page)
        else:
            snippets = [block for block in blocks if block[0] == "python"]
            yield from (pytest.param([block], id=f"{page}-{k}") for k, block in enumerate(snippets))
            if any("crabnet-jit" in text for _, text in commands):
                yield pytest.param(commands, id=f"{page}-commands")


@pytest.mark.parametrize("blocks", list(sessions()))
def test_snippets(blocks: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = np.column_stack([*rng.uniform(size=(3, 100))])
    np.savetxt("points.csv", table, delimiter=",", header="x,y,z", comments="")
    np.savetxt("new.csv", table[:5], delimiter=",", header="x,y,z", comments="")
    names: dict[str, Any] = {}
    for language, text in blocks:
        if language == "console":
            run_commands(text)
        elif ">>>" in text:
            test = doctest.DocTestParser().get_doctest(text, names, "snippet", None, 0)
            flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
            runner = doctest.DocTestRunner(optionflags=flags)
            runner.run(test, clear_globs=False)
            assert runner.failures == 0
            names = test.globs
        else:
            exec(compile(text, "snippet", "exec"), names)


def run_commands(text: str) -> None:
    """Those of crabnet-jit; of the article's job, a few iterations and pictures. test_cache.py warms up."""
    for line in re.findall(r"^crabnet-jit (.*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words[0] == "warmup":
            continue
        few = ["--iterations", "100", "--frames", "2"] if words[0] == "gaussian" else []
        assert crabnet_jit_command([*words, *few]) == 0, line


def snippet_with(text: str, page: str) -> str:
    (snippet,) = [part for part in snippets_of(page) if text in part]
    return snippet


def test_the_function_of_the_readme_has_the_values_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    snippet = snippet_with("def ripple", "README.md")
    exec(compile(snippet, "README.md", "exec"), {})
    printed = [f"{float(number):.3f}" for number in re.findall(r"\d\.\d+", capsys.readouterr().out)]
    assert tuple(printed) == re.findall(r"# \[\[(\d\.\d+)\]\] and \[(\d\.\d+)\]", snippet)[0]


def test_the_run_that_the_guide_watches_learns_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = "docs/how_to/resume.md"
    exec(compile(snippet_with("def show(run)", page), page, "exec"), {})
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(iteration) for iteration, _ in rows] == [20_000, 40_000, 60_000, 80_000]
    said = re.search(r"prints the running loss, (.*?), and stops there", PAGES[page])
    assert said is not None
    assert [f"{float(loss):.3f}" for _, loss in rows] == re.findall(r"\d\.\d+", said[1])


def test_the_guide_sees_the_network_learn_that_its_picture_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    page = "docs/how_to/pictures.md"
    snippet = snippet_with("animate_surface(net, snapshots", page)
    exec(compile(snippet.replace("animate_surface(net", "print(net"), page, "exec"), names)
    rng = StdRng(1)  # of `crabnet-jit gaussian`, which made the picture
    trainer = Trainer(NN(2, [8, 8], 1, rng), UniformSource(StandardGaussian(), rng=rng))
    trainer.run(120_000)
    assert names["net"].parameters.tobytes() == trainer.net.parameters.tobytes()


def test_the_page_says_which_seeds_of_the_article_get_stuck() -> None:
    said = "with seeds 2 to 5 the same job gets stuck at an error of 0.09 to 0.25"
    assert said in " ".join(PAGES["docs/explanation/original.md"].split())
    axis = np.linspace(-3, 3, 101)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    errors = []
    for seed in (2, 3, 4, 5):
        rng = StdRng(seed)
        net = NN(2, [8, 8], 1, rng)
        Trainer(net, UniformSource(StandardGaussian(), rng=rng)).run(120_000)
        errors.append(float(((net.predict(points) - StandardGaussian()(points)) ** 2).mean()))
    assert 0.085 < min(errors) < max(errors) < 0.25


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", (ROOT / page).read_text()):
        assert link.startswith("https://") or (ROOT / link).is_file(), link


def test_the_readme_is_short() -> None:
    assert PAGES["README.md"].count("\n") <= 150


def test_tests_that_hold_promises_exist() -> None:
    promised = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGES["docs/explanation/reliability.md"])
    assert len(promised) > 30
    for file, name in promised:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"


def test_the_page_shows_the_articles_log(published_log: list[tuple[int, float]]) -> None:
    page = PAGES["docs/explanation/original.md"]
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \|$", page, re.MULTILINE)
    assert [(int(i), float(article)) for i, _, article in rows] == published_log
    rng = StdRng(1)
    trainer = Trainer(NN(2, [8, 8], 1, rng), UniformSource(StandardGaussian(), rng=rng))
    log = trainer.run(110_001).log
    assert [(int(i), float(ours)) for i, ours, _ in rows] == log  # to the last bit, on any machine
    assert [loss for _, loss in log] == pytest.approx([loss for _, loss in published_log], rel=1e-10)
