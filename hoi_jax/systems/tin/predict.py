"""From detections to ranked interactions: pairing, LIS, fusion and NIS (TIN, sections 3.3 to 3.5)."""

from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.ops.pairs import enumerate_pairs, take_rows, top_rows
from hoi_jax.ops.scoring import verb_scores_of_class
from hoi_jax.system import Batch, Predictions, Variables
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.model import TinNet, logits_of_boxes, pair_logits, picture_field, picture_of
from hoi_jax.systems.tin.sampling import DETECTION_FIELDS, choose_detections
from hoi_jax.systems.tin.scores import (
    agents_of_pairs,
    allowed_objects,
    best_objects,
    detector_weight,
    fuse,
    kept_pairs,
    logit_scales,
    nis_bounds,
    probabilities,
)
from hoi_jax.vocab.tables import Vocabulary

_Rows = tuple[Array, Array]


def prediction_fields(config: TinConfig) -> frozenset[str]:
    """Batch fields that prediction reads."""
    picture = picture_field(config)
    return frozenset((*DETECTION_FIELDS, *picture, *(("image_hw_px",) if picture else ())))


def _pad_rows(table: Array, length: int) -> Array:
    return jnp.pad(table, [(0, length - table.shape[0])] + [(0, 0)] * (table.ndim - 1))


def _chosen(example: Batch, human_class: int, config: TinConfig) -> tuple[_Rows, _Rows, Array]:
    """(rows, used) of people and of objects, and whether they are the fallback of a picture without pairs."""
    score = config.score
    humans, objects = choose_detections(example, human_class, score.human_threshold, score.object_threshold, config)
    if not score.fallback:
        return humans, objects, jnp.zeros((), bool)
    boxes = example["detections_xyxy_px"]
    candidates = enumerate_pairs(take_rows(boxes, *humans), take_rows(boxes, *objects), humans[1], objects[1])
    none = ~jnp.any(candidates)
    valid, person = example["detections_valid"], example["detections_class"] == human_class
    limit = config.score.fallback
    chosen = []
    for usual, who in ((humans, valid & person), (objects, valid & ~person)):
        rows, used = top_rows(example["detections_score"], who, len(usual[1]))
        used &= jnp.arange(len(used)) < limit
        chosen.append((jnp.where(none, rows, usual[0]), jnp.where(none, used, usual[1])))
    return chosen[0], chosen[1], none


def propose_pairs(example: Batch, human_class: int, config: TinConfig) -> dict[str, Array]:
    """People, objects and the best pairs of one image (fields without batch axis).

    Every person above the human threshold is paired with every other detection above the object threshold, and the
    `max_pairs` pairs with the largest product of confidences are kept, best first.

    Returns:
      human_* [N, ...], object_* [M, ...] tables (xyxy_px, score, used; keypoints_px of humans, class of objects),
      human_index, object_index, pair_valid [max_pairs], and `fallback` [] (see `ScoreConfig`).
    """
    humans, objects, fallback = _chosen(example, human_class, config)
    out = {"fallback": fallback}
    for name, (rows, used) in (("human", humans), ("object", objects)):
        out[f"{name}_used"] = used
        for column in ("xyxy_px", "score"):
            out[f"{name}_{column}"] = take_rows(example[f"detections_{column}"], rows, used)
    out["human_keypoints_px"] = take_rows(example["detections_keypoints_px"], *humans)
    out["object_class"] = take_rows(example["detections_class"], *objects)
    candidates = enumerate_pairs(out["human_xyxy_px"], out["object_xyxy_px"], out["human_used"], out["object_used"])
    product = out["human_score"][:, None] * out["object_score"][None, :]
    rows, valid = top_rows(product.reshape(-1), candidates.reshape(-1), config.max_pairs)
    columns = out["object_used"].shape[0]
    out["human_index"] = _pad_rows(rows // columns, config.max_pairs)
    out["object_index"] = _pad_rows(rows % columns, config.max_pairs)
    out["pair_valid"] = _pad_rows(valid, config.max_pairs)
    return out


def class_scores(config: TinConfig, probability: Mapping[str, Array], human: Array, obj: Array) -> Array:
    """[B, P, K]: fused probabilities of C's streams per pair; ones where C has no streams at all."""
    rows = {"human": human, "object": obj}
    streams = {
        name: rows_of(probability[name], rows[name]) if name in rows else probability[name]
        for name in config.classifier.streams
    }
    return fuse(streams, config.score.fusion) if streams else jnp.ones((*human.shape, 1))


def by_verb(fused: Array, object_class: Array, config: TinConfig, vocabulary: Vocabulary) -> Float[Array, "b p verbs"]:
    """Fused class scores by verb; combinations that the vocabulary or the priors exclude are 0."""
    verbs = len(vocabulary.verbs)
    if vocabulary.hois:
        if fused.shape[-1] == 1:
            fused = jnp.repeat(fused, len(vocabulary.hois), axis=-1)
        return verb_scores_of_class(fused, object_class, jnp.asarray(vocabulary.hoi_table))
    allowed = allowed_objects(config.score.prior, vocabulary) & (np.asarray(vocabulary.verb_role) >= 0)[:, None]
    fused = jnp.broadcast_to(fused, (*fused.shape[:2], verbs))
    return jnp.where(jnp.take(jnp.asarray(allowed.T), object_class, axis=0), fused, 0.0)


def rows_of(table: Array, index: Array) -> Array:
    """Rows `index` [B, P] of a table [B, N, ...]."""
    return jax.vmap(lambda rows, at: jnp.take(rows, at, axis=0))(table, index)


def network_logits(
    net: TinNet, variables: Variables, picture: Array, hw: Array, p: Mapping[str, Array]
) -> dict[str, Array]:
    """All logits for the tables of `propose_pairs` with a batch axis; pairs in chunks."""
    instances = cast(
        dict[str, Array],
        net.apply(
            dict(variables),
            picture,
            hw,
            p["human_xyxy_px"],
            p["object_xyxy_px"],
            p["object_class"],
            method="instances",
        ),
    )
    boxes = p["human_xyxy_px"], p["object_xyxy_px"], p["human_keypoints_px"]
    index = p["human_index"], p["object_index"], p["pair_valid"]
    return logits_of_boxes(instances) | pair_logits(net, variables, instances, boxes, *index)


def interaction_scores(probability: Array | None, pairs: tuple[int, ...]) -> tuple[Array, Array]:
    """P's probabilities that pairs [B, P] interact and that they do not, from its one or two; (1, 0) without P."""
    if probability is None:
        return jnp.ones(pairs), jnp.zeros(pairs)
    other = probability[..., 1] if probability.shape[-1] == 2 else 1.0 - probability[..., 0]
    return probability[..., 0], other


def make_predict(net: TinNet, config: TinConfig, vocabulary: Vocabulary):
    """The `predict` function of a System.

    verb_scores = (p_human + p_object + p_spatial) * s_P with s_P = f_P * L(s_h) * L(s_o) (Eqs. 1 to 6), L the LIS
    weight and p the probabilities as trained (`scores.logit_scales`); `interactiveness` is s_P, and `kept` is
    False where s_P < the NIS threshold (scores stay as they are). Without P, s_P is L(s_h) * L(s_o) and nothing is
    suppressed. `ScoreConfig` and `NisConfig` change this as they say.
    """
    bounds = jnp.asarray(nis_bounds(config.nis, vocabulary))
    spared = np.arange(len(vocabulary.verbs)) == vocabulary.no_interaction
    spared = spared & config.score.spare_no_interaction
    has_p = bool(config.interactiveness.streams)
    scales = logit_scales(config, vocabulary)

    def predict(variables: Variables, batch: Batch) -> Predictions:
        examples = {name: batch[name] for name in DETECTION_FIELDS}
        p = jax.vmap(lambda example: propose_pairs(example, vocabulary.human_class, config))(examples)
        hw = batch["image_hw_px"] if config.uses_pixels else jnp.ones((len(p["pair_valid"]), 2), jnp.int32)
        human, obj, valid = p["human_index"], p["object_index"], p["pair_valid"]
        probability = probabilities(network_logits(net, variables, picture_of(batch, config), hw, p), scales)
        f_pair, non_interactive = interaction_scores(probability.get("interactiveness"), valid.shape)

        object_class = rows_of(p["object_class"], obj)
        human_score, object_score = rows_of(p["human_score"], human), rows_of(p["object_score"], obj)
        confidence = detector_weight(human_score, config.score) * detector_weight(object_score, config.score)
        s_pair = f_pair * confidence
        times = f_pair if config.score.times_interactiveness else jnp.ones_like(f_pair)
        weight = jnp.where(spared[None, None], 1.0, times[:, :, None]) * confidence[:, :, None]
        verbs = by_verb(class_scores(config, probability, human, obj), object_class, config, vocabulary) * weight
        if config.score.best_object:
            people = p["human_used"].shape[1]
            verbs = jnp.where(
                jax.vmap(lambda v, h, ok: best_objects(v, h, ok, people))(verbs, human, valid), verbs, 0.0
            )
        kept = valid
        if has_p:
            stays = kept_pairs(
                config.nis, s_pair, f_pair, non_interactive, object_class, bounds, vocabulary.human_class
            )
            kept = valid & (stays | p["fallback"][:, None])
        out = {
            "human_xyxy_px": rows_of(p["human_xyxy_px"], human),
            "object_xyxy_px": rows_of(p["object_xyxy_px"], obj),
            "object_class": object_class,
            "human_score": human_score,
            "object_score": object_score,
            "verb_scores": verbs,
            "interactiveness": s_pair,
        }
        out = {name: _blank(value, valid) for name, value in out.items()} | {"kept": kept, "pair_valid": valid}
        if not vocabulary.hois and "human" in config.classifier.streams:
            agent = probability["human"] * detector_weight(p["human_score"], config.score)[:, :, None]
            if config.score.agent == "pair":
                people = p["human_used"].shape[1]
                pairs = jax.vmap(lambda v, h, ok: agents_of_pairs(v, h, ok, people))(verbs, human, valid)
                agent = jnp.where((np.asarray(vocabulary.verb_role) >= 0)[None, None], pairs, agent)
            out["agent_xyxy_px"] = p["human_xyxy_px"]
            out["agent_scores"] = _blank(agent, p["human_used"])
            out["agent_valid"] = p["human_used"]
        return out

    return predict


def _blank(table: Array, valid: Array) -> Array:
    """Zeros in unused rows."""
    return jnp.where(valid.reshape(valid.shape + (1,) * (table.ndim - 2)), table, jnp.zeros_like(table))
