"""How good a fit gets in how much time: `python -m benchmarks.quality`.

Every program learns the article's target, 5 exp(-(x^2 + y^2) / 2) on [-3, 3]^2, from fresh uniform
samples: the network 2-16-16-1 with SiLU, batches of 32, Adam, a rate that falls like half a cosine
over the run, float64, one core. A run has as many iterations as fit into a budget of time, and its
error is the mean square over a grid of 101 x 101 points. Drawing samples is in the time, imports and
compiling are not.

Besides, the project runs the article's own configuration, and L-BFGS on a fixed sample if SciPy is there.
scikit-learn has no SiLU and takes tanh, and starts from its own parameters. The Levenberg-Marquardt method
runs here, in PyTorch and in SciPy, also on a fixed sample and with tanh (least_squares.py).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import least_squares
from .gaussian import GRID, HIDDEN, Fit, gaussian, grid_error
from .peers.__main__ import use_one_core

BATCH_SIZE = 32
WARMUP = 100
CHUNK = 100
MOST_TIME = 1.2  # times the budget: a run that takes longer is repeated with fewer iterations
BETAS, EPS = (0.9, 0.999), 1e-8


def rates(n_iterations: int) -> Any:
    """The learning rate of every iteration, that of `crabnet_jit.Cosine`."""
    from crabnet_jit import Cosine  # after the number of threads is set

    top = 0.02 if n_iterations <= 50_000 else 0.01  # long runs reach lower errors with small steps
    return Cosine(top, n_iterations, warmup=min(WARMUP, n_iterations // 10))(np.arange(n_iterations))


def initial_parameters(seed: int) -> list[tuple[Any, Any]]:
    """(W, b) of each layer."""
    from crabnet_jit import NN

    net = NN(2, HIDDEN, 1, seed, init="lecun_normal")
    return [(layer.W.copy(), layer.b[:, 0].copy()) for layer in net.layers]


def crabnet_jit() -> Fit:
    """The project."""
    from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        rng = StdRng(seed)
        net = NN(2, HIDDEN, 1, rng, activation="silu", init="lecun_normal")
        source = UniformSource(StandardGaussian(), batch_size=BATCH_SIZE, rng=rng)
        schedule = rates(n_iterations)
        trainer = Trainer(net, source, optimizer="adam", learning_rate=lambda i: schedule[i])
        start = time.perf_counter()
        trainer.run(n_iterations)
        return time.perf_counter() - start, net.get_output(GRID)

    return fit


def article() -> Fit:
    """The project with the article's configuration: 2-8-8-1, ReLU, plain gradient descent."""
    from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        rng = StdRng(seed)
        net = NN(2, [8, 8], 1, rng)
        trainer = Trainer(net, UniformSource(StandardGaussian(), rng=rng))
        start = time.perf_counter()
        trainer.run(n_iterations)
        return time.perf_counter() - start, net.get_output(GRID)

    return fit


def lbfgs() -> Fit:
    """The project with L-BFGS on a fixed sample, a grid of 40 x 40 points; SciPy's iterations."""
    import_module("scipy.optimize")
    from crabnet_jit import NN, Objective

    axis = np.linspace(-3, 3, 40)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        net = NN(2, HIDDEN, 1, seed, activation="silu", init="lecun_normal")
        objective = Objective(net, x, gaussian(x))
        start = time.perf_counter()
        objective.minimize(n_iterations)
        return time.perf_counter() - start, net.get_output(GRID)

    return fit


def torch_eager() -> Fit:
    """PyTorch, eager, one thread; samples of many iterations drawn at once, fused Adam."""
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    functional = torch.nn.functional
    linear, silu = functional.linear, functional.silu

    def outputs(parameters: Any, x: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = parameters
        return linear(silu(linear(silu(linear(x, W1, b1)), W2, b2)), W3, b3)

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        torch.manual_seed(seed)
        arrays = [array for pair in initial_parameters(seed) for array in pair]
        parameters = [torch.from_numpy(array).requires_grad_() for array in arrays]
        adam = torch.optim.Adam(parameters, betas=BETAS, eps=EPS, fused=True)
        schedule = rates(n_iterations).tolist()
        start = time.perf_counter()
        for first in range(0, n_iterations, CHUNK):
            x = torch.empty(CHUNK, BATCH_SIZE, 2).uniform_(-3, 3)
            target = 5 * torch.exp(-0.5 * x.square().sum(dim=-1, keepdim=True))
            for k in range(CHUNK):
                loss = functional.mse_loss(outputs(parameters, x[k]), target[k])
                gradients = torch.autograd.grad(loss, parameters)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                adam.param_groups[0]["lr"] = schedule[first + k]
                adam.step()
        seconds = time.perf_counter() - start
        with torch.no_grad():
            return seconds, outputs(parameters, torch.from_numpy(GRID)).numpy()

    return fit


def jax_scan() -> Fit:
    """JAX: jit of `lax.scan`, one thread, samples drawn inside."""
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    jax.config.update("jax_enable_x64", True)

    def outputs(parameters: Any, x: Any) -> Any:
        (W1, b1), (W2, b2), (W3, b3) = parameters
        h1 = jax.nn.silu(x @ W1.T + b1)
        return jax.nn.silu(h1 @ W2.T + b2) @ W3.T + b3

    def loss(parameters: Any, x: Any) -> Any:
        target = 5 * jnp.exp(-0.5 * jnp.square(x).sum(axis=1, keepdims=True))
        return jnp.mean((outputs(parameters, x) - target) ** 2)

    def iterate(carry: Any, rate: Any) -> Any:
        parameters, means, squares, step, key = carry
        key, x_key = jax.random.split(key)
        x = jax.random.uniform(x_key, (BATCH_SIZE, 2), minval=-3, maxval=3)
        gradients = jax.grad(loss)(parameters, x)
        step = step + 1
        means = jax.tree.map(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, means, gradients)
        squares = jax.tree.map(lambda s, g: BETAS[1] * s + (1 - BETAS[1]) * g * g, squares, gradients)
        rate, root = rate / (1 - BETAS[0] ** step), jnp.sqrt(1 - BETAS[1] ** step)
        parameters = jax.tree.map(
            lambda p, m, s: p - rate * m / (jnp.sqrt(s) / root + EPS), parameters, means, squares
        )
        return (parameters, means, squares, step, key), None

    run_chunk = jax.jit(lambda carry, chunk_rates: jax.lax.scan(iterate, carry, chunk_rates)[0])

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        parameters = jax.tree.map(jnp.asarray, initial_parameters(seed))
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        carry = parameters, zeros, zeros, jnp.asarray(0.0), jax.random.key(seed)
        schedule = jnp.asarray(rates(n_iterations)).reshape(-1, CHUNK)
        start = time.perf_counter()
        for chunk_rates in schedule:
            carry = run_chunk(carry, chunk_rates)
        jax.block_until_ready(carry)
        return time.perf_counter() - start, np.asarray(outputs(carry[0], GRID))

    return fit


def sklearn_partial_fit() -> Fit:
    """scikit-learn: `MLPRegressor.partial_fit` of 20 batches a call, which have one learning rate."""
    sklearn: Any = import_module("sklearn")
    neural_network: Any = import_module("sklearn.neural_network")
    batches = 20

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        rng = np.random.default_rng(seed)
        schedule = rates(n_iterations)
        model = neural_network.MLPRegressor(
            hidden_layer_sizes=HIDDEN,
            activation="tanh",
            batch_size=BATCH_SIZE,
            alpha=0.0,
            random_state=seed,
            shuffle=False,
        )
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            start = time.perf_counter()
            for first in range(0, n_iterations, batches):
                x = rng.uniform(-3, 3, (batches * BATCH_SIZE, 2))
                model.learning_rate_init = schedule[first]
                if first > 0:
                    model._optimizer.learning_rate_init = schedule[first]
                model.partial_fit(x, gaussian(x))
            return time.perf_counter() - start, model.predict(GRID)

    return fit


class Program(NamedTuple):
    """A row of the table; numbers of iterations are multiples of `chunk`."""

    title: str
    make: Callable[[], Fit]
    chunk: int = CHUNK
    n_seeds: int = 5


PROGRAMS = {
    "crabnet_jit": Program("crabnet_jit", crabnet_jit),
    "article": Program("crabnet_jit, the article's configuration", article),
    "lbfgs": Program("crabnet_jit and SciPy, L-BFGS", lbfgs),
    "lm": Program("crabnet_jit, Levenberg-Marquardt", least_squares.crabnet_jit, 1, 7),
    "torch_lm": Program("PyTorch, Levenberg-Marquardt", least_squares.torch_eager, 1),
    "scipy_lm": Program("SciPy, least_squares", least_squares.scipy_least_squares, 1),
    "jax": Program("JAX, jit + scan", jax_scan),
    "torch": Program("PyTorch, eager", torch_eager),
    "sklearn": Program("scikit-learn, partial_fit", sklearn_partial_fit),
}


def measure(name: str, budgets: list[float], n_seeds: int) -> None:
    """Print a line of JSON for each budget: budget, and for each seed iterations, seconds and error."""
    program = PROGRAMS[name]
    fit, n = program.make(), program.chunk
    fit(n, 0)  # compiles
    while (seconds := fit(n, 0)[0]) < 0.5 * min(budgets):
        n *= 2
    for budget in budgets:
        runs = []
        for seed in range(1, n_seeds + 1):
            while True:
                n = max(1, int(n * budget / seconds / program.chunk)) * program.chunk
                seconds, outputs = fit(n, seed)
                if seconds <= MOST_TIME * budget or n == program.chunk:
                    break
            runs.append((n, seconds, grid_error(outputs)))
        print(json.dumps((budget, runs)), flush=True)


def run_alone(name: str, budgets: list[float], n_seeds: int) -> dict[float, list[Any]] | None:
    """`measure` in a process of its own; None if something that it needs is not installed."""
    numbers = [str(n_seeds), *map(str, budgets)]
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.quality", "--alone", name, *numbers],
        cwd=Path(__file__).parents[1],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        if "ModuleNotFoundError" in result.stderr:
            return None
        raise RuntimeError(f"{name}:\n{result.stderr}")
    return dict(json.loads(line) for line in result.stdout.splitlines())


def main() -> None:
    """Measure every program and print the table."""
    if sys.argv[1:2] == ["--alone"]:
        measure(sys.argv[2], [float(text) for text in sys.argv[4:]], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.split("\n")[0])
    parser.add_argument("--budgets", default="0.1,0.2,1,10", help="seconds (default 0.1,0.2,1,10)")
    parser.add_argument("--seeds", type=int, help="runs of each kind (default 5; 7 of crabnet_jit's lm)")
    parser.add_argument("--programs", default=",".join(PROGRAMS), help="separated by commas (default: all)")
    parser.add_argument("--quick", action="store_true", help="one seed and 0.1 s: does everything work?")
    options = parser.parse_args()
    budgets = sorted(float(text) for text in options.budgets.split(","))
    if options.quick:
        budgets, options.seeds = [0.1], 1
    if unknown := set(options.programs.split(",")) - set(PROGRAMS):
        parser.error(f"unknown programs: {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    use_one_core()
    common = import_module("benchmarks.common")
    print(common.describe_machine())
    print("Mean squared error on the grid, median (least to largest), one core; without compiling\n")
    print("| program | runs | us an iteration | " + " | ".join(f"{budget:g} s" for budget in budgets) + " |")
    print("|---" * (len(budgets) + 3) + "|")
    for name in options.programs.split(","):
        print(f"measuring {name}", file=sys.stderr)
        title, n_seeds = PROGRAMS[name].title, options.seeds or PROGRAMS[name].n_seeds
        found = run_alone(name, budgets, n_seeds)
        if found is None:
            print(f"| {title} | not installed |" + " |" * (len(budgets) + 1), flush=True)
            continue
        cells = []
        for runs in found.values():
            errors = [error for _, _, error in runs]
            cells.append(f"{statistics.median(errors):.1e} ({min(errors):.1e} to {max(errors):.1e})")
        speeds = [1e6 * seconds / n for runs in found.values() for n, seconds, _ in runs]
        texts = [title, str(n_seeds), f"{statistics.median(speeds):.2f}", *cells]
        print("| " + " | ".join(texts) + " |", flush=True)


if __name__ == "__main__":
    main()
