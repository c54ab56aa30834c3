"""Builders of HICO and MPII, from label files in the official layouts (written by SciPy)."""

from io import BytesIO

import numpy as np
import pytest
import scipy.io
from PIL import Image

from configs import defr_hoi_scenes, defr_mpii
from data_prep import build as command
from data_prep.builder import build
from data_prep.hico import hico_source
from data_prep.mpii import mpii_source, read_mpii
from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.data.records import RecordFiles, read_meta
from hoi_jax.experiment import load_experiment, train_pipeline
from hoi_jax.systems.defr.prompts import class_prompts
from hoi_jax.vocab import get_vocabulary

# (file name, training part, category, activity, id); the id -1 stands for no label, as in the official file.
ROWS = [
    ("015601864.jpg", 1, "bicycling", "bicycling, mountain", 7),
    ("015599452.jpg", 1, "sports", "curling", 3),
    ("005808361.jpg", 0, [], [], -1),
    ("086617615.jpg", 1, [], [], -1),
    ("060111501.jpg", 1, "sports", "standing", 40),
    ("070807258.jpg", 1, "home activities", "standing", 12),
    ("002058449.jpg", 1, "sports", "curling", 3),
]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in [row[0] for row in ROWS] + [
        f"HICO_{part}2015_0000000{n}.jpg" for part in ("train", "test") for n in (1, 3)
    ]:
        stream = BytesIO()
        Image.new("RGB", (40, 30), (90, 120, 30)).save(stream, "JPEG")
        (folder / name).write_bytes(stream.getvalue())
    return folder


def struct(rows, column=False):
    table = np.zeros((1, len(rows)), [(name, object) for name in rows[0]])
    for place, row in enumerate(rows):
        for name, value in row.items():
            table[name][0, place] = value
    return table.T if column else table


def mpii_mat(path, rows=ROWS):
    """RELEASE as published: annolist and img_train are rows, act is a column."""
    release = {
        "annolist": struct([{"image": struct([{"name": row[0]}]), "annorect": [], "vididx": 1} for row in rows]),
        "img_train": np.array([[row[1] for row in rows]], np.uint8),
        "version": "12",
        "act": struct([{"cat_name": row[2], "act_name": row[3], "act_id": np.int32(row[4])} for row in rows], True),
    }
    scipy.io.savemat(path, {"RELEASE": struct([release])}, do_compression=True)
    return path


def hico_mat(path):
    variables = {}
    for split, ambiguous in (("train", 0.0), ("test", np.nan)):
        labels = np.full((600, 2), np.nan)
        labels[:3, 0], labels[:2, 1] = [1, -1, ambiguous], [-1, 1]
        names = np.array([f"HICO_{split}2015_00000001.jpg", f"HICO_{split}2015_00000003.jpg"], object)[:, None]
        variables |= {f"anno_{split}": labels, f"list_{split}": names}
    scipy.io.savemat(path, variables, do_compression=True)
    return path


def test_hico_keeps_ambiguous_and_unknown_labels(tmp_path, images):
    directory = build(hico_source("hico", hico_mat(tmp_path / "anno.mat"), images), tmp_path / "data")
    labels = Annotations.load(directory / "annotations_train.npz").image_labels(600)
    assert labels[:, :4].tolist() == [[1, -1, 0, -2], [-1, 1, -2, -2]]
    assert Annotations.load(directory / "annotations_test.npz").image_labels(600)[0, 2] == -2
    record = next(RecordFiles(directory, "test").numpy_records())
    assert record["file_name"] == b"HICO_test2015_00000001.jpg" and record["original_hw_px"].tolist() == [30, 40]
    assert record["hoi_labels"].shape == (600,) and len(record["instances_class"]) == 0


def test_a_broken_image_of_hico_is_an_error_or_left_out_by_name(tmp_path, images, capsys):
    (images / "HICO_train2015_00000003.jpg").write_bytes(b"\xff\xd8 broken")
    labels = hico_mat(tmp_path / "anno.mat")
    with pytest.raises(io.CorruptFileError, match="HICO_train2015_00000003"):
        list(hico_source("hico", labels, images).splits["train"][1]())
    found = list(hico_source("hico", labels, images, skip_unreadable=True).splits["train"][1]())
    assert [record["image_id"] for record in found] == [0]
    assert "left out" in capsys.readouterr().err


def test_hico_refuses_other_shapes_and_numbers(tmp_path, images):
    names = np.array(["a.jpg"], object)[:, None]
    for labels, message in ((np.zeros((599, 1)), "shape"), (np.full((600, 1), 2.0), "numbers other than")):
        scipy.io.savemat(tmp_path / "bad.mat", {"anno_train": labels, "list_train": names})
        with pytest.raises(io.CorruptFileError, match=f"anno_train.*{message}"):
            hico_source("hico", tmp_path / "bad.mat", images)


def test_mpii_classes_are_the_labelled_activities_by_id(tmp_path):
    table = read_mpii(mpii_mat(tmp_path / "mpii.mat"))
    assert table.activities == (
        "curling", "bicycling, mountain", "standing, home activities", "standing, sports",
    )  # fmt: skip
    assert table.categories == ("sports", "bicycling", "home activities", "sports")
    assert table.activity.tolist() == [1, 0, -1, -1, 3, 2, 0]
    assert table.training.tolist() == [True, True, False, True, True, True, True]


def test_an_activity_of_two_names_or_a_missing_field_is_refused(tmp_path):
    with pytest.raises(io.CorruptFileError, match="record 7: activity 3"):
        read_mpii(mpii_mat(tmp_path / "mpii.mat", [*ROWS, ("x.jpg", 1, "sports", "golf", 3)]))
    with pytest.raises(io.CorruptFileError, match="record 7: malformed"):
        read_mpii(mpii_mat(tmp_path / "mpii.mat", [*ROWS, ("x.jpg", 1, "sports", [], 3)]))
    scipy.io.savemat(tmp_path / "other.mat", {"RELEASE": struct([{"annolist": 1}])})
    with pytest.raises(io.CorruptFileError, match="img_train"):
        read_mpii(tmp_path / "other.mat")


def test_mpii_is_built_from_the_command_and_feeds_defr(tmp_path, images, capsys):
    mpii_mat(tmp_path / "mpii.mat")
    (tmp_path / "train.txt").write_text("images/015601864.jpg\n015599452.jpg\n\n060111501.jpg\n")
    (tmp_path / "val.txt").write_text("070807258.jpg\n")
    files = [str(tmp_path / "mpii.mat"), f"train={tmp_path / 'train.txt'}", f"val={tmp_path / 'val.txt'}"]
    arguments = ["mpii", "--images", str(images), "--data-dir", str(tmp_path), "--annotations"]
    assert command.main([*arguments, *files]) == 0
    assert "mpii train: 3 images" in capsys.readouterr().out
    name = f"file:{tmp_path / 'mpii_activities.json'}"
    assert read_meta(tmp_path / "mpii")["pairs_vocabulary"] == name
    vocabulary = get_vocabulary(name)
    assert class_prompts(vocabulary)[:2] == ("a person curling", "a person bicycling, mountain")
    assert vocabulary.hoi_name(1) == "bicycling, mountain"

    config = defr_mpii.get_config("backbone=b32,init=random").to_dict()
    config["dataset"]["vocabulary"] = name
    config |= {"batch_size": 3, "sizes": {"image_hw": (32, 32), "instances": 1, "detections": 1, "pairs": 1}}
    small = defr_hoi_scenes.get_config().model.backbone.to_dict()
    config["model"] |= {"backbone": small, "inputs": {"size": 32}}
    experiment = load_experiment(config)
    system = experiment.build_system()
    batch = next(train_pipeline(experiment, tmp_path / "mpii", system.needs_train).train_batches(0))
    assert sorted((batch["hoi_labels"] == 1).argmax(1).tolist()) == [0, 1, 3]
    assert (batch["hoi_labels"] == 1).sum() == 3


def test_without_lists_the_parts_of_the_file_are_the_splits_and_unlabelled_images_are_left_out(tmp_path, images):
    source = mpii_source("mpii", mpii_mat(tmp_path / "mpii.mat"), images, tmp_path / "classes.json")
    assert {split: count for split, (count, _) in source.splits.items()} == {"train": 5}
    (tmp_path / "list.txt").write_text("005808361.jpg")
    with pytest.raises(io.DataError, match="1 images have no activity, for example '005808361.jpg'"):
        mpii_source("mpii", tmp_path / "mpii.mat", images, tmp_path / "c.json", {"test": tmp_path / "list.txt"})


@pytest.mark.parametrize("content", [{"activities": "curling"}, {"activities": []}, {"activities": ["a", "a"]}, []])
def test_a_damaged_list_of_classes_is_refused_by_file(tmp_path, content):
    io.write_json_atomic(tmp_path / "classes.json", content)
    with pytest.raises(io.CorruptFileError, match="classes.json"):
        get_vocabulary(f"file:{tmp_path / 'classes.json'}")
    with pytest.raises(io.MissingFileError, match="data_prep.build"):
        get_vocabulary(f"file:{tmp_path / 'none.json'}")
