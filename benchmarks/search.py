"""Successive halving compared with random search: `python -m benchmarks.search`.

Both are `crabnet_jit.search` with the same space, data, seeds, threads and seconds; random search has one
rung (`n_rungs=1`), so it fits each candidate completely. They draw the same candidates in the same order, and
the same fifth of the training samples is used to choose among them. Losses are those of the best network on
samples that were not used to choose it: for scikit-learn's digits the mean cross entropy of 597 images, for
Friedman's first function the mean squared error over the variance, of 2,000 new samples. There, all samples
have normal noise of standard deviation 1, so the function itself would have about 0.04. Each seed draws or
splits anew.

The difference is halving's loss over that of random search, less 1: for each seed, then the median over
seeds. The interval holds the true median with a probability of at least 95 %, whatever the distribution is:
it reaches from one of the ordered differences to another, by the binomial distribution.

It needs scikit-learn: `python -m pip install -e ".[sklearn]"`. Compiling is not counted.
"""

import argparse
import importlib.util
import math
import statistics
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

DATA = ("digits", "friedman1")
N_TEST = {"digits": 597, "friedman1": 2000}
N_TRAIN = 500  # of Friedman's
LEVEL = 0.95


class Split(NamedTuple):
    """Samples for training, and others."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any


def load(data: str, seed: int) -> Split:
    """Draw, or split."""
    import numpy as np

    datasets: Any = import_module("sklearn.datasets")
    if data == "digits":
        x, y = datasets.load_digits(return_X_y=True)
        order = np.random.default_rng(seed).permutation(len(x))
        x, y = x[order], y[order].astype(str)
    else:
        x, y = datasets.make_friedman1(N_TRAIN + N_TEST[data], noise=1.0, random_state=seed)
    n = N_TEST[data]
    return Split(x[n:], y[n:], x[:n], y[:n])


def space() -> dict[str, Any]:
    """What someone would try who knows little about the data."""
    from crabnet_jit import Uniform

    widths = 8, 16, 32, 64
    return {
        "hidden_sizes": [(width,) * depth for width in widths for depth in (1, 2)],
        "activation": ["tanh", "relu", "silu"],
        "learning_rate": Uniform(1e-4, 1e-1, log=True),
        "batch_size": [16, 32, 64, 128],
        "l2": Uniform(1e-6, 1e-1, log=True),
        "dropout": Uniform(0.0, 0.5),
    }


def loss_of(net: Any, split: Split) -> float:
    """The loss on samples that were not used to choose a candidate."""
    from crabnet_jit import score

    scores = score(net, split.x_test, split.y_test)
    return float(scores.log_loss) if net.classes is not None else float(1.0 - scores.r2[0])


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Bounds between which the median lies with a probability of at least `LEVEL`."""
    ordered, n = sorted(values), len(values)
    k = 0
    while k < n // 2 and 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n <= 1 - LEVEL:
        k += 1
    return (ordered[k - 1], ordered[n - k]) if k > 0 else (-math.inf, math.inf)


def compare(data: str, seeds: Sequence[int], seconds: float, n_rungs: int, factor: int) -> list[Any]:
    """For each seed the losses of random search and of halving, and how many candidates each had."""
    from crabnet_jit import search

    rows = []
    for seed in seeds:
        split = load(data, seed)
        options: dict[str, Any] = {"seed": seed, "budget_seconds": seconds, "factor": factor}
        found = [search(space(), split.x, split.y, n_rungs=n, **options) for n in (1, n_rungs)]
        rows.append([(loss_of(one.best_network, split), len(one.table)) for one in found])
        print(f"{data}, seed {seed}: {rows[-1]}", file=sys.stderr)
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--seeds", type=int, default=20, help="draws of each data set (default 20)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each search (default 5)")
    parser.add_argument("--rungs", type=int, default=4, help="of halving (default 4)")
    parser.add_argument("--factor", type=int, default=3, help="of halving (default 3)")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    options = parser.parse_args()
    if importlib.util.find_spec("sklearn") is None:
        print('needs scikit-learn: python -m pip install -e ".[sklearn]"', file=sys.stderr)
        return 1
    n_seeds, seconds = (1, 2.0) if options.quick else (options.seeds, options.seconds)
    common: Any = import_module("benchmarks.common")
    print(f"{common.describe_machine()}, scikit-learn {import_module('sklearn').__version__}")
    print(f"Losses on samples for testing, medians of {n_seeds} seeds; {seconds:g} s a search\n")
    print("| data | random search | candidates | halving | candidates | difference | interval | better |")
    print("|---|---|---|---|---|---|---|---|")
    for data in DATA:
        rows = compare(data, range(1, n_seeds + 1), seconds, options.rungs, options.factor)
        differences = [math.log(halving[0] / random[0]) for random, halving in rows]
        low, high = (100 * math.expm1(end) for end in median_interval(differences))
        medians = [[statistics.median(row[k][i] for row in rows) for i in range(2)] for k in range(2)]
        cells = [f"{loss:.4f} | {n:.0f}" for loss, n in medians]
        middle = 100 * math.expm1(statistics.median(differences))
        n_better = sum(difference < 0 for difference in differences)
        print(
            f"| {data} | {' | '.join(cells)} | {middle:+.1f} % | {low:+.1f} to {high:+.1f} % "
            f"| {n_better} of {n_seeds} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
