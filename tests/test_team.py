"""A team of threads: the bits of one thread, whatever happens on the way."""

import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from numba import njit

from crabnet_jit import (
    NN,
    SGD,
    ArraySource,
    CustomActivation,
    DivergenceError,
    InvalidArgumentError,
    Objective,
    Population,
    StandardGaussian,
    Trainer,
    UniformSource,
    fit,
    fit_many,
)
from crabnet_jit.machine import meeting, signals
from crabnet_jit.training import team, team_run, threads

RNG = np.random.default_rng(1)
GROUP = 128  # samples in eight panels
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were four."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 4)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teams for the smallest work, also where they are slower."""
    monkeypatch.setattr(team, "_LEAST_PRODUCTS", 0)
    monkeypatch.setattr(team, "_LEAST_IN_CALL", 0)
    monkeypatch.setattr(team.Pace, "choose", lambda _: True)
    monkeypatch.setattr(team.Pace, "trial_size", lambda _: float("inf"))


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "crabnet_jit team"]


def samples(n: int, n_in: int = 3, n_out: int = 2) -> tuple[Any, Any]:
    return RNG.normal(size=(n, n_in)), RNG.normal(size=(n, n_out))


def trained(n_threads: int, x: Any, y: Any, hidden: list[int], n_iterations: int = 7, **options: Any) -> Any:
    """Parameters, gradients and losses after some iterations."""
    of_net = {name: options.pop(name) for name in ("activation", "dtype") if name in options}
    net = NN(x.shape[1], hidden, y.shape[1], rng=1, init="glorot_uniform", **of_net)
    batch_size = options.pop("batch_size", len(x))
    source = ArraySource(x, y, batch_size, rng=2)
    trainer = Trainer(net, source, learning_rate=0.01, n_threads=n_threads, **options)
    history = trainer.run(n_iterations)
    uses_team = trainer._steps.chunks._team is not None
    assert uses_team == (n_threads > 1 and batch_size > GROUP)
    return net.parameters.copy(), net.gradients.copy(), history.losses.copy()


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# Whole groups of panels, and rests of one to eight panels, for which linear.py adds up in different ways; and
# layers narrow and wide, for which it does.
@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n_whole", [1, 2, 5])
def test_the_bits_of_one_thread_for_all_sizes_of_batches(n_whole: int, dtype: str) -> None:
    for rest, hidden in product([1, 16, 17, 40, 64, 80, 96, 100, 112, 127, 128], [[5], [40, 24, 100]]):
        x, y = samples(n_whole * GROUP + rest)
        alone = trained(1, x, y, hidden, 3, dtype=dtype)
        for n_threads in (2, 3, 4):
            assert same(alone, trained(n_threads, x, y, hidden, 3, dtype=dtype)), (rest, hidden, n_threads)


OPTIONS: list[dict[str, Any]] = [
    {"activation": "relu"},
    {"activation": ["tanh", "sine"], "optimizer": "adam", "l2": 0.1, "clip_norm": 1.0},
    {"optimizer": SGD(momentum=0.9), "dropout": 0.3, "batch_size": 300},
    {"loss": "huber", "activation": "silu", "batch_size": 200, "chunk_size": 3},
    {"loss": "gaussian_nll", "optimizer": "rmsprop", "dtype": "float32"},
]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("k", range(len(OPTIONS)))
def test_the_bits_of_one_thread_for_all_kinds_of_training(k: int) -> None:
    options = OPTIONS[k]
    x, y = samples(700)
    if options.get("loss") == "gaussian_nll":
        y = y[:, :1]
        net_outputs = 2
        net = [NN(3, [8], net_outputs, rng=1, dtype="float32") for _ in range(2)]
        runs = [
            Trainer(one, ArraySource(x, y, 300, rng=2), loss="gaussian_nll", n_threads=n).run(9).losses
            for one, n in zip(net, (1, 3), strict=True)
        ]
        assert same(runs[:1], runs[1:])
        assert same([net[0].parameters], [net[1].parameters])
        return
    alone = trained(1, x, y, [16, 12], **options)
    for n_threads in (2, 3, 4):
        assert same(alone, trained(n_threads, x, y, [16, 12], **options)), n_threads


@pytest.mark.usefixtures("always")
def test_rounds_when_gradients_of_groups_need_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team_run, "_KEPT_BYTES", 1)
    x, y = samples(11 * GROUP + 50)
    alone = trained(1, x, y, [20, 20])
    for n_threads in (2, 3):
        assert same(alone, trained(n_threads, x, y, [20, 20]))


@pytest.mark.usefixtures("always")
def test_an_objective_and_a_fit() -> None:
    x, y = samples(1000)
    net = NN(3, [30, 30], 2, rng=1, activation="tanh", init="glorot_uniform")
    (loss, gradient), *others = (
        Objective(net, x, y, l2=0.1, n_threads=n).loss_and_gradient(net.parameters) for n in (1, 2, 4)
    )
    for other_loss, other_gradient in others:
        assert loss == other_loss
        assert np.array_equal(gradient, other_gradient)
    options: dict[str, Any] = {"n_iterations": 60, "batch_size": 300, "validation": 0.3, "patience": 5}
    nets = [fit(x, y, n_threads=n, **options) for n in (1, 2)]
    assert np.array_equal(nets[0].parameters, nets[1].parameters)
    assert nets[0].fit_history is not None
    assert nets[1].fit_history is not None
    assert np.array_equal(nets[0].fit_history.validation_losses, nets[1].fit_history.validation_losses)


def test_the_watch_changes_between_team_and_one_thread_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, always: None
) -> None:
    ways: Iterator[bool] = iter([True, False] * 1000)
    monkeypatch.setattr(team.Pace, "choose", lambda _: next(ways))
    monkeypatch.setattr(team.Pace, "trial_size", lambda _: 3.0)
    x, y = samples(600)
    assert same(trained(1, x, y, [16, 12], 20), trained(2, x, y, [16, 12], 20))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which tests change."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def share_together(pace: team.Pace, clock: list[float], alone: float, together: float, seconds: float) -> Any:
    """What share of the work of so many seconds is done together, and how long it takes in all for a unit."""
    work = of_team = 0
    end = clock[0] + seconds
    start = clock[0]
    while clock[0] < end:
        n = int(min(100, pace.trial_size()))
        way = pace.choose()
        took = n * (together if way else alone)
        clock[0] += took
        pace.note(way, n, took)
        work, of_team = work + n, of_team + way * n
    return of_team / work, (clock[0] - start) / work


def test_the_watch_finds_the_faster_way_and_follows_it(clock: list[float]) -> None:
    pace = team.Pace()
    share, each = share_together(pace, clock, alone=1e-3, together=0.55e-3, seconds=10.0)
    assert share > 0.97
    assert each < 0.56e-3
    # Other programs come: a step of the team takes long.
    share, each = share_together(pace, clock, alone=1.5e-3, together=20e-3, seconds=30.0)
    assert share < 0.02
    assert each < 1.5e-3 * 1.15
    # They go.
    share, each = share_together(pace, clock, alone=1e-3, together=0.55e-3, seconds=60.0)
    assert share > 0.9


def test_short_work_is_measured_in_sum(clock: list[float]) -> None:
    pace = team.Pace()
    assert not pace.choose()
    for _ in range(10):
        pace.note(False, 1, 0.0001)
    assert not pace.choose()
    for _ in range(100):
        pace.note(False, 1, 0.0001)
    assert pace.choose()


def raising() -> CustomActivation:
    def value(z: Any) -> Any:
        if z > 1e100:
            raise ValueError("too large")
        return z

    def derivative(_z: Any) -> Any:
        return 1.0

    return CustomActivation(njit(value), njit(derivative))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("bad_sample", [0, 600])
def test_an_exception_on_any_thread_is_raised_and_nothing_is_lost(bad_sample: int) -> None:
    x, y = samples(700)
    x[bad_sample] = 1e200
    net = NN(3, [6], 2, rng=1, activation=raising())
    trainer = Trainer(net, ArraySource(x, y, 700), n_threads=2)
    before = net.parameters.copy()
    for _ in range(3):
        with pytest.raises(ValueError, match="too large"):
            trainer.run(5)
        assert np.array_equal(net.parameters, before)
        assert trainer.iteration == 0


@pytest.mark.usefixtures("always")
def test_a_run_that_diverges_ends_where_it_does_on_one_thread() -> None:
    x, y = samples(500)
    ends = []
    for n_threads in (1, 3):
        net = NN(3, [30], 2, rng=1)
        trainer = Trainer(net, ArraySource(x, y, 500), learning_rate=10.0, n_threads=n_threads)
        with pytest.raises(DivergenceError) as error:
            trainer.run(1000)
        ends.append((error.value.iteration, net.parameters.copy()))
    assert ends[0][0] == ends[1][0] > 1
    assert np.array_equal(ends[0][1], ends[1][1])


def interrupt_after(seconds: float) -> threading.Thread:
    def interrupt() -> None:
        time.sleep(seconds)
        signal.raise_signal(signal.SIGINT) if os.name == "nt" else os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("hidden", "batch_size"), [([8, 8], 1000), ([400, 400], 20_000)])
def test_ctrl_c_stops_all_threads_between_two_iterations(hidden: list[int], batch_size: int) -> None:
    x, y = samples(batch_size)

    def make(n_threads: int) -> Trainer:
        net = NN(3, hidden, 2, rng=1, init="glorot_uniform", dtype="float32")
        return Trainer(net, ArraySource(x, y, batch_size), learning_rate=1e-4, n_threads=n_threads)

    trainer = make(2)
    trainer.compile()
    thread = interrupt_after(0.2)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(10**7)
    thread.join()
    trainer.run(2)
    other = make(1)
    other.run(trainer.iteration)
    assert np.array_equal(trainer.net.parameters, other.net.parameters)


@pytest.fixture
def answered() -> Iterator[list[int]]:
    """The numbers of signals that a handler of Ctrl-C has answered, which raises nothing."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("policy", ["raise", "skip", "lower_rate"])
def test_a_signal_that_is_answered_leaves_no_trace(policy: str, answered: list[int]) -> None:
    x, y = samples(2000)

    def make(n_threads: int) -> Trainer:
        net = NN(3, [32, 32], 2, rng=1, init="glorot_uniform")
        source = ArraySource(x, y, 2000)
        return Trainer(net, source, learning_rate=1e-4, on_divergence=policy, n_threads=n_threads)

    trainer = make(2)
    trainer.compile()
    while not answered:
        thread = interrupt_after(0.02)
        history = trainer.run(100)
        thread.join()
    assert history.events == []
    other = make(1)
    other.run(trainer.iteration)
    assert np.array_equal(trainer.net.parameters, other.net.parameters)


@pytest.mark.usefixtures("always")
def test_a_signal_that_is_answered_spoils_no_loss(answered: list[int]) -> None:
    x, y = samples(20_000)
    net = NN(3, [128, 128], 2, rng=1, init="glorot_uniform")
    objective = Objective(net, x, y, n_threads=2)
    loss, gradient = objective.loss_and_gradient(net.parameters)
    while len(answered) < 3:
        thread = interrupt_after(0.03)
        found = objective.loss_and_gradient(net.parameters)
        thread.join()
        assert found[0] == loss
        assert np.array_equal(found[1], gradient)


@pytest.mark.usefixtures("always")
def test_threads_end_with_the_trainer_and_not_before() -> None:
    gc.collect()
    before = len(helpers())
    x, y = samples(500)
    trainer = Trainer(NN(3, [8], 2, rng=1), ArraySource(x, y, 500), n_threads=3)
    assert len(helpers()) == before
    trainer.run(5)
    trainer.run(5)
    assert len(helpers()) == before + 2
    del trainer
    gc.collect()
    deadline = time.monotonic() + 30.0
    while len(helpers()) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(helpers()) == before


@pytest.mark.usefixtures("always")
def test_where_no_thread_can_be_started_one_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    x, y = samples(500)
    alone = trained(1, x, y, [8])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.warns(RuntimeWarning, match="can't start new thread"):
        together = trained(2, x, y, [8])
    assert same(alone, together)


@pytest.mark.usefixtures("always")
def test_several_trainers_at_once() -> None:
    data = [samples(400) for _ in range(4)]
    alone = [trained(1, x, y, [9], 30) for x, y in data]
    found: dict[int, Any] = {}

    def train(k: int) -> None:
        found[k] = trained(2, *data[k], [9], 30)

    running = [threading.Thread(target=train, args=(k,)) for k in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert all(same(alone[k], found[k]) for k in range(4))


@pytest.mark.usefixtures("always")
def test_members_of_many_fits_keep_to_their_threads() -> None:
    gc.collect()
    before = len(helpers())
    x, y = samples(400)
    specs: list[dict[str, Any]] = [{"seed": k, "n_threads": 2} for k in range(3)]
    options: dict[str, Any] = {"n_iterations": 40, "batch_size": 400}
    fits = fit_many(specs, x, y, n_threads=2, **options)
    assert len(helpers()) == before
    for spec, net in zip(specs, fits, strict=True):
        assert net is not None
        assert np.array_equal(net.parameters, fit(x, y, **spec, **options).parameters)
    trainers = [Trainer(NN(3, [8], 2, rng=k), ArraySource(x, y, 400), n_threads=2) for k in range(2)]
    gc.collect()
    before = len(helpers())
    Population(trainers).run(20, n_threads=2)
    assert len(helpers()) == before


def test_no_trials_where_there_can_be_no_team(monkeypatch: pytest.MonkeyPatch, always: None) -> None:
    monkeypatch.setattr(team.Pace, "trial_size", lambda _: 1.0)
    x, y = samples(200)
    sources = [ArraySource(x, y, 200) for _ in range(2)]
    trainers = [Trainer(NN(3, [2], 2, rng=1), one, n_threads=2, chunk_size=5000) for one in sources]
    assert all(trainer._steps.chunks._team.trial_size() == 1.0 for trainer in trainers)
    Population(trainers).run(5000, n_threads=2)
    assert same(*[[trainer.net.parameters] for trainer in trainers])


@needs_fork
@pytest.mark.usefixtures("always")
def test_a_fork_in_the_middle_goes_on_with_threads_of_its_own() -> None:
    x, y = samples(400)
    alone = trained(1, x, y, [9], 40)
    net = NN(3, [9], 2, rng=1, init="glorot_uniform")
    trainer = Trainer(net, ArraySource(x, y, 400, rng=2), learning_rate=0.01, n_threads=2)
    children: list[int] = []

    def fork(run: Any) -> None:
        if not children:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # that threads and fork do not mix
                children.append(os.fork())

    trainer.run(20)
    status = 1
    try:
        trainer.run(20, callbacks=[fork])
        status = 0 if np.array_equal(net.parameters, alone[0]) else 2
    finally:
        if children and children[0] == 0:
            os._exit(status)
    assert status == 0
    assert children == [] or os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


_END_IN_THE_MIDDLE = """
import threading, time
import numpy as np
from crabnet_jit import NN, ArraySource, Trainer
from crabnet_jit.training import team, threads
threads.usable_cores = lambda: 2
team.Pace.choose = lambda self: True
x = np.random.default_rng(1).normal(size=(2000, 2))
trainer = Trainer(NN(2, [32, 32], 1, rng=1), ArraySource(x, x[:, :1], 2000), n_threads=2)
trainer.run(3)
threading.Thread(target=trainer.run, args=(10**9,), daemon=True).start()
time.sleep(0.3)
print("end", flush=True)
"""


def test_the_end_of_the_interpreter_in_the_middle() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _END_IN_THE_MIDDLE], capture_output=True, text=True, timeout=120, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "end\n", "")


_AT_THE_END = """
import atexit
atexit.register(lambda: (trainer.run(3), print("trained", flush=True)))
import numpy as np
from crabnet_jit import NN, ArraySource, Trainer
from crabnet_jit.training import team, threads
threads.usable_cores = lambda: 2
team.Pace.choose = lambda self: True
x = np.random.default_rng(1).normal(size=(2000, 2))
trainer = Trainer(NN(2, [32, 32], 1, rng=1), ArraySource(x, x[:, :1], 2000), n_threads=2)
trainer.run(3)
"""


def test_training_at_the_end_of_the_interpreter() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _AT_THE_END], capture_output=True, text=True, timeout=120, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "trained\n", "")


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "all", None])
def test_bad_numbers_of_threads(value: Any) -> None:
    x, y = samples(10)
    calls: list[Callable[[], Any]] = [
        lambda: Trainer(NN(3, [2], 2, rng=1), ArraySource(x, y, 5), n_threads=value),
        lambda: Objective(NN(3, [2], 2, rng=1), x, y, n_threads=value),
        lambda: fit(x, y, n_threads=value),
        lambda: fit_many([{"n_threads": value}], x, y),
    ]
    for call in calls:
        with pytest.raises((InvalidArgumentError, TypeError), match="n_threads"):
            call()


def test_more_threads_than_cores_are_reported_once_and_not_started() -> None:
    x, y = samples(300)
    with pytest.warns(RuntimeWarning, match="n_threads=7, but this process may use 4 cores") as caught:
        net = fit(x, y, n_threads=7, n_iterations=20, validation=0.5)
    assert len(caught) == 1
    assert np.array_equal(net.parameters, fit(x, y, n_iterations=20, validation=0.5).parameters)


def test_a_single_core_stays_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    x, y = samples(5000)
    trainer = Trainer(NN(3, [64, 64], 2, rng=1), ArraySource(x, y, 5000), n_threads="auto")
    assert trainer.n_threads == 1
    assert trainer._steps.chunks._team is None


def test_small_work_stays_on_one_thread() -> None:
    source = UniformSource(StandardGaussian(), rng=1)
    article = Trainer(NN(2, [8, 8], 1, rng=1), source, n_threads=4)
    assert article._steps.chunks._team is None
    x, y = samples(2000)
    small = Trainer(NN(3, [2], 2, rng=1), ArraySource(x, y, 2000), n_threads=4)
    assert small._steps.chunks._team is None
    large = Trainer(NN(3, [64, 64], 2, rng=1), ArraySource(x, y, 2000), n_threads=4)
    assert large._steps.chunks._team is not None


@pytest.mark.parametrize("n", [1, 7, 8, 100])
@pytest.mark.parametrize("n_positions", [1, 2, 3, 5])
@pytest.mark.parametrize("step", [1, 8])
def test_shares_are_disjoint_and_whole(n: int, n_positions: int, step: int) -> None:
    shares = [meeting.share.py_func(k, n_positions, n, step) for k in range(n_positions)]
    assert [i for first, last in shares for i in range(first, last)] == list(range(n))
    assert all(first % step == 0 or first == n for first, _ in shares)
    sizes = [-(-(last - first) // step) for first, last in shares]
    assert max(sizes) == sizes[0] <= min(sizes) + 1


def test_threads_meet_as_often_as_they_say() -> None:
    """Each sees all that the others wrote before the meeting."""

    def counted(of_thread: Any, marks: Any, n: int) -> int:
        wrong = 0
        for k in range(n):
            marks[of_thread.me * 16] = k
            meeting.meet(of_thread)
            for other in range(of_thread.n):
                wrong += marks[other * 16] != k
            meeting.meet(of_thread)
        return wrong

    count = njit(nogil=True)(counted)
    flags, marks = meeting.new_flags(3), np.zeros(64, np.int64)
    wrongs: list[int] = []
    count(meeting.Team(meeting.new_flags(1), 0, 1), marks, 1)
    running = [
        threading.Thread(target=lambda k=k: wrongs.append(count(meeting.Team(flags, k, 3), marks, 300)))
        for k in range(3)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert wrongs == [0, 0, 0]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("optimizer", ["levenberg_marquardt", "bayesian_regularization"])
@pytest.mark.parametrize("hidden", [[5], [16, 16], [3, 20, 2]])
def test_second_order_has_the_bits_of_one_thread(hidden: list[int], optimizer: str) -> None:
    x = RNG.uniform(-2, 2, (1000, 2))
    y = np.sin(x[:, :1]) * x[:, 1:] + 0.1 * RNG.normal(size=(1000, 1))
    found = []
    for n_threads in (1, 2, 3):
        net = NN(2, hidden, 1, rng=1, activation="tanh", init="glorot_uniform")
        trainer = Trainer(net, ArraySource(x, y, 1000), optimizer=optimizer, n_threads=n_threads)
        found.append([trainer.run(30).losses, net.parameters])
        assert (trainer._steps.chunks._method._team is not None) == (n_threads > 1)
        helpers = trainer._steps.chunks._method._helpers
        assert all(one.curvature.matrix.size == 0 for one in helpers)  # which only the leader needs
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@pytest.mark.usefixtures("always")
def test_an_objective_is_minimised_by_a_team() -> None:
    x, y = samples(600)
    found = []
    for n_threads in (1, 2):
        net = NN(3, [8], 2, rng=1, activation="tanh", init="glorot_uniform")
        Objective(net, x, y, n_threads=n_threads).minimize(10, optimizer="levenberg_marquardt")
        Objective(net, x, y, n_threads=n_threads).minimize(10)
        found.append(net.parameters)
    assert np.array_equal(found[0], found[1])


@pytest.mark.usefixtures("always")
def test_ctrl_c_stops_second_order_between_two_iterations() -> None:
    x, y = samples(20_000)
    net = NN(3, [24, 24], 2, rng=1, activation="tanh", init="glorot_uniform")
    trainer = Trainer(net, ArraySource(x, y, 20_000), optimizer="levenberg_marquardt", n_threads=2)
    trainer.compile()
    trainer.run(1)
    thread = interrupt_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(1000)
    thread.join()
    trainer.run(1)
    again = NN(3, [24, 24], 2, rng=1, activation="tanh", init="glorot_uniform")
    alone = Trainer(again, ArraySource(x, y, 20_000), optimizer="levenberg_marquardt")
    alone.run(trainer.iteration)
    assert np.array_equal(net.parameters, again.parameters)


def shortest(call: Callable[[], object], seconds: float = math.inf) -> float:
    """The seconds that it takes, of a few times."""
    for _ in range(4):
        start = time.perf_counter()
        call()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds


@pytest.mark.usefixtures("always")
def test_helpers_see_signals_too() -> None:
    """Otherwise Ctrl-C would wait until they have done their shares."""
    flag = signals.new_flag()
    x, y = samples(8000)
    objective = Objective(NN(3, [256, 256], 2, rng=1, init="glorot_uniform"), x, y, n_threads=2)
    workspace = objective._compiled.workspace._replace(interrupt=flag)
    net = NN(3, [40, 40], 2, rng=1, activation="tanh", init="glorot_uniform")
    source = ArraySource(x[:1000], y[:1000], 1000)
    trainer = Trainer(net, source, optimizer="levenberg_marquardt", n_threads=2)
    method, losses = trainer._steps.chunks._method, np.empty(1)
    calls = [lambda: objective._run_kernel(workspace), lambda: method.run(losses, flag)]
    whole = [shortest(call) for call in calls]
    signals.set_flag(flag)
    stopped = [shortest(call) for call in calls]
    assert stopped[0] < 0.3 * whole[0]
    assert stopped[1] < 0.3 * whole[1]
