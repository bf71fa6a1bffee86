"""The commands, as far as nothing has to be loaded for them: their names, the help, the version."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from crabnet_jit import __version__

USAGE_ERROR = 2  # the exit code

#: What each does, and more about it.
COMMANDS = {
    "gaussian": (
        "fit a network to the 2D Gaussian",
        "The defaults are the article's job. The log goes to standard output, all else to standard error.",
    ),
    "fit": (
        "fit a network to a CSV file",
        "Scores go to standard error, in the units of the outputs: root mean squared error, mean absolute "
        "error and R2. The learning rate rises for a tenth of the iterations and falls as a cosine.",
    ),
    "predict": (
        "predict the outputs for a CSV file",
        "Writes its columns, and one column NAME_predicted for each output.",
    ),
    "plot": (
        "draw a saved network",
        "Needs matplotlib. Numbers that begin with a minus are written as in --low=-1,0.",
    ),
    "export": (
        "write a saved network as a program, or for one",
        "The ending says what: .c (C99; compiled with -DPREFIX_SELF_TEST, it tests itself), .f90 (Fortran, "
        "and the C file that it calls), .onnx, .safetensors, .py (Python that needs only math).",
    ),
    "warmup": (
        "compile everything ahead",
        "Machine code is kept on disk, so that the first run on a server or in an image need not compile. It "
        "is for this version, this processor and this user; NUMBA_CACHE_DIR names another folder for it.",
    ),
}

# Where a command line is not complete, or is that of an earlier version.
_WHAT_TO_TYPE = {
    "--inputs, --outputs": (
        "type crabnet-jit fit points.csv --inputs x --outputs y; the article's job is crabnet-jit gaussian"
    ),
    "invalid choice: 'train'": "type crabnet-jit fit points.csv --inputs x --outputs y",
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and message."""
        hints = [f"; {hint}" for what, hint in _WHAT_TO_TYPE.items() if what in message]
        self.exit(USAGE_ERROR, f"{self.prog}: error: {' '.join(message.split())}{''.join(hints)}\n")


def parser_of_commands() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the command line, and those of its commands, without their options."""
    parser = Parser(prog="crabnet-jit", description="Train small neural networks in compiled loops.")
    parser.add_argument("--version", action="version", version=f"crabnet-jit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        for name, (text, more) in COMMANDS.items()
    }
    return parser, parsers


def answer_without_a_command(arguments: Sequence[str]) -> None:
    """End the process with the help, the version or an error, unless a command comes first."""
    if not arguments or arguments[0] not in COMMANDS:
        parser_of_commands()[0].parse_args(arguments)
