"""Where training samples come from.

A source fills the panels of a chunk: for the iterations from `iteration` on it writes
inputs and targets. What it writes depends on the iteration alone, so a run can be cut
into chunks, interrupted and resumed at will. Any object like `Source` will do.
"""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import _validation as check
from crabnet_jit.kernels.entry import gaussian_panels
from crabnet_jit.kernels.uniform import buffer_size
from crabnet_jit.layers import Array
from crabnet_jit.panels import pack, unpack
from crabnet_jit.random import StdRng, as_rng, interval_scale

_DRAWS_AT_ONCE = 2048  # half of a cache of 32 KB


class Target(Protocol):
    """A function to learn."""

    in_features: int
    out_features: int

    def fill(self, x: Array, target: Array) -> None:
        """Overwrite target (n_iterations, n_panels, out_features, width) with the values at x."""


class Source(Protocol):
    """Batches for training."""

    in_features: int
    out_features: int
    batch_size: int

    def fill(self, iteration: int, x: Array, target: Array) -> None:
        """Overwrite x (n_iterations, n_panels, in_features, width) and target (…, out_features, …).

        Their first axis counts the iterations from `iteration` on. A batch lies in the first
        `batch_size` columns of its panels, panel after panel.
        """


class StandardGaussian:
    """The article's target, 5 exp(-(x^2 + y^2) / 2): a scaled Gaussian, not a density.

    Examples
    --------
    >>> from crabnet_jit import StandardGaussian
    >>> StandardGaussian()([[0.0, 0.0], [1.0, 0.0]])
    array([[5.       ],
           [3.0326533]])
    """

    in_features = 2
    out_features = 1

    def __call__(self, x: ArrayLike) -> Array:
        """Values (n_samples, 1) at x (n_samples, 2)."""
        rows = check.samples("x", x, self.in_features)
        panels = pack(rows)
        target = np.empty((1, panels.shape[1], self.out_features, panels.shape[3]))
        self.fill(panels, target)
        return unpack(target, rows.shape[0])

    def fill(self, x: Array, target: Array) -> None:
        """Overwrite the panels `target` with the values at the panels x."""
        gaussian_panels(x, target)


class UniformSource:
    """Fresh samples of a target every iteration, uniform on a box.

    Parameters
    ----------
    target : Target
        The function to learn, for example `StandardGaussian()`.
    low, high : float, default -3.0 and 3.0
        Every coordinate is uniform on the closed interval [low, high].
    batch_size : int, default 16
        Samples in an iteration, at least 1.
    rng : StdRng or int, optional
        A generator or a seed. The samples are the draws from the generator's present position
        on, sample by sample and coordinate by coordinate; the generator itself does not move.

    Examples
    --------
    >>> from crabnet_jit import StandardGaussian, UniformSource
    >>> source = UniformSource(StandardGaussian(), rng=1)
    >>> x, target = source.batch(0)
    >>> x.shape, target.shape
    ((16, 2), (16, 1))
    """

    def __init__(
        self,
        target: Target,
        low: float = -3.0,
        high: float = 3.0,
        batch_size: int = 16,
        rng: StdRng | int | None = None,
    ) -> None:
        self.target = target
        self.in_features = check.integer("target.in_features", target.in_features, 1)
        self.out_features = check.integer("target.out_features", target.out_features, 1)
        self.batch_size = check.integer("batch_size", batch_size, 1)
        low = check.finite("low", low)
        self._low = np.full(self.in_features, low)
        self._scale = np.full(self.in_features, interval_scale(low, check.finite("high", high)))
        self._rng = as_rng("rng", rng).copy()
        at_once = max(1, _DRAWS_AT_ONCE // (self.batch_size * self.in_features))
        self._workspace_size = buffer_size(self.batch_size, self.in_features, at_once)

    def fill(self, iteration: int, x: Array, target: Array) -> None:
        """Overwrite the panels x and target with the batches from `iteration` on, see `Source`."""
        position = self._rng.position + iteration * self.batch_size * self.in_features
        workspace = np.empty(self._workspace_size, np.uint64)  # of this call: threads may share a source
        self._rng.fill_uniform_at(position, 52, self._scale, self._low, self.batch_size, workspace, x)
        self.target.fill(x, target)

    def batch(self, iteration: int) -> tuple[Array, Array]:
        """Inputs (batch_size, in_features) and targets (batch_size, out_features) of one iteration."""
        check.integer("iteration", iteration, 0)
        x = pack(np.zeros((self.batch_size, self.in_features)))
        target = pack(np.zeros((self.batch_size, self.out_features)))
        self.fill(iteration, x, target)
        return unpack(x, self.batch_size), unpack(target, self.batch_size)
