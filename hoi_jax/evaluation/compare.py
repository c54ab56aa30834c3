"""Two results side by side: what differs, by how much, and whether more than chance.

    python -m hoi_jax.evaluation.compare A.json B.json
    python -m hoi_jax.evaluation.compare A.json B.json \\
        --predictions-a a.npz --predictions-b b.npz --annotations annotations_test.npz

Differences are B minus A. Intervals are of the paired bootstrap over images: both sets of predictions are scored on
the same draws. They come from the predictions, or from results that carry their own draws (`manifest.bootstrap`).
Results of unlike datasets, splits or protocols are refused, with what differs.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.bootstrap import (
    REPLICATES,
    Interval,
    Resampled,
    difference,
    intervals,
    resample,
    store_rankings,
)
from hoi_jax.evaluation.files.annotation_files import read_annotations
from hoi_jax.evaluation.files.prediction_files import read_predictions
from hoi_jax.evaluation.protocols import HoiProtocol
from hoi_jax.evaluation.result import EvaluationResult, read_result
from hoi_jax.vocab import get_vocabulary

# What must agree before two numbers may be compared; absent on both sides is agreement.
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


def unlike(first: EvaluationResult, second: EvaluationResult) -> list[str]:
    """Reasons why two results may not be compared; empty when they may.

    Two protocols are alike when all their options are: `octave` and `ppdm` differ in name only.
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
    """Draws for the predictions that `result` was made from, under its own protocol.

    Raises:
      io.DataError: a file is malformed, or the predictions do not give the numbers of the result.
      ValueError: the manifest lacks what is needed.
    """
    manifest = result.manifest
    vocabulary = get_vocabulary(str(manifest.get("vocabulary")))
    protocol = None
    if not vocabulary.actions:
        try:
            protocol = HoiProtocol(**manifest["protocol"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: its result names no protocol that this version knows ({error})") from error
    store = read_predictions(path, vocabulary, annotations)
    rankings = store_rankings(store, annotations, vocabulary, protocol, use_nis=bool(manifest.get("use_nis", True)))
    drawn = resample(rankings, replicates=replicates, seed=seed)
    for name, value in drawn.estimates.items():
        stated = result.metrics.get(name, value)
        if not np.isclose(stated, value, rtol=0, atol=_SAME_NUMBER, equal_nan=True):
            raise io.DataError(f"{path}: gives {name} {value:.6f} where its result says {stated:.6f}")
    return drawn


def stored_draws(result: EvaluationResult) -> Resampled | None:
    """The draws that a result carries, None without. Raises ValueError when they are malformed."""
    content = result.manifest.get("bootstrap")
    return None if content is None else Resampled.from_json(content)


def with_draws(result: EvaluationResult, drawn: Resampled) -> EvaluationResult:
    """The result with its draws in the manifest, so that `compare` needs no predictions; about 10 kB a metric."""
    return dataclasses.replace(result, manifest={**result.manifest, "bootstrap": drawn.to_json()})


def format_comparison(
    first: EvaluationResult, second: EvaluationResult, found: Mapping[str, Interval], level: float
) -> str:
    """One line per shared metric in percent points: A, B, B - A and the interval, starred where it leaves out 0."""
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
    """Plain values: per metric A, B and B - A, its interval where there is one, and what was unlike."""
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


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hoi_jax.evaluation.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", type=Path, help="metrics.json of the first evaluation")
    parser.add_argument("b", type=Path, help="metrics.json of the second")
    parser.add_argument("--predictions-a", type=Path, help="predictions that A was made from")
    parser.add_argument("--predictions-b", type=Path, help="predictions that B was made from")
    parser.add_argument("--annotations", type=Path, help="label file of the split, with the predictions")
    parser.add_argument("--coco-instances", type=Path, nargs="+", default=(), help="with official V-COCO labels")
    parser.add_argument("--image-labels", type=Path, help="HICO's anno.mat, where the result used image-level labels")
    parser.add_argument("--split", default="test", help="of .mat label files (default: %(default)s)")
    parser.add_argument("--replicates", type=int, default=REPLICATES, help="draws of images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    parser.add_argument("--allow-unlike", action="store_true", help="compare although datasets or protocols differ")
    parser.add_argument("--out", type=Path, help="write the comparison as JSON")
    options = parser.parse_args(arguments)
    given = [options.predictions_a, options.predictions_b, options.annotations]
    if any(given) and not all(given):
        parser.error("--predictions-a, --predictions-b and --annotations go together")
    if not 0 < options.level < 1 or options.replicates < 2:
        parser.error("--level lies between 0 and 1, --replicates is at least 2")
    return options


def _draws(
    options: argparse.Namespace, first: EvaluationResult, second: EvaluationResult
) -> tuple[Resampled | None, str]:
    """(paired draws of B minus A or None, why there are none)."""
    if options.annotations:
        annotations = read_annotations(
            options.annotations,
            coco_instances=options.coco_instances,
            image_labels=options.image_labels,
            split=options.split,
        )
        for path, result in ((options.a, first), (options.b, second)):
            fingerprint = result.manifest.get("annotations_fingerprint", annotations.fingerprint)
            if fingerprint != annotations.fingerprint and not options.allow_unlike:
                raise ValueError(f"{path}: made with labels {fingerprint}, {options.annotations} has others")
        drawn = [
            resample_predictions(path, annotations, result, replicates=options.replicates, seed=options.seed)
            for path, result in ((options.predictions_a, first), (options.predictions_b, second))
        ]
        return difference(*drawn), ""
    carried = [stored_draws(result) for result in (first, second)]
    if carried[0] is None or carried[1] is None:
        return None, "no intervals: give --predictions-a, --predictions-b and --annotations"
    if first.manifest.get("annotations_fingerprint") != second.manifest.get("annotations_fingerprint"):
        return None, "no intervals: the draws are of different images"
    return difference(carried[0], carried[1]), ""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        first, second = read_result(options.a), read_result(options.b)
        reasons = unlike(first, second)
        if reasons and not options.allow_unlike:
            lines = "\n  ".join(reasons)
            raise ValueError(
                f"{options.a} and {options.b} are not alike (--allow-unlike compares all the same):\n  {lines}"
            )
        drawn, why_not = _draws(options, first, second)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = {} if drawn is None else intervals(drawn, level=options.level)
    for reason in reasons:
        print(f"unlike: {reason}")
    print(format_comparison(first, second, found, options.level))
    if why_not:
        print(why_not)
    if options.out:
        io.write_json_atomic(options.out, to_json(first, second, found, reasons, options.level))
    return 0


if __name__ == "__main__":
    sys.exit(main())
