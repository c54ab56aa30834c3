"""The stream: the same examples for any number of hosts, any starting step, and with nothing lost."""

import dataclasses

import numpy as np
import pytest

from data_prep.builder import DatasetSource, build
from hoi_jax import schema
from hoi_jax.annotations import Annotations
from hoi_jax.data.pipeline import Pipeline, example_batch
from hoi_jax.data.records import RecordFiles
from hoi_jax.data.sampling import copies_by_replacement, copies_of_examples, sparse_examples
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.evaluation.analysis.subsets import sparse_images
from hoi_jax.io import DataError, read_npz
from hoi_jax.scenes import SceneSettings, make_scene
from hoi_jax.vocab import get_vocabulary
from tests.helpers.pipelines import record_files, with_shared_graph

COUNT = 11
SETTINGS = SceneSettings()
EVERYTHING = frozenset(n for n in schema.BATCH_FIELDS if not n.startswith("external_")) - {
    "detections_mask",
    "detections_parts_xyxy_px",
    "image_features",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    source = DatasetSource(
        name="hoi_scenes/test",
        version="1.0.0",
        description="a few scenes",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="hoi_scenes_actions",
        splits={"train": (COUNT, lambda: (make_scene(SETTINGS, i) for i in range(COUNT)))},
    )
    return build(source, tmp_path_factory.mktemp("data"))


def pipeline(directory, *, vocabulary="hoi_scenes", detections="stored", needs=EVERYTHING, **changes):
    settings = {
        "files": record_files(directory),
        "vocabulary": get_vocabulary(vocabulary),
        "dataset": DatasetSettings("hoi_scenes/test", vocabulary, detections=detections),
        "sizes": SizeSettings((128, 128), instances=24, detections=24, pairs=48, persons=16),
        "options": PipelineSettings(threads=2),
        "augment": AugmentSettings(flip=0.5, crop=0.5),
        "needs": needs,
        "batch_size": 4,
        "seed": 5,
    }
    return with_shared_graph(Pipeline(**(settings | changes)))


def take(iterator, count):
    batches = [next(iterator) for _ in range(count)]
    iterator.close()
    return batches


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_starting_at_a_step_gives_the_batches_from_there_on(directory):
    alone = dataclasses.replace(pipeline(directory), files=RecordFiles(directory, "train"))  # with a graph of its own
    whole = take(alone.train_batches(0), 9)
    for start in (1, 5, 8):
        for a, b in zip(take(pipeline(directory).train_batches(start), 9 - start), whole[start:], strict=True):
            assert_same(a, b)


@pytest.mark.parametrize("crop", [{"crop": 0.5}, {"crop": 1.0, "crop_sides_px": (40, 80), "short_sides": (64, 80)}])
def test_tables_are_the_same_for_a_network_that_looks_at_no_image(directory, crop):
    changes = {
        "augment": AugmentSettings(flip=0.5, brightness=0.2, saturation=0.2, **crop),
        "sizes": SizeSettings((96, 96), instances=24, detections=24, pairs=48, persons=16),
    }
    seen = take(pipeline(directory, **changes).train_batches(0), 3)
    blind_needs = EVERYTHING - {"image", "instances_mask"}
    blind = take(pipeline(directory, needs=blind_needs, **changes).train_batches(0), 3)
    for a, b in zip(seen, blind, strict=True):
        assert_same({name: value for name, value in a.items() if name not in ("image", "instances_mask")}, b)


@pytest.mark.parametrize("detections", ["stored", "ground_truth"])
def test_a_field_is_the_same_whatever_else_is_needed(directory, detections):
    """Only positions that are needed are moved with the image."""
    whole = take(pipeline(directory, detections=detections).train_batches(0), 2)
    for needs in ({"faces_xyxy_px"}, {"instances_keypoints_px", "detections_face_xyxy_px"}, {"pairs_valid"}):
        for few, all_fields in zip(
            take(pipeline(directory, detections=detections, needs=frozenset(needs)).train_batches(0), 2),
            whole, strict=True,
        ):  # fmt: skip
            assert needs <= few.keys()
            assert_same(few, {name: all_fields[name] for name in few})


def test_two_hosts_together_read_what_one_reads(directory):
    whole = take(pipeline(directory).train_batches(0), 4)
    parts = [take(pipeline(directory, host=h, num_hosts=2).train_batches(0), 4) for h in range(2)]
    for step, batch in enumerate(whole):
        joined = {name: np.concatenate([p[step][name] for p in parts]) for name in batch}
        assert_same(batch, joined)


@pytest.mark.parametrize("num_hosts", [1, 2, 4])
def test_hosts_restarted_in_mid_epoch_go_on_with_the_same_batches_and_lose_no_example(directory, num_hosts):
    """The third step of an epoch of 2.75 steps: what is left of it, and the next epoch, are as without the stop."""
    needs = frozenset({"instances_xyxy_px", "pairs_verbs"})
    whole = take(pipeline(directory, needs=needs).train_batches(0), 6)
    hosts = [pipeline(directory, needs=needs, host=h, num_hosts=num_hosts) for h in range(num_hosts)]
    parts = [take(stream.train_batches(2), 4) for stream in hosts]
    joined = [{name: np.concatenate([part[step][name] for part in parts]) for name in whole[0]} for step in range(4)]
    for before, after in zip(whole[2:], joined, strict=True):
        assert_same(before, after)
    ids = np.concatenate([b["example_id"] for b in whole[:2] + joined])
    assert sorted(ids[:COUNT]) == sorted(ids[COUNT : 2 * COUNT]) == list(range(COUNT))


def test_every_epoch_holds_each_example_once_in_another_order(directory):
    ids = np.concatenate([b["example_id"] for b in take(pipeline(directory).train_batches(0), 11)])
    epochs = ids.reshape(4, COUNT)
    for epoch in epochs:
        assert sorted(epoch) == list(range(COUNT))
    assert len({tuple(e) for e in epochs}) == 4


def test_evaluation_reads_everything_once_and_marks_the_rest(directory):
    batches = list(pipeline(directory).eval_batches())
    valid = np.concatenate([b["batch_valid"] for b in batches])
    ids = np.concatenate([b["example_id"] for b in batches])
    assert valid.sum() == COUNT and len(valid) == 12
    assert ids[valid].tolist() == list(range(COUNT))


def test_batches_have_the_declared_shapes_and_the_example_batch_too(directory):
    stream = pipeline(directory)
    batch = take(stream.train_batches(0), 1)[0]
    schema.check_batch(batch, EVERYTHING)
    zeros = example_batch(stream, 4)
    assert {k: (v.shape, v.dtype) for k, v in zeros.items()} == {k: (v.shape, v.dtype) for k, v in batch.items()}


def test_tables_hold_the_rows_of_the_scene(directory):
    batch = next(pipeline(directory).eval_batches())
    for row in range(4):
        scene = make_scene(SETTINGS, int(batch["image_id"][row]))
        count = len(scene["instances_class"])
        assert batch["instances_valid"][row].sum() == count
        np.testing.assert_array_equal(batch["instances_xyxy_px"][row, :count], scene["instances_xyxy_px"])
        raw = set(zip(scene["pairs_human"], scene["pairs_object"], scene["pairs_verb"], strict=True))
        pairs, verbs = np.nonzero(batch["pairs_verbs"][row])
        human, obj = batch["pairs_human"][row], batch["pairs_object"][row]
        assert {(human[p], obj[p], v) for p, v in zip(pairs, verbs, strict=True)} == raw
        assert np.all(np.diff(batch["detections_score"][row]) <= 0)


def test_action_view_takes_its_pairs_from_persons(directory):
    vocabulary = get_vocabulary("hoi_scenes_actions")
    stream = pipeline(directory, vocabulary="hoi_scenes_actions", needs=EVERYTHING - {"hoi_labels"})
    batch = next(stream.eval_batches())
    for row in range(4):
        scene = make_scene(SETTINGS, int(batch["image_id"][row]))
        expected = set()
        for person, actions, roles in zip(
            scene["persons_instance"], scene["persons_actions"], scene["persons_roles"], strict=True
        ):
            for verb, (action, slot) in enumerate(zip(vocabulary.verb_action, vocabulary.verb_role, strict=True)):
                if actions[action] == 1:
                    expected.add((person, roles[action, slot] if slot >= 0 else -1, verb))
        pairs, verbs = np.nonzero(batch["pairs_verbs"][row])
        human, obj = batch["pairs_human"][row], batch["pairs_object"][row]
        assert {(human[p], obj[p], v) for p, v in zip(pairs, verbs, strict=True)} == expected


def test_verbs_of_actions_without_label_are_unknown(tmp_path):
    vocabulary = get_vocabulary("hoi_scenes_actions")
    unlabelled = vocabulary.actions.index("hold")

    def scenes():
        for index in range(4):
            scene = make_scene(SETTINGS, index)
            scene["persons_actions"] = np.array(scene["persons_actions"])
            scene["persons_actions"][:, unlabelled] = -1
            yield scene

    source = DatasetSource(
        name="hoi_scenes/test",
        version="1.0.0",
        description="scenes where nobody looked for one action",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="hoi_scenes_actions",
        splits={"train": (4, scenes)},
    )
    stream = pipeline(
        build(source, tmp_path), vocabulary="hoi_scenes_actions", needs=frozenset({"pairs_verbs_known", "pairs_valid"})
    )
    batch = next(stream.eval_batches())
    known = batch["pairs_verbs_known"][batch["pairs_valid"]]
    assert len(known) > 4
    expected = np.asarray(vocabulary.verb_action) != unlabelled
    np.testing.assert_array_equal(known, np.broadcast_to(expected, known.shape))
    assert not batch["pairs_verbs_known"][~batch["pairs_valid"]].any()


def test_ground_truth_detections_are_the_instances_with_score_one(directory):
    batch = next(pipeline(directory, detections="ground_truth").eval_batches())
    np.testing.assert_array_equal(batch["detections_score"] == 1, batch["detections_valid"])
    for row in range(4):
        truth = batch["instances_xyxy_px"][row][batch["instances_valid"][row]]
        found = batch["detections_xyxy_px"][row][batch["detections_valid"][row]]
        assert {tuple(b) for b in truth} == {tuple(b) for b in found}


def test_a_table_that_is_too_small_is_an_error_that_names_it(directory):
    small = SizeSettings((128, 128), instances=2, detections=24, pairs=48, persons=16)
    with pytest.raises(DataError, match=r"sizes\.instances is 2"):
        pipeline(directory, sizes=small)
    stream = pipeline(directory, sizes=dataclasses.replace(small, truncate=True))
    assert next(stream.eval_batches())["pairs_human"].max() < 2


def test_a_corrupt_record_names_itself(directory, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    path = next(copy.glob("*train.tfrecord*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"record \d+ cannot be read"):
        list(pipeline(copy).eval_batches())


def test_labels_of_another_vocabulary_are_refused(directory):
    with pytest.raises(DataError, match="expected 'hico_det'"):
        pipeline(directory, vocabulary="hico_det")


def test_an_unbuilt_dataset_says_how_to_build_it(tmp_path):
    with pytest.raises(DataError, match="data_prep.build"):
        RecordFiles(tmp_path / "nothing", "train")


def test_oversampling_lifts_every_class_by_copies_of_its_examples():
    labels = np.array([[1, -1, 0], [1, 1, 1], [1, -1, -2], [1, 1, 0], [-1, -1, -1], [1, 1, 0]])  # 5, 3 and 1 positives
    np.testing.assert_array_equal(copies_of_examples(labels, 4), [1, 4, 1, 2, 1, 2])
    np.testing.assert_array_equal(copies_of_examples(labels, 4, skip_single=True), [1, 4, 1, 1, 1, 1])
    np.testing.assert_array_equal(copies_of_examples(labels, 100, cap=7), [8, 8, 8, 8, 1, 8])
    shown = (labels == 1).T @ copies_of_examples(labels, 4)
    assert (shown >= 4).all()


def test_an_oversampled_epoch_holds_every_copy_once_each_changed_in_its_own_way(directory):
    options = PipelineSettings(threads=2, oversample_to=3, oversample_cap=2)
    stream = pipeline(directory, options=options, needs=frozenset({"image"}), batch_size=1)
    assert stream.copies.fixed is not None and set(stream.copies.fixed) <= {1, 2, 3} and stream.copies.fixed.max() > 1
    total = int(stream.copies.fixed.sum())
    batches = take(stream.train_batches(0), 2 * total)
    for epoch in (batches[:total], batches[total:]):
        ids = [int(b["example_id"][0]) for b in epoch]
        np.testing.assert_array_equal(np.bincount(ids, minlength=COUNT), stream.copies.fixed)
    first = int(np.argmax(stream.copies.fixed))
    images = {b["image"].tobytes() for b in batches if b["example_id"][0] == first}
    assert len(images) > stream.copies.fixed[first]
    assert_same(take(stream.train_batches(total + 2), 1)[0], batches[total + 2])
    assert len(list(stream.eval_batches())) == COUNT


def test_labels_to_count_are_in_the_order_of_the_records(directory):
    needs = frozenset({"hoi_labels"})
    batches = list(pipeline(directory, needs=needs, batch_size=1).eval_batches())
    stored = read_npz(directory / "annotations_train.npz")
    np.testing.assert_array_equal([int(b["image_id"][0]) for b in batches], stored["image_id"])
    np.testing.assert_array_equal(np.concatenate([b["hoi_labels"][0] for b in batches]), stored["hoi_labels"])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """(directory, people per image): a split with sparse and with crowded images."""
    scenes = [make_scene(SETTINGS, i) for i in range(40)]
    people = [int((np.asarray(scene["instances_class"]) == 0).sum()) for scene in scenes]
    chosen = sorted(range(40), key=lambda i: (people[i] != 1, i))[:COUNT]
    source = DatasetSource(
        name="hoi_scenes/mixed",
        version="1.0.0",
        description="scenes with one person and with several",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="hoi_scenes_actions",
        splits={"train": (COUNT, lambda: (scenes[i] for i in chosen))},
    )
    return build(source, tmp_path_factory.mktemp("mixed")), np.array([people[i] for i in chosen])


def shown_per_epoch(stream, epochs):
    size = COUNT if stream.copies.fixed is None else int(stream.copies.fixed.sum())
    ids = np.concatenate([b["example_id"] for b in take(stream.train_batches(0), epochs * size)])
    return np.stack([np.bincount(epoch, minlength=COUNT) for epoch in ids.reshape(epochs, size)])


def sampled(mixed, rule, **changes):
    """A stream that only counts examples, one at a time."""
    settings = {"needs": frozenset(), "batch_size": 1, "options": PipelineSettings(threads=2, sparsity=rule)}
    return pipeline(mixed[0], **(settings | changes))


def test_by_ratio_every_epoch_shows_images_with_one_person_once_and_all_others_three_times(mixed):
    people = mixed[1]
    assert 2 <= (people == 1).sum() <= COUNT - 2
    stream = sampled(mixed, "ratio")
    expected = np.where(people == 1, 1, 3)
    np.testing.assert_array_equal(shown_per_epoch(stream, 2), np.stack([expected, expected]))
    # Evaluation divides a split into sparse and crowded images in the same way.
    sparse = sparse_images(Annotations.load(mixed[0] / "annotations_train.npz"))
    np.testing.assert_array_equal(stream.copies.fixed == 1, sparse)


def test_boxes_around_one_person_can_count_once():
    boxes = np.array(
        [[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 4, 4], [0, 0, 10, 10], [30, 0, 40, 10], [1, 0, 11, 10]], float
    )
    classes, count = np.array([0, 0, 1, 0, 0, 0]), np.array([3, 3])
    assert sparse_examples(classes, count, 0).tolist() == [False, False]
    assert sparse_examples(classes, count, 0, boxes, overlap=0.5).tolist() == [True, False]
    assert sparse_examples(classes, count, 0, boxes, overlap=0.9).tolist() == [False, False]


def test_by_replacement_an_epoch_stays_as_long_and_only_sparse_images_give_way(mixed):
    sparse = mixed[1] == 1
    shown = shown_per_epoch(sampled(mixed, "replace"), 6)
    assert (shown[:, sparse] <= 1).all() and (shown[:, ~sparse] >= 1).all()
    assert len({tuple(epoch) for epoch in shown}) > 1


def test_replacement_takes_half_of_the_sparse_draws_and_every_crowded_image_alike():
    sparse = np.arange(3000) % 3 > 0
    counts = np.stack([copies_by_replacement(sparse, seed, 7) for seed in range(5)])
    assert (counts.sum(axis=1) == 3000).all()
    draws = 5 * sparse.sum()
    assert abs(counts[:, sparse].mean() - 0.5) < 4 * 0.5 / np.sqrt(draws)
    further = (
        counts[:, ~sparse].sum(axis=0) - 5
    )  # of each crowded image, 5 in the mean: 0.5 * sparse / crowded each time
    np.testing.assert_allclose(further.var(), 5, rtol=0.25)  # Poisson, as of independent draws


@pytest.mark.parametrize("rule", ["ratio", "replace"])
def test_sparsity_sampling_resumes_amid_an_epoch_and_is_shared_among_hosts(mixed, rule):
    changes = {"needs": frozenset({"image"}), "batch_size": 4}
    whole = take(sampled(mixed, rule, **changes).train_batches(0), 9)
    for start in (1, 4, 8):
        rest = take(sampled(mixed, rule, **changes).train_batches(start), 9 - start)
        for a, b in zip(rest, whole[start:], strict=True):
            assert_same(a, b)
    parts = [take(sampled(mixed, rule, host=h, num_hosts=2, **changes).train_batches(0), 9) for h in range(2)]
    for step, batch in enumerate(whole):
        assert_same(batch, {name: np.concatenate([p[step][name] for p in parts]) for name in batch})
    assert sum(int(b["batch_valid"].sum()) for b in sampled(mixed, rule, **changes).eval_batches()) == COUNT


def test_two_rules_for_the_number_of_copies_are_refused():
    with pytest.raises(ValueError, match="set one of them"):
        PipelineSettings(sparsity="ratio", oversample_to=5)
