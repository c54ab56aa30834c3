"""Random damage to every label layout and to images ends in labels or in an error that names the file, never else."""

import copy
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.images import ImageFolder
from hoi_jax import io
from hoi_jax.formats.labels.detect import open_labels, open_table
from hoi_jax.formats.labels.vcoco import CocoInstances
from hoi_jax.formats.labels.writers import write
from tests.helpers import coverage_fuzz, minis

EXAMPLES = int(os.environ.get("HOI_JAX_FUZZ", "60"))
"""Damaged files per test: HOI_JAX_FUZZ=100000 for a long run."""
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.sampled_from([2**31, 2**63, 10**400, -1, 0]),
    st.floats(), st.text(max_size=6), st.just([]), st.just({}), st.just([[]]), st.just([1, [2, [3]]]),
    st.just({"id": 1}), st.just("COCO_val2014_000000000007.jpg"),
)  # fmt: skip


def places(value, at=()):
    """Paths of all values inside parsed JSON."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*at, key))


def damaged(data, table):
    """`table` with one to three values replaced, removed or doubled."""
    table = copy.deepcopy(table)
    for _ in range(data.draw(st.integers(1, 3))):
        paths = [path for path in places(table) if path]
        if not paths:
            break
        path = data.draw(st.sampled_from(paths))
        target = table
        for key in path[:-1]:
            target = target[key]
        kind = data.draw(st.sampled_from(["replace", "remove", "double"]))
        if kind == "replace":
            target[path[-1]] = copy.deepcopy(data.draw(JUNK))  # Lists of JUNK are the same objects in every example.
        elif kind == "remove":
            del target[path[-1]]
        elif isinstance(target, list):
            target.insert(path[-1], copy.deepcopy(target[path[-1]]))
    return table


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minis")
    hico = io.read_json(minis.hico_json(folder / "instances_test2015.json", 2))
    hico |= {"correspondence": [], "objects": [], "verbs": []}  # What the reader does not look at.
    labels = open_table(hico, "x").annotations()
    vcoco = minis.vcoco(folder / "vcoco")
    coco = CocoInstances([folder / "vcoco" / "data" / "instances_vcoco_all_2014.json"])
    found = {
        "HICO-DET JSON": hico,
        "HAKE": write(labels, "hake"),
        "HOI-A": write(labels, "hoi_a"),
        "HOI-W": io.read_json(minis.hoi_w(folder / "hoi_w")["train"])[:2],
        "own": io.read_json(minis.own(folder / "own")["train"]),
        "PIC": io.read_json(minis.pic(folder / "pic")["train"])[:2],
        "V-COCO official": io.read_json(vcoco["val"]),
    }
    found["V-COCO official"] = found["V-COCO official"][:26]
    return found, coco, folder


LAYOUTS = ("HICO-DET JSON", "HAKE", "HOI-A", "HOI-W", "own", "PIC", "V-COCO official")


@pytest.mark.parametrize("layout", LAYOUTS)
@FUZZ
@given(data=st.data())
def test_damaged_labels_are_read_or_refused_by_name(tables, monkeypatch, layout, data):
    found, coco, folder = tables
    monkeypatch.setattr("hoi_jax.formats.labels.vcoco.CocoInstances", lambda paths: coco)
    table = damaged(data, found[layout])
    path = folder / "pic" / "relation" / "fuzz.json"
    try:
        labels = open_table(table, path, coco_instances=["coco"])
        annotations = labels.annotations()
        for row in range(len(labels)):
            labels.notes(row)
    except io.DataError as error:
        assert str(error)
        return
    except (TypeError, ValueError, KeyError) as error:
        # Notes are asked for after the columns were good, so that nothing else may come from them.
        raise AssertionError(f"an error without a type: {error!r}") from error
    boxes = annotations["instances_xyxy_px"]
    assert np.isfinite(boxes).all() and (boxes[:, 2:] >= boxes[:, :2]).all()


@FUZZ
@given(data=st.data())
def test_damaged_bytes_of_label_files_are_read_or_refused(tables, tmp_path, data):
    found, _, _ = tables
    text = bytearray(json.dumps(found["own"]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "x.json").write_bytes(bytes(text[: data.draw(st.integers(0, len(text)))]))
    try:
        open_labels(tmp_path / "x.json").annotations()
    except io.DataError as error:
        assert "x.json" in str(error)


@pytest.fixture(scope="module")
def mats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mats")
    return [minis.hico_det(folder / "a")["test"].read_bytes(), minis.hico(folder / "b")[""].read_bytes()]


@FUZZ
@given(data=st.data())
def test_damaged_mat_files_are_read_or_refused(mats, tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(mats)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "x.mat").write_bytes(bytes(content))
    try:
        open_labels(tmp_path / "x.mat").annotations()
    except io.DataError as error:
        assert "x.mat" in str(error)


IMAGES = [
    minis.make_image(Image.fromarray((np.arange(1200) % 256).astype(np.uint8).reshape(20, 20, 3)), kind)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
]


@FUZZ
@given(data=st.data())
def test_damaged_images_are_read_or_refused(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(IMAGES)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "x.png").write_bytes(bytes(content))
    try:
        stored, (height, width) = ImageFolder(tmp_path, upright=True).read("x.png")
    except io.DataError as error:
        assert "x.png" in str(error)
    else:
        assert height > 0 and width > 0 and stored


@pytest.mark.slow
def test_inputs_that_reach_new_code_are_changed_further_and_never_end_in_a_fault(tmp_path, capsys):
    """HOI_JAX_FUZZ inputs for each of ten parsers (2,000 unless it is set)."""
    inputs = str(int(os.environ.get("HOI_JAX_FUZZ", "2000")))
    assert coverage_fuzz.main(["--inputs", inputs, "--faults", str(tmp_path)]) == 0, sorted(tmp_path.iterdir())
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {name: counts for row in rows for name, counts in row.items()}
    assert len(found) == 10
    for name, counts in found.items():
        # Changed inputs reach code that good ones do not, and are refused there.
        assert counts["refused"] > 0 and counts["pairs"] > counts["first_pairs"], name
