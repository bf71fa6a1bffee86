"""What networks and histories show in notebooks: well-formed HTML, drawings that fit their frame."""

import base64
import html
import math
import os
import re
import subprocess
import sys
import time
import warnings
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from trainers import article

from crabnet_jit import (
    NN,
    CustomActivation,
    Diagnosis,
    EarlyStopping,
    Every,
    History,
    LayerDiagnosis,
    Run,
    Snapshots,
    check_gradients,
    diagnose,
    fit,
)
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.network.history import FitHistory
from crabnet_jit.plotting import films, plot_network, rotate_surface
from crabnet_jit.plotting.films import Film

HYPOTHESIS = settings(max_examples=150, deadline=None, derandomize=True, database=None)
SVG = "{http://www.w3.org/2000/svg}"
WIDTH, HEIGHT = 480, 180
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta"}


class Stack(HTMLParser):
    """Fails if tags are not closed in the order of their opening."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class Shown:
    """HTML that was found to be well-formed, and what it says."""

    def __init__(self, text: str) -> None:
        stack = Stack()
        stack.feed(text)
        stack.close()
        assert stack.open == []
        assert not stack.tags & {"script", "style", "iframe", "object", "link", "foreignobject"}
        assert "javascript:" not in text
        self.text = text
        self.root = ET.fromstring(f"<html>{text}</html>")
        self.tables = [
            [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
            for table in self.root.iter("table")
        ]
        self.drawings = [*self.root.iter(f"{SVG}svg")]
        for drawing in self.drawings:
            assert_within(drawing)

    @property
    def rows(self) -> dict[str, str]:
        """Those of the last table, that of a history, which have a name."""
        return {name: value for name, value in self.tables[-1] if name}

    @property
    def events(self) -> list[str]:
        return [value for name, value in self.tables[-1] if not name]

    def lines(self, k: int = 0) -> dict[str, list[tuple[float, float]]]:
        """Points of each line of a drawing, by the names in its legend."""
        drawing = self.drawings[k]
        names = [
            text.text or "" for text in drawing.iter(f"{SVG}text") if text.get("y") == f"{HEIGHT - 3:.1f}"
        ]
        lines = [line.get("points", "") for line in drawing.iter(f"{SVG}polyline")]
        return {name: points(line) for name, line in zip(names, lines, strict=True)}

    def labels(self, anchor: str) -> list[str]:
        texts = [text for text in self.drawings[0].iter(f"{SVG}text") if text.get("text-anchor") == anchor]
        return [text.text or "" for text in texts if text.get("y") != f"{HEIGHT - 3:.1f}"]


def points(text: str) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in text.split()]
    return [(float(x), float(y)) for x, y in pairs]


def assert_within(drawing: ET.Element) -> None:
    """All numbers are finite, and inside of the box that is seen."""
    assert drawing.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    assert (drawing.get("width"), drawing.get("height")) == (str(WIDTH), str(HEIGHT))
    for element in drawing.iter():
        for name, value in element.attrib.items():
            if name != "aria-label" and not name.startswith("font"):
                assert not re.search(r"nan|inf", value, re.IGNORECASE), (name, value)
        for x in ("x", "x1", "x2"):
            assert 0 <= float(element.get(x, 0)) <= WIDTH, ET.tostring(element)
        for y in ("y", "y1", "y2"):
            assert 0 <= float(element.get(y, 0)) <= HEIGHT, ET.tostring(element)
        for x_value, y_value in points(element.get("points", "")):
            assert 56 <= x_value <= WIDTH - 12
            assert 10 <= y_value <= HEIGHT - 34
        if element.tag == f"{SVG}text" and element.text:
            length = 5.6 * len(element.text)  # or a little more, at a size of 11
            left = (
                float(element.get("x", 0))
                - {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor", "start")] * length
            )
            assert left >= 0, element.text
            assert left + length <= WIDTH, element.text
            assert float(element.get("y", 0)) >= 8, element.text  # not cut off above


def history_of(losses: Any, keep: int | None = None) -> History:
    history = History(10_000, keep)
    history.extend(np.asarray(losses, np.float64))
    return history


def shown(thing: Any) -> Shown:
    return Shown(thing._repr_html_())


# ---- networks ----


def values(numbers: Any) -> str:
    return f"{numbers.min():.3g} … {numbers.max():.3g}"


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("hidden", [[], [8, 8], [3], [2000], [1] * 12])
def test_a_network_is_a_row_for_each_layer(hidden: list[int], dtype: Any) -> None:
    net = NN(3, hidden, 2, rng=1, activation="tanh", dtype=dtype)
    page = shown(net)
    assert page.drawings == []
    (head, *rows), *others = page.tables
    assert others == []
    assert head == ["layer", "features", "activation", "parameters", "W", "b"]
    assert rows == [
        [
            str(k),
            f"{layer.in_features} → {layer.out_features}",
            "tanh" if k <= len(hidden) else "identity",
            f"{layer.W.size + layer.b.size:,}",
            values(layer.W),
            values(layer.b),
        ]
        for k, layer in enumerate(net.layers, 1)
    ]
    assert page.root.findtext(".//pre") == repr(net)


def test_parameters_are_shown_as_they_are_now() -> None:
    net = NN(1, [], 1, init=[2.5, -7.0])
    assert shown(net).tables[0][1][-2:] == ["2.5 … 2.5", "-7 … -7"]
    net.parameters[:] = [1e-30, 12345.678]
    assert shown(net).tables[0][1][-2:] == ["1e-30 … 1e-30", "1.23e+04 … 1.23e+04"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_parameters_that_are_no_numbers_are_shown(value: float) -> None:
    net = NN(2, [3], 1, rng=1)
    net.parameters[0] = value
    assert str(value) in shown(net).tables[0][1][4]


def test_a_standardised_network_says_so() -> None:
    net = NN(2, [3], 1, rng=1)
    assert "standardised" not in net._repr_html_()
    net.standardization = Standardization(np.zeros(2), np.ones(2), np.zeros(1), np.ones(1))
    assert "float64, standardised" in (shown(net).root.findtext(".//pre") or "")


@pytest.mark.parametrize(
    "name", ["<lambda>", "a & b", '"quoted"', "it's", "<script>alert(1)</script>", "φ→∞"]
)
def test_names_of_activations_are_escaped(name: str) -> None:
    kind = type("Mine", (CustomActivation,), {"name": name})
    net = NN(2, [3], 1, rng=1, activation=kind(lambda x: x * x, lambda x: 2 * x))
    page = shown(net)
    assert page.tables[0][1][2] == name
    if html.escape(name) != name:
        assert name not in page.text


def test_a_custom_activation_has_a_row() -> None:
    net = NN(2, [3], 1, rng=1, activation=CustomActivation(lambda x: x * x, lambda x: 2 * x))
    assert shown(net).tables[0][1][2] == "custom"


def test_a_repr_is_escaped() -> None:
    class Mine(NN):
        def __repr__(self) -> str:
            return "<script>&"

    page = shown(Mine(1, [], 1, rng=1))
    assert page.root.findtext(".//pre") == "<script>&"


def test_showing_changes_nothing() -> None:
    trainer = article()
    trainer.run(500)
    before = trainer.net.parameters.tobytes(), trainer.history.losses.tobytes()
    for thing in (trainer.net, trainer.history):
        assert thing._repr_html_() == thing._repr_html_()
    assert before == (trainer.net.parameters.tobytes(), trainer.history.losses.tobytes())
    other = article()
    other.run(1000)
    trainer.run(500)
    assert trainer.net.parameters.tobytes() == other.net.parameters.tobytes()


# ---- histories ----


def test_an_empty_history_is_a_row() -> None:
    page = shown(History(10))
    assert page.tables == [[["iterations", "0"]]]
    assert page.drawings == []


def test_one_loss() -> None:
    page = shown(history_of([0.25]))
    assert page.rows == {"iterations": "1", "running loss": "0.25", "last loss": "0.25"}
    lines = page.lines()
    assert [*lines] == ["loss", "running loss"]
    assert all(len(line) == 1 for line in lines.values())


@pytest.mark.parametrize("n", [2, 500, 1000, 1001, 5000, 100_000])
def test_figures_are_those_of_the_history(n: int) -> None:
    history = history_of(np.random.default_rng(n).lognormal(size=n))
    page = shown(history)
    running = history.running_loss(n - 1)
    assert page.rows == {
        "iterations": f"{n:,}",
        "running loss": f"{running:.6g}",
        "last loss": f"{history.losses[-1]:.6g}",
    }
    assert running == history.running_losses()[1][-1]
    assert page.labels("start") == ["0"]
    assert f"{n - 1:,}" in page.labels("end")
    assert page.labels("middle") == ["iteration"]


def test_lines_are_where_the_losses_are() -> None:
    losses = 10.0 ** np.linspace(2, -2, 501)
    page = shown(history_of(losses))
    line = page.lines()["loss"]
    assert line[0] == (56, 10)
    assert line[-1] == (468, 146)
    for (x, y), k in zip(line, range(501), strict=True):
        assert x == pytest.approx(56 + 412 * k / 500, abs=0.051)
        assert y == pytest.approx(10 + 136 * k / 500, abs=0.051)
    assert page.labels("end")[:-1] == ["0.01", "0.1", "1", "10", "100"]
    heights = [float(line.get("y1", "nan")) for line in page.drawings[0].iter(f"{SVG}line")][:5]
    assert heights == [146, 112, 78, 44, 10]


@pytest.mark.parametrize(
    ("losses", "n_drawings"),
    [
        ([0.0] * 50, 0),
        ([-1.0, -2.0, -3.0], 0),
        ([math.nan] * 5, 0),
        ([math.inf] * 5, 0),
        ([-math.inf] * 5, 0),
        ([0.0, 1.0, 0.0], 1),
        ([-1.0, 5.0, 4.0], 1),
        ([1.0] * 50, 1),
        ([3.7] * 5000, 1),
        ([1.0, math.nan, 2.0], 1),
        ([math.inf, 1.0, 2.0], 1),
        ([1.0, 2.0, math.nan], 1),
        ([1.0, 1.0 + 1e-15], 1),
        ([1e-300, 1e300], 1),
    ],
)
def test_losses_of_every_kind(losses: list[float], n_drawings: int) -> None:
    page = shown(history_of(losses))
    assert len(page.drawings) == n_drawings
    assert page.rows["iterations"] == f"{len(losses):,}"
    assert page.rows["last loss"] == f"{losses[-1]:.6g}"


@pytest.mark.parametrize(
    "losses",
    [
        [1.79e308],
        [1.79e308] * 2000,
        [1e308, 1.79e308],
        [2.3e-308],
        [2.3e-308, 1.79e308],
        [1e308] * 3,
        [math.inf, -math.inf, 1.0],
    ],
    ids=lambda losses: f"{losses[:3]}"[:40],
)
def test_extreme_losses_are_no_error(losses: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = shown(history_of(losses))
    assert page.rows["iterations"] == f"{len(losses):,}"


positive = st.one_of(
    st.floats(1e-12, 1e12), st.floats(0.5, 2.0), st.sampled_from([0.1, 1.0, 10.0, 1.05, 0.83, 9.96, 99.5])
)
anything = st.one_of(positive, st.sampled_from([0.0, -1.0, math.nan, math.inf]))


@HYPOTHESIS
@given(losses=st.lists(anything, max_size=12), validation=st.lists(anything, max_size=5))
@example(losses=[1.05, 0.832], validation=[])
@example(losses=[1.0499, 0.83], validation=[])
@example(losses=[0.6], validation=[5.0])
def test_all_is_within_the_view_box(losses: list[float], validation: list[float]) -> None:
    history = history_of(losses)
    assert len(shown(history).drawings) == (np.isfinite(losses) & (np.array(losses) > 0)).any()
    shown(FitHistory(history, [*range(1, len(validation) + 1)], validation))


@HYPOTHESIS
@given(low=st.floats(1e-9, 1e9), decades=st.floats(0, 0.5))
def test_labels_of_a_small_range_are_beside_their_lines(low: float, decades: float) -> None:
    page = shown(history_of([low, low * 10**decades]))
    labels = page.labels("end")[:-1]
    assert 1 <= len(labels) <= 6
    lines = page.drawings[0].findall(f"{SVG}line")
    heights = [float(line.get("y1", "nan")) for line in lines[: len(labels)]]
    assert heights == sorted(heights, reverse=True)
    assert all(float(label) > 0 for label in labels)


@pytest.mark.parametrize("decades", [2, 5, 6, 7, 30, 300])
def test_there_are_few_labels(decades: int) -> None:
    labels = shown(history_of([10.0**-decades, 1.0])).labels("end")[:-1]
    assert 2 <= len(labels) <= 6
    assert float(labels[0]) == float(f"1e-{decades}")


def test_millions_of_losses_take_little() -> None:
    losses = np.random.default_rng(0).lognormal(size=3_000_000)
    losses[1_234_567] = 1e9
    history = history_of(losses)
    start = time.perf_counter()
    page = shown(history)
    assert time.perf_counter() - start < 5
    assert len(page.text) < 100_000
    assert page.rows["iterations"] == "3,000,000"
    assert min(y for _, y in page.lines()["loss"]) == 10  # the spike is there


def test_a_history_of_kept_losses_begins_where_they_do() -> None:
    trainer = article(keep_losses=0)
    history = trainer.run(9000)
    assert history.first_iteration > 0
    page = shown(history)
    assert page.labels("start") == [f"{history.first_iteration:,}"]
    assert page.rows["running loss"] == f"{history.running_loss(8999):.6g}"


@pytest.mark.parametrize("cut", [1, 500, 1001, 3000])
def test_a_resumed_history(cut: int, tmp_path: Any) -> None:
    first, second = article(), article()
    first.run(cut)
    first.save_checkpoint(tmp_path / "run.npz")
    second.load_checkpoint(tmp_path / "run.npz")
    page = shown(second.history)
    assert page.rows["iterations"] == f"{cut:,}"
    assert page.rows["last loss"] == f"{first.history.losses[-1]:.6g}"
    assert page.events == [f"resumed after {cut:,} iteration{'s' * (cut > 1)}"]


# ---- events ----


def test_events_are_told_and_escaped() -> None:
    trainer = article()
    trainer.run(100, callbacks=[Every(50, lambda run: run.stop("<b>&</b> 'it' is \"enough\""))])
    page = shown(trainer.history)
    assert page.events == ["stopped: <b>&</b> 'it' is \"enough\" after 50 iterations"]
    assert "<b>&</b>" not in page.text


def test_an_interruption_is_told() -> None:
    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    trainer = article()
    with pytest.raises(KeyboardInterrupt):
        trainer.run(5000, callbacks=[Every(1200, interrupt)])
    assert shown(trainer.history).events == ["interrupted after 1,200 iterations"]


@pytest.mark.parametrize("n", [0, 1, 5, 6, 7, 1000])
def test_of_many_events_the_last_are_told(n: int) -> None:
    history = history_of(np.ones(2000))
    history.events = [(k, f"event {k}") for k in range(n)]
    page = shown(history)
    last = [f"event {k} after {k:,} iteration{'s' * (k != 1)}" for k in range(n)][-5:]
    assert page.events[-len(last) :] == last or n == 0
    assert len(page.events) == (n if n <= 5 else 6)
    if n > 5:
        assert page.events[0] == f"{n - 5:,} earlier events"
    assert len(page.text) < 100_000


# ---- fits ----


def test_a_fit_has_the_least_validation_loss() -> None:
    history = FitHistory(history_of(np.linspace(1, 0.1, 3000)), [1000, 2000, 3000], [0.5, 0.1, 0.25])
    page = shown(history)
    assert page.rows["least validation loss"] == "0.1 after 2,000 iterations"
    lines = page.lines()
    assert [*lines] == ["loss", "running loss", "validation loss"]
    assert len(lines["validation loss"]) == 3
    assert lines["validation loss"][-1][0] == 468


def test_a_fit_without_validation_is_its_history() -> None:
    history = history_of(np.linspace(1, 0.1, 3000))
    assert FitHistory(history, [], [])._repr_html_() == history._repr_html_()


@pytest.mark.parametrize("losses", [[math.nan, 0.5, 0.25], [0.5, math.nan, 0.25], [math.inf, 0.5, 0.25]])
def test_the_least_validation_loss_is_a_number_if_there_is_one(losses: list[float]) -> None:
    page = shown(FitHistory(history_of([1.0] * 30), [10, 20, 30], losses))
    assert page.rows["least validation loss"] == "0.25 after 30 iterations"
    assert len(page.lines()["validation loss"]) == 2


@pytest.mark.parametrize("losses", [[math.nan], [math.inf], [0.0], [-1.0], [math.nan] * 3])
def test_validation_losses_that_can_not_be_drawn(losses: list[float]) -> None:
    page = shown(FitHistory(history_of([1.0, 0.5]), [*range(len(losses))], losses))
    assert [*page.lines()] == ["loss", "running loss"]
    assert ("least validation loss" in page.rows) == bool(np.isfinite(losses).any())


def test_many_validation_losses_and_events() -> None:
    training = history_of(np.random.default_rng(0).lognormal(size=50_000))
    training.events = [(k, "skipped a step") for k in range(0, 50_000, 7)]
    history = FitHistory(training, [*range(1000, 50_001, 1000)], [0.5] * 50)
    page = shown(history)
    assert len(page.events) == 6
    assert page.rows["least validation loss"] == "0.5 after 1,000 iterations"
    assert len(page.text) < 100_000


@pytest.mark.parametrize("options", [{}, {"validation": 0.25}, {"standardize": False}, {"dtype": "float32"}])
def test_a_fitted_network_shows_its_fit(options: dict[str, Any]) -> None:
    x = np.linspace(-1, 1, 60)[:, None]
    net = fit(x, np.sin(3 * x), n_iterations=1500, hidden_sizes=[6], **options)
    assert net.fit_history is not None
    page = shown(net)
    assert len(page.tables) == 2
    assert len(page.tables[0]) == 3
    assert len(page.drawings) == 1
    assert page.rows["iterations"] == "1,500"
    assert page.rows["last loss"] == f"{net.fit_history.losses[-1]:.6g}"
    assert ("least validation loss" in page.rows) == ("validation" in options)
    if "validation" in options:
        least = min(net.fit_history.validation_losses)
        assert page.rows["least validation loss"].startswith(f"{least:.6g} after ")
    assert ("standardised" in page.text) == (options.get("standardize") is not False)
    assert shown(net.fit_history).text in page.text


def test_a_fit_that_stopped_early_says_so() -> None:
    x = np.linspace(-1, 1, 60)[:, None]
    y = np.sin(3 * x) + np.random.default_rng(0).normal(size=x.shape)
    net = fit(x, y, n_iterations=20_000, hidden_sizes=[8], validation=0.3, patience=3)
    assert net.fit_history is not None
    assert net.fit_history.n_iterations < 20_000
    (event,) = shown(net).events
    assert event.startswith("stopped: no better loss than ")
    assert event.endswith(f" after {net.fit_history.n_iterations:,} iterations")


def test_losses_may_be_shown_in_a_run() -> None:
    pages: list[Shown] = []
    trainer = article()
    trainer.run(
        900,
        callbacks=[
            Every(300, lambda run: pages.append(shown(run.history))),
            Snapshots(100),
            EarlyStopping(every=300),
        ],
    )
    assert [page.rows["iterations"] for page in pages] == ["300", "600", "900"]


# ---- diagnoses, checks of gradients ----


def test_a_diagnosis_is_a_table_and_its_hints() -> None:
    diagnosis = diagnose(NN(2, [2000, 8], 1, rng=1), np.ones((5, 2)) * np.arange(5)[:, None])
    page = shown(diagnosis)
    ((head, *rows),) = page.tables
    assert head == ["layer", "units", "activation", "dead", "activations", "gradients", "similarity"]
    lines = str(diagnosis).splitlines()[1:4]
    assert [[cell.replace(",", "") for cell in row] for row in rows] == [line.split() for line in lines]
    assert [item.text for item in page.root.iter("li")] == diagnosis.hints
    assert len(diagnosis.hints) > 0


def test_a_diagnosis_without_hints_says_so() -> None:
    net = NN(2, [8], 1, rng=1, activation="tanh", init="glorot_uniform")
    page = shown(diagnose(net, np.random.default_rng(0).normal(size=(50, 2))))
    assert [item.text for item in page.root.iter("li")] == ["Nothing vanishes, explodes or is dead."]


def test_names_and_hints_of_a_diagnosis_are_escaped() -> None:
    layer = LayerDiagnosis(1, "<script>", 0.0, 1.0, 1.0, math.nan)
    page = shown(Diagnosis([layer], ["<b>&</b>"]))
    assert page.tables[0][1][2] == "<script>"
    assert page.root.findtext(".//li") == "<b>&</b>"


@pytest.mark.parametrize(("slope", "verdict"), [(2.0, "right"), (1.0, "WRONG")])
def test_a_check_of_gradients_is_a_verdict_and_a_table(slope: float, verdict: str) -> None:
    activation = CustomActivation(lambda x: x * x, lambda x: slope * x)
    result = check_gradients(NN(2, [3], 1, rng=1, activation=activation), [[0.1, 0.2]], [1.0])
    page = shown(result)
    assert page.root.findtext(".//b") == f"gradients are {verdict}"
    assert page.tables == [
        [
            ["worst parameter", "derivative", "difference quotient", "relative error"],
            [
                result.worst,
                f"{result.derivative:.6g}",
                f"{result.difference_quotient:.6g}",
                f"{result.error:.2g}",
            ],
        ]
    ]


# ---- films and figures ----


def film(path: Path, n_frames: int = 2) -> Film:
    files = rotate_surface(NN(2, [3], 1, rng=1), path, n_frames=n_frames, n_points=4, dpi=10)
    assert isinstance(files, Film)
    return files


def shown_files(page: Shown, tag: str) -> list[bytes]:
    """What is shown by these tags, which must be data in the page."""
    parts = [(element.get("src") or "").split(";base64,") for element in page.root.iter(tag)]
    assert all(kind.startswith("data:") for kind, _ in parts)
    return [base64.b64decode(data) for _, data in parts]


@pytest.mark.parametrize(("ending", "tag"), [("gif", "img"), ("mp4", "video")])
def test_a_film_is_shown(ending: str, tag: str, tmp_path: Path) -> None:
    path = tmp_path / f"a & b.{ending}"
    files = film(path)
    assert files == [path]
    page = shown(files)
    assert shown_files(page, tag) == [path.read_bytes()]
    assert (
        next(page.root.iter(tag))
        .get("src", "")
        .startswith(f"data:{'image' if tag == 'img' else tag}/{ending};")
    )
    assert page.root.findtext("./div/div") == str(path)


@pytest.mark.parametrize(("n", "chosen"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (8, [0, 2, 4, 7])])
def test_of_frames_some_are_shown(n: int, chosen: list[int], tmp_path: Path) -> None:
    files = film(tmp_path / "a.png", n)
    page = shown(files)
    assert shown_files(page, "img") == [files[k].read_bytes() for k in chosen]
    assert page.root.findtext("./div/div") == f"{files[0]}" + (f" … {files[-1].name}" if n > 1 else "")


def test_a_film_that_is_large_or_gone_is_only_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = film(tmp_path / "a.gif")
    monkeypatch.setattr(films, "_MAX_SHOWN", files[0].stat().st_size - 1)
    page = shown(files)
    assert [*page.root.iter("img")] == []
    assert page.root.findtext("./div/div") == f"{files[0]}, too large to be shown here"
    files[0].unlink()
    assert shown(files).root.findtext("./div/div") == f"{files[0]}, which cannot be read any more"


CELLS = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output


class Shell(InteractiveShell):
    def enable_gui(self, gui=None):
        pass


shell = Shell.instance()
shell.display_formatter.active_types = shell.display_formatter.format_types
results = []
shell.displayhook.compute_format_data = lambda result: results.append(
    shell.display_formatter.format(result)[0]
) or ({}, {})
shell.run_cell("%matplotlib inline").raise_error()
shell.run_cell("from crabnet_jit import NN; from crabnet_jit.plotting import *; net = NN(2, [3], 1)")
for cell in sys.argv[1:]:
    results.clear()
    with capture_output() as captured:
        shell.run_cell(cell).raise_error()
    shown = [output.data for output in captured.outputs] + results
    print(sum("image/png" in data for data in shown))
"""


def test_a_figure_is_shown_once_in_a_cell() -> None:
    cells = [
        ("plot_surface(net)", 1),
        ("figure = plot_surface(net)", 1),
        ("figure", 1),
        ("plot_surface(net); plot_network(net)", 2),
        ("for _ in range(3): plot_surface(net)", 3),
        ("import matplotlib.pyplot as plt; plt.ioff(); figure = plot_surface(net)", 0),
        ("figure", 1),
    ]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CELLS, *(cell for cell, _ in cells)],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "MPLBACKEND"},
    )
    assert run.stdout.split() == [str(count) for _, count in cells], run.stderr


def test_pyplot_keeps_a_figure_where_it_has_windows() -> None:
    figure: Any = plot_network(NN(2, [3], 1)).figure
    with pytest.raises(NotImplementedError):  # by which IPython goes on
        figure._ipython_display_()
    assert pyplot.fignum_exists(figure.number)


# ---- no matplotlib ----


def test_no_matplotlib_is_needed() -> None:
    code = """
import sys
sys.modules["matplotlib"] = sys.modules["PIL"] = None
import numpy as np
from crabnet_jit import fit
x = np.linspace(-1, 1, 20)[:, None]
net = fit(x, x**2, n_iterations=50, hidden_sizes=[3], validation=0.2)
text = net._repr_html_()
assert text.count("<table>") == 2 and text.count("<svg") == 1
print("shown", [name for name, module in sys.modules.items() if module and name.startswith("matplotlib")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "shown []\n", "")
