"""Networks as files."""

import contextlib
import errno
import io
import json
import os
import pickle
import pickletools
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crabnet_jit import (
    ACTIVATIONS,
    ELU,
    GELU,
    NN,
    Activation,
    CustomActivation,
    FileFormatError,
    InvalidArgumentError,
    LeakyReLU,
    Sine,
    Standardization,
    fit,
    load,
    save,
)
from crabnet_jit.archive import _digest
from crabnet_jit.places import follow

POINTS = np.random.default_rng(0).normal(size=(50, 2))


def network(**options: Any) -> NN:
    net = NN(2, [5, 3], 2, rng=1, **{"init": "glorot_uniform", "activation": "tanh", **options})
    net.parameters += 0.01
    return net


def assert_same(net: NN, other: NN) -> None:
    assert other.parameters.tobytes() == net.parameters.tobytes()
    assert other.dtype == net.dtype
    assert other.predict(POINTS).tobytes() == net.predict(POINTS).tobytes()
    assert other.get_output(POINTS).tobytes() == net.get_output(POINTS).tobytes()
    assert other.activations == net.activations
    assert [other.in_features, other.hidden_sizes, other.out_features] == [2, net.hidden_sizes, 2]
    assert (other.standardization is None) == (net.standardization is None)
    for kept, given in zip(other.standardization or (), net.standardization or (), strict=True):
        np.testing.assert_array_equal(kept, given)


# ---- there and back ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_comes_back(activation: str, dtype: str, tmp_path: Path) -> None:
    net = network(activation=activation, output_activation=activation, dtype=dtype)
    save(net, tmp_path / "net.npz")
    assert_same(net, load(tmp_path / "net.npz"))


@pytest.mark.parametrize(
    "activation", [LeakyReLU(0.25), LeakyReLU(-1e-300), ELU(0.1), GELU("tanh"), Sine(7.1), Sine(1 / 3)]
)
def test_options_of_activations_are_kept(activation: Activation, tmp_path: Path) -> None:
    net = network(activation=[activation, "relu"], output_activation=activation)
    save(net, tmp_path / "net.npz")
    other = load(tmp_path / "net.npz")
    assert other.activations[0].options() == activation.options()
    assert other.activations[1].name == "relu"
    assert_same(net, other)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_standardisation_comes_back(dtype: str, tmp_path: Path) -> None:
    x = 1e6 + POINTS
    net = fit(x, np.column_stack([1e-6 * x[:, 0], np.ones(50)]), n_iterations=20, dtype=dtype)
    save(net, tmp_path / "net.npz")
    other = load(tmp_path / "net.npz")
    assert_same(net, other)
    assert isinstance(other.standardization, Standardization)
    assert other.fit_history is None


@pytest.mark.parametrize("hidden_sizes", [[], [1], [7, 8, 9, 10]])
def test_any_sizes(hidden_sizes: list[int], tmp_path: Path) -> None:
    net = NN(2, hidden_sizes, 2, rng=1, init="he_normal")
    save(net, tmp_path / "net.npz")
    assert_same(net, load(tmp_path / "net.npz"))


def test_numbers_at_the_edges_of_float64(tmp_path: Path) -> None:
    numbers = [5e-324, -5e-324, 1.7976931348623157e308, -0.0, 0.1, 2.0**-1022]
    net = NN(2, [], 2, init=numbers)
    save(net, tmp_path / "net.npz")
    assert load(tmp_path / "net.npz").parameters.tobytes() == np.array(numbers).tobytes()


def test_a_loaded_network_can_be_trained_and_saved_again(tmp_path: Path) -> None:
    net = network()
    save(net, tmp_path / "net.npz")
    nets = [net, load(tmp_path / "net.npz")]
    for one in nets:
        one.forward(POINTS)
        one.backward(np.ones((50, 2)))
        one.sgd(0.01)
    assert_same(*nets)
    save(nets[1], tmp_path / "net.npz")
    assert_same(nets[0], load(tmp_path / "net.npz"))


def test_names_of_features(tmp_path: Path) -> None:
    names = {"inputs": ["größe", "a,b"], "outputs": ['"', " "]}
    save(network(), tmp_path / "net.npz", names)
    net = load(tmp_path / "net.npz")
    assert {"inputs": net.input_names, "outputs": net.output_names} == names
    save(network(), tmp_path / "net.npz")
    assert load(tmp_path / "net.npz").input_names == ["x0", "x1"]
    save(network(), tmp_path / "net.npz", {"outputs": ["a", "b"]})
    assert load(tmp_path / "net.npz").output_names == ["a", "b"]
    save(load(tmp_path / "net.npz"), tmp_path / "again.npz")
    assert load(tmp_path / "again.npz").output_names == ["a", "b"]


@pytest.mark.parametrize("name", ["net.npz", "no_ending", "net.model", "mödell ✓.npz", "a" * 200])
@pytest.mark.parametrize("as_text", [True, False])
def test_the_file_has_the_name_that_was_asked_for(name: str, as_text: bool, tmp_path: Path) -> None:
    path = tmp_path / name
    save(network(), str(path) if as_text else path)
    assert os.listdir(tmp_path) == [name]
    assert_same(network(), load(str(path) if as_text else path))


def test_a_path_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(network(), "net.npz")
    assert_same(network(), load("net.npz"))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save(network(), tmp_path / "net.npz")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "net.npz")]
    assert modes[0] == modes[1]


def test_saving_does_not_change_the_network(tmp_path: Path) -> None:
    net = network()
    before = net.parameters.tobytes()
    save(net, tmp_path / "net.npz")
    assert net.parameters.tobytes() == before


# ---- no pickle ----


def test_there_is_no_pickle_inside(tmp_path: Path) -> None:
    save(fit(POINTS, POINTS, n_iterations=5), tmp_path / "net.npz")
    with zipfile.ZipFile(tmp_path / "net.npz") as archive:
        assert set(archive.namelist()) == {
            *(f"{name}.npy" for name in ("header", "parameters", "x_mean", "x_std", "y_mean", "y_std")),
            *(f"domain_{name}.npy" for name in ("low", "high", "mean", "covariance")),
        }
        for name in archive.namelist():
            content = archive.read(name)
            assert not np.load(io.BytesIO(content), allow_pickle=False).dtype.hasobject
            with pytest.raises(Exception):  # noqa: B017, PT011  # whatever pickletools says of what is none
                pickletools.dis(content, out=io.StringIO())


class Bomb:
    """Its unpickling leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("key", ["header", "parameters", "x_mean", "extra"])
def test_a_pickle_is_not_opened(key: str, tmp_path: Path) -> None:
    path, mark = tmp_path / "net.npz", tmp_path / "mark"
    arrays = contents(network())
    arrays[key] = np.array([Bomb(mark)], dtype=object)
    np.savez(path, **arrays)
    with pytest.raises(FileFormatError, match="is not a saved network"):
        load(path)
    with open(path, "wb") as file:
        pickle.dump(Bomb(mark), file)
    with pytest.raises(FileFormatError, match="is not a saved network"):
        load(path)
    assert not mark.exists()


# ---- what cannot be saved ----


def test_a_custom_activation_is_rejected_and_nothing_written(tmp_path: Path) -> None:
    square = CustomActivation(lambda x: x * x, lambda x: 2 * x)
    for k, net in enumerate((network(activation=["tanh", square]), network(output_activation=square))):
        with pytest.raises(
            InvalidArgumentError, match=rf"activations\[{k + 1}\] must be a built-in one, to be saved"
        ):
            save(net, tmp_path / "net.npz")
    assert os.listdir(tmp_path) == []
    save(network(), tmp_path / "net.npz")
    with pytest.raises(InvalidArgumentError):
        save(network(activation=square), tmp_path / "net.npz")
    assert_same(network(), load(tmp_path / "net.npz"))


BAD_NAMES: list[tuple[Any, str]] = [
    ([], "names must be a dict, got []"),
    ({"comment": 1}, "a key of names must be one of inputs, outputs, got 'comment'"),
    ({"output": ["a", "b"]}, "got 'output'; did you mean 'outputs'?"),
    ({3: ["a", "b"]}, "a key of names must be one of inputs, outputs, got 3"),
    ({"inputs": "ab"}, "names['inputs'] must be a list of 2 distinct strings, none of them empty, got 'ab'"),
    ({"inputs": None}, "names['inputs'] must be a list of 2 distinct strings, none of them empty, got None"),
    (
        {"inputs": []},
        "names['inputs'] must be a list of 2 distinct strings, none of them empty, got 0 of them",
    ),
    ({"outputs": ["a", "b", "c"]}, "names['outputs'] must be a list of 2 distinct strings"),
    ({"outputs": ["a", "a"]}, "none of them empty, got 'a' again at index 1"),
    ({"outputs": ["a", ""]}, "none of them empty, got '' at index 1"),
    ({"outputs": [1, "a"]}, "none of them empty, got 1 at index 0"),
    ({"outputs": [["a"], "a"]}, "none of them empty, got ['a'] at index 0"),
    ({"inputs": ["a", "b"], "outputs": 20_000 * ["a"]}, "none of them empty, got 20000 of them"),
]


@pytest.mark.parametrize(("names", "message"), BAD_NAMES)
def test_bad_names_are_rejected_and_nothing_is_written(names: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError) as told:
        save(network(), tmp_path / "net.npz", names)
    assert message in str(told.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("names", [names for names, _ in BAD_NAMES])
def test_a_file_with_bad_names_is_no_network(names: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **seal(with_header(names=names)))
    with pytest.raises(
        FileFormatError, match=r"net\.npz is not a saved network \(InvalidArgumentError: .*names"
    ):
        load(tmp_path / "net.npz")


@pytest.mark.parametrize("where", ["missing/net.npz", "", "file/net.npz"])
def test_a_file_that_can_not_be_written_is_an_os_error(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r".+"):
        save(network(), tmp_path / where)
    assert os.listdir(tmp_path) == ["file"]
    assert not [name for name in os.listdir(tmp_path.parent) if name.startswith(f".{tmp_path.name}")]


def test_a_network_that_an_earlier_version_saved() -> None:
    net = load(Path(__file__).parent / "data" / "saved_before_folders.npz")
    assert (net.in_features, net.hidden_sizes, net.out_features) == (1, [5, 4], 2)
    assert [activation.name for activation in net.activations] == ["tanh", "sine", "identity"]
    outputs = [
        [104.13667034371854, 10.058251067486594],
        [101.56258257121164, 6.57048452882583],
        [102.2403631434561, 71.2996394333949],
    ]
    np.testing.assert_allclose(net.predict([[0.0], [2.5], [10.0]]), outputs, rtol=1e-13)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_an_interrupted_save_leaves_the_old_file(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.npz"
    save(network(), path)
    before = path.read_bytes()

    def interrupted(file: Any, *_: Any, **__: Any) -> None:
        file.write(before[:100])
        raise error("now")

    with monkeypatch.context() as patch:
        patch.setattr("crabnet_jit.archive.np.lib.format.write_array", interrupted)
        with pytest.raises(error):
            save(network(activation="relu"), path)
    for name in ("fsync", "replace", "chmod"):
        with monkeypatch.context() as patch:
            patch.setattr(f"crabnet_jit.archive.os.{name}", lambda *_: (_ for _ in ()).throw(error("now")))
            with pytest.raises(error):
                save(network(activation="relu"), path)
    assert os.listdir(tmp_path) == ["net.npz"]
    assert path.read_bytes() == before


# ---- what is no network ----


def contents(net: NN) -> dict[str, Any]:
    """The arrays of a file."""
    header = {
        "format": "crabnet_jit network",
        "version": 1,
        "sizes": [2, *net.hidden_sizes, 2],
        "activations": [[activation.name, activation.options()] for activation in net.activations],
        "names": {},
    }
    return {"header": np.array(json.dumps(header)), "parameters": net.parameters.copy()}


def seal(arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays with a header that has their digest, so that other checks are reached."""
    with contextlib.suppress(KeyError, ValueError, RecursionError):
        header = json.loads(str(arrays["header"]))
        if isinstance(header, dict) and "digest" not in header:
            rest = {name: values for name, values in arrays.items() if name != "header"}
            return arrays | {"header": np.array(json.dumps(header | {"digest": _digest(rest)}))}
    return arrays


def with_header(**changes: Any) -> dict[str, Any]:
    arrays = contents(network())
    header = json.loads(str(arrays["header"])) | changes
    arrays["header"] = np.array(json.dumps({key: value for key, value in header.items() if value != "gone"}))
    return arrays


def test_the_contents_that_are_changed_below_are_those_of_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **seal(with_header()))
    assert_same(network(), load(tmp_path / "net.npz"))


def without(key: str) -> dict[str, Any]:
    arrays = contents(network())
    del arrays[key]
    return arrays


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.arange(3)},
        {},
        without("header"),
        without("parameters"),
        contents(network()) | {"header": np.array("{")},
        contents(network()) | {"header": np.array("[]")},
        contents(network()) | {"header": np.array("null")},
        contents(network()) | {"header": np.array(b"\xff")},
        contents(network()) | {"header": np.arange(4)},
        contents(network()) | {"header": np.array("[" * 100_000)},
        with_header(format="other"),
        with_header(version=2),
        with_header(version=None),
        with_header(sizes=[2, 5, 3]),
        with_header(sizes=[2, 5, 3, 0]),
        with_header(sizes=[2, -5, 3, 2]),
        with_header(sizes=[2, 5.5, 3, 2]),
        with_header(sizes=[2, "5", 3, 2]),
        with_header(sizes=[]),
        with_header(sizes=[2]),
        with_header(sizes=3),
        with_header(sizes=None),
        with_header(sizes="gone"),
        with_header(sizes=[2, 10**7, 10**7, 2]),
        with_header(sizes=[2, 2**62, 3, 2]),
        with_header(activations=[]),
        with_header(activations=[["tanh", {}]] * 2),
        with_header(activations=[["tanh", {}]] * 4),
        with_header(activations=[["tahn", {}]] * 3),
        with_header(activations=[["tanh", {"a": 1}]] * 3),
        with_header(activations=[["custom", {}]] * 3),
        with_header(activations=[["sine", {"frequency": -1}]] * 3),
        with_header(activations=[["sine", {"frequency": None}]] * 3),
        with_header(activations=[["tanh", []]] * 3),
        with_header(activations=[["tanh"]] * 3),
        with_header(activations=["tanh"] * 3),
        with_header(activations=[[["tanh"], {}]] * 3),
        with_header(names="gone"),
        with_header(digest=None),
        with_header(digest="0" * 64),
        with_header(digest=_digest({"parameters": np.zeros(41)})),
        with_header(names=[]),
        with_header(names={"inputs": 3}),
        contents(network()) | {"parameters": np.zeros(3)},
        contents(network()) | {"parameters": np.full(41, np.nan)},
        contents(network()) | {"parameters": np.zeros(41, np.int64)},
        contents(network()) | {"parameters": np.zeros(41, np.float16)},
        contents(network()) | {"parameters": np.zeros(41, complex)},
        contents(network()) | {"parameters": np.array("text")},
        contents(network()) | {"parameters": np.zeros((41, 1))},
        contents(network()) | {"x_mean": np.zeros(2)},
        contents(network()) | {"x_mean": np.zeros(2), "x_std": np.ones(2), "y_mean": np.zeros(2)},
        contents(network()) | dict.fromkeys(("x_mean", "x_std", "y_mean", "y_std"), np.ones(3)),
        contents(network()) | dict.fromkeys(("x_mean", "x_std", "y_mean", "y_std"), np.array([1, np.inf])),
        contents(network()) | dict.fromkeys(("x_mean", "x_std", "y_mean", "y_std"), np.array(["a", "b"])),
    ],
)
def test_other_arrays_are_no_network(arrays: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, **seal(arrays))
    with pytest.raises(FileFormatError, match=r"net\.npz is not a saved network \(.+\)"):
        load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"PK",
        b"x,y\n1,2\n",
        b"PK\x05\x06" + 18 * b"\0",
        b"\x93NUMPY",
        np.random.default_rng(0).bytes(1000),
    ],
)
def test_other_files_are_no_network(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"net\.npz is not a saved network"):
        load(path)


def test_an_array_alone_is_no_network(tmp_path: Path) -> None:
    np.save(tmp_path / "net.npy", np.arange(10.0))
    with pytest.raises(FileFormatError, match="is not a saved network"):
        load(tmp_path / "net.npy")


def test_a_folder_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="is not a saved network"):
        load(tmp_path)


def test_what_is_missing_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (
        tmp_path / "missing.npz",
        tmp_path / "missing" / "net.npz",
        tmp_path / "file" / "net.npz",
        tmp_path / ("a" * 1000),
    ):
        with pytest.raises(OSError, match=r".+"):
            load(path)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    save(fit(POINTS, POINTS, hidden_sizes=(3,), n_iterations=5), path)
    content = path.read_bytes()
    for size in [*range(0, 200), *range(200, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(FileFormatError, match="is not a saved network"):
            load(path)


def test_a_flipped_bit_is_told_or_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    net = fit(POINTS, POINTS, hidden_sizes=(3,), n_iterations=5)
    save(net, path)
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    rng = np.random.default_rng(1)
    told = 0
    for place in [*rng.choice(directory, 100, replace=False), *range(directory, len(content))]:
        bit = 1 << int(rng.integers(8))
        content[place] ^= bit
        path.write_bytes(content)
        content[place] ^= bit
        try:
            other = load(path)
        except (FileFormatError, OSError):
            told += 1
        else:
            assert_same(net, other)
    assert told > 200


def test_links_modes_and_devices_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.npz", tmp_path / "link.npz"
    save(network(), real)
    real.chmod(0o600)
    link.symlink_to(real)
    save(network(), link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o600
    null = Path(os.devnull)
    save(network(), null)
    assert not null.is_file()


# ---- open files, devices and loops ----


needs_descriptors = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files have no paths")


@needs_descriptors
@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd", "/proc/{}/fd"])
@pytest.mark.parametrize("n_links", [0, 1, 3])
def test_an_open_file_is_written_to_where_it_stands(folder: str, n_links: int, tmp_path: Path) -> None:
    save(network(), tmp_path / "net.npz")
    descriptor = os.open(tmp_path / "all", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"before")
    path = Path(folder.format(os.getpid()), str(descriptor))
    for k in range(n_links):
        (tmp_path / f"link{k}").symlink_to(path)
        path = tmp_path / f"link{k}"
    save(network(), path)
    assert path.is_symlink()
    os.write(descriptor, b"after")
    os.close(descriptor)
    content = (tmp_path / "all").read_bytes()
    assert content == b"before" + (tmp_path / "net.npz").read_bytes() + b"after"


@needs_descriptors
def test_what_was_printed_before_comes_before() -> None:
    code = "from crabnet_jit import NN, save; print('before'); save(NN(1, [], 1, rng=1), '/dev/stdout')"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, check=True, timeout=600, env=buffered)
    assert result.stdout.startswith(b"before\nPK")


@needs_descriptors
def test_a_file_that_is_open_elsewhere_loses_nothing(tmp_path: Path) -> None:
    save(network(), tmp_path / "net.npz")
    (tmp_path / "all").write_bytes(b"before")
    with (tmp_path / "all").open("rb") as file, subprocess.Popen(["sleep", "60"], stdin=file) as other:
        (tmp_path / "link").symlink_to(f"/proc/{other.pid}/fd/0")
        save(network(), tmp_path / "link")
        other.kill()
    assert (tmp_path / "all").read_bytes() == b"before" + (tmp_path / "net.npz").read_bytes()


@needs_descriptors
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    ends = os.pipe()
    save(network(), f"/dev/fd/{ends[1]}")
    os.close(ends[1])
    with os.fdopen(ends[0], "rb") as pipe:
        (tmp_path / "net.npz").write_bytes(pipe.read())
    assert_same(network(), load(tmp_path / "net.npz"))


@needs_descriptors
@pytest.mark.parametrize("number", ["987", "9" * 30, "x"])
def test_an_open_file_that_there_is_not(number: str) -> None:
    with pytest.raises(OSError, match=f"/fd/{number}"):
        save(network(), f"/dev/fd/{number}")


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no folder in memory")
def test_a_file_in_memory_is_an_ordinary_file() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "net.npz")
        for activation in ("tanh", "relu"):
            save(network(activation=activation), path)
            assert_same(network(activation=activation), load(path))
        assert os.listdir(folder) == ["net.npz"]


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
@pytest.mark.parametrize("where", ["loop0", "loop0/net.npz"])
def test_a_loop_of_links_is_an_os_error(where: str, tmp_path: Path) -> None:
    for k in range(2):
        (tmp_path / f"loop{k}").symlink_to(tmp_path / f"loop{1 - k}")
    path = tmp_path / where
    for call in (lambda: save(network(), path), lambda: load(path), lambda: follow(path)):
        with pytest.raises(OSError, match="loop0") as told:
            call()
        assert told.value.errno == errno.ELOOP
    assert sorted(os.listdir(tmp_path)) == ["loop0", "loop1"]


def test_parameters_that_could_not_be_loaded_are_not_saved(tmp_path: Path) -> None:
    net = network()
    net.parameters[0] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"net\.parameters must be finite"):
        save(net, tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())
