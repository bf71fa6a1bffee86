"""Gradients of whole networks against differences, against each other and against plain NumPy."""

import functools
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import plain
import pytest

from crabnet_jit import (
    ACTIVATIONS,
    GELU,
    LOSSES,
    NN,
    SGD,
    Adam,
    ArraySource,
    CustomActivation,
    CustomLoss,
    LeakyReLU,
    Objective,
    Sine,
    StdRng,
    Trainer,
)
from crabnet_jit.kernels.panels import panel_shape
from crabnet_jit.training.dropout import Dropout

OPTIONS: dict[str, Any] = {"leaky_relu": LeakyReLU(0.3), "sine": Sine(1.5)}
ACTIVATION_NAMES = [*ACTIVATIONS, "gelu_tanh", "custom"]
LOSS_NAMES = [*LOSSES, "custom"]
PROBABILITIES = ("binary_cross_entropy", "cross_entropy")


@functools.cache
def activation_of(name: str) -> Any:
    if name == "custom":
        return CustomActivation(lambda x: x / (1 + x * x), lambda x: (1 - x * x) / (1 + x * x) ** 2)
    if name == "gelu_tanh":
        return GELU("tanh")
    return OPTIONS[name] if name in OPTIONS else ACTIVATIONS[name]()


@functools.cache
def loss_of(name: str) -> Any:
    if name == "custom":
        return CustomLoss(lambda x, t: (x - t) ** 4 + x, lambda x, t: 4 * (x - t) ** 3 + 1)
    return LOSSES[name]()


def parameters_of(sizes: Any) -> Any:
    """Numbers of both signs, none near 0, where a penalty |theta| bends."""
    rng = np.random.default_rng(5)
    n = sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
    return rng.choice([-1, 1], n) * rng.uniform(0.05, 0.9, n)


def network(
    activation: str, output_activation: str = "identity", sizes: Any = (3, 5, 4, 2), dtype: Any = np.float64
) -> NN:
    return NN(
        sizes[0],
        sizes[1:-1],
        sizes[-1],
        activation=activation_of(activation),
        output_activation=activation_of(output_activation),
        init=parameters_of(sizes),
        dtype=dtype,
    )


def data(n: int, loss: str = "mse") -> tuple[Any, Any, Any]:
    """Inputs (n, 3), targets (n, 2) that the loss can have, and weights, some of them 0."""
    rng = np.random.default_rng(7)
    x, y, w = rng.normal(size=(n, 3)), 2.0 * rng.normal(size=(n, 2)), rng.uniform(0, 3, n)
    w[::5] = 0.0
    if loss in ("binary_cross_entropy", "cross_entropy"):
        y = rng.uniform(0, 1, (n, 2))
        y /= y.sum(axis=1, keepdims=True)
    if loss == "gaussian_nll":
        y = y[:, :1]
    return x, np.abs(y) if loss == "poisson" else y, w


def is_smooth(net: NN, x: Any, y: Any) -> Any:
    """For each sample, whether it is far from where ReLUs and the losses mae and huber bend."""
    far, h = np.ones(len(x), bool), x
    for layer, activation in zip(net.layers, net.activations, strict=True):
        z = layer.get_output(h)
        far &= (np.abs(z) > 0.02).all(axis=1)
        h = activation.get_output(z)
    error = np.abs(h - y)
    return far & (error > 0.02).all(axis=1) & (np.abs(error - 1) > 0.02).all(axis=1)


def differences(function: Callable[[Any], float], theta: Any, step: float = 5e-4) -> Any:
    """Its derivatives by central differences of fourth order."""
    result = np.empty_like(theta)
    for k in range(theta.size):
        a, b, c, d = (function(theta + step * m * (np.arange(theta.size) == k)) for m in (-2, -1, 1, 2))
        result[k] = (8 * (c - b) - (d - a)) / (12 * step)
    return result


# ---- every activation with every loss ----


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_gradient_equals_differences_of_the_loss(activation: str, loss: str) -> None:
    net = network(activation)
    x, y, w = data(40, loss)
    smooth = is_smooth(net, x, y)
    assert smooth.sum() >= 15
    objective = Objective(
        net, x[smooth], y[smooth], loss=loss_of(loss), sample_weight=w[smooth], l1=0.03, l2=0.2
    )
    theta = net.parameters.copy()
    _, gradient = objective.loss_and_gradient(theta)
    expected = differences(lambda moved: objective.loss_and_gradient(moved)[0], theta)
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-9 * np.abs(gradient).max())


@pytest.mark.parametrize("loss", LOSS_NAMES)
def test_loss_is_the_weighted_mean_with_penalties(loss: str) -> None:
    net = network("tanh")
    x, y, w = data(40, loss)
    value, _ = Objective(net, x, y, loss=loss_of(loss), sample_weight=w, l1=0.03, l2=0.2).loss_and_gradient(
        net.parameters
    )
    of_each = [loss_of(loss).get_output(net.get_output(x[s : s + 1]), y[s : s + 1]) for s in range(40)]
    theta = net.parameters
    penalty = 0.03 * np.abs(theta).sum() + 0.1 * (theta**2).sum()
    assert value == pytest.approx((w * of_each).sum() / w.sum() + penalty, rel=1e-13)


# ---- the same gradients another way ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("output", [False, True], ids=["hidden", "output"])
@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_layer_by_layer_gives_the_same_gradients(activation: str, output: bool, dtype: Any) -> None:
    net = network(*(("tanh", activation) if output else (activation, "identity")), dtype=dtype)
    x, y, w = data(30)
    value, gradient = Objective(net, x, y, sample_weight=w).loss_and_gradient(net.parameters)
    mse = loss_of("mse")
    tolerance = 1e-13 if dtype is np.float64 else 1e-5
    assert mse.forward(net.forward(x), y, w) == pytest.approx(value, rel=tolerance)
    dL_dx = net.backward(mse.backward())
    assert dL_dx.shape == x.shape
    assert dL_dx.dtype == net.gradients.dtype == dtype
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(net.gradients / scale, gradient / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "custom"])
def test_backward_gives_the_gradient_of_the_input(activation: str) -> None:
    net = network(activation, "sigmoid")
    x, y, _ = data(6)
    mse = loss_of("mse")
    mse.forward(net.forward(x), y)
    dL_dx = net.backward(mse.backward())
    expected = differences(lambda moved: mse.get_output(net.get_output(moved.reshape(x.shape)), y), x.ravel())
    np.testing.assert_allclose(dL_dx.ravel(), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [*((name, "mse") for name in ACTIVATION_NAMES), *(("tanh", name) for name in LOSS_NAMES[1:])],
)
def test_float32_gives_the_gradients_of_float64(activation: str, loss: str) -> None:
    x, y, w = data(200, loss)
    nets = [network(activation, dtype=dtype) for dtype in (np.float64, np.float32)]
    smooth = is_smooth(nets[0], x, y)
    (value, gradient), (value_32, gradient_32) = (
        Objective(
            net, x[smooth], y[smooth], loss=loss_of(loss), sample_weight=w[smooth], l1=0.03, l2=0.2
        ).loss_and_gradient(net.parameters)
        for net in nets
    )
    assert gradient_32.dtype == np.float64
    assert value_32 == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(gradient_32, gradient, rtol=1e-4, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("n", [1, 16, 128, 129, 1000])
def test_any_number_of_panels_gives_what_plain_numpy_gives(n: int) -> None:
    sizes = [3, 8, 5, 2]
    net = network("relu", sizes=sizes)
    x, y, _ = data(n)
    objective = Objective(net, x, y)
    value, gradient = objective.loss_and_gradient(net.parameters)
    parameters = plain.split(net.parameters, sizes)
    assert value == pytest.approx(plain.loss(parameters, x, y), rel=1e-13)
    expected = plain.flatten(plain.gradients(parameters, x, y)[0])
    np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-13)
    again, gradient_again = objective.loss_and_gradient(net.parameters)
    assert again == value
    np.testing.assert_array_equal(gradient_again, gradient)


def test_weights_are_counts() -> None:
    """A sample of weight 3 is as good as three of them, also over several panels."""
    net = network("tanh")
    x, y, _ = data(300)
    counts = np.random.default_rng(2).integers(0, 4, 300)
    weighted = Objective(net, x, y, loss="huber", sample_weight=counts)
    repeated = Objective(net, x.repeat(counts, axis=0), y.repeat(counts, axis=0), loss="huber")
    value, gradient = weighted.loss_and_gradient(net.parameters)
    expected, gradient_expected = repeated.loss_and_gradient(net.parameters)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(gradient, gradient_expected, rtol=1e-11, atol=1e-13)


# ---- steps of a trainer, by hand ----

SIZES = [3, 6, 2]
N_STEPS = 12
RATES: Any = 0.05 * 0.9 ** np.arange(N_STEPS)
Step = Callable[[Any, Any, float], Any]


def momentum_steps() -> Step:
    velocity = np.zeros(parameters_of(SIZES).size)

    def step(theta: Any, g: Any, rate: float) -> Any:
        velocity[:] = 0.9 * velocity + g
        return theta - rate * velocity

    return step


def adam_steps() -> Step:
    mean, squares = np.zeros((2, parameters_of(SIZES).size))
    count = np.zeros(1)

    def step(theta: Any, g: Any, rate: float) -> Any:
        count[:] += 1
        mean[:] = 0.9 * mean + 0.1 * g
        squares[:] = 0.999 * squares + 0.001 * g**2
        return theta - rate * (mean / (1 - 0.9**count)) / (np.sqrt(squares / (1 - 0.999**count)) + 1e-8)

    return step


def plain_steps() -> Step:
    return lambda theta, g, rate: theta - rate * g


def clipped_norm(g: Any, most: float) -> Any:
    return g * min(1.0, most / np.linalg.norm(g))


Changed = Callable[[Any, Any], Any]
STEPS: dict[str, tuple[Callable[[], Step], Changed, dict[str, Any]]] = {
    "sgd": (plain_steps, lambda g, p: g, {}),
    "momentum": (momentum_steps, lambda g, p: g, {"optimizer": SGD(momentum=0.9)}),
    "adam": (adam_steps, lambda g, p: g, {"optimizer": Adam()}),
    "l1 and l2": (plain_steps, lambda g, p: g + 0.3 * np.sign(p) + 0.7 * p, {"l1": 0.3, "l2": 0.7}),
    "clip_value": (plain_steps, lambda g, p: np.clip(g, -0.9, 0.9), {"clip_value": 0.9}),
    "clip_norm": (plain_steps, lambda g, p: clipped_norm(g, 1.6), {"clip_norm": 1.6}),
    "all": (
        adam_steps,
        lambda g, p: clipped_norm(np.clip(g + 0.3 * np.sign(p) + 0.7 * p, -0.5, 0.5), 1.2),
        {"optimizer": "adam", "l1": 0.3, "l2": 0.7, "clip_value": 0.5, "clip_norm": 1.2},
    ),
}


@pytest.mark.parametrize("name", list(STEPS))
def test_steps_of_a_trainer_equal_plain_numpy(name: str) -> None:
    make_step, change, options = STEPS[name]
    x, y, _ = data(50)
    net = network("relu", sizes=SIZES)
    theta, step = net.parameters.copy(), make_step()
    source = ArraySource(x, y, batch_size=50)
    trainer = Trainer(net, source, learning_rate=lambda i: RATES[i], chunk_size=5, **options)
    losses, changes = [], []
    for k in range(N_STEPS):
        parameters = plain.split(theta, SIZES)
        losses.append(plain.loss(parameters, x, y))
        raw = plain.flatten(plain.gradients(parameters, x, y)[0])
        changed = change(raw, theta)
        changes.append(not np.array_equal(changed, raw))
        theta = step(theta, changed, RATES[k])
    trainer.run(N_STEPS)
    assert any(changes) == (name not in ("sgd", "momentum", "adam"))
    assert not all(changes) or name not in ("clip_value", "clip_norm")
    np.testing.assert_allclose(trainer.history.losses, losses, rtol=1e-12)
    np.testing.assert_allclose(net.parameters, theta, rtol=1e-11, atol=1e-13)


# ---- dropout ----


def masks_of(rates: Any, seed: int, n_iterations: int, sizes: Any, n_samples: int) -> Any:
    """Masks (n_iterations, n_units, n_samples)."""
    net = network("tanh", sizes=sizes)
    n_panels, width = panel_shape(n_samples)
    layer_rates = tuple(np.ones(len(net.hidden_sizes)) * rates)
    dropout = Dropout(net.hidden_sizes, layer_rates, StdRng(seed, stream=1).state, n_panels, width)
    masks = np.full((n_iterations, n_panels, dropout.n_units, width), np.nan)
    dropout.fill(0, masks)
    return masks.transpose(0, 2, 1, 3).reshape(n_iterations, -1, n_panels * width)[:, :, :n_samples]


def seen_masks(n_iterations: int, **options: Any) -> Any:
    """Masks (n_iterations, 8) of the units of a network whose loss tells which are dropped.

    Every unit is 1, and the output is their sum weighted by powers of 2.
    """
    powers: Any = 2.0 ** np.arange(8)
    init = np.concatenate([np.zeros(8), np.ones(8), powers, np.zeros(1)])
    net = NN(1, [8], 1, init=init)
    trainer = Trainer(net, ArraySource([[0.0]], [[0.0]]), learning_rate=0.0, dropout=0.3, **options)
    sums = np.sqrt(trainer.run(n_iterations).losses) * 0.7
    whole = np.rint(sums).astype(int)
    np.testing.assert_allclose(sums, whole, atol=1e-10)  # what is kept is 1 / 0.7
    return (whole[:, None] >> np.arange(8)) & 1


def test_share_and_independence_of_dropped_units() -> None:
    n = 20_000
    kept = seen_masks(n)
    deviation = math.sqrt(0.3 * 0.7 / n)
    np.testing.assert_allclose(1 - kept.mean(axis=0), 0.3, atol=4 * deviation)
    np.testing.assert_allclose((kept / 0.7).mean(axis=0), 1, atol=6 * deviation)
    noise = (kept - 0.7) / math.sqrt(0.21)
    of_units = noise.T @ noise / n - np.eye(8)
    of_iterations = noise[1:].T @ noise[:-1] / (n - 1)
    assert np.abs([of_units - np.diag(np.diag(of_units)), of_iterations]).max() < 4.5 / math.sqrt(n)


def test_another_generator_gives_other_masks() -> None:
    first, same, other = (seen_masks(100, rng=rng) for rng in (1, StdRng(1, stream=1), 2))
    np.testing.assert_array_equal(first, same)
    assert 0.3 < (first != other).mean() < 0.55  # 2 * 0.3 * 0.7 is expected


def test_samples_have_masks_of_their_own() -> None:
    masks = masks_of(0.3, 4, 400, (3, 5, 2), 20)
    assert set(np.unique(masks)) == {0.0, 1 / 0.7}
    noise = (masks * 0.7 - 0.7).reshape(-1, 20) / math.sqrt(0.21)
    correlation = noise.T @ noise / len(noise)
    assert np.abs(correlation - np.diag(np.diag(correlation))).max() < 4.5 / math.sqrt(len(noise))
    np.testing.assert_allclose((masks == 0).mean(axis=(0, 1)), 0.3, atol=4 * math.sqrt(0.21 / 2000))


@pytest.mark.parametrize("activation", ["tanh", "relu", "identity", "sine", "custom"])
def test_a_step_with_dropout_equals_plain_numpy(activation: str) -> None:
    """A rate for each layer; the masks stand in forward and backward."""
    sizes, rates, n = (3, 7, 6, 2), [0.5, 0.25], 30
    net = network(activation, sizes=sizes)
    x, y, _ = data(n)
    masks = masks_of(rates, 9, 3, sizes, n)
    assert set(np.unique(masks[:, :7])) == {0.0, 2.0}
    assert set(np.unique(masks[:, 7:])) == {0.0, 1 / 0.75}
    theta, losses, f = net.parameters.copy(), [], activation_of(activation)
    for mask in masks:
        (W0, b0), (W1, b1), (W2, b2) = plain.split(theta, list(sizes))
        m0, m1 = mask[:7].T, mask[7:].T
        h0 = m0 * f.forward(x @ W0.T + b0.T)
        slope0 = m0 * f.backward(np.ones_like(h0))
        h1 = m1 * f.forward(h0 @ W1.T + b1.T)
        slope1 = m1 * f.backward(np.ones_like(h1))
        error = h1 @ W2.T + b2.T - y
        losses.append((error**2).mean())
        d2 = 2 * error / error.size
        d1 = (d2 @ W2) * slope1
        d0 = (d1 @ W1) * slope0
        pairs = zip((d0, d1, d2), (x, h0, h1), strict=True)
        theta = theta - 0.1 * plain.flatten([(d.T @ h, d.sum(axis=0)[:, None]) for d, h in pairs])
    trainer = Trainer(net, ArraySource(x, y, batch_size=n), learning_rate=0.1, dropout=rates, rng=9)
    np.testing.assert_allclose(trainer.run(3).losses, losses, rtol=1e-12)
    np.testing.assert_allclose(net.parameters, theta, rtol=1e-11, atol=1e-13)


def dropout_run(*runs: int, chunk_size: int | None = None, rng: int = 3, **options: Any) -> tuple[Any, Any]:
    """Losses and parameters of a run over minibatches, in pieces."""
    net = network("elu", sizes=(3, 9, 5, 2), **options)
    x, y, w = data(150)
    source = ArraySource(x, y, batch_size=40, sample_weight=w, rng=1)
    trainer = Trainer(
        net, source, optimizer="adam", learning_rate=0.01, dropout=0.3, rng=rng, chunk_size=chunk_size
    )
    for n_iterations in runs:
        trainer.run(n_iterations)
    return trainer.history.losses, net.parameters


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_run_with_dropout_does_not_depend_on_how_it_is_cut(dtype: Any) -> None:
    losses, parameters = dropout_run(300, dtype=dtype)
    cuts: list[tuple[tuple[int, ...], int | None]] = [
        ((300,), 1),
        ((300,), 7),
        ((100, 200), None),
        ((1, 298, 1), 64),
    ]
    for runs, chunk_size in cuts:
        others = dropout_run(*runs, chunk_size=chunk_size, dtype=dtype)
        np.testing.assert_array_equal(others[0], losses)
        np.testing.assert_array_equal(others[1], parameters)
    assert not np.array_equal(dropout_run(300, rng=4, dtype=dtype)[0], losses)


def test_masks_of_an_iteration_do_not_depend_on_where_a_chunk_starts() -> None:
    net = network("tanh")
    layer_rates = (0.3,) * len(net.hidden_sizes)
    dropout = Dropout(net.hidden_sizes, layer_rates, StdRng(5).state, 2, 48)
    together, apart = np.empty((10, 2, 9, 48)), np.empty((10, 2, 9, 48))
    dropout.fill(20, together)
    for k in range(10):
        dropout.fill(20 + k, apart[k : k + 1])
    np.testing.assert_array_equal(apart, together)
    windows = np.lib.stride_tricks.sliding_window_view((together == 0).ravel(), 64)
    different = np.unique(np.packbits(windows, axis=1), axis=0)
    assert len(different) == len(windows)  # no draw is used twice


def test_prediction_knows_no_dropout() -> None:
    net = network("relu")
    x, y, _ = data(40)
    before = net.get_output(x)
    trainer = Trainer(net, ArraySource(x, y), learning_rate=0.0, dropout=0.6)
    trainer.run(5)
    np.testing.assert_array_equal(net.get_output(x), before)
    np.testing.assert_array_equal(net.forward(x), before)
    value, _ = Objective(net, x, y).loss_and_gradient(net.parameters)
    assert value == pytest.approx(((before - y) ** 2).mean(), rel=1e-13)


def test_each_layer_has_its_rate() -> None:
    masks = masks_of([0.0, 0.5], 1, 50, (3, 6, 4, 2), 16)
    np.testing.assert_array_equal(masks[:, :6], 1)
    assert set(np.unique(masks[:, 6:])) == {0.0, 2.0}
    np.testing.assert_allclose((masks[:, 6:] == 0).mean(), 0.5, atol=4 * math.sqrt(0.25 / masks[:, 6:].size))
