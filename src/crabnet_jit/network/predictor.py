"""What predicts: a network, or an ensemble of them."""

import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.domain import Domain
from crabnet_jit.network.schema import Schema, default_names

_OUTSIDE = "ignore", "warn", "nan", "raise"


class Predictor(ABC):
    """Something with a schema, that makes numbers of inputs (`response`); here is what these mean."""

    @property
    @abstractmethod
    def in_features(self) -> int:
        """Width of the input."""

    @property
    @abstractmethod
    def out_features(self) -> int:
        """Width of the output."""

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """What the numbers mean."""

    @property
    @abstractmethod
    def domain(self) -> Domain | None:
        """Where the inputs of the fit lie."""

    @property
    @abstractmethod
    def has_std(self) -> bool:
        """Whether `predict` has standard deviations."""

    @abstractmethod
    def response(self, x: Any) -> Array:
        """Numbers (n_samples, out_features): what outputs mean in the units of the data, or probabilities."""

    @abstractmethod
    def predict_proba(self, x: Any) -> Array:
        """Probabilities (n_samples, n_classes) of a classifier."""

    @abstractmethod
    def standard_deviations(self, x: Any) -> Array:
        """Those of new observations (n_samples, n_targets), for x as in `predict`."""

    @property
    def classes(self) -> NDArray[Any] | None:
        """The labels of a classifier, in the order of its probabilities; None for a regression."""
        return None if self.schema.labels is None else self.schema.labels.values

    @property
    def feature_names(self) -> list[str] | None:
        """The columns that a data frame must have for `predict`; None if there was none in the fit."""
        return None if self.schema.columns is None else self.schema.columns.names

    @property
    def input_names(self) -> list[str]:
        """What the inputs are called; a column of texts is several, one for each category."""
        columns = self.schema.columns
        return default_names("x", self.in_features) if columns is None else columns.encoded_names

    @property
    def output_names(self) -> list[str]:
        """What is predicted: the targets, or classes."""
        return self.schema.names_of_outputs(self.out_features)

    @property
    def n_targets(self) -> int:
        """How many targets it predicts, each by one output, or by several."""
        return self.schema.n_targets(self.out_features)

    def predict(self, x: Any, outside: str = "ignore", return_std: bool = False) -> Any:
        """What x leads to, in the units of the data; of a classifier the labels.

        After a fit with `Quantile`, predictions are those of the quantile next to the median; after one with
        `Poisson` or `GaussianNLL`, means.

        Parameters
        ----------
        x : array_like of shape (n_samples, in_features), or a data frame
            Inputs in the units of the data; of shape (n_samples,) if there is one. A data frame must have the
            columns of the fit, in any order. An array has a column for each of `input_names`.
        outside : {"ignore", "warn", "nan", "raise"}, default "ignore"
            What to do with samples outside of the box of the inputs of the fit, see `is_inside`: nothing, a
            RuntimeWarning, NaN in place of the prediction of a regression, or an error.
        return_std : bool, default False
            Whether to give the standard deviations of new observations, too: those of the noise and of the
            network together, in the shape and units of the predictions. The network needs a `posterior`,
            which a fit with `BayesianRegularization` has found. After a fit with `GaussianNLL`, they are
            those of the noise.

        Returns
        -------
        ndarray, or two of them
            Of the shape of the y of the fit: (n_samples,) or (n_samples, n_targets). For a classifier one
            of `classes` for each sample, (n_samples,); or for each class 1 if it holds and 0 if not,
            (n_samples, n_classes).

        Raises
        ------
        InvalidArgumentError
            If x has another shape, missing or unknown columns or categories, or numbers that are not finite.
        """
        if check.flag("return_std", return_std):
            return self.predict(x, outside), self._standard_deviations(x)
        values = self.response(x)
        schema = self.schema
        if outside != "ignore":
            values = self._guarded(values, x, check.choice("outside", outside, _OUTSIDE))
        if schema.task == "multilabel":
            return (values > 0.5).astype(np.int64)
        if schema.labels is not None:
            chosen = values[:, 0] > 0.5 if self.out_features == 1 else values.argmax(axis=1)
            return schema.labels.values[chosen.astype(np.intp)]
        values = self._of_targets(values)
        return values[:, 0] if schema.is_flat else values

    def _of_targets(self, values: Array) -> Array:
        """Of the values of all outputs the predictions (n_samples, n_targets)."""
        first = self.schema.middle * self.n_targets
        return values[:, first : first + self.n_targets]

    def predictions(self, x: Any) -> Array:
        """Predictions of a regression (n_samples, n_targets), or what `response` gives of a classifier."""
        values = self.response(x)
        return values if self.schema.labels is not None else self._of_targets(values)

    def _standard_deviations(self, x: Any) -> Array:
        std = self.standard_deviations(x)
        return std[:, 0] if self.schema.is_flat else std

    def _guarded(self, values: Array, x: Any, outside: str) -> Array:
        """The values, after what `outside` says was done."""
        if outside == "nan" and self.schema.labels is not None:
            raise check.reject("outside", "another one for a classifier, whose labels are not NaN", "'nan'")
        is_outside = ~self.is_inside(x)
        if not is_outside.any():
            return values
        if outside == "nan":
            return np.where(is_outside[:, None], np.nan, values)
        message = f"{is_outside.sum()} of {len(is_outside)} samples lie outside of the inputs of the fit"
        if outside == "raise":
            at = int(is_outside.argmax())
            raise check.reject("x", "inside of the inputs of the fit", f"{message}, the first at index {at}")
        warnings.warn(f"{message}: the network extrapolates", RuntimeWarning, stacklevel=3)
        return values

    def is_inside(self, x: Any) -> NDArray[np.bool_]:
        """Whether each sample lies in the box of the inputs of the fit (n_samples,), for x as in `predict`.

        In compiled code, `net.is_inside(x0, x1, …)` is a boolean.

        Raises
        ------
        InvalidArgumentError
            If the network was not fitted, and has no `domain`; or as `predict`.

        Examples
        --------
        >>> from crabnet_jit import fit
        >>> fit([0.0, 1.0, 2.0], [0.0, 1.0, 4.0], n_iterations=10).is_inside([1.5, 2.5])
        array([ True, False])
        """
        if self.domain is None:
            raise check.reject("net", "fitted, so that it knows where its inputs lay", "one without a domain")
        return self.domain.contains(self.encode(x))

    def __call__(self, x: Any) -> Array:
        """What a call in compiled code gives: predictions, or probabilities of a classifier.

        As `predict` for a regression with one output for each target, as `predict_proba` for a classifier.
        With several outputs for each, (n_samples, out_features): the first quantiles of all targets, then the
        second ones, …; or the means of all targets, then the standard deviations.
        """
        if self.schema.labels is not None:
            return self.predict_proba(x)
        return self.predict(x) if self.schema.n_heads == 1 else self.response(x)

    def encode(self, x: Any) -> Array:
        """Inputs (n_samples, in_features), in the units of the data, of x as in `predict`."""
        return self.schema.encode(x, self.in_features)
