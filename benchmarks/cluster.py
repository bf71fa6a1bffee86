"""Many networks on a Dask cluster: `python -m benchmarks.cluster`, about 5 minutes.

The job of `benchmarks.populations` runs on a warm cluster of processes on this machine and on threads of
`fit_many`, in turns, on the same cores. Then the costs of a task, a network and a megabyte are measured. A
model, which is not a measurement, computes a million networks on 1,000 cores from them.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from crabnet_jit import fit_many
from crabnet_jit.fitting.member import Travelled
from crabnet_jit.machine.cores import usable_cores

from .common import describe_machine
from .populations import OPTIONS, data

N_MEMBERS, N_CORES, TASK_SECONDS = 1_000_000, 1_000, 20.0  # of the model


class Costs(NamedTuple):
    """Seconds of the client and the scheduler, one after the other; all workers share this machine."""

    of_task: float
    of_member: float
    of_megabyte: float
    of_spec: float
    n_bytes: float  # of a network


@contextmanager
def warm_cluster(n_cores: int) -> Iterator[Any]:
    """A process for each core; all have compiled what is needed."""
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(n_workers=n_cores, **options) as here, Client(here) as client:
        seconds_of(4 * n_cores, 1000, cluster=client)
        yield client


def seconds_of(n_networks: int, n_iterations: int, **where: Any) -> float:
    """Seconds of the job."""
    x, y = data()
    start = time.perf_counter()
    fits = fit_many(
        [{"seed": k} for k in range(n_networks)], x, y, n_iterations=n_iterations, **where, **OPTIONS
    )
    assert len(fits.networks) == n_networks
    return time.perf_counter() - start


def size(shared: Any, member: int) -> int:
    """The function of tasks whose costs are measured; it takes almost no time."""
    return len(shared) + member


def run_job(client: Any, shared: Any, n_members: int) -> float:
    """Seconds of a job that computes nothing."""
    from crabnet_jit.fitting.cluster import Job
    from crabnet_jit.fitting.worker import Function

    results: dict[int, Any] = {}
    start = time.perf_counter()
    with Job(client, shared, []) as job:
        members = range(n_members)
        job.run(Function(size, size), members, [1.0] * n_members, results.__setitem__, lambda: None, str)
    seconds = time.perf_counter() - start
    assert results == {k: len(shared) + k for k in range(n_members)}
    return seconds


def costs_of(client: Any, n_tasks: int, n_megabytes: int, n_networks: int) -> Costs:
    """Measured by jobs that differ in one thing."""
    from crabnet_jit.fitting import cluster as clusters
    from crabnet_jit.fitting.parcels import Parcels

    small = np.zeros(1)
    with mock.patch.multiple(clusters, _MIN_SECONDS=0.0, _MAX_SECONDS=0.0, _SECONDS_FOR_EACH_CORE=0.0):
        few, many = (run_job(client, small, n) for n in (10, 10 + n_tasks))  # a member a task
    without, with_data = (
        run_job(client, np.zeros(n_megabytes * n * 125_000), client_cores(client)) for n in (1, 3)
    )
    x, y = data()
    fits = fit_many([{"seed": k} for k in range(n_networks)], x, y, n_iterations=2000, **OPTIONS)
    parcels = Parcels([])
    packed = parcels.pack([Travelled.of(net) for net in fits.networks])
    start = time.perf_counter()
    networks = [one.arrived(None) for one in parcels.unpack(packed)]
    of_member = (time.perf_counter() - start) / len(networks)
    of_specs = 0.0
    for name, sign in (("log_every", 1.0), ("seed", -1.0)):
        specs = [{name: 1 + k} for k in range(n_networks)]
        start = time.perf_counter()
        fit_many(specs, x, y, n_iterations=1, n_threads=1, **OPTIONS)
        of_specs += sign * (time.perf_counter() - start)
    return Costs(
        max(0.0, many - few) / n_tasks,
        of_member,
        max(0.0, with_data - without) / (2 * n_megabytes),
        max(0.0, of_specs) / n_networks,
        len(packed) / n_networks,
    )


def client_cores(client: Any) -> int:
    """Threads of all workers."""
    return sum(client.nthreads().values())


def print_model(costs: Costs, n_megabytes: float) -> None:
    """What limits a large job: its cores, or the client, which does one thing at a time."""
    print(f"\nModel, not measured: {N_MEMBERS:,} networks on {N_CORES:,} cores, {n_megabytes:g} MB of data,")
    print(f"tasks of {TASK_SECONDS:g} s. The client needs time for each network and each task, one after the")
    print("other; after each step, twice as many workers have the data.\n")
    print("| seconds of a network | minutes of the cores | of the client | in all | cores busy |")
    print("|---|---|---|---|---|")
    n_steps = int(np.ceil(np.log2(N_CORES))) + 1
    for seconds in (0.1, 1.0, 10.0, 60.0):
        of_cores = N_MEMBERS * seconds / N_CORES
        n_tasks = N_MEMBERS / max(1.0, TASK_SECONDS / seconds)
        of_client = N_MEMBERS * costs.of_member + n_tasks * costs.of_task
        start = n_megabytes * costs.of_megabyte * n_steps
        total = max(of_cores, of_client) + start + max(seconds, 1.0)
        numbers = [of_cores / 60, of_client / 60, total / 60]
        row = " | ".join(f"{number:,.1f}" for number in numbers)
        print(f"| {seconds:g} | {row} | {of_cores / total:.0%} |")
    gigabytes = N_MEMBERS * costs.n_bytes / 1e9
    minutes = N_MEMBERS * costs.of_spec / 60
    print(
        f"\nThe networks are {gigabytes:,.1f} GB. Specs that differ in more than the seed are checked before,"
    )
    print(f"one after the other, which takes {minutes:,.0f} minutes more.")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the job (default 60)")
    parser.add_argument("--rounds", type=int, default=2, help="of both, in turns (default 2)")
    parser.add_argument("--tasks", type=int, default=500, help="to measure one (default 500)")
    parser.add_argument("--megabytes", type=int, default=50, help="to measure one (default 50)")
    options = parser.parse_args()
    print(describe_machine())
    n_cores, n_iterations = usable_cores(), 20_000
    seconds_of(2, n_iterations)  # compiles
    a_few = 8 * n_cores
    rate = a_few / seconds_of(a_few, n_iterations)
    n_networks = max(a_few, round(rate * options.seconds))
    pairs = []
    with warm_cluster(n_cores) as client:
        print(f"\n{n_networks:,} networks of {n_iterations:,} iterations on {n_cores} cores\n")
        print("| threads, s | cluster, s | ratio |\n|---|---|---|")
        for turn in range(options.rounds):
            order = (None, client) if turn % 2 == 0 else (client, None)
            found = {where: seconds_of(n_networks, n_iterations, cluster=where) for where in order}
            pairs.append((found[None], found[client]))
            print(
                f"| {found[None]:.1f} | {found[client]:.1f} | {found[client] / found[None]:.3f} |", flush=True
            )
        ratio = statistics.median(cluster / threads for threads, cluster in pairs)
        print(f"\nMedian ratio {ratio:.3f}: the cluster takes {ratio - 1:+.1%}")
        costs = costs_of(client, options.tasks, options.megabytes, 200)
    print("\n| what | costs |\n|---|---|")
    print(f"| a task, of client, scheduler and worker | {1e3 * costs.of_task:.2f} ms |")
    network = f"a network of {costs.n_bytes:,.0f} bytes that comes back"
    print(f"| {network} | {1e3 * costs.of_member:.2f} ms of the client |")
    print(f"| a megabyte of data to {n_cores} workers | {1e3 * costs.of_megabyte:.2f} ms |")
    print(f"| a spec that differs in more than its seed | {1e3 * costs.of_spec:.2f} ms of the client |")
    print_model(costs, 10.0)


if __name__ == "__main__":
    main()
