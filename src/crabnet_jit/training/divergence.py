"""How a run handles a step that would give infinite numbers or NaN."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from crabnet_jit.training.state import TrainerState

_RETURN_EVERY = 1000  # iterations; "lower_rate" goes back 1,000 to 2,000, to a multiple of this
_LOWEST_RATE_SCALE = 2.0**-30
_MAX_SKIPPED = 1000  # in a row


class DivergenceError(FloatingPointError):
    """The loss is infinite or NaN, or the parameters or the optimiser's state would be after its step.

    Attributes
    ----------
    iteration : int
        The first such iteration. Its step was not taken.
    loss : float
        The loss in it.
    last_loss : float or None
        The last finite loss before it.
    has_rates : bool
        Whether the optimiser has learning rates.
    equation : str or None
        The function of the first residual that is infinite or NaN, if any is.
    """

    def __init__(
        self,
        iteration: int,
        loss: float,
        last_loss: float | None,
        has_rates: bool = True,
        equation: str | None = None,
    ) -> None:
        super().__init__(iteration, loss, last_loss, has_rates, equation)
        self.iteration, self.loss, self.last_loss = iteration, loss, last_loss
        self.has_rates, self.equation = has_rates, equation

    def __str__(self) -> str:
        what = f"the loss became {self.loss} in iteration {self.iteration}"
        if math.isfinite(self.loss):
            what = (
                "the parameters or the optimiser's state would become infinite or NaN in iteration "
                f"{self.iteration}"
            )
        if self.equation is not None:
            what += f", because of the residual {self.equation}"
        before = "no loss was finite"
        if self.last_loss is not None:
            before = f"the last finite loss was {self.last_loss:.6g}"
        rates = ""
        if self.has_rates:
            rates = "a learning_rate that is too large (a smaller learning_rate or clip_norm may help), "
        if self.equation is not None:
            rates += "an equation that divides by 0 or takes the logarithm or root of a negative number, "
        return (
            f"{what}: the run diverged; {before}. Likely causes: {rates}data that are not standardised, "
            "large initial parameters. The parameters are those before that step"
        )


@dataclass
class Divergence:
    """One of the policies "raise", "skip" and "lower_rate", with its state.

    Attributes
    ----------
    policy : str
        The policy.
    rate_scale : float
        The factor by which "lower_rate" has multiplied the learning rate.
    n_skipped : int
        The number of steps in a row that "skip" has just left out.
    return_points : tuple of TrainerState
        Earlier states that "lower_rate" may go back to, the oldest first.
    """

    policy: str
    rate_scale: float = 1.0
    n_skipped: int = 0
    return_points: tuple[TrainerState, ...] = ()

    def pause(self, iteration: int, state: Callable[[], TrainerState]) -> int | None:
        """The iteration at which the next chunk must end, if any; `state` may become a return point."""
        if self.policy != "lower_rate":
            return None
        is_due = iteration % _RETURN_EVERY == 0
        if is_due and all(point.iteration < iteration for point in self.return_points):
            self.return_points = *self.return_points[-1:], state()._replace(return_points=())
        return iteration + _RETURN_EVERY - iteration % _RETURN_EVERY

    def may_skip(self) -> bool:
        """Whether the run goes on without the step; counts such steps."""
        if self.policy != "skip" or self.n_skipped >= _MAX_SKIPPED:
            return False
        self.n_skipped += 1
        return True

    def return_point(self) -> TrainerState | None:
        """The state to go back to, with half the learning rate; None if the run ends with an error."""
        if not self.return_points or self.rate_scale <= _LOWEST_RATE_SCALE:
            return None
        point = self.return_points[0]
        return point._replace(rate_scale=self.rate_scale / 2, return_points=(point,))

    def restore(self, state: TrainerState) -> None:
        """Take over what a state says."""
        self.rate_scale, self.n_skipped = state.rate_scale, state.n_skipped
        self.return_points = state.return_points
