"""The quality of a classifier on a data set: a confusion matrix, and a reliability diagram."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.arrays import Array
from crabnet_jit.components.base import stored
from crabnet_jit.fitting.data_set import labels_of
from crabnet_jit.fitting.scores import score
from crabnet_jit.network.predictor import Predictor
from crabnet_jit.plotting.domain import plain
from crabnet_jit.plotting.figures import BLUE, GREY, own_or_new

_SIZE = 7.6, 3.6
_N_BINS = 10  # of probabilities
_MAX_NAMED = 20  # classes whose names and counts are written


def plot_classes(
    net: Predictor, x: Any, y: Any, output: int, output_names: list[str], figure: FigureBase | None
) -> FigureBase:
    """A confusion matrix and a reliability diagram; if samples have several labels, for that of `output`."""
    scores = score(net, x, y)
    true, probabilities = labels_of(net, y), net.predict_proba(x)
    names = output_names
    if len(names) < len(stored(net.classes)):  # one output for two classes
        names = [plain(str(label)) for label in stored(net.classes).tolist()]
    if net.schema.task == "multilabel":
        true, probabilities = true[:, output], probabilities[:, [output]]
        probabilities = np.hstack([1 - probabilities, probabilities])
        names = [f"not {names[output]}", names[output]]
    true, probabilities = true[true >= 0], probabilities[true >= 0]
    if true.size == 0:
        raise check.reject("y", "known for at least one sample, of the label that is shown", "only NaN")
    figure = own_or_new(figure, _SIZE)
    matrix, reliability = figure.subplots(1, 2)
    _draw_confusion(matrix, confusion(true, probabilities.argmax(axis=1), len(names)), names)
    title = f"accuracy {scores.accuracy:.4f}, log loss {scores.log_loss:.4f}"
    matrix.set_title(title, fontsize="medium")
    is_right = np.arange(len(names)) == true[:, None]
    _draw_reliability(reliability, probabilities.ravel(), is_right.ravel())
    return figure


def confusion(true: NDArray[np.intp], predicted: NDArray[np.intp], n_classes: int) -> NDArray[np.intp]:
    """Counts of samples (n_classes, n_classes): a row for each true class, a column for each predicted."""
    counts = np.bincount(true * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def _draw_confusion(axes: Axes, counts: NDArray[np.intp], names: list[str]) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= _MAX_NAMED:
        places = range(len(names))
        axes.set_xticks(places, names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(places, names)
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{count}", ha="center", va="center", color=colour, fontsize="small")


def _draw_reliability(axes: Axes, probabilities: Array, is_right: NDArray[np.bool_]) -> None:
    """Draw how often a class is the true one, for all samples and classes of about the same probability."""
    bins = np.minimum((probabilities * _N_BINS).astype(int), _N_BINS - 1)
    counts = np.bincount(bins, minlength=_N_BINS)
    filled = counts > 0
    mean, share = (
        np.bincount(bins, values, _N_BINS)[filled] / counts[filled] for values in (probabilities, is_right)
    )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    axes.plot(mean, share, "o-", color=BLUE)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel="probability", ylabel="share of samples")
    axes.set_title("reliability", fontsize="medium")
