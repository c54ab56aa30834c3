"""An open label file of any layout, whose images are read one at a time.

Evaluation needs whole splits (`annotations`), builders need records to pair with images, and the checker has to
continue after a malformed record; all three read through this type.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence

from hoi_jax.annotations import COLUMNS, Annotations
from hoi_jax.formats.labels.rows import Columns, record_of
from hoi_jax.io import CorruptFileError
from hoi_jax.vocab import get_vocabulary


def _no_notes(row: int) -> list[str]:
    del row
    return []


@dataclasses.dataclass(frozen=True)
class LabelFile:
    """One split of labels.

    Attributes:
      path: the file, for messages.
      layout: name of the layout.
      vocabulary_name, actions_vocabulary_name: as in `Annotations`.
      names: file name of every image, without folders.
      image_ids: the dataset's number of every image.
      sizes_hw: height and width of every image in the file, (0, 0) = not given.
      read: row -> its tables; raises DataError or one of `FAULTS` for a malformed record.
      notes: row -> descriptions of the rows left out of the record, for layouts whose files are known to have errors.
      whole: the split, if it is in memory already.
    """

    path: str
    layout: str
    vocabulary_name: str
    actions_vocabulary_name: str | None
    names: Sequence[str]
    image_ids: Sequence[int]
    sizes_hw: Sequence[tuple[int, int]]
    read: Callable[[int], Columns]
    notes: Callable[[int], list[str]] = _no_notes
    whole: Annotations | None = None

    def __len__(self) -> int:
        return len(self.names)

    def where(self, row: int) -> str:
        """File, record and image name, with which messages about a record begin."""
        return f"{self.path}: record {row} ({self.names[row]})"

    def columns(self, row: int) -> Columns:
        """The tables of one image. Raises DataError naming file, record and field."""
        try:
            return self.read(row)
        except CorruptFileError:
            raise
        except FAULTS as error:
            raise CorruptFileError(f"{self.where(row)}: malformed annotation ({error!r})") from error

    def record(self, row: int, hw: tuple[int, int] | None = None) -> Columns:
        """A raw record without its image; `hw` replaces the size in the file. Raises DataError."""
        actions = self.actions_vocabulary_name
        count = len(get_vocabulary(actions).actions) if actions else 1
        size, number = self.sizes_hw[row] if hw is None else hw, int(self.image_ids[row])
        for field, value in (("image number", number), ("height", size[0]), ("width", size[1])):
            if not (-(2**31) if field == "image number" else 0) <= value < 2**31:
                raise CorruptFileError(f"{self.where(row)}: {field} {str(value)[:20]} does not fit into 32 bits")
        try:
            return record_of(number, self.names[row], size, self.columns(row), count)
        except UnicodeEncodeError as error:
            raise CorruptFileError(f"{self.path}: record {row}: its file name is not a string ({error})") from error

    def annotations(self) -> Annotations:
        """The whole split. Raises DataError for the first malformed record."""
        if self.whole is not None:
            return self.whole
        records = (self.record(row) for row in range(len(self)))
        return Annotations.from_records(records, self.vocabulary_name, self.actions_vocabulary_name)


FAULTS = (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError)
"""Exceptions raised by reading a malformed record."""


def label_file_of(annotations: Annotations, path: str | os.PathLike[str], layout: str) -> LabelFile:
    """Label file of a split that is in memory already."""
    tables = {**COLUMNS, "hoi_labels": ("hoi_labels",)}
    ends = {table: annotations.counts[table].cumsum() for table in tables}

    def read(row: int) -> Columns:
        columns: Columns = {}
        for table, names in tables.items():
            stop = int(ends[table][row])
            rows = slice(stop - int(annotations.counts[table][row]), stop)
            columns |= {name: annotations[name][rows] for name in names}
        return columns | {"instances_mask_png": [b""] * int(annotations.counts["instances"][row])}

    sizes = [(int(height), int(width)) for height, width in annotations.original_hw_px]
    return LabelFile(
        os.fspath(path),
        layout,
        annotations.vocabulary_name,
        annotations.actions_vocabulary_name,
        [str(name) for name in annotations.file_name],
        annotations.image_id.tolist(),
        sizes,
        read,
        whole=annotations,
    )
