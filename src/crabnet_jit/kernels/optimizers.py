"""Update rules: parameters from gradients.

The loops run over flat buffers. `state` holds what a rule remembers: as many buffers of the
parameters' size as it needs, one after the other. `numbers` (float64) are its constants, in the order
in which it unpacks them.
"""

import math
from typing import Any

from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.view import part


@kernel
def sgd_update(parameters: Any, gradients: Any, learning_rate: Any) -> None:
    """parameters -= learning_rate * gradients. Overwrites parameters."""
    rate = parameters.dtype.type(learning_rate)
    for k in range(parameters.size):
        parameters[k] -= rate * gradients[k]


@kernel
def momentum_update(parameters: Any, gradients: Any, state: Any, numbers: Any, learning_rate: Any) -> float:
    """v = momentum v + g; parameters -= rate v, or with Nesterov rate (g + momentum v)."""
    number = parameters.dtype.type
    rate, momentum, is_nesterov = number(learning_rate), number(numbers[0]), numbers[1] > 0.0
    velocity = part(state, 0, parameters.size)
    of_gradient, of_velocity = (number(1), momentum) if is_nesterov else (number(0), number(1))
    for k in range(parameters.size):
        g = gradients[k]
        v = momentum * velocity[k] + g
        velocity[k] = v
        parameters[k] -= rate * (of_gradient * g + of_velocity * v)
    return 0.0


@kernel
def rmsprop_update(parameters: Any, gradients: Any, state: Any, numbers: Any, learning_rate: Any) -> float:
    """s = alpha s + (1 - alpha) g^2; v = momentum v + g / (sqrt(s) + eps); parameters -= rate v."""
    number = parameters.dtype.type
    rate, alpha, rest = number(learning_rate), number(numbers[0]), number(1.0 - numbers[0])
    eps, momentum = number(numbers[1]), number(numbers[2])
    squares, velocity = part(state, 0, parameters.size), part(state, parameters.size, parameters.size)
    for k in range(parameters.size):
        g = gradients[k]
        s = alpha * squares[k] + rest * g * g  # in this order: g * g alone may be too large for a number
        squares[k] = s
        v = momentum * velocity[k] + g / (math.sqrt(s) + eps)
        velocity[k] = v
        parameters[k] -= rate * v
    return 0.0


@kernel
def adam_update(parameters: Any, gradients: Any, state: Any, numbers: Any, learning_rate: Any) -> float:
    """m and s are running means of g and g^2; parameters -= rate m' / (sqrt(s') + eps).

    m' = m / (1 - beta1^t) and s' = s / (1 - beta2^t) in step t; `numbers` keeps the two powers, and
    they are multiplied up. First, parameters *= 1 - rate * weight_decay.
    """
    number = parameters.dtype.type
    n = parameters.size
    beta1, beta2, weight_decay = numbers[0], numbers[1], numbers[3]
    mean, squares = part(state, 0, n), part(state, n, n)
    numbers[4] *= beta1
    numbers[5] *= beta2
    rate = number(learning_rate / (1.0 - numbers[4]))
    root = number(1.0 / math.sqrt(1.0 - numbers[5]))
    b1, rest1, b2, rest2 = number(beta1), number(1.0 - beta1), number(beta2), number(1.0 - beta2)
    eps, keep = number(numbers[2]), number(1.0 - learning_rate * weight_decay)
    for k in range(n):
        g = gradients[k]
        m = b1 * mean[k] + rest1 * g
        s = b2 * squares[k] + rest2 * g * g  # as above
        mean[k] = m
        squares[k] = s
        parameters[k] = keep * parameters[k] - rate * m / (math.sqrt(s) * root + eps)
    return 0.0
