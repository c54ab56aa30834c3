"""Records on disk: one TFDS feature layout for every dataset, parts of its splits, and readers.

The layout is `schema.RECORD_FIELDS`, so that a builder only has to produce dictionaries of these fields. The file
format is handled only in this module; readers of label files have already converted box conventions. `RecordFiles`
reads a split in order, `record_places` and `read_at` read single records.

Parts of a split: "train:held_out" is a tenth of "train", "train:fit" the rest. Values fitted after training
(suppression thresholds) need images that are neither in the training nor in the test set. The parts depend only on the
position of an image and never change. "train:ablation_train" and "train:ablation_val" replace the random split of
HOI-W in the cascade paper, 19,843 and 9,999 of 29,842 images, which was never published: here images are ranked by a
hash of their position, and the first 9,999 (or the same share of a file of another length) are for validation.
`vocab/hoi_w_split.json` lists them.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from jaxtyping import Bool, Int

from hoi_jax import schema
from hoi_jax.data.pixels import decode_rgb
from hoi_jax.io import CorruptFileError, DataError, MissingFileError, read_json

Tensor = Any
"""A `tf.Tensor`, declared as Any because TensorFlow's annotations reject slices with an ellipsis."""

META_FILE = "hoi_jax.json"
"""Metadata file beside the TFDS files: vocabularies, action count, fingerprint, counts per split."""


ONE_IN = 10
ABLATION_SHARE = (9_999, 29_842)
PARTS = ("fit", "held_out", "ablation_train", "ablation_val")


def base_and_part(split: str) -> tuple[str, str]:
    """("train", "fit") for "train:fit"; the part is "" for a whole split. Raises ValueError for an unknown part."""
    base, colon, part = split.partition(":")
    if colon and part not in PARTS:
        raise ValueError(f"split {split!r} has no part {part!r}; parts are {PARTS}")
    return base, part


def part_mask(split: str, count: int) -> Bool[np.ndarray, " count"]:
    """Mask of the examples of `split` among the `count` examples of the whole split."""
    base, part = base_and_part(split)
    if not part:
        return np.ones(count, bool)
    if part.startswith("ablation"):
        chosen = _ablation_val(base, count)
        return chosen if part == "ablation_val" else ~chosen
    held_out = np.array([zlib.crc32(f"{base}/{i}".encode()) % ONE_IN == 0 for i in range(count)], bool)
    return held_out if part == "held_out" else ~held_out


def _ablation_val(base: str, count: int) -> Bool[np.ndarray, " count"]:
    """The lowest ranks by SHA-256 of "<base>/<position>", with the paper's share of its 29,842 images."""
    ranks = sorted(range(count), key=lambda i: hashlib.sha256(f"{base}/{i}".encode()).digest())
    share, whole = ABLATION_SHARE
    mask = np.zeros(count, bool)
    mask[ranks[: (count * share + whole // 2) // whole]] = True
    return mask


def features_dict(num_actions: int) -> tfds.features.FeaturesDict:
    """The TFDS features of a record. Encoded images and masks are strings, decoded on reading."""
    features: dict[str, object] = {}
    for name, field in schema.RECORD_FIELDS.items():
        if field.dtype == "bytes":
            text = tfds.features.Text()
            features[name] = text if field.axes == () else tfds.features.Sequence(text)
            continue
        shape: Any = tuple(None if a == -1 else num_actions if a == "A" else a for a in field.axes)
        dtype = np.dtype(field.dtype)
        features[name] = tfds.features.Scalar(dtype) if shape == () else tfds.features.Tensor(shape=shape, dtype=dtype)
    return tfds.features.FeaturesDict(features)


class RecordFiles:
    """One split of a built dataset: its files, its metadata, and the parser of its records.

    Args:
      directory: folder of the TFDS files (`<data_dir>/<name>/<config>/<version>`).
      split: name of the split, or of a part of it such as "train:held_out".

    Raises:
      DataError: the folder has no built dataset, or the split does not exist (the message lists existing ones).
    """

    def __init__(self, directory: str | Path, split: str):
        self.directory = Path(directory)
        self.split = split
        self.meta = read_meta(self.directory)
        builder: Any = tfds.builder_from_directory(str(self.directory))
        self.base_split, part = base_and_part(split)
        if self.base_split not in builder.info.splits:
            raise DataError(f"{directory}: no split {self.base_split!r}; there are {sorted(builder.info.splits)}")
        info = builder.info.splits[self.base_split]
        self.base_examples: int = info.num_examples
        # Positions in the whole split; None = all of it.
        self.positions = np.flatnonzero(part_mask(split, self.base_examples)) if part else None
        self.num_examples: int = self.base_examples if self.positions is None else len(self.positions)
        self.paths = [str(path) for path in info.filepaths]
        self._features = builder.info.features

    def serialized(self) -> tf.data.Dataset:
        """The undecoded records, always in the same order. Corrupt files raise tf.errors.DataLossError."""
        records: Any = tf.data.TFRecordDataset(self.paths)
        if self.positions is None:
            return records
        mask = tf.constant(part_mask(self.split, self.base_examples))
        return records.enumerate().filter(lambda i, _: mask[i]).map(lambda _, record: record)

    def parse(self, serialized: Tensor) -> dict[str, Tensor]:
        """One serialized record -> tensors of `schema.RECORD_FIELDS`; images and masks still encoded."""
        return self._features.deserialize_example(serialized)

    def numpy_records(self) -> Iterator[dict[str, object]]:
        """Raw records in file order, for counting and checking; slow, not for training."""
        for serialized in self.serialized():
            example = self.parse(serialized)
            yield {name: value.numpy() for name, value in example.items()}

    def images(self, image_ids: Set[int]) -> dict[int, np.ndarray]:
        """image_id -> decoded image [H, W, 3] uint8, from one pass over the split.

        Images that the dataset was built without are left out.
        """
        found = {}
        for serialized in self.serialized():
            example = self.parse(serialized)
            if (number := int(example["image_id"])) in image_ids and example["image"].numpy():
                found[number] = decode_rgb(example["image"].numpy(), f"{self.directory}: image {number}")
        return found


def read_meta(directory: str | Path) -> Mapping[str, object]:
    """Metadata of a built dataset. Raises DataError if the folder has no finished build."""
    path = Path(directory) / META_FILE
    if not path.is_file():
        raise DataError(f"{directory}: has no finished dataset; build it with `python -m data_prep.build NAME`")
    return read_json(path)


def has_content_counts(meta: Mapping[str, Any]) -> bool:
    """Whether the build counted its contents, which older versions of this library did not."""
    return all("content" in split for split in meta["splits"].values())


def content_counts(meta: Mapping[str, Any], split: str) -> Mapping[str, int]:
    """Content counts of a split's records; those of "train" for "train:held_out".

    Keys: "images"; "instances", "detections", "pairs", "persons" (rows); "instances_people", "detections_people" (rows
    of the class of people); "images_with_instances", "images_with_detections", "images_with_pairs"; "hoi_labels"
    (images with image-level labels); and of these columns the rows with content: "instances_keypoints_px",
    "instances_face_xyxy_px", "instances_parts_xyxy_px", "instances_mask_png", "detections_keypoints_px",
    "detections_face_xyxy_px", "pairs_part_states"; "faces_xyxy_px" (faces of images, with those of detections).

    Raises:
      DataError: the split does not exist, or the dataset was built before contents were counted.
    """
    base, _ = base_and_part(split)
    if base not in meta["splits"]:
        raise DataError(f"{meta['name']}: no split {base!r}; there are {sorted(meta['splits'])}")
    counts = meta["splits"][base].get("content")
    if counts is None:
        raise DataError(
            f"{meta['name']}: was built before contents were counted; run its `python -m data_prep.build` command again"
        )
    return counts


def write_meta(directory: str | Path, meta: Mapping[str, object]) -> None:
    """Write the metadata of a finished build. It is written last, so that its presence means a complete build."""
    path = Path(directory) / META_FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(meta, indent=1, sort_keys=True))
    temporary.replace(path)


_HEAD, _TAIL = 12, 4
"""A record in a TFRecord file: its length (8 bytes), a checksum (4), the record, a checksum (4)."""


def record_places(paths: Sequence[str | Path]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """(file index [n], byte position [n]) of all records, in order; only their heads are read.

    Raises:
      CorruptFileError: a file ends within a record.
    """
    file, byte = [], []
    for number, path in enumerate(map(Path, paths)):
        if not path.is_file():
            raise MissingFileError(f"{path}: no such file")
        size, at = path.stat().st_size, 0
        try:
            with path.open("rb", buffering=0) as stream:
                while at < size:
                    stream.seek(at)
                    head = stream.read(_HEAD)
                    length = struct.unpack("<Q", head[:8])[0] if len(head) == _HEAD else size
                    if at + _HEAD + length + _TAIL > size:
                        raise CorruptFileError(f"{path}: ends within the record at byte {at}")
                    file.append(number)
                    byte.append(at)
                    at += _HEAD + length + _TAIL
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from error
    return np.array(file, np.int64), np.array(byte, np.int64)


def read_at(path: Tensor, byte: Tensor) -> tf.data.Dataset:
    """Dataset of the single record with its head at `byte`; for `flat_map`, as the operation fails outside functions.

    A wrong checksum raises tf.errors.DataLossError.
    """
    records = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=tf.constant(0, tf.int64), byte_offsets=[byte], metadata=""
    )
    return tf.data.experimental.from_variant(records, tf.TensorSpec((), tf.string)).take(1)


class ImageReader:
    """Images of one split by row of its annotations; thread-safe."""

    def __init__(self, files: RecordFiles):
        file, byte = record_places(files.paths)
        if len(byte) != files.base_examples:
            raise DataError(f"{files.directory}: has {len(byte)} records, expected {files.base_examples}")
        rows = slice(None) if files.positions is None else files.positions
        self._file, self._byte = file[rows], byte[rows]
        self._files = files

    def __len__(self) -> int:
        return len(self._byte)

    def image(self, row: int) -> tuple[int, np.ndarray | None]:
        """(image_id, image [H, W, 3] uint8, or None if the dataset was built without images).

        Raises:
          IndexError: the row is out of range.
          DataError: the file has changed.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        path = self._files.paths[self._file[row]]
        try:
            place = tf.data.Dataset.from_tensors((tf.constant(path), tf.constant(self._byte[row])))
            record = next(iter(place.flat_map(lambda *where: read_at(*where))))
        except tf.errors.OpError as error:
            raise CorruptFileError(f"{path}: the record at byte {self._byte[row]}: {error.message}") from error
        example = self._files.parse(record)
        number, encoded = int(example["image_id"]), example["image"].numpy()
        return number, decode_rgb(encoded, f"{path}: image {number}") if encoded else None
