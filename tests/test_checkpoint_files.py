"""Files that are no checkpoints of the run that reads them, by accident or on purpose."""

import copy
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crabnet_jit import (
    MAE,
    NN,
    SGD,
    Adam,
    AdamW,
    ArraySource,
    Checkpoint,
    Cosine,
    EarlyStopping,
    ExponentialDecay,
    FileFormatError,
    Huber,
    LeakyReLU,
    RMSprop,
    Sine,
    StandardGaussian,
    Trainer,
    UniformSource,
    load,
    save,
)
from crabnet_jit.archive import _digest
from crabnet_jit.cli.main import main
from crabnet_jit.training.state import Saved, read_checkpoint

X = np.random.default_rng(0).normal(size=(12, 2))
Y = X[:, :1] * X[:, 1:]
N_DONE = 7
ARRAYS = ("parameters", "optimizer_buffers", "optimizer_numbers", "window")


def make(
    hidden: Any = (3,),
    activation: Any = "tanh",
    output_activation: Any = "identity",
    dtype: str = "float64",
    source: Any = None,
    box: Any = (-3.0, 3.0),
    batch_size: int = 4,
    **options: Any,
) -> Trainer:
    net = NN(
        2,
        hidden,
        1,
        rng=1,
        activation=activation,
        output_activation=output_activation,
        init="glorot_uniform",
        dtype=dtype,
    )
    if source is None:
        source = UniformSource(StandardGaussian(), box[0], box[1], batch_size, rng=2)
    return Trainer(net, source, **{"optimizer": "adam", "learning_rate": 0.01, "loss": Huber(1.0), **options})


def of_data(y: Any = Y, batch_size: int = 4, shuffle: bool = True, **options: Any) -> ArraySource:
    return ArraySource(X, y, batch_size, shuffle, rng=3, **options)


def bits(trainer: Trainer) -> tuple[Any, ...]:
    """All that a trainer is, to the last bit."""
    state = trainer.state()
    points = [
        [part.tobytes() if isinstance(part, np.ndarray) else part for part in each[:-1]]
        for each in (state, *state.return_points)
    ]
    history = trainer.history
    return (
        points,
        trainer.net.gradients.tobytes(),
        history.losses.tobytes(),
        history.log[:],
        history.events[:],
        trainer.configuration(),
    )


@pytest.fixture
def pair() -> tuple[Trainer, Trainer]:
    """Two trainers in the same place of the same run; only the first sees files."""
    trainers = make(), make()
    for trainer in trainers:
        trainer.run(5)
    return trainers


@pytest.fixture
def victim(pair: tuple[Trainer, Trainer]) -> Iterator[Trainer]:
    """It goes on after each test as if there had been no file."""
    first, second = pair
    yield first
    for trainer in pair:
        trainer.run(3)
    assert bits(first) == bits(second)


def refused(trainer: Trainer, path: Path, match: str = r"is not a saved checkpoint \(.+\)") -> None:
    """The file is rejected, and nothing has changed."""
    before = bits(trainer)
    with pytest.raises(FileFormatError, match=match):
        trainer.load_checkpoint(path)
    assert bits(trainer) == before


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole file."""
    path = tmp_path_factory.mktemp("whole") / "run.npz"
    trainer = make()
    trainer.run(N_DONE)
    trainer.save_checkpoint(path)
    return path.read_bytes()


def parts_of(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(path) as file:
        arrays = dict(file)
    return json.loads(str(arrays.pop("header"))), arrays


def write(path: Path, header: Any, arrays: dict[str, Any], text: str | None = None) -> None:
    """A file whose digest is right."""
    if text is None:
        text = json.dumps({**header, "digest": _digest(arrays)} if isinstance(header, dict) else header)
    np.savez(path, header=np.array(text), **arrays)


@pytest.fixture
def whole(content: bytes, tmp_path: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Where a file is, and its parts."""
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    return path, *parts_of(path)


def plain(value: Any) -> Any:
    """Arrays as their types, shapes and bytes, to the innermost."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, tuple) else value


def same(one: Saved, other: Saved) -> bool:
    return bool(plain(one[:3]) == plain(other[:3]) and one.options == other.options)


def test_what_is_changed_below_is_a_checkpoint(whole: Any, tmp_path: Path) -> None:
    path, header, arrays = whole
    trainer, other = make(), make()
    other.run(N_DONE + 5)
    write(path, header, arrays)
    trainer.load_checkpoint(path)
    assert trainer.run(5).losses[-5:].tobytes() == other.history.losses[-5:].tobytes()


# ---- damaged ----


def test_a_file_that_ends_too_early(victim: Trainer, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    for size in [*range(0, len(content), 64), *range(len(content) - 64, len(content))]:
        path.write_bytes(content[:size])
        refused(victim, path)
        with pytest.raises(FileFormatError):
            read_checkpoint(path)
        with pytest.raises(FileFormatError):
            load(path)


def structure(content: bytes) -> Iterator[int]:
    """Bytes of the directory, of the headers of entries and of arrays."""
    directory = content.index(b"PK\x01\x02")
    yield from range(directory, len(content))
    at = content.find(b"PK\x03\x04")
    while 0 <= at < directory:
        end = content.index(b"\n", at) + 1  # of the array's header
        yield from range(at, end)
        at = content.find(b"PK\x03\x04", end)


@pytest.mark.slow  # every bit
def test_a_flipped_bit_is_told_or_does_no_harm(victim: Trainer, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    expected = read_checkpoint(path)
    places = list(structure(content))
    rest = sorted(set(range(len(content))) - set(places))
    rng = np.random.default_rng(1)
    flips = [(at, bit) for at in places for bit in range(8)]
    flips += [(int(at), int(rng.integers(8))) for at in rng.choice(rest, 500)]
    assert len(places) > 800
    n_told = 0
    damaged = bytearray(content)
    for k, (at, bit) in enumerate(flips):
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        damaged[at] ^= 1 << bit
        try:
            assert same(read_checkpoint(path), expected), (at, bit)
        except FileFormatError:
            n_told += 1
            if k % 50 == 0:
                refused(victim, path)
    assert n_told > 0.7 * len(flips)


def test_a_flipped_bit_of_a_network(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    net = make().net
    save(net, path)
    content = path.read_bytes()
    damaged, n_told = bytearray(content), 0
    for at in structure(content):
        for bit in range(8):
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            damaged[at] ^= 1 << bit
            try:
                other = load(path)
            except FileFormatError:
                n_told += 1
            else:
                assert other.parameters.tobytes() == net.parameters.tobytes()
                assert (other.activations, other.hidden_sizes) == (net.activations, net.hidden_sizes)
    assert n_told > 1500


# ---- something else ----


class Bomb:
    """Its unpickling leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def npy(values: Any, **changes: Any) -> bytes:
    """An array as NumPy writes it, with another header."""
    described = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape, **changes}
    text = repr(described).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    content: bytes = values.tobytes()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def with_entry(content: bytes, name: str, data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """The file with one of its arrays replaced, or one more."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(buffer, "w") as archive:
        for entry in given.namelist():
            if entry != name:
                archive.writestr(entry, given.read(entry))
        archive.writestr(name, data, method)
    return buffer.getvalue()


def array_file(values: Any) -> bytes:
    """An array alone, a pickle in it if need be."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


FOREIGN: dict[str, Callable[[Path, Path, bytes], object]] = {
    "a pickle": lambda path, mark, content: path.write_bytes(pickle.dumps(Bomb(mark))),
    "a pickle in an array file": lambda path, mark, content: path.write_bytes(
        array_file(np.array([Bomb(mark)], dtype=object))
    ),
    "a pickle as an entry": lambda path, mark, content: path.write_bytes(
        with_entry(content, "state0/window.npy", pickle.dumps(Bomb(mark)))
    ),
    "a pickle as a further entry": lambda path, mark, content: path.write_bytes(
        with_entry(content, "more.pkl", pickle.dumps(Bomb(mark)))
    ),
    "objects": lambda path, mark, content: np.savez(
        path, allow_pickle=True, header=np.array([Bomb(mark)], dtype=object)
    ),
    "a window of objects": lambda path, mark, content: path.write_bytes(
        with_entry(
            content,
            "state0/window.npy",
            npy(np.zeros(N_DONE), descr="|O")[:-56] + pickle.dumps(np.array([Bomb(mark)], dtype=object)),
        )
    ),
    "another program's arrays": lambda path, mark, content: np.savez(path, a=X, b=Y),
    "an array": lambda path, mark, content: path.write_bytes(array_file(X)),
    "no array": lambda path, mark, content: np.savez(path),
    "a network": lambda path, mark, content: save(make().net, path),
    "nothing": lambda path, mark, content: path.touch(),
    "a folder": lambda path, mark, content: path.mkdir(),
    "text": lambda path, mark, content: path.write_text("x,y\n1,2\n"),
    "zeros": lambda path, mark, content: path.write_bytes(bytes(4096)),
    "an empty archive": lambda path, mark, content: path.write_bytes(b"PK\5\6" + bytes(18)),
    "a compressed copy": lambda path, mark, content: np.savez_compressed(
        path, **dict(np.load(copied(path, content)))
    ),
    "an entry twice": lambda path, mark, content: path.write_bytes(
        with_entry(content, "state0/window", npy(np.zeros(N_DONE)))
    ),
    "an entry more": lambda path, mark, content: path.write_bytes(with_entry(content, "x.npy", npy(X))),
    "an encrypted entry": lambda path, mark, content: path.write_bytes(
        content[: content.index(b"PK\1\2") + 8] + b"\1" + content[content.index(b"PK\1\2") + 9 :]
    ),
}


def copied(path: Path, content: bytes) -> Path:
    other = path.with_name("copy.npz")
    other.write_bytes(content)
    return other


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", FOREIGN)
def test_other_files(name: str, victim: Trainer, content: bytes, tmp_path: Path, capsys: Any) -> None:
    path, mark = tmp_path / "run.npz", tmp_path / "mark"
    FOREIGN[name](path, mark, content)
    refused(victim, path)
    if name != "a network":
        with pytest.raises(FileFormatError, match="is not a saved network"):
            load(path)
    refused_by_the_command(path, capsys)
    assert not mark.exists()


def test_a_checkpoint_is_no_network(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    path.write_bytes(content)
    told = r"\(ValueError: 'crabnet_jit checkpoint', version 1, instead of 'crabnet_jit network', version 3\)"
    with pytest.raises(FileFormatError, match=f"is not a saved network {told}"):
        load(path)


def test_what_is_missing_is_an_os_error(victim: Trainer, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").touch()
    before = bits(victim)
    paths = [tmp_path / "missing.npz", tmp_path / "file" / "run.npz", tmp_path / ("a" * 1000)]
    if sys.platform != "win32":
        for k in range(2):
            (tmp_path / f"loop{k}").symlink_to(tmp_path / f"loop{1 - k}")
        (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
        paths += [tmp_path / "loop0", tmp_path / "dangling"]
    for path in paths:
        with pytest.raises(OSError, match=r".+"):
            victim.load_checkpoint(path)
        assert main(["gaussian", "--resume", str(path)]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert bits(victim) == before


# ---- whole, with other arrays ----


CHANGES: dict[str, Callable[[Any], Any]] = {
    "float32": lambda values: values.astype(np.float32),
    "float16": lambda values: values.astype(np.float16),
    "longdouble": lambda values: values.astype(np.longdouble),
    "int64": lambda values: values.astype(np.int64),
    "bool": lambda values: values.astype(bool),
    "complex": lambda values: values.astype(complex),
    "text": lambda values: values.astype(str),
    "bytes": lambda values: values.astype(bytes),
    "times": lambda values: values.astype(np.int64).astype("M8[s]"),
    "other byte order": lambda values: values.astype(values.dtype.newbyteorder()),
    "structured": lambda values: values.view([("a", values.dtype)]),
    "columns": lambda values: np.asfortranarray(np.stack([values, values])),
    "a row": lambda values: values[None],
    "a column": lambda values: values[:, None],
    "one more": lambda values: np.append(values, 0.0),
    "one fewer": lambda values: values[:-1],
    "none": lambda values: values[:0],
    "a number": lambda values: values[0],
    "much more": lambda values: np.resize(values, 100_000),
    "no width": lambda values: np.empty((10**12, 0)),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("change", CHANGES)
def test_arrays_of_another_shape_or_type(name: str, change: str, victim: Trainer, whole: Any) -> None:
    path, header, arrays = whole
    arrays[f"state0/{name}"] = CHANGES[change](arrays[f"state0/{name}"])
    write(path, header, arrays)
    refused(victim, path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parameters", np.nan),
        ("parameters", np.inf),
        ("optimizer_buffers", np.nan),  # while squares of gradients may be infinite
        ("optimizer_numbers", np.nan),
        ("optimizer_numbers", np.inf),
    ],
)
def test_numbers_that_no_run_can_have(name: str, value: float, victim: Trainer, whole: Any) -> None:
    path, header, arrays = whole
    arrays[f"state0/{name}"][-1] = value
    write(path, header, arrays)
    refused(victim, path)


@pytest.mark.parametrize("name", ARRAYS)
def test_numbers_that_are_not_those_of_the_digest(name: str, victim: Trainer, whole: Any) -> None:
    path, header, arrays = whole
    arrays[f"state0/{name}"][-1] = np.nextafter(arrays[f"state0/{name}"][-1], 1.0)
    for digest in (header["digest"], None, "", "0" * 64):
        write(path, None, arrays, json.dumps({**header, "digest": digest}))
        refused(victim, path)


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_missing_or_have_another_name(name: str, victim: Trainer, whole: Any) -> None:
    path, header, arrays = whole
    values = arrays.pop(f"state0/{name}")
    write(path, header, arrays)
    refused(victim, path)
    for other in (
        name,
        f"state1/{name}",
        f"state0/{name}/x",
        f"callbacks/{name}",
        f"callbacks/0/{name}",
        "\ud800",
    ):
        write(path, header, {**arrays, other.encode("utf-8", "replace").decode(): values})
        refused(victim, path)
    for more in ("state1/window", "more", "callbacks/9 EarlyStopping/x", "callbacks/a/b/c"):
        write(path, header, {**arrays, f"state0/{name}": values, more: values})
        refused(victim, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": (10**12,)},
        {"shape": (-1,)},
        {"shape": (-7, -1)},
        {"shape": (2**70,)},
        {"shape": (2**70, 0)},
        {"shape": (True,) * 7},
        {"shape": 7},
        {"shape": (7.0,)},
        {"shape": ("7",)},
        {"shape": (1,) * 100 + (7,)},
        {"descr": "|O"},
        {"descr": "<U0", "shape": (10**12,)},
        {"descr": "<U14", "shape": (1,)},
        {"descr": "|V56", "shape": ()},
        {"descr": [("a", "<f8"), ("b", "|O")]},
        {"descr": ("<f8", (10**6, 10**6))},
        {"descr": "f8,f8"},
        {"descr": "nonsense"},
        {"descr": 3},
        {"fortran_order": True, "shape": (7, 1)},
        {"fortran_order": 2},
        {"more": 1},
    ],
    ids=repr,
)
def test_headers_of_arrays(changes: dict[str, Any], victim: Trainer, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    data = npy(np.zeros(N_DONE), **changes)
    path.write_bytes(with_entry(content, "state0/window.npy", data))
    refused(victim, path)


@pytest.mark.parametrize(
    "start",
    [b"\x93NUMPY\x02\x00", b"\x93NUMPY\x03\x00", b"\x93NUMPY\xff\xff", b"\x93NUMPX\x01\x00", b"", b"\x93"],
)
def test_versions_of_arrays(start: bytes, victim: Trainer, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    data = npy(np.zeros(N_DONE))
    path.write_bytes(with_entry(content, "state0/window.npy", start + data[8:] if len(start) == 8 else start))
    refused(victim, path)


# ---- whole, with another header ----

OTHERS: tuple[Any, ...] = (None, "x", -1, 1e308, [], {}, True, float("nan"), 2**70, "\ud800", 10**4000)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where all values are, those that hold others included."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def replaced(header: Any, at: tuple[Any, ...], value: Any) -> Any:
    result = copy.deepcopy(header)
    inner = result
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return result


def without(header: Any, at: tuple[Any, ...]) -> Any:
    result = copy.deepcopy(header)
    inner = result
    for key in at[:-1]:
        inner = inner[key]
    del inner[at[-1]]
    return result


def long_run(tmp_path: Path, **options: Any) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A file with states to go back to, callbacks and options."""
    trainer = make(on_divergence="lower_rate", dropout=0.1, **options)
    path = tmp_path / "long.npz"
    callbacks = [EarlyStopping(None, every=700), Checkpoint(path, 10_000, options={"a": 1})]
    trainer.run(2100, callbacks=callbacks)
    return path, *parts_of(path)


def test_every_value_of_the_header(tmp_path: Path) -> None:
    path, header, arrays = long_run(tmp_path)
    assert len(header["states"]) == 3
    trainer = make(on_divergence="lower_rate", dropout=0.1)
    trainer.run(3)
    before, expected = bits(trainer), read_checkpoint(path)
    failures, n_refused = [], 0
    for at in places(header):
        if at[0] in ("digest", "callbacks"):
            continue
        for other in (*OTHERS, "gone"):
            changed = without(header, at) if other == "gone" else replaced(header, at, other)
            if changed == header:
                continue
            write(path, changed, arrays)
            message = ""
            try:
                trainer.load_checkpoint(path)
            except FileFormatError as error:
                message = str(error)
            if message:
                n_refused += 1
                assert "\n" not in message, at
                assert len(message) < 10_000, at
                assert bits(trainer) == before
            else:
                found = read_checkpoint(path)._replace(options=expected.options)
                if at[0] != "options" or not same(found, expected):
                    failures.append(f"{at} = {str(other)[:20]}")
                trainer = make(on_divergence="lower_rate", dropout=0.1)
                trainer.run(3)
    assert not failures, "\n".join(failures)
    assert n_refused > 500
    trainer.run(3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        "NaN",
        "[]",
        "[" * 10**6,
        '{"a":' * 10**6,
        "[" * 10**5 + "]" * 10**5,
        "1" * 10**6,
        '"' + "x" * 10**6 + '"',
        "{}",
        '{"format": "crabnet_jit checkpoint"}',
        '{"format": "crabnet_jit checkpoint", "version": 1}',
        '{"format": "crabnet_jit checkpoint", "version": 1, "digest": NaN}',
        json.dumps({"format": "crabnet_jit checkpoint", "version": "x" * 10**6}),
        json.dumps({"format": "\n\nx\r" * 10**5, "version": 1}),
        "{" + ",".join(f'"{k}": {k}' for k in range(10**5)) + "}",
    ],
    ids=lambda text: text[:20],
)
def test_headers_that_are_none(text: str, victim: Trainer, whole: Any, capsys: Any) -> None:
    path, _, arrays = whole
    write(path, None, arrays, text)
    before = bits(victim)
    with pytest.raises(FileFormatError) as caught:
        victim.load_checkpoint(path)
    assert len(str(caught.value)) < 10_000
    assert bits(victim) == before
    refused_by_the_command(path, capsys)


@pytest.mark.parametrize("depth", [100, 300, 900, 990, 1000, 5000])
def test_nested_values(depth: int, victim: Trainer, whole: Any) -> None:
    path, header, arrays = whole
    nested: Any = []
    for _ in range(50):
        nested = [nested]
    for at in (
        ("configuration", "l1"),
        ("states", 0, "rate_scale"),
        ("states", 0, "source_stream"),
        ("version",),
    ):
        text = json.dumps(replaced({**header, "digest": _digest(arrays)}, at, "@"))
        write(path, None, arrays, text.replace('"@"', "[" * depth + "]" * depth))
        refused(
            victim,
            path,
            r"is not a saved checkpoint \(.+\)|is of another run: its l1 is \[.*\], here",
        )


@pytest.mark.parametrize("version", [0, 2, 1.5, "1", None, [1], -1, True, 1.0])
def test_other_versions(version: Any, victim: Trainer, whole: Any) -> None:
    path, header, arrays = whole
    write(path, {**header, "version": version}, arrays)
    if version == 1:
        make().load_checkpoint(path)  # the same number
    else:
        refused(victim, path)


@pytest.mark.parametrize("iteration", [2**63 - 1, 2**62, 10**12])
def test_a_number_of_iterations_that_no_run_reaches(iteration: int, whole: Any) -> None:
    path, header, arrays = whole
    trainer = make()
    arrays["state0/window"] = np.ones(1001)
    write(path, replaced(header, ("states", 0, "iteration"), iteration), arrays)
    try:
        trainer.load_checkpoint(path)
        trainer.run(2)
    except FileFormatError:
        trainer.run(2)
    assert np.isfinite(trainer.net.parameters).all()


# ---- states of callbacks ----


def test_every_value_of_a_callback(tmp_path: Path) -> None:
    path, header, arrays = long_run(tmp_path)
    failures = []
    for at in places(header["callbacks"], ("callbacks",)):
        for other in (*OTHERS, "gone"):
            changed = without(header, at) if other == "gone" else replaced(header, at, other)
            write(path, changed, arrays)
            trainer = make(on_divergence="lower_rate", dropout=0.1)
            try:
                trainer.load_checkpoint(path)
                loaded = trainer.state().parameters
                trainer.run(1500, callbacks=[EarlyStopping(5, every=700)])
            except FileFormatError:
                if trainer.iteration > 0:  # found when the run began
                    assert trainer.net.parameters.tobytes() == loaded.tobytes()
            except Exception as error:
                failures.append(f"{at} = {str(other)[:20]}: {type(error).__name__}: {error}"[:150])
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("change", CHANGES)
def test_arrays_of_a_callback(change: str, tmp_path: Path) -> None:
    path, header, arrays = long_run(tmp_path)
    key = "callbacks/0 EarlyStopping/best_parameters"
    arrays[key] = CHANGES[change](arrays[key])
    write(path, header, arrays)
    trainer = make(on_divergence="lower_rate", dropout=0.1)
    with pytest.raises(FileFormatError):  # noqa: PT012  # at the latest when the run begins
        trainer.load_checkpoint(path)
        trainer.run(10, callbacks=[EarlyStopping(5, every=700)])
    assert trainer.iteration in (0, 2100)


# ---- of other runs ----

BASE: dict[str, Any] = {}
OTHER_RUNS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "width": (BASE, {"hidden": (4,)}, "sizes"),
    "depth": (BASE, {"hidden": (3, 3)}, "sizes"),
    "no hidden layer": (BASE, {"hidden": (), "activation": "tanh"}, "sizes"),
    "activation": (BASE, {"activation": "silu"}, "activations"),
    "slope": ({"activation": LeakyReLU(0.1)}, {"activation": LeakyReLU(0.2)}, "activations"),
    "frequency": ({"activation": Sine(1.0)}, {"activation": Sine(2.0)}, "activations"),
    "output activation": (BASE, {"output_activation": "sigmoid"}, "activations"),
    "dtype": (BASE, {"dtype": "float32"}, "dtype"),
    "loss": (BASE, {"loss": MAE()}, "loss"),
    "its constant": (BASE, {"loss": Huber(0.5)}, "loss"),
    "optimiser": (BASE, {"optimizer": RMSprop()}, "optimizer"),
    "decay or not": ({"optimizer": AdamW(weight_decay=0.0)}, BASE, "optimizer"),
    "first beta": (BASE, {"optimizer": Adam((0.8, 0.999))}, "optimizer"),
    "second beta": (BASE, {"optimizer": Adam((0.9, 0.99))}, "optimizer"),
    "eps": (BASE, {"optimizer": Adam(eps=1e-7)}, "optimizer"),
    "weight decay": ({"optimizer": AdamW()}, {"optimizer": AdamW(weight_decay=0.1)}, "optimizer"),
    "momentum": ({"optimizer": SGD(0.5)}, {"optimizer": SGD(0.6)}, "optimizer"),
    "nesterov": ({"optimizer": SGD(0.5)}, {"optimizer": SGD(0.5, nesterov=True)}, "optimizer"),
    "alpha": ({"optimizer": RMSprop()}, {"optimizer": RMSprop(0.9)}, "optimizer"),
    "rate": (BASE, {"learning_rate": 0.02}, "learning_rate"),
    "schedule": (BASE, {"learning_rate": ExponentialDecay(0.01, 1.0)}, "learning_rate"),
    "its length": ({"learning_rate": Cosine(0.1, 50)}, {"learning_rate": Cosine(0.1, 51)}, "learning_rate"),
    "decay": (
        {"learning_rate": ExponentialDecay(0.01, 0.9)},
        {"learning_rate": ExponentialDecay(0.01, 0.8)},
        "learning_rate",
    ),
    "l1": (BASE, {"l1": 1e-3}, "l1"),
    "l2": (BASE, {"l2": 1e-3}, "l2"),
    "clip_value": (BASE, {"clip_value": 1.0}, "clip_value"),
    "clip_norm": ({"clip_norm": 2.0}, {"clip_norm": 1.0}, "clip_norm"),
    "dropout": ({"dropout": 0.1}, {"dropout": 0.2}, "dropout"),
    "no dropout": (BASE, {"dropout": [0.2]}, "dropout"),
    "box": (BASE, {"box": (-3.0, 2.0)}, "source"),
    "its other end": (BASE, {"box": (-2.0, 3.0)}, "source"),
    "one side": (BASE, {"box": ([-3.0, -3.0], [3.0, 3.5])}, "source"),
    "batch size": (BASE, {"batch_size": 5}, "source"),
    "source": (BASE, {"source": of_data()}, "source"),
    "data": ({"source": of_data()}, {"source": of_data(np.nextafter(Y, 9))}, "source"),
    "weights": ({"source": of_data()}, {"source": of_data(sample_weight=[2.0] + 11 * [1.0])}, "source"),
    "batches": ({"source": of_data()}, {"source": of_data(batch_size=5)}, "source"),
    "shuffle": ({"source": of_data()}, {"source": of_data(shuffle=False)}, "source"),
    "policy": (BASE, {"on_divergence": "skip"}, "on_divergence"),
}


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_checkpoints_of_another_run(name: str, tmp_path: Path) -> None:
    first, second, item = OTHER_RUNS[name]
    path = tmp_path / "run.npz"
    for one, other in ((first, second), (second, first)):
        writer, reader = make(**one), make(**other)
        writer.run(4)
        writer.save_checkpoint(path)
        reader.run(2)
        refused(reader, path, rf"run\.npz is of another run: its {item} is .+, here it is .+")
        twin = make(**other)
        assert reader.run(5).losses.tobytes() == twin.run(7).losses.tobytes()
        again = make(**one)
        again.load_checkpoint(path)
        assert bits(again)[0] == bits(writer)[0]


# ---- the command ----


def command(arguments: list[str], capsys: Any) -> tuple[int, str]:
    capsys.readouterr()
    try:
        code: Any = main(arguments)
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr().err


def refused_by_the_command(path: Path, capsys: Any, *more: str) -> None:
    code, err = command(["gaussian", "--resume", str(path), *more], capsys)
    assert code == 2, err
    assert err.count("\n") == 1
    assert err.startswith("crabnet-jit")
    assert "error" in err
    assert "Traceback" not in err
    assert len(err) < 10_000


@pytest.fixture
def of_command(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A checkpoint that the command wrote, and its parts."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "fit.npz"
    arguments = [
        "gaussian",
        "--hidden",
        "3",
        "--iterations",
        "20",
        "--log-every",
        "7",
        "--checkpoint",
        str(path),
    ]
    assert command(arguments, capsys)[0] == 0
    assert command(["gaussian", "--resume", str(path)], capsys)[0] == 0
    return path, *parts_of(path)


def test_the_command_and_checkpoints_of_others(content: bytes, of_command: Any, capsys: Any) -> None:
    path = of_command[0]
    refused_by_the_command(path, capsys, "--learning-rate", "0.1")
    refused_by_the_command(path, capsys, "--hidden", "4")
    refused_by_the_command(path, capsys, "--iterations", "10")
    path.write_bytes(content)
    refused_by_the_command(path, capsys)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_a_longer_run_with_a_schedule_as_long_as_the_run(
    schedule: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["gaussian", "--hidden", "3", "--iterations", "20", "--schedule", schedule]
    assert command([*arguments, "--checkpoint", "run.npz"], capsys)[0] == 0
    code, err = command(["gaussian", "--resume", "run.npz", "--iterations", "40"], capsys)
    assert code == 2
    assert "run.npz is of another run: its learning_rate is" in err
    assert "n_iterations=20" in err
    assert "n_iterations=40" in err
    assert "depends on the length of its run" in err
    assert command(["gaussian", "--resume", "run.npz"], capsys)[0] == 0


def test_the_command_and_damaged_files(of_command: Any, capsys: Any) -> None:
    path = of_command[0]
    content = path.read_bytes()
    for size in range(0, len(content), 64):
        path.write_bytes(content[:size])
        refused_by_the_command(path, capsys)


@pytest.mark.slow
def test_the_command_and_every_value_of_the_header(of_command: Any, capsys: Any) -> None:
    path, header, arrays = of_command
    failures = []
    for at in places(header):
        if at[0] == "digest":
            continue
        for other in (*OTHERS, "gone"):
            changed = without(header, at) if other == "gone" else replaced(header, at, other)
            if changed == header:
                continue
            write(path, changed, arrays)
            try:
                code, err = command(["gaussian", "--resume", str(path), "--iterations", "21"], capsys)
            except Exception as error:
                failures.append(f"{at} = {str(other)[:20]}: {type(error).__name__}: {error}"[:150])
                continue
            if code == 0 and at[0] not in ("options", "callbacks"):
                failures.append(f"{at} = {str(other)[:20]}: accepted")
            elif code != 0 and (code, err.count("\n")) != (2, 1):
                failures.append(f"{at} = {str(other)[:20]}: {code}, {err[:100]!r}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("value", [None, "x", 5, -1.5, True])
@pytest.mark.parametrize(
    "name",
    ["self", "save", "checkpoint", "log_file", "time_limit", "checkpoint_every", "progress", "preset",
     "resume", "help", "version", "func", "__class__", "", "hidden ", "\ud800", "kwargs"],
)  # fmt: skip
def test_options_that_the_command_does_not_keep(name: str, value: Any, of_command: Any, capsys: Any) -> None:
    path, header, arrays = of_command
    write(path, replaced(header, ("options", name), value), arrays)
    code, err = command(["gaussian", "--resume", str(path), "--iterations", "20"], capsys)
    assert code in (0, 2), err
    if code == 2:
        assert err.count("\n") == 1
    assert os.listdir(path.parent) == ["fit.npz"]


def test_a_checkpoint_does_not_say_where_to_write(of_command: Any, capsys: Any) -> None:
    path, header, arrays = of_command
    folder = path.parent
    (folder / "precious.csv").write_text("mine")
    for name, target in (("save", "new.npz"), ("checkpoint", "new.npz"), ("log_file", "precious.csv")):
        write(path, replaced(header, ("options", name), str(folder / target)), arrays)
        command(["gaussian", "--resume", str(path), "--iterations", "30"], capsys)
    assert sorted(os.listdir(folder)) == ["fit.npz", "precious.csv"]
    assert (folder / "precious.csv").read_text() == "mine"


# ---- what would take all memory, or never end ----

DANGERS = (
    "pipe",
    "zeros without end",
    "nothing without end",
    "terminal",
    "a terabyte of holes",
    "many zeros",
    "a large array declared",
    "an entry beyond the file",
    "a large entry declared",
    "a compressed bomb",
    "entries within entries",
    "a wide network",
    "many iterations",
)


def nested_entries(n: int, size: int) -> bytes:
    """An archive of n arrays that share their ends: each has all later ones among its numbers."""
    tail = bytes(size)
    names = [f"a{k:05}.npy".encode() for k in range(n)]
    directory = b""
    starts = []
    for name in reversed(names):
        data = npy(np.frombuffer(tail, "<f4")) if len(tail) % 4 == 0 else b""
        crc = zlib.crc32(data)
        pad = -(30 + len(name) + len(data)) % 4
        fields = struct.pack("<HHHHHIII", 20, 0, 0, 0, 33, crc, len(data), len(data))
        local = b"PK\3\4" + fields + struct.pack("<HH", len(name), pad) + name + bytes(pad)
        tail = local + data
        starts.append((name, fields, len(tail)))
    for name, fields, behind in starts:
        place = len(tail) - behind
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields
        directory += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, place) + name
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, n, n, len(directory), len(tail), 0)
    return tail + directory + end


def declared(content: bytes, size: int) -> bytes:
    """The first entry of the directory says that it is larger."""
    at = content.index(b"PK\1\2") + 20
    return content[:at] + struct.pack("<II", size, size) + content[at + 8 :]


@pytest.fixture(scope="module")
def dangers(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process with little memory makes of them."""
    folder = tmp_path_factory.mktemp("dangers")
    paths = {name: folder / f"{k}.npz" for k, name in enumerate(DANGERS)}
    os.mkfifo(paths["pipe"])
    paths["zeros without end"] = Path("/dev/zero")
    paths["nothing without end"] = Path("/dev/null")
    paths["terminal"] = Path("/dev/tty")
    with paths["a terabyte of holes"].open("wb") as file:
        file.truncate(2**40)
    with paths["many zeros"].open("wb") as file:
        file.truncate(2**28)
    huge = npy(np.zeros(N_DONE), shape=(10**12,))
    paths["a large array declared"].write_bytes(with_entry(content, "state0/window.npy", huge))
    paths["an entry beyond the file"].write_bytes(declared(content, len(content) - 1))
    paths["a large entry declared"].write_bytes(declared(content, 2**32 - 2))
    bomb = with_entry(content, "state0/window.npy", npy(np.zeros(2**23)), zipfile.ZIP_DEFLATED)
    paths["a compressed bomb"].write_bytes(bomb)
    paths["entries within entries"].write_bytes(nested_entries(400, 2**20))
    path = paths["a wide network"]
    assert main(["gaussian", "--hidden", "3", "--iterations", "9", "--checkpoint", str(path)]) == 0
    header, arrays = parts_of(path)
    write(path, replaced(header, ("options", "hidden"), "30000,30000"), arrays)
    path = paths["many iterations"]
    trainer = make(learning_rate=ExponentialDecay(0.01, 1.0))
    trainer.run(1001)
    trainer.save_checkpoint(path)
    header, arrays = parts_of(path)
    write(path, replaced(header, ("states", 0, "iteration"), 2**28), arrays)
    result = subprocess.run(
        [sys.executable, "-c", _PROCESS, json.dumps({name: str(path) for name, path in paths.items()})],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


_PROCESS = """
import contextlib, io, json, os, resource, signal, sys, tracemalloc

from test_checkpoint_files import ExponentialDecay, FileFormatError, load, main, make, read_checkpoint


class TooLong(BaseException):
    pass


def too_long(*_):
    raise TooLong


signal.signal(signal.SIGALRM, too_long)
main(["gaussian", "--hidden", "3", "--iterations", "9"])
trainer = make()
trainer.run(9)
parameters = trainer.net.parameters.tobytes()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000,) * 2)


def tried(function, path):
    signal.alarm(10)
    tracemalloc.start()
    try:
        result = repr(function(path))
    except BaseException as error:
        result = type(error).__name__
    signal.alarm(0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result if peak < 2e7 + 5 * min(os.path.getsize(path), 1e7) else f"{result}, {peak} bytes"


def command(path):
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        code = main(["gaussian", "--resume", path])
    return code, err.getvalue().count("\\n")


def resumed(path):
    other = make(learning_rate=ExponentialDecay(0.01, 1.0))
    other.load_checkpoint(path)
    other.run(3)
    return other.iteration


results = {}
for name, path in json.loads(sys.argv[1]).items():
    functions = [trainer.load_checkpoint, read_checkpoint, load, command]
    if name == "many iterations":
        functions = [resumed]
    results[name] = [tried(function, path) for function in functions]
assert trainer.net.parameters.tobytes() == parameters
trainer.run(9)
print()
print(json.dumps(results))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="devices, and limits of memory, as Linux has them")
@pytest.mark.parametrize("name", [name for name in DANGERS if name != "many iterations"])
def test_neither_time_nor_memory_is_lost(name: str, dangers: Any) -> None:
    load_checkpoint, read, network, of_command = dangers[name]
    if name == "a wide network":
        assert (load_checkpoint, network) == ("FileFormatError", "FileFormatError")
    elif name == "terminal":  # of which there is perhaps none
        assert {load_checkpoint, read, network} <= {"FileFormatError", "OSError"}
    else:
        assert [load_checkpoint, read, network] == 3 * ["FileFormatError"]
    assert of_command == ("(1, 1)" if load_checkpoint == "OSError" else "(2, 1)")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
def test_a_run_of_many_iterations_is_resumed_with_little_memory(dangers: Any) -> None:
    assert dangers["many iterations"] in (["FileFormatError"], [str(2**28 + 3)])
