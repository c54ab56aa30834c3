"""Result tables: printed in percent, written to JSON between 0 and 1.

Results are passed by name; "model" is the one under evaluation, and all others are compared with it.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any

from hoi_jax.evaluation.analysis.bootstrap import difference, intervals
from hoi_jax.evaluation.analysis.compare import stored_draws
from hoi_jax.evaluation.metrics.result import EvaluationResult, format_table
from hoi_jax.evaluation.metrics.vcoco import role_verbs
from hoi_jax.formats.predictions.checks import warnings_of
from hoi_jax.vocab import Vocabulary


def print_results(results: Mapping[str, EvaluationResult]) -> None:
    """Print one line per metric and one column per result, in percent."""
    names = list(results)
    print("".join([" " * 32, *(f"{name:>22}" for name in names)]))
    for metric in results["model"].metrics:
        row = [results[name].metrics.get(metric, float("nan")) for name in names]
        print(f"{metric:<32}" + "".join(f"{100 * value:>22.2f}" for value in row))


def print_about(result: EvaluationResult) -> None:
    """Print the protocol, the counts, intervals and irregularities of the predictions."""
    manifest = result.manifest
    protocol = manifest.get("protocol")
    name = protocol.get("name") if isinstance(protocol, Mapping) else protocol
    print(
        f"\n{manifest['dataset']}: {manifest['num_images']} images, {manifest['num_predictions']} predictions, {name}"
    )
    if manifest.get("known_object_source") == "visible_pairs":
        print("Known Object: images with a visible pair of the object (no image-level labels were given)")
    for metric, interval in manifest.get("intervals", {}).items():
        print(f"{metric:<32}{100 * interval['low']:>9.2f} to {100 * interval['high']:.2f} (95 % interval)")
    for line in warnings_of(manifest.get("input_counts", {})):
        print(f"note: {line}", file=sys.stderr)


def paired_differences(results: Mapping[str, EvaluationResult]) -> dict[str, dict[str, dict[str, float]]]:
    """Model minus every other result with the same bootstrap draws: name -> metric -> difference, low, high."""
    drawn = {name: stored_draws(result) for name, result in results.items()}
    own = drawn.pop("model")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, other in drawn.items():
        if own is not None and other is not None:
            spread = intervals(difference(other, own))
            found[name] = {m: {"difference": i.estimate, "low": i.low, "high": i.high} for m, i in spread.items()}
    return found


def print_differences(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Print one line per metric, in percentage points."""
    for name, metrics in found.items():
        print(f"\nmodel minus {name}, paired by image:")
        for metric, i in metrics.items():
            low, high = 100 * i["low"], 100 * i["high"]
            print(f"{metric:<32}{100 * i['difference']:>+9.2f}  {low:+.2f} to {high:+.2f} (95 % interval)")


def class_lists(vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """Class names of per-class arrays by kind; empty for kinds that the vocabulary lacks."""
    return {
        "HOI classes": tuple(vocabulary.hoi_name(hoi) for hoi in range(len(vocabulary.hois))),
        "actions": vocabulary.actions,
        "role classes": tuple(vocabulary.verbs[verb] for verb in role_verbs(vocabulary)),
    }


def print_classes(result: EvaluationResult, vocabulary: Vocabulary) -> None:
    """Print a table for each kind of classes for which the result has arrays."""
    for title, names in class_lists(vocabulary).items():
        arrays = tuple(name for name, array in result.per_class.items() if array.shape == (len(names),))
        if names and arrays:
            rows = dataclasses.replace(result, metrics={})
            print(f"\n{title}", format_table(rows, names, arrays=arrays).lstrip("\n"), sep="\n")


def to_json(results: Mapping[str, EvaluationResult]) -> dict[str, Any]:
    """The model's numbers as in `EvaluationResult.to_json`, the others under `compared`; null instead of NaN."""
    others = {name: result.to_json()["metrics"] for name, result in results.items() if name != "model"}
    differences = {
        name: {metric: {k: v if math.isfinite(v) else None for k, v in i.items()} for metric, i in metrics.items()}
        for name, metrics in paired_differences(results).items()
    }
    return {**results["model"].to_json(), "compared": others, "differences": differences}
