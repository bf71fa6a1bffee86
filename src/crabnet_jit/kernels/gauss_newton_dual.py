"""The matrix of the dual form: v v'^T for the rows v = R_k^T J (curvature.py) of all samples.

It is smaller than H if there are fewer rows than parameters. With v = d a^T in each layer, the product of two
rows is a sum over the layers of (d d'^T) (a a'^T + 1), where the 1 belongs to the bias.
"""

from crabnet_jit.arrays import Flag, Flat, Group, Matrix, Number, Panel
from crabnet_jit.kernels.curvature import errors_of
from crabnet_jit.kernels.layout import N_OUT, biases, inputs, weights
from crabnet_jit.kernels.linear import linear_forward
from crabnet_jit.kernels.structs import Curvature, Problem
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.tile import tile_add_product, tile_rows, tile_start, tile_store
from crabnet_jit.machine.vector import fma, lanes, load, store
from crabnet_jit.machine.view import group, matrix, panel_of


@kernel
def fill_dual(layout: Matrix, activations: Flat, curvature: Curvature, x: Group, interrupt: Flag) -> None:
    """Overwrite the lower triangle of `curvature.equations`; it has a row for each output of each sample.

    All samples are in the panels x; their errors are in `curvature`.
    """
    n_panels, n_out = x.shape[0], layout[layout.shape[0] - 1, N_OUT]
    of_errors = matrix(curvature.squares, 0, PANEL, PANEL)
    of_inputs = matrix(curvature.squares, PANEL**2, PANEL, PANEL)
    for layer in range(layout.shape[0]):
        a = inputs(activations, layout, layer, x)
        for p in range(n_panels):
            if is_set(interrupt):
                return
            for q in range(p + 1):
                _products(panel_of(a, p), panel_of(a, q), 1.0, of_inputs)
                for k in range(n_out):
                    d = panel_of(errors_of(curvature, k, layout, layer, n_panels), p)
                    for j in range(k + 1 if p == q else n_out):
                        d_other = panel_of(errors_of(curvature, j, layout, layer, n_panels), q)
                        _products(d, d_other, 0.0, of_errors)
                        row, column = p * n_out + k, q * n_out + j
                        start = (column * n_panels * n_out + row) * PANEL * PANEL
                        _add_multiplied(
                            of_errors, of_inputs, matrix(curvature.equations, start, PANEL, PANEL), layer > 0
                        )


@kernel
def _products(x: Panel, y: Panel, start: Number, square: Matrix) -> None:
    """square[s, t] = start + sum over the rows of x[:, s] y[:, t]."""
    for s in range(0, PANEL, tile_rows(y)):
        tile_store(tile_add_product(tile_start(y, start, 0), x.T, s, y), square, s)


@kernel
def _add_multiplied(x: Matrix, y: Matrix, z: Matrix, add: bool) -> None:
    """z = x y, element by element; or added if `add`."""
    for i in range(PANEL):
        for s in range(0, PANEL, lanes(x)):
            product = load(x, i, s) * load(y, i, s)
            store(z, i, s, product + load(z, i, s) if add else product)


@kernel
def add_rows_times_parameters(problem: Problem, x: Group, scale: Number, rows: Group) -> None:
    """Add scale v theta to rows (n_panels, n_out, PANEL), for all rows v and the parameters theta.

    That is a sum over the layers of d^T (W a + b).
    """
    network, curvature, workspace = problem.network, problem.curvature, problem.workspace
    layout, n_panels = network.layout, x.shape[0]
    for layer in range(layout.shape[0]):
        a = inputs(workspace.activations, layout, layer, x)
        z = group(curvature.left, 0, n_panels, layout[layer, N_OUT])
        W, b = weights(network.parameters, layout, layer), biases(network.parameters, layout, layer)
        linear_forward(W, b, a, z, False, workspace.pairs, workspace.interrupt)
        for p in range(n_panels):
            rows_p, z_p = panel_of(rows, p), panel_of(z, p)
            for k in range(rows_p.shape[0]):
                d = panel_of(errors_of(curvature, k, layout, layer, n_panels), p)
                for s in range(0, PANEL, lanes(z_p)):
                    total = load(rows_p, k, s)
                    for o in range(z_p.shape[0]):
                        total = fma(scale * load(d, o, s), load(z_p, o, s), total)
                    store(rows_p, k, s, total)
