"""Networks from ONNX files: `from_onnx`. Files are fully checked; nothing is run, no other file is opened."""

import os
from os import PathLike
from pathlib import Path

import numpy as np

from crabnet_jit import check
from crabnet_jit.archive import blaming, opened
from crabnet_jit.exchange.common import from_description
from crabnet_jit.exchange.onnx_chains import network_of
from crabnet_jit.exchange.onnx_graphs import Graph, Value
from crabnet_jit.exchange.onnx_models import DESCRIPTION, computed, onnx_library
from crabnet_jit.exchange.onnx_reading import read_graph
from crabnet_jit.network.network import NN

_MAX_BYTES = 2**31  # of a file; protobuf messages are smaller


@check.keywords
def from_onnx(path: str | PathLike[str]) -> NN:
    """Read a network from an ONNX file.

    A file that `export` wrote has the whole network: parameters bit for bit, standardisation, columns,
    classes, domain. A model of another program must be a chain from one input of shape (batch, n) to one
    output, which consists of

    - sums, differences, products and quotients with constants: `standardization.x_mean` and `x_std`;
    - linear layers: Gemm, or MatMul and Add. After each one, there may be an activation: Relu, LeakyRelu,
      Elu, Gelu, Tanh, Sigmoid, Softplus, Sin, or SiLU or GELU as PyTorch writes them;
    - sums, differences, products and quotients with constants: `y_mean` and `y_std`; or a Softmax, which
      makes it a classifier with the labels 0, 1, ….

    Operators without effect, such as Identity, Dropout and Flatten, may be anywhere.

    Parameters
    ----------
    path : path-like
        Usually with the suffix .onnx.

    Returns
    -------
    NN
        In float64 or float32, like the model.

    Raises
    ------
    FileFormatError
        If the file is damaged or something else, or if the model is not such a chain: the error names the
        operator. The same if no standardisation in float64 is exactly equivalent to the constants.
    OSError
        If the file cannot be read.
    ImportError
        Without onnx: `pip install "crabnet-jit[onnx]"`.

    Notes
    -----
    Nothing in the file is run, and no other file is opened: a model with tensors in other files is rejected.
    A Gemm's alpha and beta are multiplied into its weights and biases.

    Examples
    --------
    >>> import tempfile
    >>> from onnx import parser
    >>> from crabnet_jit import from_onnx
    >>> model = parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["" : 18]>
    ...     line (double[batch, 2] x) => (double[batch, 1] y)
    ...     <double[2, 1] W = {3.0, 4.0}, double[1] b = {0.5}> {
    ...         h = MatMul(x, W)
    ...         y = Add(h, b)
    ...     }
    ... ''')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/line.onnx"
    ...     with open(path, "wb") as file:
    ...         _ = file.write(model.SerializeToString())
    ...     net = from_onnx(path)
    >>> net
    NN(2, [], 1, 3 parameters, float64)
    >>> net.predict([[1.0, 1.0]])
    array([[7.5]])
    """
    file = check.path("path", path)
    onnx = onnx_library("from_onnx")
    with blaming(file, "a network in ONNX"):
        model = onnx.ModelProto.FromString(_content(file))
        x, outputs = read_graph(model, onnx)
        descriptions = [entry.value for entry in model.metadata_props if entry.key == DESCRIPTION]
        if descriptions:
            return _own(x.graph, outputs, descriptions[-1])
        if len(outputs) != 1:
            raise ValueError(f"a model with {len(outputs)} outputs, {check.shown(list(outputs))}")
        return network_of(x, *outputs.values())


def _content(path: Path) -> bytes:
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MAX_BYTES:
            raise ValueError(f"{size} bytes, more than ONNX files have")
        return file.read()


def _own(graph: Graph, outputs: dict[str, Value], description: str) -> NN:
    """The network that `onnx_model` wrote, if the graph computes what that network does."""
    layers = [value.inputs[1:] for value in graph.values if value.operator == "Gemm"]
    parts = [part.array.ravel() for parts in layers for part in parts if part.array is not None]
    net = from_description(description, np.concatenate(parts))
    if computed(net, graph) != outputs:
        raise ValueError("its metadata describe a different network than its operators")
    return net
