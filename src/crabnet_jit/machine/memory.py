"""The amount of memory that a process may use."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available() -> int | None:
    """The bytes that are free for this process, as far as the system tells; None if it does not."""
    free = min(_limits(), default=None)
    return None if free is None else max(0, free)


def _limits() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max" without a limit
        yield int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text())
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no such function on Windows
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
