"""Score rules of TIN: class weights, probabilities, detector weights, fusion of streams, suppression, best objects.

Class frequencies are used in training and in prediction (`class_weights`, `logit_scales`). Values of the authors'
released code that are not in the paper (counts, suppression bounds, allowed objects) are in `release_tables.json`.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax import io
from hoi_jax.losses.elementwise import log_frequency_weights
from hoi_jax.ops.scoring import fuse_scores, lis_weight, suppress_pairs
from hoi_jax.systems.tin.config import NisConfig, ScoreConfig, TinConfig
from hoi_jax.vocab.tables import Vocabulary


def class_weights(config: TinConfig, vocabulary: Vocabulary, stream: str) -> np.ndarray | None:
    """Weights ln(N / n) of one stream, [K] float32; None if it is not weighted or the vocabulary has no counts."""
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
    """Factors of the logits before the sigmoid in prediction, by output; outputs without a factor are left out.

    With `loss.weighting` "logit_scale", the trained probability of class c is sigmoid(w_c z), which is C's score in
    Eq. 6, a product of probabilities. Using sigmoid(z) instead would compress scores towards 1/2, most of all for rare
    classes, so that interactiveness would dominate the product. `ScoreConfig.weighted_logits` False omits the weights,
    as in the released code, which does not multiply by interactiveness.
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
    """Sigmoid of every output in float32, after its last axis is multiplied by the output's `logit_scales`."""
    found = {}
    for name, value in logits.items():
        value = value.astype(np.float32)
        if name in scales:
            value = value * scales[name].reshape((1,) * (value.ndim - 1) + (-1,))
        found[name] = jax.nn.sigmoid(value)
    return found


def detector_weight(score: Float[Array, "*batch"], config: ScoreConfig) -> Float[Array, "*batch"]:
    """Factor of a score for one detector confidence: LIS (Eq. 3), 1, or the confidence itself."""
    if config.lis == "none":
        return jnp.ones_like(score)
    if config.lis == "product":
        return score
    return lis_weight(score, scale=config.lis_scale, offset=config.lis_offset, slope=config.lis_slope)


def fuse(streams: Mapping[str, Array], fusion: str) -> Float[Array, "*batch classes"]:
    """Score of every pair from the scores of C's streams; a joint stream (early fusion) is used alone."""
    if "joint" in streams:
        return streams["joint"]
    appearance = [scores for name, scores in streams.items() if name != "spatial"]
    return fuse_scores(appearance, streams.get("spatial"), "weighted_sum" if fusion == "product" else "sum")


def kept_pairs(
    config: NisConfig,
    s_pair: Float[Array, "*batch"],
    interactive: Float[Array, "*batch"],
    non_interactive: Float[Array, "*batch"],
    object_class: Int[Array, "*batch"],
    bounds: Float[Array, "objects 2"],
    human_class: int,
) -> Bool[Array, "*batch"]:
    """Mask of the pairs that suppression keeps.

    Args:
      s_pair: f_P L(s_h) L(s_o), for rule "s_p".
      interactive, non_interactive: P's probabilities, for rule "two_sided".
      bounds: bounds per object class (`nis_bounds`).
    """
    if not config.enabled:
        return jnp.ones(s_pair.shape, bool)
    if config.rule == "s_p":
        kept = suppress_pairs(s_pair, jnp.ones(s_pair.shape, bool), threshold=config.threshold)
    else:
        limits = jnp.take(bounds, object_class, axis=0)
        kept = ~((non_interactive > limits[..., 1]) & (interactive < limits[..., 0]))
    return kept & (object_class != human_class) if config.drop_person_objects else kept


def best_objects(
    scores: Float[Array, "pairs verbs"], human_index: Int[Array, " pairs"], valid: Bool[Array, " pairs"], humans: int
) -> Bool[Array, "pairs verbs"]:
    """Mask of each person's best pair per verb in one image (the first of equal ones), without scores of 0."""
    usable = valid[:, None] & (scores > 0)
    ranked = jnp.where(usable, scores, -jnp.inf)
    best = jax.ops.segment_max(ranked, human_index, num_segments=humans)[human_index]
    row = jnp.arange(scores.shape[0])[:, None]
    at_best = usable & (ranked == best)
    first = jax.ops.segment_min(jnp.where(at_best, row, scores.shape[0]), human_index, num_segments=humans)
    return at_best & (row == first[human_index])


@functools.cache
def _tables() -> Mapping[str, Any]:
    return io.read_json(Path(__file__).with_name("release_tables.json"), max_bytes=1 << 20)


def released(vocabulary: Vocabulary, name: str) -> Sequence[Any]:
    """A table of the released code. Raises ValueError if there is none of this name for the vocabulary."""
    tables = _tables().get(vocabulary.name, {})
    if name not in tables:
        raise ValueError(f"the released code has no table {name!r} for {vocabulary.name!r}; it has {sorted(tables)}")
    return tables[name]


def released_counts(vocabulary: Vocabulary, stream: str) -> np.ndarray:
    """Training counts of the network's outputs for the weights ln(sum / count) of one stream of C.

    HICO-DET has one table of 600, in which sampled negatives count as no_interaction; V-COCO has people per action for
    the human stream and pairs per verb for the others.
    """
    name = "counts" if vocabulary.hois else "person_counts" if stream == "human" else "pair_counts"
    return np.asarray(released(vocabulary, name), np.float64)


def nis_bounds(config: NisConfig, vocabulary: Vocabulary) -> np.ndarray:
    """Bounds of the two-sided rule per object class, [objects, 2] float32.

    A pair is suppressed if f_P is below the first bound and the non-interactive score above the second.
    """
    if config.bounds == "released":
        return np.asarray(released(vocabulary, "nis_bounds"), np.float32)
    both = (config.interactive_below, config.non_interactive_above)
    return np.tile(np.asarray(both, np.float32), (len(vocabulary.objects), 1))


def allowed_objects(tables: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """Combinations, [verbs, objects] bool, that all of `tables` ("vocabulary", "released") allow."""
    allowed = np.ones((len(vocabulary.verbs), len(vocabulary.objects)), bool)
    for table in tables:
        if table == "vocabulary":
            allowed &= vocabulary.verb_object_mask
        else:
            for verb, objects in enumerate(released(vocabulary, "verb_objects")):
                allowed[verb] &= np.isin(np.arange(allowed.shape[1]), objects)
    return allowed
