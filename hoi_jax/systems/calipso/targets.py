"""Targets of the foreground anchors of an image: verbs, target presence and links."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.anchors import assign_anchors, choose_foreground
from hoi_jax.system import Batch
from hoi_jax.systems.calipso.config import LossConfig
from hoi_jax.vocab.tables import Vocabulary


def connected_components(
    linked: Bool[Array, "*batch nodes nodes"], present: Bool[Array, "*#batch nodes"]
) -> Int[Array, "*batch nodes"]:
    """Label nodes by the smallest member of their component; -1 for absent nodes, whose links are ignored.

    Links are undirected. The transitive closure is computed by squaring the adjacency matrix ceil(log2(nodes)) times,
    which doubles the length of paths each time.

    >>> linked = jnp.zeros((4, 4), bool).at[0, 2].set(True)
    >>> connected_components(linked, jnp.array([True, True, True, False])).tolist()
    [0, 1, 0, -1]
    """
    nodes = linked.shape[-1]
    both = present[..., :, None] & present[..., None, :]
    same = jnp.eye(nodes, dtype=bool).reshape((1,) * (linked.ndim - 2) + (nodes, nodes))
    reach = ((linked | jnp.swapaxes(linked, -1, -2)) | same) & both
    for _ in range(max(nodes - 1, 1).bit_length()):
        steps = reach.astype(jnp.float32)
        # A sum of zeros and ones with any one is above zero in any precision.
        reach = jnp.matmul(steps, steps, precision=jax.lax.Precision.DEFAULT) > 0
    return jnp.where(present, jnp.argmax(reach, axis=-1), -1)


class InstanceLabels(NamedTuple):
    """Labels of the B instances of one image, [B, 2, V] per half (0 active, 1 passive), and links [V, B, B].

    Attributes:
      verbs: the instance does the verb (active), or the verb is done to it (passive).
      known: whether the verb is labelled.
      present: the instance's partner in the verb has a box.
      linked: the person (second axis) does the verb to the object (third axis).
    """

    verbs: Bool[Array, "instances halves verbs"]
    known: Bool[Array, "instances halves verbs"]
    present: Bool[Array, "instances halves verbs"]
    linked: Bool[Array, "verbs instances instances"]


class Targets(NamedTuple):
    """Targets of one image with K chosen foreground anchors and B instances (mapping adds a batch axis in front).

    Attributes:
      anchor: [K] index of the anchor; used: [K] False for padding.
      instance: [K] row of the instance, -1 if unused.
      verbs, verbs_known, present, present_known: [K, 2, V], see `InstanceLabels`.
      class_of_instance: [V, B] equivalence class, -1 for instances without an anchor.
      target_like: [V, B] the instance's class is a usual target of the verb.
      row: [total] instance of every anchor, -1 = background.
    """

    anchor: Int[Array, " chosen"]
    used: Bool[Array, " chosen"]
    instance: Int[Array, " chosen"]
    verbs: Bool[Array, "chosen halves verbs"]
    verbs_known: Bool[Array, "chosen halves verbs"]
    present: Bool[Array, "chosen halves verbs"]
    present_known: Bool[Array, "chosen halves verbs"]
    class_of_instance: Int[Array, "verbs instances"]
    target_like: Bool[Array, "verbs instances"]
    row: Int[Array, " total"]


def usual_targets(vocabulary: Vocabulary, min_count: int) -> Bool[np.ndarray, "verbs objects"]:
    """L_v of Eq. 8: the usual object classes of each verb, from the vocabulary's training counts or list of classes.

    A person counts only if people are targets of the verb; verbs without object have no targets.
    """
    mask = vocabulary.verb_object_mask.copy()
    if vocabulary.train_counts:
        counts = np.asarray(vocabulary.train_counts)[np.maximum(vocabulary.hoi_table, 0)]
        mask &= counts >= min_count
    if vocabulary.verb_role:
        mask &= (np.asarray(vocabulary.verb_role) >= 0)[:, None]
    return mask


def instance_labels(example: Batch, vocabulary: Vocabulary) -> InstanceLabels:
    """Labels of all instances from the pairs (and, in action style, the `persons` table) of one image.

    A pair without an object box labels the person's verb, with an absent target.
    """
    rows = jnp.arange(example["instances_valid"].shape[0])
    valid, has_object = example["pairs_valid"], example["pairs_valid"] & (example["pairs_object"] >= 0)
    human = (example["pairs_human"][:, None] == rows[None]) & valid[:, None]  # [P, B]
    obj = (example["pairs_object"][:, None] == rows[None]) & has_object[:, None]
    verbs = example["pairs_verbs"] & valid[:, None]

    def gathered(owner: ArrayLike, values: ArrayLike) -> Array:
        """Any over the owner's pairs, [B, V]; sums of zeros and ones with any one are above zero in any precision."""
        return jnp.einsum("pb,pv->bv", owner.astype(jnp.float32), values.astype(jnp.float32)) > 0

    active, passive = gathered(human, verbs), gathered(obj, verbs)
    visible = gathered(human & has_object[:, None], verbs)
    doubtful = ~example["pairs_verbs_known"] & valid[:, None]
    active_known = active | ~gathered(human, doubtful)
    if vocabulary.actions:
        active_known &= active | _labelled(example, vocabulary)
    passive_known = passive | ~gathered(obj, doubtful)
    both = human[:, :, None] & obj[:, None, :] & (rows[:, None] != rows[None])[None]
    linked = jnp.einsum("phb,pv->vhb", both.astype(jnp.float32), verbs.astype(jnp.float32)) > 0
    return InstanceLabels(
        verbs=jnp.stack([active, passive], axis=1),
        known=jnp.stack([active_known, passive_known], axis=1),
        present=jnp.stack([visible, passive], axis=1),
        linked=linked,
    )


def _labelled(example: Batch, vocabulary: Vocabulary) -> Bool[Array, "instances verbs"]:
    """Verbs that are labelled: all for objects, which do nothing; for people those that annotators considered."""
    rows = jnp.arange(example["instances_valid"].shape[0])
    owner = (example["persons_instance"][None] == rows[:, None]) & example["persons_valid"][None]  # [B, N]
    actions = example["persons_actions"][:, np.asarray(vocabulary.verb_action)] >= 0  # [N, V]
    said = jnp.any(owner[:, :, None] & actions[None], axis=1)
    return said | (example["instances_class"] != vocabulary.human_class)[:, None]


def make_targets(
    example: Batch, anchors: Array, usable: Array, vocabulary: Vocabulary, config: LossConfig, halves: int
) -> Targets:
    """Assign anchors and compute labels and equivalence classes of one image (fields without batch axis)."""
    box_valid = example["instances_valid"]
    row, overlap = assign_anchors(
        anchors, example["instances_xyxy_px"], usable, box_valid, overlap=config.overlap, force_best=config.force_best
    )
    anchor, used = choose_foreground(row, overlap, config.max_foreground)
    instance = jnp.where(used, row[anchor], -1)
    labels = instance_labels(example, vocabulary)
    at = jnp.maximum(instance, 0)

    def of_anchor(table: Array) -> Array:
        return jnp.take(table[:, :halves], at, axis=0)

    present_known = labels.known
    if config.target_mask == "performed_only":
        present_known = present_known & labels.verbs
    owns = jnp.any(instance[:, None] == jnp.arange(box_valid.shape[0])[None], axis=0)
    usual = jnp.asarray(usual_targets(vocabulary, config.min_count))
    return Targets(
        anchor=anchor,
        used=used,
        instance=instance,
        verbs=of_anchor(labels.verbs),
        verbs_known=of_anchor(labels.known) & used[:, None, None],
        present=of_anchor(labels.present),
        present_known=of_anchor(present_known) & used[:, None, None],
        class_of_instance=connected_components(labels.linked, owns[None]),
        target_like=jnp.take(usual, example["instances_class"], axis=1),
        row=row,
    )
