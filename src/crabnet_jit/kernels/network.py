"""Forward and backward through all layers, and the training run made of them.

`layout` says how many layers there are and where their numbers lie (layout.py). Hidden
layers are followed by a ReLU, the last one is not.
"""

from typing import Any

from crabnet_jit.kernels._jit import kernel
from crabnet_jit.kernels.layout import biases, outputs, weights
from crabnet_jit.kernels.linear import linear_backward_input, linear_backward_parameters, linear_forward
from crabnet_jit.kernels.mse import mse_forward
from crabnet_jit.kernels.sgd import sgd_update
from crabnet_jit.kernels.vector import lanes, load, store
from crabnet_jit.kernels.view import panel


@kernel
def network_forward(layout: Any, parameters: Any, x: Any, activations: Any) -> Any:
    """Return the panel of outputs for the panel x; keeps every layer's output in activations."""
    last = layout.shape[0] - 1
    for layer in range(last + 1):
        y = outputs(activations, layout, layer, x.shape[1])
        h = x if layer == 0 else outputs(activations, layout, layer - 1, x.shape[1])
        W, b = weights(parameters, layout, layer), biases(parameters, layout, layer)
        linear_forward(W, b, h, y, layer < last)
    return outputs(activations, layout, last, x.shape[1])


@kernel
def network_backward(
    layout: Any, parameters: Any, x: Any, activations: Any, errors: Any, gradients: Any
) -> None:
    """Add the gradients of one panel to `gradients`.

    `activations` is what network_forward kept. `errors` has the same layout: the last
    layer's part holds dL_dy on entry; the other parts are overwritten.
    """
    for layer in range(layout.shape[0] - 1, -1, -1):
        dL_dy = outputs(errors, layout, layer, x.shape[1])
        h = x if layer == 0 else outputs(activations, layout, layer - 1, x.shape[1])
        dL_dW, dL_db = weights(gradients, layout, layer), biases(gradients, layout, layer)
        linear_backward_parameters(dL_dy, h, dL_dW, dL_db)
        if layer > 0:
            dL_dh = outputs(errors, layout, layer - 1, x.shape[1])
            linear_backward_input(weights(parameters, layout, layer), dL_dy, h, dL_dh, True)


@kernel
def predict(layout: Any, parameters: Any, x: Any, activations: Any, y: Any) -> None:
    """Outputs of all panels: x (1, n_panels, n_in, width) to y (1, n_panels, n_out, width)."""
    for p in range(x.shape[1]):
        result = network_forward(layout, parameters, panel(x, 0, p), activations)
        y_p = panel(y, 0, p)
        for i in range(y_p.shape[0]):
            for s in range(0, y_p.shape[1], lanes(y_p)):
                store(y_p, i, s, load(result, i, s))


@kernel
def train(
    layout: Any,
    parameters: Any,
    gradients: Any,
    activations: Any,
    errors: Any,
    x: Any,
    target: Any,
    n_samples: Any,
    learning_rates: Any,
    losses: Any,
) -> None:
    """One SGD step on the MSE for every batch of a chunk.

    Reads x (n_iterations, n_panels, n_in, width), target (the same with n_out), of which
    the first n_samples columns of each batch count, and learning_rates (n_iterations,).
    Updates parameters, overwrites losses (n_iterations,) with each batch's loss before its
    step, and leaves the last batch's gradients in `gradients`. The gradients of a batch's
    panels are added up in order.
    """
    last = layout.shape[0] - 1
    width = x.shape[3]
    scale = 1.0 / (n_samples * target.shape[2])
    for iteration in range(losses.size):
        gradients[:] = 0.0
        loss = 0.0
        for p in range(x.shape[1]):
            x_p = panel(x, iteration, p)
            y = network_forward(layout, parameters, x_p, activations)
            dL_dy = outputs(errors, layout, last, width)
            loss += mse_forward(y, panel(target, iteration, p), n_samples - p * width, scale, dL_dy)
            network_backward(layout, parameters, x_p, activations, errors, gradients)
        losses[iteration] = loss
        sgd_update(parameters, gradients, learning_rates[iteration])
