"""Plain C: `gaussian_fit.c`, whose sizes are run-time numbers, as in the original and here.

Compiled here and run as a program of its own. Not as a shared library: built with -ffast-math
by some compilers, that makes the whole process round tiny numbers to zero, and so the other
programs too.
"""

import atexit
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.job import BATCH_SIZE, SEED, SIZES, Train, UnavailableError

_OPTIONS = ("-O3", "-march=native", "-ffast-math")


def _compiler() -> str:
    for name in ("gcc", "cc"):
        if shutil.which(name) is not None:
            return name
    raise UnavailableError("no C compiler")


def version() -> str:
    """Name and version of the compiler."""
    name = _compiler()
    result = subprocess.run([name, "-dumpversion"], check=True, capture_output=True, text=True)
    return f"{name} {result.stdout.strip()}"


def prepare() -> Train:
    """Compile into a temporary folder."""
    return compiled("gaussian_fit.c", BATCH_SIZE, *SIZES)


def compiled(source: str, *arguments: int) -> Train:
    """Compile a file of this folder; what trains with it, given these arguments."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    program = Path(folder.name, "program")
    path = Path(__file__).with_name(source)
    subprocess.run([_compiler(), *_OPTIONS, path, "-o", program, "-lm"], check=True)

    def train(n_iterations: int) -> NDArray[np.float64]:
        command = [str(program), *map(str, (n_iterations, SEED, *arguments))]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        return np.frombuffer(result.stdout)

    return train
