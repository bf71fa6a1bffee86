"""The job that SimpleChains.jl publishes: `python -m benchmarks.simplechains`.

A network 4-32-16-4 with tanh learns the exponential of a 2 x 2 matrix, from 10,000 matrices of
standard normal numbers: float32, all samples in every step, the mean squared error, Adam with a rate of
0.001, 10,000 epochs. Their documentation compares its time with that of other libraries.

The project runs on one core; PyTorch, if it is installed, with one thread and with two, eager and
compiled, of which the faster counts. Every program has a process of its own, and the same data and initial
parameters. GFLOP/s count the products of matrices only.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIZES = (4, 32, 16, 4)
N_SAMPLES = 10_000
LEARNING_RATE = 0.001
WARMUP_EPOCHS = 5


class Result(NamedTuple):
    """What a program reports of its run: seconds without compiling, and the last loss."""

    seconds: float
    loss: float


def exponentials(matrices: Any) -> Any:
    """The exponentials of real matrices (n, 2, 2).

    With s half of the trace, and B = A - s, B^2 is the number -det(B). So exp(A) = exp(s) (c + r B), where
    c = cosh(q) and r = sinh(q) / q for a positive q^2 = -det(B), and cos and sin for a negative one.
    """
    s = 0.5 * np.trace(matrices, axis1=1, axis2=2)
    B = matrices - s[:, None, None] * np.eye(2)
    square = -np.linalg.det(B)
    q = np.sqrt(np.abs(square))
    divisor = np.where(q > 0, q, 1.0)
    c = np.where(square > 0, np.cosh(q), np.cos(q))
    r = np.where(q > 0, np.where(square > 0, np.sinh(q), np.sin(q)) / divisor, 1.0)
    result: Any = np.exp(s)[:, None, None] * (c[:, None, None] * np.eye(2) + r[:, None, None] * B)
    return result


def data() -> tuple[Any, Any]:
    """Inputs and targets, both (N_SAMPLES, 4), float32."""
    x = np.random.default_rng(0).normal(size=(N_SAMPLES, 4))
    return x.astype(np.float32), exponentials(x.reshape(-1, 2, 2)).reshape(-1, 4).astype(np.float32)


def initial_parameters() -> list[tuple[Any, Any]]:
    """(W, b) of each layer: W uniform as X. Glorot has it, b 0."""
    rng = np.random.default_rng(1)
    parameters = []
    for n_in, n_out in pairwise(SIZES):
        bound = math.sqrt(6 / (n_in + n_out))
        W = rng.uniform(-bound, bound, (n_out, n_in)).astype(np.float32)
        parameters.append((W, np.zeros(n_out, np.float32)))
    return parameters


def run_crabnet_jit(epochs: int) -> Result:
    """The project."""
    from crabnet_jit import NN, ArraySource, Trainer  # in its own process only

    def trainer() -> Trainer:
        net = NN(
            SIZES[0],
            SIZES[1:-1],
            SIZES[-1],
            activation="tanh",
            init=initial_parameters(),
            dtype="float32",
        )
        source = ArraySource(*data(), batch_size=N_SAMPLES, shuffle=False)
        return Trainer(net, source, optimizer="adam", learning_rate=LEARNING_RATE)

    trainer().run(WARMUP_EPOCHS)
    timed = trainer()
    start = time.perf_counter()
    losses = timed.run(epochs).losses
    return Result(time.perf_counter() - start, float(losses[-1]))


def run_torch(epochs: int, threads: int, compiled: bool) -> Result:
    """PyTorch: functional layers, autograd, fused Adam; or all of it but Adam compiled."""
    torch: Any = import_module("torch")
    torch.set_num_threads(threads)
    x, target = map(torch.from_numpy, data())
    functional = torch.nn.functional

    def gradients_and_loss(parameters: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = parameters
        h1 = torch.tanh(functional.linear(x, W1, b1))
        h2 = torch.tanh(functional.linear(h1, W2, b2))
        return functional.mse_loss(functional.linear(h2, W3, b3), target)

    step = torch.compile(gradients_and_loss) if compiled else gradients_and_loss

    def train(n: int) -> Any:
        arrays = [array for pair in initial_parameters() for array in pair]
        parameters = [torch.from_numpy(array).requires_grad_() for array in arrays]
        adam = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
        for _ in range(n):
            loss = step(parameters)
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            adam.step()
        return loss.detach()

    train(WARMUP_EPOCHS)
    start = time.perf_counter()
    loss = float(train(epochs))
    return Result(time.perf_counter() - start, loss)


PROGRAMS: dict[str, Callable[[int], Result]] = {
    "crabnet_jit": run_crabnet_jit,
    "torch-1": lambda epochs: run_torch(epochs, 1, False),
    "torch-1-compiled": lambda epochs: run_torch(epochs, 1, True),
    "torch-2": lambda epochs: run_torch(epochs, 2, False),
    "torch-2-compiled": lambda epochs: run_torch(epochs, 2, True),
}
#: Lines of the table: their text, and the programs of which the fastest counts.
LINES = (
    ("crabnet_jit, 1 thread", ("crabnet_jit",)),
    ("PyTorch, 1 thread", ("torch-1", "torch-1-compiled")),
    ("PyTorch, 2 threads", ("torch-2", "torch-2-compiled")),
)


def run_alone(name: str, epochs: int) -> Result | str:
    """A program in a process of its own, on as many cores as it has threads; or why it did not run."""
    threads = "2" if "2" in name else "1"
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.simplechains", "--alone", name, str(epochs)],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return Result(*json.loads(result.stdout.splitlines()[-1]))
    if "No module named" in result.stderr:
        return "not installed"
    return "failed: " + result.stderr.strip().splitlines()[-1]


def use_cores(n: int) -> None:
    """Limit this process to this many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-n:])


def main() -> None:
    """Run every program and print the table."""
    if sys.argv[1:2] == ["--alone"]:
        use_cores(2 if "2" in sys.argv[2] else 1)
        print(json.dumps(PROGRAMS[sys.argv[2]](int(sys.argv[3]))))
        return
    from .common import Peak, best_seconds, describe_machine, training_flops

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simplechains", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--epochs", type=int, default=10_000, help="default 10000")
    parser.add_argument("--quick", action="store_true", help="200 epochs: does everything work?")
    options = parser.parse_args()
    epochs = 200 if options.quick else options.epochs
    yardstick = Peak("float32")
    peak = yardstick.flops / best_seconds(yardstick, rounds=200)[0] / 1e9
    flops = training_flops(list(SIZES[1:-1]), N_SAMPLES, SIZES[0], SIZES[-1])

    print(describe_machine())
    print(f"Network {'-'.join(map(str, SIZES))}, {N_SAMPLES:,} samples, {epochs:,} epochs; float32")
    print(f"Peak of a core: {peak:.1f} GFLOP/s in float32\n")
    print("| program | us an epoch | ratio | ns a sample | GFLOP/s | of the peak of a core | final loss |")
    print("|---|---|---|---|---|---|---|", flush=True)
    base = None
    for text, names in LINES:
        found: dict[str, Result] = {}
        reason = ""
        for name in names:
            print(f"running {name}", file=sys.stderr)
            result = run_alone(name, epochs)
            if isinstance(result, Result):
                found[name] = result
            else:
                reason = result
                print(f"{name}: {reason}", file=sys.stderr)
        if not found:
            print(f"| {text} | {reason} | | | | | |", flush=True)
            continue
        name = min(found, key=lambda name: found[name].seconds)
        us = 1e6 * found[name].seconds / epochs
        base = us if base is None else base
        way = "" if len(names) == 1 else ", compiled" if name.endswith("compiled") else ", eager"
        rate = flops / us / 1e3
        print(
            f"| {text}{way} | {us:.1f} | {us / base:.2f} | {1e3 * us / N_SAMPLES:.1f} | {rate:.1f} "
            f"| {rate / peak:.0%} | {found[name].loss:.5f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
