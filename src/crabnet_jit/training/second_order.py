"""Levenberg-Marquardt iterations on all samples, for trainers and objectives."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.components.levenberg_marquardt import LevenbergMarquardt
from crabnet_jit.components.losses import LOSSES, Loss
from crabnet_jit.components.penalties_and_clipping import Penalties
from crabnet_jit.components.update_rules import OptimizerState
from crabnet_jit.data.sources import Source, new_batches
from crabnet_jit.kernels import levenberg_marquardt as method
from crabnet_jit.kernels.curvature_entries import (
    fill_posterior,
    help_equations,
    levenberg_marquardt,
    loss_curvature,
)
from crabnet_jit.kernels.entries import loss_forward
from crabnet_jit.kernels.gauss_newton import block_shape
from crabnet_jit.kernels.panels import GROUP
from crabnet_jit.kernels.penalties_and_clipping import L2
from crabnet_jit.kernels.structs import Batches, Criterion, Curvature, Problem, Rows, Workspace
from crabnet_jit.machine import memory
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.signals import NEVER, Flag
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.training.settings import Settings
from crabnet_jit.training.team import Team, team_for
from crabnet_jit.training.terms import Term, compiled_terms, first_bad_equation, of_data

_PAIRS_AT_ONCE = 256  # rows of pairs (gauss_newton.py); those of 8 panels fit into the L2 cache
_NUMBERS_OF_ROWS = 2**16  # of a Jacobian, half a megabyte at a time (explicit_rows.py) …
_LEAST_ROWS = 4  # … but at least this many panels, since sums over a panel's samples take time, too
_CHUNK_PRODUCTS = 2**28  # some 10 ms between returns to Python

#: Why a run ended, by the kernel's reason.
_REASONS = {
    method.SMALL_GRADIENT: "the gradient is below gradient_tolerance",
    method.SMALL_STEP: "a step was shorter than step_tolerance",
    method.SMALL_DECREASE: "a step lowered the loss by less than loss_tolerance",
    method.LARGE_DAMPING: "no step lowers the loss any more",
}


class Sizes(NamedTuple):
    """The size of the factorised matrix and of the equations, and whether these have the dual form."""

    matrix: int
    equations: int
    is_dual: bool

    @classmethod
    def of(cls, net: NN, n_panels: int, *, may_be_dual: bool, has_rows: bool) -> "Sizes":
        """The smaller of the two forms; H itself if it is made of explicit rows."""
        n_parameters, n_rows = net.parameters.size, net.out_features * n_panels * PANEL
        size = -(-n_parameters // PANEL) * PANEL
        if has_rows:
            return cls(size, size**2, False)
        if may_be_dual and n_rows < n_parameters:
            return cls(n_rows, n_rows**2, True)
        layout = net.kernel_view().layout
        pairs = [(layer, other) for layer in range(len(layout)) for other in range(layer + 1)]
        blocks = sum(math.prod(map(int, block_shape.py_func(layout, *pair))) for pair in pairs)
        return cls(size, blocks, False)

    @property
    def n_bytes(self) -> int:
        """Memory for both."""
        return 8 * (self.matrix**2 + self.equations)


class SecondOrder:
    """The compiled iterations for a network and a batch of all samples.

    Attributes
    ----------
    numbers : ndarray of float64
        The method's state, then its constants.
    size : int
        A good number of iterations for a chunk.
    """

    def __init__(
        self,
        net: NN,
        loss: Loss,
        penalties: Penalties,
        batches: Batches,
        rule: LevenbergMarquardt,
        numbers: Array,
        dy_weight: float | None = None,
        equations: Sequence[Term] = (),
        n_threads: int = 1,
    ) -> None:
        check_second_order(net, loss, penalties, rule)
        n_panels, has_rows = batches.x.shape[1], dy_weight is not None or len(equations) > 0
        sizes = Sizes.of(net, n_panels, may_be_dual=not rule.has_evidence, has_rows=has_rows)
        _check_memory(net, sizes, rule)
        kernel = loss.kernel_for(bool(np.isnan(batches.target[:, :, : net.out_features]).any()))
        criterion = Criterion(np.concatenate([penalties.numbers(), loss.constants]))
        self.numbers = numbers
        self._dual = n_panels if sizes.is_dual else None
        group = n_panels if sizes.is_dual else min(n_panels, GROUP)
        of_curvature = None, None, loss_curvature[loss.name]
        self._problem = Problem(
            net.kernel_view(),
            net.calls(kernel, None, *of_curvature),
            _workspace(net, group, n_panels),
            batches._replace(masks=aligned_zeros(1, n_panels, 0, PANEL)),  # none, for one iteration
            criterion,
            _curvature(net, group, sizes),
            None,
        )
        self._rows, n_residuals = None, 1
        if has_rows:
            n_data = equations[0].first if equations else n_panels
            terms = [*of_data(net, n_data, dy_weight), *equations]
            gradients = self._problem.workspace.gradients
            made: Any = compiled_terms(net, kernel, criterion, terms, gradients, *of_curvature)
            n_rows = max(_LEAST_ROWS, _NUMBERS_OF_ROWS // (sizes.matrix * PANEL))
            numbers_of_rows = aligned_zeros(n_rows * sizes.matrix * PANEL)
            self._rows = Rows(made.calls, made.workspace, made.criterion, n_rows, numbers_of_rows)
            n_residuals = net.out_features * made.n_jets
        products = n_panels * PANEL * n_residuals * sizes.equations + sizes.matrix**3 // 6
        self.size = max(1, min(1000, _CHUNK_PRODUCTS // max(1, products)))
        self._is_compiled = False
        self._team: Team | None = None
        if not (sizes.is_dual or has_rows):
            self._team = team_for(n_threads, n_threads, products, self.size * products)
        of_helper, equations = Sizes(0, 0, is_dual=False), self._problem.curvature.equations
        self._helpers = [
            self._problem._replace(
                workspace=_workspace(net, group, n_panels),
                curvature=_curvature(net, group, of_helper)._replace(equations=equations),
                team=place,
            )
            for place in (self._team.places[1:] if self._team is not None else ())
        ]

    def run(self, losses: Array, interrupt: Flag = NEVER) -> tuple[int, str | None]:
        """Take up to losses.size steps; return how many, and why the run ends then, if it does."""
        problem = self._problem._replace(workspace=self._problem.workspace._replace(interrupt=interrupt))
        rows = self._rows
        if rows is not None:
            rows = rows._replace(workspace=rows.workspace._replace(interrupt=interrupt))
        alone = partial(levenberg_marquardt, problem, self._dual, rows, self.numbers)
        if self._team is None:
            n_done, reason = alone(losses)
        else:
            n_done, reason = self._run_team(self._team, problem, losses, alone)
        return int(n_done), _REASONS.get(reason)

    def _run_team(self, team: Team, problem: Problem, losses: Array, alone: Any) -> Any:
        """The same by a team of threads, or by one, while that is faster."""
        interrupt = problem.workspace.interrupt
        others = [
            one._replace(workspace=one.workspace._replace(interrupt=interrupt)) for one in self._helpers
        ]
        of_leader = problem._replace(team=team.places[0])
        lead = partial(levenberg_marquardt, of_leader, self._dual, None, self.numbers)
        if not self._is_compiled:  # before a second thread needs it, and before time is measured
            team.dismiss()
            help_equations(others[0])
            for one in (lead, alone):
                one(losses[:0])
            self._is_compiled = True
        of_losses = partial(alone, losses), partial(lead, losses)
        return team.run(losses.size, *of_losses, lambda place: help_equations(others[place - 1]))

    def first_bad_equation(self) -> int | None:
        """The first equation whose loss is not finite; None if all are finite."""
        made = self._rows
        if made is None:
            return None
        batches = self._problem.batches
        return first_bad_equation(self._problem.network, made.calls, made.workspace, batches, made.terms)

    @property
    def l2(self) -> float:
        """The weight decay; assign to change it."""
        return float(self._problem.criterion.numbers[L2])

    @l2.setter
    def l2(self, value: float) -> None:
        self._problem.criterion.numbers[L2] = value

    def laplace(self, interrupt: Flag = NEVER) -> "Laplace | None":
        """The second derivatives at the network's parameters; None if a signal arrived."""
        problem = self._problem._replace(workspace=self._problem.workspace._replace(interrupt=interrupt))
        is_whole, loss, log_determinant, n_effective = fill_posterior(problem, self.l2)
        return Laplace(loss, log_determinant, n_effective, problem.curvature.matrix) if is_whole else None


class Laplace(NamedTuple):
    """The loss, ln det(H + l2 I), the effective number of parameters, and the factor of H + l2 I.

    The number is -1 if rounding errors prevent a factorisation.
    """

    loss: float
    log_determinant: float
    n_effective: float
    factor: Array


class Iterations(NamedTuple):
    """Some iterations of a run: learning rates, which are not used, and losses."""

    learning_rates: Array
    losses: Array


class SecondOrderChunks:
    """The iterations of a trainer, some at a time; the counterpart of `Chunks` for second-order methods.

    Attributes
    ----------
    size : int
        The most iterations at a time.
    end : str or None
        Why the run ends after the last chunk, if it does.
    """

    def __init__(
        self,
        net: NN,
        source: Source,
        settings: Settings,
        state: OptimizerState,
        equations: Sequence[Term] = (),
    ) -> None:
        if not source.is_constant:
            allowed = f"one that gives all samples every time, for {settings.optimizer.name}"
            hint = "; ArraySource(x, y, batch_size=len(x)) does so"
            raise check.reject("source", allowed, repr(source), hint)
        if any(settings.dropout):
            hint = "; use l2"
            raise check.reject(
                "dropout", f"0 for {settings.optimizer.name}", repr(max(settings.dropout)), hint
            )
        rule: Any = settings.optimizer
        self._net, self._source, self._loss = net, source, settings.loss
        dy_weight = settings.dy_weight if source.has_derivatives else None
        n_weights = 2 if source.has_derivatives else 1
        sizes = source.in_features, source.n_targets, source.batch_size
        self._batches = new_batches(1, *sizes, net.dtype, n_weights=n_weights)
        self.fill_constant()
        parts = settings.loss, settings.penalties, self._batches
        n_threads = settings.n_threads
        self._method = SecondOrder(net, *parts, rule, state.numbers, dy_weight, equations, n_threads)
        self.size = self._method.size if settings.chunk_size is None else settings.chunk_size
        self.end: str | None = None

    def fill_constant(self) -> None:
        """Store the batch of the source."""
        self._source.fill_for_kernels(0, self._batches, are_whole=self._loss.takes_whole_samples)

    def prepare(self, first: int, n: int, rate_scale: float = 1.0) -> Iterations:
        """Room for n iterations."""
        return Iterations(np.ones(n), np.empty(n))

    def run(self, chunk: Iterations, interrupt: Flag = NEVER) -> int:
        """Take the steps of a chunk; return how many. There are fewer if the run ends or is interrupted."""
        numbers, last = self._method.numbers, _REASONS[method.SMALL_DECREASE]
        if numbers[method.DAMPING] < 0.0:  # there are no further steps, perhaps since a checkpoint
            self.end = last
            return 0
        n_done, self.end = self._method.run(chunk.losses, interrupt)
        if self.end == last:
            numbers[method.DAMPING] *= -1.0
        return n_done

    def first_bad_equation(self, chunk: Iterations, k: int) -> int | None:
        """The first equation whose loss is not finite; None if all are finite."""
        return self._method.first_bad_equation()

    def best_parameters(self) -> Array | None:
        """None: the last parameters are the best."""
        return None

    def posterior(self) -> Posterior | None:
        """None: only maximising the evidence finds the noise."""
        return None

    def give_back(self, chunk: Iterations) -> None:
        """Do nothing: each chunk is a new one."""


def check_second_order(net: NN, loss: Loss, penalties: Penalties, rule: LevenbergMarquardt) -> None:
    """Check that the method supports these options."""
    if rule.has_evidence and loss.name != "mse":
        hint = "; levenberg_marquardt accepts more"
        raise check.reject("loss", f"mse for {rule.name}", repr(loss), hint)
    if net.dtype != np.float64:
        hint = "; products of derivatives need all its digits"
        raise check.reject("dtype", f"float64 for {rule.name}", str(net.dtype), hint)
    if loss.name not in loss_curvature or loss.kernel is not loss_forward[loss.name]:
        allowed = f"one of {', '.join(name for name in LOSSES if name in loss_curvature)} for {rule.name}"
        raise check.reject("loss", allowed, repr(loss), "; huber and log_cosh are robust, too")
    for name, value in penalties.options().items():
        if name != "l2" and value:
            hint = "; use l2" if name == "l1" else "; its damping limits the steps"
            raise check.reject(name, f"left out for {rule.name}", repr(value), hint)


def _check_memory(net: NN, sizes: Sizes, rule: LevenbergMarquardt) -> None:
    free = memory.available()
    if free is not None and sizes.n_bytes > free:
        allowed = "a first-order method, such as 'adam'"
        came = (
            f"{rule.name}: {net.parameters.size:,} parameters need {sizes.n_bytes / 1e9:,.1f} GB, but "
            f"only {free / 1e9:,.1f} GB is free"
        )
        raise check.reject("optimizer", allowed, came)


def _workspace(net: NN, group: int, n_panels: int) -> Workspace:
    size = net.n_units * PANEL * group
    activations, derivatives, errors = (aligned_zeros(size) for _ in range(3))
    return Workspace(
        activations, derivatives, errors, aligned_zeros(net.parameters.size), NEVER, n_panels, None
    )


def _curvature(net: NN, group: int, sizes: Sizes) -> Curvature:
    n_columns, n_parameters = group * PANEL, net.parameters.size
    widest = max(net.in_features, *net.hidden_sizes, net.out_features)
    n_pairs = max(_PAIRS_AT_ONCE, widest + 1 + PANEL) * n_columns
    vector, of_outputs = aligned_zeros(sizes.matrix), net.out_features * n_columns
    return Curvature(
        group=group,
        roots=aligned_zeros(of_outputs),
        means=aligned_zeros(of_outputs),
        rows=vector if sizes.is_dual else aligned_zeros(of_outputs),
        errors=aligned_zeros(net.out_features * net.n_units * n_columns),
        left=aligned_zeros(n_pairs),
        right=aligned_zeros(n_pairs),
        equations=aligned_zeros(sizes.equations),
        matrix=aligned_zeros(sizes.matrix**2),
        vector=vector,
        gradient=aligned_zeros(n_parameters),
        step=aligned_zeros(n_parameters),
        around=aligned_zeros(n_parameters),
        squares=aligned_zeros(2 * PANEL**2),
        columns=aligned_zeros(sizes.matrix * PANEL),
    )
