"""Jets of a network, and gradients of a weighted sum of them, as the kernels make them."""

from typing import Any

import numpy as np

from crabnet_jit import NN
from crabnet_jit.arrays import aligned_zeros
from crabnet_jit.kernels.abi import jet_calls_of
from crabnet_jit.kernels.jet_entries import activation_jets
from crabnet_jit.kernels.jets import jet_count, jets_backward, jets_forward, panels_together
from crabnet_jit.kernels.layout import KINDS, outputs
from crabnet_jit.kernels.panels import pack
from crabnet_jit.kernels.structs import Jets, JetWorkspace
from crabnet_jit.machine.jit import entry_point, kernel
from crabnet_jit.machine.view import panel_of, panels

PANEL = 16


@kernel
def _run(
    network: Any, calls: Any, x: Any, masks: Any, jets: Any, workspace: Any, seeds: Any, results: Any
) -> None:
    """Overwrite results (1, n_panels, K n_out, PANEL); the gradients are those of seeds times jets."""
    together = panels_together(jet_count(jets))
    layout = network.layout
    for first in range(0, x.shape[1], together):
        n = min(together, x.shape[1] - first)
        of_masks = panels(masks, 0, first, n)
        y = jets_forward(network, calls, panels(x, 0, first, n), of_masks, jets, workspace)
        n_out, n_panels = y.shape[1], y.shape[0]
        dL_dy = outputs(workspace.errors, layout, layout.shape[0] - 1, n_panels)
        for q in range(n_panels):
            k, p = q // n, first + q % n
            y_q, dL_dy_q = panel_of(y, q), panel_of(dL_dy, q)
            for o in range(n_out):
                for s in range(PANEL):
                    results[0, p, k * n_out + o, s] = y_q[o, s]
                    dL_dy_q[o, s] = seeds[0, p, k * n_out + o, s]
        jets_backward(network, jets, n, workspace, first > 0)


run = entry_point(_run)


def jets_and_gradients(
    net: NN, x: Any, n_firsts: int, seconds: Any, seeds: Any, masks: Any = None
) -> tuple[Any, Any]:
    """Jets (n, K, n_out) at x (n, n_in), and the gradients of the sum of seeds times jets.

    `masks` (n, n_units) are what dropout multiplies outputs of hidden units by.
    """
    jets = Jets(n_firsts, np.array(seconds, np.int64).reshape(-1, 2))
    n, n_jets = len(x), 1 + n_firsts + len(seconds)
    dtype = net.dtype
    kernels = [activation_jets[KINDS[activation.kind]] for activation in net.activations]
    of_units = net.n_units * PANEL * 8
    sums, activations, first, second, third, errors = [
        np.full(of_units * n, np.nan, dtype) for n in (n_jets, n_jets, 1, 1, 1, n_jets)
    ]
    inputs = aligned_zeros(net.in_features * PANEL * max(8, n_jets), dtype=dtype)
    gradients = np.full(net.parameters.size, np.nan, dtype)
    workspace = JetWorkspace(
        inputs,
        sums,
        activations,
        first,
        second,
        third,
        errors,
        np.empty(0, dtype),
        gradients,
        None,
        1 if dtype == np.float32 else None,
    )
    padded = pack(np.reshape(seeds, (n, -1)).astype(dtype), 0.0)
    of_masks = pack((np.empty((n, 0)) if masks is None else masks).astype(dtype), 0.0)
    results = np.empty_like(padded)
    run(net.kernel_view(), jet_calls_of(dtype, kernels), pack(x.astype(dtype)), of_masks, jets, workspace,
        padded, results)  # fmt: skip
    rows = results.transpose(0, 1, 3, 2).reshape(-1, n_jets, net.out_features)[:n]
    return rows, workspace.gradients
