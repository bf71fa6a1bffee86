"""Derivatives with respect to inputs as they go through a network, and back."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from jet_machinery import jets_and_gradients

from crabnet_jit import GELU, NN, LeakyReLU, Sine

ACTIVATIONS: dict[str, Any] = {
    "identity": "identity",
    "relu": "relu",
    "leaky_relu": LeakyReLU(0.3),
    "elu": "elu",
    "gelu": "gelu",
    "gelu_tanh": GELU("tanh"),
    "silu": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "softplus": "softplus",
    "sine": Sine(1.5),
}
ALL_PAIRS = {n: [(k, j) for k in range(n) for j in range(k + 1)] for n in range(5)}


def network(activation: str, sizes: Any = (3, 9, 6, 2), output: str = "identity", **options: Any) -> NN:
    rng = np.random.default_rng(4)
    n = sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
    return NN(
        sizes[0],
        sizes[1:-1],
        sizes[-1],
        activation=ACTIVATIONS[activation],
        output_activation=ACTIVATIONS[output],
        init=rng.normal(size=n) * 0.6,
        **options,
    )


def inputs(net: NN, n: int) -> Any:
    """Samples whose sums are all far from 0, where some activations bend."""
    rows = np.random.default_rng(6).normal(size=(40 * n, net.in_features))
    h, far = rows, np.ones(len(rows), bool)
    for layer, activation in zip(net.layers, net.activations, strict=True):
        z = layer.get_output(h)
        far &= (np.abs(z) > 0.004).all(axis=1)
        h = activation.get_output(z)
    assert far.sum() >= n
    return rows[far][:n]


def seeds_for(net: NN, n: int, n_jets: int) -> Any:
    return np.random.default_rng(8).normal(size=(n, n_jets, net.out_features))


@pytest.mark.parametrize("output", ["identity", "tanh"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jets_are_values_jacobians_and_hessians(activation: str, output: str) -> None:
    """Those of `NN.jacobian` and `NN.hessian` take another way: one sample at a time, backward first."""
    net = network(activation, output=output)
    x, pairs = inputs(net, 50), ALL_PAIRS[3]
    jets, _ = jets_and_gradients(net, x, 3, pairs, np.zeros((50, 10, 2)))
    np.testing.assert_allclose(jets[:, 0], net.get_output(x), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(jets[:, 1:4].transpose(0, 2, 1), net.jacobian(x), rtol=1e-12, atol=1e-13)
    hessians = net.hessian(x)
    for place, (k, j) in enumerate(pairs):
        np.testing.assert_allclose(jets[:, 4 + place], hessians[:, :, k, j], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "n_firsts", "seconds"),
    [
        ((3, 5, 2), 0, []),
        ((3, 5, 2), 3, []),
        ((3, 5, 2), 2, [(1, 1)]),
        ((3, 5, 2), 3, [(2, 0), (0, 0)]),
        ((3, 5, 2), 1, [(0, 0)]),
        ((1, 8, 8, 1), 1, [(0, 0)]),
        ((2, 1), 2, [(0, 1), (1, 1)]),
        ((4, 17, 3, 16, 3), 4, ALL_PAIRS[4]),
        ((2, 16, 16, 1), 2, []),
    ],
)
@pytest.mark.parametrize("n", [1, 16, 17, 100])
def test_gradients_are_differences_for_any_jets_and_shapes(
    sizes: Any, n_firsts: int, seconds: Any, n: int
) -> None:
    net = network("tanh", sizes)
    x = np.random.default_rng(1).normal(size=(n, sizes[0]))
    check_gradients(net, x, n_firsts, seconds)


def check_gradients(net: NN, x: Any, n_firsts: int, seconds: Any, masks: Any = None) -> None:
    """Against differences of fourth order."""
    seeds = seeds_for(net, len(x), 1 + n_firsts + len(seconds))
    _, gradients = jets_and_gradients(net, x, n_firsts, seconds, seeds, masks)
    theta, moved = net.parameters.copy(), net.parameters

    def value_at(k: int, step: float) -> float:
        moved[:] = theta
        moved[k] += step
        return float((jets_and_gradients(net, x, n_firsts, seconds, seeds, masks)[0] * seeds).sum())

    chosen = np.unique(np.linspace(0, theta.size - 1, 25).astype(int))
    h = 1e-3
    expected = [
        (8 * (value_at(k, h) - value_at(k, -h)) - (value_at(k, 2 * h) - value_at(k, -2 * h))) / (12 * h)
        for k in chosen
    ]
    scale = np.abs(gradients).max()
    np.testing.assert_allclose(gradients[chosen], expected, rtol=1e-7, atol=1e-9 * scale)
    moved[:] = theta


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_differences_for_every_activation(activation: str) -> None:
    net = network(activation)
    check_gradients(net, inputs(net, 20), 3, ALL_PAIRS[3])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_gives_jets_and_gradients_of_float64(activation: str) -> None:
    nets = [network(activation, dtype=dtype) for dtype in ("float64", "float32")]
    x = inputs(nets[0], 90)
    x[:] = x.astype(np.float32)
    nets[0].parameters[:] = nets[1].parameters
    seeds = seeds_for(nets[0], 90, 10)
    (jets, gradients), (jets_32, gradients_32) = (
        jets_and_gradients(net, x, 3, ALL_PAIRS[3], seeds) for net in nets
    )
    assert jets_32.dtype == gradients_32.dtype == np.float32
    np.testing.assert_allclose(jets_32, jets, rtol=1e-4, atol=2e-5 * np.abs(jets).max())
    np.testing.assert_allclose(gradients_32, gradients, rtol=1e-4, atol=2e-5 * np.abs(gradients).max())


def test_dropped_units_are_those_of_a_network_without_them() -> None:
    """Where a unit is multiplied by the same number for all samples, so could be the weights after it."""
    net = network("tanh")
    x, pairs, rng = inputs(net, 40), ALL_PAIRS[3], np.random.default_rng(2)
    of_units = rng.choice([0.0, 2.0], net.n_units)
    masks = np.tile(of_units, (40, 1))
    seeds = seeds_for(net, 40, 10)
    jets, _ = jets_and_gradients(net, x, 3, pairs, seeds, masks)
    check_gradients(net, x, 3, pairs, masks)
    scaled = network("tanh")
    scaled.layers[1].W[:] *= of_units[:9]
    scaled.layers[2].W[:] *= of_units[9:15]
    expected, _ = jets_and_gradients(scaled, x, 3, pairs, seeds)
    np.testing.assert_allclose(jets, expected, rtol=1e-13, atol=1e-13)
