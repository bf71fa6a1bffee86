"""Pictures of the command line. Matplotlib is only imported if there is something to draw."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import crabnet_jit
from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.columns import missing_cells, missing_targets
from crabnet_jit.data.table import Cells, Table, TableError
from crabnet_jit.data.targets import StandardGaussian
from crabnet_jit.network.network import NN
from crabnet_jit.training.run import Callback
from crabnet_jit.training.trainer import Trainer

#: The names of the article's features.
ARTICLE_NAMES = {"inputs": ["x", "y"], "outputs": ["z"]}

#: Pictures of a saved network.
KINDS = ("surface", "fit", "network", "rotate")

#: Functions with which a surface can be compared.
TARGETS: dict[str, Callable[[], Any]] = {"gaussian": StandardGaussian}

#: The number of outputs whose fits are drawn after training, one below the other.
MAX_OUTPUTS = 8

_OFTEN = 1000  # iterations between snapshots at first, if the length of the run is unknown
_HISTORY_HEIGHT = 3.4  # inches


class Pictures:
    """The pictures that the options of `gaussian` and `fit` ask for.

    Invalid options are errors before training; so is a missing matplotlib.

    Attributes
    ----------
    callbacks : list of Callback
        Callbacks that they need during the run.
    need_losses : bool
        Whether they need the losses of all iterations.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        films = {name: getattr(options, name, None) for name in ("animate", "rotate")}
        self._films = {name: path for name, path in films.items() if path is not None}
        self._file = options.plot
        self._is_shown = False
        if options.show or self._file is not None or self._films:
            from crabnet_jit.plotting import figures as _figures
            from crabnet_jit.plotting import films as _films

            if self._file is not None:
                _figures.picture_path("--plot", self._file)
            for name, path in self._films.items():
                _films.film_path(f"--{name}", path)
            self._is_shown = options.show and _figures.can_show()
        self.need_losses = self._is_shown or self._file is not None
        self.callbacks: list[Callback] = []
        if self._films:
            self._n_frames = check.integer("--frames", options.frames, 1)
        if "animate" in self._films:
            every = -(-max(options.iterations, 1) // self._n_frames)
            if options.time_limit is not None:
                every = min(every, _OFTEN)
            self._snapshots = crabnet_jit.Snapshots(every, self._n_frames + 2)
            self.callbacks.append(self._snapshots)

    def draw_gaussian(self, trainer: Trainer) -> None:
        """Draw the article's surface next to the target, and the losses; make the films."""
        net, target = trainer.net, StandardGaussian()
        names = _names(ARTICLE_NAMES["inputs"], ARTICLE_NAMES["outputs"])
        if self.need_losses:
            from crabnet_jit.plotting import plot_history, plot_surface
            from crabnet_jit.plotting.surface import figure_size

            width, height = figure_size(has_target=True)
            heights = [height] + [_HISTORY_HEIGHT] * (trainer.history.losses.size > 0)
            with _drawing(self._file, self._is_shown, (width, sum(heights))) as figure:
                parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
                plot_surface(net, target, figure=parts[0], **names)
                for part in parts[1:]:
                    plot_history(trainer, ax=part.add_subplot())
        if self._films:
            from crabnet_jit.plotting import animate_surface, rotate_surface

            if "rotate" in self._films:
                rotate_surface(net, self._films["rotate"], target, n_frames=self._n_frames, **names)
            if "animate" in self._films:
                animate_surface(net, self._snapshots, self._films["animate"], target, **names)

    def draw_fit(self, net: NN, x: Array, y: Any, inputs: list[str], outputs: list[str]) -> None:
        """Draw the fit of these samples for each of the first outputs with known values, and the losses."""
        if not self.need_losses:
            return
        from crabnet_jit.plotting import plot_fit, plot_history
        from crabnet_jit.plotting.fit import figure_size

        assert net.fit_history is not None
        width, height = figure_size(net.in_features if net.classes is None else 1)
        is_one = net.schema.task == "classification"  # a picture shows all classes
        has_values = ~missing_cells(y).all(axis=0)
        shown = [0] if is_one else np.flatnonzero(has_values)[:MAX_OUTPUTS].tolist()
        heights = [height] * len(shown) + [_HISTORY_HEIGHT]
        names = _names(inputs, outputs) if net.n_targets == len(outputs) else {}
        with _drawing(self._file, self._is_shown, (width, sum(heights))) as figure:
            parts = figure.subfigures(len(heights), 1, height_ratios=heights)
            for output, part in zip(shown, parts[:-1], strict=True):
                plot_fit(net, x, y, output=output, figure=part, **names)
            plot_history(net.fit_history, ax=parts[-1].add_subplot())


def _names(inputs: list[str], outputs: list[str]) -> dict[str, Any]:
    """Names as options of a picture; a dollar sign is escaped, so it does not begin a formula."""
    labels = [[name.replace("$", r"\$") for name in names] for names in (inputs, outputs)]
    return {"input_names": labels[0], "output_names": labels[1]}


@contextlib.contextmanager
def _drawing(path: str | None, is_shown: bool, size: tuple[float, float]) -> Iterator[Any]:
    """A figure that is saved if there is a path, and shown if `is_shown`."""
    from crabnet_jit.plotting import figures as _figures
    from crabnet_jit.plotting import save_figure

    figure = _figures.own_or_new(None, size) if is_shown else _figures.canvas_figure(size)
    yield figure
    if path is not None:
        save_figure(figure, path)
    if is_shown:
        _figures.show(figure)


def plot(options: argparse.Namespace) -> None:
    """Draw a network from a file."""
    from crabnet_jit import plotting
    from crabnet_jit.plotting import figures as _figures
    from crabnet_jit.plotting import films as _films
    from crabnet_jit.plotting import fit, network, surface

    path, kind = options.picture, options.kind
    if path is None and not options.show:
        raise check.reject("PICTURE", "given, or --show", "neither")
    if kind is None:
        is_film = path is not None and path.lower().endswith((".gif", ".mp4"))
        kind = "rotate" if is_film else "surface" if options.data is None else "fit"
    check.choice("--kind", kind, KINDS)
    if kind == "rotate" and path is None:
        raise check.reject("PICTURE", "given for --kind rotate", "none")
    if path is not None:
        (_films.film_path if kind == "rotate" else _figures.picture_path)("PICTURE", path)
    net = crabnet_jit.load(options.model)
    inputs, outputs = net.input_names, net.output_names
    x: Any = None
    y: Any = None
    if options.data is not None:
        from crabnet_jit.cli.tables import read_table, reading_of

        table = read_table(options.data, reading_of(options))
        x, y = _data(net, table, has_outputs=kind == "fit")
    elif kind == "fit":
        raise check.reject("--data", "given for --kind fit", "none")
    choice = _names(inputs, outputs) | {"at": options.at}
    choice["output"] = _positions(
        "--output", [outputs[0] if options.output is None else options.output], outputs
    )[0]
    if options.inputs is not None:
        choice["inputs"] = _positions("--inputs", options.inputs, inputs)
    box = {"low": options.low, "high": options.high}
    target = None
    if options.target is not None:
        target = TARGETS[check.choice("--target", options.target, TARGETS)]()
    if kind == "rotate":
        plotting.rotate_surface(net, path, target, n_frames=options.frames, **choice, **box)
        return
    is_shown = options.show and _figures.can_show()
    size = {
        "surface": surface.figure_size(target is not None),
        "fit": fit.figure_size(net.in_features),
        "network": network.figure_size(net),
    }[kind]
    with _drawing(path, is_shown, size) as figure:
        if kind == "surface":
            plotting.plot_surface(net, target, figure=figure, **choice, **box)
        elif kind == "fit":
            plotting.plot_fit(net, x, y, figure=figure, **choice)
        else:
            plotting.plot_network(net, x, ax=figure.add_subplot())


def _data(net: NN, table: Table, *, has_outputs: bool) -> tuple[Array, Any]:
    """The inputs of a network, and its outputs or labels, from the complete rows of a table."""
    from crabnet_jit.cli.tables import inputs_for

    x = inputs_for(net.schema.columns, net.feature_names or net.input_names, table)
    y: Table | Cells | None = None
    if has_outputs:
        label = net.schema.label_name
        if net.schema.task == "classification" and label is None:
            raise TableError(f"{table.source}: the network does not know the column of its classes")
        y = table.select(net.output_names) if label is None else table.column(label)
    is_kept = np.ones(table.n_rows, bool) if y is None else ~missing_targets(y)
    if net.schema.missing == "drop":
        is_kept &= ~missing_cells(x).any(axis=1)
    if not is_kept.any():
        raise TableError(f"{table.source}: must have rows without missing values, but has none")
    return net.encode(x.take(is_kept)), None if y is None else y.take(is_kept)


def _positions(name: str, chosen: Sequence[str], names: list[str]) -> list[int]:
    """The indices of the chosen names."""
    return [names.index(check.choice(name, value, names)) for value in chosen]
