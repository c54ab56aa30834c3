"""Pairwise ranking: annotated pairs should score higher than others (Cascaded HOI Recognition, CVPR 2020, Eq. 14)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def pair_ranking_loss(
    better: Float[Array, "*batch first"],
    worse: Float[Array, "*batch second"],
    better_valid: Bool[Array, "*batch first"],
    worse_valid: Bool[Array, "*batch second"],
    *,
    margin: float = 0.2,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Sum over all combinations of max(0, worse - better + margin), and the number of combinations.

    Only first x second numbers are formed: the two sides are given apart.

    >>> loss, combinations = pair_ranking_loss(
    ...     jnp.array([0.9]), jnp.array([0.8, 0.1]), jnp.array([True]), jnp.array([True, True])
    ... )
    >>> round(float(loss), 6), int(combinations)
    (0.1, 2)
    """
    hinge = jnp.maximum(worse[..., None, :] - better[..., :, None] + margin, 0.0)
    both = better_valid[..., :, None] & worse_valid[..., None, :]
    return jnp.sum(jnp.where(both, hinge, 0.0), axis=(-2, -1)), jnp.sum(both, axis=(-2, -1)).astype(hinge.dtype)


def draw_combinations(
    key: Array, better_valid: Bool[Array, " first"], worse_valid: Bool[Array, " second"], count: int
) -> tuple[Int[Array, " count"], Int[Array, " count"]]:
    """`count` combinations with replacement, uniform over valid rows; row 0 where a side has none."""
    sides = zip(jax.random.split(key), (better_valid, worse_valid), strict=True)
    better, worse = (jax.random.categorical(k, jnp.where(valid, 0.0, -jnp.inf), shape=(count,)) for k, valid in sides)
    return better, worse


def separated_ranking_loss(
    better: Float[Array, " n"],
    worse: Float[Array, " n"],
    better_hidden: Float[Array, "n dim"],
    worse_hidden: Float[Array, "n dim"],
    *,
    margin: float = 0.2,
    cosine_margin: float = 0.5,
    decay: float = 1e-4,
) -> dict[str, Float[Array, ""]]:
    """The terms of the authors' released ranking head for n combinations; the paper has the first one alone.

    Returns:
      "rank", the mean of max(0, worse - better + margin); "cosine", the mean of max(0, cos - cosine_margin) between the
      hidden layers of a combination; "norm", decay times the Frobenius norms of both sides' hidden layers over n.
    """
    tiny = 1e-12  # no infinite slope where a hidden layer is all zeros
    lengths = jnp.sqrt(jnp.sum(jnp.stack([better_hidden, worse_hidden]) ** 2, axis=-1) + tiny)
    cosine = jnp.sum(better_hidden * worse_hidden, axis=-1) / jnp.prod(lengths, axis=0)
    return {
        "rank": jnp.mean(jnp.maximum(worse - better + margin, 0.0)),
        "cosine": jnp.mean(jnp.maximum(cosine - cosine_margin, 0.0)),
        "norm": decay * jnp.sum(jnp.sqrt(jnp.sum(lengths**2, axis=-1))) / len(better),
    }
