"""Networks as functions in code that Numba compiles, and what calls them from elsewhere.

The truth is a network in plain NumPy with numbers of more digits: benchmarks/truth.py.
"""

import ctypes
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import guvectorize, njit, prange, vectorize
from numba.core.errors import TypingError
from numba.core.runtime import _nrt_python, rtsys

from benchmarks.truth import FORMULAS, LONG, exact, random_net
from crabnet_jit import (
    ELU,
    GELU,
    NN,
    CustomActivation,
    InvalidArgumentError,
    Softplus,
    Tanh,
    Trainer,
    UniformSource,
    fit,
    load,
    save,
)
from crabnet_jit.data.labels import Labels
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.kernels.point_entries import derivatives_of_rows, predict_few_rows
from crabnet_jit.machine.network_type import NetworkType
from crabnet_jit.network.record import Record
from crabnet_jit.network.schema import Schema

needs_long_doubles = pytest.mark.skipif(
    bool(np.finfo(LONG).eps > 1e-18), reason="long double has no more digits than float64 here"
)


# ---- functions of a user ----


@njit
def call_1(net: Any, x0: Any) -> Any:
    return net(x0)


@njit
def call_2(net: Any, x0: Any, x1: Any) -> Any:
    return net(x0, x1)


@njit
def gradient_2(net: Any, x0: Any, x1: Any) -> Any:
    return net.gradient(x0, x1)


@njit
def count_inside(net: Any, x: Any) -> Any:
    n = 0
    for k in range(x.shape[0]):
        n += net.is_inside(x[k, 0], x[k, 1])
    return n


@njit
def predict_into(net: Any, x: Any, y: Any) -> None:
    net.predict_into(x, y)


@njit
def jacobian_into(net: Any, x: Any, J: Any) -> None:
    net.jacobian_into(x, J)


@njit
def hessian_into(net: Any, x: Any, H: Any) -> None:
    net.hessian_into(x, H)


@njit
def all_of(net: Any, x: Any, y: Any, J: Any, H: Any, n: Any) -> Any:
    total = 0.0
    for _ in range(n):
        total += net(x[0], x[1]) + net.gradient(x[0], x[1])[0]
        net.predict_into(x, y)
        net.jacobian_into(x, J)
        net.hessian_into(x, H)
    return total


def loop_over(net: Any) -> Any:
    """A function that has the network as a constant."""

    @njit
    def call(x0: Any, x1: Any) -> Any:
        return net(x0, x1)

    return call


def ufuncs_of(net: Any) -> tuple[Any, Any]:
    """Ufuncs: its value for numbers, and the second entry of its gradient for rows."""

    @vectorize(["float64(float64, float64)"])
    def of_numbers(x0: float, x1: float) -> Any:
        return net(x0, x1)

    @guvectorize(["void(float64[:], float64[:])"], "(n)->()")
    def of_rows(x: Any, y: Any) -> None:
        y[0] = net.gradient(x[0], x[1])[1]

    return of_numbers, of_rows


def tanh_net(seed: int = 1, hidden: tuple[int, ...] = (16, 16), n_out: int = 1, **options: Any) -> NN:
    options = {"activation": "tanh", "init": "glorot_uniform", **options}
    return NN(2, hidden, n_out, seed, **options)


POINT = np.array([0.3, -0.7])
X = np.random.default_rng(0).normal(size=(200, 2))


@pytest.fixture(scope="module")
def fitted() -> NN:
    return fit(X, np.sin(X[:, 0]) + X[:, 1], n_iterations=30, seed=1)


def classifier(task: str) -> NN:
    if task == "multilabel":
        return fit(X, (X > 0).astype(int), n_iterations=20, seed=1, loss="binary_cross_entropy")
    labels = np.where(X[:, 0] > 0, "a", "b")
    if task == "one output":
        return fit(X, labels, n_iterations=20, seed=1, loss="binary_cross_entropy")
    labels[X[:, 1] > 1] = "c"
    return fit(X, labels, n_iterations=20, seed=1)


# ---- values ----


def test_values_are_those_of_predict_as_argument_and_as_constant(fitted: NN) -> None:
    nets = [tanh_net(), tanh_net(dtype="float32"), NN(2, [], 1, 1), NN(2, [3, 40, 1], 1, 2), fitted]
    for net in nets:
        tolerance = 1e-5 if net.dtype == np.float32 else 1e-13
        expected = net.predict(POINT[None]).item()
        assert call_2(net, *POINT) == pytest.approx(expected, rel=tolerance)
        assert call_2(net, *POINT) == loop_over(net)(*POINT)
    assert len(call_2.signatures) == 1  # one compilation for all


def test_a_network_from_fit_gives_what_predict_gives() -> None:
    for dtype, tolerance in (("float64", 1e-13), ("float32", 1e-5)):
        net = fit(X, 100 + X @ [1.0, 2.0], n_iterations=100, seed=1, dtype=dtype)
        y, expected = np.empty((200, 1)), net.predict(X)
        predict_into(net, X, y)
        assert np.abs(y[:, 0] - expected).max() <= tolerance * np.abs(expected).max()


def test_any_real_numbers_are_taken() -> None:
    net = tanh_net()
    assert call_2(net, 1, True) == call_2(net, 1.0, 1.0) == call_2(net, np.float32(1), np.int8(1))


def test_several_outputs_are_a_tuple() -> None:
    net = tanh_net(n_out=3)
    values = call_2(net, *POINT)
    assert isinstance(values, tuple)
    np.testing.assert_allclose(values, net.predict(POINT[None])[0], rtol=1e-13)


@pytest.mark.parametrize("task", ["one output", "classes", "multilabel"])
def test_classifiers_give_probabilities_and_derivatives_of_logits(task: str) -> None:
    net = classifier(task)
    np.testing.assert_allclose(call_2(net, *POINT), net.predict_proba(POINT[None])[0], rtol=1e-12)
    np.testing.assert_allclose(net.freeze()(*POINT), net.predict_proba(POINT[None])[0], rtol=1e-12)
    step = np.array([1e-6, 0.0])
    slope = (net.get_output([POINT + step]) - net.get_output([POINT - step])) / 2e-6
    np.testing.assert_allclose(net.jacobian(POINT[None])[0, :, 0], slope[0], rtol=1e-7, atol=1e-9)


def test_arrays_are_filled_for_one_sample_and_for_many() -> None:
    net, x = tanh_net(n_out=3), X[:7].copy()
    for fill, shape, of_python in (
        (predict_into, (3,), net.predict),
        (jacobian_into, (3, 2), net.jacobian),
        (hessian_into, (3, 2, 2), net.hessian),
    ):
        many, one = np.full((7, *shape), np.nan), np.full(shape, np.nan)
        fill(net, x, many)
        fill(net, x[2], one)
        np.testing.assert_array_equal(many[2], one)
        np.testing.assert_allclose(many, of_python(x), rtol=1e-12, atol=1e-15)
        fill(net, x[:0], many[:0])


def test_training_is_seen_by_later_calls() -> None:
    net = tanh_net()
    of_constant, pointer = loop_over(net), net.cfunc()
    frozen = net.freeze()
    before = of_constant(*POINT)
    assert frozen(*POINT) == pytest.approx(before, rel=1e-13)
    Trainer(
        net, UniformSource(lambda x: x[:, 0] + x[:, 1], low=[-1, -1], high=[1, 1], rng=1), learning_rate=0.5
    ).run(50)
    net.standardization = Standardization(np.ones(2), np.full(2, 2.0), np.ones(1), np.full(1, 3.0))
    after = net.predict(POINT[None]).item()
    assert abs(after - before) > 0.1
    assert of_constant(*POINT) == call_2(net, *POINT) == pytest.approx(after, rel=1e-13)
    x, y = (ctypes.c_double * 2)(*POINT), (ctypes.c_double * 1)()
    pointer.ctypes(x, y)
    assert y[0] == of_constant(*POINT)
    assert frozen(*POINT) == pytest.approx(before, rel=1e-13)  # of then


def test_other_classes_than_the_code_was_compiled_for_are_nan_and_nothing_else_is_written() -> None:
    net: Any = NN(2, [4], 1, 1)
    memory = np.full(8, 7.0)

    @njit
    def fill(x: Any, y: Any) -> None:
        net.predict_into(x, y)

    fill(POINT, memory[:1])
    net.schema = classifier("one output").schema
    fill(POINT, memory[:1])
    assert np.isnan(memory[0])
    assert (memory[1:] == 7).all()


# ---- where it may be called ----


def test_nothing_is_allocated_in_a_call() -> None:
    nets = tanh_net(), tanh_net(dtype="float32")
    arrays = POINT, np.empty(1), np.empty((1, 2)), np.empty((1, 2, 2))
    _nrt_python.memsys_enable_stats()

    def allocations(net: NN, n: int) -> int:
        before = rtsys.get_allocation_stats()
        all_of(net, *arrays, n)
        return int(rtsys.get_allocation_stats().alloc - before.alloc)

    try:
        for net in nets:
            all_of(net, *arrays, 1)
            assert allocations(net, 1000) == allocations(net, 0)  # those of the arguments
    finally:
        _nrt_python.memsys_disable_stats()


def test_in_parallel_loops() -> None:
    net: Any = tanh_net()
    expected = net.predict(X).sum()

    @njit(parallel=True)
    def of_argument(net: Any, x: Any) -> Any:
        total = 0.0
        for k in prange(x.shape[0]):
            total += net(x[k, 0], x[k, 1])
        return total

    @njit(parallel=True)
    def of_constant(x: Any) -> Any:
        total = 0.0
        for k in prange(x.shape[0]):
            total += net(x[k, 0], x[k, 1])
        return total

    assert of_argument(net, X) == pytest.approx(expected, rel=1e-12)
    assert of_constant(X) == pytest.approx(expected, rel=1e-12)


def test_in_recursion() -> None:
    @njit
    def iterated(net: Any, x: Any, n: Any) -> Any:
        if n == 0:
            return x
        return iterated(net, net(x, 0.5), n - 1)

    net, x = tanh_net(), 0.1
    for _ in range(50):
        x = call_2(net, x, 0.5)
    assert iterated(net, 0.1, 50) == x


def test_ten_million_calls_do_not_grow_the_stack() -> None:
    @njit
    def total(net: Any, n: Any) -> Any:
        result = 0.0
        for k in range(n):
            result += net(k * 1e-7, 0.5)
        return result

    assert np.isfinite(total(NN(2, [2], 1, 1), 10_000_000))


def test_layers_of_1024_units() -> None:
    net = tanh_net(hidden=(1024, 1024))
    H = np.empty((1, 2, 2))
    assert call_2(net, *POINT) == pytest.approx(net.predict(POINT[None]).item(), rel=1e-11)
    hessian_into(net, POINT, H)
    np.testing.assert_array_equal(H, net.hessian(POINT[None])[0])


def test_a_network_that_the_stack_might_not_hold_is_refused() -> None:
    net = NN(2, [20_000], 1, 1)
    with pytest.raises(TypingError, match="limited to 16,384 inputs and units"):
        call_2(net, *POINT)
    with pytest.raises(InvalidArgumentError, match="limited to 16,384 inputs and units"):
        net.jacobian(POINT[None])
    assert np.isfinite(net.predict(POINT[None]))


@pytest.mark.filterwarnings("error")
def test_ufuncs_raise_no_flags() -> None:
    """Not even for numbers that are not there: 3 of 4, 3 of 8, 9 of 16."""
    for activation in (Tanh(), ELU(), Softplus(), GELU("tanh")):
        net = NN(2, [3, 9], 1, 1, activation=activation, init="glorot_uniform")
        of_numbers, of_rows = ufuncs_of(net)
        with np.errstate(all="raise", under="ignore"):
            np.testing.assert_allclose(of_numbers(X[:, 0], X[:, 1]), net.predict(X)[:, 0], rtol=1e-11)
            np.testing.assert_allclose(of_rows(X), net.gradient(X)[:, 1], rtol=1e-11)


def test_compiled_code_keeps_its_networks_alive_no_longer_than_itself() -> None:
    """Also when the name in it stands for something else by then."""
    net = tanh_net()
    expected, watched = call_2(net, *POINT), weakref.ref(net)
    inner = loop_over(net)
    outer = loop_over(inner)
    outer(*POINT)
    inner.py_func.__closure__[0].cell_contents = None
    del net, inner
    gc.collect()
    assert watched() is not None
    assert outer(*POINT) == expected
    del outer
    gc.collect()
    assert watched() is None


def test_eight_threads_at_once_give_the_same_bits_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_record(*arguments: Any) -> Any:
        made = Record(*arguments)
        time.sleep(0.02)
        return made

    monkeypatch.setattr("crabnet_jit.network.record.Record", slow_record)
    net, rows = tanh_net(), [X[k : k + 1].copy() for k in range(200)]
    expected = [net.predict(row).tobytes() for row in rows]
    fresh = pickle.loads(pickle.dumps(net))  # without a record: they all make it
    barrier = threading.Barrier(8)

    def work(_: int) -> tuple[Any, Any, int]:
        barrier.wait()
        address = fresh._record_address
        return [fresh.predict(row).tobytes() for row in rows], call_2(fresh, *POINT), address

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert all(bits == expected for bits, _, _ in found)
    assert len({value for _, value, _ in found}) == 1
    assert {address for _, _, address in found} == {fresh.record.address}


def test_read_only_rows_are_taken_without_compiling() -> None:
    net, row = tanh_net(), POINT[None].copy()
    net.predict(row), net.jacobian(row)
    kernels = [predict_few_rows[net.dtype], derivatives_of_rows]
    before = [len(kernel.signatures) for kernel in kernels]
    read_only = row.copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(net.predict(read_only), net.predict(row))
    np.testing.assert_array_equal(net.jacobian(read_only), net.jacobian(row))
    assert [len(kernel.signatures) for kernel in kernels] == before


# ---- mistakes ----


@pytest.mark.parametrize(
    ("arguments", "came"),
    [((1.0,), "float64"), ((), "nothing"), ((1.0, 2.0, 3.0), "float64, float64, float64"),
     ((1j, 2.0), "complex128"), (("a", 2.0), "unicode_type"), ((POINT, 2.0), "array")],
)  # fmt: skip
def test_wrong_numbers_are_typing_errors_that_say_how_many(arguments: Any, came: str) -> None:
    @njit
    def call(net: Any, x: Any) -> Any:
        return net(*x)

    @njit
    def gradient(net: Any, x: Any) -> Any:
        return net.gradient(*x)

    @njit
    def is_inside(net: Any, x: Any) -> Any:
        return net.is_inside(*x)

    net = tanh_net()
    for function in (call, gradient, is_inside):
        with pytest.raises(TypingError, match=f"takes 2 real numbers, one for each input, got .*{came}"):
            function(net, arguments)
    with pytest.raises(TypingError, match=f"takes 2 real numbers, one for each input, got .*{came}"):
        net.freeze()(*arguments)


def test_names_of_arguments_and_gradients_of_several_outputs_are_refused() -> None:
    @njit
    def by_name(net: Any) -> Any:
        return net(x0=1.0, x1=2.0)

    with pytest.raises(TypingError, match="takes 2 real numbers, one for each input, got x0=float64"):
        by_name(tanh_net())
    with pytest.raises(TypingError, match=r"net\.gradient needs one output, not 3"):
        gradient_2(tanh_net(n_out=3), 1.0, 2.0)


READ_ONLY = np.zeros((5, 3))
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("x", "y", "error"),
    [
        (np.ones((5, 2)), np.ones((4, 3)), ValueError),
        (np.ones((5, 3)), np.ones((5, 3)), ValueError),
        (np.ones((5, 2)), np.ones((5, 2)), ValueError),
        (np.ones(3), np.ones(3), ValueError),
        (np.asfortranarray(np.ones((5, 2))), np.ones((5, 3)), TypingError),
        (np.ones((10, 2))[::2], np.ones((5, 3)), TypingError),
        (np.ones((5, 2), np.float32), np.ones((5, 3)), TypingError),
        (np.ones((5, 2), int), np.ones((5, 3)), TypingError),
        (np.ones(2), np.ones((5, 3)), TypingError),
        (np.ones((5, 2)), READ_ONLY, TypingError),
        (1.0, np.ones(3), TypingError),
    ],
)
def test_wrong_arrays_are_errors(x: Any, y: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"net.predict_into takes .*x \(2,\) and y \(3,\)"):
        predict_into(tanh_net(n_out=3), x, y)


def test_a_type_of_another_version_is_another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    old = pickle.dumps(NetworkType(2, 1, 1))
    assert pickle.loads(old) == NetworkType(2, 1, 1)
    monkeypatch.setattr("crabnet_jit.machine.network_type._VERSION", 99)
    assert pickle.loads(old) != NetworkType(2, 1, 1)


# ---- activations of users ----


def _square(x: float) -> float:
    if x > 50:
        raise ValueError("too large")
    return x * x


def _twice(x: float) -> float:
    return 2 * x


def test_activations_of_users_have_values_and_first_derivatives() -> None:
    net = NN(2, [4], 1, 1, activation=CustomActivation(_square, _twice))
    assert call_2(net, *POINT) == pytest.approx(net.predict(POINT[None]).item(), rel=1e-13)
    step = 1e-5
    slopes = [
        (net.predict([POINT + e]) - net.predict([POINT - e])).item() / (2 * step)
        for e in step * np.identity(2)
    ]
    np.testing.assert_allclose(gradient_2(net, *POINT), slopes, rtol=1e-8)
    H = np.zeros((1, 2, 2))
    hessian_into(net, POINT, H)
    assert np.isnan(H).all()
    for refused in (net.hessian, net.laplacian):
        with pytest.raises(InvalidArgumentError, match="CustomActivation"):
            refused(POINT[None])
    with pytest.raises(InvalidArgumentError, match="CustomActivation"):
        net.freeze()


def test_an_exception_in_them_is_raised_in_compiled_code_and_nan_in_c_functions() -> None:
    net = NN(2, [4], 1, 1, activation=CustomActivation(_square, _twice))
    with pytest.raises(ValueError, match="too large"):
        call_2(net, 100.0, 100.0)
    x, *results = ((ctypes.c_double * n)(*[100.0] * n) for n in (2, 1, 2, 4))
    net.cfunc("hessian").ctypes(x, *results)
    assert all(np.isnan(numbers).all() for numbers in results)
    value = net.low_level_callable().function
    assert np.isnan(value(2, x))


# ---- C functions and frozen networks ----


def test_c_functions_fill_what_their_kind_says() -> None:
    net, one = tanh_net(n_out=3), tanh_net()
    for kind, shapes in (
        ("value", [(3,)]),
        ("jacobian", [(3,), (3, 2)]),
        ("hessian", [(3,), (3, 2), (3, 2, 2)]),
    ):
        arrays = [POINT, *map(np.empty, shapes)]
        net.cfunc(kind).ctypes(*(a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for a in arrays))
        of_python = [net.predict, net.jacobian, net.hessian]
        for array, function in zip(arrays[1:], of_python, strict=False):
            np.testing.assert_allclose(array, function(POINT[None])[0], rtol=1e-12, atol=1e-15)
    with pytest.raises(InvalidArgumentError, match="jacobian for several outputs"):
        net.cfunc("gradient")
    with pytest.raises(InvalidArgumentError, match="kind must be one of"):
        one.cfunc("laplacian")


def test_scipy_integrates_and_filters_with_the_network() -> None:
    integrate, ndimage = (pytest.importorskip(f"scipy.{name}") for name in ("integrate", "ndimage"))
    net = tanh_net()
    box = [[0.0, 1.0], [-1.0, 1.0]]
    expected, _ = integrate.nquad(loop_over(net), box)
    function, for_images = net.low_level_callable("nquad"), net.low_level_callable("generic_filter")
    image = np.random.default_rng(1).normal(size=(6, 7))
    pairs = np.stack([image[:, :-1], image[:, 1:]], axis=-1)
    predictions = net.predict(pairs.reshape(-1, 2)).reshape(6, 6)
    del net
    gc.collect()  # the functions own it now
    assert integrate.nquad(function, box)[0] == pytest.approx(expected, rel=1e-12)
    filtered = ndimage.generic_filter(image, for_images, size=(1, 2))
    np.testing.assert_allclose(filtered[:, 1:], predictions, rtol=1e-12)
    assert np.isnan(function.function(1, (ctypes.c_double * 1)(0.5)))  # one input, not two


@pytest.mark.parametrize(("net", "came"), [("several", "3 outputs"), ("classes", "a classifier")])
def test_scipy_gets_no_pointer_without_a_single_number(net: str, came: str) -> None:
    of_one = tanh_net(n_out=3) if net == "several" else classifier("one output")
    with pytest.raises(InvalidArgumentError, match=came):
        of_one.low_level_callable()


def test_frozen_networks_give_what_the_network_gives() -> None:
    rng = np.random.default_rng(3)
    for sizes in ([2, 1], [2, 9, 3], [2, 16, 16, 1], [2, 5, 17, 8, 2]):
        for dtype in (np.float64, np.float32):
            net, _ = random_net(rng, dtype, sizes)
            expected = np.atleast_1d(call_2(net, *POINT))
            tolerance: Any = {"rtol": 1e-12} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
            np.testing.assert_allclose(np.atleast_1d(net.freeze()(*POINT)), expected, **tolerance)
    assert net.freeze()(1, True) == net.freeze()(1.0, 1.0)


# ---- the box of the inputs of the fit ----


def test_inside_is_the_box_of_the_fit_also_in_compiled_code_and_files(fitted: NN, tmp_path: Path) -> None:
    x = 1.3 * X
    expected = ((x >= X.min(axis=0)) & (x <= X.max(axis=0))).all(axis=1)
    save(fitted, tmp_path / "net.npz")
    for net in (fitted, load(tmp_path / "net.npz"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(net.is_inside(x), expected)
        assert count_inside(net, x) == expected.sum() < 200
        assert net.is_inside(X).all()
        assert count_inside(net, X) == 200  # the border included
        assert count_inside(net, np.full((1, 2), np.nan)) == 0
    assert fit(X, X[:, 0], n_iterations=5, dtype="float32").is_inside(X).all()


def test_predictions_outside_of_the_box(fitted: NN) -> None:
    x = np.array([[0.0, 0.0], [100.0, 0.0]])
    plain = fitted.predict(x)
    np.testing.assert_array_equal(fitted.predict(x, outside="ignore"), plain)
    np.testing.assert_array_equal(fitted.predict(x, outside="nan"), [plain[0], np.nan])
    with pytest.warns(RuntimeWarning, match="1 of 2 samples lie outside") as caught:
        np.testing.assert_array_equal(fitted.predict(x, outside="warn"), plain)
    assert caught[0].filename == __file__
    with pytest.raises(InvalidArgumentError, match="the first at index 1"):
        fitted.predict(x, outside="raise")
    with pytest.raises(InvalidArgumentError, match="outside must be one of ignore, warn, nan, raise"):
        fitted.predict(x, outside="no")
    with pytest.raises(InvalidArgumentError, match="classifier, whose labels cannot be NaN"):
        classifier("classes").predict(x[:1], outside="nan")


def test_a_network_without_a_fit_has_no_box() -> None:
    net = tanh_net()
    for ask in (lambda: net.is_inside(POINT[None]), lambda: net.predict(POINT[None], outside="warn")):
        with pytest.raises(InvalidArgumentError, match="net must be fitted"):
            ask()
    with pytest.raises(ValueError, match="needs a fitted network"):
        count_inside(net, X)


# ---- on disk ----

MODULE = """
import sys
import numpy as np
from numba import njit, prange
from crabnet_jit import NN, CustomActivation

def network(seed, sizes, **options):
    return NN(2, sizes, 1, seed, init="glorot_uniform", **options)

seed = int(sys.argv[1])
net, other = network(seed, [16, 16], activation="tanh"), network(seed, [5] * seed, activation="gelu")
frozen = net.freeze()
pair = net, other

@njit
def inner(x0, x1):
    return net(x0, x1)

@njit(cache=True)
def of_global(x0, x1):
    return net(x0, x1)

@njit(cache=True)
def of_inner(x0, x1):
    return inner(x0, x1)

@njit(cache=True)
def of_frozen(x0, x1):
    return frozen(x0, x1)

@njit(cache=True)
def of_pair(x0, x1):
    return pair[0](x0, x1)

@njit(cache=True)
def of_default(x0, x1, function=net):
    return function(x0, x1)

@njit(cache=True, parallel=True)
def of_parallel(x0, x1):
    total = 0.0
    for k in prange(4):
        total += net(x0, x1)
    return total / 4

@njit(cache=True)
def of_argument(net, x, y, J, H):
    net.predict_into(x, y)
    net.jacobian_into(x, J)
    net.hessian_into(x, H)
    return net(x[0], x[1]) + net.gradient(x[0], x[1])[0]

@njit(cache=True)
def value_of(net, x0, x1):
    return net(x0, x1)

x = np.array([0.3, -0.7])
constants = of_global, of_inner, of_frozen, of_pair, of_default, of_parallel
for function in constants:
    assert abs(function(*x) - net.predict(x[None]).item()) < 1e-13, function
for n in (net, other):
    y, J, H = np.empty(1), np.empty((1, 2)), np.empty((1, 2, 2))
    total = of_argument(n, x, y, J, H)
    assert abs(total - n.predict(x[None]).item() - n.gradient(x[None])[0, 0]) < 1e-13
    assert np.array_equal(J, n.jacobian(x[None])[0]) and np.array_equal(H, n.hessian(x[None])[0])
net.parameters *= 0.5
assert abs(of_global(*x) - net.predict(x[None]).item()) < 1e-13
square = CustomActivation(lambda x: seed * x * x, lambda x: 2 * seed * x)
of_user = network(3, [4], activation=square)
assert abs(value_of(of_user, *x) - of_user.predict(x[None]).item()) < 1e-13
print([sum(f.stats.cache_hits.values()) for f in (*constants, of_argument, value_of)])
"""


def test_functions_that_numba_keeps_on_disk_are_right_in_the_next_process(tmp_path: Path) -> None:
    """Those that have a network in them are compiled again, with a warning; one serves all as arguments."""
    (tmp_path / "functions.py").write_text(MODULE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    hits = []
    for seed in (1, 2):
        command = [sys.executable, str(tmp_path / "functions.py"), str(seed)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Cannot cache compiled function") == 6
        hits.append(done.stdout)
    assert hits == ["[0, 0, 0, 0, 0, 0, 0, 0]\n", "[0, 0, 0, 0, 0, 0, 1, 1]\n"]


# ---- derivatives ----


@needs_long_doubles
@pytest.mark.parametrize("k", range(len(FORMULAS)))
@pytest.mark.parametrize("n_out", [1, 3])
def test_derivatives_against_differences_of_the_truth(k: int, n_out: int) -> None:
    rng, (activation, formula) = np.random.default_rng(k), FORMULAS[k]
    net = NN(2, [9, 4], n_out, 1, activation=activation, output_activation="tanh", init="glorot_normal")
    net.standardization = Standardization(*(rng.uniform(0.5, 2.0, n) for n in (2, 2, n_out, n_out)))
    x = rng.normal(size=(5, 2))
    formulas: list[Callable[[Any], Any]] = [formula, formula, np.tanh]

    def at(*steps: Any) -> Any:
        return exact(net, formulas, x.astype(LONG) + sum(steps))

    small, large = LONG(1e-7) * np.identity(2), LONG(1e-4) * np.identity(2)
    J = np.stack([(at(e) - at(-e)) / LONG(2e-7) for e in small], axis=-1)
    found = net.jacobian(x)
    np.testing.assert_allclose(found, J.astype(float), rtol=1e-10, atol=1e-11)
    H = [[(at(d, e) - at(d, -e) - at(-d, e) + at(-d, -e)) / LONG(4e-8) for e in large] for d in large]
    second = net.hessian(x)
    np.testing.assert_allclose(second, np.moveaxis(np.array(H, float), (0, 1), (2, 3)), rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(net.laplacian(x), np.trace(second, axis1=2, axis2=3))
    if n_out == 1:
        np.testing.assert_array_equal(net.gradient(x), found[:, 0])


def test_derivatives_in_float32() -> None:
    net, other = tanh_net(n_out=3, hidden=(9, 9)), tanh_net(n_out=3, hidden=(9, 9), dtype="float32")
    other.parameters = net.parameters.astype(np.float32)
    np.testing.assert_allclose(other.jacobian(X), net.jacobian(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(other.hessian(X), net.hessian(X), rtol=1e-4, atol=1e-5)


def test_several_outputs_have_no_gradient() -> None:
    with pytest.raises(InvalidArgumentError, match="3 outputs"):
        tanh_net(n_out=3).gradient(POINT[None])


# ---- many networks ----


def check_random_net(rng: np.random.Generator, n_in: int, n_out: int) -> None:
    """Errors against the truth at most 4 times those of `predict`, whose bits do not depend on the rows."""
    dtype = (np.float64, np.float32)[rng.integers(2)]
    sizes = [n_in, *rng.integers(1, 41, rng.integers(6)).tolist(), n_out]
    net, formulas = random_net(rng, dtype, sizes)
    x = rng.normal(size=(70, n_in))
    if dtype == np.float32 and net.standardization is None:
        x = x.astype(np.float32).astype(float)
    expected, predicted, y = exact(net, formulas, x), net.predict(x), np.empty((70, n_out))
    predict_into(net, x, y)
    largest = np.abs(expected).max()
    by_predict, by_call = (float(np.abs(found - expected).max()) for found in (predicted, y))
    assert by_call <= 4 * by_predict + np.finfo(dtype).eps * largest, (sizes, net.activations, dtype)
    for n in (1, 7, 16, 64):
        np.testing.assert_array_equal(net.predict(x[:n].copy()), predicted[:n])


@needs_long_doubles
def test_a_few_random_networks() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        check_random_net(rng, 2, 3)


@pytest.mark.fuzz
@pytest.mark.slow
@needs_long_doubles
@pytest.mark.parametrize("n_in", [1, 3, 8, 17, 40])
@pytest.mark.parametrize("n_out", [1, 9])
def test_a_thousand_random_networks(n_in: int, n_out: int) -> None:
    rng = np.random.default_rng(n_in * 100 + n_out)
    for _ in range(100):
        check_random_net(rng, n_in, n_out)


def test_numba_knows_networks_by_their_numbers_of_inputs_and_outputs(fitted: NN) -> None:
    assert numba.typeof(fitted) == numba.typeof(tanh_net()) == NetworkType(2, 1, 1)
    assert numba.typeof(classifier("one output")) == NetworkType(2, 1, 2)
    assert call_1(NN(1, [], 1, init=[2.0, 1.0]), 3) == 7.0


def test_a_small_probability_has_all_its_digits() -> None:
    """Of the first of two classes, too: not 1 - p."""
    net = NN(1, [], 1, init=[1.0, 0.0])
    net.schema = Schema(labels=Labels.numbered(2), task="classification")
    for z in (-50.0, 50.0):
        expected = np.array([1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))])
        np.testing.assert_allclose(net.predict_proba([[z]])[0], expected, rtol=1e-14)
        np.testing.assert_allclose(call_1(net, z), expected, rtol=1e-14)
