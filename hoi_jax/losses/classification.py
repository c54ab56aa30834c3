"""Elementwise classification losses; nothing is averaged here."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def binary_cross_entropy(logits: Float[Array, "*shape"], labels: Bool[Array, "*shape"]) -> Float[Array, "*shape"]:
    """-log sigmoid(logit) where the label is True, else -log(1 - sigmoid(logit)); stable for any logit."""
    return jax.nn.softplus(jnp.where(labels, -logits, logits))


def log_frequency_weights(counts: np.ndarray) -> np.ndarray:
    """w_c = ln(N / n_c) with N the sum of the counts (TIN, released code).

    Multiplied with the *logit* in training; the released code leaves them out at test.

    Args:
      counts: [classes] training instances, not negative. A class without any is treated as if it had one.

    Returns:
      [classes] float64.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or counts.size == 0 or counts.min() < 0 or counts.sum() <= 0:
        raise ValueError(f"counts must be one row of numbers >= 0 with a positive sum, got {counts}")
    return np.log(counts.sum() / np.maximum(counts, 1.0))


def weighted_binary_cross_entropy(
    logits: Float[Array, "*batch classes"],
    labels: Bool[Array, "*batch classes"],
    positive_weight: Float[Array, "classes"],
) -> Float[Array, "*batch classes"]:
    """Binary cross-entropy whose positive entries count `positive_weight` times."""
    weight = positive_weight.reshape((1,) * (logits.ndim - 1) + (-1,))
    return binary_cross_entropy(logits, labels) * jnp.where(labels, weight, 1.0)


def lse_sign_loss(
    scores: Float[Array, "*batch classes"],
    labels: Bool[Array, "*batch classes"],
    known: Bool[Array, "*batch classes"] | None = None,
) -> Float[Array, "*batch"]:
    """log(1 + sum_i exp(-y_i s_i)) with y = +1 where `labels`, else -1 (DEFR, Eq. 2); one value per image.

    The gradient is -y_i times a softmax over the classes and a constant zero (Eq. 3), so that its absolute values sum
    to less than one. Finite for any scores.

    Args:
      known: classes that take part; None = all.
    """
    wrong = jnp.where(labels, -scores, scores)
    if known is not None:
        wrong = jnp.where(known, wrong, -jnp.inf)
    padding = [(0, 0)] * (wrong.ndim - 1) + [(1, 0)]
    return jax.nn.logsumexp(jnp.pad(wrong, padding), axis=-1)  # the padded 0 is the "1 +"
