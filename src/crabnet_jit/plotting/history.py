"""The losses of a run, its learning rates, and its interruptions."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from crabnet_jit import check
from crabnet_jit.network.history import FitHistory, History
from crabnet_jit.plotting.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, ink, own_or_new_axes
from crabnet_jit.training.trainer import Trainer

_N_PIECES = 1000  # of a line of losses; about as many as pixels
_N_RATES = 400
_LABELS_IN_A_ROW = 5  # entries of the legend

# The first words of an event, and the line that marks it.
_MARKS = {
    "resumed": {"color": GREEN, "linestyle": "-"},
    "stopped": {"color": PURPLE, "linestyle": "--"},
    "interrupted": {"color": PURPLE, "linestyle": ":"},
    "went back": {"color": ORANGE, "linestyle": "-."},
    "skipped": {"color": GREY, "linestyle": ":"},
}


@check.keywords
def plot_history(
    history: History | FitHistory | Trainer, *, ax: Axes | None = None, learning_rate: bool = True
) -> Axes:
    """Plot the loss of every iteration, the running loss, and the learning rate.

    The scale of losses is logarithmic, unless one of them is below 0. If there are many, the smallest and the
    largest loss of each thousandth of the run are drawn. The running loss is the mean of the last 1,001
    losses, or of all if there are fewer. Vertical lines mark where the run was resumed, stopped, interrupted
    or set back, or skipped a step.

    Parameters
    ----------
    history : History, FitHistory or Trainer
        What `Trainer.run` returns, or the `fit_history` of a network, which has validation losses, too; or a
        trainer.
    ax : Axes, optional
        Axes of matplotlib to draw on; by default those of a new figure of pyplot.
    learning_rate : bool, default True
        Whether learning rates are drawn, on a second axis on the right.

    Returns
    -------
    Axes
        The axes of the losses. Those of the learning rates are the last of the figure.

    Raises
    ------
    InvalidArgumentError
        If there is no loss yet.

    Notes
    -----
    .. image:: /pictures/history.png

    Examples
    --------
    >>> from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource
    >>> from crabnet_jit.plotting import plot_history
    >>> trainer = Trainer(NN(2, [8, 8], 1, rng=1), UniformSource(StandardGaussian(), rng=1))
    >>> axes = plot_history(trainer.run(5000))
    >>> axes.get_yscale()
    'log'
    """
    if not isinstance(history, (History, FitHistory, Trainer)):
        raise check.reject("history", "a History, a FitHistory or a Trainer", repr(history))
    check.flag("learning_rate", learning_rate)
    training = history if isinstance(history, History) else _training(history)
    if training.losses.size == 0:
        raise check.reject("history", "one of an iteration or more", "one without losses")
    axes = own_or_new_axes(ax, (7.0, 3.4))
    axes.set(xlabel="iteration", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    validation = history.validation_losses if isinstance(history, FitHistory) else []
    losses = np.concatenate([training.losses, validation])
    finite = losses[np.isfinite(losses)]
    if finite.size > 0 and finite.min() >= 0 and finite.max() > 0:
        axes.set_yscale("log", nonpositive="mask")
        if finite.max() < 1.001 * finite.min():
            axes.set_ylim(0.5 * finite.min(), 2 * finite.max())
    lines = axes.plot(*training.envelope(_N_PIECES), color=BLUE, alpha=0.35, linewidth=0.7, label="loss")
    lines += axes.plot(*training.running_losses(), color=BLUE, linewidth=1.8, label="running loss")
    if isinstance(history, FitHistory) and validation:
        lines += axes.plot(
            history.validation_iterations, validation, color=RED, linestyle="-.", label="validation loss"
        )
    lines += _draw_events(axes, training)
    if learning_rate:
        lines += _draw_rates(axes, training)
    axes.legend(
        handles=lines,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(len(lines), _LABELS_IN_A_ROW),
        frameon=False,
        fontsize="small",
    )
    return axes


def _training(history: FitHistory | Trainer) -> History:
    return history.history if isinstance(history, Trainer) else history.training


def _draw_events(axes: Axes, history: History) -> list[Any]:
    """Draw a line at each event; return one of each kind for the legend."""
    lines = []
    for kind, style in _MARKS.items():
        at = [iteration for iteration, event in history.events if event.startswith(kind)]
        if at:
            label = kind if len(at) == 1 else f"{kind} ({len(at):,} times)"
            drawn = axes.vlines(
                np.unique(at), 0, 1, transform=axes.get_xaxis_transform(), label=label, **style
            )
            lines.append(drawn)
    return lines


def _draw_rates(axes: Axes, history: History) -> list[Any]:
    """Draw the learning rates on an axis on the right, if they are known."""
    last = history.n_iterations - 1
    iterations = np.unique(np.linspace(history.first_iteration, last, _N_RATES).astype(np.int64))
    rates = history.learning_rates(iterations)
    if np.isnan(rates).all():
        return []
    right = axes.twinx()
    right.set(ylabel="learning rate", ylim=(0, 1.08 * rates.max() or 1.0))
    right.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))
    return right.plot(iterations, rates, color=ink(), linestyle=":", linewidth=1.2, label="learning rate")
