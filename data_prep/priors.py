"""Count the statistics of training labels that systems use, and save them in the folder of a built dataset.

    python -m data_prep.priors NAME [--data-dir DIR] [--split train] [--check]

Writes `<data-dir>/NAME/priors_<split>.npz`, unless that file was counted from the same labels by the same code (field
`fingerprint`). Never count images that are scored: where a part of the training split is for validation, count the
other part, such as train:ablation_train.

    counts             [O, 1 + V] cascade's X_s: relations per object and verb; column 0 = pairs of boxes
                       (read by config.model.relation.prior=FILE)
    verb_object        [V, O] annotated relations with a person (CALIPSO's L_v: at least `target_min_count` of them);
                       verb_object_valid: at least one (QPIC's mask of possible combinations)
    verb_counts        [V] relations with any object or none; verb_weights: TIN's ln(N / n)
    hoi_counts         [C] relations per class; hoi_weights: TIN's ln(N / n). Empty without classes (V-COCO)

`--check` also prints the differences between the vocabulary's table (published counts) and the new counts.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np

from data_prep.relation_counts import all_counts
from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.data.records import base_and_part, part_mask, read_meta
from hoi_jax.vocab import Vocabulary, get_vocabulary

VERSION = 1
"""Version of the rules above, increased when the meaning of a table changes."""


def fingerprint(annotations: Annotations, vocabulary: Vocabulary) -> str:
    """Fingerprint of labels, class table and rules."""
    parts = (str(VERSION), annotations.fingerprint, vocabulary.name, repr(vocabulary.verbs), repr(vocabulary.hois))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cached_priors(directory: Path, split: str) -> tuple[Path, dict[str, np.ndarray], bool]:
    """(file, its tables, whether they were newly counted).

    Raises:
      io.DataError: build or split do not exist, or the labels have no relations.
    """
    meta = read_meta(directory)
    vocabulary = get_vocabulary(str(meta["pairs_vocabulary"] or meta["persons_vocabulary"]))
    base, part = base_and_part(split)
    source = directory / f"annotations_{base}.npz"
    if not source.is_file():
        known = sorted(path.stem.removeprefix("annotations_") for path in directory.glob("annotations_*.npz"))
        raise io.DataError(f"{directory}: no split {base!r}; there are {known}")
    annotations = Annotations.load(source)
    if part:
        annotations = annotations.select(part_mask(split, annotations.num_images))
    mark, path = fingerprint(annotations, vocabulary), directory / f"priors_{split.replace(':', '_')}.npz"
    if path.is_file():
        found = io.read_npz(path)
        if str(found.get("fingerprint")) == mark:
            return path, found, False
    if not len(annotations["pairs_verb"]) and not len(annotations["persons_actions"]):
        raise io.DataError(f"{directory}: split {split!r} has no relations to count")
    found = {**all_counts(annotations, vocabulary), "fingerprint": np.array(mark)}
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **found)
    io.write_bytes_atomic(path, buffer.getvalue())
    return path, found, True


def differences(found: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> list[str]:
    """Descriptions of the differences between the vocabulary's tables and the counted ones."""
    texts = []
    if vocabulary.hois and vocabulary.train_counts:
        published = np.asarray(vocabulary.train_counts)
        for number in np.flatnonzero(published != found["hoi_counts"]):
            verb, obj = vocabulary.hois[number]
            name = f"{vocabulary.verbs[verb]} {vocabulary.objects[obj]}"
            texts.append(f"{name}: {found['hoi_counts'][number]} counted, {published[number]} in the class table")
    stray = found["verb_object_valid"] & ~vocabulary.verb_object_mask
    for verb, obj in np.argwhere(stray):
        texts.append(f"{vocabulary.verbs[verb]} {vocabulary.objects[obj]}: annotated, but not in the class table")
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.priors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="built dataset, for example vcoco or hico_det/labels")
    parser.add_argument("--data-dir", "--data_dir", default="data", help="folder of built datasets (default: data)")
    parser.add_argument(
        "--split",
        default="train",
        help="split to count, or a part of one, such as train:ablation_train (default: train)",
    )
    parser.add_argument("--check", action="store_true", help="compare with the class table")
    options = parser.parse_args(arguments)
    try:
        directory = Path(options.data_dir) / options.name
        path, found, fresh = cached_priors(directory, options.split)
        meta = read_meta(directory)
        vocabulary = get_vocabulary(str(meta["pairs_vocabulary"] or meta["persons_vocabulary"]))
        texts = differences(found, vocabulary) if options.check else []
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    state = "counted" if fresh else "as before"
    seen = int(found["verb_object_valid"].sum())
    print(f"{path}: {state}, {int(found['verb_counts'].sum())} relations, {seen} combinations of verb and object")
    for text in texts[:20]:
        print(f"  {text}")
    if options.check:
        print(f"{len(texts)} differences from the class table of {vocabulary.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
