"""Vocabularies read from a JSON file: objects and verbs of a custom dataset, or activities of whole images (MPII).

    {"objects": ["person", "cup"], "verbs": ["hold", "drink_from"], "human": "person",
     "hois": [["hold", "cup"], ["drink_from", "cup"]], "train_counts": [120, 4]}

`hois` (the classes) and `train_counts` are optional. In a config the vocabulary is "file:data/mine.json". A label file
of a custom dataset can be used as well: its `categories` are the objects. For a dataset of activities, the file written
by the builder is given in the same way ("file:data/mpii_activities.json").
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hoi_jax import io
from hoi_jax.vocab.tables import Vocabulary


def custom_vocabulary(name: str, content: Mapping[str, Any]) -> Vocabulary:
    """Vocabulary from the parsed content of a file.

    Raises:
      ValueError: a field is missing, is not a list of distinct strings, or contains an unknown name; the message gives
        the field.
    """
    if isinstance(content.get("categories"), list):
        rows = content["categories"]
        content = {**content, "objects": [row.get("name") if isinstance(row, dict) else None for row in rows]}
    objects, verbs = (_texts(name, content, field) for field in ("objects", "verbs"))
    human = content.get("human", "human" if "person" not in objects and "human" in objects else "person")
    if human not in objects:
        raise ValueError(f"{name}: field 'human' is {human!r}, which is not among the objects")
    hois = content.get("hois", [])
    if not isinstance(hois, list) or not all(isinstance(row, list) and len(row) == 2 for row in hois):
        raise ValueError(f"{name}: field 'hois' is not a list of [verb, object] pairs")
    rows = [(_place(name, verbs, verb), _place(name, objects, obj)) for verb, obj in hois]
    if len(set(rows)) != len(rows):
        raise ValueError(f"{name}: field 'hois' contains a class twice")
    counts = content.get("train_counts", [])
    if not isinstance(counts, list) or (counts and len(counts) != len(rows)) or not all(map(_is_count, counts)):
        raise ValueError(f"{name}: field 'train_counts' is not a list of {len(rows)} integers >= 0")
    # Without counts no class is rare.
    return Vocabulary(
        name, objects, verbs, objects.index(human), tuple(rows), tuple(counts) or (10,) * len(rows),
        verbs.index("no_interaction") if "no_interaction" in verbs else -1,
    )  # fmt: skip


def custom_table(vocabulary: Vocabulary) -> dict[str, Any]:
    """JSON content for a vocabulary, the inverse of `custom_vocabulary`."""
    return {
        "objects": list(vocabulary.objects),
        "verbs": list(vocabulary.verbs),
        "human": vocabulary.objects[vocabulary.human_class],
        "hois": [[vocabulary.verbs[verb], vocabulary.objects[obj]] for verb, obj in vocabulary.hois],
        "train_counts": list(vocabulary.train_counts),
    }


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _texts(name: str, content: Mapping[str, Any], field: str) -> tuple[str, ...]:
    values = content.get(field)
    if not isinstance(values, list) or not values or not all(isinstance(text, str) and text for text in values):
        raise ValueError(f"{name}: field {field!r} is not a list of names")
    if len(set(values)) != len(values):
        raise ValueError(f"{name}: field {field!r} contains a name twice")
    return tuple(values)


def _place(name: str, known: Sequence[str], value: object) -> int:
    if value not in known:
        raise ValueError(f"{name}: field 'hois' contains {value!r}, which is not in {list(known[:9])}")
    return known.index(str(value))


PREFIX = "file:"


def activity_vocabulary(name: str, activities: tuple[str, ...]) -> Vocabulary:
    """Vocabulary with one class per activity of a person, without objects.

    Raises:
      ValueError: there are no activities, or one occurs twice.
    """
    if not activities or len(set(activities)) != len(activities):
        raise ValueError(f"{name}: {len(activities)} activities, {len(set(activities))} distinct; all must be distinct")
    hois = tuple((verb, 0) for verb in range(len(activities)))
    return Vocabulary(name, ("person",), activities, human_class=0, hois=hois, whole_image=True)


def read_vocabulary(name: str) -> Vocabulary:
    """Read the vocabulary `name`, which is `PREFIX` and a file with activities or a custom table.

    Raises:
      DataError: the file is missing or malformed; the message names it.
    """
    path = name.removeprefix(PREFIX)
    if not os.path.isfile(path):
        raise io.MissingFileError(f"{path}: no such list of classes; write it with `python -m data_prep.build`")
    content = io.read_json(path)
    try:
        if isinstance(content, dict) and "verbs" in content:
            return custom_vocabulary(name, content)
        activities = content.get("activities") if isinstance(content, dict) else None
        if not isinstance(activities, list) or not all(isinstance(text, str) for text in activities):
            raise io.CorruptFileError(f"{path}: field 'activities' is not a list of strings")
        return activity_vocabulary(name, tuple(activities))
    except io.DataError:
        raise
    except ValueError as error:
        raise io.CorruptFileError(str(error)) from error
