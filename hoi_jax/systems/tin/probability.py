"""From logits to probabilities: where class frequencies enter, in training and at test."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.losses.elementwise import log_frequency_weights
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.release import released_counts
from hoi_jax.vocab.tables import Vocabulary


def class_weights(config: TinConfig, vocabulary: Vocabulary, stream: str) -> np.ndarray | None:
    """[K] float32 weights ln(N / n) of one stream; None where it is not weighted or the vocabulary has no counts."""
    c = config.loss
    if c.weighting == "none" or stream not in c.weighted:
        return None
    if c.counts == "released":
        counts = released_counts(vocabulary, stream)
    else:
        counts = np.asarray(vocabulary.train_counts)
        if len(counts) != (len(vocabulary.hois) or len(vocabulary.verbs)):
            return None
    return log_frequency_weights(counts).astype(np.float32)


def logit_scales(config: TinConfig, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """What logits are multiplied by before the sigmoid at test, by output; nothing where they stay as they are.

    Under `loss.weighting` "logit_scale" training makes sigmoid(w_c z) the probability of class c. It is the score of C
    in Eq. 6, a product of probabilities: sigmoid(z) in its place is squeezed around 1/2, the more the rarer the class,
    and the interactiveness that it is multiplied by decides alone. `ScoreConfig.weighted_logits` False leaves the
    weights out as the released code does, which multiplies by no interactiveness.
    """
    if not config.score.weighted_logits:
        return {}
    scales = {}
    if config.loss.weighting == "logit_scale":
        for stream in config.classifier.streams:
            weights = class_weights(config, vocabulary, stream)
            if weights is not None:
                scales[stream] = weights
    if config.interactiveness.streams and config.interactiveness.logit_weights:
        scales["interactiveness"] = np.asarray(config.interactiveness.logit_weights, np.float32)
    return scales


def probabilities(
    logits: Mapping[str, Float[Array, "..."]], scales: Mapping[str, np.ndarray]
) -> dict[str, Float[Array, "..."]]:
    """Sigmoid of every output in float32, its last axis multiplied by the output's `logit_scales` before."""
    found = {}
    for name, value in logits.items():
        value = value.astype(np.float32)
        if name in scales:
            value = value * scales[name].reshape((1,) * (value.ndim - 1) + (-1,))
        found[name] = jax.nn.sigmoid(value)
    return found
