"""The Levenberg-Marquardt method: steps that solve (H + damping I) step = -gradient.

H is the Gauss-Newton approximation of the second derivatives (curvature.py), including those of the L2
penalty. The damping follows the gain ratio: the actual decrease of the loss over the decrease that the
quadratic model predicts. By the rule of H. B. Nielsen, "Damping parameter in Marquardt's method", 1999, it is
multiplied by max(1/3, 1 - (2 ratio - 1)^3) after a good step, and by 2, 4, 8, … after bad ones.

The step is corrected for the curvature of the outputs: half of a is subtracted, where a solves
(H + damping I) a = J^T C y'' and y'' are the second derivatives of the outputs along the step. This is the
geodesic acceleration of M. Transtrum, J. Sethna, "Improvements to the Levenberg-Marquardt algorithm",
arXiv:1201.5885, 2012. If a is too long, there is no correction.
"""

import math
from typing import Any

from crabnet_jit.arrays import Flat, Group, Number
from crabnet_jit.kernels.cholesky import add_to_diagonal, factorize, solve, trace
from crabnet_jit.kernels.curvature import (
    fill_errors,
    fill_residuals,
    fill_roots,
    last_layer,
    pull_back,
    second_along,
)
from crabnet_jit.kernels.explicit_rows import add_squares
from crabnet_jit.kernels.gauss_newton import add_blocks, fill_matrix
from crabnet_jit.kernels.gauss_newton_dual import add_rows_times_parameters, fill_dual
from crabnet_jit.kernels.layout import N_OUT
from crabnet_jit.kernels.network import network_backward, network_forward
from crabnet_jit.kernels.penalties_and_clipping import L2
from crabnet_jit.kernels.structs import Network, Problem, Rows
from crabnet_jit.kernels.train import panel_loss
from crabnet_jit.kernels.train_terms import terms_gradients
from crabnet_jit.machine.interrupt import is_set
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.meeting import meet
from crabnet_jit.machine.view import group, panel, panel_of, panels

#: The state of the method, then its constants. A damping of 0 has not been chosen yet.
DAMPING, FIRST_DAMPING, LONGEST_BEND, GRADIENT_TOLERANCE, STEP_TOLERANCE, LOSS_TOLERANCE = range(6)

#: Reasons to end …
NO_REASON, INTERRUPTED, NOT_FINITE, SMALL_GRADIENT, SMALL_STEP, SMALL_DECREASE, LARGE_DAMPING = range(7)
_FAILED = 7  # … and the result of a trial step that does not lower the loss

# Limits of the damping, relative to the trace of H; the matrix of the dual form has the same trace.
_MOST, _LEAST = 1e20, 1e-30
_LARGEST = 1e308


@kernel
def levenberg_marquardt(
    problem: Problem, dual: Number, rows: Rows, numbers: Flat, losses: Flat
) -> tuple[Number, Number]:
    """Take up to losses.size steps; return how many, and the reason if it ended early.

    Updates parameters and numbers, and overwrites losses with the loss before each step, without penalties.
    If `dual` is None, the matrix of the equations is H; otherwise it is that of the dual form, and all
    samples are one group. If `rows` is not None, H is made of explicit rows, and steps are not corrected.
    When `workspace.interrupt` is set (interrupt.py), it ends, and the parameters are those before the step.
    """
    gradient, parameters, l2 = problem.curvature.gradient, problem.network.parameters, _l2(problem)
    for iteration in range(losses.size):
        loss = fill_equations(problem, dual, rows)
        losses[iteration] = loss
        if is_set(problem.workspace.interrupt):
            return iteration, INTERRUPTED
        if not abs(loss) < math.inf:
            return iteration, NOT_FINITE
        largest = 0.0
        for k in range(gradient.size):
            gradient[k] += l2 * parameters[k]
            largest = max(largest, abs(gradient[k]))
        if largest <= numbers[GRADIENT_TOLERANCE]:
            return iteration, SMALL_GRADIENT
        reason = _step(problem, dual, rows, numbers, loss)
        if reason == SMALL_DECREASE:
            return iteration + 1, reason
        if reason != NO_REASON:
            return iteration, reason
    return losses.size, NO_REASON


@kernel
def _l2(problem: Problem) -> Number:
    return problem.criterion.numbers[L2]


@kernel
def _panels_from(problem: Problem, first: Number) -> Group:
    """The inputs of the group of panels that begins at `first`."""
    x = problem.batches.x
    return panels(x, 0, first, min(problem.curvature.group, x.shape[1] - first))


@kernel
def fill_equations(problem: Problem, dual: Number, rows: Rows) -> Number:
    """Return the loss; overwrite its gradient and `curvature.equations`."""
    curvature = problem.curvature
    for k in range(curvature.equations.size):
        curvature.equations[k] = 0.0
    loss = _fill_products(problem, dual) if rows is None else _loss_of_terms(problem, rows, problem.network)
    for k in range(curvature.gradient.size):
        curvature.gradient[k] = problem.workspace.gradients[k]
    if rows is not None:
        add_squares(problem, rows)
    return loss


@kernel
def _loss_of_terms(problem: Problem, rows: Rows, network: Network) -> Number:
    """The loss of a network like the problem's; overwrites the gradients in the workspace."""
    return terms_gradients(network, rows.calls, rows.workspace, problem.batches, 0, rows.terms)


@kernel
def _fill_products(problem: Problem, dual: Number) -> Number:
    """Return the loss; leave its gradient in the workspace, and add to `curvature.equations`.

    All threads of a team call it, and find the same loss; NaN if the team has ended.
    """
    curvature, workspace = problem.curvature, problem.workspace
    loss, n_panels = (0.0, problem.batches.x.shape[1]) if _meet(problem.team) else (math.nan, 0)
    for first in range(0, n_panels, curvature.group):
        if is_set(workspace.interrupt):
            break
        x = _panels_from(problem, first)
        loss = _add_loss(problem, problem.network, first, x, loss)
        network_backward(problem.network, problem.calls, x, workspace, first > 0)
        fill_roots(problem, first, x.shape[0])
        fill_errors(problem, x)
        if dual is None:
            of_layers = problem.network.layout, workspace.activations
            add_blocks(*of_layers, curvature, x, workspace.interrupt, problem.team)
        else:
            fill_dual(problem.network.layout, workspace.activations, curvature, x, workspace.interrupt)
    return loss if _meet(problem.team) else math.nan


@kernel
def _meet(team: Any) -> bool:
    """Wait for the others of a team, if there is one; return False if it has ended."""
    is_going_on: bool = True if team is None else meet(team)
    return is_going_on


@kernel
def help_equations(problem: Problem) -> None:
    """What the other threads do while one is in `levenberg_marquardt` for a team."""
    loss = 0.0
    while not math.isnan(loss):
        loss = _fill_products(problem, None)


@kernel
def _add_loss(problem: Problem, network: Network, first: Number, x: Group, loss: Number) -> Number:
    """Return `loss` plus the loss of the panels x, from `first` on, for a network like the problem's.

    Its gradients with respect to the outputs are left in the workspace's errors.
    """
    workspace, batches = problem.workspace, problem.batches
    masks = panels(batches.masks, 0, first, x.shape[0])
    y = network_forward(network, problem.calls, x, masks, workspace)
    dL_dy = last_layer(network, workspace.errors, x.shape[0])
    for p in range(x.shape[0]):
        target, weight = panel(batches.target, 0, first + p), panel(batches.weight, 0, first + p)
        y_p, dL_dy_p = panel_of(y, p), panel_of(dL_dy, p)
        loss += panel_loss(problem.calls, problem.criterion, y_p, target, weight, dL_dy_p)
    return loss


@kernel
def factorize_matrix(problem: Problem, dual: Number, damping: Number) -> Number:
    """Overwrite `curvature.matrix`, H, with the factor of H + damping I; return whether it exists."""
    curvature, size = problem.curvature, problem.curvature.vector.size
    add_to_diagonal(curvature.matrix, size, _n_rows(problem, dual), damping)
    return factorize(curvature.matrix, size, curvature.squares, problem.workspace.interrupt)


@kernel
def copy_equations(problem: Problem, dual: Number, rows: Rows) -> None:
    """Overwrite `curvature.matrix` with H, or with the matrix of the dual form."""
    curvature, interrupt = problem.curvature, problem.workspace.interrupt
    size = curvature.vector.size
    if dual is None and rows is None:
        fill_matrix(problem.network.layout, curvature.equations, curvature.matrix, size, interrupt)
        return
    for start in range(0, curvature.matrix.size, PANEL * size):
        if is_set(interrupt):
            return
        for k in range(start, start + PANEL * size):
            curvature.matrix[k] = curvature.equations[k]


@kernel
def _n_rows(problem: Problem, dual: Number) -> Number:
    """The number of rows of the matrix, without padding."""
    return problem.curvature.step.size if dual is None else problem.curvature.vector.size


@kernel
def _step(problem: Problem, dual: Number, rows: Rows, numbers: Flat, loss: Number) -> Number:
    """Take a step that lowers the loss; return NO_REASON, or the reason to end."""
    curvature = problem.curvature
    copy_equations(problem, dual, rows)
    scale = trace(curvature.matrix, curvature.vector.size, _n_rows(problem, dual))
    if is_set(problem.workspace.interrupt):
        return INTERRUPTED
    if not scale < math.inf:
        return NOT_FINITE
    if scale == 0.0:
        scale = _l2(problem)
    damping, growth = numbers[DAMPING], 2.0
    if damping == 0.0:
        damping = numbers[FIRST_DAMPING] * scale
    damping = max(damping, _LEAST * scale)
    while damping <= min(_MOST * scale, _LARGEST):
        reason = _FAILED
        if factorize_matrix(problem, dual, damping + _l2(problem)):
            reason = _try(problem, dual, rows, numbers, loss, damping)
        if is_set(problem.workspace.interrupt):
            return INTERRUPTED
        if reason != _FAILED:
            return reason
        damping *= growth
        growth *= 2.0
        copy_equations(problem, dual, rows)
    return LARGE_DAMPING


@kernel
def _try(problem: Problem, dual: Number, rows: Rows, numbers: Flat, loss: Number, damping: Number) -> Number:
    """Take the step for this damping if it lowers the loss; return _FAILED, NO_REASON or a reason to end."""
    curvature, network, l2 = problem.curvature, problem.network, _l2(problem)
    parameters, step, around = network.parameters, curvature.step, curvature.around
    if rows is None:
        _first_order(problem, dual, damping)
    else:
        _solve(problem)
    length = _norm(parameters)
    if _norm(step) <= numbers[STEP_TOLERANCE] * (length + numbers[STEP_TOLERANCE]):
        return SMALL_STEP
    expected = 0.0
    for k in range(step.size):
        expected += 0.5 * step[k] * (damping * step[k] - curvature.gradient[k])
    if rows is None and numbers[LONGEST_BEND] > 0.0:
        _bend(problem, dual, numbers[LONGEST_BEND])
    for k in range(step.size):
        around[k] = parameters[k] + step[k]
    before, after = loss + 0.5 * l2 * length**2, 0.5 * l2 * _norm(around) ** 2
    there = Network(network.layout, network.constants, around)
    if rows is None:
        for first in range(0, problem.batches.x.shape[1], curvature.group):
            after = _add_loss(problem, there, first, _panels_from(problem, first), after)
    else:
        after += _loss_of_terms(problem, rows, there)
    if not after < before or is_set(problem.workspace.interrupt):
        return _FAILED
    for k in range(step.size):
        parameters[k] = around[k]
    ratio = (before - after) / expected
    numbers[DAMPING] = damping * max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3)
    return SMALL_DECREASE if before - after <= numbers[LOSS_TOLERANCE] * before else NO_REASON


@kernel
def _norm(x: Flat) -> Number:
    total = 0.0
    for k in range(x.size):
        total += x[k] * x[k]
    return math.sqrt(total)


@kernel
def _first_order(problem: Problem, dual: Number, damping: Number) -> None:
    """Overwrite `curvature.step` with the solution of (H + (damping + l2) I) step = -gradient.

    In the dual form the gradient is the sum of v r over all rows v, plus l2 theta. With c = damping + l2, the
    step is -(sum of v w) - l2 / c theta, where w solves (V V^T + c I) w = r - l2 / c V theta.
    """
    curvature, step, vector = problem.curvature, problem.curvature.step, problem.curvature.vector
    if dual is None:
        _solve(problem)
    else:
        share = _l2(problem) / (damping + _l2(problem))
        x = _panels_from(problem, 0)
        rows = _rows(problem, x)
        _add_loss(problem, problem.network, 0, x, 0.0)
        fill_roots(problem, 0, x.shape[0])
        fill_residuals(problem, rows)
        add_rows_times_parameters(problem, x, -share, rows)
        solve(curvature.matrix, vector.size, vector)
        pull_back(problem, x, rows, False)
        for k in range(step.size):
            step[k] = -problem.workspace.gradients[k] - share * problem.network.parameters[k]


@kernel
def _solve(problem: Problem) -> None:
    """Overwrite `curvature.step` with the solution of the factorised equations for -gradient."""
    curvature, step, vector = problem.curvature, problem.curvature.step, problem.curvature.vector
    for k in range(vector.size):
        vector[k] = -curvature.gradient[k] if k < step.size else 0.0
    solve(curvature.matrix, vector.size, vector)
    for k in range(step.size):
        step[k] = vector[k]


@kernel
def _rows(problem: Problem, x: Group) -> Group:
    """The view of `curvature.rows` that belongs to the outputs of the panels x."""
    layout = problem.network.layout
    return group(problem.curvature.rows, 0, x.shape[0], layout[layout.shape[0] - 1, N_OUT])


@kernel
def _bend(problem: Problem, dual: Number, longest: Number) -> None:
    """Subtract half of a from the step, where (H + damping I) a = J^T C y'', unless a is too long."""
    curvature, step, vector = problem.curvature, problem.curvature.step, problem.curvature.vector
    for first in range(0, problem.batches.x.shape[1], curvature.group):
        x = _panels_from(problem, first)
        rows = _rows(problem, x)
        second_along(problem, first, x, rows)
        if dual is not None:
            solve(curvature.matrix, vector.size, vector)
        pull_back(problem, x, rows, first > 0)
    a = problem.workspace.gradients
    if dual is None:
        for k in range(vector.size):
            vector[k] = a[k] if k < step.size else 0.0
        solve(curvature.matrix, vector.size, vector)
        for k in range(step.size):
            a[k] = vector[k]
    if 2.0 * _norm(a) <= longest * _norm(step):
        for k in range(step.size):
            step[k] -= 0.5 * a[k]
