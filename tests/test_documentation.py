"""Examples in the README and in docstrings run, and the README's log is the article's."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from PIL import Image

import crabnet_jit
from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource, plotting
from docs import make_gallery

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
MODULES = [
    m.name for m in pkgutil.walk_packages(crabnet_jit.__path__, "crabnet_jit.") if "__main__" not in m.name
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
    without |= {"Callback", "DivergenceError", "GradientCheck", "Run"}
    for name in set(crabnet_jit.__all__) - without:
        thing = getattr(crabnet_jit, name)
        if callable(thing):
            assert ">>>" in thing.__doc__, name


def test_every_picture_has_an_example_and_those_of_its_docstring_exist() -> None:
    for name in plotting.__all__:
        text = getattr(plotting, name).__doc__
        assert ">>>" in text, name
        pictures = re.findall(r"\.\. image:: /(\S+)", text)
        assert pictures or name == "save_figure", name
        for picture in pictures:
            assert (ROOT / picture).is_file(), picture


def test_the_gallery_is_the_one_that_its_examples_make() -> None:
    assert (ROOT / "docs/gallery.md").read_text() == make_gallery.text()
    pictures = {path.name for path in (ROOT / "docs/pictures").iterdir()}
    assert pictures == {example.picture for example in make_gallery.EXAMPLES}
    for picture in pictures:
        with Image.open(ROOT / "docs/pictures" / picture) as image:
            image.load()
            assert image.width >= 600


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_readme_snippets(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if ">>>" in snippet:
        test = doctest.DocTestParser().get_doctest(snippet, {}, "README", "README.md", 0)
        flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        runner = doctest.DocTestRunner(optionflags=flags)
        runner.run(test)
        assert runner.failures == 0
    else:
        exec(compile(snippet, "README.md", "exec"), {})


def test_tests_that_hold_promises_exist() -> None:
    promised = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs/reliability.md").read_text())
    assert len(promised) > 30
    for file, name in promised:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"


def test_readme_shows_the_articles_log(published_log: list[tuple[int, float]]) -> None:
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \|$", README, re.MULTILINE)
    assert [(int(i), float(article)) for i, _, article in rows] == published_log
    rng = StdRng(1)
    trainer = Trainer(NN(2, [8, 8], 1, rng), UniformSource(StandardGaussian(), rng=rng))
    log = trainer.run(110_001).log
    assert [(int(i), float(ours)) for i, ours, _ in rows] == log  # to the last bit, on any machine
    assert [loss for _, loss in log] == pytest.approx([loss for _, loss in published_log], rel=1e-10)
