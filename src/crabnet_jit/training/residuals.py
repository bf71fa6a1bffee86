"""Equations that a network should satisfy, as terms of its loss."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.sources import ArraySource, Source
from crabnet_jit.kernels.layout import CUSTOM
from crabnet_jit.kernels.panels import panel_shape
from crabnet_jit.kernels.residuals import residual_panels
from crabnet_jit.machine.dual import Dual
from crabnet_jit.machine.equation import Equation, allocates, unknown_function
from crabnet_jit.network.network import NN
from crabnet_jit.summary import brief, counted, summary
from crabnet_jit.training.terms import Term
from crabnet_jit.user_functions import Form, shared_entry

_PARTS = "x", "u", "du", "d2u"  # the arguments that a function may take, from the left
_SMOOTH_ENOUGH = 2  # continuous derivatives that an activation needs, for second derivatives of a network


class Residual:
    """An equation that a network should satisfy: a term of the loss, weight * mean(r^2) over points.

    The network is then an approximate solution u(x) of a differential equation [1]_. Boundary and initial
    conditions are equations, too, with points of their own.

    Parameters
    ----------
    function : callable
        The residual r at one point, 0 where the equation holds: function(x, u, du, d2u), or a function of the
        first two or three of these. x is a tuple of the in_features coordinates; u is the network's output;
        du is a tuple of its derivatives with respect to each input; d2u is a tuple of the second derivatives
        that `second` names. For a network with several outputs, u, du[k] and d2u[k] are tuples of numbers,
        one for each output. All are in the units of the data. It is a plain Python function, or one that
        Numba has compiled; it is compiled here. It may use `+ - * / **`, comparisons, abs, functions that
        Numba has compiled, and from math or NumPy exp, expm1, log, log1p, sqrt, square, power, sin, cos, tan,
        arctan, sinh, cosh and tanh; on x, it may use anything that Numba supports, except arrays and lists.
        An exception in it ends the training.
    weight : float, default 1.0
        At least 0.
    source : Source or array_like of shape (n_points, in_features)
        The points: an array, of which every iteration takes all points; or a source, whose targets are
        ignored. `UniformSource(None, low, high, batch_size)` gives new points in every iteration, and
        `ArraySource(x, None, batch_size)` gives some points of an array.
    second : sequence of pairs of int, default ()
        Which second derivatives d2u has: (i, j) for the one with respect to inputs i and j.

    Raises
    ------
    InvalidArgumentError
        For arguments out of range. The function itself is compiled when a trainer is made, since its
        arguments depend on the network; errors in it are reported then.

    References
    ----------
    .. [1] I. Lagaris, A. Likas, D. Fotiadis, "Artificial neural networks for solving ordinary and partial
       differential equations", 1998.

    Examples
    --------
    u'' = -u on [0, pi], with u(0) = 0 and u'(0) = 1:

    >>> import numpy as np
    >>> from crabnet_jit import Residual
    >>> x = np.linspace(0, np.pi, 30)
    >>> Residual(lambda x, u, du, d2u: d2u[0] + u, source=x, second=[(0, 0)])
    Residual(<lambda>, 30 points, weight=1.0, second=((0, 0),))
    >>> Residual(lambda x, u: u, source=[0.0], weight=10)
    Residual(<lambda>, 1 point, weight=10.0)
    >>> Residual(lambda x, u, du: du[0] - 1, source=[0.0], weight=10)
    Residual(<lambda>, 1 point, weight=10.0)
    """

    @check.keywords
    def __init__(
        self,
        function: Callable[..., Any],
        weight: float = 1.0,
        *,
        source: Source | ArrayLike,
        second: Iterable[Sequence[int]] = (),
    ) -> None:
        self.function = function
        self.weight = check.number("weight", weight, 0.0)
        self.source = source if isinstance(source, Source) else _all_points(source)
        self.second = _pairs(second, check.integer("source.in_features", self.source.in_features, 1))
        self._parts = _parts(function)
        if ("d2u" in self._parts) != (self.second != ()):
            came = f"{_names(self._parts)}, with second={self.second}"
            raise check.reject("function", "a function of d2u if second is given, and only then", came)

    def __repr__(self) -> str:
        source = self.source
        points = repr(source)
        if isinstance(source, ArraySource) and source.is_constant:
            points = counted(source.n_samples, "point")
        parts = [brief(self.function), points, f"weight={self.weight}"]
        return summary(self, *parts, *([f"second={self.second}"] if self.second else []))

    @property
    def configuration(self) -> dict[str, Any]:
        """Everything except the function, as plain values."""
        return {
            "parts": len(self._parts),
            "weight": self.weight,
            "source": self.source.configuration,
            "second": [list(pair) for pair in self.second],
        }

    def term(self, net: NN, first: int) -> Term:
        """The term of the loss of this network, for panels from `first` on; compiles the function.

        Raises
        ------
        InvalidArgumentError
            If the function cannot be compiled or differentiated, creates arrays, or does not return a number;
            for a network with another number of inputs, or with activations that lack the derivatives.
        """
        n_in, parts = net.in_features, self._parts
        if self.source.in_features != n_in:
            raise check.reject("source.in_features", f"the network's {n_in}", f"{self.source.in_features}")
        self._check_activations(net)
        equation = Equation(n_in, net.out_features, len(parts), len(self.second))
        allowed = f"a function of {_names(parts)} for Numba to compile, returning a number that depends on u"
        form = Form(equation.types(), (Dual,), allowed, _reason, _refusal)
        return Term(
            first,
            panel_shape(self.source.batch_size)[0],
            n_in if "du" in parts else 0,
            self.second,
            self.weight,
            shared_entry(residual_panels(equation), form, function=self.function),
            self._units(net, equation),
        )

    def points(self, net: NN) -> Source:
        """The points for a trainer of this network."""
        source = self.source.for_trainer()
        if net.standardization is None:
            return source
        none, one = np.zeros(source.out_features), np.ones(source.out_features)
        units = net.standardization._replace(y_mean=none, y_std=one)
        return source.standardized(units, net.dtype)

    def _units(self, net: NN, equation: Equation) -> Array:
        """The units that convert what the equation reads to those of the data (machine/equation.py)."""
        units = np.zeros((2, equation.n_in + equation.n_jets * equation.n_out))
        units[0] = 1.0
        if net.standardization is not None:
            x_mean, x_std, y_mean, y_std = net.standardization
            divisors = [1.0, *(x_std if "du" in self._parts else ())]
            divisors += [x_std[i] * x_std[j] for i, j in self.second]
            units[0] = np.concatenate([x_std, *(y_std / divisor for divisor in divisors)])
            units[1, : equation.n_in + equation.n_out] = np.concatenate([x_mean, y_mean])
        return units

    def _check_activations(self, net: NN) -> None:
        for activation in net.activations:
            if activation.kind == CUSTOM:
                hint = ": equations need its second and third derivatives, which it does not have"
                raise check.reject("activation", "a built-in one with residuals", repr(activation), hint)

            if self.second and activation.smoothness < _SMOOTH_ENOUGH:
                hint = ", whose second derivative jumps or is 0"
                raise check.reject("activation", "a smooth one, such as 'tanh'", repr(activation), hint)
        jumping = [activation for activation in net.activations if activation.smoothness < 1]
        if jumping and "du" in self._parts:
            warnings.warn(
                f"the slope of {jumping[0]!r} jumps, and so do the network's derivatives in "
                f"{brief(self.function)}; smooth activations, such as tanh, suit equations better",
                RuntimeWarning,
                stacklevel=6,
            )


def _all_points(points: ArrayLike) -> Source:
    inputs = check.rows("source", points)
    return ArraySource(inputs, None, inputs.shape[0], shuffle=False)


def _pairs(second: Any, n_in: int) -> tuple[tuple[int, int], ...]:
    """Pairs of inputs, the smaller one first."""
    if not check.is_iterable(second):
        raise check.reject("second", "pairs of inputs, such as [(0, 0), (0, 1)]", repr(second))
    found: list[tuple[int, int]] = []
    for k, pair in enumerate(second):
        indices = tuple(pair) if check.is_iterable(pair) else ()
        if len(indices) != 2:
            raise check.reject(f"second[{k}]", "a pair of inputs, such as (0, 1)", repr(pair))
        i, j = sorted(check.integer(f"second[{k}]", index, 0, n_in - 1) for index in indices)
        if (i, j) in found:
            raise check.reject("second", "different pairs", f"({i}, {j}) twice")
        found.append((i, j))
    return tuple(found)


def _parts(function: Any) -> tuple[str, ...]:
    """The arguments that a function takes, by their number."""
    plain = getattr(function, "py_func", function)
    if not callable(plain) or isinstance(plain, type):
        raise check.reject("function", "a function", repr(function))
    allowed = "a function of (x, u), (x, u, du) or (x, u, du, d2u)"
    try:
        parameters = inspect.signature(plain).parameters
    except (TypeError, ValueError):
        raise check.reject("function", allowed, repr(function)) from None
    is_plain = all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters.values())
    if not is_plain or len(parameters) not in (2, 3, 4):
        raise check.reject("function", allowed, f"one of ({', '.join(map(str, parameters.values()))})")
    return _PARTS[: len(parameters)]


def _names(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _reason(error: Exception) -> str:
    return str(unknown_function(error) or error)


def _refusal(compiled: Any) -> str:
    return "creates arrays, lists or other objects: use numbers only" if allocates(compiled) else ""
