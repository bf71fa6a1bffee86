"""Forward and backward through all layers, for a group of panels.

Activations of kind IDENTITY and RELU are compiled into the loops of the linear layer. Others are called
through their addresses in `calls` (abi.py), which is None if nothing is called.
"""

from crabnet_jit.arrays import Calls, Group, Number, Panel, Panels
from crabnet_jit.kernels.layout import KIND, RELU, Y_START, biases, outputs, weights
from crabnet_jit.kernels.linear import linear_backward_input, linear_backward_parameters, linear_forward
from crabnet_jit.kernels.structs import ACTIVATIONS, Network, Workspace
from crabnet_jit.machine.address import INLINED, address, call
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import lanes, load, store
from crabnet_jit.machine.view import group, panel, panel_of, panels, rows_of


@kernel
def network_forward(network: Network, calls: Calls, x: Group, masks: Group, workspace: Workspace) -> Group:
    """Return the outputs for the panels x; stores every layer's output and derivative."""
    layout, n_panels = network.layout, x.shape[0]
    h = x
    for layer in range(layout.shape[0]):
        y = outputs(workspace.activations, layout, layer, n_panels)
        W, b = weights(network.parameters, layout, layer), biases(network.parameters, layout, layer)
        linear_forward(W, b, h, y, layout[layer, KIND] == RELU, workspace.pairs, workspace.interrupt)
        if calls is not None:
            activation = address(calls, ACTIVATIONS + layer)
            if activation != INLINED:
                dy_dz = outputs(workspace.derivatives, layout, layer, n_panels)
                call(activation, (rows_of(y), network.constants[layer], rows_of(y), rows_of(dy_dz)))
                if masks.shape[1] > 0 and layer < layout.shape[0] - 1:
                    for p in range(n_panels):
                        multiply(panel_of(masks, p), layout[layer, Y_START], panel_of(y, p))
                        multiply(panel_of(masks, p), layout[layer, Y_START], panel_of(dy_dz, p))
        h = y
    return h


@kernel
def network_backward(
    network: Network, calls: Calls, x: Group, workspace: Workspace, add: bool | None
) -> None:
    """Overwrite `workspace.gradients` with the gradients of the panels x, or add them if `add`.

    If `add` is None, the gradients stay as they are, and only the errors are computed.

    The workspace is as network_forward left it, except for the last layer's part of `errors`, which holds
    dL_dy on entry. The other parts are overwritten.
    """
    layout, n_panels = network.layout, x.shape[0]
    for layer in range(layout.shape[0] - 1, -1, -1):
        dL_dz = outputs(workspace.errors, layout, layer, n_panels)
        if calls is not None and address(calls, ACTIVATIONS + layer) != INLINED:
            derivatives = outputs(workspace.derivatives, layout, layer, n_panels)
            multiply(rows_of(derivatives), 0, rows_of(dL_dz))
        h = x if layer == 0 else outputs(workspace.activations, layout, layer - 1, n_panels)
        if layer > 0:  # first, since the next layer waits for it: 6 % of the article's iteration
            W = weights(network.parameters, layout, layer)
            dL_dh = outputs(workspace.errors, layout, layer - 1, n_panels)
            is_rectified = layout[layer - 1, KIND] == RELU
            linear_backward_input(W, dL_dz, h, dL_dh, is_rectified, workspace.pairs, workspace.interrupt)
        if add is not None:
            dL_dW, dL_db = (
                weights(workspace.gradients, layout, layer),
                biases(workspace.gradients, layout, layer),
            )
            linear_backward_parameters(dL_dz, h, dL_dW, dL_db, add, workspace.interrupt)


@kernel
def multiply(x: Panel, row: Number, y: Panel) -> None:
    """y *= x[row:], for as many rows as y has."""
    for i in range(y.shape[0]):
        for s in range(0, y.shape[1], lanes(y)):
            store(y, i, s, load(x, row + i, s) * load(y, i, s))


@kernel
def predict(network: Network, calls: Calls, x: Panels, workspace: Workspace, y: Panels) -> None:
    """Outputs of all panels, from x (1, n_panels, n_in, PANEL) to y (1, n_panels, n_out, PANEL)."""
    no_masks = group(workspace.activations, 0, 0, 0)
    for p in range(x.shape[1]):
        result = panel_of(network_forward(network, calls, panels(x, 0, p, 1), no_masks, workspace), 0)
        y_p = panel(y, 0, p)
        for i in range(y_p.shape[0]):
            for s in range(0, y_p.shape[1], lanes(y_p)):
                store(y_p, i, s, load(result, i, s))
