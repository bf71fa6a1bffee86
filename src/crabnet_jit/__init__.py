"""Small neural networks, trained in compiled loops."""

from crabnet_jit._validation import InvalidArgumentError
from crabnet_jit.activations import (
    ACTIVATIONS,
    ELU,
    GELU,
    Activation,
    CustomActivation,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Sine,
    Softplus,
    Tanh,
)
from crabnet_jit.archives import FileFormatError
from crabnet_jit.callbacks import Callback, Checkpoint, EarlyStopping, Every, LogFile, Run, TimeBudget
from crabnet_jit.diagnosis import Diagnosis, LayerDiagnosis, diagnose
from crabnet_jit.files import load, save
from crabnet_jit.fitting import Scores, fit, score
from crabnet_jit.gradient_check import GradientCheck, check_gradients
from crabnet_jit.history import History
from crabnet_jit.initializers import INITIALIZERS
from crabnet_jit.layers import LinearLayer
from crabnet_jit.losses import (
    LOSSES,
    MAE,
    MSE,
    BinaryCrossEntropy,
    CrossEntropy,
    CustomLoss,
    Huber,
    LogCosh,
    Loss,
)
from crabnet_jit.network import NN, FitHistory, Standardization
from crabnet_jit.objective import Objective
from crabnet_jit.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, OptimizerState, RMSprop
from crabnet_jit.progress import ProgressBar
from crabnet_jit.random import StdRng
from crabnet_jit.schedules import Constant, Cosine, ExponentialDecay, OneCycle, StepDecay
from crabnet_jit.snapshots import Snapshots
from crabnet_jit.sources import ArraySource, Source, UniformSource
from crabnet_jit.targets import StandardGaussian, Target
from crabnet_jit.trainer import DivergenceError, Trainer, warmup

__all__ = [
    "ACTIVATIONS",
    "ELU",
    "GELU",
    "INITIALIZERS",
    "LOSSES",
    "MAE",
    "MSE",
    "NN",
    "OPTIMIZERS",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "ArraySource",
    "BinaryCrossEntropy",
    "Callback",
    "Checkpoint",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "CustomActivation",
    "CustomLoss",
    "Diagnosis",
    "DivergenceError",
    "EarlyStopping",
    "Every",
    "ExponentialDecay",
    "FileFormatError",
    "FitHistory",
    "GradientCheck",
    "History",
    "Huber",
    "Identity",
    "InvalidArgumentError",
    "LayerDiagnosis",
    "LeakyReLU",
    "LinearLayer",
    "LogCosh",
    "LogFile",
    "Loss",
    "Objective",
    "OneCycle",
    "Optimizer",
    "OptimizerState",
    "ProgressBar",
    "RMSprop",
    "ReLU",
    "Run",
    "Scores",
    "SiLU",
    "Sigmoid",
    "Sine",
    "Snapshots",
    "Softplus",
    "Source",
    "StandardGaussian",
    "Standardization",
    "StdRng",
    "StepDecay",
    "Tanh",
    "Target",
    "TimeBudget",
    "Trainer",
    "UniformSource",
    "check_gradients",
    "diagnose",
    "fit",
    "load",
    "save",
    "score",
    "warmup",
]

__version__ = "0.1.0"
