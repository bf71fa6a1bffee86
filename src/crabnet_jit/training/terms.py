"""Losses that are sums of terms, with derivatives of the network with respect to its inputs."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.kernels.abi import jet_calls_of
from crabnet_jit.kernels.jet_entries import activation_jets, loss_and_gradients_of_terms, train_terms
from crabnet_jit.kernels.jets import panels_together
from crabnet_jit.kernels.layout import KINDS
from crabnet_jit.kernels.structs import Batches, Criterion, JetWorkspace, Network, Terms
from crabnet_jit.kernels.train_terms import RESIDUAL, UNITS
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.network.network import NN
from crabnet_jit.training.compiled import Compiled


class Term(NamedTuple):
    """A part of a loss (kernels/train_terms.py).

    It is for `n_panels` panels of each batch, from `first` on. It needs first derivatives with respect to the
    first `n_firsts` inputs, and second derivatives with respect to the pairs `seconds`. The term of an
    equation has its kernel, and the `units` of what that kernel reads (kernels/residuals.py).
    """

    first: int
    n_panels: int
    n_firsts: int
    seconds: tuple[tuple[int, int], ...]
    factor: float
    residual: Any = None
    units: Array = np.empty((2, 0))

    @property
    def n_jets(self) -> int:
        """The number of jets of a sample."""
        return 1 + self.n_firsts + len(self.seconds)

    @property
    def together(self) -> int:
        """The number of panels that go through the network together."""
        return min(self.n_panels, int(panels_together.py_func(self.n_jets)))


def of_data(net: NN, n_panels: int, dy_weight: float | None) -> list[Term]:
    """The term of data in the first panels, if there are any; dy_weight is None without derivatives."""
    if n_panels == 0:
        return []
    if dy_weight is None:
        return [Term(0, n_panels, 0, (), 0.0)]
    return [Term(0, n_panels, net.in_features, (), dy_weight)]


def first_bad_equation(
    network: Network, calls: Any, workspace: JetWorkspace, batches: Batches, terms: Terms
) -> int | None:
    """The first equation whose loss is not finite for the first batch; None if all are finite."""
    rows = np.flatnonzero(terms.table[:, RESIDUAL])
    for k, row in enumerate(rows):
        one = slice(row, row + 1)
        alone = terms._replace(table=terms.table[one], factors=terms.factors[one])
        if not math.isfinite(loss_and_gradients_of_terms(network, calls, workspace, batches, alone)):
            return k
    return None


def compiled_terms(
    net: NN, loss: Any, criterion: Criterion, terms: Sequence[Term], gradients: Array, *of_update: Any
) -> Compiled:
    """The kernels for a sum of terms, and their arguments; `loss` is the kernel for values."""
    kernels = [activation_jets[KINDS[activation.kind]] for activation in net.activations]
    residuals = [term.residual for term in terms if term.residual is not None]
    of_run = loss, criterion.numbers, *of_update
    calls = jet_calls_of(net.dtype, kernels, *of_run, residuals=residuals)
    seconds: list[tuple[int, int]] = []
    units: list[Array] = [np.empty(0)]
    rows = []
    called = len(calls) - len(residuals)
    for term in terms:
        row = [term.first, term.n_panels, term.n_firsts, len(seconds), len(term.seconds), 0, 0]
        seconds += term.seconds
        if term.residual is not None:
            row[RESIDUAL], row[UNITS] = called, sum(map(len, units))
            units.append(term.units.ravel())
            called += 1
        rows.append(row)
    described = Terms(
        *criterion,
        np.array(rows, np.int64),
        np.array(seconds, np.int64).ravel(),
        np.array([term.factor for term in terms]),
        np.concatenate(units),
    )
    n_jets = max(term.n_jets for term in terms)
    workspace = _workspace(net, terms, gradients)
    return Compiled(train_terms, loss_and_gradients_of_terms, calls, described, workspace, n_jets)


def _workspace(net: NN, terms: Sequence[Term], gradients: Array) -> JetWorkspace:
    """Workspace for the jets of any of the terms."""
    n_single = max(term.together for term in terms)
    n_all = max(term.together * term.n_jets for term in terms)
    n_third = max(term.together if term.seconds else 0 for term in terms)
    n_given = max(term.together * (1 + term.n_firsts) for term in terms)

    def room(n_panels: int, n_rows: int = net.n_units) -> Array:
        return aligned_zeros(n_panels * n_rows * PANEL, dtype=net.dtype)

    return JetWorkspace(
        inputs=room(n_given, net.in_features),
        sums=room(n_all),
        activations=room(n_all),
        first=room(n_single),
        second=room(n_single),
        third=room(n_third),
        errors=room(n_all),
        residuals=room(n_single, 1),
        gradients=gradients,
        interrupt=None,
        pairs=1 if net.dtype == np.float32 else None,
    )
