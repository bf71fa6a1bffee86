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

# The noise levels that a calibration tries, relative to the typical standard deviation of an ensemble.
_NOISES = 10.0 ** np.arange(-2.0, 2.1, 0.25)


class Ensemble(Predictor):
    """Networks that predict together: the mean, and how far they disagree.

    Parameters
    ----------
    networks : sequence of NN
        At least one network, for the same inputs and targets, such as the result of `fit_many`. They may have
        any sizes.

    Attributes
    ----------
    members : tuple of NN
        The networks.
    is_calibrated : bool
        Whether `calibrate` was called and there are intervals.
    schema, classes, input_names, output_names
        As in `NN`.

    Raises
    ------
    InvalidArgumentError
        If the networks do not fit together; the message names the first that does not match.

    Notes
    -----
    Members disagree where the data leave them uncertain; this spread is one part of the standard deviation.
    The other part is the noise of the data, which only `GaussianNLL` and `BayesianRegularization` learn. The
    variance is that of the members' predictions plus the mean of the members' own variances, as for an
    equal mixture [1]_. Neither guarantees that a given share of new data lies within it; `calibrate` does.

    In compiled code and in `export`, an ensemble is the single network from `merged`, as it was at
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
            hint = "; the `networks` of fit_many's result exclude those that diverged" if net is None else ""
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
        """The number of inputs."""
        return self.members[0].in_features

    @property
    def out_features(self) -> int:
        """The number of outputs."""
        return self.members[0].out_features

    @property
    def schema(self) -> Schema:
        """The meaning of the numbers: columns, classes, the shape of y."""
        return self.members[0].schema

    @property
    def domain(self) -> Domain | None:
        """A box around the members' domains; None if one of them was not fitted."""
        return union(self.members)

    @property
    def knows_noise(self) -> bool:
        """Whether members know the noise, so that the standard deviations include it."""
        return any(net.knows_noise for net in self.members)

    @property
    def is_calibrated(self) -> bool:
        """Whether there are intervals."""
        return self._scores is not None

    def response(self, x: Any) -> Array:
        """Means (n_samples, out_features) of the values or probabilities that the members predict.

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
            If the members are not classifiers; or as in `predict`.
        """
        shares: Array = np.mean([net.predict_proba(x) for net in self.members], axis=0)
        return shares

    def vote(self, x: Any) -> NDArray[Any]:
        """The classes that most members predict; in a tie, the most probable one.

        `predict` returns the classes with the largest mean probability.

        Parameters
        ----------
        x
            As in `predict`.

        Returns
        -------
        ndarray
            With the shape that `predict` returns.
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
        """Standard deviations of new observations (n_samples, n_targets), for inputs as in `predict`."""
        if self.schema.labels is not None:
            raise check.reject("return_std", "False for classes, see predict_proba", "True")
        variance = np.var([net.predictions(rows) for net in self.members], axis=0)
        noises = [net.standard_deviations(rows) ** 2 for net in self.members if net.knows_noise]
        std: Array = np.sqrt(variance + np.mean(noises, axis=0) if noises else variance)
        return std

    @check.keywords
    def calibrate(self, x: Any, y: Any) -> Self:
        """Learn from other data how wide intervals must be; return the ensemble.

        Parameters
        ----------
        x, y
            Inputs and targets, as in `fit`, of samples that no member was fitted to: n samples give intervals
            up to the level n / (n + 1). NaN means an unknown target.

        Raises
        ------
        InvalidArgumentError
            For classes, for x and y of other shapes, or if no target is known.

        Notes
        -----
        This is split conformal prediction [1]_: the scores abs(y - mean) / s of the samples are kept. If a
        new sample comes from the same distribution, its score is equally likely to fall anywhere among them.
        So an interval mean ± q s, where q is a quantile of the scores, holds a given share of new samples, no
        matter how good the members are. This is true on average over calibrations and samples, not
        everywhere.

        The scale s, with s^2 = std^2 + noise^2, is there to make intervals locally right. The members'
        disagreement does not contain the noise, so a constant noise is added: the one for which the errors of
        these samples are most likely, if they are normal with a standard deviation proportional to s. With
        one member, s is constant.

        References
        ----------
        .. [1] J. Lei, M. G'Sell, A. Rinaldo, R. Tibshirani, L. Wasserman, "Distribution-free predictive
           inference for regression", 2018.
        """
        if self.schema.labels is not None:
            raise check.reject("networks", "regressions for a calibration", "classifiers")
        mean, std = self.predictions(x), self.standard_deviations(x)
        targets = check.samples(
            "y", check.rows("y", targets_of(y)[1], allow_nan=True), self.n_targets, allow_nan=True
        )
        if len(targets) != len(mean):
            raise check.reject("y", f"of as many samples as x, {len(mean)}", f"{len(targets)}")
        if np.isnan(targets).all(axis=0).any():
            raise check.reject("y", "known for at least one sample, for each target", "only NaN")
        errors = np.abs(targets - mean)
        self._noise = np.array([_likeliest_noise(*both) for both in zip(errors.T, std.T, strict=True)])
        self._scores = np.sort(errors / np.hypot(std, self._noise), axis=0)
        return self

    @property
    def interval_level(self) -> float | None:
        """The level of the intervals that scores and pictures show; None if it has no intervals.

        After a calibration it is 0.9, or the largest level if there were too few samples for that.
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
        """The result of `calibrate`, for files; empty if there is none."""
        return {} if self._scores is None else {"scores": self._scores, "noise_std": self._noise}

    def take_calibration(self, scores: Array, noise_std: Array) -> None:
        """Take over the `calibration` of another ensemble."""
        scores = check.samples("scores", scores, self.n_targets, allow_nan=True)
        if not (scores >= 0)[~np.isnan(scores)].all() or np.isnan(scores).all(axis=0).any():
            raise check.reject("scores", "at least 0, and some known for each target", "others")
        noise = check.same_shape("noise_std", noise_std, (self.n_targets,))
        if noise.min() <= 0:
            raise check.reject("noise_std", "above 0", f"{noise.min()}")
        self._scores, self._noise = np.sort(scores, axis=0), noise

    def merged(self) -> NN:
        """One network with the ensemble's predictions, up to rounding: for other programs, and for speed.

        Its hidden layers are those of all members side by side, so the number of weights between layers grows
        with the square of the number of members; most of them are 0.

        Raises
        ------
        InvalidArgumentError
            If no network can give the mean: for classifiers, `Poisson` and `GaussianNLL`; for members with
            different depths or activations, or with an output activation.

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
        """Its type in compiled code, which Numba looks up."""
        try:
            return self._compiled._numba_type_
        except check.InvalidArgumentError as error:  # Numba ignores exceptions here
            network_type = importlib.import_module("crabnet_jit.machine.network_type").NetworkType
            n_values = self.schema.n_values(self.out_features)
            return network_type(self.in_features, self.out_features, n_values, str(error))

    @property
    def _record_address(self) -> int:
        """The address that compiled code holds."""
        return self._compiled._record_address

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_compiled"}


def _check_like(first: NN, net: NN, name: str) -> None:
    """Check that a member predicts the same quantities as the first one."""
    for width in ("in_features", "out_features"):
        if getattr(net, width) != getattr(first, width):
            allowed = f"that of networks[0], {getattr(first, width)}"
            raise check.reject(f"{name}.{width}", allowed, repr(getattr(net, width)))
    wanted, came = (replace(each.schema, means=None).values() for each in (first, net))
    for key, value in wanted.items():
        if came[key] != value:
            raise check.reject(f"{name}.schema.{key}", f"that of networks[0], {value!r}", repr(came[key]))


def _likeliest_noise(errors: Array, std: Array) -> float:
    """The noise to add to standard deviations, above 0, for errors (n_samples,), of which some may be NaN.

    Of the noise levels tried, this is the most likely one if errors are normal with a standard deviation of
    any factor times s. With the best factor, the log-likelihood is, up to a constant,
    -sum(log(s)) - n / 2 log(mean((error / s)^2)).
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
    """The score that a new one does not exceed with this probability; scores are sorted, NaN at the end."""
    n = int(np.count_nonzero(~np.isnan(scores)))
    rank = math.ceil((n + 1) * level - 1e-9)
    if rank > n:
        allowed = f"at most {n / (n + 1):.4g} for a calibration with {n} samples"
        raise check.reject("level", allowed, f"{level:g}")
    return float(scores[max(rank, 1) - 1])
