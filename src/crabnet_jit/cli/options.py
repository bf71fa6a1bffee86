"""The options of all commands, and checks of their files.

Modules whose names the help lists are imported when a command's options are added: most of them load Numba,
which takes longer than some commands.
"""

import argparse
import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crabnet_jit import check, other_names
from crabnet_jit.cli.commands import SHELLS, Parser, parser_of_commands, real_number, whole_number
from crabnet_jit.places import follow, is_same

# The shortest complete command lines, and options that a resumed run may change.
_SHORTEST_COMMANDS = {"gaussian": ["gaussian"], "fit": ["fit", "-", "--inputs", "x", "--outputs", "y"]}
_MAY_CHANGE = {"iterations", "log_every", "threads"}

_SECOND_ORDER = "levenberg_marquardt and bayesian_regularization"
# Remarks on steps in the help of `gaussian`, besides their defaults.
_ABOUT_STEPS_OF_GAUSSIAN = {
    "learning_rate": f"{_SECOND_ORDER} have none",
    "iterations": f"{_SECOND_ORDER} may converge earlier",
    "batch_size": f"new ones each time, but always the same ones for {_SECOND_ORDER}",
}
_MAX_SIZE = "1GB"
_TABLE = (
    "CSV or other delimited text in UTF-8, also as .gz, .bz2 or .xz; with polars .parquet, .feather and "
    ".xlsx; - for standard input"
)


def _sizes(text: str) -> list[int]:
    """`8,8` as [8, 8], the empty string as []."""
    try:
        return [int(size) for size in text.split(",")] if text.strip() else []
    except ValueError:
        is_other_list = re.fullmatch(r"[\d\s,;xX*()\[\]]+", text) is not None
        meant = ",".join(re.findall(r"\d+", text))
        hint = f"; did you mean {meant}?" if is_other_list and meant else ""
        raise argparse.ArgumentTypeError(
            f"must be integers separated by commas, or empty for no hidden layer, got {text!r}{hint}"
        ) from None


def _typed(value: object) -> str:
    """An option's value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(text: str) -> list[str]:
    """`x,y` as ["x", "y"]; a name with a comma needs quotes."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [""])]


def _numbers(text: str) -> list[float] | float:
    """`1,2` as [1.0, 2.0]; a single number as a float."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _ends(text: str) -> tuple[float | None, ...]:
    """`0,1` as (0.0, 1.0), `0,` as (0.0, None)."""
    ends = [end.strip() for end in text.split(",")]
    if len(ends) != 2:
        raise argparse.ArgumentTypeError(f"must be two numbers such as 0,1 or one such as 0, got {text!r}")
    return tuple(real_number(end) if end else None for end in ends)


def _or_auto(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of an option that may also be the word auto."""
    return lambda text: text if text == "auto" else kind(text)


def all_options() -> Parser:
    """A parser with the options of all commands."""
    parser, commands = parser_of_commands()
    for command, add_options in _ADD_OPTIONS.items():
        add_options(commands[command])
    return parser


def _options_of(command: str, defaults: Mapping[str, Any] | None = None) -> Parser:
    """A parser with the options of a command; `defaults` may come from a checkpoint or a preset."""
    parser, commands = parser_of_commands()
    if command in _ADD_OPTIONS:
        _ADD_OPTIONS[command](commands[command])
    commands[command].set_defaults(**(defaults or {}))
    commands[command].with_all_options = all_options
    return parser


def add_reader_options(parser: Parser) -> None:
    """Add the options for reading a table, for all commands that read one."""
    parser.add_argument(
        "--delimiter",
        metavar="CHARACTER",
        help="separator of columns; by default the one of , ; tab | that the first rows have",
    )
    parser.add_argument("--decimal", default=".", metavar="SIGN", help="decimal sign of numbers: . or ,")
    parser.add_argument(
        "--na-values",
        metavar="TEXTS",
        help="more cells that mean missing, with commas; besides empty ones, NA, N/A, NaN, null and ?",
    )
    parser.add_argument(
        "--no-header", action="store_true", help="the first row has no names; columns are called 1, 2, ..."
    )
    parser.add_argument(
        "--max-size", default=_MAX_SIZE, metavar="SIZE", help="the largest table to read, unpacked"
    )


def _add_gaussian(gaussian: Parser) -> None:
    from crabnet_jit.article import PRESETS
    from crabnet_jit.cli.article import SCHEDULES

    preset = PRESETS["article"]
    gaussian.add_argument(
        "--preset",
        default="article",
        metavar="NAME",
        help=f"a set of defaults for the other options: {', '.join(PRESETS)}; those for steps suit the "
        "optimizer",
    )
    gaussian.add_argument(
        "--seed", type=int, default=1, metavar="N", help="seed of the random numbers, 0 to 2**64 - 1"
    )
    _add_network(gaussian, _ABOUT_STEPS_OF_GAUSSIAN, **preset)
    gaussian.add_argument(
        "--schedule",
        default=preset["schedule"],
        metavar="NAME",
        help=f"schedule of the learning rate: {', '.join(SCHEDULES)}",
    )
    gaussian.add_argument(
        "--decay",
        type=float,
        default=0.99999,
        metavar="FACTOR",
        help="factor on the learning rate in every iteration, with --schedule exponential",
    )
    gaussian.add_argument(
        "--log-every",
        type=int,
        default=preset["log_every"],
        metavar="N",
        help="iterations between two lines of the log",
    )
    _add_run(gaussian)
    gaussian.add_argument(
        "--animate",
        metavar="FILE",
        help="write a film of the learning surface: .gif, .mp4, or .png for frames",
    )
    gaussian.add_argument(
        "--rotate",
        metavar="FILE",
        help="write a film of the learned surface turning: .gif, .mp4, or .png for frames",
    )
    _add_frames(gaussian)


def _add_frames(parser: Parser) -> None:
    parser.add_argument("--frames", type=int, default=60, metavar="N", help="number of frames of a film")


def _add_run(parser: Parser) -> None:
    from crabnet_jit.cli.pictures import MAX_OUTPUTS

    parser.add_argument(
        "--save", metavar="FILE", help="write the network to this file, for predict, plot and export"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="save the state of the run to this file at intervals, at the end, and on Ctrl-C and SIGTERM",
    )
    parser.add_argument(
        "--checkpoint-every",
        type=int,
        default=100_000,
        metavar="N",
        help="iterations between two checkpoints",
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="go on from a checkpoint; options that are not given are taken from it",
    )
    parser.add_argument(
        "--time-limit", type=float, metavar="SECONDS", help="end the run after this time at the latest"
    )
    parser.add_argument(
        "--log-file",
        metavar="FILE",
        help="write rows of iteration, running loss and learning rate to this file: .csv or .jsonl",
    )
    parser.add_argument(
        "--threads",
        type=_or_auto(whole_number),
        default=1,
        metavar="N",
        help="threads that share the samples of a batch, which changes no digit of the result; auto for all "
        "cores that may be used",
    )
    parser.add_argument(
        "--on-divergence",
        default="raise",
        metavar="WHAT",
        help="what to do if a loss is infinite or NaN: raise (end with an error), skip (leave out the step), "
        "lower_rate (go back and halve the learning rate)",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show a progress bar on standard error; by default, only if that is a terminal",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help=f"draw the fit of the first {MAX_OUTPUTS} outputs, and the losses: .png, .svg, .pdf, ...",
    )
    parser.add_argument(
        "--show", action="store_true", help="show the same drawing in a window, if there is a display"
    )


def _add_network(
    parser: Parser,
    about_steps: Mapping[str, str],
    *,
    hidden: list[int],
    activation: str,
    init: str,
    optimizer: str,
    learning_rate: float | str,
    iterations: int | str,
    batch_size: int | str,
    **_: Any,
) -> None:
    from crabnet_jit import ACTIVATIONS, INITIALIZERS, OPTIMIZERS

    parser.add_argument(
        "--hidden",
        type=_sizes,
        default=_typed(hidden),
        metavar="SIZES",
        help="units of each hidden layer, with commas, such as 32,32; an empty string for no hidden layer",
    )
    parser.add_argument(
        "--activation",
        default=activation,
        metavar="NAME",
        help=f"activation of the hidden layers: {', '.join(ACTIVATIONS)}",
    )
    parser.add_argument(
        "--init",
        default=init,
        metavar="NAME",
        help=f"initial parameters: auto (suits the activation), {', '.join(INITIALIZERS)}",
    )
    parser.add_argument(
        "--dtype", default="float64", metavar="NAME", help="type of all numbers: float32, float64"
    )
    parser.add_argument(
        "--optimizer", default=optimizer, metavar="NAME", help=f"update rule: {', '.join(OPTIMIZERS)}"
    )
    parser.add_argument(
        "--learning-rate",
        type=_or_auto(real_number),
        default=learning_rate,
        metavar="RATE",
        help=f"size of the steps, at its peak; {about_steps['learning_rate']}",
    )
    parser.add_argument(
        "--iterations",
        type=_or_auto(whole_number),
        default=iterations,
        metavar="N",
        help=f"number of training steps, each with one batch; {about_steps['iterations']}",
    )
    parser.add_argument(
        "--batch-size",
        type=_or_auto(whole_number),
        default=batch_size,
        metavar="N",
        help=f"samples in each batch; {about_steps['batch_size']}",
    )


def _add_table(parser: Parser) -> None:
    """The table to learn from, and what its columns are for."""
    parser.add_argument("file", help=_TABLE)
    parser.add_argument(
        "--inputs", type=_names, required=True, metavar="NAMES", help="names of columns, with commas: x,y"
    )
    parser.add_argument(
        "--outputs", type=_names, required=True, metavar="NAMES", help="names of columns, with commas: x,y"
    )
    parser.add_argument("--weights", metavar="NAME", help="name of a column with a weight for each row")
    add_reader_options(parser)


def _add_task(parser: Parser) -> None:
    """What is to be learned from the table."""
    from crabnet_jit import LOSSES

    parser.add_argument(
        "--task",
        default="auto",
        metavar="NAME",
        help="what to predict: auto (strings and booleans are classes, numbers a regression), regression, "
        "classification",
    )
    parser.add_argument(
        "--missing",
        default="error",
        metavar="WHAT",
        help="what to do with missing inputs: error, drop (leave their rows out), mean (use that of the "
        "training data, which the network keeps); missing outputs are unknown and do not count",
    )
    parser.add_argument(
        "--loss",
        default="auto",
        metavar="NAME",
        help=f"what is minimised: auto (suits the task), {', '.join(LOSSES)}",
    )
    parser.add_argument(
        "--quantiles",
        type=_numbers,
        metavar="NUMBERS",
        help="quantiles for --loss quantile, with commas: 0.05,0.5,0.95; by default 0.5, the median",
    )


def _add_fit(fit: Parser) -> None:
    from crabnet_jit.fitting import step_options as steps

    _add_table(fit)
    about_steps = {
        "learning_rate": f"auto is {steps.LEARNING_RATE}; {_SECOND_ORDER} have none",
        "iterations": f"auto is {steps.N_ITERATIONS}, with levenberg_marquardt {steps.N_SECOND_ORDER}, with "
        f"bayesian_regularization {steps.N_WITH_EVIDENCE}",
        "batch_size": f"auto is {steps.BATCH_SIZE}; {_SECOND_ORDER} take all rows",
    }
    _add_network(
        fit,
        about_steps,
        hidden=[32, 32],
        activation="tanh",
        init="auto",
        optimizer="adam",
        learning_rate="auto",
        iterations="auto",
        batch_size="auto",
    )
    _add_task(fit)
    fit.add_argument(
        "--l1", type=float, default=0.0, metavar="FACTOR", help="penalty on the absolute parameters"
    )
    fit.add_argument(
        "--l2",
        type=float,
        default=0.0,
        metavar="FACTOR",
        help="penalty on the squared parameters, also called weight decay",
    )
    fit.add_argument(
        "--clip-norm", type=float, metavar="NORM", help="scale down gradients whose norm is above this"
    )
    fit.add_argument(
        "--clip-value", type=float, metavar="VALUE", help="limit components of the gradient to this size"
    )
    fit.add_argument(
        "--dropout",
        type=float,
        default=0.0,
        metavar="RATE",
        help="share of hidden units that are dropped at random in each step",
    )
    fit.add_argument(
        "--validation",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the rows that is set aside to choose the best parameters, such as 0.2; 0 for none",
    )
    fit.add_argument(
        "--output-range",
        type=_ends,
        metavar="ENDS",
        help="range of all predicted numbers: 0,1 for between these; 0, (with a comma) for above 0",
    )
    fit.add_argument(
        "--no-standardize",
        action="store_true",
        help="do not scale inputs and outputs to mean 0 and standard deviation 1",
    )
    fit.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random numbers, 0 to 2**64 - 1"
    )
    fit.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="end the run after this many validation losses in a row without improvement",
    )
    _add_run(fit)


def _add_search(search: Parser) -> None:
    _add_table(search)
    search.add_argument(
        "--try",
        dest="try_",
        action="append",
        nargs="+",
        metavar=("NAME", "VALUE"),
        help="values of an argument of fit, such as --try activation tanh relu --try hidden_sizes 8 16,16, "
        "or a range, such as --try learning_rate 1e-4..1e-1 (above 0, its logarithm is uniform); by default "
        "hidden_sizes, activation, learning_rate, batch_size and l2 are tried",
    )
    search.add_argument(
        "--budget", type=float, metavar="SECONDS", help="total time; 60 if --candidates is not given"
    )
    search.add_argument("--candidates", type=int, metavar="N", help="the most networks to try")
    search.add_argument(
        "--threads",
        type=_or_auto(whole_number),
        default="auto",
        metavar="N",
        help="number of networks trained at the same time",
    )
    search.add_argument(
        "--iterations",
        type=_or_auto(whole_number),
        default="auto",
        metavar="N",
        help="number of training steps of networks that are trained to the end",
    )
    _add_task(search)
    search.add_argument(
        "--validation",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the rows that is set aside to compare networks",
    )
    search.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random numbers, 0 to 2**64 - 1"
    )
    search.add_argument("--save", metavar="FILE", help="write the best network to this file")
    search.add_argument("--out", metavar="FILE", help="write a table of all candidates: .csv")
    search.add_argument("--plot", metavar="FILE", help="draw all candidates: .png, .svg, .pdf, ...")
    search.add_argument("--checkpoint", metavar="FILE", help="save the search to this file, for --resume")
    search.add_argument("--resume", metavar="FILE", help="go on from a checkpoint of the same search")
    search.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show the progress on standard error; by default only if that is a terminal",
    )


def _add_predict(predict: Parser) -> None:
    predict.add_argument("model", help="a network: a file that --save of fit or gaussian wrote")
    predict.add_argument("file", help=_TABLE)
    add_reader_options(predict)
    predict.add_argument(
        "--probabilities",
        action="store_true",
        help="also write the probability of each class, in columns NAME=CLASS",
    )
    predict.add_argument(
        "--interval",
        type=float,
        metavar="LEVEL",
        help="also write intervals that contain new values with this probability, in columns NAME_low and "
        "NAME_high; the network must know the noise",
    )
    predict.add_argument(
        "--output", default="-", metavar="FILE", help="the CSV file to write; - for standard output"
    )


def _add_describe(describe: Parser) -> None:
    describe.add_argument("file", help=_TABLE)
    add_reader_options(describe)
    describe.add_argument(
        "--outputs", type=_names, metavar="NAMES", help="names of the columns to predict, with commas: x,y"
    )


def _add_plot(plot: Parser) -> None:
    from crabnet_jit.cli.pictures import KINDS, TARGETS

    plot.add_argument("model", help="a network: a file that --save of fit or gaussian wrote")
    plot.add_argument(
        "picture", nargs="?", help="the file to write: .png, .svg, .pdf, ...; .gif or .mp4 for a film"
    )
    plot.add_argument(
        "--kind",
        metavar="NAME",
        help=f"{', '.join(KINDS)}; by default rotate for films, fit with --data, else surface",
    )
    plot.add_argument("--data", metavar="FILE", help="CSV with the inputs, and for --kind fit the outputs")
    add_reader_options(plot)
    plot.add_argument(
        "--target", metavar="NAME", help=f"a function to draw next to the network: {', '.join(TARGETS)}"
    )
    plot.add_argument(
        "--low", type=_numbers, metavar="NUMBERS", help="lower bounds of the box to draw, one for each input"
    )
    plot.add_argument("--high", type=_numbers, metavar="NUMBERS", help="upper bounds of the box to draw")
    plot.add_argument(
        "--at",
        type=_numbers,
        metavar="NUMBERS",
        help="values of the inputs that are not on an axis; give one for each input",
    )
    plot.add_argument("--inputs", type=_names, metavar="NAMES", help="names of the inputs on the axes")
    plot.add_argument("--output", metavar="NAME", help="name of the output to draw; by default the first")
    _add_frames(plot)
    plot.add_argument("--show", action="store_true", help="show it in a window, if there is a display")


def _add_export(export: Parser) -> None:
    export.add_argument("model", help="a network: a file that --save of fit or gaussian wrote")
    export.add_argument("to", metavar="file", help="the file to write: .c, .f90, .onnx, .safetensors, .py")
    export.add_argument(
        "--prefix",
        metavar="NAME",
        help="prefix of names in C and Fortran; by default made from the name of the file",
    )
    export.add_argument(
        "--dtype",
        metavar="NAME",
        help="type of all numbers: float32, float64; by default that of the network",
    )
    export.add_argument("--header", action="store_true", help="also write a C header: .h")


def _add_completion(completion: Parser) -> None:
    completion.add_argument("shell", help=f"the shell: {', '.join(SHELLS)}")


#: The functions that add the options of each command; `warmup` has none.
_ADD_OPTIONS = {
    "gaussian": _add_gaussian,
    "fit": _add_fit,
    "search": _add_search,
    "predict": _add_predict,
    "describe": _add_describe,
    "plot": _add_plot,
    "export": _add_export,
    "completion": _add_completion,
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options; defaults come from the checkpoint of a resumed run, or from the preset.

    The first argument is a command.
    """
    command = argv[0]
    options = _options_of(command).parse_args(argv)
    if command not in _SHORTEST_COMMANDS:
        return options
    if options.resume is None:
        return _of_preset(argv, options) if command == "gaussian" else options
    from crabnet_jit.cli.watch import saved_options

    saved = saved_options(command, options.resume, set(vars(options)))
    parser = _options_of(command, saved)
    resumed, as_saved = parser.parse_args(argv), parser.parse_args(_SHORTEST_COMMANDS[command])
    for name in saved.keys() - _MAY_CHANGE:
        if getattr(resumed, name) != getattr(as_saved, name):
            was, given = (_typed(getattr(which, name)) for which in (as_saved, resumed))
            option = f"--{name.replace('_', '-')}"
            raise check.InvalidArgumentError(f"{option} must be {was}, as in {options.resume}, got {given}")
    return resumed


def _of_preset(argv: Sequence[str], options: argparse.Namespace) -> argparse.Namespace:
    """The options of `gaussian`, with defaults from its preset, and steps that suit its optimiser."""
    from crabnet_jit.article import PRESETS, preset_for

    if options.preset not in PRESETS:
        return options  # for an error
    own = PRESETS[options.preset]
    if options.preset != "article":
        options = _options_of("gaussian", own).parse_args(argv)
    fitting = preset_for(options.preset, options.optimizer)
    return options if fitting is own else _options_of("gaussian", fitting).parse_args(argv)


#: For each command, the options of files that it reads, and of files that it writes.
FILES = {
    "gaussian": (["resume"], ["save", "checkpoint", "log_file", "plot", "animate", "rotate"]),
    "fit": (["file", "resume"], ["save", "checkpoint", "log_file", "plot"]),
    "search": (["file", "resume"], ["save", "checkpoint", "out", "plot"]),
    "predict": (["model", "file"], ["output"]),
    "describe": (["file"], []),
    "plot": (["model", "data"], ["picture"]),
    "export": (["model"], ["to"]),
    "warmup": ([], []),
    "completion": ([], []),
}
#: Files that may be overwritten after they were read.
_MAY_REPLACE = {"checkpoint": "resume", "output": "file"}
_FILMS = ("animate", "rotate")


def _shown(name: str) -> str:
    """The name of an option in errors."""
    arguments = {"file": "the data", "to": "FILE", "model": "the model", "picture": "PICTURE"}
    return arguments.get(name, f"--{name.replace('_', '-')}")


def with_options(message: str, options: argparse.Namespace) -> str:
    """The message of an error about an argument, with the name of the corresponding option."""
    argument, must, rest = message.partition(" must ")
    option = other_names.OPTIONS.get(argument, argument)
    return f"{_shown(option)}{must}{rest}" if hasattr(options, option) else message


def _is_frame(path: Path, film: Path) -> bool:
    """Whether a film as pictures, such as film.png, has a frame with this path, such as film-0000.png."""
    numbered = re.fullmatch(re.escape(film.stem) + "-[0-9]{4,}" + re.escape(film.suffix), path.name)
    return numbered is not None and film.suffix.lower() == ".png" and is_same(path.parent, film.parent)


def check_files(options: argparse.Namespace) -> None:
    """Check, before the work, that results have distinct files that can be written."""
    read, written = FILES[options.command]
    paths: dict[str, Path] = {}
    for name in (*read, *written):
        given = getattr(options, name)
        if given is None or (given == "-" and name in ("file", "output")):
            continue
        path = check.path(_shown(name), given)
        if name in written:
            follow(path)  # links that form a loop
            for other, taken in paths.items():
                is_frame = name in _FILMS and other not in _FILMS and _is_frame(taken, path)
                if is_frame or (other != _MAY_REPLACE.get(name) and is_same(path, taken)):
                    raise check.reject(_shown(name), f"another file than {_shown(other)}", repr(given))
        paths[name] = path
    for name in ("save", "out"):
        place = paths.get(name)
        if place is not None and (not place.absolute().parent.is_dir() or place.is_dir()):
            raise check.reject(_shown(name), "a file in a folder that exists", repr(getattr(options, name)))
