"""Networks as files of plain Python: they compute what the network does, from nothing but `math`."""

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exact_networks import CLASSES, FORMULAS, error, error_of, exact, outputs_of, random_net
from numba import njit

from crabnet_jit import GELU, NN, Activation, Sine, Standardization, fit
from crabnet_jit.data.columns import Column, Columns
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.labels import Labels
from crabnet_jit.exchange.common import exportable
from crabnet_jit.exchange.python_code import python_source
from crabnet_jit.network.schema import Schema

HOSTILE = [
    "'",
    '"',
    '"""',
    "'''",
    "\\",
    "a\nraise SystemExit(1)\n",
    "'); raise SystemExit(1) #",
    "*/",
    "\0",
    "\ud800",
    "\U0001f980",
    "\u2028\r\x0c",
    "{v}",
    "%s",
    "relu(",
    "x" * 500,
]


def module_of(net: NN) -> Any:
    """The names that its file defines."""
    text = python_source(exportable(net))
    text.encode("ascii")
    names: dict[str, Any] = {}
    exec(compile(text, "net.py", "exec"), names)
    return SimpleNamespace(**names)


def values_of(net: NN, x: Any) -> list[list[float]]:
    """Predictions, or probabilities, of each sample."""
    file = module_of(net)
    if net.classes is not None:
        return [file.predict_proba(row) for row in x]
    values = [file.predict(row) for row in x]
    return [[value] for value in values] if net.out_features == 1 else values


# ---- what they compute ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("depth", range(4))
def test_a_file_is_as_accurate_as_the_network(depth: int, dtype: str) -> None:
    rng = np.random.default_rng(depth)
    for _ in range(20):
        net = random_net(rng, [int(n) for n in rng.integers(1, 20, depth + 2)], dtype)
        x = rng.normal(size=(8, net.in_features))
        truth = exact(net, x)
        assert error(values_of(net, x), truth) <= 4 * error_of(net, x, truth)


def test_the_tail_of_gelu_has_all_digits() -> None:
    net = NN(1, [], 1, output_activation=GELU(), init=[1.0, 0.0])
    file = module_of(net)
    for v in (-0.5, -1.1, -3.3, -7.7, -15.1, -25.3, -36.7, 0.3, 5.5):
        truth = exact(net, [[v]])
        assert error([[file.predict([v])]], truth) < 2e-15, v


@pytest.mark.parametrize("kind", CLASSES)
def test_a_classifier_has_the_probabilities_and_labels_of_the_network(kind: str) -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for n_hidden in (0, 5, 9):
        n_out = outputs_of(kind)
        sizes = [4, n_hidden, n_out] if n_hidden else [4, n_out]
        net = random_net(rng, sizes, kind=kind)
        x = 3 * rng.normal(size=(20, 4))
        truth, file = exact(net, x), module_of(net)
        assert error(values_of(net, x), truth) <= 4 * error_of(net, x, truth)
        predicted = [file.predict(row) for row in x]
        assert predicted == net.predict(x).tolist()
        assert list(file.LABELS) == CLASSES[kind][1]
        assert np.ndim(predicted[0]) == (kind == "multilabel")
        seen |= set(map(str, predicted))
    assert len(seen) > 1


def test_both_probabilities_of_two_classes_have_all_digits() -> None:
    net = NN(1, [], 1, init=[1.0, 0.0])
    net.schema = Schema(labels=Labels(np.array(["a", "b"])), task="classification")
    file = module_of(net)
    assert file.predict_proba([50.0])[0] == pytest.approx(np.exp(-50.0), rel=1e-15)
    assert file.predict_proba([-50.0])[1] == pytest.approx(np.exp(-50.0), rel=1e-15)
    assert file.predict_proba([0.0]) == [0.5, 0.5]
    assert file.predict([0.0]) == net.predict([[0.0]])[0] == "a"


def test_a_fitted_network_alone_in_a_process(tmp_path: Path) -> None:
    """Without site-packages and the environment, and with warnings as errors."""
    x = np.random.default_rng(0).uniform(0, 10, (50, 2))
    for y in (x[:, 0] * x[:, 1], x @ [[1.0, 2.0], [3.0, 4.0]], np.where(x[:, 0] > 5, "a", "b"), x > 5):
        loss = "binary_cross_entropy" if y.dtype == bool else "auto"
        net = fit(x, y, hidden_sizes=(4,), activation="silu", n_iterations=20, seed=1, loss=loss)
        file = tmp_path / "net.py"
        file.write_text(python_source(exportable(net)), encoding="ascii")
        code = (
            "import importlib.util\n"
            f"spec = importlib.util.spec_from_file_location('net', {str(file)!r})\n"
            "net = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(net)\n"
            "print(net.predict([1.0, 2.0]), net.is_inside([5.0, 5.0]), net.is_inside([5.0, 11.0]), sep=';')"
        )
        command = [sys.executable, "-I", "-S", "-W", "error", "-c", code]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        value, *is_inside = run.stdout.strip().split(";")
        expected = net.predict([[1.0, 2.0]])[0].tolist()
        assert isinstance(expected, str) or np.allclose(ast.literal_eval(value), expected, rtol=1e-13)
        assert not isinstance(expected, str) or value == expected
        assert is_inside == ["True", "False"]
        assert run.stderr == ""


# ---- corners ----


@njit
def predict_into(net: Any, x: Any, y: Any) -> None:
    net.predict_into(x, y)


EXTREMES = [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e160, -1e160, 800.0, -800.0, 5e-324, 0.0, -0.0]


@pytest.mark.parametrize("kind", [None, "multilabel", "texts", "two"])
def test_extremes_are_what_they_are_for_the_network(kind: str | None) -> None:
    """Numbers that are not finite, which `predict` refuses, are those of compiled code; nothing is raised."""
    n_out = outputs_of(kind)
    y = np.empty(2 if kind == "two" else 3)
    for activation in (activation for activation, _ in FORMULAS if not isinstance(activation, Sine)):
        net = with_activation(activation, n_out, kind)
        file = module_of(net)
        for a in EXTREMES:
            for b in EXTREMES:
                predict_into(net, np.array([a, b]), y)
                values = file.predict([a, b]) if kind is None else file.predict_proba([a, b])
                np.testing.assert_allclose(
                    values, y, rtol=1e-12, atol=1e-300, err_msg=f"{activation} {a} {b}"
                )
                file.predict([a, b])


def with_activation(activation: Activation, n_out: int, kind: str | None) -> NN:
    net = NN(2, [3, 4], n_out, 1, activation=activation, init="glorot_uniform")
    if kind is not None:
        task, labels = CLASSES[kind]
        net.schema = Schema(labels=Labels(np.array(labels)), task=task)
    return net


def test_the_sine_of_what_is_not_finite_is_nan() -> None:
    file = module_of(NN(1, [], 1, output_activation=Sine(2.0), init=[1.0, 0.0]))
    assert all(np.isnan(file.predict([v])) for v in (np.inf, -np.inf, np.nan, 1e308))
    assert file.predict([0.5]) == pytest.approx(np.sin(1.0), rel=1e-15)


def test_another_number_of_inputs_is_an_error() -> None:
    net = fit([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [1.0, 2.0, 3.0], n_iterations=2)
    file = module_of(net)
    for x in ([], [1.0], [1.0, 2.0, 3.0]):
        for function in (file.predict, file.is_inside):
            with pytest.raises(ValueError, match=f"x must have 2 numbers, got {len(x)}"):
                function(x)


def test_any_sequence_of_numbers_is_taken_and_computed_in_float64() -> None:
    net = random_net(np.random.default_rng(3), [2, 5, 1])
    file = module_of(net)
    expected = file.predict([0.1, 2.0])
    assert type(expected) is float
    assert file.predict((0.1, 2)) == file.predict(np.array([0.1, 2.0])) == expected
    of_float32 = file.predict(np.array([0.1, 2.0], np.float32))
    assert of_float32 == file.predict([float(np.float32(0.1)), 2.0]) != expected
    assert type(of_float32) is float


def test_is_inside_as_the_network_says() -> None:
    net = NN(2, [3], 1, 1)
    assert not hasattr(module_of(net), "is_inside")
    net.domain = Domain(np.zeros(2), np.ones(2), np.zeros(2), np.eye(2))
    file = module_of(net)
    points = [(0, 0), (1, 1), (0.5, 0.5), (-0.1, 0.5), (0.5, 1.1)]
    assert [file.is_inside(point) for point in points] == net.is_inside(points).tolist()
    assert not file.is_inside([np.nan, 0.5])


# ---- what stands in the file ----


def test_parameters_and_units_are_the_same_numbers() -> None:
    rng = np.random.default_rng(5)
    for dtype in ("float64", "float32"):
        net = random_net(rng, [3, 30, 2], dtype)
        numbers = [rng.normal(size=n) * 10.0 ** rng.integers(-300, 300, n) for n in (3, 3, 2, 2)]
        net.standardization = Standardization(numbers[0], abs(numbers[1]), numbers[2], abs(numbers[3]))
        net.parameters[:2] = 1e-45, -0.0
        file = module_of(net)
        for k, layer in enumerate(net.layers, 1):
            W, b = np.array(getattr(file, f"W_{k}")), np.array(getattr(file, f"B_{k}"))
            assert W.astype(dtype).tobytes() == layer.W.tobytes()
            assert b.astype(dtype).tobytes() == layer.b.tobytes()
        for name, part in net.standardization._asdict().items():
            assert np.array(getattr(file, name.upper())).tobytes() == part.tobytes()


def skeleton(text: str) -> str:
    """The code of a file, without the texts in it."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def test_names_and_labels_are_data() -> None:
    def named(names: list[str]) -> NN:
        net = NN(len(names), [2], len(names), 1, activation="tanh")
        columns = Columns(tuple(map(Column, names)))
        net.schema = Schema(columns, tuple(names), Labels(np.array(sorted(names))), "classification")
        return net

    hostile = named(HOSTILE)
    text = python_source(exportable(hostile))
    assert skeleton(text) == skeleton(python_source(exportable(named([f"x{k:02}" for k in range(16)]))))
    file = module_of(hostile)
    assert list(file.INPUT_NAMES) == list(file.OUTPUT_NAMES) == HOSTILE
    assert list(file.LABELS) == hostile.schema.labels.values.tolist()  # type: ignore[union-attr]
    assert file.predict([0.0] * 16) in HOSTILE


@pytest.mark.parametrize("kind", [None, *CLASSES])
def test_a_file_is_short_of_nothing_and_has_nothing_in_vain(kind: str | None) -> None:
    """It is of Python 3.8, imports `math` only, uses all it defines, and no line is longer than 110."""
    rng = np.random.default_rng(6)
    public = {"predict", "predict_proba", "is_inside", "OUTPUT_NAMES", "LABELS"}
    for _ in range(30):
        n_out = outputs_of(kind)
        net = random_net(rng, [int(n) for n in rng.integers(1, 40, 3)] + [n_out], kind=kind)
        zeros = np.zeros(net.in_features)
        net.domain = Domain(zeros, zeros, zeros, np.diag(zeros))
        text = python_source(exportable(net))
        assert max(map(len, text.splitlines())) <= 110
        tree = ast.parse(text, feature_version=(3, 8))
        imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert [ast.unparse(node) for node in imported] == ["import math"]
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        defined |= {
            ast.unparse(t) for node in tree.body if isinstance(node, ast.Assign) for t in node.targets
        }
        assert defined - public <= used
        assert ("predict_proba" in defined) == (kind is not None)


def test_the_text_of_a_small_network() -> None:
    net = NN(2, [2], 1, activation=GELU("tanh"), init=np.arange(1.0, 10.0))
    assert (
        python_source(net)
        == '''"""A neural network as plain Python, made by crabnet-jit.

predict(x) takes a sequence of numbers, one for each of INPUT_NAMES, in the units of the data.
"""

import math

INPUT_NAMES = ('x0', 'x1')
OUTPUT_NAMES = ('y0',)
W_1 = (
    (1.0, 2.0),
    (3.0, 4.0),
)
B_1 = (5.0, 6.0)
W_2 = (
    (7.0, 8.0),
)
B_2 = (9.0,)


def sigmoid(v):
    """Return 1 / (1 + exp(-v)), without overflow."""
    e = math.exp(-abs(v))
    return 1.0 / (1.0 + e) if v > 0.0 else e / (1.0 + e)


def gelu_tanh(v):
    """Return v * (1 + tanh(u)) / 2, by the logistic function of 2 * u."""
    u = math.sqrt(2.0 / math.pi) * v * (1.0 + 0.044715 * (v * v))
    return v * sigmoid(2.0 * u)


def total(terms):
    """Return their sum, rounded once; if it is not finite, as floats add up."""
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):
        return sum(terms)


def linear(W, b, h):
    """Return W h + b."""
    return [total([w * v for w, v in zip(row, h)] + [bias]) for row, bias in zip(W, b)]


def numbers(x):
    """Return x as a list of floats, one for each of INPUT_NAMES."""
    values = [float(v) for v in x]
    if len(values) != len(INPUT_NAMES):
        raise ValueError(f"x must have {len(INPUT_NAMES)} numbers, got {len(values)}")
    return values


def outputs(x):
    """Return a list of the outputs."""
    h = numbers(x)
    h = [gelu_tanh(v) for v in linear(W_1, B_1, h)]
    h = linear(W_2, B_2, h)
    return h


def predict(x):
    """Return the output, a float."""
    return outputs(x)[0]
'''
    )
