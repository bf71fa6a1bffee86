"""Networks as files: NumPy's npz, without pickle.

A file holds the flat parameters, the standardisation if there is one, and a text, JSON, with the format's
version, the sizes, the activations with their options, and a digest of the numbers.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from crabnet_jit import _validation as check
from crabnet_jit.activations import ACTIVATIONS, Activation
from crabnet_jit.network import NN, Standardization

_FORMAT = "crabnet_jit network"
_VERSION = 1


class FileFormatError(ValueError):
    """A file is not a network that `save` wrote."""


def save(net: NN, path: str | PathLike[str], names: dict[str, list[str]] | None = None) -> None:
    """Write a network to a file; a file that was there is replaced when the new one is complete.

    Parameters
    ----------
    net : NN
        With activations that have a name; those of users have none.
    path : path-like
        By custom with the ending .npz.
    names : dict of lists of str, optional
        "inputs" and "outputs": what the features are called.

    Raises
    ------
    InvalidArgumentError
        For a `CustomActivation`.
    OSError
        If the file can not be written. Nothing is left of it then.
    """
    for k, activation in enumerate(net.activations):
        if activation.name not in ACTIVATIONS:
            raise check.reject(f"activations[{k}]", "one that has a name, to be saved", repr(activation))
    check.array("net.parameters", net.parameters, net.dtype)
    arrays = {"parameters": net.parameters}
    if net.standardization is not None:
        arrays |= net.standardization._asdict()
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "sizes": [net.in_features, *net.hidden_sizes, net.out_features],
        "activations": [[activation.name, activation.options()] for activation in net.activations],
        "names": names or {},
        "digest": _digest(arrays),
    }
    with whole_file(path) as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)  # type: ignore[arg-type]  # its stub


def _digest(arrays: dict[str, Any]) -> str:
    """Of names and numbers; the checks of zip files leave gaps."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def whole_file(path: str | PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to that takes its place when it is complete, and leaves nothing if it is not."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():  # a device or a pipe stays what it is
        buffer = io.BytesIO()  # since many cannot seek
        yield buffer
        target.write_bytes(buffer.getvalue())
        return
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(target.parent))
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # A temporary file is private.
        os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path: str | PathLike[str]) -> NN:
    """The network that `save` wrote to a file.

    Raises
    ------
    FileFormatError
        If the file is something else, damaged, or of a later version.
    OSError
        If it can not be read.
    """
    return load_with_names(path)[0]


def load_with_names(path: str | PathLike[str]) -> tuple[NN, dict[str, list[str]]]:
    """The network in a file, and what its features are called."""
    data = Path(path).read_bytes()
    try:
        return _parse(data)
    except (Exception, MemoryError) as error:  # whatever goes wrong here, it is the file
        reason = f"{type(error).__name__}: {error}"
        raise FileFormatError(f"{os.fspath(path)} is not a saved network ({reason})") from None


def _parse(data: bytes) -> tuple[NN, dict[str, list[str]]]:
    if not data.startswith(b"PK"):  # NumPy would take other files, too
        raise ValueError("not an npz file")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        if unknown := set(file.files) - {"header", "parameters", *Standardization._fields}:
            raise ValueError(f"unknown arrays {sorted(unknown)}")
        arrays = {name: _read(file, name, len(data)) for name in file.files}
    header = json.loads(str(arrays.pop("header")))
    if header["format"] != _FORMAT or header["version"] != _VERSION:
        raise ValueError(f"{header['format']!r}, version {header['version']!r}")
    if header["digest"] != _digest(arrays):
        raise ValueError("damaged")
    net = _build(header["sizes"], header["activations"], arrays.pop("parameters"))
    if arrays:
        net.standardization = _standardization(net, arrays)
    return net, {key: [str(name) for name in names] for key, names in header["names"].items()}


def _read(file: Any, name: str, n_bytes: int) -> Any:
    """An array of the file, which is not compressed, so no part of it is larger than the whole."""
    if file.zip.getinfo(f"{name}.npy").file_size > n_bytes:
        raise ValueError(f"{name} is larger than the file")
    return file[name]


def _build(sizes: list[int], activations: list[Any], parameters: Any) -> NN:
    sizes = [check.integer("a size", size, 1) for size in sizes]
    if len(sizes) != len(activations) + 1 or len(sizes) < 2:
        raise ValueError(f"{len(sizes)} sizes and {len(activations)} activations")
    count = sum(n_out * (n_in + 1) for n_in, n_out in pairwise(sizes))
    if parameters.shape != (count,):
        raise ValueError(f"parameters of shape {parameters.shape}, not ({count},)")
    behind: list[Activation] = [ACTIVATIONS[name](**options) for name, options in activations]
    return NN(
        sizes[0],
        sizes[1:-1],
        sizes[-1],
        activation=behind[:-1],
        output_activation=behind[-1],
        init=parameters,
        dtype=parameters.dtype,
    )


def _standardization(net: NN, arrays: dict[str, Any]) -> Standardization:
    widths = {
        "x_mean": net.in_features,
        "x_std": net.in_features,
        "y_mean": net.out_features,
        "y_std": net.out_features,
    }
    return Standardization(*(check.same_shape(name, arrays[name], (n,)) for name, n in widths.items()))
