"""Forward and backward through all layers, for one panel.

Activations of kind IDENTITY and RELU are compiled into the loops of the linear layer. Others are called
through their addresses in `calls` (abi.py), which is None if nothing is called.
"""

from crabnet_jit.arrays import Calls, Number, Panel, Panels
from crabnet_jit.kernels.layout import KIND, RELU, Y_START, biases, outputs, weights
from crabnet_jit.kernels.linear import linear_backward_input, linear_backward_parameters, linear_forward
from crabnet_jit.kernels.structs import ACTIVATIONS, Network, Workspace
from crabnet_jit.machine.address import INLINED, address, call
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import lanes, load, store
from crabnet_jit.machine.view import matrix, panel


@kernel
def network_forward(network: Network, calls: Calls, x: Panel, masks: Panel, workspace: Workspace) -> Panel:
    """Return the panel of outputs for the panel x; stores every layer's output and derivative."""
    layout, width = network.layout, x.shape[1]
    h = x
    for layer in range(layout.shape[0]):
        y = outputs(workspace.activations, layout, layer, width)
        W, b = weights(network.parameters, layout, layer), biases(network.parameters, layout, layer)
        linear_forward(W, b, h, y, layout[layer, KIND] == RELU, workspace.interrupt)
        activation = address(calls, ACTIVATIONS + layer)
        if activation != INLINED:
            dy_dz = outputs(workspace.derivatives, layout, layer, width)
            call(activation, (y, network.constants[layer], y, dy_dz))
            if masks.shape[0] > 0 and layer < layout.shape[0] - 1:
                _multiply(masks, layout[layer, Y_START], y)
                _multiply(masks, layout[layer, Y_START], dy_dz)
        h = y
    return h


@kernel
def network_backward(network: Network, calls: Calls, x: Panel, workspace: Workspace) -> None:
    """Add the gradients of one panel to `workspace.gradients`.

    The workspace is what network_forward left, but for the last layer's part of `errors`, which
    holds dL_dy on entry. The other parts are overwritten.
    """
    layout, width = network.layout, x.shape[1]
    for layer in range(layout.shape[0] - 1, -1, -1):
        dL_dz = outputs(workspace.errors, layout, layer, width)
        if address(calls, ACTIVATIONS + layer) != INLINED:
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
            is_rectified = layout[layer - 1, KIND] == RELU
            linear_backward_input(W, dL_dz, h, dL_dh, is_rectified, workspace.interrupt)


@kernel
def _multiply(x: Panel, row: Number, y: Panel) -> None:
    """y *= x[row:], as many rows as y has."""
    for i in range(y.shape[0]):
        for s in range(0, y.shape[1], lanes(y)):
            store(y, i, s, load(x, row + i, s) * load(y, i, s))


@kernel
def predict(network: Network, calls: Calls, x: Panels, workspace: Workspace, y: Panels) -> None:
    """Outputs of all panels: x (1, n_panels, n_in, width) to y (1, n_panels, n_out, width)."""
    no_masks = matrix(workspace.activations, 0, 0, 0)
    for p in range(x.shape[1]):
        result = network_forward(network, calls, panel(x, 0, p), no_masks, workspace)
        y_p = panel(y, 0, p)
        for i in range(y_p.shape[0]):
            for s in range(0, y_p.shape[1], lanes(y_p)):
                store(y_p, i, s, load(result, i, s))
