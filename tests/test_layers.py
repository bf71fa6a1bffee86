"""The tutorial's components, used one by one."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import plain
import pytest

from crabnet_jit import MSE, NN, InvalidArgumentError, LinearLayer, ReLU, StdRng

GENERATOR = np.random.default_rng(1)
ARCHITECTURES = [
    (3, [], 2),
    (1, [1], 1),
    (2, [8, 8], 1),
    (5, [7], 3),
    (2, [3, 9, 4], 2),
    (4, [5, 1, 6, 17, 2], 3),
]


def centred(architecture: Any) -> NN:
    """A network with parameters of both signs, so that some units are off."""
    in_features, hidden_sizes, out_features = architecture
    net = NN(in_features, hidden_sizes, out_features, rng=1)
    net.parameters -= 0.4
    return net


def sizes_of(net: NN) -> list[int]:
    return [net.in_features, *net.hidden_sizes, net.out_features]


# ---- faithful ----


def test_initial_parameters_are_the_originals(reference: Any) -> None:
    net = NN(2, [8, 8], 1, rng=StdRng(1))
    for k, layer in enumerate(net.layers):
        np.testing.assert_array_equal(layer.W, reference["initial_parameters"][f"W{k}"])
        np.testing.assert_array_equal(layer.b, reference["initial_parameters"][f"b{k}"])


def test_iteration_0_is_the_originals(reference: Any) -> None:
    zero = reference["iteration_0"]
    net, mse = NN(2, [8, 8], 1, rng=1), MSE()
    y = net.forward(zero["x"])
    np.testing.assert_allclose(y, zero["y"], rtol=1e-12)
    loss = mse.forward(y, zero["target"])
    np.testing.assert_allclose(loss, reference["loss_of_each_of_the_first_2000_iterations"][0], rtol=1e-12)
    np.testing.assert_allclose(net.backward(mse.backward()), zero["dL_dx"], rtol=1e-12)
    for k, layer in enumerate(net.layers):
        np.testing.assert_allclose(layer.dL_dW, zero["gradients"][f"dL_dW{k}"], rtol=1e-12)
        np.testing.assert_allclose(layer.dL_db, zero["gradients"][f"dL_db{k}"], rtol=1e-12)


# ---- gradients ----


@pytest.mark.parametrize("n_samples", [1, 2, 7, 16, 17, 130])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_plain_numpy(architecture: Any, n_samples: int) -> None:
    net, mse = centred(architecture), MSE()
    x = GENERATOR.normal(size=(n_samples, net.in_features))
    target = GENERATOR.normal(size=(n_samples, net.out_features))
    parameters = plain.split(net.parameters, sizes_of(net))
    expected, expected_dL_dx = plain.gradients(parameters, x, target)

    assert mse.forward(net.forward(x), target) == pytest.approx(plain.loss(parameters, x, target), rel=1e-12)
    dL_dx = net.backward(mse.backward())
    scale = np.abs(plain.flatten(expected)).max()
    np.testing.assert_allclose(net.gradients, plain.flatten(expected), rtol=1e-11, atol=1e-13 * scale)
    np.testing.assert_allclose(dL_dx, expected_dL_dx, rtol=1e-11, atol=1e-13 * np.abs(expected_dL_dx).max())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_the_slopes_of_the_loss(architecture: Any) -> None:
    net, mse = centred(architecture), MSE()
    x = GENERATOR.normal(size=(11, net.in_features))
    target = GENERATOR.normal(size=(11, net.out_features))
    mse.forward(net.forward(x), target)
    net.backward(mse.backward())

    step = 1e-6
    for k in range(net.parameters.size):
        kept = net.parameters[k]
        values = []
        for parameter in (kept + step, kept - step):
            net.parameters[k] = parameter
            values.append(mse.get_output(net.get_output(x), target))
        net.parameters[k] = kept
        slope = (values[0] - values[1]) / (2 * step)
        assert net.gradients[k] == pytest.approx(slope, rel=1e-6, abs=1e-8)


# ---- behaviour ----


@pytest.mark.parametrize("n_samples", [1, 15, 16, 129, 1000])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_get_output_is_forward_and_keeps_nothing(architecture: Any, n_samples: int) -> None:
    net = centred(architecture)
    x = GENERATOR.normal(size=(n_samples, net.in_features))
    y = net.get_output(x)
    assert y.shape == (n_samples, net.out_features)
    assert all(layer.dy_dW is None for layer in net.layers)
    np.testing.assert_allclose(y, net.forward(x), rtol=1e-12, atol=1e-12)
    expected = plain.outputs(plain.split(net.parameters, sizes_of(net)), x)[-1]
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-12)


def test_layer_keeps_its_own_copy_of_the_input() -> None:
    layer = LinearLayer(2, 1, rng=1)
    x = np.ones((3, 2))
    layer.forward(x)
    x[:] = 7
    np.testing.assert_array_equal(layer.dy_dW, np.ones((3, 2)))


def test_linear_layer_with_other_weights() -> None:
    layer = LinearLayer(2, 2, rng=1)
    y = layer.get_output([[1.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]], [[10.0], [20.0]])
    np.testing.assert_array_equal(y, [[11.0, 22.0]])
    assert layer.dy_dW is None
    with pytest.raises(InvalidArgumentError, match=r"W must be of shape \(2, 2\), got shape \(1, 2\)"):
        layer.get_output([[1.0, 2.0]], [[1.0, 0.0]])
    with pytest.raises(InvalidArgumentError, match=r"b must be of shape \(2, 1\), got shape \(2,\)"):
        layer.get_output([[1.0, 2.0]], layer.W, [1.0, 0.0])


def test_layer_starts_from_its_generator_with_zero_gradients() -> None:
    rng = StdRng(6)
    layers = [LinearLayer(2, 3, rng), LinearLayer(3, 1, rng)]
    np.testing.assert_array_equal(
        np.concatenate([layer.parameters for layer in layers]), StdRng(6).random(13)
    )
    np.testing.assert_array_equal(LinearLayer(2, 3, rng=6).parameters, layers[0].parameters)
    assert rng.position == 13
    components: list[Any] = [*layers, NN(2, [3], 1)]
    for component in components:
        assert not component.gradients.any()


def test_views_of_the_flat_buffers() -> None:
    net = NN(2, [3], 1, rng=1)
    first, last = net.layers
    assert (first.W.shape, first.b.shape) == ((3, 2), (3, 1))
    assert (first.dL_dW.shape, first.dL_db.shape) == ((3, 2), (3, 1))
    net.parameters[:] = np.arange(13)
    np.testing.assert_array_equal(first.W, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(first.b, [[6], [7], [8]])
    np.testing.assert_array_equal(last.W, [[9, 10, 11]])
    last.b[0, 0] = -1
    last.dL_db[0, 0] = -2
    assert (net.parameters[12], net.gradients[12]) == (-1, -2)


def test_assigning_copies_into_the_buffers() -> None:
    net = NN(2, [3], 1, rng=1)
    buffers = net.parameters, net.gradients
    layer = net.layers[0]
    before = layer.W.copy()
    net.gradients = np.ones(13)
    layer.W -= 0.5 * layer.dL_dW
    layer.b = [[1], [2], [3]]
    layer.dL_db *= 3
    np.testing.assert_array_equal(buffers[0][:9], [*(before - 0.5).ravel(), 1, 2, 3])
    np.testing.assert_array_equal(buffers[1][6:9], 3)
    net.parameters += 1
    net.layers[1].parameters = np.arange(4)
    np.testing.assert_array_equal(net.parameters[9:], np.arange(4))
    assert (net.parameters is buffers[0], net.gradients is buffers[1]) == (True, True)
    kept = net.parameters.copy()
    with pytest.raises(InvalidArgumentError, match=r"parameters must be of shape \(13,\), got shape \(12,\)"):
        net.parameters = np.zeros(12)
    with pytest.raises(InvalidArgumentError, match=r"W must be of shape \(3, 2\), got shape \(2, 3\)"):
        layer.W = np.zeros((2, 3))
    with pytest.raises(InvalidArgumentError, match="gradients must be finite"):
        net.gradients = np.full(13, np.nan)
    np.testing.assert_array_equal(net.parameters, kept)


def test_weight_and_bias_are_the_same_numbers_by_other_names() -> None:
    layer = NN(2, [3], 1, rng=1).layers[0]
    layer.parameters = np.arange(9)
    assert (layer.weight.shape, layer.bias.shape) == ((3, 2), (3,))
    np.testing.assert_array_equal(layer.weight, layer.W)
    np.testing.assert_array_equal(layer.bias, layer.b[:, 0])
    layer.weight[1, 0] = -1
    layer.bias[2] = -2
    np.testing.assert_array_equal(layer.parameters, [0, 1, -1, 3, 4, 5, 6, 7, -2])
    layer.bias = [7, 8, 9]
    layer.weight *= 2
    np.testing.assert_array_equal(layer.parameters, [0, 2, -2, 6, 8, 10, 7, 8, 9])
    with pytest.raises(InvalidArgumentError, match=r"bias must be of shape \(3,\), got shape \(3, 1\)"):
        layer.bias = layer.b
    with pytest.raises(InvalidArgumentError, match=r"weight must be of shape \(3, 2\), got shape \(2, 3\)"):
        layer.weight = layer.W.T


def test_sgd_steps_down_the_gradient() -> None:
    net, mse = centred((2, [3], 1)), MSE()
    mse.forward(net.forward(GENERATOR.normal(size=(4, 2))), np.zeros((4, 1)))
    net.backward(mse.backward())
    expected = net.parameters - 0.1 * net.gradients
    net.sgd(0.1)
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-15)


def test_relu() -> None:
    relu = ReLU()
    x = np.array([[-1.0, 0.0, 3.0]])
    np.testing.assert_array_equal(relu.forward(x), [[0, 0, 3]])
    np.testing.assert_array_equal(relu.dy_dx, [[0, 0, 1]])
    np.testing.assert_array_equal(relu.backward([[5, 6, 7]]), [[0, 0, 7]])
    np.testing.assert_array_equal(ReLU().get_output(x), [[0, 0, 3]])


def test_mse() -> None:
    mse = MSE()
    x, target = [[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]
    assert MSE().get_output(x, target) == 3.5
    assert mse.dL_dx is None
    assert mse.forward(x, target) == 3.5
    np.testing.assert_array_equal(mse.backward(), [[0, 0.5], [1, 1.5]])


def test_backward_needs_forward() -> None:
    for component in (LinearLayer(2, 1, rng=1), ReLU(), NN(2, [3], 1, rng=1)):
        with pytest.raises(RuntimeError, match=r"forward\(\) must be called before"):
            component.backward(np.ones((1, 1)))
    with pytest.raises(RuntimeError, match=r"forward\(\) must be called before"):
        MSE().backward()
    layer = LinearLayer(2, 1, rng=1)
    layer.get_output([[1, 2]])
    with pytest.raises(RuntimeError, match=r"forward\(\) must be called before"):
        layer.backward([[1.0]])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_whole_and_independent(duplicate: Any) -> None:
    net = NN(2, [3], 1, rng=1)
    net.gradients[:] = np.arange(13)
    twin = duplicate(net)
    np.testing.assert_array_equal(twin.parameters, net.parameters)
    np.testing.assert_array_equal(twin.layers[1].dL_dW, net.layers[1].dL_dW)
    twin.layers[0].W[0, 0] = 99
    assert twin.parameters[0] == 99
    assert net.parameters[0] != 99
    assert repr(twin) == repr(net)
    assert twin.parameters.ctypes.data % 64 == 0


def test_seed_makes_networks_equal_and_none_makes_them_differ() -> None:
    assert np.array_equal(NN(2, [3], 1, rng=5).parameters, NN(2, [3], 1, rng=StdRng(5)).parameters)
    assert not np.array_equal(NN(2, [3], 1).parameters, NN(2, [3], 1).parameters)


# ---- bad input ----


@pytest.mark.parametrize("size", [0, -1, 2.0, "2", None, True, float("nan")])
def test_sizes_must_be_positive_integers(size: Any) -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: NN(size, [8], 1), "in_features"),
        (lambda: NN(2, [8, size], 1), r"hidden_sizes\[1\]"),
        (lambda: NN(2, [8], size), "out_features"),
        (lambda: LinearLayer(size, 1), "in_features"),
        (lambda: LinearLayer(1, size), "out_features"),
    ]
    for make, name in cases:
        with pytest.raises(InvalidArgumentError, match=f"{name} must be an integer of at least 1, got"):
            make()


@pytest.mark.parametrize("hidden_sizes", [8, "8", None])
def test_hidden_sizes_must_be_a_sequence(hidden_sizes: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="hidden_sizes must be a sequence of integers"):
        NN(2, hidden_sizes, 1)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            [1.0, 2.0],
            r"x must be .*of shape \(n_samples, 2\), got shape \(2,\)",
        ),
        (1.0, r"x must be two-dimensional, of shape \(n_samples, 2\), got shape \(\)"),
        (np.ones((1, 1, 2)), r"x must be two-dimensional"),
        ([[1.0, 2.0, 3.0]], r"x must be of shape \(n_samples, 2\), got shape \(1, 3\)"),
        (np.ones((0, 2)), r"x must be a batch of at least one sample"),
        ([[1.0, np.nan]], r"x must be finite, got nan at index \(0, 1\)"),
        ([[1.0, 2.0], [-np.inf, 2.0]], r"x must be finite, got -inf at index \(1, 0\)"),
        ([["a", "b"]], r"x must be an array of real numbers, got dtype <U1"),
        ([[1j, 2.0]], r"x must be an array of real numbers, got dtype complex128"),
        (np.array([[None, 1]]), r"x must be an array of real numbers, got dtype object"),
        ([[1.0], [1.0, 2.0]], r"x must be an array of numbers, got list"),
        (np.ma.masked_array([[1.0, 2.0]], mask=[[True, False]]), r"x must be an array without masked"),
        ([[2**53 + 1, 0]], r"x must be exact in float64, got int64"),
        ([[-(2**53) - 1, 0]], r"x must be exact in float64, got int64"),
        (np.ones((3, 0)), r"x must be a batch of at least one sample and feature"),
        (np.array([[1, 3]], np.longdouble) / 3, r"x must be exact in float64, got"),
        (
            np.array([[1e4000, 1]], np.longdouble) if np.finfo(np.longdouble).max > 1e308 else [[np.inf, 1]],
            "x must",
        ),
    ],
)
def test_bad_batches(x: Any, message: str) -> None:
    net, layer = NN(2, [3], 1, rng=1), LinearLayer(2, 1, rng=1)
    for call in (net.forward, net.get_output, layer.forward, layer.get_output):
        with pytest.raises(InvalidArgumentError, match=message):
            call(x)
    assert layer.dy_dW is None


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.tolist(),
        lambda x: x.astype(np.float32),
        lambda x: x.astype(np.float16),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(np.uint8),
        lambda x: x.astype(">f8"),
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1][::-1],
        lambda x: x.astype(np.longdouble),
        lambda x: (x * 2**49).astype(np.int64),
        lambda x: (x % 2).astype(bool),
    ],
)
def test_what_converts_without_loss_is_accepted_and_left_alone(convert: Any) -> None:
    x = convert(np.arange(14.0).reshape(7, 2))
    plain_x = np.array(x, np.float64)
    if isinstance(x, np.ndarray):
        x.flags.writeable = False
    before = copy.deepcopy(x)
    net, mse = NN(2, [3], 2, rng=1), MSE()
    np.testing.assert_array_equal(net.get_output(x), net.get_output(plain_x))
    y = net.forward(x)
    np.testing.assert_array_equal(y, net.forward(plain_x))
    mse.forward(x, x)
    mse.backward()[:] = 9.0  # the caller's, not the component's
    assert not (mse.backward() == 9.0).any()
    ReLU().forward(x)
    net.backward(x)
    np.testing.assert_array_equal(x, before)


def test_wrong_shapes_of_targets_and_gradients() -> None:
    net = NN(2, [3], 1, rng=1)
    net.forward(np.ones((4, 2)))
    for shape in [(4,), (4, 2), (3, 1), (1, 4)]:
        with pytest.raises(InvalidArgumentError, match=r"dL_dy must be of shape \(4, 1\), got shape"):
            net.backward(np.ones(shape))
        with pytest.raises(InvalidArgumentError, match=r"target must be of shape \(4, 1\), got shape"):
            MSE().forward(np.ones((4, 1)), np.ones(shape))


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), "0.1", None, True, 10**400])
def test_learning_rate_must_be_a_number_of_at_least_0(rate: Any) -> None:
    net = NN(2, [3], 1, rng=1)
    before = net.parameters.copy()
    for component in (net, net.layers[0]):
        with pytest.raises(
            InvalidArgumentError, match="learning_rate must be a finite number of at least 0, got"
        ):
            component.sgd(rate)
    np.testing.assert_array_equal(net.parameters, before)


def test_buffers_given_to_a_layer_must_fit() -> None:
    read_only = np.zeros(3)
    read_only.flags.writeable = False
    wrongs: list[Any] = [np.zeros(4), np.zeros(6)[::2], read_only]
    for name in ("parameters", "gradients"):
        for wrong in wrongs:
            message = rf"{name} must be contiguous and writable float64 of shape \(3,\), got float64"
            with pytest.raises(InvalidArgumentError, match=message):
                LinearLayer(2, 1, **{name: wrong})
    with pytest.raises(InvalidArgumentError, match="gradients must be contiguous and writable float64"):
        LinearLayer(2, 1, gradients=np.zeros(3, np.float32))
    with pytest.raises(InvalidArgumentError, match=r"parameters\.dtype must be float32 or float64"):
        LinearLayer(2, 1, parameters=np.zeros(3, np.int64))


def test_errors_are_both_value_and_type_errors() -> None:
    """As scikit-learn's are: code that expects either keeps working."""
    assert issubclass(InvalidArgumentError, ValueError)
    assert issubclass(InvalidArgumentError, TypeError)
