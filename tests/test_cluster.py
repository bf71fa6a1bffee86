"""Many fits on a Dask cluster of processes: the same bits, whatever happens to workers and scheduler."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster, get_worker

from crabnet_jit import (
    NN,
    ClusterError,
    CustomActivation,
    Fits,
    InvalidArgumentError,
    SearchResult,
    StdRng,
    fit,
    fit_many,
    search,
)
from crabnet_jit.fitting import cluster as clusters
from crabnet_jit.fitting import travelling
from crabnet_jit.fitting.fits_file import read_fits
from crabnet_jit.fitting.worker import versions

pytestmark = [
    # Processes that are killed, and schedulers that go away, leave connections that Python frees later.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

GENERATOR = np.random.default_rng(1)
X = GENERATOR.uniform(-2, 2, (200, 2))
Y = np.sin(X[:, 0]) * X[:, 1] + 5
DY = np.column_stack([np.cos(X[:, 0]) * X[:, 1], np.sin(X[:, 0])])
SHARED: dict[str, Any] = {"n_iterations": 300, "hidden_sizes": (4,)}
WEIGHTS = np.arange(200.0)
SPECS: list[dict[str, Any]] = [
    {"seed": 1},
    {"seed": 2, "optimizer": "sgd", "batch_size": 16, "activation": "relu"},
    {"hidden_sizes": (3, 5), "activation": ["sine", "gelu"], "learning_rate": 0.02, "n_iterations": 450},
    {"validation": 0.25, "patience": 3, "dropout": 0.1, "seed": StdRng(5)},
    {"optimizer": "levenberg_marquardt", "n_iterations": 10},
    {"loss": "huber", "dtype": "float32", "standardize": False, "keep_losses": 0},
    {"sample_weight": WEIGHTS, "l2": 0.01, "batch_size": 200},
    {"sample_weight": WEIGHTS, "dy": DY, "dy_weight": 0.5, "learning_rate": lambda i: 0.01 / (1 + i)},
    {"optimizer": "bayesian_regularization", "n_iterations": 20},
    {"output_range": (0.0, 20.0), "validation": 0.2, "start": None},
]


@contextlib.contextmanager
def cluster(n_workers: int = 2, **options: Any) -> Iterator[Client]:
    """A client of so many workers on this machine, which are processes unless the options say otherwise."""
    place = {"host": "127.0.0.1"} if options.get("processes", True) else {}
    options = {"threads_per_worker": 1, "dashboard_address": ":0", **place, **options}
    with LocalCluster(n_workers=n_workers, **options) as one, Client(one) as client:
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster() as one:
        yield one


def assert_same(net: NN | None, wanted: NN | None) -> None:
    assert net is not None
    assert wanted is not None
    assert net.parameters.tobytes() == wanted.parameters.tobytes()
    mine, other = net.fit_history, wanted.fit_history
    assert mine is not None
    assert other is not None
    assert np.array_equal(mine.losses, other.losses)
    assert mine.validation_losses == other.validation_losses
    assert mine.training.log == other.training.log
    for one, two in zip(mine[3:], other[3:], strict=True):
        assert np.array_equal(one, two)
    assert repr(net.domain) == repr(wanted.domain)
    assert repr(net.standardization) == repr(wanted.standardization)


def assert_all_same(fits: Fits, wanted: Fits) -> None:
    assert len(fits) == len(wanted)
    for net, other in zip(fits, wanted, strict=True):
        assert_same(net, other)


def pids(client: Client) -> list[int]:
    return [*client.run(os.getpid).values()]


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---- the same networks ----


@pytest.mark.filterwarnings("ignore:the search for the weight decay")
def test_each_network_is_that_of_its_own_fit(client: Client) -> None:
    fits = fit_many(SPECS, X, Y, cluster=client, **SHARED)
    assert_all_same(fits, fit_many(SPECS, X, Y, **SHARED))
    assert_same(fits[3], fit(X, Y, **SHARED, **SPECS[3]))


def test_functions_stay_the_same_objects_and_shared_rows_lie_in_memory_once(client: Client) -> None:
    def square(z: float) -> float:
        return z * z

    def slope(z: float) -> float:
        return 2 * z

    options = {**SHARED, "activation": CustomActivation(square, slope)}
    specs = [{"seed": seed} for seed in range(40)]
    fits = fit_many(specs, X, Y, cluster=client, **options)
    assert_all_same(fits, fit_many(specs, X, Y, **options))
    assert all(net.activations[0].options()["function"] is square for net in fits.networks)
    histories = [net.fit_history for net in fits.networks]
    assert len({id(history.training_rows) for history in histories if history is not None}) == 1


def test_data_frames_and_labels(client: Client) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": X[:, 0], "b": np.where(X[:, 1] > 0, "up", "down")})
    labels = np.where(Y > 5, "high", "low")
    (net,) = fit_many([{}], frame, labels, cluster=client, **SHARED)
    assert net is not None
    assert net.feature_names == ["a", "b"]
    assert np.array_equal(net.predict_proba(frame), fit(frame, labels, **SHARED).predict_proba(frame))


def test_no_specs(client: Client) -> None:
    assert fit_many([], X, Y, cluster=client) == []


def test_one_that_diverges_is_reported_and_stops_nobody(client: Client) -> None:
    bad = {"learning_rate": 1e9, "standardize": False, "optimizer": "sgd", "n_iterations": 300}
    with pytest.warns(RuntimeWarning, match="2 networks diverged, see `errors`: at 1, 3; the one at 1"):
        fits = fit_many([{}, bad, {"seed": 3}, bad], X, Y, cluster=client, **SHARED)
    assert (fits[1], fits[3], [*fits.errors]) == (None, None, [1, 3])
    with pytest.raises(FloatingPointError) as alone:
        fit(X, Y, **{**SHARED, **bad})
    assert str(fits.errors[1]) == str(alone.value)


def test_threads_of_this_process_can_be_the_workers() -> None:
    specs = [{"seed": seed} for seed in range(20)]
    with cluster(processes=False) as one:
        assert_all_same(fit_many(specs, X, Y, cluster=one, **SHARED), fit_many(specs, X, Y, **SHARED))


# ---- a search ----


def assert_same_search(result: SearchResult, wanted: SearchResult) -> None:
    assert len(result.table) == len(wanted.table)
    for row, other in zip(result.table, wanted.table, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert result.rung_losses == wanted.rung_losses
    assert result.best_arguments == wanted.best_arguments
    assert_same(result.best_network, wanted.best_network)


def test_a_search_finds_the_same_on_a_cluster(client: Client) -> None:
    space = {
        "learning_rate": [0.001, 0.003, 0.01, 1e9],
        "hidden_sizes": [(2,), (4,), (8, 8)],
        "activation": [CustomActivation(lambda z: z * z, lambda z: 2 * z), "tanh"],
    }
    call: dict[str, Any] = {"n_iterations": 900, "n_candidates": 18, "optimizer": "sgd", "standardize": False}
    with pytest.warns(RuntimeWarning, match="candidates failed"):
        wanted = search(space, X, Y, **call)
    with pytest.warns(RuntimeWarning, match="candidates failed") as said:
        result = search(space, X, Y, cluster=client, **call)
    assert said[0].filename == __file__
    assert_same_search(result, wanted)


def test_stages_that_end_together_do_not_end_their_rung(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_WAIT_SECONDS", 0.3)  # meanwhile, all workers are done
    call: dict[str, Any] = {"space": {"seed": range(9)}, "x": X, "y": Y, "n_candidates": 9, **SHARED}
    result = search(**call, cluster=client)
    assert [len(losses) for losses in result.rung_losses] == [len(one) for one in search(**call).rung_losses]
    assert_same_search(result, search(**call))


@pytest.mark.slow
def test_a_search_in_which_a_worker_dies(tmp_path: Path) -> None:
    mark = tmp_path / "killed"

    def rate(iterations: Any) -> Any:
        """A schedule that ends the process of the first worker in the middle of a fit."""
        with contextlib.suppress(ValueError, FileExistsError):
            get_worker()
            if iterations[0] > 500:
                mark.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return np.full(np.shape(iterations), 0.01)

    call: dict[str, Any] = {"x": X, "y": Y, "n_candidates": 9, "n_iterations": 9_000, "hidden_sizes": (4,)}
    space = {"seed": range(9), "learning_rate": [rate]}
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster(2) as client:
        result = search(space, **call, cluster=client)
    assert mark.exists()
    assert_same_search(result, search(space, **call))


def test_a_search_with_a_budget_and_a_checkpoint_on_a_cluster(client: Client, tmp_path: Path) -> None:
    file, space = tmp_path / "search.npz", {"learning_rate": [0.001 * k for k in range(1, 28)]}
    call: dict[str, Any] = {"x": X, "y": Y, "n_iterations": 900}
    whole = search(space, **call, cluster=client, checkpoint=file)
    assert_same_search(search(space, **call, resume=file), whole)
    timed = search(space, **call, budget_seconds=5.0, cluster=client)  # workers have compiled by now
    assert timed.table[timed.best_index]["iterations"] == 900


def test_a_search_on_what_is_no_cluster() -> None:
    with pytest.raises(InvalidArgumentError, match=r"cluster must be a distributed\.Client, got 3"):
        search({"seed": range(3)}, X, Y, cluster=3)
    with pytest.raises(InvalidArgumentError, match=r"n_threads must be 'auto' with a cluster, got 2"):
        search({"seed": range(3)}, X, Y, cluster=3, n_threads=2)


# ---- the cluster afterwards ----


def test_nothing_is_left_on_the_cluster(client: Client) -> None:
    fit_many([{}], X, Y, cluster=client, **SHARED)

    def left(dask_worker: Any) -> list[str]:
        return [name for name in dask_worker.plugins if "crabnet" in name] + [*dask_worker.data]

    until(lambda: not any(client.run(left).values()))


# ---- an error, progress, Ctrl-C, checkpoints ----


def test_an_error_in_a_users_function_names_the_spec(client: Client) -> None:
    class NoRatesError(Exception):
        pass

    def rate(iterations: Any) -> Any:
        with contextlib.suppress(ValueError):  # there are none where the arguments are checked
            get_worker()
            raise NoRatesError("today")
        return np.full(np.shape(iterations), 0.01)

    specs: list[dict[str, Any]] = [{}, {"learning_rate": rate}, *({"seed": k} for k in range(9))]
    with pytest.raises(NoRatesError, match="today") as failure:
        fit_many(specs, X, Y, cluster=client, **SHARED)
    assert failure.value.__notes__ == ["in the fit of specs[1]"]


def test_progress_and_a_checkpoint(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, specs = tmp_path / "many.npz", [{"seed": seed} for seed in range(10)]
    fits = fit_many(specs, X, Y, cluster=client, checkpoint=file, progress=True, **SHARED)
    assert "10/10 networks" in capsys.readouterr().err
    assert len(read_fits(file)) == 10
    more = [*specs, {"seed": 11}]
    wanted = fit_many(more, X, Y, **SHARED)
    for where in (None, client):  # a checkpoint serves both ways
        resumed = fit_many(more, X, Y, resume=file, cluster=where, **SHARED)
        assert_same(resumed[10], wanted[10])
        for net, other in zip(resumed[:10], fits, strict=True):
            assert net is not None
            assert other is not None
            assert np.array_equal(net.parameters, other.parameters)


def test_ctrl_c_ends_all_at_once_and_keeps_what_is_done(client: Client, tmp_path: Path) -> None:
    file, threads = tmp_path / "many.npz", {thread.name for thread in threading.enumerate()}
    specs: list[dict[str, Any]] = [{"seed": k} for k in range(20)]
    specs += [
        {"n_iterations": 10**8, "hidden_sizes": (64, 64), "keep_losses": 0, "seed": k} for k in range(5)
    ]
    stopped: list[float] = []

    def interrupt() -> None:
        try:
            until(lambda: file.exists() and len(read_fits(file)) == 20, 120.0)
            time.sleep(0.3)
        finally:
            stopped.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        fit_many(specs, X, Y, cluster=client, checkpoint=file, checkpoint_seconds=0.1, **SHARED)
    assert time.perf_counter() - stopped[0] < 2.0
    watcher.join()

    def computing(dask_worker: Any) -> int:
        return len(dask_worker.state.executing)

    until(lambda: not any(client.run(computing).values()), seconds=5.0)
    assert {thread.name for thread in threading.enumerate() if "Thread-" in thread.name} <= threads
    resumed, wanted = (fit_many(specs[:20], X, Y, resume=path, **SHARED) for path in (file, None))
    for net, other in zip(resumed.networks, wanted.networks, strict=True):
        assert np.array_equal(net.parameters, other.parameters)


# ---- workers and schedulers that go away ----


def long_specs(n: int, n_iterations: int = 100_000) -> list[dict[str, Any]]:
    """Fits of some tenths of a second each."""
    return [{"seed": k, "n_iterations": n_iterations + k, "keep_losses": 0} for k in range(n)]


def test_a_worker_dies_and_another_one_comes() -> None:
    specs = long_specs(30, 30_000)

    def kill() -> None:
        time.sleep(1.0)
        os.kill(pids(client)[0], signal.SIGKILL)  # Dask starts another one

    with cluster(2) as client:
        killer = threading.Thread(target=kill)
        killer.start()
        fits = fit_many(specs, X, Y, cluster=client, hidden_sizes=(4,))
        killer.join()
    assert_all_same(fits, fit_many(specs, X, Y, hidden_sizes=(4,)))


def die_on_a_worker(iterations: Any) -> Any:
    """A schedule that ends its process if that is a worker."""
    with contextlib.suppress(ValueError):
        get_worker()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(np.shape(iterations), 0.01)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_member_that_kills_its_workers_is_named(n_workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_MAX_TRIES", 2)
    specs: list[dict[str, Any]] = [{"seed": k} for k in range(10)]
    specs[1] = {"learning_rate": die_on_a_worker}
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster(n_workers) as client:
        with pytest.raises(ClusterError) as failure:
            fit_many(specs, X, Y, cluster=client, **SHARED)
        text = str(failure.value)
        assert (
            "specs[1] was sent 2 times, and each time its workers died" in text or "were lost 2 times" in text
        )
        assert failure.value.fits is not None
        assert failure.value.fits[1] is None


class ByHand:
    """A scheduler and workers, each a process that was started by its command."""

    def __init__(self, folder: Path) -> None:
        self._file, self._folder = folder / "scheduler.json", folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        until(self._file.exists)

    def _start(self, command: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", f"distributed.cli.dask_{command}", "--scheduler-file", str(self._file)]
        process = subprocess.Popen(
            [*line, *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._processes.append(process)
        return process

    def add_worker(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        quiet = ["--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        place = ["--local-directory", str(self._folder)]
        return self._start("worker", *quiet, *place, *arguments, **environment)

    def client(self) -> Client:
        return Client(scheduler_file=str(self._file), timeout=10)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


@pytest.fixture
def by_hand(tmp_path: Path) -> Iterator[ByHand]:
    one = ByHand(tmp_path)
    yield one
    one.end()


def test_a_scheduler_that_goes_away_leaves_the_results_so_far(by_hand: ByHand, tmp_path: Path) -> None:
    by_hand.add_worker()
    file, specs = tmp_path / "many.npz", long_specs(400, 50_000)

    def end() -> None:
        with contextlib.suppress(AssertionError):
            until(lambda: file.exists() and len(read_fits(file)) > 2, 120.0)
        by_hand.scheduler.kill()

    with by_hand.client() as client:
        killer = threading.Thread(target=end)
        killer.start()
        with pytest.raises(ClusterError, match=r"the scheduler at tcp://127.* cannot be reached") as failure:
            fit_many(specs, X, Y, cluster=client, checkpoint=file, checkpoint_seconds=0.1)
        killer.join()
    fits = failure.value.fits
    assert fits is not None
    done = [k for k, net in enumerate(fits) if net is not None]
    assert 2 < len(done) < len(specs)
    assert [*read_fits(file)] == done
    assert_same(fits[done[0]], fit(X, Y, **specs[done[0]]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_twenty_workers_are_killed_and_each_network_is_there_once(by_hand: ByHand, seed: int) -> None:
    specs, rng = long_specs(30, 30_000), random.Random(seed)
    wanted = fit_many(specs, X, Y, hidden_sizes=(4,))
    workers = [by_hand.add_worker() for _ in range(3)]

    def kill() -> None:
        for _ in range(20):
            time.sleep(rng.uniform(0.3, 2.5))
            workers.pop(rng.randrange(len(workers))).kill()
            workers.append(by_hand.add_worker())

    with by_hand.client() as client:
        client.wait_for_workers(1)
        killer = threading.Thread(target=kill)
        killer.start()
        while killer.is_alive():
            assert_all_same(fit_many(specs, X, Y, cluster=client, hidden_sizes=(4,)), wanted)
        killer.join()


def test_a_worker_that_comes_late_takes_over(
    by_hand: ByHand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "_PATIENCE_SECONDS", 600.0)  # a busy machine starts workers slowly
    first = by_hand.add_worker()
    file, specs = tmp_path / "many.npz", long_specs(12, 30_000)

    def replace(client: Client) -> None:
        try:
            until(lambda: file.exists() and len(read_fits(file)) > 0, 120.0)
            first.kill()  # the only one that has the data
            until(lambda: not client.nthreads(), 120.0)
        finally:
            by_hand.add_worker()

    with by_hand.client() as client:
        client.wait_for_workers(1)
        thread = threading.Thread(target=replace, args=(client,))
        thread.start()
        fits = fit_many(specs, X, Y, cluster=client, checkpoint=file, checkpoint_seconds=0.1)
        thread.join()
    assert first.poll() is not None
    assert_all_same(fits, fit_many(specs, X, Y))


# ---- what cannot work is said before ----


def test_a_client_that_is_none(client: Client) -> None:
    for nonsense in (3, "tcp://127.0.0.1:8786", True):
        with pytest.raises(InvalidArgumentError, match=r"cluster must be a distributed\.Client, got"):
            fit_many([{}], X, Y, cluster=nonsense)
    with pytest.raises(InvalidArgumentError, match=r"got LocalCluster.*; pass cluster\.get_client\(\)"):
        fit_many([{}], X, Y, cluster=client.cluster)
    with pytest.raises(InvalidArgumentError, match=r"n_threads must be 'auto' with a cluster, got 2"):
        fit_many([{}], X, Y, cluster=client, n_threads=2)
    with Client(client.scheduler.address) as other:
        pass
    with pytest.raises(InvalidArgumentError, match="a client that is connected, got one that is closed"):
        fit_many([{}], X, Y, cluster=other)

    async def is_refused() -> None:
        async with Client(client.scheduler.address, asynchronous=True) as other:
            with pytest.raises(
                InvalidArgumentError, match="cluster must be a client that is not asynchronous"
            ):
                fit_many([{}], X, Y, cluster=other)

    asyncio.run(is_refused())


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        InvalidArgumentError, match=r"got 3; Dask is missing: pip install crabnet-jit\[dask\]"
    ):
        fit_many([{}], X, Y, cluster=3)


def test_what_does_not_pickle_is_named(client: Client) -> None:
    lock = threading.Lock()

    def rate(iterations: Any) -> Any:
        with lock:
            return np.full(np.shape(iterations), 0.01)

    message = r"specs\[1\]\['learning_rate'\] must be something that cloudpickle can send .*cannot pickle"
    with pytest.raises(InvalidArgumentError, match=message + ".*nothing that holds open files, locks"):
        fit_many([{}, {"learning_rate": rate}], X, Y, cluster=client)
    with pytest.raises(InvalidArgumentError, match=r"^learning_rate must be something that cloudpickle"):
        fit_many([{}], X, Y, cluster=client, learning_rate=rate)


def test_what_workers_cannot_import_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_here")
    exec("import numpy\ndef rate(i): return numpy.full(numpy.shape(i), 0.01)", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    message = (
        r"specs\[0\]\['learning_rate'\] must be something that the worker tcp.* can load, got .*only_here"
    )
    with pytest.raises(InvalidArgumentError, match=message + ".*client.upload_file"):
        fit_many([{"learning_rate": module.rate}], X, Y, cluster=client)


def test_data_that_need_more_memory_than_a_worker_has(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(travelling, "_COPIES", 1_000_000)
    x = np.zeros((10_000, 20))
    message = r"must have memory for 1000000 times 0\.00168 GB of data; it has a memory_limit of .* GB"
    with pytest.raises(InvalidArgumentError, match=message):
        fit_many([{}], x, x[:, 0], cluster=client, n_iterations=1, standardize=False)


def test_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_PATIENCE_SECONDS", 1.0)
    with cluster(0) as client, pytest.raises(ClusterError, match="the cluster had no worker for 1 s"):
        fit_many([{}], X, Y, cluster=client)


OTHERS = {
    "package": ("import crabnet_jit; crabnet_jit.__version__ = '0.0.7'", "crabnet_jit 0.0.7"),
    "numba": ("import numba; numba.__version__ = '0.1'", "numba 0.1"),
    "none": ("import sys; sys.modules['crabnet_jit'] = None", "none that works: .*ModuleNotFoundError"),
}


@pytest.mark.parametrize("which", OTHERS)
def test_workers_of_other_versions(by_hand: ByHand, tmp_path: Path, which: str) -> None:
    code, named = OTHERS[which]
    (tmp_path / "sitecustomize.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    by_hand.add_worker(PYTHONPATH=path)
    asked: list[Any] = []

    def rate(iterations: Any) -> Any:
        asked.append(iterations)
        return np.full(np.shape(iterations), 0.01)

    with by_hand.client() as client:
        client.wait_for_workers(1)
        with pytest.raises(InvalidArgumentError, match=rf"the worker tcp://.* must have .*; it has {named}"):
            fit_many([{"learning_rate": rate}], X, Y, cluster=client)
        assert asked == []
    assert {*versions()} == {"crabnet_jit", "numba"}


def test_a_late_worker_of_another_version_ends_the_job(by_hand: ByHand, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(OTHERS["numba"][0])
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    file = tmp_path / "many.npz"

    def add() -> None:
        with contextlib.suppress(AssertionError):
            until(lambda: file.exists() and len(read_fits(file)) > 0, 120.0)  # the first worker was checked
        by_hand.add_worker(PYTHONPATH=path)

    by_hand.add_worker()
    with by_hand.client() as client:
        client.wait_for_workers(1)
        thread = threading.Thread(target=add)
        thread.start()
        with pytest.raises(ClusterError, match=r"the worker tcp://.* must have numba .*; it has numba 0\.1"):
            fit_many(long_specs(1000, 50_000), X, Y, cluster=client, checkpoint=file, checkpoint_seconds=0.1)
        thread.join()


# ---- compiling ----


@pytest.mark.slow
def test_kernels_are_compiled_once_on_a_machine_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    code = textwrap.dedent("""
        def misses():
            from crabnet_jit.kernels import entries
            kernels = [vars(entries)[name] for name in vars(entries) if hasattr(vars(entries)[name], "stats")]
            return sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels)
    """)
    names: dict[str, Any] = {}
    exec(code, names)
    specs = [{"seed": seed, "n_iterations": 100_000} for seed in range(30)]
    with cluster(3, local_directory=str(tmp_path / "scratch")) as client:
        fit_many(specs, X, Y, cluster=client)
        misses = sorted(client.run(names["misses"]).values())
    assert misses[:2] == [0, 0]
    assert misses[2] > 0
    assert [*(tmp_path / "scratch").rglob("crabnet_jit-*/train*")]
    assert not (tmp_path / "home").exists()
