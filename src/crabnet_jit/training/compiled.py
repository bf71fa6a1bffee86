"""The kernels of a loss and what they take: for values only, or for derivatives of the network, too."""

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

    `n_jets` is about how many times as long they take as those for values only. `can_be_shared` says whether
    a team of threads has kernels for the same (team_run.py).
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
    """Those for data in so many panels of each batch, and for equations in the panels after these.

    Parameters
    ----------
    net : NN
        The network.
    loss : Loss
        Of the values.
    penalties : ndarray
        Its numbers (kernels/penalties_and_clipping.py).
    n_panels : int
        Of the data in a batch; there may be none.
    gradients : ndarray
        To be overwritten.
    *of_update
        The kernel of the update rule and its numbers, if the network is trained.
    has_gaps : bool
        Whether targets may be unknown.
    dy_weight : float, optional
        What the mean squared error of first derivatives counts, if there are any.
    equations : sequence of Term
        Those of residuals (residuals.py).
    has_masks : bool
        Whether hidden units are dropped.
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
