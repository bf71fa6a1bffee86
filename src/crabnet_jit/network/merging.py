"""One network that computes the mean of several."""

from collections.abc import Sequence

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.kernels.structs import AS_THEY_ARE
from crabnet_jit.network.network import NN
from crabnet_jit.network.spec import Spec

Layers = list[tuple[Array, Array]]


def merged(networks: Sequence[NN]) -> NN:
    """A network whose outputs are the means of the outputs of several networks, up to rounding.

    Its hidden layers have the units of all networks side by side; weights between units of different networks
    are 0. Its last layer takes the mean. Inputs and outputs have the units of the first network, to which the
    first and the last layers of the others are converted.

    Raises
    ------
    InvalidArgumentError
        If there is no such network: for classifiers, whose mean probability is not that of a mean of logits,
        and for logarithms; for networks with different depths or activations.
    """
    _check(networks)
    first = networks[0]
    units = first.standardization
    parts = [_in_units(net, units, len(networks)) for net in networks]
    layers = [
        _side_by_side([layers[k] for layers in parts], k, len(first.layers)) for k in range(len(first.layers))
    ]
    sizes = (first.in_features, *(len(b) for _, b in layers))
    dtype = np.result_type(*(net.dtype for net in networks))
    flat = np.concatenate([part.ravel() for layer in layers for part in layer])
    net = NN.from_spec(
        Spec(sizes, first.activations, dtype), check.array("the merged parameters", flat, dtype)
    )
    net.standardization, net.schema, net.domain = units, first.schema, union(networks)
    return net


def union(networks: Sequence[NN]) -> Domain | None:
    """The box around those of all networks; None if one has none."""
    domains = [net.domain for net in networks if net.domain is not None]
    if len(domains) < len(networks):
        return None
    low = np.min([domain.low for domain in domains], axis=0)
    high = np.max([domain.high for domain in domains], axis=0)
    return domains[0]._replace(low=low, high=high)


def _check(networks: Sequence[NN]) -> None:
    first = networks[0]
    if first.schema.link(first.out_features) != AS_THEY_ARE:
        what = "a classifier" if first.schema.labels is not None else "logarithms"
        allowed = "regressions whose outputs are values, so that one network gives their mean"
        raise check.reject("networks", allowed, f"outputs of {what}")
    if first.activations[-1].name != "identity":
        allowed = "without an output activation, so that one network gives their mean"
        raise check.reject("networks", allowed, f"{first.activations[-1]!r}")
    for k, net in enumerate(networks):
        if net.activations != first.activations:
            allowed = f"those of networks[0], {first.activations}, so that one network gives their mean"
            raise check.reject(f"networks[{k}].activations", allowed, f"{net.activations}")
        if net.schema.means != first.schema.means:
            allowed = "those of networks[0], so that one network gives their mean"
            raise check.reject(f"networks[{k}].schema.means", allowed, "others, for missing values")


def _in_units(net: NN, units: Standardization | None, n_networks: int) -> Layers:
    """The layers of a network for inputs and outputs in these units; outputs are divided by n_networks."""
    layers = [(layer.W.astype(np.float64), layer.b.astype(np.float64).ravel()) for layer in net.layers]
    own, common = net.standardization or _plain(net), units or _plain(net)
    W, b = layers[0]
    layers[0] = W * (common.x_std / own.x_std), b + W @ ((common.x_mean - own.x_mean) / own.x_std)
    W, b = layers[-1]
    scale = own.y_std / common.y_std
    b = scale * b + (own.y_mean - common.y_mean) / common.y_std
    layers[-1] = scale[:, None] * W / n_networks, b / n_networks
    return layers


def _plain(net: NN) -> Standardization:
    """The units of a network without standardisation."""
    n_in, n_out = net.in_features, net.out_features
    return Standardization(np.zeros(n_in), np.ones(n_in), np.zeros(n_out), np.ones(n_out))


def _side_by_side(parts: Layers, k: int, n_layers: int) -> tuple[Array, Array]:
    """Layer k of all networks as one layer: the first shares its inputs, the last its outputs."""
    weights, biases = [W for W, _ in parts], [b for _, b in parts]
    is_first, is_last = k == 0, k == n_layers - 1
    if is_first and is_last:
        return np.sum(weights, axis=0), np.sum(biases, axis=0)
    if is_last:
        return np.hstack(weights), np.sum(biases, axis=0)
    if is_first:
        return np.vstack(weights), np.concatenate(biases)
    W = np.zeros(np.sum([part.shape for part in weights], axis=0))
    row = column = 0
    for part in weights:
        n, m = part.shape
        W[row : row + n, column : column + m] = part
        row, column = row + n, column + m
    return W, np.concatenate(biases)
