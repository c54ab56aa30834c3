"""Ranked interactions from detections: pairing, LIS, fusion and NIS (TIN, sections 3.3 to 3.5)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.pairs import Boxes, enumerate_pairs, gather_rows, propose_pairs, top_rows, zero_unused
from hoi_jax.ops.scoring import agent_scores, verb_scores_of_class
from hoi_jax.system import Batch, Predictions, Variables
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.model import PairInputs, TinNet, chunked_logits, image_field, image_of
from hoi_jax.systems.tin.sampling import DETECTION_FIELDS, choose_detections
from hoi_jax.systems.tin.scores import (
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
    image = image_field(config)
    return frozenset((*DETECTION_FIELDS, *image, *(("image_hw_px",) if image else ())))


def _chosen(example: Batch, human_class: int, config: TinConfig) -> tuple[_Rows, _Rows, Array]:
    """(rows, used) of people and of objects, and whether they are the fallback for an image without pairs."""
    score = config.score
    humans, objects = choose_detections(example, human_class, score.human_threshold, score.object_threshold, config)
    if not score.fallback:
        return humans, objects, jnp.zeros((), bool)
    boxes = example["detections_xyxy_px"]
    candidates = enumerate_pairs(gather_rows(boxes, *humans), gather_rows(boxes, *objects), humans[1], objects[1])
    none = ~jnp.any(candidates)
    valid, person = example["detections_valid"], example["detections_class"] == human_class
    limit = config.score.fallback
    chosen = []
    for usual, who in ((humans, valid & person), (objects, valid & ~person)):
        rows, used = top_rows(example["detections_score"], who, len(usual[1]))
        used &= jnp.arange(len(used)) < limit
        chosen.append((jnp.where(none, rows, usual[0]), jnp.where(none, used, usual[1])))
    return chosen[0], chosen[1], none


def detected_pairs(example: Batch, human_class: int, config: TinConfig) -> dict[str, Array]:
    """Select people, objects and the best pairs of one image (fields without batch axis).

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
            out[f"{name}_{column}"] = gather_rows(example[f"detections_{column}"], rows, used)
    out["human_keypoints_px"] = gather_rows(example["detections_keypoints_px"], *humans)
    out["object_class"] = gather_rows(example["detections_class"], *objects)
    people, others = (
        Boxes(out[f"{name}_xyxy_px"], out[f"{name}_score"], out[f"{name}_used"]) for name in ("human", "object")
    )
    pairs = propose_pairs(people, others, limit=config.max_pairs)
    return out | {"human_index": pairs.human, "object_index": pairs.object, "pair_valid": pairs.used}


def class_scores(config: TinConfig, probability: Mapping[str, Array], human: Array, obj: Array) -> Array:
    """Fused probabilities of C's streams per pair, [B, P, K]; ones if C has no streams."""
    rows = {"human": human, "object": obj}
    streams = {
        name: gather_rows(probability[name], rows[name]) if name in rows else probability[name]
        for name in config.classifier.streams
    }
    return fuse(streams, config.score.fusion) if streams else jnp.ones((*human.shape, 1))


def by_verb(fused: Array, object_class: Array, config: TinConfig, vocabulary: Vocabulary) -> Float[Array, "b p verbs"]:
    """Scores per verb from fused class scores; 0 for combinations that the vocabulary or the priors exclude."""
    verbs = len(vocabulary.verbs)
    if vocabulary.hois:
        if fused.shape[-1] == 1:
            fused = jnp.repeat(fused, len(vocabulary.hois), axis=-1)
        return verb_scores_of_class(fused, object_class, jnp.asarray(vocabulary.hoi_table))
    allowed = allowed_objects(config.score.prior, vocabulary) & (np.asarray(vocabulary.verb_role) >= 0)[:, None]
    fused = jnp.broadcast_to(fused, (*fused.shape[:2], verbs))
    return jnp.where(jnp.take(jnp.asarray(allowed.T), object_class, axis=0), fused, 0.0)


def network_inputs(image: ArrayLike, image_hw_px: ArrayLike, detected: Mapping[str, ArrayLike]) -> PairInputs:
    """Network inputs from the tables of `detected_pairs`, with a batch axis."""
    tables = ("human_xyxy_px", "human_keypoints_px", "object_xyxy_px", "object_class", "human_index", "object_index")
    return PairInputs(image, image_hw_px, **{name: detected[name] for name in tables})


def interaction_scores(probability: Array | None, pairs: tuple[int, ...]) -> tuple[Array, Array]:
    """Probabilities [B, P] that pairs interact and that they do not, from P's one or two outputs; (1, 0) without P."""
    if probability is None:
        return jnp.ones(pairs), jnp.zeros(pairs)
    other = probability[..., 1] if probability.shape[-1] == 2 else 1.0 - probability[..., 0]
    return probability[..., 0], other


def make_predict(net: TinNet, config: TinConfig, vocabulary: Vocabulary):
    """Return the `predict` function of a System.

    By default verb_scores = (p_human + p_object + p_spatial) * s_P with s_P = f_P * L(s_h) * L(s_o) (Eqs. 1 to 6),
    where L is the LIS weight and p are the trained probabilities (`scores.logit_scales`); `interactiveness` is s_P, and
    `kept` is False where s_P is below the NIS threshold (scores are not changed). Without P, s_P is L(s_h) * L(s_o) and
    no pair is suppressed. `ScoreConfig` and `NisConfig` give alternatives.
    """
    bounds = jnp.asarray(nis_bounds(config.nis, vocabulary))
    exempt = np.arange(len(vocabulary.verbs)) == vocabulary.no_interaction
    exempt = exempt & config.score.spare_no_interaction
    has_p = bool(config.interactiveness.streams)
    scales = logit_scales(config, vocabulary)

    def predict(variables: Variables, batch: Batch) -> Predictions:
        examples = {name: batch[name] for name in DETECTION_FIELDS}
        p = jax.vmap(lambda example: detected_pairs(example, vocabulary.human_class, config))(examples)
        hw = batch["image_hw_px"] if config.uses_pixels else jnp.ones((len(p["pair_valid"]), 2), jnp.int32)
        human, obj, valid = p["human_index"], p["object_index"], p["pair_valid"]
        inputs = network_inputs(image_of(batch, config), hw, p)
        probability = probabilities(chunked_logits(net, variables, inputs, valid), scales)
        f_pair, non_interactive = interaction_scores(probability.get("interactiveness"), valid.shape)

        object_class = gather_rows(p["object_class"], obj)
        human_score, object_score = gather_rows(p["human_score"], human), gather_rows(p["object_score"], obj)
        confidence = detector_weight(human_score, config.score) * detector_weight(object_score, config.score)
        s_pair = f_pair * confidence
        times = f_pair if config.score.times_interactiveness else jnp.ones_like(f_pair)
        weight = jnp.where(exempt[None, None], 1.0, times[:, :, None]) * confidence[:, :, None]
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
            "human_xyxy_px": gather_rows(p["human_xyxy_px"], human),
            "object_xyxy_px": gather_rows(p["object_xyxy_px"], obj),
            "object_class": object_class,
            "human_score": human_score,
            "object_score": object_score,
            "verb_scores": verbs,
            "interactiveness": s_pair,
        }
        out = {name: zero_unused(value, valid) for name, value in out.items()} | {"kept": kept, "pair_valid": valid}
        if not vocabulary.hois and "human" in config.classifier.streams:
            agent = probability["human"] * detector_weight(p["human_score"], config.score)[:, :, None]
            if config.score.agent == "pair":
                people = p["human_used"].shape[1]
                pairs = jax.vmap(lambda v, h, ok: agent_scores(v, h, ok, people))(verbs, human, valid)
                agent = jnp.where((np.asarray(vocabulary.verb_role) >= 0)[None, None], pairs, agent)
            out["agent_xyxy_px"] = p["human_xyxy_px"]
            out["agent_scores"] = zero_unused(agent, p["human_used"])
            out["agent_valid"] = p["human_used"]
        return out

    return predict
