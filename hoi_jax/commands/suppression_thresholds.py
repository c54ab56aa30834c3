"""Fit thresholds of non-interaction suppression per HOI class on held-out training images.

    python -m hoi_jax.commands.suppression_thresholds joined_val.npz annotations_val.npz --out calibration.json

The body-part paper keeps a pair in the ranking of a class if its interactiveness exceeds that class's threshold; its
600 thresholds are not public. Here each is the candidate with the best AP of the class; 0 suppresses nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.postprocess.suppression import fit_thresholds, write_calibration
from hoi_jax.predictions import load_predictions
from hoi_jax.vocab import get_vocabulary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, help="predictions with verb scores and interactiveness (npz)")
    parser.add_argument("annotations", type=Path, help="annotations_<split>.npz of images outside the training set")
    parser.add_argument(
        "--split", default="val", help="name of that split, recorded in the file (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="calibration.json to write")
    options = parser.parse_args(arguments)
    try:
        predictions, annotations = load_predictions(options.predictions), Annotations.load(options.annotations)
        vocabulary = get_vocabulary(predictions.vocabulary_name)
        thresholds = fit_thresholds(predictions, annotations, vocabulary)
        write_calibration(options.out, thresholds, predictions, options.split, vocabulary)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {int((thresholds > 0).sum())} of {len(thresholds)} classes have a threshold above 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
