"""A self-contained HTML page about a trained model: scores, curves, images, configuration.

Styles, charts and images are inside the file, and its content security policy forbids all requests, so that
it can be sent by mail or archived. All text is escaped.
"""

import dataclasses
import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from PIL import Image

from hoi_jax.io import write_bytes_atomic
from hoi_jax.report.charts import Chart, line_chart, series_from_rows
from hoi_jax.report.elements import Section, case, image_element, table
from hoi_jax.report.script import TABLE_SCRIPT

Verdict = Literal["right", "wrong", "missed"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

VERDICT_TITLES: Mapping[Verdict, str] = {
    "right": "Right, with the highest scores",
    "wrong": "Wrong, with the highest scores",
    "missed": "Annotated, but not found",
}


@dataclasses.dataclass(frozen=True)
class Headline:
    """A score in large figures: `value` is printed with one decimal and `unit`; NaN prints as "n/a".

    `beside` is a small text after it, such as the score of a baseline.
    """

    name: str
    value: float
    explanation: str
    unit: str = ""
    beside: str = ""


@dataclasses.dataclass(frozen=True)
class ScoreRow:
    """One column of the comparison: a model, baseline or probe with its scores by name and a description."""

    name: str
    scores: Mapping[str, float]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class ExampleImage:
    """A drawn prediction with the drawn ground truth of the same image beside it."""

    verdict: Verdict
    title: str
    caption: str
    prediction: Image.Image
    truth: Image.Image


@dataclasses.dataclass(frozen=True)
class ReportInput:
    """Contents of a report; empty parts are left out of the page.

    Attributes:
      title, summary: heading and the sentences under it.
      headlines: the few main scores, with explanations.
      comparison: the model against baselines and probes, one column each.
      sections: further parts as finished HTML, after the comparison.
      metrics: rows of metrics.jsonl, each with "step" and numbers.
      charts: keys of `metrics` to draw; None draws `standard_charts`.
      examples: images of right and wrong predictions.
      attention: drawings of attention maps, as (caption, image).
      config: the configuration, as nested plain values.
      versions: package or program -> version.
      notes: paragraphs at the end, e.g. the command that made the page.
    """

    title: str
    summary: str
    headlines: Sequence[Headline] = ()
    comparison: Sequence[ScoreRow] = ()
    sections: Sequence[Section] = ()
    metrics: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Chart] | None = None
    examples: Sequence[ExampleImage] = ()
    attention: Sequence[tuple[str, Image.Image]] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


def standard_charts(metrics: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The default charts: losses by step, and scores of evaluations during training.

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


def _headlines(headlines: Sequence[Headline]) -> str:
    cards = []
    for headline in headlines:
        value = "n/a" if math.isnan(headline.value) else f"{headline.value:.1f}{headline.unit}"
        cards.append(
            f'<div class="card"><div class="name">{html.escape(headline.name)}</div>'
            f'<div class="value">{html.escape(value)} <small>{html.escape(headline.beside)}</small></div>'
            f'<p class="why">{html.escape(headline.explanation)}</p></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _comparison(compared: Sequence[ScoreRow]) -> str:
    scores = dict.fromkeys(name for one in compared for name in one.scores)
    cells = [(name, *(one.scores.get(name) for one in compared)) for name in scores]
    notes = [f"<li><b>{html.escape(one.name)}</b>: {html.escape(one.note)}</li>" for one in compared if one.note]
    return table(("score", *(one.name for one in compared)), cells) + (f"<ul>{''.join(notes)}</ul>" if notes else "")


def _examples(examples: Sequence[ExampleImage]) -> str:
    parts = [
        '<p>People have blue boxes<span class="key" style="border-color:#3884ff"></span>, objects yellow ones'
        '<span class="key" style="border-color:#ffbe0b"></span>. Labels of right predictions are green, of wrong ones'
        " red; labels of the ground truth have other colours.</p>"
    ]
    for verdict, title in VERDICT_TITLES.items():
        chosen = [e for e in examples if e.verdict == verdict]
        if chosen:
            parts.append(f"<h3>{title}</h3>")
        for e in chosen:
            parts.append(case(verdict, e.title, e.caption, [("Predicted", e.prediction), ("Ground truth", e.truth)]))
    return "".join(parts)


def _attention(drawings: Sequence[tuple[str, Image.Image]]) -> str:
    parts = [
        "<p>The strongest pair of some images. Upper row: the cells that may be attended to. Lower row: their weights, "
        "brighter cells being stronger; the captions name the kind of weight.</p>"
    ]
    for caption, image in drawings:
        parts.append(f"<figure>{image_element(image, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>")
    return "".join(parts)


def _configuration(config: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    parts = []
    if versions:
        parts.append(table(("package", "version"), list(versions.items())))
    if config:
        text = json.dumps(config, indent=2, sort_keys=True, default=str)
        parts.append(f"<details><summary>Configuration</summary><pre>{html.escape(text)}</pre></details>")
    return "".join(parts)


def render_report(report: ReportInput) -> str:
    """The whole page as a string; equal inputs give equal strings."""
    charts = standard_charts(report.metrics) if report.charts is None else report.charts
    parts = [
        ("comparison", "Against baselines and probes", report.comparison, _comparison),
        *((one.anchor, one.title, one.body, str) for one in report.sections),
        ("examples", "Right and wrong predictions", report.examples, _examples),
        ("attention", "Attention maps", report.attention, _attention),
        ("curves", "Training", charts, lambda c: f'<div class="charts">{"".join(map(line_chart, c))}</div>'),
    ]
    filled = [Section(anchor, title, build(value)) for anchor, title, value, build in parts if value]
    if report.config or report.versions:
        built = _configuration(report.config, report.versions)
        filled.append(Section("configuration", "Configuration and versions", built))
    links = "".join(f'<a href="#{one.anchor}">{html.escape(one.title)}</a>' for one in filled)
    body = "".join(
        f'<section id="{one.anchor}"><h2>{html.escape(one.title)}</h2>{one.body}</section>' for one in filled
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in report.notes)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(report.title)}</title><style>{CSS}</style></head><body>"
        f"<header><h1>{html.escape(report.title)}</h1><p>{html.escape(report.summary)}</p>"
        f'<nav aria-label="parts of this page">{links}</nav></header>'
        f"<main>{_headlines(report.headlines) if report.headlines else ''}"
        f"{body}</main><footer>{notes}</footer><script>{TABLE_SCRIPT}</script></body></html>\n"
    )


def write_report(path: str | os.PathLike[str], report: ReportInput) -> None:
    """Write the page to `path` atomically."""
    write_bytes_atomic(path, render_report(report).encode())


# Style sheet of the report, inlined in the page.

CSS = """
:root { --ink: #1b1f24; --soft: #4c5561; --rule: #d9dee5; --paper: #ffffff; --tint: #f4f6f9;
  --accent: #005fa3; --right: #0c7c36; --wrong: #c81e2d; --missed: #7e3aad; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 1.3rem; margin: 44px 0 10px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 22px 0 6px; }
p { margin: 8px 0; max-width: 75ch; }
a { color: var(--accent); }
nav { margin: 14px 0 0; }
nav a { margin-right: 14px; }
footer { color: var(--soft); padding-bottom: 40px; margin-top: 48px; font-size: .9rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 14px;
  margin-top: 20px; }
.card { background: var(--tint); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; }
.card .name { font-weight: 600; }
.card .value { font-size: 2.1rem; line-height: 1.2; font-weight: 650; font-variant-numeric: tabular-nums; }
.card .value small { font-size: 1rem; font-weight: 400; color: var(--soft); }
.card .why { color: var(--soft); font-size: .92rem; margin: 4px 0 0; }
.scroll { overflow-x: auto; max-height: 70vh; border: 1px solid var(--rule); border-radius: 8px;
  margin: 12px 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 12px; border-bottom: 1px solid var(--rule); vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { position: sticky; top: 0; background: var(--tint); white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
th button { all: unset; cursor: pointer; font: inherit; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: " \\2195"; color: var(--soft); }
th[aria-sort="ascending"] button::after { content: " \\2191"; color: var(--ink); }
th[aria-sort="descending"] button::after { content: " \\2193"; color: var(--ink); }
table.filtered { font-size: .94rem; }
table.filtered th, table.filtered td { padding: 5px 9px; white-space: nowrap; }
tbody tr:hover > * { background: var(--tint); }
tfoot td, tfoot th { position: sticky; bottom: 0; background: var(--tint); border-top: 1px solid var(--rule);
  font-weight: 600; }
.filter { display: flex; flex-wrap: wrap; gap: 8px 14px; align-items: center; margin: 12px 0 0; }
.filter label { color: var(--soft); font-size: .92rem; }
.filter input, .filter select, .filter button { font: inherit; font-size: .92rem; padding: 4px 8px; color: var(--ink);
  background: var(--paper); border: 1px solid var(--soft); border-radius: 6px; max-width: 230px; }
.filter :focus-visible, .scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.filter output { margin-left: auto; font-variant-numeric: tabular-nums; }
kbd { border: 1px solid var(--rule); border-radius: 4px; padding: 0 5px; background: var(--tint); font-size: .88em; }
.bars { display: grid; grid-template-columns: max-content minmax(60px, 1fr) max-content; gap: 3px 10px;
  align-items: center; margin: 6px 0; max-width: 620px; }
.bars .bar { height: 14px; border-radius: 3px; min-width: 1px; }
.bars .value { text-align: right; font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 20px; }
figure { margin: 0; }
.chart { border: 1px solid var(--rule); border-radius: 10px; padding: 14px; }
.chart figcaption { font-weight: 600; margin-bottom: 6px; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 13px system-ui, sans-serif; fill: var(--soft); }
svg.square { max-width: 440px; margin: 0 auto; }
svg .grid { stroke: var(--rule); } svg .tick, svg .axis { stroke: var(--soft); fill: none; }
svg .fill { fill: #9cc3e6; stroke: var(--accent); } svg .ideal { stroke: var(--soft); stroke-dasharray: 5 4; }
svg .mark { fill: var(--wrong); }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { list-style: none; margin: 8px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 16px;
  font-size: .9rem; }
.swatch { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 6px;
  vertical-align: middle; }
.example { border: 1px solid var(--rule); border-left-width: 6px; border-radius: 8px; padding: 14px;
  margin: 16px 0; }
.example.right { border-left-color: var(--right); } .example.wrong { border-left-color: var(--wrong); }
.example.missed { border-left-color: var(--missed); } .example.plain { border-left-color: var(--soft); }
.example h3 { margin: 0 0 4px; } .example > p { margin: 0 0 10px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 12px; }
.pair img { width: 100%; height: auto; display: block; border-radius: 4px; }
.pair figcaption { color: var(--soft); font-size: .9rem; margin-top: 4px; }
.key { display: inline-block; width: 12px; height: 12px; border: 3px solid; margin: 0 4px 0 10px;
  vertical-align: -1px; }
details { border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; margin: 12px 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; margin: 10px 0 0; font-size: .86rem; line-height: 1.45; }
@media (max-width: 600px) { body { font-size: 15px; } h1 { font-size: 1.5rem; } th, td { padding: 6px 8px; } }
@media print { .scroll { max-height: none; overflow: visible; } .example, .chart { break-inside: avoid; } }
"""
