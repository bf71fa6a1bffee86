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

    By default an iteration takes all samples, so that a sample of weight 2 counts exactly as if it were there
    twice.

    Parameters
    ----------
    hidden_sizes : sequence of int, default (32, 32)
        Widths of the hidden layers; () for a linear model.
    activation : Activation or str, or a sequence of them, default "silu"
        Of all hidden layers, or of each, as in `NN`.
    output_activation : Activation or str, default "auto"
        What keeps predictions in a range, as in `fit`: "softplus", "sigmoid" or "tanh".
    output_range : (low, high) or (low, None), optional
        Ends of the predictions, numbers or one for each output, as in `fit`.
    init : str, default "auto"
        Initial parameters, as in `fit`.
    loss : Loss or str, default "mse"
        What is minimised, as in `Trainer`; not a cross entropy. "poisson" is for counts; "gaussian_nll"
        also learns the noise; of several quantiles, see `Quantile`, `predict` gives the one next to the
        median.
    optimizer : Optimizer or str, default "adam"
        As in `Trainer`.
    learning_rate : float or callable, default "auto"
        As in `fit`: a number is where a `Cosine` schedule starts. In `partial_fit` it is constant. "auto" is
        0.02; "levenberg_marquardt" has none.
    n_iterations : int, default 500
        Steps of a fit, at least 1. "levenberg_marquardt" may end before them, see `n_iter_`.
    batch_size : int, optional
        Samples in a step, at least 1; by default all, which "levenberg_marquardt" needs. Minibatches need
        more, smaller steps.
    standardize : bool, default True
        Whether the network sees inputs and targets with mean 0 and standard deviation 1, as in `fit`.
    validation : float, optional
        The share of samples that is set aside, above 0 and at most 1. The network gets the parameters of its
        least validation loss, as in `fit`.
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
        Of all hidden layers, or of each, as in `Trainer`.
    on_divergence : {"raise", "skip", "lower_rate"}, default "raise"
        What to do when a loss is not finite, as in `Trainer`.
    log_every : int, default 10000
        Iterations between two entries of the log of `net_.fit_history`.
    keep_losses : int, optional
        How many of the last losses `loss_curve_` has at least; by default all.
    callbacks : sequence of Callback or callable, default ()
        To be called in the run, such as `TimeBudget(60)`.
    on_check : callable, optional
        Called after each fiftieth of the iterations, as in `fit`.
    resume : path-like, optional
        A checkpoint of the same fit, to go on from.
    dtype : float64 or float32, default float64
        Of parameters and of all that is computed.
    random_state : int, RandomState or None, default None
        For initial parameters, the validation set, the order of samples and dropout; None draws from NumPy's
        global generator.
    warm_start : bool, default False
        Whether another `fit` goes on from the network of the last one, in its units; the optimiser begins
        anew.
    n_members : int, default 1
        Networks, of different seeds. With several, predictions are those of an `Ensemble`, and
        `callbacks`, `on_check`, `resume` and `partial_fit` cannot be used.
    n_jobs : int, optional
        Threads for several members; -1 for as many as there are cores for this process. None stands for 1.
    n_threads : int or "auto", default 1
        Threads that share the samples of a batch, as in `crabnet_jit.fit`.

    Attributes
    ----------
    net_ : NN or Ensemble
        The network; an ensemble with `n_members` above 1.
    n_features_in_ : int
        Inputs.
    feature_names_in_ : ndarray of shape `(n_features_in_,)`
        Their names, if all that X has are strings.
    n_outputs_ : int
        Targets.
    n_layers_ : int
        Layers, those of inputs and outputs included.
    out_activation_ : str
        "identity"; "exp" for the loss "poisson"; with an `output_range` "logistic", "tanh" or "softplus".
    n_iter_ : int
        Iterations of the last fit, and of each `partial_fit` since; of several members the most.
    loss_curve_ : list of float
        The loss of each of them, in the units of the standardised targets; of several members the mean, as
        far as all went.
    coefs_ : list of ndarray, each of shape (n_in, n_out)
        Weights of each layer for inputs and targets in their own units, whatever `standardize` says: with
        h = X and h = activation(h @ coef + intercept) layer by layer, in the last one with `out_activation_`,
        h is what `predict` gives, or all outputs. With an `output_range` there are none, as no layer can hold
        it.
    intercepts_ : list of ndarray, each of shape (n_out,)
        Biases of each layer, likewise.

    See Also
    --------
    NNClassifier : For classes.

    Notes
    -----
    A pickle runs code when it is loaded, so load only your own. `crabnet_jit.save(est.net_, path)` and
    `crabnet_jit.load(path)` keep the network without a pickle, and run none.

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
            raise check.reject("loss", "one of a regression; NNClassifier has cross entropies", repr(loss))
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
            Targets; NaN where one is unknown, which then does not count.
        sample_weight : array_like of shape (n_samples,), optional
            At least 0, not all 0; only their ratios count. A sample of weight 0 is left out. One of weight 2
            counts as if it were there twice, without minibatches, dropout and validation. Predictions then
            differ by rounding only, by about 1e-11; thousands of iterations, or data that are not
            standardised, may amplify it.
        dy : array_like of shape (n_samples, n_outputs, n_features) or (n_samples, n_features), optional
            Derivatives of y with respect to X, NaN where unknown, as in `crabnet_jit.fit`.
        dy_weight : float, default 1.0
            What their mean squared error counts beside the loss of values.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, dy, dy_weight=dy_weight)

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on these samples for one pass: a single step, unless there is a `batch_size`.

        The optimiser keeps its state from call to call; after `fit`, the first call begins with a new one.
        The first call makes the network, and standardises by the means and deviations of its samples.
        `n_iterations`, `on_check` and `resume` are ignored.

        A step of "levenberg_marquardt" goes far towards the least loss of its samples, whatever other samples
        came before: let each call have all of them.

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
            Whether to give the standard deviations of new observations, too, in the shape and units of the
            predictions; with several members, or after a fit with the loss "gaussian_nll" or the optimizer
            "bayesian_regularization".

        Returns
        -------
        ndarray, or two of them
            Predictions, and standard deviations.
        """
        inputs = self._inputs(X)
        return self.net_.predict(inputs, return_std=return_std)

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> tuple[Array, Array]:
        """Where new targets lie with a probability of `level`: lower and upper ends, as `NN.interval` says.

        After a fit with the loss "gaussian_nll", with `Quantile` of these two quantiles, or with the
        optimizer "bayesian_regularization".

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
        """The coefficient of determination, R^2, of the predictions for X; the mean of those of all outputs.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Inputs.
        y : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Targets; NaN where one is unknown, which then does not count.
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
