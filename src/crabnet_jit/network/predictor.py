"""The base class of networks and ensembles, which predict."""

import importlib
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
    """Something with a schema that converts inputs to numbers (`response`); this class interprets these."""

    @property
    @abstractmethod
    def in_features(self) -> int:
        """The number of inputs."""

    @property
    @abstractmethod
    def out_features(self) -> int:
        """The number of outputs."""

    @property
    @abstractmethod
    def schema(self) -> Schema:
        """The meaning of the numbers."""

    @property
    @abstractmethod
    def domain(self) -> Domain | None:
        """The region of the inputs of the fit."""

    @property
    @abstractmethod
    def knows_noise(self) -> bool:
        """Whether its standard deviations include the noise of new observations."""

    @abstractmethod
    def response(self, x: Any) -> Array:
        """Outputs (n_samples, out_features) in units of the data, without logarithms; or probabilities."""

    @abstractmethod
    def predict_proba(self, x: Any) -> Array:
        """Probabilities (n_samples, n_classes) of a classifier."""

    @abstractmethod
    def standard_deviations(self, rows: Array) -> Array:
        """Standard deviations of new observations (n_samples, n_targets) as in `predict`; x is encoded."""

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
        """The names of the inputs; a column of strings becomes several, one for each category."""
        columns = self.schema.columns
        return default_names("x", self.in_features) if columns is None else columns.encoded_names

    @property
    def output_names(self) -> list[str]:
        """The names of what is predicted: the targets, or classes."""
        return self.schema.names_of_outputs(self.out_features)

    @property
    def n_targets(self) -> int:
        """The number of targets that it predicts, each by one or several outputs."""
        return self.schema.n_targets(self.out_features)

    def predict(self, x: Any, outside: str = "ignore", return_std: bool = False) -> Any:
        """Predictions for x in the units of the data; for a classifier, labels.

        After a fit with `Quantile`, predictions are the quantile next to the median; after a fit with
        `Poisson` or `GaussianNLL`, they are means.

        Parameters
        ----------
        x : array_like of shape (n_samples, in_features), or a data frame
            Inputs in the units of the data; of shape (n_samples,) if there is only one. A data frame must
            have the columns of the fit, in any order. An array has a column for each of `input_names`.
        outside : {"ignore", "warn", "nan", "raise"}, default "ignore"
            What to do with samples outside the box of the inputs of the fit, see `is_inside`: nothing, a
            RuntimeWarning, NaN instead of the prediction of a regression, or an error.
        return_std : bool, default False
            Whether to return the standard deviations of new observations, too: those of the noise and of the
            network together, in the shape and units of the predictions. The network needs a `posterior`,
            which a fit with `BayesianRegularization` finds. After a fit with `GaussianNLL`, they are those of
            the noise only.

        Returns
        -------
        ndarray, or two of them
            In the shape of y in the fit: (n_samples,) or (n_samples, n_targets). For a classifier, one
            of `classes` for each sample, (n_samples,); or, for each class, 1 if it applies and 0 if not,
            (n_samples, n_classes).

        Raises
        ------
        InvalidArgumentError
            If x has another shape, missing or unknown columns or categories, or numbers that are not finite.
        """
        if check.flag("return_std", return_std):
            return self.predict(x, outside), self._as_targets(self.standard_deviations(self.encode(x)))
        values = self.response(x)
        schema = self.schema
        if outside != "ignore":
            values = self._guarded(values, x, check.choice("outside", outside, _OUTSIDE))
        if schema.task == "multilabel":
            return (values > 0.5).astype(np.int64)
        if schema.labels is not None:
            chosen = values[:, 0] > 0.5 if self.out_features == 1 else values.argmax(axis=1)
            return schema.labels.values[chosen.astype(np.intp)]
        if schema.n_heads > 1:
            values = self._of_targets(values)
        return values[:, 0] if schema.is_flat else values

    def _as_targets(self, values: Array) -> Array:
        """Values (n_samples, n_targets) in the shape of y in the fit."""
        return values[:, 0] if self.schema.is_flat else values

    def _of_targets(self, values: Array) -> Array:
        """The predictions (n_samples, n_targets) among the values of all outputs."""
        first = self.schema.middle * self.n_targets
        return values[:, first : first + self.n_targets]

    def predictions(self, x: Any) -> Array:
        """Predictions of a regression (n_samples, n_targets), or the `response` of a classifier."""
        values = self.response(x)
        return values if self.schema.labels is not None else self._of_targets(values)

    @property
    def interval_level(self) -> float | None:
        """The level of the intervals that scores and pictures show: 0.9, or the largest of its quantiles.

        It is None if there are no intervals.
        """
        intervals = importlib.import_module("crabnet_jit.network.intervals")
        if levels := intervals.levels_of(self.schema.quantiles):
            return float(intervals.NINE_OF_TEN if intervals.NINE_OF_TEN in levels else levels[-1])
        return float(intervals.NINE_OF_TEN) if self.knows_noise else None

    @check.keywords
    def interval(self, x: Any, level: float = 0.9, *, sort: bool = True) -> tuple[Array, Array]:
        """Lower and upper bounds between which new observations lie with a probability of `level`.

        After a fit with `Quantile`, these are the quantiles (1 - level) / 2 and (1 + level) / 2, which must
        be among those of the loss. After a fit with `GaussianNLL` or `BayesianRegularization`, they are the
        prediction plus and minus as many standard deviations as a normal variable needs, 1.645 for 0.9. For
        an `Ensemble` after `calibrate`, the calibration determines them, whatever its members learned.

        Parameters
        ----------
        x
            As in `predict`.
        level : float, default 0.9
            Above 0 and below 1.
        sort : bool, default True
            Whether to sort quantiles if a network gives them in the wrong order.

        Returns
        -------
        two ndarrays
            Each in the shape and units of the predictions.

        Raises
        ------
        InvalidArgumentError
            If the network does not know the noise, or does not have these quantiles; or as in `predict`.

        Examples
        --------
        >>> import numpy as np
        >>> from crabnet_jit import fit
        >>> x = np.linspace(0, 1, 500)
        >>> y = np.random.default_rng(0).normal(size=500)
        >>> low, high = fit(x, y, loss="gaussian_nll", n_iterations=1000).interval(x)
        >>> bool(0.85 < ((low <= y) & (y <= high)).mean() < 0.95)
        True
        """
        low, high = self.interval_of(self.encode(x), level, sort=sort)
        return self._as_targets(low), self._as_targets(high)

    def interval_of(self, rows: Array, level: float, *, sort: bool = True) -> tuple[Array, Array]:
        """The same (n_samples, n_targets) for encoded inputs."""
        intervals = importlib.import_module("crabnet_jit.network.intervals")
        level = check.fraction("level", level, open_low=True)
        check.flag("sort", sort)
        if quantiles := self.schema.quantiles:
            low, high = intervals.places_of(level, quantiles)
            of_targets = self._of_quantiles(rows, sort)
            return of_targets[:, :, low], of_targets[:, :, high]
        if self.interval_level is None:
            allowed = "one that knows the noise, after a fit with the loss quantile or gaussian_nll, or with "
            raise check.reject("net", f"{allowed}bayesian_regularization", "one that does not")
        reach = intervals.deviations_of(level) * self.standard_deviations(rows)
        mean = self.predictions(rows)
        return mean - reach, mean + reach

    @check.keywords
    def predict_quantiles(self, x: Any, *, sort: bool = True) -> Array:
        """All quantiles that the network was fitted for, with the loss `Quantile`.

        Parameters
        ----------
        x
            As in `predict`.
        sort : bool, default True
            Whether to sort quantiles in the wrong order, for each sample and target.

        Returns
        -------
        ndarray
            (n_samples, n_quantiles) if y was (n_samples,), else (n_samples, n_targets, n_quantiles).

        Examples
        --------
        >>> import numpy as np
        >>> from crabnet_jit import Quantile, fit
        >>> x = np.linspace(0, 1, 50)
        >>> net = fit(x, x**2, loss=Quantile([0.1, 0.5, 0.9]), n_iterations=100)
        >>> net.predict_quantiles([0.0, 0.5]).shape
        (2, 3)
        """
        of_targets = self._of_quantiles(self.encode(x), check.flag("sort", sort))
        return of_targets[:, 0] if self.schema.is_flat else of_targets

    def count_crossings(self, x: Any) -> int:
        """The number of pairs of neighbouring quantiles in the wrong order, for x as in `predict`.

        There are n_quantiles - 1 pairs for each sample and target.

        Examples
        --------
        >>> import numpy as np
        >>> from crabnet_jit import Quantile, fit
        >>> x = np.linspace(0, 1, 50)
        >>> net = fit(x, np.cos(9 * x), loss=Quantile([0.1, 0.9]), n_iterations=2000)
        >>> 0 <= net.count_crossings(x) <= 50
        True
        """
        intervals = importlib.import_module("crabnet_jit.network.intervals")
        return int(intervals.crossings(self._of_quantiles(self.encode(x), sort=False)))

    def _of_quantiles(self, rows: Array, sort: bool) -> Array:
        """All quantiles (n_samples, n_targets, n_quantiles), for encoded inputs."""
        if not self.schema.quantiles:
            raise check.reject(
                "net", "one with quantiles, after a fit with the loss Quantile(q)", "one without"
            )
        intervals = importlib.import_module("crabnet_jit.network.intervals")
        of_targets: Array = intervals.by_target(self.response(rows), self.n_targets)
        return np.sort(of_targets, axis=2) if sort else of_targets

    def _guarded(self, values: Array, x: Any, outside: str) -> Array:
        """The values, after `outside` was applied."""
        if outside == "nan" and self.schema.labels is not None:
            raise check.reject("outside", "another one for a classifier, whose labels cannot be NaN", "'nan'")
        is_outside = ~self.is_inside(x)
        if not is_outside.any():
            return values
        if outside == "nan":
            return np.where(is_outside[:, None], np.nan, values)
        message = f"{is_outside.sum()} of {len(is_outside)} samples lie outside the inputs of the fit"
        if outside == "raise":
            at = int(is_outside.argmax())
            raise check.reject("x", "inside the inputs of the fit", f"{message}, the first at index {at}")
        warnings.warn(f"{message}: the network extrapolates", RuntimeWarning, stacklevel=3)
        return values

    def is_inside(self, x: Any) -> NDArray[np.bool_]:
        """Whether each sample (n_samples,) is in the box of the inputs of the fit, for x as in `predict`.

        In compiled code, `net.is_inside(x0, x1, …)` is a boolean.

        Raises
        ------
        InvalidArgumentError
            If the network was not fitted and has no `domain`; or as in `predict`.

        Examples
        --------
        >>> from crabnet_jit import fit
        >>> fit([0.0, 1.0, 2.0], [0.0, 1.0, 4.0], n_iterations=10).is_inside([1.5, 2.5])
        array([ True, False])
        """
        if self.domain is None:
            raise check.reject(
                "net", "fitted, so that it knows the region of its inputs", "one without a domain"
            )
        return self.domain.contains(self.encode(x))

    def __call__(self, x: Any) -> Array:
        """What a call in compiled code returns: predictions, or probabilities for a classifier.

        It is the same as `predict` for a regression with one output for each target, and as `predict_proba`
        for a classifier. With several outputs for each target, it is (n_samples, out_features): the first
        quantiles of all targets, then the second ones, …; or the means of all targets, then the standard
        deviations.
        """
        if self.schema.labels is not None:
            return self.predict_proba(x)
        return self.predict(x) if self.schema.n_heads == 1 else self.response(x)

    def encode(self, x: Any) -> Array:
        """Inputs (n_samples, in_features), in the units of the data, from x as in `predict`."""
        return self.schema.encode(x, self.in_features)
