"""The cost of calling a network in compiled code: `python -m benchmarks.calls` prints a table.

A network 2-16-16-1 in float64, one point a call in a loop that Numba compiles, except where a row says
otherwise.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from crabnet_jit import NN

from .common import best_seconds, check_article, describe_machine

N = 20_000  # points of a timed loop: a few milliseconds
N_PYTHON, N_ROWS = 500, 1000
HIDDEN = [16, 16]


class Row(NamedTuple):
    """A function, how many calls it makes, and the limit in ns, or in times of another row."""

    name: str
    run: Callable[[], object]
    n_calls: int
    limit: float | None = None
    compared_with: str | None = None


@njit
def _sum(net: Any, x: Any) -> float:
    total = 0.0
    for k in range(x.shape[0]):
        total += net(x[k, 0], x[k, 1])
    return total


@njit
def _sum_of_gradients(net: Any, x: Any) -> float:
    total = 0.0
    for k in range(x.shape[0]):
        slope_0, slope_1 = net.gradient(x[k, 0], x[k, 1])
        total += slope_0 + slope_1
    return total


@njit
def _values(net: Any, x: Any, y: Any) -> None:
    for k in range(x.shape[0]):
        net.predict_into(x[k], y)


@njit
def _jacobians(net: Any, x: Any, J: Any) -> None:
    for k in range(x.shape[0]):
        net.jacobian_into(x[k], J)


@njit
def _hessians(net: Any, x: Any, H: Any) -> None:
    for k in range(x.shape[0]):
        net.hessian_into(x[k], H)


def _loop_over(function: Any) -> Any:
    """The loop of `_sum` over a function that is a global of it, frozen or not."""

    @njit
    def total_of(x: Any) -> float:
        total = 0.0
        for k in range(x.shape[0]):
            total += function(x[k, 0], x[k, 1])
        return total

    return total_of


def _calls_from_python(function: Callable[[Any], object], argument: Any) -> Callable[[], object]:
    def run() -> None:
        for _ in range(N_PYTHON):
            function(argument)

    return run


def rows(activation: str) -> list[Row]:
    """What is measured for networks with an activation, compiled."""
    from scipy.integrate import nquad  # asv imports this file, too, where there is no SciPy

    net = NN(2, HIDDEN, 1, 1, activation=activation, init="glorot_uniform")
    three = NN(2, HIDDEN, 3, 1, activation=activation, init="glorot_uniform")
    x = np.random.default_rng(0).uniform(-3, 3, (N, 2))
    y, J, H = np.empty(3), np.empty((1, 2)), np.empty((1, 2, 2))
    J_three, row, many = np.empty((3, 2)), x[:1].copy(), x[:N_ROWS].copy()
    of_global, of_frozen = _loop_over(net), _loop_over(net.freeze())
    if not math.isclose(_sum(net, x), net.predict(x).sum(), rel_tol=1e-9):
        raise AssertionError("the compiled loop computes something else")
    is_relu = activation == "relu"
    pointer, box = net.low_level_callable(), [[0.0, 0.5], [0.0, 0.5]]

    def by_python(x0: float, x1: float) -> float:
        return float(net.predict(np.array([[x0, x1]]))[0, 0])

    def integral(function: Any) -> Callable[[], object]:
        return lambda: nquad(function, box, opts={"epsabs": 1e-3})

    found = [
        Row("value, argument", lambda: _sum(net, x), N, 100 if is_relu else 150),
        Row("value, global", lambda: of_global(x), N),
        Row("value, frozen", lambda: of_frozen(x), N, 60 if is_relu else 110),
        Row("value and gradient", lambda: _sum_of_gradients(net, x), N, 2.5, "value, argument"),
        Row("Jacobian", lambda: _jacobians(net, x, J), N, 3, "value, argument"),
        Row("value, 3 outputs", lambda: _values(three, x, y), N),
        Row("Jacobian, 3 outputs", lambda: _jacobians(three, x, J_three), N, 3, "value, 3 outputs"),
        Row("Hessian", lambda: _hessians(net, x, H), N, 3, "value and gradient"),
        Row("net.predict(row) from Python", _calls_from_python(net.predict, row), N_PYTHON, 5000),
        Row(f"net.predict({N_ROWS} rows), a row", _calls_from_python(net.predict, many), N_PYTHON * N_ROWS),
        Row(f"net.jacobian({N_ROWS} rows), a row", _calls_from_python(net.jacobian, many), N_PYTHON * N_ROWS),
        Row("nquad, a Python function", integral(by_python), 1),
        Row("nquad, low-level callable", integral(pointer), 1, 1 / 3, "nquad, a Python function"),
    ]
    return [row._replace(name=f"{activation}: {row.name}") for row in found]


def main() -> None:
    """Measure in turns, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calls", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=50, help="of which the best counts (default 50)")
    options = parser.parse_args()
    check_article()
    table = [row for activation in ("relu", "tanh") for row in rows(activation)]
    for row in table:
        row.run()
    best = best_seconds(*(row.run for row in table), rounds=options.rounds)
    times = {row.name: 1e9 * seconds / row.n_calls for row, seconds in zip(table, best, strict=True)}
    print(describe_machine())
    print("\n| call | ns | times | limit |\n|---|---|---|---|")
    for row in table:
        ratio, limit = "", "" if row.limit is None else f"{row.limit:g} ns"
        if row.compared_with is not None:
            other = f"{row.name.split(':')[0]}: {row.compared_with}"
            ratio, limit = (
                f"{times[row.name] / times[other]:.2f}",
                f"{row.limit:.3g} of “{row.compared_with}”",
            )
        print(f"| {row.name} | {times[row.name]:,.1f} | {ratio} | {limit} |")


if __name__ == "__main__":
    main()
