"""The curvature of a loss with respect to the outputs, C = R R^T for each sample, and products with it.

For the outputs j and k, R_jk = r_k ((j = k) - m_j), with roots r and means m (losses.py). J are the
derivatives of a sample's outputs with respect to the parameters. In the Gauss-Newton approximation, the
second derivatives of the loss with respect to the parameters are H = sum over the samples of J^T C J. That is
a sum of products v^T v of rows v = R_k^T J.
"""

from crabnet_jit.arrays import Flat, Group, Matrix, Number, Panel
from crabnet_jit.kernels.layout import N_OUT, outputs
from crabnet_jit.kernels.network import network_backward, network_forward
from crabnet_jit.kernels.penalties_and_clipping import constants_of
from crabnet_jit.kernels.structs import CURVATURE, Curvature, Network, Problem, Workspace
from crabnet_jit.machine.address import address, call
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.vector import fma, lanes, load, splat, store, where
from crabnet_jit.machine.view import group, panel, panel_of, part

_PART = 0.1  # of a step: the increment of the differences that give second derivatives along it


@kernel
def last_layer(network: Network, workspace: Flat, n_panels: Number) -> Group:
    """The part of a workspace that belongs to the outputs."""
    return outputs(workspace, network.layout, network.layout.shape[0] - 1, n_panels)


@kernel
def fill_roots(problem: Problem, first: Number, n_panels: Number) -> None:
    """Overwrite roots and means of the panels from `first` on; their outputs are in the workspace."""
    curvature, batches = problem.curvature, problem.batches
    y = last_layer(problem.network, problem.workspace.activations, n_panels)
    for p in range(n_panels):
        target, weight = panel(batches.target, 0, first + p), panel(batches.weight, 0, first + p)
        roots, means = _of_outputs(curvature.roots, y, p), _of_outputs(curvature.means, y, p)
        kernel = address(problem.calls, CURVATURE)
        call(kernel, (panel_of(y, p), target, weight, constants_of(problem.criterion.numbers), roots, means))


@kernel
def _of_outputs(x: Flat, y: Group, p: Number) -> Panel:
    """The view of x that belongs to the outputs y of panel p."""
    return panel_of(group(x, 0, y.shape[0], y.shape[1]), p)


@kernel
def errors_of(curvature: Curvature, k: Number, layout: Matrix, layer: Number, n_panels: Number) -> Group:
    """The part of `curvature.errors` that belongs to column k of R and to a layer."""
    size = curvature.errors.size // layout[layout.shape[0] - 1, N_OUT]
    return outputs(part(curvature.errors, k * size, size), layout, layer, n_panels)


@kernel
def fill_errors(problem: Problem, x: Group) -> None:
    """Overwrite `curvature.errors`: for each k, the derivatives of R_k^T y with respect to all layers' sums.

    The workspace is as network_forward left it for the panels x; its errors and gradients do not change.
    """
    curvature, workspace, layout = problem.curvature, problem.workspace, problem.network.layout
    last, n_panels = layout.shape[0] - 1, x.shape[0]
    n_out = layout[last, N_OUT]
    size = curvature.errors.size // n_out
    for k in range(n_out):
        column = errors_of(curvature, k, layout, last, n_panels)
        for p in range(n_panels):
            roots, means = _of_outputs(curvature.roots, column, p), _of_outputs(curvature.means, column, p)
            column_p = panel_of(column, p)
            for s in range(0, PANEL, lanes(column_p)):
                root = load(roots, k, s)
                for j in range(n_out):
                    v = -root * load(means, j, s)
                    store(column_p, j, s, root + v if j == k else v)
        of_column = Workspace(
            workspace.activations,
            workspace.derivatives,
            part(curvature.errors, k * size, size),
            workspace.gradients,
            workspace.interrupt,
            workspace.several,
            workspace.pairs,
        )
        network_backward(problem.network, problem.calls, x, of_column, None)


@kernel
def second_along(problem: Problem, first: Number, x: Group, rows: Group) -> None:
    """Overwrite rows (n_panels, n_out, PANEL) with R^T y'', the outputs' second derivatives along the step.

    They are second-order differences. Afterwards the workspace is as network_forward leaves it for the
    panels x.
    """
    network, curvature, workspace = problem.network, problem.curvature, problem.workspace
    around, no_masks = curvature.around, group(workspace.activations, 0, 0, 0)
    for sign in (1.0, -1.0):
        for k in range(around.size):
            around[k] = network.parameters[k] + sign * _PART * curvature.step[k]
        there = Network(network.layout, network.constants, around)
        y = network_forward(there, problem.calls, x, no_masks, workspace)
        for p in range(x.shape[0]):
            y_p, rows_p = panel_of(y, p), panel_of(rows, p)
            for k in range(y_p.shape[0]):
                for s in range(0, PANEL, lanes(y_p)):
                    v = load(y_p, k, s)
                    store(rows_p, k, s, v if sign > 0.0 else load(rows_p, k, s) + v)
    y = network_forward(network, problem.calls, x, no_masks, workspace)
    fill_roots(problem, first, x.shape[0])
    for p in range(x.shape[0]):
        y_p, rows_p = panel_of(y, p), panel_of(rows, p)
        roots, means = _of_outputs(curvature.roots, y, p), _of_outputs(curvature.means, y, p)
        for s in range(0, PANEL, lanes(y_p)):
            mean = splat(y_p, 0.0)
            for k in range(y_p.shape[0]):
                second = fma(-2.0, load(y_p, k, s), load(rows_p, k, s)) * (1.0 / _PART**2)
                mean = fma(load(means, k, s), second, mean)
                store(rows_p, k, s, second)
            for k in range(y_p.shape[0]):
                store(rows_p, k, s, load(roots, k, s) * (load(rows_p, k, s) - mean))


@kernel
def fill_residuals(problem: Problem, rows: Group) -> None:
    """Overwrite the rows r such that R r is the loss's gradient with respect to the outputs.

    This gradient is in the workspace's errors.
    """
    curvature = problem.curvature
    dL_dy = last_layer(problem.network, problem.workspace.errors, rows.shape[0])
    for p in range(rows.shape[0]):
        rows_p, dL_dy_p, roots = panel_of(rows, p), panel_of(dL_dy, p), _of_outputs(curvature.roots, rows, p)
        for k in range(rows_p.shape[0]):
            for s in range(0, PANEL, lanes(rows_p)):
                root = load(roots, k, s)
                store(rows_p, k, s, where(root > 0.0, load(dL_dy_p, k, s) / root, 0.0))


@kernel
def pull_back(problem: Problem, x: Group, rows: Group, add: bool) -> None:
    """Overwrite `workspace.gradients` with the sum of J^T R rows over the panels x; or add it if `add`.

    The workspace is as network_forward left it; roots and means belong to these panels.
    """
    curvature, workspace = problem.curvature, problem.workspace
    dL_dy = last_layer(problem.network, workspace.errors, x.shape[0])
    for p in range(x.shape[0]):
        seeds, rows_p = panel_of(dL_dy, p), panel_of(rows, p)
        roots, means = _of_outputs(curvature.roots, dL_dy, p), _of_outputs(curvature.means, dL_dy, p)
        for s in range(0, PANEL, lanes(seeds)):
            total = splat(seeds, 0.0)
            for k in range(seeds.shape[0]):
                v = load(roots, k, s) * load(rows_p, k, s)
                total = total + v
                store(seeds, k, s, v)
            for k in range(seeds.shape[0]):
                store(seeds, k, s, fma(-load(means, k, s), total, load(seeds, k, s)))
    network_backward(problem.network, problem.calls, x, workspace, add)
