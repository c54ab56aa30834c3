"""Triplet scores from the network's outputs for people and objects (CALIPSO, section 3.3, Eqs. 10 to 12).

Scores are computed as means of logarithms, so that roots of small products stay precise and the embedding term is a
negative distance. Sizes: N people, M objects, V verbs, T embedding dimensions.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike

SMALLEST = 1e-12
"""Lower bound of factors, which keeps the logarithm of a product with a zero finite."""


class Selection(NamedTuple):
    """The best object per person and verb (-1 if the pair score, without visible object, is best), and its score."""

    object_index: Int[Array, "humans verbs"]
    score: Float[Array, "humans verbs"]


def _log(probability: Array) -> Array:
    return jnp.log(jnp.maximum(probability, SMALLEST))


def embedding_distance(
    human: Float[Array, "humans verbs dim"], obj: Float[Array, "objects verbs dim"], norm: str = "l2"
) -> Float[Array, "humans verbs objects"]:
    """|e_h - e_o| per verb, the negative log of Eq. 10: Euclidean ("l2") or sum of absolute differences ("l1")."""
    difference = human[:, :, None] - jnp.swapaxes(obj, 0, 1)[None]
    if norm == "l1":
        return jnp.sum(jnp.abs(difference), axis=-1)
    return jnp.sqrt(jnp.sum(difference**2, axis=-1))


def triplet_scores(
    human_score: Float[Array, " humans"],
    active: Float[Array, "humans verbs"],
    object_score: Float[Array, " objects"],
    passive: Float[Array, "objects verbs"] | None,
    target: Float[Array, "humans verbs"] | None,
    distance: Float[Array, "humans verbs objects"],
) -> Float[Array, "humans verbs objects"]:
    """Eq. 11: the sixth root of s_h * active * s_o * passive * target * exp(-distance).

    Without passive verbs or target presence (None), that factor is omitted and the degree of the root is reduced by 1.
    """
    per_human = _log(human_score)[:, None] + _log(active)
    per_object = jnp.broadcast_to(_log(object_score)[:, None], (object_score.shape[0], active.shape[1]))
    factors = 4
    if passive is not None:
        per_object, factors = per_object + _log(passive), factors + 1
    if target is not None:
        per_human, factors = per_human + _log(target), factors + 1
    return jnp.exp((per_human[:, :, None] + jnp.swapaxes(per_object, 0, 1)[None] - distance) / factors)


def pair_scores(
    human_score: Float[ArrayLike, " humans"],
    active: Float[ArrayLike, "humans verbs"],
    target: Float[ArrayLike, "humans verbs"] | None,
) -> Float[Array, "humans verbs"]:
    """Eq. 12: the cube root of s_h * active * (1 - target), for a person whose object is not visible.

    Without target presence: the square root of s_h * active, used only for verbs that never take an object.
    """
    score = _log(human_score)[:, None] + _log(active)
    if target is None:
        return jnp.exp(score / 2)
    return jnp.exp((score + _log(1 - target)) / 3)


def select(
    triplet: Float[Array, "humans verbs objects"],
    pair: Float[Array, "humans verbs"],
    candidate: Bool[Array, "humans verbs objects"],
    pair_allowed: Bool[Array, " verbs"],
) -> Selection:
    """Select the best of all candidate triplets and the pair score per person and verb; (-1, 0) if none is allowed."""
    scores = jnp.where(candidate, triplet, -1.0)
    best = jnp.max(scores, axis=-1)
    single = jnp.where(pair_allowed[None], pair, -1.0)
    with_object = best > single
    winner = jnp.where(with_object, jnp.argmax(scores, axis=-1), -1)
    return Selection(winner, jnp.maximum(jnp.where(with_object, best, single), 0.0))
