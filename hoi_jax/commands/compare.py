"""Compare two results: differences of their metrics, with confidence intervals.

    python -m hoi_jax.commands.compare A.json B.json
    python -m hoi_jax.commands.compare A.json B.json \\
        --predictions-a a.npz --predictions-b b.npz --annotations annotations_test.npz

Differences are B minus A. Intervals come from a paired bootstrap over images: both sets of predictions are scored on
the same draws. The draws are made from the predictions, or taken from the results if they have them
(`manifest.bootstrap`). Results of different datasets, splits or protocols are refused with a list of the differences.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hoi_jax import io
from hoi_jax.evaluation.analysis.bootstrap import (
    REPLICATES,
    Resampled,
    difference,
    intervals,
)
from hoi_jax.evaluation.analysis.compare import (
    format_comparison,
    protocol_mismatches,
    resample_predictions,
    stored_draws,
    to_json,
)
from hoi_jax.evaluation.metrics.result import EvaluationResult, read_result
from hoi_jax.formats.labels.detect import read_annotations


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hoi_jax.commands.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", type=Path, help="metrics.json of the first evaluation")
    parser.add_argument("b", type=Path, help="metrics.json of the second evaluation")
    parser.add_argument("--predictions-a", type=Path, help="predictions behind A")
    parser.add_argument("--predictions-b", type=Path, help="predictions behind B")
    parser.add_argument("--annotations", type=Path, help="label file of the split, needed with predictions")
    parser.add_argument(
        "--coco-instances", type=Path, nargs="+", default=(), help="COCO's instances_*.json, for official V-COCO labels"
    )
    parser.add_argument("--image-labels", type=Path, help="HICO's anno.mat, where the result used image-level labels")
    parser.add_argument("--split", default="test", help="split in .mat label files (default: %(default)s)")
    parser.add_argument(
        "--replicates", type=int, default=REPLICATES, help="number of bootstrap draws (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: %(default)s)")
    parser.add_argument(
        "--level", type=float, default=0.95, help="confidence level of the intervals (default: %(default)s)"
    )
    parser.add_argument("--allow-unlike", action="store_true", help="compare even if datasets or protocols differ")
    parser.add_argument("--out", type=Path, help="write the comparison as JSON")
    options = parser.parse_args(arguments)
    given = [options.predictions_a, options.predictions_b, options.annotations]
    if any(given) and not all(given):
        parser.error("--predictions-a, --predictions-b and --annotations go together")
    if not 0 < options.level < 1 or options.replicates < 2:
        parser.error("--level must be between 0 and 1, --replicates at least 2")
    return options


def _draws(
    options: argparse.Namespace, first: EvaluationResult, second: EvaluationResult
) -> tuple[Resampled | None, str]:
    """(paired draws of B minus A or None, reason for their absence)."""
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
                raise ValueError(f"{path}: was made with labels {fingerprint}; those of {options.annotations} differ")
        drawn = [
            resample_predictions(path, annotations, result, replicates=options.replicates, seed=options.seed)
            for path, result in ((options.predictions_a, first), (options.predictions_b, second))
        ]
        return difference(*drawn), ""
    carried = [stored_draws(result) for result in (first, second)]
    if carried[0] is None or carried[1] is None:
        return None, "no intervals: give --predictions-a, --predictions-b and --annotations"
    if first.manifest.get("annotations_fingerprint") != second.manifest.get("annotations_fingerprint"):
        return None, "no intervals: the two results have draws of different images"
    return difference(carried[0], carried[1]), ""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        first, second = read_result(options.a), read_result(options.b)
        reasons = protocol_mismatches(first, second)
        if reasons and not options.allow_unlike:
            lines = "\n  ".join(reasons)
            raise ValueError(
                f"{options.a} and {options.b} are not comparable (--allow-unlike compares them anyway):\n  {lines}"
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
