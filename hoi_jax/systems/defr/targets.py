"""Image-level labels, and the class weights of the weighted cross-entropy.

Labels are those of the records, those implied by annotated pairs, or in action style the actions of all people. Class
weights come from the config or from a file written by `python -m hoi_jax.commands.count_labels`.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from hoi_jax import io
from hoi_jax.settings import SettingsError
from hoi_jax.system import Batch
from hoi_jax.vocab.tables import Vocabulary

_PAIR_FIELDS = frozenset({"pairs_verbs", "pairs_object", "pairs_valid", "instances_class"})


def label_fields(vocabulary: Vocabulary, source: str) -> frozenset[str]:
    """Batch fields that `image_labels` reads."""
    if not vocabulary.hois:
        return frozenset({"persons_actions", "persons_valid"})
    return _PAIR_FIELDS if source == "pairs" else frozenset({"hoi_labels"})


def labels_from_pairs(batch: Batch, vocabulary: Vocabulary) -> Bool[Array, "batch classes"]:
    """HOI classes with at least one annotated pair in the image."""
    verb, obj = np.asarray(vocabulary.hois, np.int32).T
    item = jnp.take_along_axis(batch["instances_class"], jnp.maximum(batch["pairs_object"], 0), axis=1)
    used = batch["pairs_valid"] & (batch["pairs_object"] >= 0)
    fits = (item[:, :, None] == obj[None, None]) & used[:, :, None]
    return jnp.any(batch["pairs_verbs"][:, :, verb] & fits, axis=1)


def image_labels(
    batch: Batch, vocabulary: Vocabulary, source: str = "image"
) -> tuple[Bool[Array, "batch classes"], Bool[Array, "batch classes"]]:
    """(positive, settled) labels of HOI classes, or of verbs in action style.

    Ambiguous labels (HICO's 0) are not settled, nor are actions without a positive label that are unlabelled for at
    least one person.
    """
    if vocabulary.hois and source == "pairs":
        positive = labels_from_pairs(batch, vocabulary)
        return positive, jnp.ones_like(positive)
    if vocabulary.hois:
        labels = jnp.asarray(batch["hoi_labels"])
        return labels == 1, labels != 0
    actions = batch["persons_actions"][:, :, np.asarray(vocabulary.verb_action)]
    used = batch["persons_valid"][:, :, None]
    positive = jnp.any((actions == 1) & used, axis=1)
    return positive, positive | ~jnp.any((actions < 0) & used, axis=1)


def class_weights(labels: Int[np.ndarray, "images classes"], copies: np.ndarray | None = None) -> tuple[float, ...]:
    """Negatives per positive of each class: `positive_weights` of the weighted cross-entropy (Table 7).

    Args:
      labels: 1 = positive.
      copies: number of copies of each image per epoch, if rare classes are oversampled.

    Returns:
      one number per class; 1 for a class without positives.
    """
    shown = np.ones(len(labels)) if copies is None else np.asarray(copies, np.float64)
    positive = shown @ (labels == 1)
    return tuple(np.where(positive > 0, (shown.sum() - positive) / np.maximum(positive, 1), 1.0).tolist())


KEY = "positive_weights"


def read_weights(path: str, classes: int) -> np.ndarray:
    """Read a file of class weights, [classes] float32.

    Raises:
      SettingsError: there is no such file, or it has a different number of classes.
    """
    if not Path(path).is_file():
        raise SettingsError(
            f"model.loss.positive_weights: no file {path}; write it with python -m hoi_jax.commands.count_labels"
        )
    arrays = io.read_npz(path, max_bytes=io.MEGABYTE)
    if KEY not in arrays or arrays[KEY].shape != (classes,):
        found = arrays[KEY].shape if KEY in arrays else "nothing"
        raise SettingsError(f"model.loss.positive_weights: shape in {path} is {found}, expected ({classes},)")
    return arrays[KEY].astype(np.float32)
