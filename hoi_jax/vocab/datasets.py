"""Class tables of the published datasets: HICO-DET, V-COCO, HOI-W and PIC, and COCO's category numbers."""

from pathlib import Path

from hoi_jax import io
from hoi_jax.vocab.tables import Vocabulary

COCO_CATEGORY_IDS: tuple[int, ...] = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 27, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
    46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65,
    67, 70, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 84, 85, 86, 87, 88, 89, 90,
)  # fmt: skip
"""Category number in COCO files of each class, by index 0 to 79 in COCO order (person 0, toothbrush 79)."""


_HICO_TABLE = io.read_json(Path(__file__).with_name("hico.json"), max_bytes=1 << 20)

TEST_COUNTS: tuple[int, ...] = tuple(row[3] for row in _HICO_TABLE["verb_object_train_test"])
"""Visible test pairs per HOI class; 33,405 in total."""

TRAIN_IMAGES_VISIBLE: tuple[int, ...] = tuple(_HICO_TABLE["train_images_visible"])
"""Training images with a visible pair per HOI class; never more than the image-level positives of HICO."""

OBJECTS_ALPHABETICAL: tuple[str, ...] = tuple(sorted(_HICO_TABLE["objects"]))
"""The other order of objects in use (`object` column of instances_*2015.json)."""

HICO = Vocabulary(
    name="hico_det",
    objects=tuple(_HICO_TABLE["objects"]),
    verbs=tuple(_HICO_TABLE["verbs"]),
    human_class=_HICO_TABLE["objects"].index("person"),
    hois=tuple((row[0], row[1]) for row in _HICO_TABLE["verb_object_train_test"]),
    train_counts=tuple(row[2] for row in _HICO_TABLE["verb_object_train_test"]),
    no_interaction=_HICO_TABLE["verbs"].index("no_interaction"),
)
"""HICO-DET: 80 objects in COCO order, 117 verbs, 600 HOI classes in the order of the official `list_action`.

Train counts are those of the paper's 117,871 pairs, which define the 138 rare classes. They are never recounted from a
training file, because published files differ in up to 37 classes (all with the same rare set).
"""


_VCOCO_TABLE = io.read_json(Path(__file__).with_name("vcoco.json"), max_bytes=1 << 20)


def _action_and_slot(verb: str) -> tuple[int, int]:
    """The action of a verb and the slot of its role in that action's list; slot -1 for a verb without object."""
    if verb in _VCOCO_TABLE["actions"]:
        return _VCOCO_TABLE["actions"].index(verb), -1
    action, role = verb.rsplit("_", 1)
    index = _VCOCO_TABLE["actions"].index(action)
    return index, _VCOCO_TABLE["roles"][index].index(role)


HEADLINE_EXCLUDES: tuple[str, ...] = ("point_instr",)
"""Verbs excluded from the mean role AP in papers."""

VCOCO = Vocabulary(
    name="vcoco",
    objects=HICO.objects,
    verbs=tuple(_VCOCO_TABLE["verbs"]),
    human_class=HICO.human_class,
    actions=tuple(_VCOCO_TABLE["actions"]),
    action_roles=tuple(tuple(roles) for roles in _VCOCO_TABLE["roles"]),
    verb_action=tuple(_action_and_slot(verb)[0] for verb in _VCOCO_TABLE["verbs"]),
    verb_role=tuple(_action_and_slot(verb)[1] for verb in _VCOCO_TABLE["verbs"]),
    # An empty list in the file means "any object": the prior of that verb is 1 for all objects.
    valid_verb_object=tuple(
        (verb, obj)
        for verb, objects in enumerate(_VCOCO_TABLE["objects_of_verb"])
        for obj in (objects or range(len(HICO.objects)))
    ),
)
"""V-COCO: 80 objects in COCO order, 26 actions, 29 verbs = 25 (action, role) classes and 4 actions without object.

Verbs are in the order of the QPIC family. Two averages over role classes are in use: all 25, as in the official script,
and 24 without `point_instr` (`HEADLINE_EXCLUDES`), as in papers.
"""


HOI_W = Vocabulary(
    name="hoi_w",
    objects=(
        "person", "cellphone", "cigarette", "drink", "food", "bicycle", "motorcycle", "horse", "ball", "computer",
        "document",
    ),
    verbs=("smoke", "call", "play_cellphone", "eat", "drink", "ride", "hold", "kick", "read", "play_computer"),
    human_class=0,
)  # fmt: skip
"""HOI-W (PIC challenge 2019): 11 objects and ten verbs, numbered from 1 in its files.

Some published code exchanges document and computer. The annotated verbs show the right order: objects of number 10 are
played with, like a computer, and those of number 11 are held and read.
"""


PIC = Vocabulary(
    name="pic",
    objects=(
        "human", "hat", "racket", "plant", "flag", "food", "cushion", "tent", "stick", "bag", "pot", "flower",
        "rug", "blackboard", "window", "phone", "car", "ball", "PC", "instrument", "fan", "rope", "electronics",
        "kitchen_island", "pillar", "horse", "basket", "book", "poke", "lamp", "guardrail", "floor", "scissor",
        "stairs", "kitchenware", "decoration", "document", "pen", "curtain", "microphone", "bottle", "towel",
        "brand", "digital", "tableware", "certificate", "box", "barrel", "umbrella", "bicycle", "pillow", "luggage",
        "tool", "toy", "cup", "cigarette", "door", "stalls", "money_coin", "building", "cabin", "ice", "stone",
        "track", "train", "prop", "road", "street_light", "body_building_apparatus", "military_equipment", "glass",
        "parachute", "ground", "snow", "amusement_facilities", "motorcycle", "net", "sidewalk", "shovel",
        "property", "wood", "beach", "water", "paddle", "straw", "skis", "field", "animal", "bridge", "bench",
        "grass", "mountain", "surfboard", "wall", "aircraft", "bulletin", "tree", "hoe", "bucket", "steps",
        "swimming_objects", "fishing_rod", "table", "skateboard", "laptop", "radiator", "refrigerator",
        "painting_or_poster", "emblem", "stool", "handcart", "nameplate", "showcase", "lighter", "sculpture",
        "shelf", "chair", "cabinet", "clothes", "sink", "apparel", "gun", "stand", "sofa", "bed", "sled", "bird",
        "cat", "pram", "plate", "blender", "remote_control", "vase", "toaster", "boat", "blanket", "camel", "dog",
        "vegetation", "display", "banner", "elephant", "squirrel",
    ),
    verbs=(
        "in front of", "behind", "talk", "next to", "hold", "drink", "sit on", "stand on", "look", "touch", "wear",
        "carry", "in", "others", "use", "lie down", "eat", "hit", "with", "drive", "ride", "squat", "pull",
        "on the top of", "on", "kick", "throw", "play", "push", "feed",
    ),
    human_class=0,
)  # fmt: skip
"""PIC v2.0 (PIC challenge 2019): 143 object classes and 30 relations of people to them.

Its files number both from 1. Semantic maps use the class numbers, and 0 for "nothing". (The first version of PIC has
its relations in a different order.)
"""
