"""The base class of the regressor and the classifier: parameters, fitting, fitted attributes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.activations import Activation
from crabnet_jit.components.losses import Loss
from crabnet_jit.components.schedules import Schedule
from crabnet_jit.components.update_rules import Optimizer, OptimizerState
from crabnet_jit.data.columns import Column, Columns, missing_targets
from crabnet_jit.data.derivatives import known_derivatives
from crabnet_jit.estimators.training import Samples, fit_network, new_network, train_one_pass
from crabnet_jit.fitting.data_set import weights_of
from crabnet_jit.fitting.fit import OnCheck
from crabnet_jit.network.ensemble import Ensemble
from crabnet_jit.network.folding import folded_layers
from crabnet_jit.network.network import NN
from crabnet_jit.network.schema import Schema
from crabnet_jit.training.run import Callback

#: How outputs become predictions, by the name of the loss; and scikit-learn's names of activations.
_OUT_ACTIVATIONS = {"binary_cross_entropy": "logistic", "cross_entropy": "softmax", "poisson": "exp"}
_ACTIVATIONS = {"sigmoid": "logistic"}


class NNEstimator(BaseEstimator, ABC):
    """The base class of both estimators.

    A subclass defines which targets `y` it accepts (`_labels`), how they are encoded as numbers
    (`_encode`), and the loss (`_criterion`).
    """

    net_: Any  # NN, or Ensemble
    n_iter_: int
    loss_curve_: list[float]
    out_activation_: str

    @check.keywords
    def __init__(
        self,
        *,
        hidden_sizes: Sequence[int] = (32, 32),
        activation: Activation | str | Sequence[Activation | str] = "silu",
        output_activation: Activation | str = "auto",
        output_range: Any = None,
        init: str = "auto",
        loss: Loss | str = "mse",
        optimizer: Optimizer | str = "adam",
        learning_rate: float | str | Schedule = "auto",
        n_iterations: int = 500,
        batch_size: int | None = None,
        standardize: bool = True,
        validation: float | None = None,
        patience: int | None = None,
        l1: float = 0.0,
        l2: float = 0.01,
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
    ) -> None:
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.output_activation = output_activation
        self.output_range = output_range
        self.init = init
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.n_iterations = n_iterations
        self.batch_size = batch_size
        self.standardize = standardize
        self.validation = validation
        self.patience = patience
        self.l1 = l1
        self.l2 = l2
        self.clip_value = clip_value
        self.clip_norm = clip_norm
        self.dropout = dropout
        self.on_divergence = on_divergence
        self.log_every = log_every
        self.keep_losses = keep_losses
        self.callbacks = callbacks
        self.on_check = on_check
        self.resume = resume
        self.dtype = dtype
        self.random_state = random_state
        self.warm_start = warm_start
        self.n_members = n_members
        self.n_jobs = n_jobs
        self.n_threads = n_threads

    def _forget(self) -> None:
        """Drop the results of an earlier fit, so that nothing stale is left after a failed one."""
        if self.__sklearn_is_fitted__():
            del self.net_

    @abstractmethod
    def _labels(self, X: ArrayLike, y: ArrayLike, *, is_first: bool) -> tuple[Array, Any]:
        """Inputs and targets, checked as in scikit-learn; targets may contain NaN and None."""

    def _checked(self, X: ArrayLike, y: ArrayLike, *, is_first: bool) -> tuple[Array, Any]:
        """Inputs and targets as scikit-learn validates them, except that targets may be missing."""
        of_targets = {
            "dtype": None,
            "ensure_2d": False,
            "ensure_all_finite": "allow-nan",
            "accept_sparse": "csr",
        }
        both = validate_data(
            self, X, y, validate_separately=({"dtype": np.float64}, of_targets), reset=is_first
        )
        check_consistent_length(*both)
        inputs, targets = both
        return inputs, targets.toarray() if issparse(targets) else targets

    @abstractmethod
    def _encode(self, y: Any, weights: Array) -> tuple[Array, Array]:
        """Targets (n_samples, n_outputs) as numbers, and the resulting weights of the samples."""

    @abstractmethod
    def _schema(self) -> Schema:
        """The meaning of the network's numbers, for users of `net_` alone."""

    @abstractmethod
    def _criterion(self) -> Loss:
        """The loss for the targets that were encoded last."""

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a network.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.
        y : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; NaN marks an unknown target, which does not count.
        sample_weight : array_like of shape (n_samples,), optional
            At least 0, not all 0; only their ratios count. A sample of weight 0 is left out. A sample of
            weight 2 counts as if it were there twice, if there are no minibatches, dropout or validation.
            Predictions then differ only by rounding, by about 1e-11; thousands of iterations, or data that
            are not standardised, may amplify this.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    def _fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, dy: Any = None, **options: Any
    ) -> Self:
        """The same, with derivatives dy of y and more options of `crabnet_jit.fit`."""
        start = self.net_ if self.warm_start and self.__sklearn_is_fitted__() else None
        if start is None:
            self._forget()
        samples, counted = self._samples(X, y, sample_weight, is_first=start is None)
        loss, n_members = self._criterion(), check.integer("n_members", self.n_members, 1)
        if dy is not None:
            widths = samples.targets.shape[1], samples.inputs.shape[1]
            options["dy"] = known_derivatives(dy, counted.size, *widths)[counted]
        seeds = self._new_seeds(n_members)
        net = fit_network(self, samples, loss, seeds, start, **options)
        members = list(net) if isinstance(net, Ensemble) else [net]
        histories = []
        for member in members:
            member.schema = self._schema()
            assert member.fit_history is not None
            histories.append(member.fit_history)
        self.net_ = net
        self.out_activation_ = _out_activation(members[0], loss)
        self.n_iter_ = max(history.n_iterations for history in histories)
        n_losses = min(len(history.losses) for history in histories)
        curves = [history.losses[:n_losses] for history in histories]
        self.loss_curve_ = np.mean(curves, axis=0).tolist()
        self._optimizer_state: OptimizerState | None = None
        self._seed = seeds[0]
        return self

    def _one_pass(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> Self:
        """The implementation of `partial_fit`."""
        if self.validation is not None:
            raise ValueError("partial_fit does not support validation; set it to None")
        if self.n_members != 1:
            raise ValueError("partial_fit does not support several members; set n_members to 1")
        is_first = not self.__sklearn_is_fitted__()
        samples, _ = self._samples(X, y, sample_weight, is_first=is_first)
        loss = self._criterion()
        if is_first:
            self._seed = self._new_seeds(1)[0]
            self.net_ = new_network(self, samples, loss, self._seed)
            self.net_.schema = self._schema()
            self.out_activation_ = _out_activation(self.net_, loss)
            self.n_iter_, self.loss_curve_, self._optimizer_state = 0, [], None
        seed = self._seed + self.n_iter_  # a different one for each pass
        history, self._optimizer_state = train_one_pass(
            self, self.net_, samples, loss, seed, self._optimizer_state
        )
        self.n_iter_ += history.n_iterations
        self.loss_curve_ += history.losses.tolist()
        return self

    def _samples(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, is_first: bool
    ) -> tuple[Samples, NDArray[np.bool_]]:
        """The samples that count, with weight above 0 and known targets; and a flag for each given sample."""
        inputs, labels = self._labels(X, y, is_first=is_first)
        weights = weights_of(sample_weight, len(inputs))
        counted = (weights > 0) & ~missing_targets(labels)
        if not counted.any():
            raise check.reject("y", "known for at least one sample of weight above 0", "only NaN")
        targets, weights = self._encode(labels[counted], weights[counted])
        return Samples(inputs[counted], targets, weights), counted

    def _new_seeds(self, n: int) -> list[int]:
        generator = check_random_state(self.random_state)
        return [int(generator.randint(np.iinfo(np.int32).max)) for _ in range(n)]

    def _inputs(self, X: ArrayLike) -> Array:
        """Inputs (n_samples, n_features) for the fitted network."""
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=np.float64, reset=False))

    def _columns(self) -> Columns | None:
        """The columns of the fit's data frame, if all of them had names."""
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else Columns(tuple(Column(str(name)) for name in names))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "net_")

    @property
    def _one_net(self) -> NN:
        """The network, or the single network with the predictions of an ensemble."""
        net: NN | Ensemble = self.net_
        if isinstance(net, NN):
            return net
        try:
            return net.merged()
        except check.InvalidArgumentError as error:
            raise AttributeError(str(error)) from None

    @property
    def coefs_(self) -> list[Array]:
        """Weights of each layer, (n_in, n_out), for inputs and targets in their own units."""
        return [np.ascontiguousarray(W.T) for W, _ in folded_layers(self._one_net)]

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer, (n_out,), for inputs and targets in their own units."""
        return [b for _, b in folded_layers(self._one_net)]

    @property
    def n_layers_(self) -> int:
        """The number of layers, including those of inputs and outputs."""
        return len(self._one_net.layers) + 1

    @property
    def n_outputs_(self) -> int:
        """Targets."""
        return int(self.net_.n_targets)


def _out_activation(net: NN, loss: Loss) -> str:
    """The function from the last layer's outputs to predictions, by scikit-learn's name."""
    last = net.activations[-1].name
    return _OUT_ACTIVATIONS.get(loss.name, _ACTIVATIONS.get(last, last))
