"""Activation functions, as objects on top of their kernels.

Each works element by element, keeps the derivative in `forward`, and multiplies by it in `backward`.
A network takes them as objects or by name, see `ACTIVATIONS`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.base import Component, stored
from crabnet_jit.kernels import entries
from crabnet_jit.kernels.activations import custom_activation_forward
from crabnet_jit.kernels.layout import CUSTOM, KINDS
from crabnet_jit.kernels.panels import pack_one, unpack_one
from crabnet_jit.user_functions import shared_entry


class Activation(Component):
    """The base class of all activations: y = f(x), element by element.

    Attributes
    ----------
    name : str
        The name by which networks take it.
    dy_dx : ndarray or None
        The derivative at the last input of `forward`; None before.
    """

    @check.keywords
    def __init__(self) -> None:
        self._constant = 0.0
        self.dy_dx: Array | None = None

    @property
    def constant(self) -> float:
        """The constant in its formula, if there is one."""
        return self._constant

    def get_output(self, x: ArrayLike) -> Array:
        """f(x) for x (n_samples, n_features); keeps nothing."""
        return self._values(check.samples("x", x))[0]

    def forward(self, x: ArrayLike) -> Array:
        """f(x) for x (n_samples, n_features); keeps the derivative."""
        return self._forward(check.samples("x", x))

    def _forward(self, x: Array) -> Array:
        y, self.dy_dx = self._values(x)
        return y

    def backward(self, dL_dy: ArrayLike) -> Array:
        """dL_dx = dL_dy * dy_dx, with the shape of x.

        Raises
        ------
        RuntimeError
            If `forward` has not been called.
        """
        return self._backward(check.same_shape("dL_dy", dL_dy, stored(self.dy_dx).shape))

    def _backward(self, dL_dy: Array) -> Array:
        return dL_dy * stored(self.dy_dx)

    def _values(self, x: Array) -> tuple[Array, Array]:
        panel = pack_one(x)
        y, dy_dx = np.empty_like(panel), np.empty_like(panel)
        self.kernel(panel, self.constant, y, dy_dx)
        return unpack_one(y, x.shape[0]), unpack_one(dy_dx, x.shape[0])

    @property
    def _formula(self) -> str:
        """Its name in KINDS (kernels/layout.py)."""
        return self.name

    @property
    def kind(self) -> int:
        """Its index in KINDS."""
        if self._formula not in KINDS:
            raise check.reject("activation", "one that has a formula, such as ReLU()", repr(self))
        return KINDS.index(self._formula)

    @property
    def kernel(self) -> Any:
        """The kernel that computes it for a panel."""
        return entries.activation_forward[KINDS[self.kind]]

    @property
    def smoothness(self) -> float:
        """The number of its derivatives that are continuous."""
        return math.inf

    def twin(self) -> "Activation":
        """A new activation like this one, without stored values."""
        return type(self)(**self.options())


class Identity(Activation):
    """No activation, y = x.

    Examples
    --------
    >>> from crabnet_jit import Identity
    >>> Identity().get_output([[-1.0, 2.0]])
    array([[-1.,  2.]])
    """

    name = "identity"

    def _values(self, x: Array) -> tuple[Array, Array]:
        return x.copy(), np.ones_like(x)


class ReLU(Activation):
    """The rectified linear unit, y = max(x, 0). Its derivative at 0 is 0.

    Examples
    --------
    >>> from crabnet_jit import ReLU
    >>> relu = ReLU()
    >>> relu.forward([[-1.0, 2.0]])
    array([[0., 2.]])
    >>> relu.backward([[5.0, 5.0]])
    array([[0., 5.]])
    """

    name = "relu"

    @property
    def smoothness(self) -> float:
        """Its slope jumps at 0."""
        return 0.0


class LeakyReLU(Activation):
    """y = x if x > 0, else negative_slope * x [1]_.

    Parameters
    ----------
    negative_slope : float, default 0.01
        Finite.

    References
    ----------
    .. [1] A. Maas, A. Hannun, A. Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.

    Examples
    --------
    >>> from crabnet_jit import LeakyReLU
    >>> LeakyReLU(0.1).get_output([[-1.0, 2.0]])
    array([[-0.1,  2. ]])
    """

    name = "leaky_relu"

    @check.keywords
    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self._constant = check.finite("negative_slope", negative_slope)

    @property
    def smoothness(self) -> float:
        """Its slope jumps at 0."""
        return 0.0

    @property
    def negative_slope(self) -> float:
        """The slope for x < 0."""
        return self.constant


class ELU(Activation):
    """The exponential linear unit, y = x if x > 0, else alpha * (exp(x) - 1) [1]_.

    Parameters
    ----------
    alpha : float, default 1.0
        Finite.

    References
    ----------
    .. [1] D.-A. Clevert et al., "Fast and accurate deep network learning by ELUs", 2015.

    Examples
    --------
    >>> from crabnet_jit import ELU
    >>> ELU().get_output([[-1.0, 2.0]]).round(4)
    array([[-0.6321,  2.    ]])
    """

    name = "elu"

    @check.keywords
    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._constant = check.finite("alpha", alpha)

    @property
    def smoothness(self) -> float:
        """Its second derivative jumps at 0, and its slope unless alpha is 1."""
        return 1.0 if self.alpha == 1.0 else 0.0

    @property
    def alpha(self) -> float:
        """The scale."""
        return self.constant


class GELU(Activation):
    """The Gaussian error linear unit, y = x Phi(x), Phi the normal distribution function [1]_.

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        The exact formula, or x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, which is faster.

    References
    ----------
    .. [1] D. Hendrycks, K. Gimpel, "Gaussian error linear units", 2016.

    Examples
    --------
    >>> from crabnet_jit import GELU
    >>> GELU().get_output([[-1.0, 2.0]]).round(4)
    array([[-0.1587,  1.9545]])
    """

    name = "gelu"

    @check.keywords
    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self._approximate = check.choice("approximate", approximate, ("none", "tanh"))

    @property
    def _formula(self) -> str:
        return "gelu_tanh" if self._approximate == "tanh" else "gelu"

    @property
    def approximate(self) -> str:
        """The formula that is used."""
        return self._approximate


class SiLU(Activation):
    """The sigmoid linear unit, or swish, y = x / (1 + exp(-x)).

    Examples
    --------
    >>> from crabnet_jit import SiLU
    >>> SiLU().get_output([[-1.0, 2.0]]).round(4)
    array([[-0.2689,  1.7616]])
    """

    name = "silu"


class Tanh(Activation):
    """The hyperbolic tangent, y = tanh(x).

    Examples
    --------
    >>> from crabnet_jit import Tanh
    >>> Tanh().get_output([[-1.0, 2.0]]).round(4)
    array([[-0.7616,  0.964 ]])
    """

    name = "tanh"


class Sigmoid(Activation):
    """The logistic function, y = 1 / (1 + exp(-x)).

    Examples
    --------
    >>> from crabnet_jit import Sigmoid
    >>> Sigmoid().get_output([[-1.0, 2.0]]).round(4)
    array([[0.2689, 0.8808]])
    """

    name = "sigmoid"


class Softplus(Activation):
    """A smooth ReLU, y = log(1 + exp(x)).

    Examples
    --------
    >>> from crabnet_jit import Softplus
    >>> Softplus().get_output([[-1.0, 2.0]]).round(4)
    array([[0.3133, 2.1269]])
    """

    name = "softplus"


class Sine(Activation):
    """y = sin(frequency * x), for sinusoidal representation networks (SIREN) [1]_.

    The sine is accurate to a few units in the last place for `|frequency * x|` up to 1e9 in float64
    and 1e4 in float32.

    Parameters
    ----------
    frequency : float, default 30.0
        Above 0; the paper's omega_0.

    References
    ----------
    .. [1] V. Sitzmann et al., "Implicit neural representations with periodic activation functions", 2020.

    Examples
    --------
    >>> from crabnet_jit import Sine
    >>> Sine(1.0).get_output([[-1.0, 2.0]]).round(4)
    array([[-0.8415,  0.9093]])
    """

    name = "sine"

    @check.keywords
    def __init__(self, frequency: float = 30.0) -> None:
        super().__init__()
        self._constant = check.number("frequency", frequency, 0.0, open_low=True)

    @property
    def frequency(self) -> float:
        """The factor."""
        return self.constant


class CustomActivation(Activation):
    """An activation of your own.

    Parameters
    ----------
    function, derivative : callable
        y = function(x) and dy_dx = derivative(x) for one number x. They are plain Python functions, or
        compiled by Numba, and are compiled here in nopython mode, once for all networks with the same
        functions. An exception in one of them ends the training.

    Raises
    ------
    InvalidArgumentError
        If one of them cannot be compiled, or does not return a number.

    Notes
    -----
    In your own code that Numba compiles, a network with such activations is called like any other. It has
    first derivatives but no second ones: `hessian_into` gives NaN. Numba may cache code on disk
    (`cache=True`) that takes the network as an argument, since that code does not contain these functions.
    Each process compiles them when it makes the activation, so changes to them are never missed. An exception
    in one of them is raised where the network was called; C functions (`NN.cfunc`, `NN.low_level_callable`)
    return NaN instead.

    Examples
    --------
    >>> from crabnet_jit import NN, CustomActivation
    >>> square = CustomActivation(lambda x: x * x, lambda x: 2 * x)
    >>> square.get_output([[-1.0, 2.0]])
    array([[1., 4.]])
    >>> NN(2, [8, 8], 1, rng=1, activation=square)
    NN(
      2, [8, 8], 1,
      activation=CustomActivation(function=<lambda>, derivative=<lambda>),
      105 parameters, float64,
    )
    """

    name = "custom"

    @check.keywords
    def __init__(self, function: Callable[[float], float], derivative: Callable[[float], float]) -> None:
        super().__init__()
        self._functions = function, derivative
        self._compiled = shared_entry(custom_activation_forward, 1, function=function, derivative=derivative)

    @property
    def kind(self) -> int:
        """It has no index in KINDS."""
        return CUSTOM

    @property
    def kernel(self) -> Any:
        """The kernel that computes it for a panel."""
        return self._compiled

    def options(self) -> dict[str, Any]:
        """The functions."""
        return {"function": self._functions[0], "derivative": self._functions[1]}

    def twin(self) -> "CustomActivation":
        """A new activation with the same machine code, even if the functions have changed since."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self), dy_dx=None)
        return other

    def __deepcopy__(self, memo: object) -> "CustomActivation":
        return self.twin()

    def __reduce__(self) -> Any:
        return CustomActivation, self._functions  # machine code stays in its process


#: All activations that have a name.
ACTIVATIONS: dict[str, type[Activation]] = {
    kind.name: kind for kind in (Identity, ReLU, LeakyReLU, ELU, GELU, SiLU, Tanh, Sigmoid, Softplus, Sine)
}


def as_activation(name: str, value: "Activation | str") -> Activation:
    """A new activation like the given one, or the one with the given name and default options."""
    if isinstance(value, Activation):
        return value.twin()
    return ACTIVATIONS[check.choice(name, value, ACTIVATIONS)]()
