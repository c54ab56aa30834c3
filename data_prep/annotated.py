"""Builds of labelled datasets with images: label files of every layout (`open_labels`) become splits of records."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from data_prep.builder import DatasetSource, Record
from data_prep.images import ImageFolder
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.io import DataError

AddTables = Callable[[Record, str], Record]
"""Function (record, split) that adds detections, poses or faces to a record (`side_inputs`)."""


def annotated_source(
    name: str,
    files: Mapping[str, LabelFile],
    images: Path,
    *,
    upright: bool = False,
    skip_unreadable: bool = False,
    add: AddTables | None = None,
    settings: Mapping[str, object] | None = None,
) -> DatasetSource:
    """Dataset source with one split per label file.

    Args:
      images: folder of the images, searched by file name.
      upright: see `ImageFolder`.
      skip_unreadable: leave out missing or unusable images and print their names; else they are an error.
      add: adds side inputs to every record; `settings` describes them.

    Raises:
      DataError: the label files have different vocabularies, or an image or record is malformed; the message names it.
    """
    folder = ImageFolder(images, upright=upright)
    kinds = {(f.vocabulary_name, f.actions_vocabulary_name) for f in files.values()}
    if len(kinds) != 1:
        raise DataError(f"{name}: the label files have different vocabularies: {sorted(map(str, kinds))}")
    ((pairs, persons),) = kinds
    layouts = "+".join(sorted({f.layout for f in files.values()}))
    return DatasetSource(
        name=name,
        version="1.0.0",
        description=f"{name} ({layouts})",
        pairs_vocabulary=pairs,
        persons_vocabulary=persons or "",
        splits={s: (len(f), lambda s=s, f=f: iterate(f, folder, skip_unreadable, add, s)) for s, f in files.items()},
        settings={"layout": layouts, "skip_unreadable": skip_unreadable, **(settings or {})},
    )


def iterate(
    labels: LabelFile,
    folder: ImageFolder,
    skip_unreadable: bool = False,
    add: AddTables | None = None,
    split: str = "",
) -> Iterator[Record]:
    """Records of all images, in file order; the numbers of rows and images left out are printed at the end."""
    images, notes = 0, []
    for row in range(len(labels)):
        try:
            data, hw = folder.read(labels.names[row], labels.sizes_hw[row])
        except DataError as error:
            if not skip_unreadable:
                raise
            images += 1
            print(f"left out: {error}", file=sys.stderr)
            continue
        record = labels.record(row, hw) | {"image": data}
        notes += [f"{labels.where(row)}: {note}" for note in labels.notes(row)]
        yield add(record, split) if add else record
    if notes:
        print(f"{labels.path}: {len(notes)} relations left out, first {notes[0]}", file=sys.stderr)
    if images:
        print(f"{labels.path}: {images} images left out", file=sys.stderr)
