"""Ground truth of one split as flat arrays, without images: the labels that evaluation needs.

Data preparation writes one such file beside each built split, so that scores can be computed without TensorFlow
and without the images.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Int

from hoi_jax import io
from hoi_jax import npz as arrays
from hoi_jax.schema import RECORD_FIELDS

TABLES = ("instances", "pairs", "persons", "detections")

COLUMNS: dict[str, tuple[str, ...]] = {
    table: tuple(
        name for name, field in RECORD_FIELDS.items() if name.startswith(f"{table}_") and field.dtype != "bytes"
    )
    for table in TABLES
}
"""Columns of each table, named as in `schema.RECORD_FIELDS`; masks stay in the records."""


@dataclasses.dataclass(frozen=True)
class Annotations:
    """One split: I images, and tables whose rows follow the images.

    Boxes are continuous corners in pixels of the original image. Index columns (`pairs_human`, ...) count
    within the image, as in the records; `instance_rows` turns them into rows of the whole table.

    Attributes:
      vocabulary_name: vocabulary of `pairs_verb`, `hoi_labels` and the object classes.
      actions_vocabulary_name: vocabulary of `persons_*`, or None if people have no action labels.
      image_id: [I] the dataset's own image numbers, distinct.
      original_hw_px: [I, 2] height and width; (0, 0) if the label file gives none.
      file_name: [I] names.
      counts: rows per image [I] by table name (also "hoi_labels").
      columns: rows of all images, concatenated, by column name.
    """

    vocabulary_name: str
    actions_vocabulary_name: str | None
    image_id: Int[np.ndarray, " i"]
    original_hw_px: Int[np.ndarray, "i 2"]
    file_name: np.ndarray
    counts: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]

    @property
    def num_images(self) -> int:
        return len(self.image_id)

    def __getitem__(self, column: str) -> np.ndarray:
        """One column, with the rows of all images."""
        return self.columns[column]

    def image_rows(self, table: str) -> Int[np.ndarray, " rows"]:
        """Image index (0..I-1) of every row of a table."""
        return np.repeat(np.arange(self.num_images), self.counts[table])

    def instance_rows(self, column: str) -> np.ndarray:
        """An index column, converted to rows of the whole `instances` table; -1 (none) stays -1."""
        local = self.columns[column].astype(np.int64)
        start = np.cumsum(self.counts["instances"]) - self.counts["instances"]
        offset = start[self.image_rows(column.split("_")[0])]
        return np.where(local >= 0, local + offset.reshape(-1, *[1] * (local.ndim - 1)), -1)

    def image_labels(self, num_classes: int) -> Int[np.ndarray, "i classes"] | None:
        """Image-level labels [I, num_classes], -2 in images without them; None if no image has any.

        Raises:
          io.DataError: an image has some labels, but not `num_classes` of them.
        """
        count = self.counts["hoi_labels"]
        if not count.any():
            return None
        if not np.isin(count, (0, num_classes)).all():
            found = sorted(set(count.tolist()))
            raise io.DataError(f"field 'hoi_labels' has {found} entries per image, expected 0 or {num_classes}")
        labels = np.full((self.num_images, num_classes), -2, np.int32)
        labels[count > 0] = self.columns["hoi_labels"].reshape(-1, num_classes)
        return labels

    def select(self, images: Bool[np.ndarray, " i"]) -> "Annotations":
        """Return the images where `images` is True, in the same order, with their rows of every table.

        Raises:
          ValueError: `images` is not one boolean per image.
        """
        if images.dtype != bool or images.shape != (self.num_images,):
            raise ValueError(f"expected {self.num_images} booleans, got {images.dtype} of shape {images.shape}")
        counts = {table: count[images] for table, count in self.counts.items()}
        columns = dict(self.columns)
        for table, names in {**COLUMNS, "hoi_labels": ("hoi_labels",)}.items():
            rows = images[self.image_rows(table)]
            columns |= {name: self.columns[name][rows] for name in names}
        return dataclasses.replace(
            self,
            image_id=self.image_id[images],
            original_hw_px=self.original_hw_px[images],
            file_name=self.file_name[images],
            counts=counts,
            columns=columns,
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of all content, as sixteen hex digits; equal annotations have equal fingerprints."""
        digest = hashlib.sha256(json.dumps([self.vocabulary_name, self.actions_vocabulary_name]).encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "image_id": self.image_id,
            "original_hw_px": self.original_hw_px,
            "file_name": self.file_name,
            **{f"{table}_count": count for table, count in self.counts.items()},
            **self.columns,
        }

    @classmethod
    def from_records(
        cls,
        records: Iterable[Mapping[str, object]],
        vocabulary_name: str,
        actions_vocabulary_name: str | None = None,
    ) -> "Annotations":
        """Collect the labels of raw records (`schema.RECORD_FIELDS`); images and masks are not read.

        Raises:
          io.DataError: an image id occurs twice.
        """
        rows = [{name: record[name] for name in _KEPT} for record in records]
        names = [_text(row["file_name"]) for row in rows]
        ids = np.array([int(np.asarray(row["image_id"])) for row in rows], np.int64)
        sizes = np.array([np.asarray(row["original_hw_px"]) for row in rows], np.int32).reshape(-1, 2)
        columns = {name: _concatenate(name, rows) for name in _KEPT_COLUMNS}
        counts = {
            table: np.array([len(np.asarray(row[names_[0]])) for row in rows], np.int64)
            for table, names_ in {**COLUMNS, "hoi_labels": ("hoi_labels",)}.items()
        }
        file_name = np.array(names, np.str_) if names else np.zeros(0, "U1")
        result = cls(vocabulary_name, actions_vocabulary_name, ids, sizes, file_name, counts, columns)
        _check(result, "records")
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an npz file atomically."""
        meta = {"vocabulary": self.vocabulary_name, "actions_vocabulary": self.actions_vocabulary_name}
        arrays.write_npz(path, self._arrays(), meta)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Annotations":
        """Read a file written by `save`. Raises io.DataError that names the file and the field."""
        content, meta = arrays.load_npz(path)
        counts, columns = {}, {}
        for table in (*TABLES, "hoi_labels"):
            counts[table] = arrays.take(content, f"{table}_count", "i", 1, path)
        for name in _KEPT_COLUMNS:
            kind = "f" if RECORD_FIELDS[name].dtype.startswith("float") else "i"
            columns[name] = arrays.take(content, name, kind, len(RECORD_FIELDS[name].axes), path)
        result = cls(
            arrays.meta_text(meta, "vocabulary", path),
            meta.get("actions_vocabulary"),
            arrays.take(content, "image_id", "i", 1, path),
            arrays.take(content, "original_hw_px", "i", 2, path),
            arrays.take(content, "file_name", "U", 1, path),
            counts,
            columns,
        )
        _check(result, os.fspath(path))
        return result


_KEPT_COLUMNS = (*(name for names in COLUMNS.values() for name in names), "hoi_labels")
_KEPT = ("image_id", "original_hw_px", "file_name", *_KEPT_COLUMNS)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _concatenate(name: str, rows: list[dict[str, object]]) -> np.ndarray:
    field = RECORD_FIELDS[name]
    parts = [np.asarray(row[name], field.dtype) for row in rows]
    if parts:
        return np.concatenate(parts)
    return np.zeros([axis if isinstance(axis, int) and axis >= 0 else 0 for axis in field.axes], field.dtype)


def _check(annotations: Annotations, where: str) -> None:
    """Raise io.DataError if tables are inconsistent or an index points outside its image."""
    total = annotations.num_images
    if len(np.unique(annotations.image_id)) != total:
        raise io.DataError(f"{where}: field 'image_id' has repeated numbers")
    if annotations.original_hw_px.shape != (total, 2) or len(annotations.file_name) != total:
        raise io.DataError(f"{where}: fields 'original_hw_px' and 'file_name' do not both have {total} rows")
    for table, count in annotations.counts.items():
        if len(count) != total or (total and count.min() < 0):
            raise io.DataError(f"{where}: field '{table}_count' is not a number of rows for each of {total} images")
        for name in COLUMNS.get(table, ("hoi_labels",)):
            if len(annotations.columns[name]) != count.sum():
                raise io.DataError(
                    f"{where}: field {name!r} has {len(annotations.columns[name])} rows, expected {count.sum()}"
                )
    for name, lowest in _INDEX_COLUMNS.items():
        local = annotations.columns[name]
        limit = annotations.counts["instances"][annotations.image_rows(name.split("_")[0])]
        limit = limit.reshape(-1, *[1] * (local.ndim - 1))
        if np.any((local < lowest) | (local >= limit)):
            raise io.DataError(f"{where}: field {name!r} points outside the instances of its image")


_INDEX_COLUMNS = {"pairs_human": 0, "pairs_object": -1, "persons_instance": 0, "persons_roles": -1}
