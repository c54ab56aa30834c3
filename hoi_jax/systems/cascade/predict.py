"""From a picture to scored triplets: detect, pair, rank all pairs, classify the best ones (paper, section 3.3)."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.ops.pairs import top_rows
from hoi_jax.ops.resample import resample_masks
from hoi_jax.system import Batch, Predictions, Variables
from hoi_jax.systems.cascade.config import CascadeConfig, RelationConfig
from hoi_jax.systems.cascade.detect import Detections
from hoi_jax.systems.cascade.entities import all_pairs, at_stage, choose_people, find_detections
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.regions import Pyramid, take
from hoi_jax.systems.cascade.relation import PairFeatures, Raw
from hoi_jax.vocab.tables import Vocabulary

Call = Callable[..., Any]
"""`net.apply` with variables: arguments of a method, and `method`."""


def prediction_fields(config: CascadeConfig) -> frozenset[str]:
    """Batch fields that `predict` reads. With the own detector, people look for theirs among the image's faces."""
    fields = {"image", "image_hw_px"}
    if config.detector == "external":
        fields |= {f"detections_{column}" for column in ("xyxy_px", "class", "score", "valid")}
        if config.relation.uses_masks:
            fields |= {"detections_mask"}
    if config.relation.face and config.loss.parts != "detector":
        fields |= {"faces_xyxy_px" if config.detector == "own" else "detections_face_xyxy_px"}
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


class Candidates(NamedTuple):
    """All pairs of a batch, person by person.

    Attributes:
      people: [B, M] rows of people; people_used [B, M].
      slot, row: [B, K] person (column of `people`) and thing (row of the detections); valid [B, K].
      product: [B, K] of both detection scores.
    """

    people: Array
    people_used: Array
    slot: Array
    row: Array
    valid: Array
    product: Array


class Chosen(NamedTuple):
    """The P pairs that get verbs: columns of the candidates, "is used", what they were chosen by [B, P] each, their
    features, and raw features of people and things."""

    index: Array
    kept: Array
    points: Array
    features: PairFeatures
    raw: Raw | None


def make_predict(net: CascadeNet, config: CascadeConfig, vocabulary: Vocabulary, prior: np.ndarray):
    """The `predict` function of a System."""

    def predict(variables: Variables, batch: Batch) -> Predictions:
        call = functools.partial(net.apply, dict(variables))
        pyramid, found = localise(call, config, batch, vocabulary.human_class)
        out = instances(found, cast(tuple[int, int], batch["image"].shape[1:3]))
        if config.loss.parts == "detector":
            return out
        pairs = candidate_pairs(found, vocabulary.human_class, config)
        chosen = choose_ranked if config.relation.ranking else choose_by_detections
        best = chosen(call, config, pyramid, found, pairs)
        scores = verb_scores(call, config, found, pairs, best, prior)
        out |= pair_table(found, pairs, best, scores)
        if vocabulary.actions:
            people = take(found.boxes[:, :, -1], pairs.people)
            slot = jnp.take_along_axis(pairs.slot, best.index, axis=1)
            out |= agents(out["verb_scores"], slot, best.kept, people, pairs.people_used)
        return out

    return predict


def localise(call: Call, config: CascadeConfig, batch: Batch, human_class: int) -> tuple[Pyramid, Detections]:
    """Levels to pool from and detections, the network's own or the batch's."""

    def run(module: CascadeNet):
        levels = module.pyramid(batch["image"], batch["image_hw_px"])
        pyramid = module.rois(levels, batch["image_hw_px"])
        proposals = None
        if config.detector == "own":
            image_hw = cast(tuple[int, int], batch["image"].shape[1:3])
            proposals = module.propose(levels, image_hw, batch["image_hw_px"])[2:]
        found = find_detections(module, pyramid, proposals, batch, human_class)
        return pyramid.levels, found

    levels, found = call(method=run)
    return Pyramid(levels, batch["image_hw_px"], config.backbone.strides, config.boxes.finest_px), found


def candidate_pairs(found: Detections, human_class: int, config: CascadeConfig) -> Candidates:
    """Every person with every thing, both above their least scores."""
    people, used = choose_people(found, human_class, config, config.predict.human_score)
    objects = found.valid & (found.score >= config.predict.object_score)
    valid = all_pairs(found, people, used, objects, config.stages - 1)
    images, humans, things = valid.shape
    slot, row = (jnp.broadcast_to(x.ravel()[None], (images, humans * things)) for x in jnp.indices((humans, things)))
    human_score = jnp.take_along_axis(jnp.take_along_axis(found.score, people, axis=1), slot, axis=1)
    product = human_score * jnp.take_along_axis(found.score, row, axis=1)
    return Candidates(people, used, slot, row, valid.reshape((images, -1)), product)


def features_of(
    call: Call, config: CascadeConfig, pyramid: Pyramid, found: Detections, people: Array, stage: int, slot: Array,
    row: Array,
) -> tuple[PairFeatures, Raw | None]:  # fmt: skip
    """Features of pairs [B, K] at `stage`, chunk by chunk, and the raw features of people and things."""
    now = at_stage(found, people, stage)
    before = at_stage(found, people, stage - 1) if stage and config.relation.heads == "stages" else None
    tables, raw = call(pyramid, now, before, stage, method="relation_tables")

    def chunk(pairs):
        return call(pyramid, tables, now, before, stage, *pairs, method="relation_pairs")

    count, size = slot.shape[1], config.predict.chunk
    if count <= size:
        return chunk((slot, row)), raw
    padding = -count % size

    def split(x):
        return jnp.swapaxes(jnp.pad(x, ((0, 0), (0, padding))).reshape((x.shape[0], -1, size)), 0, 1)

    def join(x):
        x = jnp.swapaxes(x, 0, 1)
        return x.reshape((x.shape[0], -1, x.shape[-1]))[:, :count]

    return jax.tree.map(join, jax.lax.map(chunk, (split(slot), split(row)))), raw


def choose(points: Array, valid: Array, limit: int) -> tuple[Array, Array]:
    """Columns of the best valid pairs of every image, and which places are used."""
    return jax.vmap(lambda p, v: top_rows(p, v, min(limit, points.shape[1])))(points, valid)


def choose_ranked(call: Call, config: CascadeConfig, pyramid: Pyramid, found: Detections, pairs: Candidates) -> Chosen:
    """The pairs that the ranking module puts first: that of the last stage, or the mean over stages."""
    stages = config.relation.stages_of(config.stages)
    stages = stages[-1:] if config.predict.rank_by == "last" else stages
    points, features, raw = jnp.zeros(pairs.valid.shape), None, None
    for stage in stages:
        features, raw = features_of(call, config, pyramid, found, pairs.people, stage, pairs.slot, pairs.row)
        points += jax.nn.sigmoid(call(features, stage, method="rank")) / len(stages)
    index, kept = choose(points, pairs.valid, config.predict.top_pairs)
    return Chosen(
        index, kept, jnp.take_along_axis(points, index, axis=1), jax.tree.map(lambda x: take(x, index), features), raw
    )


def choose_by_detections(
    call: Call, config: CascadeConfig, pyramid: Pyramid, found: Detections, pairs: Candidates
) -> Chosen:
    """Without ranking: the pairs whose detection scores have the largest product."""
    index, kept = choose(pairs.product, pairs.valid, config.predict.top_pairs)
    slot, row = (jnp.take_along_axis(x, index, axis=1) for x in (pairs.slot, pairs.row))
    features, raw = features_of(call, config, pyramid, found, pairs.people, config.stages - 1, slot, row)
    return Chosen(index, kept, jnp.take_along_axis(pairs.product, index, axis=1), features, raw)


def verb_scores(
    call: Call, config: CascadeConfig, found: Detections, pairs: Candidates, best: Chosen, prior: np.ndarray
) -> Float[Array, "batch pairs verbs"]:
    """Joined scores of the streams of the last stage (Eqs. 15 and 16), times detection scores where asked for."""
    slot, row = (jnp.take_along_axis(x, best.index, axis=1) for x in (pairs.slot, pairs.row))
    label = jnp.take_along_axis(found.label, row, axis=1)
    columns = prior if config.relation.background else prior[:, 1:]
    semantic = jnp.take(jnp.asarray(columns), label, axis=0)
    logits = call(best.features, semantic, best.raw, slot, row, config.stages - 1, method="classify")
    scores = fuse(stream_scores(logits, semantic, config.relation), config.relation)
    if not config.predict.times_detections:
        return scores
    return scores * jnp.take_along_axis(pairs.product, best.index, axis=1)[..., None]


def pair_table(found: Detections, pairs: Candidates, best: Chosen, scores: Array) -> dict[str, Array]:
    """The table of pairs of `schema.PREDICTION_FIELDS`; unused rows are zeros."""
    slot, row = (jnp.take_along_axis(x, best.index, axis=1) for x in (pairs.slot, pairs.row))
    human_row = jnp.take_along_axis(pairs.people, slot, axis=1)
    boxes = found.boxes[:, :, -1]

    def shown(x: Array) -> Array:
        return jnp.where(best.kept.reshape(best.kept.shape + (1,) * (x.ndim - 2)), x, jnp.zeros_like(x))

    return {
        "human_xyxy_px": shown(take(boxes, human_row)),
        "object_xyxy_px": shown(take(boxes, row)),
        "object_class": shown(jnp.take_along_axis(found.label, row, axis=1)).astype(jnp.int32),
        "human_score": shown(jnp.take_along_axis(found.score, human_row, axis=1)),
        "object_score": shown(jnp.take_along_axis(found.score, row, axis=1)),
        "verb_scores": shown(scores),
        "interactiveness": shown(best.points),
        "pair_valid": best.kept,
    }


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
