"""Where compiled kernels are kept on disk.

Numba's own cache notices a change only in the file of the compiled function
itself. A kernel inlines functions of other files, so the folder's name carries a
fingerprint of every source file of the package and of all that shapes the
machine code: another fingerprint, another folder.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.misc.appdirs import user_cache_dir

_PACKAGE = Path(__file__).parents[1]
_UNUSED_SECONDS = 30 * 24 * 3600
_MARKER = "compiled kernels of crabnet_jit"  # a file: only folders that hold it are ever removed


def fingerprint() -> str:
    """Digest of the package's sources, of the tools' versions and of Numba's switches."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(_PACKAGE)).encode())
        digest.update(path.read_bytes())
    tools = (sys.version, numba.__version__, llvmlite.__version__, np.__version__)
    switches = (config.BOUNDSCHECK, config.OPT, config.LOOP_VECTORIZE, config.DEBUGINFO_DEFAULT)
    digest.update(repr((tools, switches)).encode())
    return digest.hexdigest()[:16]


def cache_directory() -> Path | None:
    """Folder for this version's compiled kernels; None if there is no place to write."""
    root = Path(config.CACHE_DIR or user_cache_dir("crabnet_jit", False))
    directory = root / f"crabnet_jit-{fingerprint()}"
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / _MARKER).touch()
            _remove_unused(root)
        os.utime(directory)
    except OSError:
        return None
    return directory


def _remove_unused(root: Path) -> None:
    """Delete the folders of versions that nobody has started for a month."""
    for marker in root.glob(f"crabnet_jit-*/{_MARKER}"):
        with contextlib.suppress(OSError):  # another process was quicker, or it is not ours to remove
            if time.time() - marker.parent.stat().st_mtime > _UNUSED_SECONDS:
                shutil.rmtree(marker.parent, ignore_errors=True)
