"""Where many fits run: a cluster needs Dask, which is imported only for it."""

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from crabnet_jit import check
from crabnet_jit.training.threads import AUTO

if TYPE_CHECKING:
    from crabnet_jit.fitting.cluster import Job


def check_threads(n_threads: int | str, cluster: Any) -> None:
    """Refuse threads together with a cluster."""
    if cluster is not None and n_threads != AUTO:
        raise check.reject(
            "n_threads", "'auto' with a cluster", repr(n_threads), "; its workers have threads"
        )


def job_on(cluster: Any, shared: Any, things: Iterable[tuple[str, Any]]) -> "Job":
    """A `Job` on a cluster."""
    if importlib.util.find_spec("distributed") is None:
        hint = "; Dask is missing: pip install crabnet-jit[dask]"
        raise check.reject("cluster", "a distributed.Client", check.shown(cluster), hint)
    from crabnet_jit.fitting.cluster import Job

    return Job(cluster, shared, things)
