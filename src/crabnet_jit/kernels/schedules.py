"""Learning rates for a chunk of iterations."""

from crabnet_jit.arrays import Flat, Number
from crabnet_jit.machine.jit import kernel


@kernel
def exponential_decay(rate: Number, decay: Number, learning_rates: Flat) -> None:
    """learning_rates[k] = rate * decay**(k + 1), one multiplication each. Overwrites learning_rates.

    As in the original, each rate is rounded before the next is computed from it. So a chunk that continues
    from the last rate of the previous chunk gives the same bits.
    """
    for k in range(learning_rates.size):
        rate *= decay
        learning_rates[k] = rate
