"""Subsets keep whole images, and every metric can be taken on them."""

import functools

import numpy as np
import pytest

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.subsets import (
    SUBSETS,
    covered_share,
    evaluate_subsets,
    images_with,
    occluded_pairs,
    sparse_images,
    tiny_pairs,
)
from hoi_jax.evaluation.metrics.interactiveness import evaluate_interactiveness_predictions
from hoi_jax.evaluation.score import evaluate_hoi_predictions
from hoi_jax.vocab.datasets import HICO
from tests.helpers.pair_worlds import make_image, predictions, world
from tests.helpers.typecheck import unchecked

RIDE, BICYCLE, PERSON = HICO.verbs.index("ride"), 1, 0
HUG = HICO.verbs.index("hug")
LEFT, RIGHT, CYCLE = [0, 0, 40, 100], [60, 0, 100, 100], [30, 50, 70, 100]


def test_sparse_is_exactly_one_annotated_person_box():
    annotations = world(
        [
            make_image(1, [(LEFT, CYCLE, BICYCLE, RIDE)]),
            make_image(2, []),  # nobody
            make_image(3, [(LEFT, CYCLE, BICYCLE, RIDE)], people=[LEFT]),  # the same person twice
            make_image(4, [(LEFT, RIGHT, PERSON, HUG)]),  # the object is a person
            make_image(5, [], people=[RIGHT]),
        ]
    )
    assert sparse_images(annotations).tolist() == [True, False, False, False, True]


def test_tiny_is_a_share_of_the_image():
    small = [0, 0, 9, 11]  # 99 of 10,000 square pixels
    annotations = world(
        [
            make_image(1, [(LEFT, CYCLE, BICYCLE, RIDE), (small, CYCLE, BICYCLE, RIDE)]),
            make_image(2, [(LEFT, small, 1, RIDE)]),
        ]
    )
    assert tiny_pairs(annotations).tolist() == [False, True, False]
    assert tiny_pairs(annotations, max_area=0.0098).tolist() == [False, False, False]
    assert images_with(annotations, tiny_pairs(annotations)).tolist() == [True, False]
    exactly = world([make_image(1, [([0, 0, 8, 8], CYCLE, BICYCLE, RIDE)], hw=(128, 64))])
    assert not tiny_pairs(exactly, max_area=1 / 128).any()


def test_occlusion_is_the_share_that_another_person_covers_not_a_second_box_of_the_same_one():
    shifted = [30, 0, 70, 100]  # covers a quarter of LEFT and of RIGHT
    again = [2, 0, 42, 100]
    annotations = world(
        [
            make_image(1, [(LEFT, CYCLE, BICYCLE, RIDE)], people=[shifted]),
            make_image(2, [(LEFT, CYCLE, BICYCLE, RIDE)], people=[again]),
            make_image(3, [(LEFT, CYCLE, BICYCLE, RIDE)], people=[RIGHT]),
            make_image(4, [(LEFT, CYCLE, BICYCLE, RIDE)], people=[[31, 0, 71, 100]]),
        ]
    )
    assert occluded_pairs(annotations).tolist() == [True, False, False, False]
    assert occluded_pairs(annotations, min_covered=0.22).tolist() == [True, False, False, True]
    assert covered_share(annotations)[[0, 1, 2]].tolist() == [0.25, 0.0, 0.25]


@pytest.mark.parametrize(
    ("one", "other"), [("sparse", "crowded"), ("tiny", "normal"), ("more_occlusion", "less_occlusion")]
)
def test_neighbours_divide_the_split(one, other):
    annotations = many()
    np.testing.assert_array_equal(SUBSETS[one](annotations), ~SUBSETS[other](annotations))
    assert SUBSETS[one](annotations).any()
    assert SUBSETS[other](annotations).any()


def many():
    random, images = np.random.default_rng(2), []
    for number in range(30):
        pairs = []
        for _ in range(random.integers(0, 4)):
            corners = np.sort(random.integers(0, 96, (2, 2, 2)), axis=1).reshape(2, 4) + [0, 0, 5, 5]
            human = [0, 0, 9, 9] if number % 5 == 0 else corners[0].tolist()
            pairs.append((human, corners[1].tolist(), BICYCLE, RIDE))
        images.append(make_image(number, pairs))
    return world(images)


def perfect_predictions(annotations):
    boxes = annotations["instances_xyxy_px"]
    human, obj = annotations.instance_rows("pairs_human"), annotations.instance_rows("pairs_object")
    pairs = [
        {"image": image, "human": boxes[h], "object": boxes[o], "class": BICYCLE, "score": 0.5}
        for image, h, o in zip(annotations.image_rows("pairs"), human, obj, strict=True)
    ]
    trips = [(row, RIDE, 0.9 - row / 1000) for row in range(len(pairs))]
    return predictions(annotations.image_id, pairs, trips=trips)


def test_select_keeps_the_rows_of_the_chosen_images_and_their_links():
    annotations = many()
    mask = np.arange(30) % 3 == 1
    part = annotations.select(mask)
    again = Annotations.from_records(
        [record(annotations, row) for row in np.flatnonzero(mask)], annotations.vocabulary_name
    )
    assert part.fingerprint == again.fingerprint
    assert part.fingerprint != annotations.fingerprint
    boxes = annotations["instances_xyxy_px"][annotations.instance_rows("pairs_object")]
    kept = mask[annotations.image_rows("pairs")]
    np.testing.assert_array_equal(part["instances_xyxy_px"][part.instance_rows("pairs_object")], boxes[kept])


def record(annotations, row):
    result = make_image(int(annotations.image_id[row]), [])
    for table in ("instances", "pairs", "persons", "detections"):
        rows = annotations.image_rows(table) == row
        result |= {name: annotations[name][rows] for name in annotations.columns if name.startswith(f"{table}_")}
    return result


def test_select_wants_one_boolean_per_image():
    for wrong in (np.ones(3, bool), np.zeros(30, int)):
        with unchecked(), pytest.raises(ValueError, match="expected 30 booleans"):
            many().select(wrong)


def test_every_part_is_scored_as_if_it_were_the_split():
    annotations = many()
    found = perfect_predictions(annotations)
    result = evaluate_subsets(functools.partial(evaluate_hoi_predictions, found, vocabulary=HICO), annotations)
    for name, of in SUBSETS.items():
        part = annotations.select(of(annotations))
        assert result.metrics[f"subset/{name}/default/full"] == pytest.approx(1, abs=1e-12)
        assert result.manifest[f"subset/{name}"]["num_images"] == part.num_images
        assert result.manifest[f"subset/{name}"]["num_truth_pairs"] == part.counts["pairs"].sum()
        assert result.manifest[f"subset/{name}"]["unknown_images_ignored"] == 30 - part.num_images
    sizes = {name: result.manifest[f"subset/{name}"]["num_truth_pairs"] for name in SUBSETS}
    assert sizes["sparse"] + sizes["crowded"] == annotations.counts["pairs"].sum()


def test_parts_take_other_metrics_too_and_unknown_names_are_refused():
    annotations = many()
    score = functools.partial(evaluate_interactiveness_predictions, perfect_predictions(annotations), vocabulary=HICO)
    result = evaluate_subsets(score, annotations, ["tiny"])
    assert result.metrics["subset/tiny/interactiveness_complete/ap"] == pytest.approx(1, abs=1e-12)
    with pytest.raises(ValueError, match="sparse"):
        evaluate_subsets(score, annotations, ["spars"])
