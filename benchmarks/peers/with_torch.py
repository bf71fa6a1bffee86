"""PyTorch, eager: functional layers, autograd, the step written out.

Time per iteration on one machine: 180 us as here; 210 us with `nn.Sequential`; 215 us if
every iteration draws its own samples; 240 us with `optim.SGD` and 290 us with its
`fused=True`. Writing the gradients out as in the NumPy program would save more, but
autograd is what PyTorch is for.
"""

from importlib import import_module, metadata
from itertools import pairwise
from typing import Any

from benchmarks.peers.job import BATCH_SIZE, CHUNK, DECAY, HIGH, LEARNING_RATE, LOW, SEED, SIZES, Train


def version() -> str:
    """Version of PyTorch."""
    return metadata.version("torch")


def prepare() -> Train:
    """Set one thread."""
    torch: Any = import_module("torch")
    linear, relu, mse_loss = torch.nn.functional.linear, torch.relu, torch.nn.functional.mse_loss
    torch.set_num_threads(1)

    def chunk() -> Any:
        """Pairs of inputs (BATCH_SIZE, 2) and targets (BATCH_SIZE, 1)."""
        x = torch.empty(CHUNK, BATCH_SIZE, SIZES[0], dtype=torch.float64).uniform_(LOW, HIGH)
        target = 5.0 * torch.exp(-0.5 * x.square().sum(dim=-1, keepdim=True))
        return zip(x.unbind(), target.unbind(), strict=True)

    def train(n_iterations: int) -> Any:
        torch.manual_seed(SEED)
        parameters = [
            torch.rand(shape, dtype=torch.float64, requires_grad=True)
            for n_in, n_out in pairwise(SIZES)
            for shape in ((n_out, n_in), (n_out,))
        ]
        W1, b1, W2, b2, W3, b3 = parameters
        losses = torch.empty(n_iterations, dtype=torch.float64)
        rate = LEARNING_RATE
        for start in range(0, n_iterations, CHUNK):
            for i, (x, target) in enumerate(chunk(), start):
                y = linear(relu(linear(relu(linear(x, W1, b1)), W2, b2)), W3, b3)
                loss = mse_loss(y, target)
                losses[i] = loss.detach()
                gradients = torch.autograd.grad(loss, parameters)
                rate *= DECAY
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-rate)
        return losses.numpy()

    return train
