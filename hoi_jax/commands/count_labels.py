"""Count negatives per positive of every class in a built training split: the weights of the weighted cross-entropy.

    python -m hoi_jax.commands.count_labels --annotations data/hico/annotations_train.npz --oversample-to 40 \
        --out weights/positive_weights.npz
    python train.py --config configs/defr_hico.py:loss=weighted_bce --workdir runs/defr_hico_wbce

The authors count over the images of an epoch including copies of oversampled ones (Table 7), so --oversample-to (and
--skip-single, for their release) should be those of the run. Ambiguous labels count as negative.
"""

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.data.sampling import copies_of_examples
from hoi_jax.systems.defr.targets import KEY, class_weights
from hoi_jax.vocab import get_vocabulary


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="annotations_<split>.npz of a built dataset")
    parser.add_argument("--vocabulary", default="hico_det", help="vocabulary of the labels (default: %(default)s)")
    parser.add_argument("--oversample-to", type=int, default=0, help="the run's pipeline.oversample_to")
    parser.add_argument("--skip-single", action="store_true", help="the run's pipeline.oversample_skip_single")
    parser.add_argument("--out", type=Path, required=True, help="npz file to write")
    options = parser.parse_args(arguments)
    try:
        classes = len(get_vocabulary(options.vocabulary).hois)
        labels = Annotations.load(options.annotations).image_labels(classes)
        if labels is None:
            raise io.DataError(f"{options.annotations}: has no image-level labels to count")
        copies = None
        if options.oversample_to:
            copies = copies_of_examples(labels, options.oversample_to, skip_single=options.skip_single)
        weights = np.asarray(class_weights(labels, copies), np.float32)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    data = BytesIO()
    np.savez(data, allow_pickle=False, **{KEY: weights})
    io.write_bytes_atomic(options.out, data.getvalue())
    shown = len(labels) if copies is None else int(copies.sum())
    print(f"{options.out}: {len(weights)} classes over {shown} images, {weights.min():.1f} to {weights.max():.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
