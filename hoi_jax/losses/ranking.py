"""Pairwise ranking: annotated pairs should score higher than others (Cascaded HOI Recognition, CVPR 2020, Eq. 14)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


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
