"""What runs on the workers of a Dask cluster: a task is a call of `work`.

Members are computed one after the other, each with one thread; a worker computes as many tasks at once as it
has threads. A worker gets what all members of a job share once, as an `Outfit`.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import locket
import numba
from distributed import WorkerPlugin, get_worker

import crabnet_jit
from crabnet_jit.fitting.member import Members, Travelled
from crabnet_jit.fitting.parcels import Parcels
from crabnet_jit.machine.cache import cache_directory, prefer_folder
from crabnet_jit.machine.signals import Flag, Stopped, new_flag, set_flag, stoppable

_LOCK_SECONDS = 300.0  # another process of this machine may compile that long; then it may hang
_running: dict[str, Flag] = {}  # tasks of this process, by their keys
_compiled: set[Any] = set()  # kinds of members for which this process has machine code
_compiling = threading.Lock()


@dataclass(frozen=True)
class Outfit:
    """What a worker has for all members of a job.

    Attributes
    ----------
    shared
        The first argument of the function that is called with each member.
    parcels : Parcels
        Converts members and results.
    versions : dict of str
        The versions of the client, which the worker must have, too.
    """

    shared: Any
    parcels: Parcels
    versions: Mapping[str, str]


class Done(NamedTuple):
    """The result of a task.

    Attributes
    ----------
    results : bytes
        A parcel with a list: results of the first members. There was no time for the others.
    seconds : float
        The time of these members.
    error : bytes, optional
        A parcel with the error of the next member.
    """

    results: bytes
    seconds: float
    error: bytes | None


class Report(NamedTuple):
    """What a client has to know about a worker.

    Attributes
    ----------
    versions : dict of str
        Versions of packages.
    memory_limit : int or None
        In bytes; None for no limit.
    refused : dict of str
        Why this worker cannot load some objects, by their names.
    """

    versions: Mapping[str, str]
    memory_limit: int | None
    refused: Mapping[str, str]


def versions() -> dict[str, str]:
    """Versions of the packages that determine the bits of a result."""
    return {"crabnet_jit": crabnet_jit.__version__, "numba": numba.__version__}


def report(things: Mapping[str, bytes], dask_worker: Any) -> Report:
    """Report on this worker, and on whether it can load these pickled objects."""
    refused = {}
    for name, thing in things.items():
        try:
            cloudpickle.loads(thing)
        except Exception as error:  # whatever an import raises
            refused[name] = f"{type(error).__name__}: {error}"
    return Report(versions(), dask_worker.memory_manager.memory_limit or None, refused)


def unpacked(outfit: bytes) -> Outfit:
    """The first task of a job; the others take its result."""
    result: Outfit = cloudpickle.loads(outfit)
    return result


def received(outfit: Outfit) -> None:
    """A task that brings the outfit to a worker."""


@dataclass(frozen=True)
class Function:
    """What is called with the shared objects and a member.

    Attributes
    ----------
    call : callable
        Returns the result.
    prepare : callable
        Called first, to compile kernels; its time does not count.
    """

    call: Callable[[Any, Any], Any]
    prepare: Callable[[Any, Any], object]


def work(
    outfit: Outfit, function: Function, members: bytes, seconds: float
) -> Done | tuple[str, dict[str, str]]:
    """Call a function with each member of a parcel, until the time is up, but with at least one.

    If the client does not need the task any more, it ends at once. If the client has other versions, the
    result is the address and the versions of this worker.
    """
    if outfit.versions != versions():
        return get_worker().address, versions()
    results: list[Any] = []
    used, failure = 0.0, None
    with contextlib.suppress(Stopped), _stoppable_task():
        for member in outfit.parcels.unpack(members):
            try:
                function.prepare(outfit.shared, member)
                start = time.perf_counter()
                results.append(function.call(outfit.shared, member))
                used += time.perf_counter() - start
            except Exception as error:
                failure = _packed_error(outfit.parcels, error)
                break
            if used > seconds:
                break
    return Done(outfit.parcels.pack(results), used, failure)


def _packed_error(parcels: Parcels, error: Exception) -> bytes:
    """The error, or its message if it cannot be sent."""
    try:
        packed = parcels.pack(error)
        parcels.unpack(packed)
    except Exception:
        return parcels.pack(RuntimeError("\n".join([repr(error), *getattr(error, "__notes__", [])])))
    return packed


@contextlib.contextmanager
def _stoppable_task() -> Iterator[None]:
    """A block that ends with `Stopped` when its task is not needed any more."""
    key = get_worker().get_current_task()
    flag = _running[key] = new_flag()
    try:
        with stoppable(flag):
            yield
    finally:
        del _running[key]


class Helper(WorkerPlugin):
    """Stops tasks of a job that are not needed any more, and keeps kernels on the machine of the worker.

    Parameters
    ----------
    job : str
        The beginning of the keys of its tasks.
    """

    def __init__(self, job: str) -> None:
        self._job = job

    def setup(self, worker: Any) -> None:
        """Called when a worker joins, before it gets a task."""
        prefer_folder(Path(worker.local_directory).parent)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Called when the state of a task changes; a released task is not needed any more."""
        if finish == "released" and key in _running:
            set_flag(_running[key])

    def teardown(self, worker: Any) -> None:
        """Called when the worker or the job ends."""
        for key, flag in [*_running.items()]:
            if key.startswith(self._job):
                set_flag(flag)


def compile_once(spec: Mapping[str, Any], run: Callable[[], object]) -> None:
    """Call `run`, a short fit of this kind, unless its kernels are compiled; one process after the other."""
    kind = spec["batch_size"], *((name, _kind(value)) for name, value in spec.items())
    if kind in _compiled:
        return
    with _compiling, _alone_on_this_machine():
        if kind not in _compiled:
            with contextlib.suppress(Exception):  # the fit itself will raise it
                run()
            _compiled.add(kind)


def _compile(shared: Members, member: tuple[int, Mapping[str, Any]]) -> None:
    _, own = member
    compile_once({**shared.options, **own}, lambda: shared.fit({**own, "n_iterations": 1}))


def _fit(shared: Members, member: tuple[int, Mapping[str, Any]]) -> Travelled:
    return Travelled.of(shared.outcome(*member))


#: Fits a spec; a member is its place and its arguments.
FIT = Function(_fit, _compile)


def _kind(value: Any) -> Any:
    """A key that is the same for values that need the same kernels."""
    if isinstance(value, (int, float)):
        return value != 0
    if isinstance(value, (tuple, list)):
        return tuple({_kind(item): None for item in value[:100]})
    return value if isinstance(value, str) else type(value)


@contextlib.contextmanager
def _alone_on_this_machine() -> Iterator[None]:
    """A block that processes with the same folder of kernels enter one after the other."""
    folder = cache_directory()
    with contextlib.ExitStack() as stack:
        if folder is not None:
            with contextlib.suppress(OSError, locket.LockError):
                stack.enter_context(locket.lock_file(str(folder / "compiling.lock"), timeout=_LOCK_SECONDS))
        yield
