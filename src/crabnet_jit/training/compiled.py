"""The kernels of a loss and their arguments: for values only, or also for derivatives of the network."""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss
from crabnet_jit.kernels.entries import loss_and_gradients, train
from crabnet_jit.kernels.structs import Criterion, JetWorkspace, Terms, Workspace
from crabnet_jit.network.network import NN


class Compiled(NamedTuple):
    """Kernels of a run and of a loss, and their arguments.

    They take about `n_jets` times as long as the kernels for values only. `can_be_shared` says
    whether a team of threads has kernels for the same work (team_run.py).
    """

    train: Any
    loss_and_gradients: Any
    calls: Any
    criterion: Criterion | Terms
    workspace: Workspace | JetWorkspace
    n_jets: int = 1
    can_be_shared: bool = False


def compiled(
    net: NN,
    loss: Loss,
    penalties: Array,
    n_panels: int,
    gradients: Array,
    *of_update: Any,
    has_gaps: bool = False,
    dy_weight: float | None = None,
    equations: Sequence[Any] = (),
    has_masks: bool = False,
) -> Compiled:
    """The kernels for data in the first panels of each batch, and for equations in the panels after these.

    Parameters
    ----------
    net : NN
        The network.
    loss : Loss
        The loss of the values.
    penalties : ndarray
        Its numbers (kernels/penalties_and_clipping.py).
    n_panels : int
        Panels of data in a batch; may be 0.
    gradients : ndarray
        Will be overwritten.
    *of_update
        The kernel of the update rule and its numbers, if the network is trained.
    has_gaps : bool
        Whether targets may be unknown.
    dy_weight : float, optional
        The weight of the mean squared error of first derivatives, if there are any.
    equations : sequence of Term
        The terms of residuals (residuals.py).
    has_masks : bool
        Whether there is dropout.
    """
    criterion = Criterion(np.concatenate([penalties, loss.constants]))
    kernel = loss.kernel_for(has_gaps)
    if dy_weight is None and not equations:
        calls = net.calls(kernel, penalties, *of_update, has_masks=has_masks)
        workspace = net.workspace(n_panels, gradients)
        return Compiled(train, loss_and_gradients, calls, criterion, workspace, can_be_shared=True)
    terms: Any = importlib.import_module("crabnet_jit.training.terms")
    all_terms = [*terms.of_data(net, n_panels, dy_weight), *equations]
    made: Compiled = terms.compiled_terms(net, kernel, criterion, all_terms, gradients, *of_update)
    return made
