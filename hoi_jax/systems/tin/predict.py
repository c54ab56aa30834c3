"""From detections to ranked interactions: pairing, LIS, fusion and NIS (TIN, sections 3.3 to 3.5)."""

import functools
from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.ops.pairs import enumerate_pairs, take_rows, top_rows
from hoi_jax.ops.scoring import lis_weight, suppress_pairs, verb_scores_of_class
from hoi_jax.system import Batch, Predictions, Variables
from hoi_jax.systems.tin.config import ScoreConfig, TinConfig
from hoi_jax.systems.tin.model import TinNet, picture_of
from hoi_jax.systems.tin.sampling import DETECTION_FIELDS, choose_detections
from hoi_jax.vocab.tables import Vocabulary


def prediction_fields(config: TinConfig) -> frozenset[str]:
    """Batch fields that prediction reads."""
    return frozenset(DETECTION_FIELDS + (("image", "image_hw_px") if config.uses_pixels else ()))


def detector_weight(score: Float[Array, "*batch"], config: ScoreConfig) -> Float[Array, "*batch"]:
    """What one detector confidence contributes to a score: LIS (Eq. 3), 1, or the confidence itself."""
    if config.lis == "none":
        return jnp.ones_like(score)
    if config.lis == "product":
        return score
    return lis_weight(score, scale=config.lis_scale, offset=config.lis_offset, slope=config.lis_slope)


def fuse(streams: Mapping[str, Array], fusion: str) -> Float[Array, "batch pairs classes"]:
    """The classifier's score of every pair from the scores of its streams (late fusion)."""
    spatial = streams.get("spatial")
    appearance = [value for name, value in streams.items() if name != "spatial"]
    if spatial is None or not appearance:
        return functools.reduce(jnp.add, streams.values())
    summed = functools.reduce(jnp.add, appearance)
    return summed * spatial if fusion == "product" else summed + spatial


def _pad_rows(table: Array, length: int) -> Array:
    return jnp.pad(table, [(0, length - table.shape[0])] + [(0, 0)] * (table.ndim - 1))


def propose_pairs(example: Batch, human_class: int, config: TinConfig) -> dict[str, Array]:
    """People, objects and the best pairs of one image (fields without batch axis).

    Every person above the human threshold is paired with every other detection above the object threshold, and the
    `max_pairs` pairs with the largest product of confidences are kept, best first.

    Returns:
      human_* [N, ...], object_* [M, ...] tables (xyxy_px, score, used; keypoints_px of humans, class of objects) and
      human_index, object_index, pair_valid [max_pairs].
    """
    score = config.score
    chosen = choose_detections(example, human_class, score.human_threshold, score.object_threshold, config)
    out = {}
    for name, (rows, used) in zip(("human", "object"), chosen, strict=True):
        out[f"{name}_used"] = used
        for column in ("xyxy_px", "score"):
            out[f"{name}_{column}"] = take_rows(example[f"detections_{column}"], rows, used)
    out["human_keypoints_px"] = take_rows(example["detections_keypoints_px"], *chosen[0])
    out["object_class"] = take_rows(example["detections_class"], *chosen[1])
    candidates = enumerate_pairs(out["human_xyxy_px"], out["object_xyxy_px"], out["human_used"], out["object_used"])
    product = out["human_score"][:, None] * out["object_score"][None, :]
    rows, valid = top_rows(product.reshape(-1), candidates.reshape(-1), config.max_pairs)
    objects = out["object_used"].shape[0]
    out["human_index"] = _pad_rows(rows // objects, config.max_pairs)
    out["object_index"] = _pad_rows(rows % objects, config.max_pairs)
    out["pair_valid"] = _pad_rows(valid, config.max_pairs)
    return out


def _verb_scores(fused: Array, object_class: Array, vocabulary: Vocabulary) -> Float[Array, "batch pairs verbs"]:
    """Fused class scores by verb; combinations that the vocabulary excludes are 0."""
    if vocabulary.hois:
        return verb_scores_of_class(fused, object_class, jnp.asarray(vocabulary.hoi_table))
    allowed = vocabulary.verb_object_mask & (np.asarray(vocabulary.verb_role) >= 0)[:, None]
    return jnp.where(jnp.take(jnp.asarray(allowed.T), object_class, axis=0), fused, 0.0)


def make_predict(net: TinNet, config: TinConfig, vocabulary: Vocabulary):
    """The `predict` function of a System.

    verb_scores = (p_human + p_object + p_spatial) * s_P with s_P = f_P * L(s_h) * L(s_o) (Eqs. 1 to 6), L the LIS
    weight; `interactiveness` is s_P, and `kept` is False where s_P < the NIS threshold (scores stay as they are).
    Without P, s_P is L(s_h) * L(s_o) and nothing is suppressed. `score.fusion` and `score.spare_no_interaction` change
    the first formula as they say.
    """
    c = config.classifier.streams

    def pair_of(table: Array, index: Array) -> Array:
        return jax.vmap(lambda rows, at: jnp.take(rows, at, axis=0))(table, index)

    def predict(variables: Variables, batch: Batch) -> Predictions:
        examples = {name: batch[name] for name in DETECTION_FIELDS}
        p = jax.vmap(lambda example: propose_pairs(example, vocabulary.human_class, config))(examples)
        hw = batch["image_hw_px"] if config.uses_pixels else jnp.ones((len(p["pair_valid"]), 2), jnp.int32)
        human, obj, valid = p["human_index"], p["object_index"], p["pair_valid"]
        logits = cast(
            dict[str, Array],
            net.apply(
                dict(variables),
                picture_of(batch, config),
                hw,
                p["human_xyxy_px"],
                p["object_xyxy_px"],
                p["human_keypoints_px"],
                human,
                obj,
            ),
        )
        score = {name: jax.nn.sigmoid(value.astype(jnp.float32)) for name, value in logits.items()}
        rows = {"human": human, "object": obj}
        fused = fuse({n: pair_of(score[n], rows[n]) if n in rows else score[n] for n in c}, config.score.fusion)
        human_score, object_score = pair_of(p["human_score"], human), pair_of(p["object_score"], obj)
        s_pair = detector_weight(human_score, config.score) * detector_weight(object_score, config.score)
        weight = jnp.repeat(s_pair[:, :, None], len(vocabulary.verbs), axis=2)
        kept = valid
        if config.interactiveness.streams:
            s_pair = score["interactiveness"] * s_pair
            spared = np.arange(len(vocabulary.verbs)) == vocabulary.no_interaction
            spared &= config.score.spare_no_interaction
            weight = jnp.where(spared[None, None], weight, s_pair[:, :, None])
            if config.nis.enabled:
                kept = suppress_pairs(s_pair, valid, threshold=config.nis.threshold)
        object_class = pair_of(p["object_class"], obj)
        verbs = _verb_scores(fused, object_class, vocabulary) * weight
        out = {
            "human_xyxy_px": pair_of(p["human_xyxy_px"], human),
            "object_xyxy_px": pair_of(p["object_xyxy_px"], obj),
            "object_class": object_class,
            "human_score": human_score,
            "object_score": object_score,
            "verb_scores": verbs,
            "interactiveness": s_pair,
        }
        out = {name: _blank(value, valid) for name, value in out.items()} | {"kept": kept, "pair_valid": valid}
        if not vocabulary.hois and "human" in c:
            weight = detector_weight(p["human_score"], config.score)
            out["agent_xyxy_px"] = p["human_xyxy_px"]
            out["agent_scores"] = _blank(score["human"] * weight[:, :, None], p["human_used"])
            out["agent_valid"] = p["human_used"]
        return out

    return predict


def _blank(table: Array, valid: Array) -> Array:
    """Zeros in unused rows."""
    return jnp.where(valid.reshape(valid.shape + (1,) * (table.ndim - 2)), table, jnp.zeros_like(table))
