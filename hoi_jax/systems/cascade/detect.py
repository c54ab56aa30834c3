"""Instance localisation from head outputs: anchors, proposals, the chain of refined boxes, detections, faces.

Pure functions on arrays of fixed size; the parameters are in `model.py`. Every detection has a box for *every* stage,
because relation features of stage t are pooled at the boxes of stage t and of the previous stage (Eq. 11).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.resnet import valid_cells
from hoi_jax.ops.anchors import cell_anchors, make_anchors
from hoi_jax.ops.boxes import area, class_nms, clip_boxes, decode_boxes
from hoi_jax.ops.pairs import gather_rows, top_rows
from hoi_jax.system import Batch
from hoi_jax.systems.cascade.config import BoxConfig, CascadeConfig, RpnConfig


class Detections(NamedTuple):
    """Detections of a batch (or, without the first axis, of one image).

    Attributes:
      boxes: [B, D, T, 4] per stage, pixels; label: [B, D] object class; score: [B, D]; valid: [B, D].
      faces: [B, D, 4] face of a person, with zero area if there is none.
      masks: [B, D, m, m] probabilities over the box of the last stage, or None.
    """

    boxes: ArrayLike
    label: ArrayLike
    score: ArrayLike
    valid: ArrayLike
    faces: ArrayLike
    masks: ArrayLike | None = None


def level_sizes(config: CascadeConfig, image_hw: tuple[int, int]) -> list[tuple[int, int, int]]:
    """(stride, rows, columns) of every level of region proposals.

    Raises:
      ValueError: the padded size is not a multiple of the coarsest stride, so that anchors would depend on the padding.
    """
    coarsest = config.backbone.coarsest
    if image_hw[0] % coarsest or image_hw[1] % coarsest:
        raise ValueError(f"image size is {image_hw}, expected multiples of {coarsest}; change sizes.image_hw")
    strides = (*config.backbone.strides, coarsest)
    return [(stride, image_hw[0] // stride, image_hw[1] // stride) for stride in strides]


def anchors_of(config: CascadeConfig, image_hw: tuple[int, int]) -> Float[np.ndarray, "total 4"]:
    """All anchors over images of a padded size, pixels."""
    levels = level_sizes(config, image_hw)
    cells = cell_anchors(
        [config.rpn.scale * stride for stride, *_ in levels], scales=(1.0,), ratios=config.rpn.ratios, rounded=False
    )
    return make_anchors(image_hw, [(rows, columns) for _, rows, columns in levels], cells).astype(np.float32)


def usable_anchors(
    config: CascadeConfig, image_hw: tuple[int, int], image_hw_px: Int[ArrayLike, "batch 2"]
) -> Bool[Array, "batch total"]:
    """Mask of the anchors whose cell is over the unpadded image."""
    flat = [
        valid_cells(image_hw_px, *size).reshape((image_hw_px.shape[0], -1)) for size in level_sizes(config, image_hw)
    ]
    return jnp.repeat(jnp.concatenate(flat, axis=1), len(config.rpn.ratios), axis=1)


def inside_image(anchors: Float[Array, "total 4"], image_hw_px: Int[Array, "2"]) -> Bool[Array, " total"]:
    """Mask of the anchors that do not cross the image border; only these are trained."""
    limit = image_hw_px[::-1].astype(jnp.float32)[None]
    return jnp.all((anchors[:, :2] >= 0) & (anchors[:, 2:] <= limit), axis=1)


def choose_proposals(
    score: Float[Array, " total"],
    deltas: Float[Array, "total 4"],
    anchors: Float[Array, "total 4"],
    usable: Bool[Array, " total"],
    image_hw_px: Int[Array, "2"],
    per_level: Sequence[int],
    config: RpnConfig,
) -> tuple[Float[Array, "rows 4"], Bool[Array, " rows"]]:
    """Select the proposals of one image, best first: the best of every level, suppression per level, the best of all.

    Args:
      per_level: number of anchors of each level.
    """
    start, parts = 0, []
    for count in per_level:
        rows = slice(start, start + count)
        start += count
        index, used = top_rows(score[rows], usable[rows], config.per_level)
        boxes = clip_boxes(decode_boxes(anchors[rows][index], deltas[rows][index]), image_hw_px)
        used &= area(boxes) > 0
        points = jnp.where(used, score[rows][index], -jnp.inf)
        missing = config.per_level - index.shape[0]
        parts.append((
            jnp.pad(boxes, ((0, missing), (0, 0))), jnp.pad(points, (0, missing), constant_values=-jnp.inf),
            jnp.pad(used, (0, missing)),
        ))  # fmt: skip
    boxes, points, used = (jnp.stack(column) for column in zip(*parts, strict=True))
    suppress = functools.partial(class_nms, label=jnp.zeros(points.shape[1], jnp.int32), overlap=config.overlap)
    kept = jax.vmap(lambda b, p, u: suppress(b, p, valid=u))(boxes, points, used)
    boxes, points, kept = boxes.reshape((-1, 4)), points.ravel(), kept.ravel()
    chosen = top_rows(points, kept, config.total)
    return jax.lax.stop_gradient(gather_rows(boxes, *chosen)), chosen[1]


def refine(
    boxes: Float[ArrayLike, "batch rows 4"],
    deltas: Float[ArrayLike, "batch rows 4"],
    stage: int,
    image_hw_px: Int[ArrayLike, "batch 2"],
    config: BoxConfig,
) -> Float[Array, "batch rows 4"]:
    """Boxes after the head of `stage`; gradients are stopped."""
    decoded = decode_boxes(boxes, deltas, stage_stds(stage, config))
    return jax.lax.stop_gradient(clip_boxes(decoded, image_hw_px))


def stage_stds(stage: int, config: BoxConfig) -> tuple[float, float, float, float]:
    """Standard deviations of the box offsets of a stage (from 0)."""
    centre, size = config.stds[stage]
    return (centre, centre, size, size)


def merge_stages(
    boxes: Float[ArrayLike, "stages rows 4"],
    logits: Float[ArrayLike, "stages rows classes_1"],
    valid: Bool[ArrayLike, " rows"],
    config: BoxConfig,
) -> tuple[Array, Array, Array, Array]:
    """Detections of one image from its proposals' boxes and logits after every stage.

    "union": boxes and softmax scores of all stages, those above the minimum score, suppressed together by class. A
    detection from stage s has the boxes of the stages up to s, and that of s for later stages. "mean_logits": the mean
    of the logits, with the boxes of the last stage.

    Returns:
      boxes [D, T, 4], label [D], score [D], used [D].
    """
    stages, rows, columns = logits.shape
    if config.merge == "mean_logits":
        probability = jax.nn.softmax(jnp.mean(logits, axis=0))[None, :, 1:]
        source = np.array([stages - 1])
    else:
        probability = jax.nn.softmax(logits)[:, :, 1:]
        source = np.arange(stages)
    flat = jnp.where(valid[None, :, None], probability, -1.0).reshape(-1)
    best, used = top_rows(flat, flat >= config.score, config.candidates)
    label = (best % (columns - 1)).astype(jnp.int32)
    row = best // (columns - 1) % rows
    stage = jnp.asarray(source)[best // (columns - 1) // rows]
    place = boxes[stage, row]
    points = jnp.where(used, flat[best], 0.0)
    kept = class_nms(place, points, label, used & (area(place) > 0), overlap=config.overlap)
    final = top_rows(points, kept, config.detections)
    missing = config.detections - final[0].shape[0]
    # The box for stage t of a detection from stage s is that of stage min(t, s).
    path = jnp.minimum(jnp.arange(stages)[None], stage[:, None])
    lineage = boxes[path, row[:, None]]

    def table(values: ArrayLike) -> Array:
        rows = gather_rows(values, *final)
        return jnp.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1))

    return table(lineage), table(label), table(points), jnp.pad(final[1], (0, missing))


def assign_faces(
    boxes: Float[ArrayLike, "rows 4"], is_person: Bool[ArrayLike, " rows"], faces: Float[ArrayLike, "faces 4"]
) -> Float[Array, "rows 4"]:
    """The face of every person: one with its centre and at least half of its area in the person's box; zeros if none.

    Of several, the one with the largest share of its area in the box, then the first.
    """
    size = area(faces)
    low = jnp.maximum(boxes[:, None, :2], faces[None, :, :2])
    high = jnp.minimum(boxes[:, None, 2:], faces[None, :, 2:])
    shared = area(jnp.concatenate([low, high], axis=-1)) / jnp.where(size > 0, size, 1.0)[None]
    centre = ((faces[:, :2] + faces[:, 2:]) / 2)[None]
    within = jnp.all((centre >= boxes[:, None, :2]) & (centre <= boxes[:, None, 2:]), axis=-1)
    fits = within & (shared >= 0.5) & (size > 0)[None] & is_person[:, None]
    best = jnp.argmax(jnp.where(fits, shared, -1.0), axis=1)
    return jnp.where(jnp.any(fits, axis=1)[:, None], faces[best], 0.0)


def external_detections(batch: Batch, stages: int, masks: Array | None) -> Detections:
    """The batch's detections, with the same box at every stage."""
    boxes = batch["detections_xyxy_px"]
    repeated = jnp.broadcast_to(boxes[:, :, None], (*boxes.shape[:2], stages, 4))
    faces = batch.get("detections_face_xyxy_px")
    return Detections(
        repeated, batch["detections_class"], batch["detections_score"], batch["detections_valid"],
        jnp.zeros_like(boxes) if faces is None else faces, masks,
    )  # fmt: skip
