"""The common part of all commands: signals, errors, exit codes."""

import argparse
import contextlib
import importlib
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from crabnet_jit.archive import FileFormatError
from crabnet_jit.check import InvalidArgumentError
from crabnet_jit.cli.commands import USAGE_ERROR
from crabnet_jit.cli.console import abandon_output, say
from crabnet_jit.cli.options import check_files, parse, with_options
from crabnet_jit.cli.order import check_order
from crabnet_jit.data.table import TableError

#: The module of each command in this folder. It is imported on demand, since most modules load Numba.
_MODULES = {
    "gaussian": "article",
    "fit": "fit",
    "search": "search",
    "predict": "fit",
    "describe": "describe",
    "plot": "pictures",
    "export": "export",
    "warmup": "warmup",
    "completion": "completion",
}
_FAILED = 1
_INTERRUPTED = 128 + signal.SIGINT
_TERMINATED = 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is answered like Ctrl-C."""


def _terminate(_number: int, _frame: object) -> NoReturn:
    raise Terminated


@contextlib.contextmanager
def _signals(command: str) -> Iterator[None]:
    """SIGTERM as an exception, and warnings as lines on standard error."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if is_main else None
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: say(f"{command}: warning: {message}")
            yield
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


def run(arguments: Sequence[str], on_loaded: Callable[[], object] | None = None) -> int:
    """Run a command; return the exit code. `on_loaded` is called when the command's modules are imported."""
    command = "crabnet-jit"
    options = argparse.Namespace()
    try:
        options = parse(arguments)
        command = f"crabnet-jit {options.command}"
        if sys.stdout is None:
            raise OSError("standard output is closed")
        with _signals(command):
            check_order(options)
            check_files(options)
            module = importlib.import_module(f"crabnet_jit.cli.{_MODULES[options.command]}")
            if on_loaded is not None:
                on_loaded()
            getattr(module, options.command)(options)
    except InvalidArgumentError as error:
        code, message = USAGE_ERROR, f"error: {with_options(str(error), options)}"
    except (TableError, FileFormatError) as error:
        code, message = USAGE_ERROR, f"error: {error}"
    except ImportError as error:
        code, message = _FAILED, f"error: {error}"
    except MemoryError as error:
        code, message = _FAILED, f"error: not enough memory: {error}"
    except FloatingPointError as error:
        code, message = _FAILED, str(error)
    except KeyboardInterrupt as error:
        is_terminated = isinstance(error, Terminated)
        code, message = (_TERMINATED, "terminated") if is_terminated else (_INTERRUPTED, "interrupted")
    except OSError as error:
        code, message = _FAILED, "" if isinstance(error, BrokenPipeError) else f"error: {error}"
        abandon_output()
    else:
        return 0
    if message:
        say(f"{command}: {' '.join(message.split())}")
    return code
