"""What other programs make of exported networks: `python -m benchmarks.exports` prints a table.

Random networks of all activations, float64 and float32, a third of them classifiers, go every way out of the
package. Errors are those of numbers against long double; the limit is four times the error of the network
itself, or of rounding the result. Time and size are those of a network 2-16-16-1 with tanh, in float64.
"""

import argparse
import ctypes
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import (
    NN,
    InvalidArgumentError,
    export,
    from_onnx,
    from_safetensors,
    from_torch,
    to_sympy,
    to_torch,
)
from crabnet_jit.network.schema import probabilities

from .common import Array, best_seconds, describe_machine
from .truth import Case, random_case

LIMIT = 4.0
N_TOGETHER = 50  # networks in one library
N_CALLS = 2000
MOST_UNITS = 20  # of a network as a formula


class Way(NamedTuple):
    """A way out.

    `calls` gives for some networks the functions that each of them has become, of rows (n_samples, n_in) in
    the network's type; `timed` a function that makes so many calls of a network, with one sample each.
    """

    name: str
    ending: str
    needs: str
    calls: Callable[[list[NN], Path], list[Callable[[Array], Array] | None]]
    timed: Callable[[NN, Path, int], Callable[[], object] | None]


def _library(compiler: str, nets: list[NN], folder: Path) -> Any:
    for k, net in enumerate(nets):
        export(net, folder / f"m{k}.c")
    command = [*compiler.split(), "-shared", "-fPIC", *map(str, sorted(folder.glob("m*.c"))), "-lm"]
    subprocess.run([*command, "-o", str(folder / "library.so")], check=True)
    return ctypes.CDLL(str(folder / "library.so"))


def _of_pointers(function: Any, n_values: int) -> Callable[[Array], Array]:
    def call(x: Array) -> Array:
        y = np.empty((len(x), n_values), x.dtype)
        for row, values in zip(x, y, strict=True):
            function(row.ctypes, values.ctypes)
        return y

    return call


def _c(name: str, compiler: str) -> Way:
    def calls(nets: list[NN], folder: Path) -> list[Callable[[Array], Array] | None]:
        library = _library(compiler, nets, folder)
        return [
            _of_pointers(getattr(library, f"m{k}_predict"), net.schema.n_values(net.out_features))
            for k, net in enumerate(nets)
        ]

    def timed(net: NN, folder: Path, n_calls: int) -> Callable[[], object]:
        (folder / "loop.c").write_text(
            "void m0_predict(const double *x, double *y);\n"
            "void loop(long n) { double x[2] = {0.3, -0.2}, y[1];\n"
            "for (long k = 0; k < n; k++) { m0_predict(x, y); x[0] = 0.3 + 1e-3 * y[0]; } }\n"
        )
        export(net, folder / "m0.c")
        files = [str(folder / "m0.c"), str(folder / "loop.c")]
        to = folder / "timed.so"
        subprocess.run([*compiler.split(), "-shared", "-fPIC", *files, "-lm", "-o", str(to)], check=True)
        loop = ctypes.CDLL(str(to)).loop
        return lambda: loop(ctypes.c_long(n_calls))

    return Way(name, ".c", compiler.split(maxsplit=1)[0], calls, timed)


def _fortran() -> Way:
    """The module, called by a subroutine of Fortran that C can call."""
    kinds = {"float64": "c_double", "float32": "c_float"}

    def wrapper(k: int, net: NN) -> str:
        n_in, n_out, kind = net.in_features, net.schema.n_values(net.out_features), kinds[str(net.dtype)]
        return (
            f'subroutine f{k}(x, y) bind(c, name="f{k}")\n'
            f"use m{k}\nuse, intrinsic :: iso_c_binding, only: {kind}\n"
            f"real({kind}), intent(in) :: x({n_in})\nreal({kind}), intent(out) :: y({n_out})\n"
            f"call m{k}_predict(x, y)\nend subroutine\n"
        )

    def library(nets: list[NN], folder: Path, more: str = "") -> Any:
        modules = []
        for k, net in enumerate(nets):
            export(net, folder / f"m{k}.f90")
            modules.append(str(folder / f"m{k}.f90"))
        (folder / "calls.f90").write_text("".join(wrapper(k, net) for k, net in enumerate(nets)) + more)
        sources = [*modules, str(folder / "calls.f90"), *map(str, sorted(folder.glob("m*.c")))]
        to = folder / "fortran.so"
        options = ["-O2", "-shared", "-fPIC", f"-J{folder}"]
        subprocess.run(["gfortran", *options, *sources, "-lm", "-o", str(to)], check=True)
        return ctypes.CDLL(str(to))

    def calls(nets: list[NN], folder: Path) -> list[Callable[[Array], Array] | None]:
        found = library(nets, folder)
        return [
            _of_pointers(getattr(found, f"f{k}"), net.schema.n_values(net.out_features))
            for k, net in enumerate(nets)
        ]

    def timed(net: NN, folder: Path, n_calls: int) -> Callable[[], object]:
        loop = library(
            [net],
            folder,
            'subroutine loop(n) bind(c, name="loop")\nuse m0\n'
            "use, intrinsic :: iso_c_binding, only: c_double, c_long\n"
            "integer(c_long), value :: n\ninteger(c_long) :: k\nreal(c_double) :: x(2), y(1)\n"
            "x = [0.3d0, -0.2d0]\ndo k = 1, n\ncall m0_predict(x, y)\nx(1) = 0.3d0 + 1d-3 * y(1)\nend do\n"
            "end subroutine\n",
        ).loop
        return lambda: loop(ctypes.c_long(n_calls))

    return Way("Fortran, gfortran -O2", ".f90", "gfortran", calls, timed)


def _one_by_one(
    name: str, ending: str, needs: str, function_of: Callable[[NN, Path], Callable[[Array], Array] | None]
) -> Way:
    """A way whose files need no compiler; `function_of` takes a network through one."""

    def calls(nets: list[NN], folder: Path) -> list[Callable[[Array], Array] | None]:
        return [function_of(net, folder / f"m{k}{ending}") for k, net in enumerate(nets)]

    def timed(net: NN, folder: Path, n_calls: int) -> Callable[[], object] | None:
        function, x = function_of(net, folder / f"timed{ending}"), np.array([[0.3, -0.2]])

        if function is None:
            return None

        def run() -> None:
            for _ in range(n_calls):
                function(x)

        return run

    return Way(name, ending, needs, calls, timed)


def _onnx(net: NN, path: Path) -> Callable[[Array], Array]:
    import onnxruntime

    export(net, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    output = "y" if net.schema.labels is None else "probabilities"
    if not _is_same(from_onnx(path), net):
        raise AssertionError("the network that comes back is different")
    return lambda x: np.asarray(session.run([output], {"x": x})[0])


def _python(net: NN, path: Path) -> Callable[[Array], Array]:
    export(net, path)
    module: dict[str, Any] = {"__name__": "exported"}
    exec(compile(path.read_text(), path.name, "exec"), module)
    predict = module["predict" if net.schema.labels is None else "predict_proba"]
    return lambda x: np.array([np.ravel(predict(row)) for row in x.tolist()])


def _torch(net: NN, _path: Path) -> Callable[[Array], Array]:
    import torch

    module = to_torch(net)
    if not _is_same(from_torch(module), net, schema=False):
        raise AssertionError("the network that comes back is different")

    def call(x: Array) -> Array:
        with torch.no_grad():
            z = module(torch.from_numpy(x)).numpy()
        return z if net.schema.labels is None else probabilities(net.schema.link(net.out_features), z)

    return call


def _safetensors(net: NN, path: Path) -> Callable[[Array], Array]:
    export(net, path)
    back = from_safetensors(path)
    if not _is_same(back, net):
        raise AssertionError("the network that comes back is different")
    return back


def _sympy(net: NN, _path: Path) -> Callable[[Array], Array] | None:
    import sympy

    if net.n_units > MOST_UNITS:
        return None
    try:
        formulas = to_sympy(net)
    except InvalidArgumentError:  # too long a formula
        return None
    symbols = [sympy.Symbol(name, real=True) for name in net.input_names]
    function = sympy.lambdify(symbols, formulas, "math")
    return lambda x: np.array([np.ravel(function(*row)) for row in x.tolist()])


def _is_same(one: NN, other: NN, *, schema: bool = True) -> bool:
    """Bit for bit."""
    arrays = [
        [net.parameters, *(net.standardization or ()), *((net.domain or ()) if schema else ())]
        for net in (one, other)
    ]
    return (
        [array.tobytes() for array in arrays[0]] == [array.tobytes() for array in arrays[1]]
        and one.spec.configuration() == other.spec.configuration()
        and (not schema or one.schema.values() == other.schema.values())
    )


WAYS = [
    _c("C, gcc -std=c99 -O0", "gcc -std=c99 -O0"),
    _c("C, gcc -std=c99 -O3", "gcc -std=c99 -O3"),
    _c("C, gcc -O3 -march=native", "gcc -O3 -march=native"),
    _c("C, clang -O0", "clang -O0"),
    _c("C, clang -O3 -march=native", "clang -O3 -march=native"),
    _fortran(),
    _one_by_one("ONNX, onnxruntime", ".onnx", "onnxruntime", _onnx),
    _one_by_one("PyTorch, one thread", ".pt", "torch", _torch),
    _one_by_one("safetensors and back", ".safetensors", "safetensors", _safetensors),
    _one_by_one("Python", ".py", "math", _python),
    _one_by_one("SymPy, lambdify", ".txt", "sympy", _sympy),
]


def errors(way: Way, cases: list[Case]) -> Iterator[tuple[str, float, float]]:
    """For each network its type, the error over that of the network, and over the largest output."""
    for first in range(0, len(cases), N_TOGETHER):
        some = cases[first : first + N_TOGETHER]
        with tempfile.TemporaryDirectory() as name:
            functions = way.calls([case.net for case in some], Path(name))
        for case, function in zip(some, functions, strict=True):
            if function is None:
                continue
            truth = case.truth()
            largest = np.abs(truth).max(axis=0)
            y = function(case.x.astype(case.net.dtype))
            own, error = (np.abs(values - truth).max(axis=0) for values in (case.net(case.x), y))
            base = np.maximum(own, np.finfo(case.net.dtype).eps * largest)
            is_dead = largest == 0
            times = np.where(is_dead, error > 0, error / np.where(is_dead, 1, base))
            relative = error / np.where(is_dead, 1, largest)
            yield str(case.net.dtype), float(times.max()), float(relative.max())


def main() -> None:
    """Measure all ways, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exports", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--networks", type=int, default=1000, help="random networks (default 1000)")
    parser.add_argument("--rounds", type=int, default=20, help="of which the best time counts (default 20)")
    options = parser.parse_args()
    cases = [random_case(k) for k in range(options.networks)]
    net = NN(2, [16, 16], 1, 1, activation="tanh", init="glorot_uniform")
    print(describe_machine())
    print(f"{len(cases)} networks, {len(cases[0].x)} samples each\n")
    print("| way | type | networks | error / own, median | largest | relative error | kB | a call, us |")
    print("|---|---|" + "--:|" * 6)
    is_within = True
    for way in WAYS:
        if shutil.which(way.needs) is None and importlib.util.find_spec(way.needs) is None:
            print(f"| {way.name} | | {way.needs} is not installed |")
            continue
        found: dict[str, list[tuple[float, float]]] = {}
        for dtype, times, relative in errors(way, cases):
            found.setdefault(dtype, []).append((times, relative))
        for dtype, pairs in sorted(found.items(), reverse=True):
            median, (largest, relative) = np.median(pairs, axis=0)[0], np.max(pairs, axis=0)
            is_within &= bool(largest <= LIMIT) or way.needs == "torch"  # whose formulas are its own
            size, microseconds = _cost(way, net, options.rounds) if dtype == "float64" else ("", "")
            print(
                f"| {way.name} | {dtype} | {len(pairs)} | {median:.2f} | {largest:.2f} | {relative:.1e} "
                f"| {size} | {microseconds} |",
                flush=True,
            )
    if not is_within:
        raise SystemExit(f"an error is above {LIMIT:g} times that of the network")


def _cost(way: Way, net: NN, rounds: int) -> tuple[str, str]:
    """The size of what is written, and the time of a call."""
    with tempfile.TemporaryDirectory() as name:
        run = way.timed(net, Path(name), N_CALLS)
        if run is None:
            return "", ""
        run()
        (seconds,) = best_seconds(run, rounds=rounds)
        files = [file for file in Path(name).iterdir() if file.suffix == way.ending]
        size = f"{sum(file.stat().st_size for file in files) / 1000:.1f}" if files else ""
    return size, f"{1e6 * seconds / N_CALLS:.2f}"


if __name__ == "__main__":
    main()
