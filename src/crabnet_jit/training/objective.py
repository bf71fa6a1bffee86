"""The loss of a whole data set as a function of the parameters theta."""

import importlib
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.components.losses import Loss, as_loss
from crabnet_jit.components.optimizers import OPTIMIZERS
from crabnet_jit.components.penalties_and_clipping import Penalties
from crabnet_jit.components.update_rules import Optimizer
from crabnet_jit.data.derivatives import check_known, joined, known_derivatives
from crabnet_jit.data.known import has_known, known_samples, share
from crabnet_jit.kernels.panels import pack, panel_shape, without_weight
from crabnet_jit.kernels.structs import Batches, JetWorkspace, Workspace
from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.network.network import NN
from crabnet_jit.summary import counted, summary
from crabnet_jit.training.compiled import compiled
from crabnet_jit.training.derivatives import check_derivatives, check_dy_weight
from crabnet_jit.training.sampling import as_residuals, check_rule, with_equations
from crabnet_jit.training.threads import team_size

_LONG_PRODUCTS = 2**27  # some 10 ms
_LBFGS, _HISTORY_SIZE, _GRADIENT_TOLERANCE = "lbfgs", 20, 1e-8  # defaults of `minimize`


def is_long(n_columns: int, net: NN) -> bool:
    """Whether the gradients of this many samples take so long that a signal should not wait for them."""
    return 3 * n_columns * net.parameters.size > _LONG_PRODUCTS


class Objective:
    """The loss of a network on a whole data set, as a function of its parameters.

    `L(theta) = sum(w_s L_s) / sum(w_s) + l1 * sum(|theta|) + l2 / 2 * sum(theta^2)`. With derivatives, it
    adds dy_weight times the weighted mean squared error of the known ones. With residuals, it adds the weight
    of each times its mean square.

    Parameters
    ----------
    net : NN
        The network; only `minimize` changes it.
    x : array_like of shape (n_samples, in_features), optional
        Inputs, in the units of the data.
    y : array_like of shape (n_samples, out_features) or (n_samples,), optional
        Targets, in the units of the data; fewer columns if the loss needs several outputs for each. NaN marks
        an unknown target, which does not count. For a network with a `standardization`, the loss is that of
        standardised targets. x and y may be left out if there are residuals.
    residuals : sequence of Residual, default ()
        Equations that the network should satisfy, at fixed points.
    loss : Loss or str, default "mse"
        A name from `LOSSES` or an object like `Huber(0.1)`.
    sample_weight : array_like of shape (n_samples,), optional
        At least 0, not all 0.
    l1, l2 : float, default 0.0
        Penalties on all parameters, at least 0.
    dy : array_like of shape (n_samples, out_features, in_features), optional
        Derivatives of the targets with respect to the inputs, in the units of the data; as in `ArraySource`.
    dy_weight : float, default 1.0
        As in `Trainer`.
    n_threads : int or "auto", default 1
        Threads that share the samples, as in `Trainer`.

    Examples
    --------
    Any optimiser can be used:

    >>> import numpy as np
    >>> from crabnet_jit import NN, Objective
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> net = NN(1, [8], 1, rng=1, activation="tanh", init="glorot_uniform")
    >>> objective = Objective(net, x, np.sin(3 * x))
    >>> theta = net.parameters.copy()
    >>> for _ in range(1000):
    ...     loss, gradient = objective.loss_and_gradient(theta)
    ...     theta -= 0.2 * gradient
    >>> loss < 0.02
    True
    """

    @check.keywords
    def __init__(
        self,
        net: NN,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        residuals: Sequence[Any] = (),
        loss: Loss | str = "mse",
        sample_weight: ArrayLike | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        dy: ArrayLike | None = None,
        dy_weight: float = 1.0,
        n_threads: int | str = 1,
    ) -> None:
        check.instance("net", net, NN, "an NN")
        self.net = net
        self.loss = as_loss("loss", loss)
        self._residuals = as_residuals(residuals)
        dy_weight = check_dy_weight(dy_weight, has_derivatives=dy is not None)
        self._dy_weight = None if dy is None else dy_weight
        batches, self._n_samples, has_gaps = None, 0, False
        if x is not None or y is not None or not self._residuals:
            batches, self._n_samples, has_gaps = self._data(x, y, sample_weight, dy)
        elif sample_weight is not None or dy is not None:
            name = "dy" if sample_weight is None else "sample_weight"
            raise check.reject(name, "left out if x and y are", "an array")
        self._batches, self._equations = with_equations(net, batches, self._residuals, self.loss)
        self._penalties = Penalties(l1, l2)
        self._theta = aligned_zeros(net.parameters.size, dtype=net.dtype)
        self._network = net.kernel_view()._replace(parameters=self._theta)
        gradients = aligned_zeros(self._theta.size, dtype=net.dtype)
        self._compiled = compiled(
            net,
            self.loss,
            self._penalties.numbers(),
            0 if batches is None else batches.x.shape[1],
            gradients,
            has_gaps=has_gaps,
            dy_weight=self._dy_weight,
            equations=self._equations,
        )
        self._n_threads = team_size(n_threads, stacklevel=4)
        self._team: Any = None
        if self._n_threads > 1:
            team_run: Any = importlib.import_module("crabnet_jit.training.team_run")
            n_panels = self._batches.x.shape[1]
            self._team = team_run.TeamRun.of(self._n_threads, net, n_panels, self._compiled, 1)
        n_columns = self._batches.x.shape[1] * self._batches.x.shape[3]
        self._is_long = is_long(n_columns * self._compiled.n_jets, net)

    def _data(
        self, x: Any, y: Any, sample_weight: ArrayLike | None, dy: ArrayLike | None
    ) -> tuple[Batches, int, bool]:
        """The batch of all samples, their number, and whether some targets are unknown."""
        net = self.net
        inputs, targets = check.pairs(net.encode(x), y)
        n_targets = self.loss.n_targets("net.out_features", net.out_features)
        self.loss.check_targets("y", check.samples("y", targets, n_targets, allow_nan=True))
        inputs, targets = net.standardize(inputs), net.standardize_targets(targets)
        slopes = None
        if dy is not None:
            check_derivatives(net, self.loss)
            slopes = known_derivatives(dy, len(inputs), n_targets, net.in_features)[has_known(targets)]
        inputs, targets, weights = known_samples(inputs, targets, sample_weight)
        n_samples, has_gaps = len(inputs), bool(np.isnan(targets).any())
        if slopes is not None:
            check_known(slopes, weights)
            targets = joined(targets, net.standardize_derivatives(slopes))
        shares = np.tile((weights / n_samples)[:, None], 1 if slopes is None else 2).astype(net.dtype)
        n_panels, width = panel_shape(n_samples)
        masks = np.empty((1, n_panels, 0, width), net.dtype)
        inputs, targets = without_weight(inputs, weights), without_weight(targets, weights)
        batches = Batches(pack(inputs), pack(targets), pack(shares, padding=0.0), masks)
        if has_gaps or slopes is not None:
            share(batches, n_targets, self.loss.takes_whole_samples)
        return batches, n_samples, has_gaps

    def __repr__(self) -> str:
        counts = [(self.net.in_features, "input"), (self.net.out_features, "output")]
        if self._n_samples > 0:
            counts.insert(0, (self._n_samples, "sample"))
        facts = [f"residuals={list(self._residuals)}"] if self._residuals else []
        return summary(self, *(counted(n, noun) for n, noun in counts), f"loss={self.loss!r}", *facts)

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, because it holds addresses of machine code; "
            "copy or pickle its network"
        )

    def loss_and_gradient(self, theta: ArrayLike) -> tuple[float, Array]:
        """The loss and its gradient, a new float64 array, at theta (n_parameters,).

        theta has the order of `NN.parameters`. Do not call this from several threads at once.
        """
        self._theta[:] = check.same_shape("theta", theta, self._theta.shape, self.net.dtype)
        if not self._is_long:
            loss = self._run_kernel(self._compiled.workspace)
        else:
            with Interruptible() as interruptible:
                workspace = self._compiled.workspace._replace(interrupt=interruptible.flag)
                loss = self._run_kernel(workspace)
                while interruptible.is_interrupted():
                    loss = self._run_kernel(workspace)
        return float(loss), self._compiled.workspace.gradients.astype(np.float64)

    def _finite_loss_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """The same for L-BFGS, which may try anything after an infinite loss."""
        with np.errstate(over="ignore"):
            tried = theta.astype(self.net.dtype)
        if not np.isfinite(tried).all():
            raise FloatingPointError(
                "the minimisation tried parameters that are infinite or NaN, after losses that were too large"
            )
        return self.loss_and_gradient(tried)

    def _run_kernel(self, workspace: Workspace | JetWorkspace) -> float:
        parts = self._compiled
        loss: float = (self._team or parts).loss_and_gradients(
            self._network, parts.calls, workspace, self._batches, parts.criterion
        )
        return loss

    @check.keywords
    def minimize(
        self,
        max_iterations: int = 1000,
        *,
        optimizer: Optimizer | str = _LBFGS,
        history_size: int = _HISTORY_SIZE,
        gradient_tolerance: float = _GRADIENT_TOLERANCE,
    ) -> Any:
        """Minimise, starting at the network's parameters, and set these to the result.

        Parameters
        ----------
        max_iterations : int, default 1000
            At least 1.
        optimizer : {"lbfgs", "levenberg_marquardt"} or LevenbergMarquardt, default "lbfgs"
            SciPy's L-BFGS-B, or a method that needs no SciPy and reaches lower losses with small networks.
            The latter's memory grows with the square of the number of parameters, and it needs float64 and no
            l1.
        history_size : int, default 20
            Corrections that L-BFGS keeps, from 1 to 10,000.
        gradient_tolerance : float, default 1e-8
            L-BFGS stops when no component of the gradient is larger. `LevenbergMarquardt` has its own
            tolerances.

        Returns
        -------
        scipy.optimize.OptimizeResult, or a named tuple without SciPy
            `x` are the final parameters, `fun` is their loss, `nit` is the number of iterations, `success`
            says whether they were enough, and `message` why they ended.

        Raises
        ------
        ImportError
            For L-BFGS without SciPy: `pip install crabnet-jit[scipy]`.
        FloatingPointError
            If the loss or its gradient is infinite or NaN at the network's parameters, or becomes so large
            that the method cannot go on. The network does not change.

        Examples
        --------
        >>> import numpy as np
        >>> from crabnet_jit import NN, Objective
        >>> x = np.linspace(-1, 1, 50)[:, None]
        >>> net = NN(1, [8], 1, rng=1, activation="tanh", init="glorot_uniform")
        >>> Objective(net, x, np.sin(3 * x)).minimize(100, optimizer="levenberg_marquardt").fun < 1e-7
        True
        """
        n = check.integer("max_iterations", max_iterations, 1)
        check.integer("history_size", history_size, 1, 10_000)
        check.number("gradient_tolerance", gradient_tolerance, 0.0)
        rule = _second_order(optimizer)
        if rule is None:
            return self._minimize_by_lbfgs(n, history_size, gradient_tolerance)
        for name, value, default in (
            ("history_size", history_size, _HISTORY_SIZE),
            ("gradient_tolerance", gradient_tolerance, _GRADIENT_TOLERANCE),
        ):
            if value != default:
                raise check.reject(name, f"left out for {rule.name}", repr(value))
        check_rule(rule, self._residuals)
        self._finite_start()
        module = importlib.import_module("crabnet_jit.training.minimization")
        parts = self.loss, self._penalties, self._batches, self._dy_weight, self._equations
        theta, n_done, reason = module.minimized(self.net, *parts, self._n_threads, rule, n)
        loss, _ = self.loss_and_gradient(theta)
        self.net.parameters = theta
        message = f"all {n} iterations were taken" if reason is None else reason
        return module.Minimization(theta, loss, n_done, reason is not None, message)

    def _minimize_by_lbfgs(self, max_iterations: int, history_size: int, gradient_tolerance: float) -> Any:
        try:
            from scipy.optimize import minimize
        except ImportError as error:
            raise ImportError("L-BFGS needs SciPy: pip install crabnet-jit[scipy]") from error
        result = minimize(
            self._finite_loss_and_gradient,
            self._finite_start(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": max_iterations,
                "maxfun": 20 * max_iterations,
                "maxcor": history_size,
                "gtol": gradient_tolerance,
                "ftol": 0.0,
            },
        )
        self.net.parameters = result.x
        return result

    def _finite_start(self) -> Array:
        """The network's parameters, after a check that loss and gradient are finite there."""
        start = check.array("net.parameters", self.net.parameters, self.net.dtype).astype(np.float64)
        loss, gradient = self.loss_and_gradient(start)
        if not (math.isfinite(loss) and np.isfinite(gradient).all()):
            what = "its gradient" if math.isfinite(loss) else f"the loss, {loss},"
            raise FloatingPointError(
                f"{what} is not finite at the network's parameters: smaller initial parameters or "
                "standardised data may help"
            )
        return start


def _second_order(optimizer: Optimizer | str) -> Optimizer | None:
    """The second-order method that `minimize` is asked for; None for L-BFGS."""
    known = [name for name, kind in OPTIMIZERS.items() if kind.is_second_order and not kind.has_evidence]
    if isinstance(optimizer, Optimizer):
        if optimizer.name not in known:
            allowed = f"{', '.join(map(repr, [_LBFGS, *known]))}, or such an object"
            raise check.reject("optimizer", allowed, repr(optimizer), "; fit and Trainer accept the others")
        return optimizer
    name = check.choice("optimizer", optimizer, [_LBFGS, *known])
    return None if name == _LBFGS else OPTIMIZERS[name]()
