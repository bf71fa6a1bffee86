"""Dropout: what it changes in a network while that is trained, and its masks."""

from collections.abc import Sequence

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.random import RngState, StdRng
from crabnet_jit.kernels.chacha import whole_groups
from crabnet_jit.kernels.dropout import mask_draws
from crabnet_jit.kernels.entries import fill_masks
from crabnet_jit.network.network import NN


class Dropout:
    """Masks for the hidden units of a network, from draws that depend on generator and iteration only.

    Attributes
    ----------
    layer_rates : list of float
        Of each hidden layer.
    n_units : int
        Rows of a mask: all hidden units, or 0 without dropout.
    """

    def __init__(
        self, net: NN, rates: float | Sequence[float], rng: StdRng, n_panels: int, width: int
    ) -> None:
        n_hidden = len(net.hidden_sizes)
        is_text = isinstance(rates, (str, bytes))
        if isinstance(rates, (Sequence, np.ndarray)) and check.is_iterable(rates) and not is_text:
            of_layers = [check.fraction(f"dropout[{k}]", rate) for k, rate in enumerate(rates)]
            if len(of_layers) != n_hidden:
                allowed = f"a number, or one for each of {n_hidden} hidden layers"
                raise check.reject("dropout", allowed, f"{len(of_layers)} of them")
        else:
            of_layers = [check.fraction("dropout", rates)] * n_hidden
        self.layer_rates = of_layers
        self._rng = rng.copy()
        self._rates = np.repeat(np.array(of_layers), net.hidden_sizes)
        self.n_units = self._rates.size if self._rates.any() else 0
        self._n_draws = mask_draws(self.n_units, n_panels * width)

    @property
    def stream(self) -> RngState:
        """Where the draws begin; assign to begin elsewhere."""
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
