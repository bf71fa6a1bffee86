"""Gradients against differences: right ones pass, and every wrong one is found."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crabnet_jit import (
    ACTIVATIONS,
    LOSSES,
    NN,
    CustomActivation,
    CustomLoss,
    GradientCheck,
    Huber,
    InvalidArgumentError,
    Objective,
    check_gradients,
)

X = np.random.default_rng(0).normal(size=(7, 2))
Y = np.random.default_rng(1).normal(size=(7, 2))
SHARES = np.abs(Y) / np.abs(Y).sum(axis=1, keepdims=True)


def network(seed: int = 1, **options: Any) -> NN:
    net = NN(2, [4, 3], 2, rng=seed, **{"activation": "tanh", "init": "glorot_uniform", **options})
    net.parameters += np.random.default_rng(seed).normal(scale=0.3, size=net.parameters.size)
    return net


def targets(loss: str) -> Any:
    if loss == "gaussian_nll":
        return Y[:, :1]
    return SHARES if "entropy" in loss else np.abs(Y) if loss == "poisson" else Y


def names(net: NN) -> list[str]:
    """Of all parameters, in their order."""
    result = []
    for k, layer in enumerate(net.layers):
        rows, columns = layer.W.shape
        result += [f"layers[{k}].W[{o}, {i}]" for o in range(rows) for i in range(columns)]
        result += [f"layers[{k}].b[{o}, 0]" for o in range(rows)]
    return result


def value_of(net: NN, name: str) -> Any:
    """The derivative of the parameter with a name like layers[0].W[1, 2]."""
    return eval(f"net.{name}".replace(".W", ".dL_dW").replace(".b", ".dL_db"), {"net": net})


# ---- right ones ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_all_there_is_is_right(activation: str, loss: str, dtype: str) -> None:
    net = network(activation=activation, dtype=dtype)
    before = net.parameters.tobytes()
    result = check_gradients(net, X, targets(loss), loss)
    assert result.is_right, str(result)
    assert result.error == result.errors.max() <= 1e-4
    assert result.errors.shape == net.parameters.shape
    assert net.parameters.tobytes() == before
    assert net.parameters.dtype == dtype


@pytest.mark.parametrize("hidden_sizes", [[], [1], [9], [3, 3, 3, 3]])
@pytest.mark.parametrize("n_samples", [1, 16, 33])
def test_all_shapes_are_right(hidden_sizes: list[int], n_samples: int) -> None:
    rng = np.random.default_rng(2)
    net = NN(3, hidden_sizes, 2, rng=1, activation="silu", init="glorot_uniform")
    result = check_gradients(net, rng.normal(size=(n_samples, 3)), rng.normal(size=(n_samples, 2)))
    assert result.is_right, str(result)


def test_losses_with_options_are_right() -> None:
    assert check_gradients(network(), X, Y, Huber(0.1)).is_right
    assert check_gradients(network(output_activation="sigmoid"), X, Y).is_right


def test_right_ones_of_ones_own_are_right() -> None:
    activation = CustomActivation(lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2)
    loss = CustomLoss(lambda x, t: (x - t) ** 4, lambda x, t: 4 * (x - t) ** 3)
    result = check_gradients(network(activation=activation), X, Y, loss)
    assert result.is_right, str(result)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_kinks_are_no_false_alarms(activation: str) -> None:
    """A ReLU bends near some value of nearly every parameter."""
    rng = np.random.default_rng(3)
    wrong = []
    for seed in range(200):
        net = network(seed, activation=activation)
        result = check_gradients(net, rng.normal(size=(20, 2)), rng.normal(size=(20, 2)), "mse")
        wrong += [] if result.is_right else [(seed, str(result))]
    assert wrong == []


@pytest.mark.parametrize("init", ["he_uniform", "glorot_normal", "standard_uniform"])
def test_a_start_with_biases_of_zero_is_no_false_alarm(init: str) -> None:
    """A sample for which all units of a layer are dead puts those of the next one on their kinks."""
    rng = np.random.default_rng(4)
    wrong = []
    for seed in range(50):
        net = NN(2, [4, 4], 1, rng=seed, init=init)
        result = check_gradients(net, rng.normal(size=(10, 2)), rng.normal(size=10))
        wrong += [] if result.is_right else [(seed, str(result))]
    assert wrong == []


def test_a_row_of_zeros_is_no_false_alarm() -> None:
    net = NN(2, [8], 1, rng=1, init="he_uniform")
    assert check_gradients(net, [[0.0, 0.0], [1.0, -2.0]], [1.0, 2.0]).is_right


def test_an_error_of_absolute_size_at_its_kink_is_no_false_alarm() -> None:
    net = NN(1, [], 1, init=[2.0, 0.5])
    result = check_gradients(net, [[1.0], [2.0], [3.0]], [2.5, 5.0, 9.0], "mae")  # two are hit exactly
    assert result.is_right, str(result)


# ---- scales ----


@pytest.mark.parametrize("scale", [1e-100, 1e-8, 1e-3, 1e8, 1e100])
def test_the_scale_of_the_loss_does_not_matter(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    expected = check_gradients(net, X, Y)
    evaluate = Objective.loss_and_gradient

    def scaled(self: Objective, theta: Any) -> tuple[float, Any]:
        loss, gradient = evaluate(self, theta)
        return scale * loss, scale * gradient

    monkeypatch.setattr(Objective, "loss_and_gradient", scaled)
    result = check_gradients(net, X, Y)
    assert result.is_right, str(result)
    plant(monkeypatch, scaled, lambda gradient: gradient * 1.01)
    result = check_gradients(net, X, Y)
    assert not result.is_right
    assert result.error == pytest.approx(0.01, rel=0.02)
    assert result.derivative == pytest.approx(1.01 * result.difference_quotient, rel=1e-3)
    assert expected.is_right


@pytest.mark.parametrize("size", [1e-4, 1e4])
def test_the_scale_of_the_data_does_not_matter(size: float) -> None:
    net = network()
    result = check_gradients(net, X, size * Y)
    assert result.is_right, str(result)
    wrong = CustomLoss(lambda x, t: (x - t) ** 2, lambda x, t: 2.02 * (x - t))
    assert not check_gradients(net, X, size * Y, wrong).is_right


@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_the_scale_of_parameters_does_not_matter(size: float) -> None:
    net = network(activation="softplus")
    net.parameters *= size
    result = check_gradients(net, X, Y)
    assert result.is_right, str(result)


# ---- zero gradients ----


def test_a_network_whose_units_are_all_dead() -> None:
    net = NN(2, [3], 1, init=[-1.0] * 9 + [0.5] * 3 + [1.0])
    x = np.abs(X)
    result = check_gradients(net, x, np.ones(7))  # and the output is right
    assert result.is_right, str(result)
    assert check_gradients(net, x, np.zeros(7)).is_right
    assert (result.errors[:-1] == 0).all()  # but for the last bias, which would spoil it


def test_a_perfect_fit() -> None:
    x = np.linspace(-1, 1.1, 7)[:, None]
    result = check_gradients(NN(1, [], 1, init=[2.1, 0.3]), x, 2.1 * x + 0.3)
    assert result.is_right, str(result)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_a_minimum_that_is_not_perfect(size: float) -> None:
    x = np.linspace(-1, 1.1, 20)[:, None]
    y = size * np.sin(30 * x)
    solution = np.linalg.lstsq(np.column_stack([x, np.ones(20)]), y, rcond=None)[0]
    result = check_gradients(NN(1, [], 1, init=solution.ravel()), x, y)
    assert result.is_right, str(result)


# ---- wrong ones ----


def plant(
    monkeypatch: pytest.MonkeyPatch,
    evaluate: Callable[[Objective, Any], tuple[float, Any]],
    change: Callable[[Any], Any],
) -> None:
    def changed(self: Objective, theta: Any) -> tuple[float, Any]:
        loss, gradient = evaluate(self, theta)
        return loss, change(gradient)

    monkeypatch.setattr(Objective, "loss_and_gradient", changed)


@pytest.mark.parametrize("relative", [1.0, 0.01, 3e-6])
@pytest.mark.parametrize("sizes", [[2, 4, 3, 2], [3, 1], [1, 5, 1]])
def test_an_error_in_any_single_parameter_is_found_and_named(
    sizes: list[int], relative: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    net = NN(sizes[0], sizes[1:-1], sizes[-1], rng=1, activation="tanh", init="glorot_uniform")
    net.parameters += rng.normal(scale=0.3, size=net.parameters.size)
    x, y = rng.normal(size=(7, sizes[0])), rng.normal(size=(7, sizes[-1]))
    evaluate = Objective.loss_and_gradient
    _, right = evaluate(Objective(net, x, y), net.parameters)
    known = names(net)
    assert len(known) == net.parameters.size
    for k, name in enumerate(known):
        error = relative * np.abs(right).max()
        if relative < 1e-3:
            error = 300 * relative * max(abs(right[k]), 1e-3 * np.abs(right).max())
        plant(monkeypatch, evaluate, lambda g, k=k, e=error: g + e * (np.arange(g.size) == k))  # type: ignore[misc]
        result = check_gradients(net, x, y)
        assert not result.is_right
        assert result.worst == name
        assert int(result.errors.argmax()) == k
        assert result.derivative == pytest.approx(right[k] + error, rel=1e-12)
        assert result.difference_quotient == pytest.approx(right[k], abs=1e-4 * np.abs(right).max())
        others = np.delete(result.errors, k)
        assert others.max(initial=0) <= 1e-4


def test_names_are_those_of_the_layers() -> None:
    net = network()
    net.forward(X)
    net.backward(2 * (net.get_output(X) - Y) / Y.size)
    _, gradient = Objective(net, X, Y).loss_and_gradient(net.parameters)
    for name, derivative in zip(names(net), gradient, strict=True):
        assert value_of(net, name) == pytest.approx(derivative, rel=1e-9)


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda x: x * x, lambda x: x),
        (lambda x: math.sin(2 * x), lambda x: -2 * math.cos(2 * x)),
        (lambda x: x if x > 0 else 0.1 * x, lambda x: 1.0 if x > 0 else 0.2),
        (lambda x: -math.tanh(x), lambda x: math.tanh(x) - 1),
        (lambda x: x**3, lambda x: 3 * x * x + 0.01),
        (lambda x: math.exp(-x), lambda x: 0.0),
    ],
    ids=["factor", "sign", "branch", "formula", "summand", "nothing"],
)
def test_wrong_activations_are_found(
    function: Callable[[float], float], derivative: Callable[[float], float]
) -> None:
    net = network(activation=[CustomActivation(function, derivative), "tanh"])
    result = check_gradients(net, X, Y)
    assert not result.is_right
    assert result.error > 1e-3
    assert result.worst.startswith("layers[0].")  # what lies behind it is right
    behind = net.layers[0].parameters.size
    assert result.errors[behind:].max() <= 1e-4
    assert str(result).startswith(f"gradients are WRONG: the worst is {result.worst}, derivative ")


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda x, t: (x - t) ** 2, lambda x, t: x - t),
        (lambda x, t: (x - t) ** 2, lambda x, t: 2 * (t - x)),
        (lambda x, t: (x - t) ** 2 if x > t else 3 * (x - t) ** 2, lambda x, t: 2 * (x - t)),
        (lambda x, t: abs(x - t), lambda x, t: 1.0),
        (lambda x, t: (x - t) ** 4, lambda x, t: 4 * (x - t) ** 3 + 0.001 * t),
    ],
    ids=["factor", "sign", "branch", "no sign", "summand"],
)
def test_wrong_losses_are_found(
    function: Callable[[float, float], float], derivative: Callable[[float, float], float]
) -> None:
    for dtype in ("float64", "float32"):
        result = check_gradients(network(dtype=dtype), X, Y, CustomLoss(function, derivative))
        assert not result.is_right
        assert result.worst in names(network())


@pytest.mark.parametrize("factor", [1 - 3e-4, 1 + 3e-4, 1.5, 0.0, -1.0])
def test_an_error_in_all_of_them_is_found(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, Objective.loss_and_gradient, lambda gradient: factor * gradient)
    result = check_gradients(network(), X, Y)
    assert not result.is_right
    largest = abs(factor - 1) / max(1, abs(factor))
    assert result.error == pytest.approx(largest, rel=0.01)


def test_the_tolerance_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, Objective.loss_and_gradient, lambda gradient: 1.01 * gradient)
    for tolerance, is_right in ((1e-4, False), (0.009, False), (0.011, True), (1.0, True)):
        assert check_gradients(network(), X, Y, tolerance=tolerance).is_right == is_right


# ---- what it says, and what it refuses ----


def test_printed_it_is_a_sentence() -> None:
    result = check_gradients(network(), X, Y)
    assert isinstance(result, GradientCheck)
    assert str(result) == (
        f"gradients are right: the worst is {result.worst}, derivative {result.derivative:.6g}, "
        f"difference quotient {result.difference_quotient:.6g}, relative error {result.error:.2g}"
    )
    wrong = result._replace(is_right=False, worst="layers[9].b[1, 0]", error=0.25)
    assert str(wrong).startswith("gradients are WRONG: the worst is layers[9].b[1, 0], ")
    assert str(wrong).endswith("relative error 0.25")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((None, X, Y), {}, "net must be an NN"),
        ((network, X, Y[:3]), {}, "y must be of as many samples as x, 7, got 3"),
        ((network, X[:, :1], Y), {}, r"x must be of shape (n_samples, 2)"),
        ((network, X, Y[:, :1]), {}, r"y must be of shape (n_samples, 2)"),
        ((network, np.full_like(X, np.nan), Y), {}, "x must"),
        ((network, X, np.full_like(Y, np.inf)), {}, "y must"),
        ((network, X[:0], Y[:0]), {}, "x must"),
        ((network, X, Y, "mes"), {}, "did you mean 'mse'?"),
        ((network, X, Y + 5, "binary_cross_entropy"), {}, "y must be"),
        ((network, X, Y), {"tolerance": 0}, "tolerance must be a finite number above 0, got 0"),
        ((network, X, Y), {"tolerance": float("nan")}, "tolerance must be"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    net, *others = arguments
    with pytest.raises(InvalidArgumentError) as caught:
        check_gradients(net() if callable(net) else net, *others, **options)
    assert message in str(caught.value)


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    net = network(activation="identity")
    net.parameters *= 1e200
    with pytest.raises(
        FloatingPointError, match=r"the derivative for layers\[\d\]\.\w\[.*\] is infinite or NaN"
    ):
        check_gradients(net, X, Y)


def test_a_derivative_that_is_not_finite_is_an_error_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = Objective.loss_and_gradient
    net = network()
    for k, name in enumerate(names(net)):
        for bad in (np.nan, np.inf):
            plant(monkeypatch, evaluate, lambda g, k=k, bad=bad: np.where(np.arange(g.size) == k, bad, g))  # type: ignore[misc]
            with pytest.raises(FloatingPointError) as caught:
                check_gradients(net, X, Y)
            assert f"the derivative for {name} is" in str(caught.value)


def test_a_network_with_standardisation_or_in_use_is_unchanged() -> None:
    net = network()
    net.forward(X)
    net.backward(Y)
    before = net.parameters.tobytes(), net.gradients.tobytes(), net.get_output(X).tobytes()
    check_gradients(net, X, Y)
    assert (net.parameters.tobytes(), net.gradients.tobytes(), net.get_output(X).tobytes()) == before
