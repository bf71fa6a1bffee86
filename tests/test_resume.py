"""A run that is cut, watched, saved, loaded or interrupted is the run, bit for bit."""

import csv
import functools
import io
import itertools
import json
import math
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crabnet_jit import (
    NN,
    OPTIMIZERS,
    SGD,
    Adam,
    ArraySource,
    Callback,
    Checkpoint,
    Constant,
    Cosine,
    DivergenceError,
    EarlyStopping,
    Every,
    ExponentialDecay,
    LogFile,
    Objective,
    OneCycle,
    ProgressBar,
    Run,
    Source,
    StandardGaussian,
    StdRng,
    StepDecay,
    Target,
    TimeBudget,
    Trainer,
    UniformSource,
    fit,
)
from crabnet_jit.kernels.curvature_entries import levenberg_marquardt
from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.training import second_order
from crabnet_jit.training import trainer as trainer_module
from crabnet_jit.training.chunks import Chunks


def examples(n: int) -> settings:
    return settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


class Alarm:
    """Raises SIGINT when `tick` is called for the `left`-th time from now on."""

    left = 0

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


ALARM = Alarm()


@pytest.fixture(autouse=True)
def _calm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No alarm is left, signals are handled as before, and no test waits for a disk."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    ALARM.left = 0
    handler = signal.getsignal(signal.SIGINT)
    yield
    ALARM.left = 0
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.set_wakeup_fd(-1) == -1


# ---- jobs ----


class Lattice(Source):
    """A user's source of exact arithmetic; targets are huge in some iterations."""

    in_features, out_features = 2, 1

    def __init__(self, batch_size: int, bad: Sequence[int] = (), huge: float = 1e200) -> None:
        self.batch_size = batch_size
        self._bad, self._huge = bad, huge

    def fill(self, iteration: int, batches: Any) -> None:
        x, target = batches.x, batches.target
        ALARM.tick()
        n, n_panels, n_features, width = x.shape
        i = iteration + np.arange(n)[:, None, None, None]
        column = np.arange(n_panels * width).reshape(n_panels, 1, width)
        x[:] = (37 * i + 11 * column + 5 * np.arange(n_features)[:, None]) % 101 / 25 - 2
        target[:] = x[:, :, :1] - x[:, :, 1:] ** 2 / 2
        target[np.isin(i.ravel(), self._bad)] = self._huge


def sine(x: Any) -> Any:
    ALARM.tick()
    return np.sin(x[:, 0])


def exponential(x: Any) -> Any:
    ALARM.tick()
    return np.exp(-(x**2).sum(axis=1))[:, None]


def cosines(x: Any) -> Any:
    ALARM.tick()
    return np.cos(3 * x[:, 1]) * np.cos(x[:, 0])


@functools.cache
def saddle() -> Target:
    def function(x: float, y: float) -> float:
        return x * y + math.sin(x)

    return UniformSource(numba.njit(function)).target


def cliff(height: float) -> Callable[[Any], Any]:
    def target(x: Any) -> Any:
        ALARM.tick()
        return np.where(x[:, 0] > 2.9, height, np.sin(x[:, 0]))

    return target


def data(n: int, **options: Any) -> Callable[[int, int | None, float], Source]:
    rng = np.random.default_rng(n)
    x = rng.uniform(-2, 2, (n, 2))
    y = np.sin(2 * x[:, 0]) + x[:, 1]
    weight = rng.uniform(0, 2, n) if options.pop("weighted", False) else None
    has_huge = options.pop("has_huge", False)

    def build(batch_size: int, seed: int | None, huge: float) -> Source:
        targets = y.copy()
        targets[3] = huge if has_huge else y[3]
        return ArraySource(x, targets, batch_size, sample_weight=weight, rng=seed, **options)

    return build


def drawn(target: Any) -> Callable[[int, int | None, float], Source]:
    def build(batch_size: int, seed: int | None, huge: float) -> Source:
        return UniformSource(target, [-3.0, -3.0], 3.0, batch_size, rng=seed)

    return build


def compiled(batch_size: int, seed: int | None, huge: float) -> Source:
    return drawn(saddle())(batch_size, seed, huge)


BAD = (0, 17, 18, 41, 99, 100, 1000, 1001)

SOURCES: dict[str, Callable[[int, int | None, float], Source]] = {
    "gaussian": drawn(StandardGaussian()),
    "sine": drawn(sine),
    "exponential": drawn(exponential),
    "cosines": drawn(cosines),
    "compiled": compiled,
    "shuffled": data(61),
    "in order": data(50, shuffle=False),
    "weighted": data(133, weighted=True),
    "user's": lambda batch_size, seed, huge: Lattice(batch_size, (), huge),
    "user's, huge": lambda batch_size, seed, huge: Lattice(batch_size, BAD, huge),
    "cliff": lambda batch_size, seed, huge: drawn(cliff(huge))(batch_size, seed, huge),
    "huge sample": data(61, has_huge=True),
}


def sawtooth(iterations: Any) -> Any:
    ALARM.tick()
    return 0.01 * (1 + iterations % 7)


def spikes(iterations: Any) -> Any:
    """Now and then a step makes the parameters overflow."""
    return np.where(iterations % 59 == 58, 1e308, 0.01)


def late_explosion(iterations: Any) -> Any:
    return np.where(iterations < 1300, 0.01, 5.0)


SCHEDULES: dict[str, Any] = {
    "decay": ExponentialDecay(0.05, 0.995),
    "article's": None,
    "number": 0.02,
    "constant": Constant(0.03),
    "steps": StepDecay(0.05, every=13, factor=0.7),
    "cosine": Cosine(0.05, n_iterations=300, warmup=20, final_rate=1e-4),
    "cycle": OneCycle(0.05, n_iterations=350),
    "user's": sawtooth,
    "spikes": spikes,
    "exploding": 5.0,
    "exploding late": late_explosion,
}
OPTIMISERS: dict[str, Any] = {
    **{name: kind() for name, kind in OPTIMIZERS.items()},
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.8, nesterov=True),
    "adam of other betas": Adam(betas=(0.5, 0.9)),
}
PENALTIES: list[dict[str, float]] = [
    {},
    {"l1": 1e-3},
    {"l2": 1e-2},
    {"clip_value": 0.1},
    {"clip_norm": 0.5},
    {"l1": 1e-4, "l2": 1e-3, "clip_value": 1.0, "clip_norm": 2.0},
]


class Job(NamedTuple):
    source: str
    optimizer: str
    schedule: str
    batch_size: int
    dtype: str
    dropout: float
    penalties: dict[str, float]
    on_divergence: str
    activation: str
    log_every: int
    n_iterations: int

    def trainer(self, seed: int | None = 1, **options: Any) -> Trainer:
        """Other seeds are of source and dropout only."""
        net = NN(2, [5, 3], 1, rng=1, activation=self.activation, init="glorot_uniform", dtype=self.dtype)
        return Trainer(
            net,
            SOURCES[self.source](self.batch_size, seed, 1e200 if self.dtype == "float64" else 1e25),
            optimizer=OPTIMISERS[self.optimizer],
            learning_rate=SCHEDULES[self.schedule],
            dropout=self.dropout,
            rng=StdRng(7 if seed is None else seed),
            on_divergence=self.on_divergence,
            **{"log_every": self.log_every, **self.penalties, **options},
        )


CHUNK_SIZES = st.sampled_from([None, 1, 2, 7, 64, 333, 1000])


@st.composite
def jobs(draw: st.DrawFn, /, **fixed: Any) -> Job:
    choices: dict[str, Any] = {
        "source": st.sampled_from([*SOURCES]),
        "optimizer": st.sampled_from([name for name, o in OPTIMISERS.items() if not o.is_second_order]),
        "schedule": st.sampled_from([*SCHEDULES]),
        "batch_size": st.sampled_from([1, 2, 7, 16, 130]),
        "dtype": st.sampled_from(["float64", "float32"]),
        "dropout": st.sampled_from([0.0, 0.3]),
        "penalties": st.sampled_from(PENALTIES),
        "on_divergence": st.sampled_from(["raise", "skip", "lower_rate"]),
        "activation": st.sampled_from(["relu", "tanh"]),
        "log_every": st.sampled_from([1, 10, 97, 1000]),
        "n_iterations": st.sampled_from([1, 30, 150, 400, 1400]),
    }
    job = Job(*(fixed[name] if name in fixed else draw(choices[name]) for name in Job._fields))
    return with_all_samples(job) if OPTIMISERS[job.optimizer].is_second_order else job


def with_all_samples(job: Job) -> Job:
    """One like it for an optimiser that needs second derivatives."""
    return job._replace(
        source="weighted" if job.batch_size > 7 else "in order",
        schedule="article's",  # it has none of its own
        batch_size=200,
        dtype="float64",
        dropout=0.0,
        on_divergence="raise",
        penalties={name: value for name, value in job.penalties.items() if name == "l2"},
    )


class Cut(NamedTuple):
    """A part of a run: how and after how many iterations it ends, and if it goes on in a new trainer."""

    ending: str
    after: int
    is_reloaded: bool
    chunk_size: int | None
    seed: int | None
    keep_losses: int | None
    watchers: list[str]


CUTS = st.lists(
    st.builds(
        Cut,
        st.sampled_from(["run", "log", "callback", "tick", "stop", "held"]),
        st.sampled_from([0, 1, 2, 5, 33, 100, 700, 1000, 1001]),
        st.booleans(),
        CHUNK_SIZES,
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, 0, 5, 2000]),
        st.lists(
            st.sampled_from(["every", "always", "stopping", "log", "bar", "checkpoint", "budget"]), max_size=3
        ),
    ),
    max_size=3,
)


class Always(Callback):
    """Called after every chunk; reads what there is to read."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, run: Run) -> None:
        self.n_calls += 1
        run.trainer.state()
        assert run.iteration == run.history.n_iterations
        assert run.running_loss == run.running_loss or run.iteration == 0


def watchers(names: list[str], every: int, folder: Path) -> list[Any]:
    def build(k: int) -> dict[str, Any]:
        return {
            "every": Every(every, lambda run: run.running_loss),
            "always": Always(),
            "stopping": EarlyStopping(patience=None, every=every, restore_best=False),
            "log": LogFile(folder / f"{k}.csv", every),
            "bar": ProgressBar(1e-9, io.StringIO()),
            "checkpoint": Checkpoint(folder / f"{k}.npz", every),
            "budget": TimeBudget(1e9),
        }

    return [build(k)[name] for k, name in enumerate(names)]


def run_part(trainer: Trainer, cut: Cut, left: int, folder: Path) -> None:
    """Some of the iterations that are left, perhaps all; none may be lost."""
    at = trainer.iteration + cut.after
    others = watchers(cut.watchers, max(1, cut.after // 3 * 2), folder)

    def interrupt(iteration: int, _loss: float) -> None:
        if iteration >= at:
            signal.raise_signal(signal.SIGINT)

    def interrupt_in_callback(_: Run) -> None:
        signal.raise_signal(signal.SIGINT)

    if cut.ending == "run":
        trainer.run(min(cut.after, left), callbacks=others)
    elif cut.ending == "stop":
        trainer.run(left, callbacks=[*others, Every(cut.after + 1, Run.stop)])
    else:
        on_log, more = None, []
        if cut.ending == "log":
            on_log = interrupt
        elif cut.ending == "callback":
            more = [Every(cut.after + 1, interrupt_in_callback)]
        else:
            ALARM.left = cut.after // 5 + 1
        try:
            if cut.ending == "held":  # right behind a compiled call, before its results are kept
                run_with_alarm_in_kernels(trainer, left, others)
            else:
                trainer.run(left, on_log, [*others, *more])
        except KeyboardInterrupt:
            pass
        finally:
            ALARM.left = 0


def run_with_alarm_in_kernels(trainer: Trainer, n_iterations: int, callbacks: list[Any]) -> None:
    def ticking(kernel: Any) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            result = kernel(*arguments)
            ALARM.tick()
            return result

        return run

    with pytest.MonkeyPatch.context() as patch:
        chunks = trainer._steps.chunks
        if isinstance(chunks, Chunks):
            kernels = chunks._compiled
            patch.setattr(chunks, "_compiled", kernels._replace(train=ticking(kernels.train)))
        patch.setattr(second_order, "levenberg_marquardt", ticking(levenberg_marquardt))
        trainer.run(n_iterations, callbacks=callbacks)


ENDS = ("resumed", "stopped", "interrupted")  # events of one run that another one, cut elsewhere, has not


def assert_same(trainer: Trainer, whole: Trainer) -> None:
    """All that a run leaves; of losses, log and events what a resumed run still has."""
    assert trainer.iteration == whole.iteration
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()
    assert trainer.optimizer_state.buffers.tobytes() == whole.optimizer_state.buffers.tobytes()
    assert trainer.optimizer_state.numbers.tobytes() == whole.optimizer_state.numbers.tobytes()
    assert math.isnan(whole.last_rate) or trainer.last_rate == whole.last_rate
    history, of_whole = trainer.history, whole.history
    kept = history.losses
    assert kept.tobytes() == of_whole.losses[history.first_iteration :].tobytes()
    assert kept.size >= min(trainer.iteration, 1001)
    if trainer.iteration > 0:
        last = trainer.iteration - 1
        assert history.running_loss(last) == of_whole.running_loss(last)
    resumed = [k for k, (_, event) in enumerate(history.events) if event == "resumed"]
    since = history.events[resumed[-1]][0] if resumed else 0
    assert history.log == of_whole.log[len(of_whole.log) - len(history.log) :]
    assert {i for i, _ in history.log} >= {i for i, _ in of_whole.log if i >= since}
    events, events_of_whole = (
        [entry for entry in each.events if not entry[1].startswith(ENDS)] for each in (history, of_whole)
    )
    assert events == events_of_whole[len(events_of_whole) - len(events) :]
    if not resumed:
        assert len(history.log) == len(of_whole.log)
        assert len(events) == len(events_of_whole)
        assert history.first_iteration == 0 or kept.size >= 1001


def assert_cuts_do_not_matter(job: Job, chunk_size: int | None, cuts: list[Cut]) -> None:
    whole = job.trainer()
    expected = error_of(whole, job.n_iterations)
    trainer = job.trainer(chunk_size=chunk_size)
    came: DivergenceError | None = None
    with tempfile.TemporaryDirectory() as name:
        try:
            for cut in cuts:
                run_part(trainer, cut, job.n_iterations - trainer.iteration, Path(name))
                if cut.is_reloaded:
                    trainer.save_checkpoint(Path(name, "run.npz"))
                    trainer = job.trainer(cut.seed, chunk_size=cut.chunk_size, keep_losses=cut.keep_losses)
                    trainer.load_checkpoint(Path(name, "run.npz"))
            trainer.run(job.n_iterations - trainer.iteration)
        except DivergenceError as error:
            came = error
    assert_same_error(came, expected)
    assert_same(trainer, whole)


def error_of(trainer: Trainer, n_iterations: int) -> DivergenceError | None:
    try:
        trainer.run(n_iterations)
    except DivergenceError as error:
        return error
    return None


def assert_same_error(came: DivergenceError | None, expected: DivergenceError | None) -> None:
    if expected is None or came is None:
        assert came is expected
        return
    assert came.iteration == expected.iteration
    np.testing.assert_array_equal([came.loss], [expected.loss])
    assert came.last_loss == expected.last_loss
    assert str(came) == str(expected)


# ---- any cut of any run ----

CASES = [
    *(("source", name) for name in SOURCES),
    *(("optimizer", name) for name in OPTIMISERS),
    *(("schedule", name) for name in SCHEDULES),
    *(("batch_size", size) for size in (1, 2, 7, 16, 130)),
    *(("on_divergence", policy) for policy in ("raise", "skip", "lower_rate")),
    *(("n_iterations", n) for n in (150, 2600)),
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_cuts_do_not_change_a_bit(name: str, value: Any) -> None:
    @examples(6)
    @given(jobs(**{name: value}), CHUNK_SIZES, CUTS)
    def check(job: Job, chunk_size: int | None, cuts: list[Cut]) -> None:
        assert_cuts_do_not_matter(job, chunk_size, cuts)

    check()


CALM = Job("gaussian", "adam", "decay", 16, "float64", 0.3, {}, "raise", "tanh", 100, 2600)
SKIPPING = CALM._replace(source="user's, huge", on_divergence="skip", n_iterations=1500)
ENDING = with_all_samples(CALM._replace(optimizer="levenberg_marquardt", penalties={"l2": 1e-2}))
LOWERING = CALM._replace(
    optimizer="sgd", schedule="exploding late", on_divergence="lower_rate", activation="relu", dropout=0.0
)


@pytest.mark.parametrize("job", [CALM, SKIPPING, LOWERING, ENDING])
@pytest.mark.parametrize("ending", ["run", "log", "callback", "stop", "held"])
@pytest.mark.parametrize("after", [1, 999, 1000, 1001, 1310])
def test_every_ending_with_a_reload(job: Job, ending: str, after: int) -> None:
    cut = Cut(ending, after, True, 64, 2, None, ["every", "bar"])
    assert_cuts_do_not_matter(job, 333, [cut, cut])


def test_the_troubles_are_real() -> None:
    skipping, lowering = SKIPPING.trainer(), LOWERING.trainer()
    skipping.run(1500)
    assert skipping.history.events == [(i, "skipped a step") for i in BAD]
    lowering.run(2600)
    assert lowering.history.events[0][1].startswith("went back from iteration 1")
    assert len(lowering.history.events) > 2
    parameters = SKIPPING._replace(source="gaussian", schedule="spikes", dtype="float32").trainer()
    parameters.run(200)
    assert parameters.history.events == [(i, "skipped a step") for i in (58, 117, 176)]
    assert np.isfinite(parameters.history.losses).all()


# ---- loading ----


def test_loading_into_a_trainer_that_has_run_something_else(tmp_path: Path) -> None:
    whole, other = CALM.trainer(), CALM.trainer(seed=2)
    whole.run(1500)
    whole.save_checkpoint(tmp_path / "run.npz")
    other.run(2000)
    other.load_checkpoint(tmp_path / "run.npz")
    assert_same(other, whole)
    whole.run(700)
    other.run(700)
    assert_same(other, whole)


def test_a_checkpoint_gives_its_states_to_the_next_run_only(tmp_path: Path) -> None:
    stopping = EarlyStopping(patience=None, every=100, restore_best=False)
    first, second = CALM.trainer(), CALM.trainer()
    first.run(500, callbacks=[stopping])
    first.save_checkpoint(tmp_path / "run.npz", [stopping])
    second.load_checkpoint(tmp_path / "run.npz")
    second.run(100)
    later = EarlyStopping(patience=None, every=100, restore_best=False)
    second.run(200, callbacks=[later])
    assert later.iterations == [700, 800]


def test_a_constant_source_with_a_stream_is_asked_again_when_its_stream_was_loaded(tmp_path: Path) -> None:
    class Drawn(Source):
        """One batch for a whole run, by draws."""

        in_features, out_features, batch_size, is_constant = 2, 1, 16, True

        def __init__(self, seed: int) -> None:
            self._rng = StdRng(seed)

        @property
        def stream(self) -> Any:
            return self._rng.state

        @stream.setter
        def stream(self, state: Any) -> None:
            self._rng.state = state

        def fill(self, iteration: int, batches: Any) -> None:
            x, target = batches.x, batches.target
            x[:] = self._rng.copy().uniform(-1, 1, x.size).reshape(x.shape)
            target[:] = x[:, :, :1]

    whole, other = (Trainer(NN(2, [3], 1, rng=1), Drawn(seed), learning_rate=0.1) for seed in (1, 2))
    whole.run(10)
    whole.save_checkpoint(tmp_path / "run.npz")
    other.load_checkpoint(tmp_path / "run.npz")
    whole.run(10)
    other.run(10)
    assert_same(other, whole)


def test_callbacks_that_have_not_run_can_be_saved(tmp_path: Path) -> None:
    first, second, stopping = CALM.trainer(), CALM.trainer(), EarlyStopping(patience=None, every=100)
    first.run(150)
    first.save_checkpoint(tmp_path / "run.npz", [EarlyStopping(patience=None, every=100)])
    second.load_checkpoint(tmp_path / "run.npz")
    second.run(250, callbacks=[stopping])
    assert stopping.iterations == [200, 300, 400]


def test_a_callback_may_keep_arrays_in_any_order_of_memory(tmp_path: Path) -> None:
    class Keeper(Callback):
        kept = np.asfortranarray(np.arange(6.0).reshape(2, 3))

        def state(self) -> dict[str, Any]:
            return {**super().state(), "kept": self.kept}

        def restore(self, state: dict[str, Any]) -> None:
            super().restore(state)
            self.kept = state["kept"]

    first, second, keeper = CALM.trainer(), CALM.trainer(), Keeper()
    keeper.kept = np.zeros((2, 3))
    first.run(10)
    first.save_checkpoint(tmp_path / "run.npz", [Keeper()])
    second.load_checkpoint(tmp_path / "run.npz")
    second.run(1, callbacks=[keeper])
    np.testing.assert_array_equal(keeper.kept, Keeper.kept)


# ---- callbacks over a checkpoint ----


class Recorder(Callback):
    """Where it was called, and with which running loss."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.calls: list[list[float]] = []

    def __call__(self, run: Run) -> None:
        self.calls.append([run.iteration, run.running_loss])

    def state(self) -> dict[str, Any]:
        return {**super().state(), "calls": self.calls}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.calls = state["calls"]


class Copies(Checkpoint):
    """A checkpoint, and a copy of every one that was written, with the log file of that time."""

    def __call__(self, run: Run) -> None:
        super().__call__(run)
        shutil.copy(self.path, self.path.with_suffix(f".{run.iteration}"))


class Watched:
    """A trainer with callbacks in some order."""

    def __init__(
        self, job: Job, order: Sequence[int], everies: Sequence[int], patience: int | None, folder: Path
    ) -> None:
        self.trainer = job.trainer()
        x = np.linspace(-2, 2, 60).reshape(30, 2)
        validation = Objective(self.trainer.net, x, np.sin(x[:, 0]))
        self.stopping = EarlyStopping(patience, validation, every=everies[0], min_delta=1e-3)
        self.on_training = EarlyStopping(patience=None, every=everies[1], restore_best=False)
        self.recorder = Recorder(everies[2])
        self.path = folder / "log.jsonl"
        self.checkpoint = Copies(folder / "run.npz", everies[4])
        log = LogFile(self.path, everies[3])
        callbacks = [self.stopping, self.on_training, self.recorder, log, self.checkpoint]
        self.callbacks: list[Callback] = [callbacks[k] for k in order]

    def rows(self) -> list[Any]:
        rows = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [[row["iteration"], row["running_loss"], row["learning_rate"]] for row in rows]

    def run(self, n_iterations: int, **options: Any) -> None:
        self.trainer.run(n_iterations - self.trainer.iteration, callbacks=self.callbacks, **options)

    def outcome(self) -> list[Any]:
        best = [
            [one.iterations, one.losses, one.best_loss, None if best is None else best.tobytes()]
            for one in (self.stopping, self.on_training)
            for best in [one.best_parameters]
        ]
        trainer = self.trainer
        return [*best, self.recorder.calls, trainer.iteration, trainer.net.parameters.tobytes(), self.rows()]


def assert_same_outcome(one: Watched, other: Watched) -> None:
    for mine, theirs in zip(one.outcome(), other.outcome(), strict=True):
        np.testing.assert_equal(mine, theirs)


def assert_callbacks_go_on(
    patience: int | None,
    order: Sequence[int],
    everies: Sequence[int],
    schedule: str,
    interrupted_at: int,
    dtype: str,
) -> None:
    job = CALM._replace(schedule=schedule, n_iterations=610, log_every=10, batch_size=2, dtype=dtype)
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name, part) for part in ("whole", "killed", "interrupted")]
        for folder in folders:
            folder.mkdir()
        whole = Watched(job, order, everies, patience, folders[0])
        whole.run(610)

        for copy in sorted(folders[0].glob("run.[0-9]*"))[:4]:  # as if killed any time later
            killed = Watched(job, order, everies, patience, folders[1])
            shutil.copy(whole.path, killed.path)
            killed.trainer.load_checkpoint(copy)
            killed.run(610)
            assert_same_outcome(killed, whole)

        def interrupt(iteration: int, _: float) -> None:
            if iteration >= interrupted_at:
                signal.raise_signal(signal.SIGINT)

        first = Watched(job, order, everies, patience, folders[2])
        try:
            first.run(610, on_log=interrupt)
        except KeyboardInterrupt:
            second = Watched(job, order, everies, patience, folders[2])
            second.trainer.load_checkpoint(second.checkpoint.path)
            second.run(610)
            assert_same_outcome(second, whole)
            first.run(610)  # it can go on, too
            np.testing.assert_equal(first.outcome()[:-1], whole.outcome()[:-1])


@pytest.mark.parametrize("patience", [None, 3])
def test_callbacks_over_checkpoints_and_interruptions(patience: int | None) -> None:
    @examples(5)
    @given(
        st.permutations(range(5)),
        st.lists(st.sampled_from([50, 60, 100]), min_size=5, max_size=5),
        st.sampled_from(["decay", "constant", "user's"]),
        st.integers(1, 550),
        st.sampled_from(["float64", "float32"]),
    )
    @example([0, 1, 2, 3, 4], [100] * 5, "constant", 300, "float64")
    @example([4, 3, 2, 1, 0], [100] * 5, "constant", 300, "float64")
    @example([3, 4, 0, 1, 2], [100] * 5, "constant", 299, "float32")
    @example([4, 0, 1, 2, 3], [60, 20, 20, 20, 60], "decay", 301, "float64")
    def check(order: list[int], everies: list[int], schedule: str, interrupted_at: int, dtype: str) -> None:
        assert_callbacks_go_on(patience, order, everies, schedule, interrupted_at, dtype)

    check()


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_early_stopping_when_another_callback_ends_the_run(order: Sequence[int], tmp_path: Path) -> None:
    """The check at the end of a run that was cut short is not part of the run that goes on."""

    def watched(stop_at: int) -> tuple[Trainer, EarlyStopping, list[Any]]:
        stopping = EarlyStopping(patience=None, every=100, restore_best=False)
        callbacks: list[Any] = [
            stopping,
            Checkpoint(tmp_path / "run.npz", every=10_000),
            Every(stop_at, Run.stop),
        ]
        return CALM.trainer(), stopping, [callbacks[k] for k in order]

    trainer, expected, callbacks = watched(10_000)
    trainer.run(600, callbacks=callbacks)
    trainer, _, callbacks = watched(250)
    trainer.run(600, callbacks=callbacks)
    assert trainer.iteration == 250
    trainer, stopping, callbacks = watched(10_000)
    trainer.load_checkpoint(tmp_path / "run.npz")
    trainer.run(350, callbacks=callbacks)
    assert stopping.iterations == expected.iterations
    assert stopping.losses == expected.losses


def test_callbacks_serve_one_trainer_after_another(tmp_path: Path) -> None:
    recorder, log = Recorder(50), LogFile(tmp_path / "log.csv", 50)
    for _ in range(2):
        recorder.calls = []
        CALM.trainer().run(100, callbacks=[recorder, log])
        assert [i for i, _ in recorder.calls] == [50, 100]
        with log.path.open() as file:
            assert [row["iteration"] for row in csv.DictReader(file)] == ["50", "100"]


def test_early_stopping_while_the_rate_is_lowered(tmp_path: Path) -> None:
    """To go back is no check, and the log file has no rows of what was given up."""
    trainer, recorder = LOWERING.trainer(), Recorder(500)
    stopping = EarlyStopping(patience=None, every=500, restore_best=False)
    log = LogFile(tmp_path / "log.csv", 500)
    trainer.run(2600, callbacks=[recorder, stopping, log])
    assert any(event.startswith("went back") for _, event in trainer.history.events)
    assert all(math.isfinite(loss) for loss in stopping.losses)
    assert 0 not in stopping.iterations
    with log.path.open() as file:
        rows = [int(row["iteration"]) for row in csv.DictReader(file)]
    assert rows == [500, 1000, 1500, 2000, 2500]


@pytest.mark.parametrize("every", [1, 50, 1000])
def test_last_rate_after_skipped_steps(every: int, tmp_path: Path) -> None:
    trainer, loaded = SKIPPING.trainer(), SKIPPING.trainer()
    for n in (18, 1, 24, 58):
        trainer.run(n, callbacks=[Every(every, lambda run: None)])
        trainer.save_checkpoint(tmp_path / "run.npz")
        loaded.load_checkpoint(tmp_path / "run.npz")
        assert trainer.last_rate == loaded.last_rate


# ---- signals ----


class SignalAt:
    """Raises SIGINT where Python looks for signals in the package for the `left`-th time.

    That is at the beginning of its functions, and behind what they call of C.
    """

    def __init__(self, left: int) -> None:
        self.left = left
        self.place = ""

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event in ("call", "c_return") and Path(trainer_module.__file__).parent in path.parents:
            self.left -= 1
            if self.left == 0:
                self.place = f"{path.name}:{frame.f_lineno}"
                signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_signal_at_any_place_in_python_loses_nothing(tmp_path: Path) -> None:
    job = CALM._replace(on_divergence="lower_rate", log_every=500)
    path = tmp_path / "run.npz"

    def watched() -> tuple[Trainer, EarlyStopping, list[Any]]:
        stopping = EarlyStopping(patience=None, every=300, restore_best=False)
        return job.trainer(chunk_size=400), stopping, [stopping, Checkpoint(path, 300)]

    whole, expected, callbacks = watched()
    whole.run(500, callbacks=callbacks)
    failures: list[str] = []
    handler, profiler = signal.getsignal(signal.SIGINT), sys.getprofile()
    n_cases = 0
    for at in itertools.chain(range(1, 60), itertools.count(60, 2)):
        path.unlink(missing_ok=True)
        trainer, stopping, callbacks = watched()
        tracer, came = SignalAt(at), "nothing"
        sys.setprofile(tracer)
        try:
            trainer.run(500, callbacks=callbacks)
        except BaseException as error:
            came = repr(error)
        finally:
            sys.setprofile(profiler)
        if tracer.place == "":
            break
        n_cases += 1
        try:
            assert came == "KeyboardInterrupt()"
            assert signal.getsignal(signal.SIGINT) is handler, "the handler was not put back"
            assert signal.set_wakeup_fd(-1) == -1, "the descriptor was not put back"
            if path.exists():
                resumed, other_stopping, _ = watched()
                resumed.load_checkpoint(path)
                resumed.run(500 - resumed.iteration, callbacks=[other_stopping])
                assert_same(resumed, whole)
                assert other_stopping.losses == expected.losses
            trainer.run(500 - trainer.iteration, callbacks=[stopping])
            assert_same(trainer, whole)
            assert stopping.losses == expected.losses
            assert stopping.iterations == expected.iterations
        except (AssertionError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[0]
            failures.append(f"{at} {tracer.place} {type(error).__name__}: {reason}")
        finally:
            signal.signal(signal.SIGINT, handler)
            signal.set_wakeup_fd(-1)
    assert not failures, "\n".join(failures)
    assert n_cases > 150


def test_a_second_signal_before_the_first_is_dealt_with_does_not_keep_callbacks_from_finishing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = Interruptible.hold
    second: list[int] = []

    def hold_too_late(self: Interruptible) -> None:
        if isinstance(sys.exc_info()[1], KeyboardInterrupt) and not second:
            second.append(trainer.iteration)
            signal.raise_signal(signal.SIGINT)
        hold(self)

    monkeypatch.setattr(Interruptible, "hold", hold_too_late)
    trainer, loaded = CALM.trainer(chunk_size=1000), CALM.trainer()
    interrupt = Every(500, lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trainer.run(2600, callbacks=[interrupt, Checkpoint(tmp_path / "run.npz")])
    assert second == [500]
    loaded.load_checkpoint(tmp_path / "run.npz")
    assert_same(loaded, trainer)


def test_a_callback_that_catches_ctrl_c_can_be_interrupted_again() -> None:
    caught: list[int] = []

    def catch(run: Run) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            caught.append(run.iteration)

    trainer = CALM.trainer(chunk_size=1000)
    trainer.run(2000, callbacks=[Every(500, catch)])
    assert caught == [500, 1000, 1500, 2000]


def test_signals_from_every_entry_of_the_log_do_not_keep_callbacks_from_finishing(tmp_path: Path) -> None:
    def always(_iteration: int, _loss: float) -> None:
        signal.raise_signal(signal.SIGINT)

    trainer, loaded = CALM.trainer(chunk_size=1000), CALM.trainer()
    with pytest.raises(KeyboardInterrupt):
        trainer.run(2600, always, [Checkpoint(tmp_path / "run.npz")])
    loaded.load_checkpoint(tmp_path / "run.npz")
    assert_same(loaded, trainer)


def test_a_handler_that_does_not_raise_only_looks() -> None:
    whole, cut = (CALM._replace(source="sine").trainer(chunk_size=size) for size in (None, 7))
    whole.run(1000)
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(cut.iteration))
    try:
        for left in (1, 3, 40):
            ALARM.left = left
            cut.run(250)
        cut.run(250, on_log=lambda i, loss: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen) == 5
    assert_same(cut, whole)


# ---- several trainers, several threads ----


def outcome(trainer: Trainer) -> list[Any]:
    history = trainer.history
    state = trainer.optimizer_state
    arrays = trainer.net.parameters, state.buffers, state.numbers, history.losses
    return [*(values.tobytes() for values in arrays), history.log]


@pytest.mark.parametrize("source", ["gaussian", "cosines", "shuffled", "compiled", "user's"])
def test_two_threads_give_the_bits_of_one(source: str) -> None:
    jobs = [CALM._replace(source=source), CALM._replace(source=source, dtype="float32", optimizer="rmsprop")]

    def run(job: Job) -> list[Any]:
        trainer = job.trainer(chunk_size=50)
        trainer.run(2600, callbacks=[ProgressBar(1e-9, io.StringIO())])
        return outcome(trainer)

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(run, jobs)] == alone


@pytest.mark.parametrize("source", ["gaussian", "sine", "shuffled", "weighted", "in order"])
def test_trainers_that_share_source_schedule_and_optimiser(source: str) -> None:
    shared = SOURCES[source](7, 1, 1.0)
    schedule, optimizer = ExponentialDecay(0.05, 0.999), Adam()

    def trainer(k: int) -> Trainer:
        net = NN(2, [5, 3], 1, rng=k, init="glorot_uniform")
        return Trainer(net, shared, optimizer=optimizer, learning_rate=schedule, rng=k, dropout=0.1)

    def run(k: int) -> list[Any]:
        one = trainer(k)
        for n in (1, 300, 1000, 7):
            one.run(n, callbacks=[Every(10, lambda run: run.trainer.last_rate)])
        return outcome(one)

    alone = [run(k) for k in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert [*pool.map(run, range(3))] == alone
    trainers = [trainer(k) for k in range(3)]
    for n in (1, 300, 1000, 7):  # in turns
        for one in trainers:
            one.run(n)
    assert [outcome(one) for one in trainers] == alone


@pytest.mark.parametrize("place", ["callback", "on_log", "target"])
def test_a_run_within_itself_is_an_error_that_changes_nothing(place: str) -> None:
    whole = CALM._replace(source="sine").trainer()
    whole.run(1000)
    errors: list[RuntimeError] = []

    def again(*_: Any) -> None:
        before = outcome(trainer)
        with pytest.raises(RuntimeError, match="the trainer is running already") as caught:
            trainer.run(100, callbacks=[Every(1, Run.stop)])
        errors.append(caught.value)
        assert outcome(trainer) == before

    def target(x: Any) -> Any:
        if is_built:
            again()
        return np.sin(x[:, 0])

    is_built = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "sine", drawn(target if place == "target" else sine))
        trainer = CALM._replace(source="sine").trainer(chunk_size=333)
    is_built = True
    trainer.run(
        1000, again if place == "on_log" else None, [Every(250, again)] if place == "callback" else []
    )
    assert len(errors) >= 3
    is_built = False
    assert_same(trainer, whole)
    assert trainer.run(1).n_iterations == 1001


def test_a_second_thread_is_an_error_that_changes_nothing() -> None:
    whole, trainer = CALM.trainer(), CALM.trainer(chunk_size=10)
    whole.run(2600)
    is_running, may_end = threading.Event(), threading.Event()

    def wait(run: Run) -> None:
        is_running.set()
        assert may_end.wait(30)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(trainer.run, 1000, None, [Every(500, wait)])
        assert is_running.wait(30)
        with pytest.raises(RuntimeError, match="the trainer is running already"):
            trainer.run(10, callbacks=[Every(1, Run.stop)])
        may_end.set()
        running.result()
    assert trainer.iteration == 1000
    trainer.run(1600)
    assert_same(trainer, whole)


def test_iterations_are_counted_from_where_the_run_begins() -> None:
    """A run that had to wait for its callbacks, while another thread trained."""
    trainer = CALM.trainer()

    class Slow(list[Callback]):
        def __iter__(self) -> Iterator[Callback]:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(trainer.run, 1000).result()
            return super().__iter__()

    trainer.run(100, callbacks=Slow())
    assert trainer.iteration == 1100


def test_two_processes_give_the_same_bits() -> None:
    program = """
import hashlib
import numpy as np
from crabnet_jit import NN, ArraySource, Cosine, StandardGaussian, Trainer, UniformSource
def bits():
    digest = hashlib.sha256()
    x = np.arange(122.0).reshape(61, 2) % 17 / 8 - 1
    for dtype in ("float64", "float32"):
        sources = UniformSource(StandardGaussian(), rng=3), ArraySource(x, x[:, 0] * x[:, 1], 7, rng=3)
        for source, optimizer in zip(sources, ("adamw", "rmsprop")):
            net = NN(2, [9, 5], 1, rng=1, activation="tanh", init="glorot_uniform", dtype=dtype)
            options = {"optimizer": optimizer, "dropout": 0.2, "clip_norm": 1.0, "rng": 5}
            trainer = Trainer(net, source, learning_rate=Cosine(0.01, 900), **options)
            trainer.run(1000)
            digest.update(net.parameters.tobytes() + trainer.history.losses.tobytes())
    return digest.hexdigest()
"""
    here: dict[str, Any] = {}
    exec(program, here)
    command = [sys.executable, "-c", program + "print(bits())"]
    there = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert there.strip() == here["bits"]()


# ---- fit ----

X = np.random.default_rng(0).uniform(-2, 2, (120, 2))
Y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + np.random.default_rng(1).normal(0, 0.3, 120)


def fitted(folder: Path | None, **options: Any) -> NN:
    callbacks = [] if folder is None else [Checkpoint(folder / "fit.npz", every=700)]
    options = {
        "callbacks": [*callbacks, *options.pop("more", [])],
        "n_iterations": 3000,
        "batch_size": 16,
        **options,
    }
    return fit(X, Y, hidden_sizes=(6,), validation=0.25, dropout=0.1, **options)


def assert_same_fit(net: NN, whole: NN) -> None:
    assert net.parameters.tobytes() == whole.parameters.tobytes()
    assert net.predict(X).tobytes() == whole.predict(X).tobytes()
    history, of_whole = net.fit_history, whole.fit_history
    assert history is not None
    assert of_whole is not None
    assert history.validation_iterations == of_whole.validation_iterations
    assert history.n_iterations == of_whole.n_iterations
    assert history.validation_losses == of_whole.validation_losses
    losses = of_whole.losses[len(of_whole.losses) - len(history.losses) :]
    assert history.losses.tobytes() == losses.tobytes()


@pytest.mark.parametrize("at", [1, 60, 699, 700, 1234, 2100, 2999])
@pytest.mark.parametrize("by", ["signal", "stop"])
def test_a_fit_that_is_resumed(by: str, at: int, tmp_path: Path) -> None:
    whole = fitted(None)

    def end(run: Run) -> None:
        if by == "stop":
            run.stop()
        else:
            signal.raise_signal(signal.SIGINT)

    try:
        fitted(tmp_path, more=[Every(at, end)])
    except KeyboardInterrupt:
        assert by == "signal"
    assert_same_fit(fitted(tmp_path, resume=tmp_path / "fit.npz"), whole)


def test_a_fit_that_was_over_is_resumed(tmp_path: Path) -> None:
    whole = fitted(tmp_path)
    assert_same_fit(fitted(tmp_path, resume=tmp_path / "fit.npz"), whole)


@pytest.mark.parametrize("at", [None, 500])
def test_a_fit_with_patience_that_is_resumed(at: int | None, tmp_path: Path) -> None:
    options: dict[str, Any] = {"patience": 4, "learning_rate": 0.03}
    whole = fitted(None, **options)
    assert whole.fit_history is not None
    assert 500 < whole.fit_history.validation_iterations[-1] < 3000
    more = [] if at is None else [Every(at, Run.stop)]
    fitted(tmp_path, more=more, **options)
    assert_same_fit(fitted(tmp_path, resume=tmp_path / "fit.npz", **options), whole)


def test_a_resumed_fit_reports_the_same(tmp_path: Path) -> None:
    reports: list[list[Any]] = [[], []]

    def report(k: int) -> Callable[[int, float, float | None], None]:
        return lambda *values: reports[k].append(values)

    fitted(None, on_check=report(0), n_iterations=100_000, batch_size=4)
    options = {"n_iterations": 100_000, "batch_size": 4, "on_check": report(1)}
    fitted(tmp_path, more=[Every(5_500, Run.stop)], **options)
    reports[1] = [values for values in reports[1] if values[0] < 5_500]
    fitted(tmp_path, resume=tmp_path / "fit.npz", **options)
    assert reports[1] == reports[0]


# ---- divergence ----


class Diverging(NamedTuple):
    """A job whose step of iteration `at` cannot be taken."""

    kind: str
    at: int
    optimizer: str
    dtype: str

    def trainer(self, chunk_size: int | None = None) -> Trainer:
        net = NN(2, [5, 3], 1, rng=1, activation="tanh", init="glorot_uniform", dtype=self.dtype)
        huge, rate = (1e200 if self.dtype == "float64" else 1e25), 0.01
        if self.kind == "parameters":  # a loss that is finite, and a step that is not
            huge, rate = 1e5, sys.float_info.max

        def schedule(iterations: Any) -> Any:
            return np.where(iterations == self.at, rate, 0.01)

        return Trainer(
            net,
            Lattice(7, [self.at], huge),
            optimizer=OPTIMISERS[self.optimizer],
            learning_rate=schedule,
            chunk_size=chunk_size,
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("at", [0, 1, 6, 7, 499, 512, 999])
@pytest.mark.parametrize("kind", ["loss", "parameters"])
def test_divergence_ends_before_its_step(kind: str, at: int, dtype: str) -> None:
    for optimizer, rule in OPTIMISERS.items():
        if rule.is_second_order:
            continue  # these take no such steps
        if kind == "parameters" and "adam" in optimizer and at < 400:
            continue  # its first steps are too even to overflow
        job = Diverging(kind, at, optimizer, dtype)
        exact = job.trainer()
        exact.run(at)
        errors = []
        for chunk_size in (1, 7, 1000):
            trainer = job.trainer(chunk_size)
            with pytest.raises(DivergenceError) as caught:
                trainer.run(1500)
            error = caught.value
            errors.append((error.iteration, str(error.loss), error.last_loss, str(error)))
            assert math.isfinite(error.loss) == (kind == "parameters")
            assert error.iteration == at == trainer.iteration
            assert error.last_loss == (None if at == 0 else exact.history.losses[-1])
            assert np.isfinite(trainer.net.parameters).all()
            assert_same(trainer, exact)
        assert len(set(errors)) == 1


@pytest.mark.parametrize("rate", [3.0, 1e3, 1e30, 1e200, 1e308])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw", "rmsprop"])
def test_explosions_end_at_the_same_iteration_in_any_chunks(optimizer: str, rate: float) -> None:
    outcomes = []
    for chunk_size in (1, 7, 1000):
        source = UniformSource(StandardGaussian(), batch_size=4, rng=1)
        net = NN(2, [8], 1, rng=1)
        trainer = Trainer(
            net, source, optimizer=OPTIMISERS[optimizer], learning_rate=rate, chunk_size=chunk_size
        )
        error = error_of(trainer, 1500)
        outcomes.append(outcome(trainer))
        if error is not None:
            outcomes[-1] += [error.iteration, str(error.loss), error.last_loss]
            assert error.iteration == trainer.iteration
            exact = Trainer(NN(2, [8], 1, rng=1), source, optimizer=OPTIMISERS[optimizer], learning_rate=rate)
            exact.run(error.iteration)
            assert_same(trainer, exact)
            assert np.isfinite(net.parameters).all()
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_skipping_ends_after_1001_steps_that_would_overflow_the_parameters() -> None:
    source = UniformSource(StandardGaussian(), rng=1)
    trainer = Trainer(NN(2, [8], 1, rng=1), source, learning_rate=1e308, on_divergence="skip")
    with pytest.raises(DivergenceError):
        trainer.run(3000)


def test_compiling_for_parameters_that_are_not_finite() -> None:
    trainer = CALM.trainer()
    trainer.net.parameters[0] = np.nan
    trainer.compile()
    assert np.isnan(trainer.net.parameters[0])
