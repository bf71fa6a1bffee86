"""Networks in files of safetensors: those of our own come back whole, and damaged ones are refused."""

import contextlib
import json
import os
import re
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from crabnet_jit import (
    ACTIVATIONS,
    ELU,
    GELU,
    NN,
    FileFormatError,
    InvalidArgumentError,
    LeakyReLU,
    Sine,
    fit,
    from_safetensors,
)
from crabnet_jit.exchange import safetensors_files
from crabnet_jit.exchange.safetensors_files import safetensors_file

numpy_files = pytest.importorskip("safetensors.numpy")
pandas = pytest.importorskip("pandas")
rng = np.random.default_rng(0)
X = rng.uniform(0, 10, (60, 2))


def own_networks() -> dict[str, NN]:
    """Of all kinds."""
    options: Any = {"hidden_sizes": (5, 4), "n_iterations": 50, "seed": 1}
    frame = pandas.DataFrame({"length": X[:, 0], "colour": ["red", "blue"] * 30})
    texts = [f"class {k % 3}" for k in range(60)]
    return {
        "regression": fit(X, X[:, 0], **options),
        "several outputs": fit(X, X**2, **options),
        "float32": fit(X, X[:, 0], dtype="float32", **options),
        "classification": fit(X, texts, **options),
        "two classes": fit(X, X[:, 0] > 5, **options),
        "multilabel": fit(X, X > 5, loss="binary_cross_entropy", **options),
        "columns": fit(frame, pandas.DataFrame({"weight": X[:, 1]}), **options),
        "bare": NN(3, [], 2, rng=1),
        "activations": NN(
            2,
            [2] * (len(ACTIVATIONS) + 3),
            1,
            rng=1,
            activation=[*ACTIVATIONS, GELU("tanh"), LeakyReLU(0.3), ELU(0.1)],
            output_activation=Sine(1.5),
            init="glorot_uniform",
        ),
    }


NETS = own_networks()


def header_of(content: bytes) -> Any:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length])


def with_header(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """The content of a file."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: Any = (1,), offsets: Any = (0, 8), dtype: str = "F64") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def arrays(*sizes: int, names: str = "{}", step: int = 2, dtype: DTypeLike = np.float64) -> dict[str, Any]:
    """Tensors of a Sequential with layers of these widths."""
    result = {}
    for k in range(len(sizes) - 1):
        name = names.format(step * k)
        result[f"{name}.weight"] = rng.normal(size=(sizes[k + 1], sizes[k])).astype(dtype)
        result[f"{name}.bias"] = rng.normal(size=sizes[k + 1]).astype(dtype)
    return result


def test_numbers_begin_at_multiples_of_eight_bytes() -> None:
    for net in NETS.values():
        assert struct.unpack("<Q", safetensors_file(net)[:8])[0] % 8 == 0


def written(path: Path, tensors: dict[str, Any], **metadata: str) -> Path:
    numpy_files.save_file(tensors, path, metadata)
    return path


# ---- our own ----


@pytest.mark.parametrize("name", NETS)
def test_a_network_comes_back_whole(name: str, tmp_path: Path) -> None:
    net, path = NETS[name], tmp_path / "net.safetensors"
    path.write_bytes(safetensors_file(net))
    other = from_safetensors(path)
    assert other.parameters.tobytes() == net.parameters.tobytes()
    assert other.spec == net.spec
    assert (other.input_names, other.output_names) == (net.input_names, net.output_names)
    assert other.schema.values() == net.schema.values()
    assert (
        (other.standardization is None) == (net.standardization is None) == (name in ("bare", "activations"))
    )
    for mine, given_ in ((other.standardization, net.standardization), (other.domain, net.domain)):
        for part, kept in zip(mine or (), given_ or (), strict=True):
            assert part.tobytes() == kept.tobytes()
    if name != "columns":
        x = X[:, :1].repeat(net.in_features, axis=1)
        assert np.array_equal(other.predict(x), net.predict(x))
    assert safetensors_file(other) == safetensors_file(net)


@pytest.mark.parametrize("name", NETS)
def test_the_tensors_are_those_of_a_sequential(name: str) -> None:
    net = NETS[name]
    content = safetensors_file(net)
    tensors = numpy_files.load(content)
    names = [f"{2 * k}.{part}" for k in range(len(net.layers)) for part in ("weight", "bias")]
    assert sorted(tensors) == sorted(names)
    for k, layer in enumerate(net.layers):
        assert tensors[f"{2 * k}.weight"].dtype == tensors[f"{2 * k}.bias"].dtype == net.dtype
        assert np.array_equal(tensors[f"{2 * k}.weight"], layer.weight)
        assert np.array_equal(tensors[f"{2 * k}.bias"], layer.bias)
    metadata = header_of(content)["__metadata__"]
    assert metadata["format"] == "pt"
    assert json.loads(metadata["input_names"]) == net.input_names
    assert json.loads(metadata["output_names"]) == net.output_names
    assert json.loads(metadata["activations"]) == [activation.name for activation in net.activations]


def test_activations_are_not_given_for_a_file_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors_file(NETS["regression"]))
    for options in ({"activation": "tanh"}, {"output_activation": "tanh"}):
        with pytest.raises(InvalidArgumentError, match="activation and output_activation must be left out"):
            from_safetensors(path, **options)


def test_a_network_whose_description_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = safetensors_file(NETS["columns"])
    (length,) = struct.unpack("<Q", content[:8])
    monkeypatch.setattr(safetensors_files, "_LONGEST", length)
    assert safetensors_file(NETS["columns"]) == content
    monkeypatch.setattr(safetensors_files, "_LONGEST", length - 1)
    message = f"^net must be described by at most {length - 1} bytes of text, got {length}$"
    with pytest.raises(InvalidArgumentError, match=message):
        safetensors_file(NETS["columns"])


def test_without_safetensors_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    message = r'^from_safetensors needs safetensors: pip install "crabnet-jit\[safetensors\]"$'
    with pytest.raises(ImportError, match=message):
        from_safetensors(tmp_path / "net.safetensors")


# ---- those of others ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("names", "step"),
    [
        ("{}", 2),
        ("net.{}", 2),
        ("linear_relu_stack.{}", 2),
        ("fc{}", 1),
        ("a.b.layer{}.linear", 1),
        ("{}", 1),
    ],
)
def test_layers_are_in_the_order_of_their_numbers(names: str, step: int, dtype: str, tmp_path: Path) -> None:
    sizes = [2, *[3] * 11, 1]  # more than ten, so that 10 comes after 9
    tensors = arrays(*sizes, names=names, step=step, dtype=dtype)
    net = from_safetensors(written(tmp_path / "net", tensors), activation="tanh", output_activation="sigmoid")
    assert net.spec.sizes == tuple(sizes)
    assert net.dtype == dtype
    assert np.array_equal(net.parameters, np.concatenate([part.ravel() for part in tensors.values()]))
    assert [activation.name for activation in net.activations] == ["tanh"] * 11 + ["sigmoid"]
    assert (net.standardization, net.domain, net.classes) == (None, None, None)


def test_activations_of_a_file_of_another_program(tmp_path: Path) -> None:
    path = written(tmp_path / "net", arrays(2, 3, 4, 1), format="pt")
    assert from_safetensors(path, activation=["relu", Sine(2.0)]).activations[1] == Sine(2.0)
    with pytest.raises(InvalidArgumentError, match="activation must be given for a file of another program"):
        from_safetensors(path)
    with pytest.raises(
        InvalidArgumentError, match="activation must be one, or one for each of 2 hidden layers"
    ):
        from_safetensors(path, activation=["relu"])
    with pytest.raises(
        InvalidArgumentError, match=r"output_activation must be one of .* did you mean 'tanh'"
    ):
        from_safetensors(path, activation="relu", output_activation="tahn")


def test_a_single_layer_needs_no_activation(tmp_path: Path) -> None:
    W, b = np.array([[1.0, 2.0]]), np.array([3.0])
    net = from_safetensors(written(tmp_path / "net", {"weight": W, "bias": b}))
    assert net.predict([[1.0, 1.0]]) == 6.0
    assert from_safetensors(written(tmp_path / "net", {"weight": W})).predict([[1.0, 1.0]]) == 3.0


def without(tensors: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in tensors.items() if other != name}


W, B = np.ones((3, 2)), np.ones(3)
WRONG_TENSORS: list[tuple[dict[str, Any], str]] = [
    ({**arrays(2, 3, 1), "standardize.mean": B}, "'standardize.mean' is not a weight or bias"),
    ({"0.running_mean": B}, "'0.running_mean' is not a weight or bias"),
    ({"": B}, "'' is not a weight or bias"),
    (without(arrays(2, 3, 1), "2.weight"), "'2.weight' is not a matrix"),
    ({"bias": B}, "'weight' is not a matrix"),
    ({"0.weight": B}, "'0.weight' is not a matrix"),
    ({"0.weight": np.ones((3, 2, 1))}, r"'0.weight' of shape \(3, 2, 1\)"),
    ({"0.weight": np.array(1.0)}, r"'0.weight' of shape \(\)"),
    ({"0.weight": np.ones((3, 0))}, r"'0.weight' of shape \(3, 0\)"),
    ({"0.weight": W, "0.bias": np.ones(4)}, r"'0.bias' of shape \(4,\) for '0.weight' of shape \(3, 2\)"),
    ({"0.weight": W, "0.bias": np.ones((3, 1))}, r"'0.bias' of shape \(3, 1\)"),
    ({"0.weight": W, "2.weight": W}, "'2' takes 2 inputs, '0' gives 3"),
    ({"0.weight": W, "0.bias": B.astype(np.float32)}, "'0.bias' has a different type than '0'"),
    ({"0.weight": W, "0.bias": B.astype(np.float16)}, "'0.bias' is of type F16, not F64 or F32"),
    ({"0.weight": W.astype(int)}, "'0.weight' is of type I64"),
    (
        {"0.weight": W, "0.bias": np.array([1.0, np.nan, 1.0])},
        r"'0.bias' must be finite, got nan at index \(1,\)",
    ),
    ({"0.weight": np.full((3, 2), -np.inf)}, "'0.weight' must be finite, got -inf"),
    ({"input.weight": np.ones((2, 2)), "output.weight": np.ones((2, 2))}, "have no numbers for their order"),
    (
        {"fc1.weight": np.ones((2, 2)), "out.weight": np.ones((2, 2))},
        "have no numbers for their order.*'fc1', 'out'",
    ),
    ({"fc1.weight": np.ones((2, 2)), "fc01.weight": np.ones((2, 2))}, "have no numbers for their order"),
]


@pytest.mark.parametrize(("tensors", "reason"), WRONG_TENSORS, ids=range(len(WRONG_TENSORS)))
def test_tensors_that_are_no_network_are_refused(
    tensors: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "net.safetensors", tensors)
    with pytest.raises(FileFormatError, match=rf"^{re.escape(str(path))} is not a network .*{reason}"):
        from_safetensors(path, activation="relu")


def test_types_that_numpy_does_not_have_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    for dtype, size in (("BF16", 2), ("F8_E4M3", 1)):
        path.write_bytes(with_header({"0.weight": tensor((1, 1), (0, size), dtype)}, b"\0" * size))
        with pytest.raises(FileFormatError, match=f"'0.weight' is of type {dtype}"):
            from_safetensors(path)


# ---- and what is wrong ----

NUMBER = b"\0" * 8
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "too short for a length": b"1234567",
    "no tensors": with_header({}),
    "a header of no length": with_header(b""),
    "a header longer than the file": with_header({}, length=3),
    "the longest header": with_header({}, length=2**64 - 1),
    "no object": with_header([]),
    "deeply nested": with_header(b'{"a":' + b"[" * 10**5),
    "no text": with_header(b'{"\xff": 1}'),
    "no shape": with_header({"weight": {"dtype": "F64", "data_offsets": [0, 8]}}, NUMBER),
    "a negative shape": with_header({"weight": tensor((-1, -1))}, NUMBER),
    "a shape of fractions": with_header({"weight": tensor((1.0, 1.0))}, NUMBER),
    "a product of 0 by overflow": with_header({"weight": tensor((2**32, 2**32), (0, 0))}),
    "a huge shape of 0 numbers": with_header({"weight": tensor((0, 2**63), (0, 0))}),
    "another size than its shape": with_header({"weight": tensor((1, 2))}, NUMBER),
    "offsets beyond the end": with_header({"weight": tensor((2, 1), (0, 16))}, NUMBER),
    "offsets backwards": with_header({"weight": tensor((1, 1), (8, 0))}, NUMBER),
    "negative offsets": with_header({"weight": tensor((1, 1), (-8, 0))}, NUMBER),
    "huge offsets": with_header({"weight": tensor((1, 1), (2**64 - 8, 2**64))}, NUMBER),
    "overlapping": with_header({"weight": tensor((1, 1)), "bias": tensor()}, NUMBER),
    "a gap": with_header({"weight": tensor((1, 1), (8, 16))}, NUMBER * 2),
    "a rest": with_header({"weight": tensor((1, 1))}, NUMBER * 2),
    "an unknown type": with_header({"weight": tensor((1, 1), dtype="object")}, NUMBER),
    "metadata of numbers": with_header(
        {"__metadata__": {"crabnet_jit": 1}, "weight": tensor((1, 1))}, NUMBER
    ),
    "metadata that is no object": with_header({"__metadata__": ["x"], "weight": tensor((1, 1))}, NUMBER),
    "many dimensions": with_header({"weight": tensor((1,) * 1000)}, NUMBER),
    "an npz": b"PK\x03\x04" + NUMBER * 9,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_are_something_else_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(FileFormatError, match=f"^{re.escape(str(path))} is not a network in safetensors"):
        from_safetensors(path)


def test_a_length_that_is_claimed_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(with_header({}, length=90_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="too short for a header of the length that it claims"):
            from_safetensors(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def described(change: Any) -> bytes:
    """A file of ours with a change of its description."""
    content = safetensors_file(NETS["classification"])
    header = header_of(content)
    data = content[8 + struct.unpack("<Q", content[:8])[0] :]
    values = json.loads(header["__metadata__"]["crabnet_jit"])
    header["__metadata__"]["crabnet_jit"] = (
        change if isinstance(change, str) else json.dumps({**values, **change})
    )
    return with_header(header, data)


WRONG_DESCRIPTIONS: dict[str, Any] = {
    "no JSON": "{",
    "no object": "[]",
    "deeply nested": "[" * 10**5,
    "other sizes": {"sizes": [2, 4, 5, 3]},
    "the sizes of other layers": {"sizes": [7, 3, 4, 2]},
    "huge sizes": {"sizes": [2**62, 2**62]},
    "no sizes": {"sizes": None},
    "an unknown activation": {"activations": [["exec", {}]] * 3},
    "unknown options": {"activations": [["tanh", {"x": 1}]] * 3},
    "no schema": {"schema": None},
    "unknown arrays": {"arrays": {"x": [1.0]}},
    "half a standardisation": {"arrays": {"x_mean": [0.0, 0.0]}},
    "a standardisation that is not finite": {
        "arrays": {"x_mean": [float("nan"), 0.0], "x_std": [1, 1], "y_mean": [0] * 3, "y_std": [1] * 3}
    },
}


@pytest.mark.parametrize("name", WRONG_DESCRIPTIONS)
def test_descriptions_are_not_believed(name: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(described({}))
    assert from_safetensors(path).classes is not None
    path.write_bytes(described(WRONG_DESCRIPTIONS[name]))
    with pytest.raises(FileFormatError, match="is not a network in safetensors"):
        from_safetensors(path)


def test_a_description_of_other_layers_with_as_many_parameters_is_refused(tmp_path: Path) -> None:
    content = safetensors_file(NN(4, [], 1, rng=1))
    metadata = header_of(content)["__metadata__"]
    path = written(tmp_path / "net", arrays(2, 1, 1), **metadata)
    with pytest.raises(FileFormatError, match=r"tensors of layers \(2, 1, 1\), described as \(4, 1\)"):
        from_safetensors(path)


def test_files_that_cannot_be_read_are_errors_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        from_safetensors(tmp_path / "nothing.safetensors")
    with pytest.raises(FileFormatError, match="not a file"):
        from_safetensors(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileFormatError, match="not a file"):  # reading would wait for a writer
            from_safetensors(tmp_path / "pipe")


def loaded(path: Path) -> NN | None:
    """The network in a file; None if it is refused. A changed byte may make it another program's."""
    with contextlib.suppress(FileFormatError):
        with contextlib.suppress(InvalidArgumentError):
            return from_safetensors(path)
        return from_safetensors(path, activation="relu")
    return None


def is_refused(path: Path, content: bytes) -> bool:
    """Whether a file is, in little memory; if it is not, its network works."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        net = loaded(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 + 100 * len(content)
    finally:
        tracemalloc.stop()
    if net is not None:
        assert np.isfinite(net.parameters).all()
        net.forward(np.ones((2, net.in_features)))
    return net is None


@pytest.mark.parametrize("name", ["regression", "float32", "columns"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_with_other_bytes_are_refused_or_networks(name: str, tmp_path: Path, data: Any) -> None:
    content = bytearray(safetensors_file(NETS[name]))
    length = struct.unpack("<Q", content[:8])[0] + 8
    for _ in range(data.draw(st.integers(1, 3))):
        end = length if data.draw(st.booleans()) else len(content)
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    is_refused(tmp_path / "net.safetensors", bytes(content))


def test_every_file_that_is_cut_short_or_has_a_rest_is_refused(tmp_path: Path) -> None:
    content = safetensors_file(NETS["regression"])
    for size in range(0, len(content), 7):
        assert is_refused(tmp_path / "net.safetensors", content[:size])
    assert is_refused(tmp_path / "net.safetensors", content + b"\0")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["regression", "columns"])
def test_every_byte_may_be_wrong(name: str, tmp_path: Path) -> None:
    content = safetensors_file(NETS[name])
    n_refused = 0
    for at in range(len(content)):
        for flip in (1, 0x80):
            changed = bytearray(content)
            changed[at] ^= flip
            n_refused += is_refused(tmp_path / "net.safetensors", bytes(changed))
    assert n_refused > len(content) // 2
