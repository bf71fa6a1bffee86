"""What the benchmarks share: the article's job, correctness before timing, fair clocks."""

import functools
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource
from crabnet_jit.kernels import network
from crabnet_jit.kernels._jit import entry, kernel
from crabnet_jit.kernels.layout import make_layout, parameter_count, unit_count
from crabnet_jit.kernels.tile import tile_full, tile_outer, tile_store
from crabnet_jit.panels import aligned_zeros, panel_shape

# The first lines that the article prints.
PUBLISHED_LOG = {0: 0.5877961461896624, 10_000: 0.19003256083155048}


def article_trainer(chunk_size: int | None = None) -> Trainer:
    """The article's job, at its start."""
    rng = StdRng(1)
    net = NN(2, [8, 8], 1, rng)
    return Trainer(net, UniformSource(StandardGaussian(), rng=rng), chunk_size=chunk_size)


@functools.cache
def check_article() -> None:
    """Compile, and refuse to time a program that computes something else."""
    for iteration, loss in article_trainer().run(10_001).log:
        if abs(loss / PUBLISHED_LOG[iteration] - 1) > 1e-10:
            raise AssertionError(
                f"iteration {iteration}: running loss {loss}, not {PUBLISHED_LOG[iteration]}"
            )


def training_arguments(hidden_sizes: list[int], batch_size: int, n_iterations: int) -> tuple[Any, ...]:
    """Arguments for the kernel `train`: a network of two inputs and one output on random data."""
    layout = make_layout([2, *hidden_sizes, 1])
    n_panels, width = panel_shape(batch_size)
    rng = np.random.default_rng(0)
    parameters, gradients = (aligned_zeros(parameter_count(layout)) for _ in range(2))
    parameters[:] = rng.normal(size=parameters.size) / np.sqrt(max(hidden_sizes))
    activations, errors = (aligned_zeros(unit_count(layout) * width) for _ in range(2))
    x = aligned_zeros(n_iterations, n_panels, 2, width)
    x[:] = rng.uniform(-3, 3, x.shape)
    target = aligned_zeros(n_iterations, n_panels, 1, width)
    target[:] = np.exp(-0.5 * (x**2).sum(axis=2, keepdims=True))
    rates, losses = np.full(n_iterations, 1e-4), np.empty(n_iterations)
    return layout, parameters, gradients, activations, errors, x, target, batch_size, rates, losses


def training_flops(hidden_sizes: list[int], batch_size: int) -> int:
    """Multiplications and additions in the matrix products of one training step."""
    sizes = [2, *hidden_sizes, 1]
    # forward and the weights' gradients everywhere, the inputs' gradients behind the first layer
    products = 2 * sizes[0] * sizes[1] + sum(3 * n_in * n_out for n_in, n_out in pairwise(sizes[1:]))
    return 2 * products * batch_size


@kernel
def _multiply_adds(x: Any, y: Any, n: Any) -> None:
    tile = tile_full(x, 4, 4, 0.5, 0)
    for _ in range(n):
        tile = tile_outer(tile, y, 0, x, 0, 0)
    tile_store(tile, x, 0, 0)


class Peak:
    """A loop of multiply-adds in registers: the fastest that one core can go, and a yardstick.

    It is part of the benchmarks, so it is the same code for every commit that is compared.
    """

    steps = 20_000
    flops = steps * 16 * 8 * 2

    def __init__(self) -> None:
        self._run = entry(_multiply_adds)
        self._x, self._y = np.zeros((4, 32)), np.zeros((4, 1))
        self()

    def __call__(self) -> None:
        self._run(self._x, self._y, self.steps)


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def best_seconds(*functions: Callable[[], object], rounds: int) -> list[float]:
    """The shortest time of each function; they take turns, so that all see the same machine."""
    times = [[seconds(function) for function in functions] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def describe_machine() -> str:
    """Processor, versions and date, for the head of a table."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    packages = ", ".join(f"{name} {version(name)}" for name in ("crabnet-jit", "numba", "numpy"))
    today = datetime.now(UTC).date().isoformat()
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}; {today}"


train = entry(network.train)
