"""The compiled training run."""

import gc
import os
import platform
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import plain
import pytest
from trainers import article

from crabnet_jit import (
    MSE,
    NN,
    ArraySource,
    Every,
    ExponentialDecay,
    History,
    InvalidArgumentError,
    Source,
    StandardGaussian,
    StdRng,
    Trainer,
    UniformSource,
)


@pytest.fixture(scope="module")
def long_run() -> Trainer:
    trainer = article()
    trainer.run(120_001)
    return trainer


# ---- faithful ----


def test_published_log(long_run: Trainer, published_log: list[tuple[int, float]]) -> None:
    assert [i for i, _ in long_run.history.log] == [*range(0, 120_001, 10_000)]
    for (_, loss), (_, published) in zip(long_run.history.log, published_log, strict=False):
        assert loss == pytest.approx(published, rel=1e-10)


def test_log_and_parameters_of_the_original(long_run: Trainer, reference: Any) -> None:
    for entry, expected in zip(long_run.history.log, reference["log_rebuilt_here"], strict=True):
        assert entry == pytest.approx(tuple(expected), rel=1e-10)
    for k, layer in enumerate(long_run.net.layers):
        expected = reference["parameters_after_120001_iterations"]
        np.testing.assert_allclose(layer.W, expected[f"W{k}"], rtol=1e-10)
        np.testing.assert_allclose(layer.b, expected[f"b{k}"], rtol=1e-10)


def test_first_losses_of_the_original(long_run: Trainer, reference: Any) -> None:
    expected = reference["loss_of_each_of_the_first_2000_iterations"]
    np.testing.assert_allclose(long_run.history.losses[:2000], expected, rtol=1e-11)


def test_first_batch_of_the_original(reference: Any) -> None:
    rng = StdRng(1)
    rng.random(105)
    x, target = UniformSource(StandardGaussian(), rng=rng).batch(0)
    np.testing.assert_array_equal(x, reference["iteration_0"]["x"])
    np.testing.assert_allclose(target, reference["iteration_0"]["target"], rtol=1e-14)


# ---- the same by other ways ----


@pytest.mark.parametrize("hidden_sizes", [[], [5], [8, 8], [9, 3, 7], [4, 4, 4, 4], [3, 8, 1, 17, 6]])
def test_layers_stepped_by_hand(hidden_sizes: list[int]) -> None:
    rate = 1e-4
    trainer = article(hidden_sizes, learning_rate=ExponentialDecay(rate))
    trainer.run(1000)

    hand = article(hidden_sizes)
    net, source, mse = hand.net, hand.source, MSE()
    assert isinstance(source, UniformSource)
    for iteration in range(1000):
        x, target = source.batch(iteration)
        mse.forward(net.forward(x), target)
        net.backward(mse.backward())
        rate *= 0.99999
        net.sgd(rate)
    np.testing.assert_allclose(trainer.net.parameters, net.parameters, rtol=1e-12)


@pytest.mark.parametrize("hidden_sizes", [[], [8, 8], [5, 7]])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 15, 16, 17, 33, 128, 129, 300])
def test_any_batch_size_against_plain_numpy(batch_size: int, hidden_sizes: list[int]) -> None:
    n, rate = 20, 1e-4
    trainer = article(hidden_sizes, batch_size, learning_rate=ExponentialDecay(rate))
    trainer.net.parameters -= 0.4
    sizes = [2, *hidden_sizes, 1]
    flat = trainer.net.parameters.copy()
    losses = []
    source = trainer.source
    assert isinstance(source, UniformSource)
    for iteration in range(n):
        x, target = source.batch(iteration)
        parameters = plain.split(flat, sizes)
        losses.append(plain.loss(parameters, x, target))
        rate *= 0.99999
        flat = flat - rate * plain.flatten(plain.gradients(parameters, x, target)[0])
    history = trainer.run(n)
    np.testing.assert_allclose(history.losses, losses, rtol=1e-11)
    np.testing.assert_allclose(trainer.net.parameters, flat, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("batch_size", [16, 300])
@pytest.mark.parametrize("cuts", [[1000], [1] * 10 + [990], [333, 333, 334]])
@pytest.mark.parametrize("chunk_size", [None, 1, 7, 512])
def test_chunks_do_not_change_a_bit(cuts: list[int], chunk_size: int | None, batch_size: int) -> None:
    whole = article(batch_size=batch_size, log_every=100, chunk_size=1000)
    whole.run(1000)
    cut = article(batch_size=batch_size, log_every=100, chunk_size=chunk_size)
    for n in cuts:
        history = cut.run(n)
    np.testing.assert_array_equal(cut.net.parameters, whole.net.parameters)
    np.testing.assert_array_equal(history.losses, whole.history.losses)
    assert history.log == whole.history.log


@pytest.mark.parametrize("batch_size", [1, 16, 130])
def test_several_outputs_against_plain_numpy(batch_size: int) -> None:
    """The mean is over samples and outputs, and each output has its row of panels."""

    class Waves:
        in_features, out_features = 3, 4

        def fill(self, x: Any, target: Any, n_samples: int) -> None:
            for k in range(4):
                target[:, :, k] = np.sin(k + x.sum(axis=2))

    net = NN(3, [6, 5], 4, rng=3)
    net.parameters -= 0.4
    source = UniformSource(Waves(), batch_size=batch_size, rng=4)
    flat, losses = net.parameters.copy(), []
    for iteration in range(10):
        x, target = source.batch(iteration)
        parameters = plain.split(flat, [3, 6, 5, 4])
        losses.append(plain.loss(parameters, x, target))
        flat = flat - 0.01 * plain.flatten(plain.gradients(parameters, x, target)[0])
    history = Trainer(net, source, learning_rate=0.01).run(10)
    np.testing.assert_allclose(history.losses, losses, rtol=1e-11)
    np.testing.assert_allclose(net.parameters, flat, rtol=1e-11, atol=1e-13)


def test_source_gives_the_draws_of_its_generator() -> None:
    rng = StdRng(4)
    rng.random(11)
    source = UniformSource(StandardGaussian(), low=0, high=2, batch_size=5, rng=rng)
    x, _ = source.batch(3)
    assert rng.position == 11
    rng.position += 3 * 10
    np.testing.assert_array_equal(source.batch(3)[0], x)  # whatever the generator did since
    np.testing.assert_array_equal(x, rng.uniform(0, 2, (5, 2)))


def test_interrupt_in_the_compiled_call_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal of that time is handled right behind the call, when the parameters are updated."""
    whole, cut = (article(log_every=100, chunk_size=300) for _ in range(2))
    whole.run(1000)
    cut.run(300)

    chunks = cut._steps.chunks
    kernels = chunks._compiled

    def interrupted(*arguments: Any) -> Any:
        result = kernels.train(*arguments)
        signal.raise_signal(signal.SIGINT)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "_compiled", kernels._replace(train=interrupted))
        with pytest.raises(KeyboardInterrupt):
            cut.run(700)
    assert cut.history.losses.size == 600
    cut.run(400)
    np.testing.assert_array_equal(cut.history.losses, whole.history.losses)
    np.testing.assert_array_equal(cut.net.parameters, whole.net.parameters)
    assert cut.history.log == whole.history.log


def test_what_the_buffers_were_made_for_cannot_be_replaced() -> None:
    trainer = article()
    for name in ("net", "source", "loss", "optimizer", "learning_rate"):
        with pytest.raises(AttributeError):
            setattr(trainer, name, None)
    for name in ("in_features", "hidden_sizes", "out_features", "dtype"):
        with pytest.raises(AttributeError):
            setattr(trainer.net, name, 1)
    for name in ("in_features", "out_features", "batch_size", "target"):
        with pytest.raises(AttributeError):
            setattr(trainer.source, name, 1)
    with pytest.raises(AttributeError):
        trainer.net.layers[0].in_features = 3  # type: ignore[misc]  # the error is the point


def test_threads_may_share_a_source() -> None:
    source = UniformSource(StandardGaussian(), batch_size=100, rng=1)

    def run(_: int) -> Any:
        return Trainer(NN(2, [4], 1, rng=1), source, learning_rate=1e-3).run(5000).losses

    expected = run(0)
    with ThreadPoolExecutor(4) as pool:
        for losses in pool.map(run, range(4)):
            np.testing.assert_array_equal(losses, expected)


def test_a_source_of_ones_own() -> None:
    class Line(Source):
        in_features, out_features, batch_size = 1, 1, 3

        def fill(self, iteration: int, batches: Any) -> None:
            x, target = batches.x, batches.target
            x[:] = 0
            x[:, 0, 0, :3] = [-1, 0, 1]
            target[:] = 2 * x + 1

    trainer = Trainer(NN(1, [], 1, rng=1), Line(), learning_rate=0.1)
    trainer.run(500)
    np.testing.assert_allclose(trainer.net.parameters, [2, 1], rtol=1e-9)


# ---- history ----


def test_window_of_the_log() -> None:
    history = History(log_every=500)
    losses = np.random.default_rng(2).random(2600)
    for start in range(0, 2600, 700):
        history.extend(losses[start : start + 700])
    np.testing.assert_array_equal(history.losses, losses)
    queue: list[float] = []
    expected = []
    for i, loss in enumerate(losses):
        queue.append(loss)
        if i > 1000:
            queue.pop(0)
        if i % 500 == 0:
            expected.append((i, sum(queue) / 1000))
    np.testing.assert_allclose(history.log, expected, rtol=1e-12)
    assert len(queue) == 1001
    with pytest.raises(InvalidArgumentError, match="iteration must be an integer from 0 to 2599"):
        history.running_loss(2600)


def test_log_is_told_as_it_grows() -> None:
    trainer = article(log_every=30)
    told: list[tuple[int, float]] = []
    trainer.run(100, on_log=lambda i, loss: told.append((i, loss)))
    assert told == trainer.history.log
    assert [i for i, _ in told] == [0, 30, 60, 90]


def test_losses_can_not_be_overwritten() -> None:
    trainer = article()
    with pytest.raises(ValueError, match="read-only"):
        trainer.run(3).losses[0] = 0


def test_no_iterations() -> None:
    trainer = article()
    before = trainer.net.parameters.copy()
    assert trainer.run(0).losses.size == 0
    np.testing.assert_array_equal(trainer.net.parameters, before)


def test_interrupted_run_goes_on_where_it_was() -> None:
    trainer = article(log_every=100, chunk_size=50)

    def stop(iteration: int, loss: float) -> None:
        if iteration == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.run(1000, on_log=stop)
    done = trainer.history.losses.size
    assert 300 < done < 1000
    trainer.run(1000 - done)
    whole = article(log_every=100)
    whole.run(1000)
    np.testing.assert_array_equal(trainer.net.parameters, whole.net.parameters)
    assert trainer.history.log == whole.history.log


# ---- bad input ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": -1}, "learning_rate must be a finite number of at least 0, got -1"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"log_every": 0}, "log_every must be an integer of at least 1"),
        ({"chunk_size": 0}, "chunk_size must be"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be"),
    ],
)
def test_bad_options(options: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        article(**options)


def test_bad_sources() -> None:
    with pytest.raises(InvalidArgumentError, match=r"source.in_features must be the network's 3, got 2"):
        Trainer(NN(3, [], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    with pytest.raises(InvalidArgumentError, match="iteration must be an integer of at least 0"):
        UniformSource(StandardGaussian(), rng=1).batch(-1)
    with pytest.raises(InvalidArgumentError, match=r"source.out_features must be the network's 2, got 1"):
        Trainer(NN(2, [], 2, rng=1), UniformSource(StandardGaussian(), rng=1))

    class Empty(Source):
        in_features, out_features, batch_size = 2, 1, 0

        def fill(self, iteration: int, batches: Any) -> None:
            raise AssertionError

    with pytest.raises(
        InvalidArgumentError, match=r"source.batch_size must be an integer from 1 to .*, got 0"
    ):
        Trainer(NN(2, [], 1), Empty())

    class NoSource:
        in_features, out_features, batch_size = 2, 1, 4

        def fill(self, iteration: int, batches: Any) -> None:
            raise AssertionError

    with pytest.raises(InvalidArgumentError, match=r"source must be a Source.*must be a subclass of Source$"):
        Trainer(NN(2, [], 1), NoSource())  # type: ignore[arg-type]  # the error is the point
    with pytest.raises(InvalidArgumentError, match="low must be at most high"):
        UniformSource(StandardGaussian(), low=1, high=0)
    with pytest.raises(InvalidArgumentError, match=r"low must be finite, got -inf$"):
        UniformSource(StandardGaussian(), low=float("-inf"))
    with pytest.raises(InvalidArgumentError, match="rng must be an integer from 0"):
        UniformSource(StandardGaussian(), rng=-1)
    with pytest.raises(InvalidArgumentError, match=r"x must be of shape \(n_samples, 2\)"):
        StandardGaussian()([[1.0]])


@pytest.mark.parametrize("n", [-1, 1.5, "10", None])
def test_bad_number_of_iterations(n: Any) -> None:
    trainer = article()
    with pytest.raises(InvalidArgumentError, match="n_iterations must be an integer of at least 0"):
        trainer.run(n)


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="names processors of the x86-64 family"
)
def test_machines_with_other_vectors_give_the_same_bits(tmp_path: Path) -> None:
    """Code for the oldest x86-64, with two numbers to a vector, beside this machine's own."""
    program = """
from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource
net = NN(2, [9, 5], 1, rng=1)
history = Trainer(net, UniformSource(StandardGaussian(), batch_size=19, rng=2)).run(50)
print(net.parameters.tobytes().hex(), history.losses.tobytes().hex())
for dtype in ("float64", "float32"):
    activation = ["tanh", "gelu", "sine", "softplus", "elu"]
    net = NN(2, [3] * 5, 1, rng=1, activation=activation, init="glorot_uniform", dtype=dtype)
    source = UniformSource(StandardGaussian(), batch_size=19, rng=2)
    options = {"loss": "log_cosh", "optimizer": "adamw", "clip_norm": 0.5, "l1": 1e-3, "dropout": 0.1}
    history = Trainer(net, source, learning_rate=1e-2, **options).run(50)
    print(net.parameters.tobytes().hex(), history.losses.tobytes().hex())
"""
    results = set()
    for processor in ({}, {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}):
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **processor}
        command = [sys.executable, "-c", program]
        results.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(results) == 1


def test_warmup_compiles_all_that_a_run_needs() -> None:
    program = """
from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource, warmup
from crabnet_jit.kernels import entries as entry
warmup()
before = {name: len(getattr(f, "signatures", ())) for name, f in vars(entry).items()}
net = NN(2, [5, 4], 1, rng=1)
Trainer(net, UniformSource(StandardGaussian(), batch_size=200, rng=1)).run(10)
net.get_output([[1, 2]])
after = {name: len(getattr(f, "signatures", ())) for name, f in vars(entry).items()}
assert before == after and max(after.values()) == 2, (before, after)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# ---- buffers ----


def test_a_trainer_that_does_not_run_is_small() -> None:
    article().run(10)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        trainers = [article() for _ in range(20)]
        for trainer in trainers:
            trainer.run(10)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(trainers) < 50_000


def test_the_data_of_a_trainer_go_with_it() -> None:
    def train_on(n: int) -> None:
        x = np.linspace(-1, 1, n)[:, None]
        Trainer(NN(1, [4], 1, rng=1), ArraySource(x, x**2, batch_size=n)).run(2)

    train_on(10)
    tracemalloc.start()
    try:
        train_on(200_000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()


def test_large_buffers_go_with_their_trainer() -> None:
    article().run(10)
    tracemalloc.start()
    try:
        trainer = article(chunk_size=50_000)
        trainer.run(20)
        assert tracemalloc.get_traced_memory()[0] > 2**24
        assert trainer.run(20).losses.tobytes() == article().run(40).losses.tobytes()
        del trainer
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 2**22
    finally:
        tracemalloc.stop()


def test_a_training_within_another_one_has_buffers_of_its_own() -> None:
    def other(run: Any = None) -> None:
        article(seed=2).run(50)

    def ripple(x: Any) -> Any:
        other()
        return np.sin(x[:, 0])

    def losses(target: Any, callbacks: Sequence[Any]) -> bytes:
        source = UniformSource(target, low=[-3, -3], high=[3, 3], batch_size=16, rng=1)
        trainer = Trainer(NN(2, [8, 8], 1, rng=1), source, chunk_size=article().chunk_size)
        return trainer.run(9000, callbacks=callbacks).losses.tobytes()

    alone = losses(lambda x: np.sin(x[:, 0]), [])
    assert losses(ripple, [Every(1000, other)]) == alone


class LeavesWeights(Source):
    """A source that does not write weights."""

    in_features, out_features, batch_size = 1, 1, 8

    def fill(self, iteration: int, batches: Any) -> None:
        x, target = batches.x, batches.target
        x[:] = np.linspace(-1, 1, x.shape[3])
        target[:] = x**2


class Weighted(LeavesWeights):
    """One that does."""

    def fill(self, iteration: int, batches: Any) -> None:
        super().fill(iteration, batches)
        batches.weight[:] = np.arange(batches.weight.shape[3]) / 100


def test_weights_of_one_trainer_are_not_those_of_the_next() -> None:
    def losses(source: Any) -> bytes:
        return Trainer(NN(1, [4], 1, rng=1), source).run(100).losses.tobytes()

    alone = losses(LeavesWeights())
    weighted = losses(Weighted())
    assert weighted != alone
    assert losses(LeavesWeights()) == alone
    assert losses(Weighted()) == weighted


def test_shapes_of_which_a_thread_keeps_no_buffers() -> None:
    sizes = range(1, 40)
    trainers = [article(batch_size=n) for n in sizes]
    for _ in range(3):
        for trainer in trainers:
            trainer.run(7)
    for n, trainer in zip(sizes, trainers, strict=True):
        assert trainer.history.losses.tobytes() == article(batch_size=n).run(21).losses.tobytes()
