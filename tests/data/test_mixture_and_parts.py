"""Parts of splits, views of labels, mixed datasets, and stored feature maps."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.builder import DatasetSource, build
from data_prep.labels import distinct_boxes
from hoi_jax import vocab
from hoi_jax.data.feature_cache import META, cache_directory, open_cache
from hoi_jax.data.pipeline import Mixture, Pipeline
from hoi_jax.data.plan import source_of
from hoi_jax.data.records import base_and_part, part_mask
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.io import DataError, write_json_atomic
from hoi_jax.scenes import SceneSettings, make_scene
from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.tables import verb_map
from tests.helpers.pipelines import record_files, with_shared_graph

COUNT = 23
SCENES = SceneSettings(height_px=64, width_px=64)
NEEDS = frozenset({"pairs_human", "pairs_object", "pairs_verbs", "pairs_valid", "instances_class"})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    source = DatasetSource(
        name="hoi_scenes/parts",
        version="1.0.0",
        description="a few scenes",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="hoi_scenes_actions",
        splits={"train": (COUNT, lambda: (make_scene(SCENES, i) for i in range(COUNT)))},
    )
    return build(source, tmp_path_factory.mktemp("data"))


def pipeline(directory, *, vocabulary="hoi_scenes", labels="", split="train", needs=NEEDS, batch=1, **changes):
    made = Pipeline(
        files=record_files(directory, split),
        vocabulary=get_vocabulary(vocabulary),
        dataset=DatasetSettings("hoi_scenes/parts", vocabulary, labels=labels),
        sizes=SizeSettings((64, 64), instances=24, detections=24, pairs=64, persons=16),
        options=PipelineSettings(threads=1),
        augment=changes.pop("augment", AugmentSettings()),
        needs=needs,
        batch_size=batch,
        seed=3,
        **changes,
    )
    return made if made.features else with_shared_graph(made)


def ids(pipeline):
    return [int(i) for b in pipeline.eval_batches() for i in b["image_id"][b["batch_valid"]]]


def test_fit_and_held_out_share_nothing_and_are_the_whole_split(directory):
    whole, fit, held = (ids(pipeline(directory, split=s)) for s in ("train", "train:fit", "train:held_out"))
    assert sorted(fit + held) == sorted(whole) and not set(fit) & set(held)
    assert len(held) == part_mask("train:held_out", COUNT).sum() > 0
    assert [i for i in whole if i in set(held)] == held
    assert 800 < part_mask("train:held_out", 10_000).sum() < 1200
    with pytest.raises(ValueError, match="no part 'test'"):
        base_and_part("train:test")


def test_hoi_w_has_the_papers_numbers_of_images_to_train_and_to_validate():
    """C-HOI, section 4.1: 9,999 and 19,843 of 29,842; which ones is a rule of ours, listed in a file."""
    train, val = (np.flatnonzero(part_mask(f"train:ablation_{part}", 29_842)) for part in ("train", "val"))
    assert (len(train), len(val)) == (19_843, 9_999)
    assert sorted([*train, *val]) == list(range(29_842))
    listed = json.loads((Path(vocab.__file__).parent / "hoi_w_split.json").read_text())
    assert listed["validation"] == val.tolist()
    ranks = sorted(range(29_842), key=lambda i: hashlib.sha256(b"train/%d" % i).hexdigest())
    assert sorted(ranks[:9_999]) == val.tolist()
    assert part_mask("train:ablation_val", 12).sum() == 4 and part_mask("train:ablation_train", 12).sum() == 8


def test_a_view_says_interact_where_any_real_verb_is_annotated(directory):
    plain = next(pipeline(directory, batch=COUNT).eval_batches())
    view = next(pipeline(directory, batch=COUNT, vocabulary="interactive_scenes", labels="hoi_scenes").eval_batches())
    np.testing.assert_array_equal(view["pairs_valid"], plain["pairs_valid"])
    np.testing.assert_array_equal(view["pairs_verbs"][..., 0], plain["pairs_verbs"][..., 0])
    np.testing.assert_array_equal(view["pairs_verbs"][..., 1], plain["pairs_verbs"][..., 1:].any(axis=-1))
    assert view["pairs_verbs"][..., 1].any() and view["pairs_verbs"][..., 0].any()


def test_a_view_of_actions_keeps_pairs_with_objects_only(directory):
    labels = "hoi_scenes_actions"
    view = next(pipeline(directory, batch=COUNT, vocabulary="interactive_scenes", labels=labels).eval_batches())
    valid = view["pairs_valid"]
    assert valid.any() and (view["pairs_object"][valid] >= 0).all() and view["pairs_verbs"][valid][:, 1].all()


def test_verbs_map_to_views_and_other_objects_are_refused():
    scenes, view = get_vocabulary("hoi_scenes"), get_vocabulary("interactive_scenes")
    mapped = verb_map(scenes, view)
    assert [scenes.verbs[v] for v in np.flatnonzero(mapped == 0)] == ["no_interaction"]
    assert (verb_map(scenes, get_vocabulary("objects_scenes")) == 0).all()
    with pytest.raises(ValueError, match="same objects"):
        verb_map(get_vocabulary("vcoco"), view)
    assert len(get_vocabulary("interactive_coco").hois) == 160


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.2, 0.3, 0.5)])
def test_sources_come_in_their_shares_from_the_start(shares):
    for count in (50, 1000):
        met = np.bincount(source_of(np.arange(count), shares), minlength=len(shares)) / count
        np.testing.assert_allclose(met, shares, atol=3 / count**0.5 / 4)


def mixture(directory, **changes):
    sources = tuple(
        pipeline(directory, vocabulary="interactive_scenes", labels=labels, augment=AugmentSettings(flip=0.5))
        for labels in ("hoi_scenes", "hoi_scenes_actions")
    )
    return Mixture(sources, (0.5, 0.5), 4, **changes)


def take(iterator, count):
    return [next(iterator) for _ in range(count)]


def test_a_mixture_goes_on_at_any_step_and_splits_over_hosts(directory):
    whole = take(mixture(directory).train_batches(0), 5)
    later = take(mixture(directory).train_batches(3), 2)
    for a, b in zip(whole[3:], later, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    hosts = [take(mixture(directory, host=h, num_hosts=2).train_batches(0), 2) for h in (0, 1)]
    for step in range(2):
        joined = np.concatenate([hosts[0][step]["example_id"], hosts[1][step]["example_id"]])
        np.testing.assert_array_equal(joined, whole[step]["example_id"])
    source = np.concatenate([b["source_id"] for b in whole])
    example = np.concatenate([b["example_id"] for b in whole])
    np.testing.assert_array_equal(example >= COUNT, source == 1)
    assert set(source.tolist()) == {0, 1}


def stored(directory, mirrored=2):
    """A cache whose maps say which image, and which side, they are of."""
    target = cache_directory(directory, f"test{mirrored}")
    target.mkdir(parents=True, exist_ok=True)
    maps = np.zeros((mirrored, COUNT, 2, 2, 1), np.float16)
    maps += np.arange(COUNT)[None, :, None, None, None] + 100 * np.arange(mirrored)[:, None, None, None, None]
    np.save(target / "train.npy", maps)
    write_json_atomic(target / META, {"fingerprint": "f", "image_hw": [64, 64]})
    return target


def test_stored_maps_follow_examples_mirroring_and_parts(directory):
    cache = open_cache(stored(directory), "train", {"image_hw": [64, 64]}, COUNT, mirrored=True)
    needs = frozenset({"image_features", "instances_xyxy_px"})
    options = {"needs": needs, "features": cache, "batch": COUNT}
    plain = next(pipeline(directory, **options).eval_batches())
    np.testing.assert_array_equal(plain["image_features"][:, 0, 0, 0], np.arange(COUNT))
    always = pipeline(directory, augment=AugmentSettings(flip=1.0), **options)
    flipped = next(always.train_batches(0))
    np.testing.assert_array_equal(flipped["image_features"][:, 0, 0, 0], 100 + flipped["example_id"])
    held = pipeline(directory, split="train:held_out", **{**options, "batch": 2})
    first = next(held.eval_batches())["image_features"][:, 0, 0, 0]
    np.testing.assert_array_equal(first, np.flatnonzero(part_mask("train:held_out", COUNT))[:2])
    with pytest.raises(ValueError, match=r"no augment\.crop"):
        pipeline(directory, augment=AugmentSettings(crop=0.5), **options)


def test_a_cache_of_something_else_is_refused(directory):
    with pytest.raises(DataError, match="image_hw"):
        open_cache(stored(directory), "train", {"image_hw": [32, 32]}, COUNT, mirrored=False)
    with pytest.raises(DataError, match="no mirrored maps"):
        open_cache(stored(directory, 1), "train", {}, COUNT, mirrored=True)
    with pytest.raises(DataError, match="maps of 7 images"):
        open_cache(stored(directory), "train", {}, 7, mirrored=False)
    with pytest.raises(DataError, match="no feature cache"):
        open_cache(directory / "nothing", "train", {}, COUNT, mirrored=False)


def test_boxes_drawn_again_for_every_pair_are_one_detection():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 10], [50, 50, 60, 60]], np.float64)
    assert distinct_boxes(boxes, np.array([0, 0, 1, 0])).tolist() == [0, 2, 3]
