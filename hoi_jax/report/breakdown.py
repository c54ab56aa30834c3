"""Report section on error kinds: their frequency and their cost in mAP (`evaluation.analysis.errors`)."""

import html
from collections.abc import Mapping

from hoi_jax.evaluation.analysis.errors import KINDS
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.report.elements import Cell, Column, Section, paragraph, table

MEANINGS = {
    "true_positive": ("right", "verb and object as annotated, both boxes at IoU 0.5"),
    "wrong_verb": ("wrong verb", "both boxes fit an annotated pair with this object class but other verbs"),
    "wrong_object": ("wrong object class", "both boxes fit an annotated pair with another object class"),
    "wrong_pairing": ("wrong pairing", "person and object are both annotated, but not as a pair"),
    "bad_human_box": ("person box", "nearly an annotated pair of the class; the person's box fits worse"),
    "bad_object_box": ("object box", "nearly an annotated pair of the class; the object's box fits worse"),
    "duplicate": ("duplicate", "a pair that a better-scored prediction has already found"),
    "background": ("background", "none of the above"),
    "missed": ("missed", "an annotated interaction that no prediction finds"),
}
"""Kind -> (name, description), in the order of the page."""

COLOURS = {"true_positive": "#0c7c36", "missed": "#7e3aad"}
_WRONG = "#c81e2d"


def error_section(found: Mapping[str, EvaluationResult]) -> Section:
    """Bars of the leading predictions of each named result, and a table of all numbers."""
    intro = paragraph(
        "Every prediction is right or gets the first kind of error that applies. The bars count only the leading "
        "predictions: the N best of each class, N being its number of annotated pairs, so that a perfect ranking would "
        "be all green. Gain: the increase in mAP (percentage points) if this kind alone were repaired; gains do "
        "not add up. Classes of “no interaction”, where a dataset has them, count like all others."
    )
    bars = "".join(f"<div>{_bars(name, result)}</div>" for name, result in found.items())
    tails = {name: f" ({name})" if len(found) > 1 else "" for name in found}
    columns = [Column("kind"), Column("meaning")]
    columns += [Column(f"leading{tail}") for tail in tails.values()]
    columns += [Column(f"all{tail}") for tail in tails.values() if len(found) == 1]
    columns += [Column(f"gain{tail}", 2, signed=True) for tail in tails.values()]
    rows = [_row(kind, found) for kind in MEANINGS]
    body = f'{intro}<div class="charts">{bars}</div>{table(columns, rows, sortable=True)}'
    return Section("errors", "Kinds of errors", body)


def _bars(name: str, result: EvaluationResult) -> str:
    totals = result.manifest["leading_error_totals"]
    total = max(sum(totals.values()), 1)
    parts = []
    for kind in MEANINGS:
        if kind in totals:
            share = 100 * totals[kind] / total
            style = f"width:{share:.1f}%;background:{COLOURS.get(kind, _WRONG)}"
            parts.append(
                f'<span>{MEANINGS[kind][0]}</span><span class="bar" style="{style}"></span>'
                f'<span class="value">{share:.1f} %</span>'
            )
    title = f"{name}: {sum(totals.values()):,} leading predictions"
    return f'<h3>{html.escape(title)}</h3><div class="bars">{"".join(parts)}</div>'


def _row(kind: str, found: Mapping[str, EvaluationResult]) -> list[Cell]:
    row: list[Cell] = [*MEANINGS[kind]]
    row += [result.manifest["leading_error_totals"].get(kind) for result in found.values()]
    row += [result.manifest["error_totals"][kind] for result in found.values() if len(found) == 1]
    gains = [result.metrics.get(f"errors/{kind}/delta_full") for result in found.values()]
    return row + [None if gain is None else 100 * gain for gain in gains]


def costliest(result: EvaluationResult, hoi: int) -> str:
    """Kind of error with the largest gain for a class; "" if no gain is positive."""
    gains = {kind: float(result.per_class[f"errors/{kind}/delta_ap"][hoi]) for kind in (*KINDS, "missed")}
    kind = max(gains, key=lambda name: (gains[name] == gains[name], gains[name]))
    return MEANINGS[kind][0] if gains[kind] > 0 else ""
