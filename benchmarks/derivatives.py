"""The cost and the benefit of derivatives as data: `python -m benchmarks.derivatives`.

First, how long a step takes with the derivatives of both inputs and without them: 2-16-16-1, tanh, Adam,
1,000 samples, in batches of all and of 16. Both are measured in many short turns in one process, and the
shortest of each counts.

Then, the error of values at equal numbers of samples: the root mean square on a grid, over the standard
deviation of the function there, the median over seeds. The functions are the article's Gaussian, that of H.
Rosenbrock, and MATLAB's peaks. All fits have the same options; derivatives have the default `dy_weight`.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import describe_machine
from benchmarks.gaussian import HIDDEN, gaussian
from crabnet_jit import NN, ArraySource, Trainer, fit

_OPTIONS: dict[str, Any] = {"hidden_sizes": HIDDEN, "n_iterations": 20_000, "learning_rate": 0.01}
_BATCHES = (1000, 16)
_SECONDS_OF_A_TURN = 0.003  # so short that some are not disturbed on a busy machine


class Function(NamedTuple):
    """Values (n,) and derivatives (n, 2) at points (n, 2) of a box."""

    values: Callable[[Any], Any]
    derivatives: Callable[[Any], Any]
    low: tuple[float, float]
    high: tuple[float, float]


def _gaussian_derivatives(x: Any) -> Any:
    return -x * gaussian(x)[:, None]


def _rosenbrock(x: Any) -> Any:
    u, v = x.T
    return (1 - u) ** 2 + 100 * (v - u**2) ** 2


def _rosenbrock_derivatives(x: Any) -> Any:
    u, v = x.T
    w = v - u**2
    return np.stack([-2 * (1 - u) - 400 * u * w, 200 * w], axis=1)


def _peaks(x: Any) -> Any:
    u, v = x.T
    left, middle, right = _hills(x)
    return 3 * (1 - u) ** 2 * left - 10 * (u / 5 - u**3 - v**5) * middle - right / 3


def _peaks_derivatives(x: Any) -> Any:
    u, v = x.T
    left, middle, right = _hills(x)
    slope = u / 5 - u**3 - v**5
    of_u = -6 * (1 - u) * (1 + u * (1 - u)) * left - 10 * (0.2 - 3 * u**2 - 2 * u * slope) * middle
    of_v = -6 * (v + 1) * (1 - u) ** 2 * left + (50 * v**4 + 20 * v * slope) * middle
    return np.stack([of_u + 2 * (u + 1) * right / 3, of_v + 2 * v * right / 3], axis=1)


def _hills(x: Any) -> tuple[Any, Any, Any]:
    u, v = x.T
    return np.exp(-(u**2) - (v + 1) ** 2), np.exp(-(u**2) - v**2), np.exp(-((u + 1) ** 2) - v**2)


FUNCTIONS = {
    "gaussian": Function(gaussian, _gaussian_derivatives, (-3, -3), (3, 3)),
    "rosenbrock": Function(_rosenbrock, _rosenbrock_derivatives, (-2, -1), (2, 3)),
    "peaks": Function(_peaks, _peaks_derivatives, (-3, -3), (3, 3)),
}


def samples(function: Function, n: int, seed: int) -> tuple[Any, Any, Any]:
    """Points, values and derivatives."""
    x = np.random.default_rng(seed).uniform(function.low, function.high, (n, 2))
    return x, function.values(x), function.derivatives(x)


def error(net: NN, function: Function) -> float:
    """The root mean square of a network's errors on a grid, over the function's standard deviation."""
    axes = [np.linspace(*ends, 61) for ends in zip(function.low, function.high, strict=True)]
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    truth = function.values(grid)
    return float(np.sqrt(np.mean((net.predict(grid) - truth) ** 2)) / truth.std())


def errors(function: Function, n: int, n_seeds: int, **options: Any) -> tuple[float, float]:
    """Without derivatives, and with them."""
    found: list[list[float]] = [[], []]
    for seed in range(n_seeds):
        x, y, dy = samples(function, n, seed)
        for k, given in enumerate((None, dy)):
            net = fit(x, y, dy=given, seed=seed, batch_size=n, **{**_OPTIONS, **options})
            found[k].append(error(net, function))
    without, with_them = map(statistics.median, found)
    return without, with_them


def step_times(batch_size: int, n_turns: int, dtype: str = "float64") -> tuple[float, float]:
    """Seconds of a step without derivatives and with them."""
    x, y, dy = samples(FUNCTIONS["gaussian"], 1000, 0)
    trainers = []
    for given in (None, dy):
        net = NN(2, HIDDEN, 1, rng=1, activation="tanh", init="glorot_uniform", dtype=dtype)
        source = ArraySource(x, y, batch_size, rng=1, dy=given)
        trainers.append(Trainer(net, source, optimizer="adam", learning_rate=1e-3, keep_losses=10))
    best, n_steps = [math.inf, math.inf], [10, 10]
    for _ in range(n_turns):
        for k, trainer in enumerate(trainers):
            start = time.perf_counter()
            trainer.run(n_steps[k])
            best[k] = min(best[k], (time.perf_counter() - start) / n_steps[k])
            n_steps[k] = max(10, int(_SECONDS_OF_A_TURN / best[k]))
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=300, help="of each measurement (default 300)")
    parser.add_argument("--seeds", type=int, default=5, help="fits of each kind (default 5)")
    parser.add_argument("--samples", default="100,200,400", help="numbers of samples (default 100,200,400)")
    arguments = parser.parse_args()
    print(f"{describe_machine()}\n")
    print("| batch | type | a step, us | with derivatives, us | ratio |\n|---|---|---|---|---|")
    for batch_size in _BATCHES:
        for dtype in ("float64", "float32"):
            plain, with_derivatives = step_times(batch_size, arguments.turns, dtype)
            times = f"{1e6 * plain:.2f} | {1e6 * with_derivatives:.2f}"
            print(f"| {batch_size} | {dtype} | {times} | {with_derivatives / plain:.2f} |", flush=True)
    print("\n| function | samples | error | with derivatives | ratio |\n|---|---|---|---|---|")
    for name, function in FUNCTIONS.items():
        for n in map(int, arguments.samples.split(",")):
            without, with_them = errors(function, n, arguments.seeds)
            print(
                f"| {name} | {n} | {without:.2g} | {with_them:.2g} | {without / with_them:.1f} |", flush=True
            )


if __name__ == "__main__":
    main()
