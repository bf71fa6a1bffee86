"""The Laplace approximation: the parameters are normally distributed around the fitted ones.

Their covariance is a multiple of (H + l2 I)^-1 = (L L^T)^-1. So the variance of an output is the same
multiple of |L^-1 v|^2, where v are its derivatives with respect to the parameters.
"""

from crabnet_jit.arrays import Calls, Flat, Group, Number, Panels
from crabnet_jit.kernels.cholesky import log_determinant, solve_lower, trace_of_inverse
from crabnet_jit.kernels.layout import B_START, N_IN, N_OUT, W_START, inputs, outputs
from crabnet_jit.kernels.levenberg_marquardt import copy_equations, factorize_matrix, fill_equations
from crabnet_jit.kernels.network import network_backward, network_forward
from crabnet_jit.kernels.structs import Network, Problem, Workspace
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.view import group, matrix, panel, panel_of, panels


@kernel
def fill_posterior(problem: Problem, decay: Number) -> tuple[bool, Number, Number, Number]:
    """Overwrite `curvature.matrix` with L, unless a signal arrives.

    Return whether no signal arrived, the loss, ln det(H + decay I), and the effective number of parameters
    p - decay trace((H + decay I)^-1), or -1 if there is no L.
    """
    curvature, interrupt = problem.curvature, problem.workspace.interrupt
    n, size = curvature.step.size, curvature.vector.size
    loss = fill_equations(problem, None, None)
    copy_equations(problem, None, None)
    if not factorize_matrix(problem, None, decay):
        return not is_set(interrupt), loss, 0.0, -1.0
    inverse = trace_of_inverse(curvature.matrix, size, n, curvature.columns, curvature.squares, interrupt)
    return not is_set(interrupt), loss, log_determinant(curvature.matrix, size), n - decay * inverse


@kernel
def variances(
    network: Network,
    calls: Calls,
    workspace: Workspace,
    x: Panels,
    L: Flat,
    size: Number,
    columns: Flat,
    squares: Flat,
    variance: Panels,
) -> None:
    """Overwrite variance (1, n_panels, n_out, PANEL) with |L^-1 v|^2 at the inputs x, which has n_panels too.

    `columns` (size, PANEL) and `squares` are workspace. It ends early when `workspace.interrupt` is set.
    """
    layout, no_masks = network.layout, group(workspace.activations, 0, 0, 0)
    last = layout.shape[0] - 1
    n_out = layout[last, N_OUT]
    for p in range(x.shape[1]):
        x_p, variance_p = panels(x, 0, p, 1), panel(variance, 0, p)
        network_forward(network, calls, x_p, no_masks, workspace)
        for k in range(n_out):
            if is_set(workspace.interrupt):
                return
            seeds = panel_of(outputs(workspace.errors, layout, last, 1), 0)
            for j in range(n_out):
                for s in range(PANEL):
                    seeds[j, s] = 1.0 if j == k else 0.0
            network_backward(network, calls, x_p, workspace, None)
            _fill_derivatives(network, workspace, x_p, columns)
            solve_lower(L, size, 0, columns, squares)
            for s in range(PANEL):
                variance_p[k, s] = 0.0
            z = matrix(columns, 0, size, PANEL)
            for i in range(size):
                for s in range(PANEL):
                    variance_p[k, s] += z[i, s] * z[i, s]


@kernel
def _fill_derivatives(network: Network, workspace: Workspace, x: Group, columns: Flat) -> None:
    """Overwrite columns (size, PANEL) with an output's derivatives for the samples of one panel.

    The derivatives with respect to each layer's sums are in the workspace's errors.
    """
    layout = network.layout
    n = network.parameters.size
    v = matrix(columns, 0, columns.size // PANEL, PANEL)
    for layer in range(layout.shape[0]):
        a = panel_of(inputs(workspace.activations, layout, layer, x), 0)
        d = panel_of(outputs(workspace.errors, layout, layer, 1), 0)
        n_in = layout[layer, N_IN]
        for o in range(layout[layer, N_OUT]):
            for i in range(n_in):
                row = layout[layer, W_START] + o * n_in + i
                for s in range(PANEL):
                    v[row, s] = d[o, s] * a[i, s]
            for s in range(PANEL):
                v[layout[layer, B_START] + o, s] = d[o, s]
    for row in range(n, v.shape[0]):
        for s in range(PANEL):
            v[row, s] = 0.0
