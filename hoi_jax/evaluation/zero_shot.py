"""Zero-shot means of HICO-DET: AP of the classes that a split leaves out of training, and of the others."""

import numpy as np
from jaxtyping import Bool, Float

from hoi_jax.evaluation.ap import mean_defined
from hoi_jax.vocab.tables import Vocabulary
from hoi_jax.vocab.zero_shot import ZERO_SHOT_UNSEEN, unseen_mask


def zero_shot_means(ap: Float[np.ndarray, " c"], vocabulary: Vocabulary) -> dict[str, float]:
    """`zero_shot/{rf_uc,nf_uc,uo,uv,ua}/{unseen,seen,full}` from the Default APs; nothing for other vocabularies.

    The numbers say something of a model only if it was trained without the unseen classes of that split.
    """
    return {name: mean_defined(ap[mask]) for name, mask in zero_shot_masks(vocabulary).items()}


def zero_shot_masks(vocabulary: Vocabulary) -> dict[str, Bool[np.ndarray, " c"]]:
    """Metric of `zero_shot_means` -> the classes that it averages."""
    masks: dict[str, np.ndarray] = {}
    if vocabulary.name == "hico_det":
        for split in ZERO_SHOT_UNSEEN:
            unseen = unseen_mask(split)
            for name, mask in (("unseen", unseen), ("seen", ~unseen), ("full", np.ones_like(unseen))):
                masks[f"zero_shot/{split}/{name}"] = mask
    return masks
