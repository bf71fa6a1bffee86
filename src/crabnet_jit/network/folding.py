"""A network as plain layers, for programs without standardisation."""

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.network.network import NN


def folded_layers(net: NN) -> list[tuple[Array, Array]]:
    """Weights and biases of a network whose inputs and outputs are in the units of the data.

    The first and the last layer absorb `net.standardization`::

        W' = W / x_std        b' = b - W' x_mean             in the first layer
        W' = y_std W          b' = y_std b + y_mean          in the last layer

    Parameters
    ----------
    net : NN
        It is not changed.

    Returns
    -------
    list of (W, b)
        New float64 arrays for each layer: W of shape (n_out, n_in) and b of shape (n_out,).

    Raises
    ------
    InvalidArgumentError
        If a parameter is not finite, before or after folding; or if outputs are scaled after an output
        activation other than the identity, which no layer can do.

    Notes
    -----
    A program that computes with these layers subtracts W' x_mean from W' x. If inputs are r standard
    deviations away from 0, the difference loses log10(r) digits: in float32, r = 1000 costs three of seven.
    """
    layers = [(layer.W.astype(np.float64), layer.b.astype(np.float64).ravel()) for layer in net.layers]
    units = net.standardization
    if units is not None:
        is_scaled = bool((units.y_mean != 0).any() or (units.y_std != 1).any())
        output = net.activations[-1].name
        if is_scaled and output != "identity":
            allowed = f"without y_mean and y_std after the output activation {output!r}"
            raise check.reject("net.standardization", allowed, f"y_mean {units.y_mean}, y_std {units.y_std}")
        with np.errstate(over="ignore", invalid="ignore"):
            W, b = layers[0]
            W = W / units.x_std
            layers[0] = W, b - W @ units.x_mean
            W, b = layers[-1]
            layers[-1] = units.y_std[:, None] * W, units.y_std * b + units.y_mean
    for k, (W, b) in enumerate(layers):
        what = f"net.layers[{k}]" if units is None else f"net.layers[{k}], with the standardization in it,"
        check.array(f"W of {what}", W)
        check.array(f"b of {what}", b)
    return layers
