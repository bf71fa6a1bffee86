"""Imports go one way: kernels know nothing of objects, objects nothing of the edge."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import crabnet_jit

PACKAGE = Path(crabnet_jit.__file__).parent
EDGE = {"cli", "commands", "pictures", "plotting", "tables", "__main__"}


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever it does; imports are absolute."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {"." * node.level + f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("*.py")), ids=lambda path: path.name)
def test_kernels_import_only_numpy_numba_and_kernels(path: Path) -> None:
    tools = {"numpy", "numba", "llvmlite"}
    for name in imports(path):
        top = name.split(".")[0]
        assert top in tools | sys.stdlib_module_names or name.startswith("crabnet_jit.kernels.")


@pytest.mark.parametrize(
    "path", sorted(p for p in PACKAGE.glob("*.py") if p.stem not in EDGE), ids=lambda path: path.name
)
def test_objects_do_not_import_the_edge(path: Path) -> None:
    for name in imports(path):
        assert not name.startswith(tuple(f"crabnet_jit.{edge}" for edge in EDGE))


@pytest.mark.parametrize(
    "path",
    sorted(p for p in PACKAGE.rglob("*.py") if p.parent.name != "plotting"),
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_pictures_are_drawn_by_the_plotting_part_alone(path: Path) -> None:
    drawing = {"matplotlib", "mpl_toolkits", "PIL"}
    assert not drawing & {name.split(".")[0] for name in imports(path)}


def test_the_package_and_its_command_line_do_not_load_matplotlib() -> None:
    code = "import sys, crabnet_jit.cli; print(sorted({'matplotlib', 'PIL'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_jit_options_live_in_one_file() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name != "_jit.py":
            assert "njit" not in path.read_text(), path
