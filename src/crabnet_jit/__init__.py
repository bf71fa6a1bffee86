"""Small neural networks, trained in compiled loops."""

from importlib.metadata import version

from crabnet_jit._validation import InvalidArgumentError
from crabnet_jit.layers import MSE, LinearLayer, ReLU
from crabnet_jit.network import NN
from crabnet_jit.random import StdRng
from crabnet_jit.sources import Source, StandardGaussian, Target, UniformSource
from crabnet_jit.trainer import History, Trainer, warmup

__all__ = [
    "MSE",
    "NN",
    "History",
    "InvalidArgumentError",
    "LinearLayer",
    "ReLU",
    "Source",
    "StandardGaussian",
    "StdRng",
    "Target",
    "Trainer",
    "UniformSource",
    "warmup",
]

__version__ = version("crabnet-jit")
