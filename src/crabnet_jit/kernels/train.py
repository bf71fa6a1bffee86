"""The training run: for each batch, the loss, its gradients, and the step.

The mean squared error and plain gradient descent, which the article uses, are compiled into the run. Any
other loss or update rule is called through its address in `calls` (abi.py), which is None if nothing is
called.
"""

import math
from typing import Any

from crabnet_jit.arrays import Calls, Flag, Flat, Number, Panel
from crabnet_jit.kernels.layout import outputs
from crabnet_jit.kernels.losses import mse_forward
from crabnet_jit.kernels.network import network_backward, network_forward
from crabnet_jit.kernels.optimizers import sgd_update
from crabnet_jit.kernels.panels import GROUP
from crabnet_jit.kernels.penalties_and_clipping import constants_of, penalty
from crabnet_jit.kernels.structs import LOSS, PENALIZE, UPDATE, Batches, Criterion, Network, Rule, Workspace
from crabnet_jit.machine.address import INLINED, address, call
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.view import one_or_several, panel, panel_of, panels


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

    Up to GROUP panels at a time go through the network. Their gradients are added up in order.
    """
    layout = network.layout
    batch = iteration if batches.x.shape[0] > 1 else 0
    of_weights = iteration if batches.weight.shape[0] > 1 else 0
    loss = 0.0
    n_panels = one_or_several(workspace.several, batches.x.shape[1])
    for first in range(0, n_panels, GROUP):
        if is_set(workspace.interrupt):
            break
        n_left = n_panels - first
        n = n_left if n_left < GROUP else GROUP
        x, masks = panels(batches.x, batch, first, n), panels(batches.masks, iteration, first, n)
        y = network_forward(network, calls, x, masks, workspace)
        dL_dy = outputs(workspace.errors, layout, layout.shape[0] - 1, n)
        for p in range(n):
            y_p, dL_dy_p = panel_of(y, p), panel_of(dL_dy, p)
            target, weight = (
                panel(batches.target, batch, first + p),
                panel(batches.weight, of_weights, first + p),
            )
            loss += panel_loss(calls, criterion, y_p, target, weight, dL_dy_p)
        network_backward(network, calls, x, workspace, first > 0)
    return loss


@kernel
def panel_loss(
    calls: Calls, criterion: Criterion, y: Panel, target: Panel, weight: Panel, dL_dy: Panel
) -> Number:
    """The loss of one panel; overwrites dL_dy."""
    if calls is not None and address(calls, LOSS) != INLINED:
        return call(address(calls, LOSS), (y, target, weight, constants_of(criterion.numbers), dL_dy))
    return mse_forward(y, target, weight, constants_of(criterion.numbers), dL_dy)


@kernel
def _step(
    calls: Calls, criterion: Criterion, rule: Rule, parameters: Flat, gradients: Flat, rate: Number
) -> None:
    """Overwrite the parameters, the rule's state, and the gradients, which get penalties and limits."""
    if calls is not None:
        if address(calls, PENALIZE) != INLINED:
            call(address(calls, PENALIZE), (parameters, gradients, criterion.numbers))
        if address(calls, UPDATE) != INLINED:
            call(address(calls, UPDATE), (parameters, gradients, rule.state, rule.numbers, rate))
            return
    sgd_update(parameters, gradients, rate)


@kernel
def _is_finite(x: Flat) -> bool:
    is_finite = True
    for k in range(x.size):
        is_finite = is_finite and abs(x[k]) < math.inf
    return is_finite


def training_run(batch_gradients: Any) -> Any:
    """The kernel of a run, given the kernel of a batch's loss and gradients."""

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
        """Take a step for each batch of a chunk; return how many, and if parameters and state stay finite.

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
            rate = learning_rates[iteration]
            _step(calls, criterion, rule, network.parameters, workspace.gradients, rate)
            n_done += 1
        is_finite = _is_finite(network.parameters)
        if calls is not None and address(calls, UPDATE) != INLINED:  # plain gradient descent has no state
            is_finite = is_finite and _is_finite(rule.state)
        return n_done, is_finite

    return kernel(train)


def loss_of_all(batch_gradients: Any) -> Any:
    """The kernel of a loss with penalties, given the kernel of a batch's loss and gradients."""

    def loss_and_gradients(
        network: Network, calls: Calls, workspace: Workspace, batches: Batches, criterion: Criterion
    ) -> Number:
        """Return the loss of the first batch with penalties; leaves its gradients in the workspace."""
        loss = batch_gradients(network, calls, workspace, batches, 0, criterion)
        if calls is not None and address(calls, PENALIZE) != INLINED:
            call(address(calls, PENALIZE), (network.parameters, workspace.gradients, criterion.numbers))
            loss += penalty(network.parameters, criterion.numbers)
        return loss

    return kernel(loss_and_gradients)


train = training_run(batch_gradients)
loss_and_gradients = loss_of_all(batch_gradients)
