"""Predictions built from the columns of a foreign file; missing columns get neutral values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from hoi_jax.annotations import Annotations
from hoi_jax.predictions import Predictions, check_prediction_arrays
from hoi_jax.vocab import Vocabulary

INCLUSIVE_TO_CORNERS = np.array([0.0, 0.0, 1.0, 1.0])
"""Offset from 0-based inclusive pixels, as in official evaluators, to continuous corners."""


def images_by_position(annotations: Annotations, position: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Image numbers for positions in the split; positions past its end get unused numbers."""
    first_free = int(annotations.image_id.max(initial=0)) + 1
    known = position < annotations.num_images
    if not annotations.num_images:
        return position.astype(np.int64)
    inside = annotations.image_id[np.where(known, position, 0)]
    return np.where(known, inside, first_free + position).astype(np.int64)


def images_by_name(annotations: Annotations, names: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Image numbers for file names; unknown names get unused numbers."""
    number_of = dict(zip(annotations.file_name.tolist(), annotations.image_id.tolist(), strict=True))
    first_free = int(annotations.image_id.max(initial=0)) + 1
    return np.array([number_of.get(name, first_free + row) for row, name in enumerate(names)], np.int64)


def build_predictions(
    manifest: Mapping[str, Any],
    vocabulary: Vocabulary,
    annotations: Annotations,
    where: str,
    *,
    listed_images: Integer[np.ndarray, " n"],
    pair_image_id: Integer[np.ndarray, " p"],
    pair_boxes_px: tuple[Float[np.ndarray, "p 4"], Float[np.ndarray, "p 4"]],
    pair_object_class: Integer[np.ndarray, " p"],
    triplet_pair: Integer[np.ndarray, " t"],
    triplet_verb: Integer[np.ndarray, " t"],
    triplet_score: Float[np.ndarray, " t"],
    pair_object_score: Float[np.ndarray, " p"] | None = None,
    pair_interactiveness: Float[np.ndarray, " p"] | None = None,
    agent_image_id: Integer[np.ndarray, " m"] | None = None,
    agent_xyxy_px: Float[np.ndarray, "m 4"] | None = None,
    agent_scores: Float[np.ndarray, "m verbs"] | None = None,
) -> Predictions:
    """Checked predictions from columns.

    Args:
      manifest: known facts about the origin of the predictions.
      annotations: the split, for the sizes of its images.
      where: name of the file in errors.
      listed_images: image numbers in the file, including those without a prediction.
      pair_boxes_px: human and object boxes in continuous corners.

    Raises:
      io.DataError: sizes disagree or an index is out of range; the message names `where` and the field.
    """
    agent_ids = np.zeros(0, np.int64) if agent_image_id is None else agent_image_id
    image_id = np.unique(np.concatenate([listed_images, pair_image_id, agent_ids]).astype(np.int64))
    count = len(pair_image_id)
    unknown = np.full(count, np.float32(np.nan))
    predictions = Predictions(
        {**manifest, "vocabulary": vocabulary.name},
        image_id=image_id,
        image_hw_px=_sizes(annotations, image_id),
        pair_image=np.searchsorted(image_id, pair_image_id).astype(np.int64),
        pair_human_xyxy_px=pair_boxes_px[0],
        pair_object_xyxy_px=pair_boxes_px[1],
        pair_object_class=pair_object_class.astype(np.int64),
        pair_human_score=unknown,
        pair_object_score=unknown if pair_object_score is None else pair_object_score,
        pair_interactiveness=unknown if pair_interactiveness is None else pair_interactiveness,
        pair_part_scores=np.full((count, 6), np.float32(np.nan)),
        pair_nis_keep=np.ones(count, bool),
        triplet_pair=triplet_pair.astype(np.int64),
        triplet_verb=triplet_verb.astype(np.int64),
        triplet_score=triplet_score,
        agent_image=np.searchsorted(image_id, agent_ids).astype(np.int64),
        agent_xyxy_px=np.zeros((0, 4)) if agent_xyxy_px is None else agent_xyxy_px,
        agent_scores=np.zeros((0, len(vocabulary.verbs))) if agent_scores is None else agent_scores,
        hoi_scores=np.zeros((len(image_id), 0), np.float32),
    )
    check_prediction_arrays(predictions, where)
    return predictions


def _sizes(annotations: Annotations, image_id: np.ndarray) -> np.ndarray:
    """[n, 2] height and width of images by number; 0 for images that are not in the split."""
    order = np.argsort(annotations.image_id, kind="stable")
    ordered = annotations.image_id[order]
    position = np.minimum(np.searchsorted(ordered, image_id), max(len(ordered) - 1, 0))
    if not len(ordered):
        return np.zeros((len(image_id), 2), np.int64)
    known = ordered[position] == image_id
    return np.where(known[:, None], annotations.original_hw_px[order[position]], 0).astype(np.int64)
