"""Score rules of TIN: detector weights, fusion of streams, non-interaction suppression, one object per verb."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.ops.scoring import lis_weight, suppress_pairs
from hoi_jax.systems.tin.config import NisConfig, ScoreConfig


def detector_weight(score: Float[Array, "*batch"], config: ScoreConfig) -> Float[Array, "*batch"]:
    """What one detector confidence contributes to a score: LIS (Eq. 3), 1, or the confidence itself."""
    if config.lis == "none":
        return jnp.ones_like(score)
    if config.lis == "product":
        return score
    return lis_weight(score, scale=config.lis_scale, offset=config.lis_offset, slope=config.lis_slope)


def fuse(streams: Mapping[str, Array], fusion: str) -> Float[Array, "*batch classes"]:
    """The classifier's score of every pair from the scores of its streams; a joint stream (early fusion) is alone."""
    if "joint" in streams:
        return streams["joint"]
    spatial = streams.get("spatial")
    appearance = [value for name, value in streams.items() if name != "spatial"]
    if spatial is None or not appearance:
        return functools.reduce(jnp.add, streams.values())
    summed = functools.reduce(jnp.add, appearance)
    return summed * spatial if fusion == "product" else summed + spatial


def kept_pairs(
    config: NisConfig,
    s_pair: Float[Array, "*batch"],
    interactive: Float[Array, "*batch"],
    non_interactive: Float[Array, "*batch"],
    object_class: Int[Array, "*batch"],
    bounds: Float[Array, "objects 2"],
    human_class: int,
) -> Bool[Array, "*batch"]:
    """Which pairs suppression keeps.

    Args:
      s_pair: f_P L(s_h) L(s_o), for rule "s_p". interactive, non_interactive: P's probabilities, for "two_sided".
      bounds: per object class (`release.nis_bounds`).
    """
    if not config.enabled:
        return jnp.ones(s_pair.shape, bool)
    if config.rule == "s_p":
        kept = suppress_pairs(s_pair, jnp.ones(s_pair.shape, bool), threshold=config.threshold)
    else:
        limits = jnp.take(bounds, object_class, axis=0)
        kept = ~((non_interactive > limits[..., 1]) & (interactive < limits[..., 0]))
    return kept & (object_class != human_class) if config.drop_person_objects else kept


def best_objects(
    scores: Float[Array, "pairs verbs"], human_index: Int[Array, "pairs"], valid: Bool[Array, "pairs"], humans: int
) -> Bool[Array, "pairs verbs"]:
    """True at each person's best pair per verb (ties: the first); never where the score is 0 (one image)."""
    usable = valid[:, None] & (scores > 0)
    ranked = jnp.where(usable, scores, -jnp.inf)
    best = jax.ops.segment_max(ranked, human_index, num_segments=humans)[human_index]
    row = jnp.arange(scores.shape[0])[:, None]
    at_best = usable & (ranked == best)
    first = jax.ops.segment_min(jnp.where(at_best, row, scores.shape[0]), human_index, num_segments=humans)
    return at_best & (row == first[human_index])


def agents_of_pairs(
    scores: Float[Array, "pairs verbs"], human_index: Int[Array, "pairs"], valid: Bool[Array, "pairs"], humans: int
) -> Float[Array, "humans verbs"]:
    """Each person's best pair score per verb; 0 for a person without pairs (one image)."""
    best = jax.ops.segment_max(jnp.where(valid[:, None], scores, 0.0), human_index, num_segments=humans)
    return jnp.maximum(best, 0.0)
