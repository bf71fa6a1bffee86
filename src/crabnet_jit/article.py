"""The article's job: its box, its settings and others for the same target, and its error on a grid."""

from typing import Any

import numpy as np

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
    },
}
PRESETS["best"] = {**PRESETS["fast"], "hidden": [32, 32], "iterations": 200_000, "batch_size": 64}


def grid_error(net: NN) -> float:
    """Mean squared error on 101 x 101 points of the article's box, borders included."""
    axis = np.linspace(LOW, HIGH, 101)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return float(((net.predict(points) - StandardGaussian()(points)) ** 2).mean())
