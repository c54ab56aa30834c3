"""Image-centric sampling (TIN, section 5.2): jittered annotated pairs, and detected pairs that are not annotated.

Functions are for one image and are mapped over the batch; all sizes are fixed, and unused places are masked. Random
draws depend only on the image's key.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import clip_boxes, iou, pairwise_iou
from hoi_jax.ops.pairs import enumerate_pairs, gather_rows, random_rows, top_rows, unannotated_pairs
from hoi_jax.system import Batch
from hoi_jax.systems.tin.config import SamplingConfig, TinConfig

DETECTION_FIELDS = tuple(f"detections_{column}" for column in ("xyxy_px", "class", "score", "keypoints_px", "valid"))


class Sample(NamedTuple):
    """Training pairs of one image (a batch axis comes first after mapping).

    On the pair axis, P = S + R, the S positive places come before the R negative ones; the box tables contain the S
    positive boxes first, then detected people (or objects).

    Attributes:
      human_xyxy_px, human_keypoints_px: [N, 4], [N, 17, 3], N = S + detected people.
      object_xyxy_px, table_class: [M, 4], [M] boxes and classes.
      human_index, object_index: [P] rows of these tables.
      truth: [P] row of the batch's `pairs`, 0 for negatives.
      positive, negative: [P] whether a place has an annotated pair, or a sampled unannotated one; padding is neither.
      has_object: [P] False for an annotated person who acts without an object.
      object_class: [P] class of the pair's object.
    """

    human_xyxy_px: Array
    human_keypoints_px: Array
    object_xyxy_px: Array
    table_class: Array
    human_index: Array
    object_index: Array
    truth: Array
    positive: Array
    negative: Array
    has_object: Array
    object_class: Array


def group_size(pair_count: Array | int, group: Array | int, limit: int) -> Array:
    """Number of pairs in group `group` if an image's pairs are split into consecutive groups of at most `limit`."""
    return jnp.clip(jnp.asarray(pair_count) - jnp.asarray(group) * limit, 0, limit)


def copies_layout(
    group_pairs: Int[Array, ""], places: int, augment: int
) -> tuple[Int[Array, " places"], Bool[Array, " places"], Bool[Array, " places"]]:
    """Assign pairs of the group to places: every pair once as annotated, and `augment` copies in total.

    Of G pairs, each of the first G - 1 gets floor(augment / G) copies and the last one the rest; G + augment places are
    used.

    Returns:
      index of the pair within the group, whether the place is the original, whether it is used.
    """
    place = jnp.arange(places)
    each = 1 + augment // jnp.maximum(group_pairs, 1)
    pair = jnp.clip(place // each, 0, jnp.maximum(group_pairs - 1, 0))
    used = (group_pairs > 0) & (place < group_pairs + augment)
    return pair, used & (place == pair * each), used


def jitter_boxes(
    key: Array,
    boxes_xyxy_px: Float[ArrayLike, "rows 4"],
    image_hw_px: Int[ArrayLike, "2"],
    *,
    min_iou: float = 0.7,
    tries: int = 4,
) -> Float[Array, "rows 4"]:
    """Perturb each box at random and clip it to the image (iCAN's augmentation).

    Both sides are scaled by the same 1 + k / 100, k in -10 ... 10, and the centre is shifted by a multiple of 0.1
    pixels, at most a tenth of the side. The first of `tries` proposals whose IoU with the box exceeds `min_iou` is
    taken, or the box itself if there is none (about one proposal in a hundred fails).
    """
    rows = boxes_xyxy_px.shape[0]
    draws = jax.random.uniform(key, (tries, rows, 3))
    size = boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]
    centre = (boxes_xyxy_px[:, 2:] + boxes_xyxy_px[:, :2]) / 2
    percent = jnp.floor(21 * draws[..., :1]) - 10
    reach = jnp.floor(size)[None]
    tenths = jnp.floor((2 * reach + 1) * draws[..., 1:]) - reach
    half = size[None] * (1 + 0.01 * percent) / 2
    moved = centre[None] + 0.1 * tenths
    proposals = jnp.concatenate([moved - half, moved + half], axis=-1)
    proposals = clip_boxes(proposals, jnp.broadcast_to(image_hw_px, (tries, 2)))
    good = iou(proposals, jnp.broadcast_to(boxes_xyxy_px, proposals.shape)) > min_iou  # [tries, rows]
    first = jnp.argmax(good, axis=0)
    chosen = jnp.take_along_axis(proposals, first[None, :, None], axis=0)[0]
    return jnp.where(jnp.any(good, axis=0)[:, None], chosen, boxes_xyxy_px)


def detection_of(
    boxes_xyxy_px: Float[Array, "rows 4"],
    found_xyxy_px: Float[Array, "found 4"],
    found_used: Bool[Array, " found"],
    overlap: float,
) -> tuple[Int[Array, " rows"], Bool[Array, " rows"]]:
    """(row of the detection with the largest IoU, whether that IoU exceeds `overlap`) for each box."""
    shared = jnp.where(found_used[None], pairwise_iou(boxes_xyxy_px, found_xyxy_px), 0.0)
    return jnp.argmax(shared, axis=-1), jnp.max(shared, axis=-1) > overlap


def choose_detections(
    example: Batch, human_class: int, human_score: float, object_score: float, config: TinConfig
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(rows, used) of the detections chosen as people, and of those chosen as objects, best first."""
    valid, score = example["detections_valid"], example["detections_score"]
    person = valid & (example["detections_class"] == human_class) & (score > human_score)
    obj = valid & (score > object_score)
    return top_rows(score, person, config.max_humans), top_rows(score, obj, config.max_objects)


class _Found(NamedTuple):
    """Detections of one image chosen as people and as objects, best first."""

    human_xyxy_px: Array
    human_keypoints_px: Array
    human_used: Array
    object_xyxy_px: Array
    object_class: Array
    object_used: Array


def _found(example: Batch, human_class: int, config: TinConfig) -> _Found:
    s = config.sampling
    humans, objects = choose_detections(example, human_class, s.human_score, s.object_score, config)
    return _Found(
        gather_rows(example["detections_xyxy_px"], *humans),
        gather_rows(example["detections_keypoints_px"], *humans),
        humans[1],
        gather_rows(example["detections_xyxy_px"], *objects),
        gather_rows(example["detections_class"], *objects),
        objects[1],
    )


def _positives(key: Array, example: Batch, found: _Found, config: SamplingConfig) -> tuple[Array, ...]:
    """Boxes, keypoints, source row, used and has_object of the S positive places."""
    group_key, jitter_key = jax.random.split(key)
    valid = example["pairs_valid"]
    order, _ = top_rows(-jnp.arange(valid.shape[0], dtype=jnp.float32), valid, valid.shape[0])  # in file order
    count = jnp.sum(valid)
    groups = jnp.maximum(-(-count // config.group), 1)
    group = jnp.floor(jax.random.uniform(group_key) * groups).astype(groups.dtype)
    places = config.places
    pair, original, used = copies_layout(group_size(count, group, config.group), places, config.augment)
    truth = jnp.take(order, jnp.minimum(group * config.group + pair, valid.shape[0] - 1))
    human = jnp.take(example["pairs_human"], truth)
    obj = jnp.take(example["pairs_object"], truth)
    has_object = used & (obj >= 0)
    boxes = example["instances_xyxy_px"]
    human_xyxy = gather_rows(boxes, jnp.maximum(human, 0), used)
    object_xyxy = gather_rows(boxes, jnp.maximum(obj, 0), has_object)
    both = jnp.concatenate([human_xyxy, object_xyxy])
    jittered = jitter_boxes(
        jitter_key, both, example["image_hw_px"], min_iou=config.jitter_iou, tries=config.jitter_tries
    )
    # The pose is the estimated one, as in the paper: with annotated joints on positives and estimated ones on
    # negatives, P could distinguish them by the pose alone.
    person, person_found = detection_of(human_xyxy, found.human_xyxy_px, found.human_used, config.overlap)
    estimated = jnp.take(found.human_keypoints_px, person, axis=0)
    annotated = gather_rows(example["instances_keypoints_px"], jnp.maximum(human, 0), used)
    keypoints = jnp.where((person_found & used)[:, None, None], estimated, annotated)
    if config.copies == "detected":
        item, object_found = detection_of(object_xyxy, found.object_xyxy_px, found.object_used, config.overlap)
        detected = jnp.concatenate(
            [jnp.take(found.human_xyxy_px, person, axis=0), jnp.take(found.object_xyxy_px, item, axis=0)]
        )
        hit = jnp.concatenate([person_found & used, object_found & has_object])
        jittered = jnp.where(hit[:, None], detected, jittered)
    keep = jnp.concatenate([original, original])[:, None]
    human_xyxy, object_xyxy = jnp.split(jnp.where(keep, both, jittered), 2)
    object_class = gather_rows(example["instances_class"], jnp.maximum(obj, 0), has_object)
    return human_xyxy, object_xyxy, keypoints, truth, used, has_object, object_class


def _truth_boxes(example: Batch) -> tuple[Array, Array, Array]:
    valid = example["pairs_valid"] & (example["pairs_object"] >= 0)
    boxes = example["instances_xyxy_px"]
    human = gather_rows(boxes, jnp.maximum(example["pairs_human"], 0), valid)
    obj = gather_rows(boxes, jnp.maximum(example["pairs_object"], 0), valid)
    return human, obj, valid


def sample_pairs(key: Array, example: Batch, human_class: int, config: TinConfig) -> Sample:
    """Positive and negative training pairs of one image (fields without batch axis)."""
    s = config.sampling
    positive_key, negative_key = jax.random.split(key)
    found = _found(example, human_class, config)
    human_xyxy, object_xyxy, keypoints, truth, used, has_object, object_class = _positives(
        positive_key, example, found, s
    )
    candidates = enumerate_pairs(found.human_xyxy_px, found.object_xyxy_px, found.human_used, found.object_used)
    candidates &= unannotated_pairs(
        found.human_xyxy_px, found.object_xyxy_px, *_truth_boxes(example), overlap=s.overlap
    )
    drawn, negative = random_rows(negative_key, candidates.reshape(-1), s.negatives)
    object_slots = found.object_used.shape[0]
    human_of, object_of = drawn // object_slots, drawn % object_slots

    places, draws = used.shape[0], drawn.shape[0]
    empty = jnp.zeros((draws,), bool)
    return Sample(
        human_xyxy_px=jnp.concatenate([human_xyxy, found.human_xyxy_px]),
        human_keypoints_px=jnp.concatenate([keypoints, found.human_keypoints_px]),
        object_xyxy_px=jnp.concatenate([object_xyxy, found.object_xyxy_px]),
        table_class=jnp.concatenate([object_class, found.object_class]),
        human_index=jnp.concatenate([jnp.arange(places), places + human_of]),
        object_index=jnp.concatenate([jnp.arange(places), places + object_of]),
        truth=jnp.concatenate([truth, jnp.zeros((draws,), truth.dtype)]),
        positive=jnp.concatenate([used, empty]),
        negative=jnp.concatenate([jnp.zeros((places,), bool), negative]),
        has_object=jnp.concatenate([has_object, negative]),
        object_class=jnp.concatenate([object_class, jnp.take(found.object_class, object_of)]),
    )
