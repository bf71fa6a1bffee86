"""A check of gradients against finite differences, for losses and activations of your own."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from crabnet_jit import check, notebook
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss
from crabnet_jit.network.network import NN
from crabnet_jit.training.objective import Objective

_STEPS = (1e-5, 1e-6)  # for a parameter of size 1; a kink may lie within one of them


class GradientCheck(NamedTuple):
    """What `check_gradients` found; it prints as a sentence.

    Attributes
    ----------
    is_right : bool
        Whether no error is above the tolerance.
    worst : str
        The parameter with the largest error, such as "layers[1].W[3, 0]".
    error : float
        Its error: the difference of the two derivatives, divided by the larger one. The divisor is at least a
        thousandth of the largest derivative, and so large that rounding alone does not exceed the tolerance.
    derivative : float
        The derivative that training uses.
    difference_quotient : float
        The derivative from the losses at two values of the parameter.
    errors : ndarray
        The errors of all parameters, in the order of `NN.parameters`.
    """

    is_right: bool
    worst: str
    error: float
    derivative: float
    difference_quotient: float
    errors: Array

    def __repr__(self) -> str:
        return (
            f"{self._verdict}: the worst is {self.worst}, derivative {self.derivative:.6g}, "
            f"difference quotient {self.difference_quotient:.6g}, relative error {self.error:.2g}"
        )

    @property
    def _verdict(self) -> str:
        return f"gradients are {'right' if self.is_right else 'WRONG'}"

    def _repr_html_(self) -> str:
        """In notebooks: the verdict, and a table of the worst parameter."""
        head = ["worst parameter", "derivative", "difference quotient", "relative error"]
        row = [
            self.worst,
            f"{self.derivative:.6g}",
            f"{self.difference_quotient:.6g}",
            f"{self.error:.2g}",
        ]
        return f"<div><b>{self._verdict}</b>{notebook.table(head, [row])}</div>"


@check.keywords
def check_gradients(
    net: NN,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    loss: Loss | str = "mse",
    *,
    residuals: Sequence[Any] = (),
    tolerance: float = 1e-4,
    dy: ArrayLike | None = None,
    dy_weight: float = 1.0,
) -> GradientCheck:
    """Compare the gradient of a loss with finite differences, parameter by parameter.

    The difference for a parameter p is (L(p + h) - L(p - h)) / 2h. Since a ReLU may have its kink there,
    one-sided differences and a smaller h are tried, too, and the closest result counts. Each parameter takes
    four evaluations, in float64.

    Parameters
    ----------
    net : NN
        It is not changed. Its parameters should not all be 0, since that hides many errors.
    x : array_like of shape (n_samples, in_features), optional
        Some inputs; few are enough.
    y : array_like of shape (n_samples, out_features) or (n_samples,), optional
        Targets; NaN where unknown. x and y may be left out if there are residuals.
    loss : Loss or str, default "mse"
        As in `Trainer`.
    tolerance : float, default 1e-4
        The largest error that still counts as right, above 0.
    residuals, dy, dy_weight
        As in `Objective`.

    Raises
    ------
    InvalidArgumentError
        If an argument is invalid.
    FloatingPointError
        If a loss or a derivative is infinite or NaN.

    Examples
    --------
    >>> from crabnet_jit import NN, CustomActivation, check_gradients
    >>> wrong = CustomActivation(lambda x: x * x, lambda x: x)  # should be 2 * x
    >>> net = NN(2, [3], 1, rng=1, activation=wrong)
    >>> print(check_gradients(net, [[0.1, 0.2], [0.3, -0.4]], [1.0, 2.0]))
    gradients are WRONG: the worst is layers[0].W[...], ... relative error 0.5
    """
    check.instance("net", net, NN, "an NN")
    tolerance = check.number("tolerance", tolerance, 0.0, open_low=True)
    twin = net
    if net.dtype != np.float64:
        spec = dataclasses.replace(net.spec, dtype=np.dtype(np.float64))
        twin = NN.from_spec(spec, net.parameters)
        twin.standardization = net.standardization
    objective = Objective(twin, x, y, loss=loss, residuals=residuals, dy=dy, dy_weight=dy_weight)
    theta = twin.parameters.copy()

    def loss_at(k: int, value: float) -> float:
        own, theta[k] = theta[k], value
        result, _ = objective.loss_and_gradient(theta)
        theta[k] = own
        return result

    loss_here, derivatives = objective.loss_and_gradient(theta)
    quotients = np.empty((len(_STEPS), 3, theta.size))  # to both sides, to the left, to the right
    for k, p in enumerate(theta):
        for row, step in enumerate(_STEPS):
            low, high = p - step * max(1.0, abs(p)), p + step * max(1.0, abs(p))
            below, above = loss_at(k, low), loss_at(k, high)
            quotients[row, :, k] = (
                (above - below) / (high - low),
                (loss_here - below) / (p - low),
                (above - loss_here) / (high - p),
            )
    candidates = quotients.reshape(-1, theta.size)
    if not (np.isfinite(derivatives).all() and np.isfinite(candidates).all()):
        at = int((~np.isfinite(derivatives) | ~np.isfinite(candidates).all(axis=0)).argmax())
        raise FloatingPointError(f"the derivative for {_name(net, at)} is infinite or NaN")
    rounding = 1e-15 * abs(loss_here) / _STEPS[0]
    least = max(
        1e-3 * np.abs(candidates[0]).max(), 1e-4 * np.abs(candidates).max(), rounding / tolerance, 1e-300
    )
    sizes = np.maximum(np.maximum(np.abs(derivatives), np.abs(candidates)), least)
    relative = np.abs(derivatives - candidates) / sizes
    errors = relative.min(axis=0)
    worst = int(errors.argmax())
    error, quotient = float(errors[worst]), candidates[relative[:, worst].argmin(), worst]
    return GradientCheck(
        error <= tolerance, _name(net, worst), error, float(derivatives[worst]), float(quotient), errors
    )


def _name(net: NN, k: int) -> str:
    """The name of a parameter, from its index in the flat buffer."""
    for number, layer in enumerate(net.layers):
        n_weights = layer.W.size
        if k < n_weights:
            o, i = divmod(k, layer.in_features)
            return f"layers[{number}].W[{o}, {i}]"
        if k < n_weights + layer.out_features:
            return f"layers[{number}].b[{k - n_weights}, 0]"
        k -= layer.parameters.size
    raise IndexError(k)
