"""Losses that say what the noise is: quantiles, standard deviations and counts."""

import ctypes
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy.stats import norm
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

import crabnet_jit
from crabnet_jit import (
    MSE,
    NN,
    ArraySource,
    Callback,
    Checkpoint,
    CrossEntropy,
    FileFormatError,
    GaussianNLL,
    InvalidArgumentError,
    Objective,
    Poisson,
    Quantile,
    Standardization,
    Trainer,
    diagnose,
    export,
    fit,
    load,
    save,
    score,
    to_latex,
    to_sklearn,
    to_sympy,
)
from crabnet_jit.estimators import NNRegressor
from crabnet_jit.exchange.common import exportable
from crabnet_jit.exchange.python_code import python_source
from crabnet_jit.network.files import contents, from_contents
from crabnet_jit.network.schema import Schema

PACKAGE: Any = crabnet_jit
LEVELS = [0.05, 0.5, 0.95]
NORMAL = np.array([-1.6448536269514722, 0.0, 1.6448536269514722])  # those quantiles of a normal variable


def waves(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Inputs, and values of sin(x) whose noise grows with |x|."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    return x, np.sin(x) + noise_at(x) * rng.normal(size=n)


def noise_at(x: Any) -> Any:
    return 0.1 + 0.2 * np.abs(x)


def counts(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Inputs, and counts of two kinds (n, 2)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, n)
    return x, rng.poisson(means_at(x)).astype(float)


def means_at(x: Any) -> Any:
    return np.column_stack([np.exp(1 + np.sin(2 * x)), 50 + 20 * x])


@pytest.fixture(scope="module")
def of_quantiles() -> NN:
    return fit(*waves(2000), loss=Quantile(LEVELS), n_iterations=6000)


@pytest.fixture(scope="module")
def of_noise() -> NN:
    return fit(*waves(2000), loss="gaussian_nll", n_iterations=6000)


@pytest.fixture(scope="module")
def of_counts() -> NN:
    return fit(*counts(1000), loss="poisson", n_iterations=3000)


class _StopAt(Callback):
    """Interrupts a run."""

    def __init__(self, iteration: int) -> None:
        self.every = iteration

    def __call__(self, run: Any) -> None:
        raise KeyboardInterrupt


# ---- the losses ----


def pinball(x: Any, target: Any, q: Any) -> Any:
    error = target - x
    return np.maximum(q * error, (q - 1) * error)


def test_quantiles_of_several_targets_follow_each_other() -> None:
    rng = np.random.default_rng(0)
    x, target, w = rng.normal(size=(20, 6)), rng.normal(size=(20, 2)), rng.uniform(0, 2, 20)
    q = [0.1, 0.4, 0.8]
    expected = np.mean([pinball(x[:, 2 * k : 2 * k + 2], target, q[k]) for k in range(3)], axis=(0, 2))
    loss = Quantile(q)
    assert loss.forward(x, target) == pytest.approx(expected.mean(), rel=1e-14)
    assert loss.get_output(x, target, w) == pytest.approx(np.average(expected, weights=w), rel=1e-14)
    slope = np.where(np.tile(target, 3) > x, -np.repeat(q, 2), 1 - np.repeat(q, 2))
    np.testing.assert_allclose(loss.backward(), slope / 120, rtol=1e-14)


def test_quantile_of_an_exact_prediction_has_no_slope() -> None:
    loss = Quantile(0.9)
    assert loss.forward([[1.0]], [[1.0]]) == 0
    np.testing.assert_array_equal(loss.backward(), [[0.0]])


def test_poisson_is_half_the_deviance() -> None:
    x, target = np.array([[0.3, -1.0, 2.0, 0.0]]), np.array([[2.0, 0.0, 0.5, 1.0]])
    mean = np.exp(x)
    deviance = mean - target + np.where(target > 0, target * np.log(np.maximum(target, 0.1) / mean), 0)
    loss = Poisson()
    assert loss.forward(x, target) == pytest.approx(deviance.mean(), rel=1e-14)
    np.testing.assert_allclose(loss.backward(), (mean - target) / 4, rtol=1e-14)


@pytest.mark.parametrize("loss", [Quantile(), Quantile(0.2), Quantile([0.1, 0.9]), GaussianNLL(), Poisson()])
def test_they_are_plain_components(loss: Any) -> None:
    for same in (eval(repr(loss)), pickle.loads(pickle.dumps(loss)), type(loss)(**loss.options())):
        assert same == loss
        assert hash(same) == hash(loss)
    assert loss not in (MSE(), Quantile(0.3))


@pytest.mark.parametrize(
    ("q", "message"),
    [
        (0.0, "q must be a number above 0 and below 1, got 0.0"),
        (1, "q must be a number above 0 and below 1, got 1"),
        (np.nan, "q must be a number above 0 and below 1, got nan"),
        ("0.5", "q must be a number above 0 and below 1, got '0.5'"),
        (True, "q must be a number above 0 and below 1, got True"),
        ([], "q must be at least one quantile, got none"),
        ([0.1, 1.5], r"q\[1\] must be a number above 0 and below 1, got 1.5"),
        ([0.5, 0.1], "q must be different quantiles in ascending order, got 0.1 at index 1, after 0.5"),
        ([0.1, 0.5, 0.5], "q must be different quantiles in ascending order, got 0.5 at index 2, after 0.5"),
    ],
)
def test_wrong_quantiles(q: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{message}"):
        Quantile(q)


@pytest.mark.parametrize("use", ["fit", "trainer", "objective", "loss", "diagnose"])
def test_negative_counts_are_named(use: str) -> None:
    x, y = np.zeros((3, 1)), np.array([[1.0], [2.0], [-1.0]])
    net = NN(1, [2], 1, rng=1)
    uses: dict[str, Callable[[], Any]] = {
        "fit": lambda: fit(x, y, loss="poisson"),
        "trainer": lambda: Trainer(net, ArraySource(x, y), loss="poisson"),
        "objective": lambda: Objective(net, x, y, loss="poisson"),
        "loss": lambda: Poisson().forward(x, y),
        "diagnose": lambda: diagnose(net, x, y, loss="poisson"),
    }
    message = r"(y|target) must be at least 0 for the loss poisson, as counts are, got -1.0 at index \(2, 0\)"
    with pytest.raises(InvalidArgumentError, match=message):
        uses[use]()


@pytest.mark.parametrize("loss", [Quantile(LEVELS), GaussianNLL(), Poisson()])
def test_labels_are_no_numbers(loss: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=f"y must be numbers for the loss {loss.name}"):
        fit([0.0, 1.0, 2.0], ["a", "b", "a"], loss=loss)


def test_widths_are_checked_with_the_loss() -> None:
    x, y = np.zeros((4, 1)), np.zeros((4, 2))
    loss = Quantile([0.2, 0.5, 0.8])
    message = "net.out_features must be a multiple of 3 for Quantile.*, got 4"
    for use in (
        lambda net: Trainer(net, ArraySource(x, y), loss=loss),
        lambda net: Objective(net, x, y, loss=loss),
        lambda net: diagnose(net, x, y, loss=loss),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            use(NN(1, [2], 4, rng=1))
    with pytest.raises(InvalidArgumentError, match=r"source.out_features must be the network's 3, 1 with Q"):
        Trainer(NN(1, [2], 3, rng=1), ArraySource(x, y), loss=loss)
    with pytest.raises(InvalidArgumentError, match=r"y must be of shape \(n_samples, 1\)"):
        Objective(NN(1, [2], 3, rng=1), x, y, loss=loss)
    assert Trainer(NN(1, [2], 6, rng=1), ArraySource(x, y), loss=loss).run(3).losses.size == 3


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (
            lambda net: PACKAGE.fit([0.0], [0.0], quantile=0.5),
            r"the loss takes them, as in loss=Quantile\(\[",
        ),
        (lambda net: fit([0.0], [0.0], loss="pinball"), "did you mean 'quantile'"),
        (lambda net: fit([0.0], [0.0], loss="gaussian"), "did you mean 'gaussian_nll'"),
        (lambda net: net.interval([0.0], confidence=0.9), "it is called level here"),
        (lambda net: net.predict_interval, r"it is interval\(x, level\)"),
        (lambda net: PACKAGE.PoissonNLLLoss, "did you mean crabnet_jit.Poisson"),
    ],
)
def test_names_of_other_libraries(wrong: Any, hint: str, of_noise: NN) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError), match=hint):
        wrong(of_noise)


# ---- quantiles ----


def test_quantiles_are_those_of_the_noise(of_quantiles: NN) -> None:
    x = np.linspace(-2.8, 2.8, 57)
    expected = np.sin(x)[:, None] + noise_at(x)[:, None] * NORMAL
    assert np.abs(of_quantiles(x) - expected).mean() < 0.1
    assert np.abs(of_quantiles(x) - expected).max() < 0.5
    x, y = waves(4000, seed=1)
    shares = (y[:, None] < of_quantiles(x)).mean(axis=0)
    np.testing.assert_allclose(shares, LEVELS, atol=0.03)


def test_without_inputs_they_are_empirical() -> None:
    y = np.random.default_rng(0).exponential(size=(301, 2)) * [1.0, 1000.0]
    q = [0.1, 0.5, 0.9]
    net = fit(np.zeros(301), y, hidden_sizes=[], loss=Quantile(q), batch_size=301, n_iterations=20_000)
    np.testing.assert_allclose(net([0.0]).reshape(3, 2), np.quantile(y, q, axis=0), rtol=0.02)


@pytest.mark.parametrize(
    ("q", "middle"), [(0.9, 0), ([0.1, 0.9], 0), ([0.05, 0.95], 0), ([0.1, 0.4, 0.8], 1), (LEVELS, 1)]
)
def test_predictions_are_those_next_to_the_median(q: Any, middle: int) -> None:
    x, y = waves(50)
    both = np.column_stack([y, 100 - y])
    net = fit(x, both, loss=Quantile(q), n_iterations=5)
    assert net.n_targets == 2
    assert net.output_names == ["y0", "y1"]
    np.testing.assert_array_equal(net.predict(x), net.response(x)[:, 2 * middle : 2 * middle + 2])
    flat = fit(x, y, loss=Quantile(q), n_iterations=5)
    np.testing.assert_array_equal(flat.predict(x), flat.response(x)[:, middle])
    assert score(flat, x, y).rmse.shape == (1,)


def test_all_quantiles_come_from_compiled_code(of_quantiles: NN) -> None:
    @njit  # type: ignore[untyped-decorator]
    def values(net: Any, x: float) -> Any:
        return net(x)

    expected = of_quantiles([0.7])[0]
    assert expected.shape == (3,)
    np.testing.assert_allclose(values(of_quantiles, 0.7), expected, rtol=1e-13)
    np.testing.assert_allclose(of_quantiles.freeze()(0.7), expected, rtol=1e-13)
    assert of_quantiles.jacobian([0.7]).shape == (1, 3, 1)


# ---- standard deviations ----


def test_gaussian_nll_is_the_density_of_normal_variables() -> None:
    rng = np.random.default_rng(0)
    mean, log_std, target = (rng.normal(size=(9, 2)) for _ in range(3))
    loss = GaussianNLL()
    expected = -norm.logpdf(target, mean, np.exp(log_std)).mean() - np.log(2 * np.pi) / 2
    assert loss.forward(np.hstack([mean, log_std]), target) == pytest.approx(expected, rel=1e-13)
    z = (mean - target) / np.exp(log_std)
    np.testing.assert_allclose(loss.backward(), np.hstack([z / np.exp(log_std), 1 - z**2]) / 18, rtol=1e-12)


def test_standard_deviations_are_those_of_the_noise(of_noise: NN) -> None:
    x = np.linspace(-2.8, 2.8, 57)
    mean, std = of_noise.predict(x, return_std=True)
    assert mean.shape == std.shape == (57,)
    assert np.abs(mean - np.sin(x)).mean() < 0.05
    assert np.abs(std / noise_at(x) - 1).mean() < 0.1
    np.testing.assert_array_equal(of_noise.predict(x), mean)
    np.testing.assert_array_equal(of_noise(x), np.column_stack([mean, std]))
    assert score(of_noise, *waves(500, seed=1)).rmse[0] < 0.5


def test_means_and_standard_deviations_have_the_units_of_their_targets() -> None:
    x, y = waves(500)
    both = np.column_stack([y, 1e6 - 1000 * y])
    options: dict[str, Any] = {"loss": "gaussian_nll", "hidden_sizes": [8], "n_iterations": 3000}
    net = fit(x, both, **options)
    assert net.out_features == 4
    mean, std = net.predict(x, return_std=True)
    assert mean.shape == std.shape == (500, 2)
    np.testing.assert_allclose(std[:, 1] / std[:, 0], 1000, rtol=0.5)
    assert np.abs(mean - both)[:, 1].mean() < 500
    assert net.standardization is not None
    np.testing.assert_allclose(net.standardization.y_mean[2:], np.log(both.std(axis=0)))
    np.testing.assert_array_equal(net.standardization.y_std[2:], [1, 1])
    scaled = fit(x, 2.0**10 * both, **options)
    np.testing.assert_allclose(scaled.predict(x, return_std=True)[1], 2.0**10 * std, rtol=1e-6)
    raw = fit(x, y, standardize=False, **options)
    assert 0.05 < raw.predict(x, return_std=True)[1].mean() < 1


def test_without_inputs_they_are_those_of_the_sample() -> None:
    y = np.random.default_rng(0).normal(7.0, 3.0, size=200)
    net = fit(np.zeros(200), y, hidden_sizes=[], loss="gaussian_nll", batch_size=200)
    mean, std = net.predict([0.0], return_std=True)
    assert (mean[0], std[0]) == (pytest.approx(y.mean(), rel=1e-6), pytest.approx(y.std(), rel=1e-6))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("y", [np.sin(np.linspace(0, 6, 300)), np.full(300, 5.0)])
def test_data_without_noise_do_no_harm(y: Any, dtype: str) -> None:
    x = np.linspace(0, 6, 300)
    net = fit(x, y, loss="gaussian_nll", dtype=dtype, n_iterations=3000)
    mean, std = net.predict(x, return_std=True)
    assert np.abs(mean - y).mean() < 0.1
    assert 0 < std.mean() < 0.1


def test_values_in_compiled_code_are_means_and_standard_deviations(of_noise: NN) -> None:
    @njit  # type: ignore[untyped-decorator]
    def values(net: Any, x: float) -> Any:
        return net(x)

    expected = of_noise([0.7])[0]
    np.testing.assert_allclose(values(of_noise, 0.7), expected, rtol=1e-12)
    np.testing.assert_allclose(of_noise.freeze()(0.7), expected, rtol=1e-12)
    point, y = (ctypes.c_double * 1)(0.7), (ctypes.c_double * 2)()
    of_noise.cfunc().ctypes(point, y)
    np.testing.assert_allclose(y[:], expected, rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["levenberg_marquardt", "bayesian_regularization"])
@pytest.mark.parametrize("loss", ["gaussian_nll", Quantile(LEVELS)])
def test_what_has_no_curvature_is_named(loss: Any, optimizer: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"loss must be .*mse.* for \w+, got (Gauss|Quant)"):
        fit(*waves(20), loss=loss, optimizer=optimizer)


# ---- counts ----


def test_means_of_counts(of_counts: NN) -> None:
    x = np.linspace(-1.9, 1.9, 39)
    np.testing.assert_allclose(of_counts.predict(x) / means_at(x), 1, atol=0.25)
    assert np.abs(of_counts.predict(x) / means_at(x) - 1).mean() < 0.05
    assert of_counts.standardization is not None
    np.testing.assert_array_equal(of_counts.standardization.y_mean, [0, 0])
    np.testing.assert_array_equal(of_counts.standardization.y_std, [1, 1])


def test_a_fit_of_counts_begins_at_their_means() -> None:
    x, y = counts(200)
    w = np.arange(200.0)
    net = fit(x, y, loss="poisson", n_iterations=1, learning_rate=0.0, sample_weight=w)
    np.testing.assert_allclose(np.exp(net.layers[-1].b[:, 0]), np.average(y, axis=0, weights=w))
    none = fit(x, np.zeros(200), loss="poisson", n_iterations=1, learning_rate=0.0)
    assert none.layers[-1].b[0, 0] == 0


@pytest.mark.parametrize("optimizer", ["adam", "levenberg_marquardt"])
def test_the_least_deviance_has_the_right_sum(optimizer: str) -> None:
    """The derivative with respect to the last bias is 0 there: predictions and counts have the same sum."""
    x, y = counts(300)
    options: dict[str, Any] = {} if optimizer == "levenberg_marquardt" else {"batch_size": 300}
    net = fit(x, y, loss="poisson", optimizer=optimizer, hidden_sizes=[4], n_iterations=500, **options)
    tolerance = 1e-3 if optimizer == "levenberg_marquardt" else 0.02
    np.testing.assert_allclose(net.predict(x).sum(axis=0), y.sum(axis=0), rtol=tolerance)


def test_means_are_the_same_everywhere(of_counts: NN) -> None:
    @njit  # type: ignore[untyped-decorator]
    def values(net: Any, x: float) -> Any:
        return net(x)

    x = np.linspace(-2, 2, 100)
    expected = of_counts.predict(x)
    np.testing.assert_allclose(expected, np.exp(of_counts.get_output(x)), rtol=1e-13)
    few = np.vstack([of_counts.predict(x[k : k + 1]) for k in range(100)])
    np.testing.assert_allclose(few, expected, rtol=1e-13)
    np.testing.assert_allclose([values(of_counts, v) for v in x], expected, rtol=1e-12)
    frozen = of_counts.freeze()
    np.testing.assert_allclose([frozen(v) for v in x], expected, rtol=1e-12)
    point, y = (ctypes.c_double * 1)(0.5), (ctypes.c_double * 2)()
    of_counts.cfunc().ctypes(point, y)
    np.testing.assert_allclose(y[:], of_counts.predict([0.5])[0], rtol=1e-12)
    np.testing.assert_array_equal(of_counts(x), expected)


def test_one_kind_of_counts_is_a_number() -> None:
    x, y = counts(100)
    net = fit(x, y[:, 0], loss="poisson", n_iterations=100, dtype="float32")
    assert net.predict([0.5]).shape == (1,)
    integral = pytest.importorskip("scipy.integrate").quad(net.low_level_callable(), 0, 1)[0]
    assert integral == pytest.approx(net.predict(np.linspace(0.005, 0.995, 100)).mean(), rel=1e-4)


def test_units_of_logarithms_are_heeded() -> None:
    """By hand: fits leave them at 0 and 1."""
    net = NN(1, [], 1, init=[2.0, 0.5])
    net.standardization = Standardization(*np.array([[0.0], [1.0], [0.25], [3.0]]))
    net.schema = Schema(heads="log_means")
    expected = np.exp(3.0 * (2.0 * 0.1 + 0.5) + 0.25)
    for value in (net.predict([[0.1]])[0, 0], net.predict(np.full((100, 1), 0.1))[99, 0], net.freeze()(0.1)):
        assert value == pytest.approx(expected, rel=1e-14)
    for exported in exports(net, Path("unused"), only="python"):
        assert exported([0.1]) == pytest.approx([expected], rel=1e-14)


# ---- files, and other programs ----


def exports(net: NN, folder: Path, only: str = "") -> list[Callable[[Any], Any]]:
    """The network in other programs, as functions of a row."""
    names: dict[str, Any] = {}
    exec(python_source(exportable(net)), names)
    file = SimpleNamespace(**names)
    functions: list[Callable[[Any], Any]] = [lambda row: np.atleast_1d(file.predict(row))]
    if only == "python":
        return functions
    export(net, folder / "net.c")
    command = "gcc -O2 -Wall -Werror -shared -fPIC net.c -o net.so -lm"
    if subprocess.run(["which", "gcc"], capture_output=True, check=False).returncode == 0:
        subprocess.run(command, shell=True, cwd=folder, check=True)
        library = ctypes.CDLL(str(folder / "net.so"))

        def in_c(row: Any) -> Any:
            x, y = np.array(row), np.empty(net.out_features)
            library.net_predict(x.ctypes, y.ctypes)
            return y

        functions.append(in_c)
        subprocess.run("gcc -DNET_SELF_TEST net.c -o test -lm && ./test", shell=True, cwd=folder, check=True)
    onnxruntime = pytest.importorskip("onnxruntime")
    export(net, folder / "net.onnx")
    session = onnxruntime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    functions.append(lambda row: session.run(["y"], {"x": np.array([row])})[0][0])
    sympy = pytest.importorskip("sympy")
    symbols = sympy.symbols(f"x:{net.in_features}", real=True)
    function = sympy.lambdify(symbols, to_sympy(net, symbols), modules="math", cse=True)
    functions.append(lambda row: np.atleast_1d(function(*row)))
    return functions


@pytest.mark.parametrize("loss", [Quantile(LEVELS), GaussianNLL(), Poisson()])
def test_other_programs_give_the_same(loss: Any, tmp_path: Path) -> None:
    x, y = counts(200)
    net = fit(x, y, loss=loss, hidden_sizes=[4], n_iterations=300)
    for function in exports(net, tmp_path):
        for value in (-1.5, 0.0, 0.8):
            np.testing.assert_allclose(function([value]), net([value])[0], rtol=1e-9)


def test_names_of_exported_outputs(of_quantiles: NN, of_counts: NN, tmp_path: Path) -> None:
    export(of_quantiles, tmp_path / "net.py")
    for name in ("'y0, quantile 0.05'", "'y0, quantile 0.5'", "'y0, quantile 0.95'"):
        assert name in (tmp_path / "net.py").read_text()
    assert r"y_{0} &= \exp\left(1 \left(" in to_latex(of_counts)


def test_programs_that_make_no_powers(of_counts: NN, of_noise: NN) -> None:
    message = (
        "net must be one without logarithms among its outputs, for scikit-learn, got one whose outputs are "
    )
    for net, heads in ((of_counts, "log_means"), (of_noise, "means_and_log_stds")):
        with pytest.raises(InvalidArgumentError, match=message + heads):
            to_sklearn(net)
    narrow = fit(*waves(50), loss=Quantile(LEVELS), n_iterations=5, hidden_sizes=[3])
    np.testing.assert_allclose(to_sklearn(narrow).predict([[0.5]]), narrow([0.5]), rtol=1e-12)


@pytest.mark.parametrize("kind", ["quantiles", "noise", "counts"])
def test_files_keep_what_outputs_mean(
    kind: str, of_quantiles: NN, of_noise: NN, of_counts: NN, tmp_path: Path
) -> None:
    net = {"quantiles": of_quantiles, "noise": of_noise, "counts": of_counts}[kind]
    save(net, tmp_path / "net.npz")
    for same in (load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(net))):
        assert same.schema == net.schema
        np.testing.assert_array_equal(same.predict([0.3, 0.4]), net.predict([0.3, 0.4]))
        np.testing.assert_array_equal(same([0.3]), net([0.3]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": "quantiles", "quantiles": [0.2, 0.1, 0.5]},
        {"heads": "quantiles", "quantiles": [0.2, 0.5]},
        {"heads": "quantiles", "quantiles": "0.5"},
        {"heads": "values", "quantiles": LEVELS},
        {"heads": "log_means", "quantiles": LEVELS},
        {"heads": "means_and_log_stds", "quantiles": []},
        {"heads": "no"},
        {"heads": None},
        {"heads": "values", "quantiles": []},
        {"task": "classification", "classes": [0, 1, 2]},
        {"output_names": ["a", "b", "c"]},
    ],
)
def test_readers_believe_nothing(wrong: dict[str, Any], of_quantiles: NN) -> None:
    values, arrays = contents(of_quantiles)
    assert from_contents(values, dict(arrays)).schema == of_quantiles.schema
    values["schema"] = {**values["schema"], **wrong}
    with pytest.raises((ValueError, TypeError)):
        from_contents(values, dict(arrays))


def test_files_of_version_2_have_values() -> None:
    values = Schema(is_flat=True).values()
    del values["heads"], values["quantiles"]
    assert Schema.from_values(values) == Schema(is_flat=True)


# ---- runs ----


@pytest.mark.parametrize("loss", [Quantile(LEVELS), Quantile(0.3), GaussianNLL(), Poisson()])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_chunks_make_no_difference(loss: Any, dtype: str) -> None:
    x, y = counts(70)
    runs = []
    for chunk_size in (1, 7, 100):
        net = NN(1, [5], 2 * loss.n_heads, rng=1, activation="tanh", init="glorot_uniform", dtype=dtype)
        source = ArraySource(x, y, 20, rng=2)
        trainer = Trainer(net, source, loss=loss, optimizer="adam", chunk_size=chunk_size)
        runs.append((trainer.run(50).losses.tobytes(), net.parameters.tobytes()))
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("loss", [Quantile(LEVELS), GaussianNLL(), Poisson()])
def test_runs_are_resumed(loss: Any, tmp_path: Path) -> None:
    x, y = counts(100)
    options: Any = {"hidden_sizes": [4], "n_iterations": 100, "validation": 0.2}
    whole = fit(x, y, loss=loss, **options)
    path = tmp_path / "run.npz"

    with pytest.raises(KeyboardInterrupt):
        fit(x, y, loss=loss, callbacks=[Checkpoint(path, every=20), _StopAt(60)], **options)
    again = fit(
        x, y, loss=loss, callbacks=[Checkpoint(path, every=20), _StopAt(1000)], resume=path, **options
    )
    np.testing.assert_array_equal(again.parameters, whole.parameters)
    others: dict[int, Any] = {1: "mse", 2: Quantile([0.1, 0.9]), 3: Quantile([0.1, 0.5, 0.9])}
    with pytest.raises(FileFormatError, match="is of another run: its loss is"):
        fit(
            x,
            y,
            loss=others[loss.n_heads],
            callbacks=[Checkpoint(path, every=20), _StopAt(1000)],
            resume=path,
            **options,
        )


def test_a_fit_goes_on_with_the_loss_of_its_start(of_quantiles: NN, of_noise: NN, of_counts: NN) -> None:
    x, y = waves(50)
    again = fit(x, y, start=of_quantiles, n_iterations=2)
    assert again.schema.quantiles == tuple(LEVELS)
    assert fit(x, y, start=of_noise, n_iterations=2).schema.heads == "means_and_log_stds"
    counted = fit(*counts(50), start=of_counts, n_iterations=2)
    assert counted.schema.heads == "log_means"
    message = r"loss must be one for the outputs of start, Quantile\(q=\(0.05, 0.5, 0.95\)\), got "
    for loss in ("mse", Quantile([0.1, 0.5, 0.9]), CrossEntropy()):
        with pytest.raises(InvalidArgumentError):
            fit(x, y, start=of_quantiles, loss=loss)
    with pytest.raises(InvalidArgumentError, match=message):
        fit(x, y, start=of_quantiles, loss="mse")
    values = fit(x, y, n_iterations=2)
    assert fit(x, y, start=values, loss=Quantile(0.9), n_iterations=2).schema.quantiles == (0.9,)
    with pytest.raises(InvalidArgumentError, match="loss must be one for the outputs of start"):
        fit(x, np.abs(y), start=values, loss="poisson")
    bare = NN(1, [4], 3, rng=1)
    assert fit(x, y, start=bare, loss=Quantile(LEVELS), n_iterations=2).schema.n_heads == 3


# ---- scikit-learn ----


def test_a_regressor_of_quantiles_and_of_counts() -> None:
    x, y = waves(200)
    X = x[:, None]
    model = clone(NNRegressor(loss=Quantile(LEVELS), n_iterations=50, random_state=0)).fit(X, y)
    assert model.predict(X).shape == (200,)
    assert (model.n_outputs_, model.out_activation_) == (1, "identity")
    np.testing.assert_array_equal(model.predict(X), model.net_.response(X)[:, 1])
    two = NNRegressor(loss=Quantile(LEVELS), n_iterations=5).fit(X, np.column_stack([y, y]))
    assert two.predict(X).shape == (200, 2)
    assert two.n_outputs_ == 2
    z, n = counts(200)
    of_counts = NNRegressor(loss="poisson", n_iterations=300, random_state=0).fit(z[:, None], n)
    assert of_counts.score(z[:, None], n) > 0.5
    h = z[:, None]
    for k, (W, b) in enumerate(zip(of_counts.coefs_, of_counts.intercepts_, strict=True)):
        h = h @ W + b
        h = h / (1 + np.exp(-h)) if k < 2 else np.exp(h)
    assert of_counts.out_activation_ == "exp"
    np.testing.assert_allclose(of_counts.predict(z[:, None]), h, rtol=1e-10)


@pytest.mark.parametrize("loss", [Quantile(LEVELS), "gaussian_nll", "poisson"])
def test_regressors_go_on(loss: Any) -> None:
    x, y = counts(100)
    X, y = x[:, None], y[:, 0]
    model = NNRegressor(loss=loss, n_iterations=20, warm_start=True, random_state=0).fit(X, y)
    before = model.net_.parameters.copy()
    model.fit(X, y)
    assert model.predict(X).shape == (100,)
    assert (model.net_.parameters != before).any()
    of_passes = NNRegressor(loss=loss, random_state=0)
    for _ in range(3):
        of_passes.partial_fit(X, y)
    assert of_passes.predict(X).shape == (100,)


@pytest.mark.parametrize("loss", [Quantile(LEVELS), "gaussian_nll"])
def test_scikit_learns_checks_pass(loss: Any) -> None:
    reason = "15 samples for a large network: its standard deviations go to 0, and rounding is amplified"
    amplified = {"check_sample_weight_equivalence_on_dense_data": reason} if loss == "gaussian_nll" else None
    model = NNRegressor(loss=loss)
    results = check_estimator(model, expected_failed_checks=amplified, on_skip=None, on_fail=None)
    assert [r for r in results if r["status"] not in ("passed", "skipped", "xfail")] == []


@pytest.mark.parametrize("loss", [Quantile(LEVELS), "gaussian_nll", "poisson"])
def test_weights_count_as_repetitions_do(loss: Any) -> None:
    x, y = counts(40)
    X, y, w = x[:, None], y[:, 0], np.random.default_rng(1).integers(0, 4, 40)
    options: dict[str, Any] = {"loss": loss, "n_iterations": 50, "random_state": 0}
    weighted = NNRegressor(**options).fit(X, y, sample_weight=w)
    repeated = NNRegressor(**options).fit(X.repeat(w, axis=0), y.repeat(w))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-9)
