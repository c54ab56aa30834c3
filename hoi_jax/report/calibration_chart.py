"""Report section on calibration: a reliability diagram per set of predictions, with its numbers."""

import html
import math
from collections.abc import Mapping

from hoi_jax.evaluation.analysis.calibration import BINS, Reliability
from hoi_jax.report.charts import ticks
from hoi_jax.report.elements import Column, Section, paragraph, table

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
        "If scores were probabilities, seven in ten of the predictions with score 0.7 would be right. The height of a "
        "bar is the share of right predictions in its bin; the dot is the mean score there. Bars below the dashed "
        "line: overconfident; above it: underconfident. Right has the same meaning as in average precision: verb and "
        "object as annotated, both boxes at IoU 0.5, and no better-scored prediction of the same pair."
    )
    figures = "".join(_figure(name, one) for name, one in found.items())
    details = "".join(_numbers(name, one) for name, one in found.items())
    return Section("calibration", "Reliability of scores", f'{intro}<div class="charts">{figures}</div>{details}')


def _figure(name: str, found: Reliability) -> str:
    title = html.escape(name)
    total = int(found.count.sum())
    if not total:
        body = paragraph("There are no predictions.")
    elif not found.probabilities:
        body = diagram(found, name) + paragraph(
            "The scores are not all between 0 and 1. They rank predictions but are not probabilities, so there is no "
            f"calibration error and no reference line. {total:,} predictions."
        )
    else:
        body = diagram(found, name) + paragraph(
            f"Expected calibration error {found.ece:.3f} over {BINS} equally wide bins, {found.ece_equal_count:.3f} "
            f"over {BINS} bins of equally many predictions. On average, scores are {abs(found.gap):.3f} too "
            f"{'high' if found.gap > 0 else 'low'}. {total:,} predictions, "
            f"{100 * found.count[0] / total:.0f} % of them in the lowest bin, which therefore weighs most."
        )
    return f'<figure class="chart"><figcaption>{title}</figcaption>{body}</figure>'


def diagram(found: Reliability, name: str) -> str:
    """The diagram as inline SVG, with the number of predictions under each bin."""
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
    """A count in at most four characters: 950, 1.2k, 34k, 1.5M."""
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
