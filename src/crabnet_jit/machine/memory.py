"""How much memory a process may take."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes that are free for this process, as far as the system says; None if it does not."""
    return min(_limits(), default=None)


def _limits() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])
    with contextlib.suppress(OSError, ValueError):  # "max" without a limit
        yield int((_CGROUP / "memory.max").read_text()) - int((_CGROUP / "memory.current").read_text())
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no such function on Windows
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
