"""Surfaces that move: turning, or learning."""

import copy
from os import PathLike
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.callbacks.snapshots import Snapshots
from crabnet_jit.network.network import NN
from crabnet_jit.plotting.domain import View
from crabnet_jit.plotting.figures import canvas_figure
from crabnet_jit.plotting.films import MAX_FRAMES, Film, film_path, write_film
from crabnet_jit.plotting.surface import SurfacePicture, heights

_ELEVATION, _SWING = 30.0, 15.0  # degrees, of the view of a surface that turns
_ZOOM = 0.9  # leaves room for labels on all sides
_MARGIN = 0.2  # above and below a target, as a share of its range


def rotate_surface(
    net: NN,
    path: str | PathLike[str],
    target: Any = None,
    *,
    n_frames: int = 60,
    fps: float = 12.0,
    dpi: float = 80.0,
    **view: Any,
) -> Film:
    """Write a film of the learned surface, and the target's, that turns once while its pitch swings.

    Parameters
    ----------
    net : NN
        With two inputs or more.
    path : path-like
        A .gif, a .mp4 if ffmpeg is found, or a .png for files film-0000.png, film-0001.png, … They are
        written once all is drawn, whole or not at all.
    target : callable or Target, optional
        What was to be learned, as in `plot_surface`.
    n_frames : int, default 60
        1 to 10,000.
    fps : float, default 12.0
        Frames a second, 0.1 to 50. Frames of a GIF last whole hundredths of a second.
    dpi : float, default 80.0
        Pixels per inch, 10 to 600. A film is 4.6 x 3.6 inches without a target and 7.6 x 3.6 with one.
    **view
        What is shown, as in `plot_surface`: low, high, inputs, at, output, n_points, input_names,
        output_names. n_points is 31 by default.

    Returns
    -------
    list of Path
        The files. As the result of a notebook's cell, it is the film.

    Raises
    ------
    InvalidArgumentError
        As in `plot_surface`; for an unknown suffix, or a folder that does not exist or cannot be written to.
    OSError
        If the file cannot be written. An existing file stays as it was.

    Notes
    -----
    .. image:: /pictures/rotate.gif

    Examples
    --------
    >>> import tempfile
    >>> from crabnet_jit import NN, StandardGaussian
    >>> from crabnet_jit.plotting import rotate_surface
    >>> net = NN(2, [8, 8], 1, rng=1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = rotate_surface(net, folder + "/surface.gif", StandardGaussian(), n_frames=2, n_points=5)
    >>> [file.name for file in files]
    ['surface.gif']
    """
    file = film_path("path", path)
    n = check.integer("n_frames", n_frames, 1, MAX_FRAMES)
    looked_at = View(net, target, **view)
    learned = looked_at.learned(net)
    limits = heights(looked_at, learned)
    figure = canvas_figure((4.6 if target is None else 7.6, 3.6), dpi)
    picture = SurfacePicture(looked_at, limits, None, figure)
    for axes in picture.surfaces:
        axes.set_box_aspect(None, zoom=_ZOOM)
    picture.show(learned)

    def draw(k: int) -> None:
        turn = k / n
        for axes in picture.surfaces:
            axes.view_init(_ELEVATION + _SWING * np.sin(2 * np.pi * turn), -60 + 360 * turn)

    return write_film(figure, draw, n, file, fps, hold=False)


def animate_surface(
    net: NN,
    snapshots: Snapshots,
    path: str | PathLike[str],
    target: Any = None,
    *,
    fps: float = 12.0,
    dpi: float = 80.0,
    **view: Any,
) -> Film:
    """Write a film of the surface as the network learned it.

    There is a frame for each snapshot. Heights are shown in the target's range, widened by a fifth on both
    sides, or without a target in the range of the last surface; heights beyond are drawn at its ends. The
    scale of the error ends at the median of the frames' largest errors.

    Parameters
    ----------
    net : NN
        The network that has learned. It is not changed.
    snapshots : Snapshots
        The callback of its run.
    path : path-like
        A .gif, a .mp4 if ffmpeg is found, or a .png for files film-0000.png, film-0001.png, … They are
        written once all is drawn, whole or not at all.
    target : callable or Target, optional
        What was to be learned, as in `plot_surface`.
    fps : float, default 12.0
        Frames a second, 0.1 to 50. Frames of a GIF last whole hundredths of a second.
    dpi : float, default 80.0
        Pixels per inch, 10 to 600. A film is 4.6 x 3.4 inches without a target and 9.6 x 3.4 with one.
    **view
        What is shown, as in `rotate_surface`.

    Returns
    -------
    list of Path
        The files. As the result of a notebook's cell, it is the film.

    Raises
    ------
    InvalidArgumentError
        As in `rotate_surface`, and if there are no snapshots, or they are of another network.
    OSError
        If the file cannot be written. An existing file stays as it was.

    Notes
    -----
    .. image:: /pictures/learning.gif

    Examples
    --------
    >>> import tempfile
    >>> from crabnet_jit import NN, Snapshots, StandardGaussian, Trainer, UniformSource
    >>> from crabnet_jit.plotting import animate_surface
    >>> net, target, snapshots = NN(2, [8, 8], 1, rng=1), StandardGaussian(), Snapshots(every=500)
    >>> _ = Trainer(net, UniformSource(target, rng=1)).run(1000, callbacks=[snapshots])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = animate_surface(net, snapshots, folder + "/learning.png", target, n_points=5)
    >>> [file.name for file in files]
    ['learning-0000.png', 'learning-0001.png', 'learning-0002.png']
    """
    file = film_path("path", path)
    looked_at = View(net, target, **view)
    check.instance("snapshots", snapshots, Snapshots, "Snapshots")
    if not snapshots.parameters:
        raise check.reject("snapshots", "those of a run", "none")
    twin = copy.copy(net)
    surfaces = []
    for parameters in snapshots.parameters:
        if parameters.shape != net.parameters.shape:
            raise check.reject("snapshots", "of this network", f"parameters of shape {parameters.shape}")
        twin.parameters = parameters
        surfaces.append(looked_at.learned(twin))
    if looked_at.wanted is None:
        limits, error_limit = heights(looked_at, surfaces[-1]), None
    else:
        low, high = float(looked_at.wanted.min()), float(looked_at.wanted.max())
        margin = _MARGIN * (high - low)
        limits = low - margin, high + margin
        error_limit = float(np.median([np.abs(learned - looked_at.wanted).max() for learned in surfaces]))
    figure = canvas_figure((4.6 if target is None else 9.6, 3.4), dpi)
    picture = SurfacePicture(looked_at, limits, error_limit, figure)

    def draw(k: int) -> None:
        picture.show(surfaces[k])
        figure.suptitle(f"iteration {snapshots.iterations[k]:,}")

    return write_film(figure, draw, len(surfaces), file, fps, hold=True)
