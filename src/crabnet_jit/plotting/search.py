"""The candidates of a search: which of them went on, and what the best ones have in common."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from crabnet_jit import check
from crabnet_jit.fitting.search_result import SearchResult
from crabnet_jit.plotting.figures import BLUE, GREY, HEIGHTS, RED, own_or_new

_MAX_ARGUMENTS = 5  # that are drawn
_WIDTH, _HEIGHT = 3.2, 3.0  # inches, of a panel
_COLUMNS = 3
_LOG_FROM = 30.0  # from this ratio of two numbers on, the scale is logarithmic
_MAX_TICKS = 8  # of choices
_MAX_LABEL = 14  # characters


@check.keywords
def plot_search(
    result: SearchResult, *, arguments: Sequence[str] | None = None, figure: FigureBase | None = None
) -> FigureBase:
    """Plot the losses of all candidates at the rungs they reached, and over their arguments.

    On the left there is a line for each candidate, from rung to rung; that of the best one is red. Each other
    panel has the last validation loss over an argument: the darker a point, the more rungs its candidate has
    reached. Losses far above the others are drawn at the upper edge.

    Parameters
    ----------
    result : SearchResult
    arguments : sequence of str, optional
        Which arguments to draw; by default the first five in the space.
    figure : Figure or SubFigure, optional
        A figure of matplotlib to draw on; by default a new one of pyplot.

    Returns
    -------
    Figure or SubFigure

    Raises
    ------
    InvalidArgumentError
        For an argument that is not in the space.

    Notes
    -----
    .. image:: /pictures/search.png

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import search
    >>> from crabnet_jit.plotting import plot_search
    >>> x = np.linspace(0, 10, 100)
    >>> result = search({"hidden_sizes": [(4,), (16,)]}, x, np.sin(x), n_iterations=500)
    >>> figure = plot_search(result)
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['share of the iterations', 'hidden_sizes']
    """
    check.instance("result", result, SearchResult, "what search gives")
    known = [name for name in result.table[0] if name not in result.COLUMNS]
    if arguments is not None and (isinstance(arguments, str) or not check.is_iterable(arguments)):
        raise check.reject("arguments", "a sequence of names", check.shown(arguments))
    names = [check.choice("arguments", name, known) for name in (known if arguments is None else arguments)]
    names = names[:_MAX_ARGUMENTS] if arguments is None else names
    columns = min(_COLUMNS, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    drawn: FigureBase = own_or_new(figure, (_WIDTH * columns, _HEIGHT * rows))
    first, *others = [drawn.add_subplot(rows, columns, 1 + k) for k in range(1 + len(names))]
    low, high = _limits(result)
    _draw_rungs(first, result, high)
    for axes, name in zip(others, names, strict=True):
        _draw_argument(axes, result, name, high)
    for axes in (first, *others):
        axes.set_ylabel("validation loss")
        if low > 0:
            axes.set_yscale("log")
        axes.set_ylim(low, high)
    return drawn


def _limits(result: SearchResult) -> tuple[float, float]:
    """The range of losses to show: from the best loss to above nine tenths of them."""
    losses = np.array([loss for losses in result.rung_losses for loss in losses] or [result.best_loss])
    low, high = float(losses.min()), float(np.quantile(losses, 0.9))
    if low > 0:
        return low / 1.3, max(high, 1.01 * low) * 1.3
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _draw_rungs(axes: Axes, result: SearchResult, high: float) -> None:
    """A line for each candidate."""
    for k, losses in enumerate(result.rung_losses):
        is_best = k == result.best_index
        axes.plot(
            result.rungs[: len(losses)],
            np.minimum(losses, high),
            color=RED if is_best else BLUE if len(losses) == len(result.rungs) else GREY,
            linewidth=1.8 if is_best else 0.8,
            marker=".",
            zorder=3 if is_best else 2,
            alpha=1.0 if is_best else 0.6,
            label="best" if is_best else None,
        )
    axes.set(xlabel="share of the iterations", xscale="log")
    axes.set_xticks(result.rungs, [f"1/{round(1 / share)}" if share < 1 else "1" for share in result.rungs])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize="small")


def _draw_argument(axes: Axes, result: SearchResult, name: str, high: float) -> None:
    """The last loss over an argument; candidates without it, or without a loss, are left out."""
    rows = [row for row in result.table if row[name] is not None and math.isfinite(row["validation_loss"])]
    values = [row[name] for row in rows]
    places: Any = values
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        choices = list(dict.fromkeys(sorted(map(_label, values), key=lambda label: (len(label), label))))
        places = [choices.index(_label(value)) for value in values]
        ticks = range(0, len(choices), -(-len(choices) // _MAX_TICKS))
        axes.set_xticks(ticks, [choices[k] for k in ticks], rotation=30, ha="right", fontsize="small")
    elif min(values, default=0) > 0 and max(values) > _LOG_FROM * min(values):
        axes.set_xscale("log")
    axes.scatter(
        places,
        np.minimum([row["validation_loss"] for row in rows], high),
        c=[row["rung"] for row in rows],
        cmap=f"{HEIGHTS}_r",
        s=16,
        clip_on=False,
    )
    best = result.table[result.best_index]
    if best[name] is not None:
        place = places[rows.index(best)]
        axes.scatter([place], [best["validation_loss"]], s=70, facecolors="none", edgecolors=RED, zorder=3)
    axes.set_xlabel(name)


def _label(value: Any) -> str:
    """The label of a choice."""
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"
