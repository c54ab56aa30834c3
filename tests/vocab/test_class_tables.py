"""Counts and orders that the datasets are known to have."""

import numpy as np

from hoi_jax import io
from hoi_jax.vocab.datasets import HEADLINE_EXCLUDES, HICO, OBJECTS_ALPHABETICAL, TEST_COUNTS, VCOCO


def test_hico_has_600_distinct_classes_of_117_verbs_and_80_objects():
    assert (len(HICO.verbs), len(HICO.objects), len(HICO.hois)) == (117, 80, 600)
    assert len(set(HICO.hois)) == 600
    assert HICO.verb_object_mask.sum() == 600


def test_hico_counts_are_those_of_the_paper():
    assert sum(HICO.train_counts) == 117_871
    assert sum(TEST_COUNTS) == 33_405
    assert (HICO.rare.sum(), (~HICO.rare).sum()) == (138, 462)
    assert (min(TEST_COUNTS), max(TEST_COUNTS)) == (2, 898)


def test_hico_has_one_no_interaction_class_per_object():
    assert HICO.no_interaction == 57 and HICO.verbs[57] == "no_interaction"
    assert sorted(obj for verb, obj in HICO.hois if verb == 57) == list(range(80))


def test_hico_verbs_are_alphabetical_and_objects_in_coco_order():
    assert list(HICO.verbs) == sorted(HICO.verbs)
    assert (HICO.objects[0], HICO.objects[1], HICO.objects[79]) == ("person", "bicycle", "toothbrush")
    assert (OBJECTS_ALPHABETICAL[0], OBJECTS_ALPHABETICAL[79]) == ("airplane", "zebra")
    assert HICO.hoi_name(0) == "board airplane" and HICO.train_counts[0] == 176


def test_hico_ids_of_one_object_are_contiguous():
    objects = np.array([obj for _, obj in HICO.hois])
    assert (np.diff(objects) != 0).sum() == 79


def test_hico_table_equals_the_annotation_file(data_dir):
    content = io.read_json(data_dir / "hicodet_instances_test2015.json.gz")
    rows = [(verb, HICO.objects.index(OBJECTS_ALPHABETICAL[obj])) for _, obj, verb in content["correspondence"]]
    assert tuple(rows) == HICO.hois
    assert np.flatnonzero(HICO.rare).tolist() == sorted(content["rare"])
    hois = np.concatenate([np.array(row["hoi"], np.int64) for row in content["annotation"]])
    assert tuple(np.bincount(hois, minlength=600)) == TEST_COUNTS


def test_vcoco_has_29_verbs_of_26_actions_with_25_roles():
    assert (len(VCOCO.actions), len(VCOCO.verbs), len(VCOCO.objects)) == (26, 29, 80)
    assert sum(slot >= 0 for slot in VCOCO.verb_role) == 25
    without = [VCOCO.verbs[v] for v, slot in enumerate(VCOCO.verb_role) if slot < 0]
    assert without == ["stand", "walk", "run", "smile"]


def test_vcoco_roles_keep_the_order_of_the_official_file():
    roles = dict(zip(VCOCO.actions, VCOCO.action_roles, strict=True))
    assert (roles["hit"], roles["eat"], roles["cut"]) == (("instr", "obj"), ("obj", "instr"), ("instr", "obj"))
    for verb, action, slot in zip(VCOCO.verbs, VCOCO.verb_action, VCOCO.verb_role, strict=True):
        name = VCOCO.actions[action]
        assert verb == (name if slot < 0 else f"{name}_{VCOCO.action_roles[action][slot]}")


def test_vcoco_headline_classes_leave_out_point(data_dir):
    order = io.read_json(data_dir / "vcoco_actions.json")["role_actions24_order"]
    roles = [v for v, role in zip(VCOCO.verbs, VCOCO.verb_role, strict=True) if role >= 0]
    assert HEADLINE_EXCLUDES == ("point_instr",) and len(order) == 24
    assert {v for v in roles if v not in HEADLINE_EXCLUDES} == {"_".join(name.rsplit(" ", 1)) for name in order}


def test_vcoco_prior_equals_the_table(data_dir):
    table = io.read_json(data_dir / "vcoco_actions.json")
    np.testing.assert_array_equal(VCOCO.verb_object_mask, np.array(table["verb_object_mask_29x80"], bool))
