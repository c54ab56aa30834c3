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
from hoi_jax.evaluation.postprocess.transfer import transfer_interactiveness
from hoi_jax.evaluation.score import evaluate_hoi_predictions
from hoi_jax.io import DataError
from hoi_jax.predictions import Predictions, load_predictions
from hoi_jax.vocab import get_vocabulary
from tests.helpers.pair_worlds import make_image, world

HICO = get_vocabulary("hico_det")


def random_predictions(seed: int, images: int = 4, pairs: int = 6, trips: int = 3) -> Predictions:
    """Pairs with random boxes and scores; some without an object."""
    rng = np.random.default_rng(seed)
    count = images * pairs

    def boxes():
        corner = rng.uniform(0, 40, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(10, 50, (count, 2))], axis=1).astype(np.float32)

    objects = boxes()
    objects[rng.random(count) < 0.1] = np.nan
    hoi = rng.integers(0, 600, count)
    return Predictions(
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
        pair_nis_keep=np.ones(count, bool),
        triplet_pair=np.repeat(np.arange(count), trips),
        triplet_verb=rng.integers(0, 117, count * trips),
        triplet_score=rng.random(count * trips).astype(np.float32),
        agent_image=np.zeros(0, np.int64),
        agent_xyxy_px=np.zeros((0, 4), np.float32),
        agent_scores=np.zeros((0, 117), np.float32),
        hoi_scores=np.zeros((images, 0), np.float32),
    )


def test_every_pair_takes_the_score_of_the_nearest_pair_of_its_image():
    predictions, source = random_predictions(0), random_predictions(1)
    joined = transfer_interactiveness(predictions, source)
    without_object = [np.isnan(s.pair_object_xyxy_px).any(axis=1) for s in (predictions, source)]
    assert without_object[0].any() and without_object[1].any()
    for row in range(len(predictions.pair_image)):
        best, score = -1.0, np.nan
        same_image = source.pair_image == predictions.pair_image[row]
        for other in np.flatnonzero(same_image & ~without_object[1] & ~without_object[0][row]):
            overlap = min(
                matched_iou(a[[row]].astype(float), b[[other]].astype(float), plus_one=False)[0]
                for a, b in (
                    (predictions.pair_human_xyxy_px, source.pair_human_xyxy_px),
                    (predictions.pair_object_xyxy_px, source.pair_object_xyxy_px),
                )
            )
            if overlap > best:
                best, score = overlap, source.pair_interactiveness[other]
        np.testing.assert_equal(joined.pair_interactiveness[row], score)
    np.testing.assert_array_equal(joined.triplet_score, predictions.triplet_score)
    assert joined.manifest["interactiveness_from"] == source.manifest


def test_joining_a_prediction_file_with_itself_changes_no_score():
    predictions = random_predictions(2)
    joined = transfer_interactiveness(predictions, predictions)
    whole = np.isfinite(predictions.pair_object_xyxy_px).all(1)
    np.testing.assert_array_equal(joined.pair_interactiveness[whole], predictions.pair_interactiveness[whole])
    np.testing.assert_array_equal(joined.pair_part_scores[whole], predictions.pair_part_scores[whole])


def test_missing_images_and_missing_scores_are_refused():
    predictions = random_predictions(3)
    with pytest.raises(ValueError, match="lack 4 images"):
        transfer_interactiveness(predictions, dataclasses.replace(predictions, image_id=predictions.image_id + 100))
    silent = dataclasses.replace(
        predictions, pair_interactiveness=np.full(len(predictions.pair_image), np.nan, np.float32)
    )
    with pytest.raises(ValueError, match="no interactiveness"):
        transfer_interactiveness(predictions, silent)


def test_thresholds_remove_verb_scores_of_their_own_class_only_and_zero_removes_none():
    predictions = random_predictions(4)
    assert len(apply_thresholds(predictions, np.zeros(600), HICO).triplet_pair) == len(predictions.triplet_pair)
    label = HICO.hoi_table[predictions.triplet_verb, predictions.pair_object_class[predictions.triplet_pair]]
    hoi = label[label >= 0][0]
    limits = np.zeros(600)
    limits[hoi] = 0.5
    kept = apply_thresholds(predictions, limits, HICO)
    gone = (label == hoi) & (predictions.pair_interactiveness[predictions.triplet_pair] <= 0.5)
    np.testing.assert_array_equal(kept.triplet_score, predictions.triplet_score[~gone])
    np.testing.assert_array_equal(kept.pair_interactiveness, predictions.pair_interactiveness)


def test_fitted_thresholds_score_no_class_below_its_unsuppressed_ap_and_find_the_clean_cut():
    human, obj, far = [0, 0, 20, 40], [10, 10, 50, 50], [60, 60, 90, 95]
    verb, item = HICO.hois[0]
    truth = world([make_image(i, [(human, obj, item, verb)]) for i in (1, 2)])
    base = random_predictions(5, images=2, pairs=2, trips=1)
    predictions = dataclasses.replace(
        base,
        image_id=np.array([1, 2]),
        pair_human_xyxy_px=np.float32([human, far, human, far]),
        pair_object_xyxy_px=np.float32([obj, far, obj, far]),
        pair_object_class=np.full(4, item),
        pair_interactiveness=np.float32([0.9, 0.12, 0.8, 0.05]),
        triplet_verb=np.full(4, verb),
        triplet_score=np.float32([0.5, 0.9, 0.5, 0.9]),  # the wrong pairs rank first
    )
    fitted = fit_thresholds(predictions, truth, HICO, min_pairs=2)
    assert fitted[0] == 0.15 and not fitted[1:].any()
    assert not fit_thresholds(predictions, truth, HICO, min_pairs=3).any()  # Two pairs are too few then.
    before = evaluate_hoi_predictions(predictions, truth, HICO).per_class["default/ap"][0]
    after = evaluate_hoi_predictions(apply_thresholds(predictions, fitted, HICO), truth, HICO).per_class["default/ap"][
        0
    ]
    assert before < after == 1.0


def test_calibration_files_are_read_back_and_others_refused(tmp_path):
    limits = np.linspace(0, 1, 600)
    write_calibration(tmp_path / "c.json", limits, random_predictions(6), "val", HICO)
    np.testing.assert_array_equal(read_calibration(tmp_path / "c.json", HICO), limits)
    (tmp_path / "bad.json").write_text('{"vocabulary": "hico_det", "nis_thresholds": [0.1]}')
    with pytest.raises(DataError, match="600"):
        read_calibration(tmp_path / "bad.json", HICO)
    with pytest.raises(DataError, match="hoi_scenes"):
        read_calibration(tmp_path / "c.json", get_vocabulary("hoi_scenes"))


def test_the_commands_join_and_suppress(tmp_path, capsys):
    random_predictions(7).save(tmp_path / "a.npz")
    random_predictions(8).save(tmp_path / "b.npz")
    write_calibration(tmp_path / "c.json", np.full(600, 2.0), random_predictions(8), "val", HICO)
    paths = [str(tmp_path / name) for name in ("a.npz", "b.npz")]
    assert command.main([*paths, "--out", str(tmp_path / "j.npz")]) == 0
    joined = load_predictions(tmp_path / "j.npz")
    np.testing.assert_array_equal(
        joined.pair_interactiveness,
        transfer_interactiveness(random_predictions(7), random_predictions(8)).pair_interactiveness,
    )
    assert command.main([*paths, "--out", str(tmp_path / "j.npz"), "--calibration", str(tmp_path / "c.json")]) == 0
    assert len(load_predictions(tmp_path / "j.npz").triplet_pair) < len(joined.triplet_pair)
    assert command.main([str(tmp_path / "none.npz"), paths[1], "--out", str(tmp_path / "x.npz")]) == 2
    assert nis_thresholds.main([paths[0], str(tmp_path / "none.npz"), "--out", str(tmp_path / "x.json")]) == 2
    assert "none.npz" in capsys.readouterr().err
