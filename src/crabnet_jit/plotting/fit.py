"""The quality of a network's fit to a data set."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import FigureBase
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.columns import targets_of
from crabnet_jit.fitting.scores import score
from crabnet_jit.network.ensemble import Ensemble
from crabnet_jit.network.predictor import Predictor
from crabnet_jit.plotting.classes import plot_classes
from crabnet_jit.plotting.domain import drawable, feature_names, input_numbers, outputs, point, widened
from crabnet_jit.plotting.figures import BLUE, ERRORS, GREY, ink, own_or_new

_N_POINTS = 201  # of a curve
_MARGIN = 0.05  # on both sides of the data, as a share of their range
_MAX_SLICES = 6
_AXES_IN_A_ROW = 3
_NINE_OF_TEN = 1.645  # standard deviations of a normal variable, on both sides
_DENSE_SAMPLES = 300  # number of samples above which points become more transparent


@check.keywords
def plot_fit(
    net: Predictor,
    x: Any,
    y: Any,
    *,
    output: int = 0,
    at: ArrayLike | None = None,
    inputs: Iterable[int] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    figure: FigureBase | None = None,
) -> FigureBase:
    """Plot a network with a data set: the function, predicted against true values, and residuals.

    For a classifier, it draws a confusion matrix, which shows which classes are mistaken for which, and a
    reliability diagram, which shows how often a class of some probability is the true one.

    For one input, the function is a curve with the data. For two inputs, the residuals are shown at their
    positions instead. For more, there are slices: each varies one input over the range of the data, while the
    others stay at a point. All slices share one scale, and small ticks show where the data are. A network
    that knows the noise (`NN.interval`) has a band around the function, in which it expects nine of ten new
    data, or as many as its quantiles say. A calibrated ensemble has one, too; otherwise, an ensemble's band
    is 1.645 standard deviations of its members wide on both sides.

    Parameters
    ----------
    net : NN or Ensemble
        From `fit`, or any other.
    x, y
        Inputs and targets, or labels, in the units of the data, as in `fit`. Samples whose target is unknown
        are not shown.
    output : int, default 0
        Which output is shown.
    at : array_like of shape (in_features,), optional
        The point through which slices go; by default the median of x.
    inputs : sequence of int, optional
        The inputs that slices vary; by default all, but at most the 6 along which the output changes most.
    input_names, output_names : sequence of str, optional
        Names of the features; by default those of the network.
    figure : Figure or SubFigure, optional
        A figure of matplotlib to draw on; by default a new one of pyplot.

    Returns
    -------
    Figure or SubFigure
        Its axes: for one or two inputs the function, predicted against true, and residuals; for more,
        predicted against true, residuals, and the slices.

    Raises
    ------
    InvalidArgumentError
        If x or y do not have the network's widths, or outputs are not finite.

    Notes
    -----
    A residual is the true value minus the predicted one.

    .. image:: /pictures/fit.png

    .. image:: /pictures/slices.png

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import fit
    >>> from crabnet_jit.plotting import plot_fit
    >>> x = np.linspace(0, 10, 200)[:, None]
    >>> net = fit(x, np.sin(x), n_iterations=2000)
    >>> len(plot_fit(net, x, np.sin(x), input_names=["t"]).axes)
    3
    """
    check.instance("net", net, Predictor, "an NN or an Ensemble")
    check.integer("output", output, 0, net.n_targets - 1)
    if net.schema.labels is not None:
        names = feature_names("output_names", output_names, net.output_names)
        return plot_classes(net, x, y, output, names, figure)
    rows, targets = check.pairs(net.encode(x), targets_of(y)[1])
    drawable("x", rows)
    true = check.samples("y", targets, net.n_targets, allow_nan=True)[:, output]
    is_known = ~np.isnan(true)
    if not is_known.any():
        raise check.reject("y", "known for at least one sample, of the output that is shown", "only NaN")
    rows, targets, true = rows[is_known], targets[is_known], drawable("y", true[is_known])
    names = feature_names("input_names", input_names, net.input_names)
    name = feature_names("output_names", output_names, net.output_names)[output]
    predicted = outputs(net, rows)[:, output]
    n = net.in_features
    if n > 2 or (n == 2 and not (at is None and inputs is None)):
        centre = point("at", at, np.median(rows, axis=0))
        slices = _slices(net, rows, centre, output, inputs)
        n_lines = -(-len(slices) // _AXES_IN_A_ROW)
        figure = own_or_new(figure, figure_size(n, len(slices)))
        grid = figure.add_gridspec(1 + n_lines, 2 * _AXES_IN_A_ROW, height_ratios=[1.5] + [1.0] * n_lines)
        comparison = figure.add_subplot(grid[0, :_AXES_IN_A_ROW])
        residuals = figure.add_subplot(grid[0, _AXES_IN_A_ROW:])
        shared = None
        for k, cut in enumerate(slices):
            line, column = divmod(k, _AXES_IN_A_ROW)
            shared = figure.add_subplot(grid[1 + line, 2 * column : 2 * column + 2], sharey=shared)
            _draw_slice(shared, cut, rows[:, cut.varied], centre[cut.varied])
            shared.set(xlabel=names[cut.varied], ylabel=name if column == 0 else "")
            if k == 0:
                shared.set_title("slices through the dotted lines", loc="left", fontsize="medium")
    else:
        curve = _slice(net, rows, rows[0], output, 0) if n == 1 else None
        figure = own_or_new(figure, figure_size(n))
        function, comparison, residuals = figure.subplots(1, 3)
        if curve is not None:
            _draw_curve(function, curve, rows[:, 0], true)
            function.set(xlabel=names[0], ylabel=name)
        else:
            _draw_places(function, rows, true - predicted)
            function.set(xlabel=names[0], ylabel=names[1], title=f"residuals of {name}")
    scores = score(net, rows, targets)
    r2 = scores.r2[output]
    _draw_comparison(comparison, true, predicted)
    comparison.set(xlabel=f"{name}, true", ylabel=f"{name}, predicted")
    comparison.set_title(f"RMSE {scores.rmse[output]:.3g}" + ("" if np.isnan(r2) else f", R² {r2:.4f}"))
    residuals.axhline(0, color=GREY, linewidth=1)
    residuals.plot(predicted, true - predicted, ".", color=BLUE, alpha=_alpha(true.size))
    residuals.set(xlabel=f"{name}, predicted", ylabel="true − predicted", title="residuals")
    return figure


def figure_size(in_features: int, n_slices: int = _MAX_SLICES) -> tuple[float, float]:
    """Width and height in inches."""
    n_lines = -(-min(in_features, n_slices) // _AXES_IN_A_ROW) if in_features > 2 else 0
    return 9.6, 3.2 + 2.2 * n_lines


class _Slice(NamedTuple):
    """An output along one input; the bounds of a band around it, if there is one, and its meaning."""

    varied: int
    along: Array
    values: Array
    band: tuple[Array, Array] | None
    meaning: str


def _slices(
    net: Predictor, rows: Array, centre: Array, output: int, inputs: Iterable[int] | None
) -> list[_Slice]:
    """The slices along the given inputs; by default along all or the most important ones, in order."""
    if inputs is not None:
        chosen = input_numbers(inputs, net.in_features)
        if not chosen:
            raise check.reject("inputs", "one or more of the inputs", "none")
        return [_slice(net, rows, centre, output, varied) for varied in chosen]
    slices = [_slice(net, rows, centre, output, varied) for varied in range(net.in_features)]
    slices.sort(key=lambda cut: float(np.ptp(cut.values)), reverse=True)
    return sorted(slices[:_MAX_SLICES], key=lambda cut: cut.varied)


def _slice(net: Predictor, rows: Array, centre: Array, output: int, varied: int) -> _Slice:
    along = _range(rows[:, varied])
    points = np.tile(centre, (along.size, 1))
    points[:, varied] = along
    band, meaning, values = None, "", outputs(net, points)
    if net.interval_level is not None:
        band, meaning = (
            net.interval_of(points, net.interval_level),
            f"{100 * net.interval_level:.3g} % of new data",
        )
    elif isinstance(net, Ensemble):
        reach = _NINE_OF_TEN * net.standard_deviations(points)
        band, meaning = (values - reach, values + reach), "spread of members"
    ends = None if band is None else (band[0][:, output], band[1][:, output])
    return _Slice(varied, along, values[:, output], ends, meaning)


def _range(values: Array) -> Array:
    """Points from the smallest to the largest value, and a little beyond on both sides."""
    return np.linspace(*widened(values.min(), values.max(), _MARGIN), _N_POINTS)


def _draw_slice(axes: Axes, cut: _Slice, values: Array, centre: float) -> None:
    _draw_band(axes, cut)
    axes.plot(cut.along, cut.values, color=BLUE)
    axes.axvline(centre, color=GREY, linestyle=":", linewidth=1)
    height = axes.get_xaxis_transform()
    axes.plot(values, np.zeros(values.size), "|", color=ink(), alpha=_alpha(values.size), transform=height)


def _draw_band(axes: Axes, cut: _Slice) -> None:
    if cut.band is not None:
        axes.fill_between(cut.along, *cut.band, color=BLUE, alpha=0.2, linewidth=0, label=cut.meaning)


def _draw_curve(axes: Axes, curve: _Slice, values: Array, true: Array) -> None:
    _draw_band(axes, curve)
    axes.plot(values, true, ".", color=GREY, alpha=_alpha(true.size), label="data")
    axes.plot(curve.along, curve.values, color=BLUE, linewidth=2, label="network")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def _draw_places(axes: Axes, rows: Array, residuals: Array) -> None:
    """Triangles that point up where the residual is positive, and down where it is negative."""
    limit = float(np.abs(residuals).max()) or 1.0
    for marker, chosen in (("^", residuals >= 0), ("v", residuals < 0)):
        marks = axes.scatter(
            rows[chosen, 0],
            rows[chosen, 1],
            s=14,
            c=residuals[chosen],
            cmap=ERRORS,
            norm=Normalize(-limit, limit),
            marker=marker,
            edgecolors=ink(),
            linewidths=0.2,
        )
    axes.figure.colorbar(marks, ax=axes, shrink=0.8)


def _draw_comparison(axes: Axes, true: Array, predicted: Array) -> None:
    """Predicted against true values, and the diagonal; both axes have one scale."""
    both = np.concatenate([true, predicted])
    limits = widened(both.min(), both.max(), _MARGIN)
    axes.plot(limits, limits, color=GREY, linewidth=1)
    axes.plot(true, predicted, ".", color=BLUE, alpha=_alpha(true.size))
    axes.set(xlim=limits, ylim=limits, aspect="equal")


def _alpha(n: int) -> float:
    """How opaque each of n points is."""
    return float(np.clip(_DENSE_SAMPLES / n, 0.05, 0.8))
