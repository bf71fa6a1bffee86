"""Networks as files: NumPy's npz, without pickle.

A file holds the flat parameters, the standardisation if there is one, and a text, JSON, with the format's
version, the sizes, and the activations with their options.
"""

import contextlib
import errno
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
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
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "sizes": [net.in_features, *net.hidden_sizes, net.out_features],
        "activations": [[activation.name, activation.options()] for activation in net.activations],
        "names": names or {},
    }
    arrays = {"parameters": net.parameters}
    if net.standardization is not None:
        arrays |= net.standardization._asdict()
    with whole_file(path) as file:
        np.savez(file, header=np.array(json.dumps(header)), **arrays)  # type: ignore[arg-type]  # its stub


@contextlib.contextmanager
def whole_file(path: str | PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to that takes its place when it is complete, and leaves nothing if it is not."""
    target = Path(path)
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(target.parent))
    descriptor, temporary = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # as for any new file; a temporary one is private
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
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("not an npz file")
            arrays = dict(file)
        header = json.loads(str(arrays.pop("header")))
        if header["format"] != _FORMAT or header["version"] != _VERSION:
            raise ValueError(f"{header['format']}, version {header['version']}")
        net = _build(header["sizes"], header["activations"], arrays.pop("parameters"))
        if arrays:
            net.standardization = _standardization(net, arrays)
        return net, {key: [str(name) for name in names] for key, names in header["names"].items()}
    except (ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise FileFormatError(f"{os.fspath(path)} is not a saved network ({reason})") from None


def _build(sizes: list[int], activations: list[Any], parameters: Any) -> NN:
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
