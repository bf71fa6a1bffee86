"""Learning rates for a chunk of iterations."""

from crabnet_jit.arrays import Flat, Number
from crabnet_jit.machine.jit import kernel


@kernel
def exponential_decay(rate: Number, decay: Number, learning_rates: Flat) -> None:
    """learning_rates[k] = rate * decay**(k + 1), multiplied up one by one. Overwrites learning_rates.

    As in the original, each rate is rounded before the next is made of it. A chunk that goes on from the last
    rate of the one before therefore gives the same bits.
    """
    for k in range(learning_rates.size):
        rate *= decay
        learning_rates[k] = rate
