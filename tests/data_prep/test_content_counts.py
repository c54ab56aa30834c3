"""What a dataset has is counted when it is built, so that a method can refuse to start without its inputs."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from data_prep.builder import DatasetSource, build, content_of
from hoi_jax.data.records import META_FILE, content_counts, read_meta
from hoi_jax.formats.labels.rows import instance_columns, record_of
from hoi_jax.io import DataError
from hoi_jax.vocab import get_vocabulary

PERSON, CUP = 0, 41
HICO = get_vocabulary("hico_det")


def record(number, **columns):
    """One image with two people and a cup."""
    boxes = np.array([[5, 15, 25, 45], [30, 10, 60, 50], [1, 1, 9, 9]], float)
    made = record_of(number, f"{number}.jpg", (60, 80), instance_columns(boxes, np.array([PERSON, PERSON, CUP])), 1)
    return made | {"image": b""} | columns


def full():
    keypoints, faces, parts = np.zeros((3, 17, 3)), np.zeros((3, 4)), np.zeros((3, 10, 4))
    keypoints[0, 4, 2], keypoints[1, :, :2] = 0.5, 7  # The second person has places without a score: no pose.
    faces[0], faces[1] = [1, 1, 4, 5], [1, 1, 1, 5]  # The second face has no width.
    parts[:2, 9] = [2, 2, 3, 3]
    return record(
        1,
        instances_keypoints_px=keypoints.astype(np.float32),
        instances_face_xyxy_px=faces.astype(np.float32),
        instances_parts_xyxy_px=parts.astype(np.float32),
        detections_xyxy_px=np.array([[0, 0, 9, 9]] * 4, np.float32),
        detections_class=np.array([PERSON, CUP, CUP, CUP], np.int32),
        detections_score=np.full(4, 0.5, np.float32),
        detections_keypoints_px=np.concatenate([keypoints[:1], np.zeros((3, 17, 3))]).astype(np.float32),
        detections_face_xyxy_px=np.zeros((4, 4), np.float32),
        pairs_human=np.array([0, 1, 1], np.int32),
        pairs_object=np.array([2, 2, -1], np.int32),
        pairs_verb=np.array([HICO.verbs.index("hold"), HICO.verbs.index("hold"), 0], np.int32),
        pairs_part_states=np.array([[-1] * 10, [0] + [-1] * 9, [-1] * 10], np.int32),
    )


EXPECTED = {
    "images": 1, "instances": 3, "detections": 4, "pairs": 3, "persons": 0,
    "instances_people": 2, "detections_people": 1,
    "images_with_instances": 1, "images_with_detections": 1, "images_with_pairs": 1, "hoi_labels": 0,
    "instances_keypoints_px": 1, "instances_face_xyxy_px": 1, "instances_parts_xyxy_px": 2, "instances_mask_png": 0,
    "detections_keypoints_px": 1, "detections_face_xyxy_px": 0, "faces_xyxy_px": 0, "pairs_part_states": 1,
}  # fmt: skip


def test_rows_count_that_have_content():
    assert content_of(full(), PERSON) == EXPECTED
    masks = {"instances_mask_png": [b"", b"png", b""], "hoi_labels": np.zeros(600, np.int32)}
    assert content_of(record(2, **masks), PERSON) == dict.fromkeys(EXPECTED, 0) | {
        "images": 1, "instances": 3, "instances_people": 2, "images_with_instances": 1, "instances_mask_png": 1,
        "hoi_labels": 1,
    }  # fmt: skip


def source() -> DatasetSource:
    def both() -> Iterator[dict[str, object]]:
        yield full()
        yield record(2)

    return DatasetSource("hico_det/counted", "1.0.0", "two images", "hico_det", "", {"trainval": (2, both)})


def test_a_build_keeps_the_sums_and_parts_of_a_split_have_those_of_the_whole(tmp_path):
    meta = read_meta(build(source(), tmp_path))
    wanted = EXPECTED | {"images": 2, "instances": 6, "instances_people": 4, "images_with_instances": 2}
    assert content_counts(meta, "trainval") == content_counts(meta, "trainval:held_out") == wanted
    with pytest.raises(DataError, match=r"hico_det/counted: no split 'test'; there are \['trainval'\]"):
        content_counts(meta, "test")


def test_a_build_of_an_older_version_is_named_and_built_again(tmp_path):
    folder = build(source(), tmp_path)
    meta = json.loads((folder / META_FILE).read_text())
    whole = read_meta(folder)
    del meta["splits"]["trainval"]["content"]
    (folder / META_FILE).write_text(json.dumps(meta))
    with pytest.raises(DataError, match="before contents were counted.*data_prep.build"):
        content_counts(read_meta(folder), "trainval")
    assert read_meta(build(source(), tmp_path)) == whole
