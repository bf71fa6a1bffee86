"""The file from which a search resumes."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from crabnet_jit import check
from crabnet_jit.archive import read_archive, write_archive
from crabnet_jit.arrays import Array
from crabnet_jit.fitting.halving import Candidate
from crabnet_jit.fitting.stages import Stage
from crabnet_jit.training.divergence import DivergenceError
from crabnet_jit.training.state import packed, unpacked

_KIND, _VERSION = "search", 1
_ERRORS = {kind.__name__: kind for kind in (DivergenceError, FloatingPointError, check.InvalidArgumentError)}
_NUMBERS = "loss", "iteration", "n_iterations", "pace"
_FLAGS = "is_whole", "is_over"


class SavedSearch(NamedTuple):
    """An unfinished search.

    Attributes
    ----------
    plan : dict
        What must be the same for it to go on, as plain values.
    rung, first, began : int, int, float
        As in `Halving`.
    seconds : float
        The time that it has taken.
    candidates : list of dict
        Each with its `identity`, `losses`, `seconds` and `stage`.
    """

    plan: dict[str, Any]
    rung: int
    first: int
    began: float
    seconds: float
    candidates: list[dict[str, Any]]


def write_search(path: Path, saved: SavedSearch) -> None:
    """Write the file whole or not at all."""
    arrays: dict[str, Array] = {}
    rows = []
    for k, candidate in enumerate(saved.candidates):
        stage: Stage | None = candidate["stage"]
        row = {**candidate, "stage": None}
        if stage is not None:
            row["stage"] = {name: getattr(stage, name) for name in (*_NUMBERS, *_FLAGS)}
            if stage.error is not None:
                row["stage"]["error"] = type(stage.error).__name__, *stage.error.args
            if stage.saved is not None:
                row["stage"]["saved"], own = packed(stage.saved)
                arrays |= {f"{k}/{name}": array for name, array in own.items()}
        rows.append(row)
    write_archive(path, _KIND, _VERSION, {**saved._asdict(), "candidates": rows}, arrays)


def read_search(path: str | PathLike[str]) -> SavedSearch:
    """Read what `write_search` wrote.

    Raises
    ------
    FileFormatError
        If the file is something else, or damaged.
    OSError
        If it cannot be read.
    """
    return read_archive(path, _KIND, [_VERSION], _parse)


def _parse(header: dict[str, Any], arrays: dict[str, Array]) -> SavedSearch:
    by_candidate: dict[str, dict[str, Array]] = {}
    for place, array in arrays.items():
        k, _, name = place.partition("/")
        by_candidate.setdefault(k, {})[name] = array
    candidates = [
        {
            "identity": check.text("identity", row["identity"]),
            "losses": [float(loss) for loss in row["losses"]],
            "seconds": check.number("seconds", row["seconds"], 0.0),
            "stage": None if row["stage"] is None else _stage(k, row["stage"], by_candidate.pop(str(k), {})),
        }
        for k, row in enumerate(header["candidates"])
    ]
    if by_candidate:
        raise ValueError(f"states of unknown candidates {sorted(by_candidate)}")
    return SavedSearch(
        {**header["plan"]},
        check.integer("rung", header["rung"], 0),
        check.integer("first", header["first"], 0, len(candidates)),
        check.number("began", header["began"], 0.0),
        check.number("seconds", header["seconds"], 0.0),
        candidates,
    )


def _stage(k: int, values: dict[str, Any], arrays: dict[str, Array]) -> Stage:
    error = None
    if "error" in values:
        kind, *arguments = values["error"]
        error = _ERRORS[kind](*arguments)
        str(error)
    saved = unpacked(values["saved"], arrays) if "saved" in values else None
    return Stage(
        k,
        float(values["loss"]),
        check.integer("iteration", values["iteration"], 0),
        check.integer("n_iterations", values["n_iterations"], 0),
        0.0,
        float(values["pace"]),
        check.flag("is_whole", values["is_whole"]),
        check.flag("is_over", values["is_over"]),
        saved,
        error,
    )


def rows_of(candidates: list[Candidate], identity: Callable[[Candidate], str]) -> list[dict[str, Any]]:
    """Candidates as `SavedSearch` has them."""
    return [
        {"identity": identity(one), "losses": [*one.losses], "seconds": one.seconds, "stage": one.stage}
        for one in candidates
    ]
