"""Kernels against NumPy, for sizes around every tile edge."""

import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from crabnet_jit.kernels import entries as entry
from crabnet_jit.kernels.elementary import exp
from crabnet_jit.machine.jit import entry_point as compiled
from crabnet_jit.machine.jit import kernel
from crabnet_jit.machine.llvm import PANEL
from crabnet_jit.machine.tile import (
    tile_add_product,
    tile_dot,
    tile_rows,
    tile_start,
    tile_store,
    tile_sums,
)
from crabnet_jit.machine.vector import first_lanes, fma, lanes, load, splat, store, sum_lanes, where

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17]
GENERATOR = np.random.default_rng(0)


def exact(*shape: int) -> Any:
    """Small integers as float64, so that sums in any order are equal."""
    return GENERATOR.integers(-9, 10, shape).astype(np.float64)


def panels_of(rows: Any) -> Any:
    """Rows of any width as a group of panels."""
    return np.ascontiguousarray(rows.reshape(rows.shape[0], -1, PANEL).transpose(1, 0, 2))


def rows_of(panels: Any) -> Any:
    return panels.transpose(1, 0, 2).reshape(panels.shape[1], -1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("width", [16, 32, 48])
@pytest.mark.parametrize(("n_out", "n_in"), list(itertools.product(SIZES, SIZES)))
def test_linear(n_out: int, n_in: int, width: int, dtype: Any) -> None:
    W, b, x, dL_dy = (
        exact(*shape).astype(dtype) for shape in ((n_out, n_in), (n_out, 1), (n_in, width), (n_out, width))
    )
    x_panels, dL_dy_panels = panels_of(x), panels_of(dL_dy)
    for pairs in (None, 1):
        y, dL_dx = np.full_like(dL_dy_panels, np.nan), np.full_like(x_panels, np.nan)
        entry.linear_forward(W, b, x_panels, y, False, pairs, None)
        np.testing.assert_array_equal(rows_of(y), W @ x + b)
        entry.linear_forward(W, b, x_panels, y, True, pairs, None)
        np.testing.assert_array_equal(rows_of(y), np.maximum(W @ x + b, 0))
        entry.linear_backward_input(W, dL_dy_panels, x_panels, dL_dx, False, pairs, None)
        np.testing.assert_array_equal(rows_of(dL_dx), W.T @ dL_dy)
        entry.linear_backward_input(W, dL_dy_panels, x_panels, dL_dx, True, pairs, None)
        np.testing.assert_array_equal(rows_of(dL_dx), np.where(x > 0, W.T @ dL_dy, 0))
    dL_dW, dL_db = np.full((n_out, n_in), np.nan, dtype), np.full((n_out, 1), np.nan, dtype)
    for n_times, add in ((1, False), (2, True)):
        entry.linear_backward_parameters(dL_dy_panels, x_panels, dL_dW, dL_db, add, None)
        np.testing.assert_array_equal(dL_dW, n_times * (dL_dy @ x.T))
        np.testing.assert_array_equal(dL_db, n_times * dL_dy.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_features", [1, 3, 8, 13, 16, 30])
def test_an_output_has_the_same_bits_wherever_its_panel_is(n_features: int, dtype: Any) -> None:
    """Alone, in a pair, or the last of three."""
    W, b = GENERATOR.normal(size=(n_features, 11)).astype(dtype), GENERATOR.normal(size=(n_features, 1))
    x = panels_of(GENERATOR.normal(size=(11, 48))).astype(dtype)
    dL_dy = panels_of(GENERATOR.normal(size=(n_features, 48))).astype(dtype)
    results = []
    for pairs in (None, 1):
        for group in ([0, 1, 2], [2, 0, 1], [1, 2]):
            y, dL_dx = np.empty_like(dL_dy), np.empty_like(x)
            of_group = np.empty_like(dL_dy[group]), np.empty_like(x[group])
            entry.linear_forward(W, b.astype(dtype), x[group], of_group[0], False, pairs, None)
            entry.linear_backward_input(W, dL_dy[group], x[group], of_group[1], False, pairs, None)
            y[group], dL_dx[group] = of_group
            results.append((y[1:], dL_dx[1:]))
    for y, dL_dx in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(dL_dx, results[0][1])


def test_relu_keeps_nan_and_has_slope_zero_at_zero() -> None:
    x = np.array([[-1.0, 0.0, 2.0, np.nan] * 4])
    y = np.empty_like(x)
    dy_dx = np.empty_like(x)
    entry.activation_forward["relu"](x, 0.0, y, dy_dx)
    np.testing.assert_array_equal(y, [[0.0, 0.0, 2.0, np.nan] * 4])
    np.testing.assert_array_equal(dy_dx, [[0.0, 0.0, 1.0, 0.0] * 4])


@pytest.mark.parametrize("n_samples", [1, 7, 8, 9, 15, 16])
def test_mse_counts_only_the_samples(n_samples: int) -> None:
    x, target = exact(3, 16), exact(3, 16)
    x[:, n_samples:] = np.nan
    dL_dx = np.full_like(x, np.nan)
    weight = np.zeros((1, 16))
    weight[:, :n_samples] = 1.5
    loss = entry.loss_forward["mse"](x, target, weight, np.zeros(1), dL_dx)
    error = (x - target)[:, :n_samples]
    assert loss == 0.5 * (error**2).sum()
    np.testing.assert_array_equal(dL_dx[:, :n_samples], error)
    np.testing.assert_array_equal(dL_dx[:, n_samples:], 0)


def test_rectified_layer_keeps_nan() -> None:
    W, b, x = np.ones((5, 1)), np.zeros((5, 1)), np.array([[[-1.0, np.nan] * 8]])
    y = np.empty((1, 5, 16))
    entry.linear_forward(W, b, x, y, True, None, None)
    np.testing.assert_array_equal(y, [[[0.0, np.nan] * 8] * 5])


@kernel
def _exponentials(x: Any, y: Any) -> None:
    for s in range(0, x.shape[1], lanes(x)):
        store(y, 0, s, exp(load(x, 0, s)))


def test_exponential_is_within_1_ulp_over_the_whole_range() -> None:
    x = np.concatenate(
        [
            np.linspace(-746, 710, 200_000),
            np.linspace(-1, 1, 20_000),
            [0.0, -0.0, 1e-300, -1e300, 1e300, np.inf, -np.inf, np.nan, -745.13, 709.78, 709.79, -708.4],
        ]
    )
    x = np.resize(x, (1, -(-x.size // 8) * 8))
    y = np.empty_like(x)
    compiled(_exponentials)(x, y)
    with np.errstate(over="ignore", under="ignore"):
        exact = np.exp(x.astype(np.longdouble))
        rounded = exact.astype(np.float64)
        usual = np.isfinite(rounded)
        error = np.abs(y[usual] - exact[usual]) / np.spacing(rounded[usual])
    assert error.max() < 1.0
    np.testing.assert_array_equal(y[~usual], rounded[~usual])


@kernel
def _vector_operations(x: Any, count: Any, out: Any) -> Any:
    a, b = load(x, 0, 0), load(x, 1, 0)
    store(out, 0, 0, a + b)
    store(out, 1, 0, a - b)
    store(out, 2, 0, a * b)
    store(out, 3, 0, fma(a, b, splat(x, 0.5)))
    store(out, 4, 0, where(a > b, a, b))
    store(out, 5, 0, where(first_lanes(x, count), a, splat(x, -1.0)))
    return sum_lanes(a)


@kernel
def _tile_operations(A: Any, x: Any, group: Any, C: Any, sums: Any) -> Any:
    tile = tile_add_product(tile_start(x, A, 0), A, 0, x)
    tile_store(tile, C, 0)
    tile_sums(tile_dot(group, 0, 2, group, 1, 1), sums, 0, 1, False)
    tile_sums(tile_dot(1.0, 0, 1, group, 1, 1), sums, 0, 0, True)
    return tile_rows(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_vectors_and_tiles_of_both_float_types(dtype: Any) -> None:
    V = 64 // np.dtype(dtype).itemsize
    x = GENERATOR.normal(size=(2, V)).astype(dtype)
    out = np.empty((6, V), dtype)
    total = compiled(_vector_operations)(x, 3, out)
    a, b = x
    inside = np.arange(V) < 3
    for row, expected in enumerate([a + b, a - b, a * b, None, np.maximum(a, b), np.where(inside, a, -1)]):
        if expected is not None:
            np.testing.assert_array_equal(out[row], expected)
    exact_fma = (a.astype(np.longdouble) * b + 0.5).astype(dtype)  # exact enough to round once
    np.testing.assert_array_max_ulp(out[3], exact_fma, 1)
    halves = a if V == 8 else a[:8] + a[8:]
    while halves.size > 1:
        halves = halves[::2] + halves[1::2]
    assert total == halves[0]

    n_rows = V // 2  # of a tile as wide as a panel
    A, B = GENERATOR.normal(size=(n_rows, 2)).astype(dtype), GENERATOR.normal(size=(2, 16)).astype(dtype)
    group = GENERATOR.normal(size=(3, 2, 16)).astype(dtype)
    C, sums = np.empty((n_rows, 16), dtype), np.ones((2, 2), dtype)
    assert compiled(_tile_operations)(A, B, group, C, sums) == n_rows
    np.testing.assert_allclose(C, A[:, :1] + A @ B, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums[:, 1], np.einsum("pis,ps->i", group, group[:, 1]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(sums[:, 0], [1 + group[:, 1].sum(), 1], rtol=1e-4, atol=1e-5)


def test_one_sum_for_every_shape_of_tile() -> None:
    """Gradients of a parameter have the same bits wherever it lies among the tiles."""
    x, dL_dy = GENERATOR.normal(size=(1, 48)), GENERATOR.normal(size=(1, 48))
    for n_out, n_in in [(1, 1), (4, 2), (1, 8), (2, 8), (3, 11), (9, 3)]:
        dL_dW, dL_db = np.zeros((n_out, n_in)), np.zeros((n_out, 1))
        groups = panels_of(dL_dy.repeat(n_out, 0)), panels_of(x.repeat(n_in, 0))
        entry.linear_backward_parameters(*groups, dL_dW, dL_db, True, None)
        assert np.unique(dL_dW).size == 1
        assert np.unique(dL_db).size == 1
        if n_out == n_in == 1:
            first = dL_dW[0, 0], dL_db[0, 0]
        assert (dL_dW[0, 0], dL_db[0, 0]) == first


_OUTSIDE = {
    "a column of W": "linear_forward(ones(4, 1), ones(4, 1), ones(1, 2, 16), ones(1, 4, 16), False, None, "
    "None)",
    "half a panel": "linear_forward(ones(4, 2), ones(4, 1), ones(1, 2, 8), ones(1, 4, 8), False, None, None)",
    "the end of a vector": 'activation_forward["relu"](ones(1, 12), 0.0, ones(1, 12), ones(1, 12))',
    "too few parameters": "predict(network._replace(parameters=ones(104)), None, ones(1, 1, 2, 16), "
    "workspace, ones(1, 1, 1, 16))",
    "too few iterations": "train(network, None, workspace, Batches(ones(2, 1, 2, 16), ones(1, 1, 1, 16), "
    "ones(2, 1, 1, 16), ones(2, 1, 0, 16)), Criterion(ones(5)), Rule(ones(0), ones(0)), "
    "ones(2), np.zeros(1, np.uint8), ones(2))",
    "too few addresses": "predict(network, array('q', [0] * 5), ones(1, 1, 2, 16), "
    "workspace, ones(1, 1, 1, 16))",
    "a workspace too small": "fill_uniform(Stream(np.ones(8, np.uint32), np.uint64(0), np.uint64(0), 100), "
    "52, ones(2), ones(2), 16, np.ones(128 * 4, np.uint64), ones(3, 1, 2, 320))",
}


@pytest.mark.slow  # compiles with bounds checks
@pytest.mark.parametrize("name", list(_OUTSIDE))
def test_bounds_checks_reach_every_kind_of_access(name: str) -> None:
    program = f"""
from array import array
import numpy as np
from crabnet_jit.kernels.entries import *
from crabnet_jit.kernels.layout import make_layout
from crabnet_jit.kernels.structs import Batches, Criterion, Network, Rule, Stream, Workspace
ones = lambda *shape: np.ones(shape)
network = Network(make_layout([2, 8, 8, 1]), ones(3), ones(105))
workspace = Workspace(ones(272), ones(272), ones(272), ones(105), None, None, None)
try:
    {_OUTSIDE[name]}
except IndexError as error:
    print(error)
"""
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == "index is out of bounds\n", result.stderr
