"""The graph of an ONNX model, which is fully checked."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.exchange.onnx_graphs import Graph, Value

_OLDEST_OPSET = 7  # since then, operators broadcast like NumPy
_OWN_DOMAINS = "", "ai.onnx"  # of ONNX's own operators
#: Types of tensors: in NumPy, and where their numbers are if they are not raw.
_TYPES = {
    "FLOAT": ("<f4", "float_data"),
    "DOUBLE": ("<f8", "double_data"),
    "INT32": ("<i4", "int32_data"),
    "INT64": ("<i8", "int64_data"),
    "BOOL": ("?", "int32_data"),
    "STRING": ("O", "string_data"),
}


def read_graph(model: Any, onnx: Any) -> tuple[Value, dict[str, Value]]:
    """The input of a model, and its outputs by name.

    Parameters
    ----------
    model : onnx.ModelProto
        May have any content.
    onnx : module
        The package.

    Raises
    ------
    ValueError
        If it is not a single graph of ONNX's own operators, each after those that it needs, from one input to
        all outputs; or if a tensor is in another file, or does not have the size that it claims. Other
        exceptions also mean that something is wrong.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in _OWN_DOMAINS]
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1 or not _OLDEST_OPSET <= versions[0] <= newest:
        raise ValueError(f"a model with opset {versions}, known are {_OLDEST_OPSET} to {newest}")
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise ValueError("a model with functions, training information or sparse initializers")
    return _Reader(onnx, model.graph).read()


class _Reader:
    """Reads the graph of a model into one of ours."""

    def __init__(self, onnx: Any, proto: Any) -> None:
        self.onnx, self.proto = onnx, proto
        self.types = {getattr(onnx.TensorProto, name): known for name, known in _TYPES.items()}
        self.graph = Graph()
        self.values: dict[str, Value] = {}

    def read(self) -> tuple[Value, dict[str, Value]]:
        """The input, and the outputs by name."""
        self._check_that_all_is_needed()
        for tensor in self.proto.initializer:
            self._define(tensor.name, self.graph.constant(self._array(tensor)))
        inputs = [entry for entry in self.proto.input if entry.name not in self.values]
        if len(inputs) != 1:
            raise ValueError(f"a model with {len(inputs)} inputs, {check.shown([i.name for i in inputs])}")
        x = self._input(inputs[0].type.tensor_type)
        self._define(inputs[0].name, x)
        for node in self.proto.node:
            self._define(node.output[0], self._value(node))
        return x, {entry.name: self._known(entry.name, "the model") for entry in self.proto.output}

    def _check_that_all_is_needed(self) -> None:
        needed = {entry.name for entry in self.proto.output}
        for node in reversed(self.proto.node):
            if needed.isdisjoint(node.output):
                raise ValueError(f"{_name(node)}, which leads to no output")
            needed.update(node.input)

    def _input(self, declared: Any) -> Value:
        dtype = self._dtype(declared.elem_type, "an input")
        sizes = [size.dim_value for size in declared.shape.dim]
        if dtype.kind != "f" or (declared.HasField("shape") and len(sizes) != 2):
            raise ValueError(f"an input of {dtype} and shape {sizes}, not of floats (batch, n)")
        return self.graph.input("x", dtype, sizes[-1] if sizes else 0)

    def _define(self, name: str, value: Value) -> None:
        if not name or name in self.values:
            raise ValueError(f"a tensor named {check.shown(name)}, which is empty or taken")
        self.values[name] = value

    def _known(self, name: str, who: str) -> Value:
        if name not in self.values:
            raise ValueError(f"{who} needs {check.shown(name)}, which no earlier node computes")
        return self.values[name]

    def _dtype(self, number: int, what: str) -> "np.dtype[Any]":
        if number not in self.types:
            raise ValueError(f"{what} of type {number}, known are {', '.join(_TYPES)}")
        return np.dtype(self.types[number][0]).newbyteorder("=")

    def _array(self, tensor: Any) -> NDArray[Any]:
        """The numbers of a tensor, which must not claim a size that it does not have."""
        shape, name = tuple(tensor.dims), f"a tensor {check.shown(tensor.name)}"
        dtype = self._dtype(tensor.data_type, name)
        is_elsewhere = tensor.data_location == tensor.EXTERNAL or tensor.external_data
        if is_elsewhere or tensor.HasField("segment"):
            raise ValueError(f"{name} whose numbers are in another file")
        stored, place = self.types[tensor.data_type]
        if tensor.data_type == tensor.STRING:
            numbers = np.array([text.decode() for text in tensor.string_data], object)
        elif tensor.HasField("raw_data"):
            numbers = np.frombuffer(tensor.raw_data, stored)
        else:
            numbers = np.array(getattr(tensor, place))
        if numbers.size != math.prod(shape) or min(shape, default=0) < 0:
            raise ValueError(f"{name} of shape {shape} with {numbers.size} numbers")
        return numbers.astype(dtype).reshape(shape)

    def _value(self, node: Any) -> Value:
        """The value that a node computes; for a node without effect, its input."""
        what = _name(node)
        if node.domain not in _OWN_DOMAINS:
            raise ValueError(f"{what} of the domain {check.shown(node.domain)}")
        if len(node.output) != 1 and node.op_type != "Dropout":
            raise ValueError(f"{what} with {len(node.output)} outputs")
        attributes = self._attributes(what, node)
        if node.op_type == "Constant":
            return self._constant(what, attributes)
        inputs, name = self._inputs(what, node), node.name or node.output[0]
        match node.op_type:
            case "Identity":
                return inputs[0]
            case "Dropout" if not _is_training(inputs):
                return inputs[0]
            case "Cast":
                return self.graph.cast(inputs[0], self._dtype(attributes["to"], what), name)
            case "Transpose" if inputs[0].array is not None and attributes in ({}, {"perm": (1, 0)}):
                return self.graph.constant(np.ascontiguousarray(inputs[0].array.T))
        return self.graph.node(node.op_type, *inputs, name=name, **attributes)

    def _inputs(self, what: str, node: Any) -> list[Value]:
        names = list(node.input)
        while names and not names[-1]:  # optional ones that are left out
            names.pop()
        if not names:
            raise ValueError(f"{what} without inputs")
        return [self._known(name, what) for name in names]

    def _constant(self, name: str, attributes: dict[str, Any]) -> Value:
        ((kind, numbers),) = attributes.items()
        if kind in ("value_float", "value_floats"):
            return self.graph.constant(np.array(numbers, np.float32))
        if kind in ("value_int", "value_ints"):
            return self.graph.constant(np.array(numbers, np.int64))
        if kind != "value":
            raise ValueError(f"{name} with {check.shown(kind)}")
        return self.graph.constant(numbers)

    def _attributes(self, name: str, node: Any) -> dict[str, Any]:
        """Numbers, strings, tuples of numbers, and the tensor of a Constant."""
        found: dict[str, Any] = {}
        for entry in node.attribute:
            if entry.type == entry.TENSOR and node.op_type == "Constant":
                found[entry.name] = self._array(entry.t)
            elif entry.type in (entry.FLOAT, entry.INT):
                found[entry.name] = self.onnx.helper.get_attribute_value(entry)
            elif entry.type == entry.STRING:
                found[entry.name] = entry.s.decode()
            elif entry.type in (entry.FLOATS, entry.INTS):
                found[entry.name] = tuple(self.onnx.helper.get_attribute_value(entry))
            else:
                raise ValueError(f"{name} with {check.shown(entry.name)}, which is not a number or string")
        return found


def _is_training(inputs: list[Value]) -> bool:
    """Whether a Dropout drops something, as in training."""
    return len(inputs) > 2 and (inputs[2].array is None or bool(inputs[2].array.any()))


def _name(node: Any) -> str:
    """The name of a node in messages."""
    name = node.name or (node.output[0] if node.output else "")
    return f"{check.shortened(node.op_type, 40)} {check.shown(name)}"
