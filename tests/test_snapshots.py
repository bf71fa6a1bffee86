"""Parameters kept on the way, when callbacks are due, and what a history tells of losses and rates."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trainers import article, straight

from crabnet_jit import (
    NN,
    Callback,
    Checkpoint,
    Constant,
    Cosine,
    DivergenceError,
    EarlyStopping,
    Every,
    ExponentialDecay,
    FileFormatError,
    History,
    InvalidArgumentError,
    LogFile,
    OneCycle,
    Run,
    Snapshots,
    TimeBudget,
    Trainer,
    fit,
)
from crabnet_jit.network.history import WINDOW
from crabnet_jit.training.state import read_checkpoint, write_checkpoint

HYPOTHESIS = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def parameters_after(n: int, make: Callable[[], Trainer] = article) -> NDArray[Any]:
    trainer = make()
    trainer.run(n)
    return trainer.net.parameters


def assert_as_separate_runs(snapshots: Snapshots, make: Callable[[], Trainer] = article) -> None:
    assert len(snapshots.iterations) == len(snapshots.parameters)
    for iteration, parameters in zip(snapshots.iterations, snapshots.parameters, strict=True):
        expected = parameters_after(iteration, make)
        assert parameters.dtype == expected.dtype
        assert parameters.tobytes() == expected.tobytes()


def assert_same_snapshots(one: Snapshots, other: Snapshots) -> None:
    assert one.iterations == other.iterations
    assert [p.tobytes() for p in one.parameters] == [p.tobytes() for p in other.parameters]


def thinned(n: int, every: int, most: int) -> list[int]:
    """The iterations of a run of n, when `every` doubles as long as there are too many."""
    while len(range(0, n + 1, every)) >= most:
        every *= 2
    multiples = [*range(0, n + 1, every)]
    return multiples if multiples[-1] == n else [*multiples, n]


# ---- what is kept ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("chunk_size", [None, 1, 130])
def test_parameters_are_those_of_runs_of_so_many_iterations(dtype: Any, chunk_size: int | None) -> None:
    snapshots = Snapshots(137)
    article(dtype=dtype, chunk_size=chunk_size).run(1000, callbacks=[snapshots])
    assert snapshots.iterations == [*range(0, 1000, 137), 1000]
    assert_as_separate_runs(snapshots, lambda: article(dtype=dtype))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
def test_the_optimiser_does_not_matter(optimizer: str) -> None:
    snapshots = Snapshots(100)
    article(optimizer=optimizer, dropout=0.1).run(300, callbacks=[snapshots])
    assert_as_separate_runs(snapshots, lambda: article(optimizer=optimizer, dropout=0.1))


@pytest.mark.parametrize(
    "make", [lambda: Snapshots(1, 5), lambda: Snapshots(97), lambda: Snapshots(iterations=[0, 3, 500, 9000])]
)
def test_the_run_is_the_same_with_and_without(make: Callable[[], Snapshots]) -> None:
    plain, watched = article(log_every=100, optimizer="adam"), article(log_every=100, optimizer="adam")
    plain.run(1500)
    watched.run(1500, callbacks=[make()])
    assert plain.history.losses.tobytes() == watched.history.losses.tobytes()
    assert plain.net.parameters.tobytes() == watched.net.parameters.tobytes()
    assert plain.history.log == watched.history.log
    assert plain.history.events == watched.history.events == []


def test_a_snapshot_is_a_copy() -> None:
    snapshots, trainer = Snapshots(100), article()
    trainer.run(250, callbacks=[snapshots])
    kept = [parameters.tobytes() for parameters in snapshots.parameters]
    assert len(set(kept)) == len(kept) == 4
    assert not any(np.shares_memory(p, trainer.net.parameters) for p in snapshots.parameters)
    trainer.run(500)
    trainer.net.parameters = np.zeros(trainer.net.parameters.size)
    assert [parameters.tobytes() for parameters in snapshots.parameters] == kept
    snapshots.parameters[-1][:] = 7  # nor the other way round
    assert not trainer.net.parameters.any()


def test_a_run_of_no_iterations_has_one() -> None:
    snapshots = Snapshots()
    article().run(0, callbacks=[snapshots])
    assert snapshots.iterations == [0]
    assert_as_separate_runs(snapshots)


def test_defaults() -> None:
    snapshots = Snapshots()
    assert (snapshots.every, snapshots.max_snapshots) == (1000, 100)
    assert snapshots.iterations == []
    assert snapshots.parameters == []
    article().run(2500, callbacks=[snapshots])
    assert snapshots.iterations == [0, 1000, 2000, 2500]


def test_an_end_that_is_due_is_there_once() -> None:
    snapshots = Snapshots(500)
    article().run(1000, callbacks=[snapshots])
    assert snapshots.iterations == [0, 500, 1000]
    assert_as_separate_runs(snapshots)


# ---- how many ----


@HYPOTHESIS
@given(n=st.integers(0, 700), every=st.integers(1, 120), most=st.integers(2, 12))
def test_never_too_many_and_multiples_of_the_doubled_every(n: int, every: int, most: int) -> None:
    class Watch(Callback):
        def __call__(self, run: Run) -> None:
            counts.append(len(snapshots.iterations))

    counts: list[int] = []
    snapshots = Snapshots(every, most)
    article(chunk_size=40).run(n, callbacks=[snapshots, Watch()])
    assert max(counts, default=0) <= most
    assert len(snapshots.iterations) <= most
    assert snapshots.iterations == thinned(n, every, most)
    doublings = math.log2(snapshots.every / every)
    assert doublings == int(doublings)
    assert all(i % snapshots.every == 0 for i in snapshots.iterations[:-1])


@HYPOTHESIS
@given(
    pieces=st.lists(st.integers(0, 250), min_size=1, max_size=5),
    every=st.integers(1, 90),
    most=st.integers(2, 9),
)
def test_runs_in_pieces_keep_what_one_run_keeps(pieces: list[int], every: int, most: int) -> None:
    whole, cut = Snapshots(every, most), Snapshots(every, most)
    article().run(sum(pieces), callbacks=[whole])
    trainer = article()
    done = 0
    for n in pieces:
        trainer.run(n, callbacks=[cut])
        done += n
        assert cut.iterations == thinned(done, every, most)
    assert_same_snapshots(whole, cut)
    assert whole.every == cut.every


def test_pieces_of_500_and_700() -> None:
    snapshots, trainer = Snapshots(200), article()
    trainer.run(500, callbacks=[snapshots])
    assert snapshots.iterations == [0, 200, 400, 500]
    trainer.run(700, callbacks=[snapshots])
    assert snapshots.iterations == [0, 200, 400, 600, 800, 1000, 1200]
    assert_as_separate_runs(snapshots)


def test_a_run_without_them_in_between() -> None:
    snapshots, trainer = Snapshots(100), article()
    trainer.run(250, callbacks=[snapshots])
    trainer.run(300)
    trainer.run(150, callbacks=[snapshots])
    assert snapshots.iterations == [0, 100, 200, 600, 700]
    assert_as_separate_runs(snapshots)


@pytest.mark.parametrize("most", [2, 3, 4, 5, 100])
def test_a_long_run_keeps_few(most: int) -> None:
    snapshots = Snapshots(1, most)
    article().run(20_011, callbacks=[snapshots])
    assert most / 2 <= len(snapshots.iterations) <= most
    assert snapshots.iterations == thinned(20_011, 1, most)
    assert snapshots.iterations[0] == 0
    assert snapshots.iterations[-1] == 20_011


def test_every_beyond_the_run() -> None:
    snapshots = Snapshots(2**62)
    article().run(300, callbacks=[snapshots])
    assert snapshots.iterations == [0, 300]


# ---- chosen iterations ----


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([0], [0, 600]),
        ([1], [1, 600]),
        ([0, 1, 2, 599], [0, 1, 2, 599, 600]),
        ([600], [600]),
        ([100, 600, 601, 10**15], [100, 600]),
        ([700], [600]),
        (range(0, 700, 250), [0, 250, 500, 600]),
        (np.array([3, 50]), [3, 50, 600]),
        ((7, 8), [7, 8, 600]),
        ([*range(150)], [*range(150), 600]),  # more than max_snapshots
    ],
)
def test_exactly_the_chosen_iterations_and_the_end(chosen: Sequence[int], expected: list[int]) -> None:
    snapshots = Snapshots(iterations=chosen)
    article().run(600, callbacks=[snapshots])
    assert snapshots.iterations == expected
    assert_as_separate_runs(snapshots)


def test_chosen_ones_are_kept_whatever_the_others_say() -> None:
    snapshots = Snapshots(every=7, max_snapshots=2, iterations=[5, 10, 20, 40])
    article().run(50, callbacks=[snapshots])
    assert snapshots.iterations == [5, 10, 20, 40, 50]


@HYPOTHESIS
@given(
    chosen=st.sets(st.integers(0, 500), min_size=1, max_size=8).map(sorted),
    pieces=st.lists(st.integers(0, 200), min_size=1, max_size=4),
    others=st.lists(st.integers(1, 150), max_size=3),
)
def test_chosen_ones_in_pieces_and_beside_others(
    chosen: list[int], pieces: list[int], others: list[int]
) -> None:
    snapshots, trainer = Snapshots(iterations=chosen), article()
    seen: list[tuple[int, int]] = []
    for n in pieces:
        calls = [Every(k, lambda run, k=k: seen.append((k, run.iteration))) for k in others]  # type: ignore[misc]  # a lambda's default
        trainer.run(n, callbacks=[*calls[:1], snapshots, *calls[1:]])
    n = sum(pieces)
    assert snapshots.iterations == sorted({i for i in chosen if i <= n} | {n})
    for k in others:
        assert {i for every, i in seen if every == k} == set(range(k, n + 1, k))
    assert snapshots.parameters[-1].tobytes() == trainer.net.parameters.tobytes()


def test_many_chosen_iterations_take_no_time() -> None:
    article().run(10)
    chosen = range(0, 75_000, 50)
    snapshots = Snapshots(iterations=chosen)
    start = time.perf_counter()
    article().run(75_000, callbacks=[snapshots])
    assert time.perf_counter() - start < 3
    assert snapshots.iterations == [*chosen, 75_000]


def test_two_of_them_in_one_run() -> None:
    one, other = Snapshots(300), Snapshots(iterations=[1, 299, 450])
    article().run(700, callbacks=[one, other, Every(111, lambda run: None)])
    assert one.iterations == [0, 300, 600, 700]
    assert other.iterations == [1, 299, 450, 700]
    assert_as_separate_runs(one)
    assert_as_separate_runs(other)


# ---- runs that end otherwise ----


def test_no_snapshot_of_iterations_that_were_taken_back() -> None:
    """At a rate of 1.05 the run goes back from iteration 3728 to 2000."""
    seen: list[list[int]] = []
    snapshots = Snapshots(500)
    trainer = straight(1.05, on_divergence="lower_rate")
    look = Every(100, lambda run: seen.append([*snapshots.iterations]))
    trainer.run(5000, callbacks=[snapshots, look])
    assert trainer.history.events == [(2000, "went back from iteration 3728, with 0.5 of the learning rate")]
    assert snapshots.iterations == [*range(0, 5001, 500)]
    assert all(a < b for iterations in seen for a, b in pairwise(iterations))
    for iteration, parameters in zip(snapshots.iterations, snapshots.parameters, strict=True):
        other = straight(1.05, on_divergence="lower_rate")
        if iteration <= 2000:  # else the run of so many iterations ends before it goes back
            other.run(iteration)
        else:
            other.run(5000, callbacks=[Every(iteration, _Stop(iteration))])
        assert other.net.parameters.tobytes() == parameters.tobytes()


class _Stop:
    """Stops when an iteration is reached behind a return."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def __call__(self, run: Run) -> None:
        if run.iteration == self.iteration and run.history.events:
            run.stop()


@pytest.mark.parametrize("rate", [1.05, 1.135, 1.5, 3.0])
@pytest.mark.parametrize(
    "make",
    [lambda: Snapshots(333, 6), lambda: Snapshots(1000), lambda: Snapshots(iterations=[0, 1, 999, 3500])],
)
def test_a_run_that_went_back_has_its_snapshots_in_order(rate: float, make: Callable[[], Snapshots]) -> None:
    snapshots = make()
    trainer = straight(rate, on_divergence="lower_rate", chunk_size=50)
    trainer.run(4321, callbacks=[snapshots])
    assert trainer.history.events
    assert all(a < b for a, b in pairwise(snapshots.iterations))
    assert snapshots.iterations[-1] == 4321
    assert snapshots.parameters[-1].tobytes() == trainer.net.parameters.tobytes()
    if snapshots.iterations[0] == 0:
        np.testing.assert_array_equal(snapshots.parameters[0], [0.5, 0.3])


def test_an_interrupted_run_that_went_back_has_no_snapshots_of_what_was_taken_back() -> None:
    def interrupt(run: Run) -> None:
        if run.history.events and run.iteration == 2300:
            raise KeyboardInterrupt

    snapshots = Snapshots(500)
    trainer = straight(1.05, on_divergence="lower_rate")
    with pytest.raises(KeyboardInterrupt):
        trainer.run(5000, callbacks=[snapshots, Every(100, interrupt)])
    assert trainer.iteration == 2300
    assert [i for i in snapshots.iterations if i > 2300] == []
    trainer.run(2700, callbacks=[snapshots])
    assert snapshots.iterations == [*range(0, 5001, 500)]


def test_a_run_that_diverges_keeps_what_it_had() -> None:
    snapshots, trainer = Snapshots(100), straight(1.5)
    with pytest.raises(DivergenceError):
        trainer.run(5000, callbacks=[snapshots])
    assert snapshots.iterations == [*range(0, trainer.iteration + 1, 100)]
    assert_as_separate_runs(snapshots, lambda: straight(1.5))


@pytest.mark.parametrize("position", [0, 1])
def test_early_stopping_ends_the_snapshots_too(position: int) -> None:
    snapshots, stopping = Snapshots(100), EarlyStopping(2, every=150)
    trainer = straight(0.3)
    callbacks: list[Callback] = [stopping]
    callbacks.insert(position, snapshots)
    trainer.run(100_000, callbacks=callbacks)
    end = trainer.iteration
    assert end < 100_000
    assert snapshots.iterations == [*range(0, end, 100), end]
    assert_as_separate_runs(snapshots, lambda: straight(0.3))  # also the last, before the best came back


def test_a_time_budget_ends_the_snapshots_too() -> None:
    snapshots, trainer = Snapshots(1000, 10), article()
    trainer.run(10**12, callbacks=[TimeBudget(0.2), snapshots])
    assert snapshots.iterations == thinned(trainer.iteration, 1000, 10)
    assert snapshots.parameters[-1].tobytes() == trainer.net.parameters.tobytes()


@pytest.mark.parametrize("by_signal", [False, True])
@pytest.mark.parametrize("position", [0, 1])
def test_ctrl_c_leaves_what_was_kept_and_the_run_can_go_on(by_signal: bool, position: int) -> None:
    def interrupt(run: Run) -> None:
        if by_signal:
            signal.raise_signal(signal.SIGINT)
        raise KeyboardInterrupt

    snapshots, trainer = Snapshots(100), article()
    callbacks: list[Callback] = [Every(450, interrupt)]
    callbacks.insert(position, snapshots)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(1000, callbacks=callbacks)
    assert trainer.iteration == 450
    assert trainer.history.events == [(450, "interrupted")]
    assert snapshots.iterations in ([0, 100, 200, 300, 400], [0, 100, 200, 300, 400, 450])
    assert_as_separate_runs(snapshots)
    trainer.run(550, callbacks=[snapshots])
    assert snapshots.iterations == [*range(0, 1001, 100)]
    assert_as_separate_runs(snapshots)


# ---- checkpoints ----


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("cut", [0, 130, 600, 750])
@pytest.mark.parametrize(
    "make",
    [lambda: Snapshots(100), lambda: Snapshots(10, 5), lambda: Snapshots(iterations=[0, 20, 600, 601, 1100])],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_resumed_run_has_the_snapshots_of_the_whole_one(
    position: int, cut: int, make: Callable[[], Snapshots], dtype: Any, tmp_path: Path
) -> None:
    def callbacks(snapshots: Snapshots) -> list[Callback]:
        others: list[Callback] = [Checkpoint(tmp_path / "run.npz", 300)]
        others.insert(position, snapshots)
        return others

    whole = make()
    article(dtype=dtype).run(1150, callbacks=[whole])
    article(dtype=dtype).run(cut, callbacks=callbacks(make()))
    trainer, resumed = article(dtype=dtype), make()
    trainer.load_checkpoint(tmp_path / "run.npz")
    trainer.run(1150 - cut, callbacks=callbacks(resumed))
    assert_same_snapshots(whole, resumed)
    assert whole.every == resumed.every
    assert {parameters.dtype for parameters in resumed.parameters} == {np.dtype(dtype)}


def test_a_run_interrupted_by_ctrl_c_is_resumed_with_its_snapshots(tmp_path: Path) -> None:
    def interrupt(run: Run) -> None:
        if run.iteration == 777:
            raise KeyboardInterrupt

    whole, first, second = (Snapshots(50, 9) for _ in range(3))
    article().run(2000, callbacks=[whole])
    with pytest.raises(KeyboardInterrupt):
        article().run(2000, callbacks=[first, Checkpoint(tmp_path / "run.npz"), Every(111, interrupt)])
    trainer = article()
    trainer.load_checkpoint(tmp_path / "run.npz")
    trainer.run(2000 - trainer.iteration, callbacks=[second, Checkpoint(tmp_path / "run.npz")])
    assert_same_snapshots(whole, second)


def test_lower_rate_that_is_resumed_in_between(tmp_path: Path) -> None:
    whole = Snapshots(500)
    straight(1.05, on_divergence="lower_rate").run(5000, callbacks=[whole])
    for cut in (2500, 3700, 3900):
        first, second = (straight(1.05, on_divergence="lower_rate") for _ in range(2))
        snapshots, resumed = Snapshots(500), Snapshots(500)
        first.run(cut, callbacks=[snapshots, Checkpoint(tmp_path / "run.npz")])
        second.load_checkpoint(tmp_path / "run.npz")
        second.run(5000 - second.iteration, callbacks=[resumed, Checkpoint(tmp_path / "run.npz")])
        assert_same_snapshots(whole, resumed)


@pytest.mark.parametrize("n_more", [1, 10, 500])
def test_a_resumed_run_that_wants_fewer_keeps_fewer(n_more: int, tmp_path: Path) -> None:
    article().run(1005, callbacks=[Snapshots(10, 200), Checkpoint(tmp_path / "run.npz")])
    trainer, fewer = article(), Snapshots(10, 5)
    trainer.load_checkpoint(tmp_path / "run.npz")
    trainer.run(n_more, callbacks=[fewer, Checkpoint(tmp_path / "run.npz")])
    assert len(fewer.iterations) <= 5
    assert fewer.iterations[0] == 0
    assert fewer.iterations[-1] == 1005 + n_more


def resumed_with(state: dict[str, Any], path: Path, snapshots: Snapshots | None = None) -> Snapshots:
    """Those of a run of 250 + 50 iterations, of which the checkpoint had another state."""
    article().run(250, callbacks=[Snapshots(100), Checkpoint(path)])
    saved = read_checkpoint(path)
    states = {**saved.callbacks, "0 Snapshots": {**saved.callbacks["0 Snapshots"], **state}}
    for name in [name for name, value in state.items() if value is None]:
        del states["0 Snapshots"][name]
    write_checkpoint(path, saved._replace(callbacks=states))
    trainer = article()
    trainer.load_checkpoint(path)
    result = Snapshots(100) if snapshots is None else snapshots
    trainer.run(50, callbacks=[result, Checkpoint(path)])
    return result


GOOD = np.arange(315.0).reshape(3, 105)


def test_a_state_of_ones_own_is_taken(tmp_path: Path) -> None:
    state = {"iterations": [0, 100, 200], "parameters": GOOD}
    snapshots = resumed_with(state, tmp_path / "run.npz")
    assert snapshots.iterations == [0, 100, 200, 300]
    np.testing.assert_array_equal(snapshots.parameters[:3], GOOD)


@pytest.mark.parametrize(
    "state",
    [
        {"every": 0},
        {"every": -1},
        {"every": "100"},
        {"every": 1.5},
        {"every": [1]},
        {"every": None},
        {"called_at": -1},
        {"iterations": None},
        {"iterations": 3},
        {"iterations": [0, 100]},
        {"iterations": [0, 100, 200, 250, 260]},
        {"iterations": [0, -100, 200, 250]},
        {"iterations": [0, 100.5, 200, 250]},
        {"iterations": ["a", "b", "c", "d"]},
        {"parameters": None},
        {"parameters": np.full((4, 105), np.nan)},
        {"parameters": np.full((4, 105), np.inf)},
        {"parameters": np.array("text")},
        {"parameters": np.array(3.0)},
        {"parameters": np.zeros((3, 105))},
        {"parameters": np.zeros((5, 105))},
        {"parameters": [[1.0, 2.0]]},
        {"parameters": "text"},
    ],
    ids=lambda state: str(state)[:40],
)
def test_a_bad_state_is_a_file_format_error(state: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no valid state of 0 Snapshots"):
        resumed_with(state, tmp_path / "run.npz")


@pytest.mark.parametrize(
    "state",
    [
        {"parameters": np.zeros((4, 104))},
        {"parameters": np.zeros(4)},
        {"parameters": np.zeros((4, 105), np.float32)},
        {"parameters": np.zeros((4, 5, 21))},
        {"iterations": [0, 200, 100, 250]},
        {"iterations": [0, 100, 100, 250]},
    ],
    ids=["another size", "no sizes", "another type", "three dimensions", "descending", "twice"],
)
def test_a_state_of_another_network_or_without_order_is_a_file_format_error(
    state: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(FileFormatError):
        resumed_with(state, tmp_path / "run.npz")


# ---- what is wrong ----


def test_another_network_is_a_clear_error() -> None:
    snapshots = Snapshots(100)
    article().run(200, callbacks=[snapshots])
    before = [parameters.tobytes() for parameters in snapshots.parameters]
    trainer = straight(0.1)
    trainer.run(300)
    with pytest.raises(ValueError, match="snapshots of another network"):
        trainer.run(200, callbacks=[snapshots])
    assert trainer.iteration == 300
    assert snapshots.iterations == [0, 100, 200]
    assert [parameters.tobytes() for parameters in snapshots.parameters] == before


@pytest.mark.parametrize("make", [lambda: straight(0.1), lambda: article(dtype=np.float32), article])
def test_a_new_run_of_any_network_begins_with_the_first_every(make: Callable[[], Trainer]) -> None:
    snapshots = Snapshots(10, 5)
    article(seed=5).run(1000, callbacks=[snapshots])
    make().run(40, callbacks=[snapshots])
    assert snapshots.iterations == thinned(40, 10, 5)
    assert_as_separate_runs(snapshots, make)


def test_a_run_that_begins_anew_forgets_the_others() -> None:
    snapshots = Snapshots(100)
    article(seed=5).run(450, callbacks=[snapshots])
    article().run(250, callbacks=[snapshots])
    assert snapshots.iterations == [0, 100, 200, 250]
    assert_as_separate_runs(snapshots)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be an integer of at least 1, got 0"),
        ({"every": -5}, "every must be"),
        ({"every": 1.0}, "every must be"),
        ({"every": "1"}, "every must be"),
        ({"every": None}, "every must be"),
        ({"every": True}, "every must be"),
        ({"max_snapshots": 1}, "max_snapshots must be an integer of at least 2, got 1"),
        ({"max_snapshots": 0}, "max_snapshots must be"),
        ({"max_snapshots": math.inf}, "max_snapshots must be"),
        ({"max_snapshots": None}, "max_snapshots must be"),
        ({"iterations": []}, "iterations must be one or more, each above the one before"),
        ({"iterations": [2, 1]}, "iterations must be one or more, each above the one before"),
        ({"iterations": [1, 1]}, "iterations must be one or more, each above the one before"),
        ({"iterations": [-1, 2]}, r"iterations\[0\] must be an integer of at least 0, got -1"),
        ({"iterations": [0, 1.5]}, r"iterations\[1\] must be"),
        ({"iterations": ["1"]}, r"iterations\[0\] must be"),
        ({"iterations": [True]}, r"iterations\[0\] must be"),
        ({"iterations": [None]}, r"iterations\[0\] must be"),
        ({"iterations": np.array([1.0])}, r"iterations\[0\] must be"),
        ({"iterations": "123"}, "iterations must be a sequence of integers of at least 0, got '123'"),
        ({"iterations": b"12"}, "iterations must be a sequence"),
        ({"iterations": 5}, "iterations must be a sequence of integers of at least 0, got 5"),
        ({"iterations": np.array(5)}, "iterations must be a sequence"),
    ],
    ids=repr,
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Snapshots(**options)


# ---- fit ----


@pytest.mark.parametrize("validation", [None, 0.25])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fit_takes_them(validation: float | None, dtype: Any) -> None:
    x = np.linspace(-1, 1, 40)[:, None]
    options: dict[str, Any] = {"hidden_sizes": [6], "validation": validation, "dtype": dtype}
    snapshots = Snapshots(100)
    net = fit(x, np.sin(3 * x), n_iterations=450, callbacks=[snapshots], **options)
    plain = fit(x, np.sin(3 * x), n_iterations=450, **options)
    assert net.parameters.tobytes() == plain.parameters.tobytes()
    assert snapshots.iterations == [0, 100, 200, 300, 400, 450]
    assert {parameters.shape for parameters in snapshots.parameters} == {net.parameters.shape}
    assert {parameters.dtype for parameters in snapshots.parameters} == {np.dtype(dtype)}
    if validation is None:
        assert snapshots.parameters[-1].tobytes() == net.parameters.tobytes()


def test_a_resumed_fit_has_the_snapshots_of_the_whole_one(tmp_path: Path) -> None:
    def interrupt(run: Run) -> None:
        raise KeyboardInterrupt

    def fitted(snapshots: Snapshots, *others: Callback, resume: Path | None = None) -> NN:
        x = np.linspace(-1, 1, 40)[:, None]
        callbacks = [snapshots, Checkpoint(path), *others]
        options: dict[str, Any] = {"hidden_sizes": [6], "validation": 0.25, "n_iterations": 900}
        return fit(x, np.sin(3 * x), callbacks=callbacks, resume=resume, **options)

    path = tmp_path / "fit.npz"
    whole, first, second = (Snapshots(40, 9) for _ in range(3))
    net = fitted(whole)
    with pytest.raises(KeyboardInterrupt):
        fitted(first, Every(470, interrupt))
    assert fitted(second, resume=path).parameters.tobytes() == net.parameters.tobytes()
    assert_same_snapshots(whole, second)


# ---- next_due of users ----


class Powers(Callback):
    """Called at powers of two."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def next_due(self, iteration: int) -> int | None:
        return int(2 ** max(0, iteration).bit_length())

    def __call__(self, run: Run) -> None:
        self.seen.append(run.iteration)


class Listed(Callback):
    """Called at some iterations."""

    def __init__(self, chosen: Sequence[int]) -> None:
        self.chosen, self.seen = sorted(chosen), list[int]()

    def next_due(self, iteration: int) -> int | None:
        return next((i for i in self.chosen if i > iteration), 2**62)

    def __call__(self, run: Run) -> None:
        self.seen.append(run.iteration)


@pytest.mark.parametrize("chunk_size", [None, 1, 77])
def test_a_subclass_says_when_it_is_due(chunk_size: int | None) -> None:
    powers, other = Powers(), Snapshots(60)
    article(chunk_size=chunk_size).run(600, callbacks=[powers, other])
    assert powers.seen == [2**k for k in range(10)]
    assert other.iterations == [*range(0, 601, 60)]


@HYPOTHESIS
@given(
    chosen=st.sets(st.integers(1, 400), max_size=10),
    pieces=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    chunk_size=st.sampled_from([None, 1, 33]),
    every=st.integers(1, 200),
)
def test_called_at_chosen_iterations_whatever_the_pieces_and_chunks(
    chosen: set[int], pieces: list[int], chunk_size: int | None, every: int
) -> None:
    listed, trainer = Listed([*chosen]), article(chunk_size=chunk_size)
    for n in pieces:
        trainer.run(n, callbacks=[listed, Every(every, lambda run: None)])
    assert listed.seen == [i for i in sorted(chosen) if i <= sum(pieces)]


def test_one_that_is_never_due_is_never_called() -> None:
    class Never(Callback):
        def next_due(self, iteration: int) -> int | None:
            return 2**62

        def __call__(self, run: Run) -> None:
            raise AssertionError

    assert article().run(300, callbacks=[Never()]).n_iterations == 300


def test_next_due_of_every_kind() -> None:
    callback = Callback()
    assert callback.next_due(5) is None
    callback.every = 10
    dues = [callback.next_due(i) for i in (-1, 0, 1, 9, 10, 11, 10**12)]
    assert dues == [0, 10, 10, 10, 20, 20, 10**12 + 10]
    snapshots = Snapshots(iterations=[0, 4, 9])
    after = [snapshots.next_due(i) for i in (-1, 0, 3, 4, 8)]
    assert after == [0, 4, 4, 9, 9]
    assert (snapshots.next_due(9) or 0) > 10**18
    assert [Snapshots(5).next_due(i) for i in (-1, 0, 4, 5)] == [0, 5, 5, 10]


@pytest.mark.parametrize("behind", [lambda i: 100, lambda i: i, lambda i: i - 7, lambda i: -1])
def test_a_next_due_that_is_not_above_is_an_error_and_no_endless_run(behind: Callable[[int], int]) -> None:
    """Without the guard the run of a program would not end."""

    class Behind(Callback):
        def next_due(self, iteration: int) -> int | None:
            return behind(iteration)

    class Guard(Callback):
        n_asked = 0

        def next_due(self, iteration: int) -> int | None:
            self.n_asked += 1
            assert self.n_asked < 5000, "endless"
            return None

    trainer = article(chunk_size=50)
    with pytest.raises(InvalidArgumentError, match="next_due"):
        trainer.run(300, callbacks=[Behind(), Guard()])


# ---- the event of an interruption ----


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_is_no_error_is_an_event(error: BaseException) -> None:
    def function(run: Run) -> None:
        raise error

    class Look(Callback):
        def finish(self, run: Run, error: BaseException | None) -> None:
            seen.append([*run.history.events])

    seen: list[Any] = []
    trainer = article()
    trainer.run(100)
    with pytest.raises(type(error)):
        trainer.run(1000, callbacks=[Every(250, function), Look()])
    assert trainer.history.events == [(250, "interrupted")]
    assert seen == [[(250, "interrupted")]]  # known when callbacks finish
    trainer.run(50)
    assert trainer.history.events == [(250, "interrupted")]


def test_an_error_is_no_interruption() -> None:
    def function(run: Run) -> None:
        raise RuntimeError("mine")

    trainer = article()
    with pytest.raises(RuntimeError, match="mine"):
        trainer.run(1000, callbacks=[Every(250, function)])
    assert trainer.history.events == []
    with pytest.raises(DivergenceError):
        straight(1.5).run(5000)


def test_a_signal_is_an_event_where_it_came() -> None:
    class Alarm(Callback):
        every = 300

        def __call__(self, run: Run) -> None:
            signal.raise_signal(signal.SIGINT)

    trainer = article()
    for k in (1, 2, 3):
        with pytest.raises(KeyboardInterrupt):
            trainer.run(1000, callbacks=[Alarm()])
        assert trainer.history.events == [(300 * j, "interrupted") for j in range(1, k + 1)]


# ---- histories ----


def history_of(losses: Any, keep: int | None = None) -> History:
    history = History(10_000, keep)
    history.extend(np.asarray(losses, np.float64))
    return history


@pytest.mark.parametrize("n", [0, 1, 2, 5, 2000])
def test_an_envelope_of_few_losses_is_all_of_them(n: int) -> None:
    losses = np.random.default_rng(n).uniform(size=n)
    iterations, values = history_of(losses).envelope()
    np.testing.assert_array_equal(iterations, np.arange(n))
    np.testing.assert_array_equal(values, losses)
    assert iterations.dtype.kind == "i"


number = st.one_of(st.floats(-1e3, 1e3), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 5.0]))


@HYPOTHESIS
@given(losses=st.lists(number, max_size=60), n_pieces=st.integers(1, 6))
@example(losses=[1.0, math.nan, 2.0, math.inf, 0.5, -math.inf, 3.0], n_pieces=1)
@example(losses=[1.0, math.nan, 2.0, math.inf, 0.5, -math.inf, 3.0], n_pieces=2)
@example(losses=[math.nan] * 4 + [1.0], n_pieces=2)
def test_an_envelope_has_the_least_and_the_largest_of_each_piece(losses: list[float], n_pieces: int) -> None:
    history = history_of(losses)
    iterations, values = history.envelope(n_pieces)
    given_losses = np.array(losses, np.float64)
    np.testing.assert_array_equal(values, given_losses[iterations])
    assert (np.diff(iterations) > 0).all()
    if len(losses) <= 2 * n_pieces:
        assert iterations.size == len(losses)
        return
    assert iterations.size <= 2 * n_pieces
    length = -(-len(losses) // n_pieces)
    for start in range(0, len(losses), length):
        piece = given_losses[start : start + length]
        own = values[(iterations >= start) & (iterations < start + length)]
        finite = piece[np.isfinite(piece)]
        if finite.size > 0:
            assert (own.min(), own.max()) == (finite.min(), finite.max())
        else:
            assert own.size > 0


def test_an_envelope_finds_one_spike_in_many() -> None:
    losses = np.ones(100_003)
    losses[77_777], losses[3], losses[100_002] = 9, 0.5, 0.25
    iterations, values = history_of(losses).envelope(100)
    assert iterations.size <= 200
    shown = dict(zip(iterations.tolist(), values.tolist(), strict=True))
    assert (shown[77_777], shown[3], shown[100_002]) == (9, 0.5, 0.25)


def test_an_envelope_does_not_change_the_losses() -> None:
    losses = np.random.default_rng(1).uniform(size=5000)
    losses[[5, 900]] = math.nan, math.inf
    history = history_of(losses)
    history.envelope(10)
    history.running_losses(10)
    np.testing.assert_array_equal(history.losses, losses)


def brute_running(losses: NDArray[Any], i: int) -> float:
    window = losses[max(0, i - WINDOW + 1) : i + 1]
    finite = window[np.isfinite(window)]
    return float(finite.mean()) if finite.size > 0 else math.nan


@pytest.mark.parametrize("n", [1, 2, 999, 1000, 1001, 1002, 5000])
@pytest.mark.parametrize("n_points", [1, 2, 7, 500, 10_000])
def test_running_losses_are_means_of_as_many_as_there_are(n: int, n_points: int) -> None:
    losses = np.random.default_rng(n).uniform(size=n)
    history = history_of(losses)
    iterations, running = history.running_losses(n_points)
    assert iterations.dtype == np.int64
    assert iterations.size == running.size == min(n, n_points) or n_points == 10_000
    assert iterations[0] == 0
    if n_points > 1:
        assert iterations[-1] == n - 1
    assert (np.diff(iterations) > 0).all()
    np.testing.assert_allclose(running, [brute_running(losses, i) for i in iterations], rtol=1e-12)
    assert running.tolist() == [history.running_loss(i) for i in iterations.tolist()]


def test_running_losses_leave_out_what_is_not_finite() -> None:
    losses = np.random.default_rng(0).uniform(size=3000)
    losses[[0, 500, 2500]] = math.nan, math.inf, math.nan
    iterations, running = history_of(losses).running_losses(100)
    assert math.isnan(running[0])  # there are no others yet
    assert np.isfinite(running[1:]).all()
    np.testing.assert_allclose(running, [brute_running(losses, i) for i in iterations], rtol=1e-12)


@pytest.mark.parametrize("losses", [[1e308] * 3, [math.inf, -math.inf, 1.0], [1e308] * 1500])
def test_running_losses_of_huge_losses_are_no_warning(losses: list[float]) -> None:
    history = history_of(losses)
    assert history.running_losses(5)[0][-1] == len(losses) - 1
    assert history.envelope(1)[0].size <= 2 or len(losses) <= 2


def test_no_losses_have_no_running_losses() -> None:
    for values in (*history_of([]).running_losses(), *history_of([]).envelope()):
        assert values.size == 0
        assert values.shape == (0,)


@pytest.mark.parametrize("cut", [1, 500, 1001, 1002, 4000])
@pytest.mark.parametrize("more", [0, 1, 700, 3000])
def test_a_resumed_run_has_losses_from_its_window_on(cut: int, more: int, tmp_path: Path) -> None:
    whole, first, second = article(), article(), article()
    whole.run(cut + more)
    first.run(cut)
    first.save_checkpoint(tmp_path / "run.npz")
    second.load_checkpoint(tmp_path / "run.npz")
    history = second.run(more)
    begin = max(0, cut - WINDOW)
    assert history.first_iteration == begin
    iterations, values = history.envelope(10_000)
    np.testing.assert_array_equal(iterations, np.arange(begin, cut + more))
    np.testing.assert_array_equal(values, whole.history.losses[begin:])
    iterations, running = history.running_losses()
    assert iterations[0] == (0 if begin == 0 else begin + WINDOW - 1)
    assert iterations[-1] == cut + more - 1
    expected = [brute_running(whole.history.losses, i) for i in iterations]
    np.testing.assert_allclose(running, expected, rtol=1e-12)
    iterations, values = history.envelope(20)
    assert iterations[0] >= begin
    np.testing.assert_array_equal(values, whole.history.losses[iterations])


@pytest.mark.parametrize("keep", [0, 1, 500, 3000])
def test_limited_losses_have_the_numbers_of_all(keep: int) -> None:
    whole, limited = article(), article(keep_losses=keep, chunk_size=300)
    whole.run(9000)
    history = limited.run(9000)
    assert history.first_iteration > 0
    iterations, values = history.envelope(50)
    np.testing.assert_array_equal(values, whole.history.losses[iterations])
    assert iterations[0] >= history.first_iteration
    iterations, running = history.running_losses(40)
    assert iterations[-1] == 8999
    assert running.tolist() == [whole.history.running_loss(int(i)) for i in iterations]


# ---- learning rates ----


class Rates(Callback):
    """The rate of every iteration, as it was."""

    every = 1

    def __init__(self) -> None:
        self.rates: dict[int, float] = {}

    def __call__(self, run: Run) -> None:
        self.rates[run.iteration - 1] = run.trainer.last_rate

    def assert_known(self, history: History, first: int | None = None) -> None:
        iterations = np.arange(history.first_iteration if first is None else first, history.n_iterations)
        expected = [self.rates[int(i)] for i in iterations]
        assert history.learning_rates(iterations).tolist() == expected


SCHEDULES: list[Any] = [
    0.01,
    Constant(0.01),
    ExponentialDecay(0.002, 0.999),
    Cosine(0.01, 1500, warmup=100),
    OneCycle(0.01, 2000),
    lambda i: 0.01 / (1 + i),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
def test_learning_rates_are_those_of_the_run(schedule: Any) -> None:
    rates, trainer = Rates(), article(learning_rate=schedule)
    trainer.run(1700, callbacks=[rates])
    rates.assert_known(trainer.history)
    some = np.array([0, 3, 3, 900, 1699])
    assert trainer.history.learning_rates(some).tolist() == [rates.rates[i] for i in some.tolist()]
    assert trainer.history.learning_rates(np.empty(0, np.int64)).shape == (0,)


def test_a_history_of_no_run_knows_no_rates() -> None:
    rates = history_of([1.0, 2.0]).learning_rates(np.arange(2))
    assert np.isnan(rates).tolist() == [True, True]


@pytest.mark.parametrize("rate", [1.05, 1.135, 1.5, 3.0])
@pytest.mark.parametrize("chunk_size", [None, 70])
def test_learning_rates_behind_a_return_are_lower(rate: float, chunk_size: int | None) -> None:
    rates = Rates()
    trainer = straight(ExponentialDecay(rate, 0.999999), on_divergence="lower_rate", chunk_size=chunk_size)
    trainer.run(5000, callbacks=[rates])
    assert trainer.history.events
    rates.assert_known(trainer.history)


@pytest.mark.parametrize("keep", [0, 1500, 2500])
def test_learning_rates_of_kept_losses_are_those_of_the_run(keep: int) -> None:
    """When it went back beyond what is kept, too."""
    for end in (2100, 2900, 3800, 5000):
        rates = Rates()
        trainer = straight(1.05, on_divergence="lower_rate", keep_losses=keep, chunk_size=100)

        def stop(run: Run, end: int = end) -> None:
            if run.history.events and run.iteration >= end:
                run.stop()

        trainer.run(5000, callbacks=[rates, Every(100, stop)])
        assert trainer.history.events[0] == (
            2000,
            "went back from iteration 3728, with 0.5 of the learning rate",
        )
        rates.assert_known(trainer.history)


@pytest.mark.parametrize("cut", [700, 1500, 2100, 3700, 4200])
def test_learning_rates_in_a_fresh_trainer(cut: int, tmp_path: Path) -> None:
    make: Callable[[], Trainer] = lambda: straight(  # noqa: E731
        ExponentialDecay(1.05, 0.9999999), on_divergence="lower_rate"
    )
    rates, first, second = Rates(), make(), make()
    first.run(cut, callbacks=[rates])
    first.save_checkpoint(tmp_path / "run.npz")
    second.load_checkpoint(tmp_path / "run.npz")
    rates.assert_known(second.history)
    assert second.last_rate == first.last_rate
    second.run(5000 - second.iteration, callbacks=[rates])
    rates.assert_known(second.history, cut if second.history.first_iteration < cut else None)


@pytest.mark.parametrize("schedule", [ExponentialDecay(0.002, 0.999), *SCHEDULES[3:5]], ids=repr)
def test_asking_for_rates_in_a_run_does_not_change_a_bit(schedule: Any) -> None:
    def ask(run: Run) -> None:
        for first in (run.iteration - 1, 0, 5, run.iteration + 1000):
            asked.append(run.history.learning_rates(np.arange(first, first + 3)).tolist())

    asked: list[Any] = []
    plain, watched = article(learning_rate=schedule), article(learning_rate=schedule)
    plain.run(2000)
    watched.run(2000, callbacks=[Every(37, ask)])
    assert len(asked) == 4 * (2000 // 37)
    assert plain.history.losses.tobytes() == watched.history.losses.tobytes()
    assert plain.net.parameters.tobytes() == watched.net.parameters.tobytes()
    assert {tuple(rates) for rates in asked[1::4]} == {tuple(asked[1])}  # those of 0, 1, 2


def test_rows_of_a_log_file_do_not_depend_on_how_many_losses_are_kept(tmp_path: Path) -> None:
    texts = []
    for keep in (None, 0):
        trainer = straight(1.05, on_divergence="lower_rate", keep_losses=keep, chunk_size=100)
        trainer.run(5000, callbacks=[LogFile(tmp_path / "log.csv", 100)])
        lines = (tmp_path / "log.csv").read_text().splitlines()
        texts.append([line.rsplit(",", 1)[0] for line in lines])
    assert texts[0] == texts[1]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a disk."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
