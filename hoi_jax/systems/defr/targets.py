"""Image-level labels: those of the records, those that annotated pairs imply, or in action style what anybody does."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from hoi_jax.system import Batch
from hoi_jax.vocab.tables import Vocabulary

_PAIR_FIELDS = frozenset({"pairs_verbs", "pairs_object", "pairs_valid", "instances_class"})


def label_fields(vocabulary: Vocabulary, source: str) -> frozenset[str]:
    """Batch fields that `image_labels` reads."""
    if not vocabulary.hois:
        return frozenset({"persons_actions", "persons_valid"})
    return _PAIR_FIELDS if source == "pairs" else frozenset({"hoi_labels"})


def labels_from_pairs(batch: Batch, vocabulary: Vocabulary) -> Bool[Array, "batch classes"]:
    """HOI classes of which the picture has an annotated pair."""
    verb, obj = np.asarray(vocabulary.hois, np.int32).T
    thing = jnp.take_along_axis(batch["instances_class"], jnp.maximum(batch["pairs_object"], 0), axis=1)
    used = batch["pairs_valid"] & (batch["pairs_object"] >= 0)
    fits = (thing[:, :, None] == obj[None, None]) & used[:, :, None]
    return jnp.any(batch["pairs_verbs"][:, :, verb] & fits, axis=1)


def image_labels(
    batch: Batch, vocabulary: Vocabulary, source: str = "image"
) -> tuple[Bool[Array, "batch classes"], Bool[Array, "batch classes"]]:
    """(positive, settled): HOI classes, or verbs in action style. Not settled are ambiguous labels (HICO's 0), and
    verbs of actions that nobody is labelled to do but somebody is not labelled for."""
    if vocabulary.hois and source == "pairs":
        positive = labels_from_pairs(batch, vocabulary)
        return positive, jnp.ones_like(positive)
    if vocabulary.hois:
        labels = batch["hoi_labels"]
        return labels == 1, labels != 0
    actions = batch["persons_actions"][:, :, np.asarray(vocabulary.verb_action)]
    used = batch["persons_valid"][:, :, None]
    positive = jnp.any((actions == 1) & used, axis=1)
    return positive, positive | ~jnp.any((actions < 0) & used, axis=1)


def class_weights(labels: Int[np.ndarray, "pictures classes"], copies: np.ndarray | None = None) -> tuple[float, ...]:
    """Negatives per positive of each class: `positive_weights` of the weighted cross-entropy (Table 7).

    Args:
      labels: 1 = positive. copies: times that each picture is shown per epoch, where rare classes are oversampled.

    Returns:
      One number per class; 1 for a class without positives.
    """
    shown = np.ones(len(labels)) if copies is None else np.asarray(copies, np.float64)
    positive = shown @ (labels == 1)
    return tuple(np.where(positive > 0, (shown.sum() - positive) / np.maximum(positive, 1), 1.0).tolist())
