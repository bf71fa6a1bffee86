"""Derivatives with respect to inputs go forward through all layers together with the values, and back.

A sample has K jets: its value, and the first and second derivatives that `Jets` (structs.py) names. A group
of n panels becomes a group of K n panels: panel k n + p has jet k of the samples of panel p. Linear layers
treat all jets alike, but only values get biases. An activation a = phi(z) mixes jets:

    a_k = phi' z_k                  a_kj = phi'' z_k z_j + phi' z_kj

In the backward pass, g are the derivatives of the loss with respect to the jets of a, and the sums are over
all k, and over all pairs kj:

    dL_dz    = phi' g + sum phi'' z_k g_k + sum (phi''' z_k z_j + phi'' z_kj) g_kj
    dL_dz_k  = phi' g_k + sum phi'' z_j g_kj, over the pairs with k, and twice for the pair kk
    dL_dz_kj = phi' g_kj

All activations are called through their addresses in `calls`; see `jet_calls_of` (abi.py).
"""

from crabnet_jit.arrays import Calls, Group, Matrix, Number, Panel
from crabnet_jit.kernels.layout import N_IN, Y_START, biases, outputs, weights
from crabnet_jit.kernels.linear import linear_backward_input, linear_forward, row_products, row_sums
from crabnet_jit.kernels.network import multiply
from crabnet_jit.kernels.panels import GROUP
from crabnet_jit.kernels.structs import ACTIVATIONS, Jets, JetWorkspace, Network
from crabnet_jit.machine.address import address, call
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import fma, lanes, load, splat, store
from crabnet_jit.machine.view import group, panel_of, panels_of, rows_of


@kernel
def jet_count(jets: Jets) -> Number:
    """K, the number of jets of a sample."""
    return 1 + jets.n_firsts + jets.seconds.shape[0]


@kernel
def panels_together(n_jets: Number) -> Number:
    """How many panels go through a network together: with their jets, about as many as without jets."""
    return max(1, GROUP // n_jets)


@kernel
def jets_forward(
    network: Network, calls: Calls, x: Group, masks: Group, jets: Jets, workspace: JetWorkspace
) -> Group:
    """Return the jets of the outputs for the n panels x; stores the jets of every layer."""
    layout, n, n_panels = network.layout, x.shape[0], x.shape[0] * jet_count(jets)
    h = _input_jets(x, jets, workspace)
    for layer in range(layout.shape[0]):
        z = outputs(workspace.sums, layout, layer, n_panels)
        W, b = weights(network.parameters, layout, layer), biases(network.parameters, layout, layer)
        values, others = panels_of(h, 0, n), panels_of(h, n, h.shape[0] - n)
        linear_forward(W, b, values, panels_of(z, 0, n), False, workspace.pairs, workspace.interrupt)
        linear_forward(
            W, 0.0, others, panels_of(z, n, h.shape[0] - n), False, workspace.pairs, workspace.interrupt
        )
        _clear(rows_of(panels_of(z, h.shape[0], n_panels - h.shape[0])))
        y = outputs(workspace.activations, layout, layer, n_panels)
        first, second, third = _derivatives(workspace, layout, layer, n, jets)
        values, y_values = panels_of(z, 0, n), panels_of(y, 0, n)
        activation, constant = address(calls, ACTIVATIONS + layer), network.constants[layer]
        derivatives = (rows_of(first), rows_of(second), rows_of(third))
        call(activation, (rows_of(values), constant, rows_of(y_values), *derivatives))
        if masks.shape[1] > 0 and layer < layout.shape[0] - 1:
            for p in range(n):
                mask, row = panel_of(masks, p), layout[layer, Y_START]
                multiply(mask, row, panel_of(y, p))
                multiply(mask, row, panel_of(first, p))
                multiply(mask, row, panel_of(second, p))
                if third.shape[0] > 0:
                    multiply(mask, row, panel_of(third, p))
        _mix_forward(jets, rows_of(z), rows_of(first), rows_of(second), rows_of(y))
        h = y
    return h


@kernel
def jets_backward(network: Network, jets: Jets, n: Number, workspace: JetWorkspace, add: bool | None) -> None:
    """Overwrite `workspace.gradients` with the gradients of n panels, or add them if `add`.

    If `add` is None, the gradients stay as they are, and only the errors are computed.

    The workspace is as jets_forward left it, except for the last layer's part of `errors`: on entry, it holds
    the derivatives of the loss with respect to the jets of the outputs. The other parts are overwritten.
    """
    layout, n_panels = network.layout, n * jet_count(jets)
    for layer in range(layout.shape[0] - 1, -1, -1):
        dL_dz = outputs(workspace.errors, layout, layer, n_panels)
        z = outputs(workspace.sums, layout, layer, n_panels)
        first, second, third = _derivatives(workspace, layout, layer, n, jets)
        _mix_backward(jets, rows_of(z), rows_of(first), rows_of(second), rows_of(third), rows_of(dL_dz))
        if layer > 0:
            W = weights(network.parameters, layout, layer)
            h = outputs(workspace.activations, layout, layer - 1, n_panels)
            dL_dh = outputs(workspace.errors, layout, layer - 1, n_panels)
            linear_backward_input(W, dL_dz, h, dL_dh, False, workspace.pairs, workspace.interrupt)
        else:
            h = group(workspace.inputs, 0, n * (1 + jets.n_firsts), layout[0, N_IN])
        if add is not None:
            dL_dW = weights(workspace.gradients, layout, layer)
            dL_db = biases(workspace.gradients, layout, layer)
            row_products(panels_of(dL_dz, 0, h.shape[0]), h, dL_dW, add, workspace.interrupt)
            row_sums(panels_of(dL_dz, 0, n), dL_db.T, add)


@kernel
def _derivatives(
    workspace: JetWorkspace, layout: Matrix, layer: Number, n: Number, jets: Jets
) -> tuple[Group, Group, Group]:
    """The derivatives of a layer's activation; the third only if jets contain second derivatives."""
    n_third = n if jets.seconds.shape[0] > 0 else 0
    return (
        outputs(workspace.first, layout, layer, n),
        outputs(workspace.second, layout, layer, n),
        outputs(workspace.third, layout, layer, n_third),
    )


@kernel
def _input_jets(x: Group, jets: Jets, workspace: JetWorkspace) -> Group:
    """The inputs x and their first derivatives, 1 or 0; second derivatives are 0 and left out."""
    n, n_in = x.shape[0], x.shape[1]
    h = group(workspace.inputs, 0, n * (1 + jets.n_firsts), n_in)
    from_x, to_h = rows_of(x), rows_of(h)
    for i in range(n * n_in):
        for s in range(0, from_x.shape[1], lanes(from_x)):
            store(to_h, i, s, load(from_x, i, s))
    for k in range(jets.n_firsts):
        for p in range(n):
            for i in range(n_in):
                for s in range(0, from_x.shape[1], lanes(from_x)):
                    store(to_h, ((k + 1) * n + p) * n_in + i, s, splat(from_x, 1.0 if i == k else 0.0))
    return h


@kernel
def _clear(x: Panel) -> None:
    for i in range(x.shape[0]):
        for s in range(0, x.shape[1], lanes(x)):
            store(x, i, s, splat(x, 0.0))


@kernel
def _mix_forward(jets: Jets, z: Panel, first: Panel, second: Panel, a: Panel) -> None:
    """Overwrite the derivatives in a, which has its values already; first and second are those of phi."""
    m = first.shape[0]  # rows of each jet
    for k in range(1, 1 + jets.n_firsts):
        for r in range(m):
            for s in range(0, z.shape[1], lanes(z)):
                store(a, k * m + r, s, load(first, r, s) * load(z, k * m + r, s))
    for pair in range(jets.seconds.shape[0]):
        k, j, kj = _places(jets, pair)
        for r in range(m):
            for s in range(0, z.shape[1], lanes(z)):
                bent = load(second, r, s) * load(z, k * m + r, s) * load(z, j * m + r, s)
                store(a, kj * m + r, s, fma(load(first, r, s), load(z, kj * m + r, s), bent))


@kernel
def _mix_backward(jets: Jets, z: Panel, first: Panel, second: Panel, third: Panel, g: Panel) -> None:
    """Overwrite g, the derivatives of the loss with respect to the jets of a, with those for z."""
    m = first.shape[0]
    for r in range(m):
        for s in range(0, z.shape[1], lanes(z)):
            d1, d2 = load(first, r, s), load(second, r, s)
            bent = splat(z, 0.0)
            for k in range(1, 1 + jets.n_firsts):
                g_k = load(g, k * m + r, s)
                bent = fma(load(z, k * m + r, s), g_k, bent)
                store(g, k * m + r, s, d1 * g_k)
            dL_dz = fma(d1, load(g, r, s), d2 * bent)
            for pair in range(jets.seconds.shape[0]):
                k, j, kj = _places(jets, pair)
                g_kj, z_k, z_j = load(g, kj * m + r, s), load(z, k * m + r, s), load(z, j * m + r, s)
                bent = d2 * g_kj
                dL_dz = fma(load(third, r, s) * z_k * z_j, g_kj, fma(load(z, kj * m + r, s), bent, dL_dz))
                store(g, k * m + r, s, fma(z_j, bent, load(g, k * m + r, s)))
                store(g, j * m + r, s, fma(z_k, bent, load(g, j * m + r, s)))
                store(g, kj * m + r, s, d1 * g_kj)
            store(g, r, s, dL_dz)


@kernel
def _places(jets: Jets, pair: Number) -> tuple[Number, Number, Number]:
    """The indices of the two first derivatives that a second one is made of, and its own index."""
    return 1 + jets.seconds[pair, 0], 1 + jets.seconds[pair, 1], 1 + jets.n_firsts + pair
