"""The kernels that Python calls, or whose addresses it passes to the training run.

Each is compiled once for each combination of argument types, on its first call, and is then loaded from the
disk. Arguments are not checked here: callers pass C-contiguous arrays of the shapes that the kernel's
docstring gives. The object layer takes care of that.
"""

from crabnet_jit.kernels import (
    activations,
    chacha,
    dropout,
    known,
    linear,
    losses,
    minibatch,
    network,
    optimizers,
    penalties_and_clipping,
    schedules,
    targets,
    uniform,
)
from crabnet_jit.kernels import train as training
from crabnet_jit.kernels.layout import KINDS
from crabnet_jit.machine.jit import entry_point

fill_groups = entry_point(chacha.fill_groups, "fill_groups")
fill_uniform = entry_point(uniform.fill_uniform, "fill_uniform")
fill_minibatches = entry_point(minibatch.fill_minibatches, "fill_minibatches")
share_among_known = entry_point(known.share_among_known, "share_among_known")
fill_masks = entry_point(dropout.fill_masks, "fill_masks")
gaussian_panels = entry_point(targets.gaussian_panels, "gaussian_panels")

linear_forward = entry_point(linear.linear_forward, "linear_forward")
linear_backward_parameters = entry_point(linear.linear_backward_parameters, "linear_backward_parameters")
linear_backward_input = entry_point(linear.linear_backward_input, "linear_backward_input")
sgd_update = entry_point(optimizers.sgd_update, "sgd_update")

exponential_decay = entry_point(schedules.exponential_decay, "exponential_decay")

predict = entry_point(network.predict, "predict")
train = entry_point(training.train, "train")
loss_and_gradients = entry_point(training.loss_and_gradients, "loss_and_gradients")

activation_forward = {
    name: entry_point(activations.activation_forward(getattr(activations, name)), name) for name in KINDS
}
loss_forward = {
    "mse": entry_point(losses.mse_forward, "mse"),
    **{
        name: entry_point(losses.mean_loss(getattr(losses, name)), name)
        for name in ("mae", "huber", "log_cosh", "poisson", "binary_cross_entropy")
    },
    "quantile": entry_point(losses.mean_loss(losses.quantile, has_heads=True), "quantile"),
    "gaussian_nll": entry_point(losses.gaussian_nll_forward, "gaussian_nll"),
    "cross_entropy": entry_point(losses.cross_entropy_forward, "cross_entropy"),
}
update = {
    name: entry_point(getattr(optimizers, f"{name}_update"), f"{name}_update")
    for name in ("momentum", "rmsprop", "adam")
}
penalize = entry_point(penalties_and_clipping.penalize, "penalize")
