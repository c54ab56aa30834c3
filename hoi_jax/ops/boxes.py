"""Boxes on device: continuous corners (x1, y1, x2, y2), so that the width is x2 - x1."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def area(boxes_xyxy: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """Area per box; a box with a corner out of order has area 0."""
    size = jnp.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def _ratio(inter: Array, area_a: Array, area_b: Array) -> Array:
    union = area_a + area_b - inter
    return jnp.where(union > 0, inter / jnp.where(union > 0, union, 1.0), 0.0)


def iou(a_xyxy: Float[Array, "*batch 4"], b_xyxy: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """Intersection over union, row by row; 0 where both boxes are empty.

    The "+1" IoU of inclusive pixel boxes is this function on boxes whose high corners were moved by one.
    """
    low = jnp.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = jnp.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    inter = area(jnp.concatenate([low, high], axis=-1))
    return _ratio(inter, area(a_xyxy), area(b_xyxy))


def pairwise_iou(
    a_xyxy: Float[Array, "*batch rows 4"], b_xyxy: Float[Array, "*batch columns 4"]
) -> Float[Array, "*batch rows columns"]:
    """IoU of every box of `a_xyxy` with every box of `b_xyxy`; 0 where both are empty."""
    a, b = a_xyxy[..., :, None, :], b_xyxy[..., None, :, :]
    low = jnp.maximum(a[..., :2], b[..., :2])
    high = jnp.minimum(a[..., 2:], b[..., 2:])
    inter = area(jnp.concatenate([low, high], axis=-1))
    return _ratio(inter, area(a), area(b))


def clip_boxes(
    boxes_xyxy_px: Float[Array, "*batch rows 4"], image_hw_px: Int[Array, "*batch 2"]
) -> Float[Array, "*batch rows 4"]:
    """Boxes cut to the picture, 0 <= x <= width and 0 <= y <= height."""
    limit = image_hw_px[..., None, ::-1].astype(boxes_xyxy_px.dtype)
    limit = jnp.concatenate([limit, limit], axis=-1)
    return jnp.clip(boxes_xyxy_px, 0.0, limit)


def union_box(a_xyxy: Float[Array, "*batch 4"], b_xyxy: Float[Array, "*batch 4"]) -> Float[Array, "*batch 4"]:
    """Smallest box that holds both."""
    low = jnp.minimum(a_xyxy[..., :2], b_xyxy[..., :2])
    high = jnp.maximum(a_xyxy[..., 2:], b_xyxy[..., 2:])
    return jnp.concatenate([low, high], axis=-1)
