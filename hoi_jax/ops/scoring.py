"""From stream probabilities and detector confidences to the scores that are ranked."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def lis_weight(
    score: Float[Array, "*batch"], *, scale: float = 8.4, offset: float = 12.0, slope: float = 10.0
) -> Float[Array, "*batch"]:
    """Weight that fades weak detections and keeps strong ones (TIN, Eq. 3): scale / (1 + exp(offset - slope * score)).

    Args:
      score: Detector confidence in [0, 1]. Outside that range the formula still holds but means nothing.
      scale, offset, slope: T, k, w of the paper, with its values as defaults.

    Returns:
      Weight per score. With the defaults, 5.2e-5 at 0 and 1.0013 at 1 (the paper's Fig. 5 prints 0.999 for the
      latter, which needs T = 8.38).
    """
    return scale * jax.nn.sigmoid(slope * score - offset)


def suppress_pairs(
    interactiveness: Float[Array, "*batch"], valid: Bool[Array, "*batch"], *, threshold: float = 0.1
) -> Bool[Array, "*batch"]:
    """Non-interaction suppression as a mask (TIN, section 3.5): False where the score is below `threshold`."""
    return valid & (interactiveness >= threshold)


def verb_scores_of_class(
    hoi_scores: Float[Array, "*batch hois"],
    object_class: Int[Array, "*batch"],
    hoi_table: Int[Array, "verbs objects"],
) -> Float[Array, "*batch verbs"]:
    """Scores of the HOI classes of one object class, laid out by verb; 0 where the combination does not exist.

    Args:
      hoi_scores: score of every HOI class.
      object_class: index into the columns of `hoi_table`.
      hoi_table: HOI class of a verb with an object, -1 = none (`Vocabulary.hoi_table`).
    """
    hoi = jnp.take(hoi_table.T, object_class, axis=0)
    scores = jnp.take_along_axis(hoi_scores, jnp.maximum(hoi, 0), axis=-1)
    return jnp.where(hoi >= 0, scores, 0.0)
