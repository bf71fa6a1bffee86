"""Imports go one way: kernels know nothing of objects, objects nothing of the edge."""

import ast
from pathlib import Path

import pytest

import crabnet_jit

PACKAGE = Path(crabnet_jit.__file__).parent
EDGE = {"cli", "__main__"}


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted((PACKAGE / "kernels").glob("*.py")), ids=lambda path: path.name)
def test_kernels_import_only_numpy_numba_and_kernels(path: Path) -> None:
    standard = {
        "collections",
        "contextlib",
        "hashlib",
        "itertools",
        "math",
        "operator",
        "os",
        "pathlib",
        "shutil",
        "sys",
    }
    allowed = standard | {"time", "typing", "numpy", "numba", "llvmlite"}
    for name in imports(path):
        assert (
            name.split(".")[0] in allowed or name.startswith("crabnet_jit.kernels") or name == "crabnet_jit"
        )


@pytest.mark.parametrize(
    "path", sorted(p for p in PACKAGE.glob("*.py") if p.stem not in EDGE), ids=lambda path: path.name
)
def test_objects_do_not_import_the_edge(path: Path) -> None:
    assert not imports(path) & {f"crabnet_jit.{name}" for name in EDGE}


def test_jit_options_live_in_one_file() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.name != "_jit.py":
            assert "njit" not in path.read_text(), path
