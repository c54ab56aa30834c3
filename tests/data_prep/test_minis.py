"""Small copies of the datasets, as they lie on disk, from the check to batches (and, slow, to trained scores)."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from data_prep import build, check
from hoi_jax.annotations import Annotations
from hoi_jax.data.pipeline import Pipeline
from hoi_jax.data.records import RecordFiles, read_meta
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.formats.labels.detect import open_labels
from hoi_jax.vocab import get_vocabulary
from tests.helpers import minis
from tests.helpers.paths import ROOT
from tests.helpers.xla_flags import FAST

# Dataset -> (splits of its files, pairs per split, options of the build).
DATASETS = {
    "hico_det": ({"train": 4, "test": 3}, []),
    "vcoco": ({"train": 12, "val": 12, "test": 12}, ["--coco-instances", "data/instances_vcoco_all_2014.json"]),
    "hico": ({"train": None, "test": None}, []),
    "mpii": ({"train": None}, []),
    "hoi_w": ({"train": 4, "test": 4}, []),
    "pic": ({"train": 4, "val": 4}, []),
    "own": ({"train": 7, "test": 7}, ["--part-boxes"]),
}


def make(name, tmp_path):
    """The mini copy checked and built: (its folder, folder of the built records)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    files = getattr(minis, name)(folder)
    options = [str(folder / text) if text.startswith("data/") else text for text in DATASETS[name][1]]
    annotations = [f"{split}={path}" if split else str(path) for split, path in files.items()]
    arguments = [name, "--images", str(folder), "--data-dir", str(tmp_path / "data"), *options, "--annotations"]
    assert build.main([*arguments, *annotations]) == 0
    return folder, tmp_path / "data" / name


@pytest.fixture(scope="module", params=DATASETS)
def mini(request, tmp_path_factory):
    return request.param, *make(request.param, tmp_path_factory.mktemp(request.param))


def test_the_check_finds_the_files_and_nothing_wrong(mini, capsys):
    name, folder, _ = mini
    assert check.main([name, "--dir", str(folder), "--images", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"{name}: {len(DATASETS[name][0])} files, 0 errors" in out
    if name in ("hoi_w", "pic"):
        assert "relations left out" in out and "->" in out


def test_a_build_holds_what_the_files_say(mini):
    name, _, directory = mini
    meta = read_meta(directory)
    assert set(meta["splits"]) == set(DATASETS[name][0])
    for split, pairs in DATASETS[name][0].items():
        annotations = Annotations.load(directory / f"annotations_{split}.npz")
        assert annotations.num_images == minis.COUNT
        assert annotations.original_hw_px.tolist() == [list(minis.HW)] * minis.COUNT
        if pairs is None:
            labels = annotations.image_labels(int(annotations.counts["hoi_labels"][0]))
            assert ((labels == 1).sum(1) == 1).all()
        else:
            assert len(annotations["pairs_verb"]) == pairs
    if name == "own":
        records = list(RecordFiles(directory, "train").numpy_records())
        assert [len(mask) > 0 for mask in records[0]["instances_mask_png"]] == [False, True]
        assert records[0]["instances_parts_xyxy_px"][0].any() and not records[0]["instances_parts_xyxy_px"][1].any()
        assert get_vocabulary(meta["pairs_vocabulary"]).train_counts == (4, 2)


def test_what_was_built_equals_what_the_reader_gives(mini):
    name, folder, directory = mini
    if name in ("hico", "mpii"):
        return  # Their labels were compared above, number by number in test_hico_mpii.
    files = {
        "hico_det": "anno_bbox.mat", "vcoco": "data/vcoco/vcoco_{}.json", "hoi_w": "{}_2019.json",
        "pic": "relation/relations_{}.json", "own": "{}.json",
    }  # fmt: skip
    for split in DATASETS[name][0]:
        coco = [folder / "data" / "instances_vcoco_all_2014.json"] if name == "vcoco" else []
        labels = open_labels(folder / files[name].format(split), split=split, coco_instances=coco).annotations()
        built = Annotations.load(directory / f"annotations_{split}.npz")
        for column in labels.columns:
            if column != "instances_parts_xyxy_px":  # Computed by the build.
                np.testing.assert_array_equal(built[column], labels[column], err_msg=column)


def test_a_build_feeds_the_pipeline(mini):
    name, _, directory = mini
    vocabulary = get_vocabulary(str(read_meta(directory)["pairs_vocabulary"]))
    needs = {"image", "hoi_labels"} if name in ("hico", "mpii") else {"image", "instances_class", "pairs_verbs"}
    needs |= {"instances_mask"} if name in ("pic", "own") else set()
    pipeline = Pipeline(
        files=RecordFiles(directory, "train"),
        vocabulary=vocabulary,
        dataset=DatasetSettings(name, vocabulary.name),
        sizes=SizeSettings((64, 64), instances=8, detections=8, pairs=12, persons=8, mask_hw=(16, 16)),
        options=PipelineSettings(threads=1),
        augment=AugmentSettings(flip=0.5),
        needs=frozenset(needs),
        batch_size=4,
        seed=0,
    )
    batch = next(iter(pipeline.train_batches(0)))
    assert batch["image"].shape == (4, 64, 64, 3) and batch["image"].any()
    if "pairs_verbs" in needs:
        assert batch["pairs_verbs"].any((1, 2)).sum() >= 3
    if "instances_mask" in needs:
        assert batch["instances_mask"].any((2, 3)).sum() >= 4


def test_the_check_names_the_first_offenders_of_every_fault(tmp_path, capsys):
    files = minis.own(tmp_path)
    table = json.loads(files["train"].read_text())
    table["annotations"][0]["bbox"] = [60, 2, 19, 38]  # Out of the image.
    table["annotations"][2]["bbox"] = [5, 5, 0, 9]  # No area.
    table["annotations"][4]["category_id"] = 99
    table["images"][1]["file_name"] = "train_0.jpg"  # Twice.
    table["images"][3]["width"] = 999
    files["train"].write_text(json.dumps(table))
    (tmp_path / "images" / "train_2.jpg").unlink()
    assert check.main(["own", str(files["train"]), "--images", str(tmp_path / "images")]) == 1
    out = capsys.readouterr().out
    for text in (
        "train_0.jpg: [60, 2, 79, 40] in 64 x 48", "[5, 5, 5, 14]", "record 2 (train_2.jpg)", "category_id' is 99",
        "labels were made for 999 x 48", "missing images", "repeated names",
    ):  # fmt: skip
        assert text in out, text
    assert "-> " in out
    assert check.main(["vcoco", "--dir", str(tmp_path)]) == 2
    assert "no label file of vcoco" in capsys.readouterr().err


METRICS = {
    "hico_det": "default/full", "vcoco": "pairs_role_ap/24", "own": "default/full", "hico": "image/default",
    "mpii": "mpii/map", "hoi_w": "hoi_w/map_rel", "pic": "pic/recall@100",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Metrics of every dataset after one step; one process trains them all, since starting it is a large part."""
    root = tmp_path_factory.mktemp("trained")
    for name in DATASETS:
        (root / name).mkdir()
        make(name, root / name)
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.helpers.train_minis", str(root), str(root / "runs"), *DATASETS]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | flags, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {name: scores for line in lines for name, scores in line.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", DATASETS)
def test_a_mini_copy_trains_one_step_and_is_scored(trained, name):
    assert 0 <= trained[name][METRICS[name]] <= 100
    assert set(trained) == set(DATASETS)
