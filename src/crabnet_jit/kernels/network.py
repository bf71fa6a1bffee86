"""Forward and backward through all layers, and the training run made of them.

The parts of the article's job are compiled into the run: the ReLU, the mean squared error, plain
gradient descent. Anything else is called through its address (address.py), for which `calls` must not
be None.
"""

import math
from typing import Any, NamedTuple

from crabnet_jit.kernels.layout import ACTIVATION, INLINED, RELU, Y_START, biases, outputs, weights
from crabnet_jit.kernels.linear import linear_backward_input, linear_backward_parameters, linear_forward
from crabnet_jit.kernels.losses import mse_forward
from crabnet_jit.kernels.optimizers import sgd_update
from crabnet_jit.kernels.penalties import penalty
from crabnet_jit.machine.address import call, may_call
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import lanes, load, store
from crabnet_jit.machine.view import panel


class Network(NamedTuple):
    """Where the numbers of each layer lie (layout.py), its activation's `a`, and the flat buffer.

    `calls` is None if nothing in a run is called through its address, else any number.
    """

    layout: Any
    a: Any
    parameters: Any
    calls: Any


class Workspace(NamedTuple):
    """What is kept of one panel: a row for each unit, as wide as the panel; and the gradients.

    `activations` are the layers' outputs, `derivatives` those of their activations where these are
    called, `errors` the gradients of the loss with respect to the outputs. When `interrupt` is
    set (interrupt.py), what kernels leave here is unfinished; it may be None.
    """

    activations: Any
    derivatives: Any
    errors: Any
    gradients: Any
    interrupt: Any


class Batches(NamedTuple):
    """Panels (n_iterations, n_panels, n_features, width).

    Inputs, targets, one row of weights (losses.py), and what dropout multiplies the outputs of
    hidden units by; without dropout `masks` has 0 rows. The first three may be of one iteration only,
    then it is the same batch for all.
    """

    x: Any
    target: Any
    weight: Any
    masks: Any


class Objective(NamedTuple):
    """A loss and its `a`, and what is added to it; addresses, or INLINED for the article's."""

    loss: Any
    a: Any
    penalize: Any
    penalties: Any


class Rule(NamedTuple):
    """An update rule (optimizers.py): its address, or INLINED for the article's."""

    update: Any
    state: Any
    numbers: Any


@kernel
def network_forward(network: Any, x: Any, masks: Any, workspace: Any) -> Any:
    """Return the panel of outputs for the panel x; keeps every layer's output and derivative."""
    layout, width = network.layout, x.shape[1]
    h = x
    for layer in range(layout.shape[0]):
        y = outputs(workspace.activations, layout, layer, width)
        W, b = weights(network.parameters, layout, layer), biases(network.parameters, layout, layer)
        activation = layout[layer, ACTIVATION]
        linear_forward(W, b, h, y, activation == RELU, workspace.interrupt)
        if may_call(network.calls, activation > RELU):
            dy_dz = outputs(workspace.derivatives, layout, layer, width)
            call(activation, (y, network.a[layer], y, dy_dz))
            if masks.shape[0] > 0 and layer < layout.shape[0] - 1:
                _multiply(masks, layout[layer, Y_START], y)
                _multiply(masks, layout[layer, Y_START], dy_dz)
        h = y
    return h


@kernel
def network_backward(network: Any, x: Any, workspace: Any) -> None:
    """Add the gradients of one panel to `workspace.gradients`.

    The workspace is what network_forward left, but for the last layer's part of `errors`, which
    holds dL_dy on entry. The other parts are overwritten.
    """
    layout, width = network.layout, x.shape[1]
    for layer in range(layout.shape[0] - 1, -1, -1):
        dL_dz = outputs(workspace.errors, layout, layer, width)
        if may_call(network.calls, layout[layer, ACTIVATION] > RELU):
            _multiply(outputs(workspace.derivatives, layout, layer, width), 0, dL_dz)
        h = x if layer == 0 else outputs(workspace.activations, layout, layer - 1, width)
        dL_dW, dL_db = (
            weights(workspace.gradients, layout, layer),
            biases(workspace.gradients, layout, layer),
        )
        linear_backward_parameters(dL_dz, h, dL_dW, dL_db, workspace.interrupt)
        if layer > 0:
            W = weights(network.parameters, layout, layer)
            dL_dh = outputs(workspace.errors, layout, layer - 1, width)
            is_relu = layout[layer - 1, ACTIVATION] == RELU
            linear_backward_input(W, dL_dz, h, dL_dh, is_relu, workspace.interrupt)


@kernel
def _multiply(x: Any, row: Any, y: Any) -> None:
    """y *= x[row:], as many rows as y has."""
    for i in range(y.shape[0]):
        for s in range(0, y.shape[1], lanes(y)):
            store(y, i, s, load(x, row + i, s) * load(y, i, s))


@kernel
def batch_gradients(network: Any, workspace: Any, batches: Any, iteration: Any, objective: Any) -> Any:
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
        y = network_forward(network, x, masks, workspace)
        dL_dy = outputs(workspace.errors, layout, layout.shape[0] - 1, x.shape[1])
        if may_call(network.calls, objective.loss != INLINED):
            loss += call(objective.loss, (y, target, weight, objective.a, dL_dy))
        else:
            loss += mse_forward(y, target, weight, objective.a, dL_dy)
        network_backward(network, x, workspace)
    return loss


@kernel
def train(
    network: Any,
    workspace: Any,
    batches: Any,
    objective: Any,
    rule: Any,
    learning_rates: Any,
    interrupt: Any,
    losses: Any,
) -> Any:
    """A step for every batch of a chunk; return how many, and if parameters and state are finite then.

    Reads batches and learning_rates (n_iterations,). Updates the parameters and the rule's state,
    overwrites losses (n_iterations,) with each batch's loss before its step, and leaves the last
    batch's gradients in the workspace. It ends before the step of a loss that is not finite, and when
    `interrupt` is set (interrupt.py).
    """
    n_done = 0
    for iteration in range(losses.size):
        loss = batch_gradients(network, workspace, batches, iteration, objective)
        losses[iteration] = loss
        if is_set(interrupt) or not abs(loss) < math.inf:
            break
        parameters, gradients, rate = network.parameters, workspace.gradients, learning_rates[iteration]
        if may_call(network.calls, objective.penalize != INLINED):
            call(objective.penalize, (parameters, gradients, objective.penalties))
        if may_call(network.calls, rule.update != INLINED):
            call(rule.update, (parameters, gradients, rule.state, rule.numbers, rate))
        else:
            sgd_update(parameters, gradients, rate)
        n_done += 1
    is_finite = _is_finite(network.parameters)
    if may_call(network.calls, rule.update != INLINED):  # plain gradient descent has no state
        is_finite = is_finite and _is_finite(rule.state)
    return n_done, is_finite


@kernel
def _is_finite(x: Any) -> Any:
    is_finite = True
    for k in range(x.size):
        is_finite = is_finite and abs(x[k]) < math.inf
    return is_finite


@kernel
def loss_and_gradients(network: Any, workspace: Any, batches: Any, objective: Any) -> Any:
    """Return the loss of the first batch with penalties; its gradients are left in the workspace."""
    loss = batch_gradients(network, workspace, batches, 0, objective)
    if may_call(network.calls, objective.penalize != INLINED):
        call(objective.penalize, (network.parameters, workspace.gradients, objective.penalties))
        loss += penalty(network.parameters, objective.penalties)
    return loss


@kernel
def predict(network: Any, x: Any, masks: Any, workspace: Any, y: Any) -> None:
    """Outputs of all panels: x (1, n_panels, n_in, width) to y (1, n_panels, n_out, width)."""
    for p in range(x.shape[1]):
        result = network_forward(network, panel(x, 0, p), masks, workspace)
        y_p = panel(y, 0, p)
        for i in range(y_p.shape[0]):
            for s in range(0, y_p.shape[1], lanes(y_p)):
                store(y_p, i, s, load(result, i, s))
