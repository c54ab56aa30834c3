"""predict.py from files to files, with a stand-in for the model."""

import json

import numpy as np
import pytest
from PIL import Image

import predict as predict_py
from hoi_jax.commands.images import _unused
from hoi_jax.data.coco_results import DetectionFile
from hoi_jax.data.settings import SizeSettings
from hoi_jax.io import DataError
from hoi_jax.report.pairs import interactions_of, pairs_of_image
from hoi_jax.vocab import get_vocabulary

SCENES = get_vocabulary("hoi_scenes")
ACTIONS = get_vocabulary("hoi_scenes_actions")
PERSON, BALL = SCENES.objects.index("person"), SCENES.objects.index("ball")
KICK, HOLD = SCENES.verbs.index("kick"), SCENES.verbs.index("hold")
SIZES = SizeSettings((64, 64), instances=1, detections=4, pairs=1)
OPTIONS = predict_py.Options(sizes=SIZES, batch_size=2, min_score=0.2, top=3)


class FakeModel:
    """Pairs detection 0 with detections 1 and 2: kick 0.9, hold 0.5 and 0.1 for the first, 0.8 for the second, which
    is suppressed."""

    def __init__(self):
        self.shapes = []

    def __call__(self, batch):
        self.shapes.append({name: array.shape for name, array in batch.items()})
        size = len(batch["batch_valid"])
        verbs = np.zeros((size, 3, len(SCENES.verbs)), np.float32)
        verbs[:, 0, KICK], verbs[:, 0, HOLD], verbs[:, 1, HOLD] = 0.9, 0.5, 0.8
        boxes = batch["detections_xyxy_px"]
        return {
            "human_xyxy_px": np.repeat(boxes[:, :1], 3, 1),
            "object_xyxy_px": boxes[:, 1:4],
            "object_class": batch["detections_class"][:, 1:4],
            "human_score": np.repeat(batch["detections_score"][:, :1], 3, 1),
            "object_score": batch["detections_score"][:, 1:4],
            "interactiveness": np.full((size, 3), 0.75, np.float32),
            "verb_scores": verbs,
            "kept": np.tile([True, False, True], (size, 1)),
            "pair_valid": batch["detections_valid"][:, 1:4],
        }


def entry(name, category, box, score):
    return {"file_name": name, "category_id": category, "bbox": box, "score": score}


@pytest.fixture
def folder(tmp_path):
    """Four images: two with boxes, one without, one damaged."""
    images = tmp_path / "in"
    images.mkdir()
    for name, size in (("a.jpg", (200, 100)), ("b_12.png", (50, 60)), ("d.png", (700, 500))):
        Image.new("RGB", size, (120, 130, 90)).save(images / name)
    (images / "c.jpg").write_bytes(b"\xff\xd8 broken")
    (images / "notes.txt").write_text("no image")
    boxes = [
        entry(name, category, box, score)
        for name in ("a.jpg", "b_12.png")
        for category, box, score in ((PERSON, [10, 5, 20, 40], 0.9), (BALL, [30, 20, 10, 10], 0.8))
    ]
    boxes.append(entry("a.jpg", BALL, [60, 20, 10, 10], 0.7))
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return tmp_path


def run(folder, options=OPTIONS, model=None):
    paths = predict_py.collect_images([str(folder / "in")])
    detections = DetectionFile(folder / "boxes.json", SCENES)
    arguments = (paths, detections, model or FakeModel(), SCENES, options, folder / "out", {"system": "fake"})
    failures = predict_py.predict_images(*arguments)
    return failures, json.loads((folder / "out" / "predictions.json").read_text())


def test_json_has_every_readable_image_with_boxes_in_original_pixels(folder):
    failures, content = run(folder)
    assert failures == 1
    assert [image["file_name"] for image in content["images"]] == ["a.jpg", "b_12.png", "d.png"]
    assert content["images"][1]["image_id"] == 12 and content["images"][0]["image_id"] is None
    assert (content["images"][0]["width"], content["images"][0]["height"]) == (200, 100)
    first = content["images"][0]["pairs"][0]
    assert first == {
        "human_xyxy_px": [10.0, 5.0, 30.0, 45.0],
        "human_score": pytest.approx(0.9),
        "object": "ball",
        "object_xyxy_px": [30.0, 20.0, 40.0, 30.0],
        "object_score": pytest.approx(0.8),
        "interactiveness": pytest.approx(0.75),
        "score": pytest.approx(0.9),
        "verbs": [{"verb": "kick", "score": pytest.approx(0.9)}, {"verb": "hold", "score": pytest.approx(0.5)}],
    }
    assert content["vocabulary"] == "hoi_scenes" and content["system"] == "fake"


def test_suppressed_pairs_are_left_out(folder):
    assert len(run(folder)[1]["images"][0]["pairs"]) == 1


def test_a_damaged_image_is_named_and_the_others_go_on(folder, capsys):
    _, content = run(folder)
    assert [f["file_name"] for f in content["failed"]] == ["c.jpg"]
    printed = capsys.readouterr().err
    assert "error:" in printed and "c.jpg" in printed and "[4/4]" in printed


def test_an_image_without_boxes_is_drawn_empty_and_reported(folder, capsys):
    _, content = run(folder)
    printed = capsys.readouterr()
    last = content["images"][2]
    assert last["pairs"] == [] and last["num_detections"] == 0
    assert (folder / "out" / last["drawn"]).is_file()
    assert "d.png: has no boxes" in printed.err and "d.png: no scores of" in printed.out


def test_the_best_triplets_of_an_image_are_printed(folder, capsys):
    run(folder)
    assert "a.jpg: kick ball 0.90, hold ball 0.50\n" in capsys.readouterr().out


def test_drawn_images_hold_more_than_the_photograph(folder):
    _, content = run(folder)
    drawn = np.asarray(Image.open(folder / "out" / content["images"][0]["drawn"])).astype(int)
    assert drawn.shape == (320, 640, 3)
    assert (np.abs(drawn - [120, 130, 90]).max(-1) > 60).mean() > 0.01


def test_all_batches_have_one_shape(folder):
    model = FakeModel()
    run(folder, model=model)
    assert len(model.shapes) == 1  # a and b fill one batch, d has no boxes and asks for none
    model = FakeModel()
    run(folder, predict_py.Options(SIZES, batch_size=1), model)
    assert len(model.shapes) == 2 and model.shapes[0] == model.shapes[1]


def test_batch_size_changes_nothing(folder):
    results = [run(folder, predict_py.Options(SIZES, batch_size=n))[1] for n in (1, 2, 5)]
    assert results[0] == results[1] == results[2]


def test_weak_verbs_and_those_beyond_the_top_are_left_out(folder):
    strict = predict_py.Options(SIZES, min_score=0.6)
    assert [v["verb"] for v in run(folder, strict)[1]["images"][0]["pairs"][0]["verbs"]] == ["kick"]
    one = predict_py.Options(SIZES, min_score=0.0, top=1)
    assert [v["verb"] for v in run(folder, one)[1]["images"][0]["pairs"][0]["verbs"]] == ["kick"]


def test_nothing_is_drawn_when_told_so(folder):
    _, content = run(folder, predict_py.Options(SIZES, draw=False))
    assert "drawn" not in content["images"][0] and not (folder / "out" / "drawn").exists()


def test_verbs_without_an_object_come_from_the_people():
    alone = [v for v, role in enumerate(ACTIONS.verb_role) if role < 0]
    with_role = ACTIONS.verb_role.index(0)
    scores = np.zeros((1, 2, len(ACTIONS.verbs)), np.float32)
    scores[0, 0, alone[0]], scores[0, 0, with_role], scores[0, 1, alone[0]] = 0.8, 0.9, 0.7
    predictions = {
        "agent_xyxy_px": np.array([[[1, 2, 3, 4], [0, 0, 1, 1]]], np.float32),
        "agent_scores": scores,
        "agent_valid": np.array([[True, False]]),
    }
    pairs = pairs_of_image(predictions, 0, np.array([2.0, 3.0]), ACTIONS, min_score=0.1, top=9)
    assert len(pairs) == 1
    assert pairs[0]["human_xyxy_px"] == [2.0, 6.0, 6.0, 12.0] and pairs[0]["object"] is None
    assert [v["verb"] for v in pairs[0]["verbs"]] == [ACTIONS.verbs[alone[0]]]


def test_a_person_has_at_most_so_many_verbs_and_doing_nothing_is_none():
    predictions = FakeModel()({
        "batch_valid": np.ones(1, bool),
        "detections_xyxy_px": np.float32([[[0, 0, 9, 9], [1, 1, 2, 2], [3, 3, 4, 4], [5, 5, 6, 6]]]),
        "detections_class": np.int32([[PERSON, BALL, BALL, BALL]]),
        "detections_score": np.ones((1, 4), np.float32),
        "detections_valid": np.ones((1, 4), bool),
    })  # fmt: skip
    quiet = SCENES.no_interaction
    predictions["verb_scores"][0, 0, quiet], predictions["verb_scores"][0, 2, HOLD] = 0.95, 0.7
    predictions["human_xyxy_px"] = predictions["human_xyxy_px"].copy()

    def rows(limit):
        pairs = pairs_of_image(predictions, 0, np.ones(2), SCENES, min_score=0.2, top=9, per_person=limit)
        return [(pair["object_xyxy_px"][0], [SCENES.verbs.index(v["verb"]) for v in pair["verbs"]]) for pair in pairs]

    assert rows(None) == [(1.0, [quiet, KICK, HOLD]), (5.0, [HOLD])]
    assert rows(3) == [(1.0, [KICK, HOLD]), (5.0, [HOLD])]
    assert rows(2) == [(1.0, [KICK]), (5.0, [HOLD])]
    assert rows(1) == [(1.0, [KICK])]
    predictions["human_xyxy_px"][0, 2] += 1  # another person
    assert rows(1) == [(1.0, [KICK]), (5.0, [HOLD])]


def test_doing_nothing_is_not_drawn():
    pair = {"human_xyxy_px": [0, 0, 1, 1], "object_xyxy_px": None, "object": None, "verbs": []}
    quiet = {**pair, "verbs": [{"verb": "no_interaction", "score": 0.9}]}
    busy = {**pair, "verbs": [{"verb": "sit_on", "score": 0.9}]}
    drawn = interactions_of([quiet, pair, busy], get_vocabulary("hoi_scenes"))
    assert [interaction.verbs for interaction in drawn] == [(("sit on", 0.9),)]


def test_roles_are_not_drawn():
    pair = {"human_xyxy_px": [0, 0, 1, 1], "object_xyxy_px": [0, 0, 2, 2], "object": "cell phone"}
    pair["verbs"] = [{"verb": "talk_on_phone_instr", "score": 0.5}, {"verb": "hold_obj", "score": 0.4}]
    drawn = interactions_of([pair], get_vocabulary("vcoco"))
    assert drawn[0].verbs == (("talk on phone", 0.5), ("hold", 0.4))


def test_images_of_one_name_in_two_folders_do_not_overwrite_each_other():
    names = set()
    assert [_unused("a", names) for _ in range(3)] == ["a", "a-2", "a-3"]


def test_folders_give_their_images_in_order_and_wrong_paths_are_named(folder, tmp_path):
    names = [p.name for p in predict_py.collect_images([str(folder / "in")])]
    assert names == ["a.jpg", "b_12.png", "c.jpg", "d.png"]
    with pytest.raises(DataError, match="nowhere"):
        predict_py.collect_images([str(folder / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="the folder has no images"):
        predict_py.collect_images([str(tmp_path / "empty")])


def test_a_missing_checkpoint_is_one_clear_line_and_status_2(folder, capsys):
    arguments = [str(folder / "in"), "--checkpoint", str(folder / "none"), "--detections", str(folder / "boxes.json")]
    assert predict_py.main(arguments) == 2
    printed = capsys.readouterr().err
    assert "none" in printed and "no checkpoints here" in printed and "Traceback" not in printed


def test_the_whole_command_with_a_stand_in_for_the_checkpoint(folder, monkeypatch, capsys):
    config = {"system": "fake", "sizes": {"image_hw": [64, 64], "instances": 1, "detections": 4, "pairs": 1}}
    monkeypatch.setattr(predict_py, "load_predictor", lambda workdir, which, **rules: (FakeModel(), SCENES, config, 40))
    arguments = [str(folder / "in"), "--checkpoint", "x", "--detections", str(folder / "boxes.json")]
    assert predict_py.main([*arguments, "--out", str(folder / "out")]) == 1
    assert "3 images, 1 could not be read" in capsys.readouterr().out
    (folder / "in" / "c.jpg").unlink()
    assert predict_py.main([*arguments, "--out", str(folder / "out")]) == 0
    assert json.loads((folder / "out" / "predictions.json").read_text())["step"] == 40


def test_an_unknown_category_is_status_2_and_names_the_entry(folder, monkeypatch, capsys):
    config = {"system": "fake", "sizes": {"image_hw": [64, 64], "instances": 1, "detections": 4, "pairs": 1}}
    monkeypatch.setattr(predict_py, "load_predictor", lambda workdir, which, **rules: (FakeModel(), SCENES, config, 40))
    (folder / "boxes.json").write_text(json.dumps([entry("a.jpg", 77, [0, 0, 5, 5], 0.5)]))
    assert predict_py.main([str(folder / "in"), "--checkpoint", "x", "--detections", str(folder / "boxes.json")]) == 2
    assert "detection 0: unknown 'category_id' 77" in capsys.readouterr().err
