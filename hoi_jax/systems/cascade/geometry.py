"""How a person and an object lie to one another, as maps or as 28 numbers."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hoi_jax.nn.streams import Rectangles
from hoi_jax.ops.boxes import encode_boxes, union_box
from hoi_jax.ops.raster import MAP_SIZE, box_sides, letterbox
from hoi_jax.ops.resample import resample_masks, square_around


def rectangles(
    human_xyxy_px: Float[Array, "batch pairs 4"], object_xyxy_px: Float[Array, "batch pairs 4"], size: int = MAP_SIZE
) -> Rectangles:
    """Two channels, person and object, in the letterboxed frame of their union (paper, section 3.3.1; TIN's layout)."""
    sides = [box_sides(grid, size) for grid in letterbox(human_xyxy_px, object_xyxy_px, size)]
    rows, columns = (jnp.stack(side, axis=-1) for side in zip(*sides, strict=True))
    return Rectangles(rows, columns)


def silhouette_maps(
    human_mask: Float[Array, "*batch m m"],
    object_mask: Float[Array, "*batch m m"],
    human_mask_xyxy_px: Float[Array, "*batch 4"],
    object_mask_xyxy_px: Float[Array, "*batch 4"],
    human_xyxy_px: Float[Array, "*batch 4"],
    object_xyxy_px: Float[Array, "*batch 4"],
    size: int = MAP_SIZE,
) -> Float[Array, "*batch size size 2"]:
    """The same frame, filled with masks instead of rectangles (relation segmentation, section 3.4)."""
    frame = square_around(union_box(human_xyxy_px, object_xyxy_px))
    human = resample_masks(human_mask, human_mask_xyxy_px, frame, size)
    obj = resample_masks(object_mask, object_mask_xyxy_px, frame, size)
    return jnp.stack([human, obj], axis=-1)


def pair_vector(
    human_xyxy_px: Float[Array, "batch pairs 4"],
    object_xyxy_px: Float[Array, "batch pairs 4"],
    image_hw_px: Int[Array, "batch 2"],
    *,
    plus_one: bool = True,
) -> Float[Array, "batch pairs 28"]:
    """The 28 numbers of the released code: where both boxes lie, and how each of (human, object), (human, union) and
    (union, object) is encoded against the other.

    Args:
      plus_one: sides of encoded boxes are x2 - x1 + 1, as released; areas never are.
    """
    size = jnp.tile(image_hw_px[:, ::-1].astype(jnp.float32), (1, 2))[:, None]

    def place(box):
        side = box[..., 2:] - box[..., :2]
        share = side[..., :1] * side[..., 1:] / (size[..., :1] * size[..., 1:2])
        return jnp.concatenate([box / size, share], axis=-1)

    def relation(a, b):
        forward = encode_boxes(b, a, plus_one=plus_one)
        return jnp.concatenate([forward, encode_boxes(a, b, plus_one=plus_one)[..., :2]], axis=-1)

    union = union_box(human_xyxy_px, object_xyxy_px)
    parts = [place(human_xyxy_px), place(object_xyxy_px)]
    parts += [relation(human_xyxy_px, object_xyxy_px), relation(human_xyxy_px, union), relation(union, object_xyxy_px)]
    return jnp.concatenate(parts, axis=-1)
