"""Networks as safetensors files, which PyTorch and other programs read: tensors and text, no code."""

import json
import os
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.archive import blaming, opened
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Activation, Identity, as_activation
from crabnet_jit.exchange.common import described, from_description, layers_of
from crabnet_jit.network.network import NN

_DESCRIPTION = "crabnet_jit"  # metadata in our own files: everything but the parameters
_TYPES = {"F64": "<f8", "F32": "<f4"}
_LENGTH = 8  # bytes for the length of the header
_ALIGNMENT = 8  # bytes; numbers begin at multiples of this
_LONGEST = 100_000_000  # bytes in the longest header that programs read


class _Linear(NamedTuple):
    """W (n_out, n_in) and b (n_out,), and the names of their tensors."""

    name: str
    W: Array
    b: Array


def safetensors_file(net: NN) -> bytes:
    """The content of a file: the tensors of a `torch.nn.Sequential`, and everything else in the metadata.

    Equal networks give equal files; the library would write metadata in a random order.
    """
    tensors: dict[str, Array] = {}
    for k, layer in enumerate(layers_of(net)):
        tensors |= {f"{2 * k}.weight": layer.W, f"{2 * k}.bias": layer.b}  # an activation after each
    metadata = {
        "format": "pt",
        "activations": json.dumps([activation.name for activation in net.activations]),
        "input_names": json.dumps(net.input_names),
        "output_names": json.dumps(net.schema.names_of_values(net.out_features)),
        _DESCRIPTION: described(net),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    dtype, start = f"F{8 * net.dtype.itemsize}", 0
    for name, tensor in tensors.items():
        end = start + tensor.nbytes
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    if len(text) > _LONGEST:
        raise check.reject("net", f"described by at most {_LONGEST} bytes of text", f"{len(text)}")
    numbers = [tensor.astype(_TYPES[dtype]).tobytes() for tensor in tensors.values()]
    return b"".join([len(text).to_bytes(_LENGTH, "little"), text, *numbers])


@check.keywords
def from_safetensors(
    path: str | PathLike[str],
    *,
    activation: Activation | str | Sequence[Activation | str] | None = None,
    output_activation: Activation | str = "identity",
) -> NN:
    """Read a network from a safetensors file.

    A file that `export` wrote has the whole network: parameters bit for bit, standardisation, columns,
    classes and domain. A file of another program has the tensors of linear layers, named as in the state dict
    of a `torch.nn.Sequential`: for each layer `NAME.weight` (n_out, n_in) and `NAME.bias` (n_out,). The names
    must only differ by numbers, which give the order: 0, 2, 4; or net.0, net.2; or fc1, fc2. A missing bias
    is zero.

    Parameters
    ----------
    path : path-like
        Usually with the suffix .safetensors.
    activation : Activation or str, or a sequence of them, optional
        One for all hidden layers, or one for each, as in `NN`. Needed for a file of another program, which
        has no activations.
    output_activation : Activation or str, default "identity"
        The activation after the last layer; also only for files of other programs.

    Raises
    ------
    FileFormatError
        If the file is damaged, or has tensors with other names, of other types than float64 and float32, with
        numbers that are not finite, or with shapes that do not fit together.
    InvalidArgumentError
        If `activation` is missing, does not fit the hidden layers, or is given for a file from `export`.
    OSError
        If the file cannot be read.
    ImportError
        Without safetensors: `pip install "crabnet-jit[safetensors]"`.

    Notes
    -----
    A file may come from anyone: its header is checked against its size before tensors are read, and nothing
    in it is run.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from crabnet_jit import from_safetensors
    >>> from safetensors.numpy import save_file
    >>> tensors = {"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3))}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file(tensors, f"{folder}/model.safetensors")
    ...     net = from_safetensors(f"{folder}/model.safetensors", activation="relu")
    >>> net
    NN(2, [3], 1, activation='relu', 13 parameters, float64)
    >>> net.predict([[1.0, 2.0]])
    array([[9.]])
    """
    file = check.path("path", path)
    deserialize = _deserialize()
    with blaming(file, "a network in safetensors"):
        tensors, description = _content(file, deserialize)
        layers = _chained(tensors)
        known = None if description is None else _whole(description, layers)
    if known is None:
        return _of_another_program(layers, activation, output_activation)
    if activation is not None or as_activation("output_activation", output_activation) != Identity():
        came = f"{activation!r} and {output_activation!r}"
        raise check.reject("activation and output_activation", "left out for a file from export", came)
    return known


def _deserialize() -> Callable[[bytes], Any]:
    """The function of the library that reads a file."""
    try:
        from safetensors import deserialize
    except ImportError as error:
        message = 'from_safetensors needs safetensors: pip install "crabnet-jit[safetensors]"'
        raise ImportError(message) from error
    function: Callable[[bytes], Any] = deserialize
    return function


def _content(path: Path, deserialize: Callable[[bytes], Any]) -> tuple[dict[str, Array], str | None]:
    """Tensors by name, and the description in our own files."""
    with opened(path) as file:
        start = file.read(_LENGTH)
        length = int.from_bytes(start, "little")
        if length > os.fstat(file.fileno()).st_size - _LENGTH:
            raise ValueError("too short for a header of the length that it claims")
        data = start + file.read()
    # This checks that the header is at most 100 MB of JSON, and that tensors fill the rest without gaps.
    found = deserialize(data)
    metadata = json.loads(data[_LENGTH : _LENGTH + length]).get("__metadata__") or {}
    tensors = {name: _array(name, parts["dtype"], parts["shape"], parts["data"]) for name, parts in found}
    return tensors, metadata.get(_DESCRIPTION)


def _array(name: str, dtype: str, shape: list[int], data: bytearray) -> Array:
    """The numbers of a tensor, which are finite."""
    if dtype not in _TYPES:
        raise ValueError(f"{name!r} is of type {dtype}, not F64 or F32")
    if len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(f"{name!r} of shape {tuple(shape[:5])} is not a weight or bias")
    numbers = np.frombuffer(data, _TYPES[dtype]).reshape(shape)
    return check.array(repr(name), numbers, numbers.dtype.newbyteorder("="))


def _chained(tensors: dict[str, Array]) -> list[_Linear]:
    """Linear layers in order, which fit together."""
    if not tensors:
        raise ValueError("no tensors")
    if wrong := [name for name in tensors if name.split(".")[-1] not in ("weight", "bias")]:
        raise ValueError(f"{wrong[0]!r} is not a weight or bias of a linear layer")
    layers = [_linear(name, tensors) for name in _in_order({name.rpartition(".")[0] for name in tensors})]
    for before, layer in pairwise(layers):
        n_in, n_before = layer.W.shape[1], len(before.b)
        if n_in != n_before:
            raise ValueError(f"{layer.name!r} takes {n_in} inputs, {before.name!r} gives {n_before}")
    for name, array in tensors.items():
        if array.dtype != layers[0].W.dtype:
            raise ValueError(f"{name!r} has a different type than {layers[0].name!r}")
    return layers


def _in_order(names: set[str]) -> list[str]:
    """The names of layers, ordered by the numbers in them."""
    patterns = {re.sub(r"\d+", "0", name) for name in names}
    numbers = {name: [int(digits) for digits in re.findall(r"\d+", name)] for name in names}
    if len(patterns) != 1 or len(set(map(tuple, numbers.values()))) < len(names):
        raise ValueError(f"layers whose names have no numbers for their order: {sorted(names)[:5]}")
    return sorted(names, key=numbers.__getitem__)


def _linear(name: str, tensors: dict[str, Array]) -> _Linear:
    """The layer with this name."""
    weight, bias = (f"{name}.{part}".removeprefix(".") for part in ("weight", "bias"))
    if weight not in tensors or tensors[weight].ndim != 2:
        raise ValueError(f"{weight!r} is not a matrix")
    W = tensors[weight]
    b = tensors.get(bias, np.zeros(len(W), W.dtype))
    if b.shape != (len(W),):
        raise ValueError(f"{bias!r} of shape {b.shape} for {weight!r} of shape {W.shape}")
    return _Linear(name, W, b)


def _whole(description: str, layers: list[_Linear]) -> NN:
    """The network in one of our own files."""
    parts = [part.ravel() for layer in layers for part in (layer.W, layer.b)]
    net = from_description(description, np.concatenate(parts))
    if net.spec.sizes != _sizes(layers):
        raise ValueError(f"tensors of layers {_sizes(layers)}, described as {net.spec.sizes}")
    return net


def _sizes(layers: list[_Linear]) -> tuple[int, ...]:
    return layers[0].W.shape[1], *(len(layer.b) for layer in layers)


def _of_another_program(layers: list[_Linear], activation: Any, output_activation: Activation | str) -> NN:
    n_in, *hidden_sizes, n_out = _sizes(layers)
    if activation is None and hidden_sizes:
        raise check.reject("activation", "given for a file of another program", "None")
    return NN(
        n_in,
        hidden_sizes,
        n_out,
        activation=() if activation is None else activation,
        output_activation=output_activation,
        init=[(layer.W, layer.b) for layer in layers],
        dtype=layers[0].W.dtype,
    )
