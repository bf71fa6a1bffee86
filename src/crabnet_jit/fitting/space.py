"""The space of a search: choices, distributions, and candidates drawn from them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from crabnet_jit import check
from crabnet_jit.components.base import Component
from crabnet_jit.data.random import CANDIDATES, StdRng

_WORDS = 4  # of 64 bits, as the seed of one candidate's generator


class Uniform(Component):
    """Numbers between two bounds, all equally likely; for `search`.

    Like the distributions of `scipy.stats`, it has a method `rvs`, so scikit-learn's searches accept it, too.

    Parameters
    ----------
    low, high : float
        The bounds, low < high.
    log : bool, default False
        Whether the logarithm of the number is uniform, as for learning rates; then low is above 0.

    Examples
    --------
    >>> from crabnet_jit import Uniform
    >>> rate = Uniform(1e-4, 1e-1, log=True)
    >>> rate
    Uniform(low=0.0001, high=0.1, log=True)
    >>> 1e-4 <= rate.rvs(random_state=1) <= 1e-1
    True
    """

    name = "uniform"

    @check.keywords
    def __init__(self, low: float, high: float, *, log: bool = False) -> None:
        self.log = check.flag("log", log)
        self.high = check.finite("high", high)
        self.low = check.number("low", low, 0.0, open_low=True) if self.log else check.finite("low", low)
        if self.low >= self.high:
            raise check.reject("low", f"below high = {self.high:g}", f"{self.low:g}")

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Numbers of this shape, or one; `random_state` is a generator of NumPy, or a seed."""
        draw = _generator(random_state).uniform
        if not self.log:
            return draw(self.low, self.high, size)
        numbers = np.exp(draw(math.log(self.low), math.log(self.high), size))
        return _plain(np.clip(numbers, self.low, self.high))


class Integers(Component):
    """Integers from `low` to `high`, both included; for `search`.

    Parameters
    ----------
    low, high : int
        The bounds, low < high.
    log : bool, default False
        Whether the logarithm is uniform, up to rounding; then low is at least 1.

    Examples
    --------
    >>> from crabnet_jit import Integers
    >>> Integers(1, 3).rvs(size=8, random_state=1).tolist()
    [2, 3, 1, 1, 1, 1, 1, 2]
    """

    name = "integers"

    @check.keywords
    def __init__(self, low: int, high: int, *, log: bool = False) -> None:
        self.log = check.flag("log", log)
        least = 1 if self.log else -(2**53)
        self.low, self.high = check.integer("low", low, least), check.integer("high", high, least)
        if self.low >= self.high:
            raise check.reject("low", f"below high = {self.high}", f"{self.low}")

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Integers of this shape, or one; `random_state` is a generator of NumPy, or a seed."""
        draw = _generator(random_state).uniform
        if self.log:
            numbers = np.exp(draw(math.log(self.low - 0.5), math.log(self.high + 0.5), size))
        else:
            numbers = draw(self.low - 0.5, self.high + 0.5, size)
        return _plain(np.clip(np.rint(numbers), self.low, self.high).astype(np.int64))


def _generator(random_state: Any) -> Any:
    return random_state if hasattr(random_state, "uniform") else np.random.RandomState(random_state)


def _plain(values: Any) -> Any:
    """A NumPy number as a Python number, for errors and tables."""
    is_number = isinstance(values, (np.generic, np.ndarray)) and values.ndim == 0
    return values.item() if is_number else values


class Space:
    """Candidates by number: each one only depends on the seed and its number.

    If there are only lists, no candidate is repeated.

    Attributes
    ----------
    names : list of str
        The names of all arguments.
    n_candidates : int or None
        How many there are, if there are only lists.
    """

    def __init__(self, space: Any, seed: int) -> None:
        self._parts = _checked(space)
        self.names = [*dict.fromkeys(name for part in self._parts for name in part)]
        self._seed = seed
        is_grid = all(isinstance(values, list) for part in self._parts for values in part.values())
        self._sizes = [math.prod(map(len, part.values())) for part in self._parts] if is_grid else []
        self.n_candidates = sum(self._sizes) if is_grid else None
        self._moved: dict[int, int] = {}
        self._shuffled: list[int] = []

    def always_has(self, name: str) -> bool:
        """Whether all candidates have this argument from the space."""
        return all(name in part for part in self._parts)

    def choices(self) -> Iterator[tuple[str, Any]]:
        """All items of lists, with the names of their arguments."""
        for part in self._parts:
            for name, values in part.items():
                if isinstance(values, list):
                    yield from ((name, value) for value in values)

    def __getitem__(self, k: int) -> dict[str, Any]:
        """The arguments of candidate k."""
        rng = StdRng(self._seed, CANDIDATES)
        rng.position = _WORDS * k
        random = np.random.RandomState(rng.next_u64(_WORDS).view(np.uint32))  # its numbers never change
        if self.n_candidates is None:
            part = self._parts[random.randint(len(self._parts))]
            return {name: _drawn(name, values, random) for name, values in part.items()}
        while len(self._shuffled) <= k:
            self._shuffle_one()
        return self._in_grid(self._shuffled[k])

    def _shuffle_one(self) -> None:
        """The next point of the grid, by a step of the Fisher-Yates shuffle."""
        assert self.n_candidates is not None
        k = len(self._shuffled)
        rng = StdRng(self._seed, CANDIDATES)
        rng.position = k
        other = k + rng.next_u64() % (self.n_candidates - k)
        self._shuffled.append(self._moved.get(other, other))
        self._moved[other] = self._moved.pop(k, k)

    def _in_grid(self, place: int) -> dict[str, Any]:
        k = 0
        while place >= self._sizes[k]:
            place -= self._sizes[k]
            k += 1
        arguments = {}
        for name, choices in self._parts[k].items():
            place, choice = divmod(place, len(choices))
            arguments[name] = choices[choice]
        return arguments


def _checked(space: Any) -> list[dict[str, Any]]:
    """The dicts of a space, whose values are lists or have `rvs`."""
    parts = [space] if isinstance(space, Mapping) else space
    if isinstance(space, (str, bytes)) or not isinstance(parts, Sequence):
        raise check.reject("space", "a dict of arguments of fit, or a list of such dicts", check.shown(space))
    result = []
    for k, part in enumerate(parts):
        where = "space" if isinstance(space, Mapping) else f"space[{k}]"
        if not isinstance(part, Mapping):
            raise check.reject(where, "a dict of arguments of fit", check.shown(part))
        if not part:
            raise check.reject(where, "a dict of at least one argument of fit", "an empty one")
        result.append({name: _choices(f"{where}[{name!r}]", name, part[name]) for name in part})
    if not result:
        raise check.reject("space", "a dict of arguments of fit, or a list of such dicts", "an empty list")
    return result


def _choices(where: str, name: str, values: Any) -> Any:
    """A list of choices, or a distribution."""
    if isinstance(values, (list, range)) or (isinstance(values, np.ndarray) and values.ndim == 1):
        choices = [_plain(value) for value in values]
        if not choices:
            raise check.reject(where, "a list of at least one choice", "an empty one")
        return choices
    if hasattr(values, "rvs") and not isinstance(values, type):
        return values
    allowed = "a list of choices, or a distribution such as Uniform(0, 1)"
    hint = f"; for one value that all candidates have, pass {name}={check.shown(values)} to search"
    raise check.reject(where, allowed, check.shown(values), hint)


def _drawn(name: str, values: Any, random: np.random.RandomState) -> Any:
    if isinstance(values, list):
        return values[random.randint(len(values))]
    try:
        return _plain(values.rvs(random_state=random))
    except Exception as error:
        error.add_note(f"in a draw of {name!r} from {check.shown(values)}")
        raise
