"""The layers of a network as a drawing."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.inspection.diagnosis import dead_units
from crabnet_jit.network.network import NN
from crabnet_jit.plotting.figures import BLUE, ORANGE, ink, own_or_new_axes, paper

_MAX_LINE_WIDTH = 2.5  # points, of the line for the largest weight
_LARGEST, _LAYER = 14.0, 130.0  # points: the largest diameter of a unit, and the sum of a layer's


@check.keywords
def plot_network(net: NN, x: ArrayLike | None = None, *, max_units: int = 24, ax: Axes | None = None) -> Axes:
    """Draw the layers of a network, with its weights as lines.

    A line is blue for a weight above 0, and orange, which is lighter in grey, for one below. The larger a
    weight is within its layer, the wider and stronger its line is. Units are filled by their biases in the
    same way.

    Parameters
    ----------
    net : NN
        Of any size.
    x : array_like of shape (n_samples, in_features), optional
        Samples in the units of the data. Units that are dead on all of them (see `diagnose`) are crossed out.
    max_units : int, default 24
        At least 1. Of a layer that has more units, only the first ones are drawn.
    ax : Axes, optional
        Axes of matplotlib to draw on; by default those of a new figure of pyplot.

    Returns
    -------
    Axes
        The axes, without scales.

    Notes
    -----
    .. image:: /pictures/network.png

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import NN
    >>> from crabnet_jit.plotting import plot_network
    >>> axes = plot_network(NN(2, [8, 8], 1, rng=1), np.zeros((1, 2)))
    >>> axes.texts[0].get_text().splitlines()
    ['input', '2 units']
    """
    check.instance("net", net, NN, "an NN")
    most = check.integer("max_units", max_units, 1)
    check.array("net.parameters", net.parameters, net.dtype)
    dead = [np.zeros(layer.out_features, bool) for layer in net.layers]
    if x is not None:
        dead = dead_units(net, x)
    axes = own_or_new_axes(ax, figure_size(net))
    axes.axis("off")
    sizes = [net.in_features, *net.hidden_sizes, net.out_features]
    columns = [_column(min(size, most)) for size in sizes]
    diameter = min(_LARGEST, _LAYER / max(map(len, columns)))
    for k, (layer, left, right) in enumerate(zip(net.layers, columns, columns[1:], strict=False)):
        _draw_weights(axes, k, layer.W, left, right)
    _draw_units(axes, 0, columns[0], diameter, paper())
    for k, (layer, is_dead) in enumerate(zip(net.layers, dead, strict=True), start=1):
        bias = layer.b[: len(columns[k]), 0]
        _draw_units(axes, k, columns[k], diameter, _colours(bias, layer.b))
        crossed = columns[k][is_dead[: len(columns[k])]]
        axes.scatter(
            np.full(len(crossed), k), crossed, diameter**2, ink(), marker="x", linewidths=2, zorder=4
        )
    for k, (size, activation) in enumerate(zip(sizes, [None, *net.activations], strict=True)):
        is_last = k == len(net.layers)
        name = "input" if activation is None else "output" if is_last else activation.name
        if is_last and activation is not None and activation.name != "identity":
            name += f", {activation.name}"
        text = f"{name}\n{size:,} unit{'s' if size > 1 else ''}"
        if size > most:
            text += f",\n{most} drawn"
        if activation is not None and dead[k - 1].any():
            text += f",\n{dead[k - 1].sum():,} dead"
        axes.text(k, -0.56, text, ha="center", va="top", fontsize="small")
    handles = [Line2D([], [], color=colour, linewidth=3) for colour in (BLUE, ORANGE)]
    labels = ["weight or bias above 0", "below 0"]
    if any(is_dead.any() for is_dead in dead):
        handles.append(Line2D([], [], color=ink(), marker="x", linestyle="", markeredgewidth=2))
        labels.append("dead unit")
    axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    axes.set(xlim=(-0.4, len(net.layers) + 0.4), ylim=(-0.8, 0.55))
    return axes


def figure_size(net: NN) -> tuple[float, float]:
    """Width and height in inches."""
    return 1.2 + 1.7 * len(net.layers), 3.8


def _column(n: int) -> Array:
    """The heights of n units, from top to bottom."""
    return np.linspace(0.5, -0.5, 2 * n + 1)[1::2]


def _draw_weights(axes: Axes, k: int, W: Array, left: Array, right: Array) -> None:
    """Lines from column k to the next, the largest weights on top."""
    shown = W[: len(right), : len(left)]
    order = np.argsort(np.abs(shown), axis=None, kind="stable")
    o, i = np.unravel_index(order, shown.shape)
    weights = shown[o, i]
    ends = np.stack([np.full(weights.shape, k), left[i], np.full(weights.shape, k + 1), right[o]], axis=1)
    widths = _MAX_LINE_WIDTH * _relative(weights, W)
    lines = LineCollection(list(ends.reshape(-1, 2, 2)), colors=_colours(weights, W), linewidths=widths)
    axes.add_collection(lines)


def _draw_units(axes: Axes, k: int, heights: Array, diameter: float, colours: Any) -> None:
    axes.scatter(
        np.full(heights.shape, k), heights, diameter**2, colours, edgecolors=ink(), linewidths=0.8, zorder=3
    )


def _relative(values: Array, among: Array) -> Array:
    """Sizes of values as shares of the largest."""
    largest = float(np.abs(among).max())
    shares: Array = np.abs(values.astype(np.float64)) / (largest or 1.0)
    return shares


def _colours(values: Array, among: Array) -> Array:
    """Colours (n, 4): blue above 0, orange below, and near 0 almost the background."""
    shares = 0.1 + 0.9 * _relative(values, among)[:, None]
    full = np.where(values[:, None] > 0, to_rgba(BLUE), to_rgba(ORANGE))
    return shares * full + (1 - shares) * to_rgba(paper())
