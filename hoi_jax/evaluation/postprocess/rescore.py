"""Rescoring of one system's pairs by another: iCAN on the pairs of body_part (ECCV 2022, Table 4).

The other system is a plain function of one image, so that any two systems can be combined:

    score_pairs(image, human_boxes, object_boxes, object_labels) -> verb scores [pairs, verbs]

with `image` [H, W, 3] uint8, boxes [pairs, 4] as continuous corners in pixels, inside the image, and `object_labels`
[pairs] classes of the shared vocabulary.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Int

from hoi_jax import io
from hoi_jax.predictions import Predictions, check_prediction_arrays
from hoi_jax.settings import choice

ScorePairs = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]

FACTORS = ("human_score", "object_score", "interactiveness")


def pairs_to_score(
    predictions: Predictions, *, min_interactiveness: float = 0.0, max_per_image: int | None = None
) -> Int[np.ndarray, " rows"]:
    """Rows of the pairs to rescore: not suppressed, with a non-empty object box, and interactive enough.

    Args:
      min_interactiveness: pairs below it are left out; a missing score (NaN) counts as 0.
      max_per_image: maximum number of pairs per image, the most interactive ones (ties: earlier row).

    Returns:
      Rows ordered by image, then as in the predictions.
    """
    score = np.nan_to_num(predictions.pair_interactiveness.astype(np.float64), nan=0.0)
    human, obj = clipped_boxes(predictions)
    use = predictions.pair_nis_keep & (score >= min_interactiveness) & (predictions.pair_object_class >= 0)
    for boxes in (human, obj):
        use &= np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    rows = np.flatnonzero(use)
    if max_per_image is not None:
        order = rows[np.lexsort((-score[rows], predictions.pair_image[rows]))]
        image = predictions.pair_image[order]
        place = np.arange(len(order)) - np.searchsorted(image, image, side="left")
        rows = np.sort(order[place < max_per_image])
    return rows[np.argsort(predictions.pair_image[rows], kind="stable")]


def clipped_boxes(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """(human, object) boxes [P, 4] float64, clipped to the image; NaN where there is no box."""
    height, width = predictions.image_hw_px[predictions.pair_image].astype(np.float64).T
    limit = np.stack([width, height, width, height], axis=1)
    boxes = predictions.pair_human_xyxy_px, predictions.pair_object_xyxy_px
    human, obj = (np.clip(box.astype(np.float64), 0.0, limit) for box in boxes)
    return human, obj


def rescored(
    predictions: Predictions,
    images: Iterable[tuple[int, np.ndarray]],
    score_pairs: ScorePairs,
    *,
    num_verbs: int,
    factors: tuple[str, ...] = ("object_score",),
    min_interactiveness: float = 0.0,
    max_per_image: int | None = None,
) -> Predictions:
    """Predictions with the verb scores of another system; all other fields of the pairs are unchanged.

    Args:
      images: (image number, [H, W, 3] uint8), at least all images with pairs to score, in any order.
      num_verbs: number of verbs of the vocabulary.
      factors: pair scores, of `FACTORS`, that the verb scores are multiplied by; a missing score counts as 1.
        Body-part has one score for both boxes of a pair, which is applied once by default.
      min_interactiveness, max_per_image: see `pairs_to_score`.

    Returns:
      Predictions of all images and pairs; pairs that were not rescored have `pair_nis_keep` False and no verbs.

    Raises:
      ValueError: an image is missing or has another size, or the function returns scores of a wrong shape or NaN.
    """
    for factor in factors:
        choice("factor", factor, FACTORS)
    rows = pairs_to_score(predictions, min_interactiveness=min_interactiveness, max_per_image=max_per_image)
    human, obj = clipped_boxes(predictions)
    row_of = {int(number): image for image, number in enumerate(predictions.image_id)}
    waiting = set(predictions.pair_image[rows].tolist())
    scores = np.zeros((len(rows), num_verbs))
    for number, photo in images:
        image = row_of.get(int(number), -1)
        if image not in waiting:
            continue
        if photo.shape[:2] != tuple(predictions.image_hw_px[image]):
            said = tuple(predictions.image_hw_px[image])
            raise ValueError(f"image {number} has size {photo.shape[:2]}; the predictions have {said}")
        waiting.remove(image)
        mine = np.flatnonzero(predictions.pair_image[rows] == image)
        pairs = rows[mine]
        found = np.asarray(score_pairs(photo, human[pairs], obj[pairs], predictions.pair_object_class[pairs]))
        if found.shape != (len(pairs), num_verbs) or not np.isfinite(found).all():
            raise ValueError(
                f"image {number}: the scores of {len(pairs)} pairs have shape {found.shape}, expected {num_verbs} "
                "finite numbers each"
            )
        scores[mine] = found
    if waiting:
        missing = sorted(int(predictions.image_id[image]) for image in waiting)
        raise ValueError(f"{len(missing)} images with pairs are missing, for example {missing[:5]}")
    for factor in factors:
        scores *= np.nan_to_num(getattr(predictions, f"pair_{factor}")[rows].astype(np.float64), nan=1.0)[:, None]
    pair, verb = np.nonzero(scores)
    kept = np.zeros(len(predictions.pair_image), bool)
    kept[rows] = True
    result = dataclasses.replace(
        predictions,
        manifest={
            **predictions.manifest,
            "rescored": {"factors": list(factors), "min_interactiveness": min_interactiveness},
        },
        pair_nis_keep=kept,
        triplet_pair=rows[pair].astype(np.int64),
        triplet_verb=verb.astype(np.int64),
        triplet_score=scores[pair, verb].astype(np.float32),
    )
    check_prediction_arrays(result, "rescored predictions")
    return result


def load_scorer(name: str, argument: str) -> ScorePairs:
    """Scorer returned by the function "package.module:function" for `argument`, for example a workdir.

    Raises:
      io.DataError: there is no such module or function.
    """
    import importlib

    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(argument)
    except (ImportError, AttributeError) as error:
        raise io.DataError(f"scorer {name!r}: {error}; expected package.module:function") from error
