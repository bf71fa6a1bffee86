"""The training run of a team of threads: the same bits as those of one thread.

A batch's panels go through the network in groups, as in train.py. Each thread takes several groups in a row.
The thread with the first groups adds up their gradients as a single thread does; the others keep the
gradients of each group separately. Then all threads meet, and the kept gradients are added, group by group.

A thread that reads what another one has written waits about 30 ns for each cache line. So little data moves
between threads: the gradients once, and the parameters once. The leader has the last groups: with two
threads, it finds everything to be added in its own cache.
"""

import math
from typing import NamedTuple

from crabnet_jit.arrays import Calls, Flat, Matrix, Number
from crabnet_jit.kernels.layout import outputs
from crabnet_jit.kernels.network import network_backward, network_forward
from crabnet_jit.kernels.panels import GROUP
from crabnet_jit.kernels.structs import Batches, Criterion, Network, Workspace
from crabnet_jit.kernels.train import loss_of_all, panel_loss, training_run
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.meeting import Team, meet, share
from crabnet_jit.machine.view import panel, panel_of, panels, row

_LINE = 8  # numbers that belong to one thread
_SMALLEST = (
    7  # panels of a group whose gradients are sums over the group (linear.py); else they are of each panel
)


class TeamWorkspace(NamedTuple):
    """The data of a thread of a team: its place in the team, its own workspace, and shared arrays.

    Shared are `gradients`, `kept` with a row for the gradients of each group of a round, and `losses` of all
    panels of a batch.
    """

    team: Team
    own: Workspace
    gradients: Flat
    kept: Matrix
    losses: Flat


@kernel
def team_gradients(
    network: Network,
    calls: Calls,
    workspace: TeamWorkspace,
    batches: Batches,
    iteration: Number,
    criterion: Criterion,
) -> Number:
    """Return the loss of one batch of a chunk, and overwrite `workspace.gradients` with its gradients.

    All threads of the team call it. It returns NaN if the team has ended.
    """
    team, n_panels = workspace.team, batches.x.shape[1]
    position = (team.me if team.me > 0 else team.n) - 1
    n_whole = n_panels - n_panels % GROUP if n_panels % GROUP < _SMALLEST else n_panels
    is_going_on, first = meet(team), 0  # the parameters are those of this iteration
    while first < n_panels:
        is_rest = first == n_whole
        end = min(n_panels if is_rest else n_whole, first + workspace.kept.shape[0] * GROUP)
        n_groups = -(-(end - first) // GROUP) if is_going_on else 0
        mine, last = share(position, team.n, n_groups, 1)
        if is_rest:
            mine, last = 0, n_groups if team.me == 0 else 0
        for k in range(mine, last):
            p = first + k * GROUP
            if is_rest and p > 0:
                _copy(workspace.gradients, workspace.own.gradients)
            _group_gradients(
                network,
                calls,
                workspace.own,
                batches,
                iteration,
                criterion,
                p,
                min(GROUP, end - p),
                is_rest and p > 0,
                workspace.losses,
            )
            if is_rest:
                _copy(workspace.own.gradients, workspace.gradients)
            elif position > 0:
                _copy(workspace.own.gradients, row(workspace.kept, k))
            else:
                _add(workspace.own.gradients, p > 0, workspace.gradients, 0, workspace.gradients.size)
        is_going_on = meet(team)
        _add_kept(team, workspace.kept, n_groups if is_going_on and not is_rest else 0, workspace.gradients)
        is_going_on = meet(team)
        first = end
    loss = 0.0 if is_going_on else math.nan
    for p in range(n_panels):
        loss += workspace.losses[p]
    return loss


@kernel
def _group_gradients(
    network: Network,
    calls: Calls,
    workspace: Workspace,
    batches: Batches,
    iteration: Number,
    criterion: Criterion,
    first: Number,
    n: Number,
    add: bool,
    losses: Flat,
) -> None:
    """Overwrite the gradients in the workspace with those of n panels from `first` on, or `add` to them.

    Overwrites the losses of these panels.
    """
    batch = iteration if batches.x.shape[0] > 1 else 0
    of_weights = iteration if batches.weight.shape[0] > 1 else 0
    x, masks = panels(batches.x, batch, first, n), panels(batches.masks, iteration, first, n)
    y = network_forward(network, calls, x, masks, workspace)
    dL_dy = outputs(workspace.errors, network.layout, network.layout.shape[0] - 1, n)
    for p in range(n):
        target, weight = panel(batches.target, batch, first + p), panel(batches.weight, of_weights, first + p)
        losses[first + p] = panel_loss(calls, criterion, panel_of(y, p), target, weight, panel_of(dL_dy, p))
    network_backward(network, calls, x, workspace, add)


@kernel
def _copy(x: Flat, y: Flat) -> None:
    """y = x."""
    for k in range(y.size):
        y[k] = x[k]


@kernel
def _add(x: Flat, add: bool, y: Flat, first: Number, last: Number) -> None:
    """y += x, from `first` to before `last`; or y = x unless `add`."""
    if add:
        for k in range(first, last):
            y[k] += x[k]
    else:
        for k in range(first, last):
            y[k] = x[k]


@kernel
def _add_kept(team: Team, kept: Matrix, n_groups: Number, gradients: Flat) -> None:
    """Add the kept gradients of n_groups, except those of the first thread's, in order.

    With two threads, the leader does this, which has kept them all; more threads share the parameters.
    """
    _, of_first = share(0, team.n, n_groups, 1)
    first, last = share(team.me, team.n, gradients.size, _LINE)
    if team.n == 2:
        first, last = 0, gradients.size if team.me == 0 else 0
    for k in range(of_first, n_groups):
        _add(row(kept, k), True, gradients, first, last)


@kernel
def help_run(
    network: Network,
    calls: Calls,
    workspace: TeamWorkspace,
    batches: Batches,
    criterion: Criterion,
    n_iterations: Number,
) -> None:
    """The work of the other threads while one is in `train` or `loss_and_gradients` of a team."""
    iteration, loss = 0, 0.0
    while iteration < n_iterations and not math.isnan(loss):
        loss = team_gradients(network, calls, workspace, batches, iteration, criterion)
        iteration += 1


train = training_run(team_gradients)
loss_and_gradients = loss_of_all(team_gradients)
