"""The two vocabularies of the procedural dataset `hoi_scenes`.

`SCENES` is in the style of HICO-DET: (verb, object) classes with one `no_interaction` per object. `SCENES_ACTIONS`
is in the style of V-COCO: actions with roles. They have the same objects but different verbs: only the first has wear,
stand_on, compete_for, talk_to and push_together; the second has actions without an object (stand, walk, raise_arm) and
splits `eat` by role. Verbs are defined in `hoi_jax/scenes/verbs.py`.
"""

from hoi_jax.vocab.tables import Vocabulary

OBJECTS = (
    "person", "ball", "bicycle", "horse", "bench", "chair", "cup", "apple", "hat", "bag", "phone",
    "umbrella", "dog", "skateboard", "cart",
)  # fmt: skip

VERBS = (
    "no_interaction", "kick", "sit_on", "ride", "stand_on", "hold", "carry", "push", "wear", "eat", "talk_on",
    "look_at", "point_at", "push_together", "compete_for", "talk_to", "hug",
)  # fmt: skip

VERBS_OF_OBJECT = {
    "person": ("look_at", "talk_to", "hug", "hold", "push", "point_at", "kick"),
    "ball": ("kick", "hold", "carry", "look_at", "point_at", "compete_for", "sit_on", "stand_on"),
    "bicycle": ("ride", "push", "hold", "look_at", "sit_on", "point_at"),
    "horse": ("ride", "hold", "look_at", "point_at", "sit_on", "push"),
    "bench": ("sit_on", "stand_on", "push", "look_at", "ride", "push_together"),
    "chair": ("sit_on", "carry", "push", "look_at", "stand_on", "kick"),
    "cup": ("hold", "eat", "carry", "look_at", "talk_on", "wear"),
    "apple": ("hold", "eat", "look_at", "point_at", "wear", "kick"),
    "hat": ("wear", "hold", "look_at", "carry"),
    "bag": ("hold", "carry", "look_at", "wear", "kick"),
    "phone": ("hold", "talk_on", "look_at"),
    "umbrella": ("hold", "look_at", "carry", "point_at"),
    "dog": ("hold", "look_at", "carry", "point_at", "ride"),
    "skateboard": ("stand_on", "carry", "hold", "kick", "sit_on", "look_at"),
    "cart": ("push", "push_together", "sit_on", "look_at", "stand_on", "ride"),
}
"""Verbs that each object can have, in addition to `no_interaction`."""

_HOIS = tuple(
    (VERBS.index(verb), index)
    for index, name in enumerate(OBJECTS)
    for verb in ("no_interaction", *VERBS_OF_OBJECT[name])
)

TRAIN_COUNTS = (
    2353, 136, 68, 72, 64, 11, 15, 3,  # person
    518, 75, 37, 43, 140, 17, 58, 4, 5,  # ball
    284, 90, 28, 79, 18, 7, 3,  # bicycle
    267, 94, 78, 28, 14, 2, 1,  # horse
    318, 105, 18, 26, 18, 5, 4,  # bench
    309, 110, 25, 20, 12, 2, 2,  # chair
    310, 137, 28, 15, 14, 4, 5,  # cup
    245, 117, 85, 17, 3, 2, 1,  # apple
    276, 86, 47, 17, 4,  # hat
    266, 80, 39, 16, 4, 6,  # bag
    211, 104, 69, 17,  # phone
    194, 75, 21, 3, 4,  # umbrella
    274, 35, 77, 16, 10, 4,  # dog
    363, 103, 35, 41, 18, 14, 11,  # skateboard
    156, 85, 50, 21, 16, 4, 2,  # cart
)  # fmt: skip
"""Annotated pairs per HOI class in the train split of size `small` at the default settings, in the order of `_HOIS`.

The table is fixed, so that the set of rare classes does not depend on the generated scenes.
"""

SCENES = Vocabulary(
    name="hoi_scenes",
    objects=OBJECTS,
    verbs=VERBS,
    human_class=0,
    hois=_HOIS,
    train_counts=TRAIN_COUNTS,
    no_interaction=0,
)

_ACTION_ROLES: dict[str, tuple[str, ...]] = {
    "hold": ("obj",),
    "carry": ("obj",),
    "push": ("obj",),
    "kick": ("obj",),
    "sit": ("instr",),
    "ride": ("instr",),
    "look": ("obj",),
    "point": ("instr",),
    "eat": ("obj", "instr"),
    "talk_on_phone": ("instr",),
    "hug": ("obj",),
    "stand": (),
    "walk": (),
    "raise_arm": (),
}

SCENE_ACTION_OF_VERB = {
    "hold": ("hold", 0), "carry": ("carry", 0), "push": ("push", 0), "kick": ("kick", 0), "sit_on": ("sit", 0),
    "ride": ("ride", 0), "look_at": ("look", 0), "point_at": ("point", 0), "talk_on": ("talk_on_phone", 0),
    "hug": ("hug", 0), "eat": ("eat", 0),
}  # fmt: skip
"""(action, role slot) of `SCENES_ACTIONS` by verb of `SCENES`; `eat` of a cup uses slot 1 (instrument)."""


def _combinations() -> tuple[tuple[str, int, int], ...]:
    """(name, action, role slot) of every verb in action style; slot -1 for actions without object."""
    rows = []
    for action, (name, roles) in enumerate(_ACTION_ROLES.items()):
        rows += [(f"{name} {role}", action, slot) for slot, role in enumerate(roles)] or [(name, action, -1)]
    return tuple(rows)


def _valid_objects() -> tuple[tuple[int, int], ...]:
    names = tuple(_ACTION_ROLES)
    rows = set()
    for verb, (_, action, slot) in enumerate(_combinations()):
        for index, obj in enumerate(OBJECTS):
            wanted = [
                v for v in VERBS_OF_OBJECT[obj]
                if v in SCENE_ACTION_OF_VERB and SCENE_ACTION_OF_VERB[v][0] == names[action]
            ]  # fmt: skip
            if wanted and slot == (1 if (names[action], obj) == ("eat", "cup") else 0):
                rows.add((verb, index))
    return tuple(sorted(rows))


SCENES_ACTIONS = Vocabulary(
    name="hoi_scenes_actions",
    objects=OBJECTS,
    verbs=tuple(name for name, _, _ in _combinations()),
    human_class=0,
    actions=tuple(_ACTION_ROLES),
    action_roles=tuple(_ACTION_ROLES.values()),
    verb_action=tuple(action for _, action, _ in _combinations()),
    verb_role=tuple(slot for _, _, slot in _combinations()),
    valid_verb_object=_valid_objects(),
)
