"""Stochastic gradient descent."""

from typing import Any

from crabnet_jit.kernels._jit import kernel


@kernel
def sgd_update(parameters: Any, gradients: Any, learning_rate: Any) -> None:
    """parameters -= learning_rate * gradients. Overwrites parameters."""
    for k in range(parameters.size):
        parameters[k] -= learning_rate * gradients[k]
