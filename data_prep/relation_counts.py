"""Counts of annotated relations in a training split.

Verbs, pairs of a verb with an object class, HOI classes, and the table of the cascade's semantic feature X_s.
"""

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.annotations import Annotations
from hoi_jax.losses.elementwise import log_frequency_weights
from hoi_jax.systems.cascade.relation_features import count_background, count_relations
from hoi_jax.vocab import Vocabulary


def relation_rows(annotations: Annotations, vocabulary: Vocabulary) -> Int[np.ndarray, "rows 3"]:
    """Return (human, object, verb) of every annotated relation with an object.

    Humans and objects are row numbers of the whole `instances` table.
    """
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
    """Return the cascade's table X_s.

    Column 0 counts all pairs of a person box and a box of the object class, related or not, plus one, as in the
    authors' code; column 1 + v counts the relations with verb v.
    """
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


def verb_counts(annotations: Annotations, vocabulary: Vocabulary) -> Int[np.ndarray, " verbs"]:
    """Return the number of relations per verb, including those without an object."""
    if not vocabulary.actions or not len(annotations["persons_instance"]):
        return np.bincount(annotations["pairs_verb"], minlength=len(vocabulary.verbs))
    does = annotations["persons_actions"] == 1
    with_object = np.bincount(relation_rows(annotations, vocabulary)[:, 2], minlength=len(vocabulary.verbs))
    alone = [
        int(does[:, action].sum()) if role < 0 else 0
        for action, role in zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)
    ]
    return with_object + np.array(alone, np.int64)


def all_counts(annotations: Annotations, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Return all tables of `python -m data_prep.priors`, whose help describes them."""
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
