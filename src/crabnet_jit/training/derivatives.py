"""Which networks, losses and optimisers can learn from derivatives with respect to inputs."""

import warnings

from crabnet_jit import check
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.update_rules import Optimizer
from crabnet_jit.kernels.layout import CUSTOM
from crabnet_jit.network.network import NN


def check_dy_weight(dy_weight: float, *, has_derivatives: bool) -> float:
    """A weight of at least 0; without derivatives, the default."""
    weight = check.number("dy_weight", dy_weight, 0.0)
    if not has_derivatives and weight != 1.0:
        raise check.reject("dy_weight", "left out without derivatives", repr(dy_weight))
    return weight


def check_derivatives(net: NN, loss: Loss, rule: Optimizer | None = None) -> None:
    """Check what is to be trained on derivatives, too; warn if those of the network jump."""
    if not loss.is_regression or loss.heads != "values":
        raise check.reject("loss", "a loss of values, such as 'mse', with derivatives", repr(loss))
    if rule is not None and rule.has_evidence:
        hint = "; levenberg_marquardt and others can"
        raise check.reject("optimizer", "one that can use derivatives", repr(rule), hint)
    for activation in net.activations:
        if activation.kind == CUSTOM:
            hint = ": they need its second derivative, which it does not have"
            raise check.reject("activation", "a built-in one with derivatives", repr(activation), hint)
    jumping = [activation for activation in net.activations if activation.smoothness < 1]
    if jumping:
        warnings.warn(
            f"the slope of {jumping[0]!r} jumps, so the network's derivatives jump, too; with a smooth "
            "activation, such as tanh, it learns more from derivatives",
            RuntimeWarning,
            stacklevel=4,
        )
