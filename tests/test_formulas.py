"""Networks as formulas of SymPy and LaTeX: exact numbers, values, derivatives, and what is refused."""

import re
import sys
from typing import Any

import numpy as np
import pytest
import sympy
from exact_networks import CLASSES, FORMULAS, exact, outputs_of, random_net

from crabnet_jit import (
    ELU,
    GELU,
    NN,
    Activation,
    CustomActivation,
    InvalidArgumentError,
    LeakyReLU,
    Sine,
    Standardization,
    to_latex,
    to_sympy,
)
from crabnet_jit.data.columns import Column, Columns
from crabnet_jit.data.labels import Labels
from crabnet_jit.exchange import formulas
from crabnet_jit.network.schema import Schema

ALL = pytest.mark.parametrize("activation", [activation for activation, _ in FORMULAS], ids=repr)


def symbols_of(net: NN) -> list[sympy.Symbol]:
    return [sympy.Symbol(name, real=True) for name in net.input_names]


def listed(expressions: Any) -> list[Any]:
    return expressions if isinstance(expressions, list) else [expressions]


def values_of(net: NN, x: Any, modules: Any, **options: Any) -> Any:
    """The formulas as functions, (n_samples, n_values)."""
    symbols = symbols_of(net)
    functions = [sympy.lambdify(symbols, e, modules, **options) for e in listed(to_sympy(net))]
    return [[function(*map(float, row)) for function in functions] for row in x]


def difference(values: Any, truth: list[list[Any]]) -> Any:
    """The largest, relative where the truth is above 1."""
    pairs = [pair for rows in zip(values, truth, strict=True) for pair in zip(*rows, strict=True)]
    return max(abs(value - t) / max(1, abs(t)) for value, t in pairs)


def small_net(activation: Activation, n_out: int = 1, **options: Any) -> NN:
    rng = np.random.default_rng(7)
    net = NN(2, [3, 2], n_out, 1, activation=activation, **options)
    net.parameters = rng.normal(size=net.parameters.size)
    units = rng.normal(size=2), rng.uniform(0.2, 5.0, 2), rng.normal(size=n_out), rng.uniform(0.2, 5.0, n_out)
    net.standardization = Standardization(*units)
    return net


# ---- values ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_formulas_are_exact(dtype: str) -> None:
    """With 50 digits, they are the network with 50 digits. Numbers that SymPy evaluates have 18."""
    rng = np.random.default_rng(1)
    for depth in (0, 1, 1, 2, 2):
        for kind in (None, None, *CLASSES):
            sizes = [*(int(n) for n in rng.integers(1, 5, depth + 1)), outputs_of(kind)]
            net = random_net(rng, sizes, dtype, kind)
            x = rng.normal(size=(2, net.in_features))
            truth = exact(net, x)
            assert difference(values_of(net, x, "mpmath"), truth) < 1e-45
            assert difference(values_of(net, x, "mpmath", cse=True), truth) < 1e-17


@ALL
@pytest.mark.parametrize("modules", ["math", "numpy", ["scipy", "numpy"]], ids=repr)
def test_functions_of_formulas_are_as_accurate_as_floats_are(activation: Activation, modules: Any) -> None:
    for n_out in (1, 2):
        net = small_net(activation, n_out)
        x = np.random.default_rng(2).normal(size=(20, 2))
        for cse in (False, True):
            values = np.array(values_of(net, x, modules, cse=cse))
            assert np.abs(values - net.predict(x)).max() < 1e-14 * np.abs(values).max()


@pytest.mark.parametrize("kind", CLASSES)
def test_formulas_of_a_classifier_are_probabilities(kind: str) -> None:
    rng = np.random.default_rng(3)
    net = random_net(rng, [2, 3, outputs_of(kind)], kind=kind)
    x = rng.normal(size=(20, 2))
    assert np.abs(np.array(values_of(net, x, "math")) - net.predict_proba(x)).max() < 1e-14


def test_classes_of_equal_logits_each_count() -> None:
    """SymPy has one object for equal formulas."""
    net = NN(1, [], 3, init=[1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    net.schema = Schema(labels=Labels(np.array(["a", "b", "c"])), task="classification")
    assert [round(float(p.subs("x0", 2)), 12) for p in to_sympy(net)] == [round(1 / 3, 12)] * 3


@ALL
def test_derivatives_of_formulas_are_those_of_the_network(activation: Activation) -> None:
    net = small_net(activation)
    x = np.random.default_rng(4).normal(size=(20, 2))
    symbols, expression = symbols_of(net), to_sympy(net)
    gradient = [sympy.lambdify(symbols, sympy.diff(expression, s), "math", cse=True) for s in symbols]
    slopes = np.array([[function(*row) for function in gradient] for row in x.tolist()])
    expected = net.gradient(x)
    assert np.abs(slopes - expected).max() < 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("activation", ["tanh", "softplus", "silu", "gelu"])
def test_second_derivatives_too(activation: str) -> None:
    net = NN(2, [3], 1, 1, activation=activation, init="glorot_uniform")
    symbols, point = symbols_of(net), [0.3, -0.7]
    H = sympy.hessian(to_sympy(net), symbols).tolist()
    values = sympy.lambdify(symbols, H, "math", cse=True)(*point)
    assert np.allclose(values, net.hessian([point])[0, 0], rtol=1e-12, atol=1e-15)


def test_numbers_are_those_of_the_network() -> None:
    rng = np.random.default_rng(5)
    for dtype in ("float64", "float32"):
        net = NN(2, [3], 2, 1, activation="tanh", dtype=dtype)
        net.parameters = rng.normal(size=net.parameters.size) * 10.0 ** rng.integers(-30, 30, 17)
        units = [rng.normal(size=2) * 10.0 ** rng.integers(-300, 300, 2) for _ in range(4)]
        net.standardization = Standardization(units[0], abs(units[1]), units[2], abs(units[3]))
        there = {abs(float(n)) for e in to_sympy(net) for n in e.atoms(sympy.Float)}
        numbers = {abs(float(n)) for part in (net.parameters, *net.standardization) for n in part}
        assert numbers <= there
        code = sympy.ccode(to_sympy(net)[0])
        in_code = {abs(float(n)) for n in re.findall(r"\d+\.\d+(?:e[+-]\d+)?", code)}
        assert in_code >= {abs(float(n)) for n in (*net.layers[0].W.ravel(), net.layers[1].W[0, 0])}


# ---- symbols, and what is refused ----


def test_symbols_are_real_and_called_as_inputs() -> None:
    net = NN(2, [2], 1, 1, activation="tanh")
    assert to_sympy(net).free_symbols == {sympy.Symbol("x0", real=True), sympy.Symbol("x1", real=True)}
    own = sympy.symbols("a b", positive=True)
    assert to_sympy(net, own).free_symbols == set(own)
    assert to_sympy(net, sympy.Tuple(*own)) == to_sympy(net, own)
    net.schema = Schema(Columns((Column("sin(1)"), Column("__import__('os').abort() #\n\"\ud800"))))
    names = net.input_names
    assert {symbol.name for symbol in to_sympy(net).free_symbols} == set(names)
    function = sympy.lambdify(symbols_of(net), to_sympy(net))
    assert function(0.1, 0.2) == pytest.approx(net.predict([[0.1, 0.2]]).item(), rel=1e-14)


X0, X1 = sympy.symbols("x0 x1")


@pytest.mark.parametrize(
    "symbols", [[], [X0], [X0, X0], [X0, X1, X0], {X0, X1}, "ab", ["x0", "x1"], [X0, X1 + 1], X0, 5]
)
def test_wrong_symbols_are_refused(symbols: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="symbols must be a sequence of 2 distinct SymPy symbols"):
        to_sympy(NN(2, [2], 1, 1), symbols)


def test_a_large_network_is_refused_before_its_formula_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sympy", None)
    allowed = "net must be small: with a formula of at most 10,000 numbers and symbols"
    for net, size in (
        (NN(2, [32, 32, 32], 1, 1), "198,723"),
        (NN(2, [24, 24], 1, 1, activation="silu"), "12,747"),
        (NN(10_000, [], 1, 1), "20,003"),
    ):
        with pytest.raises(InvalidArgumentError, match=f"{allowed}, got one of {size}$"):
            to_sympy(net)


@ALL
def test_the_limit_is_of_what_a_formula_has(activation: Activation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers and symbols, but for constants of activations."""
    net = small_net(activation, 2)
    nodes = [node for e in to_sympy(net) for node in sympy.preorder_traversal(e)]
    size = sum(isinstance(node, (sympy.Float, sympy.Symbol)) for node in nodes)
    monkeypatch.setattr(formulas, "_MAX_SIZE", 0)
    with pytest.raises(InvalidArgumentError) as caught:
        to_sympy(net)
    told = int(str(caught.value).rpartition(" ")[2].replace(",", ""))
    assert told <= size <= 1.3 * told


def test_a_network_as_large_as_allowed_is_no_long_matter() -> None:
    net = NN(2, [32, 32], 1, 1, activation="tanh", init="glorot_uniform")
    function = sympy.lambdify(symbols_of(net), to_sympy(net), "math", cse=True)
    assert function(0.1, 0.2) == pytest.approx(net.predict([[0.1, 0.2]]).item(), rel=1e-13)


def square() -> CustomActivation:
    return CustomActivation(lambda v: v * v, lambda v: 2 * v)


@pytest.mark.parametrize("export", [to_sympy, to_latex])
def test_networks_that_are_no_formulas_are_refused(export: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"net.activations\[0\] must be one that other programs"):
        export(NN(1, [2], 1, 1, activation=square()))
    net = NN(1, [2], 1, 1)
    net.parameters[1] = np.inf
    with pytest.raises(InvalidArgumentError, match=r"net.parameters must be finite, got inf"):
        export(net)
    with pytest.raises(InvalidArgumentError, match="net must be an NN"):
        export(None)


def test_without_sympy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(ImportError, match=r'pip install "crabnet-jit\[sympy\]"'):
        to_sympy(NN(2, [3], 1, rng=1))


# ---- LaTeX ----


def test_latex_of_a_network_with_units() -> None:
    net = NN(2, [2, 1], 2, activation=["silu", Sine(30.0)], init=np.arange(1.0, 14.0) / 7)
    net.parameters[[0, 3]] = 1.23456e-7, -2.0
    net.standardization = Standardization(
        np.array([1.0, -1e6]), np.array([2.0, 3.0]), np.array([0.5, -0.5]), np.array([4.0, 5.0])
    )
    assert (
        to_latex(net, digits=3)
        == r"""\begin{aligned}
z_{0} &= \frac{x_{0} - 1}{2} \\
z_{1} &= \frac{x_{1} + 1 \cdot 10^{6}}{3} \\
h^{(1)}_{0} &= \operatorname{SiLU}\left(1.23 \cdot 10^{-7}\,z_{0} + 0.286\,z_{1} + 0.714\right) \\
h^{(1)}_{1} &= \operatorname{SiLU}\left(0.429\,z_{0} - 2\,z_{1} + 0.857\right) \\
h^{(2)}_{0} &= \sin\left(30 \left(1\,h^{(1)}_{0} + 1.14\,h^{(1)}_{1} + 1.29\right)\right) \\
y_{0} &= 4 \left(1.43\,h^{(2)}_{0} + 1.71\right) + 0.5 \\
y_{1} &= 5 \left(1.57\,h^{(2)}_{0} + 1.86\right) - 0.5 \\
\operatorname{SiLU}\left(v\right) &= \frac{v}{1 + e^{-v}}
\end{aligned}"""
    )


LOGISTIC, COMPLEMENT = r"\frac{1}{1 + e^{-a_{%d}}}", r"\frac{1}{1 + e^{a_{%d}}}"
SHARE = r"\frac{e^{a_{%d}}}{\sum_{k} e^{a_{k}}}"


@pytest.mark.parametrize(
    ("n_out", "task", "labels", "values"),
    [
        (1, "classification", ["a", "b"], [COMPLEMENT % 0, LOGISTIC % 0]),
        (2, "classification", ["a", "b"], [SHARE % 0, SHARE % 1]),
        (2, "multilabel", [0, 1], [LOGISTIC % 0, LOGISTIC % 1]),
    ],
)
def test_latex_of_classes(n_out: int, task: str, labels: list[Any], values: list[str]) -> None:
    net = NN(1, [], n_out, init=[-1.0, 2.0] * n_out)
    net.schema = Schema(labels=Labels(np.array(labels)), task=task)
    lines = to_latex(net).removesuffix("\n\\end{aligned}").split(" \\\\\n")
    assert lines[-2:] == [rf"P(\text{{{label}}}) &= {v}" for label, v in zip(labels, values, strict=True)]
    assert lines[0].endswith(rf"a_{{0}} &= - 1\,x_{{0}} {'+ 2' if n_out == 1 else '- 1'}")


def test_latex_names_are_texts() -> None:
    net = NN(1, [], 1, init=[1.0, 2.0])
    net.schema = Schema(Columns((Column("a_b\\}$%&#{~^<|>\n\ud800é"),)), ("50 %",))
    escaped = (
        r"a\_b\textbackslash{}\}\$\%\&\#\{\textasciitilde{}\textasciicircum{}"
        r"\textless{}\textbar{}\textgreater{}  é"
    )
    assert to_latex(net).splitlines()[1] == rf"\text{{50 \%}} &= 1\,\text{{{escaped}}} + 2"


@ALL
def test_latex_has_each_activation_defined_once(activation: Activation) -> None:
    text = to_latex(NN(2, [2, 2], 1, 1, activation=activation), digits=17)
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")
    defined = [line for line in text.splitlines() if r"\left(v\right) &=" in line]
    called = set(re.findall(r"(\\operatorname\{\w+\}(?:_\{[^}]*\})?|\\sigma)\\left", text))
    assert {line.split(r"\left")[0] for line in defined} == called
    assert len(defined) == len(called)


def test_latex_tells_activations_of_different_numbers_apart() -> None:
    text = to_latex(NN(1, [1, 1, 1], 1, 1, activation=[LeakyReLU(0.1), LeakyReLU(0.2), LeakyReLU(0.1)]))
    assert text.count(r"_{0.1}\left(v\right) &=") == text.count(r"_{0.2}\left(v\right) &=") == 1


@pytest.mark.parametrize("digits", [0, 18, 2.5, "4", None])
def test_wrong_digits_are_refused(digits: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="digits must be an integer from 1 to 17"):
        to_latex(NN(1, [], 1, 1), digits)


@pytest.mark.parametrize("activation", [ELU(1.5), GELU("tanh"), Sine(3.0), GELU()], ids=repr)
def test_sympy_itself_prints_formulas(activation: Activation) -> None:
    expression = to_sympy(small_net(activation))
    assert r"\frac" in sympy.latex(expression)
    assert "x0" in sympy.ccode(expression)
    assert "x0" in sympy.pycode(expression)
