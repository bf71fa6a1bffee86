"""Scores on real data of estimators as they are made, without options: `python -m benchmarks.defaults`.

Five data sets that come with scikit-learn, each in the same ten folds for all estimators. They get the
data unchanged; scikit-learn's MLP is also tried after a `StandardScaler`. Scores are accuracy, or R2 for
diabetes, with the standard error of the mean over folds. Everything runs on one core.

It needs scikit-learn: `python -m pip install -e ".[sklearn]"`.
"""

import argparse
import importlib.util
import math
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from .peers.__main__ import use_one_core

DATA = ("iris", "wine", "breast_cancer", "digits", "diabetes")
#: With whom the estimators here are compared: at least as good, within a standard error.
REFERENCES = ("MLP", "StandardScaler, MLP")


class Scores(NamedTuple):
    """Of an estimator on a data set: mean over folds, its standard error, seconds for a fit."""

    mean: float
    error: float
    seconds: float


def estimators(*, is_classifier: bool) -> dict[str, Callable[[int], Any]]:
    """What makes each estimator, with its defaults, from a seed."""
    own: Any = import_module("crabnet_jit.estimators")
    networks: Any = import_module("sklearn.neural_network")
    linear: Any = import_module("sklearn.linear_model")
    trees: Any = import_module("sklearn.ensemble")
    pipeline: Any = import_module("sklearn.pipeline")
    scaler: Any = import_module("sklearn.preprocessing").StandardScaler
    kind = "Classifier" if is_classifier else "Regressor"
    mlp, here = getattr(networks, f"MLP{kind}"), getattr(own, f"NN{kind}")
    boosting = getattr(trees, f"HistGradientBoosting{kind}")
    line = linear.LogisticRegression if is_classifier else linear.Ridge
    return {
        "crabnet_jit": lambda seed: here(random_state=seed),
        "MLP": lambda seed: mlp(random_state=seed),
        "StandardScaler, MLP": lambda seed: pipeline.make_pipeline(scaler(), mlp(random_state=seed)),
        "LogisticRegression or Ridge": lambda _: line(),
        "HistGradientBoosting": lambda seed: boosting(random_state=seed),
    }


def scores(make: Callable[[int], Any], x: Any, y: Any, *, is_classifier: bool, n_folds: int) -> Scores:
    """Fit and score in each fold, with a seed of its own."""
    selection: Any = import_module("sklearn.model_selection")
    kind = selection.StratifiedKFold if is_classifier else selection.KFold
    found, began = [], time.perf_counter()
    for seed, (train, test) in enumerate(kind(n_folds, shuffle=True, random_state=0).split(x, y)):
        found.append(float(make(seed).fit(x[train], y[train]).score(x[test], y[test])))
    seconds = (time.perf_counter() - began) / n_folds
    mean = sum(found) / n_folds
    deviation = math.sqrt(sum((score - mean) ** 2 for score in found) / (n_folds - 1))
    return Scores(mean, deviation / math.sqrt(n_folds), seconds)


def main() -> int:
    """Print the table, and where the estimators here are worse than scikit-learn's MLP."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.defaults", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--folds", type=int, default=10, help="folds (default 10)")
    n_folds = parser.parse_args().folds
    if importlib.util.find_spec("sklearn") is None:
        print('needs sklearn: python -m pip install -e ".[sklearn]"', file=sys.stderr)
        return 1
    use_one_core()
    warnings.simplefilter("ignore")  # scikit-learn's, of iterations that end too early with its defaults
    common: Any = import_module("benchmarks.common")
    datasets: Any = import_module("sklearn.datasets")
    print(f"{common.describe_machine()}, scikit-learn {import_module('sklearn').__version__}")
    print(f"Mean and standard error over {n_folds} folds, and seconds for a fit\n")
    print(f"| estimator | {' | '.join(DATA)} |\n|---{'|---' * len(DATA)}|")
    table: dict[str, list[Scores]] = {}
    for data in DATA:
        x, y = getattr(datasets, f"load_{data}")(return_X_y=True)
        is_classifier = data != "diabetes"
        for name, make in estimators(is_classifier=is_classifier).items():
            print(f"{data}, {name}", file=sys.stderr)
            if name == "crabnet_jit":
                make(0).fit(x, y)  # compiles
            result = scores(make, x, y, is_classifier=is_classifier, n_folds=n_folds)
            table.setdefault(name, []).append(result)
    for name, results in table.items():
        cells = [f"{mean:.3f} ± {error:.3f}, {seconds:.2f} s" for mean, error, seconds in results]
        print(f"| {name} | {' | '.join(cells)} |")
    worse = [
        f"{data}: worse than {name}"
        for name in REFERENCES
        for data, here, other in zip(DATA, table["crabnet_jit"], table[name], strict=True)
        if here.mean < other.mean - other.error
    ]
    print("\n" + ("; ".join(worse) or "Nowhere worse than either MLP by more than its standard error"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
