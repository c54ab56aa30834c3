"""Scores of datasets without HOI classes: the store's way equals the files' way, and PIC's files are read back."""

import dataclasses
import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import evaluate
from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.benchmark_files import evaluate_pic_files
from hoi_jax.evaluation.metrics.hoi_w import evaluate_hoi_w, evaluate_hoi_w_predictions
from hoi_jax.evaluation.metrics.pic import Scene, evaluate_pic
from hoi_jax.evaluation.scorer import Scorer
from hoi_jax.formats.labels.hoi_w import read_hoi_w
from hoi_jax.formats.predictions.detect import write_official
from hoi_jax.formats.predictions.hoi_w import hoi_w_results
from hoi_jax.predictions import PredictionWriter, load_predictions
from hoi_jax.vocab.datasets import HOI_W


def random_split(seed: int = 0, images: int = 6):
    """Annotations of random people, objects and interactions, and the same as HOI-W's label list."""
    rng = np.random.default_rng(seed)
    records, labels = [], []
    for image in range(images):
        low = rng.uniform(0, 60, (4, 2))
        boxes = np.concatenate([low, low + rng.uniform(10, 40, (4, 2))], axis=1).astype(np.float32)
        label = np.array([0, 0, *rng.integers(1, 11, 2)], np.int32)
        human, obj, verb = rng.integers(0, 2, 5), rng.integers(2, 4, 5), rng.integers(0, 10, 5)
        records.append((boxes, label, human, obj, verb))
        labels.append({
            "file_name": f"{image}.jpg",
            "annotations": [{"bbox": b.tolist(), "category_id": int(c) + 1}
                            for b, c in zip(boxes.astype(float), label, strict=True)],
            "hoi_annotation": [{"subject_id": int(h), "object_id": int(o), "category_id": int(v) + 1}
                               for h, o, v in zip(human, obj, verb, strict=True)],
        })  # fmt: skip
    return records, labels


def as_annotations(records) -> Annotations:
    columns = {
        "instances_xyxy_px": [r[0] for r in records], "instances_class": [r[1] for r in records],
        "pairs_human": [r[2] for r in records], "pairs_object": [r[3] for r in records],
        "pairs_verb": [r[4] for r in records],
    }  # fmt: skip
    count = len(records)
    tables = {"instances": 4, "pairs": 5, "persons": 0, "detections": 0, "hoi_labels": 0}
    counts = {name: np.full(count, rows) for name, rows in tables.items()}
    names = np.array([f"{i}.jpg" for i in range(count)])
    joined = {name: np.concatenate(rows) for name, rows in columns.items()}
    return Annotations("hoi_w", None, np.arange(count), np.full((count, 2), 100), names, counts, joined)


def test_stored_predictions_of_hoi_w_score_what_their_result_file_scores(tmp_path):
    records, labels = random_split()
    annotations = as_annotations(records)
    rng = np.random.default_rng(1)
    with PredictionWriter(tmp_path / "p.npz", "hoi_w") as writer:
        for image, (boxes, label, human, obj, verb) in enumerate(records):
            human, obj = np.append(human, 0), np.append(obj, 3)
            scores = rng.uniform(0, 0.3, (1, 6, 10)).astype(np.float32)
            scores[0, np.arange(5), verb] += rng.uniform(0, 0.7, 5)
            jitter = rng.normal(0, 4, (2, 6, 4)).astype(np.float32)
            writer.add(
                {"batch_valid": np.ones(1, bool), "image_id": np.array([image], np.int32),
                 "image_hw_px": np.full((1, 2), 100, np.int32), "original_hw_px": np.full((1, 2), 100, np.int32)},
                {"human_xyxy_px": (boxes[human] + jitter[0])[None], "object_xyxy_px": (boxes[obj] + jitter[1])[None],
                 "object_class": label[obj][None], "verb_scores": scores, "pair_valid": np.ones((1, 6), bool)},
            )  # fmt: skip
    predictions = writer.predictions()
    got = evaluate_hoi_w_predictions(predictions, annotations)
    truth, found, _ = read_hoi_w(labels, hoi_w_results(predictions, annotations))
    expected = evaluate_hoi_w(truth, found)
    assert 0.05 < expected.metrics["hoi_w/map_rel"] < 0.95
    for name, value in expected.per_class.items():
        np.testing.assert_allclose(got.per_class[name], value, atol=1e-12, err_msg=name)
    assert got.metrics == pytest.approx(dict(expected.metrics), abs=1e-12)
    # The same through the scorer of `evaluate.py`, and through the file that it writes.
    scorer = Scorer(load_predictions(tmp_path / "p.npz"), annotations, HOI_W, ("hoi_w",))
    assert scorer.results()["model"].metrics == pytest.approx(dict(expected.metrics), abs=1e-12)
    assert write_official(tmp_path / "official.json", scorer.predictions, annotations, scorer.vocabulary) == len(
        records
    )
    _, found, _ = read_hoi_w(labels, io.read_json(tmp_path / "official.json"))
    assert evaluate_hoi_w(truth, found).metrics == pytest.approx(dict(expected.metrics), abs=1e-12)
    with pytest.raises(ValueError, match="hoi_scenes"):
        evaluate_hoi_w_predictions(predictions, dataclasses.replace(annotations, vocabulary_name="hoi_scenes"))


def random_scene(rng, relations: int) -> Scene:
    instance = np.zeros((40, 50), np.int64)
    for number in range(1, 5):
        y, x = rng.integers(0, 25, 2)
        instance[y : y + 15, x : x + 20] = number
    classes = np.array([0, 1, 1, 7, 9])
    rows = np.column_stack(
        [rng.integers(1, 3, relations), rng.integers(3, 5, relations), rng.integers(1, 4, relations)]
    )
    return Scene(classes[instance], instance, rows, rng.random(relations))


def write_scenes(folder, scenes, scored: bool) -> None:
    rows = []
    for name, scene in scenes.items():
        for kind in ("semantic", "instance"):
            buffer = BytesIO()
            Image.fromarray(getattr(scene, kind).astype(np.uint8)).save(buffer, "PNG")
            io.write_bytes_atomic(folder / kind / f"{name}.png", buffer.getvalue())
        keys = ("subject", "object", "relation")
        relations = [dict(zip(keys, row, strict=True)) for row in scene.relations.tolist()]
        if scored:
            relations = [{**row, "score": score} for row, score in zip(relations, scene.scores.tolist(), strict=True)]
        rows.append({"name": f"{name}.jpg", "image_id": len(rows), "relations": relations})
    io.write_json_atomic(folder / "relations_val.json", rows)


def test_pics_files_score_what_the_scenes_score_and_the_command_prints_it(tmp_path, capsys):
    rng = np.random.default_rng(2)
    truth = {name: random_scene(rng, 4) for name in "abc"}
    found = {}
    for name in "ab":
        scene = truth[name]
        relations = np.concatenate([scene.relations[:2], random_scene(rng, 4).relations])
        found[name] = Scene(np.roll(scene.semantic, 1, 1), np.roll(scene.instance, 1, 1), relations, rng.random(6))
    for folder in ("truth", "found"):
        for kind in ("semantic", "instance"):
            (tmp_path / folder / kind).mkdir(parents=True)
    write_scenes(tmp_path / "truth", truth, scored=False)
    write_scenes(tmp_path / "found", found, scored=True)
    got = evaluate_pic_files(tmp_path / "found", tmp_path / "truth" / "relations_val.json")
    expected = evaluate_pic((scene, found.get(name)) for name, scene in truth.items())
    assert got.metrics == pytest.approx(dict(expected.metrics), nan_ok=True)
    assert got.metrics["pic/recall@100/0.5"] > 0 and got.manifest["num_predictions"] == 12
    arguments = ["--dataset", "pic", "--predictions", str(tmp_path / "found"), "--annotations", str(tmp_path / "truth")]
    assert evaluate.main([*arguments, "--out", str(tmp_path / "m.json")]) == 0
    assert "pic/recall@100" in capsys.readouterr().out
    assert json.loads((tmp_path / "m.json").read_text())["manifest"]["dataset"] == "pic"


def test_pic_results_without_maps_or_with_two_lists_are_refused(tmp_path):
    rng = np.random.default_rng(3)
    for kind in ("semantic", "instance"):
        (tmp_path / kind).mkdir()
    write_scenes(tmp_path, {"a": random_scene(rng, 2)}, scored=False)
    (tmp_path / "instance" / "a.png").unlink()
    with pytest.raises(io.DataError, match="instance map"):
        evaluate_pic_files(tmp_path, tmp_path)
    (tmp_path / "relations_other.json").write_text("[]")
    with pytest.raises(io.DataError, match="expected one"):
        evaluate_pic_files(tmp_path, tmp_path)
