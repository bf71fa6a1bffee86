"""What every feature costs: `python -m benchmarks.features` prints a table.

A network 2-32-32-1 on batches of 32 that are given; each feature instead of the article's ReLU, plain
gradient descent and mean squared error.
"""

import argparse
from typing import Any

from crabnet_jit import ACTIVATIONS, GELU, LOSSES, SGD, Adam, AdamW, RMSprop, Trainer

from .common import best_seconds, check_article, describe_machine, given_data_trainer, random_net

HIDDEN = [32, 32]
BATCH_SIZE = 32
N = 200  # iterations of a timed call: about a millisecond
BASE = "activation relu"

_ACTIVATIONS = {**{name: name for name in ACTIVATIONS}, "gelu tanh": GELU("tanh")}
_OPTIMIZERS = {
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "rmsprop": RMSprop(),
    "adam": Adam(),
    "adamw": AdamW(),
}
_OTHERS = {
    "dropout 0.1": {"dropout": 0.1},
    "l2": {"l2": 1e-4},
    "l1 and l2": {"l1": 1e-4, "l2": 1e-4},
    "clip_norm": {"clip_norm": 1.0},
}

#: By name, options of the network and of the trainer.
FEATURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"activation {name}": ({"activation": value}, {}) for name, value in _ACTIVATIONS.items()},
    **{f"optimizer {name}": ({}, {"optimizer": value}) for name, value in _OPTIMIZERS.items()},
    **{
        f"loss {name}": (
            {"out_features": getattr(kind(), "n_heads", 1)},
            {"loss": name},
        )  # earlier ones have 1
        for name, kind in LOSSES.items()
        if name != "mse"
    },
    **{name: ({}, options) for name, options in _OTHERS.items()},
    "dtype float32": ({"dtype": "float32"}, {}),
}


def feature_trainer(name: str) -> Trainer:
    """The training run with one feature, compiled; `run(N)` is one call of the kernels."""
    net_options, trainer_options = FEATURES[name]
    return given_data_trainer(random_net(HIDDEN, **net_options), BATCH_SIZE, N, **trainer_options)


def main() -> None:
    """Measure in turns, print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.features", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=200, help="of which the best counts (default 200)")
    options = parser.parse_args()
    check_article()
    trainers = [feature_trainer(name) for name in FEATURES]
    best = best_seconds(*(lambda t=t: t.run(N) for t in trainers), rounds=options.rounds)
    times = {name: 1e6 * seconds / N for name, seconds in zip(FEATURES, best, strict=True)}
    print(describe_machine())
    print("\n| feature | us an iteration | more than ReLU, SGD, MSE |\n|---|---|---|")
    for name, us in times.items():
        print(f"| {name} | {us:.2f} | {us - times[BASE]:+.2f} ({us / times[BASE] - 1:+.0%}) |")


if __name__ == "__main__":
    main()
