"""Initial parameters of a network, by name.

Every rule is a function of a generator and the layer's sizes and position. `n_in` and `n_out` are the
sizes, U(a) is uniform on [-a, a], N(s) is normal with standard deviation s.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import ReLU, Sine, as_activation
from crabnet_jit.data.random import StdRng


class LayerPlace(NamedTuple):
    """A layer to initialise: its sizes, whether it is the first, and the frequency of its sine, if any."""

    n_in: int
    n_out: int
    is_first: bool
    frequency: float


def normals(rng: StdRng, n: int) -> Array:
    """Standard normal numbers, two from each pair of draws (G. Box, M. Muller, 1958)."""
    u = rng.random((2, -(-n // 2)))
    radius, angle = np.sqrt(-2.0 * np.log1p(-u[0])), 2.0 * math.pi * u[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]


def _uniform(rng: StdRng, bound: float, n: int) -> Array:
    return bound * (2.0 * rng.random(n) - 1.0)


def standard_uniform(rng: StdRng, place: LayerPlace) -> Array:
    """W, then b: uniform on [0, 1). This is the original's rule."""
    return rng.random(place.n_out * (place.n_in + 1))


def _without_biases(
    draw: Callable[[StdRng, LayerPlace, int], Array],
) -> Callable[[StdRng, LayerPlace], Array]:
    def initialize(rng: StdRng, place: LayerPlace) -> Array:
        return np.concatenate([draw(rng, place, place.n_out * place.n_in), np.zeros(place.n_out)])

    return initialize


def siren(rng: StdRng, place: LayerPlace) -> Array:
    """W: U(1 / n_in) in the first layer, U(sqrt(6 / n_in) / frequency) after it; b: U(1 / sqrt(n_in))."""
    bound = 1.0 / place.n_in if place.is_first else math.sqrt(6.0 / place.n_in) / place.frequency
    W = _uniform(rng, bound, place.n_out * place.n_in)
    return np.concatenate([W, _uniform(rng, 1.0 / math.sqrt(place.n_in), place.n_out)])


#: Rules by name; a rule returns W row by row and then b. Biases are 0 unless the rule says otherwise.
INITIALIZERS: dict[str, Callable[[StdRng, LayerPlace], Array]] = {
    "standard_uniform": standard_uniform,
    # X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward networks", 2010
    "glorot_uniform": _without_biases(lambda rng, p, n: _uniform(rng, math.sqrt(6 / (p.n_in + p.n_out)), n)),
    "glorot_normal": _without_biases(lambda rng, p, n: math.sqrt(2 / (p.n_in + p.n_out)) * normals(rng, n)),
    # K. He et al., "Delving deep into rectifiers", 2015
    "he_uniform": _without_biases(lambda rng, p, n: _uniform(rng, math.sqrt(6 / p.n_in), n)),
    "he_normal": _without_biases(lambda rng, p, n: math.sqrt(2 / p.n_in) * normals(rng, n)),
    # Y. LeCun et al., "Efficient backprop", 1998
    "lecun_uniform": _without_biases(lambda rng, p, n: _uniform(rng, math.sqrt(3 / p.n_in), n)),
    "lecun_normal": _without_biases(lambda rng, p, n: math.sqrt(1 / p.n_in) * normals(rng, n)),
    # V. Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020
    "siren": siren,
    "zeros": _without_biases(lambda rng, p, n: np.zeros(n)),
}


def init_for(init: str, activation: Any) -> str:
    """The rule that "auto" means; any other rule unchanged."""
    if not isinstance(init, str) or init != "auto":
        return init
    first = activation
    if isinstance(activation, (list, tuple)):
        first = activation[0] if activation else "tanh"
    kind = as_activation("activation", first)
    if isinstance(kind, Sine):
        return "siren"
    return "he_uniform" if isinstance(kind, ReLU) else "glorot_uniform"
