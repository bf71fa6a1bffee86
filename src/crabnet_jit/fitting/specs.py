"""Arguments of `fit` as dicts: the known names, and the defaults."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crabnet_jit import check, other_names
from crabnet_jit.fitting.fit import fit

#: Arguments of `fit` besides x and y, with their defaults.
DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(fit).parameters.items()
    if name not in ("x", "y")
}


def of_the_whole(function: str, members: str) -> dict[str, str]:
    """Arguments of `fit` that members of a function do not have one by one, with what to say of them."""
    return {
        "callbacks": f"`progress` and `checkpoint` of {function} are for all {members}",
        "on_check": f"`progress` of {function} is for all {members}",
        "resume": f"`resume` of {function} is for all {members}",
    }


def check_names(
    where: str, names: Iterable[Any], elsewhere: Mapping[str, str], own: Sequence[str] = ()
) -> None:
    """Check that names are arguments of `fit`.

    Names that are `elsewhere` are rejected with a hint of what to do; a hint may also name one of its `own`.
    """
    for name in names:
        if name in elsewhere:
            raise check.InvalidArgumentError(f"{where} cannot have {name!r}; {elsewhere[name]}")
        if name not in DEFAULTS:
            known = [*own, *(key for key in DEFAULTS if key not in elsewhere)]
            hint = other_names.hint(name, known) if isinstance(name, str) else "names must be strings"
            raise check.InvalidArgumentError(f"{where} has no argument {name!r}; {hint}")
