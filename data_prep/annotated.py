"""Any labelled dataset with its images: label files of every layout (`open_labels`) become splits of records."""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from data_prep.builder import DatasetSource, Record
from data_prep.images import ImageFolder
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.io import DataError

AddTables = Callable[[Record, str], Record]
"""Adds detections, poses or faces to a record of the split of that name (`side_inputs`)."""


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
    """One split per label file.

    Args:
      images: folder of the images, searched by file name.
      upright: see `ImageFolder`.
      skip_unreadable: leave images out that are absent or cannot be used, naming each; else they are an error.
      add: puts side inputs into every record; `settings` says which.

    Raises:
      DataError: the label files are of different vocabularies, or naming a broken image or record.
    """
    folder = ImageFolder(images, upright=upright)
    kinds = {(f.vocabulary_name, f.actions_vocabulary_name) for f in files.values()}
    if len(kinds) != 1:
        raise DataError(f"{name}: label files of different vocabularies: {sorted(map(str, kinds))}")
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
    """One record per image, in the file's order; what is left out is said at the end."""
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
