"""Objectives, minimised by second-order methods."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.components.levenberg_marquardt import LevenbergMarquardt
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.penalties_and_clipping import Penalties
from crabnet_jit.kernels.structs import Batches
from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.network.network import NN
from crabnet_jit.training.second_order import SecondOrder
from crabnet_jit.training.terms import Term


class Minimization(NamedTuple):
    """The result of a minimisation; names are as in SciPy's `OptimizeResult`.

    Attributes
    ----------
    x : ndarray of float64, shape (n_parameters,)
        The final parameters.
    fun : float
        The loss there, with its penalties.
    nit : int
        Iterations taken.
    success : bool
        Whether it converged before the last iteration.
    message : str
        Why it ended.
    """

    x: Array
    fun: float
    nit: int
    success: bool
    message: str


def minimized(
    net: NN,
    loss: Loss,
    penalties: Penalties,
    batches: Batches,
    dy_weight: float | None,
    equations: Sequence[Term],
    n_threads: int,
    rule: LevenbergMarquardt,
    max_iterations: int,
) -> tuple[Array, int, str | None]:
    """Parameters (n_parameters,) of a lower loss, the iterations taken, and why they ended early, if so.

    The network does not change, not even after an exception such as that of Ctrl-C.
    """
    moving = copy.copy(net)
    numbers = rule.init(moving.parameters).numbers
    parts = loss, penalties, batches, rule, numbers, dy_weight, equations, n_threads
    method = SecondOrder(moving, *parts)
    n_done, reason = 0, None
    with Interruptible() as interruptible:
        while n_done < max_iterations and reason is None:
            losses = np.empty(min(method.size, max_iterations - n_done))
            n, reason = method.run(losses, interruptible.flag)
            n_done += n
            if n < losses.size and not interruptible.is_interrupted() and reason is None:
                raise FloatingPointError(f"the loss is {losses[n]} after {n_done} iterations")
    return moving.parameters, n_done, reason
