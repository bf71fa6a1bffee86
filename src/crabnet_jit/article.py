"""The article's job: its box, its settings, other settings for the same target, and the error on a grid."""

from typing import Any

import numpy as np

from crabnet_jit.components.optimizers import OPTIMIZERS
from crabnet_jit.data.targets import StandardGaussian
from crabnet_jit.network.network import NN

#: Every coordinate of a sample is uniform between these.
LOW, HIGH = -3.0, 3.0

#: Options of a network and its training for the article's target. The first preset is the article's.
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
    """The options of a preset for an optimiser, which need not be the preset's own.

    Second-order methods take a few large steps, and update rules many small ones. If the preset has the other
    kind, the options for steps are those of "best" or "fast".
    """
    preset = PRESETS[name]
    if is_second_order(optimizer) == is_second_order(preset["optimizer"]):
        return preset
    steps = PRESETS["best" if is_second_order(optimizer) else "fast"]
    return preset | {option: steps[option] for option in _OF_STEPS}


def is_second_order(optimizer: str) -> bool:
    """Whether it is the name of a second-order method."""
    return optimizer in OPTIMIZERS and OPTIMIZERS[optimizer].is_second_order


def grid_error(net: NN) -> float:
    """Mean squared error on 101 x 101 points of the article's box, including its border."""
    axis = np.linspace(LOW, HIGH, 101)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return float(((net.predict(points) - StandardGaussian()(points)) ** 2).mean())
