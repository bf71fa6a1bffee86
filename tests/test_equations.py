"""Equations as terms of the loss."""

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from crabnet_jit import (
    NN,
    ArraySource,
    CustomActivation,
    InvalidArgumentError,
    LeakyReLU,
    Residual,
    Standardization,
    UniformSource,
)
from crabnet_jit.kernels.panels import pack

SECOND = [(0, 0), (1, 0)]
UNITS = Standardization(
    np.array([0.5, -1.0]), np.array([2.0, 0.25]), np.array([3.0, -1.0]), np.array([1.5, 4.0])
)


def one_output(x: Any, u: Any, du: Any, d2u: Any) -> Any:
    return du[0] * u - np.sin(x[0] * u) + d2u[1] / (2 + d2u[0] ** 2) + x[1] * du[1]


def two_outputs(x: Any, u: Any, du: Any, d2u: Any) -> Any:
    return u[0] * du[0][1] - np.exp(x[1]) * u[1] * du[1][0] + d2u[0][0] ** 2 - d2u[1][1] * du[0][0]


def network(n_out: int = 1, **options: Any) -> NN:
    net = NN(2, [6, 5], n_out, rng=1, init="glorot_uniform", **{"activation": "tanh", **options})
    return net


def residuals(residual: Residual, net: NN, x: Any, jets: Any) -> tuple[Any, Any]:
    """r (n,) and its derivatives (n, n_jets, n_out), of jets (n, n_jets, n_out) at x (n, n_in)."""
    n, n_jets, n_out = jets.shape
    prepared = residual.prepared(net)
    panels, weight = pack(x)[0], pack(np.ones((n, 1)), 0.0)[0]
    rows = pack(jets.reshape(n, -1))[0].reshape(len(panels), n_jets, n_out, -1)
    in_panels = np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1, n_out, rows.shape[3])
    r, dr_djets = np.full_like(weight, np.nan), np.full_like(in_panels, np.nan)
    prepared.kernel(panels, in_panels, 2 * weight, prepared.units, 0.5, r, dr_djets)
    assert not r[weight == 0].any()
    by_jet = dr_djets.reshape(n_jets, len(panels), n_out, -1)
    assert not by_jet[:, weight[:, :1].repeat(n_out, axis=1) == 0].any()
    derivatives = by_jet.transpose(1, 3, 0, 2)
    return r.reshape(-1)[:n], derivatives.reshape(-1, n_jets, n_out)[:n]


def plain_residuals(function: Callable[..., Any], net: NN, x: Any, jets: Any) -> Any:
    """The same r by Python, of complex jets."""
    units = net.standardization or Standardization(
        np.zeros(2), np.ones(2), np.zeros(net.out_features), np.ones(net.out_features)
    )
    x_std, y_std = units.x_std, units.y_std
    found = []
    for place, (u, u_0, u_1, u_00, u_01) in zip(x * x_std + units.x_mean, jets, strict=True):
        values = [u * y_std + units.y_mean]
        firsts = [u_0 * y_std / x_std[0], u_1 * y_std / x_std[1]]
        seconds = [u_00 * y_std / x_std[0] ** 2, u_01 * y_std / x_std[0] / x_std[1]]
        parts = [*values, *firsts, *seconds]
        if net.out_features == 1:
            parts = [part[0] for part in parts]
        found.append(function(place, parts[0], parts[1:3], parts[3:]))
    return np.array(found)


@pytest.mark.parametrize("n", [1, 16, 37])
@pytest.mark.parametrize("units", [None, UNITS])
@pytest.mark.parametrize("function", [one_output, two_outputs])
def test_residuals_and_their_derivatives(function: Any, units: Any, n: int) -> None:
    n_out = 1 if function is one_output else 2
    net = network(n_out)
    if units is not None:
        net.standardization = units._replace(y_mean=units.y_mean[:n_out], y_std=units.y_std[:n_out])
    rng = np.random.default_rng(n)
    x, jets = rng.normal(size=(n, 2)), rng.normal(size=(n, 5, n_out))
    r, dr_djets = residuals(Residual(function, source=x, second=SECOND), net, x, jets)
    np.testing.assert_allclose(r, plain_residuals(function, net, x, jets), rtol=1e-12, atol=1e-12)
    for k in range(5):
        for o in range(n_out):
            moved = jets.astype(complex)
            moved[:, k, o] += 1e-30j
            slopes = plain_residuals(function, net, x, moved).imag / 1e-30
            np.testing.assert_allclose(dr_djets[:, k, o], slopes, rtol=1e-11, atol=1e-11)


def test_functions_of_less() -> None:
    x, net = np.zeros((3, 2)), network()
    assert Residual(lambda x, u: u, source=x).prepared(net).jets.n_firsts == 0
    assert Residual(lambda x, u, du: du[1], source=x).prepared(net).jets.n_firsts == 2
    values = np.arange(9.0).reshape(3, 3, 1)
    r, derivatives = residuals(Residual(lambda x, u, du: 2 * du[1] - u, source=x), net, x, values)
    assert r.tolist() == [4, 7, 10]
    assert derivatives[:, :, 0].tolist() == [[-1, 0, 2]] * 3


def test_functions_are_compiled_once_and_freed() -> None:
    def function(x: Any, u: Any) -> Any:
        return u

    net, other = network(), network()
    one = Residual(function, source=np.zeros((3, 2))).prepared(net)
    assert Residual(numba.njit(function), 2.0, source=np.ones((1, 2))).prepared(other).kernel is one.kernel
    gone = weakref.ref(function)
    del function, one
    gc.collect()
    assert gone() is None


@numba.njit
def helper(v):  # type: ignore[no-untyped-def]
    return math.gamma(v)


@numba.njit
def allocating(v):  # type: ignore[no-untyped-def]
    total = 0.0
    for part in np.full(int(v) + 3, v):
        total += part
    return total


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, u: math.gamma(u), "uses math.gamma, which has no derivative here; known are"),
        (lambda x, u: helper(u), "uses math.gamma, which"),
        (lambda x, u: np.where(u > 0, u, 1.0), "uses where, which"),
        (lambda x, u: float(u), "uses float, which"),
        (lambda x, u: np.array([u])[0], "uses array, which"),
        (lambda x, u: (u, u), "which gives UniTuple"),
        (lambda x, u: None, "which gives none"),
        (lambda x, u: u > 1, "which gives bool"),
        (lambda x, u: x[0], "a number that depends on u, got .*which gives float64"),
        (lambda x, u: np.zeros(2), "which gives array"),
        (lambda x, u: np.array([1.0, 2.0])[0] * u, "makes arrays, lists or other objects"),
        (lambda x, u: [x[0]][0] * u, "makes arrays, lists or other objects"),
        (lambda x, u: allocating(x[0]) * u, "makes arrays, lists or other objects"),
        (lambda x, u: u.real, "Unknown attribute 'real'"),
        (lambda x, u: x[2] * u, "out of range"),
    ],
)
def test_functions_that_are_refused(function: Any, message: str) -> None:
    residual = Residual(function, source=[[0.0, 1.0]])
    with pytest.raises(InvalidArgumentError, match=f"function must be a function of x and u .*{message}"):
        residual.prepared(network())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1}, "weight must be a finite number of at least 0, got -1"),
        ({"weight": math.nan}, "weight must be"),
        ({"second": [(0, 2)]}, "second.0. must be an integer from 0 to 1, got 2"),
        ({"second": [(0, 1), (1, 0)]}, r"second must be pairs that are not the same, got \(0, 1\) twice"),
        ({"second": "ab"}, "second.0. must be a pair of inputs"),
        ({"second": 3}, "second must be pairs of inputs"),
        ({"second": [(0,)]}, "second.0. must be a pair of inputs"),
        ({"second": ()}, "function must be one of d2u if there is second, and only then"),
        ({"function": lambda x, u, du: u}, "function must be one of d2u if"),
        ({"function": lambda u: u}, r"function must be a function of \(x, u\), .* got one of \(u\)"),
        ({"function": lambda *parts: 0}, "function must be a function of"),
        ({"function": 3}, "function must be a function, got 3"),
        ({"function": Residual}, "function must be a function, got <class"),
        ({"source": 3.0}, "source must be two-dimensional"),
        ({"source": [[math.nan, 1]]}, "source must be finite"),
    ],
)
def test_arguments_that_are_refused(arguments: Any, message: str) -> None:
    good = {"function": one_output, "source": [[0.0, 1.0]], "second": SECOND}
    with pytest.raises(InvalidArgumentError, match=message):
        Residual(**{**good, **arguments})


def test_networks_that_are_refused() -> None:
    first = Residual(lambda x, u, du: du[0], source=[[0.0, 1.0]])
    second = Residual(one_output, source=[[0.0, 1.0]], second=SECOND)
    value = Residual(lambda x, u: u, source=[[0.0, 1.0]])
    square = CustomActivation(lambda x: x * x, lambda x: 2 * x)
    for activation in ("relu", LeakyReLU(0.3), "elu"):
        with pytest.warns(RuntimeWarning, match="smooth activations such as tanh suit equations better"):
            first.prepared(network(activation=activation))
        with pytest.raises(InvalidArgumentError, match="activation must be smooth, such as 'tanh', got"):
            second.prepared(network(activation=activation))
        value.prepared(network(activation=activation))
    for residual in (first, second):
        with pytest.raises(InvalidArgumentError, match="activation must be one whose derivatives are known"):
            residual.prepared(network(activation=square))
    value.prepared(network(activation=square))
    with pytest.raises(InvalidArgumentError, match=r"source.in_features must be the network's 2, got 1"):
        Residual(lambda x, u: u, source=[1.0, 2.0]).prepared(network())


def test_repr_and_sources() -> None:
    points = UniformSource(None, [0, 0], [1, 2], 5, rng=1)
    x, none = points.batch(3)
    assert x.shape == (5, 2)
    assert none.shape == (5, 0)
    assert np.array_equal(x, UniformSource(lambda x: x[:, 0], [0, 0], [1, 2], 5, rng=1).batch(3)[0])
    assert repr(points) == "UniformSource(None, low=[0.0, 0.0], high=[1.0, 2.0], batch_size=5)"
    minibatches = ArraySource(np.arange(10.0).reshape(5, 2), None, batch_size=2, rng=1)
    assert sorted(np.vstack([minibatches.batch(k)[0] for k in range(3)])[:, 0]) == [0, 2, 4, 6, 8]
    text = "Residual(one_output, 5 points, weight=2.0, second=((0, 0), (0, 1)))"
    assert repr(Residual(one_output, 2, source=np.ones((5, 2)), second=SECOND)) == text
    assert repr(points) in repr(Residual(lambda x, u: u, source=points))
