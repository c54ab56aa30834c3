"""Two sets of predictions side by side: each metric of both, and whether the difference is more than chance."""

from collections.abc import Mapping

import numpy as np

from hoi_jax.evaluation.printed import paired_differences
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.report.elements import Cell, Column, Section, paragraph, table

INTRO = (
    "Difference: {first} minus {second}, in percent points. The interval (95 %) is of the paired bootstrap: both are "
    "scored on the same {draws:,} random draws of the split's pictures. Where it leaves out 0, the difference is more "
    "than the choice of test pictures explains; it says nothing about other random seeds of training."
)


def two_runs_section(results: Mapping[str, EvaluationResult], labels: Mapping[str, str]) -> Section:
    """`results` has "model" and "against"; `labels` has their names on the page."""
    first, second = labels["model"], labels["against"]
    model, other = results["model"], results["against"]
    found = paired_differences({"model": model, "against": other}).get("against", {})
    draws = max((len(values) for values in model.manifest.get("bootstrap", {}).get("samples", {}).values()), default=0)
    rows: list[tuple[Cell, ...]] = []
    for metric, value in model.metrics.items():
        if metric in other.metrics:
            spread = found.get(metric)
            low, high = (100 * spread[end] for end in ("low", "high")) if spread else (np.nan, np.nan)
            verdict = first if low > 0 else second if high < 0 else "neither" if np.isfinite(low) else ""
            a, b = 100 * value, 100 * other.metrics[metric]
            rows.append((metric, a, b, a - b, low, high, verdict))
    signed = [Column(title, 2, signed=True) for title in ("difference", "from", "to")]
    columns = ["metric", first, second, *signed, "clearly better"]
    intro = paragraph(INTRO.format(first=first, second=second, draws=draws))
    return Section("two", f"{first} against {second}", intro + table(columns, rows, sortable=True))
