"""Writes golden.json: what PyTorch gives for activations, losses, optimisers, runs, schedules, derivatives.

Run by hand, with PyTorch 2.13: `python tests/data/make_golden.py`. All in float64.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.func import jacrev
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR, StepLR

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)

NO_THRESHOLD = 1e300  # above which PyTorch would take softplus(x) for x
N_ITERATIONS = 50

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x * 1.0,
    "relu": functional.relu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "elu": lambda x: functional.elu(x, 1.5),
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": lambda x: functional.softplus(x, threshold=NO_THRESHOLD),
    "sine": lambda x: torch.sin(3.0 * x),
}


def log_cosh(x: Any, target: Any) -> Any:
    """Of each element; log(cosh(e)) = e + log(1 + exp(-2 e)) - log(2)."""
    error = x - target
    two = torch.tensor(2.0)
    return error + functional.softplus(-2.0 * error, threshold=NO_THRESHOLD) - torch.log(two)


QUANTILES = torch.tensor([0.1, 0.5, 0.75])


def quantile(x: Any, target: Any) -> Any:
    """Of three quantiles of one target."""
    error = target - x
    return torch.maximum(QUANTILES * error, (QUANTILES - 1) * error)


def gaussian_nll(x: Any, target: Any) -> Any:
    """Of means of two targets, then logarithms of standard deviations; PyTorch's would be bounded below."""
    variance = torch.exp(2 * x[:, 2:])
    return functional.gaussian_nll_loss(x[:, :2], target, variance, eps=1e-300, reduction="none")


def poisson(x: Any, target: Any) -> Any:
    """Half the deviance of each element: over the least loss that its target can have."""
    least = target - torch.xlogy(target, target)
    return functional.poisson_nll_loss(x, target, log_input=True, reduction="none") - least


LOSSES: dict[str, Callable[[Any, Any], Any]] = {  # of each sample
    "mse": lambda x, t: functional.mse_loss(x, t, reduction="none").mean(1),
    "mae": lambda x, t: functional.l1_loss(x, t, reduction="none").mean(1),
    "huber": lambda x, t: functional.huber_loss(x, t, reduction="none", delta=0.7).mean(1),
    "log_cosh": lambda x, t: log_cosh(x, t).mean(1),
    "quantile": lambda x, t: quantile(x, t).mean(1),
    "poisson": lambda x, t: poisson(x, t).mean(1),
    "gaussian_nll": lambda x, t: gaussian_nll(x, t).mean(1),
    "binary_cross_entropy": lambda x, t: functional.binary_cross_entropy_with_logits(
        x, t, reduction="none"
    ).mean(1),
    "cross_entropy": lambda x, t: functional.cross_entropy(x, t, reduction="none"),
}

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: SGD([p], 1.0),
    "momentum": lambda p: SGD([p], 1.0, momentum=0.8),
    "nesterov": lambda p: SGD([p], 1.0, momentum=0.8, nesterov=True),
    "rmsprop": lambda p: RMSprop([p], 1.0, alpha=0.95, eps=1e-6),
    "rmsprop_momentum": lambda p: RMSprop([p], 1.0, alpha=0.95, eps=1e-6, momentum=0.8),
    "adam": lambda p: Adam([p], 1.0, betas=(0.85, 0.99), eps=1e-6),
    "adamw": lambda p: AdamW([p], 1.0, betas=(0.85, 0.99), eps=1e-6, weight_decay=0.3),
}

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "step": lambda optimizer: StepLR(optimizer, step_size=7, gamma=0.6),
    "exponential": lambda optimizer: ExponentialLR(optimizer, gamma=0.93),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=N_ITERATIONS, eta_min=0.01),
    "one_cycle": lambda optimizer: OneCycleLR(
        optimizer, 0.4, N_ITERATIONS, pct_start=0.33, div_factor=20.0, final_div_factor=500.0,
        cycle_momentum=False,
    ),
}  # fmt: skip


def activations() -> dict[str, Any]:
    """Values and derivatives on points from -30 to 30, tiny ones among them."""
    small = torch.tensor([1e-300, 1e-20, 1e-8, 1e-4, 0.01])
    points = torch.cat([torch.linspace(-30, 30, 25), torch.linspace(-3.9, 4.1, 26), small, -small])
    result: dict[str, Any] = {"x": points.tolist()}
    for name, function in ACTIVATIONS.items():
        x = points.clone().requires_grad_()
        y = function(x)
        y.sum().backward()
        result[name] = {"y": y.tolist(), "dy_dx": x.grad.tolist()}
    return result


def losses() -> dict[str, Any]:
    """Values and gradients of the mean over samples, without and with weights."""
    predictions = torch.tensor(
        [[0.3, -1.2, 2.0], [30.0, -40.0, 0.1], [0.5, 0.5, 0.5], [-3.0, 4.0, 1e-3], [1.5, -0.7, 0.2]]
    )
    targets = {
        "numbers": predictions
        + torch.tensor([[0.1, -0.6, 0.8], [25.0, -3.0, 0.0], [1e-3, 2, -2], [-0.7, 0.3, 1e-5], [1, -1, 0.5]]),
        "probabilities": torch.tensor([[0.0, 1, 0.5], [1, 0.25, 0], [0.5, 0, 1], [0, 1, 0.9], [0.3, 0.6, 1]]),
        "classes": torch.tensor([[0.2, 0.3, 0.5], [0, 1, 0], [1, 0, 0], [0.25, 0.5, 0.25], [0.7, 0.2, 0.1]]),
        "counts": torch.tensor([[0.0, 1, 12], [7.0, 0, 1], [2, 0.25, 3], [0, 60, 1], [4, 1, 1e-3]]),
        "two": torch.tensor([[0.1, 0.2], [-3.0, 5.0], [0.7, 0.7], [2.5, -1e3], [1.2, 0.0]]),
        "one": torch.tensor([[0.1], [-3.0], [0.7], [2.5], [1.2]]),
    }
    kinds = {
        "binary_cross_entropy": "probabilities",
        "cross_entropy": "classes",
        "poisson": "counts",
        "quantile": "one",
        "gaussian_nll": "two",
    }
    fourth = torch.tensor([[-0.4], [1.0], [0.0], [5.0], [-3.0]])
    weights = {"unweighted": torch.ones(5), "weighted": torch.tensor([1.0, 0.5, 3.0, 0.0, 2.5])}
    result: dict[str, Any] = {"w": weights["weighted"].tolist()}
    for name, function in LOSSES.items():
        target = targets[kinds.get(name, "numbers")]
        result[name] = {"target": target.tolist()}
        four = torch.cat([predictions.clamp(-4.0, 4.0), fourth], 1)
        points = four if name == "gaussian_nll" else predictions
        result[name]["x"] = points.tolist()
        for kind, w in weights.items():
            x = points.clone().requires_grad_()
            loss = (w * function(x, target)).sum() / w.sum()
            loss.backward()
            result[name][kind] = {"loss": loss.item(), "dL_dx": x.grad.tolist()}
    return result


def optimizers() -> dict[str, Any]:
    """Parameters after each of 10 steps."""
    initial = torch.tensor([1.0, -2.0, 0.0, 0.5, -0.25, 3.0, 1e-3])
    gradients = torch.randn(10, initial.numel()) * torch.tensor([1, 10, 1e-3, 1, 0, 1e-8, 1e4])
    rates = [0.1 * 0.8**step + 0.01 * (step % 3) for step in range(10)]
    result: dict[str, Any] = {"initial": initial.tolist(), "g": gradients.tolist(), "rates": rates}
    for name, make in OPTIMIZERS.items():
        parameters = torch.nn.Parameter(initial.clone())
        optimizer = make(parameters)
        result[name] = []
        for gradient, rate in zip(gradients, rates, strict=True):
            parameters.grad = gradient.clone()
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            result[name].append(parameters.detach().tolist())
    return result


def training() -> dict[str, Any]:
    """A run of a network 3-5-4-2 with tanh on all of 40 samples at a time, by Adam."""
    layers = [torch.nn.Linear(3, 5), torch.nn.Linear(5, 4), torch.nn.Linear(4, 2)]
    net = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2])
    x, y = torch.randn(40, 3), torch.randn(40, 2)

    def flat() -> Any:
        return torch.cat([parameters.detach().reshape(-1) for parameters in net.parameters()]).tolist()

    optimizer = Adam(net.parameters(), 0.02)
    result = {"x": x.tolist(), "y": y.tolist(), "rate": 0.02, "initial": flat(), "losses": []}
    for _ in range(20):
        optimizer.zero_grad()
        loss = functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        result["losses"].append(loss.item())
    return {**result, "final": flat()}


def schedules() -> dict[str, Any]:
    """The rate of each iteration."""
    result: dict[str, Any] = {}
    for name, make in SCHEDULES.items():
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], 0.4)
        scheduler = make(optimizer)
        result[name] = []
        for iteration in range(N_ITERATIONS):
            result[name].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if iteration < N_ITERATIONS - 1:
                scheduler.step()
    return result


def derivatives() -> dict[str, Any]:
    """Of networks 3-5-4-2 with respect to inputs: (n_samples, 2, 3) and (n_samples, 2, 3, 3)."""
    shapes = [(5, 3), (5,), (4, 5), (4,), (2, 4), (2,)]
    parameters = [0.7 * torch.randn(*shape) for shape in shapes]
    points = torch.randn(3, 3)
    flat = torch.cat([part.reshape(-1) for part in parameters]).tolist()
    result: dict[str, Any] = {"parameters": flat, "x": points.tolist()}
    W_1, b_1, W_2, b_2, W_3, b_3 = parameters
    for name, function in ACTIVATIONS.items():

        def network(x: Any, function: Any = function) -> Any:
            return W_3 @ function(W_2 @ function(W_1 @ x + b_1) + b_2) + b_3

        first = [torch.autograd.functional.jacobian(network, x) for x in points]
        second = [
            [torch.autograd.functional.hessian(lambda v, k=k: network(v)[k], x).tolist() for k in range(2)]
            for x in points
        ]
        result[name] = {"J": torch.stack(first).tolist(), "H": second}
    return result


def curvature() -> dict[str, Any]:
    """Of a network 3-5-4-3 and weighted samples: H v and the gradient, both in the parameters.

    H is J^T C J, J are the derivatives of the outputs with respect to the parameters, C the second
    derivatives of the loss with respect to the outputs.
    """
    shapes = [(5, 3), (5,), (4, 5), (4,), (3, 4), (3,)]
    flat = 0.7 * torch.randn(sum(math.prod(shape) for shape in shapes))
    x, v = torch.randn(7, 3), torch.randn(flat.numel())
    weight = torch.tensor([1.0, 0.5, 3.0, 0.0, 2.5, 1.0, 1.5])
    numbers = torch.randn(7, 3)
    targets = {"binary_cross_entropy": torch.rand(7, 3), "cross_entropy": torch.softmax(torch.randn(7, 3), 1)}
    targets["poisson"] = torch.tensor([3.0, 0.0, 1.0])[torch.arange(21).reshape(7, 3) % 3]

    def network(flat: Any, x: Any) -> Any:
        parts = torch.split(flat, [math.prod(shape) for shape in shapes])
        W_1, b_1, W_2, b_2, W_3, b_3 = (p.reshape(shape) for p, shape in zip(parts, shapes, strict=True))
        return W_3 @ torch.tanh(W_2 @ torch.tanh(W_1 @ x + b_1) + b_2) + b_3

    result: dict[str, Any] = {"parameters": flat.tolist(), "x": x.tolist(), "v": v.tolist()}
    result["w"] = weight.tolist()
    for name in ("mse", "huber", "log_cosh", "poisson", "binary_cross_entropy", "cross_entropy"):
        target = targets.get(name, numbers)
        H, gradient = torch.zeros(flat.numel(), flat.numel()), torch.zeros(flat.numel())
        for one, t, share in zip(x, target, weight / weight.sum(), strict=True):

            def loss(y: Any, name: str = name, t: Any = t) -> Any:
                return LOSSES[name](y[None], t[None])[0]

            y, J = network(flat, one), jacrev(network)(flat, one)
            H += share * J.T @ jacrev(jacrev(loss))(y) @ J
            gradient += share * jacrev(loss)(y) @ J
        result[name] = {"target": target.tolist(), "Hv": (H @ v).tolist(), "gradient": gradient.tolist()}
    return result


def main() -> None:
    """Write all of it."""
    parts = (activations, losses, optimizers, training, schedules, derivatives, curvature)
    golden = {"torch": torch.__version__, **{part.__name__: part() for part in parts}}
    path = Path(__file__).with_name("golden.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
