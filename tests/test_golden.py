"""Against PyTorch: golden.json, which data/make_golden.py wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from second_order import equations, taking

from crabnet_jit import (
    ELU,
    GELU,
    LOSSES,
    NN,
    SGD,
    Adam,
    AdamW,
    ArraySource,
    Cosine,
    ExponentialDecay,
    Huber,
    Identity,
    LeakyReLU,
    Objective,
    OneCycle,
    Quantile,
    ReLU,
    RMSprop,
    Sigmoid,
    SiLU,
    Sine,
    Softplus,
    StepDecay,
    Tanh,
    Trainer,
)

ACTIVATIONS: dict[str, Any] = {
    "identity": Identity(),
    "relu": ReLU(),
    "leaky_relu": LeakyReLU(0.1),
    "elu": ELU(1.5),
    "gelu": GELU(),
    "gelu_tanh": GELU("tanh"),
    "silu": SiLU(),
    "tanh": Tanh(),
    "sigmoid": Sigmoid(),
    "softplus": Softplus(),
    "sine": Sine(3.0),
}
OPTIMIZERS: dict[str, Any] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.8),
    "nesterov": SGD(momentum=0.8, nesterov=True),
    "rmsprop": RMSprop(alpha=0.95, eps=1e-6),
    "rmsprop_momentum": RMSprop(alpha=0.95, eps=1e-6, momentum=0.8),
    "adam": Adam((0.85, 0.99), eps=1e-6),
    "adamw": AdamW((0.85, 0.99), eps=1e-6, weight_decay=0.3),
}
# A derivative like 1 - tanh(x)^2, or PyTorch's 1 + erf(x) for x < 0, has an error of some
# roundings of the numbers around 1 that it is made of, times |x|.
ROUNDINGS_64, ROUNDINGS_32 = 1e-15, 1e-6


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((Path(__file__).parent / "data" / "golden.json").read_text())


def of_losses(golden: Any, name: str, kind: str) -> tuple[Any, Any, Any, Any]:
    """Predictions, targets, weights and what comes out."""
    data = golden["losses"]
    weight = data["w"] if kind == "weighted" else None
    return np.array(data[name]["x"]), np.array(data[name]["target"]), weight, data[name][kind]


def a_loss(name: str) -> Any:
    return {"huber": Huber(0.7), "quantile": Quantile([0.1, 0.5, 0.75])}.get(name) or LOSSES[name]()


# ---- activations ----


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activation_and_derivative(golden: Any, name: str) -> None:
    x, expected = np.array(golden["activations"]["x"]), golden["activations"][name]
    activation = ACTIVATIONS[name]
    tolerances: Any = {"rtol": 1e-13, "atol": ROUNDINGS_64}
    np.testing.assert_allclose(activation.forward(x[:, None])[:, 0], expected["y"], **tolerances)
    np.testing.assert_allclose(activation.get_output(x[:, None])[:, 0], expected["y"], **tolerances)
    dL_dx = activation.backward(np.full((x.size, 1), -0.5))[:, 0]
    np.testing.assert_allclose(-2.0 * dL_dx, expected["dy_dx"], **tolerances)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_activation_and_derivative_in_float32(golden: Any, name: str) -> None:
    x = np.array(golden["activations"]["x"])
    in_range = np.abs(x) > 1e-30
    x = x[in_range]
    y_64, dy_dx_64 = (np.array(golden["activations"][name][key])[in_range] for key in ("y", "dy_dx"))
    ones = [([[1.0]], [0.0])]
    net = NN(1, [], 1, output_activation=ACTIVATIONS[name], init=ones, dtype=np.float32)
    # sin(3 x) moves by as much as 3 x is rounded
    tolerances: Any = {"rtol": 1e-6, "atol": 3e-5 if name == "sine" else ROUNDINGS_32}
    y = net.forward(x[:, None])
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[:, 0], y_64, **tolerances)
    dL_dx = net.backward(np.full((x.size, 1), -0.5))
    assert dL_dx.dtype == np.float32
    np.testing.assert_allclose(-2.0 * dL_dx[:, 0], dy_dx_64, **tolerances)


# ---- losses ----


@pytest.mark.parametrize("kind", ["unweighted", "weighted"])
@pytest.mark.parametrize("name", list(LOSSES))
def test_loss_and_gradient(golden: Any, name: str, kind: str) -> None:
    x, target, weight, expected = of_losses(golden, name, kind)
    loss = a_loss(name)
    assert loss.forward(x, target, weight) == pytest.approx(expected["loss"], rel=1e-14)
    assert loss.get_output(x, target, weight) == pytest.approx(expected["loss"], rel=1e-14)
    np.testing.assert_allclose(loss.backward(), expected["dL_dx"], rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("kind", ["unweighted", "weighted"])
@pytest.mark.parametrize("name", list(LOSSES))
def test_loss_and_gradient_in_float32(golden: Any, name: str, kind: str) -> None:
    """As the parameters of a network without inputs, whose biases are the predictions of one sample."""
    x, target, weight, expected = of_losses(golden, name, kind)
    weight = np.ones(len(x)) if weight is None else np.array(weight)
    total = 0.0
    for s, share in enumerate(weight / weight.sum()):
        n_out = x.shape[1]
        zero = [(np.zeros((n_out, 1)), x[s])]
        net = NN(1, [], n_out, init=zero, dtype=np.float32)
        value, gradient = Objective(net, [[0.0]], target[s : s + 1], loss=a_loss(name)).loss_and_gradient(
            net.parameters
        )
        total += share * value
        np.testing.assert_allclose(share * gradient[n_out:], expected["dL_dx"][s], rtol=1e-5, atol=1e-6)
    assert total == pytest.approx(expected["loss"], rel=1e-5)


# ---- optimisers ----


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_steps_of_an_optimizer(golden: Any, name: str, dtype: Any, tolerance: float) -> None:
    given = golden["optimizers"]
    parameters = np.array(given["initial"], dtype)
    optimizer = OPTIMIZERS[name]
    state = optimizer.init(parameters)
    scale = np.maximum(np.abs(given[name]).max(axis=0), 1)  # they pass through 0
    for g, rate, expected in zip(given["g"], given["rates"], given[name], strict=True):
        optimizer.update(parameters, np.array(g, dtype), state, rate)
        np.testing.assert_allclose(parameters / scale, expected / scale, rtol=0, atol=tolerance)


# ---- second derivatives of losses ----


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("mae", "quantile", "gaussian_nll")])
def test_second_derivatives_and_gradient(golden: Any, name: str) -> None:
    data = golden["curvature"]
    net = NN(3, [5, 4], 3, activation="tanh", init=data["parameters"])
    source = ArraySource(data["x"], data[name]["target"], 7, sample_weight=data["w"])
    for form in ("primal", "dual"):
        with taking(form):
            made = Trainer(net, source, optimizer="levenberg_marquardt", loss=a_loss(name))
        _, gradient, matrix = equations(made)
        np.testing.assert_allclose(gradient, data[name]["gradient"], rtol=0, atol=1e-14)
        if form == "primal":
            H = matrix + np.tril(matrix, -1).T
            np.testing.assert_allclose(H @ data["v"], data[name]["Hv"], rtol=0, atol=1e-13)


# ---- a training run ----


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_training_run(golden: Any, dtype: Any, tolerance: float) -> None:
    given = golden["training"]
    net = NN(3, [5, 4], 2, activation="tanh", init=given["initial"], dtype=dtype)
    source = ArraySource(given["x"], given["y"], batch_size=40)
    trainer = Trainer(net, source, optimizer="adam", learning_rate=given["rate"], chunk_size=7)
    trainer.run(20)
    np.testing.assert_allclose(trainer.history.losses, given["losses"], rtol=tolerance)
    np.testing.assert_allclose(net.parameters, given["final"], rtol=tolerance, atol=tolerance)


# ---- schedules ----


@pytest.mark.parametrize(
    ("name", "schedule", "first"),
    [
        ("step", StepDecay(0.4, every=7, factor=0.6), 0),
        ("exponential", ExponentialDecay(0.4, 0.93), 1),  # the original decays before its first step
        ("cosine", Cosine(0.4, 50, final_rate=0.01), 0),
        ("one_cycle", OneCycle(0.4, 50, 0.33, start_divisor=20.0, final_divisor=20.0 * 500.0), 0),
    ],
)
@pytest.mark.parametrize("chunk", [50, 8])
def test_learning_rates(golden: Any, name: str, schedule: Any, first: int, chunk: int) -> None:
    expected = golden["schedules"][name][first:]
    n = len(expected)
    rates = [schedule(np.arange(start, min(start + chunk, n))) for start in range(0, n, chunk)]
    np.testing.assert_allclose(np.concatenate(rates), expected, rtol=1e-12)


# ---- derivatives with respect to inputs ----


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_jacobians_and_hessians(golden: Any, name: str) -> None:
    data = golden["derivatives"]
    net = NN(3, [5, 4], 2, activation=ACTIVATIONS[name], init=data["parameters"])
    tolerances: Any = {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(net.jacobian(data["x"]), data[name]["J"], **tolerances)
    np.testing.assert_allclose(net.hessian(data["x"]), data[name]["H"], **tolerances)
