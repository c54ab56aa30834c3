"""Elementwise losses of one-to-one matched predictions (DETR, QPIC, CDN); nothing is averaged here."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def softmax_cross_entropy(
    logits: Float[Array, "*shape classes"], label: Int[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """-log softmax(logits)[label]."""
    log_probability = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_probability, label[..., None], axis=-1)[..., 0]


def binary_focal(
    logits: Float[Array, "*shape"], labels: Bool[Array, "*shape"], *, alpha: float | None = None, gamma: float = 2.0
) -> Float[Array, "*shape"]:
    """-(1 - p_t)^gamma log p_t with p_t the probability of the label (Lin et al., ICCV 2017); finite for any logit.

    Args:
      alpha: weight of positives, 1 - alpha of negatives (CDN: 0.5); None = 1 for both (QPIC).
    """
    signed = jnp.where(labels, logits, -logits)
    loss = jax.nn.softplus(-signed) * jax.nn.sigmoid(-signed) ** gamma
    return loss if alpha is None else loss * jnp.where(labels, alpha, 1.0 - alpha)
