"""What is sent to a cluster, and whether it can be sent, which is checked before anything runs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import cloudpickle
import numpy as np
from distributed import Client

from crabnet_jit import check
from crabnet_jit.components.base import Component
from crabnet_jit.fitting.parcels import n_bytes
from crabnet_jit.fitting.worker import Report, versions
from crabnet_jit.network.network import NN

_MAX_SHORT = 100  # items of a list that may contain objects that others have, too
_COPIES = 2  # of the data, on a worker: as they came, and in the form for training
_WHAT_TO_DO = (
    "; cloudpickle takes functions, also lambdas, but nothing that holds open files, locks or connections"
)


class Travelling:
    """Objects that are sent to a cluster.

    Parameters
    ----------
    things : iterable of (str, object)
        Arguments with their names. Plain values are ignored.

    Attributes
    ----------
    shared : list
        The objects of several arguments, and functions, which must remain the same objects.
    pickled : dict of str to bytes
        The objects that a worker may be unable to load, by their names.

    Raises
    ------
    InvalidArgumentError
        If an object cannot be pickled.
    """

    def __init__(self, things: Iterable[tuple[str, Any]]) -> None:
        objects: dict[int, Any] = {}
        counts: Counter[int] = Counter()
        self.pickled: dict[str, bytes] = {}
        loaded: set[int] = set()
        for name, value in things:
            for part in _parts(value):
                counts[id(part)] += 1
                if id(part) in objects:
                    continue
                objects[id(part)] = part
                check_pickles(name, part)
                needed = part if _is_function(part) else type(part)
                if id(needed) not in loaded:
                    loaded.add(id(needed))
                    self.pickled[name] = cloudpickle.dumps(needed)
        self.shared = [part for key, part in objects.items() if counts[key] > 1 or _is_function(part)]


def check_pickles(name: str, value: Any) -> None:
    """Raise an error if the value cannot be pickled."""
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return
    try:
        n_bytes(value)
    except Exception as error:  # whatever its methods raise
        came = f"{check.shown(value)} ({type(error).__name__}: {error})"
        raise check.reject(
            name, "something that cloudpickle can send to a worker", came, _WHAT_TO_DO
        ) from None


def _parts(value: Any) -> Iterator[Any]:
    """The objects in a value that are not plain."""
    if value is None or isinstance(value, (str, int, float, np.generic, np.dtype)):
        return
    if isinstance(value, (tuple, list)) and len(value) <= _MAX_SHORT:
        for item in value:
            yield from _parts(item)
        return
    yield value
    if isinstance(value, Component):
        yield from filter(callable, value.options().values())


def _is_function(value: Any) -> bool:
    return isinstance(value, Component) or (callable(value) and not isinstance(value, NN))


def checked_client(cluster: Any) -> Client:
    """The argument, if it is a connected client of Dask."""
    if not isinstance(cluster, Client):
        has_clients = hasattr(cluster, "get_client")
        hint = "; pass cluster.get_client()" if has_clients else "; such as distributed.Client(address)"
        raise check.reject("cluster", "a distributed.Client", check.shown(cluster), hint)
    if cluster.asynchronous:
        raise check.reject("cluster", "a client that is not asynchronous", check.shown(cluster))
    if cluster.status != "running":
        raise check.reject("cluster", "a client that is connected", f"one that is {cluster.status}")
    return cluster


def check_workers(found: Mapping[str, Any], n_bytes: int) -> None:
    """Raise an error if a worker cannot do the job; `found` has reports or errors by addresses."""
    for address, one in found.items():
        if not isinstance(one, Report):
            came = f"none that works: {type(one).__name__}: {one}"
            raise check.InvalidArgumentError(
                _refusal(address, f"crabnet_jit {versions()['crabnet_jit']}", came)
            )
        if message := refusal(address, one.versions):
            raise check.InvalidArgumentError(message)
        for name, reason in one.refused.items():
            hint = "; install its module there, or send it by client.upload_file"
            raise check.reject(name, f"something that the worker {address} can load", reason, hint)
        if one.memory_limit is not None and _COPIES * n_bytes > one.memory_limit:
            needed = f"memory for {_COPIES} times {n_bytes / 1e9:,.3g} GB of data"
            came = f"a memory_limit of {one.memory_limit / 1e9:,.3g} GB"
            raise check.InvalidArgumentError(_refusal(address, needed, came))


def refusal(address: str, found: Mapping[str, str]) -> str:
    """A message if a worker has other versions, whose bits may differ; otherwise empty."""
    for name, version in versions().items():
        if found.get(name) != version:
            return _refusal(address, f"{name} {version}, as here", f"{name} {found.get(name)}")
    return ""


def _refusal(address: str, allowed: str, came: str) -> str:
    return f"the worker {address} must have {allowed}; it has {came}"
