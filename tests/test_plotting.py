"""Pictures and films: what is on the axes, what is in the files, and what is left over."""

import contextlib
import errno
import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numba
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.animation import FFMpegWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from crabnet_jit import (
    NN,
    ArraySource,
    Checkpoint,
    CustomLoss,
    EarlyStopping,
    Every,
    ExponentialDecay,
    FitHistory,
    History,
    InvalidArgumentError,
    Snapshots,
    StandardGaussian,
    Standardization,
    Trainer,
    UniformSource,
    diagnose,
    fit,
    plotting,
    score,
)
from crabnet_jit.plotting.figures import can_show, canvas_figure
from crabnet_jit.plotting.surface import SurfacePicture
from crabnet_jit.training.run import Run

# Untyped, since all kinds of mistakes are given to them, and what they give is looked into.
animate_surface: Any = plotting.animate_surface
plot_fit: Any = plotting.plot_fit
plot_history: Any = plotting.plot_history
plot_network: Any = plotting.plot_network
plot_surface: Any = plotting.plot_surface
rotate_surface: Any = plotting.rotate_surface
save_figure: Any = plotting.save_figure

GAUSSIAN = StandardGaussian()
LINE = np.linspace(0, 1, 9)[:, None]
WITH_FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")
ENDINGS = ["gif", "png", pytest.param("mp4", marks=WITH_FFMPEG)]
SMALL: dict[str, Any] = {"n_points": 4, "dpi": 10}


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No figure of pyplot, and no changed setting."""
    settings = dict(mpl.rcParams)
    yield
    left = pyplot.get_fignums()
    pyplot.close("all")
    assert left == []
    assert dict(mpl.rcParams) == settings


def n_open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.is_dir() else 0


def fill(snapshots: Snapshots, iterations: list[int], parameters: list[Any]) -> None:
    """As a checkpoint does."""
    state = {"called_at": 0, "every": 1, "iterations": iterations, "parameters": np.array(parameters)}
    snapshots.restore(state)


def article(seed: int = 1, **options: Any) -> NN:
    return NN(2, [8, 8], 1, seed, **options)


def constant(value: float, in_features: int = 2, **options: Any) -> NN:
    return NN(in_features, [], 1, init=[(np.zeros((1, in_features)), [value])], **options)


def linear(*parameters: float) -> NN:
    """Of one output: the weights and the bias."""
    return NN(len(parameters) - 1, [], 1, init=list(parameters))


def draw(picture: Any) -> None:
    """All of it, as it is saved."""
    figure = picture.figure.figure if hasattr(picture, "figure") else picture
    figure.canvas.draw()


def surfaces(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.name == "3d"]


def main_axes(figure: Any) -> list[Any]:
    """Without the bars of colours."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def of_kind(axes: Any, kind: type) -> list[Any]:
    return [artist for artist in axes.collections if type(artist) is kind]


def error_map(figure: Any) -> Any:
    (mesh,) = of_kind(main_axes(figure)[-1], QuadMesh)
    return mesh


def colours_of(axes: Any) -> Any:
    """The heights that colours of a surface stand for, one a facet."""
    (surface,) = axes.collections
    return surface.get_array()


def facets(grid: Any) -> Any:
    """The mean of the four corners of every facet."""
    return ((grid[:-1, :-1] + grid[1:, :-1] + grid[1:, 1:] + grid[:-1, 1:]) / 4).ravel()


def grid_rows(low: float, high: float, n: int = 5) -> tuple[Any, Any]:
    """Points of a side, and the rows (n * n, 2), the first input the fastest."""
    side = np.linspace(low, high, n)
    return side, np.array([[a, b] for b in side for a in side])


def line_of(axes: Any, label: str) -> Any:
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def dots(axes: Any) -> Any:
    """The points (n, 2) of a cloud."""
    (line,) = [line for line in axes.lines if line.get_marker() == "."]
    return np.stack(line.get_data(), axis=1)


def history_of(losses: Any, schedule: Any = None, keep: int | None = None) -> History:
    history = History(1000, keep, schedule)
    history.extend(np.asarray(losses, float))
    return history


def legend_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def learned_snapshots(net: NN, n: int = 4) -> Snapshots:
    """n of them, 10 iterations apart; the net has learned then."""
    snapshots = Snapshots(every=10)
    Trainer(net, UniformSource(GAUSSIAN, rng=1)).run(10 * (n - 1), callbacks=[snapshots])
    assert len(snapshots.parameters) == n
    return snapshots


def frames_of(path: Path) -> list[tuple[Any, int]]:
    """The pixels of each frame of a GIF, and how many milliseconds it stays."""
    with Image.open(path) as film:
        frames = []
        for k in range(getattr(film, "n_frames", 1)):
            film.seek(k)
            frames.append((np.asarray(film.convert("RGB")), int(film.info["duration"])))
        return frames


# ---- surfaces ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_surfaces_have_the_values_of_target_and_network(dtype: Any) -> None:
    net = article(dtype=dtype)
    figure = plot_surface(net, GAUSSIAN, n_points=5, figure=Figure())
    _, rows = grid_rows(-3, 3)
    learned, wanted = net.predict(rows).reshape(5, 5), GAUSSIAN(rows).reshape(5, 5)
    of_target, of_net = surfaces(figure)
    assert [axes.get_title() for axes in (of_target, of_net)] == ["target", "learned"]
    np.testing.assert_allclose(colours_of(of_target), facets(wanted), rtol=1e-12)
    np.testing.assert_allclose(colours_of(of_net), facets(learned.astype(float)), rtol=1e-6)
    np.testing.assert_array_equal(error_map(figure).get_array(), learned - wanted)
    draw(figure)


def test_surfaces_have_one_scale() -> None:
    figure = plot_surface(article(), GAUSSIAN, n_points=5, figure=Figure())
    _, rows = grid_rows(-3, 3)
    values = np.concatenate([article().predict(rows), GAUSSIAN(rows)])
    both = surfaces(figure)
    limits = [axes.get_zlim() for axes in both] + [axes.collections[0].get_clim() for axes in both]
    assert limits == [pytest.approx((values.min(), values.max()), rel=1e-12)] * 4
    assert limits[0] == limits[1]
    assert [axes.collections[0].get_cmap().name for axes in both] == ["viridis"] * 2


def test_colours_of_errors_are_those_of_their_bar_and_white_at_zero() -> None:
    figure = plot_surface(article(), GAUSSIAN, n_points=5, figure=Figure())
    mesh = error_map(figure)
    largest = np.abs(mesh.get_array()).max()
    assert mesh.get_clim() == pytest.approx((-largest, largest))
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    heights = surfaces(figure)[0].get_zlim()
    ends = sorted(bar.get_ylim() for bar in bars)
    assert ends == sorted(
        [pytest.approx((-largest, largest)), pytest.approx(heights)], key=lambda e: e.expected
    )


def test_the_error_map_lies_where_the_points_are() -> None:
    low, high = [-1.0, 10.0], [2.0, 12.0]
    figure = plot_surface(article(), GAUSSIAN, low=low, high=high, n_points=5, figure=Figure())
    corners = error_map(figure).get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], np.linspace(-1, 2, 5))
    np.testing.assert_allclose(corners[:, 0, 1], np.linspace(10, 12, 5))
    for axes in surfaces(figure):
        assert -2 < axes.get_xlim()[0] <= -1
        assert 2 <= axes.get_xlim()[1] < 3
        assert 9 < axes.get_ylim()[0] <= 10
        assert 12 <= axes.get_ylim()[1] < 13


def test_the_rmse_above_the_error_map() -> None:
    figure = plot_surface(constant(2), lambda rows: np.zeros(len(rows)), n_points=3, figure=Figure())
    assert "RMSE 2" in main_axes(figure)[-1].get_title()
    np.testing.assert_array_equal(error_map(figure).get_array(), np.full((3, 3), 2.0))


def test_without_a_target_there_is_one_surface() -> None:
    net = article()
    figure = plot_surface(net, n_points=5, figure=Figure())
    _, rows = grid_rows(-3, 3)
    (axes,) = main_axes(figure)
    assert axes.get_title() == "learned"
    np.testing.assert_allclose(colours_of(axes), facets(net.predict(rows).reshape(5, 5)), rtol=1e-12)
    assert len(figure.axes) == 2
    draw(figure)


def test_surfaces_of_a_fit_are_in_the_units_of_the_data() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal([100, -5], [10, 0.1], (80, 2))
    net = fit(x, 1e6 + 1e3 * x[:, 0], n_iterations=50, hidden_sizes=[4])
    low, high = x.mean(axis=0) - 2 * x.std(axis=0), x.mean(axis=0) + 2 * x.std(axis=0)
    figure = plot_surface(net, lambda rows: 1e6 + 1e3 * rows[:, 0], n_points=4, figure=Figure())
    a, b = (np.linspace(low[k], high[k], 4) for k in (0, 1))
    rows = np.array([[i, j] for j in b for i in a])
    expected = net.predict(rows).reshape(4, 4)
    np.testing.assert_allclose(colours_of(surfaces(figure)[1]), facets(expected), rtol=1e-9)
    np.testing.assert_allclose(
        error_map(figure).get_array(), expected - (1e6 + 1e3 * rows[:, 0].reshape(4, 4)), atol=1e-3
    )
    np.testing.assert_allclose(error_map(figure).get_coordinates()[0, :, 0], a, rtol=1e-9)
    draw(figure)


def test_two_of_several_inputs_vary_while_the_others_stay_at_a_point() -> None:
    net = NN(4, [5], 3, 1, activation="tanh")
    at = [0.1, 0.2, 0.3, 0.4]

    def target(rows: Any) -> Any:
        return rows[:, :3] ** 2

    figure = plot_surface(
        net, target, inputs=(3, 1), at=at, output=2, n_points=5, low=-1, high=[1, 2, 3, 4], figure=Figure(),
        input_names=["a", "b", "c", "d"], output_names=["p", "q", "r"],
    )  # fmt: skip
    rows = np.array([[0.1, j, 0.3, i] for j in np.linspace(-1, 2, 5) for i in np.linspace(-1, 4, 5)])
    learned, wanted = net.predict(rows)[:, 2].reshape(5, 5), np.full((5, 5), 0.3**2)
    np.testing.assert_allclose(error_map(figure).get_array(), learned - wanted, rtol=1e-12)
    np.testing.assert_allclose(colours_of(surfaces(figure)[1]), facets(learned), rtol=1e-12)
    for axes in main_axes(figure):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("d", "b")
    draw(figure)
    names = [text.get_text() for text in figure.findobj(Text)]
    assert "r" in names
    assert not {"a", "c", "p", "q"} & set(names)


def test_the_other_inputs_stay_in_the_middle_by_default() -> None:
    net = NN(3, [5], 1, 1)
    figure = plot_surface(net, low=[0, 0, 2], high=[1, 1, 6], n_points=3, figure=Figure())
    _, pairs = grid_rows(0, 1, 3)
    rows = np.column_stack([pairs, np.full(9, 4.0)])
    np.testing.assert_allclose(colours_of(surfaces(figure)[0]), facets(net.predict(rows).reshape(3, 3)))


def test_features_have_the_names_of_the_command_line_by_default() -> None:
    figure = plot_surface(NN(3, [], 2, 1), inputs=[2, 0], output=1, n_points=3, figure=Figure())
    (axes,) = main_axes(figure)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x2", "x0")
    assert "y1" in [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize(
    "target",
    [
        lambda rows: rows[:, 0] - rows[:, 1],
        lambda rows: (rows[:, :1] - rows[:, 1:]).tolist(),
        numba.njit(lambda a, b: a - b),
    ],
)
def test_any_target(target: Any) -> None:
    figure = plot_surface(constant(0), target, n_points=5, figure=Figure())
    side, _ = grid_rows(-3, 3)
    np.testing.assert_allclose(error_map(figure).get_array(), side[:, None] - side, atol=1e-12)


@pytest.mark.parametrize("value", [0, 5e-324, 1e17, -1e300])
@pytest.mark.parametrize("target", ["none", "the same", "another"])
def test_constant_networks(value: float, target: str) -> None:
    functions: dict[str, Any] = {
        "none": None,
        "the same": lambda rows: np.full(len(rows), float(value)),
        "another": GAUSSIAN,
    }
    figure = plot_surface(constant(value), functions[target], n_points=4, figure=Figure())
    draw(figure)
    for axes in surfaces(figure):
        low, high = axes.get_zlim()
        assert low <= value <= high
        assert low < high
    if target == "the same":
        assert (error_map(figure).get_array() == 0).all()
        low, high = error_map(figure).get_clim()
        assert low < 0 < high  # white


def test_a_network_without_any_parameter_above_zero() -> None:
    draw(plot_surface(article(init=np.zeros(105)), GAUSSIAN, n_points=5, figure=Figure()))


@pytest.mark.parametrize("size", [1e-310, 1e200])
def test_small_and_large_surfaces(size: float) -> None:
    net = linear(size, -size, 0)
    figure = plot_surface(net, lambda rows: size * rows[:, 0], n_points=5, figure=Figure())
    _, rows = grid_rows(-3, 3)
    np.testing.assert_allclose(error_map(figure).get_array().ravel(), -size * rows[:, 1], rtol=1e-9)
    draw(figure)


def test_a_grid_of_two_points_a_side() -> None:
    net = article()
    figure = plot_surface(net, GAUSSIAN, n_points=2, figure=Figure())
    assert colours_of(surfaces(figure)[1]) == pytest.approx(net.predict(grid_rows(-3, 3, 2)[1]).mean())
    draw(figure)


def test_surfaces_in_a_part_of_a_figure() -> None:
    figure: Any = Figure(layout="constrained")
    left, right = figure.subfigures(1, 2)
    assert plot_surface(article(), GAUSSIAN, n_points=4, figure=left) is left
    assert plot_surface(article(2), n_points=4, figure=right) is right
    assert len(left.axes) == 5
    assert len(right.axes) == 2
    draw(figure)


@pytest.mark.parametrize("name", ["cost $", "a_b^c \\frac %d {x} é", "$x_1$", "x" * 150])
def test_names_of_features_as_people_write_them(name: str, tmp_path: Path) -> None:
    figure = plot_surface(
        article(), GAUSSIAN, n_points=3, input_names=[name, "b"], output_names=[name], figure=Figure()
    )
    save_figure(figure, tmp_path / "names.png", dpi=20)
    fitted = plot_fit(constant(1, 3), np.eye(3), np.ones(3), input_names=[name] * 3, output_names=[name])
    save_figure(fitted, tmp_path / "names.svg")
    pyplot.close(fitted)


def test_plain_python_and_numpy_numbers_are_the_same() -> None:
    one = plot_surface(
        article(), GAUSSIAN, low=-1, high=2, inputs=[1, 0], output=0, n_points=4, at=[0, 0], figure=Figure()
    )
    other = plot_surface(
        article(), GAUSSIAN, low=np.float32(-1), high=np.array([2, 2]), inputs=np.array([1, 0]),
        output=np.int64(0), n_points=np.uint8(4), at=np.zeros(2), figure=Figure(),
    )  # fmt: skip
    np.testing.assert_array_equal(error_map(one).get_array(), error_map(other).get_array())


# ---- histories ----


def test_few_losses_are_all_drawn() -> None:
    trainer = Trainer(article(), UniformSource(GAUSSIAN, rng=1))
    history = trainer.run(1500)
    axes = plot_history(history, ax=Figure().add_subplot())
    drawn = line_of(axes, "loss")
    np.testing.assert_array_equal(drawn.get_xdata(), np.arange(1500))
    np.testing.assert_array_equal(drawn.get_ydata(), history.losses)
    draw(axes)
    of_trainer = plot_history(trainer, ax=Figure().add_subplot())
    np.testing.assert_array_equal(line_of(of_trainer, "loss").get_ydata(), history.losses)


@pytest.mark.parametrize("n", [2000, 2001, 4999, 12_345])
@pytest.mark.parametrize("poison", [False, True])
def test_many_losses_keep_the_least_and_largest_of_every_piece(n: int, poison: bool) -> None:
    rng = np.random.default_rng(n)
    losses = rng.lognormal(0, 2, n)
    if poison:
        losses[rng.integers(0, n, 50)] = np.nan
        losses[rng.integers(0, n, 50)] = np.inf
        losses[40:80] = np.nan
    history = history_of(losses)
    axes = plot_history(history, ax=Figure().add_subplot())
    drawn = line_of(axes, "loss")
    x, y = drawn.get_data()
    np.testing.assert_array_equal(y, losses[x])
    assert (np.diff(x) > 0).all()
    assert len(x) <= 2000
    finite = np.isfinite(losses)
    shown = y[np.isfinite(y)]
    assert (shown.min(), shown.max()) == (losses[finite].min(), losses[finite].max())
    length = -(-n // 1000) if n > 2000 else 1
    for start in range(0, n, length):
        piece = losses[start : start + length]
        piece = piece[np.isfinite(piece)]
        if piece.size > 0:
            assert {piece.min(), piece.max()} <= set(y[(x >= start) & (x < start + length)])
    draw(axes)


def test_the_running_loss_is_that_of_the_history() -> None:
    history = history_of(np.random.default_rng(1).uniform(0.5, 1.5, 5000))
    x, y = line_of(plot_history(history, ax=Figure().add_subplot()), "running loss").get_data()
    assert (x[0], x[-1]) == (0, 4999)
    assert len(x) > 100
    for iteration, loss in zip(x, y, strict=True):
        if iteration >= 1000:
            assert loss == history.running_loss(int(iteration))
        else:
            assert loss == pytest.approx(history.losses[: iteration + 1].mean())


def test_the_running_loss_of_a_history_that_keeps_its_last_losses() -> None:
    history = History(100, 200)
    losses = np.random.default_rng(1).uniform(0.5, 1.5, 3000)
    for part in losses.reshape(-1, 100):
        history.extend(part)
    assert history.first_iteration > 0
    axes = plot_history(history, ax=Figure().add_subplot())
    x, y = line_of(axes, "loss").get_data()
    np.testing.assert_array_equal(x, np.arange(history.first_iteration, 3000))
    np.testing.assert_array_equal(y, losses[history.first_iteration :])
    x, y = line_of(axes, "running loss").get_data()
    assert (x[0], x[-1]) == (history.first_iteration + 1000, 2999)
    for iteration, loss in zip(x, y, strict=True):
        assert loss == pytest.approx(losses[iteration - 1000 : iteration + 1].mean())


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([1.0, 2.0], "log"),
        ([0.0, 2.0], "log"),
        ([0.0, 0.0], "linear"),
        ([-1.0, 2.0], "linear"),
        ([-1.0, -2.0], "linear"),
        ([np.nan, 2.0, np.inf], "log"),
        ([np.nan, np.nan], "linear"),
        ([3.0], "log"),
        ([1e-310, 1e300], "log"),
        ([0.1] * 3000, "log"),
        ([1e17] * 300, "log"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # matplotlib, beyond the largest number
def test_the_scale_of_losses(losses: list[float], scale: str) -> None:
    axes = plot_history(history_of(losses), ax=Figure().add_subplot())
    assert axes.get_yscale() == scale
    draw(axes)


def test_losses_of_ones_own_may_be_below_zero() -> None:
    loss = CustomLoss(lambda x, t: (x - t) ** 2 - 5.0, lambda x, t: 2 * (x - t))
    history = Trainer(linear(0, 0), ArraySource(LINE, LINE), loss=loss).run(50)
    assert history.losses.max() < 0
    axes = plot_history(history, ax=Figure().add_subplot())
    assert axes.get_yscale() == "linear"
    np.testing.assert_array_equal(line_of(axes, "loss").get_ydata(), history.losses)


def test_a_validation_loss_below_zero_can_be_seen() -> None:
    history = FitHistory(history_of(np.ones(5)), [1, 2], [-1.0, -2.0])
    assert plot_history(history, ax=Figure().add_subplot()).get_yscale() == "linear"


@pytest.mark.parametrize("losses", [[np.inf, np.nan], [0.0, 0.0], [1e300, 2.0]])
def test_validation_losses_of_any_size(losses: list[float]) -> None:
    draw(plot_history(FitHistory(history_of(np.ones(5)), [1, 2], losses), ax=Figure().add_subplot()))


def test_the_history_of_a_fit_has_validation_losses() -> None:
    net = fit(LINE, LINE, validation=0.3, n_iterations=200, hidden_sizes=[3])
    history = net.fit_history
    assert history is not None
    axes = plot_history(history, ax=Figure().add_subplot())
    drawn = line_of(axes, "validation loss")
    assert drawn.get_xdata().tolist() == history.validation_iterations
    assert drawn.get_ydata().tolist() == history.validation_losses
    np.testing.assert_array_equal(line_of(axes, "loss").get_ydata(), history.losses)
    assert legend_of(axes) == ["loss", "running loss", "validation loss", "learning rate"]
    draw(axes)


def rates_drawn(axes: Any) -> tuple[Any, Any]:
    right = axes.figure.axes[-1]
    assert right.get_ylabel() == "learning rate"
    x, y = line_of(right, "learning rate").get_data()
    assert right.get_ylim()[0] == 0
    assert right.get_ylim()[1] > y.max()
    return x, y


def test_learning_rates_are_those_of_the_schedule() -> None:
    trainer = Trainer(article(), UniformSource(GAUSSIAN, rng=1), learning_rate=ExponentialDecay(0.01, 0.999))
    x, y = rates_drawn(plot_history(trainer.run(3000), ax=Figure().add_subplot()))
    assert (x[0], x[-1]) == (0, 2999)
    np.testing.assert_allclose(y, 0.01 * 0.999 ** (x + 1), rtol=1e-9)


def diverging(**options: Any) -> Trainer:
    """A line with a loss whose largest curvature is 2: it diverges above a rate of 1."""
    x = np.linspace(-1, 1, 8)[:, None]
    source = ArraySource(x, 2 * x + 1, batch_size=8, rng=1)
    return Trainer(linear(0.5, 0.3), source, on_divergence="lower_rate", **options)


def test_learning_rates_after_a_run_went_back() -> None:
    trainer = diverging(learning_rate=ExponentialDecay(1.5, 0.99999))
    history = trainer.run(4000)
    back = [iteration for iteration, event in history.events if event.startswith("went back")]
    assert back
    axes = plot_history(history, ax=Figure().add_subplot())
    x, y = rates_drawn(axes)
    factors = np.ones(x.shape)
    for iteration, event in history.events:
        factor = float(event.split("with ")[1].split()[0])
        factors[x >= iteration] = factor
    np.testing.assert_allclose(y, factors * 1.5 * 0.99999 ** (x + 1), rtol=1e-9)
    assert trainer.last_rate == pytest.approx(y[-1], rel=1e-12)
    assert any(label.startswith("went back") for label in legend_of(axes))
    draw(axes)


def test_learning_rates_and_mark_after_a_checkpoint(tmp_path: Path) -> None:
    first, second = (diverging(learning_rate=ExponentialDecay(1.5, 0.99999)) for _ in range(2))
    first.run(3500)
    first.save_checkpoint(tmp_path / "run.npz")
    second.load_checkpoint(tmp_path / "run.npz")
    axes = plot_history(second, ax=Figure().add_subplot())
    assert line_of(axes, "loss").get_xdata().tolist() == list(range(2499, 3500))
    history = second.run(1000)
    axes = plot_history(history, ax=Figure().add_subplot())
    x, y = rates_drawn(axes)
    assert (x[0], x[-1]) == (2499, 4499)
    after = x >= 3500
    rates, scale = 1.5 * 0.99999 ** (x + 1), first.last_rate / (1.5 * 0.99999**3500)
    assert scale < 1
    np.testing.assert_allclose(y[after], scale * rates[after], rtol=1e-9)
    assert "resumed" in legend_of(axes)
    assert [mark.get_segments()[0][0][0] for mark in of_kind(axes, LineCollection)] == [3500]


def test_without_learning_rates_or_a_schedule_there_is_no_second_axis() -> None:
    trainer = Trainer(article(), UniformSource(GAUSSIAN, rng=1))
    assert len(plot_history(trainer.run(5), ax=Figure().add_subplot(), learning_rate=False).figure.axes) == 1
    assert len(plot_history(history_of([1, 2]), ax=Figure().add_subplot()).figure.axes) == 1


@pytest.mark.parametrize("rate", [0.0, 1e-310, 1e200])
def test_learning_rates_of_any_size(rate: float) -> None:
    history = history_of([1, 2], lambda iterations: np.full(iterations.shape, rate))
    draw(plot_history(history, ax=Figure().add_subplot()))


def test_marks_of_all_kinds() -> None:
    history = history_of(np.ones(100))
    history.events += [
        (10, "resumed"), (20, "stopped: enough"), (30, "interrupted"),
        (40, "went back from iteration 50, with 0.5 of the learning rate"),
        (60, "skipped a step"), (70, "skipped a step"), (70, "skipped a step"), (80, "something else"),
    ]  # fmt: skip
    axes = plot_history(history, ax=Figure().add_subplot())
    marks = {
        mark.get_label(): [segment[0][0] for segment in mark.get_segments()]
        for mark in of_kind(axes, LineCollection)
    }
    assert marks == {
        "resumed": [10], "stopped": [20], "interrupted": [30], "went back": [40],
        "skipped (3 times)": [60, 70],
    }  # fmt: skip
    assert set(marks) <= set(legend_of(axes))
    looks = [(str(mark.get_color()), str(mark.get_linestyle())) for mark in of_kind(axes, LineCollection)]
    assert len(set(looks)) == 5
    draw(axes)


def test_marks_of_real_runs(tmp_path: Path) -> None:
    trainer = Trainer(article(), UniformSource(GAUSSIAN, rng=1), on_divergence="skip")

    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run(50, callbacks=[Every(20, interrupt)])
    trainer.run(5000, callbacks=[EarlyStopping(1, every=10, min_delta=1e6)])
    labels = legend_of(plot_history(trainer, ax=Figure().add_subplot()))
    assert labels == ["loss", "running loss", "stopped", "interrupted", "learning rate"]


def test_marks_do_not_change_the_scale_of_losses() -> None:
    for losses in ([1e-5, 2e-5, 3e-5], [1e5, 2e5], [-1e5, -2e5]):
        plain, marked = history_of(losses), history_of(losses)
        marked.events.append((1, "resumed"))
        limits = [plot_history(history, ax=Figure().add_subplot()).get_ylim() for history in (plain, marked)]
        assert limits[0] == limits[1]


def test_skipped_steps_of_a_real_run() -> None:
    x = np.linspace(-1, 1, 8)[:, None]

    def rates(iterations: Any) -> Any:
        return np.where(np.isin(iterations, [40, 99]), 1e308, 0.1)

    source = ArraySource(x, 1e10 * x, batch_size=8, rng=1)
    trainer = Trainer(linear(0.5, 0.3), source, learning_rate=rates, on_divergence="skip")
    history = trainer.run(3000)
    assert history.events == [(40, "skipped a step"), (99, "skipped a step")]
    axes = plot_history(history, ax=Figure().add_subplot())
    assert "skipped (2 times)" in legend_of(axes)
    drawn = line_of(axes, "loss").get_ydata()
    finite = history.losses[np.isfinite(history.losses)]
    assert drawn[np.isfinite(drawn)].max() == finite.max()
    assert drawn[np.isfinite(drawn)].min() == finite.min()
    draw(axes)


def test_a_fit_that_was_resumed(tmp_path: Path) -> None:
    options: dict[str, Any] = {"n_iterations": 3000, "hidden_sizes": [3], "validation": 0.3}

    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    checkpoint = tmp_path / "fit.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(LINE, LINE, callbacks=[Checkpoint(checkpoint, 1500), Every(2000, interrupt)], **options)
    net = fit(LINE, LINE, callbacks=[Checkpoint(checkpoint, 1500)], resume=checkpoint, **options)
    assert net.fit_history is not None
    training = net.fit_history.training
    at = next(iteration for iteration, event in training.events if event == "resumed")
    assert at > 1000
    axes = plot_history(net.fit_history, ax=Figure().add_subplot())
    x, y = line_of(axes, "loss").get_data()
    assert x[0] == training.first_iteration == at - 1001
    np.testing.assert_array_equal(y, training.losses[x - training.first_iteration])
    assert line_of(axes, "validation loss").get_xdata().tolist() == net.fit_history.validation_iterations
    assert "resumed" in legend_of(axes)
    draw(axes)


@pytest.mark.parametrize("n", [1, 2])
def test_a_run_of_an_iteration_or_two(n: int) -> None:
    axes = plot_history(Trainer(article(), UniformSource(GAUSSIAN, rng=1)).run(n), ax=Figure().add_subplot())
    assert line_of(axes, "loss").get_xdata().tolist() == list(range(n))
    draw(axes)


# ---- fits ----


@pytest.mark.parametrize("n_in", [1, 2, 5])
@pytest.mark.parametrize("flat", [False, True])
def test_predicted_against_true_and_residuals(n_in: int, flat: bool) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(5, 3, (40, n_in))
    y = x.sum(axis=1) if flat else np.stack([x[:, 0], x.sum(axis=1)], axis=1)
    net = fit(x, y, n_iterations=60, hidden_sizes=[4])
    output = 0 if flat else 1
    figure = plot_fit(net, x, y, output=output, figure=Figure())
    draw(figure)
    axes = figure.axes
    comparison, residuals = axes[1:3] if n_in < 3 else axes[:2]
    true, predicted = (y if flat else y[:, 1]), net.response(x)[:, output]
    np.testing.assert_array_equal(dots(comparison), np.stack([true, predicted], axis=1))
    np.testing.assert_array_equal(dots(residuals), np.stack([predicted, true - predicted], axis=1))
    scores = score(net, x, y)
    assert comparison.get_title() == f"RMSE {scores.rmse[output]:.3g}, R² {scores.r2[output]:.4f}"
    assert comparison.get_xlim() == comparison.get_ylim()
    low, high = comparison.get_xlim()
    assert low < min(true.min(), predicted.min()) < max(true.max(), predicted.max()) < high


def test_the_curve_of_one_input() -> None:
    x = np.linspace(2, 7, 30)[:, None]
    net = fit(x, np.sin(x), n_iterations=60, hidden_sizes=[4])
    figure = plot_fit(net, x, np.sin(x), input_names=["time"], output_names=["height"], figure=Figure())
    function = figure.axes[0]
    along, values = line_of(function, "network").get_data()
    np.testing.assert_array_equal(values, net.predict(along[:, None])[:, 0])
    assert along[0] < 2
    assert along[-1] > 7
    assert len(along) > 100
    np.testing.assert_array_equal(dots(function), np.column_stack([x, np.sin(x)]))
    assert (function.get_xlabel(), function.get_ylabel()) == ("time", "height")
    assert figure.axes[1].get_xlabel() == "height, true"
    assert figure.axes[1].get_ylabel() == "height, predicted"
    assert figure.axes[2].get_xlabel() == "height, predicted"


def test_residuals_of_two_inputs_at_their_places() -> None:
    x = np.random.default_rng(1).normal(size=(50, 2))
    y = x[:, 0] * x[:, 1]
    figure = plot_fit(constant(0), x, y, input_names=["u", "v"], figure=Figure())
    function = figure.axes[0]
    clouds = of_kind(function, PathCollection)
    drawn = np.concatenate([np.column_stack([c.get_offsets(), c.get_array()]) for c in clouds])
    expected = np.column_stack([x, y])
    np.testing.assert_allclose(drawn[np.argsort(drawn[:, 0])], expected[np.argsort(x[:, 0])])
    largest = np.abs(y).max()
    assert {cloud.get_clim() for cloud in clouds} == {(-largest, largest)}
    up, down = clouds
    assert (up.get_array() >= 0).all()
    assert (down.get_array() < 0).all()
    assert up.get_paths()[0].vertices[0, 1] != down.get_paths()[0].vertices[0, 1]
    assert (function.get_xlabel(), function.get_ylabel()) == ("u", "v")
    draw(figure)


def slices_of(figure: Any) -> dict[str, Any]:
    return {axes.get_xlabel(): axes for axes in figure.axes[2:]}


def solid(axes: Any) -> Any:
    """The curve of a slice."""
    (line,) = [line for line in axes.lines if len(line.get_xdata()) > 100]
    return line.get_data()


def test_slices_are_what_the_network_predicts_through_the_point() -> None:
    x = np.random.default_rng(1).normal(3, [1, 2, 3, 4], (41, 4))
    net = fit(x, x**2, n_iterations=60, hidden_sizes=[4])
    for at in (None, [1.0, 2.0, 3.0, 4.0]):
        figure = plot_fit(net, x, x**2, output=2, at=at, figure=Figure(), output_names=["a", "b", "c", "d"])
        centre = np.median(x, axis=0) if at is None else np.array(at)
        slices = slices_of(figure)
        assert list(slices) == ["x0", "x1", "x2", "x3"]
        for k, axes in enumerate(slices.values()):
            along, values = solid(axes)
            rows = np.tile(centre, (len(along), 1))
            rows[:, k] = along
            np.testing.assert_allclose(values, net.predict(rows)[:, 2], rtol=1e-12)
            assert along[0] < x[:, k].min()
            assert along[-1] > x[:, k].max()
            assert axes.get_ylim() == slices["x0"].get_ylim()
            marks = [line.get_xdata() for line in axes.lines]
            assert any(np.array_equal(mark, x[:, k]) for mark in marks)
            assert any(np.array_equal(mark, [centre[k]] * 2) for mark in marks)
        assert slices["x0"].get_ylabel() == "c"
        low, high = slices["x0"].get_ylim()
        assert all(low <= values.min() <= values.max() <= high for _, values in map(solid, slices.values()))
        draw(figure)


def test_six_slices_at_most_those_that_change_the_output_most() -> None:
    weights = [1.0, 0.0, -7.0, 2.0, 5.0, -3.0, 0.5, 4.0]
    x = np.random.default_rng(1).uniform(-1, 1, (50, 8))
    x[:2] = [[-1] * 8, [1] * 8]
    figure = plot_fit(linear(*weights, 0), x, x[:, 0], figure=Figure())
    assert list(slices_of(figure)) == ["x0", "x2", "x3", "x4", "x5", "x7"]
    draw(figure)
    names = list("abcdefgh")
    chosen = plot_fit(linear(*weights, 0), x, x[:, 0], inputs=[6, 1], input_names=names, figure=Figure())
    assert list(slices_of(chosen)) == ["g", "b"]
    for number, name in ((6, "g"), (1, "b")):
        along, values = solid(slices_of(chosen)[name])
        change = np.ptp(along) * abs(weights[number])
        assert np.ptp(values) == pytest.approx(change, abs=1e-12)
    everything = plot_fit(linear(*weights, 0), x, x[:, 0], inputs=range(8), figure=Figure())
    assert len(slices_of(everything)) == 8
    draw(everything)


def test_slices_of_two_inputs_are_drawn_when_asked_for() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (50, 2))
    for options in ({"inputs": [1, 0]}, {"at": [0.25, 0.5]}):
        figure = plot_fit(linear(1, 2, 3), x, x[:, 0], figure=Figure(), **options)
        slices = slices_of(figure)
        assert sorted(slices) == ["x0", "x1"]
        along, values = solid(slices["x0"])
        middle = 0.5 if "at" in options else np.median(x[:, 1])
        np.testing.assert_allclose(values, along + 2 * middle + 3)


@pytest.mark.parametrize("n_in", [1, 2, 3])
@pytest.mark.parametrize("value", [0, -1e10, 1e-300, 1e17])
def test_constant_targets(n_in: int, value: float) -> None:
    x = np.random.default_rng(1).normal(size=(9, n_in))
    for net in (constant(value, n_in), constant(0, n_in)):
        figure = plot_fit(net, x, np.full(9, value), figure=Figure())
        draw(figure)
        assert "R²" not in figure.axes[1 if n_in < 3 else 0].get_title()


@pytest.mark.parametrize("n_in", [1, 2, 3, 9])
def test_a_single_sample(n_in: int) -> None:
    draw(plot_fit(NN(n_in, [3], 2, 1), np.ones((1, n_in)), np.ones((1, 2)), output=1, figure=Figure()))


@pytest.mark.parametrize("n_in", [1, 2, 7])
def test_a_hundred_thousand_samples(n_in: int) -> None:
    x = np.random.default_rng(1).random((100_000, n_in))
    figure = plot_fit(linear(*range(n_in + 1)), x, x[:, 0], figure=Figure())
    assert len(dots(figure.axes[1 if n_in < 3 else 0])) == 100_000
    draw(figure)


def test_a_fit_in_single_precision_and_lists() -> None:
    net = NN(1, [3], 1, 1, dtype=np.float32)
    figure = plot_fit(net, [[1], [2], [3]], [1, 2, 3], figure=Figure())
    np.testing.assert_array_equal(dots(figure.axes[1])[:, 1], net.predict([[1], [2], [3]])[:, 0])
    draw(figure)


def test_a_fit_in_a_part_of_a_figure() -> None:
    figure: Any = Figure(layout="constrained")
    part = figure.subfigures(1, 2)[1]
    assert plot_fit(constant(1, 3), np.eye(3), np.ones(3), figure=part) is part
    draw(part)


# ---- networks ----


def units_of(axes: Any) -> list[Any]:
    """Offsets (n_units, 2) of the circles of each layer, from above, the inputs first."""
    circles = [c for c in of_kind(axes, PathCollection) if len(c.get_paths()[0].vertices) > 10]
    return [np.asarray(c.get_offsets()) for c in circles]


def crosses_of(axes: Any) -> set[tuple[float, float]]:
    found = [c for c in of_kind(axes, PathCollection) if len(c.get_paths()[0].vertices) == 4]
    return {(float(x), float(y)) for c in found for x, y in c.get_offsets()}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sizes", [(3, [5, 4], 2), (2, [], 3), (1, [1], 1)])
def test_a_line_for_each_weight(sizes: Any, dtype: Any) -> None:
    net = NN(sizes[0], sizes[1], sizes[2], 1, init="glorot_uniform", activation="tanh", dtype=dtype)
    net.parameters += np.linspace(-0.5, 0.5, net.parameters.size)
    axes = plot_network(net, ax=Figure().add_subplot())
    columns = units_of(axes)
    assert [len(column) for column in columns] == [sizes[0], *sizes[1], sizes[2]]
    for k, column in enumerate(columns):
        assert (column[:, 0] == k).all()
        assert (np.diff(column[:, 1]) < 0).all()
    layers = of_kind(axes, LineCollection)
    assert len(layers) == len(net.layers)
    for k, (layer, lines) in enumerate(zip(net.layers, layers, strict=True)):
        left, right = columns[k][:, 1].tolist(), columns[k + 1][:, 1].tolist()
        weights = []
        for (x0, y0), (x1, y1) in lines.get_segments():
            assert (x0, x1) == (k, k + 1)
            weights.append(float(layer.W[right.index(y1), left.index(y0)]))
        assert sorted(weights) == sorted(layer.W.ravel().tolist())
        assert np.all(np.diff(np.abs(weights)) >= 0)  # the largest on top
        widths, colours = lines.get_linewidths(), lines.get_colors()
        np.testing.assert_allclose(
            np.asarray(widths) / max(widths), np.abs(weights) / np.abs(weights).max(), rtol=1e-5
        )
        is_blue = colours[:, 2] > colours[:, 0]
        assert is_blue.tolist() == [weight > 0 for weight in weights]
        darkness = 3 - colours[:, :3].sum(axis=1)
        for sign in (True, False):
            assert (np.diff(darkness[is_blue == sign]) >= -1e-12).all()
    draw(axes)


def test_colours_of_units_are_signs_of_biases() -> None:
    net = NN(2, [], 3, init=[(np.ones((3, 2)), [-2.0, 1.0, 4.0])])
    axes = plot_network(net, ax=Figure().add_subplot())
    inputs, outputs = [c for c in of_kind(axes, PathCollection) if len(c.get_paths()[0].vertices) > 10]
    assert np.allclose(inputs.get_facecolors()[:, :3], 1)
    red, _, blue, _ = outputs.get_facecolors().T
    assert (blue > red).tolist() == [False, True, True]
    assert red[2] < red[1]


def test_in_a_dark_style_nothing_is_black_on_black() -> None:
    x = np.linspace(-1, 1, 20)[:, None] * [1, -1, 2]
    trainer = Trainer(article(), UniformSource(StandardGaussian(), rng=1))
    trainer.run(10)
    with pyplot.style.context("dark_background"):
        axes = plot_network(dead_net(), np.zeros((1, 2)), ax=Figure().add_subplot())
        figure = plot_fit(NN(3, [4], 1, rng=1), x, x[:, 0], figure=Figure())
        places = plot_fit(NN(2, [4], 1, rng=1), x[:, :2], x[:, 0], figure=Figure()).axes[0]
        rates = plot_history(trainer, ax=Figure().add_subplot()).figure.axes[1].lines[0]
    lines = [line for part in figure.axes for line in part.lines] + [rates]
    marks = [mark for part in (axes, places) for mark in of_kind(part, PathCollection)]
    colours = [line.get_color() for line in lines] + [c for m in marks for c in m.get_edgecolors()]
    assert len(colours) > 10
    assert (0, 0, 0) not in [to_rgba(colour)[:3] for colour in colours]
    weights = of_kind(axes, LineCollection)[0].get_colors()  # those of size 0 come first
    assert weights[0, :3].max() < 0.11
    assert weights[-1, :3].max() > 0.6


def dead_net() -> NN:
    """Units 1 and 3 of the first layer are dead near 0, all but 2 near 100."""
    W = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    b = np.array([10.0, -50.0, 50.0, -50.0])
    init: Any = [(W, b), (np.ones((1, 4)), [0.0])]
    return NN(2, [4], 1, init=init)


def test_dead_units_are_crossed_out() -> None:
    net, x = dead_net(), np.random.default_rng(1).uniform(-1, 1, (20, 2))
    assert diagnose(net, x).layers[0].dead_share == 0.5
    axes = plot_network(net, x, ax=Figure().add_subplot())
    hidden = units_of(axes)[1]
    assert crosses_of(axes) == {(float(a), float(b)) for a, b in hidden[[1, 3]]}
    texts = [text.get_text() for text in axes.texts]
    assert texts[1] == "relu\n4 units,\n2 dead"
    assert "dead unit" in legend_of(axes)
    draw(axes)


def test_no_unit_is_crossed_out_without_samples() -> None:
    axes = plot_network(dead_net(), ax=Figure().add_subplot())
    assert crosses_of(axes) == set()
    assert "dead unit" not in legend_of(axes)


def test_dead_units_of_a_network_that_standardises_are_those_of_the_data() -> None:
    net = dead_net()
    net.standardization = Standardization(np.full(2, 1e4), np.full(2, 10.0), np.zeros(1), np.ones(1))
    x = 1e4 + np.random.default_rng(1).uniform(-10, 10, (20, 2))
    axes = plot_network(net, x, ax=Figure().add_subplot())
    assert {y for _, y in crosses_of(axes)} == set(units_of(axes)[1][[1, 3], 1].tolist())
    far = plot_network(net, x + 1000, ax=Figure().add_subplot())
    assert {y for _, y in crosses_of(far)} == set(units_of(far)[1][[3], 1].tolist())


def test_captions_of_layers_that_are_not_drawn_in_full() -> None:
    net = NN(30, [1000, 24], 25, 1, activation="tanh", output_activation="sigmoid")
    axes = plot_network(net, ax=Figure().add_subplot())
    assert [len(column) for column in units_of(axes)] == [24] * 4
    texts = [text.get_text().replace(",\n", ", ").split("\n") for text in axes.texts]
    assert texts == [
        ["input", "30 units, 24 drawn"],
        ["tanh", "1,000 units, 24 drawn"],
        ["tanh", "24 units"],
        ["output, sigmoid", "25 units, 24 drawn"],
    ]
    assert [len(lines.get_segments()) for lines in of_kind(axes, LineCollection)] == [24 * 24] * 3
    draw(axes)
    few = plot_network(net, max_units=np.int64(1), ax=Figure().add_subplot())
    assert [len(column) for column in units_of(few)] == [1] * 4


def test_widths_of_a_layer_drawn_in_part_are_shares_of_its_largest_weight() -> None:
    init: Any = [([[1.0], [2.0], [3.0], [8.0]], np.zeros(4)), (np.ones((1, 4)), [0.0])]
    net = NN(1, [4], 1, init=init)
    all_of_it = plot_network(net, ax=Figure().add_subplot())
    part = plot_network(net, max_units=2, ax=Figure().add_subplot())
    widths = [of_kind(axes, LineCollection)[0].get_linewidths()[:2] for axes in (all_of_it, part)]
    assert list(widths[0]) == list(widths[1])


def test_dead_units_that_are_not_drawn_are_counted() -> None:
    axes = plot_network(dead_net(), np.zeros((1, 2)), max_units=1, ax=Figure().add_subplot())
    assert crosses_of(axes) == set()
    assert axes.texts[1].get_text() == "relu\n4 units,\n1 drawn,\n2 dead"


def test_a_network_of_one_unit_and_of_zeros() -> None:
    axes = plot_network(NN(1, [1], 1, init=np.zeros(4)), [[0.0]], ax=Figure().add_subplot())
    assert [text.get_text().split("\n")[1].rstrip(",") for text in axes.texts] == ["1 unit"] * 3
    for lines in of_kind(axes, LineCollection):
        assert list(lines.get_linewidths()) == [0.0]
    draw(axes)


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e300])
def test_weights_of_any_size(size: float) -> None:
    axes = plot_network(NN(2, [3], 1, init=np.full(13, size)), ax=Figure().add_subplot())
    assert set(of_kind(axes, LineCollection)[0].get_linewidths()) == {2.5}
    draw(axes)


def test_a_network_with_a_weight_that_is_no_number_can_not_be_drawn() -> None:
    net = article()
    net.layers[0].W[0, 0] = np.inf
    with pytest.raises(InvalidArgumentError, match="net"):
        plot_network(net, ax=Figure().add_subplot())


# ---- figures ----


@pytest.mark.parametrize("ending", ["png", "PNG", "svg", "pdf", "jpg", "tiff", "EpS"])
def test_figures_are_saved_as_their_ending_says(ending: str, tmp_path: Path) -> None:
    figure = plot_network(article(), ax=canvas_figure((4, 3)).add_subplot()).figure
    path = tmp_path / f"ü $ñ_1.{ending}"
    save_figure(figure, str(path), dpi=50)
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "jpg": b"\xff\xd8", "eps": b"%!PS"}
    assert path.read_bytes().startswith(begins.get(ending.lower(), (b"II", b"MM")))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    if ending.lower() == "png":
        with Image.open(path) as image:
            assert image.size == (200, 150)


def test_without_a_window_there_is_a_warning() -> None:
    with pytest.warns(UserWarning, match="no display"):
        assert not can_show()


def test_new_figures_are_those_of_pyplot() -> None:
    calls: list[Callable[[], Any]] = [
        lambda: plot_surface(article(), n_points=3),
        lambda: plot_fit(constant(1, 1), LINE, LINE),
        lambda: plot_fit(constant(1, 7), np.ones((2, 7)), np.ones(2)),
        lambda: plot_history(history_of([1.0])).figure,
        lambda: plot_network(article()).figure,
    ]
    for call in calls:
        figure = call()
        assert pyplot.gcf() is figure
        pyplot.close(figure)


# ---- films ----


@pytest.mark.parametrize(
    ("ending", "has_target"), [("gif", True), ("gif", False), ("png", True), ("PNG", False)]
)
def test_frames_of_a_surface_that_turns(ending: str, has_target: bool, tmp_path: Path) -> None:
    net = article()
    before = net.parameters.tobytes()
    target = GAUSSIAN if has_target else None
    path = tmp_path / f"film.{ending}"
    files = rotate_surface(net, path, target, n_frames=3, fps=5, dpi=20, n_points=4)
    size = (152, 72) if has_target else (92, 72)
    if ending == "gif":
        assert files == [path]
        frames = frames_of(path)
        assert [duration for _, duration in frames] == [200] * 3
        pictures = [frame for frame, _ in frames]
        with Image.open(path) as film:
            assert film.info["loop"] == 0
    else:
        assert [file.name for file in files] == [f"film-000{k}.{ending}" for k in range(3)]
        pictures = []
        for file in files:
            with Image.open(file) as image:
                assert image.format == "PNG"
                pictures.append(np.asarray(image.convert("RGB")))
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert len(pictures) == 3
    for picture in pictures:
        assert picture.shape == (size[1], size[0], 3)
    for one, other in pairwise([*pictures, pictures[0]]):
        assert (one != other).any()
    assert net.parameters.tobytes() == before


def test_a_surface_turns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[SurfacePicture] = []
    angles: list[tuple[float, float]] = []
    show, canvas_draw = SurfacePicture.show, FigureCanvasAgg.draw

    def record_show(self: SurfacePicture, learned: Any) -> None:
        shown.append(self)
        show(self, learned)

    def record_draw(self: Any) -> None:
        if shown:
            looks = {(axes.azim, axes.elev) for axes in shown[0].surfaces}
            assert len(looks) == 1
            angles.append(looks.pop())
        canvas_draw(self)

    monkeypatch.setattr(SurfacePicture, "show", record_show)
    monkeypatch.setattr(FigureCanvasAgg, "draw", record_draw)
    rotate_surface(article(), tmp_path / "a.png", GAUSSIAN, n_frames=8, **SMALL)
    azimuths, pitches = np.array(angles[-8:]).T
    np.testing.assert_allclose(np.diff(azimuths), 45)
    assert pitches.max() > pitches.min() + 20
    assert (pitches > 0).all()


def test_the_film_of_learning_shows_all_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = article()
    snapshots = learned_snapshots(net)
    kept = [parameters.copy() for parameters in snapshots.parameters]
    net.parameters *= 2  # not those of the last snapshot
    before = net.parameters.tobytes()
    shown, titles, limits = [], [], []
    show, suptitle = SurfacePicture.show, Figure.suptitle

    def record_show(self: SurfacePicture, learned: Any) -> None:
        show(self, learned)
        shown.append(learned.copy())
        limits.append([axes.get_zlim() for axes in self.surfaces])

    def record_title(self: Any, text: str, **options: Any) -> Any:
        titles.append(text)
        return suptitle(self, text, **options)

    monkeypatch.setattr(SurfacePicture, "show", record_show)
    monkeypatch.setattr(Figure, "suptitle", record_title)
    path = tmp_path / "film.gif"
    assert animate_surface(net, snapshots, path, GAUSSIAN, fps=10, dpi=20, n_points=5) == [path]
    frames = frames_of(path)
    assert [duration for _, duration in frames] == [100, 100, 100, 2100]
    assert {frame.shape for frame, _ in frames} == {(68, 192, 3)}
    for (one, _), (other, _) in pairwise(frames):
        assert (one != other).any()
    assert [re.findall(r"\d+", title) for title in titles[-4:]] == [["0"], ["10"], ["20"], ["30"]]
    twin, (_, rows) = article(), grid_rows(-3, 3)
    for learned, parameters in zip(shown[-4:], kept, strict=True):
        twin.parameters = parameters
        np.testing.assert_array_equal(learned, twin.predict(rows).reshape(5, 5))
    wanted = GAUSSIAN(rows)
    margin = 0.2 * np.ptp(wanted)
    expected = pytest.approx((wanted.min() - margin, wanted.max() + margin))
    assert limits[-4:] == [[expected, expected]] * 4
    assert net.parameters.tobytes() == before
    assert all(np.array_equal(a, b) for a, b in zip(kept, snapshots.parameters, strict=True))


def test_frames_of_learning_are_pictures_of_the_snapshots(tmp_path: Path) -> None:
    """Without a target the scale is that of the last surface."""
    net = article()
    snapshots = learned_snapshots(net, 3)
    files = animate_surface(net, snapshots, tmp_path / "all.png", **SMALL)
    first_and_last = Snapshots()
    fill(first_and_last, snapshots.iterations[::2], snapshots.parameters[::2])
    two = animate_surface(net, first_and_last, tmp_path / "two.png", **SMALL)
    assert [file.read_bytes() for file in two] == [files[k].read_bytes() for k in (0, 2)]
    with Image.open(files[0]) as image:
        assert image.size == (46, 34)


def test_learning_far_off_the_target_is_drawn_at_the_limits(tmp_path: Path) -> None:
    net = article()
    snapshots = Snapshots()
    fill(snapshots, [0, 1, 2], [np.full(105, 1e3), np.zeros(105), np.full(105, -1e3)])
    assert len(animate_surface(net, snapshots, tmp_path / "a.png", GAUSSIAN, **SMALL)) == 3
    assert len(animate_surface(net, snapshots, tmp_path / "b.png", **SMALL)) == 3


@pytest.mark.parametrize("ending", [pytest.param("mp4", marks=[pytest.mark.slow, WITH_FFMPEG]), "gif", "png"])
def test_films_of_the_same_are_the_same_bytes(ending: str, tmp_path: Path) -> None:
    net = article()
    snapshots = learned_snapshots(net, 3)
    films: list[Callable[[Path], list[Path]]] = [
        lambda path: rotate_surface(net, path, GAUSSIAN, n_frames=2, **SMALL),
        lambda path: animate_surface(net, snapshots, path, GAUSSIAN, **SMALL),
    ]
    for film in films:
        one, other = (film(tmp_path / f"{name}.{ending}") for name in "ab")
        assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]


@WITH_FFMPEG
@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe")
@pytest.mark.parametrize(("fps", "said"), [(12, "12/1"), (12.5, "25/2"), (np.float32(5), "5/1")])
def test_films_for_players(fps: Any, said: str, tmp_path: Path) -> None:
    (path,) = rotate_surface(article(), tmp_path / "film.MP4", n_frames=5, fps=fps, dpi=20, n_points=4)
    entries = "stream=width,height,nb_read_frames,r_frame_rate"
    ask = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", entries, "-of", "default=nw=1", path]
    answer = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    found = dict(line.split("=") for line in answer.split())
    assert found == {"width": "92", "height": "72", "r_frame_rate": said, "nb_read_frames": "5"}


@WITH_FFMPEG
def test_films_for_players_of_an_odd_size(tmp_path: Path) -> None:
    (path,) = rotate_surface(article(), tmp_path / "film.mp4", n_frames=2, dpi=33.3, n_points=4)
    assert path.stat().st_size > 500


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    net = article()
    rotate_surface(net, tmp_path / "a.gif", n_frames=1, fps=2, **SMALL)
    assert [duration for _, duration in frames_of(tmp_path / "a.gif")] in ([500], [0])
    snapshots = Snapshots(iterations=[5])
    Trainer(net, UniformSource(GAUSSIAN, rng=1)).run(5, callbacks=[snapshots])
    (file,) = animate_surface(net, snapshots, tmp_path / "b.png", GAUSSIAN, **SMALL)
    assert file.name == "b-0000.png"


@pytest.mark.parametrize("fps", [0.1, 50])
@pytest.mark.parametrize("ending", ENDINGS)
def test_slow_and_fast_films(fps: float, ending: str, tmp_path: Path) -> None:
    (film, *_) = rotate_surface(article(), tmp_path / f"a.{ending}", n_frames=2, fps=fps, **SMALL)
    if ending == "gif":
        assert [duration for _, duration in frames_of(film)] == [round(1000 / fps)] * 2


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files cannot be counted")
def test_a_film_with_more_frames_than_files_that_can_be_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    rotate_surface(article(), tmp_path / "a.png", n_frames=1, n_points=2, dpi=10)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open_files() + 12, limits[1]))
    try:
        files = rotate_surface(article(), tmp_path / "a.png", n_frames=30, n_points=2, dpi=10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert len(files) == 30 == len(list(tmp_path.iterdir()))


# ---- what is wrong ----


class NotFinite:
    """A target as `Target` says, with values that are none."""

    in_features = 2
    out_features = 1

    def fill(self, x: Any, target: Any, n_samples: int) -> None:
        target[:] = np.nan


SURFACE_MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"net": NN(1, [], 1, 1)}, "net must be a network of two inputs or more, got in_features 1"),
    ({"net": None}, "net must be an NN, got None"),
    ({"net": linear(1e308, 1e308, 0.0)}, "net must be finite"),
    ({"target": 3}, "target must be a function or a Target, got 3"),
    ({"target": np.zeros((5, 5))}, "target must be"),
    ({"target": lambda rows: rows}, "target.out_features must be the network's 1, got 2"),
    ({"net": NN(3, [], 1, 1), "target": GAUSSIAN}, "target.in_features must be the network's 3, got 2"),
    ({"net": NN(2, [], 2, 1), "target": GAUSSIAN}, "target.out_features must be the network's 2, got 1"),
    ({"target": lambda rows: rows[:, 0] * np.nan}, r"target\(x\) must be finite"),
    ({"target": lambda rows: rows[:3, 0]}, r"target\(x\) must be numbers"),
    ({"target": numba.njit(lambda a, b: np.nan * a * b)}, r"target\(x\) must be finite"),
    ({"target": numba.njit(lambda a: a)}, "target"),
    ({"target": NotFinite()}, "target"),
    ({"low": 5}, "high must be above low, 5, got 3 for input 0"),
    ({"low": "a"}, "low must be an array of real numbers"),
    ({"low": [0, 0, 0]}, r"low must be a number or of shape \(2,\), got shape \(3,\)"),
    ({"high": np.nan}, "high must be finite"),
    ({"high": [[1, 2]]}, "high must be a number or of shape"),
    ({"low": [0, 1], "high": [1, 1]}, "high must be above low, 1, got 1 for input 1"),
    ({"inputs": (0, 2)}, r"inputs\[1\] must be an integer from 0 to 1, got 2"),
    ({"inputs": (-1, 0)}, r"inputs\[0\] must be an integer from 0 to 1, got -1"),
    ({"inputs": (1, 1)}, "inputs must be two distinct ones"),
    ({"inputs": (0,)}, "inputs must be two distinct ones"),
    ({"inputs": (0, 1, 0)}, "inputs must be two distinct ones"),
    ({"inputs": "01"}, "inputs must be a sequence of integers, got '01'"),
    ({"inputs": 1}, "inputs must be a sequence of integers, got 1"),
    ({"inputs": (0.0, 1.0)}, r"inputs\[0\] must be an integer"),
    ({"inputs": (True, False)}, r"inputs\[0\] must be an integer"),
    ({"at": [0.0]}, r"at must be of shape \(2,\)"),
    ({"at": 0}, r"at must be of shape \(2,\)"),
    ({"at": [np.inf, 0]}, "at must be finite"),
    ({"output": 1}, "output must be an integer from 0 to 0, got 1"),
    ({"output": -1}, "output must be an integer from 0 to 0, got -1"),
    ({"output": None}, "output must be an integer"),
    ({"n_points": 1}, "n_points must be an integer from 2 to 1000, got 1"),
    ({"n_points": -5}, "n_points must be an integer from 2 to 1000"),
    ({"n_points": 1001}, "n_points must be an integer from 2 to 1000"),
    ({"n_points": 5.0}, "n_points must be an integer"),
    ({"input_names": ["a"]}, "input_names must be 2 str, one for each feature"),
    ({"input_names": "ab"}, "input_names must be a sequence of str, got 'ab'"),
    ({"input_names": [1, 2]}, "input_names must be 2 str"),
    ({"input_names": 3}, "input_names must be a sequence of str"),
    ({"output_names": ["a", "b"]}, "output_names must be 1 str"),
]


@pytest.mark.parametrize(("mistake", "message"), SURFACE_MISTAKES)
@pytest.mark.filterwarnings("ignore:overflow encountered")  # of targets here
def test_mistakes_are_named_by_all_pictures_of_surfaces(
    mistake: dict[str, Any], message: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"net": article(), "n_points": 4} | mistake
    net = options.pop("net")
    with pytest.raises(InvalidArgumentError, match=message):
        plot_surface(net, **options)
    with pytest.raises(InvalidArgumentError, match=message):
        rotate_surface(net, tmp_path / "a.gif", n_frames=2, **options)
    size = net.parameters.size if isinstance(net, NN) else 1
    snapshots = Snapshots()
    fill(snapshots, [0], [net.parameters if net is not None else np.zeros(size)])
    with pytest.raises(InvalidArgumentError, match=message):
        animate_surface(net, snapshots, tmp_path / "a.gif", **options)
    assert list(tmp_path.iterdir()) == []


def test_inputs_that_can_only_be_read_once() -> None:
    one, other = (
        plot_surface(article(), GAUSSIAN, inputs=given, n_points=3, figure=Figure())
        for given in (iter([1, 0]), [1, 0])
    )
    np.testing.assert_array_equal(error_map(one).get_array(), error_map(other).get_array())
    x = np.random.default_rng(1).normal(size=(5, 3))
    figure = plot_fit(constant(1, 3), x, np.ones(5), inputs=iter([2, 0]), figure=Figure())
    assert list(slices_of(figure)) == ["x2", "x0"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_surface(article(), figure=3), "figure must be a Figure or SubFigure"),
        (lambda: plot_surface(article(), figure=Figure().add_subplot()), "figure must be a Figure"),
        (lambda: plot_history(None), "history must be a History, a FitHistory or a Trainer, got None"),
        (lambda: plot_history([1.0, 2.0]), "history must be"),
        (lambda: plot_history(History(10)), "history must be one of an iteration or more"),
        (lambda: plot_history(FitHistory(History(10), [], [])), "history must be one of an iteration"),
        (lambda: plot_history(Trainer(article(), UniformSource(GAUSSIAN))), "history must be one of an"),
        (lambda: plot_history(history_of([1.0]), learning_rate=1), "learning_rate must be True or False"),
        (lambda: plot_history(history_of([1.0]), learning_rate=None), "learning_rate must be True"),
        (lambda: plot_history(history_of([1.0]), ax=Figure()), "ax must be Axes of matplotlib"),
        (lambda: plot_fit(3, LINE, LINE), "net must be an NN or an Ensemble, got 3"),
        (lambda: plot_fit(constant(1, 1), LINE[:, :, None], LINE), "x must be two-dimensional"),
        (lambda: plot_fit(constant(1, 2), LINE, LINE), r"x must be of shape \(n_samples, 2\)"),
        (lambda: plot_fit(constant(1, 1), LINE, LINE[:3]), "y must be of as many samples as x, 9, got 3"),
        (lambda: plot_fit(constant(1, 1), LINE, np.ones((9, 2))), r"y must be of shape \(n_samples, 1\)"),
        (lambda: plot_fit(constant(1, 1), LINE, [np.nan] * 9), "y must be known for at least one sample"),
        (lambda: plot_fit(constant(1, 1), np.empty((0, 1)), []), "x must be a batch of at least one"),
        (lambda: plot_fit(constant(1, 1), "abc", LINE), "x must be an array of real numbers"),
        (lambda: plot_fit(constant(1, 1), LINE, LINE, output=1), "output must be an integer from 0 to 0"),
        (lambda: plot_fit(constant(1, 1), LINE, LINE, output=0.0), "output must be an integer"),
        (lambda: plot_fit(constant(1, 3), np.eye(3), np.ones(3), at=[0]), r"at must be of shape \(3,\)"),
        (lambda: plot_fit(constant(1, 3), np.eye(3), np.ones(3), inputs=[3]), r"inputs\[0\] must be"),
        (lambda: plot_fit(constant(1, 3), np.eye(3), np.ones(3), inputs=[]), "inputs must be one or more"),
        (
            lambda: plot_fit(constant(1, 3), np.eye(3), np.ones(3), inputs=1),
            "inputs must be a sequence of integers",
        ),
        (lambda: plot_fit(constant(1, 1), LINE, LINE, input_names=["a", "b"]), "input_names must be 1 str"),
        (lambda: plot_fit(constant(1, 1), LINE, LINE, output_names="a"), "output_names must be a sequence"),
        (lambda: plot_fit(constant(1, 1), LINE, LINE, figure="a"), "figure must be a Figure"),
        (lambda: plot_fit(linear(1e308, 1e308), LINE + 1, LINE), "net must be finite"),
        (lambda: plot_fit(linear(1.75e308, 0), LINE, LINE), "net must be finite"),
        (lambda: plot_network(3), "net must be an NN, got 3"),
        (lambda: plot_network(article(), [[1.0]]), r"x must be of shape \(n_samples, 2\)"),
        (lambda: plot_network(article(), [1.0, 2.0]), r"x must be of shape \(n_samples, 2\)"),
        (lambda: plot_network(article(), [[np.nan, 1]]), "x must be finite"),
        (lambda: plot_network(article(), max_units=0), "max_units must be an integer of at least 1"),
        (lambda: plot_network(article(), max_units=1.0), "max_units must be an integer"),
        (lambda: plot_network(article(), max_units=True), "max_units must be an integer"),
        (lambda: plot_network(article(), ax=3), "ax must be Axes of matplotlib, got 3"),
        (lambda: save_figure(3, "a.png"), "figure must be a Figure"),
        (lambda: save_figure(Figure().subfigures(), "a.png"), "figure must be a Figure"),
    ],
)
def test_mistakes_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        call()


Film = Callable[..., Any]


def rotating(path: Any, **options: Any) -> Any:
    return rotate_surface(article(), path, **{"n_frames": 2, "n_points": 4, "dpi": 10} | options)


def learning(path: Any, **options: Any) -> Any:
    net = article()
    snapshots = Snapshots()
    fill(snapshots, [0, 1], [net.parameters, 2 * net.parameters])
    return animate_surface(net, snapshots, path, **{"target": GAUSSIAN} | SMALL | options)


def saving(path: Any, **options: Any) -> Any:
    save_figure(canvas_figure((4, 3)), path, **options)


@pytest.mark.parametrize("make", [rotating, learning, saving])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.bmp", "path must be a name with the suffix"),
        ("a", "path must be a name with the suffix"),
        (".png", "path must be a name with the suffix"),
        ("a.png.", "path must be a name with the suffix"),
        ("nowhere/a.png", "path must be a file in a folder that exists"),
        ("folder.png", "path must be a file in a folder that exists"),
        ("a\0.png", "path must be a path"),
    ],
)
def test_paths_that_can_not_be_written(make: Film, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InvalidArgumentError, match=message):
        make(f"{tmp_path}/{name}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.parametrize("make", [rotating, learning, saving])
@pytest.mark.parametrize("path", [None, 3, "", b"a.png", ["a.png"]])
def test_paths_that_are_none(make: Film, path: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="path must be a path"):
        make(path)


@pytest.mark.parametrize("make", [rotating, learning, saving])
def test_folders_that_can_not_be_written_to(
    make: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(InvalidArgumentError, match="path must be in a folder that can be written to"):
        make(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [rotating, learning])
def test_films_without_ffmpeg(make: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidArgumentError, match=r"path must be a \.gif or \.png if there is no ffmpeg"):
        make(tmp_path / "a.mp4")
    assert len(make(tmp_path / "a.gif")) == 1
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(InvalidArgumentError, match="path must be"):
        make(tmp_path / "a.MP4")


@pytest.mark.parametrize("make", [rotating, learning])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"fps": fps}, "fps must be a finite number of at least 0.1 and at most 50") for fps in
          (0, -1, 1000, 50.1, np.nan, np.inf, "12", None, True, [12])),
        *(({"dpi": dpi}, "dpi must be a finite number of at least 10 and at most 600") for dpi in
          (0, -1, 9.9, 601, np.nan, "100", None)),
    ],
)  # fmt: skip
def test_rates_and_resolutions_of_films(
    make: Film, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        make(tmp_path / "a.gif", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n_frames", [0, -1, 2.0, True, None, "3", 2**70, 10_001])
def test_numbers_of_frames(n_frames: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="n_frames must be an integer from 1 to 10000"):
        rotating(tmp_path / "a.gif", n_frames=n_frames)


@pytest.mark.parametrize("dpi", [0, -1, 2401, np.nan, "100", None, True, 0.001, 1e-300])
def test_resolutions_of_figures(dpi: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="dpi"):
        saving(tmp_path / "a.png", dpi=dpi)
    assert list(tmp_path.iterdir()) == []


def test_snapshots_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    with pytest.raises(InvalidArgumentError, match="snapshots must be those of a run, got none"):
        animate_surface(article(), Snapshots(), path)
    for wrong in (None, [article().parameters], Snapshots):
        with pytest.raises(InvalidArgumentError, match="snapshots must be Snapshots"):
            animate_surface(article(), wrong, path)
    snapshots = learned_snapshots(article())
    with pytest.raises(InvalidArgumentError, match="snapshots must be of this network, got parameters of"):
        animate_surface(NN(2, [3], 1, 1), snapshots, path)
    snapshots.parameters[1][:] = np.nan
    with pytest.raises(InvalidArgumentError, match="finite"):
        animate_surface(article(), snapshots, path)
    assert list(tmp_path.iterdir()) == []


def test_views_have_no_other_options(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="figure"):
        rotating(tmp_path / "a.gif", figure=Figure())


# ---- what goes wrong ----


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, which is empty in the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def folder_with_films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a.gif", "a.mp4", "a-0001.png"):
        (folder / name).write_bytes(b"before")
    return folder


def assert_untouched(folder: Path) -> None:
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == dict.fromkeys(
        ("a.gif", "a.mp4", "a-0001.png"), b"before"
    )


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("at", [1, 3])
def test_an_exception_while_it_is_drawn(
    error: type[BaseException], ending: str, at: int, tmp_path: Path, temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    net, folder = article(), folder_with_films(tmp_path)
    snapshots = learned_snapshots(net, 3)
    show, calls = SurfacePicture.show, []

    def fail(self: SurfacePicture, learned: Any) -> None:
        calls.append(1)
        if len(calls) == at:
            raise error("in the middle")
        show(self, learned)

    monkeypatch.setattr(SurfacePicture, "show", fail)
    with pytest.raises(error, match="in the middle"):
        animate_surface(net, snapshots, folder / f"a.{ending}", GAUSSIAN, **SMALL)
    assert len(calls) == at
    assert_untouched(folder)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_can_not_take_its_place(
    ending: str, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_with_films(tmp_path)

    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no space left"):
            rotating(folder / f"a.{ending}", n_frames=3)
    assert_untouched(folder)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_write_that_fails(ending: str, tmp_path: Path, temporary: Path) -> None:
    """Files cannot be as large as a film."""
    resource = pytest.importorskip("resource")
    folder = folder_with_films(tmp_path)
    rotating(tmp_path / f"first.{ending}")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"too large|ffmpeg"):
            rotating(folder / f"a.{ending}", n_frames=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_untouched(folder)


def test_a_figure_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="no space left"):
            saving(path)
    figure = canvas_figure((4, 3))
    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="no space left"):
        save_figure(figure, path)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == {"a.png": b"before"}


def test_a_folder_in_place_of_a_frame(tmp_path: Path) -> None:
    (tmp_path / "a-0001.png").mkdir()
    with pytest.raises((OSError, InvalidArgumentError)):
        rotating(tmp_path / "a.png", n_frames=3)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a-0001.png"]


@pytest.mark.skipif(os.name == "nt", reason="a script that takes the place of a program")
@pytest.mark.parametrize("script", ["exit 1", "cat > /dev/null; exit 3", "cat > /dev/null", "kill -9 $$"])
def test_an_ffmpeg_that_fails(
    script: str, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, programs = folder_with_films(tmp_path), tmp_path / "bin"
    programs.mkdir()
    (programs / "ffmpeg").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(OSError, match=r"ffmpeg|[Bb]roken pipe|No such file"):
        rotating(folder / "a.mp4", n_frames=3)
    assert_untouched(folder)


@WITH_FFMPEG
@pytest.mark.skipif(os.name == "nt", reason="a script that takes the place of a program")
def test_ctrl_c_that_ends_ffmpeg_too_stays_ctrl_c(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal sends the signal to both."""
    programs, show, calls = tmp_path / "bin", SurfacePicture.show, []
    programs.mkdir()
    (programs / "ffmpeg").write_text("#!/bin/sh\ncat > /dev/null\nexit 255\n")
    (programs / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    def interrupt(self: SurfacePicture, learned: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        show(self, learned)

    monkeypatch.setattr(SurfacePicture, "show", interrupt)
    net = article()
    with pytest.raises(KeyboardInterrupt):
        animate_surface(net, learned_snapshots(net), tmp_path / "a.mp4", **SMALL)
    assert not (tmp_path / "a.mp4").exists()


# ---- what is left over ----


def n_figures() -> int:
    gc.collect()
    return sum(type(thing) is Figure for thing in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        lambda figure: plot_surface(article(), figure and GAUSSIAN, n_points=2, figure=figure),
        lambda figure: plot_history(history_of([1, 2]), ax=figure and figure.add_subplot()).figure,
        lambda figure: plot_fit(constant(1, 1), LINE, LINE, figure=figure),
        lambda figure: plot_network(article(), ax=figure and figure.add_subplot()).figure,
    ],
    ids=["surface", "history", "fit", "network"],
)
def test_a_hundred_pictures_leave_nothing(call: Callable[[Any], Any]) -> None:
    pyplot.close(call(None))
    n, n_files = n_figures(), n_open_files()
    for k in range(100):
        figure = call(Figure() if k % 2 == 0 else None)
        if k % 2 == 1:
            pyplot.close(figure)
    del figure
    assert pyplot.get_fignums() == []
    assert n_figures() <= n
    assert n_open_files() <= n_files


@pytest.mark.slow
def test_twenty_films_leave_nothing(tmp_path: Path, temporary: Path) -> None:
    endings = ["gif", "png", *(["mp4"] if shutil.which("ffmpeg") else [])]
    rotating(tmp_path / "first.gif")
    n, n_files = n_figures(), n_open_files()
    for k in range(20):
        make = rotating if k % 2 == 0 else learning
        make(tmp_path / f"{k}.{endings[k // 2 % len(endings)]}")
        assert pyplot.get_fignums() == []
    assert n_figures() <= n
    assert n_open_files() <= n_files


def test_arrays_of_the_caller_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    low, high, at = np.full(3, -1.0), np.full(3, 1.0), np.zeros(3)
    inputs, net = np.array([0, 2]), NN(3, [4], 2, 1)
    net.standardization = Standardization(np.ones(3), np.ones(3), np.ones(2), np.ones(2))
    arrays = [x, y, low, high, at, inputs, net.parameters, net.gradients, *net.standardization]
    before = [array.copy() for array in arrays]
    history = history_of(rng.lognormal(size=5000))
    losses = history.losses.copy()

    def spoil(rows: Any) -> Any:
        rows[:, 0] += 1
        return rows[:, :2]

    for frozen in (False, True):
        for array in (x, y, low, high, at, inputs):
            array.flags.writeable = not frozen
        plot_surface(
            net, spoil, low=low, high=high, at=at, inputs=inputs, output=1, n_points=3, figure=Figure()
        )
        plot_fit(net, x, y, at=at, inputs=inputs, figure=Figure())
        plot_network(net, x, ax=Figure().add_subplot())
        plot_history(history, ax=Figure().add_subplot())
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(history.losses, losses)


def test_what_the_layers_keep_for_backward_stays() -> None:
    net, x = article(), np.ones((3, 2))
    net.forward(x)
    net.backward(np.ones((3, 1)))
    gradients = net.gradients.copy()
    plot_network(net, np.zeros((5, 2)), ax=Figure().add_subplot())
    plot_surface(net, n_points=3, figure=Figure())
    net.backward(np.ones((3, 1)))
    np.testing.assert_array_equal(net.gradients, gradients)


# ---- in a process of their own ----


def run_python(code: str, *arguments: str, **variables: str) -> str:
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | variables
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_is_drawn_and_saved_without_a_display(tmp_path: Path) -> None:
    code = """
import sys, warnings
warnings.simplefilter("error")
import matplotlib
from crabnet_jit import NN, Snapshots, StandardGaussian, Trainer, UniformSource
from crabnet_jit.plotting import *
folder, target, net, snapshots = sys.argv[1], StandardGaussian(), NN(2, [8, 8], 1, 1), Snapshots(10)
history = Trainer(net, UniformSource(target, rng=1)).run(20, callbacks=[snapshots])
x = [[0.0, 1.0], [2.0, 3.0]]
figures = [
    plot_surface(net, target, n_points=4), plot_history(history).figure,
    plot_fit(net, x, [1.0, 2.0]), plot_network(net, x).figure,
]
for k, figure in enumerate(figures):
    for ending in ("png", "svg"):
        save_figure(figure, f"{folder}/{k}.{ending}", dpi=20)
rotate_surface(net, folder + "/a.gif", target, n_frames=2, n_points=4, dpi=10)
animate_surface(net, snapshots, folder + "/b.png", target, n_points=4, dpi=10)
print(matplotlib.get_backend().lower())
"""
    assert run_python(code, str(tmp_path)) == "agg\n"
    names = [f"{k}.{ending}" for k in range(4) for ending in ("png", "svg")]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        [*names, "a.gif", "b-0000.png", "b-0001.png", "b-0002.png"]
    )


def test_the_import_changes_no_setting_and_loads_no_window() -> None:
    code = """
import matplotlib
before = dict(matplotlib.rcParams)
import sys, crabnet_jit.plotting
assert dict(matplotlib.rcParams) == before
print("matplotlib.pyplot" in sys.modules)
"""
    assert run_python(code, MPLBACKEND="Agg") == "False\n"


def test_without_matplotlib_the_error_says_what_to_install() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None
import crabnet_jit
crabnet_jit.NN(2, [3], 1, 1)
try:
    import crabnet_jit.plotting
except ImportError as error:
    print(error)
"""
    assert "pip install 'crabnet-jit[plot]'" in run_python(code)


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="needs ffmpeg")
def test_ctrl_c_behind_which_the_pipe_of_ffmpeg_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grab_frame(_: Any) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise BrokenPipeError

    original: Any = FFMpegWriter.finish

    def finish(writer: Any) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            original(writer)
        raise subprocess.CalledProcessError(255, "ffmpeg")

    monkeypatch.setattr(FFMpegWriter, "grab_frame", grab_frame)
    monkeypatch.setattr(FFMpegWriter, "finish", finish)
    with pytest.raises(KeyboardInterrupt):
        rotate_surface(article(), tmp_path / "film.mp4", n_frames=2, n_points=5)
    assert list(tmp_path.iterdir()) == []
