"""Data frames of three libraries: names, encoding, what is refused, files."""

import copy
import datetime
import decimal
import pickle
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from crabnet_jit import (
    NN,
    FileFormatError,
    InvalidArgumentError,
    Objective,
    check_gradients,
    diagnose,
    fit,
    load,
    save,
    score,
)
from crabnet_jit.archive import write_archive
from crabnet_jit.plotting import plot_fit, plot_surface

N = 12
RNG = np.random.default_rng(0)
COLUMNS = {
    "size": RNG.normal(size=N),
    "count": np.arange(N),
    "is_new": np.arange(N) % 3 == 0,
    "colour": np.array(["red", "green", "blue"] * 4, dtype=object),
}
ENCODED = np.column_stack(
    [COLUMNS["size"], COLUMNS["count"], COLUMNS["is_new"]]
    + [COLUMNS["colour"] == colour for colour in ("blue", "green", "red")]
).astype(float)
NAMES = ["size", "count", "is_new", "colour=blue", "colour=green", "colour=red"]
Y = COLUMNS["size"] * 3 + COLUMNS["count"]
LIBRARIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": lambda columns: pd.DataFrame(columns, index=np.arange(len(next(iter(columns.values())))) * -7),
    "polars": pl.DataFrame,
    "pyarrow": pa.table,
}
all_libraries = pytest.mark.parametrize("library", LIBRARIES)


def quick(x: Any, y: Any = Y, **options: Any) -> NN:
    arguments: Any = {"n_iterations": 10, "hidden_sizes": (3,)} | options
    return fit(x, y, **arguments)


def of(library: str, names: list[str] | None = None, **other: Any) -> Any:
    """A frame of these columns, or all."""
    columns = COLUMNS | other
    return LIBRARIES[library]({name: columns[name] for name in names or columns})


@pytest.fixture(scope="module")
def net() -> NN:
    return quick(of("polars"))


# --- columns ------------------------------------------------------------------------------------


@all_libraries
def test_a_frame_is_its_encoded_numbers(library: str, net: NN) -> None:
    from_frame, from_array = quick(of(library)), quick(ENCODED)
    assert from_frame.input_names == NAMES
    assert from_array.input_names == ["x0", "x1", "x2", "x3", "x4", "x5"]
    assert np.array_equal(from_frame.parameters, from_array.parameters)
    assert np.array_equal(net.encode(of(library)), ENCODED)
    expected = from_array.predict(ENCODED)
    assert np.array_equal(net.predict(of(library, ["is_new", "colour", "size", "count"])), expected)
    assert np.array_equal(net.predict(ENCODED), expected)
    assert net(of(library)).shape == (N,)
    assert net.get_output(of(library)).shape == (N, 1)
    assert score(net, of(library), Y).rmse == score(net, ENCODED, Y).rmse


@all_libraries
def test_missing_and_unknown_columns_are_named(library: str, net: NN) -> None:
    names = "'size', 'count', 'is_new', 'colour'"
    with pytest.raises(
        InvalidArgumentError, match=rf"x must be .* columns {names}, got one without 'count'$"
    ):
        net.predict(of(library, ["size", "is_new", "colour"]))
    with pytest.raises(InvalidArgumentError, match=r"without 'size' and with the unknown 'length', 'w'$"):
        net.predict(of(library, ["colour", "length", "count", "w", "is_new"], length=Y, w=Y))
    with pytest.raises(InvalidArgumentError, match=r"with the unknown 'length'; use x\[net.feature_names\]"):
        net.predict(of(library, length=Y))


def test_a_copy_and_a_file_know_the_columns(net: NN, tmp_path: Path) -> None:
    save(net, tmp_path / "net.npz")
    copies = load(tmp_path / "net.npz"), copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    for twin in copies:
        assert twin.input_names == NAMES
        assert np.array_equal(twin.predict(of("pandas", list(COLUMNS)[::-1])), net.predict(ENCODED))


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ([1, 0], ["1", "0"]),
        ([("a", 1), ("a", 2)], ["('a', 1)", "('a', 2)"]),
        (pd.MultiIndex.from_tuples([("u", "a"), ("u", "b")]), ["('u', 'a')", "('u', 'b')"]),
        (["a", 2.5], ["a", "2.5"]),
        (["a", ""], ["a", ""]),
        (["", "x0"], ["", "x0"]),
        ([" a", "a"], [" a", "a"]),
    ],
)
def test_names_in_pandas_may_be_anything(columns: Any, names: list[str]) -> None:
    frame = pd.DataFrame(ENCODED[:, :2], columns=columns)
    net = quick(frame)
    assert net.input_names == names
    assert np.array_equal(net.predict(frame.iloc[:, ::-1]), net.predict(ENCODED[:, :2]))


HALVES = [decimal.Decimal("1.5"), decimal.Decimal("2.5")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pd.array([1, 2], dtype="Int64"), [1, 2]),
        (pd.array([True, False], dtype="boolean"), [1, 0]),
        (pd.array([0.5, 2], dtype="Float64"), [0.5, 2]),
        (pd.array([1, 2], dtype="int64[pyarrow]"), [1, 2]),
        (pd.array([True, False], dtype="bool[pyarrow]"), [1, 0]),
        (np.array([-128, 127], np.int8), [-128, 127]),
        (np.array([0, 2**53], np.uint64), [0, 2**53]),
        (np.array([0.5, 2], np.float32), [0.5, 2]),
        (pl.Series([2**53, 1], dtype=pl.UInt64), [2**53, 1]),
        (pl.Series([-(2**53), 1], dtype=pl.Int128), [-(2**53), 1]),
        (pl.Series([0.5, 2], dtype=pl.Float32), [0.5, 2]),
        (pl.Series([True, False]), [1, 0]),
        (pl.Series(HALVES), [1.5, 2.5]),
        (pa.array(HALVES), [1.5, 2.5]),
        (pa.chunked_array([[1], [2]]), [1, 2]),
    ],
    ids=str,
)
def test_columns_of_numbers(values: Any, expected: list[float]) -> None:
    kind = {"pandas": pd.DataFrame, "numpy": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}
    frame = kind[type(values).__module__.partition(".")[0]]({"c": values})
    net = quick(frame, [1.0, 2.0])
    assert net.input_names == ["c"]
    assert net.encode(frame).tolist() == [[value] for value in expected]


@pytest.mark.parametrize(
    ("column", "categories"),
    [
        (pd.Series(["b", "a", "b"], dtype="string[pyarrow]"), "ab"),
        (pd.Series(["b", "a", "b"], dtype=object), "ab"),
        (pd.Series(pd.Categorical(["b", "a", "b"], categories=["c", "b", "a"], ordered=True)), "ab"),
        (pd.Series(pd.Categorical([20, 3, 20])), ["20", "3"]),
        (pl.Series(["b", "a", "b"], dtype=pl.Enum(["c", "b", "a"])), "ab"),
        (pl.Series(["b", "a", "b"], dtype=pl.Categorical), "ab"),
        (pl.Series(["a\0", "a", "a "]), ["a", "a\0", "a "]),
        (pl.Series(["", "é", "e\u0301"]), ["", "e\u0301", "é"]),
        (pa.table({"c": pa.array(["b", "a", "b"]).dictionary_encode()}), "ab"),
        (pa.table({"c": pa.array(["b", "a", "b"], pa.large_string())}), "ab"),
    ],
    ids=str,
)
def test_columns_of_texts(column: Any, categories: Any) -> None:
    frame = column if isinstance(column, pa.Table) else column.rename("c").to_frame()
    net = quick(frame, [1.0, 2.0, 3.0])
    assert net.input_names == [f"c={category}" for category in categories]
    texts = [str(text) for text in (frame["c"].to_pylist() if isinstance(frame, pa.Table) else column)]
    assert net.encode(frame).tolist() == [[float(text == one) for one in categories] for text in texts]


OBJECTS = "a column of numbers, booleans or strings, got objects"
DATE = "make it a number, such as the days since a date"
TODAY = datetime.datetime(2020, 1, 1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Series([TODAY]), DATE),
        (pd.Series([TODAY.date()]), f"{OBJECTS}: date; {DATE}"),
        (pd.Series(pd.period_range("2020", periods=1, freq="D")), DATE),
        (pl.Series([TODAY]), DATE),
        (pl.Series([TODAY.time()]), DATE),
        (pl.Series([datetime.timedelta(1)]), DATE),
        (pd.Series([1, None], dtype="Int64"), "without missing values, got 1 missing, the first in row 1"),
        (
            pd.Series([True, None], dtype="boolean"),
            "without missing values, got 1 missing, the first in row 1",
        ),
        (pd.Series([None, 1.0]), "without missing values, got 1 missing, the first in row 0"),
        (pd.Series(["a", None]), "without missing values, got 1 missing, the first in row 1"),
        (pd.Series(pd.Categorical(["a", None])), "without missing values, got 1 missing, the first in row 1"),
        (
            pl.Series(["a", None], dtype=pl.Categorical),
            "without missing values, got 1 missing, the first in row 1",
        ),
        (pl.Series([1, None]), "without missing values, got 1 missing, the first in row 1"),
        (pl.Series([None]), "got Null"),
        (pl.Series([1.0, float("nan")]), "finite, got nan"),
        (pd.Series([1.0, np.inf]), "finite, got inf"),
        (pl.Series([2**63], dtype=pl.UInt64), r"exact in float64, got uint64 with integers beyond 2\*\*53"),
        (pd.Series([1, "a"], dtype=object), f"{OBJECTS}: int, str$"),
        (pd.Series([[1], [2]]), f"{OBJECTS}: list$"),
        (pd.Series([{}, set()]), f"{OBJECTS}: dict, set$"),
        (pd.Series([b"a"]), f"{OBJECTS}: bytes$"),
        (pd.Series([1j]), "got complex128"),
        (pl.Series([[1.0]]), r"got List\(Float64\)"),
        (pl.Series([{"a": 1}]), "got Struct"),
        (pl.Series([b"a"]), "got Binary"),
    ],
    ids=str,
)
def test_bad_columns_are_named(column: Any, message: str) -> None:
    frame, y = column.rename("c").to_frame(), np.arange(len(column))
    with pytest.raises(InvalidArgumentError, match=rf"^column 'c' of x must be .*{message}"):
        quick(frame, y)
    if "missing" not in message and "nan" not in message:  # of y these are unknown
        with pytest.raises(InvalidArgumentError, match=r"^(column 'c' of y|y) must be"):
            quick(y, frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "distinct columns, got .*a"),
        (pa.table([[1.0], [2.0]], names=["a", "a"]), "distinct columns, got .*a"),
        (pd.DataFrame([[1.0, 2.0]], columns=[1, "1"]), "distinct columns, got '1' twice"),
        (pl.DataFrame(), "at least one column, got one without columns"),
        (pd.DataFrame(index=[1, 2]), "at least one column, got one without columns"),
        (pl.LazyFrame({"a": [1.0]}), r"a data frame in memory, got polars.LazyFrame; call its collect\(\)"),
        (pa.record_batch({"a": [1.0]}), "a data frame in memory, got pyarrow.RecordBatch"),
    ],
)
def test_bad_frames(frame: Any, message: str, net: NN) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^x must be .*{message}"):
        quick(frame, [1.0])
    with pytest.raises(InvalidArgumentError, match=rf"^y must be .*{message}"):
        quick([1.0], frame)
    with pytest.raises(InvalidArgumentError, match=r"^x must be"):
        net.predict(frame)


@all_libraries
def test_one_row_and_none(library: str, net: NN) -> None:
    row, none = (
        LIBRARIES[library]({name: values[3 : 3 + n] for name, values in COLUMNS.items()}) for n in (1, 0)
    )
    assert net.predict(row) == net.predict(ENCODED[3:4])
    for call in (net.predict, net.get_output, net):
        with pytest.raises(InvalidArgumentError):
            call(none)
    with pytest.raises(InvalidArgumentError, match="must be a batch of at least one sample"):
        quick(none, [])


def test_a_category_that_was_not_in_the_fit(tmp_path: Path) -> None:
    frame = of("pandas", ["size", "colour"])
    strange = frame.assign(colour=["red", "pink"] * 6)
    message = "column 'colour' of x must be of the categories .* 'blue', 'green', 'red', got 'pink' in row 1"
    with pytest.raises(InvalidArgumentError, match=message):
        quick(frame).predict(strange)
    with pytest.raises(InvalidArgumentError, match=rf"^validation {message}"):
        quick(frame, validation=(strange, Y))
    lenient = quick(frame, handle_unknown="ignore")
    save(lenient, tmp_path / "net.npz")
    for net in (lenient, load(tmp_path / "net.npz"), copy.deepcopy(lenient), quick(frame, start=lenient)):
        assert net.encode(strange)[:2, 1:].tolist() == [[0, 0, 1], [0, 0, 0]]
        assert np.isfinite(net.predict(strange)).all()
    with pytest.raises(InvalidArgumentError, match="handle_unknown must be one of error, ignore, got 'skip'"):
        quick(frame, handle_unknown="skip")


def test_texts_and_numbers_are_not_mixed_up(net: NN) -> None:
    frame = of("polars")
    with pytest.raises(
        InvalidArgumentError, match="'colour' of x must be of strings, as in the fit, got Int64"
    ):
        net.predict(frame.with_columns(colour=pl.lit(1, pl.Int64)))
    with pytest.raises(
        InvalidArgumentError, match=r"'size' of x must be a column of numbers or booleans, as .* got strings"
    ):
        net.predict(frame.with_columns(size=pl.lit("a")))
    bare = quick(ENCODED[:, :3])
    assert np.array_equal(
        bare.predict(of("pandas", ["count", "size", "is_new"])[["size", "count", "is_new"]]),
        bare.predict(ENCODED[:, :3]),
    )
    with pytest.raises(
        InvalidArgumentError, match=r"a data frame of numbers, because the network .* got colour=blue"
    ):
        bare.predict(of("pandas", ["colour"]))


def test_huge_columns_of_texts() -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"'c' of x must be .* at most 1000 categories, got 1000000"
    ):
        quick(pl.DataFrame({"c": np.arange(10**6).astype(str)}), np.zeros(10**6))
    frame = pd.DataFrame({"c": ["a" * 10**5] + ["b"] * 10_000})  # 4 GB if all were as long
    tracemalloc.start()
    net = quick(frame, np.arange(10_001))
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()
    assert net.in_features == 2


# --- one column, targets, shapes ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [pd.Series, lambda values, name: pl.Series(name, values)])
def test_a_column_is_a_frame_of_one(kind: Callable[..., Any]) -> None:
    x, y = kind(Y, name="a"), kind(Y + 1, name="target")
    net = quick(x, y)
    assert (net.input_names, net.output_names) == (["a"], ["target"])
    expected = net.predict(Y)
    assert expected.shape == (N,)
    for same in (x, x.to_frame(), kind(Y, name=""), pd.Series(Y), pa.chunked_array([Y]), Y[:, None]):
        assert np.array_equal(net.predict(same), expected)
    with pytest.raises(InvalidArgumentError, match="without 'a' and with the unknown 'b'"):
        net.predict(kind(Y, name="b"))
    unnamed = quick(kind(Y, name=None), kind(Y, name=None))
    assert (unnamed.input_names, unnamed.output_names) == (["x0"], ["y0"])
    assert np.array_equal(unnamed.predict(pd.DataFrame({"": Y})), unnamed.predict(Y))


@all_libraries
def test_predictions_have_the_shape_and_names_of_y(library: str, tmp_path: Path) -> None:
    frame = of(library)
    two = np.column_stack([Y, -Y])
    for y, shape, names in (
        (Y, (N,), ["y0"]),
        (Y.tolist(), (N,), ["y0"]),
        (Y[:, None], (N, 1), ["y0"]),
        (two, (N, 2), ["y0", "y1"]),
        (of(library, ["a"], a=Y), (N, 1), ["a"]),
        (of(library, ["b", "a"], a=Y, b=Y), (N, 2), ["b", "a"]),
    ):
        net = quick(frame, y)
        save(net, tmp_path / "net.npz")
        for twin in (net, load(tmp_path / "net.npz"), copy.copy(net), quick(frame, y, start=net)):
            assert twin.predict(frame).shape == twin(frame).shape == shape
            assert twin.get_output(frame).shape == (N, len(names))
            assert twin.output_names == names


def test_x_of_one_dimension_is_one_feature() -> None:
    net = quick(Y, Y)
    assert net.in_features == 1
    assert np.array_equal(net.predict(Y), net.predict(Y[:, None]))
    with pytest.raises(InvalidArgumentError, match=r"x must be of shape \(n_samples, 6\), .* x\[None, :\]$"):
        quick(ENCODED).predict(ENCODED[0])


def test_a_file_of_version_1_predicts_columns(tmp_path: Path) -> None:
    net = quick(ENCODED[:, :2])
    names = {"inputs": ["a", "b"], "outputs": ["c"]}
    assert net.standardization is not None
    arrays = {"parameters": net.parameters, **net.standardization._asdict()}
    for given, inputs, outputs in ((names, ["a", "b"], ["c"]), ({}, ["x0", "x1"], ["y0"])):
        header = {**net.spec.values(), "names": given}
        write_archive(tmp_path / "old.npz", "network", 1, header, arrays)
        old = load(tmp_path / "old.npz")
        assert (old.input_names, old.output_names, old.classes) == (inputs, outputs, None)
        assert np.array_equal(old.predict(ENCODED[:, :2]), net.predict(ENCODED[:, :2])[:, None])
    write_archive(
        tmp_path / "old.npz", "network", 1, {**net.spec.values(), "names": {"inputs": ["a"]}}, arrays
    )
    with pytest.raises(FileFormatError):
        load(tmp_path / "old.npz")


def test_names_given_to_save(tmp_path: Path, net: NN) -> None:
    save(net, tmp_path / "net.npz", names={"inputs": NAMES, "outputs": ["height"]})
    assert load(tmp_path / "net.npz").output_names == ["height"]
    with pytest.raises(InvalidArgumentError, match="those of the fit, which has columns of strings"):
        save(net, tmp_path / "net.npz", names={"inputs": list("abcdef")})
    save(quick(of("polars", ["size", "count"])), tmp_path / "net.npz", names={"inputs": ["a", "b"]})
    renamed = load(tmp_path / "net.npz")
    assert renamed.predict(pd.DataFrame({"b": Y, "a": Y})).shape == (N,)


# --- what else takes frames ---------------------------------------------------------------------


def test_validation_and_start_take_frames() -> None:
    other = of("pandas", list(COLUMNS)[::-1])
    nets = [
        quick(x, Y, validation=(v, pd.Series(Y, index=range(N, 0, -1)), np.ones(N)), patience=3)
        for x, v in ((of("polars"), other), (ENCODED, ENCODED), (of("pyarrow"), ENCODED))
    ]
    for net in nets[1:]:
        assert np.array_equal(net.parameters, nets[0].parameters)
    further = [quick(x, Y, start=nets[0]) for x in (other, of("pyarrow"), ENCODED)]
    for net in further:
        assert net.input_names == NAMES
        assert np.array_equal(net.parameters, further[0].parameters)
    with pytest.raises(InvalidArgumentError, match=r"^validation x must be .* without 'colour'$"):
        quick(of("polars"), validation=(of("polars", ["size", "count", "is_new"]), Y))
    with pytest.raises(InvalidArgumentError, match=r"^x must be .* without 'colour'$"):
        quick(of("polars", ["size", "count", "is_new"]), start=nets[0])


@pytest.mark.parametrize("names", [["colour", "size"], ["size", "is_new"]])
def test_objectives_and_diagnoses_check_the_columns(names: list[str]) -> None:
    net = quick(of("polars", ["size", "colour"]))
    frame = of("pandas", names)
    calls: list[Callable[[Any], Any]] = [
        lambda x: Objective(net, x, Y).loss_and_gradient(net.parameters)[0],
        lambda x: check_gradients(net, x, Y).error,
        lambda x: diagnose(net, x, Y).layers[0].gradient_rms,
    ]
    for call in calls:
        if "colour" in names:
            assert call(frame) == call(ENCODED[:, [0, 3, 4, 5]])
        else:
            with pytest.raises(InvalidArgumentError, match="without 'colour' and with the unknown 'is_new'"):
                call(frame)


EVIL = ["$\\frac{$", "a\nb<script>", "W" * 5000, "%s {} \\", "$x$"]


def test_names_are_data_in_pictures_and_html() -> None:
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(N, len(EVIL))), columns=EVIL)
    for width in (1, 2, len(EVIL)):
        x, y = frame.iloc[:, :width], frame.iloc[:, :1].rename(columns=lambda name: name + "$y_{$")
        net = quick(x, y)
        figure: Any = plot_fit(net, x, y)
        figure.canvas.draw()
        labels = [label for axes in figure.axes for label in (axes.get_xlabel(), axes.get_ylabel())]
        assert max(map(len, labels)) < 60
        assert any(r"\$\frac{\$" in label for label in labels)
        assert not any("\n" in label for label in labels)
        if width > 1:
            surface: Any = plot_surface(net, n_points=3)
            surface.canvas.draw()
        assert "<script" not in net._repr_html_()


# --- files are not believed ---------------------------------------------------------------------

NESTED: Any = []
for _ in range(300):
    NESTED = [NESTED]
JUNK = [
    *(
        None,
        True,
        0,
        -1,
        2.5,
        10**400,
        float("nan"),
        float("inf"),
        "",
        "a",
        "uv",
        "\ud800",
        [],
        {},
        [[]],
        [None],
    ),
    *(
        [float("nan"), 1.0],
        [float("nan")] * 2,
        ["p", "p"],
        ["q", "p"],
        ["p", 1],
        [1, 1.0],
        [[1], [2]],
        {"u": 1},
    ),
    *([["a", None]] * 3, [["a", "uv"]], [["a", ["u", "u"]]], [["a", {"u": 1, "v": 2}]], [2**60, 2**61]),
    *(list(range(10_000)), "x" * 10_000, [{}, {}], [0.5, 1.5], "multilabel", "regression", NESTED),
]


def written(net: NN, schema: Any, folder: Path) -> Path:
    """A file of a network with this schema."""
    values, arrays = {**net.spec.values(), "schema": schema}, {"parameters": net.parameters}
    write_archive(folder / "net.npz", "network", 2, values, arrays)
    return folder / "net.npz"


def places(values: Any, place: tuple[Any, ...] = ()) -> Any:
    """The place of every value in nested lists and dicts."""
    yield place
    pairs = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in pairs:
        yield from places(value, (*place, key))


def replaced(values: Any, place: tuple[Any, ...], junk: Any) -> Any:
    if not place:
        return junk
    values = copy.copy(values)
    values[place[0]] = replaced(values[place[0]], place[1:], junk)
    return values


@pytest.mark.parametrize("y", [Y, COLUMNS["colour"], Y[:, None] > [2, 5]], ids=["numbers", "classes", "many"])
def test_the_schema_of_a_file_is_not_believed(y: Any, tmp_path: Path) -> None:
    net = quick(of("polars"), y)
    right = net.schema.values()
    cases = [(place, junk) for place in places(right) for junk in JUNK]
    refused = 0
    for place, junk in random.Random(3).sample(cases, 250):
        schema = replaced(right, place, junk)
        try:
            twin = load(written(net, schema, tmp_path))
        except FileFormatError:
            refused += 1
            continue
        assert twin.schema.values() == schema  # nothing was read as something else
        assert twin.predict(ENCODED).shape[0] == N
        twin._repr_html_()
    assert refused > 200


FIVE = [[name, None] for name in "bcdef"]


@pytest.mark.parametrize(
    "columns",
    [
        [["a", "u"], *FIVE],
        [["a", {"u": 1}], *FIVE],
        [["a", [1]], *FIVE],
        [["a", []], ["g", None], *FIVE],
        [["a", ["u", "u"]], *FIVE[1:]],
        ["uv", *FIVE],
        [[1, None], *FIVE],
        [FIVE[0], *FIVE],
        FIVE,
        [],
        None,
    ],
    ids=str,
)
def test_wrong_columns_of_a_file(columns: Any, net: NN, tmp_path: Path) -> None:
    right = {"columns": [["a", None], *FIVE], "handle_unknown": "error"}
    schema = net.schema.values()
    load(written(net, schema | {"columns": right}, tmp_path))
    for wrong in ({**right, "columns": columns}, {**right, "handle_unknown": "pickle"}, columns or []):
        with pytest.raises(FileFormatError, match="is not a saved network"):
            load(written(net, schema | {"columns": wrong}, tmp_path))


NUMBERS: list[dict[str, Any]] = [
    *(
        {"task": "classification"},
        {"task": "multilabel"},
        {"task": "x"},
        {"task": None},
        {"task": ["regression"]},
    ),
    *({"is_flat": 1}, {"is_flat": None}, {"is_flat": "yes"}, {"classes": ["a", "b"]}),
    *({"output_names": names} for names in (["a", "b"], "a", [""], [], [1], [["a"]], {"a": 1})),
]
WRONG_LABELS: list[Any] = [
    *(["b", "a", "c"], ["a", "b"], ["a", "a", "b"], ["a", "b", 1], "abc", None, [None] * 3, [{}, {}, {}]),
    *(
        [float("nan"), 1.0, 2.0],
        [0.5, 1.5, 2.5],
        [[1, 2, 3]],
        [2**60, 2**61, 2**62],
        [10**30, 10**31, 10**32],
    ),
]
CLASSES: list[dict[str, Any]] = [
    *({"task": "regression"}, {"is_flat": True}, {"output_names": ["a", "a", "b"]}),
    *({"classes": labels} for labels in WRONG_LABELS),
]


@pytest.mark.parametrize(
    ("y", "wrong"), [(Y, NUMBERS), (COLUMNS["colour"], CLASSES)], ids=["numbers", "classes"]
)
def test_wrong_parts_of_a_schema(y: Any, wrong: list[dict[str, Any]], tmp_path: Path) -> None:
    net = quick(ENCODED, y)
    load(written(net, net.schema.values(), tmp_path))
    for part in wrong:
        with pytest.raises(FileFormatError, match="is not a saved network"):
            load(written(net, net.schema.values() | part, tmp_path))
    for key in net.schema.values():
        schema = {other: value for other, value in net.schema.values().items() if other != key}
        with pytest.raises(FileFormatError, match=key):
            load(written(net, schema, tmp_path))


# --- narwhals is optional -----------------------------------------------------------------------


def test_without_narwhals_a_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch, net: NN) -> None:
    monkeypatch.setitem(sys.modules, "narwhals.stable.v2", None)
    monkeypatch.setitem(sys.modules, "narwhals", None)
    for call in (
        lambda: quick(of("polars")),
        lambda: quick(Y, pd.Series(Y)),
        lambda: net.predict(of("pandas")),
    ):
        with pytest.raises(
            ImportError, match=r'data frames need narwhals: pip install "crabnet-jit\[frames\]"'
        ):
            call()
    assert net.predict(ENCODED).shape == (N,)


def test_arrays_import_no_data_frames() -> None:
    code = """
import sys
import crabnet_jit
assert not {"narwhals", "pandas"} & set(sys.modules)
net = crabnet_jit.fit([0.0, 1.0, 2.0], ["a", "b", "a"], n_iterations=3)
net.predict_proba([1.0]), crabnet_jit.score(net, [0.0, 1.0], ["a", "b"]), net._repr_html_()
assert not {"narwhals", "pandas", "polars", "pyarrow"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_column_that_is_called_like_a_category() -> None:
    frame = pd.DataFrame({"t": ["u", "v"] * 5, "t=u": range(10)})
    with pytest.raises(InvalidArgumentError, match="'t=u', which is a column and a category of another"):
        fit(frame, np.arange(10.0), n_iterations=1)
