"""Comparison of two results: metrics that differ, with paired confidence intervals. Differences are B minus A."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.bootstrap import (
    Interval,
    Resampled,
    prediction_rankings,
    resample,
)
from hoi_jax.evaluation.metrics.protocols import HoiProtocol
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.formats.predictions.detect import read_predictions
from hoi_jax.vocab import get_vocabulary

# Fields of the manifest that must agree between comparable results; absent on both sides counts as agreement.
COMPARED_FIELDS = (
    "dataset",
    "vocabulary",
    "split",
    "annotations_fingerprint",
    "num_images",
    "num_truth_pairs",
    "num_labelled_persons",
    "protocol",
    "pairs_protocol",
    "known_object_source",
    "published_truth",
)
_SAME_NUMBER = 1e-9


def protocol_mismatches(first: EvaluationResult, second: EvaluationResult) -> list[str]:
    """Reasons why two results may not be compared; empty when they may.

    Protocols are compared by their options, not their names: `octave` and `ppdm` are equal.
    """
    reasons = []
    for field in COMPARED_FIELDS:
        a, b = first.manifest.get(field), second.manifest.get(field)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            options = sorted((set(a) | set(b)) - {"name"})
            reasons += [f"{field}.{o}: {a.get(o)!r} and {b.get(o)!r}" for o in options if a.get(o) != b.get(o)]
        elif a != b:
            reasons.append(f"{field}: {a!r} and {b!r}")
    if not set(first.metrics) & set(second.metrics):
        reasons.append(f"no metric in common: {sorted(first.metrics)} and {sorted(second.metrics)}")
    return reasons


def resample_predictions(
    path: Path, annotations: Annotations, result: EvaluationResult, *, replicates: int, seed: int
) -> Resampled:
    """Bootstrap draws of the predictions behind `result`, under its own protocol.

    Raises:
      io.DataError: a file is malformed, or the predictions do not reproduce the numbers of the result.
      ValueError: the manifest lacks what is needed.
    """
    manifest = result.manifest
    vocabulary = get_vocabulary(str(manifest.get("vocabulary")))
    protocol = None
    if not vocabulary.actions:
        try:
            protocol = HoiProtocol(**manifest["protocol"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: its result has an unknown protocol ({error})") from error
    predictions = read_predictions(path, vocabulary, annotations)
    rankings = prediction_rankings(
        predictions, annotations, vocabulary, protocol, use_nis=bool(manifest.get("use_nis", True))
    )
    drawn = resample(rankings, replicates=replicates, seed=seed)
    for name, value in drawn.estimates.items():
        stated = result.metrics.get(name, value)
        if not np.isclose(stated, value, rtol=0, atol=_SAME_NUMBER, equal_nan=True):
            raise io.DataError(f"{path}: {name} is {value:.6f}, but its result file has {stated:.6f}")
    return drawn


def stored_draws(result: EvaluationResult) -> Resampled | None:
    """The bootstrap draws in the manifest of a result, or None. Raises ValueError when they are malformed."""
    content = result.manifest.get("bootstrap")
    return None if content is None else Resampled.from_json(content)


def format_comparison(
    first: EvaluationResult, second: EvaluationResult, found: Mapping[str, Interval], level: float
) -> str:
    """One line per shared metric, in percentage points: A, B, B - A and the interval, starred where it excludes 0."""
    names = [name for name in first.metrics if name in second.metrics]
    width = max((len(name) for name in names), default=0)
    lines = [f"{'':<{width}}  {'A':>8}{'B':>8}{'B - A':>9}   {100 * level:g} % interval"]
    for name in names:
        a, b = first.metrics[name], second.metrics[name]
        line = f"{name:<{width}}  {100 * a:>8.2f}{100 * b:>8.2f}{100 * (b - a):>+9.2f}"
        if name in found:
            low, high = found[name].low, found[name].high
            line += f"   [{100 * low:+.2f}, {100 * high:+.2f}]{' *' if low > 0 or high < 0 else ''}"
        lines.append(line)
    return "\n".join(lines)


def to_json(
    first: EvaluationResult,
    second: EvaluationResult,
    found: Mapping[str, Interval],
    reasons: Sequence[str],
    level: float,
) -> dict[str, Any]:
    """Plain values for JSON: A, B, B - A and its interval (if any) per metric, and the protocol mismatches."""
    rows: dict[str, dict[str, float | None]] = {}
    for name in first.metrics:
        if name in second.metrics:
            a, b = first.metrics[name], second.metrics[name]
            row = {"a": a, "b": b, "difference": b - a}
            if name in found:
                row |= {"low": found[name].low, "high": found[name].high}
                row |= {"standard_error": found[name].standard_error}
            rows[name] = {key: value if np.isfinite(value) else None for key, value in row.items()}
    return {"metrics": rows, "unlike": list(reasons), "level": level}
