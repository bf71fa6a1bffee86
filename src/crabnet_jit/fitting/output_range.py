"""Outputs that stay in a range: the last activation, and the units that map its values to that range."""

import math
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Activation, as_activation
from crabnet_jit.components.losses import Loss
from crabnet_jit.data.moments import moments
from crabnet_jit.fitting.step_options import is_auto

#: Ranges of the activations that keep outputs in a range, and of the one that does not.
_VALUES = {"softplus": (0.0, math.inf), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
_ALL = -math.inf, math.inf
_HEADS = "values", "quantiles"  # outputs in the units of targets


class OutputRange(NamedTuple):
    """The last activation of a network, and the bounds of each target's outputs, in units of the data.

    A missing bound is infinite.
    """

    activation: Activation
    low: Array
    high: Array

    def check_targets(self, name: str, targets: Array, rows: Array | None = None) -> None:
        """Reject targets (n_samples, n_targets) beyond the bounds; `rows` are their row numbers."""
        wrong = (targets < self.low) | (targets > self.high)
        if wrong.any():
            row, k = (int(index) for index in np.argwhere(wrong)[0])
            low, high = self.low[k], self.high[k]
            allowed = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
            at = row if rows is None else int(rows[row])
            came = f"{targets[row, k]} at index {(at, k)}"
            raise check.reject(name, f"{allowed}, in the output_range", came)

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound."""
        return self.activation.name != "identity"

    def units(self, targets: Array, weights: Array, dtype: "np.dtype[Any]") -> tuple[Array, Array]:
        """y_mean and y_std (n_targets,), which map the activation's values to the range."""
        if self.activation.name != "softplus":
            return self._between(dtype)
        mean, std, _ = moments(targets - self.low, weights)
        size = np.hypot(mean, std)
        return self.low, np.where(size > 0, size, 1.0)

    def _between(self, dtype: "np.dtype[Any]") -> tuple[Array, Array]:
        """The units for two bounds; a little smaller if the sum would be rounded beyond a bound."""
        least, most = _VALUES[self.activation.name]
        share = 1 / (most - least)
        y_mean = self.low if least == 0 else 0.5 * self.low + 0.5 * self.high
        with np.errstate(over="ignore"):
            y_std = check.array("high - low of output_range", share * self.high - share * self.low)
        sizes = np.maximum(np.abs(self.low), np.abs(self.high))
        while (is_beyond := self._is_beyond(y_mean, y_std, dtype)).any():
            smaller = np.minimum(np.nextafter(y_std, 0), y_std - np.finfo(dtype).eps / 4 * sizes)
            y_std = np.where(is_beyond, smaller, y_std)
        if y_std.min() < np.finfo(dtype).tiny:
            k = int(y_std.argmin())
            came = f"{self.low[k]} and {self.high[k]}"
            raise check.reject("output_range", f"bounds that differ in {dtype}", came)
        return y_mean, y_std

    def _is_beyond(self, y_mean: Array, y_std: Array, dtype: "np.dtype[Any]") -> Array:
        """Whether an extreme value of the activation leaves the range, in float64 or in this type."""
        is_beyond = np.zeros(y_std.shape, bool)
        for kind in (np.dtype(np.float64), dtype):
            mean, std, low, high = (part.astype(kind) for part in (y_mean, y_std, self.low, self.high))
            least, most = (kind.type(value) for value in _VALUES[self.activation.name])
            is_beyond |= (least * std + mean < low) | (most * std + mean > high)
        return is_beyond


def output_range_of(
    output_activation: Activation | str, output_range: Any, loss: Loss, n_targets: int
) -> OutputRange:
    """The range that is asked for, by default the range of the activation."""
    if is_auto(output_activation) and output_range is None:
        output_activation = "identity"
    activation = None
    if not is_auto(output_activation):
        activation = as_activation("output_activation", output_activation)
    if output_range is None and activation is not None and activation.name == "identity":
        return OutputRange(activation, *(np.full(n_targets, end) for end in _ALL))
    name = "output_activation" if output_range is None else "output_range"
    if not loss.is_regression or loss.heads not in _HEADS:
        given = output_activation if output_range is None else output_range
        what = "logarithms" if loss.is_regression else "logits"
        raise check.reject(name, f"left out for the loss {loss.name}, whose outputs are {what}", repr(given))
    if activation is not None and activation.name not in _VALUES:
        allowed = f"'auto', 'identity', or for a range one of {', '.join(map(repr, _VALUES))}"
        raise check.reject("output_activation", allowed, repr(output_activation))
    if output_range is None:
        assert activation is not None
        low, high = (np.full(n_targets, end) for end in _VALUES[activation.name])
        return OutputRange(activation, low, high)
    low, high = _ends(output_range, n_targets)
    fitting = ["sigmoid", "tanh"] if high[0] < math.inf else ["softplus"]
    if activation is None:
        activation = as_activation("output_activation", fitting[0])
    if activation.name not in fitting:
        ends = "with two bounds" if high[0] < math.inf else "without an upper bound"
        allowed = f"'auto' or {' or '.join(map(repr, fitting))} for an output_range {ends}"
        raise check.reject("output_activation", allowed, repr(output_activation))
    return OutputRange(activation, low, high)


def _ends(output_range: Any, n_targets: int) -> tuple[Array, Array]:
    """Bounds (n_targets,); each lower one is below the upper one."""
    allowed = f"(low, high) or (low, None), each a number or one for each of {n_targets} targets"
    is_text = isinstance(output_range, (str, bytes))
    if is_text or not check.is_iterable(output_range) or len(given := list(output_range)) != 2:
        raise check.reject("output_range", allowed, check.shown(output_range))
    if given[0] is None:
        hint = "; for an upper bound only, fit -y with output_range=(-high, None)" * (given[1] is not None)
        raise check.reject("output_range", allowed, check.shown(output_range), hint)
    ends = []
    for k, end in enumerate(given):
        values = np.array(math.inf) if end is None else check.array(f"output_range[{k}]", end)
        if values.shape not in ((), (n_targets,)):
            raise check.reject(
                f"output_range[{k}]", f"a number or of shape ({n_targets},)", f"shape {values.shape}"
            )
        ends.append(values * np.ones(n_targets))
    low, high = ends
    if (wrong := low >= high).any():
        k = int(wrong.argmax())
        raise check.reject("output_range", "a lower bound below the upper one", f"{low[k]} and {high[k]}")
    return low, high
