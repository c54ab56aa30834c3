"""Whole scenes: records, images, masks, determinism, class tail, the simulated detector."""

import hashlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hoi_jax.scenes import SCENE_HW_PX, SCENE_SIZES, TEST_OFFSET, SceneSettings, make_scene, scene_indices
from hoi_jax.scenes.activities import ACTIVITIES
from hoi_jax.scenes.annotate import Instances
from hoi_jax.scenes.detector import FALSE_POSITIVES, JITTER, MISS_RATE, detect
from hoi_jax.scenes.distractors import decoy
from hoi_jax.scenes.layout import Layout
from hoi_jax.scenes.rng import Rng
from hoi_jax.scenes.verbs import WIDE, scene_verbs
from hoi_jax.scenes.world import PLAYS, sample_world
from hoi_jax.schema import RECORD_FIELDS, check_record
from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.scenes import SCENES, SCENES_ACTIONS
from tests.helpers.paths import ROOT
from tests.helpers.scenes import digest

ACTIONS = len(SCENES_ACTIONS.actions)
SETTINGS = SceneSettings()


def hois_of(record: dict) -> np.ndarray:
    return SCENES.hoi_table[record["pairs_verb"], record["instances_class"][record["pairs_object"]]]


def masks_of(record: dict) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(png))) for png in record["instances_mask_png"]]


@pytest.fixture(scope="module")
def train():
    return [make_scene(SETTINGS, index) for index in range(200)]


@pytest.fixture(scope="module")
def held_out():
    return [make_scene(SETTINGS, index) for index in scene_indices("small", "test")]


def test_records_pass_the_schema(train, held_out):
    for record in train + held_out:
        check_record(record, ACTIONS, str(record["image_id"]))
        assert len(record["instances_class"]) > 0


@pytest.mark.parametrize("height_px, width_px", [(64, 64), (256, 320), (320, 192), (800, 1333)])
def test_images_have_the_size_asked_for(height_px, width_px):
    record = make_scene(SceneSettings(height_px, width_px), 3)
    check_record(record, ACTIONS, "sized")
    assert Image.open(io.BytesIO(record["image"])).size == (width_px, height_px)
    assert record["original_hw_px"].tolist() == [height_px, width_px]
    for mask in masks_of(record):
        assert mask.shape == (height_px, width_px)


def test_boxes_are_tight_around_masks_and_masks_do_not_overlap(train):
    for record in train[:60]:
        masks = masks_of(record)
        for mask, box in zip(masks, record["instances_xyxy_px"], strict=True):
            assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
            rows, columns = np.nonzero(mask)
            tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == tight
        assert np.sum([mask > 0 for mask in masks], axis=0).max() <= 1


def test_visible_keypoints_lie_in_the_mask_and_only_people_have_them(train):
    hidden = visible = 0
    for record in train:
        for label, points, mask, box in zip(
            record["instances_class"], record["instances_keypoints_px"], masks_of(record),
            record["instances_xyxy_px"], strict=True,
        ):  # fmt: skip
            if label != SCENES.human_class:
                assert not points.any()
                continue
            x, y, score = points.T
            inside = mask[y.astype(int), x.astype(int)] > 0
            assert np.array_equal(inside & (score > 0), score == 1.0)
            seen = score == 1.0
            assert np.all((x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3]) | ~seen)
            hidden, visible = hidden + np.sum(score == 0.5), visible + seen.sum()
    assert visible > 5 * hidden > 0


def test_part_boxes_hold_the_joints_they_are_named_for(train):
    joint = {0: 16, 3: 15, 6: 10, 9: 9, 5: 0}  # foot, foot, hand, hand, head -> ankle, ankle, wrist, wrist, nose
    checked = 0
    for record in train:
        for points, parts in zip(record["instances_keypoints_px"], record["instances_parts_xyxy_px"], strict=True):
            for part, k in joint.items():
                x1, y1, x2, y2 = parts[part]
                if points[k, 2] > 0 and x2 > x1:
                    assert x1 <= points[k, 0] <= x2 and y1 <= points[k, 1] <= y2
                    checked += 1
    assert checked > 1000


def test_the_same_key_gives_the_same_bytes_in_any_order_and_in_a_new_process(train):
    indices = [5, 0, TEST_OFFSET + 7]
    here = {str(index): digest(make_scene(SETTINGS, index)) for index in indices}
    assert here["5"] == digest(train[5])
    code = (
        "import json\nfrom hoi_jax.scenes import SceneSettings, make_scene\nfrom tests.helpers.scenes import digest\n"
        f"print(json.dumps({{str(i): digest(make_scene(SceneSettings(), i)) for i in {indices[::-1]}}}))"
    )
    there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(there.stdout) == here


def test_labels_of_the_first_scenes_are_frozen(train):
    """Labels only: they do not hang on the version of the drawing library."""
    total = hashlib.sha256()
    for record in train[:50]:
        world, _ = sample_world(SETTINGS, int(record["image_id"]))
        verbs = sorted((pair, sorted(found)) for pair, found in scene_verbs(world.entities).items())
        total.update(json.dumps([[e.class_index for e in world.entities], verbs]).encode())
    assert total.hexdigest()[:16] == "e110a062d2891bb9"


def test_seed_and_index_change_the_scene_and_noise_changes_only_the_detections():
    one = make_scene(SETTINGS, 1)
    assert make_scene(SETTINGS, 2)["image"] != one["image"]
    assert make_scene(SceneSettings(seed=1), 1)["image"] != one["image"]
    noisy = make_scene(SceneSettings(detector_noise=2.0), 1)
    for name in RECORD_FIELDS:
        same = digest({**dict.fromkeys(RECORD_FIELDS, b""), name: one[name]}) == digest(
            {**dict.fromkeys(RECORD_FIELDS, b""), name: noisy[name]}
        )
        assert same == (not name.startswith("detections_")), name


def test_labels_do_not_change_with_wide_tolerances():
    for index in range(150):
        world, _ = sample_world(SETTINGS, index)
        assert scene_verbs(world.entities, WIDE) == scene_verbs(world.entities)


def test_every_pair_is_a_class_of_the_vocabulary_and_image_labels_follow(train, held_out):
    for record in train + held_out:
        hois = hois_of(record)
        assert np.all(hois >= 0)
        expected = np.full(len(SCENES.hois), -1)
        expected[hois] = 1
        assert np.array_equal(record["hoi_labels"], expected)
        rows = list(zip(record["pairs_human"], record["pairs_object"], record["pairs_verb"], strict=True))
        assert len(set(rows)) == len(rows)
        assert np.all(record["instances_class"][record["pairs_human"]] == SCENES.human_class)


def test_no_interaction_excludes_every_other_verb_of_the_pair(held_out):
    for record in held_out:
        by_pair: dict[tuple[int, int], list[int]] = {}
        for h, o, v in zip(record["pairs_human"], record["pairs_object"], record["pairs_verb"], strict=True):
            by_pair.setdefault((h, o), []).append(v)
        for verbs in by_pair.values():
            assert SCENES.no_interaction not in verbs or len(verbs) == 1


def test_the_two_views_agree_on_kick(held_out):
    """kick exists in both views: whoever kicks in one does in the other, with the same object."""
    kick, action = SCENES.verbs.index("kick"), SCENES_ACTIONS.actions.index("kick")
    seen = 0
    for record in held_out:
        rows = record["pairs_verb"] == kick
        pairs = set(zip(record["pairs_human"][rows], record["pairs_object"][rows], strict=True))
        does = record["persons_actions"][:, action] == 1
        roles = record["persons_roles"][does, action, 0]
        assert set(zip(record["persons_instance"][does], roles, strict=True)) == pairs
        seen += len(pairs)
    assert seen > 10


def test_action_roles_are_allowed_by_the_action_vocabulary(held_out):
    mask = SCENES_ACTIONS.verb_object_mask
    for record in held_out:
        assert np.isin(record["persons_actions"], (0, 1)).all()
        for verb, (action, slot) in enumerate(zip(SCENES_ACTIONS.verb_action, SCENES_ACTIONS.verb_role, strict=True)):
            if slot < 0:
                assert np.all(record["persons_roles"][:, action] == -1)
                continue
            targets = record["persons_roles"][:, action, slot]
            assert np.all(mask[verb, record["instances_class"][targets[targets >= 0]]])


def test_vocabularies_are_consistent():
    assert get_vocabulary("hoi_scenes") is SCENES and get_vocabulary("hoi_scenes_actions") is SCENES_ACTIONS
    assert len(SCENES.objects) >= 12 and len(SCENES.verbs) >= 11 and len(SCENES.hois) >= 60
    assert all(SCENES.hoi_table[SCENES.no_interaction] >= 0)
    plays = {(SCENES.verbs.index(verb), SCENES.objects.index(obj)) for verb, obj in PLAYS}
    assert plays == {pair for pair in SCENES.hois if pair[0] != SCENES.no_interaction}
    for verb, action in enumerate(SCENES_ACTIONS.verb_action):
        slot = SCENES_ACTIONS.verb_role[verb]
        assert slot < max(1, len(SCENES_ACTIONS.action_roles[action]))
        assert SCENES_ACTIONS.verbs[verb].startswith(SCENES_ACTIONS.actions[action])


def test_about_a_quarter_of_the_classes_is_rare():
    assert len(SCENES.train_counts) == len(SCENES.hois)
    assert min(SCENES.train_counts) >= 1
    assert 0.2 <= SCENES.rare.mean() <= 0.3
    assert not SCENES.rare[[hoi for hoi, (verb, _) in enumerate(SCENES.hois) if verb == 0]].any()


def test_every_class_has_two_test_images_and_every_verb_many(held_out):
    images = np.sum([record["hoi_labels"] == 1 for record in held_out], axis=0)
    assert images.min() >= 2
    verbs = np.bincount(np.concatenate([record["pairs_verb"] for record in held_out]))
    assert len(verbs) == len(SCENES.verbs) and verbs.min() >= 10


def test_counts_of_the_first_scenes_agree_with_the_frozen_table(train):
    counts = np.bincount(np.concatenate([hois_of(record) for record in train]), minlength=len(SCENES.hois))
    frozen = np.array(SCENES.train_counts)
    assert np.all(counts <= frozen)
    assert counts.sum() / frozen.sum() == pytest.approx(200 / 1600, rel=0.15)


@pytest.mark.slow
def test_a_recount_of_the_small_train_split_gives_the_frozen_table():
    counts = np.zeros(len(SCENES.hois), int)
    for index in scene_indices("small", "train"):
        np.add.at(counts, hois_of(make_scene(SETTINGS, index)), 1)
    assert tuple(counts) == SCENES.train_counts


def test_crowded_share_is_the_one_asked_for():
    crowded = sum(sample_world(SETTINGS, index)[0].crowded for index in range(400))
    assert abs(crowded / 400 - SETTINGS.crowded_fraction) < 3 * np.sqrt(0.25 * 0.75 / 400)
    assert sample_world(SceneSettings(crowded_fraction=1.0), 0)[0].crowded
    assert not sample_world(SceneSettings(crowded_fraction=0.0), 0)[0].crowded


def test_a_detector_without_noise_returns_the_truth():
    for index in range(10):
        record = make_scene(SceneSettings(detector_noise=0.0), index)
        for name in ("xyxy_px", "class", "keypoints_px", "face_xyxy_px"):
            assert np.array_equal(record[f"detections_{name}"], record[f"instances_{name}"])
        assert np.all(record["detections_score"] == 1.0)


def _truth(count: int) -> Instances:
    """`count` people with boxes of 200 x 400 px in the middle of a large image."""
    boxes = np.tile(np.array([[400, 200, 600, 600]], np.float32), (count, 1))
    return Instances(
        entity=list(range(count)), xyxy_px=boxes, classes=np.zeros(count, np.int32),
        keypoints_px=np.ones((count, 17, 3), np.float32), face_xyxy_px=boxes / 2,
        parts_xyxy_px=np.zeros((count, 10, 4), np.float32), mask_png=[b""] * count,
    )  # fmt: skip


def test_misses_jitter_and_false_positives_come_at_the_stated_rates():
    noise, runs, people = 2.0, 400, 10
    truth = _truth(people)
    missed, extra, moves = 0, 0, []
    for run in range(runs):
        found = detect(truth, noise, Rng(9, run), 800, 1000)
        real = found.source >= 0
        missed += people - real.sum()
        extra += np.sum(~real)
        moves.append((found.xyxy_px[real] - truth.xyxy_px[found.source[real]]) / [200, 400, 200, 400])
        assert np.all(np.diff(found.score) <= 0)
        assert np.all((found.score > 0) & (found.score <= 1))
        assert np.all(found.xyxy_px[:, 2:] > found.xyxy_px[:, :2])
    rate, count = MISS_RATE * noise, runs * people
    assert abs(missed - rate * count) < 4 * np.sqrt(rate * (1 - rate) * count)
    mean = FALSE_POSITIVES * noise * runs
    assert abs(extra - mean) < 4 * np.sqrt(mean)
    assert np.std(np.concatenate(moves)) == pytest.approx(JITTER * noise, rel=0.05)


def test_a_decoy_leaves_the_object_where_the_activity_had_it():
    """Same object box, hips on the same vertical: boxes alone do not tell the activity from its decoy."""
    rng = Rng(4, 4)
    for _ in range(50):
        layout = Layout(rng, 200.0, 300.0, 100.0, rng.sign())
        play = ACTIVITIES["carry"](layout, "bag")
        copy = decoy(layout, "carry", play)
        assert copy.entities[1].box == play.entities[1].box
        assert copy.entities[0].pelvis[0] == pytest.approx(play.entities[0].pelvis[0])
        assert copy.verbs == {} and copy.entities[1].hangs


def test_sizes_and_splits():
    assert set(SCENE_SIZES) == set(SCENE_HW_PX) == {"tiny", "small", "full"}
    for size in SCENE_SIZES:
        assert not set(scene_indices(size, "train")) & set(scene_indices(size, "test"))
    with pytest.raises(ValueError, match="small"):
        scene_indices("smal", "train")
    with pytest.raises(ValueError, match="train and test"):
        scene_indices("small", "val")


@pytest.mark.parametrize(
    "values, name",
    [
        ({"height_px": 10}, "height_px"),
        ({"width_px": 5000}, "width_px"),
        ({"seed": -1}, "seed"),
        ({"detector_noise": -0.5}, "detector_noise"),
        ({"crowded_fraction": 1.5}, "crowded_fraction"),
    ],
)
def test_impossible_settings_are_refused_by_name(values, name):
    with pytest.raises(ValueError, match=name):
        SceneSettings(**values)


def test_negative_indices_are_refused():
    with pytest.raises(ValueError, match="index is -1"):
        make_scene(SETTINGS, -1)
