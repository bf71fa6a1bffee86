"""Networks that predict together: means, spreads, intervals, one file, one merged network."""

import copy
import pickle
import zipfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numba
import numpy as np
import pytest

from crabnet_jit import (
    NN,
    Ensemble,
    FileFormatError,
    InvalidArgumentError,
    Quantile,
    export,
    fit,
    fit_many,
    load,
    save,
    score,
)
from crabnet_jit.estimators import NNClassifier, NNRegressor
from crabnet_jit.plotting import plot_fit

mpl.use("Agg")
GENERATOR = np.random.default_rng(2)
X = GENERATOR.uniform(-2, 2, (150, 2))
Y = 100 + 5 * np.sin(X[:, 0]) * X[:, 1]
NOISY = Y + GENERATOR.normal(0, 2, len(Y))
LABELS = np.select([Y > 102, Y > 98], ["high", "middle"], "low")
SEEDS: list[dict[str, Any]] = [{"seed": k} for k in range(3)]
OPTIONS: dict[str, Any] = {"n_iterations": 200, "hidden_sizes": (5, 4), "learning_rate": 0.03}


def ensemble(y: Any = Y, specs: Any = SEEDS, **options: Any) -> Ensemble:
    return Ensemble(fit_many(specs, X, y, **{**OPTIONS, **options}))


# ---- predictions ----


@pytest.mark.parametrize("y", [Y, np.column_stack([Y, -Y]), Y[:, None]])
def test_mean_and_spread(y: Any) -> None:
    nets = ensemble(y)
    values = np.array([net.predict(X) for net in nets.members])
    mean, std = nets.predict(X, return_std=True)
    assert np.allclose(mean, values.mean(axis=0), rtol=1e-14)
    assert np.allclose(std, values.std(axis=0), rtol=1e-9, atol=1e-12)
    assert mean.shape == std.shape == y.shape
    assert np.array_equal(nets(X), mean)
    assert (len(nets), nets[1], [*nets]) == (3, nets.members[1], list(nets.members))
    assert score(nets, X, y).r2.min() > 0.5


def test_members_own_noise_is_part_of_the_standard_deviation() -> None:
    both_kinds: tuple[dict[str, Any], ...] = (
        {"loss": "gaussian_nll", "n_iterations": 200},
        {"optimizer": "bayesian_regularization", "n_iterations": 500, "hidden_sizes": (3,)},
    )
    for options in both_kinds:
        nets = Ensemble([fit(X, NOISY, **options, **spec) for spec in SEEDS])
        both = [net.predict(X, return_std=True) for net in nets.members]
        spread = np.var([mean for mean, _ in both], axis=0)
        noise = np.mean([std**2 for _, std in both], axis=0)
        mean, std = nets.predict(X, return_std=True)
        assert nets.knows_noise
        assert np.allclose(std, np.sqrt(spread + noise), rtol=1e-12)
        if nets.schema.heads == "means_and_log_stds":
            assert np.allclose(nets(X), np.column_stack([mean, std]), rtol=1e-12)
    assert not ensemble().knows_noise


def test_quantiles_and_counts() -> None:
    nets = ensemble(loss="quantile")
    assert np.allclose(nets.predict(X), np.mean([net.predict(X) for net in nets], axis=0), rtol=1e-14)
    nets = ensemble(loss=Quantile([0.05, 0.5, 0.95]))
    assert nets.interval_level == 0.9
    ends = np.mean([net.interval(X, sort=False) for net in nets], axis=0)
    assert np.allclose(nets.interval(X, sort=False), ends, rtol=1e-14)
    assert nets.predict_quantiles(X).shape == (150, 3)
    low, high = nets.calibrate(X[:9], Y[:9]).interval(X[9:], 0.9)
    assert np.allclose(low + high, 2 * nets.predict(X[9:]))
    counts = np.round(np.exp(X[:, 0]))
    nets = ensemble(counts, loss="poisson")
    assert np.allclose(nets.predict(X), np.mean([net.predict(X) for net in nets], axis=0), rtol=1e-14)


def test_classes_by_mean_probability_and_by_votes() -> None:
    nets = ensemble(LABELS, specs=[*SEEDS, {"seed": 9, "n_iterations": 2}])
    shares = np.array([net.predict_proba(X) for net in nets])
    assert np.allclose(nets.predict_proba(X), shares.mean(axis=0), rtol=1e-14)
    assert nets.classes is not None
    assert np.array_equal(nets.predict(X), nets.classes[shares.mean(axis=0).argmax(axis=1)])
    votes = shares.argmax(axis=2)
    for at, label in enumerate(nets.vote(X)):
        counts = np.bincount(votes[:, at], minlength=3)
        most = np.flatnonzero(counts == counts.max())
        assert label == nets.classes[most[shares.mean(axis=0)[at, most].argmax()]]
    assert score(nets, X, LABELS).accuracy > 0.6
    for call in (lambda: nets.predict(X, return_std=True), lambda: nets.calibrate(X, LABELS), nets.merged):
        with pytest.raises(InvalidArgumentError):
            call()


def test_votes_count_however_sure_they_are() -> None:
    like = fit([0.0, 1.0], ["no", "yes"], hidden_sizes=(), loss="cross_entropy", n_iterations=1)
    nets = []
    for logit in (0.1, 0.1, -9.0):
        net = NN(1, [], 2, init=[0.0, 0.0, 0.0, logit])
        net.schema = like.schema
        nets.append(net)
    assert Ensemble(nets).vote([0.0]).tolist() == ["yes"]
    assert Ensemble(nets).predict([0.0]).tolist() == ["no"]
    assert Ensemble(nets[1:]).vote([0.0]).tolist() == ["no"]  # a tie


def test_two_classes_and_several_labels_at_once() -> None:
    two = ensemble(Y > 100, loss="binary_cross_entropy")
    assert np.allclose(two.predict_proba(X).sum(axis=1), 1)
    assert np.array_equal(two.predict(X), two.predict_proba(X)[:, 1] > 0.5)
    assert np.mean(two.vote(X) == two.predict(X)) > 0.9
    several = ensemble(np.column_stack([Y > 100, X[:, 0] > 0]), loss="binary_cross_entropy")
    assert several.predict(X).shape == several.vote(X).shape == (150, 2)
    votes = np.sum([net.predict(X) for net in several], axis=0)
    assert np.array_equal(several.vote(X), votes >= 2)


def test_what_does_not_fit_together_is_named() -> None:
    fits = fit_many(SEEDS, X, Y, **OPTIONS)
    other = fit(X, Y, n_iterations=5)
    other.schema = fit(X, Y[:, None], n_iterations=5).schema
    for networks, message in (
        ([*fits, NN(3, [2], 1)], r"networks\[3\].in_features must be that of networks\[0\], 2, got 3"),
        ([*fits, NN(2, [2], 2)], r"networks\[3\].out_features must be that of networks\[0\], 1, got 2"),
        ([fits[0], other], r"networks\[1\].schema.is_flat must be that of networks\[0\], True, got False"),
        ([fits[0], None], r"networks\[1\] must be an NN, got None; the `networks` of fit_many"),
        ([], "networks must be at least one, got none"),
        (fits[0], "networks must be a sequence of networks"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            Ensemble(networks)  # type: ignore[arg-type]


def test_outside_of_all_boxes() -> None:
    nets = Ensemble([fit(X[:70], Y[:70], **OPTIONS), fit(X[70:], Y[70:], **OPTIONS)])
    assert nets.is_inside(X).all()
    assert not nets.is_inside([[5.0, 0.0]])[0]
    assert np.isnan(nets.predict([[5.0, 0.0]], outside="nan"))[0]
    with pytest.warns(RuntimeWarning, match="extrapolates"):
        nets.predict([[5.0, 0.0]], outside="warn")


# ---- intervals ----


@pytest.mark.parametrize(("n_members", "n_samples"), [(1, 60), (4, 60), (4, 19)])
def test_intervals_hold_their_share_of_new_data(n_members: int, n_samples: int) -> None:
    """Noise that grows with x, few samples: the spread of the members alone says little about it."""
    shares, spreads = [], []
    for draw in range(25):
        rng = np.random.default_rng(draw)

        def sample(n: int, rng: Any = rng) -> tuple[Any, Any]:
            x = rng.uniform(0, 1, (n, 1))
            return x, np.sin(6 * x[:, 0]) + rng.normal(0, 0.05 + 0.3 * x[:, 0])

        x, y = sample(60)
        specs = [{"seed": 10 * draw + k} for k in range(n_members)]
        nets = Ensemble(fit_many(specs, x, y, hidden_sizes=(8,), n_iterations=300)).calibrate(
            *sample(n_samples)
        )
        x, y = sample(2000)
        low, high = nets.interval(x, 0.9)
        shares.append(np.mean((low <= y) & (y <= high)))
        mean, std = nets.predict(x, return_std=True)
        spreads.append(np.mean(np.abs(y - mean) <= 1.645 * std))
    assert 0.85 < np.mean(shares) < 0.95
    assert np.mean(spreads) < 0.8


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_calibration_finds_what_the_members_do_not_say(noise: float) -> None:
    """Of lines that disagree by 0.1 x, and data around their mean with errors of that size and this noise."""
    rng = np.random.default_rng(1)
    lines = Ensemble([NN(1, [], 1, init=[slope, 0.0]) for slope in (0.9, 1.1)])
    x = rng.uniform(0, 10, (4000, 1))
    y = x[:, 0] + rng.normal(0, 0.05 * x[:, 0]) + rng.normal(0, 0.5 * noise, 4000)  # half of what they say
    low, high = lines.calibrate(x, y).interval([[0.1], [5.0], [10.0]], 0.9)
    wanted = 2 * 1.645 * 0.5 * np.hypot([0.01, 0.5, 1.0], noise)
    assert np.allclose((high - low)[1:, 0], wanted[1:], rtol=0.1)
    assert np.allclose((high - low)[0, 0], wanted[0], rtol=0.2, atol=0.02)


def test_a_level_is_the_rank_of_a_score() -> None:
    line = NN(1, [], 1, init=[1.0, 0.0])
    nets = Ensemble([line]).calibrate(np.zeros(9), np.arange(1.0, 10.0))
    for level, width in ((0.9, 9.0), (0.5, 5.0), (0.1, 1.0), (0.05, 1.0), (0.89, 9.0)):
        low, high = nets.interval([2.0], level)
        assert (low.item(), high.item()) == (2 - width, 2 + width)
    with pytest.raises(
        InvalidArgumentError, match=r"level must be at most 0\.9 for a calibration with 9 samples"
    ):
        nets.interval([2.0], 0.95)


def test_unknown_targets_and_several_targets_are_calibrated_each() -> None:
    y = np.column_stack([Y, 10 * Y])
    nets = ensemble(y)
    gaps = y.copy()
    gaps[::2, 0] = np.nan
    low, high = nets.calibrate(X, gaps).interval(X, 0.8)
    assert low.shape == high.shape == y.shape
    alone = ensemble(y).calibrate(X[1::2], y[1::2])
    assert np.allclose(alone.interval(X, 0.8)[0][:, 0], low[:, 0], rtol=0.02)
    with pytest.raises(
        InvalidArgumentError, match="y must be known for at least one sample, for each target"
    ):
        nets.calibrate(X, np.full_like(y, np.nan))
    with pytest.raises(InvalidArgumentError, match="y must be of as many samples as x, 150, got 3"):
        nets.calibrate(X, y[:3])


def test_no_interval_before_a_calibration() -> None:
    nets = ensemble()
    with pytest.raises(InvalidArgumentError, match="net must be one that knows the noise"):
        nets.interval(X)
    for level in (0.0, 1.0, -1, "x"):
        with pytest.raises(InvalidArgumentError, match="level must be"):
            nets.calibrate(X, Y).interval(X, level)  # type: ignore[arg-type]


# ---- one network ----


@pytest.mark.parametrize("sizes", [(), (4,), (5, 4), (3, 3, 3)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_merged_gives_the_mean(sizes: tuple[int, ...], activation: str) -> None:
    y = np.column_stack([Y, 1e-3 * Y])
    for options in ({}, {"validation": 0.3}, {"standardize": False}, {"dtype": "float32"}):
        specs = [{"seed": k, "hidden_sizes": tuple(n + k for n in sizes)} for k in range(3)]
        nets = ensemble(y, specs=specs, activation=activation, **options)
        net, wanted = nets.merged(), nets.predict(X)
        eps = np.finfo(net.dtype).eps
        assert (np.abs(net.predict(X) - wanted).max(axis=0) < 20 * eps * np.abs(wanted).max(axis=0)).all()
        assert net.dtype == nets[0].dtype
        assert net.hidden_sizes == [3 * n + 3 for n in sizes]


def test_merged_of_units_and_none_and_of_quantiles() -> None:
    one = fit(X, Y, **OPTIONS)
    other = NN(2, [3, 2], 1, rng=1, activation="tanh")
    other.schema = one.schema
    for nets in (Ensemble([one, other]), Ensemble([other, one])):
        assert np.allclose(nets.merged().predict(X), nets.predict(X), rtol=1e-13)
    nets = ensemble(loss="quantile", validation=0.2)
    assert np.allclose(nets.merged()(X), nets(X), rtol=1e-13)
    assert np.array_equal(nets.merged().is_inside(4 * X), nets.is_inside(4 * X))


def test_what_cannot_be_merged_is_named() -> None:
    start = NN(2, [3], 1, rng=1)
    bounded = NN(2, [3], 1, rng=1, output_activation="sigmoid")
    for networks, message in (
        (
            ensemble(LABELS).members,
            "networks must be regressions whose outputs are values.* got outputs of a class",
        ),
        (ensemble(np.ones(150), loss="poisson").members, "got outputs of logarithms"),
        (ensemble(loss="gaussian_nll").members, "got outputs of logarithms"),
        ([start, NN(2, [3, 3], 1)], r"networks\[1\].activations must be those of networks\[0\]"),
        (
            [start, NN(2, [3], 1, activation="tanh")],
            r"networks\[1\].activations must be those of networks\[0\]",
        ),
        ([bounded, bounded], "networks must be without an output activation"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            Ensemble(networks).merged()


def test_in_compiled_code() -> None:
    nets = ensemble()

    @numba.njit  # type: ignore[untyped-decorator]
    def total(net: Any, x: Any) -> Any:
        value = 0.0
        for k in range(len(x)):
            value += net(x[k, 0], x[k, 1])
        return value

    @numba.njit  # type: ignore[untyped-decorator]
    def of_global(x0: float, x1: float) -> Any:
        return nets(x0, x1)  # type: ignore[call-arg]

    assert np.isclose(total(nets, X), nets.predict(X).sum(), rtol=1e-12)
    assert np.isclose(of_global(0.5, 0.5), nets.predict([[0.5, 0.5]])[0], rtol=1e-12)
    classes = ensemble(LABELS)
    with pytest.raises(numba.TypingError, match="regressions whose outputs are values"):
        total(classes, X)


def test_exports(tmp_path: Path) -> None:
    nets = ensemble(validation=0.2)
    export(nets, tmp_path / "model.py")
    space: dict[str, Any] = {}
    exec((tmp_path / "model.py").read_text(), space)  # it is ours
    assert np.allclose(space["predict"](X[0].tolist()), nets.predict(X[:1]), rtol=1e-12)
    export(nets, tmp_path / "model.c")
    onnx = pytest.importorskip("onnx.reference")
    export(nets, tmp_path / "model.onnx")
    session = onnx.ReferenceEvaluator(str(tmp_path / "model.onnx"))
    (given,) = session.run(None, {session.input_names[0]: X})
    assert np.allclose(np.asarray(given).ravel(), nets.predict(X), rtol=1e-12)
    with pytest.raises(InvalidArgumentError, match="regressions whose outputs are values"):
        export(ensemble(LABELS), tmp_path / "classes.c")
    assert not (tmp_path / "classes.c").exists()


# ---- files ----


def test_one_file(tmp_path: Path) -> None:
    file = tmp_path / "ensemble.npz"
    bayesian: dict[str, Any] = {
        "optimizer": "bayesian_regularization",
        "n_iterations": 500,
        "hidden_sizes": (3,),
    }
    several = ensemble(specs=[*SEEDS, {"dtype": "float32", "hidden_sizes": (2,)}]).calibrate(X, Y)
    for nets in (several, ensemble(LABELS), Ensemble([fit(X, NOISY, **bayesian)])):
        save(nets, file)
        again = load(file)
        assert isinstance(again, Ensemble)
        assert np.array_equal(again.predict(X), nets.predict(X))
        assert [net.dtype for net in again] == [net.dtype for net in nets]
        assert again.is_calibrated == nets.is_calibrated
        if nets.schema.labels is None:
            assert np.array_equal(again.predict(X, return_std=True)[1], nets.predict(X, return_std=True)[1])
        if nets.is_calibrated:
            assert np.array_equal(again.interval(X), nets.interval(X))
    with pytest.raises(InvalidArgumentError, match="names must be None for an ensemble"):
        save(several, file, {"inputs": ["a", "b"]})
    save(several[0], file)
    assert isinstance(load(file), NN)


def test_equal_arrays_are_stored_once(tmp_path: Path) -> None:
    save(ensemble(specs=SEEDS * 4, n_iterations=1), tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert len(archive.namelist()) == 1 + 3 + 7  # header, parameters, units and domain


def test_damaged_files_are_told(tmp_path: Path) -> None:
    file, nets = tmp_path / "ensemble.npz", ensemble().calibrate(X, Y)
    save(nets, file)
    content = file.read_bytes()
    for at in range(0, len(content), 53):
        broken = bytearray(content)
        broken[at] ^= 0x55
        file.write_bytes(broken)
        try:
            again = load(file)
        except FileFormatError:
            continue
        assert np.array_equal(again.interval(X), nets.interval(X))


def test_copies_and_pickles() -> None:
    nets = ensemble().calibrate(X, Y)
    for other in (copy.copy(nets), copy.deepcopy(nets), pickle.loads(pickle.dumps(nets))):
        assert np.array_equal(other.interval(X), nets.interval(X))
    assert repr(nets) == f"Ensemble(3 networks, {nets[0]!r})"


# ---- pictures, estimators ----


@pytest.mark.parametrize("y", [Y, np.sin(Y)])
def test_bands(y: Any) -> None:
    nets = Ensemble(fit_many(SEEDS, X[:, :1], y, **OPTIONS))
    for calibrated, label in ((False, "spread of members"), (True, "90 % of new data")):
        if calibrated:
            nets.calibrate(X[:, :1], y)
        figure: Any = plot_fit(nets, X[:, :1], y)
        axes = figure.axes[0]
        assert label in axes.get_legend_handles_labels()[1]
        (band,) = axes.collections
        points = band.get_paths()[0].vertices
        along = np.array([[points[:, 0].min()], [0.0]])
        if calibrated:
            low, high = nets.interval(along)
        else:
            mean, std = nets.predict(along, return_std=True)
            low, high = mean - 1.645 * std, mean + 1.645 * std
        at_start = points[points[:, 0] == along[0, 0]][:, 1]
        assert np.isclose(at_start.min(), low[0])
        assert np.isclose(at_start.max(), high[0])
    plot_fit(ensemble(LABELS), X, LABELS)


def test_regressor_of_several_members() -> None:
    alone = NNRegressor(random_state=1, n_iterations=50).fit(X, Y)
    several = NNRegressor(random_state=1, n_iterations=50, n_members=3, n_jobs=-1).fit(X, Y)
    assert isinstance(several.net_, Ensemble)
    assert np.array_equal(several.net_[0].parameters, alone.net_.parameters)
    assert len({net.parameters.tobytes() for net in several.net_}) == 3
    mean, std = several.predict(X, return_std=True)
    assert mean.shape == std.shape == (150,)
    assert np.allclose(mean, np.mean([net.predict(X) for net in several.net_], axis=0))
    h = X
    for k, (coef, intercept) in enumerate(zip(several.coefs_, several.intercepts_, strict=True)):
        h = h @ coef + intercept
        h = h / (1 + np.exp(-h)) if k < len(several.coefs_) - 1 else h
    assert np.allclose(h[:, 0], mean)
    assert (several.n_layers_, several.n_outputs_, several.n_iter_) == (4, 1, 50)
    assert len(several.loss_curve_) == 50
    warm = several.set_params(warm_start=True).fit(X, Y).net_
    assert len(warm) == 3
    for options, message in (
        ({"n_members": 0}, "n_members must be an integer of at least 1"),
        ({"n_jobs": 0}, "n_jobs must be an integer of at least 1"),
        ({"callbacks": [print]}, "callbacks must be left out with n_members above 1"),
        ({"warm_start": True, "n_members": 2}, "n_members must be that of the last fit, 3"),
    ):
        with pytest.raises(ValueError, match=message):
            several.set_params(**options).fit(X, Y)
        several.set_params(n_members=3, n_jobs=None, callbacks=())
    with pytest.raises(ValueError, match="partial_fit does not support several members"):
        several.partial_fit(X, Y)
    with pytest.raises(FloatingPointError):
        NNRegressor(n_members=2, learning_rate=1e200, optimizer="sgd").fit(X, Y)


@pytest.mark.parametrize("y", [LABELS, Y > 100, np.column_stack([Y > 100, X[:, 0] > 0]).astype(int)])
def test_classifier_of_several_members(y: Any) -> None:
    several = NNClassifier(random_state=1, n_iterations=50, n_members=3).fit(X, y)
    shares = np.mean([net.predict_proba(X) for net in several.net_], axis=0)
    assert np.allclose(several.predict_proba(X), shares)
    assert np.allclose(several.predict_log_proba(X), np.log(shares))
    assert several.score(X, y) > 0.7
    decision = several.decision_function(X)
    if y.ndim == 2:
        assert np.array_equal(several.predict(X), shares > 0.5)
    else:
        chosen = decision.argmax(axis=1) if decision.ndim == 2 else (decision > 0).astype(int)
        assert np.array_equal(several.predict(X), several.classes_[chosen])
        assert np.array_equal(chosen, shares.argmax(axis=1))
    assert not hasattr(several, "coefs_")
