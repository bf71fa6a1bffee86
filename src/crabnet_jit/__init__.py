"""Small neural networks, trained in compiled loops."""

import importlib
from typing import Any

__version__ = "0.2.0"

#: The modules of the public names. Each is imported on first access, so that the command line answers
#: without Numba where it can. Type checkers find the same names in `__init__.pyi`.
_PLACES = {
    "archive": "FileFormatError",
    "callbacks.checkpoint": "Checkpoint",
    "callbacks.log_file": "LogFile",
    "callbacks.progress": "ProgressBar",
    "callbacks.snapshots": "Snapshots",
    "callbacks.stopping": "EarlyStopping TimeBudget",
    "check": "InvalidArgumentError",
    "components.activations": (
        "ACTIVATIONS ELU GELU Activation CustomActivation Identity LeakyReLU ReLU SiLU Sigmoid Sine "
        "Softplus Tanh"
    ),
    "components.levenberg_marquardt": "BayesianRegularization LevenbergMarquardt",
    "components.losses": (
        "LOSSES MAE MSE BinaryCrossEntropy CrossEntropy CustomLoss GaussianNLL Huber LogCosh Loss "
        "Poisson Quantile"
    ),
    "components.optimizers": "OPTIMIZERS",
    "components.schedules": "Constant Cosine ExponentialDecay OneCycle StepDecay",
    "components.update_rules": "SGD Adam AdamW Optimizer OptimizerState RMSprop",
    "data.random": "StdRng",
    "data.sources": "ArraySource Source UniformSource",
    "data.standardization": "Standardization",
    "data.targets": "StandardGaussian Target",
    "exchange.export": "export",
    "exchange.formulas": "to_sympy",
    "exchange.latex": "to_latex",
    "exchange.onnx_files": "from_onnx",
    "exchange.pytorch": "from_torch to_torch",
    "exchange.safetensors_files": "from_safetensors",
    "exchange.scikit_learn": "from_sklearn to_sklearn",
    "fitting.fit": "fit",
    "fitting.fit_many": "fit_many",
    "fitting.fits": "ClusterError Fits",
    "fitting.scores": "ClassScores Scores score",
    "fitting.search": "search",
    "fitting.search_result": "SearchResult",
    "fitting.space": "Integers Uniform",
    "inspection.diagnosis": "Diagnosis LayerDiagnosis diagnose",
    "inspection.gradients": "GradientCheck check_gradients",
    "network.ensemble": "Ensemble",
    "network.files": "load save",
    "network.history": "FitHistory History",
    "network.initializers": "INITIALIZERS",
    "network.layers": "LinearLayer",
    "network.network": "NN",
    "network.posterior": "Posterior",
    "training.divergence": "DivergenceError",
    "training.objective": "Objective",
    "training.residuals": "Residual",
    "training.population": "Population",
    "training.run": "Callback Every Run",
    "training.trainer": "Trainer",
    "warming": "warmup",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}
__all__ = sorted(_MODULES)  # noqa: PLE0605  # it is a list of strings, but ruff does not follow calls


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        message = f"module {__name__!r} has no attribute {name!r}"
        if not name.startswith("_"):
            hint = importlib.import_module(f"{__name__}.other_names").module_hint(name, __all__)
            message += f"; {hint}" if hint else ""
        raise AttributeError(message)
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
