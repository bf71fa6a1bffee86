"""The job that all programs do, and what a program has to offer.

A network 2-8-8-1 with ReLU learns 5 exp(-(x^2 + y^2) / 2). Iteration i draws 16 fresh
samples, uniform on [-3, 3] x [-3, 3], and takes one step of plain gradient descent on the
mean squared error with learning rate 0.002 * 0.99999**(i + 1). The parameters start
uniform on [0, 1). The loss of every iteration, before its step, is kept. All numbers are
float64; the random numbers may come from any good generator.

Every program is written for speed, with what its library offers for that; where several
ways were tried, its docstring says which and by how much they differ.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # NumPy reads the number of threads when it is imported: not before that is set
    import numpy as np
    from numpy.typing import NDArray

SIZES = (2, 8, 8, 1)
BATCH_SIZE = 16
LOW, HIGH = -3.0, 3.0
LEARNING_RATE = 0.002
DECAY = 0.99999

#: Of each program's own random numbers: no two programs start from the same parameters.
SEED = 3

#: Numbers of iterations are multiples of this, so a program may work in chunks.
CHUNK = 1000

#: Trains a new network for that many iterations and returns the loss of each.
Train: TypeAlias = "Callable[[int], NDArray[np.float64]]"


class UnavailableError(Exception):
    """Something that the program needs is not on this machine; the message names it."""


class Peer(Protocol):
    """A program that does the job: what each `with_*` module defines."""

    def version(self) -> str:
        """Version of the library or compiler.

        Raises
        ------
        ImportError, UnavailableError
            If the program cannot run here.
        """

    def prepare(self) -> Train:
        """Import the library, build what can be built; the first training may still compile."""
