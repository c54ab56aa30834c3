"""Joining two networks' predictions, and suppression thresholds per HOI class."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.commands import suppression_thresholds as nis_thresholds
from hoi_jax.commands import transfer_interactiveness as command
from hoi_jax.evaluation.metrics.matching import matched_iou
from hoi_jax.evaluation.postprocess.suppression import (
    apply_thresholds,
    fit_thresholds,
    read_calibration,
    write_calibration,
)
from hoi_jax.evaluation.postprocess.transfer import join_interactiveness
from hoi_jax.evaluation.score import evaluate_store
from hoi_jax.io import DataError
from hoi_jax.predictions import PredictionStore, load_predictions
from hoi_jax.vocab import get_vocabulary
from tests.helpers.pair_worlds import picture, world

HICO = get_vocabulary("hico_det")


def random_store(seed: int, images: int = 4, pairs: int = 6, trips: int = 3) -> PredictionStore:
    """Pairs with random boxes and scores; some without an object."""
    rng = np.random.default_rng(seed)
    count = images * pairs

    def boxes():
        corner = rng.uniform(0, 40, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(10, 50, (count, 2))], axis=1).astype(np.float32)

    objects = boxes()
    objects[rng.random(count) < 0.1] = np.nan
    hoi = rng.integers(0, 600, count)
    return PredictionStore(
        manifest={"vocabulary": "hico_det", "seed": seed},
        image_id=np.arange(images) + 5,
        image_hw_px=np.full((images, 2), 100),
        pair_image=np.repeat(np.arange(images), pairs),
        pair_human_xyxy_px=boxes(),
        pair_object_xyxy_px=objects,
        pair_object_class=np.array([HICO.hois[h][1] for h in hoi]),
        pair_human_score=np.ones(count, np.float32),
        pair_object_score=np.ones(count, np.float32),
        pair_interactiveness=rng.random(count).astype(np.float32),
        pair_part_scores=rng.random((count, 6)).astype(np.float32),
        pair_kept=np.ones(count, bool),
        trip_pair=np.repeat(np.arange(count), trips),
        trip_verb=rng.integers(0, 117, count * trips),
        trip_score=rng.random(count * trips).astype(np.float32),
        agent_image=np.zeros(0, np.int64),
        agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, 117), np.float32),
        hoi_scores=np.zeros((images, 0), np.float32),
    )


def test_every_pair_takes_the_score_of_the_nearest_pair_of_its_picture():
    store, source = random_store(0), random_store(1)
    joined = join_interactiveness(store, source)
    without_object = [np.isnan(s.pair_object_xyxy_px).any(axis=1) for s in (store, source)]
    assert without_object[0].any() and without_object[1].any()
    for row in range(len(store.pair_image)):
        best, score = -1.0, np.nan
        same_picture = source.pair_image == store.pair_image[row]
        for other in np.flatnonzero(same_picture & ~without_object[1] & ~without_object[0][row]):
            overlap = min(
                matched_iou(a[[row]].astype(float), b[[other]].astype(float), plus_one=False)[0]
                for a, b in (
                    (store.pair_human_xyxy_px, source.pair_human_xyxy_px),
                    (store.pair_object_xyxy_px, source.pair_object_xyxy_px),
                )
            )
            if overlap > best:
                best, score = overlap, source.pair_interactiveness[other]
        np.testing.assert_equal(joined.pair_interactiveness[row], score)
    np.testing.assert_array_equal(joined.trip_score, store.trip_score)
    assert joined.manifest["interactiveness_from"] == source.manifest


def test_joining_a_store_with_itself_changes_no_score():
    store = random_store(2)
    joined = join_interactiveness(store, store)
    whole = np.isfinite(store.pair_object_xyxy_px).all(1)
    np.testing.assert_array_equal(joined.pair_interactiveness[whole], store.pair_interactiveness[whole])
    np.testing.assert_array_equal(joined.pair_part_scores[whole], store.pair_part_scores[whole])


def test_missing_pictures_and_missing_scores_are_refused():
    store = random_store(3)
    with pytest.raises(ValueError, match="lack 4 pictures"):
        join_interactiveness(store, dataclasses.replace(store, image_id=store.image_id + 100))
    silent = dataclasses.replace(store, pair_interactiveness=np.full(len(store.pair_image), np.nan, np.float32))
    with pytest.raises(ValueError, match="no interactiveness"):
        join_interactiveness(store, silent)


def test_thresholds_remove_verb_scores_of_their_own_class_only_and_zero_removes_none():
    store = random_store(4)
    assert len(apply_thresholds(store, np.zeros(600), HICO).trip_pair) == len(store.trip_pair)
    label = HICO.hoi_table[store.trip_verb, store.pair_object_class[store.trip_pair]]
    hoi = label[label >= 0][0]
    limits = np.zeros(600)
    limits[hoi] = 0.5
    kept = apply_thresholds(store, limits, HICO)
    gone = (label == hoi) & (store.pair_interactiveness[store.trip_pair] <= 0.5)
    np.testing.assert_array_equal(kept.trip_score, store.trip_score[~gone])
    np.testing.assert_array_equal(kept.pair_interactiveness, store.pair_interactiveness)


def test_fitted_thresholds_score_no_class_below_its_unsuppressed_ap_and_find_the_clean_cut():
    human, obj, far = [0, 0, 20, 40], [10, 10, 50, 50], [60, 60, 90, 95]
    verb, thing = HICO.hois[0]
    truth = world([picture(i, [(human, obj, thing, verb)]) for i in (1, 2)])
    base = random_store(5, images=2, pairs=2, trips=1)
    store = dataclasses.replace(
        base,
        image_id=np.array([1, 2]),
        pair_human_xyxy_px=np.float32([human, far, human, far]),
        pair_object_xyxy_px=np.float32([obj, far, obj, far]),
        pair_object_class=np.full(4, thing),
        pair_interactiveness=np.float32([0.9, 0.12, 0.8, 0.05]),
        trip_verb=np.full(4, verb),
        trip_score=np.float32([0.5, 0.9, 0.5, 0.9]),  # the wrong pairs rank first
    )
    fitted = fit_thresholds(store, truth, HICO, min_pairs=2)
    assert fitted[0] == 0.15 and not fitted[1:].any()
    assert not fit_thresholds(store, truth, HICO, min_pairs=3).any()  # Two pairs are too few then.
    before = evaluate_store(store, truth, HICO).per_class["default/ap"][0]
    after = evaluate_store(apply_thresholds(store, fitted, HICO), truth, HICO).per_class["default/ap"][0]
    assert before < after == 1.0


def test_calibration_files_are_read_back_and_others_refused(tmp_path):
    limits = np.linspace(0, 1, 600)
    write_calibration(tmp_path / "c.json", limits, random_store(6), "val", HICO)
    np.testing.assert_array_equal(read_calibration(tmp_path / "c.json", HICO), limits)
    (tmp_path / "bad.json").write_text('{"vocabulary": "hico_det", "nis_thresholds": [0.1]}')
    with pytest.raises(DataError, match="600"):
        read_calibration(tmp_path / "bad.json", HICO)
    with pytest.raises(DataError, match="hoi_scenes"):
        read_calibration(tmp_path / "c.json", get_vocabulary("hoi_scenes"))


def test_the_commands_join_and_suppress(tmp_path, capsys):
    random_store(7).save(tmp_path / "a.npz")
    random_store(8).save(tmp_path / "b.npz")
    write_calibration(tmp_path / "c.json", np.full(600, 2.0), random_store(8), "val", HICO)
    paths = [str(tmp_path / name) for name in ("a.npz", "b.npz")]
    assert command.main([*paths, "--out", str(tmp_path / "j.npz")]) == 0
    joined = load_predictions(tmp_path / "j.npz")
    np.testing.assert_array_equal(
        joined.pair_interactiveness, join_interactiveness(random_store(7), random_store(8)).pair_interactiveness
    )
    assert command.main([*paths, "--out", str(tmp_path / "j.npz"), "--calibration", str(tmp_path / "c.json")]) == 0
    assert len(load_predictions(tmp_path / "j.npz").trip_pair) < len(joined.trip_pair)
    assert command.main([str(tmp_path / "none.npz"), paths[1], "--out", str(tmp_path / "x.npz")]) == 2
    assert nis_thresholds.main([paths[0], str(tmp_path / "none.npz"), "--out", str(tmp_path / "x.json")]) == 2
    assert "none.npz" in capsys.readouterr().err
