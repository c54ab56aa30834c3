"""HICO-DET: 80 objects in COCO order, 117 verbs, 600 HOI classes in the order of the official `list_action`.

Train counts are those of the paper's 117,871 pairs; they define the 138 rare classes and are never recounted
from a training file, since the files in circulation differ in up to 37 classes (all with the same rare set).
"""

from pathlib import Path

from hoi_jax import io
from hoi_jax.vocab.tables import Vocabulary

_TABLE = io.read_json(Path(__file__).with_name("hico.json"), max_bytes=1 << 20)

TEST_COUNTS: tuple[int, ...] = tuple(row[3] for row in _TABLE["verb_object_train_test"])
"""Visible test pairs per HOI class; 33,405 in all."""

TRAIN_IMAGES_VISIBLE: tuple[int, ...] = tuple(_TABLE["train_images_visible"])
"""Training images per HOI class that hold a visible pair of it: never more than the image-level positives of HICO."""

OBJECTS_ALPHABETICAL: tuple[str, ...] = tuple(sorted(_TABLE["objects"]))
"""The other object order in circulation (`object` column of instances_*2015.json)."""

HICO = Vocabulary(
    name="hico_det",
    objects=tuple(_TABLE["objects"]),
    verbs=tuple(_TABLE["verbs"]),
    human_class=_TABLE["objects"].index("person"),
    hois=tuple((row[0], row[1]) for row in _TABLE["verb_object_train_test"]),
    train_counts=tuple(row[2] for row in _TABLE["verb_object_train_test"]),
    no_interaction=_TABLE["verbs"].index("no_interaction"),
)
