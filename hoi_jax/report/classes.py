"""The sortable class table: AP of each class for every set of predictions."""

from collections.abc import Mapping, Sequence

import numpy as np

from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.tables import class_lists, paired_differences
from hoi_jax.report.breakdown import costliest
from hoi_jax.report.elements import Cell, Column, Section, paragraph, table
from hoi_jax.vocab import Vocabulary

HELP = (
    "Annotated pairs in training and test, average precision (AP, percent), the share of test pairs that are found "
    "at all, and the kind of error that costs the class most. Click a column title to sort by it, and again to "
    "reverse the order. Words and choices filter the classes. Keyboard: / goes to the words, Tab to the choices and "
    "titles, Enter sorts, Esc shows all classes again. The last line is the mean over the classes in view. "
    "Classes without annotated pairs have no AP; the AP of classes with few pairs is noisy."
)

Row = Mapping[str, Cell]
NO_LABELS: Mapping[str, str] = {}


def hoi_class_rows(
    results: Mapping[str, EvaluationResult],
    vocabulary: Vocabulary,
    errors: EvaluationResult | None = None,
    labels: Mapping[str, str] = NO_LABELS,
) -> list[dict[str, Cell]]:
    """One row per HOI class; empty where the results have none.

    Args:
      results: "model", and either "against" (which adds a column for the difference) or any other results with APs.
      errors: error analysis of the model, for the column "costs most".
      labels: names of results on the page, where they differ from the keys.
    """
    model = results["model"].per_class
    if "default/ap" not in model or not vocabulary.hois:
        return []
    # With two models side by side there is no room for baselines.
    shown = {name: results[name] for name in ("model", "against")} if "against" in results else results
    rows = []
    for hoi, (verb, obj) in enumerate(vocabulary.hois):
        row: dict[str, Cell] = {
            "verb": vocabulary.verbs[verb].replace("_", " "),
            "object": vocabulary.objects[obj].replace("_", " "),
            "kind": "rare" if vocabulary.rare[hoi] else "non-rare",
            "training": int(vocabulary.train_counts[hoi]),
            "test": int(model["num_positives"][hoi]),
        }
        for name, result in shown.items():
            if "default/ap" in result.per_class:  # Interactiveness baselines have none.
                row[f"AP {labels.get(name, name)}"] = 100 * float(result.per_class["default/ap"][hoi])
        if "against" in results:
            row["difference"] = 100 * float(model["default/ap"][hoi] - results["against"].per_class["default/ap"][hoi])
        row["found"] = 100 * float(model["default/max_recall"][hoi])
        if errors is not None:
            row["costs most"] = costliest(errors, hoi)
        rows.append(row)
    return rows


def action_class_rows(
    results: Mapping[str, EvaluationResult], names: Sequence[str], word: str, labels: Mapping[str, str] = NO_LABELS
) -> list[dict[str, Cell]]:
    """One row per class, and one column per result for each AP with `word` ("agent" or "role") in its name."""
    arrays: dict[str, np.ndarray] = {}
    for array, values in results["model"].per_class.items():
        if word in array and array.endswith("/ap") and values.shape == (len(names),):
            given = {name: result.per_class[array] for name, result in results.items() if array in result.per_class}
            short = array.removesuffix("/ap")
            arrays |= {f"{short} {labels.get(name, name)}": 100 * np.asarray(ap) for name, ap in given.items()}
            if "against" in given:
                arrays[f"{short} difference"] = 100 * (np.asarray(values) - given["against"])
    if not arrays:
        return []
    return [
        {"class": name.replace("_", " "), **{title: float(values[row]) for title, values in arrays.items()}}
        for row, name in enumerate(names)
    ]


def class_sections(
    results: Mapping[str, EvaluationResult],
    vocabulary: Vocabulary,
    errors: EvaluationResult | None = None,
    labels: Mapping[str, str] = NO_LABELS,
) -> list[Section]:
    """A section for each kind of classes for which the results have APs."""
    rows = {"classes": ("Class by class", hoi_class_rows(results, vocabulary, errors, labels))}
    if vocabulary.actions:
        lists = class_lists(vocabulary)
        rows["roles"] = ("Roles, class by class", action_class_rows(results, lists["role classes"], "role", labels))
        rows["actions"] = ("Actions, class by class", action_class_rows(results, lists["actions"], "agent", labels))
    return [Section(anchor, title, class_table(found)) for anchor, (title, found) in rows.items() if found]


def class_table(rows: Sequence[Row]) -> str:
    """The table with its filters and instructions."""
    columns = [_column(name) for name in rows[0]]
    return paragraph(HELP) + table(columns, [list(row.values()) for row in rows], filtered=True, noun="classes")


def _column(name: str) -> Column:
    if name in ("verb", "object", "kind", "costs most"):
        return Column(name, choose=True, words=name in ("verb", "object"))
    if name in ("class", "training", "test"):
        return Column(name, words=name == "class")
    return Column(name, 1, signed=name.endswith("difference"), mean=True)


# Two sets of predictions side by side: each metric of both, and whether the difference is significant.

INTRO = (
    "Difference: {first} minus {second}, in percentage points. The interval (95 %) is from a paired bootstrap: both "
    "are scored on the same {draws:,} random draws of the split's images. If it excludes 0, the choice of test images "
    "alone does not explain the difference; variation between training seeds is not covered."
)


def two_runs_section(results: Mapping[str, EvaluationResult], labels: Mapping[str, str]) -> Section:
    """Comparison of the results "model" and "against"; `labels` has their names on the page."""
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
