"""The HICO-DET goldens as predictions and annotations."""

import numpy as np

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.predictions import Predictions
from hoi_jax.vocab.datasets import HICO


def annotations_of(truth):
    """Annotations in continuous corners, with two separate boxes for every pair."""
    count = np.bincount(truth.image, minlength=truth.num_images)
    boxes = np.stack([truth.human_xyxy_px, truth.object_xyxy_px], 1) - [1, 1, 0, 0]
    verb, obj = np.array(HICO.hois)[truth.label].T
    columns = dict(Annotations.from_records([], "hico_det").columns)
    columns["instances_xyxy_px"] = boxes.reshape(-1, 4).astype(np.float32)
    columns["instances_class"] = np.stack([np.zeros_like(obj), obj], 1).reshape(-1)
    row = np.arange(len(truth.label)) - np.searchsorted(truth.image, truth.image)
    columns |= {"pairs_human": 2 * row, "pairs_object": 2 * row + 1, "pairs_verb": verb}
    for name in ("annotation_id", "keypoints_px", "face_xyxy_px", "parts_xyxy_px"):
        empty = columns[f"instances_{name}"]
        columns[f"instances_{name}"] = np.zeros((2 * len(verb), *empty.shape[1:]), empty.dtype)
    columns["pairs_part_states"] = np.full((len(verb), 10), -1, np.int32)
    counts = {"instances": 2 * count, "pairs": count}
    counts |= dict.fromkeys(("persons", "detections", "hoi_labels"), 0 * count)
    images = np.arange(truth.num_images)
    return Annotations(
        "hico_det", None, images, np.full((len(images), 2), 999), images.astype(np.str_), counts, columns
    )


def predictions_of(golden_dir, num_images):
    """The flat predictions as `Predictions`; the quarter-pixel grid of their boxes is exact in float32."""
    flat = io.read_npz(golden_dir / "hico_eval_preds.npz")
    count, nothing = len(flat["pair_image"]), np.float32(np.nan)
    return Predictions(
        {"vocabulary": "hico_det"},
        image_id=np.arange(num_images),
        image_hw_px=np.full((num_images, 2), 999),
        pair_image=flat["pair_image"].astype(np.int64),
        pair_human_xyxy_px=flat["pair_hbox"] + np.array([0, 0, 1, 1], np.float32),
        pair_object_xyxy_px=flat["pair_obox"] + np.array([0, 0, 1, 1], np.float32),
        pair_object_class=flat["pair_object"].astype(np.int64),
        pair_human_score=np.full(count, nothing),
        pair_object_score=flat["pair_object_score"],
        pair_interactiveness=flat["pair_binary_score"],
        pair_part_scores=np.full((count, 6), nothing),
        pair_nis_keep=np.ones(count, bool),
        triplet_pair=flat["trip_pair"].astype(np.int64),
        triplet_verb=flat["trip_verb"].astype(np.int64),
        triplet_score=flat["trip_score"],
        agent_image=np.zeros(0, np.int64),
        agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, 117), np.float32),
        hoi_scores=np.zeros((num_images, 0), np.float32),
    )
