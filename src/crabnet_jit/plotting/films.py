"""Films of figures: GIF through Pillow, MP4 through ffmpeg, or a PNG for each frame."""

import base64
import io
import os
import tempfile
from collections.abc import Callable
from html import escape
from os import PathLike
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.animation import FFMpegWriter
from matplotlib.figure import Figure
from PIL import Image

from crabnet_jit import check
from crabnet_jit.archive import whole_file
from crabnet_jit.machine.signals import held
from crabnet_jit.plotting.figures import ERRORS, HEIGHTS, picture_path

_ENDINGS = ("gif", "mp4", "png")
_COLOURS = {HEIGHTS: 64, ERRORS: 40, "gray": 24}  # of a GIF: 128, since with 256 it is a fifth larger
_SLOWEST, _FASTEST = 0.1, 50.0  # frames a second; viewers of GIF slow down faster ones
MAX_FRAMES = 10_000
_HOLD = 2000  # milliseconds that the last frame of a GIF is shown longer

_MAX_SHOWN = 10_000_000  # bytes in a notebook
_MAX_PICTURES = 4  # of a film of .png

Draw = Callable[[int], None]  # changes a figure so that it shows frame k


class Film(list[Path]):
    """The files of a film, which a notebook shows.

    Of frames as .png it shows some, the first and the last among them. Above 10 MB it shows only their names,
    since a notebook keeps what it shows.
    """

    def _repr_html_(self) -> str:
        """In notebooks: the film, and the names of its files."""
        n_shown, last = min(len(self), _MAX_PICTURES), len(self) - 1
        shown = [self[k * last // max(n_shown - 1, 1)] for k in range(n_shown)]
        text = str(self[0]) if last == 0 else f"{self[0]} … {self[-1].name}"
        pictures = ""
        try:
            if sum(file.stat().st_size for file in shown) <= _MAX_SHOWN:
                pictures = "".join(map(_inline, shown))
            else:
                text += ", too large to be shown here"
        except OSError:
            text += ", which cannot be read any more"
        return f"<div>{pictures}<div>{escape(text)}</div></div>"


def _inline(file: Path) -> str:
    """The content of a film or a picture as HTML."""
    kind, data = file.suffix.lower().removeprefix("."), base64.b64encode(file.read_bytes()).decode()
    if kind == "mp4":
        return f'<video controls="" loop="" src="data:video/mp4;base64,{data}"></video>'
    return f'<img alt="{escape(file.name)}" src="data:image/{kind};base64,{data}"/>'


def film_path(name: str, path: str | PathLike[str]) -> Path:
    """The given path, if a film can be written to it; an MP4 needs ffmpeg."""
    file = picture_path(name, path, _ENDINGS)
    if file.suffix.lower() == ".mp4" and not FFMpegWriter.isAvailable():
        raise check.reject(name, "a .gif or .png if there is no ffmpeg", repr(str(file)))
    return file


def write_film(figure: Figure, draw: Draw, n_frames: int, file: Path, fps: float, *, hold: bool) -> Film:
    """Write the frames 0 to n_frames - 1 to a checked path, all or nothing, and return the files.

    The files of a .png are numbered: film-0000.png, … for film.png. If `hold`, the last frame of a GIF stays
    for some time before the film begins again.
    """
    check.number("fps", fps, _SLOWEST, _FASTEST)
    draw(0)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # nothing moves from frame to frame but what is drawn
    if file.suffix.lower() == ".png":
        return _write_frames(figure, draw, n_frames, file)
    if file.suffix.lower() == ".gif":
        film = _gif(figure, draw, n_frames, fps, hold)
    else:
        film = _mp4(figure, draw, n_frames, fps)
    with whole_file(file) as target:
        target.write(film)
    return Film([file])


def _write_frames(figure: Figure, draw: Draw, n_frames: int, file: Path) -> Film:
    """Draw all frames, write them to a temporary folder, and only then move them into place."""
    names = [f"{file.stem}-{k:04d}{file.suffix}" for k in range(n_frames)]
    frames = Film(film_path("path", file.with_name(name)) for name in names)
    content = [_png(_image(figure, draw, k)) for k in range(n_frames)]
    with held(), tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".") as folder:
        for name, data in zip(names, content, strict=True):
            Path(folder, name).write_bytes(data)
        for name, frame in zip(names, frames, strict=True):
            os.replace(Path(folder, name), frame)
    return frames


def _image(figure: Figure, draw: Draw, k: int) -> Image.Image:
    """Frame k."""
    draw(k)
    canvas: Any = figure.canvas
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])


def _png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _gif(figure: Figure, draw: Draw, n_frames: int, fps: float, hold: bool) -> bytes:
    """Use one palette for all frames, so that parts that do not change cost nothing."""
    palette = Image.new("P", (1, 1))
    scales = [colormaps[name].resampled(n)(np.arange(n), bytes=True)[:, :3] for name, n in _COLOURS.items()]
    palette.putpalette(np.concatenate(scales).tobytes())
    frames = [
        _image(figure, draw, k).quantize(palette=palette, dither=Image.Dither.NONE) for k in range(n_frames)
    ]
    durations = [round(1000 / fps)] * n_frames
    durations[-1] += _HOLD if hold else 0
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return data.getvalue()


def _mp4(figure: Figure, draw: Draw, n_frames: int, fps: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder, "film.mp4")
        writer: Any = FFMpegWriter(fps=fps)  # type: ignore[arg-type]  # ffmpeg takes fractions
        try:
            with writer.saving(figure, str(film), figure.dpi):
                for k in range(n_frames):
                    draw(k)
                    writer.grab_frame()
        except CalledProcessError as error:
            cause: BaseException | None = error
            while isinstance(cause, Exception):
                cause = cause.__context__
            if cause is not None:
                raise cause from None  # Ctrl-C, which ffmpeg gets, too; its pipe may have broken
            raise OSError(f"ffmpeg failed: {error}") from None
        return film.read_bytes()
