"""Targets of relation heads: pairs of boxes that match annotated pairs, and their verbs."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import iou
from hoi_jax.system import Batch
from hoi_jax.vocab.tables import Vocabulary


class PairLabels(NamedTuple):
    """Labels of P pairs of boxes: `verbs`, `known` [P, V], and `annotated` [P], which match an annotated pair."""

    verbs: Bool[Array, "pairs verbs"]
    known: Bool[Array, "pairs verbs"]
    annotated: Bool[Array, " pairs"]


def pair_labels(
    human_xyxy: Float[ArrayLike, "pairs 4"],
    object_xyxy: Float[ArrayLike, "pairs 4"],
    human_class: Int[ArrayLike, " pairs"],
    object_class: Int[ArrayLike, " pairs"],
    truth_human_xyxy: Float[ArrayLike, "truth 4"],
    truth_object_xyxy: Float[ArrayLike, "truth 4"],
    truth_human_class: Int[ArrayLike, " truth"],
    truth_object_class: Int[ArrayLike, " truth"],
    truth_valid: Bool[ArrayLike, " truth"],
    truth_verbs: Bool[ArrayLike, "truth verbs"],
    truth_known: Bool[ArrayLike, "truth verbs"],
    *,
    overlap: float,
) -> PairLabels:
    """Label pairs of boxes by the annotated pairs that they match.

    A pair matches an annotated one if both boxes have its classes and at least IoU `overlap` with its boxes. Its verbs
    are the union over *all* annotated pairs that it matches, so near duplicates share them, as in the paper. A verb is
    unknown if it is not positive and is unlabelled in a matched annotated pair.
    """
    rows, columns = human_xyxy.shape[0], truth_human_xyxy.shape[0]

    def reach(a: ArrayLike, b: ArrayLike) -> Array:
        shape = (rows, columns, 4)
        return iou(jnp.broadcast_to(a[:, None], shape), jnp.broadcast_to(b[None], shape)) >= overlap

    hit = reach(human_xyxy, truth_human_xyxy) & reach(object_xyxy, truth_object_xyxy)
    hit &= human_class[:, None] == truth_human_class[None]
    hit &= object_class[:, None] == truth_object_class[None]
    hit &= truth_valid[None]
    # Sums of zeros and ones are positive or zero exactly in any precision, and no array [P, truth, V] is formed.
    shown = hit.astype(jnp.float32)
    verbs = shown @ truth_verbs.astype(jnp.float32) > 0
    doubtful = shown @ (~truth_known).astype(jnp.float32) > 0
    return PairLabels(verbs, verbs | ~doubtful, jnp.any(hit, axis=1))


def with_reversed(
    example: Batch, reversed_verbs: Sequence[tuple[str, str]], vocabulary: Vocabulary
) -> dict[str, Array]:
    """Add a second row for every pair of an image with the roles exchanged, for objects that are people.

    Rows without a reversible verb are not valid. Labels are unions over rows, so pairs annotated in both directions do
    not count twice.

    Raises:
      ValueError: a verb is not in the vocabulary.
    """
    swap = np.zeros((len(vocabulary.verbs), len(vocabulary.verbs)), np.float32)
    for first, second in reversed_verbs:
        for verb in (first, second):
            if verb not in vocabulary.verbs:
                raise ValueError(f"reversed_verbs contains {verb!r}, but {vocabulary.name} has no such verb")
        a, b = vocabulary.verbs.index(first), vocabulary.verbs.index(second)
        swap[a, b] = swap[b, a] = 1.0
    human, obj = example["pairs_human"], example["pairs_object"]
    said = example["pairs_verbs"].astype(jnp.float32) @ swap > 0
    person = (obj >= 0) & (example["instances_class"][jnp.maximum(obj, 0)] == vocabulary.human_class)
    second = {
        "pairs_human": jnp.maximum(obj, 0), "pairs_object": human, "pairs_verbs": said,
        "pairs_verbs_known": jnp.ones_like(example["pairs_verbs_known"]),
        "pairs_valid": example["pairs_valid"] & person & jnp.any(said, axis=-1),
    }  # fmt: skip
    both = {name: jnp.concatenate([example[name], rows.astype(example[name].dtype)]) for name, rows in second.items()}
    return {**example, **both}


def labels_of_image(
    example: Batch,
    human_xyxy: Float[Array, "pairs 4"],
    object_xyxy: Float[Array, "pairs 4"],
    object_class: Int[Array, " pairs"],
    vocabulary: Vocabulary,
    *,
    overlap: float,
) -> PairLabels:
    """`pair_labels` of the annotated pairs of one image; annotated pairs without an object box are ignored.

    If the vocabulary has a verb for "no interaction", pairs that match no annotated pair get it, and pairs with that
    verb alone count as not annotated, because ranking separates pairs that interact from the others.
    """
    human, obj = jnp.maximum(example["pairs_human"], 0), jnp.maximum(example["pairs_object"], 0)
    boxes, classes = example["instances_xyxy_px"], example["instances_class"]
    people = jnp.full(human_xyxy.shape[0], vocabulary.human_class, classes.dtype)
    found = pair_labels(
        human_xyxy, object_xyxy, people, object_class, boxes[human], boxes[obj], classes[human], classes[obj],
        example["pairs_valid"] & (example["pairs_object"] >= 0), example["pairs_verbs"], example["pairs_verbs_known"],
        overlap=overlap,
    )  # fmt: skip
    if vocabulary.no_interaction < 0:
        return found
    nothing = jnp.arange(found.verbs.shape[1]) == vocabulary.no_interaction
    interacts = jnp.any(found.verbs & ~nothing[None], axis=1)
    return PairLabels(found.verbs | (~found.annotated[:, None] & nothing[None]), found.known, interacts)
