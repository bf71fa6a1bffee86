"""Small neural networks, trained in compiled loops."""

from crabnet_jit.archive import FileFormatError
from crabnet_jit.callbacks.checkpoint import Checkpoint
from crabnet_jit.callbacks.log_file import LogFile
from crabnet_jit.callbacks.progress import ProgressBar
from crabnet_jit.callbacks.snapshots import Snapshots
from crabnet_jit.callbacks.stopping import EarlyStopping, TimeBudget
from crabnet_jit.check import InvalidArgumentError
from crabnet_jit.components.activations import (
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
from crabnet_jit.components.levenberg_marquardt import BayesianRegularization, LevenbergMarquardt
from crabnet_jit.components.losses import (
    LOSSES,
    MAE,
    MSE,
    BinaryCrossEntropy,
    CrossEntropy,
    CustomLoss,
    GaussianNLL,
    Huber,
    LogCosh,
    Loss,
    Poisson,
    Quantile,
)
from crabnet_jit.components.optimizers import OPTIMIZERS
from crabnet_jit.components.schedules import Constant, Cosine, ExponentialDecay, OneCycle, StepDecay
from crabnet_jit.components.update_rules import SGD, Adam, AdamW, Optimizer, OptimizerState, RMSprop
from crabnet_jit.data.random import StdRng
from crabnet_jit.data.sources import ArraySource, Source, UniformSource
from crabnet_jit.data.standardization import Standardization
from crabnet_jit.data.targets import StandardGaussian, Target
from crabnet_jit.exchange.export import export
from crabnet_jit.exchange.formulas import to_sympy
from crabnet_jit.exchange.latex import to_latex
from crabnet_jit.exchange.onnx_files import from_onnx
from crabnet_jit.exchange.pytorch import from_torch, to_torch
from crabnet_jit.exchange.safetensors_files import from_safetensors
from crabnet_jit.exchange.scikit_learn import from_sklearn, to_sklearn
from crabnet_jit.fitting.fit import fit
from crabnet_jit.fitting.fit_many import fit_many
from crabnet_jit.fitting.fits import ClusterError, Fits
from crabnet_jit.fitting.scores import ClassScores, Scores, score
from crabnet_jit.fitting.search import search
from crabnet_jit.fitting.search_result import SearchResult
from crabnet_jit.fitting.space import Integers, Uniform
from crabnet_jit.inspection.diagnosis import Diagnosis, LayerDiagnosis, diagnose
from crabnet_jit.inspection.gradients import GradientCheck, check_gradients
from crabnet_jit.network.ensemble import Ensemble
from crabnet_jit.network.files import load, save
from crabnet_jit.network.history import FitHistory, History
from crabnet_jit.network.initializers import INITIALIZERS
from crabnet_jit.network.layers import LinearLayer
from crabnet_jit.network.network import NN
from crabnet_jit.network.posterior import Posterior
from crabnet_jit.training.divergence import DivergenceError
from crabnet_jit.training.objective import Objective
from crabnet_jit.training.population import Population
from crabnet_jit.training.residuals import Residual
from crabnet_jit.training.run import Callback, Every, Run
from crabnet_jit.training.trainer import Trainer
from crabnet_jit.warming import warmup

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
    "BayesianRegularization",
    "BinaryCrossEntropy",
    "Callback",
    "Checkpoint",
    "ClassScores",
    "ClusterError",
    "Constant",
    "Cosine",
    "CrossEntropy",
    "CustomActivation",
    "CustomLoss",
    "Diagnosis",
    "DivergenceError",
    "EarlyStopping",
    "Ensemble",
    "Every",
    "ExponentialDecay",
    "FileFormatError",
    "FitHistory",
    "Fits",
    "GaussianNLL",
    "GradientCheck",
    "History",
    "Huber",
    "Identity",
    "Integers",
    "InvalidArgumentError",
    "LayerDiagnosis",
    "LeakyReLU",
    "LevenbergMarquardt",
    "LinearLayer",
    "LogCosh",
    "LogFile",
    "Loss",
    "Objective",
    "OneCycle",
    "Optimizer",
    "OptimizerState",
    "Poisson",
    "Population",
    "Posterior",
    "ProgressBar",
    "Quantile",
    "RMSprop",
    "ReLU",
    "Residual",
    "Run",
    "Scores",
    "SearchResult",
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
    "Uniform",
    "UniformSource",
    "check_gradients",
    "diagnose",
    "export",
    "fit",
    "fit_many",
    "from_onnx",
    "from_safetensors",
    "from_sklearn",
    "from_torch",
    "load",
    "save",
    "score",
    "search",
    "to_latex",
    "to_sklearn",
    "to_sympy",
    "to_torch",
    "warmup",
]

__version__: str
