"""Targets from a batch's tables, and their assignment to queries (with the costs of QPIC, CDN and body-part)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import cxcywh_to_xyxy, generalized_iou, xyxy_to_cxcywh
from hoi_jax.ops.matching import assign_targets
from hoi_jax.ops.pairs import gather_rows
from hoi_jax.system import Batch
from hoi_jax.systems.body_part.config import LossConfig, MatchingConfig
from hoi_jax.vocab.tables import Vocabulary


class Targets(NamedTuple):
    """Annotated pairs; B images, T pairs, V verbs.

    Attributes:
      human_cxcywh, object_cxcywh: [B, T, 4] relative to the unpadded image; zeros for an absent object.
      object_class: [B, T]; an absent object has the class after the vocabulary's last one.
      has_object: [B, T].
      verbs, verbs_known: [B, T, V].
      interactive: [B, T] whether the pair counts as interactive.
      part_states: [B, T, 6] 1 acts, 0 does not, -1 unknown.
      valid: [B, T] the pair exists.
    """

    human_cxcywh: ArrayLike
    object_cxcywh: ArrayLike
    object_class: ArrayLike
    has_object: ArrayLike
    verbs: ArrayLike
    verbs_known: ArrayLike
    interactive: ArrayLike
    part_states: ArrayLike
    valid: ArrayLike


def has_absent_class(vocabulary: Vocabulary) -> bool:
    """Whether pairs without an object are predicted as a class of their own (V-COCO)."""
    return bool(vocabulary.actions)


def _relative(
    boxes_xyxy_px: Float[ArrayLike, "batch pairs 4"], image_hw_px: ArrayLike, exists: Bool[ArrayLike, "batch pairs"]
):
    size = image_hw_px[:, None, ::-1].astype(jnp.float32)
    relative = xyxy_to_cxcywh(boxes_xyxy_px) / jnp.concatenate([size, size], axis=-1)
    return jnp.where(exists[..., None], relative, 0.0)


def pair_targets(batch: Batch, vocabulary: Vocabulary, config: LossConfig) -> Targets:
    """Targets of a batch. In HOI style, pairs without an object are left out."""
    human, obj = batch["pairs_human"], batch["pairs_object"]
    has_object = obj >= 0
    valid = batch["pairs_valid"] & batch["batch_valid"][:, None] & (human >= 0)
    if not has_absent_class(vocabulary):
        valid = valid & has_object

    human_row, object_row = jnp.maximum(human, 0), jnp.maximum(obj, 0)
    boxes, hw = batch["instances_xyxy_px"], batch["image_hw_px"]
    verbs = batch["pairs_verbs"] & valid[..., None]
    interactive = valid
    if config.no_interaction_negative and vocabulary.no_interaction >= 0:
        real = np.arange(len(vocabulary.verbs)) != vocabulary.no_interaction
        interactive = jnp.any(verbs & real[None, None], axis=-1)
    states = batch.get("pairs_part_states")
    return Targets(
        human_cxcywh=_relative(gather_rows(boxes, human_row), hw, valid),
        object_cxcywh=_relative(gather_rows(boxes, object_row), hw, valid & has_object),
        object_class=jnp.where(has_object, gather_rows(batch["instances_class"], object_row), len(vocabulary.objects)),
        has_object=has_object & valid,
        verbs=verbs,
        verbs_known=batch["pairs_verbs_known"],
        interactive=interactive,
        part_states=jnp.full((*valid.shape, 6), -1, jnp.int32) if states is None else states,
        valid=valid,
    )


def matching_cost(
    outputs: Mapping[str, Array], targets: Targets, config: MatchingConfig
) -> Float[Array, "batch queries pairs"]:
    """Cost of every query for every pair, from one layer's outputs [B, Q, ...], without the interactiveness cost.

    Box costs are the larger of human's and object's. For a pair without an object, the object's L1 cost is zero and
    the human's GIoU cost is added to the object's (computed with an empty box at the origin), as released.
    """
    cost = config.object * -_of_class(jax.nn.softmax(outputs["object_logits"], axis=-1), targets.object_class)
    distance, giou = [], []
    for name in ("human", "object"):
        a, b = outputs[f"{name}_cxcywh"][:, :, None], getattr(targets, f"{name}_cxcywh")[:, None]
        distance.append(jnp.sum(jnp.abs(a - b), axis=-1))
        giou.append(-generalized_iou(cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)))
    exists = targets.has_object[:, None]
    cost += config.box * jnp.maximum(distance[0], jnp.where(exists, distance[1], 0.0))
    cost += config.giou * jnp.maximum(giou[0], giou[1] + jnp.where(exists, 0.0, giou[0]))
    if "verb_logits" in outputs and config.verb:
        cost += config.verb * _verb_cost(jax.nn.sigmoid(outputs["verb_logits"]), targets.verbs.astype(jnp.float32))
    return cost


def _of_class(probability: ArrayLike, label: ArrayLike) -> Array:
    """[B, Q, C], [B, T] -> [B, Q, T]: probability of each target's class."""
    index = jnp.broadcast_to(label[:, None], (*probability.shape[:2], label.shape[1]))
    return jnp.take_along_axis(probability, index, axis=2)


def _verb_cost(p: Array, y: Array) -> Array:
    """Minus the mean of the probabilities of present and of absent verbs (QPIC's verb cost)."""
    present = jnp.einsum("bqv,btv->bqt", p, y) / (jnp.sum(y, axis=-1) + 1e-4)[:, None]
    absent = jnp.einsum("bqv,btv->bqt", 1 - p, 1 - y) / (jnp.sum(1 - y, axis=-1) + 1e-4)[:, None]
    return -0.5 * (present + absent)


def match_layers(
    outputs: Mapping[str, ArrayLike], targets: Targets, config: MatchingConfig
) -> Int[Array, "layers batch pairs"]:
    """Match pairs to queries. Returns the query of each pair per layer, -1 for pairs that do not exist.

    Args:
      outputs: [layers, B, Q, ...], the final layer last; "interactiveness_logits" may have only that layer.
    """
    outputs = jax.lax.stop_gradient(dict(outputs))
    interactive = outputs.pop("interactiveness_logits", None)
    layers = outputs["object_logits"].shape[0]
    chosen = {name: value[-1:] for name, value in outputs.items()} if config.aux == "final" else outputs
    cost = jax.vmap(lambda layer: matching_cost(layer, targets, config))(chosen)
    if interactive is not None:
        sigmoid = config.interactiveness_score == "sigmoid"
        score = jax.nn.sigmoid(interactive[..., 1]) if sigmoid else jax.nn.softmax(interactive, axis=-1)[..., 1]
        score = score[-len(cost) :]
        score = jnp.pad(score, ((len(cost) - len(score), 0), (0, 0), (0, 0)))
        cost -= config.interactiveness * score[..., None]
    valid = jnp.broadcast_to(targets.valid[None], (len(cost), *targets.valid.shape))
    found = assign_targets(cost, valid)
    return jnp.broadcast_to(found, (layers, *found.shape[1:]))
