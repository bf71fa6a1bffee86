"""One data set for many fits: preparations that they share are made once."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_MAX_RESULTS = 32  # kept results, such as the samples with the weights of one fit
_MAX_DEPTH = 4  # of nested lists, since a list may contain itself


class Shared:
    """Inputs that several fits share, together with the targets.

    Attributes
    ----------
    x
        The inputs, as `fit` takes them.
    """

    def __init__(self, x: Any) -> None:
        self.x = x
        self._results: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
        self._alone = threading.RLock()

    def __reduce__(self) -> Any:
        return Shared, (self.x,)  # another process computes the results again

    def once(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a function for these arguments; neither these nor the result may change."""
        key = (function, *map(value_key, arguments))
        with self._alone:
            if key not in self._results:
                # Keep the arguments alive, since their addresses are in the key.
                self._results[key] = arguments, function(*arguments)
                if len(self._results) > _MAX_RESULTS:
                    self._results.popitem(last=False)
            self._results.move_to_end(key)
            result: T = self._results[key][1]
            return result


def once(shared: Shared | None, function: Callable[..., T], *arguments: Any) -> T:
    """The result of a function; for a shared data set, it is called once."""
    return function(*arguments) if shared is None else shared.once(function, *arguments)


def value_key(value: Any, depth: int = 0) -> Any:
    """A key that is the same for equal plain values, and otherwise only for the same object."""
    if isinstance(value, (tuple, list)) and depth < _MAX_DEPTH:
        return type(value), tuple(value_key(item, depth + 1) for item in value)
    is_plain = value is None or isinstance(value, (str, int, float))
    return type(value), value if is_plain else id(value)
