"""PyTorch, compiled: `torch.compile` of ten iterations at a time.

A call of compiled code costs some 60 us whatever it does, so a call does ten iterations;
twenty are little faster and compile for minutes. Within it a linear layer is a sum of
products: the compiler merges that with its neighbours into one loop, but calls a library
for `linear`, which takes longer than the arithmetic. Time per iteration on one machine:
45 us as here; 50 us without `cpp_wrapper`, which makes the calling code C++ as well;
110 us with one iteration a call; 160 us with one iteration and `linear`.

Samples are drawn outside, for 1,000 iterations at once: compiled code of its own accord
draws float64 numbers with 24 random bits.
"""

import os
import shutil
import sysconfig
from importlib import import_module, metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.peers.job import (
    BATCH_SIZE,
    CHUNK,
    DECAY,
    HIGH,
    LEARNING_RATE,
    LOW,
    SEED,
    SIZES,
    Train,
    UnavailableError,
)

_ITERATIONS_PER_CALL = 10


def version() -> str:
    """Version of PyTorch, if there is what it compiles with."""
    found = metadata.version("torch")
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UnavailableError("no C++ compiler")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise UnavailableError("no Python.h for the C++ compiler")
    return found


def prepare() -> Train:
    """Set one thread, define the compiled function; its first call compiles."""
    torch: Any = import_module("torch")
    torch.set_num_threads(1)

    def linear(x: Any, W: Any, b: Any) -> Any:
        return (x[:, None, :] * W).sum(dim=-1) + b

    def loss(parameters: Any, x: Any, target: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = parameters
        y = linear(torch.relu(linear(torch.relu(linear(x, W1, b1)), W2, b2)), W3, b3)
        return torch.nn.functional.mse_loss(y, target)

    def iterate(parameters: Any, rate: Any, x: Any) -> Any:
        """New parameters, new rate and the losses for inputs (iterations, BATCH_SIZE, 2)."""
        target = 5.0 * torch.exp(-0.5 * x.square().sum(dim=-1, keepdim=True))
        losses = []
        for batch in zip(x.unbind(), target.unbind(), strict=True):
            gradients, value = torch.func.grad_and_value(loss)(parameters, *batch)
            rate = rate * DECAY
            parameters = [p - rate * g for p, g in zip(parameters, gradients, strict=True)]
            losses.append(value)
        return parameters, rate, torch.stack(losses)

    compiled = torch.compile(iterate, fullgraph=True, options={"cpp_wrapper": True})

    def train(n_iterations: int) -> Any:
        torch.manual_seed(SEED)
        parameters = [
            torch.rand(shape, dtype=torch.float64)
            for n_in, n_out in pairwise(SIZES)
            for shape in ((n_out, n_in), (n_out,))
        ]
        rate = torch.tensor(LEARNING_RATE, dtype=torch.float64)
        losses = []
        with torch.no_grad():
            for _ in range(0, n_iterations, CHUNK):
                chunk = torch.empty(CHUNK, BATCH_SIZE, SIZES[0], dtype=torch.float64).uniform_(LOW, HIGH)
                for x in chunk.split(_ITERATIONS_PER_CALL):
                    parameters, rate, values = compiled(parameters, rate, x)
                    losses.append(values)
        return torch.cat(losses).numpy()

    return train
