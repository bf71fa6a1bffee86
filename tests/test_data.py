"""Sources: data sets in minibatches, and functions sampled on a box."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import plain
import pytest

from crabnet_jit import (
    NN,
    ArraySource,
    InvalidArgumentError,
    StandardGaussian,
    StdRng,
    Trainer,
    UniformSource,
)
from crabnet_jit.data.sources import new_batches


def numbered(n: int, in_features: int = 2, out_features: int = 1) -> tuple[Any, Any]:
    """Samples that can be told apart: the first input is the sample's number."""
    x = np.random.default_rng(n).normal(size=(n, in_features))
    x[:, 0] = np.arange(n)
    return x, np.sin(x[:, :1] + np.arange(out_features))


def order_of(source: ArraySource, epoch: int = 0) -> list[int]:
    first = epoch * source.n_batches
    return [int(x) for i in range(first, first + source.n_batches) for x in source.batch(i)[0][:, 0]]


def chunk_of(source: Any, first: int, n: int, dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    """Panels as a trainer hands them over."""
    batches = new_batches(n, source.in_features, source.out_features, source.batch_size, dtype)
    source.fill(first, batches)
    return batches.x, batches.target, batches.weight


def small_net(
    in_features: int = 2, hidden: tuple[int, ...] = (5,), out_features: int = 1, **options: Any
) -> NN:
    return NN(in_features, hidden, out_features, rng=3, init="glorot_uniform", **options)


# ---- data sets ----


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17, 100, 129, 300])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 16, 32, 128, 1000])
def test_every_epoch_is_a_permutation_of_the_data(n: int, batch_size: int) -> None:
    x, y = numbered(n)
    source = ArraySource(x, y, batch_size, rng=1)
    assert source.n_samples == n
    assert source.batch_size == min(n, batch_size)
    assert source.n_batches == -(-n // batch_size)
    for epoch in range(3):
        order = order_of(source, epoch)
        assert sorted(order) == list(range(n))
        if n >= 16 > batch_size:
            assert order != list(range(n))
    sizes = [len(source.batch(i)[0]) for i in range(source.n_batches)]
    assert sizes[:-1] == [source.batch_size] * (source.n_batches - 1)
    assert sum(sizes) == n


def test_inputs_and_targets_stay_together() -> None:
    x, y = numbered(50, 3, 2)
    source = ArraySource(x, y, 7, rng=1)
    for iteration in range(20):
        inputs, targets = source.batch(iteration)
        rows = inputs[:, 0].astype(int)
        np.testing.assert_array_equal(inputs, x[rows])
        np.testing.assert_array_equal(targets, y[rows])


@pytest.mark.parametrize("batch_size", [1, 4, 10, 99])
def test_without_shuffle_the_order_is_the_datas(batch_size: int) -> None:
    source = ArraySource(*numbered(10), batch_size, shuffle=False)
    for epoch in range(3):
        assert order_of(source, epoch) == list(range(10))


def test_order_depends_on_epoch_and_seed_only() -> None:
    x, y = numbered(40)
    source = ArraySource(x, y, 8, rng=1)
    orders = [order_of(source, epoch) for epoch in range(5)]
    assert len(set(map(tuple, orders))) == 5
    assert [order_of(source, epoch) for epoch in (4, 0, 3, 1, 2)] == [orders[k] for k in (4, 0, 3, 1, 2)]
    for epoch in (4, 1):
        assert order_of(ArraySource(x, y, 8, rng=1), epoch) == orders[epoch]
        assert order_of(ArraySource(x, y, 5, rng=1), epoch) == orders[epoch]  # whatever the batches
        assert order_of(ArraySource(-y, y, 8, rng=1), epoch) != orders[epoch]
        assert order_of(ArraySource(x, y, 8, rng=2), epoch) != orders[epoch]
        assert order_of(ArraySource(x, y, 8, rng=StdRng(1, stream=1)), epoch) != orders[epoch]


def test_generator_does_not_move_and_may_move_on() -> None:
    rng = StdRng(1)
    x, y = numbered(40)
    source = ArraySource(x, y, 8, rng=rng)
    assert rng.position == 0
    first = order_of(source)
    rng.position = 12345
    assert order_of(source) == first
    assert order_of(ArraySource(x, y, 8, rng=rng)) != first


def test_orders_are_fair() -> None:
    """Each sample takes each place equally often: chi-squared with 24 degrees of freedom or so."""
    source = ArraySource(*numbered(5), 1, rng=1)
    counts = np.zeros((5, 5))
    for epoch in range(1000):
        counts[np.arange(5), order_of(source, epoch)] += 1
    assert ((counts - 200) ** 2 / 200).sum() < 60


@pytest.mark.parametrize(("n", "batch_size"), [(10, 3), (10, 5), (17, 16), (300, 130), (7, 1), (5, 100)])
def test_chunks_hold_the_batches_also_across_epochs(n: int, batch_size: int) -> None:
    source = ArraySource(*numbered(n), batch_size, rng=1)
    first, count = 1, 3 * source.n_batches + 1
    x, target, weight = chunk_of(source, first, count)
    cut = [chunk_of(source, k, 1) for k in range(first, first + count)]
    for whole, parts in zip((x, target, weight), zip(*cut, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    for k in range(count):
        inputs, targets = source.batch(first + k)
        m = len(inputs)
        rows = x[k].transpose(0, 2, 1).reshape(-1, 2)
        np.testing.assert_array_equal(rows[:m], inputs)
        np.testing.assert_array_equal(target[k].reshape(-1)[:m], targets[:, 0])
        shares = weight[k].reshape(-1)
        np.testing.assert_allclose(shares[:m], 1 / m, rtol=1e-15)
        np.testing.assert_array_equal(shares[m:], 0)


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 64, None])
@pytest.mark.parametrize(("n", "batch_size"), [(10, 3), (33, 16), (300, 130), (5, 9)])
def test_cuts_do_not_change_a_bit(n: int, batch_size: int, chunk_size: int | None) -> None:
    results = []
    for size, cuts in ((1000, [50]), (chunk_size, [1, 13, 4, 32])):
        net = small_net(activation="tanh")
        weights = np.arange(1.0, n + 1)
        source = ArraySource(*numbered(n), batch_size, sample_weight=weights, rng=1)
        trainer = Trainer(net, source, learning_rate=0.01, chunk_size=size)
        for m in cuts:
            trainer.run(m)
        results.append((net.parameters.tobytes(), trainer.history.losses.tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize(("n", "batch_size"), [(10, 3), (40, 16), (300, 130), (7, 7)])
def test_training_sees_the_batches_and_takes_means_over_what_is_left(n: int, batch_size: int) -> None:
    x, y = numbered(n, 2, 3)
    x[:, 0] /= n
    source = ArraySource(x, y, batch_size, rng=5)
    net = small_net(out_features=3)
    flat, losses = net.parameters.copy(), []
    for iteration in range(3 * source.n_batches + 1):
        inputs, targets = source.batch(iteration)
        parameters = plain.split(flat, [2, 5, 3])
        losses.append(plain.loss(parameters, inputs, targets))
        flat = flat - 0.01 * plain.flatten(plain.gradients(parameters, inputs, targets)[0])
    history = Trainer(net, source, learning_rate=0.01).run(len(losses))
    np.testing.assert_allclose(history.losses, losses, rtol=1e-11)
    np.testing.assert_allclose(net.parameters, flat, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_ends_at_the_least_squares_of_the_data(dtype: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2))
    y = x @ [2.0, -1.0] + 0.5 + 0.1 * rng.normal(size=60)
    net = small_net(hidden=(), dtype=dtype)
    Trainer(net, ArraySource(x, y, 60), learning_rate=0.2).run(500)
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(60)]), y, rcond=None)[0]
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-12 if dtype == "float64" else 1e-5)


# ---- sample weights ----


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_weights_count_as_repeated_samples(loss: str) -> None:
    x, y = numbered(6)
    times = np.array([1, 3, 0, 2, 1, 5])
    nets = [small_net(activation="tanh") for _ in range(3)]
    sources = [
        ArraySource(x, y, 100, sample_weight=times),
        ArraySource(np.repeat(x, times, axis=0), np.repeat(y, times, axis=0), 100),
        ArraySource(x, y, 100, sample_weight=1e300 * times),
    ]
    losses = [
        Trainer(net, source, loss=loss, learning_rate=0.02).run(100).losses
        for net, source in zip(nets, sources, strict=True)
    ]
    for k in (1, 2):
        np.testing.assert_allclose(losses[k], losses[0], rtol=1e-10)
        np.testing.assert_allclose(nets[k].parameters, nets[0].parameters, rtol=1e-9)


def test_equal_weights_are_none_to_the_bit() -> None:
    nets = [small_net() for _ in range(2)]
    for net, weights in zip(nets, (None, np.full(20, 7.0)), strict=True):
        Trainer(net, ArraySource(*numbered(20), 8, sample_weight=weights, rng=1), learning_rate=1e-3).run(50)
    np.testing.assert_array_equal(nets[0].parameters, nets[1].parameters)


def test_weights_go_with_their_samples_in_minibatches() -> None:
    x, y = numbered(11)
    weights = np.arange(11.0)[::-1]
    source = ArraySource(x, y, 4, sample_weight=weights, rng=1)
    panels, _, shares = chunk_of(source, 0, 6)
    for k in range(6):
        m = len(source.batch(k)[0])
        rows = panels[k, 0, 0, :m].astype(int)
        rows[shares[k].reshape(-1)[:m] == 0] = 10  # in its place stands the first sample
        np.testing.assert_allclose(shares[k].reshape(-1)[:m], weights[rows] / weights.mean() / m, rtol=1e-14)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0, 0, 0], r"sample_weight must be above 0 somewhere, got only zeros"),
        ([1, -2, 1], r"sample_weight must be at least 0 everywhere, got -2.0 at index 1"),
        ([1, 2], r"sample_weight must be of shape \(3,\), one weight for each sample, got shape \(2,\)"),
        ([[1], [2], [3]], r"sample_weight must be of shape \(3,\)"),
        (1.0, r"sample_weight must be of shape \(3,\)"),
        ([1, np.nan, 1], r"sample_weight must be finite, got nan at index \(1,\)"),
        ([1, 1, np.inf], r"sample_weight must be finite, got inf at index \(2,\)"),
        (["a", "b", "c"], r"sample_weight must be an array of real numbers"),
    ],
)
def test_bad_weights(weights: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ArraySource(*numbered(3), sample_weight=weights)


# ---- the caller's arrays ----


def test_the_callers_arrays_are_not_changed_nor_kept() -> None:
    x, y = numbered(20)
    weights = np.arange(1.0, 21.0)
    before = x.copy(), y.copy(), weights.copy()
    source = ArraySource(x, y, 6, sample_weight=weights, rng=1)
    trainer = Trainer(small_net(), source, learning_rate=1e-3)
    trainer.run(10)
    for now, then in zip((x, y, weights), before, strict=True):
        np.testing.assert_array_equal(now, then)
    other = Trainer(
        small_net(), ArraySource(before[0], before[1], 6, sample_weight=before[2], rng=1), learning_rate=1e-3
    )
    other.run(20)
    x[:], y[:], weights[:] = 1e6, 1e6, 0
    trainer.run(10)
    np.testing.assert_array_equal(trainer.history.losses, other.history.losses)


def test_what_batch_gives_is_the_callers() -> None:
    source = ArraySource(*numbered(20), 6, rng=1)
    for part in source.batch(0):
        part[:] = 77
    assert sorted(order_of(source)) == list(range(20))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "int8", "uint64", "bool", "float16"])
def test_arrays_of_any_real_type_and_order(dtype: str, order: Any) -> None:
    x = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype, order=order)
    inputs, targets = ArraySource(x, x[:, 0], 3, shuffle=False).batch(0)
    np.testing.assert_array_equal(inputs, [[0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(targets, [[0], [1], [1]])
    assert inputs.dtype == targets.dtype == np.float64


def test_read_only_and_strided_arrays() -> None:
    x, y = numbered(30, 4)
    x.flags.writeable = y.flags.writeable = False
    source = ArraySource(x[::3, ::-2], y[::3], 100)
    inputs, targets = source.batch(0)
    np.testing.assert_array_equal(inputs, x[::3, ::-2])
    np.testing.assert_array_equal(targets, y[::3])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((2, 1, 1)), [1.0, 2.0], r"x must be two-dimensional"),
        ([[1.0], [2.0]], [1.0], r"y must be of as many samples as x, 2, got 1"),
        (np.empty((0, 2)), np.empty(0), "x must be a batch of at least one sample"),
        (np.empty((2, 0)), [1.0, 2.0], "x must be a batch of at least one sample and feature"),
        ([[1.0], [2.0]], 3.0, "y must be two-dimensional"),
        ([[1.0], [2.0]], np.ones((2, 1, 1)), "y must be two-dimensional"),
        ([[1.0], [np.nan]], [1.0, 2.0], r"x must be finite, got nan at index \(1, 0\)"),
        ([[1.0], [2.0]], [1.0, -np.inf], r"y must be finite, got -inf at index \(1,\)"),
        ([["1"], ["2"]], [1.0, 2.0], "x must be an array of real numbers, got dtype <U1"),
        ([[1.0], [2.0, 3.0]], [1.0, 2.0], "x must be an array of numbers"),
        ([[1j], [2]], [1.0, 2.0], "x must be an array of real numbers, got dtype complex128"),
        ([[2**60 + 1], [2]], [1.0, 2.0], r"x must be exact in float64"),
        (np.ma.masked_array([[1.0], [2.0]], [[True], [False]]), [1.0, 2.0], "without masked elements"),
    ],
)
def test_bad_data(x: Any, y: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        ArraySource(x, y)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "3", True, None])
def test_bad_batch_sizes(batch_size: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="batch_size must be an integer of at least 1"):
        ArraySource(*numbered(3), batch_size=batch_size)


def test_data_that_float32_can_not_hold_is_told_not_trained_on() -> None:
    source = ArraySource([[1e200], [1.0]], [0.0, 1.0], 2)
    trainer = Trainer(NN(1, [], 1, rng=1, dtype="float32"), source)
    with pytest.raises((InvalidArgumentError, FloatingPointError)):
        trainer.run(1)


# ---- functions ----


def wave(x: Any) -> Any:
    return np.sin(x[:, 0]) * x[:, -1]


def two_waves(x: Any) -> Any:
    return np.column_stack([np.sin(x[:, 0]), np.cos(x).sum(axis=1)])


@numba.njit  # type: ignore[untyped-decorator]  # Numba has no types
def compiled_wave(a: float, b: float) -> float:
    return float(np.sin(a) * b)


@pytest.mark.parametrize("batch_size", [1, 16, 17, 128, 129, 300])
@pytest.mark.parametrize(
    ("function", "low", "high", "in_features", "out_features"),
    [
        (wave, -3, 3, 1, 1),
        (wave, [-1, 10], [1, 11], 2, 1),
        (two_waves, [-1, 10, 5], [1, 11, 5], 3, 2),
        (two_waves, 0.0, [1, 2, 3, 4], 4, 2),
        (two_waves, [0, 0, 0], 1.0, 3, 2),
        (lambda x: x[:, :1] ** 2, [0, 1], [1, 2], 2, 1),
    ],
)
def test_values_are_the_functions_and_inputs_lie_in_the_box(
    function: Callable[[Any], Any], low: Any, high: Any, in_features: int, out_features: int, batch_size: int
) -> None:
    source = UniformSource(function, low, high, batch_size, rng=1)
    assert (source.in_features, source.out_features) == (in_features, out_features)
    for iteration in range(3):
        x, target = source.batch(iteration)
        assert x.shape == (batch_size, in_features)
        np.testing.assert_array_equal(target, np.asarray(function(x)).reshape(batch_size, out_features))
        assert (x >= low).all()
        assert (x <= high).all()
    panels, targets, _ = chunk_of(source, 0, 3)
    for k in range(3):
        x, target = source.batch(k)
        np.testing.assert_array_equal(
            panels[k].transpose(0, 2, 1).reshape(-1, in_features)[:batch_size], x, strict=True
        )
        np.testing.assert_array_equal(
            targets[k].transpose(0, 2, 1).reshape(-1, out_features)[:batch_size], target, strict=True
        )


def test_every_coordinate_is_uniform_on_its_interval() -> None:
    x, _ = UniformSource(wave, [-1, 10], [1, 14], 20_000, rng=1).batch(0)
    for column, low, high in zip(x.T, (-1, 10), (1, 14), strict=True):
        counts = np.histogram(column, 20, (low, high))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 50
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.03


@pytest.mark.parametrize("batch_size", [1, 16, 130])
def test_compiled_functions_give_what_numpy_gives(batch_size: int) -> None:
    compiled = UniformSource(compiled_wave, [-1, 10], [1, 11], batch_size, rng=1)
    numpy = UniformSource(wave, [-1, 10], [1, 11], batch_size, rng=1)
    assert (compiled.in_features, compiled.out_features) == (2, 1)
    for iteration in (0, 5):
        (x, values), (same, expected) = compiled.batch(iteration), numpy.batch(iteration)
        np.testing.assert_array_equal(x, same)
        np.testing.assert_allclose(values, expected, rtol=1e-14)
    losses = [Trainer(small_net(), source, learning_rate=1e-4).run(30).losses for source in (compiled, numpy)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


def test_a_compiled_function_tells_how_many_inputs_there_are() -> None:
    assert UniformSource(compiled_wave, rng=1).in_features == 2
    five = numba.njit(lambda a, b, c, d, e: a + 2 * b + 3 * c + 4 * d + 5 * e)
    x, y = UniformSource(five, 0, 1, rng=1).batch(0)
    np.testing.assert_allclose(y[:, 0], x @ [1, 2, 3, 4, 5], rtol=1e-14)


def test_a_functions_samples_do_not_depend_on_chunks() -> None:
    results = []
    for size, cuts in ((1000, [60]), (7, [1, 20, 39])):
        net = small_net()
        source = UniformSource(wave, [-1, 10], [1, 11], 19, rng=1)
        trainer = Trainer(net, source, learning_rate=1e-4, chunk_size=size)
        for m in cuts:
            trainer.run(m)
        results.append((net.parameters.tobytes(), trainer.history.losses.tobytes()))
    assert results[0] == results[1]


def test_a_function_may_change_its_argument() -> None:
    def greedy(x: Any) -> Any:
        values = x[:, 0].copy()
        x[:] = 1e9
        return values

    x, target = UniformSource(greedy, 0, 1, rng=1).batch(0)
    np.testing.assert_array_equal(x, target)


def test_a_function_may_give_lists_integers_and_bools() -> None:
    for function in (lambda x: [1] * len(x), lambda x: np.ones(len(x), np.int8), lambda x: x[:, 0] > -9):
        np.testing.assert_array_equal(UniformSource(function, 0, 1, rng=1).batch(0)[1], np.ones((16, 1)))


def test_an_object_that_can_be_called_is_a_function() -> None:
    class Model:
        def __call__(self, x: Any) -> Any:
            return 2 * x[:, 0]

    x, target = UniformSource(Model(), 0, 1, rng=1).batch(0)
    np.testing.assert_array_equal(target, 2 * x)


def test_a_function_that_raises_is_passed_on_with_a_note() -> None:
    def broken(x: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        UniformSource(broken, [0, 0], 1)
    assert caught.value.__notes__ == ["raised by the target function for x of shape (3, 2)"]


def test_a_function_that_raises_while_training_leaves_a_run_that_goes_on() -> None:
    calls = []

    def moody(x: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 5:
            raise ZeroDivisionError("now")
        return x[:, 0]

    net = small_net(1)
    trainer = Trainer(net, UniformSource(moody, -1, 1, rng=1), learning_rate=0.01, chunk_size=10)
    with pytest.raises(ZeroDivisionError, match="now") as caught:
        trainer.run(100)
    assert caught.value.__notes__ == ["raised by the target function for x of shape (160, 1)"]
    done = trainer.history.losses.size
    assert done < 100
    trainer.run(100 - done)
    whole = small_net(1)
    Trainer(whole, UniformSource(lambda x: x[:, 0], -1, 1, rng=1), learning_rate=0.01).run(100)
    np.testing.assert_array_equal(net.parameters, whole.parameters)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_function_leaves_a_run_that_goes_on(error: type[BaseException]) -> None:
    calls = []

    def interrupted(x: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 6:
            raise error
        return x[:, 0]

    trainer = Trainer(
        small_net(1), UniformSource(interrupted, -1, 1, rng=1), learning_rate=0.01, chunk_size=9
    )
    with pytest.raises(error):
        trainer.run(100)
    assert trainer.history.losses.size % 9 == 0
    assert trainer.run(100 - trainer.history.losses.size).losses.size == 100


@pytest.mark.parametrize(
    ("function", "came"),
    [
        (lambda x: x.sum(), r"float64 of shape \(\)"),
        (lambda x: x[:-1, 0], r"float64 of shape \(2,\)"),
        (lambda x: x.T, r"float64 of shape \(2, 3\)"),
        (lambda x: x[:, :, None], r"float64 of shape \(3, 2, 1\)"),
        (lambda x: None, r"object of shape \(\)"),
        (lambda x: ["a"] * len(x), r"<U1 of shape \(3,\)"),
        (lambda x: x[:, 0] + 1j, r"complex128 of shape \(3,\)"),
        (lambda x: x[:, 0].astype(object), r"object of shape \(3,\)"),
        (lambda x: x[:, :0], r"float64 of shape \(3, 0\)"),
    ],
)
def test_a_function_of_a_wrong_shape_or_type(function: Any, came: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"target(\(x\)|.out_features) must be .*({came}|got 0)"):
        UniformSource(function, [0, 0], 1)


def test_a_shape_that_changes_while_training() -> None:
    def fickle(x: Any) -> Any:
        return x[:, 0] if len(x) < 10 else x[:5, 0]

    source = UniformSource(fickle, [0, 0], 1, rng=1)
    with pytest.raises(InvalidArgumentError, match=r"target\(x\) must be .*got float64 of shape \(5,\)"):
        Trainer(small_net(), source, learning_rate=0.01).run(10)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_told_with_its_place(wrong: float) -> None:
    x, _ = UniformSource(wave, [0, 5], [1, 6], rng=1).batch(40)
    place = x[3].tolist()
    a_wrong = place[0]

    def hole(x: Any) -> Any:
        return np.where(x[:, 0] == a_wrong, wrong, x[:, 1])

    @numba.njit  # type: ignore[untyped-decorator]  # Numba has no types
    def compiled_hole(a: float, b: float) -> float:
        return wrong if a == a_wrong else b

    for function in (hole, compiled_hole):
        source = UniformSource(function, [0, 5], [1, 6], rng=1)
        trainer = Trainer(small_net(), source, learning_rate=1e-4, chunk_size=10)
        with pytest.raises(InvalidArgumentError) as caught:
            trainer.run(100)
        assert str(caught.value).startswith("target(x) must be finite, got ")
        assert str(caught.value).endswith(f" at x = {place}")
        assert str(wrong) in str(caught.value)
        assert trainer.history.losses.size == 40


@pytest.mark.parametrize(
    ("function", "low", "high", "message"),
    [
        ("wave", 0, 1, "target must be a function or a Target, got 'wave'"),
        (3.0, 0, 1, "target must be a function"),
        (wave, 1, 0, "low must be at most high = 0.0, got 1.0"),
        (wave, [0, 5], [1, 4], "low must be at most high = 4.0, got 5.0"),
        (wave, "0", 1, "low must be an array of real numbers"),
        (wave, 0, "1", "high must be an array of real numbers"),
        (wave, 0, [1, np.nan], r"high must be finite, got nan at index \(1,\)"),
        (wave, 0, None, "high must be an array of real numbers"),
        (wave, [0, 0], [1, 1, 1], r"high must be a number or of the shape of low, \(2,\), got \(3,\)"),
        (wave, [[0, 0]], 1, r"low must be a number or one for each coordinate, got shape \(1, 2\)"),
        (wave, [], 1, r"low must be a number or one for each coordinate, got shape \(0,\)"),
        (wave, -1e308, 1e308, "high - low must be finite"),
        (compiled_wave, [0, 0, 0], 1, r"low and high must be numbers, or of shape \(2,\)"),
        (compiled_wave, 0, [1, 1, 1], r"low and high must be numbers, or of shape \(2,\)"),
        (StandardGaussian(), [0, 0, 0], 1, r"low must be a number or of shape \(2,\), got shape \(3,\)"),
        (numba.njit(lambda: 1.0), 0, 1, "low and high must be"),
        (numba.njit(lambda a: "text"), 0, 1, "target must be a function of 1 numbers"),
        (
            numba.njit(lambda a: a.missing),
            0,
            1,
            "target must be a function of 1 numbers that Numba can compile",
        ),
    ],
)
def test_bad_functions_and_boxes(function: Any, low: Any, high: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        UniformSource(function, low, high)


def product_of_columns(x: Any) -> Any:
    first, second = x.T
    return first * second


@pytest.mark.parametrize(
    ("function", "low", "high", "message"),
    [
        (
            lambda x, y: x * y,
            [0, 0],
            [1, 1],
            r"target must be a function of one array x of shape \(n_samples, 2\), such as lambda x: "
            r"x\[:, 0\] \* x\[:, 1\], got a function of \(x, y\); a function compiled by Numba",
        ),
        (lambda: 1.0, 0, 1, r"target must be a function of one array x .*, got a function of \(\)"),
        (
            lambda x: x[:, 0] * x[:, 1],
            -3,
            3,
            r"low and high must be one number for each of the 2 inputs of the target, such as low=\[-1, -1\] "
            r"and high=\[1, 1\], got 1 in each",
        ),
        (product_of_columns, -3, 3, "low and high must be one number for each of the 2 inputs"),
        (lambda x: x[:, 0] * x[:, 2], [0, 0], 1, "low and high must be one number for each of the 3 inputs"),
    ],
)
def test_functions_of_other_arguments(function: Any, low: Any, high: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        UniformSource(function, low, high)


def test_other_exceptions_of_a_function_are_passed_on() -> None:
    def broken(x: Any) -> Any:
        return [1.0, 2.0][len(x)]

    with pytest.raises(IndexError, match="list index out of range"):
        UniformSource(broken, [0, 0], 1)
    with pytest.raises(TypeError, match="unsupported operand"):
        UniformSource(lambda x: x + None, [0, 0], 1)


# ---- float32 ----


@pytest.mark.parametrize(
    "make",
    [
        lambda: UniformSource(wave, [-1, 10], [1, 11], 19, rng=1),
        lambda: UniformSource(compiled_wave, [-1, 10], [1, 11], 19, rng=1),
        lambda: UniformSource(StandardGaussian(), batch_size=130, rng=1),
        lambda: ArraySource(*numbered(45), 19, rng=1, sample_weight=np.arange(45.0)),
    ],
)
def test_float32_networks_get_the_same_samples_rounded(make: Callable[[], Any]) -> None:
    source = make()
    for first in (0, 3):
        x, target, weight = chunk_of(source, first, 4, np.float32)
        assert x.dtype == target.dtype == np.float32
        for k in range(4):
            inputs, targets = source.batch(first + k)
            n = len(inputs)
            rows = x[k].transpose(0, 2, 1).reshape(-1, 2)[:n]
            np.testing.assert_array_equal(rows, inputs.astype(np.float32))
            np.testing.assert_array_equal(target[k].reshape(-1)[:n], targets[:, 0].astype(np.float32))
            assert not weight[k].reshape(-1)[n:].any()


def test_float32_training_stays_near_float64() -> None:
    losses = []
    for dtype in ("float64", "float32"):
        net = small_net(dtype=dtype, activation="tanh")
        source = UniformSource(wave, [-1, 1], [1, 2], 19, rng=1)
        losses.append(Trainer(net, source, learning_rate=0.01).run(200).losses)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert (losses[0] != losses[1]).any()


# ---- streams that are shared ----


def test_a_copy_of_a_source_has_a_stream_of_its_own() -> None:
    x, y = numbered(10)
    source = ArraySource(x, y, 4, rng=1)
    orders = [order_of(source, epoch) for epoch in range(3)]
    source.batch(4)  # an order is kept now
    twin = copy.copy(source)
    twin.stream = StdRng(7, stream=3).state
    assert order_of(twin, 1) != orders[1]
    assert [order_of(source, epoch) for epoch in range(3)] == orders
    uniform = UniformSource(lambda x: x[:, 0], rng=1)
    before = uniform.batch(0)[0]
    copy.copy(uniform).stream = StdRng(7).state
    np.testing.assert_array_equal(uniform.batch(0)[0], before)


def test_trainers_that_share_a_source_do_not_move_one_another(tmp_path: Path) -> None:
    x, y = numbered(10)

    def trainer(source: ArraySource) -> Trainer:
        return Trainer(NN(x.shape[1], [], 1, init="zeros"), source, learning_rate=1e-4)

    saved = trainer(ArraySource(x, y, 4, rng=9))
    saved.run(3)
    saved.save_checkpoint(tmp_path / "run.npz")
    shared = ArraySource(x, y, 4, rng=1)
    one, other, alone = trainer(shared), trainer(shared), trainer(ArraySource(x, y, 4, rng=1))
    one.run(4)
    alone.run(4)
    other.load_checkpoint(tmp_path / "run.npz")
    one.run(8)
    alone.run(8)
    assert one.net.parameters.tobytes() == alone.net.parameters.tobytes()
    saved.run(5)
    other.run(5)
    assert other.net.parameters.tobytes() == saved.net.parameters.tobytes()
