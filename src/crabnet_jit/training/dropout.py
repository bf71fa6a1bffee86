"""Dropout masks for the hidden units of a network in training."""

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.data.random import RngState, StdRng
from crabnet_jit.kernels.chacha import whole_groups
from crabnet_jit.kernels.dropout import mask_draws
from crabnet_jit.kernels.entries import fill_masks


class Dropout:
    """Masks whose draws depend only on the generator and the iteration.

    Attributes
    ----------
    n_units : int
        Rows of a mask: all hidden units, or 0 without dropout.
    """

    def __init__(
        self,
        hidden_sizes: list[int],
        layer_rates: tuple[float, ...],
        stream: RngState,
        n_panels: int,
        width: int,
    ) -> None:
        self._rng = StdRng(0)
        self._rng.state = stream
        self._rates = np.repeat(np.array(layer_rates), hidden_sizes)
        self.n_units = self._rates.size if self._rates.any() else 0
        self._n_draws = mask_draws(self.n_units, n_panels * width)

    @property
    def stream(self) -> RngState:
        """Where the draws begin; assign another state to begin elsewhere."""
        return self._rng.state

    @stream.setter
    def stream(self, state: RngState) -> None:
        self._rng.state = state

    def fill(self, iteration: int, masks: Array) -> None:
        """Overwrite masks (n_iterations, n_panels, n_units, width) from `iteration` on."""
        if self.n_units > 0:
            stream = self._rng.kernel_view(whole_groups(self._rng.position))
            draws = np.empty(self._n_draws, np.uint64)
            fill_masks(stream, draws, iteration, self._rates, masks)
