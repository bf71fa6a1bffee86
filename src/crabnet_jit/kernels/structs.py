"""Arguments of kernels that belong together, as named tuples."""

from typing import Any, NamedTuple

from crabnet_jit.arrays import Calls, Flag, Flat, Matrix, Number, Panels


class Network(NamedTuple):
    """Where the numbers of each layer lie (layout.py), the constant in its activation, and the flat buffer.

    It holds no addresses, so it means the same in every process, and users' compiled code may contain it.
    """

    layout: Matrix
    constants: Flat
    parameters: Flat


class Workspace(NamedTuple):
    """What is stored of the panels that go through a network together (layout.py); and the gradients.

    `activations` are the layers' outputs; `derivatives` are those of activations that are called; `errors`
    are the gradients of the loss with respect to the outputs. When `interrupt` is set (interrupt.py), the
    contents are unfinished; it may be None. `several` is None if a batch is one panel, else any number: one
    panel has machine code of its own, with fewer loops. `pairs` is None unless two panels at a time are
    faster (linear.py).
    """

    activations: Flat
    derivatives: Flat
    errors: Flat
    gradients: Flat
    interrupt: Flag
    several: Number
    pairs: Number


class Jets(NamedTuple):
    """Which derivatives with respect to inputs go through a network together with the values (jets.py).

    They are first derivatives with respect to the first `n_firsts` inputs, and second derivatives with
    respect to pairs of these inputs: the rows of `seconds` (n_seconds, 2), of integers.
    """

    n_firsts: Number
    seconds: Matrix


class JetWorkspace(NamedTuple):
    """What is stored of the jets of the panels that go through a network together (jets.py).

    `inputs` are those of the first layer; `sums` are those of all layers before their activations, and
    `activations` after them; `first`, `second` and `third` are the derivatives of each activation at the
    values, of which only second derivatives need the third; `errors` are the gradients of the loss with
    respect to all outputs; `residuals` are those of equations. The others are as in `Workspace`.
    """

    inputs: Flat
    sums: Flat
    activations: Flat
    first: Flat
    second: Flat
    third: Flat
    errors: Flat
    residuals: Flat
    gradients: Flat
    interrupt: Flag
    pairs: Number


class Batches(NamedTuple):
    """Panels (n_iterations, n_panels, n_features, PANEL).

    They are inputs, targets, one row of weights (losses.py), and the masks by which dropout multiplies the
    outputs of hidden units; without dropout, `masks` has 0 rows. The first three may hold a single iteration,
    which then serves all iterations.
    """

    x: Panels
    target: Panels
    weight: Panels
    masks: Panels


class Criterion(NamedTuple):
    """Numbers of penalties and limits (penalties_and_clipping.py), then the constants in the loss.

    They are one array: the run has no register to spare for another (1 % of the article's iteration).
    """

    numbers: Flat


class Terms(NamedTuple):
    """The terms whose sum is the loss (train_terms.py), and what `Criterion` has.

    `table` (n_terms, columns), of integers, says which panels of each batch a term is for, and which jets it
    needs. `seconds` are the pairs of all terms, one after the other. `factors` (n_terms,) multiply the parts
    that are not a loss of values. `units` are those of all residuals (residuals.py), one after the other.
    """

    numbers: Flat
    table: Matrix
    seconds: Flat
    factors: Flat
    units: Flat


class Rule(NamedTuple):
    """The state of an update rule, and its numbers (optimizers.py)."""

    state: Flat
    numbers: Flat


class Curvature(NamedTuple):
    """Workspace for second derivatives (curvature.py).

    For up to `group` panels, which go through the network together: `roots`, `means` and `rows` of the
    outputs; `errors` of all layers for each output; `left` and `right`, for pairs of rows. For the whole
    batch: `equations`, the blocks of H (gauss_newton.py) or the matrix of the dual form; the `matrix` that is
    factorised (cholesky.py), and a `vector` of its size, which is also `rows` in the dual form; `gradient`,
    `step` and `around`, of the parameters' size. `squares` are two PANEL x PANEL squares; `columns` is one
    panel of the matrix.
    """

    group: Number
    roots: Flat
    means: Flat
    rows: Flat
    errors: Flat
    left: Flat
    right: Flat
    equations: Flat
    matrix: Flat
    vector: Flat
    gradient: Flat
    step: Flat
    around: Flat
    squares: Flat
    columns: Flat


class Problem(NamedTuple):
    """A loss of all samples, which are one batch, as a function of a network's parameters.

    `team` is None, or a thread's place in one (meeting.py); then its threads share the equations, the network
    and the batch.
    """

    network: Network
    calls: Calls
    workspace: Workspace
    batches: Batches
    criterion: Criterion
    curvature: Curvature
    team: Any


class Rows(NamedTuple):
    """What explicit rows of a Jacobian need (explicit_rows.py) besides a `Problem` of the same loss.

    `numbers` has room for `n_panels` panels of the matrix's size. The calls are those of the terms; the
    workspace shares its gradients with the problem's workspace.
    """

    calls: Calls
    workspace: JetWorkspace
    terms: Terms
    n_panels: Number
    numbers: Flat


class Stream(NamedTuple):
    """A place in a random stream (chacha.py): key, number of the stream, group, draws to skip in it."""

    key: Flat
    number: Number
    group: Number
    skip: Number


# A further argument is `calls`, the addresses of what a run calls (abi.py), or None if it calls nothing:
# those of the loss, the penalties, the update rule and the loss's curvature, then one for each layer's
# activation. INLINED (address.py) marks what is compiled into the run, or not needed in it.
LOSS, PENALIZE, UPDATE, CURVATURE, ACTIVATIONS = range(5)

# Links: how the outputs of a fitted network become values.
AS_THEY_ARE, TWO_CLASSES, SIGMOID, SOFTMAX, EXPONENTIAL, MEANS_AND_STDS = range(6)
