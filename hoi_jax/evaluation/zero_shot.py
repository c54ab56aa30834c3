"""Zero-shot means of HICO-DET: AP of the classes that a split leaves out of training, and of the others."""

import numpy as np
from jaxtyping import Float

from hoi_jax.evaluation.ap import mean_defined
from hoi_jax.vocab.tables import Vocabulary
from hoi_jax.vocab.zero_shot import ZERO_SHOT_UNSEEN, unseen_mask


def zero_shot_means(ap: Float[np.ndarray, " c"], vocabulary: Vocabulary) -> dict[str, float]:
    """`zero_shot/{rf_uc,nf_uc,uo,uv,ua}/{unseen,seen,full}` from the Default APs; nothing for other vocabularies.

    The numbers say something of a model only if it was trained without the unseen classes of that split.
    """
    if vocabulary.name != "hico_det":
        return {}
    means = {}
    for split in ZERO_SHOT_UNSEEN:
        unseen = unseen_mask(split)
        for name, value in (("unseen", ap[unseen]), ("seen", ap[~unseen]), ("full", ap)):
            means[f"zero_shot/{split}/{name}"] = mean_defined(value)
    return means
