"""Elementary functions and activations, in units in the last place (ulp).

They are compared with the C library's `long double`, whose 64 digits or more leave errors far below
those that are measured here.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crabnet_jit import LogCosh
from crabnet_jit.kernels import activations, losses
from crabnet_jit.kernels import entries as entry
from crabnet_jit.kernels.elementary import exp, expm1, log, log1p, normal, sin_cos
from crabnet_jit.kernels.layout import KINDS
from crabnet_jit.machine.jit import entry_point as compiled
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import lanes, load, splat, store

pytestmark = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is a double here")

FLOATS = [np.float64, np.float32]
ALPHA = 1.5  # of ELU
PI_DIGITS = 256
PI = int("3243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89", 16)  # times 2**PI_DIGITS


@kernel
def sin(x: Any) -> Any:
    return sin_cos(x)[0]


@kernel
def cos(x: Any) -> Any:
    return sin_cos(x)[1]


@kernel
def distribution(x: Any) -> Any:
    return normal(x)[0]


@kernel
def density(x: Any) -> Any:
    return normal(x)[1]


@functools.cache
def over_vectors(function: Any) -> Any:
    def apply(x: Any, y: Any) -> None:
        for s in range(0, x.shape[1], lanes(x)):
            store(y, 0, s, function(load(x, 0, s)))

    return compiled(kernel(apply))


def computed(function: Any, x: Any) -> Any:
    """Values at x (n,) in its type."""
    panel = np.resize(x, (1, -(-x.size // 16) * 16))
    y = np.empty_like(panel)
    over_vectors(function)(panel, y)
    return y[0, : x.size]


def activated(name: str, x: Any) -> tuple[Any, Any]:
    """Values and derivatives at x (n,) in its type."""
    panel = np.resize(x, (1, -(-x.size // 16) * 16))
    y, dy_dx = np.empty_like(panel), np.empty_like(panel)
    entry.activation_forward[name](panel, ALPHA, y, dy_dx)
    return y[0, : x.size], dy_dx[0, : x.size]


def points(dtype: Any, low: float, high: float, n: int = 40_000) -> Any:
    """Numbers from low to high: evenly, at random near 0, and of every order of magnitude, both signs."""
    rng = np.random.default_rng(0)
    limits = np.finfo(dtype)
    orders = 10.0 ** rng.uniform(math.log10(float(limits.smallest_subnormal)), math.log10(limits.max), n)
    x = np.concatenate([np.linspace(low, high, 2 * n), rng.uniform(-1, 1, n), orders, -orders, [0.0, -0.0]])
    return x[(x >= low) & (x <= high)].astype(dtype)


def ulps(y: Any, exact: Any) -> float:
    """The largest error; where the exact value rounds to infinity, y must be that."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(y.dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(y[~finite], rounded[~finite])
    error = np.abs(y[finite] - exact[finite]) / np.spacing(np.abs(rounded[finite]))
    return float(error.max())


def wide(x: Any) -> Any:
    return x.astype(np.longdouble)


# ---- exponentials and logarithms ----

LARGEST = {np.float64: 1e308, np.float32: 3e38}


@pytest.mark.parametrize("dtype", FLOATS)
def test_exp_is_within_1_ulp(dtype: Any) -> None:
    """From results that are 0 or no normal numbers to infinite ones."""
    low, high = (-747, 711) if dtype is np.float64 else (-105, 90)
    x = points(dtype, low, high)
    exact = np.exp(wide(x))
    assert 0 < exact[exact > 0].min() < np.finfo(dtype).smallest_subnormal < np.finfo(dtype).max < exact.max()
    assert ulps(computed(exp, x), exact) < 0.9
    huge = np.array([1e5, -1e5, LARGEST[dtype], -LARGEST[dtype]], dtype)
    np.testing.assert_array_equal(computed(exp, huge), [np.inf, 0, np.inf, 0])


@pytest.mark.parametrize("dtype", FLOATS)
def test_expm1_is_within_2_ulp(dtype: Any) -> None:
    x = points(dtype, -LARGEST[dtype], 711 if dtype is np.float64 else 90)
    assert ulps(computed(expm1, x), np.expm1(wide(x))) < 1.8
    near = points(dtype, -50, 50)
    assert ulps(computed(expm1, near), np.expm1(wide(near))) < 1.8


@pytest.mark.parametrize("dtype", FLOATS)
def test_log_is_within_1_ulp(dtype: Any) -> None:
    most = 1022 if dtype is np.float64 else 126
    low, high = 2.0**-most, 2.0**most
    x = np.concatenate([points(dtype, low, high), points(dtype, 0.5, 2), np.array([low, high], dtype)])
    neighbours = 1 + np.arange(-100, 101) * np.finfo(dtype).eps
    x = np.concatenate([x, neighbours.astype(dtype), 2.0 ** np.arange(-most, most + 1, dtype=dtype)])
    assert ulps(computed(log, x), np.log(wide(x))) < 0.9


@pytest.mark.parametrize("dtype", FLOATS)
def test_log1p_is_within_2_ulp(dtype: Any) -> None:
    high = 2.0 ** (1022 if dtype is np.float64 else 126)
    x = np.concatenate([points(dtype, 0, high), points(dtype, 0, 4), np.array([high], dtype)])
    assert ulps(computed(log1p, x), np.log1p(wide(x))) < 1.3


# ---- sines and cosines ----


def reduced(x: Any) -> tuple[Any, Any]:
    """Quarters k and rests r with x = k pi / 2 + r, by whole numbers, so that nothing cancels."""
    quarters, rests = [], []
    for value in x.tolist():
        numerator, denominator = value.as_integer_ratio()
        scaled = (numerator << PI_DIGITS) // denominator
        k = (4 * scaled + PI) // (2 * PI)
        rest = 2 * scaled - k * PI
        quarters.append(k % 4)
        high = float(rest)
        rests.append((np.longdouble(high) + np.longdouble(float(rest - int(high)))) * 2.0 ** -(PI_DIGITS + 1))
    return np.array(quarters), np.array(rests)


@pytest.mark.parametrize(("dtype", "most"), [(np.float64, 1e9), (np.float32, 1e4)])
def test_sine_and_cosine_are_within_2_ulp(dtype: Any, most: float) -> None:
    """Up to the largest argument, and at floats nearest to multiples of pi / 2, where most is lost."""
    x = points(dtype, -most, most, 4000)
    multiples = np.unique(np.geomspace(1, most / (math.pi / 2), 5000).astype(np.int64)) * (math.pi / 2)
    tiny = np.abs(x) < 1e-30  # sin(x) is x there; beyond the digits of PI
    x = np.concatenate([x[~tiny], multiples.astype(dtype), -multiples.astype(dtype)])
    k, r = reduced(x)
    s, c = np.sin(r), np.cos(r)
    assert ulps(computed(sin, x), np.choose(k, [s, c, -s, -c])) < 1.5
    assert ulps(computed(cos, x), np.choose(k, [c, -s, -c, s])) < 1.5


@pytest.mark.parametrize("dtype", FLOATS)
def test_sine_of_tiny_numbers(dtype: Any) -> None:
    x = points(dtype, -1e-9, 1e-9)
    np.testing.assert_array_equal(computed(sin, x), x)
    np.testing.assert_array_equal(computed(cos, x), 1)


# ---- the normal distribution ----


def exact_distribution(x: Any) -> Any:
    """By erfc from the standard library, whose argument must be rounded: by its slope, that is made good."""
    z = -wide(x) / np.sqrt(np.longdouble(2))
    z_rounded = z.astype(np.float64)
    erfc = wide(np.array([math.erfc(value) for value in z_rounded]))
    slope = -2 / np.sqrt(np.arccos(np.longdouble(-1))) * np.exp(-(wide(z_rounded) ** 2))
    return (erfc + slope * (z - z_rounded)) / 2


@pytest.mark.parametrize(("dtype", "low"), [(np.float64, -37.5), (np.float32, -14.5)])
def test_normal_distribution_is_within_6_ulp(dtype: Any, low: float) -> None:
    """Down to where math.erfc is no normal number any more."""
    x = points(dtype, low, 50)
    assert ulps(computed(distribution, x), exact_distribution(x)) < 6.0


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_density_is_within_3_ulp(dtype: Any) -> None:
    """Up to arguments that give 0."""
    x = points(dtype, -50, 50)
    exact = np.exp(-(wide(x) ** 2) / 2) / np.sqrt(2 * np.arccos(np.longdouble(-1)))
    assert ulps(computed(density, x), exact) < 3.0


# ---- activations ----


def exact_sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def exact_softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def exact_elu(x: Any) -> Any:
    return np.where(x > 0, x, ALPHA * np.expm1(np.minimum(x, 0)))


EXACT: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tanh": (np.tanh, lambda x: 4 * exact_sigmoid(2 * x) * exact_sigmoid(-2 * x)),
    "sigmoid": (exact_sigmoid, lambda x: exact_sigmoid(x) * exact_sigmoid(-x)),
    "softplus": (exact_softplus, exact_sigmoid),
    "elu": (exact_elu, lambda x: np.where(x > 0, 1, ALPHA * np.exp(np.minimum(x, 0)))),
    "silu": (
        lambda x: x * exact_sigmoid(x),
        lambda x: exact_sigmoid(x) * (1 + x * exact_sigmoid(-x)),
    ),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", list(EXACT))
def test_activation_is_within_3_ulp(name: str, dtype: Any) -> None:
    """But for silu below the logarithm of the least normal number: x times sigmoid(x), which is none."""
    least = float(np.log(np.finfo(dtype).tiny))
    low = least if name == "silu" else -5000.0
    x = np.concatenate([points(dtype, low, 5000), points(dtype, max(low, -800), 800), points(dtype, -20, 20)])
    y, dy_dx = activated(name, x)
    value, derivative = (function(wide(x)) for function in EXACT[name])
    assert ulps(y, value) < 3.0
    if name in ("tanh", "silu"):  # their derivatives are differences of numbers up to 1
        assert np.abs(dy_dx - derivative).max() < 3 * np.finfo(dtype).eps
    else:
        assert ulps(dy_dx, derivative) < (4.5 if name == "sigmoid" else 3.0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_silu_far_below_zero_is_off_by_about_the_least_number_times_x(dtype: Any) -> None:
    least = float(np.log(np.finfo(dtype).tiny))
    x = points(dtype, 2 * least, least)
    y, dy_dx = activated("silu", x)
    for computed_values, function in zip((y, dy_dx), EXACT["silu"], strict=True):
        error = np.abs(computed_values - function(wide(x)))
        assert (error <= 1.5 * np.abs(x) * wide(np.finfo(dtype).smallest_subnormal[None])).all()


def test_log_cosh_is_within_3_ulp() -> None:
    x = np.concatenate([np.geomspace(1e-150, 1e300, 700), np.linspace(0.5, 1.5, 200)])
    half = wide(x) / 2
    exact = np.where(x > 1, exact_softplus(4 * half) - 2 * half - np.log(np.longdouble(2)), np.inf)
    small = np.minimum(half, 1)
    exact = np.where(x > 1, exact, np.log1p(2 * np.sinh(small) ** 2))
    for sign in (1, -1):
        y = np.array([LogCosh().get_output([[sign * value]], [[0.0]]) for value in x])
        assert ulps(y, exact) < 2.5


# ---- special values ----

NAN, INF = math.nan, math.inf
ROOT = 1 / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("function", "x", "y"),
    [
        (exp, [NAN, 0.0, -0.0, INF, -INF], [NAN, 1.0, 1.0, INF, 0.0]),
        (expm1, [NAN, 0.0, -0.0, INF, -INF], [NAN, 0.0, 0.0, INF, -1.0]),
        (log, [NAN, 1.0], [NAN, 0.0]),
        (log1p, [NAN, 0.0], [NAN, 0.0]),
        (sin, [NAN, 0.0, INF, -INF], [NAN, 0.0, NAN, NAN]),
        (cos, [NAN, 0.0, INF, -INF], [NAN, 1.0, NAN, NAN]),
        (distribution, [NAN, 0.0, INF, -INF], [NAN, 0.5, 1.0, 0.0]),
        (density, [NAN, 0.0, INF, -INF], [NAN, ROOT, 0.0, 0.0]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_special_values(function: Any, x: Any, y: Any, dtype: Any) -> None:
    np.testing.assert_array_max_ulp(computed(function, np.array(x, dtype)), np.array(y, dtype), 1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("name", "at_infinities", "at_zero"),
    [
        ("relu", (INF, 0.0), 0.0),
        ("leaky_relu", (INF, -INF), 0.0),
        ("tanh", (1.0, -1.0), 0.0),
        ("sigmoid", (1.0, 0.0), 0.5),
        ("softplus", (INF, 0.0), math.log(2)),
        ("elu", (INF, -ALPHA), 0.0),
        ("silu", None, 0.0),  # as infinity times 0, there is no number
        ("gelu", None, 0.0),
        ("gelu_tanh", None, 0.0),
        ("sine", None, 0.0),
    ],
)
def test_special_values_of_activations(name: str, at_infinities: Any, at_zero: float, dtype: Any) -> None:
    y, dy_dx = activated(name, np.array([NAN, 0.0, -0.0, INF, -INF], dtype))
    assert np.isnan(y[0])
    assert name in ("relu", "leaky_relu") or np.isnan(dy_dx[0])
    np.testing.assert_array_max_ulp(y[1:3], np.full(2, at_zero, dtype), 1)
    if at_infinities is not None:
        np.testing.assert_array_equal(y[3:], at_infinities)
        assert not np.isnan(dy_dx[3:]).any()


def test_tanh_keeps_the_sign_of_zero() -> None:
    y, _ = activated("tanh", np.array([0.0, -0.0]))
    np.testing.assert_array_equal(np.signbit(y), [False, True])


# ---- derivatives of formulas ----

LOSS_NAMES = ["mse", "mae", "huber", "log_cosh", "quantile", "poisson", "binary_cross_entropy"]


def all_of(name: str) -> Any:
    """The value of a formula and its three derivatives; of losses two, at a target of 0."""
    if name in LOSS_NAMES:
        loss = getattr(losses, name)

        @kernel
        def formula(x: Any, a: Any) -> Any:
            y, first, second = loss(x, splat(x, 0.0), a)
            return y, first, second, splat(x, 0.0)
    else:
        formula = getattr(activations, name)

    @kernel
    def apply(x: Any, out: Any) -> None:
        for s in range(0, x.shape[1], lanes(x)):
            y, first, second, third = formula(load(x, 0, s), ALPHA)
            store(out, 0, s, y)
            store(out, 1, s, first)
            store(out, 2, s, second)
            store(out, 3, s, third)

    return compiled(apply)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", [*KINDS, *LOSS_NAMES])
def test_further_derivatives_are_slopes_of_those_before(name: str, dtype: Any) -> None:
    """Richardson's central difference, away from where derivatives jump."""
    compute = all_of(name)
    x = np.concatenate([np.linspace(-6, 6, 120), [-40.0, -20.0, 20.0, 40.0, -1e-3, 1e-3, -0.5, 0.5]])
    jumps = [0.0, ALPHA, -ALPHA] if name in ("huber", "mae") else [0.0]
    x = np.where(np.abs(x[:, None] - jumps).min(axis=1) < 4e-3, x + 1e-2, x)[None]

    def derivatives(x: Any, dtype: Any = np.float64) -> Any:
        out = np.empty((4, x.size), dtype)
        compute(x.astype(dtype), out)
        return out.astype(np.float64)

    def slopes(h: float) -> Any:
        return (derivatives(x + h) - derivatives(x - h)) / (2 * h)

    expected = (4 * slopes(1e-3) - slopes(2e-3)) / 3
    tolerance = 1e-10 if dtype == np.float64 else 2e-5
    for order in (2,) if name in LOSS_NAMES else (2, 3):
        np.testing.assert_allclose(
            derivatives(x, dtype)[order], expected[order - 1], rtol=100 * tolerance, atol=tolerance
        )
