"""Line charts as inline SVG, with axes, ticks, labels, a legend and several series; missing values leave gaps."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hoi_jax.visualization.colours import SERIES, hex_colour

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
MOST_POINTS = 300


@dataclasses.dataclass(frozen=True)
class Series:
    """One line: a name and points (x, y); a y that is not finite leaves a gap."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A titled chart with named axes."""

    title: str
    series: tuple[Series, ...]
    x_label: str = "step"
    y_label: str = "loss"


def series_from_rows(rows: Sequence[Mapping[str, Any]], key: str, *, x_key: str = "step") -> Series:
    """Values of `key` along `x_key` from the rows of metrics.jsonl that have both as numbers; null leaves a gap."""
    points = []
    for row in rows:
        x, y = row.get(x_key), row.get(key, "absent")
        if isinstance(x, int | float) and (y is None or isinstance(y, int | float)):
            points.append((float(x), math.nan if y is None else float(y)))
    points.sort(key=lambda point: point[0])
    return Series(key, tuple(x for x, _ in points), tuple(y for _, y in points))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) that lie in [low, high]."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / raw)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def thinned(series: Series, most: int = MOST_POINTS) -> Series:
    """The series averaged over neighbouring points to at most `most` points, which smooths a noisy curve."""
    count = len(series.x)
    if count <= most:
        return series
    x, y = np.asarray(series.x), np.asarray(series.y)
    edges = np.linspace(0, count, most + 1).astype(int)
    parts = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return Series(series.name, tuple(float(x[p].mean()) for p in parts), tuple(float(y[p].mean()) for p in parts))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _bounds(values: Sequence[float]) -> tuple[float, float] | None:
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if low == high:
        pad = abs(low) * 0.1 or 1.0
        return low - pad, high + pad
    return low, high


def _path(points: Sequence[tuple[float, float]]) -> str:
    """SVG path commands; a point that is not finite leaves a gap, and a lone point becomes a short dash."""
    commands, pen = [], "M"
    for x, y in points:
        if math.isfinite(y):
            commands.append(f"{pen}{x:.1f},{y:.1f}")
            if pen == "M":
                commands.append(f"L{x + 0.1:.1f},{y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(commands)


def _axes(chart: Chart, x_of: Any, y_of: Any, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    parts = []
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in ticks(*y_range):
        y = y_of(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for value in ticks(*x_range):
        x = x_of(value)
        parts.append(f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{_number(value)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{right}"/>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(chart.x_label)}</text>')
    height = (TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(14 {height}) rotate(-90)" text-anchor="middle">{html.escape(chart.y_label)}</text>'
    )
    return "".join(parts)


def line_chart(chart: Chart) -> str:
    """The chart as an HTML figure with an inline SVG and a legend, or with a note if there is nothing to draw."""
    title = html.escape(chart.title)
    lines = [thinned(series) for series in chart.series]
    x_range = _bounds([x for s in lines for x in s.x])
    y_range = _bounds([y for s in lines for y in s.y])
    if x_range is None or y_range is None:
        return f'<figure class="chart"><figcaption>{title}</figcaption><p>No values were logged.</p></figure>'
    y_range = (min(0.0, y_range[0]), y_range[1]) if y_range[0] < 0.5 * y_range[1] else y_range

    def x_of(value: float) -> float:
        return LEFT + (value - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - (value - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)

    drawn, legend = [], []
    for index, series in enumerate(lines):
        colour = hex_colour(SERIES[index % len(SERIES)])
        dash = "" if index < len(SERIES) else ' stroke-dasharray="6 4"'
        points = [(x_of(x), y_of(y)) for x, y in zip(series.x, series.y, strict=True)]
        drawn.append(f'<path class="line" d="{_path(points)}" stroke="{colour}"{dash}/>')
        legend.append(f'<li><span class="swatch" style="background:{colour}"></span>{html.escape(series.name)}</li>')
    names = html.escape(", ".join(series.name for series in lines))
    return (
        f'<figure class="chart"><figcaption>{title}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}: {names}">'
        f"{_axes(chart, x_of, y_of, x_range, y_range)}{''.join(drawn)}</svg>"
        f'<ul class="legend">{"".join(legend)}</ul></figure>'
    )
