"""Derivatives of targets with respect to inputs, as data: their shapes and their place in panels.

They are arrays (n_samples, out_features, in_features), NaN where unknown. In panels, and in the rows that
become panels, they follow the values of the targets, output by output: out_features * (1 + in_features)
numbers for each sample.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.summary import brief


def known_derivatives(dy: ArrayLike, n_samples: int, out_features: int, in_features: int) -> Array:
    """A user's dy in its full shape, checked: at least one value is known, and known values are finite."""
    values = shaped("dy", dy, n_samples, out_features, in_features)
    if np.isnan(values).all():
        raise check.reject("dy", "known for at least one sample", "only NaN")
    return values


def shaped(name: str, values: ArrayLike, n_samples: int, out_features: int, in_features: int) -> Array:
    """Numbers as an array (n_samples, out_features, in_features); NaN stays."""
    given = check.array(name, values, allow_nan=True)
    full = n_samples, out_features, in_features
    allowed: list[tuple[int, ...]] = [full]
    if out_features == 1:
        allowed.append((n_samples, in_features))
    if out_features == in_features == 1:
        allowed.append((n_samples,))
    if given.shape not in allowed:
        shapes = " or ".join(map(str, allowed))
        raise check.reject(name, f"of shape {shapes}", f"shape {given.shape}")
    return given.reshape(full)


def check_known(derivatives: Array, weights: Array) -> None:
    """Reject derivatives if none is known at samples whose weight (n_samples,) is above 0."""
    if np.isnan(derivatives[weights > 0]).all():
        raise check.reject("dy", "known for at least one sample of weight above 0", "only NaN there")


def joined(targets: Array, derivatives: Array) -> Array:
    """Rows (n_samples, out_features * (1 + in_features)): values, then derivatives."""
    return np.hstack([targets, derivatives.reshape(len(targets), -1)])


def parted(rows: Array, out_features: int) -> tuple[Array, Array]:
    """Values and derivatives from such rows; there may be any dimensions before the last one."""
    shape = *rows.shape[:-1], out_features, rows.shape[-1] // out_features - 1
    return rows[..., :out_features], rows[..., out_features:].reshape(shape)


class Derivative:
    """A NumPy function that returns derivatives (n, in_features) or (n, out_features, in_features) at rows.

    Parameters
    ----------
    function : callable
        It takes an array (n, in_features).
    examples : ndarray of shape (n, in_features)
        Some inputs to try it with.
    out_features : int
        The number of outputs of the function whose derivative it is.
    """

    def __init__(self, function: Callable[[Array], ArrayLike], examples: Array, out_features: int) -> None:
        if not callable(function) or isinstance(function, type):
            raise check.reject("derivative", "a function", repr(function))
        self._function = function
        self._out_features = out_features
        self.of(examples)

    def __repr__(self) -> str:
        return brief(self._function)

    def of(self, rows: Array) -> Array:
        """Derivatives (n, out_features, in_features) at rows (n, in_features); all finite."""
        n, in_features = rows.shape
        try:
            given: Any = self._function(rows.copy())  # a copy, which they may change
        except Exception as error:
            error.add_note(f"raised by the derivative function for x of shape {rows.shape}")
            raise
        values = shaped("derivative(x)", given, n, self._out_features, in_features)
        is_finite = np.isfinite(values).all(axis=(1, 2))
        if not is_finite.all():
            at = int(is_finite.argmin())
            came = f"{values[at].tolist()} at x = {rows[at].tolist()}"
            raise check.reject("derivative(x)", "finite", came)
        return values
