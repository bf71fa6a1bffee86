"""`crabnet-jit search`: the arguments of `fit` that suit a table."""

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from typing import Any

from crabnet_jit import check
from crabnet_jit.archive import whole_file
from crabnet_jit.cli.console import say
from crabnet_jit.cli.fit import say_scores
from crabnet_jit.cli.task import task_of
from crabnet_jit.fitting.scores import score
from crabnet_jit.fitting.search import search as search_arguments
from crabnet_jit.fitting.search_result import SearchResult
from crabnet_jit.fitting.space import Integers, Uniform
from crabnet_jit.network import files

#: What is tried if nothing is named.
SPACE: dict[str, Any] = {
    "hidden_sizes": [(width,) * depth for width in (8, 16, 32, 64) for depth in (1, 2)],
    "activation": ["tanh", "relu", "silu"],
    "learning_rate": Uniform(3e-4, 3e-2, log=True),
    "batch_size": [16, 32, 64, 128],
    "l2": Uniform(1e-6, 1e-1, log=True),
}
_SECONDS = 60.0  # if neither a time nor a number of candidates is given
#: Options of other commands, and the arguments of `fit` that they set under another name.
_ARGUMENTS = {"hidden": "hidden_sizes", "iterations": "n_iterations"}


def search(options: argparse.Namespace) -> None:
    """Search, and write the results."""
    space = _space(options.try_)
    x, y, weights, loss, remarks = task_of(options)
    if options.plot is not None:
        from crabnet_jit.plotting.figures import picture_path

        picture_path("--plot", options.plot)
    for line in remarks:
        say(line)
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    length = {} if "n_iterations" in space else {"n_iterations": options.iterations}
    result = search_arguments(
        space,
        x,
        y,
        n_candidates=options.candidates,
        budget_seconds=_SECONDS if options.budget is None and options.candidates is None else options.budget,
        seed=options.seed,
        validation=options.validation,
        n_threads=options.threads,
        progress=is_terminal if options.progress is None else options.progress,
        checkpoint=options.checkpoint,
        resume=options.resume,
        loss=loss,
        sample_weight=weights,
        missing=options.missing,
        **length,
    )
    _write(result, options)
    say(f"{len(result.table)} candidates; least validation loss {result.best_loss:.6g}")
    for name, value in result.best_arguments.items():
        say(f"  {name}: {_shown(value)}")
    rows = result.validation.nonzero()[0]
    of_rows = None if weights is None else weights[rows]
    net = result.best_network
    say_scores("validation", net.output_names, score(net, x.take(rows), y.take(rows), of_rows))
    if not result.is_complete:
        raise KeyboardInterrupt


def _write(result: SearchResult, options: argparse.Namespace) -> None:
    """Write the requested files."""
    if options.save is not None:
        files.save(result.best_network, options.save)
    if options.out is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["candidate", *result.table[0]])
        writer.writerows([k, *map(_shown, row.values())] for k, row in enumerate(result.table))
        with whole_file(options.out) as file:
            file.write(text.getvalue().encode())
    if options.plot is not None:
        from crabnet_jit.plotting.figures import canvas_figure, save_figure
        from crabnet_jit.plotting.search import plot_search

        figure = canvas_figure((9.6, 6.0))
        plot_search(result, figure=figure)
        save_figure(figure, options.plot)


def _shown(value: Any) -> str:
    """A value as it can be typed after --try."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _space(tried: Sequence[Sequence[str]] | None) -> dict[str, Any]:
    """The space given by all `--try NAME VALUE ...`."""
    if tried is None:
        return SPACE
    space: dict[str, Any] = {}
    for name, *texts in tried:
        argument = name.replace("-", "_")
        argument = _ARGUMENTS.get(argument, argument)
        if argument in space:
            raise check.reject("--try", "given once for each argument", f"{name} twice")
        if not texts:
            raise check.reject("--try", "a name and its values, such as activation tanh relu", name)
        values = [_value(argument, text) for text in texts]
        if len(values) == 1 and isinstance(values[0], (Uniform, Integers)):
            space[argument] = values[0]
        elif any(isinstance(value, (Uniform, Integers)) for value in values):
            raise check.reject("--try", "values, or one range such as 1e-4..1e-1", " ".join(texts))
        else:
            space[argument] = values
    return space


def _value(argument: str, text: str) -> Any:
    """A number, sizes, a range of numbers, or a name."""
    low, dots, high = text.partition("..")
    if dots:
        ends = _number(low), _number(high)
        if None in ends:
            raise check.reject("--try", "a range of numbers, such as 1e-4..1e-1", text)
        kind = Integers if all(isinstance(end, int) for end in ends) else Uniform
        return kind(*ends, log=ends[0] > 0)
    if argument == "hidden_sizes":
        sizes = [_number(part) for part in text.split(",")] if text.strip() else []
        return tuple(sizes)
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> Any:
    """An integer, any other number, or None."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
