"""All options of a training run: checked once, and then constant."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.components.base import described
from crabnet_jit.components.losses import Loss, as_loss
from crabnet_jit.components.optimizers import as_optimizer
from crabnet_jit.components.penalties_and_clipping import Penalties
from crabnet_jit.components.schedules import Constant, ExponentialDecay, Schedule, as_schedule
from crabnet_jit.components.update_rules import Optimizer
from crabnet_jit.data.random import DROPOUT, RngState, StdRng, as_rng
from crabnet_jit.training.threads import team_size

POLICIES = ("raise", "skip", "lower_rate")


@dataclass(frozen=True)
class Settings:
    """The options of a `Trainer`, whose docstring explains them.

    Attributes
    ----------
    dropout : tuple of float
        The rate of each hidden layer.
    dropout_stream : dict
        Where the draws of dropout begin.
    """

    loss: Loss
    optimizer: Optimizer
    learning_rate: Schedule
    penalties: Penalties
    dropout: tuple[float, ...]
    dropout_stream: RngState
    log_every: int
    keep_losses: int | None
    on_divergence: str
    chunk_size: int | None
    dy_weight: float = 1.0
    n_threads: int = 1

    @classmethod
    def checked(
        cls,
        n_hidden: int,
        *,
        loss: Loss | str,
        optimizer: Optimizer | str,
        learning_rate: float | Schedule | None,
        l1: float,
        l2: float,
        clip_value: float | None,
        clip_norm: float | None,
        dropout: float | Sequence[float],
        rng: StdRng | int,
        log_every: int,
        keep_losses: int | None,
        on_divergence: str,
        chunk_size: int | None,
        dy_weight: float,
        n_threads: int | str,
    ) -> "Settings":
        """Settings from users' arguments, for a network with this many hidden layers."""
        rule = as_optimizer("optimizer", optimizer)
        if rule.is_second_order and learning_rate is not None:
            raise check.reject(
                "learning_rate", f"left out for {rule.name}, which has none", repr(learning_rate)
            )
        policy = check.choice("on_divergence", on_divergence, POLICIES)
        if rule.is_second_order and policy != POLICIES[0]:
            allowed = f"'raise' for {rule.name}, which rejects steps to a loss that is not finite"
            raise check.reject("on_divergence", allowed, repr(on_divergence))
        if learning_rate is None:
            learning_rate = Constant(1.0) if rule.is_second_order else ExponentialDecay()
        return cls(
            as_loss("loss", loss),
            rule,
            as_schedule("learning_rate", learning_rate),
            Penalties(l1, l2, clip_value, clip_norm),
            _of_layers(dropout, n_hidden),
            as_rng("rng", rng, DROPOUT).state,
            check.integer("log_every", log_every, 1),
            None if keep_losses is None else check.integer("keep_losses", keep_losses, 0),
            policy,
            None if chunk_size is None else check.integer("chunk_size", chunk_size, 1, 2**31),
            dy_weight,
            team_size(n_threads, stacklevel=5),
        )

    def chosen(self) -> dict[str, Any]:
        """Loss, optimiser, schedule, and everything else that is not the default."""
        chosen = {"loss": self.loss, "optimizer": self.optimizer, "learning_rate": self.learning_rate}
        chosen |= {name: value for name, value in self.penalties.options().items() if value}
        if any(self.dropout):
            chosen["dropout"] = self.dropout
        if self.on_divergence != POLICIES[0]:
            chosen["on_divergence"] = self.on_divergence
        if self.dy_weight != 1.0:
            chosen["dy_weight"] = self.dy_weight
        if self.n_threads != 1:
            chosen["n_threads"] = self.n_threads
        return chosen

    def configuration(self) -> dict[str, Any]:
        """The options that must be the same for a run to be resumed, as plain values."""
        return {
            "loss": described(self.loss),
            "optimizer": described(self.optimizer),
            "learning_rate": described(self.learning_rate),
            **self.penalties.options(),
            "dropout": list(self.dropout),
            "on_divergence": self.on_divergence,
        }


def _of_layers(rates: float | Sequence[float], n_hidden: int) -> tuple[float, ...]:
    """The rate of dropout of each hidden layer."""
    is_text = isinstance(rates, (str, bytes))
    if isinstance(rates, (Sequence, np.ndarray)) and check.is_iterable(rates) and not is_text:
        of_layers = tuple(check.fraction(f"dropout[{k}]", rate) for k, rate in enumerate(rates))
        if len(of_layers) != n_hidden:
            allowed = f"a number, or one for each of the {n_hidden} hidden layers"
            raise check.reject("dropout", allowed, f"{len(of_layers)} of them")
        return of_layers
    return (check.fraction("dropout", rates),) * n_hidden
