"""The uncertainty of a network's parameters, and thus of its outputs."""

import importlib
import math
from typing import NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array, Calls, aligned_zeros
from crabnet_jit.kernels.layout import N_OUT
from crabnet_jit.kernels.panels import pack, unpack
from crabnet_jit.kernels.structs import Network, Workspace
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.summary import summary


class Posterior(NamedTuple):
    """The Laplace approximation of a fit: parameters are normally distributed around the fitted ones [1]_.

    Their covariance is 2 noise_std^2 / n_residuals (H + weight_decay I)^-1, where H are the second
    derivatives of the mean squared error in the Gauss-Newton approximation. `BayesianRegularization` finds
    it.

    Attributes
    ----------
    noise_std : float
        Standard deviation of the noise, in units of the standardised targets.
    weight_decay : float
        The l2 that maximises the evidence.
    effective_parameters : float
        The number of parameters that the data determine; at most all, and at most n_residuals.
    n_residuals : int
        The number of targets of samples whose weight is above 0.
    factor : ndarray of shape (size * size,)
        L of H + weight_decay I = L L^T, as kernels/cholesky.py stores it: size is the number of parameters,
        rounded up to a multiple of 16.

    References
    ----------
    .. [1] D. MacKay, "A practical Bayesian framework for backpropagation networks", 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit
    >>> x = np.linspace(-1, 1, 100)
    >>> y = x**2 + 0.01 * np.random.default_rng(0).normal(size=100)
    >>> net = fit(x, y, hidden_sizes=[4], optimizer="bayesian_regularization")
    >>> noise_std = net.posterior.noise_std * net.standardization.y_std[0]
    >>> bool(0.008 < noise_std < 0.012)
    True
    """

    noise_std: float
    weight_decay: float
    effective_parameters: float
    n_residuals: int
    factor: Array

    def __repr__(self) -> str:
        return summary(
            self,
            f"noise_std={self.noise_std:.6g}",
            f"weight_decay={self.weight_decay:.6g}",
            f"effective_parameters={self.effective_parameters:.1f}",
        )

    @classmethod
    def checked(cls, parts: "Posterior", n_parameters: int) -> "Posterior":
        """The same, if it fits a network with this many parameters."""
        size = -(-n_parameters // PANEL) * PANEL
        factor = aligned_zeros(size * size)
        factor[:] = check.same_shape("posterior.factor", parts.factor, (size * size,))
        return cls(
            check.number("posterior.noise_std", parts.noise_std, 0.0, open_low=True),
            check.number("posterior.weight_decay", parts.weight_decay, 0.0, open_low=True),
            check.number("posterior.effective_parameters", parts.effective_parameters, 0.0, n_parameters),
            check.integer("posterior.n_residuals", parts.n_residuals, 1),
            factor,
        )


def standard_deviations(
    posterior: Posterior, network: Network, calls: Calls, workspace: Workspace, rows: Array
) -> Array:
    """Standard deviations of new observations, including noise (n_samples, out_features); standardised."""
    entries = importlib.import_module("crabnet_jit.kernels.curvature_entries")
    panels = pack(rows)
    n_panels, width = panels.shape[1], panels.shape[3]
    size = math.isqrt(posterior.factor.size)
    columns, squares = aligned_zeros(size * PANEL), aligned_zeros(2 * PANEL**2)
    variance = np.empty((1, n_panels, network.layout[-1, N_OUT], width))
    with Interruptible() as interruptible:
        flagged = workspace._replace(interrupt=interruptible.flag, several=1)
        arguments = network, calls, flagged, panels, posterior.factor, size, columns, squares, variance
        entries.variances(*arguments)
        while interruptible.is_interrupted():
            entries.variances(*arguments)
    share = 1.0 + 2.0 / posterior.n_residuals * unpack(variance, len(rows))
    return np.asarray(posterior.noise_std * np.sqrt(share))
