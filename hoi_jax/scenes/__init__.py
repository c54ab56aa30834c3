"""`hoi_scenes`: a procedural dataset of people and objects, with every annotation that the library's systems use.

`make_scene` is a pure function of (settings, index). The modules, in reading order: `settings` (sizes and
frequencies), `people` and `objects` (bodies), `verbs` (definitions), `activities` and `distractors` (poses),
`layout` and `world` (placement), `draw` and `appearance` (images), `annotate` (record tables), `detector`
(simulated detections), `rng` (random draws).
"""

import io

import numpy as np

from hoi_jax.scenes.annotate import action_rows, hoi_labels, pair_rows, visible_instances
from hoi_jax.scenes.detector import detect
from hoi_jax.scenes.draw import background_shapes, render
from hoi_jax.scenes.rng import Rng
from hoi_jax.scenes.settings import SCENE_HW_PX, SCENE_SIZES, TEST_OFFSET, SceneSettings
from hoi_jax.scenes.verbs import scene_verbs
from hoi_jax.scenes.world import sample_world
from hoi_jax.schema import empty_record
from hoi_jax.vocab.scenes import SCENES_ACTIONS

__all__ = ["SCENE_HW_PX", "SCENE_SIZES", "TEST_OFFSET", "SceneSettings", "make_scene", "scene_indices"]

JPEG_QUALITY = 95


def scene_indices(size: str, split: str) -> range:
    """The scene indices of a split ("train" or "test") of a size ("tiny", "small", "full").

    Raises:
      ValueError: the size or split is unknown.
    """
    if size not in SCENE_SIZES or split not in ("train", "test"):
        raise ValueError(f"unknown scenes {size!r}/{split!r}; sizes are {sorted(SCENE_SIZES)}, splits train and test")
    train, test = SCENE_SIZES[size]
    return range(train) if split == "train" else range(TEST_OFFSET, TEST_OFFSET + test)


def make_scene(settings: SceneSettings, index: int) -> dict[str, object]:
    """One raw record (`schema.RECORD_FIELDS`) of scene `index`, identical for equal settings on every machine.

    Labels: `pairs_verb` and `hoi_labels` use the vocabulary `SCENES`, `persons_*` use `SCENES_ACTIONS`. Only
    sufficiently visible instances are listed; boxes are tight around the visible pixels. Keypoint scores are 1 =
    visible, 0.5 = hidden, 0 = outside the image.

    Raises:
      ValueError: the index is negative.
    """
    if index < 0:
        raise ValueError(f"index is {index}, expected 0 or more")
    height, width = settings.height_px, settings.width_px
    world, rng = sample_world(settings, index)
    photo, ids = render(world.entities, background_shapes(rng, height, width), height, width)
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    verbs = scene_verbs(world.entities)
    table = visible_instances(world.entities, ids)
    found = detect(table, settings.detector_noise, Rng(settings.seed, index, 1), height, width)
    rows = pair_rows(world.entities, table, verbs)
    persons, actions, roles = action_rows(world.entities, table, verbs)
    record = empty_record(len(SCENES_ACTIONS.actions))
    record.update(
        image=stream.getvalue(),
        image_id=np.int64(index),
        file_name=f"scene_{index:07d}.jpg".encode(),
        original_hw_px=np.array([height, width], np.int32),
        instances_xyxy_px=table.xyxy_px,
        instances_class=table.classes,
        instances_annotation_id=index * 100 + np.arange(len(table.entity), dtype=np.int64),
        instances_keypoints_px=table.keypoints_px,
        instances_face_xyxy_px=table.face_xyxy_px,
        instances_parts_xyxy_px=table.parts_xyxy_px,
        instances_mask_png=table.mask_png,
        detections_xyxy_px=found.xyxy_px,
        detections_class=found.classes,
        detections_score=found.score,
        detections_keypoints_px=found.keypoints_px,
        detections_face_xyxy_px=found.face_xyxy_px,
        pairs_human=np.array([row[0] for row in rows], np.int32),
        pairs_object=np.array([row[1] for row in rows], np.int32),
        pairs_verb=np.array([row[2] for row in rows], np.int32),
        pairs_part_states=np.array([row[3] for row in rows], np.int32).reshape(len(rows), 10),
        persons_instance=persons,
        persons_actions=actions,
        persons_roles=roles,
        hoi_labels=hoi_labels(table.classes, rows),
    )
    return record
