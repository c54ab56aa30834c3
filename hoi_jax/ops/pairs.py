"""Fixed-size choice of people, objects and their pairs, with masks instead of ragged lists."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.ops.boxes import pairwise_iou


def top_rows(
    score: Float[Array, "rows"], valid: Bool[Array, "rows"], limit: int
) -> tuple[Int[Array, "chosen"], Bool[Array, "chosen"]]:
    """Indices of the best valid rows, best first, ties in table order; at most `limit` of them.

    Returns:
      indices (some valid index or 0 for unused places) and which places are used; both have the static length
      min(limit, rows), or `limit` when `rows` is smaller would need padding that callers do themselves.
    """
    best, index = jax.lax.top_k(jnp.where(valid, score, -jnp.inf), min(limit, score.shape[0]))
    used = best > -jnp.inf
    return jnp.where(used, index, 0), used


def take_rows(table: Array, index: Int[Array, "chosen"], used: Bool[Array, "chosen"]) -> Array:
    """Rows `index` of `table`, zeros where not `used`."""
    rows = jnp.take(table, index, axis=0)
    return jnp.where(used.reshape(used.shape + (1,) * (rows.ndim - 1)), rows, jnp.zeros_like(rows))


def enumerate_pairs(
    human_xyxy: Float[Array, "humans 4"],
    object_xyxy: Float[Array, "objects 4"],
    human_used: Bool[Array, "humans"],
    object_used: Bool[Array, "objects"],
) -> Bool[Array, "humans objects"]:
    """True for every person with every thing whose box is not the person's own (people can be objects)."""
    same = jnp.all(human_xyxy[:, None, :] == object_xyxy[None, :, :], axis=-1)
    return human_used[:, None] & object_used[None, :] & ~same


def unannotated_pairs(
    human_xyxy: Float[Array, "humans 4"],
    object_xyxy: Float[Array, "objects 4"],
    truth_human_xyxy: Float[Array, "pairs 4"],
    truth_object_xyxy: Float[Array, "pairs 4"],
    truth_valid: Bool[Array, "pairs"],
    *,
    overlap: float = 0.8,
) -> Bool[Array, "humans objects"]:
    """True where a pair of detections does not show an annotated pair (negatives of TIN's HICO-DET training).

    A detected pair counts as annotated when, for some true pair, both its person and its object overlap the true
    ones by more than `overlap`.
    """
    human_hit = pairwise_iou(human_xyxy, truth_human_xyxy) > overlap
    object_hit = pairwise_iou(object_xyxy, truth_object_xyxy) > overlap
    hit = human_hit[:, None, :] & object_hit[None, :, :] & truth_valid[None, None, :]
    return ~jnp.any(hit, axis=-1)


def random_rows(
    key: Array, valid: Bool[Array, "rows"], limit: int
) -> tuple[Int[Array, "chosen"], Bool[Array, "chosen"]]:
    """A uniform draw without replacement of at most `limit` valid rows (all of them if there are fewer)."""
    return top_rows(jax.random.uniform(key, valid.shape), valid, limit)
