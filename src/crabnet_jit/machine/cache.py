"""The cache of compiled kernels on disk.

Numba's own cache only notices changes in the file of the compiled function itself, shares one index between
processes, and never finds functions again that were made by other functions. Here, every compiled kernel is a
file of its own. The name of its folder contains a fingerprint of all modules that kernels are made of, and of
everything else that affects the machine code, so any change leads to a new folder. The fingerprint is
computed, and the folder made, when a kernel is first called.
"""

import contextlib
import functools
import hashlib
import importlib
import marshal
import os
import pickle
import pkgutil
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import compiler, config
from numba.core.caching import _Cache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import user_cache_dir

_ROOMS = ("crabnet_jit.kernels", "crabnet_jit.machine")  # all compiled code comes from these
_UNUSED_SECONDS = 30 * 24 * 3600
_MARKER = "compiled kernels of crabnet_jit"  # a file: only folders that contain it are ever removed
_DIGEST_BYTES = hashlib.sha256().digest_size


class KernelCache(_Cache):
    """The cache of one kernel: a file for each signature and processor.

    A damaged file counts as missing, and a file that cannot be written is skipped.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def _path(self, directory: Path, signature: Any, codegen: Any) -> Path:
        digest = hashlib.sha256(repr((self._name, signature, codegen.magic_tuple())).encode())
        return directory / f"{self._name}-{digest.hexdigest()[:16]}"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled kernel for a signature; None if it is not in the cache."""
        # Not `refresh`, which takes 0.3 s to load what only compiling needs; compiling does that itself.
        rtsys.initialize(target_context)
        directory = cache_directory()
        if directory is None:
            return None
        try:
            data = self._path(directory, sig, target_context.codegen()).read_bytes()
        except OSError:
            return None
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        return compiler.CompileResult._rebuild(target_context, *pickle.loads(content))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save a compiled kernel: write a temporary file, and rename it when it is complete."""
        directory = cache_directory()
        if directory is None or data.library.has_dynamic_globals:  # which are addresses in this process
            return
        content = dumps(data._reduce())
        with contextlib.suppress(OSError):
            descriptor, temporary = tempfile.mkstemp(dir=directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(content).digest() + content)
                os.replace(temporary, self._path(directory, sig, data.codegen))
            except BaseException:
                os.unlink(temporary)
                raise

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(cache_directory())

    def enable(self) -> None:
        """Nothing to do: the cache is always on."""

    def disable(self) -> None:
        """Nothing to do: the cache is always on."""

    def flush(self) -> None:
        """Nothing to do: files of other sources are in other folders."""


def fingerprint() -> str | None:
    """A digest of the kernels' sources, the tools' versions and Numba's settings.

    None if a package's modules cannot be found: then old machine code could not be told from new.
    """
    modules = {}
    for room in _ROOMS:
        found = dict(_modules(room, importlib.import_module(room).__path__))
        if not found:
            return None
        modules.update(found)
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(name.encode())
        digest.update(modules[name])
    tools = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    switches = (config.BOUNDSCHECK, config.OPT, config.LOOP_VECTORIZE, config.DEBUGINFO_DEFAULT)
    digest.update(repr((tools, switches)).encode())
    return digest.hexdigest()[:16]


def _modules(package: str, path: Any) -> Iterator[tuple[str, bytes]]:
    """The name and content (source, otherwise byte code) of every module, also from a zip file."""
    for finder, name, is_package in pkgutil.iter_modules(path, f"{package}."):
        spec: Any = finder.find_spec(name, None)
        try:
            yield name, spec.loader.get_data(spec.origin)
        except (AttributeError, OSError, TypeError):  # the module is frozen into a program
            yield name, marshal.dumps(spec.loader.get_code(name))
        if is_package:
            yield from _modules(name, spec.submodule_search_locations)


class _Preferred:
    folder: Path | None = None


def prefer_folder(folder: Path) -> None:
    """Keep kernels in this folder, unless the user has named one, or some are already in use.

    It must be this user's own, since machine code is taken from there.
    """
    status = folder.stat()
    is_own = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & stat.S_IWOTH)
    if is_own and not cache_directory.cache_info().currsize:
        _Preferred.folder = folder


@functools.cache
def cache_directory() -> Path | None:
    """The folder for this process."""
    return find_directory()


def find_directory() -> Path | None:
    """The folder for this version's compiled kernels; None if none can be used."""
    version = fingerprint()
    if version is None:
        return None
    root = Path(config.CACHE_DIR or _Preferred.folder or user_cache_dir("crabnet_jit", False))
    directory = root / f"crabnet_jit-{version}"
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / _MARKER).touch()
            _remove_unused(root)
        with contextlib.suppress(PermissionError):  # someone else's folder can still be read
            os.utime(directory)
    except OSError:
        return None
    return directory


def _remove_unused(root: Path) -> None:
    """Delete the folders of versions that have not been used for a month."""
    for marker in root.glob(f"crabnet_jit-*/{_MARKER}"):
        with contextlib.suppress(OSError):  # another process was faster, or we may not remove it
            if time.time() - marker.parent.stat().st_mtime > _UNUSED_SECONDS:
                shutil.rmtree(marker.parent, ignore_errors=True)
