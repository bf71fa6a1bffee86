"""Where the time of an iteration goes: `python -m benchmarks.parts` prints a table."""

import argparse
from typing import Any

import numpy as np

from crabnet_jit import StdRng
from crabnet_jit.kernels import chacha, gaussian, mse, network, sgd, uniform
from crabnet_jit.kernels._jit import entry, kernel
from crabnet_jit.kernels.view import panel

from .common import article_trainer, best_seconds, check_article, describe_machine, train, training_arguments

N = 1000  # iterations of the article's job


@kernel
def _forward(layout: Any, parameters: Any, x: Any, activations: Any) -> None:
    for iteration in range(x.shape[0]):
        network.network_forward(layout, parameters, panel(x, iteration, 0), activations)


@kernel
def _backward(layout: Any, parameters: Any, x: Any, activations: Any, errors: Any, gradients: Any) -> None:
    for iteration in range(x.shape[0]):
        x_i = panel(x, iteration, 0)
        network.network_backward(layout, parameters, x_i, activations, errors, gradients)


@kernel
def _loss(x: Any, target: Any, dL_dx: Any) -> None:
    for iteration in range(x.shape[0]):
        mse.mse_forward(panel(x, iteration, 0), panel(target, iteration, 0), 16, 1 / 16, dL_dx)


@kernel
def _update(parameters: Any, gradients: Any, learning_rates: Any) -> None:
    for iteration in range(learning_rates.size):
        sgd.sgd_update(parameters, gradients, learning_rates[iteration])


_entries = {
    function: entry(function)
    for function in (
        chacha.fill_groups, uniform.fill_uniform, gaussian.gaussian_panels,
        _forward, _backward, _loss, _update,
    )
}  # fmt: skip


class Parts:
    """Every part of 1,000 iterations as a method, compiled on construction."""

    names = ("random_blocks", "samples", "target", "forward", "loss", "backward", "update")

    def __init__(self) -> None:
        self._arguments = training_arguments([8, 8], 16, N)
        self._layout, self._parameters, self._gradients, self._activations, self._errors = self._arguments[:5]
        self._x, self._target = self._arguments[5:7]
        self._rates = np.full(N, 1e-9)
        self._key = StdRng(1)._key
        self._draws = np.empty(N * 32, np.uint64)
        self._workspace = np.empty(uniform.buffer_size(16, 2, 64), np.uint64)
        self._samples = np.empty((N, 1, 2, 16))
        self._dL_dx = np.empty((1, 16))
        for name in self.names:
            getattr(self, name)()

    def random_blocks(self) -> None:
        """ChaCha: 32 draws an iteration."""
        _entries[chacha.fill_groups](self._key, np.uint64(0), np.uint64(0), self._draws)

    def samples(self) -> None:
        """Random blocks again, and their draws as numbers on a box, one row per coordinate."""
        scale, low, zero = np.array([6.0, 6.0]), np.array([-3.0, -3.0]), np.uint64(0)
        _entries[uniform.fill_uniform](
            self._key, zero, zero, 105, 52, scale, low, 16, self._workspace, self._samples
        )

    def target(self) -> None:
        """The Gaussian."""
        _entries[gaussian.gaussian_panels](self._samples, self._target)

    def forward(self) -> None:
        """All layers forward."""
        _entries[_forward](self._layout, self._parameters, self._x, self._activations)

    def loss(self) -> None:
        """The mean squared error and its gradient."""
        _entries[_loss](self._target, self._target, self._dL_dx)

    def backward(self) -> None:
        """All layers backward."""
        _entries[_backward](
            self._layout, self._parameters, self._x, self._activations, self._errors, self._gradients
        )

    def update(self) -> None:
        """Stochastic gradient descent."""
        _entries[_update](self._parameters, self._gradients, self._rates)

    def train(self) -> None:
        """The compiled run: forward, loss, backward, update."""
        train(*self._arguments)


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

    trainer = article_trainer()
    n = trainer.chunk_size
    trainer.run(n)
    net, x, target = trainer.net, trainer._x, trainer._target
    workspaces, losses, rates = (trainer._activations, trainer._errors), np.empty(n), np.full(n, 1e-9)

    def compiled() -> None:
        trainer.source.fill(0, x, target)
        train(net.layout, net.parameters, net.gradients, *workspaces, x, target, 16, rates, losses)

    whole, kernels = best_seconds(lambda: trainer.run(n), compiled, rounds=rounds)

    print(describe_machine())
    print("\n| part | ns per iteration |\n|---|---|")
    for name, best in times.items():
        print(f"| {name.replace('_', ' ')} | {1e9 * best / N:.1f} |")
    print(f"| everything, as `Trainer.run` does it | {1e9 * whole / n:.1f} |")
    print(f"\nPython between chunks of {n} iterations: {1 - kernels / whole:.1%}")


if __name__ == "__main__":
    main()
