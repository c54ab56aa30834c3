"""Metric learning losses: pairwise ranking, and pull and push losses of embeddings.

Ranking: annotated pairs should score higher than others (Cascaded HOI Recognition, CVPR 2020, Eq. 14). Pull and push:
CALIPSO (Chafik et al., WACV 2020, Eqs. 3 to 8).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike


def pair_ranking_loss(
    better: Float[ArrayLike, "*batch first"],
    worse: Float[ArrayLike, "*batch second"],
    better_valid: Bool[ArrayLike, "*batch first"],
    worse_valid: Bool[ArrayLike, "*batch second"],
    *,
    margin: float = 0.2,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """(sum over all combinations of max(0, worse - better + margin), number of combinations).

    The two sides are separate arguments, so that only first x second values are computed.

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
    key: Array, better_valid: Bool[ArrayLike, " first"], worse_valid: Bool[ArrayLike, " second"], count: int
) -> tuple[Int[Array, " count"], Int[Array, " count"]]:
    """Draw `count` combinations with replacement, uniformly over valid rows; row 0 for a side without any."""
    sides = zip(jax.random.split(key), (better_valid, worse_valid), strict=True)
    better, worse = (jax.random.categorical(k, jnp.where(valid, 0.0, -jnp.inf), shape=(count,)) for k, valid in sides)
    return better, worse


def separated_ranking_loss(
    better: Float[ArrayLike, " n"],
    worse: Float[ArrayLike, " n"],
    better_hidden: Float[ArrayLike, "n dim"],
    worse_hidden: Float[ArrayLike, "n dim"],
    *,
    margin: float = 0.2,
    cosine_margin: float = 0.5,
    decay: float = 1e-4,
) -> dict[str, Float[Array, ""]]:
    """The terms of the authors' released ranking loss for n combinations; the paper has only the first.

    Returns:
      "rank", the mean of max(0, worse - better + margin); "cosine", the mean of max(0, cos - cosine_margin) between the
      hidden layers of a combination; "norm", decay times the Frobenius norms of both sides' hidden layers over n.
    """
    tiny = 1e-12  # avoids an infinite gradient for a hidden layer of zeros
    lengths = jnp.sqrt(jnp.sum(jnp.stack([better_hidden, worse_hidden]) ** 2, axis=-1) + tiny)
    cosine = jnp.sum(better_hidden * worse_hidden, axis=-1) / jnp.prod(lengths, axis=0)
    return {
        "rank": jnp.mean(jnp.maximum(worse - better + margin, 0.0)),
        "cosine": jnp.mean(jnp.maximum(cosine - cosine_margin, 0.0)),
        "norm": decay * jnp.sum(jnp.sqrt(jnp.sum(lengths**2, axis=-1))) / len(better),
    }


class PullPush(NamedTuple):
    """Pull and push losses of one image per verb, and the number of classes E_v."""

    pull: Float[Array, " verbs"]
    push: Float[Array, " verbs"]
    num_classes: Int[Array, " verbs"]


def pull_push_loss(
    embedding: Float[ArrayLike, "anchors verbs dim"],
    instance: Int[ArrayLike, " anchors"],
    class_of_instance: Int[ArrayLike, "verbs instances"],
    target_like: Bool[ArrayLike, "verbs instances"],
    *,
    sigma: float = 2.0,
    pull_weight: float = 10.0,
    push_weight: float = 100.0,
) -> PullPush:
    """Pull and push losses of one image (Eqs. 5 and 7); padding and absent instances are ignored.

    Args:
      embedding: e_jv of the foreground anchors; unused places may have any finite value.
      instance: instance to which each anchor is assigned, -1 in unused places.
      class_of_instance: for every verb the smallest member of the instance's equivalence class, -1 for instances
        without an anchor (`systems.calipso.targets.connected_components`).
      target_like: instances whose object class is a usual target of the verb (L_v of Eq. 8).
      sigma: width of the push in Eq. 7.
      pull_weight: lambda of classes with an interacting pair (Eq. 6); 1 for the others.
      push_weight: gamma of two classes that both contain a usual target of the verb (Eq. 8); 1 for the others.

    Returns:
      per verb: 1/E sum_c lambda_c/n_c sum_{j in c} |e_j - mu_c|^2, and 1/E^2 sum_{c != d} gamma_cd
      exp(-|mu_c - mu_d|^2 / (2 sigma^2)); zero for an image without foreground anchors.
    """
    instances = class_of_instance.shape[1]
    exact = jax.lax.Precision.HIGHEST
    number = jnp.arange(instances)
    belongs = (instance[:, None] == number[None]).astype(embedding.dtype)  # [K, B]
    members = class_of_instance[:, None, :] == number[None, :, None]  # [V, C, B]
    count = jnp.sum(belongs, axis=0)
    member_sum = jnp.einsum("kb,kvt->vbt", belongs, embedding, precision=exact)
    size = jnp.sum(members * count[None, None], axis=-1)  # n_c, [V, C]
    safe_size = jnp.maximum(size, 1.0)
    total = jnp.einsum("vcb,vbt->vct", members.astype(embedding.dtype), member_sum, precision=exact)
    mean = total / safe_size[..., None]
    used = size > 0
    num_classes = jnp.sum(used, axis=-1)
    safe_classes = jnp.maximum(num_classes, 1).astype(embedding.dtype)

    # Every class of several instances contains a linked pair, because classes are joined by links.
    interacting = jnp.sum(members, axis=-1) > 1
    weight = jnp.where(interacting, pull_weight, 1.0) / safe_size
    own = jnp.where(instance[None] >= 0, class_of_instance[:, jnp.maximum(instance, 0)], -1)  # [V, K]
    at = jnp.maximum(own, 0)
    # Distances to the mean, because the difference of sums of squares loses precision in float32.
    offset = jnp.swapaxes(embedding, 0, 1) - jnp.take_along_axis(mean, at[..., None], axis=1)
    pulled = jnp.take_along_axis(weight, at, axis=1) * jnp.sum(offset**2, axis=-1)
    pull = jnp.sum(jnp.where(own >= 0, pulled, 0.0), axis=-1) / safe_classes

    distance = jnp.sum((mean[:, :, None] - mean[:, None]) ** 2, axis=-1)  # [V, C, C]
    usual = jnp.any(members & target_like[:, None], axis=-1)
    gamma = jnp.where(usual[:, :, None] & usual[:, None], push_weight, 1.0)
    others = used[:, :, None] & used[:, None] & (number[:, None] != number[None])[None]
    pushed = jnp.where(others, gamma * jnp.exp(-distance / (2 * sigma**2)), 0.0)
    push = jnp.sum(pushed, axis=(1, 2)) / safe_classes**2
    return PullPush(pull, push, num_classes)
