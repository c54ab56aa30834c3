"""Real masks, poses and pairs of COCO photographs: read, built, measured against numbers in the files, and drawn."""

import gzip
import json

import numpy as np
import pytest
from PIL import Image

from data_prep import build, from_coco, show
from hoi_jax.data.records import RecordFiles
from hoi_jax.ops.raster import LIMBS
from hoi_jax.schema import KEYPOINT_NAMES, PART_NAMES

SPLITS = ("train", "val")
NOSE, LEFT_WRIST, RIGHT_WRIST, LEFT_ANKLE = (
    KEYPOINT_NAMES.index(name) for name in ("nose", "left_wrist", "right_wrist", "left_ankle")
)
HEAD, RIGHT_HAND, LEFT_HAND, LEFT_FOOT = (
    PART_NAMES.index(name) for name in ("head", "right_hand", "left_hand", "left_foot")
)


@pytest.fixture(scope="module")
def photographs(data_dir, tmp_path_factory):
    """(records by image number, COCO's annotations by number, folder of the build, what was printed)."""
    folder, tmp_path = data_dir / "coco_tiny", tmp_path_factory.mktemp("coco")
    files = {
        kind: [str(folder / f"{kind}_{split}2017.json.gz") for split in SPLITS]
        for kind in ("instances", "person_keypoints")
    }
    labels = [str(data_dir / f"vcoco_instances_{split}.json.gz") for split in ("train", "val", "test")]
    out = tmp_path / "coco.json"
    assert (
        from_coco.main(
            [
                str(out), "--instances", *files["instances"], "--keypoints", *files["person_keypoints"],
                "--pairs", *labels,
            ]
        )
        == 0
    )  # fmt: skip
    command = ["own/coco", "--images", str(folder / "images"), "--data-dir", str(tmp_path), "--part-boxes"]
    assert build.main([*command, "--annotations", f"train={out}"]) == 0
    records = {int(r["image_id"]): r for r in RecordFiles(tmp_path / "own" / "coco", "train").numpy_records()}
    annotations = {}
    for path in [*files["instances"], *files["person_keypoints"]]:
        with gzip.open(path) as stream:
            for row in json.load(stream)["annotations"]:
                if not row["iscrowd"]:
                    annotations[row["id"]] = {**annotations.get(row["id"], {}), **row}
    return records, annotations, tmp_path, json.loads(out.read_text())


def posed(record):
    return (record["instances_keypoints_px"][..., 2] > 0).any(-1)


def test_every_box_mask_and_pose_of_the_files_is_in_the_records(photographs):
    records, annotations, _, _ = photographs
    assert len(records) == 100
    ids = {int(i) for record in records.values() for i in record["instances_annotation_id"]}
    assert ids == set(annotations)
    poses = sum(int(posed(record).sum()) for record in records.values())
    assert poses == sum(row.get("num_keypoints", 0) > 0 for row in annotations.values()) > 90
    joints = sum(int((record["instances_keypoints_px"][..., 2] > 0).sum()) for record in records.values())
    assert joints == sum(row.get("num_keypoints", 0) for row in annotations.values())


def test_masks_have_the_areas_that_coco_says_and_fill_their_boxes(photographs):
    records, annotations, _, _ = photographs
    compared = 0
    for record in records.values():
        masks = show.masks_of(record)
        for row, number in enumerate(record["instances_annotation_id"].tolist()):
            said, box = annotations[number]["area"], annotations[number]["bbox"]
            if said < 1000:
                continue  # Of a few hundred pixels the outline is a large part.
            compared += 1
            # Pillow's polygons take in the outline, COCO's area is that between the lines.
            outline = 2 * (box[2] + box[3])
            assert abs(masks[row].sum() - said) < 0.01 * said + outline
            y, x = np.nonzero(masks[row])
            low, high = np.array([x.min(), y.min()]), np.array([x.max() + 1, y.max() + 1])
            np.testing.assert_allclose(np.concatenate([low, high - low]), box, atol=3)
    assert compared > 400


def test_part_boxes_lie_around_their_joints(photographs):
    records, _, _, _ = photographs
    seen = 0
    for record in records.values():
        pose, parts = record["instances_keypoints_px"], record["instances_parts_xyxy_px"]
        people = record["instances_xyxy_px"]
        for person in np.flatnonzero(posed(record)):
            for joint, part in ((LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND), (LEFT_ANKLE, LEFT_FOOT)):
                x1, y1, x2, y2 = parts[person, part]
                if np.array_equal(parts[person, part], people[person]):
                    continue  # The pose failed there: the box is the whole person's.
                seen += 1
                assert pose[person, joint, 2] > 0 and x2 - x1 == pytest.approx(y2 - y1, abs=1e-3)
                np.testing.assert_allclose([(x1 + x2) / 2, (y1 + y2) / 2], pose[person, joint, :2], atol=1e-2)
            longest = np.linalg.norm(people[person, 2:] - people[person, :2])
            # No length of a body exceeds the diagonal of its box; the largest factor is 1.2, on both sides of a centre.
            assert (parts[person, :, 2:] - parts[person, :, :2]).max() <= 2.4 * longest + 1
            head = parts[person, HEAD]
            if not np.array_equal(head, people[person]) and pose[person, NOSE, 2] > 0:
                middle = (head[:2] + head[2:]) / 2
                assert np.abs(middle - pose[person, NOSE, :2]).max() < 1.5 * (head[2] - head[0])
        assert not parts[~posed(record)].any()
    assert seen > 80


def test_the_photographs_of_vcoco_have_pairs_poses_and_masks_together(photographs, data_dir):
    records, _, _, own = photographs
    with gzip.open(data_dir / "vcoco_instances_test.json.gz") as stream:
        labels = json.load(stream)
    said = {int(row["file_name"][-16:-4]): len(row["actions"]) for row in labels["annotations"]}
    paired = [record for record in records.values() if len(record["pairs_human"])]
    # The seventh has labels, but no pair.
    assert len(paired) == 6 and sum(number in said for number in records) == 7
    # "Eats with" of a person whose food is not annotated is a relation without object here, and no row there.
    relations = {int(r["image_id"]): int((r["pairs_object"] >= 0).sum()) for r in paired}
    assert relations == {n: said[n] for n in records if said.get(n)}
    assert sum(len(r["pairs_verb"]) for r in paired) == sum(len(pair["verbs"]) for pair in own["pairs"])
    whole = 0
    for record in paired:
        masks = show.masks_of(record)
        for human, obj in zip(record["pairs_human"], record["pairs_object"], strict=True):
            assert masks[human].any() and record["instances_class"][human] == 0
            assert obj < 0 or masks[obj].any()
            whole += bool(posed(record)[human])
    assert whole >= 6


def test_pose_maps_lie_in_the_persons_box_and_cells_under_the_parts(photographs):
    records, _, _, _ = photographs
    checked = 0
    for record in [r for r in records.values() if posed(r).any()][:12]:
        maps = show.maps_of(record)
        human, _ = show.pair_of(record)
        joints = record["instances_keypoints_px"][human, :, 2] > 0
        limbs = [a < 17 and b < 17 and joints[a] and joints[b] for a, b in LIMBS]
        assert maps.shape == (3, 64, 64) and maps[0].max() == 1
        if any(limbs):
            checked += 1
            assert maps[2].max() >= 0.15
            # Annotators put joints a few pixels out of the box at times.
            y, x = np.nonzero(maps[2])
            rows, columns = np.flatnonzero(maps[0].any(1)), np.flatnonzero(maps[0].any(0))
            assert rows[0] - 3 <= y.min() and y.max() <= rows[-1] + 3
            assert columns[0] - 3 <= x.min() and x.max() <= columns[-1] + 3
        height, width = record["original_hw_px"].tolist()
        parts = np.where(posed(record)[:, None, None], record["instances_parts_xyxy_px"], 0)
        cells = show.merged_cells(parts, height, width)
        for part in range(6):
            for row, column in np.argwhere(cells[part]):
                x, y = column * show.STRIDE, row * show.STRIDE
                members = [p for p in range(10) if show.PART_TO_MERGED[p] == part]
                boxes = parts[:, members].reshape(-1, 4)
                assert ((boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y) & (y <= boxes[:, 3])).any()
    assert checked >= 8


def test_the_command_draws_a_page_for_every_photograph_with_a_pose(photographs, tmp_path, capsys):
    records, _, data, _ = photographs
    arguments = ["own/coco", "--data-dir", str(data), "--out", str(tmp_path / "pages"), "--only-pairs"]
    assert show.main(arguments) == 0
    wanted = sum(bool(len(r["pairs_human"]) and posed(r).any()) for r in records.values())
    assert f"{wanted} images of 100 drawn" in capsys.readouterr().out
    pages = sorted((tmp_path / "pages").glob("*.png"))
    assert len(pages) == wanted
    with Image.open(pages[0]) as page:
        assert (
            page.height == 384 and page.width > 1200 and len(np.unique(np.asarray(page).reshape(-1, 3), axis=0)) > 1000
        )
    assert show.main(["own/none", "--data-dir", str(data), "--out", str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err


def test_files_that_are_not_cocos_are_refused_by_name(tmp_path, capsys):
    (tmp_path / "x.json").write_text(json.dumps({"images": [{"id": 1}], "annotations": [{"id": 1}]}))
    assert from_coco.main([str(tmp_path / "out.json"), "--instances", str(tmp_path / "x.json")]) == 2
    assert "x.json: is not a COCO annotation file" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
