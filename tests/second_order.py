"""What Levenberg and Marquardt's method solves: by plain formulas, and as the kernels make it."""

import contextlib
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from crabnet_jit import ELU, GELU, NN, ArraySource, CustomActivation, LeakyReLU, Sine, Trainer
from crabnet_jit.kernels import levenberg_marquardt as method
from crabnet_jit.kernels.structs import Problem
from crabnet_jit.machine.jit import entry_point, kernel
from crabnet_jit.training import second_order

Array = NDArray[Any]
PANEL = 16


# ---- plain formulas; complex numbers go through activations ----

ACTIVATIONS: dict[str, tuple[Any, Callable[[Array], Array]]] = {
    "identity": ("identity", lambda z: z),
    "relu": ("relu", lambda z: np.where(z.real > 0, z, 0)),
    "leaky_relu": (LeakyReLU(0.2), lambda z: np.where(z.real > 0, z, 0.2 * z)),
    "elu": (ELU(1.5), lambda z: np.where(z.real > 0, z, 1.5 * (np.exp(np.where(z.real > 0, 0, z)) - 1))),
    "gelu": ("gelu", lambda z: z * (1 + erf(z / math.sqrt(2))) / 2),
    "gelu_tanh": (
        GELU("tanh"),
        lambda z: z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))) / 2,
    ),
    "silu": ("silu", lambda z: z / (1 + np.exp(-z))),
    "tanh": ("tanh", np.tanh),
    "sigmoid": ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
    "softplus": ("softplus", lambda z: np.log(1 + np.exp(z))),
    "sine": (Sine(3.0), lambda z: np.sin(3 * z)),
    "custom": (
        CustomActivation(lambda x: x / (1 + x * x), lambda x: (1 - x * x) / (1 + x * x) ** 2),
        lambda z: z / (1 + z * z),
    ),
}
DELTA = 1.0  # of the Huber loss


def softmax(y: Array) -> Array:
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def of_outputs(loss: str, y: Array, t: Array) -> tuple[Array, Array, Array]:
    """Each sample's loss (n,), its gradient (n, k) and its second derivatives (n, k, k), for outputs y.

    Targets that are NaN do not count.
    """
    k = y.shape[1]
    known = ~np.isnan(t)
    if loss == "cross_entropy":
        known = np.broadcast_to(known.all(axis=1, keepdims=True), t.shape)
    t = np.where(known, t, 0)
    error = y - t
    if loss == "cross_entropy":
        p, total = softmax(y), t.sum(axis=1)
        C = total[:, None, None] * (p[:, :, None] * np.eye(k) - p[:, :, None] * p[:, None, :])
        return -(t * np.log(p)).sum(axis=1), total[:, None] * p - t, C
    if loss == "mse":
        value, slope, second = error**2, 2 * error, np.full_like(y, 2)
    elif loss == "huber":
        inside = np.abs(error) <= DELTA
        value = np.where(inside, error**2 / 2, DELTA * (np.abs(error) - DELTA / 2))
        slope, second = np.clip(error, -DELTA, DELTA), np.where(inside, 1.0, 0.0)
    elif loss == "poisson":
        mean = np.exp(y)
        value, slope, second = (
            mean - t - t * y + np.where(t > 0, t * np.log(np.maximum(t, 1)), 0),
            mean - t,
            mean,
        )
    elif loss == "log_cosh":
        value, slope, second = np.log(np.cosh(error)), np.tanh(error), 1 / np.cosh(error) ** 2
    else:
        p = 1 / (1 + np.exp(-y))
        value, slope, second = np.logaddexp(0, y) - t * y, p - t, p * (1 - p)
    value, slope, second = (np.where(known, part, 0) for part in (value, slope, second))
    return value.mean(axis=1), slope / k, second[:, :, None] * np.eye(k) / k


class Plain(NamedTuple):
    """A network, a data set and a loss, with weights whose sum is 1."""

    sizes: list[int]
    activation: Callable[[Array], Array]
    loss: str
    x: Array
    y: Array
    weight: Array
    l2: float = 0.0

    def outputs(self, theta: Array) -> Array:
        """(n, k), for real or complex parameters."""
        h, start = self.x.astype(theta.dtype), 0
        for layer, (n_in, n_out) in enumerate(pairwise(self.sizes)):
            W = theta[start : start + n_in * n_out].reshape(n_out, n_in)
            start += n_in * n_out
            z = h @ W.T + theta[start : start + n_out]
            start += n_out
            h = z if layer == len(self.sizes) - 2 else self.activation(z)
        return h

    def jacobian(self, theta: Array) -> Array:
        """(n, k, p), by complex steps."""
        step = 1e-30
        columns = []
        for k in range(theta.size):
            there = theta.astype(complex)
            there[k] += 1j * step
            columns.append(self.outputs(there).imag / step)
        return np.stack(columns, axis=2)

    def value(self, theta: Array) -> tuple[float, float]:
        """The loss without and with the penalty."""
        value = float(self.weight @ of_outputs(self.loss, self.outputs(theta), self.y)[0])
        return value, value + self.l2 / 2 * float(theta @ theta)

    def equations(self, theta: Array) -> tuple[Array, Array, Array, Array]:
        """H and the gradient, both without the penalty; the Jacobian, and C with weights."""
        y, J = self.outputs(theta), self.jacobian(theta)
        _, slope, C = of_outputs(self.loss, y, self.y)
        C = C * self.weight[:, None, None]
        H = np.einsum("nka,nkl,nlb->ab", J, C, J, optimize=True)
        return H, np.einsum("nka,nk,n->a", J, slope, self.weight), J, C

    def rows(self, theta: Array) -> Array:
        """v of all samples and outputs (n, k, p), for a C of R R^T."""
        _, _, J, C = self.equations(theta)
        if self.loss == "cross_entropy":
            p = softmax(self.outputs(theta))
            r = np.sqrt(self.weight * np.nan_to_num(self.y.sum(axis=1)))[:, None] * np.sqrt(p)
            return np.asarray(r[:, :, None] * (J - np.einsum("nk,nka->na", p, J)[:, None]))
        return np.asarray(np.sqrt(np.einsum("nkk->nk", C))[:, :, None] * J)

    def run(
        self, theta: Array, n: int, first: float = 1e-4, longest: float = 0.75
    ) -> tuple[list[float], Array, float]:
        """Losses of n steps, the parameters after them, and the damping."""
        losses, damping = [], 0.0
        for _ in range(n):
            H, gradient, J, C = self.equations(theta)
            gradient = gradient + self.l2 * theta
            value, before = self.value(theta)
            losses.append(value)
            damping, growth = damping or first * float(np.trace(H)), 2.0
            while True:
                A = H + (damping + self.l2) * np.eye(theta.size)
                step = -np.linalg.solve(A, gradient)
                expected = step @ (damping * step - gradient) / 2
                if longest > 0:
                    part = 0.1
                    along = (self.outputs(theta + s * part * step) for s in (1.0, 0.0, -1.0))
                    y_plus, y, y_minus = along
                    second = (y_plus - 2 * y + y_minus) / part**2
                    a = np.linalg.solve(A, np.einsum("nka,nkl,nl->a", J, C, second))
                    if 2 * np.linalg.norm(a) <= longest * np.linalg.norm(step):
                        step = step - a / 2
                after = self.value(theta + step)[1]
                if after < before:
                    break
                damping, growth = damping * growth, growth * 2
            theta = theta + step
            ratio = (before - after) / expected
            damping *= max(1 / 3, 1 - float(2 * ratio - 1) ** 3)
        return losses, theta, damping


# ---- the kernels ----


@kernel
def _matrix(problem: Problem, dual: Any) -> Any:
    loss = method.fill_equations(problem, dual, None)
    method.copy_equations(problem, dual, None)
    return loss


_compiled = entry_point(_matrix)


def trainer(net: NN, plain: Plain, form: str | None = None, **options: Any) -> Trainer:
    """Of the network on the same problem; in the form "primal" or "dual", or in the smaller one."""
    source = ArraySource(plain.x, plain.y, len(plain.x), sample_weight=plain.weight)
    options = {"optimizer": "levenberg_marquardt", "loss": plain.loss, "l2": plain.l2, **options}
    with taking(form):
        return Trainer(net, source, **options)


@contextlib.contextmanager
def taking(form: str | None) -> Iterator[None]:
    """A block in which trainers take this form of the equations, "primal" or "dual", or the smaller one."""
    smaller = second_order.Sizes.of

    def primal(net: NN, n_panels: int, **options: Any) -> second_order.Sizes:
        return smaller(net, net.parameters.size, **options)

    def dual(net: NN, n_panels: int, **options: Any) -> second_order.Sizes:
        n_rows = net.out_features * n_panels * PANEL
        return second_order.Sizes(n_rows, n_rows**2, True)

    with pytest.MonkeyPatch.context() as patch:
        if form is not None:
            patch.setattr(second_order.Sizes, "of", primal if form == "primal" else dual)
        yield


def equations(trainer: Trainer) -> tuple[float, Array, Array]:
    """The loss, its gradient, and the lower triangle of the matrix; that of the dual form with all rows."""
    iterations = trainer._steps.chunks._method
    curvature = iterations._problem.curvature
    curvature.matrix[:] = math.nan
    loss = _compiled(iterations._problem, iterations._dual)
    matrix = np.tril(dense(curvature.matrix))
    if iterations._dual is None:
        matrix = matrix[: curvature.gradient.size, : curvature.gradient.size]
    return float(loss), curvature.gradient.copy(), matrix


def dense(panels: Array) -> Array:
    """A matrix that is stored by panels of columns (cholesky.py)."""
    size = math.isqrt(panels.size)
    return panels.reshape(size // PANEL, size, PANEL).transpose(1, 0, 2).reshape(size, size)


def stored(matrix: Array) -> Array:
    """The inverse of `dense`, with rows and columns of 0 after those of the matrix."""
    size = -(-len(matrix) // PANEL) * PANEL
    padded = np.zeros((size, size))
    padded[: len(matrix), : len(matrix)] = matrix
    return np.ascontiguousarray(padded.reshape(size, -1, PANEL).transpose(1, 0, 2)).ravel()


def problem(
    hidden_sizes: list[int],
    n: int,
    loss: str = "mse",
    activation: str = "tanh",
    *,
    n_in: int = 2,
    n_out: int = 1,
    weighted: bool = True,
    l2: float = 0.0,
    seed: int = 0,
) -> tuple[NN, Plain]:
    """A network with random parameters, and random data; of the weights some are 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_in))
    y = 1.5 * rng.normal(size=(n, n_out))
    if loss == "binary_cross_entropy":
        y = rng.uniform(0, 1, (n, n_out)).round(1)
    elif loss == "poisson":
        y = np.floor(np.abs(y))
    elif loss == "cross_entropy":
        y = rng.dirichlet(np.ones(n_out), n)
        y[0] = np.eye(n_out)[0]
    weight = rng.uniform(0.2, 2, n)
    if weighted and n > 2:
        weight[:: max(2, n // 5)] = 0
    weight = weight / weight.sum() if weighted else np.full(n, 1 / n)
    ours, formula = ACTIVATIONS[activation]
    net = NN(n_in, hidden_sizes, n_out, 1, activation=ours, init="glorot_uniform")
    net.parameters[:] += 0.3 * rng.normal(size=net.parameters.size)
    return net, Plain([n_in, *hidden_sizes, n_out], formula, loss, x, y, weight, l2)
