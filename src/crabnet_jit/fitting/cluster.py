"""Many members of a job on the workers of a Dask cluster, each of them once.

The client keeps two tasks per core submitted, and chooses their lengths by the members that it has timed. It
sends lost tasks again.
"""

import contextlib
import math
import time
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cloudpickle
from distributed import KilledWorker, as_completed

from crabnet_jit.fitting.fits import ClusterError
from crabnet_jit.fitting.parcels import Parcels
from crabnet_jit.fitting.travelling import Travelling, check_workers, checked_client, refusal
from crabnet_jit.fitting.worker import (
    Done,
    Function,
    Helper,
    Outfit,
    received,
    report,
    unpacked,
    versions,
    work,
)
from crabnet_jit.machine.signals import Interruptible

_TASKS_PER_CORE = 2  # one is computed, the other one waits
_MIN_SECONDS, _MAX_SECONDS = 0.1, 2.0  # of a task: client and scheduler need some ms for each
_SECONDS_FOR_EACH_CORE = 0.02  # with more than 100 cores: then they need a tenth of their time or so
_PARTS = 4  # tasks per core into which the rest is divided, so that all cores end together
_PATIENCE_SECONDS = 60.0  # without a worker
_LOOK_SECONDS = 1.0  # between two looks at the workers
_WAIT_SECONDS = 0.01
#: How often a member is sent if its workers die, and all members if none is completed. Dask itself repeats a
#: task for each of `distributed.scheduler.allowed-failures` lost workers, by default 3.
_MAX_TRIES = 5


class Job:
    """A context in which the workers of a cluster have the objects that all members of a job share.

    Parameters
    ----------
    cluster : distributed.Client
    shared
        The first argument of a function that is called with each member.
    things : iterable of (str, object)
        All that is sent, with names for messages. Objects of several members, and functions, are sent once.

    Raises
    ------
    InvalidArgumentError
        If `cluster` is not a client, or is closed; if something cannot be sent, or needs more memory than a
        worker has; if a worker has other versions, or cannot load what is sent.
    ClusterError
        If there are no workers.
    """

    def __init__(self, cluster: Any, shared: Any, things: Iterable[tuple[str, Any]]) -> None:
        self.client = checked_client(cluster)
        travelling = Travelling(things)
        self.parcels = Parcels(travelling.shared)
        self._outfit = cloudpickle.dumps(Outfit(shared, self.parcels, versions()), protocol=5)
        self._pickled = travelling.pickled
        self._name = f"crabnet_jit-{uuid.uuid4().hex[:12]}"
        self._n_tasks = 0
        self._sent: Any = None  # the future of the outfit
        self._copies: dict[str, Any] = {}  # futures of its copies on workers, by addresses
        self._next_look = -math.inf
        self._last_seen = time.monotonic()  # a worker
        self.n_cores = 0

    def __enter__(self) -> "Job":
        with _explaining(self.client):
            end = time.monotonic() + _PATIENCE_SECONDS
            while not (found := self._reports()):
                if time.monotonic() > end:
                    message = f"the cluster had no worker for {_PATIENCE_SECONDS:.0f} s"
                    raise ClusterError(f"{message}; `dask worker` starts one")
                time.sleep(_WAIT_SECONDS)
            check_workers(found, len(self._outfit))
            for tries_left in reversed(range(_MAX_TRIES)):
                try:
                    self.client.register_plugin(Helper(self._name), name=self._name)
                    break
                except OSError:  # a worker has died meanwhile
                    if not tries_left:
                        raise
        self._look()
        return self

    def _reports(self) -> dict[str, Any]:
        """Reports or errors of workers that have not died meanwhile, by their addresses."""
        found = self.client.run(report, self._pickled, on_error="return")
        return {address: one for address, one in found.items() if not isinstance(one, OSError)}

    def __exit__(self, *_: object) -> None:
        self.forget()
        if self.client.status == "running":
            with contextlib.suppress(Exception):  # a worker may die meanwhile
                self.client.unregister_worker_plugin(self._name)

    @property
    def is_sent(self) -> bool:
        """Whether the shared objects have been sent to the workers, and are not lost."""
        return self._sent is not None and self._sent.status in ("pending", "finished")

    def forget(self) -> None:
        """Release the shared objects on the cluster."""
        for future in filter(None, [self._sent, *self._copies.values()]):
            future.release()
        self._sent, self._copies, self._next_look = None, {}, -math.inf

    def _look(self) -> None:
        """Count the workers' cores now and then, and send the shared objects to workers without them.

        The scheduler keeps them, and makes them again if all workers that have them die. Workers copy them
        from each other. (`Client.scatter` keeps nothing; with `broadcast`, it may wait for a dead worker
        forever.)
        """
        if self.client.status != "running":
            raise _gone(self.client)
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_SECONDS
        with _explaining(self.client):
            threads = self.client.nthreads()
        self.n_cores = sum(threads.values())
        if threads:
            self._last_seen = now
        elif now > self._last_seen + _PATIENCE_SECONDS:
            message = f"the cluster has had no worker for {_PATIENCE_SECONDS:.0f} s; waiting for some"
            warnings.warn(message, RuntimeWarning, stacklevel=7)
            self._last_seen = math.inf
        if not self.is_sent:
            self.forget()
            self._sent = self._task(unpacked, self._outfit)
        self._copies = {
            address: self._copies.get(address) or self._task(received, self._sent, workers=[address])
            for address in threads
        }

    def _task(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._n_tasks += 1
        key = f"{self._name}-{self._n_tasks}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # as large as the data are
            return self.client.submit(function, *arguments, key=key, pure=False, **options)

    def submit(self, function: Function, members: Sequence[Any], seconds: float) -> Any:
        """The future of a task that calls a function with these members."""
        return self._task(work, self._sent, function, self.parcels.pack([*members]), seconds)

    def run(
        self,
        function: Function,
        members: Sequence[Any],
        costs: Sequence[float],
        take: Callable[[int, Any], object],
        watch: Callable[[], object],
        names: Callable[[int], str],
    ) -> None:
        """Call a function with `shared` and each member on a worker; call `take` with place and result here.

        After Ctrl-C, or an error in a member, in `take` or in `watch`, all tasks are cancelled, and the error
        is raised here.

        Parameters
        ----------
        function : Function
            From a module that the workers have.
        members : sequence
        costs : sequence of float
            Their approximate seconds. Only the ratios matter, so that a long member does not delay the
            results of others.
        take : callable
            Called once for each member, in the order in which they are done. No signal interrupts it.
        watch : callable
            Called now and then. No signal interrupts it.
        names : callable
            Gives the name of the member at a place, for messages.

        Raises
        ------
        ClusterError
            If the scheduler is gone, a worker has other versions, or members are lost repeatedly.
        """
        run = _Run(self, function, take, names)
        for member, cost in zip(members, costs, strict=True):
            run.add(member, cost)
        self._finish(run, lambda: False, watch)

    def run_as_they_come(
        self,
        function: Function,
        members: Iterator[Any],
        take: Callable[[int, Any], object],
        watch: Callable[[], object],
        names: Callable[[int], str],
    ) -> None:
        """As `run`, but a member is taken from the iterator only when a core is free for it.

        So the results of some may determine which others come. Each is a task of its own.
        """
        run = _Run(self, function, take, names)

        def add() -> bool:
            while self.is_sent and run.n_going < self.n_cores:
                member = next(members, None)
                if member is None:
                    return False
                run.add(member, 1.0)
                run.submit()
            return True

        self._finish(run, add, watch)

    def _finish(self, run: "_Run", add: Callable[[], bool], watch: Callable[[], object]) -> None:
        """Wait for all members of a run; `add` adds more and returns whether others may follow."""
        may_add = True
        with Interruptible() as interruptible:
            try:
                while may_add or run.n_going:
                    self._look()
                    interruptible.hold()
                    may_add = may_add and add()
                    run.submit()
                    has_come = run.receive()
                    watch()
                    interruptible.release()
                    if not has_come:
                        time.sleep(_WAIT_SECONDS)
            finally:
                run.give_up()


class _Run:
    """Members that wait, and members that were sent."""

    def __init__(
        self, job: Job, function: Function, take: Callable[[int, Any], object], names: Callable[[int], str]
    ) -> None:
        self._job, self._function, self._take, self._names = job, function, take, names
        self._members: list[Any] = []
        self._costs: list[float] = []
        self._cost_waiting = 0.0
        self._waiting = deque[int]()
        self._flying: dict[str, tuple[Any, list[int]]] = {}  # futures and their members, by keys
        self._arrivals = as_completed([], loop=job.client.loop, with_results=True, raise_errors=False)
        self._tries: Counter[int] = Counter()
        self._n_losses = 0  # since the last result
        self._cost = self._seconds = 0.0  # of finished members: as guessed, and as measured

    def add(self, member: Any, cost: float) -> None:
        """Let another member wait."""
        self._waiting.append(len(self._members))
        self._members.append(member)
        self._costs.append(cost)
        self._cost_waiting += cost

    @property
    def n_going(self) -> int:
        """Unfinished members; those in one task count as one."""
        return len(self._waiting) + len(self._flying)

    def submit(self) -> None:
        """Send tasks, so that all workers are busy."""
        while self._job.is_sent and self._waiting and self._has_place():
            seconds_each = self._seconds / self._cost if self._cost else 1.0
            n_cores = self._job.n_cores
            longest = max(_MAX_SECONDS, _SECONDS_FOR_EACH_CORE * n_cores) if self._cost else _MIN_SECONDS
            share = seconds_each * self._cost_waiting / (_PARTS * n_cores)
            seconds = min(longest, max(_MIN_SECONDS, share))
            places = self._next(seconds / seconds_each)
            members = [self._members[k] for k in places]
            future = self._job.submit(self._function, members, 2 * seconds)
            self._flying[future.key] = future, places
            self._arrivals.add(future)

    def _has_place(self) -> bool:
        """Whether a task may be sent; the last try of a member must be alone on the cluster.

        A dying worker takes all its tasks with it, so others would be blamed, too.
        """
        if self._tries and self._flying:
            sent = (places[0] for _, places in self._flying.values())
            if any(self._tries[k] == _MAX_TRIES - 1 for k in (self._waiting[0], *sent)):
                return False
        return len(self._flying) < _TASKS_PER_CORE * self._job.n_cores

    def _next(self, cost: float) -> list[int]:
        """The next members of about this cost. A member whose workers died is alone, to spare the others."""
        places = [self._waiting.popleft()]
        total = self._costs[places[0]]
        while self._waiting and total < cost and not self._tries[places[0]]:
            k = self._waiting[0]
            if total + self._costs[k] > 2 * cost or self._tries[k]:
                break
            places.append(self._waiting.popleft())
            total += self._costs[k]
        self._cost_waiting -= total
        return places

    def receive(self) -> bool:
        """Take results that have come; return whether there were any."""
        arrivals = self._arrivals.next_batch(block=False)
        is_lost = False
        for future, result in arrivals:
            _, places = self._flying.pop(future.key)
            if future.status == "finished":
                self._receive(result, places)
            elif future.cancelled():  # the scheduler is gone; there may be a new one by now
                is_lost = True
                self._wait_again(places)
            else:
                _, error, _ = result  # type, exception and traceback
                if not isinstance(error, KilledWorker):
                    raise ClusterError(f"a task failed: {type(error).__name__}: {error}") from error
                self._note_killed(places, error)
            future.release()
        if is_lost:
            self._job.forget()
            self._note_loss()
        return bool(arrivals)

    def _receive(self, result: Any, places: list[int]) -> None:
        if not isinstance(result, Done):
            raise ClusterError(refusal(*result))
        unpack = self._job.parcels.unpack
        results = unpack(result.results)
        for k, one in zip(places, results, strict=False):
            self._take(k, one)
        if results:
            self._cost += sum(self._costs[k] for k in places[: len(results)])
            self._seconds += result.seconds
            self._n_losses = 0
        if result.error is not None:
            raise unpack(result.error)
        self._wait_again(places[len(results) :])
        if not results:  # the task was stopped, though not by this client
            self._note_loss()

    def _wait_again(self, places: list[int]) -> None:
        self._cost_waiting += sum(self._costs[k] for k in places)
        self._waiting.extendleft(reversed(places))

    def _note_killed(self, places: list[int], error: Any) -> None:
        self._tries.update(places)
        self._wait_again(places)
        (k, n_tries), *_ = self._tries.most_common(1)
        if n_tries >= _MAX_TRIES:
            message = f"{self._names(k)} was sent {n_tries} times, and each time its workers died: {error}"
            raise ClusterError(message)

    def _note_loss(self) -> None:
        self._n_losses += 1
        if self._n_losses >= _MAX_TRIES and self._job.client.status == "running":
            message = f"all tasks were lost {self._n_losses} times, and none was done in between"
            raise ClusterError(f"{message}: workers die sooner than a member takes, or need more memory")

    def give_up(self) -> None:
        """Let workers stop their tasks."""
        for future, _ in self._flying.values():
            future.release()


@contextlib.contextmanager
def _explaining(client: Any) -> Iterator[None]:
    """A block whose errors of communication become errors of the cluster."""
    try:
        yield
    except OSError as error:
        raise _gone(client) from error


def _gone(client: Any) -> ClusterError:
    address = getattr(client.scheduler, "address", "unknown")
    return ClusterError(f"the scheduler at {address} cannot be reached any more")
