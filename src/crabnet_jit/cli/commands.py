"""The parts of commands that need no imports: names, help, version."""

import argparse
import contextlib
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from crabnet_jit import __version__

USAGE_ERROR = 2  # the exit code
_EXACT_INTEGER = 2**53  # up to here, floats hold every integer
_DESCRIPTION = (
    "Train small neural networks in compiled loops. To learn the column y of points.csv from the column x: "
    "crabnet-jit fit points.csv --inputs x --outputs y --save model.npz; to apply what was learned: "
    "crabnet-jit predict model.npz new.csv. `crabnet-jit COMMAND --help` shows the options of a command."
)

#: What each command does, and more about it.
COMMANDS = {
    "gaussian": (
        "train a network on the article's example, a Gaussian of two inputs",
        "The defaults are the article's job. The log goes to standard output, the rest to standard error.",
    ),
    "fit": (
        "train a network on a CSV file",
        "Scores go to standard error, in the units of the outputs: root mean squared error, mean absolute "
        "error and R2. The learning rate rises for a tenth of the iterations and falls as a cosine.",
    ),
    "search": (
        "find widths, rates and other options that suit a CSV file",
        "Tries many networks by successive halving: those with the lowest loss on rows that are set aside go "
        "on. Ctrl-C ends the search with the result so far.",
    ),
    "predict": (
        "predict the outputs for the rows of a CSV file",
        "Writes its columns, and one column NAME_predicted for each output.",
    ),
    "describe": (
        "describe the columns of a table",
        "Shows the type of each column, its missing values, the number of distinct values, their range or "
        "the most frequent ones, and remarks. With --outputs, also which task fit would choose for them.",
    ),
    "plot": (
        "draw a saved network",
        "Needs matplotlib. Write numbers that begin with a minus like --low=-1,0.",
    ),
    "export": (
        "write a saved network as a C, Fortran or Python program, or as a file for other programs",
        "The suffix selects the format: .c (C99; compiled with -DPREFIX_SELF_TEST, it tests itself), .f90 (a "
        "Fortran module, and the C file that it calls), .onnx, .safetensors, .py (Python with math only).",
    ),
    "warmup": (
        "compile everything in advance, so that first runs start at once",
        "Machine code is cached on disk, so that the first run on a server or in an image need not compile. "
        "It is for this version, processor and user; NUMBA_CACHE_DIR selects another folder for it.",
    ),
    "completion": (
        "print a script that makes a shell complete commands, options and files",
        "For bash: crabnet-jit completion bash > ~/.local/share/bash-completion/completions/crabnet-jit. "
        "Needs shtab.",
    ),
}

SHELLS = ("bash", "zsh", "fish")  # with completion
_LISTS = ("SIZES", "NAMES", "NUMBERS")  # metavars of options that take lists


def whole_number(text: str) -> int:
    """An integer such as 100000, 100_000 or 1e5."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        number = float(text)
        if number.is_integer() and abs(number) <= _EXACT_INTEGER:
            return int(number)
    raise argparse.ArgumentTypeError(f"must be an integer, such as 100000 or 1e5, got {text!r}")


def real_number(text: str) -> float:
    """A number such as 0.001 or 1e-3."""
    try:
        return float(text)
    except ValueError:
        hint = "; the decimal sign is a point" if "," in text else ""
        raise argparse.ArgumentTypeError(f"must be a number, got {text!r}{hint}") from None


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except uninformative ones."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default is None or action.default is False or action.default == ""
        return action.help if says_nothing else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with a suggestion of what was meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=_Formatter)
        self.register("type", int, whole_number)
        self.register("type", float, real_number)
        self._words: list[str] = []
        self.commands: dict[str, Parser] = {}  # the parsers of all commands
        self.with_all_options: Callable[[], Parser] = lambda: self  # a parser with all commands' options

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Like argparse, but unknown arguments are errors of the command to which they were given."""
        self._words = [*(sys.argv[1:] if args is None else args)]
        self._refuse_unknown_options()
        namespace, more = super().parse_known_args(self._words, namespace)
        if more:
            self.error(f"unrecognized arguments: {' '.join(more)}")
        return namespace, more

    def _refuse_unknown_options(self) -> None:
        known = [*self._option_string_actions]
        own = self._words
        if self._subparsers is not None:  # the main parser does not have a command's options
            own = list(itertools.takewhile(lambda word: word.startswith("-"), own))
        for word in itertools.takewhile(lambda word: word != "--", own):
            name = word.partition("=")[0]
            is_option = re.fullmatch(r"-[A-Za-z]|--?[A-Za-z][\w-]+", name) and name not in ("-inf", "-nan")
            if is_option and not any(option.startswith(name) for option in known):
                self.error(f"there is no option {name}; {self._instead(name, known)}")

    def _instead(self, name: str, known: list[str]) -> str:
        """What to do without this option."""
        from crabnet_jit.cli import hints

        if self._subparsers is not None:
            return "options come after the command"
        commands = self.with_all_options().commands.values()
        elsewhere = [other.prog for other in commands if name in other._option_string_actions]
        return f"{elsewhere[0]} has it" if elsewhere else hints.of_option(name, known)

    def error(self, message: str) -> NoReturn:
        """Print one line instead of argparse's usage and message."""
        from crabnet_jit.cli import hints

        lists = [name for name, action in self._option_string_actions.items() if action.metavar in _LISTS]
        hint = hints.of_error(message, self._words, lists)
        text = " ".join(message.split()) + (f"; {hint}" if hint else "")
        self.exit(USAGE_ERROR, f"{self.prog}: error: {text}\n")


def parser_of_commands() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the command line, and the parsers of its commands, without their options."""
    parser = Parser(prog="crabnet-jit", description=_DESCRIPTION)
    parser.add_argument("-V", "--version", action="version", version=f"crabnet-jit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {
        name: commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {more}")
        for name, (text, more) in COMMANDS.items()
    }
    for each in (parser, *parsers.values()):
        each.commands = parsers
    return parser, parsers


def answer_without_a_command(arguments: Sequence[str]) -> None:
    """End the process with the help, the version or an error, unless a command comes first."""
    if arguments and arguments[0] in COMMANDS:
        return
    parser, commands = parser_of_commands()
    if not arguments:
        parser.print_help(sys.stderr)
        parser.exit(USAGE_ERROR)
    if not arguments[0].startswith("-"):
        from crabnet_jit.cli import hints

        parser.error(f"there is no command {arguments[0]}; {hints.of_command(arguments[0], [*commands])}")
    parser.parse_args(arguments)
