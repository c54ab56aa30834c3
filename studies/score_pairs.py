"""Score the pairs of one system with another (Table 4 of body-part: iCAN on its pairs).

    python -m studies.score_pairs --pairs runs/body1/predictions_test.npz --argument runs/tin \\
        --dataset data/hoi_scenes/small --split test --out joined.npz
    python evaluate.py --predictions joined.npz --annotations data/hoi_scenes/small/annotations_test.npz

The scorer is TIN or iCAN from a workdir, or any other MODULE:FUNCTION, which is called with --argument and returns a
function score_pairs(image, human_boxes, object_boxes, object_labels) -> [pairs, verbs]
(`hoi_jax.evaluation.postprocess.rescore`).
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np

from hoi_jax.evaluation.postprocess.rescore import FACTORS, ScorePairs, load_scorer, rescored
from hoi_jax.predictions import load_predictions
from hoi_jax.vocab import get_vocabulary


def images_of(dataset: Path, split: str) -> Iterator[tuple[int, np.ndarray]]:
    """(image number, image) of every record of a built split, one at a time."""
    from hoi_jax.data.pixels import decode_rgb
    from hoi_jax.data.records import RecordFiles

    files = RecordFiles(dataset, split)
    for serialized in files.serialized():
        example = files.parse(serialized)
        number = int(example["image_id"])
        yield number, decode_rgb(example["image"].numpy(), f"{dataset}: image {number}")


def tin(workdir: str) -> ScorePairs:
    """Scorer from the best checkpoint of a training run of TIN or iCAN."""
    from hoi_jax.systems.tin.score_pairs import pair_scorer
    from hoi_jax.training import load_for_evaluation

    variables, text, _ = load_for_evaluation(Path(workdir), "best")
    config = json.loads(text)
    if config["system"] != "tin":
        raise ValueError(f"{workdir}: is a run of {config['system']!r}, expected 'tin'")
    return pair_scorer(config["model"], get_vocabulary(config["dataset"]["vocabulary"]), variables)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="predictions (npz) with the pairs to score")
    parser.add_argument("--scorer", default="studies.score_pairs:tin", metavar="MODULE:FUNCTION")
    parser.add_argument("--argument", default="", help="argument of FUNCTION, for example a workdir")
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the built dataset")
    parser.add_argument("--split", default="test", help="(default: %(default)s)")
    parser.add_argument("--min-interactiveness", type=float, default=0.0, help="leave out pairs below it")
    parser.add_argument("--max-per-image", type=int, help="maximum number of pairs per image, most interactive first")
    parser.add_argument("--factors", nargs="*", choices=FACTORS, default=["object_score"], help="multiplied in")
    parser.add_argument("--out", type=Path, required=True, help="npz to write")
    options = parser.parse_args(arguments)
    try:
        predictions = load_predictions(options.pairs)
        verbs = len(get_vocabulary(predictions.vocabulary_name).verbs)
        joined = rescored(
            predictions, images_of(options.dataset, options.split), load_scorer(options.scorer, options.argument),
            num_verbs=verbs, factors=tuple(options.factors), min_interactiveness=options.min_interactiveness,
            max_per_image=options.max_per_image,
        )  # fmt: skip
        joined.save(options.out)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{options.out}: {int(joined.pair_nis_keep.sum())} of {len(joined.pair_nis_keep)} pairs, "
        f"{len(joined.triplet_pair)} verbs"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
