"""The options of all commands, and where their files may be."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crabnet_jit import ACTIVATIONS, INITIALIZERS, LOSSES, OPTIMIZERS, InvalidArgumentError, check
from crabnet_jit.article import PRESETS
from crabnet_jit.cli.article import SCHEDULES
from crabnet_jit.cli.commands import Parser, parser_of_commands
from crabnet_jit.cli.pictures import KINDS, MAX_OUTPUTS, TARGETS
from crabnet_jit.cli.watch import saved_options
from crabnet_jit.places import follow, is_same

# The shortest command lines that are complete, and options that a resumed run may have of its own.
_SHORTEST_COMMANDS = {"gaussian": ["gaussian"], "fit": ["fit", "-", "--inputs", "x", "--outputs", "y"]}
_MAY_CHANGE = {"iterations", "log_every"}


def _sizes(text: str) -> list[int]:
    """`8,8` as [8, 8], the empty string as []."""
    try:
        return [int(size) for size in text.split(",")] if text.strip() else []
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be integers separated by commas, or empty for no hidden layer, got {text!r}"
        ) from None


def _typed(value: object) -> str:
    """An option's value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _names(text: str) -> list[str]:
    """`x,y` as ["x", "y"]."""
    return [name.strip() for name in text.split(",")]


def _numbers(text: str) -> list[float] | float:
    """`1,2` as [1.0, 2.0]; one number as it is."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, got {text!r}") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _parser(
    preset: str = "article", command: str = "gaussian", saved: dict[str, Any] | None = None
) -> argparse.ArgumentParser:
    """Options have the defaults of a preset, and before those the ones that a command's checkpoint has."""
    parser, commands = parser_of_commands()
    _add_gaussian(commands["gaussian"], PRESETS[preset])
    _add_fit(commands["fit"])
    _add_predict(commands["predict"])
    _add_plot(commands["plot"])
    _add_export(commands["export"])
    commands[command].set_defaults(**(saved or {}))
    return parser


def _add_gaussian(gaussian: Parser, preset: dict[str, Any]) -> None:
    gaussian.add_argument(
        "--preset", default="article", metavar="NAME", help=f"defaults for the options: {', '.join(PRESETS)}"
    )
    gaussian.add_argument(
        "--seed", type=int, default=1, metavar="N", help="seed of the random stream, any u64"
    )
    _add_network(gaussian, **preset)
    gaussian.add_argument(
        "--schedule",
        default=preset["schedule"],
        metavar="NAME",
        help=f"of the learning rate: {', '.join(SCHEDULES)}",
    )
    gaussian.add_argument(
        "--decay",
        type=float,
        default=0.99999,
        metavar="FACTOR",
        help="on the learning rate in every iteration, with the exponential schedule",
    )
    gaussian.add_argument(
        "--log-every", type=int, default=10_000, metavar="N", help="iterations between log lines"
    )
    _add_run(gaussian)
    gaussian.add_argument(
        "--animate", metavar="FILE", help="a film of the surface as it learns: .gif, .mp4, or .png for frames"
    )
    gaussian.add_argument(
        "--rotate", metavar="FILE", help="a film of the learned surface, turning: the same endings"
    )
    _add_frames(gaussian)


def _add_frames(parser: Parser) -> None:
    parser.add_argument("--frames", type=int, default=60, metavar="N", help="frames of a film")


def _add_run(parser: Parser) -> None:
    parser.add_argument("--save", metavar="FILE", help="write the network there")
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="save the state of the run there, also on Ctrl-C and SIGTERM"
    )
    parser.add_argument(
        "--checkpoint-every", type=int, default=100_000, metavar="N", help="iterations between two saves"
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="go on from a checkpoint; options that are not given are those of its run",
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="end the run then, at the latest")
    parser.add_argument(
        "--log-file", metavar="FILE", help="rows of iteration, running loss and rate: .csv or .jsonl"
    )
    parser.add_argument(
        "--on-divergence",
        default="raise",
        metavar="WHAT",
        help="if a loss is not finite: raise (an error), skip (the step), lower_rate (go back)",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="a progress bar on standard error; by default if that is a terminal",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help=f"draw fit, of the first {MAX_OUTPUTS} outputs, and losses there: .png, .svg, .pdf, ...",
    )
    parser.add_argument("--show", action="store_true", help="draw them in a window, if there is a display")


def _add_network(
    parser: Parser,
    *,
    hidden: list[int],
    activation: str,
    init: str,
    optimizer: str,
    learning_rate: float,
    iterations: int,
    batch_size: int,
    **_: str,
) -> None:
    parser.add_argument(
        "--hidden",
        type=_sizes,
        default=_typed(hidden),
        metavar="SIZES",
        help="hidden sizes; empty for no hidden layer",
    )
    parser.add_argument(
        "--activation", default=activation, metavar="NAME", help=f"of hidden layers: {', '.join(ACTIVATIONS)}"
    )
    parser.add_argument(
        "--init", default=init, metavar="NAME", help=f"initial parameters: auto, {', '.join(INITIALIZERS)}"
    )
    parser.add_argument(
        "--dtype", default="float64", metavar="NAME", help="type of all numbers: float32, float64"
    )
    parser.add_argument("--optimizer", default=optimizer, metavar="NAME", help=", ".join(OPTIMIZERS))
    parser.add_argument(
        "--learning-rate", type=float, default=learning_rate, metavar="RATE", help="step size"
    )
    parser.add_argument("--iterations", type=int, default=iterations, metavar="N", help="steps to take")
    parser.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N", help="samples in an iteration"
    )


def _add_fit(fit: Parser) -> None:
    fit.add_argument("file", help="CSV in UTF-8 with a header; - for standard input")
    fit.add_argument("--inputs", type=_names, required=True, metavar="NAMES", help="columns, with commas")
    fit.add_argument("--outputs", type=_names, required=True, metavar="NAMES", help="columns, with commas")
    fit.add_argument("--weights", metavar="NAME", help="column of sample weights")
    fit.add_argument("--delimiter", metavar="CHARACTER", help="found in the header by default")
    _add_network(
        fit,
        hidden=[32, 32],
        activation="tanh",
        init="auto",
        optimizer="adam",
        learning_rate=0.003,
        iterations=20_000,
        batch_size=64,
    )
    fit.add_argument("--loss", default="mse", metavar="NAME", help=", ".join(LOSSES))
    fit.add_argument("--l1", type=float, default=0.0, metavar="FACTOR", help="penalty on sizes of parameters")
    fit.add_argument("--l2", type=float, default=0.0, metavar="FACTOR", help="penalty on their squares")
    fit.add_argument("--clip-norm", type=float, metavar="NORM", help="largest norm of the gradient")
    fit.add_argument("--clip-value", type=float, metavar="VALUE", help="largest component of the gradient")
    fit.add_argument("--dropout", type=float, default=0.0, metavar="RATE", help="share of units dropped")
    fit.add_argument(
        "--validation",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of the rows, set aside to choose the best parameters; 0 for none",
    )
    fit.add_argument("--no-standardize", action="store_true", help="take numbers as they are")
    fit.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the random stream, any u64")
    fit.add_argument(
        "--patience", type=int, metavar="N", help="end after so many validation losses without a better one"
    )
    _add_run(fit)


def _add_predict(predict: Parser) -> None:
    predict.add_argument("model", help="a file that gaussian or fit saved")
    predict.add_argument("file", help="CSV in UTF-8 with a header; - for standard input")
    predict.add_argument("--delimiter", metavar="CHARACTER", help="found in the header by default")
    predict.add_argument("--output", default="-", metavar="FILE", help="write there; - for standard output")


def _add_plot(plot: Parser) -> None:
    plot.add_argument("model", help="a file that gaussian or fit saved")
    plot.add_argument("picture", nargs="?", help="the file to write: .png, .svg, .pdf, ...; .gif or .mp4")
    plot.add_argument(
        "--kind",
        metavar="NAME",
        help=f"{', '.join(KINDS)}; by default rotate for films, fit with --data, else surface",
    )
    plot.add_argument("--data", metavar="FILE", help="CSV with the inputs, and for --kind fit the outputs")
    plot.add_argument("--delimiter", metavar="CHARACTER", help="found in the header by default")
    plot.add_argument("--target", metavar="NAME", help=f"draw it, too: {', '.join(TARGETS)}")
    plot.add_argument("--low", type=_numbers, metavar="NUMBERS", help="of the box to look at, for each input")
    plot.add_argument("--high", type=_numbers, metavar="NUMBERS", help="the same, upper ends")
    plot.add_argument(
        "--at", type=_numbers, metavar="NUMBERS", help="a value for each input that does not vary"
    )
    plot.add_argument("--inputs", type=_names, metavar="NAMES", help="those that vary")
    plot.add_argument("--output", metavar="NAME", help="the one to draw; by default the first")
    _add_frames(plot)
    plot.add_argument("--show", action="store_true", help="open a window, if there is a display")


def _add_export(export: Parser) -> None:
    export.add_argument("model", help="a file that gaussian or fit saved")
    export.add_argument("to", metavar="file", help="the file to write: .c, .f90, .onnx, .safetensors, .py")
    export.add_argument(
        "--prefix", metavar="NAME", help="of names in C and Fortran; by default made of that of the file"
    )
    export.add_argument(
        "--dtype", metavar="NAME", help="of all numbers: float32, float64; by default the network's"
    )
    export.add_argument("--header", action="store_true", help="write a header for C, too: .h")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; those that are not given are those of the checkpoint to go on from, or the preset's."""
    options = _parser().parse_args(argv)
    preset = getattr(options, "preset", "article")
    if preset not in PRESETS:
        return options  # for an error
    if getattr(options, "resume", None) is None:
        return options if preset == "article" else _parser(preset).parse_args(argv)
    saved = saved_options(options.command, options.resume, set(vars(options)))
    parser = _parser(preset, options.command, saved)
    resumed, as_saved = parser.parse_args(argv), parser.parse_args(_SHORTEST_COMMANDS[options.command])
    for name in saved.keys() - _MAY_CHANGE:
        if getattr(resumed, name) != getattr(as_saved, name):
            was, given = (_typed(getattr(which, name)) for which in (as_saved, resumed))
            option = f"--{name.replace('_', '-')}"
            raise InvalidArgumentError(f"{option} must be {was}, as in {options.resume}, got {given}")
    return resumed


#: For each command, the options with files that it reads, and those with files that it writes.
_FILES = {
    "gaussian": (["resume"], ["save", "checkpoint", "log_file", "plot", "animate", "rotate"]),
    "fit": (["file", "resume"], ["save", "checkpoint", "log_file", "plot"]),
    "predict": (["model", "file"], ["output"]),
    "plot": (["model", "data"], ["picture"]),
    "export": (["model"], ["to"]),
    "warmup": ([], []),
}
#: Files that may be written over what was read from them.
_MAY_REPLACE = {"checkpoint": "resume", "output": "file"}
_FILMS = ("animate", "rotate")


def _shown(name: str) -> str:
    """What errors call an option with a file."""
    arguments = {"file": "the data", "to": "FILE", "model": "the model", "picture": "PICTURE"}
    return arguments.get(name, f"--{name.replace('_', '-')}")


def _is_frame(path: Path, film: Path) -> bool:
    """Whether a film as pictures, such as film.png, has a frame with this path, such as film-0000.png."""
    numbered = re.fullmatch(re.escape(film.stem) + "-[0-9]{4,}" + re.escape(film.suffix), path.name)
    return numbered is not None and film.suffix.lower() == ".png" and is_same(path.parent, film.parent)


def check_files(options: argparse.Namespace) -> None:
    """Before the work, not after it: results need files of their own, and places to be."""
    read, written = _FILES[options.command]
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
    save = paths.get("save")
    if save is not None and (not save.absolute().parent.is_dir() or save.is_dir()):
        raise check.reject("--save", "a file in a folder that exists", repr(options.save))
