"""Figures: how they are made and saved, and the colours of all of them."""

import io
import os
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

from crabnet_jit import check
from crabnet_jit.archive import whole_file

try:
    from matplotlib import rcParams
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure, FigureBase
except (ImportError, ValueError) as error:  # it is missing, or its settings are wrong
    raise ImportError(
        f"pictures need matplotlib: python -m pip install 'crabnet-jit[plot]' ({error})"
    ) from None

# Colour-blind readers can tell them apart [Wong, Nature Methods 8, 441 (2011)]; in grey, lightness differs.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, GREY = "#cc79a7", "#8c8c8c"
HEIGHTS = "viridis"  # from dark to light
ERRORS = "PuOr"  # from one colour through white to another

_ENDINGS = ("png", "svg", "pdf", "eps", "jpg", "jpeg", "tif", "tiff", "webp")


def ink() -> Any:
    """The colour of text in matplotlib's current style."""
    return rcParams["text.color"]


def paper() -> Any:
    """The colour of the background."""
    return rcParams["figure.facecolor"]


def canvas_figure(size: tuple[float, float], dpi: float = 100.0) -> Figure:
    """A figure of this size in inches, drawn in memory and unknown to pyplot: nothing has to close it."""
    resolution = check.number("dpi", dpi, 10.0, 600.0)
    figure = Figure(figsize=size, layout="constrained", dpi=resolution)
    FigureCanvasAgg(figure)
    return figure


class PyplotFigure(Figure):
    """A figure of pyplot that a notebook shows once.

    The inline backend shows all figures that pyplot knows at the end of a cell, even the cell's result.
    """

    def _ipython_display_(self) -> NoReturn:
        """Let pyplot forget the figure, and IPython show it like any other."""
        from matplotlib import get_backend, pyplot

        if "inline" in get_backend():
            pyplot.close(self)
        raise NotImplementedError


def own_or_new(figure: FigureBase | None, size: tuple[float, float]) -> Any:
    """The figure that was given, or a new one of pyplot, of this size in inches."""
    if figure is None:
        from matplotlib import pyplot  # loads a backend with windows, where there is one

        return pyplot.figure(figsize=size, layout="constrained", FigureClass=PyplotFigure)
    check.instance("figure", figure, FigureBase, "a Figure or SubFigure of matplotlib")
    return figure


def own_or_new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes that were given, or those of a new figure."""
    if ax is None:
        axes: Axes = own_or_new(None, size).add_subplot()
        return axes
    check.instance("ax", ax, Axes, "Axes of matplotlib")
    return ax


def can_show() -> bool:
    """Whether figures of pyplot have a window; if not, there is a warning."""
    from matplotlib import pyplot

    figure = pyplot.figure()
    has_window = figure.canvas.required_interactive_framework is not None
    pyplot.close(figure)
    if not has_window:
        warnings.warn("there is no display, or no toolkit for windows: nothing is shown", stacklevel=2)
    return has_window


def show(figure: Figure) -> None:
    """Open the figure's window, and wait until it is closed."""
    from matplotlib import pyplot

    pyplot.show()
    pyplot.close(figure)


def picture_path(name: str, path: str | PathLike[str], endings: Sequence[str] = _ENDINGS) -> Path:
    """The given path, if it has one of these suffixes and its folder can be written to.

    By default, the suffixes are those of pictures.
    """
    given = check.path(name, path)
    if given.suffix.lower().removeprefix(".") not in endings:
        raise check.reject(name, f"a name with the suffix .{', .'.join(endings)}", repr(str(given)))
    folder = given.absolute().parent
    if not folder.is_dir() or given.is_dir():
        raise check.reject(name, "a file in a folder that exists", repr(str(given)))
    if not os.access(folder, os.W_OK):
        raise check.reject(name, "in a folder that can be written to", repr(str(given)))
    return given


@check.keywords
def save_figure(figure: Figure, path: str | PathLike[str], dpi: float = 150) -> None:
    """Write a figure to a file, whole or not at all.

    Parameters
    ----------
    figure : Figure
        A figure of matplotlib. It stays open.
    path : path-like
        A file in a folder that exists. Its suffix gives the format: .png, .svg, .pdf and others.
    dpi : float, default 150
        Pixels per inch, 10 to 2400.

    Raises
    ------
    InvalidArgumentError
        For an unknown suffix, or a folder that does not exist or cannot be written to.
    OSError
        If the file cannot be written. An existing file stays as it was.

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> from crabnet_jit import NN
    >>> from crabnet_jit.plotting import plot_network, save_figure
    >>> figure = Figure()
    >>> _ = plot_network(NN(2, [8, 8], 1, rng=1), ax=figure.add_subplot())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(figure, folder + "/network.svg")
    """
    check.instance("figure", figure, Figure, "a Figure of matplotlib")
    file = picture_path("path", path)
    drawn = io.BytesIO()
    resolution = check.number("dpi", dpi, 10.0, 2400.0)
    figure.savefig(drawn, format=file.suffix.lower().removeprefix("."), dpi=resolution)
    with whole_file(file) as target:
        target.write(drawn.getvalue())
