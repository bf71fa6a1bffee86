"""Losses for targets that may be unknown; apart from entries.py, whose kernels do not need them."""

from crabnet_jit.kernels import losses
from crabnet_jit.machine.jit import entry_point

#: Variants for targets that may be unknown; all other losses accept these anyway.
loss_with_gaps = {
    name: entry_point(
        losses.mean_loss(losses.with_gaps(getattr(losses, name)), has_heads=name == "quantile"),
        f"{name}_with_gaps",
    )
    for name in ("mse", "mae", "huber", "log_cosh", "quantile", "poisson", "binary_cross_entropy")
}
