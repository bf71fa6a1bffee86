"""A network as a compiled function with constants."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.components.activations import Activation
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.kernels import activations as formulas
from crabnet_jit.kernels.frozen import FrozenLayer, frozen_function
from crabnet_jit.kernels.layout import CUSTOM, KINDS
from crabnet_jit.network.layers import LinearLayer
from crabnet_jit.network.schema import Schema


def frozen(
    layers: Sequence[LinearLayer],
    activations: Sequence[Activation],
    units: Standardization | None,
    schema: Schema,
) -> Any:
    """The function that `NN.freeze` returns."""
    frozen_layers = []
    for layer, activation in zip(layers, activations, strict=True):
        if activation.kind == CUSTOM:
            raise check.reject("net.activations", "built-in activations", repr(activation))
        W, b = layer.W.astype(np.float64), layer.b[:, 0].astype(np.float64)
        frozen_layers.append(
            FrozenLayer(W, b, getattr(formulas, KINDS[activation.kind]), activation.constant)
        )
    n_in, n_out = layers[0].in_features, layers[-1].out_features
    x_units, y_units = np.repeat([0.0, 1.0], n_in), np.repeat([0.0, 1.0], n_out)
    if units is not None:
        x_units = np.concatenate([units.x_mean, units.x_std])
        y_units = np.concatenate([units.y_mean, units.y_std])
    return frozen_function(frozen_layers, x_units, y_units, schema.link(n_out), schema.n_values(n_out))
