"""The same fits on real data, here and in PyTorch: `python -m benchmarks.real_data`.

Two data sets that come with scikit-learn: diabetes (442 patients, 10 features, one number) and digits
(1,797 images of 8 x 8, ten classes). Each seed shuffles the samples, keeps a fifth for validation,
standardises by the rest and draws initial parameters. Both programs then train the same network from
these parameters with minibatches, Adam and a constant learning rate, in float64, on one core. The score is
R2 for diabetes and the accuracy for digits, on the validation fifth.

It needs scikit-learn and PyTorch: `python -m pip install -e ".[peers]"`.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from .peers.__main__ import use_one_core


class Job(NamedTuple):
    """A data set, and how it is fitted."""

    data: str
    score: str
    hidden: list[int]
    activation: str
    loss: str
    batch_size: int
    epochs: int
    learning_rate: float


class Split(NamedTuple):
    """Standardised inputs and targets (n, n_features) for training and validation."""

    x: Any
    y: Any
    x_valid: Any
    y_valid: Any


#: Trains a network from the given (W, b): seconds, and outputs for the validation inputs.
Fit = Callable[[Job, Split, list[tuple[Any, Any]], int], tuple[float, Any]]

JOBS = (
    Job("diabetes", "R2", [16, 16], "silu", "mse", 32, 40, 0.002),
    Job("digits", "accuracy", [64, 32], "relu", "cross_entropy", 32, 40, 0.001),
)


def load(job: Job, seed: int) -> Split:
    """Shuffle, split, standardise."""
    import numpy as np  # after the number of threads is set

    datasets: Any = import_module("sklearn.datasets")
    x, y = getattr(datasets, f"load_{job.data}")(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    valid, train = order[: len(x) // 5], order[len(x) // 5 :]

    def standardise(values: Any) -> Any:
        std = values[train].std(axis=0)
        return (values - values[train].mean(axis=0)) / np.where(std > 0, std, 1.0)

    x = standardise(x)
    y = np.eye(10)[y] if job.loss == "cross_entropy" else standardise(y[:, None])
    return Split(x[train], y[train], x[valid], y[valid])


def score(job: Job, outputs: Any, targets: Any) -> float:
    """Accuracy or R2."""
    if job.score == "accuracy":
        return float((outputs.argmax(axis=1) == targets.argmax(axis=1)).mean())
    return float(1 - ((outputs - targets) ** 2).sum() / ((targets - targets.mean()) ** 2).sum())


def initial_parameters(job: Job, split: Split, seed: int) -> list[tuple[Any, Any]]:
    """(W, b) of each layer, by K. He's rule."""
    from crabnet_jit import NN

    net = NN(split.x.shape[1], job.hidden, split.y.shape[1], seed, init="he_normal")
    return [(layer.W.copy(), layer.b[:, 0].copy()) for layer in net.layers]


def fit_here(job: Job, split: Split, parameters: list[tuple[Any, Any]], seed: int) -> tuple[float, Any]:
    """The project."""
    from crabnet_jit import NN, ArraySource, Trainer

    net = NN(split.x.shape[1], job.hidden, split.y.shape[1], activation=job.activation, init=parameters)
    start = time.perf_counter()
    source = ArraySource(split.x, split.y, batch_size=job.batch_size, rng=seed)
    trainer = Trainer(net, source, loss=job.loss, optimizer="adam", learning_rate=job.learning_rate)
    trainer.run(job.epochs * source.n_batches)
    return time.perf_counter() - start, net.get_output(split.x_valid)


def fit_torch(job: Job, split: Split, parameters: list[tuple[Any, Any]], seed: int) -> tuple[float, Any]:
    """PyTorch, eager: modules, fused Adam, an order of samples for each epoch."""
    torch: Any = import_module("torch")
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    modules: list[Any] = []
    for W, b in parameters:
        linear = torch.nn.Linear(W.shape[1], W.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W))
            linear.bias.copy_(torch.from_numpy(b))
        modules += [linear, {"relu": torch.nn.ReLU, "silu": torch.nn.SiLU}[job.activation]()]
    net = torch.nn.Sequential(*modules[:-1])
    loss_of = {"mse": torch.nn.MSELoss, "cross_entropy": torch.nn.CrossEntropyLoss}[job.loss]()
    start = time.perf_counter()
    x, y = torch.from_numpy(split.x), torch.from_numpy(split.y)
    if job.loss == "cross_entropy":
        y = y.argmax(dim=1)
    adam = torch.optim.Adam(net.parameters(), lr=job.learning_rate, fused=True)
    for _ in range(job.epochs):
        for rows in torch.randperm(len(x)).split(job.batch_size):
            loss = loss_of(net(x[rows]), y[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return seconds, net(torch.from_numpy(split.x_valid)).numpy()


PROGRAMS: dict[str, Fit] = {"crabnet_jit": fit_here, "PyTorch, eager": fit_torch}


def main() -> int:
    """Fit with every seed in both programs, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.real_data", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--seeds", type=int, default=5, help="fits of each kind (default 5)")
    n_seeds = parser.parse_args().seeds
    missing = [name for name in ("sklearn", "torch") if importlib.util.find_spec(name) is None]
    if missing:
        print(f'needs {" and ".join(missing)}: python -m pip install -e ".[peers]"', file=sys.stderr)
        return 1
    use_one_core()
    common = import_module("benchmarks.common")
    print(common.describe_machine())
    print(f"Mean and standard deviation over {n_seeds} seeds; median of the seconds, without compiling\n")
    print("| data | network | program | score on a fifth | seconds |\n|---|---|---|---|---|")
    for job in JOBS:
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
        for seed in range(n_seeds + 1):
            print(f"{job.data}, seed {seed}", file=sys.stderr)
            split = load(job, seed)
            parameters = initial_parameters(job, split, seed)
            for name, fit in PROGRAMS.items():
                seconds, outputs = fit(job, split, parameters, seed)
                if seed > 0:  # the first one compiles
                    runs[name].append((score(job, outputs, split.y_valid), seconds))
        sizes = [split.x.shape[1], *job.hidden, split.y.shape[1]]
        for name, found in runs.items():
            scores = [value for value, _ in found]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            median = statistics.median(seconds for _, seconds in found)
            print(
                f"| {job.data} | {'-'.join(map(str, sizes))} | {name} "
                f"| {job.score} {statistics.mean(scores):.4f} +- {spread:.4f} | {median:.4f} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
