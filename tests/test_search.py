"""Search: who goes on is decided by samples that are set aside, and does so bit for bit."""

import math
import os
import pickle
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from matplotlib.figure import Figure
from sklearn.model_selection import RandomizedSearchCV

from crabnet_jit import (
    NN,
    FileFormatError,
    Integers,
    InvalidArgumentError,
    SearchResult,
    StdRng,
    Uniform,
    fit,
    score,
    search,
)
from crabnet_jit.estimators import NNRegressor
from crabnet_jit.fitting import search as search_module
from crabnet_jit.fitting import stages
from crabnet_jit.fitting.halving import Halving
from crabnet_jit.fitting.search_file import read_search
from crabnet_jit.fitting.shared import Shared
from crabnet_jit.fitting.space import Space
from crabnet_jit.fitting.stages import Member, Stage, advance
from crabnet_jit.plotting import plot_search as picture_of

plot_search: Any = picture_of
GENERATOR = np.random.default_rng(1)
X = GENERATOR.uniform(-2, 2, (120, 2))
Y = np.sin(2 * X[:, 0]) * X[:, 1] + GENERATOR.normal(scale=0.1, size=120)
RATES = Uniform(1e-4, 1e-1, log=True)
SPACE: dict[str, Any] = {"learning_rate": RATES, "hidden_sizes": [(4,), (8, 8)], "batch_size": [16, 32]}
SHORT: dict[str, Any] = {"n_iterations": 500}


def losses(result: SearchResult) -> list[float]:
    return [row["validation_loss"] for row in result.table]


def again(result: SearchResult, k: int, x: Any = X, y: Any = Y, **options: Any) -> NN:
    """The fit of a candidate, whole, by `fit` itself."""
    columns = ("validation_loss", "rung", "iterations", "seconds", "error")
    arguments = {name: value for name, value in result.table[k].items() if name not in columns}
    return fit(x, y, validation=result.validation, **{"seed": 0, **SHORT, **options, **arguments})


def least(net: NN, until: int) -> float:
    """The least validation loss of a fit until an iteration."""
    assert net.fit_history is not None
    pairs = zip(net.fit_history.validation_iterations, net.fit_history.validation_losses, strict=True)
    return min(loss for iteration, loss in pairs if iteration <= until)


# ---- who goes on ----


def test_who_goes_on_is_decided_by_the_losses_of_fit() -> None:
    result = search(SPACE, X, Y, n_candidates=27, **SHORT)
    assert result.rungs == [1 / 27, 1 / 9, 1 / 3, 1]
    ends = [20, 60, 170, 500]  # whole checks, of ten iterations
    assert Counter(row["rung"] for row in result.table) == {1: 18, 2: 6, 3: 2, 4: 1}
    alone = [again(result, k) for k in range(27)]
    for net, row, rungs in zip(alone, result.table, result.rung_losses, strict=True):
        assert row["iterations"] == ends[row["rung"] - 1]
        assert rungs == [least(net, end) for end in ends[: row["rung"]]]
        assert row["validation_loss"] == rungs[-1]
    for rung, n in ((1, 9), (2, 3), (3, 1)):
        there = [k for k, row in enumerate(result.table) if row["rung"] >= rung]
        ranked = sorted(there, key=lambda k: result.rung_losses[k][rung - 1])
        assert {*ranked[:n]} == {k for k in there if result.table[k]["rung"] > rung}
    assert result.best_loss == min(losses(result)) == result.table[result.best_index]["validation_loss"]


@pytest.mark.filterwarnings("ignore:n_threads=2")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_best_network_is_that_of_fit(n_threads: int) -> None:
    result = search(SPACE, X, Y, n_candidates=9, n_threads=n_threads, seed=3, **SHORT)
    net = fit(X, Y, validation=result.validation, seed=3, **SHORT, **result.best_arguments)
    assert np.array_equal(result.best_network.parameters, net.parameters)
    assert net.fit_history is not None
    assert result.best_network.fit_history is not None
    mine, other = result.best_network.fit_history, net.fit_history
    assert mine.validation_losses == other.validation_losses
    assert [*mine.training_rows] == [*other.training_rows] == [*np.flatnonzero(~result.validation)]
    assert result.is_complete
    assert losses(result) == losses(search(SPACE, X, Y, n_candidates=9, seed=3, **SHORT))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "levenberg_marquardt", "n_iterations": 30, "l2": 0.001},
        {"optimizer": "bayesian_regularization", "n_iterations": 60},
        {"dropout": 0.1, "dtype": "float32", "learning_rate": 0.01},
        {"optimizer": "sgd", "clip_norm": 1.0, "on_divergence": "lower_rate"},
        {"patience": 3, "learning_rate": 0.1, "n_iterations": 2000, "batch_size": 8},
        {"output_range": (-9.0, 9.0), "loss": "huber", "keep_losses": None},
        {"dy": np.stack([2 * np.cos(2 * X[:, 0]) * X[:, 1], np.sin(2 * X[:, 0])], axis=1)},
    ],
)
@pytest.mark.filterwarnings("ignore:the search for")
def test_all_kinds_of_fits_go_on_bit_for_bit(options: dict[str, Any]) -> None:
    result = search({"seed": [1, 2, 3, 4]}, X, Y, n_rungs=3, factor=2, **{**SHORT, **options})
    assert sorted(row["seed"] for row in result.table) == [1, 2, 3, 4]
    net = again(result, result.best_index, **options)
    assert np.array_equal(result.best_network.parameters, net.parameters)
    assert (net.posterior is None) == (result.best_network.posterior is None)
    if net.posterior is not None:
        deviations = [one.predict(X, return_std=True)[1] for one in (result.best_network, net)]
        assert np.array_equal(*deviations)


def test_one_rung_fits_all_whole() -> None:
    result = search(SPACE, X, Y, n_candidates=4, n_rungs=1, **SHORT)
    assert [(row["rung"], row["iterations"]) for row in result.table] == [(1, 500)] * 4
    assert losses(result) == [least(again(result, k), 500) for k in range(4)]


@pytest.mark.parametrize(
    ("n", "factor", "n_rungs", "wanted"),
    [
        (26, 3, 4, [1 / 9, 1 / 3, 1]),
        (2, 3, 4, [1]),
        (5, 2, 4, [1 / 4, 1 / 2, 1]),
        (100, 10, 9, [1 / 100, 1 / 10, 1]),
    ],
)
def test_few_candidates_have_few_rungs(n: int, factor: int, n_rungs: int, wanted: list[float]) -> None:
    options: dict[str, Any] = {"hidden_sizes": (2,), "n_iterations": 50}
    result = search({"seed": range(n)}, X, Y, factor=factor, n_rungs=n_rungs, **options)
    assert result.rungs == pytest.approx(wanted)
    assert max(row["rung"] for row in result.table) == len(wanted)


def test_fits_of_different_lengths_are_compared_at_equal_shares() -> None:
    result = search({"n_iterations": [300, 600, 900]}, X, Y)
    assert sorted(row["iterations"] for row in result.table)[:2] in ([102, 204], [102, 306], [204, 306])


def test_a_fit_that_ends_early_is_whole() -> None:
    options: dict[str, Any] = {"patience": 1, "learning_rate": 3.0, "l2": 0.5, "n_iterations": 3000}
    result = search({"seed": range(9)}, X, Y, **options)
    best = result.table[result.best_index]
    assert best["rung"] == 3
    assert best["iterations"] < 3000
    assert np.array_equal(
        result.best_network.parameters, again(result, result.best_index, **options).parameters
    )


# ---- what chooses ----


def test_the_samples_that_choose_are_trained_on_by_none() -> None:
    y = Y.copy()
    y[:10] = np.nan
    result = search(SPACE, X, y, n_candidates=3, validation=0.25, **SHORT)
    assert result.validation.dtype == bool
    assert result.validation.sum() == round(0.25 * 110)
    assert not result.validation[:10].any()
    history = result.best_network.fit_history
    assert history is not None
    assert [*history.validation_rows] == [*np.flatnonzero(result.validation)]
    assert [*history.training_rows] == [*np.flatnonzero(~result.validation & ~np.isnan(y))]
    other = search(SPACE, X, y, n_candidates=3, validation=0.25, seed=1, **SHORT)
    assert not np.array_equal(other.validation, result.validation)


def test_samples_that_are_given_choose() -> None:
    aside = np.arange(120) % 3 == 0
    by_mask = search(SPACE, X, Y, n_candidates=4, validation=aside, **SHORT)
    given = X[aside], Y[aside]
    by_samples = search(SPACE, X[~aside], Y[~aside], n_candidates=4, validation=given, **SHORT)
    assert losses(by_mask) == losses(by_samples)
    assert by_samples.validation is given
    for net in (by_mask.best_network, by_samples.best_network):
        assert net.standardization is not None
        error = (net.predict(X[aside]) - Y[aside]) / net.standardization.y_std[0]
        assert (error**2).mean() == pytest.approx(by_mask.best_loss, rel=1e-12)


def test_different_losses_and_units_are_compared_by_one_loss() -> None:
    x = X.copy()
    x[::7, 1] = np.nan
    space = {"loss": ["mse", "huber", "mae"], "standardize": [True, False]}
    result = search(space, x, Y, missing="mean", n_rungs=1, **SHORT)
    aside = result.validation
    for k, row in enumerate(result.table):
        r2 = score(again(result, k, x, missing="mean"), x[aside], Y[aside]).r2[0]
        assert row["validation_loss"] == pytest.approx(1 - r2, rel=1e-12)
    given = search(space, X, Y, validation=(X[:20], Y[:20]), n_rungs=1, **SHORT)
    r2 = score(given.best_network, X[:20], Y[:20]).r2[0]
    assert given.best_loss == pytest.approx(1 - r2, rel=1e-12)


def test_classes_and_data_frames() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "up", "down")})
    labels = pandas.Series(np.where(Y > 0, "high", "low"), name="height")
    space = {"loss": ["cross_entropy", "binary_cross_entropy"], "hidden_sizes": [(4,), (8,)]}
    result = search(space, frame, labels, n_rungs=1, **SHORT)
    aside = result.validation
    assert result.best_network.classes is not None
    assert [*result.best_network.classes] == ["high", "low"]
    scores = score(result.best_network, frame[aside], labels[aside])
    assert result.best_loss == pytest.approx(scores.log_loss, rel=1e-9)


# ---- what is drawn ----


def test_candidates_depend_on_seed_and_number_only() -> None:
    few, many = (search(SPACE, X, Y, n_candidates=n, n_rungs=1, n_iterations=50) for n in (3, 6))
    names = [*SPACE]
    drawn = [[tuple(row[name] for name in names) for row in result.table] for result in (few, many)]
    assert drawn[0] == drawn[1][:3]
    assert len({*drawn[1]}) == 6
    assert Space(SPACE, 1)[0] != Space(SPACE, 2)[0]
    assert Space(SPACE, 1)[70] == Space(SPACE, 1)[70]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_grid_is_drawn_whole_in_a_random_order(seed: int) -> None:
    grid = [
        {"hidden_sizes": [(2,), (3,)], "batch_size": [8, 16, 32]},
        {"optimizer": ["levenberg_marquardt"], "l2": np.array([0.1, 0.2])},
    ]
    space = Space(grid, seed)
    assert space.n_candidates == 8
    assert space.names == ["hidden_sizes", "batch_size", "optimizer", "l2"]
    drawn = [tuple(space[k].items()) for k in (5, 0, 1, 2, 3, 4, 6, 7)]
    assert len({*drawn}) == 8
    assert all(len(part) == 2 for part in drawn)
    orders = {tuple(Space({"seed": range(4)}, other)[k]["seed"] for k in range(4)) for other in range(40)}
    assert len(orders) > 10


def test_a_part_of_a_grid_and_all_of_it() -> None:
    grid = {"hidden_sizes": [(2,), (3,), (4,)], "batch_size": [8, 16, 32]}
    assert len(search(grid, X, Y, n_candidates=4, n_iterations=50).table) == 4
    whole = search(grid, X, Y, n_iterations=50)
    assert len({(row["hidden_sizes"], row["batch_size"]) for row in whole.table}) == 9
    assert len(search(grid, X, Y, n_candidates=100, n_iterations=50).table) == 9


def test_arguments_that_depend_on_others_have_dicts_of_their_own() -> None:
    space = [{"learning_rate": RATES}, {"optimizer": ["levenberg_marquardt"], "n_iterations": [20]}]
    result = search(space, X, Y, n_candidates=8, n_iterations=100)
    kinds = Counter((row["learning_rate"] is None, row["optimizer"]) for row in result.table)
    assert {*kinds} == {(True, "levenberg_marquardt"), (False, None)}
    assert not result.errors


@pytest.mark.parametrize("log", [False, True])
def test_numbers_have_their_distribution(log: bool) -> None:
    n = 4000
    uniform = Uniform(2, 32, log=log).rvs(n, np.random.RandomState(0))
    middle = 8 if log else 17
    assert uniform.min() >= 2
    assert uniform.max() <= 32
    assert abs((uniform < middle).mean() - 0.5) < 4 * 0.5 / math.sqrt(n)
    integers = Integers(1, 6, log=log).rvs(n, random_state=np.random.default_rng(0))
    shares = np.bincount(integers, minlength=7)[1:] / n
    edges = np.arange(7) + 0.5
    wanted = np.diff(np.log(edges)) / np.log(13) if log else np.full(6, 1 / 6)
    assert len(shares) == 6
    assert np.abs(shares - wanted).max() < 4 * 0.5 / math.sqrt(n)


def test_distributions_of_scipy_and_of_ones_own() -> None:
    class Widths:
        def rvs(self, random_state: Any) -> Any:
            return (random_state.randint(2, 5),) * 2

    space = {
        "learning_rate": scipy.stats.loguniform(1e-3, 1e-1),
        "batch_size": scipy.stats.randint(8, 17),
        "hidden_sizes": Widths(),
    }
    result = search(space, X, Y, n_candidates=5, n_iterations=50)
    for row in result.table:
        assert 1e-3 <= row["learning_rate"] <= 1e-1
        assert type(row["batch_size"]) is int
        assert row["hidden_sizes"] in ((2, 2), (3, 3), (4, 4))


def test_scikit_learn_takes_our_distributions() -> None:
    found = RandomizedSearchCV(
        NNRegressor(n_iterations=100),
        {"learning_rate": RATES, "batch_size": Integers(8, 64, log=True)},
        n_iter=3,
        cv=2,
        random_state=0,
    ).fit(X, Y)
    assert 1e-4 <= found.best_params_["learning_rate"] <= 1e-1
    assert 8 <= found.best_params_["batch_size"] <= 64


# ---- what fails ----


def test_candidates_that_fail_are_reported_and_stop_nobody() -> None:
    space = {"optimizer": ["sgd", "levenberg_marquardt", "adam"], "learning_rate": [0.01, 1e9]}
    options: dict[str, Any] = {"standardize": False, "n_rungs": 1, **SHORT}
    with pytest.warns(RuntimeWarning, match=r"3 candidates failed, see `errors`: at \d, \d, \d;") as said:
        result = search(space, X, Y, **options)
    assert said[0].filename == __file__
    failed = {(row["optimizer"], row["learning_rate"]): row for row in result.table if row["error"]}
    assert {*failed} == {("levenberg_marquardt", 0.01), ("levenberg_marquardt", 1e9), ("sgd", 1e9)}
    assert "learning_rate must be left out for" in failed["levenberg_marquardt", 0.01]["error"]
    assert "loss" in failed["sgd", 1e9]["error"]
    assert all(math.isinf(row["validation_loss"]) and row["rung"] == 0 for row in failed.values())
    assert {type(error) for error in result.errors.values()} >= {InvalidArgumentError}
    assert "3 of them failed" in repr(result)


def test_a_space_whose_every_draw_fails_is_told_before_anything_runs() -> None:
    space = {"optimizer": ["levenberg_marquardt", "bayesian_regularization"], "batch_size": [7, 8]}
    with pytest.raises(
        InvalidArgumentError, match="the first 4 candidates fail; the first one: batch_size must be"
    ):
        search(space, X, Y)
    with pytest.raises(InvalidArgumentError, match=r"^activation must be one of .* did you mean 'relu'"):
        search({"batch_size": [7, 8]}, X, Y, activation="rleu")
    with pytest.raises(InvalidArgumentError, match=r"^x must be"):
        search({"batch_size": [7, 8]}, X[None, None], Y)


def test_candidates_that_all_diverge() -> None:
    def rate(iterations: Any) -> Any:  # is good for the first one to be tried, which takes a chunk
        return np.where(np.asarray(iterations) < 12_000, 1e-3, 1e300)

    with pytest.raises(FloatingPointError, match="all 2 candidates failed; the first one: the loss"):
        search({"seed": [1, 2]}, X, Y, learning_rate=rate, n_rungs=1, optimizer="sgd", n_iterations=15_000)


def test_an_error_in_a_users_function_names_the_candidate_and_ends_all() -> None:
    def rate(iterations: Any) -> Any:
        if iterations[0] > 0:
            raise OSError("no rates today")
        return np.full(np.shape(iterations), 0.01)

    before = {*threading.enumerate()}
    with pytest.raises(OSError, match="no rates today") as failure:
        search({"seed": [1, 2]}, X, Y, learning_rate=rate, n_iterations=20_000)
    (note,) = failure.value.__notes__
    assert note.startswith(("in the fit of candidate 0, {'seed': ", "in the fit of candidate 1, {'seed': "))
    assert {*threading.enumerate()} <= before


class Broken:
    def rvs(self, random_state: Any) -> Any:
        raise ValueError("no draws today")


def test_an_error_in_a_draw_names_the_argument() -> None:
    with pytest.raises(ValueError, match="no draws today") as failure:
        search({"l2": Broken()}, X, Y, n_candidates=2)
    assert failure.value.__notes__[0].startswith("in a draw of 'l2' from <")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"space": {}}, "space must be a dict of at least one argument of fit, got an empty one"),
        (
            {"space": []},
            "space must be a dict of arguments of fit, or a list of such dicts, got an empty list",
        ),
        ({"space": [SPACE, {}]}, r"space\[1\] must be a dict of at least one argument of fit"),
        ({"space": [3]}, r"space\[0\] must be a dict of arguments of fit, got 3"),
        ({"space": "l2"}, "space must be a dict of arguments of fit, or a list of such dicts, got 'l2'"),
        ({"space": {"l2": []}}, r"space\['l2'\] must be a list of at least one choice, got an empty one"),
        (
            {"space": {"hidden_sizes": (8, 8)}},
            r"space\['hidden_sizes'\] must be a list of choices, or a distribution such as Uniform\(0, 1\), "
            r"got \(8, 8\); for one value that all candidates have, pass hidden_sizes=\(8, 8\) to search",
        ),
        ({"space": {"l2": Uniform}}, r"space\['l2'\] must be a list of choices"),
        ({"space": {"lr": [1]}}, "space has no argument 'lr'; it is called learning_rate here"),
        (
            {"space": {"learning_rat": [1]}},
            "space has no argument 'learning_rat'; did you mean learning_rate?",
        ),
        ({"space": {3: [1]}}, "space has no argument 3; names must be strings"),
        (
            {"space": {"validation": [0.1]}},
            "space cannot have 'validation'; candidates are compared on the same",
        ),
        ({"space": {"n_threads": [1]}}, "space cannot have 'n_threads'; each candidate has one thread"),
        ({"space": {"callbacks": [1]}}, "space cannot have 'callbacks'; `progress`"),
        ({"callbacks": []}, "search cannot have 'callbacks'; `progress` and `checkpoint`"),
        ({"batch_size": 3}, "batch_size is in the space, and an argument of search, too"),
        ({"n_trials": 3}, "search has no argument 'n_trials'; it is called n_candidates here"),
        ({"timeout": 3}, "search has no argument 'timeout'; it is called budget_seconds here"),
        (
            {"n_candidates": None},
            "n_candidates must be given, or budget_seconds, if not all arguments of the space",
        ),
        ({"n_candidates": 0}, "n_candidates must be an integer of at least 1, got 0"),
        ({"budget_seconds": 0}, "budget_seconds must be a finite number above 0, got 0"),
        ({"factor": 1}, "factor must be an integer of at least 2, got 1"),
        ({"n_rungs": 0}, "n_rungs must be an integer from 1 to 20, got 0"),
        ({"validation": None}, "validation must be a share of the samples, or a validation set, got None"),
        ({"validation": 1.5}, "validation must be a number above 0 and below 1"),
        ({"validation": [1]}, "validation must be"),
        ({"validation": np.zeros(3, bool)}, "validation must be booleans of shape"),
        ({"seed": -1}, "seed must be"),
        ({"n_threads": 0}, "n_threads must be an integer of at least 1, got 0"),
        ({"progress": 1}, "progress must be True or False"),
        ({"checkpoint": "no/such/folder.npz"}, "checkpoint must be a file in a folder that exists"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    asked: list[int] = []

    def rate(iterations: Any) -> Any:
        asked.extend(iterations)
        return np.full(np.shape(iterations), 0.01)

    space = {"batch_size": Integers(8, 16)}
    with pytest.raises(InvalidArgumentError, match=message):
        search(
            **{"space": space, "x": X, "y": Y, "n_candidates": 3, "learning_rate": rate, **SHORT, **arguments}
        )
    assert not asked


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(1, 1), "low must be below high = 1, got 1"),
        (lambda: Uniform(0, 1, log=True), "low must be a finite number above 0, got 0"),
        (lambda: Uniform(0, math.inf), "high must be a finite number"),
        (lambda: Integers(0, 3, log=True), "low must be an integer of at least 1, got 0"),
        (lambda: Integers(3, 2), "low must be below high = 2, got 3"),
        (lambda: Integers(1, 2.5), "high must be an integer"),  # type: ignore[arg-type]
        (lambda: Uniform(minimum=0, high=1), "Uniform has no argument 'minimum'; it is called low here"),  # type: ignore[call-arg]
    ],
)
def test_wrong_distributions(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        make()


# ---- time ----


def test_a_budget_of_time_is_kept_and_spent_on_whole_fits() -> None:
    search(SPACE, X, Y, n_candidates=1, **SHORT)  # compiles
    began = time.perf_counter()
    result = search(SPACE, X, Y, budget_seconds=1.5, n_iterations=2000)
    taken = time.perf_counter() - began
    assert taken < 1.5 + 0.5
    rungs = Counter(row["rung"] for row in result.table)
    assert rungs[4] >= 1
    assert len(result.table) > rungs[4]
    best = result.table[result.best_index]
    assert (
        np.array_equal(
            result.best_network.parameters,
            again(result, result.best_index, n_iterations=2000).parameters,
        )
        or best["rung"] < 4
    )


class Simulated:
    """A clock, and stages that take their time by it: `n_workers` at once, 1 s for each 1,000 iterations."""

    def __init__(self, budget: float, n_workers: int, n_slow: int) -> None:
        self.budget, self.n_workers, self._n_slow = budget, n_workers, n_slow
        self.used = 0.0

    def left(self) -> float:
        return self.budget - self.used

    def run(self, members: Iterator[Member], _: Any, on_stage: Any, watch: Any) -> None:
        at_work: list[tuple[float, Stage]] = []
        while True:
            while len(at_work) < self.n_workers and (member := next(members, None)) is not None:
                slow = 20.0 if member.k < self._n_slow and member.saved is None else 1.0  # it compiles
                before = 0 if member.saved is None else int(member.saved)  # type: ignore[call-overload]
                iteration = round(1000 * member.share)
                seconds = slow * (iteration - before) / 1000
                end = self.used + seconds
                at = Stage(
                    member.k,
                    1 / (1 + member.k + member.share),
                    iteration,
                    1000,
                    seconds,
                    slow / 1000,
                    end <= self.budget,
                    iteration == 1000,
                    iteration,  # type: ignore[arg-type]
                    None,
                )
                at_work.append((end, at))
            if not at_work:
                return
            at_work.sort(key=lambda one: one[0])
            self.used, stage = at_work.pop(0)
            on_stage(stage)


@pytest.mark.parametrize(
    ("budget", "n_workers", "n_slow"),
    [(3.0, 1, 0), (6.0, 2, 0), (6.0, 2, 2), (40.0, 2, 0), (40.0, 2, 2), (8.0, 16, 2)],
)
def test_a_budget_is_used_whole(budget: float, n_workers: int, n_slow: int) -> None:
    halving = Halving(Space({"l2": RATES}, 0), None, 3, 4)
    simulated: Any = Simulated(budget, n_workers, n_slow)
    halving.go(simulated, simulated, lambda: None)
    assert 0.6 * budget < simulated.used <= budget + 1e-9
    rungs = Counter(len(one.losses) for one in halving.candidates)
    assert rungs[4] >= 1
    fits = budget * n_workers  # whole ones, for which there is time
    assert len(halving.candidates) > 5 * fits
    best = halving.best()
    assert best is not None
    assert len(best.losses) == 4


def test_a_budget_without_rungs_is_used_by_whole_fits() -> None:
    halving = Halving(Space({"l2": RATES}, 0), None, 3, 1)
    simulated: Any = Simulated(10.0, 2, 0)
    halving.go(simulated, simulated, lambda: None)
    assert [len(one.losses) for one in halving.candidates] == [1] * 20


def test_a_budget_that_is_too_short_for_one_fit() -> None:
    with pytest.raises(
        InvalidArgumentError,
        match=r"budget_seconds must be at least [\d.e+]+, the time of one fit, got 0.1; a smaller n_iter",
    ):
        search(SPACE, X, Y, budget_seconds=0.1, n_iterations=3_000_000)


def test_a_grid_may_end_before_its_budget() -> None:
    result = search({"seed": range(3)}, X, Y, budget_seconds=60.0, n_iterations=50)
    assert [row["rung"] for row in result.table] == [2, 2, 2]  # there is time for all


# ---- Ctrl-C, checkpoints ----


def interrupted(after: int, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> SearchResult:
    """A search that is interrupted after so many stages."""
    n_stages = 0

    def advance_and_interrupt(*arguments: Any) -> Stage:
        nonlocal n_stages
        stage = advance(*arguments)
        n_stages += 1
        if n_stages == after:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return stage

    with monkeypatch.context() as patched:
        patched.setattr(stages, "advance", advance_and_interrupt)
        with pytest.warns(RuntimeWarning, match="interrupted: the result is that of") as said:
            result = search(**arguments)
    assert said[0].filename == __file__
    return result


@pytest.mark.parametrize("after", [2, 8, 11, 13])
def test_ctrl_c_gives_the_result_so_far_and_the_search_goes_on(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "search.npz"
    call: dict[str, Any] = {"space": SPACE, "x": X, "y": Y, "n_candidates": 9, "n_threads": 1, **SHORT}
    whole = search(**call)
    part = interrupted(after, monkeypatch, **call, checkpoint=file)
    assert not part.is_complete
    assert "interrupted" in repr(part)
    assert sum(map(len, part.rung_losses)) in (after - 1, after)
    assert losses(part)[part.best_index] == min(losses(part)) == part.best_loss
    resumed = search(**call, resume=file)
    assert resumed.is_complete
    assert resumed.rung_losses == whole.rung_losses
    assert np.array_equal(resumed.best_network.parameters, whole.best_network.parameters)
    for row, other in zip(resumed.table, whole.table, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}


def test_ctrl_c_before_the_first_rung_is_ctrl_c() -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        search({"seed": range(4)}, X, Y, n_iterations=100_000_000, hidden_sizes=(64, 64))
    timer.join()
    assert time.perf_counter() - began < 0.3 + 1.0


def test_a_search_that_is_over_is_taken_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "search.npz"
    space = {"optimizer": ["sgd", "levenberg_marquardt"], "learning_rate": [0.01, 1e9, 0.02]}
    call: dict[str, Any] = {"space": space, "x": X, "y": Y, "standardize": False, **SHORT}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = search(**call, checkpoint=file, checkpoint_seconds=0.0)
        second = search(**call, resume=file)
    assert second.table == first.table
    assert {k: str(error) for k, error in second.errors.items()} == {
        k: str(e) for k, e in first.errors.items()
    }
    assert {k: type(error) for k, error in second.errors.items()} == {
        k: type(e) for k, e in first.errors.items()
    }
    assert np.array_equal(first.best_network.parameters, second.best_network.parameters)


def test_seconds_of_the_budget_are_counted_over_all_parts(tmp_path: Path) -> None:
    file = tmp_path / "search.npz"
    call: dict[str, Any] = {"space": SPACE, "x": X, "y": Y, "n_iterations": 1000}
    first = search(**call, budget_seconds=0.6, checkpoint=file)
    assert read_search(file).seconds > 0.4
    second = search(**call, budget_seconds=0.6, resume=file)
    assert second.table == first.table


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"y": Y + 1e-9}, "belongs to another space or other data: candidate 0 differs"),
        ({"seed": 1}, "belongs to another space or other data"),
        ({"space": {**SPACE, "batch_size": [16, 31]}}, "belongs to another space or other data"),
        ({"n_iterations": 501}, "belongs to another space or other data"),
        ({"n_candidates": 8}, "belongs to another search: its n_candidates is 9, here it is 8"),
        ({"factor": 4}, "belongs to another search: its factor is 3, here it is 4"),
    ],
)
def test_a_checkpoint_of_another_search_is_refused(
    tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    file = tmp_path / "search.npz"
    call: dict[str, Any] = {"space": SPACE, "x": X, "y": Y, "n_candidates": 9, **SHORT}
    search(**call, checkpoint=file)
    with pytest.raises(FileFormatError, match=message):
        search(**{**call, **other}, resume=file)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "search.npz"
    call: dict[str, Any] = {"space": SPACE, "x": X, "y": Y, "n_candidates": 3, **SHORT}
    search(**call, checkpoint=file)
    data = bytearray(file.read_bytes())
    for place in range(200, len(data), len(data) // 40):
        other = bytearray(data)
        other[place] ^= 0x55
        file.write_bytes(other)
        try:
            result = search(**call, resume=file)
        except FileFormatError:
            continue
        assert result.is_complete  # a byte that means nothing, such as a date
    file.write_text("no archive")
    with pytest.raises(FileFormatError, match="is not a saved search"):
        search(**call, resume=file)


def test_a_checkpoint_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(search_module, "write_search", fail)
    with pytest.warns(RuntimeWarning, match="no checkpoint of the search: no space left"):
        result = search(SPACE, X, Y, n_candidates=1, checkpoint=tmp_path / "s.npz", **SHORT)
    assert result.is_complete


# ---- elsewhere ----


class Elsewhere:
    """Stages as on other machines: what goes there and comes back is pickled, in another order."""

    n_workers = 3

    def __init__(self, common: stages.Common, n_threads: int) -> None:
        self._x, self._y, self._options, self._has_one_loss = common

    def run(
        self,
        members: Iterator[Member],
        seconds_left: Callable[[], float | None],
        on_stage: Callable[[Stage], object],
        watch: Callable[[], object],
    ) -> None:
        common = stages.Common(Shared(self._x.x), self._y, self._options, self._has_one_loss)
        for member in reversed([pickle.loads(pickle.dumps(member)) for member in members]):
            on_stage(pickle.loads(pickle.dumps(advance(common, member, seconds_left()))))
            watch()


def test_stages_may_run_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    call: dict[str, Any] = {"space": SPACE, "x": X, "y": Y, "n_candidates": 9, **SHORT}
    here = search(**call)
    monkeypatch.setattr(search_module, "OnThreads", Elsewhere)
    there = search(**call)
    assert there.rung_losses == here.rung_losses
    assert np.array_equal(there.best_network.parameters, here.best_network.parameters)


# ---- what is shown ----


def test_the_table_as_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    result = search(SPACE, X, Y, n_candidates=3, seed=StdRng(5), **SHORT)
    frame = result.to_frame()
    assert [*frame.columns] == [*SPACE, "validation_loss", "rung", "iterations", "seconds", "error"]
    assert frame["validation_loss"].idxmin() == result.best_index
    assert isinstance(frame, pandas.DataFrame)
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas: pip install pandas; `table` has the same"):
        result.to_frame()


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    search(SPACE, X, Y, n_candidates=9, progress=True, **SHORT)
    text = capsys.readouterr().err
    assert "9 candidates, rung 3 of 3, least loss " in text
    assert "13.0/13.0" in text
    search(SPACE, X, Y, budget_seconds=1.0, progress=True, **SHORT)
    assert "1.00/1.00" in capsys.readouterr().err


def test_the_picture_has_all_candidates_where_they_are() -> None:
    space = {**SPACE, "activation": ["relu", "tanh"], "dropout": [0.0, 0.2]}
    result = search(space, X, Y, n_candidates=27, **SHORT)
    figure = plot_search(result, figure=Figure())
    rungs, *others = figure.axes
    assert [axes.get_xlabel() for axes in others] == [*space]
    assert rungs.get_xscale() == rungs.get_yscale() == "log"
    assert [label.get_text() for label in rungs.get_xticklabels()] == ["1/27", "1/9", "1/3", "1"]
    limit = rungs.get_ylim()[1]
    for line, losses in zip(rungs.lines, result.rung_losses, strict=True):
        assert [*line.get_xdata()] == result.rungs[: len(losses)]
        assert [*line.get_ydata()] == [min(loss, limit) for loss in losses]
    best = [line.get_label() for line in rungs.lines].index("best")
    assert best == result.best_index
    rates, widths, *_ = others
    assert (rates.get_xscale(), widths.get_xscale()) == ("log", "linear")
    points = rates.collections[0].get_offsets()
    assert [*points[:, 0]] == [row["learning_rate"] for row in result.table]
    assert [*points[:, 1]] == [min(row["validation_loss"], limit) for row in result.table]
    assert [label.get_text() for label in widths.get_xticklabels()] == ["4", "8, 8"]
    names = {0: (4,), 1: (8, 8)}
    places = widths.collections[0].get_offsets()[:, 0]
    assert [names[int(place)] for place in places] == [row["hidden_sizes"] for row in result.table]
    (marked,) = widths.collections[1].get_offsets()
    assert names[int(marked[0])] == result.best_arguments["hidden_sizes"]
    figure.canvas.draw()


def test_pictures_of_some_arguments_and_of_failures() -> None:
    space = {"optimizer": ["sgd", "levenberg_marquardt", "adam"], "learning_rate": [0.01, 1e9]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = search(space, X, Y, standardize=False, n_rungs=1, **SHORT)
    figure = plot_search(result, arguments=["optimizer"], figure=Figure())
    assert [axes.get_xlabel() for axes in figure.axes] == ["share of the iterations", "optimizer"]
    assert len(figure.axes[1].collections[0].get_offsets()) == 3
    figure.canvas.draw()
    with pytest.raises(
        InvalidArgumentError, match="arguments must be one of optimizer, learning_rate, got 'l2'"
    ):
        plot_search(result, arguments=["l2"])
    with pytest.raises(InvalidArgumentError, match="arguments must be a sequence of names, got 'optimizer'"):
        plot_search(result, arguments="optimizer")
    with pytest.raises(InvalidArgumentError, match="result must be what search gives"):
        plot_search(3)


def test_losses_below_zero_are_drawn() -> None:
    result = search({"seed": range(3)}, X, 1e-3 * Y, loss="gaussian_nll", standardize=False, **SHORT)
    assert result.best_loss < 0
    axes = plot_search(result, figure=Figure()).axes[0]
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < result.best_loss


def test_networks_keep_few_losses_unless_asked() -> None:
    few = search({"seed": [1]}, X, Y, n_iterations=3000)
    many = search({"seed": [1]}, X, Y, n_iterations=3000, keep_losses=None)
    for result, n in ((few, 1001), (many, 3000)):
        assert result.best_network.fit_history is not None
        assert result.best_network.fit_history.losses.size <= n
    assert np.array_equal(few.best_network.parameters, many.best_network.parameters)
