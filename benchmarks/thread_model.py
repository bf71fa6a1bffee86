"""A model of threads within a batch, for more threads than this machine has; `benchmarks.threads` prints it.

A step of T threads takes the time of the largest share of the groups of panels, of three meetings, and of
the lines of the cache that other threads have written: to add up gradients, and to read parameters. The times
of a step, of a meeting of two threads and of a line are measured here. A meeting of T threads counts as T - 1
meetings of two. Memory that all share counts as unlimited, so this is what threads gain at most.
"""

import threading
import time
from typing import Any

import numba

from crabnet_jit.arrays import aligned_zeros
from crabnet_jit.kernels.panels import GROUP
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.meeting import Team, meet, new_flags

_LINE = 64  # bytes
_ROUNDS = 2000


def _exchange(team: Any, numbers: Any, n_rounds: int) -> float:
    """Two threads meet twice in each round; the first writes all numbers, and the second reads them."""
    total = 0.0
    for k in range(n_rounds):
        if team.me == 0:
            for i in range(numbers.size):
                numbers[i] = k + i
        meet(team)
        if team.me == 1:
            for i in range(numbers.size):
                total += numbers[i]
        meet(team)
    return total


def _seconds_of_round(exchange: Any, n_numbers: int) -> float:
    flags, numbers = new_flags(2), aligned_zeros(n_numbers)
    other = threading.Thread(target=exchange, args=(Team(flags, 1, 2), numbers, _ROUNDS))
    other.start()
    start = time.perf_counter()
    exchange(Team(flags, 0, 2), numbers, _ROUNDS)
    seconds = time.perf_counter() - start
    other.join()
    return seconds / _ROUNDS


def measured() -> tuple[float, float]:
    """Seconds of a meeting of two threads, and of a line that one has written and the other one reads."""
    exchange = numba.njit(nogil=True, fastmath=True)(_exchange)
    exchange(Team(new_flags(1), 0, 1), aligned_zeros(8), 1)
    few, many = 8, 16 * 1024
    short, long = (min(_seconds_of_round(exchange, n) for _ in range(5)) for n in (few, many))
    return short / 2, max(0.0, long - short) / ((many - few) * 8 / _LINE)


def step_seconds(
    one: float, n_threads: int, batch_size: int, n_bytes: int, meeting: float, line: float
) -> float:
    """Seconds of a step on n_threads that takes one thread `one` seconds, with n_bytes of parameters."""
    if n_threads == 1:
        return one
    n_groups = -(-batch_size // (GROUP * PANEL))
    largest = -(-n_groups // n_threads)
    lines = n_bytes / _LINE
    if n_threads == 2:
        to_add = lines
    else:
        of_others = 1 + max(0, n_groups - 2 * largest)
        to_add = lines / n_threads * of_others + lines * (n_threads - 1) / n_threads
    return one * largest / n_groups + 3 * (n_threads - 1) * meeting + (to_add + lines) * line
