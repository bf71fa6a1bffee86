"""A training step over layer sizes and batch sizes: `python -m benchmarks.scaling`.

Prints for float64 and float32 time, GFLOP/s, the share of the measured peak and, if PyTorch is installed,
its time for the same step with as many threads (one); and how much faster float32 is. Writes a plot if
matplotlib is installed.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from .common import (
    Peak,
    best_seconds,
    check_article,
    describe_machine,
    seconds,
    training_arguments,
    training_flops,
)
from .paths import entries

HIDDEN = (8, 16, 32, 64, 128, 256)
BATCH = (16, 128, 1024)
DTYPES = ("float64", "float32")

Grid: TypeAlias = dict[tuple[int, int], dict[str, float]]


def torch_step(hidden: int, batch_size: int, dtype: str) -> Callable[[], object] | None:
    """One step of plain SGD in PyTorch, eager, on given data; None if it is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch  # an optional peer

    torch.set_num_threads(1)
    torch.set_default_dtype(getattr(torch, dtype))
    linear, relu = torch.nn.Linear, torch.nn.ReLU
    net = torch.nn.Sequential(linear(2, hidden), relu(), linear(hidden, hidden), relu(), linear(hidden, 1))
    parameters = list(net.parameters())
    x = torch.rand(batch_size, 2) * 6 - 3
    target = torch.exp(-0.5 * (x**2).sum(dim=1, keepdim=True))

    def step() -> None:
        loss = torch.nn.functional.mse_loss(net(x), target)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-1e-4)  # the fastest update there is

    step()
    return step


def measure(hidden: int, batch_size: int, dtype: str, rounds: int) -> dict[str, float]:
    """One cell of the grid: seconds a step of ours and of PyTorch, and seconds of the peak loop."""
    flops = training_flops([hidden, hidden], batch_size)
    n = max(1, 50_000_000 // flops)  # about a millisecond
    arguments = training_arguments([hidden, hidden], batch_size, n, dtype)
    peak = Peak(dtype)
    theirs = torch_step(hidden, batch_size, dtype)
    functions: list[Callable[[], object]] = [lambda: entries.train(*arguments), peak]
    if theirs is not None:
        n_theirs = max(1, int(0.002 / seconds(theirs)))
        functions.append(lambda: [theirs() for _ in range(n_theirs)])
    entries.train(*arguments)
    ours, yardstick, *rest = best_seconds(*functions, rounds=rounds)
    cell = {"flops": flops, "ours": ours / n, "peak": peak.flops / yardstick}
    if rest:
        cell["torch"] = rest[0] / n_theirs
    return cell


def plot(grid: Grid, peak: float, dtype: str, path: Path) -> None:
    """Microseconds and GFLOP/s over size, one line for each batch size."""
    import matplotlib as mpl  # optional

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # after the choice of backend

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for k, batch_size in enumerate(BATCH):
        cells = [grid[hidden, batch_size] for hidden in HIDDEN]
        for name, key, style in (("", "ours", "o-"), ("PyTorch, ", "torch", "x--")):
            if all(key in cell for cell in cells):
                times = [1e6 * cell[key] for cell in cells]
                rates = [cell["flops"] / cell[key] / 1e9 for cell in cells]
                left.plot(HIDDEN, times, style, color=f"C{k}", label=f"{name}batch {batch_size}")
                right.plot(HIDDEN, rates, style, color=f"C{k}", label=f"{name}batch {batch_size}")
    right.axhline(peak, color="grey", linestyle=":")
    left.set(xscale="log", yscale="log", xlabel="units in each hidden layer", ylabel="µs a training step")
    right.set(xscale="log", xlabel="units in each hidden layer", ylabel=f"GFLOP/s, one core, {dtype}", ylim=0)
    for axes in (left, right):
        axes.set_xticks(HIDDEN, [str(hidden) for hidden in HIDDEN])
        axes.minorticks_off()
    left.legend(fontsize="small")
    right.text(HIDDEN[0], peak, "peak of a core", va="bottom", color="grey", fontsize="small")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def row(hidden: int, batch_size: int, cell: dict[str, float], peak: float) -> str:
    """A line of the table; `peak` in GFLOP/s."""
    rate = cell["flops"] / cell["ours"] / 1e9
    texts: list[Any] = [f"{hidden}-{hidden}", batch_size, f"{1e6 * cell['ours']:.2f}", f"{rate:.1f}"]
    texts.append(f"{rate / peak:.0%}")
    if "torch" in cell:
        texts += [f"{1e6 * cell['torch']:.2f}", f"{cell['torch'] / cell['ours']:.1f}"]
    else:
        texts += ["not installed", ""]
    return "| " + " | ".join(map(str, texts)) + " |"


def print_table(grid: Grid, peak: float, dtype: str) -> None:
    """The table of one type."""
    print(
        f"\n{dtype}:\n\n| hidden | batch | us a step | GFLOP/s | of the peak | PyTorch, us | PyTorch / ours |"
    )
    print("|---|---|---|---|---|---|---|")
    for (hidden, batch_size), cell in grid.items():
        print(row(hidden, batch_size, cell, peak))
    print(f"\nPeak of a core: {peak:.1f} GFLOP/s, the best of the multiply-add loop in all cells.")


def print_speed_up(grids: dict[str, Grid]) -> None:
    """How much faster float32 is."""
    print("\nTime in float64 over time in float32:\n")
    print("| hidden | " + " | ".join(f"batch {batch_size}" for batch_size in BATCH) + " |")
    print("|---" * (1 + len(BATCH)) + "|")
    for hidden in HIDDEN:
        cells = [[grids[dtype][hidden, batch_size] for dtype in DTYPES] for batch_size in BATCH]
        ratios = [f"{double['ours'] / single['ours']:.2f}" for double, single in cells]
        print(f"| {hidden}-{hidden} | " + " | ".join(ratios) + " |")


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--dtype", choices=(*DTYPES, "both"), default="both", help="default both")
    parser.add_argument("--rounds", type=int, default=40, help="of which the best counts (default 40)")
    parser.add_argument("--plot", type=Path, help="write a plot of the first type to this PNG or SVG file")
    options = parser.parse_args()
    check_article()
    dtypes = DTYPES if options.dtype == "both" else (options.dtype,)
    grids: dict[str, Grid] = {dtype: {} for dtype in dtypes}
    for hidden in HIDDEN:
        for batch_size in BATCH:
            for dtype in dtypes:
                print(f"{hidden}-{hidden}, batch {batch_size}, {dtype}", file=sys.stderr)
                grids[dtype][hidden, batch_size] = measure(hidden, batch_size, dtype, options.rounds)
    peaks = {dtype: max(cell["peak"] for cell in grid.values()) / 1e9 for dtype, grid in grids.items()}
    print(describe_machine())
    for dtype, grid in grids.items():
        print_table(grid, peaks[dtype], dtype)
    if options.dtype == "both":
        print_speed_up(grids)
    if options.plot is not None:
        plot(grids[dtypes[0]], peaks[dtypes[0]], dtypes[0], options.plot)


if __name__ == "__main__":
    main()
