"""The training run for a loss that is a sum of terms, each over its own panels and with its own jets.

A term's row in `Terms.table` (structs.py):

    column            meaning
    FIRST, N_PANELS   its panels in each batch
    N_FIRSTS          its first derivatives: with respect to all inputs before this one
    SECOND, N_SECONDS its second derivatives: pairs in `Terms.seconds`, from this one on
    RESIDUAL          index of the address of its equation (residuals.py) in `calls`; 0 for a term of data
    UNITS             where the units of its equation begin in `Terms.units`

The term of an equation is its factor times the weighted mean of the residual's squares.
The term of data is the loss of the values, plus its factor times the mean squared error of the first
derivatives, if there are any. The targets of derivatives are the rows after those of the values, output by
output; NaN means unknown. Their weights are the second row.
"""

import numpy as np

from crabnet_jit.arrays import Calls, Group, Number, Panel
from crabnet_jit.kernels.jets import jet_count, jets_backward, jets_forward, panels_together
from crabnet_jit.kernels.layout import outputs
from crabnet_jit.kernels.losses import is_known
from crabnet_jit.kernels.structs import Batches, Jets, JetWorkspace, Network, Terms
from crabnet_jit.kernels.train import loss_of_all, panel_loss, training_run
from crabnet_jit.machine.address import address, call
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import fma, lanes, load, splat, store, sum_lanes, where
from crabnet_jit.machine.view import group, matrix, panel, panel_of, panels, rows_of

FIRST, N_PANELS, N_FIRSTS, SECOND, N_SECONDS, RESIDUAL, UNITS = range(7)


@kernel
def terms_gradients(
    network: Network,
    calls: Calls,
    workspace: JetWorkspace,
    batches: Batches,
    iteration: Number,
    terms: Terms,
) -> Number:
    """Return the loss of one batch of a chunk, and overwrite `workspace.gradients` with its gradients.

    For each term, `panels_together` panels at a time go through the network. Gradients are added up in order.
    """
    loss, is_first = 0.0, True
    for term in range(terms.table.shape[0]):
        jets = jets_of(terms, term)
        together, first = panels_together(jet_count(jets)), terms.table[term, FIRST]
        end = first + terms.table[term, N_PANELS]
        while first < end and not is_set(workspace.interrupt):
            n = min(together, end - first)
            loss += _add_panels(
                network, calls, workspace, batches, iteration, terms, term, jets, first, n, not is_first
            )
            is_first = False
            first += n
    return loss


@kernel
def jets_of(terms: Terms, term: Number) -> Jets:
    """The jets that a term needs."""
    start, n = terms.table[term, SECOND], terms.table[term, N_SECONDS]
    return Jets(terms.table[term, N_FIRSTS], matrix(terms.seconds, 2 * start, n, 2))


@kernel
def _add_panels(
    network: Network,
    calls: Calls,
    workspace: JetWorkspace,
    batches: Batches,
    iteration: Number,
    terms: Terms,
    term: Number,
    jets: Jets,
    first: Number,
    n: Number,
    add: bool,
) -> Number:
    """Return the loss of n panels of a term, from `first` on; overwrite the gradients, or `add` to them."""
    batch = iteration if batches.x.shape[0] > 1 else 0
    of_weights = iteration if batches.weight.shape[0] > 1 else 0
    x, masks = panels(batches.x, batch, first, n), panels(batches.masks, iteration, first, n)
    y = jets_forward(network, calls, x, masks, jets, workspace)
    dL_dy = outputs(workspace.errors, network.layout, network.layout.shape[0] - 1, n * jet_count(jets))
    loss = 0.0
    if terms.table[term, RESIDUAL] > 0:
        weights = panels(batches.weight, of_weights, first, n)
        loss += _residual_loss(calls, terms, term, x, y, weights, workspace, dL_dy)
        jets_backward(network, jets, n, workspace, add)
        return loss
    for p in range(n):
        target, weight = panel(batches.target, batch, first + p), panel(batches.weight, of_weights, first + p)
        loss += panel_loss(calls, terms, panel_of(y, p), target, weight, panel_of(dL_dy, p))
        loss += _slope_loss(y, target, weight, terms.factors[term], jets, p, n, dL_dy)
    jets_backward(network, jets, n, workspace, add)
    return loss


@kernel
def residuals(
    calls: Calls,
    terms: Terms,
    term: Number,
    scale: Number,
    x: Group,
    y: Group,
    weight: Group,
    workspace: JetWorkspace,
    dr_dy: Group,
) -> Group:
    """Return the residuals of an equation at x, where the outputs' jets are y; overwrite their derivatives.

    Both are multiplied by the square roots of the points' shares in the loss and of `scale`.
    """
    n, n_rows = x.shape[0], y.shape[0] * y.shape[1]
    units = matrix(terms.units, terms.table[term, UNITS], 2, x.shape[1] + n_rows // n)
    r = group(workspace.residuals, 0, n, 1)
    of_equation, factor = address(calls, terms.table[term, RESIDUAL]), scale * terms.factors[term]
    call(of_equation, (x, y, weight, units, factor, r, dr_dy))
    return r


@kernel
def _residual_loss(
    calls: Calls,
    terms: Terms,
    term: Number,
    x: Group,
    y: Group,
    weight: Group,
    workspace: JetWorkspace,
    dL_dy: Group,
) -> Number:
    """The loss of the residuals at x, where the outputs' jets are y; overwrites dL_dy."""
    n, n_rows, n_out = x.shape[0], y.shape[0] * y.shape[1], y.shape[1]
    r = residuals(calls, terms, term, 1.0, x, y, weight, workspace, dL_dy)
    of_r, of_dL_dy = rows_of(r), rows_of(dL_dy)
    total = splat(y, 0.0)
    for p in range(n):
        for s in range(0, of_r.shape[1], lanes(y)):
            r_p = load(of_r, p, s)
            total = fma(r_p, r_p, total)
            for k in range(0, n_rows, n * n_out):
                for o in range(k + p * n_out, k + (p + 1) * n_out):
                    store(of_dL_dy, o, s, 2.0 * r_p * load(of_dL_dy, o, s))
    return np.float64(sum_lanes(total))


@kernel
def _slope_loss(
    y: Group, target: Panel, weight: Panel, factor: Number, jets: Jets, p: Number, n: Number, dL_dy: Group
) -> Number:
    """The part of the loss that is due to the first derivatives of panel p of n; overwrites their dL_dy."""
    n_out = y.shape[1]
    total = splat(y, 0.0)
    for k in range(jets.n_firsts):
        y_k, dL_dy_k = panel_of(y, (1 + k) * n + p), panel_of(dL_dy, (1 + k) * n + p)
        for o in range(n_out):
            for s in range(0, y_k.shape[1], lanes(y_k)):
                share = load(weight, 1, s) * (factor / (n_out * jets.n_firsts))
                t = load(target, n_out + o * jets.n_firsts + k, s)
                error = where(share > 0.0, where(is_known(t), load(y_k, o, s) - t, 0.0), 0.0)
                total = fma(share * error, error, total)
                store(dL_dy_k, o, s, 2.0 * share * error)
    return np.float64(sum_lanes(total))


train_terms = training_run(terms_gradients)
loss_and_gradients_of_terms = loss_of_all(terms_gradients)
