"""A network without its parameters, as plain values, for files and checkpoints."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.components.activations import ACTIVATIONS, Activation
from crabnet_jit.components.base import described


@dataclass(frozen=True)
class Spec:
    """Sizes, activations and type of a network.

    Attributes
    ----------
    sizes : tuple of int
        The number of inputs, the widths of the hidden layers, the number of outputs.
    activations : tuple of Activation
        One after each layer; they are never replaced, so a spec may be shared.
    dtype : dtype
        float64 or float32.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    dtype: "np.dtype[Any]"

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases."""
        return count_parameters(self.sizes)

    def values(self) -> dict[str, Any]:
        """JSON values for files; `from_values` reads them."""
        for k, activation in enumerate(self.activations):
            if activation.name not in ACTIVATIONS:
                raise check.reject(f"activations[{k}]", "a built-in one, to be saved", repr(activation))
        return {
            "sizes": list(self.sizes),
            "activations": [[activation.name, activation.options()] for activation in self.activations],
        }

    @classmethod
    def from_values(cls, values: dict[str, Any], dtype: "np.dtype[Any]") -> "Spec":
        """The spec from `values`, fully checked; any exception means that they are invalid."""
        sizes = tuple(check.integer("a size", size, 1) for size in values["sizes"])
        activations = tuple(ACTIVATIONS[name](**options) for name, options in values["activations"])
        if len(sizes) != len(activations) + 1 or len(sizes) < 2:
            raise ValueError(f"{len(sizes)} sizes and {len(activations)} activations")
        return cls(sizes, activations, check.float_type("dtype", dtype))

    def configuration(self) -> dict[str, Any]:
        """Everything that must be the same for a run to be resumed, as plain values."""
        return {
            "sizes": list(self.sizes),
            "activations": [described(activation) for activation in self.activations],
            "dtype": str(self.dtype),
        }


def count_parameters(sizes: "tuple[int, ...] | list[int]") -> int:
    """The number of weights and biases of a network with these sizes."""
    return sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
