"""NIS reduction: what was deleted, by what it was."""

import math

import pytest

from hoi_jax.evaluation.metrics.suppression import nis_reduction
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers.pair_worlds import make_image, predictions, world

A, B, C, D = [10, 10, 30, 50], [40, 10, 60, 50], [70, 10, 90, 50], [10, 60, 30, 90]
HALF = [10, 10, 30, 30]  # IoU with A is exactly 0.5
RIDE, NOTHING, BICYCLE, HORSE = HICO.verbs.index("ride"), HICO.no_interaction, 1, 17


def split():
    """Image 1 has an interaction and a pair without one, image 2 only the latter."""
    return world(
        [
            make_image(1, [(A, B, BICYCLE, RIDE), (C, B, BICYCLE, NOTHING)]),
            make_image(2, [(A, B, BICYCLE, NOTHING)]),
        ]
    )


def candidate(human, obj, kept, object_class=BICYCLE, image=0):
    return {"image": image, "human": human, "object": obj, "class": object_class, "kept": kept}


def test_candidates_are_counted_by_kind_and_by_whether_they_were_deleted():
    pairs = [
        candidate(A, B, True),
        candidate(A, B, False),  # interactive again: several candidates may match one pair
        candidate(C, B, False),
        candidate(A, B, False, HORSE),  # another class than annotated: unmatched
        candidate(HALF, B, False),  # exactly half is not enough
        candidate(D, B, True),
        candidate(A, B, False, -1),
        candidate(D, B, False, image=1),  # no annotated interaction in this image
    ]
    result = nis_reduction(predictions([1, 2], pairs), split(), HICO)
    assert result.manifest["nis"] == {
        "interactive": {"pairs": 2, "deleted": 1},
        "non_interactive": {"pairs": 1, "deleted": 1},
        "unmatched": {"pairs": 4, "deleted": 3},
        "images_with_interaction": 1,
    }
    assert result.metrics == {"nis/reduction": 0.75, "nis/lost_interactive": 0.5, "nis/reduction_non_interactive": 1.0}


def test_a_pair_that_is_annotated_both_ways_is_interactive():
    annotations = world([make_image(1, [(A, B, BICYCLE, RIDE), (A, B, BICYCLE, NOTHING)])])
    counts = nis_reduction(predictions([1], [candidate(A, B, True)]), annotations, HICO).manifest["nis"]
    assert (counts["interactive"]["pairs"], counts["non_interactive"]["pairs"]) == (1, 0)


def test_a_candidate_without_object_class_matches_nothing_not_even_a_pair_of_people():
    annotations = world([make_image(1, [(A, B, 0, HICO.verbs.index("hug"))])])
    counts = nis_reduction(predictions([1], [candidate(A, B, True, -1)]), annotations, HICO).manifest["nis"]
    assert (counts["interactive"]["pairs"], counts["unmatched"]["pairs"]) == (0, 1)


def test_without_candidates_nothing_can_be_said():
    assert all(math.isnan(value) for value in nis_reduction(predictions([1, 2], []), split(), HICO).metrics.values())


def test_annotations_in_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match="'hico_det', expected 'vcoco'"):
        nis_reduction(predictions([1], [], "vcoco"), split(), VCOCO)
