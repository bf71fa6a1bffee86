"""A PyTorch module as a network. Imported on demand, since it needs PyTorch."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import (
    ELU,
    GELU,
    Activation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sine,
    Softplus,
    Tanh,
)
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.exchange import torch_modules
from crabnet_jit.exchange.common import Layer, assembled
from crabnet_jit.network.network import NN

_KNOWN = "Linear, BatchNorm1d, Identity, Flatten, Dropout, Sequential or an activation that NN has"
_LOWEST_THRESHOLD = 20.0  # of Softplus, its default; a lower one is another function

#: Exactly these types: a subclass may compute something else.
_ACTIVATIONS: dict[type, Callable[[Any], Activation]] = {
    nn.ReLU: lambda module: ReLU(),
    nn.LeakyReLU: lambda module: LeakyReLU(module.negative_slope),
    nn.ELU: lambda module: ELU(module.alpha),
    nn.GELU: lambda module: GELU(module.approximate),
    nn.SiLU: lambda module: SiLU(),
    nn.Tanh: lambda module: Tanh(),
    nn.Sigmoid: lambda module: Sigmoid(),
    nn.Softplus: lambda module: Softplus(),
    torch_modules.Sine: lambda module: Sine(module.frequency),
}


class _Leaf(NamedTuple):
    """A module without children, and its position: "module.2 (Tanh)"."""

    place: str
    module: Any


def network(module: Any) -> NN:
    """The network that computes the same as a module."""
    check.instance("module", module, nn.Module, "a torch.nn.Module")
    leaves = list(_leaves("module", module))
    x_units = leaves.pop(0) if leaves and type(leaves[0].module) is torch_modules.Standardize else None
    y_units = leaves.pop() if leaves and type(leaves[-1].module) is torch_modules.Unstandardize else None
    layers = _layers(leaves)
    if not layers:
        raise check.reject("module", "one that has a Linear", f"a {type(module).__name__} without one")
    net = assembled(layers, layers[0].W.dtype)
    if x_units or y_units:
        net.standardization = Standardization(
            *_mean_and_std(x_units, net.in_features), *_mean_and_std(y_units, net.out_features)
        )
    return net


def _leaves(path: str, module: nn.Module) -> Iterator[_Leaf]:
    """The parts of a module, in the order in which it computes."""
    place = f"{path} ({type(module).__name__})"
    _check_plain(place, module)
    if type(module).forward is not nn.Sequential.forward:
        yield _Leaf(place, module)
        return
    for name, child in module._modules.items():  # named_children() skips repeated modules
        yield from _leaves(f"{path}.{name}", child)


def _check_plain(place: str, module: nn.Module) -> None:
    """Check that a module does what its class does, and that its parameters exist."""
    if isinstance(module, torch.jit.ScriptModule):
        raise check.reject(place, "a Python module", "a TorchScript module")
    additions = {
        "lazy parameters; call it once": isinstance(module, nn.modules.lazy.LazyModuleMixin),
        "parametrizations; call torch.nn.utils.parametrize.remove_parametrizations": hasattr(
            module, "parametrizations"
        ),
        "masks; call torch.nn.utils.prune.remove": any(name.endswith("_mask") for name in module._buffers),
        "forward hooks": bool(module._forward_hooks or module._forward_pre_hooks),
        "a forward of its own": "forward" in vars(module) or type(module).__call__ is not nn.Module.__call__,
    }
    for addition, is_there in additions.items():
        if is_there:
            raise check.reject(place, "a plain module", f"one with {addition}")


def _layers(leaves: list[_Leaf]) -> list[Layer]:
    """Linear layers with the activations that follow them."""
    layers: list[Layer] = []
    is_open = False  # whether the last layer may get an activation
    for leaf in leaves:
        kind = type(leaf.module)
        if kind is nn.Linear:
            layers.append(_linear(leaf, layers))
            is_open = True
        elif kind is nn.BatchNorm1d:
            if not is_open:
                raise check.reject(leaf.place, "directly after a Linear", "another place")
            layers[-1] = _with_batch_norm(layers[-1], leaf)
        elif kind in _ACTIVATIONS:
            if not is_open:
                raise check.reject(leaf.place, "after a Linear without another activation", "another place")
            layers[-1] = layers[-1]._replace(activation=_activation(leaf))
            is_open = False
        else:
            _check_idle(leaf)
    return layers


def _linear(leaf: _Leaf, before: list[Layer]) -> Layer:
    """A linear layer after others, of their type."""
    module = leaf.module
    W = _array(f"weight of {leaf.place}", module.weight)
    b = np.zeros(len(W), W.dtype) if module.bias is None else _array(f"bias of {leaf.place}", module.bias)
    if W.ndim != 2 or b.shape != W.shape[:1]:
        allowed = "with a weight (out_features, in_features) and a bias (out_features,)"
        raise check.reject(leaf.place, allowed, f"shapes {W.shape} and {b.shape}")
    dtype = before[0].W.dtype if before else W.dtype
    if not W.dtype == b.dtype == dtype:
        raise check.reject(leaf.place, f"of {dtype}, like other parameters", f"{W.dtype} and {b.dtype}")
    if before:
        _check_width(leaf, W.shape[1], before[-1])
    return Layer(W, b, Identity())


def _with_batch_norm(layer: Layer, leaf: _Leaf) -> Layer:
    """The layer that includes (y - mean) / sqrt(var + eps) * weight + bias, computed in float64."""
    norm = leaf.module
    if norm.training or norm.running_mean is None:
        allowed = "in evaluation mode, with statistics of the training"
        raise check.reject(leaf.place, allowed, "another one", "; call module.eval()")
    parts = {}
    for name in ("running_mean", "running_var", *(("weight", "bias") if norm.affine else ())):
        parts[name] = _array(f"{name} of {leaf.place}", getattr(norm, name)).astype(np.float64)
        _check_width(leaf, parts[name].size, layer)
    with np.errstate(all="ignore"):  # numbers that are not finite are rejected when the network is made
        scale = parts.get("weight", 1.0) / np.sqrt(parts["running_var"] + norm.eps)
        W = (scale[:, None] * layer.W).astype(layer.W.dtype)
        b = ((layer.b - parts["running_mean"]) * scale + parts.get("bias", 0.0)).astype(layer.b.dtype)
    return layer._replace(W=W, b=b)


def _check_width(leaf: _Leaf, n_features: int, before: Layer) -> None:
    """Check that a module takes as many features as the layer before it has outputs."""
    if n_features != len(before.b):
        raise check.reject(
            leaf.place, f"of {len(before.b)} features, like the layer before it", f"{n_features}"
        )


def _activation(leaf: _Leaf) -> Activation:
    module = leaf.module
    if type(module) is nn.Softplus and (module.beta != 1 or module.threshold < _LOWEST_THRESHOLD):
        allowed = f"of beta 1 and a threshold of at least {_LOWEST_THRESHOLD:g}"
        raise check.reject(leaf.place, allowed, f"beta {module.beta} and threshold {module.threshold}")
    return _ACTIVATIONS[type(module)](module)


def _check_idle(leaf: _Leaf) -> None:
    """Check that a module does not change samples in rows."""
    module, kind = leaf.module, type(leaf.module)
    if kind not in (nn.Identity, nn.Flatten, nn.Dropout):
        raise check.reject(leaf.place, _KNOWN, kind.__name__, _hint(module))
    if kind is nn.Dropout and module.training:
        raise check.reject(leaf.place, "in evaluation mode", "one in training mode", "; call module.eval()")
    if kind is nn.Flatten and not {module.start_dim, module.end_dim} <= {1, -1}:
        raise check.reject(leaf.place, "from dimension 1 on", f"{module.start_dim} to {module.end_dim}")


def _hint(module: nn.Module) -> str:
    """What to do about a module without a counterpart in NN."""
    if isinstance(module, (nn.Softmax, nn.LogSoftmax)):
        return "; leave it out, then the outputs are logits"

    if module._modules:
        return "; pass the Sequential in it"
    return ""


def _mean_and_std(leaf: _Leaf | None, width: int) -> tuple[Array, Array]:
    """The numbers of a standardisation, by default 0 and 1."""
    if leaf is None:
        return np.zeros(width), np.ones(width)
    mean, std = (_array(f"{name} of {leaf.place}", getattr(leaf.module, name)) for name in ("mean", "std"))
    return mean, std


def _array(name: str, tensor: Any) -> Array:
    """A tensor as an array, which may share its memory."""
    is_plain = isinstance(tensor, torch.Tensor) and type(tensor.detach()) is torch.Tensor
    if not is_plain or tensor.layout is not torch.strided or tensor.is_meta:
        raise check.reject(name, "a tensor with all of its numbers in memory", type(tensor).__name__)
    if tensor.dtype not in (torch.float64, torch.float32):
        raise check.reject(name, "of float64 or float32", f"{tensor.dtype}")
    array = tensor.detach().cpu().numpy()
    return check.array(name, array, array.dtype)
