"""What a network is, as plain values: all but its parameters. Files and checkpoints are made of it."""

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
        Widths of the input, of each hidden layer, of the output.
    activations : tuple of Activation
        After each layer; theirs are never replaced, so a spec may be shared.
    dtype : dtype
        float64 or float32.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    dtype: "np.dtype[Any]"

    @property
    def n_parameters(self) -> int:
        """Weights and biases."""
        return count_parameters(self.sizes)

    def values(self) -> dict[str, Any]:
        """For files, of what JSON has; `from_values` reads it."""
        for k, activation in enumerate(self.activations):
            if activation.name not in ACTIVATIONS:
                raise check.reject(f"activations[{k}]", "one that has a name, to be saved", repr(activation))
        return {
            "sizes": list(self.sizes),
            "activations": [[activation.name, activation.options()] for activation in self.activations],
        }

    @classmethod
    def from_values(cls, values: dict[str, Any], dtype: "np.dtype[Any]") -> "Spec":
        """The spec that `values` gave, believing nothing; any exception means that they are wrong."""
        sizes = tuple(check.integer("a size", size, 1) for size in values["sizes"])
        activations = tuple(ACTIVATIONS[name](**options) for name, options in values["activations"])
        if len(sizes) != len(activations) + 1 or len(sizes) < 2:
            raise ValueError(f"{len(sizes)} sizes and {len(activations)} activations")
        return cls(sizes, activations, check.float_type("dtype", dtype))

    def configuration(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed, as plain values."""
        return {
            "sizes": list(self.sizes),
            "activations": [described(activation) for activation in self.activations],
            "dtype": str(self.dtype),
        }


def count_parameters(sizes: "tuple[int, ...] | list[int]") -> int:
    """Weights and biases of a network of these sizes."""
    return sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
