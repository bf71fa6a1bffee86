"""Estimators for scikit-learn on top of `fit` and `Trainer`. No other part needs scikit-learn."""

try:
    from crabnet_jit.estimators.classifier import NNClassifier
    from crabnet_jit.estimators.regressor import NNRegressor
except ImportError as error:
    if (error.name or "").split(".")[0] != "sklearn":
        raise
    raise ImportError(
        'crabnet_jit.estimators needs scikit-learn 1.6 or newer: pip install "crabnet-jit[sklearn]"'
    ) from error

__all__ = ["NNClassifier", "NNRegressor"]
