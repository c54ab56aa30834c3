"""Loss of the ranking module on the sampled pairs of each image (paper, Eq. 14; or the authors' released head)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.losses.metric_learning import draw_combinations, pair_ranking_loss, separated_ranking_loss
from hoi_jax.systems.cascade.config import LossConfig
from hoi_jax.systems.cascade.model import CascadeNet, PairFeatures

DRAWN = 64
"""Combinations per image that the release draws."""


def ranking_terms(
    net: CascadeNet,
    features: PairFeatures,
    stage: int,
    positive: Bool[Array, "batch pairs"],
    negative: Bool[Array, "batch pairs"],
    quota: int,
    keys: Array,
    settings: LossConfig,
) -> dict[str, Float[Array, " batch"]]:
    """Terms per image, zero where it has no pair of one of both kinds.

    Args:
      positive, negative: annotated and other pairs; positive ones stand in the first `quota` rows.
      keys: one per image, for drawn combinations.
    """
    hidden = net.rank_hidden(features, stage)
    score = jax.nn.sigmoid(net.rank_score(hidden, stage))
    if settings.ranking_reduce != "drawn":
        total, count = pair_ranking_loss(
            score[:, :quota], score, positive[:, :quota], negative, margin=settings.ranking_margin
        )
        return {"rank": total / jnp.maximum(count, 1.0) if settings.ranking_reduce == "mean" else total}

    def one(key: Array, score: Array, hidden: Array, positive: Array, negative: Array) -> dict[str, Array]:
        better, worse = draw_combinations(key, positive, negative, DRAWN)
        terms = separated_ranking_loss(
            score[better], score[worse], hidden[better], hidden[worse], margin=settings.ranking_margin
        )
        both = jnp.any(positive) & jnp.any(negative)
        return {name if name == "rank" else f"rank_{name}": jnp.where(both, x, 0.0) for name, x in terms.items()}

    return jax.vmap(one)(keys, score, hidden, positive, negative)
