"""A run of 5,000,000 iterations of the article's job: `python -m benchmarks.long_run`.

Its log is compared with that of the original program, its end with that of a run that was stopped, saved and
loaded in the middle, its memory with that at the start. It ends with an error if something is not as it
should be.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from crabnet_jit import NN, StandardGaussian, StdRng, Trainer, UniformSource

from .common import describe_machine

_REFERENCE = Path(__file__).parents[1] / "tests/data/crabnet_seed1.json"
_TOLERANCE = 1e-9


def resident_megabytes() -> float:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def article_trainer(keep_losses: int | None) -> Trainer:
    """The article's job, with a log line every 500,000 iterations."""
    rng = StdRng(1)
    net = NN(2, [8, 8], 1, rng)
    source = UniformSource(StandardGaussian(), rng=rng)
    return Trainer(net, source, log_every=500_000, keep_losses=keep_losses)


def main() -> None:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_run")
    parser.add_argument("--millions", type=int, default=5, help="iterations, in millions (default 5)")
    millions = parser.parse_args().millions
    expected = dict(json.loads(_REFERENCE.read_text())["log_5_million_every_500000"])

    trainer = article_trainer(keep_losses=0)
    trainer.run(100_000)
    memory = [resident_megabytes()]
    start = time.perf_counter()
    for million in range(1, millions + 1):
        trainer.run(1_000_000 * million - trainer.iteration)
        memory.append(resident_megabytes())
    seconds = time.perf_counter() - start

    worst = 0.0
    print(describe_machine())
    print("\n| iteration | running loss | the original's | relative difference |\n|---|---|---|---|")
    for iteration, loss in trainer.history.log:
        if iteration in expected:
            difference = abs(loss / expected[iteration] - 1)
            worst = max(worst, difference)
            print(f"| {iteration} | {loss!r} | {expected[iteration]!r} | {difference:.1e} |")

    resumed = article_trainer(keep_losses=0)
    resumed.run(1_234_567)
    with tempfile.TemporaryDirectory() as folder:
        resumed.save_checkpoint(Path(folder, "run.npz"))
        resumed = article_trainer(keep_losses=0)
        resumed.load_checkpoint(Path(folder, "run.npz"))
    resumed.run(trainer.iteration - resumed.iteration)
    is_same = resumed.net.parameters.tobytes() == trainer.net.parameters.tobytes()

    everything = article_trainer(keep_losses=None)
    before = resident_megabytes()
    everything.run(trainer.iteration)
    print(f"\n{trainer.iteration} iterations, the last {millions - 0.1:.1f} million in {seconds:.2f} s")
    print(f"largest relative difference from the original's log: {worst:.1e}")
    print(
        f"memory after 100,000 iterations and after each million: {', '.join(f'{m:.1f}' for m in memory)} MB"
    )
    print(f"with every loss kept, the same run takes {resident_megabytes() - before:.0f} MB more")
    print(f"saved after 1,234,567 iterations and loaded: {'the same bits' if is_same else 'OTHER BITS'}")
    if worst > _TOLERANCE or not is_same or memory[-1] - memory[0] > 2:
        raise SystemExit("not as it should be")


if __name__ == "__main__":
    main()
