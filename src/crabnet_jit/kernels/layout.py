"""Where each layer's numbers lie in the flat buffers; no other module knows.

A layout is an int64 matrix with one row per linear layer, made by `make_layout`:

    column            meaning
    N_IN, N_OUT       sizes of the layer
    W_START           where W, (n_out, n_in) row by row, starts in the parameter buffer
    B_START           where b, (n_out, 1), starts there
    Y_START           first row of the layer's output in a workspace for one panel
    KIND              which activation comes after it: a place in KINDS, or CUSTOM

The gradient buffer has the layout of the parameter buffer. A workspace for one panel holds one row for
every unit, each as wide as a panel. A workspace for several panels holds, layer after layer, all panels of
the layer's output.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.arrays import Flat, Group, Matrix, Number
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.view import group, matrix

N_IN, N_OUT, W_START, B_START, Y_START, KIND = range(6)
#: The kind of an activation is its index in this list. Entries never move: compiled code may hold indices.
KINDS = (
    "identity", "relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus",
    "sine",
)  # fmt: skip
IDENTITY, RELU = range(2)
CUSTOM = -1

_MAX_PARAMETERS = 2**48  # beyond this, offsets in a buffer would be too large


def make_layout(sizes: Sequence[int]) -> NDArray[np.int64]:
    """The layout of a network with the given sizes: inputs, hidden layers, outputs.

    Activations are the article's, ReLU and none after the last layer, until the caller sets others.
    """
    rows = []
    start = y_start = 0
    for n_in, n_out in pairwise(sizes):
        rows.append((n_in, n_out, start, start + n_out * n_in, y_start, RELU))
        start += n_out * n_in + n_out
        y_start += n_out
        if start > _MAX_PARAMETERS:
            raise MemoryError(f"a network of {start} parameters or more")
    layout = np.array(rows, dtype=np.int64)
    layout[-1, KIND] = IDENTITY
    return layout


def parameter_count(layout: NDArray[np.int64]) -> int:
    """The size of the parameter buffer."""
    return int(layout[-1, B_START] + layout[-1, N_OUT])


def unit_count(layout: NDArray[np.int64]) -> int:
    """The number of rows of a workspace."""
    return int(layout[-1, Y_START] + layout[-1, N_OUT])


@kernel
def weights(parameters: Flat, layout: Matrix, layer: Number) -> Matrix:
    n_out, n_in = layout[layer, N_OUT], layout[layer, N_IN]
    return matrix(parameters, layout[layer, W_START], n_out, n_in)


@kernel
def biases(parameters: Flat, layout: Matrix, layer: Number) -> Matrix:
    return matrix(parameters, layout[layer, B_START], layout[layer, N_OUT], 1)


@kernel
def outputs(workspace: Flat, layout: Matrix, layer: Number, n_panels: Number) -> Group:
    start = layout[layer, Y_START] * PANEL * n_panels
    return group(workspace, start, n_panels, layout[layer, N_OUT])


@kernel
def inputs(workspace: Flat, layout: Matrix, layer: Number, x: Group) -> Group:
    """The inputs of a layer: the network's inputs x, or the outputs of the layer before."""
    return x if layer == 0 else outputs(workspace, layout, layer - 1, x.shape[0])
