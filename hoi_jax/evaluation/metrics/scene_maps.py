"""Predicted instances and triplets as a PIC scene: label maps without overlap and a list of relations."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.metrics.pic import Scene

MAX_INSTANCES = 255
"""Largest number of instances per image, as PIC's files have 8-bit instance numbers."""


def paint_scene(
    labels: Int[np.ndarray, " i"],
    scores: Float[np.ndarray, " i"],
    masks: Bool[np.ndarray, "i h w"],
    triplets: Int[np.ndarray, "r 3"],
    triplet_scores: Float[np.ndarray, " r"],
    *,
    least_score: float = 0.3,
    kept: int = 100,
) -> Scene:
    """PIC scene of the instances above `least_score`, painted largest first, and of the best triplets.

    Args:
      labels: class index from 0, becoming number index + 1.
      masks: over the whole image.
      triplets: instance rows of human and object, and verb index from 0; triplets of unpainted instances are left
        out.
      kept: maximum number of triplets, best first; PIC counts at most 100.
    """
    chosen = np.flatnonzero(scores >= least_score)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:MAX_INSTANCES]
    semantic, instance = np.zeros(masks.shape[1:], np.int64), np.zeros(masks.shape[1:], np.int64)
    number = {int(row): place + 1 for place, row in enumerate(chosen)}
    for row in sorted(number, key=lambda row: -int(masks[row].sum())):
        semantic[masks[row]], instance[masks[row]] = labels[row] + 1, number[row]
    order = np.argsort(-triplet_scores, kind="stable")
    rows = [r for r in order if int(triplets[r, 0]) in number and int(triplets[r, 1]) in number][:kept]
    relations = [[number[int(triplets[r, 0])], number[int(triplets[r, 1])], int(triplets[r, 2]) + 1] for r in rows]
    return Scene(semantic, instance, np.array(relations, np.int64).reshape(-1, 3), triplet_scores[rows].astype(float))


def best_triplets(
    human_row: Int[np.ndarray, " p"],
    object_row: Int[np.ndarray, " p"],
    verb_scores: Float[np.ndarray, "p v"],
    per_pair: int,
    no_interaction: int = -1,
) -> tuple[Int[np.ndarray, "r 3"], Float[np.ndarray, " r"]]:
    """Scored triplets of the `per_pair` best verbs (3 in the release) of every pair whose human and object are known.

    The verb `no_interaction` (its index; -1 = the vocabulary has none) is not a relation and is left out.
    """
    if no_interaction >= 0:
        verb_scores = np.where(np.arange(verb_scores.shape[1]) == no_interaction, 0, verb_scores)
    pair = np.flatnonzero((human_row >= 0) & (object_row >= 0))
    verbs = np.argsort(-verb_scores[pair], axis=1, kind="stable")[:, :per_pair]
    pairs = np.repeat(pair, verbs.shape[1])
    triplets = np.stack([human_row[pairs], object_row[pairs], verbs.ravel()], axis=1)
    scores = verb_scores[pairs, verbs.ravel()]
    return triplets[scores > 0], scores[scores > 0]


def scene_of_predictions(
    predictions: Mapping[str, np.ndarray],
    image_hw_px: Int[np.ndarray, "2"],
    padded_hw_px: tuple[int, int],
    original_hw_px: Int[np.ndarray, "2"],
    *,
    per_pair: int = 3,
    threshold: float = 0.5,
    least_score: float = 0.3,
    no_interaction: int = -1,
) -> Scene:
    """One image's predictions (`schema.PREDICTION_FIELDS`, without batch axis) as a scene of the original image.

    Raises:
      ValueError: there are no instance masks.
    """
    if "instance_mask" not in predictions:
        raise ValueError("predictions have no field 'instance_mask': the system does not predict masks (masks.enabled)")
    used, size = np.flatnonzero(predictions["instance_valid"]), (int(original_hw_px[0]), int(original_hw_px[1]))
    valid = (int(image_hw_px[0]), int(image_hw_px[1]))
    masks = [grid_mask(m, valid, padded_hw_px, size) >= threshold for m in predictions["instance_mask"][used]]
    boxes = predictions["instance_xyxy_px"][used]
    pairs = np.flatnonzero(predictions["pair_valid"])
    members = [rows_of_boxes(predictions[f"{side}_xyxy_px"][pairs], boxes) for side in ("human", "object")]
    triplets, scores = best_triplets(
        members[0], members[1], predictions["verb_scores"][pairs], per_pair, no_interaction
    )
    return paint_scene(
        predictions["instance_class"][used], predictions["instance_score"][used],
        np.array(masks, bool).reshape(-1, *size), triplets, scores, least_score=least_score,
    )  # fmt: skip


def rows_of_boxes(boxes: Float[np.ndarray, "p 4"], instances: Float[np.ndarray, "i 4"]) -> Int[np.ndarray, " p"]:
    """Instance row with the same box as each box of a pair, -1 = none; pairs refer to instances by their boxes."""
    same = (boxes[:, None] == instances[None]).all(-1)
    return np.where(same.any(1), same.argmax(1), -1) if len(instances) else np.full(len(boxes), -1)


# Pasting of masks, predicted over boxes, into the image on the host, as in torchvision's Mask R-CNN.


def _enlarge(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resizing with half-pixel centres; outside the outermost centres the border value is repeated."""

    def axis(cells: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, None)
        low = np.minimum(np.floor(at).astype(int), cells - 1)
        return low, np.minimum(low + 1, cells - 1), np.where(low < cells - 1, at - low, 0.0)

    low, high, share = axis(mask.shape[0], height)
    rows = mask[low] * (1 - share)[:, None] + mask[high] * share[:, None]
    low, high, share = axis(mask.shape[1], width)
    return rows[:, low] * (1 - share)[None] + rows[:, high] * share[None]


def paste_mask(
    mask: Float[np.ndarray, "m m"], box_xyxy_px: Float[np.ndarray, "4"], image_hw: tuple[int, int]
) -> Float[np.ndarray, "h w"]:
    """One mask over the whole image, without a threshold; zero outside the box.

    As in torchvision, the mask is padded by one zero cell, and the box is enlarged accordingly, truncated to whole
    pixels and taken to cover x2 - x1 + 1 pixels (at least one).
    """
    size = mask.shape[-1]
    padded = np.pad(np.asarray(mask, np.float64), 1)
    box = np.asarray(box_xyxy_px, np.float64)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * (size + 2) / size
    x1, y1, x2, y2 = np.trunc(np.concatenate([centre - half, centre + half])).astype(int).tolist()
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    image = np.zeros(image_hw)
    left, right, top, bottom = max(x1, 0), min(x2 + 1, image_hw[1]), max(y1, 0), min(y2 + 1, image_hw[0])
    if left < right and top < bottom:
        large = _enlarge(padded, height, width)
        image[top:bottom, left:right] = large[top - y1 : bottom - y1, left - x1 : right - x1]
    return image


def grid_mask(
    mask: Float[np.ndarray, "m n"],
    valid_hw_px: tuple[int, int],
    padded_hw_px: tuple[int, int],
    image_hw: tuple[int, int],
) -> Float[np.ndarray, "h w"]:
    """Resample a mask on a grid over the padded image (`schema`, `instance_mask`) to the original image.

    Args:
      valid_hw_px, padded_hw_px: unpadded and padded size of the image that the network saw.
    """
    rows, columns = (
        max(1, round(valid * cells / padded))
        for valid, cells, padded in zip(valid_hw_px, mask.shape, padded_hw_px, strict=True)
    )
    return _enlarge(np.asarray(mask[:rows, :columns], np.float64), *image_hw)
