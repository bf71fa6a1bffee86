"""Learning rates over the iterations.

A schedule is any function that takes an array of consecutive iteration numbers and returns an array of their
rates. A trainer calls it for each chunk. The rate of an iteration may only depend on its number.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crabnet_jit import check
from crabnet_jit.components.base import Component
from crabnet_jit.kernels.entries import exponential_decay

Iterations = NDArray[np.int64]
Rates = NDArray[np.float64]
Schedule = Callable[[Iterations], Rates]


_RATES_AT_ONCE = 2**16


def _checked(iterations: Iterations) -> Iterations:
    if not isinstance(iterations, np.ndarray) or iterations.dtype.kind not in "iu" or iterations.ndim != 1:
        raise check.reject("iterations", "a one-dimensional array of integers", repr(iterations))
    return iterations


class Constant(Component):
    """A constant rate.

    Parameters
    ----------
    learning_rate : float
        At least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import Constant
    >>> Constant(0.1)(np.arange(3))
    array([0.1, 0.1, 0.1])
    """

    @check.keywords
    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = check.number("learning_rate", learning_rate, 0.0)

    def __call__(self, iterations: Iterations) -> Rates:
        """The rates of the given iterations."""
        return np.full(_checked(iterations).shape, self.learning_rate)


class ExponentialDecay(Component):
    """learning_rate * decay^(i + 1) in iteration i, by repeated multiplication as in the original.

    Parameters
    ----------
    learning_rate : float, default 0.002
        At least 0.
    decay : float, default 0.99999
        Above 0 and at most 1.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import ExponentialDecay
    >>> ExponentialDecay(1.0, 0.5)(np.arange(3))
    array([0.5  , 0.25 , 0.125])
    """

    @check.keywords
    def __init__(self, learning_rate: float = 0.002, decay: float = 0.99999) -> None:
        self.learning_rate = check.number("learning_rate", learning_rate, 0.0)
        self.decay = check.number("decay", decay, 0.0, 1.0, open_low=True)
        self._reached = 0, self.learning_rate  # an iteration, and the rate before it

    def __call__(self, iterations: Iterations) -> Rates:
        """The rates of the given consecutive iterations."""
        n = _checked(iterations).size
        return self.consecutive(int(iterations[0]), n) if n > 0 else np.empty(0)

    def consecutive(self, first: int, n: int) -> Rates:
        """The rates of n iterations from `first` on; n is at least 1."""
        rates = np.empty(n)
        start, rate = self._reached
        if first < start:
            start, rate = 0, self.learning_rate
        while start < first:
            skipped = np.empty(min(first - start, _RATES_AT_ONCE))
            exponential_decay(rate, self.decay, skipped)
            start, rate = start + skipped.size, float(skipped[-1])
        exponential_decay(rate, self.decay, rates)
        self._reached = first + rates.size, float(rates[-1])
        return rates


class StepDecay(Component):
    """learning_rate * factor^(i // every) in iteration i.

    Parameters
    ----------
    learning_rate : float
        At least 0.
    every : int
        At least 1.
    factor : float, default 0.1
        Above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import StepDecay
    >>> StepDecay(1.0, every=2)(np.arange(4))
    array([1. , 1. , 0.1, 0.1])
    """

    @check.keywords
    def __init__(self, learning_rate: float, every: int, factor: float = 0.1) -> None:
        self.learning_rate = check.number("learning_rate", learning_rate, 0.0)
        self.every = check.integer("every", every, 1)
        self.factor = check.number("factor", factor, 0.0, open_low=True)

    def __call__(self, iterations: Iterations) -> Rates:
        """The rates of the given iterations."""
        steps = (_checked(iterations) // self.every).astype(np.float64)
        rates: Rates = self.learning_rate * self.factor**steps
        return rates


class Cosine(Component):
    """Half a cosine from `learning_rate` down to `final_rate`, after a linear warm-up from 0 [1]_.

    In iteration i it is learning_rate * (i + 1) / warmup while i < warmup; then
    final_rate + (learning_rate - final_rate) * (1 + cos(pi * t)) / 2 with
    t = (i - warmup) / (n_iterations - warmup), and final_rate from n_iterations on.

    Parameters
    ----------
    learning_rate : float
        At least 0.
    n_iterations : int
        At least 1.
    warmup : int, default 0
        From 0 to n_iterations - 1.
    final_rate : float, default 0.0
        At least 0.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import Cosine
    >>> Cosine(1.0, n_iterations=6, warmup=2)(np.arange(7)).round(3)
    array([0.5  , 1.   , 1.   , 0.854, 0.5  , 0.146, 0.   ])
    """

    @check.keywords
    def __init__(
        self, learning_rate: float, n_iterations: int, warmup: int = 0, final_rate: float = 0.0
    ) -> None:
        self.learning_rate = check.number("learning_rate", learning_rate, 0.0)
        self.n_iterations = check.integer("n_iterations", n_iterations, 1)
        self.warmup = check.integer("warmup", warmup, 0, self.n_iterations - 1)
        self.final_rate = check.number("final_rate", final_rate, 0.0)

    def __call__(self, iterations: Iterations) -> Rates:
        """The rates of the given iterations."""
        t = np.clip((_checked(iterations) - self.warmup) / (self.n_iterations - self.warmup), 0.0, 1.0)
        falling = _half_cosine(self.learning_rate, self.final_rate, t)
        rising = self.learning_rate * np.minimum((iterations + 1) / max(self.warmup, 1), 1.0)
        return np.where(iterations < self.warmup, rising, falling)


class OneCycle(Component):
    """Half a cosine up to `learning_rate`, and another one down [1]_.

    It begins at learning_rate / start_divisor and ends at learning_rate / final_divisor. With
    a = warmup_fraction * n_iterations - 1 and b = n_iterations - 1, iteration i is at i / a of the way up,
    and later at (i - a) / (b - a) of the way down. From b on, the rate is constant.

    Parameters
    ----------
    learning_rate : float
        The largest rate, at least 0.
    n_iterations : int
        At least 2.
    warmup_fraction : float, default 0.3
        Between 0 and 1; warmup_fraction * n_iterations must be above 1.
    start_divisor : float, default 25.0
        At least 1.
    final_divisor : float, default 2.5e5
        At least 1.

    Notes
    -----
    This is PyTorch's `OneCycleLR`, except that PyTorch also divides the last rate by `div_factor`.

    References
    ----------
    .. [1] L. Smith, N. Topin, "Super-convergence", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from crabnet_jit import OneCycle
    >>> OneCycle(1.0, n_iterations=5, warmup_fraction=0.6)(np.arange(5)).round(3)
    array([0.04, 0.52, 1.  , 0.5 , 0.  ])
    """

    @check.keywords
    def __init__(
        self,
        learning_rate: float,
        n_iterations: int,
        warmup_fraction: float = 0.3,
        start_divisor: float = 25.0,
        final_divisor: float = 2.5e5,
    ) -> None:
        self.learning_rate = check.number("learning_rate", learning_rate, 0.0)
        self.n_iterations = check.integer("n_iterations", n_iterations, 2)
        self.warmup_fraction = check.fraction("warmup_fraction", warmup_fraction)
        self.start_divisor = check.number("start_divisor", start_divisor, 1.0)
        self.final_divisor = check.number("final_divisor", final_divisor, 1.0)
        if self.warmup_fraction * self.n_iterations <= 1:
            allowed = f"above 1 / n_iterations = {1 / self.n_iterations:g}"
            raise check.reject("warmup_fraction", allowed, repr(warmup_fraction))

    def __call__(self, iterations: Iterations) -> Rates:
        """The rates of the given iterations."""
        _checked(iterations)
        top, end = self.warmup_fraction * self.n_iterations - 1, self.n_iterations - 1
        up = _half_cosine(
            self.learning_rate / self.start_divisor, self.learning_rate, np.clip(iterations / top, 0.0, 1.0)
        )
        t = np.clip((iterations - top) / (end - top), 0.0, 1.0)
        down = _half_cosine(self.learning_rate, self.learning_rate / self.final_divisor, t)
        return np.where(iterations <= top, up, down)


def _half_cosine(start: float, end: float, t: Rates) -> Rates:
    """From `start` at t = 0 to `end` at t = 1."""
    return end + (start - end) * 0.5 * (1.0 + np.cos(math.pi * t))


def as_schedule(name: str, value: object) -> Schedule:
    """The given schedule, or a constant rate for a number."""
    if isinstance(value, type):
        raise check.reject(
            name, "a number or a schedule, such as Cosine(0.01, n_iterations=1000)", repr(value)
        )
    return value if callable(value) else Constant(check.number(name, value, 0.0))


def rates_of(schedule: Schedule, first: int, n: int) -> Rates:
    """The rates of n iterations from `first` on, checked.

    Raises
    ------
    InvalidArgumentError
        If the schedule returns anything but n finite numbers of at least 0.
    """
    if type(schedule) is ExponentialDecay:  # always valid: saves 3 ns per iteration of the article's job
        return schedule.consecutive(first, n)
    given: Any = schedule(np.arange(first, first + n))
    try:
        given = np.asarray(given)
    except ValueError as error:
        raise check.reject(f"learning_rate of {n} iterations", "an array of numbers", str(error)) from None
    if given.shape != (n,) or given.dtype.kind not in "iuf":
        came = f"shape {given.shape} and {given.dtype}"
        raise check.reject(f"learning_rate of {n} iterations", f"numbers of shape ({n},)", came)
    rates = np.ascontiguousarray(given, dtype=np.float64)
    if not (np.minimum.reduce(rates) >= 0 and np.maximum.reduce(rates) < math.inf):
        at = int((~((rates >= 0) & (rates < math.inf))).argmax())
        raise check.reject(
            f"learning_rate of iteration {first + at}", "finite and at least 0", f"{rates[at]}"
        )
    return rates
