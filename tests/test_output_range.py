"""Outputs that stay in a range, by a last activation in units that map its values to the range."""

import contextlib
import ctypes
import math
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from test_c import need
from test_compiled import call_2

from crabnet_jit import (
    NN,
    InvalidArgumentError,
    Quantile,
    Softplus,
    Standardization,
    export,
    fit,
    from_onnx,
    from_safetensors,
    load,
    save,
    score,
    to_sklearn,
)
from crabnet_jit.cli.main import main
from crabnet_jit.components.losses import MSE
from crabnet_jit.estimators import NNClassifier, NNRegressor
from crabnet_jit.fitting.output_range import output_range_of

RNG = np.random.default_rng(0)
X = RNG.uniform(-2, 2, (200, 2))
Y = 2 / (1 + np.exp(-3 * X[:, 0])) + 1  # from 1 to 3
QUICK: dict[str, Any] = {"hidden_sizes": (6,), "n_iterations": 200}
KINDS: dict[str, Any] = {
    "sigmoid": {"output_range": (1, 3)},
    "tanh": {"output_range": (1, 3), "output_activation": "tanh"},
    "softplus": {"output_range": (1, None)},
}
#: Far from the data, so that the last activation is at its ends.
WILD = np.array(
    [[a, b] for a in (1e300, -1e300, 1e30, -50, 0, 50) for b in (-1e300, 1e300, -1e3, 0, 1e3)], dtype=float
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardize", [True, False])
def test_a_fit_learns_within_the_range(kind: str, standardize: bool) -> None:
    net = fit(X, Y, hidden_sizes=(16,), n_iterations=4000, standardize=standardize, **KINDS[kind])
    assert net.activations[-1].name == kind
    assert score(net, X, Y).r2[0] > 0.999
    units = net.standardization
    assert units is not None
    if kind == "softplus":
        assert (units.y_mean[0], units.y_std[0]) == (1, pytest.approx(np.sqrt(np.mean((Y - 1) ** 2))))
    else:
        assert (units.y_mean[0], units.y_std[0]) == {"sigmoid": (1, 2), "tanh": (2, 1)}[kind]
    assert np.allclose(units.x_std, X.std(axis=0) if standardize else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_never_leave_the_range(kind: str, tmp_path: Path) -> None:
    """Neither in Python, nor in compiled code, in C, ONNX and what comes back from files."""
    need("gcc")
    net = fit(X, Y, **QUICK, **KINDS[kind])
    for scale in (1, 1e3, 1e8):
        net.parameters *= scale
        low, high = 1.0, math.inf if kind == "softplus" else 3.0
        path = tmp_path / "net.c"
        export(net, path)
        library_path = tmp_path / f"net{scale:g}.so"
        command = ["gcc", "-std=c99", "-O2", "-shared", "-fPIC", str(path), "-o", str(library_path), "-lm"]
        subprocess.run(command, check=True)
        library = ctypes.CDLL(str(library_path))
        pointer = np.ctypeslib.ndpointer(np.float64, flags="C")
        library.net_predict.argtypes = [pointer, pointer]
        in_c = np.empty(len(WILD))
        for k, row in enumerate(WILD):
            library.net_predict(np.ascontiguousarray(row), in_c[k : k + 1])
        export(net, tmp_path / "net.onnx")
        export(net, tmp_path / "net.safetensors")
        export(net, tmp_path / "net.py")
        save(net, tmp_path / "net.npz")
        scope: dict[str, Any] = {}
        exec((tmp_path / "net.py").read_text(), scope)
        session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
        values = {
            "onnxruntime": session.run(None, {session.get_inputs()[0].name: WILD})[0].ravel(),
            "predict": net.predict(WILD),
            "one by one": np.array([net.predict(row[None])[0] for row in WILD]),
            "compiled": np.array([call_2(net, *row) for row in WILD]),
            "C": in_c,
            "Python": np.array([scope["predict"](row.tolist()) for row in WILD]).ravel(),
            "ONNX": from_onnx(tmp_path / "net.onnx").predict(WILD).ravel(),
            "safetensors": from_safetensors(tmp_path / "net.safetensors").predict(WILD).ravel(),
            "npz": load(tmp_path / "net.npz").predict(WILD),
        }
        for name, value in values.items():
            assert not (value < low).any(), name
            assert not (value > high).any(), name
            if scale == 1:  # sums of larger numbers are infinite, and their difference NaN
                assert np.isfinite(value).all(), name
        assert np.array_equal(values["npz"], values["predict"], equal_nan=True)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_rounding_leaves_the_range(activation: str, dtype: str) -> None:
    """Also where low + (high - low) is more than high, and where both are far from 0."""
    rng = np.random.default_rng(1)
    ends = np.sort(rng.normal(size=(500, 2)) * 10.0 ** rng.integers(-8, 9, size=(500, 1)), axis=1)
    ends[::3] += 10.0 ** rng.integers(-3, 3, size=(167, 1))
    ends = ends[(ends[:, 1] - ends[:, 0]) > 1e-6 * np.abs(ends).max(axis=1)]
    n, kind = len(ends), np.dtype(dtype)
    outputs = output_range_of(activation, ends.T, MSE(), n)
    y_mean, y_std = outputs.units(ends.mean(axis=1)[None], np.ones(1), kind)
    least = 0.0 if activation == "sigmoid" else -1.0
    lost = (ends[:, 1] - ends[:, 0]) - y_std * (1 - least)
    assert (np.abs(lost) <= 8 * np.finfo(dtype).eps * np.abs(ends).max(axis=1)).all()
    for part in (np.float64, kind.type):
        mean, std = y_mean.astype(part), y_std.astype(part)
        assert (part(1) * std + mean <= ends[:, 1].astype(part)).all()
        assert (part(least) * std + mean >= ends[:, 0].astype(part)).all()
    naive = (ends[:, 1] - ends[:, 0]) + ends[:, 0]
    assert (naive > ends[:, 1]).any()


def test_ranges_of_activations() -> None:
    assert (fit(X, Y, output_activation="softplus", **QUICK).predict(WILD) >= 0).all()
    assert fit(X, Y, output_activation=Softplus(), **QUICK).activations[-1].name == "softplus"
    net = fit(X, (Y - 1) / 2, output_activation="sigmoid", **QUICK)
    assert str(net.standardization) == str(fit(X, (Y - 1) / 2, output_range=(0, 1), **QUICK).standardization)
    net = fit(X, Y - 2, output_activation="tanh", **QUICK)
    assert net.standardization is not None
    assert (net.standardization.y_mean[0], net.standardization.y_std[0]) == (0, 1)
    unbounded: list[dict[str, Any]] = [{}, {"output_activation": "identity"}]
    for options in unbounded:
        assert fit(X, Y, **QUICK, **options).parameters.tobytes() == fit(X, Y, **QUICK).parameters.tobytes()


def test_a_range_for_each_output() -> None:
    y = np.stack([Y, -Y], axis=1)
    net = fit(X, y, output_range=([1, -3], [3, -1]), **QUICK)
    values = net.predict(WILD)
    assert (values >= [1, -3]).all()
    assert (values <= [3, -1]).all()
    y[:50, 1] = np.nan
    assert (fit(X, y, output_range=([0, -4], None), **QUICK).predict(WILD) >= [0, -4]).all()
    assert fit(X, np.full(len(X), 2.0), output_range=(2, None), **QUICK).predict(X).min() >= 2


def test_networks_to_start_from_keep_their_range() -> None:
    net = fit(X, Y, output_range=(1, 3), **QUICK)
    more = fit(X, Y, start=net, n_iterations=50)
    assert more.activations[-1].name == "sigmoid"
    assert str(more.standardization) == str(net.standardization)


@pytest.mark.parametrize("optimizer", ["levenberg_marquardt", "bayesian_regularization"])
@pytest.mark.parametrize("kind", KINDS)
def test_methods_of_second_order(optimizer: str, kind: str) -> None:
    y = Y + 0.01 * np.random.default_rng(2).normal(size=len(Y))
    options = {**KINDS[kind], "output_range": (0.5, KINDS[kind]["output_range"][1] and 3.5)}
    net = fit(X, y, hidden_sizes=(4,), optimizer=optimizer, n_iterations=300, l2=1e-9, **options)
    assert score(net, X, Y).rmse[0] < 0.02
    if net.posterior is not None:
        _, std = net.predict(X, return_std=True)
        assert 0.005 < np.median(std) < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_range": (1, 2.5)}, "y must be from 1 to 2.5, in the output_range, got 2."),
        ({"output_range": (1.5, None)}, "y must be at least 1.5, in the output_range, got 1."),
        ({"output_range": (3, 1)}, "output_range must be a lower bound below the upper one, got 3.0 and 1.0"),
        ({"output_range": (1, 1)}, "output_range must be a lower bound below the upper one, got 1.0 and 1.0"),
        ({"output_range": (math.nan, 3)}, "output_range[0] must be finite, got nan"),
        ({"output_range": (0, math.inf)}, "output_range[1] must be finite, got inf"),
        ({"output_range": ("a", 3)}, "output_range[0] must be an array of real numbers"),
        ({"output_range": ([0, 0], 3)}, "output_range[0] must be a number or of shape (1,), got shape (2,)"),
        ({"output_range": (0, 1, 2)}, "output_range must be (low, high) or (low, None), each a number"),
        ({"output_range": 3}, "output_range must be (low, high) or (low, None)"),
        ({"output_range": "01"}, "output_range must be (low, high) or (low, None)"),
        ({"output_range": (None, None)}, "output_range must be (low, high) or (low, None)"),
        ({"output_range": (None, 3)}, "output_range must be (low, high) or (low, None), each a number or one "
         "for each of 1 targets, got (None, 3); for an upper bound only, fit -y with output_range="),
        ({"output_range": (-1e308, 1.7e308)}, "high - low of output_range must be finite"),
        ({"output_range": (0, 4), "output_activation": "softplus"},
         "output_activation must be 'auto' or 'sigmoid' or 'tanh' for an output_range with two bounds"),
        ({"output_range": (0, None), "output_activation": "tanh"},
         "output_activation must be 'auto' or 'softplus' for an output_range without an upper bound"),
        ({"output_range": (0, 4), "output_activation": "identity"}, "output_activation must be 'auto', 'id"),
        ({"output_activation": "relu"}, "output_activation must be 'auto', 'identity', or for a range one"),
        ({"output_activation": "soft"}, "output_activation must be one of"),
        ({"output_activation": None}, "output_activation must be one of"),
        ({"output_range": (0, 4), "validation": (X, 5 * Y)}, "validation y must be from 0 to 4, in the"),
        ({"y_range": (0, 4)}, "fit has no argument 'y_range'; it is called output_range here"),
    ],
)  # fmt: skip
def test_what_is_no_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{re.escape(message)}"):
        fit(X, Y, **QUICK, **options)


def test_places_of_targets_beyond_the_range() -> None:
    y = np.stack([Y, Y], axis=1)
    y[7, 1], y[3] = 9, np.nan
    with pytest.raises(InvalidArgumentError, match=r"got 9.0 at index \(7, 1\)$"):
        fit(X, y, output_range=(0, 4), **QUICK)
    assert fit(X, Y, output_range=(Y.min(), Y.max()), **QUICK).predict(X).max() <= Y.max()


def test_quantiles_stay_in_the_range() -> None:
    y = np.stack([Y, 10 * Y], axis=1)
    net = fit(X, y, loss=Quantile([0.1, 0.5, 0.9]), output_range=([1, 10], [3, 30]), **QUICK)
    values = net.get_output(WILD)
    units = net.standardization
    assert units is not None
    values = values * units.y_std + units.y_mean
    assert (values >= np.tile([1, 10], 3)).all()
    assert (values <= np.tile([3, 30], 3)).all()
    assert len(np.unique(values)) > 4


@pytest.mark.parametrize("loss", ["poisson", "gaussian_nll"])
def test_logarithms_have_no_range(loss: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"for the loss {loss}, whose outputs are logarithms"):
        fit(X, Y, loss=loss, output_range=(0, None), **QUICK)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_classes_have_no_range(loss: str) -> None:
    labels = np.where(X[:, 0] > 0, "a", "b")
    wrong: list[dict[str, Any]] = [{"output_range": (0, 1)}, {"output_activation": "sigmoid"}]
    for options in wrong:
        message = f"{next(iter(options))} must be left out for the loss {loss}, whose outputs are logits"
        with pytest.raises(InvalidArgumentError, match=message):
            fit(X, labels, loss=loss, **QUICK, **options)
    assert fit(X, labels, loss=loss, output_activation="identity", **QUICK).classes is not None
    assert "output_range" not in NNClassifier().get_params()


def test_estimators() -> None:
    options: dict[str, Any] = {"hidden_sizes": (6,), "random_state": 0, "n_iterations": 100}
    for extra, name in (
        ({"output_range": (1, 3)}, "logistic"),
        ({"output_range": (1, None)}, "softplus"),
        ({"output_activation": "tanh", "output_range": (1, 3)}, "tanh"),
    ):
        model = NNRegressor(**options, **extra).fit(X, Y)
        first = NNRegressor(**options, **extra).partial_fit(X, Y)
        assert model.out_activation_ == first.out_activation_ == name
        assert str(model.net_.standardization) == str(first.net_.standardization)
        assert (model.predict(np.clip(WILD, -1e30, 1e30)) >= 1).all()
        with pytest.raises(ValueError, match="without y_mean and y_std after the output activation"):
            _ = model.coefs_
    assert NNRegressor(**options).fit(X, Y).out_activation_ == "identity"
    for call in ("fit", "partial_fit"):
        with pytest.raises(InvalidArgumentError, match="y must be from 1 to 2"):
            getattr(NNRegressor(**options, output_range=(1, 2)), call)(X, Y)
    with pytest.raises(InvalidArgumentError, match="must be identity"):
        to_sklearn(fit(X, Y, output_range=(1, 3), **QUICK))


def test_the_command_line(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{a},{b},{y}" for (a, b), y in zip(X.tolist(), Y.tolist(), strict=True)]
    Path("data.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    common = ["fit", "data.csv", "--inputs", "a,b", "--outputs", "y", "--hidden", "6", "--iterations", "200"]
    for given, ends in (("1,3", (1, 3)), ("0,", (0, None)), ("-1,4", (-1, 4))):
        main([*common, "--save", "net.npz", f"--output-range={given}"])
        expected = fit(X, Y, output_range=ends, **QUICK)
        assert load("net.npz").parameters.tobytes() == expected.parameters.tobytes()
    capsys.readouterr()
    for given, message in (
        ("1", "argument --output-range: must be two numbers such as 0,1 or one such as 0, got '1'"),
        ("a,b", "argument --output-range"),
        (",3", "for an upper bound only, fit -y"),
        ("1,2", "y must be from 1 to 2"),
    ):
        with contextlib.suppress(SystemExit):
            assert main([*common, "--output-range", given]) == 2
        assert message in capsys.readouterr().err


def test_networks_made_by_hand_have_a_range() -> None:
    net = NN(1, [], 1, init=[1e6, 0.0], output_activation="sigmoid")
    net.standardization = Standardization(np.zeros(1), np.ones(1), np.array([5.0]), np.array([2.0]))
    assert net.predict([[-1.0], [0.0], [1.0]]).ravel().tolist() == [5, 6, 7]
