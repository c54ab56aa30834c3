"""Counts which verbs go with which objects in a built training split, for the cascade's semantic feature X_s.

    python -m hoi_jax.commands.count_prior --annotations annotations_trainval.npz --vocabulary vcoco --out prior.npz
    python train.py --config configs/cascade_vcoco.py --config.model.relation.prior=prior.npz ...

Column 0 counts pairs of boxes without regard to a relation, as the authors' code does. Never count images that are
scored: `--part` counts a part of a training split, where the other one is for validation.
"""

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.data.records import PARTS, part_mask
from hoi_jax.systems.cascade.relation_features import count_background, count_relations
from hoi_jax.vocab import Vocabulary, get_vocabulary


def relation_rows(annotations: Annotations, vocabulary: Vocabulary) -> Int[np.ndarray, "rows 3"]:
    """(human, object, verb) of all annotated relations with an object; rows of the whole `instances` table."""
    if not vocabulary.actions or not len(annotations["persons_instance"]):
        human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
        rows = np.stack([human, obj, annotations["pairs_verb"].astype(np.int64)], axis=1)
        return rows[obj >= 0]
    human, roles = annotations.instance_rows("persons_instance"), annotations.instance_rows("persons_roles")
    does = annotations["persons_actions"] == 1
    parts = []
    for verb, (action, role) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)):
        if role >= 0:
            person = np.flatnonzero(does[:, action] & (roles[:, action, role] >= 0))
            parts.append(np.stack([human[person], roles[person, action, role], np.full(len(person), verb)], axis=1))
    return np.concatenate(parts)


def prior_counts(annotations: Annotations, vocabulary: Vocabulary) -> Float[np.ndarray, "objects columns"]:
    """Per object class: pairs of boxes with a person plus one, then relations with a person per verb."""
    rows = relation_rows(annotations, vocabulary)
    classes, boxes = annotations["instances_class"].astype(np.int64), annotations["instances_xyxy_px"]
    image = annotations.image_rows("instances")
    triplets = np.stack([classes[rows[:, 0]], classes[rows[:, 1]], rows[:, 2]], axis=1)
    objects = len(vocabulary.objects)
    table = count_relations(triplets, objects, len(vocabulary.verbs))
    members = np.unique(rows[:, :2])
    images = []
    for number in np.unique(image[members]):
        own = members[image[members] == number]
        distinct = np.unique(np.concatenate([boxes[own], classes[own, None]], axis=1), axis=0)
        images.append((distinct[:, :4], distinct[:, 4].astype(np.int64)))
    table[:, :, 0] = count_background(images, objects) + 1
    return table[vocabulary.human_class].astype(np.float64)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=Path, required=True, help="annotations_<split>.npz of a built dataset")
    parser.add_argument("--part", choices=PARTS, help="only this part of a file of the split train (`data.sampling`)")
    parser.add_argument("--vocabulary", required=True, help="as in the config's dataset.vocabulary")
    parser.add_argument("--out", type=Path, required=True, help="npz file to write")
    options = parser.parse_args(arguments)
    try:
        annotations = Annotations.load(options.annotations)
        if options.part:
            annotations = annotations.select(part_mask(f"train:{options.part}", annotations.num_images))
        counts = prior_counts(annotations, get_vocabulary(options.vocabulary))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, counts=counts)
    io.write_bytes_atomic(options.out, buffer.getvalue())
    print(f"{options.out}: {int(counts[:, 1:].sum())} relations of {(counts[:, 1:].sum(1) > 0).sum()} object classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
