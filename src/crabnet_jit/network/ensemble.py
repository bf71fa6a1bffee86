"""Several networks that predict together."""

import functools
import importlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.data.columns import targets_of
from crabnet_jit.data.domain import Domain
from crabnet_jit.network.intervals import NINE_OF_TEN
from crabnet_jit.network.merging import merged, union
from crabnet_jit.network.network import NN
from crabnet_jit.network.predictor import Predictor
from crabnet_jit.network.schema import Schema
from crabnet_jit.summary import counted, summary

# What a calibration tries as noise, over the usual standard deviation of an ensemble.
_NOISES = 10.0 ** np.arange(-2.0, 2.1, 0.25)


class Ensemble(Predictor):
    """Networks that predict together: the mean, and how far they disagree.

    Parameters
    ----------
    networks : sequence of NN
        At least one, for the same inputs and targets, such as `fit_many` gives. They may have any sizes.

    Attributes
    ----------
    members : tuple of NN
        The networks.
    is_calibrated : bool
        Whether `calibrate` was called, so that there are intervals.
    schema, classes, input_names, output_names
        As in `NN`.

    Raises
    ------
    InvalidArgumentError
        If the networks do not fit together; the message names the first that does not.

    Notes
    -----
    What the members do not know, they disagree about; their spread is one part of the standard deviation. The
    noise of the data is the other one, which only `GaussianNLL` and `BayesianRegularization` learn:
    the variance is that of the members' predictions plus the mean of the members' own variances, as of an
    equal mixture [1]_. Neither part promises that a given share of new data lies within it; `calibrate` does.

    In compiled code, and in `export`, an ensemble is the one network that `merged` gives, as it was at
    the first call.

    References
    ----------
    .. [1] B. Lakshminarayanan, A. Pritzel, C. Blundell, "Simple and scalable predictive uncertainty
       estimation using deep ensembles", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import Ensemble, fit_many
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 10, (300, 1))
    >>> y = np.sin(x) + rng.normal(0, 0.1, x.shape)
    >>> networks = fit_many([{"seed": k} for k in range(3)], x[:200], y[:200], n_iterations=500)
    >>> ensemble = Ensemble(networks).calibrate(x[200:], y[200:])
    >>> mean, std = ensemble.predict([[5.0]], return_std=True)
    >>> low, high = ensemble.interval([[5.0]], level=0.9)
    >>> bool(low < mean < high)
    True
    """

    @check.keywords
    def __init__(self, networks: Sequence[NN | None]) -> None:
        if not check.is_iterable(networks):
            raise check.reject("networks", "a sequence of networks", repr(networks))
        members = list(networks)
        if not members:
            raise check.reject("networks", "at least one", "none")
        for k, net in enumerate(members):
            hint = "; `networks` of what fit_many gives leaves out those that diverged" if net is None else ""
            if not isinstance(net, NN):
                raise check.reject(f"networks[{k}]", "an NN", repr(net), hint)
        self.members: tuple[NN, ...] = tuple(net for net in members if net is not None)
        for k, net in enumerate(self.members):
            _check_like(self.members[0], net, f"networks[{k}]")
        self._scores: Array | None = None
        self._noise = np.ones(self.n_targets)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, k: int) -> NN:
        return self.members[k]

    def __iter__(self) -> Iterator[NN]:
        return iter(self.members)

    def __repr__(self) -> str:
        first, *others = self.members
        alike = all(net.spec == first.spec for net in others)
        return summary(self, counted(len(self), "network"), *([repr(first)] if alike else map(repr, self)))

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.members[0].in_features

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.members[0].out_features

    @property
    def schema(self) -> Schema:
        """What the numbers mean: columns, classes, the shape of y."""
        return self.members[0].schema

    @property
    def domain(self) -> Domain | None:
        """A box around those of the members; None if one was not fitted."""
        return union(self.members)

    @property
    def knows_noise(self) -> bool:
        """Whether members know the noise, so that the standard deviations have it in them."""
        return any(net.knows_noise for net in self.members)

    @property
    def is_calibrated(self) -> bool:
        """Whether there are intervals."""
        return self._scores is not None

    def response(self, x: Any) -> Array:
        """Means (n_samples, out_features) of what the members' outputs mean, or of their probabilities.

        After a fit with `GaussianNLL`, the second half has the standard deviations of new observations.
        """
        values: Array = np.mean([net.response(x) for net in self.members], axis=0)
        if self.schema.heads == "means_and_log_stds":
            values[:, self.n_targets :] = self.standard_deviations(x)
        return values

    def predict_proba(self, x: Any) -> Array:
        """The members' mean probabilities (n_samples, n_classes) of a classifier, in the order of `classes`.

        Raises
        ------
        InvalidArgumentError
            If the members are no classifiers; or as `predict`.
        """
        shares: Array = np.mean([net.predict_proba(x) for net in self.members], axis=0)
        return shares

    def vote(self, x: Any) -> NDArray[Any]:
        """The classes that most members predict; of those with equal votes, the most probable one.

        `predict` gives the classes of the largest mean probability.

        Parameters
        ----------
        x
            As in `predict`.

        Returns
        -------
        ndarray
            Of the shape of what `predict` gives.
        """
        shares = self.predict_proba(x)
        labels = self.schema.labels
        assert labels is not None
        votes = [net.predict(x) for net in self.members]
        if self.schema.task == "multilabel":
            counts = np.sum(votes, axis=0) + 1e-3 * (shares - 0.5)
            return np.asarray(counts > len(self) / 2, np.int64)
        counts = np.sum([vote[:, None] == labels.values for vote in votes], axis=0)
        return np.asarray(labels.values[(counts + 1e-3 * shares).argmax(axis=1)])

    def standard_deviations(self, rows: Array) -> Array:
        """Those of new observations (n_samples, n_targets), for inputs as in `predict`, encoded or not."""
        if self.schema.labels is not None:
            raise check.reject("return_std", "False for classes, see predict_proba", "True")
        variance = np.var([net.predictions(rows) for net in self.members], axis=0)
        noises = [net.standard_deviations(rows) ** 2 for net in self.members if net.knows_noise]
        std: Array = np.sqrt(variance + np.mean(noises, axis=0) if noises else variance)
        return std

    @check.keywords
    def calibrate(self, x: Any, y: Any) -> Self:
        """Learn from other data how wide intervals must be, and return the ensemble.

        Parameters
        ----------
        x, y
            Inputs and targets, as in `fit`, of samples that no member was fitted to: n of them give intervals
            up to the level n / (n + 1). NaN is for targets that are unknown.

        Raises
        ------
        InvalidArgumentError
            For classes; for x and y of other shapes, or if no target is known.

        Notes
        -----
        Split conformal prediction [1]_: the scores abs(y - mean) / s of the samples are kept. A new sample's
        score is as likely to lie at any place among them, if it comes from where they came. So an interval
        mean ± q s, with q their quantile, holds a given share of new samples, whatever the members are worth:
        on average, over calibrations and samples, not at each place.

        To be right at each place is what s is for, s^2 = std^2 + noise^2: the members' disagreement says
        nothing of the noise, so a constant is added, the one under which the errors of these samples are
        likeliest for a normal variable of the deviation s, but for a factor. With one member, s is constant.

        References
        ----------
        .. [1] J. Lei, M. G'Sell, A. Rinaldo, R. Tibshirani, L. Wasserman, "Distribution-free predictive
           inference for regression", 2018.
        """
        if self.schema.labels is not None:
            raise check.reject("networks", "regressions, to be calibrated", "classifiers")
        mean, std = self.predictions(x), self.standard_deviations(x)
        targets = check.samples(
            "y", check.rows("y", targets_of(y)[1], allow_nan=True), self.n_targets, allow_nan=True
        )
        if len(targets) != len(mean):
            raise check.reject("y", f"of as many samples as x, {len(mean)}", f"{len(targets)}")
        if np.isnan(targets).all(axis=0).any():
            raise check.reject("y", "known for some sample, for each target", "only NaN")
        errors = np.abs(targets - mean)
        self._noise = np.array([_likeliest_noise(*both) for both in zip(errors.T, std.T, strict=True)])
        self._scores = np.sort(errors / np.hypot(std, self._noise), axis=0)
        return self

    @property
    def interval_level(self) -> float | None:
        """The level of the intervals that scores and pictures show; None if it has no intervals.

        Calibrated, it is 0.9, or the largest one if there were fewer samples than that needs.
        """
        if self._scores is None:
            return super().interval_level
        n = int(np.count_nonzero(~np.isnan(self._scores), axis=0).min())
        return min(NINE_OF_TEN, n / (n + 1))

    def interval_of(self, rows: Array, level: float, *, sort: bool = True) -> tuple[Array, Array]:
        """The same as `interval`, (n_samples, n_targets), for encoded inputs."""
        if self._scores is None:
            return super().interval_of(rows, level, sort=sort)
        share = check.fraction("level", level, open_low=True)
        widths = np.array([_quantile(scores, share) for scores in self._scores.T])
        half = widths * np.hypot(self.standard_deviations(rows), self._noise)
        mean = self.predictions(rows)
        return mean - half, mean + half

    def calibration(self) -> dict[str, Array]:
        """What `calibrate` has learned, for files; empty if nothing."""
        return {} if self._scores is None else {"scores": self._scores, "noise_std": self._noise}

    def take_calibration(self, scores: Array, noise_std: Array) -> None:
        """Be calibrated as another ensemble, whose `calibration` this was."""
        scores = check.samples("scores", scores, self.n_targets, allow_nan=True)
        if not (scores >= 0)[~np.isnan(scores)].all() or np.isnan(scores).all(axis=0).any():
            raise check.reject("scores", "at least 0, and some for each target", "others")
        noise = check.same_shape("noise_std", noise_std, (self.n_targets,))
        if noise.min() <= 0:
            raise check.reject("noise_std", "above 0", f"{noise.min()}")
        self._scores, self._noise = np.sort(scores, axis=0), noise

    def merged(self) -> NN:
        """One network that gives the ensemble's predictions, to rounding: for other programs, and speed.

        Its hidden layers are those of all members side by side, so it has the square of their number of
        weights between layers, most of them 0.

        Raises
        ------
        InvalidArgumentError
            If no network gives the mean: for classifiers, `Poisson` and `GaussianNLL`; for members of
            different depths or activations, or an output activation.

        Examples
        --------
        >>> from crabnet_jit import NN, Ensemble
        >>> lines = [NN(1, [], 1, init=[slope, 1.0]) for slope in (1.0, 3.0)]
        >>> Ensemble(lines).merged().predict([[10.0]])
        array([[21.]])
        """
        return merged(self.members)

    @functools.cached_property
    def _compiled(self) -> NN:
        """The network that compiled code calls."""
        return self.merged()

    @property
    def _numba_type_(self) -> Any:
        """Its type in compiled code, by which Numba knows it."""
        try:
            return self._compiled._numba_type_
        except check.InvalidArgumentError as error:  # Numba ignores exceptions here
            network_type = importlib.import_module("crabnet_jit.machine.network_type").NetworkType
            n_values = self.schema.n_values(self.out_features)
            return network_type(self.in_features, self.out_features, n_values, str(error))

    @property
    def _record_address(self) -> int:
        """What compiled code has of it."""
        return self._compiled._record_address

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_compiled"}


def _check_like(first: NN, net: NN, name: str) -> None:
    """Accept a member that predicts what the first one does."""
    for width in ("in_features", "out_features"):
        if getattr(net, width) != getattr(first, width):
            allowed = f"that of networks[0], {getattr(first, width)}"
            raise check.reject(f"{name}.{width}", allowed, repr(getattr(net, width)))
    wanted, came = (replace(each.schema, means=None).values() for each in (first, net))
    for key, value in wanted.items():
        if came[key] != value:
            raise check.reject(f"{name}.schema.{key}", f"that of networks[0], {value!r}", repr(came[key]))


def _likeliest_noise(errors: Array, std: Array) -> float:
    """The noise to be added to standard deviations, above 0, for errors (n_samples,), some perhaps NaN.

    Of those tried, the one of the largest likelihood of errors that are normal, of a deviation that is any
    factor times s: with the best factor, its logarithm is less by n log(s) on average and by n / 2 times the
    logarithm of the mean of (error / s)^2.
    """
    is_known = ~np.isnan(errors)
    errors, std = errors[is_known], std[is_known]
    usual = float(np.sqrt(np.mean(std**2)))
    if usual == 0.0 or not errors.any():
        return usual or 1.0
    s = np.hypot(std, usual * _NOISES[:, None])
    losses = np.log(s).mean(axis=1) + 0.5 * np.log(np.mean((errors / s) ** 2, axis=1))
    return float(usual * _NOISES[losses.argmin()])


def _quantile(scores: Array, level: float) -> float:
    """The score that a new one does not exceed with this probability, of sorted ones, NaN at their end."""
    n = int(np.count_nonzero(~np.isnan(scores)))
    rank = math.ceil((n + 1) * level - 1e-9)
    if rank > n:
        allowed = f"at most {n / (n + 1):.4g} with {n} samples in the calibration"
        raise check.reject("level", allowed, f"{level:g}")
    return float(scores[max(rank, 1) - 1])
