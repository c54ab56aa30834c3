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
    boxes, kind = boxes_xyxy[order], label[order]
    rivals = (pairwise_iou(boxes, boxes) > overlap) & (kind[:, None] == kind[None, :])
    rank = jnp.arange(score.shape[0])
    better = rivals & (rank[:, None] < rank[None])
    candidates = valid[order]

    # A box stays iff no better box that stays overlaps it: one solution, found from the best box downwards. Every round
    # settles at least one more box, in practice all that no long chain of overlaps leads to.
    def settle(state):
        kept, _ = state
        after = candidates & ~jnp.any(better & kept[:, None], axis=0)
        return after, jnp.any(after != kept)

    kept, _ = jax.lax.while_loop(lambda state: state[1], settle, (candidates, jnp.any(candidates)))
    return jnp.zeros_like(valid).at[order].set(kept)
