"""Levenberg and Marquardt's method as an optimiser: small networks, fitted to many digits."""

from typing import Any, NoReturn

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.update_rules import Optimizer, OptimizerState


class LevenbergMarquardt(Optimizer):
    """Damped Gauss-Newton steps for networks of up to some thousand parameters [1]_, [2]_.

    A step solves (H + damping I) step = -gradient. H are the second derivatives of the mean loss of all
    samples (and of l2) with respect to the parameters, in the Gauss-Newton approximation: J^T C J, where J
    are the derivatives of the outputs, and C those of the loss, twice, with respect to the outputs. The
    damping follows the gain ratio by Nielsen's rule [3]_, and the step bends as the outputs do (geodesic
    acceleration [4]_). Only a step that lowers the loss is taken. An iteration takes the time of n p^2 / 2 +
    p^3 / 6 multiply-adds for n samples and p parameters, and memory for p^2 numbers; with fewer residuals
    than parameters, n takes the place of p.

    It needs float64, all samples in every batch, and a loss that is convex and has second derivatives: "mse",
    "huber", "log_cosh", "binary_cross_entropy" or "cross_entropy". There is no learning rate, and there are
    neither dropout, l1 nor limits on the gradient. A run ends before its last iteration where it cannot get
    further, and another run of the same trainer ends there, too.

    Parameters
    ----------
    damping : float, default 1e-4
        That of the first step, over the trace of H. Above 0.
    acceleration : float, default 0.75
        The acceleration a is left out if `2 |a|` is more than this times the length of the step. 0 for steps
        without it, which take less time and lead less far.
    gradient_tolerance : float, default 1e-14
        The run ends if no component of the gradient is larger. At least 0, as the other tolerances.
    step_tolerance : float, default 1e-12
        It ends if a step is shorter than this times the length of the parameters.
    loss_tolerance : float, default 1e-9
        It ends after a step that lowers loss and penalty by less than this times their sum.

    References
    ----------
    .. [1] D. Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", 1963.
    .. [2] M. Hagan, M. Menhaj, "Training feedforward networks with the Marquardt algorithm", 1994.
    .. [3] H. B. Nielsen, "Damping parameter in Marquardt's method", IMM-REP-1999-05, 1999.
    .. [4] M. Transtrum, J. Sethna, "Improvements to the Levenberg-Marquardt algorithm for nonlinear
       least-squares minimization", arXiv:1201.5885, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit
    >>> x = np.linspace(0, 10, 200)[:, None]
    >>> net = fit(x, np.sin(x), hidden_sizes=[16], optimizer="levenberg_marquardt", n_iterations=100)
    >>> bool(abs(net.predict(x) - np.sin(x)).max() < 1e-4)
    True
    """

    name = "levenberg_marquardt"
    is_second_order = True

    @check.keywords
    def __init__(
        self,
        damping: float = 1e-4,
        acceleration: float = 0.75,
        gradient_tolerance: float = 1e-14,
        step_tolerance: float = 1e-12,
        loss_tolerance: float = 1e-9,
    ) -> None:
        self.damping = check.number("damping", damping, 0.0, open_low=True)
        self.acceleration = check.number("acceleration", acceleration, 0.0)
        self.gradient_tolerance = check.number("gradient_tolerance", gradient_tolerance, 0.0)
        self.step_tolerance = check.number("step_tolerance", step_tolerance, 0.0)
        self.loss_tolerance = check.number("loss_tolerance", loss_tolerance, 0.0)

    def _numbers(self, dtype: np.dtype[Any]) -> list[float]:
        """The present damping, 0 before the first step; then the constants."""
        tolerances = self.gradient_tolerance, self.step_tolerance, self.loss_tolerance
        return [0.0, self.damping, self.acceleration, *tolerances]

    def update(self, *arguments: Any, **named: Any) -> NoReturn:
        """Not for this optimiser: its steps need more than a gradient.

        Raises
        ------
        TypeError
            Always; `fit`, `Trainer` and `Objective.minimize` take its steps.
        """
        raise TypeError(
            f"{type(self).__name__} needs second derivatives, not only a gradient: use fit, Trainer or "
            "Objective.minimize"
        )


class BayesianRegularization(LevenbergMarquardt):
    """Levenberg-Marquardt with the weight decay that the evidence is largest for [1]_, [2]_.

    Parameters have a normal prior, targets a normal noise, of unknown widths. In the Gauss-Newton
    approximation, the evidence for a weight decay is the probability of the targets after all parameters are
    integrated out. The search tries decays from a large one on, each a quarter of the last and from the
    network's first parameters, until three in a row have not raised the evidence, and 1e-5 is reached; then
    the double and half of the best one. It goes on with the best to the end. No data need to be set aside.

    `fit` gives the network a `posterior`: the noise, the effective number of parameters g = p - decay
    trace((H + decay I)^-1), and what `predict(x, return_std=True)` needs. For the loss "mse"; p^2 numbers
    must fit into memory. An `l2` of the run is the decay that the search begins with; by default 0.3.

    Parameters
    ----------
    damping, acceleration, gradient_tolerance, step_tolerance, loss_tolerance
        As in `LevenbergMarquardt`; until the decay is found, 1e-4 is the least `loss_tolerance`.

    References
    ----------
    .. [1] D. MacKay, "A practical Bayesian framework for backpropagation networks", 1992.
    .. [2] F. Foresee, M. Hagan, "Gauss-Newton approximation to Bayesian learning", 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit
    >>> rng = np.random.default_rng(0)
    >>> x = np.linspace(0, 10, 200)
    >>> y = np.sin(x) + 0.1 * rng.normal(size=200)
    >>> net = fit(x, y, hidden_sizes=[10], optimizer="bayesian_regularization")
    >>> mean, std = net.predict(x, return_std=True)
    >>> bool(0.08 < std.mean() < 0.12)
    True
    """

    name = "bayesian_regularization"
    has_evidence = True
    _n_buffers = 2

    def _numbers(self, dtype: np.dtype[Any]) -> list[float]:
        """Those of `LevenbergMarquardt`; then those of the search (training/evidence.py), at its start."""
        return [*super()._numbers(dtype), 0.0, 0.0, 0.0, 0.0, 0.0]

    def init(self, parameters: Array) -> OptimizerState:
        """The state before the first step: the first of its buffers has the parameters."""
        state = super().init(parameters)
        state.buffers[: parameters.size] = parameters
        return state
