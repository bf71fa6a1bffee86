"""Files of arrays and plain values: NumPy's npz, without pickle and without compression.

One of the arrays, `header`, is JSON text: the kind of file, its version, a digest of the other arrays,
and any values that a writer adds.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import secrets
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.machine.signals import held
from crabnet_jit.places import follow

Path_ = str | PathLike[str]
T = TypeVar("T")


class FileFormatError(ValueError):
    """A file is damaged, of another kind, of another version, or of another run."""


def write_archive(
    path: Path_, what: str, version: int, values: dict[str, Any], arrays: dict[str, Any]
) -> None:
    """Write a file whole or not at all; an existing file is replaced once the new one is complete."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if not _can_be_read(array.dtype):
            raise check.reject(f"{name} of a {what}", "an array of floats", f"one of {array.dtype}")
    header = {"format": f"crabnet_jit {what}", "version": version, **values, "digest": _digest(arrays)}
    try:
        text = json.dumps(header)
    except (TypeError, ValueError, RecursionError) as error:
        raise check.reject(f"all of a {what}", "JSON values", str(error)) from None
    # This is what np.savez does, but in NumPy 2.0 that leaves the archive open if it cannot be written.
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in {"header": np.array(text), **arrays}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_archive(
    path: Path_, what: str, versions: Sequence[int], parse: Callable[[dict[str, Any], dict[str, Array]], T]
) -> T:
    """The result of `parse` for the header and the arrays of a `what` file of one of the versions.

    Raises
    ------
    FileFormatError
        If anything is wrong with the file, including what `parse` finds.
    OSError
        If it cannot be read.
    """
    file = check.path("path", path)
    with blaming(file, f"a saved {what}"):
        arrays = _arrays(_content(file))
        header = json.loads(str(arrays.pop("header")))
        kind = f"crabnet_jit {what}"
        if header["format"] != kind or header["version"] not in versions:
            found = f"{header['format']!r}, version {header['version']!r}"
            raise ValueError(f"{found}, instead of {kind!r}, version {versions[-1]}")
        if header["digest"] != _digest(arrays):
            raise ValueError("damaged")
        return parse(header, arrays)


@contextlib.contextmanager
def blaming(file: Path, what: str) -> Iterator[None]:
    """A block in which any error becomes a FileFormatError, which says that the file is not `what`."""
    try:
        yield
    except (OSError, FileFormatError):
        raise
    except (Exception, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"[:500].encode(errors="backslashreplace").decode()
        raise FileFormatError(f"{file} is not {what} ({reason})") from None


def opened(path: Path) -> IO[bytes]:
    """An open file; folders, devices and pipes are rejected, since reading them may never end."""
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("not a file")
    return path.open("rb")


def kind_of(path: Path) -> str | None:
    """The kind of an archive, such as "network"; None for any other file, or one that cannot be read."""
    if not path.is_file():  # a pipe can only be read once
        return None
    with contextlib.suppress(Exception), zipfile.ZipFile(path) as archive:
        member = archive.getinfo("header.npy")
        if member.compress_type == zipfile.ZIP_STORED:
            kind = json.loads(str(_array(archive.read(member))))["format"]
            return str(kind).removeprefix("crabnet_jit ")
    return None


def _content(path: Path) -> bytes:
    """The content of a file that begins like an archive."""
    with opened(path) as file:
        start = file.read(4)
        if start != b"PK\x03\x04":
            raise ValueError("not an archive")
        return start + file.read()


def _arrays(data: bytes) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    total = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            total += member.file_size  # entries may overlap
            if member.compress_type != zipfile.ZIP_STORED or total > len(data) or name in arrays:
                raise ValueError(f"not an archive of this kind: {member.filename!r}")
            arrays[name] = _array(archive.read(member))
    return arrays


def _can_be_read(dtype: "np.dtype[Any]") -> bool:
    """Whether `read_archive` accepts arrays of this type: floats, and the text of the header."""
    return dtype.kind in "fU" and dtype.isnative


def _array(data: bytes) -> Array:
    """An array in NumPy's format, which must not claim a size that it does not have."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of an unknown version")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if is_fortran or not _can_be_read(dtype):
        raise ValueError(f"an array of {dtype}")
    content = data[stream.tell() :]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {shape} in {len(content)} bytes")
    return np.frombuffer(content, dtype).reshape(shape).copy()


def _digest(arrays: dict[str, Any]) -> str:
    """A digest of names and numbers; the checksums of zip files do not cover everything."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def whole_file(path: Path_) -> Iterator[IO[bytes]]:
    """A file to write to, which is moved into place once it is complete, and otherwise removed.

    An open file of this process, such as /dev/stdout, a device or a pipe is written to, not replaced.
    """
    place = follow(check.path("path", path))
    if place.is_stream:
        buffer = io.BytesIO()  # many streams cannot seek
        yield buffer
        with place.open() as stream:
            stream.write(buffer.getvalue())
        return
    target = place.path
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(target.parent))
    with held():  # signals wait, so that nothing is left over
        # Not with tempfile, whose files are private: this one has the mode of any new file.
        temporary = target.parent / f".{target.name[:50]}.{secrets.token_hex(4)}"
        descriptor = os.open(
            temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                os.chmod(temporary, target.stat().st_mode & 0o777)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
