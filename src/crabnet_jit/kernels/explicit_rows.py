"""Explicit rows of a Jacobian, and the sum of their squares: H of a loss that is a sum of terms.

With jets, the derivatives v of a residual with respect to the weights of a layer are a sum over the jets k
of d_k a_k^T, not a single product as in gauss_newton.py. So v is written out: 16 samples are the columns of
a panel, which has a row for each parameter. H is the sum of v v^T.

There are three kinds of residuals: the errors of values, times the roots of the loss's curvature (losses.py);
the errors of derivatives; and the residuals of equations (residuals.py).
"""

from crabnet_jit.arrays import Flat, Group, Number, Panel
from crabnet_jit.kernels.jets import jet_count, jets_backward, jets_forward, panels_together
from crabnet_jit.kernels.layout import B_START, N_IN, N_OUT, W_START, outputs
from crabnet_jit.kernels.losses import is_known
from crabnet_jit.kernels.penalties_and_clipping import constants_of
from crabnet_jit.kernels.structs import CURVATURE, Jets, JetWorkspace, Network, Problem, Rows
from crabnet_jit.kernels.train_terms import FIRST, N_PANELS, RESIDUAL, jets_of, residuals
from crabnet_jit.machine.address import address, call
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.tile import tile_dot, tile_sums
from crabnet_jit.machine.vector import fma, lanes, load, splat, square_root, store, where
from crabnet_jit.machine.view import group, matrix, panel, panel_of, panels, panels_of


@kernel
def add_squares(problem: Problem, rows: Rows) -> None:
    """Add H to the lower triangle of `curvature.equations`, a matrix (cholesky.py).

    The workspace of the rows, the roots and the means are overwritten.
    """
    terms, workspace, batches = rows.terms, rows.workspace, problem.batches
    no_masks, size = group(workspace.activations, 0, 0, 0), problem.curvature.vector.size
    V, n_filled = group(rows.numbers, 0, rows.n_panels, size), 0
    for term in range(terms.table.shape[0]):
        jets, first = jets_of(terms, term), terms.table[term, FIRST]
        end, together = first + terms.table[term, N_PANELS], panels_together(jet_count(jets))
        while first < end:
            n = min(together, end - first)
            x = panels(batches.x, 0, first, n)
            y = jets_forward(problem.network, rows.calls, x, no_masks, jets, workspace)
            is_equation = terms.table[term, RESIDUAL] > 0
            for residual in range(1 if is_equation else y.shape[1] * (1 + jets.n_firsts)):
                if is_set(workspace.interrupt):
                    return
                if is_equation:
                    weights, layout = panels(batches.weight, 0, first, n), problem.network.layout
                    seeds = outputs(workspace.errors, layout, layout.shape[0] - 1, y.shape[0])
                    residuals(rows.calls, terms, term, 2.0, x, y, weights, workspace, seeds)
                else:
                    _fill_seeds(problem, rows, term, jets, first, n, y, residual)
                jets_backward(problem.network, jets, n, workspace, None)
                for p in range(n):
                    _fill_panel(problem.network, workspace, jets, p, n, panel_of(V, n_filled))
                    n_filled += 1
                    if n_filled == rows.n_panels:
                        _add_products(V, problem.curvature.equations, size)
                        n_filled = 0
            first += n
    if n_filled > 0:
        _add_products(panels_of(V, 0, n_filled), problem.curvature.equations, size)


@kernel
def _fill_seeds(
    problem: Problem,
    rows: Rows,
    term: Number,
    jets: Jets,
    first: Number,
    n: Number,
    y: Group,
    residual: Number,
) -> None:
    """Overwrite the errors of the outputs y: the derivatives of a residual with respect to all their jets.

    Residual k n_out + o is output o of jet k.
    """
    layout, n_out = problem.network.layout, y.shape[1]
    seeds = outputs(rows.workspace.errors, layout, layout.shape[0] - 1, y.shape[0])
    k, o = residual // n_out, residual % n_out
    factor = rows.terms.factors[term] / (n_out * max(1, jets.n_firsts))
    for q in range(seeds.shape[0]):
        seed = panel_of(seeds, q)
        for i in range(n_out):
            for s in range(0, PANEL, lanes(seed)):
                store(seed, i, s, splat(seed, 0.0))
    for p in range(n):
        seed = panel_of(seeds, k * n + p)
        target, weight = (
            panel(problem.batches.target, 0, first + p),
            panel(problem.batches.weight, 0, first + p),
        )
        if k == 0:
            roots = matrix(problem.curvature.roots, 0, n_out, PANEL)
            means = matrix(problem.curvature.means, 0, n_out, PANEL)
            curvature = address(rows.calls, CURVATURE)
            call(
                curvature,
                (panel_of(y, p), target, weight, constants_of(problem.criterion.numbers), roots, means),
            )
            for s in range(0, PANEL, lanes(seed)):
                store(seed, o, s, load(roots, o, s))
        else:
            for s in range(0, PANEL, lanes(seed)):
                root = square_root(load(weight, 1, s) * (2.0 * factor))
                t = load(target, n_out + o * jets.n_firsts + k - 1, s)
                store(seed, o, s, where(is_known(t), root, 0.0))


@kernel
def _fill_panel(
    network: Network, workspace: JetWorkspace, jets: Jets, p: Number, n: Number, V: Panel
) -> None:
    """Overwrite V with the derivatives of panel p of n: one row for each parameter."""
    layout, n_jets = network.layout, jet_count(jets)
    for layer in range(layout.shape[0]):
        n_in, n_out = layout[layer, N_IN], layout[layer, N_OUT]
        errors = outputs(workspace.errors, layout, layer, n * n_jets)
        n_given = n_jets
        if layer == 0:
            n_given = 1 + jets.n_firsts
            h = group(workspace.inputs, 0, n * n_given, n_in)
        else:
            h = outputs(workspace.activations, layout, layer - 1, n * n_jets)
        of_values = panel_of(errors, p)
        for o in range(n_out):
            for s in range(0, PANEL, lanes(V)):
                store(V, layout[layer, B_START] + o, s, load(of_values, o, s))
                for i in range(n_in):
                    total = splat(V, 0.0)
                    for k in range(n_given):
                        d, a = panel_of(errors, k * n + p), panel_of(h, k * n + p)
                        total = fma(load(d, o, s), load(a, i, s), total)
                    store(V, layout[layer, W_START] + o * n_in + i, s, total)


@kernel
def _add_products(V: Group, A: Flat, size: Number) -> None:
    """A += V V^T, summed over the panels of V, in the lower triangle."""
    for c in range(0, size, PANEL):
        C = matrix(A, c * size, size, PANEL)
        for r in range(c, size, 2):
            tile_sums(tile_dot(V, r, 2, V, c, 8), C, r, 0, True)
            tile_sums(tile_dot(V, r, 2, V, c + 8, 8), C, r, 8, True)
