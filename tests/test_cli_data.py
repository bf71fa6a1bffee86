"""`crabnet-jit fit` and `predict` on CSV files."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crabnet_jit import NN, load, save, score
from crabnet_jit.cli.main import main
from crabnet_jit.cli.tables import inputs_for, read_table
from crabnet_jit.training import team, threads

FAST = ["--iterations", "300", "--hidden", "8", "--learning-rate", "0.02", "--validation", "0.2"]


class Run:
    """The command line in a folder of its own: exit code, standard output and error."""

    def __init__(self, folder: Path, capsys: Any) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        try:
            code: Any = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
        out, err = self._capsys.readouterr()
        return code, out, err

    def train(self, file: str, *arguments: str) -> tuple[int, str, str]:
        return self("fit", file, "--inputs", "x,y", "--outputs", "z", *FAST, *arguments)

    def write(self, name: str, content: str | bytes) -> str:
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)
        return name

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture
def run(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path, capsys)


def points(n: int = 60, delimiter: str = ",", end: str = "\n") -> str:
    rng = np.random.default_rng(1)
    lines = [delimiter.join(["x", "y", "z"])]
    for x, y in rng.uniform(-1, 1, (n, 2)):
        lines.append(delimiter.join([repr(float(x)), repr(float(y)), repr(float(100 + 7 * x - y))]))
    return end.join(lines) + end


def assert_error(result: tuple[int, str, str], code: int, *messages: str) -> None:
    """One line on standard error, nothing on standard output, and no traceback."""
    assert (result[0], result[1]) == (code, "")
    assert result[2].count("\n") == 1
    assert result[2].endswith("\n")
    assert re.match(r"crabnet-jit( fit| predict)?: error: .", result[2])
    for message in messages:
        assert message in result[2]


def model(run: Run, n_inputs: int = 2) -> str:
    """A file with a network that predicts 2 x + y + 0.5, or the like."""
    weights = [2.0, 1.0, 1.0, 1.0][:n_inputs]
    names = {"inputs": ["x", "y", "u", "v"][:n_inputs], "outputs": ["z"]}
    save(NN(n_inputs, [], 1, init=[*weights, 0.5]), run.folder / "model.npz", names)
    return "model.npz"


# ---- as the README has it ----


def test_the_readmes_example(run: Run) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, (500, 2))
    z = 1000 + 50 * np.sin(x[:, 0]) + x[:, 1] ** 2 + rng.normal(size=500)
    table = "".join(f"{a!r},{b!r},{c!r}\n" for a, b, c in np.column_stack([x, z]).tolist())
    run.write("points.csv", "x,y,z\n" + table)
    arguments = "points.csv --inputs x,y --outputs z --hidden 32,32 --activation tanh --save model.npz"
    code, out, err = run("fit", *arguments.split(), "--validation", "0.2")
    assert (code, out) == (0, "")
    first, *lines = err.splitlines()
    assert first == "task: regression of 'z'"
    for k, line in enumerate(lines[:10], 1):
        assert re.fullmatch(rf"{2000 * k} of 20000 iterations: loss \S+, validation loss \S+", line)
    assert re.fullmatch(r"20000 iterations, \S+ s, including compilation", lines[10])
    pattern = r"(training|validation), (\d+) rows, z: RMSE (\S+), MAE (\S+), R2 (\S+)"
    parts = [re.fullmatch(pattern, line) for line in lines[11:]]
    assert [part and part.group(1, 2) for part in parts] == [("training", "400"), ("validation", "100")]
    assert all(part is not None and float(part.group(5)) > 0.99 for part in parts)

    assert run("predict", "model.npz", "points.csv", "--output", "predicted.csv") == (0, "", "")
    assert run.files() == ["model.npz", "points.csv", "predicted.csv"]
    with open("predicted.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["x", "y", "z", "z_predicted"]
    assert [",".join(row[:3]) for row in rows[1:]] == table.splitlines()
    net = load("model.npz")
    np.testing.assert_array_equal([float(row[3]) for row in rows[1:]], net.predict(x))
    assert score(net, x, z).r2[0] > 0.99


def test_options_reach_the_fit(run: Run) -> None:
    run.write("points.csv", points())
    arguments = "--activation relu --optimizer rmsprop --loss huber --l1 0.001 --l2 0.001 --clip-norm 1"
    arguments += " --clip-value 1 --dropout 0.1 --dtype float32 --init he_normal --batch-size 7 --seed 5"
    arguments += " --validation 0.5 --no-standardize --hidden 6,5 --iterations 30 --save model.npz"
    code, out, err = run("fit", "points.csv", "--inputs", "y,x", "--outputs", "z", *arguments.split())
    assert (code, out) == (0, "")
    assert "training, 30 rows, z: " in err
    net = load("model.npz")
    assert (net.in_features, net.hidden_sizes, net.out_features) == (2, [6, 5], 1)
    assert [activation.name for activation in net.activations] == ["relu", "relu", "identity"]
    assert net.dtype == np.float32
    assert net.standardization is None


@pytest.mark.parametrize(
    "option",
    [
        ["--seed", "2"],
        ["--l1", "0.1"],
        ["--l2", "0.1"],
        ["--clip-norm", "0.01"],
        ["--clip-value", "0.001"],
        ["--dropout", "0.3"],
        ["--batch-size", "5"],
        ["--optimizer", "sgd"],
        ["--loss", "mae"],
        ["--init", "lecun_normal"],
        ["--activation", "sigmoid"],
        ["--learning-rate", "0.01"],
        ["--iterations", "299"],
        ["--validation", "0.3"],
        ["--weights", "w"],
        ["--no-standardize"],
    ],
)
def test_every_option_changes_the_result(option: list[str], run: Run) -> None:
    lines = points().splitlines()
    weighted = [lines[0] + ",w", *(f"{line},{k}" for k, line in enumerate(lines[1:]))]
    run.write("points.csv", "\n".join(weighted))
    results = []
    for k, more in enumerate(([], [], option)):
        assert run.train("points.csv", *more, "--save", f"{k}.npz")[0] == 0
        results.append(load(f"{k}.npz").parameters.tobytes())
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_several_outputs_and_the_order_of_inputs(run: Run) -> None:
    run.write("points.csv", points())
    arguments = ["--inputs", "z", "--outputs", "y,x", "--save", "model.npz"]
    code, _, err = run("fit", "points.csv", *arguments, *FAST)
    assert code == 0
    scores = [line for line in err.splitlines() if "RMSE" in line]
    assert [line.split(",")[2].split(":")[0].strip() for line in scores] == ["y", "x", "y", "x"]
    _, out, _ = run("predict", "model.npz", "points.csv")
    assert out.splitlines()[0] == "x,y,z,y_predicted,x_predicted"


def test_no_validation(run: Run) -> None:
    run.write("points.csv", points())
    code, out, err = run.train("points.csv", "--validation", "0")
    assert (code, out) == (0, "")
    assert "training, 60 rows, z: " in err
    assert "validation" not in err


def test_one_row(run: Run) -> None:
    run.write("one.csv", "x,y,z\n1,2,3\n")
    assert_error(run.train("one.csv"), 2, "x must be at least two samples, to set one aside, got 1")
    code, _, err = run.train("one.csv", "--validation", "0")
    assert code == 0
    assert "training, 1 rows, z: " in err


def test_weights_column(run: Run) -> None:
    rows = "".join(f"{k % 7},{k % 5},{(k % 2) * 10},{(k % 2) * 3 + 1}\n" for k in range(70))
    run.write("points.csv", "x,y,z,w\n" + rows)
    options = [
        "--weights",
        "w",
        "--validation",
        "0",
        "--hidden",
        "",
        "--iterations",
        "2000",
        "--save",
        "m.npz",
    ]
    assert run.train("points.csv", *options)[0] == 0
    assert load("m.npz").predict([[3.0, 2.0]])[0] == pytest.approx(8, abs=0.3)
    assert_error(run.train("points.csv", "--weights", "v"), 2, "must be one of x, y, z, w", "'v'")
    run.write("points.csv", "x,y,z,w\n1,2,3,1\n2,3,4,-1\n3,4,5,1\n")
    assert_error(
        run.train("points.csv", "--weights", "w", "--validation", "0"), 2, "at least 0 everywhere, got -1.0"
    )


def test_rows_of_weight_0_neither_choose_the_network_nor_count_in_scores(run: Run) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 200)
    for name, junk in (("true", 0.0), ("junk", 1000.0)):
        rows = [f"{v},{np.sin(3 * v) + junk * (k % 2)},{1 - k % 2}" for k, v in enumerate(x)]
        run.write(f"{name}.csv", "x,y,w\n" + "\n".join(rows) + "\n")
    options = [
        "--inputs",
        "x",
        "--outputs",
        "y",
        "--weights",
        "w",
        "--iterations",
        "3000",
        "--validation=0.2",
    ]
    outcomes = [run("fit", f"{name}.csv", *options, "--save", f"{name}.npz") for name in ("true", "junk")]
    remarks = [re.sub(r"\d+\.\d+ s,", "", error) for _, _, error in outcomes]
    assert remarks[0] == remarks[1]
    assert "validation" in remarks[0]
    nets = [load(run.folder / f"{name}.npz") for name in ("true", "junk")]
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    assert score(nets[1], x[::2, None], np.sin(3 * x[::2])).rmse[0] < 0.05


def test_labels_for_cross_entropy_are_a_column_of_probabilities_each(run: Run) -> None:
    rows = "".join(f"{k % 7},{k % 5},{k % 2},{1 - k % 2}\n" for k in range(70))
    run.write("points.csv", "x,y,a,b\n" + rows)
    arguments = ["fit", "points.csv", "--inputs", "x,y", *FAST]
    assert run(*arguments, "--outputs", "a,b", "--loss", "cross_entropy")[0] == 0
    assert run(*arguments, "--outputs", "a", "--loss", "binary_cross_entropy")[0] == 0
    assert_error(
        run(*arguments, "--outputs", "y,a", "--inputs", "x", "--loss", "cross_entropy"),
        2,
        "must be from 0 to 1, got",
    )
    labels = [*arguments, "--outputs", "a", "--loss", "cross_entropy", "--save", "net.npz", "--plot", "a.png"]
    assert "accuracy" in run(*labels)[2]
    assert load(run.folder / "net.npz").classes is not None
    assert {"net.npz", "a.png"} <= set(run.files())
    run.write("labels.csv", "x,y,z\n1,2,0\n1,3,5\n2,2,1\n")
    result = run.train("labels.csv", "--validation", "0", "--loss", "binary_cross_entropy")
    assert_error(result, 2, "must be labels of two classes")


# ---- tables ----


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("x,y\n1,2\n3,4\n", "x,y,z_predicted\n1,2,4.5\n3,4,10.5\n"),
        ("x,y\n1,2", "x,y,z_predicted\n1,2,4.5\n"),
        ("y,x\n2,1\n", "y,x,z_predicted\n2,1,4.5\n"),
        ("x;y\n1;2\n", "x;y;z_predicted\n1;2;4.5\n"),
        ("x\ty\n1\t2\n", "x\ty\tz_predicted\n1\t2\t4.5\n"),
        ("x|y\n1|2\n", "x|y|z_predicted\n1|2|4.5\n"),
        ("\ufeffx,y\n1,2\n", "x,y,z_predicted\n1,2,4.5\n"),
        ("x,y\r\n1,2\r\n", "x,y,z_predicted\n1,2,4.5\n"),
        ("\n\nx,y\n\n1,2\n\n\n3,4\n\n", "x,y,z_predicted\n1,2,4.5\n3,4,10.5\n"),
        ('"x","y"\n"1","2"\n', "x,y,z_predicted\n1,2,4.5\n"),
        ('name,x,y\n"a,b",1,2\n', 'name,x,y,z_predicted\n"a,b",1,2,4.5\n'),
        ('name,x,y\n"say ""a""",1,2\n', 'name,x,y,z_predicted\n"say ""a""",1,2,4.5\n'),
        ('name,x,y\n"two\nlines",1,2\n', 'name,x,y,z_predicted\n"two\nlines",1,2,4.5\n'),
        ("näme,x,y\n✓,1,2\n", "näme,x,y,z_predicted\n✓,1,2,4.5\n"),
        ("x , y\n 1 , 2 \n", "x,y,z_predicted\n 1 , 2 ,4.5\n"),
        ("name,x,y\n,1e0,+2.000\n", "name,x,y,z_predicted\n,1e0,+2.000,4.5\n"),
        ("name,x,y\nabc,0.10,-0\n", "name,x,y,z_predicted\nabc,0.10,-0,0.7\n"),
        (",x,y\n0,1,2\n", ",x,y,z_predicted\n0,1,2,4.5\n"),  # as pandas writes a table
        (",x, ,y\n,1,,2\n", ",x,,y,z_predicted\n,1,,2,4.5\n"),
        ("a,x,a,y,a\n7,1,8,2,9\n", "a,x,a,y,a,z_predicted\n7,1,8,2,9,4.5\n"),
        ('"x,1",x,y\n7,1,2\n', '"x,1",x,y,z_predicted\n7,1,2,4.5\n'),
    ],
)
def test_predict_keeps_the_columns_and_adds_one(content: str, expected: str, run: Run) -> None:
    model(run)
    run.write("points.csv", content)
    assert run("predict", "model.npz", "points.csv") == (0, expected, "")
    assert run("predict", "model.npz", "points.csv", "--output", "out.csv") == (0, "", "")
    assert Path("out.csv").read_bytes() == expected.encode()


@pytest.mark.parametrize("option", [",", ";", "\\t", "\t", "|", " ", "§"])
def test_a_delimiter_that_is_asked_for(option: str, run: Run) -> None:
    model(run)
    delimiter = "\t" if option == "\\t" else option
    run.write("points.csv", f"x{delimiter}y\n1{delimiter}2\n")
    code, out, _ = run("predict", "model.npz", "points.csv", "--delimiter", option)
    assert (code, out) == (0, f"x{delimiter}y{delimiter}z_predicted\n1{delimiter}2{delimiter}4.5\n")


@pytest.mark.parametrize("option", ["", ",,", '"', "\n", "\\n"])
def test_bad_delimiters(option: str, run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y\n1,2\n")
    result = run("predict", "model.npz", "points.csv", "--delimiter", option)
    assert_error(result, 2, "--delimiter must be one character")


def test_one_column_needs_no_delimiter(run: Run) -> None:
    model(run, 1)
    run.write("points.csv", "x\n1\n2\n")
    assert run("predict", "model.npz", "points.csv") == (0, "x,z_predicted\n1,2.5\n2,4.5\n", "")


def test_numbers_are_written_in_full(run: Run) -> None:
    run.write("points.csv", points())
    assert run.train("points.csv", "--save", "model.npz")[0] == 0
    _, out, _ = run("predict", "model.npz", "points.csv")
    rows = list(csv.reader(io.StringIO(out)))[1:]
    x = np.array([[float(cell) for cell in row[:2]] for row in rows])
    expected = load("model.npz").predict(x)
    np.testing.assert_array_equal([float(row[3]) for row in rows], expected)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_form_of_a_file_does_not_change_the_fit(delimiter: str, end: str, run: Run) -> None:
    run.write("plain.csv", points())
    run.write("other.csv", "\ufeff" + points(delimiter=delimiter, end=end))
    for name in ("plain", "other"):
        assert run.train(f"{name}.csv", "--save", f"{name}.npz")[0] == 0
    np.testing.assert_array_equal(load("plain.npz").parameters, load("other.npz").parameters)


class Input:
    """Standard input with these bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write("points.csv", points())
    assert run.train("points.csv", "--save", "a.npz")[0] == 0
    monkeypatch.setattr(sys, "stdin", Input(points().encode()))
    assert run.train("-", "--save", "b.npz")[0] == 0
    np.testing.assert_array_equal(load("a.npz").parameters, load("b.npz").parameters)
    model(run)
    monkeypatch.setattr(sys, "stdin", Input(b"x,y\n1,2\n"))
    assert run("predict", "model.npz", "-") == (0, "x,y,z_predicted\n1,2,4.5\n", "")
    monkeypatch.setattr(sys, "stdin", Input(b"x,y\n1,b\n"))
    assert_error(run("predict", "model.npz", "-"), 2, "standard input, line 2, column 'y'")
    monkeypatch.setattr(sys, "stdin", Input(b""))
    assert_error(
        run("predict", "model.npz", "-"), 2, "standard input: must have a header and rows, but is empty"
    )


BAD_TABLES = [
    (b"", "must have a header and rows, but is empty"),
    (b"\n \n\r\n", "must have a header and rows, but is empty"),
    (b"\xef\xbb\xbf", "must have a header and rows, but is empty"),
    (b"x,y,z\n", "must have rows below the header, but has none"),
    (b"x,y,z", "must have rows below the header, but has none"),
    (b"x,y,z\n\n\n", "must have rows below the header, but has none"),
    (b"x,y,z\n1,2\n", "line 2: must have 3 columns like the header, but has 2 (delimiter ',')"),
    (b"x,y,z\n1,2,3\n\n1,2,3,4\n", "line 4: must have 3 columns like the header, but has 4"),
    (b"x,y,z,x\n1,2,3,4\n", "column 4 must have a unique name, has 'x'"),
    (b"x,y,z\n1,2,3\n \n", "line 3: must have 3 columns like the header, but has 1"),
    (b"x,y,z\n1,2,3\n\n,,\n4,5,6\n", "line 4, column 'x': the value is missing"),
    (b"x,y,z\n1,2,3\n1,2," + b"a" * 100_000 + b"\n", "line 3, column 'z': must be a finite number, got 'aaa"),
    (b"x,y,z\n1,2,3\n4,abc,6\n", "line 3, column 'y': must be a finite number, got 'abc'"),
    (b'x,y,z\n1,2,3\n"4\n",5,6\n7,,9\n', "line 5, column 'y': the value is missing"),
    (b"x,y,z\n1,2,3\n4,nan,6\n", "line 3, column 'y': the value is missing"),
    (b"x,y,z\n1,2,3\n4,1e999,6\n", "line 3, column 'y': must be a finite number, got '1e999'"),
    (b"x,y,z\n1,2,3\n4,1_000,6\n", "line 3, column 'y': must be a finite number, got '1_000'"),
    (b'x,y,z\n1,2,3\n4,"1,5",6\n', "line 3, column 'y': must be a finite number, got '1,5'"),
    (b"x,y,z\n1,2,3\n4,0x10,6\n", "line 3, column 'y': must be a finite number, got '0x10'"),
    (b"x,y,z\n1,\xff,3\n", "line 2: the text is not in UTF-8"),
    ("x,y,z\n1,2,3\n".encode("utf-16"), "line 1: the text is in UTF-16, not in UTF-8"),
    (b'x,y,z\n1,"2,3\n', "line 2: unexpected end of data"),
    (b'x,y,z\n1,"2"a,3\n', "line 2: "),
    (b"a,b,c\n1,2,3\n", "column must be one of a, b, c, got 'x'"),
    (b"x1,why,z\n1,2,3\n", "got 'x'; did you mean 'x1'? (delimiter ',')"),
    (b"X,Y,Z\n1,2,3\n", "column must be one of X, Y, Z, got 'x'"),
    (b"x:y:z\n1:2:3\n", "column must be one of x:y:z, got 'x'"),
    (b"x,y,z\n" + b"1," * 100_000 + b"3\n", "line 2: must have 3 columns"),
    (b"x,y,z\n1,2," + b"9" * 200_000 + b"\n", "column 'z'"),
    (b"x,y,z\n1,2,3\0\n", "line 2"),
]


@pytest.mark.parametrize(("content", "message"), BAD_TABLES)
def test_bad_tables(content: bytes, message: str, run: Run) -> None:
    run.write("bad.csv", content)
    assert_error(run.train("bad.csv", "--save", "new.npz"), 2, "bad.csv", message)
    save(NN(3, [], 1, rng=1), "three.npz", {"inputs": ["x", "y", "z"], "outputs": ["u"]})
    result = run("predict", "three.npz", "bad.csv", "--output", "new.csv")
    assert_error(result, 2, "bad.csv", message)
    assert run.files() == ["bad.csv", "three.npz"]


def test_cells_of_other_columns_may_be_anything(run: Run) -> None:
    rows = "".join(f"text,{k % 7},,{k % 5},nan,{k % 3}\n" for k in range(40))
    run.write("points.csv", "a,x,b,y,c,z\n" + rows)
    assert run.train("points.csv")[0] == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_there_are_as_many_predictions_as_rows_or_none(delimiter: str, run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y\n1,2\n,\n3,4\n".replace(",", delimiter))
    message = "points.csv, line 3, column 'x': the value is missing; fit the network with --missing mean"
    assert_error(run("predict", "model.npz", "points.csv", "--output", "out.csv"), 2, message)
    assert run.files() == ["model.npz", "points.csv"]


def test_a_column_without_a_name_is_not_taken(run: Run) -> None:
    run.write("points.csv", ",x,y,z\n" + 10 * "1,2,3,4\n")
    assert run.train("points.csv")[0] == 0
    result = run("fit", "points.csv", "--inputs", "x,", "--outputs", "z", *FAST)
    assert_error(result, 2, "column must be one of x, y, z, got ''")


def test_a_name_that_stands_twice_is_not_taken(run: Run) -> None:
    model(run)
    run.write("points.csv", "x,a,y,y\n1,2,3,4\n")
    message = "points.csv: column 4 must have a unique name, has 'y', like column 3"
    assert_error(run("predict", "model.npz", "points.csv"), 2, message)


def wide(name: str, n: int = 20_000) -> str:
    """A table of one row and many columns that all have similar names."""
    return ",".join(f"{name}{k}" for k in range(n)) + "\n" + ",".join(n * ["1"]) + "\n"


@pytest.mark.parametrize(("name", "near"), [("x", "; did you mean 'x"), ("a long name of a column ", "")])
def test_a_missing_column_of_many_is_a_short_error(name: str, near: str, run: Run) -> None:
    model(run)
    run.write("points.csv", wide(name))
    result = run("predict", "model.npz", "points.csv")
    message = f"column must be one of the known names (20000, the first is '{name}0'), got 'x'{near}"
    assert_error(result, 2, message)
    assert len(result[2]) < 300


def test_long_names_are_shortened_in_errors(run: Run) -> None:
    names = [f"{'n' * 5000}{k}{'m' * 5000}" for k in range(8)]
    run.write("points.csv", ",".join(names) + "\n" + ",".join("12345678") + "\n")
    result = run("fit", "points.csv", "--inputs", "n" * 5000 + "m" * 4000, "--outputs", names[0])
    assert_error(result, 2, "the first is 'nnn", "got 'nnn", "; did you mean 'nnn")
    assert len(result[2]) < 400


def test_time_grows_with_the_number_of_columns_not_with_its_square(run: Run) -> None:
    compared = 0

    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = [Name(f"x{k}") for k in range(3000)]
    table = read_table(run.write("a.csv", wide("x", 3000)))
    table.header = names  # type: ignore[assignment]  # they are texts
    assert inputs_for(None, [str(name) for name in names], table).shape == (1, 3000)
    assert compared <= 5 * 3000


def test_an_output_column_that_is_there_already(run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y,z_predicted\n1,2,3\n")
    result = run("predict", "model.npz", "points.csv", "--output", "out.csv")
    assert_error(result, 2, "points.csv: it already has a column 'z_predicted'")
    assert run.files() == ["model.npz", "points.csv"]


def test_a_model_without_names(run: Run) -> None:
    save(NN(2, [], 2, init=[1.0, 0.0, 0.0, 1.0, 0.0, 0.5]), "model.npz")
    run.write("points.csv", "x1,x0\n1,2\n")
    assert run("predict", "model.npz", "points.csv")[1] == "x1,x0,y0_predicted,y1_predicted\n1,2,2.0,1.5\n"


def test_a_model_that_fit_saved(run: Run) -> None:
    assert run("gaussian", "--iterations", "10", "--save", "model.npz")[0] == 0
    run.write("points.csv", "x,y\n0,0\n")
    code, out, err = run("predict", "model.npz", "points.csv")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "x,y,z_predicted"


# ---- Levenberg-Marquardt ----

LM = "--inputs", "x,y", "--outputs", "z", "--optimizer", "levenberg_marquardt", "--hidden", "4"


def test_levenberg_marquardt_needs_no_other_option(run: Run) -> None:
    run.write("points.csv", points(200))
    code, out, err = run("fit", "points.csv", *LM, "--l2", "1e-6", "--save", "model.npz")
    assert (code, out) == (0, "")
    lines = err.splitlines()
    n = int(re.fullmatch(r"(\d+) iterations, .* s, including compilation", lines[-2])[1])  # type: ignore[index]
    assert 5 < n < 1000
    assert lines[-3] == "stopped: a step lowered the loss by less than loss_tolerance"
    assert all(re.match(rf"{k}00 of 1000 iterations: loss ", line) for k, line in enumerate(lines[1:-3], 1))
    assert len(lines[1:-3]) == n // 100
    assert "R2 1.000000" in lines[-1]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--learning-rate 0.1", "--learning-rate must be left out for levenberg_marquardt, which has none"),
        ("--batch-size 8", "--batch-size must be left out for levenberg_marquardt, which takes all 60 "),
        ("--dropout 0.1", "--dropout must be 0 for levenberg_marquardt, got 0.1; use l2"),
        ("--l1 0.1", "--l1 must be left out for levenberg_marquardt, got 0.1; use l2"),
        ("--clip-norm 1", "--clip-norm must be left out for levenberg_marquardt"),
        ("--dtype float32", "--dtype must be float64 for levenberg_marquardt, got float32"),
        (
            "--loss mae",
            "--loss must be one of mse, huber, log_cosh, poisson, binary_cross_entropy, cross_entropy",
        ),
        ("--iterations 0", "--iterations must be an integer of at least 1, got 0"),
    ],
)
def test_what_levenberg_marquardt_does_not_take(option: str, message: str, run: Run) -> None:
    run.write("points.csv", points())
    assert_error(run("fit", "points.csv", *LM, *option.split(), "--save", "new.npz"), 2, message)
    assert run.files() == ["points.csv"]


def test_the_word_auto_is_the_default(run: Run) -> None:
    run.write("points.csv", points())
    options = ["--inputs", "x,y", "--outputs", "z", "--hidden", "3", "--iterations", "30"]
    for more in ([], ["--learning-rate", "auto", "--batch-size", "auto"], ["--learning-rate", "0.003"]):
        assert run("fit", "points.csv", *options, *more, "--save", f"{len(run.files())}.npz")[0] == 0
    assert len({Path(name).read_bytes() for name in run.files() if name.endswith(".npz")}) == 1
    assert_error(
        run("fit", "points.csv", *options, "--batch-size", "all"),
        2,
        "argument --batch-size: must be an integer, such as 100000 or 1e5, got 'all'",
    )


def test_a_log_file_of_levenberg_marquardt_has_rows(run: Run) -> None:
    run.write("points.csv", points())
    assert run("fit", "points.csv", *LM, "--l2", "0.1", "--iterations", "40", "--log-file", "log.csv")[0] == 0
    assert len(Path("log.csv").read_text().splitlines()) > 1


# ---- bad options ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--activation tahn", "--activation must be one of"),
        ("--activation tahn", "did you mean 'tanh'?"),
        ("--loss msa", "--loss must be one of mse, mae"),
        ("--optimizer addam", "did you mean 'adam'?"),
        ("--init he", "--init must be one of"),
        ("--dtype float16", "--dtype must be float32 or float64, got 'float16'"),
        ("--dtype", "argument --dtype: expected one argument"),
        ("--hidden 8,x", "argument --hidden: must be integers separated by commas"),
        ("--hidden 0", "hidden_sizes[0] must be an integer of at least 1, got 0"),
        ("--iterations 0", "--iterations must be an integer of at least 1, got 0"),
        ("--iterations 1.5", "argument --iterations: must be an integer, such as 100000 or 1e5, got '1.5'"),
        ("--batch-size 0", "--batch-size must be"),
        ("--learning-rate nan", "--learning-rate must be"),
        ("--learning-rate=-1", "--learning-rate must be"),
        ("--validation 1", "--validation must be a number of at least 0 and below 1, got 1.0"),
        ("--validation=-0.1", "--validation must be"),
        ("--validation nan", "--validation must be"),
        ("--l1=-1", "--l1 must be"),
        ("--l2 inf", "--l2 must be"),
        ("--clip-norm 0", "--clip-norm must be"),
        ("--clip-value=-1", "--clip-value must be"),
        ("--dropout 1", "--dropout must be"),
        ("--seed -1", "--seed must be an integer from 0"),
        ("--seed 99999999999999999999", "--seed must be an integer from 0"),
        ("--unknown", "there is no option --unknown"),
        ("--inputs x,x", "--inputs must be distinct columns, got x,x"),
        ("--outputs z,z", "--outputs must be distinct columns, got z,z"),
        ("--outputs x", "--outputs must be columns that are not inputs, got x"),
        ("--inputs x,", "column must be one of x, y, z, got ''"),
        ("--inputs x;y", "column must be one of x, y, z, got 'x;y'"),
    ],
)
def test_bad_options_of_train(arguments: str, message: str, run: Run) -> None:
    run.write("points.csv", points(10))
    assert_error(run.train("points.csv", *arguments.split(), "--save", "new.npz"), 2, message)
    assert run.files() == ["points.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit", "arguments are required: file, --inputs, --outputs; type crabnet-jit fit points.csv"),
        ("fit --preset fast", "there is no option --preset; crabnet-jit gaussian has it"),
        ("train points.csv --inputs x", "; did you mean crabnet-jit fit points.csv --inputs x"),
        ("fit points.csv --inputs x", "the following arguments are required: --outputs"),
        ("predict model.npz", "the following arguments are required: file"),
        ("predict model.npz points.csv more", "unrecognized arguments: more"),
    ],
)
def test_missing_arguments(arguments: str, message: str, run: Run) -> None:
    code, out, err = run(*arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_missing_files_are_system_errors(run: Run) -> None:
    assert_error(run.train("missing.csv"), 1, "No such file or directory: 'missing.csv'")
    assert_error(run.train("."), 1, "Is a directory")
    run.write("points.csv", "x,y\n1,2\n")
    assert_error(run("predict", "missing.npz", "points.csv"), 1, "No such file or directory: 'missing.npz'")
    model(run)
    assert_error(run("predict", "model.npz", "missing.csv"), 1, "No such file or directory: 'missing.csv'")


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04", b"\x80\x04."])
def test_a_model_that_is_none(content: bytes, run: Run) -> None:
    run.write("model.npz", content)
    run.write("points.csv", "x,y\n1,2\n")
    result = run("predict", "model.npz", "points.csv", "--output", "out.csv")
    assert_error(result, 2, "model.npz is not a saved network")
    assert run.files() == ["model.npz", "points.csv"]


def test_where_a_model_can_not_be_saved(run: Run) -> None:
    run.write("points.csv", points(10))
    result = run.train("points.csv", "--save", "missing/model.npz")
    assert_error(result, 2, "--save must be a file in a folder that exists, got 'missing/model.npz'")
    run.write("file", "")
    assert_error(run.train("points.csv", "--save", "file/model.npz"), 2, "--save must be a file in a folder")
    os.mkdir("folder")
    assert_error(run.train("points.csv", "--save", "folder"), 2, "--save must be a file in a folder")
    assert_error(
        run.train("points.csv", "--save", "points.csv"), 2, "--save must be another file than the data"
    )
    assert run.files() == ["file", "folder", "points.csv"]
    assert os.listdir("folder") == []


def test_where_predictions_can_not_be_written(run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y\n1,2\n")
    os.mkdir("folder")
    for path, message in (("missing/out.csv", "No such f"), ("folder", "Is a directory")):
        assert_error(run("predict", "model.npz", "points.csv", "--output", path), 1, message)
    assert run.files() == ["folder", "model.npz", "points.csv"]


def test_errors_leave_old_files_as_they_are(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    model(run)
    run.write("points.csv", points(10))
    run.write("out.csv", "old")
    before = Path("model.npz").read_bytes()
    assert_error(run.train("points.csv", "--activation", "no", "--save", "model.npz"), 2)
    run.write("bad.csv", "x,y\n1,a\n")
    assert_error(run("predict", "model.npz", "bad.csv", "--output", "out.csv"), 2)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crabnet_jit.archive.os.fsync", full)
    code, out, err = run.train("points.csv", "--save", "model.npz")
    assert (code, out) == (1, "")
    assert err.endswith("crabnet-jit fit: error: [Errno 28] No space left on device\n")
    assert_error(run("predict", "model.npz", "points.csv", "--output", "out.csv"), 1, "No space left")
    assert Path("model.npz").read_bytes() == before
    assert Path("out.csv").read_text() == "old"
    assert run.files() == ["bad.csv", "model.npz", "out.csv", "points.csv"]


LINKS: list[Callable[[str, str], None]] = [os.symlink, os.link]


@pytest.mark.parametrize("link", LINKS)
def test_predictions_do_not_replace_the_model(link: Callable[[str, str], None], run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y\n1,2\n")
    link("model.npz", "linked")
    before = Path("model.npz").read_bytes()
    for output in ("model.npz", "./model.npz", os.path.abspath("model.npz"), "linked"):
        result = run("predict", "model.npz", "points.csv", "--output", output)
        assert_error(result, 2, f"--output must be another file than the model, got {output!r}")
        result = run("predict", "linked", "points.csv", "--output", output)
        assert_error(result, 2, f"--output must be another file than the model, got {output!r}")
    assert Path("model.npz").read_bytes() == before


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("option", ["--save", "--checkpoint"])
def test_a_training_does_not_replace_its_data(
    option: str, link: Callable[[str, str], None], run: Run
) -> None:
    run.write("points.csv", points(10))
    link("points.csv", "linked")
    result = run.train("points.csv", option, "linked")
    assert_error(result, 2, f"{option} must be another file than the data, got 'linked'")
    assert Path("points.csv").read_text() == points(10)


def test_a_checkpoint_may_replace_the_one_of_its_run_through_a_link(run: Run) -> None:
    run.write("points.csv", points(10))
    assert run.train("points.csv", "--checkpoint", "run.npz")[0] == 0
    os.symlink("run.npz", "linked")
    assert run.train("points.csv", "--resume", "run.npz", "--checkpoint", "linked")[0] == 0
    result = run.train("points.csv", "--resume", "run.npz", "--save", "linked")
    assert_error(result, 2, "--save must be another file than --resume, got 'linked'")


@pytest.mark.parametrize("option", ["--save", "--checkpoint", "--log-file", "--plot"])
def test_a_loop_of_links_is_found_before_the_training(
    option: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write("points.csv", points(10))
    os.symlink("a.csv", "b.csv")
    os.symlink("b.csv", "a.csv")
    for name in ("fit.fit_network", "article.Trainer"):
        monkeypatch.setattr(f"crabnet_jit.cli.{name}", lambda *_, **__: pytest.fail("it was trained"))
    assert_error(run.train("points.csv", option, "a.csv"), 1, "symbolic links: 'a.csv'")
    result = run("gaussian", option, "a.csv")
    assert (result[0], result[1], result[2].count("\n")) == (1, "", 1)
    assert "symbolic links: 'a.csv'" in result[2]
    model(run)
    result = run("predict", "model.npz", "points.csv", "--output", "a.csv")
    assert_error(result, 1, "symbolic links: 'a.csv'")


def test_a_dash_is_standard_output(run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y\n1,2\n")
    expected = (0, "x,y,z_predicted\n1,2,4.5\n", "")
    assert run("predict", "model.npz", "points.csv", "--output", "-") == expected
    assert run.files() == ["model.npz", "points.csv"]
    assert run("predict", "model.npz", "points.csv", "--output", "./-") == (0, "", "")
    assert Path("-").read_text() == expected[1]


@pytest.mark.skipif(shutil.which("bash") is None or not os.path.exists("/dev/stdout"), reason="needs bash")
@pytest.mark.parametrize(
    ("redirected", "expected"),
    [
        ("--output /dev/stdout >> all", "before\nx,y,z_predicted\n1,2,4.5\n"),
        ("--output linked >> all", "before\nx,y,z_predicted\n1,2,4.5\n"),
        ("--output /dev/stderr 2>> all", "before\nx,y,z_predicted\n1,2,4.5\n"),
        ("--output /dev/fd/7 7>> all", "before\nx,y,z_predicted\n1,2,4.5\n"),
        ("--output /dev/stdout > all", "x,y,z_predicted\n1,2,4.5\n"),
        ("--output /dev/stdout | cat >> all", "before\nx,y,z_predicted\n1,2,4.5\n"),
        ("--output >(cat >> all; echo done > end)", "before\nx,y,z_predicted\n1,2,4.5\n"),
    ],
)
def test_predictions_go_where_the_shell_sends_them(redirected: str, expected: str, run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y\n1,2\n")
    run.write("all", "before\n")
    os.symlink("/dev/stdout", "linked")
    wait = "; until [ -e end ]; do sleep 0.05; done" if "end" in redirected else ""
    command = f"{sys.executable} -m crabnet_jit predict model.npz points.csv {redirected}{wait}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=600)
    assert (result.stdout, result.stderr) == ("", "")
    assert Path("all").read_text() == expected
    assert os.path.islink("linked")


def test_predictions_may_replace_their_own_file(run: Run) -> None:
    model(run)
    run.write("points.csv", "x,y\n1,2\n")
    assert run("predict", "model.npz", "points.csv", "--output", "points.csv")[0] == 0
    assert Path("points.csv").read_text() == "x,y,z_predicted\n1,2,4.5\n"


def test_divergence_is_told_and_nothing_saved(run: Run) -> None:
    run.write("points.csv", points())
    code, out, err = run.train(
        "points.csv",
        "--optimizer",
        "sgd",
        "--activation",
        "relu",
        "--learning-rate",
        "1e9",
        "--save",
        "m.npz",
    )
    assert (code, out) == (1, "")
    assert [line[:10] for line in err.splitlines()] == ["task: regr", "crabnet-ji"]
    assert "the run diverged" in err
    assert run.files() == ["points.csv"]


def test_an_interrupt_saves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    run.write("points.csv", points())
    monkeypatch.setattr("crabnet_jit.fitting.fit.Trainer.run", interrupted)
    assert run.train("points.csv", "--save", "m.npz") == (130, "", "crabnet-jit fit: interrupted\n")
    assert run.files() == ["points.csv"]


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_help_names_the_options(command: str, run: Run) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    options = {
        "fit": ["--inputs", "--outputs", "--weights", "--validation", "--loss", "--save", "huber", "siren"],
        "predict": ["--output", "--delimiter", "NAME_predicted"],
    }
    for option in options[command]:
        assert option in out


# ---- losses that say what the noise is ----


def test_quantiles_of_a_table(run: Run) -> None:
    run.write("points.csv", points())
    code, out, _ = run.train(
        "points.csv", "--loss", "quantile", "--quantiles", "0.1,0.5", "--save", "model.npz"
    )
    assert (code, out) == (0, "")
    net = load("model.npz")
    assert (net.schema.quantiles, net.out_features) == ((0.1, 0.5), 2)
    code, out, _ = run("predict", "model.npz", "points.csv")
    assert (code, out.splitlines()[0]) == (0, "x,y,z,z_predicted")
    code, _, _ = run.train("points.csv", "--loss", "quantile", "--save", "model.npz")
    assert (code, load("model.npz").schema.quantiles) == (0, (0.5,))


def test_counts_of_a_table(run: Run) -> None:
    run.write("points.csv", points())
    assert run.train("points.csv", "--loss", "poisson", "--save", "model.npz")[0] == 0
    _, out, _ = run("predict", "model.npz", "points.csv")
    rows = np.array([line.split(",") for line in out.splitlines()[1:]], float)
    np.testing.assert_allclose(rows[:, 3], rows[:, 2], rtol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--loss quantile --quantiles 0.5,0.1", "--quantiles must be different quantiles in ascending order"),
        ("--loss quantile --quantiles 0,0.1", "--quantiles[0] must be a number above 0 and below 1, got 0.0"),
        ("--loss quantile --quantiles 2", "--quantiles must be a number above 0 and below 1, got 2.0"),
        ("--quantiles 0.5", "--quantiles must be left out, except for --loss quantile, got --loss auto"),
        (
            "--loss mae --quantiles 0.5",
            "--quantiles must be left out, except for --loss quantile, got --loss mae",
        ),
        ("--loss poisson --task classification", "--loss must be auto, or one for a classification"),
        ("--loss poisson --outputs x --inputs z", "must be at least 0 for the loss poisson, as counts are"),
        ("--loss pinball", "did you mean 'quantile'?"),
    ],
)
def test_what_is_no_loss_for_a_table(options: str, message: str, run: Run) -> None:
    run.write("points.csv", points())
    assert_error(run.train("points.csv", *options.split(), "--save", "new.npz"), 2, message)
    assert run.files() == ["points.csv"]


def test_threads_change_no_digit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(team, "_LEAST_PRODUCTS", 0)
    monkeypatch.setattr(team, "_LEAST_IN_CALL", 0)
    monkeypatch.setattr(team.Pace, "choose", lambda _: True)
    file = run.write("data.csv", points(400))
    for name, option in (("one", []), ("two", ["--threads", "2"]), ("auto", ["--threads", "auto"])):
        assert run.train(file, "--batch-size", "300", "--save", f"{name}.npz", *option)[0] == 0
    one, two, auto = (load(run.folder / f"{name}.npz").parameters for name in ("one", "two", "auto"))
    assert np.array_equal(one, two)
    assert np.array_equal(one, auto)
    assert_error(run.train(file, "--threads", "0"), 2, "--threads must be", "at least 1, got 0")
    assert_error(run.train(file, "--threads", "all"), 2, "--threads")


def test_a_run_is_resumed_with_another_number_of_threads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    assert run("gaussian", "--iterations", "50", "--checkpoint", "c.npz")[0] == 0
    code, log, error = run("gaussian", "--resume", "c.npz", "--iterations", "60", "--threads", "2")
    assert code == 0, error
    assert "10 iterations" in error, log
