"""Features of people, objects and their unions: boxes, masks, or both (paper, section 3.4 and Table 8)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.boxes import union_box
from hoi_jax.ops.pairs import gather_rows
from hoi_jax.ops.resample import resample_masks
from hoi_jax.ops.roi_align import pyramid_roi_align
from hoi_jax.systems.cascade.config import RelationConfig


class Entities(NamedTuple):
    """People and objects of a batch at one stage; pixels.

    Attributes:
      boxes: [B, N, 4]; label: [B, N] object class.
      human_row: [B, M] rows of the people in pairs; faces: [B, M, 4] their faces, with zero area if there is none.
      masks: [B, N, m, m] probabilities over the rectangles `mask_boxes` [B, N, 4], or None.
    """

    boxes: ArrayLike
    label: ArrayLike
    human_row: ArrayLike
    faces: ArrayLike
    masks: ArrayLike | None = None
    mask_boxes: ArrayLike | None = None

    @property
    def has_face(self) -> Bool[ArrayLike, "batch humans"]:
        return (self.faces[..., 2] > self.faces[..., 0]) & (self.faces[..., 3] > self.faces[..., 1])


class Pyramid(NamedTuple):
    """Feature maps for RoI pooling: levels [B, h, w, C] with their strides, and unpadded sizes [B, 2]."""

    levels: tuple[ArrayLike, ...]
    image_hw_px: ArrayLike
    strides: tuple[int, ...]
    finest_px: float


def enlarge_corners(x: Float[ArrayLike, "*batch size size channels"], size: int) -> Array:
    """Resize bilinearly to size x size with aligned corners, as in the released code for box features."""
    cells = x.shape[-2]
    at = np.linspace(0, cells - 1, size)
    weights = np.maximum(1 - np.abs(at[:, None] - np.arange(cells)[None]), 0).astype(np.float32)
    return jnp.einsum("yh,...hwc,xw->...yxc", weights, x, weights)


def region_features(
    pyramid: Pyramid,
    boxes: Float[Array, "batch rows 4"],
    inside: Float[Array, "batch rows size size"] | None,
    config: RelationConfig,
    holes: Float[Array, "batch rows 4"] | None = None,
) -> Float[Array, "batch rows size2 size2 channels"]:
    """RoIAlign features of boxes, or of masks: on a finer grid, and zero outside of the mask.

    Args:
      inside: the mask on the RoI's grid; None for regions without a mask, regardless of `config.region`.
      holes: see `ops.roi_align.roi_align`.
    """

    def pool(size: int) -> Array:
        return pyramid_roi_align(
            pyramid.levels, boxes, pyramid.image_hw_px, strides=pyramid.strides, size=size,
            finest_px=pyramid.finest_px, holes_xyxy_px=holes,
        )  # fmt: skip

    if config.region == "box":
        return pool(config.box_size)
    fine = pool(config.mask_size)
    if inside is not None:
        fine = fine * inside[..., None].astype(fine.dtype)
    if config.region == "mask" or inside is None:
        return fine
    coarse = enlarge_corners(pool(config.box_size), config.mask_size)
    return jnp.maximum(coarse, fine) if config.region == "box+mask_max" else coarse + fine


def masks_inside(entities: Entities, config: RelationConfig) -> Float[Array, "batch rows size size"] | None:
    """Every entity's mask on the grid of its own box."""
    if not config.uses_masks or entities.masks is None or entities.mask_boxes is None:
        return None
    return resample_masks(entities.masks, entities.mask_boxes, entities.boxes, config.mask_size)


class PairBoxes(NamedTuple):
    """Boxes, masks and mask rectangles of human and object of P pairs, [B, P, ...]."""

    human: Array
    obj: Array
    human_mask: Array | None
    object_mask: Array | None
    human_mask_box: Array | None
    object_mask_box: Array | None


def pair_boxes(entities: Entities, human_slot: Array, object_row: Array) -> PairBoxes:
    """Human and object of pairs; `human_slot` is a column of `human_row`, `object_row` a row of all entities."""
    row = gather_rows(entities.human_row, human_slot)

    def both(table: Array | None) -> tuple[Array | None, Array | None]:
        return (None, None) if table is None else (gather_rows(table, row), gather_rows(table, object_row))

    masks, mask_boxes = both(entities.masks), both(entities.mask_boxes)
    return PairBoxes(gather_rows(entities.boxes, row), gather_rows(entities.boxes, object_row), *masks, *mask_boxes)


def union_features(pyramid: Pyramid, stages: Sequence[PairBoxes], config: RelationConfig) -> Array:
    """Features [B, P, size, size, C] of the union box, summed over the given stages (Eq. 11).

    The mask of the union is the pointwise maximum of the two.
    """
    boxes, masks = [], []
    for pairs in stages:
        union = union_box(pairs.human, pairs.obj)
        boxes.append(union)
        if config.uses_masks and pairs.human_mask is not None and pairs.object_mask is not None:
            assert pairs.human_mask_box is not None and pairs.object_mask_box is not None
            human = resample_masks(pairs.human_mask, pairs.human_mask_box, union, config.mask_size)
            obj = resample_masks(pairs.object_mask, pairs.object_mask_box, union, config.mask_size)
            masks.append(jnp.maximum(human, obj))
    inside = jnp.concatenate(masks, axis=1) if masks else None
    maps = region_features(pyramid, jnp.concatenate(boxes, axis=1), inside, config)
    return jnp.sum(maps.reshape((maps.shape[0], len(stages), -1, *maps.shape[2:])), axis=1)
