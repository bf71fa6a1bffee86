"""Update rules: parameters from gradients.

The loops run over flat buffers. `state` is the rule's memory: as many buffers of the parameters' size as it
needs, one after the other. `numbers` (float64) holds its constants and counters, at the indices that are
named here for each rule.
"""

import math

from crabnet_jit.arrays import Flat, Number
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.view import part


@kernel
def sgd_update(parameters: Flat, gradients: Flat, learning_rate: Number) -> None:
    """parameters -= learning_rate * gradients. Overwrites parameters."""
    rate = parameters.dtype.type(learning_rate)
    for k in range(parameters.size):
        parameters[k] -= rate * gradients[k]


MOMENTUM, IS_NESTEROV = range(2)


@kernel
def momentum_update(
    parameters: Flat, gradients: Flat, state: Flat, numbers: Flat, learning_rate: Number
) -> float:
    """v = momentum v + g; parameters -= rate v, or with Nesterov rate (g + momentum v)."""
    number = parameters.dtype.type
    rate, momentum, is_nesterov = number(learning_rate), number(numbers[MOMENTUM]), numbers[IS_NESTEROV] > 0.0
    velocity = part(state, 0, parameters.size)
    of_gradient, of_velocity = (number(1), momentum) if is_nesterov else (number(0), number(1))
    for k in range(parameters.size):
        g = gradients[k]
        v = momentum * velocity[k] + g
        velocity[k] = v
        parameters[k] -= rate * (of_gradient * g + of_velocity * v)
    return 0.0


RMSPROP_ALPHA, RMSPROP_EPS, RMSPROP_MOMENTUM = range(3)


@kernel
def rmsprop_update(
    parameters: Flat, gradients: Flat, state: Flat, numbers: Flat, learning_rate: Number
) -> float:
    """s = alpha s + (1 - alpha) g^2; v = momentum v + g / (sqrt(s) + eps); parameters -= rate v."""
    number = parameters.dtype.type
    rate = number(learning_rate)
    alpha, rest = number(numbers[RMSPROP_ALPHA]), number(1.0 - numbers[RMSPROP_ALPHA])
    eps, momentum = number(numbers[RMSPROP_EPS]), number(numbers[RMSPROP_MOMENTUM])
    squares, velocity = part(state, 0, parameters.size), part(state, parameters.size, parameters.size)
    for k in range(parameters.size):
        g = gradients[k]
        s = alpha * squares[k] + rest * g * g  # in this order: g * g alone may overflow
        squares[k] = s
        v = momentum * velocity[k] + g / (math.sqrt(s) + eps)
        velocity[k] = v
        parameters[k] -= rate * v
    return 0.0


BETA1, BETA2, ADAM_EPS, WEIGHT_DECAY, BETA1_POWER, BETA2_POWER = range(6)


@kernel
def adam_update(
    parameters: Flat, gradients: Flat, state: Flat, numbers: Flat, learning_rate: Number
) -> float:
    """m and s are running means of g and g^2; parameters -= rate m' / (sqrt(s') + eps).

    m' = m / (1 - beta1^t) and s' = s / (1 - beta2^t) in step t; `numbers` keeps the two powers, which every
    step updates. First, parameters *= 1 - rate * weight_decay.
    """
    number = parameters.dtype.type
    n = parameters.size
    beta1, beta2, weight_decay = numbers[BETA1], numbers[BETA2], numbers[WEIGHT_DECAY]
    mean, squares = part(state, 0, n), part(state, n, n)
    numbers[BETA1_POWER] *= beta1
    numbers[BETA2_POWER] *= beta2
    rate = number(learning_rate / (1.0 - numbers[BETA1_POWER]))
    root = number(1.0 / math.sqrt(1.0 - numbers[BETA2_POWER]))
    b1, rest1, b2, rest2 = number(beta1), number(1.0 - beta1), number(beta2), number(1.0 - beta2)
    eps, keep = number(numbers[ADAM_EPS]), number(1.0 - learning_rate * weight_decay)
    for k in range(n):
        g = gradients[k]
        m = b1 * mean[k] + rest1 * g
        s = b2 * squares[k] + rest2 * g * g  # as above
        mean[k] = m
        squares[k] = s
        parameters[k] = keep * parameters[k] - rate * m / (math.sqrt(s) * root + eps)
    return 0.0
