"""The suite loads without extras, and the programs of Levenberg-Marquardt do what their tables say."""

import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import benchmarks
from benchmarks import derivatives, least_squares, noisy, selftest
from benchmarks.bench_levenberg_marquardt import LevenbergMarquardt
from benchmarks.gaussian import grid_error
from crabnet_jit import NN

# The finder refuses all that asv's environments lack, which have run-time dependencies only.
_ONLY_RUN_TIME = """
import importlib, importlib.abc, sys

class Finder(importlib.abc.MetaPathFinder):
    allowed = {"benchmarks", "crabnet_jit", "llvmlite", "numba", "numpy", *sys.stdlib_module_names}

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] not in self.allowed:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Finder())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_module_of_benchmarks_can_be_imported_without_extras() -> None:
    found = pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")
    names = [module.name for module in found if not module.name.endswith("__main__")]
    assert len(names) > 30
    subprocess.run([sys.executable, "-c", _ONLY_RUN_TIME, *names], check=True)


def test_the_jacobian_in_numpy_is_that_of_the_network() -> None:
    net = NN(2, [5, 4], 1, 1, activation="tanh", init="glorot_uniform")
    x, theta = np.random.default_rng(1).normal(size=(7, 2)), net.parameters.copy()
    layers = least_squares.layers_of(net, theta)
    np.testing.assert_allclose(least_squares.forward(layers, x)[-1], net.get_output(x), rtol=1e-13)
    columns = []
    for k in range(theta.size):
        ends = []
        for sign in (1, -1):
            net.parameters = theta + sign * 1e-6 * (np.arange(theta.size) == k)
            ends.append(net.get_output(x)[:, 0])
        columns.append((ends[0] - ends[1]) / 2e-6)
    np.testing.assert_allclose(least_squares.jacobian(layers, x), np.stack(columns, axis=1), atol=1e-8)


@pytest.mark.parametrize(
    ("name", "n", "error"), [("crabnet_jit", 60, 1e-5), ("scipy_least_squares", 15, 0.01)]
)
def test_fits_by_least_squares_get_near_the_target(
    name: str, n: int, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(least_squares, "N_SAMPLES", 256)
    monkeypatch.setattr(least_squares, "HIDDEN", (8, 8))
    seconds, outputs = getattr(least_squares, name)()(n, 1)
    assert seconds > 0
    assert grid_error(outputs) < error


def test_asv_follows_the_error() -> None:
    benchmark = LevenbergMarquardt()
    benchmark.setup()
    benchmark.time_4_iterations()
    assert benchmark.trainer.iteration == 5
    benchmark.setup()
    assert 0 < benchmark.track_error_after_100_iterations() < 1e-7
    assert benchmark.trainer.iteration == 100


def test_noisy_samples_for_testing_are_others() -> None:
    split = noisy.load("friedman2", 1)
    assert (split.x.shape, split.x_test.shape) == ((400, 4), (1000, 4))
    np.testing.assert_allclose([split.y.mean(), split.y.std()], [0, 1], atol=1e-12)
    assert not np.isin(split.y_test, split.y).any()
    diabetes = noisy.load("diabetes", 1)
    assert (len(diabetes.y), len(diabetes.y_test)) == (354, 88)


def test_every_program_learns_from_noisy_samples() -> None:
    splits = [noisy.load("friedman2", seed) for seed in (1, 2)]
    found = {name: noisy.scores(program, splits) for name, program in noisy.programs().items()}
    assert {name for name, scores in found.items() if not 0.75 < scores.mean < 0.91} == set()
    assert {name for name, scores in found.items() if not 0 < scores.error < 0.1} == set()
    assert {noisy.OURS, *noisy.REFERENCES} < set(found)


@pytest.mark.parametrize("name", derivatives.FUNCTIONS)
def test_derivatives_of_the_functions_are_those_of_their_values(name: str) -> None:
    function = derivatives.FUNCTIONS[name]
    x, _, dy = derivatives.samples(function, 200, seed=1)
    for k, step in enumerate(1e-5 * np.eye(2)):
        slopes = (function.values(x + step) - function.values(x - step)) / 2e-5
        np.testing.assert_allclose(dy[:, k], slopes, rtol=1e-5, atol=1e-5 * np.abs(dy).max())


def test_derivatives_lower_the_error_five_times() -> None:
    without, with_them = derivatives.errors(derivatives.FUNCTIONS["gaussian"], 100, 1, n_iterations=8000)
    assert with_them < without / 5


@pytest.mark.parametrize(
    ("small", "large", "n", "again"),
    [
        (1, 1, 1, []),
        (0, 1, 1, ["1.05"]),
        (1, 0, 1, []),  # that must be flagged always
        (2, 3, 3, ["1.05"]),
        (3, 4, 4, []),
    ],
)
def test_a_small_slow_down_that_was_missed_gets_more_rounds(
    small: int, large: int, n: int, again: list[str]
) -> None:
    flagged = {"1.10": large, "1.05": small, "allocating": n, "comment only": 0, "base against itself": 0}
    assert selftest.missed(flagged, dict.fromkeys(flagged, n)) == again
    assert selftest.least("1.05", n) <= n
