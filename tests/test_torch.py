"""Networks as modules of PyTorch, and back: the same numbers, and no module that means something else."""

import copy
import io
import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jet_machinery import jets_and_gradients

from benchmarks import equations, least_squares
from benchmarks.gaussian import grid_error
from crabnet_jit import (
    ELU,
    GELU,
    NN,
    ArraySource,
    CustomActivation,
    InvalidArgumentError,
    LeakyReLU,
    Objective,
    Sine,
    Standardization,
    Trainer,
    fit,
    from_safetensors,
    from_torch,
    to_torch,
)
from crabnet_jit.exchange.safetensors_files import safetensors_file

torch = pytest.importorskip("torch")
mpmath = pytest.importorskip("mpmath")
prune = pytest.importorskip("torch.nn.utils.prune")
safetensors_torch = pytest.importorskip("safetensors.torch")

from torch import nn  # noqa: E402  # where PyTorch is


def wide(x: Any) -> Any:
    return np.asarray(x).astype(np.longdouble)


@np.vectorize
def normal_distribution(x: Any) -> Any:
    """In more digits than a long double has."""
    high = float(x)
    with mpmath.workdps(30):
        value = mpmath.erfc(-(mpmath.mpf(high) + mpmath.mpf(float(x - high))) / mpmath.sqrt(2)) / 2
        return np.longdouble(mpmath.nstr(value, 25))


def sigmoid(x: Any) -> Any:
    return np.where(x > 0, 1 / (1 + np.exp(-abs(x))), np.exp(-abs(x)) / (1 + np.exp(-abs(x))))


ROOT_2_OVER_PI = np.sqrt(2 / np.arccos(np.longdouble(-1)))
#: Activations, and what they compute.
FORMULAS: list[tuple[Any, Callable[[Any], Any]]] = [
    ("identity", lambda x: x),
    ("relu", lambda x: np.maximum(x, 0)),
    (LeakyReLU(0.1), lambda x: np.where(x > 0, x, wide(0.1) * x)),
    (ELU(0.7), lambda x: np.where(x > 0, x, wide(0.7) * np.expm1(np.minimum(x, 0)))),
    ("gelu", lambda x: x * normal_distribution(x)),
    (GELU("tanh"), lambda x: x * sigmoid(2 * ROOT_2_OVER_PI * (x + wide(0.044715) * x**3))),
    ("silu", lambda x: x * sigmoid(x)),
    ("tanh", np.tanh),
    ("sigmoid", sigmoid),
    ("softplus", lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))),
    (Sine(3.3), lambda x: np.sin(wide(3.3) * x)),
]
ACTIVATIONS = [activation for activation, _ in FORMULAS]
DTYPES = ["float64", "float32"]


def network(activation: Any = "tanh", depth: int = 2, n_out: int = 2, **options: Any) -> NN:
    """With units in which inputs lie far from 0."""
    rng = np.random.default_rng(depth)
    net = NN(3, [8] * depth, n_out, rng=1, activation=activation, init="glorot_uniform", **options)
    for layer in net.layers:
        layer.b = 0.3 * rng.normal(size=layer.b.shape)
    x_mean, x_std = np.array([1e4, -20.0, 0.3]), np.array([2.0, 0.1, 5.0])
    net.standardization = Standardization(x_mean, x_std, rng.normal(size=n_out), 1 + rng.random(n_out))
    return net


def inputs(net: NN, n_samples: int = 200) -> Any:
    assert net.standardization is not None
    z = np.random.default_rng(5).normal(size=(n_samples, net.in_features))
    return net.standardization.x_mean + z * net.standardization.x_std


def exact(net: NN, formula: Callable[[Any], Any], x: Any) -> Any:
    """Predictions in long double."""
    assert net.standardization is not None
    x_mean, x_std, y_mean, y_std = map(wide, net.standardization)
    h = (wide(x) - x_mean) / x_std
    for k, layer in enumerate(net.layers):
        h = h @ wide(layer.W).T + wide(layer.b).T
        h = h if k == len(net.layers) - 1 else formula(h)
    return h * y_std + y_mean


def output(module: Any, x: Any) -> Any:
    with torch.no_grad():
        return module(torch.tensor(x)).numpy()


def classifier(y: Any, **options: Any) -> tuple[NN, Any]:
    """Fitted to labels, and its inputs."""
    x = np.random.default_rng(0).normal(1000.0, 3.0, size=(60, 2))
    return fit(x, y, hidden_sizes=(5,), n_iterations=200, seed=1, **options), x


def assert_same(net: NN, other: NN) -> None:
    assert other.parameters.tobytes() == net.parameters.tobytes()
    assert other.dtype == net.dtype
    assert other.activations == net.activations
    assert (other.standardization is None) == (net.standardization is None)
    for part, given in zip(other.standardization or (), net.standardization or (), strict=True):
        assert part.tobytes() == given.tobytes()


# ---- to PyTorch ----


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is a double here")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("activation", "formula"), FORMULAS, ids=map(str, ACTIVATIONS))
def test_a_module_is_as_exact_as_the_network(
    activation: Any, formula: Callable[[Any], Any], dtype: str
) -> None:
    for depth in range(3):
        net = network(activation, depth, dtype=dtype)
        x = inputs(net)
        truth = exact(net, formula, x)
        own = abs(net.predict(x) - truth).max()
        assert 0 < own < 1e-5
        assert abs(output(to_torch(net), x) - truth).max() <= 4 * own


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_module_takes_inputs_of_both_types(dtype: str) -> None:
    net = network(dtype=dtype)
    module = to_torch(net)
    x = inputs(net).astype(np.float32)
    given = output(module, x)
    assert given.dtype == np.float64
    assert given.tobytes() == output(module, x.astype(np.float64)).tobytes()
    assert abs(given - net.predict(x)).max() < (1e-13 if dtype == "float64" else 1e-5)


def test_softplus_has_all_digits() -> None:
    net = NN(1, [1], 1, activation="softplus", init=[1.0, 0.0, 1.0, 0.0])
    x = np.linspace(-50, 60, 2001)[:, None]
    truth = np.maximum(wide(x), 0) + np.log1p(np.exp(-abs(wide(x))))
    assert (abs(output(to_torch(net), x) - truth) / truth).max() < 4 * np.finfo(np.float64).eps


def test_an_output_activation_and_no_standardization() -> None:
    net = NN(2, [4], 3, rng=1, activation="identity", output_activation="sigmoid", dtype="float32")
    module = to_torch(net)
    assert [type(child) for child in module] == [nn.Linear, nn.Identity, nn.Linear, nn.Sigmoid]
    x = np.ones((5, 2), np.float32)
    assert output(module, x).dtype == np.float32
    assert abs(output(module, x) - net.predict(x)).max() < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_gives_logits(n_classes: int, dtype: str) -> None:
    net, x = classifier([f"class {k % n_classes}" for k in range(60)], dtype=dtype)
    module = to_torch(net)
    assert [name for name, _ in module.named_children()] == ["standardize", "0", "1", "2"]
    logits = module(torch.tensor(x))
    assert logits.dtype == getattr(torch, dtype)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    assert abs(logits.detach().numpy() - net.get_output(x)).max() < tolerance
    probabilities = torch.softmax(logits, 1) if net.out_features > 1 else torch.sigmoid(logits)
    last = net.predict_proba(x)[:, -probabilities.shape[1] :]
    assert abs(probabilities.detach().numpy() - last).max() < tolerance
    codes = torch.arange(60) % n_classes
    if net.out_features > 1:
        nn.CrossEntropyLoss()(logits, codes).backward()
    else:
        nn.BCEWithLogitsLoss()(logits[:, 0], codes.to(logits.dtype)).backward()


def test_logits_of_classes_that_may_hold_at_once() -> None:
    y = np.random.default_rng(2).integers(0, 2, size=(60, 3))
    net, x = classifier(y, loss="binary_cross_entropy")
    assert net.schema.task == "multilabel"
    probabilities = torch.sigmoid(to_torch(net)(torch.tensor(x))).detach().numpy()
    assert abs(probabilities - net.predict_proba(x)).max() < 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_file_of_safetensors_is_a_state_dict(dtype: str, tmp_path: Path) -> None:
    net = network(dtype=dtype, output_activation="tanh")
    file = tmp_path / "net.safetensors"
    file.write_bytes(safetensors_file(net))
    state = safetensors_torch.load_file(file)
    layers = nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2), nn.Tanh()
    plain = nn.Sequential(*layers).to(getattr(torch, dtype))
    plain.load_state_dict(state, strict=True)
    own = to_torch(net)
    assert set(own.state_dict()) - set(state) == {
        f"{name}.{part}" for name in ("standardize", "unstandardize") for part in ("mean", "std")
    }
    assert own.load_state_dict(state, strict=False).unexpected_keys == []
    assert net.standardization is not None
    assert from_torch(plain).parameters.tobytes() == net.parameters.tobytes()
    safetensors_torch.save_file(plain.state_dict(), file)
    again = from_safetensors(file, activation="tanh", output_activation="tanh")
    net.standardization = None
    assert_same(again, net)


def test_a_module_has_its_own_parameters() -> None:
    net = network()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    module = to_torch(net)
    assert torch.equal(torch.rand(1), expected)  # no random numbers were drawn
    assert all(parameter.requires_grad for parameter in module.parameters())
    x, before = inputs(net), net.parameters.copy()
    predicted = output(module, x)
    with torch.no_grad():
        module[1].weight += 1.0
        module.standardize.mean += 1.0
    assert np.array_equal(net.parameters, before)
    assert network().predict(x).tobytes() == net.predict(x).tobytes()
    module = to_torch(net)
    net.parameters = np.zeros_like(before)
    assert np.array_equal(output(module, x), predicted)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_module_can_be_copied_saved_and_compiled(dtype: str) -> None:
    net = network(["sine", "softplus"], dtype=dtype)
    module, x = to_torch(net), inputs(net)
    expected = output(module, x)
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    other = to_torch(network(["sine", "softplus"], dtype=dtype))
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor.fill_(2.0)
    other.load_state_dict(module.state_dict(), strict=True)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    loaded = torch.load(stream, weights_only=False)
    for copied in (copy.deepcopy(module), loaded, other, compiled, torch.jit.script(module)):
        assert np.array_equal(output(copied, x), expected)
    for copied in (copy.deepcopy(module), loaded, other):
        assert_same(from_torch(copied), net)


def test_a_module_can_change_its_type() -> None:
    net = network(dtype="float32")
    x = inputs(net)
    module = to_torch(net).double()
    predicted = output(module, x)
    assert abs(predicted - net.predict(x)).max() < 1e-5
    assert abs(predicted - from_torch(module).predict(x)).max() < 1e-13
    assert output(module.float(), x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_gradients_of_a_module_are_those_of_the_network(activation: Any) -> None:
    net = network(activation)
    x = inputs(net, 20)
    module = to_torch(net)
    jacobian = torch.func.vmap(torch.func.jacrev(module))(torch.tensor(x)).detach().numpy()
    expected = net.jacobian(x)
    assert jacobian.shape == expected.shape
    assert abs(jacobian - expected).max() < 1e-12 * abs(expected).max()


# ---- and back ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_there_and_back_all_is_the_same(activation: Any, dtype: str) -> None:
    for depth in range(3):
        net = network(activation, depth, dtype=dtype, output_activation=activation)
        assert_same(from_torch(to_torch(net)), net)
        net.standardization = None
        assert_same(from_torch(to_torch(net)), net)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_comes_back_without_its_classes(n_classes: int) -> None:
    net, x = classifier([f"class {k % n_classes}" for k in range(60)])
    back = from_torch(to_torch(net))
    assert_same(back, net)
    assert back.classes is None
    back.schema = net.schema
    assert np.array_equal(back.predict(x), net.predict(x))


def test_training_goes_on_in_pytorch() -> None:
    x = np.random.default_rng(0).uniform(0, 10, (200, 2))
    y = 1000 + x[:, :1] * x[:, 1:]
    net = fit(x, y, hidden_sizes=(8,), n_iterations=300, seed=1, dtype="float32")
    module, inputs_, targets = to_torch(net), torch.tensor(x), torch.tensor(y)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = nn.MSELoss()(module(inputs_), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    trained = from_torch(module)
    assert trained.standardization is not None
    assert not np.array_equal(trained.parameters, net.parameters)
    assert ((trained.predict(x) - y) ** 2).mean() < losses[-2]
    assert abs(trained.predict(x) - output(module, x)).max() < 1e-4


class Named(nn.Sequential):  # type: ignore[misc]
    """A subclass that computes what a Sequential does."""


def batch_norm(n_features: int, **options: Any) -> Any:
    """With statistics of a training."""
    norm = nn.BatchNorm1d(n_features, **options)
    norm.train()
    norm(torch.randn(50, n_features) * 3 + 1)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


SHARED = nn.ReLU()
#: Modules of two inputs, and the activations that they have as networks.
READABLE: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.Linear(2, 3), "identity"),
    (lambda: nn.Linear(2, 3, bias=False), "identity"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), "identity identity"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.Identity(), nn.Tanh(), nn.Linear(3, 1)), "tanh identity"),
    (
        lambda: nn.Sequential(
            nn.Sequential(nn.Linear(2, 3), SHARED), nn.Sequential(nn.Linear(3, 3), SHARED), nn.Linear(3, 1)
        ),
        "relu relu identity",
    ),
    (lambda: nn.Sequential(nn.Linear(2, 3), SHARED, nn.Linear(3, 3), SHARED), "relu relu"),
    (lambda: Named(nn.Linear(2, 3), nn.SiLU(inplace=True), nn.Linear(3, 1)), "silu identity"),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.Flatten(-1), nn.ELU(0.3, inplace=True)), "elu"),
    (lambda: nn.Sequential(nn.Dropout(), nn.Linear(2, 3), nn.Dropout(0.9), nn.GELU()).eval(), "gelu"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.GELU("tanh"), nn.Linear(3, 1)), "gelu identity"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.Softplus(), nn.Linear(3, 1)), "softplus identity"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(0.3), nn.Linear(3, 1)), "leaky_relu identity"),
    (lambda: nn.Sequential(nn.Linear(2, 3), batch_norm(3), nn.Tanh(), nn.Linear(3, 1)), "tanh identity"),
    (
        lambda: nn.Sequential(nn.Linear(2, 3, bias=False), batch_norm(3, affine=False, eps=0.1), nn.ReLU()),
        "relu",
    ),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.Dropout(), batch_norm(3), batch_norm(3)), "identity"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("make", "activations"), READABLE)
def test_a_network_computes_what_a_module_does(make: Callable[[], Any], activations: str, dtype: str) -> None:
    torch.manual_seed(1)
    module = make()
    if any(isinstance(part, (nn.Dropout, nn.BatchNorm1d)) for part in module.modules()):
        module.eval()
    module.to(getattr(torch, dtype))
    before = copy.deepcopy(module)
    x = np.random.default_rng(1).normal(size=(50, 2)).astype(dtype)
    net = from_torch(module)
    assert [activation.name for activation in net.activations] == activations.split()
    assert net.dtype == dtype
    assert net.standardization is None
    assert abs(net.predict(x) - output(module, x)).max() < (1e-14 if dtype == "float64" else 3e-6)
    net.parameters = np.zeros_like(net.parameters)
    assert repr(module) == repr(before)
    for name, tensor in before.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor)
    assert [part.training for part in module.modules()] == [part.training for part in before.modules()]


def test_options_of_activations_are_kept() -> None:
    layers = (
        nn.Linear(1, 1),
        nn.LeakyReLU(0.3),
        nn.Linear(1, 1),
        nn.ELU(0.7),
        nn.Linear(1, 1),
        nn.GELU("tanh"),
    )
    assert from_torch(nn.Sequential(*layers)).activations == (LeakyReLU(0.3), ELU(0.7), GELU("tanh"))


def test_one_half_of_a_standardization_is_enough() -> None:
    net = network()
    assert net.standardization is not None
    module, x = to_torch(net), inputs(net)
    z = net.standardization.inputs(x)
    for part, given in ((module[1:], z), (module[:-1], x)):
        back = from_torch(part)
        assert abs(back.predict(given) - output(part, given)).max() < 1e-13
        assert back.standardization is not None


class Own(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 1))

    def forward(self, x: Any) -> Any:
        return self.layers(x) ** 2


class Squared(nn.Sequential):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return super().forward(x) ** 2


class Scaled(nn.Linear):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return 2 * super().forward(x)


def changed(module: Any, change: Callable[[Any], Any]) -> Any:
    change(module)
    return module


def between(*modules: Any) -> Any:
    """In the middle of a network."""
    return nn.Sequential(nn.Linear(2, 3), *modules, nn.Linear(3, 1))


def with_number(value: float) -> Any:
    return changed(between(), lambda module: module[1].weight.data.fill_(value))


def with_parameter(**tensors: Any) -> Any:
    module = between(nn.Linear(3, 3))
    for name, tensor in tensors.items():
        setattr(module[1], name, nn.Parameter(tensor))
    return module


def own_forward(module: Any) -> None:
    module.forward = lambda x: 2 * x


EVAL = "; call module.eval\\(\\)$"
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, "module must be a torch.nn.Module, got None"),
    (lambda: nn.Linear, "module must be a torch.nn.Module"),
    (nn.Sequential, "module must be one that has a Linear, got a Sequential without one"),
    (lambda: to_torch(network())[:1], "module must be one that has a Linear"),
    (Own, r"module \(Own\) must be Linear, .*, got Own; pass the Sequential in it$"),
    (Squared, r"module \(Squared\) must be Linear.* got Squared$"),
    (lambda: Scaled(2, 1), r"module \(Scaled\) must be"),
    (lambda: between(nn.Hardtanh()), r"module\.1 \(Hardtanh\) must be Linear, .* got Hardtanh$"),
    (lambda: between(nn.Sequential(nn.Tanh(), nn.PReLU())), r"module\.1\.1 \(PReLU\) must be"),
    (lambda: nn.Sequential(nn.Linear(2, 2), nn.Softmax(1)), r"module\.1 \(Softmax\) .*; leave it out"),
    (lambda: nn.Sequential(nn.Linear(2, 2), nn.LogSoftmax(1)), r"module\.1 \(LogSoftmax\) .*; leave it out"),
    (lambda: nn.Sequential(nn.Tanh(), nn.Linear(2, 1)), r"module\.0 \(Tanh\) must be after a Linear"),
    (lambda: between(nn.ReLU(), nn.Tanh()), r"module\.2 \(Tanh\) must be after a Linear without another"),
    (lambda: between(nn.Dropout()), rf"module\.1 \(Dropout\) must be in evaluation mode.*{EVAL}"),
    (lambda: between(batch_norm(3)), rf"module\.1 \(BatchNorm1d\) must be in evaluation mode.*{EVAL}"),
    (
        lambda: between(nn.BatchNorm1d(3, track_running_stats=False)).eval(),
        r"module\.1 \(BatchNorm1d\) must be in evaluation mode, with statistics",
    ),
    (lambda: between(nn.Tanh(), batch_norm(3)).eval(), r"module\.2 \(BatchNorm1d\) must be directly after"),
    (
        lambda: nn.Sequential(batch_norm(2), nn.Linear(2, 1)).eval(),
        r"module\.0 \(BatchNorm1d\) must be directly",
    ),
    (lambda: between(batch_norm(4)).eval(), r"module\.1 \(BatchNorm1d\) must be of 3 features"),
    (
        lambda: between(changed(batch_norm(3), lambda norm: norm.running_var.fill_(-1.0))).eval(),
        "the parameters must be finite",
    ),
    (lambda: between(nn.Softplus(beta=2)), r"module\.1 \(Softplus\) must be of beta 1"),
    (lambda: between(nn.Softplus(threshold=1)), r"module\.1 \(Softplus\) must be of beta 1"),
    (lambda: between(nn.Flatten(0)), r"module\.1 \(Flatten\) must be from dimension 1 on, got 0 to -1"),
    (lambda: between(nn.Linear(4, 3)), r"module\.1 \(Linear\) must be of 3 features, .* got 4"),
    (lambda: between(to_torch(network())[0]), r"module\.1 \(Standardize\) must be"),
    (lambda: between(to_torch(network())[-1]), r"module\.1 \(Unstandardize\) must be"),
    (
        lambda: between().half(),
        r"weight of module\.0 \(Linear\) must be of float64 or float32, got torch.float16",
    ),
    (lambda: between().bfloat16(), r"weight of module\.0 \(Linear\) must be of float64 or float32, got"),
    (lambda: between(nn.Linear(3, 3).double()), r"module\.1 \(Linear\) must be of float32, .* got float64"),
    (
        lambda: with_number(np.nan),
        r"weight of module\.1 \(Linear\) must be finite, got nan at index \(0, 0\)",
    ),
    (lambda: with_number(-np.inf), r"weight of module\.1 \(Linear\) must be finite, got -inf"),
    (
        lambda: between().to("meta"),
        r"weight of module\.0 \(Linear\) must be a tensor with all of its numbers",
    ),
    (
        lambda: changed(
            between(), lambda m: setattr(m[1], "weight", nn.Parameter(m[1].weight.data.to_sparse()))
        ),
        r"weight of module\.1 \(Linear\) must be a tensor with all of its numbers",
    ),
    (
        lambda: changed(between(), lambda m: setattr(m[0], "weight", None)),
        r"weight of module\.0 \(Linear\) must be",
    ),
    (
        lambda: between(nn.LazyLinear(3)),
        r"module\.1 \(LazyLinear\) must be a plain module, got one with lazy",
    ),
    (
        lambda: between(changed(nn.Linear(3, 3), lambda m: prune.random_unstructured(m, "weight", 0.5))),
        r"module\.1 \(Linear\) must be a plain module, got one with masks; call torch.nn.utils.prune.remove",
    ),
    (
        lambda: between(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))),
        r"module\.1 \(ParametrizedLinear\) must be a plain module, got one with parametrizations; call",
    ),
    (
        lambda: between(changed(nn.Tanh(), lambda m: m.register_forward_hook(lambda *_: None))),
        r"module\.1 \(Tanh\) must be a plain module, got one with forward hooks",
    ),
    (
        lambda: changed(between(), lambda m: m.register_forward_pre_hook(lambda *_: None)),
        r"module \(Sequential\) must be a plain module, got one with forward hooks",
    ),
    (
        lambda: between(changed(nn.Tanh(), own_forward)),
        r"module\.1 \(Tanh\) .* got one with a forward of its own",
    ),
]


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_other_modules_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        from_torch(make())


def test_networks_that_pytorch_cannot_have_are_refused() -> None:
    square = CustomActivation(lambda x: x * x, lambda x: 2 * x)
    with pytest.raises(
        InvalidArgumentError, match=r"net\.activations\[0\] must be one that other programs know"
    ):
        to_torch(NN(1, [2], 1, rng=1, activation=square))
    net = network()
    net.parameters[3] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"net\.parameters must be finite"):
        to_torch(net)


@pytest.mark.parametrize("function", [to_torch, from_torch])
def test_without_pytorch_the_error_says_what_to_install(
    function: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    message = rf'^{function.__name__} needs PyTorch: pip install "crabnet-jit\[torch\]"$'
    with pytest.raises(ImportError, match=message):
        function(network())


def test_pytorch_is_not_imported_before_it_is_needed() -> None:
    code = "import sys; from crabnet_jit import from_torch, to_torch; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_levenberg_marquardt_in_pytorch_gets_near_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(least_squares, "N_SAMPLES", 256)
    monkeypatch.setattr(least_squares, "HIDDEN", (8, 8))
    seconds, outputs = least_squares.torch_eager()(60, 1)
    assert seconds > 0
    assert grid_error(outputs) < 3e-5


#: Losses of each output, or of each sample.
MASKED: dict[str, Callable[[Any, Any], Any]] = {
    "mse": lambda y, t: nn.functional.mse_loss(y, t, reduction="none"),
    "mae": lambda y, t: nn.functional.l1_loss(y, t, reduction="none"),
    "huber": lambda y, t: nn.functional.huber_loss(y, t, reduction="none"),
    "log_cosh": lambda y, t: torch.log(torch.cosh(y - t)),
    "binary_cross_entropy": lambda y, t: nn.functional.binary_cross_entropy_with_logits(
        y, t, reduction="none"
    ),
    "cross_entropy": lambda y, t: nn.functional.cross_entropy(y, t, reduction="none"),
}


@pytest.mark.parametrize("loss", MASKED)
def test_unknown_targets_are_those_of_a_masked_mean(loss: str) -> None:
    """Losses and parameters of 30 steps of Adam on all samples, some of whose targets are NaN."""
    rng = np.random.default_rng(2)
    x, y, weights = rng.normal(size=(50, 3)), rng.dirichlet(np.ones(2), 50), rng.uniform(0.1, 2, 50)
    y[rng.random(y.shape) < 0.3] = np.nan
    y[np.isnan(y).all(axis=1), 0] = 0.5
    net = NN(3, [8], 2, 1, activation="tanh", init="glorot_uniform")
    module = to_torch(net)
    adam = torch.optim.Adam(module.parameters(), 0.01)
    known = ~np.isnan(y)
    if loss == "cross_entropy":
        known = np.asarray(known.all(axis=1))
    wanted, mask = torch.tensor(np.nan_to_num(y)), torch.tensor(known)
    shares = torch.tensor(weights if known.ndim == 1 else np.stack([weights] * 2, axis=1))
    losses = []
    for _ in range(30):
        adam.zero_grad()
        value = (MASKED[loss](module(torch.tensor(x)), wanted) * shares)[mask].sum() / shares[mask].sum()
        value.backward()
        adam.step()
        losses.append(value.item())
    source = ArraySource(x, y, 50, sample_weight=weights)
    trainer = Trainer(net, source, loss=loss, optimizer="adam", learning_rate=0.01)
    np.testing.assert_allclose(trainer.run(30).losses, losses, rtol=1e-12)
    theirs = torch.cat([part.detach().ravel() for part in module.parameters()]).numpy()
    np.testing.assert_allclose(net.parameters, theirs, rtol=1e-9, atol=1e-11)


# ---- derivatives with respect to inputs ----

JET_ACTIVATIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "identity": ("identity", lambda z: z),
    "relu": ("relu", torch.relu),
    "leaky_relu": (LeakyReLU(0.3), lambda z: nn.functional.leaky_relu(z, 0.3)),
    "elu": (ELU(1.5), lambda z: nn.functional.elu(z, 1.5)),
    "gelu": ("gelu", nn.functional.gelu),
    "gelu_tanh": (GELU("tanh"), lambda z: nn.functional.gelu(z, approximate="tanh")),
    "silu": ("silu", nn.functional.silu),
    "tanh": ("tanh", torch.tanh),
    "sigmoid": ("sigmoid", torch.sigmoid),
    "softplus": ("softplus", nn.functional.softplus),
    "sine": (Sine(3.0), lambda z: torch.sin(3.0 * z)),
}


def nested(net: NN, phi: Callable[[Any], Any], rows: Any, seeds: Any, seconds: Any) -> tuple[Any, Any]:
    """Jets (n, K, n_out), and the gradients of the sum of seeds times jets, by derivatives of derivatives."""
    layers = [
        (torch.tensor(layer.W, requires_grad=True), torch.tensor(layer.b[:, 0], requires_grad=True))
        for layer in net.layers
    ]
    x = torch.tensor(rows, requires_grad=True)
    h = x
    for k, (W, b) in enumerate(layers):
        h = h @ W.T + b
        h = h if k == len(layers) - 1 else phi(h)

    def derivatives(y: Any) -> Any:
        return torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)[0]

    jets = []
    for o in range(h.shape[1]):
        first = derivatives(h[:, o])
        second = [derivatives(first[:, k]) if first.requires_grad else 0 * x for k in range(x.shape[1])]
        of_output = [h[:, o], *first.T, *(second[k][:, j] for k, j in seconds)]
        jets.append(torch.stack(of_output, dim=1))
    all_jets = torch.stack(jets, dim=2)
    parameters = [part for layer in layers for part in layer]
    gradients = torch.autograd.grad(
        (all_jets * torch.tensor(seeds)).sum(), parameters, allow_unused=True, materialize_grads=True
    )
    return all_jets.detach().numpy(), np.concatenate([gradient.numpy().ravel() for gradient in gradients])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 70])
@pytest.mark.parametrize("name", JET_ACTIVATIONS)
def test_jets_and_their_gradients_are_those_of_nested_autograd(name: str, n: int, dtype: Any) -> None:
    activation, phi = JET_ACTIVATIONS[name]
    rng = np.random.default_rng(3)
    sizes = (3, 10, 8, 2)
    init = rng.normal(size=sum(n_out * (n_in + 1) for n_in, n_out in itertools.pairwise(sizes))) * 0.5
    net = NN(3, [10, 8], 2, activation=activation, init=init, dtype=dtype)
    twin = NN(3, [10, 8], 2, activation=activation, init=net.parameters)  # of float64
    rows = rng.normal(size=(n, 3)).astype(dtype)
    seconds = [(0, 0), (1, 0), (2, 2)]
    seeds = rng.normal(size=(n, 7, 2))
    jets, gradients = jets_and_gradients(net, rows, 3, seconds, seeds)
    expected_jets, expected = nested(twin, phi, rows.astype(np.float64), seeds, seconds)
    rtol = 1e-10 if dtype is np.float64 else 1e-4
    for given, truth in ((jets, expected_jets), (gradients, expected)):
        np.testing.assert_allclose(given, truth, rtol=rtol, atol=rtol * 1e-1 * np.abs(truth).max())


def test_gradients_of_equations_are_those_of_nested_autograd() -> None:
    """Poisson's equation and Burgers', with conditions, as `benchmarks.equations` has them."""
    for problem in (equations.poisson(), equations.burgers()):
        net = NN(2, [7, 5], 1, rng=1, activation="tanh", init="glorot_uniform")
        loss, gradient = Objective(net, residuals=equations.residuals(problem)).loss_and_gradient(
            net.parameters
        )
        module = to_torch(net)
        expected = equations.torch_loss(problem)(module)
        expected.backward()
        parts = [parameter.grad.numpy().ravel() for parameter in module.parameters()]
        assert loss == pytest.approx(expected.item(), rel=1e-12)
        np.testing.assert_allclose(gradient, np.concatenate(parts), rtol=1e-10, atol=1e-12)
