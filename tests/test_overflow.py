"""Numbers whose squares, sums or reciprocals are no numbers, and what padding columns hold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crabnet_jit import (
    GELU,
    MSE,
    NN,
    Adam,
    AdamW,
    ArraySource,
    BinaryCrossEntropy,
    CrossEntropy,
    CustomActivation,
    CustomLoss,
    DivergenceError,
    Objective,
    RMSprop,
    Sine,
    Source,
    Trainer,
    UniformSource,
)
from crabnet_jit.kernels.panels import pack, pack_one, repeat_sample

TYPES = [("float32", 1e10), ("float64", 1e100)]


# ---- steps ----


@pytest.mark.parametrize(
    ("dtype", "x"), [*TYPES, ("float64", 1e150), ("float32", 1e-20), ("float64", 1e-170)]
)
def test_a_gradient_whose_square_is_no_number_is_clipped(dtype: str, x: float) -> None:
    net = NN(1, [], 1, init=[1.0, 0.0], dtype=dtype)
    limit = 1e-5 * x if x < 1 else 1.0
    trainer = Trainer(net, ArraySource([[x]], [0.0]), learning_rate=0.1 / limit, clip_norm=limit)
    trainer.run(1)
    if x > 1:
        assert net.parameters[0] == pytest.approx(0.9, rel=1e-6)
    else:  # the derivatives with respect to w and b are 2 x^2 and 2 x
        np.testing.assert_allclose(net.parameters, [1, -0.1], rtol=1e-6)


def test_directions_of_clipped_gradients() -> None:
    net = NN(3, [], 1, init=[1.0, 1.0, 1.0, 0.0], dtype="float32")
    Trainer(net, ArraySource([[3e15, 4e15, 0]], [0.0]), learning_rate=0.5, clip_norm=1.0).run(1)
    np.testing.assert_allclose(net.parameters, [0.7, 0.6, 1.0, 0.0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("optimizer", [Adam(), AdamW(weight_decay=0.0), RMSprop()])
def test_a_large_gradient_does_not_stop_an_optimiser_for_ever(optimizer: Any) -> None:
    moved = []
    for dtype in (np.float32, np.float64):
        p = np.zeros(1, dtype)
        state = optimizer.init(p)
        optimizer.update(p, np.array([1e20], dtype), state, 0.1)
        for _ in range(1000):
            optimizer.update(p, np.array([1.0], dtype), state, 0.1)
        moved.append(float(p[0]))
    assert moved[0] == pytest.approx(moved[1], rel=1e-3)
    if isinstance(optimizer, Adam):
        assert moved[1] == pytest.approx(-0.6006, abs=1e-4)  # as PyTorch


@pytest.mark.parametrize("optimizer", [Adam(eps=1e-46), RMSprop(eps=1e-46)])
def test_an_eps_that_is_no_float32_does_not_divide_0_by_0(optimizer: Any) -> None:
    p = np.ones(2, np.float32)
    optimizer.update(p, np.array([0, 1], np.float32), optimizer.init(p), 0.1)
    assert p[0] == 1
    assert p[1] < 1


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_an_infinite_state_of_the_optimiser_is_a_divergence(optimizer: str) -> None:
    def trainer(**options: Any) -> Trainer:
        source = ArraySource([[1e200], [1.0]], [0.0, 0.5], batch_size=1, shuffle=False)
        return Trainer(
            NN(1, [], 1, init=[1.0, 0.0]),
            source,
            loss="mae",
            optimizer=optimizer,
            learning_rate=0.1,
            **options,
        )

    with pytest.raises(DivergenceError, match="state would become infinite or NaN in iteration 0"):
        trainer().run(4)
    skipping = trainer(on_divergence="skip")
    history = skipping.run(4)
    assert [event for _, event in history.events] == ["skipped a step"] * 2
    assert np.isfinite(skipping.optimizer_state.buffers).all()
    assert skipping.net.parameters[0] != 1


def test_penalties_of_large_parameters_are_numbers() -> None:
    net = NN(1, [], 1, init=[1e25, 0.0], dtype="float32")
    loss, _ = Objective(net, [[0.0]], [0.0], l2=1e-10).loss_and_gradient(net.parameters)
    assert loss == pytest.approx(0.5e40, rel=1e-6)


# ---- formulas ----


def test_a_cross_entropy_of_huge_logits() -> None:
    assert CrossEntropy().get_output([[9e307, -9e307]], [[1, 0]]) == 0
    loss = CrossEntropy()
    loss.forward([[9e307, -9e307]], [[1, 0]])
    np.testing.assert_array_equal(loss.backward(), [[0, 0]])
    assert BinaryCrossEntropy().get_output([[9e307]], [[1]]) == 0


def test_a_sine_is_right_or_nan() -> None:
    x = np.r_[10.0 ** np.arange(0, 15.1, 0.25), 1.7e15]
    sine = Sine(1.0)
    np.testing.assert_allclose(sine.forward([x])[0], np.sin(x), atol=1e-15)
    np.testing.assert_allclose(sine.backward(np.ones((1, x.size)))[0], np.cos(x), atol=1e-15)
    assert np.isnan(Sine(1.0).get_output([[1.8e15, 1e17, 1e20, -1e50, 1.7e308]])).all()


def test_a_sine_in_float32_is_right_or_nan() -> None:
    net = NN(1, [], 1, init=[1.0, 0.0], output_activation=Sine(1.0), dtype="float32")
    x = (10.0 ** np.arange(0, 6.5, 0.25)).astype(np.float32)[:, None]
    np.testing.assert_allclose(net.get_output(x), np.sin(x.astype(float)), atol=1e-6)
    assert np.isnan(net.get_output([[4e6], [1e20], [-1e38]])).all()


@pytest.mark.parametrize(("dtype", "most"), [("float32", 3e38), ("float64", 1.7e308)])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_and_its_derivative_of_huge_numbers(dtype: str, most: float, approximate: str) -> None:
    net = NN(1, [1], 1, init=[1.0, 0, 1, 0], activation=GELU(approximate), dtype=dtype)
    x = np.array([[most], [-most], [2e19], [-2e19], [50.0], [-50.0]])
    np.testing.assert_array_equal(net.forward(x), np.maximum(x, 0).astype(dtype))
    np.testing.assert_array_equal(net.activations[0].dy_dx, x > 0)


# ---- padding ----

RECIPROCAL = CustomActivation(lambda x: 1 / x, lambda x: -1 / (x * x))


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 130, 300])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_of_users_meet_no_numbers_but_samples(n: int, dtype: str) -> None:
    net = NN(1, [2], 1, rng=1, activation=RECIPROCAL, init="glorot_uniform", dtype=dtype)
    x = np.linspace(1, 2, n)[:, None]
    loss = MSE()
    loss.forward(net.forward(x), 1 / x)
    net.backward(loss.backward())
    _, gradient = Objective(net, x, 1 / x).loss_and_gradient(net.parameters)
    np.testing.assert_allclose(gradient, net.gradients, rtol=1e-9 if dtype == "float64" else 1e-3)


def both_sources(n: int) -> list[Any]:
    x = np.linspace(1, 2, 2 * n)[:, None]
    sampled = UniformSource(lambda x: 1 / x[:, 0], 1, 2, batch_size=n, rng=1)
    return [sampled, ArraySource(x, 1 / x, batch_size=n, rng=1)]


@pytest.mark.parametrize("n", [1, 3, 16, 130])
@pytest.mark.parametrize("which", [0, 1])
def test_nor_do_they_while_training(n: int, which: int) -> None:
    net = NN(1, [2], 1, rng=1, activation=RECIPROCAL, init="glorot_uniform")
    trainer = Trainer(net, both_sources(n)[which], learning_rate=1e-4, on_divergence="raise")
    trainer.run(20)
    assert np.isfinite(net.parameters).all()
    assert trainer.net.gradients.any()


def test_a_source_of_ones_own_need_not_fill_its_padding() -> None:
    class Ones(Source):
        in_features, out_features, batch_size = 1, 1, 5

        def fill(self, iteration: int, batches: Any) -> None:
            x, target = batches.x, batches.target
            x[:, 0, 0, :5] = target[:, 0, 0, :5] = 1.0
            x[:, 0, 0, 5:] = np.nan

    net = NN(1, [2], 1, rng=1, activation=RECIPROCAL, init="glorot_uniform")
    assert np.isfinite(Trainer(net, Ones(), learning_rate=1e-4).run(10).losses).all()


def test_a_loss_of_ones_own_meets_no_padding() -> None:
    loss = CustomLoss(lambda x, t: (x / t - 1) ** 2, lambda x, t: 2 * (x / t - 1) / t)
    assert loss.forward([[2.0], [4.0]], [[2.0], [2.0]]) == 0.5
    net = NN(1, [2], 1, rng=1)
    _, gradient = Objective(net, [[1.0], [2.0]], [1.0, 2.0], loss=loss).loss_and_gradient(net.parameters)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("pad", [pack, pack_one])
def test_panels_repeat_the_first_sample(pad: Callable[..., Any]) -> None:
    rows = np.arange(1.0, 7.0).reshape(3, 2)
    panel = pad(rows).reshape(2, -1)
    np.testing.assert_array_equal(panel[:, :3], rows.T)
    np.testing.assert_array_equal(panel[:, 3:], np.broadcast_to(rows[:1].T, panel[:, 3:].shape))
    assert not pad(rows, padding=0.0).reshape(2, -1)[:, 3:].any()


@pytest.mark.parametrize("n", [1, 16, 17, 20, 31, 32])
def test_repeating_a_sample_in_several_panels(n: int) -> None:
    panels = np.arange(2.0 * 2 * 3 * 16).reshape(2, 2, 3, 16)
    flat = panels.transpose(0, 2, 1, 3).reshape(2, 3, 32).copy()
    repeat_sample(panels, n)
    after = panels.transpose(0, 2, 1, 3).reshape(2, 3, 32)
    np.testing.assert_array_equal(after[..., :n], flat[..., :n])
    np.testing.assert_array_equal(after[..., n:], np.broadcast_to(flat[..., :1], after[..., n:].shape))
