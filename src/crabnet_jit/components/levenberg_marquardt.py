"""The Levenberg-Marquardt method as an optimiser, which fits small networks to many digits."""

from typing import Any, NoReturn

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.update_rules import Optimizer, OptimizerState


class LevenbergMarquardt(Optimizer):
    """Damped Gauss-Newton steps for networks with up to a few thousand parameters [1]_, [2]_.

    A step solves (H + damping I) step = -gradient. H are the second derivatives of the mean loss of all
    samples (and of l2) with respect to the parameters, in the Gauss-Newton approximation: J^T C J, where J
    are the derivatives of the outputs, and C the second derivatives of the loss with respect to the outputs.
    The damping follows the gain ratio by Nielsen's rule [3]_, and the step is corrected for the curvature of
    the outputs (geodesic acceleration [4]_). Only steps that lower the loss are taken. An iteration takes the
    time of n p^2 / 2 + p^3 / 6 multiply-adds for n samples and p parameters, and memory for p^2 numbers. With
    fewer residuals than parameters, n and p swap their roles.

    It needs float64, all samples in every batch, and a convex loss with second derivatives: "mse", "huber",
    "log_cosh", "binary_cross_entropy" or "cross_entropy". There is no learning rate, and dropout, l1 and
    limits on the gradient are not supported. A run ends early when it has converged, and another run of the
    same trainer then ends at once.

    Parameters
    ----------
    damping : float, default 1e-4
        The damping of the first step, relative to the trace of H. Above 0.
    acceleration : float, default 0.75
        The acceleration a is left out if `2 |a|` is more than this times the length of the step. With 0,
        there is none: steps then take less time, but make less progress.
    gradient_tolerance : float, default 1e-14
        The run ends if no component of the gradient is larger. At least 0, like the other tolerances.
    step_tolerance : float, default 1e-12
        It ends if a step is shorter than this times the length of the parameters.
    loss_tolerance : float, default 1e-9
        It ends after a step that lowers the sum of loss and penalty by less than this times the sum.

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
        """The current damping, 0 before the first step; then the constants."""
        tolerances = self.gradient_tolerance, self.step_tolerance, self.loss_tolerance
        return [0.0, self.damping, self.acceleration, *tolerances]

    def update(self, *arguments: Any, **named: Any) -> NoReturn:
        """Not available for this optimiser: its steps need more than a gradient.

        Raises
        ------
        TypeError
            Always. Use `fit`, `Trainer` or `Objective.minimize`.
        """
        raise TypeError(
            f"{type(self).__name__} needs second derivatives, not only a gradient: use fit, Trainer or "
            "Objective.minimize"
        )


class BayesianRegularization(LevenbergMarquardt):
    """Levenberg-Marquardt with the weight decay that maximises the evidence [1]_, [2]_.

    Parameters have a normal prior and targets have normal noise, both of unknown width. The evidence for a
    weight decay is the probability of the targets with all parameters integrated out, in the Gauss-Newton
    approximation. The search starts with a large decay. Each further one is a quarter of the last, and starts
    from the network's first parameters, until three in a row have not raised the evidence and 1e-5 is
    reached. Then it tries twice and half the best one, and goes on with the best to the end. No data need to
    be set aside.

    `fit` gives the network a `posterior`: the noise, the effective number of parameters g = p - decay
    trace((H + decay I)^-1), and what `predict(x, return_std=True)` needs. The loss must be "mse", and p^2
    numbers must fit into memory. The search begins with the run's `l2` as decay, or with 0.3 by default.

    Parameters
    ----------
    damping, acceleration, gradient_tolerance, step_tolerance, loss_tolerance
        As in `LevenbergMarquardt`; until the decay is found, `loss_tolerance` is at least 1e-4.

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
        """The numbers of `LevenbergMarquardt`, then the initial ones of the search (training/evidence.py)."""
        return [*super()._numbers(dtype), 0.0, 0.0, 0.0, 0.0, 0.0]

    def init(self, parameters: Array) -> OptimizerState:
        """The state before the first step; its first buffer has the parameters."""
        state = super().init(parameters)
        state.buffers[: parameters.size] = parameters
        return state
