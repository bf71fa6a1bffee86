"""A team of threads that compute together: this thread leads, and others help it (machine/meeting.py)."""

import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from crabnet_jit.machine import meeting
from crabnet_jit.machine.meeting import Team as Flags
from crabnet_jit.machine.signals import held
from crabnet_jit.training.threads import are_tasks_running

_LEAST_PRODUCTS = 2**18  # between two meetings, about 10 us: otherwise they cost what the team gains …
_LEAST_IN_CALL = 2**22  # … and in one call, about 0.2 ms: waking the other threads takes 50 us
_TRIAL_SECONDS = 0.005
# Of the time for trials; but there is one in these seconds, unless it would take more than the last share.
_TRIALS_SHARE, _MOST_SECONDS, _MOST_SHARE = 0.02, 1.5, 0.1
_NAME = "crabnet_jit team"  # of its threads


def team_for(n_threads: int, n_parts: int, n_products: int, n_in_call: int) -> "Team | None":
    """A team of n_threads, if a computation with n_parts becomes faster with it.

    The computation has n_products, and all computations in one call of a kernel have n_in_call.
    """
    n = min(n_threads, n_parts)
    is_long = n_products >= _LEAST_PRODUCTS and n_in_call >= _LEAST_IN_CALL
    return Team(n) if n > 1 and is_long else None


class Pace:
    """Finds which is faster at the moment, together or alone: now and then, it tries the other one.

    If other programs need the cores, a team may be slower than one thread.
    """

    def __init__(self) -> None:
        self._is_together = False
        self._seconds = {True: math.inf, False: math.inf}  # for a unit of work, of late; infinity if unknown
        self._measured = {True: (0, 0.0), False: (0, 0.0)}  # work and seconds since
        self._next_trial = 0.0

    def _is_trial(self) -> bool:
        return self._seconds[self._is_together] < math.inf and time.perf_counter() >= self._next_trial

    def trial_size(self) -> float:
        """How much of the coming work should be measured separately; infinity if none."""
        return max(1.0, _TRIAL_SECONDS / self._seconds[self._is_together]) if self._is_trial() else math.inf

    def choose(self) -> bool:
        """Whether to do the next work together."""
        return self._is_together != self._is_trial()

    def note(self, together: bool, n: int, seconds: float) -> None:
        """Record how long this amount of work took."""
        work, duration = self._measured[together]
        work, duration = work + n, duration + seconds
        is_enough = work > 0 and duration >= 0.5 * _TRIAL_SECONDS
        self._measured[together] = (0, 0.0) if is_enough else (work, duration)
        if not is_enough:
            return
        new, old = duration / work, self._seconds[together]
        self._seconds[together] = new if old == math.inf else 0.5 * (old + new)
        if together != self._is_together:
            self._is_together = self._seconds[True] <= self._seconds[False]
            pause = max(duration / _MOST_SHARE, min(duration / _TRIALS_SHARE, _MOST_SECONDS))
            self._next_trial = time.perf_counter() + pause


class Team:
    """Threads that compute together, if that is faster than one thread.

    The threads are started when they are first needed, and end with the team. A child of a fork starts new
    ones.
    """

    def __init__(self, n_threads: int) -> None:
        self._flags = meeting.new_flags(n_threads)
        self._places = [Flags(self._flags, me, n_threads) for me in range(n_threads)]
        self._pace = Pace()
        self._process = -1
        self._tasks: list[SimpleQueue[Any]] = []
        self._results: SimpleQueue[BaseException | None] = SimpleQueue()

    @property
    def places(self) -> Sequence[Flags]:
        """The places of all threads, for kernels; the first one is the leader's."""
        return self._places

    def dismiss(self) -> None:
        """Let kernels of the team return at once, until the next run."""
        meeting.end(self._flags)

    def trial_size(self) -> float:
        """See `Pace`; infinity where a team cannot be tried."""
        return self._pace.trial_size() if self._may_be_together() else math.inf

    def run(
        self, n: int, alone: Callable[[], Any], lead: Callable[[], Any], help_at: Callable[[int], object]
    ) -> Any:
        """Return the result of `alone` or `lead`, whichever is faster at the moment; `n` is the work.

        With `lead`, every other thread calls `help_at` with its place, which ends at the latest after `lead`.
        """
        start = time.perf_counter()
        with held():  # until all threads have ended
            together = self._pace.choose() and self._may_be_together() and self._has_threads()
            result = self._run_together(lead, help_at) if together else alone()
        self._pace.note(together, n, time.perf_counter() - start)
        return result

    def _run_together(self, lead: Callable[[], Any], help_at: Callable[[int], object]) -> Any:
        meeting.start(self._flags)
        n_helping = 0
        try:
            for place, tasks in enumerate(self._tasks, 1):
                tasks.put(partial(help_at, place))
                n_helping += 1
            result = lead()
        finally:
            self.dismiss()
            errors = [self._results.get() for _ in range(n_helping)]
        for error in errors:
            if error is not None:
                raise error
        return result

    def _may_be_together(self) -> bool:
        """Whether this thread may have helpers, and the system has not refused them."""
        is_refused = self._process == os.getpid() and not self._tasks
        return not (are_tasks_running() or is_refused)

    def _has_threads(self) -> bool:
        """Whether this process has the threads; it tries once to start them."""
        if self._process != os.getpid():
            self._process, self._results = os.getpid(), SimpleQueue()
            self._tasks = [SimpleQueue() for _ in self._places[1:]]
            end = weakref.finalize(self, _send_home, self._tasks, self._process)
            end.atexit = False  # functions that run at the interpreter's end may still need them
            try:
                for tasks in self._tasks:
                    work = partial(_work, tasks, self._results, self._flags)
                    threading.Thread(target=work, daemon=True, name=_NAME).start()
            except RuntimeError as error:
                _send_home(self._tasks, self._process)
                self._tasks = []
                warnings.warn(f"one thread computes alone: {error}", RuntimeWarning, stacklevel=2)
        return len(self._tasks) > 0


def _work(tasks: "SimpleQueue[Any]", results: "SimpleQueue[Any]", flags: Any) -> None:
    """The loop of a helping thread; it has no reference to its team, so the team can be freed."""
    while (task := tasks.get()) is not None:
        error = None
        try:
            task()
        except BaseException as raised:
            error = raised
            meeting.end(flags)
        del task
        results.put(error)


def _send_home(all_tasks: "list[SimpleQueue[Any]]", process: int) -> None:
    """End the threads, in the process that has them."""
    if process == os.getpid():
        for tasks in all_tasks:
            tasks.put(None)
