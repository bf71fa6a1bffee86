"""The optimisers that have a name; a trainer accepts names and objects."""

from crabnet_jit import check
from crabnet_jit.components.levenberg_marquardt import BayesianRegularization, LevenbergMarquardt
from crabnet_jit.components.update_rules import SGD, Adam, AdamW, Optimizer, RMSprop

#: All optimisers that have a name.
OPTIMIZERS: dict[str, type[Optimizer]] = {
    kind.name: kind for kind in (SGD, RMSprop, Adam, AdamW, LevenbergMarquardt, BayesianRegularization)
}


def as_optimizer(name: str, value: Optimizer | str) -> Optimizer:
    """The given optimiser, or the one with the given name and default options."""
    return value if isinstance(value, Optimizer) else OPTIMIZERS[check.choice(name, value, OPTIMIZERS)]()
