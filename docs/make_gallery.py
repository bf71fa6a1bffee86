"""Makes docs/gallery.md and its pictures from the examples below: `python -m docs.make_gallery`.

With `--pictures FOLDER` the pictures go there, and gallery.md stays as it is: the examples are tried.
"""

import argparse
import contextlib
import os
import shlex
import tempfile
from pathlib import Path
from typing import NamedTuple

from matplotlib import pyplot
from PIL import Image

from crabnet_jit.cli.main import main as crabnet_jit

HERE = Path(__file__).parent


class Example(NamedTuple):
    """A picture, what it shows, and the Python code or the command lines that make it."""

    title: str
    text: str
    code: str
    picture: str


EXAMPLES = [
    Example(
        "A network that learns",
        "The article's job, 2-8-8-1 units with ReLU: the target, the network's output after the number of "
        "iterations shown, and the difference. Parameters are kept during the training, which costs some 30 "
        "microseconds a frame; the frames are drawn after it.",
        "crabnet-jit gaussian --animate learning.gif --frames 30 --save gaussian.npz",
        "learning.gif",
    ),
    Example(
        "Target, learned function, error",
        "Both surfaces share one scale of heights and colours. Lines on the map of the error are solid above "
        "0 and dashed below, so that it can be read in grey.",
        "crabnet-jit plot gaussian.npz surface.png --target gaussian",
        "surface.png",
    ),
    Example(
        "A surface that turns",
        "",
        "crabnet-jit plot gaussian.npz rotate.gif --target gaussian --frames 24",
        "rotate.gif",
    ),
    Example(
        "A run at a glance",
        "Fit and losses in one picture.",
        "crabnet-jit gaussian --preset fast --plot fast.png",
        "fast.png",
    ),
    Example(
        "Losses, learning rates, and what happened",
        "The loss of every iteration, the running loss, and marks where the run was resumed and stopped.",
        """\
from crabnet_jit import NN, Cosine, StandardGaussian, Trainer, UniformSource
from crabnet_jit.plotting import plot_history, save_figure


def stop_if_good(run):
    if run.running_loss < 5e-5:
        run.stop()


net = NN(2, [16, 16], 1, rng=1, activation="silu", init="lecun_normal")
source = UniformSource(StandardGaussian(), rng=1)
schedule = Cosine(0.01, 60_000, warmup=2000)
trainer = Trainer(net, source, optimizer="adam", learning_rate=schedule, log_every=1000)
trainer.run(15_000)
trainer.save_checkpoint("run.npz")
trainer.load_checkpoint("run.npz")  # perhaps later, in another process
history = trainer.run(45_000, callbacks=[stop_if_good])
save_figure(plot_history(history).figure, "history.png")
""",
        "history.png",
    ),
    Example(
        "A curve through data",
        "A network with one input: the curve with the data, predicted against true values, and residuals.",
        """\
import numpy as np

from crabnet_jit import fit
from crabnet_jit.plotting import plot_fit, save_figure

rng = np.random.default_rng(0)
t = rng.uniform(0, 10, (300, 1))
height = t[:, 0] * np.sin(t[:, 0]) + rng.normal(scale=0.5, size=300)
net = fit(t, height, validation=0.2, patience=10)
figure = plot_fit(net, t, height, input_names=["time in s"], output_names=["height in m"])
save_figure(figure, "fit.png")
""",
        "fit.png",
    ),
    Example(
        "Slices of many inputs",
        "Friedman's function of five inputs [1], with two more that do not matter. Each slice shows the "
        "network's output along one input while the others stay at their medians; of the seven inputs, the "
        "six that matter most are shown.\n\n"
        '[1] J. Friedman, "Multivariate adaptive regression splines", Annals of Statistics 19 (1991).',
        """\
import numpy as np

from crabnet_jit import fit
from crabnet_jit.plotting import plot_fit, save_figure

rng = np.random.default_rng(0)
x = rng.uniform(size=(2000, 7))
y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
y += rng.normal(size=2000)
net = fit(x, y, validation=0.2, patience=5)
save_figure(plot_fit(net, x, y), "slices.png")
""",
        "slices.png",
    ),
    Example(
        "Classes",
        "A network that reads handwritten digits, on those that it was not fitted to: which digits it takes "
        "for which, and how often a digit is the true one among those of about the same probability.",
        """\
from crabnet_jit import fit
from crabnet_jit.plotting import plot_fit, save_figure
from sklearn.datasets import load_digits

pixels, digits = load_digits(return_X_y=True)
net = fit(pixels[::2], digits[::2], loss="cross_entropy", n_iterations=1000, l2=0.001)
save_figure(plot_fit(net, pixels[1::2], digits[1::2]), "classes.png")
""",
        "classes.png",
    ),
    Example(
        "A search",
        "Which candidates went on from rung to rung, the best candidate in red; and the last losses over "
        "arguments: the lighter a point, the sooner its candidate was given up.",
        """\
from crabnet_jit import Uniform, search
from crabnet_jit.plotting import plot_search, save_figure
from sklearn.datasets import make_friedman1

x, y = make_friedman1(300, noise=1.0, random_state=0)
space = {
    "learning_rate": Uniform(1e-4, 1e-1, log=True),
    "l2": Uniform(1e-6, 1e-1, log=True),
    "hidden_sizes": [(8,), (16,), (32,), (8, 8), (16, 16)],
    "activation": ["tanh", "relu", "silu"],
    "batch_size": [16, 32, 64],
}
result = search(space, x, y, n_candidates=81, n_iterations=5000)
save_figure(plot_search(result), "search.png")
""",
        "search.png",
    ),
    Example(
        "A network as a drawing",
        "Weights are shown by colour and width, and biases by the colour of the units. Crosses mark dead "
        "units: this ReLU network was trained with a learning rate that is too large.",
        """\
import numpy as np

from crabnet_jit import NN, StandardGaussian, Trainer, UniformSource
from crabnet_jit.plotting import plot_network, save_figure

net = NN(2, [10, 8], 1, rng=3, init="he_uniform")
Trainer(net, UniformSource(StandardGaussian(), rng=1), learning_rate=0.05).run(2000)
x = np.random.default_rng(0).uniform(-3, 3, (1000, 2))
save_figure(plot_network(net, x).figure, "network.png")
""",
        "network.png",
    ),
    Example(
        "A function of your own",
        "Any function on any box.",
        """\
import numpy as np

from crabnet_jit import NN, Cosine, Trainer, UniformSource
from crabnet_jit.plotting import plot_surface, save_figure


def ripple(x):
    return np.sin(3 * x[:, 0]) * np.cos(x[:, 1])


box = {"low": [-1, 0], "high": [1, 2]}
net = NN(2, [16, 16], 1, rng=1, activation="tanh", init="glorot_uniform")
source = UniformSource(ripple, **box, batch_size=32, rng=1)
Trainer(net, source, optimizer="adam", learning_rate=Cosine(0.01, n_iterations=20_000)).run(20_000)
save_figure(plot_surface(net, ripple, **box), "ripple.png")
""",
        "ripple.png",
    ),
]


def text() -> str:
    """The text of gallery.md."""
    parts = [
        "# Gallery",
        'Pictures need matplotlib: `pip install "crabnet-jit[plot]"`. Each command or snippet writes a '
        "picture to the current folder. `python -m docs.make_gallery` made this page and its pictures.",
    ]
    for example in EXAMPLES:
        language = "python" if is_python(example) else "console"
        parts.append(f"## {example.title}")
        if example.text:
            parts.append(example.text)
        parts.append(f"```{language}\n{example.code.strip()}\n```")
        parts.append(f"![{example.title}](pictures/{example.picture})")
    return "\n\n".join(parts) + "\n"


def is_python(example: Example) -> bool:
    """Whether it is code; the others are command lines."""
    return "import" in example.code


def make(folder: Path) -> None:
    """Run all examples, in their order, with one working folder, and put their pictures into another."""
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        for example in EXAMPLES:
            if is_python(example):
                exec(compile(example.code, example.title, "exec"), {})
            elif crabnet_jit(shlex.split(example.code)[1:]) != 0:
                raise RuntimeError(example.code)
            pyplot.close("all")
            _keep(Path(work, example.picture), folder / example.picture)


def _keep(picture: Path, path: Path) -> None:
    """A film as it is; a picture with 256 colours, which makes it a fifth as large."""
    if picture.suffix == ".png":
        with Image.open(picture) as image:
            image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, optimize=True)
    else:
        path.write_bytes(picture.read_bytes())
    print(f"{path}: {os.path.getsize(path):,} bytes")


def main() -> None:
    """Make the page and the pictures, or only the pictures somewhere else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="only these, in this folder")
    folder = parser.parse_args().pictures
    chosen = HERE / "pictures" if folder is None else folder
    chosen.mkdir(parents=True, exist_ok=True)
    make(chosen.resolve())
    if folder is None:
        (HERE / "gallery.md").write_text(text())


if __name__ == "__main__":
    main()
