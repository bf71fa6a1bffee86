"""The house: each room imports what is below it, and some things have one place."""

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crabnet_jit

PACKAGE = Path(crabnet_jit.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: From the ground up. Rooms on one floor know nothing of each other.
FLOORS = [
    {"arrays", "other_names", "quiet_file", "summary"},
    {"check", "machine", "notebook"},
    {"places", "user_functions", "kernels"},
    {"archive", "components", "data"},
    {"network", "reading"},
    {"exchange", "training"},
    {"callbacks", "inspection"},
    {"article", "fitting", "warming"},
    {"__init__"},
    {"estimators", "plotting"},
    {"cli"},
    {"__main__"},
]


def module(path: Path) -> str:
    """The name of a file as others import it, without that of the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """What a file imports, wherever it does and whatever for; imports are absolute."""
    stub = path.with_suffix(".pyi")  # that of public names, which are imported when they are asked for
    for node in ast.walk(ast.parse((stub if stub.exists() else path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> Iterator[str]:
    """Of what a file imports, the modules of the package."""
    modules = {module(other) for other in FILES}
    for name in imports(path):
        if name.startswith("crabnet_jit."):
            parts = name.removeprefix("crabnet_jit.").split(".")
            names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
            found = (own for name in names for own in (name, f"{name}.__init__") if own in modules)
            yield next(found, "__init__")  # a public name of the package


def floor(name: str) -> int:
    """On which floor a module's room lies."""
    (level,) = (k for k, rooms in enumerate(FLOORS) if name.split(".", maxsplit=1)[0] in rooms)
    return level


@pytest.mark.parametrize("path", FILES, ids=module)
def test_imports_go_down(path: Path) -> None:
    room = module(path).split(".")[0]
    for name in own_imports(path):
        is_home = name.split(".")[0] == room
        assert is_home or floor(name) < floor(room), f"{module(path)} imports {name}"


def test_there_are_no_circles() -> None:
    graph = {module(path): set(own_imports(path)) for path in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the circle


ONE_PLACE = [
    ("machine", ("llvmlite", "numba.core", "numba.extending", "numba.np", "numba.misc", "numba.typed")),
    ("plotting", ("matplotlib", "mpl_toolkits", "PIL")),
    ("exchange estimators", ("sklearn",)),
    ("exchange", ("onnx", "safetensors", "sympy", "torch")),
    ("cli", ("argparse", "shtab")),
    ("reading", ("polars", "fastexcel")),
    ("fitting", ("dask", "distributed", "cloudpickle", "locket")),
]


@pytest.mark.parametrize("path", FILES, ids=module)
def test_some_things_are_known_in_one_room_only(path: Path) -> None:
    room = module(path).split(".")[0]
    for place, things in ONE_PLACE:
        for name in imports(path):
            is_one = name in things or name.startswith(tuple(f"{thing}." for thing in things))
            assert room in place.split() or not is_one, f"{module(path)} imports {name}"


def test_jit_options_live_in_one_file() -> None:
    assert [module(path) for path in FILES if "njit" in path.read_text()] == ["machine.jit"]


def test_each_folder_says_what_it_is_for() -> None:
    for folder in (path.parent for path in FILES if path.name == "__init__.py"):
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), folder


def test_the_package_and_its_command_line_do_not_load_matplotlib() -> None:
    code = "import sys, crabnet_jit.cli.main; print(sorted({'matplotlib', 'PIL'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_public_names_are_where_the_stub_says() -> None:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    named = {
        alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (listed,) = (ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))
    assert {name: f"crabnet_jit.{module}" for name, module in vars(crabnet_jit)["_MODULES"].items()} == named
    assert sorted(listed) == sorted(named) == crabnet_jit.__all__
    for name, module in named.items():
        assert getattr(crabnet_jit, name) is getattr(importlib.import_module(str(module)), name)
    assert {*named, "__version__"} <= {*dir(crabnet_jit)}
    with pytest.raises(AttributeError, match="module 'crabnet_jit' has no attribute 'nothing'"):
        getattr(crabnet_jit, "nothing")  # noqa: B009  # the error is the point


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["-V"], [], ["train"], ["points.csv"], ["--lr", "0.1"]],
)
def test_the_command_line_answers_without_loading_libraries(arguments: list[str]) -> None:
    code = f"""
import sys
from crabnet_jit.cli.main import main
try:
    main({arguments})
except SystemExit as end:
    own = {{"numba", "llvmlite", "numpy"}}
    if end.code == 0:
        own |= {{"difflib", "shtab", "crabnet_jit.cli.hints"}}
    print(end.code, sorted(own & sys.modules.keys()))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == (
        "0 []" if arguments in (["--help"], ["--version"], ["-V"]) else "2 []"
    )


def test_a_plain_run_imports_only_what_it_uses() -> None:
    code = """
import sys
from crabnet_jit.cli.main import main
main(["gaussian", "--iterations", "1", "--no-progress"])
print(*(name.removeprefix("crabnet_jit.") for name in sys.modules if name.startswith("crabnet_jit.")))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.splitlines()[-1].split())
    rooms = {name.split(".")[0] for name in loaded}
    assert not rooms & {"callbacks", "estimators", "exchange", "fitting", "inspection", "plotting", "reading"}
    assert not loaded & {"network.ensemble", "network.files", "training.population", "training.residuals"}
    assert len(loaded) <= 100  # each costs about 0.3 ms at every start: import others where they are used
