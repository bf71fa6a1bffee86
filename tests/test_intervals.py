"""Intervals that are to hold a share of new data."""

from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from crabnet_jit import (
    NN,
    GaussianNLL,
    InvalidArgumentError,
    Posterior,
    Quantile,
    Standardization,
    fit,
    score,
)
from crabnet_jit.cli.main import main
from crabnet_jit.estimators import NNRegressor
from crabnet_jit.network.files import save
from crabnet_jit.network.schema import Schema
from crabnet_jit.plotting import plot_fit

LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]


def waves(n: int, seed: int = 0) -> tuple[Any, Any]:
    """Inputs, and values of sin(x) whose noise grows with |x|."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    return x, np.sin(x) + (0.1 + 0.2 * np.abs(x)) * rng.normal(size=n)


@pytest.fixture(scope="module")
def nets() -> dict[str, NN]:
    x, y = waves(2000)
    return {
        "quantile": fit(x, y, loss=Quantile(LEVELS), n_iterations=6000),
        "gaussian_nll": fit(x, y, loss="gaussian_nll", n_iterations=6000),
        "posterior": fit(x[:300], y[:300], hidden_sizes=[8], optimizer="bayesian_regularization"),
    }


def of_outputs(rows: list[list[float]], quantiles: tuple[float, ...], *, is_flat: bool = True) -> NN:
    """A network with these outputs, quantile after quantile, for the inputs 0, 1, …."""
    values = np.array(rows)
    heights = np.diff(values, axis=1, prepend=0)
    n = values.shape[1]
    hidden = np.full((n, 1), 1e6), 1e6 * (0.5 - np.arange(n))
    net = NN(1, [n], len(values), activation="sigmoid", init=[hidden, (heights, np.zeros(len(values)))])
    net.schema = Schema(heads="quantiles", quantiles=quantiles, is_flat=is_flat)
    return net


# ---- how many they hold ----


@pytest.mark.parametrize(("kind", "level"), [("quantile", 0.9), ("quantile", 0.5), ("gaussian_nll", 0.9)])
def test_they_hold_as_many_new_data_as_they_say(kind: str, level: float, nets: dict[str, NN]) -> None:
    """Everywhere, though the noise is not the same."""
    x, y = waves(6000, seed=1)
    low, high = nets[kind].interval(x, level)
    assert low.shape == high.shape == (6000,)
    assert (low < high).all()
    inside = (low <= y) & (y <= high)
    assert abs(inside.mean() - level) < 0.03
    for part in (np.abs(x) < 1, np.abs(x) > 2):
        assert abs(inside[part].mean() - level) < 0.06


def test_a_posterior_has_them_too(nets: dict[str, NN]) -> None:
    x, y = waves(2000, seed=1)
    low, high = nets["posterior"].interval(x)
    assert 0.85 < ((low <= y) & (y <= high)).mean() < 0.95
    mean, std = nets["posterior"].predict(x, return_std=True)
    np.testing.assert_allclose(high - mean, 1.6448536269514722 * std, rtol=1e-12)
    np.testing.assert_allclose(mean - low, high - mean, rtol=1e-9)


@pytest.mark.parametrize("level", [0.001, 0.5, 0.99, 1 - 1e-12, np.nextafter(1, 0)])
def test_any_level_of_a_normal_variable(level: float, nets: dict[str, NN]) -> None:
    mean, std = nets["gaussian_nll"].predict([0.5], return_std=True)
    low, high = nets["gaussian_nll"].interval([0.5], level)
    reach = -NormalDist().inv_cdf((1 - level) / 2) * std
    np.testing.assert_allclose((low, high), (mean - reach, mean + reach), rtol=1e-12)


def test_they_have_the_shape_and_the_units_of_predictions() -> None:
    x, y = waves(300)
    both = np.column_stack([y, 1e4 + 100 * y])
    for loss in (Quantile([0.05, 0.95]), GaussianNLL()):
        net = fit(x, both, loss=loss, n_iterations=1500, hidden_sizes=[8])
        low, high = net.interval(x)
        assert low.shape == high.shape == (300, 2)
        inside = (low <= both) & (both <= high)
        assert (np.abs(inside.mean(axis=0) - 0.9) < 0.08).all()
        assert 50 < np.median((high - low)[:, 1] / (high - low)[:, 0]) < 200


# ---- quantiles that cross ----


def test_crossings_are_counted_and_sorted_away() -> None:
    net = of_outputs([[1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 5.0, 4.0], [3.0, 0.0, 4.0, 4.0]], (0.1, 0.5, 0.9))
    x = np.arange(4.0)
    as_they_are = net.predict_quantiles(x, sort=False)
    np.testing.assert_allclose(as_they_are, [[1, 2, 3], [2, 1, 0], [3, 5, 4], [4, 4, 4]], atol=1e-9)
    ordered = net.predict_quantiles(x)
    np.testing.assert_allclose(ordered, [[1, 2, 3], [0, 1, 2], [3, 4, 5], [4, 4, 4]], atol=1e-9)
    assert net.count_crossings(x[:3]) == 3
    low, high = net.interval(x, 0.8)
    np.testing.assert_array_equal(low, ordered[:, 0])
    np.testing.assert_array_equal(high, ordered[:, 2])
    raw_low, raw_high = net.interval(x, 0.8, sort=False)
    np.testing.assert_array_equal(raw_low, as_they_are[:, 0])
    np.testing.assert_array_equal(raw_high, as_they_are[:, 2])


def test_targets_cross_each_for_itself() -> None:
    net = of_outputs([[1.0], [50.0], [2.0], [40.0], [3.0], [60.0]], (0.1, 0.5, 0.9), is_flat=False)
    assert net.n_targets == 2
    assert net.count_crossings([0.0]) == 1
    np.testing.assert_allclose(net.predict_quantiles([0.0])[0], [[1, 2, 3], [40, 50, 60]])
    np.testing.assert_allclose(net.interval([0.0], 0.8), [[[1, 40]], [[3, 60]]])


# ---- scores ----


def test_scores_have_the_coverage(nets: dict[str, NN]) -> None:
    x, y = waves(2000, seed=1)
    w = np.random.default_rng(0).uniform(0, 2, 2000)
    for net in nets.values():
        scores = score(net, x, y, w)
        low, high = net.interval(x, 0.9)
        assert scores.level == 0.9
        np.testing.assert_allclose(scores.coverage, [np.average((low <= y) & (y <= high), weights=w)])
        assert "coverage=[0.9" in repr(scores) or "coverage=[0.8" in repr(scores)
    scores = score(fit(x, y, n_iterations=5), x, y)
    assert (scores.level, scores.coverage) == (None, None)
    assert "coverage" not in repr(scores)


@pytest.mark.parametrize(
    ("quantiles", "level"),
    [(LEVELS, 0.9), ([0.1, 0.25, 0.75, 0.9], 0.8), ([0.01, 0.05, 0.95, 0.99], 0.9), ([0.1, 0.5], None)],
)
def test_the_level_that_scores_have(quantiles: Any, level: float | None) -> None:
    x, y = waves(50)
    net = fit(x, y, loss=Quantile(quantiles), n_iterations=2)
    assert net.interval_level == score(net, x, y).level == level


def test_unknown_targets_do_not_count() -> None:
    x, y = waves(100, seed=1)
    both = np.column_stack([y, 5 * y, np.full(100, np.nan)])
    both[::3, 0] = np.nan
    net = fit(x, np.column_stack([y, 5 * y, y]), loss="gaussian_nll", n_iterations=500)
    low, high = net.interval(x)
    inside = (low <= both) & (both <= high)
    expected = [inside[~np.isnan(both[:, 0]), 0].mean(), inside[:, 1].mean(), np.nan]
    np.testing.assert_allclose(score(net, x, both).coverage, expected)


# ---- what has no interval ----


@pytest.mark.parametrize("loss", ["mse", "poisson", "cross_entropy"])
def test_a_network_that_knows_no_noise(loss: str) -> None:
    x = np.arange(10.0)
    net = fit(x, (x > 4).astype(int), loss=loss, n_iterations=2)
    assert net.interval_level is None
    message = "net must be one that knows the noise, after a fit with the loss quantile or gaussian_nll"
    with pytest.raises(InvalidArgumentError, match=message):
        net.interval(x)
    for use in (net.count_crossings, net.predict_quantiles):
        with pytest.raises(InvalidArgumentError, match="net must be one with quantiles, after a fit with"):
            use(x)


def test_quantiles_that_are_not_there(nets: dict[str, NN]) -> None:
    message = "level must be 0.5 or 0.9 for a network with the quantiles 0.05, 0.25, 0.5, 0.75, 0.95, got 0.8"
    with pytest.raises(InvalidArgumentError, match=message):
        nets["quantile"].interval([0.0], 0.8)
    net = fit(*waves(50), loss=Quantile([0.05, 0.5]), n_iterations=2)
    message = "level must be the level of two of them, like 0.9 for 0.05 and 0.95, for a network"
    with pytest.raises(InvalidArgumentError, match=message):
        net.interval([0.0])


@pytest.mark.parametrize("level", [0, 1, -0.5, np.nan, "0.9", None, True, [0.9]])
def test_levels_that_are_none(level: Any, nets: dict[str, NN]) -> None:
    for net in nets.values():
        with pytest.raises(InvalidArgumentError, match="level must be a number above 0 and below 1, got"):
            net.interval([0.0], level)


def test_parameters_that_changed_have_no_posterior(nets: dict[str, NN]) -> None:
    net = fit(*waves(30), hidden_sizes=[2], n_iterations=5)
    factor = np.eye(16).ravel()
    net.posterior = Posterior(0.1, 1e-3, 3.0, 30, factor)
    assert net.interval_level == 0.9
    net.parameters[0] += 1
    assert net.interval_level is None


# ---- around it ----


def test_regressors_have_them() -> None:
    x, y = waves(400)
    X = x[:, None]
    quantiles = NNRegressor(loss=Quantile([0.05, 0.5, 0.95]), random_state=0).fit(X, y)
    assert quantiles.predict_quantiles(X).shape == (400, 3)
    for model in (quantiles, NNRegressor(loss="gaussian_nll", random_state=0).fit(X, y)):
        low, high = model.predict_interval(X)
        assert low.shape == high.shape == (400,)
        assert 0.8 < ((low <= y) & (y <= high)).mean() < 0.97
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(model.predict_interval(X, 0.5)[1], mean + 0.6744897501960817 * std)


@pytest.mark.parametrize("kind", ["quantile", "gaussian_nll"])
def test_pictures_have_bands(kind: str, nets: dict[str, NN]) -> None:
    x, y = waves(100)
    figure: Any = plot_fit(nets[kind], x, y)
    (band,) = [part for part in figure.axes[0].collections if isinstance(part, PolyCollection)]
    assert band.get_label() == "90 % of new data"
    vertices = np.asarray(band.get_paths()[0].vertices)
    low, high = nets[kind].interval(np.unique(vertices[:, 0]))
    assert (vertices[:, 1].min(), vertices[:, 1].max()) == (
        pytest.approx(low.min()),
        pytest.approx(high.max()),
    )
    narrow = fit(x, y, loss=Quantile([0.25, 0.75]), n_iterations=5)
    figure = plot_fit(narrow, x, y)
    assert [part.get_label() for part in figure.axes[0].collections] == ["50 % of new data"]
    figure = plot_fit(fit(x, y, loss=Quantile(0.5), n_iterations=5), x, y)
    assert not figure.axes[0].collections


def test_columns_of_the_command_line(
    nets: dict[str, NN], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    x, y = waves(50)
    Path("points.csv").write_text(
        "x,y\n" + "".join(f"{a!r},{b!r}\n" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    )
    fitting = (
        "fit points.csv --inputs x --outputs y --iterations 500 --hidden 8 --validation 0 --save model.npz"
    )
    for options in ("--loss gaussian_nll", "--loss quantile --quantiles 0.05,0.5,0.95"):
        assert main([*fitting.split(), *options.split()]) == 0
        assert "% in the interval of 90 %\n" in capsys.readouterr().err
        assert main(["predict", "model.npz", "points.csv", "--interval", "0.9"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "x,y,y_predicted,y_low,y_high"
        rows = np.array([line.split(",") for line in lines[1:]], float)
        assert (rows[:, 3] <= rows[:, 4]).all()
        assert ((rows[:, 3] <= rows[:, 1]) & (rows[:, 1] <= rows[:, 4])).mean() > 0.7
    for level, message in (
        ("0.5", "--interval must be 0.9 for a network with the quantiles 0.05, 0.5, 0.95, got 0.5"),
        ("2", "--interval must be a number above 0 and below 1, got 2.0"),
    ):
        assert main(["predict", "model.npz", "points.csv", "--interval", level]) == 2
        assert message in capsys.readouterr().err
    assert main([*fitting.split()]) == 0
    capsys.readouterr()
    assert main(["predict", "model.npz", "points.csv", "--interval", "0.9"]) == 2
    assert "--interval must be used for a network that knows the noise" in capsys.readouterr().err


def test_columns_of_several_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    net = NN(1, [], 4, init=[0.0, 0.0, 0.0, 0.0, 1.0, 10.0, 0.0, 1.0])
    net.standardization = Standardization(np.zeros(1), np.ones(1), np.zeros(4), np.ones(4))
    net.schema = Schema(heads="means_and_log_stds")
    save(net, "model.npz", {"inputs": ["x"], "outputs": ["a", "b"]})
    Path("points.csv").write_text("x\n1\n")
    assert main(["predict", "model.npz", "points.csv", "--interval", "0.6826894921370859"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head == "x,a_predicted,b_predicted,a_low,a_high,b_low,b_high"
    np.testing.assert_allclose([float(v) for v in row.split(",")[1:]], [1, 10, 0, 2, 10 - np.e, 10 + np.e])
