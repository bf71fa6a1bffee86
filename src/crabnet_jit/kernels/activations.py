"""Activation functions with their first three derivatives, for vectors.

Every formula takes a vector x and a number a, which few of them use, and returns y, dy_dx, d2y_dx2 and
d3y_dx3. Formulas are inlined into the caller's loop, so results that it ignores are never computed. NaN stays
NaN.
"""

import math
from typing import Any

from crabnet_jit.arrays import Number, Panel, Vector
from crabnet_jit.kernels.elementary import exp, expm1, log1p, normal, sin_cos
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import absolute, copy_sign, fma, lanes, load, maximum, splat, store, where

Derivatives = tuple[Vector, Vector, Vector, Vector]

_GELU_SCALE, _GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715
_GELU_FLAT_BEYOND = 100.0  # beyond this, tanh(u) is 1 or -1


@kernel
def identity(x: Vector, a: Number) -> Derivatives:
    return x, splat(x, 1.0), splat(x, 0.0), splat(x, 0.0)


@kernel
def relu(x: Vector, a: Number) -> Derivatives:
    return maximum(0.0, x), where(x > 0.0, splat(x, 1.0), 0.0), splat(x, 0.0), splat(x, 0.0)


@kernel
def leaky_relu(x: Vector, a: Number) -> Derivatives:
    return where(x > 0.0, x, a * x), where(x > 0.0, splat(x, 1.0), a), splat(x, 0.0), splat(x, 0.0)


@kernel
def elu(x: Vector, a: Number) -> Derivatives:
    slope = a * exp(x)
    bend = where(x > 0.0, 0.0, slope)
    return where(x > 0.0, x, a * expm1(x)), where(x > 0.0, 1.0, slope), bend, bend


@kernel
def gelu(x: Vector, a: Number) -> Derivatives:
    distribution, density = normal(x)
    third = x * density * fma(x, x, -4.0)
    return x * distribution, fma(x, density, distribution), density * fma(-x, x, 2.0), third


@kernel
def gelu_tanh(x: Vector, a: Number) -> Derivatives:
    """x (1 + tanh(u)) / 2, which is x times the logistic function of 2 u."""
    near = maximum(-_GELU_FLAT_BEYOND, x)  # the square of x itself may overflow
    near = where(near > _GELU_FLAT_BEYOND, _GELU_FLAT_BEYOND, near)
    square = near * near
    u = _GELU_SCALE * near * fma(_GELU_CUBIC, square, 1.0)
    du_dx = _GELU_SCALE * fma(3 * _GELU_CUBIC, square, 1.0)
    d2u_dx2 = _GELU_SCALE * 6 * _GELU_CUBIC * near
    y, dy_du, d2y_du2, d3y_du3 = sigmoid(2.0 * u, a)
    curvature = fma(4.0 * du_dx * du_dx, d2y_du2, 2.0 * d2u_dx2 * dy_du)
    third = fma(8.0 * du_dx * du_dx * du_dx, d3y_du3, 12.0 * du_dx * d2u_dx2 * d2y_du2)
    third = fma(_GELU_SCALE * 12 * _GELU_CUBIC, dy_du, third)
    second = fma(near, curvature, 4.0 * du_dx * dy_du)
    return x * y, fma(2.0 * near * dy_du, du_dx, y), second, fma(near, third, 3.0 * curvature)


@kernel
def silu(x: Vector, a: Number) -> Derivatives:
    y, dy_dx, d2y_dx2, d3y_dx3 = sigmoid(x, a)
    return x * y, fma(x, dy_dx, y), fma(x, d2y_dx2, 2.0 * dy_dx), fma(x, d3y_dx3, 3.0 * d2y_dx2)


@kernel
def tanh(x: Vector, a: Number) -> Derivatives:
    """tanh(x) within 3 ulp."""
    e = expm1(-2.0 * absolute(x))
    y = copy_sign(e / (e + 2.0), x)
    dy_dx = fma(-y, y, 1.0)
    return y, dy_dx, -2.0 * y * dy_dx, dy_dx * fma(6.0 * y, y, -2.0)


@kernel
def sigmoid(x: Vector, a: Number) -> Derivatives:
    """1 / (1 + exp(-x)) within 3 ulp."""
    e = exp(-absolute(x))
    q = 1.0 / (1.0 + e)
    y, dy_dx = where(x > 0.0, q, e * q), e * q * q
    return y, dy_dx, dy_dx * fma(-2.0, y, 1.0), dy_dx * fma(-6.0, dy_dx, 1.0)


@kernel
def softplus(x: Vector, a: Number) -> Derivatives:
    """log(1 + exp(x))."""
    dy_dx, d2y_dx2, d3y_dx3, _ = sigmoid(x, a)
    return maximum(0.0, x) + log1p(exp(-absolute(x))), dy_dx, d2y_dx2, d3y_dx3


@kernel
def sine(x: Vector, a: Number) -> Derivatives:
    """sin(a x)."""
    s, c = sin_cos(a * x)
    return s, a * c, -(a * a) * s, -(a * a * a) * c


def activation_forward(formula: Any) -> Any:
    """The kernel that applies a formula to an array, element by element."""

    def forward(x: Panel, a: Number, y: Panel, dy_dx: Panel) -> float:
        """Overwrite y, which may be x, and dy_dx; all have the same shape. Return 0."""
        for i in range(x.shape[0]):
            for s in range(0, x.shape[1], lanes(x)):
                value, derivative, _, _ = formula(load(x, i, s), a)
                store(y, i, s, value)
                store(dy_dx, i, s, derivative)
        return 0.0

    return kernel(forward)


def custom_activation_forward(function: Any, derivative: Any) -> Any:
    """The same kernel for a function and its derivative, both compiled and of one number."""

    def forward(x: Panel, a: Number, y: Panel, dy_dx: Panel) -> float:
        for i in range(x.shape[0]):
            for s in range(x.shape[1]):
                v = x[i, s]
                y[i, s] = function(v)
                dy_dx[i, s] = derivative(v)
        return 0.0

    return kernel(forward)


def activation_curvature(formula: Any) -> Any:
    """The kernel that applies the second derivative of a formula."""

    def curvature(x: Panel, a: Number, d2y_dx2: Panel) -> float:
        """Overwrite d2y_dx2, which may be x. Return 0."""
        for i in range(x.shape[0]):
            for s in range(0, x.shape[1], lanes(x)):
                _, _, second, _ = formula(load(x, i, s), a)
                store(d2y_dx2, i, s, second)
        return 0.0

    return kernel(curvature)


def activation_jets(formula: Any) -> Any:
    """The kernel that applies a formula and its derivatives, from which jets are made (jets.py)."""

    def jets(x: Panel, a: Number, y: Panel, first: Panel, second: Panel, third: Panel) -> float:
        """Overwrite y, which may be x, and the derivatives; same shape, but `third` may have no rows."""
        has_third = third.shape[0] > 0
        for i in range(x.shape[0]):
            for s in range(0, x.shape[1], lanes(x)):
                value, dy_dx, d2y_dx2, d3y_dx3 = formula(load(x, i, s), a)
                store(y, i, s, value)
                store(first, i, s, dy_dx)
                store(second, i, s, d2y_dx2)
                if has_third:
                    store(third, i, s, d3y_dx3)
        return 0.0

    return kernel(jets)
