"""Line charts as inline SVG: axes, ticks, labels, a legend, several series, gaps where a value is missing."""

import dataclasses
import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hoi_jax.evaluation.analysis.calibration import BINS, Reliability
from hoi_jax.report.elements import Column, Section, paragraph, table
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
    """The values of `key` along `x_key` over rows of metrics.jsonl that have both as numbers; null is a gap."""
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
    """At most `most` points: neighbours are averaged, so that a noisy curve shows its course."""
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
    """SVG path commands; a point that is not finite lifts the pen. A lone point becomes a short dash."""
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
    """The chart as an HTML figure with an inline SVG and a legend; says so where there is nothing to draw."""
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


# Scores against what came true: a reliability diagram per set of predictions, and the numbers behind it.

SIDE, LEFT, TOP, BOTTOM, RIGHT = 300, 56, 12, 62, 14

COLUMNS = (
    "score from",
    "to",
    "predictions",
    Column("mean score", 3),
    Column("share right", 3),
    Column("score minus share", 3, signed=True),
)


def reliability_section(found: Mapping[str, Reliability]) -> Section:
    """A diagram and a table for each named set of predictions."""
    intro = paragraph(
        "If scores were probabilities, of all predictions with score 0.7 seven in ten would be right. A bar reaches as "
        "high as the share of right predictions in its bin; the dot is the mean score there. Bars below the dashed "
        "line: too sure; above it: too modest. Right means what the average precision counts: verb and object as "
        "annotated, both boxes at IoU 0.5, and no better-scored prediction of the same pair."
    )
    figures = "".join(_figure(name, one) for name, one in found.items())
    details = "".join(_numbers(name, one) for name, one in found.items())
    return Section(
        "calibration", "Do scores mean what they say?", f'{intro}<div class="charts">{figures}</div>{details}'
    )


def _figure(name: str, found: Reliability) -> str:
    title = html.escape(name)
    total = int(found.count.sum())
    if not total:
        body = paragraph("There are no predictions.")
    elif not found.probabilities:
        body = diagram(found, name) + paragraph(
            "Its scores leave the range from 0 to 1: they rank, and are no probabilities, so that there is no "
            f"calibration error and no line to compare with. {total:,} predictions."
        )
    else:
        body = diagram(found, name) + paragraph(
            f"Expected calibration error {found.ece:.3f} over {BINS} equally wide bins, {found.ece_equal_count:.3f} "
            f"over {BINS} bins of equally many predictions. On the whole scores are {abs(found.gap):.3f} too "
            f"{'high' if found.gap > 0 else 'low'}. {total:,} predictions, "
            f"{100 * found.count[0] / total:.0f} % of them in the lowest bin, which therefore weighs most."
        )
    return f'<figure class="chart"><figcaption>{title}</figcaption>{body}</figure>'


def diagram(found: Reliability, name: str) -> str:
    """The diagram as inline SVG; how many predictions a bin holds stands under it."""
    parts, right, bottom = [], LEFT + SIDE, TOP + SIDE

    start, end = float(found.edges[0]), float(found.edges[-1])

    def x_of(value: float) -> float:
        return LEFT + (value - start) / (end - start) * SIDE

    def y_of(value: float) -> float:
        return bottom - value * SIDE

    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y_of(value):.1f}" y2="{y_of(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y_of(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(start, end):
        parts.append(f'<text x="{x_of(value):.1f}" y="{bottom + 34}" text-anchor="middle">{value:g}</text>')
    bins = zip(found.edges[:-1], found.edges[1:], found.count, found.share_right, found.mean_score, strict=True)
    for low, high, count, share, mean in bins:
        middle = x_of((low + high) / 2)
        parts.append(f'<text x="{middle:.1f}" y="{bottom + 15}" text-anchor="middle">{short_count(int(count))}</text>')
        if count:
            width = x_of(high) - x_of(low) - 4
            title = f"<title>{low:.3g} to {high:.3g}: {count:,} predictions, {100 * share:.1f} % right</title>"
            parts.append(
                f'<rect class="fill" x="{x_of(low) + 2:.1f}" y="{y_of(share):.1f}" width="{width:.1f}" '
                f'height="{share * SIDE:.1f}">{title}</rect>'
            )
            if found.probabilities:
                parts.append(f'<circle class="mark" cx="{x_of(mean):.1f}" cy="{y_of(mean):.1f}" r="3.5"/>')
    if found.probabilities:
        parts.append(f'<path class="ideal" d="M{x_of(0):.1f},{y_of(0):.1f}L{x_of(1):.1f},{y_of(1):.1f}"/>')
    parts.append(f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{right}"/>')
    label = "score (above: predictions in the bin)"
    parts.append(f'<text x="{LEFT + SIDE / 2}" y="{bottom + 54}" text-anchor="middle">{label}</text>')
    turn = f"translate(16 {TOP + SIDE / 2}) rotate(-90)"
    parts.append(f'<text transform="{turn}" text-anchor="middle">share right</text>')
    size = (right + RIGHT, bottom + BOTTOM)
    name = html.escape(f"Reliability diagram of {name}")
    return (
        f'<svg class="square" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
    )


def short_count(count: int) -> str:
    """A number in at most four characters: 950, 1.2k, 34k, 1.5M."""
    if count < 1000:
        return str(count)
    power = min(int(math.log10(count)) // 3, 3)
    value = count / 1000**power
    if value >= 999.5 and power < 3:
        value, power = value / 1000, power + 1
    return f"{value:.1f}".removesuffix(".0") + "kMG"[power - 1] if value < 9.95 else f"{value:.0f}{'kMG'[power - 1]}"


def _numbers(name: str, found: Reliability) -> str:
    rows = [
        (float(low), float(high), int(count), float(mean), float(share), float(mean - share))
        for low, high, count, mean, share in zip(
            found.edges[:-1].round(6), found.edges[1:].round(6), found.count, found.mean_score, found.share_right,
            strict=True,
        )
    ]  # fmt: skip
    columns = [Column(one, 2) if isinstance(one, str) else one for one in COLUMNS]
    return f"<details><summary>Numbers of {html.escape(name)}</summary>{table(columns, rows)}</details>"
