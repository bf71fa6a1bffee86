"""How networks and histories show themselves in notebooks: a table in HTML, losses as a drawing in SVG."""

import html
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from crabnet_jit.panels import Array

if TYPE_CHECKING:
    from crabnet_jit.history import History
    from crabnet_jit.network import NN

_WIDTH, _HEIGHT = 480, 180  # pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 34  # margins
_LARGEST = math.nextafter(math.log10(sys.float_info.max), 0.0)
_MOST_LABELS = 6  # of an axis
_MOST_EVENTS = 5  # in a table
_LINE, _RUNNING, _VALIDATION = "#9ecae1", "#08519c", "#d55e00"


def network_html(net: "NN") -> str:
    """A row for each layer, and what happened in its fit."""
    rows = [
        [
            str(k + 1),
            f"{layer.in_features} → {layer.out_features}",
            activation.name,
            f"{layer.parameters.size:,}",
            _range(layer.W),
            _range(layer.b),
        ]
        for k, (layer, activation) in enumerate(zip(net.layers, net.activations, strict=True))
    ]
    head = ["layer", "features", "activation", "parameters", "W", "b"]
    text = f"{net!r}, {net.parameters.size:,} parameters, {net.dtype}"
    if net.standardization is not None:
        text += ", standardised"
    shown = f"<div><b>{html.escape(text)}</b>{_table(head, rows)}"
    if net.fit_history is not None:
        shown += net.fit_history._repr_html_()
    return shown + "</div>"


def history_html(
    history: "History", validation_iterations: Sequence[int] = (), validation_losses: Sequence[float] = ()
) -> str:
    """What a run has come to, and its losses."""
    rows = [["iterations", f"{history.n_iterations:,}"]]
    iterations, running = history.running_losses()
    if running.size > 0:
        rows.append(["running loss", f"{running[-1]:.6g}"])
        rows.append(["last loss", f"{history.losses[-1]:.6g}"])
    if np.isfinite(validation_losses).any():
        best = int(np.nanargmin(validation_losses))
        value = f"{validation_losses[best]:.6g} after {validation_iterations[best]:,} iterations"
        rows.append(["least validation loss", value])
    events = [f"{event} after {iteration:,} iterations" for iteration, event in history.events]
    if len(events) > _MOST_EVENTS:
        events = [f"{len(events) - _MOST_EVENTS:,} more, before these:", *events[-_MOST_EVENTS:]]
    rows += [["", event] for event in events]
    lines = [
        ("loss", _LINE, 1.0, *history.envelope(300)),
        ("running loss", _RUNNING, 2.0, iterations, running),
        ("validation loss", _VALIDATION, 2.0, np.array(validation_iterations), np.array(validation_losses)),
    ]
    return f"<div>{_table([], rows)}{_losses_svg(lines)}</div>"


def _range(values: Array) -> str:
    return f"{values.min():.3g} … {values.max():.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{f'<thead><tr>{top}</tr></thead>' if top else ''}<tbody>{body}</tbody></table>"


def _losses_svg(lines: Sequence[tuple[str, str, float, Array, Array]]) -> str:
    """Lines (name, colour, width, iterations, losses), on a logarithmic scale of what is above 0."""
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
    """Logarithms and labels of powers of ten between two logarithms; of the ends, if those are too few."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    if len(powers) < 2:
        return [(end, f"{10 ** min(end, _LARGEST):.3g}") for end in (low, high)]
    chosen = powers[:: -(-len(powers) // _MOST_LABELS)]
    return [(power, f"{10.0**power:g}" if abs(power) < 5 else f"1e{power}") for power in chosen]


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" font-family="sans-serif" fill="currentColor" '
        f'text-anchor="{anchor}">{html.escape(text)}</text>'
    )
