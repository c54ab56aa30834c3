"""Transfer interactiveness scores from one prediction file to the pairs of another.

    python -m hoi_jax.commands.transfer_interactiveness verbs.npz interactiveness.npz --out joined.npz \\
        [--calibration calibration.json]

Body-part's verb network and interactiveness network are two sets of weights (ECCV 2022), TIN's P is trained
separately, and either can score the pairs of any detector. A pair takes the scores of the pair of the same image with
the largest min(IoU_human, IoU_object). With a calibration (`nis_thresholds`), suppression is applied as well.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hoi_jax.evaluation.postprocess.suppression import apply_thresholds, read_calibration
from hoi_jax.evaluation.postprocess.transfer import transfer_interactiveness
from hoi_jax.predictions import load_predictions
from hoi_jax.vocab import get_vocabulary


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, help="predictions with verb scores (npz)")
    parser.add_argument("interactiveness", type=Path, help="predictions with interactiveness scores (npz)")
    parser.add_argument("--out", type=Path, required=True, help="prediction file to write")
    parser.add_argument("--calibration", type=Path, help="thresholds per HOI class for suppression")
    options = parser.parse_args(arguments)
    try:
        joined = transfer_interactiveness(
            load_predictions(options.predictions), load_predictions(options.interactiveness)
        )
        before = len(joined.triplet_pair)
        if options.calibration:
            vocabulary = get_vocabulary(joined.vocabulary_name)
            joined = apply_thresholds(joined, read_calibration(options.calibration, vocabulary), vocabulary)
        joined.save(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    unknown = int(np.isnan(joined.pair_interactiveness).sum())
    kept = f"{len(joined.triplet_pair)} of {before} verb scores kept"
    print(f"{options.out}: {len(joined.pair_image)} pairs, {unknown} without a score, {kept}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
