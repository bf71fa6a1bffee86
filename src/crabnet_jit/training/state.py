"""The format of checkpoints: everything that a run depends on, so that it continues bit for bit."""

import json
import re
from collections.abc import Iterator
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from crabnet_jit import check
from crabnet_jit.archive import FileFormatError, read_archive, write_archive
from crabnet_jit.arrays import Array
from crabnet_jit.data.random import RngState, StdRng
from crabnet_jit.network.history import WINDOW
from crabnet_jit.summary import fields, summary

_KIND = "checkpoint"
_VERSION = 1
_MAX_ITERATION = 2**53  # iteration
_NUMBERS = ("iteration", "rate_scale", "n_skipped", "source_stream", "dropout_stream")
_ARRAYS = ("parameters", "optimizer_buffers", "optimizer_numbers", "window")


class TrainerState(NamedTuple):
    """Everything that a run depends on besides its configuration.

    `rate_scale` is the factor by which "lower_rate" has multiplied the learning rate; `n_skipped` is the
    number of steps in a row that "skip" has just left out. `window` has the last losses, up to 1,001. The
    streams say where the draws of the source and of dropout begin; which draws an iteration takes depends on
    its number. With residuals, `source_stream` is a list: the stream of the source, if there is one, and
    those of the residuals' points. `return_points` are earlier states that "lower_rate" may go back to.
    """

    iteration: int
    rate_scale: float
    n_skipped: int
    source_stream: RngState | list[RngState | None] | None
    dropout_stream: RngState
    parameters: Array
    optimizer_buffers: Array
    optimizer_numbers: Array
    window: Array
    return_points: "tuple[TrainerState, ...]"

    def __repr__(self) -> str:
        return summary(self, *fields(self))


class Saved(NamedTuple):
    """What a checkpoint holds.

    `callbacks` are the callbacks' states, by position and type; `options` belong to whoever wrote it, such as
    the command line.
    """

    state: TrainerState
    configuration: dict[str, Any]
    callbacks: dict[str, dict[str, Any]]
    options: dict[str, Any]


def write_checkpoint(path: str | PathLike[str], saved: Saved) -> None:
    """Write a checkpoint whole or not at all."""
    write_archive(path, _KIND, _VERSION, *packed(saved))


def packed(saved: Saved) -> tuple[dict[str, Any], dict[str, Array]]:
    """What is saved as plain values and named arrays."""
    arrays: dict[str, Array] = {}
    states = []
    for k, state in enumerate((saved.state, *saved.state.return_points)):
        states.append({name: getattr(state, name) for name in _NUMBERS})
        arrays |= {f"state{k}/{name}": getattr(state, name) for name in _ARRAYS}
    callbacks: dict[str, dict[str, Any]] = {}
    for key, values in saved.callbacks.items():
        callbacks[key] = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
        for name in values.keys() - callbacks[key].keys():
            arrays[f"callbacks/{key}/{name}"] = values[name]
    values = {
        "states": states,
        "configuration": saved.configuration,
        "callbacks": callbacks,
        "options": saved.options,
    }
    return values, arrays


def unpacked(values: dict[str, Any], arrays: dict[str, Array]) -> Saved:
    """What `packed` took; the arrays are taken out, and none may be left over."""
    callbacks: dict[str, dict[str, Any]] = {key: {**state} for key, state in values["callbacks"].items()}
    for place in [place for place in arrays if place.startswith("callbacks/")]:
        _, key, name = place.split("/", 2)
        callbacks[key][name] = arrays.pop(place)
    states = [_state(k, numbers, arrays) for k, numbers in enumerate(values["states"])]
    if arrays or len(states) > 3:
        raise ValueError(f"unknown arrays {sorted(arrays)}")
    state = states[0]._replace(return_points=tuple(states[1:]))
    return Saved(state, {**values["configuration"]}, callbacks, {**values["options"]})


def read_checkpoint(path: str | PathLike[str], like: Saved | None = None) -> Saved:
    """A checkpoint; with `like`, it must have its configuration, and arrays of the same shapes and types.

    Raises
    ------
    FileFormatError
        If it is anything else.
    OSError
        If it cannot be read.
    """

    def parse(header: dict[str, Any], arrays: dict[str, Array]) -> Saved:
        saved = unpacked(header, arrays)
        if like is not None:
            for difference in _differences_of_runs(saved, like):
                raise FileFormatError(f"{path} is of another run: {difference}")
            for difference in _differences(saved, like):
                raise ValueError(difference)
        return saved

    return read_archive(path, _KIND, [_VERSION], parse)


def _state(k: int, numbers: dict[str, Any], arrays: dict[str, Array]) -> TrainerState:
    iteration = check.integer("iteration", numbers["iteration"], 0, _MAX_ITERATION)
    window = arrays[f"state{k}/window"]
    if window.shape != (min(iteration, WINDOW),) or window.dtype != np.float64:
        raise ValueError(f"a window of {window.dtype}, shape {window.shape}, after {iteration} iterations")
    check.array("parameters", arrays[f"state{k}/parameters"])
    check.array("optimizer_numbers", arrays[f"state{k}/optimizer_numbers"])
    check.array("optimizer_buffers", arrays[f"state{k}/optimizer_buffers"])
    streams = [numbers["source_stream"], numbers["dropout_stream"]]
    for stream in [*_listed(streams[0]), streams[1]]:
        if stream is not None:
            StdRng(0).state = stream  # which checks it
    return TrainerState(  # type: ignore[misc]  # mypy does not count them
        iteration,
        check.number("rate_scale", numbers["rate_scale"], 0.0, 1.0, open_low=True),
        check.integer("n_skipped", numbers["n_skipped"], 0),
        *streams,
        *[arrays.pop(f"state{k}/{name}") for name in _ARRAYS],
        return_points=(),
    )


def _differences_of_runs(saved: Saved, like: Saved) -> Iterator[str]:
    for name, value in json.loads(json.dumps(like.configuration)).items():
        given = saved.configuration[name]
        if given != value:
            was, is_here = check.shortened(repr(given)), check.shortened(repr(value))
            more = ""
            if name == "learning_rate" and _without_length(given) == _without_length(value):
                more = ". This schedule depends on the length of its run: keep the same number of iterations"
            yield f"its {name} is {was}, here it is {is_here}{more}"


def _without_length(schedule: object) -> str:
    """The description of a schedule, without the numbers that depend on the length of a run."""
    return re.sub(r"\b(n_iterations|warmup)=\d+", "", str(schedule))


def _differences(saved: Saved, like: Saved) -> Iterator[str]:
    for state in (saved.state, *saved.state.return_points):
        for name in _ARRAYS[:3]:
            given, value = getattr(state, name), getattr(like.state, name)
            if given.shape != value.shape or given.dtype != value.dtype:
                yield f"{name} of {given.dtype}, shape {given.shape}, not {value.dtype}, shape {value.shape}"
        given, needed = _listed(state.source_stream), _listed(like.state.source_stream)
        if state.dropout_stream is None or [s is None for s in given] != [s is None for s in needed]:
            yield "without the position of a random stream"


def _listed(streams: Any) -> list[RngState | None]:
    """The streams of a source, or of several."""
    return streams if isinstance(streams, list) else [streams]
