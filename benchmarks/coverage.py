"""Whether error bars contain the share that they promise: `python -m benchmarks.coverage`.

Networks are fitted to draws of Friedman's first function with `bayesian_regularization`. The table shows the
share of new observations, and of the function's values, in their intervals of nominally 90 %: the mean over
the draws, the smallest, and the largest.

It needs scikit-learn: `python -m pip install -e ".[sklearn]"`.
"""

import argparse
import time
from importlib import import_module
from typing import Any

import numpy as np

from crabnet_jit import fit

from .common import describe_machine

N_SAMPLES, N_NEW, NOISE = 200, 1000, 1.0
HIDDEN = [10], [16], [8, 8]
_NINE_OF_TEN = 1.645


def shares(hidden: list[int], seed: int) -> tuple[float, float, float, float]:
    """Shares of new data, and of the function, in their intervals; the network's RMSE and estimated noise."""
    make_friedman1 = import_module("sklearn.datasets").make_friedman1
    x, y = make_friedman1(N_SAMPLES + N_NEW, noise=NOISE, random_state=seed)
    _, clean = make_friedman1(N_SAMPLES + N_NEW, noise=0.0, random_state=seed)
    options: dict[str, Any] = {"optimizer": "bayesian_regularization", "seed": seed, "n_iterations": 20_000}
    net = fit(x[:N_SAMPLES], y[:N_SAMPLES], hidden_sizes=hidden, **options)
    assert net.posterior is not None
    assert net.standardization is not None
    mean, std = net.predict(x[N_SAMPLES:], return_std=True)
    noise = net.posterior.noise_std * float(net.standardization.y_std[0])
    error = np.abs(clean[N_SAMPLES:] - mean)
    of_new = np.abs(y[N_SAMPLES:] - mean) < _NINE_OF_TEN * std
    of_function = error < _NINE_OF_TEN * np.sqrt(std**2 - noise**2)
    return float(of_new.mean()), float(of_function.mean()), float(np.sqrt((error**2).mean())), noise


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100, help="of the data (default 100)")
    n_draws = parser.parse_args().draws
    print(describe_machine())
    print("\n| hidden | parameters | new data, % | function, % | RMSE | noise found (1.0) | seconds a fit |")
    print("|---|---|---|---|---|---|---|")
    for hidden in HIDDEN:
        start = time.perf_counter()
        found = np.array([shares(hidden, seed) for seed in range(n_draws)])
        seconds = (time.perf_counter() - start) / n_draws
        n_parameters = sum(b * (a + 1) for a, b in zip([10, *hidden], [*hidden, 1], strict=True))
        cells = [f"{100 * k.mean():.1f} ({100 * k.min():.0f} to {100 * k.max():.0f})" for k in found.T[:2]]
        means = [f"{k.mean():.2f}" for k in found.T[2:]]
        print(
            f"| {hidden} | {n_parameters} |", " | ".join([*cells, *means, f"{seconds:.2f}"]), "|", flush=True
        )


if __name__ == "__main__":
    main()
