"""A network as PyTorch modules, some of which are defined here. Imported on demand: it needs PyTorch."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from crabnet_jit.exchange.common import Layer, exportable, formula, layers_of, refuse_powers
from crabnet_jit.network.network import NN


class Standardize(nn.Module):
    """(x - mean) / std, computed in float64, then in the type of the layers that follow.

    `mean` and `std` are buffers (in_features,) of float64.
    """

    def __init__(self, mean: torch.Tensor, std: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        # A conversion of the layers' type, such as module.double(), converts this, too.
        self.register_buffer("like_weights", torch.empty(0, dtype=dtype), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise x (…, in_features) in the units of the data, of any type."""
        return ((x - self.mean) / self.std).to(self.like_weights.dtype)


class Unstandardize(nn.Module):
    """z * std + mean in float64, the units of the data.

    `mean` and `std` are buffers (out_features,) of float64.
    """

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Convert z (…, out_features) to the units of the data."""
        return z * self.std + self.mean


class Sine(nn.Module):
    """sin(frequency * x)."""

    def __init__(self, frequency: float) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sine for x of any shape."""
        return torch.sin(self.frequency * x)

    def extra_repr(self) -> str:
        """The text in the module's `repr`."""
        return f"frequency={self.frequency}"


#: By the names of formulas; each takes the number in the formula.
_ACTIVATIONS: dict[str, Callable[[float], nn.Module]] = {
    "identity": lambda _: nn.Identity(),
    "relu": lambda _: nn.ReLU(),
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": lambda _: nn.GELU(),
    "gelu_tanh": lambda _: nn.GELU("tanh"),
    "silu": lambda _: nn.SiLU(),
    "tanh": lambda _: nn.Tanh(),
    "sigmoid": lambda _: nn.Sigmoid(),
    # Beyond its threshold, it is x: exact in float64 from 40 on; 2e-9 too low from 20 on, the default.
    "softplus": lambda _: nn.Softplus(threshold=40.0),
    "sine": Sine,
}


def sequential(net: NN) -> nn.Sequential:
    """The module of a network: layers named by numbers, surrounded by its standardisation."""
    net = exportable(net)
    refuse_powers(net, "PyTorch")
    children: OrderedDict[str, nn.Module] = OrderedDict()
    units = net.standardization
    if units is not None:
        x_mean, x_std = torch.tensor(units.x_mean), torch.tensor(units.x_std)
        children["standardize"] = Standardize(x_mean, x_std, getattr(torch, net.dtype.name))
    for k, layer in enumerate(layers_of(net)):
        children[f"{2 * k}"] = _linear(layer)
        children[f"{2 * k + 1}"] = _ACTIVATIONS[formula(layer.activation)](layer.activation.constant)
    if formula(net.activations[-1]) == "identity":
        children.popitem()
    if units is not None and net.schema.task == "regression":
        children["unstandardize"] = Unstandardize(torch.tensor(units.y_mean), torch.tensor(units.y_std))
    return nn.Sequential(children)


def _linear(layer: Layer) -> nn.Linear:
    """A linear layer, made without drawing PyTorch's random numbers as its constructor would."""
    linear = nn.Linear(layer.W.shape[1], len(layer.b), device="meta")
    linear.weight, linear.bias = nn.Parameter(torch.tensor(layer.W)), nn.Parameter(torch.tensor(layer.b))
    return linear
