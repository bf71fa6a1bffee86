"""`crabnet-jit gaussian`: the article's job, or other training on its target."""

import argparse
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import crabnet_jit
from crabnet_jit import check
from crabnet_jit.article import HIGH, LOW, PRESETS, grid_error
from crabnet_jit.cli.console import say
from crabnet_jit.cli.pictures import ARTICLE_NAMES, Pictures
from crabnet_jit.cli.watch import Watch
from crabnet_jit.components.optimizers import as_optimizer
from crabnet_jit.components.schedules import Constant, Cosine, ExponentialDecay, OneCycle, Schedule
from crabnet_jit.components.update_rules import Optimizer
from crabnet_jit.data.random import StdRng
from crabnet_jit.data.sources import ArraySource, Source, UniformSource
from crabnet_jit.data.targets import StandardGaussian
from crabnet_jit.network.initializers import init_for
from crabnet_jit.network.network import NN
from crabnet_jit.training.trainer import Trainer

#: Learning rates of update rules, from the options of `gaussian`.
SCHEDULES: dict[str, Callable[[argparse.Namespace], Schedule]] = {
    "exponential": lambda options: ExponentialDecay(options.learning_rate, options.decay),
    "constant": lambda options: Constant(options.learning_rate),
    "cosine": lambda options: Cosine(
        options.learning_rate, max(options.iterations, 1), warmup=max(options.iterations, 1) // 20
    ),
    "one_cycle": lambda options: OneCycle(options.learning_rate, options.iterations),
}


def _leave(number: int, _frame: object) -> None:
    """End the process here."""
    say("interrupted while compiling")
    os._exit(128 + number)


_leave.is_immediate = True  # type: ignore[attr-defined]  # it does not raise


@contextlib.contextmanager
def _nothing_to_keep() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the process at once, without waiting for the compiler."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
    before = {number: signal.signal(number, _leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _schedule(options: argparse.Namespace, optimizer: Optimizer) -> Schedule | None:
    """The learning rates; None for methods that have none."""
    if not optimizer.is_second_order:
        return SCHEDULES[check.choice("schedule", options.schedule, SCHEDULES)](options)
    for name in ("learning_rate", "schedule"):
        if (given := getattr(options, name)) != "auto":
            allowed = f"left out for {optimizer.name}, which has no learning rate"
            raise check.reject(name, allowed, str(given))
    return None


def _source(options: argparse.Namespace, optimizer: Optimizer, rng: StdRng) -> Source:
    """Points in the article's box: new ones in each iteration, or always the first ones."""
    source = UniformSource(StandardGaussian(), LOW, HIGH, options.batch_size, rng)
    return ArraySource(*source.batch(0), options.batch_size) if optimizer.is_second_order else source


def _logged(trainer: Trainer, iteration: int, running_loss: float) -> float:
    """The loss in a line of the log: if single losses have no noise, that of the iteration."""
    if not trainer.optimizer.is_second_order:
        return running_loss
    history = trainer.history
    return float(history.losses[iteration - history.first_iteration])


def gaussian(options: argparse.Namespace) -> None:
    """Fit a network to the article's Gaussian."""
    check.choice("preset", options.preset, PRESETS)
    optimizer = as_optimizer("optimizer", options.optimizer)
    check.integer("iterations", options.iterations, 0)
    pictures = Pictures(options)
    watch = Watch(options, pictures.callbacks)
    schedule = _schedule(options, optimizer)
    rng = StdRng(options.seed)
    net = NN(
        2,
        options.hidden,
        1,
        rng,
        activation=options.activation,
        init=init_for(options.init, options.activation),
        dtype=options.dtype,
    )
    trainer = Trainer(
        net,
        _source(options, optimizer, rng),
        optimizer=optimizer,
        learning_rate=schedule,
        log_every=options.log_every,
        keep_losses=None if pictures.need_losses or optimizer.is_second_order else 0,
        on_divergence=options.on_divergence,
        n_threads=options.threads,
    )
    if options.resume is not None:
        trainer.load_checkpoint(options.resume)
    first = trainer.iteration
    if options.iterations < first:
        raise check.reject("iterations", f"at least the {first} that are done", str(options.iterations))
    start = time.perf_counter()
    with _nothing_to_keep():
        trainer.compile()
    compiled = time.perf_counter()
    try:
        with watch.interrupted():
            trainer.run(
                options.iterations - first,
                on_log=lambda i, loss: watch.print(f"Iter {i}, loss: {_logged(trainer, i, loss)!r}"),
                callbacks=watch.callbacks,
            )
    except OSError as error:
        if (
            error is not watch.unwritten
        ):  # a failed last checkpoint costs no result; `watch.close` raises its error
            raise
    finally:
        seconds = time.perf_counter() - compiled
        done = trainer.iteration - first
        say(
            f"{done} iterations: {compiled - start:.2f} s compiling, {seconds:.3f} s training, "
            f"{1e6 * seconds / max(done, 1):.3f} us per iteration"
        )
    watch.say_end(trainer.history)
    if options.save is not None:
        crabnet_jit.save(net, options.save, ARTICLE_NAMES)
    say(f"mean squared error on a grid of 101 x 101 points: {grid_error(net):.3g}")
    pictures.draw_gaussian(trainer)
    watch.close()
