"""The cache of machine code, with real processes: right, bounded, shared; and users' functions, shared."""

import gc
import os
import pickle
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import copy as shallow_copy
from copy import deepcopy
from pathlib import Path
from types import FunctionType
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import config
from numba.core.codegen import JITCodeLibrary
from numba.core.event import install_recorder

import crabnet_jit.kernels
from crabnet_jit import NN, CustomActivation, CustomLoss, Trainer, UniformSource
from crabnet_jit.machine.cache import _MARKER, find_directory, fingerprint
from crabnet_jit.machine.inner import InnerLibrary
from crabnet_jit.machine.jit import entry_point, kernel, users_kernel

PACKAGE = Path(crabnet_jit.__file__).parent

RUN = """
from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource
net = NN(2, [3], 1, rng=1)
Trainer(net, UniformSource(StandardGaussian(), rng=2)).run(5)
print(net.parameters.sum().hex())
"""


def start(cache: Path, package: Path = PACKAGE, **environment: str) -> "subprocess.Popen[str]":
    variables = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache),
        "PYTHONPATH": str(package.parent),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-c", RUN], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert err == ""
    return out


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package's sources."""
    ignore = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "elsewhere" / "crabnet_jit", ignore=ignore))


@pytest.mark.slow  # compiles in processes of its own
def test_right_after_a_change_in_a_file_that_kernels_inline(tmp_path: Path, copy: Path) -> None:
    # Python itself would take its own old byte code, if it kept any.
    no_pyc = {"PYTHONDONTWRITEBYTECODE": "1"}
    before = finish(start(tmp_path / "cache", copy, **no_pyc))
    assert finish(start(tmp_path / "cache", copy, **no_pyc)) == before
    source = copy / "kernels" / "optimizers.py"
    stamp = source.stat()
    changed = source.read_text().replace("-= rate * gradients", "+= rate * gradients")
    assert changed != source.read_text()
    source.write_text(changed)
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # even where the clock does not show it
    assert finish(start(tmp_path / "cache", copy, **no_pyc)) != before
    source.write_text(changed.replace("+= rate * gradients", "-= rate * gradients"))
    assert finish(start(tmp_path / "cache", copy, **no_pyc)) == before


def in_a_zip(package: Path) -> Path:
    """The package in a file: a folder in name only."""
    archive = shutil.make_archive(str(package.parent / "packed"), "zip", package.parent, package.name)
    return Path(archive) / package.name


def as_byte_code(package: Path) -> Path:
    """The package without its sources."""
    command = [sys.executable, "-m", "compileall", "-q", "-b", "-f", str(package)]
    subprocess.run(command, check=True)
    target = package.parent / "sourceless" / package.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(package, target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return target


def as_sources(package: Path) -> Path:
    """As it is."""
    return package


@pytest.mark.slow  # compiles six times
@pytest.mark.parametrize("packed", [as_sources, as_byte_code, in_a_zip])
def test_a_new_release_never_runs_the_old_ones_machine_code(
    packed: Callable[[Path], Path], tmp_path: Path, copy: Path
) -> None:
    ordinary = dict.fromkeys(("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"), "")
    before = finish(start(tmp_path / "cache", packed(copy), **ordinary))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert finish(start(tmp_path / "cache", packed(copy), **ordinary)) == before
    assert len(list((tmp_path / "cache").iterdir())) == 1
    source = copy / "kernels" / "optimizers.py"
    source.write_text(source.read_text().replace("-= rate * gradients", "+= rate * gradients"))
    assert finish(start(tmp_path / "cache", packed(copy), **ordinary)) != before


def test_where_no_module_can_be_found_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(crabnet_jit.kernels, "__path__", [])
    assert fingerprint() is None
    assert find_directory() is None
    assert not list(tmp_path.iterdir())


def test_the_package_needs_no_metadata_of_an_installation(copy: Path) -> None:
    program = f"""
import sys
sys.path[:] = [{str(copy.parent)!r}] + [path for path in sys.path if "crabnet" not in path]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import importlib.metadata
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
import crabnet_jit.kernels
print(crabnet_jit.__version__, crabnet_jit.__file__)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == f"{crabnet_jit.__version__} {copy / '__init__.py'}\n"


@pytest.mark.slow
def test_eight_processes_start_cold_and_later_ones_add_nothing(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(8)]
    results = {finish(process) for process in processes}
    assert len(results) == 1
    filled = files(tmp_path)
    assert filled
    assert not [name for name in filled if "tmp" in name]
    for _ in range(2):
        assert {finish(start(tmp_path))} == results
        assert files(tmp_path) == filled


@pytest.mark.slow
def test_nothing_is_written_into_a_read_only_package(tmp_path: Path, copy: Path) -> None:
    folders = [copy, *(path for path in copy.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        before = files(copy)
        home = {
            "HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path / "user"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment = {**home, "NUMBA_CACHE_DIR": ""}
        first = finish(start(tmp_path, copy, **environment))
        assert files(copy) == before
        filled = files(tmp_path / "user")
        assert any("train-" in name for name in filled)
        assert finish(start(tmp_path, copy, **environment)) == first
        assert files(tmp_path / "user") == filled
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.slow
def test_no_place_to_write_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert finish(start(blocked)) == finish(start(tmp_path / "cache"))


def test_only_what_kernels_are_made_of_is_in_the_fingerprint(copy: Path) -> None:
    def taken() -> str:
        program = "from crabnet_jit.machine.cache import fingerprint; print(fingerprint())"
        environment = {**os.environ, "PYTHONPATH": str(copy.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    before = taken()
    for name, is_part in (("plotting/fit", False), ("cli/main", False), ("kernels/linear", True)):
        with (copy / f"{name}.py").open("a") as file:
            file.write("# one more remark\n")
        assert (taken() != before) == is_part, name


def test_an_import_makes_no_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", "import crabnet_jit"], env=environment, check=True)
    assert not (tmp_path / "cache").exists()


def test_switches_that_change_machine_code_change_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint()
    assert fingerprint() == before
    monkeypatch.setattr(config, "BOUNDSCHECK", 1 - (config.BOUNDSCHECK or 0))
    assert fingerprint() != before


def test_folders_unused_for_a_month_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    cases = [("crabnet_jit-old", 40), ("crabnet_jit-recent", 10), ("crabnet_jit-0.1.0", 400), ("other", 400)]
    for name, days in cases:
        (tmp_path / name).mkdir()
        if name in ("crabnet_jit-old", "crabnet_jit-recent"):
            (tmp_path / name / _MARKER).touch()
        used = time.time() - days * 24 * 3600
        os.utime(tmp_path / name, (used, used))
    directory = find_directory()
    assert directory is not None
    kept = {directory.name, "crabnet_jit-recent", "crabnet_jit-0.1.0", "other"}
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.slow
def test_damaged_files_count_as_missing_and_are_replaced(tmp_path: Path) -> None:
    expected = finish(start(tmp_path))
    kernels = [path for path in tmp_path.rglob("*-*") if path.is_file()]
    assert len(kernels) > 1
    for k, path in enumerate(kernels):
        data = path.read_bytes()
        path.write_bytes([b"", data[: len(data) // 2], data[:-1] + bytes([data[-1] ^ 1])][k % 3])
    assert finish(start(tmp_path)) == expected
    assert finish(start(tmp_path)) == expected


def test_a_cache_that_can_not_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function = kernel(lambda x: 2 * x)
    monkeypatch.setattr("crabnet_jit.machine.cache.cache_directory", lambda: tmp_path / "gone")
    assert entry_point(function, "double")(4) == 8
    monkeypatch.setattr("crabnet_jit.machine.cache.cache_directory", lambda: tmp_path)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("crabnet_jit.machine.cache.os.replace", full)
        assert entry_point(function, "double")(4) == 8
    assert not list(tmp_path.iterdir())
    assert entry_point(function, "double")(4) == 8
    assert len(list(tmp_path.iterdir())) == 1


def test_kernels_made_by_one_function_have_files_of_their_own(tmp_path: Path) -> None:
    program = """
import numpy as np
from crabnet_jit.kernels.entries import activation_forward
x, y, dy_dx = np.full((1, 16), 0.5), np.empty((1, 16)), np.empty((1, 16))
for name in ("tanh", "sigmoid"):
    activation_forward[name](x, 0.0, y, dy_dx)
    print(round(y[0, 0], 6), len(activation_forward[name].stats.cache_hits))
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert outputs[1] == "0.462117 1\n0.622459 1\n"


def test_a_run_allocates_nothing() -> None:
    program = """
from numba.core.runtime import rtsys
from crabnet_jit import NN, Trainer, UniformSource, StandardGaussian
def allocations(n):
    trainer = Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1), chunk_size=n)
    trainer.run(n)  # starts the counters, the first time
    before = rtsys.get_allocation_stats()
    trainer.run(n)
    after = rtsys.get_allocation_stats()
    return after.alloc - before.alloc, after.mi_alloc - before.mi_alloc
assert allocations(1) == allocations(1000), (allocations(1), allocations(1000))
"""
    environment = {**os.environ, "NUMBA_NRT_STATS": "1"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.slow
def test_kernels_of_several_processes_do_not_take_one_anothers_place(tmp_path: Path) -> None:
    program = """
import sys
import numpy as np
from crabnet_jit.kernels.entries import activation_forward
formulas = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sine": np.sin}
for name in sys.argv[1:]:
    x, y, dy_dx = np.linspace(-1, 1, 16).reshape(1, 16), np.empty((1, 16)), np.empty((1, 16))
    activation_forward[name](x, 1.0, y, dy_dx)
    np.testing.assert_allclose(y, formulas[name](x), rtol=1e-14, err_msg=name)
    print(next(iter(activation_forward[name].overloads.values())).fndesc.llvm_func_name)
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def run(*names: str) -> str:
        command = [sys.executable, "-c", program, *names]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    names = ["tanh", "relu", "sine"]
    for name in names:
        run(name)
    symbols = run(*names).splitlines()
    assert len(set(symbols)) == 3
    assert run(*names[::-1]).splitlines() == symbols[::-1]


# ---- kernels that are only parts of others ----

LOADS = """
from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource
from crabnet_jit.kernels.entries import train
net = NN(2, [3], 1, rng=1)
Trainer(net, UniformSource(StandardGaussian(), rng=2)).run(5)
assert sum(train.stats.cache_misses.values()) == 0, train.stats
"""
COMPILES = """
import numba
import numpy as np
from crabnet_jit import NN, CustomActivation, CustomLoss, Trainer, UniformSource

@numba.njit
def everything(x):
    counts = {"a": 1}
    texts = [str(n) for n in range(3)]
    with numba.objmode(n="int64"):
        n = len("abc")
    return np.linalg.norm(x) + np.sort(x)[0] + counts["a"] + len(texts[0]) + n + np.percentile(x, 50)

assert everything(np.array([3.0, 4.0])) == 5 + 3 + 1 + 1 + 3 + 3.5

@numba.vectorize
def twice(x):
    return 2 * x

assert twice(2.0) == 4.0

@numba.njit
def target(x, y):
    return x * y

other = NN(2, [3], 1, rng=1, activation=CustomActivation(lambda x: x * x, lambda x: 2 * x), dtype="float32")
loss = CustomLoss(lambda x, t: (x - t) ** 2, lambda x, t: 2 * (x - t))
source = UniformSource(target, low=-1.0, high=1.0, rng=2)
losses = Trainer(other, source, loss=loss, optimizer="adam", learning_rate=1e-3, dropout=0.1).run(5).losses
assert np.isfinite(losses).all()
"""


@pytest.mark.slow
def test_compiling_works_before_and_after_kernels_came_from_the_cache(tmp_path: Path) -> None:
    """What kernels from the cache need not load, compiling finds all the same."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_BOUNDSCHECK", None)
    fill = LOADS.partition("assert")[0]
    for program in (fill, LOADS + COMPILES, COMPILES + LOADS):
        command = [sys.executable, "-c", program]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]


LINEAR_ALGEBRA = """
import sys
import numba
import numpy as np

if "kernels first" in sys.argv:
    from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource
    Trainer(NN(2, [3], 1, rng=1), UniformSource(StandardGaussian(), rng=2)).run(5)
    assert "scipy.linalg" not in sys.modules

@numba.njit
def linear_algebra(a, b):
    return a @ b, np.linalg.solve(a, b), np.convolve(a[0], b[0]), np.linalg.svd(a)[1], np.dot(a[0], b[0])

a, b = np.arange(9.0).reshape(3, 3) ** 2, np.eye(3) + 0.5
print([np.asarray(result).tolist() for result in linear_algebra(a, b)])
"""


@pytest.mark.slow
def test_kernels_are_compiled_without_scipy_and_linear_algebra_with_it(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    environment.pop("NUMBA_BOUNDSCHECK", None)
    results = []
    for order in ("kernels first", "linear algebra alone"):
        command = [sys.executable, "-W", "error", "-c", LINEAR_ALGEBRA, order]
        results.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=False))
        assert results[-1].returncode == 0, results[-1].stderr[-2000:]
    assert results[0].stdout == results[1].stdout


def library_of(function: Any, *arguments: Any) -> type:
    function.compile(tuple(map(numba.typeof, arguments)))
    return type(next(iter(function.overloads.values())).library)


def test_only_our_own_kernels_are_compiled_as_parts_of_others() -> None:
    def plain(x: float) -> float:
        return 2 * x

    assert library_of(kernel(plain), 1.0) is InnerLibrary
    assert library_of(users_kernel(plain), 1.0) is JITCodeLibrary
    assert library_of(entry_point(kernel(plain)), 1.0) is JITCodeLibrary
    assert library_of(numba.njit(plain), 1.0) is JITCodeLibrary
    assert entry_point(kernel(plain))(3.0) == 6.0


def test_where_numba_lacks_something_kernels_are_compiled_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(x: float) -> float:
        return 2 * x

    monkeypatch.setattr("crabnet_jit.machine.inner._NEEDED", ("_something_else",))
    assert library_of(kernel(plain), 1.0) is JITCodeLibrary
    assert entry_point(kernel(plain))(3.0) == 6.0


# ---- compiling ahead ----

AFTER_WARMUP = """
import sys
import numpy as np
from crabnet_jit import fit
from crabnet_jit.cli.main import main

for more in ([], ["--preset", "fast", "--dtype", "float32"], ["--preset", "best"], ["--batch-size", "200"]):
    assert main(["gaussian", "--iterations", "20", *more]) == 0
rows = np.random.default_rng(0).normal(size=(90, 2))
with open(sys.argv[1], "w") as file:
    file.write("x,y\\n" + "".join(f"{x},{y}\\n" for x, y in rows))
data = ["fit", sys.argv[1], "--inputs", "x", "--outputs", "y", "--iterations", "50", "--no-progress"]
for more in (
    [], ["--l1", "0.1", "--clip-norm", "1", "--dropout", "0.2"], ["--loss", "huber", "--dtype", "float32"],
    ["--activation", "relu", "--optimizer", "sgd", "--validation", "0", "--batch-size", "8"],
    ["--optimizer", "levenberg_marquardt", "--l2", "0.1", "--validation", "0.2"],
    ["--optimizer", "levenberg_marquardt", "--loss", "huber", "--hidden", "2"],
):
    assert main([*data, *more]) == 0
for loss in ("mse", "cross_entropy"):
    for size in (10, 90):
        targets = rows[:, 1] if loss == "mse" else np.arange(90) % 3
        options = {"loss": loss, "batch_size": size, "n_iterations": 50, "validation": 0.2}
        fit(rows[:, :1], targets, activation=["gelu", "sine"], sample_weight=np.arange(90), **options)
    if loss == "mse":
        fit(rows[:, :1], targets, optimizer="bayesian_regularization").predict(rows[:, :1], return_std=True)
    options = {"loss": loss, "optimizer": "levenberg_marquardt", "n_iterations": 5}
    fit(rows[:, :1], targets, activation=["gelu", "sine"], sample_weight=np.arange(90), **options)
"""


@pytest.mark.slow
def test_the_command_warmup_compiles_all_that_is_needed_later(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    environment.pop("NUMBA_BOUNDSCHECK", None)
    names = []
    for arguments in (["-m", "crabnet_jit", "warmup"], ["-c", AFTER_WARMUP, str(tmp_path / "points.csv")]):
        command = [sys.executable, *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        names.append(sorted(files(cache)))
    assert len(names[0]) > 50
    assert names[1] == names[0]


# ---- compiled functions of others ----

FOREIGN = """
import sys
import numba
import numpy as np
from crabnet_jit import NN
from crabnet_jit.kernels.entries import predict
from crabnet_jit.kernels.panels import pack, unpack

activation, way = sys.argv[1:]
net = NN(2, [5], 1, rng=1, activation=activation)
net.parameters -= 0.4
view, calls, workspace = net.kernel_view(), net.calls(), net.workspace(1)
rows = np.linspace(-1, 1, 20).reshape(10, 2)
x, y = pack(rows), np.zeros((1, 1, 1, 16))

@numba.njit(cache=True)
def holds_network(calls, x, workspace, y):
    predict(view, calls, x, workspace, y)

@numba.njit(cache=True)
def holds_both(x, workspace, y):
    predict(view, calls, x, workspace, y)

if way == "holds network":
    compiled, arguments = holds_network, (calls, x, workspace, y)
else:
    compiled, arguments = holds_both, (x, workspace, y)
try:
    compiled(*arguments)
except numba.core.errors.NumbaError as error:
    assert "calls" in str(error), error
    print("refused")
else:
    assert np.array_equal(unpack(y, 10), net.get_output(rows))
    print("right", sum(compiled.stats.cache_hits.values()))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "way", "expected"),
    [
        ("relu", "holds network", ["right 0", "right 1"]),
        ("relu", "holds both", ["right 0", "right 1"]),
        ("tanh", "holds network", ["right 0", "right 1"]),
        ("tanh", "holds both", ["refused", "refused"]),
    ],
)
def test_a_foreign_cached_function_that_holds_a_network(
    tmp_path: Path, activation: str, way: str, expected: list[str]
) -> None:
    """No address of one process reaches the next: what could carry it there is not compiled."""
    program = tmp_path / "foreign.py"
    program.write_text(FOREIGN)
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    lines = []
    for _ in expected:
        command = [sys.executable, str(program), activation, way]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        lines.append(result.stdout.strip())
    assert lines == expected


# ---- functions of users ----


def square(x: float) -> float:
    return x * x


def double(x: float) -> float:
    return 2 * x


def squares() -> tuple[Any, Any]:
    """New functions, each time it is called."""
    return lambda x: x * x, lambda x: 2 * x


def times_compiled(act: Callable[[], object]) -> int:
    """How many functions are compiled meanwhile."""
    with install_recorder("numba:compile") as recorder:
        act()
    return sum(event.is_start for _, event in recorder.buffer)


def network(activation: Any) -> NN:
    return NN(2, [4, 4], 1, rng=1, activation=activation)


X = np.array([[0.5, -1.0], [2.0, 0.25]])


def test_an_activation_is_compiled_once_for_all_networks() -> None:
    activation = CustomActivation(*squares())
    network(activation).get_output(X)

    def again() -> None:
        nets = [network(activation) for _ in range(5)]
        nets.append(network(CustomActivation(**activation.options())))
        nets += [deepcopy(nets[0]), shallow_copy(nets[0])]
        assert len({tuple(net.calls()) for net in nets}) == 1
        assert len({net.get_output(X).tobytes() for net in nets}) == 1
        assert all(one.kernel is activation.kernel for net in nets for one in net.activations[:2])

    assert times_compiled(again) == 0


def test_the_same_function_in_numbas_wrapper_or_out_of_a_file_is_the_same() -> None:
    activation = CustomActivation(square, double)
    network(activation).get_output(X)

    def again() -> None:
        assert CustomActivation(numba.njit(square), numba.njit(double)).kernel is activation.kernel
        unpickled = pickle.loads(pickle.dumps(activation))
        assert unpickled.kernel is activation.kernel
        net = pickle.loads(pickle.dumps(network(activation)))
        assert net.activations[0].kernel is activation.kernel

    assert times_compiled(again) == 0


def test_losses_and_targets_are_shared_too() -> None:
    error, slope = (lambda x, t: (x - t) ** 2), (lambda x, t: 2 * (x - t))
    product = numba.njit(lambda x, y: x * y)
    loss, source = CustomLoss(error, slope), UniformSource(product, rng=1)
    loss.get_output([[1.0]], [[3.0]])

    def again() -> None:
        assert CustomLoss(error, slope).kernel is loss.kernel
        assert deepcopy(loss).kernel is pickle.loads(pickle.dumps(loss)).kernel is loss.kernel
        np.testing.assert_array_equal(UniformSource(product, rng=1).batch(0)[1], source.batch(0)[1])

    assert times_compiled(again) == 0


def test_threads_share_too() -> None:
    functions = squares()
    with ThreadPoolExecutor(4) as pool:
        kernels = list(pool.map(lambda _: CustomActivation(*functions).kernel, range(8)))
    assert all(kernel is kernels[0] for kernel in kernels)


def test_different_functions_never_share() -> None:
    def scaled(factor: float) -> tuple[Any, Any]:
        return (lambda x: factor * x), (lambda x: factor)

    for factor in (2.0, 3.0, 4.0):  # of the same code
        assert CustomActivation(*scaled(factor)).get_output([[1.0]]) == factor
    two, three = scaled(2.0), scaled(3.0)
    mixed = CustomActivation(two[0], three[1])
    assert mixed.forward([[5.0]]) == 10
    assert mixed.backward([[1.0]]) == 3
    assert CustomActivation(two[0], two[0]).get_output([[5.0]]) == 10
    assert CustomActivation(two[0], three[1]).kernel is mixed.kernel
    by_role = CustomActivation(lambda x: x, three[1]), CustomActivation(three[1], lambda x: x)
    assert [activation.get_output([[5.0]]).item() for activation in by_role] == [5, 3]


@pytest.mark.parametrize("what", ["code", "closure", "global"])
def test_a_function_that_was_changed_is_compiled_again(what: str) -> None:
    surroundings: dict[str, Any] = {"factor": 2.0}
    factor = 2.0

    def of_closure(x: float) -> float:
        return factor * x

    def other(x: float) -> float:
        return 3.0 * x

    exec("def of_global(x): return factor * x", surroundings)
    function: Any = of_closure if what == "closure" else surroundings["of_global"]
    before = network(CustomActivation(function, double))
    expected = before.get_output(X)
    if what == "code":
        function.__code__ = other.__code__
    factor = surroundings["factor"] = 3.0
    assert CustomActivation(function, double).get_output([[1.0]]) == 3
    for net in (before, deepcopy(before)):  # which has the code of its time, and so has its copy
        np.testing.assert_array_equal(net.get_output(X), expected)
    assert CustomActivation(function, double).kernel is CustomActivation(function, double).kernel


def freed(make: Callable[[], tuple[Any, ...]]) -> bool:
    """Whether all of what `make` gives is gone when nobody has it any more."""
    references = [weakref.ref(thing) for thing in make()]
    gc.collect()  # functions that are part of a cycle
    gc.collect()  # kernels, which are part of cycles, too
    return all(reference() is None for reference in references)


def test_machine_code_is_freed_with_its_functions() -> None:
    def activation() -> tuple[Any, ...]:
        functions = squares()
        net = network(CustomActivation(*functions))
        net.get_output(X)
        kernel = net.activations[0].kernel
        return *functions, kernel, *(overload.library for overload in kernel.overloads.values())

    def loss() -> tuple[Any, ...]:
        functions = (lambda x, t: x - t), (lambda x, t: 1.0)
        criterion = CustomLoss(*functions)
        source = UniformSource(lambda x: x, rng=1)
        Trainer(NN(1, [2], 1, rng=1), source, loss=criterion).run(2)
        return *functions, criterion.kernel

    def target() -> tuple[Any, ...]:
        function = numba.njit(lambda x, y: x * y)
        UniformSource(function, rng=1).batch(0)
        return function, function.py_func

    def of_a_namespace_of_its_own() -> tuple[Any, ...]:
        namespace: dict[str, Any] = {}
        exec("def f(x): return x * x", namespace)
        activation = CustomActivation(namespace["f"], namespace["f"])
        return namespace["f"], activation.kernel

    def of_one_that_stays() -> tuple[Any, ...]:
        activation = CustomActivation(square, lambda x: 2 * x)
        return (activation.kernel,)

    assert [
        freed(make) for make in (activation, loss, target, of_a_namespace_of_its_own, of_one_that_stays)
    ] == [True] * 5


def test_functions_made_in_a_loop_leave_nothing_behind() -> None:
    def libraries() -> int:
        gc.collect()
        return sum(type(thing) is JITCodeLibrary for thing in gc.get_objects())

    network(CustomActivation(*squares())).get_output(X)
    before = libraries()
    for _ in range(3):
        network(CustomActivation(*squares())).get_output(X)
    assert libraries() <= before  # those of earlier tests may go meanwhile


def test_a_network_keeps_the_machine_code_that_it_runs() -> None:
    functions = squares()
    net = network(CustomActivation(*functions))
    trainer = Trainer(net, UniformSource(lambda x: x[:, 0], [-1, -1], 1, rng=1), learning_rate=1e-6)
    expected = net.get_output(X)
    kernel = weakref.ref(net.activations[0].kernel)
    del functions
    gc.collect()
    network(CustomActivation(*squares())).get_output(X)
    np.testing.assert_array_equal(net.get_output(X), expected)
    trainer.run(10)
    assert kernel() is not None
    del net, trainer
    gc.collect()
    assert kernel() is None


def test_a_function_keeps_its_machine_code_without_any_network() -> None:
    functions = squares()
    CustomActivation(*functions)
    gc.collect()
    assert times_compiled(lambda: CustomActivation(*functions)) == 0
    assert isinstance(functions[0], FunctionType)
