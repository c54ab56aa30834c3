"""Token masks: cells and patches of a feature map under boxes, and attention masks made of them.

Masks are True where a token may be attended to. Maps are [H, W], row-major; cell (r, c) covers the pixels from
r * stride, c * stride. The attention masks are those of "Mining Cross-Person Cues for Body-Part Interactiveness
Learning in HOI Detection" (ECCV 2022); equation numbers are that paper's.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike


def cells_under_boxes(
    boxes_xyxy_px: Float[ArrayLike, "*batch 4"], height: int, width: int, *, stride: int, rule: str
) -> Bool[Array, "*batch {height} {width}"]:
    """Cells of each box (Eqs. 1 and 2).

    Args:
      rule: "corner": cells whose top left pixel is in the box, edges included (the paper); a small box may have none.
        "floor": from the cell of the low corner to that of the high corner (the released code).
    """
    if rule not in ("corner", "floor"):
        raise ValueError(f"rule is {rule!r}, expected 'corner' or 'floor'")

    def span(low, high, count):
        cell = jnp.arange(count, dtype=jnp.float32)[(None,) * low.ndim]
        low, high = low[..., None], high[..., None]
        if rule == "floor":
            return (cell >= jnp.floor(low / stride)) & (cell <= jnp.floor(high / stride))
        return (cell * stride >= low) & (cell * stride <= high)

    x1, y1, x2, y2 = (boxes_xyxy_px[..., i] for i in range(4))
    return span(y1, y2, height)[..., :, None] & span(x1, x2, width)[..., None, :]


def select_parts(scores: Float[ArrayLike, "batch queries parts"], *, rule: str, share: float, count: int):
    """Mask [B, Q, K] of the selected body parts of queries, n in Eq. 6; of equal scores the first is selected.

    Args:
      rule: "global": the best `share` of all scores of an image (the paper: a quarter). "per_query": the `count` best
        of every query (the released code).
    """
    batch, queries, parts = scores.shape
    if rule == "per_query":
        rows, keep = scores.reshape((batch * queries, parts)), count
    elif rule == "global":
        rows, keep = scores.reshape((batch, queries * parts)), round(share * queries * parts)
    else:
        raise ValueError(f"rule is {rule!r}, expected 'global' or 'per_query'")
    best = jax.lax.top_k(rows, keep)[1]
    kept = jnp.zeros(rows.shape, bool).at[jnp.arange(len(rows))[:, None], best].set(True)
    return kept.reshape(scores.shape)


def merge_parts(
    part_cells: Bool[ArrayLike, "batch parts tokens"], kept: Bool[ArrayLike, "batch queries parts"]
) -> Bool[Array, "batch queries tokens"]:
    """Cells of the selected parts of every query: the spatial merge of Eq. 6, max_k(m_part^k n^ik)."""
    # A matrix product of zeros and ones avoids a [B, Q, K, T] array; being above zero is exact in any precision.
    return jnp.einsum("bqk,bkt->bqt", kept.astype(jnp.float32), part_cells.astype(jnp.float32)) > 0.5


def progressive_masks(
    part: Bool[ArrayLike, "*#batch queries tokens"],
    any_part: Bool[ArrayLike, "*#batch 1 tokens"],
    human: Bool[ArrayLike, "*#batch queries tokens"],
    obj: Bool[ArrayLike, "*#batch queries tokens"],
    with_others: Bool[ArrayLike, "*#batch queries 1"] | None = None,
    *,
    other_humans: str,
    last_layer: str,
) -> Bool[Array, "3 *#batch queries tokens"]:
    """Masks of the three layers, from general to specific (Eqs. 3 to 5).

    With the cells of one part k, these are m_1^ik, m_2^ik, m_3^ik; with the merged cells of the selected parts they are
    the merged masks of Eq. 6, because the maximum over k can be applied to every term.

    Args:
      part: cells of the part, or of the selected parts.
      any_part: cells of any part of any person.
      human, obj: cells of each query's boxes.
      with_others: False for queries without a selected part, whose masks by Eq. 6 contain only the object.
      other_humans: "minus": any_part without the target human (Eq. 3); "xor": exactly one of the two (released code).
      last_layer: "target_human": the part of the target only (Eq. 5); "same": as the second layer (released code).
    """
    for name, value, options in (
        ("other_humans", other_humans, ("minus", "xor")),
        ("last_layer", last_layer, ("target_human", "same")),
    ):
        if value not in options:
            raise ValueError(f"{name} is {value!r}, expected one of {options}")
    others = any_part & ~human if other_humans == "minus" else any_part ^ human
    if with_others is not None:
        others = others & with_others
    second = part | obj
    third = (part & human) | obj if last_layer == "target_human" else second
    return jnp.stack([others | second, second, third])


def unblock(
    allowed: Bool[ArrayLike, "*#batch queries tokens"], valid: Bool[ArrayLike, "*#batch 1 tokens"]
) -> Bool[Array, "*#batch queries tokens"]:
    """Restrict `allowed` to valid tokens; a query without any allowed token may attend to all valid ones.

    The released code lacks this rule: there, a fully masked row becomes NaN, which spreads to all queries.
    """
    inside = allowed & valid
    return jnp.where(jnp.any(inside, axis=-1, keepdims=True), inside, valid)


def patches_under_boxes(
    boxes_xyxy: Float[ArrayLike, "*batch 4"], grid: tuple[int, int], patch: int
) -> Bool[Array, "*batch patches"]:
    """Mask of the patches, in row-major order, that a box touches; corners are rounded outwards to patch borders.

    Args:
      boxes_xyxy: boxes in pixels of the image that is divided into patches; parts outside of it are ignored, and
        corners in the wrong order are swapped.
    """
    rows, columns = grid
    cells = jnp.reshape(boxes_xyxy / patch, (*boxes_xyxy.shape[:-1], 2, 2))
    low, high = jnp.floor(jnp.min(cells, axis=-2)), jnp.ceil(jnp.max(cells, axis=-2))

    def span(axis: int, count: int) -> Array:
        cell = jnp.arange(count, dtype=low.dtype).reshape((1,) * (low.ndim - 1) + (count,))
        return (cell >= low[..., axis, None]) & (cell < high[..., axis, None])

    covered = span(1, rows)[..., :, None] & span(0, columns)[..., None, :]
    return covered.reshape((*covered.shape[:-2], rows * columns))


def pair_patches(
    human_xyxy: Float[ArrayLike, "*batch 4"],
    object_xyxy: Float[ArrayLike, "*batch 4"],
    grid: tuple[int, int],
    patch: int,
) -> Bool[Array, "*batch patches"]:
    """Mask of the patches under either box of each pair, without those between the boxes (DEFR, section 7.1.1)."""
    return patches_under_boxes(human_xyxy, grid, patch) | patches_under_boxes(object_xyxy, grid, patch)
