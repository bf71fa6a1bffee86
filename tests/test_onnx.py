"""Networks as ONNX models, and back: these compute what the network does, and no file is believed."""

import contextlib
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_compiled import needs_long_doubles

import crabnet_jit
from benchmarks.truth import FORMULAS, LONG, exact
from crabnet_jit import (
    ELU,
    GELU,
    NN,
    FileFormatError,
    InvalidArgumentError,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sine,
    Softplus,
    Standardization,
    Tanh,
    fit,
    from_onnx,
)
from crabnet_jit.data.columns import Column, Columns
from crabnet_jit.data.labels import Labels
from crabnet_jit.exchange import onnx_chains
from crabnet_jit.exchange.common import exportable
from crabnet_jit.exchange.onnx_graphs import FORMULAS as OF_ONNX
from crabnet_jit.exchange.onnx_models import onnx_model
from crabnet_jit.kernels.layout import KINDS
from crabnet_jit.network.schema import Schema

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")
onnxruntime = pytest.importorskip("onnxruntime")

ACTIVATIONS = [activation for activation, _ in FORMULAS]
DTYPES = ["float64", "float32"]
LABELS = {
    "texts": np.array(['a"b', "c\n*/"]),
    "integers": np.array([-3, 10, 2**40]),
    "booleans": np.array([False, True]),
    "floats": np.array([0.0, 2.0]),
    "many": np.arange(5),
}


def random_net(
    rng: Any, sizes: list[int], activation: Any, dtype: str = "float64", far: float | None = 100.0
) -> NN:
    """A network of random parameters; in units in which data are far from 0, or in none."""
    net = NN(sizes[0], sizes[1:-1], sizes[-1], rng=1, activation=activation, dtype=dtype)
    for layer in net.layers:
        layer.W = rng.normal(size=layer.W.shape) / np.sqrt(layer.in_features)
        layer.b = rng.normal(size=layer.b.shape)
    if far is not None:
        x_std = 10.0 ** rng.uniform(-3, 3, sizes[0])
        y = rng.normal(size=sizes[-1]), rng.uniform(0.2, 5.0, sizes[-1])
        net.standardization = Standardization(rng.uniform(-far, far, sizes[0]) * x_std, x_std, *y)
    return net


def inputs_for(rng: Any, net: NN, n_samples: int = 200) -> Any:
    z = rng.normal(size=(n_samples, net.in_features))
    units = net.standardization
    return (z if units is None else units.x_mean + z * units.x_std).astype(net.dtype)


def classifier(net: NN, labels: Any, task: str = "classification") -> NN:
    net.schema = Schema(labels=Labels(labels), task=task)
    return net


def centered(rng: Any, net: NN) -> NN:
    """With outputs around 0, so that each class is predicted somewhere."""
    net.layers[-1].b -= np.median(net.get_output(inputs_for(rng, net)), axis=0)[:, None]
    return net


def classifiers(rng: Any, dtype: str) -> Iterator[NN]:
    """Of all tasks."""
    for labels in LABELS.values():
        sizes = [3, 8, len(labels)]
        yield classifier(centered(rng, random_net(rng, sizes, "tanh", dtype)), labels)
        yield classifier(centered(rng, random_net(rng, sizes, "tanh", dtype)), labels, "multilabel")
        if len(labels) == 2:
            yield classifier(centered(rng, random_net(rng, [3, 8, 1], "tanh", dtype)), labels)


def run(model: bytes, x: Any) -> dict[str, Any]:
    """What ONNX Runtime computes, by the names of outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {session.get_inputs()[0].name: x}), strict=True))


def written(model: bytes | Any, folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def assert_same(net: NN, other: NN) -> None:
    """Bit for bit, and in all that is known of it."""
    assert other.parameters.tobytes() == net.parameters.tobytes()
    assert other.spec == net.spec
    assert other.schema.values() == net.schema.values()
    for name in ("standardization", "domain"):
        ours, theirs = getattr(net, name), getattr(other, name)
        assert (ours is None) == (theirs is None)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(ours or (), theirs or (), strict=True))


# ---- what models compute


def test_all_activations_are_known() -> None:
    assert list(OF_ONNX) == list(KINDS)


@needs_long_doubles
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("activation", "formula"), FORMULAS, ids=map(repr, ACTIVATIONS))
def test_a_model_is_as_accurate_as_the_network(activation: Any, formula: Any, dtype: str) -> None:
    rng = np.random.default_rng(1)
    for hidden_sizes in ([], [1], [8], [32, 32]):
        error, allowed = 0.0, 0.0
        for far in (None, 1.0, 1000.0) * 3:
            net = random_net(rng, [3, *hidden_sizes, 2], activation, dtype, far)
            x = inputs_for(rng, net)
            formulas = [formula] * len(hidden_sizes) + [lambda z: z]
            if dtype == "float32" and isinstance(activation, (LeakyReLU, ELU)):
                formulas = [in_single(activation)] * len(hidden_sizes) + [lambda z: z]
            truth = exact(net, formulas, x)
            found = run(onnx_model(exportable(net)), x)["y"]
            assert found.dtype == dtype
            rounding = np.spacing(np.abs(found)).max() if dtype == "float32" else 0.0
            error = max(error, float(np.abs(found - truth).max() - rounding))
            allowed = max(allowed, 4 * float(np.abs(net.predict(x) - truth).max()))
        assert error <= allowed, hidden_sizes


@needs_long_doubles
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("activation", "formula"), FORMULAS, ids=map(repr, ACTIVATIONS))
def test_each_activation_is_as_accurate_as_that_of_the_network(
    activation: Any, formula: Any, dtype: str
) -> None:
    """Near 0, where formulas cancel, and far from it, where they are flat."""
    net = NN(1, [], 1, output_activation=activation, init=[1.0, 0.0], dtype=dtype)
    model = onnx_model(exportable(net))
    if dtype == "float32" and isinstance(activation, (LeakyReLU, ELU)):
        formula = in_single(activation)
    for low, high in ((-0.01, 0.01), (-1, 1), (-6, 6), (10, 40), (-40, -10)):
        x = np.random.default_rng(0).uniform(low, high, (5000, 1)).astype(dtype)
        truth = formula(x.astype(LONG))
        floor = 10 * np.finfo(dtype).smallest_normal  # of what the exponential gives in place of 0
        allowed = 4 * np.abs(net.get_output(x) - truth).max() + floor
        assert np.abs(run(model, x)["y"] - truth).max() <= allowed


def in_single(activation: Any) -> Callable[[Any], Any]:
    """A formula with the number that float32 has for the activation's."""
    a = LONG(np.float32(activation.constant))
    if isinstance(activation, ELU):
        return lambda z: np.where(z > 0, z, a * np.expm1(np.minimum(z, 0)))
    return lambda z: np.where(z > 0, z, a * z)


@pytest.mark.parametrize("dtype", DTYPES)
def test_classes_and_probabilities(dtype: str) -> None:
    rng = np.random.default_rng(2)
    tolerance = 1e-14 if dtype == "float64" else 3e-6
    for net in classifiers(rng, dtype):
        x = inputs_for(rng, net)
        found = run(onnx_model(exportable(net)), x)
        assert list(found) == ["label", "probabilities", "logits"]
        assert found["probabilities"].dtype == found["logits"].dtype == dtype
        np.testing.assert_allclose(found["probabilities"], net.predict_proba(x), rtol=tolerance, atol=0)
        np.testing.assert_allclose(found["logits"], net.get_output(x), rtol=0, atol=10 * tolerance)
        np.testing.assert_array_equal(found["label"], net.predict(x))
        assert found["label"].dtype.kind == {"U": "O"}.get(
            net.predict(x).dtype.kind, net.predict(x).dtype.kind
        )
        assert len(np.unique(found["label"])) > 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_small_probabilities_have_all_digits(task: str, dtype: str) -> None:
    for n_out in (1, 2) if task == "classification" else (2,):
        net = classifier(NN(1, [], n_out, rng=1, dtype=dtype), np.array([3, 4]), task)
        net.layers[0].W, net.layers[0].b = np.array([[1.0], [-1.0]])[-n_out:], np.zeros((n_out, 1))
        x = np.linspace(-40, 40, 81, dtype=dtype)[:, None]
        found = run(onnx_model(exportable(net)), x)["probabilities"]
        np.testing.assert_allclose(found, net.predict_proba(x), rtol=1e-14 if dtype == "float64" else 1e-6)
        assert 0 < found.min() < 1e-17


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tiny", [0.0, 1e-30, 1e-17, 1e-16, 1.3e-16, 1.7e-16, 2.3e-16, 1e-15, 1e-9])
def test_where_classes_tie_the_label_is_that_of_predict(tiny: float, dtype: str) -> None:
    nets = []
    for b in (
        [tiny],
        [-tiny],
        [0.0, tiny],
        [0.0, tiny, -1.0],
        [0.7, 0.7 + tiny, 0.0],
        [0.7, 0.0, 0.7 + tiny],
    ):
        nets.append(NN(1, [], len(b), init=[(np.zeros((len(b), 1)), b)], dtype=dtype))
        classifier(nets[-1], np.arange(max(len(b), 2)) + 5)
    nets.append(
        classifier(NN(1, [], 2, init=[0.0, 0.0, tiny, -tiny], dtype=dtype), np.arange(2), "multilabel")
    )
    for net in nets:
        x = np.zeros((1, 1), dtype)
        np.testing.assert_array_equal(run(onnx_model(exportable(net)), x)["label"], net.predict(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays_where_it_is(dtype: str) -> None:
    rng = np.random.default_rng(3)
    nets = [random_net(rng, [3, 9, 9, 2], activation, dtype) for activation in ACTIVATIONS]
    for net in [*nets, *classifiers(rng, dtype)]:
        x = inputs_for(rng, net, 11)
        broken = x.copy()
        broken[4, 1] = np.nan
        model = onnx_model(exportable(net))
        whole, found = run(model, x), run(model, broken)
        for name, values in found.items():
            np.testing.assert_array_equal(np.delete(values, 4, axis=0), np.delete(whole[name], 4, axis=0))
            assert name == "label" or np.isnan(values[4]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_large_numbers_do_not_overflow(activation: Any, dtype: str) -> None:
    net = NN(1, [1], 1, activation=activation, init=[1.0, 0.0, 1.0, 0.0], dtype=dtype)
    if isinstance(activation, Sine):
        return  # it has no digits there
    x = np.array([[-1e30], [-1e10], [-1e3], [1e3], [1e10], [1e30]], dtype)
    np.testing.assert_allclose(run(onnx_model(exportable(net)), x)["y"], net.predict(x), rtol=1e-6)


@pytest.mark.parametrize("n_samples", [0, 1, 1000])
def test_any_number_of_samples(n_samples: int) -> None:
    rng = np.random.default_rng(4)
    net = random_net(rng, [3, 5, 2], "elu")
    x = inputs_for(rng, net, n_samples)
    found = run(onnx_model(exportable(net)), x)["y"]
    assert found.shape == (n_samples, 2)
    if n_samples:
        np.testing.assert_allclose(found, net.predict(x), rtol=1e-12)


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9])
def test_float32_keeps_the_digits_of_data_far_from_zero(offset: float) -> None:
    rng = np.random.default_rng(5)
    net = random_net(rng, [1, 8, 1], "tanh", "float32", None)
    zeros, ones = np.zeros(1), np.ones(1)
    net.standardization = Standardization(np.array([offset + 1 / 3]), np.array([offset * 1e-5]), zeros, ones)
    x = (offset * (1 + 1e-5 * rng.normal(size=(100, 1)))).astype(np.float32)
    assert np.abs(run(onnx_model(exportable(net)), x)["y"] - net.predict(x)).max() < 2e-6


# ---- what a model says of itself


@pytest.mark.parametrize("dtype", DTYPES)
def test_models_are_valid_and_say_what_they_are(dtype: str) -> None:
    rng = np.random.default_rng(6)
    nets = [random_net(rng, [3, 4, 4, 2], activation, dtype) for activation in ACTIVATIONS]
    for net in [*nets, *classifiers(rng, dtype)]:
        model = onnx.ModelProto.FromString(onnx_model(exportable(net)))
        onnx.checker.check_model(model, full_check=True)
        assert (model.ir_version, model.opset_import[0].version, len(model.opset_import)) == (8, 18, 1)
        assert (model.producer_name, model.producer_version) == ("crabnet_jit", crabnet_jit.__version__)
        (x,) = model.graph.input
        assert [size.dim_param or size.dim_value for size in x.type.tensor_type.shape.dim] == ["batch", 3]
        assert x.doc_string == "Inputs in the units of the data."
        assert all(output.doc_string for output in model.graph.output)
        assert "x: 'x0', 'x1', 'x2'" in model.doc_string
        entries = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        assert entries["input_names"] == net.input_names
        assert entries["output_names"] == net.output_names
        assert entries["task"] == net.schema.task
        assert entries["classes"] == (None if net.classes is None else net.classes.tolist())
        assert entries["domain"] is None
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        for k, layer in enumerate(net.layers, start=1):
            assert weights[f"W{k}"].raw_data == layer.W.tobytes()
            assert weights[f"b{k}"].raw_data == layer.b.tobytes()
    net = fit(np.array([[1.0], [3.0], [2.0]]), np.ones(3), n_iterations=2)
    model = onnx.ModelProto.FromString(onnx_model(exportable(net)))
    (domain,) = (json.loads(entry.value) for entry in model.metadata_props if entry.key == "domain")
    assert domain == {"low": [1.0], "high": [3.0]}


BAD_UNITS = [
    ((np.zeros(1), np.array([1e-40]), np.zeros(1), np.ones(1)), r"x_std must be at least 1.2e-38 in float32"),
    ((np.zeros(1), np.ones(1), np.zeros(1), np.array([1e-50])), r"y_std must be at least 1.2e-38 in float32"),
    ((np.array([1e40]), np.ones(1), np.zeros(1), np.ones(1)), r"x_mean must be finite in float32"),
    ((np.zeros(1), np.ones(1), np.array([1e40]), np.ones(1)), r"y_mean must be finite in float32"),
    ((np.zeros(1), np.array([1e40]), np.zeros(1), np.ones(1)), r"x_std must be finite in float32"),
]


@pytest.mark.parametrize(("units", "message"), BAD_UNITS)
def test_units_that_float32_does_not_have_are_refused(units: Any, message: str, tmp_path: Path) -> None:
    net = NN(1, [2], 1, rng=1)
    net.standardization = Standardization(*units)
    with pytest.raises(InvalidArgumentError, match=message):
        onnx_model(exportable(net, "float32"))
    assert_same(net, from_onnx(written(onnx_model(exportable(net)), tmp_path)))


def test_other_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    net = classifier(NN(1, [], 1, rng=1), np.array(["a", "\ud800"]))
    with pytest.raises(
        InvalidArgumentError, match=r"net.classes must be valid Unicode strings, got \['a', '\\ud800'\]"
    ):
        onnx_model(net)
    monkeypatch.setattr("crabnet_jit.exchange.onnx_models._MAX_BYTES", 8)
    with pytest.raises(InvalidArgumentError, match="net must be smaller than 2 GB"):
        onnx_model(NN(1, [], 1, rng=1))


def test_without_onnx_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'export to .onnx needs onnx: pip install "crabnet-jit\[onnx\]"'):
        onnx_model(NN(1, [], 1, rng=1))
    with pytest.raises(ImportError, match=r'from_onnx needs onnx: pip install "crabnet-jit\[onnx\]"'):
        from_onnx(tmp_path / "net.onnx")


# ---- there and back


@pytest.mark.parametrize("dtype", DTYPES)
def test_networks_come_back(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    others = [LeakyReLU(-1e-30), ELU(1 / 3), Sine(1 / 3), Sine(1.0)]
    nets = [random_net(rng, [3, 4, 4, 2], activation, dtype) for activation in [*ACTIVATIONS, *others]]
    nets += [random_net(rng, [1, 1], "relu", dtype, None), random_net(rng, [2, 3, 1], "relu", dtype, None)]
    nets += [fit(rng.normal(1e3, 1, (30, 2)), rng.normal(size=30), n_iterations=3, dtype=dtype)]
    nets += [NN(2, [1], 1, rng=1, output_activation=activation, dtype=dtype) for activation in ACTIVATIONS]
    for net in [*nets, *classifiers(rng, dtype)]:
        assert_same(net, from_onnx(written(onnx_model(exportable(net)), tmp_path)))


def test_numbers_at_the_edges_come_back(tmp_path: Path) -> None:
    numbers = [5e-324, -5e-324, 1.7976931348623157e308, -0.0, 0.1, 2.0**-1022]
    net = NN(2, [], 2, init=numbers)
    assert_same(net, from_onnx(written(onnx_model(net), tmp_path)))


def test_float32_keeps_the_units_of_float64(tmp_path: Path) -> None:
    net = random_net(np.random.default_rng(8), [3, 4, 1], ELU(0.1))
    assert_same(
        exportable(net, "float32"), from_onnx(written(onnx_model(exportable(net, "float32")), tmp_path))
    )


STRANGE = ['"', "'", "\n", "*/", "\\", "größe ✓", "a,b", "\0", "{x}", "<!--", "%s"]


def test_names_are_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    net = random_net(rng, [len(STRANGE), 3, 2], "tanh")
    columns = Columns(tuple(map(Column, STRANGE)))
    net.schema = Schema(columns=columns, output_names=('"\n*/', "'''"))
    model = onnx_model(net)
    onnx.checker.check_model(onnx.ModelProto.FromString(model), full_check=True)
    assert_same(net, from_onnx(written(model, tmp_path)))
    x = inputs_for(rng, net)
    np.testing.assert_allclose(run(model, x)["y"], net.predict(x), rtol=1e-12)
    labels = np.unique([name for name in STRANGE if name != "\0"])  # which NumPy strips
    net = classifier(random_net(rng, [2, 3, len(labels)], "tanh"), labels)
    model = onnx_model(net)
    assert_same(net, from_onnx(written(model, tmp_path)))
    x = inputs_for(rng, net)
    np.testing.assert_array_equal(run(model, x)["label"], net.predict(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_the_operators_alone_say_what_the_network_is(activation: Any, dtype: str, tmp_path: Path) -> None:
    """Activations too that are made of several operators, and units that float32 has in two parts."""
    net = random_net(np.random.default_rng(10), [3, 4, 4, 2], activation, dtype)
    model = onnx.ModelProto.FromString(onnx_model(net))
    del model.metadata_props[:]
    other = from_onnx(written(model, tmp_path))
    assert other.parameters.tobytes() == net.parameters.tobytes()
    assert other.dtype == net.dtype
    for ours, theirs in zip(net.activations, other.activations, strict=True):
        assert theirs == type(theirs)(**{k: as_in(dtype, v) for k, v in ours.options().items()})
    assert net.standardization is not None
    assert other.standardization is not None
    for name, values in net.standardization._asdict().items():
        digits = 2e-15 if name == "x_mean" else 1e-7
        difference = np.abs(getattr(other.standardization, name) / values - 1).max()
        assert difference <= (0 if dtype == "float64" else digits)


def test_operators_that_disagree_with_the_metadata_are_refused(tmp_path: Path) -> None:
    net = classifier(random_net(np.random.default_rng(15), [3, 4, 3], "elu"), np.array([0, 1, 2]))
    model = onnx.ModelProto.FromString(onnx_model(net))
    for k, node in enumerate(model.graph.node):
        other = onnx.ModelProto.FromString(onnx_model(net))
        other.graph.node[k].op_type = "Sin" if node.op_type != "Sin" else "Exp"
        with pytest.raises(FileFormatError, match="is not a network in ONNX"):
            from_onnx(written(other, tmp_path))


def as_in(dtype: str, value: Any) -> Any:
    """A number as this type has it."""
    return float(np.dtype(dtype).type(value)) if isinstance(value, float) else value


def test_a_model_that_was_renamed_and_folded_comes_back(tmp_path: Path) -> None:
    net = random_net(np.random.default_rng(11), [3, 4, 2], "gelu")
    model = onnx.ModelProto.FromString(onnx_model(net))
    new = {node.output[0]: f"t{k}" for k, node in enumerate(model.graph.node) if node.output[0] != "y"}
    for node in model.graph.node:
        node.name = ""
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for tensor in list(model.graph.initializer)[::2]:
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    assert_same(net, from_onnx(written(model, tmp_path)))


def changed(model: Any, change: Callable[[dict[str, Any]], object]) -> Any:
    """The model with another description."""
    (entry,) = (entry for entry in model.metadata_props if entry.key == "crabnet_jit")
    values = json.loads(entry.value)
    change(values)
    entry.value = json.dumps(values)
    return model


LIES: list[Callable[[dict[str, Any]], object]] = [
    lambda values: values.update(sizes=[3, 2, 6, 3]),
    lambda values: values.update(sizes=[3, 4, 3, 1]),
    lambda values: values.update(sizes=[2**40, 2**40, 3]),
    lambda values: values.update(activations=[["relu", {}], ["identity", {}]]),
    lambda values: values.update(activations=[["elu", {"alpha": 0.5}], ["identity", {}]]),
    lambda values: values["arrays"].update(x_std=[1.0, 1.0, 2.0]),
    lambda values: values["arrays"].update(x_mean=[1e400] * 3),
    lambda values: values["schema"].update(classes=[0, 1, 3]),
    lambda values: values["schema"].update(classes=None, task="regression"),
    lambda values: values["schema"].update(task="multilabel"),
    lambda values: values.pop("arrays"),
    lambda values: values.clear(),
]


@pytest.mark.parametrize("lie", range(len(LIES)))
def test_metadata_that_disagree_with_the_operators_are_refused(lie: int, tmp_path: Path) -> None:
    net = classifier(random_net(np.random.default_rng(12), [3, 4, 3], "elu"), np.array([0, 1, 2]))
    model = onnx.ModelProto.FromString(onnx_model(net))
    assert_same(net, from_onnx(written(changed(model, lambda _: None), tmp_path)))
    with pytest.raises(FileFormatError, match="is not a network in ONNX"):
        from_onnx(written(changed(model, LIES[lie]), tmp_path))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "[" * 100_000, '{"arrays": 3}', '{"arrays": {"x": [[]]}}']
)
def test_metadata_that_are_no_description_are_refused(text: str, tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(onnx_model(NN(2, [3], 1, rng=1)))
    (entry,) = (entry for entry in model.metadata_props if entry.key == "crabnet_jit")
    entry.value = text
    with pytest.raises(FileFormatError, match="is not a network in ONNX"):
        from_onnx(written(model, tmp_path))


# ---- models of other programs

CONSTANTS: dict[str, Any] = {
    "A": np.array([[1.5, -2.0, 0.25], [0.5, 1.0, -1.25]]),
    "a": np.array([0.5, -0.25, 1.0]),
    "B": np.array([[1.0, -0.5], [0.75, 2.0], [-1.0, 0.125]]),
    "b": np.array([[3.0, -1.0]]),
    "C": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "up": np.array([[1.0], [2.0]]),
    "half": np.array(0.5),
    "one": np.array([1.0]),
    "three": np.array(3.0),
    "scales": np.array([2.0, 4.0]),
    "high": np.array([[1024.5, -3.0]]),
    "root": np.array(np.sqrt(2.0)),
    "cubic": np.array(0.044715),
    "slope": np.array(np.sqrt(2 / np.pi)),
    "zeros": np.zeros(2),
    "wide": np.zeros((2, 2)),
    "infinite": np.full(2, np.inf),
    "endless": np.full((2, 2), np.nan),
    "none": np.zeros((2, 0)),
    "row": np.array([-1, 2]),
    "kept": np.array([0, -1]),
    "column": np.array([-1, 1]),
    "yes": np.array(True),
    "no": np.array(False),
    "ratio": np.array(0.5),
}
HEAD = '<ir_version: 8, opset_import: ["" : 18]> net ({0}[batch, 2] x) => ({0}[batch, {1}] y) {{ {2} }}'


def model_of(nodes: str, dtype: str = "float64", width: int = 2) -> Any:
    """A model of these nodes, which make y of x (batch, 2), with those of CONSTANTS that they need."""
    name = {"float64": "double", "float32": "float"}[dtype]
    model = onnx.parser.parse_model(HEAD.format(name, width, nodes))
    for key in sorted({key for node in model.graph.node for key in node.input} & CONSTANTS.keys()):
        values = CONSTANTS[key]
        values = values.astype(dtype) if values.dtype.kind == "f" else values
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, key))
    return model


LAST = "y = MatMul(h, C)"
GELU_ = "d = Div(z, root) e = Erf(d) p = Add(e, one) "
#: Nodes after z = MatMul(x, C), and the activation that they are.
PATTERNS = [
    ("h = Relu(z)", ReLU()),
    ("h = LeakyRelu(z)", LeakyReLU(float(np.float32(0.01)))),
    ("h = LeakyRelu<alpha=0.25>(z)", LeakyReLU(0.25)),
    ("h = Elu<alpha=0.5>(z)", ELU(0.5)),
    ("h = Tanh(z)", Tanh()),
    ("h = Sigmoid(z)", Sigmoid()),
    ("h = Softplus(z)", Softplus()),
    ("h = Sin(z)", Sine(1.0)),
    ("a1 = Mul(three, z) h = Sin(a1)", Sine(3.0)),
    ("i = Sigmoid(z) h = Mul(z, i)", SiLU()),
    ("i = Sigmoid(z) h = Mul(i, z)", SiLU()),
    ("e = Exp(z) p = Add(e, one) h = Log(p)", Softplus()),
    (GELU_ + "m = Mul(z, p) h = Mul(m, half)", GELU()),
    (GELU_ + "m = Mul(z, p) h = Mul(half, m)", GELU()),
    (GELU_ + "m = Mul(half, z) h = Mul(m, p)", GELU()),
    (
        "q = Mul(z, z) c = Mul(z, q) k = Mul(cubic, c) i = Add(z, k) u = Mul(slope, i) t = Tanh(u) "
        "p = Add(one, t) m = Mul(half, z) h = Mul(m, p)",
        GELU("tanh"),
    ),
    (
        "c = Pow(z, three) k = Mul(cubic, c) i = Add(z, k) u = Mul(slope, i) t = Tanh(u) p = Add(t, one) "
        "m = Mul(z, p) h = Mul(half, m)",
        GELU("tanh"),
    ),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("nodes", "activation"), PATTERNS)
def test_activations_as_others_write_them(nodes: str, activation: Any, dtype: str, tmp_path: Path) -> None:
    model = model_of(f"z = MatMul(x, C) {nodes} {LAST}", dtype)
    net = from_onnx(written(model, tmp_path))
    assert net.activations == (activation, crabnet_jit.Identity())
    assert net.standardization is None
    assert_computes(net, model)


def assert_computes(net: NN, model: Any) -> None:
    """What the reference implementation of ONNX does, whose error function has the digits of float32."""
    x = np.random.default_rng(13).normal(size=(50, 2)).astype(net.dtype)
    with np.errstate(all="ignore"):
        (expected,) = reference.ReferenceEvaluator(model).run(None, {"x": x})
    found = net.predict(x) if net.classes is None else net.predict_proba(x)
    is_rough = net.dtype == np.float32 or any(activation.name == "gelu" for activation in net.activations)
    tolerance = 1e-5 if is_rough else 1e-13
    assert expected.shape == found.shape
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_the_operator_gelu(tmp_path: Path) -> None:
    for options, activation in (("", GELU()), ('<approximate="tanh">', GELU("tanh"))):
        model = model_of(f"z = MatMul(x, C) h = Gelu{options}(z) {LAST}")
        model.opset_import[0].version = 20
        net = from_onnx(written(model, tmp_path))
        assert net.activations[0] == activation
        assert_computes(net, model)


#: Nodes, and how many outputs there are.
CHAINS = [
    ("y = MatMul(x, C)", 2),
    ("h = MatMul(x, C) y = Add(h, b)", 2),
    ("h = MatMul(x, C) y = Add(b, h)", 2),
    ("h = MatMul(x, C) y = Add(h, one)", 2),
    ("h = MatMul(x, C) y = Add(h, half)", 2),
    ("y = Gemm(x, A, a)", 3),
    ("y = Gemm<transB=1>(x, B, a)", 3),
    ("y = Gemm<alpha=0.5, beta=-2.0>(x, A, a)", 3),
    ("y = Gemm(x, C, b)", 2),
    ("y = Gemm(x, C, half)", 2),
    ("h = Gemm(x, C) y = Add(b, h)", 2),
    ("t = Transpose(B) y = MatMul(x, t)", 3),
    ("t = Transpose<perm=[1, 0]>(B) y = MatMul(x, t)", 3),
    ("g = Gemm(x, A, a) h = MatMul(g, B) y = Add(h, b)", 2),
    ("g = Gemm(x, A, a) t = Tanh(g) h = MatMul(t, B) p = Add(h, b) y = Sigmoid(p)", 2),
    ("i = Identity(x) d, m = Dropout(i, ratio, no) g = Gemm(d, A, a) y = Dropout(g)", 3),
    ("c = Cast<to=11>(x) f = Flatten(c) r = Reshape(f, row) k = Reshape(r, kept) y = MatMul(k, C)", 2),
    ("s = Sub(x, high) z = Div(s, scales) y = MatMul(z, C)", 2),
    ("s = Sub(x, high) z = Mul(s, half) y = MatMul(z, C)", 2),
    ("s = Add(high, x) z = Div(s, three) y = MatMul(z, C)", 2),
    ("s = Mul(x, scales) z = Add(s, high) y = MatMul(z, C)", 2),
    ("s = Sub(x, high) z = Sub(s, half) y = MatMul(z, C)", 2),
    ("h = Gemm(x, C, b) s = Mul(scales, h) y = Add(s, high)", 2),
    ("h = MatMul(x, C) s = Mul(h, three) y = Sub(s, high)", 2),
    ("h = Gemm(x, C, b) s = Add(h, high) y = Div(s, scales)", 2),
    ("h = Gemm(x, C, b) t = Tanh(h) s = Mul(t, scales) y = Add(s, high)", 2),
    ("s = Sub(x, high) h = Gemm(s, C, b) y = Mul(h, three)", 2),
    ("h = Gemm(x, A, a) y = Softmax(h)", 3),
    ("s = Sub(x, high) h = Gemm(s, A, a) y = Softmax<axis=1>(h)", 3),
    ("h = Gemm(x, A, a) t = Tanh(h) y = Softmax(t)", 3),
]


@pytest.mark.parametrize(("nodes", "width"), CHAINS)
def test_chains_as_others_write_them(nodes: str, width: int, tmp_path: Path) -> None:
    model = model_of(nodes, width=width)
    onnx.checker.check_model(model, full_check=True)
    net = from_onnx(written(model, tmp_path))
    assert_computes(net, model)
    assert (net.classes is None) != ("Softmax" in nodes)
    if net.classes is not None:
        assert net.classes.tolist() == [0, 1, 2]
    assert_same(net, from_onnx(written(onnx_model(net), tmp_path)))


def test_tensors_as_others_write_them(tmp_path: Path) -> None:
    """Numbers that are not raw, constants that are inputs too or nodes, an input of an unknown shape."""
    model = model_of(
        "m = Constant<value_float=2.0>() s = Sub(x, m) h = MatMul(s, C) y = Add(h, b)", "float32"
    )
    for tensor in model.graph.initializer:
        numbers = onnx.numpy_helper.to_array(tensor)
        shape = model.graph.input.add(name=tensor.name)
        shape.type.CopyFrom(onnx.helper.make_tensor_type_proto(tensor.data_type, numbers.shape))
        tensor.CopyFrom(
            onnx.helper.make_tensor(tensor.name, tensor.data_type, numbers.shape, numbers.ravel())
        )
    model.graph.input[0].type.tensor_type.ClearField("shape")
    net = from_onnx(written(model, tmp_path))
    assert net.dtype == np.float32
    assert net.layers[0].W.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert net.layers[0].b.ravel().tolist() == [3.0, -1.0]
    assert net.standardization is not None
    assert net.standardization.x_mean.tolist() == [2.0, 2.0]


REFUSED = [
    ("y = MatMul(C, x)", "MatMul 'y': not an operation on the value before and one constant"),
    ("y = MatMul(x, x)", "MatMul 'y': not an operation on the value before and one constant"),
    ("y = Gemm<transA=1>(x, C)", "transA 1"),
    ("h = MatMul(x, C) y = MatMul(h, B)", "MatMul 'y': weights of 3 features after 2"),
    ("y = MatMul(x, zeros)", r"weights of shape \(2,\)"),
    ("y = MatMul(x, none)", r"weights of shape \(2, 0\)"),
    ("y = MatMul(x, endless)", "the parameters must be finite"),
    ("h = MatMul(x, C) y = Add(h, infinite)", "Add 'y': a constant that is not finite"),
    ("h = MatMul(x, C) y = Add(h, wide)", r"Add 'y': a constant of shape \(2, 2\) for 2 features"),
    ("h = MatMul(x, C) y = Add(h, a)", r"Add 'y': a constant of shape \(3,\) for 2 features"),
    ("h = MatMul(x, C) y = Add(h, h)", "Add 'y': not an operation on the value before and one constant"),
    ("h = MatMul(x, C) y = Add(h, x)", "Add 'y': not an operation on the value before and one constant"),
    ("h = MatMul(x, C) y = Add(h, row)", "Add 'y': a constant of int64 with numbers of float64"),
    ("h = MatMul(x, C) y = Sub(b, h)", "Sub 'y': not an operation on the value before and one constant"),
    ("h = MatMul(x, C) y = Div(b, h)", "Div 'y': not an operation on the value before and one constant"),
    ("y = Tanh(x)", "Tanh 'y': not right after a linear layer"),
    ("y = Identity(x)", "without linear layers"),
    ("y = Identity(C)", "not an operator of such a chain"),
    ("h = MatMul(C, C) y = Tanh(h)", "MatMul 'h': not an operation on the value before and one constant"),
    ("h = Relu(C) y = MatMul(h, C)", "Relu 'h': made of constants only"),
    ("h = MatMul(x, C) t = Tanh(h) y = Relu(t)", "Relu 'y': not right after a linear layer"),
    ("h = Gemm(x, C, b) s = Mul(h, three) y = Tanh(s)", "Tanh 'y': not right after"),
    ("h = Gemm(x, C, b) s = Mul(h, three) y = MatMul(s, C)", "Mul 's': between two linear layers"),
    ("h = Gemm(x, C, b) s = Mul(h, three) y = Softmax(s)", "Mul 's': between the last layer and a Softmax"),
    ("h = Gemm(x, C, b) s = Softmax(h) y = Mul(s, three)", "Softmax 's': not the last operator"),
    ("s = Softmax(x) y = MatMul(s, C)", "Softmax 's': not the last operator"),
    ("h = Gemm(x, C, b) y = Softmax<axis=0>(h)", "Softmax 'y': not over several outputs"),
    ("h = MatMul(x, up) y = Softmax(h)", "Softmax 'y': not over several outputs"),
    ("h = MatMul(x, C) y = Mul(h, zeros)", "Mul 'y': a scale that is not above 0"),
    ("s = Div(x, zeros) y = MatMul(s, C)", "Div 's': a scale that is not above 0"),
    ("s = Sub(x, infinite) y = MatMul(s, C)", "Sub 's': a constant that is not finite"),
    ("s = Mul(x, three) y = MatMul(s, C)", "Mul 's': .*not exact in float64"),
    ("s = Sub(x, root) t = Add(s, cubic) y = MatMul(t, C)", "Add 't': .*not exact in float64"),
    ("h = Gemm(x, C, b) s = Div(h, three) y = Add(s, one)", "Div 's': .*not exact in float64"),
    (
        " ".join(f"s{k + 1} = Add(s{k}, one)" for k in range(11)).replace("s0", "x") + " y = MatMul(s11, C)",
        "one of 11",
    ),
    ("h = MatMul(x, C) y = Reshape(h, column)", "Reshape 'y': another shape"),
    ("h = MatMul(x, C) y = Reshape<allowzero=1>(h, kept)", "Reshape 'y': another shape"),
    ("h = MatMul(x, C) y = Reshape(h, x)", "Reshape 'y': another shape"),
    ("h = MatMul(x, C) y = Flatten<axis=0>(h)", "Flatten 'y': another shape"),
    ("h = MatMul(x, C) y = Transpose(h)", "Transpose 'y': not an operator of such a chain"),
    ("h = MatMul(x, C) y = Selu(h)", "Selu 'y': not an operator of such a chain"),
    ("c = Cast<to=1>(x) y = MatMul(c, C)", "a constant of float64 with numbers of float32"),
    ("h = MatMul(x, C) y = Cast<to=1>(h)", "Cast 'y': not an operator of such a chain"),
    ("h = MatMul(x, C) y = Cast<to=16>(h)", "Cast 'y' of type 16, known are FLOAT"),
    ("h = MatMul(x, C) y = Cast<to=99>(h)", "Cast 'y' of type 99, known are FLOAT"),
    ("h = MatMul(x, C) y, m = Dropout(h, ratio, yes)", "Dropout 'y': not an operator of such a chain"),
    ("h = MatMul(x, C) y = Tanh<alpha=1.0>(h)", r"Tanh 'y': with \['alpha'\]"),
    ('h = MatMul(x, C) y = Gelu<approximate="x">(h)', "approximate must be one of"),
    (
        "s = Sub(zeros, three) h = MatMul(x, C) p = Mul(h, s) y = Sin(p)",
        "Mul 'p': not an operation on the value before and one constant",
    ),
    ("h = MatMul(x, C) y = Tanh(h, C)", "Tanh 'y': of 2 inputs"),
    ("h = Add(x, C, C) y = Tanh(h)", "Add 'h': of 3 inputs"),
    ("h = MatMul(x) y = Tanh(h)", "MatMul 'h': of 1 inputs"),
    ("h = Gemm(x, C, b, b) y = Tanh(h)", "Gemm 'h': of 4 inputs"),
    ("h = MatMul(x, C) y = Reshape(h)", "Reshape 'y': of 1 inputs"),
    ("h = MatMul(x, C) s = Mul(h, zeros) y = Sin(s)", "not right after"),
    ("h = MatMul(x, C) y, z = Split(h)", "Split 'y' with 2 outputs"),
    ("y = RandomNormal<shape=[2, 2]>()", "RandomNormal 'y' without inputs"),
    ('y = Constant<value_string="x">()', "Constant 'y' with 'value_string'"),
    ("h = MatMul(x, C) y = other.Tanh(h)", "Tanh 'y' of the domain 'other'"),
    ("h = MatMul(x, missing) y = Tanh(h)", "MatMul 'h' needs 'missing', which no earlier node computes"),
    ("y = Tanh(h) h = MatMul(x, C)", "MatMul 'h', which leads to no output"),
    ("h = MatMul(y, C) y = Tanh(h)", "MatMul 'h' needs 'y', which no earlier node computes"),
    ("h = MatMul(x, C) h = Tanh(h) y = MatMul(h, C)", "a tensor named 'h', which is empty or taken"),
    ("x = MatMul(x, C) y = Tanh(x)", "a tensor named 'x', which is empty or taken"),
    ("h = MatMul(x, C) z = Relu(h) y = Tanh(h)", "Relu 'z', which leads to no output"),
    ("h = MatMul(x, C)", "MatMul 'h', which leads to no output"),
]


@pytest.mark.parametrize(("nodes", "message"), REFUSED)
def test_what_is_no_such_chain_is_refused(nodes: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=rf"net\.onnx is not a network in ONNX \(.*{message}"):
        from_onnx(written(model_of(nodes), tmp_path))


def with_external_data(model: Any, place: Path) -> None:
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, str(place))
    tensor.ClearField("raw_data")


def with_subgraph(model: Any, place: Path) -> None:
    node = model.graph.node[0]
    node.attribute.append(onnx.helper.make_attribute("then_branch", onnx.GraphProto()))


HOSTILE: list[tuple[Callable[[Any, Path], Any], str]] = [
    (with_external_data, "a tensor 'C' whose numbers are in another file"),
    (with_subgraph, "MatMul 'y' with 'then_branch', which is not a number or string"),
    (lambda model, _: model.functions.add(name="f"), "a model with functions"),
    (lambda model, _: model.training_info.add(), "a model with functions"),
    (lambda model, _: model.graph.sparse_initializer.add(), "a model with functions"),
    (lambda model, _: model.ClearField("graph"), "a model with 0 inputs"),
    (lambda model, _: model.ClearField("opset_import"), r"a model with opset \[\]"),
    (lambda model, _: model.opset_import.add(domain="ai.onnx", version=18), r"a model with opset \[18, 18\]"),
    (
        lambda model, _: setattr(model.opset_import[0], "version", 6),
        r"a model with opset \[6\], known are 7 to",
    ),
    (lambda model, _: setattr(model.opset_import[0], "version", 10**6), r"a model with opset \[1000000\]"),
    (lambda model, _: model.graph.input.add(name="z"), r"a model with 2 inputs, \['x', 'z'\]"),
    (lambda model, _: model.graph.output.add(name="x"), r"a model with 2 outputs, \['y', 'x'\]"),
    (lambda model, _: model.graph.output.add(name="z"), "the model needs 'z'"),
    (
        lambda model, _: model.graph.initializer.append(model.graph.initializer[0]),
        "a tensor named 'C', which is empty or taken",
    ),
    (lambda model, _: setattr(model.graph.input[0].type.tensor_type, "elem_type", 10), "an input of type 10"),
    (lambda model, _: setattr(model.graph.input[0].type.tensor_type, "elem_type", 7), "an input of int64"),
    (
        lambda model, _: setattr(model.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 5),
        "MatMul 'y': weights of 2 features after 5",
    ),
    (lambda model, _: model.graph.input[0].type.tensor_type.shape.dim.add(), "an input of"),
    (lambda model, _: setattr(model.graph.initializer[0], "data_type", 10), "a tensor 'C' of type 10"),
    (
        lambda model, _: setattr(model.graph.initializer[0], "data_type", 8),
        r"a tensor 'C' of shape \(2, 2\) with 0",
    ),
    (
        lambda model, _: model.graph.initializer[0].dims.append(2**40),
        r"a tensor 'C' of shape .* with 4 numbers",
    ),
    (lambda model, _: model.graph.initializer[0].dims.append(0), r"a tensor 'C' of shape .* with 4 numbers"),
    (
        lambda model, _: model.graph.initializer[0].dims.extend([-1, -1]),
        r"a tensor 'C' of shape .* with 4 numbers",
    ),
    (lambda model, _: setattr(model.graph.initializer[0], "raw_data", b"123"), "buffer size"),
    (lambda model, _: model.graph.node[0].ClearField("output"), "leads to no output"),
]


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_hostile_models_are_refused(case: int, tmp_path: Path) -> None:
    change, message = HOSTILE[case]
    (tmp_path / "numbers").write_bytes(bytes(32))
    model = model_of("y = MatMul(x, C)")
    from_onnx(written(model, tmp_path))
    change(model, tmp_path / "numbers")
    with pytest.raises(FileFormatError, match=rf"net\.onnx is not a network in ONNX \(.*{message}"):
        from_onnx(written(model, tmp_path))


def test_a_false_pattern_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GELU in whose series each step takes the last one twice: ways to try would double at every step."""
    model = onnx.ModelProto.FromString(onnx_model(NN(1, [1], 1, rng=1, activation="gelu")))
    del model.metadata_props[:]
    operator = {node.output[0]: node.op_type for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type == "Mul" and [operator.get(name) for name in node.input] == ["Add", "Div"]:
            node.input[1] = node.input[0]
    tries = []
    match = onnx_chains._match

    def counted(*arguments: Any) -> Any:
        tries.append(1)
        assert len(tries) < 10_000
        return match(*arguments)

    monkeypatch.setattr(onnx_chains, "_match", counted)
    with pytest.raises(FileFormatError, match="not an operation on the value before and one constant"):
        from_onnx(written(model, tmp_path))
    assert len(tries) > 10


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"PK\x03\x04", b"x,y\n1,2\n", b"\x08", np.random.default_rng(0).bytes(1000)]
)
def test_other_files_are_no_networks(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"net\.onnx is not a network in ONNX"):
        from_onnx(written(content, tmp_path))


def test_folders_are_no_networks_and_what_is_missing_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileFormatError, match="not a file"):
        from_onnx(tmp_path)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "net.onnx")
    with pytest.raises(InvalidArgumentError, match="path must be a path"):
        from_onnx(None)  # type: ignore[arg-type]
    monkeypatch.setattr("crabnet_jit.exchange.onnx_files._MAX_BYTES", 100)
    with pytest.raises(FileFormatError, match="more than ONNX files have"):
        from_onnx(written(bytes(101), tmp_path))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:lbfgs failed")
def test_estimators_of_scikit_learn_come_through_onnx(activation: str, dtype: str, tmp_path: Path) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    neural_network = pytest.importorskip("sklearn.neural_network")
    x = np.random.default_rng(14).normal(size=(60, 3)).astype(dtype)
    estimator = neural_network.MLPRegressor(
        hidden_layer_sizes=(5, 4), activation=activation, max_iter=20, random_state=0
    ).fit(x.astype(np.float64), x[:, 0].astype(np.float64))
    net = from_onnx(written(skl2onnx.to_onnx(estimator, x[:1]), tmp_path))
    assert net.hidden_sizes == [5, 4]
    assert net.dtype == dtype
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(net.predict(x)[:, 0], estimator.predict(x), rtol=tolerance, atol=tolerance)


# ---- damage


class Opened:
    """Files that are opened while it counts."""

    def __init__(self) -> None:
        self.paths: list[str] | None = None
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: Any) -> None:
        if event == "open" and self.paths is not None:
            self.paths.append(str(arguments[0]))

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[str]]:
        found: list[str] = []
        self.paths = found
        try:
            yield found
        finally:
            self.paths = None


OPENED = Opened()


def damaged(rng: Any, content: bytes) -> bytes:
    """Some bits, or a piece that is missing, doubled or from elsewhere."""
    data = bytearray(content)
    start, end = sorted(int(k) for k in rng.integers(0, len(data) + 1, 2))
    piece = data[start : min(end, start + 40)]
    match rng.integers(5):
        case 0:
            for place in rng.integers(0, len(data), rng.integers(1, 4)):
                data[place] ^= 1 << int(rng.integers(8))
        case 1:
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        case 2:
            del data[start : start + len(piece)]
        case 3:
            data[start:start] = piece
        case 4:
            place = int(rng.integers(len(data)))
            data[place : place + len(piece)] = piece
    return bytes(data)


def survive(seed: int, n_tries: int, folder: Path) -> int:
    """Read damaged models; how many were refused."""
    rng = np.random.default_rng(seed)
    own = [net for net in classifiers(rng, "float64") if net.out_features < 4][:3]
    own += [random_net(rng, [2, 3, 2], activation, "float32") for activation in ("elu", "gelu", "tanh")]
    contents = [onnx_model(exportable(net)) for net in own]
    contents += [model_of(nodes, width=width).SerializeToString() for nodes, width in CHAINS]
    contents += [model_of(f"z = MatMul(x, C) {nodes} {LAST}").SerializeToString() for nodes, _ in PATTERNS]
    refused = 0
    for k in range(n_tries):
        content = damaged(rng, contents[k % len(contents)])
        path = written(content, folder)
        tracemalloc.start()
        try:
            with OPENED.counted() as opened:
                net = from_onnx(path)
        except FileFormatError:
            refused += 1
        else:
            assert np.isfinite(net.parameters).all()
            assert_same(net, from_onnx(written(onnx_model(net), folder)))
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert opened == [str(path)]
        assert peak < 4e6 + 200 * len(content)
    return refused


def test_damaged_models_are_refused_or_networks(tmp_path: Path) -> None:
    assert survive(0, 500, tmp_path) > 100


@pytest.mark.slow
def test_many_damaged_models_are_refused_or_networks(tmp_path: Path) -> None:
    assert sum(survive(seed, 2000, tmp_path) for seed in range(1, 6)) > 2000
