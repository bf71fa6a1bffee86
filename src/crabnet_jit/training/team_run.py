"""Batches whose panels are shared among a team of threads (kernels/train_team.py)."""

from functools import partial
from typing import Any

from crabnet_jit.arrays import Array, aligned_zeros
from crabnet_jit.kernels import team_entries
from crabnet_jit.kernels.panels import GROUP
from crabnet_jit.kernels.structs import Batches, Criterion, Network, Rule, Workspace
from crabnet_jit.kernels.train_team import TeamWorkspace
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.signals import Flag
from crabnet_jit.network.network import NN
from crabnet_jit.training.compiled import Compiled
from crabnet_jit.training.team import Team, team_for

_KEPT_BYTES = 2**23  # room for gradients of groups, which limits the groups of panels in a round


class TeamRun:
    """A run's kernels, and a loss's, for a team of threads; or for one thread, while that is faster."""

    def __init__(self, team: Team, net: NN, n_panels: int, compiled: Compiled) -> None:
        self._team = team
        self._compiled = compiled
        gradients = compiled.workspace.gradients
        most = max(2 * len(team.places), _KEPT_BYTES // gradients.nbytes)
        kept = aligned_zeros(min(-(-n_panels // GROUP), most), gradients.size, dtype=net.dtype)
        losses = aligned_zeros(n_panels)
        # Separate pages, so that no two threads write to the same cache line.
        workspaces = [
            net.workspace(n_panels, aligned_zeros(gradients.size, dtype=net.dtype)) for _ in team.places
        ]
        self._workspaces = [
            TeamWorkspace(place, own, gradients, kept, losses)
            for place, own in zip(team.places, workspaces, strict=True)
        ]
        self._are_compiled: set[str] = set()

    @classmethod
    def of(cls, n_threads: int, net: NN, n_panels: int, compiled: Compiled, n_calls: int) -> "TeamRun | None":
        """A run for n_calls batches of n_panels in each call; None if one thread is faster."""
        if n_threads == 1 or not compiled.can_be_shared:
            return None
        n_groups, n_products = -(-n_panels // GROUP), 3 * n_panels * PANEL * net.parameters.size
        team = team_for(n_threads, n_groups, n_products, n_calls * n_products)
        return None if team is None else cls(team, net, n_panels, compiled)

    def trial_size(self) -> float:
        """How many of the coming iterations should be run separately."""
        return self._team.trial_size()

    def train(
        self,
        network: Network,
        calls: Any,
        workspace: Workspace,
        batches: Batches,
        criterion: Criterion,
        rule: Rule,
        rates: Array,
        interrupt: Flag,
        losses: Array,
    ) -> tuple[int, bool]:
        """Like the kernel `train` of entries.py."""
        of_all = network, calls, workspace, batches, criterion
        result: tuple[int, bool] = self._run("train", of_all, losses.size, rule, rates, interrupt, losses)
        return result

    def loss_and_gradients(self, *of_all: Any) -> float:
        """Like the kernel of entries.py."""
        loss: float = self._run("loss_and_gradients", of_all, 1)
        return loss

    def _run(self, name: str, of_all: tuple[Any, ...], n_iterations: int, *of_leader: Any) -> Any:
        network, calls, workspace, batches, criterion = of_all
        of_threads = [
            (
                network,
                calls,
                one._replace(own=one.own._replace(interrupt=workspace.interrupt)),
                batches,
                criterion,
            )
            for one in self._workspaces
        ]

        if name not in self._are_compiled:
            self._compile(name, of_threads[0], of_all, of_leader)
            self._are_compiled.add(name)

        def help_at(place: int) -> None:
            team_entries.help_run(*of_threads[place], n_iterations)

        lead = partial(getattr(team_entries, name), *of_threads[0], *of_leader)
        alone = partial(getattr(self._compiled, name), *of_all, *of_leader)
        return self._team.run(n_iterations, alone, lead, help_at)

    def _compile(
        self, name: str, of_thread: tuple[Any, ...], of_all: tuple[Any, ...], of_leader: Any
    ) -> None:
        """Compile or load all kernels before a second thread needs them, and before time is measured."""
        self._team.dismiss()
        no_iterations = [*of_leader[:-1], of_leader[-1][:0]] if of_leader else []
        team_entries.help_run(*of_thread, 0)
        getattr(team_entries, name)(*of_thread, *no_iterations)
        getattr(self._compiled, name)(*of_all, *no_iterations)
