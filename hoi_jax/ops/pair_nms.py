"""Suppression of repeated human-object pairs, on device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.ops.boxes import pairwise_iou


def pair_nms(
    human_xyxy: Float[Array, "pairs 4"],
    object_xyxy: Float[Array, "pairs 4"],
    object_class: Int[Array, "pairs"],
    score: Float[Array, "pairs"],
    *,
    threshold: float,
) -> Bool[Array, "pairs"]:
    """Pairs of one image that stay (body-part paper, section 5.2, with threshold 0.6).

    Best score first (ties: lower row), a pair that stays removes every other of its object class whose human *and*
    object IoU with it both exceed the threshold.
    """
    order = jnp.argsort(-score, stable=True)
    human, obj, label = human_xyxy[order], object_xyxy[order], object_class[order]
    repeated = (pairwise_iou(human, human) > threshold) & (pairwise_iou(obj, obj) > threshold)
    repeated = repeated & (label[:, None] == label[None])
    later = jnp.arange(len(score))

    def visit(row, stays):
        return stays & ~(stays[row] & repeated[row] & (later > row))

    stays = jax.lax.fori_loop(0, len(score), visit, jnp.ones(len(score), bool))
    return jnp.zeros(len(score), bool).at[order].set(stays)
