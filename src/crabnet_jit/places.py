"""Destinations of results: what a path leads to, and whether two paths lead to the same file."""

import contextlib
import os
import re
import sys
from pathlib import Path
from typing import IO, NamedTuple

_SYSTEM = (Path("/dev"), Path("/proc"))
_MEMORY = Path("/dev/shm")  # a folder with ordinary files, although it is below /dev


class Place(NamedTuple):
    """What a path leads to.

    `descriptor` is the open file of this process to which the path refers, if any. `is_system` says whether
    the path, or a link on the way, is below /dev or /proc.
    """

    path: Path
    descriptor: int | None
    is_system: bool

    @property
    def is_stream(self) -> bool:
        """Whether it can only be written to, not replaced: an open file, a device or a pipe."""
        return self.is_system or (self.path.exists() and not self.path.is_file())

    def open(self) -> IO[bytes]:
        """Open the stream to write to. Nothing that is already in it is lost."""
        if self.descriptor is None:
            flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
            return os.fdopen(os.open(self.path, flags), "wb")
        for printed in (sys.stdout, sys.stderr):
            if printed is not None:
                printed.flush()  # what was printed earlier comes first
        try:
            # If opened by its path, it would be written from the start, over what is there.
            return os.fdopen(os.dup(self.descriptor), "wb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None


def follow(path: Path) -> Place:
    """The place that a path leads to, through any number of links; it does not have to exist.

    Raises
    ------
    OSError
        If the links form a loop, or cannot be followed.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        path.stat()  # raises OSError for a loop; what pathlib raises depends on Python's version
    place, is_system = path, False
    while True:
        place = Path(os.path.realpath(place.parent), place.name)
        is_system = is_system or _is_system(place)
        if (descriptor := _descriptor(place)) is not None:
            return Place(place, descriptor, True)
        if not place.is_symlink():
            # Links below /proc may lead to things without a path, such as a pipe: the system has to follow.
            return Place(path if is_system else place, None, is_system)
        place = place.parent / place.readlink()


def _is_system(place: Path) -> bool:
    return any(place.is_relative_to(folder) for folder in _SYSTEM) and not place.is_relative_to(_MEMORY)


def _descriptor(place: Path) -> int | None:
    """The number of the open file of this process that has this path, whose folder has no links left."""
    own = re.escape(os.path.realpath("/proc/self"))
    match = re.fullmatch(rf"(/dev/fd|{own}(/task/[0-9]+)?/fd)/(?P<number>[0-9]{{1,9}})", place.as_posix())
    return None if match is None else int(match["number"])


def is_same(first: Path, second: Path) -> bool:
    """Whether two paths lead to the same file, possibly through links; it need not exist yet."""
    with contextlib.suppress(OSError):
        if os.path.samefile(first, second):
            return True
    return follow(first) == follow(second)
