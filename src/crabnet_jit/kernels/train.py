"""The training run: batch after batch, the loss, its gradients, and the step they lead to.

The parts of the article's job are compiled into the run: the mean squared error and plain gradient
descent. Any other loss or update rule is called through its address in `calls` (abi.py), which is
None if nothing is called.
"""

import math

from crabnet_jit.arrays import Calls, Flag, Flat, Number
from crabnet_jit.kernels.layout import outputs
from crabnet_jit.kernels.losses import mse_forward
from crabnet_jit.kernels.network import network_backward, network_forward
from crabnet_jit.kernels.optimizers import sgd_update
from crabnet_jit.kernels.penalties_and_clipping import penalty
from crabnet_jit.kernels.structs import LOSS, PENALIZE, UPDATE, Batches, Criterion, Network, Rule, Workspace
from crabnet_jit.machine.address import INLINED, address, call
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.view import panel


@kernel
def batch_gradients(
    network: Network,
    calls: Calls,
    workspace: Workspace,
    batches: Batches,
    iteration: Number,
    criterion: Criterion,
) -> Number:
    """Return the loss of one batch of a chunk, and overwrite `workspace.gradients` with its gradients.

    The gradients of the batch's panels are added up in order.
    """
    layout = network.layout
    batch = iteration if batches.x.shape[0] > 1 else 0
    workspace.gradients[:] = 0.0
    loss = 0.0
    for p in range(batches.x.shape[1]):
        if is_set(workspace.interrupt):
            break
        x, target = panel(batches.x, batch, p), panel(batches.target, batch, p)
        weight, masks = panel(batches.weight, batch, p), panel(batches.masks, iteration, p)
        y = network_forward(network, calls, x, masks, workspace)
        dL_dy = outputs(workspace.errors, layout, layout.shape[0] - 1, x.shape[1])
        if address(calls, LOSS) != INLINED:
            loss += call(address(calls, LOSS), (y, target, weight, criterion.constant, dL_dy))
        else:
            loss += mse_forward(y, target, weight, criterion.constant, dL_dy)
        network_backward(network, calls, x, workspace)
    return loss


@kernel
def train(
    network: Network,
    calls: Calls,
    workspace: Workspace,
    batches: Batches,
    criterion: Criterion,
    rule: Rule,
    learning_rates: Flat,
    interrupt: Flag,
    losses: Flat,
) -> tuple[Number, bool]:
    """A step for every batch of a chunk; return how many, and if parameters and state are finite then.

    Reads batches and learning_rates (n_iterations,). Updates the parameters and the rule's state,
    overwrites losses (n_iterations,) with each batch's loss before its step, and leaves the last
    batch's gradients in the workspace. It ends before the step of a loss that is not finite, and when
    `interrupt` is set (interrupt.py).
    """
    n_done = 0
    for iteration in range(losses.size):
        loss = batch_gradients(network, calls, workspace, batches, iteration, criterion)
        losses[iteration] = loss
        if is_set(interrupt) or not abs(loss) < math.inf:
            break
        parameters, gradients, rate = network.parameters, workspace.gradients, learning_rates[iteration]
        if address(calls, PENALIZE) != INLINED:
            call(address(calls, PENALIZE), (parameters, gradients, criterion.penalties))
        if address(calls, UPDATE) != INLINED:
            call(address(calls, UPDATE), (parameters, gradients, rule.state, rule.numbers, rate))
        else:
            sgd_update(parameters, gradients, rate)
        n_done += 1
    is_finite = _is_finite(network.parameters)
    if address(calls, UPDATE) != INLINED:  # plain gradient descent has no state
        is_finite = is_finite and _is_finite(rule.state)
    return n_done, is_finite


@kernel
def _is_finite(x: Flat) -> bool:
    is_finite = True
    for k in range(x.size):
        is_finite = is_finite and abs(x[k]) < math.inf
    return is_finite


@kernel
def loss_and_gradients(
    network: Network, calls: Calls, workspace: Workspace, batches: Batches, criterion: Criterion
) -> Number:
    """Return the loss of the first batch with penalties; its gradients are left in the workspace."""
    loss = batch_gradients(network, calls, workspace, batches, 0, criterion)
    if address(calls, PENALIZE) != INLINED:
        call(address(calls, PENALIZE), (network.parameters, workspace.gradients, criterion.penalties))
        loss += penalty(network.parameters, criterion.penalties)
    return loss
