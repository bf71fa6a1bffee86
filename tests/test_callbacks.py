"""Callbacks, the history they see, and what happens when a run diverges."""

import csv
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainers import article, straight

from crabnet_jit import (
    NN,
    ArraySource,
    Callback,
    Checkpoint,
    DivergenceError,
    EarlyStopping,
    Every,
    ExponentialDecay,
    FileFormatError,
    History,
    InvalidArgumentError,
    LogFile,
    Objective,
    Source,
    StandardGaussian,
    TimeBudget,
    Trainer,
    UniformSource,
    fit,
)
from crabnet_jit.cli.main import main
from crabnet_jit.network.history import WINDOW
from crabnet_jit.training.run import Run
from crabnet_jit.training.state import read_checkpoint
from crabnet_jit.training.steps import Steps

LINE = np.linspace(-1, 1, 40)[:, None]


def assert_same_run(one: Trainer, other: Trainer) -> None:
    assert one.iteration == other.iteration
    assert one.net.parameters.tobytes() == other.net.parameters.tobytes()
    assert one.history.log == other.history.log
    assert one.history.window().tobytes() == other.history.window().tobytes()


class Recorder(Callback):
    """Writes down its calls in a list that several may share."""

    def __init__(self, name: str = "", calls: list[Any] | None = None, every: int | None = 100) -> None:
        self.name, self.every = name, every
        self.calls: list[Any] = [] if calls is None else calls
        self.errors: list[BaseException | None] = []

    def start(self, run: Run) -> None:
        self.calls.append((self.name, "start", run.iteration))

    def __call__(self, run: Run) -> None:
        self.calls.append((self.name, "call", run.iteration))

    def finish(self, run: Run, error: BaseException | None) -> None:
        self.calls.append((self.name, "finish", run.iteration))
        self.errors.append(error)

    def called(self) -> list[int]:
        return [iteration for name, what, iteration in self.calls if what == "call" and name == self.name]


class Failing(Callback):
    """Raises an exception in one of its methods."""

    every = 100

    def __init__(self, where: str, error: BaseException) -> None:
        self.where, self.error = where, error

    def _perhaps(self, where: str) -> None:
        if where == self.where:
            raise self.error

    def start(self, run: Run) -> None:
        self._perhaps("start")

    def __call__(self, run: Run) -> None:
        self._perhaps("call")

    def finish(self, run: Run, error: BaseException | None) -> None:
        self._perhaps("finish")


class UnexpectedError(Exception):
    pass


def raise_at(iteration: int, error: BaseException) -> Callback:
    def function(run: Run) -> None:
        raise error

    return Every(iteration, function)


# ---- when they are called ----


@pytest.mark.parametrize("chunk_size", [None, 1, 70, 333])
@pytest.mark.parametrize("every", [1, 7, 100, 250, 999, 1000, 1001])
def test_called_at_every_multiple_whatever_the_chunks(every: int, chunk_size: int | None) -> None:
    seen: list[int] = []
    trainer = article(chunk_size=chunk_size)
    trainer.run(600, callbacks=[Every(every, lambda run: seen.append(run.iteration))])
    trainer.run(400, callbacks=[Every(every, lambda run: seen.append(run.iteration))])
    assert seen == [*range(every, 1001, every)]


def test_callbacks_do_not_change_a_bit() -> None:
    plain, watched = article(log_every=100), article(log_every=100)
    plain.run(1000)
    watched.run(1000, callbacks=[Recorder(every=k) for k in (1, 7, 13, 128, None)])
    assert_same_run(plain, watched)


def test_one_without_every_is_called_after_each_chunk() -> None:
    recorder = Recorder(every=None)
    article(chunk_size=30).run(100, callbacks=[recorder])
    assert recorder.called() == [30, 60, 90, 100]


def test_order_of_calls_is_that_of_the_list() -> None:
    calls: list[Any] = []
    a, b, c = Recorder("a", calls, 100), Recorder("b", calls, 50), Recorder("c", calls, None)
    article(chunk_size=100).run(100, callbacks=[a, b, c])
    begin, end = calls[:3], calls[-3:]
    assert begin == [(name, "start", 0) for name in "abc"]
    assert calls[3:-3] == [
        ("b", "call", 50),
        ("c", "call", 50),
        ("a", "call", 100),
        ("b", "call", 100),
        ("c", "call", 100),
    ]
    assert sorted(end) == [(name, "finish", 100) for name in "abc"]


def test_plain_functions_are_called_every_log_every_iterations() -> None:
    seen: list[int] = []

    def function(run: Run) -> None:
        seen.append(run.iteration)

    article(log_every=40).run(130, callbacks=[function])
    assert seen == [40, 80, 120]


def test_next_pause_is_the_nearest_that_is_due() -> None:
    trainer = article()
    run = Run(trainer, 1000, [Recorder(every=k) for k in (300, 700, None)], {})
    assert run.next_pause() == 300
    trainer.run(300)
    assert run.next_pause() == 600
    trainer.run(350)
    assert run.next_pause() == 700
    trainer.run(260)
    assert run.next_pause() == 1000
    assert Run(trainer, 5000, [], {}).next_pause() == 5000


def test_what_a_callback_sees() -> None:
    trainer = article()
    seen: list[Any] = []

    def look(run: Run) -> None:
        assert run.trainer is trainer
        assert run.net is trainer.net
        assert run.history is trainer.history
        seen.append((run.iteration, run.end, run.running_loss, run.is_stopped, run.seconds))

    trainer.run(100)
    trainer.run(400, callbacks=[Every(200, look)])
    expected = [(i, 500, trainer.history.running_loss(i - 1), False) for i in (200, 400)]
    assert [entry[:4] for entry in seen] == expected
    assert 0 < seen[0][4] < seen[1][4]


def test_running_loss_before_the_first_iteration_is_nan() -> None:
    class Look(Callback):
        def start(self, run: Run) -> None:
            losses.append(run.running_loss)

    losses: list[float] = []
    article().run(1, callbacks=[Look()])
    assert np.isnan(losses).tolist() == [True]


def test_stop_ends_the_run_there_and_is_an_event() -> None:
    trainer = article()
    recorder = Recorder(every=100)
    history = trainer.run(1000, callbacks=[Every(300, lambda run: run.stop("enough")), recorder])
    assert history.n_iterations == 300
    assert recorder.called() == [100, 200, 300]  # the others have their turn
    assert recorder.errors == [None]
    assert history.events == [(300, "stopped: enough")]
    trainer.run(50, callbacks=[Every(50, lambda run: run.stop())])
    assert history.events[1:] == [(350, "stopped: by a callback")]
    assert trainer.run(100).n_iterations == 450  # it was that run that was stopped
    whole = article()
    whole.run(450)
    assert whole.net.parameters.tobytes() == trainer.net.parameters.tobytes()


def test_stop_in_start_is_a_run_of_no_iterations() -> None:
    class Never(Callback):
        def start(self, run: Run) -> None:
            run.stop("never")

    trainer = article()
    assert trainer.run(100, callbacks=[Never()]).n_iterations == 0
    assert trainer.history.events == [(0, "stopped: never")]


def test_a_trainer_can_not_run_in_its_own_callback() -> None:
    trainer = article()
    with pytest.raises(RuntimeError, match="the trainer is running"):
        trainer.run(200, callbacks=[Every(100, lambda run: trainer.run(1))])
    assert trainer.iteration == 100
    trainer.run(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Every(0, print), "every must be an integer of at least 1, got 0"),
        (lambda: Every(1, 5), "callback must be a Callback or a function of a Run, got 5"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: EarlyStopping(0), "patience must be an integer of at least 1"),
        (lambda: EarlyStopping(every=0), "every must be"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta must be"),
        (lambda: EarlyStopping(validation=LINE), "validation must be an Objective"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: TimeBudget(-1), "seconds must be"),
        (lambda: TimeBudget(float("nan")), "seconds must be"),
        (lambda: Checkpoint("a.npz", 0), "every must be"),
        (lambda: LogFile("a.txt"), "path must be a name with the suffix .csv or .jsonl, got 'a.txt'"),
        (lambda: LogFile("a.csv", 0), "every must be"),
        (lambda: article().run(1, callbacks=[3]), "callback must be a Callback or a function of a Run"),  # type: ignore[list-item]  # wrong on purpose
        (lambda: article(on_divergence="ignore"), "on_divergence must be one of raise, skip, lower_rate"),
        (lambda: article(keep_losses=-1), "keep_losses must be an integer of at least 0"),
    ],
)
def test_bad_arguments(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert message in str(caught.value)


def test_bad_callbacks_are_found_before_the_first_iteration() -> None:
    trainer = article()
    recorder = Recorder()
    with pytest.raises(InvalidArgumentError):
        trainer.run(100, callbacks=[recorder, 3])  # type: ignore[list-item]  # wrong on purpose
    assert trainer.iteration == 0
    assert recorder.calls == []
    trainer.run(1)


def test_a_callback_that_served_another_trainer_is_not_called_at_iteration_0(tmp_path: Path) -> None:
    recorder, log = Recorder(), LogFile(tmp_path / "log.csv", 100)
    article().run(100, callbacks=[recorder, log])
    recorder.calls.clear()
    article().run(200, callbacks=[recorder, log])
    assert recorder.called() == [100, 200]
    assert [row[0] for row in rows_of(tmp_path / "log.csv")] == [100, 200]


# ---- exceptions ----


@pytest.mark.parametrize("error", [UnexpectedError(), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("where", ["start", "call", "finish"])
def test_all_others_finish_whatever_one_raises(where: str, position: int, error: BaseException) -> None:
    others = [Recorder(), Recorder()]
    callbacks: list[Callback] = [*others]
    callbacks.insert(position, Failing(where, error))
    trainer = article(log_every=100)
    with pytest.raises(type(error)) as caught:
        trainer.run(300, callbacks=callbacks)
    assert caught.value is error
    done = {"start": 0, "call": 100, "finish": 300}[where]
    assert trainer.iteration == done
    for k, other in enumerate(others):
        was_started = where != "start" or k < position
        assert [what for _, what, _ in other.calls].count("finish") == int(was_started)
        assert other.errors == [None if where == "finish" else error][: int(was_started)]
    trainer.run(500 - done)
    whole = article(log_every=100)
    whole.run(500)
    assert_same_run(trainer, whole)


def test_an_exception_in_finish_does_not_hide_the_first_one() -> None:
    with pytest.raises(UnexpectedError) as caught:
        article().run(200, callbacks=[raise_at(100, KeyError("first")), Failing("finish", UnexpectedError())])
    assert isinstance(caught.value.__context__, KeyError)


def test_ctrl_c_in_finish_is_not_lost_behind_another_exception() -> None:
    callbacks = [Failing("finish", UnexpectedError()), Failing("finish", KeyboardInterrupt())]
    for order in (callbacks, callbacks[::-1]):
        with pytest.raises(KeyboardInterrupt):
            article().run(100, callbacks=order)


def test_what_was_due_when_one_raised_is_called_in_the_next_run() -> None:
    first, last = Recorder(), Recorder()
    fails = Failing("call", UnexpectedError())
    trainer = article()
    with pytest.raises(UnexpectedError):
        trainer.run(200, callbacks=[first, fails, last])
    fails.where = ""
    trainer.run(100, callbacks=[first, fails, last])
    assert first.called() == [100, 200]
    assert last.called() == [100, 200]


@pytest.mark.parametrize("error", [UnexpectedError(), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("chunk_size", [None, 45])
def test_entries_of_the_log_are_told_once_and_none_is_lost(
    chunk_size: int | None, error: BaseException
) -> None:
    told: list[tuple[int, float]] = []

    def on_log(iteration: int, loss: float) -> None:
        told.append((iteration, loss))
        if iteration == 30 and told.count((iteration, loss)) == 1:
            raise error

    trainer = article(log_every=10, chunk_size=chunk_size)
    recorder = Recorder()
    with pytest.raises(type(error)):
        trainer.run(100, on_log=on_log, callbacks=[recorder])
    assert recorder.errors == [error]
    trainer.run(150 - trainer.iteration, on_log=on_log)
    assert told == trainer.history.log
    assert [i for i, _ in told] == [*range(0, 150, 10)]


def test_callbacks_finish_even_if_every_entry_of_the_log_is_interrupted(tmp_path: Path) -> None:
    def on_log(iteration: int, loss: float) -> None:
        raise KeyboardInterrupt

    trainer = article(log_every=10)
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        trainer.run(100, on_log=on_log, callbacks=[Checkpoint(tmp_path / "run.npz"), recorder])
    assert len(recorder.errors) == 1
    assert (tmp_path / "run.npz").exists()


def test_callbacks_finish_if_the_reader_of_the_log_is_gone_on_ctrl_c(tmp_path: Path) -> None:
    def on_log(iteration: int, loss: float) -> None:
        if iteration == 200:
            raise KeyboardInterrupt
        if iteration > 200:
            raise BrokenPipeError

    recorder = Recorder()
    with pytest.raises((KeyboardInterrupt, BrokenPipeError)):
        article(log_every=100, chunk_size=1000).run(2000, on_log=on_log, callbacks=[recorder])
    assert len(recorder.errors) == 1


# ---- early stopping ----


class Scripted(EarlyStopping):
    """Takes its losses from a list, one for each check."""

    def __init__(self, losses: list[float], **options: Any) -> None:
        super().__init__(every=10, **options)
        self.script = iter(losses)
        self.seen: list[Any] = []

    def __call__(self, run: Run) -> None:
        loss = next(self.script)
        self.seen.append(run.net.parameters.copy())

        class Fixed:
            def loss_and_gradient(self, theta: Any) -> tuple[float, None]:
                return loss, None

        self.validation = Fixed()  # type: ignore[assignment]  # stands for an Objective
        super().__call__(run)


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "n_checks", "best"),
    [
        ([5, 4, 3, 2, 1, 0], 1, 0.0, 6, 5),
        ([5, 4, 4, 3, 3, 3], 1, 0.0, 3, 1),  # equal is no improvement
        ([5, 4, 4, 3, 3, 3, 3], 2, 0.0, 6, 3),
        ([1, 2, 2, 2, 0, 0, 0], 4, 0.0, 7, 4),
        ([1, 2, 2, 2, 0, 0, 0], 3, 0.0, 4, 0),
        ([5.0, 4.9, 4.8, 4.7, 4.6], 3, 0.25, 5, 3),  # three small steps make a large one
        ([5.0, 4.9, 4.8, 4.7, 4.6], 2, 0.35, 3, 0),
        ([np.nan, np.inf, 3, 2, np.nan, np.nan], 3, 0.0, 6, 3),
        ([np.nan, np.inf, np.nan, 2], 3, 0.0, 3, None),
        ([1e300, 2, 3], 1, 1e10, 3, 1),
        ([3, 2, 4, 4, 4, 4, 4, 4, 1, 2], None, 0.0, 10, 8),
    ],
)
def test_patience(
    losses: list[float], patience: int | None, min_delta: float, n_checks: int, best: int | None
) -> None:
    trainer = article()
    stopping = Scripted(losses, patience=patience, min_delta=min_delta)
    start = trainer.net.parameters.copy()
    trainer.run(10 * len(losses), callbacks=[stopping])
    assert trainer.iteration == 10 * n_checks
    assert stopping.iterations == [*range(10, 10 * n_checks + 1, 10)]
    np.testing.assert_array_equal(stopping.losses, losses[:n_checks])
    if best is None:
        assert stopping.best_parameters is None
        assert stopping.best_loss == np.inf
        assert not np.array_equal(trainer.net.parameters, start)
        return
    assert stopping.best_loss == losses[best]
    assert stopping.best_parameters is not None
    np.testing.assert_array_equal(stopping.best_parameters, stopping.seen[best])
    np.testing.assert_array_equal(trainer.net.parameters, stopping.seen[best])
    if n_checks < len(losses):
        reason = f"stopped: no better loss than {losses[best]:g} in {patience} checks"
        assert trainer.history.events == [(10 * n_checks, reason)]


def test_the_running_loss_decides_without_a_validation_set() -> None:
    trainer = article()
    stopping = EarlyStopping(patience=None, every=250)
    trainer.run(1000, callbacks=[stopping])
    assert stopping.losses == [trainer.history.running_loss(i - 1) for i in (250, 500, 750, 1000)]
    assert stopping.best_loss == min(stopping.losses)


def test_the_validation_loss_is_that_of_the_objective() -> None:
    net = NN(1, [6], 1, rng=1, activation="tanh", init="glorot_uniform")
    validation = Objective(net, LINE[::2], np.sin(3 * LINE[::2]))
    trainer = Trainer(net, ArraySource(LINE[1::2], np.sin(3 * LINE[1::2]), rng=1), learning_rate=0.1)
    stopping = EarlyStopping(None, validation, every=100)
    seen: list[Any] = []
    trainer.run(400, callbacks=[stopping, Every(100, lambda run: seen.append(run.net.parameters.copy()))])
    assert stopping.losses == [validation.loss_and_gradient(theta)[0] for theta in seen]
    assert validation.loss_and_gradient(net.parameters)[0] == stopping.best_loss


def test_what_restore_best_false_leaves() -> None:
    trainer, whole = article(), article()
    trainer.run(50, callbacks=[Scripted([1, 2, 3, 4, 5], patience=None, restore_best=False)])
    whole.run(50)
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()


def test_a_check_at_the_end_if_none_was_due_there() -> None:
    for n, expected in ((25, [10, 20, 25]), (30, [10, 20, 30]), (5, [5])):
        stopping = Scripted([3, 2, 1], patience=5)
        trainer = article()
        trainer.run(n, callbacks=[stopping])
        assert stopping.iterations == expected
        np.testing.assert_array_equal(trainer.net.parameters, stopping.seen[-1])


def test_best_parameters_when_another_callback_stops_the_run() -> None:
    trainer = article()
    stopping = Scripted([1, 2, 3, 4], patience=None)
    trainer.run(100, callbacks=[stopping, Every(35, lambda run: run.stop())])
    assert stopping.iterations == [10, 20, 30, 35]
    np.testing.assert_array_equal(trainer.net.parameters, stopping.seen[0])


@pytest.mark.parametrize("error", [UnexpectedError(), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_best_parameters_only_at_a_regular_end(error: BaseException) -> None:
    trainer, whole = article(), article()
    stopping = Scripted([1, 2, 3, 4, 5], patience=None)
    with pytest.raises(type(error)):
        trainer.run(50, callbacks=[stopping, raise_at(35, error)])
    assert stopping.iterations == [10, 20, 30]
    whole.run(35)
    assert trainer.net.parameters.tobytes() == whole.net.parameters.tobytes()
    trainer.run(15)
    whole.run(15)
    assert_same_run(trainer, whole)


def test_the_best_are_not_what_a_checkpoint_goes_on_from(tmp_path: Path) -> None:
    whole, cut, other = article(), article(), article()
    path = tmp_path / "run.npz"
    cut.run(40, callbacks=[Scripted([1, 2, 3, 4], patience=None), Checkpoint(path)])
    other.load_checkpoint(path)
    whole.run(40)
    assert other.net.parameters.tobytes() == whole.net.parameters.tobytes()
    assert cut.net.parameters.tobytes() != whole.net.parameters.tobytes()


@pytest.mark.parametrize("cut_at", [10, 40, 70, 75])
def test_early_stopping_goes_on_from_a_checkpoint(cut_at: int, tmp_path: Path) -> None:
    losses = [5, 4, 3, 3.5, 4, 2, 2.5, 3, 3, 3, 3, 3]
    whole, path = article(), tmp_path / "run.npz"
    expected = Scripted([*losses], patience=4)
    whole.run(200, callbacks=[expected])
    assert whole.iteration == 100

    first = article()
    with pytest.raises(UnexpectedError):
        first.run(
            200,
            callbacks=[
                Scripted([*losses], patience=4),
                Checkpoint(path, cut_at),
                raise_at(cut_at, UnexpectedError()),
            ],
        )
    second = article()
    second.load_checkpoint(path)
    stopping = Scripted(losses[cut_at // 10 :], patience=4)
    second.run(200 - cut_at, callbacks=[stopping])
    assert (stopping.iterations, stopping.losses) == (expected.iterations, expected.losses)
    assert second.iteration == 100
    assert stopping.best_loss == 2
    np.testing.assert_array_equal(stopping.best_parameters, expected.best_parameters)
    assert second.net.parameters.tobytes() == whole.net.parameters.tobytes()


@pytest.mark.parametrize("is_last", [True, False])
@pytest.mark.parametrize("cut_at", [35, 75, 80])
def test_the_check_at_the_end_is_not_in_a_checkpoint(cut_at: int, is_last: bool, tmp_path: Path) -> None:
    """A run that ended there and is resumed stops where one does that went on."""
    losses = [5, 4, 3, 3.5, 4, 2, 2.5, 3, 3, 3, 3, 3]
    whole, first, second = article(), article(), article()
    expected = Scripted([*losses], patience=4)
    whole.run(200, callbacks=[expected])
    assert whole.iteration == 100

    def both(losses: list[float]) -> tuple[Scripted, list[Callback]]:
        stopping = Scripted(losses, patience=4)
        callbacks: list[Callback] = [stopping, Checkpoint(tmp_path / "run.npz")]
        return stopping, callbacks if is_last else callbacks[::-1]

    first.run(cut_at, callbacks=both([*losses[: cut_at // 10], 2.7])[1])
    second.load_checkpoint(tmp_path / "run.npz")
    stopping, callbacks = both(losses[cut_at // 10 :])
    second.run(200 - cut_at, callbacks=callbacks)
    assert (stopping.iterations, stopping.losses) == (expected.iterations, expected.losses)
    assert second.iteration == 100
    assert second.net.parameters.tobytes() == whole.net.parameters.tobytes()


# ---- time ----


def test_time_budget_ends_a_long_run() -> None:
    trainer = article(keep_losses=0)
    article().compile()
    recorder = Recorder(every=None)
    trainer.run(10**12, callbacks=[TimeBudget(0.05), recorder])
    assert 0 < trainer.iteration < 10**8
    assert recorder.errors == [None]
    assert trainer.history.events == [(trainer.iteration, "stopped: 0.05 s are over")]


def test_time_budget_counts_from_the_beginning_of_each_run() -> None:
    trainer, budget = article(keep_losses=0, chunk_size=1), TimeBudget(0.0)
    for n in range(1, 4):
        assert trainer.run(1000, callbacks=[budget]).n_iterations == n
    assert article().run(5000, callbacks=[TimeBudget(3600)]).n_iterations == 5000


# ---- checkpoints ----


def test_checkpoints_every_so_often_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    iterations: list[int] = []

    class Saved(Checkpoint):
        def _save(self, run: Run) -> None:
            super()._save(run)
            other = article()
            other.load_checkpoint(self.path)
            iterations.append(other.iteration)

    article().run(250, callbacks=[Saved(path, 100)])
    assert iterations == [100, 200, 250]
    assert os.listdir(tmp_path) == ["run.npz"]


def test_checkpoint_on_interrupt(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    first, second, whole = article(), article(), article()
    with pytest.raises(KeyboardInterrupt):
        first.run(1000, callbacks=[Checkpoint(path), raise_at(130, KeyboardInterrupt())])
    second.load_checkpoint(path)
    assert second.iteration == 130
    assert second.history.events == [(130, "resumed")]
    second.run(270)
    whole.run(400)
    assert second.net.parameters.tobytes() == whole.net.parameters.tobytes()


def test_checkpoint_on_a_signal(tmp_path: Path) -> None:
    path, trainer, other = tmp_path / "run.npz", article(), article()
    callbacks = [Checkpoint(path), Every(70, lambda run: signal.raise_signal(signal.SIGINT))]
    with pytest.raises(KeyboardInterrupt):
        trainer.run(1000, callbacks=callbacks)
    other.load_checkpoint(path)
    assert other.iteration == 70


def test_no_checkpoint_of_a_run_that_diverged_or_failed(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    with pytest.raises(DivergenceError):
        straight(1.5).run(1000, callbacks=[Checkpoint(path, 200)])
    other = straight(1.5)
    other.load_checkpoint(path)
    assert other.iteration == 400  # the earlier file
    with pytest.raises(UnexpectedError):
        article().run(1000, callbacks=[Checkpoint(tmp_path / "none.npz"), raise_at(100, UnexpectedError())])
    assert not (tmp_path / "none.npz").exists()


def test_checkpoint_in_no_folder_is_found_before_the_work(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere" / "run.npz", tmp_path):
        trainer = article()
        with pytest.raises(InvalidArgumentError, match="path must be a file in a folder that exists"):
            trainer.run(1000, callbacks=[Checkpoint(path)])
        assert trainer.iteration == 0


def test_a_checkpoint_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.npz"
    article().run(50, callbacks=[Checkpoint(path)])
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crabnet_jit.archive.os.fsync", full)
    trainer, recorder = article(), Recorder()
    with (
        pytest.raises(OSError, match="No space left on device"),
        pytest.warns(
            RuntimeWarning, match="no checkpoint after [12]00 iterations: .*No space left"
        ) as warned,
    ):
        trainer.run(250, callbacks=[recorder, Checkpoint(path, 100), recorder])
    assert len(warned) == 2
    assert trainer.iteration == 250  # the run went on
    assert recorder.errors == [None, None]
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.parametrize("values", [np.array([1, 2]), np.array([1.0, None]), np.array([1.0], ">f8")])
def test_a_state_that_could_not_be_read_again_is_not_written(values: Any, tmp_path: Path) -> None:
    class Stateful(Recorder):
        def state(self) -> dict[str, Any]:
            return {**super().state(), "kept": values}

    path = tmp_path / "run.npz"
    article().run(50, callbacks=[Checkpoint(path)])
    before = path.read_bytes()
    with pytest.raises(InvalidArgumentError, match=f"must be an array of floats, got one of {values.dtype}"):
        article().run(50, callbacks=[Stateful(), Checkpoint(path)])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.npz"]


def test_options_of_a_checkpoint_are_kept(tmp_path: Path) -> None:
    options = {"text": "größe", "number": 0.1, "nothing": None, "list": [1, {"a": True}]}
    article().run(10, callbacks=[Checkpoint(tmp_path / "run.npz", options=options)])
    assert read_checkpoint(tmp_path / "run.npz").options == options
    article().run(10, callbacks=[Checkpoint(tmp_path / "run.npz")])
    assert read_checkpoint(tmp_path / "run.npz").options == {}


def test_states_of_other_callbacks_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    article().run(30, callbacks=[Scripted([3, 2, 1], patience=9), Checkpoint(path)])
    trainer, stopping = article(), Scripted([9], patience=9)
    trainer.load_checkpoint(path)
    trainer.run(10, callbacks=[Recorder(), stopping])  # in another place
    assert stopping.losses == [9]


def test_states_of_a_checkpoint_stay_until_a_run_has_begun(tmp_path: Path) -> None:
    first, second = article(), article()
    first.run(30, callbacks=[Scripted([3, 2, 1], patience=9), Checkpoint(tmp_path / "run.npz")])
    second.load_checkpoint(tmp_path / "run.npz")
    with pytest.raises(OSError, match="No such folder"):
        second.run(10, callbacks=[Scripted([4], patience=9), LogFile(tmp_path / "nowhere" / "log.csv")])
    stopping = Scripted([4], patience=9)
    second.run(10, callbacks=[stopping, LogFile(tmp_path / "log.csv")])
    assert stopping.losses == [3, 2, 1, 4]


def test_loading_into_a_trainer_that_ran_something_else(tmp_path: Path) -> None:
    """Of the same configuration: losses and log are the checkpoint's from there on."""
    first, fresh, used = article(), article(log_every=500), article(seed=2, log_every=500)
    first.run(1500)
    first.save_checkpoint(tmp_path / "run.npz")
    used.run(2000)
    for trainer in (fresh, used):
        trainer.load_checkpoint(tmp_path / "run.npz")
        assert trainer.history.running_loss(1499) == first.history.running_loss(1499)
        trainer.run(600)
    assert_same_run(used, fresh)


# ---- log files ----


def rows_of(path: Path) -> list[list[float]]:
    """As numbers, by csv or json."""
    names = ["iteration", "running_loss", "learning_rate", "seconds"]
    with path.open(newline="", encoding="utf-8") as file:
        if path.suffix == ".csv":
            rows = [*csv.reader(file)]
            assert rows.pop(0) == names
            return [[int(row[0]), *map(float, row[1:])] for row in rows]

        def no_number(text: str) -> None:
            raise AssertionError(f"{text} is not JSON")

        objects = [json.loads(line, parse_constant=no_number) for line in file]
        assert all([*row] == names for row in objects)
        return [[*row.values()] for row in objects]


both_endings = pytest.mark.parametrize("ending", [".csv", ".jsonl"])


@both_endings
@pytest.mark.parametrize(
    "rate", [None, 0.001, lambda i: 0.002 / (1 + i)], ids=["decay", "number", "function"]
)
def test_rows_are_the_histories(ending: str, rate: Any, tmp_path: Path) -> None:
    path = tmp_path / f"log{ending}"
    trainer = article(learning_rate=rate, chunk_size=77)
    trainer.run(3100, callbacks=[LogFile(path, 50)])
    rows = rows_of(path)
    assert [row[0] for row in rows] == [*range(50, 3101, 50)]
    assert [row[1] for row in rows] == [trainer.history.running_loss(i - 1) for i in range(50, 3101, 50)]
    schedule = trainer.learning_rate
    np.testing.assert_allclose([row[2] for row in rows], schedule(np.arange(3100))[49::50], rtol=1e-13)
    seconds = [row[3] for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_a_csv_log_is_readable_by_numpy(tmp_path: Path) -> None:
    article().run(300, callbacks=[LogFile(tmp_path / "log.csv", 100)])
    table = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    assert table.dtype.names == ("iteration", "running_loss", "learning_rate", "seconds")
    assert table["iteration"].tolist() == [100, 200, 300]


@both_endings
def test_a_resumed_run_keeps_what_is_before_the_checkpoint(ending: str, tmp_path: Path) -> None:
    path, saved = tmp_path / f"log{ending}", tmp_path / "run.npz"
    first = article()
    with pytest.raises(UnexpectedError):  # as if it were killed later
        first.run(
            1000, callbacks=[LogFile(path, 100), Checkpoint(saved, 300), raise_at(550, UnexpectedError())]
        )
    before = rows_of(path)
    assert [row[0] for row in before] == [100, 200, 300, 400, 500]
    with path.open("a") as file:
        file.write('{"iteration": 2' if ending == ".jsonl" else "2")  # a torn line
    second = article()
    second.load_checkpoint(saved)
    second.run(700, callbacks=[LogFile(path, 100), Checkpoint(saved, 300)])
    rows = rows_of(path)
    assert [row[0] for row in rows] == [*range(100, 1001, 100)]
    assert rows[:3] == before[:3]
    whole = article()
    whole.run(1000, callbacks=[LogFile(tmp_path / f"whole{ending}", 100)])
    assert [row[:3] for row in rows] == [row[:3] for row in rows_of(tmp_path / f"whole{ending}")]


@both_endings
def test_a_resumed_run_has_each_row_once_wherever_the_log_file_stands(ending: str, tmp_path: Path) -> None:
    path, saved = tmp_path / f"log{ending}", tmp_path / "run.npz"
    with pytest.raises(UnexpectedError):
        article().run(
            1000, callbacks=[Checkpoint(saved, 300), LogFile(path, 100), raise_at(550, UnexpectedError())]
        )
    trainer = article()
    trainer.load_checkpoint(saved)
    trainer.run(200, callbacks=[Checkpoint(saved, 300), LogFile(path, 100)])
    assert [row[0] for row in rows_of(path)] == [100, 200, 300, 400, 500]


@both_endings
def test_a_run_that_goes_on_adds_rows_and_one_that_begins_replaces_them(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"log{ending}"
    trainer, log = article(), LogFile(path, 100)
    trainer.run(250, callbacks=[log])
    trainer.run(250, callbacks=[log])
    trainer.run(100, callbacks=[LogFile(path, 100)])
    assert [row[0] for row in rows_of(path)] == [100, 200, 300, 400, 500, 600]
    article().run(120, callbacks=[LogFile(path, 60)])
    assert [row[0] for row in rows_of(path)] == [60, 120]


@both_endings
@pytest.mark.parametrize("content", ["", "\n", "nonsense\n", "x,y\n1", "[1, 2]\n{}\nnull\n3\n"])
def test_what_is_no_row_does_not_stay(content: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"log{ending}"
    path.write_text(content)
    trainer = article()
    trainer.run(100)
    trainer.run(100, callbacks=[LogFile(path, 100)])
    if ending == ".jsonl" or content != "[1, 2]\n{}\nnull\n3\n":  # a 3 may begin a row of the other kind
        assert [row[0] for row in rows_of(path)] == [200]


@both_endings
def test_a_resumed_run_without_its_log_begins_one(ending: str, tmp_path: Path) -> None:
    trainer = article()
    trainer.run(100)
    trainer.run(200, callbacks=[LogFile(tmp_path / f"log{ending}", 100)])
    assert [row[0] for row in rows_of(tmp_path / f"log{ending}")] == [200, 300]


@both_endings
def test_losses_that_are_not_finite(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [math.inf, -math.inf, math.nan, 0.5]
    left = iter(losses)
    monkeypatch.setattr(Run, "running_loss", property(lambda run: next(left)))
    article().run(400, callbacks=[LogFile(tmp_path / f"log{ending}", 100)])
    written = [row[1] for row in rows_of(tmp_path / f"log{ending}")]
    if ending == ".jsonl":
        assert written == [None, None, None, 0.5]
    else:
        np.testing.assert_array_equal(written, losses)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files have no paths")
@both_endings
def test_a_log_through_an_open_file_adds_to_it(ending: str, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "all", os.O_WRONLY | os.O_CREAT)
    link = tmp_path / f"log{ending}"
    link.symlink_to(f"/dev/fd/{descriptor}")
    before = '{"iteration": 50}\n' if ending == ".jsonl" else "50,1,1,1\n"  # of somebody else
    os.write(descriptor, before.encode())
    trainer = article()
    trainer.run(100)
    trainer.run(200, callbacks=[LogFile(link, 100)])
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    first, *rows, last = (tmp_path / "all").read_text().splitlines(keepends=True)
    assert (first, last) == (before, "after\n")
    (tmp_path / f"rows{ending}").write_text("".join(rows))
    assert [row[0] for row in rows_of(tmp_path / f"rows{ending}")] == [200, 300]
    assert link.is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
@pytest.mark.parametrize("kind", [LogFile, Checkpoint])
def test_a_loop_of_links_is_found_before_the_work(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("b.csv")
    (tmp_path / "b.csv").symlink_to("a.csv")
    trainer = article()
    with pytest.raises(OSError, match=r"a\.csv"):
        trainer.run(100, callbacks=[kind(tmp_path / "a.csv")])
    assert trainer.iteration == 0


def test_a_log_in_no_folder_is_found_before_the_work(tmp_path: Path) -> None:
    trainer = article()
    with pytest.raises(OSError, match="No such folder"):
        trainer.run(100, callbacks=[LogFile(tmp_path / "nowhere" / "log.csv")])
    assert trainer.iteration == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has the always-full device")
def test_a_log_on_a_full_disk_is_a_warning_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    trainer = article()
    with pytest.warns(
        RuntimeWarning, match="no row after [24]00 iterations: .*No space left on device"
    ) as told:
        trainer.run(500, callbacks=[LogFile(tmp_path / "log.jsonl", 200)])
    assert len(told) == 2
    whole = article()
    whole.run(500)
    assert_same_run(trainer, whole)


@both_endings
def test_a_row_that_was_torn_is_mended(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, whole = tmp_path / f"log{ending}", tmp_path / f"whole{ending}"
    is_full = Every(200, lambda run: run.iteration == 200 and monkeypatch.setattr(Path, "open", torn))
    is_free = Every(300, lambda run: monkeypatch.undo())
    open_file = Path.open

    def torn(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == path:
            with open_file(self, "a") as file:
                file.write("20")
            raise OSError(28, "No space left on device")
        return open_file(self, *arguments, **options)

    with pytest.warns(RuntimeWarning, match="no row after 200"):
        article().run(500, callbacks=[is_full, is_free, LogFile(path, 100)])
    article().run(500, callbacks=[LogFile(whole, 100)])
    assert [row[0] for row in rows_of(path)] == [100, 300, 400, 500]
    assert [row[0] for row in rows_of(whole)] == [100, 200, 300, 400, 500]


# ---- history ----


def test_keep_losses_bounds_the_memory() -> None:
    history, size = History(1000, keep=500), 0
    losses = np.random.default_rng(0).random(700)
    for _ in range(500):
        history.extend(losses)
        size = max(size, history._losses.size)
    assert size <= 2 * (500 + WINDOW) + 700
    assert history.n_iterations == 350_000
    assert 500 <= history.losses.size <= size
    assert history.first_iteration == 350_000 - history.losses.size
    assert len(history.log) == 350
    np.testing.assert_array_equal(history.losses[-700:], losses)


@pytest.mark.parametrize("keep", [0, 1, 300, 5000, None])
@pytest.mark.parametrize("chunk", [1, 97, 1500, 9000])
def test_kept_losses_and_the_log_do_not_depend_on_how_many_are_kept(keep: int | None, chunk: int) -> None:
    n = 3000 if chunk == 1 else 27_000
    losses = np.random.default_rng(1).random(n)
    history, whole = History(70, keep), History(70)
    whole.extend(losses)
    told: list[tuple[int, float]] = []
    for start in range(0, n, chunk):
        history.extend(losses[start : start + chunk])
        told += iter(history.take_new_entry, None)
    assert told == history.log == whole.log
    np.testing.assert_array_equal(history.losses, losses[history.first_iteration :])
    assert history.losses.size >= min(n, n if keep is None else keep)
    lowest = 0 if history.first_iteration == 0 else history.first_iteration + WINDOW - 1
    for i in (lowest, n - 1):
        assert history.running_loss(i) == whole.running_loss(i)
    for i in (lowest - 1, n):
        with pytest.raises(
            InvalidArgumentError, match=f"iteration must be an integer from {lowest} to {n - 1}"
        ):
            history.running_loss(i)


def test_losses_of_an_empty_history() -> None:
    history = History(10)
    assert history.losses.size == history.n_iterations == history.first_iteration == 0
    with pytest.raises(InvalidArgumentError, match="iteration must be"):
        history.running_loss(0)


def test_going_back_keeps_losses_where_they_are_known() -> None:
    losses = np.random.default_rng(1).random(5000)
    history, whole = History(100), History(100)
    history.extend(losses)
    history.go_to(3000, losses[1999:3000], "back")
    assert (history.n_iterations, history.first_iteration) == (3000, 0)
    assert [i for i, _ in history.log] == [*range(0, 3000, 100)]
    assert history.events == [(3000, "back")]
    history.extend(losses[3000:])
    whole.extend(losses)
    assert history.log == whole.log
    np.testing.assert_array_equal(history.losses, losses)


def test_going_to_where_no_losses_are_known_takes_the_window() -> None:
    losses = np.random.default_rng(1).random(5000)
    history, whole = History(100), History(100)
    history.extend(losses[:200])
    history.go_to(3000, losses[1999:3000], "resumed")
    assert (history.n_iterations, history.first_iteration) == (3000, 1999)
    np.testing.assert_array_equal(history.losses, losses[1999:3000])
    assert history.log == []
    whole.extend(losses)
    assert history.running_loss(2999) == whole.running_loss(2999)
    history.extend(losses[3000:])
    assert [*iter(history.take_new_entry, None)] == whole.log[30:]


def test_a_trainer_keeps_only_its_last_losses() -> None:
    trainer, whole = article(keep_losses=100, log_every=500), article(log_every=500)
    trainer.run(50_000)
    whole.run(50_000)
    assert trainer.history.log == whole.history.log
    assert 100 <= trainer.history.losses.size < 20_000
    first = trainer.history.first_iteration
    np.testing.assert_array_equal(trainer.history.losses, whole.history.losses[first:])


# ---- divergence ----


def poisoned(bad: Callable[[Any], Any], **options: Any) -> Trainer:
    """The targets of some iterations are so large that their loss is infinite."""

    class Some(Source):
        in_features, out_features, batch_size = 1, 1, 4

        def fill(self, iteration: int, batches: Any) -> None:
            x, target = batches.x, batches.target
            numbers = np.arange(iteration, iteration + len(x))
            x[:] = np.sin(numbers * 0.7)[:, None, None, None]
            target[:] = 2 * x + 1
            target[bad(numbers)] = 1e200

    options = {"learning_rate": 0.1, "optimizer": "adam", "on_divergence": "skip", **options}
    return Trainer(NN(1, [3], 1, rng=1, activation="tanh", init="glorot_uniform"), Some(), **options)


@pytest.mark.parametrize("chunk_size", [None, 1, 8])
def test_skip_leaves_parameters_as_they_are_in_that_step(chunk_size: int | None) -> None:
    trainer = poisoned(lambda i: np.isin(i, [0, 40, 41, 99]), chunk_size=chunk_size)
    seen = [trainer.net.parameters.copy()]
    trainer.run(100, callbacks=[Every(1, lambda run: seen.append(run.net.parameters.copy()))])
    moved = [not np.array_equal(a, b) for a, b in pairwise(seen)]
    assert [i for i, has_moved in enumerate(moved) if not has_moved] == [0, 40, 41, 99]
    assert trainer.history.events == [(i, "skipped a step") for i in (0, 40, 41, 99)]
    assert np.flatnonzero(~np.isfinite(trainer.history.losses)).tolist() == [0, 40, 41, 99]
    assert trainer.iteration == 100


def test_steps_around_a_skipped_one_are_as_if_it_had_not_been() -> None:
    """With a constant rate and no momentum the others follow each other."""
    one = poisoned(lambda i: i == 50, optimizer="sgd")
    one.run(100)
    other = poisoned(lambda i: i < 0, optimizer="sgd")
    other.run(50)
    half = other.net.parameters.copy()
    other.run(1)
    other.net.parameters = half
    other.run(49)
    assert one.net.parameters.tobytes() == other.net.parameters.tobytes()
    assert one.history.losses[51:].tobytes() == other.history.losses[51:].tobytes()


def test_the_running_loss_leaves_out_skipped_steps() -> None:
    trainer = poisoned(lambda i: i % 10 == 3, log_every=7)
    history = trainer.run(2000)
    for i, loss in history.log:
        window = history.losses[max(0, i - 1000) : i + 1]
        assert loss == pytest.approx(window[np.isfinite(window)].sum() / 1000, rel=1e-12)


def test_rows_behind_a_skipped_step_have_its_rate(tmp_path: Path) -> None:
    trainer = poisoned(lambda i: np.isin(i, [0, 5, 6, 7, 20]), learning_rate=ExponentialDecay(0.1, 0.9))
    trainer.run(30, callbacks=[LogFile(tmp_path / "log.csv", 1)])
    rates = [row[2] for row in rows_of(tmp_path / "log.csv")]
    np.testing.assert_allclose(rates, 0.1 * 0.9 ** np.arange(1, 31), rtol=1e-12)


def test_bad_steps_without_end_are_an_error() -> None:
    trainer = poisoned(lambda i: i >= 20, chunk_size=4)
    with pytest.raises(DivergenceError) as caught:
        trainer.run(5000)
    assert 1000 <= caught.value.iteration - 20 <= 1002
    assert trainer.iteration == caught.value.iteration


def test_bad_steps_from_the_beginning_are_an_error() -> None:
    trainer = poisoned(lambda i: i >= 0, chunk_size=4)
    with pytest.raises(DivergenceError, match="no loss was finite"):
        trainer.run(5000)
    assert 1000 <= trainer.iteration <= 1002


def test_a_good_step_now_and_then_is_no_error() -> None:
    trainer = poisoned(lambda i: i % 900 != 0, chunk_size=2)
    assert trainer.run(2000).n_iterations == 2000


def test_steps_too_large_for_numbers_without_end_are_an_error() -> None:
    """Their losses are finite; what they would make of the parameters is not."""
    source = ArraySource(LINE, 2 * LINE, batch_size=40, rng=1)
    net = NN(1, [], 1, init=[5.0, 30.0])
    trainer = Trainer(net, source, learning_rate=1e308, on_divergence="skip", chunk_size=4)
    with pytest.raises(DivergenceError, match="optimiser's state would become infinite or NaN"):
        trainer.run(3000)
    np.testing.assert_array_equal(net.parameters, [5, 30])


@pytest.mark.parametrize(
    ("rate", "back", "scale"),
    [
        (1.05, [(2000, "went back from iteration 3728, with 0.5 of the learning rate")], 0.5),
        (1.5, [(0, "went back from iteration 513, with 0.5 of the learning rate")], 0.5),
        (
            3.0,
            [
                (0, "went back from iteration 221, with 0.5 of the learning rate"),
                (0, "went back from iteration 513, with 0.25 of the learning rate"),
            ],
            0.25,
        ),
    ],
)
@pytest.mark.parametrize("chunk_size", [None, 150])
def test_lower_rate_saves_a_run_that_diverges(
    rate: float, back: list[Any], scale: float, chunk_size: int | None
) -> None:
    with pytest.raises(DivergenceError):
        straight(rate).run(5000)
    trainer = straight(rate, on_divergence="lower_rate", log_every=500, chunk_size=chunk_size)
    history = trainer.run(5000)
    assert history.events == back
    assert trainer.state().rate_scale == scale
    assert trainer.last_rate == scale * rate
    assert trainer.iteration == history.losses.size == 5000
    assert [i for i, _ in history.log] == [*range(0, 5000, 500)]
    for i, loss in history.log:
        assert loss == pytest.approx(history.losses[max(0, i - 1000) : i + 1].sum() / 1000, rel=1e-12)
    np.testing.assert_allclose(trainer.net.parameters, [2, 1], rtol=1e-9)
    if back[0][0] == 0:  # it is the run with the lower rate from the start
        lower = straight(scale * rate)
        lower.run(5000)
        assert lower.net.parameters.tobytes() == trainer.net.parameters.tobytes()


def test_losses_that_are_taken_back_in_their_chunk_are_not_told() -> None:
    told: list[Any] = []
    trainer = straight(1.5, on_divergence="lower_rate", log_every=100, chunk_size=1000)
    trainer.run(2000, on_log=lambda i, loss: told.append((i, loss)))
    assert trainer.history.events[0][1].startswith("went back from iteration 513")
    assert told == trainer.history.log


def test_lower_rate_goes_back_in_the_optimizer_too() -> None:
    trainer = straight(1.5, on_divergence="lower_rate", optimizer="adam", clip_norm=None)
    before = trainer.state()
    trainer.run(300)
    trainer._steps.go_to(before, "by hand")
    state = trainer.state()
    assert state.optimizer_buffers.tobytes() == before.optimizer_buffers.tobytes()
    assert state.optimizer_numbers.tobytes() == before.optimizer_numbers.tobytes()


def test_lower_rate_gives_up_after_30_halvings() -> None:
    trainer = straight(1e30, on_divergence="lower_rate", chunk_size=100)
    with pytest.raises(DivergenceError):
        trainer.run(5000)
    assert len(trainer.history.events) == 30
    assert trainer.state().rate_scale == 2.0**-30


def test_lower_rate_can_be_resumed_in_between(tmp_path: Path) -> None:
    whole = straight(1.05, on_divergence="lower_rate")
    whole.run(5000)
    for cut in (2500, 3700, 3900):
        first, second = (straight(1.05, on_divergence="lower_rate") for _ in range(2))
        first.run(cut)
        first.save_checkpoint(tmp_path / "run.npz")
        second.load_checkpoint(tmp_path / "run.npz")
        second.run(5000 - second.iteration)
        assert second.net.parameters.tobytes() == whole.net.parameters.tobytes()
        assert second.state().rate_scale == 0.5


def test_callbacks_are_called_again_behind_a_return_but_never_at_0() -> None:
    calls: dict[int, list[int]] = {}
    for rate, every in ((1.135, 1000), (1.05, 3000)):
        seen = calls[every] = []
        trainer = straight(rate, on_divergence="lower_rate")
        trainer.run(4000, callbacks=[Every(every, lambda run, seen=seen: seen.append(run.iteration))])  # type: ignore[misc]  # a lambda's default
        assert len(trainer.history.events) == 1
    assert calls[1000] == [1000, 1000, 2000, 3000, 4000]
    assert calls[3000] == [3000, 3000]


@both_endings
def test_a_log_file_has_each_iteration_once_behind_a_return(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"log{ending}"
    for rate in (1.05, 1.135):
        trainer = straight(rate, on_divergence="lower_rate")
        history = trainer.run(5000, callbacks=[LogFile(path, 500)])
        rows = [(row[0], row[1]) for row in rows_of(path)]
        assert rows == [(i, history.running_loss(i - 1)) for i in range(500, 5001, 500)]


@both_endings
def test_a_log_file_of_a_second_run_goes_back_into_the_first(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"log{ending}"
    trainer = straight(1.05, on_divergence="lower_rate")
    trainer.run(3600, callbacks=[LogFile(path, 500)])
    history = trainer.run(1400, callbacks=[LogFile(path, 500)])  # which goes back from 3728 to 2000
    assert len(history.events) == 1
    rows = [(row[0], row[1]) for row in rows_of(path)]
    assert rows == [(i, history.running_loss(i - 1)) for i in range(500, 5001, 500)]


@both_endings
def test_a_row_that_comes_again_replaces_the_last(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"log{ending}"
    history = straight(1.05, on_divergence="lower_rate").run(5000, callbacks=[LogFile(path, 3000)])
    assert [(row[0], row[1]) for row in rows_of(path)] == [(3000, history.running_loss(2999))]


def test_a_checkpoint_with_callbacks_that_were_never_called(tmp_path: Path) -> None:
    trainer = article()
    trainer.run(100)
    trainer.save_checkpoint(tmp_path / "run.npz", callbacks=[EarlyStopping(), Recorder()])
    other, recorder = article(), Recorder()
    other.load_checkpoint(tmp_path / "run.npz")
    other.run(150, callbacks=[EarlyStopping(), recorder])
    assert recorder.called() == [200]


def test_early_stopping_takes_no_loss_of_no_iterations_behind_a_return() -> None:
    stopping = EarlyStopping(None, every=500)
    straight(1.135, on_divergence="lower_rate").run(3000, callbacks=[stopping])
    assert np.isfinite(stopping.losses).all()
    assert min(stopping.iterations) == 500


def test_raise_is_the_default() -> None:
    trainer, recorder = straight(1.5), Recorder()
    with pytest.raises(DivergenceError) as caught:
        trainer.run(1000, callbacks=[recorder])
    assert recorder.errors == [caught.value]
    assert trainer.iteration == caught.value.iteration == trainer.history.losses.size
    assert np.isfinite(trainer.net.parameters).all()
    assert trainer.history.events == []


# ---- fit ----


def fitted(**options: Any) -> NN:
    return fit(LINE, LINE**2, **{"n_iterations": 500, "hidden_sizes": (4,), "batch_size": 8, **options})


def test_fit_with_patience_ends_early() -> None:
    options: dict[str, Any] = {"validation": 0.3, "learning_rate": lambda i: 0.01 * (i < 200) + 1e-300}
    recorder = Recorder(every=10)
    net = fitted(patience=3, callbacks=[recorder], **options)
    history = net.fit_history
    assert history is not None
    assert recorder.called()[-1] < 300
    assert len(history.losses) == recorder.calls[-1][2]
    losses = history.validation_losses
    assert losses[-1] >= losses[-4] == min(losses)


def test_patience_without_validation_is_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match="patience must be None without validation, got 3"):
        fitted(patience=3)


def test_fit_calls_callbacks_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "fit.npz"
    whole = fitted(validation=0.3)
    with pytest.raises(UnexpectedError):
        fitted(validation=0.3, callbacks=[Checkpoint(path, 130), raise_at(300, UnexpectedError())])
    resumed = fitted(validation=0.3, resume=path)
    assert resumed.parameters.tobytes() == whole.parameters.tobytes()
    assert whole.fit_history is not None
    assert resumed.fit_history is not None
    assert resumed.fit_history[1:3] == whole.fit_history[1:3]
    with pytest.raises(FileFormatError, match="of another run"):
        fitted(validation=0.3, resume=path, batch_size=7)


def test_a_fit_returns_its_network_without_a_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fitted(validation=0.3)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crabnet_jit.archive.os.fsync", full)
    with pytest.warns(RuntimeWarning, match="no checkpoint at the end: .*No space left") as warned:
        net = fitted(validation=0.3, callbacks=[Checkpoint(tmp_path / "fit.npz")])
    assert len(warned) == 1
    assert net.parameters.tobytes() == whole.parameters.tobytes()
    assert net.fit_history is not None
    assert whole.fit_history is not None
    assert net.fit_history[1:3] == whole.fit_history[1:3]


def test_a_fit_does_not_return_after_errors_of_others(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of a callback"):
        fitted(callbacks=[Checkpoint(tmp_path / "fit.npz"), raise_at(300, OSError(5, "of a callback"))])


@pytest.mark.parametrize("validation", [None, 0.3])
@pytest.mark.parametrize("n", [1, 7, 55, 83])
def test_reports_at_the_end_of_a_fit_that_is_stopped(n: int, validation: float | None) -> None:
    told: list[Any] = []
    net = fitted(
        validation=validation,
        on_check=lambda *arguments: told.append(arguments),
        callbacks=[Every(n, lambda run: run.stop())],
    )
    assert [entry[0] for entry in told] == [*range(10, n, 10), n]
    assert net.fit_history is not None
    for (iteration, loss, _), (start, *_) in zip(told, [(0,), *told[:-1]], strict=True):
        assert loss == pytest.approx(net.fit_history.losses[start:iteration].mean(), rel=1e-12)
    expected = [None] * len(told) if validation is None else net.fit_history.validation_losses
    assert [entry[2] for entry in told] == expected


def test_reports_of_a_fit_that_went_back() -> None:
    told: list[Any] = []
    options: dict[str, Any] = {"optimizer": "sgd", "activation": "identity", "hidden_sizes": ()}
    net = fit(
        LINE,
        LINE**2,
        n_iterations=4000,
        learning_rate=lambda i: np.full(i.shape, 1.05),
        batch_size=40,
        on_divergence="lower_rate",
        on_check=lambda *arguments: told.append(arguments),
        **options,
    )
    assert np.isfinite([loss for _, loss, _ in told]).all()
    assert told[-1][0] == 4000
    assert np.isfinite(net.parameters).all()


# ---- the command line ----


@pytest.fixture
def points(tmp_path: Path) -> str:
    path = tmp_path / "points.csv"
    path.write_text("x,y\n" + "".join(f"{x},{x * x}\n" for x in LINE[:, 0].tolist()))
    return str(path)


def command(capsys: Any, text: str, code: int = 0) -> tuple[str, str]:
    try:
        came: Any = main(text.split())
    except SystemExit as stop:
        came = stop.code
    out, err = capsys.readouterr()
    assert came == code, err
    if code == 2:
        assert out == ""
        assert err.count("\n") == 1
        assert "error: " in err
    return out, err


SMALL = "--hidden 4 --batch-size 8"


def log_of(out: str) -> list[int]:
    return [int(line.split()[1].rstrip(",")) for line in out.splitlines()]


def test_fit_resumes_with_the_options_of_its_checkpoint(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "run.npz"
    options = "--seed 3 --hidden 5 --batch-size 3 --learning-rate 0.001 --decay 0.999 --optimizer adam"
    whole, _ = command(
        capsys, f"gaussian {options} --iterations 500 --log-every 50 --save {tmp_path}/whole.npz"
    )
    first, _ = command(capsys, f"gaussian {options} --iterations 220 --log-every 50 --checkpoint {path}")
    rest, err = command(capsys, f"gaussian --resume {path} --iterations 500 --save {tmp_path}/rest.npz")
    assert first + rest == whole
    assert err.startswith("280 iterations: ")
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "rest.npz").read_bytes()


def test_fit_resumes_a_run_that_is_done(tmp_path: Path, capsys: Any) -> None:
    command(capsys, f"gaussian {SMALL} --iterations 100 --checkpoint {tmp_path}/run.npz")
    out, err = command(capsys, f"gaussian --resume {tmp_path}/run.npz")
    assert out == ""
    assert err.startswith("0 iterations: ")


def test_fit_keeps_a_preset_in_the_checkpoint(tmp_path: Path, capsys: Any) -> None:
    path, interrupted = tmp_path / "run.npz", "--preset fast --iterations 3000 --log-every 500"
    whole, _ = command(capsys, f"gaussian {interrupted}")
    first, _ = command(capsys, f"gaussian {interrupted} --checkpoint {path} --time-limit 0")
    rest, _ = command(capsys, f"gaussian --resume {path}")
    assert first + rest == whole


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--hidden 5", "--hidden must be 4, as in "),
        ("--batch-size 9", "--batch-size must be 8, as in "),
        ("--learning-rate 0.5", "--learning-rate must be 0.002, as in "),
        ("--decay 0.5", "--decay must be "),
        ("--schedule constant", "--schedule must be exponential, as in "),
        ("--optimizer adam", "--optimizer must be sgd, as in "),
        ("--activation tanh", "--activation must be relu, as in "),
        ("--dtype float32", "--dtype must be float64, as in "),
        ("--on-divergence skip", "--on-divergence must be raise, as in "),
        ("--seed 2", "--seed must be 1, as in "),
        ("--preset fast", "--preset must be article, as in "),
        ("--iterations 99", "iterations must be at least the 100 that are done, got 99"),
    ],
)
def test_fit_refuses_options_that_contradict_the_checkpoint(
    more: str, message: str, tmp_path: Path, capsys: Any
) -> None:
    command(capsys, f"gaussian {SMALL} --iterations 100 --checkpoint {tmp_path}/run.npz")
    _, err = command(capsys, f"gaussian --resume {tmp_path}/run.npz {more}", 2)
    assert message in err


def test_train_resumes_with_the_options_of_its_checkpoint(points: str, tmp_path: Path, capsys: Any) -> None:
    options = "--hidden 4 --batch-size 8 --iterations 300 --dropout 0.1 --l2 1e-4 --seed 5 --no-standardize"
    options += " --validation 0.2"
    columns = f"fit {points} --inputs x --outputs y --no-progress"
    _, whole = command(capsys, f"{columns} {options} --save {tmp_path}/whole.npz")
    _, _ = command(capsys, f"{columns} {options} --checkpoint {tmp_path}/run.npz --time-limit 0")
    _, rest = command(capsys, f"{columns} --resume {tmp_path}/run.npz --save {tmp_path}/rest.npz")
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "rest.npz").read_bytes()
    scores = [line for line in whole.splitlines() if "RMSE" in line]
    assert [line for line in rest.splitlines() if "RMSE" in line] == scores
    assert len(scores) == 2


@pytest.mark.parametrize(
    "options",
    [
        "gaussian --preset best --hidden 8 --batch-size 200 --log-every 5",
        "fit {} --inputs x --outputs y --no-progress --hidden 5 --optimizer levenberg_marquardt "
        "--validation 0.2",
    ],
    ids=["gaussian", "fit"],
)
def test_levenberg_marquardt_resumes_from_its_checkpoint(
    options: str, points: str, tmp_path: Path, capsys: Any
) -> None:
    options = options.format(points)
    file = options.partition(" --")[0]
    if file != "gaussian":
        file += " --inputs x --outputs y --no-progress"
    whole, err = command(capsys, f"{options} --iterations 40 --save {tmp_path}/whole.npz")
    assert "stopped" not in err
    first, _ = command(capsys, f"{options} --iterations 17 --checkpoint {tmp_path}/run.npz")
    rest, _ = command(
        capsys, f"{file} --resume {tmp_path}/run.npz --iterations 40 --save {tmp_path}/rest.npz"
    )
    assert first + rest == whole
    assert (tmp_path / "whole.npz").read_bytes() == (tmp_path / "rest.npz").read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--hidden 5", "--hidden must be 4, as in "),
        ("--loss huber", "--loss must be auto, as in "),
        ("--validation 0.5", "--validation must be 0.0, as in "),
        ("--no-standardize", "--no-standardize must be "),
        ("--seed 9", "--seed must be 0, as in "),
        ("--dropout 0.5", "--dropout must be 0.0, as in "),
        ("--l1 0.5", "--l1 must be 0.0, as in "),
        ("--clip-norm 0.5", "its clip_norm is"),
        ("--iterations 50", "its learning_rate is"),
    ],
)
def test_train_refuses_options_that_contradict_the_checkpoint(
    more: str, message: str, points: str, tmp_path: Path, capsys: Any
) -> None:
    columns = f"fit {points} --inputs x --outputs y --no-progress"
    command(capsys, f"{columns} {SMALL} --iterations 100 --checkpoint {tmp_path}/run.npz")
    _, err = command(capsys, f"{columns} --resume {tmp_path}/run.npz {more}", 2)
    assert message in err


def test_checkpoints_of_other_things_are_told_apart(points: str, tmp_path: Path, capsys: Any) -> None:
    columns = f"fit {points} --inputs x --outputs y --no-progress"
    command(
        capsys,
        f"gaussian {SMALL} --iterations 10 --checkpoint {tmp_path}/gaussian.npz --save {tmp_path}/net.npz",
    )
    command(capsys, f"{columns} {SMALL} --iterations 10 --checkpoint {tmp_path}/fit.npz")
    article().run(10, callbacks=[Checkpoint(tmp_path / "own.npz")])
    (tmp_path / "text.npz").write_text("text")
    for name in ("fit", "own", "net", "text"):
        _, err = command(capsys, f"gaussian --resume {tmp_path}/{name}.npz", 2)
        assert f"{name}.npz is not a" in err
    for name in ("gaussian", "own"):
        _, err = command(capsys, f"{columns} --resume {tmp_path}/{name}.npz", 2)
        assert f"{name}.npz is not a checkpoint of crabnet-jit fit" in err
    _, err = command(capsys, f"gaussian --resume {tmp_path}/none.npz", 1)
    assert err.count("\n") == 1
    assert "No such file or directory" in err


def test_checkpoints_of_an_earlier_command_line_are_refused(points: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "run.npz"
    commands = "gaussian", f"fit {points} --inputs x --outputs y"
    for name, now in zip(("fit", "train"), commands, strict=True):  # what they were called
        command(capsys, f"{now} {SMALL} --iterations 10 --no-progress --checkpoint {path}")
        options = {**read_checkpoint(path).options, "command": name}
        article().run(10, callbacks=[Checkpoint(path, options=options)])
        for start in commands:
            _, err = command(capsys, f"{start} --resume {path}", 2)
            assert err.count("\n") == 1
            assert "run.npz is from an earlier version, whose commands had other names" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--time-limit -1", "seconds must be"),
        ("--time-limit nan", "seconds must be"),
        ("--time-limit x", "argument --time-limit: must be a number, got 'x'"),
        ("--log-file log.txt", "path must be a name with the suffix .csv or .jsonl"),
        ("--checkpoint run.npz --checkpoint-every 0", "every must be"),
        ("--on-divergence ignore", "--on-divergence must be one of raise, skip, lower_rate, got 'ignore'"),
    ],
)
@pytest.mark.parametrize("name", ["gaussian", "fit"])
def test_bad_options_of_a_run(
    name: str,
    more: str,
    message: str,
    points: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    start = "gaussian" if name == "gaussian" else f"fit {points} --inputs x --outputs y"
    _, err = command(capsys, f"{start} {more}", 2)
    assert message in err
    assert os.listdir(tmp_path) == ["points.csv"]


def test_time_limit(points: str, capsys: Any) -> None:
    _, err = command(capsys, f"gaussian {SMALL} --iterations 1000000000 --time-limit 0.05")
    assert 0 < int(err.split()[0]) < 10**8
    columns = f"fit {points} --inputs x --outputs y --no-progress --batch-size 8 --validation 0.2"
    _, err = command(capsys, f"{columns} --iterations 1000000000 --time-limit 0.05")
    assert "validation, 8 rows" in err


def test_iterations_that_were_done_are_told(points: str, tmp_path: Path, capsys: Any) -> None:
    columns = f"fit {points} --inputs x --outputs y --no-progress {SMALL}"
    _, err = command(capsys, f"{columns} --iterations 10000000 --time-limit 0")
    assert "10000000 iterations in" not in err


def test_log_file_and_checkpoint_every(tmp_path: Path, points: str, capsys: Any) -> None:
    log, saved = tmp_path / "log.csv", tmp_path / "run.npz"
    options = f"--iterations 2500 --log-file {log} --checkpoint {saved} --checkpoint-every 1000"
    command(capsys, f"gaussian {SMALL} {options}")
    assert [row[0] for row in rows_of(log)] == [1000, 2000]
    command(capsys, f"gaussian --resume {saved} --iterations 4200 --log-file {log}")
    assert [row[0] for row in rows_of(log)] == [1000, 2000, 3000, 4000]
    log = tmp_path / "log.jsonl"
    columns = f"fit {points} --inputs x --outputs y --no-progress {SMALL}"
    command(capsys, f"{columns} --iterations 2500 --log-file {log}")
    assert [row[0] for row in rows_of(log)] == [1000, 2000]


def test_on_divergence(capsys: Any) -> None:
    diverging = "gaussian --hidden= --learning-rate 5 --iterations 3000 --log-every 1000 --schedule constant"
    _, err = command(capsys, f"{diverging} --on-divergence raise", 1)
    assert "the run diverged" in err
    out, _ = command(capsys, f"{diverging} --on-divergence lower_rate")
    assert log_of(out)[-1] == 2000


def test_patience_on_the_command_line(points: str, capsys: Any) -> None:
    columns = f"fit {points} --inputs x --outputs y --no-progress {SMALL}"
    _, err = command(capsys, f"{columns} --iterations 1000 --learning-rate 0 --patience 2 --validation 0.2")
    assert "100 of 1000" not in err
    _, err = command(capsys, f"{columns} --patience 3 --validation 0", 2)
    assert "patience must be None without validation" in err
    _, err = command(capsys, f"{columns} --patience 0 --validation 0.2", 2)
    assert "patience must be an integer of at least 1" in err


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    path = tmp_path / "run.npz"
    whole, _ = command(capsys, f"gaussian {SMALL} --iterations 3000 --log-every 300")
    advance = Steps.advance

    def interrupted(self: Steps, *arguments: Any) -> None:
        advance(self, *arguments)
        if self.iteration >= 1000:
            monkeypatch.setattr(Steps, "advance", advance)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Steps, "advance", interrupted)
    first, err = command(
        capsys, f"gaussian {SMALL} --iterations 3000 --log-every 300 --checkpoint {path}", 130
    )
    assert f"go on with --resume {path}\n" in err
    assert err.endswith("crabnet-jit gaussian: interrupted\n")
    rest, _ = command(capsys, f"gaussian --resume {path}")
    assert first + rest == whole


# ---- decisions use the mean of as many losses as there are ----


def adam_tanh(seed: int = 1, **options: Any) -> Trainer:
    net = NN(2, [16, 16], 1, rng=seed, activation="tanh", init="glorot_uniform")
    source = UniformSource(StandardGaussian(), rng=seed)
    return Trainer(net, source, optimizer="adam", learning_rate=0.003, **options)


def test_early_stopping_is_not_misled_by_the_first_iterations() -> None:
    """By the original's rule, the running loss rises for 1,000 iterations while the losses fall."""
    stopping = EarlyStopping(patience=5, every=100)
    history = adam_tanh().run(20_000, callbacks=[stopping])
    assert history.n_iterations > 2000
    assert stopping.best_loss < 0.01
    assert stopping.losses[0] == pytest.approx(history.losses[:100].mean(), rel=1e-12)


def test_what_callbacks_and_log_files_see_is_the_mean_so_far(tmp_path: Path) -> None:
    seen = []
    callbacks = [
        Every(100, lambda run: seen.append(run.running_loss)),
        LogFile(tmp_path / "log.csv", every=100),
    ]
    losses = adam_tanh().run(300, callbacks=callbacks).losses
    means = [losses[:n].mean() for n in (100, 200, 300)]
    assert seen == pytest.approx(means, rel=1e-12)
    assert [row[1] for row in rows_of(tmp_path / "log.csv")] == pytest.approx(means, rel=1e-12)


def test_the_log_keeps_the_rule_of_the_original() -> None:
    history = article(log_every=500).run(1501)
    sums = [history.losses[max(0, i - 1000) : i + 1].sum() / 1000 for i in (0, 500, 1000, 1500)]
    assert [loss for _, loss in history.log] == pytest.approx(sums, rel=1e-12)


def test_a_running_loss_of_huge_losses_is_their_mean() -> None:
    history = History(10)
    history.extend(np.array([1e308, 1.5e308, 1.2e308]))
    assert history.running_loss(2) == pytest.approx(1.2333333333333333e308, rel=1e-12)


# ---- the best parameters at the end, the last ones to go on from ----


@pytest.mark.parametrize("cut", [700, 3000, 3300])
def test_a_run_that_restored_the_best_goes_on_from_the_last(cut: int, tmp_path: Path) -> None:
    def trained(*lengths: int) -> tuple[Trainer, list[bytes]]:
        trainer = adam_tanh(chunk_size=300)
        stopping, best = EarlyStopping(patience=None, every=700), []
        for n in lengths:
            trainer.run(n, callbacks=[stopping])
            best.append(trainer.net.parameters.tobytes())
        return trainer, best

    whole, best_of_whole = trained(6000)
    parts, best = trained(cut, 6000 - cut)
    assert_same_state(whole, parts)
    assert best[-1] == best_of_whole[-1]
    # The network has the best parameters, the state that is saved has the last ones.
    first, _ = trained(cut)
    last = adam_tanh()
    last.run(cut)
    first.save_checkpoint(tmp_path / "run.npz")
    saved = read_checkpoint(tmp_path / "run.npz").state.parameters
    assert saved.tobytes() == last.net.parameters.tobytes()
    other = adam_tanh()
    other.load_checkpoint(tmp_path / "run.npz")
    other.run(6000 - cut, callbacks=[EarlyStopping(patience=None, every=700)])
    assert_same_state(whole, other)


def assert_same_state(one: Trainer, other: Trainer) -> None:
    for left, right in zip(one.state()[5:9], other.state()[5:9], strict=True):
        assert left.tobytes() == right.tobytes()


def test_the_network_has_the_best_and_the_next_run_the_last() -> None:
    trainer, plain = straight(1.05), straight(1.05)  # the loss grows: the first parameters are the best
    trainer.run(20, callbacks=[EarlyStopping(patience=None, every=1)])
    plain.run(20)
    assert abs(trainer.net.parameters - [2, 1]).max() < abs(plain.net.parameters - [2, 1]).max()
    trainer.run(1)
    plain.run(1)
    assert trainer.net.parameters.tobytes() == plain.net.parameters.tobytes()


def test_parameters_that_were_changed_after_a_run_are_taken() -> None:
    trainer = adam_tanh()
    trainer.run(2000, callbacks=[EarlyStopping(patience=None, every=500)])
    trainer.net.parameters[:] = 0.25
    assert trainer.state().parameters.tobytes() == trainer.net.parameters.tobytes()
    other = adam_tanh()
    other.run(2000)
    other.net.parameters[:] = 0.25
    trainer.run(10)
    other.run(10)
    assert trainer.net.parameters.tobytes() == other.net.parameters.tobytes()


# ---- what "lower_rate" takes back ----


def test_the_log_survives_a_return_when_few_losses_are_kept() -> None:
    whole = straight(1.05, on_divergence="lower_rate", log_every=50)
    few = straight(1.05, on_divergence="lower_rate", log_every=50, keep_losses=0)
    whole.run(5000)
    few.run(5000)
    assert whole.history.events == few.history.events != []
    assert few.history.log == whole.history.log
    assert len(few.history.log) == 100


def test_checks_that_were_taken_back_do_not_count_for_patience() -> None:
    trainer = straight(1.05, on_divergence="lower_rate")
    x = np.linspace(-1, 1, 8)[:, None]
    stopping = EarlyStopping(None, Objective(trainer.net, x, 2 * x + 1), every=200)
    trainer.run(5000, callbacks=[stopping])
    assert trainer.history.events[0][0] == 2000
    assert stopping.iterations == list(range(200, 5001, 200))
    assert len(stopping.losses) == 25


def test_the_state_of_early_stopping_survives_a_return_and_a_checkpoint(tmp_path: Path) -> None:
    def run(*lengths: int) -> EarlyStopping:
        trainer = straight(1.05, on_divergence="lower_rate")
        for k, n in enumerate(lengths):
            stopping = EarlyStopping(None, every=200)
            if k > 0:
                trainer = straight(1.05, on_divergence="lower_rate")
                trainer.load_checkpoint(tmp_path / "run.npz")
            trainer.run(n, callbacks=[stopping, Checkpoint(tmp_path / "run.npz")])
        return stopping

    assert run(5000).losses == run(2300, 1500, 1200).losses
