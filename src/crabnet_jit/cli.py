"""The command line: `crabnet-jit fit` runs the article's job."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from crabnet_jit import (
    NN,
    InvalidArgumentError,
    StandardGaussian,
    StdRng,
    Trainer,
    UniformSource,
    __version__,
    warmup,
)

_FAILED = 1
_USAGE_ERROR = 2
_INTERRUPTED = 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and message."""
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message}\n")


def _sizes(text: str) -> list[int]:
    """`8,8` as [8, 8], the empty string as []."""
    try:
        return [int(size) for size in text.split(",")] if text.strip() else []
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be integers separated by commas, or empty for no hidden layer, got {text!r}"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="crabnet-jit", description="Train small neural networks in compiled loops.")
    parser.add_argument("--version", action="version", version=f"crabnet-jit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    fit = commands.add_parser(
        "fit",
        help="fit a network to the 2D Gaussian",
        description="Fit a network to the 2D Gaussian. The defaults are the article's job. The log goes to "
        "standard output, anything else to standard error.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    fit.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the random stream, any u64")
    fit.add_argument(
        "--hidden",
        type=_sizes,
        default="8,8",
        metavar="SIZES",
        help="hidden sizes; empty for no hidden layer",
    )
    fit.add_argument("--batch-size", type=int, default=16, metavar="N", help="samples in an iteration")
    fit.add_argument("--learning-rate", type=float, default=0.002, metavar="RATE", help="initial step size")
    fit.add_argument(
        "--decay", type=float, default=0.99999, metavar="FACTOR", help="on the step size, every iteration"
    )
    fit.add_argument("--iterations", type=int, default=120_000, metavar="N", help="steps to take")
    fit.add_argument(
        "--log-every", type=int, default=10_000, metavar="N", help="iterations between log lines"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(argv)
    try:
        return _fit(options)
    except InvalidArgumentError as error:
        return _complain(options.command, f"error: {error}", _USAGE_ERROR)
    except MemoryError as error:
        return _complain(options.command, f"error: not enough memory: {error}", _FAILED)
    except OSError as error:
        # Standard output is full, or its reader has gone. Python would try it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return _FAILED
        return _complain(options.command, f"error: {error}", _FAILED)


def _complain(command: str, message: str, code: int) -> int:
    print(f"crabnet-jit {command}: {message}", file=sys.stderr)
    return code


def _fit(options: argparse.Namespace) -> int:
    rng = StdRng(options.seed)
    net = NN(2, options.hidden, 1, rng)
    source = UniformSource(StandardGaussian(), batch_size=options.batch_size, rng=rng)
    trainer = Trainer(
        net,
        source,
        learning_rate=options.learning_rate,
        decay=options.decay,
        log_every=options.log_every,
    )
    code = 0
    start = time.perf_counter()
    warmup()
    compiled = time.perf_counter()
    try:
        trainer.run(options.iterations, on_log=_print_log_line)
    except FloatingPointError as error:
        code = _complain("fit", str(error), _FAILED)
    except KeyboardInterrupt:
        code = _complain("fit", "interrupted", _INTERRUPTED)
    seconds = time.perf_counter() - compiled
    done = trainer.history.losses.size
    print(
        f"{done} iterations: {compiled - start:.2f} s compiling, {seconds:.3f} s training, "
        f"{1e6 * seconds / max(done, 1):.3f} us per iteration",
        file=sys.stderr,
    )
    return code


def _print_log_line(iteration: int, loss: float) -> None:
    print(f"Iter {iteration}, loss: {loss!r}", flush=True)
