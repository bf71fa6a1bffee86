"""Compiling in advance, for a quick first result: on a server, in an image, on a cluster's machines."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from crabnet_jit.components.activations import ACTIVATIONS, GELU, Activation, Tanh
from crabnet_jit.components.losses import LOSSES, Loss, as_loss
from crabnet_jit.components.optimizers import OPTIMIZERS
from crabnet_jit.data.random import StdRng
from crabnet_jit.data.sources import ArraySource, UniformSource
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.data.targets import StandardGaussian
from crabnet_jit.kernels.curvature_entries import loss_curvature
from crabnet_jit.network.network import NN
from crabnet_jit.reading.texts import Rows, read_texts
from crabnet_jit.training.objective import Objective
from crabnet_jit.training.trainer import Trainer

_ONE_PANEL, _SEVERAL = 16, 32  # samples: one panel and several panels have separate machine code


def warmup() -> None:
    """Compile what the article's job and predictions need, or load it from the cache on disk.

    It covers all ReLU networks with the mean squared error, plain gradient descent, and batches of any size.
    It is optional: otherwise, the first run does it. `Trainer.compile` does the same for any other training,
    and the command `crabnet-jit warmup` for everything in the package.

    Examples
    --------
    >>> import crabnet_jit
    >>> crabnet_jit.warmup()
    """
    for batch_size in (_ONE_PANEL, _SEVERAL):
        net = NN(2, [8, 8], 1, rng=1)
        Trainer(net, UniformSource(StandardGaussian(), batch_size=batch_size, rng=1)).compile()
    net.get_output([[0.0, 0.0]])


def everything() -> Iterator[tuple[str, Callable[[], object]]]:
    """Everything that the command line and `fit` may need, piece by piece: a name, and what compiles it."""
    yield "random numbers", partial(StdRng(0).next_u64, 1)
    yield "numbers of tables", partial(read_texts, Rows.of(["1"]), 1, ".")
    for dtype in ("float64", "float32"):
        yield f"outputs for a few samples, {dtype}", partial(_predict_few, dtype)
        for activation in (*(kind() for kind in ACTIVATIONS.values()), GELU("tanh")):
            yield f"{activation!r}, {dtype}", partial(_predict, activation, dtype)
            yield f"{activation!r}, derivatives, {dtype}", partial(_train_derivatives, activation, dtype)
        for loss in (kind() for kind in LOSSES.values()):
            yield f"{loss!r}, {dtype}", partial(_train, dtype, _ONE_PANEL, loss=loss)
            yield f"{loss!r}, unknown targets, {dtype}", partial(_train_with_gaps, dtype, loss)
        for optimizer in (kind() for kind in OPTIMIZERS.values()):
            if not optimizer.is_second_order:
                yield f"{optimizer!r}, {dtype}", partial(_train, dtype, _ONE_PANEL, optimizer=optimizer)
        for n in (_ONE_PANEL, _SEVERAL):
            yield f"batches of {n}, {dtype}", partial(_train, dtype, n)
            more: dict[str, Any] = {"optimizer": "adam", "activation": "tanh", "l2": 0.1, "dropout": 0.5}
            yield f"batches of {n} with calls, {dtype}", partial(_train, dtype, n, **more)
    for name in loss_curvature:
        yield f"second derivatives, {name}", partial(_train_second_order, LOSSES[name]())
    yield (
        "second derivatives, derivatives",
        partial(_train_derivatives, Tanh(), "float64", optimizer="levenberg_marquardt"),
    )
    for name in ("relu", "tanh"):
        yield f"error bars, {name}", partial(_find_error_bars, name)


def _predict(activation: Activation, dtype: str) -> None:
    NN(1, [2], 1, rng=1, activation=activation, dtype=dtype).get_output([[0.0]])


def _predict_few(dtype: str) -> None:
    net = NN(1, [2], 1, rng=1, dtype=dtype)
    net.standardization = Standardization(*np.array([[0.0], [1.0], [0.0], [1.0]]))
    net.predict(np.zeros((1, 1)))


def _train(dtype: str, batch_size: int, activation: str = "relu", **options: Any) -> None:
    """Compile training and validation for such batches, from both kinds of sources."""
    x = np.linspace(0.0, 1.0, 2 * batch_size)[:, None]
    y = np.ones_like(x)  # right for every loss
    loss = as_loss("loss", options.get("loss", "mse"))
    net = NN(1, [2], loss.n_heads, rng=1, activation=activation, dtype=dtype)
    for source in (
        ArraySource(x, y, batch_size, rng=1),
        UniformSource(lambda rows: np.ones(len(rows)), batch_size=batch_size, rng=1),
    ):
        Trainer(net, source, **options).compile()
    StandardGaussian()([[0.0, 0.0]])
    Objective(net, x[:batch_size], y[:batch_size], loss=loss).loss_and_gradient(net.parameters)


def _train_with_gaps(dtype: str, loss: Loss) -> None:
    """Compile training with partly unknown targets."""
    y = np.array([[1.0, 0.0], [1.0, np.nan]])  # right for every loss
    net = NN(1, [2], 2 * loss.n_heads, rng=1, dtype=dtype)
    Trainer(net, ArraySource([0.0, 1.0], y, 2, rng=1), loss=loss).compile()


def _train_derivatives(activation: Activation, dtype: str, **options: Any) -> None:
    """Compile training with derivatives as data."""
    x = np.linspace(0.5, 1.0, _ONE_PANEL)
    net = NN(1, [2], 1, rng=1, activation=activation, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # slopes that jump
        Trainer(net, ArraySource(x, x**2, _ONE_PANEL, dy=2 * x), **options).compile()
        Objective(net, x, x**2, dy=2 * x).loss_and_gradient(net.parameters)


def _train_second_order(loss: Loss) -> None:
    """Compile both forms: with fewer parameters than samples, and with more."""
    x = np.linspace(0.0, 1.0, _ONE_PANEL)[:, None]
    n_outputs = 2 if loss.name == "cross_entropy" else 1
    y = np.full((_ONE_PANEL, n_outputs), 1.0 / n_outputs)  # right for every loss
    for width in (1, 2 * _ONE_PANEL):
        net = NN(1, [width], n_outputs, rng=1)
        source = ArraySource(x, y, _ONE_PANEL)
        Trainer(net, source, loss=loss, optimizer="levenberg_marquardt").compile()


def _find_error_bars(activation: str) -> None:
    """Compile error bars for an activation that is part of kernels, or one that they call."""
    x = np.linspace(-1.0, 1.0, _ONE_PANEL)
    net = NN(1, [2], 1, rng=1, activation=activation)
    trainer = Trainer(net, ArraySource(x, x**2, _ONE_PANEL), optimizer="bayesian_regularization")
    trainer.run(1)
    net.posterior = trainer.posterior()
    net.predict(x, return_std=True)
