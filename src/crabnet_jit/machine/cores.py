"""The number of cores that a process may use."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP, _GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores() -> int:
    """The number of cores that this process may use at the same time, at least 1.

    It respects the affinity, which taskset or a batch system may set, and the quota of control groups, which
    a container may set. With a quota of 1.5 cores, a second thread can use half a core: that counts as 2.
    """
    quotas = [math.ceil(quota) for quota in _quotas()]
    return max(1, min([_scheduled(), *quotas]))


def _scheduled() -> int:
    """The number of cores on which the system may run this process."""
    if hasattr(os, "process_cpu_count"):  # since Python 3.13; PYTHON_CPU_COUNT changes it
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """The number of cores that each control group of this process, and each parent group, may use."""
    with contextlib.suppress(OSError, ValueError):
        for line in _GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            inside = Path(path.lstrip("/"))
            for group in (inside, *inside.parents):
                if not controllers:  # version 2
                    yield from _quota(_CGROUP / group / "cpu.max")
                elif "cpu" in controllers.split(","):
                    folder = _CGROUP / "cpu" / group
                    yield from _quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _quota(*files: Path) -> Iterator[float]:
    """Quota over period, which are in one file or two; nothing if there is no limit: "max", or -1."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (int(number) for file in files for number in file.read_text().split())
        if quota > 0 and period > 0:
            yield quota / period
