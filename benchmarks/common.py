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
from numpy.typing import NDArray

import crabnet_jit
from crabnet_jit import NN, Source, StandardGaussian, StdRng, Trainer, UniformSource

from .paths import chunks_of, entry_point, jit, vector

Array = NDArray[Any]

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


class GivenData(Source):
    """A source of random data: the panels of a trainer are written once, and then left as they are."""

    in_features, out_features = 2, 1

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._written: set[tuple[int, int]] = set()

    @property
    def batch_size(self) -> int:  # type: ignore[override]  # in earlier commits it cannot be assigned
        """Samples in an iteration."""
        return self._batch_size

    # Earlier commits give the panels themselves, some of them without weights.
    def fill(self, iteration: int, *given: Any) -> None:
        """Inputs on [-3, 3]^2, and a Gaussian of them, between 0 and 1."""
        x, target = (given[0].x, given[0].target) if len(given) == 1 else given[:2]
        if (x.ctypes.data, x.size) not in self._written:
            x[:] = np.random.default_rng(0).uniform(-3, 3, x.shape)
            target[:] = np.exp(-0.5 * (x**2).sum(axis=2, keepdims=True))
            self._written.add((x.ctypes.data, x.size))


def random_net(hidden_sizes: list[int], out_features: int = 1, **options: Any) -> NN:
    """A network of two inputs with normal parameters; options are those of `NN`."""
    net = NN(2, hidden_sizes, out_features, 1, **options)
    normal = np.random.default_rng(0).normal(size=net.parameters.size)
    net.parameters[:] = normal / np.sqrt(max(hidden_sizes))
    return net


def given_data_trainer(net: NN, batch_size: int, n_iterations: int, **options: Any) -> Trainer:
    """A compiled trainer on constant random data: `run(n_iterations)` is one call of kernels.

    Options are those of `Trainer`.
    """
    trainer = Trainer(net, GivenData(batch_size), learning_rate=1e-4, chunk_size=n_iterations, **options)
    trainer.run(n_iterations)
    return trainer


def training_arguments(
    hidden_sizes: list[int], batch_size: int, n_iterations: int, dtype: str = "float64"
) -> tuple[Any, ...]:
    """Arguments for the kernel `train`: a network of two inputs and one output on random data."""
    trainer = given_data_trainer(random_net(hidden_sizes, dtype=dtype), batch_size, n_iterations)
    chunks = chunks_of(trainer)
    chunk = chunks.prepare(0, n_iterations)
    rates = np.full(n_iterations, 1e-4)
    arguments: tuple[Any, ...] = chunks.arguments(chunk._replace(learning_rates=rates))
    return arguments


def training_flops(hidden_sizes: list[int], batch_size: int, n_in: int = 2, n_out: int = 1) -> int:
    """Multiplications and additions in the matrix products of one training step."""
    sizes = [n_in, *hidden_sizes, n_out]
    # forward and the weights' gradients everywhere, the inputs' gradients after the first layer
    products = 2 * sizes[0] * sizes[1] + sum(3 * a * b for a, b in pairwise(sizes[1:]))
    return 2 * products * batch_size


@jit.kernel
def _four(a: Any, b: Any, s0: Any, s1: Any, s2: Any, s3: Any) -> Any:
    fma = vector.fma
    return fma(a, b, s0), fma(a, b, s1), fma(a, b, s2), fma(a, b, s3)


@jit.kernel
def _multiply_adds(x: Any, n: Any) -> None:
    """16 sums side by side, which start apart, or the compiler would make one of them."""
    a, b = vector.load(x, 0, 0), vector.load(x, 1, 0)
    c = a + 1.0
    s0, s1, s2, s3 = a, a + 1.0, a + 2.0, a + 3.0
    s4, s5, s6, s7 = a + 4.0, a + 5.0, a + 6.0, a + 7.0
    t0, t1, t2, t3 = c * s0, c * s1, c * s2, c * s3
    t4, t5, t6, t7 = c * s4, c * s5, c * s6, c * s7
    for _ in range(n):
        s0, s1, s2, s3 = _four(a, b, s0, s1, s2, s3)
        s4, s5, s6, s7 = _four(a, b, s4, s5, s6, s7)
        t0, t1, t2, t3 = _four(a, c, t0, t1, t2, t3)
        t4, t5, t6, t7 = _four(a, c, t4, t5, t6, t7)
    total = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + t0 + t1 + t2 + t3 + t4 + t5 + t6 + t7
    vector.store(x, 0, 0, total * 0.0)


class Peak:
    """A loop of multiply-adds in registers: the fastest that one core can go, and a yardstick.

    It is part of the benchmarks, so it is the same code for every commit that is compared.

    Attributes
    ----------
    flops : int
        Multiplications and additions of one call.
    """

    steps = 20_000

    def __init__(self, dtype: str = "float64") -> None:
        lanes = 64 // np.dtype(dtype).itemsize
        self.flops = self.steps * 16 * lanes * 2
        self._run = entry_point(_multiply_adds)
        self._x = np.zeros((2, lanes), dtype)
        self()

    def __call__(self) -> None:
        self._run(self._x, self.steps)


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
    packages = f"crabnet-jit {crabnet_jit.__version__}, numba {version('numba')}, numpy {version('numpy')}"
    today = datetime.now(UTC).date().isoformat()
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}; {today}"
