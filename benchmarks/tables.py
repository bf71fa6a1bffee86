"""Reading tables next to pandas, and `describe` over its start: `python -m benchmarks.tables` prints both."""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from crabnet_jit.cli.tables import read_table

from .common import describe_machine

N_ROWS, N_COLUMNS = 100_000, 20
_FORMATS = {"17 digits": "%r", "8 digits": "%.8g", "4 decimals": "%.4f"}


def write_numbers(path: Path, form: str) -> None:
    """A file of normal numbers with a header."""
    rows = np.random.default_rng(0).normal(size=(N_ROWS, N_COLUMNS)).tolist()
    line = ",".join([form] * N_COLUMNS) + "\n"
    with path.open("w") as file:
        file.write(",".join(f"x{k}" for k in range(N_COLUMNS)) + "\n")
        file.writelines(line % tuple(row) for row in rows)


def write_mixed(path: Path, n_rows: int) -> None:
    """A file of eight columns: numbers, integers, texts, booleans and dates, some of them missing."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write("a,b,c,n,group,colour,is new,day\n")
        for k, (x, y, z) in enumerate(rng.normal(size=(n_rows, 3)).tolist()):
            colour = ("red", "green", "blue", "")[k % 4]
            day = f"2024-{k % 12 + 1:02}-{k % 28 + 1:02}"
            file.write(f"{x:.6g},{y:.4f},{z:.3g},{k},{k % 5},{colour},{k % 2 == 0},{day}\n")


def read(path: Path) -> None:
    """All columns with their types."""
    table = read_table(str(path))
    for name in table.header:
        table.column(name)


def read_by_pandas(path: Path) -> None:
    import pandas

    pandas.read_csv(path)


def describe(path: Path) -> None:
    command = [sys.executable, "-m", "crabnet_jit", "describe", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def least(functions: list[Callable[[], None]], rounds: int) -> list[float]:
    """The shortest time of each, measured in turns; the first round does not count."""
    times: list[list[float]] = [[] for _ in functions]
    for k in range(rounds + 1):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if k:
                taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def main() -> None:
    """Measure in turns, print the shortest times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of each (default 7)")
    rounds = parser.parse_args().rounds
    print(describe_machine())
    print(f"\n| {N_ROWS} x {N_COLUMNS} cells | seconds | pandas | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        for name, form in _FORMATS.items():
            write_numbers(path, form)
            ours, pandas = least([lambda: read(path), lambda: read_by_pandas(path)], rounds)
            print(f"| {name} | {ours:.3f} | {pandas:.3f} | {ours / pandas:.2f} |")
        small = Path(folder) / "small.csv"
        write_mixed(path, N_ROWS)
        write_mixed(small, 2)
        whole, start = least([lambda: describe(path), lambda: describe(small)], rounds)
    print(f"\ndescribe, {N_ROWS} x 8 cells: {whole:.3f} s, {whole - start:.3f} s over that of 2 rows")


if __name__ == "__main__":
    main()
