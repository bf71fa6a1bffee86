"""Stages of fits on the workers of a Dask cluster."""

from collections.abc import Callable, Iterator
from typing import Any

from crabnet_jit.fitting.cluster import Job
from crabnet_jit.fitting.stages import Common, Member, Stage, advance
from crabnet_jit.fitting.worker import Function, compile_once


class OnCluster:
    """Stages on the workers of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job

    @property
    def n_workers(self) -> int:
        """See `Runner`; workers may come and go."""
        return max(1, self._job.n_cores)

    def run(
        self,
        members: Iterator[Member],
        seconds_left: Callable[[], float | None],
        on_stage: Callable[[Stage], object],
        watch: Callable[[], object],
    ) -> None:
        """See `Runner`. `seconds_left()` is evaluated when a stage is sent for the first time."""
        taken: list[int] = []

        def timed() -> Iterator[tuple[Member, float | None]]:
            for member in members:
                taken.append(member.k)
                yield member, seconds_left()

        self._job.run_as_they_come(
            _ADVANCE, timed(), lambda _, stage: on_stage(stage), watch, lambda i: f"candidate {taken[i]}"
        )


def _advance(common: Common, timed: tuple[Member, float | None]) -> Stage:
    return advance(common, *timed)


def _compile(common: Common, timed: tuple[Member, Any]) -> None:
    member = timed[0]._replace(share=0.0, saved=None)
    spec = {**common.options, **member.arguments}
    compile_once(spec, lambda: advance(common, member, seconds=0.0))


_ADVANCE = Function(_advance, _compile)
