"""Counting what goes with what: by hand, in both styles of labels."""

import numpy as np

from data_prep.relation_counts import prior_counts
from hoi_jax.annotations import COLUMNS, TABLES, Annotations
from hoi_jax.schema import RECORD_FIELDS
from hoi_jax.systems.cascade import prior_of
from hoi_jax.vocab import get_vocabulary

SCENES, ACTIONS = get_vocabulary("hoi_scenes"), get_vocabulary("hoi_scenes_actions")
PERSON, BALL, CUP = 0, SCENES.objects.index("ball"), SCENES.objects.index("cup")
KICK, HOLD = SCENES.verbs.index("kick"), SCENES.verbs.index("hold")


def annotations(**changed):
    """Two images: a person who kicks and holds a ball that touches, and one whose cup lies apart."""
    actions = len(ACTIONS.actions)
    columns = {}
    for names in (*COLUMNS.values(), ("hoi_labels",)):
        for name in names:
            shape = tuple({-1: 0, "A": actions}.get(a, a) for a in RECORD_FIELDS[name].axes)
            columns[name] = np.zeros(tuple(map(int, shape)), RECORD_FIELDS[name].dtype)
    counts = {table: np.zeros(2, np.int64) for table in (*TABLES, "hoi_labels")}
    counts["instances"] = np.array([3, 2])
    columns["instances_class"] = np.array([PERSON, BALL, CUP, PERSON, CUP])
    columns["instances_xyxy_px"] = np.array(
        [[0, 0, 10, 20], [8, 0, 15, 5], [0, 0, 5, 5], [0, 0, 10, 10], [30, 30, 40, 40]], np.float32
    )
    for name, value in changed.items():
        target = counts if name in counts else columns
        target[name] = np.array(value)
    for table, names in COLUMNS.items():
        rows = int(np.sum(counts[table]))
        for name in names:
            if len(columns[name]) != rows:
                columns[name] = np.zeros((rows, *columns[name].shape[1:]), columns[name].dtype)
    size = np.full((2, 2), 100)
    return Annotations("hoi_scenes", "hoi_scenes_actions", np.arange(2), size, np.array(["a", "b"]), counts, columns)


def test_relations_and_touching_pairs_are_counted_by_hand():
    rows = {"pairs_human": [0, 0, 0], "pairs_object": [1, 1, 1], "pairs_verb": [KICK, HOLD, HOLD], "pairs": [2, 1]}
    counts = prior_counts(annotations(**rows), SCENES)
    assert counts[BALL, 1 + KICK] == 1 and counts[BALL, 1 + HOLD] == 1 and counts[CUP, 1 + HOLD] == 1
    assert counts[:, 1:].sum() == 3
    # One more everywhere; the cup of image 1 is in no relation; that of image 2 lies apart, but so does everything.
    assert counts[BALL, 0] == 2 and counts[CUP, 0] == 2 and counts[PERSON, 0] == 1


def test_roles_of_actions_are_counted_and_the_file_is_read_by_the_model(tmp_path):
    hold = ACTIONS.actions.index("hold")
    actions = np.full((2, len(ACTIONS.actions)), -1, np.int32)
    actions[:, hold] = 1
    roles = np.full((2, len(ACTIONS.actions), 2), -1, np.int32)
    roles[0, hold, 0] = 1
    made = annotations(persons=[1, 1], persons_instance=[0, 0], persons_actions=actions, persons_roles=roles)
    counts = prior_counts(made, ACTIONS)
    verb = [v for v, a in enumerate(ACTIONS.verb_action) if a == hold][0]
    assert counts[BALL, 1 + verb] == 1 and counts[:, 1:].sum() == 1
    np.savez(tmp_path / "prior.npz", counts=counts)
    assert prior_of(str(tmp_path / "prior.npz"), ACTIONS)[BALL].argmax() in (0, 1 + verb)
