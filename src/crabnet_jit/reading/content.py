"""The bytes of a file or of standard input, unpacked; and what a file that is not a table seems to be."""

import bz2
import gzip
import io
import json
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from crabnet_jit.data.table import TableError

#: Units of sizes, in bytes.
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}

Bytes = NDArray[np.uint8]  # faster than Python's bytes, whose memory is allocated page by page

_PIECE = 2**20  # bytes read at once
_START = 4096  # bytes that tell what a file is
_NO_ASCII = 128

#: How packed files begin and end, their names, and what unpacks them.
_PACKED: list[tuple[re.Pattern[bytes], str, str, Callable[[IO[bytes]], Any]]] = [
    (re.compile(b"\x1f\x8b"), ".gz", "gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    (re.compile(b"BZh[1-9](1AY&SY|\x17rE8P\x90)"), ".bz2", "bzip2", bz2.BZ2File),
    (re.compile(b"\xfd7zXZ\x00"), ".xz", "xz", lzma.LZMAFile),
]
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)

#: How files begin that are not tables, or that cannot be read.
_OTHERS = [
    (re.compile(b"\x93NUMPY"), "a NumPy array (.npy)"),
    (re.compile(b"\x89PNG|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|II\\*\0|MM\0\\*", re.DOTALL), "a picture"),
    (re.compile(b"%PDF-"), "a PDF document"),
    (re.compile(b"\xd0\xcf\x11\xe0"), "an old Excel file (.xls): save it as .xlsx or .csv"),
    (re.compile(b"\x89HDF"), "an HDF5 file"),
    (re.compile(b"SQLite format 3\0"), "an SQLite database"),
    (re.compile(b"\\(\xb5\x2f\xfd|7z\xbc\xaf|Rar!\x1a"), "a packed file (zstd, 7z or rar): unpack it first"),
    (re.compile(b"\x80[\x02-\x05]"), "a Python pickle"),
    (re.compile(b"\x7fELF|MZ.\0", re.DOTALL), "a program"),
    (re.compile(b"\\s*<(!doctype\\s+html|html)", re.IGNORECASE), "an HTML page"),
    (re.compile(b"\\s*<(\\?xml|svg)", re.IGNORECASE), "an XML document"),
]


def read_content(path: str, source: str, max_bytes: int) -> Bytes:
    """The bytes of a file, unpacked if it is packed; `-` is standard input.

    Raises
    ------
    TableError
        If there are more than `max_bytes`, or if a packed file is damaged.
    OSError
        If the file cannot be read.
    """
    if path == "-":
        if sys.stdin is None:
            raise TableError(f"{source} is closed")
        data = _bounded(sys.stdin.buffer, source, max_bytes)
    else:
        with Path(path).open("rb") as file:
            size = min(os.fstat(file.fileno()).st_size, max_bytes)
            data = _bounded(file, source, max_bytes, max(size + 1, _PIECE))
    for start, ending, name, unpacked in _PACKED:
        if start.match(data.data):
            try:
                return _bounded(unpacked(io.BytesIO(data.data)), source, max_bytes)
            except _DAMAGED as error:
                raise TableError(f"{source}: the {name} file is damaged ({error})") from None
        if path.lower().endswith(ending) and data.size:
            raise TableError(f"{source}: it is not a {name} file, although its name ends with {ending}")
    return data


def _bounded(stream: Any, source: str, max_bytes: int, n_piece: int = _PIECE) -> Bytes:
    """The content of a stream, read piece by piece, so that no more than the limit is ever held."""
    pieces, n_bytes = [], 0
    while n_read := stream.readinto(piece := np.empty(n_piece, np.uint8)):
        pieces.append(piece[:n_read])
        n_bytes += n_read
        if n_bytes > max_bytes:
            raise too_large(source, max_bytes)
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, np.uint8), *pieces])


def too_large(source: str, max_bytes: int) -> TableError:
    """The error for a table of more than `max_bytes`, which suggests twice the limit."""
    return TableError(
        f"{source}: must be at most {shown_size(max_bytes)} when unpacked, but is larger; "
        f"--max-size {shown_size(2 * max_bytes)} raises the limit"
    )


def shown_size(n_bytes: int) -> str:
    """A number of bytes in the form of `--max-size`, such as 1.5GB."""
    unit = next((unit for unit in ("GB", "MB", "kB") if n_bytes >= UNITS[unit]), "B")
    return f"{n_bytes / UNITS[unit]:.10g}{unit}"


def start_of(data: Bytes) -> bytes:
    """The first bytes, which tell what a file is."""
    return data[:_START].tobytes()


def zip_members(data: Bytes) -> list[zipfile.ZipInfo] | None:
    """The contents of a zip file; None if it is not one."""
    if not start_of(data).startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data.data)) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def check_is_text(source: str, data: Bytes) -> None:
    """Reject data that are not the text of a table: say what they seem to be, or where they are not UTF-8."""
    seems = _seems(data)
    if seems is not None:
        raise TableError(f"{source}: must be a table, but seems to be {seems}")
    if start_of(data).startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TableError(f"{source}, line 1: the text is in UTF-16, not in UTF-8; save it as UTF-8")
    if data.min(initial=1) == 0:
        line = _line(data, int(data.argmin()))
        raise TableError(f"{source}, {line}: this is not text; it has a byte 0, like a binary file")
    if data.max(initial=0) >= _NO_ASCII:
        try:
            str(data.data, "utf-8")
        except UnicodeDecodeError as error:
            raise TableError(f"{source}, {_line(data, error.start)}: the text is not in UTF-8") from None


def _line(data: Bytes, at: int) -> str:
    return f"line {data[:at].tobytes().count(10) + 1}"


def _seems(data: Bytes) -> str | None:
    """What a file that is not the text of a table seems to be."""
    members = zip_members(data)
    if members is not None:
        names = {member.filename for member in members}
        if "header.npy" in names:
            return "a saved network or checkpoint"
        if any(name.endswith(".npy") for name in names):
            return "NumPy arrays (.npz)"
        return "a zip archive: unpack it first"
    for start, name in _OTHERS:
        if start.match(start_of(data)):
            return name
    return "JSON" if _is_json(start_of(data)) else None


def _is_json(start: bytes) -> bool:
    """Whether a text begins like a JSON object or array; headers of tables do not."""
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb'\{\s*("|$)|\{\}|\[\s*([\[{"]|$)|\[\]', start):
        return True
    if not start.startswith(b"["):
        return False
    try:
        json.loads(start.splitlines()[0])
    except ValueError:
        return False
    return True
