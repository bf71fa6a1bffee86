"""The domain of a data set's inputs: outside it, a network extrapolates."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.moments import moments
from crabnet_jit.summary import fields, summary


class Domain(NamedTuple):
    """The box, the mean and the covariance of inputs.

    `low`, `high` and `mean` are (in_features,), `covariance` is (in_features, in_features).
    """

    low: Array
    high: Array
    mean: Array
    covariance: Array

    def __repr__(self) -> str:
        return summary(self, *fields(self))

    @classmethod
    def of(cls, x: Array, weights: Array, earlier: "Domain | None" = None) -> "Domain":
        """The domain of samples (n_samples, in_features) of weight above 0; the box includes `earlier`."""
        counted = weights > 0
        rows, shares = x[counted], weights[counted]
        low, high = rows.min(axis=0), rows.max(axis=0)
        if earlier is not None:
            low, high = np.minimum(low, earlier.low), np.maximum(high, earlier.high)
        mean, std, is_constant = moments(rows, shares)
        scale = np.where(is_constant, 1.0, std)
        with np.errstate(over="ignore", invalid="ignore"):
            z = (rows - mean) / scale
            covariance = (z * shares[:, None]).T @ z / shares.sum() * np.outer(scale, scale)
        largest = np.finfo(np.float64).max
        return cls(low, high, mean, np.nan_to_num(covariance, nan=0.0, posinf=largest, neginf=-largest))

    @classmethod
    def checked(cls, parts: "Domain", in_features: int) -> "Domain":
        """The same, if it fits a network with this many inputs."""
        flat, square = (in_features,), (in_features, in_features)
        shapes = zip(cls._fields, parts, (flat, flat, flat, square), strict=True)
        domain = cls(
            *(check.same_shape(f"domain.{name}", part, shape).copy() for name, part, shape in shapes)
        )
        if not (domain.low <= domain.high).all():
            raise check.reject("domain.low", "at most domain.high", f"{domain.low}")
        return domain

    def contains(self, x: Array) -> NDArray[np.bool_]:
        """Whether each sample of x (n_samples, in_features) is in the box or on its border."""
        return np.asarray(((x >= self.low) & (x <= self.high)).all(axis=1))
