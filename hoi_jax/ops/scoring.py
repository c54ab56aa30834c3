"""Scores of human-object pairs: detector weights, non-interaction suppression, and suppression of repeated pairs."""

import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import pairwise_iou


def lis_weight(
    score: Float[ArrayLike, "*batch"], *, scale: float = 8.4, offset: float = 12.0, slope: float = 10.0
) -> Float[Array, "*batch"]:
    """Weight of detections by LIS (TIN, Eq. 3), low for weak ones: scale / (1 + exp(offset - slope * score)).

    Args:
      score: detector confidence in [0, 1].
      scale, offset, slope: T, k, w of the paper, with its values as defaults.

    Returns:
      weight per score; with the defaults, 5.2e-5 at 0 and 1.0013 at 1 (0.999 in the paper's Fig. 5, which would need
      T = 8.38).
    """
    return scale * jax.nn.sigmoid(slope * score - offset)


def suppress_pairs(
    interactiveness: Float[ArrayLike, "*batch"], valid: Bool[ArrayLike, "*batch"], *, threshold: float = 0.1
) -> Bool[Array, "*batch"]:
    """Mask of pairs that non-interaction suppression keeps (TIN, section 3.5): valid, with at least `threshold`."""
    return jnp.logical_and(valid, interactiveness >= threshold)


def verb_scores_of_class(
    hoi_scores: Float[ArrayLike, "*batch hois"],
    object_class: Int[ArrayLike, "*batch"],
    hoi_table: Int[ArrayLike, "verbs objects"],
) -> Float[Array, "*batch verbs"]:
    """Scores per verb from scores of HOI classes, given the object class; 0 for combinations that do not exist.

    Args:
      hoi_scores: score of every HOI class.
      object_class: index into the columns of `hoi_table`.
      hoi_table: HOI class of a verb with an object, -1 = none (`Vocabulary.hoi_table`).
    """
    hoi = jnp.take(hoi_table.T, object_class, axis=0)
    scores = jnp.take_along_axis(hoi_scores, jnp.maximum(hoi, 0), axis=-1)
    return jnp.where(hoi >= 0, scores, 0.0)


def fuse_scores(
    streams: Sequence[Float[ArrayLike, "*shape"]],
    weight: Float[ArrayLike, "*shape"] | None,
    rule: Literal["sum", "product", "weighted_sum"],
) -> Float[Array, "*shape"]:
    """Combine the scores of several streams: their sum or product, or the sum of `streams` times `weight`.

    Args:
      weight: a further stream, which multiplies the others in "weighted_sum"; None if there is none.
    """
    every = [jnp.asarray(s) for s in (streams if weight is None else (*streams, weight))]
    if rule == "product":
        return functools.reduce(jnp.multiply, every)
    if rule == "weighted_sum" and streams and weight is not None:
        return functools.reduce(jnp.add, every[:-1]) * every[-1]
    return functools.reduce(jnp.add, every)


def agent_scores(
    scores: Float[ArrayLike, "pairs verbs"],
    human: Int[ArrayLike, " pairs"],
    used: Bool[ArrayLike, " pairs"],
    humans: int,
) -> Float[Array, "humans verbs"]:
    """Each person's best pair score per verb; 0 for a person without pairs (one image).

    Args:
      scores: scores >= 0.
      human: person of each pair, an index below `humans`.
    """
    best = jax.ops.segment_max(jnp.where(used[:, None], scores, 0.0), human, num_segments=humans)
    return jnp.maximum(best, 0.0)


def pair_nms(
    human_xyxy: Float[ArrayLike, "pairs 4"],
    object_xyxy: Float[ArrayLike, "pairs 4"],
    object_class: Int[ArrayLike, " pairs"],
    score: Float[ArrayLike, " pairs"],
    *,
    threshold: float,
) -> Bool[Array, " pairs"]:
    """Mask of the pairs of one image that non-maximum suppression keeps (body-part paper, section 5.2).

    In order of score (ties: lower row first), each remaining pair removes every other of its object class whose human
    *and* object IoU with it both exceed the threshold (0.6 in the paper).
    """
    repeated = (pairwise_iou(human_xyxy, human_xyxy) > threshold) & (pairwise_iou(object_xyxy, object_xyxy) > threshold)
    return _greedy(repeated & (object_class[:, None] == object_class[None]), score)


def product_nms(
    human_xyxy_px: Float[ArrayLike, "pairs 4"],
    object_xyxy_px: Float[ArrayLike, "pairs 4"],
    object_class: Int[ArrayLike, " pairs"],
    scores: Float[ArrayLike, "pairs columns"],
    *,
    threshold: float,
    human_power: float,
    object_power: float,
    best: int | None,
) -> Bool[Array, "pairs columns"]:
    """Mask of the scores of one image that CDN's suppression keeps: triplets (a column per verb) or pairs (one column).

    Only the `best` highest scores of the image take part (None = all); the others are removed. In order of score (ties:
    lower row first), each remaining score removes every other of its column and object class with
    IoU_human ** human_power * IoU_object ** object_power > threshold, where IoU is that of inclusive pixels (+1).
    `evaluation.postprocess.pair_nms` does the same for stored predictions.
    """
    one = jnp.asarray([0.0, 0.0, 1.0, 1.0])[None]
    human, obj = human_xyxy_px + one, object_xyxy_px + one
    overlap = pairwise_iou(human, human) ** human_power * pairwise_iou(obj, obj) ** object_power
    repeated = (overlap > threshold) & (object_class[:, None] == object_class[None])
    chosen = jnp.ones(scores.shape, bool)
    if best is not None and best < scores.size:
        first = jax.lax.top_k(scores.ravel(), best)[1]
        chosen = jnp.zeros(scores.size, bool).at[first].set(True).reshape(scores.shape)
    # Scores that do not take part come last in their column and are removed from the result.
    ranked = jnp.where(chosen, scores, -jnp.inf)
    return jax.vmap(lambda column: _greedy(repeated, column), in_axes=1, out_axes=1)(ranked) & chosen


def _greedy(repeated: Bool[ArrayLike, "pairs pairs"], score: Float[ArrayLike, " pairs"]) -> Bool[Array, " pairs"]:
    """Mask of remaining rows if, in order of score (ties: lower row first), each one removes those that it repeats."""
    order = jnp.argsort(-score, stable=True)
    repeated = repeated[order][:, order]
    later = jnp.arange(len(score))

    def visit(row, stays):
        return stays & ~(stays[row] & repeated[row] & (later > row))

    stays = jax.lax.fori_loop(0, len(score), visit, jnp.ones(len(score), bool))
    return jnp.zeros(len(score), bool).at[order].set(stays)
