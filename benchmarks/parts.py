"""Where the time of an iteration goes: `python -m benchmarks.parts` prints a table."""

import argparse
from typing import Any

import numpy as np

from . import paths
from .common import article_trainer, best_seconds, check_article, describe_machine, training_arguments
from .paths import Stream, entries, entry_point, jit, losses, optimizers, targets, uniform, view

N = 1000  # iterations of the article's job


@jit.kernel
def _forward(net: Any, workspace: Any, batches: Any) -> None:
    for iteration in range(batches.x.shape[0]):
        paths.forward(net, workspace, batches, iteration)


@jit.kernel
def _backward(net: Any, workspace: Any, batches: Any) -> None:
    for iteration in range(batches.x.shape[0]):
        paths.backward(net, workspace, batches, iteration)


@jit.kernel
def _loss(batches: Any, constants: Any, dL_dx: Any) -> None:
    for iteration in range(batches.target.shape[0]):
        target, weight = view.panel(batches.target, iteration, 0), view.panel(batches.weight, iteration, 0)
        losses.mse_forward(target, target, weight, constants, dL_dx)


@jit.kernel
def _update(parameters: Any, gradients: Any, learning_rates: Any) -> None:
    for iteration in range(learning_rates.size):
        optimizers.sgd_update(parameters, gradients, learning_rates[iteration])


_entries = {
    function: entry_point(function)
    for function in (
        paths.fill_groups, paths.fill_uniform, targets.gaussian_panels,
        _forward, _backward, _loss, _update,
    )
}  # fmt: skip


class Parts:
    """Every part of 1,000 iterations as a method, compiled on construction."""

    names = ("random_blocks", "samples", "target", "forward", "loss", "backward", "update")

    def __init__(self) -> None:
        self._arguments = training_arguments([8, 8], 16, N)
        by_type = {type(argument).__name__: argument for argument in self._arguments}
        self._network, self._workspace, self._batches = (
            by_type[name] for name in ("Network", "Workspace", "Batches")
        )
        self._rates = np.full(N, 1e-9)
        key = np.arange(8, dtype=np.uint32)
        self._stream = Stream(key, np.uint64(0), np.uint64(0), 105)
        self._draws = np.empty(N * 32, np.uint64)
        self._draws_at_once = np.empty(uniform.buffer_size(16, 2, 64), np.uint64)
        self._samples, self._target = np.empty((N, 1, 2, 16)), np.empty((N, 1, 1, 16))
        self._constants, self._dL_dx = np.zeros(1), np.empty((1, 16))
        for name in self.names:
            getattr(self, name)()

    def random_blocks(self) -> None:
        """ChaCha: 32 draws an iteration."""
        _entries[paths.fill_groups](self._stream, np.uint64(0), self._draws)

    def samples(self) -> None:
        """Random blocks again, and their draws as numbers on a box, one row per coordinate."""
        scale, low = np.array([6.0, 6.0]), np.array([-3.0, -3.0])
        _entries[paths.fill_uniform](self._stream, 52, scale, low, 16, self._draws_at_once, self._samples)

    def target(self) -> None:
        """The Gaussian."""
        _entries[targets.gaussian_panels](self._samples, self._target)

    def forward(self) -> None:
        """All layers forward."""
        _entries[_forward](self._network, self._workspace, self._batches)

    def loss(self) -> None:
        """The mean squared error and its gradient."""
        _entries[_loss](self._batches, self._constants, self._dL_dx)

    def backward(self) -> None:
        """All layers backward."""
        _entries[_backward](self._network, self._workspace, self._batches)

    def update(self) -> None:
        """Stochastic gradient descent."""
        _entries[_update](self._network.parameters, self._workspace.gradients, self._rates)

    def train(self) -> None:
        """The compiled run: forward, loss, backward, update."""
        entries.train(*self._arguments)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="of which the best counts (default 300)")
    rounds = parser.parse_args().rounds
    check_article()
    parts = Parts()
    names = [*parts.names, "train"]
    times = dict(
        zip(names, best_seconds(*(getattr(parts, name) for name in names), rounds=rounds), strict=True)
    )

    trainer: Any = article_trainer()
    n = trainer.chunk_size
    trainer.run(n)
    chunks = paths.chunks_of(trainer)
    chunk = chunks.prepare(0, n)
    arguments = chunks.arguments(chunk._replace(learning_rates=np.full(n, 1e-9)))

    def compiled() -> None:
        trainer.source.fill(0, chunk.batches)
        entries.train(*arguments)

    whole, kernels = best_seconds(lambda: trainer.run(n), compiled, rounds=rounds)

    print(describe_machine())
    print("\n| part | ns per iteration |\n|---|---|")
    for name, best in times.items():
        print(f"| {name.replace('_', ' ')} | {1e9 * best / N:.1f} |")
    print(f"| everything, as `Trainer.run` does it | {1e9 * whole / n:.1f} |")
    print(f"\nPython between chunks of {n} iterations: {1 - kernels / whole:.1%}")


if __name__ == "__main__":
    main()
