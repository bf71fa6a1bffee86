"""The article's job: its box, its settings and others for the same target, and its error on a grid."""

from typing import Any

import numpy as np

from crabnet_jit.components.optimizers import OPTIMIZERS
from crabnet_jit.data.targets import StandardGaussian
from crabnet_jit.network.network import NN

#: Every coordinate of a sample is uniform between these.
LOW, HIGH = -3.0, 3.0

#: Options of a network and its training for the article's target. The first are the article's.
PRESETS: dict[str, dict[str, Any]] = {
    "article": {
        "hidden": [8, 8],
        "activation": "relu",
        "init": "standard_uniform",
        "optimizer": "sgd",
        "learning_rate": 0.002,
        "schedule": "exponential",
        "iterations": 120_000,
        "batch_size": 16,
        "log_every": 10_000,
    },
    "fast": {
        "hidden": [16, 16],
        "activation": "silu",
        "init": "lecun_normal",
        "optimizer": "adam",
        "learning_rate": 0.01,
        "schedule": "cosine",
        "iterations": 20_000,
        "batch_size": 32,
        "log_every": 10_000,
    },
    "best": {
        "hidden": [16, 16],
        "activation": "tanh",
        "init": "glorot_uniform",
        "optimizer": "levenberg_marquardt",
        "learning_rate": "auto",
        "schedule": "auto",
        "iterations": 1000,
        "batch_size": 2048,
        "log_every": 100,
    },
}
_OF_STEPS = "learning_rate", "schedule", "iterations", "batch_size", "log_every"


def preset_for(name: str, optimizer: str) -> dict[str, Any]:
    """Options of a preset for an optimiser that need not be its own.

    Methods of second order take few large steps, update rules many small ones: where the preset has the other
    kind, options of the steps are those of "best" or "fast".
    """
    preset = PRESETS[name]
    if is_second_order(optimizer) == is_second_order(preset["optimizer"]):
        return preset
    steps = PRESETS["best" if is_second_order(optimizer) else "fast"]
    return preset | {option: steps[option] for option in _OF_STEPS}


def is_second_order(optimizer: str) -> bool:
    """Whether it is the name of a method of second order."""
    return optimizer in OPTIMIZERS and OPTIMIZERS[optimizer].is_second_order


def grid_error(net: NN) -> float:
    """Mean squared error on 101 x 101 points of the article's box, borders included."""
    axis = np.linspace(LOW, HIGH, 101)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return float(((net.predict(points) - StandardGaussian()(points)) ** 2).mean())
