"""`crabnet-jit search`: a table is read, candidates are tried, and what was found is written."""

import csv
from pathlib import Path

import numpy as np
import pytest

from crabnet_jit import Integers, Uniform, load, search
from crabnet_jit.cli.main import main
from crabnet_jit.cli.search import SPACE

BASE = ["search", "points.csv", "--inputs", "a,b", "--outputs", "y", "--iterations", "300"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).uniform(-2, 2, (100, 2))
    table = np.column_stack([x, np.sin(x[:, 0]) * x[:, 1]])
    np.savetxt("points.csv", table, delimiter=",", header="a,b,y", comments="")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main([*BASE, *arguments])
    return code, *capsys.readouterr()


def test_the_best_network_and_the_table_are_those_of_search(capsys: pytest.CaptureFixture[str]) -> None:
    tried = [
        "--try",
        "hidden_sizes",
        "4",
        "8,8",
        "--try",
        "learning-rate",
        "1e-4..1e-1",
        "--try",
        "seed",
        "1..9",
    ]
    files = ["--save", "model.npz", "--out", "table.csv", "--plot", "picture.png"]
    code, out, err = run(capsys, *tried, *files, "--candidates", "6", "--seed", "3", "--threads", "1")
    assert (code, out) == (0, "")
    space = {
        "hidden_sizes": [(4,), (8, 8)],
        "learning_rate": Uniform(1e-4, 1e-1, log=True),
        "seed": Integers(1, 9, log=True),
    }
    data = np.loadtxt("points.csv", delimiter=",", skiprows=1)
    wanted = search(space, data[:, :2], data[:, 2], n_candidates=6, seed=3, n_iterations=300)
    assert np.array_equal(load("model.npz").parameters, wanted.best_network.parameters)
    assert f"6 candidates; least validation loss {wanted.best_loss:.6g}" in err
    assert f"  learning_rate: {wanted.best_arguments['learning_rate']}" in err
    assert "validation, 20 rows, y: RMSE" in err
    with open("table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation_loss"]) for row in rows] == [row["validation_loss"] for row in wanted.table]
    assert [row["hidden_sizes"] for row in rows] == [
        ",".join(map(str, row["hidden_sizes"])) for row in wanted.table
    ]
    assert Path("picture.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_tried_by_default_and_a_budget(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--budget", "2", "--no-progress")
    assert code == 0
    assert [line.split(":")[0].strip() for line in err.splitlines() if line.startswith("  ")] == [*SPACE]


def test_a_search_goes_on_from_its_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, "--candidates", "3", "--checkpoint", "search.npz")
    assert first[0] == 0
    assert run(capsys, "--candidates", "3", "--resume", "search.npz") == first
    code, _, err = run(capsys, "--candidates", "4", "--resume", "search.npz")
    assert code == 2
    assert "belongs to another search: its n_candidates is 3, here it is 4" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--try", "lr", "1e-3"], "space has no argument 'lr'; it is called learning_rate here"),
        (["--try", "l2"], "--try must be a name and its values, such as activation tanh relu, got l2"),
        (["--try", "l2", "0..b"], "--try must be a range of numbers, such as 1e-4..1e-1, got 0..b"),
        (["--try", "l2", "0..1", "2"], "--try must be values, or one range such as 1e-4..1e-1, got 0..1 2"),
        (
            ["--try", "l2", "1", "--try", "l2", "2"],
            "--try must be given once for each argument, got l2 twice",
        ),
        (["--try", "l2", "1..0.1"], "low must be below high"),
        (["--budget", "0"], "--budget must be a finite number above 0, got 0"),
        (["--candidates", "0"], "--candidates must be an integer of at least 1, got 0"),
        (["--threads", "0"], "--threads must be an integer of at least 1, got 0"),
        (["--save", "points.csv"], "--save must be another file than the data"),
        (["--plot", "picture.txt"], "--plot must be a name with the "),
        (["--out", "no/table.csv", "--candidates", "1"], "--out must be a file in a folder that exists"),
    ],
)
def test_wrong_options(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, _, err = run(capsys, *arguments)
    assert code in (1, 2)
    assert message in err


def test_a_command_of_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tune", "points.csv"])
    assert "did you mean crabnet-jit search?" in capsys.readouterr().err
