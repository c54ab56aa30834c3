"""The loss of the cascade: sum_t beta_t L_LOC (+ beta_t L_SEG) + gamma_t (L_RRM + L_RCM) (Eq. 18), and of proposals.

L_RRM, the ranking loss of sampled pairs, is the paper's Eq. 14 or that of the authors' released code.
"""

import collections
import functools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.elementwise import binary_cross_entropy
from hoi_jax.losses.metric_learning import draw_combinations, pair_ranking_loss, separated_ranking_loss
from hoi_jax.losses.terms import Term, mean_term, stacked
from hoi_jax.ops.matching import quota_sample
from hoi_jax.ops.pairs import enumerate_pairs, gather_rows
from hoi_jax.system import Batch, LossOutput, Variables
from hoi_jax.systems.cascade.config import CascadeConfig, LossConfig
from hoi_jax.systems.cascade.detect import Detections
from hoi_jax.systems.cascade.detector_loss import detector_terms, rpn_terms, stage_keys
from hoi_jax.systems.cascade.entities import (
    annotated_boxes,
    at_stage,
    choose_people,
    find_detections,
    joined,
)
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.regions import Pyramid
from hoi_jax.systems.cascade.relation import PairFeatures
from hoi_jax.systems.cascade.targets import PairLabels, labels_of_image, with_reversed
from hoi_jax.vocab.tables import Vocabulary

DRAWN = 64
"""Number of combinations per image that the released code draws."""


def ranking_terms(
    net: CascadeNet,
    features: PairFeatures,
    stage: int,
    positive: Bool[Array, "batch pairs"],
    negative: Bool[Array, "batch pairs"],
    quota: int,
    keys: Array,
    settings: LossConfig,
) -> dict[str, Float[Array, " batch"]]:
    """Ranking terms per image; zero for images without any annotated or without any other pair.

    Args:
      positive, negative: masks of annotated and other pairs; the former are within the first `quota` rows.
      keys: one key per image, for drawn combinations.
    """
    hidden = net.rank_hidden(features, stage)
    score = jax.nn.sigmoid(net.rank_score(hidden, stage))
    if settings.ranking_reduce != "drawn":
        total, count = pair_ranking_loss(
            score[:, :quota], score, positive[:, :quota], negative, margin=settings.ranking_margin
        )
        return {"rank": total / jnp.maximum(count, 1.0) if settings.ranking_reduce == "mean" else total}

    def one(key: Array, score: Array, hidden: Array, positive: Array, negative: Array) -> dict[str, Array]:
        better, worse = draw_combinations(key, positive, negative, DRAWN)
        terms = separated_ranking_loss(
            score[better], score[worse], hidden[better], hidden[worse], margin=settings.ranking_margin
        )
        both = jnp.any(positive) & jnp.any(negative)
        return {name if name == "rank" else f"rank_{name}": jnp.where(both, x, 0.0) for name, x in terms.items()}

    return jax.vmap(one)(keys, score, hidden, positive, negative)


_INSTANCES = ("instances_xyxy_px", "instances_class", "instances_valid")
_DETECTIONS = tuple(f"detections_{column}" for column in ("xyxy_px", "class", "score", "valid"))
_PAIRS = ("pairs_human", "pairs_object", "pairs_verbs", "pairs_verbs_known", "pairs_valid")


def training_fields(config: CascadeConfig) -> frozenset[str]:
    """Batch fields that the loss reads."""
    fields = {"image", "image_hw_px", *_INSTANCES}
    relations, masks = config.loss.parts != "detector", config.relation.uses_masks
    if config.detector == "external" and config.loss.boxes == "detected":
        fields |= {*_DETECTIONS, *(("detections_mask",) if masks else ())}
        fields |= {"detections_face_xyxy_px"} if config.relation.face else set()
    if relations:
        fields |= set(_PAIRS)
        if config.relation.face:
            fields |= {"faces_xyxy_px" if config.detector == "own" else "instances_face_xyxy_px"}
    trains_masks = config.masks.enabled and config.loss.parts != "relations"
    if trains_masks or (relations and masks):
        fields |= {"instances_mask"}
    return frozenset(fields)


def sample_pairs(
    found: Detections, human_row: Array, human_used: Array, batch: Batch, keys: Array, stage: int,
    vocabulary: Vocabulary, config: CascadeConfig,
) -> tuple[Array, Array, Array, Array, PairLabels]:  # fmt: skip
    """Sample training pairs of `stage`: by default at most 32 annotated ones and 96 others (paper, section 4).

    Returns:
      human slot, object row, mask of annotated pairs, mask of used places, [B, K] each, and labels [B, K, ...];
      annotated pairs come first.
    """
    boxes = found.boxes[:, :, stage]
    candidates = jax.vmap(enumerate_pairs)(gather_rows(boxes, human_row), boxes, human_used, found.valid)
    overlap = config.loss.pair_overlap or config.boxes.overlaps[stage]
    total, objects = config.loss.pairs, boxes.shape[1]
    fields = {name: batch[name] for name in (*_INSTANCES, *_PAIRS)}

    def one(key, candidates, boxes, label, people, example):
        if config.loss.reversed_verbs:
            example = with_reversed(example, config.loss.reversed_verbs, vocabulary)

        def labels(slot, row):
            return labels_of_image(example, boxes[people[slot]], boxes[row], label[row], vocabulary, overlap=overlap)

        slots, rows = (x.ravel() for x in jnp.indices(candidates.shape))
        annotated, usable = labels(slots, rows).annotated, candidates.ravel()
        quota = int(total * config.loss.pair_share)
        fill = quota == total  # If the quota covers all places, other pairs fill those that remain.
        index, positive, used = quota_sample(key, annotated & usable, ~annotated & usable, total, quota, fill=fill)
        slot, row = index // objects, index % objects
        return slot, row, positive, used, labels(slot, row)

    return jax.vmap(one)(keys, candidates, boxes, found.label, human_row, fields)


def relation_terms(
    net: CascadeNet, pyramid: Pyramid, found: Detections, batch: Batch, key: Array, valid: ArrayLike, prior: np.ndarray,
    vocabulary: Vocabulary,
) -> dict[str, Term]:  # fmt: skip
    """Sum over stages of gamma_t (L_RRM + L_RCM); one entry per classifier."""
    config = net.config
    c = config.relation
    people, used_people = choose_people(found, vocabulary.human_class, config)
    used_people = used_people & valid[:, None]
    quota = int(config.loss.pairs * config.loss.pair_share)
    stages: dict[str, list[Term]] = collections.defaultdict(list)
    before = seen = None
    for stage in c.stages_of(config.stages):
        gamma = config.loss.gamma[stage]
        keys = stage_keys(key, batch["example_id"], 30 + stage)
        slot, row, positive, used, labels = sample_pairs(
            found, people, used_people, batch, keys, stage, vocabulary, config
        )
        now = at_stage(found, people, stage)
        tables, raw = net.relation_tables(pyramid, now, before, stage, seen)
        features = net.relation_pairs(pyramid, tables, now, before, stage, slot, row)
        before, seen = now, raw
        if c.ranking:
            draws = stage_keys(key, batch["example_id"], 50 + stage)
            ranked = ranking_terms(net, features, stage, positive & used, used & ~positive, quota, draws, config.loss)
            for name, value in ranked.items():
                stages[name].append(mean_term(value, valid).scaled(gamma))
        label = gather_rows(found.label, row)
        semantic = jnp.take(jnp.asarray(prior if c.background else prior[:, 1:]), label, axis=0)
        wanted, known = labels.verbs, labels.known
        if c.background:
            wanted = jnp.concatenate([~positive[..., None], wanted], axis=-1)
            known = jnp.concatenate([jnp.ones_like(known[..., :1]), known], axis=-1)
        logits = net.classify(features, semantic, raw, slot, row, stage)
        for name, entropy in entropies(logits, wanted).items():
            weight = known & used[..., None]
            if config.loss.verb_mean == "images":
                count = jnp.sum(weight, axis=(1, 2))
                term = mean_term(jnp.sum(entropy * weight, axis=(1, 2)) / jnp.maximum(count, 1), valid & (count > 0))
            else:
                term = mean_term(entropy, weight)
            stages[f"verb_{name}"].append(term.scaled(gamma))
    return {name: stacked(terms) for name, terms in stages.items()}


def entropies(logits: dict[str, Array], wanted: Array) -> dict[str, Array]:
    """Binary cross-entropy of every stream, [B, P, outputs]; for three visual classifiers, of their mean probability.

    The mean is computed on logarithms, so that it cannot saturate at 0 or 1.
    """
    three = [logits[name] for name in ("v", "human", "object") if name in logits]
    out = {name: binary_cross_entropy(x, wanted) for name, x in logits.items() if name not in ("v", "human", "object")}
    if len(three) == 1:
        return out | {"v": binary_cross_entropy(three[0], wanted)}
    if three:
        log_yes, log_no = (
            jax.nn.logsumexp(jax.nn.log_sigmoid(sign * jnp.stack(three)), axis=0) - np.log(3) for sign in (1, -1)
        )
        out["v"] = -jnp.where(wanted, log_yes, log_no)
    return out


def make_loss(net: CascadeNet, config: CascadeConfig, vocabulary: Vocabulary, prior: np.ndarray):
    """Return the `loss` function of a System (see `system.System`); random draws are keyed by example."""

    def forward(module: CascadeNet, batch: Batch, key: Array) -> dict[str, Term]:
        valid = batch["batch_valid"]
        parts = config.loss.parts
        image_hw = cast(tuple[int, int], batch["image"].shape[1:3])
        levels = module.pyramid(batch["image"], batch["image_hw_px"])
        if parts == "relations" and config.detector == "own":
            levels = jax.lax.stop_gradient(levels)
        pyramid = module.rois(levels, batch["image_hw_px"])
        terms: dict[str, Term] = {}
        proposals = None
        detected = config.loss.boxes == "detected" or parts == "detector"
        if config.detector == "own" and (detected or parts == "joint"):
            score, deltas, boxes, usable = module.propose(levels, image_hw, batch["image_hw_px"])
            proposals = (boxes, usable)
            if parts != "relations":
                keys = stage_keys(key, batch["example_id"], 0)
                terms |= rpn_terms(score, deltas, batch, image_hw, keys, valid, config)
                terms |= detector_terms(module, pyramid, boxes, usable, batch, key, valid)
        if parts == "detector":
            return terms
        found = annotated_boxes(batch, vocabulary.human_class, config)
        if detected:
            found = joined(found, find_detections(module, pyramid, proposals, batch, vocabulary.human_class))
        return terms | relation_terms(module, pyramid, found, batch, key, valid, prior, vocabulary)

    def loss(
        variables: Variables, batch: Batch, key: Array, *, train: bool = True, axis_name: str | None = None
    ) -> LossOutput:
        del train, axis_name  # Batch statistics are frozen and there is no dropout.
        method = functools.partial(forward, batch=batch, key=key)
        terms = cast(dict[str, Term], net.apply(dict(variables), method=lambda module: method(module)))
        state = {name: value for name, value in variables.items() if name != "params"}
        return LossOutput(terms=terms, state=state)

    return loss
