"""Missing values in `fit` and on the command line, texts as inputs and as classes."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from test_tables import ROUNDED

from crabnet_jit import NN, InvalidArgumentError, fit, load, save, score
from crabnet_jit.cli.main import main
from crabnet_jit.network.schema import Schema

QUICK: dict[str, Any] = {"hidden_sizes": (6,), "n_iterations": 200}
FAST = ["--hidden", "6", "--iterations", "200"]
RNG = np.random.default_rng(0)
N = 120
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(40, 10, N),
        "kind": RNG.choice(["a", "b", "c"], N),
        "is_new": RNG.random(N) < 0.5,
    }
)
Y = FRAME["age"] / 10 + (FRAME["kind"] == "a")
SPECIES = np.where(Y > 4.3, "big", "small")


def with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    gaps = frame.copy()
    gaps.loc[[3, 17], "age"] = np.nan
    gaps.loc[[5, 17], "kind"] = None
    return gaps


GAPS = with_gaps(FRAME)
COMPLETE = np.setdiff1d(np.arange(N), [3, 5, 17])


def same(one: NN, other: NN) -> bool:
    return (
        one.parameters.tobytes() == other.parameters.tobytes()
        and str(one.standardization) == str(other.standardization)
        and one.schema.values() == other.schema.values()
    )


# ---- in Python ----


def test_missing_values_are_an_error_unless_asked_for() -> None:
    with pytest.raises(
        InvalidArgumentError, match="column 'age' of x must be a column without missing values"
    ):
        fit(GAPS, Y, **QUICK)
    with pytest.raises(InvalidArgumentError, match="x must be finite, got nan at index"):
        fit(GAPS[["age"]].to_numpy(), Y, **QUICK)
    with pytest.raises(InvalidArgumentError, match="missing must be one of error, drop, mean, got 'median'"):
        fit(GAPS, Y, missing="median", **QUICK)


def test_drop_is_the_fit_without_those_samples() -> None:
    weights = RNG.uniform(0.5, 2, N)
    y = Y.copy()
    y[9] = np.nan
    rows = np.setdiff1d(COMPLETE, [9])
    dropped = fit(GAPS, y, missing="drop", sample_weight=weights, validation=0.25, **QUICK)
    whole = fit(
        FRAME.iloc[rows].reset_index(drop=True),
        Y[rows].reset_index(drop=True),
        sample_weight=weights[rows] / weights.mean() * 1.0,
        validation=0.25,
        **QUICK,
    )
    assert np.allclose(dropped.parameters, whole.parameters, rtol=1e-9)
    assert dropped.fit_history is not None
    both = [*dropped.fit_history.training_rows, *dropped.fit_history.validation_rows]
    assert sorted(both) == rows.tolist()
    with pytest.raises(InvalidArgumentError, match="without missing values"):
        dropped.predict(GAPS)


def test_mean_is_that_of_the_samples_trained_on(tmp_path: Path) -> None:
    weights = RNG.uniform(0.5, 2, N)
    weights[40:50] = 0.0
    net = fit(GAPS, Y, missing="mean", sample_weight=weights, validation=0.25, **QUICK)
    assert net.fit_history is not None
    assert net.schema.means is not None
    rows = np.setdiff1d(net.fit_history.training_rows, [3, 5, 17])
    age_rows = np.union1d(rows, np.intersect1d(net.fit_history.training_rows, [5]))
    mean = np.average(FRAME["age"].to_numpy()[age_rows], weights=weights[age_rows])
    assert net.schema.means[0] == pytest.approx(mean, rel=1e-12)
    assert sum(net.schema.means[1:4]) == pytest.approx(1, rel=1e-12)
    by_hand = FRAME.copy()
    by_hand.loc[3, "age"] = net.schema.means[0]
    assert net.predict(GAPS.iloc[[3]]) == net.predict(by_hand.iloc[[3]])
    assert np.array_equal(net.predict(GAPS.iloc[COMPLETE]), net.predict(FRAME.iloc[COMPLETE]))
    save(net, tmp_path / "net.npz")
    assert same(load(tmp_path / "net.npz"), net)
    assert np.array_equal(load(tmp_path / "net.npz").predict(GAPS), net.predict(GAPS))
    again = fit(GAPS, Y, start=net, **QUICK)
    assert again.schema.means == net.schema.means


@pytest.mark.parametrize("kind", ["array", "pandas", "polars", "nullable"])
def test_all_kinds_of_gaps_mean_the_same(kind: str) -> None:
    x = GAPS[["age"]].assign(b=FRAME["age"] % 7)
    given: Any = {
        "array": x.to_numpy(),
        "pandas": x,
        "polars": pl.from_pandas(x),
        "nullable": x.convert_dtypes(),
    }[kind]
    net, expected = (fit(data, Y, missing="mean", **QUICK) for data in (given, x))
    assert net.parameters.tobytes() == expected.parameters.tobytes()
    assert np.array_equal(net.predict(given), expected.predict(x))


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_samples_without_a_label_are_left_out(gap: Any) -> None:
    labels = SPECIES.astype(object)
    labels[7] = gap
    rows = np.setdiff1d(np.arange(N), [7])
    for y in (labels, pd.Series(labels)) if gap is not pd.NA else (pd.Series(labels),):
        net = fit(FRAME, y, missing="mean", **QUICK)
        whole = fit(FRAME.iloc[rows], SPECIES[rows], missing="mean", **QUICK)
        assert net.parameters.tobytes() == whole.parameters.tobytes()


def test_what_cannot_be_filled_is_said() -> None:
    nothing = np.full((5, 1), np.nan)
    with pytest.raises(InvalidArgumentError, match="got no known target"):
        fit(np.ones((5, 1)), nothing, missing="mean", **QUICK)
    with pytest.raises(InvalidArgumentError, match="got missing values in every sample"):
        fit(nothing, np.ones(5), missing="drop", **QUICK)
    with pytest.raises(InvalidArgumentError, match=r"x must be known for each input .* got none for 'x0'"):
        fit(nothing, np.ones(5), missing="mean", **QUICK)
    with pytest.raises(InvalidArgumentError, match="x must be finite, got inf"):
        fit([[np.inf], [np.nan]], [0.0, 1.0], missing="mean", **QUICK)


@pytest.mark.parametrize(
    "change",
    [{"means": [1.0]}, {"means": "text"}, {"means": [np.nan] * 5}, {"missing": "no"}, {"label_name": 3}],
)
def test_files_with_other_means_are_refused(change: dict[str, Any]) -> None:
    net = fit(GAPS, Y, missing="mean", **QUICK)
    with pytest.raises((ValueError, TypeError)):
        Schema.from_values({**net.schema.values(), **change}).check(net.in_features, 1)


# ---- on the command line ----


@pytest.fixture
def run(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code: Any = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


def written(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """The file data.csv, as pandas reads it."""
    frame.assign(**columns).to_csv("data.csv", index=False)
    return pd.read_csv("data.csv", **ROUNDED)


INPUTS = ["--inputs", "age,kind,is_new"]


@pytest.mark.parametrize("missing", ["drop", "mean"])
@pytest.mark.parametrize("task", ["regression", "classification", "integers"])
@pytest.mark.parametrize("validation", [None, 0.25])
def test_the_network_is_that_of_fit(task: str, missing: str, validation: float | None, run: Any) -> None:
    y = {"regression": Y, "classification": SPECIES, "integers": (Y > 4).astype(int) + (Y > 5)}[task]
    frame = written(GAPS, y=y, w=RNG.uniform(0.5, 2, N))
    frame.loc[11, "y"] = None if task == "classification" else np.nan
    frame.to_csv("data.csv", index=False)
    options = ["--missing", missing, "--weights", "w", "--save", "net.npz"]
    options += [] if validation is None else ["--validation", str(validation)]
    options += ["--task", "classification"] if task == "integers" else []
    code, out, err = run("fit", "data.csv", *INPUTS, "--outputs", "y", *FAST, *options)
    assert (code, out) == (0, ""), err
    target = frame["y"].astype("Int64") if task == "integers" else frame["y"]
    expected = fit(
        frame[["age", "kind", "is_new"]],
        target,
        loss="cross_entropy" if task == "integers" else "auto",
        missing=missing,
        sample_weight=frame["w"],
        validation=validation,
        **QUICK,
    )
    assert same(load("net.npz"), expected)
    done = f"3 of {N} rows are left out" if missing == "drop" else "inputs are replaced by their mean"
    assert f"missing values: 'age' 2, 'kind' 2; {done}\n" in err
    assert f"unknown outputs: 'y' 1; 1 of {N} rows are left out\n" in err
    if task == "classification":
        assert "task: classification of 'y', 2 classes: big, small" in err


def test_defaults_are_those_of_fit(run: Any) -> None:
    frame = written(FRAME[["age"]], y=Y)
    assert (
        run("fit", "data.csv", "--inputs", "age", "--outputs", "y", "--iterations", "150", "--save", "n.npz")[
            0
        ]
        == 0
    )
    assert same(load("n.npz"), fit(frame[["age"]], frame["y"], n_iterations=150))


@pytest.mark.parametrize("missing", ["drop", "mean"])
def test_every_row_has_a_row_in_the_output(missing: str, run: Any) -> None:
    written(GAPS, y=SPECIES)
    assert (
        run("fit", "data.csv", *INPUTS, "--outputs", "y", *FAST, "--missing", missing, "--save", "net.npz")[0]
        == 0
    )
    code, out, err = run("predict", "net.npz", "data.csv", "--probabilities")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == N
    empty = [k for k, row in enumerate(rows) if row["y_predicted"] == ""]
    assert empty == ([3, 5, 17] if missing == "drop" else [])
    assert ("3 of 120 rows have missing values" in err) == (missing == "drop")
    net = load("net.npz")
    rest = np.setdiff1d(np.arange(N), empty)
    assert [rows[k]["y_predicted"] for k in rest] == net.predict(GAPS.iloc[rest]).tolist()
    probabilities = [[float(rows[k][f"y={name}"]) for name in ("big", "small")] for k in rest]
    assert np.array_equal(probabilities, net.predict_proba(GAPS.iloc[rest]))
    assert [row["kind"] for row in rows] == [("" if k in (5, 17) else v) for k, v in enumerate(FRAME["kind"])]


def test_a_decimal_comma_and_words_for_missing_values(run: Any) -> None:
    lines = ["größe;art;y"]
    for k in range(60):
        size = "k.A." if k == 4 else f"{k / 7:.3f}".replace(".", ",")
        lines.append(f"{size};{'rot' if k % 2 else 'blau'};{str(k * 0.5).replace('.', ',')}")
    Path("tabelle.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--decimal", ",", "--na-values", "k.A."]
    code, _, err = run(
        "fit", "tabelle.csv", "--inputs", "größe,art", "--outputs", "y", *FAST, *options, "--missing", "mean",
        "--save", "net.npz",
    )  # fmt: skip
    assert code == 0, err
    code, out, _ = run("predict", "net.npz", "tabelle.csv", *options)
    assert code == 0
    rows = [line.split(";") for line in out.splitlines()]
    assert rows[0] == ["größe", "art", "y", "y_predicted"]
    assert rows[5][0] == "k.A."
    predicted = np.array([row[3].replace(",", ".") for row in rows[1:]], float)
    assert np.corrcoef(predicted, np.arange(60))[0, 1] > 0.9


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ("gap", [], "line 5, column 'age': the value is missing, as in other cells ('age' 2, 'kind' 2)"),
        ("one", ["--missing", "drop"], "column 'y': must have two classes or more, but has only 'x'"),
        ("names", ["--missing", "drop"], "column 'y': must have fewer classes than rows, but has a"),
        ("none", ["--missing", "drop"], "data.csv: must have rows without missing values, but has none"),
        ("none", ["--missing", "mean"], "data.csv"),
        ("gap", ["--missing", "median"], "--missing must be one of error, drop, mean, got 'median'"),
        ("gap", ["--task", "regresion", "--missing", "drop"], "--task must be one of auto, regression"),
        ("one", ["--task", "regression", "--missing", "drop"], "y must be numbers"),
        ("gap", ["--task", "classification", "--loss", "mse", "--missing", "drop"], "--loss must be auto"),
    ],
)  # fmt: skip
def test_bad_tables_are_named(y: str, options: list[str], message: str, run: Any) -> None:
    columns = {"gap": Y, "one": ["x"] * N, "names": [f"n{k}" for k in range(N)], "none": [None] * N}
    written(GAPS, y=columns[y])
    code, out, err = run("fit", "data.csv", *INPUTS, "--outputs", "y", *FAST, *options, "--save", "net.npz")
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not Path("net.npz").exists()


def test_tables_that_do_not_fit_the_network(run: Any) -> None:
    written(GAPS, y=Y)
    assert (
        run("fit", "data.csv", *INPUTS, "--outputs", "y", *FAST, "--missing", "mean", "--save", "net.npz")[0]
        == 0
    )
    Path("other.csv").write_text("age,kind\n1,a\n")
    assert "must be one of age, kind" in run("predict", "net.npz", "other.csv")[2]
    Path("other.csv").write_text("age,kind,is_new\n1,z,True\n")
    assert (
        "column 'kind' of other.csv must be of the categories of the fit"
        in run("predict", "net.npz", "other.csv")[2]
    )
    Path("other.csv").write_text("age,kind,is_new\nold,a,True\n")
    assert (
        "other.csv, line 2, column 'age': must be a finite number, got 'old'"
        in run("predict", "net.npz", "other.csv")[2]
    )
    assert (
        "--probabilities must be used for a network with classes"
        in run("predict", "net.npz", "data.csv", "--probabilities")[2]
    )


def test_scores_of_the_command_line_are_those_of_score(run: Any) -> None:
    frame = written(GAPS, y=SPECIES)
    code, _, err = run(
        "fit", "data.csv", *INPUTS, "--outputs", "y", *FAST, "--missing", "mean", "--save", "net.npz"
    )
    assert code == 0
    found = score(load("net.npz"), frame[["age", "kind", "is_new"]], frame["y"])
    assert f"training, {N} rows: accuracy {found.accuracy:.6f}" in err


# ---- columns are read as the network knows them ----


def test_one_row_is_read_as_the_network_knows_its_columns(run: Any) -> None:
    """Sizes that look like numbers, booleans or dates alone; and gaps without a row that says their type."""
    kinds = ["XS", "S", "38", "true", "2024-01-01"]
    pd.DataFrame({"n": np.arange(40.0), "kind": kinds * 8, "y": np.arange(40.0)}).to_csv(
        "data.csv", index=False
    )
    assert (
        run(
            "fit", "data.csv", "--inputs", "n,kind", "--outputs", "y", *FAST, "--missing=mean", "--save=m.npz"
        )[0]
        == 0
    )
    net = load("m.npz")
    for row in ["3,38", "3,true", "3,2024-01-01", "3,", ",XS", ","]:
        Path("one.csv").write_text(f"n,kind\n{row}\n")
        code, out, err = run("predict", "m.npz", "one.csv")
        assert (code, err) == (0, "")
        cells = [cell or None for cell in row.split(",")]
        frame = pd.DataFrame({"n": [cells[0]], "kind": [cells[1]]}).astype({"n": float})
        assert float(out.splitlines()[1].split(",")[-1]) == net.predict(frame)[0]


def test_integers_that_are_not_exact_are_no_classes(run: Any) -> None:
    written(pd.DataFrame({"x": np.arange(40), "y": 2**53 + np.arange(40) % 4}))
    code, _, err = run("fit", "data.csv", "--inputs=x", "--outputs=y", "--task=classification", *FAST)
    assert code == 2
    assert "integers of 2**53 or more, which are not exact" in err


def test_pictures_of_data_with_texts_classes_and_gaps(run: Any) -> None:
    written(GAPS, y=SPECIES, z=Y)
    for output in ("y", "z"):
        for missing in ("mean", "drop"):
            options = [*INPUTS, "--outputs", output, *FAST, "--missing", missing, "--save", "m.npz"]
            assert run("fit", "data.csv", *options)[0] == 0
            code, _, err = run("plot", "m.npz", f"{output}-{missing}.png", "--data", "data.csv")
            assert (code, err) == (0, "")
            assert Path(f"{output}-{missing}.png").stat().st_size > 5000


@pytest.mark.parametrize("name", ["a.gz", "a.parquet", "a.XLSX"])
def test_predictions_are_text(name: str, run: Any) -> None:
    written(FRAME[["age"]], y=Y)
    assert run("fit", "data.csv", "--inputs=age", "--outputs=y", *FAST, "--save=m.npz")[0] == 0
    code, _, err = run("predict", "m.npz", "data.csv", "--output", name)
    assert code == 2
    assert "--output must be a text file, such as .csv" in err


def test_names_with_commas_stand_in_quotes(run: Any) -> None:
    pd.DataFrame({"a,b": np.arange(40.0), "y": np.arange(40.0)}).to_csv("data.csv", index=False)
    assert run("fit", "data.csv", "--inputs", '"a,b"', "--outputs", "y", *FAST, "--save", "m.npz")[0] == 0
    assert load("m.npz").input_names == ["a,b"]


def test_lists_that_no_network_takes_are_written_back(run: Any) -> None:
    pl.DataFrame({"x": [0.0, 1.0], "l": [[1, 2], None]}).write_parquet("data.parquet")
    save(NN(1, [], 1, init=[2.0, 0.0]), "m.npz", {"inputs": ["x"]})
    code, out, _ = run("predict", "m.npz", "data.parquet")
    assert code == 0
    assert out.splitlines()[1:] == ['0.0,"[1, 2]",0.0', "1.0,,2.0"]


# ---- what pandas makes of gaps ----


def test_booleans_with_gaps() -> None:
    x = pd.DataFrame({"b": np.array([True, None, False, True] * 10, object), "n": np.arange(40.0)})
    net = fit(x, x["n"], missing="mean", **QUICK)
    same_values = fit(x.astype({"b": "boolean"}), x["n"], missing="mean", **QUICK)
    assert net.parameters.tobytes() == same_values.parameters.tobytes()
    assert net.schema.means is not None
    assert net.schema.means[0] == pytest.approx(2 / 3)


def test_columns_without_values() -> None:
    nothing = pd.DataFrame({"x": [None] * 30, "z": range(30)})
    with pytest.raises(InvalidArgumentError, match=r"column 'x' of x must be .* got"):
        fit(nothing, np.arange(30.0), missing="mean", **QUICK)
    net = fit(GAPS, Y, missing="mean", **QUICK)
    row = pd.DataFrame({"age": [None], "kind": [None], "is_new": [True]})
    assert np.isfinite(net.predict(row)).all()
    assert np.array_equal(net.predict(pl.from_pandas(row)), net.predict(row))


def test_samples_without_a_weight_are_left_out() -> None:
    weights = RNG.uniform(0.5, 2, N)
    gaps = weights.copy()
    gaps[[2, 8]] = np.nan
    rows = np.setdiff1d(np.arange(N), [2, 8])
    net = fit(FRAME, Y, missing="drop", sample_weight=pd.Series(gaps), **QUICK)
    whole = fit(FRAME.iloc[rows], Y[rows], missing="drop", sample_weight=weights[rows], **QUICK)
    assert net.parameters.tobytes() == whole.parameters.tobytes()
    with pytest.raises(InvalidArgumentError, match="sample_weight must be finite"):
        fit(FRAME, Y, sample_weight=gaps, **QUICK)


def test_a_validation_set_with_gaps() -> None:
    net = fit(GAPS, Y, missing="mean", validation=(GAPS, Y), **QUICK)
    assert net.fit_history is not None
    assert np.isfinite(net.fit_history.validation_losses).all()
    with pytest.raises(InvalidArgumentError, match="validation column 'age' of x must be"):
        fit(FRAME, Y, validation=(GAPS, Y), **QUICK)
