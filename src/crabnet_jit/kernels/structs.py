"""What travels together: the arguments of the kernels, in named tuples."""

from typing import Any, NamedTuple


class Network(NamedTuple):
    """Where the numbers of each layer lie (layout.py), the `a` of its activation, and the flat buffer.

    It holds no addresses: it means the same in every process, and compiled code of others may hold it.
    """

    layout: Any
    a: Any
    parameters: Any


class Workspace(NamedTuple):
    """What is stored of one panel: a row for each unit, as wide as the panel; and the gradients.

    `activations` are the layers' outputs, `derivatives` those of their activations where these are
    called, `errors` the gradients of the loss with respect to the outputs. When `interrupt` is
    set (interrupt.py), what kernels leave here is unfinished; it may be None.
    """

    activations: Any
    derivatives: Any
    errors: Any
    gradients: Any
    interrupt: Any


class Batches(NamedTuple):
    """Panels (n_iterations, n_panels, n_features, width).

    Inputs, targets, one row of weights (losses.py), and what dropout multiplies the outputs of
    hidden units by; without dropout `masks` has 0 rows. The first three may be of one iteration only,
    which then serves all iterations.
    """

    x: Any
    target: Any
    weight: Any
    masks: Any


class Criterion(NamedTuple):
    """The `a` of the loss, and what is added to the loss and done to its gradients (penalties.py)."""

    a: Any
    penalties: Any


class Rule(NamedTuple):
    """What an update rule remembers, and its numbers (optimizers.py)."""

    state: Any
    numbers: Any


class Stream(NamedTuple):
    """A place in a random stream (chacha.py): key, number of the stream, group, draws to skip in it."""

    key: Any
    number: Any
    group: Any
    skip: Any


# Beside these travels `calls`, the addresses of what a run calls (abi.py), or None if it calls nothing: those
# of the loss, the penalties and the update rule, then that of each layer's activation. INLINED (address.py)
# stands for what is compiled into the run.
LOSS, PENALIZE, UPDATE, ACTIVATIONS = range(4)
