"""Surfaces: a target, what a network has learned of it, and the difference."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.network.network import NN
from crabnet_jit.plotting.domain import View, widened
from crabnet_jit.plotting.figures import ERRORS, HEIGHTS, own_or_new

_ELEVATION, _AZIMUTH = 28.0, -55.0  # degrees, of the view of surfaces
_LEVELS = np.array([-0.75, -0.5, -0.25, 0.25, 0.5, 0.75])  # of contour lines, as shares of the largest error
_BAR: dict[str, Any] = {"shrink": 0.7, "aspect": 25}


@check.keywords
def plot_surface(
    net: NN,
    target: Any = None,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    inputs: Iterable[int] = (0, 1),
    at: ArrayLike | None = None,
    output: int = 0,
    n_points: int = 51,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    figure: FigureBase | None = None,
) -> FigureBase:
    """Plot target and learned function as surfaces with a common scale, and a map of the error.

    Parameters
    ----------
    net : NN
        With two inputs or more.
    target : callable or Target, optional
        What was to be learned, as in `UniformSource`. Without it, only the learned surface is drawn.
    low, high : float or array_like of shape (in_features,), optional
        The box to show, in the units of the data. By default -3 and 3; for a network that standardises
        its inputs, two standard deviations below and above their means.
    inputs : (int, int), default (0, 1)
        Which inputs vary.
    at : array_like of shape (in_features,), optional
        The values of the others; by default the middle of the box.
    output : int, default 0
        Which output is shown.
    n_points : int, default 51
        Points on each side of the grid, 2 to 1000.
    input_names, output_names : sequence of str, optional
        Names of the features; by default those of the network.
    figure : Figure or SubFigure, optional
        A figure of matplotlib to draw on; by default a new one of pyplot.

    Returns
    -------
    Figure or SubFigure
        Its axes are target, learned, error and the two colour bars; or learned and its colour bar.

    Raises
    ------
    InvalidArgumentError
        For a network with one input, a target of other widths, or values that are not finite.

    Notes
    -----
    .. image:: /pictures/surface.png

    Examples
    --------
    >>> from crabnet_jit import NN, StandardGaussian
    >>> from crabnet_jit.plotting import plot_surface
    >>> figure = plot_surface(NN(2, [8, 8], 1, rng=1), StandardGaussian())
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['target', 'learned']
    """
    view = View(
        net, target, low=low, high=high, inputs=inputs, at=at, output=output, n_points=n_points,
        input_names=input_names, output_names=output_names,
    )  # fmt: skip
    learned = view.learned(net)
    error_limit = None if view.wanted is None else float(np.abs(learned - view.wanted).max())
    picture = SurfacePicture(view, heights(view, learned), error_limit, figure)
    picture.show(learned)
    return picture.figure


def figure_size(has_target: bool) -> tuple[float, float]:
    """Width and height in inches."""
    return (9.6 if has_target else 4.2), 3.2


def heights(view: View, learned: Array) -> tuple[float, float]:
    """The lowest and the highest point of target and learned surface."""
    values = learned if view.wanted is None else np.stack([view.wanted, learned])
    return float(values.min()), float(values.max())


class SurfacePicture:
    """A picture of one surface, or of two and their difference; the learned surface can be replaced.

    Parameters
    ----------
    view : View
        The grid, and the target on it.
    limits : (float, float)
        Limits of the heights that are shown; heights beyond are drawn at the limit.
    error_limit : float or None
        The same for the size of errors; None for no map of the error.
    figure : Figure or SubFigure, optional
        To draw on.
    """

    def __init__(
        self,
        view: View,
        limits: tuple[float, float],
        error_limit: float | None,
        figure: FigureBase | None,
    ) -> None:
        self._view = view
        self._heights = Normalize(*widened(*limits))
        titles = ["learned"] if view.wanted is None else ["target", "learned"]
        self.figure: FigureBase = own_or_new(figure, figure_size(view.wanted is not None))
        grid = self.figure.add_gridspec(1, len(titles) + (error_limit is not None))
        self.surfaces = [self._add_surface(grid[k], title) for k, title in enumerate(titles)]
        if view.wanted is not None:
            self._draw_surface(self.surfaces[0], view.wanted)
        self._error: Axes | None = None
        if error_limit is not None:
            self._error = self.figure.add_subplot(grid[-1], box_aspect=1)
            self._error.set(xlabel=view.names[0], ylabel=view.names[1])
            self._errors = Normalize(-error_limit or -1.0, error_limit or 1.0)
            self.figure.colorbar(ScalarMappable(self._errors, ERRORS), ax=self._error, **_BAR)
        bar = self.figure.colorbar(ScalarMappable(self._heights, HEIGHTS), ax=self.surfaces, **_BAR)
        bar.ax.set_title(view.names[2], fontsize="medium")
        self._drawn: list[Any] = []  # what the next `show` replaces

    def show(self, learned: Array) -> None:
        """Draw the learned surface instead of the one drawn before."""
        for artist in self._drawn:
            artist.remove()
        self._drawn = [self._draw_surface(self.surfaces[-1], learned)]
        if self._error is not None and self._view.wanted is not None:
            self._draw_error(self._error, learned - self._view.wanted)

    def _add_surface(self, place: Any, title: str) -> Any:
        axes = self.figure.add_subplot(place, projection="3d", azim=_AZIMUTH, elev=_ELEVATION)
        axes.set(title=title, xlabel=self._view.names[0], ylabel=self._view.names[1])
        axes.set_zlim(self._heights.vmin, self._heights.vmax)
        axes.set_box_aspect((1, 1, 0.75), zoom=1.05)
        axes.tick_params(labelsize="x-small", pad=-2)
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_major_locator(MaxNLocator(4))
            axis.labelpad = -6
        return axes

    def _draw_surface(self, axes: Any, heights: Array) -> Any:
        """Heights beyond the limits are drawn at them: three-dimensional axes do not clip."""
        x, y = np.meshgrid(self._view.x, self._view.y)
        z = np.clip(heights, self._heights.vmin, self._heights.vmax)
        colours = {"cmap": HEIGHTS, "norm": self._heights}
        return axes.plot_surface(
            x, y, z, rstride=1, cstride=1, edgecolor=(0, 0, 0, 0.25), linewidth=0.25, **colours
        )

    def _draw_error(self, axes: Axes, error: Array) -> None:
        """Colours show the error; lines, dashed below 0, show its sign even in grey."""
        grid = self._view.x, self._view.y, error
        self._drawn.append(axes.pcolormesh(*grid, cmap=ERRORS, norm=self._errors, shading="gouraud"))
        levels = self._errors.vmax * _LEVELS
        levels = levels[(levels > error.min()) & (levels < error.max())]
        if levels.size > 0:
            self._drawn.append(axes.contour(*grid, levels, colors="black", linewidths=0.5))
        largest = float(np.abs(error).max()) or 1.0  # its square may overflow
        rmse = largest * float(np.sqrt(((error / largest) ** 2).mean()))
        axes.set_title(f"learned − target, RMSE {rmse:.3g}")
