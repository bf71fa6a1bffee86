"""What `benchmarks.compare` times, written with the public names of the package alone.

`JOBS` has a function for each job. It makes and compiles the job, and returns another one, `run(n)`, which
does the job's step n times. What that returns, a number, is compared between the versions. `COUNTS` gives
figures that are compared exactly, when the jobs have just been compiled.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource

Run = Callable[[int], float]


def _training(hidden: list[int], batch_size: int, network: dict[str, Any], training: dict[str, Any]) -> Run:
    rng = StdRng(1)
    net = NN(2, hidden, 1, rng, **network)
    source = UniformSource(StandardGaussian(), low=-3, high=3, batch_size=batch_size, rng=rng)
    trainer = Trainer(net, source, **training)
    return lambda n: float(trainer.run(n).losses[-1])


def article() -> Run:
    """An iteration of the article's job."""
    return _training([8, 8], 16, {}, {})


def adam_tanh() -> Run:
    """An iteration of a network that needs kernels called through addresses."""
    network = {"activation": "tanh", "init": "glorot_uniform"}
    return _training([16, 16], 32, network, {"optimizer": "adam", "learning_rate": 1e-3})


def wide_float64() -> Run:
    """An iteration of a network whose products of matrices take nearly all of the time."""
    return _training([64, 64], 128, {"init": "glorot_uniform"}, {"learning_rate": 1e-4})


def wide_float32() -> Run:
    """The same in float32."""
    network = {"init": "glorot_uniform", "dtype": "float32"}
    return _training([64, 64], 128, network, {"learning_rate": 1e-4})


def one_row() -> Run:
    """The output for a single sample, asked for from Python."""
    net = NN(2, [8, 8], 1, StdRng(1))
    x = np.array([[0.5, -0.5]])

    def run(n: int) -> float:
        for _ in range(n):
            y = net.get_output(x)
        return float(y[0, 0])

    return run


JOBS = {
    "article": article,
    "adam tanh": adam_tanh,
    "64-64 float64": wide_float64,
    "64-64 float32": wide_float32,
    "one row": one_row,
}


def counts() -> dict[str, float]:
    """Allocations, and what the machine code of the training kernel consists of."""
    # Of the benchmarks, not of the package, and only here: what they need, not every version has.
    from benchmarks.counting import allocations_per_iteration, instruction_counts
    from benchmarks.paths import entries

    (first, *_) = entries.train.inspect_asm().values()  # that of the article's job
    return {"allocations_per_iteration": allocations_per_iteration(), **instruction_counts(first)}


COUNTS = counts
