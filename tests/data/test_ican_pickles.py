"""Pickles of iCAN and TIN in their true layout: boxes, classes, scores, poses; what could run something is refused."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hoi_jax.data.coco_results import DetectionFile, is_detectron2
from hoi_jax.data.ican_pickles import is_pickle, read_detections, read_poses
from hoi_jax.io import DataError
from hoi_jax.vocab import get_vocabulary
from tests.helpers.paths import ROOT

HICO, VCOCO, SCENES = (get_vocabulary(name) for name in ("hico_det", "vcoco", "hoi_scenes"))
IMAGE = Path("HICO_test2015_00000002.jpg")
# The row that iCAN's issue 4 prints, of Trainval_Neg_HICO.pkl.
PUBLISHED_PAIR = [
    2, 53,
    np.array([257.58002, 2.112835, 631.65155, 128.04715], np.float32),
    np.array([129.54727, 65.349594, 180.34726, 148.78911], np.float32),
    [46, 47, 48, 49, 50, 51, 52, 53], 40, np.array(0.7580195, np.float32),
]  # fmt: skip


def pose(score=0.9):
    """17 joints as TIN stores them: 51 numbers; the last one absent."""
    return [value for k in range(16) for value in (100.0 + k, 50.0 + 2 * k, score)] + [0.0, 0.0, 0.0]


def box(*corners):
    return np.array(corners, np.float32)


def detections_of_test():
    """`Test_Faster_RCNN_R-50-PFN_2x_HICO_DET_with_pose.pkl` of one image: two people, a cup and a box without area."""
    return {
        2: [
            [2, "Human", box(10, 20, 39, 79), np.nan, 1, np.float32(0.75), pose()],
            [2, "Human", box(50, 20, 59, 39), np.nan, 1, np.array(0.5, np.float32), None],
            [2, "Object", box(5, 6, 24, 35), np.nan, 42, np.array([0.25], np.float32), None],
            [2, "Object", box(5, 6, 4, 35), np.nan, 42, 0.125],
        ]
    }


def python2(value):
    """What Python 2's `pickle.dump(value, file)` writes: protocol 0, arrays as quoted text."""
    if isinstance(value, dict):
        return "(d" + "".join(python2(k) + python2(v) + "s" for k, v in value.items())
    if isinstance(value, list):
        return "(l" + "".join(python2(v) + "a" for v in value)
    if isinstance(value, np.ndarray | np.floating):
        table = np.asarray(value)
        shape = "(" + "".join(f"I{n}\n" for n in table.shape) + "t"
        dtype = f"cnumpy\ndtype\n(S'{table.dtype.str[1:]}'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        start = "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
        return f"{start}{shape}{dtype}I00\nS{repr(table.tobytes())[1:]}\ntb"
    if isinstance(value, str):
        return f"S{value!r}\n"
    return "N" if value is None else f"I{value}\n" if isinstance(value, int) else f"F{value!r}\n"


def write(tmp_path, value, protocol: int | str = 2, name="boxes.pkl"):
    path = tmp_path / name
    text = python2(value) + "." if protocol == "python2" else None
    path.write_bytes(text.encode("latin1") if text else pickle.dumps(value, int(protocol)))
    return path


@pytest.mark.parametrize("protocol", ["python2", 0, 1, 2, 3, 4, 5])
def test_detections_of_every_protocol_become_corners_classes_scores_and_poses(tmp_path, protocol):
    path = write(tmp_path, detections_of_test(), protocol)
    assert is_pickle(path) and not is_detectron2(path)
    file = DetectionFile(path, HICO)
    found = file.of(IMAGE)
    # The last pixel belongs to the box: 10 to 39 are 30 pixels.
    np.testing.assert_array_equal(found["xyxy_px"], [[10, 20, 40, 80], [50, 20, 60, 40], [5, 6, 25, 36]])
    assert [HICO.objects[n] for n in found["class"]] == ["person", "person", "cup"]
    assert found["score"].tolist() == [0.75, 0.5, 0.25] and file.without_area == 1
    np.testing.assert_allclose(found["keypoints_px"][0].ravel(), pose(), rtol=1e-6)
    assert not found["keypoints_px"][1:].any()
    assert not len(file.of(Path("HICO_test2015_00000003.jpg"))["score"])
    ((image, place, joints),) = read_poses(path)
    assert image == 2 and place.tolist() == [10, 20, 40, 80] and joints.shape == (17, 3)


def test_the_published_pair_is_a_person_and_a_bottle(tmp_path):
    """Its class 40 is a bottle in COCO's order, and so are HICO's classes 46 to 53 in the same row."""
    bottle = HICO.objects.index("bottle")
    assert {HICO.hois[n][1] for n in PUBLISHED_PAIR[4]} == {bottle}
    assert HICO.hois[53] == (HICO.no_interaction, bottle)
    found = DetectionFile(write(tmp_path, {2: [PUBLISHED_PAIR]}), HICO).of(Path("HICO_train2015_00000002.jpg"))
    assert found["class"].tolist() == [HICO.human_class, bottle]
    np.testing.assert_allclose(found["score"], [1, 0.7580195])
    np.testing.assert_allclose(
        found["xyxy_px"],
        [[257.58002, 2.112835, 632.65155, 129.04715], [129.54727, 65.349594, 181.34726, 149.78911]],
        rtol=1e-6,
    )


def test_boxes_of_several_negative_pairs_are_each_one_detection(tmp_path):
    one, two, cup = box(0, 0, 9, 9), box(20, 0, 29, 9), box(5, 5, 14, 14)
    rows = [
        [7, 53, one, cup, [], 42, np.array(0.5, np.float32), pose()],
        [7, 53, two, cup, [], 42, np.array(0.5, np.float32), None],
        [7, 53, one, two, [], 1, np.array(0.875, np.float32), pose()],  # The other person is an object as well.
    ]
    boxes = read_detections(write(tmp_path, {7: rows}))
    assert [(b.image, b.number, b.score, b.pose is not None) for b in boxes] == [
        (7, 1, 1.0, True), (7, 1, 0.875, False), (7, 42, 0.5, False)
    ]  # fmt: skip
    assert [b.xyxy_px.tolist() for b in boxes] == [[0, 0, 10, 10], [20, 0, 30, 10], [5, 5, 15, 15]]


def test_annotated_pairs_are_no_detections_but_have_poses(tmp_path):
    row = [
        210751,
        [25, 13],
        box(272.8, 102.62, 489.02, 371.2),
        box(421.44, 158.25, 478.95, 202.4),
        [25, 10, 13],
        pose(),
    ]
    path = write(
        tmp_path, [row, [*row[:5], None]], name="Trainval_GT_VCOCO_with_pose.pkl"
    )  # iCAN's issue 32, and a pose
    with pytest.raises(DataError, match=r"Trainval_GT_VCOCO_with_pose.pkl: has annotated.*Trainval_Neg_\*.pkl.*Test_"):
        DetectionFile(path, VCOCO)
    ((image, place, joints),) = read_poses(path)
    assert image == 210751 and joints[0].tolist() == pytest.approx([100, 50, 0.9])
    np.testing.assert_allclose(place, [272.8, 102.62, 490.02, 372.2], rtol=1e-5)


def test_images_of_the_demo_are_found_by_name(tmp_path):
    rows = {"Djokovic_0001.png": [["Djokovic_0001.png", "Human", box(1, 2, 3, 4), np.nan, 1, np.float32(0.5)]]}
    found = DetectionFile(write(tmp_path, rows), VCOCO).of(Path("demo/Djokovic_0001.png"))
    assert found["xyxy_px"].tolist() == [[1, 2, 4, 5]] and found["class"].tolist() == [0]


def test_the_peak_of_a_heat_map_may_exceed_one(tmp_path):
    found = DetectionFile(write(tmp_path, {2: [[*detections_of_test()[2][0][:6], pose(1.03)]]}), HICO).of(IMAGE)
    np.testing.assert_allclose(found["keypoints_px"][0, :16, 2], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: "Person"}, "expected .image, 'Human' or 'Object'"),
        ({2: box(1, 2, np.nan, 4)}, "not finite"),
        ({2: box(1, 2, np.inf, 4)}, "not finite"),
        ({2: [1, 2, 3, 10**400]}, "too large|int too large"),
        ({2: [1, 2, 3, 1e30]}, "beyond 1000000 pixels"),
        ({2: box(1, 2, 3)}, "expected 4 numbers"),
        ({2: "left"}, "expected 4 numbers"),
        ({4: 81}, "class 81 is not one of 1 to 80"),
        ({4: 0}, "class 0"),
        ({4: 1.5}, "class 1.5"),
        ({4: None}, "NoneType|convert|class"),
        ({5: 1.5}, r"score 1.5 is not in \[0, 1\]"),
        ({5: np.nan}, "score nan"),
        ({5: []}, "zero-size|empty"),
        ({6: [np.nan] * 51}, "pose .* not finite"),
    ],
)
def test_a_bad_row_is_named_by_file_image_and_row(tmp_path, change, message):
    row = [2, "Object", box(10, 20, 39, 79), np.nan, 42, 0.5, pose()]
    bad = [change.get(place, value) for place, value in enumerate(row)]
    with pytest.raises(DataError, match=f"boxes.pkl: image 2, row 1: .*({message})"):
        DetectionFile(write(tmp_path, {2: [row, bad]}), HICO)


@pytest.mark.parametrize(
    "value", [{2: "rows"}, [1, 2], 3, {2: [3]}, {2: [[2, "Human"]]}, {2: [[2, 53, 1, 1, 1, 1, 1]]}]
)
def test_what_is_no_table_of_rows_is_refused(tmp_path, value):
    with pytest.raises(DataError, match="boxes.pkl"):
        read_detections(write(tmp_path, value))


class _Hostile:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_nothing_that_a_file_names_is_run_or_allocated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in range(6):
        for read in (read_detections, lambda path: list(read_poses(path)), lambda path: DetectionFile(path, HICO)):
            with pytest.raises(DataError, match="pickle refused at byte .*system"):
                read(write(tmp_path, {2: [[2, "Human", _Hostile(), 0, 1, 0.5]]}, protocol))
    assert not (tmp_path / "ran").exists()
    huge = python2({2: [[2, "Human", box(1, 2, 3, 4), 0, 1, 0.5]]}).replace("(I4\nt", "(I4000000000000\nt")
    (tmp_path / "huge.pkl").write_bytes(huge.encode("latin1") + b".")
    with pytest.raises(DataError, match="huge.pkl: pickle refused"):
        read_detections(tmp_path / "huge.pkl")
    shared = [[2, "Human", [1, 2, 3, 4], 0, 1, 0.5]] * 3000
    with pytest.raises(DataError, match="more rows than bytes"):
        read_detections(write(tmp_path, dict.fromkeys(range(3000), shared)))
    whole = pickle.dumps(detections_of_test(), 2)
    for end in range(1, len(whole), 7):
        (tmp_path / "cut.pkl").write_bytes(whole[:end])
        with pytest.raises(DataError, match="cut.pkl"):
            read_detections(tmp_path / "cut.pkl")


def test_detectron2s_file_is_no_pickle_of_ican_and_scenes_have_other_classes(tmp_path):
    saved = ROOT / "tests" / "serialization" / "detectron2" / "instances_predictions.pth"
    assert is_detectron2(saved) and not is_pickle(saved)
    (tmp_path / "old.pth").write_bytes(
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    )  # the magic number of old .pth files
    assert is_detectron2(tmp_path / "old.pth") and not is_pickle(tmp_path / "old.pth")
    for head in ("{}", "[]", " []"):
        (tmp_path / "x.json").write_text(head)
        assert not is_pickle(tmp_path / "x.json")
    with pytest.raises(DataError, match="has COCO's 80 objects, which 'hoi_scenes' does not use"):
        DetectionFile(write(tmp_path, detections_of_test()), SCENES)
