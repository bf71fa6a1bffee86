"""Time and memory of Levenberg-Marquardt iterations: `python -m benchmarks.levenberg_marquardt`.

The networks have tanh and learn the article's target, or one like it, at random points. First the parts of an
iteration of 2-16-16-1 with 2,048 points, next to NumPy's products and factorisation of matrices of the same
sizes; then iterations of other networks; then one with 100,000 samples, with the memory of the process before
and after it. Everything runs on one core. `benchmarks.quality` prints what errors are reached in what time.
"""

import argparse
import resource
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from .peers.__main__ import use_one_core

WARMUP = 20  # iterations


class Job(NamedTuple):
    """A network and a number of samples."""

    sizes: tuple[int, ...]
    n_samples: int = 2048

    def trainer(self, n_threads: int = 1) -> Any:
        """At its start; its run does not end by itself."""
        import numpy as np  # after the number of threads is set

        from crabnet_jit import NN, ArraySource, LevenbergMarquardt, Trainer

        from .gaussian import gaussian

        n_in, *hidden, n_out = self.sizes
        x = np.random.default_rng(0).uniform(-3, 3, (self.n_samples, n_in))
        y = gaussian(x * np.sqrt(2 / n_in))[:, None]
        net = NN(n_in, hidden, n_out, 1, activation="tanh", init="glorot_uniform")
        tolerances = dict.fromkeys(("gradient_tolerance", "step_tolerance", "loss_tolerance"), 0.0)
        source = ArraySource(x, y, batch_size=self.n_samples)
        return Trainer(net, source, optimizer=LevenbergMarquardt(**tolerances), n_threads=n_threads)

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes))


ARTICLE = Job((2, 16, 16, 1))
JOBS = (Job((2, 8, 8, 1)), ARTICLE, Job((2, 32, 32, 1)), Job((10, 64, 1)))
LARGE = Job((2, 43, 43, 1), 100_000)


def peak_megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def milliseconds(trainer: Any, rounds: int) -> float:
    """Of an iteration, the best of some after the first ones."""
    from .common import seconds

    trainer.run(WARMUP)
    best = min(seconds(lambda: trainer.run(1)) for _ in range(rounds))
    if trainer.iteration != WARMUP + rounds:
        raise AssertionError("the run ended before its last iteration")
    return 1e3 * best


def parts(trainer: Any) -> tuple[dict[str, Callable[[], object]], int]:
    """Parts of an iteration, compiled; and the multiply-adds of the products."""
    from crabnet_jit.kernels.cholesky import add_to_diagonal, factorize
    from crabnet_jit.kernels.gauss_newton import add_blocks, fill_matrix
    from crabnet_jit.kernels.levenberg_marquardt import fill_equations
    from crabnet_jit.machine.view import panels

    from .paths import chunks_of, entry_point, jit

    @jit.kernel
    def products(problem: Any) -> None:
        x, size = problem.batches.x, problem.curvature.group
        for first in range(0, x.shape[1], size):
            group = panels(x, 0, first, min(size, x.shape[1] - first))
            activations, never = problem.workspace.activations, problem.workspace.interrupt
            add_blocks(problem.network.layout, activations, problem.curvature, group, never, None)

    @jit.kernel
    def filling(problem: Any) -> None:
        curvature = problem.curvature
        size = curvature.vector.size
        fill_matrix(problem.network.layout, curvature.equations, curvature.matrix, size, None)
        add_to_diagonal(curvature.matrix, size, curvature.step.size, 1.0)

    @jit.kernel
    def factorization(problem: Any) -> None:
        curvature = problem.curvature
        filling(problem)
        factorize(curvature.matrix, curvature.vector.size, curvature.squares, problem.workspace.interrupt)

    problem = chunks_of(trainer)._method._problem
    n_products = products_of_a_sample(trainer.net) * problem.batches.x.shape[1] * problem.batches.x.shape[3]
    calls = {kernel.py_func.__name__: entry_point(kernel) for kernel in (products, filling, factorization)}
    equations = entry_point(fill_equations)
    ready = {name: lambda call=call: call(problem) for name, call in calls.items()}
    return ready | {"equations": lambda: equations(problem, None, None)}, n_products


def products_of_a_sample(net: Any) -> int:
    """Multiply-adds of J^T J: pairs of sums times pairs of inputs, for each pair of layers."""
    sizes = [(int(layer.W.shape[0]), int(layer.W.shape[1]) + 1) for layer in net.layers]
    within = sum(n * (n + 1) // 2 * (m * (m + 1) // 2) for n, m in sizes)
    return within + sum(n * q * m * j for k, (n, m) in enumerate(sizes) for q, j in sizes[:k])


def print_parts(rounds: int) -> None:
    """The parts of an iteration, and what NumPy takes for products and factorisation."""
    import numpy as np

    from .common import best_seconds

    trainer = ARTICLE.trainer()
    whole = milliseconds(trainer, rounds)
    ours, n_products = parts(trainer)
    n_parameters = trainer.net.parameters.size
    J = np.random.default_rng(0).normal(size=(ARTICLE.n_samples, n_parameters))
    A = J.T @ J
    functions = ours | {"J.T @ J": lambda: J.T @ J, "cholesky": lambda: np.linalg.cholesky(A)}
    for function in functions.values():
        function()
    best = best_seconds(*functions.values(), rounds=2 * rounds)
    of = dict(zip(functions, (1e3 * seconds for seconds in best), strict=True))
    factorization = of["factorization"] - of["filling"]
    rows = {
        "J^T J": (of["products"], of["J.T @ J"]),
        "outputs, gradient, derivatives of sums": (of["equations"] - of["products"], None),
        "the matrix from its blocks": (of["filling"], None),
        "Cholesky": (factorization, of["cholesky"]),
        "the rest: solutions, acceleration, the loss after the step": (
            whole - of["equations"] - of["factorization"],
            None,
        ),
        "an iteration": (whole, None),
    }
    print(f"{ARTICLE}, {n_parameters} parameters, {ARTICLE.n_samples:,} samples\n")
    print("| part | ms | NumPy, ms |\n|---|---|---|")
    for name, (here, there) in rows.items():
        print(f"| {name} | {here:.2f} | {'' if there is None else f'{there:.2f}'} |")
    print(f"\nJ^T J: {n_products / of['products'] / 1e6:.1f} G multiply-adds a second\n")


def print_sizes(rounds: int) -> None:
    """Iterations of networks of several sizes."""
    print("| network | parameters | samples | ms an iteration |\n|---|---|---|---|")
    for job in JOBS:
        trainer = job.trainer()
        time_taken = milliseconds(trainer, rounds)
        size = trainer.net.parameters.size
        print(f"| {job} | {size:,} | {job.n_samples:,} | {time_taken:.2f} |", flush=True)


def print_large(job: Job) -> None:
    """One iteration of many samples, and memory."""
    from .common import seconds

    before = peak_megabytes()
    trainer = job.trainer()
    taken, size = seconds(lambda: trainer.run(1)), trainer.net.parameters.size
    print(f"\n{job}, {size:,} parameters, {job.n_samples:,} samples: an iteration takes {taken:.2f} s")
    print(f"Peak memory of the process: {peak_megabytes():.0f} MB, {before:.0f} MB before this iteration")
    print(f"The Jacobian alone would be {8e-6 * size * job.n_samples:,.0f} MB")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.levenberg_marquardt", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=40, help="of which the best counts (default 40)")
    parser.add_argument("--quick", action="store_true", help="one round, fewer samples: does it work?")
    options = parser.parse_args()
    rounds, large = (1, LARGE._replace(n_samples=4000)) if options.quick else (options.rounds, LARGE)
    use_one_core()
    common: Any = import_module("benchmarks.common")
    print(f"{common.describe_machine()}\n")
    print("compiling", file=sys.stderr)
    print_parts(rounds)
    print_sizes(rounds)
    print_large(large)


if __name__ == "__main__":
    main()
