"""Image-level labels: those of the records, or in action style what any person of the picture does."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from hoi_jax.system import Batch
from hoi_jax.vocab.tables import Vocabulary


def label_fields(vocabulary: Vocabulary) -> frozenset[str]:
    """Batch fields that `image_labels` reads."""
    return frozenset({"hoi_labels"} if vocabulary.hois else {"persons_actions", "persons_valid"})


def image_labels(
    batch: Batch, vocabulary: Vocabulary
) -> tuple[Bool[Array, "batch classes"], Bool[Array, "batch classes"]]:
    """(positive, settled): HOI classes, or verbs in action style. Not settled are ambiguous labels (HICO's 0), and
    verbs of actions that nobody is labelled to do but somebody is not labelled for."""
    if vocabulary.hois:
        labels = batch["hoi_labels"]
        return labels == 1, labels != 0
    actions = batch["persons_actions"][:, :, np.asarray(vocabulary.verb_action)]
    used = batch["persons_valid"][:, :, None]
    positive = jnp.any((actions == 1) & used, axis=1)
    return positive, positive | ~jnp.any((actions < 0) & used, axis=1)
