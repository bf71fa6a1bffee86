"""The network: linear layers with a ReLU behind each but the last."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import _validation as check
from crabnet_jit.kernels.entry import predict
from crabnet_jit.kernels.layout import B_START, N_OUT, W_START, make_layout, parameter_count, unit_count
from crabnet_jit.layers import Array, Buffer, LinearLayer, ReLU
from crabnet_jit.panels import aligned_zeros, pack, unpack
from crabnet_jit.random import StdRng, as_rng


class NN:
    """A fully connected network: linear, ReLU, …, linear.

    Parameters
    ----------
    in_features : int
        Width of the input, at least 1.
    hidden_sizes : sequence of int
        Widths of the hidden layers, each at least 1; empty for a single linear layer.
    out_features : int
        Width of the output, at least 1.
    rng : StdRng or int, optional
        Where the initial parameters come from: a generator, which moves on, or a seed.
        Layer after layer, every entry of W and then of b is uniform on [0, 1), as in the
        original. Without it, every network is another one.

    Attributes
    ----------
    parameters, gradients : ndarray of float64
        Flat buffers: W (row by row) and b of the first layer, of the second, … Assigning copies
        into them.
    layers : list of LinearLayer
        Their `W`, `b`, `dL_dW`, `dL_db` are views of the flat buffers.
    activations : list of ReLU
        One for each hidden layer.

    Raises
    ------
    InvalidArgumentError
        For sizes that are not integers of at least 1.

    Examples
    --------
    >>> from crabnet_jit import NN
    >>> net = NN(2, [8, 8], 1, rng=1)
    >>> net.parameters.size
    105
    >>> net.forward([[0.0, 0.0], [1.0, -1.0]]).shape
    (2, 1)
    """

    parameters = Buffer()
    gradients = Buffer()

    def __init__(
        self,
        in_features: int,
        hidden_sizes: Iterable[int],
        out_features: int,
        rng: StdRng | int | None = None,
    ) -> None:
        sizes = [
            check.integer("in_features", in_features, 1),
            *check.sizes("hidden_sizes", hidden_sizes),
            check.integer("out_features", out_features, 1),
        ]
        n_parameters = parameter_count(make_layout(sizes))
        self._build(sizes, as_rng("rng", rng).random(n_parameters), np.zeros(n_parameters))

    def _build(self, sizes: list[int], parameters: Array, gradients: Array) -> None:
        self.in_features, *self.hidden_sizes, self.out_features = sizes
        self.layout = make_layout(sizes)
        self._parameters = aligned_zeros(parameters.size)
        self._parameters[:] = parameters
        self._gradients = aligned_zeros(gradients.size)
        self._gradients[:] = gradients
        self.layers = []
        for n_in, n_out, row in zip(sizes, sizes[1:], self.layout, strict=False):
            part = slice(row[W_START], row[B_START] + row[N_OUT])
            W_and_b, dL_dW_and_dL_db = self.parameters[part], self.gradients[part]
            self.layers.append(LinearLayer(n_in, n_out, parameters=W_and_b, gradients=dL_dW_and_dL_db))
        self.activations = [ReLU() for _ in self.hidden_sizes]

    # A copy's layers must be views of the copy's buffers, so copying and pickling rebuild them.
    def __getstate__(self) -> dict[str, Any]:
        sizes = [self.in_features, *self.hidden_sizes, self.out_features]
        return {"sizes": sizes, "parameters": self.parameters, "gradients": self.gradients}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(**state)

    def __repr__(self) -> str:
        return f"NN({self.in_features}, {self.hidden_sizes}, {self.out_features})"

    def get_output(self, x: ArrayLike) -> Array:
        """Output (n_samples, out_features) for x (n_samples, in_features); keeps nothing."""
        rows = check.samples("x", x, self.in_features)
        panels = pack(rows)
        y = aligned_zeros(1, panels.shape[1], self.out_features, panels.shape[3])
        workspace = aligned_zeros(unit_count(self.layout) * panels.shape[3])
        predict(self.layout, self.parameters, panels, workspace, y)
        return unpack(y, rows.shape[0])

    def forward(self, x: ArrayLike) -> Array:
        """Output (n_samples, out_features) for x (n_samples, in_features), layer by layer.

        Every layer keeps what `backward` needs.
        """
        h = check.samples("x", x, self.in_features)
        for layer, activation in zip(self.layers, self.activations, strict=False):
            h = activation._forward(layer._forward(h))
        return self.layers[-1]._forward(h)

    def backward(self, dL_dy: ArrayLike) -> Array:
        """Set every layer's gradients from dL_dy (n_samples, out_features); return dL_dx.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        dL_dh = self.layers[-1].backward(dL_dy)
        for layer, activation in zip(self.layers[-2::-1], self.activations[::-1], strict=True):
            dL_dh = layer._backward(activation._backward(dL_dh))
        return dL_dh

    def sgd(self, learning_rate: float) -> None:
        """parameters -= learning_rate * gradients, in every layer."""
        check.number("learning_rate", learning_rate, 0.0)
        for layer in self.layers:
            layer.sgd(learning_rate)
