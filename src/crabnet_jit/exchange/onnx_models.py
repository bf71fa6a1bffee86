"""Networks as ONNX models, which ONNX Runtime and many other programs run."""

import json
from typing import Any

import numpy as np

import crabnet_jit
from crabnet_jit import check
from crabnet_jit.exchange.common import described, formula, layers_of, scale_in_type
from crabnet_jit.exchange.onnx_graphs import CONSTANT, FORMULAS, INPUT, Graph, Value, sigmoid
from crabnet_jit.network.network import NN

DESCRIPTION = "crabnet_jit"  # the entry of the metadata with everything except the parameters
_OPSET, _IR_VERSION = 18, 8  # old enough for runtimes of 2023; with the fewest operators missing in float64
_MANY_NAMES = 2000  # the most characters of names in the summary; the metadata have all
_MAX_BYTES = 2**31 - 2**24  # of parameters; a protobuf message has less than 2 GB


def onnx_library(what: str) -> Any:
    """The package onnx; `what` needs it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f'{what} needs onnx: pip install "crabnet-jit[onnx]"') from error
    return onnx


def onnx_model(net: NN) -> bytes:
    """A network whose numbers can be exported (see `exportable`) as the content of an ONNX file.

    The model's input "x" (batch, in_features) is in the units of the data. It has the type of the network's
    parameters, like all outputs that are not labels. A regression has the output "y" (batch, out_features). A
    classifier has "label", which is (batch,), or (batch, n_classes) for multilabel, as in `predict`; and
    "probabilities" (batch, n_classes), and "logits" (batch, out_features).

    Parameters are initializers, bit for bit; standardisation is subtraction and division. The metadata are
    JSON strings: `input_names`, `output_names`, `classes`, `task`, `domain` (the box of the inputs of the
    fit), and `crabnet_jit`, with everything except the parameters, for `from_onnx`.

    Raises
    ------
    InvalidArgumentError
        If a number of the standardisation overflows or underflows in the type, if a class is not a valid
        Unicode string, or if the model would have 2 GB or more.
    ImportError
        Without onnx: `pip install "crabnet-jit[onnx]"`.
    """
    onnx = onnx_library("export to .onnx")
    if net.parameters.nbytes > _MAX_BYTES:
        raise check.reject("net", "smaller than 2 GB, like all ONNX files", f"{net.parameters.nbytes} bytes")
    graph = Graph()
    outputs = computed(net, graph)
    helper, names = onnx.helper, _names(graph, net, outputs)
    made = [value for value in graph.values if value.operator not in (INPUT, CONSTANT)]
    constants = [value for value in graph.values if value.operator == CONSTANT]
    model = helper.make_model(
        helper.make_graph(
            [_node(helper, value, names) for value in made],
            "network",
            [_tensor(helper, "x", net.dtype, net.in_features, "Inputs in the units of the data.")],
            [_output(helper, name, value.dtype, net) for name, value in outputs.items()],
            [onnx.numpy_helper.from_array(value.array, names[value]) for value in constants],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="crabnet_jit",
        producer_version=crabnet_jit.__version__,
        doc_string=_summary(net),
    )
    helper.set_model_props(model, _metadata(net))
    content: bytes = model.SerializeToString()
    return content


# ---- the computation


def computed(net: NN, graph: Graph) -> dict[str, Value]:
    """The outputs of a network in a graph, by name."""
    h = _standardized(graph.input("x", net.dtype), net)
    for layer in layers_of(net):
        h = graph.node("Gemm", h, layer.W, layer.b, transB=1)
        h = FORMULAS[formula(layer.activation)](h, layer.activation.constant)
    if net.schema.labels is not None:
        return {**_classified(h, net), "logits": h}
    if net.standardization is not None:
        std, mean = net.standardization.y_std, net.standardization.y_mean
        h = h * scale_in_type("y_std", std, net.dtype) + check.array(
            "net.standardization.y_mean", mean, net.dtype
        )
    return {"y": _with_powers(h, net)}


def _with_powers(h: Value, net: NN) -> Value:
    """The values of outputs, of which some or all are logarithms."""
    first, n, graph = net.schema.first_power(net.out_features), net.out_features, h.graph
    if first in (0, n):
        return graph.node("Exp", h) if first == 0 else h
    parts = [
        graph.node("Gather", h, graph.constant(np.arange(*ends)), axis=1) for ends in ((0, first), (first, n))
    ]
    return graph.node("Concat", parts[0], graph.node("Exp", parts[1]), axis=1)


def _standardized(x: Value, net: NN) -> Value:
    """(x - mean) / std; the rounding error of the mean is subtracted, too, for data far from 0."""
    if net.standardization is None:
        return x
    mean = net.standardization.x_mean
    high = check.array("net.standardization.x_mean", mean, net.dtype)
    low = (mean - high).astype(net.dtype)
    x = x - high
    if low.any():
        x = x - low
    return x / scale_in_type("x_std", net.standardization.x_std, net.dtype)


def _classified(logits: Value, net: NN) -> dict[str, Value]:
    """Label and probabilities, in float64 as in `NN.predict`, so that they agree even if classes tie."""
    graph, z = logits.graph, logits.graph.cast(logits, np.float64)
    if net.schema.task == "multilabel":
        p = sigmoid(z, 0.0)
        label = graph.cast(p > 0.5, np.int64)
    else:
        if net.out_features == 1:
            p = sigmoid(graph.node("Concat", -z, z, axis=1), 0.0)
            second = graph.node("Gather", p, graph.constant(np.array(1)), axis=1)
            chosen = graph.cast(second > 0.5, np.int64)
        else:
            p = graph.node("Softmax", z)
            chosen = graph.node("ArgMax", p, axis=1, keepdims=0)
        label = graph.node("Gather", graph.constant(_plain(net.classes)), chosen)
    return {"label": label, "probabilities": graph.cast(p, net.dtype)}


def _plain(classes: Any) -> Any:
    """Labels in ONNX's form: strings are objects, in UTF-8."""
    if classes.dtype.kind != "U":
        return classes
    try:
        "".join(classes).encode()
    except UnicodeEncodeError:
        raise check.reject("net.classes", "valid Unicode strings", ascii(classes.tolist())) from None
    return classes.astype(object)


# ---- writing it


def _names(graph: Graph, net: NN, outputs: dict[str, Value]) -> dict[Value, str]:
    """Distinct names of all values."""
    names = {}
    for k, value in enumerate(graph.values):
        names[value] = f"{'constant' if value.operator == CONSTANT else value.operator}_{k}"
    for k, layer in enumerate(layers_of(net), start=1):
        names |= {graph.constant(layer.W): f"W{k}", graph.constant(layer.b): f"b{k}"}
    return names | {graph.input("x", net.dtype): "x"} | {value: name for name, value in outputs.items()}


def _node(helper: Any, value: Value, names: dict[Value, str]) -> Any:
    attributes = value.attributes
    if value.operator == "Cast":
        attributes = {"to": helper.np_dtype_to_tensor_dtype(value.dtype)}
    inputs = [names[operand] for operand in value.inputs]
    return helper.make_node(value.operator, inputs, [names[value]], names[value], **attributes)


def _output(helper: Any, name: str, dtype: "np.dtype[Any]", net: NN) -> Any:
    is_multilabel = net.schema.task == "multilabel"
    width = {
        "label": net.out_features if is_multilabel else None,
        "probabilities": net.schema.n_values(net.out_features),
    }
    meaning = {
        "y": "Predictions in the units of the data.",
        "label": "1 for each class that applies, else 0." if is_multilabel else "The most probable class.",
        "probabilities": "The probability of each class.",
        "logits": "Outputs of the last layer, from which probabilities are computed.",
    }
    return _tensor(helper, name, dtype, width.get(name, net.out_features), meaning[name])


def _tensor(helper: Any, name: str, dtype: "np.dtype[Any]", width: int | None, meaning: str) -> Any:
    """An input or output of shape (batch, width), or (batch,)."""
    shape = ["batch"] if width is None else ["batch", width]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape, meaning)


def _summary(net: NN) -> str:
    of_outputs = net.schema.names_of_values(net.out_features)
    inputs, outputs = (", ".join(map(check.shown, names)) for names in (net.input_names, of_outputs))
    return check.shortened(f"x: {inputs}. {net.schema.task}: {outputs}.", _MANY_NAMES)


def _metadata(net: NN) -> dict[str, str]:
    classes, domain = net.classes, net.domain
    values = {
        "input_names": net.input_names,
        "output_names": net.schema.names_of_values(net.out_features),
        "classes": None if classes is None else classes.tolist(),
        "task": net.schema.task,
        "domain": None if domain is None else {"low": domain.low.tolist(), "high": domain.high.tolist()},
    }
    return {**{name: json.dumps(value) for name, value in values.items()}, DESCRIPTION: described(net)}
