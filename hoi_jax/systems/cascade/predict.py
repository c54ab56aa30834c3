"""From a picture to scored triplets: detect, pair, rank all pairs, classify the best ones (paper, section 3.3)."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.ops.masks import resample_masks
from hoi_jax.ops.pairs import top_rows
from hoi_jax.system import Batch, Predictions, Variables
from hoi_jax.systems.cascade.config import CascadeConfig, RelationConfig
from hoi_jax.systems.cascade.detect import Detections
from hoi_jax.systems.cascade.entities import all_pairs, at_stage, choose_people, find_detections
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.regions import Pyramid, take
from hoi_jax.systems.cascade.relation import PairFeatures
from hoi_jax.vocab.tables import Vocabulary


def prediction_fields(config: CascadeConfig) -> frozenset[str]:
    """Batch fields that `predict` reads. With the own detector, faces are those of the batch's detections."""
    fields = {"image", "image_hw_px"}
    if config.detector == "external":
        fields |= {f"detections_{column}" for column in ("xyxy_px", "class", "score", "valid")}
        if config.relation.uses_masks:
            fields |= {"detections_mask"}
    if config.relation.face and config.loss.parts != "detector":
        fields |= {"detections_face_xyxy_px"}
    return frozenset(fields)


def fuse(scores: dict[str, Array], config: RelationConfig) -> Array:
    """Joins the scores of the streams in use (Eq. 16 and Table 7): semantic scores weigh what the others say."""
    others = [scores[name] for name in ("v", "g") if name in scores]
    semantic = scores.get("s")
    if config.fusion == "(v+g)*s" and others and semantic is not None:
        return sum(others[1:], others[0]) * semantic
    parts = others + ([] if semantic is None else [semantic])
    total = parts[0]
    for part in parts[1:]:
        total = total * part if config.fusion == "v*g*s" else total + part
    return total


def stream_scores(logits: dict[str, Array], semantic: Array, config: RelationConfig) -> dict[str, Array]:
    """Probabilities per stream, [B, P, V] without "no relation"."""
    scores = {name: jax.nn.sigmoid(value) for name, value in logits.items()}
    if config.visual == "mean3" and "v" in scores:
        scores["v"] = (scores["v"] + scores.pop("human") + scores.pop("object")) / 3.0
    if "s" in config.streams and config.semantic == "table":
        scores["s"] = semantic
    start = int(config.background)
    return {name: value[..., start:] for name, value in scores.items()}


def make_predict(net: CascadeNet, config: CascadeConfig, vocabulary: Vocabulary, prior: np.ndarray):
    """The `predict` function of a System."""
    c = config.relation

    def localise(variables: Variables, batch: Batch) -> tuple[Pyramid, Detections]:
        def run(module: CascadeNet):
            levels = module.pyramid(batch["image"], batch["image_hw_px"])
            pyramid = module.rois(levels, batch["image_hw_px"])
            proposals = None
            if config.detector == "own":
                image_hw = cast(tuple[int, int], batch["image"].shape[1:3])
                proposals = module.propose(levels, image_hw, batch["image_hw_px"])[2:]
            faces = batch.get("detections_face_xyxy_px") if c.face else None
            found = find_detections(module, pyramid, proposals, batch, vocabulary.human_class, faces)
            return pyramid.levels, found

        levels, found = cast(Any, net.apply(dict(variables), method=run))
        return Pyramid(levels, batch["image_hw_px"], config.backbone.strides, config.boxes.finest_px), found

    def features_of(
        variables: Variables, pyramid: Pyramid, found: Detections, people: Array, stage: int, slot: Array, row: Array
    ) -> tuple[PairFeatures, Any]:
        """Features of pairs [B, K] at `stage`, chunk by chunk, and the raw features of people and things."""
        now = at_stage(found, people, stage)
        before = at_stage(found, people, stage - 1) if stage else None
        tables, raw = cast(Any, net.apply(dict(variables), pyramid, now, before, stage, method="relation_tables"))

        def chunk(pairs):
            return net.apply(dict(variables), pyramid, tables, now, before, stage, *pairs, method="relation_pairs")

        count, size = slot.shape[1], min(config.predict.chunk, slot.shape[1])
        if count <= size:
            return cast(PairFeatures, chunk((slot, row))), raw
        padding = -count % size

        def split(x):
            return jnp.swapaxes(jnp.pad(x, ((0, 0), (0, padding))).reshape((x.shape[0], -1, size)), 0, 1)

        parts = jax.lax.map(chunk, (split(slot), split(row)))

        def join(x):
            x = jnp.swapaxes(x, 0, 1)
            return x.reshape((x.shape[0], -1, x.shape[-1]))[:, :count]

        return jax.tree.map(join, cast(PairFeatures, parts)), raw

    def choose(points: Array, valid: Array) -> tuple[Array, Array]:
        limit = min(config.predict.top_pairs, points.shape[1])
        return jax.vmap(lambda p, v: top_rows(p, v, limit))(points, valid)

    def relate(variables: Variables, batch: Batch, pyramid: Pyramid, found: Detections) -> dict[str, Array]:
        people, used = choose_people(found, vocabulary.human_class, config, config.predict.human_score)
        objects = found.valid & (found.score >= config.predict.object_score)
        last = config.stages - 1
        valid = all_pairs(found, people, used, objects, last)
        images, humans, things = valid.shape
        slots, rows = (
            jnp.broadcast_to(x.ravel()[None], (images, humans * things)) for x in jnp.indices((humans, things))
        )
        valid = valid.reshape((images, -1))
        human_score = jnp.take_along_axis(found.score, people, axis=1)
        product = take(human_score[..., None], slots)[..., 0] * take(found.score[..., None], rows)[..., 0]
        if c.ranking:
            first = last if config.predict.rank_by == "last" else 0
            points = jnp.zeros(valid.shape)
            for stage in range(first, config.stages):
                features, raw = features_of(variables, pyramid, found, people, stage, slots, rows)
                logits = cast(Array, net.apply(dict(variables), features, stage, method="rank"))
                points += jax.nn.sigmoid(logits) / (config.stages - first)
            index, kept = choose(points, valid)
            slot, row = (jnp.take_along_axis(x, index, axis=1) for x in (slots, rows))
            features = jax.tree.map(lambda x: take(x, index), features)
        else:
            points = product
            index, kept = choose(points, valid)
            slot, row = (jnp.take_along_axis(x, index, axis=1) for x in (slots, rows))
            features, raw = features_of(variables, pyramid, found, people, last, slot, row)
        label = jnp.take_along_axis(found.label, row, axis=1)
        semantic = jnp.take(jnp.asarray(prior if c.background else prior[:, 1:]), label, axis=0)
        logits = cast(Any, net.apply(dict(variables), features, semantic, raw, slot, row, last, method="classify"))
        scores = fuse(stream_scores(logits, semantic, c), c)
        if config.predict.times_detections:
            scores = scores * jnp.take_along_axis(product, index, axis=1)[..., None]
        boxes = found.boxes[:, :, -1]
        human_row = jnp.take_along_axis(people, slot, axis=1)

        def shown(x: Array) -> Array:
            return jnp.where(kept.reshape(kept.shape + (1,) * (x.ndim - 2)), x, jnp.zeros_like(x))

        out = {
            "human_xyxy_px": shown(take(boxes, human_row)),
            "object_xyxy_px": shown(take(boxes, row)),
            "object_class": shown(label).astype(jnp.int32),
            "human_score": shown(jnp.take_along_axis(found.score, human_row, axis=1)),
            "object_score": shown(jnp.take_along_axis(found.score, row, axis=1)),
            "verb_scores": shown(scores),
            "interactiveness": shown(jnp.take_along_axis(points, index, axis=1)),
            "pair_valid": kept,
        }
        if vocabulary.actions:
            out |= agents(out["verb_scores"], slot, kept, take(boxes, people), used)
        return out

    def predict(variables: Variables, batch: Batch) -> Predictions:
        pyramid, found = localise(variables, batch)
        out = instances(found, cast(tuple[int, int], batch["image"].shape[1:3]))
        if config.loss.parts != "detector":
            out |= relate(variables, batch, pyramid, found)
        return out

    return predict


def agents(scores: Array, slot: Array, kept: Array, boxes: Array, used: Array) -> dict[str, Array]:
    """Per person and verb the best of the person's pairs (action style: what people do, without objects)."""
    own = (slot[:, None] == jnp.arange(boxes.shape[1])[None, :, None]) & kept[:, None]  # [B, M, P]
    best = jax.vmap(lambda o, s: jnp.max(jnp.where(o[:, :, None], s[None], 0.0), axis=1))(own, scores)
    clear = used[..., None]
    return {
        "agent_xyxy_px": jnp.where(clear, boxes, 0.0),
        "agent_scores": jnp.where(clear, best, 0.0),
        "agent_valid": used,
    }


def instances(found: Detections, image_hw: tuple[int, int]) -> dict[str, Array]:
    """Detections as instances, with masks on a grid of a quarter of the picture's size where there are masks."""
    boxes = found.boxes[:, :, -1]
    out = {
        "instance_xyxy_px": boxes,
        "instance_class": found.label.astype(jnp.int32),
        "instance_score": jnp.where(found.valid, found.score, 0.0),
        "instance_valid": found.valid,
    }
    if found.masks is not None:
        out["instance_mask"] = masks_over_picture(found.masks, boxes, image_hw) * found.valid[..., None, None]
    return out


def masks_over_picture(
    masks: Float[Array, "batch rows m m"], boxes: Float[Array, "batch rows 4"], image_hw: tuple[int, int]
) -> Float[Array, "batch rows h w"]:
    """Masks of boxes on a grid over the padded picture, one cell for 4 x 4 pixels."""
    whole = jnp.broadcast_to(jnp.asarray([0.0, 0.0, image_hw[1], image_hw[0]]), boxes.shape)
    return resample_masks(masks, boxes, whole, (image_hw[0] // 4, image_hw[1] // 4))
