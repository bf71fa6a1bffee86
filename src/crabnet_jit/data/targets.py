"""Functions to learn.

A target fills panels with the values of a function. The article's is `StandardGaussian`; a user's function
becomes one of the other two here.
"""

import contextlib
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.kernels.entries import gaussian_panels
from crabnet_jit.kernels.panels import pack, unpack
from crabnet_jit.kernels.targets import custom_target_panels
from crabnet_jit.summary import brief
from crabnet_jit.user_functions import shared_entry

_MORE_INPUTS = 8  # beyond those of the box: a function that fails is tried with up to this many more


class Target(Protocol):
    """A function to learn, for panels."""

    in_features: int
    out_features: int

    def fill(self, x: Array, target: Array, n_samples: int) -> None:
        """Overwrite target (n_iterations, n_panels, out_features, width) with the values at x.

        The first n_samples columns of each iteration's panels, panel after panel, are samples; columns
        after them do not count.
        """


def values_of(target: Target, rows: Array) -> Array:
    """Values (n_samples, out_features) of a target at rows (n_samples, in_features)."""
    panels = pack(rows)
    values = np.empty((1, panels.shape[1], target.out_features, panels.shape[3]))
    target.fill(panels, values, rows.shape[0])
    return unpack(values, rows.shape[0])


class StandardGaussian:
    """The article's target, 5 exp(-(x^2 + y^2) / 2): a scaled Gaussian, not a density.

    Examples
    --------
    >>> from crabnet_jit import StandardGaussian
    >>> StandardGaussian()([[0.0, 0.0], [1.0, 0.0]])
    array([[5.       ],
           [3.0326533]])
    """

    in_features = 2
    out_features = 1

    def __call__(self, x: ArrayLike) -> Array:
        """Values (n_samples, 1) at x (n_samples, 2)."""
        return values_of(self, check.samples("x", x, self.in_features))

    def fill(self, x: Array, target: Array, n_samples: int) -> None:
        """Overwrite the panels `target` with the values at the panels x."""
        gaussian_panels(x, target)

    def __repr__(self) -> str:
        return "StandardGaussian()"


class NoTarget:
    """Points without targets, for equations (`Residual`)."""

    out_features = 0

    def __init__(self, in_features: int) -> None:
        self.in_features = in_features

    def fill(self, x: Array, target: Array, n_samples: int) -> None:
        """Do nothing, since `target` has no rows."""

    def __repr__(self) -> str:
        return "None"


class _ArrayFunction:
    """A NumPy function of rows (n, in_features) that returns (n,) or (n, out_features)."""

    def __init__(self, function: Callable[[Array], ArrayLike], in_features: int, examples: Array) -> None:
        self._function = function
        self.in_features = in_features
        self.out_features = 1
        try:
            values = self._call(examples)
        except Exception as error:
            if reason := _other_arguments(function, examples):
                raise reason from error
            raise
        if values.ndim == 2:
            self.out_features = values.shape[1]
        self._values(examples)

    def __repr__(self) -> str:
        return brief(self._function)

    def _call(self, rows: Array) -> Array:
        try:
            given = self._function(rows)
        except Exception as error:
            error.add_note(f"raised by the target function for x of shape {rows.shape}")
            raise
        try:
            return np.asarray(given)
        except ValueError as error:
            raise check.reject("target(x)", "an array of numbers", str(error)) from None

    def _values(self, rows: Array) -> Array:
        n = rows.shape[0]
        given = self._call(rows.copy())  # a copy, which they may change
        if given.shape not in ((n,), (n, self.out_features)) or given.dtype.kind not in "biuf":
            allowed = f"({n},)" if self.out_features == 1 else f"({n}, {self.out_features})"
            came = f"{given.dtype} of shape {given.shape}"
            raise check.reject("target(x)", f"numbers of shape {allowed} for x of shape {rows.shape}", came)
        values = given.reshape(n, self.out_features)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            at = int(finite.argmin())
            raise check.reject("target(x)", "finite", f"{values[at].tolist()} at x = {rows[at].tolist()}")
        return values

    def fill(self, x: Array, target: Array, n_samples: int) -> None:
        """Overwrite the panels `target` with the values at the panels x."""
        n_iterations, n_panels, n_features, width = x.shape
        if n_iterations == 0:
            return
        rows = x.transpose(0, 1, 3, 2).reshape(n_iterations, n_panels * width, n_features)[:, :n_samples]
        values = np.zeros((n_iterations, n_panels * width, self.out_features))
        flat = self._values(np.ascontiguousarray(rows).reshape(-1, n_features))
        values[:, :n_samples] = flat.reshape(n_iterations, n_samples, -1)
        target[:] = values.reshape(n_iterations, n_panels, width, -1).transpose(0, 1, 3, 2)


class _ScalarFunction:
    """A compiled function of in_features numbers that returns a number."""

    out_features = 1

    def __init__(self, function: Any, in_features: int, examples: Array) -> None:
        self.in_features = in_features
        self._name = brief(function)
        self._fill = shared_entry(custom_target_panels(in_features), in_features, target=function)
        panels = pack(examples)
        self.fill(panels, np.zeros_like(panels[:, :, :1]), examples.shape[0])

    def __repr__(self) -> str:
        return self._name

    def fill(self, x: Array, target: Array, n_samples: int) -> None:
        """Overwrite the panels `target` with the values at the panels x."""
        place, value = self._fill(x, target, n_samples)
        if place.size > 0:
            raise check.reject("target(x)", "finite", f"{value} at x = {place.tolist()}")


def _other_arguments(function: Callable[..., Any], examples: Array) -> check.InvalidArgumentError | None:
    """The error for a NumPy function that fails because it takes several arrays, or more inputs."""
    n = examples.shape[1]
    try:
        parameters = inspect.signature(function)
        parameters.bind(examples)
    except ValueError:  # it has no signature
        pass
    except TypeError:
        example = "np.sin(x[:, 0])" if n == 1 else "x[:, 0] * x[:, 1]"
        allowed = f"a function of one array x of shape (n_samples, {n}), such as lambda x: {example}"
        other_way = "; a function compiled by Numba takes a number for each input"
        return check.reject("target", allowed, f"a function of {parameters}", other_way)
    for more in range(n + 1, n + 1 + _MORE_INPUTS):
        with contextlib.suppress(Exception):
            function(np.repeat(examples[:, :1], more, axis=1))
            example = f"low={more * [-1]} and high={more * [1]}"
            allowed = f"one number for each of the {more} inputs of the target, such as {example}"
            return check.reject("low and high", allowed, f"{n} in each")
    return None


def as_target(function: Any, low: Array, high: Array) -> Target:
    """A target unchanged; a function as a target on the box from low to high.

    A function compiled by Numba takes the coordinates as numbers, any other takes an array of rows. None
    gives points without targets.
    """
    if function is None:
        return NoTarget(max(low.size, high.size))
    if isinstance(function, type):
        raise check.reject("target", "a function or a Target, not a class", repr(function))
    if callable(getattr(function, "fill", None)) and hasattr(function, "in_features"):
        given: Target = function
        return given
    if not callable(function):
        raise check.reject("target", "a function or a Target", repr(function))
    if not hasattr(function, "py_func"):
        n = max(low.size, high.size)
        return _ArrayFunction(function, n, _examples(low, high, n))
    n = len(inspect.signature(function.py_func).parameters)
    if n == 0 or low.size not in (1, n) or high.size not in (1, n):
        came = f"low of shape {low.shape} and high of shape {high.shape}"
        raise check.reject("low and high", f"numbers, or of shape ({n},) for the target's arguments", came)
    return _ScalarFunction(function, n, _examples(low, high, n))


def _examples(low: Array, high: Array, n_features: int) -> Array:
    """Some points in the box."""
    points: Array = low + np.linspace(0.25, 0.75, 3)[:, None] * (high - low) * np.ones(n_features)
    return points
