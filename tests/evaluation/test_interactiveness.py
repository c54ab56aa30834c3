"""Interactiveness AP: closed forms, an independent scalar loop, and what happens at the edges."""

import dataclasses
import math

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.alignment import distinct_pairs
from hoi_jax.evaluation.metrics.hico_det import PairTruth
from hoi_jax.evaluation.metrics.interactiveness import (
    ALIGNED,
    PUBLISHED,
    active_parts,
    binary_detections,
    detections_from_hico_flat,
    detections_from_vcoco_flat,
    evaluate_interactiveness,
    evaluate_interactiveness_predictions,
    evaluate_part_interactiveness,
    image_keys,
    interactiveness_scores,
    published_recall_bound,
    truth_from_published,
)
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers import oracle
from tests.helpers.pair_worlds import make_image, predictions, world

A, B, C = [10, 10, 30, 50], [40, 10, 60, 50], [70, 10, 90, 50]
RIDE, NOTHING, BICYCLE = HICO.verbs.index("ride"), HICO.no_interaction, 1


def scalar_ap(truth, rows):
    """truth: (image, human, object); rows: (image, human, object, score); from the protocol text."""
    used, hits = set(), []
    for image, human, obj, _ in sorted(rows, key=lambda r: (-r[3], r[0])):
        best, best_overlap = None, -1.0
        for index, (t_image, t_human, t_obj) in enumerate(truth):
            if t_image == image:
                overlap = min(oracle.iou(human, t_human, 0), oracle.iou(obj, t_obj, 0))
                if overlap > best_overlap:
                    best, best_overlap = index, overlap
        hit = best is not None and best_overlap >= 0.5 and best not in used
        if hit:
            used.add(best)
        hits.append(hit)
    return oracle.average_precision(hits, len(truth), "11pt", "tenths")


def random_case(seed):
    random = np.random.default_rng(seed)
    images, count, found = int(random.integers(1, 4)), int(random.integers(0, 6)), int(random.integers(0, 10))

    def boxes(n):
        corners = np.sort(random.integers(0, 6, (n, 2, 2)), axis=1).reshape(n, 4)
        return (corners + [0, 0, 1, 1]).astype(float)

    image, human, obj = random.integers(0, images, count), boxes(count), boxes(count)
    if count > 1 and random.random() < 0.4:  # the same pair twice, as in the published V-COCO file
        image[1], human[1], obj[1] = image[0], human[0], obj[0]
    truth = PairTruth(images, image, human, obj, np.zeros(count, np.int64))
    rows = random.integers(0, images, found), boxes(found), boxes(found)
    for row in range(found):
        if count and random.random() < 0.6:
            source = random.integers(count)
            rows[0][row], rows[1][row], rows[2][row] = image[source], human[source], obj[source]
    return truth, binary_detections(*rows, random.integers(1, 6, found) / 5)


def test_equals_a_scalar_loop_on_random_small_worlds_with_ties_and_duplicates():
    for seed in range(400):
        truth, found = random_case(seed)
        rows = zip(
            found.pair_image, found.pair_human_xyxy_px.tolist(), found.pair_object_xyxy_px.tolist(),
            found.triplet_score,
            strict=True,
        )  # fmt: skip
        real = list(zip(truth.image, truth.human_xyxy_px.tolist(), truth.object_xyxy_px.tolist(), strict=True))
        ours = evaluate_interactiveness(truth, found).metrics["interactiveness/ap"]
        np.testing.assert_allclose(ours, scalar_ap(real, list(rows)), atol=1e-12, err_msg=f"seed {seed}")


def test_a_further_false_positive_never_raises_ap():
    for seed in range(100):
        truth, found = random_case(seed)
        before = evaluate_interactiveness(truth, found).metrics["interactiveness/ap"]
        for score in (0.01, 0.5, 2.0):
            far = binary_detections(
                np.append(found.pair_image, 0),
                np.vstack([found.pair_human_xyxy_px, [90, 90, 95, 95]]),
                np.vstack([found.pair_object_xyxy_px, [90, 90, 95, 95]]),
                np.append(found.triplet_score, score),
            )
            after = evaluate_interactiveness(truth, far).metrics["interactiveness/ap"]
            assert after <= before or math.isnan(before)


def test_permuting_images_changes_nothing_when_scores_are_distinct():
    for seed in range(100):
        truth, found = random_case(seed)
        random = np.random.default_rng(seed)
        found = dataclasses.replace(found, triplet_score=random.permutation(len(found.triplet_score)) + 0.5)
        new = random.permutation(truth.num_images)
        moved = (
            dataclasses.replace(truth, image=new[truth.image]),
            dataclasses.replace(found, pair_image=new[found.pair_image]),
        )
        before, after = evaluate_interactiveness(truth, found), evaluate_interactiveness(*moved)
        np.testing.assert_equal(dict(after.metrics), dict(before.metrics))


def test_alignment_moves_predictions_by_one_pixel():
    # Sides are x2 - x1 = 2, so boxes one pixel apart share 1 of 7 square pixels.
    truth = PairTruth(1, np.array([0]), np.array([[1.0, 1, 3, 3]]), np.array([[1.0, 1, 3, 3]]), np.array([0]))
    found = binary_detections(np.array([0]), np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2]]), np.array([0.5]))
    assert evaluate_interactiveness(truth, found, PUBLISHED).metrics["interactiveness/ap"] == 0
    assert evaluate_interactiveness(truth, found, ALIGNED).metrics["interactiveness/ap"] == pytest.approx(1, abs=1e-12)


def test_the_published_vcoco_truth_bounds_recall_at_629_permille_and_ap_at_7_of_11(data_dir):
    published = io.read_npz(data_dir / "interactiveness_gt_vcoco.npz")
    truth, counts = truth_from_published(published, published["image_key"])
    unique = distinct_pairs(truth)
    assert (len(truth.label), len(unique.label)) == (12_423, 7_811)
    assert counts == {"truth_pairs_of_other_images": 0}
    assert published_recall_bound(truth) == pytest.approx(0.629, abs=5e-4)
    scores = np.linspace(1, 0.5, len(unique.label))
    found = binary_detections(unique.image, unique.human_xyxy_px, unique.object_xyxy_px, scores)
    assert evaluate_interactiveness(unique, found).metrics["interactiveness/ap"] == pytest.approx(1, abs=1e-12)
    bounded = evaluate_interactiveness(truth, found).metrics
    assert bounded["interactiveness/ap"] == pytest.approx(7 / 11, abs=1e-12)
    assert bounded["interactiveness/max_recall"] == published_recall_bound(truth)


def test_the_published_hico_truth_lacks_160_of_600_classes(data_dir):
    """The 80 no_interaction classes, and by an off-by-one the 80 classes just before them."""
    published = io.read_npz(data_dir / "interactiveness_gt_hico_det.npz")
    content = io.read_json(data_dir / "hicodet_instances_test2015.json.gz")
    numbers = np.array([int(name.split("_")[-1].split(".")[0]) for name in content["filenames"]])
    truth, _ = truth_from_published(published, numbers)
    known = {
        (image, *map(int, (*human, *obj)))
        for image, human, obj in zip(truth.image, truth.human_xyxy_px, truth.object_xyxy_px, strict=True)
    }
    lost = set()
    for image, row in enumerate(content["annotation"]):
        for human, obj, hoi in zip(row["boxes_h"], row["boxes_o"], row["hoi"], strict=True):
            if (image, *map(int, (*human, *obj))) not in known:
                lost.add(hoi)
    silent = {hoi for hoi, (verb, _) in enumerate(HICO.hois) if verb == HICO.no_interaction}
    assert lost == silent | {hoi - 1 for hoi in silent}


def published_arrays(keys, boxes):
    return {"image_key": np.array(keys), "count": np.array([len(b) for b in boxes]), "boxes": np.vstack(boxes)}


def test_published_pairs_of_other_images_are_left_out_and_counted():
    arrays = published_arrays([7, 9], [np.ones((2, 8)), np.ones((1, 8))])
    truth, counts = truth_from_published(arrays, np.array([9, 8]))
    assert (truth.num_images, truth.image.tolist()) == (2, [0])
    assert counts == {"truth_pairs_of_other_images": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": np.ones((3, 4))}, "'boxes' is absent or not of shape"),
        ({"count": np.array([2, 2])}, "'count' does not add up to 3 pairs"),
        ({"count": np.array([4, -1])}, "'count' does not add up to 3 pairs"),
        ({"image_key": np.array([7])}, "'count' does not add up to 3 pairs"),
        ({"image_key": np.array(7)}, "'image_key' is absent"),
    ],
)
def test_malformed_published_truth_is_refused_by_field(change, message):
    arrays = published_arrays([7, 9], [np.ones((2, 8)), np.ones((1, 8))]) | change
    with pytest.raises(io.DataError, match=message):
        truth_from_published(arrays, np.array([7, 9]))


def test_flat_predictions_without_an_array_are_refused():
    with pytest.raises(io.DataError, match="pair_binary_score"):
        detections_from_hico_flat(dict.fromkeys(("pair_image", "pair_hbox", "pair_obox"), np.zeros(0)))
    with pytest.raises(io.DataError, match="role_label"):
        detections_from_vcoco_flat({}, np.zeros(0, np.int64))


def ride(human=A, obj=B, states=None):
    return (human, obj, BICYCLE, RIDE) if states is None else (human, obj, BICYCLE, RIDE, states)


def test_perfect_predictions_of_a_prediction_file_give_100_and_no_interaction_pairs_are_no_truth():
    annotations = world([make_image(1, [ride(), (C, A, BICYCLE, NOTHING)]), make_image(2, [])])
    pairs = [{"image": 0, "human": A, "object": B, "score": 0.9}, {"image": 0, "human": C, "object": A, "score": 0.1}]
    result = evaluate_interactiveness_predictions(predictions([1, 2], pairs), annotations, HICO)
    assert result.metrics["interactiveness_complete/ap"] == pytest.approx(1, abs=1e-12)
    counts = result.manifest["interactiveness_complete"]
    assert (counts["num_truth_pairs"], counts["counted_detections"], counts["true_positives"]) == (1, 2, 1)
    assert "use_nis" not in result.manifest


def test_suppressed_pairs_are_ranked_too_and_pairs_without_object_are_not():
    annotations = world([make_image(1, [ride()])])
    nothing = [np.nan] * 4
    pairs = [
        {"image": 0, "human": A, "object": B, "score": 0.2, "kept": False},
        {"image": 0, "human": A, "object": nothing, "score": 0.9, "class": -1},
    ]
    result = evaluate_interactiveness_predictions(predictions([1], pairs), annotations, HICO)
    assert result.metrics["interactiveness_complete/ap"] == pytest.approx(1, abs=1e-12)


def test_published_truth_is_found_by_the_number_in_the_file_name():
    annotations = dataclasses.replace(world([make_image(31, [ride()])]), image_id=np.array([0]))
    assert image_keys(annotations, HICO).tolist() == [31]
    assert image_keys(annotations, VCOCO).tolist() == [0]
    arrays = published_arrays([31], [np.array([[11, 11, 30, 50, 41, 11, 60, 50]] * 2)])
    pairs = [{"image": 0, "human": A, "object": B, "score": 0.9}]
    result = evaluate_interactiveness_predictions(predictions([0], pairs), annotations, HICO, arrays)
    assert result.metrics["interactiveness_unique/ap"] == pytest.approx(1, abs=1e-12)
    assert result.metrics["interactiveness/max_recall"] == 0.5
    assert result.manifest["interactiveness"]["recall_bound"] == 0.5
    strange = dataclasses.replace(annotations, file_name=np.array(["image.jpg"]))
    with pytest.raises(io.DataError, match="image.jpg"):
        image_keys(strange, HICO)


def test_systems_without_interactiveness_are_ranked_by_their_mean_interactive_score():
    pairs = [{"image": 0, "human": A, "object": B}, {"image": 0, "human": B, "object": A}]
    trips = [(0, RIDE, 0.5), (0, RIDE + 1, 0.25), (0, NOTHING, 0.9), (1, RIDE, np.nan)]
    score, source = interactiveness_scores(predictions([1], pairs, trips=trips), HICO)
    np.testing.assert_allclose(score, [0.75 / 520, 0])
    assert source == "mean over 520 interactive classes"
    point, hold = VCOCO.verbs.index("point_instr"), VCOCO.verbs.index("hold_obj")
    trips = [(0, hold, 0.5), (0, point, 0.9), (0, VCOCO.verbs.index("stand"), 0.9)]
    score, source = interactiveness_scores(predictions([1], pairs, "vcoco", trips), VCOCO)
    np.testing.assert_allclose(score, [0.5 / 24, 0])
    assert source == "mean over 24 interactive classes"


def test_annotations_in_another_vocabulary_have_no_truth():
    annotations = world([make_image(1, [])], "vcoco")
    for evaluate in (evaluate_interactiveness_predictions, evaluate_part_interactiveness):
        with pytest.raises(ValueError, match="'vcoco', expected 'hico_det'"):
            evaluate(predictions([1], []), annotations, HICO)


def test_left_and_right_parts_are_one_merged_part():
    states = np.full((3, 10), -1)
    states[0, [3, 9]] = 1  # left foot, left hand
    states[1] = 0
    states[1, 5] = 1  # head
    expected = [[True, False, False, True, False, False], [False] * 5 + [True], [False] * 6]
    assert active_parts(states).tolist() == expected


def test_part_truth_are_the_pairs_in_which_the_part_acts():
    foot, hand = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    annotations = world([make_image(1, [ride(A, B, foot), ride(B, A, hand), ride(C, A)])])
    feet_first, hands_first = [0.9, 0.1, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.2, 0.1, 0.1]
    pairs = [
        {"image": 0, "human": A, "object": B, "parts": feet_first},
        {"image": 0, "human": B, "object": A, "parts": [0.95, 0.1, 0.1, 0.1, 0.1, 0.1]},
        {"image": 0, "human": B, "object": A, "parts": hands_first},
    ]
    result = evaluate_part_interactiveness(predictions([1], pairs), annotations, HICO)
    assert result.metrics["part_interactiveness/feet/ap"] == pytest.approx(0.5, abs=1e-12)  # second of two
    assert result.metrics["part_interactiveness/hands/ap"] == pytest.approx(1, abs=1e-12)
    assert math.isnan(result.metrics["part_interactiveness/legs/ap"])
    assert result.metrics["part_interactiveness/mean_ap"] == pytest.approx(0.75, abs=1e-12)
    assert result.per_class["part_interactiveness/num_positives"].tolist() == [1, 0, 0, 1, 0, 0]
    assert result.manifest["pairs_without_part_states"] == 1


def test_part_scores_and_states_must_be_there():
    pairs = [{"image": 0, "human": A, "object": B}]
    with pytest.raises(ValueError, match="has body-part states"):
        evaluate_part_interactiveness(predictions([1], pairs), world([make_image(1, [ride()])]), HICO)
    with pytest.raises(ValueError, match="no body-part scores"):
        evaluate_part_interactiveness(predictions([1], pairs), world([make_image(1, [ride(states=[0] * 10)])]), HICO)


def test_hake_training_pairs_predicted_perfectly_give_100_for_every_part(data_dir):
    """Real part states of the first pairs of the HICO-DET training set."""
    hake = io.read_npz(data_dir / "hicodet_train_pairs_hake.npz")
    states = np.zeros((len(hake["pair_hoi"]), 10), np.int64)
    states[hake["part_pair"], hake["part_id"]] = 1
    images, pairs = [], []
    for image in range(150):
        rows = np.flatnonzero(hake["pair_image"] == image)
        corners = [np.array([1, 1, 0, 0])] * 2
        human, obj = (hake[name][rows] - shift for name, shift in zip(("pair_hbox", "pair_obox"), corners, strict=True))
        verb, object_class = np.array(HICO.hois)[hake["pair_hoi"][rows]].T
        images.append(make_image(image, list(zip(human, obj, object_class, verb, states[rows], strict=True))))
        for row, (h, o) in zip(rows, zip(human, obj, strict=True), strict=True):
            parts = active_parts(states[[row]])[0] * 0.5 + 0.25
            if HICO.hois[hake["pair_hoi"][row]][0] != HICO.no_interaction:
                pairs.append({"image": image, "human": h, "object": o, "parts": parts})
    result = evaluate_part_interactiveness(predictions(range(150), pairs), world(images), HICO)
    np.testing.assert_allclose(result.per_class["part_interactiveness/ap"], 1, atol=1e-12)
    assert np.all(result.per_class["part_interactiveness/num_positives"] > 10)
