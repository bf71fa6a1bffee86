"""`crabnet-jit completion`: a script that makes a shell complete commands, options and files.

It is made once; the tab key does not start Python.
"""

import argparse
from typing import Any

from crabnet_jit import ACTIVATIONS, INITIALIZERS, LOSSES, OPTIMIZERS, check
from crabnet_jit.article import PRESETS
from crabnet_jit.cli.article import SCHEDULES
from crabnet_jit.cli.commands import SHELLS
from crabnet_jit.cli.options import FILES, all_options
from crabnet_jit.cli.pictures import KINDS, TARGETS
from crabnet_jit.cli.task import TASKS
from crabnet_jit.data.columns import MISSING
from crabnet_jit.training.settings import POLICIES

#: The choices of options that take one of several names.
_CHOICES = {
    "activation": ACTIVATIONS,
    "dtype": ("float32", "float64"),
    "init": ("auto", *INITIALIZERS),
    "kind": KINDS,
    "loss": ("auto", *LOSSES),
    "missing": MISSING,
    "on_divergence": POLICIES,
    "optimizer": OPTIMIZERS,
    "preset": PRESETS,
    "schedule": SCHEDULES,
    "shell": SHELLS,
    "target": TARGETS,
    "task": TASKS,
}


def completion(options: argparse.Namespace) -> None:
    """Print the script."""
    shell = check.choice("SHELL", options.shell, SHELLS)
    try:
        import shtab
    except ImportError as error:
        message = 'completion needs shtab: pip install "crabnet-jit[completion]"'
        raise ImportError(message) from error
    parser = all_options()
    for command, of_command in parser.commands.items():
        files = {name for names in FILES[command] for name in names}
        actions: list[Any] = of_command._actions
        for action in actions:
            if action.dest in files:
                action.complete = shtab.FILE
            elif action.dest in _CHOICES:
                action.choices = [*_CHOICES[action.dest]]
    print(shtab.complete(parser, shell))
