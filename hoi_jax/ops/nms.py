"""Greedy non-maximum suppression of one image's detections on device."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.ops.boxes import pairwise_iou


def class_nms(
    boxes_xyxy: Float[Array, "rows 4"],
    score: Float[Array, "rows"],
    label: Int[Array, "rows"],
    valid: Bool[Array, "rows"],
    *,
    overlap: float = 0.5,
) -> Bool[Array, "rows"]:
    """True for valid boxes that no better kept box of the same class overlaps by more than `overlap` (IoU).

    Equal scores: the earlier row wins.
    """
    order = jnp.argsort(-jnp.where(valid, score, -jnp.inf), stable=True)
    rivals = (pairwise_iou(boxes_xyxy, boxes_xyxy) > overlap) & (label[:, None] == label[None, :])
    rivals = rivals[order][:, order]
    rank = jnp.arange(score.shape[0])

    def visit(place, kept):
        return kept & ~(kept[place] & rivals[place] & (rank > place))

    kept = jax.lax.fori_loop(0, score.shape[0], visit, valid[order])
    return jnp.zeros_like(valid).at[order].set(kept)
