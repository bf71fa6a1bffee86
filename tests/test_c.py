"""Networks as C and Fortran, compiled and run."""

import ctypes
import dataclasses
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit

from benchmarks.truth import FORMULAS, Case, random_case
from crabnet_jit import NN, CustomActivation, InvalidArgumentError, export, fit
from crabnet_jit.cli.main import main
from crabnet_jit.data.columns import Column, Columns
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.labels import Labels
from crabnet_jit.exchange.c_code import hexadecimal
from crabnet_jit.exchange.self_test import samples_of
from crabnet_jit.network.files import save
from crabnet_jit.network.schema import Schema, probabilities

C = "-std=c99 -Wall -Wextra -pedantic -Wconversion -Werror"
CPP = C.replace("c99", "c++17")
COMPILERS = [
    f"gcc {C} -O0",
    f"gcc {C} -O3",
    f"gcc {C} -O3 -march=native",
    f"gcc {C.replace('c99', 'gnu17')} -O2 -march=native",
    f"clang {C} -O0",
    f"clang {C} -O3 -march=native",
    f"g++ {CPP} -O2",
    f"clang++ {CPP} -O2",
]
N_NETWORKS = 30


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)


def compiled(command: str, folder: Path) -> None:
    """Nothing is said, not even a warning."""
    result = run(command, folder)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case]]:
    """Networks m0, m1, …, and a folder with their files, some with a header."""
    folder = tmp_path_factory.mktemp("c")
    exported = [random_case(k) for k in range(N_NETWORKS)]
    assert {e.net.schema.task for e in exported} == {"regression", "classification", "multilabel"}
    for k, one in enumerate(exported):
        export(one.net, folder / f"m{k}.c", header=k % 2 == 0)
    return folder, exported


def calls(library: Any, prefix: str, one: Case) -> tuple[Any, Any, Any]:
    """Values of predict and of jacobian, and the derivatives, for all of its inputs."""
    x = one.x.astype(one.net.dtype)
    of_y = one.shape[:1]
    y, same, dy_dx = (np.empty((len(x), *shape), x.dtype) for shape in (of_y, of_y, one.shape))
    for s in range(len(x)):
        getattr(library, f"{prefix}_predict")(x[s].ctypes, y[s].ctypes)
        getattr(library, f"{prefix}_jacobian")(x[s].ctypes, same[s].ctypes, dy_dx[s].ctypes)
    return y, same, dy_dx


# ---- what it computes ----


@pytest.mark.parametrize("compiler", COMPILERS)
def test_c_has_at_most_four_times_the_error_of_predict(
    compiler: str, networks: tuple[Path, list[Case]], tmp_path: Path
) -> None:
    need(compiler.split(maxsplit=1)[0])
    folder, exported = networks
    language = "-x c++ " if "++" in compiler else ""
    compiled(f"{compiler} -shared -fPIC {language}{folder}/m*.c -o library.so -lm", tmp_path)
    library = ctypes.CDLL(str(tmp_path / "library.so"))
    for k, one in enumerate(exported):
        truth = one.truth()
        own_error = np.abs(one.net(one.x) - truth).max(axis=0)
        for y in calls(library, f"m{k}", one)[:2]:
            error = np.abs(y - truth).max(axis=0)
            smallest = np.finfo(y.dtype).eps * np.abs(truth).max(axis=0)  # what rounding the result takes
            assert (error <= 4 * np.maximum(own_error, smallest)).all(), (k, error / own_error)


def test_derivatives_in_c_are_those_of_its_values(networks: tuple[Path, list[Case]], tmp_path: Path) -> None:
    """By central differences of the truth, in long double; a few samples may lie at kinks."""
    need("gcc")
    folder, exported = networks
    compiled(f"gcc -std=c99 -O2 -shared -fPIC {folder}/m*.c -o library.so -lm", tmp_path)
    library = ctypes.CDLL(str(tmp_path / "library.so"))
    for k, one in enumerate(exported):
        units = one.net.standardization
        steps = np.diag(np.full(one.net.in_features, 1e-6) * (1 if units is None else units.x_std))
        slopes = []
        for step in steps.astype(np.longdouble):
            above, below = (one._replace(x=one.x + sign * step).truth() for sign in (1, -1))
            slopes.append((above - below) / (2 * step.sum()))
        expected = np.stack(slopes, axis=2)
        difference = np.abs(calls(library, f"m{k}", one)[2] - expected)
        largest = np.abs(expected).max()
        assert np.quantile(difference, 0.99) <= (1e-8 if one.net.dtype == "f8" else 1e-4) * largest, k


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_files_test_themselves(compiler: str, networks: tuple[Path, list[Case]], tmp_path: Path) -> None:
    need(compiler)
    folder, exported = networks
    for k in range(len(exported)):
        compiled(f"{compiler} {C} -O1 -DM{k}_SELF_TEST {folder}/m{k}.c -o m{k} -lm", tmp_path)
        result = run(f"./m{k}", tmp_path)
        assert re.fullmatch(rf"m{k}_predict: \d+ samples, 0 wrong numbers\n", result.stdout)
        assert result.returncode == 0


def test_a_file_that_was_changed_fails_its_own_test(
    networks: tuple[Path, list[Case]], tmp_path: Path
) -> None:
    """One digit in the middle of a number, a sign, or an index."""
    need("gcc")
    folder, exported = networks

    def changed(text: str, k: int) -> Iterator[str]:
        number = re.search(r"b1\[\d+\] = \{\n    -?0x1\.(\w{3})", text)
        if number is not None:
            at = number.start(1) + 1
            yield text[:at] + ("0" if text[at] != "0" else "8") + text[at + 1 :]
        yield text.replace("sum = b[i]", "sum = -b[i]")
        yield text.replace("dz_dx = dy_dx + k", "dz_dx = dy_dx + 0 * k")
        yield text.replace("x[j] >= low[j]", "x[j] > high[j]")

    n_changed = 0
    for k in range(0, len(exported), 3):
        y = samples_of(exported[k].net).y
        if np.ptp(y[np.isfinite(y)]) == 0:
            continue  # its output is dead, whatever the numbers are
        text = (folder / f"m{k}.c").read_text()
        for other in changed(text, k):
            is_same_for_one = "0 * k" in other and exported[k].net.out_features == 1
            if other == text or is_same_for_one:
                continue
            (tmp_path / "other.c").write_text(other)
            compiled(f"gcc -std=c99 -I{folder} -DM{k}_SELF_TEST other.c -o other -lm", tmp_path)
            result = run("./other", tmp_path)
            assert (result.returncode, ", 0 wrong" in result.stdout) == (1, False), k
            n_changed += 1
    assert n_changed > 25


def test_nan_gives_nan_and_infinity_what_the_network_gives(tmp_path: Path) -> None:
    need("gcc")
    nets = [NN(2, [3], 2, 1, activation=a, output_activation=a) for a, _ in FORMULAS]
    for k, net in enumerate(nets):
        export(net, tmp_path / f"m{k}.c")
    compiled("gcc -std=c99 -shared -fPIC m*.c -o library.so -lm", tmp_path)
    library = ctypes.CDLL(str(tmp_path / "library.so"))
    for k, net in enumerate(nets):
        for x in ([np.nan, 1.0], [np.inf, 1.0], [1.0, -np.inf], [np.inf, np.inf]):
            h = np.array([x])
            with np.errstate(all="ignore"):
                for layer, activation in zip(net.layers, net.activations, strict=True):
                    h = activation._forward(layer._forward(h))
            y = np.empty(2)
            getattr(library, f"m{k}_predict")(np.array(x).ctypes, y.ctypes)
            assert np.allclose(y, h[0], rtol=1e-14, equal_nan=True), (net.activations, x)
            assert np.isnan(y).all() or not np.isnan(x[0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_inputs_far_from_zero_keep_their_digits(dtype: str, tmp_path: Path) -> None:
    """In float32 the mean is a sum of two numbers: one alone is 0.03 of a standard deviation off here."""
    need("gcc")
    rng = np.random.default_rng(0)
    x = (1e6 + rng.normal(size=(200, 1))).astype(dtype).astype(np.float64)
    net = fit(x, np.sin(x - 1e6), hidden_sizes=(16,), n_iterations=500, dtype=dtype)
    export(net, tmp_path / "far.c")
    compiled(f"gcc {C} -shared -fPIC far.c -o library.so -lm", tmp_path)
    y = calls(ctypes.CDLL(str(tmp_path / "library.so")), "far", Case(net, [], x))[0]
    assert np.abs(y - net.predict(x)).max() < 20 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_box_is_that_of_the_network(dtype: str, tmp_path: Path) -> None:
    need("gcc")
    net = NN(2, [3], 1, 1, dtype="float64")
    net.domain = Domain(np.array([0.1, -3e-9]), np.array([0.3, 1e6 + 0.1]), np.zeros(2), np.eye(2))
    export(net, tmp_path / "box.c", dtype=dtype)
    compiled(f"gcc {C} -shared -fPIC box.c -o library.so -lm", tmp_path)
    is_inside = ctypes.CDLL(str(tmp_path / "library.so")).box_is_inside
    to = np.dtype(dtype).type
    for x, expected in [
        ([0.1, 0.0], 1),
        ([0.3, 1e6 + 0.1], 1),
        ([0.3, -3e-9], 1),
        ([0.2, 1e6 + 0.3], 0),
        ([np.nextafter(to(0.1), to(0)) - to(1e-7), 0.0], 0),
        ([np.nan, 0.0], 0),
        ([0.2, np.nan], 0),
        ([np.inf, 0.0], 0),
    ]:
        assert is_inside(np.array(x, to).ctypes) == expected, x


EXTREMES = [0.0, -0.0, 1.0, 0.1, 5e-324, 1.7976931348623157e308]


def test_numbers_are_written_exactly() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
    for number in [
        *numbers[np.isfinite(numbers)].tolist(),
        0.0,
        -0.0,
        1.0,
        5e-324,
        1.7976931348623157e308,
        0.1,
    ]:
        text = hexadecimal(number)
        assert float.fromhex(text).hex() == number.hex()
        assert re.fullmatch(r"-?0x[01](\.[0-9a-f]+)?p[+-]\d+", text)


def test_classes_have_all_digits(tmp_path: Path) -> None:
    need("gcc")
    net = NN(1, [], 1, init=[1.0, 0.0])
    net.schema = Schema(labels=Labels(np.array(["no", "yes"])), task="classification")
    export(net, tmp_path / "two.c")
    compiled(f"gcc {C} -shared -fPIC two.c -o library.so -lm", tmp_path)
    y = calls(ctypes.CDLL(str(tmp_path / "library.so")), "two", Case(net, [], np.array([[40.0]])))[0]
    assert y[0, 0] == pytest.approx(np.exp(-40.0), rel=1e-15)
    assert np.array_equal(y, probabilities(net.schema.link(1), np.array([[40.0]])))
    assert "probability of yes" in (tmp_path / "two.c").read_text()


# ---- its text ----

HOSTILE = [
    '"; abort(); "',
    "*/ abort(); /*",
    "a\nabort();\n",
    "\\",
    "??/",
    "// x",
    "ü°μ\u202e",
    "%s%n",
    "x\0y",
    "\ud800",
]


def test_names_are_data(tmp_path: Path) -> None:
    need("gcc", "gfortran")
    net = NN(len(HOSTILE), [3], len(HOSTILE), 1)
    net.schema = Schema(
        columns=Columns(tuple(map(Column, HOSTILE))), output_names=tuple(f"{name} of y" for name in HOSTILE)
    )
    export(net, tmp_path / "hostile.f90")
    for file in ("hostile.c", "hostile.f90"):
        text = (tmp_path / file).read_bytes()
        assert text.isascii()
        assert b"\0" not in text
        code = re.sub(r"(?s)/\*.*?\*/", "", text.decode()) if file.endswith(".c") else ""
        assert "abort" not in code
    compiled(f"gcc {C} -trigraphs -DHOSTILE_SELF_TEST hostile.c -o hostile -lm", tmp_path)
    assert run("./hostile", tmp_path).returncode == 0
    compiled("gfortran -std=f2008 -Wall -Wextra -pedantic -Werror -c hostile.f90", tmp_path)


def test_labels_are_data(tmp_path: Path) -> None:
    need("gcc")
    net = NN(1, [3], len(HOSTILE), 1)
    net.schema = Schema(labels=Labels(np.array(sorted([*HOSTILE[:-1], "z"]))), task="classification")
    export(net, tmp_path / "labels.c", header=True)
    compiled(f"gcc {C} -trigraphs -DLABELS_SELF_TEST labels.c -o labels -lm", tmp_path)
    assert run("./labels", tmp_path).returncode == 0


def test_default_prefixes_are_identifiers_whatever_the_file_is_called(tmp_path: Path) -> None:
    need("gcc")
    net = NN(1, [2], 1, 1)
    for stem, prefix in {
        "my-model 2": "my_model_2",
        "2nd": "net_2nd",
        "größe": "gr_e",
        "ö": "net",
        "_": "net",
        "int": "int",
        "x" * 90: "x" * 36,
        'a"; abort(); "': "a_abort",
        "a.b": "a_b",
    }.items():
        export(net, tmp_path / f"{stem}.c")
        assert f"void {prefix}_predict(" in (tmp_path / f"{stem}.c").read_text()
        shutil.copy(tmp_path / f"{stem}.c", tmp_path / "copy.c")
        compiled(f"gcc {C} -c copy.c", tmp_path)


@pytest.mark.parametrize(
    "prefix", ["", "1a", "a b", "a-b", "a;", "_a", "a_", "a__b", "a\n", "é", "a" * 50, 3, b"a", "a*/", "a\\"]
)
def test_prefixes_that_are_no_identifiers_are_refused(prefix: Any, tmp_path: Path) -> None:
    for file in ("a.c", "a.f90"):
        with pytest.raises(
            InvalidArgumentError, match=r"^prefix must be a letter, then letters, digits .* got "
        ):
            export(NN(1, [], 1, 1), tmp_path / file, prefix=prefix)
    assert not [*tmp_path.iterdir()]


def test_several_networks_and_a_caller_in_cpp(tmp_path: Path) -> None:
    """Headers, prefixes, and the names of what is private do not meet."""
    need("gcc", "g++")
    nets = {"first": NN(2, [4], 1, 1, activation="silu"), "second": NN(2, [4], 2, 2, dtype="float32")}
    for name, net in nets.items():
        export(net, tmp_path / f"file_{name}.c", prefix=name, header=True)
    (tmp_path / "main.cpp").write_text("""
#include <cstdio>
#include "file_first.h"
#include "file_second.h"
#include "file_first.h"
int main() {
    double x[2] = {0.25, -0.5}, y[1];
    float x32[2] = {0.25f, -0.5f}, y32[2];
    first_predict(x, y);
    second_predict(x32, y32);
    std::printf("%.17g %.9g %.9g\\n", y[0], static_cast<double>(y32[0]), static_cast<double>(y32[1]));
}
""")
    compiled(f"gcc {C} -c file_first.c file_second.c", tmp_path)
    compiled(f"g++ {CPP} main.cpp file_first.o file_second.o -o main -lm", tmp_path)
    got = np.array(run("./main", tmp_path).stdout.split(), float)
    expected = np.hstack([net.predict([[0.25, -0.5]])[0] for net in nets.values()])
    assert np.abs(got - expected).max() < 1e-6
    assert abs(got[0] - expected[0]) < 1e-15


def test_the_text_is_the_same_each_time_and_stands_on_its_own(tmp_path: Path) -> None:
    net = NN(2, [4], 1, 1)
    for name in ("a.c", "b.c"):
        export(net, tmp_path / name, prefix="m")
    text = (tmp_path / "a.c").read_text()
    assert text == (tmp_path / "b.c").read_text()
    assert re.findall(r"#include .*", text) == ["#include <math.h>", "#include <stdio.h>"]
    assert text.index("_SELF_TEST") < text.index("stdio")


# ---- Fortran ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_fortran_calls_it(task: str, dtype: str, tmp_path: Path) -> None:
    need("gcc", "gfortran")
    x = np.random.default_rng(0).uniform(0, 5, (200, 3))
    labels = np.array(["a", "b", "c"])[np.digitize(x[:, 0], [1.5, 3])]
    y: Any = np.c_[x[:, 0] * x[:, 1], x[:, 2]] if task == "regression" else labels
    net = fit(x, y, hidden_sizes=(8,), n_iterations=300, dtype=dtype)
    export(net, tmp_path / "surrogate.f90")
    kind = "c_double" if dtype == "float64" else "c_float"
    (tmp_path / "main.f90").write_text(f"""
program main
    use surrogate
    use, intrinsic :: iso_c_binding, only: {kind}
    implicit none
    real({kind}) :: x(surrogate_n_in), y(surrogate_n_out)
    real({kind}) :: dy_dx(surrogate_n_in, surrogate_n_out)
    x = [1.0_{kind}, 2.0_{kind}, 4.0_{kind}]
    call surrogate_predict(x, y)
    write (*, "(*(es26.17e3))") y
    call surrogate_jacobian(x, y, dy_dx)
    write (*, "(*(es26.17e3))") dy_dx
    write (*, *) surrogate_is_inside(x), surrogate_is_inside(-x)
end program
""")
    compiled(f"gcc {C} -c surrogate.c", tmp_path)
    compiled(
        "gfortran -std=f2008 -Wall -Wextra -pedantic -Werror surrogate.f90 main.f90 surrogate.o -o main",
        tmp_path,
    )
    values, derivatives, flags = run("./main", tmp_path).stdout.splitlines()
    tolerance = 100 * np.finfo(dtype).eps
    point = np.array([[1.0, 2.0, 4.0]])
    expected = net(point)[0]
    assert np.abs(np.array(values.split(), float) - expected).max() < tolerance * np.abs(expected).max()
    steps = 1e-5 * np.eye(3)
    slopes = np.array([(net(point + step) - net(point - step))[0] / 2e-5 for step in steps])
    got = np.array(derivatives.split(), float).reshape(-1, 3).T
    assert np.abs(got - slopes).max() < (1e-8 if dtype == "float64" else 0.05) * np.abs(slopes).max()
    assert flags.split() == ["1", "0"]


def test_long_names_fit_into_lines_of_fortran(tmp_path: Path) -> None:
    need("gcc", "gfortran")
    net = NN(1, [2], 1, 1)
    net.schema = dataclasses.replace(net.schema, output_names=("y" * 1000,))
    net.domain = Domain.of(np.zeros((1, 1)), np.ones(1))
    export(net, tmp_path / "long.f90", prefix="p" * 40)
    compiled("gfortran -std=f2008 -Wall -Wextra -pedantic -Werror -c long.f90", tmp_path)
    compiled(f"gcc {C} -c long.c", tmp_path)


# ---- what is refused ----


def test_bad_arguments_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    net, path = NN(2, [3], 1, 1), tmp_path / "m.c"
    custom = NN(
        2, [3, 3], 1, 1, activation=["tanh", CustomActivation(njit(lambda x: x), njit(lambda x: 1.0))]
    )
    infinite = NN(2, [3], 1, 1)
    infinite.parameters[3] = np.inf
    large = NN(2, [3], 1, init=np.full(13, 1e300))
    wide = NN(2, [2**14], 1, 1)
    wrong: dict[str, dict[str, Any]] = {
        r"net must be an NN or an Ensemble, got ": {"net": None},
        r"net\.activations\[1\] must be one that other programs know, see ACTIVATIONS, got CustomAct": {
            "net": custom
        },
        r"net\.parameters must be finite": {"net": infinite},
        r"net\.parameters must be .*float32": {"net": large, "dtype": "float32"},
        r"net must be a network with at most 16,384 inputs and units, for C, got 16,387": {"net": wide},
        r"path must be a file with one of the suffixes \.c, .*, got '.*m\.cc'": {"path": tmp_path / "m.cc"},
        r"path must be a file with one of the suffixes \.c, .*, got '.*m'": {"path": tmp_path / "m"},
        r"path must be .*, got None": {"path": None},
        r"dtype must be float32 or float64, got ": {"dtype": "int32"},
        r"dtype must be None for \.py": {"path": tmp_path / "m.py", "dtype": "float32"},
        r"prefix must be None, except for \.c and \.f90, got 'a'": {
            "path": tmp_path / "m.onnx",
            "prefix": "a",
        },
        r"header must be False, except for \.c, got True": {"path": tmp_path / "m.f90", "header": True},
        r"header must be ": {"header": "m.h"},
        r"path must be letters, .*, for a file with a header": {"path": tmp_path / 'a".c', "header": True},
    }
    for message, arguments in wrong.items():
        with pytest.raises(InvalidArgumentError, match=message):
            export(**{"net": net, "path": path, **arguments})
    assert not [*tmp_path.iterdir()]


@pytest.mark.skipif(sys.platform == "win32", reason="folders of POSIX")
def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    net = NN(2, [3], 1, 1)
    with pytest.raises(FileNotFoundError, match="No such folder"):
        export(net, tmp_path / "no" / "m.c")
    (tmp_path / "m.h").mkdir()
    (tmp_path / "m.c").write_text("mine")
    with pytest.raises(IsADirectoryError):
        export(net, tmp_path / "m.c", header=True)
    assert (tmp_path / "m.c").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.c", "m.h"]


def test_the_network_is_not_changed(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 50)
    net = fit(x, np.sin(x), hidden_sizes=(4,), n_iterations=50)
    before, gradients = net.parameters.copy(), net.gradients.copy()
    net.parameters.flags.writeable = False
    export(net, tmp_path / "m.c", dtype="float32")
    assert np.array_equal(net.parameters, before)
    assert np.array_equal(net.gradients, gradients)
    assert net.dtype == np.float64


# ---- the command ----


def test_the_command_line_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(NN(2, [3], 1, 1), tmp_path / "m.npz")
    model, to = str(tmp_path / "m.npz"), str(tmp_path / "m.c")
    assert main(["export", model, to, "--prefix", "abc", "--dtype", "float32", "--header"]) == 0
    assert "void abc_predict(const float *x, float *y);" in (tmp_path / "m.h").read_text()
    capsys.readouterr()
    for arguments, message in [
        ([model, str(tmp_path / "m.exe")], "path must be a file with one of the suffixes"),
        ([model, model], "FILE must be another file than the model"),
        ([model, to, "--prefix", "1"], "prefix must be a letter"),
        ([str(tmp_path / "m.h"), to], "m.h is not a saved network"),
    ]:
        assert main(["export", *arguments]) == 2
        assert message in capsys.readouterr().err


# ---- what was wrong once ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("flags", ["-std=c99 -O2", "-O3 -march=native", "-O3 -mfpmath=387"])
def test_saturated_networks_pass_their_own_test(flags: str, dtype: str, tmp_path: Path) -> None:
    """Their slopes are differences of numbers that are almost equal."""
    need("gcc")
    if "387" in flags and platform.machine() != "x86_64":
        pytest.skip("no x87 here")
    x = np.random.default_rng(0).uniform(0, 10, (300, 2))
    nets = [
        fit(x, np.where(x[:, 0] > 5, "a", "b"), hidden_sizes=(4,), n_iterations=5000),
        NN(1, [1], 1, activation="tanh", init=[3.0, 12.0, 1.0, 0.0]),
        NN(600, [2], 30, 1, activation="tanh"),
    ]
    for k, net in enumerate(nets):
        export(net, tmp_path / f"m{k}.c", dtype=dtype)
        compiled(f"gcc {flags} -DM{k}_SELF_TEST m{k}.c -o m{k} -lm", tmp_path)
        result = run(f"ulimit -s 1024 && ./m{k}", tmp_path)
        assert (result.returncode, result.stdout.endswith(", 0 wrong numbers\n")) == (0, True), result.stdout


@pytest.mark.parametrize("flags", ["-O2 -ffast-math", "-Ofast", "-O1 -ffinite-math-only"])
def test_fast_math_is_found(flags: str, tmp_path: Path) -> None:
    need("gcc")
    export(NN(2, [16, 16], 1, 1), tmp_path / "m.c")
    compiled(f"gcc {flags} -DM_SELF_TEST m.c -o m -lm", tmp_path)
    result = run("./m", tmp_path)
    assert result.returncode == 1
    assert "compiled with -ffast-math or the like" in result.stdout


def test_wide_networks_have_files_of_bounded_size(tmp_path: Path) -> None:
    need("gcc")
    export(NN(1100, [4], 1000, 1, activation="tanh"), tmp_path / "wide.c")
    assert (tmp_path / "wide.c").stat().st_size < 2e6
    compiled("gcc -DWIDE_SELF_TEST wide.c -o wide -lm", tmp_path)
    assert run("ulimit -s 1024 && ./wide", tmp_path).returncode == 0


@pytest.mark.parametrize(("x_scale", "y_scale"), [(1, 1e-50), (1, 1e-42), (1, 1e60), (1e-60, 1), (1e60, 1)])
@pytest.mark.parametrize("ending", ["c", "f90", "onnx"])
def test_units_that_float32_does_not_have_are_refused(
    ending: str, x_scale: float, y_scale: float, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).uniform(0, 1, 50)
    net = fit(x * x_scale, np.sin(x) * y_scale, hidden_sizes=(3,), n_iterations=50)
    with pytest.raises(InvalidArgumentError, match=r"^net\.standardization\.[xy]_(mean|std) must be "):
        export(net, tmp_path / f"m.{ending}", dtype="float32")
    export(net, tmp_path / f"m.{ending}")


def test_float32_changes_types_and_nothing_else(tmp_path: Path) -> None:
    """Not the names of columns, headers and prefixes."""
    need("gcc")
    net = NN(2, [3], 1, 1)
    net.schema = Schema(columns=Columns((Column("double room"), Column("y 1.5 exp(x)"))))
    for stem in ("net-1.2-rc1", "model-double", "double"):
        export(net, tmp_path / f"{stem}.c", header=True, dtype="float32")
        text = (tmp_path / f"{stem}.c").read_text()
        assert f'#include "{stem}.h"' in text
        assert "x[0]  double room" in text
        assert "x[1]  y 1.5 exp(x)" in text
        compiled(f"gcc {C} -c ./{stem}.c", tmp_path)
    compiled("gcc -DDOUBLE_SELF_TEST double.c -o double -lm", tmp_path)
    assert run("./double", tmp_path).stdout.startswith("double_predict: ")


def test_names_of_files_that_collide(tmp_path: Path) -> None:
    net = NN(2, [3], 1, 1)
    with pytest.raises(InvalidArgumentError, match="not math or stdio, got 'math'"):
        export(net, tmp_path / "math.c", header=True)
    with pytest.raises(
        InvalidArgumentError, match="prefix must be different from the names in iso_c_binding"
    ):
        export(net, tmp_path / "c_double.f90")
    (tmp_path / "pump.c").mkdir()
    with pytest.raises(IsADirectoryError):
        export(net, tmp_path / "pump.f90")
    assert [path.name for path in tmp_path.iterdir()] == ["pump.c"]
    export(net, tmp_path / "model.C")
    assert (tmp_path / "model.C").is_file()


def test_numbers_that_overflow_are_no_warning(tmp_path: Path) -> None:
    net = NN(2, [8], 1, 1, activation="tanh", init="glorot_uniform")
    net.layers[1].W *= 1.2e308 / np.abs(net.layers[1].W).max()
    export(net, tmp_path / "m.c")
