"""Elementwise losses of logits and box offsets, without reduction."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike


def binary_cross_entropy(
    logits: Float[ArrayLike, "*shape"], labels: Bool[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """-log sigmoid(logit) for True labels, -log(1 - sigmoid(logit)) for False ones; stable for any logit."""
    return jax.nn.softplus(jnp.where(labels, -logits, logits))


def log_frequency_weights(counts: np.ndarray) -> np.ndarray:
    """Weights w_c = ln(N / n_c), where N is the sum of the counts (TIN, released code).

    They multiply the *logits* in training; the released code omits them in prediction.

    Args:
      counts: [classes] training instances, at least 0. A class without any is treated as if it had one.

    Returns:
      [classes] float64.

    Raises:
      ValueError: `counts` is not one row of numbers >= 0 with a positive sum.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or counts.size == 0 or counts.min() < 0 or counts.sum() <= 0:
        raise ValueError(f"counts must be one row of numbers >= 0 with a positive sum, got {counts}")
    return np.log(counts.sum() / np.maximum(counts, 1.0))


def weighted_binary_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Bool[ArrayLike, "*batch classes"],
    positive_weight: Float[ArrayLike, " classes"],
) -> Float[Array, "*batch classes"]:
    """Binary cross-entropy with the loss of positive entries multiplied by `positive_weight`."""
    weight = positive_weight.reshape((1,) * (logits.ndim - 1) + (-1,))
    return binary_cross_entropy(logits, labels) * jnp.where(labels, weight, 1.0)


def lse_sign_loss(
    scores: Float[ArrayLike, "*batch classes"],
    labels: Bool[ArrayLike, "*batch classes"],
    known: Bool[ArrayLike, "*batch classes"] | None = None,
) -> Float[Array, "*batch"]:
    """log(1 + sum_i exp(-y_i s_i)), where y is +1 for True labels and -1 otherwise (DEFR, Eq. 2); one value per image.

    The gradient is -y_i times a softmax over the classes and a constant zero (Eq. 3), so its absolute values sum to
    less than one. Finite for any scores.

    Args:
      known: classes that are included; None = all.
    """
    wrong = jnp.where(labels, -scores, scores)
    if known is not None:
        wrong = jnp.where(known, wrong, -jnp.inf)
    padding = [(0, 0)] * (wrong.ndim - 1) + [(1, 0)]
    return jax.nn.logsumexp(jnp.pad(wrong, padding), axis=-1)  # the padded 0 is the "1 +"


def softmax_cross_entropy(
    logits: Float[ArrayLike, "*shape classes"], label: Int[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """-log softmax(logits)[label]."""
    log_probability = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.take_along_axis(log_probability, label[..., None], axis=-1)[..., 0]


def binary_focal(
    logits: Float[ArrayLike, "*shape"],
    labels: Bool[ArrayLike, "*shape"],
    *,
    alpha: float | None = None,
    gamma: float = 2.0,
) -> Float[Array, "*shape"]:
    """-(1 - p_t)^gamma log p_t, where p_t is the label's probability (Lin et al., ICCV 2017); finite for any logit.

    Args:
      alpha: weight of positives, 1 - alpha of negatives (CDN: 0.5); None = 1 for both (QPIC).
    """
    signed = jnp.where(labels, logits, -logits)
    loss = jax.nn.softplus(-signed) * jax.nn.sigmoid(-signed) ** gamma
    return loss if alpha is None else loss * jnp.where(labels, alpha, 1.0 - alpha)


def smooth_l1(
    prediction: Float[ArrayLike, "*shape"], target: Float[ArrayLike, "*shape"], *, beta: float = 1.0
) -> Float[Array, "*shape"]:
    """x^2 / (2 beta) if |x| < beta, else |x| - beta / 2, where x is the difference (Girshick, ICCV 2015).

    Args:
      beta: 1 for box heads, 1/9 for region proposals.
    """
    distance = jnp.abs(prediction - target)
    return jnp.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)
