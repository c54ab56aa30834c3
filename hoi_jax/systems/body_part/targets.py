"""What the queries of an image are matched to, from the batch's tables."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.ops.boxes import xyxy_to_cxcywh
from hoi_jax.system import Batch
from hoi_jax.systems.body_part.config import LossConfig
from hoi_jax.vocab.tables import Vocabulary


class Targets(NamedTuple):
    """Annotated pairs; B images, T pairs, V verbs.

    Attributes:
      human_cxcywh, object_cxcywh: [B, T, 4] relative to the unpadded picture; zeros for an absent object.
      object_class: [B, T]; an absent object has the class behind the vocabulary's last one.
      has_object: [B, T].
      verbs, verbs_known: [B, T, V].
      interactive: [B, T] whether the pair counts as interactive.
      part_states: [B, T, 6] 1 acts, 0 does not, -1 unknown.
      valid: [B, T] the pair exists.
    """

    human_cxcywh: Array
    object_cxcywh: Array
    object_class: Array
    has_object: Array
    verbs: Array
    verbs_known: Array
    interactive: Array
    part_states: Array
    valid: Array


def has_absent_class(vocabulary: Vocabulary) -> bool:
    """Whether pairs without an object are predicted as a class of their own (V-COCO)."""
    return bool(vocabulary.actions)


def _relative(boxes_xyxy_px: Float[Array, "batch pairs 4"], image_hw_px: Array, exists: Bool[Array, "batch pairs"]):
    size = image_hw_px[:, None, ::-1].astype(jnp.float32)
    relative = xyxy_to_cxcywh(boxes_xyxy_px) / jnp.concatenate([size, size], axis=-1)
    return jnp.where(exists[..., None], relative, 0.0)


def pair_targets(batch: Batch, vocabulary: Vocabulary, config: LossConfig) -> Targets:
    """Targets of a batch. In HOI style a pair without an object is no target."""
    human, obj = batch["pairs_human"], batch["pairs_object"]
    has_object = obj >= 0
    valid = batch["pairs_valid"] & batch["batch_valid"][:, None] & (human >= 0)
    if not has_absent_class(vocabulary):
        valid = valid & has_object

    def rows(table: Array, index: Array) -> Array:
        index = jnp.maximum(index, 0)
        return jnp.take_along_axis(table, index.reshape((*index.shape, *(1,) * (table.ndim - 2))), axis=1)

    boxes, hw = batch["instances_xyxy_px"], batch["image_hw_px"]
    verbs = batch["pairs_verbs"] & valid[..., None]
    interactive = valid
    if config.no_interaction_negative and vocabulary.no_interaction >= 0:
        real = np.arange(len(vocabulary.verbs)) != vocabulary.no_interaction
        interactive = jnp.any(verbs & real[None, None], axis=-1)
    states = batch.get("pairs_part_states")
    return Targets(
        human_cxcywh=_relative(rows(boxes, human), hw, valid),
        object_cxcywh=_relative(rows(boxes, obj), hw, valid & has_object),
        object_class=jnp.where(has_object, rows(batch["instances_class"], obj), len(vocabulary.objects)),
        has_object=has_object & valid,
        verbs=verbs,
        verbs_known=batch["pairs_verbs_known"],
        interactive=interactive,
        part_states=jnp.full((*valid.shape, 6), -1, jnp.int32) if states is None else states,
        valid=valid,
    )
