"""What happens inside a network: dead units, and outputs or gradients that vanish or explode."""

import copy
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crabnet_jit import check, notebook
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Activation
from crabnet_jit.components.losses import Loss, as_loss
from crabnet_jit.data.moments import moments, root_mean_square
from crabnet_jit.network.network import NN

_DEAD_SLOPE = 1e-6  # a unit cannot learn if its activation's derivative is below this for all samples
_MAX_SHARE_DEAD = 0.3  # share of dead units above which they are reported
_MAX_CORRELATION = 0.9  # mean correlation of a layer's units above which it is reported
_GROWS, _SHRINKS = 2.0, 0.5  # from layer to layer


class LayerDiagnosis(NamedTuple):
    """The diagnosis of one layer.

    dead_share is the share of units whose activation has a derivative of 0 (less than 1e-6) for every
    sample; activation_rms is the root mean square of the outputs, gradient_rms that of dL_dz, the gradient
    of the loss with respect to the activation's input; similarity is the mean absolute correlation
    between pairs of units that are not dead, or NaN if there are none.
    """

    n_units: int
    activation: str
    dead_share: float
    activation_rms: float
    gradient_rms: float
    similarity: float


class Diagnosis(NamedTuple):
    """What `diagnose` found; it prints as a table and the hints."""

    layers: list[LayerDiagnosis]
    hints: list[str]

    def __repr__(self) -> str:
        lines = ["layer  units  activation     dead   activations  gradients  similarity"]
        for k, layer in enumerate(self.layers):
            lines.append(
                f"{k + 1:<5}  {layer.n_units:<5}  {layer.activation:<13}  {layer.dead_share:>4.0%}   "
                f"{layer.activation_rms:<11.3g}  {layer.gradient_rms:<9.3g}  {layer.similarity:.2f}"
            )
        return "\n".join([*lines, "", *self._remarks])

    @property
    def _remarks(self) -> list[str]:
        return self.hints or ["Nothing vanishes, explodes or is dead."]

    def _repr_html_(self) -> str:
        """In notebooks: a table with a row for each layer, and the hints."""
        head = ["layer", "units", "activation", "dead", "activations", "gradients", "similarity"]
        rows = [
            [
                f"{k}",
                f"{layer.n_units:,}",
                layer.activation,
                f"{layer.dead_share:.0%}",
                f"{layer.activation_rms:.3g}",
                f"{layer.gradient_rms:.3g}",
                f"{layer.similarity:.2f}",
            ]
            for k, layer in enumerate(self.layers, 1)
        ]
        remarks = "".join(f"<li>{escape(remark)}</li>" for remark in self._remarks)
        return f"<div>{notebook.table(head, rows)}<ul>{remarks}</ul></div>"


@check.keywords
def diagnose(net: NN, x: ArrayLike, y: ArrayLike | None = None, loss: Loss | str = "mse") -> Diagnosis:
    """Examine a network on some samples.

    Parameters
    ----------
    net : NN
        It is not changed: the passes forward and backward are those of a copy.
    x : array_like of shape (n_samples, in_features)
        In the units of the data.
    y : array_like of shape (n_samples, out_features) or (n_samples,), optional
        Targets, in the units of the data, for the loss whose gradients are taken; NaN where unknown. Without
        them, gradients are those of the mean of all outputs.
    loss : Loss or str, default "mse"
        Used with y.

    Returns
    -------
    Diagnosis
        `layers` has a `LayerDiagnosis` for each layer, `hints` says in words what is wrong.

    Examples
    --------
    The article's start, where every parameter is positive:

    >>> import numpy as np
    >>> from crabnet_jit import NN, diagnose
    >>> x = np.random.default_rng(0).uniform(-3, 3, (200, 2))
    >>> print(diagnose(NN(2, [8, 8], 1, rng=1), x))
    layer  units  activation     dead   activations  gradients  similarity
    1      8      relu             0%   1.45         0.0095     0.84
    2      8      relu             0%   5.45         0.00322    1.00
    3      1      identity         0%   23.7         0.005      nan
    <BLANKLINE>
    Outputs grow 2.37-fold from layer to layer: they explode in a deep network. ...
    Gradients grow 2.95-fold from layer to layer on the way back: they explode. ...
    Layer 2: its units are nearly alike (mean correlation 1.00), so they count as few. ...
    """
    twin, outputs = _forward(net, x)
    if y is None:
        dL_dy = np.full_like(outputs, 1.0 / outputs.size)
    else:
        _, targets = check.pairs(net.encode(x), y)
        criterion = as_loss("loss", loss)
        n_targets = criterion.n_targets("net.out_features", net.out_features)
        criterion.check_targets("y", check.samples("y", targets, n_targets, allow_nan=True))
        criterion.forward(outputs.astype(np.float64), net.standardize_targets(targets))
        dL_dy = criterion.backward()
    layers: list[LayerDiagnosis] = []
    kept = [layer.dy_dW for layer in twin.layers[1:]] + [outputs]  # each layer's output
    gradient = np.asarray(check.same_shape("dL_dy", dL_dy, outputs.shape, net.dtype))
    for layer, activation, output in zip(twin.layers[::-1], twin.activations[::-1], kept[::-1], strict=True):
        gradient = activation._backward(gradient)
        assert output is not None
        is_dead = _is_dead(activation)
        layers.insert(
            0,
            LayerDiagnosis(
                output.shape[1],
                activation.name,
                float(is_dead.mean()),
                _rms(output),
                _rms(gradient),
                _similarity(output[:, ~is_dead]),
            ),
        )
        gradient = layer._backward(gradient)
    return Diagnosis(layers, _hints(layers, _rms(net.standardize(x))))


def dead_units(net: NN, x: ArrayLike) -> list[NDArray[np.bool_]]:
    """The dead units of each layer on the samples x, in the units of the data; see `diagnose`."""
    return [_is_dead(activation) for activation in _forward(net, x)[0].activations]


def _forward(net: NN, x: ArrayLike) -> tuple[NN, Array]:
    """A copy of the network after a forward pass, and its outputs."""
    check.instance("net", net, NN, "an NN")
    twin = copy.copy(net)
    return twin, twin.forward(twin.standardize(x))


def _is_dead(activation: Activation) -> NDArray[np.bool_]:
    assert activation.dy_dx is not None
    is_dead: NDArray[np.bool_] = np.abs(activation.dy_dx).max(axis=0) < _DEAD_SLOPE
    return is_dead


def _rms(values: Array) -> float:
    return float(root_mean_square(values.astype(np.float64).reshape(-1, 1))[0])


def _similarity(outputs: Array) -> float:
    """Mean absolute correlation between the columns that vary; NaN if fewer than two do."""
    if outputs.shape[1] < 2:
        return float("nan")
    mean, std, is_constant = moments(outputs)
    units = (outputs - mean)[:, ~is_constant] / std[~is_constant]
    n = units.shape[1]
    if n < 2:
        return float("nan")
    return float((np.abs(units.T @ units).sum() / len(outputs) - n) / (n * (n - 1)))


def _fold(growth: float) -> str:
    return f"{1 / max(growth, 1e-300):.3g}-fold"


def _hints(layers: list[LayerDiagnosis], input_rms: float) -> list[str]:
    hints = []
    hidden = layers[:-1]
    for k, layer in enumerate(hidden):
        if layer.dead_share > _MAX_SHARE_DEAD:
            hints.append(
                f"Layer {k + 1}: {layer.dead_share:.0%} of the units are dead, they give every sample the "
                "same and cannot learn. Try a smaller learning rate, LeakyReLU or SiLU, or another init."
            )
    if hidden and input_rms > 0:
        growth = (layers[-1].activation_rms / input_rms) ** (1 / len(layers))
        if growth > _GROWS:
            hints.append(
                f"Outputs grow {growth:.3g}-fold from layer to layer: they explode in a deep network. "
                "Weights are too large or of one sign; try init='glorot_uniform', or 'he_uniform' with ReLU."
            )
        elif growth < _SHRINKS:
            hints.append(
                f"Outputs shrink {_fold(growth)} from layer to layer: they vanish in a deep network. Weights "
                "are too small; try init='glorot_uniform', or 'he_uniform' with ReLU."
            )
    if len(hidden) > 1 and hidden[-1].gradient_rms > 0:
        growth = (hidden[0].gradient_rms / hidden[-1].gradient_rms) ** (1 / (len(hidden) - 1))
        if growth > _GROWS:
            hints.append(
                f"Gradients grow {growth:.3g}-fold from layer to layer on the way back: they explode. Try "
                "clip_norm, a smaller learning rate, or another start (init)."
            )
        elif growth < _SHRINKS:
            hints.append(
                f"Gradients shrink {_fold(growth)} from layer to layer on the way back: they vanish, and the "
                "first layers hardly learn. Try SiLU or ReLU instead of sigmoid or tanh, fewer layers, or "
                "another start (init)."
            )
    for k, layer in enumerate(hidden):
        if layer.similarity > _MAX_CORRELATION:
            hints.append(
                f"Layer {k + 1}: its units are nearly alike (mean correlation {layer.similarity:.2f}), so "
                "they count as few. Try a start with both signs, such as init='glorot_uniform'."
            )
    return hints
