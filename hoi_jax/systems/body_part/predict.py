"""Scores from network outputs: object class, boxes, verbs, interactiveness."""

from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.resnet import make_resnet
from hoi_jax.ops.boxes import cxcywh_to_xyxy
from hoi_jax.ops.scoring import pair_nms, product_nms
from hoi_jax.ops.token_masks import unblock
from hoi_jax.system import AttentionMaps, Batch, Predictions, Variables
from hoi_jax.systems.body_part.config import BodyPartConfig, PredictConfig, ProductNmsConfig
from hoi_jax.systems.body_part.interactiveness import LAYERS
from hoi_jax.systems.body_part.model import HoiTransformer, network_inputs, person_fields
from hoi_jax.systems.body_part.targets import has_absent_class
from hoi_jax.vocab.tables import Vocabulary


def prediction_fields(config: BodyPartConfig) -> frozenset[str]:
    """Batch fields that prediction reads."""
    original = () if config.predict.product_nms.threshold is None else ("original_hw_px",)
    return frozenset(("image", "image_hw_px", *original, *person_fields(config)))


def pair_scores(
    outputs: Mapping[str, ArrayLike], image_hw_px: ArrayLike, num_verbs: int, config: PredictConfig
) -> dict[str, Array]:
    """Compute boxes and scores of every query from the final layer's outputs, before any selection.

    The object score is the largest class probability except that of "no pair"; a verb score is the verb's sigmoid
    times the object score. Without a verb head (stage 1) every verb has probability 1/2. Interactiveness is a softmax
    over two logits; it multiplies verb scores only with `times_interactiveness`.

    Returns:
      human_xyxy_px, object_xyxy_px [B, Q, 4] (not clipped), object_class [B, Q] (equal to the number of classes if the
      object is absent), object_score [B, Q], verb_scores [B, Q, V]; and, from the respective heads if present,
      interactiveness [B, Q] and part_scores [B, Q, 6].
    """
    size = image_hw_px[:, None, ::-1].astype(jnp.float32)
    size = jnp.concatenate([size, size], axis=-1)
    probability = jax.nn.softmax(outputs["object_logits"][-1], axis=-1)[..., :-1]
    score = jnp.max(probability, axis=-1)
    out = {
        "human_xyxy_px": cxcywh_to_xyxy(outputs["human_cxcywh"][-1]) * size,
        "object_xyxy_px": cxcywh_to_xyxy(outputs["object_cxcywh"][-1]) * size,
        "object_class": jnp.argmax(probability, axis=-1).astype(jnp.int32),
        "object_score": score,
    }
    verbs = jnp.full((*score.shape, num_verbs), 0.5)
    if "verb_logits" in outputs:
        verbs = jax.nn.sigmoid(outputs["verb_logits"][-1])
    verbs = verbs * score[..., None]
    if "interactiveness_logits" in outputs:
        out["interactiveness"] = jax.nn.softmax(outputs["interactiveness_logits"][-1], axis=-1)[..., 1]
        if config.times_interactiveness:
            verbs = verbs * out["interactiveness"][..., None]
    if "part_logits" in outputs:
        out["part_scores"] = jax.nn.softmax(outputs["part_logits"], axis=-1)[..., 1]
    return {**out, "verb_scores": verbs}


def make_predict(net: HoiTransformer, config: BodyPartConfig, vocabulary: Vocabulary):
    """Return the `predict` function of a System.

    It returns all queries, so that interactiveness can be evaluated on all of them; verb scores are 0 for combinations
    that the vocabulary excludes and for pairs that pair-wise NMS removes. A pair whose object is absent has no object
    box; in action style, people get agent scores from their best pair for each verb without a role.
    """
    c, classes = config.predict, len(vocabulary.objects)
    allowed = jnp.asarray(vocabulary.verb_object_mask.T)
    if has_absent_class(vocabulary):
        # Without an object every action is possible; such a pair gives the agent of an action.
        allowed = jnp.concatenate([allowed, jnp.ones((1, len(vocabulary.verbs)), bool)])

    def predict(variables: Variables, batch: Batch) -> Predictions:
        outputs = cast(
            dict[str, Array], net.apply(dict(variables), *network_inputs(batch, config, vocabulary.human_class))
        )
        found = pair_scores(outputs, batch["image_hw_px"], len(vocabulary.verbs), c)
        verbs = jnp.where(jnp.take(allowed, found["object_class"], axis=0), found["verb_scores"], 0.0)
        if c.product_nms.threshold is not None:
            scale = (batch["original_hw_px"] / batch["image_hw_px"])[:, None, ::-1]  # [B, 1, 2] as (x, y)
            placed = {key: found[key] * jnp.tile(scale, 2) for key in ("human_xyxy_px", "object_xyxy_px")}
            verbs = jnp.where(kept_by_product({**found, **placed}, verbs, c.product_nms), verbs, 0.0)
        out = {"agent_" + name: value for name, value in _agents(found, verbs, vocabulary).items()}
        if c.pair_nms is not None:
            suppress = jax.vmap(lambda h, o, k, s: pair_nms(h, o, k, s, threshold=cast(float, c.pair_nms)))
            boxes = found["human_xyxy_px"], found["object_xyxy_px"]
            stays = suppress(*boxes, found["object_class"], jnp.max(verbs, axis=-1))
            verbs = jnp.where(stays[..., None], verbs, 0.0)
        absent = found["object_class"] == classes
        valid = jnp.ones(absent.shape, bool)
        out |= {
            **found,
            "object_class": jnp.where(absent, -1, found["object_class"]),
            "object_xyxy_px": jnp.where(absent[..., None], jnp.nan, found["object_xyxy_px"]),
            "human_score": found["object_score"],
            "verb_scores": verbs,
            "kept": valid,
            "pair_valid": valid,
        }
        if c.nis_threshold > 0:
            out["kept"] = found["interactiveness"] >= c.nis_threshold
        return out

    return predict


def kept_by_product(
    found: Mapping[str, Array], verbs: Float[Array, "batch queries verbs"], config: ProductNmsConfig
) -> Bool[Array, "batch queries #verbs"]:
    """Mask of scores that CDN's suppression keeps.

    Args:
      found: result of `pair_scores`, with boxes in pixels of the original image.
      verbs: verb scores, 0 for combinations that are not allowed.
    """
    scores = verbs if config.of == "triplet" else jnp.max(verbs, axis=-1, keepdims=True)
    rule = {
        "threshold": cast(float, config.threshold), "human_power": config.human_power,
        "object_power": config.object_power, "best": config.best,
    }  # fmt: skip
    suppress = jax.vmap(lambda h, o, k, s: product_nms(h, o, k, s, **rule))
    return suppress(found["human_xyxy_px"], found["object_xyxy_px"], found["object_class"], scores)


def _agents(found: Mapping[str, Array], verbs: Array, vocabulary: Vocabulary) -> dict[str, Array]:
    """Every query's human as an agent (V-COCO); empty in HOI style."""
    if not has_absent_class(vocabulary):
        return {}
    valid = jnp.ones(found["object_class"].shape, bool)
    return {"xyxy_px": found["human_xyxy_px"], "scores": verbs, "valid": valid}


TITLES = {
    "progressive": (
        "layer 1: chosen parts of everybody, other people, object",
        "layer 2: chosen parts of everybody, object",
        "layer 3: chosen parts of this person, object",
    ),
    "parts": tuple(f"layer {number}: chosen parts of everybody" for number in (1, 2, 3)),
    "none": tuple(f"layer {number}: the whole image" for number in (1, 2, 3)),
}


def make_attention_maps(net: HoiTransformer, config: BodyPartConfig, vocabulary: Vocabulary) -> AttentionMaps | None:
    """Return `System.attention`, or None for settings other than one pass of three layers per query."""
    if config.interactiveness != "parts" or config.parts.scheme == "six_pass":
        return None
    masked = config.parts.scheme == "one_pass" and config.parts.masks != "none"
    titles = TITLES[config.parts.masks if masked else "none"]
    if config.parts.layer3_mask == "same" and config.parts.masks == "progressive" and masked:
        titles = (*titles[:2], titles[1].replace("2", "3"))

    def explain(variables: Variables, batch: Batch) -> dict[str, Array]:
        inputs = network_inputs(batch, config, vocabulary.human_class)
        out, sown = net.apply(dict(variables), *inputs, mutable=["intermediates"])
        layers: Any = sown["intermediates"]["interactiveness"]
        weights = [layers[f"layer{number}"]["cross_attention"]["weights"][0] for number in range(LAYERS)]
        attention = jnp.stack(weights, axis=2)  # [B, Q, 3, T]
        valid = out["token_valid"][:, None, None]
        allowed = jnp.broadcast_to(valid, attention.shape)
        if masked:
            allowed = unblock(jnp.moveaxis(out["masks"], 0, 2), valid)
        height, width = out["features"].shape[1:3]
        grid = (*attention.shape[:3], height, width)
        found = {"weights": attention.reshape(grid), "allowed": allowed.reshape(grid)}
        return found | ({"chosen": out["part_kept"]} if "part_kept" in out else {})

    return AttentionMaps(titles, make_resnet(config.backbone).stride, explain)
