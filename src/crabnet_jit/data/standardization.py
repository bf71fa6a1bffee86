"""Units in which inputs and targets have mean 0 and standard deviation 1."""

from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.summary import fields, summary


class Standardization(NamedTuple):
    """The means and standard deviations with which inputs and targets were standardised.

    Each is an array with one number per feature. If each target has several outputs, all of these have units;
    the targets have the units of the first outputs.
    """

    x_mean: Array
    x_std: Array
    y_mean: Array
    y_std: Array

    def __repr__(self) -> str:
        return summary(self, *fields(self))

    def inputs(self, x: Array) -> Array:
        """(x - x_mean) / x_std for x (…, in_features)."""
        return _standardized(x, self.x_mean, self.x_std)

    def targets(self, y: Array) -> Array:
        """(y - y_mean) / y_std for y (…, n_targets)."""
        n_targets = y.shape[-1]
        return _standardized(y, self.y_mean[:n_targets], self.y_std[:n_targets])

    def finite_inputs(self, x: Array, dtype: "np.dtype[Any]") -> Array:
        """The same in this type, in which all must be finite."""
        return check.array("x, standardised,", self.inputs(x), dtype)

    def finite_targets(self, y: Array, dtype: "np.dtype[Any]") -> Array:
        """The same in this type, in which all must be finite, except unknown ones: NaN."""
        return check.array("y, standardised,", self.targets(y), dtype, allow_nan=True)

    def derivatives(self, dy: Array) -> Array:
        """dy * x_std / y_std, for derivatives of targets dy (…, out_features, in_features)."""
        with np.errstate(over="ignore", invalid="ignore"):
            return dy * self.x_std / self.y_std[:, None]

    def finite_derivatives(self, dy: Array, dtype: "np.dtype[Any]") -> Array:
        """The same in this type, in which all known ones must be finite."""
        return check.array("dy, standardised,", self.derivatives(dy), dtype, allow_nan=True)

    def outputs(self, z: Array) -> Array:
        """Targets in the units of the data, z * y_std + y_mean."""
        with np.errstate(over="ignore", invalid="ignore"):
            return z * self.y_std + self.y_mean


def _standardized(values: Array, mean: Array, std: Array) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        return (values - mean) / std
