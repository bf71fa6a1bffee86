"""Equations as data, next to PyTorch: `python -m benchmarks.equations`.

A network 2-20-20-20-1 with tanh, float64, learns to solve Poisson's equation on a square (100 points, and 40
on the boundary), and Burgers' equation (2,540 points, 80 on the boundary, 160 at the start, as in DeepXDE's
example). First the time of an iteration with Adam, all points in each, then errors over time. Everything runs
on one core. PyTorch, and DeepXDE, whose licence is the LGPL, are timed where they can be imported.
"""

import argparse
import functools
import itertools
import math
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any, NamedTuple

from .peers.__main__ import use_one_core

VISCOSITY = 0.01 / math.pi
HIDDEN = [20, 20, 20]
LEARNING_RATE = 1e-3
AT_ONCE = 20, 2, 50  # iterations, of the contenders in their order
Train = Callable[[int], object]


class Problem(NamedTuple):
    """A differential equation for u(x), x of two coordinates, with a known solution on a grid.

    It holds at the points `inside` (n, 2); `conditions` are points (n, 2) and the values of u there (n,).
    """

    name: str
    inside: Any
    conditions: list[tuple[Any, Any]]
    equation: Callable[..., Any]
    second: list[tuple[int, int]]
    torch_residual: Callable[..., Any]
    grid: Any
    solution: Any


def poisson_equation(x: Any, u: Any, du: Any, d2u: Any) -> Any:
    """u_xx + u_yy = -2 pi^2 sin(pi x) sin(pi y)."""
    return d2u[0] + d2u[1] + 2 * math.pi**2 * math.sin(math.pi * x[0]) * math.sin(math.pi * x[1])


def burgers_equation(x: Any, u: Any, du: Any, d2u: Any) -> Any:
    """u_t + u u_x = nu u_xx, with t and x as coordinates."""
    return du[0] + u * du[1] - VISCOSITY * d2u[0]


def poisson() -> Problem:
    """On the unit square, with u = 0 on the boundary: u = sin(pi x) sin(pi y)."""
    import numpy as np

    rng = np.random.default_rng(0)
    side = rng.uniform(0, 1, (10, 4))
    zero, one = np.zeros(10), np.ones(10)
    sides = [(side[:, 0], zero), (side[:, 1], one), (zero, side[:, 2]), (one, side[:, 3])]
    boundary = np.vstack([np.column_stack(pair) for pair in sides])
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 41)] * 2), axis=-1).reshape(-1, 2)
    inside = rng.uniform(0, 1, (100, 2))

    def residual(torch: Any, x: Any, u: Any, du: Any, d2u: Any) -> Any:
        sines = torch.sin(math.pi * x)
        return d2u[0] + d2u[1] + 2 * math.pi**2 * sines[:, 0] * sines[:, 1]

    solution = np.sin(np.pi * grid).prod(axis=1)
    conditions = [(boundary, np.zeros(40))]
    return Problem(
        "Poisson", inside, conditions, poisson_equation, [(0, 0), (1, 1)], residual, grid, solution
    )


def burgers() -> Problem:
    """For t from 0 to 1 and x from -1 to 1, with u(0, x) = -sin(pi x) and u(t, -1) = u(t, 1) = 0."""
    import numpy as np

    rng = np.random.default_rng(0)
    inside = rng.uniform([0, -1], [1, 1], (2540, 2))
    boundary = np.column_stack([rng.uniform(0, 1, 80), np.repeat([-1.0, 1.0], 40)])
    start = np.column_stack([np.zeros(160), rng.uniform(-1, 1, 160)])
    t, x = np.meshgrid(np.linspace(0, 0.99, 34), np.linspace(-1, 1, 101))

    def residual(torch: Any, x: Any, u: Any, du: Any, d2u: Any) -> Any:
        return du[0] + u * du[1] - VISCOSITY * d2u[0]

    conditions = [(boundary, np.zeros(80)), (start, -np.sin(np.pi * start[:, 1]))]
    grid = np.column_stack([t.ravel(), x.ravel()])
    solution = burgers_solution(t.ravel(), x.ravel())
    return Problem("Burgers", inside, conditions, burgers_equation, [(1, 1)], residual, grid, solution)


def burgers_solution(t: Any, x: Any) -> Any:
    """u(t, x) by the integrals of Cole and Hopf, with Gauss-Hermite quadrature [1]_.

    .. [1] C. Basdevant et al., "Spectral and finite difference solutions of the Burgers equation", 1986.
    """
    import numpy as np

    nodes, weights = np.polynomial.hermite.hermgauss(100)
    y = x[:, None] - 2 * np.sqrt(VISCOSITY * t[:, None]) * nodes
    exponent = -np.cos(np.pi * y) / (2 * np.pi * VISCOSITY)
    density = weights * np.exp(exponent - exponent.max(axis=1, keepdims=True))
    return -(np.sin(np.pi * y) * density).sum(axis=1) / density.sum(axis=1)


def relative_error(values: Any, problem: Problem) -> float:
    """In the Euclidean norm over the grid."""
    import numpy as np

    return float(np.linalg.norm(values.ravel() - problem.solution) / np.linalg.norm(problem.solution))


class Contender(NamedTuple):
    """A program that trains: `train(n)` takes so many iterations more, `error()` is that of its network."""

    name: str
    train: Train
    error: Callable[[], float]


def residuals(problem: Problem) -> list[Any]:
    """The terms of the loss for crabnet_jit: conditions are looked up by the point's coordinates."""
    from crabnet_jit import Residual

    def start(x: Any, u: Any) -> Any:
        return u + math.sin(math.pi * x[1])

    functions = {"Poisson": [lambda x, u: u], "Burgers": [lambda x, u: u, start]}[problem.name]
    terms = [Residual(problem.equation, source=problem.inside, second=problem.second)]
    conditions = zip(functions, problem.conditions, strict=True)
    return terms + [Residual(function, source=points) for function, (points, _) in conditions]


def with_crabnet_jit(problem: Problem) -> Contender:
    """The package with Adam."""
    from crabnet_jit import NN, Trainer

    net = NN(2, HIDDEN, 1, rng=1, activation="tanh", init="glorot_uniform")
    trainer = Trainer(
        net, residuals=residuals(problem), optimizer="adam", learning_rate=LEARNING_RATE, keep_losses=1
    )
    trainer.compile()
    return Contender("crabnet_jit", trainer.run, lambda: relative_error(net.predict(problem.grid), problem))


def with_levenberg_marquardt(problem: Problem) -> Contender:
    """The package with its second-order method."""
    from crabnet_jit import NN, Objective

    net, other = (NN(2, HIDDEN, 1, rng=k, activation="tanh", init="glorot_uniform") for k in (1, 2))
    Objective(other, residuals=residuals(problem)).minimize(1, optimizer="levenberg_marquardt")  # compiles
    objective = Objective(net, residuals=residuals(problem))
    return Contender(
        "crabnet_jit, Levenberg-Marquardt",
        lambda n: objective.minimize(n, optimizer="levenberg_marquardt"),
        lambda: relative_error(net.predict(problem.grid), problem),
    )


def torch_loss(problem: Problem) -> Callable[[Any], Any]:
    """The loss of a module of PyTorch, with derivatives by nested `torch.autograd.grad`."""
    torch: Any = import_module("torch")
    inside = torch.tensor(problem.inside, requires_grad=True)
    conditions = [(torch.tensor(x), torch.tensor(u)) for x, u in problem.conditions]

    def derivatives(values: Any) -> Any:
        return torch.autograd.grad(values.sum(), inside, create_graph=True)[0]

    def loss_of(net: Any) -> Any:
        u = net(inside)
        du = derivatives(u)
        curved = {i: derivatives(du[:, i]) for i, _ in problem.second}
        d2u = [curved[i][:, j] for i, j in problem.second]
        loss = problem.torch_residual(torch, inside, u[:, 0], du.unbind(1), d2u).square().mean()
        for x, value in conditions:
            loss = loss + (net(x)[:, 0] - value).square().mean()
        return loss

    return loss_of


def with_torch(problem: Problem) -> Contender | None:
    """PyTorch, eager."""
    if find_spec("torch") is None:
        return None
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    loss_of = torch_loss(problem)
    layers: list[Any] = []
    for n_in, n_out in itertools.pairwise([2, *HIDDEN, 1]):
        layers += [torch.nn.Linear(n_in, n_out, dtype=torch.float64), torch.nn.Tanh()]
        torch.nn.init.xavier_uniform_(layers[-2].weight)
        torch.nn.init.zeros_(layers[-2].bias)
    net = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)

    def train(n_iterations: int) -> None:
        for _ in range(n_iterations):
            loss = loss_of(net)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def error() -> float:
        with torch.no_grad():
            return relative_error(net(torch.tensor(problem.grid)).numpy(), problem)

    return Contender("PyTorch", train, error)


def with_deepxde(problem: Problem) -> Contender | None:
    """DeepXDE over PyTorch, with the same points; None where it is not installed."""
    os.environ.setdefault("DDE_BACKEND", "pytorch")
    try:
        dde: Any = import_module("deepxde")
    except ImportError:
        return None
    torch: Any = import_module("torch")
    dde.config.set_default_float("float64")
    torch.set_num_threads(1)

    def equation(x: Any, u: Any) -> Any:
        du = [dde.grad.jacobian(u, x, i=0, j=j)[:, 0] for j in range(2)]
        d2u = [dde.grad.hessian(u, x, i=i, j=j)[:, 0] for i, j in problem.second]
        return problem.torch_residual(torch, x, u[:, 0], du, d2u)[:, None]

    corners = problem.grid.min(axis=0), problem.grid.max(axis=0)
    conditions = [dde.icbc.PointSetBC(x, u[:, None]) for x, u in problem.conditions]
    data = dde.data.PDE(
        dde.geometry.Rectangle(*corners), equation, conditions, num_domain=0, anchors=problem.inside
    )
    net = dde.nn.FNN([2, *HIDDEN, 1], "tanh", "Glorot uniform")
    model = dde.Model(data, net)
    model.compile("adam", lr=LEARNING_RATE, verbose=0)

    def train(n_iterations: int) -> None:
        model.train(iterations=n_iterations, display_every=10**9, verbose=0)

    return Contender(
        f"DeepXDE {metadata.version('deepxde')}",
        train,
        lambda: relative_error(model.predict(problem.grid), problem),
    )


def print_times(problems: list[Problem], rounds: int) -> None:
    """An iteration of all programs, which take turns."""
    from .common import best_seconds

    print("| equation | points | program | ms an iteration | ratio |\n|---|---|---|---|---|")
    for problem in problems:
        made = [make(problem) for make in (with_crabnet_jit, with_torch, with_deepxde)]
        contenders = [contender for contender in made if contender is not None]
        turns = [
            functools.partial(contender.train, n) for contender, n in zip(contenders, AT_ONCE, strict=False)
        ]
        for turn in turns:
            turn()
        best = best_seconds(*turns, rounds=rounds)
        taken = [1e3 * seconds / n for seconds, n in zip(best, AT_ONCE, strict=False)]
        for contender, milliseconds in zip(contenders, taken, strict=True):
            row = problem.name, f"{len(problem.inside):,}", contender.name, f"{milliseconds:.3f}"
            print(f"| {' | '.join(row)} | {milliseconds / taken[0]:.1f} |", flush=True)


def print_errors(problem: Problem, budgets: list[float]) -> None:
    """Relative errors after these seconds of training."""
    head = " | ".join(f"{budget:g} s" for budget in budgets)
    print(f"\n{problem.name}: relative error after\n\n| program | {head} |\n|---|{'---|' * len(budgets)}")
    for make in (with_crabnet_jit, with_levenberg_marquardt, with_torch):
        contender, spent, cells = make(problem), 0.0, []
        if contender is None:
            continue
        at_once = {"PyTorch": 20, "crabnet_jit": 500}.get(contender.name, 2)
        for budget in budgets:
            while spent < budget:
                start = time.perf_counter()
                contender.train(at_once)
                spent += time.perf_counter() - start
            cells.append(f"{contender.error():.1e}")
        print(f"| {contender.name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.equations", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=20, help="of which the best counts (default 20)")
    parser.add_argument("--quick", action="store_true", help="one round, a second: does it work?")
    options = parser.parse_args()
    rounds, budgets = (1, [1.0]) if options.quick else (options.rounds, [1.0, 3.0, 10.0, 30.0])
    use_one_core()
    common: Any = import_module("benchmarks.common")
    print(f"{common.describe_machine()}\n")
    print("compiling", file=sys.stderr)
    problems = [poisson(), burgers()]
    print_times(problems, rounds)
    for problem in problems:
        print_errors(problem, budgets)


if __name__ == "__main__":
    main()
