"""One self-contained HTML page about a trained model: scores, curves, pictures, configuration.

Styles, charts and pictures are inside the file, and its content security policy forbids every request, so that
it can be mailed or kept for years. Every text is escaped.
"""

import base64
import dataclasses
import html
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from PIL import Image

from hoi_jax.io import write_bytes_atomic
from hoi_jax.report.charts import Chart, line_chart, series_from_rows
from hoi_jax.report.style import CSS, SORT_SCRIPT

Verdict = Literal["right", "wrong", "missed"]
Cell = str | int | float | None

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

VERDICT_TITLES: Mapping[Verdict, str] = {
    "right": "Right, with the highest scores",
    "wrong": "Wrong, with the highest scores",
    "missed": "There, but not found",
}


@dataclasses.dataclass(frozen=True)
class Headline:
    """A score in large figures: `value` is printed with one decimal and `unit`; NaN prints as "n/a"."""

    name: str
    value: float
    explanation: str
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """One column of the comparison: a model, baseline or probe, its scores by name, what it is."""

    name: str
    scores: Mapping[str, float]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class ExamplePicture:
    """A drawn prediction with the drawn ground truth of the same picture beside it."""

    verdict: Verdict
    title: str
    caption: str
    prediction: Image.Image
    truth: Image.Image


@dataclasses.dataclass(frozen=True)
class ReportInput:
    """All that a report shows; an empty part is left out of the page.

    Attributes:
      title, summary: heading and the sentences under it.
      headlines: the few scores that matter, explained in plain words.
      comparison: the model against baselines and probes, one column each.
      per_class: rows of the class table, all with the same keys (its column titles); numbers are
        right-aligned, None and NaN print as "n/a".
      metrics: rows of metrics.jsonl, each with "step" and numbers.
      charts: which keys of `metrics` to draw; None draws `standard_charts`.
      examples: pictures of right and wrong predictions.
      looks: where the model looked, as (caption, picture).
      config: the configuration, as nested plain values.
      versions: package or program -> version.
      notes: further paragraphs at the end, e.g. how to run it again.
    """

    title: str
    summary: str
    headlines: Sequence[Headline] = ()
    comparison: Sequence[ScoreRow] = ()
    per_class: Sequence[Mapping[str, Cell]] = ()
    metrics: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Chart] | None = None
    examples: Sequence[ExamplePicture] = ()
    looks: Sequence[tuple[str, Image.Image]] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


def standard_charts(metrics: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The charts drawn unless told otherwise: losses by step, and scores of evaluations during training.

    Args:
      metrics: rows of metrics.jsonl: {"step", "loss", "loss/<term>", ...} and {"step", "evaluation": {...}}.
    """
    scores = [{"step": row["step"], **row["evaluation"]} for row in metrics if "evaluation" in row]
    losses = dict.fromkeys(key for row in metrics for key in row if key.split("/")[0] == "loss")
    names = dict.fromkeys(key for row in scores for key in row if key != "step")
    charts = []
    for title, label, keys, rows in (
        ("Training loss and its terms", "loss", losses, metrics),
        ("Scores of evaluations during training", "score", names, scores),
    ):
        series = tuple(s for key in keys if (s := series_from_rows(rows, key)).x)
        if series:
            charts.append(Chart(title, series, y_label=label))
    return charts


def _is_number(value: Cell) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell_text(value: Cell) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, sortable: bool) -> str:
    numeric = [
        any(_is_number(r[i]) for r in rows) and all(r[i] is None or _is_number(r[i]) for r in rows)
        for i in range(len(columns))
    ]
    head = []
    for name, number in zip(columns, numeric, strict=True):
        text = html.escape(name)
        text = f'<button type="button">{text}</button>' if sortable else text
        head.append(f'<th scope="col"{_number_class(number)}>{text}</th>')
    body = []
    for row in rows:
        cells = []
        for value, number in zip(row, numeric, strict=True):
            text = _cell_text(value)
            key = "" if number and text == "n/a" else str(value) if number else text
            data = f' data-value="{html.escape(key)}"' if sortable else ""
            cells.append(f"<td{_number_class(number)}{data}>{html.escape(text)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" tabindex="0"><table{kind}><thead><tr>{"".join(head)}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _number_class(number: bool) -> str:
    return ' class="number"' if number else ""


def _headlines(headlines: Sequence[Headline]) -> str:
    cards = []
    for headline in headlines:
        value = "n/a" if math.isnan(headline.value) else f"{headline.value:.1f}{headline.unit}"
        cards.append(
            f'<div class="card"><div class="name">{html.escape(headline.name)}</div>'
            f'<div class="value">{html.escape(value)}</div>'
            f'<p class="why">{html.escape(headline.explanation)}</p></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _comparison(compared: Sequence[ScoreRow]) -> str:
    scores = dict.fromkeys(name for one in compared for name in one.scores)
    cells = [(name, *(one.scores.get(name) for one in compared)) for name in scores]
    notes = [f"<li><b>{html.escape(one.name)}</b>: {html.escape(one.note)}</li>" for one in compared if one.note]
    table = _table(("score", *(one.name for one in compared)), cells, sortable=False)
    return table + (f"<ul>{''.join(notes)}</ul>" if notes else "")


def _class_table(rows: Sequence[Mapping[str, Cell]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [tuple(row.get(c) for c in columns) for row in rows]
    return "<p>Press a column title to sort.</p>" + _table(columns, cells, sortable=True)


def _picture(image: Image.Image, alt: str) -> str:
    """An <img> that holds the picture: PNG where that is small (drawn scenes), else JPEG (photographs)."""
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    kind, data = "png", png.getvalue()
    if len(data) > 150_000:
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=85, subsampling=0)
        kind, data = "jpeg", jpeg.getvalue()
    encoded = base64.b64encode(data).decode()
    return (
        f'<img loading="lazy" width="{image.width}" height="{image.height}" alt="{html.escape(alt)}"'
        f' src="data:image/{kind};base64,{encoded}">'
    )


def _examples(examples: Sequence[ExamplePicture]) -> str:
    parts = [
        '<p>People have blue boxes<span class="key" style="border-color:#3884ff"></span>, objects yellow ones'
        '<span class="key" style="border-color:#ffbe0b"></span>. A green label is a right prediction, a red'
        " one is wrong; labels of the ground truth have other colours.</p>"
    ]
    for verdict, title in VERDICT_TITLES.items():
        chosen = [e for e in examples if e.verdict == verdict]
        if chosen:
            parts.append(f"<h3>{title}</h3>")
        for e in chosen:
            parts.append(
                f'<section class="example {verdict}"><h3>{html.escape(e.title)}</h3>'
                f'<p>{html.escape(e.caption)}</p><div class="pair">'
                f"<figure>{_picture(e.prediction, f'Prediction: {e.title}. {e.caption}')}"
                "<figcaption>Predicted</figcaption></figure>"
                f"<figure>{_picture(e.truth, f'Ground truth of the same picture: {e.title}')}"
                "<figcaption>Ground truth</figcaption></figure></div></section>"
            )
    return "".join(parts)


def _looks(looks: Sequence[tuple[str, Image.Image]]) -> str:
    parts = [
        "<p>The most interactive pairs of some pictures. Upper row: the cells that each layer of the interactiveness "
        "decoder may look at. Lower row: its attention, the brighter the stronger.</p>"
    ]
    for caption, picture in looks:
        parts.append(f"<figure>{_picture(picture, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>")
    return "".join(parts)


def _configuration(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    parts = []
    if versions:
        rows = [(name, version) for name, version in versions.items()]
        parts.append(_table(("package", "version"), rows, sortable=False))
    if config:
        text = json.dumps(config, indent=2, sort_keys=True, default=str)
        parts.append(f"<details open><summary>Configuration</summary><pre>{html.escape(text)}</pre></details>")
    return "".join(parts)


def render_report(report: ReportInput) -> str:
    """The whole page as text; the same input gives the same text."""
    charts = standard_charts(report.metrics) if report.charts is None else report.charts
    sections = [
        ("comparison", "Against baselines and probes", report.comparison, _comparison),
        ("examples", "Right and wrong predictions", report.examples, _examples),
        ("looks", "Where the model looks", report.looks, _looks),
        ("curves", "Training", charts, lambda c: f'<div class="charts">{"".join(map(line_chart, c))}</div>'),
        ("classes", "Class by class", report.per_class, _class_table),
    ]
    filled = [(anchor, title, build(value)) for anchor, title, value, build in sections if value]
    if report.config or report.versions:
        built = _configuration(report.config, report.versions)
        filled.append(("configuration", "Configuration and versions", built))
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in filled)
    body = "".join(f'<section id="{anchor}"><h2>{title}</h2>{text}</section>' for anchor, title, text in filled)
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in report.notes)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(report.title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{html.escape(report.title)}</h1><p>{html.escape(report.summary)}</p>"
        f"<nav>{links}</nav></header><main>{_headlines(report.headlines) if report.headlines else ''}"
        f"{body}</main><footer>{notes}</footer><script>{SORT_SCRIPT}</script></body></html>\n"
    )


def write_report(path: str | os.PathLike[str], report: ReportInput) -> None:
    """Writes the page to `path`, the whole file or nothing."""
    write_bytes_atomic(path, render_report(report).encode())
