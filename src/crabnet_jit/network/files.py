"""Networks as files: NumPy's npz, without pickle.

A file holds the flat parameters, the standardisation if there is one, and a text, JSON, with the format's
version, the sizes, the activations with their options, and a digest of the numbers.
"""

from os import PathLike
from typing import Any

from crabnet_jit import check
from crabnet_jit.archive import read_archive, write_archive
from crabnet_jit.arrays import Array
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.network.network import NN
from crabnet_jit.network.spec import Spec

_KIND = "network"
_VERSION = 1


@check.keywords
def save(net: NN, path: str | PathLike[str], names: dict[str, list[str]] | None = None) -> None:
    """Write a network to a file; a file that was there is replaced when the new one is complete.

    Parameters
    ----------
    net : NN
        With activations that have a name; those of users have none.
    path : path-like
        By custom with the ending .npz.
    names : dict of lists of str, optional
        "inputs" and "outputs", or one of them: what the features are called, each by a name of its own.

    Raises
    ------
    InvalidArgumentError
        For a `CustomActivation`, or names that are not as many different texts as there are features.
    OSError
        If the file cannot be written. Nothing is left of it then.
    """
    check.instance("net", net, NN, "an NN")
    names = {} if names is None else names
    _check_names(names, net)
    values = {**net.spec.values(), "names": names}
    check.array("net.parameters", net.parameters, net.dtype)
    arrays = {"parameters": net.parameters}
    if net.standardization is not None:
        arrays |= net.standardization._asdict()
    write_archive(path, _KIND, _VERSION, values, arrays)


@check.keywords
def load(path: str | PathLike[str]) -> NN:
    """The network that `save` wrote to a file.

    Raises
    ------
    FileFormatError
        If the file is something else, damaged, or of a later version.
    OSError
        If it cannot be read.
    """
    return load_with_names(path)[0]


def load_with_names(path: str | PathLike[str]) -> tuple[NN, dict[str, list[str]]]:
    """The network in a file, and what its features are called."""
    return read_archive(path, _KIND, _VERSION, _parse)


def feature_names(net: NN, names: dict[str, list[str]]) -> tuple[list[str], list[str]]:
    """What inputs and outputs are called: by the names in a file, or else x0, x1, … and y0, y1, … ."""
    inputs = names.get("inputs") or default_names("x", net.in_features)
    outputs = names.get("outputs") or default_names("y", net.out_features)
    return inputs, outputs


def default_names(letter: str, n: int) -> list[str]:
    """Of n features: the letter and their number, from 0 on."""
    return [f"{letter}{k}" for k in range(n)]


def _check_names(names: Any, net: NN) -> None:
    """A dict of "inputs" and "outputs", or of one, with a different text for each feature."""
    check.instance("names", names, dict, "a dict")
    counts = {"inputs": net.in_features, "outputs": net.out_features}
    for key, given in names.items():
        count = counts[check.choice("a key of names", key, counts)]
        if (wrong := _wrong_names(given, count)) is not None:
            allowed = f"a list of {count} different texts, none of them empty"
            raise check.reject(f"names[{key!r}]", allowed, wrong)


def _wrong_names(given: object, count: int) -> str | None:
    """What keeps this from being a list of so many different texts, if anything does."""
    if not isinstance(given, list):
        return check.shown(given)
    if len(given) != count:
        return f"{len(given)} of them"
    seen: set[str] = set()
    for k, name in enumerate(given):
        if not isinstance(name, str) or not name:
            return f"{check.shown(name)} at index {k}"
        if name in seen:
            return f"{check.shown(name)} once more at index {k}"
        seen.add(name)
    return None


def _parse(header: dict[str, Any], arrays: dict[str, Array]) -> tuple[NN, dict[str, list[str]]]:
    if unknown := set(arrays) - {"parameters", *Standardization._fields}:
        raise ValueError(f"unknown arrays {sorted(unknown)}")
    parameters = arrays.pop("parameters")
    spec = Spec.from_values(header, parameters.dtype)
    if parameters.shape != (spec.n_parameters,):
        raise ValueError(f"parameters of shape {parameters.shape}, not ({spec.n_parameters},)")
    net = NN.from_spec(spec, parameters)
    if arrays:
        net.standardization = Standardization(**arrays)
    _check_names(header["names"], net)
    return net, header["names"]
