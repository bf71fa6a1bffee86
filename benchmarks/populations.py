"""Many networks at once: `python -m benchmarks.populations`.

Networks 2-8-8-1 with ReLU learn 2,000 samples of the article's target, in batches of 16, by plain gradient
descent: microseconds for each network and iteration, including all of `fit_many`. JAX with vmap and PyTorch
with batched products, if installed, train all networks in step for comparison; they draw random samples, and
only the iterations are counted. At the end, the memory of 10,000 networks.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from crabnet_jit import StandardGaussian, fit, fit_many
from crabnet_jit.machine.cores import usable_cores

from .common import describe_machine

N_SAMPLES, BATCH_SIZE, SIZES, RATE = 2000, 16, (2, 8, 8, 1), 0.002
N_TOGETHER = 256  # networks of JAX and PyTorch, which take them in step; more were slower
OPTIONS: dict[str, Any] = {
    "hidden_sizes": SIZES[1:-1],
    "activation": "relu",
    "optimizer": "sgd",
    "batch_size": BATCH_SIZE,
    "learning_rate": RATE,
    "keep_losses": 0,
}


def data() -> tuple[Any, Any]:
    """Samples of the article's target."""
    x = np.random.default_rng(1).uniform(-3, 3, (N_SAMPLES, SIZES[0]))
    return x, StandardGaussian()(x)


def ours(n_networks: int, n_iterations: int, n_threads: int) -> float:
    """Seconds; the last network is checked against its own fit."""
    x, y = data()
    specs: list[dict[str, Any]] = [{"seed": seed} for seed in range(n_networks)]
    start = time.perf_counter()
    fits = fit_many(specs, x, y, n_iterations=n_iterations, n_threads=n_threads, **OPTIONS)
    seconds = time.perf_counter() - start
    alone = fit(x, y, n_iterations=n_iterations, **specs[-1], **OPTIONS)
    assert fits[-1] is not None
    assert np.array_equal(fits[-1].parameters, alone.parameters)
    return seconds


def jax(n_networks: int, n_iterations: int) -> float:
    """Seconds of the iterations, without compiling."""
    library: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    library.config.update("jax_enable_x64", True)

    def loss(layers: Any, x: Any, target: Any) -> Any:
        h = x
        for W, b in layers[:-1]:
            h = library.nn.relu(h @ W + b)
        W, b = layers[-1]
        return jnp.mean((h @ W + b - target) ** 2)

    def iterate(carry: Any, _: Any) -> Any:
        layers, key = carry
        key, of_x = library.random.split(key)
        x = library.random.uniform(of_x, (BATCH_SIZE, SIZES[0]), minval=-3.0, maxval=3.0)
        target = 5.0 * jnp.exp(-0.5 * jnp.square(x).sum(axis=1, keepdims=True))
        gradients = library.grad(loss)(layers, x, target)
        return (library.tree.map(lambda p, g: p - RATE * g, layers, gradients), key), None

    def train(layers: Any, key: Any) -> Any:
        return library.lax.scan(iterate, (layers, key), length=n_iterations)[0]

    together = library.jit(library.vmap(train))
    rng = np.random.default_rng(1)
    layers = [
        (jnp.asarray(rng.normal(0, 0.5, (n_networks, a, b))), jnp.zeros((n_networks, b)))
        for a, b in pairwise(SIZES)
    ]
    keys = library.random.split(library.random.key(1), n_networks)
    library.block_until_ready(together(layers, keys))
    start = time.perf_counter()
    library.block_until_ready(together(layers, keys))
    return time.perf_counter() - start


def pytorch(n_networks: int, n_iterations: int) -> float:
    """Seconds of the iterations."""
    torch: Any = import_module("torch")
    torch.set_default_dtype(torch.float64)
    layers = [
        (
            (0.5 * torch.randn(n_networks, a, b)).requires_grad_(),
            torch.zeros(n_networks, 1, b, requires_grad=True),
        )
        for a, b in pairwise(SIZES)
    ]
    parameters = [part for layer in layers for part in layer]

    def step() -> None:
        x = 6.0 * torch.rand(n_networks, BATCH_SIZE, SIZES[0]) - 3.0
        target = 5.0 * torch.exp(-0.5 * (x**2).sum(dim=2, keepdim=True))
        h = x
        for W, b in layers[:-1]:
            h = torch.relu(torch.baddbmm(b, h, W))
        W, b = layers[-1]
        loss = ((torch.baddbmm(b, h, W) - target) ** 2).mean(dim=(1, 2)).sum()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(RATE * gradient)

    step()
    start = time.perf_counter()
    for _ in range(n_iterations):
        step()
    return time.perf_counter() - start


def memory(n_networks: int) -> None:
    """Print how many bytes this process needs for networks, over those for one; Linux only."""
    x, y = data()

    def now() -> int:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    fit_many([{}], x, y, n_iterations=2000, **OPTIONS)
    before = now()
    fits = fit_many([{"seed": k} for k in range(n_networks)], x, y, n_iterations=2000, **OPTIONS)
    print(json.dumps({"networks": len(fits.networks), "bytes": now() - before}))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1000, help="(default 1000)")
    parser.add_argument("--iterations", type=int, default=20_000, help="of each (default 20000)")
    parser.add_argument("--many", type=int, default=10_000, help="networks in memory (default 10000)")
    parser.add_argument("--only-memory", action="store_true", help="print bytes as JSON")
    options = parser.parse_args()
    if options.only_memory:
        memory(options.many)
        return
    print(describe_machine())
    print("\n| program | networks | threads | us for each network and iteration |\n|---|---|---|---|")
    ours(2, 100, 1)  # compiles
    for n_threads in sorted({1, min(2, usable_cores()), usable_cores()}):
        seconds = ours(options.networks, options.iterations, n_threads)
        each = 1e6 * seconds / options.networks / options.iterations
        print(f"| crabnet_jit | {options.networks:,} | {n_threads} | {each:.3f} |", flush=True)
    n, n_steps = min(N_TOGETHER, options.networks), max(1, options.iterations // 100)
    peers: list[tuple[str, str, Callable[[int, int], float]]] = [
        ("JAX, vmap", "jax", jax),
        ("PyTorch, batched", "torch", pytorch),
    ]
    for name, module, measure in peers:
        if find_spec(module) is not None:
            print(f"| {name} | {n:,} | its own | {1e6 * measure(n, n_steps) / n / n_steps:.3f} |", flush=True)
    command = [sys.executable, "-m", "benchmarks.populations", "--only-memory", "--many", str(options.many)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"\nMemory of {found['networks']:,} networks with their histories: {found['bytes'] / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
