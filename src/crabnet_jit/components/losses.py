"""Losses, as objects on top of their kernels.

Each is a mean over samples of a loss of predictions x and targets, both (n_samples, n_features), unless a
target has several predictions. With sample weights w, which are scaled to a mean of 1, it is the weighted
mean: sum(w_s L_s) / sum(w_s). A target that is NaN is unknown. Both sums are then over the known targets of
all samples.
A trainer takes them as objects or by name, see `LOSSES`.
"""

import importlib
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.base import Component, stored
from crabnet_jit.kernels import entries
from crabnet_jit.kernels.losses import custom_loss
from crabnet_jit.kernels.panels import pack_one, unpack_one
from crabnet_jit.user_functions import shared_entry


class Loss(Component):
    """The base class of all losses.

    Attributes
    ----------
    name : str
        The name by which trainers take it.
    dL_dx : ndarray or None
        The gradient of the last `forward`; None before.
    """

    is_regression: ClassVar[bool] = True  # targets are numbers, not classes
    heads: ClassVar[str] = "values"  # the meaning of predictions, see HEADS (network/schema.py)
    takes_whole_samples: ClassVar[bool] = False  # one unknown target makes the whole sample unknown

    @check.keywords
    def __init__(self) -> None:
        self._constants: tuple[float, ...] = (0.0,)
        self.dL_dx: Array | None = None

    @property
    def constants(self) -> Array:
        """The constants in its formula, for kernels; 0 if there are none."""
        return np.array(self._constants)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles that it predicts; () if it predicts something else."""
        return ()

    @property
    def n_heads(self) -> int:
        """The number of predictions for each target: k n_targets + i is number k of target i."""
        return 1

    def n_targets(self, name: str, n_outputs: int) -> int:
        """The number of targets for this many predictions, which errors call `name`."""
        if n_outputs % self.n_heads != 0:
            allowed = f"a multiple of {self.n_heads} for {self!r}"
            raise check.reject(name, allowed, repr(n_outputs))
        return n_outputs // self.n_heads

    def get_output(self, x: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The loss of predictions x against targets, both (n_samples, n_features); keeps nothing.

        Targets that are NaN are unknown and do not count.
        """
        return self._values(x, target, sample_weight)[0]

    def forward(self, x: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The loss of predictions x against targets, both (n_samples, n_features); keeps its gradient."""
        loss, self.dL_dx = self._values(x, target, sample_weight)
        return loss

    def backward(self) -> Array:
        """The gradient dL_dx (n_samples, n_features).

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        return stored(self.dL_dx).copy()

    def _values(
        self, x: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[float, Array]:
        predictions = check.samples("x", x)
        n_targets = self.n_targets("the number of columns of x", predictions.shape[1])
        targets = check.same_shape("target", target, (len(predictions), n_targets), allow_nan=True)
        self.check_targets("target", targets)
        n_samples = predictions.shape[0]
        weights = np.ones(n_samples)
        if sample_weight is not None:
            weights = check.sample_weights("sample_weight", sample_weight, n_samples)
        panel, wanted = pack_one(predictions), pack_one(targets)
        shares = pack_one(weights[:, None] / n_samples, padding=0.0)
        has_gaps = bool(np.isnan(targets).any())
        if has_gaps:
            known = wanted[None, None], 0, n_targets
            entries.share_among_known(*known, shares[None, None], 0, self.takes_whole_samples)
        dL_dx = np.empty_like(panel)
        loss = self.kernel_for(has_gaps)(panel, wanted, shares, self.constants, dL_dx)
        return float(loss), unpack_one(dL_dx, n_samples)

    def check_targets(self, name: str, targets: Array) -> None:
        """Reject targets for which the loss is not defined, and targets that are all unknown."""
        is_known = ~np.isnan(targets)
        if not (is_known.all(axis=1) if self.takes_whole_samples else is_known).any():
            raise check.reject(name, "known for at least one sample", "only NaN")

    @property
    def kernel(self) -> Any:
        """The kernel that computes it and its gradient for a panel."""
        if self.name not in entries.loss_forward:
            raise check.reject("loss", "one that has a formula, such as MSE()", repr(self))
        return entries.loss_forward[self.name]

    def kernel_for(self, has_gaps: bool) -> Any:
        """The same, for targets that may be unknown."""
        if not has_gaps:
            return self.kernel
        gaps = importlib.import_module("crabnet_jit.kernels.gap_entries")
        return gaps.loss_with_gaps.get(self.name, self.kernel)


class MSE(Loss):
    """The mean squared error, L = sum((target - x)^2) / N over all N elements.

    Examples
    --------
    >>> from crabnet_jit import MSE
    >>> mse = MSE()
    >>> mse.forward([[1.0], [2.0]], [[1.0], [4.0]])
    2.0
    >>> mse.backward()
    array([[ 0.],
           [-2.]])
    """

    name = "mse"


class MAE(Loss):
    """The mean absolute error, `L = sum(|target - x|) / N` over all N elements.

    Examples
    --------
    >>> from crabnet_jit import MAE
    >>> MAE().get_output([[1.0], [2.0]], [[1.0], [4.0]])
    1.0
    """

    name = "mae"


class Huber(Loss):
    """The mean of `e^2 / 2` if `|e| <= delta`, else `delta (|e| - delta / 2)`, with `e = x - target` [1]_.

    Parameters
    ----------
    delta : float, default 1.0
        Above 0.

    References
    ----------
    .. [1] P. Huber, "Robust estimation of a location parameter", 1964.

    Examples
    --------
    >>> from crabnet_jit import Huber
    >>> Huber().get_output([[1.0], [2.0]], [[1.0], [4.0]])
    0.75
    """

    name = "huber"

    @check.keywords
    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self._constants = (check.number("delta", delta, 0.0, open_low=True),)

    @property
    def delta(self) -> float:
        """The error at which the loss changes from quadratic to linear."""
        return self._constants[0]


class LogCosh(Loss):
    """The mean of log(cosh(x - target)).

    Examples
    --------
    >>> from crabnet_jit import LogCosh
    >>> round(LogCosh().get_output([[1.0], [2.0]], [[1.0], [4.0]]), 4)
    0.6625
    """

    name = "log_cosh"


class Quantile(Loss):
    """The mean of max(q e, (q - 1) e), e = target - x, which the q-quantile of targets minimises [1]_.

    Each target has a prediction for each quantile: for two targets a and b, the columns of x are the first
    quantile of a and of b, then the second ones, and so on. So a network for n_targets targets needs
    n_targets times as many outputs as there are quantiles; `fit` takes care of that.

    Parameters
    ----------
    q : float or sequence of float, default 0.5
        One quantile, or several different ones in ascending order, each above 0 and below 1.

    References
    ----------
    .. [1] R. Koenker and G. Bassett, "Regression quantiles", 1978.

    Examples
    --------
    >>> from crabnet_jit import Quantile
    >>> Quantile(0.9).get_output([[1.0], [2.0]], [[2.0], [1.0]])
    0.5
    >>> round(Quantile([0.1, 0.9]).get_output([[1.0, 3.0]], [[2.0]]), 3)
    0.1
    """

    name = "quantile"
    heads = "quantiles"

    @check.keywords
    def __init__(self, q: float | Iterable[float] = 0.5) -> None:
        super().__init__()
        self._constants = quantiles_of("q", q)

    @property
    def q(self) -> float | tuple[float, ...]:
        """The quantile, or all of them."""
        return self._constants[0] if self.n_heads == 1 else self._constants

    @property
    def quantiles(self) -> tuple[float, ...]:
        """All quantiles, always as a tuple."""
        return self._constants

    @property
    def n_heads(self) -> int:
        """The number of predictions for each target: one for each quantile."""
        return len(self._constants)


def quantiles_of(name: str, given: Any) -> tuple[float, ...]:
    """One or several different quantiles in ascending order, each above 0 and below 1."""
    several = check.is_iterable(given) and not isinstance(given, (str, bytes))
    values = list(given) if several else [given]
    if not values:
        raise check.reject(name, "at least one quantile", "none")
    quantiles = []
    for k, value in enumerate(values):
        called = f"{name}[{k}]" if several else name
        quantiles.append(check.fraction(called, value, open_low=True))
    for k, (low, high) in enumerate(pairwise(quantiles)):
        if not low < high:
            came = f"{high} at index {k + 1}, after {low}"
            raise check.reject(name, "different quantiles in ascending order", came)
    return tuple(quantiles)


class Poisson(Loss):
    """The mean of exp(x) - t - t (x - log(t)), where t is the target: half the deviance of counts.

    x is the logarithm of the expected count. The loss is exp(x) - t x, the negative logarithm of the Poisson
    distribution [1]_, minus its smallest value for t; for t = 0 it is exp(x). Targets are at least 0; `fit`
    leaves them in their own units, and its networks predict means, exp(x).

    References
    ----------
    .. [1] P. McCullagh and J. Nelder, "Generalized linear models", 1989, chapter 6.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import Poisson
    >>> Poisson().get_output([[np.log(2.0)], [0.0]], [[2.0], [0.0]])
    0.5
    """

    name = "poisson"
    heads = "log_means"

    def check_targets(self, name: str, targets: Array) -> None:
        """Reject targets below 0, and targets that are all unknown."""
        super().check_targets(name, targets)
        _check_range(name, targets, "at least 0 for the loss poisson, as counts are", 0.0)


class GaussianNLL(Loss):
    """The mean of log(s) + (m - t)^2 / (2 s^2), for normal targets t of mean m and standard deviation s [1]_.

    It is the negative logarithm of their density, without log(2 pi) / 2, so it may be below 0. Each target
    has two predictions: the columns of x are m of all targets, then log(s) of all targets. So a network needs
    two outputs for each target; `fit` takes care of that. Its networks predict m, and s with
    `predict(x, return_std=True)`.

    References
    ----------
    .. [1] D. Nix and A. Weigend, "Estimating the mean and variance of the target probability distribution",
       1994.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import GaussianNLL
    >>> GaussianNLL().get_output([[1.0, 0.0]], [[3.0]])
    2.0
    """

    name = "gaussian_nll"
    heads = "means_and_log_stds"

    @property
    def n_heads(self) -> int:
        """Two predictions for each target."""
        return 2


class BinaryCrossEntropy(Loss):
    """The mean of -t log(p) - (1 - t) log(1 - p), where p = 1 / (1 + exp(-x)) and t is the target.

    x are logits; targets are probabilities, from 0 to 1.

    Examples
    --------
    >>> from crabnet_jit import BinaryCrossEntropy
    >>> round(BinaryCrossEntropy().get_output([[0.0], [2.0]], [[1.0], [1.0]]), 4)
    0.41
    """

    name = "binary_cross_entropy"
    is_regression = False

    def check_targets(self, name: str, targets: Array) -> None:
        """Reject targets that are not probabilities, and targets that are all unknown."""
        super().check_targets(name, targets)
        _check_range(name, targets, "from 0 to 1", 0.0, 1.0)


class CrossEntropy(Loss):
    """The mean of -sum(t log(p)) over the classes, where p = exp(x) / sum(exp(x)) and t is the target.

    x are logits, one for each class. A sample's targets are the classes' probabilities: 1 for the
    true class and 0 for the others, if the true class is known.

    Examples
    --------
    >>> from crabnet_jit import CrossEntropy
    >>> round(CrossEntropy().get_output([[0.0, 2.0], [1.0, 1.0]], [[0, 1], [1, 0]]), 4)
    0.41
    """

    name = "cross_entropy"
    is_regression = False
    takes_whole_samples = True

    def check_targets(self, name: str, targets: Array) -> None:
        """Reject targets that are not probabilities with a sum of 1, and targets that are all unknown."""
        super().check_targets(name, targets)
        _check_range(name, targets, "from 0 to 1", 0.0, 1.0)
        sums = targets.sum(axis=1)
        wrong = np.abs(sums - 1) > 1e-6
        if wrong.any():
            at = int(wrong.argmax())
            raise check.reject(name, "probabilities with a sum of 1 in each row", f"{sums[at]} in row {at}")


def _check_range(name: str, targets: Array, allowed: str, low: float, high: float = np.inf) -> None:
    wrong = (targets < low) | (targets > high)
    if wrong.any():
        at = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise check.reject(name, allowed, f"{targets[at]} at index {at}")


class CustomLoss(Loss):
    """A loss of your own: the mean of a function of a prediction and a target.

    Parameters
    ----------
    function, derivative : callable
        function(x, target) and its derivative with respect to x, for two numbers. They are plain Python
        functions, or compiled by Numba, and are compiled here, once for all losses with the same functions.
        An exception in one of them ends the training.

    Raises
    ------
    InvalidArgumentError
        If one of them cannot be compiled, or does not return a number.

    Examples
    --------
    >>> from crabnet_jit import CustomLoss
    >>> fourth_power = CustomLoss(lambda x, t: (x - t) ** 4, lambda x, t: 4 * (x - t) ** 3)
    >>> fourth_power.get_output([[1.0], [2.0]], [[1.0], [4.0]])
    8.0
    """

    name = "custom"

    @check.keywords
    def __init__(
        self, function: Callable[[float, float], float], derivative: Callable[[float, float], float]
    ) -> None:
        super().__init__()
        self._compiled = shared_entry(custom_loss, 2, function=function, derivative=derivative)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CustomLoss) and other._compiled is self._compiled
        )  # which equal functions share

    def __hash__(self) -> int:
        return hash(self._compiled)

    @property
    def kernel(self) -> Any:
        """The kernel that computes it and its gradient for a panel."""
        return self._compiled


#: All losses that have a name.
LOSSES: dict[str, type[Loss]] = {
    kind.name: kind
    for kind in (MSE, MAE, Huber, LogCosh, Quantile, GaussianNLL, Poisson, BinaryCrossEntropy, CrossEntropy)
}


def as_loss(name: str, value: "Loss | str") -> Loss:
    """The given loss, or the one with the given name and default options."""
    return value if isinstance(value, Loss) else LOSSES[check.choice(name, value, LOSSES)]()
