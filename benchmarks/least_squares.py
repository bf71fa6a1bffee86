"""The Levenberg-Marquardt method here, in PyTorch and in SciPy, for `benchmarks.quality`.

All three fit 2-16-16-1 with tanh to the article's target at the same 2,048 points of Sobol's sequence,
scrambled by the seed, from the same parameters. PyTorch and SciPy have the Jacobian in closed form, which is
faster than what `torch.func.jacrev` makes (1.8 ms instead of 8.6).
"""

import time
from importlib import import_module
from typing import Any

import numpy as np

from .gaussian import GRID, HIDDEN, Fit, gaussian

N_SAMPLES = 2048
MOST_DAMPING = 1e20


def points(seed: int) -> Any:
    """Sobol's sequence on [-3, 3]^2, of shape (N_SAMPLES, 2)."""
    qmc: Any = import_module("scipy.stats").qmc
    return qmc.scale(qmc.Sobol(2, seed=seed).random(N_SAMPLES), -3, 3)


def new_net(seed: int) -> Any:
    """The network, untrained."""
    from crabnet_jit import NN  # after the number of threads is set

    return NN(2, HIDDEN, 1, seed, activation="tanh", init="glorot_uniform")


def crabnet_jit() -> Fit:
    """The project."""
    from crabnet_jit import ArraySource, Trainer

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        x, net = points(seed), new_net(seed)
        source = ArraySource(x, gaussian(x)[:, None], batch_size=N_SAMPLES)
        trainer = Trainer(net, source, optimizer="levenberg_marquardt")
        start = time.perf_counter()
        trainer.run(n_iterations)
        return time.perf_counter() - start, net.get_output(GRID)

    return fit


def torch_eager() -> Fit:
    """PyTorch, eager, one thread, with Nielsen's rule for the damping."""
    torch: Any = import_module("torch")
    torch.set_num_threads(1)

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        numpy_points, net = points(seed), new_net(seed)
        x, target = torch.from_numpy(numpy_points), torch.from_numpy(gaussian(numpy_points)[:, None])
        shapes = [array.shape for layer in net.layers for array in (layer.W, layer.b[:, 0])]
        sizes = [int(np.prod(shape)) for shape in shapes]

        def layers(theta: Any) -> list[Any]:
            return [part.view(shape) for part, shape in zip(theta.split(sizes), shapes, strict=True)]

        def forward(theta: Any, x: Any) -> tuple[Any, Any, Any]:
            W1, b1, W2, b2, W3, b3 = layers(theta)
            h1 = torch.tanh(torch.addmm(b1, x, W1.T))
            h2 = torch.tanh(torch.addmm(b2, h1, W2.T))
            return h1, h2, torch.addmm(b3, h2, W3.T)

        def jacobian(theta: Any, h1: Any, h2: Any) -> Any:
            _, _, W2, _, W3, _ = layers(theta)
            d2 = W3 * (1 - h2 * h2)
            d1 = (d2 @ W2) * (1 - h1 * h1)
            dW1, dW2 = (d[:, :, None] * a[:, None, :] for d, a in ((d1, x), (d2, h1)))
            return torch.cat([dW1.flatten(1), d1, dW2.flatten(1), d2, h2, torch.ones_like(target)], dim=1)

        start = time.perf_counter()
        theta = torch.from_numpy(net.parameters.copy())
        h1, h2, y = forward(theta, x)
        residuals = y - target
        loss, damping, growth = float(residuals.square().sum()), 0.0, 2.0
        for _ in range(n_iterations):
            J = jacobian(theta, h1, h2)
            H, gradient = J.T @ J, J.T @ residuals
            diagonal = H.diagonal().clone()
            damping = damping or 1e-3 * float(diagonal.max())
            while damping < MOST_DAMPING:
                H.diagonal().copy_(diagonal + damping)
                L, info = torch.linalg.cholesky_ex(H)
                if not info:
                    step = -torch.cholesky_solve(gradient, L)
                    h1, h2, y = forward(theta + step[:, 0], x)
                    new_residuals = y - target
                    new_loss = float(new_residuals.square().sum())
                    if new_loss < loss:
                        expected = float(step.T @ (damping * step - gradient))
                        gain = (loss - new_loss) / expected
                        damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
                        theta, residuals, loss = theta + step[:, 0], new_residuals, new_loss
                        break
                damping, growth = damping * growth, 2 * growth
        seconds = time.perf_counter() - start
        return seconds, forward(theta, torch.from_numpy(GRID))[2].numpy()

    return fit


def layers_of(net: Any, theta: Any) -> list[tuple[Any, Any]]:
    """Views of theta as (W, b) of each layer."""
    layers, end = [], 0
    for layer in net.layers:
        n_out, n_in = layer.W.shape
        start, end = end, end + n_out * (n_in + 1)
        layers.append((theta[start : end - n_out].reshape(n_out, n_in), theta[end - n_out : end]))
    return layers


def forward(layers: list[tuple[Any, Any]], x: Any) -> list[Any]:
    """In NumPy, with tanh: the inputs of each layer, x (n, n_in) first, then the outputs (n, 1)."""
    values = [x]
    for W, b in layers[:-1]:
        values.append(np.tanh(values[-1] @ W.T + b))
    W, b = layers[-1]
    return [*values, values[-1] @ W.T + b]


def jacobian(layers: list[tuple[Any, Any]], x: Any) -> Any:
    """The derivatives (n, n_parameters) of the output with respect to theta."""
    *inputs, y = forward(layers, x)
    end = sum(W.size + b.size for W, b in layers)
    J, d = np.empty((len(x), end)), np.ones_like(y)
    for (W, b), a in zip(reversed(layers), reversed(inputs), strict=True):
        J[:, end - b.size : end] = d
        start, end = end - b.size - W.size, end - b.size
        np.multiply(d[:, :, None], a[:, None, :], out=J[:, start:end].reshape(len(x), *W.shape))
        end = start
        d = (d @ W) * (1 - a * a)
    return J


def scipy_least_squares() -> Fit:
    """SciPy's `least_squares` with its method "trf": an iteration is an evaluation."""
    optimize: Any = import_module("scipy.optimize")

    def fit(n_iterations: int, seed: int) -> tuple[float, Any]:
        x, net = points(seed), new_net(seed)
        target = gaussian(x)
        start = time.perf_counter()
        result = optimize.least_squares(
            lambda theta: forward(layers_of(net, theta), x)[-1][:, 0] - target,
            net.parameters.copy(),
            lambda theta: jacobian(layers_of(net, theta), x),
            max_nfev=n_iterations,
            ftol=None,
            xtol=None,
            gtol=1e-15,
        )
        return time.perf_counter() - start, forward(layers_of(net, result.x), GRID)[-1]

    return fit
