"""The command line: `gaussian` is the article's job; `fit`, `predict` and `plot` are for your own data."""

import gc
import sys
from collections.abc import Sequence

from crabnet_jit.cli.commands import answer_without_a_command
from crabnet_jit.cli.console import abandon_output, standard_error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    is_process = argv is None
    arguments = sys.argv[1:] if argv is None else argv
    with standard_error():
        try:
            answer_without_a_command(arguments)
        except OSError:  # nobody reads the help
            abandon_output()
            return 1
        if is_process:
            gc.disable()  # collecting garbage during imports takes a fifth of a warm start
        from crabnet_jit.cli.run import run  # noqa: PLC0415  # it loads Numba

        return run(arguments, on_loaded=_collect_from_here_on if is_process else None)


def _collect_from_here_on() -> None:
    """Collect garbage again, in what comes after the imports."""
    gc.freeze()
    gc.enable()
