"""How many steps `fit` takes, with how many samples, and at which learning rate."""

from typing import NamedTuple

from crabnet_jit import check
from crabnet_jit.components.schedules import Cosine, Schedule
from crabnet_jit.components.update_rules import Optimizer

AUTO = "auto"
#: The values of "auto" for update rules, and the number of iterations for second-order methods.
LEARNING_RATE, N_ITERATIONS, BATCH_SIZE = 0.003, 20_000, 64
N_SECOND_ORDER, N_WITH_EVIDENCE = 1_000, 5_000


class StepOptions(NamedTuple):
    """The options of a fit's steps; without a batch size, each step takes all samples."""

    n_iterations: int
    batch_size: int | None
    learning_rate: Schedule | None


def steps_of(
    rule: Optimizer, n_iterations: int | str, batch_size: int | str, learning_rate: float | str | Schedule
) -> StepOptions:
    """The options for an optimiser, from users' arguments."""
    if is_auto(n_iterations):
        of_second_order = N_WITH_EVIDENCE if rule.has_evidence else N_SECOND_ORDER
        n_iterations = of_second_order if rule.is_second_order else N_ITERATIONS
    n = check.integer("n_iterations", n_iterations, 1)
    if rule.is_second_order:
        if not is_auto(learning_rate):
            raise check.reject(
                "learning_rate", f"left out for {rule.name}, which has none", repr(learning_rate)
            )
        return StepOptions(
            n, None if is_auto(batch_size) else check.integer("batch_size", batch_size, 1), None
        )
    size = check.integer("batch_size", BATCH_SIZE if is_auto(batch_size) else batch_size, 1)
    if callable(learning_rate):
        return StepOptions(n, size, learning_rate)
    rate = check.number("learning_rate", LEARNING_RATE if is_auto(learning_rate) else learning_rate, 0.0)
    return StepOptions(n, size, Cosine(rate, n, warmup=n // 10))


def batch_size_of(rule: Optimizer, options: StepOptions, n_samples: int) -> int:
    """The number of samples in a batch; second-order methods take all."""
    if options.batch_size is None:
        return n_samples
    if rule.is_second_order and options.batch_size < n_samples:
        allowed = f"left out for {rule.name}, which takes all {n_samples} samples in each iteration"
        raise check.reject("batch_size", allowed, repr(options.batch_size), "; adam uses batches")
    return options.batch_size


def is_auto(value: object) -> bool:
    """Whether an option is "auto"."""
    return isinstance(value, str) and value == AUTO
