"""Examples in the README and in docstrings run, and the README's log is the article's."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import crabnet_jit
from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource

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


def test_every_public_class_has_an_example() -> None:
    for name in crabnet_jit.__all__:
        documented = getattr(crabnet_jit, name).__doc__
        assert documented, name


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_readme_snippets(snippet: str) -> None:
    if ">>>" in snippet:
        test = doctest.DocTestParser().get_doctest(snippet, {}, "README", "README.md", 0)
        flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
        runner = doctest.DocTestRunner(optionflags=flags)
        runner.run(test)
        assert runner.failures == 0
    else:
        exec(compile(snippet, "README.md", "exec"), {})


def test_readme_shows_the_articles_log(published_log: list[tuple[int, float]]) -> None:
    rows = re.findall(r"^\| (\d+) \| (\S+) \| (\S+) \|$", README, re.MULTILINE)
    assert [(int(i), float(article)) for i, _, article in rows] == published_log
    rng = StdRng(1)
    trainer = Trainer(NN(2, [8, 8], 1, rng), UniformSource(StandardGaussian(), rng=rng))
    log = trainer.run(110_001).log
    assert [(int(i), float(ours)) for i, ours, _ in rows] == log  # to the last bit, on any machine
    assert [loss for _, loss in log] == pytest.approx([loss for _, loss in published_log], rel=1e-10)
