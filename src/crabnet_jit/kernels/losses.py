"""Losses and their gradients.

Every loss kernel reads the panels of predictions x (n_out, width), of targets (n_targets, width) and of
weights (1, width), and the constants in its formula (float64, at least one). A weight is the sample's share
of the batch's mean: 1 / n in a batch of n, 0 in columns after it. The kernel overwrites dL_dx, with 0 where
the weight is 0, and returns the loss. There are as many outputs as targets, or several for each target, its
heads: output head n_targets + i belongs to target i.

A target that is NaN is unknown: in the kernels that accept such targets (gap_entries.py), its loss and
gradient are 0. The weights are then such that the mean is over the other targets (known.py).

Formulas of a prediction x and its target return the loss and its first and second derivatives with respect
to x.
"""

import math
from typing import Any

import numpy as np

from crabnet_jit.arrays import Flat, Number, Panel, Vector
from crabnet_jit.kernels.activations import sigmoid, tanh
from crabnet_jit.kernels.elementary import exp, expm1, log, log1p
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.vector import (
    absolute,
    copy_sign,
    fma,
    lanes,
    load,
    maximum,
    splat,
    square_root,
    store,
    sum_lanes,
    where,
)

_LEAST_CURVATURE = 2.0**-52


@kernel
def mse(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
    """(x - target)^2."""
    error = x - target
    return error * error, 2.0 * error, splat(x, 2.0)


@kernel
def mae(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
    """|x - target|; its derivative is 0 if both are equal."""
    error = x - target
    size = absolute(error)
    return size, where(size > 0.0, copy_sign(splat(x, 1.0), error), error), splat(x, 0.0)


@kernel
def huber(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
    """e^2 / 2 where |e| <= a, else a (|e| - a / 2)."""
    error = x - target
    size = absolute(error)
    part = where(size > a, a, size)
    curvature = where(size > a, splat(x, 0.0), 1.0)
    return part * (size - 0.5 * part), copy_sign(part, error), curvature


@kernel
def log_cosh(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
    """log(cosh(e)); near 0 it uses cosh(e) - 1 = (exp(|e|) - 1)^2 / (2 exp(|e|))."""
    error = x - target
    size = absolute(error)
    m = expm1(where(size > 1.0, 1.0, size))
    near = log1p(0.5 * m * m / (m + 1.0))
    far = size + (log1p(exp(-2.0 * size)) - math.log(2))
    slope, curvature, _, _ = tanh(error, a)
    return where(size > 1.0, far, near), slope, curvature


@kernel
def binary_cross_entropy(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
    """-target log(p) - (1 - target) log(1 - p) with p = 1 / (1 + exp(-x))."""
    probability, curvature, _, _ = sigmoid(x, a)
    value = maximum(0.0, x) - x * target + log1p(exp(-absolute(x)))
    return value, probability - target, curvature


@kernel
def poisson(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
    """exp(x) - target - target (x - log(target)), half the deviance of counts whose mean is exp(x)."""
    mean = exp(x)
    distance = x - log(where(target > 0.0, target, 1.0))
    return mean - target - target * distance, mean - target, mean


@kernel
def quantile(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
    """a e if e = target - x is above 0, else (a - 1) e; its derivative is 0 if both are equal."""
    error = target - x
    slope = where(error > 0.0, a, splat(x, a - 1.0))
    return slope * error, where(absolute(error) > 0.0, -slope, error), splat(x, 0.0)


@kernel
def is_known(target: Vector) -> Any:
    """Where a target is a number: comparisons with NaN are false."""
    return absolute(target) > -1.0


def with_gaps(formula: Any) -> Any:
    """The same formula, with 0 for targets that are unknown."""

    def formula_with_gaps(x: Vector, target: Vector, a: Number) -> tuple[Vector, Vector, Vector]:
        known = is_known(target)
        value, derivative, second = formula(x, target, a)
        return where(known, value, 0.0), where(known, derivative, 0.0), where(known, second, 0.0)

        # Symbols of machine code contain this name, which must differ for each formula (machine/jit.py).

    formula_with_gaps.__qualname__ = f"{formula.__name__}_with_gaps"
    return kernel(formula_with_gaps)


def mean_loss(formula: Any, *, has_heads: bool = False) -> Any:
    """The kernel for a loss that is the mean of a formula over the outputs.

    With heads, each target has one output per constant; all outputs for the first constant come first.
    """

    def loss_forward(x: Panel, target: Panel, weight: Panel, constants: Flat, dL_dx: Panel) -> Number:
        total = splat(x, 0.0)
        for s in range(0, x.shape[1], lanes(x)):
            share = load(weight, 0, s) * (1.0 / x.shape[0])
            inside = share > 0.0
            for head in range(constants.size if has_heads else 1):
                first = head * target.shape[0]
                for i in range(target.shape[0] if has_heads else x.shape[0]):
                    x_i, target_i = load(x, first + i, s), load(target, i, s)
                    value, derivative, _ = formula(x_i, target_i, constants[head])
                    total = fma(share, where(inside, value, 0.0), total)
                    store(dL_dx, first + i, s, share * where(inside, derivative, 0.0))
        return np.float64(sum_lanes(total))

    return kernel(loss_forward)


def mean_curvature(formula: Any) -> Any:
    """The kernel of the curvature of such a loss."""

    def curvature(
        x: Panel, target: Panel, weight: Panel, constants: Flat, roots: Panel, means: Panel
    ) -> float:
        """Overwrite roots r and means m (n_out, width); return 0.

        The second derivatives of a sample's loss with respect to x are R R^T, R_jk = r_k ((j = k) - m_j).
        Since r is a divisor, it is made a little larger where it is almost 0. For unknown targets it is 0.
        """
        for s in range(0, x.shape[1], lanes(x)):
            share = load(weight, 0, s) * (1.0 / x.shape[0])
            for i in range(x.shape[0]):
                t = load(target, i, s)
                _, _, second = formula(load(x, i, s), t, constants[0])
                root = square_root(share * maximum(_LEAST_CURVATURE, second))
                store(roots, i, s, where(is_known(t), root, 0.0))
                store(means, i, s, splat(x, 0.0))
        return 0.0

    return kernel(curvature)


def custom_loss(value: Any, derivative: Any) -> Any:
    """The same for two compiled functions of a prediction and a target, which may be unknown."""

    def loss_forward(x: Panel, target: Panel, weight: Panel, constants: Flat, dL_dx: Panel) -> Number:
        total = 0.0
        for i in range(x.shape[0]):
            for s in range(x.shape[1]):
                share = weight[0, s] / x.shape[0]
                if share > 0.0 and target[i, s] == target[i, s]:
                    total += share * value(x[i, s], target[i, s])
                    dL_dx[i, s] = share * derivative(x[i, s], target[i, s])
                else:
                    dL_dx[i, s] = 0.0
        return total

    return kernel(loss_forward)


mse_forward = mean_loss(mse)


@kernel
def gaussian_nll_forward(x: Panel, target: Panel, weight: Panel, constants: Flat, dL_dx: Panel) -> Number:
    """log(s) + (m - target)^2 / (2 s^2), averaged over the targets; x holds all m, then all log(s)."""
    n_targets = target.shape[0]
    total = splat(x, 0.0)
    for s in range(0, x.shape[1], lanes(x)):
        for i in range(n_targets):
            t = load(target, i, s)
            share = where(is_known(t), load(weight, 0, s) * (1.0 / n_targets), 0.0)
            inside = share > 0.0
            log_std = load(x, n_targets + i, s)
            inverse = exp(-log_std)
            z = (load(x, i, s) - t) * inverse
            total = fma(share, where(inside, log_std + 0.5 * z * z, 0.0), total)
            store(dL_dx, i, s, share * where(inside, z * inverse, 0.0))
            store(dL_dx, n_targets + i, s, share * where(inside, 1.0 - z * z, 0.0))
    return np.float64(sum_lanes(total))


@kernel
def cross_entropy_forward(x: Panel, target: Panel, weight: Panel, constants: Flat, dL_dx: Panel) -> Number:
    """-sum(target log(p)) over the outputs of each sample, with p = exp(x) / sum(exp(x)).

    One unknown target makes the whole sample unknown.
    """
    total = splat(x, 0.0)
    for s in range(0, x.shape[1], lanes(x)):
        share = load(weight, 0, s)
        largest = load(x, 0, s)
        for i in range(1, x.shape[0]):
            largest = maximum(largest, load(x, i, s))
        sum_exp = sum_target = product = splat(x, 0.0)
        for i in range(x.shape[0]):
            v, t = load(x, i, s) - largest, load(target, i, s)
            e = exp(v)
            sum_exp = sum_exp + e
            sum_target = sum_target + t
            product = where(t > 0.0, fma(t, v, product), product)  # v may be -infinity
            store(dL_dx, i, s, e)
        value = fma(log(sum_exp), sum_target, -product)
        share = where(is_known(sum_target), share, 0.0)
        inside = share > 0.0
        total = fma(share, where(inside, value, 0.0), total)
        scale = sum_target / sum_exp
        for i in range(x.shape[0]):
            gradient = fma(load(dL_dx, i, s), scale, -load(target, i, s))
            store(dL_dx, i, s, share * where(inside, gradient, 0.0))
    return np.float64(sum_lanes(total))


@kernel
def cross_entropy_curvature(
    x: Panel, target: Panel, weight: Panel, constants: Flat, roots: Panel, means: Panel
) -> float:
    """The same for the cross entropy: r^2 = sum(target) p, m = p; for unknown samples r = 0."""
    for s in range(0, x.shape[1], lanes(x)):
        share = load(weight, 0, s)
        largest = load(x, 0, s)
        for i in range(1, x.shape[0]):
            largest = maximum(largest, load(x, i, s))
        sum_exp = sum_target = splat(x, 0.0)
        for i in range(x.shape[0]):
            e = exp(load(x, i, s) - largest)
            sum_exp = sum_exp + e
            sum_target = sum_target + load(target, i, s)
            store(means, i, s, e)
        for i in range(x.shape[0]):
            p = load(means, i, s) / sum_exp
            store(means, i, s, p)
            root = square_root(share * maximum(_LEAST_CURVATURE, sum_target * p))
            store(roots, i, s, where(is_known(sum_target), root, 0.0))
    return 0.0
