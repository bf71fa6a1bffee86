"""Networks as files: NumPy's npz, without pickle.

A file holds the flat parameters, the standardisation if there is one, and a JSON string with the format's
version, the sizes, the activations with their options, the schema, and a digest of the numbers; also the
domain of the inputs and the posterior, if there are any. Version 1 had names instead of a schema; version 2
had no heads in the schema. The file of an ensemble has the contents of each member, and equal arrays once.
"""

import importlib
from dataclasses import replace
from os import PathLike
from typing import Any

from crabnet_jit import check
from crabnet_jit.archive import kind_of, read_archive, write_archive
from crabnet_jit.arrays import Array
from crabnet_jit.data.columns import Column, Columns
from crabnet_jit.data.domain import Domain
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.network.predictor import Predictor
from crabnet_jit.network.schema import Schema, different_texts
from crabnet_jit.network.spec import Spec

_KIND, _KIND_OF_ENSEMBLES = "network", "ensemble"
_VERSIONS = 1, 2, 3


@check.keywords
def save(
    net: Predictor,
    path: str | PathLike[str],
    names: dict[str, list[str]] | None = None,
    *,
    posterior: bool = True,
) -> None:
    """Write a network or an ensemble to a file; an old file is replaced when the new one is complete.

    Parameters
    ----------
    net : NN or Ensemble
        All activations must have a name; a `CustomActivation` has none.
    path : path-like
        Usually with the suffix .npz.
    names : dict of lists of str, optional
        Distinct names of the features, under "inputs" and "outputs" or one of them; by default those of the
        data frame of the fit. Not for ensembles.
    posterior : bool, default True
        Whether the file keeps the network's `posterior`, if it has one: 8 bytes times the square of the
        number of parameters.

    Raises
    ------
    InvalidArgumentError
        For a `CustomActivation`, or names that are not distinct strings, one for each feature.
    OSError
        If the file cannot be written. Then nothing of it is left.
    """
    has_posterior = check.flag("posterior", posterior)
    if isinstance(net, NN):
        values, arrays = _all_contents(net, has_posterior)
        if names is not None:
            values["schema"] = _renamed(net, names).values()
        write_archive(path, _KIND, _VERSIONS[-1], values, arrays)
        return
    check.instance("net", net, _ensemble_class(), "an NN or an Ensemble")
    if names is not None:
        raise check.reject("names", "None for an ensemble", check.shown(names))
    write_archive(path, _KIND_OF_ENSEMBLES, 1, *_contents_of_ensemble(net, has_posterior))


@check.keywords
def load(path: str | PathLike[str]) -> Any:
    """Read a network or an ensemble that `save` wrote to a file.

    Returns
    -------
    NN or Ensemble

    Raises
    ------
    FileFormatError
        If the file is something else, damaged, or of a later version.
    OSError
        If it cannot be read.
    """
    if kind_of(check.path("path", path)) == _KIND_OF_ENSEMBLES:
        return read_archive(path, _KIND_OF_ENSEMBLES, [1], _ensemble_from)
    return read_archive(path, _KIND, _VERSIONS, from_contents)


def _ensemble_class() -> Any:
    """`Ensemble`, imported when there is one."""
    return importlib.import_module("crabnet_jit.network.ensemble").Ensemble


def _all_contents(net: NN, has_posterior: bool) -> tuple[dict[str, Any], dict[str, Array]]:
    """The same as `contents`, with the posterior."""
    values, arrays = contents(net)
    if has_posterior and net.posterior is not None:
        values["posterior"] = list(net.posterior[:-1])
        arrays["posterior_factor"] = net.posterior.factor
    return values, arrays


def _contents_of_ensemble(ensemble: Any, has_posterior: bool) -> tuple[dict[str, Any], dict[str, Array]]:
    """The values of each member with the indices of its arrays, and all arrays by index."""
    members, arrays = [], ensemble.calibration()
    places: dict[Any, str] = {}
    for net in ensemble:
        values, own = _all_contents(net, has_posterior)
        values["arrays"] = {}
        for name, array in own.items():
            place = places.setdefault((array.dtype, array.shape, array.tobytes()), f"array{len(places)}")
            values["arrays"][name] = place
            arrays[place] = array
        members.append(values)
    return {"members": members}, arrays


def _ensemble_from(header: dict[str, Any], arrays: dict[str, Array]) -> Any:
    """The ensemble, fully checked; any exception means that the values are invalid."""
    used: set[str] = set()
    networks = []
    for values in header["members"]:
        places = values.pop("arrays")
        used |= {*places.values()}
        networks.append(from_contents(values, {name: arrays[place] for name, place in places.items()}))
    ensemble = _ensemble_class()(networks)
    rest = {name: array for name, array in arrays.items() if name not in used}
    if rest:
        ensemble.take_calibration(**rest)
    return ensemble


def contents(net: NN) -> tuple[dict[str, Any], dict[str, Array]]:
    """The JSON values and the arrays of a network's file; `from_contents` reads them."""
    check.array("net.parameters", net.parameters, net.dtype)
    arrays = {"parameters": net.parameters}
    if net.standardization is not None:
        arrays |= net.standardization._asdict()
    if net.domain is not None:
        arrays |= {f"domain_{name}": part for name, part in net.domain._asdict().items()}
    return {**net.spec.values(), "schema": net.schema.values()}, arrays


def from_contents(values: dict[str, Any], arrays: dict[str, Array]) -> NN:
    """The network from `contents`, fully checked; any exception means that they are invalid."""
    of_domain = [f"domain_{name}" for name in Domain._fields]
    factor = arrays.pop("posterior_factor", None)
    if unknown := set(arrays) - {"parameters", *Standardization._fields, *of_domain}:
        raise ValueError(f"unknown arrays {sorted(unknown)}")
    parameters = arrays.pop("parameters")
    spec = Spec.from_values(values, parameters.dtype)
    if parameters.shape != (spec.n_parameters,):
        raise ValueError(f"parameters of shape {parameters.shape}, not ({spec.n_parameters},)")
    net = NN.from_spec(spec, parameters)
    if any(name in arrays for name in of_domain):
        net.domain = Domain(*(arrays.pop(name) for name in of_domain))
    if arrays:
        net.standardization = Standardization(**arrays)
    if factor is not None:
        noise_std, decay, n_effective, n_residuals = values["posterior"]
        net.posterior = Posterior(noise_std, decay, n_effective, n_residuals, factor)
    is_first = values.get("version") == _VERSIONS[0]
    net.schema = _renamed(net, values["names"]) if is_first else Schema.from_values(values["schema"])
    return net


def _renamed(net: NN, names: dict[str, list[str]]) -> Schema:
    """The schema of a network, with other names for its features."""
    check.instance("names", names, dict, "a dict")
    schema, counts = net.schema, {"inputs": net.in_features, "outputs": net.n_targets}
    for key, given in names.items():
        count = counts[check.choice("a key of names", key, counts)]
        texts = different_texts(f"names[{key!r}]", given, count)
        if key == "outputs":
            schema = replace(schema, output_names=tuple(texts))
        elif schema.columns is None or schema.columns.are_numbers:
            schema = replace(schema, columns=Columns(tuple(map(Column, texts))))
        elif texts != schema.columns.encoded_names:
            raise check.reject(
                "names['inputs']", "those of the fit, which has columns of strings", repr(texts)
            )
    return schema
