"""Padded tables on device: selection and gathering of rows, and pairing of people with objects."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import pairwise_iou


def top_rows(
    score: Float[ArrayLike, " rows"], valid: Bool[ArrayLike, " rows"], limit: int
) -> tuple[Int[Array, " chosen"], Bool[Array, " chosen"]]:
    """Select at most `limit` valid rows with the best scores, best first, ties in table order.

    Returns:
      indices (0 for unused places) and mask of used places, both of static length min(limit, rows).
    """
    best, index = jax.lax.top_k(jnp.where(valid, score, -jnp.inf), min(limit, score.shape[0]))
    used = best > -jnp.inf
    return jnp.where(used, index, 0), used


def random_rows(
    key: Array, valid: Bool[ArrayLike, " rows"], limit: int
) -> tuple[Int[Array, " chosen"], Bool[Array, " chosen"]]:
    """Draw at most `limit` valid rows uniformly without replacement (all of them if there are fewer)."""
    return top_rows(jax.random.uniform(key, valid.shape), valid, limit)


def zero_unused(table: Shaped[ArrayLike, "*table"], used: Bool[ArrayLike, "*rows"]) -> Shaped[Array, "*table"]:
    """Set rows of `table` that are not `used` to zero; the axes of `used` are the first ones of `table`."""
    return jnp.where(used.reshape(used.shape + (1,) * (table.ndim - used.ndim)), table, jnp.zeros_like(table))


def gather_rows(
    table: Shaped[ArrayLike, "..."],
    index: Int[ArrayLike, "*batch chosen"],
    used: Bool[ArrayLike, "*batch chosen"] | None = None,
) -> Shaped[Array, "..."]:
    """Gather rows `index` of tables, with zeros for rows that are not `used`.

    Args:
      table: [*batch, rows, ...]; batch axes of length 1 are broadcast.

    Returns:
      [*batch, chosen, ...].
    """
    rest = (1,) * (table.ndim - index.ndim)
    rows = jnp.take_along_axis(table, index.reshape(index.shape + rest), axis=index.ndim - 1)
    return rows if used is None else zero_unused(rows, used)


def enumerate_pairs(
    human_xyxy: Float[ArrayLike, "humans 4"],
    object_xyxy: Float[ArrayLike, "objects 4"],
    human_used: Bool[ArrayLike, " humans"],
    object_used: Bool[ArrayLike, " objects"],
) -> Bool[Array, "humans objects"]:
    """Mask of all pairs of a person and an object with a different box (people can be objects)."""
    same = jnp.all(human_xyxy[:, None, :] == object_xyxy[None, :, :], axis=-1)
    return jnp.logical_and(human_used[:, None] & object_used[None, :], ~same)


class Boxes(NamedTuple):
    """Detections of one image: corners in pixels [N, 4], confidences [N], mask of used places [N]."""

    xyxy_px: ArrayLike
    score: ArrayLike
    used: ArrayLike


class Pairs(NamedTuple):
    """Pairs of one image: rows of people and of objects, mask of used places, product of confidences; [P] each."""

    human: Array
    object: Array
    used: Array
    score: Array


def propose_pairs(humans: Boxes, objects: Boxes, *, limit: int | None = None, humans_first: bool = False) -> Pairs:
    """Pair every person with every object.

    Args:
      limit: number of pairs returned, those with the largest products of confidences, best first; None = all pairs,
        ordered by person.
      humans_first: the first rows of `objects` are those of `humans`, and people are not paired with their own row.
        Otherwise people are not paired with an object that has the same box.
    """
    count = len(objects.used)
    human, obj = np.divmod(np.arange(len(humans.used) * count), count)
    used = humans.used[:, None] & objects.used[None]
    if not humans_first:
        used = enumerate_pairs(humans.xyxy_px, objects.xyxy_px, humans.used, objects.used)
    used, score = jnp.ravel(used), jnp.ravel(humans.score[:, None] * objects.score[None])
    if humans_first:
        others = np.flatnonzero(human != obj)
        human, obj, used, score = human[others], obj[others], used[others], score[others]
    if limit is None:
        return Pairs(jnp.asarray(human, jnp.int32), jnp.asarray(obj, jnp.int32), used, score)
    row, chosen = top_rows(score, used, limit)
    table = Pairs(jnp.asarray(human, jnp.int32)[row], jnp.asarray(obj, jnp.int32)[row], chosen, score[row])
    fill = limit - len(row)
    return table if fill == 0 else Pairs(*(jnp.pad(column, (0, fill)) for column in table))


def unannotated_pairs(
    human_xyxy: Float[ArrayLike, "humans 4"],
    object_xyxy: Float[ArrayLike, "objects 4"],
    truth_human_xyxy: Float[ArrayLike, "pairs 4"],
    truth_object_xyxy: Float[ArrayLike, "pairs 4"],
    truth_valid: Bool[ArrayLike, " pairs"],
    *,
    overlap: float = 0.8,
) -> Bool[Array, "humans objects"]:
    """Mask of the pairs of detections that match no annotated pair (negatives of TIN's HICO-DET training).

    A detected pair matches an annotated pair if the IoUs of both its person and its object with the annotated ones
    exceed `overlap`.
    """
    human_hit = pairwise_iou(human_xyxy, truth_human_xyxy) > overlap
    object_hit = pairwise_iou(object_xyxy, truth_object_xyxy) > overlap
    hit = human_hit[:, None, :] & object_hit[None, :, :] & truth_valid[None, None, :]
    return ~jnp.any(hit, axis=-1)
