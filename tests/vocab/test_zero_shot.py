"""The zero-shot splits have the properties that their authors state."""

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.vocab.datasets import HICO, TRAIN_IMAGES_VISIBLE
from hoi_jax.vocab.zero_shot import ZERO_SHOT_UNSEEN, unseen_mask

VERB, OBJECT = np.array(HICO.hois).T


def test_the_splits_have_the_published_sizes():
    sizes = {name: len(ids) for name, ids in ZERO_SHOT_UNSEEN.items()}
    assert sizes == {"rf_uc": 120, "nf_uc": 120, "uo": 100, "uv": 84, "ua": 100}


def test_every_list_equals_the_collected_file(data_dir):
    content = io.read_json(data_dir / "zero_shot_splits.json")
    for name, ids in ZERO_SHOT_UNSEEN.items():
        assert list(ids) == sorted(content["ua_consnet" if name == "ua" else name]["unseen"])


def test_unseen_combinations_leave_every_verb_and_object_to_the_seen_part():
    for name in ("rf_uc", "nf_uc"):
        seen = ~unseen_mask(name)
        assert (len(set(VERB[seen])), len(set(OBJECT[seen]))) == (117, 80)


def test_rare_first_is_rare_and_non_rare_first_is_not():
    assert HICO.rare[unseen_mask("rf_uc")].all()
    assert not HICO.rare[unseen_mask("nf_uc")].any()


def test_rare_first_removes_345_training_pairs_and_non_rare_first_82712():
    counts = np.array(HICO.train_counts)
    assert (counts[unseen_mask("rf_uc")].sum(), counts[unseen_mask("nf_uc")].sum()) == (345, 82_712)


@pytest.mark.parametrize(("name", "column", "count", "rare"), [("uo", OBJECT, 12, 20), ("uv", VERB, 20, 18)])
def test_unseen_objects_and_verbs_are_wholly_unseen(name, column, count, rare):
    unseen = unseen_mask(name)
    assert len(set(column[unseen])) == count
    assert not set(column[unseen]) & set(column[~unseen])
    assert HICO.rare[unseen].sum() == rare


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="rf_uc"):
        unseen_mask("rfuc")


def test_few_training_images_give_the_known_numbers_of_classes():
    counts = np.array(TRAIN_IMAGES_VISIBLE)
    assert [(counts <= k).sum() for k in (1, 5, 10)] == [51, 127, 165]
    assert np.all(counts <= HICO.train_counts)
