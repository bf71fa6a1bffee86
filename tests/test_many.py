"""Many fits side by side: each is that of its own call, and none holds the others up."""

import copy
import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainers import article, straight

from crabnet_jit import (
    NN,
    ArraySource,
    Cosine,
    FileFormatError,
    Fits,
    InvalidArgumentError,
    Population,
    StdRng,
    Trainer,
    fit,
    fit_many,
)
from crabnet_jit.fitting.fits_file import read_fits
from crabnet_jit.machine import cores, memory
from crabnet_jit.training import threads

GENERATOR = np.random.default_rng(1)
X = GENERATOR.uniform(-2, 2, (200, 2))
Y = np.sin(X[:, 0]) * X[:, 1] + 5
DY = np.column_stack([np.cos(X[:, 0]) * X[:, 1], np.sin(X[:, 0])])
SHARED: dict[str, Any] = {"n_iterations": 300, "hidden_sizes": (4,)}
SPECS: list[dict[str, Any]] = [
    {"seed": 1},
    {"seed": 2, "optimizer": "sgd", "batch_size": 16, "activation": "relu"},
    {"hidden_sizes": (3, 5), "activation": ["sine", "gelu"], "learning_rate": 0.02, "n_iterations": 450},
    {"validation": 0.25, "patience": 3, "dropout": 0.1, "seed": StdRng(5)},
    {"optimizer": "levenberg_marquardt", "n_iterations": 10},
    {"loss": "huber", "dtype": "float32", "standardize": False, "keep_losses": 0},
    {"sample_weight": np.arange(200.0), "l2": 0.01, "batch_size": 200},
    {"on_divergence": "skip", "hidden_sizes": (), "loss": "quantile", "batch_size": 33},
    {"dy": DY, "dy_weight": 0.5, "learning_rate": 0.01},
    {"output_range": (0.0, 20.0), "validation": 0.2, "dy": DY},
]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)


def long_specs(n: int = 6) -> list[dict[str, Any]]:
    """Fits that take some tenths of a second each."""
    return [{"seed": k, "n_iterations": 20_000 + 1000 * k, "batch_size": 16} for k in range(n)]


def assert_same(net: NN | None, wanted: NN) -> None:
    assert net is not None
    assert np.array_equal(net.parameters, wanted.parameters)
    assert np.array_equal(net.predict(X), wanted.predict(X))


def interrupt(seconds: float) -> threading.Timer:
    """Let this process have a Ctrl-C, in so many seconds."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


# ---- the same networks ----


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize("n_threads", [1, 2, "auto"])
def test_each_network_is_that_of_its_own_fit(n_threads: Any) -> None:
    alone = [fit(X, Y, **{**SHARED, **spec}) for spec in SPECS]
    for order in (slice(None), slice(None, None, -1), slice(2, 5)):
        fits = fit_many(SPECS[order], X, Y, n_threads=n_threads, **SHARED)
        for net, wanted in zip(fits, alone[order], strict=True):
            assert_same(net, wanted)
            assert net is not None
            assert net.fit_history is not None
            assert wanted.fit_history is not None
            assert np.array_equal(net.fit_history.losses, wanted.fit_history.losses)
            assert net.fit_history.validation_losses == wanted.fit_history.validation_losses
            for mine, other in zip(net.fit_history[3:], wanted.fit_history[3:], strict=True):
                assert np.array_equal(mine, other)
            assert repr(net.domain) == repr(wanted.domain)


def test_more_threads_than_cores_give_the_same_with_a_warning() -> None:
    n = cores.usable_cores() + 3
    with pytest.warns(RuntimeWarning, match=f"n_threads={n}, but this process may use {n - 3} cores") as said:
        fits = fit_many(SPECS, X, Y, n_threads=n, **SHARED)
    assert said[0].filename == __file__
    for net, spec in zip(fits, SPECS, strict=True):
        assert_same(net, fit(X, Y, **{**SHARED, **spec}))


def test_a_fit_is_that_of_its_parts() -> None:
    """The seed's draws make the parameters, then the order of samples."""
    fitted = fit_many([{"seed": 7}], X, Y, batch_size=16, **SHARED)[0]
    assert fitted is not None
    rng = StdRng(7)
    net = NN(2, (4,), 1, rng, activation="tanh", init="glorot_uniform")
    net.standardization = fitted.standardization
    rate = Cosine(0.003, 300, warmup=30)
    Trainer(net, ArraySource(X, Y, 16, rng=rng), optimizer="adam", learning_rate=rate).run(300)
    assert np.array_equal(net.parameters, fitted.parameters)
    assert np.array_equal(net.parameters, fit(X, Y, batch_size=16, seed=7, **SHARED).parameters)


def test_labels_gaps_and_starts() -> None:
    gaps = X.copy()
    gaps[::7, 1] = np.nan
    labels = np.where(Y > 5, "high", "low")
    options: dict[str, Any] = {"missing": "mean", "n_iterations": 200}
    start = fit(gaps, labels, hidden_sizes=(3,), **options)
    specs: list[dict[str, Any]] = [
        {"seed": 1},
        {"start": start},
        {"start": start, "seed": 2, "validation": 0.2},
    ]
    for net, spec in zip(fit_many(specs, gaps, labels, **options), specs, strict=True):
        assert net is not None
        assert np.array_equal(
            net.predict_proba(gaps), fit(gaps, labels, **spec, **options).predict_proba(gaps)
        )


def test_what_is_doubtful_about_shared_data_is_said_once() -> None:
    with pytest.warns(RuntimeWarning, match=r"dy with respect to input 0 looks like 1e\+02 times") as said:
        fit_many([{"seed": k} for k in range(4)], X, Y, dy=100 * DY, **SHARED)
    assert len(said) == 1


def test_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "up", "down")})
    (net,) = fit_many([{}], frame, frame["a"], **SHARED)
    assert net is not None
    assert net.feature_names == ["a", "b"]
    assert np.array_equal(net.predict(frame), fit(frame, frame["a"], **SHARED).predict(frame))


def test_specs_come_before_shared_arguments_and_neither_is_changed() -> None:
    specs = [{"n_iterations": 7}, {}]
    fits = fit_many(tuple(specs), X, Y, n_iterations=5, hidden_sizes=(2,))
    assert [net.fit_history.n_iterations for net in fits.networks if net.fit_history] == [7, 5]
    assert specs == [{"n_iterations": 7}, {}]
    assert fit_many([], X, Y) == []


def test_the_data_are_shared() -> None:
    before = X.tobytes(), Y.tobytes()
    fits = fit_many([{"seed": k} for k in range(3)], X, Y, **SHARED)
    histories = [net.fit_history for net in fits.networks]
    assert len({id(history.training_rows) for history in histories if history is not None}) == 1
    assert (X.tobytes(), Y.tobytes()) == before


# ---- what is wrong with a spec ----


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"hidden_sizes": (0,)}, r"specs\[2\]: hidden_sizes\[0\] must be an integer of at least 1, got 0"),
        ({"loss": "cross_entropy"}, r"specs\[2\]: "),
        ({"seed": -1}, r"specs\[2\]: seed must be"),
        ({"validation": 2.0}, r"specs\[2\]: validation must be"),
        ({"start": NN(3, [2], 1)}, r"specs\[2\]: start.in_features must be"),
        ({"optimizer": "levenberg_marquardt", "batch_size": 8}, r"specs\[2\]: batch_size must be left out"),
        ({"callbacks": []}, r"specs\[2\] cannot have 'callbacks'; `progress` and `checkpoint`"),
        ({"resume": "run.npz"}, r"specs\[2\] cannot have 'resume'; `resume` of fit_many"),
        ({"on_check": print}, r"specs\[2\] cannot have 'on_check'"),
        ({"lr": 0.1}, r"specs\[2\] has no argument 'lr'; .*learning_rate"),
        ({1: 2}, r"specs\[2\] has no argument 1; names must be strings"),
        ({"x": X}, r"specs\[2\] has no argument 'x'"),
        (7, r"specs\[2\] must be a dict of arguments of fit, got 7"),
    ],
)
def test_a_wrong_spec_is_named_before_anything_runs(spec: Any, message: str) -> None:
    asked: list[int] = []

    def rate(iterations: Any) -> Any:
        asked.extend(iterations)
        return np.full(np.shape(iterations), 0.01)

    with pytest.raises(InvalidArgumentError, match=message):
        fit_many([{"learning_rate": rate}, {}, spec], X, Y, **SHARED)
    assert asked == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_threads": 0}, "n_threads must be an integer of at least 1, got 0"),
        ({"n_threads": "two"}, "n_threads must be 'auto' or an integer of at least 1, got 'two'"),
        ({"specs": {"seed": 1}}, "specs must be a sequence of dicts"),
        ({"specs": 3}, "specs must be a sequence of dicts, got 3"),
        ({"progress": 1}, "progress must be True or False"),
        ({"checkpoint": "no/such/folder.npz"}, "checkpoint must be a file in a folder that exists"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be"),
        ({"threads": 2}, "fit_many has no argument 'threads'"),
        ({"callbacks": []}, "fit_many cannot have 'callbacks'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        fit_many(**{"specs": [{}], "x": X, "y": Y, **arguments})


def test_memory_that_would_not_suffice_is_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**8)
    specs = [{"seed": k} for k in range(100)]
    with pytest.raises(
        MemoryError, match=r"100 networks with their histories need 0\.2 GB, but only 0\.1 GB is free"
    ):
        fit_many(specs, X, Y, n_iterations=200_000)
    assert len(fit_many(specs[:3], X, Y, **SHARED)) == 3


# ---- one that diverges, or fails ----


def test_one_that_diverges_is_reported_and_stops_nobody() -> None:
    bad = {"learning_rate": 1e9, "standardize": False, "optimizer": "sgd", "n_iterations": 300}
    with pytest.warns(
        RuntimeWarning, match="2 networks diverged, see `errors`: at 1, 3; the one at 1: .*"
    ) as said:
        fits = fit_many([{}, bad, {"seed": 3}, bad], X, Y, **SHARED)
    assert (fits[1], fits[3], [*fits.errors]) == (None, None, [1, 3])
    assert said[0].filename == __file__
    assert repr(fits) == "Fits(4 networks, 2 of them diverged)"
    assert_same(fits[2], fit(X, Y, seed=3, **SHARED))
    assert len(fits.networks) == 2
    with pytest.raises(FloatingPointError) as alone:
        fit(X, Y, **{**SHARED, **bad})
    assert str(fits.errors[1]) == str(alone.value)
    for other in (copy.copy(fits), pickle.loads(pickle.dumps(fits))):
        assert isinstance(other, Fits)
        assert [*other.errors] == [1, 3]


def test_an_error_in_a_users_function_names_the_spec_and_ends_all() -> None:
    threads = set(threading.enumerate())

    def rate(iterations: Any) -> Any:
        raise OSError("no rates today")

    with pytest.raises(OSError, match="no rates today") as failure:
        fit_many([{}, {"learning_rate": rate}, *long_specs()], X, Y, **SHARED)
    assert failure.value.__notes__ == ["in the fit of specs[1]"]
    assert set(threading.enumerate()) <= threads


# ---- Ctrl-C, checkpoints ----


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.filterwarnings("ignore:n_threads=2")
def test_ctrl_c_ends_all_at_once_and_the_rest_can_be_resumed(tmp_path: Path, n_threads: int) -> None:
    specs, file, threads = long_specs(), tmp_path / "many.npz", set(threading.enumerate())
    wanted = fit_many(specs, X, Y, hidden_sizes=(8, 8))
    handler = signal.getsignal(signal.SIGINT)

    def interrupt_later() -> None:
        while not file.exists() or not read_fits(file):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt_later)
    watcher.start()
    options: dict[str, Any] = {"checkpoint": file, "checkpoint_seconds": 0.0, "n_threads": n_threads}
    with pytest.raises(KeyboardInterrupt):
        fit_many(specs * 4, X, Y, hidden_sizes=(8, 8), **options)
    watcher.join()
    assert set(threading.enumerate()) <= threads
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = fit_many(specs * 4, X, Y, hidden_sizes=(8, 8), resume=file)
    events = [net.fit_history.training.events for net in resumed.networks if net.fit_history is not None]
    n_taken = sum(len(one) for one in events)
    assert 0 < n_taken < len(specs) * 4
    assert events[0] == [(20_000, "taken from a checkpoint")]
    for net, other in zip(resumed, [*wanted] * 4, strict=True):
        assert other is not None
        assert_same(net, other)


def test_ctrl_c_is_answered_within_a_tenth_of_a_second() -> None:
    delays = []
    for _ in range(3):
        began = time.perf_counter()
        timer = interrupt(0.3)
        with pytest.raises(KeyboardInterrupt):
            fit_many([{"n_iterations": 10_000_000, "keep_losses": 0}] * 4, X, Y, hidden_sizes=(64, 64))
        delays.append(time.perf_counter() - began - 0.3)
        timer.join()
    assert min(delays) < 0.1


def test_a_handler_that_raises_nothing_stops_nothing() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        timer = interrupt(0.05)
        fits = fit_many(long_specs(3), X, Y, hidden_sizes=(8, 8))
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]
    assert_same(fits[2], fit(X, Y, hidden_sizes=(8, 8), **long_specs(3)[2]))


def test_a_checkpoint_has_all_that_a_network_is(tmp_path: Path) -> None:
    file = tmp_path / "many.npz"
    diverging = {"learning_rate": 1e9, "standardize": False, "optimizer": "sgd"}
    bayesian = {"optimizer": "bayesian_regularization", "n_iterations": 20}
    specs = [*SPECS, bayesian, diverging]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = fit_many(specs, X, Y, checkpoint=file, **SHARED)
        again = fit_many(specs, X, Y, resume=file, **SHARED)
    for net, other in zip(first.networks, again.networks, strict=True):
        assert_same(net, other)
        assert net.fit_history is not None
        assert other.fit_history is not None
        n = net.fit_history.n_iterations
        assert other.fit_history.n_iterations == n
        assert net.fit_history.training.running_loss(n - 1) == other.fit_history.training.running_loss(n - 1)
        assert net.fit_history.validation_losses == other.fit_history.validation_losses
        assert np.array_equal(net.fit_history.training_rows, other.fit_history.training_rows)
        assert (net.posterior is None) == (other.posterior is None)
        if net.posterior is not None:
            assert np.array_equal(net.predict(X, return_std=True)[1], other.predict(X, return_std=True)[1])
    assert str(first.errors[len(specs) - 1]) == str(again.errors[len(specs) - 1])


def other_data(specs: list[dict[str, Any]]) -> Any:
    return fit_many(specs, X, Y + 1e-9, resume="many.npz", **SHARED)


def other_seed(specs: list[dict[str, Any]]) -> Any:
    return fit_many([specs[0], {"seed": 9}], X, Y, resume="many.npz", **SHARED)


def fewer_specs(specs: list[dict[str, Any]]) -> Any:
    return fit_many(specs[:1], X, Y, resume="many.npz", **SHARED)


@pytest.mark.parametrize("change", [other_data, other_seed, fewer_specs])
def test_a_checkpoint_of_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    specs = [{"seed": 1}, {"seed": 2}]
    fit_many(specs, X, Y, checkpoint="many.npz", **SHARED)
    fit_many([*specs, {"seed": 3}], X, Y, resume="many.npz", keep_losses=5, **SHARED)
    with pytest.raises(
        FileFormatError, match=r"belongs to other specs or data: they differ at specs\[[01]\]"
    ):
        change(specs)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "many.npz"
    fit_many([{"seed": 1}], X, Y, checkpoint=file, **SHARED)
    content = bytearray(file.read_bytes())
    for at in range(0, len(content), 97):
        broken = bytearray(content)
        broken[at] ^= 0xFF
        file.write_bytes(broken)
        try:
            fits = fit_many([{"seed": 1}], X, Y, resume=file, **SHARED)
        except FileFormatError:
            continue
        assert_same(fits[0], fit(X, Y, seed=1, **SHARED))
    with pytest.raises(FileNotFoundError):
        fit_many([{"seed": 1}], X, Y, resume=tmp_path / "none.npz", **SHARED)


def test_checkpoints_are_written_on_the_way_and_failing_ones_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = __import__("crabnet_jit.fitting.fit_many", fromlist=["_"])
    sizes: list[int] = []
    monkeypatch.setattr(module, "write_fits", lambda path, finished: sizes.append(len(finished)))
    fit_many(long_specs(4), X, Y, hidden_sizes=(8, 8), checkpoint=tmp_path / "m", checkpoint_seconds=0.0)
    assert len(sizes) > 2
    assert sizes == sorted(sizes)
    assert sizes[-1] == 4

    def fails(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "write_fits", fails)
    with pytest.warns(RuntimeWarning, match="no checkpoint of 1 networks: disk full"):
        fits = fit_many([{}], X, Y, checkpoint=tmp_path / "m", **SHARED)
    assert_same(fits[0], fit(X, Y, **SHARED))


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    fit_many(SPECS[:3], X, Y, progress=True, **SHARED)
    text = capsys.readouterr().err
    assert "3/3 networks" in text
    assert "1.05k" in text or "1050" in text


# ---- company ----


def test_several_at_once_and_from_threads() -> None:
    results: list[Fits] = []
    calls = [
        threading.Thread(target=lambda: results.append(fit_many(SPECS[:4], X, Y, **SHARED))) for _ in range(3)
    ]
    for call in calls:
        call.start()
    here = fit_many(SPECS[:4], X, Y, **SHARED)
    for call in calls:
        call.join()
    assert len(results) == 3
    for fits in results:
        for net, wanted in zip(fits, here, strict=True):
            assert wanted is not None
            assert_same(net, wanted)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_in_the_middle() -> None:
    codes: list[int] = []

    def fork() -> None:
        time.sleep(0.05)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            fits = fit_many(SPECS[:2], X, Y, **SHARED)
            os._exit(0 if len(fits.networks) == 2 else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    fit_many(SPECS[:2], X, Y, **SHARED)  # compiles
    thread = threading.Thread(target=fork)
    thread.start()
    fits = fit_many(long_specs(4), X, Y, hidden_sizes=(8, 8))
    thread.join()
    assert codes == [0]
    assert_same(fits[3], fit(X, Y, hidden_sizes=(8, 8), **long_specs(4)[3]))


# ---- cores ----


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "groups", "wanted"),
    [
        ({}, "", 8),
        ({"cpu.max": "max 100000\n"}, "0::/\n", 8),
        ({"cpu.max": "200000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "1000 100000\n"}, "0::/\n", 1),
        ({"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 3),
        (
            {"cpu/c/cpu.cfs_quota_us": "400000\n", "cpu/c/cpu.cfs_period_us": "100000\n"},
            "4:memory:/c\n1:cpu,cpuacct:/c\n",
            4,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", 8),
        ({"cpu.max": "nonsense\n"}, "0::/\n", 8),
        ({"cpu.max": "9900000 100000\n"}, "0::/\n", 8),
    ],
)
def test_cores_that_the_quota_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], groups: str, wanted: int
) -> None:
    write(tmp_path / "cgroup", files)
    write(tmp_path, {"groups": groups})
    monkeypatch.setattr(cores, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "_scheduled", lambda: 8)
    assert cores.usable_cores() == wanted


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinities")
def test_cores_that_the_affinity_leaves() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.usable_cores() == 1
        assert_same(fit_many([{}], X, Y, **SHARED)[0], fit(X, Y, **SHARED))
    finally:
        os.sched_setaffinity(0, before)


# ---- trainers ----


@pytest.fixture
def trainers() -> list[Any]:
    return [article(seed=1), article((5,), seed=2, optimizer="adam"), article(seed=3, batch_size=40)]


def test_trainers_side_by_side_give_the_same_bits(trainers: list[Any]) -> None:
    population = Population(trainers)
    histories = population.run(3000)
    alone = [article(seed=1), article((5,), seed=2, optimizer="adam"), article(seed=3, batch_size=40)]
    for trainer, history, other in zip(trainers, histories, alone, strict=True):
        assert np.array_equal(history.losses, other.run(3000).losses)
        assert np.array_equal(trainer.net.parameters, other.net.parameters)
    population.run(100, n_threads=1)
    assert [trainer.iteration for trainer in trainers] == [3100] * 3
    assert (len(population), repr(population), population.errors) == (3, "Population(3 trainers)", {})
    assert Population([]).run(1) == []


def test_trainers_go_on_after_ctrl_c(trainers: list[Any]) -> None:
    timer = interrupt(0.1)
    with pytest.raises(KeyboardInterrupt):
        Population(trainers).run(100_000_000)
    timer.join()
    alone = [article(seed=1), article((5,), seed=2, optimizer="adam"), article(seed=3, batch_size=40)]
    for trainer, other in zip(trainers, alone, strict=True):
        trainer.run(1000)
        assert np.array_equal(trainer.history.losses, other.run(trainer.iteration).losses)
        assert np.array_equal(trainer.net.parameters, other.net.parameters)


def test_trainers_that_diverge_are_told() -> None:
    population = Population([straight(0.5), straight(1.5), straight(0.6)])
    with pytest.warns(
        RuntimeWarning, match="1 trainer diverged, see `errors`: at 1; the one at 1: the loss"
    ) as said:
        histories = population.run(5000)
    assert [*population.errors] == [1]
    assert said[0].filename == __file__
    assert [history.n_iterations for history in histories][::2] == [5000, 5000]


def test_wrong_trainers(trainers: list[Any]) -> None:
    with pytest.raises(
        InvalidArgumentError, match=r"trainers\[3\].net must be a network of its own, got that of"
    ):
        Population([*trainers, trainers[0]])
    with pytest.raises(InvalidArgumentError, match=r"trainers\[0\] must be a Trainer"):
        Population([NN(1, [], 1)])  # type: ignore[list-item]
    with pytest.raises(InvalidArgumentError, match="trainers must be a sequence of trainers, got 3"):
        Population(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="n_threads must be an integer of at least 1"):
        Population(trainers).run(1, n_threads=0)
    with pytest.raises(InvalidArgumentError, match="n_iterations must be an integer of at least 0"):
        Population(trainers).run(-1)
