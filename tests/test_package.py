"""What an index will say of the package, and that the files that say it agree."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import crabnet_jit

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: For those who work on the package; all others are for its users.
OF_DEVELOPERS = {"test", "docs", "bench", "peers", "dev"}
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def test_the_version_is_that_of_the_changelogs_first_entry() -> None:
    entries = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, date = re.fullmatch(r"(\S+) - (\d{4}-\d\d-\d\d)", entries[0]).groups()  # type: ignore[union-attr]
    assert version == crabnet_jit.__version__
    assert date


def test_all_holds_every_extra_of_users() -> None:
    (names,) = re.findall(r"^crabnet-jit\[(.+)\]$", "\n".join(EXTRAS["all"]), re.MULTILINE)
    assert set(names.split(",")) == EXTRAS.keys() - OF_DEVELOPERS - {"all"}


def test_classifiers_name_what_ci_runs() -> None:
    pythons = re.findall(r"find_python (\d\.\d+)\)", (ROOT / ".ci/run").read_text())
    named = [text for text in PROJECT["classifiers"] if re.search(r"Python :: \d\.|Operating System", text)]
    versions = [f"Programming Language :: Python :: {version}" for version in pythons]
    assert sorted(named) == sorted([*versions, "Operating System :: POSIX :: Linux"])
    assert PROJECT["requires-python"] == f">={min(pythons, key=lambda version: int(version.split('.')[1]))}"


def test_addresses_are_those_of_asv() -> None:
    home = json.loads((ROOT / "asv.conf.json").read_text())["project_url"]
    assert PROJECT["urls"]["Repository"] == home
    assert all(url.startswith(home) for url in PROJECT["urls"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_use_what_cannot_change_and_may_do_little(path: Path) -> None:
    text = path.read_text()
    uses = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in uses)
    assert "\npermissions: {}\n" in text
    assert set(re.findall(r"^ +([\w-]+): write", text, re.MULTILINE)) <= {"id-token"}
