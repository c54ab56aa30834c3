"""Statistics of training labels that systems use, counted from a built dataset and saved beside it.

    python -m data_prep.priors NAME [--data-dir DIR] [--split train] [--check]

Writes `<data-dir>/NAME/priors_<split>.npz`, and does nothing where that file was counted from the same labels by the
same code (field `fingerprint`). Never count a test split.

    counts             [O, 1 + V] cascade's X_s: relations per object and verb; column 0 = pairs of boxes
                       (read by config.model.relation.prior=FILE, and the same as hoi_jax.commands.count_prior writes)
    verb_object        [V, O] annotated relations with a person (CALIPSO's L_v: at least `target_min_count` of them);
                       verb_object_valid: at least one (QPIC's mask of combinations that can occur)
    verb_counts        [V] relations of any object, none included; verb_weights: TIN's ln(N / n)
    hoi_counts         [C] relations per class; hoi_weights: TIN's ln(N / n). Empty without classes (V-COCO)

`--check` also says where the vocabulary's own table (published counts) differs from what was counted.
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

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.commands.count_prior import prior_counts, relation_rows
from hoi_jax.data.records import read_meta
from hoi_jax.losses.elementwise import log_frequency_weights
from hoi_jax.vocab import Vocabulary, get_vocabulary

VERSION = 1
"""Of the rules above: raised when a table changes its meaning."""


def verb_counts(annotations: Annotations, vocabulary: Vocabulary) -> np.ndarray:
    """[V] relations per verb, those without an object included."""
    if not vocabulary.actions or not len(annotations["persons_instance"]):
        return np.bincount(annotations["pairs_verb"], minlength=len(vocabulary.verbs))
    does = annotations["persons_actions"] == 1
    with_object = np.bincount(relation_rows(annotations, vocabulary)[:, 2], minlength=len(vocabulary.verbs))
    alone = [
        int(does[:, action].sum()) if role < 0 else 0
        for action, role in zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)
    ]
    return with_object + np.array(alone, np.int64)


def priors(annotations: Annotations, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """All tables of the module docstring."""
    rows = relation_rows(annotations, vocabulary)
    table = np.zeros((len(vocabulary.verbs), len(vocabulary.objects)), np.int64)
    np.add.at(table, (rows[:, 2], annotations["instances_class"][rows[:, 1]]), 1)
    hois = np.array([table[verb, obj] for verb, obj in vocabulary.hois], np.int64)
    verbs = verb_counts(annotations, vocabulary)
    return {
        "counts": prior_counts(annotations, vocabulary),
        "verb_object": table,
        "verb_object_valid": table > 0,
        "verb_counts": verbs,
        "verb_weights": log_frequency_weights(verbs) if verbs.sum() else np.zeros(0),
        "hoi_counts": hois,
        "hoi_weights": log_frequency_weights(hois) if hois.sum() else np.zeros(0),
    }


def fingerprint(annotations: Annotations, vocabulary: Vocabulary) -> str:
    """Of labels, class table and rules."""
    parts = (str(VERSION), annotations.fingerprint, vocabulary.name, repr(vocabulary.verbs), repr(vocabulary.hois))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cached_priors(directory: Path, split: str) -> tuple[Path, dict[str, np.ndarray], bool]:
    """The file, its tables, and whether they were counted now.

    Raises:
      io.DataError: no such build or split, or labels without relations.
    """
    meta = read_meta(directory)
    vocabulary = get_vocabulary(str(meta["pairs_vocabulary"] or meta["persons_vocabulary"]))
    source = directory / f"annotations_{split}.npz"
    if not source.is_file():
        known = sorted(path.stem.removeprefix("annotations_") for path in directory.glob("annotations_*.npz"))
        raise io.DataError(f"{directory}: no split {split!r}; there are {known}")
    annotations = Annotations.load(source)
    mark, path = fingerprint(annotations, vocabulary), directory / f"priors_{split}.npz"
    if path.is_file():
        found = io.read_npz(path)
        if str(found.get("fingerprint")) == mark:
            return path, found, False
    if not len(annotations["pairs_verb"]) and not len(annotations["persons_actions"]):
        raise io.DataError(f"{directory}: split {split!r} has no relations to count")
    found = {**priors(annotations, vocabulary), "fingerprint": np.array(mark)}
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **found)
    io.write_bytes_atomic(path, buffer.getvalue())
    return path, found, True


def differences(found: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> list[str]:
    """Differences between the vocabulary's stored tables and the counted ones, one text each."""
    texts = []
    if vocabulary.hois and vocabulary.train_counts:
        published = np.asarray(vocabulary.train_counts)
        for number in np.flatnonzero(published != found["hoi_counts"]):
            verb, obj = vocabulary.hois[number]
            name = f"{vocabulary.verbs[verb]} {vocabulary.objects[obj]}"
            texts.append(f"{name}: {found['hoi_counts'][number]} counted, {published[number]} in the class table")
    stray = found["verb_object_valid"] & ~vocabulary.verb_object_mask
    for verb, obj in np.argwhere(stray):
        texts.append(f"{vocabulary.verbs[verb]} {vocabulary.objects[obj]}: annotated, not in the class table")
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.priors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="as built, for example vcoco or hico_det/labels")
    parser.add_argument("--data-dir", "--data_dir", default="data", help="where built datasets are (default: data)")
    parser.add_argument("--split", default="train", help="split to count (default: train)")
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
