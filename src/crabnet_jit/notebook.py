"""Output for notebooks: tables in HTML, and plots of losses in SVG."""

import html
import math
import sys
from collections.abc import Iterable, Sequence

import numpy as np

from crabnet_jit.arrays import Array

_WIDTH, _HEIGHT = 480, 180  # pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 34  # margins
_MAX_EXPONENT = math.nextafter(math.log10(sys.float_info.max), 0.0)
_MAX_LABELS = 6  # on an axis


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text cells."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{f'<thead><tr>{top}</tr></thead>' if top else ''}<tbody>{body}</tbody></table>"


def losses_svg(lines: Sequence[tuple[str, str, float, Array, Array]]) -> str:
    """Lines (name, colour, width, iterations, losses) on a logarithmic scale, for losses above 0."""
    lines = [
        (name, colour, width, x[fine], y[fine])
        for name, colour, width, x, y in lines
        if (fine := np.isfinite(y) & (y > 0)).any()
    ]
    if not lines:
        return ""
    x, y = (np.concatenate(values) for values in zip(*(line[-2:] for line in lines), strict=True))
    first, last = int(x.min()), int(x.max())
    low, high = math.log10(y.min()), math.log10(y.max())
    low, high = (low, high) if high - low > 0.1 else (low - 0.05, high + 0.05)

    def across(x: float) -> float:
        return _LEFT + (x - first) / max(last - first, 1) * (_WIDTH - _LEFT - _RIGHT)

    def down(power: float) -> float:
        return _TOP + (high - power) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for power, label in _ticks(low, high):
        at = down(power)
        parts.append(
            f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{_WIDTH - _RIGHT}" y2="{at:.1f}" stroke="currentColor" '
            f'stroke-opacity="0.15"/>{_text(_LEFT - 5, at + 4, "end", label)}'
        )
    base = _HEIGHT - _BOTTOM
    parts.append(_text(_LEFT, base + 14, "start", f"{first:,}"))
    parts.append(_text(_WIDTH - _RIGHT, base + 14, "end", f"{last:,}"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, base + 14, "middle", "iteration"))
    for k, (name, colour, width, x, y) in enumerate(lines):
        points = " ".join(
            f"{a:.1f},{b:.1f}" for a, b in zip(map(across, x), map(down, np.log10(y)), strict=True)
        )
        left = _LEFT + 120 * k
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>'
            f'<line x1="{left}" y1="{_HEIGHT - 7}" x2="{left + 16}" y2="{_HEIGHT - 7}" stroke="{colour}" '
            f'stroke-width="{2 * width}"/>{_text(left + 21, _HEIGHT - 3, "start", name)}'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="losses">{"".join(parts)}</svg>'
    )


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Logarithms and labels of powers of ten between two logarithms; if too few, of the two ends."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    if len(powers) < 2:
        return [(end, f"{10 ** min(end, _MAX_EXPONENT):.3g}") for end in (low, high)]
    chosen = powers[:: -(-len(powers) // _MAX_LABELS)]
    return [(power, f"{10.0**power:g}" if abs(power) < 5 else f"1e{power}") for power in chosen]


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" font-family="sans-serif" fill="currentColor" '
        f'text-anchor="{anchor}">{html.escape(text)}</text>'
    )
