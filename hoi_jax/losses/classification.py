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

    Multiplied with the *logit* in training and left out at test, so that rare classes are pushed harder.

    Args:
      counts: [classes] training instances, not negative. A class without any is treated as if it had one.

    Returns:
      [classes] float64.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or counts.size == 0 or counts.min() < 0 or counts.sum() <= 0:
        raise ValueError(f"counts must be one row of numbers >= 0 with a positive sum, got {counts}")
    return np.log(counts.sum() / np.maximum(counts, 1.0))
