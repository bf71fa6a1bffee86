"""Bayesian regularisation: the evidence, the posterior, and error bars that cover what they say."""

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from sklearn.datasets import make_friedman1

from crabnet_jit import (
    NN,
    ArraySource,
    BayesianRegularization,
    Callback,
    Every,
    FileFormatError,
    InvalidArgumentError,
    LevenbergMarquardt,
    Objective,
    Posterior,
    Run,
    TimeBudget,
    Trainer,
    fit,
    load,
    save,
)
from crabnet_jit.archive import read_archive, write_archive
from crabnet_jit.estimators import NNRegressor
from crabnet_jit.plotting import plot_fit
from crabnet_jit.training.evidence import BEST_DECAY, BEST_EVIDENCE, DECAY

Array = Any


def noisy(n: int, seed: int = 0, n_out: int = 1) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 2))
    clean = np.stack([np.sin((k + 2) * x[:, 0]) * x[:, 1] for k in range(n_out)], axis=1)
    return x, clean + 0.1 * rng.normal(size=(n, n_out))


def bayesian(x: Array, y: Array, **options: Any) -> NN:
    return fit(x, y, **{"hidden_sizes": [6], "optimizer": "bayesian_regularization", **options})


def dense(net: NN, x: Array, weights: Array, decay: float) -> tuple[Array, Array]:
    """J (n, n_out, p) by central differences, and H + decay I of the mean squared error; standardised."""
    rows, theta = net.standardize(x), net.parameters.copy()
    bare = copy.copy(net)
    bare.standardization = None
    J = np.empty((len(x), net.out_features, theta.size))
    for k in range(theta.size):
        for sign in (1.0, -1.0):
            bare.parameters[:] = theta
            bare.parameters[k] += sign * 1e-5
            J[:, :, k] = bare.get_output(rows) if sign > 0 else (J[:, :, k] - bare.get_output(rows)) / 2e-5
    H = 2 / weights.sum() / net.out_features * np.einsum("skp,skq,s->pq", J, J, weights)
    return J, H + decay * np.eye(theta.size)


@pytest.mark.parametrize("n_out", [1, 3])
@pytest.mark.parametrize("hidden", [[], [3], [5, 4], [17]])
@pytest.mark.parametrize("n", [33, 150])
def test_standard_deviations_are_those_of_dense_algebra(hidden: list[int], n_out: int, n: int) -> None:
    x, y = noisy(n, n_out=n_out)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, n)
    weights[2:5] = 0.0
    net = bayesian(x, y, hidden_sizes=hidden, sample_weight=weights, seed=3)
    posterior, units = net.posterior, net.standardization
    assert posterior is not None
    assert units is not None
    assert posterior.n_residuals == (n - 3) * n_out
    J, A = dense(net, x, weights, posterior.weight_decay)
    inverse = np.linalg.inv(A)
    g = net.parameters.size - posterior.weight_decay * np.trace(inverse)
    assert posterior.effective_parameters == pytest.approx(g, rel=1e-5)
    errors = (net.standardize_targets(y) - net.get_output(x)) ** 2
    loss = np.average(errors.mean(axis=1), weights=weights)
    noise = loss + 0.5 * posterior.weight_decay * (net.parameters**2).sum()
    assert posterior.noise_std**2 == pytest.approx(noise, rel=1e-9)
    variance = noise * (1 + 2 / posterior.n_residuals * np.einsum("skp,pq,skq->sk", J, inverse, J))
    mean, std = net.predict(x, return_std=True)
    assert np.array_equal(mean, net.predict(x))
    np.testing.assert_allclose(std, np.sqrt(variance) * units.y_std, rtol=1e-5)


def test_the_evidence_is_that_of_dense_algebra_and_the_largest() -> None:
    x, y = noisy(60)
    found: list[tuple[float, float]] = []

    class Watch(Callback):
        every = 1

        def __call__(self, run: Run) -> None:
            numbers = run.trainer.optimizer_state.numbers
            entry = numbers[BEST_DECAY], numbers[BEST_EVIDENCE]
            if entry[0] > 0 and entry not in found:
                found.append(entry)
                best = run.trainer.optimizer_state.buffers.reshape(2, -1)[1]
                evidences.append((entry[0], entry[1], best.copy()))

    evidences: list[tuple[float, float, Array]] = []
    net = bayesian(x, y, callbacks=[Watch()])
    assert len(evidences) >= 3
    values = [evidence for _, evidence, _ in evidences]
    assert values == sorted(values)
    for decay, evidence, parameters in evidences:
        other = copy.copy(net)
        other.parameters[:] = parameters
        _, A = dense(other, x, np.ones(60), decay)
        loss = ((other.get_output(x) - other.standardize_targets(y)) ** 2).mean()
        n, p = 60, parameters.size
        # ln of: prior (a / pi)^(p/2) exp(-a |theta|^2), times noise (b / pi)^(n/2) exp(-b E), times the
        # integral (2 pi)^(p/2) det(b n A)^(-1/2), where a = b n decay / 2; at the best b, without constants
        variance = loss + 0.5 * decay * (parameters**2).sum()
        b = 1 / (2 * variance)
        a = b * n * decay / 2
        log_det = p * math.log(b * n) + np.linalg.slogdet(A)[1]
        whole = 0.5 * p * math.log(2 * a) + 0.5 * n * math.log(2 * b) - 0.5 * log_det
        assert evidence == pytest.approx(whole, abs=1e-3)
    assert net.posterior is not None
    assert net.posterior.weight_decay == evidences[-1][0]


def test_noise_and_function_are_found() -> None:
    x = np.linspace(0, 10, 300)
    rng = np.random.default_rng(0)
    y = 50 + 20 * np.sin(2 * x) + 2.0 * rng.normal(size=300)
    net = bayesian(x, y, hidden_sizes=[12])
    assert net.posterior is not None
    assert net.standardization is not None
    assert 1.7 < net.posterior.noise_std * net.standardization.y_std[0] < 2.5
    assert 8 < net.posterior.effective_parameters < 37
    assert np.sqrt(((net.predict(x) - 50 - 20 * np.sin(2 * x)) ** 2).mean()) < 0.8


def test_pure_noise_gives_a_constant() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 3)), rng.normal(size=100)
    net = bayesian(x, y)
    assert net.posterior is not None
    assert net.posterior.effective_parameters < 4
    assert np.ptp(net.predict(x)) < 1.0
    assert 0.8 < net.predict(x, return_std=True)[1].mean() < 1.2


def test_more_parameters_than_residuals() -> None:
    x, y = noisy(40)
    net = bayesian(x, y[:, 0], hidden_sizes=[40], n_iterations=20_000)
    assert net.posterior is not None
    assert net.posterior.effective_parameters < 40
    x_new, y_new = noisy(1000, seed=1)
    mean, std = net.predict(x_new, return_std=True)
    assert mean.shape == std.shape == (1000,)
    assert (std > 0).all()
    assert 0.75 < (abs(y_new[:, 0] - mean) < 1.645 * std).mean() <= 1.0


def test_the_band_is_wide_where_there_are_no_data() -> None:
    rng = np.random.default_rng(0)
    x = np.sort(np.concatenate([rng.uniform(0, 4, 60), rng.uniform(6, 10, 60)]))
    net = bayesian(x, np.sin(x) + 0.1 * rng.normal(size=120), hidden_sizes=[10])
    _, std = net.predict([2.0, 5.0, 8.0], return_std=True)
    assert std[1] > 1.3 * max(std[0], std[2])


@pytest.mark.slow
def test_intervals_cover_what_they_say(tmp_path: Path) -> None:
    """Nine of ten new observations, over 100 draws of Friedman 1; also after save and load."""
    shares = []
    for seed in range(100):
        x, y = make_friedman1(700, noise=1.0, random_state=seed)
        net = bayesian(x[:200], y[:200], hidden_sizes=[10], seed=seed)
        save(net, tmp_path / "net.npz")
        mean, std = load(tmp_path / "net.npz").predict(x[200:], return_std=True)
        shares.append((abs(y[200:] - mean) < 1.645 * std).mean())
    assert 0.85 < np.mean(shares) < 0.95


# ---- the same bits ----


def _outcome(trainer: Trainer) -> list[bytes]:
    state = trainer.optimizer_state
    parts = trainer.net.parameters, state.buffers, state.numbers, trainer.history.losses
    return [part.tobytes() for part in parts]


def _trainer(x: Array, y: Array, **options: Any) -> Trainer:
    net = NN(2, [6], 1, rng=1, activation="tanh", init="glorot_uniform")
    source = ArraySource(x, y, batch_size=len(x))
    return Trainer(net, source, optimizer="bayesian_regularization", **options)


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_cuts_do_not_change_a_bit(chunk_size: int, tmp_path: Path) -> None:
    x, y = noisy(70)
    whole = _trainer(x, y)
    whole.run(2000)
    assert whole.history.events[-1][1].startswith("stopped: ")
    cut = _trainer(x, y, chunk_size=chunk_size)
    n = whole.iteration
    for end in (1, n // 3, n // 2):
        cut.run(end - cut.iteration)
    cut.save_checkpoint(tmp_path / "run.npz")
    other = _trainer(x, y)
    other.load_checkpoint(tmp_path / "run.npz")
    other.run(2000 - other.iteration)
    cut.run(2000 - cut.iteration)
    assert _outcome(cut) == _outcome(whole)
    assert _outcome(other)[:3] == _outcome(whole)[:3]
    assert pickle.dumps(other.posterior()) == pickle.dumps(whole.posterior())


def test_a_search_cut_short_gives_the_best_so_far() -> None:
    x, y = noisy(100)
    whole = bayesian(x, y)
    assert whole.fit_history is not None
    seen: list[Array] = []
    watch = Every(
        1, lambda run: seen.append(run.trainer.optimizer_state.buffers[run.net.parameters.size :].copy())
    )
    with pytest.warns(RuntimeWarning, match="the search for the weight decay was not over"):
        net = bayesian(x, y, n_iterations=whole.fit_history.n_iterations // 2, callbacks=[watch])
    assert net.posterior is not None
    assert np.array_equal(net.parameters, seen[-1])
    trainer = _trainer(x, y)
    assert trainer.best_parameters() is None


def test_a_budget_of_no_time_is_no_error() -> None:
    x, y = noisy(100)
    net = bayesian(x, y, callbacks=[TimeBudget(1e-9)])
    assert net.fit_history is not None
    assert net.fit_history.n_iterations <= 1000


# ---- networks, files, estimators, pictures ----


def test_a_posterior_is_kept_and_dropped_with_its_parameters(tmp_path: Path) -> None:
    x, y = noisy(80)
    net = bayesian(x, y)
    for twin in (copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(twin.predict(x, return_std=True)[1], net.predict(x, return_std=True)[1])
    save(net, tmp_path / "with.npz")
    save(net, tmp_path / "without.npz", posterior=False)
    again, without = load(tmp_path / "with.npz"), load(tmp_path / "without.npz")
    assert np.array_equal(again.predict(x, return_std=True)[1], net.predict(x, return_std=True)[1])
    assert repr(again.posterior) == repr(net.posterior)
    assert (tmp_path / "without.npz").stat().st_size < (tmp_path / "with.npz").stat().st_size
    assert without.posterior is None
    trained = copy.copy(net)
    Trainer(trained, ArraySource(x, y), learning_rate=1e-3).run(1)
    assert trained.posterior is None
    assert net.posterior is not None
    moved = copy.copy(net)
    moved.parameters[3] += 1e-9
    assert moved.posterior is None
    moved.parameters[:] = net.parameters
    assert moved.posterior is not None
    Objective(moved, x, y).minimize(2)
    assert moved.posterior is None
    assert fit(x, y, start=net, n_iterations=1).posterior is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"posterior": [0.0, 1.0, 1.0, 10]}, "noise_std"),
        ({"posterior": [1.0, math.nan, 1.0, 10]}, "weight_decay"),
        ({"posterior": [1.0, 1.0, 1e9, 10]}, "effective_parameters"),
        ({"posterior": [1.0, 1.0, 1.0, 0]}, "n_residuals"),
        ({"posterior": [1.0, 1.0]}, "posterior"),
        ({"factor": np.zeros(4)}, "factor"),
        ({"factor": "nan"}, "factor"),
    ],
)
def test_a_wrong_posterior_in_a_file(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    x, y = noisy(50)
    path = tmp_path / "net.npz"
    save(bayesian(x, y), path)
    header, arrays = read_archive(path, "network", [3], lambda header, arrays: ({**header}, {**arrays}))
    if "factor" in change:
        factor = arrays["posterior_factor"]
        arrays["posterior_factor"] = (
            factor * math.nan if isinstance(change["factor"], str) else change["factor"]
        )
    else:
        header |= change
    for name in ("version", "kind", "digest"):
        header.pop(name, None)
    write_archive(path, "network", 3, header, arrays)
    with pytest.raises(FileFormatError):
        load(path)


def test_error_bars_of_a_network_without_them() -> None:
    net = NN(2, [3], 1, rng=1)
    with pytest.raises(
        InvalidArgumentError, match="return_std must be False for a network without error bars"
    ):
        net.predict([[0.0, 0.0]], return_std=True)
    with pytest.raises(InvalidArgumentError, match="posterior must be None or a Posterior"):
        net.posterior = 3  # type: ignore[assignment]
    with pytest.raises(InvalidArgumentError, match=r"posterior\.factor"):
        net.posterior = Posterior(1.0, 1.0, 1.0, 1, np.zeros(3))


def test_refusals() -> None:
    x, y = noisy(30)
    with pytest.raises(InvalidArgumentError, match="loss must be mse for bayesian_regularization"):
        bayesian(x, y, loss="huber")
    with pytest.raises(InvalidArgumentError, match="batch_size must be left out"):
        bayesian(x, y, batch_size=8)
    with pytest.raises(TypeError, match="needs second derivatives"):
        BayesianRegularization().update()
    assert BayesianRegularization() != LevenbergMarquardt()


def test_targets_without_noise_and_constant_ones() -> None:
    x = np.linspace(-1, 1, 50)
    net = bayesian(x, x**2, n_iterations=20_000)
    assert net.posterior is not None
    mean, std = net.predict(x, return_std=True)
    assert abs(mean - x**2).max() < 1e-3
    assert std.max() < 0.02
    constant = bayesian(x, np.full(50, 3.0))
    assert np.allclose(constant.predict(x), 3.0)


def test_estimator() -> None:
    x, y = noisy(100)
    rule = BayesianRegularization()
    estimator = NNRegressor(hidden_sizes=(6,), optimizer=rule, learning_rate="auto", n_iterations=3000)
    mean, std = estimator.fit(x, y[:, 0]).predict(x, return_std=True)
    assert mean.shape == std.shape == (100,)
    assert np.array_equal(mean, estimator.predict(x))


def test_bands_in_pictures() -> None:
    x, y = noisy(60)
    one = bayesian(x[:, 0], y[:, 0])
    figure: Any = plot_fit(one, x[:, 0], y[:, 0], figure=Figure())
    assert [len(_bands(axes)) for axes in figure.axes] == [1, 0, 0]
    vertices = _bands(figure.axes[0])[0].get_paths()[0].vertices
    place = vertices[100, 0]
    mean, std = one.predict([place], return_std=True)
    borders = np.unique(vertices[np.isclose(vertices[:, 0], place), 1].round(9))
    assert np.allclose(borders, (mean + [-1.6448536269514722, 1.6448536269514722] * std).round(9))
    figure = plot_fit(bayesian(x, y), x, y, at=[0.0, 0.0], figure=Figure())
    assert [len(_bands(axes)) for axes in figure.axes[2:]] == [1, 1]
    figure = plot_fit(fit(x[:, 0], y[:, 0], n_iterations=10), x[:, 0], y[:, 0], figure=Figure())
    assert not _bands(figure.axes[0])


def _bands(axes: Any) -> list[Any]:
    return [band for band in axes.collections if isinstance(band, PolyCollection)]


def test_decay_of_the_run_is_where_the_search_begins() -> None:
    x, y = noisy(60)
    trainer = _trainer(x, y, l2=0.02)
    assert trainer.optimizer_state.numbers[DECAY] == 0.02
