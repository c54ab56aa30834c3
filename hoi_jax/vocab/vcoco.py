"""V-COCO: 80 objects in COCO order, 26 actions, 29 verbs = 25 (action, role) classes and 4 actions without object.

Verbs are in the order of the QPIC family. Two averages over role classes are in use: all 25, as the official
script prints, and 24 without `point_instr`, as papers report; `HEADLINE_EXCLUDES` says which class falls out.
"""

from pathlib import Path

from hoi_jax import io
from hoi_jax.vocab.hico import HICO
from hoi_jax.vocab.tables import Vocabulary

_TABLE = io.read_json(Path(__file__).with_name("vcoco.json"), max_bytes=1 << 20)


def _action_and_slot(verb: str) -> tuple[int, int]:
    """The action of a verb and the slot of its role in that action's list; slot -1 for a verb without object."""
    if verb in _TABLE["actions"]:
        return _TABLE["actions"].index(verb), -1
    action, role = verb.rsplit("_", 1)
    index = _TABLE["actions"].index(action)
    return index, _TABLE["roles"][index].index(role)


HEADLINE_EXCLUDES: tuple[str, ...] = ("point_instr",)
"""Verbs that papers leave out of the mean role AP."""

ROLE24: tuple[int, ...] = tuple(_TABLE["verbs"].index(name) for name in _TABLE["role24"])
"""Verb index of the classes 0..23 of the JSON layout that lists pairs only (instances_vcoco_*.json)."""

VCOCO = Vocabulary(
    name="vcoco",
    objects=HICO.objects,
    verbs=tuple(_TABLE["verbs"]),
    human_class=HICO.human_class,
    actions=tuple(_TABLE["actions"]),
    action_roles=tuple(tuple(roles) for roles in _TABLE["roles"]),
    verb_action=tuple(_action_and_slot(verb)[0] for verb in _TABLE["verbs"]),
    verb_role=tuple(_action_and_slot(verb)[1] for verb in _TABLE["verbs"]),
    # An empty list in the file stands for "any object": the prior is 1 everywhere for that verb.
    valid_verb_object=tuple(
        (verb, obj)
        for verb, objects in enumerate(_TABLE["objects_of_verb"])
        for obj in (objects or range(len(HICO.objects)))
    ),
)
