"""Levenberg and Marquardt's method: its iterations, the minima it finds, and the runs it is used in."""

import copy
import csv
import io
import math
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import least_squares, minimize
from second_order import Plain, problem, trainer

from crabnet_jit import (
    MAE,
    MSE,
    NN,
    ArraySource,
    Checkpoint,
    CustomLoss,
    DivergenceError,
    EarlyStopping,
    Every,
    InvalidArgumentError,
    LevenbergMarquardt,
    LogFile,
    Loss,
    Objective,
    ProgressBar,
    Run,
    Snapshots,
    Source,
    TimeBudget,
    Trainer,
    UniformSource,
    fit,
)
from crabnet_jit.machine import memory

LOSSES = ["mse", "huber", "log_cosh", "poisson", "binary_cross_entropy", "cross_entropy"]
#: It goes on while a step lowers the loss.
ENDLESS: dict[str, float] = {"gradient_tolerance": 0, "step_tolerance": 0, "loss_tolerance": 0}
SMALL_GRADIENT = "stopped: the gradient is below gradient_tolerance"
SMALL_STEP = "stopped: a step was shorter than step_tolerance"
SMALL_DECREASE = "stopped: a step lowered the loss by less than loss_tolerance"
LARGE_DAMPING = "stopped: no step lowers the loss any more"


def curve(n: int = 40, hidden: int = 6, *, noise: float = 0.1, **options: Any) -> Trainer:
    """Waves with noise, so that it is not over soon; 3 h + 1 parameters."""
    rng = np.random.default_rng(1)
    x = np.linspace(-2, 2, n)[:, None]
    y = np.sin(3 * x) + noise * rng.normal(size=x.shape)
    net = NN(1, [hidden], 1, rng=2, activation="tanh", init="glorot_uniform")
    options = {"optimizer": LevenbergMarquardt(**ENDLESS), **options}
    return Trainer(net, ArraySource(x, y, n), **options)


def gradient_of(made: Trainer) -> tuple[float, Any]:
    """The loss at the present parameters, and its gradient."""
    source = made.source
    assert isinstance(source, ArraySource)
    return Objective(made.net, *source.batch(0)).loss_and_gradient(made.net.parameters)


def assert_same(one: Trainer, other: Trainer) -> None:
    assert one.iteration == other.iteration
    assert one.net.parameters.tobytes() == other.net.parameters.tobytes()
    assert one.optimizer_state.numbers.tobytes() == other.optimizer_state.numbers.tobytes()
    n = min(one.history.losses.size, other.history.losses.size)
    assert one.history.losses[-n:].tobytes() == other.history.losses[-n:].tobytes()


# ---- its iterations ----


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize(("acceleration", "l2"), [(0.0, 0.0), (0.75, 0.0), (0.75, 1e-3), (0.2, 1e-2)])
@pytest.mark.parametrize("loss", LOSSES)
def test_iterations_are_those_of_plain_formulas(loss: str, acceleration: float, l2: float, form: str) -> None:
    """Losses, parameters and damping, also after steps that failed."""
    net, plain = problem([5, 3], 37, loss, n_out=2, l2=l2)
    rule = LevenbergMarquardt(damping=1e-3, acceleration=acceleration, **ENDLESS)
    made = trainer(net, plain, form, optimizer=rule)
    losses, theta, damping = plain.run(net.parameters.copy(), 6, 1e-3, acceleration)
    made.run(6)
    np.testing.assert_allclose(made.history.losses, losses, rtol=1e-6)
    np.testing.assert_allclose(net.parameters, theta, rtol=0, atol=1e-5 * abs(theta).max())
    assert made.optimizer_state.numbers[0] == pytest.approx(damping, rel=1e-4)


@pytest.mark.parametrize("acceleration", [0.0, 0.75])
@pytest.mark.parametrize("l2", [0.0, 1e-3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("hidden_sizes", "n", "n_out"), [([16, 16], 50, 1), ([15, 17], 37, 2), ([20], 16, 3)]
)
def test_the_dual_form_is_the_primal_one(
    hidden_sizes: list[int], n: int, n_out: int, loss: str, l2: float, acceleration: float
) -> None:
    if loss == "cross_entropy" and n_out == 1:
        n_out = 2
    losses = []
    for form in ("primal", "dual"):
        net, plain = problem(hidden_sizes, n, loss, "silu", n_out=n_out, l2=l2)
        made = trainer(net, plain, form, optimizer=LevenbergMarquardt(acceleration=acceleration, **ENDLESS))
        losses.append(made.run(8).losses)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


# ---- minima ----


def best_of_scipy(net: NN, plain: Plain) -> float:
    """The loss with penalty that SciPy reaches from the network's parameters."""
    root, theta = np.sqrt(2 * plain.weight)[:, None], net.parameters.copy()

    def residuals(theta: Any) -> Any:
        errors = root * (plain.outputs(theta) - plain.y) / math.sqrt(net.out_features)
        return np.concatenate([errors.ravel(), math.sqrt(plain.l2) * theta])

    def jacobian(theta: Any) -> Any:
        J = root[:, :, None] * plain.jacobian(theta) / math.sqrt(net.out_features)
        return np.concatenate([J.reshape(-1, theta.size), math.sqrt(plain.l2) * np.eye(theta.size)])

    tolerances = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
    return float(least_squares(residuals, theta, jacobian, method="trf", max_nfev=1000, **tolerances).cost)


@pytest.mark.parametrize(
    ("kind", "l2"),
    [
        *(
            (kind, l2)
            for kind in ("plain", "twins", "few samples", "one sample", "two outputs")
            for l2 in (0.0, 1e-4)
        ),
        ("dead units", 0.0),  # with a penalty they come to life
    ],
)
def test_it_gets_as_far_as_scipy(kind: str, l2: float) -> None:
    n = {"few samples": 9, "one sample": 1}.get(kind, 40)
    n_out, activation = 2 if kind == "two outputs" else 1, "relu" if kind == "dead units" else "tanh"
    net, plain = problem([4], n, activation=activation, n_in=1, n_out=n_out, l2=l2, seed=4)
    W, b, V = net.parameters[:4], net.parameters[4:8], net.parameters[8:12]
    if kind == "twins":
        for part in (W, b, V):
            part[1] = part[0]
            part[3] = part[2]
    elif kind == "dead units":
        b[:], W[2:] = [-100, -100, 5, 6], 0.1  # the others never are: there are no kinks
    theirs = best_of_scipy(net, plain)
    trainer(net, plain, optimizer=LevenbergMarquardt(**ENDLESS)).run(1000)
    ours = plain.value(net.parameters.copy())[1]
    assert ours <= theirs * (1 + 1e-6) + 1e-20
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("loss", LOSSES[1:])
def test_it_gets_as_far_as_a_quasi_newton_method(loss: str) -> None:
    net, plain = problem([4], 40, loss, n_in=1, n_out=2, l2=1e-3, seed=3)
    objective = Objective(net, plain.x, plain.y, loss=loss, sample_weight=plain.weight, l2=plain.l2)
    theirs = minimize(
        objective.loss_and_gradient, net.parameters.copy(), jac=True, method="BFGS", options={"gtol": 1e-12}
    ).fun
    trainer(net, plain, optimizer=LevenbergMarquardt(**ENDLESS)).run(1000)
    assert objective.loss_and_gradient(net.parameters)[0] <= theirs * (1 + 1e-6)
    assert abs(objective.loss_and_gradient(net.parameters)[1]).max() < 1e-8


def test_a_linear_network_takes_one_step() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 2))
    net = NN(3, [], 2, rng=1, init="glorot_uniform")
    made = Trainer(net, ArraySource(x, y, 30), optimizer=LevenbergMarquardt(damping=1e-13))
    losses = made.run(20).losses
    ones = np.column_stack([x, np.ones(30)])
    solution = np.linalg.lstsq(ones, y)[0]
    assert losses[1] == pytest.approx(((ones @ solution - y) ** 2).mean(), rel=1e-12)
    assert losses.size <= 3
    assert made.history.events[0][1].startswith("stopped")


# ---- why it ends ----


def test_it_ends_where_the_gradient_is_small() -> None:
    made = curve(optimizer=LevenbergMarquardt(gradient_tolerance=1e-3, step_tolerance=0, loss_tolerance=0))
    history = made.run(1000)
    assert history.events == [(made.iteration, SMALL_GRADIENT)]
    assert abs(gradient_of(made)[1]).max() <= 1e-3


def test_it_ends_where_a_step_is_short() -> None:
    made = curve(optimizer=LevenbergMarquardt(gradient_tolerance=0, step_tolerance=1e-2, loss_tolerance=0))
    assert made.run(1000).events == [(made.iteration, SMALL_STEP)]
    before = made.net.parameters.copy()
    assert 0 < made.iteration < 1000
    made.run(1000)  # still
    np.testing.assert_array_equal(made.net.parameters, before)


def test_it_ends_where_the_loss_falls_no_more() -> None:
    made = curve(optimizer=LevenbergMarquardt(gradient_tolerance=0, step_tolerance=0, loss_tolerance=1e-3))
    history = made.run(1000)
    assert history.events == [(made.iteration, SMALL_DECREASE)]
    losses = [*history.losses, gradient_of(made)[0]]
    decreases = -np.diff(losses) / losses[:-1]
    assert decreases[-1] <= 1e-3
    assert (decreases[:-1] > 1e-3).all()


def test_it_ends_where_no_step_lowers_the_loss() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    net = NN(1, [], 1, rng=1, init="glorot_uniform")
    made = Trainer(net, ArraySource(x, x + x**2, 30), optimizer=LevenbergMarquardt(**ENDLESS))
    assert made.run(1000).events == [(made.iteration, LARGE_DAMPING)]
    assert np.isfinite(net.parameters).all()


def test_it_ends_after_the_last_iteration() -> None:
    assert curve().run(5).events == []


def test_only_the_penalty_bends() -> None:
    """Where no output moves, the parameters shrink; and no step may lower the sum."""
    x = np.linspace(-1, 1, 20)[:, None]
    for l2, n_taken in ((1e-12, 0), (1e-2, 1)):
        net = NN(1, [], 1, init=[0.0, -1000.0], output_activation="sigmoid")
        made = Trainer(net, ArraySource(x, 0 * x, 20), optimizer="levenberg_marquardt", l2=l2)
        made.run(50)
        assert np.isfinite(net.parameters).all()
        assert (made.iteration > 0) or n_taken == 0
        assert made.history.events[-1][1].startswith("stopped")


def test_constant_targets_end_at_once() -> None:
    x = np.linspace(0, 1, 50)[:, None]
    net = NN(1, [5], 1, activation="tanh", init=[0.5, 1.0, 0.2, 0.1, 0.3] * 2 + [0.0] * 5 + [7.0])
    made = Trainer(net, ArraySource(x, np.full(50, 7.0), 50), optimizer="levenberg_marquardt")
    assert made.run(100).events == [(0, SMALL_GRADIENT)]
    assert made.history.losses.size == 0
    fitted = fit(x, np.full(50, 3.0), hidden_sizes=[5], optimizer="levenberg_marquardt", n_iterations=50)
    np.testing.assert_allclose(fitted.predict(x), 3.0, rtol=0, atol=1e-6)


def test_fit_from_a_minimum_on() -> None:
    """It ends before its first step; validation and early stopping have a loss all the same."""
    x = np.linspace(0, 1, 50)[:, None]
    first = fit(x, 2 * x, hidden_sizes=[], optimizer="levenberg_marquardt")
    calls: list[Any] = []
    again = fit(
        x,
        2 * x,
        start=first,
        optimizer="levenberg_marquardt",
        validation=0.2,
        patience=3,
        on_check=lambda *values: calls.append(values),
    )
    np.testing.assert_array_equal(again.parameters, first.parameters)
    assert again.fit_history is not None
    assert again.fit_history.validation_iterations == [0]
    assert again.fit_history.validation_losses[0] < 1e-20


# ---- runs ----


@pytest.mark.parametrize("hidden", [6, 30])  # the second one takes the dual form
@pytest.mark.parametrize("chunk_size", [None, 1, 2, 7])
def test_cuts_do_not_change_a_bit(hidden: int, chunk_size: int | None, tmp_path: Path) -> None:
    whole, cut, loaded = (curve(hidden=hidden, chunk_size=size) for size in (None, chunk_size, 3))
    whole.run(17)
    for n in (3, 5, 0, 1):
        cut.run(n)
    cut.save_checkpoint(tmp_path / "run.npz")
    loaded.load_checkpoint(tmp_path / "run.npz")
    loaded.run(8)
    assert_same(loaded, whole)
    cut.run(8, callbacks=[Every(2, lambda _: None), TimeBudget(1e9)])
    assert_same(cut, whole)


@pytest.mark.parametrize("tolerance", [*ENDLESS])
def test_a_run_that_has_ended_stays_ended(tolerance: str, tmp_path: Path) -> None:
    """Also from a checkpoint on; so the result of a run does not depend on where it was cut."""
    rule = LevenbergMarquardt(**{**ENDLESS, tolerance: 1e-3})
    whole = curve(optimizer=rule)
    path = tmp_path / "run.npz"
    whole.run(1000, callbacks=[Checkpoint(path, every=1)])
    resumed = curve(optimizer=rule)
    resumed.load_checkpoint(path)
    resumed.run(1000)
    assert_same(resumed, whole)
    assert [event for _, event in resumed.history.events] == ["resumed", whole.history.events[0][1]]
    cut = curve(optimizer=rule)
    while not cut.history.events:
        cut.run(1)
    assert_same(cut, whole)


@pytest.mark.parametrize("hidden", [6, 30])
def test_ctrl_c_between_iterations_loses_none(hidden: int) -> None:
    whole, made = curve(hidden=hidden), curve(hidden=hidden)
    whole.run(20)

    def interrupt(_: Run) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        made.run(20, callbacks=[Every(7, interrupt)])
    assert made.history.events == [(7, "interrupted")]
    made.run(13)
    assert_same(made, whole)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_signal_at_any_moment_leaves_whole_iterations(form: str) -> None:
    net, plain = problem([20, 20], 300, "log_cosh")
    made = trainer(net, plain, form, optimizer=LevenbergMarquardt(**ENDLESS))
    iterations, numbers = made._steps.chunks._method, made.optimizer_state.numbers
    losses, states = np.empty(40), [(net.parameters.copy(), numbers.copy())]
    began = time.monotonic()
    for _ in range(40):
        iterations.run(losses[:1])
        states.append((net.parameters.copy(), numbers.copy()))
    seconds, moments = (time.monotonic() - began) / 40, np.random.default_rng(0)
    at, n_interrupted = 40, 0
    while n_interrupted < 40:
        if at == 40:
            net.parameters[:], numbers[:] = states[0]
            at = 0
        flag = np.zeros(2, np.uint8)
        timer = threading.Timer(moments.uniform(0, 3 * seconds), flag.__setitem__, (0, int(signal.SIGINT)))
        timer.start()
        n_done, end = iterations.run(losses[at:], flag)
        timer.join()
        assert end is None
        at += n_done
        n_interrupted += at < 40
        for value, expected in zip((net.parameters, numbers), states[at], strict=True):
            np.testing.assert_array_equal(value, expected)


def test_callbacks(tmp_path: Path) -> None:
    made, bar = curve(log_every=10), io.StringIO()
    objective = Objective(made.net, np.linspace(-2, 2, 15), np.sin(3 * np.linspace(-2, 2, 15)))
    stopping, snapshots, log = (
        EarlyStopping(None, objective, every=5),
        Snapshots(4),
        LogFile(tmp_path / "l.csv", 6),
    )
    lines: list[Any] = []
    callbacks = [stopping, snapshots, log, ProgressBar(1e-9, bar), Checkpoint(tmp_path / "c.npz", 5)]
    made.run(31, lambda *entry: lines.append(entry), callbacks)
    assert [i for i, _ in lines] == [0, 10, 20, 30]
    assert [i for i, _ in made.history.log] == [0, 10, 20, 30]
    assert stopping.iterations == [5, 10, 15, 20, 25, 30, 31]
    np.testing.assert_array_equal(made.net.parameters, stopping.best_parameters)
    assert objective.loss_and_gradient(made.net.parameters)[0] == stopping.best_loss
    whole = curve()
    for iteration, parameters in zip(snapshots.iterations, snapshots.parameters, strict=True):
        whole.run(iteration - whole.iteration)
        np.testing.assert_array_equal(parameters, whole.net.parameters)
    with (tmp_path / "l.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [int(row["iteration"]) for row in rows] == [6, 12, 18, 24, 30]
    assert {row["learning_rate"] for row in rows} == {"1.0"}
    assert "31" in bar.getvalue()


def test_early_stopping_before_its_first_check_and_a_time_budget() -> None:
    made = curve(optimizer=LevenbergMarquardt(loss_tolerance=1e-3))
    stopping = EarlyStopping(5, every=1000)
    made.run(1000, callbacks=[stopping])
    assert made.iteration < 1000
    assert stopping.iterations == [made.iteration]
    endless = curve(n=2000)
    endless.run(10**9, callbacks=[TimeBudget(0.05)])
    assert endless.history.events[-1][1].startswith("stopped: 0.05 s are over") or endless.history.events


def test_threads_compute_the_same_bits() -> None:
    alone = [curve(hidden=hidden) for hidden in (6, 30, 9)]
    for made in alone:
        made.run(30)
    together = [curve(hidden=hidden) for hidden in (6, 30, 9)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda made: made.run(30), together))
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)


def test_networks_can_be_copied_after_it() -> None:
    made = curve()
    made.run(5)
    x = np.linspace(-1, 1, 7)[:, None]
    for with_pickle in (False, True):
        net = made.net
        other = pickle.loads(pickle.dumps(net)) if with_pickle else copy.deepcopy(net)
        np.testing.assert_array_equal(other.predict(x), made.net.predict(x))
        before = other.parameters.copy()
        made.run(1)
        np.testing.assert_array_equal(other.parameters, before)
    rule = pickle.loads(pickle.dumps(made.optimizer))
    assert rule == made.optimizer


def test_the_source_is_not_changed_and_samples_without_weight_do_not_count() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(30, 1))
    weight = np.where(np.arange(30) < 20, 1.0, 0.0)
    x[25], y[26] = 1e300, 1e300
    before = x.copy(), y.copy(), weight.copy()
    results = []
    for xs, ys, weights in ((x, y, weight), (x[:20], y[:20], None)):
        net = NN(2, [4], 1, rng=1, activation="tanh", init="glorot_uniform")
        source = ArraySource(xs, ys, 30, sample_weight=weights)
        results.append(Trainer(net, source, optimizer="levenberg_marquardt").run(6).losses)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9)
    for array, copied in zip((x, y, weight), before, strict=True):
        np.testing.assert_array_equal(array, copied)


def test_weights_count_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    times = rng.integers(1, 4, 20)
    nets = [
        fit(x, y, hidden_sizes=[4], n_iterations=6, optimizer="levenberg_marquardt", sample_weight=times),
        fit(
            np.repeat(x, times, 0),
            np.repeat(y, times),
            hidden_sizes=[4],
            n_iterations=6,
            optimizer="levenberg_marquardt",
        ),
    ]
    np.testing.assert_allclose(nets[0].predict(x), nets[1].predict(x), rtol=1e-6, atol=1e-7)


class Own(Source):
    """A source of users that gives the same batch always."""

    in_features, out_features, batch_size, is_constant = 1, 1, 20, True

    def fill(self, iteration: int, batches: Any) -> None:
        x = np.full(32, np.nan)
        x[:20] = np.linspace(-1, 1, 20)
        batches.x[:] = x.reshape(1, 2, 1, 16)
        batches.target[:] = np.sin(2 * batches.x)


def test_a_source_of_ones_own() -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    losses = []
    for source in (Own(), ArraySource(x, np.sin(2 * x), 20)):
        net = NN(1, [4], 1, rng=1, activation="tanh", init="glorot_uniform")
        losses.append(Trainer(net, source, optimizer="levenberg_marquardt").run(6).losses)
    np.testing.assert_array_equal(losses[0], losses[1])


# ---- what it cannot do ----


def small(net: NN | None = None, source: Source | None = None, **options: Any) -> Trainer:
    x = np.linspace(-1, 1, 20)[:, None]
    net = NN(1, [4], 1, rng=1, activation="tanh") if net is None else net
    source = ArraySource(x, x, 20) if source is None else source
    return Trainer(net, source, **{"optimizer": "levenberg_marquardt", **options})


class OfUsers(MSE):
    """Another formula under the name of ours."""

    @property
    def kernel(self) -> Any:
        return MAE().kernel


ONES = np.ones((20, 1))
TAKEN = "one of mse, huber, log_cosh, poisson, binary_cross_entropy, cross_entropy for levenberg_marquardt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 0.1}, "dropout must be 0 for levenberg_marquardt, got 0.1; use l2"),
        ({"on_divergence": "skip"}, "must be 'raise' for levenberg_marquardt, which rejects steps"),
        ({"on_divergence": "lower_rate"}, "on_divergence must be 'raise' for levenberg_marquardt"),
        ({"dropout": [0.25]}, "dropout must be 0 for levenberg_marquardt, got 0.25; use l2"),
        (
            {"source": ArraySource(ONES, ONES, 10)},
            r"source must be one that gives all samples every time, for levenberg_marquardt, got Array"
            r"Source\((.|\n)*; ArraySource\(x, y, batch_size=len\(x\)\) does",
        ),
        (
            {"source": UniformSource(lambda x: x[:, 0], [0.0], [1.0])},
            "source must be one that gives all samples every time, for levenberg_marquardt",
        ),
        ({"l1": 1e-3}, "l1 must be left out for levenberg_marquardt, got 0.001; use l2"),
        (
            {"clip_value": 1.0},
            "clip_value must be left out for levenberg_marquardt, got 1.0; its damping limits the steps",
        ),
        (
            {"clip_norm": 1.0},
            "clip_norm must be left out for levenberg_marquardt, got 1.0; its damping limits the steps",
        ),
        (
            {"learning_rate": 0.1},
            "learning_rate must be left out for levenberg_marquardt, which has none, got 0.1",
        ),
        (
            {"net": NN(1, [4], 1, dtype="float32")},
            "dtype must be float64 for levenberg_marquardt, got float32; products of derivatives need",
        ),
        ({"loss": "mae"}, f"loss must be {TAKEN}, got MAE.*; huber and log_cosh are robust, too"),
        (
            {"loss": CustomLoss(lambda x, t: (x - t) ** 2, lambda x, t: 2 * (x - t))},
            f"loss must be {TAKEN}, got Cus",
        ),
        ({"loss": OfUsers()}, f"loss must be {TAKEN}, got OfUsers"),
    ],
)
def test_refusals_say_what_to_take(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 10},
            "batch_size must be left out for levenberg_marquardt, which takes all 20 samples",
        ),
        ({"learning_rate": 0.1}, "learning_rate must be left out for levenberg_marquardt, which has none"),
        ({"dropout": 0.1}, "dropout must be 0 for levenberg_marquardt"),
        ({"dtype": "float32"}, "dtype must be float64 for levenberg_marquardt"),
        ({"loss": "mae"}, f"loss must be {TAKEN}"),
        ({"l1": 0.1}, "l1 must be left out for levenberg_marquardt"),
    ],
)
def test_refusals_of_fit(options: dict[str, Any], message: str) -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    with pytest.raises(InvalidArgumentError, match=message):
        fit(x, x, hidden_sizes=[3], **{"optimizer": "levenberg_marquardt", **options})


def test_what_is_as_good_as_left_out_is_taken() -> None:
    x = np.linspace(-1, 1, 20)[:, None]
    small(dropout=0.0, l1=0.0, clip_norm=None, learning_rate=None, l2=1e-3).run(2)
    fit(x, x, hidden_sizes=[3], n_iterations=2, batch_size=20, optimizer="levenberg_marquardt")


class Renamed(Loss):
    """A user's name for the mean squared error."""

    name = "mse"


def test_a_loss_with_the_formula_of_ours_is_taken() -> None:
    np.testing.assert_array_equal(small(loss=Renamed()).run(4).losses, small().run(4).losses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 0.0}, "damping must be .*above 0.*got 0"),
        ({"damping": -1.0}, "damping must be"),
        ({"damping": math.nan}, "damping must be"),
        ({"damping": math.inf}, "damping must be"),
        ({"damping": "much"}, "damping must be"),
        ({"acceleration": -0.1}, "acceleration must be"),
        ({"gradient_tolerance": -1e-9}, "gradient_tolerance must be"),
        ({"step_tolerance": math.nan}, "step_tolerance must be"),
        ({"loss_tolerance": -1}, "loss_tolerance must be"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        LevenbergMarquardt(**options)


def test_it_is_no_update_rule() -> None:
    rule, parameters = LevenbergMarquardt(), np.zeros(3)
    state = rule.init(parameters)
    assert state.buffers.size == 0
    assert state.numbers[0] == 0
    with pytest.raises(
        TypeError, match="LevenbergMarquardt needs second derivatives, not only a gradient: use fit"
    ):
        rule.update(parameters, parameters, state, 0.1)


# ---- numbers that are too large ----


def test_residuals_that_are_not_finite() -> None:
    net = NN(1, [3], 1, init=[1e200] * 10, activation="tanh")
    made = small(net, ArraySource(ONES, ONES, 20))
    with pytest.raises(DivergenceError) as raised:
        made.run(2000)
    assert made.iteration == 0
    text = str(raised.value)
    assert text.startswith(f"the loss became inf in iteration {made.iteration}: the run diverged")
    assert "Likely causes: data that are not standardised, large initial parameters." in text
    assert "learning_rate" not in text
    assert str(pickle.loads(pickle.dumps(raised.value))) == text
    np.testing.assert_array_equal(net.parameters, 1e200)


@pytest.mark.parametrize("hidden_sizes", [[], [3]])
@pytest.mark.parametrize("size", [1e140, 1e147, 1e150, 1e155, 1e160, 1e300])
def test_inputs_that_are_huge(hidden_sizes: list[int], size: float) -> None:
    """It ends, with a lower loss or with an error, also where second derivatives overflow."""
    x = np.random.default_rng(0).normal(size=(20, 1))
    net = NN(1, hidden_sizes, 1, rng=1, activation="tanh")
    before = net.parameters.copy()
    y = x + np.random.default_rng(1).normal(size=x.shape)
    made = small(net, ArraySource(size * x, y, 20), optimizer=LevenbergMarquardt(**ENDLESS))
    try:
        losses = made.run(500).losses
        assert (np.diff(losses) <= 0).all()
    except DivergenceError:
        np.testing.assert_array_equal(net.parameters, before)
    assert np.isfinite(net.parameters).all()


def test_second_derivatives_that_are_not_finite() -> None:
    net = NN(1, [1], 1, init=[0.0, 0.0, 1e200, 1e150], activation="tanh")
    made = small(net, ArraySource(0 * ONES, 0 * ONES, 20))
    with pytest.raises(DivergenceError, match="would become infinite or NaN in iteration 0"):
        made.run(10)
    np.testing.assert_array_equal(net.parameters, [0.0, 0.0, 1e200, 1e150])


@pytest.mark.parametrize("kind", ["one sample", "constant inputs", "duplicates", "one of all"])
@pytest.mark.parametrize("hidden_sizes", [[], [3], [40, 40]])
def test_poor_data(kind: str, hidden_sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    n = 1 if "one" in kind else 24
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
    if kind == "constant inputs":
        x[:] = x[0]
    if kind == "duplicates":
        x, y = np.repeat(x[:3], 8, 0), np.repeat(y[:3], 8, 0)
    net = NN(3, hidden_sizes, 2, rng=1, activation="tanh", init="glorot_uniform")
    made = Trainer(net, ArraySource(x, y, n), optimizer="levenberg_marquardt")
    made.run(60)
    assert np.isfinite(net.parameters).all()
    y_best = y.mean(axis=0) if kind == "constant inputs" else y
    if kind != "duplicates" or hidden_sizes == [40, 40]:
        loss = Objective(net, x, y).loss_and_gradient(net.parameters)[0]
        assert loss <= ((y - y_best) ** 2).mean() * (1 + 1e-6) + 1e-12


# ---- memory ----


def test_too_many_parameters_are_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 10**6)
    net = NN(1, [300], 1)
    x = np.zeros((2000, 1))
    message = (
        "optimizer must be a first-order method, such as 'adam', got levenberg_marquardt: 901 "
        r"parameters need 0\.0 GB, but only 0\.0 GB is free"
    )
    with pytest.raises(InvalidArgumentError, match=message):
        Trainer(net, ArraySource(x, x, 2000), optimizer="levenberg_marquardt")
    monkeypatch.setattr(memory, "available", lambda: None)  # nobody knows
    Trainer(net, ArraySource(x, x, 2000), optimizer="levenberg_marquardt")


def test_a_network_far_too_large() -> None:
    net = NN(2, [300_000], 1)
    source = ArraySource(np.zeros((2_000_000, 2)), np.zeros(2_000_000), 2_000_000)
    with pytest.raises(InvalidArgumentError, match=r"1,200,001 parameters need [\d,]{6,}\.\d GB, but only"):
        Trainer(net, source, optimizer="levenberg_marquardt")


def test_memory_for_few_samples_is_that_of_the_dual_form() -> None:
    small(NN(1, [100_000], 1, activation="tanh")).run(2)


@pytest.mark.parametrize(
    ("meminfo", "most", "current", "expected"),
    [
        ("MemTotal: 2000 kB\nMemAvailable:    1000 kB\n", None, None, 1_024_000),
        ("MemAvailable: 1000 kB\n", "max", "7", 1_024_000),
        ("MemAvailable: 1000 kB\n", "500000\n", "100000\n", 400_000),
        ("MemAvailable: 1000 kB\n", "500000\n", "600000\n", 0),
        ("MemAvailable: 1000 kB\n", "9000000", "1", 1_024_000),
        ("MemAvailable: much kB\n", "9000", "1000", 8000),
        ("nonsense", None, None, 4096 * 1000),
        (None, "nonsense", "1", 4096 * 1000),
        (None, None, None, 4096 * 1000),
    ],
)
def test_free_memory(
    meminfo: str | None,
    most: str | None,
    current: str | None,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in (("meminfo", meminfo), ("memory.max", most), ("memory.current", current)):
        if text is not None:
            (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert memory.available() == expected


def test_free_memory_where_the_system_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.delattr("os.sysconf")
    assert memory.available() is None


def test_free_memory_of_this_machine() -> None:
    free = memory.available()
    assert free is None or free > 10**7


# ---- any job ----


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300))
def test_any_fit_lowers_the_loss(seed: int) -> None:
    """Loss and penalty never rise, and parameters are finite, whatever the data are."""
    rng = np.random.default_rng(seed)
    loss = LOSSES[rng.integers(6)]
    n, n_in = int(rng.choice([1, 2, 3, 7, 16, 17, 40, 130])), int(rng.integers(1, 5))
    n_out = int(rng.integers(1, 4)) + (loss == "cross_entropy")
    hidden_sizes = [int(width) for width in rng.integers(1, 20, rng.integers(0, 4))]
    activation = str(rng.choice(["tanh", "relu", "silu", "sigmoid", "softplus", "gelu", "elu", "sine"]))
    net, plain = problem(
        hidden_sizes, n, loss, "tanh", n_in=n_in, n_out=n_out, weighted=bool(rng.integers(2)), seed=seed
    )
    net = NN(n_in, hidden_sizes, n_out, seed, activation=activation, init="glorot_uniform")
    net.parameters[:] *= 10.0 ** rng.integers(-2, 3)
    x = plain.x * 10.0 ** rng.integers(-3, 4)
    y = plain.y
    if loss in LOSSES[:3]:
        y = y * 10.0 ** rng.integers(-3, 4)
    if rng.integers(4) == 0:
        x[:, 0] = x[0, 0]
    if loss == "poisson":  # whose means, powers of the outputs, are to be numbers
        last, largest = net.layers[-1], abs(net.predict(x)).max()
        last.W /= max(1.0, largest / 10)
        last.b /= max(1.0, largest / 10)
    l2 = float(rng.choice([0.0, 0.0, 1e-6, 1e-2, 10.0]))
    rule = LevenbergMarquardt(
        damping=10.0 ** rng.integers(-12, 3), acceleration=float(rng.choice([0.0, 0.1, 0.75, 5.0]))
    )
    source = ArraySource(x, y, n, sample_weight=plain.weight)
    made = Trainer(net, source, optimizer=rule, loss=loss, l2=l2)
    objective = Objective(net, x, y, loss=loss, sample_weight=plain.weight, l2=l2)
    values = [objective.loss_and_gradient(net.parameters)[0]]
    for _ in range(25):
        made.run(1)
        values.append(objective.loss_and_gradient(net.parameters)[0])
        assert np.isfinite(net.parameters).all()
        if made.history.events:
            break
    values_ = np.array(values)
    assert np.isfinite(values_).all()
    assert (np.diff(values_) <= 1e-13 * abs(values_[:-1])).all(), values
