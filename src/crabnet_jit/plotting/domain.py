"""Boxes, points and grids where networks are plotted, and the names of their features."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.targets import as_target, values_of
from crabnet_jit.network.network import NN
from crabnet_jit.network.predictor import Predictor

_STDS = 2.0  # from the mean to the sides of a box
_MAX_POINTS = 1000  # on a side of a grid
_MAX_DRAWN = 1e300  # number that is drawn
_MAX_NAME = 24  # characters of a name that are drawn


def feature_names(name: str, given: Sequence[str] | None, default: list[str]) -> list[str]:
    """The names of features, checked; by default those of the network, in which nothing is a formula."""
    if given is None:
        return [plain(text) for text in default]
    if isinstance(given, str) or not check.is_iterable(given):
        raise check.reject(name, "a sequence of str", repr(given))
    names = list(given)
    if len(names) != len(default) or not all(isinstance(value, str) for value in names):
        raise check.reject(name, f"{len(default)} str, one for each feature", repr(names))
    return names


def plain(text: str) -> str:
    """A text of data: short, and without a formula for matplotlib."""
    return check.shortened(text, _MAX_NAME).replace("$", r"\$")


def widened(low: float, high: float, share: float = 0.0) -> tuple[float, float]:
    """Ends of a range, with this share of it as a margin; a range that is almost empty gets a large one."""
    size = max(abs(low), abs(high))
    margin = share * (high - low) if high - low > 1e-9 * size else 0.5 * max(size, 1.0)
    return low - margin, high + margin


def input_numbers(given: Iterable[int], n: int) -> list[int]:
    """The indices of the chosen inputs, of n, checked."""
    if isinstance(given, (str, bytes)) or not check.is_iterable(given):
        raise check.reject("inputs", "a sequence of integers", repr(given))
    return [check.integer(f"inputs[{k}]", value, 0, n - 1) for k, value in enumerate(given)]


def drawable(name: str, values: Array) -> Array:
    """The given numbers, if they leave room for sums and differences."""
    largest = float(np.abs(values).max())
    if not largest <= _MAX_DRAWN:
        raise check.reject(name, f"finite and of size at most {_MAX_DRAWN:g}, to be drawn", f"{largest:g}")
    return values


def box(net: NN, low: ArrayLike | None, high: ArrayLike | None) -> tuple[Array, Array]:
    """Lower and upper ends of each input.

    By default -3 and 3; for a network that standardises its inputs, two standard deviations from their mean.
    """
    ends = []
    for name, given, sign in (("low", low, -1.0), ("high", high, 1.0)):
        if given is not None:
            values = check.array(name, given)
            if values.size not in (1, net.in_features) or values.ndim > 1:
                allowed = f"a number or of shape ({net.in_features},)"
                raise check.reject(name, allowed, f"shape {values.shape}")
        elif net.standardization is None:
            values = np.array(3.0 * sign)
        else:
            values = net.standardization.x_mean + sign * _STDS * net.standardization.x_std
        ends.append(drawable(name, values * np.ones(net.in_features)))
    if not (ends[0] < ends[1]).all():
        at = int((ends[0] >= ends[1]).argmax())
        raise check.reject("high", f"above low, {ends[0][at]:g}", f"{ends[1][at]:g} for input {at}")
    return ends[0], ends[1]


def point(name: str, given: ArrayLike | None, default: Array) -> Array:
    """A value for each input."""
    return default if given is None else check.same_shape(name, given, default.shape)


def outputs(net: Predictor, rows: Array) -> Array:
    """The predictions of a network (n_samples, n_targets), if they can be drawn."""
    return drawable("outputs of net", net.predictions(rows))


class View:
    """A grid over two of a network's inputs, with the others fixed, and a target's values on it.

    Attributes
    ----------
    x, y : ndarray, shape (n_points,)
        Values of the inputs that vary.
    names : (str, str, str)
        The names of these inputs, and of the output.
    wanted : ndarray, shape (n_points, n_points), or None
        The target on the grid, a row for each y.
    """

    @check.keywords
    def __init__(
        self,
        net: NN,
        target: Any = None,
        *,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        inputs: Iterable[int] = (0, 1),
        at: ArrayLike | None = None,
        output: int = 0,
        n_points: int = 31,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
    ) -> None:
        check.instance("net", net, NN, "an NN")
        if net.in_features < 2:
            raise check.reject("net", "a network of two inputs or more", f"in_features {net.in_features}")
        chosen = input_numbers(inputs, net.in_features)
        if len(chosen) != 2 or chosen[0] == chosen[1]:
            raise check.reject("inputs", "two distinct ones", repr(chosen))
        first, second = chosen
        self._output = check.integer("output", output, 0, net.n_targets - 1)
        n = check.integer("n_points", n_points, 2, _MAX_POINTS)
        lows, highs = box(net, low, high)
        self.x = np.linspace(lows[first], highs[first], n)
        self.y = np.linspace(lows[second], highs[second], n)
        self._rows = np.tile(point("at", at, (lows + highs) / 2), (n * n, 1))
        self._rows[:, [first, second]] = np.stack(np.meshgrid(self.x, self.y), axis=-1).reshape(-1, 2)
        names = feature_names("input_names", input_names, net.input_names)
        name = feature_names("output_names", output_names, net.output_names)[output]
        self.names = names[first], names[second], name
        self.wanted = None if target is None else self._grid(_values(net, target, lows, highs, self._rows))

    def learned(self, net: NN) -> Array:
        """The output of a network on the grid, a row for each y."""
        return self._grid(outputs(net, self._rows))

    def _grid(self, values: Array) -> Array:
        return values[:, self._output].reshape(self.y.size, self.x.size)


def _values(net: NN, target: Any, lows: Array, highs: Array, rows: Array) -> Array:
    """The target's values at some rows."""
    checked = as_target(target, lows, highs)
    for name in ("in_features", "out_features"):
        of_net, of_target = getattr(net, name), getattr(checked, name)
        if of_net != of_target:
            raise check.reject(f"target.{name}", f"the network's {of_net}", f"{of_target}")
    return drawable("target(x)", values_of(checked, rows))
