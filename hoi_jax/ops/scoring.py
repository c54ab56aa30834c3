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
    """Weight that fades weak detections and keeps strong ones (TIN, Eq. 3): scale / (1 + exp(offset - slope * score)).

    Args:
      score: Detector confidence in [0, 1]. Outside that range the formula still holds but means nothing.
      scale, offset, slope: T, k, w of the paper, with its values as defaults.

    Returns:
      Weight per score. With the defaults, 5.2e-5 at 0 and 1.0013 at 1 (the paper's Fig. 5 prints 0.999 for the
      latter, which needs T = 8.38).
    """
    return scale * jax.nn.sigmoid(slope * score - offset)


def suppress_pairs(
    interactiveness: Float[ArrayLike, "*batch"], valid: Bool[ArrayLike, "*batch"], *, threshold: float = 0.1
) -> Bool[Array, "*batch"]:
    """Non-interaction suppression as a mask (TIN, section 3.5): False where the score is below `threshold`."""
    return jnp.logical_and(valid, interactiveness >= threshold)


def verb_scores_of_class(
    hoi_scores: Float[ArrayLike, "*batch hois"],
    object_class: Int[ArrayLike, "*batch"],
    hoi_table: Int[ArrayLike, "verbs objects"],
) -> Float[Array, "*batch verbs"]:
    """Scores of the HOI classes of one object class, laid out by verb; 0 where the combination does not exist.

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
    """Scores of several streams joined: their sum or product, or the sum of `streams` times `weight`.

    Args:
      weight: the stream that weighs the others in "weighted_sum" and is one of them otherwise; None = there is none.
    """
    every = [jnp.asarray(s) for s in (streams if weight is None else (*streams, weight))]
    if rule == "product":
        return functools.reduce(jnp.multiply, every)
    if rule == "weighted_sum" and streams and weight is not None:
        return functools.reduce(jnp.add, every[:-1]) * every[-1]
    return functools.reduce(jnp.add, every)


def agent_scores(
    scores: Float[ArrayLike, "pairs verbs"], human: Int[ArrayLike, "pairs"], used: Bool[ArrayLike, "pairs"], humans: int
) -> Float[Array, "humans verbs"]:
    """Each person's best pair score per verb; 0 for a person without pairs (one image).

    Args:
      scores: at least 0. human: the person of each pair, a row of the `humans` people.
    """
    best = jax.ops.segment_max(jnp.where(used[:, None], scores, 0.0), human, num_segments=humans)
    return jnp.maximum(best, 0.0)


def pair_nms(
    human_xyxy: Float[ArrayLike, "pairs 4"],
    object_xyxy: Float[ArrayLike, "pairs 4"],
    object_class: Int[ArrayLike, "pairs"],
    score: Float[ArrayLike, "pairs"],
    *,
    threshold: float,
) -> Bool[Array, "pairs"]:
    """Pairs of one image that stay (body-part paper, section 5.2, with threshold 0.6).

    Best score first (ties: lower row), a pair that stays removes every other of its object class whose human *and*
    object IoU with it both exceed the threshold.
    """
    repeated = (pairwise_iou(human_xyxy, human_xyxy) > threshold) & (pairwise_iou(object_xyxy, object_xyxy) > threshold)
    return _greedy(repeated & (object_class[:, None] == object_class[None]), score)


def product_nms(
    human_xyxy_px: Float[ArrayLike, "pairs 4"],
    object_xyxy_px: Float[ArrayLike, "pairs 4"],
    object_class: Int[ArrayLike, "pairs"],
    scores: Float[ArrayLike, "pairs columns"],
    *,
    threshold: float,
    human_power: float,
    object_power: float,
    best: int | None,
) -> Bool[Array, "pairs columns"]:
    """Which scores of one image stay by CDN's rule: with a column per verb, of triplets; with a single one, of pairs.

    Only the `best` highest scores of the image take part (None: all); the others go. Best score first (ties: lower
    row), a score that stays removes every other of its column and object class whose pair overlaps it by
    IoU_human ** human_power * IoU_object ** object_power > threshold; IoU counts inclusive pixels (+1). The host's
    version for files of predictions is `evaluation.pair_nms`.
    """
    one = jnp.asarray([0.0, 0.0, 1.0, 1.0])[None]
    human, obj = human_xyxy_px + one, object_xyxy_px + one
    overlap = pairwise_iou(human, human) ** human_power * pairwise_iou(obj, obj) ** object_power
    repeated = (overlap > threshold) & (object_class[:, None] == object_class[None])
    chosen = jnp.ones(scores.shape, bool)
    if best is not None and best < scores.size:
        first = jax.lax.top_k(scores.ravel(), best)[1]
        chosen = jnp.zeros(scores.size, bool).at[first].set(True).reshape(scores.shape)
    # What does not take part comes last in its column, and is taken out of the answer.
    ranked = jnp.where(chosen, scores, -jnp.inf)
    return jax.vmap(lambda column: _greedy(repeated, column), in_axes=1, out_axes=1)(ranked) & chosen


def _greedy(repeated: Bool[ArrayLike, "pairs pairs"], score: Float[ArrayLike, "pairs"]) -> Bool[Array, "pairs"]:
    """Rows that stay, best score first (ties: lower row), when one that stays removes all that it repeats."""
    order = jnp.argsort(-score, stable=True)
    repeated = repeated[order][:, order]
    later = jnp.arange(len(score))

    def visit(row, stays):
        return stays & ~(stays[row] & repeated[row] & (later > row))

    stays = jax.lax.fori_loop(0, len(score), visit, jnp.ones(len(score), bool))
    return jnp.zeros(len(score), bool).at[order].set(stays)
