"""Targets that are unknown, NaN: each loss and score is that of the others."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray
from second_order import problem, trainer
from sklearn.metrics import r2_score
from test_curvature import LOSSES as SECOND_ORDER
from test_curvature import assert_equations

from crabnet_jit import (
    LOSSES,
    MSE,
    NN,
    OPTIMIZERS,
    ArraySource,
    CustomLoss,
    EarlyStopping,
    InvalidArgumentError,
    Objective,
    Quantile,
    Source,
    Standardization,
    Trainer,
    check_gradients,
    diagnose,
    fit,
    score,
)
from crabnet_jit.cli.main import main
from crabnet_jit.components.losses import Loss
from crabnet_jit.estimators import NNClassifier, NNRegressor
from crabnet_jit.plotting import plot_fit

RNG = np.random.default_rng(0)
N = 60
X = RNG.uniform(-1, 1, (N, 2))
WEIGHTS = RNG.uniform(0.2, 2, N)
QUICK: dict[str, Any] = {"hidden_sizes": (6,), "n_iterations": 200}
ALL_LOSSES: list[Loss] = [
    *(kind() for kind in LOSSES.values()),
    Quantile([0.2, 0.5, 0.9]),
    CustomLoss(lambda x, t: (x - t) ** 4, lambda x, t: 4 * (x - t) ** 3),
]


def _name(value: Any) -> str:
    return f"{value.name}-{value.n_heads}" if isinstance(value, Loss) else str(value)


def _goes_with(loss: Loss, optimizer: str) -> bool:
    """Methods of second order do not take all losses."""
    kind = OPTIMIZERS[optimizer]
    taken = ["mse"] if kind.has_evidence else SECOND_ORDER
    return not kind.is_second_order or loss.name in taken


PAIRS = [(loss, name) for loss in ALL_LOSSES for name in OPTIMIZERS if _goes_with(loss, name)]


def targets(n_out: int, share_unknown: float = 0.3) -> NDArray[Any]:
    """Probabilities with a sum of 1, right for every loss; in each row and column one is known."""
    rng = np.random.default_rng(n_out)
    y = rng.dirichlet(np.ones(n_out), N)
    is_unknown = rng.random(y.shape) < share_unknown
    is_unknown[np.arange(N), rng.integers(n_out, size=N)] = False
    y[is_unknown] = np.nan
    return y


def network(n_out: int, dtype: Any = np.float64) -> NN:
    net = NN(2, [7], n_out, 1, activation="tanh", init="glorot_uniform", dtype=dtype)
    net.standardization = Standardization(np.zeros(2), np.full(2, 0.7), np.zeros(n_out), np.ones(n_out))
    return net


def mean_of_known(loss: Loss, x: NDArray[Any], y: NDArray[Any], weights: NDArray[Any]) -> float:
    """sum(w l) / sum(w) over known targets, or over samples of which all are; from losses of one each."""
    known = ~np.isnan(y)
    if loss.takes_whole_samples:
        known = known.all(axis=1)
        values = [loss.get_output(x[[k]], y[[k]]) for k in np.flatnonzero(known)]
        return float(np.average(values, weights=weights[known]))
    places = np.argwhere(known)
    n_targets = y.shape[1]
    values = [loss.get_output(x[[k], o::n_targets], y[[[k]], [[o]]]) for k, o in places]
    return float(np.average(values, weights=weights[places[:, 0]]))


# ---- losses ----


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=_name)
@pytest.mark.parametrize("n_out", [2, 5])
def test_every_loss_is_the_mean_over_known_targets(loss: Loss, n_out: int) -> None:
    x, y = RNG.normal(size=(N, n_out * loss.n_heads)), targets(n_out)
    weights = WEIGHTS * (RNG.random(N) < 0.8)
    assert loss.forward(x, y, weights) == pytest.approx(mean_of_known(loss, x, y, weights), rel=1e-13)
    assert loss.forward(x, y) == pytest.approx(mean_of_known(loss, x, y, np.ones(N)), rel=1e-13)
    gradient = loss.backward()
    is_unknown = np.isnan(y).any(axis=1, keepdims=True) if loss.takes_whole_samples else np.isnan(y)
    assert not gradient[np.tile(np.broadcast_to(is_unknown, y.shape), loss.n_heads)].any()
    direction = RNG.normal(size=x.shape)
    step = 1e-6
    ahead, behind = (loss.get_output(x + s * step * direction, y) for s in (1, -1))
    assert (gradient * direction).sum() == pytest.approx((ahead - behind) / (2 * step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=_name)
def test_every_loss_refuses_targets_of_which_none_is_known(loss: Loss) -> None:
    with pytest.raises(
        InvalidArgumentError, match="target must be known for at least one sample, got only NaN"
    ):
        loss.get_output(np.zeros((3, 2 * loss.n_heads)), np.full((3, 2), np.nan))
    with pytest.raises(InvalidArgumentError, match="target must be finite, got inf"):
        loss.get_output(np.zeros((1, 2 * loss.n_heads)), [[np.inf, np.nan]])


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=_name)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_objective_and_trainer_take_the_same_mean(loss: Loss, dtype: str) -> None:
    net, y = network(3 * loss.n_heads, dtype), targets(3)
    weights = WEIGHTS.copy()
    weights[::7] = 0
    y[4] = np.nan
    rest = np.setdiff1d(np.arange(N), [4])
    expected = mean_of_known(loss, net.predict(X[rest]).astype(float), y[rest], weights[rest])
    rel = 1e-13 if dtype == "float64" else 1e-5
    objective = Objective(net, X, y, loss=loss, sample_weight=weights)
    value, gradient = objective.loss_and_gradient(net.parameters)
    assert value == pytest.approx(expected, rel=rel)
    trainer = Trainer(net, ArraySource(X, y, N, sample_weight=weights), loss=loss, learning_rate=0.1)
    before = net.parameters.copy()
    assert trainer.run(1).losses[0] == pytest.approx(expected, rel=rel)
    np.testing.assert_allclose(net.parameters, before - 0.1 * gradient, rtol=0, atol=rel)
    if dtype == "float64":
        assert check_gradients(net, X, y, loss, tolerance=1e-4).is_right


@pytest.mark.parametrize(("loss", "optimizer"), PAIRS, ids=_name)
def test_unknown_samples_are_as_if_they_were_not_there(loss: Loss, optimizer: str) -> None:
    """Bit for bit, with one output and with several."""
    n_out = 2 if loss.name == "cross_entropy" else 1
    y = targets(n_out, 0.0)
    if n_out == 1:
        y = y * RNG.random((N, 1))
    gaps = y.copy()
    gaps[::3] = np.nan
    known = ~np.isnan(gaps).any(axis=1)
    options: dict[str, Any] = {"loss": loss, "optimizer": optimizer}
    if not OPTIMIZERS[optimizer].is_second_order:
        options["learning_rate"] = 0.01
    nets = []
    for rows, wanted in ((slice(None), gaps), (known, y)):
        source = ArraySource(X[rows], wanted[rows], N, sample_weight=WEIGHTS[rows], rng=1)
        net = network(n_out * loss.n_heads)
        Trainer(net, source, **options).run(20)
        objective = Objective(net, X[rows], wanted[rows], loss=loss, sample_weight=WEIGHTS[rows])
        nets.append((net.parameters.copy(), objective.loss_and_gradient(net.parameters)[0]))
    assert nets[0][0].tobytes() == nets[1][0].tobytes()
    assert nets[0][1] == nets[1][1]


def test_data_without_gaps_call_what_they_called_before() -> None:
    """The article's parts are compiled into the run."""
    y = targets(2, 0.0)
    for gaps, calls in ((False, False), (True, True)):
        if gaps:
            y[0, 0] = np.nan
        trainer = Trainer(NN(2, [4], 2, rng=1), ArraySource(X, y, rng=1))
        assert (trainer._steps.chunks._compiled.calls is not None) == calls
    assert MSE().kernel_for(False) is MSE().kernel


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_every_batch_is_a_mean_of_its_own(loss: str) -> None:
    """Also if a batch has no known target: its loss is 0, and it takes no step."""
    y = targets(3)
    y[5, 0], y[6] = np.nan, [np.nan, 0.3, 0.7]
    net = network(3)
    source = ArraySource(X, y, 1, shuffle=False, sample_weight=WEIGHTS)
    trainer = Trainer(net, source, loss=loss, learning_rate=0.1)
    criterion = LOSSES[loss]()
    for k in range(N):
        before = net.parameters.copy()
        predicted = net.predict(X[[k]])
        value = trainer.run(1).losses[-1]
        if criterion.takes_whole_samples and np.isnan(y[k]).any():
            assert value == 0
            assert np.array_equal(before, net.parameters)
        else:
            share = WEIGHTS[k] / WEIGHTS.mean()
            expected = share * mean_of_known(criterion, predicted, y[[k]], np.ones(1))
            assert value == pytest.approx(expected, rel=1e-12)


def test_chunks_do_not_change_a_bit() -> None:
    results = []
    for chunk_size in (1, 7, None):
        net = network(3)
        source = ArraySource(X, targets(3), 7, sample_weight=WEIGHTS, rng=3)
        trainer = Trainer(net, source, optimizer="adam", learning_rate=0.01, chunk_size=chunk_size)
        results.append((trainer.run(50).losses.tobytes(), net.parameters.tobytes()))
    assert results[0] == results[1] == results[2]


class Gaps(Source):
    """A source of users, that leaves the weights as they are."""

    in_features, out_features, batch_size = 2, 2, 20
    has_gaps = True
    has_weights = False

    def fill(self, iteration: int, batches: Any) -> None:
        for k in range(len(batches.x)):
            rng = np.random.default_rng(iteration + k)
            batches.x[k] = rng.normal(size=batches.x[k].shape)
            batches.target[k] = np.where(rng.random(batches.target[k].shape) < 0.4, np.nan, batches.x[k] ** 2)
            if iteration + k == 3:
                batches.target[k] = np.nan


def test_a_source_of_users() -> None:
    for standardization in (None, Standardization(np.zeros(2), np.ones(2), np.ones(2), np.full(2, 3.0))):
        net = network(2)
        net.standardization = standardization
        trainer = Trainer(net, Gaps(), learning_rate=0.1)
        again = Trainer(network(2), Gaps(), learning_rate=0.1, chunk_size=2)
        losses = trainer.run(6).losses
        assert losses[3] == 0
        assert (losses[[0, 1, 2, 4, 5]] > 0).all()
        if standardization is None:
            again.net.standardization = None
            assert Trainer(again.net, Gaps(), learning_rate=0.1, chunk_size=2).run(6).losses.tolist() == (
                losses.tolist()
            )


# ---- methods of second order ----


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("loss", SECOND_ORDER)
def test_unknown_targets_do_not_enter_the_equations(loss: str, form: str) -> None:
    net, plain = problem([6, 3], 45, loss, n_out=3)
    y = plain.y.copy()
    rng = np.random.default_rng(3)
    y[rng.random(y.shape) < 0.2] = np.nan
    y[np.isnan(y).all(axis=1), 1] = 0.5
    known = ~np.isnan(y)
    if loss == "cross_entropy":
        known = np.broadcast_to(known.all(axis=1, keepdims=True), y.shape)
    weight = plain.weight * 3 * plain.weight.sum() / (plain.weight @ known.sum(axis=1))
    assert_equations(net, plain._replace(y=y, weight=weight), form)


@pytest.mark.parametrize("form", ["primal", "dual"])
def test_steps_of_levenberg_marquardt(form: str) -> None:
    net, plain = problem([4], 30, "mse", n_out=2)
    y = plain.y.copy()
    y[::3, 0], y[1::4, 1] = np.nan, np.nan
    y[np.isnan(y).all(axis=1), 0] = 0.5
    weight = plain.weight * 2 * plain.weight.sum() / (plain.weight @ (~np.isnan(y)).sum(axis=1))
    plain = plain._replace(y=y, weight=weight)
    losses, theta, _ = plain.run(net.parameters.copy(), 5)
    made = trainer(net, plain, form)
    np.testing.assert_allclose(made.run(5).losses, losses, rtol=1e-9)
    np.testing.assert_allclose(net.parameters, theta, rtol=1e-6, atol=1e-8)


def test_error_bars_count_known_targets() -> None:
    y = np.stack([X[:, 0], X[:, 1] ** 2], axis=1) + 0.05 * np.random.default_rng(5).normal(size=(N, 2))
    y[::2, 1] = np.nan
    net = fit(X, y, hidden_sizes=[4], optimizer="bayesian_regularization")
    assert net.posterior is not None
    assert net.posterior.n_residuals == N + N // 2
    _, std = net.predict(X, return_std=True)
    assert (std > 0).all()


def test_lbfgs_minimizes_the_same_loss() -> None:
    pytest.importorskip("scipy")
    net, y = network(2), targets(2)
    objective = Objective(net, X, y)
    result = objective.minimize(50)
    assert result.fun == pytest.approx(mean_of_known(MSE(), net.predict(X), y, np.ones(N)), rel=1e-12)


# ---- fits ----


def two_outputs() -> tuple[NDArray[Any], NDArray[Any]]:
    """All targets, and those with gaps: some of each column, and some rows."""
    y = np.stack([100 + 5 * np.sin(2 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1)
    gaps = y.copy()
    gaps[::4, 0], gaps[1::3, 1], gaps[10:13] = np.nan, np.nan, np.nan
    return y, gaps


def test_a_fit_learns_from_known_targets() -> None:
    y, gaps = two_outputs()
    net = fit(X, gaps, hidden_sizes=(16,), n_iterations=4000, sample_weight=WEIGHTS)
    assert (score(net, X, y).r2 > 0.95).all()
    known = ~np.isnan(gaps)
    kept = known.any(axis=1)
    assert net.fit_history is not None
    assert net.fit_history.training_rows.tolist() == np.flatnonzero(kept).tolist()
    units = net.standardization
    assert units is not None
    for k in range(2):
        of_known, weights = gaps[known[:, k], k], WEIGHTS[known[:, k]]
        mean = np.average(of_known, weights=weights)
        std = np.sqrt(np.average((of_known - mean) ** 2, weights=weights))
        np.testing.assert_allclose([units.y_mean[k], units.y_std[k]], [mean, std], rtol=1e-13)
    np.testing.assert_allclose(units.x_mean, np.average(X[kept], axis=0, weights=WEIGHTS[kept]), rtol=1e-13)


def test_whole_samples_are_left_out() -> None:
    y = np.sin(X[:, 0])
    gaps = y.copy()
    gaps[5:15] = np.nan
    rest = ~np.isnan(gaps)
    for options in ({}, {"validation": 0.25}, {"missing": "drop"}, {"batch_size": 7, "dtype": "float32"}):
        net = fit(X, gaps, sample_weight=WEIGHTS, **QUICK, **options)
        whole = fit(X[rest], y[rest], sample_weight=WEIGHTS[rest], **QUICK, **options)
        np.testing.assert_allclose(net.parameters, whole.parameters, rtol=1e-9, atol=1e-12)
        assert fit(X, gaps, **QUICK, **options).parameters.tobytes() == (
            fit(X[rest], y[rest], **QUICK, **options).parameters.tobytes()
        )


@pytest.mark.parametrize("kind", ["array", "list", "pandas", "polars", "nullable", "objects"])
def test_all_kinds_of_gaps_mean_the_same(kind: str) -> None:
    _, gaps = two_outputs()
    frame = pd.DataFrame(gaps, columns=["a", "b"])
    given: Any = {
        "array": gaps,
        "list": [[None if np.isnan(v) else v for v in row] for row in gaps.tolist()],
        "pandas": frame,
        "polars": pl.from_pandas(frame),
        "nullable": frame.convert_dtypes(),
        "objects": frame.astype(object).where(frame.notna(), None),
    }[kind]
    net, expected = (fit(X, y, **QUICK) for y in (given, gaps))
    assert net.parameters.tobytes() == expected.parameters.tobytes()
    assert str(score(net, X, given)) == str(score(expected, X, gaps))


def test_integers_and_booleans_with_gaps() -> None:
    counts = pd.DataFrame({"a": np.arange(N), "b": np.arange(N)}).astype("Int64")
    counts.loc[3, "a"] = pd.NA
    assert fit(X, counts, **QUICK).schema.task == "regression"
    flags = pd.DataFrame({"a": X[:, 0] > 0, "b": X[:, 1] > 0}).astype("boolean")
    flags.loc[3, "a"] = pd.NA
    as_lists = [[None if v is pd.NA else bool(v) for v in row] for row in flags.to_numpy().tolist()]
    nets = [fit(X, y, **QUICK) for y in (flags, as_lists)]
    assert nets[0].schema.task == "multilabel"
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    scores = score(nets[0], X, flags)
    true, predicted = flags.to_numpy(dtype=float, na_value=np.nan), nets[0].predict(X)
    is_right = (true == predicted) | np.isnan(true)
    assert scores.accuracy == pytest.approx(is_right.all(axis=1).mean())
    p = nets[0].predict_proba(X)
    losses = -np.log(np.where(true == 1, p, 1 - p))[~np.isnan(true)]
    assert scores.log_loss == pytest.approx(losses.mean())


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_labels_with_gaps(loss: str, gap: Any) -> None:
    labels = np.where(X[:, 0] > 0, "yes", "no").astype(object)
    gaps = labels.copy()
    gaps[[2, 9]] = gap
    rest = np.setdiff1d(np.arange(N), [2, 9])
    net, whole = fit(X, gaps, loss=loss, **QUICK), fit(X[rest], labels[rest], loss=loss, **QUICK)
    assert net.parameters.tobytes() == whole.parameters.tobytes()
    assert score(net, X, gaps) == pytest.approx(score(net, X[rest], labels[rest]))
    validated = fit(X, labels, loss=loss, validation=(X, gaps), **QUICK)
    expected = fit(X, labels, loss=loss, validation=(X[rest], labels[rest]), **QUICK)
    assert validated.fit_history is not None
    assert expected.fit_history is not None
    np.testing.assert_allclose(
        validated.fit_history.validation_losses, expected.fit_history.validation_losses, rtol=1e-12
    )
    figure: Any = plot_fit(net, X, gaps)
    assert len(figure.axes) == 2


def test_probabilities_with_gaps_count_as_whole_samples() -> None:
    y = targets(3)
    whole = ~np.isnan(y).any(axis=1)
    net = fit(X, y, loss="cross_entropy", **QUICK)
    expected = score(net, X[whole], y[whole])
    assert score(net, X, y) == expected
    history = net.fit_history
    assert history is not None
    loss = Objective(net, X, y, loss="cross_entropy").loss_and_gradient(net.parameters)[0]
    assert loss == pytest.approx(expected.log_loss, rel=1e-12)


def test_validation_sets_may_have_gaps() -> None:
    y, gaps = two_outputs()
    net = fit(X, y, validation=(X, gaps, WEIGHTS), **QUICK)
    units = net.standardization
    assert units is not None
    z = (gaps - units.y_mean) / units.y_std
    predicted = (net.predict(X) - units.y_mean) / units.y_std
    assert net.fit_history is not None
    least = min(net.fit_history.validation_losses)
    assert least == pytest.approx(mean_of_known(MSE(), predicted, z, WEIGHTS), rel=1e-9)
    stopping = EarlyStopping(3, Objective(net, X, gaps), 10)
    Trainer(net, ArraySource(X, gaps, rng=1), learning_rate=1e-9).run(100, callbacks=[stopping])
    assert np.isfinite(stopping.losses).all()


def test_scores_of_known_targets() -> None:
    y, gaps = two_outputs()
    net = fit(X, y, **QUICK)
    found = score(net, X, gaps, WEIGHTS)
    predicted = net.predict(X)
    for k in range(2):
        known = ~np.isnan(gaps[:, k])
        error, weights = (gaps - predicted)[known, k], WEIGHTS[known]
        assert found.rmse[k] == pytest.approx(np.sqrt(np.average(error**2, weights=weights)), rel=1e-12)
        assert found.mae[k] == pytest.approx(np.average(np.abs(error), weights=weights), rel=1e-12)
        r2 = r2_score(gaps[known, k], predicted[known, k], sample_weight=weights)
        assert found.r2[k] == pytest.approx(r2, rel=1e-10)
    assert found.n_samples == (~np.isnan(gaps).all(axis=1)).sum()
    gaps[:, 1] = np.nan
    found = score(net, X, gaps)
    assert np.isnan([found.rmse[1], found.mae[1], found.r2[1]]).all()
    assert found.r2[0] == score(net, X, y[:, [0, 0]]).r2[0] or np.isfinite(found.r2[0])


def test_pictures_show_known_targets() -> None:
    y, gaps = two_outputs()
    net = fit(X, y, **QUICK)
    for output in range(2):
        figure: Any = plot_fit(net, X, gaps, output=output)
        comparison = figure.axes[1]
        known = ~np.isnan(gaps[:, output])
        assert np.array_equal(comparison.lines[1].get_xdata(), gaps[known, output])
    gaps[:, 1] = np.nan
    with pytest.raises(InvalidArgumentError, match="y must be known for at least one sample, of the output"):
        plot_fit(net, X, gaps, output=1)
    assert "identity" in str(diagnose(net, X, gaps))


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (np.full((N, 2), np.nan), {}, "y must be known for at least one sample, got no known target"),
        (
            np.stack([X[:, 0], np.full(N, np.nan)], axis=1),
            {},
            "y must be known for at least one training sample, in each column, got only NaN in 'y1'",
        ),
        (
            pd.DataFrame({"a": [np.nan] * N, "b": X[:, 0]}),
            {},
            "y must be known for at least one training sample, in each column, got only NaN in 'a'",
        ),
        (
            np.where(np.arange(N) < 1, 1.0, np.nan),
            {"sample_weight": np.arange(N)},
            "y must be known for at least one training sample, in each column, got only NaN in 'y0'",
        ),
        (
            X,
            {"validation": (X, np.full((N, 2), np.nan))},
            "validation y must be known for at least one sample",
        ),
        (np.where(X > 0.5, np.inf, np.nan), {}, "y must be finite, got inf"),
        (np.where(np.eye(N, 2) > 0, np.nan, 0.5), {"loss": "cross_entropy"}, None),
        (
            np.where(np.arange(2 * N).reshape(N, 2) % 2 == np.arange(N)[:, None] % 2, np.nan, 0.5),
            {"loss": "cross_entropy"},
            "y must be known for at least one sample, got only NaN",
        ),
    ],
)
def test_too_little_is_named(y: Any, options: dict[str, Any], message: str | None) -> None:
    if message is None:
        fit(X, y, **QUICK, **options)
        return
    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(message)}"):
        fit(X, y, **QUICK, **options)


def test_sources_and_objectives_name_what_is_unknown() -> None:
    with pytest.raises(InvalidArgumentError, match="in each column, got only NaN in column 1"):
        ArraySource(X, np.stack([X[:, 0], np.full(N, np.nan)], axis=1))
    for kind in (ArraySource, lambda x, y: Objective(network(2), x, y)):
        with pytest.raises(InvalidArgumentError, match="y must be known for at least one sample"):
            kind(X, np.full((N, 2), np.nan))
    source = ArraySource(X, targets(2))
    assert f"{np.isnan(source.targets).sum()} unknown targets" in repr(source)
    with pytest.raises(InvalidArgumentError, match="y must be known for at least one sample"):
        score(network(2), X, np.full((N, 2), np.nan))


# ---- scikit-learn and the command line ----


def test_estimators_take_gaps() -> None:
    y, gaps = two_outputs()
    rest = ~np.isnan(gaps[:, 0])
    options: dict[str, Any] = {"hidden_sizes": (6,), "n_iterations": 100, "random_state": 0}
    one = NNRegressor(**options).fit(X, gaps[:, 0])
    same = NNRegressor(**options).fit(X[rest], y[rest, 0])
    assert one.net_.parameters.tobytes() == same.net_.parameters.tobytes()
    assert one.score(X, gaps[:, 0]) == pytest.approx(same.score(X[rest], y[rest, 0]), rel=1e-12)
    both = NNRegressor(**options).fit(X, gaps, WEIGHTS)
    known = ~np.isnan(gaps)
    predicted = both.predict(X)
    r2 = [r2_score(gaps[k, o], predicted[k, o], sample_weight=WEIGHTS[k]) for o, k in enumerate(known.T)]
    assert both.score(X, gaps, WEIGHTS) == pytest.approx(np.mean(r2), rel=1e-12)
    assert both.partial_fit(X, gaps).predict(X).shape == (N, 2)
    assert NNRegressor(**options).partial_fit(X, gaps).predict(X).shape == (N, 2)
    with pytest.raises(ValueError, match="y must be known for at least one sample"):
        NNRegressor(**options).fit(X, np.full(N, np.nan))


def test_classifiers_take_gaps() -> None:
    options: dict[str, Any] = {"hidden_sizes": (6,), "n_iterations": 100, "random_state": 0}
    labels = np.where(X[:, 0] > 0, "yes", "no").astype(object)
    gaps = labels.copy()
    gaps[[2, 9]] = None
    rest = np.setdiff1d(np.arange(N), [2, 9])
    net, whole = NNClassifier(**options).fit(X, gaps), NNClassifier(**options).fit(X[rest], labels[rest])
    assert net.net_.parameters.tobytes() == whole.net_.parameters.tobytes()
    flags = (X > 0).astype(float)
    flags[3, 0] = flags[5] = np.nan
    several = NNClassifier(**options).fit(X, flags)
    assert (several.predict(X) == flags)[~np.isnan(flags)].mean() > 0.9


def test_the_command_line(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, gaps = two_outputs()
    frame = pd.DataFrame({"p": X[:, 0], "q": X[:, 1], "a": gaps[:, 0], "b": gaps[:, 1]})
    frame.to_csv("data.csv", index=False)
    common = ["fit", "data.csv", "--inputs", "p,q", "--hidden", "6", "--iterations", "100", "--plot", "p.png"]
    main([*common, "--outputs", "a,b", "--validation", "0.2", "--save", "net.npz"])
    err = capsys.readouterr().err
    n_a, n_b = np.isnan(gaps).sum(axis=0)
    n = np.isnan(gaps).all(axis=1).sum()
    assert f"unknown outputs: 'a' {n_a}, 'b' {n_b}; they do not count, {n} of {N} rows are left out\n" in err
    assert Path("p.png").exists()
    main([*common, "--outputs", "a"])
    assert f"unknown outputs: 'a' {n_a}; {n_a} of {N} rows are left out\n" in capsys.readouterr().err
    frame["b"] = np.where(np.arange(N) == 1, 1.0, np.nan)
    frame.to_csv("data.csv", index=False)
    main([*common, "--outputs", "a,b"])
    assert re.search(r"training, \d+ rows, b: RMSE \d", capsys.readouterr().err)
