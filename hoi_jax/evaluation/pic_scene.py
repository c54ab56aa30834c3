"""Predicted instances and triplets as a PIC scene: label maps without overlap and a list of relations."""

import numpy as np
from jaxtyping import Float, Int

from hoi_jax.evaluation.paste import paste_mask
from hoi_jax.evaluation.pic import Scene

MAX_INSTANCES = 255
"""Instance numbers are 8 bits wide in PIC's files."""


def paint_scene(
    boxes_xyxy_px: Float[np.ndarray, "i 4"],
    labels: Int[np.ndarray, " i"],
    scores: Float[np.ndarray, " i"],
    masks: Float[np.ndarray, "i m m"],
    triplets: Int[np.ndarray, "r 3"],
    triplet_scores: Float[np.ndarray, " r"],
    image_hw: tuple[int, int],
    *,
    least_score: float = 0.3,
    threshold: float = 0.5,
    kept: int = 100,
) -> Scene:
    """Instances above `least_score` painted largest first, so that small ones stay on top, and the best triplets.

    Args:
      boxes_xyxy_px: in pixels of the picture; labels: class index from 0, becoming number index + 1.
      masks: probabilities over the boxes, cut at `threshold`.
      triplets: instance rows of human and object, and verb index from 0; those that name an instance that is not
        painted are left out.
      kept: best triplets that are kept; PIC counts at most 100.
    """
    chosen = np.flatnonzero(scores >= least_score)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")][:MAX_INSTANCES]
    filled = {row: paste_mask(masks[row], boxes_xyxy_px[row], image_hw) >= threshold for row in chosen}
    semantic, instance = np.zeros(image_hw, np.int64), np.zeros(image_hw, np.int64)
    number = {row: place + 1 for place, row in enumerate(chosen)}
    for row in sorted(chosen, key=lambda row: -filled[row].sum()):
        semantic[filled[row]], instance[filled[row]] = labels[row] + 1, number[row]
    order = np.argsort(-triplet_scores, kind="stable")
    rows = [r for r in order if triplets[r, 0] in number and triplets[r, 1] in number][:kept]
    relations = [[number[triplets[r, 0]], number[triplets[r, 1]], triplets[r, 2] + 1] for r in rows]
    return Scene(
        semantic, instance, np.array(relations, np.int64).reshape(-1, 3), np.asarray(triplet_scores)[rows].astype(float)
    )


def rows_of_boxes(boxes: Float[np.ndarray, "p 4"], instances: Float[np.ndarray, "i 4"]) -> Int[np.ndarray, " p"]:
    """The instance whose box each box is, -1 where there is none: predictions name members of pairs by their boxes."""
    same = (boxes[:, None] == instances[None]).all(-1)
    return np.where(same.any(1), same.argmax(1), -1) if len(instances) else np.full(len(boxes), -1)
