"""A regressor for scikit-learn."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.losses import Loss, as_loss
from crabnet_jit.estimators.base import NNEstimator
from crabnet_jit.fitting.data_set import weights_of
from crabnet_jit.network.schema import Schema


class NNRegressor(RegressorMixin, NNEstimator):
    """A regressor for scikit-learn: a small network, fitted by `crabnet_jit.fit`.

    By default, an iteration takes all samples, so a sample of weight 2 counts exactly as if it were there
    twice.

    Parameters
    ----------
    hidden_sizes : sequence of int, default (32, 32)
        Widths of the hidden layers; () for a linear model.
    activation : Activation or str, or a sequence of them, default "silu"
        One for all hidden layers, or one for each, as in `NN`.
    output_activation : Activation or str, default "auto"
        The activation that keeps predictions in a range, as in `fit`: "softplus", "sigmoid" or "tanh".
    output_range : (low, high) or (low, None), optional
        Bounds of the predictions, numbers or one for each output, as in `fit`.
    init : str, default "auto"
        Initial parameters, as in `fit`.
    loss : Loss or str, default "mse"
        The loss, as in `Trainer`; not a cross entropy. "poisson" is for counts; "gaussian_nll" also learns
        the noise; with several quantiles, see `Quantile`, `predict` returns the one next to the median.
    optimizer : Optimizer or str, default "adam"
        As in `Trainer`.
    learning_rate : float or callable, default "auto"
        As in `fit`: a number is the peak of a `Cosine` schedule. In `partial_fit`, it is constant. "auto" is
        0.02; "levenberg_marquardt" has none.
    n_iterations : int, default 500
        The number of steps of a fit, at least 1. "levenberg_marquardt" may end earlier, see `n_iter_`.
    batch_size : int, optional
        Samples in a step, at least 1; by default all, which "levenberg_marquardt" needs. Minibatches need
        more and smaller steps.
    standardize : bool, default True
        Whether the network sees inputs and targets with mean 0 and standard deviation 1, as in `fit`.
    validation : float, optional
        The share of samples that is set aside, above 0 and at most 1. The network gets the parameters with
        the lowest validation loss, as in `fit`.
    patience : int, optional
        Needs `validation`: the fit ends after this many validation losses in a row without improvement.
    l1 : float, default 0.0
        Penalty on absolute parameters, as in `Trainer`.
    l2 : float, default 0.01
        Penalty on squared parameters, as in `Trainer`. The default suits noisy data; make it smaller for data
        with little noise.
    clip_value, clip_norm : float, optional
        Limits on gradients, as in `Trainer`.
    dropout : float or sequence of float, default 0.0
        One for all hidden layers, or one for each, as in `Trainer`.
    on_divergence : {"raise", "skip", "lower_rate"}, default "raise"
        What to do when a loss is not finite, as in `Trainer`.
    log_every : int, default 10000
        Iterations between two entries of the log of `net_.fit_history`.
    keep_losses : int, optional
        The least number of recent losses in `loss_curve_`; by default all.
    callbacks : sequence of Callback or callable, default ()
        Called during the run, such as `TimeBudget(60)`.
    on_check : callable, optional
        Called 50 times during the fit, as in `fit`.
    resume : path-like, optional
        A checkpoint of the same fit, from which to go on.
    dtype : float64 or float32, default float64
        The type of parameters and of all computations.
    random_state : int, RandomState or None, default None
        It determines initial parameters, the validation set, the order of samples and dropout; None draws
        from NumPy's global generator.
    warm_start : bool, default False
        Whether another `fit` goes on from the network of the last one, in its units; the optimiser starts
        anew.
    n_members : int, default 1
        The number of networks, which have different seeds. With several, predictions are those of an
        `Ensemble`, and `callbacks`, `on_check`, `resume` and `partial_fit` cannot be used.
    n_jobs : int, optional
        Threads for several members; -1 for as many as this process has cores. None means 1.
    n_threads : int or "auto", default 1
        Threads that share the samples of a batch, as in `crabnet_jit.fit`.

    Attributes
    ----------
    net_ : NN or Ensemble
        The network; an ensemble with `n_members` above 1.
    n_features_in_ : int
        The number of inputs.
    feature_names_in_ : ndarray of shape `(n_features_in_,)`
        Their names, if all column names of X are strings.
    n_outputs_ : int
        The number of targets.
    n_layers_ : int
        The number of layers, including those of inputs and outputs.
    out_activation_ : str
        "identity"; "exp" for the loss "poisson"; with an `output_range` "logistic", "tanh" or "softplus".
    n_iter_ : int
        The number of iterations of the last fit and of each `partial_fit` since; the largest number for
        several members.
    loss_curve_ : list of float
        The loss of each iteration, in the units of the standardised targets; for several members, the mean as
        long as all of them run.
    coefs_ : list of ndarray, each of shape (n_in, n_out)
        Weights of each layer for inputs and targets in their own units, whatever `standardize` is. Start with
        h = X and compute h = activation(h @ coef + intercept) layer by layer, with `out_activation_` in the
        last one: then h is what `predict` returns, or all outputs. With an `output_range`, there are none,
        since no layer can express it.
    intercepts_ : list of ndarray, each of shape (n_out,)
        Biases of each layer, likewise.

    See Also
    --------
    NNClassifier : For classes.

    Notes
    -----
    A pickle runs code when it is loaded, so load only your own. `crabnet_jit.save(est.net_, path)` and
    `crabnet_jit.load(path)` store the network without a pickle, and run no code.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import cross_val_score
    >>> from crabnet_jit.estimators import NNRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> bool(cross_val_score(NNRegressor(random_state=0), X, y).mean() > 0.4)
    True
    >>> NNRegressor(random_state=0).fit(X, y).predict(X[:2]).shape
    (2,)
    """

    def _labels(self, X: ArrayLike, y: ArrayLike, *, is_first: bool) -> tuple[Array, Any]:
        inputs, targets = self._checked(X, y, is_first=is_first)
        return inputs, targets.astype(np.float64) if targets.dtype == object else targets

    def _encode(self, y: Any, weights: Array) -> tuple[Array, Array]:
        self._is_flat = y.ndim == 1
        return check.array("y", y.reshape(len(y), -1), allow_nan=True), weights

    def _schema(self) -> Schema:
        loss = self._criterion()
        return Schema(self._columns(), is_flat=self._is_flat, heads=loss.heads, quantiles=loss.quantiles)

    def _criterion(self) -> Loss:
        loss = as_loss("loss", self.loss)
        if not loss.is_regression:
            raise check.reject("loss", "a regression loss; NNClassifier has cross entropies", repr(loss))
        return loss

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        dy: ArrayLike | None = None,
        dy_weight: float = 1.0,
    ) -> Self:
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
        dy : array_like of shape (n_samples, n_outputs, n_features) or (n_samples, n_features), optional
            Derivatives of y with respect to X, NaN where unknown, as in `crabnet_jit.fit`.
        dy_weight : float, default 1.0
            The weight of their mean squared error, relative to the loss of values.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, dy, dy_weight=dy_weight)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on these samples for one pass: a single step, unless there is a `batch_size`.

        The optimiser keeps its state between calls; after `fit`, the first call begins with a new state.
        The first call makes the network, and standardises with the means and deviations of its samples.
        `n_iterations`, `on_check` and `resume` are ignored.

        A step of "levenberg_marquardt" goes far towards the minimum for its own samples and forgets earlier
        ones, so pass all samples to each call.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.
        y : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array_like of shape (n_samples,), optional
            As in `fit`; only ratios within a call count.

        Returns
        -------
        self
        """
        return self._one_pass(X, y, sample_weight)

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Predictions for X (n_samples, n_features): (n_samples,) or (…, n_outputs), as the targets were.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.
        return_std : bool, default False
            Whether to return the standard deviations of new observations, too, in the shape and units of the
            predictions. This needs several members, or a fit with the loss "gaussian_nll" or the optimizer
            "bayesian_regularization".

        Returns
        -------
        ndarray, or two of them
            Predictions, and standard deviations.
        """
        inputs = self._inputs(X)
        return self.net_.predict(inputs, return_std=return_std)

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> tuple[Array, Array]:
        """Lower and upper bounds between which new targets lie with a probability of `level`.

        This needs a fit with the loss "gaussian_nll", with `Quantile` of these two quantiles, or with the
        optimizer "bayesian_regularization". See `NN.interval`.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.
        level : float, default 0.9
            Above 0 and below 1.

        Returns
        -------
        two ndarrays
            In the shape and units of the predictions.
        """
        inputs = self._inputs(X)
        low, high = self.net_.interval(inputs, level)
        return low, high

    def predict_quantiles(self, X: ArrayLike) -> Array:
        """All quantiles of a fit with the loss `Quantile`, in ascending order.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray
            (n_samples, n_quantiles), or (n_samples, n_outputs, n_quantiles), as the targets were.
        """
        inputs = self._inputs(X)
        return np.asarray(self.net_.predict_quantiles(inputs))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The coefficient of determination, R^2, of the predictions for X; the mean over all outputs.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.
        y : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; NaN marks an unknown target, which does not count.
        sample_weight : array_like of shape (n_samples,), optional
            Weights.

        Returns
        -------
        float
        """
        inputs, targets = self._inputs(X), np.asarray(y, dtype=np.float64)
        is_known = ~np.isnan(targets)
        if is_known.all():
            return float(super().score(X, y, sample_weight))
        weights, predictions = weights_of(sample_weight, len(inputs)), self.predict(X)
        columns = [part.reshape(len(inputs), -1).T for part in (targets, predictions, is_known)]
        of_outputs = [
            r2_score(true[known], predicted[known], sample_weight=weights[known])
            for true, predicted, known in zip(*columns, strict=True)
            if known.any()
        ]
        return float(np.mean(of_outputs))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
