"""How long pictures take, next to the training that they show: `python -m benchmarks.pictures`.

The article's run with snapshots; pictures take turns, and each counts with its best time.
"""

import argparse
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from crabnet_jit import Snapshots, StandardGaussian

from .common import article_trainer, best_seconds, check_article, describe_machine, seconds

N, EVERY = 120_000, 2000  # iterations, and from one snapshot to the next


def pictures(folder: Path) -> tuple[float, dict[str, tuple[int, Callable[[], object]]]]:
    """Seconds of the run, and by name how many frames a picture has, and what makes it."""
    from matplotlib import pyplot  # asv imports this file where there is none
    from matplotlib.animation import FFMpegWriter

    from crabnet_jit import plotting

    trainer, target, snapshots = article_trainer(), StandardGaussian(), Snapshots(EVERY)
    run_seconds = seconds(lambda: trainer.run(N, callbacks=[snapshots]))
    net, x = trainer.net, np.random.default_rng(0).uniform(-3, 3, (1000, 2))
    n = len(snapshots.iterations)

    def saved(plot: Callable[[], object]) -> Callable[[], None]:
        def draw() -> None:
            plot()
            plotting.save_figure(pyplot.gcf(), folder / "picture.png")
            pyplot.close("all")

        return draw

    def learning(ending: str) -> Callable[[], object]:
        return lambda: plotting.animate_surface(net, snapshots, folder / f"film.{ending}", target)

    films = {f"animate_surface, .{ending}": (n, learning(ending)) for ending in ("gif", "png")}
    if FFMpegWriter.isAvailable():
        films["animate_surface, .mp4"] = n, learning("mp4")
    films["rotate_surface, .gif"] = 60, lambda: plotting.rotate_surface(net, folder / "rotate.gif", target)
    plots: dict[str, Callable[[], object]] = {
        "plot_surface": lambda: plotting.plot_surface(net, target),
        "plot_history": lambda: plotting.plot_history(trainer),
        "plot_fit, 1,000 samples": lambda: plotting.plot_fit(net, x, target(x)),
        "plot_network": lambda: plotting.plot_network(net, x),
    }
    return run_seconds, films | {name: (1, saved(plot)) for name, plot in plots.items()}


def main() -> None:
    """Measure in turns, print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts (default 3)")
    rounds = parser.parse_args().rounds
    check_article()
    print(f"{describe_machine()}; matplotlib {version('matplotlib')}, pillow {version('pillow')}")
    with tempfile.TemporaryDirectory() as name:
        run_seconds, made = pictures(Path(name))
        times = best_seconds(*(make for _, make in made.values()), rounds=rounds)
    print(f"\nThe run of {N:,} iterations, with a snapshot every {EVERY:,}, takes {run_seconds:.3f} s.")
    print("\n| picture, written to a file | frames | s | ms a frame |\n|---|---|---|---|")
    for (name, (n, _)), time in zip(made.items(), times, strict=True):
        print(f"| {name} | {n} | {time:.2f} | {1e3 * time / n:.0f} |")


if __name__ == "__main__":
    main()
