"""The base class of all components."""

import functools
import inspect
from typing import Any, ClassVar

from crabnet_jit.arrays import Array
from crabnet_jit.summary import called


class Component:
    """An object for a formula; the arguments of its constructor describe it completely.

    Attributes
    ----------
    name : str
        The name by which networks, trainers and files know it.
    """

    name: ClassVar[str] = ""

    def options(self) -> dict[str, Any]:
        """The constructor's arguments for an equal object, read from attributes of the same names."""
        kind: Any = type(self)
        return {name: getattr(self, name) for name in _parameters(kind) if hasattr(self, name)}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={called(value)}" for name, value in self.options().items())
        return f"{type(self).__name__}({options})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.options() == other.options()

    def __hash__(self) -> int:
        return hash((type(self), *self.options().values()))


@functools.lru_cache(maxsize=256)  # takes 50 us; limited, so that users' classes can be freed
def _parameters(kind: type) -> tuple[str, ...]:
    """The names that its constructor takes."""
    return tuple(inspect.signature(kind).parameters)


def described(thing: object) -> str:
    """A description that is the same in every process.

    It is only the type for things that are not components, or that are made of functions.
    """
    if not isinstance(thing, Component) or any(map(callable, thing.options().values())):
        return type(thing).__name__
    return repr(thing)


def stored(value: Array | None) -> Array:
    """The value that `forward` kept for `backward`."""
    if value is None:
        raise RuntimeError("forward() must be called before backward()")
    return value
