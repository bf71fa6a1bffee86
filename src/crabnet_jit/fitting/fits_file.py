"""The file from which many fits resume: the finished networks, and which fits they belong to."""

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.archive import read_archive, write_archive
from crabnet_jit.arrays import Array
from crabnet_jit.components.base import Component, described
from crabnet_jit.data.columns import is_frame
from crabnet_jit.fitting.shared import Shared
from crabnet_jit.fitting.understanding import Data, understood
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.training.divergence import DivergenceError

_KIND, _VERSION = "many fits", 1
#: Arguments of `fit` that `understood` takes.
UNDERSTOOD = "sample_weight", "loss", "handle_unknown", "missing", "start"
_WITHOUT_EFFECT = "sample_weight", "keep_losses", "n_threads"  # on the network, or part of the data


class Finished(NamedTuple):
    """A finished fit.

    Attributes
    ----------
    identity : str
        A digest of its arguments and data, see `identity`.
    found : FloatingPointError or dict
        Its error; or everything in its network that a fit without iterations lacks, as plain values.
    arrays : dict
        The same for arrays.
    """

    identity: str
    found: Any
    arrays: dict[str, Array]

    @classmethod
    def of(cls, name: str, net: NN | None, error: FloatingPointError | None) -> "Finished":
        """The result of a fit."""
        if net is None:
            return cls(name, error, {})
        history = net.fit_history
        assert history is not None
        arrays = {"parameters": net.parameters.copy(), "window": history.training.window()}
        values: dict[str, Any] = {
            "n_iterations": history.n_iterations,
            "validation": [history.validation_iterations, history.validation_losses],
        }
        if net.posterior is not None:
            values["posterior"] = list(net.posterior[:-1])
            arrays["posterior_factor"] = net.posterior.factor
        return cls(name, values, arrays)

    def network(self, net: NN) -> NN:
        """The network of a fit without iterations, completed with the results of training."""
        history = net.fit_history
        assert history is not None
        net.parameters = self.arrays["parameters"]
        if "posterior" in self.found:
            noise_std, decay, n_effective, n_residuals = self.found["posterior"]
            factor = self.arrays["posterior_factor"]
            net.posterior = Posterior(noise_std, decay, n_effective, n_residuals, factor)
        else:
            net.posterior = None
        history.training.events.clear()
        history.training.go_to(self.found["n_iterations"], self.arrays["window"], "taken from a checkpoint")
        iterations, losses = self.found["validation"]
        net.fit_history = history._replace(validation_iterations=iterations, validation_losses=losses)
        return net


def check_place(name: str, path: str | PathLike[str]) -> Path:
    """A path to write to later, in a folder that exists."""
    place = check.path(name, path)
    if not place.absolute().parent.is_dir() or place.is_dir():
        raise check.reject(name, "a file in a folder that exists", repr(str(place)))
    return place


def write_fits(path: Path, finished: Mapping[int, Finished]) -> None:
    """Write the file whole or not at all."""
    fits: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    for k, one in finished.items():
        values = one.found
        if isinstance(values, FloatingPointError):
            values = {"error": list(values.args) if isinstance(values, DivergenceError) else [str(values)]}
        fits[str(k)] = {"identity": one.identity, **values}
        arrays |= {f"{k}/{name}": array for name, array in one.arrays.items()}
    write_archive(path, _KIND, _VERSION, {"fits": fits}, arrays)


def read_fits(path: str | PathLike[str]) -> dict[int, Finished]:
    """Read what `write_fits` wrote; everything is checked except the digest of the numbers.

    Raises
    ------
    FileFormatError
        If the file is something else, or damaged.
    OSError
        If it cannot be read.
    """
    return read_archive(path, _KIND, [_VERSION], _parse)


def _parse(header: dict[str, Any], arrays: dict[str, Array]) -> dict[int, Finished]:
    result = {}
    for key, values in header["fits"].items():
        found: Any
        k, name = check.integer("a place", int(key), 0), check.text("identity", values["identity"])
        if "error" in values:
            error = values["error"]
            found = FloatingPointError(*error) if len(error) == 1 else DivergenceError(*error)
            str(found)
            result[k] = Finished(name, found, {})
            continue
        iterations, losses = values["validation"]
        found = {
            "n_iterations": check.integer("n_iterations", values["n_iterations"], 0),
            "validation": (
                [check.integer("an iteration", i, 0) for i in iterations],
                list(map(float, losses)),
            ),
        }
        names = ["parameters", "window"]
        if "posterior" in values:
            found["posterior"] = values["posterior"]
            names.append("posterior_factor")
        own = {name: arrays.pop(f"{k}/{name}") for name in names}
        if own["window"].ndim != 1 or own["window"].dtype != np.float64:
            raise ValueError(f"a window of {own['window'].dtype}, shape {own['window'].shape}")
        result[k] = Finished(name, found, own)
    if arrays:
        raise ValueError(f"unknown arrays {sorted(arrays)}")
    return result


def identity(x: Shared, y: Any, spec: Mapping[str, Any]) -> str:
    """A digest of a fit: of its data, and of all its arguments except functions."""
    data = understood(x, y, *(spec[name] for name in UNDERSTOOD))
    rest = {name: value for name, value in sorted(spec.items()) if name not in _WITHOUT_EFFECT}
    return _digest(x.once(_digest_of_data, data), *map(_text, rest.items()))


def _digest_of_data(data: Data) -> str:
    arrays = (data.inputs, data.targets, data.weights, data.is_kept)
    return _digest(*map(_text, arrays), repr(data.schema.values()))


def _text(value: Any) -> str:
    """A description of a value that is the same in every process."""
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return (
            f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
        )
    if isinstance(value, NN):
        return f"{value.spec.configuration()}{_text(value.parameters)}"
    if isinstance(value, Component) or callable(value):
        return described(value)
    if isinstance(value, (tuple, list)):
        return f"({','.join(map(_text, value))})"
    if is_frame(value):
        return f"{type(value).__name__}{np.shape(value)}"
    return repr(value)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
