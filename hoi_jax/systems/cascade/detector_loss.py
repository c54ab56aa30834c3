"""Losses of region proposals, box heads and mask heads (Eq. 18, L_LOC and L_SEG; Cascade R-CNN and HTC)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.elementwise import binary_cross_entropy, smooth_l1, softmax_cross_entropy
from hoi_jax.losses.terms import Term, mean_term, stacked
from hoi_jax.ops.boxes import encode_boxes, pairwise_iou
from hoi_jax.ops.matching import match_truth, quota_sample
from hoi_jax.ops.pairs import gather_rows, random_rows
from hoi_jax.ops.resample import resample_masks
from hoi_jax.system import Batch
from hoi_jax.systems.cascade import detect
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.regions import Pyramid

RPN_BETA = 1.0 / 9.0


class Sample(NamedTuple):
    """Training RoIs of a head: boxes [B, S, 4], annotated row [B, S], and masks [B, S] of positives, of used places and
    of RoIs that are annotated boxes themselves."""

    boxes: Array
    row: Array
    positive: Array
    used: Array
    is_truth: Array


def stage_keys(key: Array, example_id: ArrayLike, number: int) -> Array:
    """One key per example for draw `number`; keys do not depend on positions in the batch."""
    return jax.vmap(lambda e: jax.random.fold_in(jax.random.fold_in(key, e), number))(example_id)


def sample_rois(
    keys: Array, boxes: Array, valid: Array, is_truth: Array, batch: Batch, overlap: float, config: CascadeConfig
) -> Sample:
    """Sample RoIs for a stage with IoU threshold `overlap`: positives up to their share, and negatives for the rest."""
    c = config.boxes

    def one(key, boxes, valid, is_truth, truth, truth_valid):
        row = match_truth(pairwise_iou(boxes, truth), valid, truth_valid, positive=overlap)
        quota = int(c.samples * c.positive_share)
        index, positive, used = quota_sample(key, row >= 0, row == -1, c.samples, quota)
        return Sample(boxes[index], jnp.maximum(row[index], 0), positive, used, is_truth[index] & used)

    return jax.vmap(one)(keys, boxes, valid, is_truth, batch["instances_xyxy_px"], batch["instances_valid"])


def rpn_terms(
    score: ArrayLike, deltas: ArrayLike, batch: Batch, image_hw: tuple[int, int], keys: Array, valid: ArrayLike,
    config: CascadeConfig,
) -> dict[str, Term]:  # fmt: skip
    """Losses of objectness and box offsets, both divided by the number of sampled anchors."""
    c = config.rpn
    anchors = jnp.asarray(detect.anchors_of(config, image_hw))
    usable = detect.usable_anchors(config, image_hw, batch["image_hw_px"])

    def one(key, score, deltas, usable, hw, truth, truth_valid, real):
        trained = usable & detect.inside_image(anchors, hw) & real
        row = match_truth(
            pairwise_iou(anchors, truth), trained, truth_valid,
            positive=c.positive, negative=c.negative, best_of_truth=c.best,
        )  # fmt: skip
        index, positive, used = quota_sample(key, row >= 0, row == -1, c.samples, int(c.samples * c.positive_share))
        target = encode_boxes(anchors[index], truth[jnp.maximum(row[index], 0)])
        distance = jnp.sum(smooth_l1(deltas[index], target, beta=RPN_BETA), axis=-1)
        return binary_cross_entropy(score[index], positive), jnp.where(positive, distance, 0.0), used

    objectness, distance, used = jax.vmap(one)(
        keys, score, deltas, usable, batch["image_hw_px"], batch["instances_xyxy_px"], batch["instances_valid"], valid
    )
    return {"rpn_score": mean_term(objectness, used), "rpn_box": mean_term(distance, used)}


def mask_loss(
    net: CascadeNet, pyramid: Pyramid, boxes: Array, usable: Array, batch: Batch, keys: Array, stage: int
) -> Term:  # fmt: skip
    """Cross-entropy of the annotated class's map on the boxes refined by the stage's box head.

    Boxes are assigned again with the stage's threshold; targets are annotated masks cropped to them.
    """
    config = net.config
    overlap = config.boxes.overlaps[stage]

    def choose(key, boxes, usable, truth, truth_valid):
        row = match_truth(pairwise_iou(boxes, truth), usable, truth_valid, positive=overlap)
        index, used = random_rows(key, row >= 0, config.masks.rois)
        return boxes[index], jnp.maximum(row[index], 0), used

    places, row, used = jax.vmap(choose)(keys, boxes, usable, batch["instances_xyxy_px"], batch["instances_valid"])
    logits = net.mask_logits(pyramid, places, stage)
    label = gather_rows(batch["instances_class"], row)
    own = jnp.take_along_axis(logits, (label + 1)[:, :, None, None, None], axis=-1)[..., 0]
    whole = jnp.asarray([0.0, 0.0, batch["image"].shape[2], batch["image"].shape[1]])

    def cut(masks, row, places):
        source = jnp.broadcast_to(whole, places.shape)
        return resample_masks(masks[row].astype(jnp.float32), source, places, own.shape[-1]) >= 0.5

    target = jax.vmap(cut)(batch["instances_mask"], row, places)
    entropy = binary_cross_entropy(own, target)
    return mean_term(jnp.mean(entropy, axis=(2, 3)), used)


def detector_terms(
    net: CascadeNet,
    pyramid: Pyramid,
    proposals: ArrayLike,
    proposal_valid: ArrayLike,
    batch: Batch,
    key: Array,
    valid: ArrayLike,
) -> dict[str, Term]:
    """Sum over stages of beta_t times class, box and mask losses; classes and boxes per sampled RoI."""
    config = net.config
    truth, truth_valid = batch["instances_xyxy_px"], batch["instances_valid"] & valid[:, None]
    boxes = jnp.concatenate([proposals, truth], axis=1)
    usable = jnp.concatenate([proposal_valid & valid[:, None], truth_valid], axis=1)
    is_truth = jnp.concatenate([jnp.zeros_like(proposal_valid), truth_valid], axis=1)
    stages: dict[str, list[Term]] = {
        name: [] for name in ("class", "box", *(("mask",) if config.masks.enabled else ()))
    }
    for stage in range(config.stages):
        beta, overlap = config.loss.beta[stage], config.boxes.overlaps[stage]
        keys = stage_keys(key, batch["example_id"], 10 + stage)
        sample = sample_rois(keys, boxes, usable, is_truth, batch, overlap, config)
        logits, deltas = net.box_stage(pyramid, sample.boxes, stage)
        label = gather_rows(batch["instances_class"], sample.row)
        column = jnp.where(sample.positive, label + 1, 0)
        stages["class"].append(mean_term(softmax_cross_entropy(logits, column), sample.used).scaled(beta))
        goal = gather_rows(truth, sample.row)
        target = encode_boxes(sample.boxes, goal, detect.stage_stds(stage, config.boxes))
        distance = jnp.where(sample.positive, jnp.sum(smooth_l1(deltas, target), axis=-1), 0.0)
        stages["box"].append(mean_term(distance, sample.used).scaled(beta))
        refined = detect.refine(sample.boxes, deltas, stage, batch["image_hw_px"], config.boxes)
        # Annotated boxes are not refined; they are removed here and added again unchanged.
        boxes = jnp.concatenate([refined, truth], axis=1)
        usable = jnp.concatenate([sample.used & ~sample.is_truth, truth_valid], axis=1)
        is_truth = jnp.concatenate([jnp.zeros_like(sample.used), truth_valid], axis=1)
        if config.masks.enabled:
            mask_keys = stage_keys(key, batch["example_id"], 20 + stage)
            stages["mask"].append(mask_loss(net, pyramid, boxes, usable, batch, mask_keys, stage).scaled(beta))
    return {name: stacked(terms) for name, terms in stages.items()}
