"""Greedy matching of detections to ground truth: by score, best overlap, each ground truth once.

Matching happens within *groups* (one class in one image): a detection is compared only with the ground truth of its
group. The official evaluators never try a second-best partner: a detection belongs to the ground truth that it
overlaps most, and of the detections that pass the threshold on it only the best-scored is a true positive. The whole
match is therefore one sort and one "first of each", without a loop over detections.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

# Candidate pairs held in memory at once; 2**18 rows of eight float64 boxes are about 70 MB with temporaries.
_CHUNK = 1 << 18


def same_group(
    left: Int[np.ndarray, " n"], right: Int[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """All index pairs (i, j) with left[i] == right[j]; ordered by i, then j."""
    return _expand(np.arange(len(left)), *_ranges(left, right))


def _ranges(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(order of `right` by group, start of each left row's group in it, number of partners of each left row)."""
    order = np.argsort(right, kind="stable")
    groups, start, count = np.unique(right[order], return_index=True, return_counts=True)
    if not len(groups):
        return order, np.zeros(len(left), np.int64), np.zeros(len(left), np.int64)
    position = np.minimum(np.searchsorted(groups, left), len(groups) - 1)
    return order, start[position], np.where(groups[position] == left, count[position], 0)


def _expand(rows: np.ndarray, order: np.ndarray, start: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum(count) - count
    within = np.arange(count.sum()) - np.repeat(offsets, count)
    return np.repeat(rows, count), order[np.repeat(start, count) + within]


def candidate_chunks(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of `same_group` in pieces of bounded size, ordered by i, then j; a left row is never split."""
    order, start, count = _ranges(left, right)
    rows = np.flatnonzero(count)
    piece = np.cumsum(count[rows]) // _CHUNK
    for part in np.split(rows, np.flatnonzero(np.diff(piece)) + 1):
        if len(part):
            yield _expand(part, order, start[part], count[part])


def best_truth(
    detection_group: Int[np.ndarray, " n"],
    detection_boxes: tuple[Float[np.ndarray, "rows 4"], ...],
    detection_row: Int[np.ndarray, " n"],
    truth_group: Int[np.ndarray, " m"],
    truth_boxes: tuple[Float[np.ndarray, "m 4"], ...],
    *,
    plus_one: bool,
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The ground truth that each detection overlaps most; on ties the first one.

    Args:
      detection_group, truth_group: matching happens within equal numbers.
      detection_boxes: one array per role (human, object, ...); `detection_row` points into them.
      truth_boxes: the same roles, one row per ground truth.
      plus_one: whether boxes are inclusive pixels.

    Returns:
      (row of the best ground truth or -1, overlap); overlap is the smallest IoU over the roles.
    """
    best = np.full(len(detection_group), -1, np.int64)
    overlap = np.zeros(len(detection_group))
    for detection, truth in candidate_chunks(detection_group, truth_group):
        boxes = zip(detection_boxes, truth_boxes, strict=True)
        row = detection_row[detection]
        ious = [matched_iou(a[row], b[truth], plus_one=plus_one) for a, b in boxes]
        smallest = np.minimum.reduce(ious)
        start = np.flatnonzero(np.diff(detection, prepend=-1))
        largest = np.maximum.reduceat(smallest, start)
        count = np.diff(np.append(start, len(detection)))
        position = np.where(smallest == np.repeat(largest, count), np.arange(len(detection)), len(detection))
        first = np.minimum.reduceat(position, start)
        best[detection[start]] = truth[first]
        overlap[detection[start]] = largest
    return best, overlap


def ranking(
    classes: Int[np.ndarray, " n"], scores: Float[np.ndarray, " n"], images: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Row order by class, then falling score; equal scores keep image order, then row order (stable sort)."""
    order = np.argsort(images, kind="stable") if np.any(np.diff(images) < 0) else np.arange(len(classes))
    # Small integers are radix-sorted in linear time; then each class is sorted by itself, within the CPU cache.
    num_classes = int(classes.max(initial=-1)) + 1
    small = classes[order].astype(np.min_scalar_type(num_classes))
    within = np.argsort(small, kind="stable")
    order, edges = order[within], np.searchsorted(small[within], np.arange(num_classes + 1))
    negated = -scores[order]
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        order[start:stop] = order[start:stop][np.argsort(negated[start:stop], kind="stable")]
    return order


def first_hits(ordered_truth: Int[np.ndarray, " n"], ordered_passes: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """True for the first passing row of each ground truth, with rows given best score first within a class."""
    rows = np.flatnonzero(ordered_passes)
    hits = np.zeros(len(ordered_truth), bool)
    hits[rows[np.unique(ordered_truth[rows], return_index=True)[1]]] = True
    return hits


# Box arithmetic in NumPy, for evaluation and data preparation.
#
# Boxes are corners x1, y1, x2, y2 in pixels. Continuous corners have width x2 - x1; inclusive pixel indices, as in
# the official annotation files, have width x2 - x1 + 1 (`plus_one=True`). The two agree exactly when x2 and y2 are
# shifted by one pixel between the conventions.


def box_area(boxes_xyxy_px: Float[np.ndarray, "*n 4"], *, plus_one: bool = False) -> Float[np.ndarray, "*n"]:
    """Width times height in square pixels, as float64; negative sides count as zero."""
    boxes = np.asarray(boxes_xyxy_px, np.float64)
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2] + plus_one, 0.0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def matched_iou(
    a_xyxy_px: Float[np.ndarray, "*#n 4"], b_xyxy_px: Float[np.ndarray, "*#n 4"], *, plus_one: bool = False
) -> Float[np.ndarray, "..."]:
    """Intersection over union, row by row (leading axes broadcast), as float64.

    0 where the boxes do not overlap, where both have no area, and where a coordinate is NaN.
    """
    a, b = np.asarray(a_xyxy_px, np.float64), np.asarray(b_xyxy_px, np.float64)
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + plus_one
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + plus_one
    overlap = np.where((width > 0) & (height > 0), width * height, 0.0)
    union = box_area(a, plus_one=plus_one) + box_area(b, plus_one=plus_one) - overlap
    return np.where(overlap > 0, overlap / np.where(union > 0, union, 1.0), 0.0)


def pairwise_iou(
    a_xyxy_px: Float[np.ndarray, "n 4"], b_xyxy_px: Float[np.ndarray, "m 4"], *, plus_one: bool = False
) -> Float[np.ndarray, "n m"]:
    """Intersection over union of every box of `a` with every box of `b`; see `matched_iou`."""
    return matched_iou(np.asarray(a_xyxy_px)[:, None], np.asarray(b_xyxy_px)[None], plus_one=plus_one)
