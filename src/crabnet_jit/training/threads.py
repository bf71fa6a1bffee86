"""Tasks that run side by side on threads, until all are done, or a signal or an error stops them."""

import threading
import warnings
from collections import deque
from collections.abc import Callable

from crabnet_jit import check
from crabnet_jit.machine.cores import usable_cores
from crabnet_jit.machine.signals import Interruptible, Stopped, new_flag, set_flag, stoppable

AUTO = "auto"
_WATCH_SECONDS = 0.02  # between checks of signals and progress


def threads_of(n_threads: int | str, stacklevel: int) -> int:
    """The number of threads that a user asks for; "auto" is the number of cores this process may use."""
    if isinstance(n_threads, str):
        if n_threads != AUTO:
            raise check.reject("n_threads", "'auto' or an integer of at least 1", check.shown(n_threads))
        return usable_cores()
    n = check.integer("n_threads", n_threads, 1)
    if n > 1 and n > (cores := usable_cores()):  # counting them reads files: half a millisecond
        message = f"n_threads={n}, but this process may use {cores} cores: more threads are not faster"
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel)
    return n


def team_size(n_threads: int | str, stacklevel: int) -> int:
    """The number of threads of a team from what users pass: never more than cores."""
    n = threads_of(n_threads, stacklevel + 1)
    return n if n == 1 else min(n, usable_cores())


class _Task(threading.local):
    is_running = False


_task = _Task()


def are_tasks_running() -> bool:
    """Whether this thread is one of several that `run_on_threads` has started: each needs its core."""
    return _task.is_running


def run_on_threads(
    task: Callable[[int], object], n_tasks: int, n_threads: int, watch: Callable[[], object]
) -> None:
    """Call `task` with 0, 1, … on this many threads, and `watch` now and then on the calling thread.

    Compiled loops release the GIL, so they run at the same time. A signal is answered at once. If its
    handler, a task or `watch` raises an exception, all tasks end within milliseconds, and it is raised here.
    """
    waiting, done = deque(range(n_tasks)), deque[int]()  # their methods are atomic
    failures, flag = deque[BaseException](), new_flag()

    def work() -> None:
        _task.is_running = n_threads > 1
        try:
            with stoppable(flag):
                while not flag[0]:
                    try:
                        k = waiting.popleft()
                    except IndexError:
                        return
                    task(k)
                    done.append(k)
        except Stopped:
            pass
        except BaseException as error:
            failures.append(error)
            set_flag(flag)

    threads = [threading.Thread(target=work) for _ in range(min(n_threads, n_tasks))]
    with Interruptible() as interruptible:
        interruptible.hold()  # after an exception within `join`, it may regard a thread as ended
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(_WATCH_SECONDS)
                    watch()
                    interruptible.release()
                    interruptible.hold()
        except BaseException:
            set_flag(flag)
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:  # it has been started
                    thread.join()
        if failures:
            raise failures[0]
        if len(done) < n_tasks:  # no thread is alive, and none has reported an error
            raise RuntimeError("after a fork, the child process does not have its parent's threads")
