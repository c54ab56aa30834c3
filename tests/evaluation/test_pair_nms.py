"""Pair NMS: a greedy scalar loop on random small worlds, and what it leaves alone."""

import numpy as np
import pytest

from hoi_jax.evaluation.metrics.hico_det import PairDetections
from hoi_jax.evaluation.postprocess.pair_nms import pair_nms
from tests.helpers import oracle


def crowd(seed):
    """Many overlapping pairs of few classes in three images, with ties, NaN and invalid classes."""
    random = np.random.default_rng(seed)
    pairs, trips = 8, 40
    start = random.integers(0, 4, (2, pairs, 2))
    boxes = np.concatenate([start, start + random.integers(3, 7, (2, pairs, 2))], 2).astype(float)
    score = random.integers(1, 9, trips) / 8
    score[random.random(trips) < 0.05] = np.nan
    return PairDetections(
        random.integers(0, 3, pairs), boxes[0], boxes[1],
        random.integers(0, pairs, trips), random.integers(-1, 3, trips), score,
    )  # fmt: skip


def greedy(found, threshold, powers, cap):
    """Kept rows, one triplet at a time."""
    rows = range(len(found.triplet_score))
    image = [found.pair_image[pair] for pair in found.triplet_pair]
    ignored = {r for r in rows if found.triplet_label[r] < 0 or np.isnan(found.triplet_score[r])}
    order = sorted(set(rows) - ignored, key=lambda r: (-found.triplet_score[r], r))
    kept, taken = [], dict.fromkeys(range(3), 0)
    for row in order:
        taken[image[row]] += 1
        if taken[image[row]] > cap:
            continue
        pair = found.triplet_pair[row]
        for other in kept:
            if (image[other], found.triplet_label[other]) == (image[row], found.triplet_label[row]):
                baseline = found.triplet_pair[other]
                human = oracle.iou(found.pair_human_xyxy_px[baseline], found.pair_human_xyxy_px[pair], 1)
                obj = oracle.iou(found.pair_object_xyxy_px[baseline], found.pair_object_xyxy_px[pair], 1)
                if human ** powers[0] * obj ** powers[1] > threshold:
                    break
        else:
            kept.append(row)
    return sorted(ignored | set(kept))


@pytest.mark.parametrize(
    ("threshold", "powers", "cap"), [(0.7, (1.0, 0.5), 100), (0.3, (1.0, 1.0), 9), (0.0, (1, 1), 5)]
)
def test_kept_triplets_are_those_of_a_greedy_loop(threshold, powers, cap):
    suppressed = 0
    for seed in range(150):
        found = crowd(seed)
        ours = pair_nms(found, threshold=threshold, human_power=powers[0], object_power=powers[1], max_per_image=cap)
        rows = greedy(found, threshold, powers, cap)
        for name in ("triplet_pair", "triplet_label", "triplet_score"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(found, name)[rows], err_msg=f"{seed} {name}")
        suppressed += len(found.triplet_score) - len(rows)
    assert suppressed > 500


def test_a_suppressed_triplet_suppresses_nothing():
    """A over B over C in a row: B goes, and C, which overlaps B only, stays."""
    boxes = np.array([[0.0, 0, 9, 9], [4, 0, 13, 9], [8, 0, 17, 9]])
    found = PairDetections(np.zeros(3, int), boxes, boxes, np.arange(3), np.zeros(3, int), np.array([0.9, 0.8, 0.7]))
    kept = pair_nms(found, threshold=0.1, human_power=1.0, object_power=1.0)
    assert kept.triplet_pair.tolist() == [0, 2]


def test_without_a_cut_every_separate_triplet_stays():
    start = np.arange(150.0) * 20
    boxes = np.stack([start, start, start + 9, start + 9], 1)
    found = PairDetections(
        np.zeros(150, int), boxes, boxes, np.arange(150), np.zeros(150, int), np.linspace(1, 0.1, 150)
    )
    assert len(pair_nms(found).triplet_pair) == 100
    assert len(pair_nms(found, max_per_image=None).triplet_pair) == 150


def test_no_triplets_stay_none():
    nothing = PairDetections(
        np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    )
    assert len(pair_nms(nothing).triplet_pair) == 0
