"""HICO, the classification set: pictures with image-level labels, from the official `anno.mat`.

Labels stay as annotated: 1 yes, 0 ambiguous, -1 no, and -2 where the file says nothing (NaN).
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_prep.builder import DatasetSource, Record
from data_prep.pictures import PictureFolder
from hoi_jax.evaluation.files.annotation_rows import record_of
from hoi_jax.evaluation.files.hico_mat import read_image_labels
from hoi_jax.io import CorruptFileError

SPLITS = ("train", "test")


def hico_source(name: str, labels: Path, images: Path, *, skip_unreadable: bool = False) -> DatasetSource:
    """Splits train and test of `anno.mat`. Raises DataError naming the file and field.

    Args:
      skip_unreadable: leave out pictures that cannot be decoded, naming each; else they are an error. (DEFR trains on
        38,116 of 38,118 pictures.)
    """
    folder = PictureFolder(images)
    splits = {}
    for split in SPLITS:
        names, values = read_image_labels(labels, split)
        splits[split] = (
            len(names),
            lambda names=names, values=values: iterate(names, values, folder, skip_unreadable),
        )
    return DatasetSource(
        name=name,
        version="1.0.0",
        description="HICO (anno.mat): image-level labels",
        pairs_vocabulary="hico_det",
        persons_vocabulary="",
        splits=splits,
        settings={"layout": "official", "skip_unreadable": skip_unreadable},
    )


def iterate(names: list[str], labels: np.ndarray, folder: PictureFolder, skip_unreadable: bool) -> Iterator[Record]:
    """One record per picture, in the file's order; `image_id` is the position in it."""
    for position, (name, row) in enumerate(zip(names, labels, strict=True)):
        try:
            data, hw = folder.read(name)
        except CorruptFileError as error:
            if not skip_unreadable:
                raise
            print(f"left out: {error}", file=sys.stderr)
            continue
        yield record_of(position, name, hw, {"hoi_labels": row}, 1) | {"image": data}
