"""Classes that are activities of a whole picture (MPII), read from a file that the dataset's builder wrote.

A dataset's config names them as "file:data/mpii_activities.json".
"""

import os

from hoi_jax import io
from hoi_jax.vocab.own import own_vocabulary
from hoi_jax.vocab.tables import Vocabulary

PREFIX = "file:"


def activity_vocabulary(name: str, activities: tuple[str, ...]) -> Vocabulary:
    """One class per activity: what a person does, without an object of its own.

    Raises:
      ValueError: none, or one of them twice.
    """
    if not activities or len(set(activities)) != len(activities):
        raise ValueError(f"{name}: {len(activities)} activities, {len(set(activities))} different ones")
    hois = tuple((verb, 0) for verb in range(len(activities)))
    return Vocabulary(name, ("person",), activities, human_class=0, hois=hois, whole_picture=True)


def read_vocabulary(name: str) -> Vocabulary:
    """The vocabulary in the file behind `PREFIX`, activities or a table of one's own (`own`); its name is `name`.

    Raises:
      DataError: naming the file.
    """
    path = name.removeprefix(PREFIX)
    if not os.path.isfile(path):
        raise io.MissingFileError(f"{path}: no such list of classes; `python -m data_prep.build` writes it")
    content = io.read_json(path)
    try:
        if isinstance(content, dict) and "verbs" in content:
            return own_vocabulary(name, content)
        activities = content.get("activities") if isinstance(content, dict) else None
        if not isinstance(activities, list) or not all(isinstance(text, str) for text in activities):
            raise io.CorruptFileError(f"{path}: field 'activities' is no list of texts")
        return activity_vocabulary(name, tuple(activities))
    except io.DataError:
        raise
    except ValueError as error:
        raise io.CorruptFileError(str(error)) from error
