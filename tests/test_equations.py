"""Equations as terms of the loss."""

import gc
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from crabnet_jit import (
    ELU,
    NN,
    OPTIMIZERS,
    ArraySource,
    CustomActivation,
    DivergenceError,
    FileFormatError,
    InvalidArgumentError,
    LeakyReLU,
    Objective,
    Residual,
    Sine,
    Standardization,
    TimeBudget,
    Trainer,
    UniformSource,
    check_gradients,
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
    given = {"rng": 1, "init": "glorot_uniform", "activation": "tanh", **options}
    return NN(2, [6, 5], n_out, **given)


def residuals(residual: Residual, net: NN, x: Any, jets: Any) -> tuple[Any, Any]:
    """r (n,) and its derivatives (n, n_jets, n_out), of jets (n, n_jets, n_out) at x (n, n_in)."""
    n, n_jets, n_out = jets.shape
    term = residual.term(net, 0)
    panels, weight = pack(x)[0], pack(np.ones((n, 1)), 0.0)[0]
    rows = pack(jets.reshape(n, -1))[0].reshape(len(panels), n_jets, n_out, -1)
    in_panels = np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1, n_out, rows.shape[3])
    r, dr_djets = np.full_like(weight, np.nan), np.full_like(in_panels, np.nan)
    term.residual(panels, in_panels, 2 * weight, term.units, 0.5, r, dr_djets)
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
    assert Residual(lambda x, u: u, source=x).term(net, 0).n_firsts == 0
    assert Residual(lambda x, u, du: du[1], source=x).term(net, 0).n_firsts == 2
    values = np.arange(9.0).reshape(3, 3, 1)
    r, derivatives = residuals(Residual(lambda x, u, du: 2 * du[1] - u, source=x), net, x, values)
    assert r.tolist() == [4, 7, 10]
    assert derivatives[:, :, 0].tolist() == [[-1, 0, 2]] * 3


def test_functions_are_compiled_once_and_freed() -> None:
    def function(x: Any, u: Any) -> Any:
        return u

    net, other = network(), network()
    one = Residual(function, source=np.zeros((3, 2))).term(net, 0)
    again = Residual(numba.njit(function), 2.0, source=np.ones((1, 2))).term(other, 3)
    assert again.residual is one.residual
    gone = weakref.ref(function)
    del function, one, again
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
        (lambda x, u: (u, u), "which returns UniTuple"),
        (lambda x, u: None, "which returns none"),
        (lambda x, u: u > 1, "which returns bool"),
        (lambda x, u: x[0], "a number that depends on u, got .*which returns float64"),
        (lambda x, u: np.zeros(2), "which returns array"),
        (lambda x, u: np.array([1.0, 2.0])[0] * u, "creates arrays, lists or other objects"),
        (lambda x, u: [x[0]][0] * u, "creates arrays, lists or other objects"),
        (lambda x, u: allocating(x[0]) * u, "creates arrays, lists or other objects"),
        (lambda x, u: u.real, "Unknown attribute 'real'"),
        (lambda x, u: x[2] * u, "out of range"),
    ],
)
def test_functions_that_are_refused(function: Any, message: str) -> None:
    residual = Residual(function, source=[[0.0, 1.0]])
    with pytest.raises(InvalidArgumentError, match=f"function must be a function of x and u .*{message}"):
        residual.term(network(), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1}, "weight must be a finite number of at least 0, got -1"),
        ({"weight": math.nan}, "weight must be"),
        ({"second": [(0, 2)]}, "second.0. must be an integer from 0 to 1, got 2"),
        ({"second": [(0, 1), (1, 0)]}, r"second must be different pairs, got \(0, 1\) twice"),
        ({"second": "ab"}, "second.0. must be a pair of inputs"),
        ({"second": 3}, "second must be pairs of inputs"),
        ({"second": [(0,)]}, "second.0. must be a pair of inputs"),
        ({"second": ()}, "function must be a function of d2u if second is given, and only then"),
        ({"function": lambda x, u, du: u}, "function must be a function of d2u if"),
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
    for activation in ("relu", LeakyReLU(0.3), ELU(2.0)):
        with pytest.warns(RuntimeWarning, match="smooth activations, such as tanh, suit equations better"):
            first.term(network(activation=activation), 0)
        value.term(network(activation=activation), 0)
    first.term(network(activation="elu"), 0)
    for activation in ("relu", LeakyReLU(0.3), "elu"):
        with pytest.raises(
            InvalidArgumentError, match="activation must be a smooth one, such as 'tanh', got"
        ):
            second.term(network(activation=activation), 0)
    for residual in (first, second, value):
        with pytest.raises(InvalidArgumentError, match="activation must be a built-in one with residuals"):
            residual.term(network(activation=square), 0)
    with pytest.raises(InvalidArgumentError, match=r"source.in_features must be the network's 2, got 1"):
        Residual(lambda x, u: u, source=[1.0, 2.0]).term(network(), 0)


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


def equations(n_out: int = 1, seed: int = 3) -> list[Residual]:
    """Some of both kinds, with points that change and points that stay."""
    inside = UniformSource(None, [-1, 0], [1, 2], 20, rng=seed)
    some = ArraySource(np.random.default_rng(0).normal(size=(11, 2)), None, batch_size=4, rng=seed)
    border = np.array([[-1.0, 0.5], [1.0, 0.3], [0.2, 2.0]])
    if n_out == 2:
        return [
            Residual(two_outputs, 0.7, source=inside, second=SECOND),
            Residual(lambda x, u: u[0] * u[1] - x[0], source=border),
        ]
    return [
        Residual(one_output, 0.7, source=inside, second=SECOND),
        Residual(lambda x, u, du: du[1] - u * u, 0.1, source=some),
        Residual(lambda x, u: u - np.sin(x[0]), 2, source=border),
    ]


def standing(n_out: int = 1) -> list[Residual]:
    """The same at points that stay."""
    points = np.random.default_rng(0).normal(size=(37, 2))
    return [
        Residual(one.function, one.weight, source=points[: 37 - 10 * k], second=one.second)
        for k, one in enumerate(equations(n_out))
    ]


def with_units(net: NN, is_standardized: bool) -> NN:
    n = net.out_features
    if is_standardized:
        net.standardization = UNITS._replace(y_mean=UNITS.y_mean[:n], y_std=UNITS.y_std[:n])
    return net


@pytest.mark.parametrize("is_standardized", [False, True])
@pytest.mark.parametrize("n_out", [1, 2])
def test_gradients_are_right(n_out: int, is_standardized: bool) -> None:
    net, rng = with_units(network(n_out), is_standardized), np.random.default_rng(1)
    x, y, dy = rng.normal(size=(20, 2)), rng.normal(size=(20, n_out)), rng.normal(size=(20, n_out, 2))
    alone = check_gradients(net, residuals=standing(n_out), tolerance=1e-6)
    with_data = check_gradients(net, x, y, residuals=standing(n_out), tolerance=1e-6)
    with_slopes = check_gradients(net, x, y, "huber", residuals=standing(n_out), dy=dy, tolerance=1e-6)
    assert alone.is_right, alone
    assert with_data.is_right, with_data
    assert with_slopes.is_right, with_slopes


@pytest.mark.parametrize("activation", ["identity", "gelu", "silu", "tanh", "sigmoid", "softplus", Sine(1.5)])
def test_gradients_with_all_activations(activation: Any) -> None:
    found = check_gradients(network(activation=activation), residuals=standing(), tolerance=1e-6)
    assert found.is_right, found


@pytest.mark.parametrize("is_standardized", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_is_that_of_plain_residuals(dtype: Any, is_standardized: bool) -> None:
    """Values, Jacobians and Hessians by `NN` take another way."""
    net = with_units(network(dtype=dtype), is_standardized)
    x, y = np.random.default_rng(1).normal(size=(2, 20, 2))
    expected: Any = Objective(net, x, y[:, :1]).loss_and_gradient(net.parameters)[0]
    for one in standing():
        points = one.source.inputs  # type: ignore[attr-defined]
        u, du, d2u = net.predict(points)[:, 0], net.jacobian(points)[:, 0], net.hessian(points)[:, 0]
        seconds = [np.array([d2u[s][pair] for pair in one.second]) for s in range(len(points))]
        parts = list(zip(points, u, du, seconds, strict=True))
        n_given = one.function.__code__.co_argcount
        r = [one.function(*given[:n_given]) for given in parts]
        expected += one.weight * np.mean(np.square(r))
    loss, _ = Objective(net, x, y[:, :1], residuals=standing()).loss_and_gradient(net.parameters)
    assert loss == pytest.approx(expected, rel=1e-12 if dtype == np.float64 else 1e-4)


def trainer(residuals: list[Residual], data: bool = True, net: NN | None = None, **options: Any) -> Trainer:
    source = UniformSource(lambda x: np.sin(x[:, 0]), [-1, 0], [1, 2], 10, rng=5) if data else None
    options = {"optimizer": "adam", "learning_rate": 0.01, **options}
    return Trainer(network() if net is None else net, source, residuals=residuals, **options)


@pytest.mark.parametrize("optimizer", [name for name, rule in OPTIMIZERS.items() if not rule.is_second_order])
def test_training(optimizer: str) -> None:
    a_trainer = trainer(equations(), optimizer=optimizer, learning_rate=0.003)
    history = a_trainer.run(2000)
    assert history.losses[-100:].mean() < 0.5 * history.losses[:100].mean()


@pytest.mark.parametrize("data", [False, True])
def test_a_step_is_that_of_the_objective(data: bool) -> None:
    """Of all optimisers, gradient descent shows its gradient."""
    net = network()
    x, y = np.random.default_rng(1).normal(size=(2, 20, 2))
    source = ArraySource(x, y[:, :1], batch_size=20) if data else None
    given = (x, y[:, :1]) if data else (None, None)
    loss, gradient = Objective(net, *given, residuals=standing()).loss_and_gradient(net.parameters)
    before = net.parameters.copy()
    history = Trainer(net, source, residuals=standing(), learning_rate=0.125).run(1)
    assert history.losses[0] == pytest.approx(loss, rel=1e-14)
    np.testing.assert_allclose(net.parameters, before - 0.125 * gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("with_slopes", [False, True])
def test_unknown_targets_and_derivatives_beside_equations(with_slopes: bool) -> None:
    """The loss is the sum of both; points of equations all count."""
    net, rng = network(2), np.random.default_rng(1)
    x, y, dy = rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), rng.normal(size=(20, 2, 2))
    y[3, 0], y[7], dy[2, 1, 0] = np.nan, np.nan, np.nan
    more: dict[str, Any] = {"dy": dy} if with_slopes else {}
    theta = net.parameters.copy()
    parts = Objective(net, x, y, **more), Objective(net, residuals=standing(2))
    (loss, gradient), (other, more_gradient) = (part.loss_and_gradient(theta) for part in parts)
    history = Trainer(net, ArraySource(x, y, 20, **more), residuals=standing(2), learning_rate=0.125).run(1)
    assert history.losses[0] == pytest.approx(loss + other, rel=1e-13)
    expected = theta - 0.125 * (gradient + more_gradient)
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-12, atol=1e-14)
    batches = Trainer(network(2), ArraySource(x, y, 7, rng=1, **more), residuals=equations(2))
    assert np.isfinite(batches.run(50).losses).all()


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("make", [equations, standing])
def test_chunks_do_not_change_the_result(make: Any, data: bool) -> None:
    runs = [trainer(make(), data, chunk_size=size) for size in (1, 7, None)]
    losses = [a_trainer.run(40).losses for a_trainer in runs]
    assert all(np.array_equal(losses[0], other) for other in losses[1:])
    assert all(np.array_equal(runs[0].net.parameters, other.net.parameters) for other in runs[1:])


@pytest.mark.parametrize("data", [False, True])
def test_a_run_can_be_resumed_bit_for_bit(data: bool, tmp_path: Path) -> None:
    whole, first = trainer(equations(), data), trainer(equations(), data)
    losses = whole.run(60).losses
    first.run(25)
    first.save_checkpoint(tmp_path / "run.npz")
    other = trainer(equations(seed=8), data)  # its streams are those of the checkpoint
    other.load_checkpoint(tmp_path / "run.npz")
    assert np.array_equal(other.run(35).losses[-35:], losses[25:])
    assert np.array_equal(other.net.parameters, whole.net.parameters)
    assert not np.array_equal(trainer(equations(seed=8), data).run(60).losses, losses)


def test_runs_that_do_not_fit_a_checkpoint(tmp_path: Path) -> None:
    one = trainer(equations())
    one.save_checkpoint(tmp_path / "run.npz")
    heavier = equations()
    heavier[2] = Residual(heavier[2].function, 3, source=heavier[2].source)
    for other in (trainer(heavier), trainer(equations()[:2]), trainer(equations(), data=False)):
        with pytest.raises(FileFormatError, match=r"is of another run: its (residuals|source) is"):
            other.load_checkpoint(tmp_path / "run.npz")
    without = trainer([])
    with pytest.raises(FileFormatError, match="of another run"):
        without.load_checkpoint(tmp_path / "run.npz")


def test_trainers_share_sources_and_buffers() -> None:
    residuals, alone = equations(), trainer(equations())
    one, other = trainer(residuals), trainer(residuals)
    for _ in range(3):
        one.run(5)
        other.run(5)
        trainer([]).run(5)
    assert np.array_equal(alone.run(15).losses, one.history.losses)
    assert np.array_equal(one.net.parameters, other.net.parameters)


def test_callbacks_stop_a_run() -> None:
    a_trainer = trainer(equations(), log_every=10)
    seen: list[int] = []
    a_trainer.run(10**9, callbacks=[TimeBudget(0.3), lambda run: seen.append(run.iteration)])
    assert 0 < a_trainer.iteration < 10**9
    assert seen == list(range(10, a_trainer.iteration + 1, 10))


def test_an_exception_in_an_equation_ends_the_run() -> None:
    def picky(x: Any, u: Any) -> Any:
        if u > 1e3:
            raise ValueError("u is too large")
        return u - 2000.0

    net = network()
    a_trainer = trainer([Residual(picky, source=[[0.0, 1.0]])], net=net, optimizer="sgd", learning_rate=0.4)
    with pytest.raises(ValueError, match="u is too large"):
        a_trainer.run(1000)
    assert np.isfinite(net.parameters).all()


def test_a_residual_that_is_not_a_number_is_named() -> None:
    def logarithm(x: Any, u: Any) -> Any:
        return np.log(u)

    good = Residual(lambda x, u: u - 1, source=[[0.0, 0.0]])
    bad = Residual(logarithm, source=[[0.0, 1.0]])
    net = network(init="zeros")
    a_trainer = trainer([good, bad], net=net, optimizer="sgd", learning_rate=1e-3)
    with pytest.raises(
        DivergenceError, match="became inf in iteration 0, because of the residual logarithm"
    ) as caught:
        a_trainer.run(10)
    assert caught.value.equation == "logarithm"
    assert "takes the logarithm" in str(caught.value)
    assert not net.parameters.any()
    with pytest.raises(DivergenceError, match="became") as caught:
        trainer([good], learning_rate=1e200, optimizer="sgd").run(100)
    skipping = trainer([bad], net=net, on_divergence="skip", optimizer="sgd")
    assert skipping.run(20).n_iterations == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"residuals": 3}, "residuals must be a sequence of Residual, got 3"),
        ({"residuals": [one_output]}, r"residuals\[0\] must be a Residual, got"),
        ({"residuals": []}, "source must be a Source, such as"),
        ({"optimizer": "bayesian_regularization"}, "optimizer must be one that can use residuals"),
        (
            {"optimizer": "levenberg_marquardt"},
            r"residuals\[0\]\.source must be one that gives the same points",
        ),
        ({"net": NN(1, [3], 1, rng=1)}, r"source\.in_features must be the network's 1, got 2"),
    ],
)
def test_trainers_that_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Trainer(**{"net": network(), "residuals": equations(), **arguments})


def test_objectives_that_are_refused() -> None:
    net = network()
    with pytest.raises(InvalidArgumentError, match=r"residuals\[0\]\.source must be one that gives the same"):
        Objective(net, residuals=equations())
    with pytest.raises(InvalidArgumentError, match="sample_weight must be left out if x and y are"):
        Objective(net, residuals=standing(), sample_weight=[1.0])
    with pytest.raises(InvalidArgumentError, match="x must be an array"):
        Objective(net)


def test_an_oscillator_is_solved() -> None:
    """u'' = -u with u(0) = 0 and u'(0) = 1."""
    x = np.linspace(0, np.pi, 30)
    net = NN(1, [12, 12], 1, rng=1, activation="tanh", init="glorot_uniform")
    residuals = [
        Residual(lambda x, u, du, d2u: d2u[0] + u, source=x, second=[(0, 0)]),
        Residual(lambda x, u: u, source=[0.0]),
        Residual(lambda x, u, du: du[0] - 1, source=[0.0]),
    ]
    found = Objective(net, residuals=residuals).minimize(600)
    assert found.fun < 1e-6
    np.testing.assert_allclose(net.predict(x[:, None])[:, 0], np.sin(x), atol=1e-3)


def test_levenberg_marquardt_gets_further() -> None:
    net = NN(1, [12, 12], 1, rng=1, activation="tanh", init="glorot_uniform")
    x = np.linspace(0, np.pi, 30)
    residuals = [
        Residual(lambda x, u, du, d2u: d2u[0] + u, source=x, second=[(0, 0)]),
        Residual(lambda x, u: u, source=[0.0]),
        Residual(lambda x, u, du: du[0] - 1, source=[0.0]),
    ]
    twin = NN(1, [12, 12], 1, rng=1, activation="tanh", init="glorot_uniform")
    found = Objective(net, residuals=residuals).minimize(100, optimizer="levenberg_marquardt")
    assert found.fun < 1e-7
    np.testing.assert_allclose(net.predict(x[:, None])[:, 0], np.sin(x), atol=1e-4)
    Trainer(twin, residuals=residuals, optimizer="levenberg_marquardt").run(100)
    assert np.array_equal(twin.parameters, net.parameters)


def test_a_residual_that_is_not_a_number_is_named_by_levenberg_marquardt() -> None:
    def root(x: Any, u: Any) -> Any:
        return np.sqrt(u - 1e3)

    run = Trainer(network(), residuals=[Residual(root, source=[[0.0, 1.0]])], optimizer="levenberg_marquardt")
    with pytest.raises(DivergenceError, match="because of the residual root"):
        run.run(10)


def test_equations_are_learned_beside_data_in_their_units() -> None:
    """u' = 100 u, in units that are far from 1, from one value and the equation."""
    x, y = np.array([[0.0]]), np.array([5000.0])
    net = NN(1, [8], 1, rng=1, activation="tanh", init="glorot_uniform")
    spread = np.array([0.01]), np.array([0.005]), np.array([10_000.0]), np.array([4000.0])
    net.standardization = Standardization(*spread)
    decay = Residual(lambda x, u, du: (du[0] - 100 * u) / 1e5, 10, source=np.linspace(0, 0.02, 40))
    Objective(net, x, y, residuals=[decay]).minimize(1000)
    expected = 5000 * np.exp(100 * np.linspace(0, 0.02, 9))
    np.testing.assert_allclose(net.predict(np.linspace(0, 0.02, 9)[:, None])[:, 0], expected, rtol=0.01)
