"""What all components have in common."""

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
        The name that networks, trainers and files know it by.
    """

    name: ClassVar[str] = ""

    def options(self) -> dict[str, Any]:
        """The constructor's arguments for an equal object: attributes with the names of its parameters."""
        kind: Any = type(self)
        return {name: getattr(self, name) for name in _parameters(kind) if hasattr(self, name)}

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={called(value)}" for name, value in self.options().items())
        return f"{type(self).__name__}({options})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.options() == other.options()

    def __hash__(self) -> int:
        return hash((type(self), *self.options().values()))


@functools.lru_cache(maxsize=256)  # 50 us; a user's class may be forgotten
def _parameters(kind: type) -> tuple[str, ...]:
    """The names that its constructor takes."""
    return tuple(inspect.signature(kind).parameters)


def described(thing: object) -> str:
    """What it is, in words that are the same in every process.

    Only its type, if it is no component, or one made of functions.
    """
    if not isinstance(thing, Component) or any(map(callable, thing.options().values())):
        return type(thing).__name__
    return repr(thing)


def stored(value: Array | None) -> Array:
    """What `forward` kept for `backward`."""
    if value is None:
        raise RuntimeError("forward() must be called before backward()")
    return value
