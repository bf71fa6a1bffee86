"""A classifier for scikit-learn: for two classes, several classes, or several labels at once."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy.special import log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Activation
from crabnet_jit.components.losses import BinaryCrossEntropy, CrossEntropy, Loss, as_loss
from crabnet_jit.components.schedules import Schedule
from crabnet_jit.components.update_rules import Optimizer
from crabnet_jit.data.labels import Labels, are_missing, label_array
from crabnet_jit.estimators.base import NNEstimator
from crabnet_jit.fitting.fit import OnCheck
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import Schema
from crabnet_jit.training.run import Callback


class NNClassifier(ClassifierMixin, NNEstimator):
    """A classifier for scikit-learn: a small network, fitted by `crabnet_jit.fit`.

    Targets are labels (numbers, strings or booleans) of two or more classes; or an indicator matrix of zeros
    and ones, (n_samples, n_outputs), for labels that a sample may have at once. By default, an iteration
    takes all samples, so a sample of weight 2 counts exactly as if it were there twice.

    Parameters
    ----------
    hidden_sizes, activation, init, optimizer, learning_rate, n_iterations, batch_size
        As in `NNRegressor`, with the same defaults.
    loss : {"auto", "binary_cross_entropy", "cross_entropy"} or Loss, default "auto"
        "binary_cross_entropy" has one output for two classes, or one for each label; "cross_entropy" has one
        for each class. "auto" is the former for two classes and for indicators, the latter for more classes.
    standardize : bool, default True
        Whether the network sees inputs with mean 0 and standard deviation 1, as in `fit`.
    validation, patience, l1, clip_value, clip_norm, dropout, on_divergence, log_every, keep_losses, callbacks
        As in `NNRegressor`, with the same defaults.
    l2 : float, default 0.003
        Penalty on squared parameters, as in `Trainer`.
    on_check, resume, dtype, random_state, warm_start, n_members, n_jobs, n_threads
        As in `NNRegressor`, with the same defaults. The probabilities of several members are their mean.
    class_weight : dict, "balanced" or None, default None
        Factors for the weights of samples, {class: factor}; only their ratios count. "balanced" gives all
        classes the same total weight. Not for indicators.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels in order; 0 to n_outputs - 1 for indicators.
    out_activation_ : str
        "logistic" with the binary cross entropy, else "softmax".
    n_outputs_ : int
        The number of outputs of the network: 1 for two classes, else one for each class or label.
    coefs_, intercepts_ : list of ndarray, of shapes (n_in, n_out) and (n_out,)
        Weights and biases of each layer for inputs in their own units, whatever `standardize` is. Start with
        h = X and compute h = activation(h @ coef + intercept) layer by layer, with `out_activation_` in the
        last one: then h is what `predict_proba` returns, for `classes_[1]` if there is one output.
    net_, n_features_in_, feature_names_in_, n_layers_, n_iter_, loss_curve_
        As in `NNRegressor`.

    See Also
    --------
    NNRegressor : For numbers.

    Notes
    -----
    A pickle runs code when it is loaded, so load only your own. `crabnet_jit.save(est.net_, path)` and
    `crabnet_jit.load(path)` store the network with its classes, without a pickle, and run no code.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from crabnet_jit.estimators import NNClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(cross_val_score(NNClassifier(random_state=0), X, y).mean() > 0.94)
    True
    >>> NNClassifier(random_state=0).fit(X, y).predict_proba(X[:2]).round(1)
    array([[1., 0., 0.],
           [1., 0., 0.]])
    """

    classes_: Any
    _is_multilabel: bool

    @check.keywords
    def __init__(
        self,
        *,
        hidden_sizes: Sequence[int] = (32, 32),
        activation: Activation | str | Sequence[Activation | str] = "silu",
        init: str = "auto",
        loss: Loss | str = "auto",
        optimizer: Optimizer | str = "adam",
        learning_rate: float | str | Schedule = "auto",
        n_iterations: int = 500,
        batch_size: int | None = None,
        standardize: bool = True,
        validation: float | None = None,
        patience: int | None = None,
        l1: float = 0.0,
        l2: float = 0.003,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        dropout: float | Sequence[float] = 0.0,
        on_divergence: str = "raise",
        log_every: int = 10_000,
        keep_losses: int | None = None,
        callbacks: Sequence[Callback] = (),
        on_check: OnCheck | None = None,
        resume: str | PathLike[str] | None = None,
        dtype: DTypeLike = np.float64,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        n_members: int = 1,
        n_jobs: int | None = None,
        n_threads: int | str = 1,
        class_weight: dict[Any, float] | str | None = None,
    ) -> None:
        super().__init__(
            hidden_sizes=hidden_sizes,
            activation=activation,
            init=init,
            loss=loss,
            optimizer=optimizer,
            learning_rate=learning_rate,
            n_iterations=n_iterations,
            batch_size=batch_size,
            standardize=standardize,
            validation=validation,
            patience=patience,
            l1=l1,
            l2=l2,
            clip_value=clip_value,
            clip_norm=clip_norm,
            dropout=dropout,
            on_divergence=on_divergence,
            log_every=log_every,
            keep_losses=keep_losses,
            callbacks=callbacks,
            on_check=on_check,
            resume=resume,
            dtype=dtype,
            random_state=random_state,
            warm_start=warm_start,
            n_members=n_members,
            n_jobs=n_jobs,
            n_threads=n_threads,
        )
        self.class_weight = class_weight

    def _forget(self) -> None:
        super()._forget()
        if hasattr(self, "classes_"):
            del self.classes_

    def _labels(self, X: ArrayLike, y: ArrayLike, *, is_first: bool) -> tuple[Array, Any]:
        inputs, labels = self._checked(X, y, is_first=is_first)
        is_gap = are_missing(labels)
        known = labels[~is_gap] if labels.ndim == 1 else np.where(is_gap, 0, labels)
        check_classification_targets(known)
        kind = type_of_target(known)
        if kind == "multiclass-multioutput":
            raise ValueError(f"Unknown label type: {kind}; an indicator matrix has zeros and ones")
        is_multilabel = kind == "multilabel-indicator"
        if not is_first and is_multilabel != self._is_multilabel:
            raise ValueError("y must be an indicator matrix if it was one before, and only then")
        self._is_multilabel = is_multilabel
        return inputs, labels if self._is_multilabel else column_or_1d(labels, warn=True)

    def _encode(self, y: Any, weights: Array) -> tuple[Array, Array]:
        present = np.arange(y.shape[1]) if self._is_multilabel else np.unique(y)
        if not hasattr(self, "classes_"):
            self.classes_ = present
        n_classes = len(self.classes_)
        if not np.isin(present, self.classes_).all() or (self._is_multilabel and y.shape[1] != n_classes):
            raise ValueError(f"`y` has classes not in `self.classes_`: {present}, not {self.classes_}")
        if self._is_multilabel:
            if self.class_weight is not None:
                raise ValueError("class_weight must be None for an indicator matrix; use sample_weight")
            self._dtype_of_indicators = y.dtype
            return y.astype(np.float64), weights
        if n_classes < 2:
            raise ValueError(f"y must have at least 2 classes, got only one class, {self.classes_.tolist()}")
        indices = np.searchsorted(self.classes_, y)
        weights = weights * self._class_factors(y, indices, weights)
        if isinstance(self._criterion(), CrossEntropy):
            return np.eye(n_classes)[indices], weights
        return indices[:, None].astype(np.float64), weights

    def _class_factors(self, y: Any, indices: Any, weights: Array) -> Array:
        """The factor from `class_weight` for the weight of each sample."""
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            totals = np.bincount(indices, weights, minlength=len(self.classes_))
            balanced: Array = weights.sum() / (len(self.classes_) * totals[indices])
            return balanced
        factors: Array = compute_class_weight(self.class_weight, classes=self.classes_, y=y)[indices]
        return factors

    def _schema(self) -> Schema:
        labels = Labels(label_array("classes", self.classes_))
        task = "multilabel" if self._is_multilabel else "classification"
        return Schema(self._columns(), None, labels, task)

    def _criterion(self) -> Loss:
        allowed: tuple[type[Loss], ...]
        if self._is_multilabel:
            allowed, what = (BinaryCrossEntropy,), "an indicator matrix"
        elif len(self.classes_) > 2:
            allowed, what = (CrossEntropy,), f"{len(self.classes_)} classes"
        else:
            allowed, what = (BinaryCrossEntropy, CrossEntropy), "two classes"
        if isinstance(self.loss, str) and self.loss == "auto":
            return allowed[0]()
        loss = as_loss("loss", self.loss)
        if not isinstance(loss, allowed):
            names = " or ".join(repr(kind.name) for kind in allowed)
            raise check.reject("loss", f"'auto' or {names} for {what}", repr(self.loss))
        return loss

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on these samples for one pass: a single step, unless there is a `batch_size`.

        See `NNRegressor.partial_fit`.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.
        y : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, or an indicator matrix.
        classes : array_like of shape (n_classes,), optional
            All classes of all calls, needed in the first call; 0 to n_outputs - 1 for indicators.
        sample_weight : array_like of shape (n_samples,), optional
            As in `fit`; only ratios within a call count.

        Returns
        -------
        self
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight {self.class_weight!r} is not supported for partial_fit, which does not see "
                "all samples; use a dict"
            )
        if classes is not None:
            given = unique_labels(classes)
            if hasattr(self, "classes_") and not np.array_equal(given, self.classes_):
                raise ValueError(f"`classes` must be those of earlier calls, {self.classes_}, got {given}")
            self.classes_ = given
        elif not hasattr(self, "classes_"):
            raise ValueError("classes must be passed on the first call to partial_fit")
        return self._one_pass(X, y, sample_weight)

    def _logits(self, X: ArrayLike) -> Array:
        """Outputs (n_samples, n_outputs) of the network; for an ensemble, logits of mean probabilities."""
        inputs = self._inputs(X)
        if isinstance(self.net_, NN):
            return self.net_.get_output(inputs)
        with np.errstate(divide="ignore"):
            logarithms: Array = np.log(self.net_.predict_proba(inputs))
            if self.out_activation_ == "softmax":
                return logarithms
            if self._is_multilabel:
                return logarithms - np.log1p(-np.exp(logarithms))
            return logarithms[:, 1:] - logarithms[:, :1]

    def decision_function(self, X: ArrayLike) -> Array:
        """Logits, for X (n_samples, n_features).

        Their shape is (n_samples,) for two classes, where `classes_[1]` is above 0; otherwise it is
        (n_samples, n_classes), with one for each class or label.
        """
        logits = self._logits(X)
        if self._is_multilabel or len(self.classes_) > 2:
            return logits
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities (n_samples, n_classes) of classes or labels, for X (n_samples, n_features)."""
        inputs = self._inputs(X)
        return np.asarray(self.net_.predict_proba(inputs))

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """The logarithms of `predict_proba`, even for probabilities that underflow."""
        logits = self._logits(X)
        if self.out_activation_ == "softmax":
            return np.asarray(log_softmax(logits, axis=1))
        return np.asarray(log_expit(logits if self._is_multilabel else np.hstack([-logits, logits])))

    def predict(self, X: ArrayLike) -> Any:
        """The most likely class (n_samples,), or an indicator matrix (…, n_outputs) with threshold 0.5."""
        logits = self.decision_function(X)
        if self._is_multilabel:
            return (logits > 0).astype(self._dtype_of_indicators)
        return self.classes_[logits.argmax(axis=1) if logits.ndim == 2 else (logits > 0).astype(int)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
