"""The kernels of second-order training; apart from entries.py, whose kernels do not need them."""

from crabnet_jit.kernels import laplace, losses
from crabnet_jit.kernels import levenberg_marquardt as method
from crabnet_jit.machine.jit import entry_point

levenberg_marquardt = entry_point(method.levenberg_marquardt, "levenberg_marquardt")
help_equations = entry_point(method.help_equations, "help_equations")
fill_posterior = entry_point(laplace.fill_posterior, "fill_posterior")
variances = entry_point(laplace.variances, "variances")

loss_curvature = {
    **{
        name: entry_point(losses.mean_curvature(getattr(losses, name)), f"{name}_curvature")
        for name in ("mse", "huber", "log_cosh", "poisson", "binary_cross_entropy")
    },
    "cross_entropy": entry_point(losses.cross_entropy_curvature, "cross_entropy_curvature"),
}
