"""The common part of exports and imports."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Activation
from crabnet_jit.kernels.layout import CUSTOM, KINDS
from crabnet_jit.network.ensemble import Ensemble
from crabnet_jit.network.files import contents, from_contents
from crabnet_jit.network.network import NN
from crabnet_jit.network.spec import Spec


class Layer(NamedTuple):
    """A linear layer and its activation: W (n_out, n_in) and b (n_out,)."""

    W: Array
    b: Array
    activation: Activation


def exportable(net: NN | Ensemble, dtype: DTypeLike | None = None) -> NN:
    """A copy of a network whose numbers have this type, by default its own; for an ensemble, of `merged`.

    Raises
    ------
    InvalidArgumentError
        If an activation is a user's, which other programs do not know, or if a number is not finite.
    """
    if isinstance(net, Ensemble):
        net = net.merged()
    check.instance("net", net, NN, "an NN or an Ensemble")
    for k, activation in enumerate(net.activations):
        if activation.kind == CUSTOM:
            allowed = "one that other programs know, see ACTIVATIONS"
            raise check.reject(f"net.activations[{k}]", allowed, repr(activation))
    check.array("net.parameters", net.parameters, net.dtype)
    to = net.dtype if dtype is None else check.float_type("dtype", dtype)
    copy = NN.from_spec(
        Spec(net.spec.sizes, net.activations, to), check.array("net.parameters", net.parameters, to)
    )
    copy.standardization, copy.schema, copy.domain = net.standardization, net.schema, net.domain
    return copy


def layers_of(net: NN) -> list[Layer]:
    """The network's layers; W and b are new C-contiguous arrays."""
    return [
        Layer(layer.W.copy(), layer.b.ravel().copy(), activation)
        for layer, activation in zip(net.layers, net.activations, strict=True)
    ]


def scale_in_type(name: str, std: Array, dtype: "np.dtype[Any]") -> Array:
    """Standard deviations of a standardisation in this type, with full precision."""
    scale: Array = check.array(f"net.standardization.{name}", std, dtype)
    least = np.finfo(dtype).tiny
    if dtype == np.float32 and scale.min() < least:
        raise check.reject(f"net.standardization.{name}", f"at least {least:.2g} in {dtype}", f"{std.min()}")
    return scale


def refuse_powers(net: NN, program: str) -> None:
    """Check that predictions are the network's outputs, for a program that cannot compute exponentials."""
    if net.schema.first_power(net.out_features) < net.out_features:
        allowed = f"one without logarithms among its outputs, for {program}"
        raise check.reject("net", allowed, f"one whose outputs are {net.schema.heads}")


def formula(activation: Activation) -> str:
    """The name of its formula in KINDS (kernels/layout.py), where each GELU has its own."""
    return KINDS[activation.kind]


def assembled(layers: Sequence[Layer], dtype: DTypeLike) -> NN:
    """A network with these layers, which fit together, in float64 or float32.

    Raises
    ------
    InvalidArgumentError
        If a number is not finite, or too large for the type.
    """
    sizes = (layers[0].W.shape[1], *(len(layer.b) for layer in layers))
    spec = Spec(sizes, tuple(layer.activation for layer in layers), np.dtype(dtype))
    parts = [part.ravel() for layer in layers for part in (layer.W, layer.b)]
    return NN.from_spec(spec, check.array("the parameters", np.concatenate(parts), spec.dtype))


def described(net: NN) -> str:
    """Everything of a network except its parameters, as JSON, for the metadata of a file."""
    values, arrays = contents(net)
    del arrays["parameters"]
    return json.dumps({**values, "arrays": {name: array.tolist() for name, array in arrays.items()}})


def from_description(text: str, parameters: Array) -> NN:
    """The network from `described`, fully checked; any exception means that the description is invalid."""
    values: dict[str, Any] = json.loads(text)
    arrays = {name: np.array(numbers, np.float64) for name, numbers in values.pop("arrays").items()}
    return from_contents(values, {**arrays, "parameters": parameters})
