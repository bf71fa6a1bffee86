"""How well networks generalise from few, noisy samples: `python -m benchmarks.noisy`.

Four data sets of about 400 samples: scikit-learn's diabetes, a fifth of which is for testing, and J. H.
Friedman's three functions with normal noise of 1, 125 and 0.1, with 1,000 more samples for testing. Each seed
draws or splits them anew. Scores are R2 on the samples for testing, with the standard error of the mean over
seeds. On Friedman's, whose samples for testing have the same noise, the functions themselves would have 0.96,
0.90 and 0.91. All networks have two hidden layers of 16 units with tanh, and see standardised data. Early
stopping watches a fifth of the samples. Everything runs on one core, and compiling is not counted.

Options are the same for all data sets. Those of Levenberg-Marquardt and L2 were chosen on the samples for
training of other seeds, 100 to 105.

It needs scikit-learn and SciPy: `python -m pip install -e ".[sklearn,scipy]"`.
"""

import argparse
import importlib.util
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from .peers.__main__ import use_one_core

HIDDEN = (16, 16)
L2 = 0.01  # together with early stopping
L2_ALONE = 0.02
NOISE = {"friedman1": 1.0, "friedman2": 125.0, "friedman3": 0.1}
DATA = ("diabetes", *NOISE)
#: Who is compared with whom: at least as good, within a standard error.
OURS = "Levenberg-Marquardt, early stopping, L2"
REFERENCES = ("Adam, early stopping", "Adam, early stopping, L2")


class Split(NamedTuple):
    """Inputs (n, n_features) and targets (n,), standardised by those for training."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any


class Scores(NamedTuple):
    """Of a program on a data set: mean of R2, its standard error, seconds of a fit."""

    mean: float
    error: float
    seconds: float


#: Fits to samples, with a seed, and predicts for the inputs for testing.
Program = Callable[[Split, int], Any]


def load(data: str, seed: int) -> Split:
    """Draw or split, and standardise."""
    import numpy as np  # after the number of threads is set

    datasets: Any = import_module("sklearn.datasets")
    if data == "diabetes":
        x, y = datasets.load_diabetes(return_X_y=True)
        order = np.random.default_rng(seed).permutation(len(x))
        x, y, n = x[order], y[order], len(x) - len(x) // 5
    else:
        n = 400
        make = getattr(datasets, f"make_{data}")
        x, y = make(n_samples=n + 1000, noise=NOISE[data], random_state=seed)

    def standardise(values: Any) -> Any:
        return (values - values[:n].mean(axis=0)) / values[:n].std(axis=0)

    x, y = standardise(x), standardise(y)
    return Split(x[:n], y[:n], x[n:], y[n:])


def fitted(**options: Any) -> Program:
    """`crabnet_jit.fit` with these options."""
    from crabnet_jit import fit

    def run(split: Split, seed: int) -> Any:
        return fit(split.x, split.y, hidden_sizes=HIDDEN, seed=seed, **options).predict(split.x_test)

    return run


def lbfgs(split: Split, seed: int) -> Any:
    """L-BFGS in pieces of ten iterations; it ends after ten pieces without a better validation loss."""
    import numpy as np

    from crabnet_jit import NN, Objective

    order = np.random.default_rng(seed).permutation(len(split.x))
    valid, train = order[: len(order) // 5], order[len(order) // 5 :]
    net = NN(split.x.shape[1], HIDDEN, 1, seed, activation="tanh", init="glorot_uniform")
    objective = Objective(net, split.x[train], split.y[train], l2=L2)
    validation = Objective(net, split.x[valid], split.y[valid])
    best, best_loss, failures = net.parameters.copy(), math.inf, 0
    while failures < 10:
        objective.minimize(10)
        loss = validation.loss_and_gradient(net.parameters)[0]
        failures += 1
        if loss < best_loss:
            best, best_loss, failures = net.parameters.copy(), loss, 0
    net.parameters = best
    return net.get_output(split.x_test)[:, 0]


def estimated(make: Callable[[int], Any]) -> Program:
    """An estimator of scikit-learn, made from a seed."""
    return lambda split, seed: make(seed).fit(split.x, split.y).predict(split.x_test)


def programs() -> dict[str, Program]:
    """All of them, by name."""
    networks: Any = import_module("sklearn.neural_network")
    trees: Any = import_module("sklearn.ensemble")
    crabnet_jit: Any = import_module("crabnet_jit")
    stopping = {"validation": 0.2, "patience": 10}
    marquardt = {"optimizer": "levenberg_marquardt", "n_iterations": 50}  # each is checked
    mlp = {"hidden_layer_sizes": HIDDEN, "activation": "tanh", "early_stopping": True, "max_iter": 2000}
    ours = {
        "Adam, early stopping": fitted(**stopping),
        "Adam, early stopping, L2": fitted(**stopping, l2=L2),
        "L-BFGS, early stopping, L2": lbfgs,
        "Levenberg-Marquardt, early stopping": fitted(**stopping, **marquardt),
        OURS: fitted(**stopping, **marquardt, l2=L2),
        "Levenberg-Marquardt, L2": fitted(**marquardt, l2=L2_ALONE),
    }
    if "BayesianRegularization" in crabnet_jit.__all__:
        ours["Bayesian regularisation"] = fitted(optimizer="bayesian_regularization")
    return ours | {
        "scikit-learn, MLPRegressor, early stopping": estimated(
            lambda seed: networks.MLPRegressor(random_state=seed, **mlp)
        ),
        "scikit-learn, GradientBoostingRegressor": estimated(
            lambda seed: trees.GradientBoostingRegressor(random_state=seed)
        ),
    }


def scores(program: Program, splits: list[Split]) -> Scores:
    """Fit and score on each split, with a seed of its own; a fit before these compiles."""
    program(splits[0], 0)
    found, began = [], time.perf_counter()
    for seed, split in enumerate(splits, 1):
        misses, spread = split.y_test - program(split, seed), split.y_test - split.y_test.mean()
        found.append(1 - float((misses**2).sum() / (spread**2).sum()))
    seconds = (time.perf_counter() - began) / len(splits)
    return Scores(statistics.mean(found), statistics.stdev(found) / math.sqrt(len(found)), seconds)


def main() -> int:
    """Print the table, and where Levenberg-Marquardt is as good as Adam."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.noisy", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--seeds", type=int, default=5, help="draws of each data set (default 5)")
    n_seeds = parser.parse_args().seeds
    if n_seeds < 2:
        parser.error("--seeds must be at least 2, for a standard error")
    missing = [name for name in ("sklearn", "scipy") if importlib.util.find_spec(name) is None]
    if missing:
        print(f'needs {" and ".join(missing)}: python -m pip install -e ".[sklearn,scipy]"', file=sys.stderr)
        return 1
    use_one_core()
    warnings.simplefilter("ignore")  # scikit-learn's, of iterations that end early
    common: Any = import_module("benchmarks.common")
    print(f"{common.describe_machine()}, scikit-learn {import_module('sklearn').__version__}")
    print(f"R2 on samples for testing: mean and standard error over {n_seeds} seeds; seconds of a fit\n")
    print(f"| program | {' | '.join(DATA)} |\n|---{'|---' * len(DATA)}|")
    splits = {data: [load(data, seed) for seed in range(1, n_seeds + 1)] for data in DATA}
    table: dict[str, list[Scores]] = {}
    for name, program in programs().items():
        print(name, file=sys.stderr)
        table[name] = [scores(program, splits[data]) for data in DATA]
        cells = [f"{mean:.3f} ± {error:.3f}, {seconds:.3f} s" for mean, error, seconds in table[name]]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    for reference in REFERENCES:
        pairs = zip(DATA, table[OURS], table[reference], strict=True)
        as_good = [data for data, here, there in pairs if here.mean >= there.mean - there.error]
        print(f"\n{OURS}: as good as {reference} within its standard error on {', '.join(as_good) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
