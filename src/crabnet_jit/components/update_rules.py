"""Update rules: optimisers whose steps need only a gradient, as objects on top of their kernels.

`init` makes the state for a buffer of parameters; `update` changes parameters and state in place. The
learning rate belongs to the trainer.
"""

from typing import Any, ClassVar, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.components.base import Component
from crabnet_jit.kernels import entries
from crabnet_jit.summary import fields, summary


class OptimizerState(NamedTuple):
    """An optimiser's state: buffers of the parameters' size and type, and float64 numbers."""

    buffers: Array
    numbers: Array

    def __repr__(self) -> str:
        return summary(self, *fields(self))


def _not_zero(value: float, dtype: np.dtype[Any]) -> float:
    """A number above 0 that does not round to 0 in this type."""
    return max(value, float(np.finfo(dtype).smallest_subnormal))


class Optimizer(Component):
    """The base class of all optimisers."""

    #: Whether it needs second derivatives of the loss of all samples, as in `LevenbergMarquardt`.
    is_second_order: ClassVar[bool] = False
    #: Whether the evidence determines the weight decay, as in `BayesianRegularization`.
    has_evidence: ClassVar[bool] = False
    _rule: ClassVar[str] = ""
    _n_buffers: ClassVar[int] = 0

    def _numbers(self, dtype: np.dtype[Any]) -> list[float]:
        """The rule's constants and running numbers before the first step."""
        return []

    def init(self, parameters: Array) -> OptimizerState:
        """The state before the first step, for a flat buffer of parameters."""
        check.buffer("parameters", parameters)
        buffers = aligned_zeros(self._n_buffers * parameters.size, dtype=parameters.dtype)
        return OptimizerState(buffers, np.array(self._numbers(parameters.dtype), dtype=np.float64))

    def update(
        self, parameters: Array, gradients: Array, state: OptimizerState, learning_rate: float
    ) -> None:
        """One step: overwrite parameters and state.

        Parameters
        ----------
        parameters, gradients : ndarray of float64 or float32, shape (n,)
            Contiguous, of the same type.
        state : OptimizerState
            From `init`.
        learning_rate : float
            At least 0.
        """
        check.instance("state", state, OptimizerState, "an OptimizerState")
        check.buffer("parameters", parameters)
        check.buffer("gradients", gradients, parameters, parameters.size)
        check.buffer("state.buffers", state.buffers, parameters, self._n_buffers * parameters.size)
        check.buffer("state.numbers", state.numbers, np.empty(0), len(self._numbers(parameters.dtype)))
        rate = check.number("learning_rate", learning_rate, 0.0)
        self.kernel(parameters, gradients, *state, rate)

    @property
    def kernel(self) -> Any:
        """The compiled rule."""
        if self._rule not in entries.update:
            raise check.reject("optimizer", "one that has a rule, such as SGD()", repr(self))
        return entries.update[self._rule]


class SGD(Optimizer):
    """Gradient descent, with momentum [1]_ or Nesterov momentum [2]_.

    v = momentum * v + g; parameters -= learning_rate * v, or with Nesterov momentum
    parameters -= learning_rate * (g + momentum * v). These are PyTorch's formulas.

    Parameters
    ----------
    momentum : float, default 0.0
        At least 0 and below 1.
    nesterov : bool, default False
        Needs a momentum above 0.

    References
    ----------
    .. [1] B. Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    .. [2] I. Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import SGD
    >>> p, sgd = np.array([1.0]), SGD(momentum=0.5)
    >>> state = sgd.init(p)
    >>> for _ in range(2):
    ...     sgd.update(p, np.array([1.0]), state, learning_rate=0.1)
    >>> p
    array([0.75])
    """

    name = "sgd"
    _rule = "momentum"
    _n_buffers = 1

    @check.keywords
    def __init__(self, momentum: float = 0.0, nesterov: bool = False) -> None:
        self.momentum = check.fraction("momentum", momentum)
        self.nesterov = check.flag("nesterov", nesterov)
        if self.nesterov and self.momentum == 0:
            raise check.reject("momentum", "above 0 with nesterov", repr(momentum))

    def _numbers(self, dtype: np.dtype[Any]) -> list[float]:
        return [self.momentum, float(self.nesterov)]


class RMSprop(Optimizer):
    """Steps scaled by a running mean of squared gradients [1]_.

    s = alpha * s + (1 - alpha) * g^2; v = momentum * v + g / (sqrt(s) + eps);
    parameters -= learning_rate * v. These are PyTorch's formulas.

    Parameters
    ----------
    alpha : float, default 0.99
        At least 0 and below 1.
    eps : float, default 1e-8
        Above 0.
    momentum : float, default 0.0
        At least 0 and below 1.

    References
    ----------
    .. [1] G. Hinton, "Neural networks for machine learning", lecture 6e, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import RMSprop
    >>> p, rmsprop = np.array([1.0]), RMSprop(alpha=0.75)
    >>> rmsprop.update(p, np.array([2.0]), rmsprop.init(p), learning_rate=0.1)
    >>> p.round(6)
    array([0.8])
    """

    name = "rmsprop"
    _rule = "rmsprop"
    _n_buffers = 2

    @check.keywords
    def __init__(self, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0) -> None:
        self.alpha = check.fraction("alpha", alpha)
        self.eps = check.number("eps", eps, 0.0, open_low=True)
        self.momentum = check.fraction("momentum", momentum)

    def _numbers(self, dtype: np.dtype[Any]) -> list[float]:
        return [self.alpha, _not_zero(self.eps, dtype), self.momentum]


class Adam(Optimizer):
    """Steps from running means of gradients and of their squares [1]_.

    m = beta1 * m + (1 - beta1) * g; s = beta2 * s + (1 - beta2) * g^2; in step t,
    parameters -= learning_rate * m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps).

    Parameters
    ----------
    betas : pair of float, default (0.9, 0.999)
        Each at least 0 and below 1.
    eps : float, default 1e-8
        Above 0.

    References
    ----------
    .. [1] D. Kingma, J. Ba, "Adam: a method for stochastic optimization", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import Adam
    >>> p, adam = np.array([1.0]), Adam()
    >>> adam.update(p, np.array([2.0]), adam.init(p), learning_rate=0.1)
    >>> p.round(6)
    array([0.9])
    """

    name = "adam"
    _rule = "adam"
    _n_buffers = 2

    @check.keywords
    def __init__(self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise check.reject("betas", "a pair of numbers", repr(betas))
        self.betas = check.fraction("betas[0]", betas[0]), check.fraction("betas[1]", betas[1])
        self.eps = check.number("eps", eps, 0.0, open_low=True)
        self.weight_decay = 0.0

    def _numbers(self, dtype: np.dtype[Any]) -> list[float]:
        return [*self.betas, _not_zero(self.eps, dtype), self.weight_decay, 1.0, 1.0]


class AdamW(Adam):
    """Adam with decoupled weight decay [1]_: first, `parameters *= 1 - learning_rate * weight_decay`.

    Parameters
    ----------
    betas, eps
        As in `Adam`.
    weight_decay : float, default 0.01
        At least 0.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import AdamW
    >>> p, adamw = np.array([1.0]), AdamW(weight_decay=0.5)
    >>> adamw.update(p, np.array([2.0]), adamw.init(p), learning_rate=0.1)
    >>> p.round(6)
    array([0.85])
    """

    name = "adamw"

    @check.keywords
    def __init__(
        self, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
    ) -> None:
        super().__init__(betas, eps)
        self.weight_decay = check.number("weight_decay", weight_decay, 0.0)
