"""evaluate.py --predictions: golden numbers from the command line, no JAX, a manifest that says what was done."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.io
from PIL import Image

import evaluate
from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.result import read_result
from hoi_jax.evaluation.postprocess.suppression import write_calibration
from hoi_jax.evaluation.scorer import evaluate_files, load_scorer
from hoi_jax.formats.labels.detect import read_annotations
from hoi_jax.formats.predictions.detect import read_predictions
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def hico_run(golden_dir, data_dir, tmp_path_factory):
    """One command in its own process, which fails if JAX or TensorFlow comes in."""
    out = tmp_path_factory.mktemp("hico") / "metrics.json"
    arguments = ["--predictions", golden_dir / "hico_eval_preds.npz", "--dataset", "hico_det", "--out", out]
    arguments += ["--annotations", data_dir / "hicodet_instances_test2015.json.gz", "--per-class"]
    arguments += ["--interactiveness-gt", data_dir / "interactiveness_gt_hico_det.npz"]
    program = (
        "import sys, evaluate\n"
        "code = evaluate.main(sys.argv[1:])\n"
        "loaded = {'jax', 'flax', 'tensorflow', 'torch', 'tensorflow_datasets'} & set(sys.modules)\n"
        "sys.exit(code or (f'imported {loaded}' if loaded else 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done, json.loads(out.read_text())


def test_the_command_gives_the_golden_hico_scores(hico_run, golden_dir):
    _, content = hico_run
    expected = io.read_npz(golden_dir / "hico_eval_results.npz")
    summary = io.read_json(golden_dir / "hico_eval_summary.json")
    for setting in ("default", "known_object"):
        np.testing.assert_allclose(
            content["per_class"][f"{setting}/ap"], expected[f"official_{setting}/ap"], rtol=0, atol=1e-12
        )
        for column in ("full", "rare", "non_rare"):
            assert content["metrics"][f"{setting}/{column}"] == pytest.approx(
                summary[f"official_{setting}"][column], abs=1e-12
            )


def test_the_command_gives_the_golden_interactiveness(hico_run, golden_dir):
    golden = io.read_json(golden_dir / "interactiveness_eval_summary.json")
    assert hico_run[1]["metrics"]["interactiveness/ap"] == pytest.approx(golden["hico_det"]["ap"], abs=1e-9)


def test_the_command_prints_a_table_the_rules_and_what_is_odd(hico_run):
    done, content = hico_run
    assert f"{'default/full':<32}{100 * content['metrics']['default/full']:>22.2f}" in done.stdout
    assert "images with a visible pair of the object" in done.stdout
    assert "ride bicycle" in done.stdout
    assert f"note: invalid combinations: {content['manifest']['input_counts']['invalid_combinations']}" in done.stderr


def test_the_manifest_says_what_two_results_must_share(hico_run, data_dir):
    manifest = hico_run[1]["manifest"]
    labels = read_annotations(data_dir / "hicodet_instances_test2015.json.gz")
    assert manifest["dataset"] == "hico_det" and manifest["split"] == "test"
    assert manifest["annotations_fingerprint"] == labels.fingerprint and manifest["num_images"] == labels.num_images
    assert manifest["protocol"]["name"] == "official" and manifest["protocol"]["thresholds"] == "matlab"
    assert manifest["known_object_source"] == "visible_pairs"
    assert manifest["predictions"]["format"] == "flat-npz" and manifest["detector"] is None
    assert set(manifest["versions"]) >= {"hoi_jax", "numpy", "python"}
    assert manifest["num_predictions"] == manifest["input_counts"]["num_predictions"] > 0


@pytest.mark.parametrize("split", ["val", "test"])
def test_flat_vcoco_on_the_command_line_is_golden_under_both_names(split, golden_dir, data_dir, tmp_path, capsys):
    out = tmp_path / "m.json"
    arguments = ["--predictions", golden_dir / f"vcoco_eval_{split}_preds.npz", "--dataset", "vcoco", "--out", out]
    arguments += ["--annotations", golden_dir / f"vcoco_eval_{split}_gt.npz"]
    if split == "test":
        arguments += ["--interactiveness-gt", data_dir / "interactiveness_gt_vcoco.npz"]
    assert evaluate.main([str(a) for a in arguments]) == 0
    metrics = json.loads(out.read_text())["metrics"]
    summary = io.read_json(golden_dir / "vcoco_eval_summary.json")[split]["summary"]
    names = {"agent/26": "agent_26", "role_s1/24": "s1_24", "role_s1/25": "s1_all25", "role_s2/24": "s2_24"}
    printed = capsys.readouterr().out
    for ours, theirs in names.items():
        assert metrics[ours] == pytest.approx(summary[theirs], abs=1e-6)
        assert ours in printed
    if split == "test":
        golden = io.read_json(golden_dir / "interactiveness_eval_summary.json")["vcoco"]["ap"]
        assert metrics["interactiveness/ap"] == pytest.approx(golden, abs=1e-9)


def hico_json(path, images):
    """HICO-DET's JSON with one pair per entry: (human box, object box, class), or nothing."""
    rows = [
        {"boxes_h": [i[0] for i in image], "boxes_o": [i[1] for i in image], "hoi": [i[2] for i in image]}
        for image in images
    ]
    names = [f"HICO_test2015_{number + 1:08d}.jpg" for number in range(len(images))]
    table = {"filenames": names, "size": [[100, 100]] * len(images), "annotation": rows, "correspondence": []}
    path.write_text(json.dumps(table))
    return path


def predictions_json(path, rows):
    """PPDM results: (image, human box, object box, class, score)."""
    entries = {}
    for image, human, obj, hoi, score in rows:
        name = f"HICO_test2015_{image + 1:08d}.jpg"
        entry = entries.setdefault(name, {"file_name": name, "predictions": [], "hoi_prediction": []})
        first = len(entry["predictions"])
        verb, category = HICO.hois[hoi][0] + 1, 5 if HICO.hois[hoi][1] == 4 else 2
        entry["predictions"] += [{"bbox": human, "category_id": 1}, {"bbox": obj, "category_id": category}]
        ends = {"subject_id": first, "object_id": first + 1}
        entry["hoi_prediction"].append({**ends, "category_id": verb, "score": score})
    path.write_text(json.dumps(list(entries.values())))
    return path


HUMAN, OBJECT = [11, 11, 40, 60], [31, 31, 80, 80]


def shifted(box):
    """The same box in the frame of predictions, which count from 0."""
    return [side - 1 for side in box]


@pytest.fixture
def small(tmp_path):
    """Two images with an airplane pair each, one of an unboxed airplane, one of nothing; three predictions."""
    labels = hico_json(tmp_path / "gt.json", [[(HUMAN, OBJECT, 0)], [(HUMAN, OBJECT, 0)], [], []])
    rows = [(image, shifted(HUMAN), shifted(OBJECT), 0, score) for image, score in ((3, 0.9), (2, 0.8), (0, 0.7))]
    return labels, predictions_json(tmp_path / "preds.json", rows)


def test_known_object_uses_image_labels_where_they_are_given(small, tmp_path):
    labels, predictions = small
    visible = evaluate_files(predictions, labels)
    assert visible.manifest["known_object_source"] == "visible_pairs"
    names = np.array([f"HICO_test2015_{n:08d}.jpg" for n in (1, 2, 3, 4)], object)[:, None]
    anno = np.full((600, 4), np.nan)
    anno[0, :2], anno[9, 2] = 1, 1  # The third image has an airplane that nobody could box.
    scipy.io.savemat(tmp_path / "anno.mat", {"anno_test": anno, "list_test": names})
    labelled = evaluate_files(predictions, labels, image_labels=tmp_path / "anno.mat")
    assert labelled.manifest["protocol"]["known_object_source"] == "image_labels"
    # 11 points: recall reaches 0.5, so six thresholds see the precision of the one hit, at rank 3, 1 and 2.
    assert visible.per_class["default/ap"][0] == pytest.approx(6 / 11 / 3)
    assert visible.per_class["known_object/ap"][0] == pytest.approx(6 / 11)
    assert labelled.per_class["known_object/ap"][0] == pytest.approx(6 / 11 / 2)


def test_classes_without_ground_truth_are_null(small, tmp_path):
    labels, predictions = small
    arguments = ["--predictions", str(predictions), "--annotations", str(labels), "--out", str(tmp_path / "m.json")]
    assert evaluate.main(arguments) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["per_class"]["default/ap"][1] is None and content["metrics"]["default/rare"] is None
    assert np.isnan(read_result(tmp_path / "m.json").metrics["default/rare"])


def test_no_predictions_at_all_score_zero_and_are_reported(small, tmp_path, capsys):
    (tmp_path / "none.json").write_text("[]")
    arguments = ["--predictions", str(tmp_path / "none.json"), "--annotations", str(small[0])]
    assert evaluate.main([*arguments, "--out", str(tmp_path / "m.json")]) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["metrics"]["default/full"] == 0 and content["metrics"]["known_object/full"] == 0
    assert content["manifest"]["input_counts"]["images_without_predictions"] == 4
    assert "images without predictions: 4" in capsys.readouterr().err


def test_interactiveness_and_suppression_come_from_another_network_where_asked(small, tmp_path, capsys):
    labels, predictions = small
    annotations = read_annotations(labels)
    loaded = read_predictions(predictions, HICO, annotations)
    first = loaded.image_id[loaded.pair_image] == 0  # the only right prediction, and the one with the lowest score
    source = dataclasses.replace(loaded, pair_interactiveness=np.where(first, 0.9, 0.1).astype(np.float32))
    source.save(tmp_path / "source.npz")
    thresholds = np.full(len(HICO.hois), 0.5)
    write_calibration(tmp_path / "calibration.json", thresholds, source, "test", HICO)
    arguments = ["--predictions", str(predictions), "--annotations", str(labels), "--out", str(tmp_path / "m.json")]
    joined = [*arguments, "--interactiveness-from", str(tmp_path / "source.npz")]
    scores = []
    for extra in (arguments, joined, [*joined, "--calibration", str(tmp_path / "calibration.json")]):
        assert evaluate.main(extra) == 0
        scores.append(json.loads((tmp_path / "m.json").read_text())["metrics"]["default/full"])
    # One of two true pairs is found: 6 of 11 recalls, at precision 1/3 before suppression and 1 after it.
    assert scores == pytest.approx([6 / 11 / 3, 6 / 11 / 3, 6 / 11])
    few = dataclasses.replace(source, image_id=source.image_id + 1000)
    few.save(tmp_path / "few.npz")
    assert evaluate.main([*arguments, "--interactiveness-from", str(tmp_path / "few.npz")]) == 2
    assert "lack" in capsys.readouterr().err


@pytest.fixture
def two(small, tmp_path):
    """The labels, three predictions, and the same without the right one's baselines."""
    labels, first = small
    better = predictions_json(tmp_path / "better.json", [(0, shifted(HUMAN), shifted(OBJECT), 0, 0.7)])
    return labels, first, better


def test_two_files_are_scored_side_by_side_and_paired(two, tmp_path, capsys):
    labels, worse, better = two
    arguments = ["--predictions", str(better), "--against", str(worse), "--annotations", str(labels)]
    arguments += ["--bootstrap", "50", "--out", str(tmp_path / "m.json")]
    assert evaluate.main(arguments) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["metrics"]["default/full"] == pytest.approx(6 / 11)
    assert content["compared"]["against"]["default/full"] == pytest.approx(6 / 11 / 3)
    found = content["differences"]["against"]["default/full"]
    assert found["difference"] == pytest.approx(6 / 11 * 2 / 3) and found["low"] < found["difference"] < found["high"]
    assert content["differences"]["against"]["default/rare"] == {"difference": None, "low": None, "high": None}
    assert "model minus against, paired by image" in capsys.readouterr().out
    same = ["--predictions", str(better), "--against", str(better), *arguments[4:]]
    assert evaluate.main(same) == 0
    spread = json.loads((tmp_path / "m.json").read_text())["differences"]["against"]["default/full"]
    assert spread == {"difference": 0, "low": 0, "high": 0}


def test_the_report_of_two_files_says_who_is_better_and_shows_where(two, tmp_path):
    labels, worse, better = two
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (100, 100), (7, 130, 30)).save(tmp_path / "photos" / "HICO_test2015_00000001.jpg")
    arguments = ["--predictions", str(better), "--against", str(worse), "--annotations", str(labels)]
    arguments += ["--bootstrap", "50", "--report", str(tmp_path / "r.html"), "--images", str(tmp_path / "photos")]
    assert evaluate.main(arguments) == 0
    text = (tmp_path / "r.html").read_text()
    for words in ("better against preds", "clearly better", "AP better", "AP preds", "difference", "Kinds of errors"):
        assert words in text
    # The right one stands above nothing wrong in either file's first image, so the two differ in none.
    assert "Images with the largest difference" not in text and "Calibration" not in text


def test_reports_of_files_with_benchmarks_of_their_own_layout_are_refused(small, capsys):
    inapplicable = (["--report", "r.html"], ["--bootstrap", "100"], ["--subsets", "sparse"], ["--metrics", "nis"])
    for more in (*inapplicable, ["--protocol", "qpic"], ["--write-official", "x"], ["--images", "folder"]):
        for dataset in ("hoi_w", "pic"):
            assert evaluate.main(["--predictions", "a", "--annotations", "b", "--dataset", dataset, *more]) == 2
            assert f"{more[0]} does not apply to {dataset}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate.main(["--workdir", "a", "--against", "b.json"])
    assert "need --predictions" in capsys.readouterr().err


def test_protocols_are_chosen_by_name(small):
    labels, predictions = small
    skipping = evaluate_files(predictions, labels, protocol="upt")
    assert skipping.manifest["protocol"]["name"] == "upt"
    assert skipping.per_class["default/ap"][0] == pytest.approx(6 / 11)  # both false positives are in empty images


def test_subsets_and_the_official_files_come_from_one_command(small, tmp_path):
    labels, predictions = small
    arguments = ["--predictions", str(predictions), "--annotations", str(labels), "--subsets", "sparse", "crowded"]
    arguments += ["--write-official", str(tmp_path / "mat"), "--out", str(tmp_path / "m.json")]
    assert evaluate.main(arguments) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["metrics"]["subset/sparse/default/full"] == pytest.approx(6 / 11)
    assert content["metrics"]["subset/crowded/default/full"] is None
    again = evaluate_files(tmp_path / "mat", labels)
    np.testing.assert_array_equal(
        again.per_class["default/ap"], content["per_class"]["default/ap"][:1] + [np.nan] * 599
    )


def test_nis_is_scored_with_and_without(small, tmp_path):
    labels, predictions = small
    split = read_annotations(labels)
    loaded = read_predictions(predictions, HICO, split)
    loaded.pair_nis_keep[:] = loaded.triplet_score < 0.75
    loaded.save(tmp_path / "s.npz")
    arguments = ["--predictions", str(tmp_path / "s.npz"), "--annotations", str(labels)]
    assert evaluate.main([*arguments, "--metrics", "hoi", "nis", "--out", str(tmp_path / "m.json")]) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["metrics"]["default/full"] == pytest.approx(6 / 11)
    assert content["compared"]["no_suppression"]["default/full"] == pytest.approx(6 / 11 / 3)
    assert content["manifest"]["pairs_suppressed"] == 2 and "nis/reduction" in content["metrics"]


def run(capsys, *arguments):
    """(exit status, what is printed as an error)."""
    code = evaluate.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


def test_errors_name_the_file_and_give_status_two(small, tmp_path, capsys):
    labels, predictions = small
    (tmp_path / "broken.json").write_text('[{"file_name": "a.jpg", "predictions": [], "hoi_prediction": [{}]}]')
    cases = [
        (tmp_path / "no.npz", labels, (), "no.npz: no such file"),
        (tmp_path / "broken.json", labels, (), "broken.json: record 0: hoi_prediction 0: field 'score'"),
        (predictions, predictions, (), "preds.json: is JSON of no known label layout"),
        (predictions, labels, ("--dataset", "vcoco"), "gt.json: labels use vocabulary 'hico_det', expected 'vcoco'"),
        (predictions, labels, ("--protocol", "ofical"), "official"),
        (predictions, labels, ("--interactiveness-gt", labels), "gt.json: not a readable npz file"),
        (predictions, labels, ("--metrics", "image"), "image"),
    ]
    for prediction, annotation, more, message in cases:
        code, error = run(capsys, "--predictions", prediction, "--annotations", annotation, *more)
        assert code == 2 and error.startswith("error: ") and message in error, (message, error)


def test_a_protocol_of_hoi_classes_is_refused_for_vcoco(golden_dir, capsys):
    files = golden_dir / "vcoco_eval_val_preds.npz", golden_dir / "vcoco_eval_val_gt.npz"
    code, error = run(capsys, "--predictions", files[0], "--annotations", files[1], "--protocol", "qpic")
    assert code == 2 and "'qpic' is for HOI classes" in error


def test_published_interactiveness_of_another_shape_is_refused(small, tmp_path, capsys):
    np.savez(tmp_path / "gt.npz", image_key=np.array([1]), count=np.array([2]), boxes=np.zeros((1, 8)))
    files = ["--predictions", small[1], "--annotations", small[0]]
    code, error = run(capsys, *files, "--interactiveness-gt", tmp_path / "gt.npz")
    assert code == 2 and "gt.npz: " in error and "'count'" in error


def test_pair_labels_of_vcoco_never_give_an_official_name(data_dir, golden_dir):
    scorer = load_scorer(golden_dir / "vcoco_eval_test_preds.npz", data_dir / "vcoco_instances_test.json.gz")
    assert scorer.metrics == ("role_pairs", "agent_pairs")
    metrics = scorer.result().metrics
    assert set(metrics) == {"pairs_role_ap/24", "pairs_agent_ap/22"} and metrics["pairs_role_ap/24"] > 0.2


def test_unknown_images_of_a_flat_vcoco_file_are_left_out_of_every_metric(golden_dir, data_dir, tmp_path):
    labels = read_annotations(golden_dir / "vcoco_eval_test_gt.npz")
    labels.select(np.arange(labels.num_images) < 50).save(tmp_path / "few.npz")
    result = evaluate_files(
        golden_dir / "vcoco_eval_test_preds.npz",
        tmp_path / "few.npz",
        interactiveness_gt=data_dir / "interactiveness_gt_vcoco.npz",
    )
    counts = result.manifest["input_counts"]
    assert result.manifest["num_images"] == 50 and counts["unknown_images"] > 4000
    assert result.manifest["interactiveness"]["num_detections"] < 2000
    assert 0.1 < result.metrics["interactiveness/ap"] < 0.63 and 0.2 < result.metrics["role_s1/24"] < 1


def test_hoi_w_files_are_scored_by_their_own_rules(golden_dir, tmp_path):
    golden = io.read_json(golden_dir / "cascade_eval.json")["hoiw_map"]["quirks"]
    for name in ("annotations", "predictions"):
        (tmp_path / f"{name}.json").write_text(json.dumps(golden["inputs"][name]))
    files = ["--predictions", str(tmp_path / "predictions.json"), "--annotations", str(tmp_path / "annotations.json")]
    assert evaluate.main([*files, "--dataset", "hoi_w", "--out", str(tmp_path / "m.json")]) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["metrics"]["hoi_w/map_rel"] == pytest.approx(golden["results"]["mAP"], abs=1e-9)
    assert content["manifest"]["dataset"] == "hoi_w"


def test_help_and_missing_arguments(capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in ("--interactiveness-gt", "--coco-instances", "qpic", "anno_bbox.mat", "--write-official"):
        assert word in text
    with pytest.raises(SystemExit) as stop:
        evaluate.main(["--predictions", "x"])
    assert stop.value.code == 2 and "--predictions needs --annotations" in capsys.readouterr().err


def test_action_labels_of_a_file_name_the_vocabulary(tmp_path, golden_dir):
    """A split with labels in two vocabularies is scored in the one of the store."""
    labels = read_annotations(golden_dir / "vcoco_eval_val_gt.npz")
    labels.save(tmp_path / "a.npz")
    predictions = read_predictions(golden_dir / "vcoco_eval_val_preds.npz", VCOCO, labels)
    predictions.save(tmp_path / "s.npz")
    scorer = load_scorer(tmp_path / "s.npz", tmp_path / "a.npz")
    assert scorer.vocabulary is VCOCO and scorer.metrics == ("actions",)
    Annotations.from_records([], "hoi_scenes").save(tmp_path / "other.npz")
    with pytest.raises(io.DataError, match="labels use vocabulary 'hoi_scenes', expected 'vcoco'"):
        load_scorer(tmp_path / "s.npz", tmp_path / "other.npz")


def test_intervals_and_their_draws_come_with_the_scores(golden_dir, tmp_path, capsys):
    arguments = ["--predictions", str(golden_dir / "vcoco_eval_val_preds.npz"), "--bootstrap", "20"]
    arguments += ["--annotations", str(golden_dir / "vcoco_eval_val_gt.npz"), "--out", str(tmp_path / "m.json")]
    assert evaluate.main(arguments) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    for name, interval in content["manifest"]["intervals"].items():
        assert interval["low"] < content["metrics"][name] < interval["high"]
    assert {"agent/26", "role_s1/24", "role_s2/24"} <= set(content["manifest"]["intervals"])
    assert len(content["manifest"]["bootstrap"]["samples"]["role_s1/24"]) == 20
    assert "(95 % interval)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate.main([*arguments[:-4], "--bootstrap", "1", *arguments[-4:]])
