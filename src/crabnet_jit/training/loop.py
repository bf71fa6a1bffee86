"""The loop of a run: chunk after chunk, with callbacks and signals in between; it contains no formula."""

from crabnet_jit.machine.signals import Interruptible
from crabnet_jit.training.run import Run
from crabnet_jit.training.steps import Steps


def train_until_end(steps: Steps, run: Run, interruptible: Interruptible) -> None:
    """Take steps until the end of a run, or until a callback stops it; call the callbacks."""
    steps.take_back_parameters()
    try:
        run.start()
        while steps.iteration < run.end and not run.is_stopped:
            steps.advance(run.next_pause(), interruptible)
            if steps.end is not None:
                run.stop(steps.end)
            run.call_due()
            interruptible.go_on()  # in case a callback has caught the exception of a signal
    except BaseException as error:
        interruptible.hold()  # further signals wait until all is saved
        try:
            if not isinstance(error, Exception):  # Ctrl-C
                steps.history.events.append((steps.iteration, "interrupted"))
        finally:
            run.finish(error)
        raise
    run.finish(None)
    interruptible.hold()
