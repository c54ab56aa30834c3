"""Scored triplets from images: detect, pair, rank all pairs, classify the best ones (paper, section 3.3)."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.pairs import Boxes, Pairs, gather_rows, propose_pairs, top_rows, zero_unused
from hoi_jax.ops.resample import resample_masks
from hoi_jax.ops.scoring import agent_scores, fuse_scores
from hoi_jax.system import Batch, Predictions, Variables
from hoi_jax.systems.cascade.config import CascadeConfig, RelationConfig
from hoi_jax.systems.cascade.detect import Detections
from hoi_jax.systems.cascade.entities import at_stage, choose_people, find_detections
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.regions import Pyramid
from hoi_jax.systems.cascade.relation import PairFeatures, Raw
from hoi_jax.vocab.tables import Vocabulary

Call = Callable[..., Any]
"""`net.apply` with bound variables; its arguments are those of a method, and `method`."""


def prediction_fields(config: CascadeConfig) -> frozenset[str]:
    """Batch fields that `predict` reads; with the own detector, faces are those of the image."""
    fields = {"image", "image_hw_px"}
    if config.detector == "external":
        fields |= {f"detections_{column}" for column in ("xyxy_px", "class", "score", "valid")}
        if config.relation.uses_masks:
            fields |= {"detections_mask"}
    if config.relation.face and config.loss.parts != "detector":
        fields |= {"faces_xyxy_px" if config.detector == "own" else "detections_face_xyxy_px"}
    return frozenset(fields)


def fuse(scores: Mapping[str, Array], config: RelationConfig) -> Array:
    """Combine the scores of the streams in use (Eq. 16 and Table 7); semantic scores weight those of the others."""
    rules: dict[str, Literal["sum", "product", "weighted_sum"]] = {
        "v+g+s": "sum", "v*g*s": "product", "(v+g)*s": "weighted_sum",
    }  # fmt: skip
    others = [scores[name] for name in ("v", "g") if name in scores]
    return fuse_scores(others, scores.get("s"), rules[config.fusion])


def stream_scores(logits: dict[str, Array], semantic: Array, config: RelationConfig) -> dict[str, Array]:
    """Probabilities per stream, [B, P, V], without "no relation"."""
    scores = {name: jax.nn.sigmoid(value) for name, value in logits.items()}
    if config.visual == "mean3" and "v" in scores:
        scores["v"] = (scores["v"] + scores.pop("human") + scores.pop("object")) / 3.0
    if "s" in config.streams and config.semantic == "table":
        scores["s"] = semantic
    start = int(config.background)
    return {name: value[..., start:] for name, value in scores.items()}


class Candidates(NamedTuple):
    """All K pairs of each image, ordered by person.

    Attributes:
      people: [B, M] rows of people; people_used: [B, M].
      pairs: [B, K] people (columns of `people`) and objects (rows of the detections).
    """

    people: ArrayLike
    people_used: ArrayLike
    pairs: Pairs


class Chosen(NamedTuple):
    """The P pairs selected for classification: column in the candidates, mask of used places and selection score,
    [B, P] each; features of the pairs; raw features of people and objects."""

    index: Array
    kept: Array
    points: Array
    features: PairFeatures
    raw: Raw | None


def make_predict(net: CascadeNet, config: CascadeConfig, vocabulary: Vocabulary, prior: np.ndarray):
    """Return the `predict` function of a System."""

    def predict(variables: Variables, batch: Batch) -> Predictions:
        call = functools.partial(net.apply, dict(variables))
        pyramid, found = localise(call, config, batch, vocabulary.human_class)
        out = instances(found, cast(tuple[int, int], batch["image"].shape[1:3]))
        if config.loss.parts == "detector":
            return out
        candidates = candidate_pairs(found, vocabulary.human_class, config)
        chosen = choose_ranked if config.relation.ranking else choose_by_detections
        best = chosen(call, config, pyramid, found, candidates)
        scores = verb_scores(call, config, found, candidates, best, prior)
        out |= pair_table(found, candidates, best, scores)
        if vocabulary.actions:
            people = gather_rows(found.boxes[:, :, -1], candidates.people)
            slot = gather_rows(candidates.pairs.human, best.index)
            out |= agents(out["verb_scores"], slot, best.kept, people, candidates.people_used)
        return out

    return predict


def localise(call: Call, config: CascadeConfig, batch: Batch, human_class: int) -> tuple[Pyramid, Detections]:
    """(levels for RoI pooling, detections), the latter from the network or from the batch."""

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
    """Every person with every object, both above their minimum scores."""
    people, used = choose_people(found, human_class, config, config.predict.human_score)
    boxes = found.boxes[:, :, -1]
    humans = Boxes(gather_rows(boxes, people), gather_rows(found.score, people), used)
    objects = Boxes(boxes, found.score, found.valid & (found.score >= config.predict.object_score))
    return Candidates(people, used, jax.vmap(propose_pairs)(humans, objects))


def features_of(
    call: Call, config: CascadeConfig, pyramid: Pyramid, found: Detections, people: Array, stage: int, slot: Array,
    row: Array,
) -> tuple[PairFeatures, Raw | None]:  # fmt: skip
    """(features of pairs [B, K] at `stage`, raw features of people and objects), computed in chunks of pairs."""
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
    """(columns of the best valid pairs of every image, mask of used places)."""
    return jax.vmap(lambda p, v: top_rows(p, v, min(limit, points.shape[1])))(points, valid)


def choose_ranked(
    call: Call, config: CascadeConfig, pyramid: Pyramid, found: Detections, candidates: Candidates
) -> Chosen:
    """The pairs with the highest ranking scores, of the last stage or averaged over stages."""
    stages = config.relation.stages_of(config.stages)
    stages = stages[-1:] if config.predict.rank_by == "last" else stages
    pairs = candidates.pairs
    points, features, raw = jnp.zeros(pairs.used.shape), None, None
    for stage in stages:
        features, raw = features_of(call, config, pyramid, found, candidates.people, stage, pairs.human, pairs.object)
        points += jax.nn.sigmoid(call(features, stage, method="rank")) / len(stages)
    index, kept = choose(points, pairs.used, config.predict.top_pairs)
    return Chosen(index, kept, gather_rows(points, index), jax.tree.map(lambda x: gather_rows(x, index), features), raw)


def choose_by_detections(
    call: Call, config: CascadeConfig, pyramid: Pyramid, found: Detections, candidates: Candidates
) -> Chosen:
    """The pairs with the largest products of detection scores, for networks without ranking."""
    index, kept = choose(candidates.pairs.score, candidates.pairs.used, config.predict.top_pairs)
    slot, row = (gather_rows(x, index) for x in (candidates.pairs.human, candidates.pairs.object))
    features, raw = features_of(call, config, pyramid, found, candidates.people, config.stages - 1, slot, row)
    return Chosen(index, kept, gather_rows(candidates.pairs.score, index), features, raw)


def verb_scores(
    call: Call, config: CascadeConfig, found: Detections, candidates: Candidates, best: Chosen, prior: np.ndarray
) -> Float[Array, "batch pairs verbs"]:
    """Combined scores of the last stage's streams (Eqs. 15 and 16), multiplied by detection scores if configured."""
    slot, row = (gather_rows(x, best.index) for x in (candidates.pairs.human, candidates.pairs.object))
    label = gather_rows(found.label, row)
    columns = prior if config.relation.background else prior[:, 1:]
    semantic = jnp.take(jnp.asarray(columns), label, axis=0)
    logits = call(best.features, semantic, best.raw, slot, row, config.stages - 1, method="classify")
    scores = fuse(stream_scores(logits, semantic, config.relation), config.relation)
    if not config.predict.times_detections:
        return scores
    return scores * gather_rows(candidates.pairs.score, best.index)[..., None]


def pair_table(found: Detections, candidates: Candidates, best: Chosen, scores: Array) -> dict[str, Array]:
    """The table of pairs of `schema.PREDICTION_FIELDS`; unused rows are zeros."""
    slot, row = (gather_rows(x, best.index) for x in (candidates.pairs.human, candidates.pairs.object))
    human_row = gather_rows(candidates.people, slot)
    boxes = found.boxes[:, :, -1]

    return {
        "human_xyxy_px": gather_rows(boxes, human_row, best.kept),
        "object_xyxy_px": gather_rows(boxes, row, best.kept),
        "object_class": gather_rows(found.label, row, best.kept).astype(jnp.int32),
        "human_score": gather_rows(found.score, human_row, best.kept),
        "object_score": gather_rows(found.score, row, best.kept),
        "verb_scores": zero_unused(scores, best.kept),
        "interactiveness": zero_unused(best.points, best.kept),
        "pair_valid": best.kept,
    }


def agents(scores: Array, slot: Array, kept: Array, boxes: Array, used: Array) -> dict[str, Array]:
    """Agent scores in action style: the best over each person's pairs per verb."""
    best = jax.vmap(lambda s, person, ok: agent_scores(s, person, ok, boxes.shape[1]))(scores, slot, kept)
    return {"agent_xyxy_px": zero_unused(boxes, used), "agent_scores": zero_unused(best, used), "agent_valid": used}


def instances(found: Detections, image_hw: tuple[int, int]) -> dict[str, Array]:
    """Detections as instances, with masks, if there are any, on a grid of a quarter of the image's size."""
    boxes = found.boxes[:, :, -1]
    out = {
        "instance_xyxy_px": boxes,
        "instance_class": found.label.astype(jnp.int32),
        "instance_score": jnp.where(found.valid, found.score, 0.0),
        "instance_valid": found.valid,
    }
    if found.masks is not None:
        out["instance_mask"] = masks_over_image(found.masks, boxes, image_hw) * found.valid[..., None, None]
    return out


def masks_over_image(
    masks: Float[Array, "batch rows m m"], boxes: Float[Array, "batch rows 4"], image_hw: tuple[int, int]
) -> Float[Array, "batch rows h w"]:
    """Paste masks of boxes onto a grid over the padded image with cells of 4 x 4 pixels."""
    whole = jnp.broadcast_to(jnp.asarray([0.0, 0.0, image_hw[1], image_hw[0]]), boxes.shape)
    return resample_masks(masks, boxes, whole, (image_hw[0] // 4, image_hw[1] // 4))
