"""Dual numbers in compiled code, against complex steps and known derivatives."""

import functools
import math
import operator
import random
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from crabnet_jit.kernels.residuals import residual_panels
from crabnet_jit.machine.dual import NoDerivativeError
from crabnet_jit.machine.dual_formulas import FORMULAS
from crabnet_jit.machine.equation import Equation
from crabnet_jit.machine.jit import entry_point, users_kernel
from crabnet_jit.machine.llvm import PANEL

STEP = 1e-30
FUNCTIONS = {
    "abs": [-1.5, 0.3],
    "np.absolute": [-1.5, 0.3],
    "np.fabs": [-1.5],
    "math.fabs": [-1.5],
    **{
        f"{module}.{name}": [-1.3, 0.0, 0.7, 3.0]
        for module in ("math", "np")
        for name in ("exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh")
    },
    "math.atan": [-1.3, 0.0, 0.7, 3.0],
    "np.arctan": [-1.3, 0.0, 0.7, 3.0],
    "np.square": [-1.3, 0.0, 0.7],
    "math.sqrt": [0.3, 2.0],
    "np.sqrt": [0.3, 2.0],
    "math.log": [0.3, 2.0],
    "np.log": [0.3, 2.0],
    "math.log1p": [-0.3, 0.0, 2.0],
    "np.log1p": [-0.3, 0.0, 2.0],
}


@functools.cache
def derivatives_of(function: Callable[..., Any], n: int) -> Any:
    """The kernel of residuals that are a function of n outputs."""
    compiled = users_kernel(function)

    def equation(x: Any, u: Any) -> Any:
        return compiled(*u)

    def of_one(x: Any, u: Any) -> Any:
        return compiled(u)

    make = residual_panels(Equation(n_in=1, n_out=n, n_arguments=2, n_second=0))
    return entry_point(make(users_kernel(of_one if n == 1 else equation)))


def differentiate(function: Callable[..., Any], *values: float, dtype: Any = np.float64) -> Any:
    """The value of a function of numbers, and its partial derivatives."""
    n, width = len(values), PANEL
    jets = np.repeat(np.array(values, dtype)[None, :, None], width, axis=2)
    x, weight = np.zeros((1, 1, width), dtype), np.ones((1, 1, width), dtype)
    units = np.repeat(np.array([[1.0], [0.0]]), 1 + n, axis=1)
    r, dr_djets = np.full((1, 1, width), np.nan, dtype), np.full_like(jets, np.nan)
    derivatives_of(function, n)(x, jets, weight, units, 1.0, r, dr_djets)
    out = np.vstack([r[0], dr_djets[0]])
    assert np.array_equal(out, np.repeat(out[:, :1], width, axis=1), equal_nan=True)
    return out[:, 0]


def by_complex_steps(text: str, *values: float) -> list[float]:
    """The same of an expression in a, b, …, whose functions NumPy has for complex numbers."""
    code = eval(f"lambda {', '.join('abcdefgh'[: len(values)])}: {text}", {"np": np})
    found = [code(*map(np.float64, values))]
    for k in range(len(values)):
        moved = list(map(np.complex128, values))
        moved[k] += 1j * STEP
        found.append(code(*moved).imag / STEP)
    return found


def function_of(text: str, n: int) -> Any:
    return eval(f"lambda {', '.join('abcdefgh'[:n])}: {text}", {"np": np, "math": math})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    if "abs" in name:
        for value in FUNCTIONS[name]:
            expected = [abs(value), math.copysign(1, value)]
            assert differentiate(function_of(f"{name}(a)", 1), value).tolist() == expected
        return
    of_complex = name.replace("math.atan", "np.arctan").replace("math", "np")
    function = function_of(f"{name}(a * b)", 2)
    for value in FUNCTIONS[name]:
        if of_complex in (
            "np.expm1",
            "np.log1p",
        ):  # NumPy has them for complex numbers, but with less accuracy
            slope = math.exp(value) if "exp" in name else 1 / (1 + value)
            expected = [getattr(np, of_complex[3:])(value), 2 * slope, value / 2 * slope]
        else:
            expected = by_complex_steps(f"{of_complex}(a * b)", value / 2, 2.0)
        np.testing.assert_allclose(differentiate(function, value / 2, 2.0), expected, rtol=4e-15, atol=1e-300)


def test_the_table_of_tests_is_complete() -> None:
    tested = {eval(name) for name in FUNCTIONS}
    others = {operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.pos}
    assert tested | others | {operator.neg, pow, math.pow, np.power} == set(FORMULAS)


@pytest.mark.parametrize(
    "text",
    [
        "a + b", "a - b", "a * b", "a / b", "a**b", "np.power(a, b)", "math.pow(a, b)", "pow(a, b)",
        "a + 2", "2 + a", "a - 2.5", "2.5 - a", "a * 2", "3 * a", "a / 4", "1 / a", "+a", "-a", "a + True",
        "a**2", "a**3", "a**-1", "a**0", "a**2.5", "a**-0.5", "2**a", "2.5**a", "np.power(a, 2)",
        "math.pow(2.0, a)", "a * b * a / b - b", "(a > b) * a + (a < b) * b",
    ],
)  # fmt: skip
def test_arithmetic(text: str) -> None:
    function = function_of(text, 2)
    for a, b in ((0.7, 1.3), (2.0, 0.25)):
        expected = by_complex_steps(text.replace("math.pow", "np.power"), a, b)
        np.testing.assert_allclose(differentiate(function, a, b), expected, rtol=4e-15, atol=1e-300)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("np.sqrt(a)", [0.0], [0, np.inf]),
        ("a**0.5", [0.0], [0, np.inf]),
        ("np.log(a)", [0.0], [-np.inf, np.inf]),
        ("1 / a", [0.0], [np.inf, -np.inf]),
        ("a**2", [0.0], [0, 0]),
        ("a**2", [-3.0], [9, -6]),
        ("a**2.0", [-3.0], [9, -6]),
        ("a**3", [-2.0], [-8, 12]),
        ("a**-2", [-2.0], [0.25, 0.25]),
        ("a**1", [0.0], [0, 1]),
        ("a**0", [0.0], [1, 0]),
        ("a**0.0", [0.0], [1, 0]),
        ("a**b", [0.0, 2.0], [0, 0, 0]),
        ("a**b", [0.0, 1.0], [0, 1, 0]),
        ("a**b", [0.0, 0.0], [1, 0, 0]),
        ("0**a", [2.0], [0, 0]),
        ("abs(a)", [0.0], [0, 0]),
        ("abs(a)", [-0.0], [0, 0]),
        ("np.tanh(a)", [400.0], [1, 0]),
        ("np.tanh(a)", [-20.0], [-1, 4 * math.exp(-40.0)]),
        ("np.exp(a)", [1000.0], [np.inf, np.inf]),
        ("a * 0", [np.inf], [np.nan, 0]),
    ],
)
def test_edges(text: str, values: list[float], expected: list[float]) -> None:
    found = differentiate(function_of(text, len(values)), *values)
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def expression(rng: random.Random, depth: int, n: int) -> str:
    """A random mixture of operations of n numbers around 1 that complex steps can differentiate."""
    if depth == 0 or rng.random() < 0.1:
        return str(rng.choice([*"abcdefgh"[:n], *"abcdefgh"[:n], repr(round(rng.uniform(0.5, 2), 2)), "2"]))
    one, other = (expression(rng, depth - 1, n) for _ in range(2))
    return str(
        rng.choice(
            [
                f"({one} + {other})",
                f"({one} - {other})",
                f"({one} * {other})",
                f"({one} / (2.0 + {other}**2))",
                f"{one}**2",
                f"(1.5 + np.cos({one}))**{other}",
                f"(1.5 + np.sin({one}))**1.7",
                f"1.3**np.sin({other})",
                *(f"np.{name}({one})" for name in ("sin", "cos", "tanh", "arctan")),
                f"np.exp(-({one})**2)",
                f"np.log(3.0 + np.sin({one}))",
                f"np.sqrt(1.0 + ({one})**2)",
            ]
        )
    )


@pytest.mark.parametrize("seed", range(12))
def test_random_mixtures(seed: int) -> None:
    rng = random.Random(seed)
    n = rng.choice([1, 2, 3, 5, 8])
    text = expression(rng, 5, n)
    values = [rng.uniform(0.3, 1.5) for _ in range(n)]
    with np.errstate(all="ignore"):
        expected = np.array(by_complex_steps(f"0 * a + {text}", *values))
    found = differentiate(function_of(f"0 * a + {text}", n), *values)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13 * scale, err_msg=text)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_partial_derivatives(n: int, dtype: Any) -> None:
    def weighted(*numbers: float) -> float:
        total = numbers[0] * 0
        for number in numbers:
            total = 2 * total + number * number
        return total

    values = [0.25 * (k + 1) for k in range(n)]
    found = differentiate(weighted, *values, dtype=dtype)
    expected = np.array([2.0 ** (n - 1 - k) * 2 * values[k] for k in range(n)], dtype)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-6 if dtype == np.float32 else 1e-15)


def test_conditions_see_the_value() -> None:
    def piecewise(a: float, b: float) -> float:
        if a > b:
            return a * a
        if not a <= 1:
            return b
        return 0.5 if a == b else -a

    assert differentiate(piecewise, 3.0, 2.0).tolist() == [9, 6, 0]
    assert differentiate(piecewise, 2.0, 2.5).tolist() == [2.5, 0, 1]
    assert differentiate(piecewise, 0.5, 0.5).tolist() == [0.5, 0, 0]
    assert differentiate(piecewise, 0.5, 0.75).tolist() == [-0.5, -1, 0]


@pytest.mark.parametrize(
    "text", ["a < b", "a <= b", "a > b", "a >= b", "a == b", "a != b", "1 > a", "a != 2"]
)
def test_comparisons(text: str) -> None:
    function = function_of(f"a * 0 + ({text})", 2)
    for a, b in ((1.0, 2.0), (2.0, 2.0), (2.0, 1.0), (np.nan, 1.0)):
        expected = float(eval(text, {"a": a, "b": b}))
        found = differentiate(function, a, b)[0]
        assert found == expected or math.isnan(a)
    if "b" in text:
        in_condition = function_of(f"a if {text} else b", 2)
        assert differentiate(in_condition, np.nan, 3.0)[0] == 3.0 or text == "a != b"


def test_in_place() -> None:
    def in_place(a: Any, b: Any) -> Any:
        r: Any = 0
        for _ in range(3):
            r += a
        r -= 1
        r *= b
        r /= a
        r **= 2
        return r

    expected = by_complex_steps("((3 * a - 1) * b / a)**2", 0.7, 1.3)
    np.testing.assert_allclose(differentiate(in_place, 0.7, 1.3), expected, rtol=1e-14)


def test_functions_that_the_function_calls() -> None:
    logistic = numba.njit(lambda v: 1 / (1 + np.exp(-v)))

    expected = by_complex_steps("1 / (1 + np.exp(-a * b)) / a", 0.7, 1.3)
    found = differentiate(lambda a, b: logistic(a * b) / a, 0.7, 1.3)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert logistic(0.0) == 0.5  # for numbers as ever


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("math.gamma(a)", "math.gamma"),
        ("math.floor(a)", "math.floor"),
        ("math.log(a, 2)", "math.log with 2 arguments"),
        ("np.arctan2(a, 1.0)", "np.arctan2"),
        ("np.sign(a)", "np.sign"),
        ("float(a)", "float"),
        ("int(a)", "int"),
        ("round(a)", "round"),
        ("max(a, 0)", "max"),
        ("a // 2", "//"),
        ("a % 2", "%"),
        ("1 if a else 2", "bool"),
        ("1 + (not a)", "not"),
    ],
)
def test_other_functions_are_refused_by_name(text: str, name: str) -> None:
    function = function_of(text, 1)
    helper = numba.njit(function)
    for refused in (function, lambda a: helper(2 * a)):
        with pytest.raises(
            NoDerivativeError, match=r"has no derivative here; known are .* exp .* tanh"
        ) as caught:
            differentiate(refused, 1.5)
        assert str(caught.value).startswith(f"it uses {name}, ")


def test_a_number_is_what_it_was() -> None:
    """Functions of numbers compile as before."""
    assert numba.njit(lambda a: math.gamma(a) + np.arctan2(a, 1.0) + max(a, 2) // 2)(1.0) == 2 + math.pi / 4
