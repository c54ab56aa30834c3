"""Scores of images, and of pairs of detections by regional class tokens (section 7.1)."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import class_nms
from hoi_jax.ops.pairs import Boxes, gather_rows, propose_pairs, top_rows, zero_unused
from hoi_jax.ops.scoring import verb_scores_of_class
from hoi_jax.ops.token_masks import pair_patches
from hoi_jax.system import AttentionMaps, Batch, Predictions, Variables
from hoi_jax.systems.defr.config import DefrConfig, DetectionConfig
from hoi_jax.systems.defr.inputs import prepare
from hoi_jax.systems.defr.model import DefrNet
from hoi_jax.vocab.tables import Vocabulary

DETECTION_FIELDS = ("detections_xyxy_px", "detections_class", "detections_score", "detections_valid")


def prediction_fields(config: DefrConfig) -> frozenset[str]:
    """Batch fields that prediction reads."""
    return frozenset(("image", "image_hw_px", *(DETECTION_FIELDS if config.detects else ())))


def noisy_boxes(key: Array, boxes_xyxy: Float[Array, "rows 4"], share: float) -> Float[Array, "rows 4"]:
    """Add noise N(0, share * side) to every coordinate, where side is the box's width for x and its height for y.

    This is Eq. 7, read as a standard deviation. Corners that change places are swapped; boxes may leave the image.
    """
    side = jnp.tile(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], (1, 2))
    moved = boxes_xyxy + share * side * jax.random.normal(key, boxes_xyxy.shape)
    low, high = jnp.minimum(moved[:, :2], moved[:, 2:]), jnp.maximum(moved[:, :2], moved[:, 2:])
    return jnp.concatenate([low, high], axis=1)


def detected_pairs(example: Batch, human_class: int, config: DetectionConfig) -> dict[str, Array]:
    """All pairs of one image: each of the best people with every other selected box (fields without batch axis).

    Returns:
      human_*, object_* [Q, ...] (xyxy_px, score; class of objects), pair_valid [Q] with
      Q = humans * (humans + objects - 1); agent_xyxy_px, agent_score, agent_valid [humans].
    """
    boxes, score, label = (example[f"detections_{name}"] for name in ("xyxy_px", "score", "class"))
    used = example["detections_valid"] & (score >= config.min_score)
    used = class_nms(boxes, score, label, used, overlap=config.nms_overlap)
    humans = top_rows(score, used & (label == human_class), config.max_humans)
    objects = top_rows(score, used & (label != human_class), config.max_objects)
    rows, valid = (jnp.concatenate([h, t]) for h, t in zip(humans, objects, strict=True))
    table = {
        "xyxy_px": gather_rows(boxes, rows, valid),
        "score": gather_rows(score, rows, valid),
        "class": gather_rows(label, rows, valid),
    }
    every, count = Boxes(table["xyxy_px"], table["score"], valid), humans[0].shape[0]
    people = Boxes(*(column[:count] for column in every))
    pairs = propose_pairs(people, every, humans_first=True)
    return {
        **{f"human_{name}": table[name][pairs.human] for name in ("xyxy_px", "score")},
        **{f"object_{name}": table[name][pairs.object] for name in ("xyxy_px", "score", "class")},
        "pair_valid": pairs.used,
        "agent_xyxy_px": people.xyxy_px,
        "agent_score": people.score,
        "agent_valid": people.used,
    }


def in_square(
    boxes_xyxy_px: Float[ArrayLike, "batch rows 4"], image_hw_px: ArrayLike, size: int
) -> Float[Array, "batch rows 4"]:
    """Boxes of the batch's image, in pixels of the stretched one."""
    scale = size / jnp.maximum(image_hw_px, 1).astype(jnp.float32)
    return boxes_xyxy_px * jnp.tile(scale[:, ::-1], (1, 2))[:, None]


def verb_scores(
    probability: Float[Array, "batch pairs classes"], object_class: Array, vocabulary: Vocabulary
) -> Float[Array, "batch pairs verbs"]:
    """Probabilities per verb; 0 for combinations with the detected object that the vocabulary does not have."""
    if vocabulary.hois:
        return verb_scores_of_class(probability, object_class, jnp.asarray(vocabulary.hoi_table))
    allowed = vocabulary.verb_object_mask & (np.asarray(vocabulary.verb_role) >= 0)[:, None]
    return jnp.where(jnp.take(jnp.asarray(allowed.T), object_class, axis=0), probability, 0.0)


def make_predict(net: DefrNet, config: DefrConfig, vocabulary: Vocabulary):
    """Return the `predict` function of a System.

    `hoi_scores` are logits, because probabilities of a trained model saturate and tie. A pair's score for a verb is
    sigmoid(logit) * (human score * object score) ** prior_power. In action style `agent_scores` come from class
    tokens that attend to the person's box only.
    """
    d, size = config.detection, config.inputs.size
    grid = (size // config.backbone.stride, size // config.backbone.stride)

    def pair_logits(variables: Variables, streams: list[Array], visible: Bool[Array, "batch pairs patches"]) -> Array:
        def run(seen):
            return cast(Array, net.apply(dict(variables), streams, seen, method="pair_logits"))

        if d.blocks < 3 or not d.exact or d.rule != "mask":
            return run(visible)
        batch, pairs, patches = visible.shape
        chunks = -(-pairs // d.pair_chunk)
        padded = jnp.pad(visible, ((0, 0), (0, chunks * d.pair_chunk - pairs), (0, 0)))
        parts = jnp.moveaxis(padded.reshape((batch, chunks, d.pair_chunk, patches)), 1, 0)
        logits = jnp.moveaxis(jax.lax.map(run, parts), 0, 1)
        return logits.reshape((batch, chunks * d.pair_chunk, -1))[:, :pairs]

    def patches(first: ArrayLike, second: ArrayLike, hw: ArrayLike) -> Array:
        return pair_patches(in_square(first, hw, size), in_square(second, hw, size), grid, config.backbone.patch)

    def detect(variables: Variables, batch: Batch, streams: list[Array]) -> dict[str, Array]:
        examples = {name: batch[name] for name in DETECTION_FIELDS}
        if d.box_noise:
            keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(batch["example_id"])
            moved = jax.vmap(lambda key, boxes: noisy_boxes(key, boxes, d.box_noise))
            examples["detections_xyxy_px"] = moved(keys, examples["detections_xyxy_px"])
        p = jax.vmap(lambda example: detected_pairs(example, vocabulary.human_class, d))(examples)
        hw, count = batch["image_hw_px"], p["pair_valid"].shape[1]
        visible = patches(p["human_xyxy_px"], p["object_xyxy_px"], hw)
        if not vocabulary.hois:
            visible = jnp.concatenate([visible, patches(p["agent_xyxy_px"], p["agent_xyxy_px"], hw)], axis=1)
        probability = jax.nn.sigmoid(pair_logits(variables, streams, visible))
        prior = (p["human_score"] * p["object_score"]) ** d.prior_power
        verbs = verb_scores(probability[:, :count], p["object_class"], vocabulary)
        valid = p["pair_valid"]
        out = {
            name: p[name] for name in ("human_xyxy_px", "object_xyxy_px", "object_class", "human_score", "object_score")
        }
        out = {name: zero_unused(value, valid) for name, value in out.items()}
        out["verb_scores"] = zero_unused(verbs * prior[:, :, None], valid)
        out["pair_valid"] = valid
        if not vocabulary.hois:
            scores = probability[:, count:] * (p["agent_score"] ** d.prior_power)[:, :, None]
            out["agent_scores"] = zero_unused(scores, p["agent_valid"])
            out |= {name: p[name] for name in ("agent_xyxy_px", "agent_valid")}
        return out

    def predict(variables: Variables, batch: Batch) -> Predictions:
        image = prepare(batch["image"], batch["image_hw_px"], config.inputs)
        if not config.detects:
            logits = cast(Array, net.apply(dict(variables), image))
            return {"hoi_scores": logits} if vocabulary.hois else {}
        streams, logits = cast(tuple[list[Array], Array], net.apply(dict(variables), image, method="streams"))
        whole = {"hoi_scores": logits} if vocabulary.hois else {}
        if d.kernel:
            inputs = dataclasses.replace(config.inputs, kernel=d.kernel, antialias=d.antialias)
            image = prepare(batch["image"], batch["image_hw_px"], inputs)
            streams, _ = cast(tuple[list[Array], Array], net.apply(dict(variables), image, method="streams"))
        return whole | detect(variables, batch, streams)

    return predict


TITLES = ("patches under either box",)
CAPTIONS = ("attention of the pair's class token",)
LEGEND = (
    "upper row: the patches to which the pair's",
    "class token attends in the last block",
    "lower row: its attention, mean over heads,",
    "from red (low) to yellow (high)",
)


def make_attention_maps(
    net: DefrNet, config: DefrConfig, predict: Callable[[Variables, Batch], Predictions]
) -> AttentionMaps | None:
    """Return `System.attention` for the last block; None if pairs are not scored, or for the rule "average"."""
    d, size = config.detection, config.inputs.size
    if not config.detects or d.rule != "mask":
        return None
    side = size // config.backbone.stride
    block = f"blocks_{config.backbone.layers - 1}"

    def explain(variables: Variables, batch: Batch) -> dict[str, Array]:
        out, hw = predict(variables, batch), batch["image_hw_px"]
        inputs = (
            dataclasses.replace(config.inputs, kernel=d.kernel, antialias=d.antialias) if d.kernel else config.inputs
        )
        image = prepare(batch["image"], hw, inputs)
        streams, _ = cast(tuple[list[Array], Array], net.apply(dict(variables), image, method="streams"))
        boxes = [in_square(out[f"{name}_xyxy_px"], hw, size) for name in ("human", "object")]
        visible = pair_patches(boxes[0], boxes[1], (side, side), config.backbone.patch)
        _, sown = net.apply(dict(variables), streams, visible, method="pair_logits", mutable=["intermediates"])
        found: Any = sown["intermediates"]
        weights = found["backbone"][block]["attention_of_reader"][0].reshape(visible.shape)
        grid = (*visible.shape[:2], 1, side, side)
        return {"weights": weights.reshape(grid), "allowed": visible.reshape(grid)}

    return AttentionMaps(TITLES, None, explain, CAPTIONS, LEGEND)
