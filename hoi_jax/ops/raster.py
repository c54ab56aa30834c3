"""Rasterised pair and pose maps, computed exactly with integers.

The pair map keeps the aspect ratio of the union box U of a human and an object (a letterbox). If L is the longer and S
the other side of U, a coordinate v relative to U's corner is mapped to 64 v / L + 32 (1 - S / L) on the short axis; the
last term vanishes on the long axis. High corners are then reduced by one, because maps are inclusive, and both are
rounded to the nearest integer, halves to even.

In float32 some of these roundings would be wrong. Therefore coordinates are rounded to multiples of 1/256 pixel, and
all further arithmetic is on integers (for coordinates up to 16,384 px). Results equal the authors' float64 code bit for
bit.

Boxes are continuous corners. Grid boxes are inclusive integers x1, y1, x2, y2.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike

MAP_SIZE = 64
SUBPIXELS = 256
NO_POSE_GRAY = 0.05
LIMBS = (
    (1, 3), (2, 4), (0, 1), (0, 2), (0, 17), (5, 17), (6, 17), (5, 7), (6, 8), (7, 9), (8, 10),
    (11, 17), (12, 17), (11, 13), (12, 14), (13, 15), (14, 16),
)  # fmt: skip
"""Pairs of COCO keypoints that are joined by lines; 17 is the neck. Later limbs cover earlier ones."""
LIMB_GRAY = tuple(0.15 + 0.05 * limb for limb in range(len(LIMBS)))

# Joints further away than this are moved closer, roughly in the same direction, so that products fit into int32.
_FARTHEST = 16_384


def _divide_half_even(numerator: ArrayLike, denominator: ArrayLike) -> ArrayLike:
    """numerator / denominator > 0, rounded to the nearest integer, halves to even."""
    floor = numerator // denominator
    twice = 2 * (numerator - floor * denominator)
    odd = (floor % 2) == 1
    return floor + ((twice > denominator) | ((twice == denominator) & odd)).astype(floor.dtype)


def _divide_half_away(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """numerator / denominator > 0, rounded to the nearest integer, halves away from zero."""
    return jnp.sign(numerator) * ((2 * jnp.abs(numerator) + denominator) // (2 * denominator))


def _cells(size: int, ndim: int, axis: int = -1) -> Array:
    """Numbers 0 ... size - 1 along `axis` of an array of `ndim` axes, all others of length one."""
    shape = [1] * ndim
    shape[axis] = size
    return jnp.arange(size, dtype=jnp.int32).reshape(shape)


def _subpixels(values: ArrayLike) -> Array:
    return jnp.round(values * SUBPIXELS).astype(jnp.int32)


def letterbox(
    human_xyxy: Float[ArrayLike, "*batch 4"], object_xyxy: Float[ArrayLike, "*batch 4"], size: int = MAP_SIZE
) -> tuple[Int[Array, "*batch 4"], Int[Array, "*batch 4"]]:
    """Grid boxes of human and object in the letterboxed map of their union (module docstring).

    An empty union (of a padding row) gives grid boxes without area.
    """
    human, obj, low, extent = _in_union(human_xyxy, object_xyxy)
    longest = jnp.maximum(jnp.max(extent, axis=-1, keepdims=True), 1)
    shift = (size // 2) * (longest - extent)

    def grid(box):
        first = size * (box[..., :2] - low) + shift
        last = size * (box[..., 2:] - low) + shift - longest
        return jnp.concatenate([_divide_half_even(v, longest) for v in (first, last)], axis=-1)

    return grid(human), grid(obj)


def stretch(
    human_xyxy: Float[ArrayLike, "*batch 4"], object_xyxy: Float[ArrayLike, "*batch 4"], size: int = MAP_SIZE
) -> tuple[Int[Array, "*batch 4"], Int[Array, "*batch 4"]]:
    """Grid boxes in a map that the union fills on both axes, whatever its aspect ratio; rounding as in `letterbox`.

    TIN's paper says only that maps are "reshaped"; its authors' code uses a letterbox.
    """
    human, obj, low, extent = _in_union(human_xyxy, object_xyxy)
    side = jnp.maximum(extent, 1)

    def grid(box):
        ends = size * (box[..., :2] - low), size * (box[..., 2:] - low) - side
        return jnp.concatenate([_divide_half_even(v, side) for v in ends], axis=-1)

    return grid(human), grid(obj)


def _in_union(human_xyxy: ArrayLike, object_xyxy: ArrayLike) -> tuple[Array, Array, Array, Array]:
    """(human box, object box, corner of their union, its extent), in subpixels."""
    human, obj = _subpixels(human_xyxy), _subpixels(object_xyxy)
    low = jnp.minimum(human[..., :2], obj[..., :2])
    return human, obj, low, jnp.maximum(human[..., 2:], obj[..., 2:]) - low


def pose_joints(
    keypoints_px: Float[ArrayLike, "*batch 17 3"],
    human_xyxy: Float[ArrayLike, "*batch 4"],
    human_grid: Int[ArrayLike, "*batch 4"],
    size: int = MAP_SIZE,
) -> Int[Array, "*batch 18 2"]:
    """Pixel (x, y) of every joint in the pair map, and of the neck as joint 17.

    A joint's position relative to the human's box is mapped to the human's grid box and rounded, halves away from zero;
    it is at most `size` - 1 and may be negative. The neck is the mean of the shoulder pixels, truncated towards zero.
    """
    box = _subpixels(human_xyxy)[..., None, :]
    extent = jnp.maximum(box[..., 2:] - box[..., :2], 1)
    grid = human_grid[..., None, :]
    grid_extent = grid[..., 2:] - grid[..., :2] + 1
    at = (_subpixels(keypoints_px[..., :2]) - box[..., :2]) * grid_extent + grid[..., :2] * extent
    joints = jnp.clip(_divide_half_away(at, extent), -_FARTHEST, size - 1)
    neck = jax.lax.div(joints[..., 5, :] + joints[..., 6, :], 2)
    return jnp.concatenate([joints, neck[..., None, :]], axis=-2)


def box_maps(grid_boxes: Int[ArrayLike, "*batch 4"], size: int = MAP_SIZE) -> Bool[Array, "*batch size size"]:
    """Mask of the inside of each grid box, including its last row and column; axes are (y, x)."""
    rows, columns = box_sides(grid_boxes, size)
    return rows[..., :, None] & columns[..., None, :]


def box_sides(
    grid_boxes: Int[ArrayLike, "*batch 4"], size: int = MAP_SIZE
) -> tuple[Bool[Array, "*batch size"], Bool[Array, "*batch size"]]:
    """Masks of the rows and of the columns of each grid box, whose product is `box_maps`."""
    cells = _cells(size, grid_boxes.ndim)

    def inside(first, last):
        return (cells >= first[..., None]) & (cells <= last[..., None])

    return inside(grid_boxes[..., 1], grid_boxes[..., 3]), inside(grid_boxes[..., 0], grid_boxes[..., 2])


def _move_end(here: ArrayLike, other: ArrayLike, axis: int, size: int) -> Array:
    """Move one end of a segment to the map's border along `axis`, if it is outside (OpenCV's clipLine)."""
    beyond = (here[..., axis] < 0) | (here[..., axis] > size - 1)
    edge = jnp.where(here[..., axis] < 0, 0, size - 1)
    along, across = other[..., axis] - here[..., axis], other[..., 1 - axis] - here[..., 1 - axis]
    # Truncated integer division equals OpenCV's float64 quotient converted to an integer.
    moved = here[..., 1 - axis] + jax.lax.div((edge - here[..., axis]) * across, jnp.where(along == 0, 1, along))
    ends = (edge, moved) if axis == 0 else (moved, edge)
    return jnp.where(beyond[..., None], jnp.stack(ends, axis=-1), here)


def _clip_segments(
    first: Int[ArrayLike, "*batch 2"], last: Int[ArrayLike, "*batch 2"], size: int
) -> tuple[Array, Array, Array]:
    """(clipped first ends, clipped last ends, whether any part is on the map); y before x and first before last end, as
    in OpenCV."""

    def outside_together(axis):
        both_low = (first[..., axis] < 0) & (last[..., axis] < 0)
        return both_low | ((first[..., axis] > size - 1) & (last[..., axis] > size - 1))

    visible = ~(outside_together(0) | outside_together(1))
    first = _move_end(first, last, 1, size)
    last = _move_end(last, first, 1, size)
    visible &= ~outside_together(0)
    first = _move_end(first, last, 0, size)
    last = _move_end(last, first, 0, size)
    on_map = jnp.all((first >= 0) & (first < size) & (last >= 0) & (last < size), axis=-1)
    return first, last, jnp.logical_and(visible, on_map)


def line_profiles(
    segments_xyxy: Int[ArrayLike, "*batch 4"], size: int = MAP_SIZE
) -> tuple[Int[Array, "*batch size"], Int[Array, "*batch size"]]:
    """The 8-connected line of each segment, as drawn by OpenCV, in two tables.

    Returns:
      row of the line in every column (flat lines), and column in every row (steep lines); -1 where it has none. Each
      line is in only one of the two tables.
    """
    first, last, visible = _clip_segments(segments_xyxy[..., :2], segments_xyxy[..., 2:], size)
    swap = (first[..., 0] > last[..., 0])[..., None]
    first, last = jnp.where(swap, last, first), jnp.where(swap, first, last)
    dx, dy = last[..., 0] - first[..., 0], last[..., 1] - first[..., 1]
    run, rise, sign = dx, jnp.abs(dy), jnp.where(dy < 0, -1, 1)
    flat = run >= rise
    cells = _cells(size, segments_xyxy.ndim)

    def profile(step, long, short, start, direction, chosen):
        length = jnp.maximum(long, 1)[..., None]
        at = start[..., None] + direction * ((2 * short[..., None] * step + length - 1) // (2 * length))
        return jnp.where(chosen[..., None] & (step >= 0) & (step <= long[..., None]), at, -1)

    column_step = cells - first[..., 0, None]
    rows = profile(column_step, run, rise, first[..., 1], sign[..., None], visible & flat)
    row_step = (cells - first[..., 1, None]) * sign[..., None]
    columns = profile(row_step, rise, run, first[..., 0], jnp.ones_like(sign)[..., None], visible & ~flat)
    return rows, columns


def _hits(rows: ArrayLike, columns: ArrayLike, size: int) -> Array:
    """Mask [..., y, x] of the cells on the lines given by `line_profiles`."""
    row_here = rows[..., None, :] == _cells(size, rows.ndim + 1, -2)
    return row_here | (columns[..., :, None] == _cells(size, columns.ndim + 1))


def pose_map(
    joints: Int[ArrayLike, "*batch 18 2"],
    present: Bool[ArrayLike, "*batch 18"],
    human_grid: Int[ArrayLike, "*batch 4"],
    size: int = MAP_SIZE,
) -> Float[Array, "*batch size size"]:
    """Pose map: limbs as lines of gray 0.15 ... 0.95, later limbs over earlier ones (TIN, section 3.3).

    Args:
      joints: pixel of every joint and the neck (`pose_joints`).
      present: mask of joints; limbs with an absent end are not drawn, and a person without any joint is drawn as a
        filled box of gray 0.05.
      human_grid: the human's grid box.
    """
    starts, ends = np.array(LIMBS).T
    segments = jnp.concatenate([joints[..., starts, :], joints[..., ends, :]], axis=-1)
    rows, columns = line_profiles(segments, size)
    drawn = present[..., starts] & present[..., ends]
    rows = jnp.where(drawn[..., None], rows, -1)
    columns = jnp.where(drawn[..., None], columns, -1)
    image = jnp.where(
        box_maps(human_grid, size) & ~jnp.any(present, axis=-1)[..., None, None], NO_POSE_GRAY, 0.0
    ).astype(jnp.float32)
    # Unrolled, because seventeen selects are fused into one pass over the map and a reduction over 17 would not be.
    for limb, gray in enumerate(LIMB_GRAY):
        image = jnp.where(_hits(rows[..., limb, :], columns[..., limb, :], size), np.float32(gray), image)
    return image


def joints_present(keypoints_px: Float[ArrayLike, "*batch 17 3"], min_score: float) -> Bool[Array, "*batch 18"]:
    """Mask of joints to draw: confidence at least `min_score`, for the neck of both shoulders; none without a pose."""
    score = keypoints_px[..., 2]
    seen = (score >= min_score) & jnp.any(score > 0, axis=-1)[..., None]
    return jnp.concatenate([seen, (seen[..., 5] & seen[..., 6])[..., None]], axis=-1)


def pair_maps(
    human_xyxy: Float[ArrayLike, "*batch 4"],
    object_xyxy: Float[ArrayLike, "*batch 4"],
    keypoints_px: Float[ArrayLike, "*batch 17 3"] | None = None,
    *,
    min_score: float = 0.05,
    size: int = MAP_SIZE,
    fit: str = "letterbox",
) -> Float[Array, "*batch size size channels"]:
    """Human map, object map and, if keypoints are given, pose map of each pair: 2 or 3 channels in [0, 1].

    Args:
      min_score: minimum confidence of joints that are drawn.
      fit: "letterbox" or "stretch".
    """
    place = stretch if fit == "stretch" else letterbox
    human_grid, object_grid = place(human_xyxy, object_xyxy, size)
    channels = [box_maps(grid, size).astype(jnp.float32) for grid in (human_grid, object_grid)]
    if keypoints_px is not None:
        joints = pose_joints(keypoints_px, human_xyxy, human_grid, size)
        channels.append(pose_map(joints, joints_present(keypoints_px, min_score), human_grid, size))
    return jnp.stack(channels, axis=-1)
