"""scikit-learn: `MLPRegressor.partial_fit`, one call for every iteration.

What differs from the job, and what is done about it: scikit-learn halves the squared
error, so the learning rate and the reported loss are doubled. Its own schedules of the
learning rate do not include ours, and its own initial parameters are smaller, so both are
set from outside, the rate through a private attribute.

Most of the time goes into the checks around a call. One call with 1,000 batches takes a
quarter of the time per iteration, but keeps one learning rate for all and returns only
the mean loss: another job.
"""

from importlib import import_module, metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.job import BATCH_SIZE, CHUNK, DECAY, HIGH, LEARNING_RATE, LOW, SEED, SIZES, Train


def version() -> str:
    """Version of scikit-learn."""
    return metadata.version("scikit-learn")


def prepare() -> Train:
    """Import the library."""
    sklearn: Any = import_module("sklearn")
    neural_network: Any = import_module("sklearn.neural_network")

    def new_model(rng: np.random.Generator) -> Any:
        model = neural_network.MLPRegressor(
            hidden_layer_sizes=SIZES[1:-1],
            solver="sgd",
            alpha=0.0,
            batch_size=BATCH_SIZE,
            shuffle=False,
            momentum=0.0,
            nesterovs_momentum=False,
        )
        # The first call creates the parameters; it counts for nothing, as they are overwritten.
        model.partial_fit(np.zeros((BATCH_SIZE, SIZES[0])), np.zeros(BATCH_SIZE))
        for parameters in [*model.coefs_, *model.intercepts_]:
            parameters[...] = rng.random(parameters.shape)
        return model

    def train(n_iterations: int) -> NDArray[np.float64]:
        rng = np.random.default_rng(SEED)
        losses = np.empty(n_iterations)
        rate = LEARNING_RATE
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            model = new_model(rng)
            for start in range(0, n_iterations, CHUNK):
                x = rng.uniform(LOW, HIGH, (CHUNK, BATCH_SIZE, SIZES[0]))
                target = 5.0 * np.exp(-0.5 * np.square(x).sum(axis=-1))
                for i, batch in enumerate(zip(x, target, strict=True), start):
                    rate *= DECAY
                    model._optimizer.learning_rate = 2.0 * rate
                    model.partial_fit(*batch)
                    losses[i] = 2.0 * model.loss_
        return losses

    return train
